"""Choice of the tiles of the GPU kernels; this module needs no GPU.

A block of threads convolves the positions under a tile of the output, for some images
and filters, and pools them. Each thread keeps the sums of `POSITIONS` positions and
`FILTER_BYTES` of filters in registers.
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

POSITIONS, FILTER_BYTES = 8, 32  # as in convolution.cu
WARP = 32
THREADS = 128  # largest number of threads in a block
# of a block. GPUs allow 48 KB by default. Several blocks have to fit on a
# multiprocessor, so that some compute while others read
SHARED_BYTES = 40 * 2**10

# instructions per value read and per value written, if a product takes one; estimates
# that only have to rank the tiles
_READ, _WRITE = 30, 60


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
    conv_rows: int
    conv_columns: int
    image_rows: int
    pitch: int
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
        sums = self.tile_filters * (POSITIONS * self.position_threads + 1)
        return max(operands, sums) * itemsize

    def cost(self, itemsize: int) -> float:
        """Estimate the number of instructions for one image."""
        d = self.kernel_height * self.kernel_width * self.channels
        sums = self.threads(itemsize) * POSITIONS * (FILTER_BYTES // itemsize)
        outputs = self.tile_images * self.tile_rows * self.tile_columns
        block = sums * d + _READ * self.channels * (
            self.plane + self.kernel_height * self.kernel_width * self.tile_filters
        )
        block += _WRITE * outputs * self.tile_filters
        return block * self.jobs(self.tile_images) / self.tile_images


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
    fits = (t for t in _tiles(g, itemsize) if t.chunk)
    return min(fits, key=lambda t: t.cost(itemsize), default=None)


def _tiles(g: Geometry, itemsize: int) -> Iterator[Geometry]:
    for threads in range(WARP, THREADS + 1, WARP):
        for groups in (1, 2, 4):
            if threads * groups > THREADS:
                continue
            for columns in _shares(g.out_columns):
                under = _under(columns, g.step_x, g.window_width)
                rows = _fitting(g, POSITIONS * threads // under)
                if rows:
                    yield _tile(g, rows, columns, threads, groups, itemsize)


def _fitting(g: Geometry, conv_rows: int) -> int:
    """Return the number of output rows that some rows of the convolution allow."""
    rows = min(g.out_rows, (conv_rows - g.window_height) // g.step_y + 1)
    return -(-g.out_rows // -(-g.out_rows // rows)) if rows > 0 else 0


def _tile(
    g: Geometry, rows: int, columns: int, threads: int, groups: int, itemsize: int
) -> Geometry:
    """Return a geometry with tiles of some size; its chunk is 0 if it does not fit."""
    conv_rows = _under(rows, g.step_y, g.window_height)
    conv_columns = _under(columns, g.step_x, g.window_width)
    image_rows = _under(conv_rows, g.stride_y, g.kernel_height)
    pitch = _under(conv_columns, g.stride_x, g.kernel_width)
    filters = groups * FILTER_BYTES // itemsize
    weights = g.kernel_height * g.kernel_width * filters
    room = SHARED_BYTES // itemsize
    images = 1
    if (rows, columns) == (g.out_rows, g.out_columns):
        enough = POSITIONS * threads // (conv_rows * conv_columns)
        images = max(1, min(enough, (room - weights - 1) // (image_rows * pitch)))
    plane = images * image_rows * pitch | 1  # odd: channels are in different banks
    chunk = min(g.channels, room // (weights + plane))
    if chunk:
        chunk = -(-g.channels // -(-g.channels // chunk))
    return g._replace(
        tile_images=images,
        tile_rows=rows,
        tile_columns=columns,
        tile_filters=filters,
        tiles_down=-(-g.out_rows // rows),
        tiles_across=-(-g.out_columns // columns),
        filter_blocks=-(-g.n_filters // filters),
        conv_rows=conv_rows,
        conv_columns=conv_columns,
        image_rows=image_rows,
        pitch=pitch,
        plane=plane,
        chunk=chunk,
        position_threads=threads,
    )


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
