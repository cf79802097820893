"""Choice of the tiles of the GPU kernels; this module needs no GPU.

A block of threads convolves the positions under a tile of the output, for some images
and filters, and pools them. Each thread computes a region of neighbouring positions for
`FILTER_BYTES` of filters; their sums stay in registers. If a region consists of whole
windows, the thread pools them itself. Otherwise the block pools in shared memory.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from skdmn.kernels.geometry import (
    Padding,
    Pair,
    Window,
    before,
    check_window,
    output_size,
)
from skdmn.utils.array_api import Array

FILTER_BYTES = 32  # of a thread, as in convolution.cu
POSITIONS = 8  # of a region, at most; their sums fill half of the registers
WARP, BANKS = 32, 32
THREADS = 256  # largest number of threads in a block
# of a block. GPUs allow 48 KB by default. Several blocks have to fit on a
# multiprocessor, so that some compute while others read
SHARED_BYTES = 40 * 2**10

# of a multiprocessor: shared memory, and threads that have registers
_SHARED_BYTES, _THREADS = 160 * 2**10, 512
# time per value copied to shared memory, and per sum pooled, if a product takes 1; they
# include waiting for memory, and are fitted to times of an H200 by
# benchmarks/gpu_tiles.py. The third, per value pooled in shared memory, is an estimate
_COPY, _POOL, _WRITE = 84, 27, 60


class Region(NamedTuple):
    """Positions of a thread, and the size of its windows; 0 if it does not pool."""

    rows: int
    columns: int
    pool_rows: int
    pool_columns: int


class Geometry(NamedTuple):
    """Fields of `Geometry` in convolution.cu, in the same order."""

    height: int
    width: int
    channels: int
    kernel_height: int
    kernel_width: int
    stride_y: int
    stride_x: int
    before_y: int
    before_x: int
    rows: int
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
    tile_images: int
    tile_rows: int
    tile_columns: int
    tile_filters: int
    tiles_down: int
    tiles_across: int
    filter_blocks: int
    region_rows: int
    region_columns: int
    pool_rows: int
    pool_columns: int
    regions_down: int
    regions_across: int
    image_rows: int
    image_columns: int
    length: int
    pitch: int
    image_pitch: int
    plane: int
    chunk: int
    position_threads: int

    @property
    def out_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the output."""
        return self.out_rows, self.out_columns, self.n_filters

    @property
    def padded(self) -> int:
        """Number of filters, rounded up to whole blocks."""
        return self.filter_blocks * self.tile_filters

    def jobs(self, n_images: int) -> int:
        """Return the number of tiles, each the work of one block of threads."""
        groups = -(-n_images // self.tile_images)
        return groups * self.tiles_down * self.tiles_across * self.filter_blocks

    def threads(self, itemsize: int) -> int:
        """Return the number of threads in a block."""
        return self.position_threads * self.tile_filters * itemsize // FILTER_BYTES

    def shared_bytes(self, itemsize: int) -> int:
        """Return the bytes of shared memory of a block: operands, later their sums."""
        taps = self.kernel_height * self.kernel_width
        operands = self.chunk * (taps * self.tile_filters + self.plane)
        positions = self.region_rows * self.region_columns * self.position_threads
        sums = 0 if self.pool_rows else self.tile_filters * (positions + 1)
        return max(operands, sums) * itemsize

    def counts(self, itemsize: int) -> tuple[int, int, int]:
        """Return the products, copied values and pooled sums of a block of threads."""
        taps = self.kernel_height * self.kernel_width
        sums = self.threads(itemsize) * self.region_rows * self.region_columns
        sums *= FILTER_BYTES // itemsize
        pixels = self.tile_images * self.image_rows * self.image_columns
        copied = self.channels * (pixels + taps * self.tile_filters)
        return sums * taps * self.channels, copied, sums

    def waiting(self, itemsize: int) -> float:
        """Return the factor by which few blocks, waiting together, take longer."""
        threads, shared = self.threads(itemsize), self.shared_bytes(itemsize)
        blocks = min(_THREADS // threads, _SHARED_BYTES // shared)
        return 1 + 0.5 / max(blocks, 1)

    def cost(self, itemsize: int) -> float:
        """Estimate the time for one image; the unit is that of a product."""
        products, copied, sums = self.counts(itemsize)
        block = products + _COPY * copied + _POOL * sums
        if not self.pool_rows:
            outputs = self.tile_images * self.tile_rows * self.tile_columns
            block += _WRITE * outputs * self.tile_filters
        blocks = self.jobs(self.tile_images) / self.tile_images
        return block * self.waiting(itemsize) * blocks


def whole(
    shape: tuple[int, int, int],
    n_filters: int,
    size: Pair,
    stride: Pair,
    padding: Padding,
    window: Window,
) -> Geometry:
    """Return the geometry of a convolution before tiles are chosen; check the sizes.

    Parameters
    ----------
    shape : (int, int, int)
        Height, width and channels of the images.
    n_filters : int
    size, stride : pairs of int
        Size and stride of the filters.
    padding : {"valid", "same"}
    window : Window
        Windows of the max pooling behind the convolution.
    """
    check_window(shape, size, stride, padding)
    inner = output_size(shape, size, stride, padding)
    check_window(inner, *window)
    fixed = (
        *shape,
        *size,
        *stride,
        *before(shape, size, stride, padding),
        *inner,
        *window.size,
        *window.stride,
        *before(inner, *window),
        *window.output_size(inner),
        n_filters,
    )
    return Geometry(*fixed, *[0] * (len(Geometry._fields) - len(fixed)))


@functools.lru_cache(maxsize=256)
def tiled(g: Geometry, itemsize: int) -> Geometry | None:
    """Choose the tiles that take the fewest instructions by estimate.

    Parameters
    ----------
    g : Geometry
        The result of `whole`.
    itemsize : int
        Bytes of a floating-point number.

    Returns
    -------
    Geometry or None
        None if one pixel of the output needs more positions, or a filter more memory,
        than a block of threads has.
    """
    fits = (t for t in tiles(g, itemsize) if t.shared_bytes(itemsize) <= SHARED_BYTES)
    best = min(fits, key=lambda t: t.cost(itemsize), default=None)
    return best and _spread(best, itemsize)


def tiles(g: Geometry, itemsize: int) -> Iterator[Geometry]:
    """Yield geometries with all tiles among which `tiled` chooses."""
    for region in _regions(g):
        for threads in range(WARP, THREADS + 1, WARP):
            for columns in _shares(g.out_columns):
                under = _under(columns, g.step_x, g.window_width)
                across = -(-under // region.columns)
                rows = _fitting(g, threads // across * region.rows)
                if not rows:
                    continue
                for groups in range(1, THREADS // WARP + 1):
                    if threads * groups <= THREADS:
                        tile = _tile(
                            g, rows, columns, region, threads, groups, itemsize
                        )
                        if tile.chunk:
                            yield tile


def _regions(g: Geometry) -> Iterator[Region]:
    """Yield the regions that threads may compute, of whole windows if possible."""
    window, step = (g.window_height, g.window_width), (g.step_y, g.step_x)
    pools = window == step and math.prod(window) <= POSITIONS
    height, width = window if pools else (1, 1)
    for down in range(1, POSITIONS // (height * width) + 1):
        across = POSITIONS // (height * width * down)
        if (down & (down - 1)) == 0:
            yield Region(down * height, across * width, *(window if pools else (0, 0)))


def _fitting(g: Geometry, conv_rows: int) -> int:
    """Return the number of output rows that some rows of the convolution allow."""
    rows = min(g.out_rows, (conv_rows - g.window_height) // g.step_y + 1)
    return -(-g.out_rows // -(-g.out_rows // rows)) if rows > 0 else 0


def _tile(
    g: Geometry,
    rows: int,
    columns: int,
    region: Region,
    threads: int,
    groups: int,
    itemsize: int,
) -> Geometry:
    """Return a geometry with tiles of some size; its chunk is 0 if it does not fit."""
    down = -(-_under(rows, g.step_y, g.window_height) // region.rows)
    across = -(-_under(columns, g.step_x, g.window_width) // region.columns)
    image_rows = _under(down * region.rows, g.stride_y, g.kernel_height)
    image_columns = _under(across * region.columns, g.stride_x, g.kernel_width)
    step = region.columns * g.stride_x
    length = -(-image_columns // step)
    image_pitch = image_rows * step * length
    filters = groups * FILTER_BYTES // itemsize
    room = SHARED_BYTES // itemsize - g.kernel_height * g.kernel_width * filters
    images = 1
    if (rows, columns) == (g.out_rows, g.out_columns):
        images = max(1, min(threads // (down * across), room // image_pitch))
    tile = g._replace(
        tile_images=images,
        tile_rows=rows,
        tile_columns=columns,
        tile_filters=filters,
        tiles_down=-(-g.out_rows // rows),
        tiles_across=-(-g.out_columns // columns),
        filter_blocks=-(-g.n_filters // filters),
        region_rows=region.rows,
        region_columns=region.columns,
        pool_rows=region.pool_rows,
        pool_columns=region.pool_columns,
        regions_down=down,
        regions_across=across,
        image_rows=image_rows,
        image_columns=image_columns,
        length=length,
        position_threads=threads,
    )
    return _laid_out(tile, step * length, image_pitch, itemsize)


def _laid_out(g: Geometry, pitch: int, image_pitch: int, itemsize: int) -> Geometry:
    """Return a geometry with distances of rows and images; channels fill the memory."""
    plane = g.tile_images * image_pitch | 1  # odd: channels are in different banks
    weights = g.kernel_height * g.kernel_width * g.tile_filters
    chunk = min(g.channels, SHARED_BYTES // itemsize // (weights + plane))
    if chunk:
        chunk = -(-g.channels // -(-g.channels // chunk))
    return g._replace(pitch=pitch, image_pitch=image_pitch, plane=plane, chunk=chunk)


def _spread(g: Geometry, itemsize: int) -> Geometry:
    """Return a geometry with distances by which threads read from different banks."""
    narrow = g.pitch
    layouts = (
        _laid_out(g, pitch, g.image_rows * pitch + more, itemsize)
        for pitch in range(narrow, narrow + BANKS // 2)
        for more in (range(BANKS // 2) if g.tile_images > 1 else (0,))
    )
    fits = (t for t in layouts if t.chunk == g.chunk)
    return min(fits, key=lambda t: (_conflicts(t, itemsize), t.plane))


def _conflicts(g: Geometry, itemsize: int) -> int:
    """Return how many threads of a warp read from the same bank at most, summed up."""
    banks = BANKS * 4 // itemsize
    places = range(min(g.tile_images * g.regions_down * g.regions_across, 4 * banks))
    row = g.region_rows * g.stride_y * g.pitch
    found = 0
    for start in places[::banks]:
        uses = [0] * banks
        for place in places[start : start + banks]:
            line, across = divmod(place, g.regions_across)
            image, down = divmod(line, g.regions_down)
            uses[(image * g.image_pitch + down * row + across) % banks] += 1
        found += max(uses)
    return found


def instance(g: Geometry) -> str:
    """Return the template arguments of the kernel, after its types."""
    region = g.region_rows, g.region_columns, g.pool_rows, g.pool_columns
    return ", ".join(map(str, (g.kernel_width, g.stride_x, *region)))


def arranged(filters: Array, g: Geometry, xp: Any) -> Array:
    """Return filters as the kernel reads them: filter axis last, padded with zeros."""
    n, height, width, channels = filters.shape
    weights = xp.zeros((channels, height, width, g.padded), dtype=filters.dtype)
    weights[..., :n] = filters.transpose(3, 1, 2, 0)
    return weights


def _under(length: int, step: int, size: int) -> int:
    """Return the length that a number of windows covers."""
    return (length - 1) * step + size


def _shares(length: int) -> list[int]:
    """Return the distinct values of a length divided by 1, 2, 3, ..., rounded up."""
    root = math.isqrt(length)
    few = {-(-length // parts) for parts in range(1, root + 1)}
    return sorted(few | set(range(1, root + 1)), reverse=True)
