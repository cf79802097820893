"""Exact time courses of learning in deep linear networks.

A mode is a pair of singular vectors of the input-output correlations. Its strength u
is the part of it that the network has learned; during learning, u approaches the
singular value s. The depth is the number of weight matrices D, one less than the number
N_l of layers of neurons in the paper [1]_. The formulas assume white inputs, decoupled
initial weights and continuous time. They also hold for inputs whose principal
components are the modes (eq. 46 of the paper): for variance d along a mode, pass s / d
for s and tau / d for tau.

Most functions use the log odds l = log(u / |s - u|), for which eq. 15 becomes

    dl/dt = D s^(2 - 2/D) / tau * (1 + e^-l)^-(1 - 2/D).

For D = 2, l grows linearly. For larger D it grows linearly in the end, and more slowly
before.

References
----------
.. [1] A. Saxe, J. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics
   of learning in deep linear neural networks", arXiv:1312.6120, 2013.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import CubicHermiteSpline
from scipy.special import wrightomega

_PANEL = 0.01  # step in log odds; splines are then accurate to about 1e-10
_LEARNED = 40.0  # log odds above which linear growth is exact to rounding


def mode_strength(
    t: ArrayLike,
    s: ArrayLike,
    u0: ArrayLike,
    *,
    depth: int = 2,
    tau: ArrayLike = 1.0,
) -> np.ndarray:
    """Return the strength of modes over time, for equal weights in all layers.

    Solves tau du/dt = D u^(2 - 2/D) (s - u), eq. 15 of arXiv:1312.6120 with
    D = N_l - 1. The solution is in closed form for D = 1 and D = 2 (eq. 12); for
    larger D its error is about 1e-9 of s.

    Parameters
    ----------
    t : array-like of any shape
        Times, 0 or larger, in the units of `tau`.
    s : array-like of shape (n_modes,) or float
        Singular values of the input-output correlations, 0 or larger.
    u0 : array-like of shape (n_modes,) or float
        Strengths at time 0, 0 or larger. A strength is the product of the D weights of
        a mode, each of which is u0^(1/D).
    depth : int, default=2
        Number of weight matrices D, at least 1. A network with one hidden layer has
        depth 2.
    tau : array-like of shape (n_modes,) or float, default=1.0
        Time constant. In steps of gradient descent, it is 1 / learning rate.

    Returns
    -------
    ndarray of shape t.shape + (n_modes,), float64
        Strengths. The shape is t.shape if `s`, `u0` and `tau` are all scalars.

    Raises
    ------
    ValueError
        If a time, singular value or strength is negative, `tau` is not positive, or
        `depth` is not a positive integer.

    Examples
    --------
    >>> from skdmn.analysis.deep_linear.modes import mode_strength
    >>> mode_strength([0, 1, 2, 3], s=2.0, u0=0.01).round(3)
    array([0.01 , 0.431, 1.875, 1.998])
    >>> mode_strength([0, 1, 2, 3], s=2.0, u0=0.01, depth=4).round(3)
    array([0.01 , 0.027, 0.209, 1.997])
    """
    check_depth(depth)
    t, s, u0, tau = check_course(t, s, u0, tau)
    if depth == 1:
        return s + (u0 - s) * np.exp(-t / tau)
    if depth == 2:
        decay = np.exp(-2 * s * t / tau)
        # (1 - decay) / s, whose limit for s = 0 is 2 t / tau
        grown = np.where(s > 0, -np.expm1(-2 * s * t / tau) / or_one(s), 2 * t / tau)
        return np.where(u0 == 0, 0.0, u0 / or_one(decay + u0 * grown))
    times = t.reshape(t.shape[: t.ndim - s.ndim])
    strengths = np.empty(times.shape + s.shape)
    for mode in np.ndindex(s.shape):
        strengths[(..., *mode)] = _deep_course(
            times, float(s[mode]), float(u0[mode]), depth, float(tau[mode])
        )
    return strengths


def learning_time(
    s: ArrayLike,
    u0: ArrayLike,
    u_final: ArrayLike,
    *,
    depth: int = 2,
    tau: ArrayLike = 1.0,
) -> np.ndarray:
    """Return the time that a mode takes from one strength to another.

    For D = 2 this is eq. 11 of arXiv:1312.6120, tau / (2 s) times the increase of the
    log odds. For other depths it is the integral of eq. 15, with an error of about
    1e-12.

    Parameters
    ----------
    s : array-like
        Singular values, above 0.
    u0, u_final : array-like
        Initial and final strength, above 0. Both must be below `s` or both above it,
        and the final one closer to `s`.
    depth : int, default=2
        Number of weight matrices D, at least 1.
    tau : array-like, default=1.0
        Time constant.

    Returns
    -------
    ndarray, float64
        Times in the units of `tau`, of the shape that the arguments broadcast to.

    Raises
    ------
    ValueError
        If `u_final` is never reached from `u0`, `s`, `u0` or `tau` is not positive, or
        `depth` is not a positive integer.

    Examples
    --------
    >>> from skdmn.analysis.deep_linear.modes import learning_time
    >>> learning_time(s=[1.0, 2.0, 4.0], u0=0.001, u_final=0.9).round(2)
    array([4.55, 1.85, 0.88])
    """
    check_depth(depth)
    s, u0, u_final = check_span(s, u0, u_final)
    tau = positive(tau, "tau")
    return tau * s ** (2 / depth - 2) / depth * log_odds_time(s, u0, u_final, depth)


def limiting_mode_strength(
    t: ArrayLike, s: ArrayLike, u0: ArrayLike, *, tau: ArrayLike = 1.0
) -> np.ndarray:
    """Return the strength of modes over time, in the limit of infinite depth.

    Solves tau du/dt = u^2 (s - u), eq. 16 of arXiv:1312.6120. Time is multiplied by the
    number of layers, because the time that learning takes tends to 0 otherwise. The
    solution is the inverse of eq. 17: for Y = s/u - 1, Y e^Y decays as
    e^(-s^2 t / tau), and Y is Lambert's W function of it.

    Parameters
    ----------
    t : array-like of any shape
        Times, 0 or larger, multiplied by the depth, in the units of `tau`.
    s, u0, tau : array-like of shape (n_modes,) or float
        Singular values, initial strengths and time constant, as in `mode_strength`.

    Returns
    -------
    ndarray of shape t.shape + (n_modes,), float64
        Strengths.

    Raises
    ------
    ValueError
        If a time, singular value or strength is negative, or `tau` is not positive.

    Examples
    --------
    >>> from skdmn.analysis.deep_linear.modes import limiting_mode_strength
    >>> from skdmn.analysis.deep_linear.modes import mode_strength
    >>> limiting_mode_strength([0, 8, 13], s=1.0, u0=0.1).round(4)
    array([0.1  , 0.299, 0.875])
    >>> mode_strength([0, 0.008, 0.013], 1.0, 0.1, depth=1000).round(4)
    array([0.1   , 0.3008, 0.8783])
    """
    t, s, u0, tau = check_course(t, s, u0, tau)
    time = t / tau
    fading = u0 / np.sqrt(1 + 2 * u0**2 * time)  # the solution for s = 0
    start = np.maximum(s / or_one(u0) - 1, 0)
    # wrightomega(x) is W(e^x); e^x itself may overflow
    learned = s / (1 + wrightomega(start + np.log(or_one(start)) - s**2 * time))
    strengths = np.where(u0 == 0, 0.0, np.where(s == 0, fading, learned))
    for mode in np.argwhere((s > 0) & (u0 >= s)):  # W has a branch point at u0 = s
        at = (..., *mode)
        strengths[at] = _deep_course(
            time[at], float(s[tuple(mode)]), float(u0[tuple(mode)]), math.inf, 1.0
        )
    return strengths


def limiting_learning_time(
    s: ArrayLike, u0: ArrayLike, u_final: ArrayLike, *, tau: ArrayLike = 1.0
) -> np.ndarray:
    """Return the learning time multiplied by the depth, for infinite depth.

    Implements eq. 17 of arXiv:1312.6120, multiplied by N_l.

    Parameters
    ----------
    s, u0, u_final, tau : array-like
        As in `learning_time`.

    Returns
    -------
    ndarray, float64
        Times in the units of `tau`.

    Raises
    ------
    ValueError
        As in `learning_time`.

    Examples
    --------
    >>> from skdmn.analysis.deep_linear.modes import learning_time
    >>> from skdmn.analysis.deep_linear.modes import limiting_learning_time
    >>> limiting_learning_time(1.0, 0.1, 0.9).round(3)
    np.float64(13.283)
    >>> (1000 * learning_time(1.0, 0.1, 0.9, depth=1000)).round(3)
    np.float64(13.248)
    """
    s, u0, u_final = check_span(s, u0, u_final)
    return positive(tau, "tau") / s**2 * log_odds_time(s, u0, u_final, math.inf)


def _deep_course(
    t: np.ndarray, s: float, u0: float, depth: float, tau: float
) -> np.ndarray:
    """Return the strength of one mode over time, for a depth above 2.

    If the depth is infinite, `t` is the time multiplied by the depth.
    """
    power = 2 - 2 / depth
    if u0 == 0 or u0 == s:
        return np.full(t.shape, u0)
    if s == 0:
        return (u0**-power + power * depth * t / tau) ** (-1 / power)
    start, sign = float(_log_odds(s, u0)), math.copysign(1.0, s - u0)
    odds, times = _table(start, max(start, 0.0) + _LEARNED, sign, depth)
    told_apart = np.diff(times, prepend=-1.0) > 0  # times may round to equal values
    odds, times = odds[told_apart], times[told_apart]
    slopes = _share(odds, sign) ** (2 / depth - 1)
    time = (1 if depth == math.inf else depth) * s**power / tau * t
    beyond = np.maximum(time - times[-1], 0.0)
    spline = CubicHermiteSpline(times, odds, slopes)
    reached = spline(np.minimum(time, times[-1])) + beyond
    return s / _share(reached, sign)


def _log_odds(s: ArrayLike, u: ArrayLike) -> np.ndarray:
    """Return the log odds -log |s/u - 1|; `_share` is the inverse."""
    share = np.asarray(s, dtype=float) / u
    small = np.log1p(-np.minimum(share, 0.5))
    return -np.where(share < 0.5, small, np.log(np.abs(share - 1)))


def _share(odds: np.ndarray, sign: float) -> np.ndarray:
    """Return s/u from log odds, for u below s (sign 1) or above it (sign -1)."""
    return 1 + np.exp(-odds) if sign > 0 else -np.expm1(-odds)


def _table(
    start: float, stop: float, sign: float, depth: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return a grid of log odds, and the times at which they are reached at unit rate.

    Times are the integral of (1 +- e^-l)^(1 - 2/D), by Gauss-Legendre quadrature on
    short panels. If the sign is minus, the integrand is a power of l near l = 0, and
    the panels there are geometrically spaced.
    """
    begun = max(start, min(stop, 1.0)) if sign < 0 else start
    panels = max(1, math.ceil((stop - begun) / _PANEL))
    odds = np.linspace(begun, stop, panels + 1)
    if start < begun:
        panels = math.ceil(math.log(begun / start) / _PANEL)
        odds = np.concatenate([np.geomspace(start, begun, panels + 1)[:-1], odds])
    nodes, weights = np.polynomial.legendre.leggauss(4)
    half = np.diff(odds)[:, np.newaxis] / 2
    points = odds[:-1, np.newaxis] + half + half * nodes
    values = _share(points, sign) ** (1 - 2 / depth)
    return odds, np.concatenate([[0.0], np.cumsum((half * values) @ weights)])


