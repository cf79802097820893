"""Patches by their contrast: moments, encoding and average pooling, the definitions.

Every patch is taken less its mean and divided by its contrast, the square root of its
variance and a floor. What filters give for that is soft thresholded, for both signs,
and averaged over windows. For any array library.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np

from skdmn.kernels.geometry import Pair, Window, output_size, tiles
from skdmn.kernels.reference.convolution import average_pool, patches
from skdmn.utils.array_api import Array, own_backend, take, to_numpy, widest_float


class Encoding(NamedTuple):
    """What `encode` does with a patch.

    Attributes
    ----------
    filters : array of shape (n_filters, kernel height, kernel width, channels)
        Entries of each sum to 0: the mean of a patch gives nothing.
    floor : float
        Added to the variance of a patch, in the squared unit of the images.
    threshold : float
        What a product must exceed to count.
    components : array of shape (n_components, kernel height, width, channels) or None
        Orthonormal; every filter is a combination of them, which kernels make use of.
    """

    filters: Array
    floor: float
    threshold: float
    components: Array | None = None

    @property
    def size(self) -> Pair:
        """Height and width of a patch."""
        return self.filters.shape[1], self.filters.shape[2]


def by_contrast(windows: Array, floor: float) -> Array:
    """Return patches (..., d) less their means, divided by their contrasts."""
    xp = own_backend(windows).xp
    windows = windows - xp.mean(windows, axis=-1, keepdims=True)
    variance = xp.mean(windows * windows, axis=-1, keepdims=True)
    return windows / xp.sqrt(variance + floor)


def cell_edges(length: int, cells: int) -> list[int]:
    """Return where cells begin and end along an axis of positions."""
    return [(2 * i * length + cells) // (2 * cells) for i in range(cells + 1)]


def contrast_moments(
    images: Array, members: np.ndarray, size: Pair, cells: Pair, floor: float
) -> np.ndarray:
    """Sum the outer products of patches by contrast, for each cell of the image.

    Parameters
    ----------
    images : array of shape (n, height, width, channels), real
    members : ndarray of shape (n_members,), int
        Indices of the images that count, at least one.
    size : (int, int)
        Height and width of a patch.
    cells : (int, int)
        The positions of patches are cut into so many cells, down and across.
    floor : float
        Added to the variance of a patch.

    Returns
    -------
    ndarray of shape (cells down * cells across, d, d), float64
        d entries of a patch, C order of (y, x, channel).
    """
    backend = own_backend(images)
    xp, dtype = backend.xp, widest_float(backend)
    rows, columns = output_size(images.shape[1:], size, (1, 1), "valid")
    d = size[0] * size[1] * images.shape[3]
    down, across = cell_edges(rows, cells[0]), cell_edges(columns, cells[1])
    outer = np.zeros((cells[0] * cells[1], d, d))
    for some, strip in tiles(len(members), rows, columns * d):
        tile = xp.astype(take(images, members[some], axis=0), dtype)
        tile = tile[:, strip.start : strip.stop + size[0] - 1, :, :]
        windows = by_contrast(patches(tile, size), floor)
        spans = itertools.product(itertools.pairwise(down), itertools.pairwise(across))
        for cell, ((top, bottom), (left, right)) in enumerate(spans):
            first = max(top - strip.start, 0)
            last = max(min(bottom, strip.stop) - strip.start, first)
            inside = xp.reshape(windows[:, first:last, left:right, :], (-1, d))
            outer[cell] += to_numpy(inside.T @ inside)
    return outer


def encode(images: Array, how: Encoding) -> Array:
    """Multiply patches by contrast with filters, and soft threshold both signs.

    Parameters
    ----------
    images : array of shape (n, height, width, channels), real
        Of any dtype; computed in that of the filters.
    how : Encoding

    Returns
    -------
    array of shape (n, rows, columns, 2 * n_filters)
        ``max(z - threshold, 0)`` of the products z, then ``max(-z - threshold, 0)``.
    """
    backend = own_backend(images)
    xp, filters = backend.xp, how.filters
    rows, columns = output_size(images.shape[1:], how.size, (1, 1), "valid")
    weights = xp.reshape(filters, (filters.shape[0], -1)).T
    shape = (images.shape[0], rows, columns, 2 * filters.shape[0])
    out = xp.empty(shape, dtype=filters.dtype, device=backend.device)
    for some, strip in tiles(images.shape[0], rows, columns * weights.shape[0]):
        under = slice(strip.start, strip.stop + how.size[0] - 1)
        tile = xp.astype(images[some, under, :, :], filters.dtype, copy=False)
        windows = by_contrast(patches(tile, how.size), how.floor)
        products = xp.reshape(windows, (-1, weights.shape[0])) @ weights
        both = xp.concat([products, -products], axis=1) - how.threshold
        out[some, strip, :, :] = xp.reshape(
            xp.clip(both, min=0), (*windows.shape[:3], -1)
        )
    return out


def encode_and_pool(
    images: Array, how: Encoding, window: Window, power: float
) -> Array:
    """Encode, then average, some images at a time: no feature map of all is made.

    Parameters and result are those of `encode` and `average_pool`.
    """
    backend = own_backend(images)
    xp, filters = backend.xp, how.filters
    inner = output_size(images.shape[1:], how.size, (1, 1), "valid")
    shape = (images.shape[0], *window.output_size(inner), 2 * filters.shape[0])
    out = xp.empty(shape, dtype=filters.dtype, device=backend.device)
    for some, _ in tiles(images.shape[0], 1, math.prod(inner) * shape[3]):
        features = encode(images[some, ...], how)
        out[some, ...] = average_pool(features, window, power, filters.dtype)
    return out
