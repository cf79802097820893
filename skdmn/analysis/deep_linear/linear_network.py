"""Deep linear networks in NumPy: initial weights, gradient descent, their product.

Weights are matrices (outputs, inputs), as in the papers: a network of L layers is a
list of L of them, first layer first. Equations and definitions named below are those
of [1]_.

References
----------
.. [1] G. Hacohen, D. Weinshall, "Principal components bias in over-parameterized
   linear models", arXiv:2105.05553.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from sklearn.utils import check_array, check_consistent_length, check_random_state

from skdmn.analysis.deep_linear.simulation import (
    check_layers,
    descent_directions,
    product,
)

Weights = Sequence[np.ndarray]


def initial_weights(
    widths: Sequence[int],
    scheme: Literal["pc-bias", "glorot"] = "pc-bias",
    *,
    random_state: Any = None,
) -> list[np.ndarray]:
    """Return uniform random weights with the variances of `initial_variances`.

    Parameters
    ----------
    widths : sequence of int
        Features, hidden widths, outputs: m_0, ..., m_L.
    scheme : {"pc-bias", "glorot"}, default="pc-bias"
        See `initial_variances`.
    random_state : int, RandomState or None, default=None

    Returns
    -------
    list of ndarray of shape (m_l, m_{l-1}), float64

    Examples
    --------
    >>> from skdmn.analysis.deep_linear.linear_network import initial_weights
    >>> [layer.shape for layer in initial_weights([64, 256, 10], random_state=0)]
    [(256, 64), (10, 256)]
    """
    rng = check_random_state(random_state)
    limits = np.sqrt(3 * initial_variances(widths, scheme))
    return [
        rng.uniform(-limit, limit, size=(rows, columns))
        for limit, rows, columns in zip(limits, widths[1:], widths[:-1], strict=True)
    ]


def initial_variances(
    widths: Sequence[int], scheme: Literal["pc-bias", "glorot"] = "pc-bias"
) -> np.ndarray:
    """Return the variance of each layer's initial weights.

    Glorot's is 2 / (inputs + outputs) in every layer. Def. 3 of arXiv:2105.05553
    differs in the first layer, 1 / m_1, and the last, 1 / m_{L-1}, so that the gradient
    scale matrices begin as close to the identity as can be. A single layer has no
    hidden width, and Glorot's variance in both schemes.

    Parameters
    ----------
    widths : sequence of int
        Features, hidden widths, outputs: m_0, ..., m_L.
    scheme : {"pc-bias", "glorot"}, default="pc-bias"
        Def. 3 or Glorot's.

    Returns
    -------
    ndarray of shape (n_layers,), float64

    Raises
    ------
    ValueError
        Where there are fewer than two widths, or the scheme is another.

    Examples
    --------
    >>> from skdmn.analysis.deep_linear.linear_network import initial_variances
    >>> initial_variances([60, 100, 100, 20])
    array([0.01, 0.01, 0.01])
    >>> initial_variances([60, 100, 100, 20], "glorot").round(4)
    array([0.0125, 0.01  , 0.0167])
    """
    if scheme not in ("pc-bias", "glorot"):
        raise ValueError(f"scheme is {scheme!r}; take 'pc-bias' or 'glorot'.")
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(
            f"widths is {list(widths)}; give at least the numbers of features and of "
            "outputs, each 1 or more."
        )
    m = np.asarray(widths, dtype=np.float64)
    variances = 2 / (m[:-1] + m[1:])
    if scheme == "pc-bias" and len(m) > 2:
        variances[0], variances[-1] = 1 / m[1], 1 / m[-2]
    return variances


def train_deep_linear(
    weights: Weights, X: Any, Y: Any, *, learning_rate: float, steps: Sequence[int]
) -> list[list[np.ndarray]]:
    """Train a deep linear network by full-batch gradient descent.

    The loss is half the squared error, summed over samples and outputs
    (arXiv:2105.05553, eq. 5). Only second moments enter: the time of a step does not
    depend on the number of samples.

    Parameters
    ----------
    weights : list of ndarray of shape (m_l, m_{l-1})
        At step 0; not changed.
    X : array-like of shape (n_samples, n_features)
    Y : array-like of shape (n_samples, n_outputs)
        Targets, such as one column of 0 and 1 for each class.
    learning_rate : float
        mu. Near the identity the network is stable below 2 / (n_layers * d_1), d_1 the
        largest of `principal_coordinates(X).values`.
    steps : sequence of int
        After which steps to keep the weights, in increasing order; 0 is the start.

    Returns
    -------
    list of list of ndarray
        The layers at each of `steps`.

    Raises
    ------
    ValueError
        Where shapes do not fit, steps are not increasing, or the weights diverge.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.deep_linear.linear_network import compact_weights
    >>> from skdmn.analysis.deep_linear.linear_network import train_deep_linear
    >>> kept = train_deep_linear(
    ...     [np.eye(2), np.ones((1, 2))], np.eye(2), [[2.0], [0.0]],
    ...     learning_rate=0.1, steps=[0, 1000],
    ... )
    >>> [compact_weights(layers).round(6) + 0.0 for layers in kept]
    [array([[1., 1.]]), array([[2., 0.]])]
    """
    X, Y = check_array(X, dtype=np.float64), check_array(Y, dtype=np.float64)
    layers = check_layers(weights, X.shape[1], Y.shape[1])
    check_consistent_length(X, Y)
    moments, targets = X.T @ X, Y.T @ X
    kept, step = [], 0
    for until in _check_steps(steps):
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(until - step):
                changes = descent_directions(layers, targets, moments)
                layers = [
                    layer + learning_rate * change
                    for layer, change in zip(layers, changes, strict=True)
                ]
        step = until
        if not all(np.isfinite(layer).all() for layer in layers):
            limit = 2 / (len(layers) * np.linalg.norm(moments, 2))
            raise ValueError(
                f"The weights diverged before step {step} with learning_rate="
                f"{learning_rate:g}; take one well below {limit:.3g}."
            )
        kept.append(layers)
    return kept


def partial_products(
    layers: Weights,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return, for each layer, the product of the layers below it and of those above.

    Parameters
    ----------
    layers : list of ndarray of shape (m_l, m_{l-1})
        First layer first.

    Returns
    -------
    below : list of ndarray of shape (m_{l-1}, n_features)
        W_{l-1} ... W_1; the identity for the first layer.
    above : list of ndarray of shape (n_outputs, m_l)
        W_L ... W_{l+1}; the identity for the last layer.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.deep_linear.linear_network import partial_products
    >>> below, above = partial_products([np.array([[2.0]]), np.array([[3.0]])])
    >>> below, above
    ([array([[1.]]), array([[2.]])], [array([[3.]]), array([[1.]])])
    """
    below, above = [np.eye(layers[0].shape[1])], [np.eye(layers[-1].shape[0])]
    for layer in layers[:-1]:
        below.append(layer @ below[-1])
    for layer in reversed(layers[1:]):
        above.append(above[-1] @ layer)
    return below, above[::-1]


def _check_steps(steps: Sequence[int]) -> list[int]:
    steps = [int(step) for step in steps]
    if not steps or steps[0] < 0 or sorted(set(steps)) != steps:
        raise ValueError("steps must be one or more increasing numbers, 0 or above.")
    return steps


def compact_weights(weights: Weights) -> np.ndarray:
    """Return the product W_L ... W_1: the one matrix that the network applies.

    Of a network that is not linear this is its compact representation with the
    activations left out, as in Section 3.3.

    Parameters
    ----------
    weights : list of ndarray of shape (m_l, m_{l-1})
        First layer first.

    Returns
    -------
    ndarray of shape (n_outputs, n_features)

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.deep_linear.linear_network import compact_weights
    >>> compact_weights([np.eye(3), np.array([[1.0, 2.0, 3.0]])])
    array([[1., 2., 3.]])
    """
    return product([np.asarray(weight) for weight in weights])
