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
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core.caching import FunctionCache
from numba.core.serialize import dumps

from skdmn.kernels.numba.blocks import ROWS, VECTOR_BYTES

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
_COMPILER = (
    *(sys.version, numba.__version__, llvmlite.__version__, np.__version__),
    *(VECTOR_BYTES, ROWS),
)


def kernel(function: Callable) -> Callable:
    """Compile a function of this package without the GIL, and cache it on disk.

    If there is no folder to cache it in, it is compiled in every process.
    """
    compiled: Any = numba.njit(nogil=True)(function)
    ours = function.__module__.startswith(f"{__package__}.")
    # a source that changed since the import of this module may not be the hashed one
    if ours and _SOURCES and _hash_of_sources() == _SOURCES:
        with contextlib.suppress(RuntimeError, OSError):  # no writable folder
            compiled._cache = KernelCache(function)
    return compiled


class KernelCache(FunctionCache):
    """Machine code of a kernel on disk, in one file for each signature.

    The name of a file holds a hash of everything that the code is made from, and its
    first bytes are a hash of the rest. A file of other sources, another compiler or
    another CPU, or a damaged file, is therefore never used. Numba chooses the folder:
    ``NUMBA_CACHE_DIR``, or the one of the module, or one of the user.
    """

    def load_overload(self, sig, target_context):
        """Return the compiled kernel for a signature, or None."""
        target_context.refresh()
        try:
            content = self._path(sig, target_context.codegen()).read_bytes()
        except OSError:
            return None
        payload = content[_DIGEST:]
        if hashlib.sha256(payload).digest() != content[:_DIGEST]:
            return None  # will be replaced
        return self._impl.rebuild(target_context, pickle.loads(payload))

    def save_overload(self, sig, data):
        """Store a compiled kernel if the disk permits, and remove outdated files."""
        if not self._impl.check_cachable(data):
            return
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
