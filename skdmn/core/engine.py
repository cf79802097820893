"""The fastest code that there is for a machine: kernels, else the definitions.

Whoever computes imports from here. Results are those of `core.convolve`, to rounding.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any, Literal

import numpy as np

from skdmn.core import convolve as definition
from skdmn.core.backend import Array, own_place
from skdmn.core.convolve import WHOLE, Padding, Pair, Window

# what the kernels read as it is
_READ = {np.dtype(t) for t in ("u1", "i1", "?", "u2", "i2", "i4", "i8", "f4", "f8")}


def convolve(
    images: Array,
    filters: Array,
    stride: Pair,
    padding: Padding,
    activation: Literal["relu"] | None,
    window: Window = WHOLE,
) -> Array:
    """Convolve images, of any dtype, in the filters' dtype, and pool what comes out.

    See `core.convolve.convolve_and_pool`.
    """
    kernels = _kernels(images)
    if kernels:
        return kernels.convolve(images, filters, stride, padding, activation, window)
    return definition.convolve_and_pool(
        images, filters, stride, padding, activation, window
    )


def max_pool(images: Array, window: Window, dtype: Any) -> Array:
    """Keep the largest value of every window, in a dtype; see `core.convolve`."""
    kernels = _kernels(images)
    if kernels:
        return kernels.max_pool(images, window, dtype)
    images = own_place(images).xp.astype(images, dtype, copy=False)
    return definition.max_pool(images, *window)


def _kernels(images: Array) -> ModuleType | None:
    if isinstance(images, np.ndarray) and images.dtype in _READ:
        return cpu()
    return None


@functools.cache
def cpu() -> ModuleType | None:
    """Return the kernels for processors, where Numba can be imported."""
    try:
        from skdmn.core import cpu
    except ImportError:
        return None
    return cpu
