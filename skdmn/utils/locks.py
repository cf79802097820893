"""A lock between processes that write the same file."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
import time
from pathlib import Path
from typing import BinaryIO

from skdmn.utils.validation import warn_user

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

POLL_SECONDS = 0.2  # between attempts to get a lock
_BYTE = 2**30  # the byte that is locked on Windows; other processes can read the rest


class Lock:
    """Context in which one process or thread at a time writes a file or folder.

    If another one is writing it, a warning says so, and the context begins when that
    one is done. The operating system locks a file next to the target, ``.lock``, and
    releases it when the process ends, even if it is killed.

    There are file systems without locks, on which nobody waits. Write to a file of
    another name in each process, and rename it at the end.

    Parameters
    ----------
    target : Path
        The file or folder. It need not exist.
    patience : float or None, default=None
        Seconds to wait for another one, without a warning; then the context begins
        without the lock. None waits with a warning, as long as it takes.

    Raises
    ------
    FileNotFoundError
        If the folder of the target does not exist.
    PermissionError
        If no file can be created in that folder.
    """

    def __init__(self, target: Path, patience: float | None = None) -> None:
        self._target = target
        self._patience = patience
        self._path = target.with_name(target.name + ".lock")
        self._file: BinaryIO | None = None

    def __enter__(self) -> None:
        try:
            self._file = _open_locked(self._path, self._target)
            if self._file is None and self._patience is None:
                warn_user(
                    f"{self._target} is being written by {_owner(self._path)}; "
                    "waiting until it is done."
                )
            until = time.monotonic() + (self._patience or 0.0)
            while self._file is None:
                if self._patience is not None and time.monotonic() > until:
                    return
                time.sleep(POLL_SECONDS)
                self._file = _open_locked(self._path, self._target)
            _held.add(self._file)
            with contextlib.suppress(OSError):  # a full disk
                owner = f"process {os.getpid()} on {socket.gethostname()}"
                self._file.truncate(0)
                self._file.write(owner.encode())
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *error: object) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        _held.discard(file)
        if not file.closed:  # it is closed in a forked process
            _release(file, self._path)


def _open_locked(path: Path, target: Path) -> BinaryIO | None:
    """Open and lock a file; return None if it is locked already."""
    while True:
        file = _open(path, target)
        try:
            if not _lock(file):
                file.close()
                return None
            if _is_at(file, path):
                return file
        except BaseException:
            file.close()  # an interrupt; a traceback may keep the file alive
            raise
        file.close()  # its last owner removed it before it was locked


def _open(path: Path, target: Path) -> BinaryIO:
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {path.parent} to write {target.name} to; create it "
            "first."
        )
    try:
        return open(path, "a+b", buffering=0)
    except OSError as error:
        if isinstance(error, PermissionError) or error.errno == errno.EROFS:
            raise PermissionError(
                f"{target} cannot be written: no permission to write {path.name} in "
                "its folder; choose another folder, or change its permissions."
            ) from error
        raise


def _lock(file: BinaryIO) -> bool:
    """Lock a file; return False if it is locked already."""
    try:
        if sys.platform == "win32":
            file.seek(_BYTE)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # the file system has no locks
        return True
    return True


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Return True if an open file is still the one of that name."""
    if sys.platform == "win32":  # open files cannot be removed
        return True
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _owner(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") or "another process"
    except OSError:
        return "another process"


def _release(file: BinaryIO, path: Path) -> None:
    """Remove a file and its lock."""
    if sys.platform == "win32":
        with contextlib.suppress(OSError):  # without it, Windows may take its time
            file.seek(_BYTE)
            msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
        file.close()  # open files cannot be removed
    with contextlib.suppress(OSError):
        path.unlink()
    file.close()


_held: set[BinaryIO] = set()


def _close_after_fork() -> None:
    """Close the files in a forked process, which would keep the locks otherwise."""
    for file in _held:
        file.close()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_after_fork)
