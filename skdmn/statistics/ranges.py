"""Range of the values of images, from a sample, and the comparison of two ranges.

The features of images in another unit are meaningless: a model that was fitted on
8-bit images guesses if it gets the same images divided by 255. The range shows this.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from skdmn.statistics.channels import merged_moments
from skdmn.utils.array_api import Array, take, to_numpy
from skdmn.utils.state import Sizes, State, StateError, checked, floats, number, shown
from skdmn.utils.validation import warn_user

# images that differ by more than this factor are in another unit
_FACTOR = 20.0
# fewer images than this may all be dark: only a larger factor shows another unit
_FEW, _FACTOR_IF_FEW = 8, 100.0
# so many standard deviations (of the logarithm) of the images of the fit are normal
_DEVIATIONS = 4.0
_IMAGES, _VALUES = 16, 1024  # size of a sample, and of the part of an image in it
_FLAT = 1e-12


def _check_dtype(dtype: Any, sizes: Sizes) -> None:
    if not isinstance(dtype, str):
        raise StateError(f"is {shown(dtype)}, expected a str")


def _check_logs(logs: Any, sizes: Sizes) -> None:
    floats(2, 3).check(logs, sizes)
    least = logs[:, ::2].min()
    if least < 0:
        raise StateError(f"has a count or variance of {least}, expected none < 0")


@dataclass
class ValueRange:
    """Range of the values of images, from samples; a statistic that can be merged.

    Attributes
    ----------
    dtype : str
        Dtype of the images; "" before the first, or if dtypes differ.
    least, greatest : float
        The smallest and the largest value.
    logs : ndarray of shape (2, 3), float64
        Number of images, and mean and variance of a logarithm over these images: of
        the root mean square in the first row, and of the standard deviation of the
        values of an image in the second. Images of which it is 0 are not counted.
    """

    _state: ClassVar[State] = {
        "dtype": checked(_check_dtype),
        "least": number(),
        "greatest": number(),
        "logs": checked(_check_logs),
    }

    dtype: str
    least: float
    greatest: float
    logs: np.ndarray

    @classmethod
    def empty(cls) -> Self:
        """Return the range of no images."""
        return cls("", np.inf, -np.inf, np.zeros((2, 3)))

    @classmethod
    def of(cls, images: Array) -> Self:
        """Return the range of images of shape (n, height, width, channels)."""
        values = _sample(images).astype(np.float64)
        values = values.reshape(len(values), -1)
        least, greatest = float(values.min()), float(values.max())
        logs, unit = np.zeros((2, 3)), max(greatest, -least)
        if unit > 0:
            values /= unit  # squares do not overflow
            n_values = values.shape[1]
            sums = values.sum(axis=1).tolist()
            squares = np.einsum("ij,ij->i", values, values).tolist()
            squares = [square / n_values for square in squares]
            variances = [
                _variance(square, total / n_values)
                for square, total in zip(squares, sums, strict=True)
            ]
            shift = math.log(unit)
            logs = np.array(
                [_moments_of_logs(found, shift) for found in (squares, variances)]
            )
        return cls(_name(images.dtype), least, greatest, logs)

    def add(self, images: Array) -> None:
        """Add a sample of images of shape (n, height, width, channels)."""
        self.merge(type(self).of(images))

    def merged(self, other: ValueRange) -> ValueRange:
        """Return the range of the images of both."""
        found = ValueRange(self.dtype, self.least, self.greatest, self.logs.copy())
        found.merge(other)
        return found

    def merge(self, other: ValueRange) -> None:
        """Add the range of other images."""
        if other.is_empty:
            return
        if self.is_empty:
            self.dtype, self.logs = other.dtype, other.logs.copy()
            self.least, self.greatest = other.least, other.greatest
            return
        if self.dtype != other.dtype:
            self.dtype = ""
        self.least = min(self.least, other.least)
        self.greatest = max(self.greatest, other.greatest)
        both = zip(self.logs, other.logs, strict=True)
        self.logs = np.array([merged_moments(rows) for rows in both], np.float64)

    @property
    def is_empty(self) -> bool:
        """True if no image was added."""
        return self.least > self.greatest

    def factor_of(self, other: ValueRange) -> float | None:
        """Return by which factor images are larger, if they are in another unit.

        Parameters
        ----------
        other : ValueRange
            Range of other images.

        Returns
        -------
        float or None
            Ratio of the root mean squares, or of the spreads: that of `other` divided
            by that of this range. None if the images may be in the same unit.
        """
        are_few = other.logs[0, 0] < _FEW
        # such images may be dark frames
        may_be_dark = not other.logs[1, 0] or (
            self.dtype == other.dtype and self.dtype.startswith(("int", "uint"))
        )
        for (n_images, mean, var), (n_others, others_mean, _) in zip(
            self.logs.tolist(), other.logs.tolist(), strict=True
        ):
            apart = others_mean - mean
            is_small_sample = are_few and apart < 0
            least = _FACTOR_IF_FEW if is_small_sample else _FACTOR
            if (
                n_images
                and n_others
                and abs(apart) > max(math.log(least), _DEVIATIONS * math.sqrt(var))
                and not (is_small_sample and may_be_dark)
            ):
                return math.exp(np.clip(apart, -700, 700))
        return None

    def warn_of_other(self, other: ValueRange, name: str) -> None:
        """Warn if images are in another unit than those of the fit.

        Parameters
        ----------
        other : ValueRange
            Range of the images.
        name : str
            Name of the estimator that was fitted.
        """
        factor = self.factor_of(other)
        if factor is not None:
            times = f"about {_rounded(max(factor, 1 / factor))} times"
            warn_user(
                f"X has values from {other.in_words()}, {times} "
                f"{'larger' if factor > 1 else 'smaller'} than the images on which "
                f"{name} was fitted, which have values from {self.in_words()}; bring X "
                "to the range of the fit, as by X * 255 or X / 255, or fit again."
            )

    def in_words(self) -> str:
        """Return the smallest and the largest value for a message."""
        return f"{self.least:g} to {self.greatest:g}"


def _sample(images: Array) -> np.ndarray:
    """Return evenly spaced images, and pixels of them, as a NumPy array."""
    n = images.shape[0]
    step = max(1, math.isqrt(math.prod(images.shape[1:]) // _VALUES))
    if n > _IMAGES:
        chosen = np.linspace(0, n - 1, _IMAGES).astype(np.int64)
        images = take(images, chosen, axis=0)
    return to_numpy(images[:, ::step, ::step, :])


def _name(dtype: Any) -> str:
    if isinstance(dtype, np.dtype):
        return _numpy_name(dtype)
    return str(dtype).rpartition(".")[2]  # without "torch."


@functools.cache
def _numpy_name(dtype: np.dtype) -> str:
    return dtype.name


def _variance(square: float, mean: float) -> float:
    """Return a variance; 0 if it may be rounding, relative to the mean square."""
    variance = square - mean**2
    return 0.0 if variance < _FLAT * square else variance


def _moments_of_logs(squares: list[float], shift: float) -> tuple[int, float, float]:
    """Return number, mean and variance of the logarithms of the roots, shifted.

    Squares that are 0 are left out. For so few numbers, NumPy takes longer.
    """
    logs = [0.5 * math.log(square) + shift for square in squares if square > 0]
    if not logs:
        return 0, 0.0, 0.0
    mean = math.fsum(logs) / len(logs)
    return len(logs), mean, math.fsum((log - mean) ** 2 for log in logs) / len(logs)


def _rounded(factor: float) -> str:
    return f"{factor:.0f}" if factor < 1e4 else f"{factor:.0e}"
