"""Fitting in parts: any split gives what one fit gives; compact copies; refusals."""

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_reference import make_images
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skdmn import ChannelStandardScaler, ClassPCAPatchTransformer

N = 24
CUTS = st.sets(st.integers(1, N - 1), max_size=6).map(sorted)
SUMS = ("density_matrices_", "partition_functions_", "n_patches_", "class_counts_")


def fit_in_parts(layer, X, y, cuts):
    edges = [0, *cuts, len(X)]
    for start, stop in itertools.pairwise(edges):
        layer.partial_fit(X[start:stop], y[start:stop])
    return layer


def assert_same_fit(found, expected, atol):
    assert_array_equal(found.classes_, expected.classes_)
    for name in SUMS:
        assert_allclose(getattr(found, name), getattr(expected, name), atol, atol)
    assert_allclose(found.filters_, expected.filters_, atol=max(atol, 1e-7))
    assert_allclose(found.energies_, expected.energies_, atol=max(atol, 1e-9))
    assert_array_equal(found.filter_classes_, expected.filter_classes_)
    assert found.filter_members_ == expected.filter_members_


@pytest.mark.parametrize("centered", [False, True])
def test_density_matrices_of_8_bit_images_add_up_exactly(centered):
    X, y = make_images(N, dtype=np.uint8)
    layer = ClassPCAPatchTransformer(centered=centered)
    parts = fit_in_parts(clone(layer), X, y, [1, 2, 9])
    whole = clone(layer).fit(X, y)
    assert_array_equal(parts.density_matrices_, whole.density_matrices_)
    assert_array_equal(parts.filters_, whole.filters_)


@settings(max_examples=15, deadline=None)
@given(cuts=CUTS, order=st.permutations(range(N)), centered=st.booleans())
def test_any_split_of_8_bit_images_equals_one_fit(cuts, order, centered):
    X, y = make_images(N, dtype=np.uint8)
    X, y = X[order], y[order]
    layer = ClassPCAPatchTransformer(2, centered=centered)
    parts = fit_in_parts(clone(layer), X, y, cuts)
    assert_same_fit(parts, clone(layer).fit(X, y), atol=1e-12)
    if centered:
        assert_allclose(parts.means_, layer.fit(X, y).means_, rtol=1e-12)


