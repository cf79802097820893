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
    VECTORS,
    lanes,
    multiply,
    padded,
)
from skdmn.kernels.numba.compiling import kernel
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
    weights = weights.reshape(len(block), groups)
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

    def work(part: int) -> None:
        some = slice(cuts[part], cuts[part + 1])
        _pass(
            *(block[some], centre, transposed.ravel(), start, codes[some]),
            *(weights[some], rows, lanes(dtype), sums[part]),
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
    n, d = block.shape
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
            labels = codes[some], weights[some]
            _residuals(scores.ravel(), len(coef), intercept, *labels, others[part])
            sums[part] += scores.T @ rows

    with single_blas():
        in_threads(work, [(part,) for part in range(threads)], threads)
    total = others.sum(axis=0)  # in a fixed order, for reproducible bytes
    return float(total[-1]), sums.sum(axis=0), total[:-1]


@kernel
def _residuals(scores, stride, intercept, codes, weights, sums):
    """Replace scores by weights (p - label); add these and the loss to sums."""
    n, n_models = weights.shape
    size = (len(sums) - 1) // n_models
    for i in range(n):
        for model in range(n_models):
            first, weight = model * size, weights[i, model]
            part = scores[i * stride + first : i * stride + first + size]
            if weight == 0:  # a row that this model leaves out
                part[:] = 0
                continue
            own = intercept[first : first + size]
            sums[-1] += weight * _rest(part, own, codes[i], weight)
            for k in range(size):
                sums[first + k] += part[k]


def _check_codes(codes: np.ndarray, n_classes: int) -> None:
    """Raise if codes are not indices of classes; the kernel does not check."""
    is_int = codes.dtype.kind in "iu"
    if not is_int or (len(codes) and not 0 <= codes.min() <= codes.max() < n_classes):
        raise ValueError(
            f"codes are not indices of {n_classes} classes; pass ints from 0 to "
            f"{n_classes - 1}."
        )


@kernel
def _pass(block, centre, coef, intercept, codes, weights, most, lane, sums):
    """Add the gradients by coefficients and intercepts, and the loss, to sums."""
    n, d = block.shape
    outputs, dtype = len(intercept), centre.dtype
    width = -(-d // lane) * lane
    n_outputs = (len(sums) - 1) // (width + 1)
    others = sums[n_outputs * width :]
    room = TALL * width
    rows = np.zeros(most * width + room, dtype)
    scores = np.zeros((most + TALL) * outputs, dtype)
    gradient = np.empty((n_outputs + ROWS) * width, dtype)
    for first in range(0, n, most):
        some = min(most, n - first)
        for i in range(some):
            values, to = block[first + i], rows[i * width : i * width + d]
            for j in range(d):  # slices, which LLVM turns into vector code
                to[j] = values[j] - centre[j]
        _score(rows, some, width, d, coef, outputs, lane, scores)
        labels = slice(first, first + some)
        _residuals(scores, outputs, intercept, codes[labels], weights[labels], others)
        _gradient(rows, some, width, scores, n_outputs, outputs, lane, gradient)
        for j in range(n_outputs * width):
            sums[j] += gradient[j]


@kernel
def _score(rows, n, width, d, coef, outputs, lane, scores):
    """Set scores to the products of rows and coefficients."""
    for f in range(0, outputs, VECTORS * lane):
        vectors = min(VECTORS, (outputs - f) // lane)
        i = 0
        while i < n:
            i += multiply(
                n - i,
                vectors,
                (rows, i * width, width, 0, 0, 1),
                (coef, f, 0, 0, outputs),
                (1, 1, d),
                (scores, i * outputs + f, outputs),
            )


@kernel
def _rest(scores, intercept, code, weight):
    """Replace the scores of a row by weight (p - label); return -log p[label]."""
    if len(scores) == 1:
        score = scores[0] + intercept[0]
        signed = score if code == 1 else -score
        small = math.exp(-abs(score))  # no overflow
        p = (1 if score > 0 else small) / (1 + small)
        scores[0] = weight * (p - code)
        return math.log1p(small) - min(signed, 0)
    largest = scores[0] + intercept[0]
    for k in range(len(scores)):
        scores[k] += intercept[k]
        largest = max(largest, scores[k])
    of_label = scores[code] - largest
    total = 0.0
    for k in range(len(scores)):
        scores[k] = math.exp(scores[k] - largest)
        total += scores[k]
    factor = weight / total
    for k in range(len(scores)):
        scores[k] *= factor
    scores[code] -= weight
    return math.log(total) - of_label


@kernel
def _gradient(rows, n, width, rest, n_outputs, outputs, lane, gradient):
    """Set gradient to the products of residuals and rows."""
    for j in range(0, width, VECTORS * lane):
        vectors = min(VECTORS, (width - j) // lane)
        k = 0
        while k < n_outputs:
            k += multiply(
                n_outputs - k,
                vectors,
                (rest, k, 1, 0, 0, outputs),
                (rows, j, 0, 0, width),
                (1, 1, n),
                (gradient, k * width + j, width),
            )
