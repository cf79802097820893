"""Convolution and pooling kernels against the reference, to the last bit."""

import threading
from unittest import mock

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skdmn.kernels.geometry import WHOLE, Window, output_size
from skdmn.kernels.reference import convolution as definition

cpu = pytest.importorskip(
    "skdmn.kernels.numba.convolution", reason="Numba compiles the kernels"
)

NARROW = ["u1", "i1", "?", "u2", "i2", "i4", "i8", "f4"]
# the dtype of images and the one computed in
DTYPES = [*((dtype, "f4") for dtype in [*NARROW, "f8"]), ("u1", "f8"), ("f8", "f8")]
PADDINGS = st.sampled_from(["valid", "same"])
CANARY = -12345.0
KERNELS = ["_convolve", "_convolve_fours", "_max_pool"]
FOURS = Window((2, 2), (2, 2), "valid")


def pairs(most):
    return st.tuples(st.integers(1, most), st.integers(1, most))


def whole_numbers(rng, shape, dtype="f4"):
    """Return images whose sums of products are exact in any order."""
    low, high = {"?": (0, 2), "u": (0, 30)}.get(np.dtype(dtype).kind, (-20, 20))
    return rng.integers(low, high, shape).astype(dtype)


def some_filters(rng, n_filters, size, channels, dtype="f4"):
    return rng.integers(-5, 6, (n_filters, *size, channels)).astype(dtype)


def assert_same_convolution(images, filters, *rest):
    ours = cpu.convolve(images, filters, *rest)
    expected = definition.convolve_and_pool(images, filters, *rest)
    assert ours.dtype == filters.dtype
    assert_array_equal(ours, expected)
    return ours


def assert_same_pooling(images, window, dtype):
    ours = cpu.max_pool(images, window, dtype)
    assert ours.dtype == dtype
    assert_array_equal(ours, definition.max_pool(images.astype(dtype), *window))
    return ours


def guarded(function):
    """Return a kernel with a check that it writes all of its rows and nothing else."""

    def call(code, source, n, g, *operands, first, last):
        *operands, out = operands
        buffer = np.full(len(out) + 256, CANARY, out.dtype)
        function(code, source, n, g, *operands, buffer[128:-128], first, last)
        shape = (n, g.out_rows, g.out_columns, g.n_filters)
        inner, rows = buffer[128:-128].reshape(shape), slice(first, last)
        assert (inner[:, rows] != CANARY).all()
        out.reshape(shape)[:, rows] = inner[:, rows]
        inner[:, rows] = CANARY
        assert (buffer == CANARY).all()

    return lambda *args: call(*args[:-2], first=args[-2], last=args[-1])


@pytest.fixture
def guards(monkeypatch):
    """Check that kernels write only the requested rows."""
    for name in KERNELS:
        monkeypatch.setattr(cpu, name, guarded(getattr(cpu, name)))


def cut(monkeypatch, threads, piece=2**28, strip=2**18):
    """Set the number of threads, and the size of pieces and strips."""
    monkeypatch.setattr(cpu, "n_threads", lambda: threads)
    for name, value in (("_ALONE", 0), ("_PIECE", piece), ("_STRIP", strip)):
        monkeypatch.setattr(cpu, name, value)


