"""Copies and pickles of estimators, and their state after a failed fit."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any, Self

import array_api_compat
from sklearn import get_config

from skdmn._version import __version__
from skdmn.utils.array_api import Array, Backend, own_backend, to_numpy

# all types of this package that files of fitted estimators contain; pass them to
# `skops.io.load`
TRUSTED_TYPES = (
    "skdmn.statistics.channels.ChannelMoments",
    "skdmn.statistics.density.DensityAccumulator",
    "skdmn.statistics.contrast.ContrastAccumulator",
    "skdmn.layers.class_pca.ClassPCAPatchTransformer",
    "skdmn.layers.flatten.FlattenTransformer",
    "skdmn.layers.overlap.OverlapPruner",
    "skdmn.layers.pooling.AveragePool2DTransformer",
    "skdmn.layers.pooling.MaxPool2DTransformer",
    "skdmn.layers.scaling.ChannelStandardScaler",
    "skdmn.layers.whitened_pca.WhitenedPCAPatchTransformer",
    "skdmn.linear_model.softmax.SoftmaxClassifier",
    "skdmn.network.network.DensityMatrixNetwork",
    "skdmn.layers.zca.ZCAWhitening",
)

# increase when attributes of fitted estimators change their names or meaning
_FORMAT = 1


class PortableMixin:
    """Mixin for estimators whose fitted arrays may belong to any array library.

    Copies keep the arrays' namespace and device. Pickles convert the arrays to NumPy,
    so that an estimator fitted on a GPU loads on any machine, and then accepts data of
    any namespace and device. A fit inside ``_unchanged_on_error`` either completes or
    leaves the estimator unchanged.
    """

    # empty array with the namespace and device of X in fit; None after unpickling
    _lives: Array | None

    def _check_same_backend(self, backend: Backend, method: str) -> None:
        """Raise if the namespace or device of X is not that of X in fit."""
        if not get_config()["array_api_dispatch"] or self._lives is None:
            return
        fitted = own_backend(self._lives)
        if fitted != backend:
            raise ValueError(
                f"Inputs passed to {type(self).__name__}.{method}() must use the same "
                "namespace and the same device as those passed to fit(): got "
                f"{backend}, but fitted on {fitted}; move X there, or fit again with X."
            )

    @contextlib.contextmanager
    def _unchanged_on_error(self) -> Iterator[None]:
        """Restore the estimator's attributes if a fit fails or is interrupted."""
        before = self.__dict__.copy()
        try:
            yield
        except BaseException:
            self.__dict__ = before
            raise

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle, with NumPy arrays."""
        attributes: Any = super().__getstate__()  # of scikit-learn's BaseEstimator
        state = {
            key: to_numpy(value) if array_api_compat.is_array_api_obj(value) else value
            for key, value in attributes.items()
        }
        if "_lives" in state:
            state["_lives"] = None
        return {**state, "_saved": [_FORMAT, __version__]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state from a pickle.

        Raises
        ------
        ValueError
            If a later version of skdmn saved it in a format unknown to this version.
        """
        attributes = dict(state)
        saved_format, saved_by = attributes.pop("_saved")
        if saved_format > _FORMAT:
            raise ValueError(
                f"This {type(self).__name__} was saved by skdmn {saved_by} in a format "
                f"that skdmn {__version__} does not know; load it with "
                f"skdmn>={saved_by}, or fit it again."
            )
        super().__setstate__(attributes)  # type: ignore[misc]

    def __copy__(self) -> Self:
        """Return a shallow copy whose arrays stay on their device."""
        copied = type(self).__new__(type(self))
        copied.__dict__ = self.__dict__.copy()
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return a deep copy whose arrays stay on their device."""
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__dict__ = copy.deepcopy(self.__dict__, memo)
        return copied
