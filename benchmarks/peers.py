"""Features without gradient descent, side by side under the same softmax.

    python benchmarks/peers.py --data DIR

First, other filters in the place of the class-based ones, from the same whitened
patches of CIFAR-10, encoded and averaged the same way: of classes, of classes by cell,
of cells alone, random directions, patches as they are, k-means, and plain PCA. Then
other features: raw pixels, the papers' layers (`make_dmn`), wavelet scattering
(kymatio 0.3, which needs SciPy before 1.15), PCANet, `recommended_dmn`, and a ConvNet,
trained.

C is the best of `C_GRID` on a fifth of the training images, the accuracy that on images
that nothing was chosen on: MNIST's test images, the fifth training batch of CIFAR-10.
"""

import argparse
import contextlib
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.cluster import MiniBatchKMeans

import machine
from frontier import load
from pcanet import PCANet
from rival import Rival, best_of, train
from scoring import best_C, softmax
from skdmn import (
    AveragePool2DTransformer,
    DensityMatrixNetwork,
    WhitenedPCAPatchTransformer,
    make_dmn,
    recommended_dmn,
)
from skdmn.core.contrast import by_contrast

C_GRID = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
N_TRAINING = {"same place": 20_000, "MNIST": 10_000, "CIFAR-10": 10_000}
N_FILTERS = (50, 100, 200, 400, 800)
CONVNET_SECONDS = (10.0, 30.0)
RATES = (2e-3, 6e-3)
N_PATCHES = 100_000  # that k-means and plain patches are from

Data = tuple[np.ndarray, ...]


def scored(features: Callable[[np.ndarray], np.ndarray], data: Data) -> dict:
    """Choose C, fit a softmax; return accuracy and seconds."""
    X, y, X_test, y_test = data
    started = time.perf_counter()
    found = features(X)
    computed = time.perf_counter()
    C = best_C(found, y, C_GRID)
    chosen = time.perf_counter()
    top = softmax(C).fit(found, y)
    done = time.perf_counter()
    return {
        "C": C,
        "n_features": int(found.shape[1]),
        "transform_seconds": computed - started,
        "softmax_seconds": done - chosen,
        "accuracy": 100 * top.score(features(X_test), y_test),
    }


# in the same place


def network(n_filters: int, **options: object) -> DensityMatrixNetwork:
    conv = WhitenedPCAPatchTransformer(
        6, n_filters=n_filters, subsample=0.2, random_state=0, **options
    )
    pool = AveragePool2DTransformer(13, stride=7, power=0.5)
    return DensityMatrixNetwork([("conv", conv), ("pool", pool)])


class Whitened:
    """What `WhitenedPCAPatchTransformer` makes of patches before it chooses filters."""

    def __init__(self, data: Data):
        self.network = network(1).fit(*data[:2])
        conv = self.network["conv"]
        d = conv.density_matrices_.shape[-1]
        density = conv.density_matrices_.reshape(-1, d, d).mean(axis=0)
        scale = np.sqrt(conv.partition_functions_.mean())
        self.values, self.vectors = np.linalg.eigh(density)
        roots = np.sqrt(np.maximum(self.values, 0) + conv.regularization / d)
        self.matrix = (self.vectors / roots) @ self.vectors.T / scale
        rng = np.random.default_rng(0)
        X, size = data[0], conv.kernel_size_[0]
        i, y, x = (rng.integers(0, n, N_PATCHES) for n in (len(X), 27, 27))
        patches = np.stack(
            [
                X[a, b : b + size, c : c + size].ravel()
                for a, b, c in zip(i, y, x, strict=True)
            ]
        )
        patches = by_contrast(patches.astype(np.float64), conv.contrast_floor_)
        patches = patches[
            (patches**2).sum(axis=1) > 0.01
        ]  # flat ones have no direction
        self.patches = patches @ self.matrix

    def with_directions(self, directions: np.ndarray) -> DensityMatrixNetwork:
        """Return the network with unit directions of whitened space as filters."""
        conv = self.network["conv"]
        directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        filters = directions @ self.matrix
        filters -= filters.mean(axis=1, keepdims=True)
        shape = (len(filters), *conv.filters_.shape[1:])
        conv.filters_ = filters.reshape(shape).astype(conv.filters_.dtype)
        self.network["pool"].fit(conv.transform(np.zeros((1, *conv.image_shape_))))
        return self.network

    def directions(self, kind: str, n: int) -> np.ndarray | None:
        rng = np.random.default_rng(1)
        if kind == "plain PCA":
            return self.vectors.T[::-1][:n] if n < len(self.vectors) else None
        if kind == "random":
            return rng.normal(size=(n, len(self.matrix)))
        if kind == "patches":
            return self.patches[rng.permutation(len(self.patches))[:n]]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            means = MiniBatchKMeans(n, batch_size=4096, n_init=1, random_state=0)
            return means.fit(self.patches).cluster_centers_


OF_GROUPS = {
    "classes by cell": {"position_grid": 4},
    "classes": {"position_grid": 1},
    "cells": {"position_grid": 4, "class_based": False},
}
OTHERS = ("k-means", "patches", "random", "plain PCA")