@settings(max_examples=10, deadline=None)
@given(cuts=CUTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_split_of_float_images_equals_one_fit(dtype, cuts):
    X, y = make_images(N, dtype=dtype)
    parts = fit_in_parts(ClassPCAPatchTransformer(2), X, y, cuts)
    atol = 1e-12 if dtype is np.float64 else 1e-5
    assert_same_fit(parts, ClassPCAPatchTransformer(2).fit(X, y), atol=atol)


def test_many_small_parts_do_not_drift():
    X, y = make_images(300, 4, 4, 1, dtype=np.uint8)
    parts = fit_in_parts(ClassPCAPatchTransformer(2), X, y, range(1, 300))
    assert_same_fit(parts, ClassPCAPatchTransformer(2).fit(X, y), atol=1e-12)


def test_naive_dmn_goes_on_without_labels():
    X, _ = make_images(dtype=np.uint8)
    layer = ClassPCAPatchTransformer(class_based=False)
    parts = clone(layer).partial_fit(X[:5]).partial_fit(X[5:])
    assert_same_fit(parts, layer.fit(X), atol=1e-12)


def test_partial_fit_goes_on_from_fit():
    X, y = make_images(dtype=np.uint8)
    layer = ClassPCAPatchTransformer(2).fit(X[:10], y[:10]).partial_fit(X[10:], y[10:])
    assert_same_fit(layer, ClassPCAPatchTransformer(2).fit(X, y), atol=1e-12)


def test_fit_forgets_what_was_before():
    X, y = make_images(dtype=np.uint8)
    layer = ClassPCAPatchTransformer(2).partial_fit(X[:10], y[:10]).fit(X, y)
    assert_same_fit(layer, ClassPCAPatchTransformer(2).fit(X, y), atol=0)


def test_partial_fit_does_not_change_arrays_given_out():
    X, y = make_images(dtype=np.uint8)
    layer = ClassPCAPatchTransformer(2).fit(X[:10], y[:10])
    given_out = {name: getattr(layer, name) for name in SUMS}
    before = {name: array.copy() for name, array in given_out.items()}
    layer.partial_fit(X[10:], y[10:])
    for name in SUMS:
        assert_array_equal(given_out[name], before[name])


# classes


@pytest.mark.parametrize(
    "names",
    [
        np.array([10, 20, 30]),
        np.array([30, 10, 20]),
        np.array(["b", "a", "cc"]),
        np.array(["b", "a", "cc"], dtype=object),
        np.array([0.0, -1.0, 2.0]),
    ],
)
def test_new_classes_extend_classes(names):
    X, y = make_images(dtype=np.uint8)
    order = np.argsort(y, kind="stable")
    X, y = X[order], names[y[order]]
    parts = fit_in_parts(ClassPCAPatchTransformer(2), X, y, [8, 16])
    assert_same_fit(parts, ClassPCAPatchTransformer(2).fit(X, y), atol=1e-12)


def test_classes_listed_ahead_give_no_filters():
    X, y = make_images(dtype=np.uint8)
    layer = ClassPCAPatchTransformer(2).partial_fit(X, y, classes=[-1, 0, 1, 2, 5])
    assert_array_equal(layer.classes_, [-1, 0, 1, 2, 5])
    assert_array_equal(layer.class_counts_, [0, 8, 8, 8, 0])
    assert_array_equal(layer.n_patches_ > 0, [False, True, True, True, False])
    assert set(layer.filter_classes_) <= {0, 1, 2}
    assert not layer.density_matrices_[[0, 4]].any()
    assert np.isfinite(layer.density_matrices_).all()
    plain = ClassPCAPatchTransformer(2).fit(X, y)
    assert_array_equal(layer.filters_, plain.filters_)
    assert_array_equal(layer.filter_classes_, plain.filter_classes_)


def test_a_listed_class_may_come_later_and_others_too():
    X, y = make_images(dtype=np.uint8)
    layer = ClassPCAPatchTransformer(2)
    layer.partial_fit(X[y == 2], y[y == 2], classes=[1, 2])
    assert_array_equal(layer.classes_, [1, 2])
    layer.partial_fit(X[y == 0], y[y == 0]).partial_fit(X[y == 1], y[y == 1])
    assert_same_fit(layer, ClassPCAPatchTransformer(2).fit(X, y), atol=1e-12)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (np.array(["a", "b"], dtype=object), np.array(["b", "c"])),
        (np.array(["a", "b"]), np.array(["b", "c"], dtype=object)),
        (np.array([0, 1]), np.array([1.0, 2.0])),
        (np.array([0, 1], dtype=np.uint8), np.array([1, 2], dtype=np.int64)),
    ],
)
def test_labels_of_one_kind_in_two_dtypes_are_one_kind(first, second):
    X, _ = make_images(4)
    layer = ClassPCAPatchTransformer(2).partial_fit(X[:2], first)
    layer.partial_fit(X[2:], second)
    assert layer.classes_.tolist() == [first[0], first[1], second[1]]
    assert_array_equal(layer.class_counts_, [1, 2, 1])


def test_classes_may_be_a_list_where_labels_are_a_column_of_a_frame():
    pandas = pytest.importorskip("pandas")
    X, _ = make_images(4)
    column = pandas.DataFrame({"label": ["a", "b", "a", "b"]})["label"]
    for y in (column, column.astype(object)):
        layer = ClassPCAPatchTransformer(2).partial_fit(X, y, classes=["a", "b", "c"])
        assert list(layer.classes_) == ["a", "b", "c"]


@pytest.mark.parametrize("dtype", [None, object])
def test_labels_of_another_kind_are_refused(dtype):
    X, _ = make_images(4)
    layer = ClassPCAPatchTransformer(2).partial_fit(X[:2], [0, 1])
    with pytest.raises(ValueError, match="different kinds"):
        layer.partial_fit(X[2:], np.array(["a", "b"], dtype))


# refusals


