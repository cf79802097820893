"""Blocks of a dask array: what is summed over them, and labels cut as they are."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.delayed import delayed
from sklearn import config_context, get_config

FAN_IN = 8  # how many partial sums are merged at a time

Merge = Callable[[list[Any]], Any]


@dataclass(frozen=True)
class Blocks:
    """The blocks of a dask array along its first axis, wherever they are computed.

    Attributes
    ----------
    parts : list of Delayed
        Each an array of shape (size, *shape of a sample).
    sizes : tuple of int
        How many samples each block has; some may have none.
    sample_shape : tuple of int
    dtype : dtype
    """

    parts: list[Any]
    sizes: tuple[int, ...]
    sample_shape: tuple[int, ...]
    dtype: np.dtype

    @classmethod
    def of(cls, X: da.Array, sizes: tuple[int, ...]) -> Blocks:
        """Take the blocks of a checked dask array."""
        return cls(X.to_delayed().ravel().tolist(), sizes, X.shape[1:], X.dtype)

    def __len__(self) -> int:
        return sum(self.sizes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all blocks together."""
        return len(self), *self.sample_shape

    def persisted(self) -> Blocks:
        """Compute the blocks now, and keep them where they were computed."""
        return replace(self, parts=list(dask.persist(*self.parts)))

    def cut(self, *arrays: np.ndarray | None) -> list[tuple]:
        """Cut arrays of one entry for each sample as the samples are cut."""
        ends = np.cumsum(self.sizes).tolist()
        edges = zip([0, *ends[:-1]], ends, strict=True)
        return [
            tuple(None if array is None else array[a:b] for array in arrays)
            for a, b in edges
        ]

    def find(self, indices: np.ndarray) -> list[np.ndarray]:
        """Return which samples of each block are at sorted indices of all."""
        ends = np.cumsum(self.sizes)
        found = np.split(indices, np.searchsorted(indices, ends[:-1]))
        return [
            some - (end - size)
            for some, end, size in zip(found, ends, self.sizes, strict=True)
        ]

    def reduce(
        self,
        function: Callable[..., Any],
        merge: Merge,
        of_block: Sequence[Any],
        *shared: Any,
    ) -> Any:
        """Apply a function to all blocks, and merge the results as a tree.

        The tree depends on the number of blocks alone, so that the same blocks give
        the same bytes, whoever computes them, and when.

        Parameters
        ----------
        function : callable
            Called with a block, what belongs to it and what is shared.
        merge : callable
            Makes one result of a list of them, and changes none: they may be needed
            again where a worker is lost.
        of_block : sequence
            What belongs to each block.
        *shared : object
            Sent once to each worker.
        """
        sent = [delayed(one, traverse=False) for one in shared]
        memory = get_config()["working_memory"]  # each thread has its own
        apply, join = delayed(_apply, pure=False), delayed(merge, pure=False)
        found = [
            apply(
                function, part, size, own, memory, *sent, dask_key_name=_key(function)
            )
            for part, size, own in zip(self.parts, self.sizes, of_block, strict=True)
            if size
        ]
        while len(found) > 1:
            groups = range(0, len(found), FAN_IN)
            found = [join(found[at : at + FAN_IN]) for at in groups]
        return dask.compute(found[0])[0]

    def collect(self, indices: np.ndarray) -> np.ndarray:
        """Copy samples, at sorted indices, into memory here, as rows."""
        take = delayed(_rows_at, pure=False)
        found = [
            take(part, some)
            for part, some in zip(self.parts, self.find(indices), strict=True)
            if len(some)
        ]
        return np.concatenate(dask.compute(*found))


def _key(function: Callable[..., Any]) -> str:
    """Return a new key, by which Dask's dashboard names a task."""
    return f"{function.__name__.strip('_')}-{uuid.uuid4().hex}"


def _apply(
    function: Callable[..., Any],
    block: np.ndarray,
    size: int,
    own: Any,
    working_memory: int,
    *shared: Any,
) -> Any:
    if len(block) != size:
        raise ValueError(
            f"A block of X has {len(block)} samples where its chunk size, or the block "
            f"of y beside it, says {size}; give X and y the same chunks along the "
            "first axis, or call X.compute_chunk_sizes()."
        )
    with config_context(working_memory=working_memory):
        return function(block, own, *shared)


def _rows_at(block: np.ndarray, indices: np.ndarray) -> np.ndarray:
    return block.reshape(len(block), -1)[indices]


def checked(X: Any) -> da.Array:
    """Return a dask array of images or rows that is cut along the first axis alone.

    Raises
    ------
    TypeError, ValueError
        Where X is none.
    """
    if not isinstance(X, da.Array):
        kind = f"{type(X).__module__.split('.')[0]}'s {type(X).__name__}"
        raise TypeError(
            f"X is {kind}, not a dask array; pass dask.array.from_array(X, "
            "chunks=(1000, ...)), of data frames X.to_dask_array(lengths=True)."
        )
    if not isinstance(X._meta, np.ndarray):
        raise TypeError(
            f"The blocks of X are of {type(X._meta).__module__.split('.')[0]}; make "
            "them NumPy's with X.map_blocks: workers move them to their GPU themselves."
        )
    if X.ndim < 2 or any(math.isnan(size) for size in X.shape[1:]):
        raise ValueError(
            f"X has shape {X.shape}; pass a dask array of shape (n, height, width[, "
            "channels]) or (n, n_features), of which n alone may be unknown."
        )
    if 0 in X.shape:
        raise ValueError(f"X has shape {X.shape}; pass at least one image or row.")
    return X.rechunk(dict.fromkeys(range(1, X.ndim), -1))


def collected(values: Any, name: str) -> tuple[Any, tuple[int, ...] | None]:
    """Return labels or weights in memory here, and the sizes of their blocks."""
    if isinstance(values, da.Array):
        parts = dask.compute(*values.to_delayed().ravel().tolist())
        return np.concatenate(parts), tuple(map(len, parts))
    if dask.is_dask_collection(values):
        raise TypeError(
            f"{name} is Dask's {type(values).__name__}; pass {name}.to_dask_array("
            "lengths=True), or a NumPy array."
        )
    return values, None


def _check_empty(X: da.Array, sizes: tuple[int, ...]) -> None:
    """Raise where a block of unknown size has samples, but no labels."""
    parts = X.to_delayed().ravel()
    unseen = [delayed(len)(parts[i]) for i, size in enumerate(sizes) if not size]
    hidden = max(dask.compute(*unseen), default=0)
    if hidden:
        raise ValueError(
            f"A block of X has {hidden} samples where the block of y beside it is "
            "empty; give X and y the same chunks along the first axis."
        )


def sizes_of(X: da.Array, of_labels: tuple[int, ...] | None) -> tuple[int, ...]:
    """Return how many samples the blocks of X have; of y, where X does not know."""
    sizes = X.chunks[0]
    if any(map(math.isnan, sizes)):
        if of_labels is None or len(of_labels) != len(sizes):
            raise ValueError(
                f"X has {len(sizes)} blocks of unknown size; call "
                "X.compute_chunk_sizes() first, or pass y as a dask array with as many "
                "blocks."
            )
        sizes = of_labels
        _check_empty(X, sizes)
    if not sum(sizes):
        raise ValueError("X has no images or rows; pass at least one.")
    return tuple(int(size) for size in sizes)
