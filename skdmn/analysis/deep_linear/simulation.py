"""Simulation of deep linear networks from correlations, without passes over the data.

The learning dynamics depend on the data only through two matrices: Sigma31, the
correlations of outputs with inputs, and Sigma11, the correlations of inputs with each
other [1]_. The time of a step does not depend on the number of examples.

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
from sklearn.utils.multiclass import type_of_target

from skdmn.analysis.deep_linear.modes import positive
from skdmn.utils.validation import as_one_array, unmasked


class LearningCourse(NamedTuple):
    """Records of a network during learning.

    Attributes
    ----------
    times : ndarray of shape (n_times,), float64
        Times in the units of tau, or numbers of gradient descent steps.
    products : ndarray of shape (n_times, n_outputs, n_inputs), float64
        Product of the weights of all layers.
    strengths : ndarray of shape (n_times, n_modes), float64
        Strength of each mode of Sigma31, strongest mode first. It is the diagonal of
        U^T W V, where W is the product of all weights and Sigma31 = U S V^T.
    singular_values : ndarray of shape (n_times, n_modes), float64
        Singular values of the product, largest first.
    errors : ndarray of shape (n_times,), float64
        Half the mean squared error minus that of the best linear map.
    weights : list of ndarray
        Weights at the last time, first layer first.
    time_unit : str
        Unit of `times`, for plots.
    """

    times: np.ndarray
    products: np.ndarray
    strengths: np.ndarray
    singular_values: np.ndarray
    errors: np.ndarray
    weights: list[np.ndarray]
    time_unit: str = "τ"


def correlations(
    X: ArrayLike, y: ArrayLike, *, centered: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the correlation matrices Sigma31 and Sigma11 of a data set.

    The matrices are means over examples. Eqs. 1 and 2 of arXiv:1312.6120 use sums, so
    that a learning rate here is that of the paper times the number of examples.

    Parameters
    ----------
    X : array-like of shape (n, n_inputs)
        Inputs as rows. Images are flattened.
    y : array-like of shape (n, n_outputs) or (n,)
        Outputs, or labels. Labels are one-hot encoded, with the classes in sorted
        order. One number for each example is a label if all are integers, as in
        scikit-learn; numbers with fractions are one output.
    centered : bool, default=False
        If True, the means of inputs and outputs are subtracted first.

    Returns
    -------
    sigma31 : ndarray of shape (n_outputs, n_inputs), float64
        Correlations of outputs with inputs.
    sigma11 : ndarray of shape (n_inputs, n_inputs), float64
        Correlations of inputs.

    Raises
    ------
    ValueError
        If `X` and `y` differ in the number of examples.

    Examples
    --------
    >>> from skdmn.analysis.deep_linear.simulation import correlations
    >>> sigma31, sigma11 = correlations([[1.0, 0.0], [0.0, 2.0]], ["a", "b"])
    >>> sigma31
    array([[0.5, 0. ],
           [0. , 1. ]])
    """
    y = unmasked(y, "y")
    rows, outputs = np.asarray(as_one_array(X), dtype=float), np.asarray(y)
    n = len(rows)
    if n != len(outputs):
        raise ValueError(
            f"X has {n} examples and y {len(outputs)}; pass one output or label for "
            "each example."
        )
    rows = rows.reshape(n, -1)
    if outputs.ndim == 1 and type_of_target(outputs) == "continuous":
        outputs = outputs[:, np.newaxis]
    elif outputs.ndim == 1:
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

    Solves eq. 13 of arXiv:1312.6120, which is eq. 2 for one hidden layer.

    Parameters
    ----------
    weights : sequence of ndarray of shape (n_out, n_in)
        Initial weights of each layer, first layer first. They lead from n_inputs to
        n_outputs; n_in of a layer is n_out of the layer before.
    sigma31 : array-like of shape (n_outputs, n_inputs)
        Correlations of outputs with inputs.
    sigma11 : array-like of shape (n_inputs, n_inputs) or None
        Correlations of inputs. None means white inputs, the identity matrix.
    times : array-like of shape (n_times,)
        Times to record, in ascending order, 0 or larger, in the units of `tau`.
    tau : float, default=1.0
        Time constant.
    rtol : float, default=1e-8
        Relative tolerance of the solver (explicit Runge-Kutta method of order 8). The
        absolute tolerance is a hundredth of it.

    Returns
    -------
    LearningCourse

    Raises
    ------
    ValueError
        If the shapes do not match, `sigma31` is not finite, `times` are not in
        ascending order, `tau` is not positive, or the weights grow without bound.

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
        raise ValueError(
            f"times is {times}; pass one row of finite numbers in ascending order, 0 "
            "or larger, the last above 0."
        )
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
            f"The integration failed before the last time ({solution.message}); pass "
            "smaller weights, or a sigma11 without negative eigenvalues."
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
    """Train a deep linear network by batch gradient descent.

    Implements eq. 1 of arXiv:1312.6120 for any depth. For small learning rates the
    result is that of `gradient_flow` with tau = 1 / learning_rate.

    Parameters
    ----------
    weights, sigma31, sigma11
        As in `gradient_flow`.
    n_steps : int
        Number of steps.
    learning_rate : float
        Factor on the gradient of half the mean squared error.
    record_every : int, default=1
        Number of steps between records. Step 0 and the last step are always recorded.

    Returns
    -------
    LearningCourse

    Raises
    ------
    ValueError
        If the shapes do not match, or the weights diverge because the learning rate is
        too large.

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
            "a smaller learning rate."
        )
    course = _course(np.array(times), products, sigma31, sigma11, weights)
    return course._replace(time_unit="steps")


def best_map(sigma31: np.ndarray, sigma11: np.ndarray) -> np.ndarray:
    """Return the linear map of smallest error, Sigma31 Sigma11^-1.

    If Sigma11 is singular, its pseudoinverse is used, so that the map is zero along
    input directions that do not occur.
    """
    return sigma31 @ np.linalg.pinv(sigma11, hermitian=True)


def product(weights: Sequence[np.ndarray]) -> np.ndarray:
    """Return the product of all weights; the first layer is the rightmost factor."""
    total = weights[-1]
    for weight in reversed(weights[:-1]):
        total = total @ weight
    return total


def descent_directions(
    weights: Sequence[np.ndarray], sigma31: np.ndarray, sigma11: np.ndarray
) -> list[np.ndarray]:
    """Return the negative gradient with respect to all weights, as in eq. 13.

    The products are ordered so that no intermediate result is larger than n_outputs x
    n_neurons.
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
    """Return half the mean squared error of a map minus that of the best map."""
    missing = best - total
    return float(np.sum((missing @ sigma11) * missing) / 2)


