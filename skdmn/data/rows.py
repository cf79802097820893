"""Rows that are read block by block: arrays, files, or features computed on demand."""

from __future__ import annotations

import dataclasses
import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np

from skdmn.utils.array_api import (
    Array,
    Backend,
    own_backend,
    take,
    to_backend,
    working_memory,
)

CACHE_BYTES = 256 * 2**10  # a block that stays in the cache of one core
BATCH_BYTES = 64 * 2**20  # a block for a GPU, of a file, or of computed features


@dataclass(frozen=True)
class Rows:
    """Rows of any data, and where to compute on them.

    Attributes
    ----------
    data : array or lazy object of shape (n, ...)
        What the user gave, checked; of any library, device and dtype.
    compute : Place
        Where blocks are computed.
    dtype : {"float32", "float64"}
        What they are computed in.
    is_lazy : bool
        Whether slices of the data are read from a file, or computed on demand.
    """

    data: Any
    compute: Backend
    dtype: str
    is_lazy: bool = False

    def __len__(self) -> int:
        return int(self.data.shape[0])

    @property
    def n_features(self) -> int:
        """Values of one row."""
        return math.prod(self.data.shape[1:])

    @property
    def row_bytes(self) -> int:
        """Memory that one row takes as floats."""
        return self.n_features * (8 if self.dtype == "float64" else 4)

    def blocks(self, block_bytes: int | None = None) -> Iterator[tuple[slice, Array]]:
        """Yield slices and their rows in order, where they are computed.

        Parameters
        ----------
        block_bytes : int or None
            Memory of a block as floats, at most half of scikit-learn's working memory.
            None: what suits the device.

        Yields
        ------
        some : slice
            Which rows.
        block : array of shape (rows, n_features)
            As the data has them, not converted to floats.
        """
        if block_bytes is None:
            block_bytes = CACHE_BYTES if self.compute.is_numpy else BATCH_BYTES
        allowed = working_memory() // 2
        size = self._rows_in(min(block_bytes, allowed))
        # a slice of a file or of features to compute is read once, then cut
        most = self._rows_in(min(BATCH_BYTES, allowed))
        read = max(size, most) if self.is_lazy else size
        for start in range(0, len(self), read):
            part = self._part(slice(start, min(start + read, len(self))))
            for first in range(0, part.shape[0], size):
                block = part[first : min(first + size, part.shape[0]), :]
                begin = start + first
                yield slice(begin, begin + block.shape[0]), block
            forget_pages(self.data)

    def choose(self, indices: np.ndarray) -> Rows:
        """Return a copy of some of the rows, at sorted indices."""
        data = None
        for some, block in self.blocks(BATCH_BYTES):
            first, last = np.searchsorted(indices, [some.start, some.stop])
            if data is None:
                shape, (xp, device) = (
                    (len(indices), self.n_features),
                    own_backend(block),
                )
                data = xp.empty(shape, dtype=block.dtype, device=device)
            data[first:last, ...] = take(block, indices[first:last] - some.start, 0)
        return dataclasses.replace(self, data=data, is_lazy=False)

    def differ(self, weights: np.ndarray) -> bool:
        """Return whether any row with a weight is not as the first one is."""
        xp, first = self.compute.xp, None
        for some, block in self.blocks():
            counting = np.flatnonzero(weights[some])
            if not len(counting):
                continue
            block = take(block, counting, axis=0)
            first = block[:1, :] if first is None else first
            if bool(xp.any(block != first)):
                return True
        return False

    def _rows_in(self, n_bytes: int) -> int:
        return max(1, n_bytes // max(1, self.row_bytes))

    def _part(self, some: slice) -> Array:
        part = self.data[some] if self.is_lazy else self.data[some, ...]
        if not array_api_compat.is_array_api_obj(part):
            part = np.asarray(part)
        expected = (some.stop - some.start, *self.data.shape[1:])
        if tuple(part.shape) != expected:
            raise ValueError(
                f"X says that its shape is {tuple(self.data.shape)}, but "
                f"X[{some.start}:{some.stop}] has shape {tuple(part.shape)}; make "
                f"slices of X arrays of shape {expected}."
            )
        part = own_backend(part).xp.reshape(part, (part.shape[0], self.n_features))
        return to_backend(part, self.compute)


def forget_pages(source: Any) -> None:
    """Tell the system that what was read of a memory map is not needed again.

    Else all of the file counts as this process's memory in the end. Not of a map that
    is private: what was changed there would be lost.
    """
    mapped = getattr(source, "_mmap", None)
    private = getattr(source, "mode", "c") == "c"
    if mapped is not None and not private and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
