"""Results of functions of arrays that are kept for the next call with equal arrays."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])

_MOST_BYTES = 2**24  # larger arguments are not kept: a comparison would take long


def remembered(size: int) -> Callable[[Function], Function]:
    """Keep the results of the last calls of a function of arrays and hashable values.

    Use it for constants that every call of a fitted estimator needs. They are not part
    of the estimator, so they are in no pickle. Arrays are compared by their values, not
    by identity: a result is never that of a fitted array before it was changed.
    Several threads may call the function.

    Parameters
    ----------
    size : int
        Number of results to keep.

    Returns
    -------
    callable
        Decorator of a function that returns arrays. Its results must not be changed.
    """

    def decorate(function: Function) -> Function:
        kept: list[tuple[tuple, Any]] = []  # replaced, not changed: for other threads

        @functools.wraps(function)
        def call(*arguments: Any) -> Any:
            nonlocal kept
            for known, result in kept:
                if all(map(_are_equal, known, arguments)):
                    return result
            result = function(*arguments)
            arrays = [one for one in arguments if isinstance(one, np.ndarray)]
            if sum(array.nbytes for array in arrays) <= _MOST_BYTES:
                known = tuple(
                    one.copy() if isinstance(one, np.ndarray) else one
                    for one in arguments
                )
                kept = [(known, result), *kept][:size]
            return result

        return call  # type: ignore[return-value]

    return decorate


def _are_equal(known: Any, given: Any) -> bool:
    if not isinstance(known, np.ndarray):
        return type(known) is type(given) and known == given
    return (
        isinstance(given, np.ndarray)
        and known.dtype == given.dtype
        and known.shape == given.shape
        and np.array_equal(known, given)
    )
