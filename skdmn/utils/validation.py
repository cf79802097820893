"""Checks of sizes, shapes and arrays that users pass, and warnings."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_array

Pair = tuple[int, int]  # vertical, horizontal
Shape = tuple[int, int, int]  # height, width, channels

LARGEST_SIZE = 2**31 - 1  # of a window, a step or an image along an axis

MOVE_CHANNELS = "; if channels come first, pass np.moveaxis(X, 1, -1)"

_INSIDE = ("skdmn.", "sklearn.", "joblib.")

_ONE_SIZE = (
    "convert all images to one shape first, as "
    "skdmn.datasets.load_image_folder(folder, size=...) does with files"
)

# what NumPy, or scikit-learn for sparse matrices, converts to an array
_ARRAY_PROTOCOLS = (
    "__array__",
    "__array_interface__",
    "__array_struct__",
    "__array_namespace__",
    "tocsr",
)


def as_pair(value: Any, name: str) -> Pair:
    """Return (vertical, horizontal) from an int or a pair of ints."""
    pair = (value, value) if isinstance(value, Integral) else tuple(value)
    if len(pair) != 2 or not all(_is_positive_int(length) for length in pair):
        raise ValueError(
            f"{name}={value!r} is not a size; pass an int from 1 to {LARGEST_SIZE}, or "
            "a pair (vertical, horizontal) of such ints."
        )
    return int(pair[0]), int(pair[1])


def as_shape(image_shape: Any) -> Shape | None:
    """Return (height, width, channels) from the parameter `image_shape`."""
    if image_shape is None:
        return None
    shape = tuple(image_shape) if np.iterable(image_shape) else ()
    if len(shape) not in (2, 3) or not all(_is_positive_int(size) for size in shape):
        raise ValueError(
            f"image_shape={image_shape!r} is not a shape; pass (height, width) or "
            "(height, width, channels) as positive ints, without the number of images."
        )
    return with_channels(shape)


def with_channels(shape: tuple[int, ...]) -> Shape:
    """Return (height, width, channels); 1 channel if the shape has no channels."""
    height, width, channels = (*shape, 1)[:3]
    return int(height), int(width), int(channels)


def channels_first_hint(shape: Shape) -> str:
    """Return advice for a message if an image shape may have its channels first."""
    return MOVE_CHANNELS if _may_have_channels_first(shape) else ""


def _may_have_channels_first(shape: Shape) -> bool:
    """Return True if the first size is small, and the others may be of an image."""
    first, least, most = shape[0], min(shape[1:]), max(shape[1:])
    if least <= 4:
        return False  # a plausible number of channels, or too small to tell
    if least == most and first in (1, 3):
        return True
    if first == 1:  # one-dimensional signals may have many channels
        return most < 2 * least
    return 4 * first <= least and most <= 4 * least


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


def as_one_array(X: Any, name: str = "X") -> Any:
    """Return data that scikit-learn can convert to an array, or raise.

    A Series, an object array or a data frame of one column may hold one array per
    sample. These are stacked, as NumPy does with a list of arrays.

    Parameters
    ----------
    X : object
    name : str, default="X"
        Name of the data, for messages.

    Raises
    ------
    TypeError
        If X is a dask collection.
    ValueError
        If X is an iterator, a data loader or another object that is not an array, if
        its samples differ in shape or are missing, or if a value is masked.
    """
    if type(X) is np.ndarray and X.dtype != object:
        return X
    if type(X).__module__.startswith("dask."):
        raise TypeError(
            f"{name} is a dask collection; pass it to skdmn.distributed.fit(estimator, "
            "X, y) or transform(estimator, X), or pass its values, "
            f"{name}.compute()."
        )
    _check_is_array_like(X, name)
    X = _without_frame(unmasked(X, name), name)
    is_array = isinstance(X, np.ndarray)
    if isinstance(X, np.ndarray) and (X.dtype != object or X.ndim != 1):
        return X
    if not isinstance(X, (list, tuple, np.ndarray)):
        return X
    shapes = _shapes_of_samples(X, name)
    if len(shapes) > 1:
        raise ValueError(
            f"{name} contains images of {len(shapes)} different shapes, among them "
            f"{min(shapes)} and {max(shapes)}; {_ONE_SIZE}."
        )
    if is_array and shapes and shapes != {()}:
        return np.stack([_unnested(sample) for sample in X])
    return X


def as_rows(X: Any, dtype: Any = np.float64) -> np.ndarray:
    """Return rows, or images as rows in C order, as a checked array.

    Parameters
    ----------
    X : array-like of shape (n, n_features) or (n, height, width[, channels])
    dtype : dtype or "numeric", default=float64

    Returns
    -------
    ndarray of shape (n, n_features)

    Raises
    ------
    ValueError
        If X has one dimension, or is empty or not finite.
    """
    X = check_array(as_one_array(X), dtype=dtype, allow_nd=True)
    return X.reshape(len(X), -1)


def unmasked(values: Any, name: str) -> Any:
    """Return a masked array as an array; raise if one of its values is masked.

    A conversion by NumPy would use masked values as data.

    Parameters
    ----------
    values : object
        Objects other than masked arrays (`numpy.ma`) are returned.
    name : str
        Name of the values, for the message.
    """
    if not isinstance(values, np.ma.MaskedArray):
        return values
    if np.ma.is_masked(values):
        raise ValueError(
            f"{name} is a masked array (numpy.ma), and {np.ma.count_masked(values)} of "
            f"its {values.size} values are masked; fill them, as with "
            f"numpy.ma.filled({name}, 0), or leave out the samples that contain them."
        )
    return np.asarray(values)


def single_image_hint(shape: tuple[int, ...], n_features: int) -> str:
    """Return advice for an error message if X may be one image instead of several."""
    if len(shape) > 1 and math.prod(shape) == n_features:
        return "; if X is a single image, pass X[np.newaxis]"
    return ""


def _check_is_array_like(X: Any, name: str) -> None:
    """Raise if X is an object that NumPy would not convert to an array of numbers."""
    is_iterator = hasattr(X, "__next__")
    if not is_iterator and (
        isinstance(X, (Sequence, memoryview))
        or any(hasattr(X, protocol) for protocol in _ARRAY_PROTOCOLS)
        or not (hasattr(X, "__iter__") or hasattr(X, "__getitem__"))
    ):
        return
    kind = type(X).__name__
    is_torch = any(c.__module__.startswith("torch.utils.data") for c in type(X).__mro__)
    if is_iterator:
        what = "an iterator, but fitting takes several passes; write its batches"
    elif not is_torch:
        what = (
            f"of type {kind}, not an array; pass an array or a list of images, or "
            "write batches of images"
        )
    elif hasattr(X, "__getitem__"):
        what = (
            f"of type {kind}, a dataset of torch; write the batches of "
            f"torch.utils.data.DataLoader({name}, batch_size=256)"
        )
    else:
        what = f"of type {kind}, a data loader of torch; write its batches"
    raise ValueError(
        f"{name} is {what} to a file with skdmn.data.files.save_batches (channels "
        "last, see np.moveaxis), and pass the array that it returns."
    )


def _without_frame(X: Any, name: str) -> Any:
    """Return the array of a Series or of a frame's only column, if it holds arrays."""
    columns, dtypes = getattr(X, "columns", None), getattr(X, "dtypes", None)
    if columns is not None and dtypes is not None and len(columns):
        nested = [
            column
            for column, dtype in zip(columns, dtypes, strict=True)
            if _may_hold_arrays(dtype) and _holds_arrays(X[column])
        ]
        if nested and len(columns) > 1:
            raise ValueError(
                f"{name} has {len(columns)} columns, and column {nested[0]!r} holds "
                f"arrays; pass a single column of images, {name}[{nested[0]!r}]."
            )
        return X[nested[0]].to_numpy() if nested else X
    is_series = hasattr(X, "to_numpy") and _may_hold_arrays(getattr(X, "dtype", ""))
    return X.to_numpy() if is_series and _holds_arrays(X) else X


