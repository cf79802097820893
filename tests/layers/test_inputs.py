"""Rows as images, rows as signals, and what changes between fit and transform."""

import tracemalloc
import warnings

import numpy as np
import pytest
from estimators import each, image_layers, one_of_each_type
from layer_reference import make_images
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdmn import (
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    FlattenTransformer,
    MaxPool2DTransformer,
    OverlapPruner,
)

CONV = ClassPCAPatchTransformer(2, n_filters=3)
SPATIAL = [CONV, MaxPool2DTransformer(2)]
each_layer = each("layer", one_of_each_type(image_layers()))
each_spatial = pytest.mark.parametrize("layer", SPATIAL, ids=["class_pca", "pool"])


# rows with image_shape


@each_layer
@pytest.mark.parametrize("shape", [(7, 6), (7, 6, 1), [7, 6], (14, 3), (7, 3, 2)])
@pytest.mark.parametrize("dtype", [np.float64, np.uint8])
def test_rows_of_an_image_shape_are_images(layer, shape, dtype):
    X, y = make_images(24, 7, 6, 1, dtype=dtype)
    rows = X.reshape(24, 42)
    images = X.reshape(24, *shape)
    by_rows = clone(layer).set_params(image_shape=shape).fit(rows, y)
    by_images = clone(layer).fit(images, y)
    out = by_rows.transform(rows)
    assert_array_equal(out, by_images.transform(images))
    assert by_rows.image_shape_ == by_images.image_shape_ == (*shape, 1)[:3]
    assert by_rows.output_shape_ == by_images.output_shape_
    assert by_rows.n_features_in_ == 42
    if not isinstance(layer, FlattenTransformer):
        assert out.shape == (24, *by_rows.output_shape_)


