"""Density matrices that do not fit in memory, and how much memory a fit needs."""

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdmn import (
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    WhitenedPCAPatchTransformer,
)
from skdmn.layers import class_density
from skdmn.statistics import filters
from skdmn.statistics.density import Densities, DensityAccumulator

LARGE = {"kernel_size": 11}


class Unread:
    """Images in a file that must not be read."""

    shape, dtype = (20, 16, 16, 8), np.dtype("f4")

    def __len__(self):
        return len(self.shape)

    def __getitem__(self, some):
        raise AssertionError("read before the memory was checked")


Y = np.arange(20) % 10


@pytest.fixture
def left(monkeypatch):
    """Return a function that sets the available memory."""

    def available(n_bytes):
        for module in (class_density, filters):
            monkeypatch.setattr(module, "available_memory", lambda: n_bytes)

    return available


# 16 matrices of 968 x 968 values, and a batch of 67 MB
@pytest.mark.parametrize("method", ["fit", "partial_fit", "statistics"])
def test_too_large_matrices_are_refused_before_images_are_read(left, method):
    left(150 * 10**6)
    layer = ClassPCAPatchTransformer(**LARGE)
    with pytest.raises(MemoryError) as caught:
        getattr(layer, method)(Unread(), Y)
    message = str(caught.value)
    for part in ("188 MB", "968 x 968", "10 classes", "150 MB", "class_based=False"):
        assert part in message
    assert not hasattr(layer, "image_shape_")


def test_matrices_by_cell_are_refused_before_the_first_look(left):
    left(10**9)
    layer = WhitenedPCAPatchTransformer(**LARGE)
    with pytest.raises(MemoryError, match="pass a smaller position_grid; or"):
        layer.fit(Unread(), Y)
    with pytest.raises(MemoryError, match="pass a smaller position_grid; or"):
        layer.first_look(Unread(), Y)


@pytest.mark.parametrize("n_bytes", [None, 188 * 10**6])
def test_what_fits_is_not_refused(left, n_bytes):
    left(n_bytes)
    with pytest.raises(AssertionError, match="read before"):
        ClassPCAPatchTransformer(**LARGE).fit(Unread(), Y)


def test_fewer_classes_need_less(left):
    left(150 * 10**6)
    layer = ClassPCAPatchTransformer(**LARGE, class_based=False)
    with pytest.raises(AssertionError, match="read before"):
        layer.fit(Unread(), Y)


def test_a_network_refuses_a_layer_before_images_pass(left, rng):
    left(150 * 10**6)
    X = rng.random((20, 16, 16, 8)).astype("f4")
    first = ClassPCAPatchTransformer(1, n_filters=8)
    layers = [("conv1", first), ("conv2", ClassPCAPatchTransformer(**LARGE))]
    net = DensityMatrixNetwork(layers)
    with pytest.raises(MemoryError, match="a layer before"):
        net.fit(X, Y)
    assert not hasattr(net, "layers_")


# what a fit holds


def peak(function):
    """Return the most bytes that arrays took at a time."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        function()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.fixture
def one_at_a_time(monkeypatch):
    monkeypatch.setattr(filters, "_AT_ONCE", 1)
    monkeypatch.setattr(filters, "n_threads", lambda: 1)


@pytest.mark.usefixtures("one_at_a_time")
@pytest.mark.parametrize("centered", [False, True])
def test_a_fit_holds_each_matrix_once(rng, centered):
    X = rng.random((12, 9, 9, 4)).astype("f4")
    layer = ClassPCAPatchTransformer(8, centered=centered, n_filters=9)
    layer.fit(X[:2], [0, 1])  # compiles the kernels
    y, matrix = np.arange(12), 8 * 256**2
    held = peak(lambda: layer.fit(X, y))
    # the kernel keeps up to a megabyte of sums for each of two threads
    assert 12 * matrix < held < (12 + filters.WORKSPACE) * matrix + 2**21
    held = peak(lambda: layer._sums.merge(layer._sums))
    assert held < 2 * matrix


@pytest.mark.usefixtures("one_at_a_time")
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_whitened_fit_holds_each_matrix_twice(rng, mirrored):
    X = rng.random((6, 9, 9, 4)).astype("f4")
    options = {"position_grid": 2, "contrast_floor": 0.1, "mirrored": mirrored}
    layer = WhitenedPCAPatchTransformer(8, n_filters=9, **options)
    layer.fit(X[:2], [0, 1])
    y, n, matrix = np.arange(6), 6 * 4, 8 * 256**2
    held = peak(lambda: layer.fit(X, y))
    assert n * matrix < held < (2 * n + filters.WORKSPACE) * matrix


def test_fewer_threads_diagonalize_if_memory_is_short(left, monkeypatch, rng):
    of_each = 8 * filters.WORKSPACE * 200**2
    seen = []
    inside = filters.in_threads

    def in_threads(function, pieces, threads):
        seen.append((len(pieces), threads))
        inside(function, pieces, threads)

    monkeypatch.setattr(filters, "in_threads", in_threads)
    monkeypatch.setattr(filters, "n_threads", lambda: 4)
    monkeypatch.setattr(filters, "_AT_ONCE", 1)
    monkeypatch.setattr(filters, "SURE_TO_FIT", 0)
    matrices = np.stack([np.diag(rng.random(200)) for _ in range(5)])
    found = []
    for n_bytes in (0, 2.5 * of_each, None):
        left(None if n_bytes is None else int(n_bytes))
        found.append(filters.eigenbases(matrices))
    assert seen == [*[(1, 1)] * 5, (2, 2), (2, 2), (1, 2), (4, 4), (1, 4)]
    for one in found:
        for (shares, vectors), matrix in zip(one, matrices, strict=True):
            assert_allclose(shares, np.sort(np.diag(matrix))[::-1])
            assert_allclose(vectors @ matrix @ vectors.T, np.diag(shares), atol=1e-12)


def test_matrices_one_by_one_are_all_of_them(rng):
    X = rng.random((6, 5, 5, 2))
    sums = DensityAccumulator.empty(4, (2, 2), 2, centered=True)
    sums.update(X, np.array([0, 0, 1, 3, 3, 3]))
    every, one_by_one = sums.density_matrices(), Densities(sums)
    assert len(one_by_one) == 4
    for group in range(4):
        assert_array_equal(one_by_one[group], every.matrices[group])
    assert not every.matrices[2].any()
