"""Cost of each part of a fit, and estimates for large data sets.

    python benchmarks/costs.py

The costs are measured on generated images: density matrices and features of two layers,
merging of accumulators, eigenvectors, and passes of the softmax. From these we
calculate the time for ImageNet-1k at 224 pixels and for a billion thumbnails of 32
pixels, on workers like this machine. The bandwidth between workers is an assumption,
`NETWORK`.
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
from skdmn.statistics.density import DensityAccumulator
from skdmn.statistics.filters import eigenbases

KERNEL, FILTERS = (3, 3), (32, 64)  # of both layers, each followed by pooling
GRID = 6  # size of the last pooling grid
REPEATS = 5
NETWORK = 1.25e9  # bytes per second into a worker: 10 Gbit/s, assumed
WORKERS = (1, 10, 100, 1000)
N_CLASSES = 1000
PLANS = {  # size and number of the images
    "ImageNet-1k, 224 x 224": (1_281_167, 224),
    "a billion thumbnails, 32 x 32": (1_000_000_000, 32),
}
MEASURED = {
    224: (148, 37),
    32: (7280, 1820),
}  # number of images, and batch size
BLOCK = 128 * 2**20  # bytes of images in a block of Dask
FAN_IN = 8  # sums that one task of `skdmn.distributed` merges
TASK = 0.006  # seconds that Dask takes for a block in every pass (on_dask.json)


def seconds(run: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the median of several runs, after one run that is not counted."""
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
    """Return noise: the costs do not depend on the content of the images."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    return images, rng.integers(0, N_CLASSES, n)


def density(images: np.ndarray, labels: np.ndarray, batch: int) -> float:
    """Return seconds per image for the sums of outer products, batch by batch."""
    n_channels = images.shape[3]
    found = DensityAccumulator.empty(N_CLASSES, KERNEL, n_channels, centered=False)

    def run() -> None:
        for first in range(0, len(images), batch):
            some = slice(first, first + batch)
            found.update(images[some], labels[some])

    return seconds(run) / len(images)


def of_images(size: int, quick: bool) -> dict[str, float]:
    """Return seconds per image in each pass over the data."""
    n, batch = MEASURED[size]
    n = batch if quick else n
    images, labels = some_images(size, n)
    ten = labels % 10  # classes of the filters, which are not timed
    pool = MaxPool2DTransformer(2)
    first = [("conv1", conv(FILTERS[0])), ("pool1", pool)]
    below = DensityMatrixNetwork(first).fit(images, ten)
    maps = below.transform_images(images)
    last = -(-((maps.shape[1] - 2) // 2) // GRID)
    both = [*first, ("conv2", conv(FILTERS[1])), ("pool2", MaxPool2DTransformer(2))]
    both += [("grid", MaxPool2DTransformer(last, padding="same"))]
    network = DensityMatrixNetwork(both).fit(images, ten)
    narrow = DensityMatrixNetwork([("conv1", conv(8)), ("pool1", pool)])
    narrow.fit(images, ten)
    features = seconds(lambda: below.transform(images)) / n
    fewer = seconds(lambda: narrow.transform(images)) / n
    found = {
        "density 1": density(images, labels, batch),
        "features 1": features,
        "a filter of layer 1": (features - fewer) / (FILTERS[0] - 8),
        "density 2": density(maps, labels, batch),
        "features 1 and 2": seconds(lambda: network.transform(images)) / n,
        "n_features": int(network.transform(images[:1]).shape[1]),
    }
    print(size, found, flush=True)
    return found


def of_merging(n_classes: int, d: int) -> dict[str, float]:
    """Return the cost of adding two accumulators, and of all eigenvectors."""
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
    """Return the cost of a fit, per image, feature and class in each pass."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(n_classes, n_features)).astype(np.float32)
    y = np.arange(n) % n_classes
    X = centres[y] + 3 * rng.normal(size=(n, n_features)).astype(np.float32)
    softmax = SoftmaxClassifier(C=0.01, tol=1e-3)
    spent = seconds(lambda: softmax.fit(X, y), 1)
    passes = softmax.n_passes_
    return {"passes": passes, "of one": spent / (passes * n * n_features * n_classes)}


def reduced(
    n_blocks: int, of_block: float, whole: float, speed: float
) -> dict[str, float]:
    """Return the cost of merging the sums of blocks as in `skdmn.distributed`.

    Returns bytes, seconds that the workers share, and sequential seconds, which do not
    depend on the number of workers.
    """
    merged = n_blocks * of_block + n_blocks / (FAN_IN - 1) * whole
    rounds = math.ceil(math.log(n_blocks, FAN_IN))
    a_byte = 1 / NETWORK + 1 / speed
    return {
        "bytes": merged,
        "shared": merged * a_byte,
        "alone": rounds * FAN_IN * whole * a_byte,
    }


def calculated(name: str, images: dict, softmax: dict, merging: list[dict]) -> dict:
    """Return bytes and seconds of a plan, for each number of workers."""
    n, size = PLANS[name]
    of_one = images[size]
    passes = {
        "density 1": n * of_one["density 1"],
        "density 2": n * (of_one["features 1"] + of_one["density 2"]),
        "features": n * of_one["features 1 and 2"],
    }
    an_image = size * size * 3
    n_blocks = math.ceil(n * an_image / BLOCK)
    in_block = N_CLASSES * (1 - (1 - 1 / N_CLASSES) ** (BLOCK // an_image))
    speeds = [row["bytes"] / row["seconds"] for row in merging]
    reductions = [
        reduced(
            n_blocks, 8 * row["d"] ** 2 * in_block, 8 * row["d"] ** 2 * N_CLASSES, s
        )
        for row, s in zip(merging, speeds, strict=True)
    ]
    bytes_, shared, alone = (
        sum(r[part] for r in reductions) for part in ("bytes", "shared", "alone")
    )
    alone += N_CLASSES * sum(row["eigenvectors"] for row in merging)
    gradient = 8 * N_CLASSES * (of_one["n_features"] + 1)
    gradients = reduced(n_blocks, gradient, gradient, speeds[0])
    a_pass = softmax["of one"] * n * of_one["n_features"] * N_CLASSES
    n_passes = softmax["passes"]
    rows = [
        {
            "workers": workers,
            "layers": sum(passes.values()) / workers,
            "reduction": shared / workers + alone,
            "softmax": n_passes
            * ((a_pass + gradients["shared"]) / workers + gradients["alone"]),
            "tasks": (len(passes) + n_passes) * n_blocks * TASK,
        }
        for workers in WORKERS
    ]
    kept = n * of_one["n_features"] * 4
    # the sequential part takes a tenth of the shared part
    all_alone = alone + n_passes * gradients["alone"] + rows[0]["tasks"]
    all_shared = sum(passes.values()) + n_passes * a_pass
    return {
        "plan": name,
        "images": n * an_image,
        "blocks": n_blocks,
        "features": kept,
        "matrices": [N_CLASSES * row["d"] ** 2 * 8 for row in merging],
        "merged": bytes_,
        "gradients": gradients["bytes"],
        "passes": passes,
        "most_workers": int(0.1 * all_shared / all_alone),
        "rows": rows,
    }


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
