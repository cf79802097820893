"""A stack of layers that batches run through from first to last."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import clone
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch, Tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils._repr_html.estimator import _VisualBlock
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.validation import check_is_fitted

from skdmn.data.images import Images, rows
from skdmn.layers.base import ImageTransformer
from skdmn.network.lazy import LazyFeatures
from skdmn.network.stream import Batches, Stream
from skdmn.operations.chain import chain_of
from skdmn.operations.records import AverageFlips, Flatten, Operation
from skdmn.utils.array_api import Array
from skdmn.utils.validation import Shape

Layers = list[tuple[str, Any]]


class NamedLayers(_BaseComposition):
    """Base class of estimators that hold `layers`, and fitted copies in `layers_`."""

    layers: Layers
    layers_: Layers
    device: str

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return parameters, with `deep` those of the layers too.

        Parameters
        ----------
        deep : bool, default=True

        Returns
        -------
        dict
            The layers by their names, and their parameters as ``conv1__n_filters``.
        """
        return self._get_params("layers", deep=deep)

    def set_params(self, **params: Any) -> Self:
        """Set parameters, replace layers, or set parameters of layers.

        Parameters
        ----------
        **params : dict
            Named as in `get_params`.

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
        """The layers by name: the fitted ones, before `fit` those given."""
        return Bunch(**dict(getattr(self, "layers_", self.layers)))

    def __getitem__(self, which: str | int | slice) -> Any:
        """Return a layer by name or number, or a network of some of them."""
        if isinstance(which, slice):
            params = super().get_params(deep=False)
            del params["layers"]
            return self.from_pipeline(self._pipeline()[which], **params)
        layers = self.named_layers
        return layers[which] if isinstance(which, str) else [*layers.values()][which]

    def __len__(self) -> int:
        return len(self.layers)

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there are fitted layers."""
        return hasattr(self, "layers_")

    @classmethod
    def from_pipeline(cls, pipeline: Pipeline, **params: Any) -> Self:
        """Make a network of the layers of a Pipeline.

        Parameters
        ----------
        pipeline : Pipeline
            Of layers of this package alone: leave others behind them out by slicing,
            ``from_pipeline(dmn[:-1])``.
        **params : dict
            The network's other parameters.

        Returns
        -------
        DensityMatrixNetwork
            Fitted where all layers are, of the arrays that they learned; the
            Pipeline's layers stay its own.

        Raises
        ------
        ValueError
            Where a step is no layer.
        """
        network = cls(
            [(name, clone(step, safe=False)) for name, step in pipeline.steps]
        )
        network.set_params(**params)._check_layers()
        if all(hasattr(step, "image_shape_") for _, step in pipeline.steps):
            network.layers_ = _copies(pipeline.steps)
            network._take_input(network.layers_[0][1])
        return network

    def to_pipeline(self) -> Pipeline:
        """Return a Pipeline of the layers, fitted where the network is.

        It gives images where the last layer is no FlattenTransformer.

        Returns
        -------
        Pipeline

        Raises
        ------
        ValueError
            Where the network is `mirrored`, which no Pipeline is.
        """
        if self.mirrored:
            raise ValueError(
                "mirrored=True: no Pipeline of the layers gives what the network does; "
                "set mirrored=False, or put the network itself into a Pipeline."
            )
        return self._pipeline()

    def _pipeline(self) -> Pipeline:
        if self.__sklearn_is_fitted__():
            return Pipeline(_copies(self.layers_))
        return Pipeline([(name, clone(layer)) for name, layer in self.layers])

    def _check_layers(self) -> None:
        for pair in self.layers:
            if not (isinstance(pair, tuple) and len(pair) == 2):
                raise ValueError(f"layers has {pair!r}; pass a list of (name, layer).")
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
                    "put other steps behind it in a Pipeline, and leave them out of "
                    "from_pipeline with pipeline[:-1]."
                )
        for name, layer in self.layers[:-1]:
            if layer._only_reshapes:
                raise ValueError(
                    f"{name!r} is a {type(layer).__name__} in front of other layers; "
                    "put it last, or leave it out, since a network gives rows anyway."
                )
        if self.mirrored and all(layer._only_reshapes for layer in layers):
            raise ValueError(
                "mirrored=True, but there is no layer but a FlattenTransformer; put "
                "one in front that computes features."
            )
        for name, layer in self.layers:
            if not self.mirrored and getattr(layer, "mirrored", False):
                raise ValueError(
                    f"{name!r} has mirrored=True, but the network mirrored=False; set "
                    "mirrored=True on the network, which passes it on to its layers."
                )
        asked = {self.device, *(layer.device for layer in layers)} - {"auto"}
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
        """Declare that labels are required, where a layer requires them."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = any(
            layer.__sklearn_tags__().target_tags.required for _, layer in self.layers
        )
        return tags


class DensityMatrixNetwork(CallbackSupportMixin, NamedLayers, ImageTransformer):
    """Layers that images run through batch by batch, from pixels to features.

    It holds the layers that a Pipeline would hold, under the same parameter names, and
    gives the same features as rows. But no feature map of all images is ever in
    memory: each batch goes through all layers before the next one starts, and a
    convolution, the pruning and the pooling behind it are computed in one pass.

    Parameters
    ----------
    layers : list of (str, layer)
        Names and layers of this package, in order; a FlattenTransformer, which changes
        nothing here, can only be the last. They stay as they are: `fit` fits copies.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where batches are computed. "auto": what the layers say; where they say "auto"
        too, where `X` lies, for NumPy a GPU where CuPy finds one, else the processor.
    batch_size : int or "auto", default="auto"
        How many images are computed at a time. "auto": so many that all batches take
        less than 256 MB besides `X`, density matrices and the features returned, for
        any number of images and filters, as long as a single image does; less than
        scikit-learn's configured ``working_memory`` where that is less; on a GPU no
        more than its free memory allows.
    mirrored : bool, default=False
        Average the features of each image and of its horizontal flip, so that both
        have the same features and no flipped images are needed to learn from them.
        `transform` takes twice as long, `fit` does not. Layers that have a parameter
        `mirrored` are fitted with it.
    memory : str, path, joblib.Memory or None, default=None
        Where to cache density matrices, for layers whose own `memory` is None. They
        are found again by the images and the layers in front, which are not run.
    verbose : bool, default=False
        Print the progress of `fit`, layer by layer.

    Attributes
    ----------
    layers_ : list of (str, layer)
        The fitted layers.
    named_layers : Bunch
        The same by name; before `fit`, `layers` by name.
    image_shape_, output_shape_ : (int, int, int)
        Height, width and channels, in and out.
    n_features_in_ : int
        Values of one image: the product of `image_shape_`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of `X`, where it was a data frame.

    See Also
    --------
    make_dmn : A Pipeline of such layers and a softmax; see `from_pipeline`.
    LazyFeatures : What `lazy_features` gives.

    Notes
    -----
    Layers are fitted one after the other. One that learns takes one pass over the
    images, which run through the layers in front of it again; one that learns nothing
    takes none. With `subsample`, only the images drawn are run; they are those that the
    Pipeline draws with the same int as `random_state`.

    `X` may also be what can only be sliced, such as an HDF5 dataset, a Zarr array or a
    memory map: it is read batch by batch, and NaN is found when its batch is read.

    `set_params` reaches the fitted layers too: as in a Pipeline, what acts in
    `transform` alone (`stride`, `padding`, `activation`, `mirrored`) acts at once. A
    layer that is replaced is used from the next `fit` on.

    `fit` tells scikit-learn's callbacks (``set_callbacks``) of every layer and batch.

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
            Labels, required where a layer is class-based.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Where X, y or the layers are not what they must be; see the layers.
        RuntimeError
            Where ``device="cuda"`` finds no GPU.
        """
        self._check_params()
        context = self._init_callback_context(max_subtasks=len(self.layers))
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        super().fit(X, y)
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def transform_images(self, X: Any) -> Array:
        """Compute features, and leave them in the shape of images.

        Parameters
        ----------
        X : array-like of shape (n, height, width[, channels]) or (n, n_features)
            As in `fit`.

        Returns
        -------
        array of shape (n, *output_shape_)
            What `transform` gives as rows.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            Where X has not the shape that was fitted, or lies elsewhere.
        """
        return self._features(X).collect()

    def lazy_features(self, X: Any) -> LazyFeatures:
        """Promise features: they are computed when they are asked for.

        Parameters
        ----------
        X : array-like of shape (n, height, width[, channels]) or (n, n_features)
            As in `fit`. Kept, not copied.

        Returns
        -------
        LazyFeatures of shape (n, n_features_out)

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            Where X has not the shape that was fitted, or lies elsewhere.
        """
        return LazyFeatures(self._features(X))

    def compact(self) -> Self:
        """Return a copy whose layers have no density matrices: small to save or send.

        Returns
        -------
        estimator
            Transforms as this one does.

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
        """Name the features, as the layers do: ``y12_x07_f03``.

        Parameters
        ----------
        input_features : array-like of str or None
            Names of the values of the input, checked against those fitted.

        Returns
        -------
        ndarray of shape (n_features_out,), object

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            Where the names given are not those fitted, or not as many.
        """
        check_is_fitted(self)
        names: Any = self._checked_names(input_features)
        for _, layer in self.layers_:
            names = layer.get_feature_names_out(names)
        return names

    # what a layer fills in

    @property
    def image_shape(self) -> tuple[int, ...] | None:  # type: ignore[override]
        """What the first layer says: the fitted one, if there is one."""
        return (getattr(self, "layers_", []) or self.layers)[0][1].image_shape

    @property
    def _shape_param(self) -> str:
        return f"{self.layers[0][0]}__image_shape"

    def _new_shape(self, shape_of_all: tuple[int, ...]) -> Shape:
        return self.layers[0][1]._new_shape(shape_of_all)

    def _device(self) -> str:
        asked = [self.device, *(layer.device for _, layer in self.layers)]
        return next((device for device in asked if device != "auto"), "auto")

    def _gives_rows(self) -> bool:
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
        self._check_params()
        for _, layer in self.layers_:
            layer._check_params()
        images = self._check_images(X, reset=False)
        shape = self.output_shape_
        return Stream.through(images, self._operations(), shape, self.batch_size)

    def _operations(self) -> list[Operation]:
        chain = chain_of(layer for _, layer in self.layers_)
        operations, rows = list(chain.operations), chain.gives is None
        if rows and isinstance(operations[-1], Flatten):
            operations.pop()  # operations() adds it
        if self.mirrored:
            return [AverageFlips(tuple(operations))]
        return operations

    def _stream(self, images: Images, layers: Layers, shape: Shape) -> Stream:
        """Return images as the layer behind some layers sees them."""
        operations = chain_of(layer for _, layer in layers).operations if layers else ()
        return Stream.through(images, operations, shape, self.batch_size)

    def _fit(self, images: Images, y: Any) -> None:
        for _, layer in self.layers:
            layer._encode(y, len(images))  # raises before any layer is fitted
        layers: Layers = []
        for name, layer in self.layers:
            started = time.perf_counter()
            fitted = self._prepared(layer, layers, images)
            stream = self._stream(images, layers, fitted.image_shape_)
            with self._task(name, stream, max(1, fitted._n_passes)) as stream:
                fitted._fit(stream, y)
            layers.append((name, fitted))
            if self.verbose:
                took = time.perf_counter() - started
                print(
                    f"[{type(self).__name__}] {name}, {len(layers)} of "
                    f"{len(self.layers)} layers, {took:.1f} s"
                )
        self.layers_ = layers

    def _prepared(
        self, layer: ImageTransformer, before: Layers, images: Images
    ) -> ImageTransformer:
        """Return a copy of a layer that knows what its input will be like."""
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
        """Tell callbacks how far the fit of a layer is."""
        size = stream.batch_size()
        n_batches = n_passes * -(-len(stream) // size)
        task = self._callback_fit_ctx.subcontext(f"fit {name}", max_subtasks=n_batches)
        task.call_on_fit_task_begin(estimator=self)

        def watch(batches: Batches) -> Batches:
            last = None
            for some, batch in batches:
                # where memory ran out, several batches come for one that was told of
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

    def _check_params(self) -> None:
        super()._check_params()
        self._check_layers()
        for _, layer in self.layers:
            layer._check_params()


def _copies(layers: Layers) -> Layers:
    """Copy layers, sharing the arrays that they learned."""
    return [(name, copy.copy(layer)) for name, layer in layers]
