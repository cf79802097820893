"""Records of operations: how to run each one, and the shape of its output."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import array_api_compat
import numpy as np

from skdmn.kernels import dispatch
from skdmn.kernels.geometry import (
    WHOLE,
    Padding,
    Pair,
    Window,
    check_filters,
    check_window,
    output_size,
)
from skdmn.kernels.reference.contrast import Encoding, check_encoding
from skdmn.utils.array_api import (
    Array,
    Backend,
    own_backend,
    take,
    to_backend,
    to_numpy,
)
from skdmn.utils.validation import Shape


@dataclass(frozen=True)
class Operation:
    """Base class of operations, which compute images from images.

    To write your own operation, inherit from this class as a frozen dataclass with
    arrays as fields. Define `__call__` and, if the shape of an image changes,
    `output_shape`. Networks can run it; exports raise an error with its name. The
    result must depend on the images and the attributes only, and the NumPy arrays that
    `__call__` finds in its attributes are read-only: they are kept for the next call.
    """

    #: True if the input may have any real dtype and needs no conversion to floats.
    takes_any_dtype: ClassVar[bool] = False
    #: True if any number of images can be passed at once, because the operation
    #: processes them in pieces and so bounds its memory.
    is_tiled: ClassVar[bool] = False

    def output_shape(self, shape: Shape) -> Shape:
        """Return the output shape (height, width, channels) for an input shape."""
        return shape

    def check(self, shape: Shape) -> None:
        """Raise ValueError if the operation cannot take images of a shape."""

    def __call__(self, images: Array) -> Array:
        """Compute the operation on images of shape (n, height, width, channels)."""
        raise NotImplementedError(f"{type(self).__name__} does not define __call__.")

    def moved(self, backend: Backend, dtype: str) -> Self:
        """Return a copy whose floating arrays have a namespace, device and dtype."""
        wanted = getattr(backend.xp, dtype)

        def move(array: Array) -> Array:
            return backend.xp.astype(to_backend(array, backend), wanted, copy=False)

        return self._with_arrays(move)

    def on_host(self) -> Self:
        """Return a copy whose floating arrays are NumPy arrays of the same dtype."""
        return self._with_arrays(to_numpy)

    def _with_arrays(self, function: Callable[[Array], Array]) -> Self:
        changed: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if _is_floating(value) and not one.metadata.get("stays"):
                found = function(value)
                if found is not value:
                    changed[one.name] = found
        return replace(self, **changed) if changed else self


@dataclass(frozen=True)
class Convolve(Operation):
    """Multiply patches by filters, then add a bias.

    Attributes
    ----------
    filters : array of shape (n_filters, kernel height, kernel width, channels)
    stride : (int, int), default=(1, 1)
    padding : {"valid", "same"}, default="valid"
    bias : array of shape (n_filters,) or None, default=None
    """

    filters: Array
    stride: Pair = (1, 1)
    padding: Padding = "valid"
    bias: Array | None = None

    takes_any_dtype = True
    is_tiled = True

    @property
    def window(self) -> Window:
        """Size, stride and padding of the kernel."""
        _, height, width, _ = self.filters.shape
        return Window((height, width), self.stride, self.padding)

    def output_shape(self, shape: Shape) -> Shape:
        """Return (rows, columns, n_filters)."""
        return *self.window.output_size(shape), self.filters.shape[0]

    def check(self, shape: Shape) -> None:
        """Raise ValueError if filters or bias do not fit images of a shape."""
        check_filters(shape, self.filters.shape)
        check_window(shape, *self.window)
        if self.bias is not None:
            _check_shapes(self.filters.shape[:1], bias=self.bias)

    def __call__(self, images: Array) -> Array:
        """Convolve images."""
        found = dispatch.convolve(images, self.filters, self.stride, self.padding, None)
        return found if self.bias is None else found + self.bias


@dataclass(frozen=True)
class Rectify(Operation):
    """Replace negative values by 0 (ReLU)."""

    def __call__(self, images: Array) -> Array:
        """Rectify images."""
        xp = own_backend(images).xp
        return xp.maximum(images, xp.zeros_like(images[:1, ...][:, :1, :1, :1]))


@dataclass(frozen=True)
class MaxPool(Operation):
    """Keep the largest value of every window; padding adds minus infinity."""

    window: Window

    def output_shape(self, shape: Shape) -> Shape:
        """Return (rows, columns, channels)."""
        return *self.window.output_size(shape), shape[2]

    def check(self, shape: Shape) -> None:
        """Raise ValueError if windows do not fit images of a shape."""
        check_window(shape, *self.window)

    def __call__(self, images: Array) -> Array:
        """Pool images."""
        return dispatch.max_pool(images, self.window, images.dtype)


@dataclass(frozen=True)
class AveragePool(Operation):
    """Average every window, over its pixels inside the image."""

    window: Window

    def output_shape(self, shape: Shape) -> Shape:
        """Return (rows, columns, channels)."""
        return *self.window.output_size(shape), shape[2]

    def check(self, shape: Shape) -> None:
        """Raise ValueError if windows do not fit images of a shape."""
        check_window(shape, *self.window)

    def __call__(self, images: Array) -> Array:
        """Pool images."""
        return dispatch.average_pool(images, self.window, 1.0, images.dtype)


@dataclass(frozen=True)
class Power(Operation):
    """Raise magnitudes to a power and keep the signs."""

    power: float

    def __call__(self, images: Array) -> Array:
        """Raise images to the power."""
        return dispatch.average_pool(images, WHOLE, self.power, images.dtype)


@dataclass(frozen=True)
class Encode(Operation):
    """Multiply contrast-normalized patches by filters, then soft-threshold two-sided.

    A patch p becomes q = (p - mean(p)) / sqrt(var(p) + floor); the channels are
    ``max(w q - threshold, 0)`` of all filters w, then ``max(-w q - threshold, 0)``.

    Attributes
    ----------
    filters : array of shape (n_filters, kernel height, kernel width, channels)
        The entries of each sum to 0.
    floor, threshold : float
    components : array of shape (n_components, kernel height, width, channels) or None
        Orthonormal vectors; the filters are linear combinations of them. Kernels use
        them to save products.
    """

    filters: Array
    floor: float
    threshold: float
    components: Array | None = None

    takes_any_dtype = True
    is_tiled = True

    @property
    def how(self) -> Encoding:
        """The parameters in the form that kernels take."""
        return Encoding(self.filters, self.floor, self.threshold, self.components)

    @property
    def window(self) -> Window:
        """Size, stride and padding of the patches."""
        return Window(self.how.size, (1, 1), "valid")

    def output_shape(self, shape: Shape) -> Shape:
        """Return (rows, columns, 2 * n_filters)."""
        size = output_size(shape, self.how.size, (1, 1), "valid")
        return *size, 2 * self.filters.shape[0]

    def check(self, shape: Shape) -> None:
        """Raise ValueError if filters do not fit images of a shape."""
        check_encoding(shape, self.how)
        check_window(shape, *self.window)

    def __call__(self, images: Array) -> Array:
        """Encode images."""
        return dispatch.encode(images, self.how)


@dataclass(frozen=True)
class ScaleChannels(Operation):
    """Subtract the mean of each channel and divide by its scale, which is positive."""

    mean: Array
    scale: Array

    def check(self, shape: Shape) -> None:
        """Raise ValueError if mean and scale do not fit images of a shape."""
        _check_shapes(shape[2:], mean=self.mean, scale=self.scale)

    def __call__(self, images: Array) -> Array:
        """Scale images."""
        return (images - self.mean) / self.scale


@dataclass(frozen=True)
class Select(Operation):
    """Keep some of the channels.

    Attributes
    ----------
    channels : ndarray of shape (n_kept,), int
    n_channels : int
        Number of input channels.
    """

    channels: np.ndarray
    n_channels: int

    def output_shape(self, shape: Shape) -> Shape:
        """Return (height, width, n_kept)."""
        return *shape[:2], len(self.channels)

    def check(self, shape: Shape) -> None:
        """Raise ValueError if images of a shape do not have the channels."""
        last = max(self.channels, default=-1)
        if not 0 <= last < shape[2] or min(self.channels) < 0:
            raise ValueError(
                f"channels of Select are {self.channels}, but images have {shape[2]} "
                "channels; pass indices of these."
            )

    def __call__(self, images: Array) -> Array:
        """Select the channels of images."""
        return take(images, self.channels, axis=3)


@dataclass(frozen=True)
class Flatten(Operation):
    """Turn each image of a shape into a row, in C order of (y, x, channel)."""

    shape: Shape

    takes_any_dtype = True
    is_tiled = True

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of a row, as an image with one channel."""
        return 1, math.prod(self.shape), 1

    def check(self, shape: Shape) -> None:
        """Raise ValueError if images have another shape."""
        if tuple(shape) != tuple(self.shape):
            raise ValueError(
                f"Flatten takes images of shape {self.shape}, got {shape}; pass images "
                "of that shape."
            )

    def __call__(self, images: Array) -> Array:
        """Flatten images."""
        xp = own_backend(images).xp
        return xp.reshape(images, (images.shape[0], math.prod(images.shape[1:])))


