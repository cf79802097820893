"""How deep linear networks learn along the principal directions of the data.

Gradient descent on a wide linear network moves its product of weights W along each
principal direction of the data at a rate of its own: the singular value of that
direction times depth and learning rate. Everything here states or checks that claim,
made in [1]_; equations, theorems and figures named below are those of that paper.

Data are rows, as in scikit-learn. Weights are matrices (outputs, inputs), as in the
paper: a network of L layers is a list of L of them, first layer first, and its
compact representation is their product, of shape (n_outputs, n_features).

References
----------
.. [1] G. Hacohen, D. Weinshall, "Principal components bias in over-parameterized
   linear models", arXiv:2105.05553.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import qr, svd
from sklearn.utils import check_array

from skdmn.analysis.deep_linear.linear_network import Weights, partial_products
from skdmn.statistics.filters import fix_signs


class PrincipalCoordinates(NamedTuple):
    """The directions in which the second moments of data are diagonal.

    Attributes
    ----------
    values : ndarray of shape (n_features,), float64
        Singular values d_j of X^T X, largest first, in squared units of X; 0 where they
        are rounding.
    directions : ndarray of shape (n_features, n_features), float64
        Unit vectors as rows. `X @ directions.T` are the principal coordinates of data
        X, `W @ directions.T` those of a compact representation W.
    """

    values: np.ndarray
    directions: np.ndarray


class GradientScales(NamedTuple):
    """The gradient scale matrices of every layer.

    Attributes
    ----------
    left : ndarray of shape (n_layers, n_outputs, n_outputs), float64
        A_l, from the layers above layer l.
    right : ndarray of shape (n_layers, n_features, n_features), float64
        B_l, from the layers below layer l.
    """

    left: np.ndarray
    right: np.ndarray


class Drift(NamedTuple):
    """How far matrices are from a multiple of the identity.

    Attributes
    ----------
    diagonal : ndarray
        Mean distance of the diagonal entries from the expected one.
    off_diagonal : ndarray
        Mean magnitude of the other entries; 0 for 1 x 1 matrices.
    """

    diagonal: np.ndarray
    off_diagonal: np.ndarray


class DirectionConvergence(NamedTuple):
    """How an ensemble of networks converges along each direction.

    Attributes
    ----------
    distance : ndarray of shape (n_steps, n_features)
        Mean distance from the optimum, over networks and outputs.
    spread : ndarray of shape (n_steps, n_features)
        Standard deviation over networks, mean over outputs.
    """

    distance: np.ndarray
    spread: np.ndarray


def principal_coordinates(X: Any) -> PrincipalCoordinates:
    """Return the principal coordinate system of data (arXiv:2105.05553, Def. 1).

    The second moments are neither centred nor divided by the number of samples, as in
    the paper; subtract the mean first for ordinary principal components.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)

    Returns
    -------
    PrincipalCoordinates

    Raises
    ------
    ValueError
        Where X is not a finite array of two dimensions.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.pc_bias.directions import principal_coordinates
    >>> principal_coordinates(np.array([[0.0, 3.0], [2.0, 0.0]]))
    PrincipalCoordinates(values=array([9., 4.]), directions=array([[0., 1.], [1., 0.]]))
    """
    X = check_array(X, dtype=np.float64)
    # by QR rather than from X^T X, which loses the small singular values
    _, roots, directions = svd(qr(X, mode="r")[0][: X.shape[1]])
    rank = np.count_nonzero(roots > roots[0] * max(X.shape) * np.finfo(float).eps)
    values = np.zeros(X.shape[1])
    values[:rank] = roots[:rank] ** 2
    return PrincipalCoordinates(values, fix_signs(directions) + 0.0)  # no minus zero


def gradient_scale_matrices(weights: Weights) -> GradientScales:
    """Return the gradient scale matrices of a deep linear network.

    They turn the gradient of one layer into that of many: a step of gradient descent
    changes the product W by -mu sum_l A_l Er B_l, to first order in mu
    (arXiv:2105.05553, eqs. 6 and 7).

    Width alone does not keep them at the identity. From weights as of Def. 3 with one
    very wide hidden layer, gradient flow holds A_1 = sqrt(I + W W^T) and
    B_2 = sqrt(I + W^T W), since it conserves A_1^2 - W W^T and B_2^2 - W^T W: they
    stay where the optimal W is small. Both drift by the same trace, so that the
    diagonal of A drifts n_features / n_outputs times as far as that of B (Fig. 3).

    Parameters
    ----------
    weights : list of ndarray of shape (m_l, m_{l-1})
        First layer first.

    Returns
    -------
    GradientScales

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.pc_bias.directions import gradient_scale_matrices
    >>> left, right = gradient_scale_matrices([np.array([[2.0]]), np.array([[3.0]])])
    >>> left.ravel(), right.ravel()
    (array([9., 1.]), array([1., 4.]))
    """
    below, above = partial_products(weights)
    return GradientScales(
        np.array([product @ product.T for product in above]),
        np.array([product.T @ product for product in below]),
    )


def expected_gradient_scales(
    widths: Sequence[int], variances: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return what gradient scale matrices are on average at the start.

    The average of A_l over random weights is alpha_l times the identity, that of B_l
    beta_l times it (arXiv:2105.05553, eqs. 12 and 13).

    Parameters
    ----------
    widths : sequence of int
        Features, hidden widths, outputs: m_0, ..., m_L.
    variances : array-like of shape (n_layers,)
        Of each layer's independent weights of mean 0, as `initial_variances` gives.

    Returns
    -------
    alpha, beta : ndarray of shape (n_layers,), float64

    Examples
    --------
    >>> from skdmn.analysis.deep_linear.linear_network import initial_variances
    >>> from skdmn.analysis.pc_bias.directions import expected_gradient_scales
    >>> widths = [64, 256, 256, 10]
    >>> expected_gradient_scales(widths, initial_variances(widths))
    (array([1., 1., 1.]), array([1., 1., 1.]))
    """
    m, variances = np.asarray(widths), np.asarray(variances, dtype=np.float64)
    if len(variances) != len(m) - 1:
        raise ValueError(
            f"There are {len(variances)} variances for {len(m)} widths; give one for "
            "each layer, and one width more."
        )
    up, down = m[1:] * variances, m[:-1] * variances
    beta = np.cumprod(np.append(1.0, up[:-1]))
    alpha = np.cumprod(np.append(1.0, down[:0:-1]))[::-1]
    return alpha, beta


