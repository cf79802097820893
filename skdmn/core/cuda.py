"""Convolution and pooling for GPUs, and the way there and back, through CuPy.

`convolve` and `max_pool` compute what `core.convolve` defines, in one pass: a block of
threads convolves a tile from shared memory, pools it there, and writes it once. The
kernels are in cuda.cu, how they are cut up in `core.tiling`.
"""

from __future__ import annotations

import functools
from collections import deque
from importlib.resources import files
from typing import Any, Literal, NamedTuple

import cupy
import numpy as np

from skdmn.core import convolve as definition
from skdmn.core.backend import Array
from skdmn.core.convolve import Padding, Pair, Window
from skdmn.core.tiling import WARP, Geometry, arranged, tiled, whole

_READ = {
    "b1": "unsigned char",
    "u1": "unsigned char",
    "i1": "signed char",
    "u2": "unsigned short",
    "i2": "short",
    "i4": "int",
    "i8": "long long",
    "f2": "Half",
    "f4": "float",
    "f8": "double",
}
_GRID = 2**31 - 1  # blocks of threads, at most


def convolve(
    images: Array,
    filters: Array,
    stride: Pair,
    padding: Padding,
    activation: Literal["relu"] | None,
    window: Window,
) -> Array:
    """Convolve, then pool; see `core.convolve.convolve_and_pool`."""
    n_filters, *size, _ = filters.shape
    shape, itemsize = images.shape[1:], filters.dtype.itemsize
    g = tiled(
        whole(shape, n_filters, (size[0], size[1]), stride, padding, window), itemsize
    )
    # filters of a thousand pixels are as fast as matrix products, and windows of a
    # thousand positions leave little to write
    if g is None:
        return definition.convolve_and_pool(
            images, filters, stride, padding, activation, window
        )
    with images.device:
        weights = arranged(filters, g, cupy)
        return _run(
            f"convolve<{{}}, {{}}, {size[1]}>",
            images,
            (weights,),
            filters.dtype,
            0 if activation == "relu" else -np.inf,
            (g.jobs(len(images)), g.threads(itemsize), g.shared_bytes(itemsize)),
            g,
        )


def max_pool(images: Array, window: Window, dtype: Any) -> Array:
    """Keep the largest value of every window; see `core.convolve.max_pool`."""
    g = whole(images.shape[1:], images.shape[3], (1, 1), (1, 1), "valid", window)
    threads = min(-(-g.out_columns * g.channels // WARP) * WARP, 256)
    launch = len(images) * g.out_rows, threads, 0
    with images.device:
        return _run("max_pool<{}, {}>", images, (), dtype, -np.inf, launch, g)


def _run(
    name: str,
    images: Array,
    operands: tuple[Array, ...],
    dtype: Any,
    start: float,
    launch: tuple[int, int, int],
    g: Geometry,
) -> Array:
    """Launch blocks of threads, of a size and with shared memory, for all images."""
    dtype = np.dtype(dtype)
    if images.dtype.str[1:] not in _READ:
        images = images.astype(dtype)
    images = cupy.ascontiguousarray(images)
    n, out = len(images), cupy.empty((len(images), *g.out_shape), dtype)
    if not out.size:
        return out
    blocks, threads, shared = launch
    kernel = _kernel(name.format(*(_READ[t.str[1:]] for t in (images.dtype, dtype))))
    arguments = (images, *operands, out, dtype.type(start), np.int64(n), _by_value(g))
    kernel((min(blocks, _GRID),), (threads,), arguments, shared_mem=shared)
    return out


@functools.cache
def _kernel(name: str) -> Any:
    source = files("skdmn.core").joinpath("cuda.cu").read_text(encoding="utf-8")
    options = ("--std=c++17",)
    module = cupy.RawModule(code=source, options=options, name_expressions=[name])
    return module.get_function(name)


def _by_value(g: Geometry) -> np.ndarray:
    """Return what CuPy passes as a struct: an array of one element."""
    return np.array(g, np.int32).view([("fields", np.int32, (len(g),))])


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
