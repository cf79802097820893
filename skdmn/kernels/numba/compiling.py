"""Compilation of the CPU kernels, and the cache of their machine code on disk.

Numba's own cache knows the source of a kernel's module, but not of the modules from
which a kernel takes functions and constants, nor the width of vectors. It also stores
the index and the code of a kernel in two files, which two processes can mix up.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core.caching import FunctionCache
from numba.core.ccallback import CFunc
from numba.core.compiler_lock import global_compiler_lock
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature

from skdmn.kernels.numba.blocks import ROWS, VECTOR_BYTES
from skdmn.utils.locks import Lock
from skdmn.utils.reports import announce

_DIGEST = hashlib.sha256().digest_size
# settings of Numba that change the machine code
_SETTINGS = (
    *("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "USING_SVML", "BOUNDSCHECK"),
    *("DEBUGINFO_DEFAULT", "NRT_STATS", "CPU_NAME", "CPU_FEATURES", "ENABLE_AVX"),
)


def _hash_of_sources() -> str:
    """Return a hash of the modules of this package, or "" if there are no sources.

    Kernels call each other, and take constants and functions from `blocks`.
    """
    paths = sorted(Path(__file__).parent.glob("*.py"))
    try:
        sources = [(path.name, path.read_bytes()) for path in paths]
    except OSError:
        return ""
    return hashlib.sha256(repr(sources).encode()).hexdigest() if sources else ""


_SOURCES = _hash_of_sources()
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
_PATIENCE = 60.0  # seconds to wait for another process that compiles the same kernel
_COMPILER = (
    *(sys.version, numba.__version__, llvmlite.__version__, np.__version__),
    *(VECTOR_BYTES, ROWS),
)


def kernel(function: Callable) -> Callable:
    """Compile a function of this package without the GIL, and cache it on disk.

    If there is no folder to cache it in, it is compiled in every process.
    """
    return _compiled(function)


def inner(function: Callable) -> Callable:
    """Compile a function that only kernels call, which takes less time."""
    return _compiled(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def _compiled(function: Callable, **options: Any) -> Callable:
    compiled: Any = numba.njit(**_OPTIONS, **options)(function)
    cache = _cache_of(function)
    if cache is not None:
        compiled._cache = cache
    compile_ = compiled._compiler.compile

    def timed(args: Any, return_type: Any) -> Any:
        with _compiling(cache):
            return compile_(args, return_type)

    compiled._compiler.compile = timed
    return compiled


def address(function: Callable, signature: Any) -> int:
    """Return the address of a compiled function of pointers and numbers.

    It is cached as a kernel is. Only kernels can call it, because pointers have no
    counterpart in Python, and it must not raise errors.
    """
    # Numba caches only functions with one of its wrappers; C callbacks have one that
    # takes pointers
    compiled: Any = CFunc(function, normalize_signature(signature), {}, _OPTIONS)
    context, cache = compiled._targetdescr.target_context, _cache_of(function)
    with global_compiler_lock:
        found = cache.load_overload(compiled._sig, context) if cache else None
        if found is None:
            with _compiling(cache):
                found = compiled._compile_uncached()
            if cache:
                cache.save_overload(compiled._sig, found)
    _stays.append(found)
    return found.library.get_pointer_to_function(found.fndesc.llvm_func_name)


_stays: list[Any] = []  # code whose address was returned


def _cache_of(function: Callable) -> KernelCache | None:
    """Return a cache for a function, or None if there can be none."""
    ours = function.__module__.startswith(f"{__package__}.")
    # a source that changed since the import of this module may not be the hashed one
    if ours and _SOURCES and _hash_of_sources() == _SOURCES:
        with contextlib.suppress(RuntimeError, OSError):  # no writable folder
            return KernelCache(function)
    return None


class _Compilation:
    """What this process has compiled; Numba compiles in one thread at a time."""

    depth = 0  # a kernel that others call is compiled while they are
    since = 0.0
    seconds = 0.0


def compile_seconds() -> float:
    """Return the seconds that this process has spent on the compilation of kernels."""
    return _Compilation.seconds


@contextlib.contextmanager
def _compiling(cache: KernelCache | None) -> Iterator[None]:
    """Tell once that kernels are compiled, and measure the time."""
    if not _Compilation.depth:
        _tell()
        _Compilation.since = time.perf_counter()
    _Compilation.depth += 1
    try:
        yield
    except BaseException:
        if cache is not None:
            cache.release()
        raise
    finally:
        _Compilation.depth -= 1
        if not _Compilation.depth:
            _Compilation.seconds += time.perf_counter() - _Compilation.since


@functools.cache
def _tell() -> None:
    """Tell once per process that kernels are compiled."""
    announce("compiling kernels, once; later processes load them from the cache")


class KernelCache(FunctionCache):
    """Machine code of a kernel on disk, in one file for each signature.

    The name of a file holds a hash of everything that the code is made from, and its
    first bytes are a hash of the rest. A file of other sources, another compiler or
    another CPU, or a damaged file, is therefore never used. Numba chooses the folder:
    ``NUMBA_CACHE_DIR``, or the one of the module, or one of the user.
    """

    _held: Lock | None = None

    def load_overload(self, sig, target_context):
        """Return the compiled kernel for a signature, or None.

        If it is None, the kernel must be compiled and saved. Other processes that need
        it wait for that, some time.
        """
        target_context.refresh()
        path = self._path(sig, target_context.codegen())
        found = self._load(path, target_context)
        if found is None and self._lock(path):
            found = self._load(path, target_context)  # of another process
            if found is not None:
                self.release()
        return found

    def _load(self, path, target_context):
        try:
            content = path.read_bytes()
        except OSError:
            return None
        payload = content[_DIGEST:]
        if hashlib.sha256(payload).digest() != content[:_DIGEST]:
            return None  # will be replaced
        return self._impl.rebuild(target_context, pickle.loads(payload))

    def save_overload(self, sig, data):
        """Store a compiled kernel if the disk permits, and remove outdated files."""
        try:
            if self._impl.check_cachable(data):
                self._save(sig, data)
        finally:
            self.release()

    def _save(self, sig, data):
        payload = dumps(self._impl.reduce(data))
        path = self._path(sig, data.codegen)
        new = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(new, "wb") as file:
                file.write(hashlib.sha256(payload).digest() + payload)
            os.replace(new, path)
        except OSError as error:
            if not path.is_file():  # otherwise another process has stored it
                _warn(str(path.parent), error.strerror or str(error))
        finally:
            _remove(new)
        for old in path.parent.glob(f"{self._stem}.*"):
            if not old.name.startswith(f"{self._stem}.{_SOURCES[:12]}."):
                _remove(old)

    def _lock(self, path):
        """Lock a file that is to be written; return False if that is not possible."""
        self.release()
        lock = Lock(path, patience=_PATIENCE)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.__enter__()
        except OSError:
            return False
        self._held = lock
        return True

    def release(self):
        """Let other processes write the file that was locked last."""
        lock, self._held = self._held, None
        if lock is not None:
            lock.__exit__()

    def flush(self):
        """Remove all files of the kernel."""
        for path in Path(self.cache_path).glob(f"{self._stem}.*"):
            _remove(path)

    @property
    def _stem(self):
        module = self._py_func.__module__.rsplit(".", 1)[-1]
        return f"{module}.{self._py_func.__name__}"

    def _path(self, sig, codegen):
        settings = [getattr(numba.config, name, None) for name in _SETTINGS]
        made_from = (_SOURCES, _COMPILER, settings, codegen.magic_tuple(), sig)
        key = hashlib.sha256(repr(made_from).encode()).hexdigest()
        name = f"{self._stem}.{_SOURCES[:12]}.{key[:32]}.kernel"
        return Path(self.cache_path, name)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


@functools.cache
def _warn(folder: str, reason: str) -> None:
    """Warn once per process."""
    warnings.warn(
        f"Compiled kernels cannot be stored in {folder}: {reason}. They are compiled "
        "again in every process, which takes some seconds; free space there, or set "
        "NUMBA_CACHE_DIR to another folder.",
        RuntimeWarning,
        stacklevel=2,
    )
