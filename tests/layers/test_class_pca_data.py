"""Dtypes, batches, order, memory layout and subsamples of ClassPCAPatchTransformer."""

import math
import tracemalloc

import numpy as np
import pytest
from estimators import each, image_layers, one_of_each_type
from layer_reference import make_images
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skdmn import (
    ClassPCAPatchTransformer,
    FlattenTransformer,
    WhitenedPCAPatchTransformer,
)

SPLIT = {"variance_cutoff": 0.97, "random_state": 0}


def fitted(X, y, **params):
    return ClassPCAPatchTransformer(**{**SPLIT, **params}).fit(X, y)


@pytest.fixture
def tiny_pieces(monkeypatch):
    monkeypatch.setattr("skdmn.data.sizes.BATCH_BYTES", 2000)
    monkeypatch.setattr("skdmn.kernels.geometry.TILE_VALUES", 50)


def test_permuting_images_leaves_filters(rng):
    X, y = make_images()
    order = rng.permutation(len(X))
    plain, permuted = fitted(X, y), fitted(X[order], y[order])
    assert_allclose(permuted.filters_, plain.filters_, atol=1e-10)
    assert_allclose(permuted.transform(X), plain.transform(X), atol=1e-10)


def test_permuting_8_bit_images_leaves_matrices_exactly(rng):
    X, y = make_images(dtype=np.uint8)
    order = rng.permutation(len(X))
    assert_array_equal(
        fitted(X[order], y[order]).density_matrices_, fitted(X, y).density_matrices_
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("subsample", [1.0, 0.5])
def test_batches_do_not_matter(request, dtype, centered, subsample):
    X, y = make_images(dtype=dtype)
    params = {"centered": centered, "subsample": subsample, "padding": "same"}
    whole = fitted(X, y, **params)
    features = whole.transform(X)
    request.getfixturevalue("tiny_pieces")
    pieces = fitted(X, y, **params)
    rounding = 1e-7 if dtype == np.float32 else 1e-14
    assert_allclose(
        pieces.density_matrices_, whole.density_matrices_, rtol=1e-7, atol=rounding
    )
    tolerance = {np.uint8: 1e-6, np.float32: 1e-5, np.float64: 1e-10}[dtype]
    assert_allclose(pieces.filters_, whole.filters_, atol=tolerance)
    scale = np.abs(features).max()
    assert_allclose(pieces.transform(X), features, atol=tolerance * scale)
    assert_array_equal(pieces.class_counts_, whole.class_counts_)


@each("layer", one_of_each_type(image_layers()))
@pytest.mark.parametrize(
    ("dtype", "out"),
    [
        ("float32", "float32"),
        ("float64", "float64"),
        ("uint8", "float32"),
        ("int64", "float32"),
        ("bool", "float32"),
        ("float16", "float32"),
    ],
)
def test_dtype_of_the_output(layer, dtype, out):
    X, y = make_images(dtype=np.uint8)
    X = (X > 70) if dtype == "bool" else X.astype(dtype)
    layer = clone(layer).fit(X, y)
    assert layer.transform(X).dtype == out
    if hasattr(layer, "filters_"):
        assert layer.filters_.dtype == out
        names = ["density_matrices_", "partition_functions_"]
        if isinstance(layer, WhitenedPCAPatchTransformer):
            names += ["variance_ratios_"]
        else:
            names += ["energies_", "explained_variance_ratio_"]
        for name in names:
            assert getattr(layer, name).dtype == np.float64


@each("layer", one_of_each_type(image_layers()))
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_output_dtype_follows_the_images_transformed(layer, dtype):
    X, y = make_images(dtype=np.uint8)
    layer = clone(layer).fit(X.astype(dtype), y)
    assert layer.transform(X.astype(np.float64)).dtype == np.float64
    assert layer.transform(X.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("dtype", ["float16", "float32", "int64", "float64", "int16"])
def test_the_same_values_in_any_dtype_give_the_same_filters(dtype):
    X, y = make_images(dtype=np.uint8)
    small, other = fitted(X, y), fitted(X.astype(dtype), y)
    assert_array_equal(other.density_matrices_, small.density_matrices_)
    assert_allclose(other.filters_, small.filters_, atol=1e-7)
    assert_allclose(other.transform(X), small.transform(X), rtol=1e-5, atol=1e-3)


@each("layer", one_of_each_type(image_layers()))
def test_8_bit_images_are_never_copied_whole(layer, monkeypatch):
    monkeypatch.setattr("skdmn.data.sizes.BATCH_BYTES", 2**16)
    monkeypatch.setattr("skdmn.kernels.geometry.TILE_VALUES", 2**12)
    X = np.random.default_rng(0).integers(0, 256, (1500, 24, 24, 2), dtype=np.uint8)
    y = np.arange(1500) % 3
    layer = clone(layer)
    layer.fit(X[:30], y[:30]).transform(X[:30])  # compiles the kernels
    fit_peak, _ = peak_of(lambda: layer.fit(X, y))
    assert fit_peak < X.nbytes / 2
    peak, out = peak_of(lambda: layer.transform(X))
    assert peak < out.nbytes + X.nbytes / 2


def test_a_subsample_of_8_bit_images_is_not_copied_whole(monkeypatch):
    monkeypatch.setattr("skdmn.data.sizes.BATCH_BYTES", 2**16)
    X = np.random.default_rng(0).integers(0, 256, (2000, 24, 24, 2), dtype=np.uint8)
    layer = ClassPCAPatchTransformer(2, subsample=0.9, random_state=0)
    monkeypatch.setattr("skdmn.kernels.geometry.TILE_VALUES", 2**12)
    y = np.arange(2000) % 3
    layer.fit(X[:30], y[:30])  # compiles the kernels
    peak, _ = peak_of(lambda: layer.fit(X, y))
    assert peak < X.nbytes / 2


def peak_of(call):
    tracemalloc.start()
    try:
        result = call()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


@each("layer", one_of_each_type(image_layers()))
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
def test_input_is_left_alone_and_may_be_read_only(layer, dtype):
    X, y = make_images(dtype=dtype)
    before, labels = X.copy(), y.copy()
    X.flags.writeable = y.flags.writeable = False
    out = clone(layer).fit(X, y).transform(X)
    assert_array_equal(X, before)
    assert_array_equal(y, labels)
    if not isinstance(layer, FlattenTransformer):
        assert not np.shares_memory(out, X)


def strided_views(X):
    """Return arrays equal to X that lie in memory in other ways."""
    wide = np.zeros((2 * len(X), *X.shape[1:]), dtype=X.dtype)
    wide[::2] = X
    return {
        "fortran": np.asfortranarray(X),
        "transposed": np.ascontiguousarray(X.transpose(3, 2, 1, 0)).transpose(
            3, 2, 1, 0
        ),
        "backwards": np.ascontiguousarray(X[::-1, ::-1, ::-1])[::-1, ::-1, ::-1],
        "every_other": wide[::2],
        "read_only_map": np.frombuffer(X.tobytes(), dtype=X.dtype).reshape(X.shape),
    }


@each("layer", one_of_each_type(image_layers()))
@pytest.mark.parametrize("layout", strided_views(np.zeros((1, 1, 1, 1))))
def test_memory_layout_does_not_matter(layer, layout):
    X, y = make_images()
    other = strided_views(X)[layout]
    expected = clone(layer).fit(X, y).transform(X)
    found = clone(layer).fit(other, y).transform(other)
    assert_allclose(found, expected, atol=1e-12)


# subsamples


@pytest.mark.parametrize(
    ("subsample", "counts"),
    [
        (0.3, [6, 3, 1]),  # of 20, 10, 1: 6, 3 and 0.3 rounded up
        (0.25, [5, 3, 1]),
        (0.999, [20, 10, 1]),
        (1e-10, [1, 1, 1]),
        (1.0, [20, 10, 1]),
        (31, [20, 10, 1]),
        (3, [1, 1, 1]),
    ],
)
def test_subsample_counts(rng, subsample, counts):
    y = np.repeat([0, 1, 2], [20, 10, 1])
    layer = ClassPCAPatchTransformer(2, subsample=subsample, random_state=0)
    layer.fit(rng.random((31, 4, 4)), y)
    assert_array_equal(layer.class_counts_, counts)
    assert_array_equal(layer.n_patches_, np.array(counts) * 9)


@pytest.mark.parametrize("total", [4, 7, 10, 16, 30])
def test_subsample_of_a_number_is_in_proportion(rng, total):
    sizes = np.array([20, 10, 1])
    layer = ClassPCAPatchTransformer(2, subsample=total, random_state=0)
    layer.fit(rng.random((31, 4, 4)), np.repeat([0, 1, 2], sizes))
    counts = layer.class_counts_
    assert counts.sum() == total
    assert counts.min() >= 1
    exact = (total - 1) * sizes[:2] / 30
    assert np.all(np.abs(counts[:2] - exact) <= 1)


def test_subsample_smaller_than_the_classes_is_an_error(rng):
    layer = ClassPCAPatchTransformer(2, subsample=2)
    with pytest.raises(ValueError, match=r"subsample=2.*classes, 3"):
        layer.fit(rng.random((9, 4, 4)), np.arange(9) % 3)


@pytest.mark.parametrize("class_based", [True, False])
def test_same_seed_same_draw(class_based):
    X, y = make_images(60)
    params = {"subsample": 0.4, "class_based": class_based}
    first, again = (fitted(X, y, random_state=5, **params) for _ in range(2))
    other = fitted(X, y, random_state=6, **params)
    assert_array_equal(first.filters_, again.filters_)
    assert not np.allclose(first.density_matrices_, other.density_matrices_)


def test_a_draw_is_of_whole_images_without_repetition():
    """Each image has a pixel of its own, so that the matrix tells who was drawn."""
    X = np.eye(12).reshape(12, 3, 4)
    layer = ClassPCAPatchTransformer((3, 4), subsample=0.5, random_state=3)
    layer.fit(X, np.arange(12) % 2)
    for label in (0, 1):
        drawn = np.diag(layer.density_matrices_[label]) > 0
        assert drawn.sum() == math.ceil(6 * 0.5)
        assert set(np.flatnonzero(drawn) % 2) == {label}


def test_draws_do_not_depend_on_the_batches(request):
    X, y = make_images(60)
    whole = fitted(X, y, subsample=0.4, random_state=5)
    request.getfixturevalue("tiny_pieces")
    pieces = fitted(X, y, subsample=0.4, random_state=5)
    assert_allclose(pieces.density_matrices_, whole.density_matrices_, atol=1e-14)


@pytest.mark.parametrize("subsample", [1.0, 24])
def test_a_subsample_of_all_is_all(subsample):
    X, y = make_images()
    whole = fitted(X, y)
    some = fitted(X, y, subsample=subsample)
    assert_array_equal(some.density_matrices_, whole.density_matrices_)
    assert_array_equal(some.filters_, whole.filters_)


def test_nothing_is_drawn_where_all_images_count():
    X, y = make_images()
    state = np.random.RandomState(1)
    fitted(X, y, subsample=1.0, random_state=state)
    assert state.randint(1000) == np.random.RandomState(1).randint(1000)
