"""Second moments of patches for CPUs, without copying windows.

The products of entries (y, x) and (y + dy, x + dx) of patches are products of pixels
that are (dy, dx) apart. Each such product is computed once for all entries and patches:
rows of the image are multiplied with the rows dy below them. Pixels near the border do
not belong to all entries, so their products are summed separately.

Pixels are shifted by a provisional mean and scaled by a power of two. At most `_TERMS`
products are summed in the precision of the pixels, and these sums are added in float64.
For 8-bit images, all sums are exact integers.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from skdmn.kernels.geometry import Pair, check_members, check_window, output_size
from skdmn.kernels.numba.blocks import (
    ROWS,
    TALL,
    VECTORS,
    call,
    lanes,
    padded,
)
from skdmn.kernels.numba.compiling import inner, kernel
from skdmn.kernels.numba.shared import code, memory
from skdmn.kernels.reference.moments import (
    entry_sums,
    largest_left,
    provisional_mean,
    row_groups,
    unshifted,
)
from skdmn.utils.threads import in_threads, n_threads

_TERMS = 256  # products of 8-bit numbers whose float32 sum is exact
_SCRATCH = 2**17  # bytes of images that a thread multiplies at a time, or 16 images
_MOST = 2**23  # limit of the bytes of those 16 images
_BUDGET = 2**25  # bytes of sums that a thread keeps at a time
_ALONE = 2**20  # fewer products take less time than the start of threads
# the sample is not representative if the mean square, in units of its largest value,
# is above this or below the inverse
_UNLIKE = 2.0**60
_WORSE = 4.0  # ratio of traces above which a shift costs more digits than it saves
NARROW = [np.dtype(name) for name in ("u1", "i1", "?", "f4")]  # computed in float32

# A tile has `steps` times `pixels` adjacent pixels in the rows from top to bottom. Each
# value is multiplied with `width` values in the row dy below, starting `back` pixels
# before it. The products, summed over steps and rows, are stored at `offset`: a row of
# `width` sums for each value.
_TILE = np.dtype(
    [
        (name, np.int64)
        for name in (
            *("dy", "top", "bottom", "left", "pixels", "steps"),
            *("back", "width", "offset"),
        )
    ]
)


def class_moments(
    images: np.ndarray, groups: Sequence[np.ndarray], size: Pair
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the moments of each group; see `reference.moments.class_moments`."""
    for members in groups:
        yield second_moments(images, members, size)


def second_moments(
    images: np.ndarray, members: np.ndarray, size: Pair
) -> tuple[np.ndarray, np.ndarray]:
    """Sum outer products and patches; see `reference.moments.second_moments`."""
    check_members(members, len(images))
    check_window(images.shape[1:], size, (1, 1), "valid")
    dtype = np.dtype(np.float32 if images.dtype in NARROW else np.float64)
    rows, columns = output_size(images.shape[1:], size, (1, 1), "valid")
    n_patches = len(members) * rows * columns
    shift, largest = provisional_mean(images, members, dtype)
    outer, total = _in_range(images, members, size, shift, largest, n_patches)
    rounded = np.trace(outer)  # rounding errors are in proportion to it
    outer, total = unshifted(outer, total, shift, size, n_patches)
    if rounded > _WORSE * np.trace(outer):  # the mean of all images is another one
        none = np.zeros_like(shift)
        largest = largest_left(images, members, none)
        outer, total = _in_range(images, members, size, none, largest, n_patches)
    return outer, total


