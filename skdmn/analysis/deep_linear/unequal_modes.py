"""Exact time courses of modes whose two weights start unequal.

One hidden layer; the mode's weights are a into it and b out of it [1]_. While they are
learned a^2 - b^2 stays what it was: the modes move on hyperbolas.

References
----------
.. [1] A. Saxe, J. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics
   of learning in deep linear neural networks", arXiv:1312.6120, 2013.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from skdmn.analysis.deep_linear.modes import check_course, or_one, positive


def unequal_mode_strengths(
    t: ArrayLike,
    s: ArrayLike,
    a0: ArrayLike,
    b0: ArrayLike,
    *,
    tau: ArrayLike = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return both weights of modes over time, with one hidden layer and any start.

    Solves tau da/dt = b (s - ab), tau db/dt = a (s - ab), eq. 8 of arXiv:1312.6120;
    the mode's strength is the product a b.

    Parameters
    ----------
    t : array-like of any shape
        Times from 0, in the units of `tau`.
    s : array-like of shape (n_modes,) or float
        Singular values, from 0.
    a0, b0 : array-like of shape (n_modes,) or float
        Weights into and out of the hidden layer at time 0, of any sign.
    tau : array-like of shape (n_modes,) or float, default=1.0
        Time constant.

    Returns
    -------
    a, b : ndarrays of shape t.shape + (n_modes,), float64

    Raises
    ------
    ValueError
        Where a time or singular value is negative or `tau` is not positive.

    Notes
    -----
    The paper solves for the angle on the hyperbola a^2 - b^2 = c (eqs. 23-26). Here
    (a + b)^2 and (a - b)^2 are followed, which obey Riccati equations without a
    singular case; the solution is the same. In eqs. 25 and 26 as printed two factors
    are missing: from eq. 23 follows ab = (c/2) sinh(theta), and so
    tau dtheta/dt = 2 s - c sinh(theta). As printed, times would be twice those of
    eq. 11 where c vanishes.

    Examples
    --------
    >>> from skdmn.analysis.deep_linear.unequal_modes import unequal_mode_strengths
    >>> a, b = unequal_mode_strengths([0, 1, 2], s=1.0, a0=0.5, b0=0.0)
    >>> (a * b).round(3)
    array([0.   , 0.334, 0.796])
    >>> (a**2 - b**2).round(3)
    array([0.25, 0.25, 0.25])
    """
    a0, b0 = np.asarray(a0, dtype=float), np.asarray(b0, dtype=float)
    a0, b0 = np.broadcast_arrays(a0, b0)
    t, s, _, tau = check_course(t, s, np.zeros(a0.shape), tau)
    time, plus, minus = t / tau, a0 + b0, a0 - b0
    c = plus * minus
    width = np.hypot(2 * s, c)
    decay = np.exp(-width * time)
    grown = np.where(width > 0, -np.expm1(-width * time) / or_one(width), time)
    small = c**2 / or_one(width + 2 * s)  # width - 2 s, without cancellation
    up, down = 1 + decay + 2 * s * grown, 2 * decay + small * grown
    below = down + plus**2 * grown  # 0 where plus is, and all has decayed
    plus_squared = (plus**2 * up + c**2 * grown) / or_one(below)
    minus_squared = (minus**2 * down + c**2 * grown) / (up + minus**2 * grown)
    plus = np.copysign(np.sqrt(plus_squared), plus)
    minus = np.copysign(np.sqrt(minus_squared), minus)
    return (plus + minus) / 2, (plus - minus) / 2


def unequal_learning_time(
    s: ArrayLike,
    a0: ArrayLike,
    b0: ArrayLike,
    u_final: ArrayLike,
    *,
    tau: ArrayLike = 1.0,
) -> np.ndarray:
    """Return how long a mode takes to a strength, with one hidden layer and any start.

    Eq. 26 of arXiv:1312.6120, with the factors that `unequal_mode_strengths` names.

    Parameters
    ----------
    s : array-like
        Singular values, above 0.
    a0, b0 : array-like
        Weights into and out of the hidden layer at time 0, of any sign; their sum is
        not 0, from where nothing is learned.
    u_final : array-like
        Strength to reach: between a0 b0 and `s`.
    tau : array-like, default=1.0
        Time constant.

    Returns
    -------
    ndarray, float64
        In the units of `tau`.

    Raises
    ------
    ValueError
        Where `u_final` is never reached.

    Examples
    --------
    >>> from skdmn.analysis.deep_linear.modes import learning_time
    >>> from skdmn.analysis.deep_linear.unequal_modes import unequal_learning_time
    >>> unequal_learning_time(1.0, 0.5, 0.0, 0.9).round(3)
    np.float64(2.412)
    >>> unequal_learning_time(1.0, 0.1, 0.1, 0.9) / learning_time(1.0, 0.01, 0.9)
    np.float64(1.0)
    """
    s, tau = positive(s, "s"), positive(tau, "tau")
    a0, b0 = np.asarray(a0, dtype=float), np.asarray(b0, dtype=float)
    u_final = np.asarray(u_final, dtype=float)
    u0, c = a0 * b0, (a0 + b0) * (a0 - b0)
    reached = ((u0 <= u_final) & (u_final < s)) | ((s < u_final) & (u_final <= u0))
    if not np.all(reached & (a0 + b0 != 0)):
        raise ValueError(
            "u_final is never reached from these a0 and b0: it must lie between a0 * "
            "b0 and s, s excluded, and a0 + b0 must not be 0."
        )
    width = np.hypot(2 * s, c)
    start, end = (a0 + b0) ** 2, _sum_squared(u_final, c)
    high, low = 2 * s + width, -(c**2) / (2 * s + width)
    gain = (high - start) * (end - low) / ((high - end) * (start - low))
    return tau / width * np.log(gain)


def _sum_squared(u: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return (a + b)^2 where ab = u and a^2 - b^2 = c."""
    root = np.hypot(c, 2 * u)
    return np.where(u >= 0, root + 2 * u, c**2 / or_one(root - 2 * u))
