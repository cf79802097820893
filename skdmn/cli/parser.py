"""Parser of the command line. It imports nothing that takes long."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any

from skdmn._version import __version__

DATA_SETS = ("digits", "mnist", "fashion-mnist", "cifar10", "cifar100")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="skdmn",
        description="Classify images by features that are computed, not trained.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="command")
    _add_train(commands)
    _add_predict(commands)
    _add_report(commands)
    _add_export(commands)
    _add_info(commands)
    _add_demo(commands)
    commands.add_parser(
        "warmup",
        help="compile all kernels into the cache",
        description="Compile all CPU kernels into the cache (see NUMBA_CACHE_DIR), so "
        "that no later process has to, such as when a container image is built.",
    )
    return parser


def _add_train(commands: Any) -> None:
    run = commands.add_parser(
        "train",
        help="fit a model to a folder of pictures",
        description="Fit the recommended network to labelled pictures, and estimate "
        "its accuracy by cross-validation. Defaults are in brackets.",
    )
    run.add_argument(
        "folder",
        help="folder that has a subfolder for each class, or CSV file of files and "
        "labels",
    )
    run.add_argument("--out", metavar="FILE", help="file of the model, .skops [none]")
    run.add_argument("--force", action="store_true", help="replace an existing FILE")
    add = run.add_argument_group("pictures").add_argument
    add(
        "--size",
        type=_size,
        metavar="N or HxW",
        help="height and width that pictures are resized to [their size, or 64 if they "
        "are larger than 96 or differ]",
    )
    add("--color", choices=["auto", "grey", "rgb"], default="auto", help="[auto]")
    add(
        "--fit",
        choices=["crop", "pad", "stretch"],
        default="crop",
        help="how to bring pictures to the same aspect ratio [crop]",
    )
    add(
        "--resampling",
        choices=["nearest", "box", "bilinear", "bicubic", "lanczos"],
        default="bilinear",
        help="[bilinear]",
    )
    add(
        "--background",
        choices=["white", "black"],
        default="white",
        help="behind transparent pixels and around padded pictures [white]",
    )
    add(
        "--dtype",
        choices=["auto", "uint8"],
        default="auto",
        help="uint8 scales 16 bits to 8 [auto]",
    )
    _add_listing(add)
    add = run.add_argument_group("network").add_argument
    add(
        "--mirrored",
        action="store_true",
        help="for pictures whose class survives a horizontal flip",
    )
    add(
        "--n-filters",
        type=_count,
        metavar="N",
        help="largest number of filters [400 for colors, 200 for grey]",
    )
    add("-C", type=_strength, help="inverse regularization strength [by the network]")
    add(
        "--folds",
        type=_folds,
        default=3,
        metavar="N",
        help="folds of the cross-validation; 0 for none [3]",
    )
    add("--seed", type=_seed, default=0, help="seed of folds and subsample [0]")
    _add_device(add)


def _add_predict(commands: Any) -> None:
    run = commands.add_parser(
        "predict",
        help="classify pictures",
        description="Classify pictures, which are prepared as those of the training. "
        "Prints one line for each file.",
    )
    run.add_argument("model", help="file of the model")
    run.add_argument("files", nargs="+", help="pictures, or folders of pictures")
    add = run.add_argument
    add(
        "--format",
        choices=["csv", "jsonl"],
        default="csv",
        help="comma-separated values, or a JSON object per line [csv]",
    )
    add("--all", action="store_true", help="print the probabilities of all classes")
    add("--out", metavar="FILE", help="write to a file instead of the terminal")
    add("--force", action="store_true", help="replace an existing FILE")


def _add_report(commands: Any) -> None:
    run = commands.add_parser(
        "report",
        help="show where a model is right and wrong, and why",
        description="Classify labelled pictures that the model was not fitted to, and "
        "write a page about the accuracy, the confusions and the hardest pictures.",
    )
    run.add_argument("model", help="file of the model")
    run.add_argument(
        "folder",
        help="folder that has a subfolder for each class, or CSV file of files and "
        "labels",
    )
    add = run.add_argument
    add("--out", metavar="FILE", help="file of the page, .html [none]")
    add("--force", action="store_true", help="replace an existing FILE")
    add(
        "--hardest",
        type=_count,
        default=12,
        metavar="N",
        help="number of hardest pictures to show [12]",
    )
    _add_listing(add)


def _add_listing(add: Callable[..., Any]) -> None:
    """Add the options that say which files are pictures."""
    add(
        "--columns",
        nargs=2,
        metavar=("FILES", "LABELS"),
        help="columns of a CSV file [its two columns]",
    )
    add(
        "--extensions",
        nargs="+",
        metavar="EXT",
        help="extensions of the pictures in a folder, such as jpg [all files]",
    )
    add(
        "--strict",
        action="store_true",
        help="stop if a file cannot be read, instead of leaving it out",
    )


def _add_export(commands: Any) -> None:
    run = commands.add_parser(
        "export",
        help="convert a model to ONNX or PyTorch",
        description="Convert a model, without the reading of files, whose steps the "
        "metadata of the exported model describe.",
    )
    run.add_argument("model", help="file of the model")
    add = run.add_argument
    add("--onnx", metavar="OUT", help="file of the ONNX model")
    add("--torch", metavar="OUT", help="file of the PyTorch module, by torch.save")
    add("--force", action="store_true", help="replace existing files")


def _add_info(commands: Any) -> None:
    run = commands.add_parser(
        "info",
        help="describe a model",
        description="Print the layers of a model, how it prepares files, and what it "
        "was fitted to.",
    )
    run.add_argument("model", help="file of the model")
    run.add_argument("--json", action="store_true", help="print JSON")


def _add_demo(commands: Any) -> None:
    run = commands.add_parser(
        "demo",
        help="fit networks to a data set, and compare them with raw pixels",
        description="Fit the recommended network and the papers' network to a data "
        "set, by default the digits of scikit-learn. For comparison, fit a softmax "
        "classifier to raw pixels. Options that take several values take one value for "
        "all layers, or one for each layer. Defaults are in brackets.",
    )
    add = run.add_argument_group("data").add_argument
    add("--dataset", choices=DATA_SETS, default="digits", help="[digits]")
    add("--data", metavar="DIR", help="folder with the official files [OpenML]")
    add("--images", type=_count, metavar="N", help="number of training images [all]")
    add("--seed", type=_seed, default=0, help="seed of split and subsample [0]")
    add = run.add_argument_group("the papers' network").add_argument
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
    _add_device(add)
    add = run.add_argument_group("output").add_argument
    add("--picture", metavar="FILE", help="file for a plot of the filters [none]")
    add("--json", metavar="FILE", help="file for the results [none]")
    add("-v", "--verbose", action="store_true", help="show progress")


def _add_device(add: Callable[..., Any]) -> None:
    add(
        "--device",
        choices=["auto", "cpu", "cuda"],
        default="auto",
        help="device to compute on [auto]",
    )


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


def _folds(text: str) -> int:
    """Convert an argument to a number of folds."""
    return _number(text, int, lambda value: value == 0 or value > 1, "0, or 2 or more")


def _seed(text: str) -> int:
    """Convert an argument to a seed of a random generator."""
    return _number(text, int, lambda value: 0 <= value < 2**32, "a seed, 0 to 2**32-1")


def _share(text: str) -> float:
    """Convert an argument to a number above 0 and at most 1."""
    return _number(text, float, lambda value: 0 < value <= 1, "above 0 and at most 1")


def _strength(text: str) -> float:
    """Convert an argument to a positive finite number."""
    return _number(text, float, lambda value: 0 < value < math.inf, "a positive number")


def _size(text: str) -> tuple[int, int]:
    """Convert an argument such as 64 or 48x64 to a height and a width."""
    parts = text.lower().split("x")
    if len(parts) > 2:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 64 or 48x64")
    height, width = (_count(part) for part in (parts[0], parts[-1]))
    if min(height, width) < 4:
        raise argparse.ArgumentTypeError(f"{text!r} is smaller than 4x4 pixels")
    return height, width
