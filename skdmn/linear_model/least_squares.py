"""Least squares from sums: solutions for all penalties, and their held-out errors.

The targets are 1 for a row's own class and -1 for the others; for two classes there is
only the target of the second class. In the following, A has the standardized rows and B
the targets minus their means, both times the square roots of the weights. With the
eigenvalues l of A^T A, its eigenvectors V, and Q = (V^T A^T B) / sqrt(l), the
coefficients for a penalty alpha are V (sqrt(l) Q / (l + alpha)). Therefore one
eigendecomposition serves all penalties, and residuals need no row: their second moments
follow from Q and B^T B.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.linalg
from scipy.optimize import brentq

from skdmn.statistics.row_sums import RowSums, slices
from skdmn.utils.array_api import Backend, to_backend, to_numpy

_DRAWS = 4096  # of held-out scores, for the temperature
_TAILS = 6  # degrees of freedom of their distribution
_STEEPEST = 1e3  # bounds of the inverse temperature


class HeldOut(NamedTuple):
    """Moments of scores of held-out rows.

    Attributes
    ----------
    means : ndarray of shape (n_classes, n_outputs)
        Mean scores of the rows of each class.
    covariance : ndarray of shape (n_outputs, n_outputs)
        Covariance of the scores around the means of their classes.
    shares : ndarray of shape (n_classes,)
        Share of each class in the total weight.
    """

    means: np.ndarray
    covariance: np.ndarray
    shares: np.ndarray


@dataclass(frozen=True)
class LeastSquares:
    """Least squares on standardized features, for any penalty.

    Attributes
    ----------
    sums : RowSums
    scale : ndarray of shape (n_features,)
        Standard deviations, by which features are divided; 1 for constant features.
    values : ndarray of shape (rank,)
        Positive eigenvalues of A^T A, see the module.
    targets : ndarray of shape (rank, n_outputs)
        Q of the module.
    back : callable
        Multiplies V with an array of shape (rank, n_outputs).
    """

    sums: RowSums
    scale: np.ndarray
    values: np.ndarray
    targets: np.ndarray
    back: Callable[[np.ndarray], np.ndarray]

    @classmethod
    def of(cls, sums: RowSums, backend: Backend) -> LeastSquares:
        """Decompose the second moments on a device of computation."""
        scale = _scale(sums)
        # A^T B: since A has mean zero, the means of the targets make no difference
        moments = 2 * (_outputs(sums.sums) / scale).T
        if sums.products is None:
            return cls(sums, scale, *_from_rows(sums, scale, moments, backend))
        products = sums.products / scale
        products /= scale[:, np.newaxis]
        values, vectors = _eigh(products, backend)
        values, vectors = _positive(values, vectors, len(products))
        targets = (vectors.T @ moments) / np.sqrt(values)[:, np.newaxis]
        return cls(sums, scale, values, targets, lambda inner: vectors @ inner)

    @property
    def n(self) -> float:
        """Number of rows, where a row of weight 2 counts as two rows.

        Weights that add up to less than the number of rows are not counts.
        """
        return max(self.sums.total, float(self.sums.n_rows))

    @property
    def means(self) -> np.ndarray:
        """Weighted means of the targets, of shape (n_outputs,)."""
        return 2 * _outputs(self._shares) - 1

    @property
    def _shares(self) -> np.ndarray:
        return self.sums.weights / self.sums.weights.sum()

    @functools.cached_property
    def _squares(self) -> np.ndarray:
        """Weighted mean of products of the targets minus their means."""
        shares = self._shares
        squares = 4 * (np.diag(shares) - np.outer(shares, shares))
        return _outputs(_outputs(squares).T)

    @functools.cached_property
    def _outside(self) -> np.ndarray:
        """The part of `_squares` that no coefficients can explain."""
        if len(self.values) + 1 >= self.sums.n_rows:
            return np.zeros_like(self._squares)
        explained = self.targets.T @ self.targets / self.sums.weights.sum()
        return self._squares - explained

    @functools.cached_property
    def _by_value(self) -> np.ndarray:
        """Sum of squares of the targets along each eigenvector, over the outputs."""
        return (self.targets**2).sum(axis=1)

    def coefficients(self, alpha: float) -> np.ndarray:
        """Return coefficients for standardized features, (n_features, n_outputs)."""
        return self.back(
            self.targets * (np.sqrt(self.values) / (self.values + alpha))[:, np.newaxis]
        )

    def score(self, alpha: float) -> float:
        """Estimate the share of the targets' variance explained on held-out rows.

        This is generalized cross-validation: leave-one-out, with every leverage
        replaced by the mean leverage. 1 is perfect; 0 is as good as the shares of the
        classes.
        """
        variance = np.trace(self._squares)
        if not variance > 0:  # all rows are of one class
            return 0.0
        chance = variance * (self.n / (self.n - 1)) ** 2
        left = alpha / (self.values + alpha)
        inside = left**2 @ self._by_value / self.sums.weights.sum()
        residual = inside + np.trace(self._outside)
        return float(1 - max(residual, 0.0) * self._inflation(alpha) ** 2 / chance)

    def held_out(self, alpha: float) -> HeldOut:
        """Estimate moments of the scores of held-out rows.

        The residual of a row that is left out is taken as its residual times
        `_inflation`, as in `score`.
        """
        factor, shares = self._inflation(alpha), self._shares
        with_targets, squares = self._residuals(alpha)
        # of scores minus the means of the targets
        crossed = self._squares - factor * with_targets
        squares = self._squares - 2 * factor * with_targets + factor**2 * squares
        by_class = np.where(shares > 0, shares, 1.0)[:, np.newaxis]
        means = _of_all_classes(crossed / 2) / by_class
        covariance = squares - means.T @ (shares[:, np.newaxis] * means)
        return HeldOut(self.means + means, covariance, shares)

    def _residuals(self, alpha: float) -> tuple[np.ndarray, np.ndarray]:
        """Return weighted mean products of residuals with targets, and of residuals."""
        left = alpha / (self.values + alpha)
        scaled = self.targets.T / self.sums.weights.sum()
        with_targets = (scaled * left) @ self.targets + self._outside
        return with_targets, (scaled * left**2) @ self.targets + self._outside

    def _inflation(self, alpha: float) -> float:
        """Return the factor from a residual to that of the row when it is left out.

        It is 1 / (1 - mean leverage). The leverages add up to the degrees of freedom:
        1 for the intercept, and l / (l + alpha) for each eigenvalue l.
        """
        left = (alpha / (self.values + alpha)).sum()
        free = self.n - 1 - len(self.values) + left
        return float(self.n / max(free, np.finfo(np.float64).eps * self.n))


def temperature(held_out: HeldOut) -> float:
    """Return the number by which to divide scores before a softmax.

    It minimizes the expected cross-entropy of held-out rows, if the scores of each
    class have the given mean and covariance and Student's t-distribution. That has
    heavier tails than a normal distribution, as scores of images have: normal scores
    would make the probabilities of digits too confident.
    """
    means, covariance, shares = held_out
    n_classes, n_outputs = means.shape
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    n_draws = 2 * max(1, _DRAWS // (2 * n_classes))
    random, shape = np.random.default_rng(0), (n_classes, n_draws // 2)
    draws = random.standard_normal((*shape, n_outputs)) @ root
    draws *= np.sqrt((_TAILS - 2) / random.chisquare(_TAILS, (*shape, 1)))
    scores = means[:, np.newaxis] + np.concatenate([draws, -draws], axis=1)
    if n_outputs == 1:
        scores = np.concatenate([np.zeros_like(scores), scores], axis=2)
    own = scores[np.arange(n_classes), :, np.arange(n_classes)]

    def slope(steepness: float) -> float:
        """Return the derivative of the cross-entropy, which is convex."""
        p = steepness * (scores - scores.max(axis=2, keepdims=True))
        np.exp(p, out=p)
        expected = (p * scores).sum(axis=2) / p.sum(axis=2)
        return float(shares @ (expected - own).mean(axis=1))

    lowest, highest = 1 / _STEEPEST, _STEEPEST
    if slope(lowest) >= 0:
        return 1 / lowest
    if slope(highest) <= 0:
        return 1 / highest
    return float(1 / brentq(slope, lowest, highest, xtol=1e-12))


def _from_rows(
    sums: RowSums, scale: np.ndarray, moments: np.ndarray, backend: Backend
) -> tuple[np.ndarray, np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Decompose A A^T, which is smaller than A^T A if there are few rows."""
    n, columns = sums.n_rows, slices(len(scale), 8 * sums.n_rows)

    def standardized(some: slice) -> np.ndarray:
        return sums.root_rows(slice(None), some) / scale[some]

    products, crossed = np.zeros((n, n)), np.zeros((n, moments.shape[1]))
    for some in columns:
        rows = standardized(some)
        products += rows @ rows.T
        crossed += rows @ moments[some]
    values, vectors = _eigh(products, backend)
    values, vectors = _positive(values, vectors, len(scale))

    def back(inner: np.ndarray) -> np.ndarray:
        inner = vectors @ (inner / np.sqrt(values)[:, np.newaxis])
        return np.concatenate([standardized(some).T @ inner for some in columns])

    return values, (vectors.T @ crossed) / values[:, np.newaxis], back


