"""Features that are computed when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from skdmn.core.backend import Array, take, to_numpy, to_place
from skdmn.layers.images import rows
from skdmn.stages import Stream


class LazyFeatures:
    """Features that are computed when they are asked for, some rows at a time.

    `DensityMatrixNetwork.lazy_features` makes them. They have the shape and dtype of
    an array, are sliced and indexed along their rows like one, and iterated over in
    batches of consecutive rows. ``numpy.asarray`` computes them all.

    Parameters
    ----------
    stream : Stream
        The images, and the stages that make features of them.

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
        dtype = getattr(stream.place.xp, stream.dtype)
        self.dtype = np.dtype(dtype) if stream.place.is_numpy else dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Array]:
        for _, batch in self._stream.float_batches():
            yield rows(to_place(batch, self._stream.place))

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
        wanted = np.arange(len(self))[some]
        if wanted.ndim > 1 or isinstance(some, tuple):
            raise IndexError(
                f"{some!r} is not an index of rows; pass one number, slice, mask or "
                "1D array, and take columns of the result."
            )
        # files are read in ascending order
        chosen, order = np.unique(wanted, return_inverse=True)
        if not len(chosen):
            xp, device = self._stream.place
            return xp.empty((0, self.shape[1]), dtype=self.dtype, device=device)
        found = rows(replace(self._stream, chosen=chosen).collect())
        if wanted.ndim == 0:
            return found[0, ...]
        if len(order) == len(chosen) and (order[:-1] < order[1:]).all():
            return found
        return take(found, order, axis=0)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Compute all rows, as a NumPy array."""
        if copy is False:
            raise ValueError("Lazy features are computed, which copy=False forbids.")
        return np.asarray(to_numpy(rows(self._stream.collect())), dtype=dtype)

    def __repr__(self) -> str:
        return f"LazyFeatures(shape={self.shape}, dtype={self.dtype})"
