"""Batches on their way to a GPU and back, its memory, and threads that share it."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skdmn import ClassPCAPatchTransformer, recommended_dmn
from skdmn.data import transfer
from skdmn.datasets import load_digits_images
from skdmn.operations import planned, run
from skdmn.utils import array_api

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(array_api.gpu() is None, reason="CuPy finds no usable GPU here"),
]


@pytest.fixture(scope="module")
def digits():
    return load_digits_images()


@pytest.fixture
def pool():
    """Return CuPy's memory pool, whose limit a test may set."""
    import cupy

    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    yield pool
    pool.set_limit(size=0)


@pytest.mark.parametrize("size", [1, 7, 50, 1000])
@pytest.mark.parametrize("dtype", ["uint8", ">f4", "longdouble"])
def test_batches_that_go_there_and_back_are_the_same(rng, size, dtype):
    images = rng.integers(0, 255, size=(500, 20, 30)).astype(dtype)
    link = transfer.link(array_api.HOST, array_api.gpu())
    parts = transfer.batches(500, size, lambda some: images[some], lambda b: b, link)
    found = np.empty(images.shape)
    for some, part in transfer.results(parts, link):
        found[some] = part
    assert_array_equal(found, images)


def test_a_batch_stays_the_same_while_later_ones_are_sent():
    link = transfer.link(array_api.HOST, array_api.gpu())
    images = np.repeat(np.arange(40, dtype=np.uint8), 2**20).reshape(40, -1)
    parts = transfer.batches(40, 1, lambda some: images[some], lambda b: b, link)
    kept = [part for _, part in parts]
    assert [int(part.min()) for part in kept] == list(range(40))
    assert [int(part.max()) for part in kept] == list(range(40))


def test_batches_are_halved_where_memory_runs_out(pool, digits):
    X = np.repeat(digits[0], 20, axis=0)
    layer = ClassPCAPatchTransformer(device="cuda").fit(*digits)
    expected = layer.transform(X)
    steps, sizes = planned(layer.operations(), array_api.gpu(), "float32"), []

    def greedy(batch):
        import cupy

        sizes.append(len(batch))
        cupy.empty((len(batch), 2**17), np.uint8)
        return run(steps, batch, "float32")

    pool.free_all_blocks()
    pool.set_limit(size=pool.total_bytes() + 2**28)
    images = layer._check_images(X, reset=False)
    found = images.map(greedy, layer.output_shape_, any_dtype=True)
    assert min(sizes) < max(sizes)
    assert_array_equal(found, expected)


def test_pageable_memory_is_used_if_pinned_memory_runs_out(monkeypatch, digits):
    import cupy

    layer = ClassPCAPatchTransformer(device="cuda").fit(*digits)
    expected, pinned = layer.transform(digits[0]), cupy.cuda.alloc_pinned_memory
    asked = []

    def limited(size):
        asked.append(size)
        if len(asked) % 2 == 0:
            return pinned(size)
        raise cupy.cuda.runtime.CUDARuntimeError(2)  # cudaErrorMemoryAllocation

    monkeypatch.setattr(cupy.cuda, "alloc_pinned_memory", limited)
    assert_array_equal(layer.transform(digits[0]), expected)
    assert asked


def test_an_image_that_is_too_large_says_what_to_do(pool, digits):
    layer = ClassPCAPatchTransformer(device="cuda").fit(*digits)
    pool.free_all_blocks()
    pool.set_limit(size=pool.total_bytes() + 512)
    with pytest.raises(MemoryError, match="fewer filters or device='cpu'"):
        layer.transform(digits[0])


def test_threads_and_streams_do_not_disturb_each_other(digits):
    import cupy

    X, y = digits
    layer = ClassPCAPatchTransformer(device="cuda").fit(X, y)
    expected = layer.transform(X)

    def work(number):
        with cupy.cuda.Stream(non_blocking=bool(number % 2)):
            return [layer.transform(X) for _ in range(5)]

    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(work, range(8)):
            for features in found:
                assert_array_equal(features, expected)


def test_memory_is_given_back(pool, digits):
    X, y = digits
    used = []
    for _ in range(3):
        recommended_dmn(X.shape[1:], n_filters=20, device="cuda").fit(X, y).predict(X)
        used.append(pool.used_bytes())
    assert used[-1] <= used[0]
