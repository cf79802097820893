"""Filter banks from density matrices: eigenvectors, cutoffs, merging and signs.

The matrices are small, so that all of this runs in NumPy float64, on whichever device
the matrices were computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from skdmn.utils.memory import SURE_TO_FIT, available_memory
from skdmn.utils.threads import in_threads, n_threads, single_blas

# A filter's sum decides its sign only if it exceeds this share of the sum of magnitudes
_CLEAR_SUM = 0.05
# Smaller shares of the variance may be rounding errors of sums in float32
_NOISE = 1e-6
_SERIAL_SIZE = 2**12  # number of values below which starting threads costs more time
_AT_ONCE = 2**20  # number of values of small matrices that threads are started for
# Matrices that the diagonalization of one needs: itself, a copy, the eigenvectors and
# two more in LAPACK; and one for what is computed with them
WORKSPACE = 6
# Tolerance for rounding, so that the first entry decides the sign of [1, -2, 1]
_HALF = 0.5 * (1 - 1e-6)


class Matrices(Protocol):
    """Square matrices by index: an array of shape (n, d, d), or computed on access."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


Basis = tuple[np.ndarray, np.ndarray]  # eigenvalues, and eigenvectors as rows


class FilterBank(NamedTuple):
    """Filters of all classes, after cutoffs and merging, in order of energy.

    Attributes
    ----------
    filters : ndarray of shape (n_filters, d), float64
        Unit vectors.
    shares : ndarray of shape (n_filters,), float64
        Eigenvalue of each filter: its share of the variance of its class.
    classes : ndarray of shape (n_filters,), int64
        Index, from 0, of the class from which each filter was computed.
    members : list of list of (int, int)
        For each filter, the (class, rank) of itself and of those merged into it.
    n_varying : int
        Number of components of all classes that have variance beyond rounding errors.
    n_components : int
        Number of components of all classes that the variance cutoff keeps.
    n_distinct : int
        Number of these that are left after merging, before the limit of `n_filters`.
    """

    filters: np.ndarray
    shares: np.ndarray
    classes: np.ndarray
    members: list[list[tuple[int, int]]]
    n_varying: int
    n_components: int
    n_distinct: int

    @property
    def energies(self) -> np.ndarray:
        """Energies E = -log p, in nats, of the filters' eigenvalues p."""
        return _energies(self.shares)


class OverlapGap(NamedTuple):
    """First wide gap in a spectrum of energies.

    Attributes
    ----------
    n_overlap : int
        Number of energies below the gap; 0 if no gap is wide enough.
    width : float
        Width of the gap, in nats. If no gap is wide enough, that of the widest.
    """

    n_overlap: int
    width: float


def overlap_gap(energies: np.ndarray, min_gap: float) -> OverlapGap:
    """Find the first gap between finite energies that exceeds `min_gap` nats."""
    gaps = np.diff(np.sort(energies[np.isfinite(energies)]))
    wide = np.flatnonzero(gaps > min_gap)
    if len(wide):
        return OverlapGap(int(wide[0]) + 1, float(gaps[wide[0]]))
    return OverlapGap(0, float(gaps.max(initial=0.0)))


def eigenbasis(density: np.ndarray) -> Basis:
    """Compute eigenvalues and eigenvectors of a density matrix, largest first.

    Parameters
    ----------
    density : ndarray of shape (d, d), float64
        Density matrix: symmetric, trace 1.

    Returns
    -------
    shares : ndarray of shape (d,)
        Eigenvalues; those that are negative by rounding are set to 0.
    vectors : ndarray of shape (d, d)
        Unit eigenvectors as rows.
    """
    values, vectors = np.linalg.eigh(density)
    return np.maximum(values[::-1], 0.0), vectors.T[::-1]


def eigenbases(densities: Matrices) -> list[Basis]:
    """Compute the eigenbasis of each of several density matrices.

    Parameters
    ----------
    densities : ndarray of shape (n, d, d), float64, or sequence of (d, d)

    Returns
    -------
    list of (shares, vectors)
        Results of `eigenbasis`.
    """
    return list(each_eigenbasis(densities))


