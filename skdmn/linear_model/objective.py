"""Objective of softmax regression: value, gradient and curvature in one pass each."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skdmn.data import sizes
from skdmn.data.rows import Rows
from skdmn.kernels import dispatch
from skdmn.kernels.reference.softmax import (
    block_curvature,
    block_curvature_product,
    logits,
    probabilities,
)
from skdmn.kernels.reference.sums import to_float64
from skdmn.linear_model.lbfgs import Preconditioner
from skdmn.utils.array_api import Array, take, to_backend, to_numpy

_MIN_SHARE = 1e-6  # added to the shares of classes, because one without weight has 0


def column_moments(rows: Rows, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute each feature's weighted mean and variance in one pass.

    Parameters
    ----------
    rows : Rows
    weights : ndarray of shape (n,), float64
        Weight of each row.

    Returns
    -------
    mean, var : ndarrays of shape (n_features,), float64
        NaN or infinite for features with such values.
    """
    _, mean, var = group_moments(rows, weights, np.zeros(len(rows), int), 1)
    return mean[0], var[0]


@np.errstate(invalid="ignore", over="ignore")
def group_moments(
    rows: Rows, weights: np.ndarray, groups: np.ndarray, n_groups: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute each feature's weighted mean and variance in groups of rows.

    All groups are computed in one pass. The blocks' moments are merged with the formula
    of Chan, Golub and LeVeque (1983).

    Parameters
    ----------
    rows : Rows
    weights : ndarray of shape (n,), float64
        Weight of each row.
    groups : ndarray of shape (n,), int
        Index of the group of each row.
    n_groups : int

    Returns
    -------
    total : ndarray of shape (n_groups,), float64
        Total weight of each group.
    mean, var : ndarrays of shape (n_groups, n_features), float64
        NaN or infinite for features with such values.
    """
    xp, shape = rows.compute.xp, (n_groups, rows.n_features)
    total, mean, var = np.zeros(n_groups), np.zeros(shape), np.zeros(shape)
    # a part of a block for each group is as large as a block for one group
    in_cache = rows.compute.is_numpy and n_groups > 1
    size = n_groups * sizes.CACHE_BYTES if in_cache else None
    for some, block in rows.blocks(size):
        for group, members in _members(groups[some], n_groups):
            of_members = weights[some][members]
            added = float(of_members.sum())
            if not added:
                continue
            is_whole = len(of_members) == block.shape[0]
            part = block if is_whole else take(block, members, 0)
            values = xp.astype(part, getattr(xp, rows.dtype), copy=False)
            w = to_backend(of_members / added, rows.compute)
            w = xp.astype(w, values.dtype)
            # Subtract the first value, so that a constant feature has exactly zero
            # variance; then the part's mean, so that squares lose no digits if the
            # first value is an outlier.
            with np.errstate(invalid="ignore", over="ignore"):
                first = values[int(np.flatnonzero(of_members)[0]), :]
                center = first + w @ (values - first)
                values = values - center
                rest = to_numpy(w @ values).astype(np.float64)
                part_var = to_numpy(w @ (values * values)) - rest**2
            part_mean = to_numpy(center).astype(np.float64) + rest
            share = added / (total[group] + added)
            total[group] += added
            difference = part_mean - mean[group]
            var[group] += share * (part_var - var[group] + (1 - share) * difference**2)
            mean[group] += share * difference
    return total, mean, np.maximum(var, 0.0)


def standardized(
    coef: np.ndarray,
    intercept: np.ndarray,
    mean: np.ndarray,
    scale: np.ndarray,
    fit_intercept: bool,
) -> np.ndarray:
    """Return the iterate of a model for features as given.

    Parameters
    ----------
    coef, intercept : ndarrays of shape (n_outputs, n_features) and (n_outputs,)
    mean, scale : ndarrays of shape (n_features,)
        Center and scale of each feature in the objective of the iterate.
    fit_intercept : bool
        If False, the intercepts of the iterate are 0.

    Returns
    -------
    ndarray of shape (n_outputs, n_features + 1), float64
    """
    free = (intercept + coef @ mean) * fit_intercept
    return np.column_stack([coef * scale, free]).astype(np.float64)


def _members(groups: np.ndarray, n_groups: int) -> Iterator[tuple[int, Any]]:
    """Yield each group that occurs, and the indices of its rows."""
    if n_groups == 1:
        yield 0, slice(None)
        return
    for group in np.unique(groups).tolist():
        yield group, np.flatnonzero(groups == group)


@dataclass(frozen=True)
class Objective:
    """Mean loss plus L2 penalty, as a function of standardized coefficients.

    An iterate is an array of shape (n_outputs, n_features + 1). Each of its rows holds
    the coefficients w and the intercept b of one class; for two classes there is only
    the row of the second class. With the logits w (x - mean) / scale + b, the value is
    sum(weights loss) / sum(weights) + penalty |w|^2 / 2.

    Attributes
    ----------
    rows : Rows
    codes : ndarray of shape (n,), int
        Class index of each row.
    weights : ndarray of shape (n,), float64
        Weight of each row.
    n_classes : int
    mean, scale, var : ndarrays of shape (n_features,), float64
        Center and scale used to standardize each feature, and its variance.
    penalty : float
        1 / (C sum(weights)).
    fit_intercept : bool
        If False, b is 0.
    share : float
        Share of the training rows that `rows` holds; 1 unless this is a sample.
    passes : list of float
        Share of the training rows that each pass has read; samples append to the same
        list.
    """

    rows: Rows
    codes: np.ndarray
    weights: np.ndarray
    n_classes: int
    mean: np.ndarray
    scale: np.ndarray
    var: np.ndarray
    penalty: float
    fit_intercept: bool
    share: float = 1.0
    passes: list[float] = field(default_factory=list)
    _on_device: dict[str, Array] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of an iterate: (n_outputs, n_features + 1)."""
        outputs = self.n_classes if self.n_classes > 2 else 1
        return outputs, self.rows.n_features + 1

    @property
    def rounding(self) -> float:
        """Relative rounding error of the values."""
        return float(np.finfo(self.rows.dtype).eps)

    def __call__(self, iterate: np.ndarray) -> tuple[float, np.ndarray]:
        """Compute value and gradient at an iterate, in one pass."""
        center, coef, intercept = self._model(iterate)
        codes, weights = self._labels()
        # sums of the loss, and of its gradients for coefficients and intercepts; a GPU
        # keeps them until the end of the pass
        sums: list[Any] = [0.0, 0.0, 0.0]
        # the Numba kernel itself splits blocks to fit the cache
        large = self.rows.compute.is_numpy and dispatch.has_numba_kernel("softmax_pass")
        for some, block in self.rows.blocks(sizes.BATCH_BYTES if large else None):
            added = dispatch.softmax_pass(
                block, center, coef, intercept, codes[some], weights[some]
            )
            sums = _added(sums, added)
        self.passes.append(self.share)
        loss, total = float(sums[0]), self.weights.sum()
        value = loss / total + self.penalty / 2 * (iterate[:, :-1] ** 2).sum()
        return value, self._penalized(sums[1:], iterate)

    def _penalized(self, sums: list[Any], iterate: np.ndarray) -> np.ndarray:
        """Return means in standardized units from sums, and add the penalty's part."""
        means = np.empty(self.shape)
        means[:, :-1], means[:, -1] = map(to_numpy, sums)
        means[:, :-1] /= self.scale
        means /= self.weights.sum()
        means[:, :-1] += self.penalty * iterate[:, :-1]
        means[:, -1] *= self.fit_intercept
        return means

    def origin(self) -> np.ndarray:
        """Return zero coefficients, with the intercepts that fit the class weights."""
        iterate = np.zeros(self.shape)
        if self.fit_intercept:
            counts = np.bincount(self.codes, self.weights, minlength=self.n_classes)
            logs = np.log(counts / counts.sum() + _MIN_SHARE)
            centered = logs[1:] - logs[0] if len(iterate) == 1 else logs - logs.mean()
            iterate[:, -1] = centered
        return iterate

    def sample(self, size: int) -> Objective:
        """Return the objective of a stratified sample of the rows.

        The sample is the same each time, and leaves out rows without weight.

        Parameters
        ----------
        size : int
            Number of rows; rounding up in each class may add some.
        """
        random = np.random.default_rng(0)
        members = [
            np.flatnonzero((self.codes == code) & (self.weights > 0))
            for code in range(self.n_classes)
        ]
        share = size / sum(map(len, members))
        chosen = np.sort(
            np.concatenate(
                [random.permutation(m)[: int(np.ceil(share * len(m)))] for m in members]
            )
        )
        return dataclasses.replace(
            self,
            rows=self.rows.choose(chosen),
            codes=self.codes[chosen],
            weights=self.weights[chosen],
            share=self.share * len(chosen) / len(self.rows),
            _on_device={},
        )

    def in_memory(self, n_rows: int) -> Objective:
        """Return the objective of all rows, or of a sample if there are more rows."""
        return self.sample(n_rows) if n_rows < len(self.rows) else self

    def diagonal(self) -> Preconditioner:
        """Return a diagonal preconditioner: the inverse of a bound on the Hessian's.

        The bound omits the factor p (1 - p) < 1 of the Hessian, and so is several times
        its diagonal. Steps are short, as correlated columns require.
        """
        diagonal = np.append(self.var / self.scale**2 + self.penalty, 1.0)
        diagonal[diagonal == 0] = 1.0  # constant columns without a penalty
        return lambda gradient: gradient / diagonal

    def curvature_blocks(self, iterate: np.ndarray) -> Iterator[Array]:
        """Yield `block_curvature` of the standardized rows, at an iterate."""
        model = self._model(iterate)
        _, weights = self._labels()
        scale = np.append(self.scale, 1.0).astype(self.rows.dtype)
        divisor = to_backend(scale, self.rows.compute)
        for some, block in self.rows.blocks(sizes.MOMENTS_BYTES):
            # divide before summing: products of unscaled features may overflow
            yield block_curvature(block, *model, weights[some]) / divisor
        self.passes.append(self.share)

    def hessian(self, iterate: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """Return a function that multiplies the Hessian at an iterate with a direction.

        Each call is one pass. The probabilities of all rows are kept.
        """
        center, coef, intercept = self._model(iterate)
        _, weights = self._labels()
        kept = [
            probabilities(logits(block, center, coef, intercept))[0]
            for _, block in self.rows.blocks(sizes.MOMENTS_BYTES)
        ]
        self.passes.append(self.share)

        def multiply(direction: np.ndarray) -> np.ndarray:
            _, coef, intercept = self._model(direction)
            sums: list[Any] = [0.0, 0.0]
            for p, (some, block) in zip(
                kept, self.rows.blocks(sizes.MOMENTS_BYTES), strict=True
            ):
                added = block_curvature_product(
                    block, center, coef, intercept, p, weights[some]
                )
                sums = _added(sums, added)
            self.passes.append(self.share)
            return self._penalized(sums, direction)

        return multiply

    def second_derivative(self, iterate: np.ndarray) -> np.ndarray:
        """Compute the Hessian at an iterate, in one pass.

        Returns
        -------
        ndarray of shape (n_outputs * (n_features + 1),) * 2, float64
            The diagonal is 1 for an intercept that is not fitted.
        """
        n_outputs, n_columns = self.shape
        matrix = np.zeros((n_outputs, n_columns, n_outputs, n_columns))
        coef = iterate[:, :-1] / self.scale
        for some, block in self.rows.blocks(sizes.MOMENTS_BYTES):
            rows = to_numpy(block).astype(np.float64)
            p, _ = probabilities(logits(rows, self.mean, coef, iterate[:, -1]))
            # sums of the others, because 1 - p is not accurate if p is nearly 1
            others = (p @ (1.0 - np.eye(p.shape[1])))[:, -n_outputs:]
            p = p[:, -n_outputs:]
            rows = (rows - self.mean) / self.scale
            rows = np.column_stack([rows, np.full(len(rows), self.fit_intercept)])
            weights = self.weights[some] / self.weights.sum()
            for c, d in itertools.combinations_with_replacement(range(n_outputs), 2):
                by_row = weights * p[:, c] * (others[:, c] if c == d else -p[:, d])
                matrix[c, :, d] += (rows * by_row[:, np.newaxis]).T @ rows
        self.passes.append(self.share)
        for c, d in itertools.combinations(range(n_outputs), 2):
            matrix[d, :, c] = matrix[c, :, d]
        hessian = matrix.reshape(n_outputs * n_columns, -1)
        unpenalized = 0.0 if self.fit_intercept else 1.0
        penalty = np.append(np.full(n_columns - 1, self.penalty), unpenalized)
        hessian[np.diag_indices_from(hessian)] += np.tile(penalty, n_outputs)
        return hessian

    def logit_change(self, iterate: np.ndarray, step: np.ndarray) -> float:
        """Return the change of the logits by a step, in one pass.

        This is the largest change if these are all rows. In a sample, it is the root
        mean square change, in which each row counts by its part of the step's
        curvature. If it is above 1, the Hessian changes much on the way.
        """
        center, *model = self._model(iterate)
        _, *direction = self._model(step)
        _, weights = self._labels()
        xp = self.rows.compute.xp
        largest, curvature, squares = 0.0, 0.0, 0.0
        for some, block in self.rows.blocks(sizes.MOMENTS_BYTES):
            p, _ = probabilities(logits(block, center, *model))
            change = logits(block, center, *direction)
            if change.shape[1] == 1:  # the logits of the first of two classes are 0
                change = xp.concat([xp.zeros_like(change), change], axis=1)
            change = change - xp.sum(p * change, axis=1, keepdims=True)
            by_row = xp.sum(p * change * change, axis=1) * weights[some]
            square = xp.max(change * change, axis=1)
            largest = max(largest, float(xp.max(square)))
            curvature += float(xp.sum(by_row))
            squares += float(xp.sum(by_row * square))
        self.passes.append(2 * self.share)
        if self.share == 1.0:
            return math.sqrt(largest)
        return math.sqrt(squares / curvature) if curvature else 0.0

    def _model(self, iterate: np.ndarray) -> tuple[Array, Array, Array]:
        """Return center, coefficients and intercepts for rows in input units."""
        coef = iterate[:, :-1] / self.scale
        backend, dtype = self.rows.compute, self.rows.dtype
        center, coef, intercept = (
            to_backend(np.ascontiguousarray(array, dtype=dtype), backend)
            for array in (self.mean, coef, iterate[:, -1])
        )
        return center, coef, intercept

    def _labels(self) -> tuple[Array, Array]:
        """Return codes and weights on the device of computation; cached."""
        if not self._on_device:
            backend, weights = self.rows.compute, self.weights.astype(self.rows.dtype)
            self._on_device["codes"] = to_backend(self.codes, backend)
            self._on_device["weights"] = to_backend(weights, backend)
        return self._on_device["codes"], self._on_device["weights"]


def _added(sums: list[Any], parts: tuple[Any, ...]) -> list[Any]:
    """Return sums after parts of a block were added to them in float64."""
    return [one + to_float64(part) for one, part in zip(sums, parts, strict=True)]
