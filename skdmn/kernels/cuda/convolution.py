"""Convolution and pooling for GPUs, through CuPy.

`convolve` and `max_pool` give the results of `skdmn.kernels.reference.convolution` in
one pass: a block of threads convolves a tile from shared memory, pools it there, and
writes it once. The kernels are in convolution.cu; `skdmn.kernels.cuda.tiling` chooses
the tiles.
"""

from __future__ import annotations

from typing import Any, Literal

import cupy
import numpy as np

from skdmn.kernels.cuda.launch import GRID, by_value, c_type, kernel, readable
from skdmn.kernels.cuda.tiling import WARP, Geometry, arranged, tiled, whole
from skdmn.kernels.geometry import Padding, Pair, Window, check_filters
from skdmn.kernels.reference import convolution as definition
from skdmn.utils.array_api import Array


def convolve(
    images: Array,
    filters: Array,
    stride: Pair,
    padding: Padding,
    activation: Literal["relu"] | None,
    window: Window,
) -> Array:
    """Convolve, then max-pool; see `reference.convolution.convolve_and_pool`."""
    check_filters(images.shape[1:], filters.shape)
    n_filters, *size, _ = filters.shape
    shape, itemsize = images.shape[1:], filters.dtype.itemsize
    g = tiled(
        whole(shape, n_filters, (size[0], size[1]), stride, padding, window), itemsize
    )
    # the tile does not fit: large filters are as fast as matrix products, and large
    # windows leave few values to write
    if g is None:
        return definition.convolve_and_pool(
            images, filters, stride, padding, activation, window
        )
    with images.device:
        weights = arranged(filters, g, cupy)
        return _run(
            f"convolve<{{}}, {{}}, {size[1]}>",
            images,
            (weights,),
            filters.dtype,
            0 if activation == "relu" else -np.inf,
            (g.jobs(len(images)), g.threads(itemsize), g.shared_bytes(itemsize)),
            g,
        )


def max_pool(images: Array, window: Window, dtype: Any) -> Array:
    """Compute the maximum of every window; see `reference.convolution.max_pool`."""
    g = whole(images.shape[1:], images.shape[3], (1, 1), (1, 1), "valid", window)
    threads = min(-(-g.out_columns * g.channels // WARP) * WARP, 256)
    launch = len(images) * g.out_rows, threads, 0
    with images.device:
        return _run("max_pool<{}, {}>", images, (), dtype, -np.inf, launch, g)


def _run(
    name: str,
    images: Array,
    operands: tuple[Array, ...],
    dtype: Any,
    start: float,
    launch: tuple[int, int, int],
    g: Geometry,
) -> Array:
    """Launch a kernel for all images.

    `launch` is (number of blocks, threads per block, bytes of shared memory per block).
    """
    dtype = np.dtype(dtype)
    images = readable(images, dtype)
    n, out = len(images), cupy.empty((len(images), *g.out_shape), dtype)
    if not out.size:
        return out
    compute = kernel("convolution", name.format(*map(c_type, (images.dtype, dtype))))
    arguments = (images, *operands, out, dtype.type(start), np.int64(n), by_value(g))
    blocks, threads, shared = launch
    compute((min(blocks, GRID),), (threads,), arguments, shared_mem=shared)
    return out
