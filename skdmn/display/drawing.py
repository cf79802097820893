"""Helper functions of the displays: axes and colours."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from skdmn.utils.labels import as_objects
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


def names_of(labels: Any, classes: Any, class_names: Any) -> np.ndarray:
    """Return the names of labels, for plots.

    Parameters
    ----------
    labels : ndarray
        Labels of `classes`.
    classes : ndarray of shape (n_classes,)
        All labels, in sorted order.
    class_names : sequence of str or None
        Name of each of `classes`; None for the labels themselves.

    Raises
    ------
    ValueError
        If there is not one name for each class.
    """
    if class_names is None:
        return np.asarray(labels)
    names = named(classes, class_names)
    return np.array([names[label] for label in as_objects(np.asarray(labels))])


def named(classes: Any, class_names: Any) -> dict[Any, str]:
    """Return the name of each label; arguments and errors are those of `names_of`."""
    known = as_objects(np.asarray(classes))
    if class_names is None:
        class_names = known
    if len(class_names) != len(known):
        raise ValueError(
            f"class_names has {len(class_names)} entries for {len(known)} classes; "
            f"pass one name for each of {known[:8]}{', ...' * (len(known) > 8)}, in "
            "this order."
        )
    return dict(zip(known, map(str, class_names), strict=True))


def mosaic(kernel: np.ndarray) -> np.ndarray:
    """Return a filter of many channels as one picture, the channels row by row.

    Parameters
    ----------
    kernel : ndarray of shape (kernel height, kernel width, channels)

    Returns
    -------
    ndarray of shape (height, width)
        NaN between the channels.
    """
    height, width, channels = kernel.shape
    columns = math.ceil(math.sqrt(channels * height / width))
    columns = min(channels, max(1, columns))
    rows = math.ceil(channels / columns)
    cells = np.full((rows * columns, height + 1, width + 1), np.nan)
    cells[:channels, :height, :width] = np.moveaxis(kernel, 2, 0)
    cells = cells.reshape(rows, columns, height + 1, width + 1).swapaxes(1, 2)
    return cells.reshape(rows * (height + 1), -1)[:-1, :-1]


def is_strip(picture: np.ndarray) -> bool:
    """Return True for pictures of signals, which are much wider than high."""
    return picture.shape[1] > 6 * picture.shape[0]


def filter_picture(kernel: np.ndarray, limit: float) -> np.ndarray:
    """Return a filter as a picture.

    Parameters
    ----------
    kernel : ndarray of shape (kernel height, kernel width, channels)
    limit : float
        Absolute entry at which the colours end.

    Returns
    -------
    ndarray of shape (height, width) or (height, width, 3)
        RGB for three channels; else one number for each entry, with the channels side
        by side, row by row.
    """
    return 0.5 + 0.5 * kernel / limit if kernel.shape[2] == 3 else mosaic(kernel)


def draw_filter(axis: Any, kernel: np.ndarray, limit: float | None = None) -> Any:
    """Draw a filter, and a frame around it if its channels are drawn side by side.

    Parameters
    ----------
    axis : matplotlib Axes
    kernel : ndarray of shape (kernel height, kernel width, channels)
    limit : float or None, default=None
        Absolute entry at which the colours end; None for the largest one.

    Returns
    -------
    matplotlib AxesImage
    """
    limit = (float(np.abs(kernel).max()) if limit is None else limit) or 1.0
    picture = filter_picture(kernel, limit)
    drawn = axis.imshow(
        picture,
        cmap="PuOr",
        vmin=-limit,
        vmax=limit,
        interpolation="nearest",
        aspect="auto" if is_strip(picture) else "equal",
    )
    if kernel.shape[2] in (1, 3):
        axis.set_axis_off()
        return drawn
    height, width = picture.shape
    axis.set_axis_on()
    axis.set(xlim=(-1, width), ylim=(height, -1), xticks=[], yticks=[])
    axis.spines[:].set(color="0.6", linewidth=0.8)
    return drawn


def shortened(name: Any, most: int = 16) -> str:
    """Return the name of a class, shortened in its middle if it is long."""
    text = " ".join(str(name).split())
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f"{text[:head]}\u2026{text[-(most - 1 - head) :]}"
