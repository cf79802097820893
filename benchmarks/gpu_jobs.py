"""Whole jobs on a GPU and on CPUs: from uint8 images in host memory to a classifier.

    python benchmarks/gpu_jobs.py --data DIR

A job fits filters and classifier to training images, then classifies held-out images,
the last sixth of the training files. It runs twice on the GPU, the first time with the
compilation of its kernels, then on all threads of the CPU and on two. torch trains a
ConvNet on the same GPU for some seconds, with all images there. Its learning rate and
batch size are the best of `RATES` and `BATCH_SIZES` on other images that are held out.
"""

import time
from collections.abc import Callable
from statistics import median

import numpy as np
from joblib import cpu_count
from sklearn.pipeline import Pipeline

import machine
from skdmn import make_dmn, recommended_dmn
from skdmn.datasets import load_cifar10, load_mnist

LOADERS = {"MNIST": load_mnist, "CIFAR-10": load_cifar10}
JOBS: dict[str, list[tuple[str, Callable[..., Pipeline], dict]]] = {
    "MNIST": [
        ("two layers of the papers", make_dmn, {}),
        ("recommended, 200 filters", recommended_dmn, {}),
    ],
    "CIFAR-10": [
        ("recommended, 400 filters", recommended_dmn, {}),
        ("recommended, 1,600 filters", recommended_dmn, {"n_filters": 1600}),
    ],
}
CONVNETS = {"MNIST": (32, 64), "CIFAR-10": (64, 128, 256)}
RATES, BATCH_SIZES = (3e-3, 1e-2), (64, 256)
TUNED_FOR, BUDGETS, SEEDS = 3.0, (2.0, 5.0, 15.0), 2  # seconds

Data = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def held_out(X: np.ndarray, y: np.ndarray) -> Data:
    """Hold out the last sixth of the images."""
    n = len(X) - len(X) // 6
    return X[:n], y[:n], X[n:], y[n:]


def timed(model: Pipeline, data: Data) -> dict[str, float]:
    """Return seconds to fit and to predict, and the accuracy."""
    X, y, X_test, y_test = data
    started = time.perf_counter()
    model.fit(X, y)
    fitted = time.perf_counter()
    predicted = model.predict(X_test)
    seconds = time.perf_counter() - fitted
    return {
        "fit": fitted - started,
        "predict": seconds,
        "accuracy": 100 * float((predicted == y_test).mean()),
    }


def job(make: Callable[..., Pipeline], options: dict, data: Data) -> dict:
    """Run a job on the GPU, and on all and two threads of the CPU."""
    options = {**options, "image_shape": data[0].shape[1:]}

    def run(device: str) -> dict[str, float]:
        return timed(make(**options, device=device), data)

    found = {"cuda, first": run("cuda"), "cuda": run("cuda")}
    for threads in (cpu_count(), 2):
        machine.limit(threads)
        few = tuple(part[:100] for part in data)
        timed(make(**options, device="cpu"), few)  # compiles
        found[f"cpu, {threads} threads"] = run("cpu")
    machine.limit(cpu_count())
    return found


def trained(name: str, data: Data) -> list[dict]:
    """Train a ConvNet on the GPU for each budget; return medians of all seeds."""
    from rival import Rival, best_of, train

    models = [
        Rival(CONVNETS[name], rate, size, mirrored=name != "MNIST")
        for rate in RATES
        for size in BATCH_SIZES
    ]
    best, _ = best_of(models, data, TUNED_FOR, "cuda")
    found = []
    for budget in BUDGETS:
        runs = [train(best, data, budget, seed, "cuda") for seed in range(SEEDS)]
        row = {key: median(run[key] for run in runs) for key in runs[0]}
        found.append({"rate": best.rate, "batch_size": best.batch_size, **row})
        print(found[-1], flush=True)
    return found


def main() -> None:
    options = machine.parser(__doc__.splitlines()[0], "gpu_jobs.json").parse_args()
    found: dict[str, dict] = {}
    results = {**machine.gpu(), "data": found}

    def read(name: str) -> tuple[np.ndarray, np.ndarray]:
        return LOADERS[name]("train", data_home=options.data)

    for name, images_and_labels in machine.found(LOADERS, read):
        data = held_out(*images_and_labels)
        found[name] = {"n_training": len(data[0]), "n_test": len(data[2]), "jobs": {}}
        for title, make, settings in JOBS[name]:
            found[name]["jobs"][title] = job(make, settings, data)
            print(title, found[name]["jobs"][title], flush=True)
            machine.write(options.json, results)
        found[name]["trained"] = trained(name, data)
        machine.write(options.json, results)


if __name__ == "__main__":
    main()
