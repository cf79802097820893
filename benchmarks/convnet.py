"""Time from MNIST images to a classifier, compared with training a ConvNet.

    python benchmarks/convnet.py --data DIR

The time starts with 60,000 uint8 images in memory and ends with a fitted classifier.
Two computed layers and a softmax are compared with a ConvNet of the same architecture
(twice convolution, ReLU and pooling, then a linear layer), trained by Adam in torch.

Nothing is chosen on test images. Of `CANDIDATES`, fitted to 50,000 training images, we
take the fastest that reaches `ENOUGH` on the other 10,000. The ConvNet has the same
numbers and sizes of filters. Its batch size and learning rate are those that first
reach the same accuracy on the same 10,000 images; its memory layout is the one with the
faster steps.

Then both are fitted to 60,000 images, alternately and with five seeds. The seed selects
the images of the density matrices, or the initial weights and batches. The time of the
ConvNet starts with uint8 images, too, and does not include the evaluation of its
accuracy after every 6,000 images. A run reaches an accuracy when it has it for the
first time, even by chance. Larger and smaller computed layers give a curve (their sizes
are chosen on the held-out images, too). A ConvNet with the architecture of the largest
ones is compared with it.
"""

import time
from dataclasses import asdict, dataclass, replace
from statistics import median

import numpy as np

import machine
from skdmn import (
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    MaxPool2DTransformer,
    SoftmaxClassifier,
)
from skdmn.datasets import load_mnist
from trained import Data, Trained, train

TARGET = 98.2  # % of the test images
ENOUGH = 98.4  # % of the held-out images
BATCH_SIZES = (32, 64, 128, 256)
RATES = (1e-3, 2e-3, 4e-3, 8e-3)


@dataclass(frozen=True)
class Computed:
    """Two computed layers and a softmax; `filters` are the output channels."""

    filters: tuple[int, int]
    kernels: tuple[int, int] = (3, 3)
    signs: tuple[str, str] = ("one", "one")
    subsample: float = 0.1
    C: float = 0.01
    tol: float = 1e-2
    n_images: int | None = None  # training images that are used; None: all

    def layers(self, seed: int) -> DensityMatrixNetwork:
        steps = []
        for i in (0, 1):
            conv = ClassPCAPatchTransformer(
                self.kernels[i],
                n_filters=self.filters[i] // (2 if self.signs[i] == "both" else 1),
                variance_cutoff=0.999,
                signs=self.signs[i],
                subsample=self.subsample,
                random_state=seed,
            )
            pool = MaxPool2DTransformer(2)
            steps += [(f"conv{i + 1}", conv), (f"pool{i + 1}", pool)]
        return DensityMatrixNetwork(steps)


MIXED = ("both", "one")
BOTH = ("both", "both")
CANDIDATES = [
    Computed((6, 33)),
    Computed((6, 33), C=0.03),
    Computed((6, 24), signs=BOTH, C=0.03),
    Computed((6, 32), signs=BOTH),
    Computed((8, 32), signs=MIXED),
    Computed((6, 33), (5, 3), C=0.03),
    Computed((6, 32), (5, 3), signs=BOTH, C=0.03),
    Computed((8, 24), (5, 3), C=0.03),
    Computed((6, 24), (5, 3), C=0.1),
    Computed((6, 24), (5, 3), C=0.03),
    Computed((6, 24), (5, 3), C=0.03, n_images=35_000),
    Computed((6, 20), (5, 3), C=0.03),
    Computed((6, 16), (5, 3), C=0.1),
    Computed((6, 24), (7, 3), C=0.03),
    Computed((6, 33), (5, 5)),
]
# points of the curve, from small to large; the chosen one is added
CURVE = [
    Computed((6, 24), (5, 3), C=0.1, n_images=5_000),
    Computed((6, 24), (5, 3), C=0.03, n_images=15_000),
    Computed((6, 24), (5, 3), C=0.03, n_images=30_000),
    Computed((12, 64), (5, 3), signs=MIXED),
    Computed((8, 96), (5, 3), signs=BOTH),
]


def fit_computed(model: Computed, data: Data, seed: int) -> dict:
    """Fit layers, compute features, fit the softmax; return seconds and accuracy."""
    X, y, X_test, y_test = data
    started = time.perf_counter()
    if model.n_images:
        some = np.random.default_rng(seed).permutation(len(X))[: model.n_images]
        X, y = X[some], y[some]
    layers = model.layers(seed).fit(X, y)
    fitted = time.perf_counter()
    features = layers.transform(X)
    computed = time.perf_counter()
    softmax = SoftmaxClassifier(C=model.C, tol=model.tol).fit(features, y)
    done = time.perf_counter()
    return {
        "seconds": done - started,
        "layers": fitted - started,
        "features": computed - fitted,
        "softmax": done - computed,
        "n_features": int(features.shape[1]),
        "iterations": softmax.n_iter_,
        "accuracy": 100 * softmax.score(layers.transform(X_test), y_test),
    }


def summary(model: Computed, runs: list[dict]) -> dict:
    """Return all runs and their medians."""
    result = {"model": asdict(model), "runs": runs}
    result |= {key: median(run[key] for run in runs) for key in runs[0]}
    print(model, {k: v for k, v in result.items() if k not in ("model", "runs")})
    return result


