"""Reference patches, convolution and pooling, for any array library.

Images are ``(n, height, width, channels)``. They are processed in tiles: the memory
for copied windows does not grow with the number or the size of the images.
"""

from __future__ import annotations

import functools
import math
import operator
from typing import Any, Literal

import array_api_compat
import numpy as np

from skdmn.kernels.geometry import (
    WHOLE,
    Padding,
    Pair,
    Window,
    every,
    output_size,
    same_padding,
    tile_values,
    tiles,
)
from skdmn.utils.array_api import Array, own_backend


def pad(
    images: Array, kernel: Pair, stride: Pair, padding: Padding, value: float
) -> Array:
    """Add a border of a constant value if the padding is "same"."""
    xp = array_api_compat.array_namespace(images)
    n, height, width, channels = images.shape
    if padding == "valid":
        return images
    top, bottom = same_padding(height, kernel[0], stride[0])
    left, right = same_padding(width, kernel[1], stride[1])
    if not any((top, bottom, left, right)):
        return images
    padded = xp.full(
        (n, height + top + bottom, width + left + right, channels),
        value,
        dtype=images.dtype,
        device=array_api_compat.device(images),
    )
    padded[:, top : top + height, left : left + width, :] = images
    return padded


def patches(images: Array, kernel: Pair, stride: Pair = (1, 1)) -> Array:
    """Copy every window of the images into a row.

    Parameters
    ----------
    images : array of shape (n, height, width, channels)
    kernel, stride : pairs of int

    Returns
    -------
    array of shape (n, rows, columns, kernel height * kernel width * channels)
        Entries in C order of (y, x, channel).
    """
    xp = array_api_compat.array_namespace(images)
    rows, columns = output_size(images.shape[1:], kernel, stride, "valid")
    strips = xp.concat(
        [images[:, :, every(dx, columns, stride[1]), :] for dx in range(kernel[1])],
        axis=3,
    )
    return xp.concat(
        [strips[:, every(dy, rows, stride[0]), :, :] for dy in range(kernel[0])],
        axis=3,
    )


def convolve(
    images: Array,
    filters: Array,
    stride: Pair = (1, 1),
    padding: Padding = "valid",
    activation: Literal["relu"] | None = None,
) -> Array:
    """Compute the cross-correlation of images and filters, without a bias.

    Parameters
    ----------
    images : array of shape (n, height, width, channels), real
        Any dtype; the result has the dtype of the filters.
    filters : array of shape (n_filters, kernel height, kernel width, channels)
        Floating; from the same array library, on the same device.
    stride : pair of int
    padding : {"valid", "same"}
        "same" adds zeros like ONNX's SAME_UPPER.
    activation : {"relu", None}

    Returns
    -------
    array of shape (n, rows, columns, n_filters)
    """
    xp = array_api_compat.array_namespace(images)
    n_filters, *kernel, _ = filters.shape
    kernel = (kernel[0], kernel[1])
    images = pad(images, kernel, stride, padding, 0)
    n = images.shape[0]
    rows, columns = output_size(images.shape[1:], kernel, stride, "valid")
    weights = xp.reshape(filters, (n_filters, -1)).T
    features = xp.empty(
        (n, rows, columns, n_filters),
        dtype=filters.dtype,
        device=array_api_compat.device(images),
    )
    row_values = columns * weights.shape[0]
    for some, strip in tiles(n, rows, row_values, tile_values(images)):
        windows = patches(
            images[some, _rows_under(strip, kernel[0], stride[0]), :, :], kernel, stride
        )
        windows = xp.astype(windows, filters.dtype, copy=False)
        products = xp.reshape(windows, (-1, weights.shape[0])) @ weights
        if activation == "relu":
            # clip of array-api-compat uses masks, and waits for a GPU
            products = xp.maximum(products, xp.zeros_like(products[:1, :1]))
        features[some, strip, :, :] = xp.reshape(
            products, (*windows.shape[:3], n_filters)
        )
    return features


def convolve_and_pool(
    images: Array,
    filters: Array,
    stride: Pair,
    padding: Padding,
    activation: Literal["relu"] | None,
    window: Window,
) -> Array:
    """Convolve and max-pool some images at a time, to bound the memory.

    Parameters and result are those of `convolve`, then `max_pool`.
    """
    if window == WHOLE:
        return convolve(images, filters, stride, padding, activation)
    xp = array_api_compat.array_namespace(images)
    n, kernel = images.shape[0], (filters.shape[1], filters.shape[2])
    shape = output_size(images.shape[1:], kernel, stride, padding)
    out = xp.empty(
        (n, *window.output_size(shape), filters.shape[0]),
        dtype=filters.dtype,
        device=array_api_compat.device(images),
    )
    values = math.prod(shape) * filters.shape[0]
    for some, _ in tiles(n, 1, values, tile_values(images)):
        features = convolve(images[some, ...], filters, stride, padding, activation)
        out[some, ...] = max_pool(features, *window)
    return out


