"""Batches on their way to where they are computed, and back.

While one batch is computed on a GPU, the next one goes there and the last one comes
back. Where memory runs out, batches are halved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import array_api_compat

from skdmn.utils.array_api import Array, Backend, to_backend

# of a batch on a GPU: so few that several are on their way at a time, so many that
# starting kernels takes no time beside running them
GPU_BYTES = 2**27
_SHARE = 8  # of the free memory: batches before and behind, and what is in between

Read = Callable[[slice], Array]
Compute = Callable[[Array], Any]


class Link(Protocol):
    """Moves arrays between two places."""

    @property
    def ahead(self) -> bool:
        """Whether arrays move while others are computed."""

    @property
    def advice(self) -> str:
        """What to do where memory does not suffice."""

    def send(self, array: Array) -> Any:
        """Start to move an array to where it is computed."""

    def receive(self, sent: Any) -> Array:
        """Return an array that was sent."""

    def fetch(self, array: Array) -> Any:
        """Start to move an array back."""

    def collect(self, fetched: Any) -> Array:
        """Return an array that was fetched, to be copied."""

    def wait(self) -> None:
        """Wait for all that is on its way."""


class Direct(NamedTuple):
    """Moves arrays at once."""

    here: Backend
    there: Backend
    ahead: bool = False
    advice: str = "pass smaller images or fewer filters"

    def send(self, array: Array) -> Array:
        """Move an array to where it is computed."""
        return to_backend(array, self.there)

    def receive(self, sent: Array) -> Array:
        """Return an array that was sent."""
        return sent

    def fetch(self, array: Array) -> Array:
        """Move an array back."""
        return to_backend(array, self.here)

    def collect(self, fetched: Array) -> Array:
        """Return an array that was fetched."""
        return fetched

    def wait(self) -> None:
        """Nothing is on its way."""


def link(here: Backend, there: Backend) -> Link:
    """Return what moves arrays from here to there, and back."""
    if here.is_numpy and _is_cupy(there):
        from skdmn.kernels.cuda.transfer import Link

        return Link(there.device)
    return Direct(here, there)


def batch_bytes(backend: Backend, otherwise: int) -> int:
    """Return how many bytes of floats a batch is to have, in and out.

    Parameters
    ----------
    place : Place
        Where it is computed.
    otherwise : int
        The answer where that is not a GPU whose free memory is known.
    """
    if not _is_cupy(backend):
        return otherwise
    from skdmn.kernels.cuda.transfer import free_bytes

    return min(GPU_BYTES, free_bytes(backend.device) // _SHARE)


def batches(
    n: int, size: int, read: Read, compute: Compute, link: Link
) -> Iterator[tuple[slice, Any]]:
    """Compute batch after batch, the next one being on its way.

    Parameters
    ----------
    n, size : int
        How many images there are, and are to be in a batch.
    read : callable
        Returns the images of a slice.
    compute : callable
        Takes the images of a batch, where the link moved them. Called again for
        smaller batches where it raises MemoryError.
    link : Link

    Yields
    ------
    slice, object
        Of a batch, and what `compute` returned.

    Raises
    ------
    MemoryError
        Where a single image is too much.
    """

    def step(some: slice, sent: Any) -> tuple[Any, Any]:
        batch = link.receive(link.send(read(some)) if sent is None else sent)
        more = link.ahead and some.stop < n
        after = slice(some.stop, min(some.stop + size, n))
        ahead = link.send(read(after)) if more else None
        return compute(batch), ahead

    start, sent = 0, None
    try:
        while start < n:
            some = slice(start, min(start + size, n))
            done = _unless_memory_runs_out(step, some, sent)
            if done is None:
                sent, size = None, (some.stop - start) // 2
                link.wait()
                if not size:
                    raise MemoryError(
                        "Memory does not suffice for one image and what is computed "
                        f"of it; {link.advice}."
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
    """Move what was computed back, each part while the next one is computed.

    Yields
    ------
    slice, array
        In memory that is to be given back soon, where arrays come from a GPU.
    """
    before: deque[tuple[slice, Any]] = deque()
    try:
        for some, part in parts:
            before.append((some, link.fetch(part)))
            if len(before) > link.ahead:
                some, fetched = before.popleft()
                yield some, link.collect(fetched)
        for some, fetched in before:
            yield some, link.collect(fetched)
    finally:
        link.wait()


def _unless_memory_runs_out(function: Callable, *arguments: Any) -> Any:
    """Call a function; return None where memory runs out.

    Once the error is gone, so are the arrays that its traceback held. CuPy's error is
    a MemoryError, and raised after it gave back all memory that it kept for later.
    """
    try:
        return function(*arguments)
    except MemoryError:
        return None


def _is_cupy(backend: Backend) -> bool:
    return bool(array_api_compat.is_cupy_namespace(backend.xp))
