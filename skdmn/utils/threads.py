"""Threads that live as long as a call, as many as the user allows."""

from __future__ import annotations

import collections
import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import joblib
import threadpoolctl


def n_threads() -> int:
    """Return how many threads to use, within what joblib, Numba and BLAS are set to."""
    limits = list(_outside) if _others_hold_blas() else _blas_limits()
    numba = sys.modules.get("numba")  # if it is not there, nobody has set its limit
    if numba is not None:
        limits.append(numba.get_num_threads())
    return max(1, min(joblib.cpu_count(), *limits))


def _blas_limits() -> list[int]:
    return [library.num_threads for library in _blas().lib_controllers]


@functools.cache
def _blas() -> Any:
    """Find BLAS, which takes milliseconds; the limits it is set to are read anew."""
    return threadpoolctl.ThreadpoolController().select(user_api="blas")


def in_threads(
    function: Callable[..., None], pieces: Iterable[tuple], threads: int
) -> None:
    """Call a function that releases the interpreter with each tuple of arguments.

    The caller's thread is one of them; the others live as long as the call, so that
    forked processes, other threads and interrupts find nothing half done.
    """
    left = collections.deque(pieces)  # who empties it stops all
    errors: list[BaseException] = []

    def work() -> None:
        try:
            while True:
                try:
                    piece = left.popleft()
                except IndexError:
                    return
                function(*piece)
        except BaseException as error:
            left.clear()
            errors.append(error)

    others = [threading.Thread(target=work) for _ in range(threads - 1)]
    try:
        for thread in others:
            thread.start()
        work()
        for thread in others:
            thread.join()
    except BaseException:  # an interrupt
        left.clear()
        for thread in others:
            if thread.ident is not None:
                thread.join()
        raise
    if errors:
        errors.sort(key=lambda error: isinstance(error, Exception))  # interrupts first
        try:
            raise errors[0]
        finally:
            errors.clear()  # or they hold each other, and what their frames hold


_single = threading.RLock()
_holder: int | None = None  # the thread that keeps BLAS to one thread
_outside: list[int] = []  # limits that BLAS has had before


def _others_hold_blas() -> bool:
    """Whether BLAS is kept to one thread for a while, by another thread."""
    return _holder not in (None, threading.get_ident())


def _let_go() -> None:
    """Let a forked process compute: the thread that held the lock is not in it."""
    global _single, _holder
    if _others_hold_blas():
        for library, limit in zip(_blas().lib_controllers, _outside, strict=True):
            library.set_num_threads(limit)
    _single, _holder = threading.RLock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


@contextlib.contextmanager
def single_blas() -> Iterator[None]:
    """Keep BLAS to one thread, to call it from several; one caller at a time.

    The limit is the process's. Where two overlap, the one that leaves last would put
    back what the other had set.
    """
    global _holder, _outside
    with _single:
        outermost = _holder is None
        if outermost:
            _outside, _holder = _blas_limits(), threading.get_ident()
        try:
            with _blas().limit(limits=1):
                yield
        finally:
            if outermost:
                _holder = None