@dataclass(frozen=True)
class Unflatten(Operation):
    """Turn each row into an image of a shape."""

    shape: Shape

    takes_any_dtype = True
    is_tiled = True

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of the images."""
        return self.shape

    def __call__(self, images: Array) -> Array:
        """Unflatten rows."""
        return own_backend(images).xp.reshape(images, (images.shape[0], *self.shape))


@dataclass(frozen=True)
class ScaleValues(Operation):
    """Subtract the mean of each value of a row and divide by its scale."""

    mean: Array
    scale: Array

    def __call__(self, images: Array) -> Array:
        """Scale rows."""
        return (images - self.mean) / self.scale


@dataclass(frozen=True)
class Scores(Operation):
    """Compute the logits of rows, (x - mean) coef^T + intercept; one for two classes.

    Attributes
    ----------
    coef : array of shape (n_classes, n_features) or (1, n_features)
    intercept : array of shape (n_classes,) or (1,)
    mean : array of shape (n_features,)
    classes : ndarray of shape (n_classes,)
        The labels.
    """

    coef: Array
    intercept: Array
    mean: Array
    classes: np.ndarray = field(metadata={"stays": True})

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape of the logits, as an image with one channel."""
        return 1, self.coef.shape[0], 1

    def __call__(self, images: Array) -> Array:
        """Compute the logits of rows."""
        return (images - self.mean) @ self.coef.T + self.intercept

    def of_all_classes(self) -> Scores:
        """Return an operation with one logit per class, for a softmax."""
        if len(self.coef) > 1:
            return self
        coef, intercept = (
            np.concatenate([np.zeros_like(array), array])
            for array in map(to_numpy, (self.coef, self.intercept))
        )
        return replace(self, coef=coef, intercept=intercept)