# every shape


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_convolution_and_pooling_of_any_shape_are_the_definitions(data):
    draw = data.draw
    shape, channels = draw(pairs(20)), draw(st.integers(1, 25))
    padding, stride = draw(PADDINGS), draw(pairs(4))
    size = draw(pairs(7))
    if padding == "valid":
        size = tuple(map(min, size, shape))
    window = Window(draw(pairs(4)), draw(pairs(4)), draw(PADDINGS))
    inner = output_size(shape, size, stride, padding)
    if window.padding == "valid":
        window = window._replace(size=tuple(map(min, window.size, inner)))
    n, n_filters = draw(st.integers(1, 3)), draw(st.integers(1, 50))
    dtype = draw(st.sampled_from(["f4", "f8"]))
    activation = draw(st.sampled_from([None, "relu"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    images = whole_numbers(rng, (n, *shape, channels), dtype)
    filters = some_filters(rng, n_filters, size, channels, dtype)
    with mock.patch.object(cpu, "_convolve", guarded(cpu._convolve)):
        assert_same_convolution(images, filters, stride, padding, activation, window)


@settings(deadline=None, max_examples=150)
@given(
    shape=pairs(20),
    channels=st.integers(1, 25),
    size=pairs(5),
    stride=pairs(3),
    padding=PADDINGS,
    n_filters=st.integers(1, 80),
    dtype=st.sampled_from(["f4", "f8"]),
    activation=st.sampled_from([None, "relu"]),
    pooling=PADDINGS,
)
def test_windows_of_two_by_two_are_the_definitions(
    shape, channels, size, stride, padding, n_filters, dtype, activation, pooling
):
    size = tuple(map(min, size, shape))
    inner = output_size(shape, size, stride, padding)
    assume(min(inner) > 1)
    rng = np.random.default_rng(sum(shape))
    images = whole_numbers(rng, (2, *shape, channels), dtype)
    filters = some_filters(rng, n_filters, size, channels, dtype)
    window = FOURS._replace(padding=pooling)
    g = cpu.plan(images, n_filters, size, stride, padding, window, filters.dtype)
    assert cpu._in_fours(g) == (pooling == "valid" or not any(i % 2 for i in inner))
    with mock.patch.object(cpu, "_convolve_fours", guarded(cpu._convolve_fours)):
        assert_same_convolution(images, filters, stride, padding, activation, window)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 3), pairs(20), st.integers(1, 40), pairs(6), pairs(6), PADDINGS)
def test_pooling_of_any_shape_is_the_definition(
    n, shape, channels, size, stride, padding
):
    if padding == "valid":
        size = tuple(map(min, size, shape))
    rng = np.random.default_rng(sum(shape))
    images = rng.normal(size=(n, *shape, channels)).astype("f4") - 2
    with mock.patch.object(cpu, "_max_pool", guarded(cpu._max_pool)):
        assert_same_pooling(images, Window(size, stride, padding), "f4")


@pytest.mark.parametrize("n_filters", range(1, 34))
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_any_number_of_filters_fills_vectors_and_no_more(rng, guards, n_filters, dtype):
    images = whole_numbers(rng, (3, 9, 8, 2), dtype)
    filters = some_filters(rng, n_filters, (3, 3), 2, dtype)
    window = Window((2, 2), (2, 2), "valid")
    assert_same_convolution(images, filters, (1, 1), "same", "relu", window)
    assert_same_convolution(images, filters, (1, 1), "valid", None, WHOLE)


@pytest.mark.parametrize("columns", range(1, 40))
def test_any_number_of_columns_fills_blocks_and_no_more(rng, guards, columns):
    images = whole_numbers(rng, (2, 3, columns + 1, 3))
    filters = some_filters(rng, 5, (2, 2), 3)
    assert_same_convolution(images, filters, (1, 1), "valid", None, WHOLE)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 2), (5, 5)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 1), (4, 7)])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_windows_overlap_or_leave_gaps(rng, guards, size, stride, padding):
    images = whole_numbers(rng, (2, 13, 11, 2))
    filters = some_filters(rng, 3, (3, 3), 2)
    window = Window(size, stride, padding)
    for inner in ("valid", "same"):
        assert_same_convolution(images, filters, (2, 1), inner, "relu", window)
        assert_same_convolution(images, filters, (1, 1), inner, None, window)
    assert_same_pooling(images, window, "f4")


# what images are


@pytest.mark.parametrize(("dtype", "computed"), DTYPES)
def test_images_of_any_dtype_are_computed_in_the_filters_dtype(rng, dtype, computed):
    images = whole_numbers(rng, (3, 8, 7, 2), dtype)
    filters = some_filters(rng, 4, (3, 2), 2, computed)
    window = Window((2, 2), (2, 2), "valid")
    assert_same_convolution(images, filters, (1, 1), "same", None, window)
    assert_same_pooling(images, window, np.dtype(computed))


