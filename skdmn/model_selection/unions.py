"""Union of the filters of several settings, of which each setting is a selection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import joblib
import numpy as np

from skdmn.operations.records import (
    AveragePool,
    Convolve,
    Encode,
    MaxPool,
    Operation,
    Power,
    Rectify,
)
from skdmn.utils.array_api import to_numpy
from skdmn.utils.validation import Shape

Operations = tuple[Operation, ...]

# operations that treat every channel alike, so that a selection commutes with them
_BY_CHANNEL = (Rectify, MaxPool, AveragePool, Power)


@dataclass(frozen=True)
class Union:
    """Operations with the filters of several settings.

    Attributes
    ----------
    operations : tuple of Operation
        What computes the features of all settings.
    selections : list of ndarray of int, or None
        For each setting, the output channels that are its own, in its order. None if
        the settings are all equal and have all channels.
    """

    operations: Operations
    selections: list[np.ndarray] | list[None]


def kind_of(operations: Operations) -> str:
    """Return a hash that is equal for settings that may differ in their filters only.

    Filters must have the same size. If operations do not treat every channel alike,
    the hash contains the filters too.
    """
    if not _has_union(operations):
        return joblib.hash([one.on_host() for one in operations])
    first, *others = operations
    filters = first.filters  # type: ignore[attr-defined]
    values = [
        getattr(first, one.name) for one in fields(first) if one.name != "filters"
    ]
    values = [to_numpy(v) if hasattr(v, "dtype") else v for v in values]
    size = (type(first).__name__, tuple(filters.shape[1:]), str(filters.dtype))
    return joblib.hash((size, values, others))


def _has_union(operations: Operations) -> bool:
    return (
        bool(operations)
        and isinstance(operations[0], Convolve | Encode)
        and getattr(operations[0], "bias", None) is None
        and all(isinstance(one, _BY_CHANNEL) for one in operations[1:])
    )


class Filters:
    """Filters without repetition, in the order in which they are added."""

    def __init__(self) -> None:
        self._index: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._index)

    def add(self, filters: Any) -> np.ndarray:
        """Add filters, and return the index of each. Equal filters agree in every bit.

        Eigenvectors of the same density matrices do, whatever the cutoffs are.
        """
        index = self._index
        each = np.ascontiguousarray(to_numpy(filters))
        found = [index.setdefault(one.tobytes(), len(index)) for one in each]
        return np.array(found, dtype=np.intp)


def parts(
    variants: Sequence[Operations], shape: Shape, most_values: int
) -> Iterable[list[int]]:
    """Divide settings of the same kind into parts, whose unions are not too large.

    Parameters
    ----------
    variants : sequence of tuples of Operation
        Operations of each setting; `kind_of` is equal for them.
    shape : (int, int, int)
        Height, width and channels of the images.
    most_values : int
        Number of values per image that the output of a union may have. A setting that
        has more by itself is a part of its own.

    Yields
    ------
    list of int
        Indices of settings, those with the fewest filters first.
    """
    if not _has_union(variants[0]):  # all are equal
        yield list(range(len(variants)))
        return
    counts = [len(one[0].filters) for one in variants]  # type: ignore[attr-defined]
    part: list[int] = []
    filters = Filters()
    for number in sorted(range(len(variants)), key=counts.__getitem__):
        first = variants[number][0]
        filters.add(first.filters)  # type: ignore[attr-defined]
        n_values = _n_values(variants[number], shape, len(filters))
        if part and n_values > most_values:
            yield part
            part, filters = [], Filters()
            filters.add(first.filters)  # type: ignore[attr-defined]
        part.append(number)
    yield part


def _n_values(operations: Operations, shape: Shape, n_filters: int) -> int:
    """Return the number of output values per image if there were `n_filters`."""
    n_own = len(operations[0].filters)  # type: ignore[attr-defined]
    for operation in operations:
        shape = operation.output_shape(shape)
    return shape[0] * shape[1] * shape[2] // n_own * n_filters


def union_of(variants: Sequence[Operations]) -> Union:
    """Return the union of settings of the same kind.

    Parameters
    ----------
    variants : sequence of tuples of Operation
        Operations of each setting; `kind_of` is equal for them.

    Returns
    -------
    Union
    """
    operations = variants[0]
    if not _has_union(operations):
        return Union(operations, [None] * len(variants))
    first: Any = operations[0]
    filters = Filters()
    indices = [filters.add(one[0].filters) for one in variants]  # type: ignore[attr-defined]
    n = len(filters)
    everything = np.empty((n, *first.filters.shape[1:]), dtype=str(first.filters.dtype))
    for one, at in zip(variants, indices, strict=True):
        everything[at] = to_numpy(one[0].filters)  # type: ignore[attr-defined]
    if isinstance(first, Encode):  # positive parts of all filters, then negative ones
        indices = [np.concatenate([at, n + at]) for at in indices]
    return Union((replace(first, filters=everything), *operations[1:]), indices)
