"""Scores of examples: against their definitions, and as the paper finds them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import linregress, sem
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from skdmn import SoftmaxClassifier
from skdmn.analysis.pc_bias.directions import principal_coordinates
from skdmn.analysis.pc_bias.frequency_data import make_frequency_data
from skdmn.analysis.pc_bias.learning_order import (
    accessibility,
    critical_frequency,
    critical_principal_component,
    discriminability,
    epochs_to_learn,
    group_by_score,
    order_correlation,
)

# accessibility and epochs


def test_accessibility_is_the_mean_accuracy_of_each_example(rng):
    y = rng.integers(3, size=8)
    predictions = rng.integers(3, size=(4, 5, 8))
    expected = [
        sum(predictions[i, e, j] == y[j] for i in range(4) for e in range(5)) / 20
        for j in range(8)
    ]
    assert_allclose(accessibility(predictions, y), expected)


@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_accessibility_does_not_depend_on_the_order_of_networks_or_labels(seed):
    rng = np.random.default_rng(seed)
    y, predictions = rng.integers(3, size=7), rng.integers(3, size=(4, 5, 7))
    expected = accessibility(predictions, y)
    assert_allclose(accessibility(rng.permutation(predictions), y), expected)
    names = np.array(["c", "a", "b"])
    assert_allclose(accessibility(names[predictions], names[y]), expected)


def test_epochs_to_learn_are_those_of_the_first_success():
    predictions = [[[1, 0, 0], [0, 1, 0], [1, 1, 0]], [[0, 1, 1], [1, 1, 1], [1, 1, 1]]]
    found = epochs_to_learn(predictions, [1, 1, 1])
    assert_array_equal(found, [[1, 2, np.nan], [2, 1, 1]])


@pytest.mark.parametrize("score", [accessibility, epochs_to_learn])
def test_predictions_of_other_shapes_are_refused(score):
    with pytest.raises(ValueError, match="n_networks, n_epochs, n_samples"):
        score(np.zeros((3, 4)), np.zeros(4))
    with pytest.raises(ValueError, match=r"y \(5,\)"):
        score(np.zeros((2, 3, 4)), np.zeros(5))


# critical principal component


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("estimator", [LogisticRegression, SoftmaxClassifier])
def test_critical_component_is_what_predicting_projections_says(n_classes, estimator):
    X, y = load_digits(n_class=n_classes, return_X_y=True)
    X, y = X[:120, 10:30] / 16, y[:120]
    y[::9] = y[0]  # some that cannot be learned
    classifier = estimator(C=1.0).fit(X, y)
    directions = principal_coordinates(X).directions
    correct = [
        classifier.predict(X @ directions[:p].T @ directions[:p]) == y
        for p in range(1, 21)
    ]
    expected = np.full(len(X), np.nan)
    for j in range(len(X)):
        wrong = [p for p in range(1, 21) if not correct[p - 1][j]]
        last = max(wrong, default=0)
        expected[j] = last + 1 if last < 20 else np.nan
    found = critical_principal_component(classifier, X, y)
    assert_array_equal(found, expected)
    assert 0 < np.isnan(found).sum() < 30
    assert len(np.unique(found)) > 3


def test_critical_component_refuses_what_is_not_linear_or_fitted(rng):
    X, y = rng.normal(size=(10, 3)), np.arange(10) % 2
    with pytest.raises(TypeError, match="KNeighborsClassifier is not a linear"):
        critical_principal_component(KNeighborsClassifier().fit(X, y), X, y)
    with pytest.raises(NotFittedError):
        critical_principal_component(LogisticRegression(), X, y)
    with pytest.raises(ValueError, match=r"2 features.*fitted with 3"):
        critical_principal_component(LogisticRegression().fit(X, y), X[:, :2], y)


# discriminability and critical frequency


def test_discriminability_counts_neighbours_by_distance(rng):
    X, y = rng.normal(size=(30, 3)), rng.integers(3, size=30)
    found = discriminability(X, y, n_neighbors=4)
    for j in range(30):
        nearest = np.argsort(((X - X[j]) ** 2).sum(axis=1))[1:5]
        assert found[j] == (y[nearest] == y[j]).mean()


@pytest.mark.parametrize("n_neighbors", [0, 5])
def test_discriminability_needs_more_samples_than_neighbours(n_neighbors):
    with pytest.raises(ValueError, match="between 1 and 4"):
        discriminability(np.zeros((5, 1)), np.zeros(5), n_neighbors=n_neighbors)


@pytest.mark.parametrize("rule", ["sign", "curve"])
def test_critical_frequency_is_the_first_that_classifies(rng, rule):
    X, y = make_frequency_data(200, rule=rule, random_state=0)
    phases = [0, 3.46, 5.08, 0.45, 2.10, 1.4, 5.36, 0.85, 5.9, 5.16]
    for (z, height), label, found in zip(
        X, y, critical_frequency(X, rule=rule), strict=True
    ):
        total, level = 0.0, height if rule == "curve" else 0.0
        for kappa, phase in enumerate(phases):
            total += np.sin(2 * np.pi * kappa * z + phase)
            if (total < level if rule == "curve" else total > level) == label:
                assert found == kappa
                break


@pytest.mark.parametrize(("rule", "strength"), [("sign", -0.9), ("curve", -0.9)])
def test_discriminability_falls_with_critical_frequency(rule, strength):
    """Fig. 8b: r = -0.8 over the frequencies."""
    X, y = make_frequency_data(10000, rule=rule, random_state=0)
    groups = group_by_score(critical_frequency(X, rule=rule), discriminability(X, y))
    found = order_correlation(groups.scores, groups.means)
    assert found.correlation < strength
    assert found.p_value < 0.01


# correlation and groups


def test_correlation_and_its_p_value_are_those_of_a_regression(rng):
    first = rng.normal(size=30)
    second = first + rng.normal(size=30)
    expected = linregress(first, second)
    found = order_correlation(first, second)
    assert_allclose(found[:2], [expected.rvalue, expected.pvalue])
    assert found.n_examples == 30


def test_p_values_of_unrelated_scores_are_uniform(rng):
    found = [order_correlation(*rng.normal(size=(2, 10))).p_value for _ in range(400)]
    assert_allclose(np.quantile(found, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.07)


def test_correlation_leaves_out_examples_without_a_score(rng):
    first, second = rng.random((2, 20))
    first[3], second[7] = np.nan, np.nan
    kept = ~np.isnan(first + second)
    found = order_correlation(first, second)
    assert found == order_correlation(first[kept], second[kept])
    assert found.n_examples == 18


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([1, 2, 3], [1, 2], "inconsistent numbers"),
        ([1, 2, np.nan], [1, 2, 3], "2 examples have both"),
        ([1, 2, 3], [0.5, 0.5, 0.5], "the score 0.5"),
    ],
)
def test_correlation_refuses_scores_without_order(first, second, message):
    with pytest.raises(ValueError, match=message):
        order_correlation(first, second)


def test_groups_have_means_and_standard_errors(rng):
    scores, values = rng.integers(4, size=50) / 2.0, rng.random(50)
    scores[5] = np.nan
    groups = group_by_score(scores, values)
    assert_array_equal(groups.scores, [0, 0.5, 1, 1.5])
    assert groups.counts.sum() == 49
    for score, mean, error in zip(*groups[:3], strict=True):
        assert_allclose(mean, values[scores == score].mean())
        assert_allclose(error, sem(values[scores == score]))


def test_a_group_of_one_has_no_error():
    assert np.isnan(group_by_score([1, 2, 2], [0, 1, 3]).errors[0])


def test_groups_of_equal_size(rng):
    groups = group_by_score(rng.random(1000), rng.random(1000), 10)
    assert_array_equal(groups.counts, 100)
    assert (np.diff(groups.scores) > 0).all()


def test_examples_of_one_score_stay_together():
    groups = group_by_score([1] * 50 + [2, 3], np.arange(52), 4)
    assert groups.counts.max() >= 50
    assert groups.counts.sum() == 52


def test_nothing_to_group_is_an_error():
    with pytest.raises(ValueError, match="No example has a score"):
        group_by_score([np.nan], [1.0])


def test_fitted_classifiers_that_are_not_linear_are_refused(rng):
    X, y = rng.normal(size=(20, 3)), np.arange(20) % 2
    with pytest.raises(TypeError, match="SVC is not a linear classifier"):
        critical_principal_component(SVC().fit(X, y), X, y)


def test_classifiers_of_every_two_classes_are_refused(rng):
    X, y = rng.normal(size=(30, 4)), np.arange(30) % 3
    with pytest.raises(TypeError, match="SVC has a score for each pair of classes"):
        critical_principal_component(SVC(kernel="linear").fit(X, y), X, y)
    two = SVC(kernel="linear").fit(X[y < 2], y[y < 2])
    found = critical_principal_component(two, X[y < 2], y[y < 2])
    assert_array_equal(np.isnan(found), two.predict(X[y < 2]) != y[y < 2])