@dataclass(frozen=True)
class AverageFlips(Operation):
    """Average the outputs of operations for an image and for its horizontal flip."""

    operations: tuple[Operation, ...]
    dtype: str = "float32"

    takes_any_dtype = True

    def output_shape(self, shape: Shape) -> Shape:
        """Return the output shape of the operations."""
        for operation in self.operations:
            shape = operation.output_shape(shape)
        return shape

    def check(self, shape: Shape) -> None:
        """Raise ValueError if an operation cannot take its input."""
        check_operations(self.operations, shape)

    def __call__(self, images: Array) -> Array:
        """Run the operations twice and average."""
        flipped = own_backend(images).xp.flip(images, axis=2)
        # halved first: the sum of two values near the largest float overflows
        mean = run(self.operations, images, self.dtype) * 0.5
        mean += run(self.operations, flipped, self.dtype) * 0.5
        return mean

    def moved(self, backend: Backend, dtype: str) -> Self:
        """Return a copy whose floating arrays have a namespace, device and dtype."""
        moved = tuple(one.moved(backend, dtype) for one in self.operations)
        return replace(self, operations=moved, dtype=dtype)

    def _with_arrays(self, function: Callable[[Array], Array]) -> Self:
        moved = tuple(o._with_arrays(function) for o in self.operations)
        return replace(self, operations=moved)


