"""SoftmaxClassifier fitted on blocks that stay where they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dask
import numpy as np
from dask.delayed import delayed
from sklearn.utils.validation import _check_sample_weight

from skdmn.data.rows import Rows
from skdmn.distributed.blocks import Blocks, merged_moments
from skdmn.linear_model.objective import Objective, column_moments
from skdmn.linear_model.softmax import SoftmaxClassifier
from skdmn.linear_model.solver import sample_bytes
from skdmn.utils.array_api import HOST, Array, Backend, compute_backend


def fit_softmax(
    softmax: SoftmaxClassifier, blocks: Blocks, y: Any, sample_weight: Any
) -> dict[str, Any]:
    """Fit a copy of a softmax on blocks of rows; return its attributes.

    Parameters
    ----------
    softmax : SoftmaxClassifier
        Not changed.
    blocks : Blocks
        Kept on the workers meanwhile.
    y, sample_weight : ndarrays of shape (len(blocks),); weights may be None
    """
    copied = _DistributedSoftmax()
    copied.__dict__ = vars(softmax).copy()
    return copied.fit(blocks, y, sample_weight).__dict__


class _DistributedSoftmax(SoftmaxClassifier):
    """A SoftmaxClassifier that takes `Blocks` as X, and NumPy labels and weights."""

    def _check_rows(
        self, X: Blocks, *, reset: bool, method: str = "fit"
    ) -> tuple[Rows, Backend]:
        blank = np.zeros((1, *X.sample_shape), X.dtype)
        rows, backend = super()._check_rows(blank, reset=reset, method=method)
        kept = X.persisted()
        return BlockRows(kept, rows.compute, rows.dtype, device=self.device), backend

    @staticmethod
    def _told(data: dict[str, Any]) -> dict[str, Any]:
        """Return nothing of the data, which is not here."""
        return {"metadata": data["metadata"]}

    def _objective(
        self, rows: Any, classes: np.ndarray, codes: np.ndarray, sample_weight: Any
    ) -> Objective:
        weights = _check_sample_weight(
            sample_weight, codes, dtype=np.float64, ensure_non_negative=True
        )
        mean, var = rows.moments(weights)
        self._check_moments(rows, weights, mean, var)
        # scale, penalty and class weights depend on the moments of the columns and on
        # the classes' weights alone: two rows of each class that have the same, and
        # all in all the same mean and variance, stand for all rows
        totals = np.bincount(codes, weights, minlength=len(classes))
        with np.errstate(invalid="ignore"):
            pair = np.array([mean - np.sqrt(var), mean + np.sqrt(var)])
        pairs = Rows(np.tile(pair, (len(classes), 1)), HOST, "float64")
        of_pairs = np.repeat(np.arange(len(classes)), 2)
        stand_in = super()._objective(
            pairs, classes, of_pairs, np.repeat(totals / 2, 2)
        )
        by_class = 2 * stand_in.weights[::2] / np.where(totals > 0, totals, 1.0)
        fields = _fields(stand_in)
        fields |= {"rows": rows, "codes": codes, "weights": weights * by_class[codes]}
        return BlockObjective(**fields)


@dataclass(frozen=True)
class BlockRows(Rows):
    """Rows that stay in blocks; `data` is `Blocks`."""

    device: str = "auto"

    def moments(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return each feature's weighted mean and variance."""
        of_block = self.data.cut(weights)
        how = (self.device, self.dtype)
        _, mean, var = self.data.reduce(_moments, merged_moments, of_block, how)
        return mean, var

    def differ(self, weights: np.ndarray) -> bool:
        """Return whether any row with a weight is not as the first one is."""
        of_block, how = self.data.cut(weights), (self.device, self.dtype)
        return self.data.reduce(_first_row, _same_rows, of_block, how)[1]

    def choose(self, indices: np.ndarray) -> Rows:
        """Return a copy of some of the rows, at sorted indices, in memory here."""
        return Rows(self.data.collect(indices), self.compute, self.dtype)


@dataclass(frozen=True)
class BlockObjective(Objective):
    """The objective of rows that stay in blocks.

    It is the mean of the blocks' own objectives, weighted as their rows are.
    """

    def __call__(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Return value and gradient at a point: one round over the blocks."""
        rows: Any = self.rows
        of_rows = ("rows", "codes", "weights", "_placed", "passes")
        model = {name: o for name, o in _fields(self).items() if name not in of_rows}
        how = (rows.device, rows.dtype)
        total, value, gradient = rows.data.reduce(
            _weighted, _added, self._of_blocks(), model, point, how
        )
        self.passes.append(self.share)
        return value / total, gradient / total

    def sample(self, size: int) -> Objective:
        """Return the same of some rows, as many as fit in memory here."""
        size = min(size, max(1, sample_bytes() // self.rows.row_bytes))
        return Objective(**_fields(self) | {"_placed": {}}).sample(size)

    def curvature_blocks(self, point: np.ndarray) -> Iterator[Array]:
        """Yield rows that have the second derivative of all, or of a sample."""
        some = self.sample(len(self.rows))
        grow = np.sqrt(self.weights.sum() / some.weights.sum())
        for part in some.curvature_blocks(point):
            yield part * grow

    def _of_blocks(self) -> list[Any]:
        """Return codes and weights of each block, sent to the workers once."""
        if not self._placed:
            data: Any = self.rows.data
            weights = self.weights.astype(self.rows.dtype)
            sent = [delayed(o, traverse=False) for o in data.cut(self.codes, weights)]
            self._placed["blocks"] = list(dask.persist(*sent))
        return self._placed["blocks"]


def _fields(objective: Objective) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(Objective)]
    return {name: getattr(objective, name) for name in names}


# on workers


def _rows(block: np.ndarray, how: tuple[str, str]) -> Rows:
    device, dtype = how
    return Rows(block, compute_backend(HOST, device), dtype)


def _moments(block: np.ndarray, own: tuple[np.ndarray], how: tuple[str, str]) -> tuple:
    (weights,) = own
    return weights.sum(), *column_moments(_rows(block, how), weights)


def _first_row(
    block: np.ndarray, own: tuple[np.ndarray], how: tuple[str, str]
) -> tuple[np.ndarray | None, bool]:
    """Return a block's first row with a weight, and whether another one differs."""
    (weights,) = own
    counting = np.flatnonzero(weights)
    first = block[counting[0]] if len(counting) else None
    return first, _rows(block, how).differ(weights)


def _same_rows(
    parts: list[tuple[np.ndarray | None, bool]],
) -> tuple[np.ndarray | None, bool]:
    found = [first for first, _ in parts if first is not None]
    apart = any((first != found[0]).any() for first in found)
    return (found[0] if found else None), apart or any(differ for _, differ in parts)


def _weighted(
    block: np.ndarray,
    own: tuple[np.ndarray, np.ndarray],
    model: dict[str, Any],
    point: np.ndarray,
    how: tuple[str, str],
) -> tuple[float, float, Any]:
    """Return a block's weight, and value and gradient times it."""
    codes, weights = own
    total = float(weights.sum(dtype=np.float64))
    if not total:
        return 0.0, 0.0, 0.0
    local = Objective(_rows(block, how), codes, weights, **model)
    value, gradient = local(point)
    return total, total * value, total * gradient


def _added(parts: list[tuple[float, float, Any]]) -> tuple[float, float, Any]:
    totals, values, gradients = zip(*parts, strict=True)
    return sum(totals), sum(values), sum(gradients)
