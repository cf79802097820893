"""Searches over cutoffs, numbers of filters and C at about the price of a fit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import _fit_context, clone, is_classifier
from sklearn.metrics._scorer import _MultimetricScorer
from sklearn.model_selection import ParameterGrid, ParameterSampler, check_cv
from sklearn.model_selection._search import BaseSearchCV
from sklearn.model_selection._validation import (
    _insert_error_scores,
    _warn_or_raise_about_fit_failures,
)
from sklearn.utils import indexable
from sklearn.utils._param_validation import Interval
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _check_method_params

from skdmn.model_selection.fold import Evaluation, evaluate
from skdmn.model_selection.steps import settings_of
from skdmn.utils.documentation import DocLinkMixin


class _SharedSearchCV(DocLinkMixin, BaseSearchCV):
    """Base class of searches that evaluate all settings of a fold together."""

    def _candidates(self) -> list[dict[str, Any]]:
        """Return the settings."""
        raise NotImplementedError

    @_fit_context(prefer_skip_nested_validation=False)  # as scikit-learn's searches
    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Evaluate all settings, then fit the best one to all data.

        Parameters
        ----------
        X : array-like of shape (n, height, width[, channels]) or (n, n_features)
            Images or rows, as the estimator takes them.
        y : array-like of shape (n,) or None, default=None
            Labels.
        **params : dict
            Passed to `fit` of the estimator, to the scorer and to the splitter, as in
            scikit-learn's searches. If a step other than the last gets some of them,
            the settings are fitted one by one.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is not valid, there are no settings, or all fits fail.
        """
        scorers, refit_metric = self._get_scorers()
        X, y = indexable(X, y)
        params = _check_method_params(X, params=params)
        routed = self._get_routed_params_for_fit(params)
        cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        splits = list(cv.split(X, y, **routed.splitter.split))
        candidates = self._candidates()
        if not splits or not candidates:
            raise ValueError(
                f"{type(self).__name__} has {len(candidates)} settings and "
                f"{len(splits)} folds; pass at least one of each."
            )

        weight = params.get("sample_weight")
        metadata = None if weight is None else {"sample_weight": weight}
        told = {"estimator": self, "X": X, "y": y, "metadata": metadata}
        context = self._init_callback_context(
            max_subtasks=1 + (self.refit is not False)
        ).call_on_fit_task_begin(**told)
        of_search = context.subcontext(
            task_name="search",
            max_subtasks=len(candidates) * len(splits),
            sequential_subtasks=False,
        ).call_on_fit_task_begin(estimator=self)
        out = self._evaluate(
            X, y, splits, candidates, scorers=scorers, routed=routed, context=of_search
        )
        _warn_or_raise_about_fit_failures(out, self.error_score)
        if callable(self.scoring):
            _insert_error_scores(out, self.error_score)
        n_features = np.array([result.pop("n_features") for result in out], dtype=float)
        results = self._format_results(candidates, len(splits), out)
        of_search.call_on_fit_task_end(estimator=self)

        first = out[0]["test_scores"]
        self.multimetric_ = isinstance(first, dict)
        if callable(self.scoring) and self.multimetric_:
            self._check_refit_for_multimetric(first)
            refit_metric = self.refit
        if self.refit or not self.multimetric_:
            self.best_index_ = self._select_best_index(
                self.refit, refit_metric, results
            )
            if not callable(self.refit):
                means = results[f"mean_test_{refit_metric}"]
                self.best_score_ = means[self.best_index_]
            self.best_params_ = results["params"][self.best_index_]
        if self.refit:
            self._refit(told, routed.estimator.fit, context)
        is_multimetric = isinstance(scorers, _MultimetricScorer)
        self.scorer_ = scorers._scorers if is_multimetric else scorers
        self.n_splits_ = len(splits)
        self.n_features_of_settings_ = n_features.reshape(len(candidates), -1).mean(1)
        self.cv_results_ = results
        context.call_on_fit_task_end(**told)
        return self

    def _evaluate(
        self,
        X: Any,
        y: Any,
        splits: Sequence[tuple[np.ndarray, np.ndarray]],
        candidates: list[dict[str, Any]],
        *,
        scorers: Any,
        routed: Any,
        context: Any,
    ) -> list[dict[str, Any]]:
        """Return the result of each setting and fold, in order of settings."""
        name, n_folds = type(self).__name__, len(splits)
        if self.verbose > 0:
            print(f"[{name}] {len(candidates)} settings, {n_folds} folds", flush=True)
        started = time.perf_counter()
        # made here, because contexts cannot be added in other processes
        tasks = np.empty((n_folds, len(candidates)), dtype=object)
        for setting, fold in np.ndindex(tasks.T.shape):
            tasks[fold, setting] = context.subcontext(
                task_name="candidate-split-evaluation", task_id=setting * n_folds + fold
            )
        evaluations = [
            Evaluation(
                estimator=self.estimator,
                X=X,
                y=y,
                train=train,
                test=test,
                scorer=scorers,
                fit_params=routed.estimator.fit,
                score_params=routed.scorer.score,
                return_train_score=self.return_train_score,
                error_score=self.error_score,
                verbose=self.verbose,
                caller=self,
                number=fold,
                n_folds=n_folds,
            )
            for fold, (train, test) in enumerate(splits)
        ]
        settings = settings_of(self.estimator, candidates)
        folds = Parallel(n_jobs=self.n_jobs, pre_dispatch=self.pre_dispatch)(
            delayed(evaluate)(evaluation, candidates, settings, list(some))
            for evaluation, some in zip(evaluations, tasks, strict=True)
        )
        if self.verbose > 0:
            seconds = time.perf_counter() - started
            print(f"[{name}] evaluated in {seconds:.1f} s", flush=True)
        return [fold[number] for number in range(len(candidates)) for fold in folds]

    def _refit(self, told: dict[str, Any], params: Any, context: Any) -> None:
        """Fit the best setting to all data."""
        self.best_estimator_ = clone(self.estimator).set_params(
            **clone(self.best_params_, safe=False)
        )
        X, y = told["X"], told["y"]
        task = context.subcontext(task_name="refit-with-best-params")
        with task.propagate_callback_context(self.best_estimator_):
            task.call_on_fit_task_begin(**told)
            started = time.time()
            given = (X,) if y is None else (X, y)
            self.best_estimator_.fit(*given, **params)
            self.refit_time_ = time.time() - started
        task.call_on_fit_task_end(**told)
        if hasattr(self.best_estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.best_estimator_.feature_names_in_


class CutoffSearchCV(_SharedSearchCV):
    """Grid search over layers and classifier that computes shared work only once.

    The result is that of :class:`~sklearn.model_selection.GridSearchCV`, in a fraction
    of the time. For each fold, settings that agree on their first steps share these.
    Settings of a layer that differ in cutoffs, numbers of filters, signs, threshold or
    regularization share its density matrices. Each setting uses some of the filters of
    their union, so that features are computed once and then selected. Softmax
    classifiers start at the solution of a similar setting.

    Parameters
    ----------
    estimator : Pipeline
        Layers and networks of skdmn, other transformers, and any classifier at the end.
        Other estimators are accepted, but share nothing.
    param_grid : dict or list of dict
        Values to try, by the name of the parameter, such as ``conv1__n_filters``; or a
        list of such grids.
    scoring : str, callable, list, tuple, dict or None, default=None
        How to score predictions, as in GridSearchCV; several scores may be given. None
        uses the estimator's `score`.
    n_jobs : int or None, default=None
        Number of folds that are evaluated at the same time, in processes. Layers and
        the softmax use all threads themselves, so that this rarely saves time.
    refit : bool, str or callable, default=True
        Whether to fit the best setting to all data. With several scores, the name of
        the one that decides; or a function that takes `cv_results_` and returns the
        index of the setting.
    cv : int, cross-validation generator, iterable or None, default=None
        How to split the data into folds, as in GridSearchCV. None means five.
    verbose : int, default=0
        1 prints the beginning and the end of the search, 2 also every setting.
    pre_dispatch : int or str, default="2*n_jobs"
        Number of folds that are sent to processes ahead of time.
    error_score : "raise" or float, default=nan
        Score of a setting whose fit fails. "raise" raises the error.
    return_train_score : bool, default=False
        Whether to score the training images of each fold too.

    Attributes
    ----------
    cv_results_ : dict of ndarrays
        Scores, times and ranks of all settings, with the keys of GridSearchCV. The time
        of work that several settings share is divided equally among them, so that all
        times add up to that of the search.
    best_estimator_ : estimator
        Fitted to all data with the best setting. Only if `refit`.
    best_score_ : float
        Mean score of the best setting over the folds. Not if `refit` is a function.
    best_params_ : dict
        The best setting.
    best_index_ : int
        Its index in `cv_results_`.
    scorer_ : callable or dict
        The scorer, or scorers by name.
    n_splits_ : int
        Number of folds.
    n_features_of_settings_ : ndarray of shape (n_settings,)
        Number of features that the classifier gets with each setting: its mean over the
        folds, because folds may have different numbers of filters.
    refit_time_ : float
        Seconds of the last fit. Only if `refit`.
    multimetric_ : bool
        True if there are several scores.
    classes_ : ndarray of shape (n_classes,)
        The labels. Only if `refit`.
    n_features_in_ : int
        Number of values of one image. Only if `refit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names of `X`. Only if `X` was a data frame in `fit`, and if `refit`.

    See Also
    --------
    RandomizedCutoffSearchCV : Tries a random sample of the settings.
    sklearn.model_selection.GridSearchCV : Fits every setting separately.
    skdmn.display.SearchDisplay : Plots the accuracy of all settings.

    Notes
    -----
    Scores are those of GridSearchCV on the same folds. A softmax that starts elsewhere
    ends elsewhere within its tolerance `tol`, so that predictions may differ if two
    classes are about equally probable.

    A layer with ``random_state=None`` draws its `subsample` once for all settings of a
    fold. `best_estimator_` is fitted as GridSearchCV fits it, sharing nothing.

    These settings are fitted one by one: those with a fit that fails, with metadata for
    other steps than the last, or with parameters that joblib cannot hash; and all of
    them if the estimator is no Pipeline or uses `set_output`. Scores by a function of
    your own (instead of a name or ``make_scorer``) compute the features of each setting
    again.

    The features of a union take at most half of scikit-learn's ``working_memory`` for
    all images of the search; larger unions are computed in parts. In addition, the
    features of one setting and the input of each layer that learns are held in memory.

    Progress is reported to scikit-learn's callbacks (``set_callbacks``) for every
    setting and fold.

    Examples
    --------
    >>> from skdmn import make_dmn
    >>> from skdmn.datasets import load_digits_images
    >>> from skdmn.model_selection import CutoffSearchCV
    >>> X, y = load_digits_images()
    >>> grid = {"conv1__n_filters": [4, 8], "softmax__C": [0.001, 0.01, 0.1]}
    >>> search = CutoffSearchCV(make_dmn(n_layers=1), grid, cv=3).fit(X, y)
    >>> search.best_params_
    {'conv1__n_filters': 8, 'softmax__C': 0.1}
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012 (scikit-learn's)
        **BaseSearchCV._parameter_constraints,
        "param_grid": [dict, list],
    }

    def __init__(
        self,
        estimator: Any,
        param_grid: dict[str, Any] | list[dict[str, Any]],
        *,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        error_score: float | Literal["raise"] = np.nan,
        return_train_score: bool = False,
    ) -> None:
        self.param_grid = param_grid
        super().__init__(
            estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )

    def _candidates(self) -> list[dict[str, Any]]:
        return list(ParameterGrid(self.param_grid))


class RandomizedCutoffSearchCV(_SharedSearchCV):
    """Search over a random sample of settings that computes shared work only once.

    This is to :class:`~sklearn.model_selection.RandomizedSearchCV` what
    `CutoffSearchCV` is to GridSearchCV: the same settings and scores, in less time.
    Settings share most if distributions of parameters of the first steps have few
    different values.

    Parameters
    ----------
    estimator : Pipeline
        As in `CutoffSearchCV`.
    param_distributions : dict or list of dict
        Lists of values, or distributions with a method ``rvs``, by the name of the
        parameter; or a list of such dicts.
    n_iter : int, default=10
        Number of settings to draw.
    scoring : str, callable, list, tuple, dict or None, default=None
        How to score predictions, as in GridSearchCV; several scores may be given. None
        uses the estimator's `score`.
    n_jobs : int or None, default=None
        Number of folds that are evaluated at the same time, in processes. Layers and
        the softmax use all threads themselves, so that this rarely saves time.
    refit : bool, str or callable, default=True
        Whether to fit the best setting to all data. With several scores, the name of
        the one that decides; or a function that takes `cv_results_` and returns the
        index of the setting.
    cv : int, cross-validation generator, iterable or None, default=None
        How to split the data into folds, as in GridSearchCV. None means five.
    verbose : int, default=0
        1 prints the beginning and the end of the search, 2 also every setting.
    pre_dispatch : int or str, default="2*n_jobs"
        Number of folds that are sent to processes ahead of time.
    random_state : int, RandomState instance or None, default=None
        Determines which settings are drawn.
    error_score : "raise" or float, default=nan
        Score of a setting whose fit fails. "raise" raises the error.
    return_train_score : bool, default=False
        Whether to score the training images of each fold too.

    Attributes
    ----------
    cv_results_ : dict of ndarrays
        Scores, times and ranks of all settings, with the keys of GridSearchCV. The time
        of work that several settings share is divided equally among them, so that all
        times add up to that of the search.
    best_estimator_ : estimator
        Fitted to all data with the best setting. Only if `refit`.
    best_score_ : float
        Mean score of the best setting over the folds. Not if `refit` is a function.
    best_params_ : dict
        The best setting.
    best_index_ : int
        Its index in `cv_results_`.
    scorer_ : callable or dict
        The scorer, or scorers by name.
    n_splits_ : int
        Number of folds.
    n_features_of_settings_ : ndarray of shape (n_settings,)
        Number of features that the classifier gets with each setting: its mean over the
        folds, because folds may have different numbers of filters.
    refit_time_ : float
        Seconds of the last fit. Only if `refit`.
    multimetric_ : bool
        True if there are several scores.
    classes_ : ndarray of shape (n_classes,)
        The labels. Only if `refit`.
    n_features_in_ : int
        Number of values of one image. Only if `refit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names of `X`. Only if `X` was a data frame in `fit`, and if `refit`.

    See Also
    --------
    CutoffSearchCV : Tries all settings of a grid; its Notes hold here too.
    sklearn.model_selection.RandomizedSearchCV : Fits every setting separately.

    Examples
    --------
    >>> from scipy.stats import loguniform, randint
    >>> from skdmn import make_dmn
    >>> from skdmn.datasets import load_digits_images
    >>> from skdmn.model_selection import RandomizedCutoffSearchCV
    >>> X, y = load_digits_images()
    >>> drawn = {"conv1__n_filters": randint(2, 9), "softmax__C": loguniform(1e-3, 1)}
    >>> search = RandomizedCutoffSearchCV(
    ...     make_dmn(n_layers=1), drawn, n_iter=5, cv=3, random_state=0
    ... ).fit(X, y)
    >>> len(search.cv_results_["params"])
    5
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012 (scikit-learn's)
        **BaseSearchCV._parameter_constraints,
        "param_distributions": [dict, list],
        "n_iter": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any,
        param_distributions: dict[str, Any] | list[dict[str, Any]],
        *,
        n_iter: int = 10,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        random_state: Any = None,
        error_score: float | Literal["raise"] = np.nan,
        return_train_score: bool = False,
    ) -> None:
        self.param_distributions = param_distributions
        self.n_iter = n_iter
        self.random_state = random_state
        super().__init__(
            estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )

    def _candidates(self) -> list[dict[str, Any]]:
        return list(
            ParameterSampler(
                self.param_distributions, self.n_iter, random_state=self.random_state
            )
        )
