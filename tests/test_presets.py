"""Ready networks: sizes that fit the images, the papers' names, and classifiers."""

import pickle
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skdmn import (
    IncrementalRidgeClassifier,
    SoftmaxClassifierCV,
    make_dmn,
    paper_dmn,
    recommended_dmn,
)
from skdmn.datasets import load_digits_images


def layers(shape, **options):
    return dict(recommended_dmn(shape, **options)["features"].layers)


@pytest.mark.parametrize(
    ("shape", "kernel", "cells"),
    [
        ((28, 28), 7, 4),
        ((28, 28, 1), 7, 4),
        ((8, 8), 4, 4),
        ((4, 5), 2, None),
        ((32, 32, 3), 6, 3),
        ((20, 44, 3), 6, 3),
        ((96, 96, 3), 6, 3),
        ((224, 160, 3), 6, 3),
    ],
)
def test_sizes_fit_the_images(rng, shape, kernel, cells):
    X = rng.integers(0, 255, (12, *shape)).astype(np.uint8)
    y = np.arange(12) % 2
    dmn = recommended_dmn(shape, n_filters=5, subsample=1.0).fit(X, y)
    network = dmn["features"]
    assert network["conv"].kernel_size_ == (kernel, kernel)
    if cells:
        assert network.output_shape_ == (cells, cells, 10)
    positions, pool = network["conv"].output_shape_, network["pool"]
    for axis in (0, 1):  # windows cover all but a remainder
        seen = (network.output_shape_[axis] - 1) * pool.stride[axis]
        seen += pool.pool_size_[axis]
        assert positions[axis] == seen


def test_large_images_are_shrunk_first():
    assert "shrink" not in layers((48, 48, 3))
    assert layers((64, 300, 3))["shrink"].pool_size == 2
    assert layers((128, 128))["shrink"].pool_size == 4


def test_photographs_and_drawings_differ():
    assert layers((28, 28))["conv"].n_filters == 200
    assert layers((28, 28, 3))["conv"].n_filters == 400
    assert layers((28, 28, 3), n_filters=7)["conv"].n_filters == 7


def test_many_filters_are_made_of_more_components():
    assert layers((32, 32, 3), n_filters=800)["conv"].variance_cutoff == 0.95
    assert layers((32, 32, 3), n_filters=801)["conv"].variance_cutoff == 0.98


@pytest.mark.parametrize("n_filters", [0, -1, "many", 2.5])
def test_what_is_no_number_of_filters_is_refused_by_fit(n_filters):
    dmn = recommended_dmn((9, 9), n_filters=n_filters)
    with pytest.raises(ValueError, match="n_filters"):
        dmn.fit(np.zeros((4, 9, 9)), [0, 0, 1, 1])


def test_parameters_are_passed_on(tmp_path):
    dmn = recommended_dmn(
        (9, 9), C=0.3, subsample=40, memory=tmp_path, random_state=3, verbose=True
    )
    conv = dmn["features"].layers[0][1]
    assert (conv.subsample, conv.memory, conv.random_state) == (40, tmp_path, 3)
    assert dmn["softmax"].C == 0.3
    assert conv.verbose
    assert dmn["softmax"].verbose
    assert recommended_dmn((9, 9), device="cpu")["features"].device == "cpu"


@pytest.mark.parametrize(
    "shape", [None, 8, (28,), (28, 28, 3, 1), (3, 28), (28.0, 28), (9, 9, 0)]
)
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"image_shape=.* is not a shape"):
        recommended_dmn(shape)


def test_shapes_that_are_not_those_of_an_image_are_told():
    with pytest.raises(ValueError, match=r"3 x 32 pixels and 32 ch.*moveaxis\(X, 1"):
        recommended_dmn((3, 32, 32))
    with pytest.warns(UserWarning, match=r"4 x 32 pixels and 32 ch.*moveaxis\(X, 1"):
        recommended_dmn((4, 32, 32))
    with pytest.warns(UserWarning, match=r"that of images, pass X\.shape\[1:\]"):
        recommended_dmn((1797, 8, 8))
    with pytest.raises(ValueError, match="without the number of images"):
        recommended_dmn((60, 32, 32, 3))


def test_it_learns_the_digits():
    X, y = load_digits_images()
    dmn = recommended_dmn(X.shape[1:], n_filters=60).fit(X[:1200], y[:1200])
    assert dmn.score(X[1200:], y[1200:]) > 0.96


