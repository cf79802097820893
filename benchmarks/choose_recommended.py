"""Choose the settings of recommended_dmn by validation on training images.

    python benchmarks/choose_recommended.py --data DIR [--only CIFAR-10]

Each candidate changes one setting of a network of 200 filters, or is a larger network.
It is fitted to a part of the training images and scored on others: for MNIST the first
50,000 and the last 10,000; for CIFAR-10 the first 35,000 and the next 5,000 (the fifth
batch is the test set of the other benchmarks). C is the best of four values for each
candidate. Candidates that already have results are skipped, so the script can be run in
parts.
"""

import argparse
import time
from typing import Any

import numpy as np

import machine
from scoring import by_C
from skdmn import DensityMatrixNetwork, recommended_dmn
from skdmn.datasets import load_cifar10, load_mnist
from skdmn.presets import covering

# loader, end of training and of validation images, mirrored, C, larger networks
SETS: dict[str, tuple] = {
    "MNIST": (load_mnist, 50_000, 60_000, False, (0.005, 0.01, 0.02, 0.04), (400,)),
    "CIFAR-10": (
        load_cifar10,
        35_000,
        40_000,
        True,
        (0.01, 0.02, 0.04, 0.08),
        (400, 800),
    ),
}


def _each(words: str, values: tuple[float, ...]) -> dict[str, dict[str, Any]]:
    """Return a candidate for each value of a parameter of the convolution."""
    name = f"conv__{words.replace(' ', '_')}"
    return {f"{words} {value:g}": {name: value} for value in values}


CHANGES: dict[str, dict[str, Any]] = {
    "200 filters": {},
    "opposite value of mirrored": {"toggled": True},
    **{f"patch size {n:+d}": {"larger": n} for n in (-2, -1, 1, 2)},
    **{f"pooling grid {n:+d}": {"finer": n} for n in (-1, 1)},
    **{f"threshold times {f:g}": {"threshold": f} for f in (0.5, 2.0)},
    **_each("variance cutoff", (0.9, 0.98, 1.0)),
    **_each("regularization", (0.1, 1.0)),
    **_each("correlation cutoff", (0.7, 0.8, 0.95)),
    **_each("position grid", (1, 2, 8)),
    "groups: cells only": {"conv__class_based": False},
    "average pooling without square root": {"pool__power": 1.0},
}


def sizes(counts: tuple[int, ...]) -> dict[str, dict[str, Any]]:
    """Return candidates with more filters and the best other changes."""
    others: dict[str, dict[str, Any]] = {
        **_each("variance cutoff", (0.95, 0.98, 1.0)),
        "patch size -1": {"larger": -1, "conv__variance_cutoff": 0.98},
        "correlation cutoff 0.7": {
            "conv__correlation_cutoff": 0.7,
            "conv__variance_cutoff": 0.98,
        },
    }
    return {
        f"{n} filters, {words}": {"n_filters": n, **changes}
        for n in counts
        for words, changes in others.items()
    }


def build(
    shape: tuple[int, ...],
    mirrored: bool,
    *,
    n_filters: int = 200,
    toggled: bool = False,
    larger: int = 0,
    finer: int = 0,
    threshold: float = 1.0,
    **changes: Any,
) -> DensityMatrixNetwork:
    """Return the layers of recommended_dmn with other settings."""
    dmn = recommended_dmn(shape, n_filters=n_filters, mirrored=mirrored != toggled)
    network = dmn["features"]
    given = network.get_params()
    side = given["conv__kernel_size"] + larger
    positions = shape[0] - given["conv__kernel_size"] + 1
    window, stride = (given[f"pool__{n}"][0] for n in ("pool_size", "stride"))
    cells = (positions - window) // stride + 1 + finer
    window, stride = covering((shape[0] - side + 1, shape[1] - side + 1), cells)
    return network.set_params(
        conv__kernel_size=side,
        conv__threshold=given["conv__threshold"] * threshold,
        pool__pool_size=window,
        pool__stride=stride,
        **changes,
    )


def score(
    name: str,
    changes: dict,
    data: tuple[np.ndarray, ...],
    mirrored: bool,
    grid: tuple[float, ...],
) -> dict:
    X, y, X_others, y_others = data
    started = time.perf_counter()
    network = build(X.shape[1:], mirrored, **changes)
    features = network.fit_transform(X, y)
    seconds = time.perf_counter() - started
    others = network.transform(X_others), y_others
    accuracy = by_C(grid, (features, y), others, tol=1e-3)
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
    results = machine.kept(options.json).get("data", {})
    for name in [options.only] if options.only else SETS:
        load, n, end, mirrored, grid, more = SETS[name]
        X, y = load("train", data_home=options.data)
        data = X[:n], y[:n], X[n:end], y[n:end]
        rows = results.setdefault(name, [])
        there = {row["candidate"] for row in rows}
        for candidate, changes in (CHANGES | sizes(more)).items():
            if candidate not in there:
                rows.append(score(candidate, changes, data, mirrored, grid))
                machine.write(options.json, {"data": results})


if __name__ == "__main__":
    main()
