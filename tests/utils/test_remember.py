"""remembered: results are kept for equal arguments, and for no others."""

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skdmn.utils.remember import remembered


@dataclass(frozen=True)
class Record:
    array: Any
    size: tuple = (1, 2)


@dataclass
class Changeable:
    array: Any


def counted(size=2):
    """Return a remembered function of any arguments, and the list of its calls."""
    calls = []

    @remembered(size)
    def function(*arguments):
        calls.append(arguments)
        return arguments

    return function, calls


EQUAL = {
    "arrays": lambda: np.arange(6.0).reshape(2, 3),
    "Fortran order": lambda: np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "records": lambda: (Record(np.ones(2)), Record(np.zeros(3), (3, None))),
    "plain values": lambda: ("valid", 2, 0.5, True, None, np.float32(1)),
}


@pytest.mark.parametrize("name", EQUAL)
def test_equal_arguments_give_the_kept_result(name):
    function, calls = counted()
    first = function(EQUAL[name]())
    assert function(EQUAL[name]()) is first
    assert function(*first) is first  # constants are found without a comparison
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (np.ones(2), np.ones(3)),
        (np.ones(2), np.ones(2, np.float32)),
        (np.ones(2), np.array([1.0, 2.0])),
        (1, 1.0),
        (1, True),
        ((1, 2), (1, 2, 3)),
        (Record(np.ones(2)), Record(np.ones(2), (1, 3))),
        (Record(np.ones(2)), Record(None)),
        (Record(np.ones(2)), np.ones(2)),
    ],
)
def test_other_arguments_give_another_result(before, after):
    function, calls = counted()
    function(before)
    function(after)
    assert len(calls) == 2


def test_an_array_changed_in_place_gives_another_result():
    function, calls = counted()
    record = Record(np.ones(2))
    (kept,) = function(record)
    record.array[0] = 5
    assert_array_equal(function(record)[0].array, [5, 1])
    assert_array_equal(kept.array, [1, 1])  # the first result did not change with it
    record.array[0] = 1
    assert function(record)[0] is kept
    assert len(calls) == 2
    with pytest.raises(ValueError, match="cannot set WRITEABLE"):
        kept.array.setflags(write=True)


@pytest.mark.parametrize(
    "value",
    [
        [1, 2],
        (Record(Changeable(np.ones(2))),),
        Changeable(np.ones(2)),
        np.array(["a", None], dtype=object),
        np.ones(2**21 + 1),
    ],
    ids=["list", "nested", "dataclass", "objects", "large"],
)
def test_what_may_change_or_is_large_is_not_kept(value):
    function, calls = counted()
    assert function(value)[0] is value
    function(value)
    assert len(calls) == 2


def test_only_the_last_results_are_kept():
    function, calls = counted(size=2)
    for value in (1, 2, 3, 2, 1):
        function(value)
    assert [call[0] for call in calls] == [1, 2, 3, 1]


def test_threads_get_the_results_of_their_arguments():
    function, _ = counted()
    wrong = []

    def work(i):
        for n in range(200):
            value = np.full(4, (i + n) % 3)
            if not (function(value)[0] == value).all():
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
