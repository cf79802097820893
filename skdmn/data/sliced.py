"""Images in files: arrays that can be sliced, and are never read whole."""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np
import scipy.sparse
from sklearn.utils import assert_all_finite

from skdmn.data.rows import forget_pages

PIECE_BYTES = 2**24  # read at a time where single images are picked


def is_sliceable(X: Any) -> bool:
    """Whether X is numbers to be read by slices: a memory map, or of another library.

    HDF5 datasets and Zarr arrays are; arrays in memory, sparse matrices and data frames
    are not.
    """
    if not isinstance(X, np.memmap) and array_api_compat.is_array_api_obj(X):
        return False
    if scipy.sparse.issparse(X) or not hasattr(X, "__getitem__"):
        return False
    shape, dtype = getattr(X, "shape", None), getattr(X, "dtype", None)
    if not isinstance(shape, tuple) or not isinstance(dtype, np.dtype):
        return False
    return len(shape) in (2, 3, 4) and dtype.kind in "biuf"


class Sliced:
    """Reads a sliceable array piece by piece, as checked NumPy arrays.

    Parameters
    ----------
    source : object with shape, dtype and slicing along the first axis
    estimator_name : str
        For the message about NaN.
    shape : tuple of int or None
        What it is to be seen as, where that is not its own shape.
    """

    def __init__(
        self, source: Any, estimator_name: str, shape: tuple[int, ...] | None = None
    ) -> None:
        self.source = source
        self.estimator_name = estimator_name
        self.shape = tuple(source.shape) if shape is None else shape
        self.ndim = len(self.shape)
        self.dtype = source.dtype.newbyteorder("=")

    def reshaped(self, shape: tuple[int, ...]) -> Sliced:
        """Return the same images, seen in another shape."""
        return Sliced(self.source, self.estimator_name, shape)

    def read(self, wanted: slice | np.ndarray) -> np.ndarray:
        """Read a slice, or the images at some ascending indices.

        Raises
        ------
        ValueError
            Where an image has NaN or infinity.
        """
        if isinstance(wanted, slice):
            return self._checked(self.source[wanted])
        image_bytes = self.dtype.itemsize * int(np.prod(self.shape[1:]))
        length = max(1, PIECE_BYTES // image_bytes)
        pieces, at = [], 0
        while at < len(wanted):
            start = int(wanted[at])
            end = int(np.searchsorted(wanted, start + length))
            last = int(wanted[end - 1])
            piece = np.asarray(self.source[start : last + 1])
            pieces.append(piece[wanted[at:end] - start])
            at = end
        return self._checked(np.concatenate(pieces))

    def _checked(self, images: Any) -> np.ndarray:
        # a copy where `images` is a view of a memory map: results may share its memory
        images = np.array(images, dtype=self.dtype)
        forget_pages(self.source)
        assert_all_finite(images, estimator_name=self.estimator_name, input_name="X")
        return images.reshape(-1, *self.shape[1:])
