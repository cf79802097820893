"""Images and networks where memory runs out, or a GPU has little of it."""

import array_api_strict
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from stacks import images_and_labels, network

from skdmn.data import sizes as module
from skdmn.data.images import Images
from skdmn.kernels import dispatch
from skdmn.utils.array_api import HOST, Backend

DEVICE = Backend(array_api_strict, array_api_strict.Device("device1"))


@pytest.fixture
def some_images(rng):
    X = rng.integers(0, 9, size=(23, 4, 5, 2)).astype(np.uint8)
    return Images.of(X, (4, 5, 2), HOST, DEVICE)


@pytest.mark.parametrize("any_dtype", [False, True])
def test_a_map_goes_on_with_smaller_batches(monkeypatch, some_images, any_dtype):
    monkeypatch.setattr(module, "BATCH_BYTES", 9 * 2 * 40 * 4)
    sizes = []

    def function(batch):
        sizes.append(batch.shape[0])
        if batch.shape[0] > 2:
            raise MemoryError
        return array_api_strict.astype(batch, array_api_strict.float32) * 2

    found = some_images.map(function, (4, 5, 2), any_dtype)
    assert_array_equal(found, 2 * some_images.data)
    assert found.dtype == np.float32
    assert sizes == [9, 4, *[2] * 11, 1]


def test_a_network_goes_on_with_smaller_batches(monkeypatch):
    X, y = images_and_labels()
    expected = network(batch_size=9).fit(X, y).transform(X)
    sizes, convolve = [], dispatch.convolve

    def limited(images, *arguments):
        sizes.append(len(images))
        if len(images) > 2:
            raise MemoryError
        return convolve(images, *arguments)

    monkeypatch.setattr(dispatch, "convolve", limited)
    net = network(batch_size=9).fit(X, y)
    assert max(sizes) == 9
    assert_allclose(net.transform(X), expected, rtol=1e-4, atol=1e-3)
    assert_allclose(np.concatenate(list(net.lazy_features(X))), net.transform(X))


def test_an_image_too_large_for_memory_is_an_error_in_one_sentence(some_images):
    def function(batch):
        raise MemoryError

    with pytest.raises(MemoryError, match=r"^Memory does not suffice for one image"):
        some_images.map(function, (1,))


def test_batches_are_as_large_as_the_device_allows(monkeypatch, some_images):
    asked = []

    def batch_bytes(backend, otherwise):
        asked.append((backend, otherwise))
        return 3 * 40 * 4

    monkeypatch.setattr(module, "batch_bytes", batch_bytes)
    assert some_images.batch_size() == 3
    assert some_images.batch_size(40) == 1
    assert next(batch.shape[0] for _, batch in some_images.batches()) == 3
    X, y = images_and_labels()
    network().fit(X, y).transform(X)
    assert {(DEVICE, module.BATCH_BYTES), (HOST, module.STREAM_BYTES)} <= set(asked)


def test_the_fingerprint_does_not_depend_on_where_images_are_computed(
    monkeypatch, some_images
):
    here = Images.of(some_images.data, (4, 5, 2), HOST, HOST).fingerprint()
    monkeypatch.setattr(module, "batch_bytes", lambda backend, otherwise: 1)
    assert some_images.fingerprint() == here
    other = some_images.data.copy()
    other[22, 3, 4, 1] += 1
    assert Images.of(other, (4, 5, 2), HOST, DEVICE).fingerprint() != here
