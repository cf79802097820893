"""What displays share."""

from __future__ import annotations

from typing import Any


def pyplot() -> Any:
    """Import matplotlib's pyplot, or say what to install."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "Drawing needs matplotlib, which is not installed; pip install "
            '"skdmn[plot]".'
        ) from error
    return plt
