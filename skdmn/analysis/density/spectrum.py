"""Energies of density matrices, and the gap in the spectrum of a layer.

A density matrix is the second-moment matrix of the patches of a class, divided by its
trace. Its eigenvalues p are shares of the variance. The papers treat it as the thermal
state of a Hamiltonian, in which an eigenvector has the energy E = -log p [1]_: the more
variance along an eigenvector, the lower its energy.

References
----------
.. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Convergence of deep neural networks
   to a hierarchical covariance matrix decomposition", arXiv:1703.04757v1, 2017,
   eq. 15 and Fig. 3.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from skdmn.layers.class_density import ClassDensityTransformer
from skdmn.layers.class_pca import ClassPCAPatchTransformer
from skdmn.statistics.filters import OverlapGap, n_components
from skdmn.statistics.filters import overlap_gap as find_gap
from skdmn.utils.array_api import to_numpy


class LayerSpectrum(NamedTuple):
    """Energies of all classes of a layer.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        Class labels.
    energies : ndarray of shape (n_classes, d), float64
        Energies in nats, lowest first; infinite for directions without variance.
    partition_functions : ndarray of shape (n_classes,), float64
        Traces of the classes' mean second-moment matrices.
    n_kept : ndarray of shape (n_classes,), int64
        Number of leading components of each class that the current `variance_cutoff`
        of the layer keeps, before filters of different classes are merged and
        `n_filters` is applied.
    """

    classes: np.ndarray
    energies: np.ndarray
    partition_functions: np.ndarray
    n_kept: np.ndarray


def partition_function(moments: ArrayLike) -> np.ndarray:
    """Return the partition function Z of second-moment matrices, which is their trace.

    Parameters
    ----------
    moments : array-like of shape (..., d, d)
        Symmetric second-moment matrices.

    Returns
    -------
    ndarray of shape (...), float64
        Traces, in squared units of the patches; 1 for density matrices.

    Raises
    ------
    ValueError
        If the matrices are not square, finite and symmetric.

    Notes
    -----
    Z_0 of arXiv:1703.04757v1, eq. 15.

    Examples
    --------
    >>> from skdmn.analysis.density.spectrum import partition_function
    >>> float(partition_function([[3.0, 1.0], [1.0, 1.0]]))
    4.0
    """
    return np.trace(_checked(moments), axis1=-2, axis2=-1)


def energies(moments: ArrayLike) -> np.ndarray:
    """Return the energies of density matrices, E = -log p for each eigenvalue p.

    Parameters
    ----------
    moments : array-like of shape (..., d, d)
        Density matrices, or second-moment matrices, which are divided by their traces.

    Returns
    -------
    ndarray of shape (..., d), float64
        Energies in nats, lowest first, 0 or larger. The energy is infinite if the
        eigenvalue is 0, or negative because of rounding.

    Raises
    ------
    ValueError
        If the matrices are not square, finite, symmetric and, up to rounding,
        positive semi-definite.

    Notes
    -----
    The energies are the eigenvalues of H in arXiv:1703.04757v1, eq. 15. If an
    eigenvalue is 0 in exact arithmetic, rounding may make it about 1e-16 of the
    largest one, and the energy is then about 36 nats instead of infinite. Such
    energies are noise.

    Examples
    --------
    >>> from skdmn.analysis.density.spectrum import energies
    >>> energies([[3.0, 0.0], [0.0, 1.0]])  # log(4/3), log(4)
    array([0.28768207, 1.38629436])
    """
    return _energies(_not_negative(np.linalg.eigvalsh(_checked(moments))))


def hamiltonian(moments: ArrayLike) -> np.ndarray:
    """Return the Hamiltonian H of second-moment matrices Z exp(-H), with Z their trace.

    Parameters
    ----------
    moments : array-like of shape (..., d, d)
        Density matrices (Z = 1), or second-moment matrices.

    Returns
    -------
    ndarray of shape (..., d, d), float64
        Symmetric positive semi-definite matrices. They have the same eigenvectors as
        `moments`; their eigenvalues are the `energies`.

    Raises
    ------
    ValueError
        If the matrices are not square, finite, symmetric and positive
        semi-definite, or if one has directions without variance, whose energy is
        infinite.

    See Also
    --------
    gibbs_state : The inverse: density matrices from Hamiltonians.

    Notes
    -----
    Implements arXiv:1703.04757v1, eq. 15.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.density.spectrum import gibbs_state, hamiltonian
    >>> density = np.array([[0.75, 0.1], [0.1, 0.25]])
    >>> bool(np.allclose(gibbs_state(hamiltonian(density)), density))
    True
    """
    values, vectors = np.linalg.eigh(_checked(moments))
    values = _not_negative(values)
    rounding = values.shape[-1] * np.finfo(np.float64).eps
    empty = int(
        (values <= rounding * np.maximum(values[..., -1:], 0.0)).sum(axis=-1).max()
    )
    if empty:
        raise ValueError(
            f"A density matrix has {empty} of {values.shape[-1]} directions without "
            "variance. Their energy is infinite, so there is no Hamiltonian. Remove "
            "these directions from the data, or use the finite values of energies()."
        )
    levels = _energies(values)[..., np.newaxis, ::-1]
    return (vectors * levels) @ np.swapaxes(vectors, -1, -2)


def gibbs_state(hamiltonian: ArrayLike) -> np.ndarray:
    """Return the density matrix exp(-H) / Tr exp(-H) of a Hamiltonian H.

    Parameters
    ----------
    hamiltonian : array-like of shape (..., d, d)
        Symmetric matrices. Adding a multiple of the identity does not change the
        result.

    Returns
    -------
    ndarray of shape (..., d, d), float64
        Symmetric matrices of trace 1.

    Raises
    ------
    ValueError
        If the matrices are not square, finite and symmetric.

    See Also
    --------
    hamiltonian : The inverse.

    Notes
    -----
    Implements arXiv:1703.04757v1, eq. 15.

    Examples
    --------
    >>> from skdmn.analysis.density.spectrum import gibbs_state
    >>> gibbs_state([[2.0, 0.0], [0.0, 2.0]])
    array([[0.5, 0. ],
           [0. , 0.5]])
    """
    levels, vectors = np.linalg.eigh(_checked(hamiltonian))
    weights = np.exp(levels[..., :1] - levels)  # at most 1, so that nothing overflows
    weights /= weights.sum(axis=-1, keepdims=True)
    return (vectors * weights[..., np.newaxis, :]) @ np.swapaxes(vectors, -1, -2)


def layer_spectrum(layer: ClassPCAPatchTransformer) -> LayerSpectrum:
    """Return the energies of all components of every class of a fitted layer.

    Parameters
    ----------
    layer : ClassPCAPatchTransformer
        Fitted layer that has its density matrices.

    Returns
    -------
    LayerSpectrum

    Raises
    ------
    TypeError
        If `layer` is not a ClassPCAPatchTransformer.
    NotFittedError
        If `layer` is not fitted.
    AttributeError
        If ``compact`` removed the density matrices.

    Notes
    -----
    arXiv:1703.04757v1, Fig. 3, plots these energies for a second layer.

    Examples
    --------
    >>> from skdmn import ClassPCAPatchTransformer
    >>> from skdmn.analysis.density.spectrum import layer_spectrum
    >>> from skdmn.datasets import load_digits_images
    >>> X, y = load_digits_images()
    >>> layer = ClassPCAPatchTransformer(3, variance_cutoff=0.95).fit(X, y)
    >>> spectrum = layer_spectrum(layer)
    >>> spectrum.energies.shape, spectrum.n_kept
    ((10, 9), array([5, 3, 5, 6, 5, 5, 5, 5, 5, 5]))
    """
    matrices = class_densities(layer)
    if not isinstance(layer, ClassPCAPatchTransformer):
        raise TypeError(
            f"layer_spectrum takes a ClassPCAPatchTransformer, but got a "
            f"{type(layer).__name__}, whose filters are not the eigenvectors of these "
            "density matrices; pass skdmn.analysis.density.energies the matrices."
        )
    levels = energies(matrices)
    kept = [n_components(np.exp(-row), layer.variance_cutoff) for row in levels]
    return LayerSpectrum(
        layer.classes_,
        levels,
        to_numpy(layer.partition_functions_),
        np.array(kept, dtype=np.int64),
    )


def overlap_gap(energies: ArrayLike, min_gap: float = 6.0) -> OverlapGap:
    """Find the energy gap that separates overlap filters from other filters.

    Overlap filters only show that neighbouring patches overlap. They have much lower
    energies than the others.

    Parameters
    ----------
    energies : array-like of shape (d,)
        Energies in nats, in any order. Infinite ones are ignored.
    min_gap : float, default=6.0
        Minimum width of the gap, in nats.

    Returns
    -------
    OverlapGap

    Raises
    ------
    ValueError
        If `energies` is not one-dimensional or contains NaN, or `min_gap` is negative.

    See Also
    --------
    skdmn.OverlapPruner : Removes the channels below the gap. It finds the same gap in
        the mean squares of feature maps.

    Notes
    -----
    The gap is visible in arXiv:1703.04757v1, Fig. 3.

    Examples
    --------
    >>> from skdmn.analysis.density.spectrum import overlap_gap
    >>> overlap_gap([0.0, 1.0, 9.0, 9.5])
    OverlapGap(n_overlap=2, width=8.0)
    """
    levels = np.asarray(energies, dtype=np.float64)
    if levels.ndim != 1 or np.isnan(levels).any():
        raise ValueError(
            f"energies has shape {levels.shape} or contains NaN; pass the energies of "
            "one density matrix, such as layer_spectrum(layer).energies[0]."
        )
    if min_gap < 0:
        raise ValueError(f"min_gap={min_gap} is negative; pass a width in nats.")
    return find_gap(levels, min_gap)


def class_densities(layer: ClassDensityTransformer) -> np.ndarray:
    """Return the density matrix of every class of a fitted layer as a NumPy array.

    Parameters
    ----------
    layer : ClassPCAPatchTransformer or WhitenedPCAPatchTransformer
        Fitted layer that has its density matrices. Those of a class in several cells of
        the image are combined to the density matrix of all patches of the class.

    Returns
    -------
    ndarray of shape (n_classes, d, d), float64
        Matrices of trace 1; all zeros for a class whose patches are all zero.

    Raises
    ------
    TypeError
        If `layer` is of another type.
    NotFittedError
        If `layer` is not fitted.
    AttributeError
        If ``compact`` removed the density matrices.
    """
    if not isinstance(layer, ClassDensityTransformer):
        raise TypeError(
            f"{type(layer).__name__} has no density matrices; pass a fitted "
            "ClassPCAPatchTransformer or WhitenedPCAPatchTransformer, such as "
            "pipeline['conv1']."
        )
    check_is_fitted(layer)
    matrices = to_numpy(layer.density_matrices_)
    if matrices.ndim == 3:
        return matrices
    # the sums of outer products in the cells, of which there may be none
    sums = to_numpy(layer.partition_functions_) * to_numpy(layer.n_patches_)
    totals = sums.sum(axis=1, keepdims=True)
    shares = sums / np.where(totals > 0, totals, 1.0)
    return np.einsum("ck,ckij->cij", shares, matrices)


def _checked(matrices: ArrayLike) -> np.ndarray:
    """Return the matrices as float64; raise if they are not symmetric or finite."""
    array = np.asarray(matrices, dtype=np.float64)
    if array.ndim < 2 or array.shape[-1] != array.shape[-2]:
        raise ValueError(
            f"Expected square matrices of shape (..., d, d), got shape {array.shape}."
        )
    if not np.isfinite(array).all():
        raise ValueError(
            "A matrix has NaN or infinite entries; check the images that it was "
            "computed from."
        )
    transposed = np.swapaxes(array, -1, -2)
    if np.abs(array - transposed).max(initial=0.0) > 1e-8 * np.abs(array).max(
        initial=0.0
    ):
        raise ValueError(
            "A matrix is not symmetric; pass second moments, such as X.T @ X / len(X)."
        )
    return (array + transposed) / 2


def _not_negative(eigenvalues: np.ndarray) -> np.ndarray:
    """Return the ascending eigenvalues; raise if one is clearly negative."""
    least, largest = eigenvalues[..., :1], eigenvalues[..., -1:]
    # second moments of float32 images have a relative error of about 1e-7
    if (least < -1e-6 * np.maximum(largest, 0.0)).any():
        raise ValueError(
            f"A matrix has the negative eigenvalue {least.min():g}, so it is not a "
            "second-moment matrix; pass second moments, such as X.T @ X / len(X)."
        )
    return eigenvalues


def _energies(eigenvalues: np.ndarray) -> np.ndarray:
    """Return the energies of ascending eigenvalues, lowest energy first."""
    values = np.maximum(eigenvalues[..., ::-1], 0.0)
    totals = values.sum(axis=-1, keepdims=True)
    shares = values / np.where(totals > 0, totals, 1.0)
    with np.errstate(divide="ignore"):
        return -np.log(np.minimum(shares, 1.0)) + 0.0  # turns -0.0 into 0.0
