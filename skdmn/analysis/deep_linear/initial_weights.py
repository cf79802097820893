"""Initial weights of deep linear networks, and a test of the pretraining condition.

With decoupled weights, each mode of a task is learned independently of the others.
Orthogonal weights preserve the length of vectors at any depth. Scaled Gaussian weights
do neither. Greedy pretraining does both if the input directions of the task are
principal components of the inputs [1]_.

References
----------
.. [1] A. Saxe, J. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics
   of learning in deep linear neural networks", arXiv:1312.6120, 2013.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from skdmn.analysis.deep_linear.modes import mode_strength
from skdmn.analysis.deep_linear.simulation import correlations

RandomState = int | np.random.RandomState | None


def decoupled_weights(
    sigma31: ArrayLike,
    hidden: Sequence[int],
    u0: ArrayLike,
    *,
    random_state: RandomState = None,
) -> list[np.ndarray]:
    """Return weights with which the modes of a task are learned independently.

    The weights of layer l are R_{l+1} D_l R_l^T. The first R contains the right and the
    last R the left singular vectors of Sigma31; the others are random matrices with
    orthonormal columns. D_l is diagonal and the same in all layers (section 2 of
    arXiv:1312.6120).

    Parameters
    ----------
    sigma31 : array-like of shape (n_outputs, n_inputs)
        Correlations of outputs with inputs.
    hidden : sequence of int
        Number of neurons of each hidden layer. The number of modes is at most the
        smallest of them; the strongest modes are kept.
    u0 : float or array-like of shape (n_modes,)
        Initial strengths, 0 or larger. A strength is the product of the weights of a
        mode.
    random_state : int, RandomState or None, default=None
        Seed for the random matrices.

    Returns
    -------
    list of ndarray, float64
        Weights of each layer, first layer first.

    Raises
    ------
    ValueError
        If `u0` is negative or has the wrong number of modes.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.deep_linear.initial_weights import decoupled_weights
    >>> weights = decoupled_weights(np.diag([3.0, 2.0]), [5, 4], 0.1, random_state=0)
    >>> [weight.shape for weight in weights]
    [(5, 2), (4, 5), (2, 4)]
    >>> (weights[2] @ weights[1] @ weights[0]).round(6) + 0
    array([[0.1, 0. ],
           [0. , 0.1]])
    """
    left, _, right = np.linalg.svd(np.asarray(sigma31, dtype=float))
    n_modes = min(len(left), len(right), *hidden)
    u0 = np.asarray(u0, dtype=float)
    if u0.shape not in ((), (n_modes,)) or not np.all(u0 >= 0):
        raise ValueError(
            f"u0 has shape {u0.shape} and smallest value {u0.min()}; pass one strength "
            f"of 0 or more, or one for each of {n_modes} modes."
        )
    random = check_random_state(random_state)
    frames = [
        right[:n_modes].T,
        *(_semi_orthogonal(size, n_modes, random) for size in hidden),
        left[:, :n_modes],
    ]
    each = u0 ** (1 / (len(frames) - 1))
    return [(after * each) @ before.T for before, after in pairwise(frames)]


def orthogonal_weights(
    sizes: Sequence[int], *, gain: float = 1.0, random_state: RandomState = None
) -> list[np.ndarray]:
    """Return random orthogonal weights, multiplied by a gain.

    All singular values of every layer are `gain`. If all layers have the same size, the
    singular values of a product of n layers are gain^n (section 3 of arXiv:1312.6120).

    Parameters
    ----------
    sizes : sequence of int
        Number of neurons of each layer, including inputs and outputs.
    gain : float, default=1.0
        Factor on the weights of each layer.
    random_state : int, RandomState or None, default=None
        Seed for the matrices, which are uniformly distributed (Haar measure).

    Returns
    -------
    list of ndarray, float64
        Weights of each layer, first layer first.

    Raises
    ------
    ValueError
        If there are fewer than two sizes.

    Examples
    --------
    >>> from skdmn.analysis.deep_linear.initial_weights import orthogonal_weights
    >>> first, second = orthogonal_weights([3, 3, 2], gain=2.0, random_state=0)
    >>> (second @ second.T).round(6) + 0
    array([[4., 0.],
           [0., 4.]])
    """
    random = check_random_state(random_state)
    return [
        gain * _semi_orthogonal(n_out, n_in, random) for n_in, n_out in _layers(sizes)
    ]


def gaussian_weights(
    sizes: Sequence[int], *, gain: float = 1.0, random_state: RandomState = None
) -> list[np.ndarray]:
    """Return independent Gaussian weights that preserve the mean norm of vectors.

    The standard deviation is gain * sqrt(2 / (n_in + n_out)), after Glorot and Bengio.
    If all layers have N neurons, it is gain / sqrt(N) as in arXiv:1312.6120, section 3.

    Parameters
    ----------
    sizes : sequence of int
        Number of neurons of each layer, including inputs and outputs.
    gain : float, default=1.0
        Factor on the weights of each layer.
    random_state : int, RandomState or None, default=None
        Seed for the weights.

    Returns
    -------
    list of ndarray, float64
        Weights of each layer, first layer first.

    Raises
    ------
    ValueError
        If there are fewer than two sizes.

    Examples
    --------
    >>> from skdmn.analysis.deep_linear.initial_weights import gaussian_weights
    >>> weights = gaussian_weights([400, 400, 400], random_state=0)
    >>> [f"{weight.std():.3f}" for weight in weights]
    ['0.050', '0.050']
    """
    random = check_random_state(random_state)
    return [
        random.normal(scale=gain * math.sqrt(2 / (n_in + n_out)), size=(n_out, n_in))
        for n_in, n_out in _layers(sizes)
    ]


def pretrained_weights(
    sigma11: ArrayLike,
    sizes: Sequence[int],
    *,
    time: float = math.inf,
    u0: float = 1e-3,
    tau: float = 1.0,
    random_state: RandomState = None,
) -> list[np.ndarray]:
    """Return the weights after greedy pretraining, in closed form.

    Each hidden layer is trained as a linear autoencoder of the layer below. If the
    initial weights are small and balanced, they become R M^(1/2) Q^T. The columns of Q
    are the principal components of the layer below, R is a random matrix with
    orthonormal columns, and M contains the strengths that the components have reached
    (section 3 of arXiv:1312.6120). A component of variance v follows eq. 46: its time
    course is that of a mode with singular value 1 and time constant tau / v.

    Parameters
    ----------
    sigma11 : array-like of shape (n_inputs, n_inputs)
        Correlations of inputs.
    sizes : sequence of int
        Number of neurons of each layer, including inputs and outputs.
    time : float, default=inf
        Training time of each layer, in the units of `tau`.
    u0 : float, default=1e-3
        Initial strength of each component.
    tau : float, default=1.0
        Time constant.
    random_state : int, RandomState or None, default=None
        Seed for the matrices R.

    Returns
    -------
    list of ndarray, float64
        Weights of each layer, first layer first. The weights of the last layer are
        random orthogonal, because training them would need the outputs.

    Raises
    ------
    ValueError
        If the first of `sizes` is not the number of inputs, or `time` or `u0` is
        negative.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.deep_linear.initial_weights import pretrained_weights
    >>> sigma11 = np.diag([4.0, 1.0, 0.5])
    >>> first, _ = pretrained_weights(sigma11, [3, 3, 2], time=2.0, random_state=0)
    >>> np.diag(first.T @ first).round(3)  # M: large variance is learned first
    array([1.   , 0.052, 0.007])
    """
    sigma11 = np.asarray(sigma11, dtype=float)
    layers = _layers(sizes)
    if sizes[0] != len(sigma11):
        raise ValueError(
            f"sizes begin with {sizes[0]}, but sigma11 has {len(sigma11)} inputs; pass "
            f"sizes that begin with {len(sigma11)}."
        )
    random = check_random_state(random_state)
    variances, components = np.linalg.eigh(sigma11)
    variances, frame = np.maximum(variances[::-1], 0.0), components[:, ::-1]
    weights = []
    for _, size in layers[:-1]:
        n_kept = min(size, len(variances))  # at most one component for each neuron
        variances, frame = variances[:n_kept], frame[:, :n_kept]
        age = np.zeros(n_kept)  # components without variance are never learned
        np.multiply(time / tau, variances, out=age, where=variances > 0)
        strengths = mode_strength(age, 1.0, u0)
        above = _semi_orthogonal(size, n_kept, random)
        weights.append((above * np.sqrt(strengths)) @ frame.T)
        variances, frame = variances * strengths, above
    return [*weights, _semi_orthogonal(sizes[-1], sizes[-2], random)]


class PretrainingConsistency(NamedTuple):
    """Similarity of the input directions of a task to principal components.

    Attributes
    ----------
    score : float
        Mean of `mode_scores`, weighted by the squared singular values of the modes. It
        is between 0 and 1, and 1 if the condition holds exactly.
    mode_scores : ndarray of shape (n_modes,), float64
        Squared cosine of the angle between v and Sigma11 v, for each right singular
        vector v of Sigma31. It is 1 if v is an eigenvector of Sigma11.
    chance : float
        Approximate score of outputs that are independent of the inputs,
        (trace Sigma11^2)^2 / (trace Sigma11 * trace Sigma11^3). It is not small,
        because chance correlations are also strongest along directions of large
        variance.
    correlations : ndarray of shape (n_modes, n_modes), float64
        V^T Sigma11 V, the matrix in the centre of Fig. 5. It is diagonal if the
        condition holds.
    """

    score: float
    mode_scores: np.ndarray
    chance: float
    correlations: np.ndarray

    @property
    def meaning(self) -> str:
        """Consequence of the score for computed layers, in one sentence."""
        holds = self.score >= (1 + self.chance) / 2
        use = (
            "layers computed from the principal components of the inputs, without "
            "labels, keep the modes of the task nearly decoupled"
            if holds
            else "layers computed from the principal components of the inputs mix the "
            "modes of the task; compute them from class density matrices, or train"
        )
        return f"Score {self.score:.2f} (chance {self.chance:.2f}): {use}."


def pretraining_consistency(X: ArrayLike, y: ArrayLike) -> PretrainingConsistency:
    """Score the condition under which greedy pretraining speeds up learning.

    The condition is Q = V, eq. 18 of arXiv:1312.6120: the right singular vectors of
    Sigma31 are principal components of the inputs. If it holds, layers that are
    computed from the second moments of the inputs, as in a naive DMN, keep the modes of
    the task decoupled. If it does not hold, use class density matrices or training. The
    property `meaning` of the result says which of the two applies: the condition counts
    as true if the score is closer to 1 than to `chance`.

    Parameters
    ----------
    X : array-like of shape (n, n_inputs) or (n_outputs, n_inputs)
        Inputs as rows, or images; their mean is subtracted. Or Sigma31, the
        correlations of outputs with inputs.
    y : array-like of shape (n,), (n, n_outputs) or (n_inputs, n_inputs)
        Labels or outputs, as in `correlations`. Or Sigma11, the correlations of inputs:
        a symmetric matrix.

    Returns
    -------
    PretrainingConsistency

    Raises
    ------
    ValueError
        If the shapes do not match, outputs do not depend on inputs, or the inputs have
        no variance along an input direction of the task.

    Notes
    -----
    If you pass Sigma31 and Sigma11, compute them from centred data, by
    ``correlations(X, y, centered=True)``. Otherwise, the mean of the data is nearly the
    first principal component and nearly the first mode of any task with one-hot
    outputs. The score is then high for any labels, and `chance` is not valid.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.deep_linear.initial_weights import pretraining_consistency
    >>> sigma11 = np.diag([5.0, 1.0, 1.0, 1.0])
    >>> pretraining_consistency([[2.0, 0.0, 0.0, 0.0]], sigma11).score
    1.0
    >>> pretraining_consistency([[1.0, 1.0, 1.0, 1.0]], sigma11).meaning[:25]
    'Score 0.57 (chance 0.77):'
    """
    if _is_symmetric(y):
        sigma31, sigma11 = np.asarray(X, float), np.asarray(y, float)
    else:
        sigma31, sigma11 = correlations(X, y, centered=True)
    n_inputs = sigma31.shape[1]
    if sigma11.shape != (n_inputs, n_inputs):
        raise ValueError(
            f"sigma11 has shape {sigma11.shape}, but sigma31 has {n_inputs} inputs; "
            "correlations(X, y) returns both."
        )
    _, s, right = np.linalg.svd(sigma31, full_matrices=False)
    alive = s > s.max() * max(sigma31.shape) * np.finfo(float).eps
    if not alive.any():
        raise ValueError(
            "sigma31 is zero, so the task has no modes; pass correlations of outputs "
            "that depend on the inputs."
        )
    s, right = s[alive], right[alive]
    images = right @ sigma11
    if not np.all((images**2).sum(axis=1) > 0):
        raise ValueError(
            "The task has an input direction along which sigma11 has no variance; pass "
            "correlations of the same data, such as correlations(X, y)."
        )
    matrix = images @ right.T
    variances = np.linalg.eigvalsh(sigma11)
    mode_scores = np.diag(matrix) ** 2 / np.sum(images**2, axis=1)
    return PretrainingConsistency(
        float(np.average(mode_scores, weights=s**2)),
        mode_scores,
        float(np.sum(variances**2) ** 2 / (variances.sum() * np.sum(variances**3))),
        matrix,
    )


def _is_symmetric(matrix: ArrayLike) -> bool:
    """Return True for a symmetric matrix, such as correlations of inputs."""
    matrix = np.asarray(matrix)
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
    return square and np.allclose(matrix, matrix.T, atol=1e-8 * np.abs(matrix).max())


def _layers(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Return the number of inputs and outputs of each layer of weights."""
    if len(sizes) < 2:
        raise ValueError(
            f"sizes are {list(sizes)}; pass the numbers of inputs, of neurons in each "
            "hidden layer, and of outputs."
        )
    return list(pairwise(sizes))


def _semi_orthogonal(
    n_out: int, n_in: int, random: np.random.RandomState
) -> np.ndarray:
    """Return a random matrix with orthonormal columns, or rows if it is wide."""
    frame, triangle = np.linalg.qr(
        random.normal(size=(max(n_out, n_in), min(n_out, n_in)))
    )
    frame = frame * np.sign(np.diag(triangle))  # uniform over orthogonal matrices
    return frame if n_out >= n_in else frame.T
