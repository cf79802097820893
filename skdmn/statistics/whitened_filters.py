"""Filters from generalized eigenvectors of density matrices.

Patches get local contrast normalization (`skdmn.statistics.contrast`) and are grouped
by class and by the cell of the image that contains them. The filters are the directions
in which a group has the most variance relative to all patches. These are generalized
eigenvectors, or eigenvectors of the group's density matrix in whitened space
(Fukunaga-Koontz transform [1]_).

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
from skdmn.statistics.filters import (
    Matrices,
    eigenbases,
    eigenbasis,
    fix_signs,
    n_components,
)

# Values below this share of the largest are rounding errors, such as that of the
# direction that subtracting each patch's mean removes
_LEAST = 1e-6


class WhitenedBank(NamedTuple):
    """Filters of all groups, in order of their variance ratios.

    Attributes
    ----------
    components : ndarray of shape (n_components, d), float64
        Orthonormal vectors; the filters are linear combinations of them.
    filters : ndarray of shape (n_filters, d), float64
    ratios : ndarray of shape (n_filters,), float64
        Generalized eigenvalues, largest first: variance in the filter's group, divided
        by the (regularized) variance in all groups.
    groups : ndarray of shape (n_filters,), int64
        Index, from 0, of the group from which each filter was computed.
    n_varying : int
        Number of directions in which the patches of all groups vary.
    """

    components: np.ndarray
    filters: np.ndarray
    ratios: np.ndarray
    groups: np.ndarray
    n_varying: int


def mirrored_order(size: Pair, n_channels: int) -> np.ndarray:
    """Return the indices that turn a flattened patch into its horizontal flip.

    Parameters
    ----------
    size : (int, int)
        Height and width of the patch.
    n_channels : int

    Returns
    -------
    ndarray of shape (height * width * n_channels,), int
        ``patch[mirrored_order(...)]`` is the flipped patch.
    """
    entries = np.arange(math.prod(size) * n_channels).reshape(*size, n_channels)
    return entries[:, ::-1].ravel()


def of_mirror_images_too(
    densities: np.ndarray, cells: Pair, mirror: np.ndarray
) -> np.ndarray:
    """Return density matrices of images together with their horizontal flips.

    See `MirroredDensities`.

    Parameters
    ----------
    densities : ndarray of shape (n_classes, n_cells, d, d), float64
        Density matrices by class and cell.
    cells : (int, int)
        Number of cells, vertically and horizontally.
    mirror : ndarray of shape (d,), int
        Result of `mirrored_order`.

    Returns
    -------
    ndarray of shape (n_classes, cells[0] * ceil(cells[1] / 2), d, d), float64
        Trace 1 each, or all zero.
    """
    n_classes, _, d, _ = densities.shape
    both = MirroredDensities(densities.reshape(-1, d, d), cells, mirror)
    found = np.array([both[i] for i in range(len(both))])
    return found.reshape(n_classes, -1, d, d)


class MirroredDensities:
    """Density matrices of images together with their horizontal flips.

    A cell's matrix is averaged with the flipped matrix of the opposite cell. Only the
    left and middle cells are among them, because those on the right are their mirror
    images (up to a pixel, if the cells do not divide the image evenly). A matrix is
    computed when it is accessed.

    Parameters
    ----------
    densities : sequence of ndarrays of shape (d, d), float64
        Density matrices of classes and cells, in C order.
    cells : (int, int)
        Number of cells, vertically and horizontally.
    mirror : ndarray of shape (d,), int
        Result of `mirrored_order`.
    """

    def __init__(self, densities: Matrices, cells: Pair, mirror: np.ndarray) -> None:
        self._densities, self._across, self._mirror = densities, cells[1], mirror
        self._left = -(-cells[1] // 2)

    def __len__(self) -> int:
        return len(self._densities) // self._across * self._left

    def __getitem__(self, index: int) -> np.ndarray:
        row, column = divmod(index, self._left)
        start, mirror = row * self._across, self._mirror
        opposite = self._densities[start + self._across - 1 - column]
        both = opposite[mirror][:, mirror]
        both += self._densities[start + column]
        trace = np.trace(both)
        both /= trace if trace > 0 else 1.0
        return both


class _Whitened:
    """Density matrices of some groups in whitened space, computed on access."""

    def __init__(
        self,
        densities: Matrices,
        groups: np.ndarray,
        whitening: np.ndarray,
    ) -> None:
        self._densities, self._groups = densities, groups
        self._whitening = whitening

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, index: int) -> np.ndarray:
        density = self._densities[int(self._groups[index])]
        return self._whitening @ density @ self._whitening.T


def whitened_bank(
    densities: Matrices,
    *,
    n_filters: int,
    variance_cutoff: float,
    correlation_cutoff: float,
    regularization: float,
    mirror: np.ndarray | None = None,
) -> WhitenedBank:
    """Compute filters from the density matrices of groups.

    A filter w of group g solves the generalized eigenvalue problem
    ``rho_g w = ratio * (rho + r / d * I) w``, where rho is the mean of the groups'
    matrices and I the identity. It is normalized to ``w^T (rho + r / d * I) w = 1``.
    Both hold within the space of rho's leading eigenvectors.

    Parameters
    ----------
    densities : ndarray of shape (n_groups, d, d), float64, or sequence of (d, d)
        Trace 1 each, or all zero for a group without filters. They are used one after
        the other, twice.
    n_filters : int
        Maximum number of filters; those of largest ratio are kept.
    variance_cutoff : float in (0, 1]
        Share of the variance that the leading eigenvectors of rho hold; see
        `skdmn.statistics.filters.n_components`. Eigenvalues below 1e-6 of the largest
        are rounding errors, and always left out.
    correlation_cutoff : float in [0, 1]
        A filter is left out if its absolute cosine, in whitened space, with one of
        larger ratio exceeds this. 1.0 leaves none out.
    regularization : float above 0
        r, as a share of the mean eigenvalue of rho, that is added to all eigenvalues.
    mirror : ndarray of shape (d,), int, or None
        Result of `mirrored_order`. If given, rho is averaged with its horizontal flip,
        and a filter is also left out if its flip repeats another filter.

    Returns
    -------
    WhitenedBank
    """
    groups, mean = _present(densities)
    d = len(mean)
    if mirror is not None:
        mean = (mean + mean[mirror][:, mirror]) / 2
    values, components = eigenbasis(mean)
    values = np.where(values > _LEAST * values[0], values, 0.0)
    n, n_varying = n_components(values, variance_cutoff), int((values > 0).sum())
    values, components = values[:n], components[:n]
    whitening = components / np.sqrt(values + regularization / d)[:, np.newaxis]
    bases = eigenbases(_Whitened(densities, groups, whitening))
    ratios = np.array([shares for shares, _ in bases])
    largest = ratios.max()
    flip = None if mirror is None else components[:, mirror] @ components.T
    kept = np.empty((min(n_filters, ratios.size), n))
    chosen: list[tuple[int, int]] = []
    # a stable sort of rounded ratios keeps ties in order of group and rank
    for index in np.argsort(-(ratios / largest).round(9), axis=None, kind="stable"):
        group, rank = divmod(int(index), n)
        if len(chosen) == len(kept) or ratios[group, rank] <= _LEAST * largest:
            break
        vector = bases[group][1][rank]
        variants = [vector] if flip is None else [vector, vector @ flip]
        cosines = np.abs(kept[: len(chosen)] @ np.array(variants).T)
        if correlation_cutoff >= 1.0 or cosines.max(initial=0) <= correlation_cutoff:
            kept[len(chosen)] = vector
            chosen.append((group, rank))
    filters = fix_signs(kept[: len(chosen)] @ whitening)
    chosen_groups, ranks = np.array(chosen).T
    ratios = ratios[chosen_groups, ranks]
    found = components, filters, ratios, groups[chosen_groups]
    return WhitenedBank(*found, n_varying)


def _present(densities: Matrices) -> tuple[np.ndarray, np.ndarray]:
    """Return the groups that have a density matrix, and the mean of these matrices."""
    groups, total = [], None
    for group in range(len(densities)):
        density = densities[group]
        if np.trace(density):
            groups.append(group)
            total = density.copy() if total is None else np.add(total, density, total)
    if total is None:
        raise ValueError("All density matrices are 0; check the images.")
    return np.array(groups), total / len(groups)