@dataclass(frozen=True)
class Concatenate(Operation):
    """Run several lists of operations on the same images; concatenate their channels.

    Attributes
    ----------
    branches : tuple of tuples of Operation
        The lists. Their outputs have the same height and width.
    dtype : {"float32", "float64"}, default="float32"
    """

    branches: tuple[tuple[Operation, ...], ...]
    dtype: str = "float32"

    takes_any_dtype = True

    def output_shape(self, shape: Shape) -> Shape:
        """Return (rows, columns, total number of channels)."""
        shapes = self._shapes(shape)
        return *shapes[0][:2], sum(n_channels for _, _, n_channels in shapes)

    def _shapes(self, shape: Shape) -> list[Shape]:
        """Return the output shape of each branch."""
        return [
            functools.reduce(lambda given, one: one.output_shape(given), branch, shape)
            for branch in self.branches
        ]

    def check(self, shape: Shape) -> None:
        """Raise ValueError if a branch cannot take its input, or sizes differ."""
        for branch in self.branches:
            check_operations(branch, shape)
        sizes = [(height, width) for height, width, _ in self._shapes(shape)]
        if len(set(sizes)) != 1:
            raise ValueError(
                f"The branches of Concatenate give images of sizes {sizes}; pass "
                "branches whose outputs have one size."
            )

    def __call__(self, images: Array) -> Array:
        """Run all branches and concatenate."""
        found = [run(branch, images, self.dtype) for branch in self.branches]
        return own_backend(images).xp.concat(found, axis=3)

    def moved(self, backend: Backend, dtype: str) -> Self:
        """Return a copy whose floating arrays have a namespace, device and dtype."""
        moved = self.map(lambda branch: [one.moved(backend, dtype) for one in branch])
        return replace(moved, dtype=dtype)

    def map(
        self, function: Callable[[tuple[Operation, ...]], Iterable[Operation]]
    ) -> Self:
        """Return a copy with a function applied to every branch."""
        return replace(self, branches=tuple(tuple(function(b)) for b in self.branches))

    def _with_arrays(self, function: Callable[[Array], Array]) -> Self:
        return self.map(lambda branch: [o._with_arrays(function) for o in branch])


def check_operations(operations: Iterable[Operation], shape: Shape) -> Shape:
    """Raise if an operation cannot take the output of those before it.

    Parameters
    ----------
    operations : iterable of Operation
        Operations, in order.
    shape : (int, int, int)
        Height, width and channels of the images that the first one takes.

    Returns
    -------
    (int, int, int)
        Height, width and channels of the output of the last one.

    Raises
    ------
    ValueError
        If arrays, windows or channels do not fit.
    """
    for operation in operations:
        operation.check(shape)
        shape = operation.output_shape(shape)
    return shape


def run(operations: Iterable[Operation], images: Array, dtype: str) -> Array:
    """Apply operations to images, one after the other.

    Parameters
    ----------
    operations : iterable of Operation
        Operations whose arrays have the namespace and device of the images.
    images : array of shape (n, height, width, channels)
        Images of any real dtype.
    dtype : {"float32", "float64"}
        Dtype of the computation and of the output.

    Returns
    -------
    array of shape (n, height, width, channels) or (n, n_values)
    """
    xp = own_backend(images).xp
    floats = getattr(xp, dtype)
    for operation in operations:
        if not operation.takes_any_dtype:
            images = xp.astype(images, floats, copy=False)
        images = operation(images)
    return xp.astype(images, floats, copy=False)


def _is_floating(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind == "f"
    if not array_api_compat.is_array_api_obj(value):
        return False
    return bool(own_backend(value).xp.isdtype(value.dtype, "real floating"))


def _check_shapes(expected: tuple[int, ...], **arrays: Array) -> None:
    for name, array in arrays.items():
        if tuple(array.shape) != tuple(expected):
            raise ValueError(
                f"{name} has shape {tuple(array.shape)}, expected {tuple(expected)}; "
                "pass one value for each channel."
            )
