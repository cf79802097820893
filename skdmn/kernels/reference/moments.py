"""Reference second moments of patches, with and without copying windows.

Both forms run in any array library, in the widest floating dtype of the device. In
float64, all sums of 8-bit images are exact integers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from skdmn.kernels.geometry import Pair, output_size, tile_values, tiles
from skdmn.kernels.reference.convolution import patches
from skdmn.kernels.reference.sums import to_float64
from skdmn.utils.array_api import (
    Array,
    own_backend,
    take,
    to_backend,
    to_numpy,
    widest_float,
)

_SAMPLE = 16  # number of images that the provisional mean is computed from
# products that take as long as the copy of one value (benchmarks/density.py)
_COPY = 128


def second_moments(
    images: Array, members: np.ndarray, size: Pair
) -> tuple[np.ndarray, np.ndarray]:
    """Sum the outer products of the patches of some images, and the patches.

    Parameters
    ----------
    images : array of shape (n, height, width, channels), real
    members : ndarray of shape (n_members,), int
        Indices of the images to use, at least one.
    size : (int, int)
        Height and width of a patch.

    Returns
    -------
    outer_products : ndarray of shape (d, d), float64
        d is the number of entries of a patch, in C order of (y, x, channel).
    sums : ndarray of shape (d,), float64
    """
    xp = own_backend(images).xp
    d = size[0] * size[1] * images.shape[3]
    rows, columns = output_size(images.shape[1:], size, (1, 1), "valid")
    shift, _ = provisional_mean(images, members, _dtype(images))
    outer, total = 0.0, 0.0
    for some, strip in tiles(len(members), rows, columns * d, tile_values(images)):
        window_rows = slice(strip.start, strip.stop + size[0] - 1)
        tile = _shifted(images, members[some], shift)[:, window_rows, :, :]
        windows = xp.reshape(patches(tile, size), (-1, d))
        outer += to_float64(windows.T @ windows)
        total += to_float64(xp.sum(windows, axis=0))
    n_patches = len(members) * rows * columns
    return unshifted(to_numpy(outer), to_numpy(total), shift, size, n_patches)


def row_moments(
    images: Array, members: np.ndarray, size: Pair
) -> tuple[np.ndarray, np.ndarray]:
    """Compute `second_moments` from products of whole rows of the images.

    The product of a row of pixels with the row dy below it holds, on its diagonals, the
    products of entries (y, x) and (y + dy, x') of all patches. Rows near the border do
    not belong to all entries, so their products are summed separately.

    Parameters and result are those of `second_moments`.
    """
    xp = own_backend(images).xp
    height, width, channels = images.shape[1:]
    outer = np.zeros((*size, channels, *size, channels))
    pixels = 0.0
    shift, _ = provisional_mean(images, members, _dtype(images))
    groups = [
        (dy, *g) for dy in range(size[0]) for g in row_groups(height, size[0], dy)
    ]
    products: list[Array] = [0.0] * len(groups)
    values = 1 + height * width * channels
    for some, _ in tiles(len(members), 1, values, tile_values(images)):
        tile = _shifted(images, members[some], shift)
        pixels += to_float64(xp.sum(tile, axis=0))
        rows = xp.reshape(tile, (*tile.shape[:2], width * channels))
        for i, (dy, top, bottom) in enumerate(groups):
            above = xp.reshape(rows[:, top:bottom, :], (-1, width * channels))
            below = rows[:, top + dy : bottom + dy, :]
            below = xp.reshape(below, (-1, width * channels))
            products[i] += to_float64(above.T @ below)
    for (dy, top, bottom), product in zip(groups, products, strict=True):
        product = to_numpy(product).reshape(width, channels, width, channels)
        first, last = max(0, bottom - 1 - height + size[0]), min(top, size[0] - dy - 1)
        for x, other in itertools.product(range(size[1]), repeat=2):
            at = np.arange(x, width - size[1] + x + 1)
            block = product[at, :, at + other - x, :].sum(axis=0)
            for y in range(first, last + 1):
                outer[y, x, :, y + dy, other, :] += block
                if dy:
                    outer[y + dy, other, :, y, x, :] += block.T
    shape = output_size((height, width), size, (1, 1), "valid")
    total = entry_sums(to_numpy(pixels), size)
    outer = outer.reshape(len(total), -1)
    return unshifted(outer, total, shift, size, len(members) * shape[0] * shape[1])


def cheaper_second_moments(
    images: Array, members: np.ndarray, size: Pair
) -> tuple[np.ndarray, np.ndarray]:
    """Compute `second_moments` by the form that should be faster.

    Parameters and result are those of `second_moments`.
    """
    if rows_are_cheaper(images.shape[1:], size):
        return row_moments(images, members, size)
    return second_moments(images, members, size)


def class_moments(
    images: Array, groups: Sequence[np.ndarray], size: Pair
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield `second_moments` of several groups of images.

    Parameters
    ----------
    images : array of shape (n, height, width, channels), real
    groups : sequence of ndarrays of int
        Indices of the images of each group, at least one.
    size : (int, int)
        Height and width of a patch.

    Yields
    ------
    outer_products : ndarray of shape (d, d), float64
    sums : ndarray of shape (d,), float64
        Of one group after the other.
    """
    for members in groups:
        yield cheaper_second_moments(images, members, size)


def entry_sums(pixels: np.ndarray, size: Pair) -> np.ndarray:
    """Sum the pixels (height, width, channels) that each entry of a patch covers."""
    rows, columns = output_size(pixels.shape, size, (1, 1), "valid")
    sums = []
    for y in range(size[0]):
        line = pixels[y : y + rows].sum(axis=0)
        sums += [line[x : x + columns].sum(axis=0) for x in range(size[1])]
    return np.concatenate(sums)


def row_groups(height: int, kernel_height: int, dy: int) -> list[tuple[int, int]]:
    """Divide the rows of an image into ranges that belong to the same entries.

    Entry y of the patches covers the rows from y to height - kernel_height + y. Each
    range, paired with the rows dy below it, is inside or outside of that for every y.
    """
    entries = range(kernel_height - dy)
    cuts = {edge for y in entries for edge in (y, height - kernel_height + y + 1)}
    return list(itertools.pairwise(sorted(cuts)))


def rows_are_cheaper(shape: tuple[int, ...], size: Pair) -> bool:
    """Return True if `row_moments` should be faster than `second_moments`."""
    height, width, channels = shape
    positions = np.prod(output_size(shape, size, (1, 1), "valid"))
    d = size[0] * size[1] * channels
    row = width * channels
    by_rows = size[0] * height * row * (row + _COPY)
    # the product of windows with themselves is symmetric, so BLAS computes half of it
    return bool(by_rows < positions * d * (d / 2 + _COPY))


def provisional_mean(
    images: Array, members: np.ndarray, dtype: np.dtype
) -> tuple[np.ndarray, float]:
    """Compute an approximate mean of each channel from some of the images.

    Subtracting it before the products keeps the digits of small differences between
    bright pixels. It is a multiple of a power of two that is at least the spread:
    integers stay integers, and the shift is 0 for images that are not bright. Mean and
    spread are medians over the images, so that an extreme pixel has no effect.

    Returns
    -------
    shift : ndarray of shape (channels,), of the given dtype
    largest : float
        A power of two, at least the magnitude of the shifted pixels of the sample.
    """
    some = to_numpy(take(images, members[:: -(-len(members) // _SAMPLE)], axis=0))
    n, height, width, channels = some.shape
    rows = some.reshape(n, height, width * channels)  # whole rows are reduced faster
    total = rows.sum(axis=1, dtype=np.float64).reshape(n, width, channels).sum(axis=1)
    lowest, highest = (
        extreme(extreme(rows, axis=1).reshape(n, width, channels), axis=1).astype(float)
        for extreme in (np.min, np.max)
    )
    if not (np.isfinite(lowest) & np.isfinite(highest)).all():
        return np.zeros(channels, dtype), 1.0
    mean = _median(total / (height * width))
    spread = _median(np.maximum(highest - mean, mean - lowest))
    if not np.isfinite(spread).all():  # it overflows
        return np.zeros(channels, dtype), 1.0
    grid = 2.0 ** np.ceil(np.log2(np.where(spread > 0, spread, 1.0)))
    if not own_backend(images).xp.isdtype(images.dtype, "real floating"):
        grid = np.maximum(grid, 1.0)
    shift = np.where(spread > 0, (mean / grid).round() * grid, mean).astype(dtype)
    return shift, _power_of_two(np.maximum(highest - shift, shift - lowest).max())


def _median(of_images: np.ndarray) -> np.ndarray:
    """Return the (upper) median along the first axis."""
    return np.sort(of_images, axis=0)[len(of_images) // 2]


def largest_left(images: Array, members: np.ndarray, shift: np.ndarray) -> float:
    """Return a power of two, at least the magnitude of all shifted pixels."""
    left = 0.0
    for some, _ in tiles(len(members), 1, math.prod(images.shape[1:])):
        rest = _shifted(images, members[some], shift)
        left = max(left, float(np.abs(to_numpy(rest)).max()))
    return _power_of_two(left)


def _power_of_two(largest: float) -> float:
    return float(2.0 ** np.ceil(np.log2(largest))) if largest > 0 else 1.0


def unshifted(
    outer: np.ndarray,
    total: np.ndarray,
    shift: np.ndarray,
    size: Pair,
    n_patches: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the moments of patches from those of shifted patches."""
    if not shift.any():
        return outer, total
    mean = np.tile(shift.astype(np.float64), size[0] * size[1])
    cross = np.outer(mean, total)
    outer = outer + cross  # then in place: the matrices can be large
    outer += cross.T
    outer += np.multiply(np.outer(mean, mean, out=cross), n_patches, out=cross)
    return outer, total + n_patches * mean


def _shifted(images: Array, members: np.ndarray, shift: np.ndarray) -> Array:
    backend = own_backend(images)
    tile = backend.xp.astype(take(images, members, axis=0), widest_float(backend))
    return tile - to_backend(shift, backend)


def _dtype(images: Array) -> np.dtype:
    backend = own_backend(images)
    wide = widest_float(backend) == backend.xp.float64
    return np.dtype(np.float64 if wide else np.float32)
