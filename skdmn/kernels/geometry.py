"""Geometry of windows: sizes, strides, padding, and the tiles that work is cut into."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from skdmn.utils.array_api import Array, own_backend
from skdmn.utils.validation import LARGEST_SIZE, Pair

Padding = Literal["valid", "same"]

# values of copied windows per tile
TILE_VALUES = 2**18  # on a CPU: one or two megabytes, which its cache holds
# on other devices: large enough that the start of a kernel takes little of its time;
# 128 MB in float64, as many as a batch has (`skdmn.data.sizes.GPU_BYTES`)
DEVICE_TILE_VALUES = 2**24


class Pads(NamedTuple):
    """Pixels that padding adds to an image, (vertical, horizontal) each."""

    before: Pair
    after: Pair


class Window(NamedTuple):
    """Windows of a pooling operation; pairs are (vertical, horizontal)."""

    size: Pair
    stride: Pair
    padding: Padding

    def output_size(self, shape: tuple[int, ...]) -> Pair:
        """Return the number of windows in images of shape (height, width, ...)."""
        return output_size(shape, self.size, self.stride, self.padding)

    def pads(self, shape: tuple[int, ...]) -> Pads:
        """Return the padding of images of (height, width, ...)."""
        if self.padding == "valid":
            return Pads((0, 0), (0, 0))
        (top, bottom), (left, right) = (
            same_padding(shape[i], self.size[i], self.stride[i]) for i in (0, 1)
        )
        return Pads((top, left), (bottom, right))


WHOLE = Window((1, 1), (1, 1), "valid")  # no pooling


def output_length(length: int, kernel: int, stride: int, padding: Padding) -> int:
    """Return the number of positions of a window along one axis."""
    if padding == "same":
        return -(-length // stride)
    return (length - kernel) // stride + 1


def output_size(
    shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Padding
) -> Pair:
    """Return the number of positions of a window down and across an image."""
    down, across = (
        output_length(shape[axis], kernel[axis], stride[axis], padding)
        for axis in (0, 1)
    )
    return down, across


def same_padding(length: int, kernel: int, stride: int) -> Pair:
    """Return the pixels that ONNX's SAME_UPPER adds before and after an axis."""
    positions = output_length(length, kernel, stride, "same")
    total = max((positions - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


def check_window(
    shape: tuple[int, ...], size: Pair, stride: Pair, padding: str
) -> None:
    """Raise if windows do not fit images of shape (height, width, ...).

    Compiled kernels do not check bounds, so they rely on this check.
    """
    sizes = (*shape[:2], *size, *stride)
    is_valid = all(1 <= one <= LARGEST_SIZE for one in sizes) and (
        padding == "same"
        or (padding == "valid" and size[0] <= shape[0] and size[1] <= shape[1])
    )
    if not is_valid:
        raise ValueError(
            f"Windows of {tuple(size)} pixels with stride {tuple(stride)} and padding "
            f"{padding!r} do not fit images of {tuple(shape[:2])} pixels; pass sizes "
            f"from 1 to the size of the images, strides from 1 to {LARGEST_SIZE}, and "
            "padding 'valid' or 'same'."
        )


def check_filters(
    shape: tuple[int, ...], filters: tuple[int, ...], what: str = "filters"
) -> None:
    """Raise if filters of a shape do not fit images of (height, width, channels).

    Parameters
    ----------
    shape : tuple of int
        Height, width and channels of the images.
    filters : tuple of int
        Shape of the array of filters.
    what : str
        Name of the filters, for the message.
    """
    if len(shape) != 3 or len(filters) != 4 or 0 in filters or filters[3] != shape[2]:
        raise ValueError(
            f"{what} of shape {tuple(filters)} do not fit images of shape "
            f"{tuple(shape)}; pass an array of shape (n, kernel height, kernel width, "
            "channels), for images of (height, width, channels)."
        )


def check_members(members: Array, n_images: int) -> None:
    """Raise if indices of images are not in range."""
    is_int = members.ndim == 1 and members.dtype.kind in "iu"
    if not is_int or (
        len(members) and not 0 <= members.min() <= members.max() < n_images
    ):
        raise ValueError(
            f"members are not indices of {n_images} images; pass a 1D array of ints "
            f"from 0 to {n_images - 1}."
        )


def before(
    shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Padding
) -> Pair:
    """Return the pixels that padding adds above and on the left."""
    if padding == "valid":
        return 0, 0
    top, left = (same_padding(shape[i], kernel[i], stride[i])[0] for i in (0, 1))
    return top, left


def tile_values(array: Array) -> int:
    """Return the number of window values per tile for the device of an array."""
    on_cpu = own_backend(array).kind == "cpu"
    return TILE_VALUES if on_cpu else DEVICE_TILE_VALUES


def tiles(
    n_images: int, n_rows: int, row_values: int, values: int | None = None
) -> Iterator[tuple[slice, slice]]:
    """Cut images and their output rows into tiles.

    Parameters
    ----------
    n_images, n_rows : int
        Number of images, and of output rows of each.
    row_values : int
        Window values of one output row.
    values : int, default=TILE_VALUES
        Window values of a tile, approximately; see `tile_values`.

    Yields
    ------
    images, rows : slices
        Several whole images, or some rows of one image that is larger than a tile.
    """
    values = TILE_VALUES if values is None else values
    rows = max(1, min(n_rows, values // row_values))
    images = max(1, values // (row_values * n_rows))
    for i in range(0, n_images, images):
        for r in range(0, n_rows, rows):
            yield slice(i, min(i + images, n_images)), slice(r, min(r + rows, n_rows))


def every(start: int, count: int, step: int) -> slice:
    """Return the slice of `count` indices that are `step` apart."""
    return slice(start, start + (count - 1) * step + 1, step)
