"""Histograms of the magnitudes of images, from which robust means are computed.

The sum of squares of one damaged image, or the variance of its patches, can exceed that
of all others together. A histogram shows this, and is a sum that can be merged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from skdmn.kernels.dispatch import image_squares, patch_variances
from skdmn.kernels.geometry import Pair
from skdmn.utils.array_api import Array
from skdmn.utils.state import State, counts, floats, lengths, number
from skdmn.utils.validation import warn_user

# outliers are images of more than this many times the mean magnitude of all others
OUTLIER = 100.0
# bin 0 counts zeros, bin i values from 4 ** (i - _ONE) up to 4 times that
_BINS, _ONE = 512, 256
# values that often mark missing pixels
_LARGE = (1e10, 1e20, 1e30, float(np.finfo(np.float32).max))
_MARKERS = {np.float32(value) for value in (*_LARGE, *(-value for value in _LARGE))}
_MARKERS |= {np.float32(value) for value in (-999, -9999, -99999, -32768)}


@dataclass
class Magnitudes:
    """Histogram of the magnitudes of images, by class.

    The magnitude of an image is its sum of squares, or the mean variance of its
    patches.

    Attributes
    ----------
    size : (int, int) or None
        Height and width of the patches; None for sums of squares.
    counts : ndarray of shape (n_classes, n_bins), int64
        Number of images in each bin of the histogram.
    totals : ndarray of shape (n_classes, n_bins), float64
        Sums of the magnitudes in each bin.
    least, greatest : float
        The smallest and the largest pixel.
    """

    _state: ClassVar[State] = {
        "size": lengths("patch_height", "patch_width").or_none(),
        "counts": counts("n_classes", _BINS),
        "totals": floats("n_classes", _BINS, least=0, is_finite=False),
        "least": number(),
        "greatest": number(),
    }

    size: Pair | None
    counts: np.ndarray
    totals: np.ndarray
    least: float = np.inf
    greatest: float = -np.inf

    @classmethod
    def empty(cls, n_classes: int, size: Pair | None = None) -> Self:
        """Return a histogram without any images."""
        shape = n_classes, _BINS
        return cls(size, np.zeros(shape, np.int64), np.zeros(shape))

    def like(self, n_classes: int) -> Self:
        """Return a histogram of the same kind without any images."""
        return self.empty(n_classes, self.size)

    def update(self, images: Array, labels: np.ndarray) -> None:
        """Add images of shape (n, height, width, channels) of the given classes."""
        self.add(image_squares(images), images, labels)

    def add(self, squares: np.ndarray, images: Array, labels: np.ndarray) -> None:
        """Add images, given the result of `image_squares`."""
        found = squares[:, 0]
        if self.size is not None:
            found = patch_variances(images, self.size)
        at, shape = labels * _BINS + _bins(found), self.counts.shape
        n_bins = self.counts.size
        self.counts += np.bincount(at, minlength=n_bins).reshape(shape)
        self.totals += np.bincount(at, found, n_bins).reshape(shape)
        self.least = float(min(self.least, squares[:, 1].min()))
        self.greatest = float(max(self.greatest, squares[:, 2].max()))

    def merge(self, other: Magnitudes, labels: np.ndarray | None = None) -> None:
        """Add another histogram; `labels` are its classes among those of this one."""
        at = slice(None) if labels is None else labels
        self.counts[at] += other.counts
        self.totals[at] += other.totals
        self.least = min(self.least, other.least)
        self.greatest = max(self.greatest, other.greatest)

    @property
    def medians(self) -> np.ndarray:
        """Approximate median of the magnitudes above 0, by class; 0 if there are none.

        It is the mean of the bin that holds the median.
        """
        above = np.cumsum(self.counts[:, 1:], axis=1)
        half = (above[:, -1:] + 1) // 2
        at = np.arange(len(above)), 1 + (above >= half).argmax(axis=1)
        return self.totals[at] / np.maximum(self.counts[at], 1)

    @property
    def outliers(self) -> np.ndarray:
        """Boolean array like `counts`: True for the bins of outliers.

        Outliers have more than `OUTLIER` times the mean magnitude of all images that
        have less and are not 0. They are at most a quarter of these images: more are
        not damaged, but differ from the others, as grass differs from smooth sky.
        """
        counts, totals = self.counts[:, 1:], self.totals[:, 1:]
        n_below = np.cumsum(counts, axis=1) - counts
        is_top = 4 * n_below >= 3 * counts.sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore", over="ignore"):
            below = np.cumsum(totals, axis=1) - totals
            means = totals / np.maximum(counts, 1)
            is_near = means <= OUTLIER * (below / np.maximum(n_below, 1))
        gaps = is_top & (counts > 0) & ~is_near
        outliers = np.zeros(self.counts.shape, bool)
        np.logical_or.accumulate(gaps, axis=1, out=outliers[:, 1:])
        return outliers

    def robust_mean(self) -> float:
        """Return the mean magnitude of all images that are no outliers.

        It is NaN or infinite if the magnitudes of most images are.
        """
        kept = ~self.outliers
        n_kept = self.counts[kept].sum()
        return float(self.totals[kept].sum() / n_kept) if n_kept else np.nan

    def owners(self, bound: float = np.inf) -> tuple[np.ndarray, np.ndarray]:
        """Find the classes of which few images hold most of the sum of magnitudes.

        Parameters
        ----------
        bound : float, default=inf
            Larger magnitudes count as this one.

        Returns
        -------
        n_outliers : ndarray of shape (n_classes,), int64
            Number of outliers, by class.
        held : ndarray of shape (n_classes,), float64
            The outliers' share of the sum.
        """
        outliers = self.outliers
        n_outliers = np.where(outliers, self.counts, 0).sum(axis=1)
        held = np.where(outliers, self.totals, 0.0).sum(axis=1)
        kept = np.where(outliers, 0.0, self.totals).sum(axis=1)
        with np.errstate(invalid="ignore"):
            held = np.fmin(held, n_outliers * bound)  # fmin ignores NaN: 0 * inf
            share = held / (held + kept)
        return n_outliers, np.where(held > 0, share, 0.0)

    def values_in_words(self) -> str:
        """Describe the pixels for a message."""
        marker = self.missing()
        hint = "" if marker is None else f" ({marker:g} often marks missing pixels)"
        return f"X has values from {self.least:g} to {self.greatest:g}{hint}"

    def missing(self) -> float | None:
        """Return the value that seems to mark missing pixels, or None.

        It is the smallest or the largest pixel, a usual marker, and at least ten times
        as large as the opposite extreme.
        """
        for value, other in ((self.least, self.greatest), (self.greatest, self.least)):
            if np.float32(value) in _MARKERS and abs(value) >= 10 * abs(other):
                return value
        return None


def warn_of_missing(magnitudes: Magnitudes) -> None:
    """Warn if a value seems to mark missing pixels."""
    value = magnitudes.missing()
    if value is not None:
        warn_user(
            f"{magnitudes.values_in_words()}; replace such values, for example by the "
            "mean of the image, because they are computed with like all others."
        )


def _bins(values: np.ndarray) -> np.ndarray:
    """Return the index of the bin of each value."""
    exponents = np.frexp(values)[1] - 1
    bins = np.clip((exponents >> 1) + _ONE, 1, _BINS - 1)
    bins = np.where(np.isfinite(values), bins, _BINS - 1)
    return np.where(values == 0, 0, bins)
