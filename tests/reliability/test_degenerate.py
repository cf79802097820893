"""Data with nothing in it, or too much: the right result or a sentence, no NaN."""

import re
import warnings

import numpy as np
import pytest
from estimators import ESTIMATORS, takes_images
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline

from skdmn import (
    ChannelStandardScaler,
    ClassPCAPatchTransformer,
    OverlapPruner,
    make_dmn,
)

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

N = 12
LABELS = np.arange(N) % 3


def conv(**params):
    return ClassPCAPatchTransformer(2, **params)


MODELS = {**ESTIMATORS, "dmn": make_dmn(1, kernel_size=2)}
each_model = pytest.mark.parametrize("name", MODELS)


def some_images(channels=2, seed=0):
    """Return smooth images of three classes that differ, float64, below 3."""
    rng = np.random.default_rng(seed)
    images = rng.random((N, 6, 5, channels))
    images[LABELS == 1, 1:] += images[LABELS == 1, :-1]
    images[LABELS == 2, :, 1:] += images[LABELS == 2, :, :-1]
    return images


def one_per_class():
    return some_images()[:3], np.arange(3)


def duplicated_class():
    X = some_images()
    X[LABELS == 1] = X[LABELS == 0]
    return X, LABELS


def dead_channel():
    X = some_images(3)
    X[..., 1] = 0
    return X, LABELS


def a_class_of_zeros():
    X = some_images()
    X[LABELS == 1] = 0
    return X, LABELS


def single_pixel(value=1.0, dtype="f8"):
    X = np.zeros((N, 6, 5, 1), dtype)
    X[4, 2, 2] = value
    return X, LABELS


def one_hot():
    """Every patch of 2 x 2 has each pixel as often: all eigenvalues are equal."""
    X = np.zeros((N, 6, 5, 1))
    places = [(y, x) for y in (1, 2, 3, 4) for x in (1, 2, 3)]
    for image, (y, x) in zip(X, places, strict=True):
        image[y, x] = 1
    return X, LABELS


CASES = {
    "constant": lambda: (np.full((N, 6, 5, 1), 0.7, "f4"), LABELS),
    "constant bytes": lambda: (np.full((N, 6, 5), 200, "u1"), LABELS),
    "constant classes": lambda: (np.ones((N, 6, 5, 2)) * LABELS.reshape(-1, 1, 1, 1)
                                 + 0.3, LABELS),
    "largest bytes": lambda: (np.full((N, 6, 5), 255, "u1"), LABELS),
    "largest integers": lambda: (
        np.random.default_rng(0).integers(-(2**63), 2**63 - 1, (N, 6, 5, 1)), LABELS),
    "one image per class": one_per_class,
    "duplicated class": duplicated_class,
    "dead channel": dead_channel,
    "class of zeros": a_class_of_zeros,
    "single pixel": single_pixel,
    "single bit": lambda: single_pixel(True, "?"),
    "repeated eigenvalues": one_hot,
    "mixed scales": lambda: (
        some_images() * 10.0 ** (np.arange(N) * 3 - 18).reshape(-1, 1, 1, 1), LABELS),
    "narrow denormals": lambda: ((some_images() * 1e-41).astype("f4"), LABELS),
    "denormals": lambda: (some_images() * 1e-310, LABELS),
    "smallest": lambda: single_pixel(5e-324),
    "narrow smallest": lambda: single_pixel(1e-45, "f4"),
    "huge": lambda: (some_images() * 1e160, LABELS),
    "largest": lambda: (some_images() * 5e307, LABELS),
}  # fmt: skip
SAME, SMALL, LARGE = "are the same", "underflow", "overflow|too large"
CONSTANT = ["constant", "constant bytes", "largest bytes"]
ALL_TINY = {"denormals": SMALL, "smallest": SMALL}
ALL_HUGE = {"huge": LARGE, "largest": LARGE}
NARROW_TINY = {"narrow denormals": SMALL, "narrow smallest": SMALL}
UNIT_MATTERS = ALL_TINY | ALL_HUGE
FLAT = dict.fromkeys([*CONSTANT, "constant classes"], "are constant")
BEHIND_SCALER = dict.fromkeys(CONSTANT, "are 0") | NARROW_TINY | UNIT_MATTERS
REFUSED = {  # all the others must be computed
    "class_pca": UNIT_MATTERS,
    "class_pca_centered": dict.fromkeys([*CONSTANT, "constant classes"], SAME)
    | UNIT_MATTERS,
    "class_pca_naive": dict.fromkeys(CONSTANT, SAME) | UNIT_MATTERS,
    "dense": UNIT_MATTERS,
    "dense_naive": dict.fromkeys(CONSTANT, SAME) | UNIT_MATTERS,
    "network_dense": UNIT_MATTERS,
    "pruner": UNIT_MATTERS,
    "scaler": NARROW_TINY | ALL_HUGE,
    "network": BEHIND_SCALER,
    "network_pruned": BEHIND_SCALER,
    "network_mirrored": FLAT | NARROW_TINY | UNIT_MATTERS,
    "softmax": NARROW_TINY | UNIT_MATTERS,
    "softmax_balanced": NARROW_TINY | UNIT_MATTERS,
    "softmax_cv": NARROW_TINY | UNIT_MATTERS | {"one image per class": "n_splits=2"},
    "ridge": NARROW_TINY | UNIT_MATTERS,
    "whitened_pca": FLAT | NARROW_TINY | UNIT_MATTERS,
    "whitened_pca_naive": FLAT | NARROW_TINY | UNIT_MATTERS,
    "dmn": NARROW_TINY | UNIT_MATTERS,
    "zca": UNIT_MATTERS,
}
STOPPED = {
    "softmax_balanced": ["largest integers", "mixed scales"],  # not standardized
    "softmax_cv": ["mixed scales"],  # its folds are centred together
}


