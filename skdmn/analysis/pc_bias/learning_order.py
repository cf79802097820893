"""Learning order of examples, and scores that explain it.

Each function returns one score for each example: how early an ensemble of networks
learns it, how many principal components or frequencies are needed to classify it, or
how many of its neighbours have the same label. The scores and their names are those of
[1]_.

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
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted

from skdmn.analysis.pc_bias.directions import singular_vectors
from skdmn.analysis.pc_bias.frequency_data import FREQUENCIES, is_positive
from skdmn.analysis.sgd.recorder import Recorder
from skdmn.utils.labels import as_objects
from skdmn.utils.validation import as_rows, unmasked


class OrderCorrelation(NamedTuple):
    """Correlation of two scores of the same examples.

    Attributes
    ----------
    correlation : float
        Pearson correlation, between -1 and 1.
    p_value : float
        Two-sided p-value for no correlation, if the scores are normally distributed.
    n_examples : int
        Number of examples that have both scores.
    """

    correlation: float
    p_value: float
    n_examples: int


class ScoreGroups(NamedTuple):
    """Mean of a value over groups of examples with similar scores.

    Attributes
    ----------
    scores : ndarray of shape (n_groups,), float64
        Mean score of each group, in increasing order.
    means : ndarray of shape (n_groups,), float64
        Mean value of each group.
    errors : ndarray of shape (n_groups,), float64
        Standard error of the mean; NaN for a group of one example.
    counts : ndarray of shape (n_groups,), int64
        Number of examples in each group.
    """

    scores: np.ndarray
    means: np.ndarray
    errors: np.ndarray
    counts: np.ndarray


def accessibility(predictions: Any, y: Any) -> np.ndarray:
    """Return how early an ensemble learns each example (arXiv:2105.05553, Section 4).

    Accessibility is the share of networks and epochs that classify the example
    correctly. It is 1 if all networks do so from the first epoch on, and close to 0 if
    the example is learned last.

    Parameters
    ----------
    predictions : array-like of shape (n_networks, n_epochs, n_samples), or Recorder
        Predicted labels, or one or several recorders of them.
    y : array-like of shape (n_samples,)
        True labels.

    Returns
    -------
    ndarray of shape (n_samples,), float64
        Accessibilities, between 0 and 1.

    Raises
    ------
    ValueError
        If the shapes do not match, or only one of `predictions` and `y` is strings.

    Examples
    --------
    >>> from skdmn.analysis.pc_bias.learning_order import accessibility
    >>> accessibility([[["a", "a"], ["a", "b"]]], ["a", "b"])
    array([1. , 0.5])
    """
    return _correct(predictions, y).mean(axis=(0, 1))


def epochs_to_learn(predictions: Any, y: Any) -> np.ndarray:
    """Return the epoch in which each network first classifies each example correctly.

    Parameters
    ----------
    predictions : array-like of shape (n_networks, n_epochs, n_samples), or Recorder
        Predicted labels, or one or several recorders of them.
    y : array-like of shape (n_samples,)
        True labels.

    Returns
    -------
    ndarray of shape (n_networks, n_samples), float64
        Numbers of epochs, counted from 1; NaN if a network never classifies the
        example correctly.

    Raises
    ------
    ValueError
        If the shapes do not match, or only one of `predictions` and `y` is strings.

    Examples
    --------
    >>> from skdmn.analysis.pc_bias.learning_order import epochs_to_learn
    >>> epochs_to_learn([[[0, 0, 0], [0, 1, 0]]], [0, 1, 1])
    array([[ 1.,  2., nan]])
    """
    correct = _correct(predictions, y)
    return np.where(correct.any(axis=1), correct.argmax(axis=1) + 1.0, np.nan)


def _correct(predictions: Any, y: Any) -> np.ndarray:
    """Return which predictions are correct."""
    predictions, y = predictions_of(predictions), np.asarray(y)
    if predictions.ndim != 3 or y.shape != predictions.shape[2:]:
        raise ValueError(
            f"predictions has shape {predictions.shape} and y {y.shape}; pass shapes "
            "(n_networks, n_epochs, n_samples) and (n_samples,)."
        )
    if _are_texts(predictions) != _are_texts(y):
        first, label = (as_objects(some.ravel()[:1])[0] for some in (predictions, y))
        raise ValueError(
            f"predictions are like {first!r} and y like {label!r}, so that no "
            "prediction is ever correct; pass predicted labels, such as "
            "classes[predictions] for indices of classes."
        )
    return predictions == y


def predictions_of(recorded: Any) -> np.ndarray:
    """Return predictions of networks at all records, also of one or more recorders."""
    recorders = [recorded] if isinstance(recorded, Recorder) else recorded
    if not any(isinstance(one, Recorder) for one in recorders):
        return np.asarray(recorded)
    if any(one.predictions is None for one in recorders):
        raise ValueError(
            "A recorder has no predictions; pass examples to it, Recorder(X, y)."
        )
    return np.array([one.predictions for one in recorders])


def _are_texts(labels: np.ndarray) -> bool:
    """Return True if labels are strings."""
    return labels.size > 0 and isinstance(labels.flat[0], str | bytes)


def critical_principal_component(classifier: Any, X: Any, y: Any) -> np.ndarray:
    """Return the number of principal components needed to classify each example.

    It is the smallest P for which a linear classifier, fitted on the original data,
    classifies the projection of the example on the first P components correctly, and
    also on any larger number of them (arXiv:2105.05553, Section 4.2). The components
    are the eigenvectors of the second-moment matrix of X, which is not centred.

    Parameters
    ----------
    classifier : fitted linear classifier
        Classifier with `coef_`, `intercept_` and `classes_`, such as SoftmaxClassifier
        or scikit-learn's LogisticRegression.
    X : array-like of shape (n_samples, n_features)
        Data, as the classifier takes them.
    y : array-like of shape (n_samples,)
        True labels.

    Returns
    -------
    ndarray of shape (n_samples,), float64
        Numbers from 1 to n_features; NaN if the classifier is wrong with all
        components.

    Raises
    ------
    TypeError
        If the classifier is not linear, or does not have one score for each class.
    NotFittedError
        If the classifier is not fitted.
    ValueError
        If the shapes do not match.

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
    return critical_components(X, y, coef, intercept, classifier.classes_)


