"""Copies and pickles of estimators, checks of them, and their state after an error."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Iterator
from typing import Any, ClassVar, Self

import array_api_compat
import numpy as np
from sklearn import get_config

from skdmn._version import __version__
from skdmn.utils.array_api import Array, Backend, own_backend, to_numpy
from skdmn.utils.state import Sizes, State, check_state, has_state

# all types of this package that files of fitted estimators contain; pass them to
# `skops.io.load`
TRUSTED_TYPES = (
    "skdmn.data.reader.ImageReader",
    "skdmn.statistics.channels.ChannelMoments",
    "skdmn.statistics.density.DensityAccumulator",
    "skdmn.statistics.contrast.ContrastAccumulator",
    "skdmn.statistics.magnitudes.Magnitudes",
    "skdmn.statistics.ranges.ValueRange",
    "skdmn.statistics.row_sums.RowSums",
    "skdmn.layers.class_pca.ClassPCAPatchTransformer",
    "skdmn.layers.dense.ClassPCATransformer",
    "skdmn.layers.flatten.FlattenTransformer",
    "skdmn.layers.overlap.OverlapPruner",
    "skdmn.layers.pooling.AveragePool2DTransformer",
    "skdmn.layers.pooling.MaxPool2DTransformer",
    "skdmn.layers.scaling.ChannelStandardScaler",
    "skdmn.layers.whitened_pca.WhitenedPCAPatchTransformer",
    "skdmn.linear_model.ridge.IncrementalRidgeClassifier",
    "skdmn.linear_model.softmax.SoftmaxClassifier",
    "skdmn.linear_model.softmax_cv.SoftmaxClassifierCV",
    "skdmn.network.network.DensityMatrixNetwork",
    "skdmn.layers.zca.ZCAWhitening",
)

_PLAIN = (bool, int, float, str)
_valid_params: set[tuple] = set()  # classes with parameters that were found valid
_MOST_VALID = 2**12

# increase when attributes of fitted estimators change their names or meaning
_FORMAT = 1


@contextlib.contextmanager
def unchanged_on_error(estimator: Any) -> Iterator[None]:
    """Restore the attributes of an estimator if a fit fails or is interrupted."""
    before = estimator.__dict__.copy()
    try:
        yield
    except BaseException:
        estimator.__dict__ = before
        raise


class PortableMixin:
    """Mixin for estimators whose fitted arrays may belong to any array library.

    Copies keep the arrays' namespace and device. Pickles convert the arrays to NumPy,
    so that an estimator fitted on a GPU loads on any machine, and then accepts data of
    any namespace and device. A fit inside ``_unchanged_on_error`` either completes or
    leaves the estimator unchanged.

    A class declares its fitted attributes in ``_state``, see `skdmn.utils.state`. They
    are checked when an estimator is loaded.
    """

    # fitted attributes of the class; those of its base classes are added
    _state: ClassVar[State]

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

    @classmethod
    @functools.cache
    def _get_param_names(cls) -> list[str]:
        """Return the names of the parameters; scikit-learn reads the signature."""
        return super()._get_param_names()  # type: ignore[misc]

    def _unchanged_on_error(self) -> contextlib.AbstractContextManager[None]:
        """Restore the estimator's attributes if a fit fails or is interrupted."""
        return unchanged_on_error(self)

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
        """Restore the state from a pickle, and check it.

        Raises
        ------
        ValueError
            If a later version of skdmn saved it in a format unknown to this version, or
            if a parameter or a fitted attribute is missing or wrong.
        """
        attributes, (saved_format, saved_by) = _unpacked(type(self).__name__, state)
        if saved_format > _FORMAT:
            raise ValueError(
                f"This {type(self).__name__} was saved by skdmn {saved_by} in a format "
                f"that skdmn {__version__} does not know; load it with "
                f"skdmn>={saved_by}, or fit it again."
            )
        parameters: list[str] = type(self)._get_param_names()
        absent = [name for name in parameters if name not in attributes]
        if absent:
            raise ValueError(
                f"This {type(self).__name__}, saved by skdmn {saved_by}, has no "
                f"parameter {absent[0]}; load another copy, or fit it again."
            )
        with self._unchanged_on_error():
            super().__setstate__(attributes)  # type: ignore[misc]
            if has_state(self):
                self._check_params()
                self._check_state()

    def _check_params(self) -> None:
        """Raise if a parameter is not valid."""
        if get_config()["skip_parameter_validation"]:
            return
        plain = self._plain_params()
        if plain is None or plain not in _valid_params:
            self._validate_params()  # type: ignore[attr-defined]
        if plain is not None:
            if len(_valid_params) > _MOST_VALID:
                _valid_params.clear()
            _valid_params.add(plain)

    def _plain_params(self) -> tuple | None:
        """Return all that the check of the parameters depends on, if it is plain.

        The check takes longer than the rest of a `predict` of one image.
        """
        found: list[Any] = [type(self)]
        for name, constraints in self._parameter_constraints.items():  # type: ignore[attr-defined]
            value = getattr(self, name, self)
            kind = type(value)
            if value is None or kind in _PLAIN:
                found += kind, value
                continue
            kinds = tuple(c for c in constraints if isinstance(c, type))
            if not isinstance(value, kinds):
                return None
            found.append(kind)
        return tuple(found)

    def _check_state(self) -> Sizes:
        """Raise if the fitted attributes are not what the class declares.

        Returns the named sizes. Override it to compare attributes with each other.
        """
        return check_state(self)

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


def _unpacked(name: str, state: Any) -> tuple[dict[str, Any], tuple[int, str]]:
    """Return the attributes in a saved state, and the format and version that saved it.

    Arrays get the byte order of this machine, and belong to no device yet.
    """
    attributes = dict(state) if isinstance(state, dict) else {}
    saved = attributes.pop("_saved", None)
    is_saved = isinstance(saved, (list, tuple)) and [*map(type, saved)] == [int, str]
    if not is_saved or not all(isinstance(key, str) for key in attributes):
        raise ValueError(
            f"This {name} has no record of the version that saved it (_saved); load "
            "another copy, or fit it again."
        )
    for key, value in attributes.items():
        if type(value) is np.ndarray and not value.dtype.isnative:
            attributes[key] = value.astype(value.dtype.newbyteorder("="))
    if "_lives" in attributes:
        attributes["_lives"] = None
    return attributes, (saved[0], saved[1])
