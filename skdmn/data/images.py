"""Checked images and their shapes, as layers pass them on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import joblib
import numpy as np
from sklearn.utils import gen_batches

from skdmn.data import transfer
from skdmn.data.sliced import Sliced
from skdmn.utils.array_api import (
    Array,
    Backend,
    float_dtype,
    own_backend,
    take,
    to_numpy,
    working_memory,
)
from skdmn.utils.validation import (
    Shape,
)

BATCH_BYTES = 64 * 2**20  # input and output of a batch, together


@dataclass(frozen=True)
class Images:
    """Checked images, in place, and where to compute on them.

    Attributes
    ----------
    data : array or Sliced of shape (n, height, width, channels)
        A view of what the user gave, of its library, device and dtype.
    place, compute : Place
        Where the data lies (and results go), where batches are computed.
    dtype : {"float32", "float64"}
        What they are computed in.
    chosen : ndarray of int, or None
        Indices of the images that count, all where None.
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
        size = transfer.batch_bytes(self.compute, BATCH_BYTES)
        size = min(size, working_memory() // 2)
        return max(1, size // self._float_bytes(values_per_image))

    def _float_bytes(self, values_per_image: int = 0) -> int:
        floats = math.prod(self.shape) + values_per_image
        return floats * (8 if self.dtype == "float64" else 4)

    def batches(
        self,
        values_per_image: int = 0,
        function: Callable[[Array], Array] | None = None,
    ) -> Iterator[tuple[slice, Array]]:
        """Yield slices and their images, unconverted, where they are computed.

        Parameters
        ----------
        values_per_image : int
            How many floats each image becomes, besides its own pixels.
        function : callable or None
            What to yield of a batch instead of its images. Here, unlike outside, it
            gets smaller batches where memory runs out.
        """

        def compute(batch: Array) -> Array:
            batch = self._prepared(batch)
            return batch if function is None else function(batch)

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
        size = max(1, BATCH_BYTES // self._float_bytes())
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
        function: Callable[[Array], Array],
        shape: tuple[int, ...],
        any_dtype: bool = False,
    ) -> Array:
        """Apply a function to all images, batch by batch.

        Parameters
        ----------
        function : callable
            Takes float images (n, height, width, channels), returns (n, *shape).
        shape : tuple of int
        any_dtype : bool
            Whether it takes images as they are, and any number of them at once, which
            it then goes through in small pieces by itself.

        Returns
        -------
        array of shape (n, *shape), where the data lies
        """
        in_reach = self.compute == self.backend and not isinstance(self.data, Sliced)
        if any_dtype and in_reach and self.chosen is None:
            return function(self.data)
        xp, out = self.backend.xp, None
        batches = self.batches if any_dtype else self.float_batches
        parts = batches(math.prod(shape), function)
        for some, part in transfer.results(parts, self._link):
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
            out[some, ...] = part
        return out


def rows(images: Array) -> Array:
    """Flatten each image, in C order."""
    xp = own_backend(images).xp
    return xp.reshape(images, (images.shape[0], math.prod(images.shape[1:])))
