"""Simulated learning: against exact solutions, data, and steps taken by hand."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from skdmn.analysis.deep_linear.initial_weights import (
    decoupled_weights,
    gaussian_weights,
    orthogonal_weights,
)
from skdmn.analysis.deep_linear.learning_rates import (
    best_learning_steps,
    learning_steps,
)
from skdmn.analysis.deep_linear.modes import mode_strength
from skdmn.analysis.deep_linear.simulation import (
    best_map,
    correlations,
    gradient_descent,
    gradient_flow,
    product,
)
from skdmn.analysis.deep_linear.unequal_modes import unequal_mode_strengths


def task(n_outputs=3, n_inputs=5, seed=0):
    """Return correlations with singular values that learn at different times."""
    random = np.random.default_rng(seed)
    left, _ = np.linalg.qr(random.normal(size=(n_outputs, n_outputs)))
    right, _ = np.linalg.qr(random.normal(size=(n_inputs, n_outputs)))
    return (left * np.linspace(3, 1, n_outputs)) @ right.T


def white_digits():
    """Return correlations of digits with white inputs."""
    X, y = load_digits(return_X_y=True)
    return correlations(PCA(20, whiten=True, svd_solver="full").fit_transform(X), y)


# simulated against exact: 1e-3 over the whole course


@pytest.mark.parametrize("hidden", [[7], [4], [2], [6, 4], [5, 9, 5, 7], [3] * 9])
def test_simulated_strengths_are_the_exact_ones_at_any_depth(hidden):
    sigma31, depth = task(), len(hidden) + 1
    n_modes = min(3, *hidden)
    s = np.array([3.0, 2.0, 1.0])
    u0 = np.full(3, 0.05)
    s[n_modes:] = u0[n_modes:] = 0.0  # no neurons for them
    weights = decoupled_weights(sigma31, hidden, u0[:n_modes], random_state=1)
    times = np.linspace(0, 12, 300)
    course = gradient_flow(weights, sigma31, None, times, tau=1.5)
    exact = mode_strength(times, s, u0, depth=depth, tau=1.5)
    assert np.abs(course.strengths - exact).max() < 1e-4
    assert_allclose(course.singular_values, exact, atol=1e-4)
    assert exact[-1, 0] > 2.9  # the course is whole


def test_simulated_strengths_are_the_exact_ones_on_digits():
    sigma31, sigma11 = white_digits()
    assert_allclose(sigma11, np.eye(20), atol=1e-3)
    s = np.linalg.svd(sigma31, compute_uv=False)
    for hidden in ([30], [30, 20, 30]):
        weights = decoupled_weights(sigma31, hidden, 0.01, random_state=0)
        times = np.linspace(0, 150, 200)
        course = gradient_flow(weights, sigma31, sigma11, times)
        exact = mode_strength(times, s, 0.01, depth=len(hidden) + 1)
        assert np.abs(course.strengths - exact).max() < 1e-3


def test_simulated_strengths_are_the_exact_ones_from_unequal_weights():
    sigma31, times = task(), np.linspace(0, 8, 100)
    inner, outer = decoupled_weights(sigma31, [4], 0.1, random_state=2)
    course = gradient_flow([3 * inner, outer / 2], sigma31, None, times)
    a, b = unequal_mode_strengths(
        times, [3.0, 2.0, 1.0], 3 * math.sqrt(0.1), math.sqrt(0.1) / 2
    )
    assert np.abs(course.strengths - a * b).max() < 1e-5


def test_simulated_strengths_are_the_exact_ones_with_aligned_inputs():
    # appendix E: Sigma11 = V diag(d) V^T; here the fifth input takes no part
    sigma31 = task()
    _, s, right = np.linalg.svd(sigma31)
    d = np.array([0.5, 2.0, 1.0, 0.3, 4.0])
    sigma11 = (right.T * d) @ right
    weights = decoupled_weights(sigma31, [6, 6], 0.1, random_state=0)
    times = np.linspace(0, 8, 100)
    course = gradient_flow(weights, sigma31, sigma11, times)
    exact = mode_strength(times, s / d[:3], 0.1, depth=3, tau=1 / d[:3])
    assert np.abs(course.strengths - exact).max() < 1e-5


def test_one_matrix_learns_exponentially():
    sigma31, times = task(), np.linspace(0, 5, 20)
    course = gradient_flow([np.zeros((3, 5))], sigma31, None, times)
    expected = (1 - np.exp(-times))[:, np.newaxis, np.newaxis] * sigma31
    assert_allclose(course.products, expected, atol=1e-7)


# the dynamics


def test_small_random_weights_follow_the_exact_course_late():
    # section 1.3: from small random weights each mode learns as if decoupled
    sigma31 = task(3, 3, seed=4)
    weights = gaussian_weights([3, 100, 3], gain=1e-3, random_state=0)
    times = np.linspace(0, 12, 600)
    course = gradient_flow(weights, sigma31, None, times)
    for mode, s in enumerate([3.0, 2.0, 1.0]):
        half = np.argmax(course.strengths[:, mode] > s / 2)
        rise = np.interp(0.9 * s, course.strengths[:, mode], times) - times[half]
        assert_allclose(rise, math.log(9) / (2 * s), rtol=0.05)


def test_errors_fall_and_the_best_map_is_reached():
    random = np.random.default_rng(0)
    X = random.normal(size=(50, 4)) * [2.0, 1.0, 1.0, 0.5]
    sigma31, sigma11 = correlations(X, X @ random.normal(size=(4, 3)))
    weights = orthogonal_weights([4, 6, 3], random_state=0)
    course = gradient_flow(weights, sigma31, sigma11, np.linspace(0, 150, 50))
    assert (np.diff(course.errors) < 1e-9).all()
    assert_allclose(course.products[-1], best_map(sigma31, sigma11), atol=1e-3)
    assert_allclose(product(course.weights), course.products[-1])


def test_balance_between_layers_is_kept():
    # W_{l+1}^T W_{l+1} - W_l W_l^T is conserved by the flow
    sigma31, weights = task(), gaussian_weights([5, 6, 4, 3], random_state=3)
    course = gradient_flow(weights, sigma31, None, [0.0, 2.0])
    for layer in (0, 1):
        before, after = (
            w[layer + 1].T @ w[layer + 1] - w[layer] @ w[layer].T
            for w in (weights, course.weights)
        )
        assert_allclose(after, before, atol=1e-6)


def test_errors_are_half_the_mean_squared_error_less_the_least():
    random = np.random.default_rng(1)
    X, Y = random.normal(size=(30, 4)), random.normal(size=(30, 2))
    weights = gaussian_weights([4, 5, 2], random_state=0)
    course = gradient_descent(weights, *correlations(X, Y), 20, learning_rate=0.01)

    def loss(total):
        return np.mean(np.sum((Y - X @ total.T) ** 2, axis=1)) / 2

    least = loss(np.linalg.lstsq(X, Y, rcond=None)[0].T)
    slow = [loss(total) - least for total in course.products]
    assert_allclose(course.errors, slow, atol=1e-12)


def test_descent_is_that_of_the_data():
    random = np.random.default_rng(1)
    X, Y = random.normal(size=(30, 4)), random.normal(size=(30, 2))
    first, second, third = gaussian_weights([4, 5, 3, 2], random_state=0)
    course = gradient_descent(
        [first, second, third], *correlations(X, Y), 10, learning_rate=0.1
    )
    for _ in range(10):  # passing over the data, by the chain rule
        error = (Y - X @ first.T @ second.T @ third.T).T / len(X)
        steps = (
            (third @ second).T @ error @ X,
            third.T @ error @ (X @ first.T),
            error @ (X @ first.T @ second.T),
        )
        first, second, third = (
            weight + 0.1 * step
            for weight, step in zip((first, second, third), steps, strict=True)
        )
    assert_allclose(course.products[-1], third @ second @ first)


def test_descent_in_small_steps_is_the_flow():
    sigma31, weights = task(), gaussian_weights([5, 6, 4, 3], random_state=3)
    flow = gradient_flow(weights, sigma31, None, np.linspace(0, 3, 4), tau=1.0)
    errors = []
    for rate in (0.01, 0.005):
        descent = gradient_descent(
            weights,
            sigma31,
            None,
            round(3 / rate),
            learning_rate=rate,
            record_every=round(1 / rate),
        )
        assert_allclose(rate * descent.times, flow.times)
        errors.append(np.abs(descent.products - flow.products).max())
    assert_allclose(errors[0] / errors[1], 2, rtol=0.1)  # of first order
    assert errors[1] < 0.02


def test_weights_that_are_passed_stay_as_they_were():
    weights = gaussian_weights([5, 4, 3], random_state=0)
    kept = [weight.copy() for weight in weights]
    gradient_flow(weights, task(), None, [0, 1])
    gradient_descent(weights, task(), None, 3, learning_rate=0.1)
    learning_steps(weights, task(), None, learning_rate=0.1, error=1e-3, max_steps=9)
    for weight, before in zip(weights, kept, strict=True):
        assert (weight == before).all()


# learning steps


def test_learning_steps_are_where_the_error_falls_below():
    sigma31, weights = task(), orthogonal_weights([5, 5, 3], random_state=1)
    course = gradient_descent(weights, sigma31, None, 500, learning_rate=0.05)
    steps = learning_steps(weights, sigma31, None, learning_rate=0.05, error=0.01)
    assert steps == np.argmax(course.errors < 0.01) > 10


def test_learning_that_diverges_or_is_too_slow_is_infinite():
    sigma31, weights = task(), orthogonal_weights([5, 5, 3], random_state=1)
    for rate, max_steps in ((10.0, 10_000), (1e-4, 100)):
        steps = learning_steps(
            weights,
            sigma31,
            None,
            learning_rate=rate,
            error=0.01,
            max_steps=max_steps,
        )
        assert steps == math.inf


@pytest.mark.parametrize("rates", [[0.01, 0.1, 10.0], [10.0, 0.1, 0.01]])
def test_the_best_rate_is_found_in_any_order(rates):
    sigma31, weights = task(), orthogonal_weights([5, 5, 3], random_state=1)
    each = {
        rate: learning_steps(weights, sigma31, None, learning_rate=rate, error=0.01)
        for rate in rates
    }
    found = best_learning_steps(
        weights, sigma31, None, learning_rates=rates, error=0.01
    )
    assert found == (min(each.values()), min(each, key=each.get))
    steps, rate = best_learning_steps(
        weights, sigma31, None, learning_rates=[100.0], error=0.01
    )
    assert steps == math.inf
    assert math.isnan(rate)


# correlations


def test_labels_are_one_output_for_each_class():
    X, y = np.random.default_rng(0).normal(size=(6, 2, 2)), np.array(list("baabca"))
    sigma31, sigma11 = correlations(X, y)
    rows = X.reshape(6, 4)
    assert_allclose(sigma31[1], (rows[0] + rows[3]) / 6)
    assert_allclose(sigma11, rows.T @ rows / 6)


def test_centered_correlations_are_covariances():
    random = np.random.default_rng(0)
    X, Y = random.normal(size=(20, 3)) + 5, random.normal(size=(20, 2)) - 1
    sigma31, sigma11 = correlations(X, Y, centered=True)
    covariance = np.cov(X.T, Y.T, bias=True)
    assert_allclose(sigma11, covariance[:3, :3])
    assert_allclose(sigma31, covariance[3:, :3])


# errors


def test_shapes_that_do_not_fit_are_named():
    sigma31, weights = task(), gaussian_weights([5, 4, 3], random_state=0)
    for wrong in (weights[::-1], weights[:1], gaussian_weights([4, 4, 3])):
        with pytest.raises(ValueError, match="they must lead from 5 inputs to 3 outp"):
            gradient_flow(wrong, sigma31, None, [0, 1])
    with pytest.raises(ValueError, match=r"sigma11 has shape \(3, 3\), but sigma31"):
        gradient_descent(weights, sigma31, np.eye(3), 1, learning_rate=0.1)
    with pytest.raises(ValueError, match="X has 3 examples and y 2"):
        correlations(np.ones((3, 2)), [0, 1])


@pytest.mark.parametrize("times", [[0.0], [1.0, 0.5], [-1.0, 1.0], [[0.0, 1.0]]])
def test_times_must_ascend(times):
    weights = gaussian_weights([5, 4, 3], random_state=0)
    with pytest.raises(ValueError, match="pass one row of finite numbers in ascending"):
        gradient_flow(weights, task(), None, times)


def test_the_last_step_is_recorded():
    sigma31 = task()
    start = decoupled_weights(sigma31, [4], 0.1, random_state=0)
    course = gradient_descent(
        start, sigma31, None, 120, learning_rate=0.01, record_every=50
    )
    assert_allclose(course.times, [0, 50, 100, 120])
    assert_allclose(course.products[-1], product(course.weights))


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:invalid:RuntimeWarning")
def test_what_grows_without_bound_is_told():
    sigma31 = task()
    start = decoupled_weights(sigma31, [4], 4.0, random_state=0)
    with pytest.raises(ValueError, match=r"learning_rate=10\.0"):
        gradient_descent(start, sigma31, None, 500, learning_rate=10.0)
    with pytest.raises(ValueError, match="tau must be above 0"):
        gradient_flow(start, sigma31, None, [0.0, 1.0], tau=-1.0)
    with pytest.raises(ValueError, match="integration failed"):
        gradient_flow(start, sigma31, -np.eye(5), [0.0, 100.0])


def test_no_weights_and_no_numbers_are_refused():
    with pytest.raises(ValueError, match="There are no weights"):
        gradient_flow([], np.eye(2), None, [0.0, 1.0])
    with pytest.raises(ValueError, match=r"shapes \[\(\)\]; they must lead"):
        gradient_flow([np.array(1.0)], np.eye(2), None, [0.0, 1.0])
    with pytest.raises(ValueError, match="sigma31 has NaN"):
        gradient_flow([np.eye(2)], np.full((2, 2), np.nan), None, [0.0, 1.0])
