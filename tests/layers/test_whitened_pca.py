"""WhitenedPCAPatchTransformer: what it learns, keeps, gives and refuses."""

import pickle
import warnings

import numpy as np
import pytest
from layer_reference import all_patches, make_images
from numpy.testing import assert_allclose, assert_array_equal

from skdmn import (
    AveragePool2DTransformer,
    DensityMatrixNetwork,
    SoftmaxClassifier,
    WhitenedPCAPatchTransformer,
)
from skdmn.datasets import load_digits_images
from skdmn.kernels.numba import contrast as cpu_contrast
from skdmn.operations import AveragePool, fused
from skdmn.statistics.contrast import ContrastAccumulator

X, Y = make_images(60)


def layer(**options):
    options = {"n_filters": 7, "position_grid": 2, **options}
    return WhitenedPCAPatchTransformer(3, **options)


def network(**options):
    return DensityMatrixNetwork(
        [("conv", layer(**options)), ("pool", AveragePool2DTransformer(2, power=0.5))]
    )


# what it learns


def test_density_matrices_are_those_of_patches_by_contrast():
    fitted = layer(contrast_floor=0.01).fit(X, Y)
    # positions of 3 x 3 patches are 5 x 4, the first cell's 3 x 2
    patches = all_patches(X[Y == 1][:, : 3 + 2, : 2 + 2], (3, 3))
    patches = patches - patches.mean(axis=1, keepdims=True)
    patches /= np.sqrt(patches.var(axis=1, keepdims=True) + 0.01)
    moment = patches.T @ patches / len(patches)
    expected = moment / np.trace(moment)
    assert_allclose(fitted.density_matrices_[1, 0], expected, atol=1e-12)
    assert_allclose(fitted.partition_functions_[1, 0], np.trace(moment))
    assert fitted.n_patches_[1, 0] == 20 * 3 * 2
    assert fitted.density_matrices_.shape == (3, 4, 18, 18)
    assert fitted.n_patches_.sum() == 60 * 5 * 4
    assert_array_equal(fitted.class_counts_, [20, 20, 20])


def test_filters_have_no_mean_and_products_a_mean_square_of_about_one():
    fitted = layer(threshold=0.0, n_filters=12).fit(X, Y)
    assert_allclose(fitted.filters_.sum(axis=(1, 2, 3)), 0, atol=1e-12)
    n = len(fitted.filters_)
    out = fitted.transform(X)
    squares = (out[..., :n] ** 2 + out[..., n:] ** 2).mean(axis=(0, 1, 2))
    assert (squares < 1.3).all()
    assert (squares > 0.2).all()


def test_ratios_fall_and_say_whose_filter_it_is():
    fitted = layer().fit(X, Y)
    assert (np.diff(fitted.variance_ratios_) <= 0).all()
    assert fitted.variance_ratios_[0] > 1
    assert set(fitted.filter_classes_) <= {0, 1, 2}
    assert fitted.filter_cells_.shape == (7, 2)
    assert fitted.filter_cells_.max() <= 1


def test_filters_are_combinations_of_the_leading_components():
    """Of the density matrix of all groups' patches, less what the cutoff leaves out."""
    whole, fitted = layer().fit(X, Y), layer(variance_cutoff=0.8).fit(X, Y)
    values, vectors = np.linalg.eigh(fitted.density_matrices_.mean(axis=(0, 1)))
    n = np.count_nonzero(values[::-1].cumsum() <= 0.8)
    assert 1 < n < len(values) - 1
    components = fitted.components_.reshape(n, -1)
    assert_allclose(components @ components.T, np.eye(n), atol=1e-12)
    assert_allclose(np.abs(components @ vectors[:, ::-1][:, :n]), np.eye(n), atol=1e-7)
    filters = fitted.filters_.reshape(len(fitted.filters_), -1)
    assert_allclose(filters @ components.T @ components, filters, atol=1e-12)
    assert len(whole.components_) >= len(values) - 1


def test_what_comes_out_is_the_same_with_components_and_without():
    fitted = network(variance_cutoff=0.8, n_filters=40).fit(X, Y)
    _, mixed = cpu_contrast._factored(
        fitted["conv"].filters_.reshape(-1, 18), fitted["conv"].components_
    )
    assert mixed.size
    expected = fitted.transform(X)
    fitted["conv"].components_ = None
    assert_allclose(fitted.transform(X), expected, atol=1e-12)


