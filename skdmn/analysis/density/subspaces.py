"""How alike classes are: angles between subspaces, overlaps, and shared filters.

Class-based PCA keeps leading eigenvectors of every class and merges those that repeat
each other [1]_. How much there is to merge depends on how alike the classes' density
matrices are, which these functions measure.

References
----------
.. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Separation of time scales and direct
   computation of weights in deep neural networks", arXiv:1703.04757v3, 2018, eq. 15
   and supplement, "Creating trained network layers" and "Simple PCA layers".
"""

from __future__ import annotations

from numbers import Integral
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import svdvals
from sklearn.utils.validation import check_is_fitted

from skdmn.layers.class_pca import ClassPCAPatchTransformer
from skdmn.statistics.filters import eigenbases


class FilterMembership(NamedTuple):
    """Which classes the filters of a layer stand for.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        Labels.
    members : ndarray of shape (n_filters, n_classes), bool
        Whether a component of a class was kept as, or merged into, a filter.
    """

    classes: np.ndarray
    members: np.ndarray

    @property
    def n_sharing(self) -> np.ndarray:
        """How many classes share each filter, of shape (n_filters,), int."""
        return self.members.sum(axis=1)

    def own(self, label: object) -> np.ndarray:
        """Return the indices of the filters that stand for one class alone.

        Parameters
        ----------
        label : label
            One of `classes`.

        Returns
        -------
        ndarray of int

        Raises
        ------
        ValueError
            Where there is no such class.
        """
        at = np.flatnonzero(self.classes == label)
        if not len(at):
            raise ValueError(
                f"{label!r} is not a class; pass one of {self.classes.tolist()}."
            )
        return np.flatnonzero(self.members[:, at[0]] & (self.n_sharing == 1))


def principal_angles(first: ArrayLike, second: ArrayLike) -> np.ndarray:
    """Return the principal angles between the spans of two sets of vectors.

    Parameters
    ----------
    first : array-like of shape (m, ...)
        Linearly independent vectors, such as ``layer.filters_``; the axes behind the
        first are flattened.
    second : array-like of shape (n, ...)
        The same, with as many entries each.

    Returns
    -------
    ndarray of shape (min(m, n),), float64
        In radians, smallest first, between 0 and pi/2. Zeros count the dimensions
        that the subspaces share.

    Raises
    ------
    ValueError
        Where the vectors differ in length, are none, or depend on each other.

    Notes
    -----
    Cosines of the angles are the singular values of the product of orthonormal bases,
    sines those of what one basis leaves of the other (Bjorck and Golub, "Numerical
    methods for computing angles between linear subspaces", 1973). From both together
    all angles come out to rounding, from cosines alone small ones to 1e-8.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.density.subspaces import principal_angles
    >>> xy, xz = [[1, 0, 0], [0, 1, 0]], [[1, 0, 0], [0, 0, 1]]
    >>> np.degrees(principal_angles(xy, xz))
    array([ 0., 90.])
    """
    a, b = _vectors(first, "first"), _vectors(second, "second")
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"Vectors of {a.shape[1]} and of {b.shape[1]} entries span no subspaces "
            "of one space; pass patches of one size."
        )
    small, large = sorted((np.linalg.qr(a.T)[0], np.linalg.qr(b.T)[0]), key=np.size)
    products = large.T @ small
    cosines = svdvals(products)
    sines = svdvals(small - large @ products)[::-1]
    return np.arctan2(sines, cosines)


def class_angles(densities: ArrayLike, n_components: int) -> np.ndarray:
    """Return the principal angles between the leading subspaces of all classes.

    Parameters
    ----------
    densities : array-like of shape (n_classes, d, d)
        Density matrices, such as ``layer.density_matrices_``.
    n_components : int
        How many leading eigenvectors span each subspace, at most d.

    Returns
    -------
    ndarray of shape (n_classes, n_classes, n_components), float64
        In radians, smallest first; 0 for a class and itself.

    Raises
    ------
    ValueError
        Where there are no such matrices, or a class has fewer components.

    Notes
    -----
    Where eigenvalues number `n_components` and the next are equal, the subspace is
    not defined and the angles say nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.density.subspaces import class_angles
    >>> densities = [np.diag([0.7, 0.2, 0.1]), np.diag([0.6, 0.1, 0.3])]
    >>> np.degrees(class_angles(densities, 2)[0, 1])
    array([ 0., 90.])
    """
    matrices = _densities(densities)
    d = matrices.shape[1]
    if not isinstance(n_components, Integral) or not 1 <= n_components <= d:
        raise ValueError(
            f"n_components={n_components!r} is no number of components of {d} x {d} "
            f"matrices; pass an int from 1 to {d}."
        )
    leading = []
    for label, (shares, vectors) in enumerate(eigenbases(matrices)):
        # what is less is rounding
        found = int(np.count_nonzero(shares > d * np.finfo(float).eps * shares[0]))
        if found < n_components:
            raise ValueError(
                f"Class number {label} has variance in {found} directions only; pass "
                f"n_components of at most {found}, or leave it out."
            )
        leading.append(vectors[:n_components])
    angles = np.zeros((len(matrices), len(matrices), n_components))
    for a, b in zip(*np.triu_indices(len(matrices), k=1), strict=True):
        angles[a, b] = angles[b, a] = principal_angles(leading[a], leading[b])
    return angles


