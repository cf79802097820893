"""L-BFGS for smooth convex functions, with a preconditioner that can be replaced."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

Function = Callable[[np.ndarray], tuple[float, np.ndarray]]
Preconditioner = Callable[[np.ndarray], np.ndarray]

MEMORY = 10  # stored pairs; 5 and 20 took as many passes on features of images
SUFFICIENT_DECREASE, CURVATURE = 1e-4, 0.9  # constants of the Wolfe conditions
MAX_EVALUATIONS = 25  # of the function, in one line search
THREADED_SIZE = 2**13  # length from which BLAS uses several threads for dot products


class LBFGS:
    """L-BFGS minimizer of a smooth convex function, run one step at a time.

    The two-loop recursion of [1]_ starts from a multiple of the preconditioner, which
    approximates the inverse Hessian. Each stored pair also keeps its preconditioned
    change of the gradient. A step therefore applies the preconditioner once, and
    usually evaluates the function once.

    Parameters
    ----------
    function : callable
        Takes an iterate; returns the value and the gradient there.
    start : ndarray, float64
        First iterate.
    precondition : callable
        Maps gradients to steps; linear, symmetric and positive definite.
    rounding : float, default=2.2e-16
        Relative rounding error of the function's values.

    Attributes
    ----------
    iterate, gradient : ndarrays
        Current iterate, and the gradient there.
    values : list of float
        Values of the function at the start and after every step.
    suboptimality : float
        Estimate of the current value minus the minimum: -g^T d / 2, with the gradient g
        and the next search direction d. It is exact for a quadratic function whose
        inverse Hessian is the preconditioner.
    is_stuck : bool
        True if the last line search failed, which rounding causes.

    References
    ----------
    .. [1] J. Nocedal, S. Wright, "Numerical Optimization", 2nd edition, 2006,
       algorithms 7.4 and 3.5 with approximate Wolfe conditions (equation 4.1) of
       W. Hager, H. Zhang, SIAM J. Optim. 16, 2005.
    """

    def __init__(
        self,
        function: Function,
        start: np.ndarray,
        precondition: Preconditioner,
        *,
        rounding: float = float(np.finfo(np.float64).eps),
    ) -> None:
        self.function, self.iterate = function, start
        value, self.gradient = function(start)
        self.values = [value]
        self.rounding = rounding
        self.is_stuck = False
        # (step s, change of the gradient y, preconditioned y, s^T y)
        self._pairs: deque[tuple[Any, ...]] = deque(maxlen=MEMORY)
        self.precondition = precondition

    @property
    def precondition(self) -> Preconditioner:
        """Approximation of the inverse Hessian; may be replaced between steps."""
        return self._precondition

    @precondition.setter
    def precondition(self, precondition: Preconditioner) -> None:
        self._precondition = precondition
        self._preconditioned = precondition(self.gradient)
        for _ in range(len(self._pairs)):
            step, change, _, _ = self._pairs.popleft()
            self._store_pair(step, change, precondition(change))
        self._update_direction()

    def step(self) -> None:
        """Do one line search, and move to the iterate that it finds."""
        found = self._line_search()
        if found is None and self._pairs:  # the stored pairs may be inaccurate
            self._pairs.clear()
            self._update_direction()
            found = self._line_search()
        self.is_stuck = found is None
        if found is None:
            return
        iterate, value, gradient = found
        preconditioned = self._precondition(gradient)
        step, change = iterate - self.iterate, gradient - self.gradient
        self._store_pair(step, change, preconditioned - self._preconditioned)
        self.iterate, self.gradient = iterate, gradient
        self.values.append(value)
        self._preconditioned = preconditioned
        self._update_direction()

    def aim(self, direction: np.ndarray) -> None:
        """Set the search direction of the next step, and estimate by it."""
        self._direction = direction
        self._slope = _dot(self.gradient, direction)
        self.suboptimality = -self._slope / 2

    def _store_pair(
        self, step: np.ndarray, change: np.ndarray, preconditioned: np.ndarray
    ) -> None:
        """Store a pair if its curvature is positive in spite of rounding."""
        curvature = _dot(step, change)
        if curvature > 0 and _dot(change, preconditioned) > 0:
            self._pairs.append((step, change, preconditioned, curvature))

    def _update_direction(self) -> None:
        """Compute the search direction, its slope and the suboptimality.

        The first loop updates the gradient and, by linearity, the preconditioned
        gradient, so that the preconditioner is not applied again.
        """
        rest, direction = self.gradient.copy(), self._preconditioned.copy()
        alphas = []
        for step, change, preconditioned, curvature in reversed(self._pairs):
            alpha = _dot(step, rest) / curvature
            alphas.append(alpha)
            rest -= alpha * change
            direction -= alpha * preconditioned
        if self._pairs:
            _, change, preconditioned, curvature = self._pairs[-1]
            direction *= curvature / _dot(change, preconditioned)
        for pair, alpha in zip(self._pairs, alphas[::-1], strict=True):
            step, change, _, curvature = pair
            direction += (alpha - _dot(change, direction) / curvature) * step
        self.aim(-direction)

    def _line_search(self) -> tuple[np.ndarray, float, np.ndarray] | None:
        """Find a step length that meets the (approximate) Wolfe conditions.

        Returns the new iterate with its value and gradient, or None on failure.
        """
        if not self._slope < 0:
            return None
        start, length = self.values[-1], 1.0
        noise = 10 * self.rounding * abs(start)
        # bracket of the step length: (length, value, slope) at each end
        low = (0.0, start, self._slope)
        high: tuple[float, float, float] | None = None
        for _ in range(MAX_EVALUATIONS):
            iterate = self.iterate + length * self._direction
            value, gradient = self.function(iterate)
            slope = _dot(gradient, self._direction)
            decreases = value <= start + SUFFICIENT_DECREASE * length * self._slope
            # near the minimum rounding hides the decrease, and the slope decides
            is_equal = value <= start + noise
            is_flat = slope <= (2 * SUFFICIENT_DECREASE - 1) * self._slope
            if not (decreases or (is_equal and is_flat)):
                high = (length, value, slope)
            elif slope < CURVATURE * self._slope:
                low = (length, value, slope)
            else:
                return iterate, value, gradient
            length = 4 * length if high is None else _interpolate(low, high)
        return None


def _dot(left: np.ndarray, right: np.ndarray) -> float:
    """Return the dot product; for long arrays without BLAS, whose threads are slow."""
    if left.size < THREADED_SIZE:
        return float(np.vdot(left, right))
    return float(np.einsum("i,i->", left.ravel(), right.ravel()))


def _interpolate(low: tuple[float, ...], high: tuple[float, ...]) -> float:
    """Minimize the cubic through two values and slopes.

    This is equation 3.59 of Nocedal and Wright. The result keeps a distance of a tenth
    of the bracket from its ends.
    """
    (start, value, slope), (end, end_value, end_slope) = low, high
    width = end - start
    d1 = slope + end_slope - 3 * (end_value - value) / width
    discriminant = d1 * d1 - slope * end_slope
    length = (start + end) / 2
    if np.isfinite(discriminant) and discriminant > 0:
        d2 = np.sqrt(discriminant)
        length = end - width * ((end_slope + d2 - d1) / (end_slope - slope + 2 * d2))
    # fmax and fmin replace NaN, which overflow causes, by the lower bound
    return float(np.fmin(np.fmax(length, start + 0.1 * width), end - 0.1 * width))