def _may_hold_arrays(dtype: Any) -> bool:
    # object; List and Array of polars; list and fixed_size_list of pyarrow
    return str(dtype).lower().startswith(("object", "list", "array", "fixed_size_list"))


def _holds_arrays(series: Any) -> bool:
    """Return True if the first entry of a Series that is not missing is an array."""
    values = series.to_numpy()
    if values.ndim > 1:
        return True
    for value in values:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            continue
        return isinstance(value, (list, tuple)) or np.ndim(value) > 0
    return False


def _shapes_of_samples(X: Any, name: str) -> set[tuple[int, ...]]:
    """Return the shapes of the samples in a list; raise if one is not an array."""
    shapes: dict[tuple[int, ...], int] = {}  # and where each occurs first
    for at, sample in enumerate(X):
        unmasked(sample, f"{name}[{at}]")
        try:
            shape = np.shape(_unnested(sample))
        except ValueError:
            raise ValueError(
                f"{name} contains images whose rows differ in length; {_ONE_SIZE}."
            ) from None
        shapes.setdefault(shape, at)
    if len(shapes) > 1 and () in shapes:
        at = shapes[()]
        raise ValueError(
            f"{name}[{at}] is {X[at]!r:.40}, not an image like the others; leave it "
            "and its label out."
        )
    return set(shapes)


def _unnested(sample: Any) -> Any:
    """Return a sample; an array whose rows are arrays, as of polars, is stacked."""
    if not isinstance(sample, np.ndarray) or sample.dtype != object:
        return sample
    if sample.ndim != 1 or not any(np.ndim(row) for row in sample):
        return sample
    return np.stack([_unnested(row) for row in sample])


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


def one_line(value: Any) -> str:
    """Return the representation of a value in one line, for a message."""
    return " ".join(repr(value).split())


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
    is_int = isinstance(value, Integral) and not isinstance(value, bool)
    return is_int and 0 < int(value) <= LARGEST_SIZE
