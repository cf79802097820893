"""Sums over tiles, on the device of the tiles if it has float64."""

from __future__ import annotations

import numpy as np

from skdmn.utils.array_api import Array, own_backend, to_numpy, widest_float


def to_float64(part: Array) -> Array:
    """Return the sum over one tile in float64, ready to be added to other tiles.

    It stays on its device, so that nothing waits for the device between two tiles. If
    the device has no float64 (Apple's GPUs), it is copied to the host: in float32, sums
    over many tiles would lose digits.

    Parameters
    ----------
    part : array of any shape, floating, or float

    Returns
    -------
    array of the same shape, float64, or float
        A NumPy array if the device has no float64.
    """
    if isinstance(part, float):
        return part
    backend = own_backend(part)
    if widest_float(backend) == backend.xp.float64:
        return backend.xp.astype(part, backend.xp.float64, copy=False)
    return to_numpy(part).astype(np.float64)