def fit_and_apply(estimator, X, y):
    first = estimator[0] if isinstance(estimator, Pipeline) else estimator
    if not takes_images(first):
        X = X.reshape(len(X), -1)
    estimator.fit(X, y)
    if hasattr(estimator, "predict_proba"):
        assert_array_equal(estimator.predict(X).shape, (len(X),))
        return estimator.predict_proba(X)
    return estimator.transform(X)


@each_model
@pytest.mark.parametrize("case", CASES)
def test_the_result_is_finite_or_a_sentence_says_why_there_is_none(name, case):
    X, y = CASES[case]()
    estimator = clone(MODELS[name])
    refused = REFUSED.get(name, {})
    if case in refused:
        with pytest.raises(ValueError, match=refused[case]) as caught:
            fit_and_apply(estimator, X, y)
        assert re.fullmatch(r"[^.\n]+\.", str(caught.value))
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing to warn of, but of extreme images
        warnings.filterwarnings("ignore", "contrast_floor=.* leaves out")
        warnings.filterwarnings("ignore", ".*hold more than half of the sum")
        warnings.filterwarnings("ignore", "ClassPCA.* has only 1 filter")
        if case in STOPPED.get(name, []):
            warnings.simplefilter("ignore", ConvergenceWarning)
        result = fit_and_apply(estimator, X, y)
    assert len(result) == len(X)
    assert np.isfinite(result).all()


# the right result


def definition(X, centered, kernel=(2, 2)):
    """Return the density matrix of all patches of images, in units of the largest."""
    wide = X.astype(np.longdouble)
    wide /= np.abs(wide).max()
    windows = sliding_window_view(wide, kernel, axis=(1, 2))
    rows = np.moveaxis(windows, 3, -1).reshape(-1, kernel[0] * kernel[1] * X.shape[3])
    if centered:
        rows = rows - rows.mean(axis=0)
    moment = rows.T @ rows
    return (moment / np.trace(moment)).astype(np.float64)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("rest", [0.0, 1e-30, 1e-20, 1e-10, 1.0, 1e10])
@pytest.mark.parametrize("scale", [1e-37, 1e-25, 1e-20, 1.0, 1e18, 1e20, 1e37])
def test_images_unlike_those_that_a_unit_is_taken_from(dtype, centered, rest, scale):
    rng = np.random.default_rng(0)
    X = rest * rng.random((48, 5, 5, 1))
    X[1::3] = scale * rng.random((16, 5, 5, 1))  # a sample takes every third, from 0
    X = X.astype(dtype)
    naive = conv(class_based=False, centered=centered).fit(X)
    expected = definition(X, centered)
    assert_allclose(naive.density_matrices_[0], expected, atol=1e-6)


@pytest.mark.parametrize("case", ["narrow denormals", "narrow smallest"])
def test_denormals_are_computed_as_they_are(case):
    X, _ = CASES[case]()
    matrices = conv(class_based=False).fit(X).density_matrices_
    assert_allclose(matrices[0], definition(X, centered=False), atol=1e-7)


