"""ImageReader: the step of a model that reads files as they were read in training."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags, check_array
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import (
    _check_feature_names_in,
    check_is_fitted,
    validate_data,
)

from skdmn.data.pictures import (
    BACKGROUNDS,
    COLORS,
    DTYPES,
    FITS,
    RESAMPLINGS,
    ImageFiles,
    Preparation,
    check_background,
    check_options,
    is_file,
    listed,
    names_of,
    read_headers,
    resolved,
)
from skdmn.data.sliced import is_sliceable
from skdmn.utils.array_api import working_memory
from skdmn.utils.documentation import DocLinkMixin
from skdmn.utils.persistence import PortableMixin
from skdmn.utils.state import Sizes, State, StateError, checked, count, shown, strings
from skdmn.utils.validation import (
    LARGEST_SIZE,
    as_one_array,
    check_could_be_images,
    single_image_hint,
    value_names,
    with_channels,
)

_LEARNED = ("image_shape_", "dtype_", "n_features_in_", "feature_names_in_")


def _check_shape(shape: Any, sizes: Sizes) -> None:
    """Raise StateError if a value is not the shape of an image or of a row."""
    is_shape = isinstance(shape, tuple) and 1 <= len(shape) <= 3
    if not is_shape or not all(
        type(size) is int and 1 <= size <= LARGEST_SIZE for size in shape
    ):
        raise StateError(f"is {shown(shape)}, expected a tuple of 1 to 3 positive ints")
    sizes["n_values"] = math.prod(shape)


def _check_dtype(dtype: Any, sizes: Sizes) -> None:
    """Raise StateError if a value is not the name of a dtype of numbers."""
    try:
        kind = np.dtype(dtype).kind if isinstance(dtype, str) else ""
    except TypeError:
        kind = ""
    if not kind or kind not in "biuf":
        raise StateError(f"is {shown(dtype)}, expected the name of a dtype of numbers")


class ImageReader(DocLinkMixin, PortableMixin, TransformerMixin, BaseEstimator):
    """Read files of images, always prepared in the same way.

    As the first step of a Pipeline, or in front of a `DensityMatrixNetwork`, it lets
    `fit` and `predict` take file names. Size, color, fit, resampling and dtype are then
    part of the model: new files are prepared exactly as those of the training were.
    Arrays of images pass through it unchanged.

    Parameters
    ----------
    size : int, (int, int) or None, default=None
        Height and width to which images are resized. None keeps their size, and
        refuses images that differ in size.
    color : {"auto", "grey", "rgb"}, default="auto"
        "grey" converts to one channel, "rgb" to three. "auto" converts to three if any
        image of the fit has colors, else to one. TIFF files with other numbers of
        channels (bands or pages) keep them.
    fit_mode : {"crop", "pad", "stretch"}, default="crop"
        What to do with images of another aspect ratio: use the largest centred part,
        add background, or change the aspect ratio. (The functions of `skdmn.datasets`
        call it `fit`, which is a method here.)
    resampling : {"nearest", "box", "bilinear", "bicubic", "lanczos"}, \
