"""Sums over labelled rows from which a least-squares classifier is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from scipy.linalg.blas import dsyrk

from skdmn.data import sizes
from skdmn.data.rows import Rows
from skdmn.kernels.reference.sums import to_float64
from skdmn.utils.array_api import Array, take, to_backend, to_numpy
from skdmn.utils.state import (
    POSITIVE,
    State,
    StateError,
    count,
    floats,
    moments,
    number,
)


@dataclass
class RowSums:
    """Means, sums by class and second moments of rows, which can be merged.

    Up to as many rows as features, the rows themselves are kept: they need less memory
    than the matrix of their products, which has no more information than they have.

    Attributes
    ----------
    n_rows : int
        Number of rows with positive weight.
    total : float
        Sum of the sample weights of these rows.
    weights : ndarray of shape (n_classes,), float64
        Total weight of each class, that is sample weights times class weights.
    mean : ndarray of shape (n_features,), float64
        Weighted mean of the rows.
    sums : ndarray of shape (n_classes, n_features), float64
        Weighted sum of the differences between the rows of a class and `mean`.
    products : ndarray of shape (n_features, n_features), float64, or None
        Weighted sum of the outer products of these differences, over all rows. Only the
        lower triangle is used.
    rows : ndarray of shape (n_rows, n_features), float32 or float64, or None
        The rows, while there are no more rows than features; `products` is None then.
    row_weights : ndarray of shape (n_rows,), float64, or None
        Weights of `rows`.
    """

    _state: ClassVar[State] = {
        "n_rows": count(least=1),
        "total": number(least=POSITIVE),
        "weights": floats("n_classes", least=0),
        "mean": floats("n_features"),
        "sums": floats("n_classes", "n_features"),
        "products": moments("n_features", "n_features").or_none(),
        "rows": floats("n_rows", "n_features").or_none(),
        "row_weights": floats("n_rows", least=POSITIVE).or_none(),
    }

    n_rows: int
    total: float
    weights: np.ndarray
    mean: np.ndarray
    sums: np.ndarray
    products: np.ndarray | None
    rows: np.ndarray | None
    row_weights: np.ndarray | None

    @classmethod
    def empty(cls, n_classes: int, n_features: int, dtype: str = "float32") -> Self:
        """Return sums over no rows."""
        return cls(
            n_rows=0,
            total=0.0,
            weights=np.zeros(n_classes),
            mean=np.zeros(n_features),
            sums=np.zeros((n_classes, n_features)),
            products=None,
            rows=np.empty((0, n_features), dtype),
            row_weights=np.empty(0),
        )

    def check_parts(self) -> None:
        """Raise StateError if the attributes do not belong together."""
        has_rows = self.rows is not None
        if has_rows != (self.row_weights is not None) or has_rows == (
            self.products is not None
        ):
            raise StateError("has both rows and products, or neither")
        if self.rows is not None and len(self.rows) != self.n_rows:
            raise StateError(f"has n_rows={self.n_rows}, but {len(self.rows)} rows")

    def like(self, n_classes: int) -> Self:
        """Return sums over no rows, for rows of the same length."""
        return self.empty(n_classes, len(self.mean))

    def merge(self, other: RowSums, labels: np.ndarray | None = None) -> None:
        """Add the sums over other rows.

        The update formula is that of T. Chan, G. Golub, R. LeVeque, "Algorithms for
        computing the sample variance", The American Statistician 37, 1983.

        Parameters
        ----------
        other : RowSums
            Sums over rows of the same length. They are not changed.
        labels : ndarray of int or None, default=None
            Unique indices of the classes of `other` among those of these sums. None
            means that both have the same classes.

        Raises
        ------
        ValueError
            If the rows of `other` have another length.
        """
        if len(other.mean) != len(self.mean):
            raise ValueError(
                f"Sums over rows of {len(self.mean)} and of {len(other.mean)} features "
                "cannot be merged; pass rows of the same features."
            )
        if not other.n_rows:
            return
        at = np.arange(len(other.weights)) if labels is None else labels
        here, there = self.weights.sum(), other.weights.sum()
        away = other.mean - self.mean
        mean = self.mean + there / (here + there) * away
        self._merge_products(other, away * np.sqrt(here * (there / (here + there))))
        self.sums += np.outer(self.weights, self.mean - mean)
        self.sums[at] += other.sums + np.outer(other.weights, other.mean - mean)
        self.weights[at] += other.weights
        self.mean = mean
        self.total += other.total
        self.n_rows += other.n_rows

    def _merge_products(self, other: RowSums, between: np.ndarray) -> None:
        """Add products; the outer product of `between` is that of the two means."""
        if (
            self.rows is not None
            and other.rows is not None
            and self.row_weights is not None
            and other.row_weights is not None
            and keeps_rows(self.n_rows + other.n_rows, len(self.mean))
        ):
            self.rows = np.concatenate([self.rows[: self.n_rows], other.rows])
            self.row_weights = np.concatenate([self.row_weights, other.row_weights])
            return
        self.leave_rows_out()
        assert self.products is not None
        if other.products is None:
            other._add_rows_to(self.products)
        else:
            self.products += other.products
        _add_outer_products(self.products, between[np.newaxis])

    def leave_rows_out(self) -> None:
        """Replace the rows, if they are kept, by their products."""
        if self.products is None:
            self.products = np.zeros((len(self.mean),) * 2)
            self._add_rows_to(self.products)
            self.rows = self.row_weights = None

    def _add_rows_to(self, products: np.ndarray) -> None:
        """Add the weighted outer products of the rows minus their mean."""
        for some in slices(self.n_rows, 8 * len(self.mean)):
            _add_outer_products(products, self.root_rows(some))

    def root_rows(self, some: slice, columns: slice = slice(None)) -> np.ndarray:
        """Return rows minus their mean, times the square root of their weights."""
        assert self.rows is not None
        assert self.row_weights is not None
        rows = self.rows[some, columns] - self.mean[columns]
        rows *= np.sqrt(self.row_weights[some])[:, np.newaxis]
        return rows

    def squares(self) -> np.ndarray:
        """Return the diagonal of the products, of shape (n_features,)."""
        if self.products is not None:
            return np.diagonal(self.products).copy()
        squares = np.zeros(len(self.mean))
        for some in slices(self.n_rows, 8 * len(self.mean)):
            rows = self.root_rows(some)
            squares += (rows * rows).sum(axis=0)
        return squares


def keeps_rows(n_rows: int, n_features: int) -> bool:
    """Return True if sums keep the rows instead of the matrix of their products."""
    return n_rows <= n_features


def row_sums(
    rows: Rows,
    codes: np.ndarray,
    weights: np.ndarray,
    by_class: np.ndarray,
) -> RowSums:
    """Compute the sums over rows, in one pass.

    Parameters
    ----------
    rows : Rows
    codes : ndarray of shape (n,), int
        Class index of each row.
    weights : ndarray of shape (n,), float64
        Sample weight of each row. Rows whose weight, times that of the class, is zero
        are left out.
    by_class : ndarray of shape (n_classes,), float64
        Weight of each class.

    Returns
    -------
    RowSums

    Raises
    ------
    ValueError
        If a value is not finite, if squares overflow, or if all of them underflow.
    """
    of_rows = weights * by_class[codes]
    n_rows = int(np.count_nonzero(of_rows))
    found = RowSums.empty(len(by_class), rows.n_features, rows.dtype)
    if not n_rows:
        return found
    found.n_rows, found.total = n_rows, float(weights[of_rows > 0].sum())
    found.weights += np.bincount(codes, of_rows, minlength=len(by_class))
    kept = None
    if keeps_rows(n_rows, rows.n_features):
        found.row_weights = of_rows[of_rows > 0]
        kept = found.rows = np.empty((n_rows, rows.n_features), rows.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        sums, products, shift, largest = _pass(rows, codes, of_rows, by_class, kept)
        found.sums = to_numpy(sums)
        from_shift = found.sums.sum(axis=0) / found.weights.sum()
        found.mean = shift + from_shift
        found.sums -= np.outer(found.weights, from_shift)
        if products is not None:
            found.products = to_numpy(products)
            found.rows = found.row_weights = None
            root = from_shift * np.sqrt(found.weights.sum())
            found.products -= np.outer(root, root)
        is_finite = np.isfinite(largest * largest * found.weights.sum())
    if not (is_finite and np.isfinite(found.sums).all()):
        raise ValueError(
            "X contains NaN or infinity, or values whose squares overflow; remove, "
            "impute or rescale them."
        )
    if largest > 0 and largest**2 < np.finfo(rows.dtype).tiny:
        raise ValueError(
            f"The features of X have variances that underflow in {rows.dtype}; "
            "multiply X by a large number."
        )
    return found


def _pass(
    rows: Rows,
    codes: np.ndarray,
    weights: np.ndarray,
    by_class: np.ndarray,
    kept: np.ndarray | None,
) -> tuple[Array, Array | None, np.ndarray, float]:
    """Read the rows once; copy them to `kept`, or sum their products if it is None.

    Returns sums by class and products of the rows minus a provisional mean, this mean,
    and the largest magnitude of these differences.
    """
    backend, xp = rows.compute, rows.compute.xp
    # a GPU computes the products of a block in the dtype of the rows, which is faster
    dtype = "float64" if backend.is_numpy else rows.dtype
    sums: Any = 0.0
    products: Any = None
    shift: Any = None
    n_done, largest = 0, 0.0
    if kept is None and backend.is_numpy:
        products = np.zeros((rows.n_features,) * 2)
    for some, block in rows.blocks(sizes.MOMENTS_BYTES):
        used = np.flatnonzero(weights[some])
        if not len(used):
            continue
        of_block = weights[some][used]
        block = take(block, used, axis=0) if len(used) < block.shape[0] else block
        values = xp.astype(block, getattr(xp, dtype), copy=False)
        if kept is not None:
            kept[n_done : n_done + len(used)] = to_numpy(block)
            n_done += len(used)
        if shift is None:
            # the first row first: a constant feature then has exactly zero variance
            first = values[0, :]
            shift = first + xp.mean(values - first, axis=0)
        values = values - shift
        largest = max(largest, float(xp.max(xp.abs(values))))
        share = np.zeros((len(by_class), len(used)))
        share[codes[some][used], np.arange(len(used))] = of_block
        sums = sums + to_float64(_sent(share, backend, values) @ values)
        if kept is None:
            values = values * _sent(np.sqrt(of_block), backend, values)[:, None]
            if backend.is_numpy:
                _add_outer_products(products, values)
            else:
                added = to_float64(values.T @ values)
                products = added if products is None else products + added
    return sums, products, to_numpy(shift).astype(np.float64), largest


def _sent(array: np.ndarray, backend: Any, values: Array) -> Array:
    """Return an array on the device of computation, in the dtype of values there."""
    return backend.xp.astype(to_backend(array, backend), values.dtype, copy=False)


def _add_outer_products(products: np.ndarray, rows: np.ndarray) -> None:
    """Add ``rows.T @ rows`` to the lower triangle of products, without a copy."""
    dsyrk(1.0, rows.T, beta=1.0, c=products.T, overwrite_c=1)


def slices(n: int, n_bytes: int) -> list[slice]:
    """Divide n rows or columns of so many bytes each into blocks."""
    size = max(1, sizes.allowed(sizes.BATCH_BYTES) // max(1, n_bytes))
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]
