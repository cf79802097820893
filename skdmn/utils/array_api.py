"""Which array library, which device: the only questions about machines.

Arrays of any library that follows the array API standard are computed where they
lie. NumPy arrays are computed on the host, or batch by batch on a GPU through CuPy.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import array_api_compat
import numpy as np
from sklearn import get_config

Array = Any  # an array of NumPy, CuPy, torch, array-api-strict, ...

DEVICES = ("auto", "cpu", "cuda")


class Backend(NamedTuple):
    """Where arrays live: the namespace of their library and their device."""

    xp: Any
    device: Any

    @property
    def is_numpy(self) -> bool:
        """Whether this is NumPy, in host memory."""
        return bool(array_api_compat.is_numpy_namespace(self.xp))

    @property
    def kind(self) -> str:
        """What the ``device`` parameter calls this place: "cpu", "cuda" or other."""
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

    Other libraries' arrays count only under scikit-learn's ``array_api_dispatch``,
    because without it scikit-learn turns them into NumPy arrays.
    """
    return own_backend(array) if get_config()["array_api_dispatch"] else HOST


def own_backend(array: Array) -> Backend:
    """Return the namespace and device of an array, dispatch or not."""
    if isinstance(array, np.ndarray) or not array_api_compat.is_array_api_obj(array):
        return HOST
    return Backend(
        array_api_compat.array_namespace(array), array_api_compat.device(array)
    )


def to_numpy(array: Array) -> np.ndarray:
    """Copy an array of any library into host memory, as NumPy."""
    if isinstance(array, np.ndarray):
        return array
    if array_api_compat.is_cupy_array(array):
        return array.get()
    if array_api_compat.is_torch_array(array):
        array = array.detach().cpu()
        wide = "bfloat16" in str(array.dtype)  # a type that NumPy does not have
        return (array.float() if wide else array).numpy()
    if array_api_compat.is_array_api_obj(array):
        info = array_api_compat.array_namespace(array).__array_namespace_info__()
        array = array_api_compat.to_device(array, info.default_device())
    return np.asarray(array)


def widest_float(backend: Backend) -> Any:
    """Return float64 where the device has it, else float32 (Apple's GPUs)."""
    if backend.is_numpy:
        return np.float64
    info = backend.xp.__array_namespace_info__()
    dtypes = info.dtypes(kind="real floating", device=backend.device)
    return dtypes.get("float64", backend.xp.float32)


def to_backend(array: Array, backend: Backend) -> Array:
    """Move an array to a place; unchanged where it is there already."""
    here = own_backend(array)
    if here == backend:
        return array
    if here.xp == backend.xp:
        return array_api_compat.to_device(array, backend.device)
    host = to_numpy(array)
    if backend.is_numpy:
        return host
    # other libraries know neither long doubles nor foreign byte orders
    host = host.astype(host.dtype.newbyteorder("="), copy=False)
    if host.dtype.kind == "f" and host.dtype.itemsize >= 8:
        narrow = widest_float(backend) != backend.xp.float64
        host = host.astype(np.float32 if narrow else np.float64, copy=False)
    # torch refuses negative strides and warns about read-only memory
    if not host.flags.writeable or any(stride < 0 for stride in host.strides):
        host = host.copy()
    return backend.xp.asarray(host, device=backend.device)


def take(array: Array, indices: np.ndarray, axis: int) -> Array:
    """Return the entries of an array at some (NumPy) indices along an axis."""
    xp, device = own_backend(array)
    return xp.take(array, xp.asarray(indices, device=device), axis=axis)


def float_dtype(array: Array, xp: Any) -> Any:
    """Return the dtype that an array is computed in: float64 for wide floats.

    float32 stays float32; integers, booleans and float16 become float32.
    """
    if isinstance(array.dtype, np.dtype):
        wide = array.dtype.kind == "f" and array.dtype.itemsize >= 8
    else:
        wide = array.dtype == xp.float64
    return xp.float64 if wide else xp.float32


def working_memory() -> int:
    """Return the bytes that scikit-learn's configuration allows for batches."""
    return int(get_config()["working_memory"] * 2**20)


@functools.cache
def gpu() -> Backend | None:
    """Return CuPy's place where CuPy and a GPU are there to use, else None."""
    try:
        import cupy

        if not cupy.cuda.is_available():
            return None
    except Exception:  # a broken CUDA set-up shows as many kinds of error
        return None
    return Backend(array_api_compat.array_namespace(cupy.empty(0)), cupy.cuda.Device())


def compute_backend(data: Backend, device: str) -> Backend:
    """Decide where data is computed.

    Parameters
    ----------
    data : Place
        Where the data lies.
    device : {"auto", "cpu", "cuda"}
        What the user asked for. NumPy data goes to the GPU where "cuda" is asked
        for, or "auto" and one is usable; other data is computed where it lies.

    Raises
    ------
    RuntimeError
        Where "cuda" is asked for and no GPU is usable.
    ValueError
        Where the data lies on a device that contradicts `device`.
    """
    if not data.is_numpy:
        if device not in ("auto", data.kind):
            raise ValueError(
                f"device={device!r} contradicts X, which is {data}; pass "
                "device='auto' to compute where X lies, or move X."
            )
        return data
    if device == "cpu":
        return HOST
    backend = gpu()
    if backend is None and device == "cuda":
        raise RuntimeError(
            "device='cuda' was asked for, but CuPy finds no usable GPU; install "
            "skdmn[cuda12] or skdmn[cuda13] to match the CUDA driver, or pass "
            "device='auto' or 'cpu'."
        )
    return backend or HOST
