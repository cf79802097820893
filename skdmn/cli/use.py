"""Commands that use a model: ``predict``, ``report``, ``export`` and ``info``."""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from sklearn.pipeline import Pipeline

from skdmn.cli.output import Progress, check_writable, in_table, write
from skdmn.cli.train import in_memory_if_small, listing, said
from skdmn.data.reader import ImageReader
from skdmn.datasets.folder import ImageFolder, files_below
from skdmn.utils.optional import import_optional
from skdmn.utils.persistence import TRUSTED_TYPES

_BATCH_BYTES = 2**26  # of images that are read at a time
_MOST = 1024  # images that are read at a time


def load(file: str) -> Pipeline:
    """Load a model that ``skdmn train`` saved.

    Raises
    ------
    ValueError
        If the file is not such a model.
    """
    skops = import_optional("skops.io", "Loading a model", "cli")
    if not Path(file).is_file():
        raise FileNotFoundError(f"{file} does not exist; pass the file of a model.")
    try:
        model = skops.load(file, trusted=TRUSTED_TYPES)
    except (ValueError, TypeError, RuntimeError):
        raise
    except Exception as error:  # of zipfile, json and skops
        raise ValueError(
            f"{file} is not a model that skdmn train saved ({error})."
        ) from error
    is_ours = isinstance(model, Pipeline) and isinstance(model[0], ImageReader)
    if not is_ours or not hasattr(model, "predict_proba"):
        raise ValueError(
            f"{file} holds a {type(model).__name__}, not a Pipeline that begins with "
            "an ImageReader and ends with a classifier; pass a model that skdmn train "
            "saved."
        )
    return model


# predict


def predict(options: argparse.Namespace) -> int:
    """Print the class of each file; return 1 if a file could not be read."""
    out = check_writable(options.out, options.force) if options.out else None
    files = list(_expanded(options.files))
    model = load(options.model)
    progress, n_failed, n_done = Progress(), 0, 0
    target: Any = nullcontext(sys.stdout)
    if out is not None:
        target = open(out, "w", encoding="utf-8", newline="")  # noqa: SIM115
    with target as stream:
        write_row = _row_writer(stream, options, model.classes_.tolist())
        for rows, unreadable in _predicted(model, files):
            for file, probabilities in rows:
                write_row(file, probabilities)
            for file, reason in unreadable:
                print(f"skdmn: {file} cannot be read: {reason}", file=sys.stderr)
            n_failed += len(unreadable)
            n_done += len(rows)
            if out is not None:
                progress.now("predicting", n_done, len(files))
    if out is not None:
        progress.clear()
    return 1 if n_failed else 0


def _expanded(files: list[str]) -> Iterator[str]:
    """Yield files, and those in folders."""
    for file in files:
        if os.path.isdir(file):
            yield from (os.path.join(file, name) for name in files_below(file))
        else:
            yield file


