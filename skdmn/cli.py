"""The ``skdmn`` command, which fits a network on a data set and plots its filters."""

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the ``skdmn`` command.

    Parameters
    ----------
    arguments : sequence of str or None, default=None
        Command line arguments after ``skdmn``. If None, they are taken from the command
        line.

    Returns
    -------
    int
        Exit code: 0 for success, 1 for an error, 130 for an interrupt.

    Raises
    ------
    SystemExit
        With exit code 2 if the arguments are not valid, and with exit code 0 after
        ``--help`` and ``--version``.
    """
    options = _parser().parse_args(arguments)
    try:
        demo(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("skdmn: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of the pipe has closed it, such as head
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (flushed at exit)
        return 0
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        print(f"skdmn: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def demo(options: argparse.Namespace) -> None:
    """Fit a DMN, and a softmax on raw pixels for comparison; report the results."""
    for file in (options.json, options.picture):
        if file:
            _check_writable(Path(file))
    X, X_test, y, y_test = _load(options)
    shape = " x ".join(str(size) for size in X.shape[1:])
    print(f"{options.dataset}: {len(X)} training, {len(X_test)} test images of {shape}")
    chosen = _network_options(options)
    dmn = make_dmn(**chosen)
    softmax = dmn[-1]
    # same layers, but feature maps are computed in batches, which saves memory
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
        print(f"results written to {options.json}")
    if options.picture:
        _draw(network["conv1"], options.picture)


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="skdmn",
        description="Convolutional image features that are computed, not trained.",
    )
    parser.add_argument("--version", action="version", version=skdmn.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    run = commands.add_parser(
        "demo",
        help="fit a network on a data set, and compare it with raw pixels",
        description="Fit a Density Matrix Network on a data set, by default the digits "
        "of scikit-learn. For comparison, fit a softmax classifier on raw pixels. "
        "Options that take several values take one value for all layers, or one for "
        "each layer. Defaults are in brackets.",
    )
    data = run.add_argument_group("data")
    add = data.add_argument
    add("--dataset", choices=["digits", *LOADERS], default="digits", help="[digits]")
    add("--data", metavar="DIR", help="folder with the official files [OpenML]")
    add("--images", type=_count, metavar="N", help="number of training images [all]")
    add("--seed", type=_seed, default=0, help="seed of split and subsample [0]")
    add = run.add_argument_group("network").add_argument
    add("--layers", type=_count, default=2, metavar="N", help="number of layers [2]")
    several: dict[str, Any] = {"nargs": "+", "metavar": "V"}
    add("--kernel-size", type=_count, **several, help="side of the patches [3]")
    add(
        "--n-filters",
        type=_count,
        **several,
        help="largest number of filters [8 96, or 16]",
    )
    add(
        "--variance-cutoff",
        type=_share,
        **several,
        help="share of the variance of each class to keep [0.999]",
    )
    add(
        "--correlation-cutoff",
        type=_share,
        **several,
        help="merge filters whose absolute cosine is larger [0.7]",
    )
    add(
        "--signs",
        choices=["one", "both"],
        help="one feature per filter, or two-sided features [both]",
    )
    add("--pool-size", type=_count, **several, help="side of the pooling [2, last 3]")
    add(
        "--subsample",
        type=_share,
        metavar="V",
        help="share of the images for the density matrices [1]",
    )
    add(
        "-C",
        type=_strength,
        help="inverse regularization strength of the softmax [0.01]",
    )
    add(
        "--device",
        choices=["auto", "cpu", "cuda"],
        default="auto",
        help="device to compute on [auto]",
    )
    add = run.add_argument_group("output").add_argument
    add(
        "--picture",
        metavar="FILE",
        default="skdmn-filters.png",
        help="file for the plot of the filters; '' draws none [skdmn-filters.png]",
    )
    add("--json", metavar="FILE", help="file for the results")
    add("-v", "--verbose", action="store_true", help="show progress")
    return parser


def _number(
    text: str, kind: Callable[[str], Any], holds: Callable[[Any], bool], what: str
) -> Any:
    """Convert an argument to a number; raise if it is not valid."""
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not holds(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return value


def _count(text: str) -> int:
    """Convert an argument to a positive integer."""
    return _number(text, int, lambda value: value > 0, "a positive whole number")


def _seed(text: str) -> int:
    """Convert an argument to a seed of a random generator."""
    return _number(text, int, lambda value: 0 <= value < 2**32, "a seed, 0 to 2**32-1")


def _share(text: str) -> float:
    """Convert an argument to a number above 0 and at most 1."""
    return _number(text, float, lambda value: 0 < value <= 1, "above 0 and at most 1")


def _strength(text: str) -> float:
    """Convert an argument to a positive finite number."""
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
    """Fit a model; return the time in seconds and the accuracy on test images."""
    started = time.perf_counter()
    model.fit(X, y)
    seconds = time.perf_counter() - started
    return seconds, float(model.score(X_test, y_test))


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


def _check_writable(file: Path) -> None:
    """Raise OSError if a file cannot be written."""
    folder = file.resolve().parent
    if file.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OSError(f"{file} cannot be written; pass a file in a writable folder.")