def _eigh(matrix: np.ndarray, backend: Backend) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues and eigenvectors; the lower triangle is used."""
    if backend.is_numpy:
        return scipy.linalg.eigh(
            matrix, overwrite_a=True, check_finite=False, driver="evd"
        )
    found = backend.xp.linalg.eigh(to_backend(_symmetric(matrix), backend))
    values, vectors = map(to_numpy, found)
    return values, vectors


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    """Return a matrix whose upper triangle is that below the diagonal."""
    lower = np.tril(matrix, -1)
    return lower + lower.T + np.diag(np.diagonal(matrix))


def _positive(
    values: np.ndarray, vectors: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Leave out eigenvalues that are rounding errors."""
    noise = np.finfo(np.float64).eps * max(size, len(values)) * values[-1]
    first = int(np.searchsorted(values, noise, side="right"))
    return values[first:], vectors[:, first:]


def _scale(sums: RowSums) -> np.ndarray:
    """Return the standard deviation of each feature; 1 for a constant feature."""
    var = sums.squares() / sums.weights.sum()
    # StandardScaler's test for constant features
    rounding = sums.n_rows * np.finfo(np.float64).eps
    constant = var <= rounding * var + (rounding * sums.mean) ** 2
    return np.where(constant, 1.0, np.sqrt(var))


def _outputs(by_class: np.ndarray) -> np.ndarray:
    """Return the rows that are outputs: for two classes, that of the second."""
    return by_class[1:] if len(by_class) == 2 else by_class


def _of_all_classes(outputs: np.ndarray) -> np.ndarray:
    """Return a row for each class: for two classes, the first is minus the second."""
    return np.concatenate([-outputs, outputs]) if len(outputs) == 1 else outputs
