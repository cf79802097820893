"""Optimal learning rates of deep linear networks, and the delay caused by depth.

The largest curvature of the error limits the learning rate. The formulas hold for one
mode with equal weights in all D layers (D = N_l - 1 in the paper [1]_) and for the
error (s - u)^2 / 2, so that the learning rate is 1 / tau, where tau is the time
constant of the time courses. `learning_steps` counts the steps of whole networks.

References
----------
.. [1] A. Saxe, J. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics
   of learning in deep linear neural networks", arXiv:1312.6120, 2013.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from skdmn.analysis.deep_linear.modes import (
    check_depth,
    check_span,
    log_odds_time,
    positive,
)
from skdmn.analysis.deep_linear.simulation import (
    best_map,
    check_network,
    descent_directions,
    excess_error,
    product,
)


class Curvature(NamedTuple):
    """Eigenvalues of the Hessian of (s - u)^2 / 2 in the D weights of one mode.

    Attributes
    ----------
    along : ndarray, float64
        Eigenvalue of the direction in which all weights change equally, which is the
        direction of learning.
    across : ndarray, float64
        Eigenvalue of the D - 1 directions in which the differences of weights change.
    """

    along: np.ndarray
    across: np.ndarray


def curvature(s: ArrayLike, u: ArrayLike, *, depth: int) -> Curvature:
    """Return the curvature of the error of a mode at a given strength.

    Implements eq. 37 of arXiv:1312.6120 without the factor 1/tau, which is exact for
    equal weights, and the other eigenvalue of the matrix in eq. 36.

    Parameters
    ----------
    s, u : array-like
        Singular values and strengths, above 0.
    depth : int
        Number of weight matrices D, at least 1.

    Returns
    -------
    Curvature

    Raises
    ------
    ValueError
        If `s`, `u` or `depth` is not positive.

    Examples
    --------
    >>> from skdmn.analysis.deep_linear.learning_rates import curvature
    >>> curvature(1.0, [0.1, 0.5, 1.0], depth=2).along  # negative near the saddle u = 0
    array([-0.7,  0.5,  2. ])
    """
    check_depth(depth)
    s, u = positive(s, "s"), positive(u, "u")
    full, part = u ** (2 - 2 / depth), u ** (1 - 2 / depth)
    along = (2 * depth - 1) * full - (depth - 1) * s * part
    return Curvature(along, part * (s - u))


def optimal_learning_rate(s: ArrayLike, *, depth: int) -> np.ndarray:
    """Return the inverse of the largest curvature that a mode meets during learning.

    The learning rate is 1 / (D s^(2 - 2/D)), eqs. 41 and 42 of arXiv:1312.6120. The
    curvature is exact; between u = 0 and u = s it is largest at u = s. Gradient descent
    converges to u = s only for rates below twice this one. The rate itself is an
    estimate of the best one: it gives Newton's step at u = s, but larger steps would be
    possible on the plateau at the start. If several modes are learned, the strongest
    mode limits the rate.

    Parameters
    ----------
    s : array-like
        Singular values, above 0.
    depth : int
        Number of weight matrices D, at least 1.

    Returns
    -------
    ndarray, float64
        Learning rates, of the shape of `s`.

    Raises
    ------
    ValueError
        If `s` or `depth` is not positive.

    Examples
    --------
    >>> from skdmn.analysis.deep_linear.learning_rates import optimal_learning_rate
    >>> [float(optimal_learning_rate(4.0, depth=depth)) for depth in (1, 2, 4)]
    [1.0, 0.125, 0.03125]
    """
    check_depth(depth)
    return 1 / curvature(s, s, depth=depth).along


def optimized_learning_time(
    s: ArrayLike, u0: ArrayLike, u_final: ArrayLike, *, depth: float, c: float = 1.0
) -> np.ndarray:
    """Return the number of steps that a mode takes at its optimal learning rate / c.

    The learning rate is 1 / (c D s^(2 - 2/D)). The result is eq. 43 of arXiv:1312.6120
    for D = 2 and eq. 44 for infinite depth. It is exact in continuous time; the number
    of steps of gradient descent has a relative error of order 1 / c.

    Parameters
    ----------
    s, u0, u_final : array-like
        As in `learning_time`.
    depth : int or inf
        Number of weight matrices D, at least 1.
    c : float, default=1.0
        Optimal learning rate divided by the actual one.

    Returns
    -------
    ndarray, float64
        Number of steps of gradient descent.

    Raises
    ------
    ValueError
        If `u_final` is never reached from `u0`, or `s`, `u0`, `depth` or `c` is not
        positive.

    Examples
    --------
    >>> import math
    >>> from skdmn.analysis.deep_linear.learning_rates import optimized_learning_time
    >>> for depth in (2, 4, 16, math.inf):
    ...     print(optimized_learning_time(1.0, 0.01, 0.99, depth=depth).round(1))
    9.2
    23.8
    71.0
    108.2
    """
    if depth != math.inf:
        check_depth(depth)
    return float(positive(c, "c")) * log_odds_time(*check_span(s, u0, u_final), depth)


def learning_delay(
    s: ArrayLike, u0: ArrayLike, u_final: ArrayLike, *, depth: float, c: float = 1.0
) -> np.ndarray:
    """Return the additional steps compared with one hidden layer, at optimal rates.

    For infinite depth the delay is exactly c s (1/u0 - 1/u_final), eq. 45 of
    arXiv:1312.6120, which is about c s / u0 for small u0. For finite depths this is an
    upper bound.

    Parameters
    ----------
    s, u0, u_final, depth, c
        As in `optimized_learning_time`.

    Returns
    -------
    ndarray, float64
        Number of additional steps of gradient descent.

    Raises
    ------
    ValueError
        As in `optimized_learning_time`.

    Examples
    --------
    >>> import math
    >>> from skdmn.analysis.deep_linear.learning_rates import learning_delay
    >>> learning_delay(1.0, 0.01, 0.99, depth=math.inf).round(2)
    np.float64(98.99)
    """
    deep = optimized_learning_time(s, u0, u_final, depth=depth, c=c)
    return deep - optimized_learning_time(s, u0, u_final, depth=2, c=c)


def learning_steps(
    weights: Sequence[np.ndarray],
    sigma31: ArrayLike,
    sigma11: ArrayLike | None,
    *,
    learning_rate: float,
    error: float,
    max_steps: int = 10_000,
) -> float:
    """Return the number of gradient descent steps until the error is below a threshold.

    Figs. 4 and 6A of arXiv:1312.6120 use this measure.

    Parameters
    ----------
    weights, sigma31, sigma11, learning_rate
        As in `gradient_descent`.
    error : float
        Threshold for half the mean squared error minus that of the best linear map.
    max_steps : int, default=10_000
        Largest number of steps.

    Returns
    -------
    float
        Number of steps; infinite if `max_steps` steps are not enough or the weights
        diverge.

    Raises
    ------
    ValueError
        If the shapes do not match.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.deep_linear.initial_weights import orthogonal_weights
    >>> from skdmn.analysis.deep_linear.learning_rates import learning_steps
    >>> weights, sigma31 = orthogonal_weights([3, 4, 3], random_state=0), 2 * np.eye(3)
    >>> [
    ...     learning_steps(weights, sigma31, None, learning_rate=rate, error=1e-3)
    ...     for rate in (0.01, 0.1, 10.0)
    ... ]
    [115.0, 10.0, inf]
    """
    weights, sigma31, sigma11 = check_network(weights, sigma31, sigma11)
    best = best_map(sigma31, sigma11)
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(max_steps + 1):
            now = excess_error(product(weights), best, sigma11)
            if now < error:
                return float(step)
            if not math.isfinite(now):
                break
            for weight, change in zip(
                weights, descent_directions(weights, sigma31, sigma11), strict=True
            ):
                weight += learning_rate * change
    return math.inf


def best_learning_steps(
    weights: Sequence[np.ndarray],
    sigma31: ArrayLike,
    sigma11: ArrayLike | None,
    *,
    learning_rates: Iterable[float],
    error: float,
    max_steps: int = 10_000,
) -> tuple[float, float]:
    """Return the smallest number of steps over several learning rates, and its rate.

    Parameters
    ----------
    weights, sigma31, sigma11, error, max_steps
        As in `learning_steps`.
    learning_rates : iterable of float
        Learning rates to try.

    Returns
    -------
    steps : float
        Smallest number of steps; infinite if no rate reaches the threshold within
        `max_steps`.
    learning_rate : float
        Learning rate that takes this number of steps; NaN if there is none.

    Raises
    ------
    ValueError
        If the shapes do not match.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.deep_linear.initial_weights import orthogonal_weights
    >>> from skdmn.analysis.deep_linear.learning_rates import best_learning_steps
    >>> weights, sigma31 = orthogonal_weights([3, 4, 3], random_state=0), 2 * np.eye(3)
    >>> rates = [0.01, 0.1, 1.0]
    >>> best_learning_steps(weights, sigma31, None, learning_rates=rates, error=1e-3)
    (10.0, 0.1)
    """
    best = (math.inf, math.nan)
    for rate in learning_rates:
        steps = learning_steps(
            weights,
            sigma31,
            sigma11,
            learning_rate=rate,
            error=error,
            # a rate that needs more steps than the best so far can be abandoned
            max_steps=int(min(max_steps, best[0])),
        )
        if steps < best[0]:
            best = (steps, rate)
    return best
