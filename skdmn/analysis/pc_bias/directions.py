"""Learning of deep linear networks along the principal directions of the data.

Gradient descent on a wide linear network changes the product W of its weights along
each principal direction of the data at a different rate: the singular value of the
direction times depth and learning rate [1]_. The functions here compute or check this.
Equations, theorems and figures without a source are those of [1]_.

Data are rows, as in scikit-learn. A network of L layers is a list of L weight matrices
of shape (n_out, n_in), first layer first. Its compact representation is their product,
of shape (n_outputs, n_features).

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

from skdmn.analysis.deep_linear.linear_network import Weights, partial_products
from skdmn.statistics.filters import fix_signs
from skdmn.utils.validation import as_rows


class PrincipalCoordinates(NamedTuple):
    """Eigenvalues and eigenvectors of the second-moment matrix of data.

    Attributes
    ----------
    values : ndarray of shape (n_features,), float64
        Singular values d_j of X^T X, largest first, in squared units of X. Values that
        are 0 up to rounding are set to 0.
    directions : ndarray of shape (n_features, n_features), float64
        Unit vectors as rows. `X @ directions.T` are the principal coordinates of data
        X, `W @ directions.T` those of a compact representation W.
    """

    values: np.ndarray
    directions: np.ndarray


class GradientScales(NamedTuple):
    """Gradient scale matrices of all layers.

    Attributes
    ----------
    left : ndarray of shape (n_layers, n_outputs, n_outputs), float64
        Matrices A_l, computed from the layers above layer l.
    right : ndarray of shape (n_layers, n_features, n_features), float64
        Matrices B_l, computed from the layers below layer l.
    """

    left: np.ndarray
    right: np.ndarray


class Drift(NamedTuple):
    """Distance of matrices from a multiple of the identity.

    Attributes
    ----------
    diagonal : ndarray
        Mean absolute difference of the diagonal entries from the expected value.
    off_diagonal : ndarray
        Mean absolute value of the other entries; 0 for 1 x 1 matrices.
    """

    diagonal: np.ndarray
    off_diagonal: np.ndarray


class DirectionConvergence(NamedTuple):
    """Convergence of an ensemble of networks along each direction.

    Attributes
    ----------
    distance : ndarray of shape (n_steps, n_features)
        Distance from the optimum, averaged over networks and outputs.
    spread : ndarray of shape (n_steps, n_features)
        Standard deviation over networks, averaged over outputs.
    """

    distance: np.ndarray
    spread: np.ndarray


def principal_coordinates(X: Any) -> PrincipalCoordinates:
    """Return the principal coordinate system of data (arXiv:2105.05553, Def. 1).

    As in the paper, the data are not centred, and second moments are not divided by the
    number of samples. For ordinary principal components, subtract the mean first.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Data. Images are flattened.

    Returns
    -------
    PrincipalCoordinates

    Raises
    ------
    ValueError
        If X has one dimension, or is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.pc_bias.directions import principal_coordinates
    >>> principal_coordinates(np.array([[0.0, 3.0], [2.0, 0.0]]))
    PrincipalCoordinates(values=array([9., 4.]), directions=array([[0., 1.], [1., 0.]]))
    """
    X = as_rows(X)
    roots, directions = singular_vectors(X, full=True)
    rank = np.count_nonzero(roots > roots[0] * max(X.shape) * np.finfo(float).eps)
    values = np.zeros(X.shape[1])
    values[:rank] = roots[:rank] ** 2
    return PrincipalCoordinates(values, fix_signs(directions) + 0.0)  # -0.0 to 0.0


def singular_vectors(
    X: np.ndarray, *, full: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the singular values and the right singular vectors of data.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), float64
        Data.
    full : bool, default=False
        If True, also return the directions along which all samples are 0.

    Returns
    -------
    values : ndarray of shape (min(n_samples, n_features),)
        Singular values of X, largest first.
    directions : ndarray of shape (n_features or min(n_samples, n_features), n_features)
        Unit vectors as rows.
    """
    # QR of X, because computing X^T X would lose the small singular values
    triangle = qr(X, mode="r")[0][: X.shape[1]] if len(X) > X.shape[1] else X
    _, values, directions = svd(triangle, full_matrices=full)
    return values, directions


def gradient_scale_matrices(weights: Weights) -> GradientScales:
    """Return the gradient scale matrices of a deep linear network.

    A step of gradient descent changes the product W of all layers by
    -mu sum_l A_l Er B_l, to first order in mu. Er is the gradient of the loss with
    respect to W, and A_l and B_l are the left and right gradient scale matrices of
    layer l (arXiv:2105.05553, eqs. 6 and 7).

    Parameters
    ----------
    weights : list of ndarray of shape (m_l, m_{l-1})
        Weights of each layer, first layer first.

    Returns
    -------
    GradientScales

    Notes
    -----
    Even in wide networks, the matrices do not stay close to the identity. For one very
    wide hidden layer with initial weights of Def. 3, gradient flow conserves
    A_1^2 - W W^T and B_2^2 - W^T W. Therefore A_1 = sqrt(I + W W^T) and
    B_2 = sqrt(I + W^T W), which are close to the identity only if W stays small. The
    traces of both change by the same amount, so that the diagonal of A drifts
    n_features / n_outputs times as far as that of B (Fig. 3).

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
    """Return the expectation of the initial gradient scale matrices.

    The expectation of A_l over random weights is alpha_l times the identity, and that
    of B_l is beta_l times the identity (arXiv:2105.05553, eqs. 12 and 13).

    Parameters
    ----------
    widths : sequence of int
        Widths m_0, ..., m_L: number of features, of neurons in each hidden layer, and
        of outputs.
    variances : array-like of shape (n_layers,)
        Variances of the weights of each layer, which are independent and have mean 0,
        such as from `initial_variances`.

    Returns
    -------
    alpha, beta : ndarray of shape (n_layers,), float64
        Diagonal entries of the expected matrices.

    Raises
    ------
    ValueError
        If there is not one variance for each layer.

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
            f"There are {len(variances)} variances for {len(m)} widths; pass one "
            "variance for each layer and one more width than layers."
        )
    up, down = m[1:] * variances, m[:-1] * variances
    beta = np.cumprod(np.append(1.0, up[:-1]))
    alpha = np.cumprod(np.append(1.0, down[:0:-1]))[::-1]
    return alpha, beta


