"""Accuracy of networks with one setting changed at a time.

    python benchmarks/ablations.py --data DIR

There are two base networks: a network of the papers' layers, and `recommended_dmn` with
100 filters. Each row changes one setting of one of them. Without a ReLU, two-sided
features contain nothing new, so these rows have one-sided features and are compared
with the row of one-sided features. Without whitening, rows have no threshold and are
compared with the row without threshold.

The networks are fitted to 10,000 training images and scored on 10,000 held-out ones. C
is chosen on a fifth of the former. The seconds are those of the layers, the features
and the last softmax.
"""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

import machine
from scoring import best_C, softmax
from skdmn import (
    AveragePool2DTransformer,
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    MaxPool2DTransformer,
    OverlapPruner,
    recommended_dmn,
)
from skdmn.datasets import load_cifar10, load_mnist

N_TRAINING = N_HELD_OUT = 10_000
C_GRID = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
LOAD = {"MNIST": load_mnist, "CIFAR-10": load_cifar10}

Data = tuple[np.ndarray, ...]
Layers = list[Any]


def conv(n_filters: int, kernel: int = 3, **options: Any) -> ClassPCAPatchTransformer:
    options = {"variance_cutoff": 0.9999, "signs": "both", **options}
    return ClassPCAPatchTransformer(kernel, n_filters=n_filters, **options)


def two(
    first: dict | None = None, second: dict | None = None, after: Layers | None = None
) -> Layers:
    """Return the base with other options, or with other layers after the second."""
    pools = [MaxPool2DTransformer(3)] if after is None else after
    return [
        conv(**{"n_filters": 8, **(first or {})}),
        MaxPool2DTransformer(2),
        conv(**{"n_filters": 48, **(second or {})}),
        *pools,
    ]


def both(**options: Any) -> Layers:
    return two(options, options)


BASE, ONE_SIGN = "two layers, 8 and 48 filters, two-sided", "one-sided"
PAPERS: dict[str, Layers] = {
    BASE: two(),
    "one density matrix for all classes (naive)": both(class_based=False),
    ONE_SIGN: both(signs="one"),
    "one-sided, twice the filters": two(
        {"signs": "one", "n_filters": 16}, {"signs": "one", "n_filters": 96}
    ),
    "no ReLU": both(signs="one", activation=None),
    "no ReLU in the second layer": two(None, {"signs": "one", "activation": None}),
    "centred": both(centered=True),
    "variance cutoff 0.95": both(variance_cutoff=0.95),
    "variance cutoff 0.99": both(variance_cutoff=0.99),
    "correlation cutoff 0.5": both(correlation_cutoff=0.5),
    "correlation cutoff 1": both(correlation_cutoff=1.0),
    "5 x 5 in the first layer": two({"kernel": 5}),
    "5 x 5 in the second layer": two(None, {"kernel": 5}),
    "no pooling in the second layer": two(None, {"stride": 3}, []),
    "average pooling in the second layer": two(
        None, None, [AveragePool2DTransformer(3)]
    ),
    "overlap channels pruned before pooling": two(
        None, None, [OverlapPruner(2), MaxPool2DTransformer(3)]
    ),
    "no pooling in the first layer": [
        *(conv(8), conv(48), MaxPool2DTransformer(6)),
    ],
    "one layer, 8 filters": [conv(8), MaxPool2DTransformer(2)],
    "three layers": [
        *(conv(8), MaxPool2DTransformer(2), conv(48), MaxPool2DTransformer(2)),
        *(conv(48, padding="same"), MaxPool2DTransformer(2)),
    ],
    "density matrices from 10 % of the images": both(subsample=0.1, random_state=0),
}
WHITENED_BASE, NO_THRESHOLD = "recommended_dmn, 100 filters", "no threshold"
WHITENED: dict[str, dict[str, Any]] = {  # parameters of its layers
    WHITENED_BASE: {},
    "all components": {"conv__variance_cutoff": 1.0},
    "groups: classes only": {"conv__position_grid": 1},
    "groups: cells only": {"conv__class_based": False},
    "almost no contrast normalization": {"conv__contrast_floor": 1e5},
    NO_THRESHOLD: {"conv__threshold": 0.0},
    "almost no whitening, no threshold": {  # thresholds assume mean square 1
        "conv__regularization": 100.0,
        "conv__threshold": 0.0,
    },
    "average pooling without square root": {"pool__power": 1.0},
    "horizontal-flip averaging (mirrored)": {"mirrored": True, "conv__mirrored": True},
}


def networks(shape: tuple[int, ...]) -> Iterator[tuple[str, str, DensityMatrixNetwork]]:
    """Yield the name of each row, the name of its base, and the unfitted network."""
    for name, layers in PAPERS.items():
        steps = [(f"layer{i}", layer) for i, layer in enumerate(layers)]
        base = ONE_SIGN if name == "no ReLU" else BASE
        yield name, base, DensityMatrixNetwork(steps)
    for name, changes in WHITENED.items():
        network = recommended_dmn(shape, n_filters=100, subsample=0.5)["features"]
        is_variant = NO_THRESHOLD in name and name != NO_THRESHOLD
        base = NO_THRESHOLD if is_variant else WHITENED_BASE
        yield name, base, network.set_params(**changes)


def run(name: str, base: str, network: DensityMatrixNetwork, data: Data) -> dict:
    X, y, X_test, y_test = data
    started = time.perf_counter()
    features = network.fit_transform(X, y)
    computed = time.perf_counter()
    C = best_C(features, y, C_GRID)
    chosen = time.perf_counter()
    top = softmax(C).fit(features, y)
    seconds = time.perf_counter() - chosen + computed - started
    accuracy = 100 * top.score(network.transform(X_test), y_test)
    found = {"row": name, "base": base, "accuracy": accuracy, "seconds": seconds}
    found |= {"C": C, "n_features": int(features.shape[1])}
    print(found, flush=True)
    return found


def main() -> None:
    parser = machine.timing_parser(__doc__.splitlines()[0], "ablations.json")
    options = parser.parse_args()
    machine.limit(options.threads)
    machine.keep_memory()
    results: dict = {"n_training": N_TRAINING, "n_held_out": N_HELD_OUT, "data": {}}
    for name, load in LOAD.items():
        X, y = load("train", data_home=options.data)
        order = np.random.default_rng(0).permutation(40_000)
        n = 500 if options.quick else N_TRAINING
        some, others = order[:n], order[-N_HELD_OUT:]
        data = X[some], y[some], X[others], y[others]
        rows = list(networks(X.shape[1:]))
        for row in (rows[0], rows[-1]):  # load kernels
            run(*row, tuple(part[:300] for part in data))
        results["data"][name] = [run(*row, data) for row in rows]
        machine.write(options.json, results)


if __name__ == "__main__":
    main()
