"""The softmax's loss, gradient and curvature, each in one pass over blocks of rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from skdmn.core import engine
from skdmn.core.backend import Array, own_place, to_numpy, to_place
from skdmn.core.lbfgs import Preconditioner
from skdmn.core.rows import BATCH_BYTES, Rows

CURVATURE_BYTES = 2**24  # of rows that a factor is added up from
_NEW_CLASS = 1e-6  # share of a class without weight, whose logarithm is taken


# One block: the definition, for any array library


def logits(block: Array, centre: Array, coef: Array, intercept: Array) -> Array:
    """Return (X - centre) W^T + b of a block of rows; arrays as in `block_pass`."""
    xp = own_place(centre).xp
    return (xp.astype(block, centre.dtype, copy=False) - centre) @ coef.T + intercept


def probabilities(scores: Array) -> tuple[Array, Array]:
    """Return softmax and log-softmax of logits; one column is that of the second class.

    Parameters
    ----------
    scores : array of shape (rows, n_classes), or (rows, 1) for two classes

    Returns
    -------
    p, log_p : arrays of shape (rows, n_classes)
    """
    xp = own_place(scores).xp
    if scores.shape[1] == 1:
        scores = xp.concat([xp.zeros_like(scores), scores], axis=1)
    scores = scores - xp.max(scores, axis=1, keepdims=True)
    p = xp.exp(scores)
    total = xp.sum(p, axis=1, keepdims=True)
    return p / total, scores - xp.log(total)


def block_pass(
    block: Array,
    centre: Array,
    coef: Array,
    intercept: Array,
    codes: Array,
    weights: Array,
) -> tuple[float, Array, Array]:
    """Return the weighted cross-entropy of a block of rows, and its gradient.

    With P = softmax((X - centre) W^T + b) and Y the labels as rows of the unit matrix,
    R = diag(weights) (P - Y), the loss is -sum(weights log P[Y]), and the gradients
    are R^T (X - centre) for W and the sum of R's rows for b.

    Parameters
    ----------
    block : array of shape (rows, n_features), any real dtype
    centre : array of shape (n_features,), float32 or float64
        Its dtype is the one computed in. It is subtracted while the block is in the
        cache: of values much larger than their spread, float32 keeps too few digits.
    coef : array of shape (n_outputs, n_features)
        W; one output for two classes.
    intercept : array of shape (n_outputs,)
        b
    codes : array of shape (rows,), int
        Each label's index among the classes.
    weights : array of shape (rows,)

    Returns
    -------
    loss : float
    coef_gradient : array of shape (n_outputs, n_features)
    intercept_gradient : array of shape (n_outputs,)
    """
    xp, device = own_place(centre)
    rows = xp.astype(block, centre.dtype, copy=False) - centre
    p, log_p = probabilities(rows @ coef.T + intercept)
    is_label = codes[:, None] == xp.arange(p.shape[1], device=device)[None, :]
    loss = -xp.sum(weights * xp.sum(xp.where(is_label, log_p, 0.0), axis=1))
    rest = (p - xp.astype(is_label, p.dtype)) * weights[:, None]
    rest = rest[:, -coef.shape[0] :]  # of two classes, the second
    return float(loss), rest.T @ rows, xp.sum(rest, axis=0)


def block_curvature(
    block: Array,
    centre: Array,
    coef: Array,
    intercept: Array,
    weights: Array,
) -> Array:
    """Return rows whose second moments are the loss's second derivative, on average.

    The second derivative has a block X^T diag(weights p_c (1 - p_c)) X for each class
    c. Their mean over the classes is A^T A for what this returns.

    Parameters
    ----------
    block, centre, coef, intercept, weights : arrays
        As in `block_pass`.

    Returns
    -------
    array of shape (rows, n_features + 1)
        The last column is the intercept's.
    """
    xp = own_place(centre).xp
    rows = xp.astype(block, centre.dtype, copy=False) - centre
    p, _ = probabilities(rows @ coef.T + intercept)
    root = xp.sqrt(xp.mean(p * (1 - p), axis=1) * weights)[:, None]
    return xp.concat([rows * root, root], axis=1)


# All rows


@np.errstate(invalid="ignore", over="ignore")
def column_moments(rows: Rows, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each feature's weighted mean and variance, in one pass.

    Parameters
    ----------
    rows : Rows
    weights : ndarray of shape (n,), float64

    Returns
    -------
    mean, var : ndarrays of shape (n_features,), float64
        Not finite where the rows are not.
    """
    xp = rows.compute.xp
    mean, var, total = np.zeros(rows.n_features), np.zeros(rows.n_features), 0.0
    for some, block in rows.blocks():
        added = float(weights[some].sum())
        if not added:
            continue
        values = xp.astype(block, getattr(xp, rows.dtype), copy=False)
        w = to_place(weights[some] / added, rows.compute)
        w = xp.astype(w, values.dtype)
        # what is constant is its first value exactly; from the mean, not the first
        # value, no digits of the others' deviations are lost
        with np.errstate(invalid="ignore", over="ignore"):
            first = values[int(np.flatnonzero(weights[some])[0]), :]
            centre = first + w @ (values - first)
            values = values - centre
            rest = to_numpy(w @ values).astype(np.float64)
            block_var = to_numpy(w @ (values * values)) - rest**2
        block_mean = to_numpy(centre).astype(np.float64) + rest
        share = added / (total + added)  # Chan, Golub, LeVeque
        total += added
        away = block_mean - mean
        var += share * (block_var - var + (1 - share) * away**2)
        mean += share * away
    return mean, np.maximum(var, 0.0)


