"""Both reference forms of second moments against windows, in every array library."""

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from numpy.testing import assert_allclose, assert_array_equal

from skdmn.kernels.reference import moments
from skdmn.kernels.reference.moments import (
    provisional_mean,
    row_groups,
    row_moments,
    rows_are_cheaper,
    second_moments,
    unshifted,
)

FORMS = [second_moments, row_moments]
LIBRARIES = ["numpy", "torch", "CPU_DEVICE", "device1"]  # the last two are strict


def placed(library, images):
    """Return images as an array of a library, or of one of array-api-strict's devices.

    There is one that has no float64, as Apple's GPUs.
    """
    if library == "numpy":
        return images
    if library == "torch":
        torch = pytest.importorskip("torch", reason="torch images are under test")
        return torch.from_numpy(images)
    device = array_api_strict.Device(library)
    return array_api_strict.asarray(images, device=device)


def windows(images, members, size, dtype="f8"):
    """Return every patch as a row, C order of (y, x, channel)."""
    views = sliding_window_view(images[members].astype(dtype), size, axis=(1, 2))
    return views.transpose(0, 1, 2, 4, 5, 3).reshape(-1, np.prod(size) * views.shape[3])


def assert_moments(ours, rows, rounding=0.0):
    outer, sums = (rows.T @ rows).astype("f8"), rows.sum(axis=0).astype("f8")
    assert all(isinstance(a, np.ndarray) and a.dtype == np.float64 for a in ours)
    assert_allclose(ours[0], outer, rtol=0, atol=rounding * np.trace(outer))
    root = np.sqrt(np.trace(outer) * len(rows))
    assert_allclose(ours[1], sums, rtol=0, atol=rounding * root)


# both forms


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (3, 2), (6, 5)])
@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8"])
def test_moments_are_those_of_windows(rng, form, library, size, dtype):
    whole = rng.integers(0, 256, (9, 6, 5, 2)).astype(dtype)
    members = np.array([7, 0, 3, 8])
    ours = form(placed(library, whole), members, size)
    assert_moments(ours, windows(whole, members, size, "i8"))
    if dtype.startswith("f"):
        reals = rng.normal(size=whole.shape).astype(dtype)
        ours = form(placed(library, reals), members, size)
        assert_moments(ours, windows(reals, members, size), 1e-14)


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_forms_agree_on_any_shape(data):
    draw = data.draw
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    n, channels = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    size = draw(st.integers(1, height)), draw(st.integers(1, width))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    images = rng.integers(0, 256, (n, height, width, channels)).astype("u1")
    members = rng.permutation(n)[: draw(st.integers(1, n))]
    rows = windows(images, members, size, "i8")
    for form in FORMS:
        assert_moments(form(images, members, size), rows)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("budget", [1, 500, 2**40])
def test_tiles_do_not_matter(rng, monkeypatch, form, budget):
    images = rng.integers(0, 256, (9, 6, 5, 2)).astype("u1")
    monkeypatch.setattr("skdmn.kernels.geometry.TILE_VALUES", budget)
    rows = windows(images, np.arange(9), (3, 2), "i8")
    assert_moments(form(images, np.arange(9), (3, 2)), rows)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["u1", "f4"])
@pytest.mark.parametrize("brightness", [0, 1e3])
def test_without_float64_moments_are_computed_in_float32(rng, form, dtype, brightness):
    images = rng.normal(size=(60, 6, 6, 2)) * 20 + brightness
    images = images.clip(0, 255).astype(dtype) if dtype == "u1" else images.astype("f4")
    theirs = placed("no_float64", images)
    rows = windows(images, np.arange(60), (3, 2))
    outer, sums = form(theirs, np.arange(60), (3, 2))
    assert_moments((outer, sums), rows, 1e-6)
    mean = sums / len(rows)
    centred = outer / len(rows) - np.outer(mean, mean)
    expected = np.cov(rows.T, bias=True)
    assert_allclose(centred, expected, atol=1e-5 * np.trace(expected))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["u4", "u8", "f2", ">f4", ">i2", "g"])
def test_dtypes_without_kernels_are_computed_too(rng, form, dtype):
    images = rng.integers(0, 200, (4, 5, 5, 1)).astype(dtype)
    rows = windows(images, np.arange(4), (2, 2), "i8")
    assert_moments(form(images, np.arange(4), (2, 2)), rows)


# which of them


def test_rows_are_cheaper_for_large_kernels_of_few_channels():
    assert rows_are_cheaper((28, 28, 1), (5, 5))
    assert rows_are_cheaper((8, 8, 3), (3, 3))
    assert not rows_are_cheaper((28, 28, 1), (1, 1))
    assert not rows_are_cheaper((28, 28, 1), (28, 28))  # a single patch
    assert not rows_are_cheaper((32, 32, 64), (3, 3))  # a row has 2048 values
    assert not rows_are_cheaper((1, 784, 1), (1, 3))
    assert isinstance(rows_are_cheaper((8, 8, 3), (3, 3)), bool)


