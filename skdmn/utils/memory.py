"""Memory that this process can still allocate."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

SURE_TO_FIT = 2**26  # bytes for which looking up what is available is not worth it

_CGROUPS = Path("/sys/fs/cgroup")
# limit and use of version 2 and version 1 of control groups, and pages that the kernel
# drops if others need them
_CGROUP_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "total_inactive_file",
    ),
)


def available_memory() -> int | None:
    """Return the bytes that this process can still allocate, None if that is unknown.

    This is the least of the memory that the system can give (swap included), of what
    the limit of the process's control group leaves (containers, batch systems), and of
    what the limit of the address space leaves (``ulimit -v``). Systems other than Linux
    are asked through psutil, if it is installed.
    """
    known = [_system(), *_control_groups(), _address_space()]
    return min((max(0, left) for left in known if left is not None), default=None)


def in_words(n_bytes: int) -> str:
    """Return a size as text, rounded up, such as "1,234 MB" or "56 kB"."""
    unit, name = (10**6, "MB") if n_bytes >= 10**7 else (10**3, "kB")
    return f"{-(-n_bytes // unit):,} {name}"


def _system() -> int | None:
    values = _table("/proc/meminfo")
    if "MemAvailable:" in values:
        return 1024 * (values["MemAvailable:"] + values.get("SwapFree:", 0))
    try:
        psutil = importlib.import_module("psutil")
    except ImportError:
        return None
    return int(psutil.virtual_memory().available)


def _control_groups() -> list[int | None]:
    """Return what the limits of the control groups above this process leave."""
    lines = _read("/proc/self/cgroup").splitlines()
    own = _CGROUPS / next((line[4:] for line in lines if line.startswith("0::/")), "")
    left: list[int | None] = []
    for folder in (own, *own.parents):
        for limit, used, droppable in _CGROUP_FILES:
            most, now = (_read(folder / name).strip() for name in (limit, used))
            if most.isdecimal() and now.isdecimal():
                stat = _table((folder / limit).parent / "memory.stat")
                left.append(int(most) - int(now) + stat.get(droppable, 0))
    return left


def _address_space() -> int | None:
    pages = _read("/proc/self/statm").split()
    if resource is None or not pages:
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    return limit - int(pages[0]) * os.sysconf("SC_PAGE_SIZE")


def _table(path: str | Path) -> dict[str, int]:
    """Read lines of a name and a number."""
    lines = (line.split() for line in _read(path).splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1}


def _read(path: str | Path) -> str:
    """Return the text of a file, empty if it cannot be read."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""
