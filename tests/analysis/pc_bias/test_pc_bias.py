"""Deep linear networks: the theory against gradient descent, and limits known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import sqrtm

from skdmn.analysis.deep_linear.linear_network import (
    compact_weights,
    initial_variances,
    initial_weights,
    train_deep_linear,
)
from skdmn.analysis.pc_bias.directions import (
    convergence_by_direction,
    drift,
    expected_gradient_scales,
    gradient_scale_matrices,
    predicted_weights,
    predicted_weights_from_scales,
    principal_coordinates,
)


def problem(rng, n=40, features=6, outputs=2, decay=0.6):
    """Return data whose singular values fall by a constant factor, and targets."""
    X = np.linalg.qr(rng.normal(size=(n, features)))[0] * decay ** np.arange(features)
    X = X @ np.linalg.qr(rng.normal(size=(features, features)))[0]
    return X, rng.normal(size=(n, outputs))


def in_coordinates(X, Y):
    values, directions = principal_coordinates(X)
    return values, directions, Y.T @ X @ directions.T


# principal coordinates


def test_second_moments_are_diagonal_in_principal_coordinates(rng):
    X, _ = problem(rng)
    values, directions = principal_coordinates(X)
    Z = X @ directions.T
    assert_allclose(Z.T @ Z, np.diag(values), atol=1e-14)
    assert_allclose(directions @ directions.T, np.eye(6), atol=1e-14)
    assert_allclose(values, 0.36 ** np.arange(6))


def test_small_singular_values_keep_their_digits(rng):
    X, _ = problem(rng, decay=1e-2)
    values = principal_coordinates(X).values
    assert_allclose(values, 1e-4 ** np.arange(6), rtol=1e-3)


@pytest.mark.parametrize("n", [1, 3])
def test_fewer_samples_than_features_leave_values_of_zero(rng, n):
    X = rng.normal(size=(n, 5))
    values, directions = principal_coordinates(X)
    assert_array_equal(values[n:], 0)
    assert (values[:n] > 0).all()
    assert_allclose(directions @ directions.T, np.eye(5), atol=1e-14)


def test_values_that_are_rounding_are_zero(rng):
    X = rng.normal(size=(20, 2)) @ rng.normal(size=(2, 5))
    assert_array_equal(principal_coordinates(X).values[2:], 0)


# training


def test_a_step_follows_the_gradient_of_the_loss(rng):
    X, Y = problem(rng, features=3)
    layers = initial_weights([3, 4, 2, 2], random_state=0)

    def loss(weights):
        return 0.5 * ((X @ compact_weights(weights).T - Y) ** 2).sum()

    ((*trained,),) = train_deep_linear(layers, X, Y, learning_rate=1.0, steps=[1])
    for i, layer in enumerate(layers):
        slope = np.empty(layer.shape)
        for index in np.ndindex(layer.shape):
            nudge = np.zeros(layer.shape)
            nudge[index] = 1e-6
            up, down = (
                [*layers[:i], layer + s * nudge, *layers[i + 1 :]] for s in (1, -1)
            )
            slope[index] = (loss(up) - loss(down)) / 2e-6
        assert_allclose(layer - trained[i], slope, atol=1e-8)


def test_steps_are_kept_where_asked(rng):
    X, Y = problem(rng)
    layers = initial_weights([6, 8, 2], random_state=0)
    kept = train_deep_linear(layers, X, Y, learning_rate=0.1, steps=[0, 3, 7])
    for before, start in zip(layers, kept[0], strict=True):
        assert_array_equal(before, start)
    ((*again,),) = train_deep_linear(kept[1], X, Y, learning_rate=0.1, steps=[4])
    for one, other in zip(again, kept[2], strict=True):
        assert_array_equal(one, other)


def test_training_ends_at_least_squares(rng):
    X, Y = problem(rng, features=3)
    layers = initial_weights([3, 20, 20, 2], random_state=0)
    ((*trained,),) = train_deep_linear(layers, X, Y, learning_rate=0.1, steps=[3000])
    expected = np.linalg.lstsq(X, Y)[0].T
    assert_allclose(compact_weights(trained), expected, atol=1e-8)


def test_divergence_says_what_to_take(rng):
    X, Y = problem(rng)
    with pytest.raises(ValueError, match=r"diverged.*well below 1\.$"):
        train_deep_linear(
            initial_weights([6, 8, 2]), X, Y, learning_rate=50.0, steps=[500]
        )


@pytest.mark.parametrize(
    ("widths", "steps", "message"),
    [
        ([5, 8, 2], [1], "lead from 6 inputs to 2 outputs"),
        ([6, 8, 3], [1], "lead from 6 inputs to 2 outputs"),
        ([6, 8, 2], [2, 1], "increasing"),
        ([6, 8, 2], [-1], "increasing"),
        ([6, 8, 2], [], "increasing"),
    ],
)
def test_training_refuses_what_does_not_fit(rng, widths, steps, message):
    X, Y = problem(rng)
    with pytest.raises(ValueError, match=message):
        train_deep_linear(initial_weights(widths), X, Y, learning_rate=0.1, steps=steps)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        train_deep_linear(
            initial_weights([6, 2]), X, Y[1:], learning_rate=0.1, steps=[1]
        )


# gradient scale matrices


def test_scale_matrices_give_the_change_of_the_product_to_first_order(rng):
    X, Y = problem(rng)
    layers = initial_weights([6, 9, 7, 2], random_state=1)
    left, right = gradient_scale_matrices(layers)
    error = compact_weights(layers) @ X.T @ X - Y.T @ X
    predicted = -sum(a @ error @ b for a, b in zip(left, right, strict=True))
    rest = []
    for rate in (1e-3, 1e-4):
        ((*after,),) = train_deep_linear(layers, X, Y, learning_rate=rate, steps=[1])
        change = compact_weights(after) - compact_weights(layers)
        rest.append(np.abs(change - rate * predicted).max())
    assert rest[1] < 0.0101 * rest[0]  # O(mu^2), as Theorem 1 says


def test_of_one_layer_both_scale_matrices_are_the_identity(rng):
    left, right = gradient_scale_matrices([rng.normal(size=(2, 5))])
    assert_array_equal(left, [np.eye(2)])
    assert_array_equal(right, [np.eye(5)])


@pytest.mark.parametrize("scheme", ["pc-bias", "glorot"])
def test_expected_scales_are_the_average_over_networks(scheme):
    widths = [7, 12, 9, 3]
    found = [
        gradient_scale_matrices(initial_weights(widths, scheme, random_state=seed))
        for seed in range(2000)
    ]
    expected = expected_gradient_scales(widths, initial_variances(widths, scheme))
    for side, scales in enumerate(expected):
        mean = np.mean([matrices[side] for matrices in found], axis=0)
        for matrix, scale in zip(mean, scales, strict=True):
            assert_allclose(matrix, scale * np.eye(len(matrix)), atol=0.04)


def test_def_3_makes_the_expected_scales_one_and_glorot_does_not():
    widths = [60, 500, 500, 10]
    for scales in expected_gradient_scales(widths, initial_variances(widths)):
        assert_allclose(scales, 1)
    alpha, beta = expected_gradient_scales(widths, initial_variances(widths, "glorot"))
    # 2 m / (m + q) below, 2 m / (m + K) above
    assert_allclose(beta, [1, 1000 / 560, 1000 / 560])
    assert_allclose(alpha, [1000 / 510, 1000 / 510, 1])


def test_initial_weights_have_the_variances_stated():
    widths = [60, 400, 300, 50]
    for scheme in ("pc-bias", "glorot"):
        layers = initial_weights(widths, scheme, random_state=0)
        found = [layer.var() for layer in layers]
        assert_allclose(found, initial_variances(widths, scheme), rtol=0.03)
        assert max(abs(layer.mean()) for layer in layers) < 1e-3


def test_without_hidden_layers_the_schemes_are_one():
    for scheme in ("pc-bias", "glorot"):
        assert_allclose(initial_variances([6, 4], scheme), [0.2])


def test_scale_matrices_come_closer_to_the_identity_with_width():
    """Theorem 4: variance falls as 1 / width."""

    def mean_square(width):
        found = []
        for seed in range(20):
            layers = initial_weights([8, width, width, 3], random_state=seed)
            left, right = gradient_scale_matrices(layers)
            found.append(((right - np.eye(8)) ** 2).mean())
            found.append(((left - np.eye(3)) ** 2).mean())
        return np.mean(found)

    assert_allclose(mean_square(50) / mean_square(400), 8, rtol=0.25)


@pytest.mark.parametrize("size", [0.1, 0.3, 1.0])
def test_two_wide_layers_drift_as_far_as_their_product_is_large(rng, size):
    """A_1 = sqrt(I + W W^T), B_2 = sqrt(I + W^T W), whatever the width."""
    X, Y = problem(rng, n=200, features=20, outputs=2, decay=0.9)
    layers = initial_weights([20, 2000, 2], random_state=0)
    ((*after,),) = train_deep_linear(
        layers, X, size * Y, learning_rate=0.02, steps=[500]
    )
    W, (left, right) = compact_weights(after), gradient_scale_matrices(after)
    assert np.linalg.norm(left[0] - np.eye(2), 2) > 5 * size
    assert_allclose(left[0], sqrtm(np.eye(2) + W @ W.T), atol=0.08)
    assert_allclose(right[1], sqrtm(np.eye(20) + W.T @ W), atol=0.12)


def test_the_left_diagonal_drifts_further_by_features_per_output(rng):
    """Fig. 3: A, of few classes, leaves the identity before B."""
    X, Y = problem(rng, n=200, features=40, outputs=2, decay=0.95)
    layers = initial_weights([40, 200, 200, 2], random_state=0)
    kept = train_deep_linear(layers, X, 0.1 * Y, learning_rate=0.05, steps=[0, 300])
    start, end = (gradient_scale_matrices(weights) for weights in kept)
    left = drift(end.left[0] - start.left[0], 0.0).diagonal
    right = drift(end.right[2] - start.right[2], 0.0).diagonal
    assert_allclose(left / right, 40 / 2, rtol=0.1)


def test_drift_of_stacks():
    matrices = np.zeros((2, 3, 4, 4)) + np.eye(4)
    matrices[1, 2, 0, 1] = -1.2
    diagonal, off_diagonal = drift(matrices, [1.0, 2.0, 1.0])
    assert_allclose(diagonal, [[0, 1, 0]] * 2)
    assert_allclose(off_diagonal, [[0, 0, 0], [0, 0, 0.1]], atol=1e-15)


# predictions


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), step=st.integers(0, 300))
def test_the_prediction_for_one_layer_is_exact(seed, step):
    rng = np.random.default_rng(seed)
    X, Y = problem(rng)
    values, directions, targets = in_coordinates(X, Y)
    layers = initial_weights([6, 2], random_state=seed)
    ((*after,),) = train_deep_linear(layers, X, Y, learning_rate=0.7, steps=[step])
    found = predicted_weights(
        layers[0] @ directions.T,
        values,
        targets,
        learning_rate=0.7,
        n_layers=1,
        steps=[step],
    )[0]
    assert_allclose(found, after[0] @ directions.T, atol=1e-10)


def prediction_error(seed, n_layers, width):
    """Return the largest error of the closed form, relative to the largest weight."""
    X, Y = problem(np.random.default_rng(seed), decay=0.8)
    Y *= 0.02  # a small optimum, for the scale matrices to stay
    values, directions, targets = in_coordinates(X, Y)
    widths, steps = [6] + [width] * (n_layers - 1) + [2], np.arange(0, 200, 10)
    layers = initial_weights(widths, random_state=seed)
    kept = train_deep_linear(layers, X, Y, learning_rate=0.02, steps=steps)
    trained = np.array([compact_weights(w) @ directions.T for w in kept])
    found = predicted_weights(
        trained[0],
        values,
        targets,
        learning_rate=0.02,
        n_layers=n_layers,
        steps=steps,
    )
    return np.abs(found - trained).max() / np.abs(trained).max()


@pytest.mark.parametrize("n_layers", [2, 3])
def test_the_prediction_for_many_layers_comes_true_with_width(n_layers):
    narrow, wide = (
        np.mean([prediction_error(seed, n_layers, width) for seed in range(4)])
        for width in (25, 400)
    )
    assert wide < 0.5 * narrow
    assert wide < 0.08


def test_a_direction_without_variance_keeps_its_weights(rng):
    X = np.c_[rng.normal(size=(20, 2)), np.zeros(20)]
    values, _, targets = in_coordinates(X, rng.normal(size=(20, 1)))
    start = np.array([[1.0, 2.0, 3.0]])
    found = predicted_weights(
        start, values, targets, learning_rate=0.01, n_layers=2, steps=[10, 10**6]
    )
    assert_array_equal(found[:, 0, 2], 3.0)
    assert_allclose(found[1, 0, :2], targets[0, :2] / values[:2])


def test_measured_left_scales_predict_better_than_the_identity(rng):
    X, Y = problem(rng)
    values, directions, targets = in_coordinates(X, Y)
    layers = initial_weights([6, 300, 300, 2], random_state=0)
    kept = train_deep_linear(layers, X, 2 * Y, learning_rate=0.01, steps=range(301))
    trained = np.array([compact_weights(w) @ directions.T for w in kept])
    left = [gradient_scale_matrices(w).left.sum(axis=0) for w in kept[:-1]]
    measured = predicted_weights_from_scales(
        trained[0], values, 2 * targets, left, learning_rate=0.01
    )
    identity = predicted_weights(
        trained[0],
        values,
        2 * targets,
        learning_rate=0.01,
        n_layers=3,
        steps=np.arange(301),
    )
    error, plain = (np.abs(found - trained).max() for found in (measured, identity))
    assert error < 0.6 * plain


def test_measured_scales_that_are_the_identity_give_the_closed_form(rng):
    X, Y = problem(rng)
    values, _, targets = in_coordinates(X, Y)
    start = rng.normal(size=(2, 6))
    one = predicted_weights_from_scales(
        start, values, targets, np.array([3 * np.eye(2)] * 50), learning_rate=0.1
    )
    other = predicted_weights(
        start, values, targets, learning_rate=0.1, n_layers=3, steps=np.arange(51)
    )
    assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize(
    ("initial", "values", "targets", "message"),
    [
        (np.ones(3), np.ones(3), np.ones(3), "n_outputs, n_features"),
        (np.ones((2, 3)), np.ones(3), np.ones((3, 2)), r"targets \(3, 2\)"),
        (np.ones((2, 3)), np.ones(2), np.ones((2, 3)), "each of 3 features"),
    ],
)
def test_predictions_refuse_shapes_that_do_not_fit(initial, values, targets, message):
    with pytest.raises(ValueError, match=message):
        predicted_weights(
            initial, values, targets, learning_rate=0.1, n_layers=1, steps=[1]
        )
    with pytest.raises(ValueError, match=message):
        predicted_weights_from_scales(initial, values, targets, [], learning_rate=0.1)


# ensembles


def test_leading_directions_converge_first_and_spread_falls_with_them(rng):
    """Figs. 2 and 4: distance and spread fall in the order of the singular values."""
    X, Y = problem(rng)
    Y *= 0.02
    values, directions, targets = in_coordinates(X, Y)
    steps = [0, 50, 400]
    ensemble = []
    for seed in range(10):
        layers = initial_weights([6, 200, 2], random_state=seed)
        kept = train_deep_linear(layers, X, Y, learning_rate=0.02, steps=steps)
        ensemble.append([compact_weights(w) @ directions.T for w in kept])
    distance, spread = convergence_by_direction(ensemble, targets / values)
    kept_share = spread[2] / spread[0]
    expected = (1 - 0.02 * 2 * values) ** 400
    assert (np.diff(kept_share) > 0).all()
    assert_allclose(kept_share[2:], expected[2:], atol=0.15)
    assert (np.diff(distance[2] / distance[0])[:4] > 0).all()


def test_convergence_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="n_networks, n_steps"):
        convergence_by_direction(np.ones((2, 3, 4)), np.ones((3, 4)))


@pytest.mark.parametrize(
    ("widths", "scheme", "message"),
    [
        ([3], "pc-bias", "at least"),
        ([3, 0], "glorot", "at least"),
        ([3, 2], "he", "he"),
    ],
)
def test_initial_variances_refuse(widths, scheme, message):
    with pytest.raises(ValueError, match=message):
        initial_variances(widths, scheme)


def test_expected_scales_want_one_variance_for_each_layer():
    with pytest.raises(ValueError, match="1 variances for 3 widths"):
        expected_gradient_scales([2, 3, 4], [0.1])
