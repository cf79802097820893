"""Solver of softmax regression: L-BFGS, preconditioned by a factored Hessian."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from contextlib import nullcontext

import array_api_compat
import numpy as np
import scipy.linalg

from skdmn.linear_model.lbfgs import LBFGS, Preconditioner
from skdmn.linear_model.objective import Objective
from skdmn.utils.array_api import (
    HOST,
    Array,
    Backend,
    to_backend,
    to_numpy,
    working_memory,
)
from skdmn.utils.threads import single_blas

# The sample of rows that is minimized first
SAMPLE_SHARE = 1 / 4
SAMPLE_BYTES = 256 * 2**20  # maximum size as floats, because the sample is a copy
SAMPLED_VALUES = 2**22  # data with fewer values are not sampled: no time is saved
SAMPLE_TOL = 1e-3  # relative suboptimality at which the sample is abandoned

# L-BFGS steps
PLAIN_STEPS = 8  # before the first factorization, which needs rough probabilities
FACTOR_STEPS = 30  # on all rows, after which the factor is computed anew

# Factorizations of the Hessian
SINGLE_THREAD_COLUMNS = 128  # up to which BLAS solves with one thread anyway
SINGLE_THREAD_FACTOR = 1024  # up to which more threads hardly help to factor
FACTOR_COLUMNS = 8192  # columns factored together: 256 MiB in float32
FACTOR_ROWS = 4096  # rows that the Hessian is summed from; more if columns are few
FACTOR_PRODUCTS = 2e10  # bound on rows * columns**2 of that sum: a fraction of a second
FEW_ROWS = 2048  # rows of the Gram matrix that is factored if there are more columns
FACTOR_WORTH = 1000  # highest cost of a factor, relative to a pass over the data

# The whole Hessian, which is factored if coefficients are few
WHOLE_COEFFICIENTS = 256  # of all classes: its products are those of 64 passes
WHOLE_PRODUCTS = 2e9  # bound on (rows + coefficients) * coefficients**2

# Convergence
_RECENT_STEPS = 5  # whose total decrease has to be small
_RECENT_DECREASE = 10  # in units of the tolerance
_PATIENCE = 15  # steps without progress, near the rounding error, before stopping
_CERTAIN = 3  # suboptimality that is confirmed, in units of the tolerance
_MARGIN = 4  # factor by which the tolerance of the estimate falls if it was too small
_SMALL_GAIN = 0.1  # share of the decrease at which conjugate gradients stop
_SMALL_CHANGE = 1.0  # of logits, during which the Hessian hardly changes

Report = Callable[[LBFGS, Objective], bool]


def minimize(
    objective: Objective,
    start: np.ndarray | None,
    tol: float,
    max_iter: int,
    report: Report,
) -> tuple[LBFGS, bool]:
    """Minimize the objective of softmax regression.

    A quarter of the rows is minimized roughly first: a few L-BFGS steps with a diagonal
    preconditioner, then L-BFGS preconditioned by the factored Hessian at the current
    iterate. The same factor then preconditions the minimization over all rows. Small
    data are not sampled. With a `start`, the sample only serves to compute the factor
    there.

    Parameters
    ----------
    objective : Objective
    start : ndarray of shape (n_outputs, n_features + 1) or None
        First iterate, from an earlier fit. It is not used if equal probabilities for
        all classes are better.
    tol : float
        Estimated suboptimality at which to stop, relative to the value.
    max_iter : int
        Maximum number of steps over all rows, and also of those over the sample.
    report : callable
        Called after every step; returns True to stop.

    Returns
    -------
    optimizer : LBFGS
        Its iterate is the solution.
    is_done : bool
        False if `max_iter` stopped it, or if a line search failed at a suboptimality
        that rounding does not explain.
    """
    sample, precondition = _sample_of(objective), objective.diagonal()
    optimizer = None
    if start is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            optimizer = _optimizer(objective, start, precondition)
        # far from the optimum, rounding errors would hide that the value decreases
        if not optimizer.values[0] <= math.log(objective.n_classes):
            optimizer = None
    is_warm = optimizer is not None
    if optimizer is None:
        optimizer = _optimizer(sample, objective.origin(), precondition)
        n_steps = min(PLAIN_STEPS, max_iter)
        has_factor = _is_factor_worthwhile(objective)
        is_done = _run(optimizer, sample, 0.0 if has_factor else tol, n_steps, report)
        if is_done and sample is objective:
            return optimizer, True
    if _is_factor_worthwhile(objective):
        precondition = factor_hessian(sample, optimizer.iterate)
        optimizer.precondition = precondition
    if not is_warm and sample is not objective:
        _run(optimizer, sample, SAMPLE_TOL, max_iter, report)
        optimizer = _optimizer(objective, optimizer.iterate, precondition)
    confirm = _Confirmation(objective, sample, tol)
    while _is_factor_worthwhile(objective):
        n_steps = min(max_iter, len(optimizer.values) - 1 + FACTOR_STEPS)
        is_done = _run(optimizer, objective, tol, n_steps, report, confirm)
        if is_done or optimizer.is_stuck or n_steps == max_iter:
            return optimizer, is_done
        confirm.improve(optimizer)
    return optimizer, _run(optimizer, objective, tol, max_iter, report, confirm)


class _Confirmation:
    """Confirm an estimated suboptimality by a bound, or by the Hessian at the iterate.

    The optimizer's estimate relies on a preconditioner, whose curvature belongs to an
    earlier iterate and lacks the blocks between classes. It is much too small if the
    curvature is now smaller in some direction. The curvature in the coefficients is at
    least the penalty, so that their gradient g bounds the suboptimality by
    |g|**2 / (2 penalty); the intercepts have no penalty, and rely on the estimate. If
    the bound is too large, the Newton step of the Hessian itself tells how far the
    quadratic model decreases. Along that step the logits must not change much, because
    the second derivative of the loss changes by a factor of up to exp(c) if they change
    by c, as in the theory of self-concordance of [1]_. If the suboptimality is not
    confirmed, the optimizer takes that step.

    The Newton step is exact if the coefficients are few. Otherwise conjugate gradients
    compute it, with all rows if these are few, else with a sample of rows.

    Parameters
    ----------
    objective, sample : Objective
        All rows, and the sample that factors are computed from.
    tol : float
        Suboptimality to confirm, relative to the value.

    References
    ----------
    .. [1] F. Bach, "Self-concordant analysis for logistic regression", Electronic
       Journal of Statistics 4, 2010.
    """

    def __init__(self, objective: Objective, sample: Objective, tol: float) -> None:
        self.objective, self.sample, self.tol = objective, sample, tol
        self._margin = 1.0  # by which estimates were too small

    @functools.cached_property
    def _all_rows(self) -> Objective:
        """The objective, with a copy of the rows if they are on other computers."""
        return self.objective.in_memory(len(self.objective.rows))

    @functools.cached_property
    def _checked(self) -> Objective:
        """The objective whose Hessian confirms: at least as many rows as columns."""
        n_rows = max(FACTOR_ROWS, self.sample.shape[1])
        is_copy = self.sample is not self.objective
        if is_copy and len(self.sample.rows) < 2 * n_rows:
            return self.sample  # a second copy would cost memory and save little time
        return self.sample.in_memory(n_rows)

    def is_certain(self, optimizer: LBFGS) -> bool:
        """Return True if the bound on the suboptimality is small, without a pass."""
        squares = float(np.sum(optimizer.gradient[:, :-1] ** 2))
        allowed = _CERTAIN * self.tol * optimizer.values[-1]
        return squares <= 2 * self.objective.penalty * allowed

    def __call__(self, optimizer: LBFGS) -> bool:
        """Return True if the suboptimality is small; else improve the factor."""
        if optimizer.suboptimality == 0:
            return True
        value = optimizer.values[-1]
        if self._margin * optimizer.suboptimality > self.tol * value:
            return False
        if self.is_certain(optimizer):
            return True
        is_small = has_few_coefficients(self.objective)
        if is_small:
            self.improve(optimizer)
            checked, allowed = self._all_rows, _CERTAIN * self.tol * value
            step = -optimizer.precondition(optimizer.gradient)
            decrease = -float(np.vdot(optimizer.gradient, step)) / 2
        else:
            checked = self._checked
            if checked.share == 1.0:
                times, enough, window, most = _CERTAIN, math.inf, 15, 200
            else:  # a sample is large: it has to be cheap, and is not exact anyway
                times, enough, window, most = 10, 10 * self.tol * value, 2, 8
            allowed = times * self.tol * value
            hessian = checked.hessian(optimizer.iterate)
            decrease, step = newton_decrease(hessian, optimizer, enough, window, most)
        if (
            decrease <= allowed
            and checked.logit_change(optimizer.iterate, step) <= _SMALL_CHANGE
        ):
            return True
        self._margin *= _MARGIN
        if not is_small:
            self.improve(optimizer)
        if checked.share == 1.0 and decrease > 0:
            optimizer.aim(step)
        return False

    def improve(self, optimizer: LBFGS) -> None:
        """Factor the Hessian at the iterate, to precondition the next steps."""
        if has_few_coefficients(self.objective):
            factor = factor_whole_hessian(self._all_rows, optimizer.iterate)
        elif _is_factor_worthwhile(self.objective):
            factor = factor_hessian(self.sample, optimizer.iterate)
        else:
            return
        optimizer.precondition = factor


def newton_decrease(
    hessian: Callable[[np.ndarray], np.ndarray],
    optimizer: LBFGS,
    enough: float,
    window: int,
    most: int,
) -> tuple[float, np.ndarray]:
    """Minimize the quadratic model of the objective by conjugate gradients.

    Parameters
    ----------
    hessian : callable
        Multiplies the Hessian H of the model with a direction.
    optimizer : LBFGS
        Its gradient g and preconditioner are used.
    enough : float
        Stop if the decrease exceeds this.
    window : int
        Number of steps; stop if they have added less than `_SMALL_GAIN` of the sum.
    most : int
        Maximum number of steps.

    Returns
    -------
    decrease : float
        Approaches g^T H^-1 g / 2 from below; conjugate gradients stop when their last
        steps hardly change it.
    step : ndarray, the shape of the iterate
        The step to the minimum of the model, -H^-1 g, approximately.
    """
    rest = -optimizer.gradient
    step, direction = np.zeros_like(rest), optimizer.precondition(rest)
    product, gains = float(np.vdot(rest, direction)), [0.0]
    for _ in range(most):
        image = hessian(direction)
        curvature = float(np.vdot(direction, image))
        if not (product > 0 and curvature > 0):  # rounding
            break
        length = product / curvature
        step += length * direction
        gains.append(length * product / 2)
        recent = sum(gains[-window:])
        if sum(gains) > enough or recent < _SMALL_GAIN * sum(gains):
            break
        rest -= length * image
        preconditioned = optimizer.precondition(rest)
        previous, product = product, float(np.vdot(rest, preconditioned))
        direction = preconditioned + product / previous * direction
    return sum(gains), step


def factor_hessian(objective: Objective, iterate: np.ndarray) -> Preconditioner:
    """Return the inverse of an approximate Hessian, by Cholesky factorization.

    The Hessian is approximated by the same block A^T A + penalty for every class, with
    A from `curvature_blocks`. Blocks between classes are left out, and A holds a sample
    of the rows if there are many. Columns beyond `FACTOR_COLUMNS` are factored in
    groups, without the blocks between groups. If rows are fewer than columns and A fits
    in memory, the Gram matrix A A^T is factored instead.

    Parameters
    ----------
    objective : Objective
    iterate : ndarray of shape (n_outputs, n_features + 1)

    Returns
    -------
    callable
        Maps gradients to steps.
    """
    n_columns = objective.shape[1]
    by_rows = _uses_gram_matrix(objective)
    n_rows = FEW_ROWS if by_rows else _factor_rows(objective)
    sample = objective.sample(n_rows) if n_rows < len(objective.rows) else objective
    if by_rows:
        return _factor_gram_matrix(sample, iterate)
    n_groups = -(-n_columns // _factor_columns(objective))
    edges = np.linspace(0, n_columns, n_groups + 1).astype(int)
    groups = [slice(*edge) for edge in itertools.pairwise(edges)]
    moments: list[Array] = [0.0] * n_groups
    for part in sample.curvature_blocks(iterate):
        for number, group in enumerate(groups):
            moments[number] += part[:, group].T @ part[:, group]
    backend, dtype = _factor_backend(objective), objective.rows.dtype
    solvers = [
        _factored_moments(
            to_backend(moment, backend), sample, is_last=group.stop == n_columns
        )
        for group, moment in zip(groups, moments, strict=True)
    ]

    def precondition(gradient: np.ndarray) -> np.ndarray:
        step = np.empty_like(gradient)
        for group, solve in zip(groups, solvers, strict=True):
            right = to_backend(gradient[:, group].astype(dtype), backend)
            step[:, group] = to_numpy(solve(right))
        return step

    return precondition


def has_few_coefficients(objective: Objective) -> bool:
    """Return True if the whole Hessian is small, and fast to compute."""
    size = math.prod(objective.shape)
    products = (len(objective.rows) + size) * size**2
    return size <= WHOLE_COEFFICIENTS and products <= WHOLE_PRODUCTS


def factor_whole_hessian(objective: Objective, iterate: np.ndarray) -> Preconditioner:
    """Return the inverse of the Hessian, including the blocks between classes.

    The Hessian is scaled to a diagonal of ones, so that its factor is accurate for
    columns of any scale.

    Parameters
    ----------
    objective : Objective
        `has_few_coefficients` is True for it.
    iterate : ndarray of shape (n_outputs, n_features + 1)

    Returns
    -------
    callable
        Maps gradients to Newton steps.
    """
    matrix = objective.second_derivative(iterate)
    n_outputs, n_columns = objective.shape
    # intercepts have no penalty, and no curvature if all rows are classified without
    # a doubt; a change of all of them by the same number has no effect
    intercepts = matrix[n_columns - 1 :: n_columns, n_columns - 1 :: n_columns]
    intercepts += objective.rounding * np.eye(n_outputs) + (n_outputs > 1)
    scale = np.sqrt(np.diag(matrix))
    scale[scale == 0] = 1.0  # constant columns without a penalty
    matrix /= scale
    matrix /= scale[:, np.newaxis]
    solve = _factored_with_ridge(matrix, objective.rounding)

    def precondition(gradient: np.ndarray) -> np.ndarray:
        right = (gradient.ravel() / scale)[np.newaxis]
        return (solve(right)[0] / scale).reshape(gradient.shape)

    return precondition


def preconditioner(
    objective: Objective, sample: Objective, iterate: np.ndarray
) -> Preconditioner:
    """Return the factor of a sample's Hessian, or a diagonal if that is faster."""
    if _is_factor_worthwhile(objective):
        return factor_hessian(sample, iterate)
    return objective.diagonal()


