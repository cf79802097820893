"""Data that tell the biases of learning apart.

A data set whose classes differ by frequencies, and changes to given data: components
amplified or taken away, labels shuffled, labels that the leading components decide.
Sections and figures named below are those of [1]_.

References
----------
.. [1] G. Hacohen, D. Weinshall, "Principal components bias in over-parameterized
   linear models", arXiv:2105.05553.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from sklearn.utils import check_array, check_consistent_length, check_random_state

from skdmn.analysis.pc_bias.directions import principal_coordinates

#: kappa_1, ..., kappa_10, in periods per unit length (App. D.3)
FREQUENCIES = np.arange(10)
#: phi_1, ..., phi_10, in radians (App. D.3)
PHASES = np.array([0.0, 3.46, 5.08, 0.45, 2.10, 1.4, 5.36, 0.85, 5.9, 5.16])


def frequency_sum(z: Any, n_terms: int = 10) -> np.ndarray:
    """Return the sum of sines that the frequency data set is made of.

    Source: arXiv:2105.05553, eq. 11.

    Parameters
    ----------
    z : array-like
        Positions, between -1 and 1 in the data set.
    n_terms : int, default=10
        How many terms to sum, lowest frequencies first.

    Returns
    -------
    ndarray of the shape of z, float64

    Raises
    ------
    ValueError
        Where there are not so many terms.

    Examples
    --------
    >>> from skdmn.analysis.pc_bias.frequency_data import frequency_sum
    >>> frequency_sum([0.0, 0.5]).round(3)
    array([-0.284, -2.199])
    """
    if not 0 <= n_terms <= len(FREQUENCIES):
        raise ValueError(f"n_terms is {n_terms}; the sum has {len(FREQUENCIES)} terms.")
    z = np.asarray(z, dtype=np.float64)[..., np.newaxis]
    angles = 2 * np.pi * FREQUENCIES[:n_terms] * z + PHASES[:n_terms]
    return np.sin(angles).sum(axis=-1)


def is_positive(
    X: Any, n_terms: int = 10, *, rule: Literal["sign", "curve"] = "sign"
) -> np.ndarray:
    """Return which points the rule of the frequency data set puts into class 1.

    Parameters
    ----------
    X : array-like of shape (n_samples, 2)
    n_terms : int, default=10
        How many terms of the sum the rule uses.
    rule : {"sign", "curve"}, default="sign"
        See `make_frequency_data`.

    Returns
    -------
    ndarray of shape (n_samples,), bool

    Raises
    ------
    ValueError
        Where X has not two columns, or the rule is another.

    Examples
    --------
    >>> from skdmn.analysis.pc_bias.frequency_data import is_positive
    >>> is_positive([[0.5, 0.0], [0.5, 6.0]]), is_positive([[0.5, 6.0]], rule="curve")
    (array([False, False]), array([ True]))
    """
    X = check_array(X, dtype=np.float64)
    if X.shape[1] != 2:
        raise ValueError(f"X has {X.shape[1]} columns; the data set has 2.")
    if rule not in ("sign", "curve"):
        raise ValueError(f"rule is {rule!r}; take 'sign' or 'curve'.")
    terms = frequency_sum(X[:, 0], n_terms)
    return terms > 0 if rule == "sign" else X[:, 1] > terms


def make_frequency_data(
    n_samples: int = 10000,
    *,
    rule: Literal["sign", "curve"] = "sign",
    random_state: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Make the frequency data set (arXiv:2105.05553, eq. 11 and App. D.3).

    Points in the plane, uniform between -1 and 1 in the first coordinate and between
    -2 pi and 2 pi in the second, in two classes that a sum of ten sines of the first
    coordinate separates. The paper trains on 10,000 points and tests on 1,000.

    Parameters
    ----------
    n_samples : int, default=10000
    rule : {"sign", "curve"}, default="sign"
        The text of the paper can be read in two ways. "sign": class 1 is where the sum
        is above 0, as eq. 11 says; the second coordinate tells nothing. "curve": class
        1 lies above the curve that the sum draws in the plane, which the range of the
        second coordinate suggests.
    random_state : int, RandomState or None, default=None

    Returns
    -------
    X : ndarray of shape (n_samples, 2), float64
    y : ndarray of shape (n_samples,), int64
        0 and 1.

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
    """Return data with what lies along some directions multiplied.

    A factor of 0 takes the directions away: with all but the first P, that is the
    projection on the first P principal components (arXiv:2105.05553, Figs. 5 and 9).

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
    directions : array-like of shape (n_directions, n_features)
        Orthonormal rows, such as the last of `principal_coordinates(X).directions`.
        The paper takes the first or last 1.5 % of them, and afterwards gives every
        image channel mean 0 and standard deviation 1 again.
    factor : float, default=10
        The paper's.

    Returns
    -------
    ndarray of shape (n_samples, n_features), float64

    Raises
    ------
    ValueError
        Where the directions are not orthonormal, or have another length than rows.

    Examples
    --------
    >>> from skdmn.analysis.pc_bias.frequency_data import amplify_components
    >>> amplify_components([[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0]])
    array([[ 1., 20.], [ 3., 40.]])
    """
    X = check_array(X, dtype=np.float64)
    directions = np.atleast_2d(np.asarray(directions, dtype=np.float64))
    if directions.shape[1] != X.shape[1]:
        raise ValueError(
            f"The directions have {directions.shape[1]} entries; X has {X.shape[1]} "
            "features."
        )
    if not np.allclose(directions @ directions.T, np.eye(len(directions)), atol=1e-6):
        raise ValueError(
            "The directions are not orthonormal rows; take rows of "
            "principal_coordinates(X).directions."
        )
    return X + (factor - 1) * (X @ directions.T) @ directions


def shuffled_labels(y: Any, *, random_state: Any = None) -> np.ndarray:
    """Return the labels in random order: as many of each, no relation to the data.

    Networks learn them more slowly than true ones, unless the data are white
    (arXiv:2105.05553, Fig. 10).

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Labels, or targets.
    random_state : int, RandomState or None, default=None

    Returns
    -------
    ndarray of the shape of y

    Examples
    --------
    >>> from skdmn.analysis.pc_bias.frequency_data import shuffled_labels
    >>> shuffled_labels([0, 0, 1, 1, 2, 2], random_state=0)
    array([2, 1, 0, 1, 0, 2])
    """
    return check_random_state(random_state).permutation(np.asarray(y))


def leading_component_labels(X: Any, y: Any, n_components: int) -> np.ndarray:
    """Return labels of two classes that the leading components separate.

    Those of the best linear separator, by least squares, in the first principal
    components: labels that it gets wrong are switched (Section 6.2). With few
    components networks learn them fast, be the labels real or shuffled before
    (arXiv:2105.05553, Fig. 11).

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)
        Labels of two classes.
    n_components : int
        P.

    Returns
    -------
    ndarray of shape (n_samples,), of the dtype of y

    Raises
    ------
    ValueError
        Where there are not two classes, not so many components, or only one class is
        left.

    Examples
    --------
    >>> from skdmn.analysis.pc_bias.frequency_data import leading_component_labels
    >>> X = [[9.0, 0.1], [8.0, -0.1], [6.0, 1.0], [-9.0, 0.1], [-8.0, -0.2]]
    >>> leading_component_labels(X, [1, 1, 0, 0, 0], 1)
    array([1, 1, 1, 0, 0])
    """
    X, y = check_array(X, dtype=np.float64), np.asarray(y)
    check_consistent_length(X, y)
    classes, index = np.unique(y, return_inverse=True)
    if len(classes) != 2:
        raise ValueError(f"y has {len(classes)} classes; give labels of two.")
    if not 1 <= n_components <= X.shape[1]:
        raise ValueError(
            f"n_components is {n_components}; X has between 1 and {X.shape[1]}."
        )
    leading = X @ principal_coordinates(X).directions[:n_components].T
    design = np.c_[leading, np.ones(len(X))]
    above = design @ np.linalg.lstsq(design, 2.0 * index - 1)[0] > 0
    if above.all() or not above.any():
        raise ValueError(
            f"{n_components} components tell no example of the smaller class from the "
            "other; take more components, or classes of about equal size."
        )
    return classes[above.astype(np.int64)]
