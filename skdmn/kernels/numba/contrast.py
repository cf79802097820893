"""Encoding with local contrast normalization for CPUs, in one pass over each image.

`encode_and_pool` gives the result of `skdmn.kernels.reference.contrast` without copying
windows and without a feature map of a whole image. While a row of products is in the
cache, it is scaled by the contrasts of its patches, soft-thresholded, and added to the
averages that it belongs to.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from skdmn.kernels.geometry import (
    WHOLE,
    Pair,
    Window,
    check_members,
    check_window,
)
from skdmn.kernels.numba.blocks import ROWS, at, padded, rectified_block
from skdmn.kernels.numba.compiling import inner, kernel
from skdmn.kernels.numba.convolution import (
    Geometry,
    convolve_row,
    load,
    plan,
    run,
    working_memory,
)
from skdmn.kernels.numba.moments import NARROW
from skdmn.kernels.numba.shared import code, memory
from skdmn.kernels.reference.contrast import Encoding, cell_edges, check_encoding
from skdmn.utils.remember import remembered
from skdmn.utils.threads import in_threads, n_threads, single_blas

_PATCHES = 2**21  # values of patches that a thread holds at a time
_ROUNDING = 100  # accepted difference of recombined filters, in machine epsilons
_LARGE = 1e140  # the squares of larger values may overflow in sums
_SUMS = 2**27  # bytes of the sums of all threads; one thread may exceed it


def encode_and_pool(
    images: np.ndarray, how: Encoding, window: Window, power: float
) -> np.ndarray:
    """Encode, then average-pool; see `reference.contrast.encode_and_pool`."""
    check_encoding(images.shape[1:], how)
    n_filters, dtype = len(how.filters), how.filters.dtype
    images, floor = _in_range(images, how.floor)
    g = plan(images, n_filters, how.size, (1, 1), "valid", window, dtype)
    first, then = _columns(how.filters, how.components)
    products = g.rows * g.columns * (first.size + then.size)
    g = g._replace(n_filters=2 * n_filters)  # two-sided features
    edges, spans = _segments(g)
    operands = (
        *(first, then, edges, spans, _n_open(g)),
        *(_above_zero(floor, dtype), np.float64(power), dtype.type(how.threshold)),
    )
    room = _room(g, first.shape[1], len(edges) - 1)
    return run(_encode, images, g, products, *operands, room=room)


@remembered(8)
def _columns(
    filters: np.ndarray, components: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the columns that rows of images, then of products, are multiplied with."""
    # without the filters' means, the means of patches only contribute rounding errors
    first = filters.reshape(len(filters), -1)
    first = first - first.mean(axis=1, keepdims=True)
    first, then = _factored(first, components)
    width = padded(len(filters), filters.dtype)
    return _as_columns(first, padded(len(first), first.dtype)), _as_columns(then, width)


