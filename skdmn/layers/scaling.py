"""Standardization of channels: batch normalization that is computed, not trained."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import numpy as np

from skdmn.layers.base import ImageTransformer
from skdmn.operations.records import Operation, ScaleChannels
from skdmn.statistics.channels import ChannelMoments
from skdmn.statistics.density import LEAST_SQUARE
from skdmn.utils.array_api import Array, own_backend
from skdmn.utils.state import POSITIVE, State, count, floats, part


class ChannelStandardScaler(ImageTransformer):
    """Standardize each channel: subtract its mean, divide by its standard deviation.

    Mean and variance of a channel are computed over all images and all positions, so
    that every position is scaled in the same way. This is the batch normalization of
    the papers' hybrid networks [1]_, computed from all images instead of learned from
    batches.

    Parameters
    ----------
    with_mean : bool, default=True
        If True, subtract the mean.
    with_std : bool, default=True
        If True, divide by the standard deviation. Constant channels are divided by 1,
        and so are channels whose squares underflow to 0 (magnitudes below 1e-162).
    image_shape : (int, int) or (int, int, int) or None, default=None
        Height, width and (optionally) channels of the images, if `X` holds them as
        rows, flattened in C order of (y, x, channel). Without it, rows are read as
        one-dimensional signals of one channel. Not needed if `X` holds images.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where to compute. "auto" uses the device of `X`; for NumPy arrays, a GPU if
        the work is large and CuPy finds one, else the CPU.

    Attributes
    ----------
    mean_, var_, scale_ : arrays of shape (n_channels,), float64
        Mean, variance (biased: divided by the number of values) and divisor of each
        channel, in the array namespace and on the device of the fitted `X`.
    n_samples_seen_ : int
        Number of images in the fit.
    image_shape_, output_shape_ : (int, int, int)
        Height, width and channels.
    n_features_in_ : int
        Number of values of one image: the product of `image_shape_`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names of `X`. Only if `X` was a data frame in `fit`.

    See Also
    --------
    sklearn.preprocessing.StandardScaler : One mean and variance per position and
        channel.

    References
    ----------
    .. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Separation of time scales and
       direct computation of weights in deep neural networks", arXiv:1703.04757v3,
       2018, Tables 3 to 5, layers "BN".

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn import ChannelStandardScaler
    >>> images = np.arange(8.0).reshape(1, 2, 2, 2)
    >>> scaler = ChannelStandardScaler().fit(images)
    >>> scaler.mean_, scaler.var_
    (array([3., 4.]), array([5., 5.]))
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012
        **ImageTransformer._parameter_constraints,
        "with_mean": ["boolean"],
        "with_std": ["boolean"],
    }
    _not_in_sums = frozenset({"with_mean", "with_std"})
    _state: ClassVar[State] = {
        "mean_": floats("channels"),
        "var_": floats("channels", least=0),
        "scale_": floats("channels", least=POSITIVE),
        "n_samples_seen_": count(1),
        "_sums": part(ChannelMoments).optional(),
    }
    _one_to_one = True

    def __init__(
        self,
        *,
        with_mean: bool = True,
        with_std: bool = True,
        image_shape: tuple[int, ...] | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None:
        self.with_mean = with_mean
        self.with_std = with_std
        self.image_shape = image_shape
        self.device = device

    def _empty_sums(self, n_classes: int) -> ChannelMoments:
        return ChannelMoments.empty(self.image_shape_[2])

    def _set(self, sums: ChannelMoments, dtype: str) -> None:
        n_images, mean, var = sums.n_images, sums.mean, sums.var
        with np.errstate(over="ignore", invalid="ignore"):  # reported below
            # a variance within the rounding error of the mean means a constant channel
            n_values = n_images * math.prod(self.image_shape_[:2])
            rounding = n_values * np.finfo(np.float64).eps
            constant = var <= (rounding * mean) ** 2
            scale = np.where(constant, 1.0, np.sqrt(var))
        _check_range(var, scale, dtype)
        self.n_samples_seen_ = n_images
        self.mean_, self.var_ = self._here(mean), self._here(var)
        self.scale_ = self._here(scale)

    def _operations(self) -> list[Operation]:
        return [self._scaling()]

    def _scaling(self) -> ScaleChannels:
        xp = own_backend(self.mean_).xp
        mean = self.mean_ if self.with_mean else xp.zeros_like(self.mean_)
        scale = self.scale_ if self.with_std else xp.ones_like(self.scale_)
        return ScaleChannels(mean, scale)

    def _backward(self, batch: Array) -> Array:
        here = own_backend(batch)
        dtype = "float64" if batch.dtype == here.xp.float64 else "float32"
        scaling = self._scaling().moved(here, dtype)
        return batch * scaling.scale + scaling.mean

    def inverse_transform(self, X: Any) -> Array:
        """Undo the scaling.

        Parameters
        ----------
        X : array-like of shape (n, height, width[, channels]) or (n, n_features_in_)
            Output of `transform`, as images or as rows.

        Returns
        -------
        array of shape (n, height, width[, channels]) or (n, n_features_in_)
            In the shape that X had in `fit`.

        Raises
        ------
        ValueError
            If X does not have the shape that was fitted.
        """
        return self._inverse(X, self._backward)


def _check_range(var: np.ndarray, scale: np.ndarray, dtype: str) -> None:
    """Raise if a variance is too large or too small to divide by its root."""
    if not np.isfinite(var).all():
        raise ValueError("The squares of X overflow; scale the images down.")
    if (scale < max(np.finfo(dtype).tiny, math.sqrt(LEAST_SQUARE))).any():
        raise ValueError("The squares of X underflow; scale the images up.")
