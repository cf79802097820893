"""The filters of ClassPCAPatchTransformer against loops and known cases."""

import warnings

import numpy as np
import pytest
from layer_reference import (
    all_patches,
    convolution,
    density_matrix,
    expected_filters,
    make_images,
)
from numpy.testing import assert_allclose, assert_array_equal

from skdmn import ClassPCAPatchTransformer

KERNELS = [2, 3, (3, 2), (1, 4)]


def stripes(direction, n=6, size=7):
    """Return images of lines of +1 and -1, some begun with the one, some the other."""
    lines = np.where(np.arange(size) % 2, -1.0, 1.0)
    image = np.tile(lines[:, None], (1, size))
    image = image if direction == "horizontal" else image.T
    return np.array([image * (-1) ** i for i in range(n)])


def reference_of(images, labels, kernel, centered=False, **cutoffs):
    densities = [
        density_matrix(images[labels == label], kernel, centered)[0]
        for label in np.unique(labels)
    ]
    return expected_filters(densities, **cutoffs)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("centered", [False, True])
def test_density_matrices_are_the_loop_over_patches(kernel, centered):
    X, y = make_images()
    layer = ClassPCAPatchTransformer(kernel, centered=centered).fit(X, y)
    for i, label in enumerate(layer.classes_):
        rho, trace = density_matrix(X[y == label], layer.kernel_size_, centered)
        assert_allclose(layer.density_matrices_[i], rho, atol=1e-14)
        assert_allclose(layer.partition_functions_[i], trace, rtol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize(
    "cutoffs",
    [
        {},
        {"variance": 0.8, "correlation": 0.5},
        {"variance": 0.99, "correlation": 0.99},
        {"variance": 1.0, "correlation": 1.0},
        {"variance": 1.0, "correlation": 0.0},
        {"variance": 0.97, "n_filters": 2},
    ],
)
def test_filters_follow_the_rules(kernel, centered, cutoffs):
    X, y = make_images()
    names = {"variance": "variance_cutoff", "correlation": "correlation_cutoff"}
    layer = ClassPCAPatchTransformer(
        kernel,
        centered=centered,
        **{names.get(key, key): value for key, value in cutoffs.items()},
    ).fit(X, y)
    expected = reference_of(X, y, layer.kernel_size_, centered, **cutoffs)
    filters, shares, classes, members = zip(*expected, strict=True)
    assert_allclose(layer.filters_.reshape(len(layer.filters_), -1), filters, atol=1e-9)
    assert_allclose(layer.explained_variance_ratio_, shares, atol=1e-12)
    assert_allclose(layer.energies_, -np.log(shares), atol=1e-10)
    assert_array_equal(layer.filter_classes_, classes)
    assert layer.filter_members_ == list(members)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("stride", [1, 2, (1, 3), (4, 2)])
@pytest.mark.parametrize("activation", ["relu", None])
def test_transform_is_the_loop_over_windows(padding, stride, activation):
    X, y = make_images()
    layer = ClassPCAPatchTransformer(
        (3, 2), stride=stride, padding=padding, activation=activation, signs="both"
    ).fit(X, y)
    steps = (stride, stride) if isinstance(stride, int) else stride
    expected = convolution(X, layer.filters_, steps, padding, activation)
    assert_allclose(layer.transform(X), expected, atol=1e-12)
    assert layer.output_shape_ == expected.shape[1:]


@pytest.mark.parametrize("shape", [(9, 6, 5), (9, 6, 5, 1), (9, 6, 5, 3)])
@pytest.mark.parametrize("kernel", [3, (2, 3)])
def test_fitted_attributes_have_documented_shapes(rng, shape, kernel):
    X, y = rng.random(shape), np.arange(9) % 3
    layer = ClassPCAPatchTransformer(kernel, centered=True).fit(X, y)
    channels = shape[3] if len(shape) == 4 else 1
    kh, kw = layer.kernel_size_
    d, n = kh * kw * channels, len(layer.filters_)
    assert layer.filters_.shape == (n, kh, kw, channels)
    assert layer.energies_.shape == layer.explained_variance_ratio_.shape == (n,)
    assert layer.filter_classes_.shape == (n,)
    assert len(layer.filter_members_) == n
    assert layer.density_matrices_.shape == (3, d, d)
    assert layer.means_.shape == (3, d)
    assert_array_equal(layer.n_patches_, [3 * (7 - kh) * (6 - kw)] * 3)
    assert_array_equal(layer.class_counts_, [3, 3, 3])
    assert layer.image_shape_ == (6, 5, channels)
    assert layer.n_features_in_ == 30 * channels
    assert layer.transform(X).shape == (9, *layer.output_shape_)
    assert layer.output_shape_ == (7 - kh, 6 - kw, n)


def test_grey_images_with_and_without_channel_axis_are_the_same(rng):
    X, y = rng.random((10, 6, 5)), np.arange(10) % 2
    plain, deep = (
        ClassPCAPatchTransformer().fit(images, y) for images in (X, X[..., None])
    )
    assert_array_equal(plain.filters_, deep.filters_)
    assert_array_equal(plain.transform(X), deep.transform(X[..., None]))
    assert_array_equal(plain.transform(X), plain.transform(X[..., None]))


def test_filters_are_unit_vectors_by_energy_and_matrices_have_trace_one():
    X, y = make_images(dtype=np.float32)
    layer = ClassPCAPatchTransformer(variance_cutoff=0.99).fit(X, y)
    norms = np.linalg.norm(layer.filters_.reshape(len(layer.filters_), -1), axis=1)
    assert_allclose(norms, 1, rtol=1e-6)
    assert np.all(np.diff(layer.energies_) >= 0)
    assert_allclose(np.trace(layer.density_matrices_, axis1=1, axis2=2), 1, rtol=1e-12)


def test_stripes_give_stripes():
    X = np.concatenate([stripes("vertical"), stripes("horizontal")])
    y = ["v"] * 6 + ["h"] * 6
    layer = ClassPCAPatchTransformer(2).fit(X, y)
    assert_array_equal(layer.classes_, ["h", "v"])
    assert_array_equal(layer.filter_classes_, ["h", "v"])
    assert layer.filter_members_ == [[("h", 0)], [("v", 0)]]
    expected = [[[0.5, 0.5], [-0.5, -0.5]], [[0.5, -0.5], [0.5, -0.5]]]
    assert_allclose(layer.filters_[..., 0], expected, atol=1e-12)
    assert_allclose(layer.energies_, 0, atol=1e-12)
    features = layer.transform(X)
    assert_allclose(features[6:, ..., 1], 0, atol=1e-12)
    assert_allclose(features[:6, ..., 0], 0, atol=1e-12)


def test_equal_classes_are_merged_into_the_first():
    X = np.concatenate([stripes("vertical")] * 3)
    layer = ClassPCAPatchTransformer(2).fit(X, np.repeat([30, 10, 20], 6))
    assert layer.filter_members_ == [[(10, 0), (20, 0), (30, 0)]]
    assert_array_equal(layer.filter_classes_, [10])


def test_correlation_cutoff_of_one_merges_nothing():
    X = np.concatenate([stripes("vertical")] * 3)
    layer = ClassPCAPatchTransformer(2, correlation_cutoff=1.0)
    layer.fit(X, np.repeat([30, 10, 20], 6))
    assert layer.filter_members_ == [[(10, 0)], [(20, 0)], [(30, 0)]]


def test_members_list_every_component_within_the_cutoff_once():
    X, y = make_images()
    layer = ClassPCAPatchTransformer(variance_cutoff=0.95).fit(X, y)
    members = [one for some in layer.filter_members_ for one in some]
    assert len(members) == len(set(members))
    assert len(members) > len(layer.filters_)
    for label in layer.classes_.tolist():
        ranks = sorted(rank for other, rank in members if other == label)
        assert ranks == list(range(len(ranks)))
    for label, some in zip(layer.filter_classes_, layer.filter_members_, strict=True):
        assert some[0][0] == label


def test_filters_of_string_labels_are_those_of_numbers():
    X, y = make_images()
    numbers = ClassPCAPatchTransformer().fit(X, y)
    names = ClassPCAPatchTransformer().fit(X, np.array(["a", "b", "c"])[y])
    assert_array_equal(numbers.filters_, names.filters_)
    assert_array_equal(np.array(["a", "b", "c"])[numbers.filter_classes_],
                       names.filter_classes_)  # fmt: skip


def test_renaming_classes_reorders_matrices():
    X, y = make_images()
    first = ClassPCAPatchTransformer().fit(X, y)
    turned = ClassPCAPatchTransformer().fit(X, 2 - y)
    assert_allclose(turned.density_matrices_, first.density_matrices_[::-1])


def test_naive_dmn_is_one_class():
    X, y = make_images()
    naive = ClassPCAPatchTransformer(class_based=False).fit(X)
    one = ClassPCAPatchTransformer().fit(X, np.full(len(X), 7))
    labelled = ClassPCAPatchTransformer(class_based=False).fit(X, y)
    for other in (one, labelled):
        assert_allclose(other.filters_, naive.filters_, atol=1e-12)
        assert_allclose(other.density_matrices_, naive.density_matrices_, atol=1e-15)
    assert_array_equal(naive.classes_, [0])
    assert_array_equal(one.classes_, [7])


def test_labels_are_required_exactly_when_class_based():
    X, _ = make_images()
    with pytest.raises(ValueError, match="requires y"):
        ClassPCAPatchTransformer().fit(X)
    with pytest.raises(ValueError, match="requires y"):
        ClassPCAPatchTransformer().partial_fit(X)
    ClassPCAPatchTransformer(class_based=False).fit(X)
    ClassPCAPatchTransformer(class_based=False).partial_fit(X)


@pytest.mark.parametrize("n_filters", [None, 2])
def test_both_signs_append_the_negatives(n_filters):
    X, y = make_images()
    one = ClassPCAPatchTransformer(n_filters=n_filters).fit(X, y)
    both = ClassPCAPatchTransformer(n_filters=n_filters, signs="both").fit(X, y)
    n = len(one.filters_)
    assert_array_equal(both.filters_, np.concatenate([one.filters_, -one.filters_]))
    for name in ("energies_", "explained_variance_ratio_", "filter_classes_"):
        assert_array_equal(getattr(both, name), np.tile(getattr(one, name), 2))
    assert both.filter_members_ == one.filter_members_ * 2
    assert both.output_shape_[2] == 2 * n


def test_relu_of_both_signs_gives_back_the_linear_output():
    X, y = make_images()
    linear = ClassPCAPatchTransformer(activation=None).fit(X, y).transform(X)
    both = ClassPCAPatchTransformer(signs="both").fit(X, y).transform(X)
    n = linear.shape[3]
    assert both.min() >= 0
    assert linear.min() < 0
    assert_allclose(both[..., :n] - both[..., n:], linear, atol=1e-12)


@pytest.mark.parametrize(
    "params",
    [{"stride": 3}, {"padding": "same"}, {"activation": None}, {"signs": "both"},
     {"n_filters": 1}, {"variance_cutoff": 0.5}, {"correlation_cutoff": 0.1}],
)  # fmt: skip
def test_density_matrices_do_not_depend_on(params):
    X, y = make_images()
    plain = ClassPCAPatchTransformer().fit(X, y)
    other = ClassPCAPatchTransformer(**params).fit(X, y)
    assert_array_equal(plain.density_matrices_, other.density_matrices_)
    assert_array_equal(plain.n_patches_, other.n_patches_)


def test_variance_cutoff_of_one_keeps_all_directions_with_variance(rng):
    basis = rng.normal(size=(2, 5, 5))  # images that span two directions per patch
    X = np.tensordot(rng.normal(size=(12, 2)), basis, axes=1)
    layer = ClassPCAPatchTransformer(
        5, class_based=False, variance_cutoff=1.0, correlation_cutoff=1.0
    ).fit(X)
    assert (layer.explained_variance_ratio_[2:] < 1e-15).all()  # rounding
    assert (layer.explained_variance_ratio_[:2] > 1e-3).all()
    full = ClassPCAPatchTransformer(2, class_based=False, variance_cutoff=1.0)
    assert len(full.fit(X).filters_) == 4


def test_variance_cutoff_of_one_keeps_directions_of_little_variance():
    """Shares of 1, 1e-4, 1e-8 and 1e-12 are all more than rounding."""
    X = np.eye(4).reshape(4, 2, 2) * np.array([1, 1e-2, 1e-4, 1e-6])[:, None, None]
    layer = ClassPCAPatchTransformer(2, class_based=False, variance_cutoff=1.0)
    with pytest.warns(UserWarning, match="1 of 4 images hold more than half"):
        layer.fit(X)
    assert_allclose(layer.filters_.reshape(4, 4), np.eye(4), atol=1e-12)
    shares = layer.explained_variance_ratio_
    assert_allclose(shares, [1, 1e-4, 1e-8, 1e-12], rtol=1e-3)


def test_a_tiny_variance_cutoff_keeps_one_filter_a_class():
    X, y = make_images()
    layer = ClassPCAPatchTransformer(variance_cutoff=1e-9, correlation_cutoff=1.0)
    assert layer.fit(X, y).filter_members_ != []
    assert sorted(layer.filter_classes_) == [0, 1, 2]


def test_n_filters_is_an_upper_bound():
    X, y = make_images()
    full = ClassPCAPatchTransformer().fit(X, y)
    n = len(full.filters_)
    for asked in (1, n - 1, n, n + 1, 10**6):
        some = ClassPCAPatchTransformer(n_filters=asked).fit(X, y)
        assert_array_equal(some.filters_, full.filters_[:asked])
        assert some.filter_members_ == full.filter_members_[:asked]


def test_centering_is_the_covariance_and_transform_has_no_bias():
    X, y = make_images()
    layer = ClassPCAPatchTransformer(centered=True, activation=None).fit(X, y)
    for i in range(3):
        rows = all_patches(X[y == i], (3, 3))
        assert_allclose(layer.means_[i], rows.mean(axis=0), rtol=1e-12)
        covariance = layer.density_matrices_[i] * layer.partition_functions_[i]
        assert_allclose(covariance, np.cov(rows.T, bias=True), atol=1e-13)
    expected = convolution(X, layer.filters_, activation=None)
    assert_allclose(layer.transform(X), expected, atol=1e-12)


def test_means_are_there_exactly_when_centered():
    X, y = make_images()
    layer = ClassPCAPatchTransformer(centered=True).fit(X, y)
    assert not hasattr(layer.set_params(centered=False).fit(X, y), "means_")


@pytest.mark.parametrize("exponent", [-20, -3, 5, 20])
@pytest.mark.parametrize("centered", [False, True])
def test_scaling_by_a_power_of_two_leaves_filters(exponent, centered):
    X, y = make_images()
    plain = ClassPCAPatchTransformer(centered=centered).fit(X, y)
    scaled = ClassPCAPatchTransformer(centered=centered).fit(X * 2.0**exponent, y)
    assert_array_equal(plain.filters_, scaled.filters_)
    assert_array_equal(plain.energies_, scaled.energies_)


def test_a_class_without_variance_gives_no_filters():
    X, y = make_images()
    X[y == 1] = 0
    layer = ClassPCAPatchTransformer(variance_cutoff=0.99).fit(X, y)
    assert set(layer.filter_classes_) == {0, 2}
    assert not layer.density_matrices_[1].any()
    assert layer.partition_functions_[1] == 0
    assert_array_equal(layer.classes_, [0, 1, 2])


def test_a_constant_class_has_a_filter_only_when_not_centered():
    X, y = make_images()
    X[y == 1] = 0.1
    layer = ClassPCAPatchTransformer(correlation_cutoff=1.0).fit(X, y)
    constant = layer.filters_[layer.filter_classes_ == 1]
    assert_allclose(constant, np.full((1, 3, 3, 2), 18**-0.5), rtol=1e-12)
    layer.set_params(centered=True).fit(X, y)
    assert set(layer.filter_classes_) == {0, 2}


def test_data_without_variance_is_an_error():
    with pytest.raises(ValueError, match=r"No filter can be computed.*0"):
        ClassPCAPatchTransformer().fit(np.zeros((4, 5, 5)), [0, 1, 0, 1])
    with pytest.raises(ValueError, match=r"No filter can be computed.*the same"):
        ClassPCAPatchTransformer(centered=True).fit(np.ones((4, 5, 5)), [0, 1, 0, 1])


def test_bright_images_keep_their_small_eigenvalues(rng):
    """Spread is a ten-thousandth of the mean; float32 sums would lose it."""
    noise = rng.normal(size=(40, 8, 8))
    X = (10_000 + noise).astype(np.float32)
    layer = ClassPCAPatchTransformer(
        2, class_based=False, centered=True, variance_cutoff=1.0
    ).fit(X)
    rows = all_patches(X[..., None].astype(np.float64), (2, 2))
    covariance = layer.density_matrices_[0] * layer.partition_functions_[0]
    assert_allclose(covariance, np.cov(rows.T, bias=True), atol=1e-5)


def bands(units, n=40, offsets=(0, 0, 0)):
    """Return images of three channels in different units, and labels."""
    rng = np.random.default_rng(0)
    X = np.abs(rng.standard_normal((n, 8, 8, 3))) * units + offsets
    return X, np.arange(n) % 2


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("kernel_size", [1, 3])
def test_warns_of_a_channel_in_other_units(centered, kernel_size):
    layer = ClassPCAPatchTransformer(kernel_size, n_filters=2, centered=centered)
    with pytest.warns(UserWarning, match=r"Channel 1 of 3 has 99\.99\d % .*Scaler"):
        layer.fit(*bands((1, 300, 1)))


def test_warns_of_an_offset_of_one_channel():
    layer = ClassPCAPatchTransformer(3, n_filters=2)
    with pytest.warns(UserWarning, match=r"Channel 2 of 3 has 99\.9\d* %"):
        layer.fit(*bands((1, 1, 1), offsets=(0, 0, 100)))


@pytest.mark.parametrize("others", [0.0, 2.0])
def test_constant_channels_do_not_matter(others):
    X, y = bands((1, 300, 1))
    X[..., [0, 2]] = others
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ClassPCAPatchTransformer(3, n_filters=2).fit(X, y)
        ClassPCAPatchTransformer(3, n_filters=2).fit(*bands((1, 20, 1)))
