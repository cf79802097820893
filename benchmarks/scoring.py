"""How benchmarks choose the C of a softmax, never on what they report; and spreads."""

from collections.abc import Sequence
from statistics import mean, stdev

import numpy as np

from skdmn import SoftmaxClassifier


def softmax(C: float) -> SoftmaxClassifier:
    return SoftmaxClassifier(C=C, tol=1e-4)


def choose_C(
    features: np.ndarray, y: np.ndarray, grid: Sequence[float]
) -> tuple[float, float]:
    """Return the C that is best on the last fifth, learned from all before it.

    And its accuracy there, in percent.
    """
    n = len(y) * 4 // 5
    scores = [
        softmax(C).fit(features[:n], y[:n]).score(features[n:], y[n:]) for C in grid
    ]
    return grid[int(np.argmax(scores))], 100 * max(scores)


def best_C(features: np.ndarray, y: np.ndarray, grid: Sequence[float]) -> float:
    """Return the C of `choose_C` alone."""
    return choose_C(features, y, grid)[0]


def spread(accuracies: list[float]) -> dict:
    """Return mean, standard deviation and all."""
    deviation = stdev(accuracies) if len(accuracies) > 1 else 0.0
    return {"accuracy": mean(accuracies), "std": deviation, "accuracies": accuracies}
