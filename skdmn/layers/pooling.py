"""Pooling: the step that disentangles overlapping patches, and the last one."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Literal

from sklearn.utils._param_validation import Interval, StrOptions

from skdmn.kernels.geometry import Padding, Pair, Window
from skdmn.layers.base import ImageTransformer
from skdmn.operations.records import AveragePool, MaxPool, Operation, Power
from skdmn.utils.validation import as_pair


class _Pool2DTransformer(ImageTransformer):
    """Base class of what computes one value for every window."""

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012
        **ImageTransformer._parameter_constraints,
        "pool_size": [Interval(Integral, 1, None, closed="left"), tuple, list],
        "stride": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
        "padding": [StrOptions({"valid", "same"})],
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
    """Keep the largest value of every window, channel by channel.

    Neighbouring patches overlap, so what a convolution gives for them is correlated
    whatever the image shows, and a PCA of the next layer's patches would find that
    overlap first. Pooling keeps one of a few overlapping outputs and so disentangles
    them [1]_.

    Parameters
    ----------
    pool_size : int or (int, int), default=2
        Height and width of a window.
    stride : int, (int, int) or None, default=None
        Steps between windows, vertical and horizontal. None: `pool_size`, windows
        side by side.
    padding : {"valid", "same"}, default="valid"
        "valid" leaves out a border that does not fill a window: output
        ``(size - pool_size) // stride + 1``. "same" fills up with minus infinity,
        the odd pixel at the bottom and right (ONNX's SAME_UPPER): output
        ``ceil(size / stride)``.
    image_shape : (int, int) or (int, int, int) or None, default=None
        Height, width and, where there are several, channels of the images that rows
        of `X` hold, flattened in C order of (y, x, channel). Rows without it are
        read as signals one pixel high. Not needed for images.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where to compute. "auto": where `X` lies, for NumPy a GPU where CuPy finds
        one, else the processor.

    Attributes
    ----------
    pool_size_ : (int, int)
        Height and width of a window; for signals ``(1, min(size, width))``.
    image_shape_, output_shape_ : (int, int, int)
        Height, width and channels, in and out.
    n_features_in_ : int
        Values of one image: the product of `image_shape_`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of `X`, where it was a data frame.

    See Also
    --------
    ClassPCAPatchTransformer : The convolution that pooling follows.
    OverlapPruner : Drops the filters that only show overlap, instead.

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
    """Average every window, channel by channel.

    At the end of a network, over a few large windows, it says how much of each feature
    there is in which part of the image.

    Parameters
    ----------
    pool_size : int or (int, int), default=2
        Height and width of a window.
    stride : int, (int, int) or None, default=None
        Steps between windows, vertical and horizontal. None: `pool_size`, windows
        side by side. Windows that overlap by half do better than those that do not.
    padding : {"valid", "same"}, default="valid"
        "valid" leaves out a border that does not fill a window: output
        ``(size - pool_size) // stride + 1``. "same" takes windows that go over the
        border, of which the pixels inside are averaged, more of them at the bottom
        and right (ONNX's SAME_UPPER): output ``ceil(size / stride)``.
    power : float above 0, default=1.0
        Averages are raised to this power, their signs kept. 0.5 makes a few strong
        features count less against many weak ones ([1]_, power normalization).
    image_shape : (int, int) or (int, int, int) or None, default=None
        Height, width and, where there are several, channels of the images that rows
        of `X` hold, flattened in C order of (y, x, channel). Rows without it are
        read as signals one pixel high. Not needed for images.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where to compute. "auto": where `X` lies, for NumPy a GPU where CuPy finds
        one, else the processor.

    Attributes
    ----------
    pool_size_ : (int, int)
        Height and width of a window; for signals ``(1, min(size, width))``.
    image_shape_, output_shape_ : (int, int, int)
        Height, width and channels, in and out.
    n_features_in_ : int
        Values of one image: the product of `image_shape_`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of `X`, where it was a data frame.

    See Also
    --------
    MaxPool2DTransformer : Keeps the largest value instead.
    WhitenedPCAPatchTransformer : The layer that it belongs behind.

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
