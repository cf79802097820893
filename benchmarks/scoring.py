"""How benchmarks choose the C of a softmax, never on what they report; and spreads."""

from collections.abc import Sequence
from statistics import mean, stdev

import numpy as np

from skdmn import SoftmaxClassifier


def softmax(C: float, standardize: bool = True) -> SoftmaxClassifier:
    return SoftmaxClassifier(C=C, standardize=standardize, tol=1e-4)


def choose_C(
    features: np.ndarray, y: np.ndarray, grid: Sequence[float], standardize: bool = True
) -> dict:
    """Return the C that is best on the last fifth, learned from all before it."""
    n = len(y) * 4 // 5
    scores = [
        softmax(C, standardize).fit(features[:n], y[:n]).score(features[n:], y[n:])
        for C in grid
    ]
    best = int(np.argmax(scores))
    return {"C": grid[best], "standardize": standardize, "accuracy": 100 * scores[best]}


def best_C(features: np.ndarray, y: np.ndarray, grid: Sequence[float]) -> float:
    """Return the C of `choose_C` alone."""
    return choose_C(features, y, grid)["C"]


def spread(accuracies: list[float]) -> dict:
    """Return mean, standard deviation and all."""
    deviation = stdev(accuracies) if len(accuracies) > 1 else 0.0
    return {"accuracy": mean(accuracies), "std": deviation, "accuracies": accuracies}
