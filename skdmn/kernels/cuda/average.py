"""Average pooling for GPUs, through CuPy; the kernel is in average.cu."""

from __future__ import annotations

from typing import Any, NamedTuple

import cupy
import numpy as np

from skdmn.kernels.cuda.launch import blocks, by_value, c_type, kernel, readable
from skdmn.kernels.geometry import Window, check_window
from skdmn.utils.array_api import Array

_THREADS = 256


class Windows(NamedTuple):
    """Fields of `Windows` in average.cu, in the same order."""

    height: int
    width: int
    channels: int
    window_height: int
    window_width: int
    step_y: int
    step_x: int
    before_y: int
    before_x: int
    out_rows: int
    out_columns: int


def average_pool(images: Array, window: Window, power: float, dtype: Any) -> Array:
    """Average each window; see `reference.convolution.average_pool`."""
    with images.device:
        images = readable(images, dtype)
        g = windows(images.shape[1:], window)
        out = cupy.empty((len(images), g.out_rows, g.out_columns, g.channels), dtype)
        average(images, out, window, power)
        return out


def average(
    images: Array,
    out: Array,
    window: Window,
    power: float,
    threshold: float | None = None,
) -> None:
    """Average the windows of contiguous images into an array.

    Parameters
    ----------
    images : array of shape (n, height, width, channels)
        Of a dtype that kernels read.
    out : array of shape (n, rows, columns, channels), or with twice as many channels
        Written.
    window : Window
    power : float
    threshold : float or None
        If not None, the values that are averaged are two-sided features: the excess of
        each value over the threshold, then that of minus the value.
    """
    if not out.size:
        return
    g = windows(images.shape[1:], window)
    number = out.dtype.type
    two_sided = "false" if threshold is None else "true"
    types = f"{c_type(images.dtype)}, {c_type(out.dtype)}, {two_sided}"
    n = len(images) * g.out_rows * g.out_columns * g.channels
    kernel("average", f"average<{types}>")(
        (blocks(n, _THREADS),),
        (_THREADS,),
        (
            *(images, out, np.int64(len(images))),
            *(number(power), number(threshold or 0), by_value(g)),
        ),
    )


def windows(shape: tuple[int, ...], window: Window) -> Windows:
    """Return the geometry of windows in images of shape (height, width, channels)."""
    check_window(shape, *window)
    before = window.pads(shape).before
    numbers = *window.size, *window.stride, *before, *window.output_size(shape)
    return Windows(shape[0], shape[1], shape[2], *numbers)