def several(model: Computed, data: Data, seeds: int) -> dict:
    """Fit with several seeds."""
    return summary(model, [fit_computed(model, data, seed) for seed in range(seeds)])


def choose(split: Data, seeds: int) -> tuple[Computed, list[dict]]:
    """Return the fastest candidate that is good enough on held-out images."""
    fit_computed(CANDIDATES[0], split, 0)  # load kernels
    tried = [several(model, split, seeds) for model in CANDIDATES]
    good = [i for i, one in enumerate(tried) if one["accuracy"] >= ENOUGH]
    if not good:  # take the best (happens with few images)
        good = [max(range(len(tried)), key=lambda i: tried[i]["accuracy"])]
    return CANDIDATES[min(good, key=lambda i: tried[i]["seconds"])], tried


def tune(
    model: Computed, split: Data, until: float, patience: float
) -> tuple[Trained, list[dict]]:
    """Return the fastest settings to an accuracy on held-out images, and all runs.

    A run that takes longer than the best one so far is stopped.
    """
    tried, best = [], None
    shape = (model.filters, model.kernels)
    for size in BATCH_SIZES:
        laid = {
            last: train(Trained(*shape, size, 1e-3, last), split, 0, seconds=0.0)
            for last in (False, True)
        }
        last = min(laid, key=lambda last: laid[last][0][0])
        for rate in RATES:
            one = Trained(*shape, size, rate, last)
            curve = train(one, split, 0, seconds=patience, until=until)
            seconds = curve[-1][0] if curve[-1][1] >= until else None
            tried.append({**asdict(one), "seconds": seconds, "reached": curve[-1][1]})
            print(tried[-1], flush=True)
            if seconds is not None and seconds < patience:
                best, patience = one, seconds
            best = best or one
    return best, tried


def first_time(curve: list[tuple[float, float]], accuracy: float) -> float | None:
    return next((seconds for seconds, found in curve if found >= accuracy), None)


def median_time(curves: list, accuracy: float) -> float | None:
    """Return the median time; a run that never reaches the accuracy counts as last."""
    times = [first_time(curve, accuracy) or np.inf for curve in curves]
    found = float(median(times))
    return found if np.isfinite(found) else None


def plot(results: dict, path: str) -> None:
    """Draw accuracy against seconds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for name, color in (("convnet", "C1"), ("wide_convnet", "C2")):
        net = results[name]
        for curve in net["curves"]:
            axes.plot(*zip(*curve, strict=True), color=color, lw=0.7, alpha=0.3)
        reached = [
            (median_time(net["curves"], accuracy), accuracy)
            for accuracy in np.arange(90, 100, 0.05)
        ]
        reached = [point for point in reached if point[0] is not None]
        label = "ConvNet, {} and {} filters".format(*net["filters"])
        if reached:
            axes.plot(*zip(*reached, strict=True), color=color, label=label)
    points = sorted((one["seconds"], one["accuracy"]) for one in results["curve"])
    label = "computed, {} and {} to {} and {} filters".format(
        *results["job"]["model"]["filters"], *results["wide_convnet"]["filters"]
    )
    axes.plot(*zip(*points, strict=True), "o-", color="C0", label=label)
    axes.axhline(TARGET, color="0.7", lw=0.8, zorder=0)
    axes.set(xlabel="seconds", ylabel="accuracy on MNIST's test images, %")
    axes.set(xscale="log", ylim=(96.5, 99.9), xticks=(0.3, 1, 3, 10, 30))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.legend(loc="upper left", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    parser = machine.timing_parser(__doc__.splitlines()[0], "convnet.json")
    options = parser.parse_args()
    machine.limit(options.threads)
    seeds, seconds = (1, 3.0) if options.quick else (5, 20.0)
    X, y = load_mnist("train", data_home=options.data)
    if options.quick:
        X, y = X[:6_000], y[:6_000]
    held = len(X) * 5 // 6
    split = (X[:held], y[:held], X[held:], y[held:])
    chosen, tried = choose(split, min(seeds, 3))
    until = next(one["accuracy"] for one in tried if one["model"] == asdict(chosen))
    best, tuned = tune(chosen, split, until, seconds)
    data = (X, y, *load_mnist("test", data_home=options.data))
    runs, curves = [], []
    for seed in range(seeds):
        runs.append(fit_computed(chosen, data, seed))
        curves.append(train(best, data, seed, seconds=seconds))
    job = summary(chosen, runs)
    points = [several(one, data, min(seeds, 3)) for one in CURVE]
    wide = replace(best, filters=CURVE[-1].filters, kernels=CURVE[-1].kernels)
    wide_curves = [
        train(wide, data, seed, seconds=seconds) for seed in range(min(seeds, 3))
    ]
    accuracies = {"98.2": TARGET, "that of the computed layers": job["accuracy"]}
    times = {name: median_time(curves, value) for name, value in accuracies.items()}
    results = {
        "data": f"MNIST, {len(X)} training and {len(data[2])} test images",
        "seeds": seeds,
        "job": job,
        "candidates": tried,
        "convnet": {**asdict(best), "tuning": tuned, "curves": curves},
        "wide_convnet": {**asdict(wide), "curves": wide_curves},
        "seconds_of_convnet": times,
        "ratios": {n: job["seconds"] / t if t else None for n, t in times.items()},
        "curve": [*points, job],
    }
    print(times, results["ratios"])
    machine.write(options.json, results)
    plot(results, options.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
