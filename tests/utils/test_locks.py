"""One process at a time writes a file; a dead one holds no lock."""

import errno
import multiprocessing
import os
import signal
import threading
import time
import warnings

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
