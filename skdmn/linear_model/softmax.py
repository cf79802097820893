"""Softmax regression with the objective of scikit-learn's LogisticRegression."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions

from skdmn.data.rows import Rows
from skdmn.linear_model.base import _LinearClassifier
from skdmn.linear_model.lbfgs import LBFGS
from skdmn.linear_model.objective import Objective, column_moments, standardized
from skdmn.linear_model.progress import Progress
from skdmn.linear_model.solver import minimize
from skdmn.utils.array_api import (
    DEVICES,
    HOST,
    Backend,
    backend_of,
    to_backend,
    to_numpy,
    widest_float,
)
from skdmn.utils.labels import as_objects, check_sample_weight, encode_labels
from skdmn.utils.state import (
    POSITIVE,
    Sizes,
    State,
    StateError,
    checked,
    count,
    floats,
    has_state,
    number,
)


def _check_losses(losses: Any, sizes: Sizes) -> None:
    """Raise StateError if the losses are no list of numbers."""
    if not isinstance(losses, list) or not all(isinstance(v, Real) for v in losses):
        raise StateError("is no list of numbers")


class SoftmaxClassifier(CallbackSupportMixin, _LinearClassifier):
    r"""Softmax (multinomial logistic) regression with an L2 penalty.

    This classifier minimizes the same objective as
    :class:`~sklearn.linear_model.LogisticRegression` and reaches the same optimum, in
    fewer passes over the data. It takes rows or images, and standardizes the features
    by default, without a copy of them.

    Parameters
    ----------
    C : float, default=1.0
        Inverse of the regularization strength, as in LogisticRegression: smaller values
        regularize more. It multiplies the sum of the losses. The best value falls as
        the number of features grows; see `SoftmaxClassifierCV`. ``np.inf`` means no
        penalty.
    standardize : bool, default=True
        If True, the penalty acts on the coefficients of standardized features, as if a
        :class:`~sklearn.preprocessing.StandardScaler` came first. If False, it acts on
        `coef_`, as in LogisticRegression. In both cases `coef_` and `intercept_` apply
        to the features as given.
    tol : float, default=1e-5
        Tolerance for stopping: estimated suboptimality (objective minus its minimum),
        relative to the objective. Before stopping, the estimate is checked with the
        Hessian at the solution; it is correct to a factor of about ten. The default
        thus leads to a relative suboptimality below 1e-4.
    max_iter : int, default=200
        Maximum number of iterations over all rows. Iterations over a sample of the rows
        are not counted.
    fit_intercept : bool, default=True
        Whether to fit an intercept. If False and `standardize` is True, the intercept
        is zero for the standardized features, and `intercept_` is in general not zero.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes as {label: weight}. "balanced" makes the total weights of
        all classes equal. None gives every class the weight 1.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Device for the computation. "auto" uses the device of `X`; for NumPy arrays it
        uses a GPU if the work is large and CuPy finds one, else the CPU.
    warm_start : bool, default=False
        If True, `fit` starts from the previous solution, provided that the classes and
        the number of features are the same.
    verbose : bool, default=False
        Whether to print the progress, about once a second.

    Attributes
    ----------
    coef_ : array of shape (n_classes, n_features) or (1, n_features), float64
        Coefficients for the features as given; one row if there are two classes. Like
        the other arrays, it has the array library and device of X.
    intercept_ : array of shape (n_classes,) or (1,), float64
        Intercepts for the features as given.
    mean_, scale_ : arrays of shape (n_features,), float64
        The solver works on (x - mean_) / scale_. With `standardize`, these are the mean
        and the standard deviation of each feature (1 for a constant feature). Without,
        `scale_` is 1. `mean_` is then the mean, for numerical accuracy, or 0 if there
        is no intercept.
    classes_ : array of shape (n_classes,)
        Sorted labels, with the array library and device of y.
    loss_curve_ : list of float
        Objective before the first iteration and after each iteration over all rows: the
        weighted mean loss plus |w|^2 / (2 C sum(weights)).
    n_iter_ : int
        Number of iterations over all rows.
    n_passes_ : float
        Number of times that X was read for the objective; reading a sample counts in
        part. Two further passes compute mean and variance, and copy the sample.
    n_features_in_ : int
        Number of features of a row, or of values of an image.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of `X`, if it is a data frame whose names are all strings.

    See Also
    --------
    SoftmaxClassifierCV : Chooses C by cross-validation.
    IncrementalRidgeClassifier : Least squares from sums: exact partial_fit and merge.
    sklearn.linear_model.LogisticRegression : Other penalties and solvers, sparse data.

    Notes
    -----
    **Objective.** With the standardized features x' = (x - mean) / scale, it is

    .. math:: C \sum_i s_i \left(\log \sum_c e^{w_c x'_i + b_c}
              - w_{y_i} x'_i - b_{y_i}\right) + \frac{1}{2} \sum_c |w_c|^2

    where s are sample weights times class weights. With two classes, the first has
    w = 0 and b = 0 (binomial logistic regression). Mean and scale are computed with the
    sample weights, but without class weights.

    **Solver.** L-BFGS [1]_, preconditioned by the Cholesky factor of the approximate
    Hessian :math:`C X'^T \mathrm{diag}(q) X' + 1`, where q is the mean over the classes
    of p (1 - p). If there are many rows, a quarter of them is minimized roughly first;
    this gives the start and the factor for all rows. A bound on the Hessian's diagonal
    is used if factoring takes longer than it saves. With more than 4096 columns,
    :math:`X' X'^T` of 2048 rows is factored instead or, if memory is short, groups of
    columns. Before the solver stops, the Newton step at the solution confirms that the
    optimum is near. Up to 256 coefficients have the exact step; otherwise it is
    approximated by conjugate gradients.

    **Memory.** The fit holds the factor and a copy of the sample: a quarter of the
    rows, at most 256 MiB. Half of scikit-learn's ``working_memory``, if that is below
    1 GiB, bounds the sizes of the factor, the sample and each slice read from X.

    **Data in files.** X may be a memory map, an HDF5 dataset, `LazyFeatures`, or any
    other object with a `shape`, a NumPy `dtype` and slices ``X[a:b]`` that return b - a
    rows. Every pass reads the slices in order, 64 MiB at a time, and keeps none. If the
    dtype of such an object belongs to another library, set its attribute ``is_lazy`` to
    True.

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
    _state: ClassVar[State] = {
        "scale_": floats("n_features", least=POSITIVE),
        "loss_curve_": checked(_check_losses),
        "n_iter_": count(),
        "n_passes_": number(least=0),
    }

    _objective_type: type[Objective] = Objective
    _name = "SoftmaxClassifier"  # in messages; subclasses may be private

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
        """Fit the coefficients.

        Parameters
        ----------
        X : array-like of shape (n, n_features) or (n, height, width[, channels])
            Rows or images of integers or floats. Data in files and lazy features are
            described in the Notes of the class.
        y : array-like of shape (n,)
            Labels.
        sample_weight : array-like of shape (n,) or None, default=None
            Weight of each row; None means 1.

        Returns
        -------
        self : SoftmaxClassifier
            Fitted estimator.

        Raises
        ------
        ValueError
            If X has no rows or is not finite, y has only one class or is continuous, a
            weight is negative, or the lengths differ.
        RuntimeError
            If `device` is "cuda" and no GPU is usable.
        """
        with self._unchanged_on_error():
            self._check_params()
            if self.warm_start and has_state(self):
                self._check_state()
            self._fit(X, y, sample_weight)
        return self

    @with_callbacks
    def _fit(self, X: Any, y: Any, sample_weight: Any) -> None:
        rows, backend = self._check_rows(X, reset=True)
        classes, codes = self._check_labels(y, len(rows))
        rows = _resident(rows, backend)
        objective = self._objective(rows, classes, codes, sample_weight)
        start = self._last_solution(objective, classes)
        fitted = self._model_of(objective, classes, backend, y)
        data = {"X": X, "y": y, "metadata": {"sample_weight": sample_weight}}
        self._minimize(objective, start, fitted, self._callback_data(data))

    @staticmethod
    def _model_of(
        objective: Objective, classes: np.ndarray, backend: Backend, y: Any
    ) -> Callable[[np.ndarray], dict[str, Any]]:
        """Return a function that turns an iterate into the attributes of a model."""
        dtype = widest_float(backend)
        labels_backend = backend_of(y) if classes.dtype.kind in "biuf" else HOST

        def fitted(iterate: np.ndarray) -> dict[str, Any]:
            """Return the fitted attributes for features in input units."""
            coef = iterate[:, :-1] / objective.scale
            arrays = {
                "coef_": coef,
                "intercept_": iterate[:, -1] - coef @ objective.mean,
                "mean_": objective.mean,
                "scale_": objective.scale,
            }
            model = {name: to_backend(array, backend) for name, array in arrays.items()}
            model = {name: backend.xp.astype(a, dtype) for name, a in model.items()}
            model["classes_"] = to_backend(classes, labels_backend)
            model["_lives"] = backend.xp.empty(
                0, dtype=backend.xp.float32, device=backend.device
            )
            return model

        return fitted

    def _minimize(
        self,
        objective: Objective,
        start: np.ndarray | None,
        fitted: Callable[[np.ndarray], dict[str, Any]],
        data: dict[str, Any],
        context: Any = None,
    ) -> None:
        """Minimize the objective, and set the fitted attributes."""
        iterate = objective.origin() if start is None else start
        progress = Progress(self, objective, fitted, iterate, data, context)
        optimizer, is_done = minimize(
            objective, start, self.tol, self.max_iter, progress
        )
        for name, value in fitted(optimizer.iterate).items():
            setattr(self, name, value)
        self.loss_curve_ = [float(value) for value in optimizer.values]
        self.n_iter_ = len(optimizer.values) - 1
        self.n_passes_ = float(sum(objective.passes))
        progress.finish(optimizer)
        if not is_done:
            advice = self._advice(optimizer)
            warnings.warn(advice, ConvergenceWarning, stacklevel=5)

    def _advice(self, optimizer: LBFGS) -> str:
        """Return why a fit stopped before it converged, and what to do."""
        n_iter = len(optimizer.values) - 1
        suboptimality = optimizer.suboptimality / optimizer.values[-1]
        stopped = f"{self._name} stopped after {n_iter} iterations"
        if optimizer.is_stuck:
            return (
                f"{stopped}, because rounding errors hide a further decrease of the "
                f"objective; scale the features, or lower {self._told_C()}."
            )
        if suboptimality <= self.tol:
            return (
                f"{stopped}, before the objective converged; raise max_iter="
                f"{self.max_iter}, scale the features, or lower {self._told_C()}."
            )
        return (
            f"{stopped} with an estimated relative suboptimality of "
            f"{suboptimality:.0e}, above tol={self.tol:.0e}; "
            f"raise max_iter={self.max_iter} or tol, or lower {self._told_C()}."
        )

    def _told_C(self) -> str:
        """Return the regularization for a message."""
        return f"C={self.C:g}"

    @staticmethod
    def _check_moments(
        rows: Rows, weights: np.ndarray, mean: np.ndarray, var: np.ndarray
    ) -> None:
        """Raise if the features cannot be standardized."""
        if not np.isfinite(mean + var).all():
            raise ValueError(
                "X contains NaN or infinity, or values whose squares overflow in "
                f"{rows.dtype}; remove, impute or rescale them."
            )
        if not var.any() and rows.differ(weights):
            raise ValueError(
                "The features of X have variances that underflow to zero in "
                f"{rows.dtype}; multiply X by a large number."
            )

    @staticmethod
    def _callback_data(data: dict[str, Any]) -> dict[str, Any]:
        """Return the data to pass to callbacks."""
        return data

    def _check_labels(self, y: Any, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the sorted classes, and the class index of each label."""
        if y is None:
            raise ValueError(
                f"{self._name} requires y to be passed, but the target y is None; pass "
                "a label for each row."
            )
        classes, codes = encode_labels(y, n_rows)
        if len(classes) < 2:
            raise ValueError(
                f"y contains one class only, {classes.tolist()[0]!r}; {self._name} "
                "needs samples of at least 2 classes."
            )
        if isinstance(self.class_weight, dict):
            _by_class(self.class_weight, classes)  # raises before X is read
        return classes, codes

    def _objective(
        self, rows: Rows, classes: np.ndarray, codes: np.ndarray, sample_weight: Any
    ) -> Objective:
        """Return the objective; reads X once for mean and variance."""
        # weights of any scale, because very small ones would be 0 in float32
        weights, exponent = _of_order_one(check_sample_weight(sample_weight, len(rows)))
        mean, var = self._moments(rows, weights)
        self._check_moments(rows, weights, mean, var)
        return self._objective_of(
            rows, classes, codes, weights, exponent, (mean, var), len(rows), self.C
        )

    def _objective_of(
        self,
        rows: Rows,
        classes: np.ndarray,
        codes: np.ndarray,
        weights: np.ndarray,
        exponent: int,
        moments: tuple[np.ndarray, np.ndarray],
        n_rows: int,
        C: float,
    ) -> Objective:
        """Return the objective for rows whose mean and variance are known.

        The weights of the rows are `weights` times 2**exponent. `n_rows` is the number
        of rows in use.
        """
        mean, var = moments
        # StandardScaler's test for constant features
        rounding = n_rows * np.finfo(np.float64).eps
        constant = var <= rounding * var + (rounding * mean) ** 2
        scale = np.where(constant | (not self.standardize), 1.0, np.sqrt(var))
        if not (self.standardize or self.fit_intercept):
            mean, var = np.zeros_like(mean), var + mean**2
        if self.class_weight is not None:
            by_class, of_classes = _of_order_one(
                _by_class(self.class_weight, classes)
                if isinstance(self.class_weight, dict)
                else _balanced(codes, weights, len(classes))
            )
            weights, of_both = _of_order_one(weights * by_class[codes])
            exponent += of_classes + of_both
            if not weights.any():
                raise ValueError(
                    f"class_weight={self.class_weight!r} makes all weights zero; pass "
                    "a positive number for each class."
                )
        # C sum(weights) with the weights as given
        strength = np.ldexp(C, exponent) * weights.sum()
        with np.errstate(divide="ignore", over="ignore"):
            penalty = min(1 / strength, np.finfo(np.float64).max)
        return self._objective_type(
            rows,
            codes,
            weights,
            n_classes=len(classes),
            mean=mean,
            scale=scale,
            var=var,
            penalty=float(penalty),
            fit_intercept=self.fit_intercept,
        )

    @staticmethod
    def _moments(rows: Rows, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute each feature's weighted mean and variance."""
        return column_moments(rows, weights)

    def _last_solution(
        self, objective: Objective, classes: np.ndarray
    ) -> np.ndarray | None:
        """Return the last solution as an iterate, or None if it cannot be reused."""
        if not self.warm_start or not hasattr(self, "coef_"):
            return None
        coef, intercept = to_numpy(self.coef_), to_numpy(self.intercept_)
        same = np.array_equal(to_numpy(self.classes_), classes)
        if not same or coef.shape[1] != objective.rows.n_features:
            return None
        return standardized(
            coef, intercept, objective.mean, objective.scale, self.fit_intercept
        )


def _resident(rows: Rows, backend: Backend) -> Rows:
    """Return rows that were sent to the GPU that computes, if they fit there."""
    rows = rows.resident()
    if backend != rows.compute and not rows.is_lazy and not rows.are_finite():
        raise ValueError("X contains NaN or infinity; remove or impute them.")
    return rows


def _balanced(codes: np.ndarray, weights: np.ndarray, n_classes: int) -> np.ndarray:
    """Return class weights that make the total weights of all classes equal."""
    totals = np.bincount(codes, weights, minlength=n_classes)
    # a class whose samples have no weight keeps none
    out = np.zeros(n_classes)
    return np.divide(totals.sum(), n_classes * totals, out=out, where=totals > 0)


def _by_class(class_weight: dict, classes: np.ndarray) -> np.ndarray:
    """Return the weight of each class; 1 for one that is not in `class_weight`."""
    labels = as_objects(classes)
    unknown = [label for label in class_weight if label not in set(labels)]
    if unknown and any(label not in class_weight for label in labels):
        raise ValueError(
            f"class_weight has the key {unknown[0]!r}, which is not a label; pass "
            f"labels of y as keys, such as {labels[0]!r}."
        )
    weights = np.ones(len(labels))
    for index, label in enumerate(labels):
        weight = class_weight.get(label, 1.0)
        if not isinstance(weight, Real) or not 0 <= float(weight) < np.inf:
            raise ValueError(
                f"class_weight gives class {label!r} the weight {weight!r}; pass a "
                "finite number of at least 0."
            )
        weights[index] = weight
    return weights


def _of_order_one(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Divide values by a power of 2, so that the largest is between 1 and 2.

    This is exact. Returns the quotients and the exponent.
    """
    largest = values.max()
    exponent = int(np.frexp(largest)[1]) - 1 if largest > 0 else 0
    return np.ldexp(values, -exponent), exponent
