"""Safe reading of downloaded files, plain, gzipped or in a tar archive.

A file from an unknown source may state a wrong size, unzip to a thousand times its
length, or be an archive with links and paths outside its folder. Files are therefore
read in pieces, with a memory limit that follows from the name and the first bytes of
the file. The sizes of all files of a folder are checked together before one is read.
Archives are not extracted, nothing is written to disk, and paths in archives
are ignored.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Protocol, cast

from skdmn.utils.array_api import working_memory

# Official file name -> (name for error messages, content).
Files = dict[str, tuple[str, bytearray]]
# (name for error messages, official name, first bytes) -> largest size in bytes.
Largest = Callable[[str, str, bytes], int]
# Official file name -> largest size in bytes; raises if that is too much for one call.
CheckSizes = Callable[[dict[str, int]], None]

PIECE, LARGEST_FILE = 2**20, 2**30
_HEAD = 64  # bytes, more than a header
_DEFLATE = 1032  # largest ratio of sizes without and with gzip

_BLOCK = 512  # bytes in a block of a tar file
_REGULAR = (b"0", b"\0", b"7")  # type flags of regular files
_WITHOUT_CONTENT = (b"1", b"2", b"3", b"4", b"5", b"6")  # links, devices, folders


class _Readable(Protocol):
    """A binary stream."""

    def read(self, size: int, /) -> bytes: ...


class _DamageError(Exception):
    """Raised if a tar file is not valid; the message says why."""


def limit() -> int:
    """Return the bytes that a file, and all arrays of a call together, may take."""
    return max(LARGEST_FILE, working_memory())


def read_folder(
    folder: Path, names: Iterable[str], largest: Largest, check: CheckSizes
) -> Files:
    """Read the named files, plain or .gz, that are in a folder, if their sizes pass."""
    paths, sizes = {}, {}
    for name in names:
        path = _find(folder, name)
        if path is not None:
            paths[name] = path
            with _damage_named(str(path)), _opened(path) as stream:
                head = stream.read(_HEAD)
                said = largest(str(path), name, head) if head else 0
            packed = _DEFLATE if path.suffix == ".gz" else 1
            sizes[name] = min(said, path.stat().st_size * packed)
    check(sizes)
    files = {}
    for name, path in paths.items():
        with _opened(path) as stream:
            files[name] = _read(stream, str(path), name, lambda _, n, __: sizes[n])
    return files


def _find(folder: Path, name: str) -> Path | None:
    """Return the path of a file, or of one in a subfolder with the same name.

    Kaggle and some unpackers put each file into such a subfolder.
    """
    spellings = (name, name.replace("-idx", ".idx"))
    files = [spelling + end for spelling in spellings for end in ("", ".gz")]
    folders = [folder, *(folder / spelling for spelling in spellings)]
    paths = (place / file for place in folders for file in files)
    return next((path for path in paths if path.is_file()), None)


def _opened(path: Path) -> IO[bytes]:
    opened = gzip.open if path.suffix == ".gz" else Path.open
    return cast(IO[bytes], opened(path, "rb"))


def read_archive(path: Path, names: Iterable[str], largest: Largest) -> Files:
    """Read the named regular files that are in a tar.gz archive, in one pass."""
    files: Files = {}
    with _damage_named(str(path)), gzip.open(path) as unzipped:
        whole = _Limited(unzipped, str(path))
        for name, content in _members(whole):
            if name in names and name not in files:
                files[name] = _read(content, f"{name} in {path}", name, largest)
        while whole.read(PIECE):  # gzip verifies the checksum at the end
            pass
    return files


def _read(
    stream: _Readable, where: str, name: str, largest: Largest
) -> tuple[str, bytearray]:
    """Read a stream in pieces, so that memory is used only for existing bytes."""
    data, most = bytearray(), 0
    with _damage_named(where):
        while piece := stream.read(PIECE):
            if not data:
                most = largest(where, name, piece)
            data += piece
            if len(data) > most:
                raise ValueError(
                    f"{where} has more than {most:,} bytes, the largest size expected."
                )
    return where, data


class _Limited:
    """Stream that raises ValueError if it is longer than the limit."""

    def __init__(self, stream: _Readable, where: str) -> None:
        self.stream = stream
        self.where = where
        self.left = self.most = limit()

    def read(self, size: int) -> bytes:
        piece = self.stream.read(size)
        self.left -= len(piece)
        if self.left < 0:
            raise ValueError(
                f"{self.where} has more than {self.most:,} bytes after unzipping, "
                "the largest size expected."
            )
        return piece


class _Part:
    """Stream of the next `size` bytes of another stream."""

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
    """Yield the name, without folders, and the content of each regular file in a tar.

    The format is https://www.gnu.org/software/tar/manual/html_node/Standard.html. Only
    one header is in memory at a time, and only names, sizes and types are read from it.
    The tarfile module of Python is not used, because it reads headers of any size into
    memory.
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
    """Return the number in an octal field of a tar header."""
    digits = digits.strip(b" \0")
    if digits.strip(b"01234567"):
        raise _DamageError("it has no tar header where one should be")
    return int(digits or b"0", 8)


@contextmanager
def _damage_named(where: str) -> Iterator[None]:
    """Turn errors of a damaged file into a ValueError that names the file."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error, _DamageError) as error:
        raise ValueError(
            f"{where} is damaged, truncated or of another format ({error}); expected "
            "a whole gzip file."
        ) from error
