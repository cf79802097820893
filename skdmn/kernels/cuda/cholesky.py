"""Cholesky factors on GPUs, through CuPy."""

from __future__ import annotations

import cupy
import cupyx
from cupyx.scipy.linalg import solve_triangular

from skdmn.utils.array_api import Array


def inverse_factor(matrix: Array) -> Array:
    """Return the inverse of the lower Cholesky factor of a symmetric matrix.

    With the inverse M, the solution of a system is the product with M^T M, which is
    symmetric and positive definite in spite of rounding. Two products of matrices take
    less time than substitution, whose steps depend on each other.

    Parameters
    ----------
    matrix : array of shape (n, n), float32 or float64

    Returns
    -------
    array of shape (n, n)

    Raises
    ------
    numpy.linalg.LinAlgError
        If the matrix is not positive definite.
    """
    with matrix.device, cupyx.errstate(linalg="raise"):
        factor = cupy.linalg.cholesky(matrix)
        identity = cupy.eye(len(matrix), dtype=matrix.dtype)
        return solve_triangular(factor, identity, lower=True, overwrite_b=True)
