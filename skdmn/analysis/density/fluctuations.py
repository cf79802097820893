"""How eigenvalues of second moments fluctuate while images are added.

The class-PCA paper holds that the change of an eigenvalue by an added image has a
variance of lambda^2 / N^2, so that all eigenvalues' changes, divided by lambda / N,
collapse to one Gaussian. Each part of that is a number here, with a p-value.
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
    """Changes of eigenvalues by added images.

    Attributes
    ----------
    n_images : ndarray of shape (n_steps,), int
        How many images there were before each step, N.
    step : int
        How many images each step adds, dN.
    eigenvalues : ndarray of shape (d,)
        Of the mean second moment of all patches of the images that were added, which
        leaves out those that make no step, largest first.
    changes : ndarray of shape (n_steps, d)
        d lambda / dN: of each eigenvalue's change in a step, divided by `step`.
    """

    n_images: np.ndarray
    step: int
    eigenvalues: np.ndarray
    changes: np.ndarray

    @property
    def scaled(self) -> np.ndarray:
        r"""Changes times :math:`N \sqrt{\delta N} / \lambda`: the paper's collapse.

        N stands for :math:`\sqrt{N (N + \delta N)}`, with which the variance is the
        same at every step, not only at large N. It is 2 where patches are Gaussian of
        mean zero and each image has one.
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
    """Add images, some at a time, and follow the eigenvalues of their second moment.

    Parameters
    ----------
    images : ndarray of shape (n, height, width[, channels])
        Of one class, or of all; added in random order.
    kernel_size : int or (int, int), default=3
        Height and width of patches.
    step : int, default=10
        How many images are added at a time.
    start : int or None, default=None
        With how many images to start; None: a tenth of them, at least one step.
    random_state : int, RandomState or None
        Of the order.

    Returns
    -------
    Fluctuations
        Of second moments that are not divided by their traces, as in the paper.
        Eigenvalues within rounding of 0 are left out.

    Raises
    ------
    ValueError
        Where images are not so shaped, or too few for two steps.

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
            f"{len(images)} images with start={start} and step={step} are not two "
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
    """A number that the paper claims, as measured.

    Attributes
    ----------
    measured, error : float
        Value and standard error.
    claimed : float
    p_value : float
        Of a difference so large, if the claim holds.
    """

    measured: float
    error: float
    claimed: float
    p_value: float


class FluctuationTest(NamedTuple):
    """The fluctuation law of eigenvalues, part by part.

    Attributes
    ----------
    time_exponent : Claim
        b of changes ~ N^b, claimed -1.
    eigenvalue_exponent : Claim
        b of a variance ~ lambda^b over all eigenvalues, claimed 2.
    constants : ndarray of shape (d,)
        Variance of the scaled changes of each eigenvalue; 2 for independent Gaussian
        patches.
    collapse_statistic, collapse_p_value : float
        Hotelling's T^2 of the differences of the logarithms of `constants`, and the
        probability of one so large where they are equal.
    gaussian_distance : float
        Largest distance between the distribution functions of all scaled changes and
        of the Gaussian of their variance.
    gaussian_p_value : float
        Of the least Gaussian of the eigenvalues' changes (D'Agostino and Pearson's
        test), times their number.
    """

    time_exponent: Claim
    eigenvalue_exponent: Claim
    constants: np.ndarray
    collapse_statistic: float
    collapse_p_value: float
    gaussian_distance: float
    gaussian_p_value: float


def fluctuation_test(fluctuations: Fluctuations) -> FluctuationTest:
    r"""Test the law Var[d lambda / dN] ~ lambda^2 / N^2, and that it is Gaussian.

    Parameters
    ----------
    fluctuations : Fluctuations
        Of more than twice as many steps as eigenvalues, at least 20.

    Returns
    -------
    FluctuationTest

    Raises
    ------
    ValueError
        Where there are fewer steps, or one eigenvalue only.

    Notes
    -----
    The scaled changes are recursive residuals: to first order uncorrelated between
    steps and of the same variance :math:`c_\mu` for any distribution of the images, so
    that the exponent of N is no more than the law of means. That :math:`c_\mu` is the
    same for all eigenvalues is a claim about the data: :math:`c_\mu + 1` is the
    kurtosis of an image's projection on an eigenvector, where an image has one patch
    of mean zero. Eigenvalues may be correlated within a step; the tests take that into
    account by the covariance over steps, and by Bonferroni's bound. Their statistics
    are those of many steps: near 0.01, p-values say less than their size.

    Eq. 18 of [1]_ gives a variance of 2 rho^2 / (N^2 dN) for d rho / dN; the text
    below it has a standard deviation of 2 instead of the root of 2.

    References
    ----------
    .. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Separation of time scales and
       direct computation of weights in deep neural networks", arXiv:1703.04757v3,
       2018, eq. 18, Fig. 3; Fig. 4 and eq. 32 of the supplement.

    Examples
    --------
    Gaussian "images" of a single patch each obey the law.

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
            f"{max(20, 2 * d + 1)} steps (more images, or a smaller step) of two "
            "eigenvalues or more."
        )
    constants = np.mean(scaled**2, axis=0)
    # of each step on the logarithms of the constants
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
    """Return Hotelling's T^2 of the differences of means, and its p-value."""
    difference = np.diff(np.eye(len(logs)), axis=0)
    shift, q = difference @ logs, len(logs) - 1
    spread = difference @ covariance @ difference.T
    statistic = float(shift @ np.linalg.solve(spread, shift))
    return statistic, float(stats.f.sf(statistic * (n - q) / (q * (n - 1)), q, n - q))


def _claim(measured: float, error: float, claimed: float, freedoms: int) -> Claim:
    distance = abs(measured - claimed) / error
    p_value = 2 * stats.t.sf(distance, freedoms)
    return Claim(float(measured), float(error), claimed, float(p_value))


def _time_exponent(fluctuations: Fluctuations) -> Claim:
    """Fit the size of a step's changes, relative to the eigenvalues, against N."""
    counts = fluctuations.n_images
    relative = np.sum((fluctuations.changes / fluctuations.eigenvalues) ** 2, axis=1)
    times = 0.5 * np.log(counts * (counts + fluctuations.step))
    fit = stats.linregress(times, 0.5 * np.log(relative))
    return _claim(fit.slope, fit.stderr, -1.0, len(counts) - 2)


def _eigenvalue_exponent(
    values: np.ndarray, logs: np.ndarray, covariance: np.ndarray, n: int
) -> Claim:
    """Fit the logarithms of variances against those of eigenvalues."""
    centred = np.log(values) - np.log(values).mean()
    weights = centred / (centred @ centred)
    error = np.sqrt(weights @ covariance @ weights)
    return _claim(2.0 + weights @ logs, error, 2.0, n - 1)
