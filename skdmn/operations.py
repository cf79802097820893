"""The few standard operations that fitted models are made of: what exports write."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skdmn.kernels.geometry import Padding, Pair, output_size, same_padding
from skdmn.utils.validation import Shape


@dataclass(frozen=True)
class Window:
    """Where the windows of a convolution or a pooling lie."""

    size: Pair
    stride: Pair
    before: Pair  # pixels added above and on the left
    after: Pair  # below and on the right

    @classmethod
    def of(cls, shape: Shape, size: Pair, stride: Pair, padding: Padding) -> Window:
        """Work out the padding for images of a shape."""
        pads = [(0, 0), (0, 0)]
        if padding == "same":
            pads = [same_padding(shape[i], size[i], stride[i]) for i in (0, 1)]
        (top, bottom), (left, right) = pads
        return cls(size, stride, (top, left), (bottom, right))

    @property
    def is_padded(self) -> bool:
        """Whether pixels are added."""
        return any((*self.before, *self.after))

    def output_size(self, shape: Shape) -> Pair:
        """Return the positions down and across images of a shape."""
        height, width = (shape[i] + self.before[i] + self.after[i] for i in (0, 1))
        return output_size((height, width), self.size, self.stride, "valid")


@dataclass(frozen=True)
class Convolve:
    """Multiply patches with filters (n, height, width, channels), add a bias."""

    filters: np.ndarray
    window: Window
    bias: np.ndarray | None = None


@dataclass(frozen=True)
class Rectify:
    """Set what is negative to 0."""


@dataclass(frozen=True)
class MaxPool:
    """Keep the largest value of every window; what is added is minus infinity."""

    window: Window


@dataclass(frozen=True)
class EncodeContrasts:
    """Multiply patches by contrast with filters, soft threshold both signs.

    Filters (n, height, width, channels) have no mean; see `core.contrast`.
    """

    filters: np.ndarray
    window: Window
    floor: float
    threshold: float


@dataclass(frozen=True)
class AveragePool:
    """Average every window over the pixels inside an image of a size."""

    window: Window
    size: Pair


@dataclass(frozen=True)
class Power:
    """Raise values to a power, and keep their signs."""

    power: float


@dataclass(frozen=True)
class ScaleChannels:
    """Take away each channel's mean, and divide by its scale, which is positive."""

    mean: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True)
class Select:
    """Keep some of the channels."""

    channels: np.ndarray
    n_channels: int


@dataclass(frozen=True)
class Flatten:
    """Make rows of images of a shape, C order of (y, x, channel)."""

    shape: Shape


@dataclass(frozen=True)
class Unflatten:
    """Make images of a shape of rows."""

    shape: Shape


@dataclass(frozen=True)
class ScaleValues:
    """Take away each value's mean, and divide by its scale."""

    mean: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True)
class Scores:
    """Multiply rows less their mean with coefficients: logits, one for two classes."""

    coef: np.ndarray
    intercept: np.ndarray
    mean: np.ndarray

    def of_all_classes(self) -> Scores:
        """Return logits whose softmax are the probabilities of all classes."""
        if len(self.coef) > 1:
            return self
        coef, intercept = (
            np.concatenate([np.zeros_like(array), array])
            for array in (self.coef, self.intercept)
        )
        return Scores(coef, intercept, self.mean)


@dataclass(frozen=True)
class OverMirrors:
    """Average what operations give for images and their mirror images."""

    operations: tuple[Operation, ...]
    shape: Shape  # of the images


Pool = MaxPool | AveragePool
OfImages = (
    Convolve
    | EncodeContrasts
    | Rectify
    | Power
    | Pool
    | ScaleChannels
    | Select
    | OverMirrors
)
Operation = OfImages | Flatten | Unflatten | ScaleValues | Scores
