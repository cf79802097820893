"""Dynamical isometry: preservation of the length of vectors by deep networks.

The singular values of a product of weights, or of the Jacobian of a nonlinear network,
show how signals and gradients vanish or explode with depth. In wide networks the
variance of the activity follows a map from layer to layer. Above a critical gain, the
edge of chaos, activity persists at any depth [1]_.

References
----------
.. [1] A. Saxe, J. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics
   of learning in deep linear neural networks", arXiv:1312.6120, 2013.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq


class Activation(NamedTuple):
    """Elementwise nonlinearity and its derivative.

    Attributes
    ----------
    function : callable
        Function of an array.
    derivative : callable
        Derivative of `function`, as a function of the same array.
    """

    function: Callable[[np.ndarray], np.ndarray]
    derivative: Callable[[np.ndarray], np.ndarray]


TANH = Activation(np.tanh, lambda x: 1 / np.cosh(np.clip(x, -350, 350)) ** 2)
RELU = Activation(lambda x: np.maximum(x, 0.0), lambda x: (x > 0).astype(float))
IDENTITY = Activation(lambda x: x, np.ones_like)
_NAMED = {"tanh": TANH, "relu": RELU, "identity": IDENTITY}
AnyActivation = Activation | str | Callable[[np.ndarray], np.ndarray]

# Quadrature nodes for averages over a Gaussian variable. Evenly spaced nodes are far
# more accurate here than Gauss-Hermite nodes: the error decreases exponentially for
# smooth functions, and they resolve the sharp step of tanh(sqrt(q) z) at large q.
_NODES = np.linspace(-10.0, 10.0, 4001)
_WEIGHTS = np.exp(-(_NODES**2) / 2) / np.exp(-(_NODES**2) / 2).sum()
_VARIANCES = np.logspace(-10, 4, 281)  # grid on which fixed points are searched
_ENDLESS = 1e12  # a variance that still grows above this is taken as unbounded


def as_activation(activation: AnyActivation) -> Activation:
    """Return an activation that is given by its name or function, or raise TypeError.

    The derivative of other functions is not known.
    """
    if isinstance(activation, Activation):
        return activation
    if activation is np.tanh:
        return TANH
    if isinstance(activation, str) and activation in _NAMED:
        return _NAMED[activation]
    raise TypeError(
        f"activation is {activation!r}; pass one of {sorted(_NAMED)}, or "
        "Activation(function, derivative)."
    )


def product_singular_values(weights: Iterable[np.ndarray]) -> np.ndarray:
    """Return the singular values of the product of the weights of a linear network.

    Figs. 6B and 7 of arXiv:1312.6120 show their distribution for random weights.

    Parameters
    ----------
    weights : iterable of ndarray of shape (n_out, n_in)
        Weights of each layer, first layer first. They are read one by one, so that a
        generator can be passed if they do not fit in memory together.

    Returns
    -------
    ndarray, float64
        Singular values, largest first. Values below about 1e-16 of the largest one are
        rounding errors.

    Raises
    ------
    ValueError
        If there are no weights, or their shapes do not match.

    Examples
    --------
    >>> from skdmn.analysis.deep_linear.initial_weights import gaussian_weights
    >>> from skdmn.analysis.deep_linear.initial_weights import orthogonal_weights
    >>> from skdmn.analysis.deep_linear.isometry import product_singular_values
    >>> product_singular_values(orthogonal_weights([4] * 101, random_state=0)).round(6)
    array([1., 1., 1., 1.])
    >>> values = product_singular_values(gaussian_weights([4] * 101, random_state=0))
    >>> bool(values[0] > 1e10 * values[-1])
    True
    """
    total: np.ndarray | None = None
    for weight in weights:
        total = np.asarray(weight) if total is None else _apply(weight, total)
    if total is None:
        raise ValueError("There are no weights; pass those of at least one layer.")
    return np.linalg.svd(total, compute_uv=False)


def end_to_end_jacobian(
    weights: Iterable[np.ndarray],
    x: ArrayLike,
    *,
    gain: float = 1.0,
    activation: AnyActivation = TANH,
) -> np.ndarray:
    """Return the Jacobian of the activity of the last layer in that of the first.

    The network is x_{l+1} = gain * W phi(x_l), eqs. 20 and 22 of arXiv:1312.6120.

    Parameters
    ----------
    weights : iterable of ndarray of shape (n_out, n_in)
        Weights of each layer, first layer first.
    x : array-like of shape (n_inputs,)
        Activity of the first layer.
    gain : float, default=1.0
        Factor on all weights.
    activation : Activation, {"tanh", "relu", "identity"} or np.tanh, default=TANH
        Nonlinearity phi.

    Returns
    -------
    ndarray of shape (n_outputs, n_inputs), float64
        Jacobian.

    Raises
    ------
    ValueError
        If the shapes do not match.
    TypeError
        If the activation is not known.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.deep_linear.isometry import end_to_end_jacobian
    >>> end_to_end_jacobian([np.eye(2), np.eye(2)], [0.0, 100.0], gain=2.0).round(9)
    array([[4., 0.],
           [0., 0.]])
    """
    x = np.asarray(x, dtype=float)
    if x.ndim != 1:
        raise ValueError(
            f"x has shape {x.shape}; pass the activity of one example, of shape "
            "(n_inputs,)."
        )
    activation = as_activation(activation)
    jacobian = np.eye(len(x))
    for weight in weights:
        slopes = activation.derivative(x)
        jacobian = gain * _apply(weight, slopes[:, np.newaxis] * jacobian)
        x = gain * _apply(weight, activation.function(x))
    return jacobian


def layer_variances(
    weights: Iterable[np.ndarray],
    x: ArrayLike,
    *,
    gain: float = 1.0,
    activation: AnyActivation = TANH,
) -> np.ndarray:
    """Return the population variance of each layer of a network.

    The variance is the mean square q over neurons, eq. 21 of arXiv:1312.6120, in the
    network x_{l+1} = gain * W phi(x_l) of eq. 20.

    Parameters
    ----------
    weights, gain, activation
        As in `end_to_end_jacobian`.
    x : array-like of shape (n_inputs,)
        Activity of the first layer.

    Returns
    -------
    ndarray of shape (1 + number of weights,), float64
        Variances, beginning with that of `x`.

    Raises
    ------
    ValueError
        If the shapes do not match.
    TypeError
        If the activation is not known.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.deep_linear.isometry import layer_variances
    >>> layer_variances([np.eye(2)] * 3, [1.0, 1.0], gain=0.5).round(4)
    array([1.    , 0.145 , 0.033 , 0.0081])
    """
    activation = as_activation(activation)
    x = np.asarray(x, dtype=float)
    variances = [np.mean(x**2)]
    for weight in weights:
        x = gain * _apply(weight, activation.function(x))
        variances.append(np.mean(x**2))
    return np.array(variances)


def variance_map(
    q: ArrayLike, *, gain: float = 1.0, activation: AnyActivation = TANH
) -> np.ndarray:
    """Return the variance of a layer from that of the layer before, in wide networks.

    It is gain^2 times the mean of phi(sqrt(q) z)^2 over a standard Gaussian z, eq. 48
    and Fig. 8, left, of arXiv:1312.6120. The map holds for orthogonal weights, and for
    Gaussian weights of standard deviation 1/sqrt(N).

    Parameters
    ----------
    q : array-like of any shape
        Variances, 0 or larger.
    gain : float, default=1.0
        Factor on the weights.
    activation : Activation, {"tanh", "relu", "identity"} or np.tanh, default=TANH
        Nonlinearity phi.

    Returns
    -------
    ndarray of the shape of `q`, float64
        Variances of the next layer. The relative error is below 1e-9 for q up to 1,000
        if phi is smooth.

    Raises
    ------
    ValueError
        If a variance is negative.
    TypeError
        If the activation is not known.

    Examples
    --------
    >>> from skdmn.analysis.deep_linear.isometry import variance_map
    >>> variance_map([0.0, 0.1, 1.0, 10.0]).round(3)
    array([0.   , 0.084, 0.394, 0.757])
    """
    activation = as_activation(activation)
    q = np.asarray(q, dtype=float)
    if not np.all(q >= 0):
        raise ValueError(f"q has {q.min()}; pass variances of 0 or more.")
    activity = activation.function(np.sqrt(q)[..., np.newaxis] * _NODES)
    return gain**2 * (activity**2 @ _WEIGHTS)


def fixed_point(
    gain: ArrayLike, *, activation: AnyActivation = TANH
) -> float | np.ndarray:
    """Return the variance of the activity in the limit of infinite depth.

    It is the largest fixed point q of the variance map, eq. 49 and Fig. 8, right, of
    arXiv:1312.6120. The variance converges to it from any larger value; for tanh, from
    any value above 0.

    Parameters
    ----------
    gain : float or array-like
        Factor on the weights.
    activation : Activation, {"tanh", "relu", "identity"} or np.tanh, default=TANH
        Nonlinearity phi.

    Returns
    -------
    float, or ndarray of the shape of `gain`
        Variance. It is 0 if the activity vanishes (fixed points below 1e-10 count as
        0), and infinite if the activity grows without bound.

    Raises
    ------
    ValueError
        If `gain` is negative.
    TypeError
        If the activation is not known.

    Examples
    --------
    >>> from skdmn.analysis.deep_linear.isometry import fixed_point
    >>> [round(fixed_point(gain), 4) for gain in (0.9, 1.0, 1.1, 2.0)]
    [0.0, 0.0, 0.1127, 2.1215]
    """
    activation = as_activation(activation)
    if not np.all(np.asarray(gain) >= 0):
        raise ValueError(f"gain is {gain!r}; pass numbers of 0 or more.")
    if np.ndim(gain):
        each = [_fixed_point(float(one), activation) for one in np.ravel(gain)]
        return np.reshape(each, np.shape(gain))
    return _fixed_point(float(np.asarray(gain)), activation)


def _fixed_point(gain: float, activation: Activation) -> float:
    """Return the largest fixed point for one gain."""

    def growth(q: float | np.ndarray) -> np.ndarray:
        return variance_map(q, gain=gain, activation=activation) - q

    # the threshold excludes growth by rounding, as for the identity at gain 1
    growing = np.flatnonzero(growth(_VARIANCES) > 1e-12 * _VARIANCES)
    if not len(growing):
        return 0.0
    low = _VARIANCES[growing[-1]]
    high = 2 * low
    while growth(high) > 0:  # find an interval that contains the fixed point
        low, high = high, 2 * high
        if high > _ENDLESS:
            return math.inf
    return float(brentq(growth, low, high, xtol=1e-14))


def critical_gain(*, activation: AnyActivation = TANH) -> float:
    """Return the gain above which activity persists at any depth, the edge of chaos.

    It is the smallest gain at which the variance map has a fixed point q above 0, the
    minimum over q of sqrt(q / mean of phi(sqrt(q) z)^2). For odd nonlinearities that
    saturate it is 1 / phi'(0), which is 1 for tanh (appendix G of arXiv:1312.6120).

    Parameters
    ----------
    activation : Activation, {"tanh", "relu", "identity"} or np.tanh, default=TANH
        Nonlinearity phi.

    Returns
    -------
    float
        Critical gain.

    Examples
    --------
    >>> from skdmn.analysis.deep_linear.isometry import RELU, critical_gain
    >>> round(critical_gain(), 6), round(critical_gain(activation=RELU), 6)
    (1.0, 1.414214)
    """
    means = variance_map(_VARIANCES, activation=activation)
    with np.errstate(divide="ignore"):
        return float(np.sqrt(np.min(_VARIANCES / means)))


def _apply(weight: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Multiply weights with the activity of a layer; raise if shapes do not match."""
    weight = np.asarray(weight)
    if weight.ndim != 2 or weight.shape[1] != len(values):
        raise ValueError(
            f"The weights of a layer have shape {weight.shape}, but the layer before "
            f"has {len(values)} neurons; pass weights of shape (n_out, {len(values)})."
        )
    return weight @ values
