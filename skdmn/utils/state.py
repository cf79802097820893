"""Declarations of what fitted attributes must look like, and their check.

A saved estimator may come from somebody else, and a file may be damaged. A class
declares its fitted attributes in `_state`, a dict of names and fields. They are checked
when an estimator is loaded, and before a fit continues from earlier attributes.

Shapes are given by the names of sizes. The first attribute that has a size sets it, and
all others must agree. A tuple of names stands for the product of sizes, which earlier
attributes must have set.

Examples
--------
>>> import numpy as np
>>> from skdmn.utils.state import check_state, counts, floats
>>> class Model:
...     _state = {
...         "filters_": floats("n_filters", "n_values", most=1),
...         "counts_": counts("n_filters"),
...     }
>>> model = Model()
>>> model.filters_, model.counts_ = np.ones((3, 4)), np.array([5, 2])
>>> check_state(model)
Traceback (most recent call last):
ValueError: counts_ of Model has shape (2,), expected (3,); the estimator was changed or
damaged after its fit, so load another copy, or fit again.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Integral, Number, Real
from typing import Any, Self

import array_api_compat
import numpy as np

from skdmn.utils.array_api import to_numpy
from skdmn.utils.validation import LARGEST_SIZE

Sizes = dict[str, int]
Size = int | str | tuple[str, ...]  # a number, a name, or a product of named sizes

_MOST_INT = 2**63 - 1
POSITIVE = math.ulp(0.0)  # least number above 0
ONE = 1 + 1e-3  # bound of entries of unit vectors, and of shares, with rounding


class StateError(ValueError):
    """Raised by a field; the message continues "<attribute> of <class> ...".

    `path` leads from the attribute to a part of it, such as ".outer_products".
    """

    def __init__(self, text: str, path: str = "") -> None:
        super().__init__(text)
        self.path = path


@dataclass(frozen=True, kw_only=True)
class Field:
    """Description of an attribute.

    Attributes
    ----------
    is_optional : bool
        True if the attribute may be missing.
    may_be_none : bool
        True if the attribute may be None.
    """

    is_optional: bool = False
    may_be_none: bool = False

    def check(self, value: Any, sizes: Sizes) -> None:
        """Raise StateError if a value is not as described; add the sizes it sets."""

    def optional(self) -> Self:
        """Return a field for an attribute that may be missing."""
        return replace(self, is_optional=True)

    def or_none(self) -> Self:
        """Return a field for an attribute that may be None."""
        return replace(self, may_be_none=True)


State = dict[str, Field]


@dataclass(frozen=True, kw_only=True)
class ArrayField(Field):
    """Field of an array; see `floats`, `counts` and `mask`."""

    shape: tuple[Size, ...]
    dtypes: tuple[str, ...]
    least: float = -math.inf
    most: float = math.inf
    is_finite: bool = True

    def check(self, value: Any, sizes: Sizes) -> None:
        """Check type, dtype, shape and range of an array."""
        array = _as_array(value)
        if array.dtype.newbyteorder("=").name not in self.dtypes:
            of = " or ".join(self.dtypes)
            raise StateError(f"has dtype {array.dtype}, expected {of}")
        _check_shape(array.shape, self.shape, sizes)
        # comparisons find NaN, too; two reductions need no memory
        least, most = array.min().item(), array.max().item()
        if not (self.least <= least and most <= self.most):
            raise StateError(
                f"has values from {least} to {most}, expected values "
                f"{_range(self.least, self.most)}"
            )
        if self.is_finite and not (math.isfinite(least) and math.isfinite(most)):
            raise StateError(f"has values from {least} to {most}, expected finite ones")


def floats(
    *shape: Size,
    least: float = -math.inf,
    most: float = math.inf,
    is_finite: bool = True,
) -> ArrayField:
    """Describe an array of float32 or float64, without NaN.

    Parameters
    ----------
    *shape : int, str or tuple of str
        Sizes along the axes; see the module.
    least, most : float
        Range of the values, inclusive.
    is_finite : bool, default=True
        If False, values may be infinite.
    """
    return ArrayField(
        shape=shape,
        dtypes=("float32", "float64"),
        least=least,
        most=most,
        is_finite=is_finite,
    )


def moments(*shape: Size) -> ArrayField:
    """Describe float64 sums of squares and products, in the last two axes."""
    return _Moments(shape=shape, dtypes=("float64",))


class _Moments(ArrayField):
    def check(self, value: Any, sizes: Sizes) -> None:
        super().check(value, sizes)
        squares = np.diagonal(_as_array(value), axis1=-2, axis2=-1)
        least, rounding = squares.min(axis=-1), 1e-5 * abs(squares.sum(axis=-1))
        if (least < -rounding).any():
            raise StateError(f"has the sum of squares {least.min()}, expected none < 0")


def counts(*shape: Size) -> ArrayField:
    """Describe an array of int64 that are not negative."""
    return ArrayField(shape=shape, dtypes=("int64",), least=0)


def mask(*shape: Size) -> ArrayField:
    """Describe an array of booleans, of which at least one is True."""
    return _Mask(shape=shape, dtypes=("bool",))


class _Mask(ArrayField):
    def check(self, value: Any, sizes: Sizes) -> None:
        super().check(value, sizes)
        if not _as_array(value).any():
            raise StateError("has no True value, expected at least one")


@dataclass(frozen=True, kw_only=True)
class _Number(Field):
    least: float
    most: float
    is_integer: bool
    equals: str | tuple[str, ...] | None = None

    def check(self, value: Any, sizes: Sizes) -> None:
        kind: Any = Integral if self.is_integer else Real
        of = "int" if self.is_integer else "number"
        if not isinstance(value, kind) or isinstance(value, bool):
            raise StateError(f"is {shown(value)}, expected a {of}")
        if not self.least <= value <= self.most:
            wanted = _range(self.least, self.most)
            raise StateError(f"is {shown(value)}, expected a {of} {wanted}")
        if self.equals is not None:
            size = _resolved(self.equals, sizes)
            if isinstance(size, int) and value != size:
                product = ""
                if isinstance(self.equals, tuple):
                    product = f"{' * '.join(self.equals)} = "
                raise StateError(f"is {shown(value)}, expected {product}{size}")


def number(least: float = -math.inf, most: float = math.inf) -> Field:
    """Describe a number between two others, inclusive; not NaN."""
    return _Number(least=least, most=most, is_integer=False)


def count(least: int = 0, equals: str | tuple[str, ...] | None = None) -> Field:
    """Describe an int; `equals` is the size or product of sizes that it must equal."""
    return _Number(least=least, most=_MOST_INT, is_integer=True, equals=equals)


@dataclass(frozen=True, kw_only=True)
class _IsNone(Field):
    def check(self, value: Any, sizes: Sizes) -> None:
        if value is not None:
            raise StateError(f"is {shown(value)}, expected None")


def is_none() -> Field:
    """Describe an attribute that is None."""
    return _IsNone()


@dataclass(frozen=True, kw_only=True)
class _Lengths(Field):
    names: tuple[str, ...]
    most: tuple[str, ...]

    def check(self, value: Any, sizes: Sizes) -> None:
        n = len(self.names)
        if not isinstance(value, tuple) or len(value) != n:
            raise StateError(f"is {shown(value)}, expected a tuple of {n} ints")
        for position, size in enumerate(value):
            most = LARGEST_SIZE
            if self.most:
                most = sizes.get(self.most[position], most)
            is_int = isinstance(size, Integral) and not isinstance(size, bool)
            if not is_int or not 1 <= size <= most:
                raise StateError(
                    f"is {shown(value)}, expected ints from 1 to {most} at position "
                    f"{position}"
                )
        expected = tuple(
            sizes.setdefault(name, int(size))
            for name, size in zip(self.names, value, strict=True)
        )
        if value != expected:
            raise StateError(f"is {shown(value)}, expected {expected}")


def lengths(*names: str, most: tuple[str, ...] = ()) -> Field:
    """Describe a tuple of positive ints, which are the named sizes.

    Parameters
    ----------
    *names : str
        Names of the sizes.
    most : tuple of str
        Names of the sizes that these must not exceed, one for each.
    """
    return _Lengths(names=names, most=most)


@dataclass(frozen=True, kw_only=True)
class _LabelsField(Field):
    size: str
    are_classes: bool

    def check(self, value: Any, sizes: Sizes) -> None:
        array = _as_array(value)
        if array.dtype.kind not in "biufUSOmM":
            raise StateError(f"has dtype {array.dtype}, expected labels")
        _check_shape(array.shape, (self.size,), sizes)
        labels = array.tolist()
        is_label = [isinstance(label, (str, bytes, Number)) for label in labels]
        if array.dtype == object and not all(is_label):
            raise StateError("has entries that are no labels, expected str or numbers")
        if self.are_classes:
            try:
                is_sorted = all(a < b for a, b in itertools.pairwise(labels))
            except TypeError:
                is_sorted = False
            if not is_sorted or any(label != label for label in labels):
                raise StateError("is not sorted, or has labels twice or NaN")


def classes(size: str = "n_classes") -> Field:
    """Describe an array of sorted labels, each of which occurs once."""
    return _LabelsField(size=size, are_classes=True)


def labels(size: str) -> Field:
    """Describe an array of labels."""
    return _LabelsField(size=size, are_classes=False)


@dataclass(frozen=True, kw_only=True)
class _StringsField(Field):
    size: Size

    def check(self, value: Any, sizes: Sizes) -> None:
        array = _as_array(value)
        _check_shape(array.shape, (self.size,), sizes)
        if not all(isinstance(name, str) for name in array.tolist()):
            raise StateError("has entries that are no str, expected names")


def strings(size: Size) -> Field:
    """Describe an array of strings."""
    return _StringsField(size=size)


@dataclass(frozen=True, kw_only=True)
class _Checked(Field):
    function: Callable[[Any, Sizes], None]

    def check(self, value: Any, sizes: Sizes) -> None:
        self.function(value, sizes)


def checked(function: Callable[[Any, Sizes], None]) -> Field:
    """Describe an attribute by a function of the value and sizes.

    The function raises StateError if the value is not right.
    """
    return _Checked(function=function)


@dataclass(frozen=True, kw_only=True)
class _Part(Field):
    kind: type

    def check(self, value: Any, sizes: Sizes) -> None:
        if type(value) is not self.kind and self.kind is not object:
            raise StateError(f"is {shown(value)}, expected a {self.kind.__name__}")
        for name, field in declared(type(value)).items():
            try:
                _check_attribute(value, name, field, sizes)
            except StateError as error:
                raise StateError(str(error), f".{name}{error.path}") from None


def part(kind: type = object) -> Field:
    """Describe an object of a class, whose attributes the class declares itself."""
    return _Part(kind=kind)


def declared(kind: type) -> State:
    """Return the fields that a class and its base classes declare.

    They are in the order of the check: those of base classes first, and parts last,
    because these depend on sizes of the whole.
    """
    fields: State = {}
    for base in reversed(kind.__mro__):
        for name, field in vars(base).get("_state", {}).items():
            fields.pop(name, None)
            fields[name] = field
    return dict(sorted(fields.items(), key=lambda item: isinstance(item[1], _Part)))


def has_state(model: Any) -> bool:
    """Return True if an object has an attribute that its class declares."""
    return any(name in vars(model) for name in declared(type(model)))


def check_state(model: Any) -> Sizes:
    """Raise if attributes of an object are not what its class declares.

    Parameters
    ----------
    model : object
        Object whose class has declarations in `_state`.

    Returns
    -------
    dict
        Named sizes.

    Raises
    ------
    ValueError
        If an attribute is missing or wrong. The message names it.
    """
    sizes: Sizes = {}
    for name, field in declared(type(model)).items():
        try:
            _check_attribute(model, name, field, sizes)
        except StateError as error:
            of = f"{name}{error.path} of {type(model).__name__}"
            raise wrong_state(f"{of} {error}") from None
    return sizes


def check_alike(
    value: Any, example: Any, name: str, known: Sizes, **other_sizes: int
) -> None:
    """Raise if an object is not of the class of another, or has other sizes.

    Parameters
    ----------
    value, example : objects of one class
    name : str
        Name of the value, for the message.
    known : dict
        Sizes that the class does not set itself.
    **other_sizes : int
        Sizes in which the value differs from the example.
    """
    sizes = known.copy()
    field = part(type(example))
    field.check(example, sizes)
    sizes |= other_sizes
    try:
        field.check(value, sizes)
    except StateError as error:
        raise ValueError(
            f"{name}{error.path} {error}; it was changed or damaged, so compute it "
            "again."
        ) from None


def wrong_state(what: str) -> ValueError:
    """Return an error that says what is wrong with a fitted estimator."""
    return ValueError(
        f"{what}; the estimator was changed or damaged after its fit, so load another "
        "copy, or fit again."
    )


def _check_attribute(holder: Any, name: str, field: Field, sizes: Sizes) -> None:
    held = vars(holder)
    if name not in held:
        if not field.is_optional:
            raise StateError("is missing")
    elif not (held[name] is None and field.may_be_none):
        field.check(held[name], sizes)


def _as_array(value: Any) -> np.ndarray:
    # other subclasses, such as masked arrays, have meanings of their own
    if type(value) in (np.ndarray, np.memmap):
        return value
    if isinstance(value, np.ndarray) or not array_api_compat.is_array_api_obj(value):
        raise StateError(f"is {shown(value)}, expected an array")
    return to_numpy(value)


def _check_shape(
    shape: tuple[int, ...], expected: tuple[Size, ...], sizes: Sizes
) -> None:
    resolved = [_resolved(size, sizes) for size in expected]
    fits = len(shape) == len(resolved) and all(
        found == wanted if isinstance(wanted, int) else found > 0
        for found, wanted in zip(shape, resolved, strict=True)
    )
    if fits:
        for size, found in zip(expected, shape, strict=True):
            if isinstance(size, str) and sizes.setdefault(size, found) != found:
                fits = False  # a size that this shape has twice
    if not fits:
        text = ", ".join(map(str, resolved)) + "," * (len(resolved) == 1)
        raise StateError(f"has shape {shape}, expected ({text})")


def _resolved(size: Size, sizes: Sizes) -> int | str:
    """Return a size as a number if it is known, else its name."""
    if isinstance(size, tuple):
        return math.prod(sizes[name] for name in size)
    return sizes.get(size, size) if isinstance(size, str) else size


def _range(least: float, most: float) -> str:
    low = "above 0" if least == POSITIVE else f"from {least:g}"
    return low if most == math.inf else f"{low} to {most:g}"


def shown(value: Any) -> str:
    """Return a value for a message, or its type if it is long."""
    if isinstance(value, (Real, str, tuple, type(None))):
        with contextlib.suppress(ValueError):  # an int with thousands of digits
            text = repr(value)
            if len(text) <= 60:
                return text
    return f"of type {type(value).__name__}"
