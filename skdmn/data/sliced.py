"""Images in files, read by slices and never as a whole."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import array_api_compat
import numpy as np
import scipy.sparse
from sklearn.utils import assert_all_finite

from skdmn.data.pieces import check_piece, converted, read_piece
from skdmn.data.rows import forget_pages

PIECE_BYTES = 2**24  # size of the slices read when images at single indices are wanted


def is_sliceable(X: Any) -> bool:
    """Return True if X is an array of numbers outside memory, read by slices.

    Memory maps, HDF5 datasets and Zarr arrays are; arrays in memory, sparse matrices
    and data frames are not.
    """
    if type(X) is np.ndarray:
        return False
    if not isinstance(X, np.memmap) and array_api_compat.is_array_api_obj(X):
        return False
    if scipy.sparse.issparse(X) or not hasattr(X, "__getitem__"):
        return False
    shape, dtype = getattr(X, "shape", None), getattr(X, "dtype", None)
    if not isinstance(shape, tuple) or not isinstance(dtype, np.dtype):
        return False
    return len(shape) in (2, 3, 4) and dtype.kind in "biuf"


def ignored(images: np.ndarray) -> None:
    """Do nothing with images that were read."""


class Sliced:
    """Reader of a sliceable array; returns slices as checked NumPy arrays.

    Parameters
    ----------
    source : object with shape, dtype and slicing along the first axis
        Memory map, HDF5 dataset, Zarr array or similar. If it has an attribute
        `takes_indices` that is True, only the images at the indices are read.
    estimator_name : str
        Name of the estimator, for the message about NaN.

    Notes
    -----
    The shape and dtype are those of `source` when the reader was created. If a file is
    resized later, pieces that are missing are an error. `observe` is called with all
    images that are read.
    """

    def __init__(self, source: Any, estimator_name: str) -> None:
        self.source = source
        self.estimator_name = estimator_name
        self.shape = self._source_shape = tuple(source.shape)
        self.ndim = len(self.shape)
        self.dtype = source.dtype.newbyteorder("=")
        self.observe: Callable[[np.ndarray], None] = ignored

    def reshaped(self, shape: tuple[int, ...]) -> Sliced:
        """Return a reader of the same images in another shape."""
        reader = copy.copy(self)
        reader.shape, reader.ndim = shape, len(shape)
        return reader

    def read(self, wanted: slice | np.ndarray) -> np.ndarray:
        """Read a slice, or the images at ascending indices.

        Parameters
        ----------
        wanted : slice or ndarray of int

        Returns
        -------
        ndarray of shape (n_wanted, *shape[1:])

        Raises
        ------
        ValueError
            If an image contains NaN or infinity, or the source returns other shapes
            than it said.
        """
        if isinstance(wanted, slice):
            return self._checked(self._piece(wanted.start, wanted.stop))
        if getattr(self.source, "takes_indices", False):
            piece = np.asarray(self.source[wanted])
            shape = self._source_shape
            check_piece(
                piece.shape, (len(wanted), *shape[1:]), "X[indices]", "X", shape
            )
            return self._checked(piece)
        image_bytes = self.dtype.itemsize * int(np.prod(self.shape[1:]))
        length = max(1, PIECE_BYTES // image_bytes)
        pieces, done = [], 0
        while done < len(wanted):
            start = int(wanted[done])
            end = int(np.searchsorted(wanted, start + length))
            last = int(wanted[end - 1])
            piece = self._piece(start, last + 1)
            pieces.append(piece[wanted[done:end] - start])
            done = end
        return self._checked(np.concatenate(pieces))

    def _piece(self, start: int, stop: int) -> np.ndarray:
        piece = read_piece(self.source, slice(start, stop), self._source_shape)
        return np.asarray(piece)

    def _checked(self, images: np.ndarray) -> np.ndarray:
        # copies a view of a memory map, because results may share memory with it
        images = converted(images, self.dtype)
        forget_pages(self.source)
        assert_all_finite(images, estimator_name=self.estimator_name, input_name="X")
        images = images.reshape(-1, *self.shape[1:])
        self.observe(images)
        return images