def critical_components(
    X: np.ndarray,
    y: np.ndarray,
    coef: np.ndarray,
    intercept: np.ndarray,
    classes: np.ndarray,
) -> np.ndarray:
    """Return the critical components of a linear function; arrays as in a classifier.

    See `critical_principal_component`.
    """
    # along other directions all samples are 0, so that they change no score
    _, directions = singular_vectors(X)
    coordinates, weights = X @ directions.T, coef @ directions.T
    scores = np.tile(intercept, (len(X), 1)).astype(np.float64)
    critical = np.full(len(X), np.nan)
    for i in range(len(directions)):
        scores += np.outer(coordinates[:, i], weights[:, i])
        best = (
            scores.argmax(axis=1) if len(coef) > 1 else (scores[:, 0] > 0).astype(int)
        )
        correct = classes[best] == y
        critical[~correct] = np.nan
        critical[correct & np.isnan(critical)] = i + 1
    return critical


def _check_linear(
    classifier: Any, X: Any, y: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return data, labels, coefficients and intercepts; raise if they do not match."""
    fitted = hasattr(classifier, "classes_")
    if not hasattr(type(classifier), "decision_function") or (
        fitted and not hasattr(classifier, "coef_")
    ):
        raise TypeError(
            f"{type(classifier).__name__} is not a linear classifier; pass one with "
            "coef_ and intercept_, such as LogisticRegression."
        )
    check_is_fitted(classifier, ("coef_", "intercept_", "classes_"))
    y = unmasked(y, "y")
    X, y = as_rows(X), np.asarray(y)
    check_consistent_length(X, y)
    coef, intercept = np.asarray(classifier.coef_), np.asarray(classifier.intercept_)
    if X.shape[1] != coef.shape[1]:
        raise ValueError(
            f"X has {X.shape[1]} features, but the classifier was fitted with "
            f"{coef.shape[1]}; pass data with as many features."
        )
    # SVC has one score for each pair of classes; for three classes that is three, too
    if hasattr(classifier, "dual_coef_") and len(classifier.classes_) > 2:
        raise TypeError(
            f"{type(classifier).__name__} has a score for each pair of classes; pass a "
            "classifier with one score for each class, such as LinearSVC."
        )
    return X, y, coef, intercept


def discriminability(X: Any, y: Any, n_neighbors: int = 10) -> np.ndarray:
    """Return the share of the nearest neighbours that have the label of each example.

    If the share is low, examples of other classes are close, and the boundary between
    the classes contains high frequencies (arXiv:2105.05553, Section 5.3).

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Data, or features of a network.
    y : array-like of shape (n_samples,)
        True labels.
    n_neighbors : int, default=10
        Number of nearest neighbours by Euclidean distance. The example itself is not
        one of them.

    Returns
    -------
    ndarray of shape (n_samples,), float64
        Shares, between 0 and 1.

    Raises
    ------
    ValueError
        If `n_neighbors` is not between 1 and n_samples - 1.

    Examples
    --------
    >>> from skdmn.analysis.pc_bias.learning_order import discriminability
    >>> discriminability([[0.0], [1.0], [2.1], [3.3]], [0, 0, 0, 1], n_neighbors=2)
    array([1. , 1. , 0.5, 0. ])
    """
    y = unmasked(y, "y")
    X, y = as_rows(X, "numeric"), np.asarray(y)
    check_consistent_length(X, y)
    if not 1 <= n_neighbors < len(X):
        raise ValueError(
            f"n_neighbors is {n_neighbors}; for {len(X)} samples, pass a number "
            f"between 1 and {len(X) - 1}."
        )
    neighbors = NearestNeighbors(n_neighbors=n_neighbors).fit(X)
    found = neighbors.kneighbors(return_distance=False)
    return (y[found] == y[:, np.newaxis]).mean(axis=1)


def critical_frequency(
    X: Any, *, rule: Literal["sign", "curve"] = "sign"
) -> np.ndarray:
    """Return the highest frequency needed to classify each example of frequency data.

    It is the smallest kappa_j for which the first j terms of the sum give the example
    the same class as all terms (arXiv:2105.05553, Section 5.2).

    Parameters
    ----------
    X : array-like of shape (n_samples, 2)
        Data from `make_frequency_data`.
    rule : {"sign", "curve"}, default="sign"
        Rule that the data were labelled by, see `make_frequency_data`.

    Returns
    -------
    ndarray of shape (n_samples,), int64
        Frequencies from 0 to 9.

    Raises
    ------
    ValueError
        If X does not have two columns, or the rule is unknown.

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

    The correlation of the accessibilities of two ensembles measures learning order
    constancy (arXiv:2105.05553, Section 4). It is high if both ensembles learn the
    same examples first.

    Parameters
    ----------
    first, second : array-like of shape (n_samples,)
        Scores. Examples with NaN in one of them are left out.

    Returns
    -------
    OrderCorrelation

    Raises
    ------
    ValueError
        If the lengths differ, fewer than three examples have both scores, or all
        examples have the same score.

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
            f"{both.sum()} examples have both scores, but a correlation needs at least "
            "three; pass scores of more examples."
        )
    for scores in (first[both], second[both]):
        if np.ptp(scores) == 0:
            raise ValueError(
                f"All examples have the score {scores[0]:g}, so there is no order; "
                "pass scores that differ, such as accessibility over more epochs."
            )
    found = pearsonr(first[both], second[both])
    return OrderCorrelation(
        float(found.statistic), float(found.pvalue), int(both.sum())
    )


def group_by_score(
    scores: Any, values: Any, n_groups: int | None = None
) -> ScoreGroups:
    """Return the mean of a value over groups of examples with similar scores.

    The means are plotted in arXiv:2105.05553, Figs. 6b and 8.

    Parameters
    ----------
    scores : array-like of shape (n_samples,)
        Scores, such as the critical principal component. Examples with NaN are left
        out.
    values : array-like of shape (n_samples,)
        Values to average, such as accessibility.
    n_groups : int or None, default=None
        Approximate number of groups of equal size. Examples of the same score are
        always in the same group. If None, there is one group for each score.

    Returns
    -------
    ScoreGroups

    Raises
    ------
    ValueError
        If the lengths differ, or no example has a score.

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
        raise ValueError(
            "No example has a score: all are NaN; pass scores of at least one example."
        )
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
