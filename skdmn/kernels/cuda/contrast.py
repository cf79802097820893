"""Moments and encoding with local contrast normalization for GPUs, through CuPy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import cupy
import numpy as np

from skdmn.kernels.cuda import jobs
from skdmn.kernels.cuda.average import average
from skdmn.kernels.cuda.launch import readable
from skdmn.kernels.cuda.moments import normalized, summed
from skdmn.kernels.cuda.transfer import free_bytes
from skdmn.kernels.geometry import Pair, Window
from skdmn.kernels.reference import contrast as definition
from skdmn.kernels.reference.contrast import Encoding, check_encoding
from skdmn.utils.array_api import Array

# patches and products of some images: 256 MB in float32, so that the start of kernels
# takes little of their time
TILE_VALUES = 2**26


def class_contrast_moments(
    images: Array, groups: Sequence[np.ndarray], size: Pair, cells: Pair, floor: float
) -> Iterator[np.ndarray]:
    """Yield moments by cell; see `reference.contrast.class_contrast_moments`."""
    g = jobs.patches(images.shape[1:], size, has_sums=False)
    if g is None:
        yield from definition.class_contrast_moments(images, groups, size, cells, floor)
        return
    found = summed(images, groups, g, cells, floor)
    for _ in groups:
        yield np.stack([next(found) for _ in range(math.prod(cells))])


def encode_and_pool(
    images: Array, how: Encoding, window: Window, power: float
) -> Array:
    """Encode, then average-pool; see `reference.contrast.encode_and_pool`.

    Normalized patches of some images are copied into rows and multiplied with the
    filters; one kernel then takes the threshold, averages and power of the products.
    """
    check_encoding(images.shape[1:], how)
    filters, dtype = how.filters, how.filters.dtype
    n_filters = len(filters)
    g = jobs.whole(images.shape[1:], how.size)
    n_patches = g.rows * g.columns
    with images.device:
        values = min(TILE_VALUES, free_bytes(images.device) // (4 * dtype.itemsize))
        at_once = values // (n_patches * (g.entries + n_filters))
        if not at_once:  # huge images are divided into strips
            return definition.encode_and_pool(images, how, window, power)
        images = readable(images, dtype)
        weights = cupy.ascontiguousarray(filters.reshape(n_filters, -1).T)
        shape = window.output_size((g.rows, g.columns))
        out = cupy.empty((len(images), *shape, 2 * n_filters), dtype)
        for start in range(0, len(images), at_once):
            some = slice(start, start + at_once)
            products = normalized(images[some], g, how.floor, dtype) @ weights
            products = products.reshape(-1, g.rows, g.columns, n_filters)
            average(products, out[some], window, power, how.threshold)
        return out
