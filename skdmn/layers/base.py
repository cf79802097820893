"""What every layer shares: checks, shapes, batches, device, feature names."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags, check_array
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from skdmn.data.images import Images, rows
from skdmn.data.sliced import Sliced, is_sliceable
from skdmn.kernels.geometry import Pair
from skdmn.utils.array_api import (
    DEVICES,
    Array,
    Backend,
    backend_of,
    compute_backend,
    float_dtype,
    own_backend,
    to_backend,
)
from skdmn.utils.persistence import PortableMixin
from skdmn.utils.validation import (
    Shape,
    as_pair,
    as_shape,
    check_could_be_images,
    check_is_one_array,
    could_be_picture,
    times,
    value_names,
    warn_user,
    with_channels,
)


class _RowOutput(PortableMixin, TransformerMixin, BaseEstimator):
    """Holds the ``transform`` that scikit-learn wraps for ``set_output``."""

    def transform(self, X: Any) -> Any:
        return self._transform(X)


# No auto-wrapping here: images (4-D) stay arrays whatever `set_output` says, and
# rows go through the wrapped transform of the class above. Subclasses get the default
# keys again, hence `set_output` itself.
class ImageTransformer(_RowOutput, auto_wrap_output_keys=None):  # type: ignore[call-arg]
    """Base class of the layers.

    A layer keeps its parameters, learns in ``_fit(images, y)`` and computes a batch in
    ``_forward(batch)``; ``_output_shape`` says what it does to height, width and
    channels. Everything about input and output is done here.
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012 (scikit-learn's)
        "image_shape": [tuple, list, None],
        "device": [StrOptions(set(DEVICES))],
    }
    _needs_positions = True  # whether rows without image_shape may be a mistake
    _any_dtype = False  # whether _forward takes any batch, in any dtype
    _n_passes = 1  # over the images, in a fit
    _one_to_one = False  # whether values keep their places, so names theirs

    image_shape: tuple[int, ...] | None
    device: str
    image_shape_: Shape
    n_features_in_: int

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from images.

        Parameters
        ----------
        X : array-like of shape (n, height, width[, channels]) or (n, n_features)
            Images, integer or float; or rows, see `image_shape`.
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Where X is not what the parameters ask for.
        RuntimeError
            Where ``device="cuda"`` finds no GPU.
        """
        with self._unchanged_on_error():
            self._check_params()
            self._fit(self._check_images(X, reset=True), y)
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
            float32 or float64, of X's library and device.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            Where X has not the shape that was fitted, or lies elsewhere.
        """
        check_is_fitted(self)
        return super().transform(X) if self._gives_rows() else self._transform(X)

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
            As `transform` gives.
        """
        return self.fit(X, y, **fit_params).transform(X)

    @property
    def output_shape_(self) -> Shape:
        """Height, width and channels of what `transform` gives for one image."""
        check_is_fitted(self)
        return self._output_shape(self.image_shape_)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the values of one flattened output, as ``y12_x07_f03``.

        Parameters
        ----------
        input_features : array-like of str or None
            Names of the values of the input, checked against those fitted. Layers
            that keep every value in its place give these.

        Returns
        -------
        ndarray of shape (n_features_out,), object
            In C order of (y, x, channel).

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            Where the names given are not those fitted, or not as many.
        """
        check_is_fitted(self)
        names = self._checked_names(input_features)
        if self._one_to_one and names is not None:
            return names
        return value_names(self.output_shape_)

    # what a layer fills in

    def _fit(self, images: Images, y: Any) -> None:
        """Learn; ``image_shape_`` is known already."""

    def _output_shape(self, shape: Shape) -> Shape:
        return shape

    def _forward(self, batch: Array) -> Array:
        raise NotImplementedError

    # what is done for it

    def _transform(self, X: Any) -> Any:
        self._check_params()
        images = self._check_images(X, reset=False)
        out = images.map(self._forward, self.output_shape_, self._any_dtype)
        return rows(out) if self._gives_rows() else out

    def _gives_rows(self) -> bool:
        return self._is_signal

    @property
    def _is_signal(self) -> bool:
        """Whether what was fitted were rows that are not pictures."""
        return self._input_ndim == 2 and self.image_shape_[::2] == (1, 1)

    def _check_params(self) -> None:
        if not get_config()["skip_parameter_validation"]:
            self._validate_params()

    def _check_images(
        self, X: Any, *, reset: bool, method: str = "transform"
    ) -> Images:
        """Check X once, and look at it as (n, height, width, channels).

        With `reset` the estimator remembers its shape; without, X must have it.
        """
        backend = backend_of(X)
        if not reset:
            self._check_same_backend(backend, method)
        compute = compute_backend(backend, self._device())
        X = self._validated(X, reset)
        check_could_be_images(X)
        if reset:
            self._remember(self._new_shape(X.shape), X.ndim, backend)
            shape = self.image_shape_
        else:
            shape = self._fitted_shape(X)
        return Images.of(X, shape, backend, compute)

    def _device(self) -> str:
        return self.device

    def _validated(self, X: Any, reset: bool) -> Array | Sliced:
        """Return X as an array of finite numbers; what is only sliced is read later."""
        if is_sliceable(X):
            validate_data(self, X, reset=reset, skip_check_array=True, ensure_2d=False)
            return Sliced(X, type(self).__name__)
        check_is_one_array(X)
        return validate_data(self, X, reset=reset, allow_nd=True, ensure_2d=False)

    def _remember(self, shape: Shape, ndim: int, backend: Backend) -> None:
        """Keep what images are like that the layer is fitted on."""
        self.image_shape_ = shape
        self.n_features_in_ = math.prod(shape)
        self._input_ndim = ndim
        # lives where X does, also in layers that learn no arrays; None once
        # pickled: then X may lie anywhere
        self._lives = backend.xp.empty(
            0, dtype=backend.xp.float32, device=backend.device
        )

    def _new_shape(self, shape_of_all: tuple[int, ...]) -> Shape:
        """Return the image shape that X's shape and `image_shape` say."""
        given = as_shape(self.image_shape)
        if len(shape_of_all) > 2:
            shape = with_channels(shape_of_all[1:])
            if given not in (None, shape):
                raise ValueError(
                    f"image_shape={self.image_shape} contradicts X, whose images are "
                    f"{times(shape)}; leave image_shape out for images."
                )
            if shape[0] in (1, 3) and shape[1] == shape[2] > 4:
                warn_user(
                    f"X has shape {tuple(shape_of_all)}, read as images of "
                    f"{times(shape)}; "
                    "if channels come first, pass np.moveaxis(X, 1, -1)."
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
        if self._needs_positions and could_be_picture(width):
            warn_user(
                f"{type(self).__name__} reads rows of {width} features as signals "
                "one pixel high; if they are flattened images, pass image_shape="
                f"(height, width[, channels]), else image_shape=(1, {width})."
            )
        return 1, width, 1

    @property
    def _shape_param(self) -> str:
        """What the parameter is called that tells the shape of rows."""
        return "image_shape"

    def _fitted_shape(self, X: Array) -> Shape:
        """Return the fitted image shape, or say how X differs from it."""
        name, shape = type(self).__name__, self.image_shape_
        if as_shape(self.image_shape) not in (None, shape):
            raise ValueError(
                f"{self._shape_param}={self.image_shape} was set after {name} was "
                f"fitted on images of {times(shape)}; set it back, or fit again."
            )
        if X.ndim == 2:
            if X.shape[1] != self.n_features_in_:
                raise ValueError(
                    f"X has {X.shape[1]} features, but {name} is expecting "
                    f"{self.n_features_in_} features as input."
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
            raise ValueError(
                f"X holds images of {times(with_channels(X.shape[1:]))}, but {name} "
                f"was fitted on images of {times(shape)}; pass images of that size."
            )
        return shape

    def _here(self, array: np.ndarray) -> Array:
        """Move a NumPy result to where X was, as fitted attributes are kept."""
        return (
            array
            if self._lives is None
            else to_backend(array, own_backend(self._lives))
        )

    @staticmethod
    def _like(fitted: Array, batch: Array) -> Array:
        """Move a fitted array to where a batch is, in the dtype of its floats."""
        backend = own_backend(batch)
        dtype = float_dtype(batch, backend.xp)
        return backend.xp.astype(to_backend(fitted, backend), dtype)

    def _window(self, name: str) -> Pair:
        """Return a window parameter as (height, width) for the images being fitted."""
        height, width = as_pair(getattr(self, name), name)
        if self._is_signal:
            return 1, min(width, self.image_shape_[1])
        if height > self.image_shape_[0] or width > self.image_shape_[1]:
            raise ValueError(
                f"{name}={getattr(self, name)!r} is larger than the images, which are "
                f"{times(self.image_shape_)} (channels last); pass a smaller {name} or "
                "larger images."
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
        """Apply a function to rows or images, give them the shape of those fitted."""
        check_is_fitted(self)
        backend, shape = backend_of(X), self.image_shape_
        self._check_same_backend(backend, "inverse_transform")
        compute = compute_backend(backend, self.device)
        X = check_array(X, allow_nd=True, ensure_2d=False)
        expected = [shape, shape[:2]] if shape[2] == 1 else [shape]
        if tuple(X.shape[1:]) not in [*expected, (self.n_features_in_,)]:
            raise ValueError(
                f"X has shape {tuple(X.shape)}, but {type(self).__name__} was fitted "
                f"on images of {times(shape)}; pass such images, or rows of "
                f"{self.n_features_in_} values."
            )
        out = Images.of(X, shape, backend, compute).map(function, shape)
        if self._input_ndim == 2:
            return rows(out)
        return backend.xp.reshape(out, (out.shape[0], *shape[: self._input_ndim - 1]))

    def __sklearn_tags__(self) -> Tags:
        """Declare what scikit-learn's checks and meta-estimators ask."""
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