def same_place(data: Data, counts: tuple[int, ...]) -> list[dict]:
    rows = []
    whitened = Whitened(data)
    for n in counts:
        for kind in (*OF_GROUPS, *OTHERS):
            started = time.perf_counter()
            if kind in OF_GROUPS:
                net = network(n, **OF_GROUPS[kind]).fit(*data[:2])
            else:
                directions = whitened.directions(kind, n)
                if directions is None:
                    continue
                net = whitened.with_directions(directions)
            seconds = time.perf_counter() - started
            found = len(net["conv"].filters_)
            rows.append(
                {"kind": kind, "asked": n, "filters": found, "fit_seconds": seconds}
            )
            rows[-1] |= scored(net.transform, data)
            print(rows[-1], flush=True)
    return rows


# other features


def rows_of(X: np.ndarray) -> np.ndarray:
    return X.reshape(len(X), -1).astype(np.float32)


def scattering(shape: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray]:
    """Return kymatio's scattering of second order, J=2; ImportError without it."""
    from kymatio.numpy import Scattering2D

    transform = Scattering2D(J=2, shape=shape[:2], L=8)

    def features(X: np.ndarray) -> np.ndarray:
        X = X.reshape(*X.shape[:3], -1)
        parts = []
        for i in range(0, len(X), 500):
            part = np.moveaxis(X[i : i + 500], 3, 1).astype(np.float32) / 255
            parts.append(transform(np.ascontiguousarray(part)).reshape(len(part), -1))
        return np.concatenate(parts).astype(np.float32)

    return features


def peers(name: str, data: Data) -> list[dict]:
    X, y = data[:2]
    shape = X.shape[1:]
    for network in (make_dmn(), recommended_dmn(shape)):  # kernels are loaded
        network.fit(X[:200], y[:200])
    with contextlib.suppress(ImportError):
        scattering(shape)

    def papers() -> Callable:
        return DensityMatrixNetwork.from_pipeline(make_dmn()[:-1]).fit(X, y).transform

    def ours() -> Callable:
        return recommended_dmn(shape)["features"].fit(X, y).transform

    fits: dict[str, Callable[[], Callable]] = {
        "raw pixels": lambda: rows_of,
        "make_dmn": papers,
        "scattering (kymatio)": lambda: scattering(shape),
        "recommended_dmn": ours,
    }
    if name == "MNIST":  # for photographs the published one has far more features
        fits["PCANet"] = lambda: PCANet().fit(X[..., np.newaxis]).transform
    rows = []
    for peer, fit in fits.items():
        started = time.perf_counter()
        try:
            features = fit()
        except ImportError as error:
            rows.append({"peer": peer, "error": str(error)})
            print(rows[-1], flush=True)
            continue
        seconds = time.perf_counter() - started
        given = data
        if peer == "PCANet":
            given = (X[..., np.newaxis], y, data[2][..., np.newaxis], data[3])
        rows.append({"peer": peer, "fit_seconds": seconds, **scored(features, given)})
        print(rows[-1], flush=True)
    return rows


def convnets(data: Data, mirrored: bool) -> list[dict]:
    """Train the ConvNet for some seconds, its rate chosen for each."""
    rows = []
    for seconds in CONVNET_SECONDS:
        models = [Rival((32, 64), rate, 64, mirrored) for rate in RATES]
        best, _ = best_of(models, data, seconds)
        found = train(best, data, seconds, seed=0)
        rows.append({"peer": f"ConvNet, trained for {seconds:g} s", "rate": best.rate})
        rows[-1] |= {key: found[key] for key in ("accuracy", "seconds")}
        print(rows[-1], flush=True)
    return rows


def seconds_of(row: dict) -> float:
    """Return what a peer took in all, for training images."""
    parts = ("seconds", "fit_seconds", "transform_seconds", "softmax_seconds")
    return sum(row.get(part, 0.0) for part in parts)


def draw(results: dict[str, list[dict]], path: Path) -> None:
    """Draw accuracy against seconds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(results), figsize=(10, 3.8))
    for axis, (name, rows) in zip(axes, results.items(), strict=True):
        rows = [row for row in rows if "error" not in row]
        for row, marker in zip(rows, "osD^v<>Px*", strict=False):
            point = seconds_of(row), row["accuracy"]
            axis.plot(*point, marker, ms=8, label=row["peer"])
        axis.set(xscale="log", xlabel="seconds, two cores", title=name)
        axis.set_ylabel("accuracy, %")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.legend(fontsize=7, frameon=False)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def some(data: Data, n: int) -> Data:
    """Return fewer training images, in a random order."""
    order = np.random.default_rng(0).permutation(len(data[0]))[:n]
    return data[0][order], data[1][order], *data[2:]


def main() -> None:
    parser = machine.timing_parser(__doc__.splitlines()[0], "peers.json")
    options: argparse.Namespace = parser.parse_args()
    machine.limit(options.threads)
    machine.keep_memory()
    results: dict = {"n_training": N_TRAINING, "peers": {}}
    for name in ("MNIST", "CIFAR-10"):
        data = some(load(name, options.data, options.quick), N_TRAINING[name])
        results["peers"][name] = peers(name, data)
        results["peers"][name] += convnets(data, mirrored=name != "MNIST")
        machine.write(options.json, results)
    draw(results["peers"], options.json.with_suffix(".png"))
    data = some(load("CIFAR-10", options.data, options.quick), N_TRAINING["same place"])
    results["same_place"] = same_place(data, (20,) if options.quick else N_FILTERS)
    machine.write(options.json, results)


if __name__ == "__main__":
    main()
