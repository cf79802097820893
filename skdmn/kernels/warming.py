"""Compilation of all CPU kernels ahead of time."""

from __future__ import annotations

import time

import numpy as np

from skdmn.kernels import dispatch
from skdmn.kernels.geometry import WHOLE, Window
from skdmn.kernels.reference.contrast import Encoding


def warmup() -> float:
    """Compile all CPU kernels into the cache, so that no later process has to.

    Call it where a program is installed, such as in the build of a container image,
    with the environment variable ``NUMBA_CACHE_DIR`` that the program will have. The
    machine must have the CPU on which the program will run, or Numba must be told to
    compile for an older one (``NUMBA_CPU_NAME=generic``).

    Returns
    -------
    float
        Seconds that it took. They are few if the kernels are in the cache already.

    Examples
    --------
    >>> from skdmn.kernels import warmup
    >>> warmup() > 0
    True
    """
    started = time.perf_counter()
    for dtype in sorted(dispatch.KERNEL_DTYPES, key=str):
        for floats in (np.float32, np.float64):
            _call_all(dtype, np.dtype(floats))
    return time.perf_counter() - started


def _call_all(dtype: np.dtype, floats: np.dtype) -> None:
    """Call every operation, and every kernel that computes it, for small images."""
    images = (np.arange(2 * 6 * 5 * 2) % 2).reshape(2, 6, 5, 2).astype(dtype)
    groups = [np.arange(2)]
    filters = np.ones((3, 2, 2, 2), floats)
    filters[:, ::2] = -1
    twos, threes = Window((2, 2), (2, 2), "valid"), Window((3, 3), (2, 2), "same")
    for window in (WHOLE, twos, threes):
        dispatch.convolve(images, filters, (1, 1), "valid", "relu", window)
        dispatch.max_pool(images, window, floats)
    dispatch.encode(images, Encoding(filters, 1.0, 0.5), threes)
    dispatch.image_squares(images)
    for _ in dispatch.class_moments(images, groups, (2, 2)):
        pass
    for _ in dispatch.class_contrast_moments(images, groups, (2, 2), (1, 1), 1.0):
        pass
    rows, one = images.reshape(2, -1), np.ones(60, floats)
    for n_outputs in (1, 3):
        coef, intercept = np.ones((n_outputs, 60), floats), np.ones(n_outputs, floats)
        dispatch.softmax_pass(rows, one, coef, intercept, groups[0], one[:2])
    # several models whose coefficients do not fit in the cache
    rows, one = np.zeros((2, 2**17), dtype), np.ones((2, 2**17), floats)
    dispatch.softmax_pass(rows, one[0], one, one[:, 0], groups[0], one[:, :2])
