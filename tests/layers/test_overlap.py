"""OverlapPruner: gaps made on purpose, and the gap behind a linear layer."""

import warnings

import numpy as np
import pytest
from layer_reference import make_images
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import uniform_filter1d

from skdmn import ClassPCAPatchTransformer, OverlapPruner


def channels_of(energies, n=20, dtype=np.float64):
    """Return feature maps whose channels lie at some energies, up to a constant."""
    rng = np.random.default_rng(0)
    signs = rng.choice([-1.0, 1.0], size=(n, 3, 4, len(energies)))
    return (signs * np.exp(-np.array(energies) / 2)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_energies_are_logs_of_shares_of_the_mean_square(rng, dtype):
    X = (rng.normal(size=(8, 5, 4, 3)) * [1, 3, 10]).astype(dtype)
    shares = (X.astype(np.float64) ** 2).mean(axis=(0, 1, 2))
    pruner = OverlapPruner().fit(X)
    assert_allclose(pruner.energies_, -np.log(shares / shares.sum()), rtol=1e-12)
    assert pruner.energies_.dtype == np.float64


def test_channels_before_the_first_wide_gap_are_dropped():
    X = channels_of([9.0, 1.0, 8.5, 0.0, 10.0])
    pruner = OverlapPruner().fit(X)
    assert pruner.n_overlap_ == 2
    assert_allclose(pruner.gap_, 7.5, atol=1e-9)
    assert_array_equal(pruner.support_, [True, False, True, False, True])
    assert_array_equal(pruner.get_support(), pruner.support_)
    assert_array_equal(pruner.get_support(indices=True), [0, 2, 4])
    assert_array_equal(pruner.transform(X), X[..., [0, 2, 4]])
    assert pruner.output_shape_ == (3, 4, 3)
    assert pruner.get_feature_names_out()[-1] == "y2_x3_f2"


@pytest.mark.parametrize(("min_gap", "n_overlap"), [(6, 1), (7.2, 3), (3, 1), (8, 0)])
def test_the_first_gap_counts_not_the_widest(min_gap, n_overlap):
    X = channels_of([0.0, 7.0, 7.5, 15.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruner = OverlapPruner(min_gap=min_gap).fit(X)
    assert pruner.n_overlap_ == n_overlap


def test_no_gap_keeps_all():
    X = channels_of([0.0, 5.0, 10.0])
    pruner = OverlapPruner().fit(X)
    assert pruner.n_overlap_ == 0
    assert pruner.support_.all()
    assert_allclose(pruner.gap_, 5)
    assert_array_equal(pruner.transform(X), X)


@pytest.mark.parametrize("n_overlap", [0, 1, 2])
def test_a_number_is_obeyed(n_overlap):
    X = channels_of([1.0, 0.0, 2.0])
    pruner = OverlapPruner(n_overlap).fit(X)
    assert pruner.n_overlap_ == n_overlap
    kept = sorted([1, 0, 2][n_overlap:])
    assert_array_equal(pruner.get_support(indices=True), kept)


def test_a_number_is_obeyed_where_noise_is_left():
    X = channels_of([0.0, 40.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pruner = OverlapPruner(1).fit(X)
    assert_array_equal(pruner.support_, [False, True])


@pytest.mark.parametrize("n_overlap", [3, 4, 100])
def test_dropping_all_channels_is_an_error(n_overlap):
    with pytest.raises(ValueError, match="all 3 channels"):
        OverlapPruner(n_overlap).fit(channels_of([0.0, 1.0, 2.0]))


def test_noise_behind_the_gap_is_kept_with_a_warning():
    X = channels_of([0.0, 1.0, 20.0, 21.0])
    with pytest.warns(UserWarning, match="rounding noise"):
        pruner = OverlapPruner().fit(X)
    assert pruner.n_overlap_ == 2
    assert_allclose(pruner.gap_, 19)
    assert pruner.support_.all()


def test_dead_channels_are_not_a_gap():
    X = channels_of([0.0, 3.0, 1.0, 2.0])
    X[..., 1] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pruner = OverlapPruner().fit(X)
    assert pruner.n_overlap_ == 0
    assert pruner.support_.all()
    assert pruner.energies_[1] == np.inf
    assert_allclose(pruner.gap_, 1)


def test_dead_channels_are_the_last_to_be_dropped():
    X = channels_of([0.0, 3.0, 9.5])
    X[..., 0] = 0
    assert_array_equal(OverlapPruner(1).fit(X).support_, [True, False, True])
    assert_array_equal(OverlapPruner().fit(X).support_, [True, False, True])


def test_maps_of_zeros_are_an_error():
    with pytest.raises(ValueError, match="are all 0"):
        OverlapPruner().fit(np.zeros((3, 4, 4, 2)))


def test_batches_do_not_matter(monkeypatch):
    X, _ = make_images(channels=5, dtype=np.uint8)
    whole = OverlapPruner().fit(X).energies_
    monkeypatch.setattr("skdmn.data.sizes.BATCH_BYTES", 1)
    assert_allclose(OverlapPruner().fit(X).energies_, whole, rtol=1e-12)


def smooth_images():
    """Return images whose neighbouring pixels are alike, of mean zero."""
    images = np.random.default_rng(0).random((60, 16, 16))
    for axis in (1, 2):
        images = uniform_filter1d(images, 3, axis=axis, mode="reflect")
    return images - images.mean()


def two_layers(images, activation):
    features = images
    for _ in range(2):
        layer = ClassPCAPatchTransformer(
            3, activation=activation, class_based=False, variance_cutoff=1.0
        )
        features = layer.fit_transform(features)
    return layer, features


def check_25_and_noise(features):
    with pytest.warns(UserWarning, match="rounding noise of a linear layer"):
        pruner = OverlapPruner().fit(features)
    assert pruner.n_overlap_ == 25
    assert pruner.gap_ > 6
    assert pruner.support_.all()
    assert_array_equal(pruner.transform(features), features)


def test_a_linear_layer_leaves_25_directions():
    layer, _ = two_layers(smooth_images(), None)
    assert np.linalg.matrix_rank(layer.density_matrices_[0], tol=1e-12) == 25


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_noise_stands_behind_the_25_directions_of_a_linear_layer(dtype):
    check_25_and_noise(two_layers(smooth_images().astype(dtype), None)[1])


def test_behind_a_relu_there_is_no_wide_gap():
    pruner = OverlapPruner().fit(two_layers(smooth_images(), "relu")[1])
    assert pruner.n_overlap_ == 0
    assert pruner.gap_ < 3
    assert pruner.support_.all()
