"""How the softmax is minimized: a sample of the rows first, then a factor for all."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import scipy.linalg

from skdmn.linear_model.lbfgs import LBFGS, Preconditioner
from skdmn.linear_model.objective import Objective
from skdmn.utils.array_api import Array, to_numpy, working_memory
from skdmn.utils.threads import single_blas

SAMPLE_SHARE = 1 / 4
SAMPLE_BYTES = 256 * 2**20  # at most, as floats: it is copied
SAMPLED_VALUES = 2**22  # of fewer, all rows take as little time
SAMPLE_GAP = 1e-3  # to which a sample is worth minimizing, relative to its value
PLAIN_STEPS = 8  # before the factor, whose weights are the probabilities then
FACTOR_STEPS = 30  # after which a factor is out of date

SMALL = 128  # columns, of which BLAS takes one thread by itself
FACTOR_COLUMNS = 8192  # of one group: 256 MiB in float32
FACTOR_ROWS = 4096  # at least, where there are so many
FEW_ROWS = 2048  # of more columns than that, whose own products are factored then
FACTOR_PRODUCTS = 2e10  # of more rows, at most: a fraction of a second
FACTOR_WORTH = 1000  # passes, in products, that a factor may cost

_LATELY = 5  # steps that must have gained little before the end
_GAINED = 10  # times the tolerance
_PATIENCE = 15  # steps that find no smaller gap, where rounding may be the reason

Report = Callable[[LBFGS, Objective], bool]


def minimize(
    objective: Objective,
    start: np.ndarray | None,
    tol: float,
    max_iter: int,
    report: Report,
) -> tuple[LBFGS, bool]:
    """Minimize the softmax's objective.

    A quarter of the rows is minimized roughly first: by some plain L-BFGS steps, then
    by L-BFGS preconditioned with the factored second derivative at the point reached.
    The same factor then serves for all rows. Where values are few, all rows are taken
    from the beginning; where there is a point to go on from, the factor is made there.

    Parameters
    ----------
    objective : Objective
    start : ndarray of shape (n_outputs, n_features + 1) or None
        A point to go on from.
    tol : float
        Estimated distance to the minimum at which to stop, relative to the value.
    max_iter : int
        Steps over all rows at most; over the sample, too.
    report : callable
        Told of every step; ends the fit where it returns True.

    Returns
    -------
    search : LBFGS
        Its last point is the solution.
    is_done : bool
        Whether it ended for another reason than `max_iter`, or being stuck above
        rounding.
    """
    head, precondition = _head(objective), objective.diagonal()
    search = None
    point = objective.origin() if start is None else start
    if start is None:
        search = _search(head, point, precondition)
        is_done = _descend(search, head, tol, min(PLAIN_STEPS, max_iter), report)
        if is_done and head is objective:
            return search, True
        point = search.point
    if _is_worth_a_factor(objective):
        precondition = factor(head, point)
    if search is not None:
        search.precondition = precondition
    if search is not None and head is not objective:
        _descend(search, head, SAMPLE_GAP, max_iter, report)
        point, search = search.point, None
    search = search or _search(objective, point, precondition)
    while _is_worth_a_factor(objective):
        n_steps = min(max_iter, len(search.values) - 1 + FACTOR_STEPS)
        is_done = _descend(search, objective, tol, n_steps, report)
        if is_done or search.is_stuck or n_steps == max_iter:
            return search, is_done
        search.precondition = factor(head, search.point)
    return search, _descend(search, objective, tol, max_iter, report)


def factor(objective: Objective, point: np.ndarray) -> Preconditioner:
    """Return the inverse of the second derivative near a point, factored.

    The matrix A^T A + penalty, with A from `curvature_blocks`, stands for every class's
    block of the second derivative; what one class does to another is left out, and rows
    where there are many. Where the rows are fewer than the columns, A A^T is factored
    instead, if memory is enough for A; else more columns than `FACTOR_COLUMNS` are
    factored in groups.

    Parameters
    ----------
    objective : Objective
    point : ndarray of shape (n_outputs, n_features + 1)
    """
    n_columns = objective.shape[1]
    by_rows = _by_rows(objective)
    n_rows = FEW_ROWS if by_rows else _factor_rows(objective)
    some = objective.sample(n_rows) if n_rows < len(objective.rows) else objective
    if by_rows:
        return _factor_of_rows(some, point)
    n_groups = -(-n_columns // _factor_columns(objective))
    edges = np.linspace(0, n_columns, n_groups + 1).astype(int)
    groups = [slice(*edge) for edge in itertools.pairwise(edges)]
    moments: list[Array] = [0.0] * n_groups
    for part in some.curvature_blocks(point):
        for number, group in enumerate(groups):
            moments[number] += part[:, group].T @ part[:, group]
    factors = [
        _cholesky(to_numpy(moment), some, last=group.stop == n_columns)
        for group, moment in zip(groups, moments, strict=True)
    ]

    def precondition(gradient: np.ndarray) -> np.ndarray:
        step = np.empty_like(gradient)
        for group, matrix in zip(groups, factors, strict=True):
            right = gradient[:, group].T.astype(matrix.dtype)
            # few columns: a second thread gains little, and where cores are shared
            # it costs ten times as much
            with single_blas() if len(matrix) > SMALL else nullcontext():
                solved = scipy.linalg.cho_solve(
                    (matrix, True), right, overwrite_b=True, check_finite=False
                )
            step[:, group] = solved.T
        return step

    return precondition


def _factor_of_rows(objective: Objective, point: np.ndarray) -> Preconditioner:
    """Return the same inverse from the products of rows with each other.

    ``(A^T A + c)^-1 g = (g - A^T (A A^T + c)^-1 A g) / c``. The intercept, on which
    there is no penalty, is eliminated first.
    """
    rows = np.empty((len(objective.rows), objective.shape[1]), objective.rows.dtype)
    end = 0
    for block in objective.curvature_blocks(point):
        start, end = end, end + len(block)
        rows[start:end] = to_numpy(block)
    rows = rows[:end]  # of blocks elsewhere no more than fit in memory here
    rows /= np.asarray(math.sqrt(objective.weights.sum()), rows.dtype)
    rows, intercept = rows[:, :-1], rows[:, -1]
    products = rows @ rows.T
    # rounding of the difference must not decide its sign
    largest = np.linalg.norm(products, np.inf)
    c = objective.penalty + 10 * objective.rounding * float(largest)
    products.flat[:: len(products) + 1] += c
    matrix = scipy.linalg.cholesky(products, lower=True, check_finite=False)

    def solved(right: np.ndarray) -> np.ndarray:
        with single_blas() if len(matrix) > SMALL else nullcontext():
            return scipy.linalg.cho_solve((matrix, True), right, check_finite=False)

    slope, rest = np.zeros(rows.shape[1], rows.dtype), 0.0
    if objective.fit_intercept:
        by_intercept = solved(intercept)
        slope, rest = by_intercept @ rows, float(c * (intercept @ by_intercept))

    def precondition(gradient: np.ndarray) -> np.ndarray:
        right = gradient[:, :-1].astype(rows.dtype)
        step = np.empty_like(gradient)
        step[:, :-1] = (right - solved(rows @ right.T).T @ rows) / c
        step[:, -1] = (gradient[:, -1] - right @ slope) / (rest or 1.0)
        step[:, :-1] -= step[:, -1:] * slope
        return step

    return precondition


def _cholesky(moments: np.ndarray, objective: Objective, last: bool) -> np.ndarray:
    """Return the lower factor of the means of moments, with the penalty."""
    matrix = moments / moments.dtype.type(objective.weights.sum())
    diagonal = np.einsum("ii->i", matrix)
    # all columns may be constant
    mean, ridge = float(diagonal.mean()) or 1.0, objective.rounding
    diagonal += objective.penalty
    if last:
        diagonal[-1] -= objective.penalty
        if not objective.fit_intercept:
            matrix[-1, :-1] = matrix[:-1, -1] = 0.0
            diagonal[-1] = 1.0
    while True:
        diagonal += ridge * mean
        try:
            return scipy.linalg.cholesky(matrix, lower=True, check_finite=False)
        except np.linalg.LinAlgError:  # rounding; the next ridge is larger
            ridge *= 10


def sample_bytes() -> int:
    """Return how much memory a sample may take."""
    return min(SAMPLE_BYTES, working_memory() // 2)


def _factor_rows(objective: Objective) -> int:
    """Return how many rows a factor of columns is made from, at most."""
    return max(FACTOR_ROWS, int(FACTOR_PRODUCTS / objective.shape[1] ** 2))


def _by_rows(objective: Objective) -> bool:
    """Whether rows are factored: fewer than the columns, and not too many to hold."""
    n = len(objective.rows)
    is_wide = min(_factor_rows(objective), n) < objective.shape[1]
    fits = 2 * min(FEW_ROWS, n) * objective.rows.row_bytes <= working_memory()
    return is_wide and fits


def _factor_columns(objective: Objective) -> int:
    """Return how many columns are factored together, within the working memory."""
    value = objective.rows.row_bytes // objective.rows.n_features
    return max(1, min(FACTOR_COLUMNS, math.isqrt(working_memory() // (2 * value))))


def _head(objective: Objective) -> Objective:
    """Return a sample of the rows where there are many."""
    rows = objective.rows
    size = min(int(SAMPLE_SHARE * len(rows)), sample_bytes() // rows.row_bytes)
    is_small = len(rows) * rows.n_features < SAMPLED_VALUES
    return objective if is_small or size < rows.n_features else objective.sample(size)


def _is_worth_a_factor(objective: Objective) -> bool:
    """Whether a factor costs less than the passes that it saves."""
    outputs, columns = objective.shape
    side = min(columns, _factor_columns(objective))
    return side**2 <= FACTOR_WORTH * len(objective.rows) * outputs


def _search(
    objective: Objective, point: np.ndarray, precondition: Preconditioner
) -> LBFGS:
    return LBFGS(objective, point, precondition, rounding=objective.rounding)


def _descend(
    search: LBFGS, objective: Objective, tol: float, n_steps: int, report: Report
) -> bool:
    """Step until the tolerance, or rounding, is reached; return whether it was."""
    least, since = np.inf, 0
    while not _is_near(search, tol, objective.rounding):
        if len(search.values) > n_steps:
            return False
        search.step()
        is_rounding = search.gap <= 100 * objective.rounding * search.values[-1]
        if search.is_stuck:
            return is_rounding
        if report(search, objective):
            return True
        least, since = min(least, search.gap), 0 if search.gap < least else since + 1
        if is_rounding and since >= _PATIENCE:
            return True
    return True


def _is_near(search: LBFGS, tol: float, rounding: float) -> bool:
    """Whether the estimated gap is small, and little was gained lately.

    The estimate varies from step to step by a factor of several; what the last steps
    gained speaks for slow progress where there is no factor.
    """
    value = search.values[-1]
    gained = search.values[-1 - _LATELY :][0] - value
    is_start = len(search.values) <= 1
    if is_start or search.gap > tol * value:
        return False
    return gained <= max(_GAINED * tol, 4 * rounding) * value or search.gap == 0
