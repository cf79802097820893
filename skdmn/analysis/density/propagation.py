"""Filters of higher layers, seen on the image.

A filter of a higher layer weighs feature maps, which are hard to read. Propagated down
through the layers below it becomes a filter of its whole receptive field on the image
[1]_.

References
----------
.. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Convergence of deep neural networks
   to a hierarchical covariance matrix decomposition", arXiv:1703.04757v1, 2017,
   eqs. 1 and 3, Fig. 5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Literal

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skdmn.export.model import model_of
from skdmn.kernels.geometry import Pair
from skdmn.network.network import DensityMatrixNetwork
from skdmn.operations import (
    AveragePool,
    Convolve,
    EncodeContrasts,
    MaxPool,
    Operation,
    Power,
    Rectify,
    ScaleChannels,
    Select,
    Window,
)


@dataclass(frozen=True)
class PropagatedFilters:
    """What each output channel of a layer weighs on the image.

    The output at position (i, j) is the sum of ``filters`` times the image's pixels
    from row ``offset[0] + i * stride[0]`` and column ``offset[1] + j * stride[1]`` on,
    plus ``bias``.

    Attributes
    ----------
    filters : ndarray of shape (n_filters, field height, field width, channels), float64
        Over the receptive field; they are not normalized.
    bias : ndarray of shape (n_filters,), float64
        What scaling of channels adds; else 0.
    stride : (int, int)
        Pixels between the receptive fields of neighbouring outputs, down and across.
    offset : (int, int)
        Row and column of the upper left pixel of the first receptive field; negative
        where padding lets it begin outside of the image.
    """

    filters: np.ndarray
    bias: np.ndarray
    stride: Pair
    offset: Pair


def propagate_filters(
    fitted: Pipeline | DensityMatrixNetwork,
    layer: str | int,
    *,
    pooling: Literal["mean"] | Pair = "mean",
) -> PropagatedFilters:
    """Propagate the filters of a layer down to the image.

    Parameters
    ----------
    fitted : Pipeline or DensityMatrixNetwork
        Fitted.
    layer : str or int
        Name or number, from 0, of the layer whose output channels are wanted: of a
        convolution they are its filters; of what follows one (pooling, scaling,
        pruning) its filters as these leave them.
    pooling : "mean" or (int, int), default="mean"
        What stands for a max pooling: the mean over each window, or its position
        (row, column) from the upper left, from (0, 0).

    Returns
    -------
    PropagatedFilters

    Raises
    ------
    TypeError
        Where `fitted` is neither, or holds other steps than layers up to `layer`.
    ValueError
        Where there is no such layer, it gives no feature maps, or a pooling window has
        no such position.
    NotFittedError
        Where it was not fitted.

    Notes
    -----
    Convolutions (with strides), pruning and scaling of channels are linear, and are
    composed exactly: a network of these alone gives what its propagated filters give
    on the image, save where a window reaches into the padding of a higher layer, which
    is 0 whatever the layer below would give there.

    Of a ReLU and of a max pooling only one linear piece can be shown. A ReLU is passed
    as if it were open, which is what it does for the patches that a filter responds to.
    Max pooling passes one position of its window on, and which one is up to the image.
    Without an image none is preferred: if each wins equally often, the mean over the
    window is the average of these pieces; it is never sharper than one of them. A
    single position, ``pooling=(0, 0)``, shows one piece as sharp as it is. Either way
    the receptive field is that of the network, for a single position as much smaller
    as the rest of its windows would reach further.

    Examples
    --------
    >>> from skdmn import make_dmn
    >>> from skdmn.analysis.density.propagation import propagate_filters
    >>> from skdmn.datasets import load_digits_images
    >>> X, y = load_digits_images()
    >>> dmn = make_dmn(n_layers=2, n_filters=[4, 10]).fit(X, y)
    >>> dmn["conv2"].filters_.shape
    (20, 3, 3, 8)
    >>> propagated = propagate_filters(dmn, "conv2")
    >>> propagated.filters.shape, propagated.stride, propagated.offset
    ((20, 8, 8, 1), (2, 2), (-3, -3))
    """
    model = model_of(_up_to(fitted, layer), fold=False)
    channels = model.shape[2]
    for operation in model.operations:
        if isinstance(operation, EncodeContrasts | AveragePool | Power):
            raise ValueError(
                f"layer={layer!r} is or stands behind an encoding by contrast or an "
                "average, which propagate_filters does not see through; name "
                "a ClassPCAPatchTransformer in front of them."
            )
        if not isinstance(operation, _OF_IMAGES):
            raise ValueError(
                f"layer={layer!r} gives rows, not feature maps, or stands behind a "
                "step that does; name a convolution, or what directly follows one."
            )
        channels = _n_channels(operation, channels)
    itself = np.eye(channels)[:, np.newaxis, np.newaxis, :]
    seen = PropagatedFilters(itself, np.zeros(channels), (1, 1), (0, 0))
    for operation in reversed(model.operations):
        seen = _below(seen, operation, pooling)
    return seen


_OF_IMAGES = (Convolve, Rectify, MaxPool, ScaleChannels, Select)


def _up_to(fitted: Pipeline | DensityMatrixNetwork, layer: str | int) -> Pipeline:
    """Return the steps up to a layer."""
    if not isinstance(fitted, (Pipeline, DensityMatrixNetwork)):
        raise TypeError(
            f"{type(fitted).__name__} has no layers to propagate filters through; pass "
            "a fitted Pipeline or DensityMatrixNetwork."
        )
    check_is_fitted(fitted)
    steps = fitted if isinstance(fitted, Pipeline) else Pipeline(fitted.layers_)
    names = [name for name, _ in steps.steps]
    if layer in names:
        return steps[: names.index(layer) + 1]
    if isinstance(layer, Integral) and -len(names) <= layer < len(names):
        return steps[: range(len(names))[layer] + 1]
    raise ValueError(f"There is no layer {layer!r}; pass one of {names}, or a number.")


def _n_channels(operation: Operation, channels: int) -> int:
    """Return how many channels an operation gives of so many."""
    match operation:
        case Convolve(filters=filters):
            return len(filters)
        case Select(channels=kept):
            return len(kept)
    return channels


def _below(
    seen: PropagatedFilters, operation: Operation, pooling: Literal["mean"] | Pair
) -> PropagatedFilters:
    """Return the same filters as they weigh what goes into an operation."""
    channels = seen.filters.shape[3]
    match operation:
        case Convolve(filters=filters, window=window):
            return _through(seen, np.asarray(filters, dtype=np.float64), window)
        case MaxPool(window=window):
            piece = _piece_of_pooling(window, pooling)
            alike = np.eye(channels)[:, np.newaxis, np.newaxis, :]
            return _through(seen, alike * piece[:, :, np.newaxis], window)
        case ScaleChannels(mean=mean, scale=scale):
            filters = seen.filters / scale
            bias = seen.bias - (filters @ mean).sum(axis=(1, 2))
            return replace(seen, filters=filters, bias=bias)
        case Select(channels=kept, n_channels=n_channels):
            filters = np.zeros((*seen.filters.shape[:3], n_channels))
            filters[..., kept] = seen.filters
            return replace(seen, filters=filters)
    return seen  # a ReLU, passed as if it were open


def _through(
    seen: PropagatedFilters, lower: np.ndarray, window: Window
) -> PropagatedFilters:
    """Compose filters with the convolution below them."""
    n, height, width, _ = seen.filters.shape
    (down, across), (rows, columns) = window.stride, window.size
    field = (height - 1) * down + rows, (width - 1) * across + columns
    filters = np.zeros((n, *field, lower.shape[3]))
    for y, x in np.ndindex(height, width):
        here = slice(y * down, y * down + rows), slice(x * across, x * across + columns)
        filters[:, *here] += np.tensordot(seen.filters[:, y, x], lower, axes=1)
    return replace(
        seen,
        filters=filters,
        stride=(seen.stride[0] * down, seen.stride[1] * across),
        offset=(
            seen.offset[0] * down - window.before[0],
            seen.offset[1] * across - window.before[1],
        ),
    )


def _piece_of_pooling(window: Window, pooling: Literal["mean"] | Pair) -> np.ndarray:
    """Return the weights that stand for a max pooling, of the window's size."""
    if isinstance(pooling, str) and pooling == "mean":
        return np.full(window.size, 1 / math.prod(window.size))
    positions = list(np.ndindex(*window.size))
    if isinstance(pooling, str) or tuple(pooling) not in positions:
        raise ValueError(
            f"pooling={pooling!r} is no position in a window of {window.size[0]} x "
            f"{window.size[1]}; pass 'mean', or (row, column) from (0, 0) to "
            f"{positions[-1]}."
        )
    piece = np.zeros(window.size)
    piece[tuple(pooling)] = 1.0
    return piece