def drift(matrices: Any, expected: Any = 1.0) -> Drift:
    """Return how far square matrices are from a multiple of the identity.

    The two quantities of arXiv:2105.05553, Fig. 3, for any number of steps and layers
    at once. Of the entries off the diagonal it is the magnitude that
    is averaged, where the paper averages the entries: nothing cancels.

    Parameters
    ----------
    matrices : array-like of shape (..., n, n)
    expected : array-like that broadcasts with shape (...), default=1.0
        What the diagonal is expected to be: alpha_l or beta_l.

    Returns
    -------
    Drift
        Of arrays of shape (...).

    Examples
    --------
    >>> from skdmn.analysis.pc_bias.directions import drift
    >>> diagonal, off_diagonal = drift([[1.5, 0.25], [-0.25, 1.0]])
    >>> float(diagonal), float(off_diagonal)
    (0.25, 0.25)
    """
    matrices = np.asarray(matrices, dtype=np.float64)
    n = matrices.shape[-1]
    diagonals = np.diagonal(matrices, axis1=-2, axis2=-1)
    distance = np.abs(diagonals - np.asarray(expected)[..., np.newaxis]).mean(axis=-1)
    others = np.abs(matrices).sum(axis=(-2, -1)) - np.abs(diagonals).sum(axis=-1)
    return Drift(distance, others / max(n * (n - 1), 1))


def predicted_weights(
    initial: Any,
    values: Any,
    targets: Any,
    *,
    learning_rate: float,
    n_layers: int,
    steps: Any,
) -> np.ndarray:
    """Predict a wide network's weights along the principal directions.

    After s steps column j of the compact representation is lambda_j^s times what it was
    plus (1 - lambda_j^s) times its optimum m_j / d_j, where lambda_j = 1 - mu L d_j:
    all gradient scale matrices taken as the identity. Exact for one layer
    (arXiv:2105.05553, eq. 10).

    Parameters
    ----------
    initial : array-like of shape (n_outputs, n_features)
        Compact representation at step 0, in principal coordinates.
    values : array-like of shape (n_features,)
        Singular values d_j of X^T X.
    targets : array-like of shape (n_outputs, n_features)
        Y^T X in principal coordinates: m_j are its columns.
    learning_rate : float
        mu.
    n_layers : int
        L.
    steps : array-like of shape (n_steps,)
        Steps s to predict for.

    Returns
    -------
    ndarray of shape (n_steps, n_outputs, n_features)

    Raises
    ------
    ValueError
        Where the shapes do not fit.

    Examples
    --------
    One step makes good a tenth of the way where d is 1, four tenths where it is 4:

    >>> from skdmn.analysis.pc_bias.directions import predicted_weights
    >>> predicted_weights(
    ...     [[0.0, 0.0]], [4.0, 1.0], [[4.0, 1.0]],
    ...     learning_rate=0.1, n_layers=1, steps=[0, 1],
    ... )
    array([[[0. , 0. ]], [[0.4, 0.1]]])
    """
    initial, values, targets = _check_problem(initial, values, targets)
    rates = learning_rate * n_layers * values
    left = (1 - rates) ** np.asarray(steps)[:, np.newaxis]
    # of the optimum m / d; where d is 0 so is m, and nothing moves
    optimum = np.divide(targets, values, out=np.zeros_like(targets), where=values > 0)
    left = left[:, np.newaxis]
    return left * initial + (1 - left) * optimum


