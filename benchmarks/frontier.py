"""Accuracy and time of computed features, compared with a well-trained ConvNet.

    python benchmarks/frontier.py --data DIR [--only MNIST]

Computed: `recommended_dmn` with the settings of `PRESETS`, which were fixed in advance;
timed from uint8 images in memory to a fitted classifier. Trained: a ConvNet for each of
the `BUDGETS` in seconds; each budget is a separate run with its own learning rate
schedule. Its learning rate and batch size are the best of `RATES` and `BATCH_SIZES`
after `TUNED_FOR` seconds, on 5,000 held-out training images. Then its width is the best
of `CONVNETS` for each budget, on the same images.

The accuracy is measured on the test images of MNIST, and on the fifth training batch of
CIFAR-10. No settings are chosen on them, but earlier lists of presets were evaluated on
them, too.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

import machine
from rival import Rival, best_of, n_parameters, train
from skdmn import recommended_dmn
from skdmn.datasets import load_cifar10, load_cifar100, load_mnist

RATES = (3e-3, 6e-3, 1.2e-2, 2.4e-2)
PLAIN_RATES = (1e-3, 2e-3, 4e-3, 8e-3)  # without batch normalization
BATCH_SIZES = (32, 64, 128)
TUNED_FOR = {"MNIST": 8.0, "CIFAR-10": 15.0}  # seconds
BUDGETS = {"MNIST": (3, 6, 12, 25, 50, 120), "CIFAR-10": (8, 15, 30, 60, 120)}
# three widths; a narrow network processes more images per second
CONVNETS = {
    "MNIST": [(16, 32), (32, 64), (64, 128)],
    "CIFAR-10": [(16, 32, 64), (32, 64, 128), (64, 128, 256)],
}
# filters, share of the images, mirrored
PRESETS = {
    "MNIST": [
        *[(15, 0.2, False), (25, 0.5, False), (50, 1.0, False)],
        *[(100, 1.0, False), (200, 1.0, False), (300, 1.0, False)],
    ],
    "CIFAR-10": [
        *[(25, 0.25, False), (50, 0.5, False), (100, 1.0, False), (100, 1.0, True)],
        *[(200, 1.0, True), (400, 1.0, True), (800, 1.0, True), (1200, 1.0, True)],
    ],
}


def load(name: str, data: str | None, quick: bool) -> tuple[np.ndarray, ...]:
    """Return training and test images and labels."""
    if name == "CIFAR-10":
        X, y = load_cifar10("train", data_home=data)
        found = X[:40_000], y[:40_000], X[40_000:], y[40_000:]
    else:
        read = {"MNIST": load_mnist, "CIFAR-100": load_cifar100}[name]
        found = *read("train", data_home=data), *read("test", data_home=data)
    return tuple(part[:3000] for part in found) if quick else found


def fit(preset: tuple, data: tuple[np.ndarray, ...], seed: int) -> dict:
    """Fit one preset; return seconds, accuracy and numbers of filters and weights."""
    n_filters, share, mirrored = preset
    X, y, X_test, y_test = data
    started = time.perf_counter()
    if share < 1:
        some = np.random.default_rng(seed).permutation(len(X))[: int(share * len(X))]
        X, y = X[some], y[some]
    dmn = recommended_dmn(
        X.shape[1:], n_filters=n_filters, mirrored=mirrored, random_state=seed
    )
    features = dmn["features"].fit_transform(X, y)
    computed = time.perf_counter()
    dmn["softmax"].fit(features, y)
    done = time.perf_counter()
    accuracy = 100 * dmn.score(X_test, y_test)
    filters = dmn["features"]["conv"].filters_
    return {
        "filters_found": len(filters),
        "seconds": done - started,
        "features_seconds": computed - started,
        "softmax_seconds": done - computed,
        "scoring_seconds": time.perf_counter() - done,
        "accuracy": accuracy,
        "n_features": int(features.shape[1]),
        "n_parameters": int(filters.size + dmn["softmax"].coef_.size),
    }


def medians(runs: list[dict]) -> dict:
    found = {key: median(run[key] for run in runs) for key in runs[0]}
    return {**found, "accuracies": [run["accuracy"] for run in runs]}


def compare(name: str, options: argparse.Namespace) -> dict:
    """Run computed and trained networks on one data set."""
    data = load(name, options.data, options.quick)
    fit(PRESETS[name][0], tuple(part[:500] for part in data), 0)  # load kernels
    computed = []
    for preset in PRESETS[name]:
        # computed networks hardly depend on the seed: run the largest ones once
        seeds = range(options.seeds if preset[0] < 400 else 1)
        found = medians([fit(preset, data, seed) for seed in seeds])
        keys = ("n_filters", "share", "mirrored")
        computed.append({**dict(zip(keys, preset, strict=True)), **found})
        print(computed[-1], flush=True)
    widths = CONVNETS[name]
    middle = Rival(widths[1], RATES[0], BATCH_SIZES[0], mirrored=name != "MNIST")
    models = [
        replace(middle, rate=rate, batch_size=size)
        for rate in RATES
        for size in BATCH_SIZES
    ]
    models += [
        replace(middle, rate=rate, batch_size=BATCH_SIZES[0], plain=True)
        for rate in PLAIN_RATES
    ]
    best, tried = best_of(models, data, 1.0 if options.quick else TUNED_FOR[name])
    trained, budgets = [], (1.0,) if options.quick else BUDGETS[name]
    for seconds in budgets:
        models = [replace(best, filters=filters) for filters in widths]
        model, widths_tried = best_of(models, data, seconds)
        runs = [train(model, data, seconds, seed) for seed in range(options.seeds)]
        trained.append({"budget": seconds, "filters": model.filters, **medians(runs)})
        trained[-1] |= {"tried": widths_tried}
        print(trained[-1], flush=True)
    shape = (*data[0].shape[1:3], data[0].shape[3] if data[0].ndim == 4 else 1)
    return {
        "machine": machine.facts(),
        "n_training": len(data[0]),
        "n_test": len(data[2]),
        "computed": computed,
        "convnet": {
            "rate": best.rate,
            "batch_size": best.batch_size,
            "decay": best.decay,
            "mirrored": best.mirrored,
            "plain": best.plain,
            "tuned_for": TUNED_FOR[name],
            "seeds": options.seeds,
            "tuning": tried,
        },
        "trained": [
            {
                **row,
                "n_parameters": n_parameters(
                    replace(best, filters=row["filters"]), shape
                ),
            }
            for row in trained
        ],
    }


def envelope(points: list[dict], last: float) -> tuple[list[float], list[float]]:
    """Return the best accuracy so far at each number of seconds, up to the last."""
    seconds, best = [], []
    for point in sorted(points, key=lambda p: p["seconds"]):
        seconds.append(point["seconds"])
        best.append(max([point["accuracy"], *best[-1:]]))
    return [*seconds, max(last, *seconds)], [*best, best[-1]]


def draw(results: dict[str, dict], path: Path) -> None:
    """Draw both curves of each data set."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, len(results), figsize=(4.6 * len(results), 3.4), squeeze=False
    )
    for axis, (name, found) in zip(axes[0], results.items(), strict=True):
        for key, label, style in (
            ("trained", "ConvNet", "s--C1"),
            ("computed", "computed", "o-C0"),
        ):
            line = envelope(found[key], found["trained"][-1]["budget"])
            # no marker where a curve is only continued to the last second
            ends = {"drawstyle": "steps-post", "markevery": slice(0, -1)}
            axis.plot(*line, style, label=label, ms=4, **ends)
        axis.set(xscale="log", xlabel="seconds, two cores", title=name)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_ylabel("best accuracy so far, %")
        axis.legend(frameon=False, loc="lower right")
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=140)
    plt.close(figure)


def main() -> None:
    parser = machine.timing_parser(__doc__.splitlines()[0], "frontier.json")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", choices=PRESETS, help="keep the results of the other")
    options = parser.parse_args()
    machine.limit(options.threads)
    machine.keep_memory()
    data = machine.kept(options.json).get("data", {})
    for name in [options.only] if options.only else PRESETS:
        data[name] = compare(name, options)
        machine.write(options.json, {"data": data})
    draw({n: data[n] for n in PRESETS if n in data}, options.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
