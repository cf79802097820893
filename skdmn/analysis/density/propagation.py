"""Filters of higher layers, propagated down to the image.

A filter of a higher layer multiplies feature maps, which are hard to interpret. If it
is composed with the layers below it, it becomes a filter on the image that covers the
whole receptive field [1]_.

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

from skdmn.kernels.geometry import Pads, Pair, Window
from skdmn.network.network import DensityMatrixNetwork
from skdmn.operations import (
    AveragePool,
    Convolve,
    Encode,
    MaxPool,
    Operation,
    Power,
    Rectify,
    ScaleChannels,
    Select,
    chain_of,
    simplified,
)
from skdmn.utils.validation import Shape


@dataclass(frozen=True)
class PropagatedFilters:
    """Output channels of a layer as filters on the image.

    The output at position (i, j) is the scalar product of ``filters`` with the
    receptive field whose upper left pixel is at row ``offset[0] + i * stride[0]`` and
    column ``offset[1] + j * stride[1]`` of the image, plus ``bias``.

    Attributes
    ----------
    filters : ndarray of shape (n_filters, field height, field width, channels), float64
        Weights over the receptive field, not normalized.
    bias : ndarray of shape (n_filters,), float64
        Constants added by the scaling of channels; 0 without scaling.
    stride : (int, int)
        Vertical and horizontal distance in pixels between the receptive fields of
        neighbouring outputs.
    offset : (int, int)
        Row and column of the upper left pixel of the first receptive field. Negative
        if the field begins in the padding outside the image.
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
        Fitted network.
    layer : str or int
        Name of the layer, or its number counted from 0. For a convolution, its filters
        are propagated. For a layer that follows a convolution (pooling, scaling,
        pruning), the output channels of that layer are.
    pooling : "mean" or (int, int), default="mean"
        Linear replacement of max pooling: the mean over each window, or the single
        position (row, column) of each window, counted from (0, 0) at the upper left.

    Returns
    -------
    PropagatedFilters

    Raises
    ------
    TypeError
        If `fitted` is not a Pipeline or DensityMatrixNetwork, one of its steps up to
        `layer` has no method ``operations``, or the first step takes rows.
    ValueError
        If there is no such layer, its output is not feature maps, or a pooling window
        does not have the position `pooling`.
    NotFittedError
        If `fitted` is not fitted.

    Notes
    -----
    Convolutions (with strides), pruning and scaling of channels are linear and are
    composed exactly. If the network has no other layers, the propagated filters give
    the output of the network. The exception is a window that reaches into the padding
    of a higher layer: the padding is 0, whereas the layer below would not give 0 there.

    ReLU and max pooling are only piecewise linear, and are replaced by one linear piece
    each. A ReLU is replaced by the identity, which is exact for patches with a positive
    response. Max pooling selects one position of its window, and the image decides
    which. The default replaces it by the mean over the window, which is the average of
    these pieces if every position is selected equally often; the filters then look
    smoother than each piece. A single position such as ``pooling=(0, 0)`` shows one
    piece, and the receptive field is smaller, because the other positions of the
    windows are left out.

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
    chain = chain_of(step for _, step in _up_to(fitted, layer).steps)
    if chain.takes is None:
        raise TypeError(
            "The first layer takes rows, but filters can be propagated to images only; "
            "pass a network that is fitted on images."
        )
    operations = simplified((o.on_host() for o in chain.operations), fold=False)
    shape, shapes = chain.takes, []
    for operation in operations:
        if isinstance(operation, Encode | AveragePool | Power):
            raise ValueError(
                f"layer={layer!r} is, or comes after, a layer with local contrast "
                "normalization or average pooling, which propagate_filters does not "
                "support; pass a ClassPCAPatchTransformer that comes before it."
            )
        if not isinstance(operation, _OF_IMAGES):
            raise ValueError(
                f"layer={layer!r} returns rows instead of feature maps, or comes after "
                "a step that does; pass a convolution or a layer that directly follows "
                "one."
            )
        shapes.append(shape)
        shape = operation.output_shape(shape)
    itself = np.eye(shape[2])[:, np.newaxis, np.newaxis, :]
    seen = PropagatedFilters(itself, np.zeros(shape[2]), (1, 1), (0, 0))
    for operation, before in zip(reversed(operations), reversed(shapes), strict=True):
        seen = _below(seen, operation, before, pooling)
    return seen


_OF_IMAGES = (Convolve, Rectify, MaxPool, ScaleChannels, Select)


def _up_to(fitted: Pipeline | DensityMatrixNetwork, layer: str | int) -> Pipeline:
    """Return the steps up to and including a layer."""
    if not isinstance(fitted, (Pipeline, DensityMatrixNetwork)):
        raise TypeError(
            f"{type(fitted).__name__} has no layers to propagate filters through; pass "
            "a fitted Pipeline or DensityMatrixNetwork instead."
        )
    check_is_fitted(fitted)
    steps = fitted if isinstance(fitted, Pipeline) else Pipeline(fitted.layers_)
    names = [name for name, _ in steps.steps]
    if layer in names:
        return steps[: names.index(layer) + 1]
    if isinstance(layer, Integral) and -len(names) <= layer < len(names):
        return steps[: range(len(names))[layer] + 1]
    raise ValueError(
        f"There is no layer {layer!r}; pass one of {names}, or a number from 0 to "
        f"{len(names) - 1}."
    )


def _below(
    seen: PropagatedFilters,
    operation: Operation,
    shape: Shape,
    pooling: Literal["mean"] | Pair,
) -> PropagatedFilters:
    """Compose filters with one operation, so that they apply to its input."""
    channels = seen.filters.shape[3]
    match operation:
        case Convolve(filters=filters, window=window):
            lower = np.asarray(filters, dtype=np.float64)
            return _through(seen, lower, window, window.pads(shape))
        case MaxPool(window=window):
            piece = _piece_of_pooling(window, pooling)
            alike = np.eye(channels)[:, np.newaxis, np.newaxis, :]
            lower = alike * piece[:, :, np.newaxis]
            return _through(seen, lower, window, window.pads(shape))
        case ScaleChannels(mean=mean, scale=scale):
            filters = seen.filters / scale
            bias = seen.bias - (filters @ mean).sum(axis=(1, 2))
            return replace(seen, filters=filters, bias=bias)
        case Select(channels=kept, n_channels=n_channels):
            filters = np.zeros((*seen.filters.shape[:3], n_channels))
            filters[..., kept] = seen.filters
            return replace(seen, filters=filters)
    return seen  # a ReLU is replaced by the identity


def _through(
    seen: PropagatedFilters, lower: np.ndarray, window: Window, pads: Pads
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
            seen.offset[0] * down - pads.before[0],
            seen.offset[1] * across - pads.before[1],
        ),
    )


def _piece_of_pooling(window: Window, pooling: Literal["mean"] | Pair) -> np.ndarray:
    """Return the weights over a pooling window that replace the maximum."""
    if isinstance(pooling, str) and pooling == "mean":
        return np.full(window.size, 1 / math.prod(window.size))
    positions = list(np.ndindex(*window.size))
    if isinstance(pooling, str) or tuple(pooling) not in positions:
        raise ValueError(
            f"pooling={pooling!r} is not a position in a window of {window.size[0]} x "
            f"{window.size[1]}; pass 'mean', or (row, column) from (0, 0) to "
            f"{positions[-1]}."
        )
    piece = np.zeros(window.size)
    piece[tuple(pooling)] = 1.0
    return piece
