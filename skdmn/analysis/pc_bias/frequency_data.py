"""Data sets that separate frequency bias from principal component bias.

`make_frequency_data` makes a data set whose classes are defined by frequencies. The
other functions change given data: they amplify or remove components, shuffle labels, or
replace labels by labels that depend on the leading components only. Sections and
figures without a source are those of [1]_.

References
----------
.. [1] G. Hacohen, D. Weinshall, "Principal components bias in over-parameterized
   linear models", arXiv:2105.05553.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from sklearn.utils import check_consistent_length, check_random_state

from skdmn.analysis.pc_bias.directions import principal_coordinates
from skdmn.utils.validation import as_rows, unmasked

#: kappa_1, ..., kappa_10, in periods per unit length (App. D.3)
FREQUENCIES = np.arange(10)
#: phi_1, ..., phi_10, in radians (App. D.3)
PHASES = np.array([0.0, 3.46, 5.08, 0.45, 2.10, 1.4, 5.36, 0.85, 5.9, 5.16])


def frequency_sum(z: Any, n_terms: int = 10) -> np.ndarray:
    """Return the sum of sines that defines the classes of the frequency data set.

    Implements arXiv:2105.05553, eq. 11.

    Parameters
    ----------
    z : array-like
        Positions, between -1 and 1 in the data set.
    n_terms : int, default=10
        Number of terms to sum, lowest frequencies first.

    Returns
    -------
    ndarray of the shape of z, float64
        Sums.

    Raises
    ------
    ValueError
        If `n_terms` is not between 0 and 10.

    Examples
    --------
    >>> from skdmn.analysis.pc_bias.frequency_data import frequency_sum
    >>> frequency_sum([0.0, 0.5]).round(3)
    array([-0.284, -2.199])
    """
    if not 0 <= n_terms <= len(FREQUENCIES):
        raise ValueError(
            f"n_terms is {n_terms}, but the sum has {len(FREQUENCIES)} terms; pass a "
            f"number from 0 to {len(FREQUENCIES)}."
        )
    z = np.asarray(z, dtype=np.float64)[..., np.newaxis]
    angles = 2 * np.pi * FREQUENCIES[:n_terms] * z + PHASES[:n_terms]
    return np.sin(angles).sum(axis=-1)


def is_positive(
    X: Any, n_terms: int = 10, *, rule: Literal["sign", "curve"] = "sign"
) -> np.ndarray:
    """Return which points belong to class 1 by the rule of the frequency data set.

    Parameters
    ----------
    X : array-like of shape (n_samples, 2)
        Points.
    n_terms : int, default=10
        Number of terms of the sum that the rule uses.
    rule : {"sign", "curve"}, default="sign"
        Rule, see `make_frequency_data`.

    Returns
    -------
    ndarray of shape (n_samples,), bool
        True for points of class 1.

    Raises
    ------
    ValueError
        If X does not have two columns, `n_terms` is not between 0 and 10, or the rule
        is unknown.

    Examples
    --------
    >>> from skdmn.analysis.pc_bias.frequency_data import is_positive
    >>> is_positive([[0.5, 0.0], [0.5, 6.0]]), is_positive([[0.5, 6.0]], rule="curve")
    (array([False, False]), array([ True]))
    """
    X = as_rows(X)
    if X.shape[1] != 2:
        raise ValueError(
            f"X has {X.shape[1]} columns; pass data of make_frequency_data, which have "
            "2."
        )
    if rule not in ("sign", "curve"):
        raise ValueError(f"rule is {rule!r}; pass 'sign' or 'curve'.")
    terms = frequency_sum(X[:, 0], n_terms)
    return terms > 0 if rule == "sign" else X[:, 1] > terms


def make_frequency_data(
    n_samples: int = 10000,
    *,
    rule: Literal["sign", "curve"] = "sign",
    random_state: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Make the frequency data set (arXiv:2105.05553, eq. 11 and App. D.3).

    The points are uniformly distributed, between -1 and 1 in the first coordinate and
    between -2 pi and 2 pi in the second. A sum of ten sines of the first coordinate
    separates them into two classes. The paper trains on 10,000 points and tests on
    1,000.

    Parameters
    ----------
    n_samples : int, default=10000
        Number of points.
    rule : {"sign", "curve"}, default="sign"
        Rule that defines class 1; the text of the paper allows both. With "sign", a
        point is in class 1 if the sum is above 0, as in eq. 11. The second coordinate
        is then irrelevant. With "curve", a point is in class 1 if its second coordinate
        is above the sum, as the range of the second coordinate suggests.
    random_state : int, RandomState or None, default=None
        Seed for the points.

    Returns
    -------
    X : ndarray of shape (n_samples, 2), float64
        Points.
    y : ndarray of shape (n_samples,), int64
        Labels, 0 or 1.

    Raises
    ------
    ValueError
        If the rule is unknown.

    Examples
    --------
    >>> from skdmn.analysis.pc_bias.frequency_data import make_frequency_data
    >>> X, y = make_frequency_data(1000, random_state=0)
    >>> X.shape, float(y.mean())
    ((1000, 2), 0.459)
    """
    rng = check_random_state(random_state)
    X = rng.uniform((-1, -2 * np.pi), (1, 2 * np.pi), size=(n_samples, 2))
    return X, is_positive(X, rule=rule).astype(np.int64)


