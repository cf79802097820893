"""Images that were checked, and how they are read batch by batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import joblib
import numpy as np
from sklearn.utils import gen_batches

from skdmn.data import sizes, transfer
from skdmn.data.sliced import Sliced
from skdmn.utils.array_api import (
    Array,
    Backend,
    float_dtype,
    own_backend,
    take,
    to_numpy,
)
from skdmn.utils.threads import copy
from skdmn.utils.validation import (
    Shape,
)


@dataclass(frozen=True)
class Images:
    """Images that were checked, and where to compute on them.

    Attributes
    ----------
    data : array or Sliced of shape (n, height, width, channels)
        A view of X, with its array namespace, device and dtype.
    backend : Backend
        Array namespace and device of the data, where results go.
    compute : Backend
        Array namespace and device of computation.
    dtype : {"float32", "float64"}
        Dtype of computation.
    chosen : ndarray of int, or None
        Sorted indices of the images that count; None for all.
    """

    data: Array
    backend: Backend
    compute: Backend
    dtype: str
    chosen: np.ndarray | None = None

    @classmethod
    def of(cls, X: Array, shape: Shape, backend: Backend, compute: Backend) -> Images:
        """Look at checked images or rows as images of a shape."""
        wide = float_dtype(X, backend.xp) == backend.xp.float64
        shape_of_all = (X.shape[0], *shape)
        data = (
            X.reshaped(shape_of_all)
            if isinstance(X, Sliced)
            else backend.xp.reshape(X, shape_of_all)
        )
        return cls(data, backend, compute, "float64" if wide else "float32")

    def __len__(self) -> int:
        return int(self.data.shape[0]) if self.chosen is None else len(self.chosen)

    @property
    def shape(self) -> Shape:
        """Height, width and channels."""
        height, width, channels = self.data.shape[1:]
        return height, width, channels

    def read(self, some: slice) -> Array:
        """Return some of the images that count, unconverted, where they lie."""
        wanted = some if self.chosen is None else self.chosen[some]
        if isinstance(self.data, Sliced):
            return self.data.read(wanted)
        if isinstance(wanted, slice):
            return self.data[wanted, ...]
        return take(self.data, wanted, axis=0)

    def batch_size(self, values_per_image: int = 0) -> int:
        """Return how many images make a batch; see `batches`."""
        size = sizes.batch_bytes(self.compute, sizes.BATCH_BYTES)
        return max(1, size // self._float_bytes(values_per_image))

    def _float_bytes(self, values_per_image: int = 0) -> int:
        floats = math.prod(self.shape) + values_per_image
        return floats * (8 if self.dtype == "float64" else 4)

    def batches(
        self,
        values_per_image: int = 0,
        function: Callable[[Array], Array] | None = None,
    ) -> Iterator[tuple[slice, Array]]:
        """Yield slices and their images, unconverted, on the device of computation.

        Parameters
        ----------
        values_per_image : int
            Number of floats that each image becomes, besides its own pixels.
        function : callable or None
            Applied to the images of a batch, to yield its result instead of them. If
            memory runs out in it, it is called again with smaller batches.
        """
        compute = self._prepared
        if function is not None:

            def compute(batch: Array) -> Array:
                return function(self._prepared(batch))

        size = self.batch_size(values_per_image)
        return transfer.batches(len(self), size, self.read, compute, self._link)

    def _prepared(self, batch: Array) -> Array:
        """Return what is made of a batch before anything else."""
        return batch

    @property
    def _link(self) -> transfer.Link:
        return transfer.link(self.backend, self.compute)

    def fingerprint(self) -> str:
        """Hash the images that count, some at a time, wherever they lie."""
        size = max(1, sizes.BATCH_BYTES // self._float_bytes())
        hashes = [
            joblib.hash(np.ascontiguousarray(to_numpy(self.read(some))))
            for some in gen_batches(len(self), size)
        ]
        return joblib.hash((hashes, self.dtype))

    def float_batches(
        self,
        values_per_image: int = 0,
        function: Callable[[Array], Array] | None = None,
    ) -> Iterator[tuple[slice, Array]]:
        """Yield slices and their images as floats; see `batches`."""
        xp = self.compute.xp

        def compute(batch: Array) -> Array:
            batch = xp.astype(batch, getattr(xp, self.dtype), copy=False)
            return batch if function is None else function(batch)

        return self.batches(values_per_image, compute)

    def map(
        self,
        function: Callable[[Array], Array] | None,
        shape: tuple[int, ...],
        any_dtype: bool = False,
    ) -> Array:
        """Apply a function to all images, batch by batch.

        Parameters
        ----------
        function : callable or None
            Takes float images (n, height, width, channels), returns (n, *shape). None
            returns the batches as they are.
        shape : tuple of int
        any_dtype : bool
            Whether the function takes images of any dtype and any number of them at
            once, which it then goes through in small pieces by itself.

        Returns
        -------
        array of shape (n, *shape), in the array namespace and on the device of the data
        """
        in_reach = self.compute == self.backend and not isinstance(self.data, Sliced)
        if any_dtype and in_reach and self.chosen is None and function is not None:
            return function(self.data)
        xp, out = self.backend.xp, None
        batches = self.batches if any_dtype else self.float_batches
        parts = batches(math.prod(shape), function)
        if self._link.ahead or self.compute != self.backend:
            parts = transfer.results(parts, self._link)
        for some, part in parts:
            # one batch: nothing to put together
            if part.shape[0] == len(self) and self.backend == self.compute:
                # a window of one pixel, say, is a view of the user's images
                shared = isinstance(self.data, np.ndarray) and np.may_share_memory(
                    part, self.data
                )
                return part.copy() if shared else part
            if out is None:
                dtype = getattr(xp, self.dtype)
                out = xp.empty(
                    (len(self), *shape), dtype=dtype, device=self.backend.device
                )
            if isinstance(out, np.ndarray) and self.compute != self.backend:
                copy(out[some], part)
            else:
                out[some, ...] = part
        return out


def rows(images: Array) -> Array:
    """Flatten each image, in C order."""
    xp = own_backend(images).xp
    return xp.reshape(images, (images.shape[0], math.prod(images.shape[1:])))
