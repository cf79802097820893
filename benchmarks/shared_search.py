"""CutoffSearchCV against GridSearchCV with `memory`: time, and differences of scores.

    python benchmarks/shared_search.py --data DIR
    python benchmarks/shared_search.py --data DIR --memory

The data are MNIST images in three folds, and the softmax is the package's own in both
searches. The searches are run alternately; the times are medians, without the fit of
the best setting to all data. CPU times are those of all threads. The cache of `memory`
is empty at the start of each search. The time of one fit is that of the best setting
on two thirds of the images.

With `--memory`, the peak memory of the search is measured instead, minus the memory
before it, with two values of scikit-learn's `working_memory`; and that of a plain
search of one setting, that with the most features.
"""

import json
import time
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline

import machine
from memory import forget_peak, memory
from skdmn import ClassPCAPatchTransformer, MaxPool2DTransformer, SoftmaxClassifier
from skdmn.datasets import load_mnist
from skdmn.model_selection import CutoffSearchCV

FOLDS = 3
IMAGES = 6_000
ONE_LAYER = {
    "conv1__variance_cutoff": [0.8, 0.9, 0.95, 0.98, 0.99],
    "conv1__correlation_cutoff": [0.5, 0.7, 0.9, 0.95],
    "softmax__C": [0.001, 0.003, 0.01, 0.03, 0.1],
}
TWO_LAYERS = {
    "conv1__n_filters": [4, 6, 8],
    "conv2__n_filters": [16, 32, 64],
    "softmax__C": [0.003, 0.01, 0.03],
}
BUDGETS = (1024, 64)  # MiB; the first is scikit-learn's default
CASES = {"one layer": ONE_LAYER, "two layers": TWO_LAYERS}


def network(case: str, tol: float, memory: str | None = None) -> Pipeline:
    """Return the estimator of a case."""
    layers = [("conv1", ClassPCAPatchTransformer(3, memory=memory))]
    if case == "one layer":
        layers += [("pool1", MaxPool2DTransformer(4, padding="same"))]
    else:
        layers += [
            ("pool1", MaxPool2DTransformer(2)),
            ("conv2", ClassPCAPatchTransformer(3, variance_cutoff=0.99, memory=memory)),
            ("pool2", MaxPool2DTransformer(3)),
        ]
    return Pipeline([*layers, ("softmax", SoftmaxClassifier(tol=tol))])


def seconds_of(search, X, y) -> tuple[float, float]:
    """Return the wall time and the CPU time of a fit."""
    wall, cpu = time.perf_counter(), time.process_time()
    search.fit(X, y)
    return time.perf_counter() - wall, time.process_time() - cpu


def compare(case: str, tol: float, repeats: int, X, y) -> dict:
    """Run both searches alternately."""
    how = {"cv": StratifiedKFold(FOLDS), "refit": False}
    times: dict[str, list[tuple[float, float]]] = {"plain": [], "shared": []}
    for _ in range(repeats):
        shared = CutoffSearchCV(network(case, tol), CASES[case], **how)
        times["shared"].append(seconds_of(shared, X, y))
        with TemporaryDirectory() as folder:
            plain = GridSearchCV(network(case, tol, folder), CASES[case], **how)
            times["plain"].append(seconds_of(plain, X, y))
    scores = [one.cv_results_["mean_test_score"] for one in (plain, shared)]
    best = clone(shared.estimator).set_params(**shared.best_params_)
    some = len(X) * (FOLDS - 1) // FOLDS
    fits = [seconds_of(clone(best), X[:some], y[:some])[0] for _ in range(3)]
    seconds, cpu_seconds = (
        {name: median(run[kind] for run in runs) for name, runs in times.items()}
        for kind in (0, 1)
    )
    return {
        "case": case,
        "tol": tol,
        "settings": len(scores[0]),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "runs": {name: [run[0] for run in runs] for name, runs in times.items()},
        "ratio": seconds["plain"] / seconds["shared"],
        "cpu_ratio": cpu_seconds["plain"] / cpu_seconds["shared"],
        "one_fit": median(fits),
        "largest_difference": 100 * float(np.abs(scores[1] - scores[0]).max()),
        "is_best_equal": plain.best_params_ == shared.best_params_,
        "accuracy": 100 * float(shared.best_score_),
    }


def memory_beside(search, X, y) -> int:
    """Return the peak memory of a search beside what was there before, in bytes."""
    forget_peak()
    before = memory("VmRSS")
    search.fit(X, y)
    return memory("VmHWM") - before


def memories(case: str, X, y) -> list[dict]:
    """Measure the memory of a search with several budgets, and of its largest fit."""
    how = {"cv": StratifiedKFold(FOLDS), "refit": False}
    shared = CutoffSearchCV(network(case, 1e-2), CASES[case], **how)
    shared.fit(X[: len(X) // 10], y[: len(X) // 10])  # load kernels
    found = []
    for budget in BUDGETS:
        with config_context(working_memory=budget):
            peak = memory_beside(shared, X, y)
        largest = int(np.argmax(shared.n_features_of_settings_))
        setting = shared.cv_results_["params"][largest]
        alone = GridSearchCV(
            network(case, 1e-2), {name: [value] for name, value in setting.items()}
        ).set_params(**how)
        found.append(
            {
                "case": case,
                "settings": len(shared.cv_results_["params"]),
                "budget": budget * 2**20,
                "beside": peak,
                "one_fit": memory_beside(alone, X, y),
            }
        )
        print(found[-1], flush=True)
    return found


def main() -> None:
    parser = machine.timing_parser(__doc__.splitlines()[0], "shared_search.json")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="measure memory only")
    options = parser.parse_args()
    machine.limit(options.threads)
    X, y = load_mnist("train", data_home=options.data)
    n = IMAGES // 10 if options.quick else IMAGES
    X, y = X[:n], y[:n]
    rows = []
    known = json.loads(options.json.read_text()) if options.json.exists() else {}
    results = {"data": f"MNIST, {n} training images", "folds": FOLDS, "rows": rows}
    if options.memory:
        results = known or results
        results["memory"] = [one for case in CASES for one in memories(case, X, y)]
        machine.write(options.json, results)
        return
    if "memory" in known:  # of an earlier run
        results["memory"] = known["memory"]
    for case in CASES:
        compare(case, 1e-2, 1, X[: n // 10], y[: n // 10])  # load kernels
        for tol in (1e-2, 1e-5):
            rows.append(compare(case, tol, options.repeats, X, y))
            print(rows[-1], flush=True)
            machine.write(options.json, results)


if __name__ == "__main__":
    main()
