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
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skdmn.core.backend import Array
from skdmn.layers.base import ImageTransformer
from skdmn.layers.class_density import ClassDensityTransformer
from skdmn.layers.images import Images, Shape, rows
from skdmn.lazy import LazyFeatures
from skdmn.named import Layers, NamedLayers, copy_input
from skdmn.stages import Batches, BothWays, Stream, plan


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
        Give the mean of the features of each image and of its mirror image, right to
        left: both then have the same, and whoever learns from them needs no mirror
        images. Takes twice as long to compute, no longer to fit. Layers that find
        filters up to mirroring (`WhitenedPCAPatchTransformer`) should be told, too.
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
    mirrored = False  # also of networks saved before there was the parameter

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

    def _output_shape(self, shape: Shape) -> Shape:
        return self.layers_[-1][1].output_shape_

    def _gives_rows(self) -> bool:
        return True

    def _transform(self, X: Any) -> Array:
        return rows(self.transform_images(X))

    def _features(self, X: Any) -> Stream:
        check_is_fitted(self)
        self._check_params()
        for _, layer in self.layers_:
            layer._check_params()
        return self._stream(
            self._check_images(X, reset=False),
            self.layers_,
            self.output_shape_,
            mirrored=self.mirrored,
        )

    def _stream(
        self, images: Images, layers: Layers, shape: Shape, *, mirrored: bool = False
    ) -> Stream:
        stages = plan([layer for _, layer in layers], images.compute, images.dtype)
        return Stream(
            images.data,
            images.place,
            images.compute,
            images.dtype,
            stages=(BothWays(stages),) if mirrored else stages,
            seen_as=shape,
            n_per_batch=self.batch_size,
        )

    def _fit(self, images: Images, y: Any) -> None:
        for _, layer in self.layers:
            if isinstance(layer, ClassDensityTransformer):
                layer._encode(y, len(images))  # raises before any layer is fitted
        layers: Layers = []
        for name, layer in self.layers:
            started = time.perf_counter()
            fitted = self._prepared(layer, layers, images)
            stream = self._stream(images, layers, fitted.image_shape_)
            with self._task(name, stream, fitted._n_passes) as stream:
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
        if before:
            last = before[-1][1]
            shape = last.output_shape_
            given = (math.prod(shape),) if last._gives_rows() else shape
            shape = layer._new_shape((len(images), *given))
            layer._remember(shape, 1 + len(given), images.place)
        else:
            copy_input(self, layer)
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
