"""Statistics of a layer: sums over images that can be merged.

All sums have the methods of `Sums`. Therefore the same code serves fits, files,
workers, and sites that cannot share images.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import joblib
import numpy as np
from sklearn.utils.validation import check_memory

from skdmn.data.images import Images
from skdmn.utils.labels import union
from skdmn.utils.validation import warn_user

Report = Callable[[int], None]

# increase if the meaning of sums changes: joblib only notices changes of `accumulate`
_FORMAT = 4


class Sums(Protocol):
    """Protocol of sums over images that can be merged."""

    def update(self, images: Any, labels: np.ndarray) -> None:
        """Add images of shape (n, height, width, channels).

        `labels` are their class indices, from 0, as an ndarray of shape (n,).
        """

    def merge(self, other: Any, labels: np.ndarray | None = None) -> None:
        """Add another sum; `labels` are the indices of its classes among these."""

    def like(self, n_classes: int) -> Self:
        """Return a sum of the same kind for `n_classes` classes, without any images."""


@dataclass
class Statistics:
    """Statistics of images from which a layer computes its fitted attributes.

    ``layer.statistics(X, y)`` computes them, and ``layer.finish(statistics)`` sets the
    fitted attributes. Statistics can be merged and pickled, and contain no images.

    Attributes
    ----------
    layer : str
        Name of the class of the layer.
    sums : object
        Sums over the images.
    classes : ndarray of shape (n_classes,)
        Labels of the classes; ``[0]`` if the layer is not class-based.
    settings : dict
        Parameters on which the sums depend.
    images : dict
        Shape of the images and names of their values.
    dtype : {"float32", "float64"}
        Dtype of the fitted arrays.
    """

    layer: str
    sums: Any
    classes: np.ndarray
    settings: dict[str, Any]
    images: dict[str, Any] = field(default_factory=dict)
    dtype: str = "float32"

    def merge(self, other: Statistics) -> Statistics:
        """Return the statistics of the images of both.

        Parameters
        ----------
        other : Statistics
            Statistics of the same layer, with the same settings, for images of the
            same shape.

        Returns
        -------
        Statistics
            New object; neither of the two is changed.

        Raises
        ------
        ValueError
            If the two were not computed alike. The message says what differs.
        """
        check_mergeable(self, other)
        classes = union(self.classes, other.classes)
        sums = self.sums.like(len(classes))
        for one in (self, other):
            sums.merge(one.sums, np.searchsorted(classes, one.classes))
        dtype = max(self.dtype, other.dtype)  # "float64" if one of them is
        images = self.images | _merged_range(self, other)
        return replace(self, sums=sums, classes=classes, images=images, dtype=dtype)

    def __add__(self, other: Statistics) -> Statistics:
        return self.merge(other)


def _merged_range(first: Statistics, second: Statistics) -> dict[str, Any]:
    """Return the range of the images of both, with a warning if the two differ."""
    one, other = (each.images.get("_range") for each in (first, second))
    if one is None or other is None:
        return {}
    if one.factor_of(other) is not None:
        warn_user(
            f"The statistics of images with values from {one.in_words()} are merged "
            f"with those of images with values from {other.in_words()}; compute both "
            "from images in the same range."
        )
    return {"_range": one.merged(other)}


def check_mergeable(first: Statistics, second: Statistics) -> None:
    """Raise if two statistics cannot be merged; the message says what differs."""
    if not isinstance(second, Statistics):
        raise TypeError(
            f"Statistics merge with Statistics, got {type(second).__name__}; pass what "
            "layer.statistics(X, y) returns."
        )
    if first.layer != second.layer:
        raise ValueError(
            f"Statistics of {first.layer} and of {second.layer} cannot be merged; fit "
            "layers of one class."
        )
    shapes = [one.images.get("image_shape_") for one in (first, second)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"Statistics of images of shape {shapes[0]} and of shape {shapes[1]} "
            "(height, width, channels) cannot be merged; bring the images to one shape."
        )
    for name, value in first.settings.items():
        other = second.settings.get(name)
        if other != value:
            raise ValueError(
                f"Statistics with {name}={value} and with {name}={other} cannot be "
                f"merged; compute both with the same {name}."
            )


def accumulate(
    images: Images,
    codes: np.ndarray,
    sums: Any,
    report: Report,
    key: str | None = None,
) -> Any:
    """Add images to sums, batch by batch.

    Parameters
    ----------
    images : Images
        Images to add.
    codes : ndarray of shape (len(images),), int
        Class indices.
    sums : Sums
        Sums to which images are added, in place.
    report : callable
        Called with the number of images that are done.
    key : str or None, default=None
        Identifies the images if results are cached.

    Returns
    -------
    Sums
        `sums`.
    """
    for some, batch in images.batches():
        sums.update(batch, codes[some])
        report(some.stop)
    return sums


def cached_accumulate(
    memory: Any, images: Images, codes: np.ndarray, sums: Any, report: Report
) -> Any:
    """Call `accumulate`, or read its result from a joblib.Memory."""
    memory = check_memory(
        os.fspath(memory) if hasattr(memory, "__fspath__") else memory
    )
    if getattr(memory, "location", "") is None:
        return accumulate(images, codes, sums, report)
    cached = memory.cache(accumulate, ignore=["images", "report"])
    key = joblib.hash((_FORMAT, images.fingerprint()))
    return cached(images, codes, sums, report, key=key)
