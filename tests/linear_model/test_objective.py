"""Loss, gradient and curvature against slow definitions; the solver's ways."""

import dataclasses
import tracemalloc
from types import SimpleNamespace

import array_api_strict
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import check_grad, minimize
from scipy.special import log_softmax

from skdmn.data.rows import Rows
from skdmn.kernels.reference.softmax import block_curvature, block_pass, probabilities
from skdmn.linear_model import solver
from skdmn.linear_model.lbfgs import LBFGS
from skdmn.linear_model.objective import Objective, column_moments
from skdmn.utils.array_api import HOST, Backend, own_backend, to_backend, to_numpy


def problem(rng, n_classes=3, n=60, d=5, dtype="float64", backend=HOST, **changes):
    X = (rng.normal(size=(n, d)) * [1, 3, 0.1, 2, 1] + 4).astype(dtype)
    codes = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, n)])[:n]
    X[:, 0] += codes.astype(X.dtype)
    weights = rng.random(n) + 0.5
    rows = Rows(
        to_backend(X, backend), backend, "float32" if dtype == "uint8" else dtype
    )
    mean, var = column_moments(rows, weights)
    values = {
        "rows": rows,
        "codes": codes,
        "weights": weights,
        "n_classes": n_classes,
        "mean": mean,
        "scale": np.sqrt(var),
        "var": var,
        "penalty": 0.01,
        "fit_intercept": True,
    }
    return Objective(**{**values, **changes})


def slow_value(objective, iterate):
    """Return the objective as the docstring has it."""
    X = to_numpy(objective.rows.data).astype(float)
    scores = (X - objective.mean) / objective.scale @ iterate[:, :-1].T + iterate[:, -1]
    if objective.n_classes == 2:
        scores = np.hstack([np.zeros_like(scores), scores])
    losses = -log_softmax(scores, axis=1)[np.arange(len(X)), objective.codes]
    mean = np.average(losses, weights=objective.weights)
    return mean + objective.penalty / 2 * (iterate[:, :-1] ** 2).sum()


n_classes = pytest.mark.parametrize("n_classes", [2, 3, 7])


@n_classes
@pytest.mark.parametrize("dtype", ["float64", "float32", "uint8"])
def test_value_is_the_definition(rng, n_classes, dtype):
    objective = problem(rng, n_classes, dtype=dtype)
    iterate = rng.normal(size=objective.shape)
    value, _ = objective(iterate)
    assert_allclose(
        value,
        slow_value(objective, iterate),
        rtol=1e-12 if dtype == "float64" else 1e-5,
    )


@n_classes
def test_gradient_is_that_of_the_value(rng, n_classes):
    objective = problem(rng, n_classes)
    shape = objective.shape
    error = check_grad(
        lambda flat: slow_value(objective, flat.reshape(shape)),
        lambda flat: objective(flat.reshape(shape))[1].ravel(),
        rng.normal(size=shape).ravel(),
    )
    assert error < 1e-6


def test_without_intercept_its_gradient_is_zero(rng):
    objective = problem(rng, fit_intercept=False)
    _, gradient = objective(rng.normal(size=objective.shape))
    assert not gradient[:, -1].any()
    assert gradient[:, :-1].all()
    assert not objective.origin().any()


@pytest.mark.parametrize("cache_bytes", [1, 300])
def test_blocks_do_not_matter(rng, monkeypatch, cache_bytes):
    objective = problem(rng)
    iterate = rng.normal(size=objective.shape)
    value, gradient = objective(iterate)
    inverse = solver.factor_hessian(objective, iterate)(gradient)
    mean, var = column_moments(objective.rows, objective.weights)
    monkeypatch.setattr("skdmn.data.sizes.CACHE_BYTES", cache_bytes)
    monkeypatch.setattr("skdmn.data.sizes.MOMENTS_BYTES", cache_bytes)
    monkeypatch.setattr("skdmn.data.sizes.BATCH_BYTES", cache_bytes)
    assert_allclose(objective(iterate)[0], value, rtol=1e-12)
    assert_allclose(objective(iterate)[1], gradient, atol=1e-14)
    assert_allclose(
        solver.factor_hessian(objective, iterate)(gradient), inverse, rtol=1e-8
    )
    assert_allclose(column_moments(objective.rows, objective.weights), (mean, var))


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@n_classes
def test_other_libraries_give_the_same(rng, n_classes, dtype):
    backend = Backend(array_api_strict, array_api_strict.Device("device1"))
    seed = rng.integers(1000)
    ours = problem(np.random.default_rng(seed), n_classes, dtype=dtype)
    theirs = problem(
        np.random.default_rng(seed), n_classes, dtype=dtype, backend=backend
    )
    iterate = rng.normal(size=ours.shape)
    for mine, other in zip(ours(iterate), theirs(iterate), strict=True):
        assert_allclose(other, mine, rtol=1e-4, atol=1e-6)
    gradient = ours(iterate)[1]
    assert_allclose(
        solver.factor_hessian(theirs, iterate)(gradient),
        solver.factor_hessian(ours, iterate)(gradient),
        rtol=1e-3,
        atol=1e-4,
    )


