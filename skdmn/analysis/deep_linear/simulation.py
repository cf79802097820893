"""The full learning dynamics of deep linear networks, without passing over data.

A linear network is trained on two matrices: Sigma31, the correlations of outputs with
inputs, and Sigma11, those of inputs with each other [1]_. One step costs as much for a
million examples as for ten.

References
----------
.. [1] A. Saxe, J. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics
   of learning in deep linear neural networks", arXiv:1312.6120, 2013.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp

from skdmn.analysis.deep_linear.modes import positive


class LearningCourse(NamedTuple):
    """What a network computes over the course of learning.

    Attributes
    ----------
    times : ndarray of shape (n_times,), float64
        In the units of tau, or steps of gradient descent.
    products : ndarray of shape (n_times, n_outputs, n_inputs), float64
        The product of all weights.
    strengths : ndarray of shape (n_times, n_modes), float64
        Strength of each mode of Sigma31, strongest mode first: the diagonal of
        U^T W V, with the product W and Sigma31 = U S V^T.
    singular_values : ndarray of shape (n_times, n_modes), float64
        Of the product, largest first.
    errors : ndarray of shape (n_times,), float64
        Half the mean squared error, less that of the best linear map.
    weights : list of ndarray
        At the last time, the weights on the inputs first.
    """

    times: np.ndarray
    products: np.ndarray
    strengths: np.ndarray
    singular_values: np.ndarray
    errors: np.ndarray
    weights: list[np.ndarray]


def correlations(
    X: ArrayLike, y: ArrayLike, *, centered: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return Sigma31 and Sigma11 of a data set.

    Means over examples, where eqs. 1 and 2 of arXiv:1312.6120 have sums: a learning
    rate here is the paper's times the number of examples.

    Parameters
    ----------
    X : array-like of shape (n, n_inputs)
        Rows; images are flattened.
    y : array-like of shape (n, n_outputs) or (n,)
        Outputs, or labels: then there is one output for each class, in the order of
        the sorted labels, 1 for the class of the example and 0 for all others.
    centered : bool, default=False
        Take the means of inputs and outputs away first.

    Returns
    -------
    sigma31 : ndarray of shape (n_outputs, n_inputs), float64
    sigma11 : ndarray of shape (n_inputs, n_inputs), float64

    Raises
    ------
    ValueError
        Where `X` and `y` have not the same number of examples.

    Examples
    --------
    >>> from skdmn.analysis.deep_linear.simulation import correlations
    >>> sigma31, sigma11 = correlations([[1.0, 0.0], [0.0, 2.0]], ["a", "b"])
    >>> sigma31
    array([[0.5, 0. ],
           [0. , 1. ]])
    """
    rows, outputs = np.asarray(X, dtype=float), np.asarray(y)
    n = len(rows)
    if n != len(outputs):
        raise ValueError(f"X has {n} examples and y {len(outputs)}; pass as many.")
    rows = rows.reshape(n, -1)
    if outputs.ndim == 1:
        outputs = outputs[:, np.newaxis] == np.unique(outputs)
    outputs = outputs.astype(float)
    if centered:
        rows, outputs = rows - rows.mean(axis=0), outputs - outputs.mean(axis=0)
    return outputs.T @ rows / n, rows.T @ rows / n


