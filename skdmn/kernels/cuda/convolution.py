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

from skdmn.kernels.cuda.launch import GRID, blocks, by_value, c_type, kernel, readable
from skdmn.kernels.cuda.tiling import Geometry, arranged, instance, tiled, whole
from skdmn.kernels.geometry import Padding, Pair, Window, check_filters
from skdmn.kernels.reference import convolution as definition
from skdmn.utils.array_api import Array

_THREADS, _AT_ONCE = 256, 4  # of max pooling: threads, and outputs of a thread


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
        weights, start = arranged(filters, g, cupy), 0 if activation else -np.inf
        threads, shared = g.threads(itemsize), g.shared_bytes(itemsize)
        name = f"convolve<{{}}, {{}}, {instance(g)}>"
        images, out = _prepared(images, filters.dtype, g)
        at_once = GRID // g.jobs(1) * g.tile_images
        for begin in range(0, len(images), at_once):
            some = slice(begin, begin + at_once)
            launch = g.jobs(len(images[some])), threads, shared
            _run(name, images[some], (weights,), out[some], start, launch, g)
        return out


def max_pool(images: Array, window: Window, dtype: Any) -> Array:
    """Compute the maximum of every window; see `reference.convolution.max_pool`."""
    g = whole(images.shape[1:], images.shape[3], (1, 1), (1, 1), "valid", window)
    with images.device:
        images, out = _prepared(images, np.dtype(dtype), g)
        launch = blocks(out.size, _AT_ONCE * _THREADS), _THREADS, 0
        _run("max_pool<{}, {}>", images, (), out, -np.inf, launch, g)
        return out


def _prepared(images: Array, dtype: np.dtype, g: Geometry) -> tuple[Array, Array]:
    """Return images that kernels can read, and an array for the output."""
    out = cupy.empty((len(images), *g.out_shape), dtype)
    return readable(images, dtype), out


def _run(
    name: str,
    images: Array,
    operands: tuple[Array, ...],
    out: Array,
    start: float,
    launch: tuple[int, int, int],
    g: Geometry,
) -> None:
    """Launch a kernel that writes the output of images.

    `launch` is (number of blocks, threads per block, bytes of shared memory per block).
    """
    if not out.size:
        return
    compute = kernel(
        "convolution", name.format(c_type(images.dtype), c_type(out.dtype))
    )
    start, n = out.dtype.type(start), np.int64(len(images))
    n_blocks, threads, shared = launch
    arguments = (images, *operands, out, start, n, by_value(g))
    compute((n_blocks,), (threads,), arguments, shared_mem=shared)
