"""Features that are computed when they are accessed."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import replace
from numbers import Integral
from typing import Any

import joblib
import numpy as np

from skdmn.data import transfer
from skdmn.data.images import rows
from skdmn.network.stream import Stream
from skdmn.network.writing import Record, write_features
from skdmn.utils.array_api import Array, take, to_backend, to_numpy

SAMPLES, SAMPLE_ROWS = 8, 8  # number and length of the runs of images that are hashed


class LazyFeatures:
    """Features that are computed when they are accessed, instead of all at once.

    `DensityMatrixNetwork.lazy_features` returns such an object. It has the shape and
    dtype of an array. Slicing or indexing it computes the rows asked for, iterating
    over it yields batches of consecutive rows, and ``numpy.asarray`` computes all rows.
    `write` streams all rows to a file.

    Parameters
    ----------
    stream : Stream
        The images, and the operations that compute the features from them.

    Attributes
    ----------
    shape : (int, int)
        Number of images and number of features.
    dtype : dtype
        float32 or float64, as a dtype of the array library of `X`.
    ndim : int
        Always 2.
    is_lazy : bool
        Always True. It distinguishes this object from an array.

    See Also
    --------
    DensityMatrixNetwork.transform : Computes all features at once.

    Notes
    -----
    Nothing is cached: a row that is accessed twice is computed twice. The features are
    those of the network at the time of `lazy_features`; later changes of the network
    have no effect.

    Examples
    --------
    >>> from skdmn import ClassPCAPatchTransformer, DensityMatrixNetwork
    >>> from skdmn.datasets import load_digits_images
    >>> X, y = load_digits_images()
    >>> layers = [("conv1", ClassPCAPatchTransformer(n_filters=4))]
    >>> lazy = DensityMatrixNetwork(layers, batch_size=500).fit(X, y).lazy_features(X)
    >>> lazy.shape, lazy[10:20].shape
    ((1797, 144), (10, 144))
    >>> [len(batch) for batch in lazy]
    [500, 500, 500, 297]
    """

    is_lazy = True
    ndim = 2

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.shape = (len(stream), math.prod(stream.shape))
        dtype = getattr(stream.backend.xp, stream.dtype)
        self.dtype = np.dtype(dtype) if stream.backend.is_numpy else dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Array]:
        for _, batch in self._stream.float_batches():
            yield rows(to_backend(batch, self._stream.backend))

    def __getitem__(self, some: Any) -> Array:
        """Compute the rows of an index, a slice, a mask or an array of indices.

        Returns
        -------
        array of shape (n_rows, n_features), or (n_features,) for a single index

        Raises
        ------
        IndexError
            If an index is out of bounds, or columns are indexed too.
        """
        # a range needs no memory for the indices of all rows
        few = isinstance(some, (slice, Integral))
        wanted = np.asarray((range if few else np.arange)(len(self))[some])
        if wanted.ndim > 1 or isinstance(some, tuple):
            raise IndexError(
                f"{some!r} is not an index of rows; pass one number, slice, mask or "
                "1D array, and take columns of the result."
            )
        # files are read in ascending order
        chosen, order = np.unique(wanted, return_inverse=True)
        if not len(chosen):
            xp, device = self._stream.backend
            return xp.empty((0, self.shape[1]), dtype=self.dtype, device=device)
        found = rows(replace(self._stream, chosen=chosen).collect())
        if wanted.ndim == 0:
            return found[0, ...]
        if len(order) == len(chosen) and (order[:-1] < order[1:]).all():
            return found
        return take(found, order, axis=0)

    def write(self, target: str | os.PathLike, *, overwrite: bool = False) -> Any:
        """Stream all features to a file; if interrupted, call it again to resume.

        Parameters
        ----------
        target : str or path
            Name of an .npy file, or of a .zarr folder. The latter becomes a Zarr array
            with one chunk per batch and requires zarr. The name ends in ``.part`` until
            all features are written.
        overwrite : bool, default=False
            If True, replace an existing target and start from the beginning.

        Returns
        -------
        numpy.memmap or zarr.Array of shape (n, n_features)
            The written features, opened for reading. `SoftmaxClassifier` accepts both.

        Raises
        ------
        ValueError
            If the target was started with other features, or has another extension.
        FileExistsError
            If the target exists and was not written by this method.
        FileNotFoundError
            If the folder of the target does not exist.
        PermissionError
            If no file can be created in that folder.
        RuntimeError
            If another process writes the same target on a file system without locks.

        Warns
        -----
        UserWarning
            If another process or thread is writing the same target.

        Notes
        -----
        A file next to the target, ``.progress.json``, records which rows of which
        features are written. An interruption (a killed process, Ctrl+C, a full disk)
        loses at most one batch or one second of work, whichever is more. Another call
        resumes from there. Once all features are written, a call only opens the file.

        To resume, the fitted network (every bit of its filters, so save it), the batch
        size and the images must be the same. ``batch_size="auto"`` uses the size of the
        interrupted call. Of the images, the type, the shape and a sample of 64 images
        are compared. With the same number of threads, the resumed file is identical to
        one that was written without interruption. After a power failure, this holds
        for .npy files only, because Zarr does not wait until data is on the disk.

        Examples
        --------
        >>> import os, tempfile
        >>> from skdmn import ClassPCAPatchTransformer, DensityMatrixNetwork
        >>> from skdmn.datasets import load_digits_images
        >>> X, y = load_digits_images()
        >>> layers = [("conv1", ClassPCAPatchTransformer(n_filters=4))]
        >>> lazy = DensityMatrixNetwork(layers).fit(X, y).lazy_features(X)
        >>> lazy.write(os.path.join(tempfile.mkdtemp(), "features.npy")).shape
        (1797, 144)
        """
        return write_features(self, target, overwrite)

    def _record(self, begun_with: int | None) -> Record:
        """Return a record that identifies the features.

        `begun_with` is the batch size of an interrupted call, or None.
        """
        stream = self._stream
        size = begun_with if stream.n_per_batch == "auto" else None
        images, last = stream._images(), max(0, len(self) - SAMPLE_ROWS)
        starts = np.unique(np.linspace(0, last, SAMPLES, dtype=np.int64)).tolist()
        ends = [min(start + SAMPLE_ROWS, len(self)) for start in starts]
        samples = [images.read(slice(*run)) for run in zip(starts, ends, strict=True)]
        return Record(
            self.shape,
            stream.dtype,
            size or stream.batch_size(),
            stream.model_fingerprint(),
            joblib.hash([np.ascontiguousarray(to_numpy(part)) for part in samples]),
        )

    def _rows_from(self, start: int, size: int) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the rows from `start` on, `size` rows at a time."""
        # also chosen if start is 0, so that a resumed call computes in the same way
        left = np.arange(start, len(self))
        stream = replace(self._stream, chosen=left, n_per_batch=size)
        for some, batch in transfer.results(stream.float_batches(), stream._link):
            at = slice(start + some.start, start + some.stop)
            yield at, to_numpy(rows(batch))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Compute all rows and return them as a NumPy array."""
        if copy is False:
            raise ValueError("Lazy features are computed, which copy=False forbids.")
        return np.asarray(to_numpy(rows(self._stream.collect())), dtype=dtype)

    def __repr__(self) -> str:
        return f"LazyFeatures(shape={self.shape}, dtype={self.dtype})"