def gradient_flow(
    weights: Sequence[np.ndarray],
    sigma31: ArrayLike,
    sigma11: ArrayLike | None,
    times: ArrayLike,
    *,
    tau: float = 1.0,
    rtol: float = 1e-8,
) -> LearningCourse:
    """Integrate the learning dynamics of a deep linear network in continuous time.

    Eq. 13 of arXiv:1312.6120, which for one hidden layer is eq. 2.

    Parameters
    ----------
    weights : sequence of ndarray
        At time 0; the first of shape (n_hidden, n_inputs), each next one with as many
        columns as the one before has rows, the last with n_outputs rows.
    sigma31 : array-like of shape (n_outputs, n_inputs)
        Correlations of outputs with inputs.
    sigma11 : array-like of shape (n_inputs, n_inputs) or None
        Correlations of inputs; None is the identity, for white inputs.
    times : array-like of shape (n_times,)
        When to record: from 0, ascending, in the units of `tau`.
    tau : float, default=1.0
        Time constant.
    rtol : float, default=1e-8
        Relative tolerance of a step of the solver (explicit Runge-Kutta of order 8);
        the absolute one is a hundredth of it.

    Returns
    -------
    LearningCourse

    Raises
    ------
    ValueError
        Where shapes do not fit each other, `times` do not ascend from 0, `tau` is not
        positive, or the weights grow without bound.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.deep_linear.modes import mode_strength
    >>> from skdmn.analysis.deep_linear.initial_weights import decoupled_weights
    >>> from skdmn.analysis.deep_linear.simulation import gradient_flow
    >>> sigma31, times = np.diag([3.0, 2.0]), [0, 0.5, 1, 2]
    >>> weights = decoupled_weights(sigma31, hidden=[4], u0=0.1, random_state=0)
    >>> course = gradient_flow(weights, sigma31, None, times)
    >>> course.strengths.round(3)
    array([[0.1  , 0.1  ],
           [1.228, 0.56 ],
           [2.799, 1.484],
           [2.999, 1.987]])
    >>> bool(np.allclose(course.strengths, mode_strength(times, [3.0, 2.0], 0.1)))
    True
    """
    weights, sigma31, sigma11 = check_network(weights, sigma31, sigma11)
    times = np.asarray(times, dtype=float)
    ascend = times.ndim == 1 and times.size > 0 and (np.diff(times) >= 0).all()
    if not ascend or times[0] < 0 or not 0 < times[-1] < np.inf:
        raise ValueError("times must be a row of numbers that ascend from 0.")
    tau = float(positive(tau, "tau"))
    shapes = [weight.shape for weight in weights]

    def slope(_: float, flat: np.ndarray) -> np.ndarray:
        return _flat(descent_directions(_unflat(flat, shapes), sigma31, sigma11)) / tau

    solution = solve_ivp(
        slope,
        (0.0, times[-1]),
        _flat(weights),
        method="DOP853",
        t_eval=times,
        rtol=rtol,
        atol=rtol / 100,
    )
    if not solution.success:
        raise ValueError(
            f"The weights could not be followed to the end ({solution.message}); pass "
            "smaller weights, or a sigma11 without negative variances."
        )
    states = [_unflat(flat, shapes) for flat in solution.y.T]
    products = [product(state) for state in states]
    return _course(times, products, sigma31, sigma11, states[-1])


def gradient_descent(
    weights: Sequence[np.ndarray],
    sigma31: ArrayLike,
    sigma11: ArrayLike | None,
    n_steps: int,
    *,
    learning_rate: float,
    record_every: int = 1,
) -> LearningCourse:
    """Train a deep linear network by steps of batch gradient descent.

    Eq. 1 of arXiv:1312.6120 for any depth. For small learning rates this is
    `gradient_flow` with tau = 1 / learning_rate.

    Parameters
    ----------
    weights, sigma31, sigma11
        As in `gradient_flow`.
    n_steps : int
        Number of steps.
    learning_rate : float
        Step along the gradient of half the mean squared error.
    record_every : int, default=1
        Record every so many steps, from step 0, and the last.

    Returns
    -------
    LearningCourse

    Raises
    ------
    ValueError
        Where shapes do not fit each other, or the learning rate is too large.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.deep_linear.initial_weights import decoupled_weights
    >>> from skdmn.analysis.deep_linear.simulation import gradient_descent
    >>> sigma31 = np.diag([3.0, 2.0])
    >>> weights = decoupled_weights(sigma31, hidden=[4], u0=0.1, random_state=0)
    >>> course = gradient_descent(
    ...     weights, sigma31, None, 100, learning_rate=0.01, record_every=50
    ... )
    >>> course.times, course.strengths.round(2)
    (array([  0.,  50., 100.]), array([[0.1 , 0.1 ],
           [1.21, 0.56],
           [2.8 , 1.48]]))
    """
    weights, sigma31, sigma11 = check_network(weights, sigma31, sigma11)
    times, products = [], []
    for step in range(n_steps + 1):
        if step % record_every == 0 or step == n_steps:
            times.append(float(step))
            products.append(product(weights))
        if step < n_steps:
            steps = descent_directions(weights, sigma31, sigma11)
            weights = [
                weight + learning_rate * change
                for weight, change in zip(weights, steps, strict=True)
            ]
    if not np.isfinite(products[-1]).all():
        raise ValueError(
            f"With learning_rate={learning_rate} the weights grow without bound; pass "
            "a smaller one."
        )
    return _course(np.array(times), products, sigma31, sigma11, weights)