def test_large_integers_are_rounded_as_numpy_rounds_them(rng):
    images = rng.integers(-(2**62), 2**62, (2, 5, 5, 3))
    assert_same_pooling(images, Window((2, 2), (1, 1), "same"), np.dtype("f4"))


@pytest.mark.parametrize(("dtype", "rounding"), [("f4", 1e-6), ("f8", 1e-14)])
def test_real_numbers_are_convolved_to_rounding(rng, dtype, rounding):
    images = rng.normal(size=(4, 12, 12, 7)).astype(dtype)
    filters = rng.normal(size=(11, 5, 5, 7)).astype(dtype)
    args = ((1, 1), "valid", None, WHOLE)
    exact = definition.convolve_and_pool(
        *(array.astype(np.longdouble) for array in (images, filters)), *args
    )
    largest = np.abs(filters).sum(axis=(1, 2, 3)).max()  # of the sums of products
    ours = cpu.convolve(images, filters, *args)
    assert_allclose(ours, exact.astype("f8"), rtol=0, atol=rounding * largest)


@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_views_and_read_only_memory_are_read_as_copies_are(rng, guards, dtype):
    base = whole_numbers(rng, (6, 3, 12, 10), dtype)
    packed = np.zeros(base.nbytes + 1, "u1")[1:].view(dtype).reshape(base.shape)
    packed[:] = base  # not aligned
    views = [
        base.transpose(0, 2, 3, 1),
        base.transpose(0, 2, 3, 1)[::-1, ::-1, ::-1, ::-1],
        base.transpose(0, 2, 3, 1)[::2, 1::2, :-1],
        np.broadcast_to(base.transpose(0, 2, 3, 1)[:1], (3, 12, 10, 3)),
        packed.reshape(6, 12, 10, 3),
        np.asfortranarray(base.transpose(0, 2, 3, 1)),
    ]
    frozen = base.reshape(6, 12, 10, 3)
    frozen.flags.writeable = False
    before, filters = base.copy(), some_filters(rng, 4, (3, 2), 3)
    filters.flags.writeable = False
    window = Window((2, 2), (2, 2), "same")
    for images in [*views, frozen, filters[::-1].astype(dtype)]:
        assert_same_convolution(images, filters, (1, 1), "same", "relu", window)
        assert_same_pooling(images, window, "f4")
    assert_array_equal(base, before)


def test_filters_may_be_views(rng):
    images = whole_numbers(rng, (2, 8, 8, 3))
    filters = some_filters(rng, 12, (3, 3), 3)[::-2, ::-1].swapaxes(1, 2)
    assert_same_convolution(images, filters, (1, 1), "valid", "relu", WHOLE)


@pytest.mark.parametrize("n", [0, 1, 2, 1000])
@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_images(rng, monkeypatch, guards, n, threads):
    cut(monkeypatch, threads)
    images, filters = whole_numbers(rng, (n, 6, 5, 2)), some_filters(rng, 3, (3, 3), 2)
    window = Window((2, 2), (2, 2), "valid")
    out = assert_same_convolution(images, filters, (1, 1), "same", "relu", window)
    assert out.shape == (n, 3, 2, 3)
    assert assert_same_pooling(images, window, "f4").shape == (n, 3, 2, 2)


# minus infinity, zeros and what is not finite


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("size", [(2, 2), (3, 3), (2, 5)])
def test_padding_never_wins(rng, activation, size):
    images = 1 + rng.random((2, 7, 7, 1), "f4")
    filters = np.full((3, 3, 3, 1), -1, "f4")  # every product is negative
    window = Window(size, (2, 2), "same")
    args = (images, filters, (1, 1), "valid", activation, window)
    features, pooled = cpu.convolve(*args), cpu.max_pool(-images, window, "f4")
    assert np.isfinite(features).all()
    assert (features == 0).all() if activation else (features < 0).all()
    assert (pooled <= -1).all()
    assert np.isfinite(pooled).all()


