"""Functions that several kernels call by their address.

Numba compiles the functions that a kernel calls once more with each kernel and for each
dtype of its arguments. Large functions, and those that depend on the dtype of the
images, are therefore compiled once for each dtype, and kernels receive their addresses.
Kernels do not depend on the dtype of the images then.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numba
import numpy as np
from numba import types

from skdmn.kernels.numba.blocks import VECTORS, multiply
from skdmn.kernels.numba.compiling import address


class Code(NamedTuple):
    """Addresses of the functions for a dtype of images and one of floats."""

    load: int
    load_shifted: int
    multiply_rows: int
    multiply_columns: int
    size: int  # bytes of a value of the images


@functools.lru_cache(maxsize=64)
def code(dtype: np.dtype, floats: np.dtype) -> Code:
    """Return the addresses of the functions, compiled at the first call.

    Parameters
    ----------
    dtype : dtype
        The dtype of images or rows.
    floats : dtype
        The dtype of the computation, float32 or float64.
    """
    # bools are stored as the bytes 0 and 1
    read = numba.from_dtype(np.dtype(np.uint8) if dtype.kind == "b" else dtype)
    real = numba.from_dtype(floats)
    source, to, n = types.CPointer(read), types.CPointer(real), types.intp
    return Code(
        address(_load, types.void(to, source, n, n, n, n)),
        address(_load_shifted, types.void(to, to, source, *[n] * 5, real)),
        address(_multiply_rows, types.void(to, to, to, *[n] * 10)),
        address(_multiply_columns, types.void(to, to, to, *[n] * 13)),
        dtype.itemsize,
    )


def memory(array: np.ndarray) -> tuple[np.ndarray, int]:
    """Return an array in C order, and the address of its first value.

    Kernels that take the address do not depend on the array's dtype and flags. The
    caller must keep the array as long as a kernel reads it.
    """
    array = np.ascontiguousarray(array)
    if not array.flags.aligned:
        array = array.copy()
    return array, array.__array_interface__["data"][0]


def strided(array: np.ndarray) -> tuple[np.ndarray, int, tuple[int, int]]:
    """Return a matrix, the address of its first value, and its strides in values.

    The matrix is copied only if it is not aligned.
    """
    steps = [divmod(stride, array.itemsize) for stride in array.strides]
    if not array.flags.aligned or any(rest for _, rest in steps):
        return strided(array.copy())
    return array, array.__array_interface__["data"][0], (steps[0][0], steps[1][0])


def _load(to, source, n_rows, n_values, step, to_step):
    """Copy rows of values as floats; `step` and `to_step` lead to the next row."""
    for y in range(n_rows):
        for j in range(n_values):
            to[y * to_step + j] = source[y * step + j]


def _load_shifted(to, shift, source, n_rows, n_values, step, inner, to_step, scale):
    """Copy rows of values as floats, less a shift for each value, then scaled.

    `step` and `to_step` lead to the next row, and `inner` to the next value.
    """
    for y in range(n_rows):
        if inner == 1:  # vector code
            for j in range(n_values):
                value = source[y * step + j] - shift[j]
                to[y * to_step + j] = value * scale
        else:
            for j in range(n_values):
                value = source[y * step + j * inner] - shift[j]
                to[y * to_step + j] = value * scale


def _multiply_rows(a, b, out, n_rows, n_vectors, lane, ap, aj, bj, bk, nj, nk, op):
    """Set rows of vectors to sums of products; see `blocks.multiply_block`.

    The factors of a sum are adjacent in a. `lane` is the number of values in a vector.
    More rows than asked for may be set, so there must be room for `TALL` more.
    """
    for first in range(0, n_vectors, VECTORS):
        vectors, v = min(VECTORS, n_vectors - first), first * lane
        p = 0
        while p < n_rows:
            p += multiply(
                n_rows - p,
                vectors,
                (a, p * ap, ap, 0, aj, 1),
                (b, v, 0, bj, bk),
                (1, nj, nk),
                (out, p * op + v, op),
            )


def _multiply_columns(
    a, b, out, n_rows, n_vectors, lane, ai, aj, ak, bi, bj, bk, ni, nj, nk, op
):
    """Set rows of vectors to sums of products, as `_multiply_rows` does.

    The factors of neighbouring rows are adjacent in a.
    """
    for first in range(0, n_vectors, VECTORS):
        vectors, v = min(VECTORS, n_vectors - first), first * lane
        p = 0
        while p < n_rows:
            p += multiply(
                n_rows - p,
                vectors,
                (a, p, 1, ai, aj, ak),
                (b, v, bi, bj, bk),
                (ni, nj, nk),
                (out, p * op + v, op),
            )
