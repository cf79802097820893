"""In which order examples are learned, and what explains it.

One score for each example: when an ensemble of networks learns it, how many principal
components or frequencies it takes to classify it, how much its neighbours agree. The
scores and their names are those of [1]_.

References
----------
.. [1] G. Hacohen, D. Weinshall, "Principal components bias in over-parameterized
   linear models", arXiv:2105.05553.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.stats import pearsonr
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.validation import check_is_fitted

from skdmn.analysis.pc_bias.directions import principal_coordinates
from skdmn.analysis.pc_bias.frequency_data import FREQUENCIES, is_positive


class OrderCorrelation(NamedTuple):
    """How alike two scores order the examples.

    Attributes
    ----------
    correlation : float
        Pearson's, between -1 and 1.
    p_value : float
        Of no correlation, two-sided, for normal scores.
    n_examples : int
        How many examples have both scores.
    """

    correlation: float
    p_value: float
    n_examples: int


class ScoreGroups(NamedTuple):
    """What examples of the same score have in common.

    Attributes
    ----------
    scores : ndarray of shape (n_groups,), float64
        Mean score of each group, in increasing order.
    means : ndarray of shape (n_groups,), float64
        Mean of the values.
    errors : ndarray of shape (n_groups,), float64
        Standard error of that mean; nan for one example.
    counts : ndarray of shape (n_groups,), int64
        Examples in each group.
    """

    scores: np.ndarray
    means: np.ndarray
    errors: np.ndarray
    counts: np.ndarray


def accessibility(predictions: Any, y: Any) -> np.ndarray:
    """Return how early an ensemble learns each example (arXiv:2105.05553, Section 4).

    The share of networks and epochs that classify it correctly: 1 where all do from
    the first epoch on, near 0 where it is learned last.

    Parameters
    ----------
    predictions : array-like of shape (n_networks, n_epochs, n_samples)
        Predicted labels.
    y : array-like of shape (n_samples,)
        True labels.

    Returns
    -------
    ndarray of shape (n_samples,), float64

    Raises
    ------
    ValueError
        Where the shapes do not fit.

    Examples
    --------
    >>> from skdmn.analysis.pc_bias.learning_order import accessibility
    >>> accessibility([[["a", "a"], ["a", "b"]]], ["a", "b"])
    array([1. , 0.5])
    """
    return _correct(predictions, y).mean(axis=(0, 1))


def epochs_to_learn(predictions: Any, y: Any) -> np.ndarray:
    """Return after how many epochs each network first classifies each example.

    Parameters
    ----------
    predictions : array-like of shape (n_networks, n_epochs, n_samples)
        Predicted labels.
    y : array-like of shape (n_samples,)
        True labels.

    Returns
    -------
    ndarray of shape (n_networks, n_samples), float64
        From 1; nan where a network never does.

    Raises
    ------
    ValueError
        Where the shapes do not fit.

    Examples
    --------
    >>> from skdmn.analysis.pc_bias.learning_order import epochs_to_learn
    >>> epochs_to_learn([[[0, 0, 0], [0, 1, 0]]], [0, 1, 1])
    array([[ 1.,  2., nan]])
    """
    correct = _correct(predictions, y)
    return np.where(correct.any(axis=1), correct.argmax(axis=1) + 1.0, np.nan)


def _correct(predictions: Any, y: Any) -> np.ndarray:
    predictions, y = np.asarray(predictions), np.asarray(y)
    if predictions.ndim != 3 or y.shape != predictions.shape[2:]:
        raise ValueError(
            f"predictions has shape {predictions.shape} and y {y.shape}; they must be "
            "(n_networks, n_epochs, n_samples) and (n_samples,)."
        )
    return predictions == y


def critical_principal_component(classifier: Any, X: Any, y: Any) -> np.ndarray:
    """Return how many principal components it takes to classify each example.

    The smallest P such that a linear classifier, trained on the data as they are,
    classifies the example correctly when it is projected on the first P components, and
    on any larger number of them (arXiv:2105.05553, Section 4.2). Components are those
    of the second moments of X, not centred.

    Parameters
    ----------
    classifier : fitted linear classifier
        With `coef_`, `intercept_` and `classes_`, such as SoftmaxClassifier or
        scikit-learn's LogisticRegression.
    X : array-like of shape (n_samples, n_features)
        As the classifier takes it.
    y : array-like of shape (n_samples,)
        True labels.

    Returns
    -------
    ndarray of shape (n_samples,), float64
        From 1 to n_features; nan where all components together do not do.

    Raises
    ------
    TypeError
        Where the classifier is not linear, or has no score for each class.
    NotFittedError
        Where it is not fitted.
    ValueError
        Where shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skdmn.analysis.pc_bias.learning_order import critical_principal_component
    >>> X = np.array([[5.0, 0.0], [-5.0, 0.0], [-0.1, 1.0], [0.1, -1.0]])
    >>> y = [1, 0, 1, 0]
    >>> classifier = LogisticRegression(C=100).fit(X, y)
    >>> critical_principal_component(classifier, X, y)
    array([1., 1., 2., 2.])
    """
    X, y, coef, intercept = _check_linear(classifier, X, y)
    directions = principal_coordinates(X).directions
    coordinates, weights = X @ directions.T, coef @ directions.T
    scores = np.tile(intercept, (len(X), 1)).astype(np.float64)
    critical = np.full(len(X), np.nan)
    for i in range(X.shape[1]):
        scores += np.outer(coordinates[:, i], weights[:, i])
        best = (
            scores.argmax(axis=1) if len(coef) > 1 else (scores[:, 0] > 0).astype(int)
        )
        correct = classifier.classes_[best] == y
        critical[~correct] = np.nan
        critical[correct & np.isnan(critical)] = i + 1
    return critical


def _check_linear(
    classifier: Any, X: Any, y: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return data, labels, coefficients and intercepts that fit each other."""
    fitted = hasattr(classifier, "classes_")
    if not hasattr(type(classifier), "decision_function") or (
        fitted and not hasattr(classifier, "coef_")
    ):
        raise TypeError(
            f"{type(classifier).__name__} is no linear classifier; pass one with coef_ "
            "and intercept_, such as LogisticRegression."
        )
    check_is_fitted(classifier, ("coef_", "intercept_", "classes_"))
    X, y = check_array(X, dtype=np.float64), np.asarray(y)
    check_consistent_length(X, y)
    coef, intercept = np.asarray(classifier.coef_), np.asarray(classifier.intercept_)
    if X.shape[1] != coef.shape[1]:
        raise ValueError(
            f"X has {X.shape[1]} features; the classifier was fitted with "
            f"{coef.shape[1]}."
        )
    # support vector machines have one for each two classes: of three classes, three
    if hasattr(classifier, "dual_coef_") and len(classifier.classes_) > 2:
        raise TypeError(
            f"{type(classifier).__name__} decides between every two classes; pass a "
            "classifier with a score for each class, such as LinearSVC."
        )
    return X, y, coef, intercept


