"""Memory that is available, from the files of the system."""

import sys

import pytest

from skdmn.utils import memory
from skdmn.utils.memory import available_memory, in_words

MEMINFO = "MemTotal: 9000 kB\nMemAvailable:  5000 kB\nSwapFree: 100 kB\nHugePages: 0\n"
FREE = 5100 * 1024


@pytest.fixture
def files(monkeypatch):
    """Replace the files of the system, and lift limits of the address space."""
    files = {"/proc/meminfo": MEMINFO}
    monkeypatch.setattr(memory, "_read", lambda path: files.get(str(path), ""))
    return files


def test_what_the_system_has_is_available(files):
    assert available_memory() == FREE


def test_limits_of_all_control_groups_above_count(files):
    files["/proc/self/cgroup"] = "4:memory:/x\n0::/batch/job\n"
    files["/sys/fs/cgroup/batch/job/memory.max"] = "max\n"
    files["/sys/fs/cgroup/batch/job/memory.current"] = "1000\n"
    assert available_memory() == FREE
    files["/sys/fs/cgroup/batch/memory.max"] = "5000\n"
    files["/sys/fs/cgroup/batch/memory.current"] = "4000\n"
    assert available_memory() == 1000
    files["/sys/fs/cgroup/batch/memory.stat"] = "anon 9\ninactive_file 700\n"
    assert available_memory() == 1700
    files["/sys/fs/cgroup/batch/memory.current"] = "9000\n"
    assert available_memory() == 0


def test_the_first_version_of_control_groups_counts(files):
    files["/sys/fs/cgroup/memory/memory.limit_in_bytes"] = "3000"
    files["/sys/fs/cgroup/memory/memory.usage_in_bytes"] = "2000"
    files["/sys/fs/cgroup/memory/memory.stat"] = "total_inactive_file 50"
    assert available_memory() == 1050


def test_the_limit_of_the_address_space_counts(files, monkeypatch):
    resource = pytest.importorskip("resource")
    files["/proc/self/statm"] = "10 5 3"
    monkeypatch.setattr(resource, "getrlimit", lambda which: (2**20, -1))
    assert available_memory() == 2**20 - 10 * resource.getpagesize()


def test_nothing_is_known_without_files(files, monkeypatch):
    files.clear()
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert available_memory() is None


def test_this_machine_has_memory():
    assert available_memory() is None or available_memory() > 2**20


def test_sizes_are_rounded_up():
    assert in_words(1) == "1 kB"
    assert in_words(9_999_000) == "9,999 kB"
    assert in_words(1_234_567_890) == "1,235 MB"