def test_block_functions_stay_where_the_block_is(rng):
    backend = Backend(array_api_strict, array_api_strict.Device("device1"))
    X, coef = rng.random((6, 4)), rng.random((3, 4))
    centre, intercept, weights = rng.random(4), rng.random(3), rng.random(6)
    codes = np.arange(6) % 3
    arrays = [to_backend(a, backend) for a in (X, centre, coef, intercept)]
    codes, weights = to_backend(codes, backend), to_backend(weights, backend)
    loss, by_coef, by_intercept = block_pass(*arrays, codes, weights)
    assert isinstance(loss, float)
    assert by_coef.shape == (3, 4)
    rows = block_curvature(*arrays, weights)
    assert rows.shape == (6, 5)
    assert {own_backend(a) for a in (by_coef, by_intercept, rows)} == {backend}


def test_scores_of_any_size_have_finite_logarithms():
    scores = np.array([[1e4, 0, -1e4], [3, 3, 3]], dtype=np.float32)
    p, log_p = probabilities(scores)
    assert_allclose(p, [[1, 0, 0], [1 / 3] * 3], rtol=1e-6)
    assert_allclose(log_p[0], [0, -1e4, -2e4])
    p, log_p = probabilities(np.array([[-300.0], [0.0]]))
    assert_allclose(log_p[0], [0, -300], atol=1e-12)
    assert_allclose(p[1], [0.5, 0.5])


# moments


def test_moments_are_exact_for_bright_columns(rng):
    X = (1e4 + rng.normal(size=(3000, 4)) * [1, 0.1, 5, 0]).astype(np.float32)
    X[0, 2] = -3e5  # the first row is far away
    weights = rng.random(3000)
    mean, var = column_moments(Rows(X, HOST, "float32"), weights)
    expected = np.average(X.astype(float), axis=0, weights=weights)
    assert_allclose(mean, expected, rtol=1e-7)
    deviations = (X.astype(float) - expected) ** 2
    assert_allclose(var, np.average(deviations, axis=0, weights=weights), 1e-4, 1e-9)
    assert var[3] == 0


def test_moments_leave_rows_without_weight_out(rng, monkeypatch):
    X, weights = rng.random((40, 3)), np.ones(40)
    X[:10], weights[:10] = np.nan, 0
    monkeypatch.setattr("skdmn.data.sizes.CACHE_BYTES", 24 * 5)
    mean, var = column_moments(Rows(X, HOST, "float64"), weights)
    assert_allclose(mean, X[10:].mean(axis=0))
    assert_allclose(var, X[10:].var(axis=0))


# the solver


def second_derivative(objective, iterate):
    """Return the mean of the classes' blocks of the second derivative."""
    X = (objective.rows.data - objective.mean) / objective.scale
    X = np.column_stack([X, np.full(len(X), float(objective.fit_intercept))])
    scores = X @ iterate.T
    if objective.n_classes == 2:
        scores = np.hstack([np.zeros_like(scores), scores])
    p = np.exp(log_softmax(scores, axis=1))
    q = (p * (1 - p)).mean(axis=1) * objective.weights / objective.weights.sum()
    matrix = (X * q[:, None]).T @ X
    matrix[:-1, :-1] += objective.penalty * np.eye(len(matrix) - 1)
    return matrix


