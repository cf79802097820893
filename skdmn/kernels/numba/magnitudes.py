"""Sums of squares of images for CPUs, without a copy in floating point."""

from __future__ import annotations

import numba
import numpy as np

from skdmn.kernels.numba.compiling import kernel
from skdmn.utils.threads import in_threads, n_threads

_ALONE = 2**20  # fewer values take less time than the start of threads


def image_squares(images: np.ndarray) -> np.ndarray:
    """Compute sums of squares and extremes; see `reference.magnitudes`."""
    flat = np.ascontiguousarray(images).reshape(len(images), -1)
    found = np.empty((len(flat), 3))
    threads = min(n_threads(), len(flat)) if flat.size > _ALONE else 1
    parts = zip(
        np.array_split(flat, threads), np.array_split(found, threads), strict=True
    )
    in_threads(_image_squares, list(parts), threads)
    return found


@kernel
def _image_squares(flat, found):
    """Write the sum of squares, the minimum and the maximum of each row."""
    for i in range(len(flat)):
        total = _square_sum(flat[i])
        found[i, 0] = total
        if np.isnan(total):
            found[i, 1:] = np.nan
        else:
            found[i, 1], found[i, 2] = _extremes(flat[i])


@numba.njit(nogil=True, fastmath={"reassoc", "contract"})
def _square_sum(row):
    """Sum squares in float64, in any order, which makes vector code possible."""
    total = 0.0
    for j in range(len(row)):
        value = np.float64(row[j])
        total += value * value
    return total


@numba.njit(nogil=True, fastmath={"nnan", "nsz"})
def _extremes(row):
    """Return the minimum and the maximum of values without NaN."""
    least = greatest = row[0]
    for j in range(len(row)):
        least = row[j] if row[j] < least else least
        greatest = row[j] if row[j] > greatest else greatest
    return least, greatest
