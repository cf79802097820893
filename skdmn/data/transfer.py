"""Transfer of batches to the device of computation, and of results back.

While a GPU computes one batch, the next one is sent and the previous result is
returned. If memory runs out, batches are halved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from skdmn.data.sizes import is_cupy
from skdmn.utils.array_api import Array, Backend, to_backend

Read = Callable[[slice], Array]
Compute = Callable[[Array], Any]


class Link(Protocol):
    """Transfers of arrays between two devices."""

    @property
    def ahead(self) -> bool:
        """True if transfers overlap with computations."""

    @property
    def advice(self) -> str:
        """Advice for the error message if memory runs out."""

    def send(self, array: Array) -> Any:
        """Start the transfer of an array to the device of computation."""

    def receive(self, sent: Any) -> Array:
        """Return an array that was sent."""

    def fetch(self, array: Array) -> Any:
        """Start the transfer of a result back."""

    def collect(self, fetched: Any) -> Array:
        """Return a result that was fetched; its memory is reused, so copy it."""

    def wait(self) -> None:
        """Wait for all transfers to end."""


class Direct(NamedTuple):
    """Transfers that end before the call returns."""

    backend: Backend
    compute: Backend
    ahead: bool = False
    advice: str = "pass smaller images or fewer filters"

    def send(self, array: Array) -> Array:
        """Transfer an array to the device of computation."""
        return to_backend(array, self.compute)

    def receive(self, sent: Array) -> Array:
        """Return an array that was sent."""
        return sent

    def fetch(self, array: Array) -> Array:
        """Transfer a result back."""
        return to_backend(array, self.backend)

    def collect(self, fetched: Array) -> Array:
        """Return a result that was fetched."""
        return fetched

    def wait(self) -> None:
        """Do nothing: no transfer is pending."""


def link(backend: Backend, compute: Backend) -> Link:
    """Return the transfers from one namespace and device to another, and back."""
    if backend.is_numpy and is_cupy(compute):
        from skdmn.kernels.cuda.transfer import Link

        return Link(compute.device)
    return Direct(backend, compute)


def fits(backend: Backend, n_bytes: int) -> bool:
    """Whether an array of some bytes can stay on a GPU while it is computed on.

    False if the backend is no GPU whose free memory is known.
    """
    if not is_cupy(backend):
        return False
    from skdmn.kernels.cuda.transfer import free_bytes

    return 2 * n_bytes <= free_bytes(backend.device)


def batches(
    n: int, size: int, read: Read, compute: Compute, link: Link
) -> Iterator[tuple[slice, Any]]:
    """Compute batch after batch, while the next one is being transferred.

    Parameters
    ----------
    n, size : int
        Number of images, and of images in a batch.
    read : callable
        Takes a slice; returns its images.
    compute : callable
        Takes the images of a batch on the device of computation. If it raises
        MemoryError, it is called again with smaller batches.
    link : Link
        Transfers to the device of computation.

    Yields
    ------
    some : slice
        Indices of the images in the batch.
    result : object
        Result of `compute`.

    Raises
    ------
    MemoryError
        If memory does not suffice for a single image.
    """

    def step(some: slice, sent: Any) -> tuple[Any, Any] | None:
        """Compute a batch; return None if memory runs out.

        The error is gone when this returns, and with it the arrays that its traceback
        held. CuPy's error is a MemoryError, raised after its pool was emptied.
        """
        try:
            batch = link.receive(link.send(read(some)) if sent is None else sent)
            more = link.ahead and some.stop < n
            after = slice(some.stop, min(some.stop + size, n))
            ahead = link.send(read(after)) if more else None
            return compute(batch), ahead
        except MemoryError:
            return None

    start, sent = 0, None
    try:
        while start < n:
            some = slice(start, min(start + size, n))
            done = step(some, sent)
            if done is None:
                sent, size = None, (some.stop - start) // 2
                link.wait()
                if not size:
                    raise MemoryError(
                        "Memory does not suffice for one image and its features; "
                        f"{link.advice}."
                    )
                continue
            part, sent = done
            del done
            yield some, part
            del part
            start = some.stop
    finally:
        link.wait()


def results(
    parts: Iterable[tuple[slice, Array]], link: Link
) -> Iterator[tuple[slice, Array]]:
    """Transfer results back, each one while the next one is computed.

    Parameters
    ----------
    parts : iterable of (slice, array)
        Results of `batches`.
    link : Link
        Transfers back.

    Yields
    ------
    some : slice
        Indices of the images.
    result : array
        Result; copy it at once if it comes from a GPU, because its memory is reused.
    """
    pending: deque[tuple[slice, Any]] = deque()
    try:
        for some, part in parts:
            pending.append((some, link.fetch(part)))
            if len(pending) > link.ahead:
                some, fetched = pending.popleft()
                yield some, link.collect(fetched)
        for some, fetched in pending:
            yield some, link.collect(fetched)
    finally:
        link.wait()
