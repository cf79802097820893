"""Features that are written to a file while they are computed, and can be resumed."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

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
    """

    shape: tuple[int, int]
    dtype: str
    batch_size: int
    network: str
    images: str
    rows_done: int = 0
    replaces: bool = False

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read a record; return None if there is none."""
        try:
            found = cls(**json.loads(path.read_text(encoding="utf-8")))
            return dataclasses.replace(found, shape=(found.shape[0], found.shape[1]))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, IndexError):
            raise ValueError(
                f"{path} is not a record of features that are being written; pass "
                "overwrite=True to start again, or another name."
            ) from None

    def write(self, path: Path) -> None:
        """Write the record in one step, so that the file is complete at any time."""
        new = _beside(path, ".new")
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
        return importlib.import_module("zarr")
    except ImportError:
        raise ImportError(
            "A .zarr target needs zarr; install it with pip install zarr, or let the "
            "name end in .npy."
        ) from None


def write_features(lazy: LazyFeatures, target: Any, overwrite: bool) -> Any:
    """Write features to a target, or resume it; see `LazyFeatures.write`."""
    target = Path(target)
    kind = _kind(target)
    part, at = _beside(target, ".part"), _beside(target, ".progress.json")
    found = None if overwrite else Record.read(at)
    begun = found if found and found.rows_done else None
    record = lazy._record(found.batch_size if found else None)
    if found and not begun and not found.is_of(record):
        # no row of those other features was written; their batch size may not fit
        record = dataclasses.replace(record, batch_size=lazy._stream.batch_size())
    replaced = found is not None and found.replaces and part.exists()
    if overwrite:
        for path in (part, at):
            _remove(path)
    elif target.exists() and not replaced:
        if found is None or found.rows_done < found.shape[0]:
            raise _foreign(target)
        found.check_is(record, target)
        return _load(kind, target, record)
    if part.exists() and found is None:
        raise _foreign(part)
    if part.exists() and begun:
        begun.check_is(record, target)
        _load(kind, part, record)
        record = begun
    else:  # record first: a target without a record was not written by us
        record = dataclasses.replace(record, replaces=target.exists())
        record.write(at)
        kind.create(part, record)
    _write_rest(lazy, kind(part), record, at)
    if target.is_dir():  # a folder cannot be replaced in one step
        _remove(target)
    os.replace(part, target)
    return kind.load(target)


def _write_rest(lazy: LazyFeatures, out: Target, record: Record, at: Path) -> None:
    """Compute and write the remaining rows."""
    size, n = record.batch_size, record.shape[0]
    saved = time.monotonic()
    for some, rows in lazy._rows_from(record.rows_done, size):
        out.write(some, rows)
        if some.stop == n or time.monotonic() - saved >= CHECKPOINT_SECONDS:
            out.flush()
            # if memory runs out, a batch is split: record whole batches only
            done = n if some.stop == n else some.stop - some.stop % size
            dataclasses.replace(record, rows_done=done).write(at)
            saved = time.monotonic()


def _kind(target: Path) -> type[Target]:
    """Return the class for a target, after checking name, folder and libraries."""
    if target.suffix not in TARGETS:
        raise ValueError(
            f"{target} is neither an .npy file nor a Zarr array; let the name end in "
            ".npy or .zarr."
        )
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {target.parent} to write {target.name} to; create it "
            "first."
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


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
