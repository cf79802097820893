"""The fastest code that there is for a machine: kernels, else the definitions.

Whoever computes imports from here. Results are those of the definitions, to rounding.
"""

from __future__ import annotations

from typing import Literal

from skdmn.core import convolve as definition
from skdmn.core.backend import Array
from skdmn.core.convolve import WHOLE, Padding, Pair, Window


def convolve(
    images: Array,
    filters: Array,
    stride: Pair,
    padding: Padding,
    activation: Literal["relu"] | None,
    window: Window = WHOLE,
) -> Array:
    """Convolve images and pool what comes out; see `core.convolve`."""
    if window == WHOLE:
        return definition.convolve(images, filters, stride, padding, activation)
    return definition.convolve_and_pool(
        images, filters, stride, padding, activation, window
    )


def max_pool(images: Array, window: Window) -> Array:
    """Keep the largest value of every window; see `core.convolve`."""
    return definition.max_pool(images, *window)
