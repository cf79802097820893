"""MaxPool2DTransformer against a loop and cases known by hand."""

import numpy as np
import pytest
from layer_reference import make_images, pooling
from numpy.testing import assert_array_equal

from skdmn import MaxPool2DTransformer


def pool(image, *args, **kwargs):
    images = np.asarray(image, dtype=np.float64)[None]
    return MaxPool2DTransformer(*args, **kwargs).fit_transform(images)[0, :, :, 0]


COUNTING = np.arange(15.0).reshape(3, 5)


def test_valid_leaves_out_a_border_that_does_not_fill_a_window():
    assert_array_equal(pool(COUNTING, 2), [[6, 8]])


def test_same_fills_up_at_the_bottom_and_right():
    assert_array_equal(pool(COUNTING, 2, padding="same"), [[6, 8, 9], [11, 13, 14]])


def test_same_puts_only_the_odd_pixel_behind():
    """Three rows in windows of 4: one row above, two below for stride 3."""
    assert_array_equal(pool([[3.0], [2.0], [1.0]], (3, 1), padding="same"), [[3]])
    column = np.arange(6.0)[::-1, None]  # 6 rows, windows of 3, stride 2: 1 in all
    found = pool(column, (3, 1), stride=(2, 1), padding="same")
    assert_array_equal(found[:, 0], [5, 3, 1])
    even = pool(np.arange(4.0)[:, None], (3, 1), stride=(1, 1), padding="same")
    assert_array_equal(even[:, 0], [1, 2, 3, 3])


def test_overlapping_windows():
    found = pool(COUNTING, 2, stride=1)
    assert_array_equal(found, COUNTING[1:, 1:])


def test_padding_is_minus_infinity_not_zero():
    images = -1 - np.random.default_rng(0).random((2, 3, 3))
    out = MaxPool2DTransformer(2, padding="same").fit_transform(images)
    assert out.max() < -1
    assert np.isfinite(out).all()


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("size", [1, 2, 3, (2, 3), (6, 1), (7, 6)])
@pytest.mark.parametrize("stride", [None, 1, 2, (3, 1), 9])
def test_pooling_is_the_loop_over_windows(padding, size, stride):
    X = make_images(5)[0] - 0.7
    layer = MaxPool2DTransformer(size, stride=stride, padding=padding)
    out = layer.fit_transform(X)
    pair = (size, size) if isinstance(size, int) else size
    steps = pair if stride is None else stride
    steps = (steps, steps) if isinstance(steps, int) else steps
    assert_array_equal(out, pooling(X, pair, steps, padding))
    assert layer.output_shape_ == out.shape[1:]
    assert layer.pool_size_ == pair


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, bool])
def test_integers_come_out_as_float32(dtype):
    X = make_images(5, dtype=np.uint8)[0].astype(dtype)
    out = MaxPool2DTransformer(2).fit_transform(X)
    assert out.dtype == np.float32
    assert_array_equal(out, pooling(X, (2, 2), (2, 2), "valid"))


def test_batches_do_not_matter(monkeypatch):
    X, _ = make_images()
    layer = MaxPool2DTransformer(2, padding="same").fit(X)
    whole = layer.transform(X)
    monkeypatch.setattr("skdmn.data.sizes.BATCH_BYTES", 1)
    assert_array_equal(layer.transform(X), whole)


def test_the_output_is_the_callers_own_even_where_nothing_changes(rng):
    X = rng.random((2, 4, 5, 3))
    pooled = MaxPool2DTransformer(1).fit_transform(X)
    assert_array_equal(pooled, X)
    assert not np.shares_memory(pooled, X)
