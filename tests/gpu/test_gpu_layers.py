"""Layers, networks and classifiers on a GPU give what they give on the CPU."""

import pickle

import numpy as np
import pytest
from estimators import each, layers, one_of_each_type
from numpy.testing import assert_allclose
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from stacks import STACKS, images_and_labels, network

from skdmn import (
    ClassPCAPatchTransformer,
    FlattenTransformer,
    MaxPool2DTransformer,
    SoftmaxClassifier,
    make_dmn,
    recommended_dmn,
)
from skdmn.datasets import load_digits_images
from skdmn.utils import array_api

if array_api.gpu() is None:  # one skip, not one for each of hundreds of tests
    pytest.skip("CuPy finds no usable GPU here", allow_module_level=True)

pytestmark = pytest.mark.gpu

LAYERS = one_of_each_type(layers())
each_layer = each("layer", LAYERS)


@pytest.fixture(scope="module")
def digits():
    return load_digits_images()


def assert_near(found, expected, share=1e-4):
    """Compare up to a share of the largest value."""
    found = array_api.to_numpy(found)
    assert_allclose(found, expected, atol=share * np.abs(expected).max(), rtol=1e-4)


def on_gpu(library, array):
    """Return an array of a library in a GPU's memory."""
    if library == "cupy":
        import cupy

        return cupy.asarray(array)
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch finds no usable GPU here")
    return torch.as_tensor(array).cuda()


# layers and networks


def test_numpy_in_is_computed_there_and_returned_as_numpy(digits):
    X, y = digits
    here = ClassPCAPatchTransformer(device="cpu").fit(X, y)
    there = ClassPCAPatchTransformer(device="cuda").fit(X, y)
    assert isinstance(there.filters_, np.ndarray)
    assert_allclose(there.filters_, here.filters_, atol=1e-4)
    expected = here.transform(X)
    assert_allclose(there.transform(X), expected, atol=1e-5 * np.abs(expected).max())


# the filters that nine images give a second layer hang on rounding
@pytest.mark.parametrize("name", sorted(STACKS.keys() - {"subsample"}))
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("batch_size", [7, "auto"])
def test_a_stack_of_layers_is_the_same_there(name, dtype, batch_size):
    X, y = images_and_labels(60, dtype=dtype)
    here, there = (
        network(name, device=device, batch_size=batch_size).fit(X, y)
        for device in ("cpu", "cuda")
    )
    expected, found = here.transform(X), there.transform(X)
    assert isinstance(found, np.ndarray)
    assert found.dtype == expected.dtype
    assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    loaded = pickle.loads(pickle.dumps(there)).set_params(device="cpu")
    assert_allclose(loaded.transform(X), found, atol=1e-4 * np.abs(expected).max())


def test_cupy_in_stays_there_and_pickles_as_numpy(digits):
    import cupy

    X, y = digits
    with config_context(array_api_dispatch=True):
        layer = ClassPCAPatchTransformer().fit(cupy.asarray(X), cupy.asarray(y))
        assert isinstance(layer.filters_, cupy.ndarray)
        features = layer.transform(cupy.asarray(X))
        assert isinstance(features, cupy.ndarray)
    loaded = pickle.loads(pickle.dumps(layer))
    assert isinstance(loaded.filters_, np.ndarray)
    found = loaded.set_params(device="cpu").transform(X)
    assert_allclose(found, features.get(), atol=1e-5 * float(features.max()))


def test_cupy_goes_through_a_pipeline_with_scikit_learns_estimators(digits):
    import cupy

    X, y = digits
    steps = [
        ("conv", ClassPCAPatchTransformer()),
        ("pool", MaxPool2DTransformer(2)),
        ("flatten", FlattenTransformer()),
        ("scale", StandardScaler()),
        ("logistic", LogisticRegression(C=0.1, max_iter=500)),
    ]
    expected = Pipeline(steps).set_params(conv__device="cpu", pool__device="cpu")
    expected = expected.fit(X, y).predict(X)
    with config_context(array_api_dispatch=True):
        there = Pipeline(steps).set_params(conv__device="auto", pool__device="auto")
        there.fit(cupy.asarray(X), cupy.asarray(y))
        predicted = there.predict(cupy.asarray(X))
    assert isinstance(predicted, cupy.ndarray)
    assert np.mean(predicted.get() == expected) > 0.999


