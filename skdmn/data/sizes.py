"""Sizes of batches and blocks in bytes: the one place where they are decided.

A size counts input and output as floats. Scikit-learn's ``working_memory`` lowers all
of them: a batch takes at most half of it, because the computation needs as much again.
"""

from __future__ import annotations

import array_api_compat

from skdmn.utils.array_api import Backend, working_memory

# Images for one layer, rows that a file or a lazy array yields, and blocks of rows for
# a kernel that divides them further. Reading 64 MB at a time is as fast as reading more
BATCH_BYTES = 2**26
# Images on their way through a network, with the intermediate features of a batch:
# DensityMatrixNetwork promises to need less than twice as much, 256 MB
STREAM_BYTES = 2**27
# Blocks of rows in memory that are passed to NumPy: the cache of one core holds them
CACHE_BYTES = 2**18
# Blocks of rows that are on the GPU that computes: nothing is transferred
DEVICE_BYTES = 2**28
# Blocks of rows on their way to a GPU, where they stay
SENT_BYTES = 2**25
# Blocks of rows whose second moments are summed, in one product for each block
MOMENTS_BYTES = 2**24
# Limit for any batch on a GPU: small enough that transfers and computations overlap,
# large enough that the launch time of kernels does not matter
GPU_BYTES = 2**27
_GPU_SHARE = 8  # a batch takes 1/8 of the free memory: the rest holds its neighbours


def batch_bytes(backend: Backend, usual: int) -> int:
    """Return the size of a batch for the device of computation.

    Parameters
    ----------
    backend : Backend
        Namespace and device of computation.
    usual : int
        One of the sizes above. A GPU whose free memory is known takes `GPU_BYTES` or a
        share of that memory instead.
    """
    if is_cupy(backend):
        from skdmn.kernels.cuda.transfer import free_bytes

        usual = min(GPU_BYTES, free_bytes(backend.device) // _GPU_SHARE)
    return allowed(usual)


def allowed(usual: int) -> int:
    """Return a size, or half of scikit-learn's ``working_memory`` if that is less."""
    return min(usual, working_memory() // 2)


def is_cupy(backend: Backend) -> bool:
    """Return True if the namespace is CuPy's."""
    return bool(array_api_compat.is_cupy_namespace(backend.xp))
