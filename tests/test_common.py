"""Every estimator of the list is copied, saved, exported and fitted on Dask blocks."""

import copy
import functools
import pickle

import numpy as np
import pytest
from estimators import ESTIMATORS, each, takes_images
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier
from stacks import images_and_labels

from skdmn import ClassPCATransformer
from skdmn.export import to_onnx, to_torch
from skdmn.layers.base import ImageTransformer

each_name = pytest.mark.parametrize("name", ESTIMATORS)
each_estimator = each("estimator", ESTIMATORS)
IMAGES, LABELS = images_and_labels(60)


def data_for(estimator):
    if takes_images(estimator):
        return IMAGES
    return IMAGES[:, 2:4, 2:4, 0].reshape(len(IMAGES), -1)


def apply(estimator, X):
    method = "predict_proba" if is_classifier(estimator) else "transform"
    return getattr(estimator, method)(X)


def is_step_of_a_network(estimator):
    """Return True if export and Dask take it: layers, networks and classifiers."""
    return isinstance(estimator, ImageTransformer) or is_classifier(estimator)


@functools.cache
def fitted(name):
    """Return a fitted estimator, its data and its result: not to be changed."""
    estimator = clone(ESTIMATORS[name])
    X = data_for(estimator)
    estimator.fit(X, LABELS)
    return estimator, X, apply(estimator, X)


def assert_close(found, expected):
    assert found.shape == expected.shape
    assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@each_name
def test_copies_and_pickles_compute_the_same(name):
    estimator, X, expected = fitted(name)
    pickled = pickle.loads(pickle.dumps(estimator))
    for other in (copy.copy(estimator), copy.deepcopy(estimator), pickled):
        assert vars(other).keys() == vars(estimator).keys()
        assert_array_equal(apply(other, X), expected)


@each_name
def test_compact_copies_compute_the_same(name):
    estimator, X, expected = fitted(name)
    if not hasattr(estimator, "compact"):
        pytest.skip("it has no compact copies")
    before = len(pickle.dumps(estimator))
    compact = estimator.compact()
    assert len(pickle.dumps(compact)) <= before == len(pickle.dumps(estimator))
    assert_array_equal(apply(compact, X), expected)


@each_name
def test_onnx_computes_the_same(name):
    onnxruntime = pytest.importorskip("onnxruntime")
    estimator, X, expected = fitted(name)
    if not is_step_of_a_network(estimator):
        with pytest.raises(TypeError, match=type(estimator).__name__):
            to_onnx(estimator, X[:1])
        return
    model = to_onnx(estimator, X[:1]).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    output = "probabilities" if is_classifier(estimator) else "features"
    (found,) = session.run([output], {"X": X})
    assert_close(found, expected)


@each_name
def test_torch_computes_the_same(name):
    torch = pytest.importorskip("torch")
    estimator, X, expected = fitted(name)
    if not is_step_of_a_network(estimator):
        with pytest.raises(TypeError, match=type(estimator).__name__):
            to_torch(estimator)
        return
    if is_classifier(estimator) or isinstance(estimator, ClassPCATransformer):
        images = torch.tensor(X.reshape(len(X), -1), dtype=torch.float32)
    else:
        images = torch.tensor(np.moveaxis(X, 3, 1).copy(), dtype=torch.float32)
    with torch.inference_mode():
        found = to_torch(estimator)(images)
    if is_classifier(estimator):
        found = torch.softmax(found, 1)
    found = found.numpy()
    assert_close(np.moveaxis(found, 1, 3) if found.ndim == 4 else found, expected)


@each_estimator
def test_a_fit_on_dask_blocks_is_the_same(estimator, monkeypatch):
    da = pytest.importorskip("dask.array")
    from skdmn import distributed

    monkeypatch.setattr(distributed.blocks, "JOINED_BYTES", 1)  # not one block
    X = data_for(estimator)
    blocks = da.from_array(X, chunks=((25, 0, 1, 34), *X.shape[1:]))
    ours = clone(estimator)
    if not is_step_of_a_network(estimator):
        with pytest.raises(TypeError, match=type(estimator).__name__):
            distributed.fit(ours, blocks, LABELS)
        return
    # a tolerance at which fits of the solver are the same
    if "tol" in ours.get_params():
        ours.set_params(tol=1e-9)
    expected = clone(ours).fit(X, LABELS)
    distributed.fit(ours, blocks, LABELS)
    learned = [name for name in vars(expected) if name.endswith("_")]
    assert vars(ours).keys() == vars(expected).keys()
    assert learned
    assert_allclose(apply(ours, X), apply(expected, X), rtol=1e-4, atol=1e-4)
