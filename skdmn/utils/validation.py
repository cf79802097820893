"""Checks of sizes, shapes and arrays that users pass, and warnings."""

from __future__ import annotations

import math
import sys
import warnings
from numbers import Integral
from typing import Any

import numpy as np

Pair = tuple[int, int]  # vertical, horizontal
Shape = tuple[int, int, int]  # height, width, channels


_INSIDE = ("skdmn.", "sklearn.", "joblib.")


def as_pair(value: Any, name: str) -> Pair:
    """Return (vertical, horizontal) from an int or a pair of ints."""
    pair = (value, value) if isinstance(value, Integral) else tuple(value)
    if len(pair) != 2 or not all(_is_positive_int(length) for length in pair):
        raise ValueError(
            f"{name}={value!r} is not a size; pass a positive int, or a pair "
            "(vertical, horizontal) of positive ints."
        )
    return int(pair[0]), int(pair[1])


def as_shape(image_shape: Any) -> Shape | None:
    """Return (height, width, channels) from the parameter `image_shape`."""
    if image_shape is None:
        return None
    shape = tuple(image_shape)
    if len(shape) not in (2, 3) or not all(_is_positive_int(size) for size in shape):
        raise ValueError(
            f"image_shape={image_shape!r} is not a shape; pass (height, width) or "
            "(height, width, channels) as positive ints."
        )
    return with_channels(shape)


def with_channels(shape: tuple[int, ...]) -> Shape:
    """Return (height, width, channels); 1 channel if the shape has no channels."""
    height, width, channels = (*shape, 1)[:3]
    return int(height), int(width), int(channels)


def could_be_picture(width: int) -> bool:
    """Return True if a row of this length can be an image of at least 3 x 3 pixels."""
    return any(
        width % side == 0 and width // side >= 3
        for side in range(3, math.isqrt(width) + 1)
    )


def value_names(shape: Shape) -> np.ndarray:
    """Return the names of an image's values in C order, such as ``y12_x07_f03``."""
    height, width, channels = shape
    digits = [len(str(size - 1)) for size in shape]
    return np.array(
        [
            f"y{y:0{digits[0]}}_x{x:0{digits[1]}}_f{f:0{digits[2]}}"
            for y in range(height)
            for x in range(width)
            for f in range(channels)
        ],
        dtype=object,
    )


def times(shape: Shape) -> str:
    """Format a shape for a message."""
    height, width, channels = shape
    return f"{height} x {width} pixels and {channels} channel" + "s" * (channels != 1)


def check_is_one_array(X: Any) -> None:
    """Raise if X is a collection of images that cannot be converted to one array."""
    if type(X).__module__.startswith("dask."):
        raise TypeError(
            "X is a dask collection; pass it to skdmn.distributed.fit(estimator, X, y) "
            "or transform(estimator, X), or pass its values, X.compute()."
        )
    if hasattr(X, "__next__"):
        raise ValueError(
            "X is an iterator, but fitting takes several passes; write it to a file "
            "with skdmn.data.files.save_batches, and pass the array that it returns."
        )
    if isinstance(X, np.ndarray):
        if X.dtype != object or X.ndim != 1:
            return
    elif not isinstance(X, (list, tuple)):
        return
    try:
        shapes = {np.shape(image) for image in X}
    except ValueError:  # one image is ragged
        raise ValueError(
            "X contains images whose rows differ in length; convert all images to one "
            "shape first."
        ) from None
    if len(shapes) > 1:
        raise ValueError(
            f"X contains images of {len(shapes)} different shapes, among them "
            f"{min(shapes)} and {max(shapes)}; convert all images to one shape first."
        )
    if isinstance(X, np.ndarray) and shapes != {()}:
        raise ValueError(
            f"X is an object array of {len(X)} images of shape {min(shapes)}; pass "
            "np.stack(X)."
        )


def check_could_be_images(X: Any) -> None:
    """Raise if an array does not have the shape and dtype of images or rows."""
    if 0 in X.shape:
        raise ValueError(
            f"X has shape {tuple(X.shape)}; pass images of at least one pixel each."
        )
    if getattr(X.dtype, "kind", "f") in "mM":
        raise ValueError(f"X has dtype {X.dtype}; pass integers or floats.")
    if X.ndim not in (2, 3, 4):
        raise ValueError(
            "Expected images of shape (n, height, width) or (n, height, width, "
            f"channels), or a 2D array of rows, got shape {tuple(X.shape)}. "
            "Reshape your data; for a single image, pass X[np.newaxis]."
        )


def warn_user(message: str) -> None:
    """Warn with the caller's line outside of scikit-learn, joblib and this package."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and _is_inside(frame.f_globals):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)


def _is_inside(names: dict[str, Any]) -> bool:
    # `__name__` may be missing in code run by exec
    return str(names.get("__name__")).startswith(_INSIDE)


def _is_positive_int(value: Any) -> bool:
    return (
        isinstance(value, Integral) and not isinstance(value, bool) and int(value) > 0
    )
