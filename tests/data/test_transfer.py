"""Batches on their way, and what becomes of them where memory runs out."""

import sys
import types
import weakref

import array_api_strict
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skdmn.data.transfer import Direct, batches, link, results
from skdmn.utils.array_api import HOST, Backend, own_backend

DEVICE = Backend(array_api_strict, array_api_strict.Device("device1"))
GPU = Backend(types.ModuleType("cupy"), "some GPU")
DIRECT = Direct(HOST, HOST)


class Ahead:
    """A link that writes down what is done with it."""

    ahead = True
    advice = "do something"

    def __init__(self):
        self.log = []

    def send(self, array):
        self.log.append(("send", array[0]))
        return [array]

    def receive(self, sent):
        self.log.append(("receive", sent[0][0]))
        return sent[0]

    def fetch(self, array):
        self.log.append(("fetch", array[0]))
        return [array]

    def collect(self, fetched):
        self.log.append(("collect", fetched[0][0]))
        return fetched[0]

    def wait(self):
        self.log.append("wait")


def run(n, size, compute=lambda batch: batch, link=DIRECT):
    """Return slices and results as lists."""
    numbers = np.arange(n)
    found = list(batches(n, size, lambda some: numbers[some], compute, link))
    return [(some.start, some.stop) for some, _ in found], [part for _, part in found]


class OutOfMemoryError(MemoryError):
    """As CuPy's is."""


def limited(limit, log=None):
    """Return a computation that only so many images have room for."""

    def compute(batch):
        if log is not None:
            log.append(len(batch))
        if len(batch) > limit:
            raise OutOfMemoryError
        return 2 * batch

    return compute


# batches


@pytest.mark.parametrize("n", [0, 1, 6, 7])
@pytest.mark.parametrize("size", [1, 3, 99])
def test_batches_cover_all_images_in_order(n, size):
    for way in (DIRECT, Ahead()):
        slices, parts = run(n, size, link=way)
        assert slices == [(i, min(i + size, n)) for i in range(0, n, size)]
        assert_array_equal(np.concatenate([np.arange(0), *parts]), np.arange(n))


def test_the_next_batch_is_sent_before_one_is_computed():
    way = Ahead()
    run(3, 1, lambda batch: way.log.append(("compute", batch[0])), link=way)
    assert way.log == [
        ("send", 0),
        ("receive", 0),
        ("send", 1),
        ("compute", 0),
        ("receive", 1),
        ("send", 2),
        ("compute", 1),
        ("receive", 2),
        ("compute", 2),
        "wait",
    ]


def test_nothing_is_read_ahead_where_arrays_stay():
    log = []

    def read(some):
        log.append(("read", some.start))
        return np.arange(9)[some]

    for _ in batches(2, 1, read, lambda batch: log.append("compute"), DIRECT):
        pass
    assert log == [("read", 0), "compute", ("read", 1), "compute"]


def test_arrays_are_computed_where_the_link_leads():
    way, numbers = link(HOST, DEVICE), np.arange(5.0)
    parts = batches(5, 2, lambda some: numbers[some], lambda batch: 2 * batch, way)
    seen = []
    for some, part in results(parts, way):
        assert own_backend(part) == HOST
        seen.append((some.start, part.tolist()))
    assert seen == [(0, [0, 2]), (2, [4, 6]), (4, [8])]
    assert own_backend(way.receive(way.send(numbers))) == DEVICE


# memory


@pytest.mark.parametrize("limit", [1, 2, 5, 11, 12, 99])
@pytest.mark.parametrize("size", [1, 7, 12, 99])
def test_batches_are_halved_until_they_fit_and_no_image_is_left_out(limit, size):
    for way in (DIRECT, Ahead()):
        slices, parts = run(23, size, limited(limit), way)
        assert_array_equal(np.concatenate(parts), 2 * np.arange(23))
        assert max(stop - start for start, stop in slices) <= limit


def test_batches_stay_small_once_they_were_halved():
    sizes = []
    run(12, 8, limited(3, sizes))
    assert sizes == [8, 4, 2, 2, 2, 2, 2, 2]


def test_a_batch_that_cannot_even_be_sent_is_halved():
    class Narrow(Ahead):
        def send(self, array):
            limited(2)(array)
            return super().send(array)

    slices, parts = run(9, 8, link=Narrow())
    assert_array_equal(np.concatenate(parts), np.arange(9))
    assert max(stop - start for start, stop in slices) <= 2


def test_what_was_made_before_memory_ran_out_is_gone_before_the_next_try():
    made = []

    def compute(batch):
        assert not made or made[-1]() is None
        between = np.array(batch)
        made.append(weakref.ref(between))
        return limited(1)(between)

    way = Ahead()
    run(4, 4, compute, way)
    assert len(made) == 4 + 2
    assert way.log.count("wait") == 2 + 1  # for each failure, and in the end


@pytest.mark.parametrize("way", [DIRECT, Ahead()])
def test_an_image_that_is_too_large_is_an_error_that_says_what_to_do(way):
    with pytest.raises(MemoryError, match=rf"for one image .*; {way.advice}\.$"):
        run(4, 4, limited(0), way)


def test_other_errors_pass_and_nothing_stays_on_its_way():
    way = Ahead()

    def compute(batch):
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        run(4, 1, compute, way)
    assert way.log[-1] == "wait"


def test_who_stops_early_leaves_nothing_on_its_way():
    way = Ahead()
    some = batches(9, 1, lambda some: np.arange(9)[some], lambda batch: batch, way)
    next(some)
    some.close()
    assert way.log[-1] == "wait"


# results


def test_results_come_back_while_the_next_batch_is_computed():
    way = Ahead()
    parts = ((slice(i, i + 1), np.array([i])) for i in range(3))
    assert [(some.start, part[0]) for some, part in results(parts, way)] == [
        (0, 0),
        (1, 1),
        (2, 2),
    ]
    order = ["fetch 0", "fetch 1", "collect 0", "fetch 2", "collect 1", "collect 2"]
    assert way.log == [*((w, int(i)) for w, i in map(str.split, order)), "wait"]


# links


def test_only_host_memory_is_linked_to_a_gpu(monkeypatch):
    fake = types.SimpleNamespace(Link=lambda device: f"link to {device}")
    monkeypatch.setitem(sys.modules, "skdmn.kernels.cuda.transfer", fake)
    assert link(HOST, GPU) == "link to some GPU"
    assert isinstance(link(GPU, GPU), Direct)
    assert isinstance(link(HOST, DEVICE), Direct)