def predicted_weights_from_scales(
    initial: Any, values: Any, targets: Any, left: Any, *, learning_rate: float
) -> np.ndarray:
    """Predict the weights from measured left scale matrices.

    Only the right scale matrices are taken as the identity: the paper finds that they
    stay there longer (arXiv:2105.05553, eqs. 8 and 9).

    Parameters
    ----------
    initial : array-like of shape (n_outputs, n_features)
        Compact representation at step 0, in principal coordinates.
    values : array-like of shape (n_features,)
        Singular values d_j of X^T X.
    targets : array-like of shape (n_outputs, n_features)
        Y^T X in principal coordinates.
    left : array-like of shape (n_steps, n_outputs, n_outputs)
        A^s, the sum over layers of A_l, at steps 0, 1, ..., n_steps - 1.
    learning_rate : float
        mu.

    Returns
    -------
    ndarray of shape (n_steps + 1, n_outputs, n_features)
        At steps 0, 1, ..., n_steps.

    Raises
    ------
    ValueError
        Where the shapes do not fit.

    Examples
    --------
    >>> from skdmn.analysis.pc_bias.directions import predicted_weights_from_scales
    >>> predicted_weights_from_scales(
    ...     [[0.0, 0.0]], [4.0, 1.0], [[4.0, 1.0]], [[[1.0]]], learning_rate=0.1
    ... )
    array([[[0. , 0. ]], [[0.4, 0.1]]])
    """
    initial, values, targets = _check_problem(initial, values, targets)
    predicted = [initial]
    for scale in np.asarray(left, dtype=np.float64):
        error = predicted[-1] * values - targets
        predicted.append(predicted[-1] - learning_rate * scale @ error)
    return np.array(predicted)


def _check_problem(
    initial: Any, values: Any, targets: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    initial, values, targets = (
        np.asarray(given, dtype=np.float64) for given in (initial, values, targets)
    )
    if initial.ndim != 2 or initial.shape != targets.shape:
        raise ValueError(
            f"initial has shape {initial.shape} and targets {targets.shape}; both must "
            "be (n_outputs, n_features)."
        )
    if values.shape != initial.shape[1:]:
        raise ValueError(
            f"values has shape {values.shape}; give one singular value for each of "
            f"{initial.shape[1]} features."
        )
    return initial, values, targets


def convergence_by_direction(ensemble: Any, optimum: Any) -> DirectionConvergence:
    """Return distance and spread of an ensemble along each direction.

    Source: arXiv:2105.05553, Figs. 2 and 4.

    Parameters
    ----------
    ensemble : array-like of shape (n_networks, n_steps, n_outputs, n_features)
        Compact representations in principal coordinates.
    optimum : array-like of shape (n_outputs, n_features)
        The optimal linear map, in principal coordinates.

    Returns
    -------
    DirectionConvergence

    Examples
    --------
    >>> from skdmn.analysis.pc_bias.directions import convergence_by_direction
    >>> found = convergence_by_direction([[[[1.0, 0.0]]], [[[1.0, 4.0]]]], [[1.0, 2.0]])
    >>> found.distance, found.spread
    (array([[0., 2.]]), array([[0., 2.]]))
    """
    ensemble = np.asarray(ensemble, dtype=np.float64)
    if ensemble.ndim != 4 or ensemble.shape[2:] != np.shape(optimum):
        raise ValueError(
            f"ensemble has shape {ensemble.shape} and optimum {np.shape(optimum)}; "
            "they must be (n_networks, n_steps, n_outputs, n_features) and "
            "(n_outputs, n_features)."
        )
    return DirectionConvergence(
        np.abs(ensemble - optimum).mean(axis=(0, 2)), ensemble.std(axis=0).mean(axis=1)
    )
