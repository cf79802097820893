"""L-BFGS for smooth convex functions, with a preconditioner that may change midway."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

Function = Callable[[np.ndarray], tuple[float, np.ndarray]]
Preconditioner = Callable[[np.ndarray], np.ndarray]

MEMORY = 10  # steps remembered; 5 and 20 took as many passes on features of images
DECREASE, CURVATURE = 1e-4, 0.9  # of the Wolfe conditions
TRIALS = 25  # points that a line search looks at
ALONE = 2**13  # products for which BLAS takes one thread


class LBFGS:
    """Minimizes a smooth convex function, one step at a time.

    The two loops of [1]_ start from a multiple of the preconditioner, which stands for
    the inverse of the function's second derivative. With every step's change of the
    gradient its preconditioned change is kept, so that a step costs one
    preconditioning, and usually one value of the function.

    Parameters
    ----------
    function : callable
        Takes a point, returns the value and the gradient there.
    point : ndarray, float64
        Where to start.
    precondition : callable
        Symmetric, positive definite and linear: from gradients to steps.
    rounding : float, default=2.2e-16
        Relative rounding error of the function's values.

    Attributes
    ----------
    point, gradient : ndarrays
        Where the last step led.
    values : list of float
        Of the function, at the start and after every step.
    gap : float
        Estimate of how far the value is above the minimum: half of the decrease that
        the next step would have if the function were its tangent. Exact for quadratic
        functions whose second derivative is known.
    is_stuck : bool
        Whether the last step found nothing lower, which rounding causes.

    References
    ----------
    .. [1] J. Nocedal, S. Wright, "Numerical Optimization", 2nd edition, 2006,
       algorithms 7.4 and 3.5 with approximate Wolfe conditions (equation 4.1) of
       W. Hager, H. Zhang, SIAM J. Optim. 16, 2005.
    """

    def __init__(
        self,
        function: Function,
        point: np.ndarray,
        precondition: Preconditioner,
        *,
        rounding: float = float(np.finfo(np.float64).eps),
    ) -> None:
        self.function, self.point = function, point
        value, self.gradient = function(point)
        self.values = [value]
        self.rounding = rounding
        self.is_stuck = False
        # steps, changes of the gradient without and with the preconditioner, and the
        # products of steps and changes
        self._pairs: deque[tuple[Any, ...]] = deque(maxlen=MEMORY)
        self.precondition = precondition

    @property
    def precondition(self) -> Preconditioner:
        """What stands for the inverse of the second derivative."""
        return self._precondition

    @precondition.setter
    def precondition(self, precondition: Preconditioner) -> None:
        self._precondition = precondition
        self._preconditioned = precondition(self.gradient)
        for _ in range(len(self._pairs)):
            step, change, _, _ = self._pairs.popleft()
            self._remember(step, change, precondition(change))
        self._aim()

    def step(self) -> None:
        """Go one step down."""
        found = self._search()
        if found is None and self._pairs:  # what is remembered may mislead
            self._pairs.clear()
            self._aim()
            found = self._search()
        self.is_stuck = found is None
        if found is None:
            return
        point, value, gradient = found
        preconditioned = self._precondition(gradient)
        step, change = point - self.point, gradient - self.gradient
        self._remember(step, change, preconditioned - self._preconditioned)
        self.point, self.gradient = point, gradient
        self.values.append(value)
        self._preconditioned = preconditioned
        self._aim()

    def _remember(
        self, step: np.ndarray, change: np.ndarray, turned: np.ndarray
    ) -> None:
        """Keep a pair, unless it has no curvature, or rounding left none."""
        bend = _dot(step, change)
        if bend > 0 and _dot(change, turned) > 0:
            self._pairs.append((step, change, turned, bend))

    def _aim(self) -> None:
        """Find the next direction, and what it promises."""
        rest, step, shares = self.gradient.copy(), self._preconditioned.copy(), []
        for moved, change, preconditioned, bend in reversed(self._pairs):
            share = _dot(moved, rest) / bend
            shares.append(share)
            rest -= share * change
            step -= share * preconditioned
        if self._pairs:
            _, change, preconditioned, bend = self._pairs[-1]
            step *= bend / _dot(change, preconditioned)
        for pair, share in zip(self._pairs, shares[::-1], strict=True):
            moved, change, _, bend = pair
            step += (share - _dot(change, step) / bend) * moved
        self._direction = -step
        self._slope = _dot(self.gradient, self._direction)
        self.gap = -self._slope / 2

    def _search(self) -> tuple[np.ndarray, float, np.ndarray] | None:
        """Return a point that is low enough along the direction, None where none is."""
        if not self._slope < 0:
            return None
        start, length = self.values[-1], 1.0
        noise = 10 * self.rounding * abs(start)
        low = (0.0, start, self._slope)
        high: tuple[float, float, float] | None = None
        for _ in range(TRIALS):
            point = self.point + length * self._direction
            value, gradient = self.function(point)
            slope = _dot(gradient, self._direction)
            wished = start + DECREASE * length * self._slope
            as_low = value <= start + noise  # where rounding hides the decrease
            flat = slope <= (2 * DECREASE - 1) * self._slope
            if not (value <= wished or (as_low and flat)):
                high = (length, value, slope)
            elif slope < CURVATURE * self._slope:
                low = (length, value, slope)
            else:
                return point, value, gradient
            length = 4 * length if high is None else _between(low, high)
        return None


def _dot(left: np.ndarray, right: np.ndarray) -> float:
    """Return the sum of products; of many without BLAS, whose threads start slowly."""
    if left.size < ALONE:
        return float(np.vdot(left, right))
    return float(np.einsum("i,i->", left.ravel(), right.ravel()))


def _between(low: tuple[float, ...], high: tuple[float, ...]) -> float:
    """Return where the cubic through two values and slopes is least, not too near."""
    (start, value, slope), (end, end_value, end_slope) = low, high
    width = end - start
    bend = slope + end_slope - 3 * (end_value - value) / width
    square = bend * bend - slope * end_slope
    length = (start + end) / 2
    if np.isfinite(square) and square > 0:
        root = np.sqrt(square)
        turn = (end_slope + root - bend) / (end_slope - slope + 2 * root)
        length = end - width * turn
    # NaN, where values overflow, becomes the lower bound
    return float(np.fmin(np.fmax(length, start + 0.1 * width), end - 0.1 * width))
