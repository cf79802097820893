"""From density matrices to a filter bank: eigenbases, cutoffs, overlaps, signs.

All of it is small and runs in NumPy float64, whatever computed the matrices.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from skdmn.utils.threads import in_threads, n_threads, single_blas

# below this share of the sum of magnitudes the sum of a filter's entries says no sign
_CLEAR_SUM = 0.05
_ALONE = 2**12  # values of matrices that are sooner done than threads are started
# with room for rounding: [1, -2, 1] is a natural filter, and its first entry counts
_HALF = 0.5 * (1 - 1e-6)


class FilterBank(NamedTuple):
    """Filters of all classes, after cutoffs and merging, by energy.

    Attributes
    ----------
    filters : ndarray of shape (n_filters, d), float64
        Unit vectors.
    shares : ndarray of shape (n_filters,), float64
        Each filter's eigenvalue: its share of the variance of its own class.
    classes : ndarray of shape (n_filters,), int64
        The class, from 0, that each filter was computed from.
    members : list of list of (int, int)
        (class, rank) of each filter and of those that were merged into it.
    """

    filters: np.ndarray
    shares: np.ndarray
    classes: np.ndarray
    members: list[list[tuple[int, int]]]

    @property
    def energies(self) -> np.ndarray:
        """E = -log p, in nats, of each filter's eigenvalue p."""
        return _energies(self.shares)


class OverlapGap(NamedTuple):
    """A gap in a spectrum, and what lies below it.

    Attributes
    ----------
    n_overlap : int
        How many energies lie below the first gap that is wide enough; 0 where none is.
    width : float
        Width of that gap, in nats; where there is none, of the widest.
    """

    n_overlap: int
    width: float


def overlap_gap(energies: np.ndarray, min_gap: float) -> OverlapGap:
    """Find the first gap wider than some nats between energies that are finite."""
    gaps = np.diff(np.sort(energies[np.isfinite(energies)]))
    wide = np.flatnonzero(gaps > min_gap)
    if len(wide):
        return OverlapGap(int(wide[0]) + 1, float(gaps[wide[0]]))
    return OverlapGap(0, float(gaps.max(initial=0.0)))


def eigenbasis(density: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues and eigenvectors of a density matrix, largest first.

    Parameters
    ----------
    density : ndarray of shape (d, d), float64
        Symmetric, trace 1.

    Returns
    -------
    shares : ndarray of shape (d,)
        Eigenvalues; those that rounding made negative are 0.
    vectors : ndarray of shape (d, d)
        Unit eigenvectors as rows.
    """
    values, vectors = np.linalg.eigh(density)
    return np.maximum(values[::-1], 0.0), vectors.T[::-1]


def eigenbases(densities: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the eigenbasis of each of several density matrices.

    One thread for each matrix: BLAS makes little of several for one.
    """
    bases: list[tuple[np.ndarray, np.ndarray]] = [()] * len(densities)  # type: ignore[list-item]

    def find(i: int) -> None:
        bases[i] = eigenbasis(densities[i])

    threads = n_threads() if densities.size > _ALONE else 1
    with single_blas():
        in_threads(find, [(i,) for i in range(len(densities))], threads)
    return bases


def n_components(shares: np.ndarray, variance_cutoff: float) -> int:
    """Return how many leading components stay within a share of the variance.

    Those whose cumulative share is at most the cutoff, at least one of those that
    have variance at all; 1.0 keeps all that have any.
    """
    alive = int(np.count_nonzero(shares))
    if variance_cutoff >= 1.0:
        return alive
    tolerance = 1e-12 * len(shares)
    kept = int(np.count_nonzero(np.cumsum(shares) <= variance_cutoff + tolerance))
    return min(max(kept, 1), alive)


def fix_signs(filters: np.ndarray) -> np.ndarray:
    """Return filters with the sign of each chosen by its entries.

    The sum of the entries is positive; where it is below 0.05 of the sum of
    magnitudes, the first entry of at least half the largest magnitude is.
    """
    sums, magnitudes = filters.sum(axis=1), np.abs(filters)
    large = magnitudes >= _HALF * magnitudes.max(axis=1, keepdims=True)
    first_large = filters[np.arange(len(filters)), large.argmax(axis=1)]
    clear = np.abs(sums) >= _CLEAR_SUM * magnitudes.sum(axis=1)
    says = np.where(clear, sums, first_large)
    return filters * np.where(says < 0, -1.0, 1.0)[:, np.newaxis]


def filter_bank(
    densities: np.ndarray,
    *,
    variance_cutoff: float,
    correlation_cutoff: float,
    n_filters: int | None,
    signs: Literal["one", "both"],
) -> FilterBank:
    """Compute the filters of a layer from its class density matrices.

    Parameters
    ----------
    densities : ndarray of shape (n_classes, d, d), float64
        Trace 1 each, or all zero for a class that gives no filters.
    variance_cutoff : float in (0, 1]
        See `n_components`.
    correlation_cutoff : float in [0, 1]
        A filter whose absolute cosine with one already kept exceeds this is merged
        into the one it overlaps most; 1.0 merges none.
    n_filters : int or None
        At most so many, those of lowest energy.
    signs : {"one", "both"}
        "both" appends the negative of every filter.

    Returns
    -------
    FilterBank
    """
    kept: list[tuple[float, int, int]] = []  # (share, class, rank)
    members: list[list[tuple[int, int]]] = []
    filters = np.empty((0, densities.shape[1]))
    for label, (shares, vectors) in enumerate(eigenbases(densities)):
        candidates = vectors[: n_components(shares, variance_cutoff)]
        repeated = _repeats(candidates, filters, correlation_cutoff)
        for rank, original in enumerate(repeated):
            if original >= 0:
                members[original].append((label, rank))
            else:
                kept.append((shares[rank], label, rank))
                members.append([(label, rank)])
        filters = np.concatenate([filters, candidates[repeated < 0]])
    # stable: energies equal to rounding stay in order of class and rank
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
    )


def _energies(shares: np.ndarray) -> np.ndarray:
    return -np.log(np.minimum(shares, 1.0)) + 0.0  # no minus zero


def _repeats(candidates: np.ndarray, kept: np.ndarray, cutoff: float) -> np.ndarray:
    """Return which kept filter each candidate repeats, -1 where none.

    Candidates are eigenvectors of one matrix, orthogonal to each other: they can only
    repeat filters of the classes before theirs.
    """
    if not len(kept) or not len(candidates) or cutoff >= 1.0:
        return np.full(len(candidates), -1)
    cosines = np.abs(candidates @ kept.T)
    return np.where(cosines.max(axis=1) > cutoff, cosines.argmax(axis=1), -1)
