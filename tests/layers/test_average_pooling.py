"""AveragePool2DTransformer: cases known by hand, and what it shares with MaxPool."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdmn import AveragePool2DTransformer, MaxPool2DTransformer

COUNTING = np.arange(15.0).reshape(1, 3, 5)


def pool(*args, **kwargs):
    layer = AveragePool2DTransformer(*args, **kwargs)
    return layer.fit_transform(COUNTING)[0, :, :, 0]


def test_windows_side_by_side():
    assert_array_equal(pool(2), [[3, 5]])


def test_same_averages_the_pixels_inside():
    assert_array_equal(pool(2, padding="same"), [[3, 5, 6.5], [10.5, 12.5, 14]])


def test_overlapping_windows():
    assert_array_equal(pool((3, 3), stride=1), [[6, 7, 8]])


def test_power_keeps_the_sign():
    images = np.array([[[-9.0, 4.0], [0.0, 1.0]]])
    found = AveragePool2DTransformer(1, power=0.5).fit_transform(images)
    assert_array_equal(found[0, :, :, 0], [[-3, 2], [0, 1]])


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("size", "stride"), [(2, None), (3, 2), ((1, 4), (2, 3))])
def test_shapes_and_names_are_those_of_max_pooling(rng, padding, size, stride):
    X = rng.random((3, 7, 8, 2))
    ours, theirs = (
        cls(size, stride=stride, padding=padding).fit(X)
        for cls in (AveragePool2DTransformer, MaxPool2DTransformer)
    )
    assert ours.output_shape_ == theirs.output_shape_
    assert ours.transform(X).shape == theirs.transform(X).shape
    names = ours.get_feature_names_out()
    assert_array_equal(names, theirs.get_feature_names_out())


@pytest.mark.parametrize("dtype", ["u1", "f4", "f8"])
def test_a_whole_image_in_one_window_is_its_mean(rng, dtype):
    X = (100 * rng.random((3, 6, 5, 2))).astype(dtype)
    out = AveragePool2DTransformer((6, 5)).fit_transform(X)
    assert out.dtype == ("f8" if dtype == "f8" else "f4")
    assert_allclose(out[:, 0, 0], X.mean(axis=(1, 2)), rtol=1e-6)


def test_a_power_of_nothing_is_refused():
    with pytest.raises(ValueError, match="power"):
        AveragePool2DTransformer(power=0.0).fit(COUNTING)
