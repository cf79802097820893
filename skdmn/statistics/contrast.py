"""Second moments of contrast-normalized patches, by class and cell of the image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skdmn.kernels.dispatch import class_contrast_moments
from skdmn.kernels.geometry import Pair, output_size
from skdmn.kernels.reference.contrast import cell_edges
from skdmn.statistics.density import ENTRIES, DensityAccumulator
from skdmn.utils.array_api import Array
from skdmn.utils.state import POSITIVE, State, counts, is_none, lengths, moments, number

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
    """

    _state: ClassVar[State] = {
        "cells": lengths(*CELLS),
        "floor": number(least=POSITIVE),
        "outer_products": moments("n_classes", CELLS, ENTRIES, ENTRIES),
        "sums": is_none(),
        "n_patches": counts("n_classes", CELLS),
    }

    cells: Pair
    floor: float

    @classmethod
    def of(
        cls,
        n_classes: int,
        kernel_size: Pair,
        n_channels: int,
        cells: Pair,
        floor: float,
    ) -> ContrastAccumulator:
        """Return an accumulator without any images."""
        d, n_cells = math.prod(kernel_size) * n_channels, math.prod(cells)
        counts = np.zeros((n_classes, n_cells), np.int64)
        outer = np.zeros((n_classes, n_cells, d, d))
        return cls(kernel_size, outer, None, counts, counts[:, 0].copy(), cells, floor)

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
