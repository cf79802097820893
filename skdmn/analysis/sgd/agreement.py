"""Agreement of trained filters with computed directions, and random controls."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from sklearn.utils import check_random_state

from skdmn.statistics.filters import eigenbasis


class Agreement(NamedTuple):
    """Agreement of filters with directions, compared with random filters.

    Attributes
    ----------
    share : float
        Share of the squared norm of all filters that lies in the span of the
        directions.
    random_share : float
        Mean of this share over random filters of the same norms.
    share_p_value : float
        Share of random sets of filters whose `share` is at least as large.
    cosine : float
        Largest absolute cosine of a filter with one of the directions, averaged over
        filters.
    random_cosine : float
        Mean of this cosine over random filters.
    cosine_p_value : float
        Share of random sets of filters whose `cosine` is at least as large.
    """

    share: float
    random_share: float
    share_p_value: float
    cosine: float
    random_cosine: float
    cosine_p_value: float


def filter_agreement(
    filters: np.ndarray,
    directions: np.ndarray,
    *,
    covariance: np.ndarray | None = None,
    n_random: int = 1000,
    random_state: Any = None,
) -> Agreement:
    """Compare filters with directions, for example trained with computed filters.

    Parameters
    ----------
    filters : ndarray of shape (n_filters, d) or (n_filters, height, width, channels)
        Filters of any norm. Filters of zeros are ignored.
    directions : ndarray of shape (n_directions, d) or (n_directions, height, width, \
channels)
        Directions of any norm; they need not be orthogonal.
    covariance : ndarray of shape (d, d) or None, default=None
        Covariance of the random filters. If None, all their directions are equally
        likely. With a density matrix, random filters look like patches. These agree
        with the leading directions by chance, so they are the stricter control.
    n_random : int, default=1000
        Number of random sets of filters to compare with.
    random_state : int, RandomState or None, default=None
        Seed for the random filters.

    Returns
    -------
    Agreement

    Raises
    ------
    ValueError
        If filters and directions differ in their number of entries, if all filters or
        all directions are zero or one has NaN, or if `covariance` does not have the
        shape (d, d) and a positive trace.

    Notes
    -----
    The class-PCA paper concludes that the filters learned by SGD are principal
    components of the patches of each class ([1]_, eq. 24 and below), but shows no plot
    of it. `share` tests the weaker form, that filters lie in the span of the leading
    components. `cosine` tests the stronger form, that each filter is one of them.

    References
    ----------
    .. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Separation of time scales and
       direct computation of weights in deep neural networks", arXiv:1703.04757v3,
       2018.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.sgd.agreement import filter_agreement
    >>> found = filter_agreement([[3.0, 4.0, 0.0, 0.0]], np.eye(4)[:1], random_state=0)
    >>> round(found.share, 2), round(found.cosine, 2), round(found.random_share, 2)
    (0.36, 0.6, 0.25)
    """
    rows, others = _rows(filters, "filters"), _rows(directions, "directions")
    if rows.shape[1] != others.shape[1]:
        raise ValueError(
            f"Filters have {rows.shape[1]} entries and directions {others.shape[1]}; "
            "pass filters and directions of the same kernel size and channels."
        )
    spread = None if covariance is None else _checked(covariance, rows.shape[1])
    random = check_random_state(random_state)
    norms = np.linalg.norm(rows, axis=1)
    _, sizes, basis = np.linalg.svd(others, full_matrices=False)
    basis = basis[sizes > 1e-10 * sizes[0]]
    units = others / np.linalg.norm(others, axis=1, keepdims=True)
    share, cosine = _agree(rows[None], norms, basis, units)
    drawn = random.normal(size=(n_random, *rows.shape))
    if spread is not None:
        shares, vectors = eigenbasis(spread)
        drawn = (drawn * np.sqrt(shares)) @ vectors
    drawn *= (norms / np.linalg.norm(drawn, axis=2))[:, :, None]
    random_shares, random_cosines = _agree(drawn, norms, basis, units)
    return Agreement(
        float(share[0]),
        float(random_shares.mean()),
        _p_value(share[0], random_shares),
        float(cosine[0]),
        float(random_cosines.mean()),
        _p_value(cosine[0], random_cosines),
    )


def _checked(covariance: Any, d: int) -> np.ndarray:
    """Return the covariance of random filters; raise if it is not valid."""
    matrix = np.asarray(covariance, dtype=float)
    if matrix.shape != (d, d) or not np.trace(matrix) > 0:
        raise ValueError(
            f"covariance has shape {matrix.shape} or its trace is not positive; pass "
            f"a {d} x {d} matrix with a positive trace, such as a density matrix."
        )
    return matrix


def _rows(filters: Any, what: str) -> np.ndarray:
    """Return the filters that are not zero as rows."""
    filters = np.asarray(filters, dtype=float)
    if not np.isfinite(filters).all():
        raise ValueError(
            f"{what} have NaN or infinite entries; pass weights from before training "
            "diverged."
        )
    rows = filters.reshape(len(filters), -1) if filters.ndim > 1 else filters[:0, None]
    rows = rows[np.linalg.norm(rows, axis=1) > 0]
    if not len(rows):
        raise ValueError(
            f"{what} have shape {filters.shape} and no row that is not zero; pass an "
            "array of shape (n, d) or (n, height, width, channels) with at least one "
            "nonzero row."
        )
    return rows


def _agree(
    sets: np.ndarray, norms: np.ndarray, basis: np.ndarray, units: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return share and mean largest cosine of each set of filters."""
    shares = np.sum((sets @ basis.T) ** 2, axis=(1, 2)) / np.sum(norms**2)
    cosines = np.abs(sets @ units.T).max(axis=2) / norms
    return shares, cosines.mean(axis=1)


