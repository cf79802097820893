"""Second moments of patches for GPUs, through CuPy.

One kernel sums over all groups of images, without copies of patches in the memory of
the GPU, and the sums are copied to the host together. They are float64: for integer
images of up to 16 bits they are exact. `skdmn.kernels.cuda.jobs` divides the work; the
kernels are in patches.cu.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cupy
import numpy as np

from skdmn.kernels.cuda import jobs
from skdmn.kernels.cuda.launch import blocks, by_value, c_type, kernel, readable
from skdmn.kernels.geometry import Pair, check_members, check_window
from skdmn.kernels.reference import moments as definition
from skdmn.utils.array_api import Array

_NULL = np.int64(0)  # a pointer
_THREADS = 256  # of a block whose threads share nothing


def class_moments(
    images: Array, groups: Sequence[np.ndarray], size: Pair
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the moments of each group; see `reference.moments.class_moments`."""
    g = jobs.patches(images.shape[1:], size, has_sums=True)
    if g is None:
        yield from definition.class_moments(images, groups, size)
        return
    for moments in summed(images, groups, g):
        # the last entry is the constant 1
        yield moments[:-1, :-1], moments[-1, :-1]


def summed(
    images: Array,
    groups: Sequence[np.ndarray],
    g: jobs.Patches,
    cells: Pair = (1, 1),
    floor: float | None = None,
) -> Iterator[np.ndarray]:
    """Sum the outer products of the patches of each group and cell.

    Parameters
    ----------
    images : array of shape (n, height, width, channels), real
    groups : sequence of ndarrays of int
    g : Patches
    cells : (int, int)
        Cells that the positions are divided into.
    floor : float or None
        If not None, patches are contrast-normalized with this floor.

    Yields
    ------
    ndarray of shape (n_entries, n_entries), float64
        Of all cells of the first group, then of the second one.
    """
    for members in groups:
        check_members(members, len(images))
    check_window((g.rows, g.columns), cells, (1, 1), "valid")
    with images.device:
        images = readable(images, np.float64)
        normal = _NULL if floor is None else contrasts(images, g, floor, np.float64)
    for work in jobs.divided(groups, g, cells):
        with images.device:
            found = _sums(images, normal, work, g).get()
        yield from found


def contrasts(images: Array, g: jobs.Patches, floor: float, dtype: Any) -> Array:
    """Compute the mean of every patch, and 1 / sqrt(variance + floor).

    Returns
    -------
    array of shape (n, rows, columns, 2), of the given dtype
    """
    out = cupy.empty((len(images), g.rows, g.columns, 2), dtype)
    if out.size:
        types = f"{c_type(images.dtype)}, {c_type(out.dtype)}"
        kernel("patches", f"contrasts<{types}>")(
            (blocks(out.size // 2, _THREADS),),
            (_THREADS,),
            (images, out, np.int64(len(images)), np.float64(floor), by_value(g)),
        )
    return out


def normalized(images: Array, g: jobs.Patches, floor: float, dtype: Any) -> Array:
    """Return contrast-normalized patches as rows, C order of (y, x, channel)."""
    normal = contrasts(images, g, floor, dtype)
    out = cupy.empty((normal.size // 2, g.entries), dtype)
    if out.size:
        types = f"{c_type(images.dtype)}, {c_type(out.dtype)}"
        kernel("patches", f"normalized<{types}>")(
            (blocks(out.size, _THREADS),),
            (_THREADS,),
            (images, normal, out, np.int32(len(images)), by_value(g)),
        )
    return out


def _sums(images: Array, normal: Any, work: jobs.Work, g: jobs.Patches) -> Array:
    """Return the sums of some groups, as an array on the GPU."""
    n_groups, n_jobs = len(work.starts) - 1, len(work.jobs)
    # one copy to the GPU for all three
    numbers = [work.members, work.jobs.ravel(), work.starts]
    ends = np.cumsum([len(array) for array in numbers])
    sent = cupy.asarray(np.concatenate(numbers))
    members, some_jobs, starts = (
        sent[end - len(array) : end] for array, end in zip(numbers, ends, strict=True)
    )
    parts = cupy.empty(n_jobs * g.part_bytes // 8)
    compute = kernel("patches", f"moments<{c_type(images.dtype)}, {g.tile}>")
    compute(
        (n_jobs * g.n_blocks,),
        (jobs.THREADS,),
        (images, normal, members, some_jobs, parts, by_value(g)),
        shared_mem=g.shared_bytes,
    )
    out = cupy.empty((n_groups, g.n_entries, g.n_entries))
    add = kernel("patches", f"add_parts<{g.tile}>")
    arguments = parts, starts, out, np.int64(n_groups), by_value(g)
    add((blocks(out.size, _THREADS),), (_THREADS,), arguments)
    return out
