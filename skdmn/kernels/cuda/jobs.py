"""Division of sums over patches among blocks of threads; this module needs no GPU.

A job is some patches of one group of images. The blocks of threads that share a job
copy its patches to shared memory, some at a time. Each thread adds up the products of a
few entries of the patches. The sums of all jobs of a group are added afterwards.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from skdmn.kernels.geometry import Pair, check_window, output_size
from skdmn.kernels.reference.contrast import cell_edges

THREADS = 128  # in a block
SHARED_BYTES = 40 * 2**10  # largest memory of a block; GPUs allow 48 KB by default
STEPS = 16  # patches that a thread adds up between two copies, if memory suffices
BLOCKS = 2**11  # started for large work: several rounds on all multiprocessors
PART_BYTES = 2**28  # sums of all jobs of the groups that are computed together

_WIDE = 24  # number of entries from which a thread has 8 x 8 products, not 4 x 4
_LEAST = 8  # patches in shared memory; matrix products are faster than fewer


class Patches(NamedTuple):
    """Fields of `Patches` in patches.cu, in the same order."""

    height: int
    width: int
    channels: int
    kernel_height: int
    kernel_width: int
    rows: int
    columns: int
    entries: int
    has_sums: int
    side: int
    pairs: int
    n_blocks: int
    lanes: int
    at_once: int
    pitch: int

    @property
    def n_entries(self) -> int:
        """Number of entries, with the constant one that makes sums."""
        return self.entries + self.has_sums

    @property
    def tile(self) -> int:
        """Number of entries of each side of a thread's products."""
        return _tile(self.n_entries)

    @property
    def part_bytes(self) -> int:
        """Bytes of the sums of one job."""
        return self.n_blocks * self.pairs * self.tile**2 * 8

    @property
    def shared_bytes(self) -> int:
        """Bytes of shared memory of a block: patches, later the sums of its lanes."""
        return max(_copy_bytes(self.at_once, self.entries, self.pitch), _lane_bytes())


# fields of `Job` in patches.cu, in the same order
JOB = ("members", "first", "count", "top", "left", "rows", "columns")


class Work(NamedTuple):
    """Jobs of some groups, as the kernels read them.

    Attributes
    ----------
    members : ndarray of int64
        Indices of the images, group by group.
    jobs : ndarray of shape (n_jobs, 7), int64
        The fields named in `JOB`.
    starts : ndarray of shape (n_groups + 1,), int64
        The first job of each group, and the number of jobs.
    """

    members: np.ndarray
    jobs: np.ndarray
    starts: np.ndarray


def patches(shape: tuple[int, ...], size: Pair, has_sums: bool) -> Patches | None:
    """Choose how threads share the products of entries of patches.

    Parameters
    ----------
    shape : (int, int, int)
        Height, width and channels of the images.
    size : (int, int)
        Height and width of a patch.
    has_sums : bool
        True if the sums of the patches are needed, not only those of products.

    Returns
    -------
    Patches or None
        None if patches are so large that matrix products are faster.
    """
    entries = size[0] * size[1] * shape[2]
    tile = _tile(entries + has_sums)
    side = -(-(entries + has_sums) // tile)
    all_pairs = side * (side + 1) // 2
    n_blocks = -(-all_pairs // THREADS)
    pairs = -(-all_pairs // n_blocks)
    lanes = THREADS // pairs
    pitch = tile * side | 1  # odd: lanes read from different banks
    at_once = lanes * STEPS
    while at_once and _copy_bytes(at_once, entries, pitch) > SHARED_BYTES:
        at_once -= lanes
    if at_once < _LEAST:
        return None
    return whole(shape, size)._replace(
        has_sums=int(has_sums),
        side=side,
        pairs=pairs,
        n_blocks=n_blocks,
        lanes=lanes,
        at_once=at_once,
        pitch=pitch,
    )


def whole(shape: tuple[int, ...], size: Pair) -> Patches:
    """Return the geometry of patches, before work is divided; check the size."""
    check_window(shape, size, (1, 1), "valid")
    rows, columns = output_size(shape, size, (1, 1), "valid")
    fixed = (*shape, *size, rows, columns, size[0] * size[1] * shape[2])
    return Patches(*fixed, *[0] * (len(Patches._fields) - len(fixed)))


def divided(
    groups: Sequence[np.ndarray], g: Patches, cells: Pair = (1, 1)
) -> Iterator[Work]:
    """Divide the patches of groups of images into jobs of similar size.

    Parameters
    ----------
    groups : sequence of ndarrays of int
        Indices of the images of each group.
    g : Patches
    cells : (int, int)
        Cells of the positions. Each cell of each group is a group of its own.

    Yields
    ------
    Work
        Jobs of some groups of images, all cells of each.
    """
    down, across = (
        list(itertools.pairwise(cell_edges(length, n)))
        for length, n in zip((g.rows, g.columns), cells, strict=True)
    )
    spans = np.array(
        [
            (top, left, bottom - top, right - left)
            for (top, bottom), (left, right) in itertools.product(down, across)
        ]
    )
    n_patches = sum(map(len, groups)) * g.rows * g.columns
    size = max(4 * g.at_once, -(-n_patches * g.n_blocks // BLOCKS))
    most = max(1, PART_BYTES // (g.part_bytes * len(spans)))  # groups at once
    for start in range(0, len(groups), most):
        yield _jobs(groups[start : start + most], spans, size)


def _jobs(groups: Sequence[np.ndarray], spans: np.ndarray, size: int) -> Work:
    """Divide all cells of some groups into jobs of at most `size` patches."""
    n_images = np.array([len(members) for members in groups])
    n_patches = np.multiply.outer(n_images, spans[:, 2] * spans[:, 3]).ravel()
    counts = -(-n_patches // size)
    starts = np.concatenate([[0], np.cumsum(counts)])
    of = np.repeat(np.arange(len(counts)), counts)  # the group and cell of each job
    step = -(-n_patches // np.maximum(counts, 1))[of]
    first = (np.arange(len(of)) - starts[of]) * step
    fields = (
        (np.cumsum(n_images) - n_images)[of // len(spans)],
        first,
        np.minimum(step, n_patches[of] - first),
        *spans[of % len(spans)].T,
    )
    return Work(
        np.concatenate(groups).astype(np.int64),
        np.stack(fields, axis=1).astype(np.int64),
        starts.astype(np.int64),
    )


def _tile(entries: int) -> int:
    return 8 if entries >= _WIDE else 4


def _copy_bytes(at_once: int, entries: int, pitch: int) -> int:
    """Return the bytes of copied patches, their three numbers, and the offsets."""
    return at_once * (pitch + 3) * 8 + math.ceil(entries / 2) * 8


def _lane_bytes() -> int:
    return 8 * THREADS * 8
