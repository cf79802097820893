"""Patches, convolution and pooling against loops, torch and scipy."""

from unittest import mock

import array_api_strict
import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skdmn.kernels.geometry import output_length, same_padding, tiles
from skdmn.kernels.reference.convolution import convolve, max_pool, patches

KERNELS = [(1, 1), (1, 3), (2, 2), (3, 2), (5, 3)]
STRIDES = [(1, 1), (2, 1), (2, 3), (4, 4)]
PADDINGS = ["valid", "same"]


def positions(length, kernel, stride, padding):
    """Return the start of every window, by counting."""
    if padding == "valid":
        return list(range(0, length - kernel + 1, stride))
    starts = list(range(0, length, stride))  # ceil(length / stride) of them
    missing = max(starts[-1] + kernel - length, 0)
    return [start - missing // 2 for start in starts]  # the odd pixel comes last


def window(image, top, left, kernel, fill):
    """Return one window of an image, `fill` outside of it, pixel by pixel."""
    out = np.full((*kernel, image.shape[2]), fill, dtype=np.float64)
    for dy in range(kernel[0]):
        for dx in range(kernel[1]):
            y, x = top + dy, left + dx
            if 0 <= y < image.shape[0] and 0 <= x < image.shape[1]:
                out[dy, dx] = image[y, x]
    return out


def loop(images, kernel, stride, padding, fill, function):
    """Apply a function to every window, one at a time, in float64."""
    tops = positions(images.shape[1], kernel[0], stride[0], padding)
    lefts = positions(images.shape[2], kernel[1], stride[1], padding)
    return np.array(
        [
            [[function(window(image, y, x, kernel, fill)) for x in lefts] for y in tops]
            for image in images
        ]
    )


def convolve_loop(images, filters, stride, padding, activation=None):
    products = loop(
        images,
        filters.shape[1:3],
        stride,
        padding,
        0.0,
        lambda patch: [np.sum(patch * weights) for weights in filters.astype(float)],
    )
    return np.maximum(products, 0) if activation == "relu" else products


def pool_loop(images, size, stride, padding):
    return loop(images, size, stride, padding, -np.inf, lambda p: p.max(axis=(0, 1)))


def torch_padded(torch, images, kernel, stride, padding, fill):
    """Return channels-first torch images, padded by hand as `padding` asks."""
    height, width = images.shape[1:3]
    pads = []
    for length, k, s in ((width, kernel[1], stride[1]), (height, kernel[0], stride[0])):
        starts = positions(length, k, s, padding)
        pads += [-starts[0], max(starts[-1] + k - length, 0)]
    tensor = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    return torch.nn.functional.pad(tensor, pads, value=fill)


# patches


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("stride", STRIDES)
def test_patches_are_c_order_of_y_x_channel(kernel, stride):
    images = np.arange(2 * 7 * 6 * 3.0).reshape(2, 7, 6, 3)
    expected = loop(images, kernel, stride, "valid", np.nan, np.ravel)
    assert_array_equal(patches(images, kernel, stride), expected)


def test_patches_of_one_pixel_are_the_images(rng):
    images = rng.normal(size=(2, 3, 4, 2))
    assert_array_equal(patches(images, (1, 1)), images)


def test_patch_of_the_whole_image_is_the_flat_image(rng):
    images = rng.normal(size=(2, 3, 4, 2))
    assert_array_equal(patches(images, (3, 4)).reshape(2, 24), images.reshape(2, 24))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_patches_keep_the_dtype(dtype):
    assert patches(np.ones((1, 3, 3, 1), dtype=dtype), (2, 2)).dtype == dtype


# convolution


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("channels", [1, 4])
def test_convolve_is_the_sum_of_products_over_every_window(
    rng, kernel, stride, padding, channels
):
    images = rng.normal(size=(2, 7, 6, channels))
    filters = rng.normal(size=(3, *kernel, channels))
    expected = convolve_loop(images, filters, stride, padding)
    assert_allclose(convolve(images, filters, stride, padding), expected, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("padding", PADDINGS)
def test_convolve_is_what_torch_computes(rng, kernel, stride, padding):
    torch = pytest.importorskip("torch", reason="torch is the reference")
    images = rng.normal(size=(2, 8, 5, 3)).astype(np.float32)
    filters = rng.normal(size=(2, *kernel, 3)).astype(np.float32)
    padded = torch_padded(torch, images, kernel, stride, padding, 0.0)
    weights = torch.from_numpy(filters.transpose(0, 3, 1, 2).copy())
    expected = torch.nn.functional.conv2d(padded, weights, stride=stride)
    expected = expected.relu().permute(0, 2, 3, 1).numpy()
    ours = convolve(images, filters, stride, padding, "relu")
    assert_allclose(ours, expected, atol=1e-5)


def test_convolve_is_a_correlation_not_a_flipped_convolution(rng):
    image, weights = rng.normal(size=(9, 8)), rng.normal(size=(3, 2))
    expected = scipy.signal.correlate2d(image, weights, mode="valid")
    ours = convolve(image[np.newaxis, ..., np.newaxis], weights[np.newaxis, ..., None])
    assert_allclose(ours[0, ..., 0], expected, atol=1e-12)


@pytest.mark.parametrize("padding", PADDINGS)
def test_relu_sets_negative_products_to_zero_and_no_activation_keeps_them(rng, padding):
    images = rng.normal(size=(2, 5, 5, 2))
    filters = rng.normal(size=(2, 3, 3, 2))
    linear = convolve(images, filters, (1, 1), padding, None)
    assert linear.min() < 0
    relu = convolve(images, filters, (1, 1), padding, "relu")
    assert_array_equal(relu, np.maximum(linear, 0))


def test_same_padding_puts_the_odd_pixel_at_the_bottom_and_right():
    images = np.ones((1, 4, 4, 1))
    corners = convolve(images, np.ones((1, 2, 2, 1)), (1, 1), "same")[0, :, :, 0]
    assert_array_equal(corners[:3, :3], 4.0)
    assert_array_equal(corners[3], [2.0, 2.0, 2.0, 1.0])
    assert_array_equal(corners[:, 3], [2.0, 2.0, 2.0, 1.0])


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 9))
def test_same_padding_gives_ceil_of_length_over_stride(length, kernel, stride):
    before, after = same_padding(length, kernel, stride)
    starts = positions(length, kernel, stride, "same")
    assert output_length(length, kernel, stride, "same") == len(starts)
    assert before == -starts[0]
    assert after - before in (0, 1)
    padded = length + before + after
    assert output_length(padded, kernel, stride, "valid") == len(starts)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("activation", [None, "relu"])