def factor_sample(objective: Objective) -> Objective:
    """Return the objective of the rows that a factor is computed from, as a copy.

    If many factors are computed, the rows are then read only once.
    """
    n_columns = objective.shape[1]
    by_rows = _uses_gram_matrix(objective)
    n_rows = FEW_ROWS if by_rows else max(FACTOR_ROWS, n_columns)
    return objective.in_memory(n_rows)


def _factor_gram_matrix(objective: Objective, iterate: np.ndarray) -> Preconditioner:
    """Return the inverse of the approximate Hessian from the rows' Gram matrix.

    This is the Woodbury identity
    ``(A^T A + c)^-1 g = (g - A^T (A A^T + c)^-1 A g) / c``.
    The intercept has no penalty c, so it is eliminated first.
    """
    backend, dtype = _factor_backend(objective), objective.rows.dtype
    xp, device = backend
    shape = (len(objective.rows), objective.shape[1])
    rows, end = xp.empty(shape, dtype=getattr(xp, dtype), device=device), 0
    for block in objective.curvature_blocks(iterate):
        start, end = end, end + len(block)
        rows[start:end, ...] = to_backend(block, backend)
    rows = rows[:end, ...]  # distributed rows yield only a sample that fits in memory
    rows /= rows.dtype.type(math.sqrt(objective.weights.sum()))
    rows, intercept = rows[:, :-1], rows[:, -1]
    gram = rows @ rows.T
    # a larger c keeps the preconditioner positive definite in spite of rounding in the
    # difference above
    # it is 0 if all rows are classified without a doubt
    largest = float(xp.max(xp.sum(xp.abs(gram), axis=1))) or 1.0
    c = objective.penalty + 10 * objective.rounding * largest
    _diagonal(gram)[:] += c
    solve = _factored(gram)

    # Schur complement of the intercept
    coupling, complement = xp.zeros_like(rows[0, :]), 0.0
    if objective.fit_intercept:
        solved = solve(xp.asarray(intercept[None, :], copy=True))[0, :]
        coupling, complement = solved @ rows, float(c * (intercept @ solved))
    coupling_here = to_numpy(coupling)

    def precondition(gradient: np.ndarray) -> np.ndarray:
        right = to_backend(gradient[:, :-1].astype(dtype), backend)
        step = np.empty_like(gradient)
        step[:, :-1] = to_numpy((right - solve((rows @ right.T).T) @ rows) / c)
        step[:, -1] = gradient[:, -1] - to_numpy(right @ coupling)
        step[:, -1] /= complement or 1.0
        step[:, :-1] -= step[:, -1:] * coupling_here
        return step

    return precondition


