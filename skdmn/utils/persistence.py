"""Where an estimator lives, how it is copied and pickled, and put back on errors."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any, Self

import array_api_compat
from sklearn import get_config

from skdmn._version import __version__
from skdmn.utils.array_api import Array, Backend, own_backend, to_numpy

# every type of this package in the files of fitted estimators, for `skops.io.load`
TRUSTED_TYPES = (
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

# to be raised when attributes of fitted estimators change their names or meaning
_FORMAT = 1


class PortableMixin:
    """Keeps arrays where they are in copies, and makes NumPy arrays of them in pickles.

    So what was fitted on a GPU loads anywhere; and goes on anywhere, because a pickle
    forgets where X lived (``_lives``). A fit under ``_unchanged_on_error`` is whole or
    was never begun.
    """

    _lives: Array | None

    def _check_same_backend(self, backend: Backend, method: str) -> None:
        """Raise where X lies elsewhere than the one that was fitted on."""
        if not get_config()["array_api_dispatch"] or self._lives is None:
            return
        fitted = own_backend(self._lives)
        if fitted != backend:
            raise ValueError(
                f"Inputs passed to {type(self).__name__}.{method}() must use the same "
                "namespace and the same device as those passed to fit(): got "
                f"{backend}, fitted on {fitted}; move X, or fit again where it is."
            )

    @contextlib.contextmanager
    def _unchanged_on_error(self) -> Iterator[None]:
        """Put the estimator back as it was when a fit fails or is interrupted."""
        before = self.__dict__.copy()
        try:
            yield
        except BaseException:
            self.__dict__ = before
            raise

    def __getstate__(self) -> dict[str, Any]:
        """Return what a file of a saved estimator holds."""
        held: Any = super().__getstate__()  # scikit-learn's BaseEstimator's
        state = {
            key: to_numpy(value) if array_api_compat.is_array_api_obj(value) else value
            for key, value in held.items()
        }
        if "_lives" in state:
            state["_lives"] = None
        return {**state, "_saved": [_FORMAT, __version__]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what a file of a saved estimator holds.

        Raises
        ------
        ValueError
            Where a later version saved it, in a way that this one does not know.
        """
        held = dict(state)
        made_in, saved_by = held.pop("_saved", (_FORMAT, __version__))
        if made_in > _FORMAT:
            raise ValueError(
                f"This {type(self).__name__} was saved by skdmn {saved_by}, in a way "
                f"that skdmn {__version__} does not know; load it with "
                f"skdmn>={saved_by}, or fit it again."
            )
        super().__setstate__(held)  # type: ignore[misc]

    def __copy__(self) -> Self:
        """Copy without a pickle."""
        copied = type(self).__new__(type(self))
        copied.__dict__ = self.__dict__.copy()
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy without a pickle, arrays too."""
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__dict__ = copy.deepcopy(self.__dict__, memo)
        return copied
