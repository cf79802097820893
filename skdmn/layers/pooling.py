"""Max and average pooling."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar, Literal

from sklearn.utils._param_validation import Interval, StrOptions

from skdmn.kernels.geometry import Padding, Pair, Window
from skdmn.layers.base import IMAGE, ImageTransformer
from skdmn.operations.records import AveragePool, MaxPool, Operation, Power
from skdmn.utils.state import State, lengths
from skdmn.utils.validation import as_pair


class _Pool2DTransformer(ImageTransformer):
    """Base class of layers that compute one value per window and channel."""

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012
        **ImageTransformer._parameter_constraints,
        "pool_size": [Interval(Integral, 1, None, closed="left"), tuple, list],
        "stride": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
        "padding": [StrOptions({"valid", "same"})],
    }

    _state: ClassVar[State] = {
        "pool_size_": lengths("pool_height", "pool_width", most=IMAGE[:2])
    }
    pool_size: int | Pair
    stride: int | Pair | None
    padding: Padding

    pool_size_: Pair

    def _prepare(self) -> None:
        self.pool_size_ = self._window("pool_size")
        self._strides()

    def _strides(self) -> Pair:
        if self.stride is None:
            return self.pool_size_
        return as_pair(self.stride, "stride")

    def _windows(self) -> Window:
        return Window(self.pool_size_, self._strides(), self.padding)


class MaxPool2DTransformer(_Pool2DTransformer):
    """Take the maximum of each window, separately for each channel.

    Neighbouring patches overlap. Therefore the outputs of a convolution at
    neighbouring positions are correlated, whatever the image shows, and the leading
    eigenvectors of the next layer would mostly describe that overlap. Pooling keeps one
    of several overlapping outputs, which removes most of this correlation (the papers
    call it disentangling) [1]_.

    Parameters
    ----------
    pool_size : int or (int, int), default=2
        Height and width of a window.
    stride : int, (int, int) or None, default=None
        Vertical and horizontal step between windows, in pixels. None uses `pool_size`,
        so that windows do not overlap.
    padding : {"valid", "same"}, default="valid"
        "valid" uses only windows inside the image; the output has size
        ``(size - pool_size) // stride + 1``. "same" pads the border with minus
        infinity, with an odd pixel at the bottom and right (ONNX's SAME_UPPER); the
        output has size ``ceil(size / stride)``.
    image_shape : (int, int) or (int, int, int) or None, default=None
        Height, width and (optionally) channels of the images, if `X` holds them as
        rows, flattened in C order of (y, x, channel). Without it, rows are read as
        one-dimensional signals. Not needed if `X` holds images.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where to compute. "auto" uses the device of `X`; for NumPy arrays, a GPU if
        the work is large and CuPy finds one, else the CPU.

    Attributes
    ----------
    pool_size_ : (int, int)
        Height and width of a window; ``(1, min(pool_size, width))`` for
        one-dimensional signals.
    image_shape_, output_shape_ : (int, int, int)
        Height, width and channels of the input and the output.
    n_features_in_ : int
        Number of values of one image: the product of `image_shape_`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names of `X`. Only if `X` was a data frame in `fit`.

    See Also
    --------
    ClassPCAPatchTransformer : The convolution before the pooling.
    OverlapPruner : Removes overlap channels instead of pooling.

    References
    ----------
    .. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Separation of time scales and
       direct computation of weights in deep neural networks", arXiv:1703.04757v3,
       2018, supplement, "Disentangling the weights using pooling".

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn import MaxPool2DTransformer
    >>> image = np.arange(16.0).reshape(1, 4, 4)
    >>> MaxPool2DTransformer(2).fit_transform(image)[0, :, :, 0]
    array([[ 5.,  7.],
           [13., 15.]])
    """

    def __init__(
        self,
        pool_size: int | Pair = 2,
        *,
        stride: int | Pair | None = None,
        padding: Padding = "valid",
        image_shape: tuple[int, ...] | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None:
        self.pool_size = pool_size
        self.stride = stride
        self.padding = padding
        self.image_shape = image_shape
        self.device = device

    def _operations(self) -> list[Operation]:
        return [MaxPool(self._windows())]


class AveragePool2DTransformer(_Pool2DTransformer):
    """Take the mean of each window, separately for each channel.

    As the last layer of a network, with a few large windows, it measures how strong
    each feature is in each part of the image.

    Parameters
    ----------
    pool_size : int or (int, int), default=2
        Height and width of a window.
    stride : int, (int, int) or None, default=None
        Vertical and horizontal step between windows, in pixels. None uses `pool_size`,
        so that windows do not overlap. Windows that overlap by half usually give
        better accuracy.
    padding : {"valid", "same"}, default="valid"
        "valid" uses only windows inside the image; the output has size
        ``(size - pool_size) // stride + 1``. "same" also uses windows that extend
        beyond the border, more of them at the bottom and right (ONNX's SAME_UPPER),
        and averages their pixels inside the image; the output has size
        ``ceil(size / stride)``.
    power : float above 0, default=1.0
        Exponent applied to the magnitudes of the means; signs are kept. 0.5
        (square-root pooling) reduces the weight of a few strong features relative to
        many weak ones ([1]_, power normalization).
    image_shape : (int, int) or (int, int, int) or None, default=None
        Height, width and (optionally) channels of the images, if `X` holds them as
        rows, flattened in C order of (y, x, channel). Without it, rows are read as
        one-dimensional signals. Not needed if `X` holds images.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where to compute. "auto" uses the device of `X`; for NumPy arrays, a GPU if
        the work is large and CuPy finds one, else the CPU.

    Attributes
    ----------
    pool_size_ : (int, int)
        Height and width of a window; ``(1, min(pool_size, width))`` for
        one-dimensional signals.
    image_shape_, output_shape_ : (int, int, int)
        Height, width and channels of the input and the output.
    n_features_in_ : int
        Number of values of one image: the product of `image_shape_`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names of `X`. Only if `X` was a data frame in `fit`.

    See Also
    --------
    MaxPool2DTransformer : Takes the maximum instead.
    WhitenedPCAPatchTransformer : The convolution before the pooling.

    References
    ----------
    .. [1] F. Perronnin, J. Sanchez, T. Mensink, "Improving the Fisher kernel for
       large-scale image classification", ECCV 2010, section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn import AveragePool2DTransformer
    >>> image = np.arange(16.0).reshape(1, 4, 4)
    >>> AveragePool2DTransformer(2).fit_transform(image)[0, :, :, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012
        **_Pool2DTransformer._parameter_constraints,
        "power": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        pool_size: int | Pair = 2,
        *,
        stride: int | Pair | None = None,
        padding: Padding = "valid",
        power: float = 1.0,
        image_shape: tuple[int, ...] | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None:
        self.pool_size = pool_size
        self.stride = stride
        self.padding = padding
        self.power = power
        self.image_shape = image_shape
        self.device = device

    def _operations(self) -> list[Operation]:
        pool = AveragePool(self._windows())
        return [pool] if self.power == 1 else [pool, Power(float(self.power))]