@settings(max_examples=60)
@given(st.integers(1, 20), st.data())
def test_row_groups_are_in_an_entry_or_not_at_all(height, data):
    kernel = data.draw(st.integers(1, height))
    for dy in range(kernel):
        groups = row_groups(height, kernel, dy)
        rows = [row for group in groups for row in range(*group)]
        assert rows == list(range(height - dy))  # each once, with one dy below
        for y in range(kernel - dy):
            of_entry = set(range(y, height - kernel + y + 1))
            for group in groups:
                assert set(range(*group)) <= of_entry or not of_entry & set(
                    range(*group)
                )


def test_row_groups_of_an_entry_for_each_row():
    assert row_groups(6, 3, 0) == [(0, 1), (1, 2), (2, 4), (4, 5), (5, 6)]
    assert row_groups(6, 3, 2) == [(0, 4)]
    assert row_groups(3, 3, 0) == [(0, 1), (1, 2), (2, 3)]
    assert row_groups(5, 1, 0) == [(0, 5)]


# the provisional mean


def power_of_two(value):
    return np.frexp(value)[0] == 0.5


@settings(max_examples=60)
@given(
    st.floats(-1e6, 1e6),
    st.floats(1e-6, 1e6),
    st.sampled_from([np.dtype("f4"), np.dtype("f8")]),
)
def test_provisional_mean_is_within_the_spread_and_says_what_is_left(mean, size, dtype):
    rng = np.random.default_rng(0)
    images = (mean + size * rng.normal(size=(5, 4, 4, 2))).astype(dtype)
    shift, left = provisional_mean(images, np.arange(5), dtype)
    assert shift.shape == (2,)
    assert shift.dtype == dtype
    exact = images.astype("f8")
    channels = exact.reshape(-1, 2)
    spread = np.abs(channels - channels.mean(axis=0)).max(axis=0)
    ulp = np.spacing(np.abs(images).max())
    assert (np.abs(channels.mean(axis=0) - shift) <= spread + ulp).all()
    largest = np.abs(exact - shift).max()
    assert power_of_two(left)
    assert left / 2 < largest <= left or largest == 0  # constant


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4"])
def test_provisional_mean_of_whole_numbers_is_whole(rng, dtype):
    for low, high in ((0, 2), (3, 5), (90, 127), (0, 127)):
        images = rng.integers(low, high, (7, 5, 5, 3)).astype(dtype)
        shift, _ = provisional_mean(images, np.arange(7), np.dtype("f4"))
        assert_array_equal(shift, shift.round())
        assert np.abs(images.astype("f8") - shift).max() <= 256


@pytest.mark.parametrize("library", [*LIBRARIES, "no_float64"])
def test_provisional_mean_of_images_that_are_not_bright_is_zero(rng, library):
    images = rng.normal(size=(5, 4, 4, 3)).astype("f4")
    theirs = placed(library, images)
    shift, _ = provisional_mean(theirs, np.arange(5), np.dtype("f4"))
    assert_array_equal(shift, np.zeros(3))


@pytest.mark.parametrize("value", [0.0, 0.1, -7e5, 1e-30])
def test_provisional_mean_of_a_constant_is_the_constant(value):
    images = np.full((5, 4, 4, 1), value, "f4")
    shift, left = provisional_mean(images, np.arange(5), np.dtype("f4"))
    assert_array_equal(shift, images[0, 0, 0])
    assert power_of_two(left)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_provisional_mean_of_what_is_not_finite_is_zero(bad):
    images = np.ones((5, 4, 4, 2))
    images[3, 2, 1, 0] = bad
    with np.errstate(invalid="ignore"):
        shift, left = provisional_mean(images, np.arange(5), np.dtype("f8"))
    assert_array_equal(shift, np.zeros(2))
    assert left == 1.0


def test_provisional_mean_looks_at_some_members_only(rng):
    images = np.zeros((1000, 2, 2, 1))
    images[500:] = 10 + rng.normal(size=(500, 2, 2, 1))
    shift, left = provisional_mean(images, np.arange(500), np.dtype("f8"))
    assert (shift, left) == (0, 1)
    assert provisional_mean(images, np.arange(500, 1000), np.dtype("f8"))[0] > 5
    assert len(np.arange(1000)[:: -(-1000 // moments._SAMPLE)]) <= moments._SAMPLE


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_provisional_mean_does_not_depend_on_one_image(rng, dtype):
    images = (1000 + rng.random((20, 5, 5, 2))).astype(dtype)
    members, dtype = np.arange(20), np.dtype(dtype)
    expected, _ = provisional_mean(images, members, dtype)
    assert (np.abs(expected - 1000) < 2).all()
    images[0, 0, 0] = 1e8, -1e20
    shift, left = provisional_mean(images, members, dtype)
    assert_array_equal(shift, expected)
    assert left >= 1e20


def test_unshifted_puts_a_shift_back(rng):
    images = rng.integers(0, 99, (6, 5, 4, 3)).astype("f8")
    shift = np.array([3.0, -50.0, 128.0])
    rows = windows(images - shift, np.arange(6), (2, 3))
    ours = unshifted(rows.T @ rows, rows.sum(axis=0), shift, (2, 3), len(rows))
    assert_moments(ours, windows(images, np.arange(6), (2, 3), "i8"))
