"""The command ``skdmn train``: from a folder of pictures to a model."""

from __future__ import annotations

import argparse
import datetime
import math
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline

from skdmn._version import __version__
from skdmn.cli.output import Progress, check_writable, write
from skdmn.data.files import save_batches
from skdmn.data.pictures import UnequalSizesError
from skdmn.datasets.folder import ImageFolder
from skdmn.presets import recommended_dmn
from skdmn.utils.memory import in_words
from skdmn.utils.optional import import_optional

LARGE, USUAL = 96, 64  # pixels: images larger than this, or unequal, become this
IN_MEMORY = 2**28  # bytes of images, and of features, that are kept in memory


def train(options: argparse.Namespace) -> None:
    """Fit a model to a folder, estimate its accuracy, and save it."""
    out = None
    if options.out:
        out = check_writable(options.out, options.force)
        if out.suffix != ".skops":
            raise ValueError(f"--out {out} must end in .skops; change the extension.")
        # not skops.io, whose import may take 200 MB of memory during the fit
        import_optional("skops", "skdmn train --out", "cli")
    progress = Progress()
    started = time.perf_counter()
    progress.now(f"reading {options.folder}")
    images, folder = _images(options)
    names = np.array(folder.target_names)
    labels = names[folder.target]
    counts = Counter(labels.tolist())
    _check_counts(counts, options.folds)
    shape = folder.shape[1:]
    progress.clear()
    folder._report("raise" if options.strict else "warn")
    size = " x ".join(map(str, shape))
    print(f"{len(labels)} pictures of {len(counts)} classes, read as {size}")
    dmn = recommended_dmn(
        shape,
        n_filters=options.n_filters,
        mirrored=options.mirrored,
        C=options.C,
        device=options.device,
        random_state=options.seed,
    )
    n_filters = dmn["features"]["conv"].n_filters
    n_cells = 9 if len(shape) > 2 else 16  # of recommended_dmn
    with _workplace(4 * len(labels) * 2 * n_filters * n_cells) as place:
        accuracies = _validated(dmn, images, labels, options, place, progress)
        model = _fitted(dmn, images, labels, place, progress, "all pictures")
    seconds = time.perf_counter() - started
    network, softmax = model["features"].compact(), model["softmax"]
    model = Pipeline(
        [("read", folder.reader), ("features", network), ("softmax", softmax)]
    )
    model.training_ = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "images": len(labels),
        "classes": {str(name): counts[name] for name in names.tolist()},
        "left_out": len(folder.unreadable),
        "folds": options.folds,
        "accuracies": accuracies,
        "seconds": round(seconds, 1),
        "versions": {
            "skdmn": __version__,
            "scikit-learn": sklearn.__version__,
            "numpy": np.__version__,
        },
    }
    if accuracies:
        print(f"accuracy {said(accuracies)} by cross-validation")
    print(f"{seconds:.1f} s")
    if out is None:
        print("not saved; pass --out FILE.skops to save the model")
        return
    import skops.io

    write(out, skops.io.dumps(model))
    print(f"model saved in {out} ({in_words(out.stat().st_size)})")


def said(accuracies: list[float]) -> str:
    """Return the mean accuracy of folds, and its standard error."""
    spread = np.std(accuracies, ddof=1) / math.sqrt(len(accuracies))
    return f"{np.mean(accuracies):.2%} (standard error {spread:.2%})"


def _images(options: argparse.Namespace) -> tuple[Any, ImageFolder]:
    """Return the images, in memory if they are small, and the folder with labels."""
    preparation = {
        "size": options.size,
        "color": options.color,
        "fit": options.fit,
        "resampling": options.resampling,
        "background": options.background,
        "dtype": options.dtype,
    }
    others = listing(options)
    try:
        folder = ImageFolder._made(options.folder, preparation, **others)
        is_large = max(folder.shape[1:3]) > LARGE
    except UnequalSizesError:
        is_large = True
    if options.size is None and is_large:
        preparation["size"] = USUAL
        folder = ImageFolder._made(options.folder, preparation, **others)
    # new files of another size are resized, even if those of the folder had one size
    height, width = folder.shape[1:3]
    folder.reader.size = (height, width)
    return in_memory_if_small(folder)


