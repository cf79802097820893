"""Declarations of fitted attributes: what they accept, and what an error says."""

import re

import numpy as np
import pytest

from skdmn.utils.state import (
    POSITIVE,
    StateError,
    check_alike,
    check_state,
    checked,
    classes,
    count,
    counts,
    declared,
    floats,
    has_state,
    is_none,
    labels,
    lengths,
    mask,
    moments,
    number,
    part,
    strings,
)

KNOWN = {"n": 3, "height": 5, "width": 4}
ONES = np.ones((3, 2))
FIELDS = {
    "floats": (
        floats("n", "d"),
        [ONES, ONES.astype("f4"), ONES.astype(">f8"), -ONES, ONES.view(np.memmap)],
        [
            *(ONES[:2], ONES[0], ONES[..., np.newaxis], ONES[:, :0], ONES.tolist()),
            *(ONES.astype(int), ONES.astype("f2"), ONES.astype(object), None, 1.0),
            *(ONES * np.nan, ONES * np.inf, np.ma.masked_array(ONES), np.matrix(ONES)),
        ],
    ),
    "floats in a range": (
        floats("n", least=POSITIVE, most=1, is_finite=False),
        [np.ones(3), np.full(3, 1e-300), np.full(3, 1e-40, "f4")],
        [np.zeros(3), np.zeros(3, "f4"), np.full(3, -1.0), np.full(3, 1.1)],
    ),
    "floats that may be infinite": (
        floats("n", is_finite=False),
        [np.array([0, np.inf, -np.inf])],
        [np.array([0, np.nan, np.inf])],
    ),
    "a product of sizes": (floats(("n", "width")), [np.ones(12)], [np.ones(7)]),
    "a size twice": (floats("d", "d"), [np.ones((2, 2))], [np.ones((2, 3))]),
    "moments": (
        moments("n", "d", "d"),
        [np.tile(np.eye(2), (3, 1, 1)), np.zeros((3, 4, 4))],
        [np.tile(-np.eye(2), (3, 1, 1)), np.tile(np.eye(2, dtype="f4"), (3, 1, 1))],
    ),
    "counts": (
        counts("n"),
        [np.arange(3), np.arange(3, dtype=">i8")],
        [
            np.arange(-1, 2),
            np.arange(3, dtype="u2"),
            np.arange(3.0),
            np.ones(3, bool),
            np.arange(4),
        ],
    ),
    "mask": (
        mask("n"),
        [np.array([False, True, False])],
        [np.zeros(3, bool), np.ones(3), np.ones(2, bool)],
    ),
    "number": (
        number(least=0, most=2),
        [0, 1.5, 2, np.float32(1)],
        [-1, 3, np.nan, True, "1", None, 1j, np.ones(1)],
    ),
    "count": (count(1), [1, np.int64(3)], [0, -1, 1.0, True, None, "1"]),
    "count of a size": (count(equals=("n", "width")), [12], [3, 4, -12, 12.0]),
    "sizes": (
        lengths("down", "across", most=("height", "width")),
        [(1, 1), (5, 4)],
        [
            *((6, 1), (1, 5), (0, 1), (-3000, -3000), (1,), (1, 1, 1), [1, 1]),
            *((1.0, 1), (True, 1), (1, 10**5000), "ab", None, np.ones(2, int)),
        ],
    ),
    "known sizes": (lengths("n", "width"), [(3, 4)], [(4, 3), (3, 5)]),
    "classes": (
        classes("n"),
        [np.arange(3), np.array(list("abc")), np.array(list("abc"), dtype=object)],
        [
            *(np.arange(3)[::-1], np.zeros(3), np.array([0, 1, np.nan]), np.arange(2)),
            *(np.array([1, "a", "b"], object), np.array([[], {}, ()], object), "abc"),
            np.array([1j, 2j, 3j]),
        ],
    ),
    "labels": (labels("n"), [np.zeros(3), np.array(list("bab"))], [np.zeros(2), [1]]),
    "strings": (
        strings("n"),
        [np.array(list("abc"), dtype=object), np.array(list("abc"))],
        [np.arange(3), np.array(["a", "b", None], object), np.array(["a"]), ["a"]],
    ),
    "none": (is_none(), [None], [0, np.ones(3)]),
    "or none": (floats("n").or_none(), [None, np.ones(3)], [0, np.ones(2)]),
}