def each_eigenbasis(densities: Matrices) -> Iterator[Basis]:
    """Yield the eigenbasis of each of several density matrices, in order.

    Each matrix is diagonalized in one thread, because BLAS gains little from several
    threads for one matrix. There are fewer threads if memory does not suffice for
    `WORKSPACE` matrices each.

    Parameters
    ----------
    densities : ndarray of shape (n, d, d), float64, or sequence of (d, d)
        Items are accessed once each, in the threads.

    Yields
    ------
    shares, vectors : ndarrays
        Results of `eigenbasis`.
    """
    n = len(densities)
    values = densities[0].size if n else 1
    threads = n_threads() if n * values > _SERIAL_SIZE else 1
    of_each = WORKSPACE * 8 * values
    left = available_memory() if threads * of_each > SURE_TO_FIT else None
    if left is not None:
        threads = max(1, min(threads, left // of_each))
    at_once = max(threads, _AT_ONCE // values)
    for start in range(0, n, at_once):
        some = range(start, min(start + at_once, n))
        bases: dict[int, Basis] = {}

        def diagonalize(i: int, bases: dict[int, Basis] = bases) -> None:
            bases[i] = eigenbasis(densities[i])

        with single_blas():
            in_threads(diagonalize, [(i,) for i in some], threads)
        for i in some:
            yield bases.pop(i)


def n_components(shares: np.ndarray, variance_cutoff: float) -> int:
    """Return the number of leading components up to a share of the variance.

    These are the components whose cumulative share is at most the cutoff, and at least
    one. Components without variance are never kept; a cutoff of 1.0 keeps all others.

    Parameters
    ----------
    shares : ndarray of shape (d,)
        Eigenvalues of a density matrix, largest first.
    variance_cutoff : float in (0, 1]
    """
    n_nonzero = int(np.count_nonzero(shares))
    if variance_cutoff >= 1.0:
        return n_nonzero
    tolerance = 1e-12 * len(shares)
    kept = int(np.count_nonzero(np.cumsum(shares) <= variance_cutoff + tolerance))
    return min(max(kept, 1), n_nonzero)


def fix_signs(filters: np.ndarray) -> np.ndarray:
    """Return the filters with reproducible signs.

    The sum of a filter's entries is made positive. If its magnitude is below 0.05 of
    the sum of magnitudes, the first entry that has at least half the largest magnitude
    is made positive instead.

    Parameters
    ----------
    filters : ndarray of shape (n_filters, d)
    """
    sums, magnitudes = filters.sum(axis=1), np.abs(filters)
    large = magnitudes >= _HALF * magnitudes.max(axis=1, keepdims=True)
    first_large = filters[np.arange(len(filters)), large.argmax(axis=1)]
    is_clear = np.abs(sums) >= _CLEAR_SUM * magnitudes.sum(axis=1)
    decisive = np.where(is_clear, sums, first_large)
    return filters * np.where(decisive < 0, -1.0, 1.0)[:, np.newaxis]


def filter_bank(
    densities: Matrices,
    *,
    variance_cutoff: float,
    correlation_cutoff: float,
    n_filters: int | None,
    signs: Literal["one", "both"],
) -> FilterBank:
    """Compute the filters of a layer from the density matrices of its classes.

    Parameters
    ----------
    densities : ndarray of shape (n_classes, d, d), float64, or sequence of (d, d)
        Trace 1 each, or all zero for a class without filters. They are used one after
        the other.
    variance_cutoff : float in (0, 1]
        See `n_components`.
    correlation_cutoff : float in [0, 1]
        A filter is merged into an earlier one if their absolute cosine exceeds this.
        Of several, that with the largest cosine is taken. 1.0 merges none.
    n_filters : int or None
        Maximum number of filters; those of lowest energy are kept. None keeps all.
    signs : {"one", "both"}
        "both" appends the negative of every filter.

    Returns
    -------
    FilterBank
    """
    kept: list[tuple[float, int, int]] = []  # (share, class, rank)
    members: list[list[tuple[int, int]]] = []
    filters = np.empty((0, len(densities[0])))
    n_varying = n_within = 0
    for label, (shares, vectors) in enumerate(each_eigenbasis(densities)):
        candidates = vectors[: n_components(shares, variance_cutoff)]
        n_varying += max(int(np.count_nonzero(shares > _NOISE)), len(candidates))
        n_within += len(candidates)
        repeated = _repeats(candidates, filters, correlation_cutoff)
        for rank, original in enumerate(repeated):
            if original >= 0:
                members[original].append((label, rank))
            else:
                kept.append((shares[rank], label, rank))
                members.append([(label, rank)])
        filters = np.concatenate([filters, candidates[repeated < 0]])
    # a stable sort of rounded energies keeps ties in order of class and rank
    energies = _energies(np.array([share for share, _, _ in kept]))
    order = np.argsort(energies.round(9), kind="stable")[:n_filters]
    filters = fix_signs(filters[order])
    both = signs == "both"
    order = np.concatenate([order, order]) if both else order
    return FilterBank(
        np.concatenate([filters, -filters]) if both else filters,
        np.array([kept[i][0] for i in order]),
        np.array([kept[i][1] for i in order], dtype=np.int64),
        [list(members[i]) for i in order],
        n_varying,
        n_within,
        len(kept),
    )


def _energies(shares: np.ndarray) -> np.ndarray:
    return -np.log(np.minimum(shares, 1.0)) + 0.0  # no minus zero


def _repeats(candidates: np.ndarray, kept: np.ndarray, cutoff: float) -> np.ndarray:
    """Return the index of the kept filter that each candidate repeats, -1 if none.

    Candidates are orthogonal eigenvectors of one matrix, so that they can only repeat
    filters of earlier classes.
    """
    if not len(kept) or not len(candidates) or cutoff >= 1.0:
        return np.full(len(candidates), -1)
    cosines = np.abs(candidates @ kept.T)
    return np.where(cosines.max(axis=1) > cutoff, cosines.argmax(axis=1), -1)