def listing(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options that say which files are pictures."""
    return {
        "root": None,
        "columns": options.columns,
        "extensions": options.extensions,
        "on_error": "raise" if options.strict else "warn",
    }


def in_memory_if_small(folder: ImageFolder) -> tuple[Any, ImageFolder]:
    """Return the images, decoded if they are small, and the folder of those."""
    if math.prod(folder.shape) * folder.dtype.itemsize <= IN_MEMORY:
        return folder._loaded()
    folder = folder._without(folder._damaged())
    return folder, folder


def _check_counts(counts: Counter, folds: int) -> None:
    """Raise if there is one class only, or too few images for the folds."""
    if len(counts) < 2:
        raise ValueError(
            f"There is only one class, {next(iter(counts))}; a classifier needs two."
        )
    name, least = min(counts.items(), key=lambda item: item[1])
    if least < folds:
        advice = f"--folds {least}" if least > 1 else "--folds 0, for no validation"
        raise ValueError(
            f"The class {name} has {least} pictures, but --folds {folds} needs at "
            f"least {folds} of each class; add pictures, or pass {advice}."
        )


@contextmanager
def _workplace(n_bytes: int) -> Iterator[Path | None]:
    """Yield a temporary folder if features of this size need one, else None."""
    if n_bytes <= IN_MEMORY:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="skdmn-") as folder:
        free = shutil.disk_usage(folder).free
        if free < 1.05 * n_bytes:
            raise OSError(
                f"The features need up to {in_words(n_bytes)} in {folder}, which has "
                f"{in_words(free)} left; set TMPDIR to a folder with more, or pass "
                "fewer --n-filters."
            )
        yield Path(folder)


def _validated(
    dmn: Pipeline,
    images: Any,
    labels: np.ndarray,
    options: argparse.Namespace,
    place: Path | None,
    progress: Progress,
) -> list[float]:
    """Return the accuracy on each fold, of models that were fitted to the others."""
    if not options.folds:
        return []
    folds = StratifiedKFold(options.folds, shuffle=True, random_state=options.seed)
    found = []
    blank = np.zeros(len(labels))
    for number, (fit, test) in enumerate(folds.split(blank, labels), start=1):
        started, title = time.perf_counter(), f"fold {number} of {options.folds}"
        model = _fitted(dmn, _some(images, fit), labels[fit], place, progress, title)
        progress.now(f"{title}: accuracy")
        lazy = model["features"].lazy_features(_some(images, test))
        right = model["softmax"].predict(lazy) == labels[test]
        found.append(float(right.mean()))
        seconds = time.perf_counter() - started
        progress.step(f"{title}: accuracy {found[-1]:.2%}, {seconds:.1f} s")
    return found


def _some(images: Any, rows: np.ndarray) -> Any:
    is_array = isinstance(images, np.ndarray)
    return images[rows] if is_array else images.subset(rows)


def _fitted(
    dmn: Pipeline,
    images: Any,
    labels: np.ndarray,
    place: Path | None,
    progress: Progress,
    title: str,
) -> Pipeline:
    """Return a fitted copy of a network, in bounded memory."""
    model, n = clone(dmn), len(labels)
    progress.now(f"{title}: filters")
    network = model["features"].fit(images, labels)
    lazy = network.lazy_features(images)

    def watched() -> Iterator[np.ndarray]:
        done = 0
        for batch in lazy:
            done += len(batch)
            yield batch
            progress.now(f"{title}: features", done, n)

    progress.now(f"{title}: features", 0, n)
    if place is None:
        features, at = np.empty(lazy.shape, lazy.dtype), 0
        for batch in watched():
            features[at : at + len(batch)] = batch
            at += len(batch)
    else:
        features, _ = save_batches(watched(), place / "features.npy", overwrite=True)
    progress.now(f"{title}: classifier")
    model["softmax"].fit(features, labels)
    progress.clear()
    return model
