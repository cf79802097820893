"""Which computations device="auto" gives to a GPU: those with enough products."""

import array_api_strict
import numpy as np
import pytest
from sklearn.base import clone

from skdmn import (
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    MaxPool2DTransformer,
    SoftmaxClassifier,
    WhitenedPCAPatchTransformer,
    recommended_dmn,
)
from skdmn.datasets import load_digits_images
from skdmn.linear_model.base import FIT_PRODUCTS
from skdmn.utils import array_api
from skdmn.utils.array_api import HOST, Backend

CONV, POOL = ClassPCAPatchTransformer(3), MaxPool2DTransformer(2)
LAYERS = {
    "pooling": POOL,
    "class PCA": CONV,
    "whitened": WhitenedPCAPatchTransformer(6),
    "network": DensityMatrixNetwork([("conv", CONV), ("pool", POOL)]),
}
PRODUCTS = {  # of each value of colour images
    "pooling": 1,
    "class PCA": 9 * 9 * 3,
    "whitened": 36 * 36 * 3,
    "network": 9 * 9 * 3 + 1,
}


@pytest.fixture
def some_gpu(monkeypatch):
    backend = Backend(array_api_strict, array_api_strict.Device("device1"))
    monkeypatch.setattr(array_api, "gpu", lambda: backend)
    return backend


def images(n, *shape):
    """Return images that take no memory."""
    return np.broadcast_to(np.uint8(1), (n, *shape))


def test_digits_are_computed_without_a_look_for_a_gpu(monkeypatch):
    monkeypatch.setattr(array_api, "gpu", lambda: pytest.fail("looked for a GPU"))
    X, y = load_digits_images()
    layers, softmax = recommended_dmn((8, 8))[:-1], SoftmaxClassifier()
    features = layers.fit(X, y).transform(X)
    assert softmax._check_rows(features, reset=True)[0].compute == HOST
    layer = ClassPCAPatchTransformer(3).fit(X, y)
    assert softmax.fit(X, y).score(X, y) > 0.9
    assert layer.transform(X).shape[:3] == (1797, 6, 6)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_go_to_the_gpu_from_enough_products_on(some_gpu, name):
    layer, products = LAYERS[name], PRODUCTS[name]
    least = -(-array_api.AUTO_PRODUCTS // (32 * 32 * 3 * products))
    assert layer._check_images(images(least, 32, 32, 3), reset=True).compute == some_gpu
    few = images(least - 1, 32, 32, 3)
    assert layer._check_images(few, reset=True).compute == HOST
    layer = clone(layer).set_params(device="cuda")
    assert layer._check_images(few, reset=True).compute == some_gpu


def test_signals_have_fewer_products_than_images(some_gpu):
    """A kernel of 9 is 1 x 9 on signals, not 9 x 9."""
    layer = ClassPCAPatchTransformer(9, image_shape=(1, 1000))
    least = -(-array_api.AUTO_PRODUCTS // (1000 * 9 * 9))
    assert layer._check_images(images(least, 1000), reset=True).compute == some_gpu
    assert layer._check_images(images(least - 1, 1000), reset=True).compute == HOST


def test_a_softmax_predicts_on_the_gpu_from_more_rows_than_it_is_fitted(some_gpu):
    least = -(-array_api.AUTO_PRODUCTS // (1000 * FIT_PRODUCTS))
    softmax = SoftmaxClassifier()
    assert softmax._check_rows(images(least, 1000), reset=True)[0].compute == some_gpu
    few = images(least - 1, 1000)
    assert softmax._check_rows(few, reset=True)[0].compute == HOST
    softmax.coef_, softmax._lives = np.ones((10, 1000)), np.empty(0)
    for n, expected in ((least, HOST), (least * FIT_PRODUCTS // 10, some_gpu)):
        rows, _ = softmax._check_rows(images(n, 1000), reset=False, method="predict")
        assert rows.compute == expected
