"""Compilation of the CUDA sources, and arguments of their kernels."""

from __future__ import annotations

import functools
from importlib.resources import files
from typing import Any

import cupy
import numpy as np

from skdmn.utils.array_api import Array

GRID = 2**31 - 1  # largest number of blocks that CUDA starts

_C_TYPES = {
    "b1": "unsigned char",
    "u1": "unsigned char",
    "i1": "signed char",
    "u2": "unsigned short",
    "i2": "short",
    "i4": "int",
    "i8": "long long",
    "f2": "Half",
    "f4": "float",
    "f8": "double",
}


def c_type(dtype: np.dtype) -> str:
    """Return the type that kernels read values of a dtype as."""
    return _C_TYPES[dtype.str[1:]]


def readable(array: Array, otherwise: Any) -> Array:
    """Return a contiguous array of a dtype that kernels read.

    Arrays of other dtypes are converted to the dtype `otherwise`.
    """
    if array.dtype.str[1:] not in _C_TYPES:
        array = array.astype(otherwise)
    return cupy.ascontiguousarray(array)


@functools.cache
def kernel(module: str, name: str) -> Any:
    """Compile an instance of a kernel of a source file; it is kept.

    Parameters
    ----------
    module : str
        Name of a file of this folder, without ".cu".
    name : str
        The kernel with its template arguments.
    """
    here = files("skdmn.kernels.cuda")
    source = "\n".join(
        here.joinpath(file).read_text(encoding="utf-8")
        for file in ("numbers.cuh", f"{module}.cu")
    )
    options = ("--std=c++17",)
    compiled = cupy.RawModule(code=source, options=options, name_expressions=[name])
    return compiled.get_function(name)


def by_value(fields: tuple[int, ...]) -> np.ndarray:
    """Return an array of one element, which CuPy passes to a kernel as a struct."""
    struct = [("fields", np.int32, (len(fields),))]
    return np.array(fields, np.int32).view(struct)


def blocks(n: int, threads: int) -> int:
    """Return the number of blocks of threads for n values, at least one."""
    return max(1, min(-(-n // threads), GRID))