def drift(matrices: Any, expected: Any = 1.0) -> Drift:
    """Return the distance of square matrices from a multiple of the identity.

    The two distances are those of arXiv:2105.05553, Fig. 3, with one difference: the
    paper averages the off-diagonal entries, whereas this function averages their
    absolute values, so that they do not cancel.

    Parameters
    ----------
    matrices : array-like of shape (..., n, n)
        Gradient scale matrices, for any number of steps and layers.
    expected : array-like that broadcasts with shape (...), default=1.0
        Expected diagonal entries, alpha_l or beta_l.

    Returns
    -------
    Drift
        Its arrays have the shape (...).

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
    """Predict the weights of a wide network along the principal directions.

    All gradient scale matrices are approximated by the identity. After s steps, column
    j of the compact representation is then lambda_j^s times its initial value plus
    (1 - lambda_j^s) times its optimum m_j / d_j, where lambda_j = 1 - mu L d_j
    (arXiv:2105.05553, eq. 10). This is exact for one layer.

    Parameters
    ----------
    initial : array-like of shape (n_outputs, n_features)
        Compact representation at step 0, in principal coordinates.
    values : array-like of shape (n_features,)
        Singular values d_j of X^T X.
    targets : array-like of shape (n_outputs, n_features)
        Y^T X in principal coordinates, whose columns are m_j.
    learning_rate : float
        Learning rate mu.
    n_layers : int
        Number of layers L.
    steps : array-like of shape (n_steps,)
        Steps s to predict the weights for.

    Returns
    -------
    ndarray of shape (n_steps, n_outputs, n_features)
        Compact representations in principal coordinates.

    Raises
    ------
    ValueError
        If the shapes do not match.

    Examples
    --------
    One step reduces the distance from the optimum by a tenth for d = 1, and by four
    tenths for d = 4:

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
    # if d is 0, so is m, and the weights do not change
    optimum = np.divide(targets, values, out=np.zeros_like(targets), where=values > 0)
    left = left[:, np.newaxis]
    return left * initial + (1 - left) * optimum


def predicted_weights_from_scales(
    initial: Any, values: Any, targets: Any, left: Any, *, learning_rate: float
) -> np.ndarray:
    """Predict the weights from measured left gradient scale matrices.

    Only the right gradient scale matrices are approximated by the identity. The paper
    finds that they stay close to it for longer (arXiv:2105.05553, eqs. 8 and 9).

    Parameters
    ----------
    initial : array-like of shape (n_outputs, n_features)
        Compact representation at step 0, in principal coordinates.
    values : array-like of shape (n_features,)
        Singular values d_j of X^T X.
    targets : array-like of shape (n_outputs, n_features)
        Y^T X in principal coordinates.
    left : array-like of shape (n_steps, n_outputs, n_outputs)
        Matrices A^s, the sum over layers of A_l, at steps 0, 1, ..., n_steps - 1.
    learning_rate : float
        Learning rate mu.

    Returns
    -------
    ndarray of shape (n_steps + 1, n_outputs, n_features)
        Compact representations in principal coordinates, at steps 0, 1, ..., n_steps.

    Raises
    ------
    ValueError
        If the shapes do not match.

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
    """Return the arrays of a problem in float64; raise if their shapes do not match."""
    initial, values, targets = (
        np.asarray(given, dtype=np.float64) for given in (initial, values, targets)
    )
    if initial.ndim != 2 or initial.shape != targets.shape:
        raise ValueError(
            f"initial has shape {initial.shape} and targets {targets.shape}; pass both "
            "with the same shape (n_outputs, n_features)."
        )
    if values.shape != initial.shape[1:]:
        raise ValueError(
            f"values has shape {values.shape}; pass one singular value for each of "
            f"{initial.shape[1]} features."
        )
    return initial, values, targets


def convergence_by_direction(ensemble: Any, optimum: Any) -> DirectionConvergence:
    """Return the distance from the optimum and the spread along each direction.

    Both are plotted in arXiv:2105.05553, Figs. 2 and 4.

    Parameters
    ----------
    ensemble : array-like of shape (n_networks, n_steps, n_outputs, n_features)
        Compact representations of several networks, in principal coordinates.
    optimum : array-like of shape (n_outputs, n_features)
        Optimal linear map, in principal coordinates.

    Returns
    -------
    DirectionConvergence

    Raises
    ------
    ValueError
        If the shapes do not match.

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
            "pass shapes (n_networks, n_steps, n_outputs, n_features) and "
            "(n_outputs, n_features)."
        )
    return DirectionConvergence(
        np.abs(ensemble - optimum).mean(axis=(0, 2)), ensemble.std(axis=0).mean(axis=1)
    )
