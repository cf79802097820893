"""Contributions: sums equal logits, and planted patterns are found."""

import threading
import warnings

import numpy as np
import pytest
import sklearn
from estimators import each, image_estimators, one_of_each_type
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from stacks import STACKS, conv, images_and_labels, named, network

from skdmn import (
    AveragePool2DTransformer,
    ChannelStandardScaler,
    FlattenTransformer,
    IncrementalRidgeClassifier,
    MaxPool2DTransformer,
    OverlapPruner,
    SoftmaxClassifier,
    SoftmaxClassifierCV,
    WhitenedPCAPatchTransformer,
    make_dmn,
    recommended_dmn,
)
from skdmn.inspection import contributions
from skdmn.inspection.tracing import Share, step
from skdmn.layers.base import ImageTransformer
from skdmn.operations import Convolve, Encode, Operation, Rectify

HEADS = {
    "softmax": [SoftmaxClassifier(C=0.1)],
    "softmax cv": [SoftmaxClassifierCV([0.01, 0.1], cv=2)],
    "plain": [SoftmaxClassifier(C=1e-6, standardize=False)],
    "ridge of sums": [IncrementalRidgeClassifier()],
    "scaled": [FlattenTransformer(), StandardScaler(), LogisticRegression(max_iter=5)],
    "svc": [FlattenTransformer(), StandardScaler(), LinearSVC(max_iter=20)],
    "ridge": [FlattenTransformer(), RidgeClassifier(fit_intercept=False)],
    "lda": [FlattenTransformer(), LinearDiscriminantAnalysis(n_components=1)],
    "sgd": [FlattenTransformer(), StandardScaler(), SGDClassifier(random_state=0)],
}


def fit(model, X, y):
    return clone(model).fit(X, y)


def check(model, X, target=None):
    """Check that all sums are equal to the logits, and that these are the model's."""
    found = contributions(model, X, target)
    scores = model.decision_function(X)
    if scores.ndim == 1:
        scores = np.stack([-scores, scores], axis=1)
    codes = np.searchsorted(model.classes_, found.target)
    scale = np.abs(scores).max()
    expected = scores[np.arange(len(X)), codes]
    assert_allclose(found.logits, expected, rtol=1e-3, atol=1e-4 * scale)
    close = {"rtol": 1e-9, "atol": 1e-9 * scale}
    for part in (found.by_region, found.by_filter, found.by_class):
        sums = found.bias + part.reshape(len(X), -1).sum(axis=1)
        assert_allclose(sums, found.logits, **close)
    sums = found.pixel_bias + found.pixels.sum(axis=(1, 2, 3))
    assert_allclose(sums, found.logits, **close)
    assert_allclose(found.pixel_error, 0, atol=1e-9 * scale)
    return found


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("stack", STACKS)
def test_sums_equal_logits_of_all_stacks(stack):
    X, y = images_and_labels()
    model = Pipeline(named([*STACKS[stack], *HEADS["softmax"]])).fit(X, y)
    found = check(model, X)
    assert_array_equal(found.target, model.predict(X))
    assert found.exact == ("whitened" not in stack and stack != "average")
    assert found.exact == (not found.conventions)
    assert_array_equal(found.images, X)


