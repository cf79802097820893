"""Searches over cutoffs, numbers of filters and C at about the price of a fit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import _fit_context, clone, is_classifier
from sklearn.metrics._scorer import _MultimetricScorer
from sklearn.model_selection import ParameterGrid, ParameterSampler, check_cv
from sklearn.model_selection._search import BaseSearchCV
from sklearn.model_selection._search_successive_halving import (
    HalvingGridSearchCV,
    _SubsampleMetaSplitter,
)
from sklearn.model_selection._validation import (
    _insert_error_scores,
    _warn_or_raise_about_fit_failures,
)
from sklearn.utils import check_random_state, indexable
from sklearn.utils._param_validation import Interval
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _check_method_params

from skdmn.model_selection.fold import Evaluation, evaluate
from skdmn.model_selection.steps import settings_of
from skdmn.utils.documentation import DocLinkMixin
from skdmn.utils.persistence import unchanged_on_error


class _SharedSearchCV(DocLinkMixin, BaseSearchCV):
    """Base class of searches that evaluate all settings of a fold together."""

    _keeps_sums = False  # for evaluations of the same folds on more images

    def _generate_candidate_params(self) -> Any:
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
        with unchanged_on_error(self):
            return self._search(X, y, params)

    def _search(self, X: Any, y: Any, params: dict[str, Any]) -> Self:
        scorers, refit_metric = self._get_scorers()
        X, y = indexable(X, y)
        params = _check_method_params(X, params=params)
        routed = self._get_routed_params_for_fit(params)
        weight = params.get("sample_weight")
        metadata = None if weight is None else {"sample_weight": weight}
        told = {"estimator": self, "X": X, "y": y, "metadata": metadata}
        context = self._init_callback_context(
            max_subtasks=1 + (self.refit is not False)
        ).call_on_fit_task_begin(**told)

        split_params = routed.splitter.split
        cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        self._checked_cv_orig = cv
        self._check_input_parameters(X=X, y=y, split_params=split_params)
        self.n_splits_ = cv.get_n_splits(X, y, **split_params)
        sums: list[Any] = [
            {} if self._keeps_sums else None for _ in range(self.n_splits_)
        ]
        parameters: list[dict[str, Any]] = []
        out: list[dict[str, Any]] = []
        more: dict[str, list[Any]] = {}
        results: dict[str, Any] = {}

        def evaluate_candidates(
            candidate_params: Any,
            cv: Any = cv,
            more_results: dict[str, list[Any]] | None = None,
            *,
            callback_ctx: Any,
        ) -> dict[str, Any]:
            nonlocal results
            candidates = list(candidate_params)
            splits = list(cv.split(X, y, **split_params))
            self._check_not_empty(len(candidates), len(splits))
            if len(splits) != self.n_splits_:
                raise ValueError(
                    f"cv has {len(splits)} folds, but its get_n_splits returns "
                    f"{self.n_splits_}; pass a splitter whose methods agree."
                )
            found = self._evaluate(
                *(X, y, splits, candidates),
                scorers=scorers,
                routed=routed,
                context=callback_ctx,
                sums=sums,
            )
            _warn_or_raise_about_fit_failures(found, self.error_score)
            if callable(self.scoring):
                _insert_error_scores(found, self.error_score)
            parameters.extend(candidates)
            out.extend(found)
            for name, values in (more_results or {}).items():
                more.setdefault(name, []).extend(values)
            results = self._format_results(parameters, len(splits), out, more)
            return results

        self._run_search(evaluate_candidates, callback_ctx=context)

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
        n_features = np.array([result["n_features"] for result in out], dtype=float)
        self.n_features_of_settings_ = n_features.reshape(len(parameters), -1).mean(1)
        self.cv_results_ = results
        context.call_on_fit_task_end(**told)
        return self

    def _check_not_empty(self, n_settings: int, n_folds: int) -> None:
        """Raise if there are no settings or no folds."""
        if not n_settings or not n_folds:
            raise ValueError(
                f"{type(self).__name__} has {n_settings} settings and {n_folds} folds; "
                "pass at least one of each."
            )

    def _run_search(self, evaluate_candidates: Any, *, callback_ctx: Any) -> None:
        """Evaluate all settings at once, as scikit-learn's grid search."""
        candidates = list(self._generate_candidate_params())
        context = callback_ctx.subcontext(
            task_name="search",
            max_subtasks=len(candidates) * self.n_splits_,
            sequential_subtasks=False,
        ).call_on_fit_task_begin(estimator=self)
        evaluate_candidates(candidates, callback_ctx=context)
        context.call_on_fit_task_end(estimator=self)

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
        sums: list[dict[str, Any] | None],
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
                sums=sums[fold],
            )
            for fold, (train, test) in enumerate(splits)
        ]
        settings = settings_of(self.estimator, candidates)
        found = Parallel(n_jobs=self.n_jobs, pre_dispatch=self.pre_dispatch)(
            delayed(evaluate)(evaluation, candidates, settings, list(some))
            for evaluation, some in zip(evaluations, tasks, strict=True)
        )
        folds, sums[:] = zip(*found, strict=True)
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
    HalvingCutoffSearchCV : Drops poor settings on few images.
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

    The features of unions and of one setting take at most scikit-learn's
    ``working_memory`` for all images of the search, or as much as those of one setting
    if these are larger: larger unions are computed in parts. The classifier's own
    memory comes in addition.

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

    def _generate_candidate_params(self) -> Any:
        return ParameterGrid(self.param_grid)


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

    def _generate_candidate_params(self) -> Any:
        return ParameterSampler(
            self.param_distributions, self.n_iter, random_state=self.random_state
        )