def _factored(
    filters: np.ndarray, components: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Factor filters into coefficients and components, if that saves operations.

    Returns components and coefficients. If the factors save nothing, or the filters
    are not combinations of the components, returns the filters and an empty array.
    """
    if components is not None and len(components) * sum(filters.shape) < filters.size:
        components = components.reshape(len(components), -1).astype(filters.dtype)
        components -= components.mean(axis=1, keepdims=True)
        then = filters @ components.T
        error = np.abs(then @ components - filters).max()
        if error <= _ROUNDING * np.finfo(filters.dtype).eps * np.abs(filters).max():
            return components, then
    return filters, np.empty((0, 0), filters.dtype)


def _above_zero(floor: float, dtype: np.dtype) -> np.float64:
    """Return a floor, at least the smallest whose inverse root is finite in a dtype."""
    limits = np.finfo(np.float64).smallest_subnormal, np.finfo(dtype).tiny
    return np.float64(max(floor, limits[0], float(limits[1]) ** 2))


def _in_range(images: np.ndarray, floor: float) -> tuple[np.ndarray, float]:
    """Return float64 images and a floor in a unit in which squares do not overflow.

    The contrast-normalized patches stay the same.
    """
    if images.dtype != np.float64 or not images.size:
        return images, floor
    largest = max(images.max(), -images.min())
    if not _LARGE < largest < np.inf:
        return images, floor
    unit = 2.0 ** -(math.frexp(largest)[1])
    return images * unit, floor * unit * unit


def _as_columns(filters: np.ndarray, width: int) -> np.ndarray:
    """Return filters as columns, padded with zeros to a width."""
    columns = np.zeros((filters.shape[1], width), filters.dtype)
    columns[:, : len(filters)] = filters.T
    return columns


@functools.lru_cache(maxsize=64)
def _segments(g: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Return the edges of windows in a row, and the indices of each window's edges."""
    left = np.arange(g.out_columns) * g.step_x - g.window_before_x
    right = np.minimum(left + g.window_width, g.columns)
    both = np.stack([np.maximum(left, 0), right], axis=1)
    edges = np.unique(both)
    return edges, np.searchsorted(edges, both)


def class_contrast_moments(
    images: np.ndarray,
    groups: Sequence[np.ndarray],
    size: Pair,
    cells: Pair,
    floor: float,
) -> Iterator[np.ndarray]:
    """Yield moments by cell; see `reference.contrast.class_contrast_moments`."""
    for members in groups:
        yield contrast_moments(images, members, size, cells, floor)


def contrast_moments(
    images: np.ndarray, members: np.ndarray, size: Pair, cells: Pair, floor: float
) -> np.ndarray:
    """Sum outer products by cell; see `reference.contrast.contrast_moments`."""
    dtype = np.dtype(np.float32 if images.dtype in NARROW else np.float64)
    images, floor = _in_range(images, floor)
    g = plan(images, 1, size, (1, 1), "valid", WHOLE, dtype)
    check_members(members, len(images))
    check_window((g.rows, g.columns), cells, (1, 1), "valid")
    d = size[0] * size[1] * g.channels
    edges = [cell_edges(n, c) for n, c in zip((g.rows, g.columns), cells, strict=True)]
    spans = list(itertools.product(*map(itertools.pairwise, edges)))
    functions = code(images.dtype, dtype)
    floor = _above_zero(floor, dtype)
    n_parts = max(1, min(n_threads(), len(members), _SUMS // (len(spans) * d * d * 8)))
    parts = np.array_split(members, n_parts)
    outer = np.zeros((len(parts), len(spans), d, d))
    step = max(1, _PATCHES // (g.rows * g.columns * d))
    high = max(1, _PATCHES // (step * g.columns * d))

    def work(part: np.ndarray, sums: np.ndarray) -> None:
        room = working_memory(*_room(g, 0, 0), dtype)
        for i in range(0, len(part), step):
            some, start = memory(images[part[i : i + step]])
            for total, ((top, bottom), (left, right)) in zip(sums, spans, strict=True):
                for y in range(top, bottom, high):
                    cell = min(high, bottom - y), right - left
                    windows = np.empty((len(some) * math.prod(cell), d), dtype)
                    _by_contrast(
                        *(functions, start, len(some), g, floor, y, left, *cell),
                        *(windows, *room),
                    )
                    total += windows.T @ windows

    with single_blas():
        in_threads(work, list(zip(parts, outer, strict=True)), len(parts))
    for other in outer[1:]:  # in a fixed order, for reproducible bytes
        outer[0] += other
    return outer[0]


@kernel
def _by_contrast(code, source, n, g, floor, top, left, rows, columns, out, work, more):
    """Copy the patches of a cell, contrast-normalized.

    `work` and `more` are working memory, see `_room`.
    """
    pitch, run_ = g.width * g.channels, g.kernel_width * g.channels
    image, means = at(work, 0), at(work, g.height * pitch)
    scales, to = at(means, g.columns), at(out, 0)
    for i in range(n):
        load(code, source, i, g, image, 0, g.height, pitch)
        for y in range(top, top + rows):
            _contrasts(image, y, g, floor, more, means, scales)
            for x in range(left, left + columns):
                mean, scale = means[x], scales[x]
                pixels = at(image, y * pitch + x * g.channels)
                for _ in range(g.kernel_height):
                    for j in range(run_):
                        to[j] = (pixels[j] - mean) * scale
                    pixels, to = at(pixels, pitch), at(to, run_)


def _room(g: Geometry, n_inner: int, n_segments: int) -> tuple[int, int]:
    """Return the numbers of floats and of float64 that kernels need to work with."""
    pitch = g.width * g.channels
    image = g.height * pitch + ROWS * g.channels
    line = (g.columns + ROWS) * g.padded
    between = (g.columns + 2 * ROWS) * n_inner
    averages = _n_open(g) * g.out_columns * g.padded
    segments = n_segments * g.padded
    return image + line + between + 2 * (g.columns + segments + averages), 4 * pitch


def _n_open(g: Geometry) -> int:
    """Return the number of rows of averages that a row of products may belong to."""
    return -(-g.window_height // g.step_y)


@kernel
def _encode(
    code,
    source,
    n,
    g,
    first,
    then,
    edges,
    spans,
    n_open,
    floor,
    power,
    threshold,
    work,
    more,
    out,
    top,
    end,
):
    """Encode and average the output rows from top to end of every image.

    A row is multiplied with the filters; or, if they were factored, with the
    components and then with the coefficients. `work` and `more` are working memory, see
    `_room`.
    """
    pitch, width = g.width * g.channels, g.padded
    inner, size = first.shape[1], (g.kernel_height, g.kernel_width * g.channels)
    n_segments = (len(edges) - 1) * width
    n_averages = n_open * g.out_columns * width
    means = at(work, 0)
    scales = at(means, g.columns)
    ups = at(scales, g.columns)
    downs = at(ups, n_segments)
    above = at(downs, n_segments)
    below = at(above, n_averages)
    line = at(below, n_averages)
    between = at(line, (g.columns + ROWS) * width)
    image = at(between, (g.columns + 2 * ROWS) * inner)
    # not literals, for which `convolve_row` would be compiled once more
    zero, one = np.int64(0), np.int64(1)
    patches = ((g.channels, pitch), size, at(first, 0), inner, g.lane)
    mixtures = ((inner, zero), (one, len(then)), at(then, 0), width, g.lane)
    start = max(0, top * g.step_y - g.window_before_y)
    stop = min((end - 1) * g.step_y - g.window_before_y + g.window_height, g.rows)
    for i in range(n):
        load(code, source, i, g, image, 0, g.height, pitch)
        for y in range(start, stop):
            below_y = y + g.window_before_y
            earliest = max(top, -(-(below_y - g.window_height + 1) // g.step_y))
            latest = min(end, below_y // g.step_y + 1)
            if earliest >= latest:
                continue  # between windows
            if len(then):
                convolve_row(code, image, y * pitch, patches, between, zero, g.columns)
                convolve_row(code, between, zero, mixtures, line, zero, g.columns)
            else:
                convolve_row(code, image, y * pitch, patches, line, zero, g.columns)
            _contrasts(image, y, g, floor, more, means, scales)
            _add_segments(line, scales, threshold, g, edges, ups, downs)
            for row in range(earliest, latest):
                slot = row % n_open * g.out_columns * width
                over, under = at(above, slot), at(below, slot)
                _add_windows(ups, downs, spans, width, over, under)
                upper = row * g.step_y - g.window_before_y
                lower = min(upper + g.window_height, g.rows)
                if y == lower - 1:
                    n_rows = lower - max(upper, 0)
                    to = (i * g.out_rows + row) * g.out_columns * g.n_filters
                    _write_averages(over, under, n_rows, g, power, at(out, to))


@inner
def _contrasts(image, y, g, floor, work, means, scales):
    """Compute means and inverse contrasts of the patches of a row of positions.

    Means and sums of squared deviations are computed for each column of pixels, then
    merged over the columns and the channels of each patch. So they depend on the
    pixels of the patch only, bright patches lose no digits, and patches of equal pixels
    have a variance of exactly 0.
    """
    channels, pitch = g.channels, g.width * g.channels
    center, spread = at(work, 0), at(work, pitch)
    mean, total = at(spread, pitch), at(spread, 2 * pitch)
    n, n_columns = g.kernel_height, g.kernel_width
    first = at(image, y * pitch)
    for j in range(pitch):
        center[j] = 0.0
        spread[j] = 0.0
    for row in range(1, n):
        line = at(first, row * pitch)
        for j in range(pitch):
            center[j] += np.float64(line[j]) - first[j]
    share = 1.0 / n
    for j in range(pitch):
        center[j] = first[j] + share * center[j]
    for row in range(n):
        line = at(first, row * pitch)
        for j in range(pitch):
            off = line[j] - center[j]
            spread[j] += off * off
    values = g.columns * channels
    for j in range(values):
        mean[j] = 0.0
        total[j] = 0.0
    for column in range(1, n_columns):
        shifted = at(center, column * channels)
        for j in range(values):
            mean[j] += shifted[j] - center[j]
    share = 1.0 / n_columns
    for j in range(values):
        mean[j] = center[j] + share * mean[j]
    for column in range(n_columns):
        shifted, added = at(center, column * channels), at(spread, column * channels)
        for j in range(values):
            off = shifted[j] - mean[j]
            total[j] += added[j] + n * (off * off)
    n *= n_columns
    share, of_all = 1.0 / channels, 1.0 / (n * channels)
    for x in range(g.columns):
        start = x * channels
        middle, squares = 0.0, 0.0
        for c in range(start, start + channels):
            middle += mean[c] - mean[start]
        middle = mean[start] + share * middle
        for c in range(start, start + channels):
            off = mean[c] - middle
            squares += total[c] + n * (off * off)
        contrast = math.sqrt(of_all * squares + floor)
        means[x] = middle
        # rounding errors of the products with equal pixels must not be scaled up
        scales[x] = 0.0 if squares == 0.0 else 1.0 / contrast


@inner
def _add_segments(line, scales, threshold, g, edges, ups, downs):
    """Sum soft-thresholded products from each window edge to the next."""
    width = g.padded
    for part in range(len(edges) - 1):
        left = edges[part]
        n, base, to = edges[part + 1] - left, left * width, part * width
        for f in range(0, width, g.lane):
            rectified_block(
                (line, base + f, width, scales, left),
                n,
                threshold,
                (ups, downs, to + f),
            )


@inner
def _add_windows(ups, downs, spans, width, above, below):
    """Add the segments of a row to the sums of the windows that contain them."""
    for column in range(len(spans)):
        over, under = at(above, column * width), at(below, column * width)
        for part in range(spans[column, 0], spans[column, 1]):
            up, down = at(ups, part * width), at(downs, part * width)
            for f in range(width):
                over[f] += up[f]
                under[f] += down[f]


@inner
def _write_averages(above, below, n_rows, g, power, out):
    """Write a row of averages, and reset their sums to 0."""
    width, n_filters = g.padded, g.n_filters // 2
    row = at(out, 0)
    for column in range(g.out_columns):
        left = column * g.step_x - g.window_before_x
        n_columns = min(left + g.window_width, g.columns) - max(left, 0)
        share = 1.0 / (n_rows * n_columns)
        over, under = at(above, column * width), at(below, column * width)
        others = at(row, n_filters)
        for f in range(n_filters):
            row[f] = over[f] * share
            others[f] = under[f] * share
        if power == 0.5:  # faster than a power
            for f in range(g.n_filters):
                row[f] = math.sqrt(row[f])
        elif power != 1.0:
            for f in range(g.n_filters):
                row[f] = row[f] ** power
        for f in range(width):
            over[f] = 0.0
            under[f] = 0.0
        row = at(row, g.n_filters)
