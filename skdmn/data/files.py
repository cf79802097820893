"""Several arrays or files as one array, and batches from an iterator as a file."""

from __future__ import annotations

import glob
import os
import uuid
from collections.abc import Iterable, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from skdmn.data.pieces import read_piece
from skdmn.data.rows import forget_pages
from skdmn.utils.locks import Lock
from skdmn.utils.validation import unmasked


class Batches:
    """Concatenation of arrays or .npy files that is read by slices.

    It can be passed wherever a memory map can: to layers, `DensityMatrixNetwork` and
    `SoftmaxClassifier`. It is never read as a whole.

    Parameters
    ----------
    parts : sequence of arrays or paths
        Arrays that can be sliced (in memory, memory maps, HDF5 datasets, Zarr arrays),
        or paths of .npy files. They may differ only in length. A file is open, and
        takes memory, only while it is read.

    Attributes
    ----------
    shape : tuple of int
        Shape of the concatenation along the first axis.
    dtype : dtype
        Data type of all parts.
    ndim : int
        Number of dimensions.

    Raises
    ------
    ValueError
        If parts differ in shape or dtype, or are not arrays.

    See Also
    --------
    save_batches : Write the batches of an iterator, such as a data loader, to a file.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.data.files import Batches
    >>> images = Batches([np.zeros((30, 8, 8)), np.ones((20, 8, 8))])
    >>> images.shape, images[28:32].shape
    ((50, 8, 8), (4, 8, 8))
    """

    def __init__(self, parts: Sequence[Any]) -> None:
        if isinstance(parts, (str, os.PathLike)) or not hasattr(parts, "__len__"):
            raise ValueError(
                f"parts is a {type(parts).__name__}; pass a list of arrays or of paths "
                "of .npy files. (save_batches writes an iterator's batches to a file.)"
            )
        self._parts = list(parts)
        if not self._parts:
            raise ValueError("parts is empty; pass at least one array or .npy file.")
        shapes, dtypes = zip(*map(_kind_of_array, self._parts), strict=True)
        for number, found in enumerate(zip(shapes, dtypes, strict=True)):
            if (found[0][1:], found[1]) != (shapes[0][1:], dtypes[0]):
                raise ValueError(
                    f"parts[{number}] has shape {found[0]} and dtype {found[1]}, but "
                    f"parts[0] has shape {shapes[0]} and dtype {dtypes[0]}; pass parts "
                    "that differ only in length."
                )
        self._starts = np.cumsum([0, *(shape[0] for shape in shapes)]).tolist()
        self.shape = (self._starts[-1], *shapes[0][1:])
        self.dtype = dtypes[0]
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, some: Any) -> np.ndarray:
        """Read consecutive entries, or a single one.

        Parameters
        ----------
        some : slice or int, or a tuple that starts with one
            Entries along the first axis; further items of a tuple index the other axes.

        Returns
        -------
        ndarray

        Raises
        ------
        IndexError
            If `some` is neither, the slice has a step, or the int is out of range.
        ValueError
            If the shape or dtype of a file has changed.
        """
        if isinstance(some, tuple) and some:  # Dask passes tuples
            rows, *rest = some
            own = () if isinstance(rows, Integral) else (slice(None),)
            return self[rows][(*own, *rest)]
        if isinstance(some, Integral):
            at = range(len(self))[int(some)]
            return self[at : at + 1][0]
        if not isinstance(some, slice) or some.step not in (None, 1):
            raise IndexError(
                f"{some!r} does not select consecutive entries; pass a slice without a "
                "step, or an int."
            )
        start, stop, _ = some.indices(len(self))
        pieces = [
            self._read(number, max(start - first, 0), stop - first)
            for number, first in enumerate(self._starts[:-1])
            if max(start, first) < min(stop, self._starts[number + 1])
        ]
        if not pieces:
            return np.empty((0, *self.shape[1:]), self.dtype)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _read(self, number: int, start: int, stop: int) -> np.ndarray:
        part = self._parts[number]
        if not _is_path(part):
            n = self._starts[number + 1] - self._starts[number]
            shape, name = (n, *self.shape[1:]), f"parts[{number}]"
            some = read_piece(part, slice(start, min(stop, n)), shape, name)
            if isinstance(part, np.memmap):  # copy, so that its pages can be released
                some = np.array(some)
                forget_pages(part)
            return np.asarray(some)
        mapped = np.load(part, mmap_mode="r")
        length = self._starts[number + 1] - self._starts[number]
        if (mapped.shape, mapped.dtype) != ((length, *self.shape[1:]), self.dtype):
            raise ValueError(
                f"{part} changed: it has shape {mapped.shape} and dtype {mapped.dtype} "
                "now; create Batches again."
            )
        return np.array(mapped[start:stop])  # copy, because the file is closed

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Read all entries."""
        if copy is False:
            raise ValueError(
                "copy=False, but Batches must copy its parts; pass copy=True or None."
            )
        # reading a single part in memory makes no copy by itself
        return np.array(self[:], dtype=dtype, copy=True if copy else None)

    def __repr__(self) -> str:
        return f"Batches(n_parts={len(self._parts)}, shape={self.shape})"


def save_batches(
    batches: Iterable[Any], path: str | os.PathLike, *, overwrite: bool = False
) -> tuple[np.memmap, np.ndarray | None]:
    """Write the batches of an iterator to an .npy file, one at a time.

    Fitting takes several passes over the images. A generator yields them only once, and
    a data loader may decode them in every pass. One batch is in memory at a time.

    Parameters
    ----------
    batches : iterable of arrays, or of (array, labels) pairs
        Images or rows. Batches may differ only in length.
    path : str or path
        Path of the file. It appears under this name when it is complete.
    overwrite : bool, default=False
        Whether to replace an existing file.

    Returns
    -------
    X : memmap of shape (n, ...)
        Memory map of the file, read-only.
    y : ndarray of shape (n,), or None
        Labels, or None if the batches have none.

    Raises
    ------
    FileExistsError
        If the file exists and `overwrite` is False.
    FileNotFoundError
        If the folder of the file does not exist.
    PermissionError
        If no file can be created in that folder.
    ValueError
        If `path` does not end in .npy, batches differ in shape or dtype, or there are
        no batches.

    Examples
    --------
    >>> import os, tempfile
    >>> from sklearn.datasets import load_digits
    >>> from skdmn.data.files import save_batches
    >>> images, labels = load_digits(return_X_y=True)
    >>> loader = ((images[i : i + 500], labels[i : i + 500]) for i in (0, 500, 1000))
    >>> X, y = save_batches(loader, os.path.join(tempfile.mkdtemp(), "digits.npy"))
    >>> X.shape, y.shape
    ((1500, 64), (1500,))
    """
    path = Path(path)
    if path.suffix != ".npy":
        raise ValueError(f"path={str(path)!r} must end in .npy; change the suffix.")
    with Lock(path):
        if path.exists() and not overwrite:
            raise FileExistsError(
                f"{path} exists already; pass overwrite=True to replace it, or "
                "another path."
            )
        return _save(batches, path)


def _save(batches: Iterable[Any], path: Path) -> tuple[np.memmap, np.ndarray | None]:
    """Write the batches under another name, then rename the file."""
    for left in path.parent.glob(f"{glob.escape(path.name)}.*.saving"):
        left.unlink(missing_ok=True)  # of a killed process
    # a name of its own, because there are file systems without locks
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.saving")
    try:
        with open(part, "wb") as file:
            labels = _append(batches, file)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return np.load(path, mmap_mode="r"), np.concatenate(labels) if labels else None


def _append(batches: Iterable[Any], file: BinaryIO) -> list[np.ndarray]:
    """Write batches to a file one after another; return their labels."""
    labels: list[np.ndarray] = []
    first: np.ndarray | None = None
    n = 0
    for number, given in enumerate(batches):
        is_pair = isinstance(given, (tuple, list)) and len(given) == 2
        arrays = [
            unmasked(a, f"batch {number}") for a in (given if is_pair else [given])
        ]
        images = np.ascontiguousarray(arrays[0])
        if first is None:
            first, has_labels = images, is_pair
            _write_header(file, first, 0)
        same = (images.shape[1:], images.dtype) == (first.shape[1:], first.dtype)
        if images.ndim < 2 or not same or images.dtype.kind not in "biuf":
            raise ValueError(
                f"Batch {number} has shape {images.shape} and dtype {images.dtype}, "
                f"the first batch has {first.shape} and {first.dtype}; pass arrays of "
                "images or rows that differ only in length."
            )
        if is_pair:
            labels.append(np.asarray(arrays[1]))
        if is_pair != has_labels or (is_pair and labels[-1].shape != images.shape[:1]):
            shape = labels[-1].shape if is_pair else ("no",)
            n_labels = shape[0] if len(shape) == 1 else shape
            advice = "one label for each image in all batches, or no labels in any"
            if not shape:  # a data set that yields single images
                advice = "batches, such as torch.utils.data.DataLoader(dataset, 256)"
            raise ValueError(
                f"Batch {number} has {len(images)} images and {n_labels} labels; pass "
                f"{advice}."
            )
        file.write(images.data)
        n += len(images)
    if first is None or not n:
        raise ValueError("batches is empty; pass an iterator that is not exhausted.")
    file.seek(0)
    _write_header(file, first, n)  # of equal length: NumPy pads for larger n
    return labels


def _write_header(file: BinaryIO, like: np.ndarray, n: int) -> None:
    header = np.lib.format.header_data_from_array_1_0(like)
    header["shape"] = (n, *like.shape[1:])
    np.lib.format.write_array_header_1_0(file, header)


def _is_path(part: Any) -> bool:
    return isinstance(part, (str, os.PathLike))


def _kind_of_array(part: Any) -> tuple[tuple[int, ...], np.dtype]:
    array = np.load(part, mmap_mode="r") if _is_path(part) else part
    shape, dtype = getattr(array, "shape", ()), getattr(array, "dtype", None)
    if not shape or not isinstance(dtype, np.dtype):
        name = part if _is_path(part) else f"A {type(part).__name__}"
        raise ValueError(
            f"{name} is not an array of numbers; pass arrays, or paths of .npy files."
        )
    return tuple(shape), dtype