def density_overlaps(densities: ArrayLike) -> np.ndarray:
    """Return the overlap of every two classes' density matrices.

    The overlap of a and b is Tr(rho_a rho_b) / sqrt(Tr rho_a^2 Tr rho_b^2): the cosine
    between the matrices as vectors. It is 1 where they are proportional and 0 where
    their supports are orthogonal.

    Parameters
    ----------
    densities : array-like of shape (n_classes, d, d)
        Density matrices, such as ``layer.density_matrices_``; their scale is divided
        out.

    Returns
    -------
    ndarray of shape (n_classes, n_classes), float64
        Between 0 and 1, symmetric; NaN for a class of a matrix of zeros.

    Raises
    ------
    ValueError
        Where there are no such matrices.

    Notes
    -----
    One component that holds most of the variance of all classes, as the constant patch
    does where images are bright, brings all overlaps close to 1. `class_angles` looks
    behind it, and ``centered=True`` leaves it out.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.density.subspaces import density_overlaps
    >>> densities = [np.diag([1.0, 0, 0]), np.diag([0.5, 0.5, 0])]
    >>> density_overlaps(densities).round(3)
    array([[1.   , 0.707],
           [0.707, 1.   ]])
    """
    matrices = _densities(densities)
    rows = matrices.reshape(len(matrices), -1)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        rows = rows / norms
    return np.clip(rows @ rows.T, 0.0, 1.0)


def variance_shares(filters: ArrayLike, densities: ArrayLike) -> np.ndarray:
    """Return the share of each class's variance along each filter: w^T rho_c w.

    Parameters
    ----------
    filters : array-like of shape (n_filters, ...)
        Unit vectors, such as ``layer.filters_``; the axes behind the first are
        flattened.
    densities : array-like of shape (n_classes, d, d)
        Density matrices, such as ``layer.density_matrices_``.

    Returns
    -------
    ndarray of shape (n_filters, n_classes), float64
        A filter that all classes share has shares alike; one that is a class's own
        has little of the others. For the class that a filter was computed from it is
        ``layer.explained_variance_ratio_``.

    Raises
    ------
    ValueError
        Where filters and matrices are not of one size.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.density.subspaces import variance_shares
    >>> densities = [np.diag([0.7, 0.2, 0.1]), np.diag([0.6, 0.1, 0.3])]
    >>> variance_shares([[1, 0, 0], [0, 0, 1]], densities)
    array([[0.7, 0.6],
           [0.1, 0.3]])
    """
    matrices = _densities(densities)
    vectors = np.asarray(filters, dtype=np.float64)
    vectors = vectors.reshape(len(vectors), -1)
    if vectors.shape[1] != matrices.shape[1]:
        raise ValueError(
            f"Filters of {vectors.shape[1]} entries have no share of "
            f"{matrices.shape[1]} x {matrices.shape[1]} matrices; pass filters and "
            "matrices of one layer."
        )
    return np.einsum("fi,cij,fj->fc", vectors, matrices, vectors, optimize=True)


def filter_membership(layer: ClassPCAPatchTransformer) -> FilterMembership:
    """Return which filters of a fitted layer classes share, and which are their own.

    Parameters
    ----------
    layer : ClassPCAPatchTransformer
        Fitted.

    Returns
    -------
    FilterMembership

    Raises
    ------
    TypeError
        Where the layer is of another kind.
    NotFittedError
        Where it was not fitted.

    Notes
    -----
    Filters are shared where the layer merged them, which depends on its correlation
    cutoff; `variance_shares` does not. With ``signs="both"`` each filter is listed
    twice, as the layer lists it.

    Examples
    --------
    >>> from skdmn import ClassPCAPatchTransformer
    >>> from skdmn.analysis.density.subspaces import filter_membership
    >>> from skdmn.datasets import load_digits_images
    >>> X, y = load_digits_images()
    >>> layer = ClassPCAPatchTransformer(3, correlation_cutoff=0.9).fit(X, y)
    >>> membership = filter_membership(layer)
    >>> membership.n_sharing
    array([10, 10,  6,  4,  6,  7,  2,  1,  1,  1,  1])
    >>> membership.own(2)
    array([8])
    """
    if not isinstance(layer, ClassPCAPatchTransformer):
        raise TypeError(
            f"{type(layer).__name__} has no classes' filters; pass a fitted "
            "ClassPCAPatchTransformer, such as pipeline['conv1']."
        )
    check_is_fitted(layer)
    labels = layer.classes_.tolist()
    column = {label: index for index, label in enumerate(labels)}
    members = np.zeros((len(layer.filter_members_), len(labels)), dtype=bool)
    for row, group in enumerate(layer.filter_members_):
        members[row, [column[label] for label, _ in group]] = True
    return FilterMembership(layer.classes_, members)


def _vectors(vectors: ArrayLike, name: str) -> np.ndarray:
    """Return independent vectors as float64 rows."""
    rows = np.asarray(vectors, dtype=np.float64)
    if rows.ndim < 2 or not rows.size:
        raise ValueError(
            f"{name} has shape {rows.shape}; pass at least one vector, (m, entries)."
        )
    rows = rows.reshape(len(rows), -1)
    rank = np.linalg.matrix_rank(rows)
    if rank < len(rows):
        raise ValueError(
            f"The {len(rows)} vectors of {name} span {rank} dimensions only; pass "
            "linearly independent ones (one sign of each filter)."
        )
    return rows


def _densities(densities: ArrayLike) -> np.ndarray:
    """Return density matrices as a float64 array of shape (n_classes, d, d)."""
    matrices = np.asarray(densities, dtype=np.float64)
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2]:
        raise ValueError(
            f"Expected density matrices of shape (n_classes, d, d), got shape "
            f"{matrices.shape}; pass layer.density_matrices_."
        )
    return matrices
