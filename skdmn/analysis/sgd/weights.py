"""What stochastic gradient descent does to the weights of each layer, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from skdmn.analysis.sgd.history import WeightHistory


def weight_products(weights: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Multiply each layer's weights with those of all layers above it.

    Parameters
    ----------
    weights : sequence of ndarray of shape (..., n_inputs, n_outputs)
        Of dense layers from the input up, such as ``history.weights``.

    Returns
    -------
    list of ndarray of shape (..., n_inputs, n_classes)
        The product of the weights m = k, ..., n for each layer k: what the paper draws
        in place of A^(k) ([1]_, Fig. 2B).

    Raises
    ------
    ValueError
        Where the outputs of a layer are not as many as the inputs of the next.

    See Also
    --------
    backward_matrices : A^(k) itself.

    References
    ----------
    .. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Separation of time scales and
       direct computation of weights in deep neural networks", arXiv:1703.04757v3,
       2018.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.sgd.weights import weight_products
    >>> [float(p[0, 0]) for p in weight_products([np.full((1, 1), 3.0)] * 3)]
    [27.0, 9.0, 3.0]
    """
    for k, (below, above) in enumerate(pairwise(weights)):
        if below.shape[-1] != above.shape[-2]:
            raise ValueError(
                f"Layer {k} has {below.shape[-1]} outputs and layer {k + 1} has "
                f"{above.shape[-2]} inputs; pass the weights of dense layers only."
            )
    products = [weights[-1]]
    for weight in reversed(weights[:-1]):
        products.insert(0, weight @ products[0])
    return products


def backward_matrices(
    weights: Sequence[np.ndarray], biases: Sequence[np.ndarray], X: np.ndarray
) -> list[np.ndarray]:
    r"""Compute A^(k), which brings gradients from the logits down to layer k.

    Parameters
    ----------
    weights : sequence of ndarray of shape (n_inputs, n_outputs)
        Of dense layers with ReLU, but for the last, from the input up, at one time.
    biases : sequence of ndarray of shape (n_outputs,)
    X : ndarray of shape (n, n_features)
        Inputs.

    Returns
    -------
    list of ndarray of shape (n, n_inputs, n_classes)
        For each layer and each input
        :math:`A^{(k)} = \prod_{m=k}^n \mathrm{diag}(\theta(\tilde h^{(m-1)})) w^{(m)}`
        ([1]_, eq. 5): the Jacobian of the logits with respect to the raw output of the
        layer below k, transposed; for the first layer, to the input.

    References
    ----------
    .. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Separation of time scales and
       direct computation of weights in deep neural networks", arXiv:1703.04757v3,
       2018.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.sgd.weights import backward_matrices
    >>> w = [np.array([[1.0, -1.0]]), np.array([[2.0], [3.0]])]
    >>> b = [np.zeros(2), np.zeros(1)]
    >>> [a[0].ravel() for a in backward_matrices(w, b, np.array([[1.0]]))]
    [array([2.]), array([2., 0.])]
    """
    hidden = np.asarray(X, dtype=float)
    gated = [np.broadcast_to(weights[0], (len(hidden), *weights[0].shape))]
    for k, (weight, bias) in enumerate(zip(weights[:-1], biases[:-1], strict=True)):
        raw = hidden @ weight + bias
        hidden = np.maximum(raw, 0.0)
        gated.append((raw > 0)[:, :, None] * weights[k + 1])
    return weight_products(gated)


def singular_values(matrices: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the singular values of each layer's weights or products.

    Parameters
    ----------
    matrices : sequence of ndarray of shape (..., n_inputs, n_outputs)
        ``history.weights``, or what `weight_products` or `backward_matrices` gives.

    Returns
    -------
    list of ndarray of shape (..., min(n_inputs, n_outputs))
        Largest first ([1]_, Fig. 2).

    References
    ----------
    .. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Separation of time scales and
       direct computation of weights in deep neural networks", arXiv:1703.04757v3,
       2018.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.sgd.weights import singular_values
    >>> singular_values([np.diag([1.0, 3.0])])
    [array([3., 1.])]
    """
    return [np.linalg.svd(matrix, compute_uv=False) for matrix in matrices]


def predicted_singular_value(weight: np.ndarray) -> np.ndarray:
    r"""Predict the largest singular value of weights behind half-open ReLUs.

    Parameters
    ----------
    weight : ndarray of shape (..., n_inputs, n_outputs)

    Returns
    -------
    ndarray of shape (...)
        :math:`\sqrt{n_{inputs} (\sum_a \bar w_a^2 + \sigma^2) / 2}`, where
        :math:`\bar w_a` is the mean of column a and :math:`\sigma^2` the mean of the
        columns' variances ([1]_, eq. 6).

    Notes
    -----
    Every other row is closed at random. The sum over columns follows from the rank-one
    matrix of their means and is not printed in the paper. Columns are taken to be
    uncorrelated, which holds for many more inputs than outputs: of random weights
    without mean the largest singular value is otherwise larger, by up to the root of
    2 n_outputs / n_inputs.

    References
    ----------
    .. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Separation of time scales and
       direct computation of weights in deep neural networks", arXiv:1703.04757v3,
       2018; eq. 27 of the supplement.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.sgd.weights import predicted_singular_value
    >>> w = np.random.default_rng(0).normal(size=(1000, 3)) * np.sqrt(2 / 1000)
    >>> float(predicted_singular_value(w).round(1))
    1.0
    """
    means, variances = weight.mean(axis=-2), weight.var(axis=-2)
    largest = np.sum(means**2, axis=-1) + variances.mean(axis=-1)
    return np.sqrt(0.5 * weight.shape[-2] * largest)


def layer_distances(history: WeightHistory) -> np.ndarray:
    """Return how far the weights of each layer are from their last.

    Parameters
    ----------
    history : WeightHistory

    Returns
    -------
    ndarray of shape (n_records, n_layers)
        Frobenius norm of w(t) - w(last), divided by that of w(0) - w(last), so that
        layers of any size compare: from 1 to 0, and 0 where a layer never moved.

    Notes
    -----
    The paper draws norms that are not divided ([1]_, Fig. 5 of the supplement). Both
    depend on when training was stopped.

    References
    ----------
    .. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Separation of time scales and
       direct computation of weights in deep neural networks", arXiv:1703.04757v3,
       2018.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.sgd.history import WeightHistory
    >>> from skdmn.analysis.sgd.weights import layer_distances
    >>> weights = np.array([0.0, 3.0, 4.0])[:, None, None]
    >>> history = WeightHistory(np.arange(3), [weights], [np.zeros((3, 1))])
    >>> layer_distances(history).ravel()
    array([1.  , 0.25, 0.  ])
    """
    distances = np.array(
        [np.linalg.norm(w - w[-1], axis=(1, 2)) for w in history.weights]
    ).T
    return distances / np.where(distances[0] > 0, distances[0], 1.0)
