"""Convergence of density matrices with the number of images.

A density matrix is the mean second-moment matrix of patches, divided by its trace. If
the images are independent, its squared error is inversely proportional to their number.
The constant is estimated from batches of the given images. It tells how many images are
enough for a given error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from sklearn.utils import check_random_state

from skdmn.kernels.geometry import Pair
from skdmn.statistics.density import DensityAccumulator
from skdmn.statistics.filters import eigenbases, eigenbasis
from skdmn.utils.validation import as_one_array, unmasked


@dataclass(frozen=True)
class DensityConvergence:
    """Estimated error of class density matrices.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        Class labels.
    n_images : ndarray of shape (n_classes,), int
        Number of images of each class that were used.
    densities : ndarray of shape (n_classes, d, d)
        Density matrices of these images, trace 1.
    variances : ndarray of shape (n_classes,)
        Mean squared (Frobenius) error of a density matrix, times the number of images.
    freedoms : ndarray of shape (n_classes,)
        Degrees of freedom of the chi-square distribution that approximates the squared
        error. They are few if most of the error lies along one direction.
    n_batches : ndarray of shape (n_classes,), int
        Number of batches that the estimates are based on.
    eigenvalues : ndarray of shape (n_classes, d)
        Eigenvalues of the density matrices, largest first.
    eigenvalue_deviations : ndarray of shape (n_classes, d)
        Standard error of each eigenvalue, times the square root of the number of
        images.
    """

    classes: np.ndarray
    n_images: np.ndarray
    densities: np.ndarray
    variances: np.ndarray
    freedoms: np.ndarray
    n_batches: np.ndarray
    eigenvalues: np.ndarray
    eigenvalue_deviations: np.ndarray

    def errors(
        self, n_images: Any = None, *, confidence: float | None = None
    ) -> np.ndarray:
        """Return the relative error for given numbers of images.

        Parameters
        ----------
        n_images : array-like of shape (...) or None, default=None
            Numbers of images of a class. If None, the numbers of images that were used.
        confidence : float in (0, 1) or None, default=None
            Probability with which the returned bound holds. If None, the root mean
            square error is returned.

        Returns
        -------
        ndarray of shape (..., n_classes)
            Frobenius norm of the error, divided by that of the density matrix.

        Raises
        ------
        ValueError
            If `confidence` is not between 0 and 1.
        """
        count = self.n_images if n_images is None else np.asarray(n_images)[..., None]
        return np.sqrt(self._squared_error(confidence) / count)

    def enough(
        self, relative_error: float, *, confidence: float | None = 0.95
    ) -> np.ndarray:
        """Return the number of images of each class that reach a given error.

        Parameters
        ----------
        relative_error : float
            Largest acceptable error: its Frobenius norm, divided by that of the density
            matrix.
        confidence : float in (0, 1) or None, default=0.95
            Probability with which the error is reached. If None, the root mean square
            error is.

        Returns
        -------
        ndarray of shape (n_classes,), int
            At least 1. Larger than `n_images` if the given images are not enough.

        Raises
        ------
        ValueError
            If `relative_error` is not positive, or `confidence` is not between 0 and 1.
        """
        if not relative_error > 0:
            raise ValueError(
                f"relative_error is {relative_error}; pass a positive number, such as "
                "0.05."
            )
        needed = np.ceil(self._squared_error(confidence) / relative_error**2)
        return np.clip(needed, 1, 2.0**62).astype(np.int64)

    def _squared_error(self, confidence: float | None) -> np.ndarray:
        """Return the squared relative error of a single image."""
        squares = (
            np.sum(self.densities**2, axis=(1, 2)) - self.variances / self.n_images
        )
        # the norm of a density matrix is smallest for white noise
        ratios = self.variances / np.maximum(squares, 1 / self.densities.shape[1])
        if confidence is None:
            return ratios
        if not 0 < confidence < 1:
            raise ValueError(
                f"confidence is {confidence}; pass a probability between 0 and 1, or "
                "None for the root mean square."
            )
        freedoms = self.freedoms * (self.n_batches - 1)
        return ratios * stats.f.ppf(confidence, self.freedoms, freedoms)


def density_convergence(
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    kernel_size: int | Pair = 3,
    n_batches: int = 50,
    random_state: Any = None,
) -> DensityConvergence:
    r"""Estimate how fast class density matrices converge with the number of images.

    Parameters
    ----------
    images : ndarray of shape (n, height, width[, channels])
        Independent images.
    labels : ndarray of shape (n,) or None, default=None
        Class labels. If None, one density matrix of all images is computed.
    kernel_size : int or (int, int), default=3
        Height and width of the patches.
    n_batches : int, default=50
        Number of batches that the images of each class are randomly divided into. The
        error is estimated from the differences between batches.
    random_state : int, RandomState or None, default=None
        Seed for the division into batches.

    Returns
    -------
    DensityConvergence
        Its method ``enough(0.05)`` returns how many images of each class give a
        relative error of 5 %.

    Raises
    ------
    ValueError
        If the images have another shape or are not finite, if the kernel does not fit
        into the images, or if a class has fewer than three images or only zeros.

    See Also
    --------
    density_path : Measure the error of growing subsets against all images.
    skdmn.display.convergence.ConvergenceDisplay : Plot both.

    Notes
    -----
    The paper shows that eigenvalues converge ([1]_, Fig. 7). The rate follows from the
    mean second-moment matrix :math:`S_b` of the patches of each batch. With
    :math:`\rho = \bar S / \mathrm{tr} \bar S`, a batch of :math:`n_b` images adds

    .. math:: \phi_b = (S_b - \rho\, \mathrm{tr} S_b) / \mathrm{tr} \bar S

    to the error, to first order. The mean squared error for N images is therefore
    :math:`v / N` with :math:`v = \sum_b n_b |\phi_b|^2 / (n_{batches} - 1)`. The
    squared error has approximately a chi-square distribution with
    :math:`(\mathrm{tr} C)^2 / \mathrm{tr} C^2` degrees of freedom, where C is the
    covariance of the entries of :math:`\phi`. Because v is estimated from few batches,
    bounds use the F distribution. Only images are assumed to be independent; the
    patches of one image need not be.

    References
    ----------
    .. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Separation of time scales and
       direct computation of weights in deep neural networks", arXiv:1703.04757v3,
       2018.

    Examples
    --------
    >>> from skdmn.analysis.density.convergence import density_convergence
    >>> from skdmn.datasets import load_digits_images
    >>> X, y = load_digits_images()
    >>> found = density_convergence(X, y, random_state=0)
    >>> found.n_images[:3]
    array([178, 182, 177])
    >>> bool((found.enough(0.1) < found.enough(0.05)).all())
    True
    """
    images, size = checked_images(images, kernel_size)
    labels = unmasked(labels, "labels")
    labels = np.zeros(len(images), dtype=int) if labels is None else np.asarray(labels)
    if labels.shape != (len(images),):
        raise ValueError(
            f"labels have shape {labels.shape} for {len(images)} images; pass one "
            "label for each image."
        )
    classes, codes = np.unique(labels, return_inverse=True)
    counts = np.bincount(codes)
    if counts.min() < 3 or n_batches < 3:
        raise ValueError(
            f"The smallest class has {counts.min()} images and n_batches={n_batches}; "
            "estimating an error needs at least three batches of one image or more. "
            "Pass more images, or leave this class out."
        )

    def moments_of(members: np.ndarray, groups: np.ndarray) -> np.ndarray:
        return group_moments(images[members], groups, size)

    return convergence_from(moments_of, classes, codes, n_batches, random_state)


def convergence_from(
    moments_of: Callable[[np.ndarray, np.ndarray], np.ndarray],
    classes: np.ndarray,
    codes: np.ndarray,
    n_batches: int,
    random_state: Any = None,
) -> DensityConvergence:
    """Estimate errors from the mean second-moment matrices of batches of images.

    Parameters
    ----------
    moments_of : callable
        Takes indices of images, and the batch of each of these images, counted from 0.
        Returns the mean second-moment matrix of each batch, of shape (n_batches, d, d).
    classes : ndarray of shape (n_classes,)
        Class labels.
    codes : ndarray of shape (n,), int
        Index of the class of each image.
    n_batches, random_state
        As in `density_convergence`.

    Returns
    -------
    DensityConvergence
    """
    random = check_random_state(random_state)
    counts = np.bincount(codes, minlength=len(classes))
    found = []
    for code in range(len(classes)):
        members = random.permutation(np.flatnonzero(codes == code))
        sizes = [len(some) for some in np.array_split(members, n_batches) if len(some)]
        moments = moments_of(members, np.repeat(np.arange(len(sizes)), sizes))
        found.append((len(sizes), *_errors_of(moments, np.array(sizes))))
    batches, densities, variances, freedoms, values, deviations = zip(
        *found, strict=True
    )
    return DensityConvergence(
        classes,
        counts,
        np.array(densities),
        np.array(variances),
        np.array(freedoms),
        np.array(batches),
        np.array(values),
        np.array(deviations),
    )


def _errors_of(
    moments: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, float, float, np.ndarray, np.ndarray]:
    """Return density, variance, degrees of freedom, eigenvalues and deviations."""
    n = len(sizes)
    weights = sizes / sizes.sum()
    mean = np.tensordot(weights, moments, 1)
    trace = np.trace(mean)
    if not trace > 0:
        raise ValueError(
            "All patches of a class are 0, so it has no density matrix; leave this "
            "class out."
        )
    density = mean / trace
    traces = np.trace(moments, axis1=1, axis2=2)
    deviations = (moments - traces[:, None, None] * density) / trace
    rows = np.sqrt(sizes)[:, None] * deviations.reshape(n, -1)
    gram = rows @ rows.T / (n - 1)
    total, squares = np.trace(gram), np.sum(gram**2)
    # unbiased estimate of tr C^2 if the rows are Gaussian
    squares = (n - 1) ** 2 / ((n - 2) * (n + 1)) * (squares - total**2 / (n - 1))
    freedoms = total**2 / squares if squares > 0 else np.inf
    freedoms = float(np.clip(freedoms, 1.0, mean.size))
    values, vectors = eigenbasis(density)
    shifts = np.einsum("md,bde,me->bm", vectors, deviations, vectors, optimize=True)
    spread = np.sqrt(sizes @ shifts**2 / (n - 1))
    return density, float(total), freedoms, values, spread


class DensityPath(NamedTuple):
    """Eigenvalues and errors of density matrices for growing numbers of images.

    Attributes
    ----------
    n_images : ndarray of shape (m,), int
        Numbers of images.
    eigenvalues : ndarray of shape (n_draws, m, d)
        Eigenvalues of the density matrices, largest first.
    errors : ndarray of shape (n_draws, m)
        Frobenius norm of the difference from the density matrix of all images, divided
        by the norm of the latter.
    n_total : int
        Number of all images.
    """

    n_images: np.ndarray
    eigenvalues: np.ndarray
    errors: np.ndarray
    n_total: int


def density_path(
    images: np.ndarray,
    n_images: Sequence[int],
    *,
    kernel_size: int | Pair = 3,
    n_draws: int = 1,
    random_state: Any = None,
) -> DensityPath:
    """Compute density matrices of growing subsets of images, and their errors.

    Parameters
    ----------
    images : ndarray of shape (n, height, width[, channels])
        Images of one class, or of all classes.
    n_images : sequence of int
        Numbers of images, in ascending order. Each subset contains the smaller ones.
    kernel_size : int or (int, int), default=3
        Height and width of the patches.
    n_draws : int, default=1
        Number of random orders of the images.
    random_state : int, RandomState or None, default=None
        Seed for the random orders.

    Returns
    -------
    DensityPath

    Raises
    ------
    ValueError
        If the images have another shape, are all 0 or not finite, if the kernel does
        not fit into the images, or if `n_images` does not ascend from at least 1 to at
        most n.

    Notes
    -----
    Fig. 7 of the supplement of [1]_ shows the eigenvalues for 10, 100, 1000 and 10000
    images of MNIST. The errors are measured against the density matrix of all N images
    instead of the unknown true one. They are therefore too small: the expected squared
    error is proportional to 1/n - 1/N instead of 1/n.

    References
    ----------
    .. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Separation of time scales and
       direct computation of weights in deep neural networks", arXiv:1703.04757v3,
       2018.

    Examples
    --------
    >>> from skdmn.analysis.density.convergence import density_path
    >>> from skdmn.datasets import load_digits_images
    >>> X, _ = load_digits_images()
    >>> path = density_path(X, [10, 100, 1000], random_state=0)
    >>> path.eigenvalues.shape, path.errors.shape
    ((1, 3, 9), (1, 3))
    """
    images, size = checked_images(images, kernel_size)
    counts = np.asarray(n_images)
    if counts[0] < 1 or counts[-1] > len(images) or (np.diff(counts) <= 0).any():
        raise ValueError(
            f"n_images is {list(n_images)}; pass ascending numbers from 1 to the "
            f"{len(images)} images given."
        )
    random = check_random_state(random_state)
    sizes = np.diff(counts, prepend=0)
    groups = np.repeat(np.arange(len(counts)), sizes)
    everything = _densities(group_moments(images, np.zeros(len(images), int), size))[0]
    if not everything.any():
        raise ValueError(
            "All patches are 0, so there is no density matrix; pass images that are "
            "not all black."
        )
    values, errors = [], []
    for _ in range(n_draws):
        order = random.permutation(len(images))[: counts[-1]]
        moments = group_moments(images[order], groups, size)
        sums = np.cumsum(sizes[:, None, None] * moments, axis=0)
        densities = _densities(sums)
        values.append([shares for shares, _ in eigenbases(densities)])
        errors.append(np.linalg.norm(densities - everything, axis=(1, 2)))
    scale = np.linalg.norm(everything)
    return DensityPath(counts, np.array(values), np.array(errors) / scale, len(images))


def _densities(moments: np.ndarray) -> np.ndarray:
    """Divide matrices by their traces; leave matrices of zeros unchanged."""
    traces = np.trace(moments, axis1=1, axis2=2)
    return moments / np.where(traces > 0, traces, 1.0)[:, None, None]


def checked_images(images: Any, kernel_size: int | Pair) -> tuple[np.ndarray, Pair]:
    """Return the images with a channel axis, and the height and width of the kernel."""
    images = np.asarray(as_one_array(images, "images"))
    if images.ndim not in (3, 4):
        raise ValueError(
            f"images have shape {images.shape}; pass (n, height, width) or (n, height, "
            "width, channels)."
        )
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        raise ValueError(
            "images have NaN or infinite entries; leave out the images that have them."
        )
    images = images[..., None] if images.ndim == 3 else images
    size = (kernel_size,) * 2 if isinstance(kernel_size, int) else kernel_size
    if min(size) < 1 or any(np.greater(size, images.shape[1:3])):
        raise ValueError(
            f"kernel_size={kernel_size} does not fit images of {images.shape[1]} x "
            f"{images.shape[2]} pixels; pass a kernel size of at least 1 and at most "
            "the size of the images."
        )
    return images, (size[0], size[1])


def group_moments(images: np.ndarray, groups: np.ndarray, size: Pair) -> np.ndarray:
    """Return the mean second-moment matrix of the patches of each group of images."""
    if images.dtype.kind == "f":  # float32 sums would lose the small eigenvalues
        images = images.astype(np.float64, copy=False)
    sums = DensityAccumulator.empty(
        int(groups.max()) + 1, size, images.shape[3], centered=False
    )
    sums.update(images, groups)
    return sums.outer_products / sums.n_patches[:, None, None]
