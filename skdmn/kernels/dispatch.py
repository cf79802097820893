"""Choose the implementation of every operation: reference, Numba or CUDA.

`IMPLEMENTATIONS` is the one table of operations and their implementations. Callers use
the functions of this module. All implementations of an operation give the result of
the one in `skdmn.kernels.reference`, up to rounding.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, Literal, NamedTuple

import array_api_compat
import numpy as np

from skdmn.kernels.geometry import WHOLE, Padding, Pair, Window
from skdmn.kernels.reference.contrast import Encoding
from skdmn.utils.array_api import Array
from skdmn.utils.optional import import_whole


class Implementations(NamedTuple):
    """Implementations of an operation, as "module.function" of a subpackage.

    Attributes
    ----------
    reference : str
        The implementation for any array library and dtype.
    numba : str or None
        The kernel for NumPy arrays of the dtypes in `KERNEL_DTYPES`.
    cuda : str or None
        The kernel for CuPy arrays.
    """

    reference: str
    numba: str | None = None
    cuda: str | None = None


IMPLEMENTATIONS = {
    "convolve": Implementations(
        "convolution.convolve_and_pool", "convolution.convolve", "convolution.convolve"
    ),
    "max_pool": Implementations(
        "convolution.max_pool_as", "convolution.max_pool", "convolution.max_pool"
    ),
    "average_pool": Implementations(
        "convolution.average_pool", cuda="average.average_pool"
    ),
    "encode": Implementations(
        "contrast.encode_and_pool",
        "contrast.encode_and_pool",
        "contrast.encode_and_pool",
    ),
    "class_moments": Implementations(
        "moments.class_moments", "moments.class_moments", "moments.class_moments"
    ),
    "class_contrast_moments": Implementations(
        "contrast.class_contrast_moments",
        "contrast.class_contrast_moments",
        "contrast.class_contrast_moments",
    ),
    "softmax_pass": Implementations(
        "softmax.block_pass", "softmax.block_pass", "softmax.block_pass"
    ),
    "image_squares": Implementations(
        "magnitudes.image_squares", "magnitudes.image_squares"
    ),
    "patch_variances": Implementations("magnitudes.patch_variances"),
}

# dtypes that the Numba kernels read without a conversion
KERNEL_DTYPES = {
    np.dtype(t) for t in ("u1", "i1", "?", "u2", "i2", "i4", "i8", "f4", "f8")
}


def convolve(
    images: Array,
    filters: Array,
    stride: Pair,
    padding: Padding,
    activation: Literal["relu"] | None,
    window: Window = WHOLE,
) -> Array:
    """Convolve images of any dtype in the dtype of the filters, then max-pool them.

    See `skdmn.kernels.reference.convolution.convolve_and_pool`.
    """
    compute = implementation("convolve", images)
    return compute(images, filters, stride, padding, activation, window)


def max_pool(images: Array, window: Window, dtype: Any) -> Array:
    """Compute the maximum of every window, in a given dtype.

    See `skdmn.kernels.reference.convolution.max_pool`.
    """
    return implementation("max_pool", images)(images, window, dtype)


def average_pool(images: Array, window: Window, power: float, dtype: Any) -> Array:
    """Compute the mean of every window, then a signed power, in a given dtype.

    See `skdmn.kernels.reference.convolution.average_pool`.
    """
    return implementation("average_pool", images)(images, window, power, dtype)


def encode(
    images: Array, how: Encoding, window: Window = WHOLE, power: float = 1.0
) -> Array:
    """Compute two-sided features of contrast-normalized patches, then average-pool.

    See `skdmn.kernels.reference.contrast.encode_and_pool`.
    """
    return implementation("encode", images)(images, how, window, power)


def class_moments(
    images: Array, groups: Sequence[np.ndarray], size: Pair
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield sums of the outer products of patches, and of the patches, by group.

    See `skdmn.kernels.reference.moments.class_moments`.
    """
    return implementation("class_moments", images)(images, groups, size)


def class_contrast_moments(
    images: Array, groups: Sequence[np.ndarray], size: Pair, cells: Pair, floor: float
) -> Iterator[np.ndarray]:
    """Yield sums of outer products of contrast-normalized patches, by group.

    See `skdmn.kernels.reference.contrast.class_contrast_moments`.
    """
    compute = implementation("class_contrast_moments", images)
    return compute(images, groups, size, cells, floor)


def image_squares(images: Array) -> np.ndarray:
    """Compute the sum of squares, the minimum and the maximum of each image.

    See `skdmn.kernels.reference.magnitudes.image_squares`.
    """
    return implementation("image_squares", images)(images)


def patch_variances(images: Array, size: Pair) -> np.ndarray:
    """Compute the mean variance of the patches of each image.

    See `skdmn.kernels.reference.magnitudes.patch_variances`.
    """
    return implementation("patch_variances", images)(images, size)


def softmax_pass(
    block: Array,
    centre: Array,
    coef: Array,
    intercept: Array,
    codes: Array,
    weights: Array,
) -> tuple[float, Array, Array]:
    """Compute the weighted cross-entropy of a block of rows and its gradient.

    See `skdmn.kernels.reference.softmax.block_pass`.
    """
    compute = implementation("softmax_pass", block)
    return compute(block, centre, coef, intercept, codes, weights)


def implementation(operation: str, array: Array) -> Callable[..., Any]:
    """Return the function that computes an operation for an array.

    This is the CUDA kernel for CuPy arrays and the Numba kernel for NumPy arrays of a
    dtype in `KERNEL_DTYPES`, if the table has one and Numba can be imported; otherwise
    the reference.
    """
    found = IMPLEMENTATIONS[operation]
    if found.numba and isinstance(array, np.ndarray) and array.dtype in KERNEL_DTYPES:
        name, function = found.numba.split(".")
        module = numba_module(name)
        if module is not None:
            return getattr(module, function)
    if found.cuda and array_api_compat.is_cupy_array(array):
        return _function("cuda", found.cuda)
    return _function("reference", found.reference)


def has_numba_kernel(operation: str) -> bool:
    """Return True if an operation has a Numba kernel and Numba can be imported."""
    found = IMPLEMENTATIONS[operation].numba
    return found is not None and numba_module(found.split(".")[0]) is not None


def compile_seconds() -> float:
    """Return the seconds that this process has spent on the compilation of kernels."""
    compiling = sys.modules.get("skdmn.kernels.numba.compiling")
    return compiling.compile_seconds() if compiling is not None else 0.0


@functools.cache
def numba_module(name: str) -> ModuleType | None:
    """Return a module of Numba kernels, or None if Numba cannot be imported."""
    try:
        return import_whole(f"skdmn.kernels.numba.{name}")
    except (ImportError, OSError):  # OSError: a shared library of LLVM is missing
        return None


def _function(subpackage: str, path: str) -> Callable[..., Any]:
    name, function = path.split(".")
    module = import_whole(f"skdmn.kernels.{subpackage}.{name}")
    return getattr(module, function)
