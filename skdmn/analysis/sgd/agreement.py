"""Whether trained filters are the computed ones: shares, angles, and controls."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from sklearn.utils import check_random_state

from skdmn.statistics.filters import eigenbasis


class Agreement(NamedTuple):
    """How well filters agree with directions, and random filters for comparison.

    Attributes
    ----------
    share : float
        Share of the squared norm of all filters that is within the directions' span.
    random_share : float
        That of random filters of the same norms, on average.
    share_p_value : float
        Share of random sets of filters that have as much or more.
    cosine : float
        Largest absolute cosine of a filter with one direction, mean over filters.
    random_cosine, cosine_p_value : float
        The same of random filters.
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
    """Compare filters with directions, such as trained with computed filters.

    Parameters
    ----------
    filters : ndarray of shape (n_filters, d) or (n_filters, height, width, channels)
        Of any norm. Filters of zeros do not count.
    directions : ndarray of shape (n_directions, d) or (n_directions, height, width, \
channels)
        They need not be orthogonal or of norm 1.
    covariance : ndarray of shape (d, d) or None, default=None
        Of random filters: None for filters of any direction; a density matrix for
        filters that look like patches, which agree with leading directions already by
        that. Only more than these speaks for the directions themselves.
    n_random : int, default=1000
        How many random sets of filters to compare with.
    random_state : int, RandomState or None

    Returns
    -------
    Agreement

    Raises
    ------
    ValueError
        Where filters and directions have not as many entries, none is but zero, or
        `covariance` is of another size or without variance.

    Notes
    -----
    That SGD's filters are principal components of the classes' patches is what the
    class-PCA paper concludes ([1]_, eq. 24 and below) and does not plot. There are two
    strengths of it: that filters lie in the span of the leading components (`share`),
    and that each is one of them (`cosine`).

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
            "pass those of patches of the same size and channels."
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
    """Return what random filters are drawn from."""
    matrix = np.asarray(covariance, dtype=float)
    if matrix.shape != (d, d) or not np.trace(matrix) > 0:
        raise ValueError(
            f"covariance has shape {matrix.shape}, or no trace; pass a {d} x {d} one "
            "with variance, as filters have entries, such as a density matrix."
        )
    return matrix


def _rows(filters: Any, what: str) -> np.ndarray:
    """Return those that are not zero as rows."""
    filters = np.asarray(filters, dtype=float)
    if not np.isfinite(filters).all():
        raise ValueError(
            f"{what} have NaN or infinite entries; pass those before training diverged."
        )
    rows = filters.reshape(len(filters), -1) if filters.ndim > 1 else filters[:0, None]
    rows = rows[np.linalg.norm(rows, axis=1) > 0]
    if not len(rows):
        raise ValueError(
            f"{what} have shape {filters.shape} and none that is not zero; pass rows, "
            "or filters of (height, width, channels), of which one at least is not."
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
    as_much = random >= measured - 1e-12
    return float((1 + np.count_nonzero(as_much)) / (1 + len(random)))


class Spread(NamedTuple):
    """How far filters spread along the eigenvectors of a density matrix.

    Attributes
    ----------
    eigenvalues : ndarray of shape (d,)
        Those that are not zero, largest first.
    projections : ndarray of shape (d,)
        Root mean square over filters of their projection on each eigenvector.
    exponent, error : float
        b of projections ~ eigenvalues^b and its standard error; the paper's
        distribution has 1, random filters 0.
    """

    eigenvalues: np.ndarray
    projections: np.ndarray
    exponent: float
    error: float


def filter_spread(filters: np.ndarray, density: np.ndarray) -> Spread:
    """Measure how much more filters spread along directions of more variance.

    Parameters
    ----------
    filters : ndarray of shape (n_filters, d) or (n_filters, height, width, channels)
    density : ndarray of shape (d, d)
        Of their input.

    Returns
    -------
    Spread

    Raises
    ------
    ValueError
        Where there are fewer than three eigenvalues to fit, or entries differ in
        number.

    Notes
    -----
    Eq. 24 of [1]_ gives the weights of a class, in logarithms, a Gaussian distribution
    whose spread is proportional to its density matrix.

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
            f"{len(values)} rows; pass those of patches of the same size and channels."
        )
    alive = values > 1e-7 * values[0]  # less is rounding, of float32 images
    projections = np.sqrt(np.mean((rows @ vectors.T) ** 2, axis=0))
    alive &= projections > 0
    if np.count_nonzero(alive) < 3:
        raise ValueError(
            f"Filters and density matrix share {np.count_nonzero(alive)} directions; "
            "an exponent can be fitted to three or more."
        )
    fit = stats.linregress(np.log(values[alive]), np.log(projections[alive]))
    return Spread(
        values[alive], projections[alive], float(fit.slope), float(fit.stderr)
    )
