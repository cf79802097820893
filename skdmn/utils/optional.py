"""Imports of packages that are made when a function needs them."""

from __future__ import annotations

import importlib
import signal
import threading
from types import ModuleType
from typing import Any


def import_whole(name: str) -> ModuleType:
    """Import a module; Ctrl+C takes effect when it is imported.

    Large packages such as Numba cannot be imported again in a process in which their
    import was interrupted.
    """
    handler = signal.getsignal(signal.SIGINT)
    # Python calls handlers in the main thread only
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or not callable(handler):
        return importlib.import_module(name)
    interrupts: list[tuple] = []
    signal.signal(signal.SIGINT, lambda *details: interrupts.append(details))
    try:
        return importlib.import_module(name)
    finally:
        signal.signal(signal.SIGINT, handler)
        if interrupts:
            handler(*interrupts[-1])


def import_optional(package: str, function: str, extra: str) -> Any:
    """Import a package that an extra of skdmn installs.

    Parameters
    ----------
    package : str
        Name of the package to import.
    function : str
        Name of the function that needs it, for the error message.
    extra : str
        Extra of skdmn that installs it.

    Raises
    ------
    ImportError
        If the package is not installed. The message says how to install it.
    """
    try:
        return import_whole(package)
    except ImportError as error:
        known_as = {"torch": "PyTorch", "PIL.Image": "Pillow"}.get(package, package)
        raise ImportError(
            f"{function} needs {known_as}, which is not installed; pip install "
            f'"skdmn[{extra}]".'
        ) from error


def import_torch(function: str) -> Any:
    """Import torch for a function of this package."""
    return import_optional("torch", function, "torch")


def import_onnx(package: str, function: str) -> Any:
    """Import onnx or skl2onnx for a function of this package."""
    return import_optional(package, function, "onnx")
