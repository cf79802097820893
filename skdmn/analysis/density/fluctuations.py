"""Fluctuations of eigenvalues of second-moment matrices while images are added.

The class-PCA paper claims that adding an image changes an eigenvalue lambda by a random
amount with variance lambda^2 / N^2, where N is the number of images. Divided by
lambda / N, the changes of all eigenvalues should follow the same Gaussian distribution.
The functions here test each part of this claim.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from sklearn.utils import check_random_state

from skdmn.analysis.density.convergence import checked_images, group_moments
from skdmn.kernels.geometry import Pair
from skdmn.statistics.filters import eigenbases


class Fluctuations(NamedTuple):
    """Changes of eigenvalues when images are added.

    Attributes
    ----------
    n_images : ndarray of shape (n_steps,), int
        Number N of images before each step.
    step : int
        Number dN of images that each step adds.
    eigenvalues : ndarray of shape (d,)
        Eigenvalues of the mean second-moment matrix after the last step, largest first.
    changes : ndarray of shape (n_steps, d)
        Change of each eigenvalue in each step, divided by `step`: d lambda / dN.
    """

    n_images: np.ndarray
    step: int
    eigenvalues: np.ndarray
    changes: np.ndarray

    @property
    def scaled(self) -> np.ndarray:
        r"""Changes times :math:`N \sqrt{\delta N} / \lambda`, as in the paper.

        N is replaced by :math:`\sqrt{N (N + \delta N)}`, so that the variance is the
        same at every step, not only for large N. The variance is 2 if every image has
        one patch and patches are Gaussian with mean zero.
        """
        after = self.n_images + self.step
        scale = np.sqrt(self.step * self.n_images * after)
        return scale[:, None] * self.changes / self.eigenvalues


def eigenvalue_fluctuations(
    images: np.ndarray,
    *,
    kernel_size: int | Pair = 3,
    step: int = 10,
    start: int | None = None,
    random_state: Any = None,
) -> Fluctuations:
    """Add images in steps and record the eigenvalues of their second-moment matrix.

    Parameters
    ----------
    images : ndarray of shape (n, height, width[, channels])
        Images of one class, or of all classes. They are added in random order.
    kernel_size : int or (int, int), default=3
        Height and width of the patches.
    step : int, default=10
        Number of images that each step adds.
    start : int or None, default=None
        Number of images before the first step. If None, a tenth of the images, but at
        least `step`.
    random_state : int, RandomState or None, default=None
        Seed for the order of the images.

    Returns
    -------
    Fluctuations
        Changes of the eigenvalues of second-moment matrices that are not divided by
        their traces, as in the paper. Eigenvalues that are 0 up to rounding are left
        out.

    Raises
    ------
    ValueError
        If the images have another shape or are not finite, if the kernel does not fit
        into the images, or if there are too few images for two steps.

    References
    ----------
    .. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Separation of time scales and
       direct computation of weights in deep neural networks", arXiv:1703.04757v3,
       2018, eqs. 15 to 18, Fig. 3; Fig. 4 and eq. 32 of the supplement.

    Examples
    --------
    >>> from skdmn.analysis.density.fluctuations import eigenvalue_fluctuations
    >>> from skdmn.datasets import load_digits_images
    >>> X, _ = load_digits_images()
    >>> eigenvalue_fluctuations(X, random_state=0).changes.shape
    (161, 9)
    """
    images, size = checked_images(images, kernel_size)
    start = max(len(images) // 10, step) if start is None else start
    n_steps = (len(images) - start) // step if step > 0 else 0
    if start < 1 or n_steps < 2:
        raise ValueError(
            f"{len(images)} images with start={start} and step={step} do not allow two "
            "steps; pass more images, or a smaller start or step of 1 or more."
        )
    last = start + n_steps * step
    order = check_random_state(random_state).permutation(len(images))[:last]
    groups = np.repeat(np.arange(n_steps + 1), [start] + [step] * n_steps)
    moments = group_moments(images[order], groups, size)
    counts = start + step * np.arange(n_steps + 1)
    sizes = np.diff(counts, prepend=0)
    means = np.cumsum(sizes[:, None, None] * moments, 0) / counts[:, None, None]
    values = np.array([shares for shares, _ in eigenbases(means)])
    alive = values[-1] > values.shape[1] * np.finfo(float).eps * values[-1, 0]
    values = values[:, alive]
    return Fluctuations(counts[:-1], step, values[-1], np.diff(values, axis=0) / step)


class Claim(NamedTuple):
    """Measured value of a number that the paper claims.

    Attributes
    ----------
    measured, error : float
        Measured value and its standard error.
    claimed : float
        Value that the paper claims.
    p_value : float
        Probability of a difference at least as large if the claim is true.
    """

    measured: float
    error: float
    claimed: float
    p_value: float


class FluctuationTest(NamedTuple):
    """Test results for each part of the fluctuation law of eigenvalues.

    Attributes
    ----------
    time_exponent : Claim
        Exponent b in changes ~ N^b; the paper claims -1.
    eigenvalue_exponent : Claim
        Exponent b in variance ~ lambda^b over all eigenvalues; the paper claims 2.
    constants : ndarray of shape (d,)
        Variance of the scaled changes of each eigenvalue; 2 for independent Gaussian
        patches.
    collapse_statistic, collapse_p_value : float
        Hotelling's T^2 for the hypothesis that all `constants` are equal, computed from
        the differences of their logarithms, and its p-value.
    gaussian_distance : float
        Kolmogorov-Smirnov distance between all scaled changes and the Gaussian
        distribution with the same variance.
    gaussian_p_value : float
        Smallest p-value over eigenvalues of D'Agostino and Pearson's test that the
        changes are Gaussian, times the number of eigenvalues (Bonferroni).
    """

    time_exponent: Claim
    eigenvalue_exponent: Claim
    constants: np.ndarray
    collapse_statistic: float
    collapse_p_value: float
    gaussian_distance: float
    gaussian_p_value: float


def fluctuation_test(fluctuations: Fluctuations) -> FluctuationTest:
    r"""Test if changes of eigenvalues are Gaussian with variance ~ lambda^2 / N^2.

    Parameters
    ----------
    fluctuations : Fluctuations
        Changes over at least 20 steps, and over more than twice as many steps as
        eigenvalues.

    Returns
    -------
    FluctuationTest

    Raises
    ------
    ValueError
        If there are fewer steps, or only one eigenvalue.

    Notes
    -----
    The scaled changes are recursive residuals. To first order they are uncorrelated
    between steps and have the same variance :math:`c_\mu` at every step, for any
    distribution of the images. The exponent of N therefore says nothing about the data.
    The claim that :math:`c_\mu` is the same for all eigenvalues is about the data: if
    each image has one patch of mean zero, :math:`c_\mu + 1` is the kurtosis of the
    projection of patches on the eigenvector. Eigenvalues may be correlated within a
    step; the tests allow for this by the covariance over steps and by Bonferroni's
    bound. The p-values are asymptotic, for many steps, and are not accurate below about
    0.01.

    Eq. 18 of [1]_ states a variance of 2 rho^2 / (N^2 dN) for d rho / dN. The text
    below it states a standard deviation of 2; this should be the square root of 2.

    References
    ----------
    .. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Separation of time scales and
       direct computation of weights in deep neural networks", arXiv:1703.04757v3,
       2018, eq. 18, Fig. 3; Fig. 4 and eq. 32 of the supplement.

    Examples
    --------
    Gaussian "images" of one patch each follow the law.

    >>> import numpy as np
    >>> from skdmn.analysis.density.fluctuations import eigenvalue_fluctuations
    >>> from skdmn.analysis.density.fluctuations import fluctuation_test
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(20000, 1, 4)) * [8, 4, 2, 1]
    >>> steps = eigenvalue_fluctuations(x, kernel_size=(1, 4), step=50, random_state=0)
    >>> found = fluctuation_test(steps)
    >>> abs(found.eigenvalue_exponent.measured - 2) < 0.1
    True
    >>> found.collapse_p_value > 0.05
    True
    """
    scaled = fluctuations.scaled
    n_steps, d = scaled.shape
    if n_steps < max(20, 2 * d + 1) or d < 2:
        raise ValueError(
            f"There are {n_steps} steps of {d} eigenvalues; pass at least "
            f"{max(20, 2 * d + 1)} steps (use more images or a smaller step) of at "
            "least two eigenvalues."
        )
    constants = np.mean(scaled**2, axis=0)
    # influence of each step on the logarithms of the constants
    influence = scaled**2 / constants - 1
    logs, covariance = np.log(constants), np.cov(influence.T) / n_steps
    statistic, collapse_p_value = _equality(logs, covariance, n_steps)
    standard = scaled.ravel() / np.sqrt(constants.mean())
    p_values = stats.normaltest(scaled, axis=0).pvalue
    return FluctuationTest(
        _time_exponent(fluctuations),
        _eigenvalue_exponent(fluctuations.eigenvalues, logs, covariance, n_steps),
        constants,
        statistic,
        collapse_p_value,
        float(stats.kstest(standard, "norm").statistic),
        float(min(1.0, d * p_values.min())),
    )


def _equality(logs: np.ndarray, covariance: np.ndarray, n: int) -> tuple[float, float]:
    """Return Hotelling's T^2 for the equality of all means, and its p-value."""
    difference = np.diff(np.eye(len(logs)), axis=0)
    shift, q = difference @ logs, len(logs) - 1
    spread = difference @ covariance @ difference.T
    statistic = float(shift @ np.linalg.solve(spread, shift))
    return statistic, float(stats.f.sf(statistic * (n - q) / (q * (n - 1)), q, n - q))


def _claim(measured: float, error: float, claimed: float, freedoms: int) -> Claim:
    """Compare a measured with a claimed value by a t test."""
    distance = abs(measured - claimed) / error
    p_value = 2 * stats.t.sf(distance, freedoms)
    return Claim(float(measured), float(error), claimed, float(p_value))


def _time_exponent(fluctuations: Fluctuations) -> Claim:
    """Fit the exponent of N in the changes relative to the eigenvalues."""
    counts = fluctuations.n_images
    relative = np.sum((fluctuations.changes / fluctuations.eigenvalues) ** 2, axis=1)
    times = 0.5 * np.log(counts * (counts + fluctuations.step))
    fit = stats.linregress(times, 0.5 * np.log(relative))
    return _claim(fit.slope, fit.stderr, -1.0, len(counts) - 2)


def _eigenvalue_exponent(
    values: np.ndarray, logs: np.ndarray, covariance: np.ndarray, n: int
) -> Claim:
    """Fit the exponent of the eigenvalue in the variance of the changes."""
    centred = np.log(values) - np.log(values).mean()
    weights = centred / (centred @ centred)
    error = np.sqrt(weights @ covariance @ weights)
    return _claim(2.0 + weights @ logs, error, 2.0, n - 1)