def _p_value(measured: float, random: np.ndarray) -> float:
    """Return the share of random values that are at least as large."""
    as_much = random >= measured - 1e-12
    return float((1 + np.count_nonzero(as_much)) / (1 + len(random)))


class Spread(NamedTuple):
    """Size of filters along the eigenvectors of a density matrix.

    Attributes
    ----------
    eigenvalues : ndarray of shape (d,)
        Eigenvalues that are not zero, largest first.
    projections : ndarray of shape (d,)
        Root mean square, over filters, of the projection on each eigenvector.
    exponent, error : float
        Exponent b in projections ~ eigenvalues^b, and its standard error. It is 1 for
        the distribution of the paper and 0 for random filters.
    """

    eigenvalues: np.ndarray
    projections: np.ndarray
    exponent: float
    error: float


def filter_spread(filters: np.ndarray, density: np.ndarray) -> Spread:
    """Measure how the size of filters along an eigenvector grows with its variance.

    Parameters
    ----------
    filters : ndarray of shape (n_filters, d) or (n_filters, height, width, channels)
        Trained filters.
    density : ndarray of shape (d, d)
        Density matrix of the input patches of these filters.

    Returns
    -------
    Spread

    Raises
    ------
    ValueError
        If there are fewer than three eigenvalues to fit, or the filters do not have d
        entries.

    Notes
    -----
    By eq. 24 of [1]_, the weights of a class have a Gaussian distribution whose spread
    is proportional to the density matrix of the class.

    References
    ----------
    .. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Separation of time scales and
       direct computation of weights in deep neural networks", arXiv:1703.04757v3,
       2018.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.sgd.agreement import filter_spread
    >>> rng = np.random.default_rng(0)
    >>> density = np.diag([0.6, 0.3, 0.1])
    >>> round(filter_spread(rng.normal(size=(10000, 3)) @ density, density).exponent, 1)
    1.0
    """
    rows = _rows(filters, "filters")
    values, vectors = eigenbasis(np.asarray(density, dtype=float))
    if vectors.shape[1] != rows.shape[1]:
        raise ValueError(
            f"Filters have {rows.shape[1]} entries and the density matrix "
            f"{len(values)} rows; pass both for the same kernel size and channels."
        )
    alive = values > 1e-7 * values[0]  # smaller ones are rounding of float32 images
    projections = np.sqrt(np.mean((rows @ vectors.T) ** 2, axis=0))
    alive &= projections > 0
    if np.count_nonzero(alive) < 3:
        raise ValueError(
            f"Filters and density matrix share {np.count_nonzero(alive)} directions, "
            "but fitting an exponent needs three; pass more filters or a density "
            "matrix of higher rank."
        )
    fit = stats.linregress(np.log(values[alive]), np.log(projections[alive]))
    return Spread(
        values[alive], projections[alive], float(fit.slope), float(fit.stderr)
    )