def _factor_backend(objective: Objective) -> Backend:
    """Return where the Hessian is factored: on a GPU through CuPy, or on the host."""
    compute = objective.rows.compute
    return compute if array_api_compat.is_cupy_namespace(compute.xp) else HOST


def _factored(matrix: Array) -> Callable[[Array], Array]:
    """Return the inverse of a symmetric matrix, by Cholesky factorization.

    Returns
    -------
    callable
        Maps rows (k, n) to rows, with the array namespace and device of the matrix. It
        may overwrite its argument.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the matrix is not positive definite.
    """
    if array_api_compat.is_cupy_array(matrix):
        from skdmn.kernels.cuda.cholesky import inverse_factor

        inverse = inverse_factor(matrix)
        return lambda right: (right @ inverse.T) @ inverse
    # threads of BLAS wait for each other in every block of columns: if other processes
    # use the cores, two threads take ten times as long as one
    is_medium = SINGLE_THREAD_COLUMNS < len(matrix) <= SINGLE_THREAD_FACTOR
    with single_blas() if is_medium else nullcontext():
        factor = scipy.linalg.cholesky(matrix, lower=True, check_finite=False)
    return lambda right: _solve(factor, right.T, overwrite_b=True).T


def _solve(
    factor: np.ndarray, right: np.ndarray, overwrite_b: bool = False
) -> np.ndarray:
    """Solve linear equations with a lower Cholesky factor, in one thread.

    There are few right-hand sides: a second thread gains little, and costs ten times as
    much if other processes use the cores.
    """
    with single_blas() if len(factor) > SINGLE_THREAD_COLUMNS else nullcontext():
        return scipy.linalg.cho_solve(
            (factor, True), right, overwrite_b=overwrite_b, check_finite=False
        )


