"""Convolution and pooling for CPUs, in one pass over each image.

`convolve` and `max_pool` give the results of `skdmn.kernels.reference.convolution`
without copying windows and without a feature map of a whole image. The rows under one
row of pooling windows are convolved into a buffer that fits the cache, pooled there,
and written once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np

from skdmn.kernels.geometry import (
    Padding,
    Pair,
    Window,
    before,
    check_filters,
    check_window,
    output_size,
)
from skdmn.kernels.numba.blocks import (
    ROWS,
    TALL,
    VECTORS,
    call,
    lanes,
    max_block,
    multiply_pool,
    padded,
)
from skdmn.kernels.numba.compiling import inner, kernel
from skdmn.kernels.numba.shared import code, memory
from skdmn.utils.threads import in_threads, n_threads

_ALONE = 2**24  # fewer products take less time than the start of threads
_PIECE = 2**28  # products of a call, which cannot be interrupted: some 10 ms
_STRIP = 2**18  # values of an image that a thread works on at a time
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))  # dtypes that are compiled for


class Geometry(NamedTuple):
    """Sizes of a convolution; `before_*` are the padding above and on the left."""

    height: int
    width: int
    channels: int
    kernel_height: int
    kernel_width: int
    stride_y: int
    stride_x: int
    before_y: int
    before_x: int
    rows: int  # positions of the convolution
    columns: int
    window_height: int
    window_width: int
    step_y: int
    step_x: int
    window_before_y: int
    window_before_x: int
    out_rows: int
    out_columns: int
    n_filters: int
    lane: int  # values in a vector
    padded: int  # filters, rounded up to whole vectors


def convolve(
    images: np.ndarray,
    filters: np.ndarray,
    stride: Pair,
    padding: Padding,
    activation: Literal["relu"] | None,
    window: Window,
) -> np.ndarray:
    """Convolve, then max-pool; see `reference.convolution.convolve_and_pool`."""
    check_filters(images.shape[1:], filters.shape)
    size = (filters.shape[1], filters.shape[2])
    g = plan(images, len(filters), size, stride, padding, window, filters.dtype)
    weights = np.zeros((filters[0].size, g.padded), filters.dtype)
    weights[:, : g.n_filters] = filters.reshape(g.n_filters, -1).T
    start = filters.dtype.type(0 if activation == "relu" else -np.inf)
    products = g.rows * g.columns * weights.size
    function = _convolve_fours if _in_fours(g) else _convolve
    return run(function, images, g, products, weights.ravel(), start)


def max_pool(images: np.ndarray, window: Window, dtype: Any) -> np.ndarray:
    """Compute the maximum of every window; see `reference.convolution.max_pool`."""
    dtype = np.dtype(dtype)
    channels = images.shape[-1]
    g = plan(images, channels, (1, 1), (1, 1), "valid", window, dtype)
    values = math.prod(images.shape[1:])
    return run(_max_pool, images, g, values, dtype.type(-np.inf))


def plan(
    images: np.ndarray,
    n_filters: int,
    size: Pair,
    stride: Pair,
    padding: Padding,
    window: Window,
    dtype: np.dtype,
) -> Geometry:
    """Return the geometry of a convolution followed by pooling, after checks."""
    if images.ndim != 4 or dtype not in FLOATS:
        raise ValueError(
            f"Kernels take images of 4 dimensions and filters of float32 or float64, "
            f"got {images.ndim} dimensions and {dtype}; convert them first."
        )
    height, width, channels = images.shape[1:]
    shape = (height, width)
    check_window(shape, size, stride, padding)
    inner = output_size(shape, size, stride, padding)
    check_window(inner, *window)
    return Geometry(
        height,
        width,
        channels,
        *size,
        *stride,
        *before(shape, size, stride, padding),
        *inner,
        *window.size,
        *window.stride,
        *before(inner, *window),
        *window.output_size(inner),
        n_filters,
        lanes(dtype),
        padded(n_filters, dtype),
    )


def _in_fours(g: Geometry) -> bool:
    """Return True for pooling by windows of 2 x 2 that do not overlap or overhang."""
    twos = g.window_height, g.window_width, g.step_y, g.step_x
    inside = 2 * g.out_rows <= g.rows and 2 * g.out_columns <= g.columns
    return twos == (2, 2, 2, 2) and inside


def run(
    function: Callable,
    images: np.ndarray,
    g: Geometry,
    products: int,
    *operands: Any,
    room: tuple[int, int] | None = None,
) -> np.ndarray:
    """Call a kernel for all images in threads, some images at a time.

    `room` are the sizes of its working memory, if it needs some.
    """
    n, dtype = len(images), operands[-1].dtype
    out = np.empty((n, g.out_rows, g.out_columns, g.n_filters), dtype)
    threads = n_threads() if n * products > _ALONE else 1
    functions = code(images.dtype, dtype)

    def work(some: slice, first: int, last: int) -> None:
        part, at = memory(images[some])
        to = out[some].reshape(-1)
        own = () if room is None else working_memory(*room, dtype)
        function(functions, at, len(part), g, *operands, *own, to, first, last)

    in_threads(work, _pieces(n, g, products, threads), threads)
    return out


def working_memory(
    n_floats: int, n_doubles: int, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray]:
    """Return zeros of a dtype and of float64, in which a kernel works."""
    return np.zeros(n_floats, dtype), np.zeros(n_doubles)


def _pieces(
    n: int, g: Geometry, products: int, threads: int
) -> Iterator[tuple[slice, int, int]]:
    """Divide the work into images, or into strips of rows if images are large."""
    strips = max(1, g.height * g.width * g.channels // _STRIP, products // _PIECE)
    if n < threads:
        strips = max(strips, threads)
    rows = -(-g.out_rows // strips)
    images = max(1, min(-(-n // (8 * threads)), _PIECE // products))
    for i in range(0, n, images):
        some = slice(i, min(i + images, n))
        for first in range(0, g.out_rows, rows):
            yield some, first, min(first + rows, g.out_rows)


@kernel
def _convolve(code, source, n, g, weights, start, out, first, last):
    """Convolve and pool the output rows from first to last of every image."""
    # rows of the convolution, then rows of the image, that the output depends on
    top = max(0, first * g.step_y - g.window_before_y)
    bottom = (last - 1) * g.step_y - g.window_before_y + g.window_height
    above = top * g.stride_y - g.before_y
    below = (min(bottom, g.rows) - 1) * g.stride_y - g.before_y + g.kernel_height
    # columns that are pooled; blocks may exceed the last one, hence the extra room
    columns = (g.out_columns - 1) * g.step_x - g.window_before_x + g.window_width
    columns = min(g.columns, columns)
    reach = (columns - 1) * g.stride_x + g.kernel_width
    pitch = max(reach, g.before_x + g.width) * g.channels
    room = ROWS * g.stride_x * g.channels
    image = np.zeros((below - above) * pitch + room, weights.dtype)
    size = (g.kernel_height, g.kernel_width * g.channels)
    filters = ((g.stride_x * g.channels, pitch), size, weights, g.padded, g.lane)
    slot = (columns + ROWS) * g.padded
    ring = np.empty(g.window_height * slot, weights.dtype)
    rest = np.empty(g.padded, weights.dtype)
    row_size = g.out_columns * g.n_filters
    for i in range(n):
        load(code, source, i, g, image, above, below, pitch)
        ring[:] = start  # rows above the first have no effect
        done = top
        for row in range(first, last):
            upper = row * g.step_y - g.window_before_y
            for y in range(max(upper, done), upper + g.window_height):
                at = y % g.window_height * slot
                if y < g.rows:
                    base = (y * g.stride_y - g.before_y - above) * pitch
                    convolve_row(code, image, base, filters, ring, at, columns)
                else:
                    ring[at : at + slot] = start
            done = upper + g.window_height
            to = (i * g.out_rows + row) * row_size
            end = (i * g.out_rows + last) * row_size
            pixel, rows = g.padded, g.window_height
            _pool_row(ring, 0, slot, rows, pixel, columns, g, start, out, to, end, rest)


@kernel
def _convolve_fours(code, source, n, g, weights, start, out, first, last):
    """Convolve and pool by 2 x 2 windows; the maximum is taken in registers."""
    above = 2 * first * g.stride_y - g.before_y
    below = (2 * last - 1) * g.stride_y - g.before_y + g.kernel_height
    step, run = g.stride_x * g.channels, g.kernel_width * g.channels
    reach = (2 * g.out_columns - 1) * g.stride_x + g.kernel_width
    pitch = max(reach, g.before_x + g.width) * g.channels
    image = np.zeros((below - above) * pitch + TALL * step, weights.dtype)
    width, rows = g.padded, g.kernel_height
    line = np.empty((g.out_columns + TALL) * width, weights.dtype)
    rest = np.empty(width, weights.dtype)
    for i in range(n):
        load(code, source, i, g, image, above, below, pitch)
        for row in range(first, last):
            base = (row - first) * 2 * g.stride_y * pitch
            for f in range(0, width, VECTORS * g.lane):
                vectors = min(VECTORS, (width - f) // g.lane)
                x = 0
                while x < g.out_columns:
                    at = base + 2 * x * step
                    x += multiply_pool(
                        g.out_columns - x,
                        vectors,
                        start,
                        (image, at, step, g.stride_y * pitch, pitch, 1),
                        (weights, f, run * width, width),
                        (rows, run),
                        (line, x * width + f, width),
                    )
            to = (i * g.out_rows + row) * g.out_columns * g.n_filters
            end = (i * g.out_rows + last) * g.out_columns * g.n_filters
            _write_row(line, g, start, out, to, end, rest)


@inner
def _write_row(line, g, start, out, to, end, rest):
    """Write a row of positions without the filters that were added to fill vectors."""
    for column in range(g.out_columns):
        # vectors may exceed the last filter; the next position overwrites the excess
        inside = to + g.padded <= end
        target, o = (out, to) if inside else (rest, 0)
        for f in range(0, g.padded, g.lane):
            max_block(start, line, column * g.padded + f, 0, 0, 1, 1, target, o + f)
        if not inside:
            for f in range(g.n_filters):
                out[to + f] = rest[f]
        to += g.n_filters


@kernel
def _max_pool(code, source, n, g, start, out, first, last):
    """Pool the output rows from first to last of every image."""
    above = max(0, first * g.step_y - g.window_before_y)
    below = (last - 1) * g.step_y - g.window_before_y + g.window_height
    below = min(below, g.height)
    pitch = g.width * g.channels
    image = np.zeros((below - above) * pitch + g.padded, out.dtype)
    rest = np.empty(g.padded, out.dtype)
    row_size = g.out_columns * g.n_filters
    for i in range(n):
        load(code, source, i, g, image, above, below, pitch)
        for row in range(first, last):
            upper = row * g.step_y - g.window_before_y
            lower = min(upper + g.window_height, g.height)
            upper = max(upper, 0)
            to = (i * g.out_rows + row) * row_size
            end = (i * g.out_rows + last) * row_size
            base, rows, pixel = (upper - above) * pitch, lower - upper, g.channels
            _pool_row(
                image, base, pitch, rows, pixel, g.width, g, start, out, to, end, rest
            )


@inner
def load(code, source, i, g, to, above, below, pitch):
    """Copy rows of image i as floats into a buffer with a border of zeros."""
    values, first = g.width * g.channels, max(above, 0)
    at = (first - above) * pitch + g.before_x * g.channels
    source += (i * g.height + first) * values * code.size
    n_rows = min(below, g.height) - first
    call(code.load, ((to, at),), (source, n_rows, values, values, pitch))


@inner
def convolve_row(code, image, base, filters, to, at, columns):
    """Convolve one row of positions; the products of each position are contiguous.

    `filters` is ((step to the next position, step to the next row of the image),
    (kernel rows, values in each), weights, number of filters rounded up to whole
    vectors, values in a vector).
    """
    (step, pitch), (rows, run), weights, width, lane = filters
    call(
        code.multiply_rows,
        ((image, base), (weights, 0), (to, at)),
        (
            (columns, width // lane, lane),
            (step, pitch),
            (run * width, width),
            (rows, run),
            width,
        ),
    )


@inner
def _pool_row(rows, base, pitch, n_rows, pixel, columns, g, start, out, to, end, rest):
    """Write one output row; `pitch` and `pixel` are the strides of the input."""
    for column in range(g.out_columns):
        left = column * g.step_x - g.window_before_x
        right = min(left + g.window_width, columns)
        left = max(left, 0)
        at, n_columns = base + left * pixel, right - left
        # vectors may exceed the last filter; the next pixel overwrites the excess
        inside = to + g.padded <= end
        target, o = (out, to) if inside else (rest, 0)
        for f in range(0, g.padded, g.lane):
            if n_rows == 1 and n_columns == 1:
                max_block(start, rows, at + f, pitch, pixel, 1, 1, target, o + f)
                continue
            if n_rows == 2 and n_columns == 2:
                max_block(start, rows, at + f, pitch, pixel, 2, 2, target, o + f)
                continue
            if n_rows == 3 and n_columns == 3:
                max_block(start, rows, at + f, pitch, pixel, 3, 3, target, o + f)
                continue
            n = n_columns
            max_block(start, rows, at + f, pitch, pixel, n_rows, n, target, o + f)
        if not inside:
            for f in range(g.n_filters):
                out[to + f] = rest[f]
        to += g.n_filters
