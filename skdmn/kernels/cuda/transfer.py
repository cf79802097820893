"""Transfer of arrays between the host and a GPU, while it computes."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import cupy
import numpy as np

from skdmn.utils.array_api import Array


class Sent(NamedTuple):
    """An array on its way: neither side is to be used or freed before `done`."""

    here: np.ndarray
    there: Array
    done: Any


class _Way:
    """A stream of copies, which remembers those that may not be done."""

    def __init__(self) -> None:
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self._moving: deque[Sent] = deque()

    def begin(self) -> None:
        """Let copies wait for what is computed at present."""
        self.stream.wait_event(cupy.cuda.get_current_stream().record())

    def end(self, here: np.ndarray, there: Array) -> Sent:
        """Remember a copy that was started; wait for the last but one."""
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
    """Moves arrays from the host to a GPU and back while it computes on others.

    It does so through memory that the system never moves, as copies by the GPU itself
    need, and by a stream each way.

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
        """Start to move an array to the GPU."""
        dtype = array.dtype.newbyteorder("=")
        if dtype.kind == "f" and dtype.itemsize > 8:
            dtype = np.dtype(np.float64)
        with self.device:
            there = cupy.empty(array.shape, dtype)
            # what had its memory before may still be computed on
            self._up.begin()
            here = _pinned(array.shape, dtype)
            np.copyto(here, array)
            there.set(here, stream=self._up.stream)
            return self._up.end(here, there)

    def receive(self, sent: Sent) -> Array:
        """Return an array that was sent; what is computed from now on waits for it."""
        with self.device:
            cupy.cuda.get_current_stream().wait_event(sent.done)
        return sent.there

    def fetch(self, array: Array) -> Sent:
        """Start to move an array to the host, once it is computed."""
        with self.device:
            array = cupy.ascontiguousarray(array)
            self._down.begin()
            here = _pinned(array.shape, array.dtype)
            array.get(stream=self._down.stream, out=here, blocking=False)
            return self._down.end(here, array)

    def collect(self, fetched: Sent) -> np.ndarray:
        """Return an array that was fetched."""
        fetched.done.synchronize()
        return fetched.here

    def wait(self) -> None:
        """Wait for all that is on its way."""
        with self.device:
            self._up.wait()
            self._down.wait()


def free_bytes(device: Any) -> int:
    """Return how much memory arrays can still take on a GPU."""
    pool = cupy.get_default_memory_pool()
    with device:
        free = device.mem_info[0] + pool.free_bytes()
        limit = pool.get_limit()
        return min(free, limit - pool.used_bytes()) if limit else free


def _pinned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    size = int(np.prod(shape)) * dtype.itemsize
    memory = cupy.cuda.alloc_pinned_memory(size)
    return np.ndarray(shape, dtype, buffer=memory)