class HalvingCutoffSearchCV(HalvingGridSearchCV, _SharedSearchCV):
    """Grid search by successive halving that computes shared work only once.

    This is to :class:`~sklearn.model_selection.HalvingGridSearchCV` what
    `CutoffSearchCV` is to GridSearchCV. All settings are evaluated on few images; the
    better ones remain, and are evaluated on `factor` times as many images, until few
    settings remain. The images of each iteration contain those of the one before, so
    that the density matrices of the first layer need the sums of the new images only.

    Parameters
    ----------
    estimator : Pipeline
        As in `CutoffSearchCV`.
    param_grid : dict or list of dict
        Values to try, by the name of the parameter, such as ``conv1__n_filters``; or a
        list of such grids.
    factor : int or float, default=3
        One in `factor` settings remains after each iteration, and the number of images
        grows by this factor. Above 1.
    resource : str, default="n_samples"
        What grows: "n_samples", the number of images, or the name of a parameter of the
        estimator with positive integer values.
    max_resources : int or "auto", default="auto"
        Most images (or the largest value of the parameter) of an iteration. "auto"
        means all images.
    min_resources : int, "exhaust" or "smallest", default="exhaust"
        Number of images of the first iteration. "exhaust" chooses it so that the last
        iteration has nearly `max_resources`; "smallest" is two images per class and
        fold, or 1 for a parameter.
    aggressive_elimination : bool, default=False
        If too few images are left to eliminate all but `factor` settings, whether to
        repeat the first iteration's number of images until the rest is enough.
    cv : int, cross-validation generator or iterable, default=5
        How to split the data into folds, as in GridSearchCV. The folds must be the same
        in every call.
    scoring : str, callable or None, default=None
        How to score predictions. None uses the estimator's `score`.
    refit : bool, default=True
        Whether to fit the best setting to all data.
    error_score : "raise" or float, default=nan
        Score of a setting whose fit fails. "raise" raises the error.
    return_train_score : bool, default=True
        Whether to score the training images of each fold too.
    random_state : int, RandomState instance or None, default=None
        Determines which images are drawn.
    n_jobs : int or None, default=None
        Number of folds that are evaluated at the same time, in processes. Layers and
        the softmax use all threads themselves, so that this rarely saves time.
    verbose : int, default=0
        1 prints the beginning and the end of each iteration, 2 also every setting.

    Attributes
    ----------
    n_resources_ : list of int
        Number of images of each iteration, of which the folds are parts.
    n_candidates_ : list of int
        Number of settings of each iteration.
    n_remaining_candidates_ : int
        Number of settings that remain after the last iteration.
    max_resources_, min_resources_ : int
        Number of images of the last iteration at most, and of the first.
    n_iterations_ : int
        Number of iterations.
    n_possible_iterations_ : int
        Number of iterations for which there are enough images.
    n_required_iterations_ : int
        Number of iterations after which fewer than `factor` settings remain.
    cv_results_ : dict of ndarrays
        As in `CutoffSearchCV`. A setting has an entry for each of its iterations:
        ``"iter"`` is the iteration, and ``"n_resources"`` its number of images.
    best_estimator_ : estimator
        Fitted to all data with the best setting. Only if `refit`.
    best_score_ : float
        Mean score of the best setting over the folds, in the last iteration.
    best_params_ : dict
        The best setting of the last iteration.
    best_index_ : int
        Its index in `cv_results_`.
    scorer_ : callable
        The scorer.
    n_splits_ : int
        Number of folds.
    n_features_of_settings_ : ndarray of shape (n_entries,)
        Number of features that the classifier gets in each entry of `cv_results_`: its
        mean over the folds.
    refit_time_ : float
        Seconds of the last fit. Only if `refit`.
    multimetric_ : bool
        False.
    classes_ : ndarray of shape (n_classes,)
        The labels. Only if `refit`.
    n_features_in_ : int
        Number of values of one image. Only if `refit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names of `X`. Only if `X` was a data frame in `fit`, and if `refit`.

    See Also
    --------
    CutoffSearchCV : Tries all settings on all images; its Notes hold here too.
    sklearn.model_selection.HalvingGridSearchCV : Fits every setting separately.

    Notes
    -----
    With an int as `random_state`, images and scores are those of HalvingGridSearchCV.
    Settings that do well on few images are not always best on many: the best number of
    filters and the best C depend on the number of images. Start with enough images
    (`min_resources`), or search over parameters that depend on it less.

    Statistics are computed anew in each iteration for layers behind another layer that
    learns, and for layers with `subsample` or a threshold from the images (such as
    ``contrast_floor="auto"``).

    References
    ----------
    Jamieson and Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter
    Optimization, AISTATS 2016.

    Examples
    --------
    >>> from skdmn import make_dmn
    >>> from skdmn.datasets import load_digits_images
    >>> from skdmn.model_selection import HalvingCutoffSearchCV
    >>> X, y = load_digits_images()
    >>> grid = {"conv1__n_filters": [2, 4, 8], "softmax__C": [0.001, 0.01, 0.1]}
    >>> search = HalvingCutoffSearchCV(
    ...     make_dmn(n_layers=1), grid, cv=3, random_state=0
    ... ).fit(X, y)
    >>> search.n_resources_, search.n_candidates_
    ([199, 597, 1791], [9, 3, 1])
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012 (scikit-learn's)
        **HalvingGridSearchCV._parameter_constraints,
        "factor": [Interval(Real, 1, None, closed="neither")],
    }
    _keeps_sums = True

    def _run_search(self, evaluate_candidates: Any, *, callback_ctx: Any) -> None:
        self._check_not_empty(len(self._generate_candidate_params()), self.n_splits_)
        # one seed for all iterations, so that each has the images of the one before
        seed = self.random_state
        if not isinstance(seed, Integral):
            seed = check_random_state(seed).randint(np.iinfo(np.int32).max)

        def evaluate_nested(candidate_params: Any, cv: Any, **more: Any) -> Any:
            if isinstance(cv, _SubsampleMetaSplitter):
                cv.random_state = seed
            return evaluate_candidates(candidate_params, cv, **more)

        super()._run_search(evaluate_nested, callback_ctx=callback_ctx)