def _in_range(
    images: np.ndarray,
    members: np.ndarray,
    size: Pair,
    shift: np.ndarray,
    largest: float,
    n_patches: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the moments of shifted patches, in a unit in which squares have a range.

    `largest` is the unit; if it turns out not to suit the images, another is found.
    """
    outer, total, scale = _scaled(images, members, size, shift, largest)
    mean_square = np.trace(outer) / (n_patches * len(outer))
    if not 1 / _UNLIKE < mean_square < _UNLIKE:  # also if it is NaN
        found = largest_left(images, members, shift)
        if found != largest:  # otherwise, for example, all pixels are 0
            outer, total, scale = _scaled(images, members, size, shift, found)
    outer /= scale**2
    return outer, total / scale


def _scaled(
    images: np.ndarray,
    members: np.ndarray,
    size: Pair,
    shift: np.ndarray,
    largest: float,
) -> tuple[np.ndarray, np.ndarray, np.float64]:
    """Compute the moments of shifted and scaled patches; return the scale as well."""
    height, width, channels = images.shape[1:]
    shape, dtype = (height, width, channels), shift.dtype
    # a power of two keeps all digits; scaled squares do not underflow or overflow
    scale = dtype.type(1 / min(max(largest, 2.0**-120), 2.0**120))
    images, source = memory(images)
    functions = code(images.dtype, dtype)
    d = size[0] * size[1] * channels
    outer = np.zeros((d, d))
    for tiles, n_products, n_values in _cut(shape, size, dtype):
        large = n_products * len(members) > _ALONE
        parts = np.array_split(members, min(n_threads(), len(members)) if large else 1)
        moments = np.zeros((len(parts), n_values))
        pixels = np.zeros((len(parts), height * width * channels))
        geometry = (shape, tiles, np.tile(shift, width), scale, lanes(dtype))
        in_threads(
            lambda part, *sums, rest=geometry: _multiply_images(
                functions, source, part, *rest, *sums
            ),
            list(zip(parts, moments, pixels, strict=True)),
            len(parts),
        )
        _fold(_added(moments), tiles, shape, size, outer)
    total = entry_sums(_added(pixels).reshape(shape), size)
    return outer, total, np.float64(scale)


def _added(parts: np.ndarray) -> np.ndarray:
    """Add the sums of all threads in place, in a fixed order: reproducible bytes."""
    for other in parts[1:]:
        parts[0] += other
    return parts[0]


def _tiles(shape: tuple[int, ...], size: Pair, dtype: np.dtype) -> np.ndarray:
    """Divide the products into tiles that each entry has completely or not at all."""
    height, width, channels = shape
    border = size[1] - 1
    inner = width - 2 * border
    together = -(-ROWS // channels)  # pixels that make enough rows for a block
    if inner < 1:
        columns = [(0, width, 1)]
    else:
        columns = [(0, border, 1), (width - border, border, 1)]
        most = together * _TERMS
        for left in range(border, width - border, most):
            length = min(most, width - border - left)
            steps, rest = divmod(length, together)
            columns.append((left, together, steps))
            columns.append((left + steps * together, rest, 1))
    tiles = []
    for dy in range(size[0]):
        back = border if dy else 0  # the products with dy = 0 are symmetric
        for top, bottom in row_groups(height, size[0], dy):
            for left, pixels, steps in columns:
                reach = padded((pixels + back + border) * channels, dtype)
                tiles.append((dy, top, bottom, left, pixels, steps, back, reach, 0))
    tiles = [tile for tile in tiles if tile[4] * tile[5]]  # pixels and steps
    return np.array(tiles, dtype=_TILE)


@functools.lru_cache(maxsize=64)  # called for every class of every batch
def _cut(shape: tuple[int, ...], size: Pair, dtype: np.dtype) -> tuple[tuple, ...]:
    """Return groups of tiles with their numbers of products per image and of sums."""
    groups = []
    for tiles in _in_budget(_tiles(shape, size, dtype), shape[2]):
        values = _values(tiles, shape[2])
        times = (tiles["bottom"] - tiles["top"]) * tiles["steps"]
        groups.append((tiles, int(times @ values), int(values.sum())))
    return tuple(groups)


def _values(tiles: np.ndarray, channels: int) -> np.ndarray:
    """Return the number of sums of each tile."""
    return tiles["pixels"] * channels * tiles["width"]


def _in_budget(tiles: np.ndarray, channels: int) -> Iterator[np.ndarray]:
    """Yield groups of tiles whose sums exceed `_BUDGET` bytes by one tile at most."""
    ends = np.cumsum(_values(tiles, channels)) * 8
    for group in np.unique(ends // _BUDGET):
        some = tiles[ends // _BUDGET == group].copy()
        values = _values(some, channels)
        some["offset"] = np.cumsum(values) - values
        yield some


@kernel
def _multiply_images(
    code, source, members, shape, tiles, shift, scale, lane, moments, sums
):
    """Add the products of all tiles, and the pixels, of some images."""
    height, width, channels = shape
    pitch = width * channels
    size = height * pitch
    # tiles extend beyond the ends of a row, blocks beyond the last row
    room = (width + ROWS + TALL) * channels + VECTORS * lane + TALL
    bytes_each = size * shift.itemsize
    at_once = max(_SCRATCH // bytes_each, min(16, _MOST // bytes_each))
    at_once = max(1, min(at_once, len(members)))
    scratch = np.zeros(at_once * size + 2 * room, shift.dtype)
    most = 0
    for t in range(len(tiles)):
        most = max(most, (tiles[t].pixels * channels + TALL) * tiles[t].width)
    block = np.empty(most, shift.dtype)
    for start in range(0, len(members), at_once):
        some = min(at_once, len(members) - start)
        for i in range(some):
            to, image = room + i * size, source + members[start + i] * size * code.size
            call(
                code.load_shifted,
                ((scratch, to), (shift, 0)),
                (image, height, pitch, pitch, 1, pitch, scale),
            )
            loaded = scratch[to : to + size]
            for j in range(size):
                sums[j] += loaded[j]
        for t in range(len(tiles)):
            tile = tiles[t]
            _multiply_tile(code, scratch, room, some, shape, tile, lane, block, moments)


@inner
def _multiply_tile(code, images, base, n_images, shape, tile, lane, block, moments):
    """Add the products of a tile of some images, `_TERMS` of them at a time."""
    height, width, channels = shape
    pitch, step, values = width * channels, tile.pixels * channels, tile.width
    size = height * pitch
    rows = max(1, min(tile.bottom - tile.top, _TERMS // tile.steps))
    together = max(1, _TERMS // (rows * tile.steps))
    for first in range(0, n_images, together):
        some = min(together, n_images - first)
        for top in range(tile.top, tile.bottom, rows):
            counts = (some, min(rows, tile.bottom - top), tile.steps)
            at = base + first * size + top * pitch + tile.left * channels
            below = at + tile.dy * pitch - tile.back * channels
            call(
                code.multiply_columns,
                ((images, at), (images, below), (block, 0)),
                (
                    (step, values // lane, lane),
                    (size, pitch, step),
                    (size, pitch, step),
                    counts,
                    values,
                ),
            )
            added = moments[tile.offset : tile.offset + step * values]
            for j in range(len(added)):  # a slice, which LLVM turns into vector code
                added[j] += block[j]


@kernel
def _fold(moments, tiles, shape, size, outer):
    """Add, for each pair of entries, the products of the pixels that they cover."""
    height, width, channels = shape
    rows, columns = size
    last_row, last_column = height - rows, width - columns
    for t in range(len(tiles)):
        tile = tiles[t]
        for y in range(rows - tile.dy):
            if tile.top < y or tile.bottom - 1 > last_row + y:
                continue
            for p in range(tile.pixels):
                column = tile.left + p  # with several steps, all columns are inside
                for x in range(columns):
                    if column < x or column > last_column + x:
                        continue
                    entry = (y * columns + x) * channels
                    for other in range(0 if tile.dy else x, columns):
                        to = ((y + tile.dy) * columns + other) * channels
                        at = (p + tile.back + other - x) * channels + tile.offset
                        for c in range(channels):
                            line = at + (p * channels + c) * tile.width
                            for e in range(channels):
                                outer[entry + c, to + e] += moments[line + e]
    for i in range(len(outer)):
        for j in range(i):
            outer[i, j] = outer[j, i]
