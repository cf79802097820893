"""ZCA whitening of rows: equal variance in every direction."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from scipy.linalg import solve
from sklearn.base import (
    BaseEstimator,
    OneToOneFeatureMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils import gen_batches
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from skdmn.data import sizes
from skdmn.statistics.density import LEAST_SQUARE
from skdmn.utils.array_api import float_dtype
from skdmn.utils.persistence import PortableMixin
from skdmn.utils.state import State, count, floats, moments, strings
from skdmn.utils.validation import as_one_array


class ZCAWhitening(
    PortableMixin, OneToOneFeatureMixin, TransformerMixin, BaseEstimator
):
    """Whiten features (ZCA): uncorrelated, variance 1, as close as possible to X.

    A row x becomes (C + r I)^(-1/2) (x - mean), where C is the covariance matrix and I
    the identity. All linear maps that whiten differ by a rotation. This one changes
    the features least: a whitened image still looks like an image. Networks trained on
    whitened data cannot learn the leading principal components first [1]_.

    Parameters
    ----------
    epsilon : float, default=1e-6
        Regularization r, as a share of the mean variance of the features:
        r = epsilon * trace(C) / n_features. It is added to the variance of every
        direction, so that directions with only noise are not amplified. Use 1e-3 to 0.1
        to keep such noise small. 0 whitens exactly; directions without variance are
        then not scaled.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features_in_,), float64
        Mean of the features.
    explained_variance_ : ndarray of shape (n_features_in_,), float64
        Eigenvalues of C (which is divided by the number of samples), largest first:
        the variance along each principal axis.
    components_ : ndarray of shape (n_features_in_, n_features_in_), float64
        The matrix (C + r I)^(-1/2), which is symmetric.
    n_samples_seen_ : int
        Number of rows in the fit.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names of `X`. Only if `X` was a data frame in `fit`.

    See Also
    --------
    sklearn.decomposition.PCA : With `whiten=True`, whitens and rotates to the
        principal axes.

    Notes
    -----
    Covariances are summed in float64. The output is float64 if `X` is, and float32
    otherwise.

    References
    ----------
    .. [1] G. Hacohen, D. Weinshall, "Principal components bias in over-parameterized
       linear models", arXiv:2105.05553, Fig. 4c and Section 4.3.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from skdmn import ZCAWhitening
    >>> X, _ = load_digits(return_X_y=True)
    >>> white = ZCAWhitening().fit_transform(X[:, 2:6])
    >>> np.cov(white, rowvar=False, bias=True).round(3) + 0.0
    array([[1., 0., 0., 0.],
           [0., 1., 0., 0.],
           [0., 0., 1., 0.],
           [0., 0., 0., 1.]])
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012
        "epsilon": [Interval(Real, 0, None, closed="left")]
    }
    _state: ClassVar[State] = {
        "mean_": floats("n_features"),
        "explained_variance_": floats("n_features", least=0),
        "components_": moments("n_features", "n_features"),
        "n_samples_seen_": count(2),
        "n_features_in_": count(equals="n_features"),
        "feature_names_in_": strings("n_features").optional(),
    }

    def __init__(self, epsilon: float = 1e-6) -> None:
        self.epsilon = epsilon

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Compute the mean and the whitening matrix.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Data with at least two rows.
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If X is not a finite array with at least two rows, or if its squares
            overflow or underflow.
        """
        with self._unchanged_on_error():
            self._fit(X)
        return self

    def _fit(self, X: Any) -> None:
        X = as_one_array(X)
        X = validate_data(self, X, dtype="numeric", ensure_min_samples=2)
        n, d = X.shape
        moments = np.zeros((d, d))
        with np.errstate(over="ignore", invalid="ignore"):  # refused below
            self.mean_ = np.mean(X, axis=0, dtype=np.float64)
            for rows in _batches(X):
                centred = X[rows] - self.mean_
                moments += centred.T @ centred
        _check_range(X, moments)
        values, vectors = np.linalg.eigh(moments / n)
        # smaller variances are rounding errors of the mean or of the largest variance
        noise = np.finfo(np.float64).eps
        floor = max(n, d) * noise * max(values[-1], noise * np.max(self.mean_**2))
        values[values <= floor] = 0.0
        scaled = values + self.epsilon * values.mean()
        scaled[scaled == 0.0] = 1.0
        self.components_ = (vectors / np.sqrt(scaled)) @ vectors.T
        self.explained_variance_ = values[::-1].copy()
        self.n_samples_seen_ = n

    def transform(self, X: Any) -> Any:
        """Whiten rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            float64 if X is, else float32.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X does not have `n_features_in_` features.
        """
        check_is_fitted(self)
        X = validate_data(self, as_one_array(X), dtype="numeric", reset=False)
        white = np.empty(X.shape, dtype=float_dtype(X, np))
        for rows in _batches(X):
            white[rows] = (X[rows] - self.mean_) @ self.components_
        return white

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Undo the whitening.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Output of `transform`.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            float64 if X is, else float32.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X does not have `n_features_in_` features.
        """
        check_is_fitted(self)
        X = validate_data(self, as_one_array(X), dtype="numeric", reset=False)
        colouring = solve(self.components_, np.eye(self.n_features_in_), assume_a="pos")
        original = np.empty(X.shape, dtype=float_dtype(X, np))
        for rows in _batches(X):
            original[rows] = X[rows].astype(np.float64) @ colouring + self.mean_
        return original

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _check_range(X: np.ndarray, moments: np.ndarray) -> None:
    """Raise if the squares of centred rows, summed in `moments`, are out of range."""
    if not np.isfinite(moments).all():
        raise ValueError(
            "No whitening can be computed: the squares of X overflow; scale X down."
        )
    if np.trace(moments) < len(X) * LEAST_SQUARE and (X[0] != X).any():
        raise ValueError(
            "No whitening can be computed: the squares of X underflow; scale X up."
        )


def _batches(X: np.ndarray) -> Any:
    return gen_batches(len(X), max(sizes.MOMENTS_BYTES // (8 * X.shape[1]), 1))
