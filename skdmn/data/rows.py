"""Rows read block by block from arrays, files or lazily computed features."""

from __future__ import annotations

import dataclasses
import functools
import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from skdmn.data import sizes, transfer
from skdmn.data.pieces import read_piece
from skdmn.utils.array_api import (
    Array,
    Backend,
    own_backend,
    take,
    to_backend,
)


@dataclass(frozen=True)
class Rows:
    """Rows of data, with the device and dtype for computations on them.

    Attributes
    ----------
    data : array or lazy object of shape (n, ...)
        Checked input of any array library, device and dtype.
    compute : Backend
        Namespace and device for computations on the blocks.
    dtype : {"float32", "float64"}
        Dtype for these computations.
    is_lazy : bool
        True if slices of the data are read from a file, or computed on demand.
    """

    data: Any
    compute: Backend
    dtype: str
    is_lazy: bool = False

    def __post_init__(self) -> None:
        _ = self.shape

    @functools.cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of the data when this object was created; a file may be resized."""
        return tuple(self.data.shape)

    def __len__(self) -> int:
        return int(self.shape[0])

    @property
    def n_features(self) -> int:
        """Number of values of one row."""
        return math.prod(self.shape[1:])

    @property
    def row_bytes(self) -> int:
        """Memory of one row in `dtype`, in bytes."""
        return self.n_features * (8 if self.dtype == "float64" else 4)

    def resident(self) -> Rows:
        """Return the rows with their data on a GPU, if it computes and they fit there.

        They are then transferred once, not in every pass.
        """
        data = self.data
        if self.is_lazy or own_backend(data) == self.compute:
            return self
        if not transfer.fits(self.compute, getattr(data, "nbytes", 0)):
            return self
        link = transfer.link(own_backend(data), self.compute)
        size, there = self._rows_in(sizes.allowed(sizes.SENT_BYTES)), None
        sent = transfer.batches(len(self), size, self._read, lambda block: block, link)
        for some, block in sent:
            if there is None:
                there = self.compute.xp.empty(
                    data.shape, dtype=block.dtype, device=self.compute.device
                )
            there[some, ...] = block
        return dataclasses.replace(self, data=there)

    def blocks(self, block_bytes: int | None = None) -> Iterator[tuple[slice, Array]]:
        """Yield blocks of rows in order, on the device of `compute`.

        Parameters
        ----------
        block_bytes : int or None
            Size of a block in `dtype`; half of scikit-learn's working memory is the
            maximum. None chooses a size that suits the device.

        Yields
        ------
        some : slice
            Indices of the rows.
        block : array of shape (n_rows, n_features)
            Rows in the dtype of the data.
        """
        if block_bytes is None:
            block_bytes = sizes.BATCH_BYTES
            if self.compute.is_numpy:
                block_bytes = sizes.CACHE_BYTES
            elif self.compute.kind != "cpu" and own_backend(self.data) == self.compute:
                block_bytes = sizes.DEVICE_BYTES
        size = self._rows_in(sizes.allowed(block_bytes))
        # lazy data are read in large slices, which are then split into blocks
        most = self._rows_in(sizes.allowed(sizes.BATCH_BYTES))
        read = max(size, most) if self.is_lazy else size
        for start in range(0, len(self), read):
            part = self._part(slice(start, min(start + read, len(self))))
            for first in range(0, part.shape[0], size):
                block = part[first : min(first + size, part.shape[0]), :]
                begin = start + first
                yield slice(begin, begin + block.shape[0]), block
            forget_pages(self.data)

    def choose(self, indices: np.ndarray) -> Rows:
        """Return a copy of the rows at sorted indices."""
        data = None
        for some, block in self.blocks(sizes.BATCH_BYTES):
            first, last = np.searchsorted(indices, [some.start, some.stop])
            if data is None:
                shape, (xp, device) = (
                    (len(indices), self.n_features),
                    own_backend(block),
                )
                data = xp.empty(shape, dtype=block.dtype, device=device)
            data[first:last, ...] = take(block, indices[first:last] - some.start, 0)
        return dataclasses.replace(self, data=data, is_lazy=False)

    def are_finite(self) -> bool:
        """Return True if no value is NaN or infinite."""
        xp = self.compute.xp
        return all(bool(xp.all(xp.isfinite(block))) for _, block in self.blocks())

    def differ(self, weights: np.ndarray) -> bool:
        """Return True if the rows with positive weight are not all equal."""
        xp, first = self.compute.xp, None
        for some, block in self.blocks():
            used = np.flatnonzero(weights[some])
            if not len(used):
                continue
            block = take(block, used, axis=0)
            first = block[:1, :] if first is None else first
            if bool(xp.any(block != first)):
                return True
        return False

    def _read(self, some: slice) -> Array:
        return self.data[some, ...]

    def _rows_in(self, n_bytes: int) -> int:
        return max(1, n_bytes // max(1, self.row_bytes))

    def _part(self, some: slice) -> Array:
        part = (
            read_piece(self.data, some, self.shape)
            if self.is_lazy
            else self.data[some, ...]
        )
        part = own_backend(part).xp.reshape(part, (part.shape[0], self.n_features))
        return to_backend(part, self.compute)


def forget_pages(source: Any) -> None:
    """Release the memory of the pages that were read from a memory map.

    Otherwise, after one pass, the whole file counts as memory of this process. Private
    (copy-on-write) maps are left alone, because changes to them would be lost.
    """
    mapped = getattr(source, "_mmap", None)
    private = getattr(source, "mode", "c") == "c"
    if mapped is not None and not private and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
