"""What each part costs for an image, a filter, a merge; and what many images will.

    python benchmarks/costs.py

Measured on images made on the spot: density matrices and features of two layers,
merging of accumulators, eigenvectors, passes of the softmax. From them, by calculation
alone: ImageNet-1k at 224 pixels and a billion thumbnails of 32 pixels on workers like
this machine. The network between workers is an assumption, `NETWORK`.
"""

import math
import time
from collections.abc import Callable
from statistics import median

import numpy as np

import machine
from skdmn import (
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    MaxPool2DTransformer,
    SoftmaxClassifier,
)
from skdmn.core.density import DensityAccumulator
from skdmn.core.filters import eigenbases

KERNEL, FILTERS = (3, 3), (32, 64)  # of both layers, each pooled
GRID = 6  # pooled to, in the end
REPEATS = 5
NETWORK = 1.25e9  # bytes per second into a worker: 10 Gbit/s, assumed
WORKERS = (1, 10, 100, 1000)
# images, their number, their classes
PLANS = {
    "ImageNet-1k, 224 x 224": (1_281_167, 224, 1000),
    "a billion thumbnails, 32 x 32": (1_000_000_000, 32, 1000),
}
MEASURED = {224: 64, 32: 2048}  # images of a size


def seconds(run: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the median of some runs, after one that does not count."""
    run()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return median(times)


def conv(n_filters: int) -> ClassPCAPatchTransformer:
    return ClassPCAPatchTransformer(
        KERNEL, n_filters=n_filters, variance_cutoff=1.0, correlation_cutoff=1.0
    )


def some_images(size: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return noise: what things cost does not depend on what is seen."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    return images, np.arange(n) % 10


def density(images: np.ndarray, labels: np.ndarray) -> float:
    """Return seconds an image in the sums of outer products."""
    found = DensityAccumulator.empty(10, KERNEL, images.shape[3], centered=False)
    return seconds(lambda: found.update(images, labels)) / len(images)


def of_images(size: int, quick: bool) -> dict[str, float]:
    """Return seconds an image in each pass over the data."""
    n = max(MEASURED[size] // (8 if quick else 1), 10)
    images, labels = some_images(size, n)
    pool = MaxPool2DTransformer(2)
    first = [("conv1", conv(FILTERS[0])), ("pool1", pool)]
    below = DensityMatrixNetwork(first).fit(images, labels)
    maps = below.transform_images(images)
    last = -(-((maps.shape[1] - 2) // 2) // GRID)
    both = [*first, ("conv2", conv(FILTERS[1])), ("pool2", MaxPool2DTransformer(2))]
    both += [("grid", MaxPool2DTransformer(last, padding="same"))]
    network = DensityMatrixNetwork(both).fit(images, labels)
    narrow = DensityMatrixNetwork([("conv1", conv(8)), ("pool1", pool)])
    narrow.fit(images, labels)
    features = seconds(lambda: below.transform(images)) / n
    fewer = seconds(lambda: narrow.transform(images)) / n
    found = {
        "density 1": density(images, labels),
        "features 1": features,
        "a filter of layer 1": (features - fewer) / (FILTERS[0] - 8),
        "density 2": density(maps, labels),
        "features 1 and 2": seconds(lambda: network.transform(images)) / n,
        "n_features": int(network.transform(images[:1]).shape[1]),
    }
    print(size, found, flush=True)
    return found


def of_merging(n_classes: int, d: int) -> dict[str, float]:
    """Return what it costs to add two accumulators, and to find all eigenvectors."""
    one, other = (
        DensityAccumulator.empty(n_classes, (1, 1), d, centered=False) for _ in "ab"
    )
    rng = np.random.default_rng(0)
    some = rng.normal(size=(min(n_classes, 20), d, 2 * d))
    matrices = some @ some.swapaxes(1, 2)
    return {
        "classes": n_classes,
        "d": d,
        "bytes": one.outer_products.nbytes,
        "seconds": seconds(lambda: one.merge(other)),
        "eigenvectors": seconds(lambda: eigenbases(matrices)) / len(matrices),
    }


def of_softmax(n: int, n_features: int, n_classes: int) -> dict[str, float]:
    """Return what a fit costs, for an image, a feature and a class in each step."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(n_classes, n_features)).astype(np.float32)
    y = np.arange(n) % n_classes
    X = centres[y] + 3 * rng.normal(size=(n, n_features)).astype(np.float32)
    softmax = SoftmaxClassifier(C=0.01, tol=1e-3)
    spent = seconds(lambda: softmax.fit(X, y), 1)
    steps = int(np.max(softmax.n_iter_))
    return {"steps": steps, "of one": spent / (steps * n * n_features * n_classes)}


def calculated(name: str, images: dict, softmax: dict, merging: list[dict]) -> dict:
    """Return bytes and seconds of a plan, for each number of workers."""
    n, size, n_classes = PLANS[name]
    of_one = images[size]
    bandwidth = merging[-1]["bytes"] / merging[-1]["seconds"]  # of adding
    passes = {
        "density 1": n * of_one["density 1"],
        "density 2": n * (of_one["features 1"] + of_one["density 2"]),
        "features": n * of_one["features 1 and 2"],
    }
    dimensions = (KERNEL[0] * KERNEL[1] * 3, KERNEL[0] * KERNEL[1] * FILTERS[0])
    matrices = [n_classes * d**2 * 8 for d in dimensions]
    eigenvectors = n_classes * sum(row["eigenvectors"] for row in merging[:2])
    round_trip = [size / NETWORK + size / bandwidth for size in matrices]
    step = softmax["of one"] * n * of_one["n_features"] * n_classes
    model = of_one["n_features"] * n_classes * 8
    rows = []
    for workers in WORKERS:
        rounds = math.ceil(math.log2(workers))
        layers = sum(passes.values()) / workers
        reduction = rounds * sum(round_trip)
        steps = softmax["steps"] * (step / workers + rounds * model / NETWORK)
        rows.append(
            {
                "workers": workers,
                "layers": layers,
                "reduction": reduction + eigenvectors,
                "softmax": steps,
            }
        )
    return {
        "plan": name,
        "images": n * size * size * 3,
        "features": n * of_one["n_features"] * 4,
        "matrices": matrices,
        "passes": passes,
        # reducing takes a tenth of what the passes take
        "most_workers": _most_workers(sum(passes.values()), sum(round_trip)),
        "rows": rows,
    }


def _most_workers(work: float, merge: float) -> int:
    """Return how many workers spend a tenth of their time on the reduction."""
    workers = 2
    while math.log2(2 * workers) * merge < 0.1 * work / (2 * workers):
        workers *= 2
    return workers


def main() -> None:
    parser = machine.timing_parser(__doc__.splitlines()[0], "costs.json")
    options = parser.parse_args()
    machine.limit(options.threads)
    machine.keep_memory()
    images = {size: of_images(size, options.quick) for size in MEASURED}
    d = KERNEL[0] * KERNEL[1] * 3, KERNEL[0] * KERNEL[1] * FILTERS[0]
    merging = [of_merging(1000, d[0]), of_merging(100, d[1])]
    n = 2_000 if options.quick else 20_000
    softmax = of_softmax(n, images[32]["n_features"], 100)
    print(merging, softmax, flush=True)
    plans = [calculated(name, images, softmax, merging) for name in PLANS]
    machine.write(
        options.json,
        {"images": images, "merging": merging, "softmax": softmax, "plans": plans},
    )


if __name__ == "__main__":
    main()
