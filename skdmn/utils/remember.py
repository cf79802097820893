"""Results of functions of arrays that are kept for the next call with equal arrays."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])

# larger arguments are not kept: a comparison would take long
_MOST_BYTES = 2**24
_PLAIN = (type(None), bool, int, float, str, np.dtype)


class _NotPlainError(TypeError):
    """An argument may change, or cannot be compared."""


def remembered(size: int) -> Callable[[Function], Function]:
    """Keep the results of the last calls of a function of arrays and plain values.

    Use it for constants that every call of a fitted estimator needs. They are not part
    of the estimator, so they are in no pickle. Arrays are compared by their values, not
    by identity: a result is never that of a fitted array before it was changed.
    Several threads may call the function.

    Arguments may be NumPy arrays, numbers, strings, None, and tuples and frozen
    dataclasses of these. If there are others, nothing is kept.

    Parameters
    ----------
    size : int
        Number of results to keep.

    Returns
    -------
    callable
        Decorator of a function without side effects. Its results must not be changed;
        they may share memory with its arguments, which are then constant copies.
    """

    def decorate(function: Function) -> Function:
        kept: list[tuple[tuple, Any]] = []  # replaced, not changed: for other threads

        @functools.wraps(function)
        def call(*arguments: Any) -> Any:
            nonlocal kept
            for known, result in kept:
                if _are_equal(known, arguments):
                    return result
            try:
                if _n_bytes(arguments) > _MOST_BYTES:
                    return function(*arguments)
                constant = _constant(arguments)
            except _NotPlainError:
                return function(*arguments)
            result = function(*constant)
            kept = [(constant, result), *kept][:size]
            return result

        return call  # type: ignore[return-value]

    return decorate


def _n_bytes(value: Any) -> int:
    """Return the bytes of all arrays; raise _NotPlainError for other objects."""
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return value.nbytes
    if isinstance(value, (*_PLAIN, np.generic)):
        return 0
    return sum(map(_n_bytes, _parts(value).values()))


def _constant(value: Any) -> Any:
    """Return a copy that nobody can change; constant values are returned themselves."""
    if isinstance(value, np.ndarray):
        if type(value.base) is bytes:
            return value
        # an array in the memory of bytes can never be made writeable
        return np.ndarray(value.shape, value.dtype, value.tobytes())
    if isinstance(value, (*_PLAIN, np.generic)):
        return value
    parts = _parts(value)
    constant = {name: _constant(part) for name, part in parts.items()}
    if all(constant[name] is part for name, part in parts.items()):
        return value
    if isinstance(value, tuple):
        make = getattr(type(value), "_make", type(value))  # of named tuples
        return make(constant.values())
    copied = object.__new__(type(value))
    copied.__dict__.update(constant)
    return copied


def _parts(value: Any) -> dict[Any, Any]:
    """Return the items of a tuple, or the attributes of a frozen dataclass."""
    if isinstance(value, tuple):
        return dict(enumerate(value))
    settings = getattr(type(value), "__dataclass_params__", None)
    attributes = getattr(value, "__dict__", None)
    if settings is None or not settings.frozen or attributes is None:
        raise _NotPlainError(f"{type(value).__name__} may change")
    return attributes


def _are_equal(known: Any, given: Any) -> bool:
    """Compare values with constant ones."""
    if known is given:
        return True
    if isinstance(known, np.ndarray):
        return (
            isinstance(given, np.ndarray)
            and known.dtype == given.dtype
            and known.shape == given.shape
            and bool((known == given).all())
        )
    if type(known) is not type(given):
        return False
    if isinstance(known, tuple):
        return len(known) == len(given) and all(map(_are_equal, known, given))
    if dataclasses.is_dataclass(known):
        mine, others = known.__dict__, given.__dict__
        return mine.keys() == others.keys() and all(
            _are_equal(part, others[name]) for name, part in mine.items()
        )
    return bool(known == given)
