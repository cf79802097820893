"""The ``skdmn`` command: from a folder of pictures to a model, and what it can do.

The modules of the commands are imported when a command runs, because they import
NumPy, scikit-learn and Numba. An interrupt during these imports is handled as well.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from skdmn.cli.parser import make_parser

# module and function of each command
COMMANDS = {
    "train": ("skdmn.cli.train", "train"),
    "predict": ("skdmn.cli.use", "predict"),
    "report": ("skdmn.cli.use", "report"),
    "export": ("skdmn.cli.use", "export"),
    "info": ("skdmn.cli.use", "info"),
    "demo": ("skdmn.cli.demo", "demo"),
    "warmup": ("skdmn.cli.demo", "warmup"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the ``skdmn`` command.

    Parameters
    ----------
    arguments : sequence of str or None, default=None
        Command line arguments after ``skdmn``. If None, they are taken from the command
        line.

    Returns
    -------
    int
        Exit code: 0 for success, 1 for an error, 130 for an interrupt.

    Raises
    ------
    SystemExit
        With exit code 2 if the arguments are not valid, and with exit code 0 after
        ``--help`` and ``--version``.
    """
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    interrupts: list[int] = []

    def interrupt(*_: Any) -> None:
        interrupts.append(1)
        raise KeyboardInterrupt

    # as messages of the command, without the line of code that warns
    formatted = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"skdmn: warning: {message}\n"
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, interrupt)
    except ValueError:  # not in the main thread
        before = None
    try:
        module, function = COMMANDS[options.command]
        code = getattr(import_module(module), function)(options)
        sys.stdout.flush()
        return code or 0
    except BrokenPipeError:  # the reader of the pipe has closed it, such as head
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (flushed at exit)
        return 0
    except KeyboardInterrupt:
        return _interrupted()
    except (ValueError, TypeError, RuntimeError, OSError, ImportError) as error:
        if interrupts:  # an import that is interrupted may raise another error
            return _interrupted()
        print(f"skdmn: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    finally:
        warnings.formatwarning = formatted
        if before is not None:
            signal.signal(signal.SIGINT, before)


def _interrupted() -> int:
    print("skdmn: interrupted", file=sys.stderr)
    return 130