@pytest.mark.parametrize(
    ("shape", "dtype", "unit"),
    [
        ((9, 9), np.uint8, 1),
        ((9, 8, 4), np.uint16, 256),
        ((8, 8, 13), np.float32, 1e-3),
    ],
)
def test_brightness_tells_apart_what_differs_in_nothing_else(rng, shape, dtype, unit):
    y = np.arange(240) % 3
    images = rng.normal(100, 20, (240, *shape)) + 25 * y.reshape(-1, *[1] * len(shape))
    X = (np.clip(images, 0, 255) * unit).astype(dtype)
    score = {}
    for brightness in (False, True):
        dmn = recommended_dmn(
            shape, n_filters=8, subsample=1.0, brightness=brightness, mirrored=True
        )
        score[brightness] = dmn.fit(X[:180], y[:180]).score(X[180:], y[180:])
    assert score[False] < 0.7
    assert score[True] > 0.95


def bands(rng, n_channels):
    """Return images of four classes, of which only the weakest channels are told."""
    y = np.arange(240) % 4
    angle = np.pi / 4 * y.reshape(-1, 1, 1)
    down, across = np.mgrid[:8, :8]
    phase = rng.uniform(0, 2 * np.pi, angle.shape)
    stripes = np.sin(1.6 * (np.cos(angle) * across + np.sin(angle) * down) + phase)
    X = rng.standard_normal((len(y), 8, 8, n_channels))
    X[..., :3] += 2 * stripes[..., np.newaxis]
    units = np.geomspace(1e-3, 1, n_channels)
    offsets = 100 * rng.permutation(n_channels) / n_channels
    return (X * units + offsets).astype(np.float32), y


@pytest.mark.parametrize(("n_channels", "n_kept"), [(13, 13), (200, 12)])
def test_bands_of_different_units_are_told_within_memory(rng, n_channels, n_kept):
    X, y = bands(rng, n_channels)
    dmn = recommended_dmn(X.shape[1:], n_filters=12, subsample=1.0)
    tracemalloc.start()
    dmn.fit(X[:160], y[:160])
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 100 * 2**20  # 200 channels would take 10 GB
    assert dmn["features"]["conv"].filters_.shape[-1] == n_kept
    assert dmn.score(X[160:], y[160:]) > 0.9


def test_the_papers_network_standardizes_channels_on_demand(rng):
    X, y = bands(rng, 13)
    dmn = make_dmn(1, standardize=True, image_shape=X.shape[1:])
    assert next(iter(dmn.named_steps)) == "scale"
    rows = X.reshape(len(X), -1)
    assert dmn.fit(rows[:160], y[:160]).score(rows[160:], y[160:]) > 0.9


@pytest.mark.parametrize("make", ["make_dmn", "recommended_dmn"])
def test_offsets_of_channels_that_hide_the_images_are_told(rng, make):
    X, y = bands(rng, 13)
    dmn = make_dmn() if make == "make_dmn" else None
    dmn = dmn or recommended_dmn(X.shape[1:], standardize=False, subsample=1.0)
    with pytest.warns(UserWarning, match="scales or offsets, put a ChannelStandardSc"):
        dmn.fit(X, y)


def test_which_channels_are_standardized_and_reduced():
    def names(n_channels, **options):
        return list(layers((9, 9, n_channels), **options))

    assert names(3) == ["conv", "pool"]  # photographs stay as they are
    assert names(4) == names(16) == ["scale", "conv", "pool"]
    assert names(17) == ["scale", "reduce", "rescale", "conv", "pool"]
    assert names(17, n_components=None) == names(4)
    assert names(17, standardize=False, n_components=None) == names(3)
    assert names(3, standardize=True, n_components=2) == names(17)
    assert layers((9, 9, 17))["scale"].image_shape == (9, 9, 17)
    assert layers((64, 64, 4))["shrink"].image_shape == (64, 64, 4)


@pytest.mark.parametrize("name", ["standardize", "n_components"])
@pytest.mark.parametrize("value", ["always", 0.5, -1])
def test_how_channels_are_prepared_must_be_known(name, value):
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        recommended_dmn((9, 9, 13), **{name: value})


@pytest.mark.parametrize("scale", [1, 8])  # the latter is shrunk first
def test_rows_are_taken_for_images_of_that_shape(scale):
    X, y = load_digits_images()
    X, y = np.kron(X[:200], np.ones((scale, scale), np.uint8)), y[:200]
    rows = X.reshape(len(X), -1)
    options = {"n_filters": 10, "subsample": 1.0}
    of_images = recommended_dmn(X.shape[1:], **options).fit(X, y)
    of_rows = recommended_dmn(X.shape[1:], **options).fit(rows, y)
    np.testing.assert_array_equal(of_rows.predict(rows), of_images.predict(X))


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="contradicts X"):
        recommended_dmn((28, 28)).fit(np.zeros((4, 32, 32)), [0, 0, 1, 1])