def test_a_whole_network(digits):
    X, y = digits
    here, there = (make_dmn(device=d).fit(X, y) for d in ("cpu", "cuda"))
    assert np.mean(here.predict(X) == there.predict(X)) > 0.999


@each_layer
def test_every_layer_takes_numpy_arrays_to_the_gpu(layer):
    X, y = images_and_labels(200, (11, 10, 3))
    here, there = (
        clone(layer).set_params(device=device).fit(X, y) for device in ("cpu", "cuda")
    )
    assert_near(there.transform(X), here.transform(X))


@each_layer
@pytest.mark.parametrize("library", ["cupy", "torch"])
def test_every_layer_takes_arrays_of_the_gpu(layer, library):
    X, y = images_and_labels(200, (11, 10, 3))
    expected = clone(layer).set_params(device="cpu").fit_transform(X, y)
    with config_context(array_api_dispatch=True):
        X_there = on_gpu(library, X)
        layer = clone(layer).fit(X_there, y)
        found = layer.transform(X_there)
        assert type(found) is type(X_there)
        assert_near(found, expected)
        if hasattr(layer, "partial_fit"):
            layer.partial_fit(X_there, y)
    loaded = pickle.loads(pickle.dumps(layer)).set_params(device="cpu")
    assert loaded.transform(X).shape == expected.shape


@pytest.mark.parametrize("name", ["class_pca", "whitened_pca", "scaler"])
def test_partial_fits_are_a_fit(digits, name):
    X, y = digits
    params = {"device": "cuda"} | (
        {"contrast_floor": 5.0} if name == "whitened_pca" else {}
    )
    whole, parts = (clone(LAYERS[name]).set_params(**params) for _ in range(2))
    whole.fit(X, y)
    for some in (slice(0, 700), slice(700, None)):
        parts.partial_fit(X[some], y[some])
    assert_near(parts.transform(X), whole.transform(X))


@pytest.mark.parametrize("name", ["two layers", "whitened", "whitened rooted"])
def test_a_network_takes_cupy_arrays(name):
    import cupy

    X, y = images_and_labels(60)
    expected = network(name, device="cpu").fit(X, y).transform(X)
    with config_context(array_api_dispatch=True):
        there = network(name).fit(cupy.asarray(X), cupy.asarray(y))
        found = there.transform(cupy.asarray(X))
        lazy = there.lazy_features(cupy.asarray(X))[10:20]
    assert_near(found, expected)
    assert_near(lazy, expected[10:20])


# classifiers


@pytest.mark.parametrize("n_classes", [2, 10])
def test_softmax_classifier(digits, n_classes):
    import cupy

    X, y = digits
    X, y = X[y < n_classes].reshape(-1, 64), y[y < n_classes]
    here, there = (
        SoftmaxClassifier(C=0.1, device=device).fit(X, y) for device in ("cpu", "cuda")
    )
    assert_near(there.decision_function(X), here.decision_function(X), 3e-3)
    assert np.mean(there.predict(X) == here.predict(X)) > 0.999
    with config_context(array_api_dispatch=True):
        on_cupy = SoftmaxClassifier(C=0.1).fit(cupy.asarray(X), cupy.asarray(y))
        found = on_cupy.predict_proba(cupy.asarray(X))
    assert_near(found, here.predict_proba(X), 3e-3)


def test_recommended_network(digits):
    X, y = digits
    here, there = (
        recommended_dmn(X.shape[1:], n_filters=40, subsample=1.0, device=d).fit(X, y)
        for d in ("cpu", "cuda")
    )
    assert_near(there[0].transform(X), here[0].transform(X), 1e-3)
    assert np.mean(here.predict(X) == there.predict(X)) > 0.998
    on_lazy = SoftmaxClassifier(C=0.01, tol=1e-3, device="cuda")
    on_lazy.fit(there[0].lazy_features(X), y)
    assert on_lazy.score(there[0].transform(X), y) > 0.98
