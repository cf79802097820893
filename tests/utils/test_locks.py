"""One process at a time writes a file; a dead one holds no lock."""

import errno
import multiprocessing
import os
import signal
import threading
import time
import warnings
from types import SimpleNamespace

import pytest

from skdmn.utils import locks
from skdmn.utils.locks import Lock

fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.01)


def holder(target):
    """Start a process that holds the lock until it is killed."""
    context = multiprocessing.get_context("fork")
    ready = context.Event()

    def hold():
        with Lock(target):
            ready.set()
            time.sleep(60)

    process = context.Process(target=hold, daemon=True)
    process.start()
    assert ready.wait(10)
    return process


def wait_for(target):
    with Lock(target):
        pass


def test_the_lock_is_removed_at_the_end(tmp_path):
    target = tmp_path / "file"
    with Lock(target):
        assert [path.name for path in tmp_path.iterdir()] == ["file.lock"]
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyError), Lock(target):
        raise KeyError
    assert not list(tmp_path.iterdir())


@fork
def test_another_process_waits_and_a_dead_one_holds_nothing(tmp_path):
    target = tmp_path / "file"
    process = holder(target)
    timer = threading.Timer(0.2, process.kill)
    timer.start()
    message = rf"file is being written by process {process.pid} on .*; waiting until"
    with pytest.warns(UserWarning, match=message):
        wait_for(target)
    timer.join()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    killed = holder(target)
    killed.kill()
    killed.join()
    assert (tmp_path / "file.lock").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wait_for(target)  # not at all
    assert not list(tmp_path.iterdir())


@fork
def test_a_forked_process_does_not_keep_the_lock(tmp_path):
    target, context = tmp_path / "file", multiprocessing.get_context("fork")
    ready = context.Event()

    def hold_and_fork():
        with Lock(target):
            child = context.Process(target=time.sleep, args=(60,))
            child.start()
            (tmp_path / "pid").write_text(str(child.pid))
            ready.set()
            time.sleep(60)

    process = context.Process(target=hold_and_fork)
    process.start()
    assert ready.wait(10)
    process.kill()
    process.join()
    child = int((tmp_path / "pid").read_text())
    try:
        os.kill(child, 0)  # it is alive
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            wait_for(target)
    finally:
        os.kill(child, signal.SIGKILL)


def test_threads_of_a_process_wait_for_each_other(tmp_path):
    inside, most = [], []

    def work():
        with Lock(tmp_path / "file"):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.005)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert most == [1] * 6


@pytest.mark.skipif(os.name == "nt", reason="open files cannot be removed")
def test_a_lock_file_that_was_removed_meanwhile_does_not_count(tmp_path, monkeypatch):
    target, lock, calls = tmp_path / "file", locks._lock, []

    def removed_first(file):
        calls.append(file)
        if len(calls) == 1:
            (tmp_path / "file.lock").unlink()
        return lock(file)

    monkeypatch.setattr(locks, "_lock", removed_first)
    with Lock(target):
        assert len(calls) == 2
        monkeypatch.undo()
        assert locks._open_locked(tmp_path / "file.lock", target) is None


@pytest.mark.skipif(os.name == "nt", reason="locks of POSIX")
def test_without_locks_of_the_file_system_nobody_waits(tmp_path, monkeypatch):
    def no_locks(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", no_locks)
    with Lock(tmp_path / "file"), Lock(tmp_path / "file"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_without_permission_is_named(read_only):
    folder, protect = read_only
    protect()
    with pytest.raises(PermissionError, match=r"f\.npy cannot be written: no perm"):
        wait_for(folder / "f.npy")


def test_a_read_only_file_system_is_named(tmp_path, monkeypatch):
    def read_only(*arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("builtins.open", read_only)
    with pytest.raises(PermissionError, match=r"f\.npy cannot be written: no perm"):
        wait_for(tmp_path / "f.npy")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        wait_for(tmp_path / "none" / "f.npy")


class Windows:
    """Locks of a byte at the position of a file, as in `msvcrt`."""

    LK_NBLCK, LK_UNLCK = "lock", "unlock"

    def __init__(self):
        self.held, self.done = set(), []

    def locking(self, number, mode, n_bytes):
        at = os.lseek(number, 0, os.SEEK_CUR), n_bytes
        self.done.append(mode)
        if mode == self.LK_NBLCK:
            if at in self.held:
                raise PermissionError(errno.EACCES, "locked")
            self.held.add(at)
        else:
            self.held.remove(at)


def test_windows_locks_and_unlocks_the_same_byte(tmp_path, monkeypatch):
    windows = Windows()
    monkeypatch.setattr(locks, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(locks, "msvcrt", windows, raising=False)
    target, byte = tmp_path / "file", {(locks._BYTE, 1)}
    first, second = Lock(target), Lock(target)
    first.__enter__()
    assert windows.held == byte
    threading.Timer(0.1, first.__exit__).start()
    with pytest.warns(UserWarning, match=f"written by process {os.getpid()} on"):
        second.__enter__()
    assert windows.held == byte
    second.__exit__()
    assert windows.done.count("unlock") == 2
    assert not windows.held
    assert not list(tmp_path.iterdir())
