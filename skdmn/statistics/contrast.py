"""Second moments of contrast-normalized patches, by class and cell of the image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np

from skdmn.kernels.dispatch import class_contrast_moments
from skdmn.kernels.geometry import Pair, output_size
from skdmn.kernels.reference.contrast import cell_edges
from skdmn.statistics.channels import ChannelMoments
from skdmn.statistics.density import ENTRIES, DensityAccumulator
from skdmn.utils.array_api import Array
from skdmn.utils.state import (
    POSITIVE,
    State,
    counts,
    is_none,
    lengths,
    moments,
    number,
    part,
)

CELLS = ("cells_down", "cells_across")  # names of sizes, see `skdmn.utils.state`

_FLAT = 1e-20  # smaller traces are rounding errors; the largest possible is d


@dataclass
class ContrastAccumulator(DensityAccumulator):
    """Sums of outer products of contrast-normalized patches, by class and cell.

    Attributes
    ----------
    kernel_size : (int, int)
        Height and width of a patch.
    outer_products : ndarray of shape (n_classes, n_cells, d, d), float64
        Sums over the patches of a class in a cell.
    sums : None
        Not used, because the matrices are not centred.
    n_patches : ndarray of shape (n_classes, n_cells), int64
        Number of patches that were added.
    n_images : ndarray of shape (n_classes,), int64
        Number of images that were added.
    cells : (int, int)
        Number of cells, vertically and horizontally.
    floor : float
        Value added to the variance of a patch.
    pixels : ChannelMoments or None
        Mean and variance of the pixels; None if they are not needed.
    """

    _state: ClassVar[State] = {
        "cells": lengths(*CELLS),
        "floor": number(least=POSITIVE),
        "outer_products": moments("n_classes", CELLS, ENTRIES, ENTRIES),
        "sums": is_none(),
        "n_patches": counts("n_classes", CELLS),
        "pixels": part(ChannelMoments).or_none(),
    }

    cells: Pair
    floor: float
    pixels: ChannelMoments | None = field(default=None, kw_only=True)

    @classmethod
    def of(
        cls,
        n_classes: int,
        kernel_size: Pair,
        n_channels: int,
        cells: Pair,
        floor: float,
        *,
        with_pixels: bool = False,
    ) -> ContrastAccumulator:
        """Return an accumulator without any images."""
        d, n_cells = math.prod(kernel_size) * n_channels, math.prod(cells)
        counts = np.zeros((n_classes, n_cells), np.int64)
        outer = np.zeros((n_classes, n_cells, d, d))
        pixels = ChannelMoments.empty(n_channels) if with_pixels else None
        n_images = counts[:, 0].copy()
        return cls(
            kernel_size, outer, None, counts, n_images, cells, floor, pixels=pixels
        )

    def like(self, n_classes: int) -> Self:
        """Return an accumulator of the same kind without any images."""
        pixels = self.pixels and self.pixels.like(n_classes)
        return replace(super().like(n_classes), pixels=pixels)

    def update(self, images: Array, labels: np.ndarray) -> None:
        """Add images of shape (n, height, width, channels) of the given classes."""
        super().update(images, labels)
        if self.pixels is not None:
            self.pixels.update(images, labels)

    def merge(
        self, other: DensityAccumulator, labels: np.ndarray | None = None
    ) -> None:
        """Add the sums of another accumulator of the same kind."""
        super().merge(other, labels)
        pixels = getattr(other, "pixels", None)
        if self.pixels is not None and pixels is not None:
            self.pixels.merge(pixels)

    def _n_patches(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return the number of patches in each cell of a (height, width, ...) image."""
        positions = output_size(shape, self.kernel_size, (1, 1), "valid")
        down, across = (
            np.diff(cell_edges(length, n))
            for length, n in zip(positions, self.cells, strict=True)
        )
        return np.outer(down, across).ravel()

    def _moments(
        self, images: Array, groups: Sequence[np.ndarray]
    ) -> Iterable[tuple[np.ndarray, np.ndarray | None]]:
        """Return sums of outer products by cell for groups of images."""
        size, cells = self.kernel_size, self.cells
        outer = class_contrast_moments(images, groups, size, cells, self.floor)
        return ((by_cell, None) for by_cell in outer)

    def _noise(self, raw_trace: float, count: int) -> float:
        """Return a trace below which a matrix consists of rounding errors."""
        return _FLAT
