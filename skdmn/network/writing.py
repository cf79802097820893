"""Features that are written to a file while they are computed, and can be resumed."""

from __future__ import annotations

import dataclasses
import glob
import json
import os
import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from skdmn.utils.locks import Lock
from skdmn.utils.optional import import_whole

if TYPE_CHECKING:
    from skdmn.network.lazy import LazyFeatures

CHECKPOINT_SECONDS = 1.0  # between records of the progress


@dataclass(frozen=True)
class Record:
    """Record of the features in a target, and of the number of rows written.

    Attributes
    ----------
    shape : (int, int)
        Number of images and of features.
    dtype : str
        "float32" or "float64".
    batch_size : int
        Number of rows that are computed at a time. It affects rounding.
    network, images : str
        Hashes of the network and of the images.
    rows_done : int
        Number of rows that are written.
    replaces : bool
        True if there is another target, which is kept until this one is complete.
    part : str
        Random part of the name of the file that rows are written to. Records of older
        versions have "".
    writer : str
        Random name of the call that writes.
    """

    shape: tuple[int, int]
    dtype: str
    batch_size: int
    network: str
    images: str
    rows_done: int = 0
    replaces: bool = False
    part: str = ""
    writer: str = ""

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read a record; return None if there is none."""
        try:
            found = cls(**json.loads(path.read_text(encoding="utf-8")))
            if found.part and not found.part.isalnum():  # it becomes part of a name
                raise ValueError
            return dataclasses.replace(found, shape=(found.shape[0], found.shape[1]))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, IndexError, AttributeError):
            raise ValueError(
                f"{path} is not a record of features that are being written; pass "
                "overwrite=True to start again, or another name."
            ) from None

    def write(self, path: Path) -> None:
        """Write the record in one step, so that the file is complete at any time."""
        new = _beside(path, f".{_random()}.new")
        with open(new, "w", encoding="utf-8") as file:
            json.dump(dataclasses.asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)

    def is_of(self, asked: Record) -> bool:
        """Return True if the network and the images are the same."""
        return (self.network, self.images) == (asked.network, asked.images)

    def check_is(self, asked: Record, target: Path) -> None:
        """Raise if the target was started with other features."""
        said = [
            f"with {name} {getattr(self, name)} instead of {getattr(asked, name)}"
            for name in ("shape", "dtype", "batch_size")
            if getattr(self, name) != getattr(asked, name)
        ]
        said += ["by another network"] * (self.network != asked.network)
        said += ["of other images"] * (self.images != asked.images)
        if said:
            raise ValueError(
                f"The features in {target} were computed {' and '.join(said)}; pass "
                "the same ones to resume, another name, or overwrite=True to start "
                "again."
            )


class Target(Protocol):
    """File or folder to which rows are written."""

    @staticmethod
    def create(path: Path, record: Record) -> None:
        """Create a target, and replace an existing one."""

    @staticmethod
    def load(path: Path) -> Any:
        """Open the target as an array, for reading."""

    def __init__(self, path: Path) -> None: ...

    def write(self, some: slice, rows: np.ndarray) -> None:
        """Write some rows."""

    def flush(self) -> None:
        """Wait until all rows are on the disk."""


class Npy:
    """An .npy file; not mapped for writing, because written pages count as memory."""

    @staticmethod
    def create(path: Path, record: Record) -> None:
        """Create an empty file of the final length."""
        np.lib.format.open_memmap(path, "w+", np.dtype(record.dtype), record.shape)

    @staticmethod
    def load(path: Path) -> np.memmap:
        """Map the file into memory, for reading."""
        return np.load(path, mmap_mode="r")

    def __init__(self, path: Path) -> None:
        mapped = self.load(path)
        self._first, self._row = mapped.offset, mapped.strides[0]
        self._path = path

    def write(self, some: slice, rows: np.ndarray) -> None:
        """Write some rows."""
        with open(self._path, "r+b") as file:
            file.seek(self._first + some.start * self._row)
            file.write(np.ascontiguousarray(rows).data)

    def flush(self) -> None:
        """Wait until all rows are on the disk."""
        with open(self._path, "r+b") as file:
            os.fsync(file.fileno())


class Zarr:
    """A Zarr array on a local disk, with one chunk per batch."""

    @staticmethod
    def create(path: Path, record: Record) -> None:
        """Create an empty array."""
        _zarr().open_array(
            str(path),
            mode="w",
            shape=record.shape,
            chunks=(min(record.batch_size, record.shape[0]), record.shape[1]),
            dtype=record.dtype,
        )

    @staticmethod
    def load(path: Path) -> Any:
        """Open the array, for reading."""
        return _zarr().open_array(str(path), mode="r")

    def __init__(self, path: Path) -> None:
        self._array = _zarr().open_array(str(path), mode="r+")
        for left in path.rglob("*.partial"):  # unfinished chunks of a killed run
            left.unlink()

    def write(self, some: slice, rows: np.ndarray) -> None:
        """Write some rows."""
        self._array[some] = rows

    def flush(self) -> None:
        """Do nothing, because Zarr has no write buffer."""


TARGETS: dict[str, type[Target]] = {".npy": Npy, ".zarr": Zarr}


def _zarr() -> Any:
    try:
        return import_whole("zarr")
    except ImportError:
        raise ImportError(
            "A .zarr target needs zarr; install it with pip install zarr, or let the "
            "name end in .npy."
        ) from None


def write_features(lazy: LazyFeatures, target: Any, overwrite: bool) -> Any:
    """Write features to a target, or resume it; see `LazyFeatures.write`."""
    target = Path(target)
    kind = _kind(target)
    found = None if overwrite else _open_complete(lazy, kind, target)
    if found is not None:  # nothing is written, so no lock is needed
        return found
    with Lock(target):
        # another process may have written it meanwhile
        found = None if overwrite else _open_complete(lazy, kind, target)
        if found is not None:
            return found
        part, record, resumes = _begin(lazy, kind, target, overwrite)
        try:
            # record first: a target without a record was not written by us
            record.write(_record_of(target))
            if not resumes:
                _remove_left(target, ".{}.part")
                kind.create(part, record)
            _write_rest(lazy, kind(part), record, target)
            _load(kind, part, record)
            _rename(part, target)
        except Exception as error:
            if _is_ours(record, target) and _is_whole(kind, part, record):
                raise
            raise RuntimeError(
                f"Another process has started to write {target}, on a file system "
                "without locks; wait until it is done, and call write again."
            ) from error
        _remove_left(target, ".{}.part", ".progress.json.{}.new")
    return kind.load(target)


def _open_complete(lazy: LazyFeatures, kind: type[Target], target: Path) -> Any:
    """Open a target if all rows are written, else return None.

    Raises if it has other features.
    """
    found = Record.read(_record_of(target))
    if found is None or found.rows_done < found.shape[0] or not target.exists():
        return None
    if found.replaces and _part(target, found).exists():  # not renamed yet
        return None
    record = lazy._record(found.batch_size)
    found.check_is(record, target)
    return _load(kind, target, record)


def _begin(
    lazy: LazyFeatures, kind: type[Target], target: Path, overwrite: bool
) -> tuple[Path, Record, bool]:
    """Return the part to write to, its record, and whether it has rows already."""
    exists = target.exists()  # first: without locks, another process may finish it
    found = None if overwrite else Record.read(_record_of(target))
    begun = found if found and found.rows_done else None
    record = lazy._record(found.batch_size if found else None)
    if found and not begun and not found.is_of(record):
        # no row of those other features was written; their batch size may not fit
        record = dataclasses.replace(record, batch_size=lazy._stream.batch_size())
    if exists and not overwrite and not (found and found.replaces):
        raise _foreign(target)
    if begun and _part(target, begun).exists():
        begun.check_is(record, target)
    if begun and not _is_whole(kind, _part(target, begun), record):
        begun = None
    if begun:
        record = dataclasses.replace(begun, writer=_random())
    else:
        record = dataclasses.replace(
            record, part=_random(), writer=_random(), replaces=target.exists()
        )
    return _part(target, record), record, begun is not None


def _write_rest(lazy: LazyFeatures, out: Target, record: Record, target: Path) -> None:
    """Compute and write the remaining rows."""
    size, n, at = record.batch_size, record.shape[0], _record_of(target)
    saved = time.monotonic()
    for some, rows in lazy._rows_from(record.rows_done, size):
        out.write(some, rows)
        if some.stop == n or time.monotonic() - saved >= CHECKPOINT_SECONDS:
            out.flush()
            if not _is_ours(record, target):
                raise FileNotFoundError(_part(target, record))
            # if memory runs out, a batch is split: record whole batches only
            done = n if some.stop == n else some.stop - some.stop % size
            dataclasses.replace(record, rows_done=done).write(at)
            saved = time.monotonic()


def _rename(part: Path, target: Path) -> None:
    """Give a complete part the name of the target."""
    if not target.is_dir():
        os.replace(part, target)
        return
    # a folder cannot be replaced in one step
    old = _beside(target, f".{_random()}.part")
    os.replace(target, old)
    os.replace(part, target)
    _remove(old)


def _kind(target: Path) -> type[Target]:
    """Return the class for a target, after checking name, folder and libraries."""
    if target.suffix not in TARGETS:
        raise ValueError(
            f"{target} is neither an .npy file nor a Zarr array; let the name end in "
            ".npy or .zarr."
        )
    if target.suffix == ".zarr":
        _zarr()
    return TARGETS[target.suffix]


def _load(kind: type[Target], path: Path, record: Record) -> Any:
    """Open a target, and raise if its shape or dtype differs from the record."""
    loaded = kind.load(path)
    if (tuple(loaded.shape), loaded.dtype) != (record.shape, np.dtype(record.dtype)):
        raise _foreign(path)
    return loaded


def _foreign(path: Path) -> FileExistsError:
    return FileExistsError(
        f"{path} is there already, but has no record of these features; pass "
        "overwrite=True to replace it, or another name."
    )


def _is_ours(record: Record, target: Path) -> bool:
    """Return True if no other process has replaced the record of a target."""
    found = Record.read(_record_of(target))
    return found is not None and found.writer == record.writer


def _is_whole(kind: type[Target], part: Path, record: Record) -> bool:
    """Return True if a part can be opened: no process has removed or renamed it."""
    try:
        _load(kind, part, record)
    except (OSError, ValueError):  # Zarr's errors are of both kinds
        return False
    return True


def _record_of(target: Path) -> Path:
    return _beside(target, ".progress.json")


def _part(target: Path, record: Record) -> Path:
    return _beside(target, f".{record.part}.part" if record.part else ".part")


def _random() -> str:
    return uuid.uuid4().hex[:8]


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _remove_left(target: Path, *suffixes: str) -> None:
    """Remove files that killed processes have left; {} is their random part."""
    for suffix in suffixes:
        pattern = suffix.format("[0-9a-f]" * 8)
        for path in target.parent.glob(glob.escape(target.name) + pattern):
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        # without locks, another process may write there; it will be told
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
