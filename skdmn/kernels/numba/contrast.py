"""Encoding with local contrast normalization for CPUs, in one pass over each image.

`encode_and_pool` gives the result of `skdmn.kernels.reference.contrast` without copying
windows and without a feature map of a whole image. While a row of products is in the
cache, it is scaled by the contrasts of its patches, soft-thresholded, and added to the
averages that it belongs to.
"""

from __future__ import annotations

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
from skdmn.kernels.numba.blocks import ROWS, padded, rectified_block
from skdmn.kernels.numba.compiling import kernel
from skdmn.kernels.numba.convolution import Geometry, convolve_row, load, plan, run
from skdmn.kernels.numba.moments import NARROW
from skdmn.kernels.reference.contrast import Encoding, cell_edges, check_encoding
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
    # without the filters' means, the means of patches only contribute rounding errors
    first = how.filters.reshape(n_filters, -1)
    first = first - first.mean(axis=1, keepdims=True)
    first, then = _factored(first, how.components)
    products = g.rows * g.columns * (first.size + then.size)
    g = g._replace(n_filters=2 * n_filters)  # two-sided features
    operands = (
        _as_columns(first, padded(len(first), dtype)),
        _as_columns(then, g.padded),
        *_segments(g),
        *(_above_zero(floor, dtype), np.float64(power), dtype.type(how.threshold)),
    )
    return run(_encode, images, g, products, *operands)


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
    flat = np.ascontiguousarray(images).reshape(len(images), -1)
    floor = _above_zero(floor, dtype)
    n_parts = max(1, min(n_threads(), len(members), _SUMS // (len(spans) * d * d * 8)))
    parts = np.array_split(members, n_parts)
    outer = np.zeros((len(parts), len(spans), d, d))
    step = max(1, _PATCHES // (g.rows * g.columns * d))
    high = max(1, _PATCHES // (step * g.columns * d))

    def work(part: np.ndarray, sums: np.ndarray) -> None:
        for i in range(0, len(part), step):
            some = flat[part[i : i + step]]
            for total, ((top, bottom), (left, right)) in zip(sums, spans, strict=True):
                for y in range(top, bottom, high):
                    shape = (len(some), min(high, bottom - y), right - left, d)
                    windows = np.empty(shape, dtype)
                    _by_contrast(some, g, floor, y, left, windows)
                    windows = windows.reshape(-1, d)
                    total += windows.T @ windows

    with single_blas():
        in_threads(work, list(zip(parts, outer, strict=True)), len(parts))
    for other in outer[1:]:  # in a fixed order, for reproducible bytes
        outer[0] += other
    return outer[0]


@kernel
def _by_contrast(images, g, floor, top, left, out):
    """Copy the patches of a cell, contrast-normalized."""
    run_ = g.kernel_width * g.channels
    image = np.empty(g.height * g.width * g.channels, out.dtype)
    work = np.empty((4, g.width * g.channels))
    means, scales = np.empty(g.columns, out.dtype), np.empty(g.columns, out.dtype)
    for i in range(len(images)):
        load(images[i], g, image, 0, g.height, g.width * g.channels)
        for y in range(out.shape[1]):
            _contrasts(image, top + y, g, floor, work, means, scales)
            for x in range(out.shape[2]):
                mean, scale = means[left + x], scales[left + x]
                for row in range(g.kernel_height):
                    at = ((top + y + row) * g.width + left + x) * g.channels
                    pixels = image[at : at + run_]
                    to = out[i, y, x, row * run_ : (row + 1) * run_]
                    for j in range(run_):
                        to[j] = (pixels[j] - mean) * scale


@kernel
def _encode(
    images, g, first, then, edges, spans, floor, power, threshold, out, top, end
):
    """Encode and average the output rows from top to end of every image.

    A row is multiplied with the filters; or, if they were factored, with the
    components and then with the coefficients.
    """
    pitch, width = g.width * g.channels, g.padded
    image = np.zeros(g.height * pitch + ROWS * g.channels, first.dtype)
    line = np.empty((g.columns + ROWS) * width, first.dtype)
    inner, size = first.shape[1], (g.kernel_height, g.kernel_width * g.channels)
    between = np.zeros((g.columns + 2 * ROWS) * inner, first.dtype)
    patches = ((g.channels, pitch), size, first.ravel(), inner, g.lane)
    # not literals, for which `convolve_row` would be compiled once more
    zero, one = np.int64(0), np.int64(1)
    mixtures = ((inner, zero), (one, len(then)), then.ravel(), width, g.lane)
    means, scales = np.empty(g.columns, first.dtype), np.empty(g.columns, first.dtype)
    work = np.empty((4, g.width * g.channels))
    ups = np.empty((len(edges) - 1) * width, first.dtype)
    downs = np.empty_like(ups)
    # number of rows of averages that one row of products may belong to
    n_open = -(-g.window_height // g.step_y)
    above = np.zeros(n_open * g.out_columns * width, first.dtype)
    below = np.zeros(n_open * g.out_columns * width, first.dtype)
    start = max(0, top * g.step_y - g.window_before_y)
    stop = min((end - 1) * g.step_y - g.window_before_y + g.window_height, g.rows)
    for i in range(len(images)):
        load(images[i], g, image, 0, g.height, pitch)
        for y in range(start, stop):
            at = y + g.window_before_y
            earliest = max(top, -(-(at - g.window_height + 1) // g.step_y))
            latest = min(end, at // g.step_y + 1)
            if earliest >= latest:
                continue  # between windows
            if len(then):
                convolve_row(image, y * pitch, patches, between, zero, g.columns)
                convolve_row(between, zero, mixtures, line, zero, g.columns)
            else:
                convolve_row(image, y * pitch, patches, line, zero, g.columns)
            _contrasts(image, y, g, floor, work, means, scales)
            _add_segments(line, scales, threshold, g, edges, ups, downs)
            for row in range(earliest, latest):
                slot = row % n_open * g.out_columns * width
                _add_windows(ups, downs, spans, width, above, below, slot)
                upper = row * g.step_y - g.window_before_y
                lower = min(upper + g.window_height, g.rows)
                if y == lower - 1:
                    n_rows = lower - max(upper, 0)
                    to = (i * g.out_rows + row) * g.out_columns * g.n_filters
                    _write_averages(above, below, slot, n_rows, g, power, out, to)


@kernel
def _contrasts(image, y, g, floor, work, means, scales):
    """Compute means and inverse contrasts of the patches of a row of positions.

    Means and sums of squared deviations are computed for each column of pixels, then
    merged over the columns and the channels of each patch. So they depend on the
    pixels of the patch only, bright patches lose no digits, and patches of equal pixels
    have a variance of exactly 0.
    """
    channels, pitch = g.channels, g.width * g.channels
    center, spread, mean, total = work[0], work[1], work[2], work[3]
    n, n_columns = g.kernel_height, g.kernel_width
    first = image[y * pitch : (y + 1) * pitch]
    center[:] = 0.0
    spread[:] = 0.0
    for row in range(y + 1, y + n):
        line = image[row * pitch : (row + 1) * pitch]
        for j in range(pitch):  # slices, which LLVM turns into vector code
            center[j] += np.float64(line[j]) - first[j]
    share = 1.0 / n
    for j in range(pitch):
        center[j] = first[j] + share * center[j]
    for row in range(y, y + n):
        line = image[row * pitch : (row + 1) * pitch]
        for j in range(pitch):
            spread[j] += (line[j] - center[j]) ** 2
    values = g.columns * channels
    mean[:] = 0.0
    total[:] = 0.0
    for column in range(1, n_columns):
        shifted = center[column * channels : column * channels + values]
        for j in range(values):
            mean[j] += shifted[j] - center[j]
    share = 1.0 / n_columns
    for j in range(values):
        mean[j] = center[j] + share * mean[j]
    for column in range(n_columns):
        shifted = center[column * channels : column * channels + values]
        added = spread[column * channels : column * channels + values]
        for j in range(values):
            total[j] += added[j] + n * (shifted[j] - mean[j]) ** 2
    n *= n_columns
    share, of_all = 1.0 / channels, 1.0 / (n * channels)
    for x in range(g.columns):
        at = x * channels
        middle, squares = 0.0, 0.0
        for c in range(channels):
            middle += mean[at + c] - mean[at]
        middle = mean[at] + share * middle
        for c in range(channels):
            squares += total[at + c] + n * (mean[at + c] - middle) ** 2
        contrast = math.sqrt(of_all * squares + floor)
        means[x] = middle
        # rounding errors of the products with equal pixels must not be scaled up
        scales[x] = 0.0 if squares == 0.0 else 1.0 / contrast


@kernel
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


@kernel
def _add_windows(ups, downs, spans, width, above, below, slot):
    """Add the segments of a row to the sums of the windows that contain them."""
    for column in range(len(spans)):
        at = slot + column * width
        over, under = above[at : at + width], below[at : at + width]
        for part in range(spans[column, 0], spans[column, 1]):
            up = ups[part * width : (part + 1) * width]
            down = downs[part * width : (part + 1) * width]
            for f in range(width):
                over[f] += up[f]
                under[f] += down[f]


@kernel
def _write_averages(above, below, slot, n_rows, g, power, out, to):
    """Write a row of averages, and reset their sums to 0."""
    width, n_filters = g.padded, g.n_filters // 2
    for column in range(g.out_columns):
        left = column * g.step_x - g.window_before_x
        n_columns = min(left + g.window_width, g.columns) - max(left, 0)
        share = 1.0 / (n_rows * n_columns)
        base = slot + column * width
        row = out[to : to + g.n_filters]
        for f in range(n_filters):
            row[f] = above[base + f] * share
            row[n_filters + f] = below[base + f] * share
        if power == 0.5:  # faster than a power
            for f in range(len(row)):
                row[f] = math.sqrt(row[f])
        elif power != 1.0:
            for f in range(len(row)):
                row[f] = row[f] ** power
        above[base : base + width] = 0
        below[base : base + width] = 0
        to += g.n_filters
