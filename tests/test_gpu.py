"""The layers on a real GPU, through CuPy."""

import pickle

import numpy as np
import pytest
from sklearn import config_context

from skdmn import ClassPCAPatchTransformer, make_dmn
from skdmn.core import backend
from skdmn.datasets import load_digits_images

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(backend.gpu() is None, reason="CuPy finds no usable GPU here"),
]


@pytest.fixture(scope="module")
def digits():
    return load_digits_images()


def test_numpy_in_is_computed_there_and_returned_as_numpy(digits):
    X, y = digits
    here = ClassPCAPatchTransformer(device="cpu").fit(X, y)
    there = ClassPCAPatchTransformer(device="cuda").fit(X, y)
    assert isinstance(there.filters_, np.ndarray)
    np.testing.assert_allclose(there.filters_, here.filters_, atol=1e-4)
    expected = here.transform(X)
    np.testing.assert_allclose(
        there.transform(X), expected, atol=1e-5 * np.abs(expected).max()
    )


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
    np.testing.assert_allclose(
        loaded.set_params(device="cpu").transform(X), features.get(), atol=1e-4
    )


def test_a_whole_network(digits):
    X, y = digits
    here, there = (make_dmn(device=d).fit(X, y) for d in ("cpu", "cuda"))
    assert np.mean(here.predict(X) == there.predict(X)) > 0.999
