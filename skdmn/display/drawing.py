"""Helper functions of the displays: axes and colours."""

from __future__ import annotations

from typing import Any

import numpy as np

from skdmn.utils.optional import import_whole


def pyplot() -> Any:
    """Import matplotlib's pyplot; raise ImportError if matplotlib is missing."""
    try:
        return import_whole("matplotlib.pyplot")
    except ImportError as error:
        raise ImportError(
            "Drawing needs matplotlib, which is not installed; install it with pip "
            'install "skdmn[plot]".'
        ) from error


def axes_or_new(
    ax: Any, size: tuple[float, float] = (5.5, 4.0), columns: int = 1
) -> Any:
    """Return `ax`, or the axes of a new figure if it is None.

    Each of the new axes has the given size in inches.
    """
    if ax is not None:
        return ax
    size = (columns * size[0], size[1])
    return pyplot().subplots(1, columns, figsize=size, layout="constrained")[1]


def colours(n: int) -> np.ndarray:
    """Return n colours from dark to bright that are visible on white."""
    return pyplot().colormaps["viridis"](np.linspace(0.05, 0.85, n) if n > 1 else [0.3])


def shortened(name: Any, most: int = 16) -> str:
    """Return the name of a class, shortened in its middle if it is long."""
    text = " ".join(str(name).split())
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f"{text[:head]}\u2026{text[-(most - 1 - head) :]}"
