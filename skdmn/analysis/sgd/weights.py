"""Singular values and convergence of the weights of each layer during training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from skdmn.analysis.sgd.history import WeightHistory
from skdmn.analysis.sgd.recorder import RecordedWeights, Recorder
from skdmn.utils.validation import as_rows


def weight_products(
    weights: Sequence[np.ndarray] | Recorder | RecordedWeights,
) -> list[np.ndarray]:
    """Multiply the weights of each layer with those of all layers above it.

    Parameters
    ----------
    weights : sequence of ndarray of shape (..., n_inputs, n_outputs), or Recorder
        Weights of dense layers, first layer first, such as ``history.weights``; or a
        `Recorder` or one of its records.

    Returns
    -------
    list of ndarray of shape (..., n_inputs, n_classes)
        For each layer k, the product of the weights of layers k to n. The paper plots
        it instead of A^(k) ([1]_, Fig. 2B).

    Raises
    ------
    ValueError
        If the number of outputs of a layer is not the number of inputs of the next.

    See Also
    --------
    backward_matrices : Compute A^(k), including the ReLUs.

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
    weights = _in_layout(weights)
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
    weights: Sequence[np.ndarray] | RecordedWeights,
    biases: Sequence[np.ndarray],
    X: np.ndarray,
) -> list[np.ndarray]:
    r"""Compute A^(k), which propagates gradients from the logits back to layer k.

    Parameters
    ----------
    weights : sequence of ndarray of shape (n_inputs, n_outputs)
        Weights of dense layers at one time, first layer first, or a record of a
        `Recorder`. All layers but the last have a ReLU.
    biases : sequence of ndarray of shape (n_outputs,)
        Biases of these layers.
    X : ndarray of shape (n, n_features)
        Inputs. Images are flattened.

    Returns
    -------
    list of ndarray of shape (n, n_inputs, n_classes)
        For each layer k and each input, the matrix
        :math:`A^{(k)} = \prod_{m=k}^n \mathrm{diag}(\theta(\tilde h^{(m-1)})) w^{(m)}`
        ([1]_, eq. 5). It is the transposed Jacobian of the logits with respect to the
        output of layer k - 1 before its ReLU; for the first layer, with respect to the
        input.

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
    weights, hidden = _in_layout(weights), as_rows(X)
    gated = [np.broadcast_to(weights[0], (len(hidden), *weights[0].shape))]
    for k, (weight, bias) in enumerate(zip(weights[:-1], biases[:-1], strict=True)):
        raw = hidden @ weight + bias
        hidden = np.maximum(raw, 0.0)
        gated.append((raw > 0)[:, :, None] * weights[k + 1])
    return weight_products(gated)


def singular_values(
    matrices: Sequence[np.ndarray] | Recorder | RecordedWeights,
) -> list[np.ndarray]:
    """Return the singular values of the weights, or of their products, of each layer.

    Parameters
    ----------
    matrices : sequence of ndarray of shape (..., n_inputs, n_outputs)
        ``history.weights``, the result of `weight_products` or `backward_matrices`, a
        `Recorder`, or one of its records.

    Returns
    -------
    list of ndarray of shape (..., min(n_inputs, n_outputs))
        Singular values, largest first ([1]_, Fig. 2).

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
    matrices = _in_layout(matrices)
    return [np.linalg.svd(matrix, compute_uv=False) for matrix in matrices]


def predicted_singular_value(weight: np.ndarray) -> np.ndarray:
    r"""Predict the largest singular value of weights if half of the ReLUs are active.

    Parameters
    ----------
    weight : ndarray of shape (..., n_inputs, n_outputs)
        Weights of one layer.

    Returns
    -------
    ndarray of shape (...)
        :math:`\sqrt{n_{inputs} (\sum_a \bar w_a^2 + \sigma^2) / 2}`, where
        :math:`\bar w_a` is the mean of column a and :math:`\sigma^2` the mean of the
        columns' variances ([1]_, eq. 6).

    Notes
    -----
    Half of the rows, chosen at random, are set to zero by the ReLUs of their inputs.
    The sum over columns follows from the rank-one matrix of the column means; the paper
    does not print it. Columns are assumed to be uncorrelated, which requires many more
    inputs than outputs. Otherwise the largest singular value of random weights of mean
    zero is larger than predicted, by up to sqrt(2 n_outputs / n_inputs).

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


def layer_distances(history: WeightHistory | Recorder) -> np.ndarray:
    """Return the distance of the weights of each layer from their final values.

    Parameters
    ----------
    history : WeightHistory or Recorder
        Recorded weights.

    Returns
    -------
    ndarray of shape (n_records, n_layers)
        Frobenius norm of w(t) - w(last), divided by that of w(0) - w(last), so that
        layers of different size can be compared. It is 1 at the start and 0 at the
        end, and always 0 for a layer whose weights never changed.

    Notes
    -----
    The paper plots norms without this division ([1]_, Fig. 5 of the supplement). Both
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
    history = history.history if isinstance(history, Recorder) else history
    distances = np.array(
        [np.linalg.norm(w - w[-1], axis=(1, 2)) for w in history.weights]
    ).T
    return distances / np.where(distances[0] > 0, distances[0], 1.0)


def _in_layout(weights: Any) -> Sequence[np.ndarray]:
    """Return weights of shape (..., n_inputs, n_outputs), also of a recorder."""
    if isinstance(weights, Recorder):
        return weights.history.weights
    if isinstance(weights, RecordedWeights):
        return [weight.T for weight in weights]
    return weights
