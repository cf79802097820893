"""Starts for softmax classifiers from solutions of similar settings."""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skdmn.linear_model.softmax import SoftmaxClassifier
from skdmn.model_selection.steps import parameters_of
from skdmn.utils.array_api import to_numpy


class Solved(NamedTuple):
    """A fitted softmax classifier, and the channels of its features.

    Attributes
    ----------
    classifier : SoftmaxClassifier
    channels : ndarray of shape (n_channels,), int
        Channels of the union of all settings.
    others : tuple
        All parameters but C.
    """

    classifier: SoftmaxClassifier
    channels: np.ndarray
    others: tuple[Any, ...]


def takes_warm_start(classifier: Any) -> bool:
    """Return True if a classifier can start from another solution."""
    return type(classifier) is SoftmaxClassifier


class WarmStarts:
    """Fit softmax classifiers that differ in C or in channels, one after the other.

    Each starts at the solution of the nearest setting, with coefficients of 0 for new
    channels. A start changes the solution by no more than the tolerance of the solver.
    If a fit does not converge, it is repeated without such a start, because the number
    of iterations then determines the solution.
    """

    def __init__(self) -> None:
        self._solved: list[Solved] = []

    def fit(
        self, classifier: Any, channels: np.ndarray, X: Any, y: Any, **fit_params: Any
    ) -> Any:
        """Fit a copy of a classifier.

        Parameters
        ----------
        classifier : SoftmaxClassifier
        channels : ndarray of shape (n_channels,), int
            Channels of the features among those of the union.
        X : array of shape (n, height, width, n_channels) or (n, n_features)
        y : array-like of shape (n,)
        **fit_params : dict
            Passed to `fit`.

        Returns
        -------
        SoftmaxClassifier
        """
        others = parameters_of(classifier, ["C"])
        start = self._nearest(classifier.C, channels, others)
        fitted = None if start is None else _started(classifier, start, channels)
        if fitted is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("error", ConvergenceWarning)
                try:
                    fitted.fit(X, y, **fit_params)
                except ConvergenceWarning:
                    fitted = None
                else:
                    fitted.warm_start = classifier.warm_start
        if fitted is None:
            fitted = clone(classifier).fit(X, y, **fit_params)
        self._solved.append(Solved(fitted, channels, others))
        return fitted

    def _nearest(
        self, C: float, channels: np.ndarray, others: tuple[Any, ...]
    ) -> Solved | None:
        """Return the solution that has most channels in common, then the nearest C."""
        alike = [one for one in self._solved if one.others == others]

        def distance(one: Solved) -> tuple[float, float]:
            n_common = len(np.intersect1d(one.channels, channels))
            n_all = len(one.channels) + len(channels) - n_common
            is_same = one.classifier.C == C  # both may be infinite
            ratio = 1.0 if is_same else one.classifier.C / C
            return 1 - n_common / n_all, abs(math.log(ratio)) if ratio else math.inf

        return min(alike, key=distance, default=None)


def _started(
    classifier: Any, solved: Solved, channels: np.ndarray
) -> SoftmaxClassifier:
    """Return a classifier that starts at a solution for other channels."""
    source = solved.classifier
    coef = to_numpy(source.coef_)
    n_outputs, n_positions = len(coef), coef.shape[1] // len(solved.channels)
    by_channel = coef.reshape(n_outputs, n_positions, len(solved.channels))
    mean = to_numpy(source.mean_).reshape(n_positions, -1)
    known = {channel: i for i, channel in enumerate(solved.channels.tolist())}
    kept = [(i, known[c]) for i, c in enumerate(channels.tolist()) if c in known]
    to, at = np.array(kept, dtype=np.intp).reshape(-1, 2).T
    mapped = np.zeros((n_outputs, n_positions, len(channels)))
    mapped[:, :, to] = by_channel[:, :, at]
    lost = np.delete(np.arange(len(solved.channels)), at)
    # channels that are left out keep their mean
    shift = np.einsum("opc,pc->o", by_channel[:, :, lost], mean[:, lost])
    started = clone(classifier).set_params(warm_start=True)
    n = n_positions * len(channels)
    started.__dict__ |= {
        "coef_": mapped.reshape(n_outputs, n),
        "intercept_": to_numpy(source.intercept_) + shift,
        "mean_": np.zeros(n),
        "scale_": np.ones(n),
        "classes_": to_numpy(source.classes_),
        "n_features_in_": n,
        "loss_curve_": [],
        "n_iter_": 0,
        "n_passes_": 0.0,
        "_lives": None,
    }
    return started