@each("layer", one_of_each_type(image_estimators()))
def test_sums_equal_logits_of_every_layer(layer):
    X, y = images_and_labels()
    model = make_pipeline(clone(layer), SoftmaxClassifier(C=0.1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        check(model.fit(X, y), X)


@pytest.fixture(scope="module")
def features():
    """Return a fitted network whose filters have names as classes, and images."""
    X, y = images_and_labels()
    y = np.array(["ant", "bee", "cat"])[y]
    layers = [conv(signs="both"), ChannelStandardScaler(), OverlapPruner(1)]
    layers += [MaxPool2DTransformer(2)]
    return make_pipeline(*layers).fit(X, y), X, y


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("head", HEADS)
def test_sums_equal_logits_of_all_heads(features, head, n_classes):
    layers, X, y = features
    some = np.isin(y, np.unique(y)[:n_classes])
    head = fit(make_pipeline(*HEADS[head]), layers.transform(X[some]), y[some])
    model = Pipeline([*layers.steps, ("head", head)])
    found = check(model, X[some], "ant")
    assert set(found.target) == {"ant"}
    assert set(found.class_labels) <= {"ant", "bee", "cat"}
    assert_array_equal(check(model, X[some], y[some]).target, y[some])


@pytest.mark.parametrize("kind", ["pruned", "two-sided"])
def test_regions_and_filters_sum_the_terms_of_the_classifier(kind):
    X, y = images_and_labels()
    pruned = [conv(signs="both"), OverlapPruner(2), MaxPool2DTransformer(2)]
    whitened = WhitenedPCAPatchTransformer(3, n_filters=4, position_grid=1)
    layers = pruned if kind == "pruned" else [whitened, AveragePool2DTransformer(2)]
    model = make_pipeline(*layers, SoftmaxClassifier()).fit(X, y)
    found, features, head = (
        contributions(model, X, 1),
        model[:-1].transform(X),
        model[-1],
    )
    terms = (head.coef_[1] * (features.reshape(len(X), -1) - head.mean_)).reshape(
        features.shape
    )
    close = {"rtol": 1e-3, "atol": 1e-4 * np.abs(terms).max()}
    assert_allclose(found.by_region, terms.sum(axis=3), **close)
    of_channels = terms.sum(axis=(1, 2))
    if kind == "pruned":
        expected = np.zeros((len(X), len(layers[0].filters_)))
        expected[:, layers[1].get_support(indices=True)] = of_channels
    else:
        expected = of_channels[:, :4] + of_channels[:, 4:]
    assert_allclose(found.by_filter, expected, **close)


def test_two_classes_have_opposite_logits():
    X, y = images_and_labels()
    model = make_pipeline(conv(), SoftmaxClassifier()).fit(X, y == 1)
    one, other = (contributions(model, X[:3], label) for label in (True, False))
    for name in ("logits", "bias", "by_region", "by_filter", "pixels", "pixel_bias"):
        assert_allclose(getattr(one, name), -getattr(other, name))
    assert_allclose(one.logits, model.decision_function(X[:3]), rtol=1e-4)


@pytest.mark.parametrize("mirrored", [False, True])
def test_ready_networks(mirrored):
    X, y = images_and_labels(shape=(12, 12, 3))
    best = recommended_dmn(X.shape[1:], n_filters=6, mirrored=mirrored, subsample=1.0)
    model = best.fit(X, y)
    found = check(model, X)
    layer = model["features"]["conv"]
    assert_array_equal(found.filters, layer.filters_)
    assert_array_equal(found.filter_classes, layer.filter_classes_)
    assert found.by_region.shape[1:] == model["features"].output_shape_[:2]
    for at, label in enumerate(found.class_labels):
        own = found.by_filter[:, layer.filter_classes_ == label]
        assert_allclose(found.by_class[:, at], own.sum(axis=1))
    flipped = contributions(model, X[:, :, ::-1], found.target)
    assert np.allclose(flipped.pixels, found.pixels[:, :, ::-1]) == mirrored
    # the brightness of an image does not matter
    brighter = contributions(model, X.astype(np.float32) + 50, found.target)
    assert_allclose(brighter.pixels, found.pixels, atol=1e-7)
    dmn = make_dmn(image_shape=X.shape[1:]).fit(X.reshape(len(X), -1), y)
    assert contributions(dmn, X.reshape(len(X), -1)).pixels.shape == X.shape


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("off", [0, 0.1])
def test_components_of_filters_do_not_change_the_division(rng, dtype, off):
    components, _ = np.linalg.qr(rng.normal(size=(9, 2)))
    components = components.T.reshape(2, 3, 3, 1).astype(dtype)
    mixtures = rng.normal(size=(20, 2)).astype(dtype)
    filters = (mixtures @ components.reshape(2, 9)).reshape(20, 3, 3, 1)
    filters[0, 0, 0, 0] += off  # no combination of the components, if not 0
    images = rng.normal(size=(2, 5, 6, 1))
    plain = Encode(filters.astype(np.float64), 0.1, 0.3)
    parts = []
    for one in (plain, Encode(plain.filters, 0.1, 0.3, components.astype(np.float64))):
        features, pull = step(one, images)
        share = pull(
            Share(
                np.cos(np.arange(features.size)).reshape(features.shape),
                None,
                np.zeros(2),
            )
        )
        parts.append((features, share.terms(images)))
    for found, expected in zip(parts[1], parts[0], strict=True):
        assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_search_is_explained_by_its_best_model():
    X, y = images_and_labels()
    pipeline = Pipeline([("net", network("conv pool")), ("head", SoftmaxClassifier())])
    search = GridSearchCV(pipeline, {"head__C": [0.1]}, cv=2).fit(X, y)
    found = contributions(search, X)
    assert_array_equal(found.pixels, contributions(search.best_estimator_, X).pixels)


def test_raw_pixels_are_their_own_explanation():
    X, y = images_and_labels()
    model = SoftmaxClassifier(C=0.01).fit(X, y)
    found = check(model, X)
    assert_allclose(found.by_region, found.pixels.sum(axis=3))
    assert found.filters is None
    assert found.by_filter.shape == (len(X), 3)
    rows = make_pipeline(StandardScaler(), SoftmaxClassifier()).fit(
        X.reshape(30, -1), y
    )
    assert check(rows, X.reshape(30, -1)).pixels.shape == (30, 1, 168, 1)


# what the maps show


PATTERN = np.array([[9.0, 0.0, 9.0], [0.0, 9.0, 0.0], [9.0, 0.0, 9.0]])


def planted(rng, n=60, side=14):
    """Return noise, and the places where the images of class 1 have the pattern."""
    X, y = rng.random((n, side, side), dtype=np.float32), np.arange(n) % 2
    places = rng.integers(1, side - 4, size=(n, 2))
    for image, (top, left), label in zip(X, places, y, strict=True):
        if label:
            image[top : top + 3, left : left + 3] += PATTERN
    return X, y, places


LAYERS = {
    "exact": [conv(3, n_filters=6), MaxPool2DTransformer(12)],
    "by contrast": [
        WhitenedPCAPatchTransformer(3, n_filters=6, position_grid=1),
        AveragePool2DTransformer(12, power=0.5),
    ],
}


@pytest.mark.parametrize("layers", LAYERS)
def test_a_planted_pattern_is_found_and_moves_with_the_map(rng, layers):
    X, y, places = planted(rng)
    model = make_pipeline(*map(clone, LAYERS[layers]), SoftmaxClassifier(C=1)).fit(X, y)
    assert model.score(X, y) == 1
    maps = contributions(model, X, 1).pixels[..., 0]
    for heat, (top, left), label in zip(maps, places, y, strict=True):
        if label:
            row, column = np.unravel_index(heat.argmax(), heat.shape)
            assert 0 <= row - top < 3
            assert 0 <= column - left < 3
    # far from the border the map of a moved pattern is the moved map
    images = np.zeros((2, 14, 14), dtype=np.float32)
    images[0, 4:7, 5:8] = images[1, 6:9, 4:7] = PATTERN
    one, other = contributions(model, images, 1).pixels[..., 0]
    assert np.abs(one).max() > 0
    assert_allclose(np.roll(one, (2, -1), axis=(0, 1)), other, atol=1e-9)


# input


def test_batches_and_sources_do_not_matter(tmp_path):
    X, y = images_and_labels()
    model = make_pipeline(network("whitened"), SoftmaxClassifier()).fit(X, y)
    whole = contributions(model, X)
    np.save(tmp_path / "images.npy", X)
    source = np.load(tmp_path / "images.npy", mmap_mode="r")
    with sklearn.config_context(working_memory=1):
        parts = contributions(model, source)
    for name in ("target", "logits", "by_region", "by_filter", "pixels", "images"):
        assert_allclose(getattr(parts, name), getattr(whole, name), atol=1e-12)
    assert parts.images.dtype == np.uint8


def test_sources_are_read_by_the_calling_thread():
    X, y = images_and_labels()
    model = make_pipeline(network("whitened"), SoftmaxClassifier()).fit(X, y)
    readers = []

    class Source:
        shape, dtype = X.shape, X.dtype

        def __getitem__(self, some):
            readers.append(threading.get_ident())
            return X[some]

    with sklearn.config_context(working_memory=1):
        parts = contributions(model, Source())
    assert len(readers) > 2
    assert set(readers) == {threading.get_ident()}
    assert_allclose(parts.logits, contributions(model, X).logits, atol=1e-12)


class Darker(TransformerMixin, BaseEstimator):
    """A transformer that says nothing about what it computes."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.asarray(X) / 2

    def __sklearn_is_fitted__(self):
        return True


class Edges(ImageTransformer):
    """A layer of a user's own, made of the package's records."""

    def __init__(self, *, image_shape=None, device="auto"):
        self.image_shape = image_shape
        self.device = device

    def _operations(self):
        filters = np.array([-1.0, 1.0]).reshape(1, 1, 2, 1)
        return [Convolve(np.concatenate([filters, -filters])), Rectify()]


def test_steps_of_a_users_own(rng):
    X, y = rng.random((20, 5, 6)), np.arange(20) % 2
    model = make_pipeline(Darker(), Edges(), SoftmaxClassifier()).fit(X, y)
    found = check(model, X)
    assert_array_equal(found.images[..., 0], X / 2)
    assert found.by_filter.shape == (20, 2)
    assert set(found.filter_classes) == {"all"}
    hidden = make_pipeline(Edges(), Darker(), SoftmaxClassifier()).fit(X, y)
    with pytest.raises(TypeError, match="Step 'darker' is a Darker, whose"):
        contributions(hidden, X)


def test_an_unknown_operation_is_refused(rng):
    class Square(Operation):
        def __call__(self, images):
            return images**2

    class Squares(Edges):
        def _operations(self):
            return [Square()]

    X, y = rng.random((20, 5, 6)), np.arange(20) % 2
    model = make_pipeline(Squares(), SoftmaxClassifier()).fit(X, y)
    with pytest.raises(TypeError, match="Square is not an operation"):
        contributions(model, X)


def test_models_without_sums_are_refused(rng):
    X, y = rng.random((30, 4)), np.arange(30) % 3
    for model, what in [
        (GaussianNB().fit(X, y), "GaussianNB is not linear"),
        (SVC(kernel="linear").fit(X, y), "SVC is not linear"),
        (make_pipeline(StandardScaler()).fit(X), "StandardScaler is no classifier"),
        (make_pipeline(PCA(2), StandardScaler(), PCA(1), LinearSVC()).fit(X, y), "PCA"),
        (Pipeline([("all", "passthrough")]), "without steps"),
    ]:
        with pytest.raises(TypeError, match=what):
            contributions(model, X)


def test_wrong_targets_and_images_are_errors(features):
    layers, X, y = features
    model = make_pipeline(*(step for _, step in layers.steps), SoftmaxClassifier())
    model.fit(X, y)
    with pytest.raises(ValueError, match=r"'dog' is not a class .* 'ant', 'bee'"):
        contributions(model, X, "dog")
    with pytest.raises(ValueError, match=r"target has shape \(2,\), but X has 30"):
        contributions(model, X, ["ant", "bee"])
    with pytest.raises(ValueError, match="was fitted on images of 8 x 7 pixels"):
        contributions(model, X[:, :5])
    with pytest.raises(ValueError, match="expecting 4 features"):
        contributions(LinearSVC().fit(X[:, 0, :4, 0], y), X)
