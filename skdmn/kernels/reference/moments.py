"""Second moments of patches: the definition, and a form without windows.

Both run in any array library, in the widest float of the images' device: in float64
every sum of 8-bit images is an exact integer.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from skdmn.kernels.geometry import Pair, output_size, tiles
from skdmn.kernels.reference.convolution import patches
from skdmn.utils.array_api import (
    Array,
    own_backend,
    take,
    to_backend,
    to_numpy,
    widest_float,
)

_SAMPLE = 16  # images that the provisional mean is taken from
# a value that is copied takes as long as so many products (benchmarks/density.py)
_COPY = 128


def second_moments(
    images: Array, members: np.ndarray, size: Pair
) -> tuple[np.ndarray, np.ndarray]:
    """Sum the patches of some images, and the outer products of each with itself.

    Parameters
    ----------
    images : array of shape (n, height, width, channels), real
    members : ndarray of shape (n_members,), int
        Indices of the images that count, at least one.
    size : (int, int)
        Height and width of a patch.

    Returns
    -------
    outer_products : ndarray of shape (d, d), float64
        d entries of a patch, C order of (y, x, channel).
    sums : ndarray of shape (d,), float64
    """
    xp = own_backend(images).xp
    d = size[0] * size[1] * images.shape[3]
    rows, columns = output_size(images.shape[1:], size, (1, 1), "valid")
    shift, _ = provisional_mean(images, members, _dtype(images))
    outer, total = np.zeros((d, d)), np.zeros(d)
    for some, strip in tiles(len(members), rows, columns * d):
        window_rows = slice(strip.start, strip.stop + size[0] - 1)
        tile = _shifted(images, members[some], shift)[:, window_rows, :, :]
        windows = xp.reshape(patches(tile, size), (-1, d))
        outer += to_numpy(windows.T @ windows)
        total += to_numpy(xp.sum(windows, axis=0))
    return unshifted(outer, total, shift, size, len(members) * rows * columns)


def row_moments(
    images: Array, members: np.ndarray, size: Pair
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the same from products of whole rows of the images.

    Entries (y, x) and (y + dy, x') of all patches meet where a row of pixels is
    multiplied with the row dy below, on a diagonal of the product. Rows near the border
    are not in every entry, so that their products are kept apart.
    """
    xp = own_backend(images).xp
    height, width, channels = images.shape[1:]
    outer = np.zeros((*size, channels, *size, channels))
    pixels = np.zeros((height, width, channels))
    shift, _ = provisional_mean(images, members, _dtype(images))
    groups = [
        (dy, *g) for dy in range(size[0]) for g in row_groups(height, size[0], dy)
    ]
    products = [np.zeros((width * channels,) * 2) for _ in groups]
    for some, _ in tiles(len(members), 1, 1 + height * width * channels):
        tile = _shifted(images, members[some], shift)
        pixels += to_numpy(xp.sum(tile, axis=0))
        rows = xp.reshape(tile, (*tile.shape[:2], width * channels))
        for (dy, top, bottom), product in zip(groups, products, strict=True):
            above = xp.reshape(rows[:, top:bottom, :], (-1, width * channels))
            below = rows[:, top + dy : bottom + dy, :]
            below = xp.reshape(below, (-1, width * channels))
            product += to_numpy(above.T @ below)
    for (dy, top, bottom), product in zip(groups, products, strict=True):
        product = product.reshape(width, channels, width, channels)
        first, last = max(0, bottom - 1 - height + size[0]), min(top, size[0] - dy - 1)
        for x, other in itertools.product(range(size[1]), repeat=2):
            at = np.arange(x, width - size[1] + x + 1)
            block = product[at, :, at + other - x, :].sum(axis=0)
            for y in range(first, last + 1):
                outer[y, x, :, y + dy, other, :] += block
                if dy:
                    outer[y + dy, other, :, y, x, :] += block.T
    shape = output_size((height, width), size, (1, 1), "valid")
    total = entry_sums(pixels, size)
    outer = outer.reshape(len(total), -1)
    return unshifted(outer, total, shift, size, len(members) * shape[0] * shape[1])