def amplify_components(X: Any, directions: Any, factor: float = 10.0) -> np.ndarray:
    """Multiply the components of data along some directions by a factor.

    A factor of 0 removes these components. If the directions are all but the first P
    principal directions, the result is the projection on the first P principal
    components (arXiv:2105.05553, Figs. 5 and 9).

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Data. Images are flattened.
    directions : array-like of shape (n_directions, n_features)
        Orthonormal rows, such as some of `principal_coordinates(X).directions`. The
        paper uses the first or last 1.5 % of them, and then standardizes every image
        channel to mean 0 and standard deviation 1 again.
    factor : float, default=10
        Factor on the components. The default is that of the paper.

    Returns
    -------
    ndarray of the shape of X, float64
        Changed data.

    Raises
    ------
    ValueError
        If the directions are not orthonormal, or do not have n_features entries.

    Examples
    --------
    >>> from skdmn.analysis.pc_bias.frequency_data import amplify_components
    >>> amplify_components([[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0]])
    array([[ 1., 20.], [ 3., 40.]])
    """
    shape, X = np.shape(X), as_rows(X)
    directions = np.atleast_2d(np.asarray(directions, dtype=np.float64))
    if directions.shape[1] != X.shape[1]:
        raise ValueError(
            f"The directions have {directions.shape[1]} entries, but X has "
            f"{X.shape[1]} features; pass rows of principal_coordinates(X).directions."
        )
    if not np.allclose(directions @ directions.T, np.eye(len(directions)), atol=1e-6):
        raise ValueError(
            "The directions are not orthonormal rows; pass rows of "
            "principal_coordinates(X).directions."
        )
    return (X + (factor - 1) * (X @ directions.T) @ directions).reshape(shape)


def shuffled_labels(y: Any, *, random_state: Any = None) -> np.ndarray:
    """Return the labels in random order, so that they are independent of the data.

    Networks learn shuffled labels more slowly than true ones, unless the data are white
    (arXiv:2105.05553, Fig. 10).

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Labels, or targets.
    random_state : int, RandomState or None, default=None
        Seed for the order.

    Returns
    -------
    ndarray of the shape of y
        Shuffled labels.

    Examples
    --------
    >>> from skdmn.analysis.pc_bias.frequency_data import shuffled_labels
    >>> shuffled_labels([0, 0, 1, 1, 2, 2], random_state=0)
    array([2, 1, 0, 1, 0, 2])
    """
    return check_random_state(random_state).permutation(np.asarray(y))


def leading_component_labels(X: Any, y: Any, n_components: int) -> np.ndarray:
    """Replace labels of two classes by labels that the leading components separate.

    The new labels are the predictions of a linear least-squares classifier of `y` on
    the first P principal components (Section 6.2). If P is small, networks learn these
    labels fast, no matter if `y` are true or shuffled labels (arXiv:2105.05553,
    Fig. 11).

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Data. Images are flattened.
    y : array-like of shape (n_samples,)
        Labels of two classes.
    n_components : int
        Number of leading principal components P.

    Returns
    -------
    ndarray of shape (n_samples,), of the dtype of y
        New labels.

    Raises
    ------
    ValueError
        If there are not two classes, `n_components` is not between 1 and n_features, or
        all new labels are the same.

    Examples
    --------
    >>> from skdmn.analysis.pc_bias.frequency_data import leading_component_labels
    >>> X = [[9.0, 0.1], [8.0, -0.1], [6.0, 1.0], [-9.0, 0.1], [-8.0, -0.2]]
    >>> leading_component_labels(X, [1, 1, 0, 0, 0], 1)
    array([1, 1, 1, 0, 0])
    """
    y = unmasked(y, "y")
    X, y = as_rows(X), np.asarray(y)
    check_consistent_length(X, y)
    classes, index = np.unique(y, return_inverse=True)
    if len(classes) != 2:
        raise ValueError(f"y has {len(classes)} classes; pass labels of two classes.")
    if not 1 <= n_components <= X.shape[1]:
        raise ValueError(
            f"n_components is {n_components}; pass a number between 1 and "
            f"{X.shape[1]}, the number of features."
        )
    leading = X @ principal_coordinates(X).directions[:n_components].T
    design = np.c_[leading, np.ones(len(X))]
    above = design @ np.linalg.lstsq(design, 2.0 * index - 1)[0] > 0
    if above.all() or not above.any():
        raise ValueError(
            f"With n_components={n_components}, all examples get the same label; pass "
            "more components, or classes of about equal size."
        )
    return classes[above.astype(np.int64)]
