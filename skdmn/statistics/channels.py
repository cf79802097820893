"""Mean and variance of each channel, as statistics that can be merged."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from skdmn.utils.array_api import Array, own_backend, to_numpy, widest_float
from skdmn.utils.state import State, count, floats

Moments = tuple[float, np.ndarray, np.ndarray]  # weight, mean, variance


@dataclass
class ChannelMoments:
    """Mean and variance of each channel over all pixels of all images.

    Attributes
    ----------
    n_images : int
        Number of images that were added.
    mean, var : ndarrays of shape (n_channels,), float64
        Means, and biased variances (divided by the number of values).
    """

    _state: ClassVar[State] = {
        "n_images": count(),
        "mean": floats("channels"),
        "var": floats("channels", least=0),
    }

    n_images: int
    mean: np.ndarray
    var: np.ndarray

    @classmethod
    def empty(cls, n_channels: int) -> Self:
        """Return moments of no images."""
        return cls(0, np.zeros(n_channels), np.zeros(n_channels))

    def like(self, n_classes: int) -> Self:
        """Return moments of no images, with the same number of channels."""
        return self.empty(len(self.mean))

    def update(self, images: Array, labels: np.ndarray) -> None:
        """Add images of shape (n, height, width, channels); labels are ignored."""
        backend = own_backend(images)
        xp, axes = backend.xp, (0, 1, 2)
        with np.errstate(over="ignore", invalid="ignore"):
            values = xp.astype(images, widest_float(backend))
            mean, var = xp.mean(values, axis=axes), xp.var(values, axis=axes)
        self._add((int(images.shape[0]), to_numpy(mean), to_numpy(var)))

    def merge(self, other: ChannelMoments, labels: np.ndarray | None = None) -> None:
        """Add the moments of other images."""
        self._add((other.n_images, other.mean, other.var))

    def overall(self) -> tuple[float, float]:
        """Return mean and standard deviation of the values of all channels.

        The latter is infinite or NaN if squares overflow.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            mean = self.mean.mean()
            variance = (self.var + (self.mean - mean) ** 2).mean()
        return float(mean), math.sqrt(variance)

    def _add(self, other: Moments) -> None:
        own = (self.n_images, self.mean, self.var)
        n_images, self.mean, self.var = merged_moments([own, other])
        self.n_images = int(n_images)


def merged_moments(parts: Iterable[Moments]) -> Moments:
    """Merge weights, means and variances of several parts.

    The update formula is that of T. Chan, G. Golub, R. LeVeque, "Algorithms for
    computing the sample variance", The American Statistician 37, 1983.
    """
    total: float = 0
    mean = var = np.zeros(())
    with np.errstate(over="ignore", invalid="ignore"):
        for added, part_mean, part_var in parts:
            if added:
                share, total = added / (total + added), total + added
                away = part_mean - mean
                var = var + share * (part_var - var + (1 - share) * away**2)
                mean = mean + share * away
            elif np.ndim(mean) == 0:
                mean = var = np.zeros_like(np.asarray(part_mean, dtype=np.float64))
    return total, mean, var
