"""What a fitted model computes, as few standard operations: what both exports write."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from skdmn.export.simplify import simplified
from skdmn.layers.base import ImageTransformer
from skdmn.layers.class_pca import ClassPCAPatchTransformer
from skdmn.layers.flatten import FlattenTransformer
from skdmn.layers.overlap import OverlapPruner
from skdmn.layers.pooling import AveragePool2DTransformer, MaxPool2DTransformer
from skdmn.layers.scaling import ChannelStandardScaler
from skdmn.layers.whitened_pca import WhitenedPCAPatchTransformer
from skdmn.linear_model.softmax import SoftmaxClassifier
from skdmn.network.network import DensityMatrixNetwork
from skdmn.operations import (
    AveragePool,
    Convolve,
    EncodeContrasts,
    Flatten,
    MaxPool,
    Operation,
    OverMirrors,
    Power,
    Rectify,
    ScaleChannels,
    ScaleValues,
    Scores,
    Select,
    Unflatten,
    Window,
)
from skdmn.utils.array_api import to_numpy
from skdmn.utils.validation import Shape, times


@dataclass(frozen=True)
class Model:
    """What goes in, and what is done with it.

    Attributes
    ----------
    shape : (int, int, int)
        Height, width and channels of an image.
    ndim : int
        Dimensions of X: 2, rows; 3, images without channels; 4.
    operations : tuple of Operation
        They begin with images.
    classes : ndarray or None
        The labels, where the last operation is `Scores`.
    takes_rows : bool
        Whether images of any shape do that have as many values.
    """

    shape: Shape
    ndim: int
    operations: tuple[Operation, ...]
    classes: np.ndarray | None
    takes_rows: bool = False


def model_of(fitted: Any, *, fold: bool = True) -> Model:
    """Say what a fitted layer, network, classifier or Pipeline computes.

    Parameters
    ----------
    fitted : estimator
    fold : bool
        Whether what scales channels may become part of what comes behind.

    Raises
    ------
    TypeError
        Where there is an estimator that is none of these.
    ValueError
        Where a layer was changed after the one behind it had been fitted.
    NotFittedError
        Where one was not fitted.
    """
    steps = list(_steps(fitted, ""))
    if not steps:
        raise TypeError("A Pipeline without steps computes nothing; pass a fitted one.")
    first, last = steps[0], steps[-1]
    part = _chain([_part(step) for step in steps])
    operations = part.operations
    if part.takes is None:
        shape, ndim = (1, int(first.n_features_in_), 1), 2
        operations = [Flatten(shape), *operations]
    else:
        shape, ndim = part.takes, first._input_ndim
    is_classifier = isinstance(operations[-1], Scores)
    classes = to_numpy(last.classes_) if is_classifier else None
    written = simplified(operations, fold)
    return Model(shape, ndim, written, classes, takes_rows=part.takes is None)


def _steps(fitted: Any, name: str) -> Iterator[Any]:
    """Yield what a Pipeline runs, one after the other, checked."""
    if fitted is None or isinstance(fitted, str):  # "passthrough"
        return
    if isinstance(fitted, Pipeline):
        for name, step in fitted.steps:
            yield from _steps(step, name)
        return
    known = _part.dispatch(type(fitted)) is not _part.dispatch(object)
    if not known:
        which = f"step {name!r} is a" if name else "got a"
        raise TypeError(
            "skdmn exports its own layers, networks and SoftmaxClassifier, "
            "StandardScaler and LogisticRegression, and Pipelines of these, but "
            f"{which} {type(fitted).__name__}; export the steps in front of it, as "
            "pipeline[:-1]."
        )
    check_is_fitted(fitted)
    yield fitted


class Part(NamedTuple):
    """Operations between images of a shape, or rows, which are None."""

    takes: Shape | None
    operations: list[Operation]
    gives: Shape | None


def _chain(parts: list[Part]) -> Part:
    """Put parts behind each other."""
    operations: list[Operation] = []
    given = parts[0].takes
    for part in parts:
        if part.takes != given:
            if given and part.takes and math.prod(given) != math.prod(part.takes):
                raise ValueError(
                    f"A layer gives images of {times(given)}, but the next one was "
                    f"fitted on images of {times(part.takes)}; fit all again after "
                    "set_params."
                )
            operations += [Flatten(given)] if given is not None else []
            operations += [Unflatten(part.takes)] if part.takes is not None else []
        operations += part.operations
        given = part.gives
    return Part(parts[0].takes, operations, given)


@functools.singledispatch
def _part(step: Any) -> Part:
    raise NotImplementedError(type(step).__name__)


@_part.register
def _(step: ImageTransformer) -> Part:
    operations, shape = _layer(step), step.output_shape_
    if step._gives_rows():
        return Part(step.image_shape_, [*operations, Flatten(shape)], None)
    return Part(step.image_shape_, operations, shape)


@_part.register
def _(step: DensityMatrixNetwork) -> Part:
    part = _chain([_part(layer) for _, layer in step.layers_])
    if step.mirrored and part.takes is not None:
        of_images, end = part.operations, []
        if isinstance(of_images[-1], Flatten):  # rows are averaged like images
            of_images, end = of_images[:-1], of_images[-1:]
        operations = [OverMirrors(tuple(of_images), part.takes), *end]
        part = part._replace(operations=operations)
    if part.gives is None:
        return part
    return Part(part.takes, [*part.operations, Flatten(part.gives)], None)


@_part.register
def _(step: StandardScaler) -> Part:
    zeros = np.zeros(step.n_features_in_)
    mean = zeros if step.mean_ is None or not step.with_mean else to_numpy(step.mean_)
    scale = zeros + 1 if step.scale_ is None else to_numpy(step.scale_)
    return Part(None, [ScaleValues(mean, scale)], None)


@_part.register
def _(step: SoftmaxClassifier) -> Part:
    coef, mean = to_numpy(step.coef_), to_numpy(step.mean_)
    scores = Scores(coef, to_numpy(step.intercept_) + coef @ mean, mean)
    return Part(None, [scores], None)


@_part.register
def _(step: LogisticRegression) -> Part:
    coef = to_numpy(step.coef_)
    scores = Scores(coef, to_numpy(step.intercept_), np.zeros(coef.shape[1]))
    return Part(None, [scores], None)


@functools.singledispatch
def _layer(layer: Any) -> list[Operation]:
    raise NotImplementedError(type(layer).__name__)


@_layer.register
def _(layer: ClassPCAPatchTransformer) -> list[Operation]:
    filters = to_numpy(layer.filters_)
    size = (filters.shape[1], filters.shape[2])
    window = Window.of(layer.image_shape_, size, layer._strides(), layer.padding)
    convolution = Convolve(filters, window)
    return [convolution, Rectify()] if layer.activation == "relu" else [convolution]


@_layer.register
def _(layer: MaxPool2DTransformer) -> list[Operation]:
    size, strides = layer.pool_size_, layer._strides()
    return [MaxPool(Window.of(layer.image_shape_, size, strides, layer.padding))]


@_layer.register
def _(layer: AveragePool2DTransformer) -> list[Operation]:
    size, strides = layer.pool_size_, layer._strides()
    window = Window.of(layer.image_shape_, size, strides, layer.padding)
    power = [] if layer.power == 1 else [Power(float(layer.power))]
    pool = AveragePool(window, (layer.image_shape_[0], layer.image_shape_[1]))
    return [pool, *power]


@_layer.register
def _(layer: WhitenedPCAPatchTransformer) -> list[Operation]:
    how = layer._encoding(to_numpy(layer.filters_))
    window = Window.of(layer.image_shape_, how.size, (1, 1), "valid")
    return [EncodeContrasts(how.filters, window, how.floor, how.threshold)]


@_layer.register
def _(layer: OverlapPruner) -> list[Operation]:
    kept = to_numpy(layer.get_support(indices=True))
    return [Select(kept, layer.image_shape_[2])]


@_layer.register
def _(layer: ChannelStandardScaler) -> list[Operation]:
    mean, scale = to_numpy(layer.mean_), to_numpy(layer.scale_)
    mean = mean if layer.with_mean else np.zeros_like(mean)
    return [ScaleChannels(mean, scale if layer.with_std else np.ones_like(scale))]


@_layer.register
def _(layer: FlattenTransformer) -> list[Operation]:
    return []  # it gives rows, which is known
