"""A stand-in for CuPy on the CPU: NumPy behind CuPy's strictness, with counts.

`install` puts it where ``import cupy`` finds it, in a process of its own. Its arrays
refuse to mix with NumPy arrays, as CuPy's do. CUDA sources are compiled for the CPU.
The stand-in counts what takes time on a GPU in spite of little data: kernels that are
launched, copies, and waits of the host for the device. It says nothing about speed.
"""

import collections
import ctypes
import functools
import hashlib
import operator
import os
import re
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
import scipy.linalg

COUNTS = collections.Counter()  # "launches", "copies" and "waits", and launches by name
INSTANCES = set()  # kernels that are compiled together, which takes less time
HERE = Path(__file__).parent
CACHE = Path(tempfile.gettempdir()) / f"skdmn-cuda-on-host-{os.getuid()}"

# functions of NumPy that look at memory and compute nothing
VIEWS = {
    *("broadcast_to", "broadcast_arrays", "empty", "empty_like", "expand_dims", "flip"),
    *("moveaxis", "permute_dims", "ravel", "reshape", "split", "squeeze", "swapaxes"),
    *("transpose", "unstack"),
}
# functions whose result depends on values, so that the host waits for them
WAITING = {"argwhere", "flatnonzero", "nonzero", "unique"}
OPERATORS = (
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and_", "or_", "xor"),
    *("lshift", "rshift", "matmul"),
)
METHODS = (
    *("all", "any", "argmax", "argmin", "argsort", "clip", "conj", "cumprod", "cumsum"),
    *("dot", "max", "mean", "min", "nonzero", "prod", "repeat", "round", "sort"),
    *("squeeze", "std", "sum", "take", "trace", "var"),
)


def count(name, n=1):
    """Count launches of a kernel."""
    COUNTS["launches"] += n
    COUNTS[name] += n


def raw(value, what):
    """Return what NumPy computes with; refuse NumPy arrays."""
    if isinstance(value, ndarray):
        return value.held
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)} in {what}")
    if isinstance(value, list | tuple):
        return type(value)(raw(one, what) for one in value)
    return value


def wrapped(value):
    """Return arrays of NumPy as arrays of the stand-in."""
    if isinstance(value, np.ndarray | np.generic):
        return ndarray.of(np.asarray(value))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(wrapped, value))
    if isinstance(value, list | tuple):
        return type(value)(map(wrapped, value))
    return value


def function(name, compute):
    """Return a function of NumPy for arrays of the stand-in."""

    @functools.wraps(compute)
    def call(*args, **kwargs):
        count(name, 0 if name in VIEWS else 1)
        COUNTS["waits"] += name in WAITING
        args, kwargs = raw(args, name), {k: raw(v, name) for k, v in kwargs.items()}
        return wrapped(compute(*args, **kwargs))

    return call


class Device:
    id = 0

    def __init__(self, device=None):
        assert device is None or getattr(device, "id", device) == 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def __eq__(self, other):
        return isinstance(other, Device)

    __hash__ = None

    def synchronize(self):
        COUNTS["waits"] += 1

    mem_info = (2**34, 2**34)


class Event:
    def synchronize(self):
        COUNTS["waits"] += 1


class Stream:
    def __init__(self, null=False, non_blocking=False):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def record(self, event=None):
        return event or Event()

    def wait_event(self, event):
        assert isinstance(event, Event)

    def synchronize(self):
        COUNTS["waits"] += 1


class Pool:
    def free_all_blocks(self, stream=None):
        pass

    def free_bytes(self):
        return 0

    def used_bytes(self):
        return 0

    def get_limit(self):
        return 0


