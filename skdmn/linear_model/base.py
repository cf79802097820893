"""Base class of linear classifiers of rows or images: checks of X, and predictions."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags

from skdmn.data.rows import Rows
from skdmn.data.sliced import is_sliceable
from skdmn.kernels.reference.softmax import logits, probabilities
from skdmn.operations.records import Scores
from skdmn.utils.array_api import (
    HOST,
    Array,
    Backend,
    backend_of,
    compute_backend,
    float_dtype,
    own_backend,
    to_backend,
    to_numpy,
)
from skdmn.utils.checks import check_is_fitted, validate_data
from skdmn.utils.documentation import DocLinkMixin
from skdmn.utils.persistence import PortableMixin
from skdmn.utils.state import (
    Field,
    Sizes,
    State,
    StateError,
    checked,
    classes,
    count,
    floats,
    strings,
)
from skdmn.utils.validation import as_one_array, single_image_hint

# Rough number of products of each value in a fit: two in each of some 20 passes. The
# products of further classes take no time, because reading the value takes as long.
FIT_PRODUCTS = 40


def _check_classes(labels: Any, sizes: Sizes) -> None:
    """Raise StateError if there are not two classes or more; set `n_outputs`."""
    classes().check(labels, sizes)
    n_classes = sizes["n_classes"]
    if n_classes < 2:
        raise StateError("has one label, expected at least 2")
    sizes["n_outputs"] = n_classes if n_classes > 2 else 1


class _LinearClassifier(DocLinkMixin, PortableMixin, ClassifierMixin, BaseEstimator):
    """Base class of fitted linear classifiers; predicts one block of rows at a time."""

    _state: ClassVar[State] = {
        "classes_": checked(_check_classes),
        "coef_": floats("n_outputs", "n_features"),
        "intercept_": floats("n_outputs"),
        "mean_": floats("n_features"),
        "n_features_in_": count(equals="n_features"),
        "feature_names_in_": strings("n_features").optional(),
        "_lives": Field(),
    }
    device: str
    coef_: Array
    intercept_: Array
    mean_: Array
    classes_: Array
    n_features_in_: int

    def decision_function(self, X: Any) -> Array:
        """Compute the scores (logits) of the classes, as LogisticRegression does.

        Parameters
        ----------
        X : array-like of shape (n, n_features) or (n, height, width[, channels])
            Rows or images, as in `fit`.

        Returns
        -------
        scores : array of shape (n, n_classes), or (n,) for two classes
            float32 or float64, with the array library and device of X. For two classes,
            a positive score means the second class.

        Raises
        ------
        NotFittedError
            If the classifier is not fitted.
        ValueError
            If X has another number of features, or another array library or device,
            than in `fit`, or contains NaN or infinity.
        """
        scores = self._scores(X, "decision_function")
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict(self, X: Any) -> Array:
        """Predict the label of each row.

        Parameters
        ----------
        X : array-like of shape (n, n_features) or (n, height, width[, channels])
            Rows or images, as in `fit`.

        Returns
        -------
        labels : array of shape (n,)
            Labels, with the array library and device of X; strings are NumPy arrays.

        Raises
        ------
        NotFittedError, ValueError
            As in `decision_function`.
        """
        scores = self._scores(X, "predict")
        backend = own_backend(scores)
        if scores.shape[1] == 1:
            indices = to_numpy(scores[:, 0] > 0).astype(np.intp)
        else:
            indices = to_numpy(backend.xp.argmax(scores, axis=1))
        labels = to_numpy(self.classes_)[indices]
        return to_backend(labels, backend) if labels.dtype.kind in "biuf" else labels

    def predict_proba(self, X: Any) -> Array:
        """Predict the probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n, n_features) or (n, height, width[, channels])
            Rows or images, as in `fit`.

        Returns
        -------
        probabilities : array of shape (n, n_classes)
            float32 or float64, with the array library and device of X.

        Raises
        ------
        NotFittedError, ValueError
            As in `decision_function`.
        """
        return probabilities(self._scores(X, "predict_proba"))[0]

    def predict_log_proba(self, X: Any) -> Array:
        """Predict the logarithms of the probabilities of the classes.

        They are computed from the scores, so that none is infinite.

        Parameters
        ----------
        X : array-like of shape (n, n_features) or (n, height, width[, channels])
            Rows or images, as in `fit`.

        Returns
        -------
        log_probabilities : array of shape (n, n_classes)
            float32 or float64, with the array library and device of X.

        Raises
        ------
        NotFittedError, ValueError
            As in `decision_function`.
        """
        return probabilities(self._scores(X, "predict_log_proba"))[1]

    def operations(self) -> list[Scores]:
        """Return the computation of `decision_function` as an operation.

        Returns
        -------
        list of Operation
            One `Scores` record of `skdmn.operations`, with NumPy arrays.

        Raises
        ------
        NotFittedError
            If the classifier is not fitted.
        """
        check_is_fitted(self)
        coef, mean = to_numpy(self.coef_), to_numpy(self.mean_)
        intercept = to_numpy(self.intercept_) + coef @ mean
        return [Scores(coef, intercept, mean, to_numpy(self.classes_))]

    def _check_rows(
        self, X: Any, *, reset: bool, method: str = "fit"
    ) -> tuple[Rows, Backend]:
        """Check X; return its rows, and its namespace and device."""
        computed = getattr(X, "is_lazy", False) is True
        lazy = computed or is_sliceable(X)
        # lazy features must compute a row to tell their namespace and device
        dispatch = get_config()["array_api_dispatch"]
        backend = backend_of(X[:1] if computed and dispatch else X)
        if not reset:
            self._check_same_backend(backend, method)
        if not lazy:
            X = as_one_array(X)

        def chosen(X: Any) -> Backend:
            products = self._products(math.prod(X.shape[1:]), method)
            n_products = math.prod(X.shape) * products
            return compute_backend(backend, self.device, n_products)

        # lists have no shape yet
        compute = chosen(X) if hasattr(X, "shape") else HOST
        # a GPU finds NaN and infinity faster, in the rows of a fit or in the scores
        checked = validate_data(
            self,
            X,
            reset=reset,
            skip_check_array=lazy,
            ensure_all_finite=backend == compute,
        )
        X = X if lazy else checked
        compute = chosen(X)
        if len(X.shape) < 2:
            raise ValueError(
                f"Expected rows (a 2D array) or images, got shape {tuple(X.shape)}. "
                "Reshape your data: one row with X.reshape(1, -1), one feature with "
                "X.reshape(-1, 1)."
            )
        if 0 in X.shape:
            raise ValueError(
                f"Found array with {X.shape[0]} sample(s) and "
                f"{math.prod(X.shape[1:])} feature(s) (shape={tuple(X.shape)}) while a "
                f"minimum of 1 is required by {type(self).__name__}."
            )
        if getattr(X.dtype, "kind", "f") not in "biuf":
            raise ValueError(f"X has dtype {X.dtype}; pass integers or floats.")
        wide = float_dtype(X, backend.xp) == backend.xp.float64
        rows = Rows(X, compute, "float64" if wide else "float32", lazy)
        if reset:
            self.n_features_in_ = rows.n_features
        elif rows.n_features != self.n_features_in_:
            hint = single_image_hint(X.shape, self.n_features_in_)
            raise ValueError(
                f"X has {rows.n_features} features, but {type(self).__name__} is "
                f"expecting {self.n_features_in_} features as input{hint}."
            )
        return rows, backend

    def _products(self, n_features: int, method: str) -> int:
        """Return the approximate number of products of each value in a method."""
        return FIT_PRODUCTS if method == "fit" else self.coef_.shape[0]

    def _scores(self, X: Any, method: str) -> Array:
        """Return the logits of the rows; one column if there are two classes."""
        check_is_fitted(self)
        rows, backend = self._check_rows(X, reset=False, method=method)
        model = self._model(rows)
        xp, dtype = backend.xp, getattr(backend.xp, rows.dtype)
        scores = xp.empty(
            (len(rows), self.coef_.shape[0]), dtype=dtype, device=backend.device
        )
        for some, block in rows.blocks():
            # data read from files were not checked for NaN and infinity before, and
            # sums of large finite values overflow
            with np.errstate(invalid="ignore", over="ignore"):
                scores[some, :] = to_backend(logits(block, *model), backend)
            if not bool(xp.all(xp.isfinite(scores[some, :]))):
                raise ValueError(
                    f"X contains NaN or infinity in its rows {some.start} to "
                    f"{some.stop - 1}, or values too large for {rows.dtype}; remove, "
                    "impute or rescale them."
                )
        return scores

    def _model(self, rows: Rows) -> list[Array]:
        """Return centre, coefficients and intercepts for the logits of rows."""
        intercept, coef = to_numpy(self.intercept_), to_numpy(self.coef_)
        if rows.compute == HOST and len(rows) <= len(coef) and coef.dtype == np.float64:
            # few rows are converted faster than the coefficients, and float64 needs
            # no centre
            return [np.zeros(1), coef, intercept]
        (linear,) = self.operations()
        arrays = linear.mean, linear.coef, linear.intercept
        return [
            to_backend(np.ascontiguousarray(array, dtype=rows.dtype), rows.compute)
            for array in arrays
        ]

    def __sklearn_tags__(self) -> Tags:
        """Return tags for scikit-learn: array API support, and images as input."""
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.three_d_array = True
        return tags
