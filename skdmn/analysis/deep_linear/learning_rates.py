"""Learning rates that suit deep linear networks, and what depth then costs.

The steps of gradient descent must be short where the error is most curved. The formulas
hold for one mode with equal weights in all D layers (N_l - 1 of the paper [1]_), and
for the error (s - u)^2 / 2, so that the learning rate is one over the time constant tau
of the time courses. `learning_steps` counts the steps of whole networks.

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
        Of the direction in which all weights change alike: the one of learning.
    across : ndarray, float64
        Of the D - 1 directions in which the weights' differences change.
    """

    along: np.ndarray
    across: np.ndarray


def curvature(s: ArrayLike, u: ArrayLike, *, depth: int) -> Curvature:
    """Return the curvature of a mode's error at a strength.

    Eq. 37 of arXiv:1312.6120 (without the factor 1/tau), exact for equal weights, and
    the other eigenvalue of the matrix of eq. 36.

    Parameters
    ----------
    s, u : array-like
        Singular values and strengths, above 0.
    depth : int
        Number of weight matrices D, from 1.

    Returns
    -------
    Curvature

    Raises
    ------
    ValueError
        Where `s`, `u` or `depth` is not positive.

    Examples
    --------
    >>> from skdmn.analysis.deep_linear.learning_rates import curvature
    >>> curvature(1.0, [0.1, 0.5, 1.0], depth=2).along  # less than 0: a saddle is near
    array([-0.7,  0.5,  2. ])
    """
    check_depth(depth)
    s, u = positive(s, "s"), positive(u, "u")
    full, part = u ** (2 - 2 / depth), u ** (1 - 2 / depth)
    along = (2 * depth - 1) * full - (depth - 1) * s * part
    return Curvature(along, part * (s - u))


def optimal_learning_rate(s: ArrayLike, *, depth: int) -> np.ndarray:
    """Return the learning rate that suits the largest curvature on a mode's way.

    One over D s^(2 - 2/D), eqs. 41 and 42 of arXiv:1312.6120. The curvature is exact
    and the largest from u = 0 to u = s, where it is met at u = s. So twice this rate
    is the exact bound beyond which gradient descent does not settle at u = s. That
    the rate itself is best is an estimate: it is Newton's step at the end, while on the
    plateau at the start larger steps would do no harm. Where several modes are
    learned, the strongest sets the rate.

    Parameters
    ----------
    s : array-like
        Singular values, above 0.
    depth : int
        Number of weight matrices D, from 1.

    Returns
    -------
    ndarray, float64
        Learning rates, of the shape of `s`.

    Raises
    ------
    ValueError
        Where `s` or `depth` is not positive.

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
    """Return the steps a mode takes at a share of its optimal learning rate.

    With the learning rate 1 / (c D s^(2 - 2/D)); eq. 43 of arXiv:1312.6120 for D = 2,
    eq. 44 for infinite depth. Exact in continuous time; steps of gradient descent
    differ from it by a relative error of order 1 / c.

    Parameters
    ----------
    s, u0, u_final : array-like
        As in `learning_time`.
    depth : int or inf
        Number of weight matrices D, from 1.
    c : float, default=1.0
        Optimal learning rate, over the one that is used.

    Returns
    -------
    ndarray, float64
        Steps of gradient descent.

    Raises
    ------
    ValueError
        Where the last strength is never reached from the first.

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
    """Return the steps that depth costs against one hidden layer, at optimal rates.

    For infinite depth c s (1/u0 - 1/u_final), eq. 45 of arXiv:1312.6120, exactly;
    it is an upper bound for every finite depth, and about c s / u0 for small u0.

    Parameters
    ----------
    s, u0, u_final, depth, c
        As in `optimized_learning_time`.

    Returns
    -------
    ndarray, float64
        Steps of gradient descent.

    Raises
    ------
    ValueError
        Where the last strength is never reached from the first.

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
    """Return how many steps of gradient descent bring the error below a threshold.

    The measure of Figs. 4 and 6A of arXiv:1312.6120.

    Parameters
    ----------
    weights, sigma31, sigma11, learning_rate
        As in `gradient_descent`.
    error : float
        Half the mean squared error, less that of the best linear map, to come below.
    max_steps : int, default=10_000
        Stop there.

    Returns
    -------
    float
        Number of steps; infinite where `max_steps` are not enough or learning
        diverges.

    Raises
    ------
    ValueError
        Where shapes do not fit each other.

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
    """Return the fewest steps over several learning rates, and the rate that took them.

    Parameters
    ----------
    weights, sigma31, sigma11, error, max_steps
        As in `learning_steps`.
    learning_rates : iterable of float
        To try.

    Returns
    -------
    steps : float
        Infinite where no rate comes below the error within `max_steps`.
    learning_rate : float
        Of those steps; nan where there is none.

    Raises
    ------
    ValueError
        Where shapes do not fit each other.

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
            # more steps than the best so far decide nothing
            max_steps=int(min(max_steps, best[0])),
        )
        if steps < best[0]:
            best = (steps, rate)
    return best
