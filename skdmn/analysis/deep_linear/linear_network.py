"""Deep linear networks in NumPy: initial weights, gradient descent, matrix products.

A network of L layers is a list of L weight matrices of shape (n_out, n_in), first layer
first, as in the papers. Equations and definitions without a source are those of [1]_.

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
from skdmn.analysis.sgd.recorder import Recorder
from skdmn.utils.validation import as_rows, unmasked

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
        Widths m_0, ..., m_L: number of features, of neurons in each hidden layer, and
        of outputs.
    scheme : {"pc-bias", "glorot"}, default="pc-bias"
        Variances of the weights, see `initial_variances`.
    random_state : int, RandomState or None, default=None
        Seed for the weights.

    Returns
    -------
    list of ndarray of shape (m_l, m_{l-1}), float64
        Weights of each layer, first layer first.

    Raises
    ------
    ValueError
        As in `initial_variances`.

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
    """Return the variance of the initial weights of each layer.

    The variance of Glorot's scheme is 2 / (n_in + n_out) in every layer. Def. 3 of
    arXiv:2105.05553 uses 1 / m_1 in the first layer and 1 / m_{L-1} in the last, so
    that the initial gradient scale matrices are as close to the identity as possible.
    A network of one layer has no hidden width; both schemes use Glorot's variance.

    Parameters
    ----------
    widths : sequence of int
        Widths m_0, ..., m_L: number of features, of neurons in each hidden layer, and
        of outputs.
    scheme : {"pc-bias", "glorot"}, default="pc-bias"
        Def. 3 ("pc-bias") or Glorot's scheme ("glorot").

    Returns
    -------
    ndarray of shape (n_layers,), float64
        Variances.

    Raises
    ------
    ValueError
        If there are fewer than two widths, a width is below 1, or the scheme is
        unknown.

    Examples
    --------
    >>> from skdmn.analysis.deep_linear.linear_network import initial_variances
    >>> initial_variances([60, 100, 100, 20])
    array([0.01, 0.01, 0.01])
    >>> initial_variances([60, 100, 100, 20], "glorot").round(4)
    array([0.0125, 0.01  , 0.0167])
    """
    if scheme not in ("pc-bias", "glorot"):
        raise ValueError(f"scheme is {scheme!r}; pass 'pc-bias' or 'glorot'.")
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(
            f"widths is {list(widths)}; pass at least the numbers of features and of "
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
    (arXiv:2105.05553, eq. 5). It depends on the data only through second moments, so
    that the time of a step does not depend on the number of samples.

    Parameters
    ----------
    weights : list of ndarray of shape (m_l, m_{l-1})
        Weights at step 0. They are not changed.
    X : array-like of shape (n_samples, n_features)
        Inputs. Images are flattened.
    Y : array-like of shape (n_samples, n_outputs)
        Targets, such as one-hot encoded labels.
    learning_rate : float
        Learning rate mu. If the gradient scale matrices are close to the identity,
        training is stable below 2 / (n_layers * d_1), where d_1 is the largest of
        `principal_coordinates(X).values`.
    steps : sequence of int
        Steps after which the weights are recorded, in increasing order; 0 records the
        initial weights.

    Returns
    -------
    list of list of ndarray
        Weights of each layer at each of `steps`.

    Raises
    ------
    ValueError
        If the shapes do not match, `steps` is not increasing, or the weights diverge.

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
    Y = unmasked(Y, "Y")
    X = as_rows(X)
    Y = check_array(Y, dtype=np.float64)
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
                f"{learning_rate:g}; pass a learning rate well below {limit:.3g}."
            )
        kept.append(layers)
    return kept


def partial_products(
    layers: Weights,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return, for each layer, the products of the layers below and above it.

    Parameters
    ----------
    layers : list of ndarray of shape (m_l, m_{l-1})
        Weights of each layer, first layer first.

    Returns
    -------
    below : list of ndarray of shape (m_{l-1}, n_features)
        Products W_{l-1} ... W_1; the identity for the first layer.
    above : list of ndarray of shape (n_outputs, m_l)
        Products W_L ... W_{l+1}; the identity for the last layer.

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
    """Return the steps as a list; raise if they are not increasing."""
    steps = [int(step) for step in steps]
    if not steps or steps[0] < 0 or sorted(set(steps)) != steps:
        raise ValueError(
            f"steps is {steps}; pass at least one number, in increasing order, 0 or "
            "larger."
        )
    return steps


def compact_weights(weights: Weights | Recorder) -> np.ndarray:
    """Return the product W_L ... W_1 of all layers, the compact representation.

    For a nonlinear network, the activations are ignored, as in Section 3.3 of
    arXiv:2105.05553.

    Parameters
    ----------
    weights : list of ndarray of shape (m_l, m_{l-1}), or Recorder
        Weights of each layer, first layer first; or a recorder, or one of its records.

    Returns
    -------
    ndarray of shape (n_outputs, n_features) or (n_records, n_outputs, n_features)
        Matrix that the linear network applies, at each record of a recorder.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.deep_linear.linear_network import compact_weights
    >>> compact_weights([np.eye(3), np.array([[1.0, 2.0, 3.0]])])
    array([[1., 2., 3.]])
    """
    weights = weights.weights if isinstance(weights, Recorder) else weights
    return product([np.asarray(weight) for weight in weights])
