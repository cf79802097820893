"""SoftmaxClassifier fitted on blocks of rows that stay on the workers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dask
import numpy as np
from dask.delayed import delayed

from skdmn.data.rows import Rows
from skdmn.distributed.blocks import Blocks
from skdmn.linear_model.folds import Folds, Model, fold_logits, fold_sums
from skdmn.linear_model.objective import Objective, column_moments, group_moments
from skdmn.linear_model.softmax import SoftmaxClassifier
from skdmn.linear_model.softmax_cv import SoftmaxClassifierCV
from skdmn.linear_model.solver import sample_bytes
from skdmn.statistics.channels import merged_moments
from skdmn.utils.array_api import HOST, Array, Backend, compute_backend


def fit_softmax(
    softmax: SoftmaxClassifier, blocks: Blocks, y: Any, sample_weight: Any
) -> dict[str, Any]:
    """Fit a copy of a SoftmaxClassifier on blocks of rows; return its attributes.

    Parameters
    ----------
    softmax : SoftmaxClassifier or SoftmaxClassifierCV
        Classifier with the parameters; it is not changed.
    blocks : Blocks
        Rows, kept on the workers during the fit.
    y : ndarray of shape (len(blocks),)
        Labels.
    sample_weight : ndarray of shape (len(blocks),) or None
        Weights of the rows.

    Returns
    -------
    dict
        Attributes of the fitted copy.
    """
    searches = isinstance(softmax, SoftmaxClassifierCV)
    copy = _DistributedSoftmaxCV() if searches else _DistributedSoftmax()
    copy.__dict__ = vars(softmax).copy()
    return copy.fit(blocks, y, sample_weight).__dict__


@dataclass(frozen=True)
class BlockRows(Rows):
    """Rows in `Blocks` on the workers; `data` is the `Blocks`."""

    device: str = "auto"

    def moments(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute each feature's weighted mean and variance."""
        arrays = self.data.cut(weights)
        settings = (self.device, self.dtype)
        _, mean, var = self.data.reduce(_moments, merged_moments, arrays, settings)
        return mean, var

    def differ(self, weights: np.ndarray) -> bool:
        """Return True if the rows with positive weight are not all equal."""
        arrays, settings = self.data.cut(weights), (self.device, self.dtype)
        return self.data.reduce(_first_row, _merge_first_rows, arrays, settings)[1]

    def choose(self, indices: np.ndarray) -> Rows:
        """Return the rows at sorted indices, copied to the memory of this process."""
        return Rows(self.data.collect(indices), self.compute, self.dtype)