def log_odds_time(
    s: np.ndarray, u0: np.ndarray, u_final: np.ndarray, depth: float
) -> np.ndarray:
    """Return the time from one strength to another at unit rate."""
    start, stop = _log_odds(s, u0), _log_odds(s, u_final)
    if depth == 2:
        return stop - start
    if depth == 1:
        return np.log((s - u0) / (s - u_final))
    if depth == math.inf:
        return _limiting_time(s / u_final, stop) - _limiting_time(s / u0, start)
    sign = np.where(u0 < s, 1.0, -1.0)

    def one(start: float, stop: float, sign: float) -> float:
        return float(_table(start, stop, sign, depth)[1][-1])

    return np.vectorize(one, otypes=[float])(start, stop, sign)


def _limiting_time(share: np.ndarray, odds: np.ndarray) -> np.ndarray:
    """Return l - s/u, by the series of the logarithm if s/u is small.

    The direct difference would lose digits there.
    """
    powers = np.arange(2, 12)
    small = np.minimum(share, 0.01)[..., np.newaxis]
    return np.where(share < 0.01, (small**powers / powers).sum(-1), odds - share)


def or_one(values: np.ndarray) -> np.ndarray:
    """Replace zeros by ones, for divisions whose result at zero is not used."""
    return np.where(values == 0, 1.0, values)