def discriminability(X: Any, y: Any, n_neighbors: int = 10) -> np.ndarray:
    """Return the share of each example's neighbours that are of its class.

    Low where examples of other classes are around, so that the boundary between the
    classes has to follow high frequencies (arXiv:2105.05553, Section 5.3).

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Data, or a network's features of them.
    y : array-like of shape (n_samples,)
        True labels.
    n_neighbors : int, default=10
        How many neighbours by Euclidean distance, the example itself not counted.

    Returns
    -------
    ndarray of shape (n_samples,), float64

    Raises
    ------
    ValueError
        Where there are not more samples than neighbours.

    Examples
    --------
    >>> from skdmn.analysis.pc_bias.learning_order import discriminability
    >>> discriminability([[0.0], [1.0], [2.1], [3.3]], [0, 0, 0, 1], n_neighbors=2)
    array([1. , 1. , 0.5, 0. ])
    """
    X, y = check_array(X), np.asarray(y)
    check_consistent_length(X, y)
    if not 1 <= n_neighbors < len(X):
        raise ValueError(
            f"n_neighbors is {n_neighbors}; with {len(X)} samples it must be between 1 "
            f"and {len(X) - 1}."
        )
    neighbors = NearestNeighbors(n_neighbors=n_neighbors).fit(X)
    found = neighbors.kneighbors(return_distance=False)
    return (y[found] == y[:, np.newaxis]).mean(axis=1)


