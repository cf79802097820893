"""Images that pass through operations batch by batch, when they are accessed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import joblib

from skdmn.data import sizes
from skdmn.data.images import Images
from skdmn.operations.fusion import needs_no_batches, planned
from skdmn.operations.records import AverageFlips, Concatenate, Operation, run
from skdmn.utils.array_api import Array
from skdmn.utils.memory import in_words
from skdmn.utils.remember import remembered
from skdmn.utils.validation import Shape, times, warn_user

Batches = Iterable[tuple[slice, Array]]


def unwatched(batches: Batches) -> Batches:
    """Return batches unchanged."""
    return batches


@dataclass(frozen=True, kw_only=True)
class Stream(Images):
    """Images whose batches pass through operations when they are accessed.

    Attributes
    ----------
    operations : tuple of Operation
        Operations, planned for the device of the computation. If empty, batches are
        the images themselves.
    seen_as : (int, int, int)
        Height, width and channels of the output. One-dimensional signals are passed on
        as rows of one channel.
    n_per_batch : int or "auto"
        Number of images in a batch. "auto" takes as many as fit in the size that
        `skdmn.data.sizes` gives.
    watch : callable
        Generator that takes the batches and yields them, to report progress.
    """

    operations: tuple[Operation, ...]
    seen_as: Shape
    n_per_batch: int | Literal["auto"]
    watch: Callable[[Batches], Batches] = unwatched

    @classmethod
    def through(
        cls,
        images: Images,
        operations: Iterable[Operation],
        seen_as: Shape,
        n_per_batch: int | Literal["auto"],
    ) -> Stream:
        """Return a stream of images through operations that are not planned yet."""
        return cls(
            images.data,
            images.backend,
            images.compute,
            images.dtype,
            images.chosen,
            operations=planned(operations, images.compute, images.dtype),
            seen_as=seen_as,
            n_per_batch=n_per_batch,
        )

    @property
    def shape(self) -> Shape:
        """Height, width and channels of the images in the batches."""
        return self.seen_as

    def read(self, some: slice) -> Array:
        """Return some of the chosen images; read them as a slice if consecutive."""
        if self.chosen is None:
            return super().read(some)
        wanted = self.chosen[some]
        if wanted[-1] - wanted[0] > len(wanted) - 1:
            return super().read(some)
        consecutive = slice(int(wanted[0]), int(wanted[-1]) + 1)
        return replace(self._images(), chosen=None).read(consecutive)

    def batch_size(self, values_per_image: int = 0) -> int:
        """Return the number of images in a batch."""
        if self.n_per_batch != "auto":
            return self.n_per_batch
        size = sizes.batch_bytes(self.compute, sizes.STREAM_BYTES)
        return max(1, size // self._image_bytes(values_per_image))

    def _image_bytes(self, values_per_image: int = 0) -> int:
        """Return the bytes that one image needs in a batch, at most and about."""
        # the consumer of the batches computes about as many values again
        largest = math.prod(self.shape) + max(math.prod(self.shape), values_per_image)
        largest = max(largest, _most_values(self.operations, self._images().shape))
        # input, output, and an intermediate copy: padded, of one class, or in float64
        return 3 * largest * (8 if self.dtype == "float64" else 4)

    def warn_of_a_large_image(self, name: str) -> bool:
        """Warn if a single image needs more than a batch may; return True if it does.

        `name` is that of the estimator, for the message.
        """
        allowed, needed = 2 * sizes.allowed(sizes.STREAM_BYTES), self._image_bytes()
        if self.n_per_batch != "auto" or needed <= allowed:
            return False
        warn_user(
            f"{name} needs up to {in_words(needed)} for one image of "
            f"{times(self._images().shape)}, more than the {in_words(allowed)} that "
            "its batches need otherwise; pass smaller images, or batch_size=1 if there "
            "is enough memory."
        )
        return True

    def batches(
        self,
        values_per_image: int = 0,
        function: Callable[[Array], Array] | None = None,
    ) -> Iterator[tuple[slice, Array]]:
        """Yield slices and the output of the last operation for their images."""
        batches = super().batches(values_per_image, function)
        return iter(batches if self.watch is unwatched else self.watch(batches))

    def _prepared(self, batch: Array) -> Array:
        """Return the output of the last operation for a batch."""
        if self.operations:
            batch = run(self.operations, batch, self.dtype)
        return self.compute.xp.reshape(batch, (batch.shape[0], *self.seen_as))

    def collect(self) -> Array:
        """Return the output for all chosen images, on the device of X."""
        if (
            self.operations
            and self.n_per_batch == "auto"
            and needs_no_batches(self.operations)
        ):
            return self._images().map(self._prepared, self.seen_as, any_dtype=True)
        if not self.operations:
            return self.map(lambda batch: batch, self.shape)  # as floats
        return self.map(None, self.shape, any_dtype=True)

    def _images(self) -> Images:
        """Return the images, without operations."""
        return Images(self.data, self.backend, self.compute, self.dtype, self.chosen)

    def fingerprint(self) -> str:
        """Hash the chosen images and the operations, without running these."""
        return joblib.hash((self._images().fingerprint(), self.model_fingerprint()))

    def model_fingerprint(self) -> str:
        """Hash the operations."""
        return joblib.hash([operation.on_host() for operation in self.operations])


@remembered(8)
def _most_values(operations: tuple[Operation, ...], shape: Shape) -> int:
    """Return the largest number of input and output values of an operation."""
    most = 0
    for operation in operations:
        if isinstance(operation, AverageFlips):
            most = max(most, _most_values(operation.operations, shape))
        if isinstance(operation, Concatenate):
            most = max(most, *(_most_values(one, shape) for one in operation.branches))
        after = operation.output_shape(shape)
        most = max(most, math.prod(shape) + math.prod(after))
        shape = after
    return most
