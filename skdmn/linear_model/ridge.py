"""Least-squares classifier that is computed from sums over rows."""

from __future__ import annotations

import copy
from collections.abc import Callable
from numbers import Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skdmn.linear_model.base import _LinearClassifier
from skdmn.linear_model.least_squares import LeastSquares, temperature
from skdmn.linear_model.softmax import _balanced, _by_class
from skdmn.statistics.accumulate import Statistics, check_mergeable
from skdmn.statistics.row_sums import RowSums, keeps_rows, row_sums
from skdmn.utils.array_api import (
    DEVICES,
    HOST,
    Backend,
    backend_of,
    compute_backend,
    own_backend,
    to_backend,
    to_numpy,
    widest_float,
)
from skdmn.utils.labels import check_sample_weight, encode_labels
from skdmn.utils.memory import SURE_TO_FIT, available_memory, in_words
from skdmn.utils.state import (
    POSITIVE,
    Sizes,
    State,
    StateError,
    checked,
    floats,
    number,
    part,
    wrong_state,
)
from skdmn.utils.validation import one_line

# Default grid: four values for each power of ten
ALPHAS = np.logspace(-1, 6, 29)

# Matrices in memory at the same time: sums, standardized copy, and the workspace of
# LAPACK's eigenvalue solver, which takes two
_MATRICES = 4
# Products of each entry of a matrix whose eigenvectors are computed, per column
_EIGH_PRODUCTS = 9

# Attributes that are computed from the sums when they are needed
_SOLVED = (
    *("alpha_", "alphas_", "scores_", "temperature_"),
    *("coef_", "intercept_", "mean_", "scale_"),
)


def _check_weighting(weighting: Any, sizes: Sizes) -> None:
    """Raise StateError if a value is not one of the parameter `class_weight`."""
    is_text = isinstance(weighting, str) and weighting == "balanced"
    if not (weighting is None or isinstance(weighting, dict) or is_text):
        raise StateError("is neither None, a dict nor 'balanced'")


