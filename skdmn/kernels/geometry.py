"""Geometry of windows: sizes, strides, padding, and how work is cut into tiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from skdmn.utils.validation import Pair

Padding = Literal["valid", "same"]


TILE_VALUES = 2**18  # of windows copied at a time: a megabyte or two, as caches hold


class Pads(NamedTuple):
    """Pixels that padding adds to an image, (vertical, horizontal) each."""

    before: Pair
    after: Pair


class Window(NamedTuple):
    """What max pooling looks at, (vertical, horizontal) each."""

    size: Pair
    stride: Pair
    padding: Padding

    def output_size(self, shape: tuple[int, ...]) -> Pair:
        """Return how many windows images of (height, width, ...) have."""
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
    """Return how many positions a window takes along one axis."""
    if padding == "same":
        return -(-length // stride)
    return (length - kernel) // stride + 1


def output_size(
    shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Padding
) -> Pair:
    """Return how many positions a window takes down and across (height, width, ...)."""
    down, across = (
        output_length(shape[axis], kernel[axis], stride[axis], padding)
        for axis in (0, 1)
    )
    return down, across


def same_padding(length: int, kernel: int, stride: int) -> Pair:
    """Return the pixels added before and after an axis by ONNX's SAME_UPPER."""
    positions = output_length(length, kernel, stride, "same")
    total = max((positions - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


def before(
    shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Padding
) -> Pair:
    """Return the pixels added above and on the left."""
    if padding == "valid":
        return 0, 0
    top, left = (same_padding(shape[i], kernel[i], stride[i])[0] for i in (0, 1))
    return top, left


def tiles(n_images: int, n_rows: int, row_values: int) -> Iterator[tuple[slice, slice]]:
    """Cut (images, output rows) into pieces of about ``TILE_VALUES``.

    Pieces are several whole images, or where one image is too large some of its rows.
    """
    rows = max(1, min(n_rows, TILE_VALUES // row_values))
    images = max(1, TILE_VALUES // (row_values * n_rows))
    for i in range(0, n_images, images):
        for r in range(0, n_rows, rows):
            yield slice(i, min(i + images, n_images)), slice(r, min(r + rows, n_rows))


def every(start: int, count: int, step: int) -> slice:
    """Return so many indices, a step apart."""
    return slice(start, start + (count - 1) * step + 1, step)