@dataclass(frozen=True)
class BlockObjective(Objective):
    """Objective of rows in blocks on the workers.

    It is the mean of the blocks' objectives, weighted by their total weights.
    """

    def __call__(self, iterate: np.ndarray) -> tuple[float, np.ndarray]:
        """Compute value and gradient at an iterate, in one pass over the blocks."""
        rows: Any = self.rows
        of_rows = ("rows", "codes", "weights", "_on_device", "passes")
        model = {name: o for name, o in _fields(self).items() if name not in of_rows}
        settings = (rows.device, rows.dtype)
        total, value, gradient = rows.data.reduce(
            _block_sums, _add_sums, self._of_blocks(), model, iterate, settings
        )
        self.passes.append(self.share)
        return value / total, gradient / total

    def sample(self, size: int) -> Objective:
        """Return the objective of a sample of rows that fits in memory here."""
        size = min(size, max(1, sample_bytes() // self.rows.row_bytes))
        return Objective(**_fields(self) | {"_on_device": {}}).sample(size)

    def in_memory(self, n_rows: int) -> Objective:
        """Return the objective of rows that were copied to this process."""
        return self.sample(min(n_rows, len(self.rows)))

    def curvature_blocks(self, iterate: np.ndarray) -> Iterator[Array]:
        """Yield rows that approximate the Hessian of all rows, from a sample."""
        sample = self.sample(len(self.rows))
        factor = np.sqrt(self.weights.sum() / sample.weights.sum())
        for part in sample.curvature_blocks(iterate):
            yield part * factor

    def _of_blocks(self) -> list[Any]:
        """Return codes and weights of each block; they are sent to the workers once."""
        if not self._on_device:
            data: Any = self.rows.data
            weights = self.weights.astype(self.rows.dtype)
            sent = [delayed(o, traverse=False) for o in data.cut(self.codes, weights)]
            self._on_device["blocks"] = list(dask.persist(*sent))
        return self._on_device["blocks"]


@dataclass(frozen=True)
class BlockFolds(Folds):
    """Objectives of folds of rows in blocks on the workers."""

    def _sums(
        self, center: np.ndarray, coef: np.ndarray, intercept: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the sum of the folds' mean losses and its gradient, in one pass."""
        rows: Any = self.rows
        if not self._on_device:
            weights, unit = self._scaled_weights()
            sent = [
                delayed(o, traverse=False) for o in rows.data.cut(self.codes, weights)
            ]
            self._on_device.update(blocks=list(dask.persist(*sent)), unit=unit)
        blocks, unit = self._on_device["blocks"], self._on_device["unit"]
        shared = (center, coef, intercept), (rows.device, rows.dtype)
        sums = rows.data.reduce(_fold_sums, _add_sums, blocks, *shared)
        loss, by_coef, by_intercept = sums
        return loss / unit, by_coef / unit, by_intercept / unit

    def _held_out(self, model: Model, chosen: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute the logits of some rows of each fold on the workers."""
        rows: Any = self.rows
        by_block = list(zip(*map(rows.data.find, chosen), strict=True))
        settings = rows.device, rows.dtype
        return rows.data.reduce(_fold_logits, _join_logits, by_block, model, settings)


class _OnBlocks:
    """Mixin for a SoftmaxClassifier whose X is `Blocks`, with NumPy labels."""

    _objective_type: type[Objective] = BlockObjective

    def _check_rows(
        self, X: Blocks, *, reset: bool, method: str = "fit"
    ) -> tuple[Rows, Backend]:
        one_row = np.zeros((1, *X.sample_shape), X.dtype)
        checked: Any = super()._check_rows  # type: ignore[misc]
        rows, backend = checked(one_row, reset=reset, method=method)
        device: str = self.device  # type: ignore[attr-defined]
        compute = compute_backend(HOST, device)  # for more than that one row
        settings = compute, rows.dtype, True, device
        return BlockRows(X.persisted(), *settings), backend

    @staticmethod
    def _callback_data(data: dict[str, Any]) -> dict[str, Any]:
        """Return the metadata only, because X is on the workers."""
        return {"metadata": data["metadata"]}

    @staticmethod
    def _moments(rows: Any, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute each feature's weighted mean and variance on the workers."""
        return rows.moments(weights)


class _DistributedSoftmax(_OnBlocks, SoftmaxClassifier):
    """SoftmaxClassifier whose X is `Blocks`."""


class _DistributedSoftmaxCV(_OnBlocks, SoftmaxClassifierCV):
    """SoftmaxClassifierCV whose X is `Blocks`."""

    _folds_type: type[Folds] = BlockFolds

    @staticmethod
    def _seen_by_splitter(X: Any, n: int) -> Any:
        """Return as many rows as X has, without features."""
        return np.empty((n, 0))

    @staticmethod
    def _group_moments(
        rows: Any, weights: np.ndarray, groups: np.ndarray, n_groups: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compute each feature's mean and variance in groups of rows on the workers."""
        arrays, settings = rows.data.cut(weights, groups), (rows.device, rows.dtype)
        return rows.data.reduce(
            _group_moments, _merge_groups, arrays, n_groups, settings
        )


def _fields(objective: Objective) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(Objective)]
    return {name: getattr(objective, name) for name in names}


# functions that run on the workers


def _rows(block: np.ndarray, settings: tuple[str, str]) -> Rows:
    """Return a block's rows, for computations with a device and dtype."""
    device, dtype = settings
    return Rows(block, compute_backend(HOST, device), dtype)


def _moments(
    block: np.ndarray, arrays: tuple[np.ndarray], settings: tuple[str, str]
) -> tuple:
    (weights,) = arrays
    return weights.sum(), *column_moments(_rows(block, settings), weights)


def _group_moments(
    block: np.ndarray,
    arrays: tuple[np.ndarray, np.ndarray],
    n_groups: int,
    settings: tuple[str, str],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return group_moments(_rows(block, settings), *arrays, n_groups)


def _merge_groups(
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, ...]:
    """Merge the moments of each group."""
    merged = [
        merged_moments(of_group)
        for of_group in zip(*(zip(*part, strict=True) for part in parts), strict=True)
    ]
    return tuple(map(np.stack, zip(*merged, strict=True)))


def _fold_sums(
    block: np.ndarray,
    arrays: tuple[np.ndarray, np.ndarray],
    model: Model,
    settings: tuple[str, str],
) -> tuple[float, np.ndarray, np.ndarray]:
    return fold_sums(_rows(block, settings), model, *arrays)


def _fold_logits(
    block: np.ndarray,
    chosen: tuple[np.ndarray, ...],
    model: Model,
    settings: tuple[str, str],
) -> list[np.ndarray]:
    return fold_logits(_rows(block, settings), model, chosen)


def _join_logits(parts: list[list[np.ndarray]]) -> list[np.ndarray]:
    """Concatenate the logits of each fold in the order of the blocks."""
    return [np.concatenate(of_fold) for of_fold in zip(*parts, strict=True)]


def _first_row(
    block: np.ndarray, arrays: tuple[np.ndarray], settings: tuple[str, str]
) -> tuple[np.ndarray | None, bool]:
    """Return a block's first row with positive weight, and if another one differs."""
    (weights,) = arrays
    used = np.flatnonzero(weights)
    first = block[used[0]] if len(used) else None
    return first, _rows(block, settings).differ(weights)


def _merge_first_rows(
    parts: list[tuple[np.ndarray | None, bool]],
) -> tuple[np.ndarray | None, bool]:
    """Merge results of `_first_row`."""
    rows = [first for first, _ in parts if first is not None]
    differ = any((row != rows[0]).any() for row in rows)
    return (rows[0] if rows else None), differ or any(differs for _, differs in parts)


def _block_sums(
    block: np.ndarray,
    arrays: tuple[np.ndarray, np.ndarray],
    model: dict[str, Any],
    iterate: np.ndarray,
    settings: tuple[str, str],
) -> tuple[float, float, Any]:
    """Return a block's total weight, and its value and gradient times that weight."""
    codes, weights = arrays
    total = float(weights.sum(dtype=np.float64))
    if not total:
        return 0.0, 0.0, 0.0
    local = Objective(_rows(block, settings), codes, weights, **model)
    value, gradient = local(iterate)
    return total, total * value, total * gradient


def _add_sums(parts: list[tuple[float, float, Any]]) -> tuple[float, float, Any]:
    """Add up the results of `_block_sums`."""
    totals, values, gradients = zip(*parts, strict=True)
    return sum(totals), sum(values), sum(gradients)
