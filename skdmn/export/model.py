"""Fitted models as lists of operations, from which the exports are written."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from skdmn.data.reader import ImageReader
from skdmn.network.walking import steps_of
from skdmn.operations import (
    Flatten,
    Operation,
    ScaleValues,
    Scores,
    chain_of,
    simplified,
)
from skdmn.utils.array_api import to_numpy
from skdmn.utils.validation import Shape


@dataclass(frozen=True)
class Model:
    """A fitted model as operations.

    Attributes
    ----------
    shape : (int, int, int)
        Height, width and channels of an image.
    ndim : int
        Number of dimensions of X: 2 for rows, 3 for images without a channel axis,
        4 for images with one.
    operations : tuple of Operation
        Operations on images, with NumPy arrays.
    classes : ndarray or None
        The labels, if the last operation is `Scores`.
    takes_rows : bool
        True if the model takes rows, and so images of any shape with as many values.
    reader : ImageReader or None
        First step of the model, which reads files. It is not part of the operations.
    values : str or None
        Range of the values of the images of the fit, in words, if it is known.
    """

    shape: Shape
    ndim: int
    operations: tuple[Operation, ...]
    classes: np.ndarray | None
    takes_rows: bool = False
    reader: ImageReader | None = None
    values: str | None = None

    @property
    def preparation(self) -> dict[str, Any] | None:
        """How files are prepared for the model; None if it does not read files."""
        if self.reader is None or len(self.reader.image_shape_) == 1:
            return None
        return self.reader.describe()


def model_of(fitted: Any, *, fold: bool = True) -> Model:
    """Return a fitted layer, network, classifier or Pipeline as a list of operations.

    Parameters
    ----------
    fitted : estimator
        Fitted estimator with ``operations()``, or a StandardScaler, LogisticRegression
        or Pipeline, which may begin with an ImageReader.
    fold : bool, default=True
        If True, fold the scaling of channels into the next operation.

    Raises
    ------
    TypeError
        If an estimator has no ``operations()``.
    ValueError
        If a layer was changed after the next one was fitted.
    NotFittedError
        If an estimator is not fitted.
    """
    named, reader = list(steps_of(fitted, "")), None
    if len(named) > 1 and isinstance(named[0][1], ImageReader):
        reader = named.pop(0)[1]
        check_is_fitted(reader)
    steps = [with_operations(step, name) for name, step in named]
    if not steps:
        raise TypeError("A Pipeline without steps computes nothing; pass a fitted one.")
    chain = chain_of(steps)
    operations = [operation.on_host() for operation in chain.operations]
    if chain.takes is None:
        shape, ndim = (1, int(steps[0].n_features_in_), 1), 2
        operations = [Flatten(shape), *operations]
    else:
        shape, ndim = chain.takes, steps[0]._input_ndim
    last = operations[-1] if operations else None
    classes = to_numpy(last.classes) if isinstance(last, Scores) else None
    written = simplified(operations, fold)
    found = getattr(steps[0], "_range", None)
    values = None if found is None or found.is_empty else found.in_words()
    takes_rows = chain.takes is None or (ndim == 2 and shape[:2] == (1, 1))
    return Model(shape, ndim, written, classes, takes_rows, reader, values)


class _FromScikitLearn(NamedTuple):
    """Operations of an estimator of scikit-learn that takes rows."""

    n_features_in_: int
    computed: list[Operation]

    def operations(self) -> list[Operation]:
        return self.computed


def with_operations(step: Any, name: str) -> Any:
    """Return a fitted estimator that has ``operations()``."""
    if hasattr(step, "operations"):
        check_is_fitted(step)
        return step
    if _computed.dispatch(type(step)) is _computed.dispatch(object):
        which = f"step {name!r} is a" if name else "got a"
        raise TypeError(
            "skdmn exports layers, networks and classifiers that have operations(), "
            "StandardScaler and LogisticRegression, and Pipelines of these, but "
            f"{which} {type(step).__name__}; export the steps before or behind it, as "
            "pipeline[:-1] or pipeline[1:], and run it yourself."
        )
    check_is_fitted(step)
    return _FromScikitLearn(step.n_features_in_, _computed(step))


@functools.singledispatch
def _computed(step: Any) -> list[Operation]:
    raise NotImplementedError(type(step).__name__)


@_computed.register
def _(step: StandardScaler) -> list[Operation]:
    zeros = np.zeros(step.n_features_in_)
    mean = zeros if step.mean_ is None or not step.with_mean else to_numpy(step.mean_)
    scale = zeros + 1 if step.scale_ is None else to_numpy(step.scale_)
    return [ScaleValues(mean, scale)]


@_computed.register
def _(step: LogisticRegression) -> list[Operation]:
    coef = to_numpy(step.coef_)
    mean = np.zeros(coef.shape[1])
    return [Scores(coef, to_numpy(step.intercept_), mean, to_numpy(step.classes_))]


def one_hot_kernels(height: int, width: int, channels: int) -> np.ndarray:
    """Return kernels of a grouped convolution that copies the pixels of each patch.

    Returns
    -------
    ndarray of shape (channels * height * width, 1, height, width), float64
        A kernel for every entry of a patch, in C order of (channel, y, x).
    """
    kernels = np.eye(height * width).reshape(-1, 1, height, width)
    return np.tile(kernels, (channels, 1, 1, 1))


def refuse(operation: Operation, target: str) -> TypeError:
    """Return the error for an operation that an export does not know."""
    return TypeError(
        f"{type(operation).__name__} is not an operation that skdmn exports to "
        f"{target}; express the layer by the records of skdmn.operations, or export "
        "the layers before it."
    )
