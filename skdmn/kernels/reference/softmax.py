"""Reference softmax loss, gradient and curvature of a block of rows."""

from __future__ import annotations

from skdmn.utils.array_api import Array, own_backend


def logits(block: Array, centre: Array, coef: Array, intercept: Array) -> Array:
    """Compute (X - centre) W^T + b of a block of rows; arrays as in `block_pass`."""
    xp = own_backend(centre).xp
    return (xp.astype(block, centre.dtype, copy=False) - centre) @ coef.T + intercept


def probabilities(scores: Array) -> tuple[Array, Array]:
    """Compute softmax and log-softmax of logits.

    Parameters
    ----------
    scores : array of shape (rows, n_classes), or (rows, 1) for two classes
        A single column holds the logits of the second class.

    Returns
    -------
    p, log_p : arrays of shape (rows, n_classes)
    """
    xp = own_backend(scores).xp
    if scores.shape[1] == 1:
        scores = xp.concat([xp.zeros_like(scores), scores], axis=1)
    scores = scores - xp.max(scores, axis=1, keepdims=True)
    p = xp.exp(scores)
    total = xp.sum(p, axis=1, keepdims=True)
    return p / total, scores - xp.log(total)


def check_pass(
    block: Array,
    centre: Array,
    coef: Array,
    intercept: Array,
    codes: Array,
    weights: Array,
) -> None:
    """Raise if the shapes of the arguments of `block_pass` do not fit each other."""
    n, d = block.shape
    n_outputs, groups = coef.shape[0], n_models(weights)
    arrays = centre, coef, intercept, codes, weights
    shapes = [tuple(array.shape) for array in arrays]
    expected = [(d,), (n_outputs, d), (n_outputs,), (n,), (n, groups)[: weights.ndim]]
    whole = groups and n_outputs and n_outputs % groups == 0
    if shapes != expected or not whole or centre.dtype.itemsize not in (4, 8):
        raise ValueError(
            "centre, coef, intercept, codes and weights have shapes "
            f"{', '.join(map(str, shapes))} and dtype {centre.dtype}, but a block of "
            f"shape {(n, d)} needs {', '.join(map(str, expected))}, and float32 or "
            "float64."
        )


def n_models(weights: Array) -> int:
    """Return the number of models that `block_pass` computes at once."""
    return int(weights.shape[1]) if weights.ndim == 2 else 1


def block_pass(
    block: Array,
    centre: Array,
    coef: Array,
    intercept: Array,
    codes: Array,
    weights: Array,
) -> tuple[float, Array, Array]:
    """Compute the weighted cross-entropy of a block of rows and its gradient.

    Let P = softmax((X - centre) W^T + b), Y the one-hot labels, and
    R = diag(weights) (P - Y). The loss is -sum(weights log P[Y]). Its gradients are
    R^T (X - centre) for W and the sum of the rows of R for b.

    Several models of the same rows and labels, each with its own weights, are computed
    in one pass: W and b then hold one model after the other, and the loss is the sum
    over the models.

    Parameters
    ----------
    block : array of shape (rows, n_features), any real dtype
    centre : array of shape (n_features,), float32 or float64
        Its dtype is that of the computation. Subtracting it keeps the digits of float32
        values that are much larger than their spread.
    coef : array of shape (n_outputs, n_features)
        W. One output if there are two classes.
    intercept : array of shape (n_outputs,)
        b
    codes : array of shape (rows,), int
        Each label's index among the classes.
    weights : array of shape (rows,) or (rows, n_models)

    Returns
    -------
    loss : float
    coef_gradient : array of shape (n_outputs, n_features)
    intercept_gradient : array of shape (n_outputs,)
    """
    xp, device = own_backend(centre)
    rows = xp.astype(block, centre.dtype, copy=False) - centre
    n, groups = block.shape[0], n_models(weights)
    outputs = coef.shape[0] // groups
    # one line for each row and model
    scores = xp.reshape(rows @ coef.T + intercept, (n * groups, outputs))
    codes = xp.reshape(xp.broadcast_to(codes[:, None], (n, groups)), (-1,))
    weights = xp.reshape(weights, (-1,))
    p, log_p = probabilities(scores)
    is_label = codes[:, None] == xp.arange(p.shape[1], device=device)[None, :]
    loss = -xp.sum(weights * xp.sum(xp.where(is_label, log_p, 0.0), axis=1))
    rest = (p - xp.astype(is_label, p.dtype)) * weights[:, None]
    rest = rest[:, -outputs:]  # with two classes, only the second
    rest = xp.reshape(rest, (n, groups * outputs))
    return float(loss), rest.T @ rows, xp.sum(rest, axis=0)


def block_curvature(
    block: Array,
    centre: Array,
    coef: Array,
    intercept: Array,
    weights: Array,
) -> Array:
    """Compute rows whose second moments are the mean curvature of the loss.

    The second derivative of the loss has a block X^T diag(weights p_c (1 - p_c)) X for
    each class c. The mean of these blocks over the classes is A^T A for the result A.

    Parameters
    ----------
    block, centre, coef, intercept, weights : arrays
        As in `block_pass`.

    Returns
    -------
    array of shape (rows, n_features + 1)
        The last column belongs to the intercept.
    """
    xp = own_backend(centre).xp
    rows = xp.astype(block, centre.dtype, copy=False) - centre
    p, _ = probabilities(rows @ coef.T + intercept)
    root = xp.sqrt(xp.mean(p * (1 - p), axis=1) * weights)[:, None]
    return xp.concat([rows * root, root], axis=1)


def block_curvature_product(
    block: Array,
    centre: Array,
    coef: Array,
    intercept: Array,
    p: Array,
    weights: Array,
) -> tuple[Array, Array]:
    """Multiply the second derivative of the loss of a block of rows with a direction.

    Parameters
    ----------
    block, centre, weights : arrays
        As in `block_pass`.
    coef, intercept : arrays of shape (n_outputs, n_features) and (n_outputs,)
        The direction.
    p : array of shape (rows, n_classes)
        Probabilities of the rows at the iterate.

    Returns
    -------
    by_coef : array of shape (n_outputs, n_features)
    by_intercept : array of shape (n_outputs,)
    """
    xp = own_backend(centre).xp
    rows = xp.astype(block, centre.dtype, copy=False) - centre
    change = rows @ coef.T + intercept
    p = p[:, -coef.shape[0] :]  # with two classes, only the second
    mean = xp.sum(p * change, axis=1, keepdims=True)
    rest = p * (change - mean) * weights[:, None]
    return rest.T @ rows, xp.sum(rest, axis=0)