@each_layer
def test_rows_of_an_image_shape_do_not_warn(layer):
    X, y = make_images(24, 8, 8, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clone(layer).set_params(image_shape=(8, 8)).fit(X.reshape(24, 64), y)


@each_layer
def test_images_may_go_to_a_layer_fitted_on_rows_of_their_shape(layer):
    X, y = make_images(24, 7, 6, 1)
    layer = clone(layer).set_params(image_shape=(7, 6)).fit(X.reshape(24, 42), y)
    assert_array_equal(layer.transform(X), layer.transform(X.reshape(24, 42)))


@each_layer
def test_rows_may_go_to_a_layer_fitted_on_images_once_it_says_so(layer):
    X, y = make_images(24, 7, 6, 1)
    layer = clone(layer).fit(X, y)
    with pytest.raises(ValueError, match=r"fitted on images of 7 x 6.*image_shape"):
        layer.transform(X.reshape(24, 42))
    layer.set_params(image_shape=(7, 6))
    assert_array_equal(layer.transform(X.reshape(24, 42)), layer.transform(X))


@each_layer
def test_another_image_shape_after_fit_is_an_error(layer):
    X, y = make_images(24, 7, 6, 1)
    layer = clone(layer).fit(X, y).set_params(image_shape=(6, 7))
    with pytest.raises(ValueError, match="image_shape"):
        layer.transform(X.reshape(24, 42))


@each_layer
@pytest.mark.parametrize("image_shape", [(6, 7), (7, 6, 3), (7, 7)])
def test_an_image_shape_that_contradicts_images_is_an_error(layer, image_shape):
    X, y = make_images()
    with pytest.raises(ValueError, match=r"contradicts X.* 7 x 6 pixels and 2 "):
        clone(layer).set_params(image_shape=image_shape).fit(X, y)


@each_layer
def test_an_image_shape_of_another_size_than_the_rows_is_an_error(layer):
    X, y = make_images(24, 7, 6, 1)
    with pytest.raises(ValueError, match=r"48 features, but X has 42"):
        clone(layer).set_params(image_shape=(8, 6)).fit(X.reshape(24, 42), y)


@each_layer
@pytest.mark.parametrize(
    "image_shape", [(), (7,), (7, 6, 2, 1), (7, 0), (7, -6), (7.0, 6.0), ("7", "6")]
)
def test_what_is_not_a_shape_is_an_error(layer, image_shape):
    X, y = make_images()
    with pytest.raises(ValueError, match="is not a shape"):
        clone(layer).set_params(image_shape=image_shape).fit(X, y)


# rows without: signals


@pytest.mark.parametrize(("width", "kernel"), [(7, 3), (3, 3), (2, 2), (1, 1)])
def test_signals_have_a_kernel_one_pixel_high(rng, width, kernel):
    X = rng.random((12, width))
    layer = ClassPCAPatchTransformer(3).fit(X, np.arange(12) % 2)
    n = len(layer.filters_)
    assert layer.kernel_size_ == (1, kernel)
    assert layer.filters_.shape == (n, 1, kernel, 1)
    assert layer.image_shape_ == (1, width, 1)
    assert layer.output_shape_ == (1, width - kernel + 1, n)
    assert layer.transform(X).shape == (12, (width - kernel + 1) * n)
    image = clone(layer).set_params(kernel_size=(1, kernel))
    image.fit(X[:, None, :], np.arange(12) % 2)
    expected = image.transform(X[:, None, :]).reshape(12, -1)
    assert_array_equal(layer.transform(X), expected)


@pytest.mark.parametrize(("width", "size"), [(7, 3), (3, 3), (2, 2), (1, 1)])
def test_signals_have_a_pool_one_pixel_high(rng, width, size):
    X = rng.random((12, width))
    layer = MaxPool2DTransformer(3).fit(X)
    assert layer.pool_size_ == (1, size)
    assert layer.transform(X).shape == (12, width // size)


def test_signals_come_out_as_rows_with_names(rng):
    X = rng.random((12, 11))
    layer = ClassPCAPatchTransformer(3, class_based=False, variance_cutoff=1.0)
    names = layer.fit(X).get_feature_names_out()
    assert names[0] == "y0_x0_f0"
    assert names[-1] == f"y0_x8_f{len(layer.filters_) - 1}"
    assert layer.transform(X).shape == (12, len(names))


@each_spatial
@pytest.mark.parametrize("width", [64, 784, 54])
def test_rows_that_could_be_pictures_warn(layer, rng, width):
    X = rng.random((6, width))
    with pytest.warns(UserWarning, match=r"image_shape=\(height, width") as caught:
        clone(layer).fit(X, np.arange(6) % 2)
    assert f"image_shape=(1, {width})" in str(caught[0].message)


@pytest.mark.parametrize(
    ("layer", "method"),
    [
        (layer, method)
        for layer in SPATIAL
        for method in ("fit", "fit_transform", "partial_fit")
        if hasattr(layer, method)
    ],
)
def test_the_warning_points_at_the_line_that_fits(layer, method, rng):
    with pytest.warns(UserWarning, match="image_shape") as caught:
        getattr(clone(layer), method)(rng.random((6, 64)), np.arange(6) % 2)
    assert caught[0].filename == __file__


@each_layer
@pytest.mark.parametrize(
    ("width", "image_shape"), [(64, (1, 64)), (784, (1, 784, 1)), (7, None), (2, None)]
)
def test_rows_known_to_be_signals_do_not_warn(layer, rng, width, image_shape):
    layer = clone(layer).set_params(image_shape=image_shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "ClassPCAPatchTransformer has only 1 filter")
        out = layer.fit_transform(rng.random((6, width)), np.arange(6) % 2)
    assert out.ndim == 2


def test_images_one_pixel_high_are_images(rng):
    X, y = rng.random((6, 1, 9)), np.arange(6) % 2
    assert ClassPCAPatchTransformer((1, 3)).fit_transform(X, y).ndim == 4
    with pytest.raises(ValueError, match="larger than the images"):
        ClassPCAPatchTransformer(3).fit(X, y)


# sizes


@pytest.mark.parametrize("size", [8, (8, 1), (1, 7), (100, 100)])
@pytest.mark.parametrize("as_rows", [False, True])
def test_images_smaller_than_the_window_are_an_error(size, as_rows):
    X, y = make_images(channels=1)
    shape = (7, 6) if as_rows else None
    X = X.reshape(24, -1) if as_rows else X
    for layer, name in [
        (ClassPCAPatchTransformer(size, image_shape=shape), "kernel_size"),
        (MaxPool2DTransformer(size, image_shape=shape), "pool_size"),
    ]:
        with pytest.raises(ValueError, match=rf"{name}=.* is larger .* 7 x 6 pixels"):
            layer.fit(X, y)


@pytest.mark.parametrize("size", [(2, 2, 2), (), (2,), (2, 0), (2, 1.5), "22", 0, True])
@pytest.mark.parametrize("name", ["kernel_size", "pool_size", "stride"])
def test_what_is_not_a_size_is_an_error(name, size):
    X, y = make_images()
    layer = MaxPool2DTransformer() if name == "pool_size" else CONV
    with pytest.raises(ValueError, match=name):
        clone(layer).set_params(**{name: size}).fit(X, y)


def test_numpy_numbers_are_sizes():
    X, y = make_images()
    kernel = (np.int64(2), np.int32(3))
    layer = ClassPCAPatchTransformer(kernel, n_filters=np.int64(2), stride=np.uint8(2))
    assert layer.fit(X, y).transform(X).shape == (24, 3, 2, 2)


@each_layer
@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((4, 8, 6, 2), "8 x 6 pixels and 2 channels"),
        ((4, 7, 5, 2), "7 x 5 pixels and 2 channels"),
        ((4, 7, 6, 1), "7 x 6 pixels and 1 channel,"),
        ((4, 7, 6), "7 x 6 pixels and 1 channel,"),
        ((4, 6, 7, 2), "6 x 7 pixels"),
        ((4, 50), "50 features"),
    ],
)
def test_other_images_at_transform_are_named(layer, shape, words):
    X, y = make_images()
    layer = clone(layer).fit(X, y)
    with pytest.raises(ValueError, match=words) as raised:
        layer.transform(np.ones(shape))
    assert type(layer).__name__ in str(raised.value)


