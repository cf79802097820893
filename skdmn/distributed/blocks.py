"""Blocks of a dask array: sums over blocks, and arrays that are cut like blocks."""

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

from skdmn.data.pieces import check_piece
from skdmn.utils.array_api import float_dtype
from skdmn.utils.validation import as_one_array, unmasked

FAN_IN = 8  # number of partial sums that are merged at a time
JOINED_BYTES = 10 * 10**6  # size, as floats, up to which neighbouring blocks are joined

Merge = Callable[[list[Any]], Any]


@dataclass(frozen=True)
class Blocks:
    """Blocks of a dask array along its first axis.

    Attributes
    ----------
    parts : list of Delayed
        Blocks: arrays of shape (size, *sample_shape).
    sizes : tuple of int
        Number of samples in each block, which may be 0.
    sample_shape : tuple of int
        Shape of one sample.
    dtype : dtype
        Dtype of the samples.
    """

    parts: list[Any]
    sizes: tuple[int, ...]
    sample_shape: tuple[int, ...]
    dtype: np.dtype

    @classmethod
    def of(cls, X: da.Array, sizes: tuple[int, ...]) -> Blocks:
        """Return the blocks of a checked dask array."""
        return cls(X.to_delayed().ravel().tolist(), sizes, X.shape[1:], X.dtype)

    def joined(self) -> Blocks:
        """Join small neighbouring blocks to about 10 MB, and omit empty blocks.

        Dask needs about a millisecond for each block and pass. If each image is a block
        of its own, that is thousands of times longer than the computation.
        """
        groups = small_neighbours(self.sizes, self.sample_shape, self.dtype)
        # empty blocks may have any shape, and are never computed
        groups = [[index for index in group if self.sizes[index]] for group in groups]
        join = delayed(_joined, pure=False)
        parts, sizes = [], []
        for group in filter(None, groups):
            some = [self.parts[index] for index in group]
            of_parts = [self.sizes[index] for index in group]
            joined = len(some) > 1
            parts.append(join(some, of_parts, self.shape) if joined else some[0])
            sizes.append(sum(of_parts))
        return replace(self, parts=parts, sizes=tuple(sizes))

    def __len__(self) -> int:
        return sum(self.sizes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all blocks together."""
        return len(self), *self.sample_shape

    def persisted(self) -> Blocks:
        """Compute the blocks now, and keep them on their workers."""
        return replace(self, parts=list(dask.persist(*self.parts)))

    def cut(self, *arrays: np.ndarray | None) -> list[tuple]:
        """Cut arrays with one entry per sample into one part per block."""
        ends = np.cumsum(self.sizes).tolist()
        edges = zip([0, *ends[:-1]], ends, strict=True)
        return [
            tuple(None if array is None else array[a:b] for array in arrays)
            for a, b in edges
        ]

    def find(self, indices: np.ndarray) -> list[np.ndarray]:
        """Convert sorted indices of samples to indices within each block."""
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
        """Apply a function to all blocks, and merge the results in a tree.

        The tree depends only on the number of blocks. Therefore the result has the same
        bytes, whichever workers compute the blocks, and in whichever order.

        Parameters
        ----------
        function : callable
            Called as ``function(block, own, *shared)``.
        merge : callable
            Returns the merged result of a list of results. It must not change these,
            because Dask needs them again if a worker is lost.
        of_block : sequence
            The argument `own` for each block.
        *shared : object
            Arguments that are sent to each worker once.

        Returns
        -------
        object
            The merged result of all blocks that have samples.
        """
        sent = [delayed(one, traverse=False) for one in shared]
        memory = get_config()["working_memory"]  # workers have their own configuration
        apply, join = delayed(_apply, pure=False), delayed(merge, pure=False)
        found = [
            apply(
                *(function, part, size, self.shape, own, memory, *sent),
                dask_key_name=_key(function),
            )
            for part, size, own in zip(self.parts, self.sizes, of_block, strict=True)
            if size
        ]
        while len(found) > 1:
            groups = range(0, len(found), FAN_IN)
            found = [join(found[at : at + FAN_IN]) for at in groups]
        return dask.compute(found[0])[0]

    def collect(self, indices: np.ndarray) -> np.ndarray:
        """Copy the samples at sorted indices to the memory of this process, as rows."""
        take = delayed(_rows_at, pure=False)
        found = [
            take(part, size, self.shape, some)
            for part, size, some in zip(
                self.parts, self.sizes, self.find(indices), strict=True
            )
            if len(some)
        ]
        return np.concatenate(dask.compute(*found))


def small_neighbours(
    sizes: Sequence[int], sample_shape: tuple[int, ...], dtype: np.dtype
) -> list[list[int]]:
    """Group the indices of neighbouring blocks up to about 10 MB of floats.

    Parameters
    ----------
    sizes : sequence of int
        Number of samples in each block.
    sample_shape : tuple of int
    dtype : dtype

    Returns
    -------
    list of lists of int
        A block that is larger is a group of its own.
    """
    n_bytes = math.prod(sample_shape) * floats_of(dtype).itemsize
    most = max(1, JOINED_BYTES // n_bytes)
    groups: list[list[int]] = [[]]
    total = 0
    for index, size in enumerate(sizes):
        if total and total + size > most:
            groups.append([])
            total = 0
        groups[-1].append(index)
        total += size
    return groups


def floats_of(dtype: np.dtype) -> np.dtype:
    """Return the dtype of computations on samples of a dtype."""
    return np.dtype(float_dtype(np.empty(0, dtype), np))


def _key(function: Callable[..., Any]) -> str:
    """Return a new key for a task, with a name for Dask's dashboard."""
    return f"{function.__name__.strip('_')}-{uuid.uuid4().hex}"


def _apply(
    function: Callable[..., Any],
    block: np.ndarray,
    size: int,
    shape: tuple[int, ...],
    own: Any,
    working_memory: int,
    *shared: Any,
) -> Any:
    block = checked_block(block, size, shape)
    with config_context(working_memory=working_memory):
        return function(block, own, *shared)


def _joined(
    blocks: list[np.ndarray], sizes: list[int], shape: tuple[int, ...]
) -> np.ndarray:
    """Concatenate blocks."""
    return np.concatenate(
        [checked_block(*pair, shape) for pair in zip(blocks, sizes, strict=True)]
    )


def checked_block(block: np.ndarray, size: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return a block of X, whose shape is given.

    Raise if it has masked values, another number of samples than labels, or samples of
    another shape.
    """
    block = unmasked(block, "A block of X")
    if len(block) != size:
        raise ValueError(
            f"A block of X has {len(block)} samples, but its chunk size, or the "
            f"corresponding block of y, has {size}; give X and y the same chunks along "
            "the first axis, or call X.compute_chunk_sizes()."
        )
    check_piece(block.shape, (size, *shape[1:]), "a block of X", "X", shape)
    return block


def _rows_at(
    block: np.ndarray, size: int, shape: tuple[int, ...], indices: np.ndarray
) -> np.ndarray:
    block = checked_block(block, size, shape)
    return block.reshape(len(block), -1)[indices]


def checked(X: Any) -> da.Array:
    """Return a dask array of images or rows with chunks along the first axis only.

    Raises
    ------
    TypeError
        If X is not a dask array of NumPy arrays.
    ValueError
        If X has no samples, or not the dimensions of images or rows.
    """
    if not isinstance(X, da.Array):
        if not dask.is_dask_collection(X):
            as_one_array(X)  # raises for data loaders
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
            "channels]) or (n, n_features), in which only n may be unknown."
        )
    if 0 in X.shape:
        raise ValueError(f"X has shape {X.shape}; pass at least one image or row.")
    return X.rechunk(dict.fromkeys(range(1, X.ndim), -1))


def collected(values: Any, name: str) -> tuple[Any, tuple[int, ...] | None]:
    """Return labels or weights in local memory, and the sizes of their blocks."""
    if isinstance(values, da.Array):
        parts = dask.compute(*values.to_delayed().ravel().tolist())
        plain = [unmasked(part, name) for part in parts]
        return np.concatenate(plain), tuple(map(len, plain))
    if dask.is_dask_collection(values):
        raise TypeError(
            f"{name} is Dask's {type(values).__name__}; pass {name}.to_dask_array("
            "lengths=True), or a NumPy array."
        )
    return values, None


def _check_empty(X: da.Array, sizes: tuple[int, ...]) -> None:
    """Raise if a block of unknown size has samples, but no labels."""
    parts = X.to_delayed().ravel()
    unseen = [delayed(len)(parts[i]) for i, size in enumerate(sizes) if not size]
    hidden = max(dask.compute(*unseen), default=0)
    if hidden:
        raise ValueError(
            f"A block of X has {hidden} samples, but the corresponding block of y is "
            "empty; give X and y the same chunks along the first axis."
        )


def sizes_of(X: da.Array, of_labels: tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the sizes of the blocks of X; those of y if X does not know its own."""
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