@dataclass(frozen=True)
class Objective:
    """The mean loss plus the penalty, as a function of standardized coefficients.

    With a point's rows (w, b), one for each class and one in all for two classes, the
    value is sum(weights loss) / sum(weights) + penalty |w|^2 / 2, for the logits
    w (x - mean) / scale + b.

    Attributes
    ----------
    rows : Rows
    codes : ndarray of shape (n,), int
        Each label's index among the classes.
    weights : ndarray of shape (n,), float64
    n_classes : int
    mean, scale, var : ndarrays of shape (n_features,), float64
        What is taken away and divided by, and what the variance is.
    penalty : float
        1 / (C sum(weights)).
    fit_intercept : bool
        Whether b is free, else it is 0.
    passes : list of float
        Share of the rows that each pass read; grows, of samples too.
    """

    rows: Rows
    codes: np.ndarray
    weights: np.ndarray
    n_classes: int
    mean: np.ndarray
    scale: np.ndarray
    var: np.ndarray
    penalty: float
    fit_intercept: bool
    share: float = 1.0
    passes: list[float] = field(default_factory=list)
    _placed: dict[str, Array] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of a point: coefficients and intercept in a row for each output."""
        outputs = self.n_classes if self.n_classes > 2 else 1
        return outputs, self.rows.n_features + 1

    @property
    def rounding(self) -> float:
        """Relative rounding error of values."""
        return float(np.finfo(self.rows.dtype).eps)

    def __call__(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Return value and gradient at a point, in one pass."""
        centre, coef, intercept = self._model(point)
        codes, weights = self._labels()
        loss, gradient = 0.0, np.zeros(self.shape)
        # a kernel cuts blocks for the cache by itself
        large = self.rows.compute.is_numpy and engine.with_numba("cpu_softmax")
        for some, block in self.rows.blocks(BATCH_BYTES if large else None):
            kernels = engine.kernels_for(block, "cpu_softmax")
            one_pass = kernels.block_pass if kernels else block_pass
            added, by_coef, by_intercept = one_pass(
                block, centre, coef, intercept, codes[some], weights[some]
            )
            loss += added
            gradient[:, :-1] += to_numpy(by_coef)
            gradient[:, -1] += to_numpy(by_intercept)
        self.passes.append(self.share)
        total = self.weights.sum()
        gradient[:, :-1] /= self.scale
        gradient /= total
        gradient[:, :-1] += self.penalty * point[:, :-1]
        gradient[:, -1] *= self.fit_intercept
        return loss / total + self.penalty / 2 * (point[:, :-1] ** 2).sum(), gradient

    def origin(self) -> np.ndarray:
        """Return where all coefficients are 0, and intercepts the classes' shares."""
        point = np.zeros(self.shape)
        if self.fit_intercept:
            counts = np.bincount(self.codes, self.weights, minlength=self.n_classes)
            logs = np.log(counts / counts.sum() + _NEW_CLASS)
            centred = logs[1:] - logs[0] if len(point) == 1 else logs - logs.mean()
            point[:, -1] = centred
        return point

    def sample(self, size: int) -> Objective:
        """Return the same of some rows: a like share of each class, the same each time.

        Rows without weight are left out: it is as if they were not there.
        """
        random = np.random.default_rng(0)
        members = [
            np.flatnonzero((self.codes == code) & (self.weights > 0))
            for code in range(self.n_classes)
        ]
        share = size / sum(map(len, members))
        chosen = np.sort(
            np.concatenate(
                [random.permutation(m)[: int(np.ceil(share * len(m)))] for m in members]
            )
        )
        return dataclasses.replace(
            self,
            rows=self.rows.choose(chosen),
            codes=self.codes[chosen],
            weights=self.weights[chosen],
            share=self.share * len(chosen) / len(self.rows),
            _placed={},
        )

    def diagonal(self) -> Preconditioner:
        """Return the inverse of a bound on the second derivative's diagonal.

        Without p (1 - p) < 1 it is several times the diagonal, so that steps are short
        where columns are alike and add up.
        """
        diagonal = np.append(self.var / self.scale**2 + self.penalty, 1.0)
        diagonal[diagonal == 0] = 1.0  # constant columns without a penalty
        return lambda gradient: gradient / diagonal

    def curvature_blocks(self, point: np.ndarray) -> Iterator[Array]:
        """Yield what `block_curvature` gives of standardized rows, at a point."""
        model = self._model(point)
        _, weights = self._labels()
        scale = np.append(self.scale, 1.0).astype(self.rows.dtype)
        divisor = to_place(scale, self.rows.compute)
        for some, block in self.rows.blocks(CURVATURE_BYTES):
            # here: sums of products of what is not standardized may overflow
            yield block_curvature(block, *model, weights[some]) / divisor
        self.passes.append(self.share)

    def _model(self, point: np.ndarray) -> tuple[Array, Array, Array]:
        """Return centre, coefficients and intercepts for rows as they are."""
        coef = point[:, :-1] / self.scale
        place, dtype = self.rows.compute, self.rows.dtype
        centre, coef, intercept = (
            to_place(np.ascontiguousarray(array, dtype=dtype), place)
            for array in (self.mean, coef, point[:, -1])
        )
        return centre, coef, intercept

    def _labels(self) -> tuple[Array, Array]:
        """Return codes and weights where the rows are computed."""
        if not self._placed:
            place, weights = self.rows.compute, self.weights.astype(self.rows.dtype)
            self._placed["codes"] = to_place(self.codes, place)
            self._placed["weights"] = to_place(weights, place)
        return self._placed["codes"], self._placed["weights"]