def test_convolve_and_max_pool_keep_the_dtype(dtype, padding, activation):
    images, filters = np.ones((1, 4, 4, 1), dtype), np.ones((2, 3, 3, 1), dtype)
    assert convolve(images, filters, (1, 1), padding, activation).dtype == dtype
    assert max_pool(images, (2, 2), (2, 2), padding).dtype == dtype


@pytest.mark.parametrize("padding", PADDINGS)
def test_views_give_what_copies_give_and_stay_unchanged(rng, padding):
    base = rng.normal(size=(4, 3, 9, 8))
    base.flags.writeable = False
    view = base.transpose(0, 2, 3, 1)[::-2, ::-1, 1:]
    filters = rng.normal(size=(2, 2, 3, 3))
    expected = convolve(view.copy(), filters, (1, 2), padding)
    assert_allclose(convolve(view, filters, (1, 2), padding), expected, rtol=1e-12)
    pooled = max_pool(view.copy(), (2, 3), (1, 2), padding)
    assert_array_equal(max_pool(view, (2, 3), (1, 2), padding), pooled)


# pooling


@pytest.mark.parametrize("size", KERNELS)
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("padding", PADDINGS)
def test_max_pool_is_the_maximum_of_every_window(rng, size, stride, padding):
    images = rng.normal(size=(2, 7, 6, 2))
    expected = pool_loop(images, size, stride, padding)
    assert_array_equal(max_pool(images, size, stride, padding), expected)


@pytest.mark.parametrize("padding", PADDINGS)
def test_max_pool_of_negative_images_is_negative(rng, padding):
    images = -1.0 - rng.random((2, 7, 5, 3)).astype(np.float32)
    pooled = max_pool(images, (3, 2), (2, 2), padding)
    assert_array_equal(pooled, pool_loop(images, (3, 2), (2, 2), padding))
    assert pooled.max() <= -1.0
    assert np.isfinite(pooled).all()


