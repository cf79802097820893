"""Layers fitted on blocks: each learns from sums, which add up over the blocks."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skdmn.data.images import Images
from skdmn.distributed.blocks import Blocks, merged_moments
from skdmn.layers.base import ImageTransformer
from skdmn.layers.class_density import ClassDensityTransformer, cached_accumulate
from skdmn.layers.flatten import FlattenTransformer
from skdmn.layers.overlap import OverlapPruner
from skdmn.layers.pooling import AveragePool2DTransformer, MaxPool2DTransformer
from skdmn.layers.scaling import ChannelStandardScaler
from skdmn.layers.whitened_pca import WhitenedPCAPatchTransformer
from skdmn.network.network import DensityMatrixNetwork
from skdmn.network.stages import Stream
from skdmn.statistics.density import DensityAccumulator
from skdmn.utils.array_api import HOST, to_numpy
from skdmn.utils.labels import draw

ClassSums = tuple[np.ndarray, DensityAccumulator]  # class indices, and sums of these

# what can be fitted: sums over classes, over channels, or nothing
_BY_CHANNEL = (ChannelStandardScaler, OverlapPruner)
_LEARN_NOTHING = (
    MaxPool2DTransformer,
    AveragePool2DTransformer,
    FlattenTransformer,
)
FITTED = (ClassDensityTransformer, *_BY_CHANNEL, *_LEARN_NOTHING)


def fit_network(network: DensityMatrixNetwork, blocks: Blocks, y: Any) -> None:
    """Fit the layers of a network one after the other, on the blocks of the images.

    For each layer that learns, the images run through those in front of it again:
    no feature map is kept.

    Parameters
    ----------
    network : DensityMatrixNetwork
        Changed.
    blocks : Blocks
        Of images or rows.
    y : ndarray of shape (len(blocks),) or None
    """
    network._check_params()
    # checks of shape and dtype are those of one blank image; blocks are checked for
    # NaN when they are read
    blank = np.zeros((1, *blocks.sample_shape), blocks.dtype)
    images = network._check_images(blank, reset=True)
    for _, layer in network.layers:
        if isinstance(layer, ClassDensityTransformer):
            layer._encode(y, len(blocks))  # raises before any layer is fitted
    network.layers_ = []
    for name, layer in network.layers:
        fitted = network._prepared(layer, network.layers_, images)
        _learn(fitted, network.compact(), blocks, y, images.dtype)
        network.layers_ = [*network.layers_, (name, fitted)]


def _learn(
    layer: ImageTransformer,
    network: DensityMatrixNetwork,
    blocks: Blocks,
    y: Any,
    dtype: str,
) -> None:
    """Fit a layer on what comes out of a network, which may have none so far."""
    none = Images.of(
        np.empty((0, *layer.image_shape_), dtype), layer.image_shape_, HOST, HOST
    )
    if isinstance(layer, ClassDensityTransformer):
        _learn_densities(layer, network, blocks, y, dtype)
    elif isinstance(layer, _BY_CHANNEL):
        unused = [None] * len(blocks.parts)
        n_images, mean, var = blocks.reduce(
            _channel_moments, merged_moments, unused, network, layer
        )
        if isinstance(layer, ChannelStandardScaler):
            layer._add(none, n_images, mean, var)
        else:  # one pixel that has as large squares as all images together
            n = n_images * math.prod(layer.image_shape_[:2])
            with np.errstate(over="ignore"):
                pixel = np.sqrt(n * (var + mean**2)).reshape(1, 1, 1, -1)
            layer._fit(replace(none, data=pixel, dtype="float64"), y)
    else:
        layer._fit(none, y)


def _learn_densities(
    layer: ClassDensityTransformer,
    network: DensityMatrixNetwork,
    blocks: Blocks,
    y: Any,
    dtype: str,
) -> None:
    layer._set_shapes()
    labels, codes = layer._encode(y, len(blocks))
    chosen = draw(codes, layer.subsample, check_random_state(layer.random_state))
    unseeded = chosen is not None and layer.random_state is None
    memory = None if unseeded else layer.memory
    of_block: list[tuple] = [(codes, None) for (codes,) in blocks.cut(codes)]
    if chosen is not None:
        some = blocks.find(chosen)
        of_block = [(o[0][s], s) for o, s in zip(of_block, some, strict=True)]
    if isinstance(layer, WhitenedPCAPatchTransformer) and (
        layer.contrast_floor == "auto"
    ):
        _, of_all = blocks.reduce(_all_patches, _merged_sums, of_block, network, layer)
        layer.contrast_floor_ = layer._floor_of(of_all, dtype)
    present, sums = blocks.reduce(
        _class_sums, _merged_sums, of_block, network, layer, memory
    )
    layer._set(labels[present], sums, dtype)


# on workers


def _stream(
    block: np.ndarray, network: DensityMatrixNetwork, layer: ImageTransformer
) -> Stream:
    """Return the images of a block as a layer is to see them."""
    images = network._check_images(block, reset=False)
    return network._stream(images, network.layers_, layer.image_shape_)


def _class_sums(
    block: np.ndarray,
    own: tuple[np.ndarray, np.ndarray | None],
    network: DensityMatrixNetwork,
    layer: ClassDensityTransformer,
    memory: Any,
) -> ClassSums:
    """Add up the patches of a block, for the classes that it has."""
    codes, chosen = own
    stream = replace(_stream(block, network, layer), chosen=chosen)
    present, codes = np.unique(codes, return_inverse=True)
    sums = layer._empty(len(present), stream)
    return present, cached_accumulate(memory, stream, codes, sums, _silently)


def _all_patches(
    block: np.ndarray,
    own: tuple[np.ndarray, np.ndarray | None],
    network: DensityMatrixNetwork,
    layer: WhitenedPCAPatchTransformer,
) -> ClassSums:
    """Add up the patches of a block, as they are, as if of one class."""
    stream = replace(_stream(block, network, layer), chosen=own[1])
    return np.zeros(1, dtype=np.int64), layer._all_patches(stream)


def _silently(done: int) -> None:
    """Report nothing: Dask tells how many blocks are done."""


def _merged_sums(parts: list[ClassSums]) -> ClassSums:
    """Merge the sums of blocks, which may have different classes."""
    present = np.unique(np.concatenate([codes for codes, _ in parts]))
    total = parts[0][1].like(len(present))
    for codes, sums in parts:
        total.merge(sums, np.searchsorted(present, codes))
    return present, total


def _channel_moments(
    block: np.ndarray,
    own: None,
    network: DensityMatrixNetwork,
    layer: ImageTransformer,
) -> tuple:
    """Return the number of images, and each channel's mean and variance."""
    stream = _stream(block, network, layer)
    xp, axes = stream.compute.xp, (0, 1, 2)
    return merged_moments(
        (
            values.shape[0],
            to_numpy(xp.mean(values, axis=axes)),
            to_numpy(xp.var(values, axis=axes)),
        )
        for values in stream.wide_batches()
    )
