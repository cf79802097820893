"""Exact time courses, against integration of their equations and each other."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.integrate import quad, solve_ivp

from skdmn.analysis.deep_linear.learning_rates import (
    curvature,
    learning_delay,
    optimal_learning_rate,
    optimized_learning_time,
)
from skdmn.analysis.deep_linear.modes import (
    learning_time,
    limiting_learning_time,
    limiting_mode_strength,
    mode_strength,
)
from skdmn.analysis.deep_linear.unequal_modes import (
    unequal_learning_time,
    unequal_mode_strengths,
)


def integrated(rate, start, t):
    """Return the solution of dy/dt = rate(y), by a general solver."""
    found = solve_ivp(
        lambda _, y: rate(y),
        (0, t[-1]),
        np.atleast_1d(start),
        t_eval=t,
        method="LSODA",
        rtol=1e-12,
        atol=1e-15,
    )
    return found.y


# equal weights


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 7, 30])
@pytest.mark.parametrize("s", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("u0", [1e-3, 0.3, 3.0])
def test_strengths_solve_the_equation_of_any_depth(depth, s, u0):
    t = np.linspace(0, 60 if u0 < 0.1 else 5, 40)
    slow = integrated(lambda u: depth * u ** (2 - 2 / depth) * (s - u), u0, t)[0]
    assert_allclose(mode_strength(t, s, u0, depth=depth), slow, rtol=0, atol=1e-8)


@pytest.mark.parametrize("s", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("u0", [1e-2, 0.3, 3.0])
def test_strengths_in_the_limit_solve_its_equation(s, u0):
    t = np.linspace(0, 300 if u0 < 0.1 else 5, 40)
    slow = integrated(lambda u: u**2 * (s - u), u0, t)[0]
    assert_allclose(limiting_mode_strength(t, s, u0), slow, rtol=0, atol=1e-8)


def test_one_hidden_layer_is_equation_12_as_printed():
    t, s, u0, tau = np.linspace(0, 8, 50), 1.7, 0.02, 1.3
    grown = np.exp(2 * s * t / tau)
    printed = s * grown / (grown - 1 + s / u0)
    assert_allclose(mode_strength(t, s, u0, tau=tau), printed, rtol=1e-12)


def test_learning_time_of_one_hidden_layer_is_equation_11_as_printed():
    s, u0, u_final, tau = 1.7, 0.02, 1.6, 1.3
    printed = tau / (2 * s) * math.log(u_final * (s - u0) / (u0 * (s - u_final)))
    assert_allclose(learning_time(s, u0, u_final, tau=tau), printed, rtol=1e-12)


def test_learning_time_in_the_limit_is_equation_17_as_printed():
    s, u0, u_final = 1.7, 0.02, 1.6
    log = math.log(u_final * (u0 - s) / (u0 * (u_final - s)))
    printed = log / s**2 + 1 / (s * u0) - 1 / (s * u_final)
    assert_allclose(limiting_learning_time(s, u0, u_final), printed, rtol=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 40])
@pytest.mark.parametrize(("u0", "u_final"), [(0.01, 1.9), (7.0, 2.1), (1e-3, 1e-2)])
def test_learning_time_is_the_integral_of_the_equation(depth, u0, u_final):
    slow, _ = quad(
        lambda u: 1 / (depth * u ** (2 - 2 / depth) * (2 - u)),
        u0,
        u_final,
        epsabs=1e-12,
        epsrel=1e-11,
    )
    found = learning_time(2.0, u0, u_final, depth=depth, tau=3.0)
    assert_allclose(found, 3.0 * slow, rtol=1e-9)


@settings(deadline=None, max_examples=60)
@given(
    s=st.floats(0.1, 10),
    start=st.floats(1e-4, 0.9),
    end=st.floats(0.01, 0.999),
    depth=st.integers(1, 60),
    tau=st.floats(0.1, 10),
)
def test_after_the_learning_time_the_strength_is_reached(s, start, end, depth, tau):
    assume(start < end)
    time = learning_time(s, start * s, end * s, depth=depth, tau=tau)
    reached = mode_strength(time, s, start * s, depth=depth, tau=tau)
    assert_allclose(reached, end * s, rtol=1e-7)
    time = limiting_learning_time(s, start * s, end * s, tau=tau)
    reached = limiting_mode_strength(time, s, start * s, tau=tau)
    assert_allclose(reached, end * s, rtol=1e-7)


def test_depth_times_the_learning_time_tends_to_the_limit():
    limit = limiting_learning_time(2.0, 0.1, 1.9)
    errors = [
        abs(depth * learning_time(2.0, 0.1, 1.9, depth=depth) / limit - 1)
        for depth in (10, 100, 1000)
    ]
    assert errors[0] > 5 * errors[1] > 25 * errors[2]
    assert errors[2] < 0.01


def test_learning_time_falls_as_one_over_the_singular_value():
    # from the same share to the same share of s
    times = [learning_time(s, 0.01 * s, 0.99 * s) for s in (1.0, 2.0, 8.0)]
    assert_allclose(times, times[0] / np.array([1.0, 2.0, 8.0]))


def test_modes_stand_behind_times():
    t = np.linspace(0, 3, 6).reshape(2, 3)
    s = np.array([1.0, 2.0, 3.0, 4.0])
    for depth in (1, 2, 5):
        together = mode_strength(t, s, 0.1, depth=depth)
        assert together.shape == (2, 3, 4)
        for mode in range(4):
            alone = mode_strength(t, s[mode], 0.1, depth=depth)
            assert_allclose(together[..., mode], alone)
    assert limiting_mode_strength(t, s, 0.1).shape == (2, 3, 4)


@pytest.mark.parametrize("depth", [2, 3, 10])
def test_nothing_is_learned_from_zero_and_nothing_lost_where_all_is_learned(depth):
    t = np.linspace(0, 100, 5)
    assert (mode_strength(t, 2.0, 0.0, depth=depth) == 0).all()
    assert_allclose(mode_strength(t, 2.0, 2.0, depth=depth), 2.0)
    assert (limiting_mode_strength(t, 2.0, 0.0) == 0).all()


def test_long_times_and_tiny_starts_do_not_overflow():
    with np.errstate(all="raise", under="ignore"):
        for depth in (1, 2, 3, 9):
            assert_allclose(mode_strength(1e9, 3.0, 0.1, depth=depth), 3.0)
            assert mode_strength(1.0, 3.0, 1e-100, depth=depth) < 3.0
        assert_allclose(limiting_mode_strength(1e9, 3.0, 0.1), 3.0)
        assert limiting_mode_strength(1.0, 3.0, 1e-100) < 1e-99
        assert_allclose(limiting_mode_strength(1e6, 1e-2, 5.0), 1e-2, rtol=1e-3)


def test_inputs_of_other_variance_are_modes_of_other_s_and_tau():
    # eq. 46 for one mode: tau du/dt = D u^(2 - 2/D) (s - u d)
    t, s, d, tau = np.linspace(0, 6, 30), 1.2, 0.4, 0.7
    for depth in (2, 3):
        slow = integrated(
            lambda u: depth * u ** (2 - 2 / depth) * (s - u * d) / tau,  # noqa: B023
            0.2,
            t,
        )[0]
        found = mode_strength(t, s / d, 0.2, depth=depth, tau=tau / d)
        assert_allclose(found, slow, atol=1e-8)


# unequal weights


@pytest.mark.parametrize("s", [0.0, 0.4, 2.0])
@pytest.mark.parametrize(
    ("a0", "b0"),
    [
        (0.5, 0.0),
        (0.0, 0.5),
        (0.2, 0.2),
        (-0.2, -0.1),
        (0.3, -0.2),
        (0.3, -0.3),
        (1e-3, 2e-3),
        (3.0, 0.1),
        (2.0, 2.0),
    ],
)
def test_unequal_weights_solve_equation_8(s, a0, b0):
    t = np.linspace(0, 6, 40)
    slow = integrated(lambda y: np.array([y[1], y[0]]) * (s - y[0] * y[1]), [a0, b0], t)
    found = unequal_mode_strengths(t, s, a0, b0)
    assert_allclose(found, slow, rtol=0, atol=1e-8)


@settings(deadline=None, max_examples=60)
@given(
    s=st.floats(0.1, 5),
    a0=st.floats(-2, 2),
    b0=st.floats(-2, 2),
    t=st.floats(0, 3),
    tau=st.floats(0.5, 3),
)
def test_the_hyperbola_is_kept_and_the_time_is_found_again(s, a0, b0, t, tau):
    a, b = unequal_mode_strengths(t, s, a0, b0, tau=tau)
    assert_allclose(a**2 - b**2, a0**2 - b0**2, atol=1e-11)
    assume(abs(a0 + b0) > 1e-2 and abs(a * b - s) > 1e-3 and abs(a0 * b0 - s) > 1e-3)
    assume(t > 1e-3)
    found = unequal_learning_time(s, a0, b0, a * b, tau=tau)
    assert_allclose(found, t, rtol=1e-6, atol=1e-9)


def test_equal_weights_are_a_case_of_unequal_ones():
    t, s = np.linspace(0, 5, 20), np.array([0.5, 1.0, 3.0])
    a, b = unequal_mode_strengths(t, s, 0.1, 0.1)
    assert_allclose(a * b, mode_strength(t, s, 0.01), rtol=1e-10)
    found = unequal_learning_time(s, 0.1, 0.1, 0.4)
    assert_allclose(found, learning_time(s, 0.01, 0.4), rtol=1e-12)


def test_equation_26_holds_with_the_factors_that_are_missing():
    s, a0, b0, u_final = 1.3, 0.6, 0.2, 1.1
    c = (a0**2 - b0**2) / 2  # ab = c sinh(theta), with half the paper's c_0
    root = math.hypot(c, s)

    def primitive(u):
        slope = math.tanh(math.asinh(u / c) / 2)
        return math.log((root + c + s * slope) / (root - c - s * slope)) / root

    expected = (primitive(u_final) - primitive(a0 * b0)) / 2  # the paper: twice this
    assert_allclose(unequal_learning_time(s, a0, b0, u_final), expected)


# learning rates


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
@pytest.mark.parametrize("u", [0.01, 0.5, 1.5])
def test_curvatures_are_the_eigenvalues_of_the_hessian(depth, u):
    s, weight = 1.5, u ** (1 / depth)
    hessian = np.full(
        (depth, depth), (weight ** (depth - 1)) ** 2 - (s - u) * weight ** (depth - 2)
    )
    np.fill_diagonal(hessian, weight ** (2 * depth - 2))
    found = curvature(s, u, depth=depth)
    expected = np.sort([found.along] + [found.across] * (depth - 1))
    assert_allclose(np.linalg.eigvalsh(hessian), expected, atol=1e-12)


@pytest.mark.parametrize("depth", [2, 3, 10])
def test_the_largest_curvature_is_at_the_end_of_the_way(depth):
    s = 1.7
    found = curvature(s, np.linspace(1e-6, s, 500), depth=depth)
    largest = np.maximum(found.along, found.across)
    assert largest.argmax() == 499
    assert_allclose(optimal_learning_rate(s, depth=depth), 1 / largest[-1])


def descend(s, u0, depth, rate, steps):
    """Return strengths after each step of gradient descent on D equal weights."""
    weight, strengths = u0 ** (1 / depth), []
    for _ in range(steps):
        weight += rate * (s - weight**depth) * weight ** (depth - 1)
        strengths.append(weight**depth)
    return np.array(strengths)


@pytest.mark.parametrize("depth", [1, 2, 3, 8])
def test_twice_the_optimal_rate_is_the_limit_of_stability(depth):
    s, best = 1.4, float(optimal_learning_rate(1.4, depth=depth))
    below = descend(s, 0.99 * s, depth, 1.95 * best, 3000)
    assert_allclose(below[-1], s, rtol=1e-6)
    with np.errstate(all="ignore"):
        above = descend(s, 0.99 * s, depth, 2.05 * best, 3000)
    assert not np.isclose(above[-1], s, rtol=1e-3)


@pytest.mark.parametrize("depth", [2, 3, 8, 100])
def test_steps_of_gradient_descent_are_the_optimized_learning_time(depth):
    s, u0, u_final = 1.4, 0.05, 1.3
    for c, tolerance in ((20.0, 0.05), (100.0, 0.01)):
        rate = float(optimal_learning_rate(s, depth=depth)) / c
        predicted = optimized_learning_time(s, u0, u_final, depth=depth, c=c)
        strengths = descend(s, u0, depth, rate, math.ceil(1.5 * predicted))
        steps = 1 + np.argmax(strengths >= u_final)
        assert_allclose(steps, predicted, rtol=tolerance)


def test_optimized_times_are_equations_43_to_45_as_printed():
    s, u0, u_final, c = 1.4, 0.05, 1.3, 3.0
    log = math.log(u_final * (s - u0) / (u0 * (s - u_final)))
    arguments = (s, u0, u_final)
    assert_allclose(optimized_learning_time(*arguments, depth=2, c=c), c * log)
    limit = c * (log + s / u0 - s / u_final)
    assert_allclose(optimized_learning_time(*arguments, depth=math.inf, c=c), limit)
    delay = c * s / u0 - c * s / u_final
    assert_allclose(learning_delay(*arguments, depth=math.inf, c=c), delay)
    assert_allclose(learning_delay(1, 1e-6, 1 - 1e-6, depth=math.inf), 1e6, rtol=1e-5)


def test_the_delay_grows_with_depth_below_its_limit():
    depths = [2, 3, 5, 10, 100, 10**4, math.inf]
    delays = [float(learning_delay(2.0, 0.05, 1.95, depth=depth)) for depth in depths]
    assert delays[0] == 0
    assert (np.diff(delays) > 0).all()
    assert_allclose(delays[-2], delays[-1], rtol=2e-3)


# errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"t": -1.0}, "t must be 0 or more"),
        ({"s": [1.0, -2.0]}, "s must be 0 or more, got -2"),
        ({"u0": -0.1}, "u0 must be 0 or more"),
        ({"tau": 0.0}, "tau must be above 0"),
        ({"depth": 0}, "depth is 0; pass the number of weight matrices"),
        ({"depth": 2.5}, "depth is 2.5"),
        ({"depth": math.inf}, "depth is inf"),
        ({"s": math.nan}, "s must be 0 or more"),
    ],
)
def test_courses_say_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        mode_strength(**{"t": 1.0, "s": 1.0, "u0": 0.1} | arguments)


@pytest.mark.parametrize(
    ("s", "u0", "u_final", "message"),
    [
        (1.0, 0.1, 1.0, "u_final is never reached"),
        (1.0, 0.1, 0.05, "u_final is never reached"),
        (1.0, 0.1, 1.2, "u_final is never reached"),
        (1.0, 0.0, 0.5, "u0 must be above 0"),
        (0.0, 0.1, 0.5, "s must be above 0"),
    ],
)
def test_times_that_do_not_exist_are_errors(s, u0, u_final, message):
    for function in (learning_time, limiting_learning_time):
        with pytest.raises(ValueError, match=message):
            function(s, u0, u_final)


def test_nothing_is_reached_from_opposite_weights():
    with pytest.raises(ValueError, match=r"a0 \+ b0 must not be 0"):
        unequal_learning_time(1.0, 0.3, -0.3, 0.5)


# strengths far above what there is to learn, and none at all


@pytest.mark.parametrize("depth", [3, 4, 30])
def test_strengths_far_above_fall_as_where_there_is_nothing_to_learn(depth):
    power, t = 2 - 2 / depth, np.geomspace(1e-3, 1e3, 20)
    for s, u0 in ((1e-9, 10.0), (1e-19, 0.01)):
        exact = (u0**-power + power * depth * t) ** (-1 / power)
        assert_allclose(mode_strength(t, s, u0, depth=depth), exact, rtol=1e-4)


@pytest.mark.parametrize("depth", [3, 5])
def test_strengths_far_above_solve_the_equation(depth):
    s, u0, t = 0.01, 1.0, np.linspace(0, 400, 60)
    slow = integrated(lambda u: depth * u ** (2 - 2 / depth) * (s - u), u0, t)[0]
    assert_allclose(mode_strength(t, s, u0, depth=depth), slow, rtol=1e-6)
    half = learning_time(s, u0, 0.5, depth=depth)
    assert_allclose(mode_strength(half, s, u0, depth=depth), 0.5, rtol=1e-8)


def test_limits_far_above():
    assert_allclose(limiting_mode_strength(0, 1e-17, 0.01), 0.01)
    assert_allclose(limiting_mode_strength(1.5, 1e-9, 1.0), 0.5, rtol=1e-6)
    assert_allclose(limiting_learning_time(1e-9, 1.0, 0.5), 1.5, rtol=1e-8)


def test_what_does_not_begin_stays_0_however_long():
    assert mode_strength(200.0, 2.0, 0.0) == 0
    assert_allclose(unequal_mode_strengths(200.0, 2.0, 0.3, -0.3), 0, atol=1e-12)
    assert_allclose(unequal_mode_strengths(200.0, 2.0, 0.0, 0.0), 0, atol=1e-12)