@pytest.mark.parametrize("size", KERNELS)
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("padding", PADDINGS)
def test_max_pool_is_what_torch_computes(rng, size, stride, padding):
    torch = pytest.importorskip("torch", reason="torch is the reference")
    images = rng.normal(size=(2, 8, 5, 3)).astype(np.float32) - 2
    padded = torch_padded(torch, images, size, stride, padding, -float("inf"))
    expected = torch.nn.functional.max_pool2d(padded, size, stride).permute(0, 2, 3, 1)
    assert_array_equal(max_pool(images, size, stride, padding), expected.numpy())


def test_valid_max_pool_leaves_out_a_border_that_fills_no_window():
    images = np.zeros((1, 5, 5, 1))
    images[0, 4, 4, 0] = 9.0
    assert_array_equal(
        max_pool(images, (2, 2), (2, 2), "valid"), np.zeros((1, 2, 2, 1))
    )


# tiles


@settings(deadline=None)
@given(
    n_images=st.integers(0, 9),
    n_rows=st.integers(1, 9),
    row_values=st.integers(1, 99),
    budget=st.integers(1, 3000),
)
def test_tiles_cover_everything_once_within_budget(
    n_images, n_rows, row_values, budget
):
    seen = np.zeros((n_images, n_rows), dtype=int)
    with mock.patch("skdmn.kernels.geometry.TILE_VALUES", budget):
        for some, strip in tiles(n_images, n_rows, row_values):
            assert 0 <= some.start < some.stop <= n_images
            assert 0 <= strip.start < strip.stop <= n_rows
            seen[some, strip] += 1
            values = seen[some, strip].size * row_values
            assert values <= max(budget, row_values)  # a row is not cut
    assert_array_equal(seen, 1)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("stride", [(1, 1), (2, 3), (4, 1)])
@pytest.mark.parametrize("budget", [1, 100, 700, 2**40])
def test_convolve_does_not_depend_on_the_tiles(
    rng, monkeypatch, padding, stride, budget
):
    # integers, so that sums are exact in any order
    images = rng.integers(-9, 9, size=(5, 11, 7, 2)).astype(np.float32)
    filters = rng.integers(-9, 9, size=(4, 3, 2, 2)).astype(np.float32)
    monkeypatch.setattr("skdmn.kernels.geometry.TILE_VALUES", budget)
    ours = convolve(images, filters, stride, padding, "relu")
    assert_array_equal(ours, convolve_loop(images, filters, stride, padding, "relu"))


def test_convolve_cuts_an_image_larger_than_a_tile_into_row_strips(rng):
    images = rng.integers(0, 9, size=(1, 300, 130, 1)).astype(np.float32)
    filters = rng.integers(-9, 9, size=(1, 3, 3, 1)).astype(np.float32)
    assert len(list(tiles(1, 298, 128 * 9))) > 1
    expected = scipy.signal.correlate2d(
        images[0, ..., 0], filters[0, ..., 0], mode="valid"
    )
    assert_array_equal(convolve(images, filters)[0, ..., 0], expected)


# other libraries


@pytest.mark.parametrize("padding", PADDINGS)
def test_other_libraries_give_what_numpy_gives(rng, padding):
    images = rng.normal(size=(2, 6, 5, 2)).astype(np.float32)
    filters = rng.normal(size=(3, 3, 2, 2)).astype(np.float32)
    device = array_api_strict.Device("device1")
    theirs, weights = (
        array_api_strict.asarray(a, device=device) for a in (images, filters)
    )
    features = convolve(theirs, weights, (2, 1), padding, "relu")
    pooled = max_pool(theirs, (2, 2), (2, 2), padding)
    assert features.device == pooled.device == device
    home = array_api_strict.Device("CPU_DEVICE")
    assert_allclose(
        np.asarray(features.to_device(home)),
        convolve(images, filters, (2, 1), padding, "relu"),
        atol=1e-6,
    )
    assert_array_equal(
        np.asarray(pooled.to_device(home)), max_pool(images, (2, 2), (2, 2), padding)
    )
