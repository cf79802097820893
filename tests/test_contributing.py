"""The layer that CONTRIBUTING.md shows takes part in everything, from a user's file."""

import importlib
import pickle
import re
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from skdmn import DensityMatrixNetwork, MaxPool2DTransformer, SoftmaxClassifier
from skdmn.datasets import load_digits_images
from skdmn.operations import Operation, planned
from skdmn.operations.fusion import ConvolveAndPool
from skdmn.utils.array_api import HOST

PAGE = Path(__file__).parents[1] / "CONTRIBUTING.md"


@pytest.fixture(scope="module")
def block():
    found = re.search(
        r"<!-- a layer -->\n```python\n(.*?)```\n<!-- end -->", PAGE.read_text(), re.S
    )
    return found[1]


@pytest.fixture(scope="module")
def layer(block, tmp_path_factory):
    """Return the layer, imported from a file outside of the package."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "kmeans_layer.py").write_text(block)
    sys.path.insert(0, str(folder))
    module = importlib.import_module("kmeans_layer")
    yield module.KMeansPatchTransformer(4)
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits_images()
    return X[:600], y[:600]


def network(layer, **params):
    layers = [("conv", clone(layer)), ("pool", MaxPool2DTransformer(2))]
    return DensityMatrixNetwork(layers, **params)


def test_the_block_is_one_short_file(block):
    assert len(block.splitlines()) <= 80


def test_scikit_learns_checks(layer):
    with warnings.catch_warnings():  # checks that are skipped, rows that are no images
        warnings.simplefilter("ignore", UserWarning)
        check_estimator(clone(layer).set_params(n_filters=2))


def test_pipeline_grid_search_and_pickle(layer, digits):
    X, y = digits
    model = make_pipeline(clone(layer), MaxPool2DTransformer(2), SoftmaxClassifier())
    name = "kmeanspatchtransformer__n_filters"
    search = GridSearchCV(model, {name: [2, 6]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.8
    loaded = pickle.loads(pickle.dumps(search.best_estimator_))
    assert_array_equal(loaded.predict(X), search.predict(X))


def test_a_changed_file_is_refused(layer, digits):
    fitted = clone(layer).fit(digits[0])
    fitted.filters_ = np.repeat(fitted.filters_, 2, axis=3)
    with pytest.raises(ValueError, match=r"filters_ of KMeansPatchTransformer has sha"):
        pickle.loads(pickle.dumps(fitted))
    fitted = clone(layer).fit(digits[0])
    fitted.image_shape_ = (8, 8, 2)
    with pytest.raises(ValueError, match="n_features_in_ of KMeans"):
        pickle.loads(pickle.dumps(fitted))


def test_networks_stream_fuse_and_mirror_it(layer, digits):
    X, y = digits
    whole = make_pipeline(clone(layer), MaxPool2DTransformer(2)).fit(X, y)
    expected = whole.transform(X).reshape(len(X), -1)
    net = network(layer, batch_size=50).fit(X, y)
    assert_allclose(net.transform(X), expected, rtol=1e-4, atol=1e-4)
    assert_allclose(np.concatenate(list(net.lazy_features(X))), expected, 1e-4, 1e-4)
    (fused,) = planned(net.operations()[:-1], HOST, "float32")
    assert isinstance(fused, ConvolveAndPool)
    both = network(layer, mirrored=True).fit(X, y)
    assert_allclose(
        both.transform(X), both.transform(X[:, :, ::-1]), rtol=1e-4, atol=1e-4
    )


def test_statistics_add_up(layer, digits):
    X, _ = digits
    expected = clone(layer).fit(X).filters_
    parts = clone(layer).partial_fit(X[400:]).partial_fit(X[:400])
    assert_array_equal(parts.filters_, expected)
    merged = clone(layer).fit(X[:100]).merge(clone(layer).fit(X[100:]))
    assert_array_equal(merged.filters_, expected)
    sites = [pickle.loads(pickle.dumps(layer.statistics(X[i::3]))) for i in range(3)]
    assert_array_equal(
        clone(layer).finish(sites[2] + sites[0] + sites[1]).filters_, expected
    )
    with pytest.raises(ValueError, match=r"kernel_size=\(3, 3\) and with kernel_size"):
        clone(layer).fit(X).merge(clone(layer).set_params(kernel_size=2).fit(X))


def test_dask(layer, digits):
    da = pytest.importorskip("dask.array")
    from skdmn import distributed

    X, y = digits
    expected = network(layer).fit(X, y)
    blocks = da.from_array(X, chunks=(250, -1, -1))
    found = distributed.fit(network(layer), blocks, y)
    assert_array_equal(found["conv"].filters_, expected["conv"].filters_)
    features = distributed.transform(found, blocks).compute()
    assert_allclose(features, expected.transform(X), rtol=1e-4, atol=1e-4)


def test_exports(layer, digits):
    X, y = digits
    model = make_pipeline(network(layer), SoftmaxClassifier()).fit(X, y)
    torch = pytest.importorskip("torch")
    from skdmn.export import to_torch

    logits = to_torch(model)(torch.tensor(X[:, None], dtype=torch.float32))
    assert_array_equal(logits.argmax(1).numpy(), model.predict(X))
    onnxruntime = pytest.importorskip("onnxruntime")
    from skdmn.export import register_converters, to_onnx

    session = onnxruntime.InferenceSession(to_onnx(model, X[:1]).SerializeToString())
    assert_array_equal(session.run(None, {"X": X})[0], model.predict(X))
    skl2onnx = pytest.importorskip("skl2onnx")
    register_converters()
    written = skl2onnx.to_onnx(model, X[:1].astype("f4"), options={"zipmap": False})
    session = onnxruntime.InferenceSession(written.SerializeToString())
    labels = session.run(None, {"X": X.astype("f4")})[0]
    assert_array_equal(labels, model.predict(X))


@dataclass(frozen=True)
class Negate(Operation):
    def __call__(self, images):
        return -images


def test_an_operation_of_ones_own_runs_and_is_refused_by_exports(layer, digits):
    X, y = digits
    module = sys.modules[type(layer).__module__]

    class Negated(module.KMeansPatchTransformer):
        def _operations(self):
            return [*super()._operations(), Negate()]

    plain, negated = network(layer).fit(X, y), network(Negated(4)).fit(X, y)
    plain.layers_[0][1].filters_ = negated["conv"].filters_
    assert negated.transform(X).max() <= 0
    assert_array_equal(negated["conv"].transform(X), -plain["conv"].transform(X))
    from skdmn.export import to_onnx

    pytest.importorskip("onnx")
    with pytest.raises(TypeError, match=r"Negate is not an operation .* ONNX"):
        to_onnx(negated, X[:1])
    pytest.importorskip("torch")
    from skdmn.export import to_torch

    with pytest.raises(TypeError, match=r"Negate is not an operation .* PyTorch"):
        to_torch(negated)