def test_zeros_of_either_sign_and_huge_values(rng):
    images = rng.choice(np.array([0.0, -0.0, 3e38, -3e38], "f4"), (3, 8, 8, 2))
    window = Window((2, 2), (2, 2), "valid")
    assert_same_pooling(images, window, "f4")
    filters = np.array([1.0, 0.0], "f4").reshape(1, 1, 1, 2)
    assert_same_convolution(images, filters, (1, 1), "valid", "relu", window)
    with np.errstate(over="ignore"):
        overflowed = cpu.convolve(images, filters * 2, (1, 1), "valid", None, WHOLE)
    assert_array_equal(np.unique(overflowed), [-np.inf, 0, np.inf])


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 2), (3, 3), (5, 4)])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_nan_is_kept(rng, dtype, size, padding):
    images = whole_numbers(rng, (4, 13, 11, 3), dtype)
    images[rng.random(images.shape) < 0.01] = np.nan
    for stride in (size, (1, 1)):
        window = Window(size, stride, padding)
        pooled = assert_same_pooling(images, window, dtype)
        assert 0 < np.isnan(pooled).mean() < 0.5
        filters = some_filters(rng, 5, (3, 2), 3, dtype)
        for activation in ("relu", None):
            features = assert_same_convolution(
                images, filters, (1, 1), "valid", activation, window
            )
            assert 0 < np.isnan(features).mean() < 1


# threads and pieces


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("piece", [1, 5000, 2**28])
@pytest.mark.parametrize("strip", [1, 60, 2**18])
@pytest.mark.parametrize("n", [1, 7])
def test_threads_and_pieces_change_no_byte(rng, monkeypatch, threads, piece, strip, n):
    images = rng.normal(size=(n, 17, 9, 3)).astype("f4")
    filters = rng.normal(size=(5, 3, 3, 3)).astype("f4")
    windows = Window((3, 2), (2, 2), "same"), FOURS
    whole = [cpu.convolve(images, filters, (1, 1), "same", "relu", w) for w in windows]
    pooled = cpu.max_pool(images, windows[0], "f4")
    cut(monkeypatch, threads, piece, strip)
    for name in KERNELS:
        monkeypatch.setattr(cpu, name, guarded(getattr(cpu, name)))
    for window, before in zip(windows, whole, strict=True):
        again = cpu.convolve(images, filters, (1, 1), "same", "relu", window)
        assert again.tobytes() == before.tobytes()
    assert cpu.max_pool(images, windows[0], "f4").tobytes() == pooled.tobytes()


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 30), st.integers(1, 40), st.integers(1, 9), st.integers(1, 2**12))
def test_pieces_cover_every_row_of_every_image_once(n, rows, threads, budget):
    g = mock.Mock(height=rows, width=10, channels=2, out_rows=rows)
    seen = np.zeros((n, rows), int)
    with mock.patch.multiple(cpu, _PIECE=budget, _STRIP=budget):
        for some, first, last in cpu._pieces(n, g, 100 * rows, threads):
            assert 0 <= first < last <= rows
            seen[some, first:last] += 1
    assert_array_equal(seen, 1)


def test_a_huge_image_is_cut_into_strips(rng):
    images = whole_numbers(rng, (1, 1500, 400, 1), "u1")
    filters = some_filters(rng, 2, (5, 3), 1)
    g = cpu.plan(images, 2, (5, 3), (1, 1), "valid", WHOLE, filters.dtype)
    assert len(list(cpu._pieces(1, g, 1496 * 398 * 15 * 8, 1))) > 1
    for window in (Window((3, 3), (2, 2), "same"), FOURS):
        assert_same_convolution(images, filters, (1, 1), "same", None, window)
        assert_same_pooling(images, window, "f4")


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("threads", [1, 3])
def test_an_interrupt_comes_out_and_leaves_no_thread(rng, monkeypatch, error, threads):
    calls, kernel, before = [], cpu._convolve, threading.active_count()

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 3:
            raise error
        kernel(*args)

    cut(monkeypatch, threads)
    monkeypatch.setattr(cpu, "_convolve", interrupted)
    images, filters = (
        whole_numbers(rng, (200, 9, 9, 1)),
        some_filters(rng, 4, (3, 3), 1),
    )
    with pytest.raises(error):
        cpu.convolve(images, filters, (1, 1), "valid", None, WHOLE)
    assert threading.active_count() == before
