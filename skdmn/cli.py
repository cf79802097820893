"""The ``skdmn`` command: the main job on a data set, from images to a figure."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from sklearn.base import ClassifierMixin, clone
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

import skdmn
from skdmn import datasets
from skdmn.network.network import DensityMatrixNetwork
from skdmn.presets import make_dmn

Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

LOADERS: dict[str, Callable[..., Any]] = {
    "mnist": datasets.load_mnist,
    "fashion-mnist": datasets.load_fashion_mnist,
    "cifar10": datasets.load_cifar10,
    "cifar100": datasets.load_cifar100,
}
# passed on to make_dmn where they are given; it has the defaults
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : sequence of str or None
        What follows ``skdmn`` on the command line; None takes it from there.

    Returns
    -------
    int
        Exit code: 0, 1 where something failed, 130 where it was interrupted. Wrong
        usage exits with 2.
    """
    options = _parser().parse_args(arguments)
    try:
        demo(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("skdmn: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (python flushes it at exit)
        return 0
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        print(f"skdmn: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def demo(options: argparse.Namespace) -> None:
    """Fit a DMN and a softmax on raw pixels; print, draw and write what came out."""
    for file in (options.json, options.picture):
        if file:
            _check_writable(Path(file))
    X, X_test, y, y_test = _load(options)
    shape = " x ".join(str(size) for size in X.shape[1:])
    print(f"{options.dataset}: {len(X)} training, {len(X_test)} test images of {shape}")
    chosen = _network_options(options)
    dmn = make_dmn(**chosen)
    softmax = dmn[-1]
    # the same layers, without a feature map of all images between them
    network = DensityMatrixNetwork.from_pipeline(dmn[:-1])
    dmn = make_pipeline(network, clone(softmax))
    seconds, accuracy = _fit_and_score(dmn, X, y, X_test, y_test)
    convolutions = [name for name in network.named_layers if "conv" in name]
    layers = [_describe(name, network[name]) for name in convolutions]
    raw_seconds, raw_accuracy = _fit_and_score(softmax, X, y, X_test, y_test)
    print(f"DMN         accuracy {accuracy:.2%}  time {seconds:.1f} s")
    print(f"raw pixels  accuracy {raw_accuracy:.2%}  time {raw_seconds:.1f} s")
    if options.json:
        result = {
            "dataset": options.dataset,
            "n_train": len(X),
            "n_test": len(X_test),
            "layers": layers,
            "accuracy": accuracy,
            "seconds": seconds,
            "raw_pixels": {"accuracy": raw_accuracy, "seconds": raw_seconds},
            "options": chosen,
            "versions": {"skdmn": skdmn.__version__, "sklearn": sklearn.__version__},
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        }
        Path(options.json).write_text(json.dumps(result, indent=2) + "\n")
        print(f"written to {options.json}")
    if options.picture:
        _draw(network["conv1"], options.picture)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="skdmn",
        description="Convolutional image features that are computed, not trained.",
    )
    parser.add_argument("--version", action="version", version=skdmn.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    run = commands.add_parser(
        "demo",
        help="fit a network on a data set, beside a softmax on raw pixels",
        description="Fit a Density Matrix Network on a data set, by default the digits "
        "that come with scikit-learn, and a softmax on raw pixels beside it. Options "
        "that take several values take one for all layers, or one for each.",
    )
    data = run.add_argument_group("data")
    add = data.add_argument
    add("--dataset", choices=["digits", *LOADERS], default="digits", help="[digits]")
    add("--data", metavar="DIR", help="folder with the official files [OpenML]")
    add("--images", type=_count, metavar="N", help="use only N training images [all]")
    add("--seed", type=_seed, default=0, help="of the split and the subsample [0]")
    add = run.add_argument_group("network").add_argument
    add("--layers", type=_count, default=2, metavar="N", help="how many layers [2]")
    several: dict[str, Any] = {"nargs": "+", "metavar": "V"}
    add("--kernel-size", type=_count, **several, help="side of the patches [3]")
    add("--n-filters", type=_count, **several, help="at most so many [8 96, or 16]")
    add("--variance-cutoff", type=_share, **several, help="share kept [0.999]")
    add("--correlation-cutoff", type=_share, **several, help="merge above it [0.7]")
    add("--signs", choices=["one", "both"], help="signs of the filters [both]")
    add("--pool-size", type=_count, **several, help="side of the pooling [2, last 3]")
    add("--subsample", type=_share, metavar="V", help="of the images, in matrices [1]")
    add("-C", type=_strength, help="of the softmax, inverse regularization [0.01]")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="[auto]")
    add = run.add_argument_group("output").add_argument
    add(
        "--picture",
        metavar="FILE",
        default="skdmn-filters.png",
        help="of the filters; '' draws none [skdmn-filters.png]",
    )
    add("--json", metavar="FILE", help="write the results there")
    add("-v", "--verbose", action="store_true", help="show progress")
    return parser


def _number(
    text: str, kind: Callable[[str], Any], holds: Callable[[Any], bool], what: str
) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not holds(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return value


def _count(text: str) -> int:
    return _number(text, int, lambda value: value > 0, "a positive whole number")


def _seed(text: str) -> int:
    return _number(text, int, lambda value: 0 <= value < 2**32, "a seed, 0 to 2**32-1")


def _share(text: str) -> float:
    return _number(text, float, lambda value: 0 < value <= 1, "above 0 and at most 1")


def _strength(text: str) -> float:
    return _number(text, float, lambda value: 0 < value < np.inf, "a positive number")


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
    if options.dataset == "digits":
        if options.data:
            raise ValueError("--data goes with --dataset, not with the digits.")
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
    """Return the seconds of fitting and the accuracy on test images."""
    started = time.perf_counter()
    model.fit(X, y)
    seconds = time.perf_counter() - started
    return seconds, float(model.score(X_test, y_test))


def _describe(name: str, layer: Any) -> dict[str, Any]:
    """Print what a layer computed, and return it."""
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
    try:
        import matplotlib as mpl
    except ImportError:
        print('no picture of the filters: pip install "skdmn[plot]" to draw them')
        return
    from skdmn.display import FilterDisplay

    with mpl.rc_context():
        mpl.use("agg")
        FilterDisplay.from_estimator(layer).figure_.savefig(file, dpi=150)
    print(f"filters of conv1 drawn in {file}")


def _check_writable(file: Path) -> None:
    folder = file.resolve().parent
    if file.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OSError(f"{file} cannot be written; pass a file in a writable folder.")