@settings(max_examples=25, deadline=None)
@given(
    exponent=st.integers(-66, 66),  # 1e-20 to 1e20
    dtype=st.sampled_from(["f4", "f8"]),
    seed=st.integers(0, 99),
)
@pytest.mark.parametrize(
    "name", ["class_pca", "class_pca_centered", "pruner", "scaler"]
)
def test_the_unit_of_the_images_does_not_matter(name, exponent, dtype, seed):
    X = some_images(seed=seed).astype(dtype)
    scaled = X * np.array(2.0**exponent, dtype)
    ours, theirs = (clone(MODELS[name]).fit(images, LABELS) for images in (scaled, X))
    if name == "scaler":
        assert_allclose(ours.transform(scaled), theirs.transform(X), rtol=1e-6)
    else:
        assert_allclose(ours.energies_, theirs.energies_, rtol=1e-9, atol=1e-9)
    if hasattr(ours, "filters_"):
        assert_allclose(ours.filters_, theirs.filters_, atol=1e-6)
    if name == "pruner":
        assert_array_equal(ours.support_, theirs.support_)


@settings(max_examples=8, deadline=None)
@given(exponent=st.integers(-60, 60))
def test_the_unit_of_the_images_does_not_matter_to_predictions(exponent):
    X = some_images()
    scaled = X * 2.0**exponent
    for model in (MODELS["softmax"], MODELS["dmn"]):
        ours = clone(model).fit(scaled, LABELS).predict_proba(scaled)
        theirs = clone(model).fit(X, LABELS).predict_proba(X)
        assert_allclose(ours, theirs, atol=1e-3)


def test_where_all_eigenvalues_are_equal_the_span_is_right():
    X, _ = one_hot()
    order = np.random.default_rng(1).permutation(N)
    for images in (X, X[order]):
        layer = conv(class_based=False, variance_cutoff=1.0, activation=None)
        layer.fit(images)
        filters = layer.filters_.reshape(-1, 4)
        assert_allclose(layer.energies_, np.log(4), rtol=1e-12)
        assert_allclose(filters @ filters.T, np.eye(4), atol=1e-6)


def test_where_two_eigenvalues_are_equal_their_span_is_right():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    roots = np.array([3.0, 2.0, 2.0, 1.0])
    X = (basis * roots).T.reshape(4, 2, 2, 1)  # each image is one patch
    layer = conv(class_based=False, variance_cutoff=1.0).fit(X)
    filters = layer.filters_.reshape(4, 4).astype(np.float64)
    assert_allclose(layer.explained_variance_ratio_, roots**2 / 18, rtol=1e-12)
    for some in (slice(0, 1), slice(1, 3), slice(3, 4)):
        projector = filters[some].T @ filters[some]
        assert_allclose(projector, basis[:, some] @ basis[:, some].T, atol=1e-6)


def test_a_class_twice_gives_its_filters_once():
    X, y = duplicated_class()
    layer = conv(variance_cutoff=0.99).fit(X, y)
    assert_array_equal(layer.density_matrices_[0], layer.density_matrices_[1])
    assert 1 not in layer.filter_classes_
    for members in layer.filter_members_:
        classes = [label for label, _ in members]
        assert (0 in classes) == (1 in classes)
    chances = make_dmn(1, kernel_size=2).fit(X, y).predict_proba(X)
    assert_allclose(chances[:, 0], chances[:, 1], atol=1e-3)


def test_a_channel_of_zeros_has_no_weight_anywhere():
    X, y = dead_channel()
    layer = conv(variance_cutoff=0.99).fit(X, y)
    assert_allclose(layer.filters_[..., 1], 0, atol=1e-7)
    without = conv(variance_cutoff=0.99).fit(X[..., [0, 2]], y)
    assert_allclose(layer.energies_, without.energies_, rtol=1e-9)
    assert_allclose(layer.transform(X), without.transform(X[..., [0, 2]]), atol=1e-5)
    scaler = ChannelStandardScaler().fit(X)
    assert scaler.scale_[1] == 1
    assert not scaler.transform(X)[..., 1].any()
    assert np.isinf(OverlapPruner().fit(X).energies_).tolist() == [False, True, False]


def test_constant_images_have_the_constant_filter():
    for case in CONSTANT:
        layer = conv().fit(*CASES[case]())
        assert_allclose(layer.filters_, np.full((1, 2, 2, 1), 0.5), atol=1e-7)
        assert_allclose(layer.energies_, 0, atol=1e-12)
        assert len(layer.filter_members_[0]) == 3


def test_constant_features_predict_the_shares_of_the_classes():
    y = np.array([0] * 6 + [1] * 4 + [2] * 2)
    X = np.full((N, 6, 5, 1), 0.7)
    for model in (MODELS["softmax"], MODELS["dmn"]):
        chances = clone(model).fit(X, y).predict_proba(X)
        assert_allclose(chances, np.tile([1 / 2, 1 / 3, 1 / 6], (N, 1)), atol=1e-4)
