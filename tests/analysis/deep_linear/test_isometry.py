"""Singular values through depth, and the mean-field map of wide networks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.special import erf

from skdmn.analysis.deep_linear.initial_weights import (
    gaussian_weights,
    orthogonal_weights,
)
from skdmn.analysis.deep_linear.isometry import (
    IDENTITY,
    RELU,
    TANH,
    Activation,
    critical_gain,
    end_to_end_jacobian,
    fixed_point,
    layer_variances,
    product_singular_values,
    variance_map,
)

N = 200  # neurons of wide networks
ERF = Activation(erf, lambda x: 2 / math.sqrt(math.pi) * np.exp(-(x**2)))


@pytest.fixture(scope="module")
def wide():
    """Return orthogonal weights of 30 wide layers."""
    return orthogonal_weights([N] * 31, random_state=0)


# singular values of products


@pytest.mark.parametrize("depth", [1, 10, 100])
def test_products_of_orthogonal_weights_are_isometries(depth):
    weights = orthogonal_weights([20] * (depth + 1), random_state=0)
    assert_allclose(product_singular_values(weights), 1, atol=1e-12)


def test_products_of_gaussian_weights_keep_norms_but_not_directions():
    # Fig. 6B: the mean square stays, while most values fade and few grow
    mean_squares, medians, largest = [], [], []
    for depth in (1, 5, 20):
        values = np.array(
            [
                product_singular_values(
                    gaussian_weights([60] * (depth + 1), random_state=seed)
                )
                for seed in range(5)
            ]
        )
        mean_squares.append(np.mean(values**2))
        medians.append(np.median(values))
        largest.append(values.max())
    assert_allclose(mean_squares, 1, rtol=0.2)
    assert medians[0] > 3 * medians[1] > 30 * medians[2]
    assert largest[0] < largest[1] < largest[2]


def test_singular_values_of_one_gaussian_matrix_are_a_quarter_circle():
    # Marchenko and Pastur, square: density sqrt(4 - s^2) / pi on (0, 2)
    values = product_singular_values(gaussian_weights([300, 300], random_state=0))
    for s in (0.5, 1.0, 1.5):
        share = (s * math.sqrt(4 - s**2) / 2 + 2 * math.asin(s / 2)) / math.pi
        assert abs(np.mean(values < s) - share) < 0.03


def test_weights_are_taken_one_by_one():
    weights = gaussian_weights([4, 5, 3], random_state=0)
    expected = np.linalg.svd(weights[1] @ weights[0], compute_uv=False)
    assert_allclose(product_singular_values(iter(weights)), expected)


# Jacobians


@pytest.mark.parametrize("activation", [TANH, ERF, IDENTITY, RELU])
def test_jacobians_are_derivatives(activation):
    weights = gaussian_weights([4, 6, 5, 3], random_state=0)
    x = np.random.default_rng(0).normal(size=4)

    def output(x):
        for weight in weights:
            x = 1.3 * weight @ activation.function(x)
        return x

    found = end_to_end_jacobian(weights, x, gain=1.3, activation=activation)
    step = 1e-6
    slow = [
        (output(x + step * e) - output(x - step * e)) / (2 * step) for e in np.eye(4)
    ]
    assert_allclose(found, np.transpose(slow), atol=1e-8)


def test_the_jacobian_of_a_linear_network_is_the_product():
    weights = gaussian_weights([4] * 6, random_state=0)
    jacobian = end_to_end_jacobian(weights, np.ones(4), activation=IDENTITY)
    found = np.linalg.svd(jacobian, compute_uv=False)
    assert_allclose(found, product_singular_values(weights))


def test_isometry_survives_at_the_edge_of_chaos_only(wide):
    # Fig. 7, in small: 30 layers below, at and above the critical gain
    x = np.random.default_rng(0).normal(size=N)
    below, at, above = (
        np.linalg.svd(end_to_end_jacobian(wide, x, gain=gain), compute_uv=False)
        for gain in (0.7, 1.0, 1.4)
    )
    assert below.max() < 1e-4
    assert 0.1 < np.median(at) < at.max() < 1
    assert above.max() / above.min() > 20 * at.max() / at.min()


# the mean-field map


@pytest.mark.parametrize("q", [0.0, 1e-6, 0.1, 1.0, 10.0, 1000.0])
def test_the_map_is_the_integral(q):
    def integrand(z):
        return math.tanh(math.sqrt(q) * z) ** 2 * math.exp(-(z**2) / 2)

    slow = quad(
        integrand,
        0,
        12,
        points=[min(1.0, 5 / math.sqrt(q + 1e-9)), 1.0],
        epsabs=1e-14,
        epsrel=1e-12,
    )[0]
    slow *= 2 / math.sqrt(2 * math.pi)
    assert_allclose(variance_map(q, gain=1.5), 1.5**2 * slow, rtol=1e-9, atol=1e-20)


@settings(deadline=None)
@given(q=st.floats(1e-6, 100), gain=st.floats(0.1, 3))
def test_the_map_of_known_integrals(q, gain):
    linear = variance_map(q, gain=gain, activation=IDENTITY)
    assert_allclose(linear, gain**2 * q, rtol=1e-10)
    rectified = variance_map(q, gain=gain, activation=RELU)
    assert_allclose(rectified, gain**2 * q / 2, rtol=1e-5)
    errors = variance_map(q, gain=gain, activation=ERF)
    expected = gain**2 * 2 / math.pi * math.asin(2 * q / (1 + 2 * q))
    assert_allclose(errors, expected, rtol=1e-8)


def test_the_critical_gain_of_tanh_is_1():
    assert abs(critical_gain() - 1) < 1e-6
    # and without use of the map at small q: activity dies below, lives above
    assert fixed_point(0.999) == 0
    assert fixed_point(1.001) > 5e-4


@pytest.mark.parametrize(
    ("activation", "gain"),
    [
        (ERF, math.sqrt(math.pi) / 2),
        (RELU, math.sqrt(2)),
        (IDENTITY, 1.0),
        (
            Activation(lambda x: np.tanh(3 * x), lambda x: 3 / np.cosh(3 * x) ** 2),
            1 / 3,
        ),
    ],
)
def test_critical_gains_of_other_activations(activation, gain):
    assert_allclose(critical_gain(activation=activation), gain, rtol=1e-5)


def test_activity_can_survive_where_small_activity_dies():
    # a threshold: flat at 0, so that 1 / phi'(0) says nothing
    cubic = Activation(lambda x: np.tanh(x**3), lambda x: x)
    gain = critical_gain(activation=cubic)
    assert 1 < gain < 3
    assert fixed_point(0.99 * gain, activation=cubic) == 0
    assert fixed_point(1.02 * gain, activation=cubic) > 0.1


@pytest.mark.parametrize("gain", [1.01, 1.1, 1.5, 3.0])
def test_fixed_points_are_kept_by_the_map_and_attract(gain):
    q = fixed_point(gain)
    assert_allclose(variance_map(q, gain=gain), q, rtol=1e-9)
    for start in (0.5 * q, 2 * q):
        assert abs(variance_map(start, gain=gain) - q) < abs(start - q)


def test_fixed_points_near_the_critical_gain_are_as_expanded():
    # tanh(x)^2 = x^2 - 2 x^4 / 3 + ..., and the mean of z^4 is 3: q = g^2 (q - 2 q^2)
    for gain in (1.001, 1.0001):
        assert_allclose(fixed_point(gain), (1 - gain**-2) / 2, rtol=5 * (gain - 1))


@pytest.mark.parametrize("gain", [1.1, 1.5, 2.0])
def test_wide_networks_settle_at_the_fixed_point(wide, gain):
    # Fig. 8, right: depth 30, the last five layers
    starts = np.random.default_rng(1).normal(size=(20, N))
    found = [layer_variances(wide, x, gain=gain)[-5:] for x in starts]
    assert_allclose(np.mean(found), fixed_point(gain), rtol=0.05)


def test_variances_of_wide_networks_follow_the_map(wide):
    starts = 1.5 * np.random.default_rng(1).normal(size=(20, N))
    found = np.mean([layer_variances(wide[:4], x, gain=1.2) for x in starts], axis=0)
    assert_allclose(found[1:], variance_map(found[:-1], gain=1.2), rtol=0.03)


def test_linear_activity_fades_stays_or_grows():
    assert fixed_point(0.9, activation=IDENTITY) == 0
    assert fixed_point(1.1, activation=IDENTITY) == math.inf


def test_tanh_has_a_derivative_far_out():
    with np.errstate(all="raise", under="ignore"):
        assert_allclose(TANH.derivative(np.array([0.0, 1e6])), [1, 0], atol=1e-300)


# errors


def test_errors_say_what_to_pass():
    with pytest.raises(ValueError, match=r"shape \(2, 3\), but the layer before has 4"):
        end_to_end_jacobian([np.ones((2, 3))], np.ones(4))
    with pytest.raises(ValueError, match="the layer before has 2 neurons"):
        product_singular_values([np.ones((2, 3)), np.ones((2, 3))])
    with pytest.raises(ValueError, match="There are no weights"):
        product_singular_values([])
    with pytest.raises(ValueError, match="q has -1"):
        variance_map([1.0, -1.0])
    with pytest.raises(ValueError, match="gain is -1"):
        fixed_point(-1)


def test_inputs_are_not_changed():
    x = np.ones(3)
    layer_variances(orthogonal_weights([3, 3], random_state=0), x)
    assert_array_equal(x, 1)


def test_large_gains_have_large_fixed_points():
    for gain in (90.0, 150.0, 1e4):
        q = fixed_point(gain)
        assert_allclose(variance_map(q, gain=gain), q, rtol=1e-9)
    assert fixed_point(1.5, activation=IDENTITY) == math.inf


def test_inputs_are_one_row_and_gains_numbers():
    with pytest.raises(ValueError, match="pass the activity of one example"):
        end_to_end_jacobian([np.eye(2)], np.ones((2, 1)))
    with pytest.raises(ValueError, match="gain is nan"):
        fixed_point(math.nan)