def test_the_papers_notation_names_layers():
    dmn = paper_dmn(
        "d6, m, BN, d, m, de10", kernel_size=[5, 3], image_shape=(20, 20), subsample=0.3
    )
    assert list(dmn.named_steps) == [
        *("conv1", "pool1", "norm1", "conv2", "pool2", "flatten", "softmax")
    ]
    first, second = dmn["conv1"], dmn["conv2"]
    assert (first.n_filters, first.variance_cutoff, first.kernel_size) == (6, 1.0, 5)
    assert (second.n_filters, second.variance_cutoff) == (None, 0.95)
    assert second.subsample == 0.3
    assert (first.image_shape, second.image_shape) == ((20, 20), None)
    assert paper_dmn("d, d3", variance_cutoff=0.9)["conv2"].variance_cutoff == 0.9


@pytest.mark.parametrize("class_based", [True, False])
def test_the_papers_network_is_that_of_make_dmn_with_its_settings(class_based):
    X, y = load_digits_images()
    X, y = X[:200], y[:200]
    found = paper_dmn("d4, m, d5", class_based=class_based, C=0.1).fit(X, y)
    same = make_dmn(
        2,
        n_filters=[4, 5],
        variance_cutoff=1.0,
        correlation_cutoff=0.9,
        class_based=class_based,
        signs="one",
        padding="valid",
        pool_size=[2, 1],
        C=0.1,
    ).fit(X, y)
    np.testing.assert_array_equal(found.predict_proba(X), same.predict_proba(X))


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("d6, m, c9, m, de10", "has trained layers; pass it to skdmn.export"),
        ("d6, de128, de10", "has trained layers"),
        ("d6, pool", "'pool' in 'd6, pool' is not a layer"),
        ("de10, d6", "write de last"),
    ],
)
def test_what_is_not_computed_is_refused(architecture, message):
    with pytest.raises(ValueError, match=message):
        paper_dmn(architecture)


def test_lists_of_the_papers_network_have_an_entry_for_each_convolution():
    with pytest.raises(ValueError, match="has 1 values for 2 layers"):
        paper_dmn("d6, m, d9", kernel_size=[3])


def test_the_head_may_be_a_ridge():
    X, y = load_digits_images()
    dmn = recommended_dmn(X.shape[1:], n_filters=30, head="ridge").fit(X[:600], y[:600])
    assert list(dmn.named_steps) == ["features", "ridge"]
    assert type(dmn["ridge"]) is IncrementalRidgeClassifier
    assert dmn.score(X[600:], y[600:]) > 0.93


def test_the_probabilities_of_two_heads_may_be_averaged():
    X, y = load_digits_images()
    X, y, others = X[:300], y[:300], X[300:400]
    dmn = recommended_dmn(X.shape[1:], n_filters=20, head="both", C=0.02).fit(X, y)
    assert list(dmn.named_steps) == ["features", "both"]
    assert clone(dmn).get_params()["both__softmax__C"] == 0.02
    features = dmn["features"].transform(others)
    softmax, ridge = (
        dmn["both"].named_estimators_[name] for name in ("softmax", "ridge")
    )
    assert type(ridge) is IncrementalRidgeClassifier
    mean = (softmax.predict_proba(features) + ridge.predict_proba(features)) / 2
    assert_allclose(dmn.predict_proba(others), mean, rtol=1e-6)
    assert_array_equal(dmn.predict(others), dmn.classes_[mean.argmax(axis=1)])
    assert_array_equal(
        pickle.loads(pickle.dumps(dmn)).predict(others), dmn.predict(others)
    )


def test_heads_that_cannot_be_made_are_refused():
    with pytest.raises(ValueError, match="head='forest' is unknown"):
        recommended_dmn((9, 9), head="forest")
    with pytest.raises(ValueError, match=r"C=0\.1 is a parameter of the softmax"):
        recommended_dmn((9, 9), head="ridge", C=0.1)


@pytest.mark.parametrize("make", ["make_dmn", "recommended_dmn"])
def test_C_may_be_chosen_by_cross_validation(make):
    X, y = load_digits_images()
    X, y = X[:200], y[:200]
    if make == "make_dmn":
        dmn = make_dmn(1, n_filters=2, C="auto")
    else:
        dmn = recommended_dmn((8, 8), n_filters=4, subsample=1.0, C="auto")
    dmn.set_params(softmax__Cs=[0.01, 0.1], softmax__cv=2)
    softmax = dmn.fit(X, y)[-1]
    assert type(softmax) is SoftmaxClassifierCV
    assert softmax.C_ in softmax.Cs_
    assert dmn.score(X, y) > 0.9
