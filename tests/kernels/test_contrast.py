"""Contrast-normalized patches: references against loops, kernels against both."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skdmn.kernels import dispatch
from skdmn.kernels.geometry import WHOLE, Window, output_size
from skdmn.kernels.reference import contrast
from skdmn.kernels.reference.contrast import Encoding, by_contrast, cell_edges
from skdmn.kernels.reference.convolution import average_pool

kernels = pytest.importorskip(
    "skdmn.kernels.numba.contrast", reason="Numba compiles them"
)

PADDINGS = st.sampled_from(["valid", "same"])


def pairs(most):
    return st.tuples(st.integers(1, most), st.integers(1, most))


def loop_over_patches(images, size):
    """Yield the position, the centred pixels and the variance of every valid patch."""
    n, height, width, _ = images.shape
    for i in range(n):
        for y in range(height - size[0] + 1):
            for x in range(width - size[1] + 1):
                patch = images[i, y : y + size[0], x : x + size[1]].astype(float)
                yield (i, y, x), patch - patch.mean(), patch.var()


def loop_encode(images, how):
    rows, columns = output_size(images.shape[1:], how.size, (1, 1), "valid")
    n_filters = len(how.filters)
    out = np.zeros((len(images), rows, columns, 2 * n_filters))
    for (i, y, x), patch, variance in loop_over_patches(images, how.size):
        z = np.array([(f * patch).sum() for f in how.filters.astype(float)])
        z = z / np.sqrt(variance + how.floor)
        out[i, y, x, :n_filters] = np.maximum(z - how.threshold, 0)
        out[i, y, x, n_filters:] = np.maximum(-z - how.threshold, 0)
    return out


def loop_average(images, window, power):
    (height, width), (down, across), padding = window
    rows, columns = window.output_size(images.shape[1:])
    top = left = 0
    if padding == "same":
        top = max((rows - 1) * down + height - images.shape[1], 0) // 2
        left = max((columns - 1) * across + width - images.shape[2], 0) // 2
    out = np.empty((len(images), rows, columns, images.shape[3]))
    for r in range(rows):
        for c in range(columns):
            y, x = r * down - top, c * across - left
            seen = images[:, max(y, 0) : y + height, max(x, 0) : x + width]
            mean = seen.astype(float).mean(axis=(1, 2))
            out[:, r, c] = np.sign(mean) * np.abs(mean) ** power
    return out


def some_images(rng, dtype="u1", shape=(4, 9, 8, 2)):
    return rng.integers(0, 200, shape).astype(dtype)


def some_encoding(rng, dtype="f8", n_filters=5, size=(3, 4), channels=2):
    filters = rng.normal(size=(n_filters, *size, channels))
    filters -= filters.mean(axis=(1, 2, 3), keepdims=True)
    return Encoding(filters.astype(dtype), 90.0, 0.3)


# the definitions


def test_encoding_is_the_loop_over_patches(rng):
    images, how = some_images(rng), some_encoding(rng)
    expected = loop_encode(images, how)
    assert (expected == 0).any()
    assert (expected > 0).any()
    assert_allclose(contrast.encode(images, how), expected, atol=1e-12)


def test_moments_are_the_loop_over_patches_of_each_cell(rng):
    images, size, cells, floor = some_images(rng), (3, 4), (2, 3), 50.0
    members = np.array([0, 1, 3])
    down, across = cell_edges(7, 2), cell_edges(5, 3)
    expected = np.zeros((6, 24, 24))
    for (i, y, x), patch, variance in loop_over_patches(images, size):
        cell = 3 * (y >= down[1]) + (x >= across[1]) + (x >= across[2])
        p = (patch / np.sqrt(variance + floor)).ravel()
        expected[cell] += np.outer(p, p) * (i in members)
    found = contrast.contrast_moments(images, members, size, cells, floor)
    assert_allclose(found, expected, atol=1e-10)
    assert_allclose(
        next(dispatch.class_contrast_moments(images, [members], size, cells, floor)),
        expected,
        atol=1e-4,  # of 8-bit images, in float32
    )


@pytest.mark.parametrize("most", [1, 100, 1000])
def test_large_images_are_cut_into_strips(rng, monkeypatch, most):
    images, members = some_images(rng), np.array([1, 2, 3])
    given = images, members, (3, 4), (3, 2), 50.0
    expected = contrast.contrast_moments(*given)
    monkeypatch.setattr("skdmn.kernels.geometry.TILE_VALUES", most)
    assert_allclose(contrast.contrast_moments(*given), expected, rtol=1e-12)
    monkeypatch.setattr(kernels, "_PATCHES", most)
    assert_allclose(kernels.contrast_moments(*given), expected, atol=1e-4)


@pytest.mark.parametrize("cells", [1, 2, 3, 5, 7])
def test_cells_are_as_even_as_can_be(cells):
    for length in range(cells, 20):
        edges = cell_edges(length, cells)
        sizes = np.diff(edges)
        assert (edges[0], edges[-1]) == (0, length)
        assert sizes.min() >= 1
        assert sizes.max() - sizes.min() <= 1


@settings(deadline=None, max_examples=40)
@given(
    size=pairs(5), stride=pairs(4), padding=PADDINGS, power=st.sampled_from([1, 0.5, 2])
)
def test_average_is_the_loop_over_windows(size, stride, padding, power):
    images = np.random.default_rng(0).normal(size=(2, 6, 5, 3))
    window = Window(size, stride, padding)
    found = average_pool(images, window, power, np.float64)
    assert_allclose(found, loop_average(images, window, power), atol=1e-12)


def test_encoding_then_averaging_is_both_in_one(rng):
    images, how = some_images(rng), some_encoding(rng)
    window = Window((3, 2), (2, 2), "same")
    both = contrast.encode_and_pool(images, how, window, 0.5)
    expected = loop_average(loop_encode(images, how), window, 0.5)
    assert_allclose(both, expected, atol=1e-12)


def test_brightness_and_contrast_do_not_matter(rng):
    """With a tiny floor, brightness and contrast have no effect."""
    images = some_images(rng, "f8")
    how = some_encoding(rng)._replace(floor=1e-9)
    assert_allclose(
        dispatch.encode(7 * images + 100, how), dispatch.encode(images, how), atol=1e-8
    )


def test_flat_images_give_nothing(rng):
    flat = np.full((2, 9, 8, 2), 200, np.uint8)
    assert_array_equal(dispatch.encode(flat, some_encoding(rng)), 0)
    assert_array_equal(contrast.encode(flat, some_encoding(rng)), 0)


@pytest.mark.parametrize("library", ["array_api_strict", "torch"])
def test_any_array_library(rng, library):
    xp = pytest.importorskip(library)
    images, how = some_images(rng), some_encoding(rng, "f4")
    window = Window((3, 2), (2, 2), "same")
    theirs = Encoding(xp.asarray(how.filters), how.floor, how.threshold)
    found = dispatch.encode(xp.asarray(images), theirs, window, 0.5)
    assert_allclose(
        np.asarray(found), dispatch.encode(images, how, window, 0.5), atol=1e-5
    )
    members = np.array([0, 2])
    assert_allclose(
        list(
            dispatch.class_contrast_moments(
                xp.asarray(images), [members, members[:1]], (3, 4), (2, 2), 9.0
            )
        ),
        [
            contrast.contrast_moments(images, group, (3, 4), (2, 2), 9.0)
            for group in (members, members[:1])
        ],
        rtol=1e-9,
        atol=1e-9,
    )


# extreme values

# float32: the definition multiplies the same numbers, so that it needs no tolerance
SPOILT = [("f4", 1e8), ("f4", 1e30), ("f4", np.nan), ("f8", 1e8), ("f8", 1e150)]
PLACES = st.tuples(st.integers(0, 8), st.integers(0, 7), st.integers(0, 1))


@settings(deadline=None, max_examples=40)
@given(place=PLACES, spoilt=st.sampled_from(SPOILT), module=st.sampled_from([0, 1]))
def test_patches_do_not_depend_on_pixels_outside_of_them(place, spoilt, module):
    rng = np.random.default_rng(0)
    (dtype, value), compute = spoilt, (kernels, contrast)[module].encode_and_pool
    how = some_encoding(rng, dtype)._replace(floor=0.1)
    images = rng.normal(size=(2, 9, 8, 2)).astype(dtype)
    expected = compute(images, how, WHOLE, 1.0)
    images[(1, *place)] = value
    found = compute(images, how, WHOLE, 1.0)
    ys, xs = np.ogrid[:7, :5]
    y, x, _ = place
    outside = np.ones((2, 7, 5), bool)
    outside[1] = (y < ys) | (y > ys + 2) | (x < xs) | (x > xs + 3)
    assert_allclose(found[outside], expected[outside], rtol=1e-6, atol=1e-6)
    assert np.isnan(found[~outside]).all() == np.isnan(value)


@pytest.mark.parametrize("module", [kernels, contrast])
@pytest.mark.parametrize("value", [1e8, 1e30, np.nan])
def test_cells_do_not_depend_on_pixels_outside_of_them(rng, module, value):
    images = rng.normal(size=(3, 9, 8, 1)).astype("f4")
    given = np.arange(3), (2, 2), (2, 2), 0.1
    expected = module.contrast_moments(images, *given)
    images[1, 0, 0] = value  # in patches of the first cell only
    found = module.contrast_moments(images, *given)
    assert_allclose(found[1:], expected[1:], rtol=1e-6, atol=1e-6)
    assert np.isnan(found[0]).any() == np.isnan(value)


def test_a_patch_with_an_extreme_pixel_is_the_loop_over_patches(rng):
    images = rng.normal(size=(1, 6, 6, 2))
    images[0, 2, 3, 1] = 1e8
    how = some_encoding(rng)._replace(floor=0.1)
    for compute in (kernels.encode_and_pool, contrast.encode_and_pool):
        found = compute(images, how, WHOLE, 1.0)
        assert_allclose(found, loop_encode(images, how), atol=1e-7)


@pytest.mark.parametrize("window", [WHOLE, Window((3, 2), (2, 2), "same")])
def test_nan_stays_where_the_definition_has_it(rng, window):
    images, how = rng.random((3, 9, 8, 2)).astype("f4"), some_encoding(rng, "f4", 21)
    images[1, 4, 0, 1] = images[2, 8, 7, 0] = np.nan
    found = kernels.encode_and_pool(images, how, window, 0.5)
    expected = contrast.encode_and_pool(images, how, window, 0.5)
    assert 0 < np.isnan(expected).mean() < 0.5
    assert_array_equal(np.isnan(found), np.isnan(expected))


@pytest.mark.parametrize("library", ["numpy", "array_api_strict", "torch"])
@pytest.mark.parametrize("unit", [1e-36, 1e-30, 1e-19, 1e20, 1e35])
def test_the_unit_of_the_images_does_not_matter(rng, library, unit):
    xp = pytest.importorskip(library)
    images, how = rng.normal(size=(3, 9, 8, 2)), some_encoding(rng, "f4")
    how = how._replace(floor=0.1)
    expected = contrast.encode(images.astype("f4"), how)
    assert (expected > 0).mean() > 0.2
    theirs = Encoding(xp.asarray(how.filters), 0.1 * unit * unit, how.threshold)
    found = contrast.encode(xp.asarray((unit * images).astype("f4")), theirs)
    assert_allclose(np.asarray(found), expected, atol=1e-5)
    ours = how._replace(floor=theirs.floor)
    found = kernels.encode_and_pool((unit * images).astype("f4"), ours, WHOLE, 1.0)
    assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("floor", [0.0, 1e-300, 1e100])
def test_any_floor_gives_numbers(rng, dtype, floor):
    images = rng.normal(size=(2, 9, 8, 2)).astype(dtype)
    images[0] = 0.7
    assert np.isfinite(by_contrast(images, floor)).all()
    how = some_encoding(rng, dtype)._replace(floor=floor)
    found = kernels.encode_and_pool(images, how, WHOLE, 1.0)
    assert_array_equal(found[0], 0)
    if floor < 1:
        expected = contrast.encode(images[1:], how)
        assert expected.any()
        assert_allclose(found[1:], expected, rtol=1e-5, atol=1e-5)


# the kernels


@settings(deadline=None, max_examples=60)
@given(
    size=pairs(4),
    window=st.builds(Window, pairs(5), pairs(4), PADDINGS),
    shape=st.tuples(*[st.integers(5, 10)] * 2, st.integers(1, 3)),
    n_filters=st.integers(1, 40),
    dtypes=st.sampled_from([("u1", "f4"), ("f4", "f4"), ("f8", "f8"), ("i4", "f8")]),
    power=st.sampled_from([1.0, 0.5, 2.0]),
)
def test_kernel_is_the_definition(size, window, shape, n_filters, dtypes, power):
    rng = np.random.default_rng(n_filters)
    inner = output_size(shape, size, (1, 1), "valid")
    if window.padding == "valid" and (
        window.size[0] > inner[0] or window.size[1] > inner[1]
    ):
        window = WHOLE
    images = some_images(rng, dtypes[0], (3, *shape))
    how = some_encoding(rng, dtypes[1], n_filters, size, shape[2])
    found = kernels.encode_and_pool(images, how, window, power)
    expected = contrast.encode_and_pool(images, how, window, power)
    assert found.dtype == dtypes[1]
    # a root is steep at 0
    found, expected = found ** (1 / power), expected ** (1 / power)
    tolerance = 1e-12 if dtypes[1] == "f8" else 3e-5
    assert_allclose(found, expected, atol=tolerance, rtol=tolerance)


@settings(deadline=None, max_examples=40)
@given(
    n_components=st.integers(1, 9),
    n_filters=st.integers(1, 60),
    window=st.builds(Window, pairs(4), pairs(4), PADDINGS),
    dtypes=st.sampled_from([("u1", "f4"), ("f8", "f8")]),
)
def test_components_do_not_matter(n_components, n_filters, window, dtypes):
    """Factored filters give the same, and are used if they save operations."""
    rng = np.random.default_rng(n_components)
    patches = rng.normal(size=(24, n_components))
    patches -= patches.mean(axis=0)
    components = np.linalg.qr(patches)[0].T
    filters = rng.normal(size=(n_filters, n_components)) @ components
    how = Encoding(filters.reshape(-1, 3, 4, 2).astype(dtypes[1]), 90.0, 0.3)
    images = some_images(rng, dtypes[0])
    expected = contrast.encode_and_pool(images, how, window, 1.0)
    _, mixed = kernels._factored(filters, components)
    assert (mixed.size > 0) == (n_components * (n_filters + 24) < n_filters * 24)
    components = components.reshape(-1, 3, 4, 2).astype(dtypes[1])
    found = kernels.encode_and_pool(
        images, how._replace(components=components), window, 1.0
    )
    assert_allclose(found, expected, atol=1e-12 if dtypes[1] == "f8" else 3e-5)


@settings(deadline=None, max_examples=30)
@given(
    size=pairs(4),
    cells=pairs(3),
    channels=st.integers(1, 3),
    dtype=st.sampled_from(["u1", "f4", "f8", "i4"]),
)
def test_kernel_sums_what_the_definition_says(size, cells, channels, dtype):
    rng = np.random.default_rng(channels)
    images = some_images(rng, dtype, (6, 7, 8, channels))
    members = np.array([0, 2, 3, 5])
    found = kernels.contrast_moments(images, members, size, cells, 30.0)
    expected = contrast.contrast_moments(images, members, size, cells, 30.0)
    tolerance = 1e-9 if dtype in ("f8", "i4") else 1e-3
    assert_allclose(found, expected, atol=tolerance)


@pytest.mark.parametrize("window", [WHOLE, Window((4, 3), (2, 2), "same")])
def test_pieces_and_threads_do_not_matter(rng, monkeypatch, window):
    from skdmn.kernels.numba import convolution as cpu

    images, how = some_images(rng, shape=(9, 20, 17, 2)), some_encoding(rng, "f4")
    expected = kernels.encode_and_pool(images, how, window, 1.0)
    for threads, piece, strip in [(1, 2**28, 2**18), (3, 2**28, 2**18), (2, 500, 90)]:
        monkeypatch.setattr(cpu, "n_threads", lambda threads=threads: threads)
        monkeypatch.setattr(cpu, "_ALONE", 0)
        monkeypatch.setattr(cpu, "_PIECE", piece)
        monkeypatch.setattr(cpu, "_STRIP", strip)
        found = kernels.encode_and_pool(images, how, window, 1.0)
        assert_allclose(found, expected, atol=1e-6)


def test_bright_images_keep_their_contrast(rng):
    """The spread is a thousandth of the brightness, in float32."""
    images = (1000 + rng.random((3, 9, 8, 2))).astype("f4")
    how = some_encoding(rng, "f4")._replace(floor=1e-3)
    expected = loop_encode(images, how)
    assert_allclose(dispatch.encode(images, how), expected, atol=5e-3)


@pytest.mark.parametrize("module", [kernels, contrast])
def test_float64_images_whose_squares_overflow(rng, module):
    images, how = rng.normal(size=(3, 9, 8, 2)), some_encoding(rng)
    how, huge = how._replace(floor=1e-30), how._replace(floor=1e290)
    expected = loop_encode(images, how)
    found = module.encode_and_pool(1e160 * images, huge, WHOLE, 1.0)
    assert_allclose(found, expected, atol=1e-9)
    arguments = np.arange(3), (3, 4), (1, 2)
    sums = module.contrast_moments(1e160 * images, *arguments, 1e290)
    assert_allclose(sums, module.contrast_moments(images, *arguments, 1e-30))


def test_patches_of_equal_pixels_are_zero_for_any_floor():
    for dtype in ("f4", "f8"):
        patches = np.full((5, 24), 255.1, dtype)
        assert not by_contrast(patches, 1e-30).any()


def test_constants_of_an_encoding_follow_changed_filters(rng):
    images, how = some_images(rng), some_encoding(rng, "f4")
    before = kernels.encode_and_pool(images, how, WHOLE, 1.0)
    how.filters[0] *= 2  # in place
    after = kernels.encode_and_pool(images, how, WHOLE, 1.0)
    assert_allclose(after, loop_encode(images, how), atol=1e-4)
    assert not np.array_equal(before, after)
