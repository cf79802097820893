"""Transfer of arrays between the host and a GPU during computations."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import cupy
import numpy as np

from skdmn.utils.array_api import Array
from skdmn.utils.threads import copy

_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation


class Sent(NamedTuple):
    """A copy in progress; neither array may be used or freed before event `done`."""

    here: np.ndarray
    there: Array
    done: Any


class _Way:
    """A stream of copies that keeps the arrays of unfinished ones alive."""

    def __init__(self) -> None:
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self._moving: deque[Sent] = deque()

    def begin(self) -> None:
        """Let the next copy wait for the computations started so far."""
        self.stream.wait_event(cupy.cuda.get_current_stream().record())

    def end(self, here: np.ndarray, there: Array) -> Sent:
        """Record a copy that was started; wait for the oldest of three."""
        sent = Sent(here, there, self.stream.record())
        self._moving.append(sent)
        if len(self._moving) > 2:
            self._moving.popleft().done.synchronize()
        return sent

    def wait(self) -> None:
        """Wait for all copies."""
        self.stream.synchronize()
        self._moving.clear()


class Link:
    """Transfer of arrays from the host to a GPU and back while it computes.

    Arrays go through pinned host memory, which asynchronous copies need. Each direction
    has a stream.

    Parameters
    ----------
    device : cupy.cuda.Device
    """

    ahead = True
    advice = "pass smaller images, fewer filters or device='cpu'"

    def __init__(self, device: Any) -> None:
        self.device = device
        with device:
            self._up, self._down = _Way(), _Way()

    def send(self, array: np.ndarray) -> Sent:
        """Start to copy an array to the GPU."""
        dtype = array.dtype.newbyteorder("=")
        if dtype.kind == "f" and dtype.itemsize > 8:
            dtype = np.dtype(np.float64)
        with self.device:
            there = cupy.empty(array.shape, dtype)
            # computations may still use the array that had this memory before
            self._up.begin()
            here = _pinned(array.shape, dtype)
            copy(here, array)
            there.set(here, stream=self._up.stream)
            return self._up.end(here, there)

    def receive(self, sent: Sent) -> Array:
        """Return an array that was sent; later computations wait for the copy."""
        with self.device:
            cupy.cuda.get_current_stream().wait_event(sent.done)
        return sent.there

    def fetch(self, array: Array) -> Sent:
        """Start to copy an array to the host after the computations started so far."""
        with self.device:
            array = cupy.ascontiguousarray(array)
            self._down.begin()
            here = _pinned(array.shape, array.dtype)
            array.get(stream=self._down.stream, out=here, blocking=False)
            return self._down.end(here, array)

    def collect(self, fetched: Sent) -> np.ndarray:
        """Wait for an array that was fetched and return it."""
        fetched.done.synchronize()
        return fetched.here

    def wait(self) -> None:
        """Wait for all copies in both directions."""
        with self.device:
            self._up.wait()
            self._down.wait()


def free_bytes(device: Any) -> int:
    """Return the bytes that new arrays can take on a GPU."""
    pool = cupy.get_default_memory_pool()
    with device:
        free = device.mem_info[0] + pool.free_bytes()
        limit = pool.get_limit()
        return min(free, limit - pool.used_bytes()) if limit else free


def _pinned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return an array in pinned memory, or in pageable memory if that runs out.

    Copies to and from pageable memory are slower and block, but give the same.
    """
    size = int(np.prod(shape)) * dtype.itemsize
    try:
        memory = cupy.cuda.alloc_pinned_memory(size)
    except cupy.cuda.runtime.CUDARuntimeError as error:
        if error.status != _OUT_OF_MEMORY:
            raise
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, buffer=memory)
