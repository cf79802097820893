"""Checks of scikit-learn that every call repeats, without what takes long in them.

They take longer than the rest of a `predict` of one small image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import validation


def check_is_fitted(estimator: Any) -> None:
    """Raise NotFittedError if an estimator of skdmn is not fitted.

    scikit-learn's function also computes the tags of the estimator.
    """
    own = getattr(estimator, "__sklearn_is_fitted__", None)
    is_fitted = own() if own is not None else "n_features_in_" in vars(estimator)
    if not is_fitted:  # or an estimator that needs no fit
        validation.check_is_fitted(estimator)


def validate_data(
    estimator: Any,
    X: Any,
    *,
    reset: bool,
    skip_check_array: bool = False,
    ensure_all_finite: bool = True,
) -> Any:
    """Check images or rows as scikit-learn's function of this name does.

    That function looks for a data frame first. Here, a NumPy array of finite numbers
    is recognized before.

    Parameters
    ----------
    estimator : estimator
    X : array-like
    reset : bool
        Whether the estimator remembers the names of the features, or compares them.
    skip_check_array : bool, default=False
        Whether to check the names of the features only, as for data in files.
    ensure_all_finite : bool, default=True
        Whether to raise an error if X contains NaN or infinity.

    Returns
    -------
    array
        X, converted to an array if it is none; unchanged with `skip_check_array`.

    Raises
    ------
    ValueError
        As that function; the message says which images have NaN or infinity.
    """
    if (
        not reset
        and type(X) is np.ndarray
        and X.ndim > 1
        and X.size
        and not hasattr(estimator, "feature_names_in_")
        and (_is_surely_finite(X) if ensure_all_finite else X.dtype.kind in "biuf")
    ):
        return X
    try:
        return validation.validate_data(
            estimator,
            X,
            reset=reset,
            skip_check_array=skip_check_array,
            allow_nd=True,
            ensure_2d=False,
            ensure_all_finite=ensure_all_finite,
        )
    except ValueError:
        where = _not_finite(X) if ensure_all_finite and not skip_check_array else ""
        if not where:
            raise
        raise ValueError(where) from None


def _not_finite(X: Any) -> str:
    """Return a message that names the images with NaN or infinity, if there are any."""
    if type(X) is not np.ndarray or X.dtype.kind != "f" or X.ndim < 3 or not X.size:
        return ""
    damaged = np.flatnonzero(~np.isfinite(X.reshape(len(X), -1)).all(axis=1))
    if not len(damaged):
        return ""
    what = "NaN" if np.isnan(X[damaged]).any() else "infinity"
    return (
        f"Input X contains {what} in {len(damaged):,d} of {len(X):,d} images, first in "
        f"X[{damaged[0]}]; leave such images out, or replace the values."
    )


def _is_surely_finite(X: np.ndarray) -> bool:
    """Return True if X has no NaN and no infinity, False if its sum cannot tell."""
    if X.dtype.kind in "biu":
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        return X.dtype.kind == "f" and bool(np.isfinite(X.sum()))
