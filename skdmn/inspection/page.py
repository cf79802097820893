"""HTML pages of reports."""

from __future__ import annotations

import html
import os
from pathlib import Path


class HtmlPage:
    """Base class of reports that notebooks show, and that can be saved as a page.

    Subclasses have a `_title`, and a method `_body` that returns an HTML element.
    """

    _title: str

    def _body(self) -> str:
        """Return the report as an HTML element; raise ImportError if it cannot."""
        raise NotImplementedError

    def to_html(self, path: str | os.PathLike) -> None:
        """Write the report to one HTML file that contains its pictures.

        Parameters
        ----------
        path : str or path
            Name of the file. An existing file is replaced.

        Raises
        ------
        ImportError
            If matplotlib is missing.
        FileNotFoundError
            If the folder of the file does not exist.
        """
        text = (  # before a file is opened
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{self._title}</title>\n</head>\n"
            f"<body>\n{self._body()}\n</body>\n</html>\n"
        )
        Path(path).write_text(text, encoding="utf-8")

    def _repr_html_(self) -> str:
        """Return the report for notebooks; as text if matplotlib is missing."""
        try:
            return self._body()
        except ImportError:
            return f"<pre>{html.escape(repr(self))}</pre>"
