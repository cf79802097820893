"""Checked images and their shapes, as layers pass them on."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import joblib
import numpy as np
from sklearn.utils import gen_batches

from skdmn.core import transfer
from skdmn.core.backend import (
    Array,
    Place,
    float_dtype,
    own_place,
    take,
    to_numpy,
    widest_float,
    working_memory,
)
from skdmn.core.convolve import Pair
from skdmn.layers.sliced import Sliced

BATCH_BYTES = 64 * 2**20  # input and output of a batch, together

Shape = tuple[int, int, int]  # height, width, channels

_INSIDE = ("skdmn.", "sklearn.", "joblib.")


@dataclass(frozen=True)
class Images:
    """Checked images, in place, and where to compute on them.

    Attributes
    ----------
    data : array or Sliced of shape (n, height, width, channels)
        A view of what the user gave, of its library, device and dtype.
    place, compute : Place
        Where the data lies (and results go), where batches are computed.
    dtype : {"float32", "float64"}
        What they are computed in.
    chosen : ndarray of int, or None
        Indices of the images that count, all where None.
    """

    data: Array
    place: Place
    compute: Place
    dtype: str
    chosen: np.ndarray | None = None

    @classmethod
    def of(cls, X: Array, shape: Shape, place: Place, compute: Place) -> Images:
        """Look at checked images or rows as images of a shape."""
        wide = float_dtype(X, place.xp) == place.xp.float64
        shape_of_all = (X.shape[0], *shape)
        data = (
            X.reshaped(shape_of_all)
            if isinstance(X, Sliced)
            else place.xp.reshape(X, shape_of_all)
        )
        return cls(data, place, compute, "float64" if wide else "float32")

    def __len__(self) -> int:
        return int(self.data.shape[0]) if self.chosen is None else len(self.chosen)

    @property
    def shape(self) -> Shape:
        """Height, width and channels."""
        height, width, channels = self.data.shape[1:]
        return height, width, channels

    def read(self, some: slice) -> Array:
        """Return some of the images that count, unconverted, where they lie."""
        wanted = some if self.chosen is None else self.chosen[some]
        if isinstance(self.data, Sliced):
            return self.data.read(wanted)
        if isinstance(wanted, slice):
            return self.data[wanted, ...]
        return take(self.data, wanted, axis=0)

    def batch_size(self, values_per_image: int = 0) -> int:
        """Return how many images make a batch; see `batches`."""
        size = transfer.batch_bytes(self.compute, BATCH_BYTES)
        size = min(size, working_memory() // 2)
        return max(1, size // self._float_bytes(values_per_image))

    def _float_bytes(self, values_per_image: int = 0) -> int:
        floats = math.prod(self.shape) + values_per_image
        return floats * (8 if self.dtype == "float64" else 4)

    def batches(
        self,
        values_per_image: int = 0,
        function: Callable[[Array], Array] | None = None,
    ) -> Iterator[tuple[slice, Array]]:
        """Yield slices and their images, unconverted, where they are computed.

        Parameters
        ----------
        values_per_image : int
            How many floats each image becomes, besides its own pixels.
        function : callable or None
            What to yield of a batch instead of its images. Here, unlike outside, it
            gets smaller batches where memory runs out.
        """

        def compute(batch: Array) -> Array:
            batch = self._prepared(batch)
            return batch if function is None else function(batch)

        size = self.batch_size(values_per_image)
        return transfer.batches(len(self), size, self.read, compute, self._link)

    def _prepared(self, batch: Array) -> Array:
        """Return what is made of a batch before anything else."""
        return batch

    @property
    def _link(self) -> transfer.Link:
        return transfer.link(self.place, self.compute)

    def fingerprint(self) -> str:
        """Hash the images that count, some at a time, wherever they lie."""
        size = max(1, BATCH_BYTES // self._float_bytes())
        hashes = [
            joblib.hash(np.ascontiguousarray(to_numpy(self.read(some))))
            for some in gen_batches(len(self), size)
        ]
        return joblib.hash((hashes, self.dtype))

    def float_batches(
        self,
        values_per_image: int = 0,
        function: Callable[[Array], Array] | None = None,
    ) -> Iterator[tuple[slice, Array]]:
        """Yield slices and their images as floats; see `batches`."""
        xp = self.compute.xp

        def compute(batch: Array) -> Array:
            batch = xp.astype(batch, getattr(xp, self.dtype), copy=False)
            return batch if function is None else function(batch)

        return self.batches(values_per_image, compute)

    def wide_batches(self) -> Iterator[Array]:
        """Yield images in the widest float of the device, to sum them."""
        for _, batch in self.batches():
            yield self.compute.xp.astype(batch, widest_float(self.compute))

    def map(
        self,
        function: Callable[[Array], Array],
        shape: tuple[int, ...],
        any_dtype: bool = False,
    ) -> Array:
        """Apply a function to all images, batch by batch.

        Parameters
        ----------
        function : callable
            Takes float images (n, height, width, channels), returns (n, *shape).
        shape : tuple of int
        any_dtype : bool
            Whether it takes images as they are, and any number of them at once, which
            it then goes through in small pieces by itself.

        Returns
        -------
        array of shape (n, *shape), where the data lies
        """
        in_reach = self.compute == self.place and not isinstance(self.data, Sliced)
        if any_dtype and in_reach and self.chosen is None:
            return function(self.data)
        xp, out = self.place.xp, None
        batches = self.batches if any_dtype else self.float_batches
        parts = batches(math.prod(shape), function)
        for some, part in transfer.results(parts, self._link):
            # one batch: nothing to put together
            if part.shape[0] == len(self) and self.place == self.compute:
                # a window of one pixel, say, is a view of the user's images
                shared = isinstance(self.data, np.ndarray) and np.may_share_memory(
                    part, self.data
                )
                return part.copy() if shared else part
            if out is None:
                dtype = getattr(xp, self.dtype)
                out = xp.empty(
                    (len(self), *shape), dtype=dtype, device=self.place.device
                )
            out[some, ...] = part
        return out


def as_pair(value: Any, name: str) -> Pair:
    """Return (vertical, horizontal) from an int or a pair of them."""
    pair = (value, value) if isinstance(value, Integral) else tuple(value)
    if len(pair) != 2 or not all(_is_positive_int(length) for length in pair):
        raise ValueError(
            f"{name}={value!r} is not a size; pass a positive int, or a pair "
            "(vertical, horizontal) of them."
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
            "(height, width, channels), positive ints."
        )
    return with_channels(shape)


def with_channels(shape: tuple[int, ...]) -> Shape:
    """Return (height, width, channels) from a shape that may leave one channel out."""
    height, width, channels = (*shape, 1)[:3]
    return int(height), int(width), int(channels)


def could_be_picture(width: int) -> bool:
    """Whether rows of a width can be flattened images at least 3 pixels a side."""
    return any(
        width % side == 0 and width // side >= 3
        for side in range(3, math.isqrt(width) + 1)
    )


def value_names(shape: Shape) -> np.ndarray:
    """Name the values of an image, in C order: ``y12_x07_f03``."""
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


def rows(images: Array) -> Array:
    """Flatten each image, in C order."""
    xp = own_place(images).xp
    return xp.reshape(images, (images.shape[0], math.prod(images.shape[1:])))


def times(shape: Shape) -> str:
    """Write a shape out for a message."""
    height, width, channels = shape
    return f"{height} x {width} pixels and {channels} channel" + "s" * (channels != 1)


def check_is_one_array(X: Any) -> None:
    """Raise where X is a collection of images that make no array."""
    if type(X).__module__.startswith("dask."):
        raise TypeError(
            "X is a dask collection; pass it to skdmn.distributed.fit(estimator, X, y) "
            "or transform(estimator, X), or its values, X.compute()."
        )
    if hasattr(X, "__next__"):
        raise ValueError(
            "X is an iterator, but fitting takes several passes; write it to a file "
            "with skdmn.store.save_batches, and pass that."
        )
    if isinstance(X, np.ndarray):
        if X.dtype != object or X.ndim != 1:
            return
    elif not isinstance(X, (list, tuple)):
        return
    try:
        shapes = {np.shape(image) for image in X}
    except ValueError:  # an image that is ragged itself
        raise ValueError(
            "X holds images whose rows differ in length; bring all images to one "
            "shape first."
        ) from None
    if len(shapes) > 1:
        raise ValueError(
            f"X holds images of {len(shapes)} different shapes, {min(shapes)} and "
            f"{max(shapes)} among them; bring all images to one shape first."
        )
    if isinstance(X, np.ndarray) and shapes != {()}:
        raise ValueError(
            f"X is an object array of {len(X)} images of shape {min(shapes)}; pass "
            "np.stack(X)."
        )


def check_could_be_images(X: Array | Sliced) -> None:
    """Raise where an array has not the shape or dtype of images or rows."""
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
            "Reshape your data, a single image with X[np.newaxis]."
        )


def warn_user(message: str) -> None:
    """Warn at the line outside scikit-learn and this package that led here."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and _is_inside(frame.f_globals):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)


def _is_inside(names: dict[str, Any]) -> bool:
    return str(names.get("__name__")).startswith(_INSIDE)  # code of exec has no name


def _is_positive_int(value: Any) -> bool:
    return (
        isinstance(value, Integral) and not isinstance(value, bool) and int(value) > 0
    )
