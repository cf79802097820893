"""The fastest code that there is for a machine: kernels, else the definitions.

Whoever computes imports from here. Results are those of `core.convolve` and
`core.moments`, to rounding.
"""

from __future__ import annotations

import functools
import importlib
from types import ModuleType
from typing import Any, Literal

import array_api_compat
import numpy as np

from skdmn.core import contrast, moments
from skdmn.core import convolve as definition
from skdmn.core.backend import Array, own_place
from skdmn.core.contrast import Encoding
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
    kernels = kernels_for(images, "cpu", "cuda")
    if kernels:
        return kernels.convolve(images, filters, stride, padding, activation, window)
    return definition.convolve_and_pool(
        images, filters, stride, padding, activation, window
    )


def max_pool(images: Array, window: Window, dtype: Any) -> Array:
    """Keep the largest value of every window, in a dtype; see `core.convolve`."""
    kernels = kernels_for(images, "cpu", "cuda")
    if kernels:
        return kernels.max_pool(images, window, dtype)
    images = own_place(images).xp.astype(images, dtype, copy=False)
    return definition.max_pool(images, *window)


def second_moments(
    images: Array, members: np.ndarray, size: Pair
) -> tuple[np.ndarray, np.ndarray]:
    """Sum the patches of some images and their outer products; see `core.moments`."""
    kernels = kernels_for(images, "cpu_density")
    if kernels:
        return kernels.second_moments(images, members, size)
    if moments.rows_are_cheaper(images.shape[1:], size):
        return moments.row_moments(images, members, size)
    return moments.second_moments(images, members, size)


def encode(
    images: Array, how: Encoding, window: Window = WHOLE, power: float = 1.0
) -> Array:
    """Encode images, of any dtype, in the filters' dtype, and average what comes out.

    See `core.contrast.encode_and_pool`.
    """
    kernels = kernels_for(images, "cpu_contrast")
    if kernels:
        return kernels.encode_and_pool(images, how, window, power)
    return contrast.encode_and_pool(images, how, window, power)


def average_pool(images: Array, window: Window, power: float, dtype: Any) -> Array:
    """Average every window, in a dtype; see `core.contrast`."""
    return contrast.average_pool(images, window, power, dtype)


def contrast_moments(
    images: Array, members: np.ndarray, size: Pair, cells: Pair, floor: float
) -> np.ndarray:
    """Sum outer products of patches by contrast, cell by cell; see `core.contrast`."""
    kernels = kernels_for(images, "cpu_contrast")
    if kernels:
        return kernels.contrast_moments(images, members, size, cells, floor)
    return contrast.contrast_moments(images, members, size, cells, floor)


def kernels_for(
    images: Array, for_cpu: str, for_gpu: str | None = None
) -> ModuleType | None:
    """Return the module that has kernels for where images lie."""
    if isinstance(images, np.ndarray):
        return with_numba(for_cpu) if images.dtype in _READ else None
    if for_gpu is not None and array_api_compat.is_cupy_array(images):
        return importlib.import_module(f"skdmn.core.{for_gpu}")
    return None


@functools.cache
def with_numba(name: str) -> ModuleType | None:
    """Return a module of kernels for processors, where Numba can be imported."""
    try:
        return importlib.import_module(f"skdmn.core.{name}")
    except (ImportError, OSError):  # OSError: of a library that LLVM needs
        return None
