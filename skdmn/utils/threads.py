"""Short-lived threads within the limits of joblib, Numba and BLAS."""

from __future__ import annotations

import collections
import contextlib
import functools
import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import joblib
import numpy as np
import threadpoolctl

COPY_BYTES = 2**22  # least bytes for each thread that copies: they take a millisecond


def n_threads() -> int:
    """Return the number of threads to use: the least of all libraries' limits.

    The limits are those of joblib, Numba and BLAS.
    """
    limits = list(_saved_limits) if _other_thread_limits_blas() else _blas_limits()
    return max(1, min([joblib.cpu_count(), *limits, *_numba_limits()]))


def _numba_limits() -> list[int]:
    numba = sys.modules.get("numba")  # if not imported, its limit was never set
    if numba is None:
        return []
    try:
        numba.threading_layer()
    except ValueError:  # no threads yet, and `set_num_threads` would have started them
        return [numba.config.NUMBA_NUM_THREADS]
    return [numba.get_num_threads()]


def _blas_limits() -> list[int]:
    return [library.num_threads for library in _blas().lib_controllers]


@functools.cache
def _blas() -> Any:
    """Find the BLAS libraries once, because it takes milliseconds.

    Their limits are read anew at each use.
    """
    return threadpoolctl.ThreadpoolController().select(user_api="blas")


def in_threads(
    function: Callable[..., None], pieces: Iterable[tuple], threads: int
) -> None:
    """Call a function with each tuple of arguments, in several threads.

    The function has to release the GIL to gain from this. The calling thread is one of
    the threads. The others end before the call returns, so that no thread is left
    running for forked processes, other threads or interrupts.

    Parameters
    ----------
    function : callable
    pieces : iterable of tuple
        Arguments of each call.
    threads : int
        Number of threads.
    """
    remaining = collections.deque(pieces)  # clearing it stops all threads
    errors: list[BaseException] = []

    def work() -> None:
        try:
            while True:
                try:
                    piece = remaining.popleft()
                except IndexError:
                    return
                function(*piece)
        except BaseException as error:
            remaining.clear()
            errors.append(error)

    others = [threading.Thread(target=work) for _ in range(threads - 1)]
    try:
        for thread in others:
            thread.start()
        work()
        for thread in others:
            thread.join()
    except BaseException:  # an interrupt
        remaining.clear()
        for thread in others:
            if thread.ident is not None:
                thread.join()
        raise
    if errors:
        errors.sort(key=lambda error: isinstance(error, Exception))  # interrupts first
        try:
            raise errors[0]
        finally:
            # breaks reference cycles that would keep the frames' arrays alive
            errors.clear()


def copy(to: np.ndarray, array: np.ndarray) -> None:
    """Copy an array into another one, in several threads if it is large.

    One thread cannot use the whole bandwidth of the memory, least of all if the target
    is new and its pages are assigned at the first access.
    """
    threads = min(n_threads(), array.nbytes // COPY_BYTES)
    if threads < 2:
        to[...] = array
        return
    edges = [len(array) * i // threads for i in range(threads + 1)]
    parts = [slice(*edge) for edge in itertools.pairwise(edges)]
    in_threads(np.copyto, [(to[part], array[part]) for part in parts], threads)


_single = threading.RLock()
_holder: int | None = None  # the thread that limits BLAS to one thread
_saved_limits: list[int] = []  # limits of BLAS outside `single_blas`


def _other_thread_limits_blas() -> bool:
    """Return True if another thread is inside `single_blas`."""
    return _holder not in (None, threading.get_ident())


def _reset_after_fork() -> None:
    """Release the lock and restore BLAS's limits in a forked process.

    The thread that held the lock does not exist there.
    """
    global _single, _holder
    if _other_thread_limits_blas():
        for library, limit in zip(_blas().lib_controllers, _saved_limits, strict=True):
            library.set_num_threads(limit)
    _single, _holder = threading.RLock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)


@contextlib.contextmanager
def single_blas() -> Iterator[None]:
    """Limit BLAS to one thread, so that several threads can call it.

    The limit applies to the whole process. A lock admits one thread at a time, because
    of two that overlap, the last one to leave would restore the limit of the other.
    """
    global _holder, _saved_limits
    with _single:
        outermost = _holder is None
        if outermost:
            _saved_limits, _holder = _blas_limits(), threading.get_ident()
        try:
            with _blas().limit(limits=1):
                yield
        finally:
            if outermost:
                _holder = None
