"""Base class of layers: input checks, shapes, statistics, operations and output."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils import Tags, check_array
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from skdmn.data.images import Images, rows
from skdmn.data.outputs import is_output, remember_output
from skdmn.data.sliced import Sliced, ignored, is_sliceable
from skdmn.kernels.geometry import Pair
from skdmn.operations.fusion import needs_no_batches, planned
from skdmn.operations.records import Flatten, Operation, check_operations, run
from skdmn.statistics.accumulate import (
    Report,
    Statistics,
    cached_accumulate,
    check_mergeable,
)
from skdmn.statistics.ranges import ValueRange
from skdmn.utils.array_api import (
    DEVICES,
    Array,
    Backend,
    backend_of,
    compute_backend,
    own_backend,
    to_backend,
)
from skdmn.utils.checks import check_is_fitted, validate_data
from skdmn.utils.documentation import DocLinkMixin
from skdmn.utils.labels import union
from skdmn.utils.persistence import PortableMixin
from skdmn.utils.reports import report
from skdmn.utils.state import (
    Field,
    Sizes,
    State,
    StateError,
    check_alike,
    checked,
    classes,
    count,
    lengths,
    part,
    shown,
    strings,
    wrong_state,
)
from skdmn.utils.validation import (
    MOVE_CHANNELS,
    Shape,
    as_one_array,
    as_pair,
    as_shape,
    channels_first_hint,
    check_could_be_images,
    could_be_picture,
    single_image_hint,
    times,
    value_names,
    warn_user,
    with_channels,
)

# attributes that describe the images of the fit
_INPUT = (
    "image_shape_",
    "n_features_in_",
    "feature_names_in_",
    "_input_ndim",
    "_lives",
    "_range",
)

IMAGE = ("height", "width", "channels")  # names of sizes, see `skdmn.utils.state`


class Labels(NamedTuple):
    """Images from which a layer learns, and their classes.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        Sorted labels; ``[0]`` for a layer that does not need labels.
    codes : ndarray of shape (n_chosen,), int
        Index in `classes` for each chosen image.
    chosen : ndarray of shape (n_chosen,), int, or None, default=None
        Sorted indices of the chosen images; None for all images.
    is_repeatable : bool, default=True
        False if another call would choose other images.
    """

    classes: np.ndarray
    codes: np.ndarray
    chosen: np.ndarray | None = None
    is_repeatable: bool = True


# Computes sums over images, in this process or on workers. It takes empty sums and a
# flag (True if the sums are kept by class), and returns the sums over all images.
Gather = Callable[[Any, bool], Any]


def _check_ndim(ndim: Any, sizes: Sizes) -> None:
    """Raise StateError if a number of dimensions does not fit the image shape."""
    if type(ndim) is not int or not 2 <= ndim <= 4:
        raise StateError(f"is {shown(ndim)}, expected 2 for rows, 3 or 4 for images")
    if ndim == 3 and sizes["channels"] != 1:
        raise StateError(f"is 3, but images have {sizes['channels']} channels")


def _check_learned(learned: Any, sizes: Sizes) -> None:
    """Raise StateError if the record of what the sums are of is not complete."""
    if not isinstance(learned, dict) or {"classes", "dtype", "settings"} - {*learned}:
        raise StateError("is no dict of classes, dtype and settings")
    classes().check(learned["classes"], sizes)
    if shown(learned["dtype"]) not in ("'float32'", "'float64'"):
        raise StateError("has a dtype that is neither float32 nor float64")
    settings = learned["settings"]
    if not isinstance(settings, dict) or any(
        isinstance(value, np.ndarray) for value in settings.values()
    ):
        raise StateError("has settings that are no dict of values")


class _RowOutput(DocLinkMixin, PortableMixin, TransformerMixin, BaseEstimator):
    """Holds the ``transform`` that scikit-learn wraps for ``set_output``."""

    def transform(self, X: Any) -> Any:
        return self._transform(X)


def _learns(layer: Any) -> bool:
    """Return True if a layer has statistics, else raise AttributeError."""
    if type(layer)._empty_sums is ImageTransformer._empty_sums:
        raise AttributeError(
            f"{type(layer).__name__} has no statistics of its own to which images "
            "could be added. The layers of a network have; skdmn.federated merges "
            "those of all layers."
        )
    return True


# This class does not wrap `transform`, because images (4-D) stay arrays for any
# `set_output`. Rows go through the wrapped `transform` of the class above. Subclasses
# get scikit-learn's default keys again, and so the method `set_output`.
class ImageTransformer(_RowOutput, auto_wrap_output_keys=None):  # type: ignore[call-arg]
    """Base class of all layers, including your own.

    A layer stores its parameters in ``__init__`` and defines some of the methods below.
    This class does the rest: input checks, batches, devices, progress, feature names
    and output. The layer can then also be used in networks, with Dask and in exports.

    =========================== ======================================================
    method                      what it does
    =========================== ======================================================
    ``_prepare()``              derives attributes from parameters and
                                ``image_shape_``, before any image is read
    ``_empty_sums(n_classes)``  returns sums over no images; a layer without this
                                method learns nothing from images
    ``_set(sums, dtype)``       sets fitted attributes from sums over all images
    ``_operations()``           returns what ``transform`` computes, as a list of
                                records of `skdmn.operations`
    =========================== ======================================================

    Sums are objects with the methods ``update(images, labels)``,
    ``merge(other, labels)`` and ``like(n_classes)``, such as those in
    `skdmn.statistics`. Some layers need one more pass over the images before that, for
    example to compute a threshold. Such a layer sets ``_needs_first_look = True``,
    returns empty sums for this pass from ``_first_look()``, and receives the filled
    sums in ``_take_first_look(sums, dtype)``.

    Every subclass needs the parameters `image_shape` and `device`. To have its fitted
    attributes checked when it is loaded from a file, it declares them in ``_state``,
    see `skdmn.utils.state`.
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012 (scikit-learn's)
        "image_shape": [tuple, list, None],
        "device": [StrOptions(set(DEVICES))],
    }
    _state: ClassVar[State] = {
        "image_shape_": lengths(*IMAGE),
        "n_features_in_": count(equals=IMAGE),
        "feature_names_in_": strings(IMAGE).optional(),
        "_input_ndim": checked(_check_ndim),
        "_lives": Field(),
        "_range": part(ValueRange).or_none().optional(),
        "_learned": checked(_check_learned),
        "_sums": part().optional(),
    }
    _needs_positions = True  # warn about rows without image_shape that may be images
    _one_to_one = False  # outputs correspond to inputs and keep their names
    _only_reshapes = False  # returns rows and computes nothing
    _is_dense = False  # has no positions: a row or image is one pixel of many channels
    _row_is_pixel = False  # a row without image_shape is one pixel of many channels
    _needs_first_look = False  # needs another pass before the sums
    # parameters that the sums do not depend on: a search computes the sums only once
    _not_in_sums: ClassVar[frozenset[str]] = frozenset()

    image_shape: tuple[int, ...] | None
    device: str
    image_shape_: Shape
    n_features_in_: int
    _sums: Any
    _learned: dict[str, Any]
    # range of the images; None if they were not images, but outputs of other layers
    _range: ValueRange | None = None

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from images.

        Parameters
        ----------
        X : array-like of shape (n, height, width[, channels]) or (n, n_features)
            Images, integer or float; or rows, see `image_shape`.
        y : array-like of shape (n,) or None
            Labels, if the layer needs them; else ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If X is not what the parameters ask for.
        RuntimeError
            If ``device="cuda"`` and there is no GPU.
        """
        with self._unchanged_on_error():
            self._check_params()
            images = self._check_images(X, reset=True)
            self._range = self._range_of(images, X)
            self._fit(images, y)
        return self

    @available_if(_learns)
    def partial_fit(self, X: Any, y: Any = None, classes: Any = None) -> Self:
        """Add more images, as if all images had been fitted at once.

        Parameters
        ----------
        X : array-like of shape (n, height, width[, channels]) or (n, n_features)
            Images or rows, as in `fit`.
        y : array-like of shape (n,) or None
            Labels, if the layer needs them. New ones extend `classes_`.
        classes : array-like of shape (n_classes,) or None, default=None
            Labels to include in `classes_`, even if they are not in `y`. Ignored by
            layers that are not class-based.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As `fit` does; also if `subsample` is not 1.0, if `compact` removed the
            sums, or if a parameter that they depend on has changed since.
        """
        with self._unchanged_on_error():
            self._check_params()
            self._check_uses_all_images("partial_fit")
            resume = hasattr(self, "_learned")
            if resume:
                self._check_state()
            images = self._check_images(X, reset=not resume, method="partial_fit")
            seen = self._range_of(images, X)
            before = self._resumable() if resume else None
            labels = self._choose(y, len(images), classes)
            labels = labels._replace(is_repeatable=False)  # not cached
            if before is not None:
                known = union(self._learned["classes"], labels.classes)
                codes = np.searchsorted(known, labels.classes)[labels.codes]
                labels = labels._replace(classes=known, codes=codes)
            self._learn(labels, images.dtype, self._gather(images, labels), before)
            if before is None:
                self._range = seen
            elif self._range is not None and seen is not None:
                self._range.warn_of_other(seen, type(self).__name__)
                self._range = self._range.merged(seen)
        return self

    @available_if(_learns)
    def merge(self, other: Self) -> Self:
        """Add the images of another fitted layer, without access to the images.

        The result is that of a fit on the images of both. Sites that cannot share
        images can therefore fit a layer together.

        Parameters
        ----------
        other : layer of the same class
            Layer that was fitted on other images of the same shape, with the same
            parameters (of those that affect the sums). It is not changed.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            If `other` is of another class.
        ValueError
            If one of the two has no sums (see `compact`), or if the sums cannot be
            added. The message says what differs.
        """
        check_is_fitted(self)
        if type(other) is not type(self):
            raise TypeError(
                f"{type(self).__name__}.merge takes another {type(self).__name__}, got "
                f"{type(other).__name__}."
            )
        check_is_fitted(other)
        return self.finish(self._seen().merge(other._seen()))

    @available_if(_learns)
    def statistics(
        self, X: Any, y: Any = None, *, first_look: Statistics | None = None
    ) -> Statistics:
        """Compute the statistics of images from which `finish` can fit the layer.

        ``layer.finish(layer.statistics(X, y))`` is equivalent to ``layer.fit(X, y)``.

        Parameters
        ----------
        X : array-like of shape (n, height, width[, channels]) or (n, n_features)
            Images or rows, as in `fit`.
        y : array-like of shape (n,) or None
            Labels, if the layer needs them.
        first_look : Statistics or None, default=None
            Result of `first_look`, merged over all sites. None computes it from these
            images only. Ignored by layers that need no first look.

        Returns
        -------
        Statistics
            Sums that can be pickled, and merged with those of other images by ``+``.

        Raises
        ------
        ValueError
            As `fit` does.

        Examples
        --------
        >>> from skdmn import ClassPCAPatchTransformer
        >>> from skdmn.datasets import load_digits_images
        >>> X, y = load_digits_images()
        >>> layer = ClassPCAPatchTransformer()
        >>> here, there = (layer.statistics(X[i::2], y[i::2]) for i in (0, 1))
        >>> layer.finish(here + there).class_counts_.sum()
        np.int64(1797)
        """
        layer, images, labels, gather = self._begun(X, y)
        if first_look is not None:
            check_mergeable(layer._as_first_look(None, images.dtype), first_look)
            layer._take_first_look(first_look.sums, images.dtype)
        elif layer._needs_first_look:
            found = gather(layer._first_look(), False)
            layer._take_first_look(found, images.dtype)
        sums = gather(layer._empty_sums(len(labels.classes)), True)
        return layer._as_statistics(sums, labels.classes, images.dtype)

    @available_if(_learns)
    def first_look(self, X: Any, y: Any = None) -> Statistics | None:
        """Compute the statistics that `statistics` needs from a first pass over images.

        Sites that cannot share images merge their results and pass the sum to
        `statistics`. Only some layers need this, such as WhitenedPCAPatchTransformer
        for ``contrast_floor="auto"``.

        Parameters
        ----------
        X : array-like of shape (n, height, width[, channels]) or (n, n_features)
            Images or rows, as in `fit`.
        y : array-like of shape (n,) or None
            Labels, if the layer needs them.

        Returns
        -------
        Statistics or None
            None if the layer needs no first look.
        """
        if not self._needs_first_look:
            return None
        layer, images, _, gather = self._begun(X, y)
        sums = gather(layer._first_look(), False)
        return layer._as_first_look(sums, images.dtype)

    @available_if(_learns)
    def finish(self, statistics: Statistics) -> Self:
        """Fit the layer from statistics, without any image.

        Parameters
        ----------
        statistics : Statistics
            Result of `statistics` of a layer of this class, or several of them merged.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the statistics are from another class of layers or other parameters.
        """
        with self._unchanged_on_error():
            self._check_params()
            for name, value in statistics.images.items():
                setattr(self, name, value)
            if not hasattr(self, "_lives"):
                self._lives = None
            self._prepare()
            self._adopt(statistics.sums)
            mine = self._as_statistics(None, statistics.classes, statistics.dtype)
            check_mergeable(mine, statistics)
            check_alike(
                *(statistics.sums, self._empty_sums(1), "statistics.sums"),
                known=dict(zip(IMAGE, self.image_shape_, strict=True)),
                n_classes=len(statistics.classes),
            )
            self._keep(statistics.classes, statistics.sums, statistics.dtype)
        return self

    def transform(self, X: Any) -> Any:
        """Compute the layer's output.

        Parameters
        ----------
        X : array-like of shape (n, height, width[, channels]) or (n, n_features)
            Images or rows, as in `fit`.

        Returns
        -------
        array of shape (n, *output_shape_), or (n, n_features_out) for signals
            float32 or float64, in the array namespace and on the device of X.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X does not have the shape that was fitted, or is on another device.
        """
        check_is_fitted(self)
        rows = self._gives_rows()
        found = super().transform(X) if rows else self._transform(X)
        return self._remembered(found, X)

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Fit, then transform the same images.

        Parameters
        ----------
        X : array-like of shape (n, height, width[, channels]) or (n, n_features)
            As in `fit`.
        y : array-like of shape (n,) or None
            As in `fit`.
        **fit_params : dict
            Passed to `fit`.

        Returns
        -------
        array of shape (n, *output_shape_), or (n, n_features_out) for signals
            The output of `transform`.
        """
        self.fit(X, y, **fit_params)
        started = time.perf_counter()
        found = self.transform(X)
        if getattr(self, "verbose", False):
            took = time.perf_counter() - started
            report(type(self).__name__, f"features of {len(found)} images", took)
        return found

    def operations(self) -> list[Operation]:
        """Return what `transform` computes, as records of `skdmn.operations`.

        Returns
        -------
        list of Operation

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        check_is_fitted(self)
        operations = list(self._operations())
        if self._gives_rows():
            operations.append(Flatten(self.output_shape_))
        return operations

    @property
    def output_shape_(self) -> Shape:
        """Height, width and channels of the output for one image."""
        check_is_fitted(self)
        shape = self.image_shape_
        for operation in self._operations():
            shape = operation.output_shape(shape)
        return shape

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the flattened outputs, such as ``y12_x07_f03``.

        Parameters
        ----------
        input_features : array-like of str or None
            Names of the input values, checked against `feature_names_in_`. Layers whose
            outputs correspond to their inputs return these names.

        Returns
        -------
        ndarray of shape (n_features_out,), object
            In C order of (y, x, channel).

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the names or their number differ from those in `fit`.
        """
        check_is_fitted(self)
        names = self._checked_names(input_features)
        if self._one_to_one and names is not None:
            return names
        return value_names(self.output_shape_)

    # the methods that a layer defines

    def _prepare(self) -> None:
        """Derive attributes from parameters and `image_shape_`."""

    def _empty_sums(self, n_classes: int) -> Any:
        """Return sums over no images; None if the layer learns nothing."""
        return None

    def _set(self, sums: Any, dtype: str) -> None:
        """Set fitted attributes from sums over all images.

        ``_learned["classes"]`` has the labels of the classes. `dtype` is the dtype of
        the computation, "float32" or "float64".
        """

    def _operations(self) -> list[Operation]:
        """Return what `transform` computes for images of shape `image_shape_`."""
        raise NotImplementedError(
            f"{type(self).__name__} has no _operations; return a list of records of "
            "skdmn.operations there."
        )

    def _first_look(self) -> Any:
        """Return empty sums for the first look."""
        raise NotImplementedError(f"{type(self).__name__} has no _first_look.")

    def _take_first_look(self, sums: Any, dtype: str) -> None:
        """Set attributes from the sums of the first look."""

    def _adopt(self, sums: Any) -> None:
        """Set from finished sums the attributes that `_take_first_look` sets."""

    def _encode(
        self, y: Any, n_images: int, classes: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return sorted classes and the index of each image among them."""
        return np.zeros(1, dtype=np.int64), np.zeros(n_images, dtype=np.int64)

    def _choose(self, y: Any, n_images: int, classes: Any = None) -> Labels:
        """Choose the images to learn from."""
        return Labels(*self._encode(y, n_images, classes))

    def _sum_settings(self) -> dict[str, Any]:
        """Return the parameters on which the sums depend, resolved for these images."""
        return {}

    def _check_memory(self, n_classes: int) -> None:
        """Raise MemoryError if the sums would not fit in memory."""

    def _check_uses_all_images(self, method: str) -> None:
        """Raise if parameters leave images out."""

    def _report(self, images: Images) -> Report:
        """Return a function to be called with the number of images done."""
        return lambda done: None

    # how layers learn: sum, merge, finish

    @property
    def _n_passes(self) -> int:
        """Number of passes over the images in a fit."""
        if type(self)._empty_sums is ImageTransformer._empty_sums:
            return 0
        return 2 if self._needs_first_look else 1

    def _fit(self, images: Images, y: Any) -> None:
        """Fit on checked images, after `image_shape_` was set."""
        labels = self._choose(y, len(images))
        self._learn(labels, images.dtype, self._gather(images, labels))

    def _learn(
        self, labels: Labels, dtype: str, gather: Gather, before: Any = None
    ) -> None:
        """Compute the sums by `gather`, and set the fitted attributes from them."""
        self._prepare()
        self._check_memory(len(labels.classes))
        if before is None:
            self.__dict__.pop("_learned", None)
            if self._needs_first_look:
                found = gather(self._first_look(), False)
                self._take_first_look(found, dtype)
        sums = self._empty_sums(len(labels.classes))
        if sums is not None:
            if before is not None:
                at = np.searchsorted(labels.classes, self._learned["classes"])
                sums.merge(before, at)
            sums = gather(sums, True)
        self._keep(labels.classes, sums, dtype)

    def _keep(self, classes: np.ndarray, sums: Any, dtype: str) -> None:
        """Keep the sums, and set the fitted attributes."""
        # in one attribute: separate fitted arrays would have to be on the device of X
        self._learned = {
            "classes": classes,
            "dtype": dtype,
            "settings": self._sum_settings(),
        }
        if sums is not None:
            self._sums = sums
        self._set(sums, dtype)

    def _gather(self, images: Images, labels: Labels) -> Gather:
        """Return a function that computes sums over images in this process."""
        if labels.chosen is not None:
            images = replace(images, chosen=labels.chosen)
        memory = getattr(self, "memory", None) if labels.is_repeatable else None

        def gather(sums: Any, by_class: bool) -> Any:
            codes = labels.codes if by_class else np.zeros_like(labels.codes)
            report = self._report(images) if by_class else lambda done: None
            kept = memory if by_class else None
            return cached_accumulate(kept, images, codes, sums, report)

        return gather

    def _begun(self, X: Any, y: Any) -> tuple[Self, Images, Labels, Gather]:
        """Return a copy prepared for the images, and a function that sums over them."""
        layer = clone(self)
        layer._check_params()
        images = layer._check_images(X, reset=True)
        layer._range = layer._range_of(images, X)
        labels = layer._choose(y, len(images))
        layer._prepare()
        layer._check_memory(len(labels.classes))
        return layer, images, labels, layer._gather(images, labels)

    def _seen(self) -> Statistics:
        """Return the statistics of all images of the fit."""
        if not hasattr(self, "_sums"):
            raise ValueError(
                f"This {type(self).__name__} has no sums, because compact() left them "
                "out; use the estimator that compact() was called on."
            )
        self._check_state()
        learned = self._learned
        seen = self._as_statistics(self._sums, learned["classes"], learned["dtype"])
        return replace(seen, settings=learned["settings"])

    def _as_statistics(self, sums: Any, classes: np.ndarray, dtype: str) -> Statistics:
        images = {name: v for name, v in self._input().items() if name != "_lives"}
        return Statistics(
            type(self).__name__,
            sums,
            classes,
            self._sum_settings(),
            images,
            dtype,
        )

    def _as_first_look(self, sums: Any, dtype: str) -> Statistics:
        found = self._as_statistics(sums, np.zeros(1, dtype=np.int64), dtype)
        return replace(found, layer=f"first look of {found.layer}")

    def _resumable(self) -> Any:
        """Return the sums, after checking that their parameters have not changed."""
        if not hasattr(self, "_sums"):
            raise ValueError(
                "partial_fit needs the sums, which compact() left out; continue with "
                "the estimator that compact() was called on."
            )
        then = self._learned["settings"]
        self._prepare()
        for name, now in self._sum_settings().items():
            if now != then[name]:
                raise ValueError(
                    f"{name} was {then[name]} when the sums were computed and is "
                    f"{now} now; set it back, or call fit."
                )
        return self._sums

    # input

    def _transform(self, X: Any) -> Any:
        self._check_params()
        images = self._check_images(X, reset=False)
        self._compare_range(images)
        steps = planned(self.operations(), images.compute, images.dtype)
        shape = self.output_shape_
        return images.map(
            lambda batch: run(steps, batch, images.dtype),
            (math.prod(shape),) if self._gives_rows() else shape,
            needs_no_batches(steps),
        )

    def _gives_rows(self) -> bool:
        return self._is_signal

    @property
    def _is_signal(self) -> bool:
        """True for rows that are one-dimensional signals, or features of one pixel."""
        if self._input_ndim != 2:
            return False
        is_pixel = self._row_is_pixel and self.image_shape is None
        return is_pixel or self.image_shape_[::2] == (1, 1)

    def _check_state(self) -> Sizes:
        """Raise if the fitted attributes are not what the class declares.

        What `transform` computes must also be possible for images of `image_shape_`.
        """
        sizes = super()._check_state()
        try:
            check_operations(self._operations(), self.image_shape_)
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            reason = str(error).rstrip(".")
            raise wrong_state(f"{type(self).__name__} cannot run: {reason}") from error
        learned = getattr(self, "_learned", {"settings": self._sum_settings()})
        for name in self._sum_settings():
            if name not in learned["settings"]:
                raise wrong_state(
                    f"_learned of {type(self).__name__} has no setting {name}"
                )
        return sizes

    def _check_images(
        self, X: Any, *, reset: bool, method: str = "transform"
    ) -> Images:
        """Check X once, and look at it as (n, height, width, channels).

        With `reset` the estimator remembers its shape; without, X must have it.
        """
        backend = backend_of(X)
        if not reset:
            self._check_same_backend(backend, method)
        compute_backend(backend, self._device(), 0)  # raises before X is read
        are_images = not is_output(X)
        X = self._validated(X, reset)
        check_could_be_images(X)
        if reset:
            self._remember(self._new_shape(X.shape), X.ndim, backend)
            shape = self.image_shape_
            hint = channels_first_hint(shape) if are_images and X.ndim > 2 else ""
            if hint:
                warn_user(
                    f"X has shape {tuple(X.shape)}, read as images of {times(shape)}"
                    f"{hint}."
                )
        else:
            shape = self._fitted_shape(X)
        n_products = math.prod(X.shape) * self._products(shape)
        compute = compute_backend(backend, self._device(), n_products)
        return Images.of(X, shape, backend, compute)

    def _range_of(self, images: Images, X: Any) -> ValueRange | None:
        """Return the range of images, or None if X is the output of another layer.

        That of images in files is complete when they were read.
        """
        if not self._has_range or is_output(X):
            return None
        if not isinstance(images.data, Sliced):
            return ValueRange.of(images.data)
        found = ValueRange.empty()
        images.data.observe = found.add
        return found

    def _compare_range(self, images: Images) -> None:
        """Warn, once, of images in another range than those of the fit."""
        fitted = self._range
        if fitted is None or fitted.is_empty:
            return

        def compare(some: Array) -> None:
            if isinstance(images.data, Sliced):
                images.data.observe = ignored
            fitted.warn_of_other(ValueRange.of(some), type(self).__name__)

        if isinstance(images.data, Sliced):
            images.data.observe = compare
        else:
            compare(images.data)

    @property
    def _has_range(self) -> bool:
        """True if the layer learns from the values of images."""
        return type(self)._empty_sums is not ImageTransformer._empty_sums

    def _remembered(self, found: Any, X: Any) -> Any:
        """Return an output; layers after this one then know that it is no image."""
        if self._has_range or is_output(X):
            remember_output(found)
        return found

    def _device(self) -> str:
        return self.device

    def _products(self, shape: Shape) -> int:
        """Return roughly how many products each value of an image takes part in.

        ``device="auto"`` uses a GPU if there are enough.
        """
        return 1

    def _validated(self, X: Any, reset: bool) -> Array | Sliced:
        """Check X; objects that only support slicing are checked when they are read."""
        if is_sliceable(X):
            validate_data(self, X, reset=reset, skip_check_array=True)
            return Sliced(X, type(self).__name__)
        return validate_data(self, as_one_array(X), reset=reset)

    def _remember(self, shape: Shape, ndim: int, backend: Backend) -> None:
        """Set the attributes that describe the images of the fit."""
        self.image_shape_ = shape
        self.n_features_in_ = math.prod(shape)
        self._input_ndim = 2 if self._is_dense else ndim
        # an array that shows namespace and device of X, for layers without fitted
        # arrays; None after unpickling, when any device is allowed
        self._lives = backend.xp.empty(
            0, dtype=backend.xp.float32, device=backend.device
        )

    def _new_shape(self, shape_of_all: tuple[int, ...]) -> Shape:
        """Return the image shape from the shape of X and `image_shape`."""
        if self._is_dense:
            return 1, 1, math.prod(shape_of_all[1:])
        given = as_shape(self.image_shape)
        if len(shape_of_all) > 2:
            shape = with_channels(shape_of_all[1:])
            if given not in (None, shape):
                raise ValueError(
                    f"image_shape={self.image_shape} contradicts X, whose images are "
                    f"{times(shape)}; leave image_shape out for images"
                    f"{channels_first_hint(shape)}."
                )
            return shape
        width = shape_of_all[1]
        if given is not None:
            if math.prod(given) != width:
                raise ValueError(
                    f"image_shape={self.image_shape} asks for rows of "
                    f"{math.prod(given)} features, but X has {width} features."
                )
            return given
        if self._row_is_pixel:
            return 1, 1, width
        if self._needs_positions and could_be_picture(width):
            warn_user(
                f"{type(self).__name__} reads rows of {width} features as signals "
                "one pixel high; if they are flattened images, pass image_shape="
                f"(height, width[, channels]), else image_shape=(1, {width})."
            )
        return 1, width, 1

    @property
    def _shape_param(self) -> str:
        """Name of the parameter with the image shape of rows, for messages."""
        return "image_shape"

    def _fitted_shape(self, X: Array) -> Shape:
        """Return the fitted image shape; raise if X does not have it."""
        name, shape = type(self).__name__, self.image_shape_
        if as_shape(self.image_shape) not in (None, shape):
            raise ValueError(
                f"{self._shape_param}={self.image_shape} was set after {name} was "
                f"fitted on images of {times(shape)}; set it back, or fit again."
            )
        if X.ndim == 2 or self._is_dense:
            n_features = math.prod(X.shape[1:])
            if n_features != self.n_features_in_:
                hint = single_image_hint(X.shape, self.n_features_in_)
                raise ValueError(
                    f"X has {n_features} features, but {name} is expecting "
                    f"{self.n_features_in_} features as input{hint}."
                )
            if self.image_shape is None and not self._is_signal:
                raise ValueError(
                    f"X holds rows, but {name} was fitted on images of "
                    f"{times(shape)}; pass images, or set "
                    f"{self._shape_param}={shape} to pass rows."
                )
        elif self._is_signal:
            raise ValueError(
                f"X holds images, but {name} was fitted on rows of "
                f"{self.n_features_in_} features; pass rows."
            )
        elif with_channels(X.shape[1:]) != shape:
            found = with_channels(X.shape[1:])
            hint = single_image_hint(X.shape, self.n_features_in_)
            if found == (shape[2], *shape[:2]):
                hint = MOVE_CHANNELS
            raise ValueError(
                f"X holds images of {times(found)}, but {name} was fitted on images of "
                f"{times(shape)}{hint or '; pass images of that size'}."
            )
        return shape

    def _input(self) -> dict[str, Any]:
        """Return the attributes that describe the images of the fit."""
        return {name: getattr(self, name) for name in _INPUT if hasattr(self, name)}

    def _take_input(self, source: ImageTransformer) -> None:
        """Copy the attributes that describe the images from another estimator."""
        for name, value in source._input().items():
            setattr(self, name, value)

    def _here(self, array: np.ndarray) -> Array:
        """Move a NumPy array to the namespace and device of the fitted X."""
        return (
            array
            if self._lives is None
            else to_backend(array, own_backend(self._lives))
        )

    def _window(self, name: str) -> Pair:
        """Return a window parameter as (height, width) for the images being fitted."""
        height, width = as_pair(getattr(self, name), name)
        if self._is_signal:
            return 1, min(width, self.image_shape_[1])
        if height > self.image_shape_[0] or width > self.image_shape_[1]:
            raise ValueError(
                f"{name}={getattr(self, name)!r} is larger than the images, which are "
                f"{times(self.image_shape_)} (channels last); pass a smaller {name} or "
                f"larger images{channels_first_hint(self.image_shape_)}."
            )
        return height, width

    def _checked_names(self, input_features: Any) -> np.ndarray | None:
        fitted = getattr(self, "feature_names_in_", None)
        if input_features is None:
            return fitted
        given = np.asarray(input_features, dtype=object)
        if fitted is not None and not np.array_equal(fitted, given):
            raise ValueError("input_features is not equal to feature_names_in_")
        if len(given) != self.n_features_in_:
            raise ValueError(
                "input_features should have length equal to number of features "
                f"({self.n_features_in_}), got {len(given)}"
            )
        return given

    def _inverse(self, X: Any, function: Callable[[Array], Array]) -> Array:
        """Apply a function to rows or images; return them in the shape of the fit."""
        check_is_fitted(self)
        backend, shape = backend_of(X), self.image_shape_
        self._check_same_backend(backend, "inverse_transform")
        compute_backend(backend, self.device, 0)  # raises before X is read
        X = check_array(as_one_array(X), allow_nd=True, ensure_2d=False)
        n_products = math.prod(X.shape) * self._products(shape)
        compute = compute_backend(backend, self.device, n_products)
        expected = [shape, shape[:2]] if shape[2] == 1 else [shape]
        if tuple(X.shape[1:]) not in [*expected, (self.n_features_in_,)]:
            hint = single_image_hint(X.shape, self.n_features_in_)
            raise ValueError(
                f"X has shape {tuple(X.shape)}, but {type(self).__name__} was fitted "
                f"on images of {times(shape)}; pass such images, or rows of "
                f"{self.n_features_in_} values{hint}."
            )
        out = Images.of(X, shape, backend, compute).map(function, shape)
        if self._input_ndim == 2:
            return rows(out)
        return backend.xp.reshape(out, (out.shape[0], *shape[: self._input_ndim - 1]))

    def __sklearn_tags__(self) -> Tags:
        """Declare the properties that scikit-learn's tools ask for."""
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
