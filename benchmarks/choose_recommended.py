"""How the settings of recommended_dmn were chosen: by validation on training images.

    python benchmarks/choose_recommended.py --data DIR [--only CIFAR-10]

Each candidate changes one thing about a network of 200 filters, or is another size. It
learns from part of the training images and is scored on others: of MNIST the first
50,000 and the last 10,000; of CIFAR-10 the first 35,000 and the 5,000 behind them, in
front of the fifth batch, which is what is reported on elsewhere. C is the best of
`C_GRID` for each. Candidates whose results are there already are left out, so that it
can be run in parts.
"""

import argparse
import json
import time
from typing import Any

import numpy as np

import machine
from skdmn import DensityMatrixNetwork, SoftmaxClassifier, recommended_dmn
from skdmn.datasets import load_cifar10, load_mnist
from skdmn.presets import covering

C_GRID = (0.005, 0.01, 0.02, 0.04)
SETS = {  # reader, images learned from, end of those scored on, whether mirrored
    "MNIST": (load_mnist, 50_000, 60_000, False),
    "CIFAR-10": (load_cifar10, 35_000, 40_000, True),
}
CHANGES: dict[str, dict[str, Any]] = {
    "200 filters": {},
    "mirrored, or not": {"mirrored": None},
    **{f"{n} x {n} pixels": {"kernel": n} for n in (4, 5, 6, 7, 8)},
    **{f"{n} x {n} windows": {"cells": n} for n in (2, 3, 4)},
    **{f"threshold {t:g}": {"conv__threshold": t} for t in (0.25, 0.5, 1.0, 1.5)},
    **{
        f"variance cutoff {v:g}": {"conv__variance_cutoff": v} for v in (0.9, 0.98, 1.0)
    },
    **{f"regularization {r:g}": {"conv__regularization": r} for r in (0.1, 1.0)},
    **{
        f"correlation cutoff {c:g}": {"conv__correlation_cutoff": c}
        for c in (0.7, 0.8, 0.95)
    },
    **{f"classes by {n} x {n} parts": {"conv__position_grid": n} for n in (1, 2, 8)},
    "parts without classes": {"conv__class_based": False},
    "averages without the root": {"pool__power": 1.0},
    **{
        f"{n} filters, variance cutoff {v:g}": {
            "n_filters": n,
            "conv__variance_cutoff": v,
        }
        for n in (400, 800, 1600)
        for v in (0.95, 0.98, 1.0)
    },
}


def build(
    shape: tuple[int, ...],
    mirrored: bool,
    *,
    n_filters: int = 200,
    kernel: int | None = None,
    cells: int | None = None,
    **changes: Any,
) -> DensityMatrixNetwork:
    """Return the layers of recommended_dmn with other settings."""
    if "mirrored" in changes:
        mirrored = not mirrored
        del changes["mirrored"]
    network = recommended_dmn(shape, n_filters=n_filters, mirrored=mirrored)["features"]
    side = kernel or network.get_params()["conv__kernel_size"]
    across = cells or (3 if len(shape) == 3 else 4)
    window, stride = covering((shape[0] - side + 1, shape[1] - side + 1), across)
    network.set_params(
        conv__kernel_size=side, pool__pool_size=window, pool__stride=stride, **changes
    )
    return network


def score(
    name: str, changes: dict, data: tuple[np.ndarray, ...], mirrored: bool
) -> dict:
    X, y, X_others, y_others = data
    started = time.perf_counter()
    network = build(X.shape[1:], mirrored, **changes)
    features = network.fit_transform(X, y)
    seconds = time.perf_counter() - started
    features_others = network.transform(X_others)
    accuracy = {
        str(C): 100
        * SoftmaxClassifier(C=C, tol=1e-3)
        .fit(features, y)
        .score(features_others, y_others)
        for C in C_GRID
    }
    conv = network["conv"]
    row = {
        "candidate": name,
        "filters": len(conv.filters_),
        "components": len(conv.components_),
        "n_features": int(features.shape[1]),
        "seconds_layers": seconds,
        "accuracy": accuracy,
    }
    print(row, flush=True)
    return row


def main() -> None:
    parser = machine.parser(__doc__.splitlines()[0], "choose_recommended.json")
    parser.add_argument("--only", choices=SETS)
    options: argparse.Namespace = parser.parse_args()
    kept = json.loads(options.json.read_text()) if options.json.exists() else {}
    results = kept.get("data", {})
    for name in [options.only] if options.only else SETS:
        load, n, end, mirrored = SETS[name]
        X, y = load("train", data_home=options.data)
        data = X[:n], y[:n], X[n:end], y[n:end]
        rows = results.setdefault(name, [])
        there = {row["candidate"] for row in rows}
        for candidate, changes in CHANGES.items():
            if candidate not in there:
                rows.append(score(candidate, changes, data, mirrored))
                machine.write(options.json, {"data": results})


if __name__ == "__main__":
    main()
