"""Features without gradient descent, compared with the same softmax.

    python benchmarks/peers.py --data DIR

The first part compares features: raw pixels, the papers' layers (`make_dmn`), wavelet
scattering (kymatio 0.3, which needs SciPy before 1.15), PCANet, `recommended_dmn`, the
same with k-means or random filters, and a trained ConvNet. The second part compares
filters in the same layer, from the same whitened patches of CIFAR-10 and with the same
encoding and pooling: of classes, of classes by cell, of cells, random directions,
patches, k-means, and plain PCA.

C is the best of `C_GRID` (PCANet: of three of them) on a fifth of the training images.
The accuracy is measured on images on which nothing was chosen: the test images of MNIST
and the fifth training batch of CIFAR-10. In the second part C is one of `C_OF_FILTERS`,
and the threshold is also chosen on such a fifth, for each kind of filters with
`TUNED_AT` filters.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import machine
from directions import Whitened
from frontier import load
from memory import forget_peak, memory
from pcanet import PCANet
from rival import Rival, best_of, train
from scoring import choose_C, softmax
from skdmn import (
    AveragePool2DTransformer,
    DensityMatrixNetwork,
    WhitenedPCAPatchTransformer,
    make_dmn,
    recommended_dmn,
)

C_GRID = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
C_OF_FILTERS = (0.0003, *C_GRID[:4])  # for the second part
THRESHOLDS, TUNED_AT = (0.25, 0.5, 1.0), 200
N_TRAINING = {"same place": 10_000, "MNIST": 10_000, "CIFAR-10": 10_000}
N_FILTERS = (50, 100, 200, 400, 1000)
CONVNET_SECONDS = (10.0, 30.0)
CONVNETS = {"MNIST": (32, 64), "CIFAR-10": (32, 64, 128)}
RATES = (2e-3, 6e-3)
MARKERS, TICKS = "osD^v<>PXh*d", (5, 10, 20, 50, 100)

Data = tuple[np.ndarray, ...]


def scored(
    features: Callable[[np.ndarray], np.ndarray],
    data: Data,
    grid: tuple[float, ...] = C_GRID,
) -> dict:
    """Choose C, fit a softmax and score it."""
    X, y, X_test, y_test = data
    started = time.perf_counter()
    found = features(X)
    computed = time.perf_counter()
    C, validation = choose_C(found, y, grid)
    ready = time.perf_counter()
    top = softmax(C).fit(found, y)
    done = time.perf_counter()
    return {
        "C": C,
        "validation": validation,
        "n_features": int(found.shape[1]),
        "transform_seconds": computed - started,
        "softmax_seconds": done - ready,
        "accuracy": 100 * top.score(features(X_test), y_test),
    }


# second part: other filters in the same layer


def network(n_filters: int, **options: object) -> DensityMatrixNetwork:
    conv = WhitenedPCAPatchTransformer(
        6, n_filters=n_filters, subsample=0.2, random_state=0, **options
    )
    pool = AveragePool2DTransformer(13, stride=7, power=0.5)
    return DensityMatrixNetwork([("conv", conv), ("pool", pool)])


OF_GROUPS = {
    "classes by cell": {"position_grid": 4},
    "classes": {"position_grid": 1},
    "cells": {"position_grid": 4, "class_based": False},
}
KINDS = (*OF_GROUPS, "k-means", "patches", "random", "plain PCA")


def in_place(
    kind: str, n: int, threshold: float, data: Data, whitened: Whitened
) -> dict | None:
    """Return accuracies with each number of filters, if there are enough filters."""
    if kind in OF_GROUPS:
        net = network(n, threshold=threshold, **OF_GROUPS[kind]).fit(*data[:2])
    else:
        directions = whitened.directions(kind, n)
        if directions is None:
            return None
        whitened.network["conv"].threshold = threshold
        net = whitened.with_directions(directions)
    row = {"kind": kind, "asked": n, "filters": len(net["conv"].filters_)}
    row |= {"threshold": threshold, **scored(net.transform, data, C_OF_FILTERS)}
    print(row, flush=True)
    return row


def same_place(data: Data, counts: tuple[int, ...], kinds: list[str]) -> list[dict]:
    """Return accuracies of several kinds of filters with their best threshold."""
    rows: list[dict] = []
    whitened = Whitened(network(1).fit(*data[:2]), data[0])
    for kind in kinds:
        n = min(max(counts), 100 if kind == "plain PCA" else TUNED_AT)
        tried = [in_place(kind, n, t, data, whitened) for t in THRESHOLDS]
        best = max(tried, key=lambda row: row["validation"])
        for count in counts:
            if count == best["asked"]:
                rows.append(best)
            else:
                found = in_place(kind, count, best["threshold"], data, whitened)
                rows += [found] if found else []
    return rows


# first part: other features


def rows_of(X: np.ndarray) -> np.ndarray:
    return X.reshape(len(X), -1).astype(np.float32)


def scattering(shape: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray]:
    """Return the scattering of kymatio (second order, J=2), or raise ImportError."""
    import torch
    from kymatio.torch import Scattering2D

    transform = Scattering2D(J=2, shape=shape[:2], L=8)

    def features(X: np.ndarray) -> np.ndarray:
        X = X.reshape(*X.shape[:3], -1)
        parts = []
        for i in range(0, len(X), 250):
            part = np.moveaxis(X[i : i + 250], 3, 1).astype(np.float32) / 255
            found = transform(torch.from_numpy(np.ascontiguousarray(part)))
            parts.append(found.numpy().reshape(len(part), -1))
        return np.concatenate(parts)

    return features


def peers(name: str, data: Data) -> list[dict]:
    X, y = data[:2]
    shape = X.shape[1:]

    def in_its_place(kind: str) -> Callable:
        fitted = recommended_dmn(shape)["features"].fit(X, y)
        whitened = Whitened(fitted, X)
        directions = whitened.directions(kind, len(fitted["conv"].filters_))
        return whitened.with_directions(directions).transform

    fits: dict[str, Callable[[], Callable]] = {
        "raw pixels": lambda: rows_of,
        "make_dmn": lambda: (
            DensityMatrixNetwork.from_pipeline(make_dmn()[:-1]).fit(X, y).transform
        ),
        "scattering (kymatio)": lambda: scattering(shape),
        "recommended_dmn": lambda: (
            recommended_dmn(shape)["features"].fit(X, y).transform
        ),
        "recommended_dmn, mirrored": lambda: (
            recommended_dmn(shape, mirrored=True)["features"].fit(X, y).transform
        ),
        "same layer, k-means filters": lambda: in_its_place("k-means"),
        "same layer, random filters": lambda: in_its_place("random"),
    }
    if name == "MNIST":
        del fits["recommended_dmn, mirrored"]
        # for CIFAR-10 the published network has far more features
        fits["PCANet"] = lambda: PCANet().fit(X[..., np.newaxis]).transform
    rows = []
    for peer, fit in fits.items():
        given = data
        if peer == "PCANet":
            given = (X[..., np.newaxis], y, data[2][..., np.newaxis], data[3])
        try:
            fit()(given[0][:200])  # load kernels
        except ImportError as error:
            rows.append({"peer": peer, "error": str(error)})
            print(rows[-1], flush=True)
            continue
        forget_peak()
        before, started = memory("VmRSS"), time.perf_counter()
        features = fit()
        seconds = time.perf_counter() - started
        # each C takes a minute
        found = scored(features, given, C_GRID[1::2] if peer == "PCANet" else C_GRID)
        held = memory("VmHWM") - before
        rows.append({"peer": peer, "fit_seconds": seconds, **found, "held": held})
        print(rows[-1], flush=True)
    return rows


def convnets(name: str, data: Data, budgets: tuple[float, ...]) -> list[dict]:
    """Train the ConvNet for each budget, with the best learning rate."""
    rows = []
    for seconds in budgets:
        mirrored = name != "MNIST"
        models = [Rival(CONVNETS[name], rate, 64, mirrored) for rate in RATES]
        best, _ = best_of(models, data, seconds)
        forget_peak()
        before = memory("VmRSS")
        found = train(best, data, seconds, seed=0)
        held = memory("VmHWM") - before
        rows.append({"peer": f"ConvNet, {seconds:g} s", "rate": best.rate})
        rows[-1] |= {key: found[key] for key in ("accuracy", "seconds")}
        rows[-1] |= {"filters": best.filters, "held": held}
        print(rows[-1], flush=True)
    return rows


def seconds_of(row: dict) -> float:
    """Return the total time of a peer for the training images."""
    parts = ("seconds", "fit_seconds", "transform_seconds", "softmax_seconds")
    return sum(row.get(part, 0.0) for part in parts)


def draw(results: dict[str, list[dict]], path: Path) -> None:
    """Plot accuracy against seconds, without raw pixels, which are far below."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(results), figsize=(10, 3.6))
    names = dict.fromkeys(row["peer"] for rows in results.values() for row in rows[1:])
    handles = {}
    for axis, (name, rows) in zip(axes, results.items(), strict=True):
        for row in rows[1:]:
            if "error" in row:
                continue
            number = list(names).index(row["peer"])
            point = [seconds_of(row)], [row["accuracy"]]
            style = {"color": f"C{number}", "marker": MARKERS[number], "ms": 8}
            (handles[row["peer"]],) = axis.plot(*point, ls="", **style)
        axis.set(xscale="log", xlabel="seconds, two cores", title=name)
        axis.set_xlim(3, 120)
        axis.set_xticks(TICKS, TICKS)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("accuracy, %")
    figure.tight_layout(rect=(0, 0, 0.75, 1))
    figure.legend(handles.values(), handles, loc="center right", frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def some(data: Data, n: int) -> Data:
    """Return fewer training images, in a random order."""
    order = np.random.default_rng(0).permutation(len(data[0]))[:n]
    return data[0][order], data[1][order], *data[2:]


def main() -> None:
    parser = machine.timing_parser(__doc__.splitlines()[0], "peers.json")
    parser.add_argument("--only", choices=N_TRAINING, help="keep other results")
    of_kinds = "only these filters of the second part; keep all other results"
    parser.add_argument("--kinds", choices=KINDS, nargs="+", help=of_kinds)
    options: argparse.Namespace = parser.parse_args()
    options.only = "same place" if options.kinds else options.only
    machine.limit(options.threads)  # freed memory is returned, because it is measured
    budgets = (1.0,) if options.quick else CONVNET_SECONDS
    kept = machine.kept(options.json) if options.only else {}
    results: dict = {"peers": {}, **kept, "n_training": N_TRAINING}
    for name in ("MNIST", "CIFAR-10"):
        if options.only not in (None, name):
            continue
        data = some(load(name, options.data, options.quick), N_TRAINING[name])
        results["peers"][name] = peers(name, data)
        results["peers"][name] += convnets(name, data, budgets)
        machine.write(options.json, results)
    draw(results["peers"], options.json.with_suffix(".png"))
    if options.only in (None, "same place"):
        n = N_TRAINING["same place"]
        data = some(load("CIFAR-10", options.data, options.quick), n)
        counts, kinds = (20,) if options.quick else N_FILTERS, options.kinds or KINDS
        others = results.get("same_place", [])
        rows = [row for row in others if row["kind"] not in kinds]
        rows += same_place(data, counts, kinds)
        results["same_place"] = sorted(rows, key=lambda row: KINDS.index(row["kind"]))
        machine.write(options.json, results)


if __name__ == "__main__":
    main()
