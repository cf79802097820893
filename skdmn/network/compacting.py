"""Small copies of fitted models, for files and for services."""

from __future__ import annotations

import copy
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skdmn.utils.state import has_state


def compact(model: Any) -> Any:
    """Return a small copy of a fitted model, without what only a further fit needs.

    Layers keep the density matrices of their fit, which are much larger than their
    filters. The copy gives the same output, and cannot `partial_fit` or `merge`.

    Parameters
    ----------
    model : estimator
        A fitted estimator: a layer, a network, a Pipeline, or a meta-estimator such as
        GridSearchCV that contains them.

    Returns
    -------
    estimator
        Copy that shares all other arrays with the model. The model is not changed.

    Raises
    ------
    NotFittedError
        If the model is not fitted.
    TypeError
        If the model is not an estimator.

    Examples
    --------
    >>> from skdmn import compact, recommended_dmn
    >>> from skdmn.datasets import load_digits_images
    >>> X, y = load_digits_images()
    >>> dmn = recommended_dmn(X.shape[1:], n_filters=20).fit(X, y)
    >>> small = compact(dmn)
    >>> bool((small.predict(X) == dmn.predict(X)).all())
    True
    """
    if not isinstance(model, BaseEstimator):
        raise TypeError(
            f"model is of type {type(model).__name__}; pass a fitted estimator, such "
            "as a Pipeline."
        )
    check_is_fitted(model)
    return _compact(model)


def _compact(value: Any) -> Any:
    """Return a value with compact copies of the fitted layers in it.

    Values without such layers are returned as they are.
    """
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        parts = [_compact(part) for part in value]
        changed = any(new is not old for new, old in zip(parts, value, strict=True))
        return type(value)(parts) if changed else value
    if type(value) is dict:
        found = {key: _compact(part) for key, part in value.items()}
        changed = any(found[key] is not value[key] for key in value)
        return found if changed else value
    if not isinstance(value, BaseEstimator):
        return value
    if hasattr(value, "compact"):
        return value.compact() if has_state(value) else value
    found = {name: _compact(part) for name, part in vars(value).items()}
    if all(found[name] is part for name, part in vars(value).items()):
        return value
    smaller = copy.copy(value)
    vars(smaller).update(found)
    return smaller