def _factored_moments(
    moments: Array, objective: Objective, is_last: bool
) -> Callable[[Array], Array]:
    """Return the inverse of averaged moments plus the penalty; see `_factored`.

    The last column of the last group is the intercept, which has no penalty. The
    moments are overwritten, because they may take as much memory as the rest of a fit.
    """
    matrix = moments
    matrix /= matrix.dtype.type(objective.weights.sum())
    diagonal = _diagonal(matrix)
    # the mean is 0 if all columns are constant
    mean = float(diagonal.mean()) or 1.0
    diagonal += objective.penalty
    if is_last:
        diagonal[-1] -= objective.penalty
        if not objective.fit_intercept:
            matrix[-1, :-1] = matrix[:-1, -1] = 0.0
            diagonal[-1] = 1.0
    return _factored_with_ridge(matrix, objective.rounding * mean)


def _factored_with_ridge(matrix: Array, ridge: float) -> Callable[[Array], Array]:
    """Return the inverse after a ridge was added to the diagonal; see `_factored`."""
    while True:
        _diagonal(matrix)[:] += ridge
        try:
            return _factored(matrix)
        except np.linalg.LinAlgError:  # indefinite by rounding: add a larger ridge
            ridge *= 10


def _diagonal(matrix: Array) -> Array:
    """Return a view of the diagonal of a C-contiguous matrix."""
    return matrix.reshape(-1)[:: len(matrix) + 1]


