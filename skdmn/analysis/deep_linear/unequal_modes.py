"""Exact time courses of modes whose two weights have different initial values.

The network has one hidden layer; a is the weight of a mode into it and b the weight out
of it [1]_. Learning conserves a^2 - b^2, so that (a, b) moves along a hyperbola.

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
    """Return both weights of modes over time, for any initial values.

    Solves tau da/dt = b (s - ab), tau db/dt = a (s - ab), eq. 8 of arXiv:1312.6120. The
    strength of the mode is the product a b.

    Parameters
    ----------
    t : array-like of any shape
        Times, 0 or larger, in the units of `tau`.
    s : array-like of shape (n_modes,) or float
        Singular values, 0 or larger.
    a0, b0 : array-like of shape (n_modes,) or float
        Weights into and out of the hidden layer at time 0, of any sign.
    tau : array-like of shape (n_modes,) or float, default=1.0
        Time constant.

    Returns
    -------
    a, b : ndarrays of shape t.shape + (n_modes,), float64
        Weights into and out of the hidden layer.

    Raises
    ------
    ValueError
        If a time or singular value is negative, or `tau` is not positive.

    Notes
    -----
    The paper solves for the angle theta on the hyperbola a^2 - b^2 = c (eqs. 23-26).
    The function solves the Riccati equations of (a + b)^2 and (a - b)^2 instead, which
    have the same solution and no singular case. Two factors are missing in the printed
    eqs. 25 and 26: eq. 23 implies ab = (c/2) sinh(theta), and therefore
    tau dtheta/dt = 2 s - c sinh(theta). With the printed factors, times for c = 0
    would be twice those of eq. 11.

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
    small = c**2 / or_one(width + 2 * s)  # width - 2 s without cancellation
    up, down = 1 + decay + 2 * s * grown, 2 * decay + small * grown
    below = down + plus**2 * grown  # 0 if plus is 0 and decay underflows
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
    """Return the time that a mode takes to reach a strength, for any initial weights.

    Implements eq. 26 of arXiv:1312.6120, with the missing factors that the notes of
    `unequal_mode_strengths` name.

    Parameters
    ----------
    s : array-like
        Singular values, above 0.
    a0, b0 : array-like
        Weights into and out of the hidden layer at time 0, of any sign. Their sum must
        not be 0, because nothing is learned then.
    u_final : array-like
        Strength to reach, between a0 b0 and `s`.
    tau : array-like, default=1.0
        Time constant.

    Returns
    -------
    ndarray, float64
        Times in the units of `tau`.

    Raises
    ------
    ValueError
        If `u_final` is never reached, or `s` or `tau` is not positive.

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
            f"u_final={u_final} is never reached from a0={a0} and b0={b0}: it must lie "
            f"between a0 * b0 and s={s} and differ from s, and a0 + b0 must not be 0."
        )
    width = np.hypot(2 * s, c)
    start, end = (a0 + b0) ** 2, _sum_squared(u_final, c)
    high, low = 2 * s + width, -(c**2) / (2 * s + width)
    gain = (high - start) * (end - low) / ((high - end) * (start - low))
    return tau / width * np.log(gain)


def _sum_squared(u: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return (a + b)^2 for ab = u and a^2 - b^2 = c."""
    root = np.hypot(c, 2 * u)
    return np.where(u >= 0, root + 2 * u, c**2 / or_one(root - 2 * u))
