"""How the kernels for GPUs cut up their work: numbers only, no GPU is needed.

A block of threads convolves the positions under a tile of the output, for some images
and filters, and pools them. Each of its threads keeps `POSITIONS` positions times
`FILTER_BYTES` of filters in registers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from skdmn.kernels.geometry import Padding, Pair, Window, before, output_size
from skdmn.utils.array_api import Array

POSITIONS, FILTER_BYTES = 8, 32  # as in cuda.cu
WARP = 32
THREADS = 128  # of a block, at most
# of a block: what a GPU allows without being asked is 48 KB, and several blocks have
# to be in a processor at a time, to compute while others read
SHARED_BYTES = 40 * 2**10

# instructions for each value read, and for each value written, next to one for each
# product; guesses that only have to tell good tiles from bad ones
_READ, _WRITE = 30, 60


class Geometry(NamedTuple):
    """What `Geometry` in cuda.cu says, in its order."""

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
        """Number of filters, filled up to whole blocks."""
        return self.filter_blocks * self.tile_filters

    def jobs(self, n_images: int) -> int:
        """Return how many blocks of threads there is work for."""
        groups = -(-n_images // self.tile_images)
        return groups * self.tiles_down * self.tiles_across * self.filter_blocks

    def threads(self, itemsize: int) -> int:
        """Return the threads of a block."""
        return self.position_threads * self.tile_filters * itemsize // FILTER_BYTES

    def shared_bytes(self, itemsize: int) -> int:
        """Return the shared memory of a block: operands first, then their products."""
        taps = self.kernel_height * self.kernel_width
        operands = self.chunk * (taps * self.tile_filters + self.plane)
        sums = self.tile_filters * (POSITIONS * self.position_threads + 1)
        return max(operands, sums) * itemsize

    def cost(self, itemsize: int) -> float:
        """Estimate the instructions for one image."""
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
    """Return a geometry that is not cut into tiles yet.

    Parameters
    ----------
    shape : (int, int, int)
        Height, width and channels of the images.
    n_filters : int
    size, stride : pairs of int
        Of the filters.
    padding : {"valid", "same"}
    window : Window
        That the convolution is pooled by.
    """
    inner = output_size(shape, size, stride, padding)
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
    """Cut the work up so that it takes the fewest instructions, as far as they go.

    Parameters
    ----------
    g : Geometry
        As `whole` returns it.
    itemsize : int
        Bytes of a float.

    Returns
    -------
    Geometry or None
        None where one pixel of the output takes more positions, or a filter more
        memory, than a block of threads has.
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
    """Return how many output rows some rows of the convolution are enough for."""
    rows = min(g.out_rows, (conv_rows - g.window_height) // g.step_y + 1)
    return -(-g.out_rows // -(-g.out_rows // rows)) if rows > 0 else 0


def _tile(
    g: Geometry, rows: int, columns: int, threads: int, groups: int, itemsize: int
) -> Geometry:
    """Return a geometry of tiles of some rows and columns; chunk 0: it does not fit."""
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
    plane = images * image_rows * pitch | 1  # odd: channels lie in different banks
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
    """Return filters as the kernel reads them: the filters last, and whole blocks."""
    n, height, width, channels = filters.shape
    weights = xp.zeros((channels, height, width, g.padded), dtype=filters.dtype)
    weights[..., :n] = filters.transpose(3, 1, 2, 0)
    return weights


def _under(length: int, step: int, size: int) -> int:
    """Return how much windows reach over, side by side."""
    return (length - 1) * step + size


def _shares(length: int) -> list[int]:
    """Return a length divided by 1, 2, 3 and so on, rounded up, each value once."""
    root = math.isqrt(length)
    few = {-(-length // parts) for parts in range(1, root + 1)}
    return sorted(few | set(range(1, root + 1)), reverse=True)
