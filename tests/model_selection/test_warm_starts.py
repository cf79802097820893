"""Softmax classifiers that start at the solutions of others reach the same optimum."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits

from skdmn import SoftmaxClassifier
from skdmn.model_selection.warm_starts import Solution, WarmStarts

CHANNELS = [np.array([0, 3, 5]), np.array([0, 1, 3, 5, 6])]
VALUES = [0.003, 0.03, 0.3, 3.0]


def images():
    """Return digits whose columns are channels, and their labels."""
    X, y = load_digits(return_X_y=True)
    return X[:400].reshape(-1, 8, 1, 8).astype(np.float32), y[:400]


def test_solutions_are_within_the_tolerance_in_fewer_passes():
    X, y = images()
    starts, passes = WarmStarts(), []
    for channels in CHANNELS:
        features = np.ascontiguousarray(X[..., channels])
        for C in VALUES:
            model = SoftmaxClassifier(C=C)
            exact = SoftmaxClassifier(C=C, tol=1e-10).fit(features, y)
            cold = SoftmaxClassifier(C=C).fit(features, y)
            warm = starts.fit(model, channels, features, y)
            least = min(exact.loss_curve_)
            assert warm.loss_curve_[-1] - least < 10 * model.tol * least
            passes.append((warm.n_passes_, cold.n_passes_))
            assert warm.get_params() == model.get_params()
            assert_array_equal(warm.classes_, cold.classes_)
            difference = warm.predict_proba(features) - cold.predict_proba(features)
            assert np.abs(difference).max() < 0.02
    warm, cold = np.sum(passes[1:], axis=0)  # the first one has no start
    assert warm < 0.85 * cold


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_starts_are_of_the_same_scale_as_solutions(fit_intercept):
    X, y = images()
    y = y % 2
    model = SoftmaxClassifier(C=0.1, tol=1e-8, fit_intercept=fit_intercept)
    starts = WarmStarts()
    starts.fit(model, np.arange(8), X, y)
    problem = starts._problem_of(model, (), X, y)
    start = starts._solved[0].iterate
    value, gradient = problem.objective_for(0.1)(start)
    assert_allclose(gradient, 0, atol=1e-5 * value)


def test_coefficients_are_mapped_by_channel():
    iterate = np.array([[1.0, 2.0, 3.0, 4.0, 9.0]])  # 2 positions and 2 channels
    solution = Solution(1.0, np.array([4, 7]), (), iterate)
    assert_array_equal(solution.mapped(np.array([2, 7, 4])), [[0, 2, 1, 0, 4, 3, 9.0]])
