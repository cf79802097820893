"""Simplification of operations for exports, and fusion for speed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from skdmn.kernels import dispatch
from skdmn.kernels.geometry import WHOLE, Window
from skdmn.operations.records import (
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
    Scores,
    Select,
    Unflatten,
    run,
)
from skdmn.utils.array_api import HOST, Array, Backend, take
from skdmn.utils.remember import remembered
from skdmn.utils.validation import Shape

__all__ = ["fused", "needs_no_batches", "planned", "run", "simplified"]


@dataclass(frozen=True)
class ConvolveAndPool(Convolve):
    """A convolution, its activation and max pooling, computed in one pass."""

    activation: Literal["relu"] | None = None
    pool: Window = WHOLE

    def output_shape(self, shape: Shape) -> Shape:
        """Return (rows, columns, n_filters) after the pooling."""
        *size, n_filters = super().output_shape(shape)
        return *self.pool.output_size((size[0], size[1])), n_filters

    def __call__(self, images: Array) -> Array:
        """Convolve, rectify and pool images."""
        return dispatch.convolve(
            images,
            self.filters,
            self.stride,
            self.padding,
            self.activation,
            self.pool,
        )


@dataclass(frozen=True)
class EncodeAndPool(Encode):
    """An encoding, average pooling and a signed power, computed in one pass."""

    pool: Window = WHOLE
    power: float = 1.0

    def output_shape(self, shape: Shape) -> Shape:
        """Return (rows, columns, 2 * n_filters) after the pooling."""
        *size, n_channels = super().output_shape(shape)
        return *self.pool.output_size((size[0], size[1])), n_channels

    def __call__(self, images: Array) -> Array:
        """Encode and average images."""
        return dispatch.encode(images, self.how, self.pool, self.power)


def planned(
    operations: Iterable[Operation], backend: Backend, dtype: str
) -> tuple[Operation, ...]:
    """Move operations to the device of the computation, and fuse them.

    Parameters
    ----------
    operations : iterable of Operation
        Operations to plan, in order.
    backend : Backend
        Array namespace and device of the computation.
    dtype : {"float32", "float64"}
        Dtype of the computation.

    Returns
    -------
    tuple of Operation
        The same tuple as that of an earlier call with equal NumPy arrays.
    """
    if backend == HOST:
        return _planned_on_cpu(tuple(operations), dtype)
    return fused(operation.moved(backend, dtype) for operation in operations)


@remembered(8)
def _planned_on_cpu(
    operations: tuple[Operation, ...], dtype: str
) -> tuple[Operation, ...]:
    return fused(operation.moved(HOST, dtype) for operation in operations)


def needs_no_batches(operations: Sequence[Operation]) -> bool:
    """Return True if any number of images can be run at once in bounded memory."""
    reshapes = (Flatten, Unflatten)
    computed = [one for one in operations if not isinstance(one, reshapes)]
    return len(computed) <= 1 and all(one.is_tiled for one in operations)


def fused(operations: Iterable[Operation]) -> tuple[Operation, ...]:
    """Fuse convolutions and encodings with the operations that follow them."""
    done: list[Operation] = []
    for operation in simplified(operations, fold=False):
        one = _fused(done[-1], operation) if done else None
        if one is None:
            done.append(_fusing(operation))
        else:
            done[-1] = one
    return tuple(done)


def _fusing(operation: Operation) -> Operation:
    """Return an operation in a form that others can be fused into."""
    match operation:
        case Convolve(bias=None):
            return ConvolveAndPool(
                operation.filters, operation.stride, operation.padding
            )
        case Encode():
            return EncodeAndPool(
                operation.filters,
                operation.floor,
                operation.threshold,
                operation.components,
            )
        case AverageFlips():
            return replace(operation, operations=fused(operation.operations))
        case Concatenate():
            return operation.map(fused)
    return operation


def _fused(first: Operation, second: Operation) -> Operation | None:
    """Return one operation that is equivalent to two, or None."""
    match first, second:
        case ConvolveAndPool(activation=None, pool=pool), Rectify() if pool == WHOLE:
            return replace(first, activation="relu")
        case ConvolveAndPool(pool=pool), MaxPool(window=window) if pool == WHOLE:
            return replace(first, pool=window)
        case EncodeAndPool(pool=pool, power=1.0), AveragePool(window=window) if (
            pool == WHOLE
        ):
            return replace(first, pool=window)
        case EncodeAndPool(power=1.0), Power(power=power):
            return replace(first, power=power)
    return None


def simplified(operations: Iterable[Operation], fold: bool) -> tuple[Operation, ...]:
    """Merge neighbouring operations without changing the result.

    Parameters
    ----------
    operations : iterable of Operation
        Operations to simplify, in order.
    fold : bool
        If True, also fold the scaling of channels into the next operations, which
        changes rounding.

    Returns
    -------
    tuple of Operation
    """
    done, at = [_within(operation, fold) for operation in operations], 0
    while at + 1 < len(done):
        merged = _merged(done[at], done[at + 1], fold)
        if merged is None:
            at += 1
        else:
            done[at : at + 2] = merged
            at = max(at - 1, 0)
    return tuple(done)


def _within(operation: Operation, fold: bool) -> Operation:
    if isinstance(operation, AverageFlips):
        return replace(operation, operations=simplified(operation.operations, fold))
    if isinstance(operation, Concatenate):
        return operation.map(lambda branch: simplified(branch, fold))
    return operation


def _merged(
    first: Operation, second: Operation, fold: bool
) -> Sequence[Operation] | None:
    """Return operations that are equivalent to two, or None to keep these.

    Selections move to the front, up to a convolution, where they remove filters.
    Scalings move to the back, past pooling, which commutes with them because scales are
    positive. Branches take in pooling, so that their feature maps are not concatenated.
    """
    match first, second:
        case (Flatten(shape=before), Unflatten(shape=behind)) if before == behind:
            return ()
        case Convolve(filters=filters, bias=bias), Select(channels=kept):
            bias = None if bias is None else take(bias, kept, axis=0)
            return (replace(first, filters=take(filters, kept, axis=0), bias=bias),)
        case Rectify() | Power() | MaxPool() | AveragePool(), Select():
            return second, first
        case ScaleChannels(mean=mean, scale=scale), Select(channels=kept):
            mean, scale = take(mean, kept, axis=0), take(scale, kept, axis=0)
            return second, ScaleChannels(mean, scale)
        case Select(channels=channels, n_channels=n), Select(channels=kept):
            return (Select(channels[kept], n),)
        case Concatenate(), Rectify() | Power() | MaxPool() | AveragePool():
            return (first.map(lambda branch: simplified((*branch, second), fold)),)
        case ScaleChannels(), MaxPool() | AveragePool() if fold:
            return second, first
        case ScaleChannels(), Convolve(padding="valid") if fold:
            return (_scaled(first, second),)
        case ScaleChannels(mean=mean, scale=scale), Flatten(shape=shape) if fold:
            positions = math.prod(shape[:2])
            values = ScaleValues(np.tile(mean, positions), np.tile(scale, positions))
            return second, values
        case ScaleValues(mean=mean, scale=scale), Scores():
            behind = mean + scale * second.mean
            return (replace(second, coef=second.coef / scale, mean=behind),)
    return None


def _scaled(scaling: ScaleChannels, convolution: Convolve) -> Convolve:
    """Return a convolution that includes the scaling of its input."""
    filters = convolution.filters / scaling.scale
    bias = -(filters @ scaling.mean).sum(axis=(1, 2))
    if convolution.bias is not None:
        bias = bias + convolution.bias
    return replace(convolution, filters=filters, bias=bias)
