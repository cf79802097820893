"""Pieces of arrays that are read by slices, and the check of their shape.

An object with a shape and slices may return fewer entries than it says: a file was cut
off, or is being written or resized, or a class of the user's own has an error. Kernels
read the memory of as many images as the shape says. Therefore every piece is checked.
"""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np

from skdmn.utils.array_api import Array
from skdmn.utils.validation import unmasked

Shape = tuple[int, ...]


def read_piece(source: Any, some: slice, shape: Shape, name: str = "X") -> Array:
    """Read consecutive entries of a source, and check their shape.

    Parameters
    ----------
    source : object with slices along the first axis
    some : slice
        Start and stop; no step.
    shape : tuple of int
        Shape of the source when it was checked. A source may change it later.
    name : str, default="X"
        Name of the source, for the message.

    Returns
    -------
    array of shape (stop - start, *shape[1:])
        As the source returns it, or as a NumPy array if it returns no array.

    Raises
    ------
    ValueError
        If the source returns another shape.
    """
    piece = unmasked(source[some], name)
    if not array_api_compat.is_array_api_obj(piece):
        piece = np.asarray(piece)
    where = f"{name}[{some.start}:{some.stop}]"
    check_piece(piece.shape, (some.stop - some.start, *shape[1:]), where, name, shape)
    return piece


def check_piece(
    found: Shape, expected: Shape, where: str, name: str, shape: Shape
) -> None:
    """Raise if a piece of a source has another shape than the source promised."""
    if tuple(found) != tuple(expected):
        raise ValueError(
            f"{name}.shape was {tuple(shape)}, but {where} has shape {tuple(found)} "
            f"instead of {tuple(expected)}; pass {name} again with a shape that is "
            "right, and do not resize it before the call ends."
        )


def converted(piece: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Copy a piece in the dtype of its source; raise if that changes values."""
    values = np.array(piece, dtype=dtype)
    if piece.dtype != dtype and dtype.kind != "f" and not np.array_equal(values, piece):
        raise ValueError(
            f"X.dtype is {dtype}, but slices of X have dtype {piece.dtype} and values "
            f"that do not fit {dtype}; pass X again with a dtype that is right."
        )
    return values
