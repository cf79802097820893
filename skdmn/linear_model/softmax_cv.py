"""Softmax regression that chooses its regularization by cross-validation."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import time
import warnings
from collections.abc import Callable, Iterator
from numbers import Integral
from typing import Any, ClassVar, Literal, Self

import numpy as np
from sklearn import get_config
from sklearn.callback import with_callbacks
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.validation import _check_method_params

from skdmn.data.rows import Rows
from skdmn.linear_model.base import _LinearClassifier
from skdmn.linear_model.folds import Folds, Path, divided
from skdmn.linear_model.objective import Objective, group_moments, standardized
from skdmn.linear_model.softmax import (
    SoftmaxClassifier,
    _of_order_one,
    _resident,
)
from skdmn.statistics.channels import merged_moments
from skdmn.utils.array_api import Array, Backend, to_backend, widest_float
from skdmn.utils.labels import check_sample_weight
from skdmn.utils.reports import report
from skdmn.utils.state import (
    POSITIVE,
    Sizes,
    State,
    StateError,
    checked,
    floats,
    number,
)
from skdmn.utils.validation import one_line

# for each fold: how often it trains on each row, and its sorted test rows
Splits = list[tuple[np.ndarray, np.ndarray]]

# Default grid, as C times the mean squared norm of the standardized rows: the variance
# of the logits that the penalty expects
LOWEST, HIGHEST = 1e-2, 1e3
# The grid is extended by at most so many values, and to at most this factor
EXTENSIONS, FARTHEST = 5, 1e3
# Tolerance of the folds, for which scores are the same up to ties
FOLD_SHARE, FOLD_TOL = 30, 3e-4
OUTPUTS = 64  # of the folds that are computed together


def _check_scores(scores: Any, sizes: Sizes) -> None:
    """Raise StateError if the scores are not one for each fold and value of C."""
    if type(scores) not in (np.ndarray, np.memmap) or scores.dtype.kind != "f":
        raise StateError("is no array of floats")
    shape = (sizes.setdefault("n_folds", len(scores) if scores.ndim else 0),)
    if not scores.size or scores.shape != (*shape, sizes["n_Cs"]):
        expected = f"(n_folds, {sizes['n_Cs']})"
        raise StateError(f"has shape {scores.shape}, expected {expected}")


class SoftmaxClassifierCV(SoftmaxClassifier):
    r"""Softmax regression with an L2 penalty that is chosen by cross-validation.

    This is the counterpart of :class:`~sklearn.linear_model.LogisticRegressionCV` for
    `SoftmaxClassifier`. It scores several values of C on the same folds as
    :func:`~sklearn.model_selection.cross_val_score`, and then fits all rows with the
    best value. The whole search takes a few times as long as one fit, because the folds
    and the values of C share their work.

    Parameters
    ----------
    Cs : int or array-like of float, default=10
        Inverses of the regularization strength to try. An int is the number of values
        of a grid that depends on the data; see the Notes. Other values are tried as
        they are given.
    cv : int, cross-validation generator or iterable, default=5
        Folds. An int is the number of stratified folds, without shuffling, as in
        LogisticRegressionCV; None means 5.
    scoring : str, callable or None, default=None
        Scorer of scikit-learn, or its name, or a callable ``scorer(estimator, X, y)``.
        None means accuracy. The best value of C has the largest mean score; of equal
        ones, the first in `Cs_`.
    refit : bool, default=True
        If True, fit all rows with the best C. If False, choose C for each fold, and
        average the coefficients of the folds.
    standardize : bool, default=True
        If True, the penalty acts on the coefficients of standardized features, as in
        `SoftmaxClassifier`. Each fold is standardized by its own training rows.
    tol : float, default=1e-5
        Tolerance for stopping, as in `SoftmaxClassifier`. It holds for the final fit.
        The folds stop at 30 times `tol`, but not above 3e-4 unless `tol` is.
    max_iter : int, default=200
        Maximum number of iterations for each value of C, and of the final fit.
    fit_intercept : bool, default=True
        Whether to fit an intercept; see `SoftmaxClassifier`.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes as {label: weight}. "balanced" makes the total weights of
        all classes equal, in each fold. None gives every class the weight 1.
    store_coefs_paths : bool, default=False
        Whether to store `coefs_paths_`.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Device for the computation. "auto" uses the device of `X`; for NumPy arrays it
        uses a GPU if the work is large and CuPy finds one, else the CPU.
    verbose : bool, default=False
        Whether to print the score of each C, and the progress of the final fit.

    Attributes
    ----------
    C_ : float
        Value of C with the best mean score. If `refit` is False, the mean of the best
        values of the folds.
    Cs_ : array of shape (n_Cs,)
        Values of C that were tried.
    scores_ : array of shape (n_folds, n_Cs)
        Score of the test rows of each fold for each value of C.
    coefs_paths_ : array of shape (n_folds, n_Cs, n_classes or 1, n_features + 1)
        Coefficients of the folds for the features as given; the last column is the
        intercept. It exists only if `store_coefs_paths` is True.
    coef_ : array of shape (n_classes, n_features) or (1, n_features), float64
        Coefficients for the features as given; one row if there are two classes. Like
        the other arrays, it has the array library and device of X.
    intercept_ : array of shape (n_classes,) or (1,), float64
        Intercepts for the features as given.
    mean_ : array of shape (n_features,), float64
        Mean of each feature; 0 if neither standardized nor with an intercept.
    scale_ : array of shape (n_features,), float64
        Scale of each feature, by which the penalty is scaled; 1 if not standardized.
    classes_ : array of shape (n_classes,)
        Sorted labels, with the array library and device of y.
    loss_curve_ : list of float
        Objective of the final fit, as in `SoftmaxClassifier`.
    n_iter_ : int
        Number of iterations of the final fit over all rows.
    n_passes_ : float
        Number of times that X was read for the objectives, by search and final fit.
    n_features_in_ : int
        Number of features of a row, or of values of an image.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of `X`, if it is a data frame whose names are all strings.

    See Also
    --------
    SoftmaxClassifier : The same with a given C; describes objective and solver.
    sklearn.linear_model.LogisticRegressionCV : Other penalties and solvers.

    Notes
    -----
    **Default grid.** With the standardized features x', the penalty is that of a normal
    prior of variance C for each coefficient. The prior variance of a logit is then
    :math:`C |x'|^2`. The values of C are spaced logarithmically, so that the mean of
    this variance goes from 0.01 to 1000. If the best value is at an end and better than
    all others, up to five values are added, at most 1000 times beyond that end.

    **Solver.** All folds are minimized at once by L-BFGS, so that each pass over the
    data computes value and gradient of all folds. The values of C are taken in
    increasing order. Each solution starts from an extrapolation of the two before it.
    For each value, one factor, computed as in `SoftmaxClassifier`, preconditions all
    folds. The final fit starts from the mean of the folds.

    **Differences from cross_val_score.** For the same folds, the scores are those of
    SoftmaxClassifier with the same C, up to labels whose probabilities are equal within
    the tolerance. Each fold is standardized by its own training rows. Labels that occur
    only in the test rows of a fold get a probability near zero.

    **Memory.** The search holds the factor, a copy of a sample of the rows, 30 copies
    of the coefficients of all folds, and one for each C.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdmn import SoftmaxClassifierCV
    >>> X, y = load_digits(return_X_y=True)
    >>> softmax = SoftmaxClassifierCV(Cs=[0.001, 0.01, 0.1], cv=3).fit(X, y)
    >>> softmax.C_
    0.1
    >>> softmax.scores_.shape
    (3, 3)
    """

    _parameter_constraints: dict[str, list[Any]] = {
        name: constraints
        for name, constraints in SoftmaxClassifier._parameter_constraints.items()
        if name not in ("C", "warm_start")
    } | {
        "Cs": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "cv": ["cv_object"],
        "scoring": [StrOptions(set(get_scorer_names())), callable, None],
        "refit": ["boolean"],
        "store_coefs_paths": ["boolean"],
    }
    _state: ClassVar[State] = {
        "C_": number(least=POSITIVE),
        "Cs_": floats("n_Cs", least=POSITIVE, is_finite=False),
        "scores_": checked(_check_scores),
        "coefs_paths_": floats("n_folds", "n_Cs", "n_outputs", "n_dof").optional(),
    }
    _folds_type: type[Folds] = Folds
    _name = "SoftmaxClassifierCV"

    def __init__(
        self,
        Cs: Any = 10,
        *,
        cv: Any = 5,
        scoring: str | Callable | None = None,
        refit: bool = True,
        standardize: bool = True,
        tol: float = 1e-5,
        max_iter: int = 200,
        fit_intercept: bool = True,
        class_weight: dict | Literal["balanced"] | None = None,
        store_coefs_paths: bool = False,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        verbose: bool = False,
    ) -> None:
        self.Cs = Cs
        self.cv = cv
        self.scoring = scoring
        self.refit = refit
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.store_coefs_paths = store_coefs_paths
        self.device = device
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **params: Any) -> Self:
        """Choose C by cross-validation, and fit the coefficients.

        Parameters
        ----------
        X : array-like of shape (n, n_features) or (n, height, width[, channels])
            Rows or images, as in `SoftmaxClassifier.fit`.
        y : array-like of shape (n,)
            Labels.
        sample_weight : array-like of shape (n,) or None, default=None
            Weight of each row; None means 1. The scorer gets it, too, unless metadata
            routing is enabled, in which case the scorer has to request it.
        **params : dict
            Metadata for the splitter and the scorer, such as groups. It requires
            ``sklearn.set_config(enable_metadata_routing=True)``.

        Returns
        -------
        self : SoftmaxClassifierCV
            Fitted estimator.

        Raises
        ------
        ValueError
            As in `SoftmaxClassifier.fit`, or if the training rows of a fold have only
            one class.
        RuntimeError
            If `device` is "cuda" and no GPU is usable.
        """
        self._check_routed(params, "fit")
        with self._unchanged_on_error():
            self._check_params()
            self._fit_cv(X, y, sample_weight, params)
        return self

    @with_callbacks
    def _fit_cv(self, X: Any, y: Any, sample_weight: Any, params: dict) -> None:
        grid = self._given_grid()
        rows, backend = self._check_rows(X, reset=True)
        classes, codes = self._check_labels(y, len(rows))
        weights = check_sample_weight(sample_weight, len(rows))
        of_splitter, of_scorer = self._routed(sample_weight, weights, params)
        splits = self._splits(X, classes[codes], of_splitter)
        rows = _resident(rows, backend)
        pooled, objectives = self._objectives(rows, classes, codes, weights, splits)
        score = _Score(self, X, rows, backend, classes, codes, of_scorer)
        metadata = {"sample_weight": sample_weight, **params}
        data = self._callback_data({"X": X, "y": y, "metadata": metadata})
        context = self._init_callback_context(max_subtasks=2)
        context.call_on_fit_task_begin(estimator=self, **data)
        search = _Search(self, objectives, pooled, splits, score)
        search.run(grid, context, data)
        Cs, scores = search.results(grid)
        self.Cs_, self.scores_ = (_as_floats(array, backend) for array in (Cs, scores))
        if self.store_coefs_paths:
            paths = search.coefs_paths(Cs)
            self.coefs_paths_ = _as_floats(paths, backend)
        elif hasattr(self, "coefs_paths_"):
            del self.coefs_paths_  # of an earlier fit
        model, self.C_ = search.best_model(Cs, scores, self.refit)
        pooled = dataclasses.replace(
            pooled, penalty=float(divided(pooled.penalty, self.C_))
        )
        start = standardized(
            model[:, :-1],
            model[:, -1],
            pooled.mean,
            pooled.scale,
            pooled.fit_intercept,
        )
        fitted = self._model_of(pooled, classes, backend, y)
        if self.refit:
            self._minimize(pooled, start, fitted, data, context)
        else:
            for name, value in fitted(start).items():
                setattr(self, name, value)
            self.loss_curve_, self.n_iter_ = [float(pooled(start)[0])], 0
        self.n_passes_ = float(sum(pooled.passes))
        context.call_on_fit_task_end(
            estimator=self, reconstruction_attributes={}, **data
        )
        search.warn()

    def score(self, X: Any, y: Any, sample_weight: Any = None, **params: Any) -> float:
        """Compute the score of predictions with `scoring`.

        Parameters
        ----------
        X : array-like of shape (n, n_features) or (n, height, width[, channels])
            Rows or images, as in `fit`.
        y : array-like of shape (n,)
            Labels.
        sample_weight : array-like of shape (n,) or None, default=None
            Weight of each row.
        **params : dict
            Metadata for the scorer. It requires
            ``sklearn.set_config(enable_metadata_routing=True)``.

        Returns
        -------
        score : float
        """
        self._check_routed(params, "score")
        if sample_weight is not None:
            params = {**params, "sample_weight": sample_weight}
        if get_config()["enable_metadata_routing"]:
            params = process_routing(self, "score", **params).scorer.score
        return self._scorer()(self, X, y, **params)

    def get_metadata_routing(self) -> MetadataRouter:
        """Return the metadata that the classifier, the splitter and the scorer request.

        Returns
        -------
        router : MetadataRouter
        """
        splits = MethodMapping().add(caller="fit", callee="split")
        scores = MethodMapping().add(caller="fit", callee="score")
        scores = scores.add(caller="score", callee="score")
        router = MetadataRouter(owner=self).add_self_request(self)
        router = router.add(splitter=self.cv, method_mapping=splits)
        return router.add(scorer=self._scorer(), method_mapping=scores)

    def _told_C(self) -> str:
        """Return the regularization for a message."""
        return f"Cs (the best is {self.C_:g})"

    def _scorer(self) -> Callable[..., float]:
        return get_scorer(self.scoring or "accuracy")

    def _check_routed(self, params: dict[str, Any], method: str) -> None:
        """Raise if metadata were passed that cannot be routed."""
        if params and not get_config()["enable_metadata_routing"]:
            raise ValueError(
                f"{type(self).__name__}.{method} got {', '.join(sorted(params))}; call "
                "sklearn.set_config(enable_metadata_routing=True) first to pass "
                "metadata to the splitter and the scorer."
            )

    def _routed(
        self, sample_weight: Any, weights: np.ndarray, params: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the metadata for the splitter and for the scorer."""
        if sample_weight is not None:
            sample_weight = weights
        if get_config()["enable_metadata_routing"]:
            routed = process_routing(self, "fit", sample_weight=sample_weight, **params)
            return routed.splitter.split, routed.scorer.score
        of_scorer = {} if sample_weight is None else {"sample_weight": sample_weight}
        return {}, of_scorer

    def _given_grid(self) -> np.ndarray | None:
        """Return the values of C if they are given; None if only their number is."""
        if isinstance(self.Cs, Integral):
            return None
        try:
            grid = np.asarray(self.Cs, dtype=np.float64)
        except (TypeError, ValueError):  # no numbers
            grid = np.empty(0)
        if grid.ndim != 1 or not len(grid) or not (grid > 0).all():
            raise ValueError(
                f"Cs={one_line(self.Cs)} is not a list of positive numbers; pass "
                "such a list, or the number of values."
            )
        return grid

    def _grid(self, pooled: Objective) -> tuple[np.ndarray, float]:
        """Return the default grid, and the ratio of neighbours; 0 if there are none."""
        # mean squared norm of the standardized rows
        norm = float((pooled.var / pooled.scale**2).sum()) or 1.0
        if self.Cs == 1:
            return np.array([np.sqrt(LOWEST * HIGHEST) / norm]), 0.0
        grid = np.geomspace(LOWEST, HIGHEST, self.Cs) / norm
        return grid, float(grid[1] / grid[0])

    def _splits(
        self, X: Any, labels: np.ndarray, params: dict[str, Any]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return how often each fold trains on each row, and its sorted test rows."""
        n = len(labels)
        cv = check_cv(self.cv, labels, classifier=True)
        found: Splits = []
        for train, test in cv.split(self._seen_by_splitter(X, n), labels, **params):
            counts = np.bincount(np.arange(n)[train], minlength=n)
            chosen = np.sort(np.arange(n)[test])
            if not (counts.any() and len(chosen)):
                raise ValueError(
                    f"Fold {len(found) + 1} of cv={self.cv!r} has {counts.sum()} "
                    f"training rows and {len(chosen)} test rows; it needs both."
                )
            found.append((counts, chosen))
        if not found:
            raise ValueError(f"cv={self.cv!r} yields no folds; pass at least one.")
        return found

    @staticmethod
    def _seen_by_splitter(X: Any, n: int) -> Any:
        """Return the X to pass to the splitter."""
        return X

    def _objectives(
        self,
        rows: Rows,
        classes: np.ndarray,
        codes: np.ndarray,
        weights: np.ndarray,
        splits: Splits,
    ) -> tuple[Objective, list[Objective]]:
        """Return the objectives for C=1 of all rows, and of the rows of each fold."""
        weights, exponent = _of_order_one(weights)
        moments = self._moments(rows, weights)
        self._check_moments(rows, weights, *moments)
        args = rows, classes, codes
        pooled = self._objective_of(*args, weights, exponent, moments, len(rows), 1.0)
        of_folds = self._moments_of_folds(rows, weights, [often for often, _ in splits])
        found: list[Objective] = []
        for (counts, _), of_fold in zip(splits, of_folds, strict=True):
            of_rows, more = _of_order_one(weights * counts)
            present = np.unique(codes[of_rows > 0])
            if len(present) < 2:
                raise ValueError(
                    f"The training rows of fold {len(found) + 1} of cv={self.cv!r} "
                    f"have labels of {len(present)} class only; pass a cv that "
                    "shuffles, or stratifies by class."
                )
            n_rows = int(counts.sum())
            one = self._objective_of(
                *args, of_rows, exponent + more, of_fold, n_rows, 1.0
            )
            found.append(dataclasses.replace(one, passes=pooled.passes))
        return pooled, found

    def _moments_of_folds(
        self, rows: Rows, weights: np.ndarray, counts: list[np.ndarray]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return each feature's mean and variance in each fold.

        Rows that the same folds train on are one group. Each group is summed once, and
        its moments are merged with those of other groups. They are never subtracted, so
        that no digits are lost.
        """
        groups = np.zeros(len(rows), np.intp)
        for of_fold in counts:
            both = groups * (of_fold.max() + 1) + of_fold
            groups = np.unique(both, return_inverse=True)[1]
        first = np.unique(groups, return_index=True)[1]
        if len(first) > 2 * len(counts):  # folds that overlap: groups are too many
            return [self._moments(rows, weights * of_fold) for of_fold in counts]
        parts = self._group_moments(rows, weights, groups, len(first))
        found = []
        for of_fold in counts:
            often = of_fold[first]
            merged = merged_moments(
                (count * total, mean, var)
                for count, total, mean, var in zip(often, *parts, strict=True)
            )
            found.append(merged[1:])
        return found

    @staticmethod
    def _group_moments(
        rows: Rows, weights: np.ndarray, groups: np.ndarray, n_groups: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compute each feature's weighted mean and variance in groups of rows."""
        return group_moments(rows, weights, groups, n_groups)


class _Search:
    """Cross-validation of values of C, with the models of all folds.

    Parameters
    ----------
    estimator : SoftmaxClassifierCV
    objectives : list of Objective
        Objectives of the folds for C=1.
    pooled : Objective
        Objective of all rows for C=1.
    splits : list of (ndarray, ndarray)
        See `SoftmaxClassifierCV._splits`.
    score : _Score
    """

    def __init__(
        self,
        estimator: SoftmaxClassifierCV,
        objectives: list[Objective],
        pooled: Objective,
        splits: Splits,
        score: _Score,
    ) -> None:
        self.estimator, self.pooled, self.score = estimator, pooled, score
        size = max(1, OUTPUTS // pooled.shape[0])
        together = [slice(i, i + size) for i in range(0, len(splits), size)]
        tol = min(FOLD_SHARE * estimator.tol, max(estimator.tol, FOLD_TOL))
        settings = estimator._folds_type, tol, estimator.max_iter
        self.paths = [Path(objectives[some], pooled, *settings) for some in together]
        self.tests = [[test for _, test in splits[some]] for some in together]
        self.scores: dict[float, np.ndarray] = {}
        self.started = time.monotonic()

    def run(self, grid: np.ndarray | None, context: Any, data: dict[str, Any]) -> None:
        """Score the values of C, the smallest first, and extend a default grid."""
        ratio = 0.0
        if grid is None:
            grid, ratio = self.estimator._grid(self.pooled)
        todo = np.unique(grid).tolist()
        self.bounds = todo[0], todo[-1]
        most = len(todo) + (EXTENSIONS if ratio else 0)
        task = context.subcontext(task_name="search", max_subtasks=most)
        task.call_on_fit_task_begin(estimator=self.estimator, **data)
        stopped = False
        while todo and not stopped:
            part = task.subcontext(task_name="C")
            part.call_on_fit_task_begin(estimator=self.estimator, **data)
            self.evaluate(todo.pop(0))
            stopped = part.call_on_fit_task_end(estimator=self.estimator, **data)
            if not todo and ratio and len(self.scores) < most:
                todo = self._beyond(ratio)
        task.call_on_fit_task_end(estimator=self.estimator, **data)

    def evaluate(self, C: float) -> None:
        """Fit all folds for a value of C, and score their test rows."""
        found: list[float] = []
        for path, tests in zip(self.paths, self.tests, strict=True):
            iterate = path.solve(C)
            scores = path.folds.held_out(iterate, tests)
            for fold, (test, logits) in enumerate(zip(tests, scores, strict=True)):
                model = functools.partial(path.model_of_fold, C, fold)
                found.append(self.score(test, logits, C, model))
        self.scores[C] = np.array(found, dtype=np.float64)
        if self.estimator.verbose:
            report(
                self.estimator._name,
                f"C={C:.4g} scores {np.mean(found):.4f} on average, "
                f"{sum(self.pooled.passes):.1f} passes over the data",
                time.monotonic() - self.started,
            )

    def _beyond(self, ratio: float) -> list[float]:
        """Return the next value of C if the best one is at an end, else none.

        An end that another value equals is not the best: scores are often the same for
        all values below some value.
        """
        Cs = sorted(self.scores)
        means = [_mean(self.scores[C]) for C in Cs]
        best = means.index(max(means))
        if means.count(means[best]) > 1 or 0 < best < len(Cs) - 1:
            return []
        low, high = self.bounds[0] / FARTHEST, self.bounds[1] * FARTHEST
        further = Cs[0] / ratio if best == 0 else Cs[-1] * ratio
        return [further] if low <= further <= high else []

    def results(self, grid: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the values of C in the given order, and the scores by fold and C."""
        Cs = sorted(self.scores) if grid is None else grid.tolist()
        Cs = [C for C in Cs if C in self.scores]  # a callback may have stopped
        return np.array(Cs), np.stack([self.scores[C] for C in Cs], axis=1)

    def best_model(
        self, Cs: np.ndarray, scores: np.ndarray, refit: bool
    ) -> tuple[np.ndarray, float]:
        """Return the mean model of the folds for the best C, and that C.

        If `refit` is False, each fold has its own best C, and the mean is returned.
        """
        if refit:
            best = Cs[np.argmax([_mean(of_C) for of_C in scores.T])]
            chosen = np.full(len(scores), best)
        else:
            known = np.where(np.isnan(scores), -np.inf, scores)
            chosen = Cs[known.argmax(axis=1)]
            best = chosen.mean()
        models = (
            path.folds.in_input_units(path.solutions[C])[fold]
            for (path, fold), C in zip(self._folds(), chosen.tolist(), strict=True)
        )
        return sum(models) / len(scores), float(best)

    def coefs_paths(self, Cs: np.ndarray) -> np.ndarray:
        """Return the models, of shape (n_folds, n_Cs, n_outputs, n_features + 1)."""
        by_path = [
            np.stack(
                [path.folds.in_input_units(path.solutions[C]) for C in Cs.tolist()],
                axis=1,
            )
            for path in self.paths
        ]
        return np.concatenate(by_path)

    def warn(self) -> None:
        """Warn of values of C for which the solver did not converge."""
        Cs = sorted({C for path in self.paths for C in path.unfinished})
        if Cs:
            shown = ", ".join(f"{C:g}" for C in Cs)
            warnings.warn(
                f"{self.estimator._name} did not converge in the folds for C={shown}; "
                f"raise max_iter={self.estimator.max_iter}, scale the features, or "
                "pass smaller values as Cs.",
                ConvergenceWarning,
                stacklevel=5,
            )

    def _folds(self) -> Iterator[tuple[Path, int]]:
        """Yield the path of each fold, and the number of the fold in it."""
        for path in self.paths:
            for fold in range(len(path.folds)):
                yield path, fold


class _Score:
    """Scores of the test rows of a fold.

    Scorers of scikit-learn need the predictions only, and these follow from the logits.
    Other callables get the test rows and a fitted model.
    """

    def __init__(
        self,
        estimator: SoftmaxClassifierCV,
        X: Any,
        rows: Rows,
        backend: Backend,
        classes: np.ndarray,
        codes: np.ndarray,
        params: dict[str, Any],
    ) -> None:
        self.estimator, self.X, self.rows, self.backend = estimator, X, rows, backend
        self.classes, self.codes, self.params = classes, codes, params
        self.scorer: Any = estimator._scorer()
        function = getattr(self.scorer, "_score_func", None)
        self.needs_rows = function is None
        if function is not None:
            self._name_all_classes(inspect.signature(function).parameters)

    def _name_all_classes(self, names: Any) -> None:
        """Tell a scorer the classes, because a fold may lack some."""
        known: dict[str, Any] = {}
        if "labels" in names:
            known["labels"] = self.classes
            if "pos_label" in names and len(self.classes) == 2:
                known["pos_label"] = self.classes[1]
        if known:
            self.scorer = copy.copy(self.scorer)
            self.scorer._kwargs = {**known, **self.scorer._kwargs}

    def __call__(
        self,
        test: np.ndarray,
        logits: np.ndarray,
        C: float,
        model: Callable[[], tuple[Objective, np.ndarray]],
    ) -> float:
        """Return the score.

        Parameters
        ----------
        test : ndarray of int
            Sorted indices of the test rows.
        logits : ndarray of shape (len(test), n_outputs)
        C : float
        model : callable
            Returns the objective and the iterate of the fold.
        """
        labels = self.classes[self.codes[test]]
        params = _check_method_params(self.codes, self.params, test)
        if not self.needs_rows:
            return float(
                self.scorer(_FromLogits(self.classes), logits, labels, **params)
            )
        known = self.estimator.get_params(deep=False)
        names = SoftmaxClassifier._get_param_names()
        settings = {name: known[name] for name in names if name in known}
        fitted = SoftmaxClassifier(**{**settings, "C": C})
        attributes = self.estimator._model_of(
            model()[0], self.classes, self.backend, labels
        )(model()[1])
        fitted.__dict__.update(attributes, n_features_in_=self.rows.n_features)
        return float(self.scorer(fitted, self._rows_at(test), labels, **params))

    def _rows_at(self, test: np.ndarray) -> Any:
        """Return the test rows."""
        if self.rows.is_lazy:
            return to_backend(self.rows.choose(test).data, self.backend)
        return _safe_indexing(self.X, test)


class _FromLogits(_LinearClassifier):
    """Classifier whose X are logits."""

    def __init__(self, classes: np.ndarray) -> None:
        self.classes_ = classes

    def _scores(self, X: Any, method: str) -> Array:
        return X


def _mean(scores: np.ndarray) -> float:
    """Return the mean of the scores of folds; the worst if one is NaN."""
    mean = float(np.mean(scores))
    return -np.inf if np.isnan(mean) else mean


def _as_floats(array: np.ndarray, backend: Backend) -> Array:
    """Return an array with another namespace and device, in its widest float."""
    return backend.xp.astype(to_backend(array, backend), widest_float(backend))
