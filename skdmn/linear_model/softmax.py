"""The linear classifier on top: scikit-learn's LogisticRegression, sooner."""

from __future__ import annotations

import warnings
from numbers import Integral, Number, Real
from typing import Any, Literal, Self

import numpy as np
from sklearn import get_config
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import compute_class_weight
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight

from skdmn.data.rows import Rows
from skdmn.linear_model.base import _LinearClassifier
from skdmn.linear_model.objective import Objective, column_moments
from skdmn.linear_model.progress import Progress
from skdmn.linear_model.solver import minimize
from skdmn.utils.array_api import (
    DEVICES,
    HOST,
    backend_of,
    to_backend,
    to_numpy,
    widest_float,
)
from skdmn.utils.labels import encode_labels


class SoftmaxClassifier(CallbackSupportMixin, _LinearClassifier):
    r"""Softmax (multinomial logistic) regression with an L2 penalty.

    Minimizes what :class:`~sklearn.linear_model.LogisticRegression` minimizes, and
    reaches the same optimum in fewer passes over the data: a quarter of the rows, where
    there are many, is minimized roughly; the second derivative found there, factored
    once, preconditions the rest. By default features are standardized on the way,
    without a copy of them.

    Parameters
    ----------
    C : float, default=1.0
        Inverse of the penalty's strength, against the sum of the losses.
    standardize : bool, default=True
        Whether the penalty acts on the coefficients of standardized features, as
        behind a :class:`~sklearn.preprocessing.StandardScaler`. `coef_` is for
        features as they are either way.
    tol : float, default=1e-5
        Where to stop: estimated distance of the objective to its minimum, relative to
        the objective. The estimate is right to a factor of about ten, so that the
        default is within 1e-4.
    max_iter : int, default=200
        Iterations over all rows, at most.
    fit_intercept : bool, default=True
        Whether there is an intercept. Without, and with `standardize`, it is 0 for
        standardized features, as behind a StandardScaler.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, {label: weight}; "balanced" makes classes equal.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where to compute. "auto": where `X` lies, for NumPy a GPU where CuPy finds
        one, else the processor.
    warm_start : bool, default=False
        Whether `fit` goes on from the last solution, where classes and number of
        features are the same.
    verbose : bool, default=False
        Whether to print the progress, once a second.

    Attributes
    ----------
    coef_ : array of shape (n_classes, n_features) or (1, n_features), float64
        One row for two classes. Arrays are where X was.
    intercept_ : array of shape (n_classes,) or (1,), float64
        For features as they are.
    mean_, scale_ : arrays of shape (n_features,), float64
        What each feature is centred with, so that rounding does not hurt, and divided
        by: mean and standard deviation (1 where constant) with `standardize`. Without,
        the scale is 1, and the mean 0 unless there is an intercept.
    classes_ : array of shape (n_classes,)
        Sorted labels, where y was.
    loss_curve_ : list of float
        Objective before the first and after each iteration over all rows: the
        (weighted) mean loss, plus |w|^2 / (2 C sum(weights)).
    n_iter_ : int
        Iterations over all rows.
    n_passes_ : float
        How many times X was read for the objective, samples of the rows counted in
        part; mean and variance, and copying a sample, read it once more each.
    n_features_in_ : int
        Values of one row or image.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of `X`, where it was a data frame.

    See Also
    --------
    sklearn.linear_model.LogisticRegression : Other penalties and solvers, sparse data.

    Notes
    -----
    With x' = (x - mean) / scale, the objective is

    .. math:: C \sum_i s_i \left(\log \sum_c e^{w_c x'_i + b_c}
              - w_{y_i} x'_i - b_{y_i}\right) + \frac{1}{2} \sum_c |w_c|^2

    where s are sample weights times class weights; with two classes, the first has w =
    0 and b = 0 (binomial). The mean and scale take sample weights into account, not
    class weights. The solver is L-BFGS [1]_, preconditioned by the Cholesky factor of
    :math:`C X'^T \mathrm{diag}(q) X' + 1` with q the mean over the classes of
    p (1 - p). Where the columns are so many, and the rows so few, that factoring takes
    longer than what it saves, it is the diagonal; of more than 4096 columns,
    :math:`X' X'^T` of 2048 rows is factored in its place, or, where memory is short,
    groups of columns. Besides the factor, a copy of the sample takes memory while
    fitting: a quarter of the rows, 256 MiB at most. Half of scikit-learn's
    ``working_memory``, where it is below 1 GiB, bounds factor, sample and what is read
    at a time.

    X may be a memory map, or anything else that has `shape`, a NumPy `dtype` and slices
    ``X[a:b]`` with that many rows: a dataset of an HDF5 file, or `LazyFeatures`, which
    are computed on demand. (An object whose dtype is another library's says that it is
    one of these by an attribute ``is_lazy = True``.) Every pass takes slices in order,
    64 MiB at a time, and keeps none.

    References
    ----------
    .. [1] J. Nocedal, S. Wright, "Numerical Optimization", 2nd edition, 2006, ch. 7.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdmn import SoftmaxClassifier
    >>> images, y = load_digits(return_X_y=True)
    >>> softmax = SoftmaxClassifier(C=0.1).fit(images.reshape(-1, 8, 8), y)
    >>> softmax.coef_.shape
    (10, 64)
    >>> softmax.score(images, y) > 0.98
    True
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012 (scikit-learn's)
        "C": [Interval(Real, 0, None, closed="right")],
        "standardize": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "fit_intercept": ["boolean"],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "device": [StrOptions(set(DEVICES))],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        C: float = 1.0,
        *,
        standardize: bool = True,
        tol: float = 1e-5,
        max_iter: int = 200,
        fit_intercept: bool = True,
        class_weight: dict | Literal["balanced"] | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        warm_start: bool = False,
        verbose: bool = False,
    ) -> None:
        self.C = C
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.device = device
        self.warm_start = warm_start
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Find the coefficients.

        Parameters
        ----------
        X : array-like of shape (n, n_features) or (n, height, width[, channels])
            Rows or images, integer or float; a file or lazy features, see Notes.
        y : array-like of shape (n,)
            Labels.
        sample_weight : array-like of shape (n,) or None, default=None
            Weight of each row.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Where X is not finite or has no rows, y has one class or is continuous, a
            weight is negative, or lengths differ.
        RuntimeError
            Where ``device="cuda"`` finds no GPU.
        """
        with self._unchanged_on_error():
            if not get_config()["skip_parameter_validation"]:
                self._validate_params()
            self._fit(X, y, sample_weight)
        return self

    @with_callbacks
    def _fit(self, X: Any, y: Any, sample_weight: Any) -> None:
        rows, backend = self._check_rows(X, reset=True)
        classes, codes = self._check_labels(y, len(rows))
        objective = self._objective(rows, classes, codes, sample_weight)
        start = self._last_point(objective, classes)
        dtype = widest_float(backend)
        labels_place = backend_of(y) if classes.dtype.kind in "biuf" else HOST

        def fitted(point: np.ndarray) -> dict[str, Any]:
            """Return the attributes that predict, for features as they are."""
            coef = point[:, :-1] / objective.scale
            arrays = {
                "coef_": coef,
                "intercept_": point[:, -1] - coef @ objective.mean,
                "mean_": objective.mean,
                "scale_": objective.scale,
            }
            model = {name: to_backend(array, backend) for name, array in arrays.items()}
            model = {name: backend.xp.astype(a, dtype) for name, a in model.items()}
            model["classes_"] = to_backend(classes, labels_place)
            model["_lives"] = backend.xp.empty(
                0, dtype=backend.xp.float32, device=backend.device
            )
            return model

        point = objective.origin() if start is None else start
        data = {"X": X, "y": y, "metadata": {"sample_weight": sample_weight}}
        progress = Progress(self, objective, fitted, point, self._told(data))
        search, is_done = minimize(objective, start, self.tol, self.max_iter, progress)
        for name, value in fitted(search.point).items():
            setattr(self, name, value)
        self.loss_curve_ = [float(value) for value in search.values]
        self.n_iter_ = len(search.values) - 1
        self.n_passes_ = float(sum(objective.passes))
        progress.finish(search)
        if not is_done:
            gap = search.gap / search.values[-1]
            warnings.warn(
                f"SoftmaxClassifier stopped after {self.n_iter_} iterations about "
                f"{gap:.0e} of the loss above its minimum, not tol={self.tol:.0e}; "
                f"raise max_iter={self.max_iter} or tol, or lower C={self.C:g}.",
                ConvergenceWarning,
                stacklevel=4,
            )

    @staticmethod
    def _check_moments(
        rows: Rows, weights: np.ndarray, mean: np.ndarray, var: np.ndarray
    ) -> None:
        """Raise where features cannot be standardized."""
        if not np.isfinite(mean + var).all():
            raise ValueError(
                "X contains NaN or infinity, or values too large to square in "
                f"{rows.dtype}; remove, fill in or scale them."
            )
        if not var.any() and rows.differ(weights):
            raise ValueError(
                "The squares of what the features of X differ by underflow in "
                f"{rows.dtype}; scale X up."
            )

    @staticmethod
    def _told(data: dict[str, Any]) -> dict[str, Any]:
        """Return what callbacks are told of the data."""
        return data

    @staticmethod
    def _check_labels(y: Any, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the sorted classes and each label's index among them."""
        if y is None:
            raise ValueError(
                "SoftmaxClassifier requires y to be passed, but the target y is None; "
                "pass a label for each row."
            )
        classes, codes = encode_labels(y, n_rows)
        if len(classes) < 2:
            raise ValueError(
                f"y holds one class only, {classes.tolist()[0]!r}; SoftmaxClassifier "
                "needs samples of at least 2 classes."
            )
        return classes, codes

    def _objective(
        self, rows: Rows, classes: np.ndarray, codes: np.ndarray, sample_weight: Any
    ) -> Objective:
        """Return what to minimize; reads X once, for mean and variance."""
        if not (sample_weight is None or isinstance(sample_weight, Number)):
            sample_weight = to_numpy(sample_weight)
        weights = _check_sample_weight(
            sample_weight, codes, dtype=np.float64, ensure_non_negative=True
        )
        mean, var = column_moments(rows, weights)
        self._check_moments(rows, weights, mean, var)
        # as StandardScaler finds constant features, for the rounding of float64
        rounding = weights.sum() * np.finfo(np.float64).eps
        constant = var <= rounding * var + (rounding * mean) ** 2
        scale = np.where(constant | (not self.standardize), 1.0, np.sqrt(var))
        if not (self.standardize or self.fit_intercept):
            mean, var = np.zeros_like(mean), var + mean**2
        if self.class_weight is not None:
            by_class = compute_class_weight(
                self.class_weight,
                classes=classes,
                y=classes[codes],
                sample_weight=weights,
            )
            # a class without weight is balanced by an infinite one
            weights = weights * np.where(np.isfinite(by_class), by_class, 0.0)[codes]
            if not (weights.min() >= 0 and weights.sum() > 0):
                raise ValueError(
                    f"class_weight={self.class_weight!r} makes weights negative, or "
                    "leaves no sample with one; pass a positive number for each class."
                )
        return Objective(
            rows,
            codes,
            weights,
            n_classes=len(classes),
            mean=mean,
            scale=scale,
            var=var,
            penalty=1 / (self.C * weights.sum()),
            fit_intercept=self.fit_intercept,
        )

    def _last_point(
        self, objective: Objective, classes: np.ndarray
    ) -> np.ndarray | None:
        """Return the last solution in the objective's terms, where it goes on."""
        if not self.warm_start or not hasattr(self, "coef_"):
            return None
        coef, intercept = to_numpy(self.coef_), to_numpy(self.intercept_)
        same = np.array_equal(to_numpy(self.classes_), classes)
        if not same or coef.shape[1] != objective.rows.n_features:
            return None
        free = (intercept + coef @ objective.mean) * self.fit_intercept
        return np.column_stack([coef * objective.scale, free]).astype(np.float64)