@each_layer
@pytest.mark.parametrize("shape", [(6, 7), (6, 1, 7), (6, 1, 7, 1)])
def test_a_layer_fitted_on_signals_wants_rows(layer, rng, shape):
    layer = clone(layer).fit(rng.random((6, 7)), np.arange(6) % 2)
    X = rng.random(shape)
    if len(shape) == 2:
        assert layer.transform(X).shape[0] == 6
        return
    with pytest.raises(ValueError, match="fitted on rows of 7 features"):
        layer.transform(X)


def test_pruner_of_rows_has_a_channel_for_each_feature(rng):
    X = rng.random((6, 7))
    assert_array_equal(OverlapPruner().fit_transform(X), X)
    uneven = X * [100, *[1] * 6]
    assert_array_equal(OverlapPruner().fit_transform(uneven), X[:, 1:])
    network = DensityMatrixNetwork([("prune", OverlapPruner())])
    assert_array_equal(network.fit_transform(uneven), X[:, 1:])
    with pytest.raises(ValueError, match="n_overlap=7 would drop all 7 channel"):
        OverlapPruner(7).fit(X)


MOVE = r"np\.moveaxis\(X, 1, -1\)"
FIRST = [(3, 8, 8), (1, 8, 8), (3, 24, 32), (4, 32, 32), (12, 48, 64), (1, 24, 32)]
LAST = [(3, 3, 8), (8, 8, 3), (6, 7, 64), (4, 4, 96), (1, 100, 12), (6, 200, 24)]


@pytest.mark.parametrize("shape", FIRST)
def test_channels_that_come_first_are_warned_of(shape):
    X = np.zeros((2, *shape))
    with pytest.warns(UserWarning, match=MOVE):
        MaxPool2DTransformer(1).fit(X)
    with pytest.warns(UserWarning, match=MOVE):
        DensityMatrixNetwork([("pool", MaxPool2DTransformer(1))]).fit(X)
    fitted = MaxPool2DTransformer(1).fit(np.moveaxis(X, 1, -1))
    with pytest.raises(ValueError, match=MOVE):
        fitted.transform(X)
    with pytest.raises(ValueError, match=MOVE):
        MaxPool2DTransformer(1, image_shape=(*shape[1:], shape[0])).fit(X)
    with (
        pytest.warns(UserWarning, match=MOVE),
        pytest.raises(ValueError, match=f"larger than the images.*{MOVE}"),
    ):
        MaxPool2DTransformer(shape[0] + 1).fit(X)


@pytest.mark.parametrize("shape", LAST)
def test_channels_that_come_last_are_not_warned_of(shape):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MaxPool2DTransformer(1).fit(np.zeros((2, *shape)))


def test_feature_maps_are_not_warned_of(rng):
    X, y = rng.random((6, 4, 12)), [0, 1] * 3
    shallow = ClassPCAPatchTransformer(
        3, variance_cutoff=1.0, signs="both", class_based=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chain = make_pipeline(shallow, MaxPool2DTransformer((2, 1))).fit(X, y)
        assert chain[:1].transform(X).shape[1:] == (2, 10, 18)
        network = DensityMatrixNetwork.from_pipeline(chain)
        DensityMatrixNetwork(network.layers).fit(X, y)


def test_one_large_image_is_not_held_twice(rng):
    X, y = rng.integers(0, 255, (1, 900, 900), dtype=np.uint8), [0]
    layer = ClassPCAPatchTransformer(n_filters=4, variance_cutoff=1.0).fit(X, y)
    tracemalloc.start()
    features = layer.transform(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < features.nbytes + 16 * 2**20


def test_the_warning_points_at_the_line_that_fits_a_pipeline(rng):
    with pytest.warns(UserWarning, match="image_shape") as caught:
        make_pipeline(MaxPool2DTransformer(2), StandardScaler()).fit(
            rng.random((6, 64))
        )
    assert caught[0].filename == __file__
