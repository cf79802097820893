"""Density matrices of checked images: batch by batch, reported, cached."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
from sklearn.utils.validation import check_memory

from skdmn.core.backend import to_numpy
from skdmn.core.convolve import Pair
from skdmn.core.density import DensityAccumulator
from skdmn.layers.images import Images

Report = Callable[[int], None]


def accumulate(
    images: Images,
    codes: np.ndarray,
    n_classes: int,
    kernel_size: Pair,
    centered: bool,
    report: Report,
    key: str | None = None,
) -> DensityAccumulator:
    """Sum the patches of images by class.

    Parameters
    ----------
    images : Images
    codes : ndarray of shape (len(images),), int
        Class indices.
    n_classes : int
    kernel_size : (int, int)
    centered : bool
    report : callable
        Called with the number of images done.
    key : str or None
        Stands for the images where results are cached.
    """
    sums = DensityAccumulator.empty(
        n_classes, kernel_size, images.shape[2], centered=centered
    )
    for some, batch in images.batches():
        sums.update(batch, codes[some])
        report(some.stop)
    return sums


def accumulate_cached(
    images: Images,
    codes: np.ndarray,
    n_classes: int,
    kernel_size: Pair,
    centered: bool,
    report: Report,
    memory: Any,
) -> DensityAccumulator:
    """Do the same, once for the same images and labels with joblib's Memory."""
    memory = check_memory(memory)
    arguments = (images, codes, n_classes, kernel_size, centered, report)
    if getattr(memory, "location", "") is None:
        return accumulate(*arguments)
    cached = memory.cache(accumulate, ignore=["images", "report"])
    return cached(*arguments, key=fingerprint(images))


def fingerprint(images: Images) -> str:
    """Hash the images that count, batch by batch, wherever they lie."""
    hashes = [
        joblib.hash(np.ascontiguousarray(to_numpy(batch)))
        for _, batch in images.batches()
    ]
    return joblib.hash((hashes, images.dtype))


def reporter(name: str, total: int, verbose: int) -> Report:
    """Return a function that prints how many images are done, once a second."""
    started = last = time.perf_counter()

    def report(done: int) -> None:
        nonlocal last
        now = time.perf_counter()
        if verbose and (done == total or now - last >= 1.0):
            last = now
            print(
                f"[{name}] density matrices: {done} of {total} images, "
                f"{now - started:.1f} s"
            )

    return report
