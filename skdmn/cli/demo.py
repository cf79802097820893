"""The command ``skdmn demo``, which compares networks on a data set."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from sklearn.base import ClassifierMixin, clone
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

import skdmn
from skdmn import datasets
from skdmn.cli.output import check_writable
from skdmn.kernels.dispatch import compile_seconds
from skdmn.network.network import DensityMatrixNetwork
from skdmn.presets import make_dmn, recommended_dmn

Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

LOADERS: dict[str, Callable[..., Any]] = {
    "mnist": datasets.load_mnist,
    "fashion-mnist": datasets.load_fashion_mnist,
    "cifar10": datasets.load_cifar10,
    "cifar100": datasets.load_cifar100,
}
# options that are passed to make_dmn if they are given; make_dmn has the defaults
NETWORK = (
    "kernel_size",
    "n_filters",
    "variance_cutoff",
    "correlation_cutoff",
    "signs",
    "pool_size",
    "subsample",
    "C",
)


def demo(options: argparse.Namespace) -> None:
    """Fit two networks, and a softmax on raw pixels for comparison."""
    for file in (options.json, options.picture):
        if file:
            check_writable(file)
    compiled = compile_seconds()
    X, X_test, y, y_test = _load(options)
    shape = " x ".join(str(size) for size in X.shape[1:])
    print(f"{options.dataset}: {len(X)} training, {len(X_test)} test images of {shape}")
    chosen = _network_options(options)
    dmn = make_dmn(**chosen)
    best = recommended_dmn(
        X.shape[1:],
        mirrored=options.dataset.startswith("cifar"),
        device=options.device,
        random_state=options.seed,
        verbose=options.verbose,
    )
    best_seconds, best_accuracy = _fit_and_score(best, X, y, X_test, y_test)
    _print("recommended_dmn", best_accuracy, best_seconds)
    softmax = dmn[-1]
    # same layers, but feature maps are computed in batches, which saves memory
    network = DensityMatrixNetwork.from_pipeline(dmn[:-1])
    dmn = make_pipeline(network, clone(softmax))
    seconds, accuracy = _fit_and_score(dmn, X, y, X_test, y_test)
    convolutions = [name for name in network.named_layers if "conv" in name]
    layers = [_describe(name, network[name]) for name in convolutions]
    _print("the papers' layers", accuracy, seconds)
    raw_seconds, raw_accuracy = _fit_and_score(softmax, X, y, X_test, y_test)
    _print("raw pixels", raw_accuracy, raw_seconds)
    compiled = compile_seconds() - compiled
    if compiled > 0.1:
        print(f"{compiled:.1f} s to compile kernels, once, are not counted")
    if options.json:
        result = {
            "dataset": options.dataset,
            "n_train": len(X),
            "n_test": len(X_test),
            "recommended": {"accuracy": best_accuracy, "seconds": best_seconds},
            "layers": layers,
            "accuracy": accuracy,
            "seconds": seconds,
            "raw_pixels": {"accuracy": raw_accuracy, "seconds": raw_seconds},
            "options": chosen,
            "versions": {"skdmn": skdmn.__version__, "sklearn": sklearn.__version__},
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        }
        Path(options.json).write_text(json.dumps(result, indent=2) + "\n")
        print(f"results written to {options.json}")
    if options.picture:
        _draw(network["conv1"], options.picture)


def warmup(options: argparse.Namespace) -> None:
    """Compile all CPU kernels into the cache."""
    from skdmn.kernels import warmup

    print(f"kernels are compiled, {warmup():.1f} s")


def _print(name: str, accuracy: float, seconds: float) -> None:
    print(f"{name:18}  accuracy {accuracy:.2%}  time {seconds:.1f} s", flush=True)


def _network_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of `make_dmn` that were given."""
    chosen: dict[str, Any] = {
        "n_layers": options.layers,
        "device": options.device,
        "random_state": options.seed,
        "verbose": options.verbose,
    }
    for name in NETWORK:
        value = getattr(options, name)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if value is not None:
            chosen[name] = value
    return chosen


def _load(options: argparse.Namespace) -> Split:
    """Return training images, test images, training labels and test labels."""
    if options.dataset == "digits":
        if options.data:
            raise ValueError(
                "--data is for the files of a downloaded data set, but the data set is "
                "digits; pass --dataset as well."
            )
        X, y = datasets.load_digits_images()
        X, X_test, y, y_test = train_test_split(
            X, y, test_size=0.25, stratify=y, random_state=options.seed
        )
    else:
        load = LOADERS[options.dataset]
        X, y = load("train", data_home=options.data)
        X_test, y_test = load("test", data_home=options.data)
    if options.images and options.images < len(X):
        X, _, y, _ = train_test_split(
            X, y, train_size=options.images, stratify=y, random_state=options.seed
        )
    return X, X_test, y, y_test


def _fit_and_score(
    model: ClassifierMixin,
    X: np.ndarray,
    y: np.ndarray,
    X_test: np.ndarray,
    y_test: np.ndarray,
) -> tuple[float, float]:
    """Fit a model; return the time in seconds and the accuracy on test images.

    The compilation of kernels is not part of the time.
    """
    started, compiled = time.perf_counter(), compile_seconds()
    model.fit(X, y)
    seconds = time.perf_counter() - started
    seconds -= compile_seconds() - compiled
    return max(0.0, seconds), float(model.score(X_test, y_test))


def _describe(name: str, layer: Any) -> dict[str, Any]:
    """Print the filters and energies of a layer, and return them."""
    energies = np.asarray(layer.energies_)
    some = ", ".join(f"{energy:.2f}" for energy in energies[:6])
    more = ", ..." if len(energies) > 6 else ""
    height, width, channels = layer.filters_.shape[1:]
    print(
        f"{name}: {len(energies)} filters of {height} x {width} x {channels}, "
        f"energies {some}{more} nats"
    )
    return {
        "name": name,
        "filters": list(layer.filters_.shape),
        "energies": energies.tolist(),
        "filter_classes": np.asarray(layer.filter_classes_).tolist(),
    }


def _draw(layer: Any, file: str) -> None:
    """Save a plot of the filters of a layer."""
    try:
        import matplotlib as mpl
    except ImportError:
        print('filters not drawn: matplotlib is missing; pip install "skdmn[plot]"')
        return
    from skdmn.display import FilterDisplay

    with mpl.rc_context():
        mpl.use("agg")
        FilterDisplay.from_estimator(layer).figure_.savefig(file, dpi=150)
    print(f"filters of conv1 drawn in {file}")