def sample_bytes() -> int:
    """Return the maximum size of a sample of the rows, in bytes."""
    return min(SAMPLE_BYTES, working_memory() // 2)


def _factor_rows(objective: Objective) -> int:
    """Return the maximum number of rows that the Hessian is summed from."""
    return max(FACTOR_ROWS, int(FACTOR_PRODUCTS / objective.shape[1] ** 2))


def _uses_gram_matrix(objective: Objective) -> bool:
    """Return True if the Gram matrix of rows is smaller, and the rows fit in memory."""
    n = len(objective.rows)
    is_wide = min(_factor_rows(objective), n) < objective.shape[1]
    fits = 2 * min(FEW_ROWS, n) * objective.rows.row_bytes <= working_memory()
    return is_wide and fits


def _factor_columns(objective: Objective) -> int:
    """Return how many columns are factored together, within the working memory."""
    value_bytes = objective.rows.row_bytes // objective.rows.n_features
    side = math.isqrt(working_memory() // (2 * value_bytes))
    return max(1, min(FACTOR_COLUMNS, side))


def _sample_of(objective: Objective) -> Objective:
    """Return the objective of a sample of the rows, or itself if rows are few."""
    rows = objective.rows
    size = min(int(SAMPLE_SHARE * len(rows)), sample_bytes() // rows.row_bytes)
    is_small = len(rows) * rows.n_features < SAMPLED_VALUES
    return objective if is_small or size < rows.n_features else objective.sample(size)


def _is_factor_worthwhile(objective: Objective) -> bool:
    """Return True if a factor costs less than the passes that it saves."""
    outputs, columns = objective.shape
    side = min(columns, _factor_columns(objective))
    return side**2 <= FACTOR_WORTH * len(objective.rows) * outputs


def _optimizer(
    objective: Objective, iterate: np.ndarray, precondition: Preconditioner
) -> LBFGS:
    return LBFGS(objective, iterate, precondition, rounding=objective.rounding)


def _run(
    optimizer: LBFGS,
    objective: Objective,
    tol: float,
    n_steps: int,
    report: Report,
    confirm: Callable[[LBFGS], bool] = lambda optimizer: True,
) -> bool:
    """Step until convergence; return True if the tolerance or rounding stopped it.

    `n_steps` bounds all steps of the optimizer, including those of earlier calls.
    `confirm` is asked when the estimated suboptimality is small enough.
    """
    least, n_without_progress = np.inf, 0
    while not (
        _is_converged(optimizer, tol, objective.rounding) and confirm(optimizer)
    ):
        if len(optimizer.values) > n_steps:
            return False
        optimizer.step()
        suboptimality = optimizer.suboptimality
        near_rounding = suboptimality <= 100 * objective.rounding * optimizer.values[-1]
        if optimizer.is_stuck:
            return near_rounding
        if report(optimizer, objective):
            return True
        n_without_progress = 0 if suboptimality < least else n_without_progress + 1
        least = min(least, suboptimality)
        if near_rounding and n_without_progress >= _PATIENCE:
            return True
    return True


def _is_converged(optimizer: LBFGS, tol: float, rounding: float) -> bool:
    """Return True if the estimated suboptimality and the recent decrease are small.

    The estimate varies by a factor of several from step to step, and may be too small
    with a diagonal preconditioner. The recent decrease tells if progress is slow.
    """
    value = optimizer.values[-1]
    decrease = optimizer.values[-1 - _RECENT_STEPS :][0] - value
    is_start = len(optimizer.values) <= 1
    if is_start or optimizer.suboptimality > tol * value:
        return False
    allowed = max(_RECENT_DECREASE * tol, 4 * rounding) * value
    return decrease <= allowed or optimizer.suboptimality == 0
