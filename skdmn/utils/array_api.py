"""Array namespaces and devices, and conversions between them.

Arrays of any library that follows the array API standard are processed by that
library, on their own device. NumPy arrays are processed on the CPU, or batch by batch
on a GPU through CuPy.
"""

from __future__ import annotations

import functools
import math
import os
from typing import Any, NamedTuple

import array_api_compat
import numpy as np
from sklearn import get_config

from skdmn.utils.optional import import_whole
from skdmn.utils.validation import warn_user

Array = Any  # an array of NumPy, CuPy, torch, array-api-strict, ...

DEVICES = ("auto", "cpu", "cuda")

# Products from which "auto" uses a GPU: with fewer, transfers and the start of kernels
# take longer than the CPU
AUTO_PRODUCTS = 10**9


class Backend(NamedTuple):
    """An array namespace and a device.

    Attributes
    ----------
    xp : module
        Array API namespace, from `array_api_compat`.
    device : object
        Device of that library.
    """

    xp: Any
    device: Any

    @property
    def is_numpy(self) -> bool:
        """True if the namespace is NumPy's."""
        return bool(array_api_compat.is_numpy_namespace(self.xp))

    @property
    def kind(self) -> str:
        """Name of the device as in the ``device`` parameter: "cpu", "cuda" or other."""
        if self.is_numpy:
            return "cpu"
        if array_api_compat.is_cupy_namespace(self.xp):
            return "cuda"
        # torch.device has `type`; array-api-strict's Device prints "CPU_DEVICE"
        name = str(getattr(self.device, "type", self.device)).lower()
        return "cpu" if "cpu" in name else name

    def __str__(self) -> str:
        name = self.xp.__name__.removeprefix("array_api_compat.")
        return "numpy" if self.is_numpy else f"{name} on {self.device}"


HOST = Backend(array_api_compat.array_namespace(np.empty(0)), "cpu")


def backend_of(array: Array) -> Backend:
    """Return the namespace and device of an array; NumPy's for anything else.

    Arrays of other libraries are recognized only under scikit-learn's
    ``array_api_dispatch``. Without it, scikit-learn converts them to NumPy arrays.
    """
    return own_backend(array) if get_config()["array_api_dispatch"] else HOST


def own_backend(array: Array) -> Backend:
    """Return the namespace and device of an array, with or without dispatch."""
    if isinstance(array, np.ndarray) or not array_api_compat.is_array_api_obj(array):
        return HOST
    return Backend(
        array_api_compat.array_namespace(array), array_api_compat.device(array)
    )


def to_numpy(array: Array) -> np.ndarray:
    """Convert an array of any library to a NumPy array; NumPy arrays are returned."""
    if isinstance(array, np.ndarray):
        return array
    if array_api_compat.is_cupy_array(array):
        return array.get()
    if array_api_compat.is_torch_array(array):
        array = array.detach().cpu()
        is_bfloat16 = "bfloat16" in str(array.dtype)  # NumPy has no such dtype
        return (array.float() if is_bfloat16 else array).numpy()
    if array_api_compat.is_array_api_obj(array):
        info = array_api_compat.array_namespace(array).__array_namespace_info__()
        array = array_api_compat.to_device(array, info.default_device())
    return np.asarray(array)


def widest_float(backend: Backend) -> Any:
    """Return float64 if the device supports it, else float32 (Apple's GPUs)."""
    if backend.is_numpy:
        return np.float64
    info = backend.xp.__array_namespace_info__()
    dtypes = info.dtypes(kind="real floating", device=backend.device)
    return dtypes.get("float64", backend.xp.float32)


def to_backend(array: Array, backend: Backend) -> Array:
    """Convert an array to another namespace and device.

    The array itself is returned if it already has that namespace and device.
    """
    current = own_backend(array)
    if current == backend:
        return array
    if current.xp == backend.xp:
        return array_api_compat.to_device(array, backend.device)
    host = to_numpy(array)
    if backend.is_numpy:
        return host
    # other libraries support neither long doubles nor non-native byte orders
    host = host.astype(host.dtype.newbyteorder("="), copy=False)
    if host.dtype.kind == "f" and host.dtype.itemsize >= 8:
        narrow = widest_float(backend) != backend.xp.float64
        host = host.astype(np.float32 if narrow else np.float64, copy=False)
    # torch refuses negative strides and warns about read-only memory
    if not host.flags.writeable or any(stride < 0 for stride in host.strides):
        host = host.copy()
    return backend.xp.asarray(host, device=backend.device)


