"""ZCA whitening of rows: equal variance in every direction."""

from __future__ import annotations

from numbers import Real
from typing import Any, Self

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

from skdmn.utils.persistence import PortableMixin

_BATCH_VALUES = 2**21  # rows are made float64 so many values at a time


class ZCAWhitening(
    PortableMixin, OneToOneFeatureMixin, TransformerMixin, BaseEstimator
):
    """Make the features uncorrelated and of variance 1, changing them least.

    The mean is taken away, and every direction of the data divided by its standard
    deviation: x becomes (C + r I)^(-1/2) (x - mean), where C is the covariance. Of all
    linear maps that whiten, this one, without a rotation, leaves the features closest
    to what they were: a whitened image is still an image. Networks given whitened data
    can not learn the leading principal components first [1]_.

    Parameters
    ----------
    epsilon : float, default=1e-6
        What is added to the variance of every direction, as a share of the mean
        variance of the features: r = epsilon * trace(C) / n_features. It keeps
        directions that hold nothing but noise from being blown up; take more, 1e-3 to
        0.1, where the noise is to stay small, and 0 to whiten exactly. Directions
        without variance are left as they are where it is 0.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features_in_,), float64
        Mean of the features.
    explained_variance_ : ndarray of shape (n_features_in_,), float64
        Variance along each principal direction, largest first: the eigenvalues of C,
        divided by the number of samples.
    components_ : ndarray of shape (n_features_in_, n_features_in_), float64
        (C + r I)^(-1/2), symmetric: what rows are multiplied by.
    n_samples_seen_ : int
        Number of rows.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of `X`, where it was a data frame.

    See Also
    --------
    sklearn.decomposition.PCA : With `whiten=True`, the same rotated to the principal
        directions.

    Notes
    -----
    Sums are float64. float32 and float64 come out as they are, other numbers as
    float32.

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

    def __init__(self, epsilon: float = 1e-6) -> None:
        self.epsilon = epsilon

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the mean and the whitening matrix.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            At least two rows.
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Where X is not a finite array of at least two rows.
        """
        with self._unchanged_on_error():
            self._fit(X)
        return self

    def _fit(self, X: Any) -> None:
        X = validate_data(self, X, dtype="numeric", ensure_min_samples=2)
        n, d = X.shape
        self.mean_ = np.mean(X, axis=0, dtype=np.float64)
        moments = np.zeros((d, d))
        for rows in _batches(X):
            centred = X[rows] - self.mean_
            moments += centred.T @ centred
        values, vectors = np.linalg.eigh(moments / n)
        # below this a variance is the rounding of the mean or of the largest variance
        noise = np.finfo(np.float64).eps
        floor = max(n, d) * noise * max(values[-1], noise * np.max(self.mean_**2))
        values[values <= floor] = 0.0
        scaled = values + self.epsilon * values.mean()
        scaled[scaled == 0.0] = 1.0
        self.components_ = (vectors / np.sqrt(scaled)) @ vectors.T
        self.explained_variance_ = values[::-1].copy()
        self.n_samples_seen_ = n

    def transform(self, X: Any) -> Any:
        """Whiten.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Of the dtype of X where that is float32 or float64, else float32.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            Where X has another number of features.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype="numeric", reset=False)
        white = np.empty(X.shape, dtype=_float_like(X))
        for rows in _batches(X):
            white[rows] = (X[rows] - self.mean_) @ self.components_
        return white

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Undo the whitening.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            What `transform` gave.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Of the dtype of X where that is float32 or float64, else float32.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            Where X has another number of features.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype="numeric", reset=False)
        colouring = solve(self.components_, np.eye(self.n_features_in_), assume_a="pos")
        original = np.empty(X.shape, dtype=_float_like(X))
        for rows in _batches(X):
            original[rows] = X[rows].astype(np.float64) @ colouring + self.mean_
        return original

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _batches(X: np.ndarray) -> Any:
    return gen_batches(len(X), max(_BATCH_VALUES // X.shape[1], 1))


def _float_like(X: np.ndarray) -> Any:
    return X.dtype if X.dtype in (np.float32, np.float64) else np.float32