default="bilinear"
        Filter of the resizing. All but "nearest" use antialiasing.
    background : {"white", "black"}, number or tuple, default="white"
        What is behind transparent pixels, and around padded images: the largest value
        of an integer dtype or 1.0 for floats ("white"), 0 ("black"), or values of the
        channels.
    dtype : {"auto", "uint8"}, default="auto"
        "auto" keeps the dtype of the files, which must all have the same. "uint8"
        scales images of 16 bits to 8 bits.
    lazy : bool or "auto", default="auto"
        If True, `transform` of files returns an object that decodes files when it is
        sliced. Layers, networks and classifiers of skdmn read it batch by batch, once
        for each pass over the images. "auto" is True if the decoded images take more
        than a quarter of scikit-learn's ``working_memory``: 256 MiB by default.

    Attributes
    ----------
    image_shape_ : tuple of int
        Shape of an image, (height, width) or (height, width, channels); or of a row, if
        the reader was fitted on rows.
    dtype_ : str
        Dtype of the images.
    n_features_in_ : int
        Number of values of an image or row. Only if it was fitted on an array.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names of `X`. Only if `X` was a data frame of numbers in `fit`.

    See Also
    --------
    skdmn.datasets.load_image_folder : Images and labels of a folder.
    skdmn.datasets.ImageFolder : The same, decoded when it is sliced.

    Notes
    -----
    A file is a str, a path, or its content: `bytes`, or an object with `read` and
    `seek`. Pillow images are accepted, too. Reading needs the extra ``images``.

    Images are turned as their EXIF orientation says. Of animations, the first frame is
    used. TIFF files that Pillow reads only in part are read by tifffile: the pages of
    equal shape and all bands of a pixel are channels. Images of 1 bit become uint8, 0
    and 255. Images in greyscale with 16 or 32 bits, or with floats, keep their values.
    PNG files with 16 bits for each of several colors are read with 8 bits. Values that
    are not uint8 are resized in float32.

    Large JPEG files are decoded at a fraction of their size, at least twice the size
    that is asked for.

    Examples
    --------
    >>> import io
    >>> from PIL import Image
    >>> from skdmn import ImageReader
    >>> files = []
    >>> for size in ((60, 40), (20, 30)):
    ...     files.append(io.BytesIO())
    ...     Image.new("RGB", size, "red").save(files[-1], "PNG")
    >>> reader = ImageReader(size=16)
    >>> reader.fit_transform(files).shape
    (2, 16, 16, 3)
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012
        "size": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
        "color": [StrOptions(set(COLORS))],
        "fit_mode": [StrOptions(set(FITS))],
        "resampling": [StrOptions(set(RESAMPLINGS))],
        "background": [StrOptions(set(BACKGROUNDS)), Real, tuple, list],
        "dtype": [StrOptions(set(DTYPES))],
        "lazy": ["boolean", StrOptions({"auto"})],
    }
    _state: ClassVar[State] = {
        "image_shape_": checked(_check_shape),
        "dtype_": checked(_check_dtype),
        "n_features_in_": count(equals="n_values").optional(),
        "feature_names_in_": strings("n_values").optional(),
    }
    image_shape_: tuple[int, ...]
    dtype_: str

    def __init__(
        self,
        size: int | tuple[int, int] | None = None,
        *,
        color: Literal["auto", "grey", "rgb"] = "auto",
        fit_mode: Literal["crop", "pad", "stretch"] = "crop",
        resampling: Literal[
            "nearest", "box", "bilinear", "bicubic", "lanczos"
        ] = "bilinear",
        background: Any = "white",
        dtype: Literal["auto", "uint8"] = "auto",
        lazy: bool | Literal["auto"] = "auto",
    ) -> None:
        self.size = size
        self.color = color
        self.fit_mode = fit_mode
        self.resampling = resampling
        self.background = background
        self.dtype = dtype
        self.lazy = lazy

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the shape and dtype that all images get.

        Parameters
        ----------
        X : list of files, or array-like of shape (n, height, width[, channels])
            Files, see the notes of the class: their headers are read. Of an array, the
            shape and dtype are taken. A list may also be a Series, a column of a frame
            or an array of strings.
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            If Pillow, or tifffile for some TIFF files, is not installed.
        ValueError
            If files cannot be read, or if images differ in size, dtype or number of
            channels and the parameters do not say what to do.
        """
        with self._unchanged_on_error():
            self._check_params()
            for name in _LEARNED:
                self.__dict__.pop(name, None)
            files = as_files(X)
            if files is None:
                self._fit_array(X)
            else:
                self._fit_files(files)
        return self

    def transform(self, X: Any) -> Any:
        """Read files, or pass on images.

        Parameters
        ----------
        X : list of files, or array-like of shape (n, height, width[, channels])
            As in `fit`.

        Returns
        -------
        array of shape (n, *image_shape_)
            The images; see `lazy`. An array is returned as it is.

        Raises
        ------
        ImportError
            If Pillow, or tifffile for some TIFF files, is not installed.
        NotFittedError
            Before `fit`.
        ValueError
            If files cannot be read or have another number of channels or dtype, or if
            an array has another shape than in `fit`. The message names the files.
        """
        check_is_fitted(self)
        self._check_params()
        files = as_files(X)
        if files is None:
            return self._transform_array(X)
        images = self.files(files)
        needed = math.prod(images.shape) * images.dtype.itemsize
        is_lazy = self.lazy is True
        if self.lazy == "auto":
            is_lazy = needed > working_memory() // 4
        return images if is_lazy else images[:]

    def files(self, files: Any) -> ImageFiles:
        """Return files that are decoded, and prepared, when they are sliced.

        Parameters
        ----------
        files : list of files

        Returns
        -------
        object with shape, dtype and slices
            A slice is an array of images. It is an error if files cannot be read.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        check_is_fitted(self)
        return ImageFiles(files, self._preparation())

    def describe(self) -> dict[str, Any]:
        """Return how files are prepared, for other programs that use the model.

        Returns
        -------
        dict
            Values that JSON can hold. The entry "steps" says it in words.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        check_is_fitted(self)
        return self._preparation().described()

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the values of an image, such as ``y12_x07_f03``.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of columns, if the reader was fitted on rows.

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self)
        if len(self.image_shape_) == 1:
            return _check_feature_names_in(self, input_features)
        return value_names(with_channels(self.image_shape_))

    def _fit_files(self, files: list[Any]) -> None:
        names = names_of(files)
        headers, unreadable = read_headers(files, names)
        if unreadable:
            raise ValueError(
                f"{len(unreadable)} of {len(files)} files could not be read: "
                f"{listed(unreadable)}; leave them and their labels out. "
                "skdmn.datasets.load_image_folder does."
            )
        prepared = resolved(
            [header for header in headers if header is not None],
            names,
            size=self.size,
            color=self.color,
            fit=self.fit_mode,
            resampling=self.resampling,
            background=self.background,
            dtype=self.dtype,
        )
        self.image_shape_, self.dtype_ = prepared.shape, prepared.dtype

    def _fit_array(self, X: Any) -> None:
        X = self._checked_array(X, reset=True)
        shape = tuple(int(size) for size in X.shape[1:])
        self.image_shape_ = shape
        self.dtype_ = _name_of_dtype(X.dtype)
        self.n_features_in_ = math.prod(shape)
        if len(shape) > 1:
            prepared = self._preparation()
            expected = {"grey": 1, "rgb": 3}.get(self.color, prepared.channels)
            if prepared.channels != expected:
                raise ValueError(
                    f"color={self.color!r} stands for {expected} channels, but the "
                    f"images in X have {prepared.channels}; pass color='auto', or X "
                    "as this reader reads it."
                )

    def _transform_array(self, X: Any) -> Any:
        X = self._checked_array(X, reset=False)
        found, expected = tuple(X.shape[1:]), self.image_shape_
        if len(found) == 1 or len(expected) == 1:
            is_same = found == expected
        else:
            is_same = with_channels(found) == with_channels(expected)
        if not is_same:
            wanted = ", ".join(str(n) for n in expected)
            hint = single_image_hint(X.shape, math.prod(expected))
            raise ValueError(
                f"X has shape {tuple(X.shape)}, but {type(self).__name__} expects "
                f"arrays of shape (n, {wanted}), as in fit; pass such images, or files"
                f"{hint or ', which it resizes'}."
            )
        return X

    def _checked_array(self, X: Any, reset: bool) -> Any:
        if not is_sliceable(X):
            X = as_one_array(X)
            # validate_data would count the height of images as features
            if isinstance(X, (list, tuple)) or getattr(X, "ndim", 2) != 2:
                X = check_array(X, allow_nd=True, ensure_2d=False, input_name="X")
            if getattr(X, "ndim", 2) == 2:
                X = validate_data(self, X, reset=reset)
        check_could_be_images(X)
        return X

    def _preparation(self) -> Preparation:
        shape = self.image_shape_
        if len(shape) == 1:
            raise ValueError(
                f"This {type(self).__name__} was fitted on rows of {shape[0]} values, "
                "so it cannot read files; fit it on files or images."
            )
        height, width, channels = with_channels(shape)
        size = self._check_options()
        if size not in (None, (height, width)):
            raise ValueError(
                f"size={self.size!r}, but the images of the fit have {height} x "
                f"{width} pixels (height x width); pass images of that size, or files."
            )
        prepared = Preparation(
            (height, width),
            channels,
            self.dtype_,
            size is not None,
            self.dtype == "uint8",
            self.fit_mode,
            self.resampling,
            self.background,
        )
        check_background(prepared)
        return prepared

    def _check_params(self) -> None:
        super()._check_params()
        self._check_options()

    def _check_options(self) -> tuple[int, int] | None:
        """Raise if an option is not valid; return the size."""
        return check_options(
            self.size,
            self.color,
            self.fit_mode,
            self.resampling,
            self.background,
            self.dtype,
        )

    def __sklearn_tags__(self) -> Tags:
        """Declare the properties that scikit-learn's tools ask for."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _name_of_dtype(dtype: Any) -> str:
    """Return NumPy's name of a dtype of any library; float32 if there is none."""
    name = getattr(dtype, "name", str(dtype).rpartition(".")[2])  # torch.uint8
    try:
        return np.dtype(name).name
    except TypeError:  # bfloat16
        return "float32"


def as_files(X: Any) -> list[Any] | None:
    """Return the files in X; None if X holds no files, but perhaps images.

    Raises
    ------
    ValueError
        If X is a single file, or holds files and other things.
    """
    if is_file(X):
        name = repr(X) if isinstance(X, str) else f"a {type(X).__name__}"
        raise ValueError(f"X is {name}, a single file; pass a list of files, [X].")
    if hasattr(X, "shape") and len(getattr(X, "shape", ())) > 2:
        return None
    if hasattr(X, "columns") and hasattr(X, "dtypes"):  # a frame
        if len(X.columns) != 1:
            return None
        X = X[X.columns[0]]
    if hasattr(X, "to_numpy"):  # a Series
        X = X.to_numpy()
    if isinstance(X, np.ndarray):
        if X.dtype.kind not in "OUT" or (X.ndim == 2 and X.shape[1] != 1):
            return None
        X = X.ravel().tolist()
    if not isinstance(X, (list, tuple)):
        return None
    are_files = [is_file(value) for value in X]
    if not any(are_files):
        return None
    if not all(are_files):
        at = are_files.index(False)
        raise ValueError(
            f"X holds files, but X[{at}] is {X[at]!r:.40}; pass files or images only."
        )
    return list(X)
