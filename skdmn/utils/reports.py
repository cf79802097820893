"""Reports of progress: lines of `verbose`, through the logger "skdmn".

Without any configuration of logging, lines are printed to the standard output. If the
root logger or the logger "skdmn" has handlers, these get the lines instead.
"""

from __future__ import annotations

import logging
import sys

_logger = logging.getLogger("skdmn")


class _Printer(logging.Handler):
    """Handler that prints lines if there is no other handler."""

    def emit(self, record: logging.LogRecord) -> None:
        if not _has_others():
            # looked up now, because notebooks and tests replace it
            print(self.format(record), file=sys.stdout, flush=True)


def _has_others() -> bool:
    """Return True if somebody has configured logging."""
    handlers = [*_logger.handlers, *logging.getLogger().handlers]
    return any(not isinstance(handler, _Printer) for handler in handlers)


_logger.addHandler(_Printer())
if _logger.level == logging.NOTSET:  # else the level of the root, WARNING, holds
    _logger.setLevel(logging.INFO)


def report(name: str, text: str, seconds: float | None = None) -> None:
    """Report one line of progress, such as ``[SoftmaxClassifier] ..., 1.2 s``.

    Parameters
    ----------
    name : str
        Name of the estimator.
    text : str
    seconds : float or None, default=None
        Time that it took.
    """
    took = "" if seconds is None else f", {seconds:.1f} s"
    _logger.info("[%s] %s%s", name, text, took)


def announce(text: str) -> None:
    """Tell what nobody asked for: to handlers if there are any, else on a terminal.

    The standard output may be the result of a command and stays as it is.
    """
    if _has_others():
        _logger.info(text)
    elif sys.stderr is not None and sys.stderr.isatty():
        print(f"skdmn: {text}", file=sys.stderr)
