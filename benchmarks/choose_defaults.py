"""Choose the defaults of make_dmn by validation on training images.

    python benchmarks/choose_defaults.py --data DIR

Each candidate is fitted to 6,000 training images of each data set (digits: 1,297) and
scored on 3,000 other training images (digits: 500). Test images are not used. DIR
contains the official files of MNIST and CIFAR-10. Inverted MNIST and greyscale CIFAR-10
represent greyscale images with a bright background: on these, the constant filter alone
explains most of the uncentred variance. Candidates that already have results are
skipped.
"""

import time

import numpy as np
from joblib import Parallel, delayed
from sklearn.model_selection import train_test_split

import machine
from scoring import by_C
from skdmn import make_dmn
from skdmn.datasets import load_cifar10, load_digits_images, load_mnist

N_TRAIN, N_VALIDATION = 6000, 3000
C_GRID = (0.1, 0.03, 0.01, 0.003)

ROBUST = {
    "variance_cutoff": 0.999,
    "correlation_cutoff": 0.9,
    "signs": "both",
    "n_filters": [8, 64],
}
WIDER = {**ROBUST, "n_filters": [8, 96], "pool_size": [2, 3]}
PAPER = {
    "padding": "valid",
    "signs": "one",
    "n_filters": None,
    "pool_size": 2,
    "correlation_cutoff": 0.9,
}
CANDIDATES = {
    "paper, 0.95": {**PAPER, "variance_cutoff": 0.95, "n_layers": 1},
    "paper, 0.99": {**PAPER, "variance_cutoff": 0.99, "n_layers": 1},
    "0.99, two-sided": {
        "variance_cutoff": 0.99,
        "correlation_cutoff": 0.9,
        "n_filters": None,
        "pool_size": 2,
        "n_layers": 1,
    },
    "one layer, 16 filters": {**ROBUST, "n_layers": 1, "n_filters": 16, "pool_size": 3},
    "0.99 in both layers": {**ROBUST, "variance_cutoff": 0.99, "pool_size": [2, 3]},
    "8 and 64 filters, pools 2, 2": {**ROBUST, "pool_size": [2, 2]},
    "8 and 64 filters, pools 2, 3": {**ROBUST, "pool_size": [2, 3]},
    "8 and 64 filters, pools 2, 4": {**ROBUST, "pool_size": [2, 4]},
    "the same, one-sided": {**ROBUST, "signs": "one", "pool_size": [2, 3]},
    "the same, centred": {**ROBUST, "centered": True, "pool_size": [2, 3]},
    "the same, 0.95 correlation": {
        **ROBUST,
        "correlation_cutoff": 0.95,
        "pool_size": [2, 3],
    },
    "16 and 64 filters, pools 2, 3": {
        **ROBUST,
        "n_filters": [16, 64],
        "pool_size": [2, 3],
    },
    "8 and 96 filters, pools 2, 3": WIDER,
    "8 and 96, 0.8 correlation": {**WIDER, "correlation_cutoff": 0.8},
    "8 and 96, 0.7 correlation": {**WIDER, "correlation_cutoff": 0.7},
    "8 and 96, 0.5 correlation": {**WIDER, "correlation_cutoff": 0.5},
    "8 and 96, 0.5 in the second layer": {**WIDER, "correlation_cutoff": [0.9, 0.5]},
    "8 and 96, 0.3 in the second layer": {**WIDER, "correlation_cutoff": [0.9, 0.3]},
    "16 and 96, 0.5 in the second layer": {
        **WIDER,
        "n_filters": [16, 96],
        "correlation_cutoff": [0.9, 0.5],
    },
}


def splits(data: str) -> dict[str, list[np.ndarray]]:
    """Return training and validation images and labels of each data set."""
    mnist, digit = load_mnist("train", data_home=data)
    cifar, thing = load_cifar10("train", data_home=data)
    # the last fifth is held out for reporting
    cifar, thing = cifar[:40_000], thing[:40_000]
    grey = cifar[:, 2:30, 2:30].mean(axis=3).astype(np.uint8)
    sets = {
        "digits": load_digits_images(),
        "MNIST": (mnist, digit),
        "MNIST inverted": (255 - mnist, digit),
        "CIFAR-10": (cifar, thing),
        "CIFAR-10 grey": (grey, thing),
    }
    return {
        name: train_test_split(
            X,
            y,
            train_size=min(N_TRAIN, len(X) - 500),
            test_size=500 if len(X) < N_TRAIN else N_VALIDATION,
            stratify=y,
            random_state=0,
        )
        for name, (X, y) in sets.items()
    }


def score(name: str, options: dict, dataset: str, split: list[np.ndarray]) -> dict:
    """Return the validation accuracy of a candidate for each C."""
    X, X_val, y, y_val = split
    started = time.perf_counter()
    layers = make_dmn(**options)[:-1]
    features, features_val = layers.fit_transform(X, y), layers.transform(X_val)
    seconds = time.perf_counter() - started
    filters = [len(step.filters_) for n, step in layers.steps if "conv" in n]
    found = by_C(C_GRID, (features, y), (features_val, y_val), tol=1e-5)
    result = {
        "candidate": name,
        "data": dataset,
        "filters": filters,
        "n_features": int(features.shape[1]),
        "seconds_layers": seconds,
        "accuracy": {str(C): accuracy for C, accuracy in found.items()},
    }
    print(result, flush=True)
    return result


def main() -> None:
    options = machine.parser(__doc__.splitlines()[0], "choose_defaults.json")
    options = options.parse_args()
    rows = machine.kept(options.json).get("rows", [])
    there = {(row["candidate"], row["data"]) for row in rows}
    rows += Parallel(n_jobs=2)(
        delayed(score)(name, candidate, dataset, split)
        for dataset, split in splits(options.data).items()
        for name, candidate in CANDIDATES.items()
        if (name, dataset) not in there
    )
    machine.write(options.json, {"rows": rows})
    for name in CANDIDATES:
        best = [
            f"{row['data']} {row['accuracy']['0.01']:.1f}"
            for row in rows
            if row["candidate"] == name
        ]
        print(f"{name:32} {', '.join(best)}")


if __name__ == "__main__":
    main()