class ndarray:  # noqa: N801
    """An array of NumPy, `held`, as strict as CuPy's."""

    __array_ufunc__ = None
    __hash__ = None

    def __init__(self, shape, dtype=float):
        self.held = np.empty(shape, dtype)

    @classmethod
    def of(cls, held):
        array = object.__new__(cls)
        array.held = held
        return array

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed")

    @property
    def device(self):
        return Device()

    dtype = property(lambda self: self.held.dtype)
    flags = property(lambda self: self.held.flags)
    itemsize = property(lambda self: self.held.itemsize)
    nbytes = property(lambda self: self.held.nbytes)
    ndim = property(lambda self: self.held.ndim)
    shape = property(lambda self: self.held.shape)
    size = property(lambda self: self.held.size)
    strides = property(lambda self: self.held.strides)
    T = property(lambda self: wrapped(self.held.T))
    mT = property(lambda self: wrapped(self.held.mT))  # noqa: N815

    def get(self, stream=None, order="C", out=None, blocking=True):
        COUNTS["copies"] += 1
        COUNTS["waits"] += blocking
        if out is None:
            return self.held.copy(order)
        assert isinstance(out, np.ndarray)
        assert (out.dtype, out.shape) == (self.dtype, self.shape)
        out[...] = self.held
        return out

    def set(self, array, stream=None):
        assert isinstance(array, np.ndarray)
        assert (array.dtype, array.shape) == (self.dtype, self.shape)
        assert self.flags.c_contiguous or self.flags.f_contiguous
        COUNTS["copies"] += 1
        self.held[...] = array

    def _waited(self):
        COUNTS["copies"] += 1
        COUNTS["waits"] += 1
        return self.held

    def __bool__(self):
        return bool(self._waited())

    def __float__(self):
        return float(self._waited())

    def __int__(self):
        return int(self._waited())

    def __index__(self):
        return operator.index(self._waited())

    def item(self, *args):
        return self._waited().item(*args)

    def tolist(self):
        return self._waited().tolist()

    def __len__(self):
        return len(self.held)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __reduce__(self):
        return ndarray.of, (self.get(),)

    def _key(self, key):
        keys = key if isinstance(key, tuple) else (key,)
        for one in keys:
            if isinstance(one, ndarray):
                COUNTS["launches"] += 1
                COUNTS["waits"] += one.dtype == bool  # the number of values is needed
            assert not isinstance(one, np.ndarray)
        return raw(key, "an index")

    def __getitem__(self, key):
        return wrapped(np.asarray(self.held[self._key(key)]))

    def __setitem__(self, key, value):
        count("setitem")
        self.held[self._key(key)] = raw(value, "setitem")

    def astype(self, dtype, order="K", copy=True):
        if not copy and self.dtype == np.dtype(dtype):
            return self
        count("astype")
        return wrapped(self.held.astype(dtype, order=order))

    def copy(self, order="C"):
        count("copy")
        return wrapped(self.held.copy(order))

    def view(self, dtype=None):
        return wrapped(self.held.view(dtype or self.dtype))

    def reshape(self, *shape, order="C"):
        found = self.held.reshape(*shape, order=order)
        if self.size and not np.shares_memory(found, self.held):
            count("copy")
        return wrapped(found)

    def transpose(self, *axes):
        return wrapped(self.held.transpose(*axes))

    def ravel(self, order="C"):
        return self.reshape(-1)

    def fill(self, value):
        count("fill")
        self.held.fill(value)

    def __neg__(self):
        count("neg")
        return wrapped(-self.held)

    def __abs__(self):
        count("abs")
        return wrapped(abs(self.held))

    def __invert__(self):
        count("invert")
        return wrapped(~self.held)


def _operator(name, compute, swapped=False):
    def call(self, other):
        count(name)
        pair = (self.held, raw(other, name))
        return wrapped(compute(*(pair[::-1] if swapped else pair)))

    return call


def _in_place(name, compute):
    def call(self, other):
        count(name)
        self.held = compute(self.held, raw(other, name))
        return self

    return call


def _method(name):
    def call(self, *args, **kwargs):
        count(name)
        COUNTS["waits"] += name in WAITING
        return wrapped(getattr(self.held, name)(*raw(args, name), **kwargs))

    return call


def _define():
    """Give arrays the operators and methods of NumPy's."""
    for name in OPERATORS:
        compute, plain = getattr(operator, name), name.rstrip("_")
        setattr(ndarray, f"__{plain}__", _operator(plain, compute))
        setattr(ndarray, f"__r{plain}__", _operator(plain, compute, swapped=True))
        if plain != "matmul":
            compute = getattr(operator, f"i{plain}")
            setattr(ndarray, f"__i{plain}__", _in_place(plain, compute))
    for name in ("lt", "le", "eq", "ne", "gt", "ge"):
        setattr(ndarray, f"__{name}__", _operator(name, getattr(operator, name)))
    for name in METHODS:
        setattr(ndarray, name, _method(name))


_define()


def asarray(a, dtype=None, order=None):
    if isinstance(a, ndarray):
        return a if dtype is None else a.astype(dtype, copy=False)
    held = np.array(a, dtype=dtype, order="C")
    if held.dtype.kind not in "biufc" or held.dtype.itemsize > 16 - 8 * (
        held.dtype.kind == "f"
    ):
        raise ValueError(f"Unsupported dtype {held.dtype}")
    assert held.dtype.isnative
    COUNTS["copies"] += 1
    return ndarray.of(held)


def array(a, dtype=None, copy=True, order="K"):
    if isinstance(a, ndarray):
        return a.astype(dtype or a.dtype, copy=bool(copy))
    return asarray(a, dtype)


def ascontiguousarray(a, dtype=None):
    same = dtype is None or a.dtype == dtype
    if same and a.flags.c_contiguous:
        return a
    count("copy")
    return wrapped(np.ascontiguousarray(raw(a, "ascontiguousarray"), dtype))


def is_in(code, name):
    """Return True if a source defines a kernel."""
    return re.search(rf"__global__[^;{{]*\b{name.split('<')[0]}\(", code) is not None


@functools.cache
def _shim():
    return (HERE / "kernels" / "cuda_on_host.hpp").read_text()