@pytest.mark.parametrize("size", [1e-9, 1.0])
def test_filters_changed_by_hand_are_what_is_used(rng, size):
    fitted = network(variance_cutoff=0.8, n_filters=40).fit(X, Y)
    conv = fitted["conv"]
    change = size * rng.normal(size=conv.filters_.shape)
    conv.filters_ = conv.filters_ + change - change.mean(axis=(1, 2, 3), keepdims=True)
    found = fitted.transform(X)
    conv.components_ = None
    assert_allclose(found, fitted.transform(X), atol=1e-12)


def test_auto_floor_is_a_tenth_of_the_mean_variance_of_a_patch():
    patches = all_patches(X, (3, 3))
    fitted = layer().fit(X, Y)
    assert_allclose(fitted.contrast_floor_, 0.1 * patches.var(axis=1).mean(), rtol=1e-5)


def test_scale_and_brightness_of_all_images_do_not_matter():
    one, other = layer().fit(X, Y), layer().fit(50 * X + 1000, Y)
    assert_allclose(other.filters_, one.filters_, atol=1e-7)
    assert_allclose(other.transform(50 * X + 1000), one.transform(X), atol=1e-6)


@pytest.mark.parametrize(("n_levels", "levels"), [(1, [0]), (3, [-1.5, 0, 1.5])])
def test_levels_are_compared_with_the_pixel_at_the_center(n_levels, levels):
    images = 7 * X + 40
    plain = layer().fit(images, Y).transform(images)
    found = layer(n_levels=n_levels).fit(images, Y).transform(images)
    pixel = images.mean(axis=3)[:, 1:-1, 1:-1, np.newaxis]
    above = (pixel - images.mean()) / images.std() - np.array(levels)
    expected = [plain, np.maximum(above, 0), np.maximum(-above, 0)]
    assert_allclose(found, np.concatenate(expected, axis=3), atol=1e-12)


@pytest.mark.parametrize(("n", "levels"), [(1, [1.6]), (4, [0.2, 0.4, 0.8, 1.6])])
def test_contrast_levels_are_compared_with_the_difference_from_the_patch(n, levels):
    images = 7 * X + 40
    plain = layer().fit(images, Y).transform(images)
    found = layer(n_contrast_levels=n).fit(images, Y).transform(images)
    means = all_patches(images, (3, 3)).mean(axis=1).reshape(len(X), -1)
    pixel = images.mean(axis=3)[:, 1:-1, 1:-1]
    away = (pixel - means.reshape(pixel.shape))[..., np.newaxis] / images.std()
    expected = [plain, *(np.maximum(s * away - np.array(levels), 0) for s in (1, -1))]
    assert_allclose(found, np.concatenate(expected, axis=3), atol=1e-12)


@pytest.mark.parametrize(("value", "flow"), [(1e200, "overflow"), (0, "underflow")])
def test_levels_of_pixels_without_a_standard_deviation_are_refused(value, flow):
    unit = 1.0 if value else 1e-160
    images = unit * X
    images[0, 0, 0, 0] = value
    fitted = layer(n_levels=1, contrast_floor=0.1)
    with pytest.raises(ValueError, match=f"brightness level.* {flow}|filter.* {flow}"):
        fitted.fit(images, Y)
    assert not hasattr(fitted, "filters_")


def test_a_fit_without_levels_forgets_those_of_an_earlier_one():
    fitted = layer(n_levels=2).fit(X, Y)
    assert fitted.set_params(n_levels=0).fit(X, Y).transform(X).shape[3] == 14
    assert not hasattr(fitted, "level_filters_")


def test_a_network_with_levels_pools_every_branch_in_one_pass():
    fitted = network(n_levels=2, n_contrast_levels=2).fit(X, Y)
    (one,) = fused(fitted.operations()[:-1])
    encode, *_ = one.branches[0]
    assert (len(one.branches[0]), encode.power) == (1, 0.5)
    in_steps = X
    for _, step in fitted.layers_:
        in_steps = step.transform(in_steps)
    assert_allclose(fitted.transform(X), in_steps.reshape(len(X), -1), atol=1e-12)


def test_without_classes_groups_are_cells():
    fitted = layer(class_based=False).fit(X)
    assert_array_equal(fitted.filter_classes_, 0)
    assert fitted.density_matrices_.shape == (1, 4, 18, 18)


def test_no_more_cells_than_positions():
    fitted = layer(position_grid=(9, 2)).fit(X, Y)
    assert fitted.position_grid_ == (5, 2)


def test_it_finds_what_tells_digits_apart():
    digits, labels = load_digits_images()
    net = DensityMatrixNetwork(
        [
            ("conv", WhitenedPCAPatchTransformer(4, n_filters=60, position_grid=2)),
            ("pool", AveragePool2DTransformer(3, stride=2, power=0.5)),
        ]
    ).fit(digits[:1200], labels[:1200])
    softmax = SoftmaxClassifier(C=0.1).fit(net.transform(digits[:1200]), labels[:1200])
    assert softmax.score(net.transform(digits[1200:]), labels[1200:]) > 0.955