@n_classes
def test_the_factor_inverts_the_second_derivative(rng, n_classes):
    objective = problem(rng, n_classes)
    iterate = rng.normal(size=objective.shape)
    gradient = rng.normal(size=objective.shape)
    matrix = second_derivative(objective, iterate)
    step = solver.factor_hessian(objective, iterate)(gradient)
    assert_allclose(step @ matrix, gradient, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("fit_intercept", [True, False])
@n_classes
def test_the_hessian_is_the_slope_of_the_gradient(rng, n_classes, fit_intercept):
    objective = problem(rng, n_classes, fit_intercept=fit_intercept)
    iterate, direction = rng.normal(size=(2, *objective.shape))
    iterate[:, -1] *= fit_intercept
    direction[:, -1] *= fit_intercept
    (_, behind), (_, ahead) = (
        objective(iterate + length * direction) for length in (-1e-5, 1e-5)
    )
    product = objective.hessian(iterate)(direction)
    assert_allclose(product, (ahead - behind) / 2e-5, atol=1e-8)


@pytest.mark.parametrize("fit_intercept", [True, False])
@n_classes
def test_the_newton_step_inverts_the_hessian(rng, n_classes, fit_intercept):
    objective = problem(rng, n_classes, fit_intercept=fit_intercept)
    iterate = rng.normal(size=objective.shape)
    iterate[:, -1] *= fit_intercept
    _, gradient = objective(iterate)
    multiply = objective.hessian(iterate)
    step = solver.factor_whole_hessian(objective, iterate)(gradient)
    assert_allclose(multiply(step), gradient, atol=1e-10)
    matrix, given = objective.second_derivative(iterate), rng.normal(size=step.shape)
    given[:, -1] *= fit_intercept
    assert_allclose(matrix @ given.ravel(), multiply(given).ravel(), atol=1e-12)
    if n_classes > 2:  # a change of all intercepts has no effect
        assert_allclose(step[:, -1].sum(), 0, atol=1e-10)


@n_classes
def test_conjugate_gradients_minimize_the_quadratic_model(rng, n_classes):
    objective = problem(rng, n_classes)
    start = rng.normal(size=objective.shape)
    optimizer = LBFGS(objective, start, objective.diagonal())
    hessian = objective.hessian(start)
    units = np.eye(start.size).reshape(-1, *start.shape)
    matrix = np.array([hessian(unit).ravel() for unit in units])
    expected = np.linalg.lstsq(matrix, -optimizer.gradient.ravel(), rcond=1e-12)[0]
    decrease, step = solver.newton_decrease(hessian, optimizer, np.inf, 100, 100)
    assert_allclose(decrease, -expected @ optimizer.gradient.ravel() / 2, rtol=1e-6)
    assert_allclose(matrix @ step.ravel(), matrix @ expected, atol=1e-6)


def test_an_estimate_that_is_too_small_is_not_confirmed(rng):
    objective = problem(rng)
    confirm = solver._Confirmation(objective, objective, 1e-6)
    optimizer = LBFGS(objective, objective.origin(), lambda gradient: 1e-9 * gradient)
    too_small = optimizer.precondition
    assert optimizer.suboptimality < 1e-7 * optimizer.values[-1]
    assert not confirm(optimizer)
    assert optimizer.precondition is not too_small
    assert optimizer.suboptimality > 1e-2 * optimizer.values[-1]
    for _ in range(30):
        optimizer.step()
    assert 0 < optimizer.suboptimality < 1e-7 * optimizer.values[-1]
    assert confirm(optimizer)


def test_a_sample_is_only_copied_to_confirm_if_the_copy_is_much_smaller(
    rng, monkeypatch
):
    objective = problem(rng)
    sample = objective.sample(24)
    for n_rows, is_copied in ((20, False), (8, True)):
        monkeypatch.setattr(solver, "FACTOR_ROWS", n_rows)
        checked = solver._Confirmation(objective, sample, 1e-6)._checked
        assert (checked is not sample) == is_copied
        assert n_rows <= len(checked.rows) < 2 * n_rows


def few_rows(monkeypatch, objective, n):
    """Let so many rows be factored, in place of more columns."""
    monkeypatch.setattr(solver, "FEW_ROWS", n)
    monkeypatch.setattr(solver, "FACTOR_ROWS", n)
    monkeypatch.setattr(solver, "FACTOR_PRODUCTS", 0)
    return objective.sample(n) if n < len(objective.rows) else objective


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_rows", [1, 4])
@n_classes
def test_fewer_rows_than_columns_give_the_same_inverse(
    rng, monkeypatch, n_classes, n_rows, fit_intercept
):
    objective = problem(rng, n_classes, fit_intercept=fit_intercept)
    assert n_rows < objective.shape[1]
    iterate, gradient = rng.normal(size=(2, *objective.shape))
    iterate[:, -1] *= fit_intercept
    gradient[:, -1] *= fit_intercept
    matrix = second_derivative(few_rows(monkeypatch, objective, n_rows), iterate)
    step = solver.factor_hessian(objective, iterate)(gradient)
    assert_allclose(step @ matrix, gradient, rtol=1e-6, atol=1e-8)
    assert step[:, -1].any() == fit_intercept


def test_rows_that_do_not_fit_in_memory_are_not_factored(rng, monkeypatch):
    objective = problem(rng)
    gradient = rng.normal(size=objective.shape)
    few_rows(monkeypatch, objective, 4)
    monkeypatch.setattr(solver, "_factor_gram_matrix", lambda *given: None)
    assert solver.factor_hessian(objective, objective.origin()) is None
    monkeypatch.setattr(solver, "working_memory", lambda: 4 * 5 * 8)
    step = solver.factor_hessian(objective, objective.origin())(gradient)
    assert np.isfinite(step).all()


def test_moments_are_not_copied_but_for_the_factor(rng):
    objective = SimpleNamespace(
        weights=np.ones(2), rounding=1e-12, penalty=0.1, fit_intercept=True
    )
    moments = np.eye(400)
    tracemalloc.start()
    try:
        solve = solver._factored_moments(moments, objective, is_last=True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * moments.nbytes
    assert_allclose(solve(np.ones((1, 400)))[0, [0, -1]], [1 / 0.6, 2], rtol=1e-9)


def test_many_columns_are_factored_in_groups(rng, monkeypatch):
    objective = problem(rng)
    iterate = rng.normal(size=objective.shape)
    gradient = rng.normal(size=objective.shape)
    monkeypatch.setattr(solver, "FACTOR_COLUMNS", 4)
    matrix = second_derivative(objective, iterate)
    matrix[:3, 3:] = matrix[3:, :3] = 0
    step = solver.factor_hessian(objective, iterate)(gradient)
    assert_allclose(step @ matrix, gradient, rtol=1e-8, atol=1e-10)


def test_a_singular_second_derivative_is_no_error(rng):
    objective = problem(rng, dtype="float32", penalty=0.0)
    twice = dataclasses.replace(
        objective,
        rows=Rows(np.repeat(objective.rows.data, 2, axis=1), HOST, "float32"),
        **{name: np.repeat(getattr(objective, name), 2) for name in ("mean", "var")},
        scale=np.repeat(objective.scale, 2),
    )
    step = solver.factor_hessian(twice, twice.origin())(rng.normal(size=twice.shape))
    assert np.isfinite(step).all()


@pytest.mark.parametrize(
    "path", ["all rows", "sample", "groups", "rows", "no factor", "on"]
)
@n_classes
def test_every_way_leads_to_the_minimum(rng, monkeypatch, n_classes, path):
    objective = problem(rng, n_classes, n=200)
    shape = objective.shape
    best = minimize(
        lambda flat: (lambda v, g: (v, g.ravel()))(*objective(flat.reshape(shape))),
        np.zeros(shape).ravel(),
        jac=True,
        options={"gtol": 1e-9},
    )
    if path in ("sample", "on"):
        monkeypatch.setattr(solver, "SAMPLED_VALUES", 0)
        monkeypatch.setattr(solver, "FACTOR_ROWS", 30)
        monkeypatch.setattr(solver, "FACTOR_PRODUCTS", 0)
    elif path == "groups":
        monkeypatch.setattr(solver, "FACTOR_COLUMNS", 2)
    elif path == "rows":
        few_rows(monkeypatch, objective, 5)
    elif path == "no factor":
        monkeypatch.setattr(solver, "FACTOR_WORTH", 0)
    start = best.x.reshape(shape) / 2 if path == "on" else None
    seen = []
    optimizer, is_done = solver.minimize(
        objective, start, 1e-16, 500, lambda *told: seen.append(told[1].share)
    )
    assert is_done
    assert_allclose(optimizer.values[-1], best.fun, rtol=1e-9)
    assert (min(seen) < 1) == (path == "sample")
    assert sum(objective.passes) > 1


def test_a_sample_has_every_class_and_only_rows_with_weight(rng):
    objective = problem(rng, 3, n=400)
    codes = np.where(np.arange(400) < 2, 2, np.arange(400) % 2)
    weights = np.where(np.arange(400) % 3 == 1, 0.0, 1.0)
    objective = dataclasses.replace(objective, codes=codes, weights=weights)
    sample, X = objective.sample(40), objective.rows.data
    assert_allclose(np.bincount(sample.codes), [20, 20, 1], atol=1)
    assert sample.weights.all()
    places = [np.flatnonzero((row == X).all(axis=1))[0] for row in sample.rows.data]
    assert_allclose(sample.codes, codes[places])
    assert np.all(np.diff(places) > 0)
    assert weights[places].all()
    assert_allclose(objective.sample(40).rows.data, sample.rows.data)
    assert_allclose(sample.share, 41 / 400, atol=0.003)


def test_the_start_knows_the_classes_shares(rng):
    objective = problem(rng, 3, n=300)
    shares = np.bincount(objective.codes, objective.weights)
    p, _ = probabilities(objective.origin()[:, -1][None])
    assert_allclose(p[0], shares / shares.sum(), rtol=1e-4)
    _, gradient = objective(objective.origin())
    assert_allclose(gradient[:, -1], 0, atol=1e-5)