def check_depth(depth: float) -> None:
    """Raise ValueError if a depth is not a positive integer."""
    if np.ndim(depth) or not (depth >= 1 and depth % 1 == 0):
        raise ValueError(
            f"depth is {depth!r}; pass the number of weight matrices, one integer of "
            "1 or more."
        )


def positive(values: ArrayLike, name: str) -> np.ndarray:
    """Return values as floats; raise ValueError if one is not positive."""
    array = np.asarray(values, dtype=float)
    if not np.all(array > 0):
        raise ValueError(f"{name} must be above 0, got {array.min()}.")
    return array


def check_course(
    t: ArrayLike, s: ArrayLike, u0: ArrayLike, tau: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return times with added axes for modes, and s, u0 and tau broadcast together."""
    t, s, u0 = (np.asarray(values, dtype=float) for values in (t, s, u0))
    for values, name in ((t, "t"), (s, "s"), (u0, "u0")):
        if not np.all(values >= 0):
            raise ValueError(f"{name} must be 0 or more, got {values.min()}.")
    s, u0, tau = np.broadcast_arrays(s, u0, positive(tau, "tau"))
    return t.reshape(t.shape + (1,) * s.ndim), s, u0, tau


def check_span(
    s: ArrayLike, u0: ArrayLike, u_final: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return strengths as floats; raise ValueError if the final one is not reached."""
    s, u0 = positive(s, "s"), positive(u0, "u0")
    u_final = np.asarray(u_final, dtype=float)
    reached = ((u0 <= u_final) & (u_final < s)) | ((s < u_final) & (u_final <= u0))
    if not np.all(reached):
        raise ValueError(
            "u_final is never reached from u0. It must lie between u0 and s and differ "
            f"from s; got s={s}, u0={u0} and u_final={u_final}."
        )
    return s, u0, u_final
