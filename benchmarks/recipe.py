"""The search that a user should run first, as a grid and by successive halving.

    python benchmarks/recipe.py --data DIR

The search is over numbers of filters, cutoffs and C of `recommended_dmn` and of the
papers' network, on 6,000 training images of MNIST. The accuracy of the best settings
and of the defaults is measured on other images. `memory` caches density matrices, but a
`DensityMatrixNetwork` computes its features again for each C. Therefore the layers are
searched first, with a medium C, and then C for the best layers only.
"""

import time
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV
from sklearn.pipeline import Pipeline

import machine
from skdmn import make_dmn, recommended_dmn
from skdmn.datasets import load_mnist

N_TRAINING, FOLDS = 6_000, 3
GRIDS: dict[str, dict[str, list]] = {
    "recommended_dmn": {
        "features__conv__n_filters": [50, 100, 200],
        "features__conv__variance_cutoff": [0.9, 0.95, 0.99],
        "features__conv__threshold": [0.5, 1.0],
    },
    "make_dmn": {
        "conv1__n_filters": [4, 8, 16],
        "conv2__n_filters": [64, 128],
        "conv2__correlation_cutoff": [0.5, 0.7, 0.9],
    },
}
C_GRID = [0.003, 0.01, 0.03, 0.1, 0.3, 1.0]
MIDDLE = 0.1


def model(name: str, shape: tuple[int, ...], **options: Any) -> Pipeline:
    if name == "make_dmn":
        return make_dmn(**options)
    return recommended_dmn(shape, **options)


def search(kind: str, estimator: Any, grid: dict) -> Any:
    if kind == "halving":
        return HalvingGridSearchCV(
            estimator, grid, cv=FOLDS, factor=3, min_resources=600, random_state=0
        )
    return GridSearchCV(estimator, grid, cv=FOLDS)


def run(name: str, kind: str, data: tuple[np.ndarray, ...]) -> dict:
    """Search the layers, then C for the best layers."""
    X, y, X_test, y_test = data
    with TemporaryDirectory() as memory:
        started = time.perf_counter()
        network = model(name, X.shape[1:], memory=memory, C=MIDDLE)
        found = search(kind, network, GRIDS[name]).fit(X, y)
        layers = time.perf_counter()
        best = found.best_estimator_
        top = GridSearchCV(best[-1], {"C": C_GRID}, cv=FOLDS)
        top.fit(best[:-1].transform(X), y)
        done = time.perf_counter()
    accuracy = 100 * top.score(best[:-1].transform(X_test), y_test)
    result = {
        "model": name,
        "search": kind,
        "settings": int(np.prod([len(values) for values in GRIDS[name].values()])),
        "seconds": layers - started,
        "seconds_C": done - layers,
        "best": {**found.best_params_, **top.best_params_},
        "accuracy": accuracy,
    }
    print(result, flush=True)
    return result


def defaults(name: str, data: tuple[np.ndarray, ...]) -> dict:
    """Fit without a search."""
    X, y, X_test, y_test = data
    started = time.perf_counter()
    fitted = model(name, X.shape[1:]).fit(X, y)
    seconds = time.perf_counter() - started
    accuracy = 100 * fitted.score(X_test, y_test)
    row = {"model": name, "search": "none (defaults)", "seconds": seconds, "best": {}}
    print({**row, "accuracy": accuracy}, flush=True)
    return {**row, "accuracy": accuracy}


def main() -> None:
    parser = machine.timing_parser(__doc__.splitlines()[0], "recipe.json")
    options = parser.parse_args()
    machine.limit(options.threads)
    machine.keep_memory()
    X, y = load_mnist("train", data_home=options.data)
    n = 900 if options.quick else N_TRAINING
    data = X[:n], y[:n], X[-10_000:], y[-10_000:]
    rows = []
    results = {"n_training": n, "folds": FOLDS, "grids": GRIDS, "rows": rows}
    for name in GRIDS:
        rows.append(defaults(name, data))
        for kind in ("grid", "halving"):
            rows.append(run(name, kind, data))
            machine.write(options.json, results)


if __name__ == "__main__":
    main()
