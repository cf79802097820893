"""Fitted classifiers as operations on images, with the filters of their last layer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np
import scipy.sparse
from sklearn.base import is_classifier
from sklearn.linear_model._base import LinearClassifierMixin
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from skdmn.data.sliced import Sliced, is_sliceable
from skdmn.export.model import with_operations
from skdmn.inspection.tracing import check_known, flat
from skdmn.network.walking import steps_of
from skdmn.operations import (
    Concatenate,
    Convolve,
    Encode,
    Flatten,
    Operation,
    ScaleValues,
    Scores,
    Select,
    Unflatten,
    chain_of,
)
from skdmn.utils.array_api import HOST, to_numpy
from skdmn.utils.labels import as_objects
from skdmn.utils.validation import (
    Shape,
    as_one_array,
    single_image_hint,
    with_channels,
)

_PASS = (
    "pass a Pipeline that ends in a SoftmaxClassifier or a linear classifier of "
    "scikit-learn, such as LogisticRegression or LinearSVC."
)


@dataclass(frozen=True)
class Filters:
    """The filters of the last layer that has filters.

    Attributes
    ----------
    filters : ndarray of shape (n_filters, kernel height, kernel width, channels)
    labels : ndarray of shape (n_filters,)
        Class of each filter; "all" if filters were not computed by class. With
        brightness levels, strings, which are "brightness" for the filters of these.
    of_channel : ndarray of shape (n_channels,), int
        Index of the filter of each channel of the last feature map.
    """

    filters: np.ndarray
    labels: np.ndarray
    of_channel: np.ndarray


@dataclass(frozen=True)
class LinearModel:
    """A classifier as operations on images, and a linear function of their output.

    Attributes
    ----------
    before : list of transformers
        Steps that are run as they are, such as a reader of files.
    first : estimator
        First step that is explained. It checks the images.
    operations : tuple of Operation
        Operations on images (n, height, width, channels), with arrays of float64.
    on_rows : tuple of Operation
        Operations between the last feature map and the classifier.
    scores : Scores
        The classifier.
    shape : (int, int, int) or None
        Height, width and channels of the images; None if the model takes rows.
    filters : Filters or None
        Filters behind the channels of the last feature map.
    """

    before: list[Any]
    first: Any
    operations: tuple[Operation, ...]
    on_rows: tuple[Operation, ...]
    scores: Scores
    shape: Shape | None
    filters: Filters | None

    @classmethod
    def of(cls, model: Any) -> LinearModel:
        """Return a fitted classifier as a linear model; see `contributions`."""
        model = getattr(model, "best_estimator_", model)
        steps = list(steps_of(model, ""))
        if not steps:
            raise TypeError(f"A Pipeline without steps has no logits; {_PASS}")
        *layers, (_, head) = steps
        scores = scores_of(head)
        before = list(itertools.takewhile(lambda one: not _is_known(one[1]), layers))
        layers = layers[len(before) :]
        for name, step in layers:
            if not _is_known(step):
                raise TypeError(
                    f"Step {name!r} is a {type(step).__name__}, whose computation is "
                    "not known to skdmn.inspection; use layers that have operations(), "
                    "and StandardScaler, or put this step before them."
                )
        if not layers:
            return cls([s for _, s in before], head, (), (), _wide(scores), None, None)
        estimators = [with_operations(step, name) for name, step in layers]
        chain = chain_of(estimators)
        operations = [_wide(one) for one in chain.operations]
        if chain.takes is None:
            operations.insert(0, Flatten((1, int(layers[0][1].n_features_in_), 1)))
        check_known(operations)
        rows: list[Operation] = []
        while operations and isinstance(
            operations[-1], Flatten | Unflatten | ScaleValues
        ):
            rows.insert(0, operations.pop())
        # the last feature map is what the first of these operations flattens
        leading = list(itertools.takewhile(lambda o: not isinstance(o, Flatten), rows))
        operations += leading
        return cls(
            [step for _, step in before],
            layers[0][1],
            tuple(operations),
            tuple(rows[len(leading) :]),
            _wide(scores),
            chain.takes,
            _filters_of([step for _, step in layers], operations),
        )

    def images(self, X: Any) -> np.ndarray | Sliced:
        """Check X, and return it as (n, height, width, channels)."""
        for step in self.before:
            X = step.transform(X)
        if self.shape is not None:
            images = self.first._check_images(X, reset=False).data
            return images if isinstance(images, Sliced) else to_numpy(images)
        name, n_features = type(self.first).__name__, int(self.first.n_features_in_)
        lazy = is_sliceable(X)
        X = (
            Sliced(X, name)
            if lazy
            else check_array(
                _on_host(as_one_array(X)),
                dtype="numeric",
                allow_nd=True,
                ensure_2d=False,
            )
        )
        if X.ndim < 2 or math.prod(X.shape[1:]) != n_features:
            hint = single_image_hint(X.shape, n_features)
            raise ValueError(
                f"X has shape {X.shape}, but {name} is expecting {n_features} features "
                f"as input{hint or '; pass what the model was fitted on'}."
            )
        shape = (1, n_features, 1) if X.ndim == 2 else with_channels(X.shape[1:])
        shape_of_all = (X.shape[0], *shape)
        return X.reshaped(shape_of_all) if lazy else X.reshape(shape_of_all)


def _on_host(values: Any) -> Any:
    """Return an array of another library as a NumPy array."""
    return to_numpy(values) if array_api_compat.is_array_api_obj(values) else values


def scores_of(head: Any) -> Scores:
    """Return the linear function of a fitted classifier.

    Raises
    ------
    TypeError
        If the classifier is not linear, or has other outputs than one for each class.
    NotFittedError
        If it is not fitted.
    """
    if hasattr(head, "operations") and is_classifier(head):
        check_is_fitted(head)
        last = head.operations()[-1]
        if isinstance(last, Scores):
            return last
    if not isinstance(head, LinearClassifierMixin):
        what = "is no classifier" if not is_classifier(head) else "is not linear"
        raise TypeError(
            f"{type(head).__name__} {what}, so it has no logits that are sums over "
            f"features; {_PASS}"
        )
    check_is_fitted(head)
    coef = head.coef_.toarray() if scipy.sparse.issparse(head.coef_) else head.coef_
    coef, classes = np.atleast_2d(to_numpy(coef)), to_numpy(head.classes_)
    if len(coef) != (len(classes) if len(classes) > 2 else 1):
        raise TypeError(
            f"{type(head).__name__} has {len(coef)} outputs for {len(classes)} "
            f"classes; {_PASS}"
        )
    intercept = np.asarray(to_numpy(head.intercept_), dtype=np.float64)
    intercept = np.broadcast_to(intercept, len(coef))
    return Scores(coef, intercept, np.zeros(coef.shape[1]), classes)


def class_indices(target: Any, classes: np.ndarray, n: int) -> np.ndarray:
    """Return the index in `classes` of one label, or of n labels.

    Raises
    ------
    ValueError
        If a label is not in `classes`, or their number is not `n`.
    """
    known = {label: index for index, label in enumerate(as_objects(classes))}
    labels = np.asarray(_on_host(target))
    if labels.ndim > 1 or (labels.ndim == 1 and len(labels) != n):
        raise ValueError(
            f"target has shape {labels.shape}, but X has {n} samples; pass None, one "
            "label, or one label for each sample."
        )
    indices = []
    for label in as_objects(np.atleast_1d(labels)):
        if label not in known:
            raise ValueError(
                f"target {label!r} is not a class of the model; pass one of "
                f"{', '.join(map(repr, known))}."
            )
        indices.append(known[label])
    return np.resize(np.array(indices, dtype=np.intp), n)


def _is_known(step: Any) -> bool:
    return hasattr(step, "operations") or isinstance(step, StandardScaler)


def _wide(operation: Any) -> Any:
    return operation.moved(HOST, "float64")


def _layers(steps: Iterable[Any]) -> Iterator[Any]:
    """Yield layers, and those inside of networks."""
    for step in steps:
        inner = getattr(step, "layers_", None)
        yield from [step] if inner is None else _layers(layer for _, layer in inner)


def _filters_of(
    steps: Iterable[Any], operations: Iterable[Operation]
) -> Filters | None:
    """Return the filters of the last layer that has some, or None."""
    last, owner = None, None
    for layer in _layers(steps):
        for one in flat(layer.operations() if hasattr(layer, "operations") else ()):
            if isinstance(one, Convolve | Encode | Concatenate):
                last, owner = one, layer
    banks = None if last is None else _banks(last)
    if banks is None:
        return None
    of_channel: np.ndarray | None = None
    flattened: Shape | None = None
    for one in flat(operations):
        match one:
            case Convolve(filters=filters):
                of_channel = np.arange(len(filters))
            case Encode(filters=filters):
                of_channel = np.tile(np.arange(len(filters)), 2)
            case Concatenate():
                of_channel = _of_channels(one)
            case Select(channels=channels) if of_channel is not None:
                of_channel = of_channel[channels]
            case Flatten(shape=shape):
                flattened = shape
            case Unflatten(shape=shape) if shape != flattened:
                return None  # channels are no longer those of filters
    if of_channel is None:
        return None
    filters = np.concatenate(banks).astype(np.float64)
    labels = _labels_of(owner, len(banks[0]))
    if len(banks) > 1:
        others = np.full(len(filters) - len(labels), "brightness")
        labels = np.concatenate([labels.astype(str), others])
    return Filters(filters, labels, of_channel)


def _banks(operation: Operation) -> list[np.ndarray] | None:
    """Return the filters of an operation or its branches; None if they do not fit."""
    branches: tuple[tuple[Operation, ...], ...] = ((operation,),)
    if isinstance(operation, Concatenate):
        branches = operation.branches
    banks = []
    for branch in branches:
        one = _with_filters(branch)
        if one is None:
            return None
        banks.append(to_numpy(one.filters))
    return banks if len({bank.shape[1:] for bank in banks}) == 1 else None


def _of_channels(operation: Concatenate) -> np.ndarray | None:
    """Return the index of the filter of each channel, among those of all branches."""
    found, n_filters = [], 0
    for branch in operation.branches:
        one = _with_filters(branch)
        if one is None:
            return None
        n, sides = len(one.filters), 2 if isinstance(one, Encode) else 1
        found.append(n_filters + np.tile(np.arange(n), sides))
        n_filters += n
    return np.concatenate(found)


def _with_filters(branch: Iterable[Operation]) -> Convolve | Encode | None:
    """Return the last operation of a branch that has filters, or None."""
    found = [one for one in branch if isinstance(one, Convolve | Encode)]
    return found[-1] if found else None


def _labels_of(layer: Any, n_filters: int) -> np.ndarray:
    """Return the class of each filter of a layer; "all" if there are no classes."""
    labels = getattr(layer, "filter_classes_", None)
    if labels is not None and getattr(layer, "class_based", True):
        labels = to_numpy(labels)
        if labels.shape == (n_filters,):
            return labels
    return np.full(n_filters, "all")
