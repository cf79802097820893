"""Features written to a file while they are computed, and gone on with."""

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

CHECKPOINT_SECONDS = 1.0  # between records, and what an interruption costs at most


@dataclass(frozen=True)
class Record:
    """What a target is to hold, and how many rows of it are done.

    Attributes
    ----------
    shape : (int, int)
    dtype : str
    batch_size : int
        Rows that are computed at a time: another number rounds otherwise.
    network, images : str
        Hashes of what the features depend on.
    rows_done : int
    replaces : bool
        Whether another target is there, which stays until this one is whole.
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
        """Read a record, None where there is none."""
        try:
            found = cls(**json.loads(path.read_text(encoding="utf-8")))
            return dataclasses.replace(found, shape=(found.shape[0], found.shape[1]))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, IndexError):
            raise ValueError(
                f"{path} is not a record of features that are being written; pass "
                "overwrite=True to begin anew, or another name."
            ) from None

    def write(self, path: Path) -> None:
        """Replace the record at once, so that there is a whole one at any time."""
        new = _beside(path, ".new")
        with open(new, "w", encoding="utf-8") as file:
            json.dump(dataclasses.asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)

    def is_of(self, asked: Record) -> bool:
        """Whether a network and images are those asked for."""
        return (self.network, self.images) == (asked.network, asked.images)

    def check_is(self, asked: Record, target: Path) -> None:
        """Raise where something else than what is asked for was begun."""
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
                "what they were begun with, another name, or overwrite=True to begin "
                "anew."
            )


class Target(Protocol):
    """A file, or folder, that rows are written to."""

    @staticmethod
    def create(path: Path, record: Record) -> None:
        """Make one, replacing what is there."""

    @staticmethod
    def load(path: Path) -> Any:
        """Return it as an array to read."""

    def __init__(self, path: Path) -> None: ...

    def write(self, some: slice, rows: np.ndarray) -> None:
        """Write some rows."""

    def flush(self) -> None:
        """Have them on the disk."""


class Npy:
    """An .npy file; it is not mapped, since pages written count as memory."""

    @staticmethod
    def create(path: Path, record: Record) -> None:
        """Make a file that is as long as it will be, and empty."""
        np.lib.format.open_memmap(path, "w+", np.dtype(record.dtype), record.shape)

    @staticmethod
    def load(path: Path) -> np.memmap:
        """Map it into memory, to read."""
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
        """Have them on the disk."""
        with open(self._path, "r+b") as file:
            os.fsync(file.fileno())


class Zarr:
    """A Zarr array on this machine, of one chunk for each batch."""

    @staticmethod
    def create(path: Path, record: Record) -> None:
        """Make an empty array."""
        _zarr().open_array(
            str(path),
            mode="w",
            shape=record.shape,
            chunks=(min(record.batch_size, record.shape[0]), record.shape[1]),
            dtype=record.dtype,
        )

    @staticmethod
    def load(path: Path) -> Any:
        """Open it, to read."""
        return _zarr().open_array(str(path), mode="r")

    def __init__(self, path: Path) -> None:
        self._array = _zarr().open_array(str(path), mode="r+")
        for left in path.rglob("*.partial"):  # of a chunk that a killed run was at
            left.unlink()

    def write(self, some: slice, rows: np.ndarray) -> None:
        """Write some rows."""
        self._array[some] = rows

    def flush(self) -> None:
        """Do nothing: Zarr holds nothing back."""


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
    """Write features to a target, or go on with it; see `LazyFeatures.write`."""
    target = Path(target)
    kind = _kind(target)
    part, at = _beside(target, ".part"), _beside(target, ".progress.json")
    found = None if overwrite else Record.read(at)
    begun = found if found and found.rows_done else None
    record = lazy._record(found.batch_size if found else None)
    if found and not begun and not found.is_of(record):
        # of others nothing is there but a batch size, which may be too large
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
    else:  # in this order: what is there without a record is not ours
        record = dataclasses.replace(record, replaces=target.exists())
        record.write(at)
        kind.create(part, record)
    _write_rest(lazy, kind(part), record, at)
    if target.is_dir():  # a folder cannot be replaced at once
        _remove(target)
    os.replace(part, target)
    return kind.load(target)


def _write_rest(lazy: LazyFeatures, out: Target, record: Record, at: Path) -> None:
    """Compute and write the rows that are not done."""
    size, n = record.batch_size, record.shape[0]
    saved = time.monotonic()
    for some, rows in lazy._rows_from(record.rows_done, size):
        out.write(some, rows)
        if some.stop == n or time.monotonic() - saved >= CHECKPOINT_SECONDS:
            out.flush()
            # where memory ran out, less than a batch was computed
            done = n if some.stop == n else some.stop - some.stop % size
            dataclasses.replace(record, rows_done=done).write(at)
            saved = time.monotonic()


def _kind(target: Path) -> type[Target]:
    """Return what writes a target, once all is there that it needs."""
    if target.suffix not in TARGETS:
        raise ValueError(
            f"{target} is neither an .npy file nor a Zarr array; let the name end in "
            ".npy or .zarr."
        )
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {target.parent} to write {target.name} to; make it "
            "first."
        )
    if target.suffix == ".zarr":
        _zarr()
    return TARGETS[target.suffix]


def _load(kind: type[Target], path: Path, record: Record) -> Any:
    """Return a target that was begun, as long as it is what the record says."""
    loaded = kind.load(path)
    if (tuple(loaded.shape), loaded.dtype) != (record.shape, np.dtype(record.dtype)):
        raise _foreign(path)
    return loaded


def _foreign(path: Path) -> FileExistsError:
    return FileExistsError(
        f"{path} is there already, and no record says that it holds these features; "
        "pass overwrite=True to replace it, or another name."
    )


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