# batches, orders, copies


def test_order_and_batches_do_not_matter():
    order = np.random.default_rng(0).permutation(len(X))
    one, other = network().fit(X, Y), network().fit(X[order], Y[order])
    assert_allclose(one.transform(X), other.transform(X), atol=1e-9)
    small = network().set_params(batch_size=7).fit(X, Y)
    assert_allclose(one.transform(X), small.transform(X), atol=1e-9)


def test_partial_fit_adds_up_where_the_floor_is_given():
    whole = layer(contrast_floor=0.02).fit(X, Y)
    parts = layer(contrast_floor=0.02)
    for some in (slice(0, 25), slice(25, None)):
        parts.partial_fit(X[some], Y[some])
    assert_allclose(parts.filters_, whole.filters_, atol=1e-9)
    assert_array_equal(parts.n_patches_, whole.n_patches_)


def test_partial_fit_keeps_the_first_floor():
    parts = layer().partial_fit(X[:30], Y[:30])
    floor = parts.contrast_floor_
    assert parts.partial_fit(9 * X[30:], Y[30:]).contrast_floor_ == floor
    assert parts.fit(9 * X, Y).contrast_floor_ > 10 * floor


@pytest.mark.parametrize(
    ("name", "value"),
    [("position_grid", 1), ("contrast_floor", 0.5), ("class_based", False)],
)
def test_partial_fit_refuses_what_the_sums_were_not_made_with(name, value):
    fitted = layer().fit(X, Y)
    fitted.set_params(**{name: value})
    with pytest.raises(ValueError, match=name):
        fitted.partial_fit(X, Y)
    assert fitted.position_grid_ == (2, 2)


def test_a_network_of_both_is_one_stage_and_the_same(monkeypatch):
    fitted = network().fit(X, Y)
    conv, pool = (part for _, part in fitted.layers_)
    expected = pool.transform(conv.transform(X)).reshape(len(X), -1)
    monkeypatch.setattr(AveragePool, "__call__", None)  # nothing is pooled apart
    assert_allclose(fitted.transform(X), expected, atol=1e-7)


def test_memory_finds_sums_again_whatever_the_filters(tmp_path, monkeypatch):
    with_memory = layer(memory=tmp_path).fit(X, Y)
    monkeypatch.setattr(ContrastAccumulator, "update", None)  # nothing is summed
    others = {"n_filters": 3, "regularization": 0.01, "variance_cutoff": 0.9}
    again = layer(memory=tmp_path, **others).fit(X, Y)
    assert_array_equal(again.density_matrices_, with_memory.density_matrices_)
    assert len(again.filters_) == 3


def test_pickles_and_compact_copies_transform_the_same():
    fitted = layer().fit(X, Y)
    for copy in (pickle.loads(pickle.dumps(fitted)), fitted.compact()):
        assert_array_equal(copy.transform(X), fitted.transform(X))
    with pytest.raises(ValueError, match="compact"):
        fitted.compact().partial_fit(X, Y)


def test_a_failed_fit_changes_nothing():
    fitted = layer().fit(X, Y)
    before = dict(vars(fitted))
    with pytest.raises(ValueError, match="constant"):
        fitted.fit(np.ones_like(X), Y)
    assert vars(fitted).keys() == before.keys()
    assert fitted.contrast_floor_ == before["contrast_floor_"]


# what it refuses


def test_constant_images_have_no_contrast():
    with pytest.raises(ValueError, match="all patches of X are constant"):
        layer().fit(np.full((6, 7, 7), 3.0), np.arange(6) % 2)


def test_patches_of_one_value_have_no_contrast():
    with pytest.raises(ValueError, match="single value"):
        WhitenedPCAPatchTransformer(1).fit(X[..., :1], Y)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("regularization", 0),
        ("threshold", -1),
        ("contrast_floor", 0.0),
        ("contrast_floor", 1e-300),
        ("contrast_floor", 1e30),
        ("variance_cutoff", 0.0),
        ("variance_cutoff", 1.1),
    ],
)
def test_numbers_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        layer(**{name: value}).fit(X, Y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_least_floor_gives_finite_features_of_flat_patches(dtype):
    images = X.astype(dtype)
    images[:, :4] = 0.5
    out = layer(contrast_floor=1.4e-76).fit(images, Y).transform(images)
    assert np.isfinite(out).all()


def test_one_image_and_one_class():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = layer().fit(X[:1], Y[:1])
        out = fitted.transform(X)
    assert np.isfinite(out).all()
