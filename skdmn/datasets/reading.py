"""Bytes of files that somebody else wrote: read in pieces, never extracted.

A file may lie about its size, unzip to a thousand times its length, or be a tar file
of links and paths that lead elsewhere. What is read of it takes no more memory than
its name and its first bytes allow; nothing is written, and no name in it is a path.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Protocol

# Official file name -> (what to call it in an error, its content).
Files = dict[str, tuple[str, bytearray]]
# How many bytes a file may have: from what to call it, its official name, first bytes.
Largest = Callable[[str, str, bytes], int]

PIECE, LARGEST_FILE = 2**20, 2**30

_BLOCK = 512  # of a tar file
_REGULAR = (b"0", b"\0", b"7")
_WITHOUT_CONTENT = (b"1", b"2", b"3", b"4", b"5", b"6")  # links, devices, folders


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _DamageError(Exception):
    """Why a file cannot be of its format."""


def read_folder(folder: Path, names: Iterable[str], largest: Largest) -> Files:
    """Read those of the named files that the folder has, plain or .gz."""
    files = {}
    for name in names:
        spellings = (name, name.replace("-idx", ".idx"))
        for path in (folder / (s + end) for s in spellings for end in ("", ".gz")):
            if path.is_file():
                opened = gzip.open if path.suffix == ".gz" else Path.open
                with opened(path, "rb") as stream:
                    files[name] = _read(stream, str(path), name, largest)
                break
    return files


def read_archive(path: Path, names: Iterable[str], largest: Largest) -> Files:
    """Read those of the named regular files that the tar.gz has, in one pass."""
    files: Files = {}
    with _damage_named(str(path)), gzip.open(path) as unzipped:
        whole = _Limited(unzipped, str(path))
        for name, content in _members(whole):
            if name in names and name not in files:
                files[name] = _read(content, f"{name} in {path}", name, largest)
        while whole.read(PIECE):  # to the end, where gzip compares the checksum
            pass
    return files


def _read(
    stream: _Readable, where: str, name: str, largest: Largest
) -> tuple[str, bytearray]:
    """Read a stream in pieces, so that only what is there takes memory."""
    data = bytearray()
    limit = LARGEST_FILE
    with _damage_named(where):
        while piece := stream.read(PIECE):
            if not data:
                limit = largest(where, name, piece)
            data += piece
            if len(data) > limit:
                raise ValueError(
                    f"{where} has more than {limit:,} bytes, expected no more."
                )
    return where, data


class _Limited:
    """A stream that is no longer than `LARGEST_FILE`."""

    def __init__(self, stream: _Readable, where: str) -> None:
        self.stream = stream
        self.where = where
        self.left = LARGEST_FILE

    def read(self, size: int) -> bytes:
        piece = self.stream.read(size)
        self.left -= len(piece)
        if self.left < 0:
            raise ValueError(
                f"{self.where} has more than {LARGEST_FILE:,} bytes once unzipped, "
                "expected no more."
            )
        return piece


class _Part:
    """The next bytes of a stream, as many as it is said to have."""

    def __init__(self, stream: _Readable, size: int) -> None:
        self.stream = stream
        self.left = size

    def read(self, size: int) -> bytes:
        piece = self.stream.read(min(size, self.left))
        if self.left and not piece:
            raise _DamageError("it ends within a file")
        self.left -= len(piece)
        return piece


def _members(stream: _Readable) -> Iterator[tuple[str, _Part]]:
    """Yield the names, without folders, and contents of a tar file's regular files.

    Its format is https://www.gnu.org/software/tar/manual/html_node/Standard.html. Only
    one header is held at a time, and nothing but names, sizes and kinds is looked at:
    Python's tarfile reads headers of any size into memory.
    """
    header = stream.read(_BLOCK)
    if not header:
        raise _DamageError("it is empty")
    while header.strip(b"\0"):
        if len(header) < _BLOCK:
            raise _DamageError("it ends within a header")
        checksum = sum(header) - sum(header[148:156]) + 8 * ord(" ")
        if _octal(header[148:156]) != checksum:
            raise _DamageError("it has no tar header where one should be")
        kind = header[156:157]
        size = 0 if kind in _WITHOUT_CONTENT else _octal(header[124:136])
        content = _Part(stream, size)
        if kind in _REGULAR:
            path = header[:100].split(b"\0")[0].decode("utf-8", "replace")
            yield PurePosixPath(path).name, content
        while content.read(PIECE):
            pass
        stream.read(-size % _BLOCK)
        header = stream.read(_BLOCK)


def _octal(digits: bytes) -> int:
    digits = digits.strip(b" \0")
    if digits.strip(b"01234567"):
        raise _DamageError("it has no tar header where one should be")
    return int(digits or b"0", 8)


@contextmanager
def _damage_named(where: str) -> Iterator[None]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error, _DamageError) as error:
        raise ValueError(
            f"{where} is damaged, truncated or of another format ({error}); expected "
            "a whole gzip file."
        ) from error
