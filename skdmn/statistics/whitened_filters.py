"""What sets groups of patches apart: density matrices relative to that of all.

Patches are taken by their contrast (`core.contrast`) and grouped by class and by the
cell of the image that they lie in. The filters are the directions in which a group has
the most variance for that of all patches: generalized eigenvectors, which are the
eigenvectors of the group's density matrix in whitened space [1]_.

References
----------
.. [1] K. Fukunaga, W. Koontz, "Application of the Karhunen-Loeve expansion to feature
   selection and ordering", IEEE Transactions on Computers C-19, 1970.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from skdmn.kernels.geometry import Pair
from skdmn.statistics.filters import eigenbases, eigenbasis, fix_signs, n_components

# of the largest value: what is less is rounding, as of patches' means, taken away
_LEAST = 1e-6


class WhitenedBank(NamedTuple):
    """Filters by the variance that they give their group for that of all.

    Attributes
    ----------
    components : ndarray of shape (n_components, d), float64
        Orthonormal; filters are combinations of them.
    filters : ndarray of shape (n_filters, d), float64
    ratios : ndarray of shape (n_filters,), float64
        Generalized eigenvalues, largest first.
    groups : ndarray of shape (n_filters,), int64
        The group, from 0, that each filter was computed from.
    """

    components: np.ndarray
    filters: np.ndarray
    ratios: np.ndarray
    groups: np.ndarray


def mirrored_order(size: Pair, n_channels: int) -> np.ndarray:
    """Return the order in which the entries of a patch's mirror image are its own."""
    entries = np.arange(math.prod(size) * n_channels).reshape(*size, n_channels)
    return entries[:, ::-1].ravel()


def of_mirror_images_too(
    densities: np.ndarray, cells: Pair, mirror: np.ndarray
) -> np.ndarray:
    """Return density matrices of images and their mirror images, by class and cell.

    Of the cells on the left and in the middle: those on the right are their mirrors,
    as nearly as pixels allow.

    Parameters
    ----------
    densities : ndarray of shape (n_classes, n_cells, d, d), float64
    cells : (int, int)
        How many cells there are, down and across.
    mirror : ndarray of shape (d,), int
        See `mirrored_order`.

    Returns
    -------
    ndarray of shape (n_classes, cells down * ceil(cells across / 2), d, d), float64
        Trace 1 each, or all zero.
    """
    n_classes, _, d, _ = densities.shape
    grid = densities.reshape(n_classes, *cells, d, d)
    left = slice(0, -(-cells[1] // 2))
    opposite = grid[:, :, ::-1][:, :, left][..., mirror, :][..., mirror]
    both = (grid[:, :, left] + opposite).reshape(n_classes, -1, d, d)
    traces = np.trace(both, axis1=2, axis2=3)
    return both / np.where(traces > 0, traces, 1.0)[..., np.newaxis, np.newaxis]


def whitened_bank(
    densities: np.ndarray,
    *,
    n_filters: int,
    variance_cutoff: float,
    correlation_cutoff: float,
    regularization: float,
    mirror: np.ndarray | None = None,
) -> WhitenedBank:
    """Compute filters from the density matrices of groups.

    A filter w of group g solves ``rho_g w = ratio * (rho + r / d * 1) w``, rho being
    the mean of the groups' matrices, and ``w (rho + r / d * 1) w = 1``; both in the
    space of rho's leading eigenvectors.

    Parameters
    ----------
    densities : ndarray of shape (n_groups, d, d), float64
        Trace 1 each, or all zero for a group that gives no filters.
    n_filters : int
        At most so many, those of largest ratio.
    variance_cutoff : float in (0, 1]
        The share of variance that rho's leading eigenvectors stay within; see
        `core.filters.n_components`. Those of less than 1e-6 of the largest eigenvalue
        are rounding, and left out in any case.
    correlation_cutoff : float in [0, 1]
        A filter is left out where its absolute cosine, in whitened space, with one of
        larger ratio exceeds this; 1.0 leaves none out.
    regularization : float above 0
        r: the share of the mean eigenvalue that is added to all.
    mirror : ndarray of shape (d,), int, or None
        The order in which the entries of a patch's mirror image are its own. A filter
        is then left out also where its mirror image repeats another, and rho is the
        mean of that of the groups and of their mirror images.

    Returns
    -------
    WhitenedBank
    """
    groups = np.flatnonzero(np.trace(densities, axis1=1, axis2=2))
    d = densities.shape[1]
    mean = densities[groups].mean(axis=0)
    if mirror is not None:
        mean = (mean + mean[mirror][:, mirror]) / 2
    values, components = eigenbasis(mean)
    values = np.where(values > _LEAST * values[0], values, 0.0)
    n = n_components(values, variance_cutoff)
    values, components = values[:n], components[:n]
    whitening = components / np.sqrt(values + regularization / d)[:, np.newaxis]
    bases = eigenbases(whitening @ densities[groups] @ whitening.T)
    ratios = np.array([shares for shares, _ in bases])
    largest = ratios.max()
    flip = None if mirror is None else components[:, mirror] @ components.T
    kept = np.empty((min(n_filters, ratios.size), n))
    chosen: list[tuple[int, int]] = []
    # equal to rounding: in the order of group and rank
    for index in np.argsort(-(ratios / largest).round(9), axis=None, kind="stable"):
        group, rank = divmod(int(index), n)
        if len(chosen) == len(kept) or ratios[group, rank] <= _LEAST * largest:
            break
        vector = bases[group][1][rank]
        seen = [vector] if flip is None else [vector, vector @ flip]
        cosines = np.abs(kept[: len(chosen)] @ np.array(seen).T)
        if correlation_cutoff >= 1.0 or cosines.max(initial=0) <= correlation_cutoff:
            kept[len(chosen)] = vector
            chosen.append((group, rank))
    filters = fix_signs(kept[: len(chosen)] @ whitening)
    at = np.array(chosen).T
    return WhitenedBank(components, filters, ratios[at[0], at[1]], groups[at[0]])
