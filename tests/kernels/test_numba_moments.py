"""Kernels of second moments against windows; sums of integers are exact."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from numpy.testing import assert_allclose, assert_array_equal

from skdmn.kernels.geometry import output_size

module = pytest.importorskip("skdmn.kernels.numba.moments", reason="needs Numba")
second_moments = module.second_moments

RANGES = {"?": 2, "u1": 256, "i1": 128, "u2": 2**16, "i2": 2**15}  # from -n if signed
WHOLE = [*RANGES, "whole"]  # float32 that holds 8-bit numbers
ROUNDING = {"f4": 3e-7, "f8": 1e-14}  # of the trace; float32 adds up 256 products


def whole_numbers(rng, shape, dtype):
    if dtype == "whole":
        return rng.integers(0, 256, shape).astype("f4")
    low = -RANGES[dtype] if dtype.startswith("i") else 0
    return rng.integers(low, RANGES[dtype], shape).astype(dtype)


def windows(images, members, size, dtype):
    """Return every patch as a row, C order of (y, x, channel)."""
    views = sliding_window_view(images[members].astype(dtype), size, axis=(1, 2))
    return views.transpose(0, 1, 2, 4, 5, 3).reshape(-1, np.prod(size) * views.shape[3])


def exact_moments(images, members, size):
    rows = windows(images, members, size, np.int64)
    return rows.T @ rows, rows.sum(axis=0)


def assert_exact(images, members, size):
    outer, sums = exact_moments(images, members, size)
    assert np.abs(outer).max() < 2**53
    ours = second_moments(images, members, size)
    assert_array_equal(ours[0], outer)
    assert_array_equal(ours[1], sums)
    assert ours[0].dtype == ours[1].dtype == np.float64


def assert_close(images, members, size, rounding):
    """Compare with sums in long double, errors in units of the trace."""
    rows = windows(images, members, size, np.longdouble)
    outer, sums = rows.T @ rows, rows.sum(axis=0)
    trace = float(np.trace(outer))
    ours = second_moments(images, members, size)
    assert_allclose(ours[0].astype("f8"), outer.astype("f8"), atol=rounding * trace)
    root = np.sqrt(trace * len(rows))  # no sum of patches is larger
    assert_allclose(ours[1], sums.astype("f8"), rtol=0, atol=rounding * root)


def eigenvalues(outer, sums, n_patches):
    """Return the eigenvalues of the centred matrix."""
    mean = sums / n_patches
    return np.linalg.eigvalsh(outer / n_patches - np.outer(mean, mean))


# every shape


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_whole_numbers_are_summed_exactly(data):
    draw = data.draw
    n, channels = draw(st.integers(1, 9)), draw(st.integers(1, 5))
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 20))
    size = draw(st.integers(1, min(height, 6))), draw(st.integers(1, width))
    dtype = draw(st.sampled_from(WHOLE))
    members = draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=n, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    images = whole_numbers(rng, (n, height, width, channels), dtype)
    assert_exact(images, np.array(members), size)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 3), (5, 2), (9, 1), (9, 8)])
@pytest.mark.parametrize("channels", [1, 3, 7])
def test_real_numbers_are_summed_to_rounding(rng, dtype, size, channels):
    images = rng.normal(size=(30, 9, 8, channels)).astype(dtype)
    assert_close(images, np.arange(30), size, ROUNDING[dtype])
    assert_close(images + images.dtype.type(0.7), np.arange(30), size, ROUNDING[dtype])


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((3, 6, 2100, 1), (3, 3)),  # more than 256 steps of pixels
        ((2, 2, 5000, 1), (2, 1)),
        ((2, 4, 700, 3), (3, 2)),
        ((3, 1, 3000, 1), (1, 9)),  # signals
        ((4, 1, 60, 2), (1, 60)),
        ((3, 300, 4, 1), (5, 3)),  # rows of more than one sum
        ((2, 4, 4, 60), (2, 2)),
        ((2, 3, 3, 100), (1, 2)),
        ((5, 28, 28, 1), (28, 28)),
        ((700, 3, 3, 1), (2, 2)),  # several images to a sum
        ((1, 1, 1, 1), (1, 1)),
    ],
)
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_wide_tall_deep_and_small_images(rng, shape, size, dtype):
    assert_exact(whole_numbers(rng, shape, dtype), np.arange(shape[0]), size)


@pytest.mark.parametrize("width", range(1, 36))
def test_any_width_is_cut_into_steps_of_pixels(rng, width):
    images = whole_numbers(rng, (4, 4, width, 1), "u1")
    for columns in {1, (width + 1) // 2, width}:
        assert_exact(images, np.arange(4), (2, columns))


@pytest.mark.parametrize("channels", range(1, 26))
def test_any_number_of_channels(rng, channels):
    images = whole_numbers(rng, (3, 6, 7, channels), "u1")
    assert_exact(images, np.arange(3), (3, 2))


@pytest.mark.parametrize("dtype", ["u1", "i1", "whole"])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.45, 0.6, 0.99])
@pytest.mark.parametrize("size", [(1, 1), (3, 3)])
def test_the_largest_8_bit_numbers_are_summed_exactly(rng, dtype, share, size):
    low, high = (-128, 127) if dtype == "i1" else (0, 255)
    # whole images, so that one sum is of the largest products only
    bright = np.arange(40) < share * 40
    images = np.where(bright[:, np.newaxis, np.newaxis, np.newaxis], high, low)
    images = np.tile(images, (1, 20, 40, 1)).astype("f4" if dtype == "whole" else dtype)
    assert_exact(images, np.arange(40), size)


# members and memory


@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_members_in_any_order_and_views_are_read_as_copies_are(rng, dtype):
    base = rng.integers(0, 256, (20, 2, 7, 6)).astype(dtype)
    base.flags.writeable = False
    images = base.transpose(0, 2, 3, 1)[::-1, ::-1]
    for members in (rng.permutation(20), np.array([19]), np.arange(20)[::-3]):
        assert_exact(images, members, (3, 2))
        assert_exact(base, members, (2, 4))
        assert_exact(base, members.astype(np.int32), (2, 4))


def test_the_order_of_members_changes_nothing_for_whole_numbers(rng):
    images = whole_numbers(rng, (90, 6, 6, 1), "u1")
    outer, sums = second_moments(images, np.arange(90), (3, 3))
    for _ in range(3):
        again = second_moments(images, rng.permutation(90), (3, 3))
        assert_array_equal(again[0], outer)
        assert_array_equal(again[1], sums)


def test_images_stay_unchanged_and_matrices_are_symmetric(rng):
    images = rng.normal(size=(9, 6, 6, 2))
    before = images.copy()
    outer, _ = second_moments(images, np.arange(9), (3, 3))
    assert_array_equal(images, before)
    assert_array_equal(outer, outer.T)


# rounding


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("brightness", [1e4, -1e4])
def test_bright_images_keep_their_small_eigenvalues(rng, dtype, brightness):
    noise = rng.normal(size=(300, 10, 10, 2))
    noise[:, 1:] += noise[:, :-1]
    noise[..., 1] = noise[..., 0] + 0.1 * noise[..., 1]  # channels hardly differ
    images = (brightness + noise).astype(dtype)
    rows = windows(images, np.arange(300), (3, 3), "f8")
    exact = np.linalg.eigvalsh(np.cov(rows.T, bias=True))
    assert exact[0] < 2e-3 * exact[-1]
    moments = second_moments(images, np.arange(300), (3, 3))
    assert_allclose(eigenvalues(*moments, len(rows)), exact, rtol=1e-3)


@pytest.mark.parametrize("size", [1e-38, 1e-25, 1e-10, 1e10, 1e25, 1e37])
def test_squares_of_tiny_and_huge_numbers_are_in_range(rng, size):
    images = (size * rng.normal(size=(20, 6, 6, 2))).astype("f4")
    assert_close(images, np.arange(20), (3, 2), ROUNDING["f4"])
    assert_close(
        images + images.dtype.type(3 * size), np.arange(20), (3, 2), ROUNDING["f4"]
    )


@pytest.mark.parametrize("dtype", ["u1", "f4", "f8"])
@pytest.mark.parametrize("value", [0, 1, 0.1, 1e-20, 7e5, 200])
def test_constant_images_are_summed_to_rounding(dtype, value):
    images = np.full((30, 7, 6, 2), value).astype(dtype)  # some wrap around
    outer, sums = second_moments(images, np.arange(30), (3, 2))
    pixel, n = float(images[0, 0, 0, 0]), 30 * 5 * 5
    assert_allclose(outer, np.full((12, 12), n * pixel**2), rtol=1e-14)
    assert_allclose(sums, np.full(12, n * pixel), rtol=1e-14)


def test_channels_of_different_size_and_brightness(rng):
    images = rng.normal(size=(40, 7, 7, 3)) * [1e-3, 1, 1e3] + [0, 1e3, -1e5]
    images = images.astype("f4")
    rows = windows(images, np.arange(40), (2, 2), "f8")
    ours = second_moments(images, np.arange(40), (2, 2))
    mean = rows.mean(axis=0)
    covariance = ours[0] / len(rows) - np.outer(ours[1], ours[1]) / len(rows) ** 2
    expected = np.cov(rows.T, bias=True)
    sizes = np.sqrt(np.diag(expected))
    assert_allclose(ours[1] / len(rows), mean, rtol=1e-9, atol=1e-9)
    error = np.abs(covariance - expected) / np.outer(sizes, sizes)
    assert error[np.ix_(*[np.arange(12) % 3 > 0] * 2)].max() < 1e-4


def test_a_mean_that_suits_few_images_costs_no_digits(rng):
    images = rng.random((16_000, 3, 3, 1)).astype("f4")
    images[::1000] += 1000  # all of the images that the provisional mean is taken from
    assert_close(images, np.arange(len(images)), (2, 2), ROUNDING["f4"])


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_seen_in_the_sums(rng, dtype, bad):
    images = rng.normal(size=(100, 5, 5, 1)).astype(dtype)
    images[77, 2, 2] = bad
    with np.errstate(invalid="ignore"):
        outer, sums = second_moments(images, np.arange(100), (3, 3))
    assert not np.isfinite(outer[4, 4])
    assert not np.isfinite(sums[4])


# threads, scratch and budget


@pytest.mark.parametrize("threads", [1, 2, 5, 64])
@pytest.mark.parametrize("budget", [1, 5000, 2**25])
def test_threads_and_budget_change_nothing(rng, monkeypatch, threads, budget):
    images = whole_numbers(rng, (40, 8, 9, 2), "u1")
    reals = rng.normal(size=(40, 8, 9, 2)).astype("f4")
    outer, sums = second_moments(images, np.arange(40), (3, 3))
    monkeypatch.setattr(module, "n_threads", lambda: threads)
    monkeypatch.setattr(module, "_ALONE", 0)
    monkeypatch.setattr(module, "_BUDGET", budget)
    cut = module._cut.__wrapped__  # nothing is kept for other tests, or from them
    monkeypatch.setattr(module, "_cut", cut)
    assert (len(cut((8, 9, 2), (3, 3), np.dtype("f4"))) > 1) == (budget < 2**20)
    assert_exact(images, np.arange(40), (3, 3))
    again = second_moments(images, np.arange(40), (3, 3))
    assert_array_equal(again[0], outer)
    assert_array_equal(again[1], sums)
    assert_close(reals, np.arange(40), (3, 3), ROUNDING["f4"])
    one, other = (second_moments(reals, np.arange(40), (3, 3)) for _ in range(2))
    assert one[0].tobytes() == other[0].tobytes()  # for the same number of threads
    assert one[1].tobytes() == other[1].tobytes()


@pytest.mark.parametrize(("scratch", "most"), [(1, 1), (3000, 2**23), (2**22, 1)])
def test_scratch_changes_nothing(rng, monkeypatch, scratch, most):
    images = whole_numbers(rng, (70, 8, 9, 2), "u1")
    monkeypatch.setattr(module, "_SCRATCH", scratch)
    monkeypatch.setattr(module, "_MOST", most)
    # compiled code holds the values that constants had
    kernel = numba.njit(nogil=True)(module._multiply_images.py_func)
    monkeypatch.setattr(module, "_multiply_images", kernel)
    assert_exact(images, np.arange(70), (3, 3))


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 9), st.integers(1, 600), st.integers(1, 4), st.integers(1, 10**6))
def test_tiles_hold_every_pixel_once_and_groups_every_tile(
    height, width, channels, budget
):
    size = (-(-height // 2), -(-width // 3))
    shape = (height, width, channels)
    tiles = module._tiles(shape, size, np.dtype("f4"))
    for dy in range(size[0]):
        seen = np.zeros((height, width), int)
        for tile in tiles[tiles["dy"] == dy]:
            length = tile["pixels"] * tile["steps"]
            columns = slice(tile["left"], tile["left"] + length)
            seen[tile["top"] : tile["bottom"], columns] += 1
        assert_array_equal(seen[: height - dy], 1)  # the last have none dy below
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BUDGET", budget)
        groups = list(module._in_budget(tiles, channels))
    assert sum(map(len, groups)) == len(tiles)
    for group in groups:
        values = module._values(group, channels)
        assert_array_equal(group["offset"], np.cumsum(values) - values)
        assert 8 * values[1:].sum() <= budget


def test_products_that_are_counted_are_those_that_are_made(rng):
    shape, size = (9, 8, 2), (3, 3)
    ((_, counted, _),) = module._cut(shape, size, np.dtype("f4"))
    needed = 0
    for dy in range(3):
        rows = output_size(shape, (1 + dy, 1), (1, 1), "valid")[0]
        needed += rows * 8 * 2 * 2 * (3 if dy == 0 else 5)  # pixels, channels, lags
    assert needed <= counted <= 3 * needed
