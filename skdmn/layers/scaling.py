"""Batch normalization, computed: one mean and variance per channel."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

import numpy as np

from skdmn.data.images import Images
from skdmn.layers.base import ImageTransformer
from skdmn.statistics.density import LEAST_SQUARE
from skdmn.utils.array_api import Array, to_numpy


class ChannelStandardScaler(ImageTransformer):
    """Take away each channel's mean and divide by its standard deviation.

    Mean and variance are taken over images and positions, so that a channel is scaled
    alike everywhere: the batch normalization of the papers' hybrid networks [1]_,
    computed over all images instead of trained on batches.

    Parameters
    ----------
    with_mean : bool, default=True
        Take away the mean.
    with_std : bool, default=True
        Divide by the standard deviation; a constant channel is divided by 1, as is one
        of values below 1e-162, whose squares are 0.
    image_shape : (int, int) or (int, int, int) or None, default=None
        Height, width and, where there are several, channels of the images that rows
        of `X` hold, flattened in C order of (y, x, channel). Rows without it are
        read as signals of one channel. Not needed for images.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where to compute. "auto": where `X` lies, for NumPy a GPU where CuPy finds
        one, else the processor.

    Attributes
    ----------
    mean_, var_, scale_ : arrays of shape (n_channels,), float64
        Mean, variance (divided by the number of values) and standard deviation, where
        X was.
    n_samples_seen_ : int
        Number of images.
    image_shape_, output_shape_ : (int, int, int)
        Height, width and channels.
    n_features_in_ : int
        Values of one image: the product of `image_shape_`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of `X`, where it was a data frame.

    See Also
    --------
    sklearn.preprocessing.StandardScaler : One mean and variance per position, too.

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

    def _fit(self, images: Images, y: Any) -> None:
        channels = images.shape[2]
        self._add(images, 0, np.zeros(channels), np.zeros(channels))

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Go on with more images; the result is that of all images at once.

        Parameters
        ----------
        X : array-like of shape (n, height, width[, channels]) or (n, n_features)
            Images or rows, as in `fit`.
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Where X has not the shape that was fitted.
        """
        if not hasattr(self, "mean_"):
            return self.fit(X)
        with self._unchanged_on_error():
            self._check_params()
            images = self._check_images(X, reset=False, method="partial_fit")
            mean, var = to_numpy(self.mean_), to_numpy(self.var_)
            self._add(images, self.n_samples_seen_, mean, var)
        return self

    def _add(self, images: Images, count: int, mean: Array, var: Array) -> None:
        """Combine moments so far with those of each batch (Chan, Golub, LeVeque)."""
        mean, var = np.array(mean, dtype=np.float64), np.array(var, dtype=np.float64)
        xp = images.compute.xp
        with np.errstate(over="ignore", invalid="ignore"):  # it is told of below
            for values in images.wide_batches():
                batch_mean = to_numpy(xp.mean(values, axis=(0, 1, 2)))
                batch_var = to_numpy(xp.var(values, axis=(0, 1, 2)))
                added = values.shape[0]
                share, count = added / (count + added), count + added
                shift = batch_mean - mean
                var += share * (batch_var - var + (1 - share) * shift**2)
                mean += share * shift
            # a variance within the rounding of its mean is that of a constant channel
            rounding = count * math.prod(images.shape[:2]) * np.finfo(np.float64).eps
            constant = var <= (rounding * mean) ** 2
        self.n_samples_seen_ = count
        scale = np.where(constant, 1.0, np.sqrt(var))
        _check_range(var, scale, images.dtype)
        self.mean_, self.var_ = self._here(mean), self._here(var)
        self.scale_ = self._here(scale)

    def _forward(self, batch: Array) -> Array:
        batch = batch - self._like(self.mean_, batch) if self.with_mean else batch
        return batch / self._like(self.scale_, batch) if self.with_std else batch

    def _backward(self, batch: Array) -> Array:
        batch = batch * self._like(self.scale_, batch) if self.with_std else batch
        return batch + self._like(self.mean_, batch) if self.with_mean else batch

    def inverse_transform(self, X: Any) -> Array:
        """Undo the scaling.

        Parameters
        ----------
        X : array-like of shape (n, height, width[, channels]) or (n, n_features_in_)
            What `transform` gave, or rows of it.

        Returns
        -------
        array of shape (n, height, width[, channels]) or (n, n_features_in_)
            As X was in `fit`.

        Raises
        ------
        ValueError
            Where X has another shape.
        """
        return self._inverse(X, self._backward)


def _check_range(var: np.ndarray, scale: np.ndarray, dtype: str) -> None:
    """Raise where a variance is too large or too small to be divided by."""
    if not np.isfinite(var).all():
        raise ValueError("The squares of X overflow; scale the images down.")
    if (scale < max(np.finfo(dtype).tiny, math.sqrt(LEAST_SQUARE))).any():
        raise ValueError("The squares of X underflow; scale the images up.")