def library(code, names):
    """Compile kernels for the CPU; a folder keeps the result for later processes."""
    runs = [
        f'extern "C" bool run_{i}(int grid, int block, int shared, void** args) '
        f"{{ return launch_with({name}, grid, block, shared, args); }}"
        for i, name in enumerate(names)
    ]
    whole = "\n".join([_shim(), code, *runs])
    CACHE.mkdir(exist_ok=True)
    built = CACHE / f"{hashlib.sha256(whole.encode()).hexdigest()[:32]}.so"
    if not built.exists():
        source = CACHE / f"{os.getpid()}.cpp"
        source.write_text(whole)
        fresh = source.with_suffix(".so")
        command = ["c++", "-std=c++17", "-O1", "-w", "-shared", "-fPIC"]
        subprocess.run([*command, "-o", fresh, source], check=True)
        fresh.replace(built)
        source.unlink()
    return ctypes.CDLL(str(built))


class RawModule:
    def __init__(self, *, code, options, name_expressions):
        assert isinstance(options, tuple)
        self.code, self.names = code, name_expressions

    def get_function(self, name):
        assert name in self.names
        return RawKernel(self.code, name)


class RawKernel:
    """A kernel that runs on the CPU; see cuda_on_host.hpp."""

    def __init__(self, code, name):
        self.name = re.match(r"\w+", name)[0]
        names = sorted({name, *(one for one in INSTANCES if is_in(code, one))})
        self.run = getattr(library(code, names), f"run_{names.index(name)}")
        self.run.restype = ctypes.c_bool

    def __call__(self, grid, block, args, *, shared_mem=0):
        assert len(grid) == len(block) == 1
        assert 1 <= grid[0] < 2**31
        assert 1 <= block[0] <= 1024
        assert shared_mem <= 48 * 1024
        count(self.name)
        kept, pointers = [], []
        for one in args:
            if isinstance(one, ndarray):
                assert one.flags.c_contiguous
                one = np.array(one.held.ctypes.data if one.size else 0, np.int64)
            # by value: Python's numbers would hide how large they are
            assert isinstance(one, np.ndarray | np.generic)
            kept.append(np.ascontiguousarray(one))
            pointers.append(ctypes.c_void_p(kept[-1].ctypes.data))
        arguments = (ctypes.c_void_p * len(pointers))(*pointers)
        assert self.run(grid[0], block[0], shared_mem, arguments)


def _module(name, source, names):
    """Return a module with functions of NumPy."""
    module = types.ModuleType(name)
    module.__all__ = [one for one in names if hasattr(source, one)]
    for one in module.__all__:
        setattr(module, one, function(one, getattr(source, one)))
    sys.modules[name] = module
    return module


def install(*instances):
    """Make ``import cupy`` find the stand-in; for a process that imported no CuPy.

    `instances` are kernels with their template arguments, to be compiled together.
    """
    assert "cupy" not in sys.modules
    INSTANCES.update(instances)
    cupy = types.ModuleType("cupy")
    for name in np.__all__:
        value = getattr(np, name)
        is_function = callable(value) and not isinstance(value, type)
        setattr(cupy, name, function(name, value) if is_function else value)
    about_dtypes = "can_cast finfo iinfo isdtype issubdtype promote_types"
    for name in about_dtypes.split():
        setattr(cupy, name, getattr(np, name))
    cupy.result_type = lambda *args: np.result_type(
        *(one.dtype if isinstance(one, ndarray) else one for one in args)
    )
    cupy.ndarray, cupy.asarray, cupy.array = ndarray, asarray, array
    cupy.ascontiguousarray = ascontiguousarray
    cupy.reshape = lambda a, shape, order="C": a.reshape(shape, order=order)
    cupy.RawModule, cupy.RawKernel = RawModule, RawKernel
    cupy.get_default_memory_pool = Pool
    cupy.__all__ = [name for name in vars(cupy) if not name.startswith("_")]
    cupy.__version__ = "14.2.0"
    cupy.__path__ = []
    cupy.linalg = _module("cupy.linalg", np.linalg, np.linalg.__all__)
    cupy.linalg.LinAlgError = np.linalg.LinAlgError
    cupy.fft = _module("cupy.fft", np.fft, np.fft.__all__)
    cuda = types.ModuleType("cupy.cuda")
    cuda.Device, cuda.Stream, cuda.Event = Device, Stream, Event
    cuda.is_available = lambda: True
    cuda.alloc_pinned_memory = bytearray
    cuda.get_current_stream = Stream
    cuda.runtime = types.SimpleNamespace(
        getDeviceCount=lambda: 1, CUDARuntimeError=type("Error", (RuntimeError,), {})
    )
    cuda.device = types.ModuleType("cupy.cuda.device")
    cuda.device.Device = Device
    cuda.__path__ = []
    cupy.cuda = cuda
    _install_cupyx()
    sys.modules.update(
        {"cupy": cupy, "cupy.cuda": cuda, "cupy.cuda.device": cuda.device}
    )
    return cupy


def _install_cupyx():
    """Make ``import cupyx`` find what the package needs of it."""
    cupyx, its_scipy = types.ModuleType("cupyx"), types.ModuleType("cupyx.scipy")
    cupyx.errstate = lambda linalg: np.errstate()
    cupyx.scipy = its_scipy
    cupyx.__path__ = its_scipy.__path__ = []
    sys.modules.update({"cupyx": cupyx, "cupyx.scipy": its_scipy})
    its_scipy.linalg = _module("cupyx.scipy.linalg", scipy.linalg, ["solve_triangular"])
