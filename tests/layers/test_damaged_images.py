"""Layers that few damaged images must not determine."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_sample_image

from skdmn import (
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    MaxPool2DTransformer,
    WhitenedPCAPatchTransformer,
    recommended_dmn,
)
from skdmn.datasets import load_digits_images

X, Y = load_digits_images()
X, Y = X[:400], Y[:400]
DAMAGED = [3, 50]


def damaged(value=-1e10, images=DAMAGED):
    X_damaged = X.astype(np.float32)
    X_damaged[images, 0, 0] = value
    return X_damaged


def brute_force_floor(images, size):
    windows = np.lib.stride_tricks.sliding_window_view(images, (size, size), (1, 2))
    return 0.1 * windows.astype(float).var(axis=(3, 4)).mean()


def test_floor_is_a_tenth_of_the_mean_variance_of_patches():
    layer = WhitenedPCAPatchTransformer(4, n_filters=5).fit(X, Y)
    assert_allclose(layer.contrast_floor_, brute_force_floor(X, 4), rtol=1e-5)


@pytest.mark.parametrize("value", [-1e10, 3e4, 1e30])
def test_floor_leaves_out_damaged_images_and_says_so(value):
    layer = WhitenedPCAPatchTransformer(4, n_filters=5)
    with pytest.warns(UserWarning, match=r"leaves out 2 of 400 images.*Repair"):
        layer.fit(damaged(value), Y)
    expected = brute_force_floor(np.delete(X, DAMAGED, axis=0), 4)
    assert_allclose(layer.contrast_floor_, expected, rtol=1e-5)


def test_squares_of_a_photograph_with_much_sky_are_no_outliers():
    photograph = load_sample_image("flower.jpg").mean(axis=2).astype(np.uint8)
    squares = photograph[:416, :624].reshape(26, 16, 39, 16).swapaxes(1, 2)
    images = squares.reshape(-1, 16, 16)
    variances = images.var(axis=(1, 2))
    assert np.mean(variances > 100 * np.median(variances)) > 0.1
    layer = WhitenedPCAPatchTransformer(5, n_filters=5, position_grid=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer.fit(images, np.arange(len(images)) % 2)
    assert_allclose(layer.contrast_floor_, brute_force_floor(images, 5), rtol=1e-5)


def test_filters_of_whitened_patches_hardly_change_with_damaged_images():
    """Local contrast normalization bounds what an image contributes."""
    clean = WhitenedPCAPatchTransformer(3, n_filters=20, position_grid=1).fit(X, Y)
    with pytest.warns(UserWarning, match="leaves out"):
        spoilt = WhitenedPCAPatchTransformer(3, n_filters=20, position_grid=1).fit(
            damaged(), Y
        )
    difference = spoilt.density_matrices_ - clean.density_matrices_
    assert np.abs(difference).max() < 0.1 * np.abs(clean.density_matrices_).max()


def test_recommended_network_keeps_its_accuracy_with_a_damaged_image():
    def accuracy(images):
        dmn = recommended_dmn((8, 8), n_filters=30, subsample=1.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dmn.fit(images[:300], Y[:300]).score(X[300:], Y[300:])

    assert accuracy(damaged()) > accuracy(X) - 0.03


def test_images_that_own_the_sums_of_their_class_are_named():
    with pytest.warns(UserWarning, match="hold more than half") as caught:
        ClassPCAPatchTransformer().fit(damaged(), Y)
    (message,) = {str(w.message) for w in caught}
    labels = ", ".join(map(str, sorted(set(Y[DAMAGED]))))
    assert "2 of 400 images" in message
    assert f"of class {labels}," in message
    assert "-1e+10 often marks missing pixels" in message
    assert "image_bound=1.0" in message


def scaled_by_hand(images, bound):
    """Return float64 images whose sums of squares are at most a bound."""
    images = images.astype(float)
    squares = (images**2).sum(axis=(1, 2), keepdims=True)
    return images * np.sqrt(np.minimum(bound / squares, 1.0))


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "f4", "f8"])
def test_a_bound_scales_images_down_to_it(dtype, centered):
    images = X.astype(dtype)
    layer = ClassPCAPatchTransformer(3, image_bound=0.8, centered=centered)
    layer.fit(images, Y)
    expected = ClassPCAPatchTransformer(3, centered=centered).fit(
        scaled_by_hand(images, layer.image_bound_), Y
    )
    tolerance = {"rtol": 0, "atol": 1e-6}
    assert_allclose(layer.density_matrices_, expected.density_matrices_, **tolerance)
    assert_array_equal(layer.n_patches_, expected.n_patches_)


def test_the_bound_is_relative_to_the_median_image():
    layer = ClassPCAPatchTransformer(3, image_bound=2.0).fit(X, Y)
    median = np.median((X.astype(float) ** 2).sum(axis=(1, 2)))
    assert median < layer.image_bound_ < 4 * median  # medians of a histogram are rough
    assert ClassPCAPatchTransformer(3).fit(X, Y).image_bound_ == np.inf


def test_a_bound_that_no_image_exceeds_changes_nothing():
    bounded = ClassPCAPatchTransformer(3, image_bound=1e3).fit(X, Y)
    assert_array_equal(bounded.filters_, ClassPCAPatchTransformer(3).fit(X, Y).filters_)


@pytest.mark.filterwarnings("ignore:.*often marks missing")
def test_with_a_bound_damaged_images_do_not_determine_the_filters():
    clean = ClassPCAPatchTransformer(3, image_bound=1.0).fit(X, Y)
    spoilt = ClassPCAPatchTransformer(3, image_bound=1.0).fit(damaged(), Y)
    difference = spoilt.density_matrices_ - clean.density_matrices_
    assert np.abs(difference).max() < 0.1 * np.abs(clean.density_matrices_).max()


def test_parts_with_one_first_look_merge_to_the_fit_of_all():
    layer = ClassPCAPatchTransformer(3, image_bound=0.8)
    parts = [(X[i::2], Y[i::2]) for i in (0, 1)]
    looks = [layer.first_look(*part) for part in parts]
    first = looks[0] + looks[1]
    found = [layer.statistics(*part, first_look=first) for part in parts]
    merged = ClassPCAPatchTransformer(3, image_bound=0.8).finish(found[0] + found[1])
    whole = ClassPCAPatchTransformer(3, image_bound=0.8).fit(X, Y)
    assert merged.image_bound_ == whole.image_bound_
    assert_allclose(merged.filters_, whole.filters_, atol=1e-6)


def test_fits_with_different_bounds_do_not_merge():
    layers = [ClassPCAPatchTransformer(3, image_bound=b).fit(X, Y) for b in (1.0, 2.0)]
    with pytest.raises(ValueError, match=r"image_bound=1\.0 and with image_bound=2"):
        layers[0].merge(layers[1])


def test_partial_fit_keeps_the_bound_of_the_first_images():
    layer = ClassPCAPatchTransformer(3, image_bound=0.8).partial_fit(X[:300], Y[:300])
    bound = layer.image_bound_
    layer.partial_fit(X[300:], Y[300:])
    assert layer.image_bound_ == bound
    expected = ClassPCAPatchTransformer(3).fit(scaled_by_hand(X, bound), Y)
    assert_allclose(layer.density_matrices_, expected.density_matrices_, atol=1e-6)
    layer.image_bound = 2.0
    with pytest.raises(ValueError, match=r"image_bound was 0\.8"):
        layer.partial_fit(X, Y)


def test_a_bound_is_the_same_in_a_network_and_for_any_batch_size():
    def network(batch_size):
        layers = [
            ("conv", ClassPCAPatchTransformer(3, image_bound=0.5, n_filters=4)),
            ("pool", MaxPool2DTransformer()),
        ]
        return DensityMatrixNetwork(layers, batch_size=batch_size).fit(X, Y)

    one, other = network(7)["conv"], network("auto")["conv"]
    assert one.image_bound_ == other.image_bound_
    assert_allclose(one.filters_, other.filters_, atol=1e-5)