@pytest.mark.parametrize("subsample", [0.5, 1, 100])
def test_subsample_is_refused(subsample):
    X, y = make_images()
    layer = ClassPCAPatchTransformer(2, subsample=subsample)
    with pytest.raises(ValueError, match="subsample"):
        layer.partial_fit(X, y)
    assert not hasattr(layer, "filters_")


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"kernel_size": 3}, "kernel_size was"),
        ({"centered": True}, "centered was False"),
        ({"class_based": False}, "class_based was True"),
        ({"subsample": 0.5}, "subsample"),
    ],
)
def test_changed_parameters_are_refused(params, words):
    X, y = make_images()
    layer = ClassPCAPatchTransformer(2).fit(X, y)
    features = layer.transform(X)
    layer.set_params(**params)
    before = dict(vars(layer))
    with pytest.raises(ValueError, match=words):
        layer.partial_fit(X, y)
    assert_same_state(vars(layer), before)
    assert_array_equal(layer.transform(X), features)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layer, shape)
        for layer in (ClassPCAPatchTransformer(2), ChannelStandardScaler())
        for shape in [(4, 8, 6, 2), (4, 7, 7, 2), (4, 7, 6, 3), (4, 7, 6), (4, 84)]
    ],
)
def test_changed_images_are_refused(layer, shape):
    X, y = make_images()
    layer = clone(layer).fit(X, y)
    before = dict(vars(layer))
    with pytest.raises(ValueError, match=type(layer).__name__):
        layer.partial_fit(np.ones(shape), np.arange(4) % 2)
    assert_same_state(vars(layer), before)


def assert_same_state(found, expected):
    assert found.keys() == expected.keys()
    assert all(found[key] is expected[key] for key in expected)


def test_cutoffs_may_change_between_parts():
    X, y = make_images(dtype=np.uint8)
    layer = ClassPCAPatchTransformer(2, variance_cutoff=0.5).fit(X[:10], y[:10])
    layer.set_params(variance_cutoff=0.99, signs="both").partial_fit(X[10:], y[10:])
    expected = ClassPCAPatchTransformer(2, variance_cutoff=0.99, signs="both")
    assert_same_fit(layer, expected.fit(X, y), atol=1e-12)


# compact copies


@pytest.mark.parametrize("centered", [False, True])
def test_compact_copies_transform_the_same(centered):
    X, y = make_images()
    layer = ClassPCAPatchTransformer(centered=centered).fit(X, y)
    small = layer.compact()
    assert small is not layer
    assert type(small) is type(layer)
    assert small.get_params() == layer.get_params()
    assert_array_equal(small.transform(X), layer.transform(X))
    assert_array_equal(small.get_feature_names_out(), layer.get_feature_names_out())
    assert not hasattr(small, "density_matrices_")
    assert hasattr(layer, "density_matrices_")
    again = pickle.loads(pickle.dumps(small.compact()))
    assert_array_equal(again.transform(X), layer.transform(X))


def test_compact_copies_are_small():
    X, y = make_images(200, 8, 8, 8)
    layer = ClassPCAPatchTransformer(5, n_filters=4).fit(X, y % 10)
    assert len(pickle.dumps(layer.compact())) < len(pickle.dumps(layer)) / 10


@pytest.mark.parametrize("centered", [False, True])
def test_compact_copies_refuse_partial_fit_but_fit_anew(centered):
    X, y = make_images()
    layer = ClassPCAPatchTransformer(centered=centered).fit(X, y)
    small = layer.compact()
    before = dict(vars(small))
    with pytest.raises(ValueError, match="compact"):
        small.partial_fit(X, y)
    assert_same_state(vars(small), before)
    assert_array_equal(small.fit(X, y).filters_, layer.filters_)


def test_compact_copies_keep_set_output(rng):
    pandas = pytest.importorskip("pandas")
    X = rng.random((10, 7))
    layer = ClassPCAPatchTransformer(class_based=False).set_output(transform="pandas")
    small = layer.fit(X).compact()
    assert isinstance(small.transform(X), pandas.DataFrame)


def test_compact_needs_a_fit():
    with pytest.raises(ValueError, match="not fitted"):
        ClassPCAPatchTransformer().compact()


# ChannelStandardScaler


@settings(max_examples=15, deadline=None)
@given(cuts=CUTS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_scaler_in_parts_equals_one_fit(dtype, cuts):
    X, y = make_images(N, dtype=dtype)
    parts = fit_in_parts(ChannelStandardScaler(), X, y, cuts)
    whole = ChannelStandardScaler().fit(X)
    for name in ("mean_", "var_", "scale_"):
        assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-12)
    assert parts.n_samples_seen_ == whole.n_samples_seen_ == N


def test_scaler_does_not_change_arrays_given_out():
    X, _ = make_images()
    scaler = ChannelStandardScaler().fit(X[:10])
    mean, before = scaler.mean_, scaler.mean_.copy()
    scaler.partial_fit(X[10:] + 5)
    assert_array_equal(mean, before)
