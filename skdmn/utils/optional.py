"""Imports of optional packages, made when a function needs them."""

from __future__ import annotations

import importlib
from typing import Any


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
        return importlib.import_module(package)
    except ImportError as error:
        known_as = {"torch": "PyTorch"}.get(package, package)
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
