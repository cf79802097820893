"""Fit of layers on blocks: the statistics of a layer are sums over blocks."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from skdmn.distributed.blocks import Blocks
from skdmn.layers.base import ImageTransformer, Labels
from skdmn.network.network import DensityMatrixNetwork
from skdmn.statistics.accumulate import cached_accumulate
from skdmn.statistics.ranges import ValueRange

# class indices, sums of these, and the range of the images of the first layer
ClassSums = tuple[np.ndarray, Any, ValueRange]


def fit_network(network: DensityMatrixNetwork, blocks: Blocks, y: Any) -> None:
    """Fit the layers of a network one after the other on blocks of images.

    Parameters
    ----------
    network : DensityMatrixNetwork
        Network to fit, in place.
    blocks : Blocks
        Images or rows.
    y : ndarray of shape (len(blocks),) or None
        Labels.
    """
    network._fit_elsewhere(
        blocks.sample_shape,
        blocks.dtype,
        y,
        len(blocks),
        check=lambda layer: layer._encode(y, len(blocks)),
        gather=partial(_gathered, blocks),
    )


def _gathered(
    blocks: Blocks,
    layer: ImageTransformer,
    network: DensityMatrixNetwork,
    labels: Labels,
    sums: Any,
    by_class: bool,
) -> Any:
    """Compute the sums of a layer over the outputs of a network for all blocks."""
    codes, chosen = labels.codes, labels.chosen
    if not by_class:
        codes = np.zeros_like(codes)
    if chosen is None:
        of_block: list[tuple] = [(own, None) for (own,) in blocks.cut(codes)]
    else:
        some = blocks.find(chosen)
        ends = np.cumsum([len(indices) for indices in some])
        of_block = list(zip(np.split(codes, ends[:-1]), some, strict=True))
    repeated = labels.is_repeatable and by_class
    memory = getattr(layer, "memory", None) if repeated else None
    shape = layer.image_shape_
    present, found, seen = blocks.reduce(
        _sums_of_block, _merged_sums, of_block, network, shape, sums, memory
    )
    sums.merge(found, present)
    if network._range is not None:  # that of the network and of its first layer
        network._range.merge(seen)
    return sums


# functions that run on the workers


def _sums_of_block(
    block: np.ndarray,
    own: tuple[np.ndarray, np.ndarray | None],
    network: DensityMatrixNetwork,
    shape: tuple[int, int, int],
    empty: Any,
    memory: Any,
) -> ClassSums:
    """Compute the sums of one block, for the classes that occur in it."""
    codes, chosen = own
    images = network._check_images(block, reset=False)
    stream = network._stream(images, network.layers_, shape)
    stream = replace(stream, chosen=chosen)
    present, codes = np.unique(codes, return_inverse=True)
    sums = empty.like(len(present))
    sums = cached_accumulate(memory, stream, codes, sums, lambda done: None)
    is_first = network._range is not None and network._range.is_empty
    seen = ValueRange.of(images.data) if is_first else ValueRange.empty()
    return present, sums, seen


def _merged_sums(parts: list[ClassSums]) -> ClassSums:
    """Merge the sums of blocks, which may have different classes."""
    present = np.unique(np.concatenate([codes for codes, _, _ in parts]))
    total, ranges = parts[0][1].like(len(present)), ValueRange.empty()
    for codes, sums, seen in parts:
        total.merge(sums, np.searchsorted(present, codes))
        ranges.merge(seen)
    return present, total, ranges
