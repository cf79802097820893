"""Features that are computed when they are asked for."""

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

SAMPLES, SAMPLE_ROWS = 8, 8  # runs of images that stand for all, and their length


class LazyFeatures:
    """Features that are computed when they are asked for, some rows at a time.

    `DensityMatrixNetwork.lazy_features` makes them. They have the shape and dtype of
    an array, are sliced and indexed along their rows like one, and iterated over in
    batches of consecutive rows. ``numpy.asarray`` computes them all.

    Parameters
    ----------
    stream : Stream
        The images, and the operations that make features of them.

    Attributes
    ----------
    shape : (int, int)
        Number of images, and of values of one image.
    dtype : dtype
        float32 or float64, of X's library.
    ndim : int
        2.
    is_lazy : bool
        True: tells this from an array.

    See Also
    --------
    DensityMatrixNetwork.transform : Computes all features at once.

    Notes
    -----
    Nothing is kept: rows asked for twice are computed twice. What the network was
    when the features were asked for counts, not what became of it since.

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
        """Compute some rows, by a number, a slice, a mask or an array of numbers.

        Returns
        -------
        array of shape (n_rows, n_features), or (n_features,) for one number

        Raises
        ------
        IndexError
            Where there is no such row, or more than rows are asked for.
        """
        # not all numbers of many rows, to find out which a slice asks for
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
        """Write all rows to a file while they are computed; go on where that ended.

        Parameters
        ----------
        target : str or path
            An .npy file; or a .zarr folder, which becomes a Zarr array of one chunk
            for each batch and needs zarr. It appears under this name once it is
            complete; until then, its name ends in ``.part``.
        overwrite : bool, default=False
            Whether to begin anew, whatever is there.

        Returns
        -------
        numpy.memmap or zarr.Array of shape (n, n_features)
            What was written, to read: `SoftmaxClassifier` takes it as it is.

        Raises
        ------
        ValueError
            Where the target was begun with other features, or is none of these.
        FileExistsError
            Where it is there, and does not come from here.
        FileNotFoundError
            Where there is no such folder.

        Notes
        -----
        A file beside the target, ``.progress.json``, says how much is done, of which
        features. An interrupted call (a killed process, Ctrl+C, a full disk) loses a
        batch, or a second's work where that is more: called again, it goes on from
        there, and once all is done it only opens the file. The network, its filters to
        the last bit (so keep the fitted network), the batch size ("auto": that of the
        interrupted call) and the images must be the same; of the images, type, shape
        and 64 of them are compared, not all. With the same number of threads, the bytes
        are those of a call that was not interrupted. After a power failure that holds
        for .npy files only: Zarr does not wait for the disk.

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
        """Return what identifies the features, to go on with a batch size if it can."""
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
        """Compute rows from one on, so many at a time."""
        # chosen also from the first one on: images in memory are copied in either case
        left = np.arange(start, len(self))
        stream = replace(self._stream, chosen=left, n_per_batch=size)
        for some, batch in transfer.results(stream.float_batches(), stream._link):
            at = slice(start + some.start, start + some.stop)
            yield at, to_numpy(rows(batch))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Compute all rows, as a NumPy array."""
        if copy is False:
            raise ValueError("Lazy features are computed, which copy=False forbids.")
        return np.asarray(to_numpy(rows(self._stream.collect())), dtype=dtype)

    def __repr__(self) -> str:
        return f"LazyFeatures(shape={self.shape}, dtype={self.dtype})"