def take(array: Array, indices: np.ndarray, axis: int) -> Array:
    """Return the entries of an array at NumPy indices along an axis."""
    xp, device = own_backend(array)
    return xp.take(array, xp.asarray(indices, device=device), axis=axis)


def float_dtype(array: Array, xp: Any) -> Any:
    """Return the floating-point dtype in which computations on an array are done.

    float64 (and wider) gives float64. float32, float16, integers and booleans give
    float32.
    """
    if isinstance(array.dtype, np.dtype):
        wide = array.dtype.kind == "f" and array.dtype.itemsize >= 8
    else:
        wide = array.dtype == xp.float64
    return xp.float64 if wide else xp.float32


def working_memory() -> int:
    """Return the bytes that scikit-learn's configuration allows for batches."""
    return int(get_config()["working_memory"] * 2**20)


_is_child_of_gpu_user = False  # a process forked from one that used the GPU


@functools.cache
def gpu() -> Backend | None:
    """Return CuPy's namespace and device, or None if CuPy finds no usable GPU."""
    if _is_child_of_gpu_user:
        return None
    try:
        cupy = import_whole("cupy")
        if not cupy.cuda.is_available():
            return None
    except Exception:  # a broken CUDA installation raises many kinds of error
        return None
    return Backend(array_api_compat.array_namespace(cupy.empty(0)), cupy.cuda.Device())


def _remember_fork() -> None:
    """Forget the GPU in a forked process, where CUDA cannot be used any more."""
    global _is_child_of_gpu_user
    if gpu.cache_info().currsize and gpu() is not None:
        _is_child_of_gpu_user = True
        gpu.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_remember_fork)


def compute_backend(
    data: Backend, device: str, n_products: float = math.inf
) -> Backend:
    """Choose the namespace and device for computations on data.

    Parameters
    ----------
    data : Backend
        Namespace and device of the data.
    device : {"auto", "cpu", "cuda"}
        The estimator's parameter. NumPy data is processed on the GPU if this is
        "cuda", or if it is "auto", the computation takes at least `AUTO_PRODUCTS`
        products, and a GPU is usable. Other data is processed by its own library, on
        its own device.
    n_products : float, default=inf
        Approximate number of products that the computation takes.

    Returns
    -------
    Backend

    Raises
    ------
    RuntimeError
        If `device` is "cuda" and no GPU is usable, as in a process that was forked
        after its parent used the GPU. "auto" uses the CPU there, with a warning.
    ValueError
        If the data is on a device that contradicts `device`.
    """
    if not data.is_numpy:
        if device not in ("auto", data.kind):
            raise ValueError(
                f"device={device!r} contradicts X, which is {data}; pass "
                "device='auto' to compute on the device of X, or move X."
            )
        return data
    if device == "cpu" or (device == "auto" and n_products < AUTO_PRODUCTS):
        return HOST  # without a look for a GPU, which takes time and GPU memory
    backend = gpu()
    if _is_child_of_gpu_user:
        problem = (
            "the GPU cannot be used in this process, because it was forked from one "
            "that had used it; start processes with joblib's default backend or "
            "multiprocessing's method 'spawn'"
        )
        if device == "cuda":
            raise RuntimeError(
                f"device='cuda' was given, but {problem}, or pass device='cpu'."
            )
        warn_user(f"device='auto' uses the CPU: {problem}, or pass device='cpu'.")
    elif backend is None and device == "cuda":
        raise RuntimeError(
            "device='cuda' was given, but CuPy finds no usable GPU; install "
            "skdmn[cuda12] or skdmn[cuda13] to match the CUDA driver, or pass "
            "device='auto' or device='cpu'."
        )
    return backend or HOST
