"""Similarity of classes: angles between subspaces, overlaps and shared filters.

Class-based PCA keeps the leading eigenvectors of every class and merges those that are
nearly parallel [1]_. The functions here measure how similar the density matrices of the
classes are, and which filters the classes share.

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
from skdmn.utils.labels import as_objects


class FilterMembership(NamedTuple):
    """Classes that each filter of a layer represents.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        Class labels.
    members : ndarray of shape (n_filters, n_classes), bool
        True if a component of the class was kept as the filter or merged into it.
    """

    classes: np.ndarray
    members: np.ndarray

    @property
    def n_sharing(self) -> np.ndarray:
        """Number of classes that share each filter, ndarray of shape (n_filters,)."""
        return self.members.sum(axis=1)

    def own(self, label: object) -> np.ndarray:
        """Return the indices of the filters that represent only one class.

        Parameters
        ----------
        label : label
            One of `classes`.

        Returns
        -------
        ndarray of int
            Indices of filters.

        Raises
        ------
        ValueError
            If `label` is not one of `classes`.
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
        Linearly independent vectors, such as ``layer.filters_``. All axes after the
        first are flattened.
    second : array-like of shape (n, ...)
        Linearly independent vectors with the same number of entries.

    Returns
    -------
    ndarray of shape (min(m, n),), float64
        Angles in radians, smallest first, between 0 and pi/2. The number of zeros is
        the dimension of the intersection of the subspaces.

    Raises
    ------
    ValueError
        If there are no vectors, they differ in length, or they are linearly dependent.

    Notes
    -----
    The cosines of the angles are the singular values of the product of two orthonormal
    bases. The sines are the singular values of one basis minus its projection on the
    other subspace (Bjorck and Golub, "Numerical methods for computing angles between
    linear subspaces", 1973). Both are used, so that all angles are accurate to
    rounding; from cosines alone, small angles would have an error of 1e-8.

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
            f"The vectors have {a.shape[1]} and {b.shape[1]} entries; pass vectors of "
            "the same length, such as filters of the same kernel size and channels."
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
        Number of leading eigenvectors that span each subspace, at most d.

    Returns
    -------
    ndarray of shape (n_classes, n_classes, n_components), float64
        Angles in radians, smallest first; 0 on the diagonal.

    Raises
    ------
    ValueError
        If the matrices do not have the shape (n_classes, d, d), `n_components` is not
        an int from 1 to d, or a class has fewer directions with variance.

    Notes
    -----
    If the eigenvalues number `n_components` and `n_components` + 1 of a class are
    equal, its leading subspace is not unique and the angles have no meaning.

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
            f"n_components={n_components!r} is not valid for {d} x {d} matrices; pass "
            f"an int from 1 to {d}."
        )
    leading = []
    for label, (shares, vectors) in enumerate(eigenbases(matrices)):
        # smaller eigenvalues are rounding errors
        found = int(np.count_nonzero(shares > d * np.finfo(float).eps * shares[0]))
        if found < n_components:
            raise ValueError(
                f"Class number {label} has variance in {found} directions only; pass "
                f"n_components of at most {found}, or leave this class out."
            )
        leading.append(vectors[:n_components])
    angles = np.zeros((len(matrices), len(matrices), n_components))
    for a, b in zip(*np.triu_indices(len(matrices), k=1), strict=True):
        angles[a, b] = angles[b, a] = principal_angles(leading[a], leading[b])
    return angles


def density_overlaps(densities: ArrayLike) -> np.ndarray:
    """Return the overlap of the density matrices of every pair of classes.

    The overlap of a and b is Tr(rho_a rho_b) / sqrt(Tr rho_a^2 Tr rho_b^2), the cosine
    of the angle between the matrices seen as vectors. It is 1 if the matrices are
    proportional and 0 if their ranges are orthogonal.

    Parameters
    ----------
    densities : array-like of shape (n_classes, d, d)
        Density matrices, such as ``layer.density_matrices_``. Their scale does not
        matter.

    Returns
    -------
    ndarray of shape (n_classes, n_classes), float64
        Symmetric, between 0 and 1; NaN for a class whose matrix is all zeros.

    Raises
    ------
    ValueError
        If the matrices do not have the shape (n_classes, d, d).

    Notes
    -----
    If one component holds most of the variance of all classes, all overlaps are close
    to 1. In bright images this is the constant patch. To compare the other components,
    use `class_angles`, or fit the layer with ``centered=True``.

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
    """Return the share of each class's variance along each filter, w^T rho_c w.

    Parameters
    ----------
    filters : array-like of shape (n_filters, ...)
        Unit vectors, such as ``layer.filters_``. All axes after the first are
        flattened.
    densities : array-like of shape (n_classes, d, d)
        Density matrices, such as ``layer.density_matrices_``.

    Returns
    -------
    ndarray of shape (n_filters, n_classes), float64
        Shares between 0 and 1. They are similar in all classes for a filter that all
        classes share, and largest in one class for a filter of that class alone. For
        the class that the filter was computed from, the share is
        ``layer.explained_variance_ratio_``.

    Raises
    ------
    ValueError
        If the filters do not have d entries.

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
            f"The filters have {vectors.shape[1]} entries, but the density matrices "
            f"are {matrices.shape[1]} x {matrices.shape[1]}; pass filters and matrices "
            "of the same layer."
        )
    return np.einsum("fi,cij,fj->fc", vectors, matrices, vectors, optimize=True)


def filter_membership(layer: ClassPCAPatchTransformer) -> FilterMembership:
    """Return the classes that each filter of a fitted layer represents.

    Parameters
    ----------
    layer : ClassPCAPatchTransformer
        Fitted layer.

    Returns
    -------
    FilterMembership

    Raises
    ------
    TypeError
        If `layer` is not a ClassPCAPatchTransformer.
    NotFittedError
        If `layer` is not fitted.

    Notes
    -----
    Classes share a filter if the layer merged their components into it. This depends
    on the layer's correlation cutoff; `variance_shares` does not. With
    ``signs="both"`` each filter is listed twice, as in the layer.

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
            f"{type(layer).__name__} does not compute filters by class; pass a fitted "
            "ClassPCAPatchTransformer, such as pipeline['conv1']."
        )
    check_is_fitted(layer)
    labels = as_objects(layer.classes_)
    column = {label: index for index, label in enumerate(labels)}
    members = np.zeros((len(layer.filter_members_), len(labels)), dtype=bool)
    for row, group in enumerate(layer.filter_members_):
        members[row, [column[label] for label, _ in group]] = True
    return FilterMembership(layer.classes_, members)


def _vectors(vectors: ArrayLike, name: str) -> np.ndarray:
    """Return the vectors as float64 rows; raise if they are linearly dependent."""
    rows = np.asarray(vectors, dtype=np.float64)
    if rows.ndim < 2 or not rows.size:
        raise ValueError(
            f"{name} has shape {rows.shape}; pass at least one vector, in an array of "
            "shape (m, n_entries)."
        )
    rows = rows.reshape(len(rows), -1)
    rank = np.linalg.matrix_rank(rows)
    if rank < len(rows):
        raise ValueError(
            f"The {len(rows)} vectors of {name} span {rank} dimensions only; pass "
            "linearly independent vectors (each filter with one sign only)."
        )
    return rows


def _densities(densities: ArrayLike) -> np.ndarray:
    """Return the density matrices as float64; raise if their shape is wrong."""
    matrices = np.asarray(densities, dtype=np.float64)
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2]:
        raise ValueError(
            f"Expected density matrices of shape (n_classes, d, d), got shape "
            f"{matrices.shape}; pass layer.density_matrices_."
        )
    return matrices
