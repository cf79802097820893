"""Arrays that layers computed, as opposed to images.

The first layer of a model remembers the range of the images, and warns of images in
another one. Later layers must not warn again, and get arrays only. Therefore the arrays
that layers return are known, for as long as they exist.
"""

from __future__ import annotations

import contextlib
import weakref
from typing import Any

_VIEWS = 4  # views of views that are followed
_outputs: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


def remember_output(array: Any) -> None:
    """Remember that layers computed an array."""
    with contextlib.suppress(TypeError):  # of a type without weak references
        _outputs[id(array)] = array


def is_output(array: Any) -> bool:
    """Return True if layers computed an array, or the array that it is a view of."""
    for _ in range(_VIEWS):
        if array is None or _outputs.get(id(array)) is array:
            break
        array = getattr(array, "base", None)
    return array is not None and _outputs.get(id(array)) is array