def max_pool(images: Array, size: Pair, stride: Pair, padding: Padding) -> Array:
    """Compute the maximum of every window, channel by channel.

    A window with NaN gives NaN.

    Parameters
    ----------
    images : array of shape (n, height, width, channels), floating
    size, stride : pairs of int
    padding : {"valid", "same"}
        "valid" ignores a border that does not fill a window; "same" adds minus
        infinity like ONNX's SAME_UPPER.

    Returns
    -------
    array of shape (n, rows, columns, channels)
    """
    xp = array_api_compat.array_namespace(images)
    n, channels = images.shape[0], images.shape[3]
    out = xp.empty(
        (n, *output_size(images.shape[1:], size, stride, padding), channels),
        dtype=images.dtype,
        device=array_api_compat.device(images),
    )
    for some, _ in tiles(n, 1, math.prod(images.shape[1:]), tile_values(images)):
        out[some, ...] = _max_pool(images[some, ...], size, stride, padding)
    return out


def max_pool_as(images: Array, window: Window, dtype: Any) -> Array:
    """Convert images to a floating dtype, then compute `max_pool`."""
    xp = array_api_compat.array_namespace(images)
    return max_pool(xp.astype(images, dtype, copy=False), *window)


def _max_pool(images: Array, size: Pair, stride: Pair, padding: Padding) -> Array:
    xp = array_api_compat.array_namespace(images)
    images = pad(images, size, stride, padding, -float("inf"))
    rows, columns = output_size(images.shape[1:], size, stride, "valid")
    tallest = functools.reduce(
        xp.maximum,
        (images[:, every(dy, rows, stride[0]), :, :] for dy in range(size[0])),
    )
    return functools.reduce(
        xp.maximum,
        (tallest[:, :, every(dx, columns, stride[1]), :] for dx in range(size[1])),
    )


def _rows_under(strip: slice, kernel: int, stride: int) -> slice:
    """Return the image rows that some output rows depend on."""
    return slice(strip.start * stride, (strip.stop - 1) * stride + kernel)


def average_pool(images: Array, window: Window, power: float, dtype: Any) -> Array:
    """Compute the mean of every window, then a signed power, channel by channel.

    Parameters
    ----------
    images : array of shape (n, height, width, channels), real
    window : Window
        With padding "same", only pixels inside the image count.
    power : float
        Above 0. The result is ``sign(mean) * abs(mean) ** power``.
    dtype : floating dtype of the images' library

    Returns
    -------
    array of shape (n, rows, columns, channels)
    """
    xp = own_backend(images).xp
    images = xp.astype(images, dtype, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):  # mended below
        mean = window_means(images, window)
    n_pixels = math.prod(window.size)
    if n_pixels > 1 and not bool(xp.all(xp.isfinite(mean))):
        # sums of values near the largest float overflow, but not their means
        part = 2.0 ** -math.ceil(math.log2(n_pixels))
        most = part * float(xp.finfo(dtype).max)
        small = window_means(images * part, window)
        small = xp.where(xp.isfinite(small), xp.clip(small, -most, most), small)
        mean = xp.where(xp.isfinite(mean), mean, small / part)
    return signed_power(mean, power)


def window_means(images: Array, window: Window) -> Array:
    """Compute the mean of every window of images of a floating dtype.

    See `average_pool`; the sum of a window must not overflow.
    """
    backend, (size, stride, padding) = own_backend(images), window
    xp, dtype, device = backend.xp, images.dtype, backend.device
    inside = xp.ones((1, *images.shape[1:3], 1), dtype=dtype, device=device)
    rows, columns = window.output_size(images.shape[1:])

    def total(of: Array) -> Array:
        of = pad(of, size, stride, padding, 0)
        high = (of[:, every(dy, rows, stride[0]), :, :] for dy in range(size[0]))
        of = functools.reduce(operator.add, high)
        wide = (of[:, :, every(dx, columns, stride[1]), :] for dx in range(size[1]))
        return functools.reduce(operator.add, wide)

    return total(images) / total(inside)


def signed_power(values: Array, power: float) -> Array:
    """Raise magnitudes to a power and keep the signs."""
    xp = own_backend(values).xp
    return values if power == 1 else xp.copysign(xp.abs(values) ** power, values)
