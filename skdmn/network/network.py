"""DensityMatrixNetwork: layers that process images batch by batch, in one pass."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from numbers import Integral
from typing import Any, ClassVar, Literal, Self

import numpy as np
from sklearn.base import clone
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch, Tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils._repr_html.estimator import _VisualBlock
from sklearn.utils.metaestimators import _BaseComposition

from skdmn.data.images import Images, rows
from skdmn.layers.base import ImageTransformer
from skdmn.network.lazy import LazyFeatures
from skdmn.network.stream import Batches, Stream
from skdmn.operations.chain import chain_of
from skdmn.operations.records import AverageFlips, Flatten, Operation
from skdmn.statistics.ranges import ValueRange
from skdmn.utils.array_api import Array
from skdmn.utils.checks import check_is_fitted
from skdmn.utils.reports import report
from skdmn.utils.state import (
    Field,
    Sizes,
    State,
    StateError,
    checked,
    has_state,
    wrong_state,
)
from skdmn.utils.validation import Shape, one_line, warn_user

Layers = list[tuple[str, Any]]


def _check_fitted_layers(layers: Any, sizes: Sizes) -> None:
    """Raise StateError if there is no list of names and fitted layers."""
    if not isinstance(layers, list) or not all(
        isinstance(pair, tuple)
        and len(pair) == 2
        and isinstance(pair[0], str)
        and isinstance(pair[1], ImageTransformer)
        and not isinstance(pair[1], NamedLayers)
        and has_state(pair[1])
        for pair in layers
    ):
        raise StateError("is no list of (name, fitted layer)")
    if len({name for name, _ in layers}) < len(layers):
        raise StateError("has a name twice")
    if any(layer._only_reshapes for _, layer in layers[:-1]):
        raise StateError("has a FlattenTransformer before other layers")


class NamedLayers(_BaseComposition):
    """Base class of estimators with `layers` by name, and fitted copies `layers_`."""

    layers: Layers
    layers_: Layers
    device: str

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters of the network and of its layers.

        Parameters
        ----------
        deep : bool, default=True
            If False, leave out the layers and their parameters.

        Returns
        -------
        dict
            Parameters by name. A layer has its own name, and its parameters have names
            such as ``conv1__n_filters``.
        """
        return self._get_params("layers", deep=deep)

    def set_params(self, **params: Any) -> Self:
        """Set parameters, replace layers, or set parameters of layers.

        Parameters
        ----------
        **params : dict
            Parameters, with names as in `get_params`.

        Returns
        -------
        self
        """
        self._set_params("layers", **params)
        fitted = dict(getattr(self, "layers_", []))
        for name, value in params.items():
            layer, _, parameter = name.partition("__")
            if layer in fitted and parameter in fitted[layer].get_params():
                fitted[layer].set_params(**{parameter: value})
        return self

    @property
    def named_layers(self) -> Bunch:
        """Layers by name: the fitted layers, or `layers` before `fit`."""
        return Bunch(**dict(getattr(self, "layers_", self.layers)))

    def __getitem__(self, which: str | int | slice) -> Any:
        """Return a layer by name or index, or a network of a slice of the layers."""
        if isinstance(which, slice):
            params = super().get_params(deep=False)
            del params["layers"]
            return self.from_pipeline(self._pipeline()[which], **params)
        layers = self.named_layers
        return layers[which] if isinstance(which, str) else [*layers.values()][which]

    def __len__(self) -> int:
        return len(self.layers)

    def __sklearn_is_fitted__(self) -> bool:
        """Return True if there are fitted layers."""
        return bool(getattr(self, "layers_", []))

    @classmethod
    def from_pipeline(cls, pipeline: Pipeline, **params: Any) -> Self:
        """Convert a Pipeline of layers to a network.

        Parameters
        ----------
        pipeline : Pipeline
            All steps must be layers of skdmn. Remove other steps at the end by
            slicing, as in ``from_pipeline(dmn[:-1])``.
        **params : dict
            Other parameters of the network.

        Returns
        -------
        DensityMatrixNetwork
            Fitted if all layers are. Its layers are copies that share the arrays that
            the layers of the Pipeline learned.

        Raises
        ------
        ValueError
            If a step is not a layer of skdmn.
        """
        network = cls(
            [(name, clone(step, safe=False)) for name, step in pipeline.steps]
        )
        network.set_params(**params)._check_layers()
        if all(hasattr(step, "image_shape_") for _, step in pipeline.steps):
            network.layers_ = _copies(pipeline.steps)
            network._take_input(network.layers_[0][1])
            ranges = (layer._range for _, layer in network.layers_)
            network._range = next(filter(None, ranges), None)
        return network

    def to_pipeline(self) -> Pipeline:
        """Convert the network to a Pipeline of its layers.

        Unlike the network, the Pipeline returns images unless its last layer is a
        FlattenTransformer.

        Returns
        -------
        Pipeline
            Fitted if the network is.

        Raises
        ------
        ValueError
            If the network has ``mirrored=True``, which a Pipeline cannot express.
        """
        if self.mirrored:
            raise ValueError(
                "The network has mirrored=True, and a Pipeline of its layers would not "
                "average flips; set mirrored=False, or put the network itself into a "
                "Pipeline."
            )
        return self._pipeline()

    def _pipeline(self) -> Pipeline:
        if self.__sklearn_is_fitted__():
            return Pipeline(_copies(self.layers_))
        return Pipeline([(name, clone(layer)) for name, layer in self.layers])

    def _check_layers(self) -> None:
        for pair in self.layers:
            is_pair = isinstance(pair, tuple) and len(pair) == 2
            if not is_pair or not isinstance(pair[0], str):
                raise ValueError(
                    f"layers has {one_line(pair)}; pass a list of (name, layer)."
                )
        if not self.layers:
            raise ValueError("layers is empty; pass a list of (name, layer).")
        names, layers = zip(*self.layers, strict=True)
        self._validate_names(names)
        for name, layer in self.layers:
            if not isinstance(layer, ImageTransformer) or isinstance(
                layer, NamedLayers
            ):
                raise ValueError(
                    f"{name!r} is {layer!r}, but a network holds layers of skdmn only; "
                    "put other steps before or behind it in a Pipeline. (from_pipeline "
                    "takes the steps that are layers, such as pipeline[:-1].)"
                )
        for name, layer in self.layers[:-1]:
            if layer._only_reshapes:
                raise ValueError(
                    f"{name!r} is a {type(layer).__name__} before other layers; "
                    "put it last, or omit it, because a network returns rows anyway."
                )
        if self.mirrored and all(layer._only_reshapes for layer in layers):
            raise ValueError(
                "mirrored=True, but the only layer is a FlattenTransformer; add a "
                "layer before it that computes features."
            )
        asked = {str(one.device) for one in (self, *layers)} - {"auto"}
        if len(asked) > 1:
            raise ValueError(
                "device='cpu' and device='cuda' are both asked for by the network and "
                "its layers; set it in one place, and leave the others 'auto'."
            )

    def _sk_visual_block_(self) -> _VisualBlock:
        """Return the layers as boxes, one below the other, as a Pipeline does."""
        names, layers = zip(*getattr(self, "layers_", self.layers), strict=True)
        return _VisualBlock(
            "serial",
            layers,
            names=[
                f"{name}: {type(layer).__name__}"
                for name, layer in zip(names, layers, strict=True)
            ],
            name_details=[str(layer) for layer in layers],
            dash_wrapped=False,
        )

    def __sklearn_tags__(self) -> Tags:
        """Declare that labels are required if a layer requires them."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = any(
            layer.__sklearn_tags__().target_tags.required for _, layer in self.layers
        )
        return tags


class DensityMatrixNetwork(CallbackSupportMixin, NamedLayers, ImageTransformer):
    """Sequence of layers that computes features batch by batch, in little memory.

    The network has the same layers and parameter names as a Pipeline of layers. It
    computes the same features and returns them as rows. But it never holds the feature
    maps of all images in memory: each batch passes through all layers before the next
    batch starts. Moreover, a convolution, the pruning of its channels and the pooling
    after it are computed in one pass.

    Parameters
    ----------
    layers : list of (str, layer)
        Names and layers of skdmn, in order. `fit` fits copies and does not change
        these. A FlattenTransformer has no effect in a network and can only be the last
        layer.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where to compute. "auto" uses the `device` of the layers. If that is "auto" too,
        it uses the device of `X`; for NumPy arrays, a GPU if the work is large and
        CuPy finds one, else the CPU.
    batch_size : int or "auto", default="auto"
        Number of images in a batch. "auto" chooses it such that the batches need less
        than 256 MB (or scikit-learn's ``working_memory``, if that is less), and no more
        than the free memory of a GPU. A batch has at least one image, however large: a
        warning is given if one image needs more than 256 MB, which is the case from
        about 22 million values on (11 million in float64), input and output of a layer
        counted together. `X`, the density matrices and the features that are returned
        are not counted.
    mirrored : bool, default=False
        If True, average the features of each image and of its horizontal flip
        (horizontal-flip averaging). Both then have equal features, so that a
        classifier needs no flipped images. `transform` takes twice as long; `fit` does
        not. True is passed on to layers that have a parameter `mirrored`. A warning
        is given in `fit` if a layer has ``mirrored=True`` and the network has not.
    memory : str, path, joblib.Memory or None, default=None
        Where to cache density matrices, for layers whose own `memory` is None. The
        cache key is made from the images and the layers before, which are not run if
        the matrices are found.
    verbose : bool, default=False
        Print the progress of `fit`, layer by layer.

    Attributes
    ----------
    layers_ : list of (str, layer)
        The fitted layers.
    named_layers : Bunch
        The fitted layers by name, or `layers` before `fit`.
    image_shape_, output_shape_ : (int, int, int)
        Height, width and channels of the input and the output.
    n_features_in_ : int
        Number of values of one image: the product of `image_shape_`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names of `X`. Only if `X` was a data frame in `fit`.

    See Also
    --------
    make_dmn : A Pipeline of such layers and a softmax classifier; see `from_pipeline`.
    LazyFeatures : Features that are computed on access, from `lazy_features`.

    Notes
    -----
    Layers are fitted one after the other. For each layer that learns, the images pass
    through the layers before it again: once, or twice if the layer needs a first look
    at them. Layers that learn nothing need no pass. With `subsample`, only the images
    that were drawn are computed. For the same int as `random_state`, these are the
    images that a Pipeline draws.

    `X` may also be an object that supports slicing only, such as an HDF5 dataset, a
    Zarr array or a memory map. It is read batch by batch, and checked for NaN when a
    batch is read.

    As in a Pipeline, `set_params` also sets parameters of the fitted layers. Those that
    only affect `transform` (`stride`, `padding`, `activation`, `mirrored`) take effect
    immediately. If a layer is replaced, the new one is used from the next `fit` on.

    `fit` calls scikit-learn's callbacks (``set_callbacks``) for every layer and batch.

    Examples
    --------
    >>> from skdmn import ClassPCAPatchTransformer, DensityMatrixNetwork
    >>> from skdmn import MaxPool2DTransformer
    >>> from skdmn.datasets import load_digits_images
    >>> X, y = load_digits_images()
    >>> net = DensityMatrixNetwork([
    ...     ("conv1", ClassPCAPatchTransformer(n_filters=6)),
    ...     ("pool1", MaxPool2DTransformer(2)),
    ...     ("conv2", ClassPCAPatchTransformer(n_filters=20, variance_cutoff=0.99)),
    ... ])
    >>> net.fit_transform(X, y).shape
    (1797, 20)
    >>> net.set_params(conv1__n_filters=4).fit(X, y)["conv1"].filters_.shape
    (4, 3, 3, 1)
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012
        "layers": [list],
        "device": ImageTransformer._parameter_constraints["device"],
        "batch_size": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "mirrored": ["boolean"],
        "memory": [str, HasMethods("cache"), HasMethods("__fspath__"), None],
        "verbose": ["verbose"],
    }

    _state: ClassVar[State] = {
        "layers_": checked(_check_fitted_layers),
        "_learned": Field(is_optional=True),
        "_sums": Field(is_optional=True),
    }
    layers_: Layers

    def __init__(
        self,
        layers: Layers,
        *,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        batch_size: int | Literal["auto"] = "auto",
        mirrored: bool = False,
        memory: Any = None,
        verbose: bool = False,
    ) -> None:
        self.layers = layers
        self.device = device
        self.batch_size = batch_size
        self.mirrored = mirrored
        self.memory = memory
        self.verbose = verbose

    @with_callbacks
    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the layers, one after the other.

        Parameters
        ----------
        X : array-like of shape (n, height, width[, channels]) or (n, n_features)
            Images, integer or float; or rows, see `image_shape` of the first layer.
        y : array-like of shape (n,) or None
            Labels, required if a layer is class-based.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If X, y or the layers are not valid; see `fit` of the layers.
        RuntimeError
            If ``device="cuda"`` and there is no GPU.
        """
        self._check_params()
        context = self._init_callback_context(max_subtasks=len(self.layers))
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        super().fit(X, y)
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def transform_images(self, X: Any) -> Array:
        """Compute features and return them as images instead of rows.

        Parameters
        ----------
        X : array-like of shape (n, height, width[, channels]) or (n, n_features)
            Images or rows, as in `fit`.

        Returns
        -------
        array of shape (n, *output_shape_)
            The output of `transform`, not flattened.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X does not have the shape that was fitted, or is on another device.
        """
        return self._remembered(self._features(X).collect(), X)

    def lazy_features(self, X: Any) -> LazyFeatures:
        """Return features that are computed batch by batch when they are accessed.

        Parameters
        ----------
        X : array-like of shape (n, height, width[, channels]) or (n, n_features)
            Images or rows, as in `fit`. They are not copied.

        Returns
        -------
        LazyFeatures of shape (n, n_features_out)
            Can be indexed along its rows like an array, and written to a file.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X does not have the shape that was fitted, or is on another device.
        """
        return LazyFeatures(self._features(X))

    def compact(self) -> Self:
        """Return a small copy whose layers have no density matrices.

        Returns
        -------
        estimator
            Copy whose `transform` gives the same output.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        check_is_fitted(self)
        compact = copy.copy(self)
        compact.layers_ = [
            (name, layer.compact() if hasattr(layer, "compact") else layer)
            for name, layer in self.layers_
        ]
        return compact

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the features, such as ``y12_x07_f03``.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the input values, checked against `feature_names_in_`.

        Returns
        -------
        ndarray of shape (n_features_out,), object

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the names or their number differ from those in `fit`.
        """
        check_is_fitted(self)
        names: Any = self._checked_names(input_features)
        for _, layer in self.layers_:
            names = layer.get_feature_names_out(names)
        return names

    # methods of ImageTransformer that a layer defines

    @property
    def image_shape(self) -> tuple[int, ...] | None:  # type: ignore[override]
        """`image_shape` of the first layer (the fitted one, if there is one)."""
        return (getattr(self, "layers_", []) or self.layers)[0][1].image_shape

    @property
    def _shape_param(self) -> str:
        return f"{self.layers[0][0]}__image_shape"

    @property
    def _is_dense(self) -> bool:  # type: ignore[override]
        return (getattr(self, "layers_", []) or self.layers)[0][1]._is_dense

    @property
    def _row_is_pixel(self) -> bool:  # type: ignore[override]
        return (getattr(self, "layers_", []) or self.layers)[0][1]._row_is_pixel

    def _check_images(
        self, X: Any, *, reset: bool, method: str = "transform"
    ) -> Images:
        if reset:
            self.__dict__.pop("layers_", None)  # these took other images
        return super()._check_images(X, reset=reset, method=method)

    def _new_shape(self, shape_of_all: tuple[int, ...]) -> Shape:
        return self.layers[0][1]._new_shape(shape_of_all)

    def _device(self) -> str:
        asked = [self.device, *(layer.device for _, layer in self.layers)]
        return next((device for device in asked if device != "auto"), "auto")

    def _products(self, shape: Shape) -> int:
        return sum(layer._products(shape) for _, layer in self.layers)

    def _gives_rows(self) -> bool:
        return True

    @property
    def _has_range(self) -> bool:
        return True

    @property
    def output_shape_(self) -> Shape:
        """Height, width and channels of the features of one image."""
        check_is_fitted(self)
        return self.layers_[-1][1].output_shape_

    def _transform(self, X: Any) -> Array:
        return rows(self._features(X).collect())

    def _features(self, X: Any) -> Stream:
        check_is_fitted(self)
        super()._check_params()  # not of `layers`, which are those of the next fit
        self._check_layers()
        for _, layer in self.layers_:
            layer._check_params()
        images = self._check_images(X, reset=False)
        self._compare_range(images)
        shape = self.output_shape_
        stream = Stream.through(images, self._operations(), shape, self.batch_size)
        stream.warn_of_a_large_image(type(self).__name__)
        return stream

    def _operations(self) -> list[Operation]:
        if not self.layers_:  # a network on a Dask worker, before its first layer
            return []
        chain = chain_of(layer for _, layer in self.layers_)
        operations, rows = list(chain.operations), chain.gives is None
        if rows and isinstance(operations[-1], Flatten):
            operations.pop()  # operations() adds it
        if self.mirrored:
            return [AverageFlips(tuple(operations))]
        return operations

    def _stream(self, images: Images, layers: Layers, shape: Shape) -> Stream:
        """Return images after some layers, as the input of the next one."""
        operations = chain_of(layer for _, layer in layers).operations if layers else ()
        return Stream.through(images, operations, shape, self.batch_size)

    def _fit(self, images: Images, y: Any) -> None:
        for _, layer in self.layers:
            layer._encode(y, len(images))  # raises before any layer is fitted
        self._warn_if_only_layers_are_mirrored()
        layers: Layers = []
        warned = False
        for name, layer in self.layers:
            started = time.perf_counter()
            fitted = self._prepared(layer, layers, images)
            stream = self._stream(images, layers, fitted.image_shape_)
            if fitted._n_passes and not warned:
                warned = stream.warn_of_a_large_image(type(self).__name__)
            with self._task(name, stream, max(1, fitted._n_passes)) as stream:
                fitted._fit(stream, y)
            layers.append((name, fitted))
            if self.verbose:
                took = time.perf_counter() - started
                text = f"{name}, {len(layers)} of {len(self.layers)} layers"
                report(type(self).__name__, text, took)
        self.layers_ = layers

    def _warn_if_only_layers_are_mirrored(self) -> None:
        for name, layer in self.layers:
            if getattr(layer, "mirrored", False) and not self.mirrored:
                warn_user(
                    f"{name!r} has mirrored=True, but the network has mirrored=False. "
                    "Its filters suit images and their flips, but features are not "
                    "averaged over both; set mirrored=True on the network, which "
                    "passes it on to its layers."
                )

    def _fit_elsewhere(
        self,
        sample_shape: tuple[int, ...],
        dtype: Any,
        y: Any,
        n: int,
        *,
        check: Callable[[ImageTransformer], Any],
        gather: Callable[..., Any],
    ) -> None:
        """Fit the layers one after the other on sums over images in other processes.

        For each layer that learns, the images pass through the layers before it again.
        No feature map is kept.

        Parameters
        ----------
        sample_shape, dtype
            Shape of one image or row, and dtype of the images.
        y : array-like of shape (n,) or None
            Labels from which a layer chooses images and classes.
        n : int
            Number of these labels.
        check : callable
            Called with each layer before any is fitted; raises if it cannot be.
        gather : callable
            Called with a prepared layer, a network of the layers before it, the chosen
            labels, sums over no images, and whether they are by class; returns sums. It
            fills `_range` at the first call.
        """
        self._check_params()
        # shape and dtype are checked on one blank image; images are checked for NaN
        # where they are read
        images = self._check_images(np.zeros((1, *sample_shape), dtype), reset=True)
        self._range = ValueRange.empty()
        for _, layer in self.layers:
            check(layer)
        self.layers_ = []
        for name, layer in self.layers:
            fitted = self._prepared(layer, self.layers_, images)
            labels = fitted._choose(y, n)
            sent = self.compact() if self.layers_ else self
            fitted._learn(labels, images.dtype, partial(gather, fitted, sent, labels))
            self.layers_ = [*self.layers_, (name, fitted)]

    def _prepared(
        self, layer: ImageTransformer, before: Layers, images: Images
    ) -> ImageTransformer:
        """Return a copy of a layer with the settings and the input of the network."""
        layer = clone(layer)
        if getattr(layer, "memory", "none to set") is None:
            layer.memory = self.memory
        if self.verbose and hasattr(layer, "verbose"):
            layer.verbose = self.verbose
        if self.mirrored and hasattr(layer, "mirrored"):
            layer.mirrored = True
        if before:
            last = before[-1][1]
            shape = last.output_shape_
            given = (math.prod(shape),) if last._gives_rows() else shape
            shape = layer._new_shape((len(images), *given))
            layer._remember(shape, 1 + len(given), images.backend)
        else:
            layer._take_input(self)
        return layer

    @contextmanager
    def _task(self, name: str, stream: Stream, n_passes: int) -> Iterator[Stream]:
        """Report the progress of the fit of a layer to callbacks."""
        size = stream.batch_size()
        n_batches = n_passes * -(-len(stream) // size)
        task = self._callback_fit_ctx.subcontext(f"fit {name}", max_subtasks=n_batches)
        task.call_on_fit_task_begin(estimator=self)

        def watch(batches: Batches) -> Batches:
            last = None
            for some, batch in batches:
                # if memory runs out, a batch is split; it is reported only once
                if some.start // size == last:
                    yield some, batch
                    continue
                last = some.start // size
                of_batch = task.subcontext("batch")
                of_batch.call_on_fit_task_begin(estimator=self)
                yield some, batch
                of_batch.call_on_fit_task_end(estimator=self)

        yield replace(stream, watch=watch)
        task.call_on_fit_task_end(estimator=self)

    # checks

    def _check_state(self) -> Sizes:
        """Raise if the network and its first layer take different images."""
        sizes = super()._check_state()
        first = self.layers_[0][1] if self.layers_ else self
        for name in ("image_shape_", "_input_ndim"):
            if getattr(first, name) != getattr(self, name):
                raise wrong_state(
                    f"{name} of {type(self).__name__} is {getattr(self, name)}, but "
                    f"its first layer has {getattr(first, name)}"
                )
        return sizes

    def _check_params(self) -> None:
        super()._check_params()
        self._check_layers()
        for _, layer in self.layers:
            layer._check_params()


def _copies(layers: Layers) -> Layers:
    """Return copies of layers that share the arrays they learned."""
    return [(name, copy.copy(layer)) for name, layer in layers]
