"""Division of a sum over the outputs of operations into a sum over their inputs.

A `Share` writes a number, such as a logit, as a sum over the values of an array. Each
rule below takes the share in terms of the output of an operation, and returns it in
terms of the input. The sum does not change.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse

from skdmn.kernels.geometry import Window, every
from skdmn.kernels.reference.contrast import root_of_floor
from skdmn.kernels.reference.convolution import (
    pad,
    patches,
    signed_power,
)
from skdmn.operations import (
    AverageFlips,
    AveragePool,
    Concatenate,
    Convolve,
    Encode,
    Flatten,
    MaxPool,
    Operation,
    Power,
    Rectify,
    ScaleChannels,
    ScaleValues,
    Select,
    Unflatten,
)
from skdmn.utils.validation import Shape

#: How an operation that is not piecewise linear divides its value among its inputs.
CONVENTIONS: dict[type[Operation], str] = {
    Encode: "Each contrast-normalized feature is divided among the pixels of its patch "
    "in proportion to the products, weight times (pixel - mean of the patch), whose "
    "sum it depends on.",
    Power: "A power of a mean is divided among its terms in proportion to the terms.",
}


_ROUNDING = 1e-5  # accepted difference of filters of float32 that were factored
_SMALLEST = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class Share:
    """One number for each image, as a sum over the values of an array.

    The number is ``bias + (multipliers * values + offset).sum()``.

    Attributes
    ----------
    multipliers : ndarray of shape (n, ...)
        As the values.
    offset : ndarray of shape (n, ...) or None
        As the values; None means zeros.
    bias : ndarray of shape (n,)
        Part that belongs to no value.
    """

    multipliers: np.ndarray
    offset: np.ndarray | None
    bias: np.ndarray

    def terms(self, values: np.ndarray) -> np.ndarray:
        """Return what each value contributes."""
        return _added(self.multipliers * values, self.offset)

    def through(self, function: Callable[[np.ndarray], np.ndarray]) -> Share:
        """Apply a linear function to multipliers and offset."""
        offset = None if self.offset is None else function(self.offset)
        return replace(self, multipliers=function(self.multipliers), offset=offset)

    def times(self, factors: np.ndarray) -> Share:
        """Multiply the multipliers, because the values were multiplied."""
        return replace(self, multipliers=self.multipliers * factors)

    def without_offset(self) -> Share:
        """Move the offset to the bias."""
        if self.offset is None:
            return self
        axes = tuple(range(1, self.offset.ndim))
        return replace(self, offset=None, bias=self.bias + self.offset.sum(axis=axes))


def _added(one: np.ndarray, other: np.ndarray | None) -> np.ndarray:
    """Return a sum, in which None means zeros."""
    return one if other is None else one + other


Pull = Callable[[Share], Share]


def trace(
    operations: Iterable[Operation], values: np.ndarray
) -> tuple[np.ndarray, Pull]:
    """Run operations, and return how a share of their output becomes one of the input.

    Parameters
    ----------
    operations : iterable of Operation
        Operations with NumPy arrays of float64.
    values : ndarray of shape (n, height, width, channels) or (n, n_values), float64

    Returns
    -------
    values : ndarray
        The output of the last operation.
    pull : callable
        Takes a `Share` over the output, and returns it as a `Share` over the input.

    Raises
    ------
    TypeError
        If there is no rule for an operation.
    """
    pulls: list[Pull] = []
    for operation in operations:
        values, pull = step(operation, values)
        pulls.append(pull)

    def pull_all(share: Share) -> Share:
        for pull in reversed(pulls):
            share = pull(share)
        return share

    return values, pull_all


@functools.singledispatch
def step(operation: Operation, values: np.ndarray) -> tuple[np.ndarray, Pull]:
    """Run one operation; see `trace`."""
    raise refused(operation)


def refused(operation: Operation) -> TypeError:
    """Return the error for an operation without a rule."""
    return TypeError(
        f"{type(operation).__name__} is not an operation that skdmn.inspection can "
        "divide among pixels; express the layer by the records of skdmn.operations."
    )


def check_known(operations: Iterable[Operation]) -> None:
    """Raise TypeError if there is no rule for an operation."""
    for operation in flat(operations):
        if step.dispatch(type(operation)) is step.dispatch(object):
            raise refused(operation)


def flat(operations: Iterable[Operation]) -> Iterator[Operation]:
    """Yield operations, and before those that contain others, these others."""
    for operation in operations:
        if isinstance(operation, AverageFlips):
            yield from flat(operation.operations)
        if isinstance(operation, Concatenate):
            for branch in operation.branches:
                yield from flat(branch)
        yield operation


def values_per_image(operations: Iterable[Operation], shape: Shape) -> int:
    """Return about how many values one image needs in memory in `trace`."""
    total = math.prod(shape)
    for operation in operations:
        after = operation.output_shape(shape)
        total += 3 * math.prod(after)
        if isinstance(operation, Convolve | Encode):
            total += 4 * math.prod(after[:2]) * math.prod(operation.filters.shape[1:])
        if isinstance(operation, AverageFlips):
            total += 2 * values_per_image(operation.operations, shape)
        if isinstance(operation, Concatenate):
            total += sum(values_per_image(one, shape) for one in operation.branches)
        shape = after
    return total


# rules


@step.register
def _(operation: Convolve, values: np.ndarray) -> tuple[np.ndarray, Pull]:
    window, shape = operation.window, values.shape
    n_filters = len(operation.filters)
    weights = operation.filters.reshape(n_filters, -1)
    padded = pad(values, *window, 0)
    products = _times(patches(padded, window.size, window.stride), weights.T)
    bias = np.zeros(n_filters) if operation.bias is None else operation.bias

    def pull(share: Share) -> Share:
        share = share.without_offset()
        at_patches = _times(share.multipliers, weights)
        constant = share.multipliers.sum(axis=(1, 2)) @ bias
        inputs = _fold(at_patches, window, shape)
        return Share(inputs, None, share.bias + constant)

    return products + bias, pull


@step.register
def _(operation: Encode, values: np.ndarray) -> tuple[np.ndarray, Pull]:
    window, shape = operation.window, values.shape
    weights = operation.filters.reshape(len(operation.filters), -1)
    windows = patches(values, window.size)
    # first subtracting an entry makes patches of equal entries exactly 0
    first = windows[..., :1]
    windows = windows - first
    means = windows.mean(axis=-1, keepdims=True)
    windows -= means
    means += first
    contrasts = _contrasts(windows, operation.floor)
    windows /= contrasts
    factors = _factors(weights, operation.components)
    products = functools.reduce(lambda a, b: _times(a, b.T), factors, windows)
    n_filters = len(weights)
    # positive parts, then negative parts; of each pair, one is 0
    features = np.empty((*products.shape[:-1], 2 * n_filters))
    np.subtract(products, operation.threshold, out=features[..., :n_filters])
    np.subtract(-operation.threshold, products, out=features[..., n_filters:])
    np.maximum(features, 0, out=features)

    def pull(share: Share) -> Share:
        share = share.without_offset()
        above, below = np.split(share.multipliers, 2, axis=-1)
        # contributions of features, divided by products; without branches, which
        # would take longer than the arithmetic
        ratios = above * features[..., :n_filters]
        ratios -= below * features[..., n_filters:]
        magnitudes = np.abs(products)
        ratios /= np.maximum(magnitudes, _SMALLEST, out=magnitudes)
        at_patches = functools.reduce(_times, reversed(factors), ratios)
        at_patches /= contrasts
        inputs = _fold(at_patches, window, shape)
        at_patches *= -means
        return Share(inputs, _fold(at_patches, window, shape), share.bias)

    return features, pull


def _factors(
    weights: np.ndarray, components: np.ndarray | None
) -> tuple[np.ndarray, ...]:
    """Return matrices whose product is the weights: fewer operations, if possible.

    The last matrix has the components, which the filters are combinations of.
    """
    if components is None or len(components) * sum(weights.shape) >= weights.size:
        return (weights,)
    components = components.reshape(len(components), -1)
    mixtures = weights @ components.T
    error = np.abs(mixtures @ components - weights).max()
    if error > _ROUNDING * np.abs(weights).max():
        return (weights,)
    return components, mixtures


def _contrasts(centred: np.ndarray, floor: float) -> np.ndarray:
    """Return the square root of variance plus floor, of patches without their means."""
    # in units of the largest value, whose square does not overflow or underflow
    root = root_of_floor(floor, np.finfo(np.float64))
    unit = np.maximum(np.abs(centred).max(axis=-1, keepdims=True), root)
    variance = ((centred / unit) ** 2).mean(axis=-1, keepdims=True)
    return unit * np.sqrt(variance + (root / unit) ** 2)


@step.register
def _(operation: Rectify, values: np.ndarray) -> tuple[np.ndarray, Pull]:
    return np.maximum(values, 0), lambda share: share.times(values > 0)


@step.register
def _(operation: Power, values: np.ndarray) -> tuple[np.ndarray, Pull]:
    powers = signed_power(values, operation.power)

    def pull(share: Share) -> Share:
        ratios = np.divide(powers, values, out=np.zeros_like(values), where=values != 0)
        return share.times(ratios)

    return powers, pull


@step.register
def _(operation: MaxPool, values: np.ndarray) -> tuple[np.ndarray, Pull]:
    window, shape = operation.window, values.shape
    padded = pad(values, *window, -np.inf)
    counted = window.output_size(shape[1:])
    views = [padded[:, rows, columns] for rows, columns in _positions(window, counted)]
    largest = functools.reduce(np.maximum, views)
    n_winners = sum((view == largest).astype(np.float64) for view in views)

    def to_winners(outputs: np.ndarray) -> np.ndarray:
        each, inputs = outputs / n_winners, np.zeros(padded.shape)
        for (rows, columns), view in zip(
            _positions(window, counted), views, strict=True
        ):
            inputs[:, rows, columns] += np.where(view == largest, each, 0)
        return _inside(inputs, window, shape)

    return largest, lambda share: share.through(to_winners)


@step.register
def _(operation: AveragePool, values: np.ndarray) -> tuple[np.ndarray, Pull]:
    size = values.shape[1:3]
    shares = _shares(operation.window, size)

    def to_terms(outputs: np.ndarray) -> np.ndarray:
        return _times_positions(shares.T, outputs, size)

    means = _times_positions(shares, values, operation.window.output_size(size))
    return means, lambda share: share.through(to_terms)


@functools.lru_cache(maxsize=16)
def _shares(window: Window, size: tuple[int, ...]) -> scipy.sparse.csr_array:
    """Return the share of each position in the mean of each window.

    Each row has the shares in the mean of a window, which sum to 1.
    """
    of_axes = []
    counted, before = window.output_size(size), window.pads(size).before
    for axis in (0, 1):
        starts = np.arange(counted[axis]) * window.stride[axis] - before[axis]
        offsets = np.arange(size[axis]) - starts[:, np.newaxis]
        inside = (offsets >= 0) & (offsets < window.size[axis])
        of_axes.append(
            scipy.sparse.csr_array(inside / inside.sum(axis=1, keepdims=True))
        )
    return scipy.sparse.kron(*of_axes, format="csr")


def _times_positions(
    matrix: scipy.sparse.sparray, images: np.ndarray, size: tuple[int, ...]
) -> np.ndarray:
    """Multiply the positions of each image with a matrix, which gives images of a size.

    The products are separate for each channel.
    """
    channels = images.shape[3]
    found = [matrix @ image.reshape(-1, channels) for image in images]
    together = np.stack(found) if len(found) > 1 else found[0]
    return together.reshape(len(images), *size, channels)


@step.register(ScaleChannels)
@step.register(ScaleValues)
def _(
    operation: ScaleChannels | ScaleValues, values: np.ndarray
) -> tuple[np.ndarray, Pull]:
    mean, scale = operation.mean, operation.scale

    def pull(share: Share) -> Share:
        multipliers = share.multipliers / scale
        return Share(multipliers, _added(-multipliers * mean, share.offset), share.bias)

    return (values - mean) / scale, pull


@step.register
def _(operation: Select, values: np.ndarray) -> tuple[np.ndarray, Pull]:
    # a channel may be selected twice
    selected = operation.channels[:, np.newaxis] == np.arange(operation.n_channels)
    return values[..., operation.channels], lambda share: share.through(
        lambda outputs: outputs @ selected
    )


@step.register(Flatten)
@step.register(Unflatten)
def _(operation: Flatten | Unflatten, values: np.ndarray) -> tuple[np.ndarray, Pull]:
    shape = values.shape
    return operation(values), lambda share: share.through(lambda a: a.reshape(shape))


@step.register
def _(operation: AverageFlips, values: np.ndarray) -> tuple[np.ndarray, Pull]:
    plain, pull_plain = trace(operation.operations, values)
    flipped, pull_flipped = trace(operation.operations, values[:, :, ::-1])

    def pull(share: Share) -> Share:
        half = replace(share.through(lambda a: 0.5 * a), bias=0.5 * share.bias)
        one = pull_plain(half)
        other = pull_flipped(half).through(lambda a: a[:, :, ::-1])
        return _together([one, other])

    return 0.5 * plain + 0.5 * flipped, pull


@step.register
def _(operation: Concatenate, values: np.ndarray) -> tuple[np.ndarray, Pull]:
    found, pulls = zip(*(trace(one, values) for one in operation.branches), strict=True)
    ends = np.cumsum([one.shape[-1] for one in found])[:-1]

    def pull(share: Share) -> Share:
        share = share.without_offset()  # the bias belongs to all branches together
        nothing = np.zeros_like(share.bias)
        multipliers = np.split(share.multipliers, ends, axis=-1)
        parts = [
            pull_one(Share(one, None, nothing))
            for pull_one, one in zip(pulls, multipliers, strict=True)
        ]
        together = _together(parts)
        return replace(together, bias=share.bias + together.bias)

    return np.concatenate(found, axis=-1), pull


def _together(parts: Sequence[Share]) -> Share:
    """Return the sum of shares over the same values."""
    offsets = [part.offset for part in parts if part.offset is not None]
    return Share(
        functools.reduce(np.add, [part.multipliers for part in parts]),
        functools.reduce(np.add, offsets) if offsets else None,
        functools.reduce(np.add, [part.bias for part in parts]),
    )


def _times(values: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Multiply the last axis with a matrix, in one product instead of many small."""
    product = values.reshape(-1, values.shape[-1]) @ matrix
    return product.reshape(*values.shape[:-1], matrix.shape[1])


# windows


def _positions(
    window: Window, counted: tuple[int, int]
) -> Iterator[tuple[slice, slice]]:
    """Yield the rows and columns that each entry of a window takes in all windows."""
    for dy in range(window.size[0]):
        for dx in range(window.size[1]):
            yield (
                every(dy, counted[0], window.stride[0]),
                every(dx, counted[1], window.stride[1]),
            )


def _fold(at_patches: np.ndarray, window: Window, shape: tuple[int, ...]) -> np.ndarray:
    """Add the entries of patches where they lie in images of a shape."""
    n, rows, columns, _ = at_patches.shape
    channels = shape[3]
    (top, left), (bottom, right) = window.pads(shape[1:])
    padded = np.zeros((n, shape[1] + top + bottom, shape[2] + left + right, channels))
    for at, (down, across) in enumerate(_positions(window, (rows, columns))):
        some = slice(at * channels, (at + 1) * channels)
        padded[:, down, across] += at_patches[..., some]
    return _inside(padded, window, shape)


def _inside(padded: np.ndarray, window: Window, shape: tuple[int, ...]) -> np.ndarray:
    """Remove the padding of images of a shape."""
    top, left = window.pads(shape[1:]).before
    return padded[:, top : top + shape[1], left : left + shape[2]]