def cheaper_second_moments(
    images: Array, members: np.ndarray, size: Pair
) -> tuple[np.ndarray, np.ndarray]:
    """Compute `second_moments` in whichever of the two forms should be faster."""
    if rows_are_cheaper(images.shape[1:], size):
        return row_moments(images, members, size)
    return second_moments(images, members, size)


def entry_sums(pixels: np.ndarray, size: Pair) -> np.ndarray:
    """Sum the pixels (height, width, channels) that each entry of a patch is from."""
    rows, columns = output_size(pixels.shape, size, (1, 1), "valid")
    sums = []
    for y in range(size[0]):
        line = pixels[y : y + rows].sum(axis=0)
        sums += [line[x : x + columns].sum(axis=0) for x in range(size[1])]
    return np.concatenate(sums)


def row_groups(height: int, kernel_height: int, dy: int) -> list[tuple[int, int]]:
    """Cut the rows of an image where an entry of a patch begins or ends to be there.

    Every range of rows is, with those dy below, either in entry y of the patches, for
    each y, or not at all: it is from row y to row height - kernel_height + y.
    """
    entries = range(kernel_height - dy)
    cuts = {edge for y in entries for edge in (y, height - kernel_height + y + 1)}
    return list(itertools.pairwise(sorted(cuts)))


def rows_are_cheaper(shape: tuple[int, ...], size: Pair) -> bool:
    """Return whether `row_moments` should be faster than `second_moments`."""
    height, width, channels = shape
    positions = np.prod(output_size(shape, size, (1, 1), "valid"))
    d = size[0] * size[1] * channels
    row = width * channels
    by_rows = size[0] * height * row * (row + _COPY)
    # the product of windows with themselves is symmetric: BLAS computes half of it
    return bool(by_rows < positions * d * (d / 2 + _COPY))


def provisional_mean(
    images: Array, members: np.ndarray, dtype: np.dtype
) -> tuple[np.ndarray, float]:
    """Return about the mean of each channel, in a dtype, and the size of what is left.

    Taken away before the products, it saves the small differences of bright images.
    It is a multiple of a power of two above the spread, so that whole numbers stay
    whole and images that are not bright stay as they are. The size is a power of two.
    """
    some = to_numpy(take(images, members[:: -(-len(members) // _SAMPLE)], axis=0))
    width, channels = some.shape[2:]
    rows = some.reshape(-1, width * channels)  # whole rows at a time are sooner reduced
    total = rows.sum(axis=0, dtype=np.float64).reshape(width, channels).sum(axis=0)
    mean = total / (len(rows) * width)
    lowest, highest = (
        extreme(extreme(rows, axis=0).reshape(width, channels), axis=0).astype(float)
        for extreme in (np.min, np.max)
    )
    spread = np.maximum(highest - mean, mean - lowest)
    if not np.isfinite(spread).all():
        return np.zeros(len(mean), dtype), 1.0
    grid = 2.0 ** np.ceil(np.log2(np.where(spread > 0, spread, 1.0)))
    if not own_backend(images).xp.isdtype(images.dtype, "real floating"):
        grid = np.maximum(grid, 1.0)
    shift = np.where(spread > 0, (mean / grid).round() * grid, mean).astype(dtype)
    return shift, _power_of_two(np.maximum(highest - shift, shift - lowest).max())


def largest_left(images: Array, members: np.ndarray, shift: np.ndarray) -> float:
    """Return the size of what a shift leaves of all members, a power of two."""
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
    """Return the moments of patches from those of patches less a shift."""
    if not shift.any():
        return outer, total
    mean = np.tile(shift.astype(np.float64), size[0] * size[1])
    cross = np.outer(mean, total)
    outer = outer + cross + cross.T + n_patches * np.outer(mean, mean)
    return outer, total + n_patches * mean


def _shifted(images: Array, members: np.ndarray, shift: np.ndarray) -> Array:
    backend = own_backend(images)
    tile = backend.xp.astype(take(images, members, axis=0), widest_float(backend))
    return tile - to_backend(shift, backend)


def _dtype(images: Array) -> np.dtype:
    backend = own_backend(images)
    wide = widest_float(backend) == backend.xp.float64
    return np.dtype(np.float64 if wide else np.float32)
