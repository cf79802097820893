"""AveragePool2DTransformer: cases known by hand, and what it shares with MaxPool."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdmn import AveragePool2DTransformer, MaxPool2DTransformer
from skdmn.kernels import dispatch
from skdmn.kernels.geometry import Window

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


LIBRARIES = ["numpy", "array_api_strict", "torch"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [(2, 2), (3, 3), (6, 5)])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_means_of_the_largest_floats_are_right(rng, library, dtype, size, padding):
    xp = pytest.importorskip(library)
    X = np.float64(rng.normal(size=(3, 6, 5, 2))) / 8
    X[0] = 1
    window, largest = Window(size, (1, 1), padding), float(np.finfo(dtype).max)
    given = xp.asarray((largest * X).astype(dtype))
    found = dispatch.average_pool(given, window, 1.0, getattr(xp, dtype))
    expected = dispatch.average_pool(X, window, 1.0, np.float64)
    assert_allclose(np.asarray(found) / largest, expected, rtol=1e-5, atol=1e-6)


def test_other_windows_are_not_changed_by_the_largest_floats(rng):
    X = rng.normal(size=(2, 6, 6, 1)).astype("f4")
    X[0, 3] *= np.float32(1e-40)  # keeps its digits
    expected = AveragePool2DTransformer(3).fit_transform(X)
    X[1, :3, :3] = np.finfo("f4").max
    found = AveragePool2DTransformer(3).fit_transform(X)
    assert_array_equal(found[0], expected[0])
    assert_array_equal(found[1].ravel()[1:], expected[1].ravel()[1:])
    assert_allclose(found[1, 0, 0], np.finfo("f4").max, rtol=1e-6)


def test_windows_that_are_not_finite_stay_so():
    X = np.ones((1, 2, 6, 1), "f4")
    X[0, 0, 0], X[0, 1, 2], X[0, :, 4:] = np.inf, np.nan, np.finfo("f4").max
    window = Window((2, 2), (2, 2), "valid")
    found = dispatch.average_pool(X, window, 1.0, np.float32).ravel()
    assert_array_equal(found, [np.inf, np.nan, np.finfo("f4").max])
