"""L-BFGS against known minima, and with preconditioners that change."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdmn.linear_model.lbfgs import LBFGS


@pytest.fixture
def quadratic(rng):
    """Return a badly conditioned quadratic function, its matrix and its minimum."""
    root = rng.normal(size=(30, 12)) * np.logspace(-2, 2, 12)
    matrix, target = root.T @ root + np.eye(12), rng.normal(size=12)

    def function(iterate):
        away = iterate - target
        return 1 + away @ matrix @ away / 2, matrix @ away

    return function, matrix, target


def log_cosh(iterate):
    """Return a convex function that is far from quadratic."""
    slopes = np.arange(1, iterate.size + 1)
    away = slopes * (iterate.ravel() - 1)
    value = np.logaddexp(away, -away).sum()
    return value, (slopes * np.tanh(away)).reshape(iterate.shape)


def descend(optimizer, steps=200):
    for _ in range(steps):
        if (
            optimizer.suboptimality <= 1e-14 * optimizer.values[-1]
            or optimizer.is_stuck
        ):
            break
        optimizer.step()
    return optimizer


def test_the_inverse_second_derivative_leads_to_the_minimum_in_one_step(quadratic):
    function, matrix, target = quadratic
    optimizer = LBFGS(function, np.zeros(12), lambda g: np.linalg.solve(matrix, g))
    assert_allclose(optimizer.suboptimality, optimizer.values[0] - 1, rtol=1e-9)
    optimizer.step()
    assert_allclose(optimizer.iterate, target, rtol=1e-6)
    assert len(optimizer.values) == 2


def test_without_one_the_minimum_is_found_too(quadratic):
    function, _, target = quadratic
    optimizer = descend(LBFGS(function, np.zeros(12), lambda g: g), 2000)
    assert_allclose(optimizer.iterate, target, atol=1e-4)
    assert_allclose(optimizer.values[-1], 1, rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-6, 1e-2, 1, 1e4])
@pytest.mark.parametrize("shape", [(4,), (2, 3)])
def test_any_scale_of_the_preconditioner_and_any_shape_do(scale, shape):
    optimizer = LBFGS(log_cosh, np.zeros(shape), lambda g: scale * g)
    assert_allclose(descend(optimizer).iterate, np.ones(shape), atol=1e-6)
    assert np.all(np.diff(optimizer.values) <= 1e-12)


def test_a_preconditioner_may_change_midway(quadratic):
    function, matrix, target = quadratic
    optimizer = LBFGS(function, np.zeros(12), lambda g: g)
    for _ in range(15):  # more than are remembered
        optimizer.step()
    optimizer.precondition = lambda g: np.linalg.solve(matrix, g)
    for _ in range(3):
        optimizer.step()
    assert_allclose(optimizer.iterate, target, rtol=1e-5)


def test_steps_usually_cost_one_value():
    iterates = []

    def counted(iterate):
        iterates.append(iterate)
        return log_cosh(iterate)

    optimizer = descend(LBFGS(counted, np.zeros(4), lambda g: g / 10))
    assert len(iterates) <= 1.5 * len(optimizer.values)


def test_at_the_minimum_there_is_no_step():
    optimizer = LBFGS(log_cosh, np.ones(3), lambda g: g)
    assert optimizer.suboptimality == 0
    optimizer.step()
    assert optimizer.is_stuck
    assert_allclose(optimizer.iterate, np.ones(3))


def test_a_function_that_rounds_ends_stuck_and_near():
    def rounded(iterate):
        value, gradient = log_cosh(iterate)
        return float(np.float32(value)), gradient + 1e-4 * np.sin(1e6 * iterate)

    optimizer = LBFGS(rounded, np.zeros(4), lambda g: g, rounding=1e-7)
    descend(optimizer, 500)
    assert_allclose(optimizer.iterate, np.ones(4), atol=1e-2)


def test_values_that_overflow_are_steps_too_long():
    def steep(iterate):
        with np.errstate(over="ignore"):
            return float(np.exp(iterate).sum() - iterate.sum()), np.exp(iterate) - 1

    optimizer = LBFGS(steep, np.full(3, -5.0), lambda g: 1e4 * g)
    with np.errstate(invalid="ignore"):
        descend(optimizer)
    assert_allclose(optimizer.iterate, np.zeros(3), atol=1e-5)