class IncrementalRidgeClassifier(_LinearClassifier):
    r"""Ridge classifier on standardized features, computed from sums over the rows.

    Each class against the others is a least-squares problem with an L2 penalty, as in
    :class:`~sklearn.linear_model.RidgeClassifier`. The solution depends on sums over
    the rows only: means, sums by class and products of features. Therefore
    `partial_fit` and `merge` give the model of a fit to all rows at once, up to
    rounding, for any batches in any order. The penalty is chosen and the probabilities
    are calibrated from the same sums, without another pass over the rows.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,), float or None, default=None
        Penalties to choose from; they have the meaning of `alpha` of
        :class:`~sklearn.linear_model.RidgeClassifier`. They cost almost nothing,
        because one eigendecomposition serves all of them. A number is the penalty
        itself. None means 29 values from 0.1 to 1e6, four for each power of ten.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes as {label: weight}. "balanced" makes the total weights of
        all classes equal; it needs all labels at once, so that only `fit` takes it.
        None gives every class the weight 1.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Device for the computation. "auto" uses the device of `X`; for NumPy arrays it
        uses a GPU if the work is large and CuPy finds one, else the CPU.

    Attributes
    ----------
    coef_ : array of shape (n_classes, n_features) or (1, n_features), float64
        Coefficients of the logits for the features as given: those of least squares,
        with targets 1 and -1, divided by `temperature_`. There is one row if there are
        two classes. Like the other arrays, it has the array library and device of X.
    intercept_ : array of shape (n_classes,) or (1,), float64
        Intercepts of the logits.
    mean_, scale_ : arrays of shape (n_features,), float64
        Weighted mean and standard deviation of each feature, by which it is
        standardized; the scale of a constant feature is 1.
    alpha_ : float
        The penalty of the highest score.
    alphas_ : array of shape (n_alphas,), float64
        The penalties.
    scores_ : array of shape (n_alphas,), float64
        Score of each penalty: estimated share of the targets' variance that is
        explained on held-out rows, see Notes.
    temperature_ : float
        Number by which the scores of least squares are divided, see Notes.
    classes_ : array of shape (n_classes,)
        Sorted labels, with the array library and device of y.
    n_features_in_ : int
        Number of features of a row, or of values of an image.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of `X`, if it is a data frame whose names are all strings.

    See Also
    --------
    SoftmaxClassifier : Minimizes the cross-entropy, in several passes over the rows.
    sklearn.linear_model.RidgeClassifierCV : The same problem, for rows in memory.

    Notes
    -----
    **Objective.** With the standardized features x' = (x - mean) / scale, each class c
    has the target t = 1 for its own rows and t = -1 for the others, and minimizes

    .. math:: \sum_i s_i (t_{ic} - w_c x'_i - b_c)^2 + \alpha |w_c|^2

    where s are sample weights times class weights, which also weight mean and scale.
    For two classes there is only the second.

    **Penalty.** `scores_` is generalized cross-validation [1]_: the error of
    leave-one-out if every row had the mean leverage. It needs no folds. A split of the
    rows into folds would depend on their order, on the batches they come in or on
    rounding errors. The estimate is too optimistic if rows repeat each other, as
    shifted or mirrored copies of an image do; then pass one `alphas` that was validated
    otherwise. A row of weight 2 counts as two rows. Weights that add up to less than
    the number of rows are not counts, and only their ratios matter for the score.

    **Probabilities.** The sums do not contain the scores of single rows, but the means
    by class and the covariance of held-out scores follow from them, by the same
    estimate of leave-one-out. `temperature_` minimizes the expected cross-entropy of
    scores that have these moments and Student's t-distribution (6 degrees of freedom).
    Real scores have it only roughly. On 100 to 900 digits and 500 images of CIFAR-10,
    the cross-entropy of other images was up to 0.05 above that of the best temperature.
    Use :class:`~sklearn.calibration.CalibratedClassifierCV` if probabilities matter.

    **Memory.** Sums are float64 and kept in the estimator, for `partial_fit` and
    `merge`; `compact` returns a copy without them. Up to as many rows as features, they
    are the rows themselves. With more, they are a matrix of n_features x n_features
    values, and a fit needs four such matrices: 1.7 GB for the 7,200 features of
    `recommended_dmn`. A fit that would not fit in memory is refused before X is read.

    **Privacy.** Sums of few rows reveal much about these rows; up to as many rows as
    features, the estimator even contains them. Share ``compact()`` copies of models.

    References
    ----------
    .. [1] G. Golub, M. Heath, G. Wahba, "Generalized cross-validation as a method for
       choosing a good ridge parameter", Technometrics 21, 1979.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdmn import IncrementalRidgeClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> here = IncrementalRidgeClassifier().fit(X[:900], y[:900])
    >>> there = IncrementalRidgeClassifier().fit(X[900:], y[900:])
    >>> ridge = here.merge(there)
    >>> bool(ridge.alpha_ == IncrementalRidgeClassifier().fit(X, y).alpha_)
    True
    >>> ridge.score(X, y) > 0.94
    True
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012 (scikit-learn's)
        "alphas": ["array-like", Interval(Real, 0, None, closed="neither"), None],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "device": [StrOptions(set(DEVICES))],
    }
    _state: ClassVar[State] = {
        "scale_": floats("n_features", least=POSITIVE),
        "alphas_": floats("n_alphas", least=POSITIVE),
        "scores_": floats("n_alphas", most=1),
        "alpha_": number(least=POSITIVE),
        "temperature_": number(least=POSITIVE),
        "_weighting": checked(_check_weighting),
        "_sums": part(RowSums).optional(),
    }
    _sums: RowSums
    _weighting: dict | str | None
    alpha_: float

    def __init__(
        self,
        alphas: Any = None,
        *,
        class_weight: dict | Literal["balanced"] | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None:
        self.alphas = alphas
        self.class_weight = class_weight
        self.device = device

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the coefficients, in one pass over the rows.

        Parameters
        ----------
        X : array-like of shape (n, n_features) or (n, height, width[, channels])
            Rows or images of integers or floats, in memory or not, as in
            `SoftmaxClassifier`.
        y : array-like of shape (n,)
            Labels.
        sample_weight : array-like of shape (n,) or None, default=None
            Weight of each row; None means 1.

        Returns
        -------
        self : IncrementalRidgeClassifier
            Fitted estimator.

        Raises
        ------
        ValueError
            If X has no rows or is not finite, y has only one class or is continuous, a
            weight is negative, or the lengths differ.
        MemoryError
            If the sums and their decomposition would not fit in memory.
        RuntimeError
            If `device` is "cuda" and no GPU is usable.
        """
        with self._unchanged_on_error():
            self._check_params()
            self._checked_alphas()
            added = self._sums_of(X, y, sample_weight)
            self._learn(added, backend_of(y))
            self._solve()
        return self

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> Self:
        """Add more rows, as if all rows had been fitted at once.

        The sums are updated now; the coefficients are computed when they are needed.

        Parameters
        ----------
        X : array-like of shape (n, n_features) or (n, height, width[, channels])
            Rows or images, as in `fit`.
        y : array-like of shape (n,)
            Labels. New ones extend `classes_`.
        classes : array-like of shape (n_classes,) or None, default=None
            Labels to include in `classes_`, even if they are not in `y`. They are
            needed if the first call has labels of one class only.
        sample_weight : array-like of shape (n,) or None, default=None
            Weight of each row; None means 1.

        Returns
        -------
        self : IncrementalRidgeClassifier
            Fitted estimator.

        Raises
        ------
        ValueError
            As `fit` does; also if `compact` removed the sums, if `class_weight` has
            changed since, or is "balanced".
        MemoryError, RuntimeError
            As in `fit`.
        """
        with self._unchanged_on_error():
            self._check_params()
            self._check_weights_are_known("partial_fit")
            before = self._seen() if hasattr(self, "classes_") else None
            least = 2 if before is None else 1  # for there are two before
            added = self._sums_of(
                X, y, sample_weight, classes, before=before, least=least
            )
            self._learn(added if before is None else before + added, backend_of(y))
        return self

    def merge(self, other: Self) -> Self:
        """Add the rows of another fitted classifier, without access to the rows.

        The sums are added now; the coefficients are computed when they are needed.

        Parameters
        ----------
        other : IncrementalRidgeClassifier
            Classifier that was fitted to other rows of the same features, with the same
            `class_weight`. It is not changed.

        Returns
        -------
        self : IncrementalRidgeClassifier
            Classifier of the rows of both.

        Raises
        ------
        TypeError
            If `other` is of another class.
        ValueError
            If one of the two has no sums (see `compact`), or if the sums cannot be
            added. The message says what differs.
        """
        check_is_fitted(self)
        if type(other) is not type(self):
            raise TypeError(
                f"{type(self).__name__}.merge takes another {type(self).__name__}, got "
                f"{type(other).__name__}."
            )
        check_is_fitted(other)
        with self._unchanged_on_error():
            for one in (self, other):
                one._check_weights_are_known("merge")
            self._learn(self._seen() + other._seen())
        return self

    def statistics(
        self, X: Any, y: Any, sample_weight: Any = None, *, classes: Any = None
    ) -> Statistics:
        """Compute the sums over rows from which `finish` can fit the classifier.

        ``ridge.finish(ridge.statistics(X, y))`` is equivalent to ``ridge.fit(X, y)``.

        Parameters
        ----------
        X : array-like of shape (n, n_features) or (n, height, width[, channels])
            Rows or images, as in `fit`.
        y : array-like of shape (n,)
            Labels; they may be of one class only.
        sample_weight : array-like of shape (n,) or None, default=None
            Weight of each row; None means 1.
        classes : array-like of shape (n_classes,) or None, default=None
            Labels to include, even if they are not in `y`.

        Returns
        -------
        Statistics
            Sums that can be pickled, and merged with those of other rows by ``+``.

        Raises
        ------
        ValueError
            As `fit` does, or if `class_weight` is "balanced".
        MemoryError, RuntimeError
            As in `fit`.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from skdmn import IncrementalRidgeClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> ridge = IncrementalRidgeClassifier()
        >>> here, there = (ridge.statistics(X[i::2], y[i::2]) for i in (0, 1))
        >>> ridge.finish(here + there).score(X, y) > 0.94
        True
        """
        self._check_params()
        self._check_weights_are_known("statistics")
        return copy.copy(self)._sums_of(X, y, sample_weight, classes, least=1)

    def finish(self, statistics: Statistics) -> Self:
        """Fit the classifier from statistics, without any row.

        Parameters
        ----------
        statistics : Statistics
            Result of `statistics`, or several of them merged.

        Returns
        -------
        self : IncrementalRidgeClassifier
            Fitted estimator.

        Raises
        ------
        ValueError
            If the statistics are of another estimator or another `class_weight`, or of
            one class only.
        """
        with self._unchanged_on_error():
            self._check_params()
            mine = self._as_statistics(None, np.empty(0))
            check_mergeable(mine, statistics)
            _check_sums(statistics.sums)
            self._learn(statistics)
            self._solve()
        return self

    def compact(self) -> Self:
        """Return a small copy without the sums.

        The copy predicts the same, but cannot `partial_fit` or `merge`.

        Returns
        -------
        IncrementalRidgeClassifier

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        check_is_fitted(self)
        self._solve_if_needed()
        compact = copy.copy(self)
        compact.__dict__.pop("_sums", None)
        return compact

    # from rows to sums

    def _sums_of(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        classes: Any = None,
        *,
        before: Statistics | None = None,
        least: int = 2,
    ) -> Statistics:
        """Check the input, and return the statistics of the rows."""
        method = "fit" if before is None else "partial_fit"
        rows, backend = self._check_rows(X, reset=before is None, method=method)
        if before is None:
            self._lives = backend.xp.empty(
                0, dtype=backend.xp.float32, device=backend.device
            )
        labels, codes = self._check_labels(y, len(rows), classes, least)
        n_before = 0 if before is None else before.sums.n_rows
        check_memory(n_before + len(rows), rows.n_features, type(self).__name__)
        return self._sums_of_rows(rows, labels, codes, sample_weight)

    def _check_labels(
        self, y: Any, n_rows: int, classes: Any = None, least: int = 2
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the sorted classes, and the class index of each label.

        Raise before X is read if there are less than `least` classes.
        """
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is "
                "None; pass a label for each row."
            )
        labels, codes = encode_labels(y, n_rows, classes)
        if len(labels) < least:
            raise ValueError(
                f"y contains one class only, {labels.tolist()[0]!r}; "
                f"{type(self).__name__} needs samples of at least 2 classes. If others "
                "follow in partial_fit, pass all labels as classes."
            )
        self._by_class(codes, np.ones(n_rows), labels)
        return labels, codes

    def _sums_of_rows(
        self,
        rows: Any,
        labels: np.ndarray,
        codes: np.ndarray,
        sample_weight: Any,
        compute: Callable[..., RowSums] = row_sums,
    ) -> Statistics:
        """Return the statistics of rows; `compute` has the parameters of `row_sums`."""
        weights = check_sample_weight(sample_weight, len(rows))
        by_class = self._by_class(codes, weights, labels)
        sums = compute(rows, codes, weights, by_class)
        return self._as_statistics(sums, labels)

    def _by_class(
        self, codes: np.ndarray, weights: np.ndarray, classes: np.ndarray
    ) -> np.ndarray:
        """Return the weight of each class."""
        if isinstance(self.class_weight, dict):
            return _by_class(self.class_weight, classes)
        if self.class_weight == "balanced":
            return _balanced(codes, weights, len(classes))
        return np.ones(len(classes))

    def _as_statistics(self, sums: RowSums | None, classes: np.ndarray) -> Statistics:
        """Return sums as statistics, with the parameter that they depend on."""
        images = {
            name: getattr(self, name)
            for name in ("n_features_in_", "feature_names_in_")
            if name in vars(self)
        }
        settings = {"class_weight": self.class_weight}
        return Statistics(type(self).__name__, sums, classes, settings, images)

    def _check_weights_are_known(self, method: str) -> None:
        if self.class_weight == "balanced":
            raise ValueError(
                f"class_weight='balanced' needs all labels at once, so {method} does "
                "not take it; pass a dict of weights, or call fit with all rows."
            )

    def _seen(self) -> Statistics:
        """Return the statistics of all rows so far."""
        if "_sums" not in vars(self):
            raise ValueError(
                f"This {type(self).__name__} has no sums, because compact() left them "
                "out; use the estimator that compact() was called on."
            )
        if not self._is_pending:
            self._check_state()
        if self._weighting != self.class_weight:
            raise ValueError(
                f"class_weight was {self._weighting} when the sums were computed and "
                f"is {self.class_weight} now; set it back, or call fit."
            )
        return self._as_statistics(self._sums, to_numpy(self.classes_))

    # from sums to coefficients

    def _learn(self, statistics: Statistics, labels: Backend | None = None) -> None:
        """Keep sums, and forget what was computed from earlier ones."""
        classes = statistics.classes
        if len(classes) < 2:
            raise ValueError(
                f"The statistics have one class only, {classes.tolist()[0]!r}; "
                f"{type(self).__name__} needs samples of at least 2 classes."
            )
        if not statistics.sums.n_rows:
            raise ValueError(
                f"class_weight={self.class_weight!r} makes all weights zero; pass a "
                "positive number for each class."
            )
        for name, value in statistics.images.items():
            setattr(self, name, value)
        if labels is None:
            labels = own_backend(getattr(self, "classes_", None))
        numeric = classes.dtype.kind in "biuf"
        self.classes_ = to_backend(classes, labels) if numeric else classes
        self._sums, self._weighting = statistics.sums, self.class_weight
        if "_lives" not in vars(self):
            self._lives = None
        for name in _SOLVED:
            self.__dict__.pop(name, None)

    @property
    def _is_pending(self) -> bool:
        """True if sums were added, and the coefficients not computed since."""
        return "_sums" in vars(self) and "coef_" not in vars(self)

    def _solve_if_needed(self) -> None:
        if self._is_pending:
            with self._unchanged_on_error():
                self._solve()

    def __getattr__(self, name: str) -> Any:
        """Compute the coefficients when one of their attributes is missing."""
        if name in _SOLVED and self._is_pending:
            self._solve_if_needed()
            return vars(self)[name]
        raise AttributeError(
            f"{type(self).__name__!r} object has no attribute {name!r}"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle, with coefficients."""
        self._solve_if_needed()
        return super().__getstate__()

    def _solve(self) -> None:
        """Choose the penalty, and set the fitted attributes."""
        alphas, sums = self._checked_alphas(), self._sums
        not_finite = ValueError(
            "The coefficients are not finite, because the features have values that "
            "are too large or too small, or _sums was changed or damaged; rescale the "
            "features, and fit again."
        )
        try:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                problem = LeastSquares.of(sums, self._solver_backend())
                scores = np.array([problem.score(alpha) for alpha in alphas])
                alpha = float(alphas[np.argmax(scores)])
                divisor = temperature(problem.held_out(alpha))
                coef = (problem.coefficients(alpha).T / problem.scale) / divisor
                intercept = problem.means / divisor - coef @ sums.mean
        except np.linalg.LinAlgError:  # of eigenvalues of NaN
            raise not_finite from None
        arrays = {
            "alphas_": alphas,
            "scores_": scores,
            "coef_": coef,
            "intercept_": intercept,
            "mean_": sums.mean,
            "scale_": problem.scale,
        }
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise not_finite
        self.alpha_, self.temperature_ = alpha, divisor
        backend = HOST if self._lives is None else own_backend(self._lives)
        dtype = widest_float(backend)
        for name, array in arrays.items():
            sent = to_backend(np.ascontiguousarray(array), backend)
            setattr(self, name, backend.xp.astype(sent, dtype))

    def _checked_alphas(self) -> np.ndarray:
        """Return the penalties as an array of float64."""
        if self.alphas is None:
            return ALPHAS
        try:
            alphas = np.atleast_1d(np.asarray(to_numpy(self.alphas), dtype=np.float64))
        except (TypeError, ValueError):  # no numbers
            alphas = np.empty(0)
        if (
            alphas.ndim != 1
            or not alphas.size
            or not ((alphas > 0) & (alphas < np.inf)).all()
        ):
            raise ValueError(
                f"alphas={one_line(self.alphas)} is not a list of penalties; pass "
                "finite numbers above 0."
            )
        return alphas

    def _solver_backend(self) -> Backend:
        """Return where to compute eigenvectors: on a GPU if it has float64."""
        size = min(self._sums.n_rows, len(self._sums.mean))
        data = HOST if self._lives is None else own_backend(self._lives)
        n_products = _EIGH_PRODUCTS * size**3
        backend = compute_backend(data, self.device, n_products)
        on_gpu = backend.kind == "cuda" and "64" in str(widest_float(backend))
        return backend if on_gpu else HOST

    def _products(self, n_features: int, method: str) -> int:
        if method in ("fit", "partial_fit"):
            return n_features
        return super()._products(n_features, method)

    def _check_state(self) -> Sizes:
        """Raise if the fitted attributes are not what the class declares."""
        sizes = super()._check_state()
        try:
            if "_sums" in vars(self):
                self._sums.check_parts()
        except StateError as error:
            raise wrong_state(f"_sums of {type(self).__name__} {error}") from None
        return sizes


def _check_sums(sums: Any) -> None:
    """Raise if an object is not a `RowSums`, or was damaged."""
    try:
        part(RowSums).check(sums, {})
        sums.check_parts()
    except StateError as error:
        raise ValueError(
            f"statistics.sums{error.path} {error}; it was changed or damaged, so "
            "compute it again."
        ) from None


def check_memory(n_rows: int, n_features: int, name: str) -> None:
    """Raise MemoryError if sums and their decomposition would not fit in memory."""
    size = min(n_rows, n_features)
    needed = 8 * (
        _MATRICES * size**2 + keeps_rows(n_rows, n_features) * n_rows * n_features
    )
    left = available_memory() if needed > SURE_TO_FIT else None
    if left is None or needed <= left:
        return
    raise MemoryError(
        f"{name} needs {in_words(needed)} for {_MATRICES} matrices of {size:,} x "
        f"{size:,} values ({n_rows:,} rows of {n_features:,} features), but only "
        f"{in_words(left)} of memory are available; pass fewer features (by fewer "
        "filters or larger pooling windows), or use SoftmaxClassifier."
    )
