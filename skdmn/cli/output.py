"""Progress on a terminal, and files that commands write."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

_SECONDS = 0.1  # between two updates of a line


class Progress:
    """Messages about the progress, on stderr.

    On a terminal, the last line is written again and again. Elsewhere, only complete
    steps are told.
    """

    def __init__(self) -> None:
        self._stream = sys.stderr
        self._is_terminal = self._stream.isatty()
        self._last = 0.0

    def now(self, text: str, done: int = 0, total: int = 0) -> None:
        """Tell what is going on, with a bar if a number is known."""
        at = time.monotonic()
        if not self._is_terminal or (0 < done < total and at - self._last < _SECONDS):
            return
        self._last = at
        if total:
            full = round(20 * done / total)
            text = f"{text} [{'#' * full}{' ' * (20 - full)}] {done:,} of {total:,}"
        self._write(text)

    def step(self, text: str) -> None:
        """Tell about a step that is complete."""
        if self._is_terminal:
            self._write(text)
        else:
            self._stream.write(text)
        self._stream.write("\n")
        self._stream.flush()

    def clear(self) -> None:
        """Remove the line about what is going on."""
        if self._is_terminal:
            self._write("")

    def _write(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        self._stream.write(f"\r{text[:width]:{width}}\r{text[:width]}")
        self._stream.flush()


def check_writable(file: str, force: bool = True) -> Path:
    """Return the path of a file to write; raise OSError if it cannot be written.

    Parameters
    ----------
    file : str
    force : bool
        Whether the file may exist.
    """
    path = Path(file)
    folder = path.resolve().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OSError(f"{file} cannot be written; pass a file in a writable folder.")
    if path.exists() and not force:
        raise FileExistsError(f"{file} exists already; pass --force to replace it.")
    return path


def write(path: Path, data: bytes) -> None:
    """Write a file in one step, so that it is whole at any time."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def in_table(rows: list[tuple[Any, ...]]) -> str:
    """Return rows as aligned text."""
    texts = [[str(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join(
        "  ".join(t.ljust(w) for t, w in zip(row, widths, strict=True)).rstrip()
        for row in texts
    )