def best_map(sigma31: np.ndarray, sigma11: np.ndarray) -> np.ndarray:
    """Return the linear map of least error, Sigma31 Sigma11^-1.

    Where Sigma11 is singular, its pseudoinverse: the map is zero along inputs that do
    not occur.
    """
    return sigma31 @ np.linalg.pinv(sigma11, hermitian=True)


def product(weights: Sequence[np.ndarray]) -> np.ndarray:
    """Return the product of all weights, those on the inputs rightmost."""
    total = weights[-1]
    for weight in reversed(weights[:-1]):
        total = total @ weight
    return total


def descent_directions(
    weights: Sequence[np.ndarray], sigma31: np.ndarray, sigma11: np.ndarray
) -> list[np.ndarray]:
    """Return minus the gradient in all weights: the right side of eq. 13.

    Nothing is larger here than outputs times neurons, however wide the layers.
    """
    above = [np.eye(len(sigma31))]  # products of the weights above each layer
    for weight in reversed(weights[1:]):
        above.append(above[-1] @ weight)
    error = sigma31 - (above[-1] @ weights[0]) @ sigma11
    steps = []
    for weight, tail in zip(weights, reversed(above), strict=True):
        steps.append(tail.T @ error)
        error = error @ weight.T
    return steps


def excess_error(total: np.ndarray, best: np.ndarray, sigma11: np.ndarray) -> float:
    """Return half the mean squared error of a map, less that of the best."""
    missing = best - total
    return float(np.sum((missing @ sigma11) * missing) / 2)


def _course(
    times: np.ndarray,
    products: list[np.ndarray],
    sigma31: np.ndarray,
    sigma11: np.ndarray,
    weights: list[np.ndarray],
) -> LearningCourse:
    stacked, best = np.stack(products), best_map(sigma31, sigma11)
    left, _, right = np.linalg.svd(sigma31, full_matrices=False)
    return LearningCourse(
        times,
        stacked,
        np.einsum("om,toi,mi->tm", left, stacked, right, optimize=True),
        np.linalg.svd(stacked, compute_uv=False),
        np.array([excess_error(total, best, sigma11) for total in products]),
        weights,
    )


def _flat(weights: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([weight.ravel() for weight in weights])


def _unflat(flat: np.ndarray, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    parts = np.split(flat, ends)
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def check_network(
    weights: Sequence[np.ndarray], sigma31: ArrayLike, sigma11: ArrayLike | None
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Return copies in float64, or say which shapes do not fit."""
    sigma31 = np.asarray(sigma31, dtype=float)
    if not np.isfinite(sigma31).all():
        raise ValueError("sigma31 has NaN or infinite entries; check the data.")
    n_outputs, n_inputs = sigma31.shape
    sigma11 = np.eye(n_inputs) if sigma11 is None else np.asarray(sigma11, dtype=float)
    if sigma11.shape != (n_inputs, n_inputs):
        raise ValueError(
            f"sigma11 has shape {sigma11.shape}, but sigma31 has {n_inputs} inputs; "
            "correlations(X, y) returns both."
        )
    return check_layers(weights, n_inputs, n_outputs), sigma31, sigma11


def check_layers(
    weights: Sequence[np.ndarray], n_inputs: int, n_outputs: int
) -> list[np.ndarray]:
    """Return copies in float64, or say which shapes do not fit."""
    layers = [np.array(weight, dtype=float) for weight in weights]
    if not layers:
        raise ValueError("There are no weights; pass those of one layer or more.")
    shapes = [layer.shape for layer in layers]
    sizes = [n_inputs, *(n for shape in shapes for n in shape[:1])]
    if shapes != list(zip(sizes[1:], sizes, strict=False)) or sizes[-1] != n_outputs:
        raise ValueError(
            f"weights have shapes {shapes}; they must lead from {n_inputs} inputs to "
            f"{n_outputs} outputs, each with as many columns as the one before has "
            "rows."
        )
    return layers
