"""Reference magnitudes of images: sums of squares, and variances of patches.

Both run in any array library, in the widest floating dtype of the device.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from skdmn.kernels.geometry import Pair, Window, tile_values, tiles
from skdmn.kernels.reference.convolution import window_means
from skdmn.utils.array_api import Array, own_backend, to_numpy, widest_float

_AXES = (1, 2, 3)


@np.errstate(over="ignore", invalid="ignore")
def image_squares(images: Array) -> np.ndarray:
    """Compute the sum of squares, the minimum and the maximum of each image.

    Parameters
    ----------
    images : array of shape (n, height, width, channels), real

    Returns
    -------
    ndarray of shape (n, 3), float64
        Infinite if the squares overflow.
    """
    backend = own_backend(images)
    xp, dtype = backend.xp, widest_float(backend)
    found = np.empty((images.shape[0], 3))
    for some in _pieces(images):
        values = xp.astype(images[some, ...], dtype)
        columns = (
            xp.sum(values * values, axis=_AXES),
            xp.min(values, axis=_AXES),
            xp.max(values, axis=_AXES),
        )
        found[some] = to_numpy(xp.stack(columns, axis=1))
    return found


@np.errstate(over="ignore", invalid="ignore")
def patch_variances(images: Array, size: Pair) -> np.ndarray:
    """Compute the mean variance of the patches of each image.

    Parameters
    ----------
    images : array of shape (n, height, width, channels), real
    size : (int, int)
        Height and width of a patch.

    Returns
    -------
    ndarray of shape (n,), float64
        Means over all valid patches; exactly 0 if all pixels are equal.
    """
    backend = own_backend(images)
    xp, dtype = backend.xp, widest_float(backend)
    window = Window(size, (1, 1), "valid")
    found = np.empty(images.shape[0])
    for some in _pieces(images):
        values = xp.astype(images[some, ...], dtype)
        # variances do not depend on the shift; without it, bright images lose digits
        values = values - values[:, :1, :1, :1]
        means, squares = (
            window_means(xp.mean(of, axis=3, keepdims=True), window)
            for of in (values, values * values)
        )
        found[some] = to_numpy(xp.mean(squares - means * means, axis=_AXES))
    return np.maximum(found, 0.0)  # rounding can make it negative


def _pieces(images: Array) -> Iterator[slice]:
    """Return slices of whole images, few enough to be computed at once."""
    n_values = math.prod(images.shape[1:])
    for some, _ in tiles(images.shape[0], 1, n_values, tile_values(images)):
        yield some
