"""Removal of channels that only describe the overlap of patches."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from skdmn.layers.base import ImageTransformer
from skdmn.operations.records import Operation, Select
from skdmn.statistics.channels import ChannelMoments
from skdmn.statistics.density import LEAST_SQUARE
from skdmn.statistics.filters import overlap_gap
from skdmn.utils.array_api import Array, to_numpy
from skdmn.utils.checks import check_is_fitted
from skdmn.utils.state import State, count, floats, mask, number, part
from skdmn.utils.validation import warn_user

# after a linear layer, the channels above the gap hold rounding errors, not features
_NOISE_SHARE = 1e-6


class OverlapPruner(ImageTransformer):
    """Remove the channels that only describe the overlap of patches.

    A patch of a higher convolutional layer consists of outputs for overlapping patches
    of the image. These are correlated, whatever the image shows. The filters that
    describe this overlap have so much variance that a wide gap in energy separates
    them from the other filters [1]_. This layer finds the gap in the energies of its
    input channels and removes the channels of lower energy.

    Parameters
    ----------
    n_overlap : "auto" or int, default="auto"
        Number of channels to remove, those of lowest energy (largest mean square).
        "auto" removes the channels below the first gap in energy that is wider than
        `min_gap`, or none if there is no such gap.
    min_gap : float, default=6.0
        Minimum width, in nats, of the gap between overlap channels and the others.
    image_shape : (int, int) or (int, int, int) or None, default=None
        Height, width and (optionally) channels of the images, if `X` holds them as
        rows, flattened in C order of (y, x, channel). Without it, each feature of a row
        is a channel, as after `ClassPCATransformer`. Not needed if `X` holds images.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where to compute. "auto" uses the device of `X`; for NumPy arrays, a GPU if
        the work is large and CuPy finds one, else the CPU.

    Attributes
    ----------
    energies_ : array of shape (n_channels,), float64
        Energy of each channel, in nats: minus the logarithm of its share of the sum of
        squares over images, positions and channels. Infinite for a channel that is
        always 0.
    n_overlap_ : int
        Number of overlap channels: those below the first gap that is wider than
        `min_gap`, or `n_overlap` if it is a number.
    gap_ : float
        Width of the gap above the overlap channels, in nats. If there are none, width
        of the widest gap.
    support_ : array of shape (n_channels,), bool
        True for the channels that are kept.
    image_shape_, output_shape_ : (int, int, int)
        Height, width and channels of the input and the output.
    n_features_in_ : int
        Number of values of one image: the product of `image_shape_`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names of `X`. Only if `X` was a data frame in `fit`.

    Warns
    -----
    UserWarning
        If the channels above the gap hold less than 1e-6 of the mean square. After a
        linear layer they are rounding errors, and "auto" keeps all channels.

    See Also
    --------
    MaxPool2DTransformer : Reduces the overlap by pooling instead.

    Notes
    -----
    The gap depends on the layers before:

    - After a linear 3 x 3 layer on one channel, without pooling, a second 3 x 3 layer
      sees at most 5 x 5 pixels. It has exactly 25 directions with variance. The gap
      above them ([1]_, Fig. 3) separates them from rounding errors, so that nothing is
      left to keep.
    - After a ReLU there is no such gap (the widest is about 2 nats on MNIST). Pooling
      removes it too.
    - On natural images, the constant filter alone has an energy about 4 nats below
      that of the others, and more on bright, smooth images. It does not describe
      overlap. The default of `min_gap` is chosen such that it is kept.

    ``benchmarks/pruning.py`` measures how pruning changes accuracy.

    References
    ----------
    .. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Convergence of deep neural networks
       to a hierarchical covariance matrix decomposition", arXiv:1703.04757v1, 2017,
       Fig. 3.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn import OverlapPruner
    >>> images = np.random.default_rng(0).normal(size=(100, 5, 5, 3)) * [1000, 1, 2]
    >>> pruner = OverlapPruner().fit(images)
    >>> pruner.n_overlap_, pruner.get_support()
    (1, array([False,  True,  True]))
    >>> pruner.transform(images).shape
    (100, 5, 5, 2)
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012
        **ImageTransformer._parameter_constraints,
        "n_overlap": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "min_gap": [Interval(Real, 0, None, closed="left")],
    }
    _not_in_sums = frozenset({"n_overlap", "min_gap"})
    _row_is_pixel = True
    _state: ClassVar[State] = {
        "energies_": floats("channels", least=0, is_finite=False),
        "n_overlap_": count(),
        "gap_": number(least=0),
        "support_": mask("channels"),
        "_sums": part(ChannelMoments).optional(),
    }

    def __init__(
        self,
        n_overlap: int | Literal["auto"] = "auto",
        *,
        min_gap: float = 6.0,
        image_shape: tuple[int, ...] | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None:
        self.n_overlap = n_overlap
        self.min_gap = min_gap
        self.image_shape = image_shape
        self.device = device

    def _prepare(self) -> None:
        channels = self.image_shape_[2]
        if self.n_overlap != "auto" and self.n_overlap >= channels:
            raise ValueError(
                f"n_overlap={self.n_overlap} would drop all {channels} channels; pass "
                f"a number below {channels}."
            )

    def _empty_sums(self, n_classes: int) -> ChannelMoments:
        return ChannelMoments.empty(self.image_shape_[2])

    def _set(self, sums: ChannelMoments, dtype: str) -> None:
        channels = self.image_shape_[2]
        shares = _shares_of_mean_square(sums, math.prod(self.image_shape_[:2]))
        with np.errstate(divide="ignore"):
            energies = -np.log(shares)
        order = np.argsort(energies, kind="stable")
        if self.n_overlap == "auto":
            n_overlap, gap = overlap_gap(energies, self.min_gap)
        else:
            n_overlap = int(self.n_overlap)
            gaps = np.diff(energies[order][np.isfinite(energies[order])])
            behind = gaps[n_overlap - 1 : n_overlap] if n_overlap else gaps
            gap = float(behind.max(initial=0.0))
        support = np.ones(channels, dtype=bool)
        support[order[:n_overlap]] = False
        if self.n_overlap == "auto" and shares[support].sum() < _NOISE_SHARE:
            _warn_of_noise(channels - n_overlap, shares[support].sum())
            support[:] = True
        self.energies_ = self._here(energies)
        self.n_overlap_ = n_overlap
        self.gap_ = gap
        self.support_ = self._here(support)

    def get_support(self, indices: bool = False) -> Array:
        """Return a mask, or the indices, of the channels that are kept.

        Parameters
        ----------
        indices : bool, default=False
            If True, return indices instead of a mask.

        Returns
        -------
        array of shape (n_channels,), bool, or (n_kept,), int
        """
        check_is_fitted(self)
        if not indices:
            return self.support_
        return self._here(self._kept())

    def _kept(self) -> np.ndarray:
        return np.flatnonzero(to_numpy(self.support_))

    def _operations(self) -> list[Operation]:
        return [Select(self._kept(), self.image_shape_[2])]


def _warn_of_noise(n_left: int, share: float) -> None:
    warn_user(
        f"The {n_left} channels above the gap hold only {share:.0e} of the mean "
        "square, which is rounding noise of a linear layer, so all channels are kept; "
        "put an activation or pooling before this layer, or pass n_overlap as a number."
    )


def _shares_of_mean_square(moments: ChannelMoments, n_pixels: int) -> np.ndarray:
    """Return the share of each channel in the mean square of all values."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = moments.var + moments.mean**2
        total = moments.n_images * n_pixels * squares.sum()
    if not LEAST_SQUARE <= total < np.inf:
        raise ValueError(
            "No channel has an energy, because the squares of X "
            + ("are all 0, or underflow" if total < 1 else "overflow")
            + "; check the images."
        )
    return squares / squares.sum()
