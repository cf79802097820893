"""Softmax regressions on several folds of the same rows, in one pass for all folds."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skdmn.data import sizes
from skdmn.data.rows import Rows
from skdmn.kernels import dispatch
from skdmn.kernels.reference.softmax import logits
from skdmn.linear_model.lbfgs import LBFGS, Preconditioner
from skdmn.linear_model.objective import Objective, _added
from skdmn.linear_model.solver import factor_sample, preconditioner
from skdmn.utils.array_api import Array, take, to_backend, to_numpy


@dataclass(frozen=True)
class Folds:
    """Objectives of several folds of the same rows, whose mean is minimized.

    No two folds share a coefficient, so the minimum of the mean is that of every fold.
    A pass over the rows computes all folds. For five folds and ten classes, it takes
    two to four times as long as that of a single fold.

    An iterate is an array of shape (n_folds * n_outputs, n_features + 1): one iterate
    of an `Objective` after the other.

    Attributes
    ----------
    rows : Rows
        All rows.
    codes : ndarray of shape (n,), int
        Class index of each row.
    weights : ndarray of shape (n, n_folds), float64
        Weight of each row in each fold; 0 if the fold does not train on it.
    n_classes : int
    mean, scale : ndarrays of shape (n_folds, n_features), float64
        Center and scale used to standardize each feature in each fold.
    varies : ndarray of shape (n_folds, n_features), bool
        False for features that are constant in a fold. Their coefficients remain 0, of
        which rounding would make something else.
    penalty : ndarray of shape (n_folds,), float64
        1 / (C sum(weights)) of each fold.
    fit_intercept : bool
        If False, the intercepts are 0.
    passes : list of float
        One for each pass over the rows.
    """

    rows: Rows
    codes: np.ndarray
    weights: np.ndarray
    n_classes: int
    mean: np.ndarray
    scale: np.ndarray
    varies: np.ndarray
    penalty: np.ndarray
    fit_intercept: bool
    passes: list[float] = field(default_factory=list)
    _on_device: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, objectives: Sequence[Objective]) -> Folds:
        """Return the folds with these objectives, which differ only in weights."""
        first = objectives[0]
        return cls(
            rows=first.rows,
            codes=first.codes,
            weights=np.stack([one.weights for one in objectives], axis=1),
            n_classes=first.n_classes,
            mean=np.stack([one.mean for one in objectives]),
            scale=np.stack([one.scale for one in objectives]),
            varies=np.stack([one.var > 0 for one in objectives]),
            penalty=np.array([one.penalty for one in objectives]),
            fit_intercept=first.fit_intercept,
            passes=first.passes,
        )

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def n_outputs(self) -> int:
        """Number of rows of the iterate of one fold."""
        return self.n_classes if self.n_classes > 2 else 1

    @property
    def rounding(self) -> float:
        """Relative rounding error of the values."""
        return float(np.finfo(self.rows.dtype).eps)

    def with_penalty(self, penalty: np.ndarray) -> Folds:
        """Return the objectives with other penalties."""
        return dataclasses.replace(self, penalty=penalty)

    def __call__(self, iterate: np.ndarray) -> tuple[float, np.ndarray]:
        """Compute the mean value of the folds and its gradient, in one pass."""
        loss, by_coef, by_intercept = self._sums(*self._model(iterate))
        self.passes.append(1.0)
        by_fold = self._by_fold(iterate)
        gradient, coef = np.empty_like(by_fold), by_fold[:, :, :-1]
        by_coef = by_coef.reshape(coef.shape)
        by_intercept = by_intercept.reshape(coef.shape[:2])
        moved = by_coef - by_intercept[:, :, None] * self._shift[:, None, :]
        penalty = self.penalty[:, None, None]
        moved *= (self.varies / self.scale)[:, None, :]
        gradient[:, :, :-1] = moved + penalty * coef
        gradient[:, :, -1] = by_intercept * self.fit_intercept
        squares = (self.penalty * (coef**2).sum(axis=(1, 2))).sum()
        n_folds = len(self)
        value = (loss + squares / 2) / n_folds
        return value, gradient.reshape(iterate.shape) / n_folds

    def _sums(
        self, center: np.ndarray, coef: np.ndarray, intercept: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the sum of the folds' mean losses and its gradient, in one pass.

        The model is that of `_model`.
        """
        codes, weights, unit = self._sent()
        sums = fold_sums(self.rows, (center, coef, intercept), codes, weights)
        loss, by_coef, by_intercept = sums
        return loss / unit, by_coef / unit, by_intercept / unit

    def held_out(
        self, iterate: np.ndarray, chosen: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Compute the logits of some rows of each fold, in one pass.

        Parameters
        ----------
        iterate : ndarray
        chosen : list of ndarray of int, one for each fold
            Sorted indices of the rows.

        Returns
        -------
        list of ndarray of shape (n_chosen, n_outputs)
            Logits on the host, in `rows.dtype`.
        """
        self.passes.append(1.0)
        return self._held_out(self._model(iterate), chosen)

    def _held_out(self, model: Model, chosen: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute the logits of some rows of each fold with the model of `_model`."""
        return fold_logits(self.rows, model, chosen)

    def in_input_units(self, iterate: np.ndarray) -> np.ndarray:
        """Return coefficients and intercepts for features as given, by fold.

        Returns
        -------
        ndarray of shape (n_folds, n_outputs, n_features + 1), float64
            The intercepts are the last column.
        """
        found = self._by_fold(iterate).copy()
        found[:, :, :-1] /= self.scale[:, None, :]
        found[:, :, -1] -= (found[:, :, :-1] @ self.mean[:, :, None])[:, :, 0]
        return found

    def _by_fold(self, iterate: np.ndarray) -> np.ndarray:
        return iterate.reshape(len(self), self.n_outputs, -1)

    @property
    def _center(self) -> np.ndarray:
        return self.mean.mean(axis=0)

    @property
    def _shift(self) -> np.ndarray:
        """The folds' means in relation to the center that all folds share."""
        return self.mean - self._center

    def _model(self, iterate: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return center, coefficients and intercepts for rows in input units."""
        by_fold = self._by_fold(iterate)
        coef = by_fold[:, :, :-1] / self.scale[:, None, :]
        intercept = by_fold[:, :, -1] - (coef @ self._shift[:, :, None])[:, :, 0]
        return self._center, coef.reshape(len(iterate), -1), intercept.ravel()

    def _scaled_weights(self) -> tuple[np.ndarray, float]:
        """Return weights with the same total in each fold, and that total."""
        totals = self.weights.sum(axis=0)
        unit = float(totals.max())
        return (self.weights * (unit / totals)).astype(self.rows.dtype), unit

    def _sent(self) -> tuple[Array, Array, float]:
        """Return codes and scaled weights on the device of computation; cached."""
        if not self._on_device:
            backend, (weights, unit) = self.rows.compute, self._scaled_weights()
            self._on_device["codes"] = to_backend(self.codes, backend)
            self._on_device["weights"] = to_backend(weights, backend)
            self._on_device["unit"] = unit
        codes, weights, unit = self._on_device.values()
        return codes, weights, unit


Model = tuple[np.ndarray, np.ndarray, np.ndarray]  # center, coefficients, intercepts


def fold_sums(
    rows: Rows, model: Model, codes: Array, weights: Array
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the sum of the weighted losses of all folds and its gradient.

    Parameters
    ----------
    rows : Rows
    model : tuple of ndarrays
        Center of shape (n_features,), coefficients (n_folds * n_outputs, n_features)
        and intercepts (n_folds * n_outputs,) for rows in input units.
    codes : array of shape (n,), int
    weights : array of shape (n, n_folds)
        Like the codes, on the device of computation.

    Returns
    -------
    loss : float
    by_coef, by_intercept : ndarrays, float64
    """
    sent = _to_device(rows, model)
    sums: list[Any] = [0.0, 0.0, 0.0]
    # the Numba kernel itself splits blocks to fit the cache
    large = rows.compute.is_numpy and dispatch.has_numba_kernel("softmax_pass")
    for some, block in rows.blocks(sizes.BATCH_BYTES if large else None):
        added = dispatch.softmax_pass(block, *sent, codes[some], weights[some, ...])
        sums = _added(sums, added)
    loss, by_coef, by_intercept = sums
    return float(loss), to_numpy(by_coef), to_numpy(by_intercept)


def fold_logits(
    rows: Rows, model: Model, chosen: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Return the logits of some rows of each fold, in one pass.

    Parameters
    ----------
    rows, model
        As in `fold_sums`.
    chosen : list of ndarray of int
        Sorted indices of the rows for each fold.

    Returns
    -------
    list of ndarray of shape (n_chosen, n_outputs)
        Logits on the host, in `rows.dtype`.
    """
    center, coef, intercept = _to_device(rows, model)
    size = coef.shape[0] // len(chosen)
    found = [np.empty((len(some), size), rows.dtype) for some in chosen]
    for some, block in rows.blocks(sizes.MOMENTS_BYTES):
        for fold, indices in enumerate(chosen):
            first, last = np.searchsorted(indices, [some.start, some.stop])
            own = slice(fold * size, (fold + 1) * size)
            part = take(block, indices[first:last] - some.start, axis=0)
            scores = logits(part, center, coef[own, :], intercept[own])
            found[fold][first:last] = to_numpy(scores)
    return found


def _to_device(rows: Rows, model: Model) -> tuple[Array, Array, Array]:
    """Return a model with the dtype and device of computation."""
    center, coef, intercept = (
        to_backend(np.ascontiguousarray(array, dtype=rows.dtype), rows.compute)
        for array in model
    )
    return center, coef, intercept


class Path:
    """Solutions of several folds for several values of C, each from its neighbour.

    Parameters
    ----------
    objectives : sequence of Objective
        Objective of each fold for C=1.
    pooled : Objective
        Objective of all rows for C=1, whose Hessian preconditions all folds.
    folds_type : type
        `Folds`, or a subclass.
    tol : float
        Estimated suboptimality at which to stop, relative to the value.
    max_iter : int
        Maximum number of steps for each value of C.

    Attributes
    ----------
    folds : Folds
    solutions : dict of float to ndarray
        Iterate for each value of C.
    unfinished : list of float
        Values of C for which the solver did not converge.
    """

    def __init__(
        self,
        objectives: Sequence[Objective],
        pooled: Objective,
        folds_type: type[Folds],
        tol: float,
        max_iter: int,
    ) -> None:
        self.folds = folds_type.of(objectives)
        self.solutions: dict[float, np.ndarray] = {}
        self.unfinished: list[float] = []
        self.tol, self.max_iter = tol, max_iter
        self._origin = np.concatenate([one.origin() for one in objectives])
        self._pooled, self._objectives = pooled, objectives

    def solve(self, C: float) -> np.ndarray:
        """Minimize the objectives for a value of C; return the iterate."""
        folds = self.folds.with_penalty(divided(self.folds.penalty, C))
        start = self._start(C)
        precondition = self._preconditioner(start, C)
        optimizer = LBFGS(folds, start, precondition, rounding=folds.rounding)
        if not self._run(optimizer):
            self.unfinished.append(C)
        self.solutions[C] = optimizer.iterate
        return optimizer.iterate

    def model_of_fold(self, C: float, fold: int) -> tuple[Objective, np.ndarray]:
        """Return the objective of a fold, and its iterate for a value of C."""
        size = self.folds.n_outputs
        iterate = self.solutions[C][fold * size : (fold + 1) * size]
        return self._objectives[fold], iterate

    def _start(self, C: float) -> np.ndarray:
        """Extrapolate the solutions for neighbouring values of C, in log C."""
        logs = {known: np.log(known) for known in self.solutions}
        log_C = np.log(min(C, np.finfo(np.float64).max))
        near = sorted(logs, key=lambda known: abs(log_C - logs[known]))[:2]
        if not near:
            return self._origin
        first = self.solutions[near[0]]
        if len(near) == 1:
            return first
        along = (log_C - logs[near[0]]) / (logs[near[0]] - logs[near[1]])
        return first + min(along, 1.0) * (first - self.solutions[near[1]])

    @functools.cached_property
    def _sample(self) -> Objective:
        """Objective of the rows that factors are computed from."""
        return factor_sample(self._pooled)

    def _preconditioner(self, start: np.ndarray, C: float) -> Preconditioner:
        """Return the inverse of an approximate Hessian at the mean of the folds."""
        n_folds = len(self.folds)
        mean = start.reshape(n_folds, self.folds.n_outputs, -1).mean(axis=0)
        penalty = float(divided(self.folds.penalty, C).mean())
        pooled = dataclasses.replace(self._pooled, penalty=penalty)
        sample = dataclasses.replace(self._sample, penalty=penalty)
        solve = preconditioner(pooled, sample, mean)
        return lambda gradient: n_folds * solve(gradient)

    def _run(self, optimizer: LBFGS) -> bool:
        """Step until convergence; return False if the solver stopped before."""
        # at least one, because a small C has its optimum near the start, but there all
        # rows have the same label
        for _ in range(self.max_iter):
            optimizer.step()
            value = optimizer.values[-1]
            if optimizer.is_stuck:
                return optimizer.suboptimality <= 100 * optimizer.rounding * value
            if optimizer.suboptimality <= self.tol * value:
                return True
        return False


def divided(penalty: Any, C: float) -> Any:
    """Return the penalty, or an array of penalties, for C from that for C=1."""
    with np.errstate(over="ignore"):
        return np.minimum(penalty / C, np.finfo(np.float64).max)
