"""Sums over tiles, on the device of the tiles if it has float64."""

from __future__ import annotations

import numpy as np

from skdmn.utils.array_api import Array, own_backend, to_numpy


def to_float64(part: Array) -> Array:
    """Return the sum over one tile in float64, ready to be added to other tiles.

    It stays on its device, so that nothing waits for the device between two tiles. If
    the device has no float64 (Apple's GPUs), it is copied to the host: in float32, sums
    over many tiles would lose digits.

    Parameters
    ----------
    part : array of any shape, floating

    Returns
    -------
    array of the same shape, float64
        A NumPy array if the device has no float64.
    """
    if part.dtype == own_backend(part).xp.float64:
        return part
    return to_numpy(part).astype(np.float64)
