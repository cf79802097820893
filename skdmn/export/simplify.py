"""Fewer operations that compute the same: what scales and selects is folded in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from skdmn.operations import (
    AveragePool,
    Convolve,
    Flatten,
    MaxPool,
    Operation,
    OverMirrors,
    Power,
    Rectify,
    ScaleChannels,
    ScaleValues,
    Scores,
    Select,
    Unflatten,
)


def simplified(operations: Iterable[Operation], fold: bool) -> tuple[Operation, ...]:
    """Merge each two operations that one can do, and bring together what may merge."""
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
    if isinstance(operation, OverMirrors):
        return replace(operation, operations=simplified(operation.operations, fold))
    return operation


def _merged(
    first: Operation, second: Operation, fold: bool
) -> Sequence[Operation] | None:
    """Return what does the same as two operations; None to leave them.

    Selection moves to the front, into the convolution whose filters it leaves out;
    scaling to the back, since the largest value stays the largest.
    """
    match first, second:
        case (Flatten(shape=before), Unflatten(shape=behind)) if before == behind:
            return ()
        case Convolve(filters=filters, window=window, bias=bias), Select(channels=kept):
            return (
                Convolve(filters[kept], window, None if bias is None else bias[kept]),
            )
        case Rectify() | Power() | MaxPool() | AveragePool(), Select():
            return second, first
        case ScaleChannels(mean=mean, scale=scale), Select(channels=kept):
            return second, ScaleChannels(mean[kept], scale[kept])
        case Select(channels=channels, n_channels=n), Select(channels=kept):
            return (Select(channels[kept], n),)
        case ScaleChannels(), MaxPool() | AveragePool() if fold:
            return second, first
        case ScaleChannels(), Convolve() if fold and not second.window.is_padded:
            return (_scaled(first, second),)
        case ScaleChannels(mean=mean, scale=scale), Flatten(shape=shape) if fold:
            positions = math.prod(shape[:2])
            values = ScaleValues(np.tile(mean, positions), np.tile(scale, positions))
            return second, values
        case ScaleValues(mean=mean, scale=scale), Scores():
            coef, behind = second.coef / scale, mean + scale * second.mean
            return (Scores(coef, second.intercept, behind),)
    return None


def _scaled(scaling: ScaleChannels, convolution: Convolve) -> Convolve:
    """Return a convolution of images as they are before they are scaled."""
    filters = convolution.filters / scaling.scale
    bias = -(filters @ scaling.mean).sum(axis=(1, 2))
    if convolution.bias is not None:
        bias = bias + convolution.bias
    return replace(convolution, filters=filters, bias=bias)
