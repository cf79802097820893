"""Softmax classifiers of similar settings, each started at the solutions of others."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import clone

from skdmn.linear_model.lbfgs import LBFGS, Preconditioner
from skdmn.linear_model.objective import Objective, standardized
from skdmn.linear_model.softmax import SoftmaxClassifier
from skdmn.linear_model.solver import (
    _Confirmation,
    _factor_columns,
    _factor_rows,
    _factored_moments,
    _is_factor_worthwhile,
    _run,
    _sample_of,
    _uses_gram_matrix,
    factor_hessian,
)
from skdmn.model_selection.steps import parameters_of
from skdmn.utils.array_api import HOST

_PATIENCE = 10  # steps with a small estimate, until the Hessian has to confirm it
_ALIKE = 20  # ratio of penalties up to which second moments are used again
_MOST_STEPS = 60  # after which a fit starts anew


def takes_warm_start(classifier: Any, X: Any, y: Any) -> bool:
    """Return True if a classifier can start from the solutions of other settings."""
    return (
        type(classifier) is SoftmaxClassifier
        and not classifier.verbose  # prints the progress of each fit
        and isinstance(X, np.ndarray)
        and isinstance(y, np.ndarray | list)
    )


@dataclass(frozen=True)
class Solution:
    """Solution of a setting.

    Attributes
    ----------
    C : float
    channels : ndarray of shape (n_channels,), int
        Channels of the features among those of the union of all settings.
    others : tuple
        All parameters of the classifier but C.
    iterate : ndarray of shape (n_outputs, n_features + 1), float64
        Standardized coefficients, and intercepts. A feature has the same mean and scale
        in all settings, because they have the same images.
    """

    C: float
    channels: np.ndarray
    others: tuple[Any, ...]
    iterate: np.ndarray

    def mapped(self, channels: np.ndarray) -> np.ndarray:
        """Return the iterate for other channels: 0 for those that are new."""
        n, n_outputs = len(self.channels), len(self.iterate)
        coef = self.iterate[:, :-1].reshape(n_outputs, -1, n)
        found = np.zeros((*coef.shape[:2], len(channels)))
        _, own, theirs = np.intersect1d(
            self.channels, channels, assume_unique=True, return_indices=True
        )
        found[:, :, theirs] = coef[:, :, own]
        return np.column_stack([found.reshape(n_outputs, -1), self.iterate[:, -1]])


@dataclass(frozen=True)
class _Problem:
    """Objective of some features for C=1, and what a fitted classifier needs."""

    X: Any
    others: tuple[Any, ...]
    objective: Objective
    classifier: SoftmaxClassifier
    classes: np.ndarray
    _kept: list[tuple[float, Any]] = field(default_factory=list)

    def objective_for(self, C: float) -> Objective:
        """Return the objective for a value of C."""
        penalty = min(self.objective.penalty / C, float(np.finfo(np.float64).max))
        return dataclasses.replace(self.objective, penalty=penalty, passes=[])

    def preconditioner(self, objective: Objective, start: np.ndarray) -> Preconditioner:
        """Return the inverse of an approximate Hessian.

        If all rows and columns are factored together, their second moments are used for
        all values of C that do not differ much. The penalty, which is added to their
        diagonal, is that of `objective`.
        """
        n_rows, n_columns = len(objective.rows), objective.shape[1]
        if (
            _uses_gram_matrix(objective)
            or n_columns > _factor_columns(objective)
            or n_rows > _factor_rows(objective)
        ):
            return factor_hessian(_sample_of(objective), start)
        least = objective.penalty * _ALIKE
        if not self._kept or self._kept[-1][0] > least:
            parts = objective.curvature_blocks(start)
            found = sum(part.T @ part for part in parts)
            self._kept[:] = [(objective.penalty, found)]
        moments = self._kept[0][1].copy()  # which the factor overwrites
        solve = _factored_moments(moments, objective, is_last=True)
        dtype = objective.rows.dtype
        return lambda gradient: solve(gradient.astype(dtype)).astype(np.float64)


class WarmStarts:
    """Fit softmax classifiers that differ in C or in channels, one after the other.

    Each fit starts near its solution, which is extrapolated from those of other values
    of C and of other channels. It stops like `SoftmaxClassifier`, with one difference:
    the Hessian confirms the optimum only if further steps do not make the bound on the
    suboptimality small. Fits that do not converge in this way are repeated from the
    beginning, because their start would determine the result.
    """

    def __init__(self) -> None:
        self._solved: list[Solution] = []
        self._problem: _Problem | None = None

    def fit(
        self, classifier: Any, channels: np.ndarray, X: Any, y: Any, **fit_params: Any
    ) -> Any:
        """Fit a copy of a classifier.

        Parameters
        ----------
        classifier : SoftmaxClassifier
        channels : ndarray of shape (n_channels,), int
            Channels of the features among those of the union.
        X : ndarray of shape (n, height, width, n_channels) or (n, n_features)
        y : array-like of shape (n,)
        **fit_params : dict
            Passed to `fit`.

        Returns
        -------
        SoftmaxClassifier
        """
        others = parameters_of(classifier, ["C"])
        start = self._start(classifier.C, channels, others)
        fitted = None
        if start is not None:
            problem = self._problem_of(classifier, others, X, y, **fit_params)
            fitted = _fit_from(problem, classifier, start)
        if fitted is None:
            fitted = clone(classifier).fit(X, y, **fit_params)
        iterate = standardized(
            fitted.coef_,
            fitted.intercept_,
            fitted.mean_,
            fitted.scale_,
            fitted.fit_intercept,
        )
        self._solved.append(Solution(classifier.C, channels, others, iterate))
        return fitted

    def release(self) -> None:
        """Release the features of the last fit; solutions are kept."""
        self._problem = None

    def _problem_of(
        self,
        classifier: SoftmaxClassifier,
        others: tuple[Any, ...],
        X: Any,
        y: Any,
        sample_weight: Any = None,
    ) -> _Problem:
        """Return the problem, which is that of the last fit if only C differs."""
        known = self._problem
        if known is None or known.X is not X or known.others != others:
            model = clone(classifier).set_params(C=1.0)
            rows, _ = model._check_rows(X, reset=True)
            classes, codes = model._check_labels(y, len(rows))
            objective = model._objective(rows, classes, codes, sample_weight)
            known = _Problem(X, others, objective, model, classes)
            self._problem = known
        return known

    def _start(
        self, C: float, channels: np.ndarray, others: tuple[Any, ...]
    ) -> np.ndarray | None:
        """Predict a solution; return None if there is none to start from."""
        alike = [one for one in self._solved if one.others == others]
        own = [one for one in alike if np.array_equal(one.channels, channels)]
        own.sort(key=lambda one: _distance(one.C, C))
        near = [one for one in alike if one.C == C]
        near.sort(key=lambda one: -len(np.intersect1d(one.channels, channels)))
        if not own:
            return near[0].mapped(channels) if near else None
        first = own[0]
        for one in near[:1]:  # solutions for other channels change alike with C
            before = [
                other
                for other in alike
                if other.C == first.C and np.array_equal(other.channels, one.channels)
            ]
            if before:
                change = one.mapped(channels) - before[0].mapped(channels)
                return first.iterate + change
        if len(own) == 1 or not 0 < _distance(first.C, own[1].C) < math.inf:
            return first.iterate
        along = math.log(C / first.C) / math.log(first.C / own[1].C)
        along = along if math.isfinite(along) else 0.0
        return first.iterate + min(along, 1.0) * (first.iterate - own[1].iterate)


def _distance(C: float, other: float) -> float:
    """Return the distance of two values of C, which may be infinite."""
    return 0.0 if other == C else abs(math.log(C) - math.log(other))


class _Patient(_Confirmation):
    """Confirm an estimated suboptimality by the bound, and only late by the Hessian.

    A few more steps often make the bound small, and take less time than the Hessian.
    """

    def __init__(self, objective: Objective, sample: Objective, tol: float) -> None:
        super().__init__(objective, sample, tol)
        self._n_asked = 0

    def __call__(self, optimizer: LBFGS) -> bool:
        """Return True if the suboptimality is small."""
        self._n_asked += 1
        if self.is_certain(optimizer):
            return True
        return self._n_asked > _PATIENCE and super().__call__(optimizer)


def _fit_from(
    problem: _Problem, classifier: SoftmaxClassifier, start: np.ndarray
) -> SoftmaxClassifier | None:
    """Fit a classifier from a start; return None if it does not converge."""
    objective = problem.objective_for(classifier.C)
    if not _is_factor_worthwhile(objective) or start.shape != objective.shape:
        return None
    precondition = problem.preconditioner(objective, start)
    optimizer = LBFGS(objective, start, precondition, rounding=objective.rounding)
    confirm = _Patient(objective, _sample_of(objective), classifier.tol)
    n_steps = min(classifier.max_iter, _MOST_STEPS)
    is_done = _run(
        optimizer, objective, classifier.tol, n_steps, lambda *_: False, confirm
    )
    if not is_done:
        return None
    fitted = clone(classifier)
    model_of = fitted._model_of(objective, problem.classes, HOST, problem.classes)
    fitted.__dict__ |= model_of(optimizer.iterate)
    fitted.__dict__ |= {
        "n_features_in_": problem.classifier.n_features_in_,
        "loss_curve_": [float(value) for value in optimizer.values],
        "n_iter_": len(optimizer.values) - 1,
        "n_passes_": float(sum(objective.passes)),
    }
    return fitted