def _course(
    times: np.ndarray,
    products: list[np.ndarray],
    sigma31: np.ndarray,
    sigma11: np.ndarray,
    weights: list[np.ndarray],
) -> LearningCourse:
    """Compute strengths, singular values and errors from products of weights."""
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
    """Concatenate all weights to one vector."""
    return np.concatenate([weight.ravel() for weight in weights])


def _unflat(flat: np.ndarray, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    """Split a vector into weights of the given shapes; the inverse of `_flat`."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    parts = np.split(flat, ends)
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def check_network(
    weights: Sequence[np.ndarray], sigma31: ArrayLike, sigma11: ArrayLike | None
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Return weights and correlations in float64; raise if their shapes do not match.

    The weights are copies.
    """
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
    """Return float64 copies of the weights; raise if their shapes do not match."""
    layers = [np.array(weight, dtype=float) for weight in weights]
    if not layers:
        raise ValueError("There are no weights; pass those of at least one layer.")
    shapes = [layer.shape for layer in layers]
    sizes = [n_inputs, *(n for shape in shapes for n in shape[:1])]
    if shapes != list(zip(sizes[1:], sizes, strict=False)) or sizes[-1] != n_outputs:
        raise ValueError(
            f"weights have shapes {shapes}; they must lead from {n_inputs} inputs to "
            f"{n_outputs} outputs. Pass matrices (n_out, n_in), first layer first, in "
            "which n_in of each layer is n_out of the layer before."
        )
    return layers
