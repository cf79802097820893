"""The softmax's loss, gradient and curvature, each in one pass over blocks of rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from skdmn.data.rows import BATCH_BYTES, Rows
from skdmn.kernels import dispatch
from skdmn.kernels.reference.softmax import (
    block_curvature,
)
from skdmn.linear_model.lbfgs import Preconditioner
from skdmn.utils.array_api import Array, to_backend, to_numpy

CURVATURE_BYTES = 2**24  # of rows that a factor is added up from
_NEW_CLASS = 1e-6  # share of a class without weight, whose logarithm is taken


# One block: the definition, for any array library


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
        w = to_backend(weights[some] / added, rows.compute)
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
        large = self.rows.compute.is_numpy and dispatch.has_numba_kernel("softmax_pass")
        for some, block in self.rows.blocks(BATCH_BYTES if large else None):
            added, by_coef, by_intercept = dispatch.softmax_pass(
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
        divisor = to_backend(scale, self.rows.compute)
        for some, block in self.rows.blocks(CURVATURE_BYTES):
            # here: sums of products of what is not standardized may overflow
            yield block_curvature(block, *model, weights[some]) / divisor
        self.passes.append(self.share)

    def _model(self, point: np.ndarray) -> tuple[Array, Array, Array]:
        """Return centre, coefficients and intercepts for rows as they are."""
        coef = point[:, :-1] / self.scale
        backend, dtype = self.rows.compute, self.rows.dtype
        centre, coef, intercept = (
            to_backend(np.ascontiguousarray(array, dtype=dtype), backend)
            for array in (self.mean, coef, point[:, -1])
        )
        return centre, coef, intercept

    def _labels(self) -> tuple[Array, Array]:
        """Return codes and weights where the rows are computed."""
        if not self._placed:
            backend, weights = self.rows.compute, self.weights.astype(self.rows.dtype)
            self._placed["codes"] = to_backend(self.codes, backend)
            self._placed["weights"] = to_backend(weights, backend)
        return self._placed["codes"], self._placed["weights"]
