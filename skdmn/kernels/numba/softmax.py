"""Softmax loss and gradient for CPUs, reading the rows from memory once.

Both matrix products of a pass use a block of rows while it is in the cache. They have
few columns, for which general matrix products are slow.
"""

from __future__ import annotations

import math

import numpy as np

from skdmn.kernels.numba.blocks import (
    ROWS,
    TALL,
    at,
    call,
    lanes,
    padded,
)
from skdmn.kernels.numba.compiling import inner, kernel
from skdmn.kernels.numba.shared import code, strided
from skdmn.kernels.reference.softmax import check_pass, n_models
from skdmn.utils.threads import in_threads, n_threads, single_blas

_BLOCK = 2**19  # bytes of a block of rows
_FEWEST, _MOST = 32, 256  # rows of a block
_CACHED = 2**19  # bytes of coefficients that the cache of a core holds
_ROWS_OF_MODELS = 256  # rows of a block for more coefficients
_ALONE = 2**23  # fewer products take less time than the start of threads


def block_pass(
    block: np.ndarray,
    centre: np.ndarray,
    coef: np.ndarray,
    intercept: np.ndarray,
    codes: np.ndarray,
    weights: np.ndarray,
) -> tuple[float, np.ndarray, np.ndarray]:
    """Compute loss and gradient of any number of rows; see `reference.softmax`."""
    check_pass(block, centre, coef, intercept, codes, weights)
    groups = n_models(weights)
    _check_codes(codes, max(len(coef) // groups, 2))
    # copies, so that dtypes and flags of arrays are always the same
    centre, intercept, codes = centre.copy(), intercept.copy(), codes.astype(np.int64)
    weights = weights.reshape(len(block), groups).copy()
    n, d = block.shape
    n_outputs, dtype = len(coef), centre.dtype
    if groups > 1 and coef.nbytes > _CACHED:
        return _pass_of_models(block, centre, coef, intercept, codes, weights)
    # rounded up, because vectors may exceed the last feature and the last output
    width, outputs = padded(d, dtype), padded(n_outputs, dtype)
    transposed = np.zeros((d, outputs), dtype)
    transposed[:, :n_outputs] = coef.T
    start = np.zeros(outputs, dtype)
    start[:n_outputs] = intercept
    threads = n_threads() if n * d * outputs > _ALONE else 1
    cuts = [n * part // threads for part in range(threads + 1)]
    sums = np.zeros((threads, n_outputs * width + n_outputs + 1))
    rows = min(_MOST, max(_FEWEST, _BLOCK // (width * dtype.itemsize)))
    room, one = _room(rows, width, outputs, n_outputs), dtype.type(1)
    functions = code(block.dtype, dtype)
    block, start_of, steps = strided(block)

    def work(part: int) -> None:
        some = slice(cuts[part], cuts[part + 1])
        _pass(
            *(functions, start_of + some.start * steps[0] * block.itemsize, steps),
            *(centre, transposed.ravel(), start, codes[some], weights[some]),
            *(one, rows, lanes(dtype), np.zeros(room, dtype), sums[part]),
        )

    in_threads(work, [(part,) for part in range(threads)], threads)
    total = sums.sum(axis=0)  # in a fixed order, for reproducible bytes
    by_coef = total[: n_outputs * width].reshape(n_outputs, width)[:, :d]
    return float(total[-1]), by_coef, total[n_outputs * width : -1]


def _pass_of_models(
    block: np.ndarray,
    centre: np.ndarray,
    coef: np.ndarray,
    intercept: np.ndarray,
    codes: np.ndarray,
    weights: np.ndarray,
) -> tuple[float, np.ndarray, np.ndarray]:
    """Compute a pass of several models, with the products of BLAS.

    BLAS is faster than the kernel if the coefficients do not fit in the cache.
    """
    (n, d), groups = block.shape, weights.shape[1]
    dtype = centre.dtype
    threads = n_threads() if n * coef.size > _ALONE else 1
    cuts = [n * part // threads for part in range(threads + 1)]
    sums = np.zeros((threads, *coef.shape))
    others = np.zeros((threads, len(coef) + 1))  # by intercept, and the loss
    transposed = np.ascontiguousarray(coef.T)

    def work(part: int) -> None:
        end = cuts[part + 1]
        room = np.empty((min(_ROWS_OF_MODELS, end - cuts[part]), d), dtype)
        for first in range(cuts[part], end, _ROWS_OF_MODELS):
            some = slice(first, min(first + _ROWS_OF_MODELS, end))
            rows = room[: some.stop - first]
            np.subtract(block[some], centre, out=rows, casting="same_kind")
            scores = rows @ transposed
            _residuals(
                *(scores.ravel(), len(coef), len(rows), intercept, codes[some]),
                *(weights[some], groups, len(coef) // groups, others[part]),
            )
            sums[part] += scores.T @ rows

    with single_blas():
        in_threads(work, [(part,) for part in range(threads)], threads)
    total = others.sum(axis=0)  # in a fixed order, for reproducible bytes
    return float(total[-1]), sums.sum(axis=0), total[:-1]


@kernel
def _residuals(scores, stride, n, intercept, codes, weights, groups, size, sums):
    """Replace scores by weights (p - label); add these and the loss to sums."""
    for i in range(n):
        for model in range(groups):
            first, weight = model * size, at(weights, i * groups + model)[0]
            part, own = at(scores, i * stride + first), at(sums, first)
            if weight == 0:  # a row that this model leaves out
                for k in range(size):
                    part[k] = 0
                continue
            biases, label = at(intercept, first), at(codes, i)[0]
            loss = at(sums, groups * size)
            loss[0] += weight * _rest(part, biases, size, label, weight)
            for k in range(size):
                own[k] += part[k]


def _check_codes(codes: np.ndarray, n_classes: int) -> None:
    """Raise if codes are not indices of classes; the kernel does not check."""
    is_int = codes.dtype.kind in "iu"
    if not is_int or (len(codes) and not 0 <= codes.min() <= codes.max() < n_classes):
        raise ValueError(
            f"codes are not indices of {n_classes} classes; pass ints from 0 to "
            f"{n_classes - 1}."
        )


@kernel
def _pass(
    code,
    source,
    steps,
    centre,
    coef,
    intercept,
    codes,
    weights,
    one,
    most,
    lane,
    work,
    sums,
):
    """Add the gradients by coefficients and intercepts, and the loss, to sums.

    `source` is the address of the first row; `steps` lead to the next row and value.
    `work` is working memory, see `_room`.
    """
    n, d, outputs = len(codes), len(centre), len(intercept)
    width = -(-d // lane) * lane
    n_outputs = (len(sums) - 1) // (width + 1)
    rows = at(work, 0)
    scores = at(rows, (most + TALL) * width)
    gradient = at(scores, (most + TALL) * outputs)
    by_coef, others = at(sums, 0), at(sums, n_outputs * width)
    groups, biases = weights.shape[1], at(intercept, 0)
    size = n_outputs // groups
    for first in range(0, n, most):
        some = min(most, n - first)
        block = source + first * steps[0] * code.size
        call(
            code.load_shifted,
            ((rows, 0), (centre, 0)),
            (block, some, d, steps, width, one),
        )
        _score(code, rows, some, width, d, coef, outputs, lane, scores)
        labels, own = at(codes, first), at(weights, first * groups)
        _residuals(scores, outputs, some, biases, labels, own, groups, size, others)
        _gradient(code, rows, some, width, scores, n_outputs, outputs, lane, gradient)
        for j in range(n_outputs * width):
            by_coef[j] += gradient[j]


def _room(most: int, width: int, outputs: int, n_outputs: int) -> int:
    """Return the number of floats that the kernel needs to work with."""
    return (most + TALL) * (width + outputs) + (n_outputs + ROWS) * width


@inner
def _score(code, rows, n, width, d, coef, outputs, lane, scores):
    """Set scores to the products of rows and coefficients."""
    call(
        code.multiply_rows,
        ((rows, 0), (coef, 0), (scores, 0)),
        ((n, outputs // lane, lane), (width, 0), (0, outputs), (1, d), outputs),
    )


@inner
def _rest(scores, intercept, n, code, weight):
    """Replace the scores of a row by weight (p - label); return -log p[label]."""
    if n == 1:
        score = scores[0] + intercept[0]
        signed = score if code == 1 else -score
        small = math.exp(-abs(score))  # no overflow
        p = (1 if score > 0 else small) / (1 + small)
        scores[0] = weight * (p - code)
        return math.log1p(small) - min(signed, 0)
    largest = scores[0] + intercept[0]
    for k in range(n):
        scores[k] += intercept[k]
        largest = max(largest, scores[k])
    of_label = scores[code] - largest
    total = 0.0
    for k in range(n):
        scores[k] = math.exp(scores[k] - largest)
        total += scores[k]
    factor = weight / total
    for k in range(n):
        scores[k] *= factor
    scores[code] -= weight
    return math.log(total) - of_label


@inner
def _gradient(code, rows, n, width, rest, n_outputs, outputs, lane, gradient):
    """Set gradient to the products of residuals and rows."""
    call(
        code.multiply_columns,
        ((rest, 0), (rows, 0), (gradient, 0)),
        (
            (n_outputs, width // lane, lane),
            (0, 0, outputs),
            (0, 0, width),
            (1, 1, n),
            width,
        ),
    )
