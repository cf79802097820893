"""Loss and gradient of the softmax for GPUs, through CuPy."""

from __future__ import annotations

import cupy
import numpy as np

from skdmn.kernels.cuda.launch import blocks, c_type, kernel
from skdmn.kernels.reference.softmax import check_pass, n_models
from skdmn.utils.array_api import Array

_THREADS = 128


def block_pass(
    block: Array,
    centre: Array,
    coef: Array,
    intercept: Array,
    codes: Array,
    weights: Array,
) -> tuple[Array, Array, Array]:
    """Compute loss and gradients; see `reference.softmax.block_pass`.

    The loss is an array without axes, so that nothing waits for the GPU.
    """
    check_pass(block, centre, coef, intercept, codes, weights)
    with block.device:
        rows = block.astype(centre.dtype, copy=False) - centre
        rest, codes = rows @ coef.T, codes.astype(np.int64, copy=False)
        groups = n_models(weights)
        n, outputs = len(rows) * groups, len(coef) // groups
        if groups > 1:  # one line for each row and model
            rest += intercept
            intercept, codes = cupy.zeros_like(intercept), cupy.repeat(codes, groups)
        rest = cupy.ascontiguousarray(rest)
        losses = cupy.empty(n, centre.dtype)
        if n:
            compute = kernel("softmax", f"residuals<{c_type(centre.dtype)}>")
            arguments = (
                *(rest, intercept, codes),
                *(cupy.ascontiguousarray(weights), losses),
                *(np.int64(n), np.int32(outputs)),
            )
            compute((blocks(n, _THREADS),), (_THREADS,), arguments)
        return losses.sum(dtype=np.float64), rest.T @ rows, rest.sum(axis=0)
