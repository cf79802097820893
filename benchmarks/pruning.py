"""Gaps that OverlapPruner finds in a second layer, and the effect of pruning.

    python benchmarks/pruning.py --data DIR

Two 3 x 3 layers on MNIST, with 6,000 training images to fit and 3,000 others to score
on. The same softmax is fitted to the remaining channels of the second layer, after
pooling over 4 x 4 positions. "Noise" is the share of the mean square in the channels
above the gap.
"""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import machine
from skdmn import (
    ClassPCAPatchTransformer,
    FlattenTransformer,
    MaxPool2DTransformer,
    OverlapPruner,
)
from skdmn.datasets import load_mnist

CASES = [  # activation of the first layer, pooling after it
    (None, False),
    ("relu", False),
    ("relu", True),
]
PRUNING = [0, "auto", 1, 2, 5, 10, 25]


def second_layer(activation: str | None, pooled: bool) -> list:
    """Return the layers whose output is pruned."""
    # the naive DMN with all components, as in Fig. 3 of the paper
    options = {"class_based": False, "variance_cutoff": 1.0}
    steps = [ClassPCAPatchTransformer(3, activation=activation, **options)]
    if pooled:
        steps.append(MaxPool2DTransformer(2))
    return [*steps, ClassPCAPatchTransformer(3, activation=None, **options)]


def accuracy(
    X: np.ndarray, y: np.ndarray, X_val: np.ndarray, y_val: np.ndarray
) -> float:
    """Return the accuracy of a softmax on pruned maps after a ReLU and pooling."""
    top = make_pipeline(
        MaxPool2DTransformer(4, padding="same"),
        FlattenTransformer(),
        StandardScaler(),
        LogisticRegression(C=0.01, max_iter=200),
    )
    top.fit(np.maximum(X, 0), y)
    return 100 * top.score(np.maximum(X_val, 0), y_val)


def run(activation: str | None, pooled: bool, split: list[np.ndarray]) -> list[dict]:
    X, X_val, y, y_val = split
    layers = make_pipeline(*second_layer(activation, pooled))
    maps, maps_val = layers.fit_transform(X, y), layers.transform(X_val)
    rows = []
    for n_overlap in PRUNING:
        pruner = OverlapPruner(n_overlap).fit(maps)
        energies = np.sort(pruner.energies_)
        shares = np.exp(-energies)
        rows.append(
            {
                "activation": activation,
                "pooled": pooled,
                "asked": n_overlap,
                "n_overlap": pruner.n_overlap_,
                "gap": pruner.gap_,
                "widest_gap": float(np.diff(energies).max()),
                "noise": float(shares[pruner.n_overlap_ :].sum()),
                "channels": len(energies),
                "kept": int(pruner.support_.sum()),
                "accuracy": accuracy(
                    pruner.transform(maps), y, pruner.transform(maps_val), y_val
                ),
            }
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    options = machine.parser(__doc__.splitlines()[0], "pruning.json").parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    X, y = load_mnist("train", data_home=options.data)
    split = train_test_split(
        X, y, train_size=6000, test_size=3000, stratify=y, random_state=0
    )
    rows = [row for case in CASES for row in run(*case, split)]
    machine.write(options.json, {"pruning": PRUNING, "rows": rows})


if __name__ == "__main__":
    main()
