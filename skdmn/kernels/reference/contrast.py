"""Reference moments and encoding with local contrast normalization.

The mean of every patch is subtracted, and the patch is divided by its contrast: the
square root of its variance plus a floor. For any array library.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from skdmn.kernels.geometry import (
    Pair,
    Window,
    check_filters,
    output_size,
    tile_values,
    tiles,
)
from skdmn.kernels.reference.convolution import patches, signed_power, window_means
from skdmn.kernels.reference.sums import to_float64
from skdmn.utils.array_api import Array, own_backend, take, to_numpy, widest_float


class Encoding(NamedTuple):
    """Parameters of `encode`.

    Attributes
    ----------
    filters : array of shape (n_filters, kernel height, kernel width, channels)
        The entries of each filter sum to 0: the mean of a patch has no effect.
    floor : float
        Added to the variance of a patch, in the squared unit of the images.
    threshold : float
        The soft threshold of the products.
    components : array of shape (n_components, kernel height, width, channels) or None
        Orthonormal. Every filter is a linear combination of them; kernels use this if
        it takes fewer operations.
    """

    filters: Array
    floor: float
    threshold: float
    components: Array | None = None

    @property
    def size(self) -> Pair:
        """Height and width of a patch."""
        return self.filters.shape[1], self.filters.shape[2]


def check_encoding(shape: tuple[int, ...], how: Encoding) -> None:
    """Raise if filters or components do not fit images of (height, width, channels)."""
    check_filters(shape, how.filters.shape)
    if how.components is not None:
        check_filters(shape, how.components.shape, "components")
        if how.components.shape[1:] != how.filters.shape[1:]:
            raise ValueError(
                f"components of shape {tuple(how.components.shape)} do not fit filters "
                f"of shape {tuple(how.filters.shape)}; pass kernels of one size."
            )


def by_contrast(windows: Array, floor: float) -> Array:
    """Subtract the mean of each patch (..., d) and divide by its contrast.

    The squares are computed in a unit that depends on the patch, so that they neither
    overflow nor underflow: the unit of the images does not matter.
    """
    xp = own_backend(windows).xp
    root = root_of_floor(floor, xp.finfo(windows.dtype))
    # first subtracting an entry keeps digits of bright patches, and makes patches of
    # equal entries exactly 0, however small the floor is
    windows = windows - windows[..., :1]
    windows -= xp.mean(windows, axis=-1, keepdims=True)
    unit = xp.max(xp.abs(windows), axis=-1, keepdims=True)
    unit = xp.maximum(unit, xp.full_like(unit, root))
    windows /= unit
    variance = xp.mean(windows * windows, axis=-1, keepdims=True)
    windows /= xp.sqrt(variance + (root / unit) ** 2)
    return windows


def root_of_floor(floor: float, limits: Any) -> float:
    """Return the square root of a floor, as a normal number of a dtype.

    `limits` is the `finfo` of the dtype.
    """
    least, most = float(limits.smallest_normal), float(limits.max)
    return min(max(math.sqrt(floor), least), most)


def cell_edges(length: int, cells: int) -> list[int]:
    """Return the positions at which the cells of an axis start and end."""
    return [(2 * i * length + cells) // (2 * cells) for i in range(cells + 1)]


def contrast_moments(
    images: Array, members: np.ndarray, size: Pair, cells: Pair, floor: float
) -> np.ndarray:
    """Sum the outer products of contrast-normalized patches, cell by cell.

    Parameters
    ----------
    images : array of shape (n, height, width, channels), real
    members : ndarray of shape (n_members,), int
        Indices of the images to use, at least one.
    size : (int, int)
        Height and width of a patch.
    cells : (int, int)
        Number of cells, down and across, that the positions are divided into.
    floor : float
        Added to the variance of a patch.

    Returns
    -------
    ndarray of shape (cells down * cells across, d, d), float64
        d is the number of entries of a patch, in C order of (y, x, channel).
    """
    backend = own_backend(images)
    xp, dtype = backend.xp, widest_float(backend)
    rows, columns = output_size(images.shape[1:], size, (1, 1), "valid")
    d = size[0] * size[1] * images.shape[3]
    down, across = cell_edges(rows, cells[0]), cell_edges(columns, cells[1])
    totals: list[Array] = [0.0] * (cells[0] * cells[1])
    for some, strip in tiles(len(members), rows, columns * d, tile_values(images)):
        tile = xp.astype(take(images, members[some], axis=0), dtype)
        tile = tile[:, strip.start : strip.stop + size[0] - 1, :, :]
        windows = by_contrast(patches(tile, size), floor)
        spans = itertools.product(itertools.pairwise(down), itertools.pairwise(across))
        for cell, ((top, bottom), (left, right)) in enumerate(spans):
            first = max(top - strip.start, 0)
            last = min(bottom, strip.stop) - strip.start
            if first >= last:  # the tile has no row of this cell
                continue
            inside = xp.reshape(windows[:, first:last, left:right, :], (-1, d))
            totals[cell] += to_float64(inside.T @ inside)
    outer = np.zeros((len(totals), d, d))
    for cell, total in enumerate(totals):
        outer[cell] = to_numpy(total)
    return outer


def class_contrast_moments(
    images: Array, groups: Sequence[np.ndarray], size: Pair, cells: Pair, floor: float
) -> Iterator[np.ndarray]:
    """Yield `contrast_moments` of several groups of images.

    Parameters
    ----------
    images : array of shape (n, height, width, channels), real
    groups : sequence of ndarrays of int
        Indices of the images of each group, at least one.
    size, cells : (int, int)
    floor : float
        As in `contrast_moments`.

    Yields
    ------
    ndarray of shape (cells down * cells across, d, d), float64
        Of one group after the other.
    """
    for members in groups:
        yield contrast_moments(images, members, size, cells, floor)


def encode(images: Array, how: Encoding) -> Array:
    """Compute two-sided features (CReLU) of contrast-normalized patches.

    Parameters
    ----------
    images : array of shape (n, height, width, channels), real
        Any dtype; the result has the dtype of the filters.
    how : Encoding

    Returns
    -------
    array of shape (n, rows, columns, 2 * n_filters)
        ``max(z - threshold, 0)``, then ``max(-z - threshold, 0)``, for the products z
        of patches and filters.
    """
    backend = own_backend(images)
    xp, filters = backend.xp, how.filters
    rows, columns = output_size(images.shape[1:], how.size, (1, 1), "valid")
    weights = xp.reshape(filters, (filters.shape[0], -1)).T
    shape = (images.shape[0], rows, columns, 2 * filters.shape[0])
    out = xp.empty(shape, dtype=filters.dtype, device=backend.device)
    row_values = columns * weights.shape[0]
    for some, strip in tiles(shape[0], rows, row_values, tile_values(images)):
        under = slice(strip.start, strip.stop + how.size[0] - 1)
        tile = xp.astype(images[some, under, :, :], filters.dtype, copy=False)
        windows = by_contrast(patches(tile, how.size), how.floor)
        products = xp.reshape(windows, (-1, weights.shape[0])) @ weights
        both = xp.concat([products, -products], axis=1) - how.threshold
        out[some, strip, :, :] = xp.reshape(
            xp.maximum(both, xp.zeros_like(both[:1, :1])), (*windows.shape[:3], -1)
        )
    return out


def encode_and_pool(
    images: Array, how: Encoding, window: Window, power: float
) -> Array:
    """Encode and average-pool some images at a time, to bound the memory.

    Parameters and result are those of `encode`, then `average_pool`.
    """
    backend = own_backend(images)
    xp, filters = backend.xp, how.filters
    inner = output_size(images.shape[1:], how.size, (1, 1), "valid")
    shape = (images.shape[0], *window.output_size(inner), 2 * filters.shape[0])
    out = xp.empty(shape, dtype=filters.dtype, device=backend.device)
    values = math.prod(inner) * shape[3]
    for some, _ in tiles(shape[0], 1, values, tile_values(images)):
        features = encode(images[some, ...], how)
        out[some, ...] = signed_power(window_means(features, window), power)
    return out