class Holder:
    def __init__(self, **attributes):
        vars(self).update(attributes)


def holder_of(field):
    kind = type("Model", (Holder,), {"_state": {"value_": field}})
    known = type("Known", (kind,), {})
    known._state = {}
    return known


def check(field, value):
    """Check a value where some sizes are known."""
    first = lengths(*KNOWN)
    state = {"known_": first, "value_": field}
    model = type("Model", (Holder,), {"_state": state})
    check_state(model(known_=tuple(KNOWN.values()), value_=value))


@pytest.mark.parametrize("name", FIELDS)
def test_right_values_pass(name):
    field, right, _ = FIELDS[name]
    for value in right:
        check(field, value)


@pytest.mark.parametrize("name", FIELDS)
def test_wrong_values_are_refused_in_a_sentence(name):
    field, _, wrong = FIELDS[name]
    for value in wrong:
        with pytest.raises(ValueError, match=r"^value_ of Model .*fit again\.$") as got:
            check(field, value)
        assert len(str(got.value)) < 300
        assert not re.search(r"\. |\n", str(got.value))


def test_a_missing_attribute_is_an_error_unless_it_is_optional():
    kind = holder_of(floats("n"))
    with pytest.raises(ValueError, match="value_ of Known is missing"):
        check_state(kind())
    assert not has_state(kind())
    assert has_state(kind(value_=0))
    check_state(holder_of(floats("n").optional())())


def test_sizes_are_shared_and_returned():
    state = {"a_": floats("n", 2), "b_": counts("n"), "c_": floats(("n", "n"))}
    kind = type("Model", (Holder,), {"_state": state})
    a, b, c = np.ones((3, 2)), np.arange(3), np.ones(9)
    assert check_state(kind(a_=a, b_=b, c_=c)) == {"n": 3}
    with pytest.raises(ValueError, match=r"b_ of Model has shape \(4,\), expected \(3"):
        check_state(kind(a_=a, b_=np.arange(4), c_=c))
    with pytest.raises(ValueError, match=r"a_ of Model .*, expected \(n, 2\)"):
        check_state(kind(a_=a.T, b_=b, c_=c))
    with pytest.raises(ValueError, match=r"c_ of Model has shape .*, expected \(9,\)"):
        check_state(kind(a_=a, b_=b, c_=b * 1.0))


def test_a_class_adds_to_the_declarations_of_its_bases():
    base = holder_of(count())
    derived = type("Derived", (base,), {"_state": {"more_": number()}})
    assert list(declared(derived)) == ["value_", "more_"]
    replaced = {"more_": number(), "value_": is_none()}
    replaced = type("Replaced", (base,), {"_state": replaced})
    assert list(declared(replaced)) == ["more_", "value_"]
    check_state(replaced(value_=None, more_=1))


def test_parts_are_checked_with_the_sizes_of_the_whole():
    inner = type("Inner", (Holder,), {"_state": {"array": floats("n")}})
    state = {"_part": part(inner), "n_": lengths("n")}
    kind = type("Model", (Holder,), {"_state": state})
    check_state(kind(n_=(3,), _part=inner(array=np.ones(3))))
    with pytest.raises(ValueError, match=r"^_part\.array of Model has shape \(2,\)"):
        check_state(kind(n_=(3,), _part=inner(array=np.ones(2))))
    with pytest.raises(ValueError, match=r"^_part of Model is .*, expected a Inner"):
        check_state(kind(n_=(3,), _part={"array": np.ones(3)}))
    check_alike(inner(array=np.zeros(2)), inner(array=np.ones(2)), "sums", {})
    with pytest.raises(ValueError, match=r"^sums\.array has shape \(3,\), expected"):
        check_alike(inner(array=np.zeros(3)), inner(array=np.ones(2)), "sums", {})
    check_alike(inner(array=np.zeros(3)), inner(array=np.ones(2)), "sums", {}, n=3)


def test_a_function_can_check():
    def even(value, known):
        if value % known["n"]:
            raise StateError(f"is {value}, expected a multiple of {known['n']}")

    check(checked(even), 6)
    with pytest.raises(ValueError, match="value_ of Model is 7, expected a multiple"):
        check(checked(even), 7)
