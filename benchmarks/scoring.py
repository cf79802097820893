"""Helpers of the benchmarks of features: softmaxes by C, whitening, and spreads."""

from collections.abc import Sequence
from statistics import mean, stdev

import numpy as np

from skdmn import SoftmaxClassifier, WhitenedPCAPatchTransformer


def softmax(C: float, tol: float = 1e-4) -> SoftmaxClassifier:
    return SoftmaxClassifier(C=C, tol=tol)


def by_C(
    grid: Sequence[float],
    train: tuple[np.ndarray, np.ndarray],
    others: tuple[np.ndarray, np.ndarray],
    tol: float = 1e-4,
) -> dict[float, float]:
    """Return the accuracy on other images for each C, in percent."""
    return {C: 100 * softmax(C, tol).fit(*train).score(*others) for C in grid}


def choose_C(
    features: np.ndarray, y: np.ndarray, grid: Sequence[float]
) -> tuple[float, float]:
    """Return the best C on the last fifth of the images, and its accuracy in percent.

    The softmax is fitted to the images before.
    """
    n = len(y) * 4 // 5
    found = by_C(grid, (features[:n], y[:n]), (features[n:], y[n:]))
    C = max(found, key=found.__getitem__)
    return C, found[C]


def best_C(features: np.ndarray, y: np.ndarray, grid: Sequence[float]) -> float:
    """Return only the C of `choose_C`."""
    return choose_C(features, y, grid)[0]


def whitening(conv: WhitenedPCAPatchTransformer) -> np.ndarray:
    """Return the rows of the whitening matrix for normalized patches."""
    components = conv.components_.reshape(len(conv.components_), -1)
    d = components.shape[1]
    density = conv.density_matrices_.reshape(-1, d, d).mean(axis=0)
    shares = ((components @ density) * components).sum(axis=1)
    scale = conv.partition_functions_.mean()
    roots = np.sqrt(scale * (shares + conv.regularization / d))
    return components / roots[:, np.newaxis]


def spread(accuracies: list[float]) -> dict:
    """Return mean, standard deviation and all values."""
    deviation = stdev(accuracies) if len(accuracies) > 1 else 0.0
    return {"accuracy": mean(accuracies), "std": deviation, "accuracies": accuracies}