def _predicted(
    model: Pipeline, files: list[str]
) -> Iterator[tuple[list[tuple[str, Any]], list[tuple[str, str]]]]:
    """Yield files with their probabilities, and unreadable files, batch by batch."""
    reader, classifier = model[0], model[1:]
    image_bytes = math.prod(reader.image_shape_) * np.dtype(reader.dtype_).itemsize
    size = max(1, min(_MOST, _BATCH_BYTES // image_bytes))
    for start in range(0, len(files), size):
        some = files[start : start + size]
        images, bad = reader.files(some).decoded(np.arange(len(some)))
        good = [at for at in range(len(some)) if at not in bad]
        found: Any = classifier.predict_proba(images[good]) if good else []
        rows = [(some[at], one) for at, one in zip(good, found, strict=True)]
        yield rows, list(bad.values())


def _row_writer(stream: TextIO, options: argparse.Namespace, classes: list[Any]) -> Any:
    """Return a function that writes the probabilities of a file."""
    table = csv.writer(stream, lineterminator="\n")
    if options.format == "csv":
        more = classes if options.all else []
        table.writerow(["file", "label", "probability", *more])

    def write_csv(file: str, probabilities: np.ndarray) -> None:
        shown = [f"{p:.6g}" for p in probabilities]
        best = int(probabilities.argmax())
        more = shown if options.all else []
        table.writerow([file, classes[best], shown[best], *more])

    def write_json(file: str, probabilities: np.ndarray) -> None:
        values = [float(f"{p:.6g}") for p in probabilities]
        best = int(probabilities.argmax())
        row = {"file": file, "label": classes[best], "probability": values[best]}
        if options.all:
            names = map(str, classes)
            row["probabilities"] = dict(zip(names, values, strict=True))
        stream.write(json.dumps(row, ensure_ascii=False) + "\n")

    return write_csv if options.format == "csv" else write_json


# report


def report(options: argparse.Namespace) -> None:
    """Print, and write to a page, where a model is right and wrong."""
    from skdmn.inspection import class_report

    out = check_writable(options.out, options.force) if options.out else None
    if out is not None:
        import_optional("matplotlib", "skdmn report --out", "plot")
    model = load(options.model)
    reader: ImageReader = model[0]
    images, folder = in_memory_if_small(_as_read(reader, options))
    labels = np.array(folder.target_names)[folder.target]
    unknown = sorted({*labels.tolist()} - {*model.classes_.tolist()}, key=str)
    if unknown:
        raise ValueError(
            f"The model does not know the classes {', '.join(map(str, unknown[:9]))}; "
            f"its classes are {', '.join(map(str, model.classes_[:9]))}. Pass a folder "
            "with subfolders of these names."
        )
    folder._report("raise" if options.strict else "warn")
    found = class_report(
        model, images, labels, names=folder.filenames, n_hardest=options.hardest
    )
    print(found)
    if out is not None:
        found.to_html(out)
        print(f"report written to {out}")


def _as_read(reader: ImageReader, options: argparse.Namespace) -> ImageFolder:
    """Return a folder whose images are prepared as those of the training."""
    channels = (*reader.image_shape_, 1)[2]
    preparation = {
        "size": reader.size,
        "color": {1: "grey", 3: "rgb"}.get(channels, "auto"),
        "fit": reader.fit_mode,
        "resampling": reader.resampling,
        "background": reader.background,
        "dtype": reader.dtype,
    }
    folder = ImageFolder._made(options.folder, preparation, **listing(options))
    prepared = reader._preparation()
    if folder.preparation != prepared:
        raise ValueError(
            f"The images become {folder.preparation.shape}, {folder.dtype}, but the "
            f"model takes {prepared.shape}, {prepared.dtype}; pass images such as "
            "those of the training."
        )
    return folder


# export


def export(options: argparse.Namespace) -> None:
    """Convert a model to ONNX, PyTorch or both."""
    if not (options.onnx or options.torch):
        raise ValueError("Nothing to export; pass --onnx OUT, --torch OUT or both.")
    targets = {
        kind: check_writable(file, options.force)
        for kind in ("onnx", "torch")
        if (file := getattr(options, kind))
    }
    for kind in targets:
        import_optional(kind, f"skdmn export --{kind}", kind)
    model = load(options.model)
    made = {kind: _exported(model, kind) for kind in targets}
    for kind, path in targets.items():
        write(path, made[kind])
        print(f"{kind} model written to {path}")


def _exported(model: Pipeline, kind: str) -> bytes:
    """Return a model as a file of ONNX or PyTorch."""
    from skdmn.export import to_onnx, to_torch

    if kind == "onnx":
        reader = model[0]
        example = np.zeros((1, *reader.image_shape_), reader.dtype_)
        return to_onnx(model, example).SerializeToString()
    torch, stream = import_optional("torch", "skdmn export", "torch"), io.BytesIO()
    torch.save(to_torch(model), stream)
    return stream.getvalue()


# info


def info(options: argparse.Namespace) -> None:
    """Print what a model is, and what it was fitted to."""
    model = load(options.model)
    found = {
        "layers": _layers(model),
        "classes": model.classes_.tolist(),
        "preparation": model[0].describe(),
        "training": getattr(model, "training_", {}),
    }
    if options.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    training = found["training"]
    for heading, lines in (
        ("layers", in_table([tuple(row.values()) for row in found["layers"]])),
        ("files", "\n".join(found["preparation"]["steps"])),
        ("training", _training(training) if training else "no record"),
    ):
        print(heading, *(f"  {line}" for line in lines.splitlines()), sep="\n")


def _layers(model: Pipeline) -> list[dict[str, str]]:
    """Return name, class and shape of the output of each layer."""
    shape = " x ".join(map(str, model[0].image_shape_))
    rows = [("read", "ImageReader", f"{shape}, {model[0].dtype_}")]
    for name, step in model.steps[1:]:
        layers = step.named_layers if hasattr(step, "named_layers") else {name: step}
        for own, layer in layers.items():
            if hasattr(layer, "output_shape_"):
                given = " x ".join(map(str, layer.output_shape_))
            else:
                given = f"{len(model.classes_)} classes"
            rows.append((own, type(layer).__name__, given))
    return [dict(zip(("name", "kind", "output"), row, strict=True)) for row in rows]


def _training(training: dict[str, Any]) -> str:
    counts = training["classes"]
    some = [f"{name} ({count})" for name, count in list(counts.items())[:12]]
    more = f" and {len(counts) - 12} more" if len(counts) > 12 else ""
    versions = ", ".join(f"{k} {v}" for k, v in training["versions"].items())
    lines = [
        f"{training['images']} pictures of {len(counts)} classes: "
        f"{', '.join(some)}{more}",
        f"files left out: {training['left_out']}" if training["left_out"] else "",
        "accuracy not estimated",
        f"fitted in {training['seconds']} s on {training['date']}",
        f"by {versions}",
    ]
    if training["accuracies"]:
        lines[2] = (
            f"accuracy {said(training['accuracies'])} by cross-validation in "
            f"{training['folds']} folds"
        )
    return "\n".join(filter(None, lines))