def critical_frequency(
    X: Any, *, rule: Literal["sign", "curve"] = "sign"
) -> np.ndarray:
    """Return the frequency up to which the rule is needed to classify each example.

    Of the frequency data set: the smallest kappa_j such that the first j terms of the
    sum classify the example as all of them do
    (arXiv:2105.05553, Section 5.2).

    Parameters
    ----------
    X : array-like of shape (n_samples, 2)
        As `make_frequency_data` gives.
    rule : {"sign", "curve"}, default="sign"
        The rule that the data were labelled by, see `make_frequency_data`.

    Returns
    -------
    ndarray of shape (n_samples,), int64
        From 0 to 9.

    Examples
    --------
    >>> from skdmn.analysis.pc_bias.learning_order import critical_frequency
    >>> critical_frequency([[0.1, 0.0], [0.41, 0.0], [0.72, 0.0]])
    array([0, 5, 1])
    """
    partial = [is_positive(X, j + 1, rule=rule) for j in range(len(FREQUENCIES))]
    return FREQUENCIES[np.argmax(np.array(partial) == partial[-1], axis=0)]


def order_correlation(first: Any, second: Any) -> OrderCorrelation:
    """Return the correlation of two scores of the same examples, with a p-value.

    Of two ensembles' accessibilities: learning order constancy (arXiv:2105.05553,
    Section 4), high where both learn the same examples first.

    Parameters
    ----------
    first, second : array-like of shape (n_samples,)
        Scores. Examples with nan in either are left out.

    Returns
    -------
    OrderCorrelation

    Raises
    ------
    ValueError
        Where lengths differ, fewer than three examples have both scores, or all have
        the same.

    Examples
    --------
    >>> from skdmn.analysis.pc_bias.learning_order import order_correlation
    >>> found = order_correlation([0.1, 0.4, 0.5, 0.9], [0.2, 0.4, 0.5, 0.8])
    >>> round(found.correlation, 3), round(found.p_value, 3), found.n_examples
    (0.999, 0.001, 4)
    """
    first, second = (np.asarray(scores, dtype=np.float64) for scores in (first, second))
    check_consistent_length(first, second)
    both = ~(np.isnan(first) | np.isnan(second))
    if both.sum() < 3:
        raise ValueError(
            f"{both.sum()} examples have both scores; a correlation needs three."
        )
    for scores in (first[both], second[both]):
        if np.ptp(scores) == 0:
            raise ValueError(
                f"All examples have the score {scores[0]:g}: there is no order; take "
                "scores that differ, such as accessibility over more epochs."
            )
    found = pearsonr(first[both], second[both])
    return OrderCorrelation(
        float(found.statistic), float(found.pvalue), int(both.sum())
    )


def group_by_score(
    scores: Any, values: Any, n_groups: int | None = None
) -> ScoreGroups:
    """Return the mean of a value over the examples of each score.

    Source: arXiv:2105.05553, Figs. 6b and 8.

    Parameters
    ----------
    scores : array-like of shape (n_samples,)
        Such as the critical principal component; examples with nan are left out.
    values : array-like of shape (n_samples,)
        Such as accessibility.
    n_groups : int or None, default=None
        None: one group for each score that occurs. Else about so many groups of equal
        size; examples of one score stay together.

    Returns
    -------
    ScoreGroups

    Raises
    ------
    ValueError
        Where lengths differ, or no example has a score.

    Examples
    --------
    >>> from skdmn.analysis.pc_bias.learning_order import group_by_score
    >>> group_by_score([1, 1, 2, 2], [0.5, 1.0, 0.0, 0.5]).means
    array([0.75, 0.25])
    """
    scores, values = (np.asarray(given, dtype=np.float64) for given in (scores, values))
    check_consistent_length(scores, values)
    scored = ~np.isnan(scores)
    if not scored.any():
        raise ValueError("No example has a score; there is nothing to group.")
    scores, values = scores[scored], values[scored]
    if n_groups is None:
        groups = scores
    else:
        edges = np.quantile(scores, np.arange(1, n_groups) / n_groups)
        groups = np.searchsorted(edges, scores, side="left")
    _, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
    total = [np.bincount(group, given) for given in (scores, values)]
    means = total[1] / counts
    squares = np.bincount(group, (values - means[group]) ** 2)
    with np.errstate(invalid="ignore"):
        errors = np.sqrt(squares / (counts - 1) / counts)
    return ScoreGroups(total[0] / counts, means, errors, counts)
