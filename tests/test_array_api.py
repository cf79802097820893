"""Layers on other array libraries, and NumPy computed on a (simulated) GPU."""

import pickle

import array_api_strict
import numpy as np
import pytest
from estimators import each, image_estimators, one_of_each_type
from estimators import layers as single_layers
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone

from skdmn import (
    ClassPCAPatchTransformer,
    MaxPool2DTransformer,
)
from skdmn.operations import MaxPool
from skdmn.presets import make_dmn
from skdmn.utils import array_api
from skdmn.utils.array_api import HOST, Backend, own_backend, to_backend, to_numpy

# arrays on "device1" cannot be mixed with others; on "CPU_DEVICE" they can
PLACES = ["torch", "device1"]
layers = each("layer", one_of_each_type(image_estimators()))
learning = each(
    "layer",
    {n: e for n, e in image_estimators().items() if hasattr(e, "partial_fit")},
)
CONV = ClassPCAPatchTransformer(2, variance_cutoff=0.9)
places = pytest.mark.parametrize("backend", PLACES, indirect=True)


def place_named(name):
    if name != "torch":
        return Backend(array_api_strict, array_api_strict.Device(name))
    torch = pytest.importorskip("torch", reason="torch tensors are under test")
    return own_backend(torch.empty(0))


@pytest.fixture
def backend(request):
    return place_named(request.param)


@pytest.fixture
def dispatch():
    with config_context(array_api_dispatch=True):
        yield


@pytest.fixture
def labels():
    return np.arange(24) % 3


@pytest.fixture
def images(rng, labels):
    """Return images of three channels; classes differ in which pixels are bright."""
    images = 60 * rng.random((24, 6, 5, 3)) + 4 * labels[:, None, None, None]
    images[labels == 1, ::2] *= 2.5
    images[labels == 2, :, ::2] *= 2
    images[..., 0] *= 1.5
    return images.astype(np.uint8)


def learned(layer):
    """Return the arrays of numbers that a layer has learned, `classes_` aside."""
    names = [name for name in vars(layer) if name.endswith("_") and name != "classes_"]
    if hasattr(layer, "density_matrices_"):
        names.append("density_matrices_")
    values = {name: getattr(layer, name) for name in names}
    return {
        name: value
        for name, value in values.items()
        if hasattr(value, "dtype")
        if not isinstance(value, np.ndarray) or value.dtype.kind in "fib"
    }


def assert_learned_the_same(layer, expected, backend):
    arrays = learned(expected)
    assert learned(layer).keys() == arrays.keys()
    for name, array in arrays.items():
        found = getattr(layer, name)
        assert own_backend(found) == backend, name
        assert to_numpy(found).dtype == array.dtype, name
        atol = 1e-5 * np.abs(array).max() if array.dtype != bool else 0
        assert_allclose(to_numpy(found), array, rtol=1e-5, atol=atol, err_msg=name)
    for name in ("n_features_in_", "image_shape_", "output_shape_"):
        assert getattr(layer, name) == getattr(expected, name), name


def assert_same_features(features, expected, backend):
    assert own_backend(features) == backend
    features = to_numpy(features)
    assert features.dtype == expected.dtype
    assert_allclose(features, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


# other libraries, under array_api_dispatch


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("backend", [*PLACES, "CPU_DEVICE"], indirect=True)
@layers
@pytest.mark.parametrize(
    ("dtype", "ndim"), [("uint8", 3), ("uint8", 4), ("float32", 4), ("float64", 4)]
)
def test_layers_give_what_they_give_for_numpy(
    backend, layer, dtype, ndim, images, labels
):
    images = images.astype(dtype)
    images = images if ndim == 4 else images[..., 0]
    theirs = to_backend(images, backend)
    expected = clone(layer).fit(images, labels)
    layer = clone(layer).fit(theirs, to_backend(labels, backend))
    assert_learned_the_same(layer, expected, backend)
    assert_same_features(layer.transform(theirs), expected.transform(images), backend)
    if hasattr(layer, "inverse_transform"):
        back = layer.inverse_transform(layer.transform(theirs))
        wide = np.float64 if dtype == "float64" else np.float32
        assert_same_features(back, images.astype(wide), backend)


@pytest.mark.usefixtures("dispatch")
@places
@learning
def test_partial_fit_gives_what_it_gives_for_numpy(backend, layer, images, labels):
    expected, layer = clone(layer), clone(layer)
    for some in (slice(0, 4), slice(4, 5), slice(5, None)):
        expected.partial_fit(images[some], labels[some])
        batch, batch_labels = (to_backend(a[some], backend) for a in (images, labels))
        layer.partial_fit(batch, batch_labels)
    assert_learned_the_same(layer, expected, backend)
    theirs = to_backend(images, backend)
    assert_same_features(layer.transform(theirs), expected.transform(images), backend)


@pytest.mark.usefixtures("dispatch")
@places
@pytest.mark.parametrize("batch_bytes", [1, 4000])
@layers
def test_batches_do_not_matter(
    monkeypatch, backend, layer, batch_bytes, images, labels
):
    expected = clone(layer).fit(images, labels)
    features = expected.transform(images)
    monkeypatch.setattr("skdmn.data.sizes.BATCH_BYTES", batch_bytes)
    layer = clone(layer).fit(to_backend(images, backend), labels)
    assert_learned_the_same(layer, expected, backend)
    assert_same_features(
        layer.transform(to_backend(images, backend)), features, backend
    )


@pytest.mark.usefixtures("dispatch")
@places
@each("layer", one_of_each_type(single_layers()))
def test_rows_with_image_shape(backend, layer, images, labels):
    layer = clone(layer)
    if "image_shape" in layer.get_params():
        layer.set_params(image_shape=(6, 5, 3))
    rows = images.reshape(len(images), -1)
    expected = clone(layer).fit(rows, labels)
    theirs = to_backend(rows, backend)
    layer.fit(theirs, labels)
    assert_learned_the_same(layer, expected, backend)
    assert_same_features(layer.transform(theirs), expected.transform(rows), backend)


@pytest.mark.usefixtures("dispatch")
@places
def test_string_labels_stay_strings(backend, images, labels):
    names = np.array(["cat", "dog", "eel"])[labels]
    expected = clone(CONV).fit(images, names)
    layer = clone(CONV).fit(to_backend(images, backend), names)
    assert_learned_the_same(layer, expected, backend)
    assert_array_equal(layer.classes_, ["cat", "dog", "eel"])
    assert_array_equal(layer.filter_classes_, expected.filter_classes_)
    assert layer.filter_members_ == expected.filter_members_


@pytest.mark.usefixtures("dispatch")
@places
@pytest.mark.parametrize("dtype", ["bool", "uint8", "float64", ">i4"])
def test_labels_of_any_dtype(backend, dtype, images, labels):
    y = (labels > 0).astype(dtype)
    layer = clone(CONV).fit(to_backend(images, backend), y)
    expected = clone(CONV).fit(images, y)
    assert_array_equal(to_numpy(layer.filter_classes_), expected.filter_classes_)


@pytest.mark.usefixtures("dispatch")
@places
@pytest.mark.parametrize("where", ["host", "there"])
def test_labels_may_live_on_the_host_or_with_the_images(backend, where, images, labels):
    y = labels + 5 if where == "host" else to_backend(labels + 5, backend)
    layer = clone(CONV).fit(to_backend(images, backend), y)
    expected = clone(CONV).fit(images, labels + 5)
    assert_array_equal(to_numpy(layer.classes_), [5, 6, 7])
    assert_array_equal(to_numpy(layer.filter_classes_), expected.filter_classes_)
    assert layer.filter_members_ == expected.filter_members_


@pytest.mark.usefixtures("dispatch")
@layers
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_device_without_float64_is_enough(layer, dtype, images, labels):
    backend, images = place_named("no_float64"), images.astype(dtype)
    theirs = to_backend(images, backend)
    expected = clone(layer).fit(images, labels)
    layer = clone(layer).fit(theirs, labels)
    features = layer.transform(theirs)
    assert own_backend(features) == backend
    scale = np.abs(expected.transform(images)).max()
    features = to_numpy(features)
    assert_allclose(features, expected.transform(images), atol=1e-4 * scale)


@pytest.mark.usefixtures("dispatch")
@layers
def test_channels_first_tensors_seen_channels_last(layer, images, labels):
    tensor = place_named("torch").xp.asarray(images.transpose(0, 3, 1, 2).copy())
    view = tensor.permute(0, 2, 3, 1)
    expected = clone(layer).fit(images, labels).transform(images)
    features = clone(layer).fit(view, labels).transform(view)
    assert_same_features(features, expected, place_named("torch"))


@pytest.mark.usefixtures("dispatch")
@places
def test_a_compact_copy_transforms_where_the_layer_does(backend, images, labels):
    theirs = to_backend(images, backend)
    layer = clone(CONV).fit(theirs, labels)
    features = layer.compact().transform(theirs)
    assert_same_features(features, to_numpy(layer.transform(theirs)), backend)


# pickles, and data that lies elsewhere


@pytest.mark.usefixtures("dispatch")
@places
@layers
def test_pickles_hold_numpy_and_transform_numpy(backend, layer, images, labels):
    layer = clone(layer).fit(to_backend(images, backend), labels)
    loaded = pickle.loads(pickle.dumps(layer))
    for name, value in vars(loaded).items():
        assert not hasattr(value, "dtype") or own_backend(value) == HOST, name
    expected = clone(layer).fit(images, labels).transform(images)
    assert_same_features(loaded.transform(images), expected, HOST)
    with config_context(array_api_dispatch=False):
        assert_same_features(loaded.transform(images), expected, HOST)
    for name, value in learned(layer).items():  # pickling moves nothing
        assert own_backend(value) == backend, name


@pytest.mark.usefixtures("dispatch")
@layers
@pytest.mark.parametrize(
    ("fitted", "given"),
    [("torch", "host"), ("host", "torch"), ("device1", "CPU_DEVICE")],
)
def test_data_elsewhere_is_an_error(layer, fitted, given, images, labels):
    fitted, given = (HOST if n == "host" else place_named(n) for n in (fitted, given))
    layer = clone(layer).fit(to_backend(images, fitted), labels)
    elsewhere = to_backend(images, given)
    for method in ("transform", "inverse_transform", "partial_fit"):
        if method == "transform" or hasattr(layer, method):
            with pytest.raises(ValueError, match="must use the same namespace"):
                getattr(layer, method)(elsewhere)
    assert own_backend(layer.transform(to_backend(images, fitted))) == fitted


@layers
def test_tensors_are_read_as_numpy_without_dispatch(layer, images, labels):
    tensor = to_backend(images, place_named("torch"))
    expected = clone(layer).fit(images, labels).transform(images)
    layer = clone(layer).fit(tensor, labels)
    assert_same_features(layer.transform(tensor), expected, HOST)
    for name, value in learned(layer).items():
        assert own_backend(value) == HOST, name


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_device_that_contradicts_the_tensor_is_an_error(method, images, labels):
    tensor = to_backend(images, place_named("torch"))
    layer = clone(CONV).set_params(device="cuda")
    with pytest.raises(ValueError, match="device='cuda' contradicts X"):
        getattr(layer, method)(tensor, labels)
    features = layer.set_params(device="cpu").fit(tensor, labels).transform(tensor)
    assert own_backend(features) == own_backend(tensor)


# whole networks


@pytest.mark.usefixtures("dispatch")
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_network_on_tensors_gives_the_labels_of_numpy(dtype, images, labels):
    backend, images = place_named("torch"), images[..., 0].astype(dtype)
    theirs, dmn = to_backend(images, backend), make_dmn(2, kernel_size=2, n_filters=4)
    predicted = clone(dmn).fit(images, labels).predict(images)
    network = clone(dmn).fit(theirs, to_backend(labels, backend))
    assert_array_equal(to_numpy(network.predict(theirs)), predicted)
    score = network.score(theirs, to_backend(labels, backend))
    assert score == pytest.approx(np.mean(predicted == labels))
    assert own_backend(network[:-1].transform(theirs)) == backend


# NumPy in, computed on a GPU batch by batch, NumPy out


@pytest.fixture(params=["device1", "torch"])
def simulated_gpu(request, monkeypatch):
    backend = place_named(request.param)
    monkeypatch.setattr(array_api, "gpu", lambda: backend)
    monkeypatch.setattr(array_api, "AUTO_PRODUCTS", 0)
    monkeypatch.setattr("skdmn.data.sizes.BATCH_BYTES", 3000)
    return backend


@layers
@pytest.mark.parametrize(
    ("dtype", "device"), [("uint8", "auto"), ("float32", "cuda"), ("float64", "auto")]
)
def test_numpy_computed_on_a_gpu_stays_numpy(
    simulated_gpu, layer, dtype, device, images, labels
):
    images = images.astype(dtype)
    expected = clone(layer).set_params(device="cpu").fit(images, labels)
    layer = clone(layer).set_params(device=device).fit(images, labels)
    assert_learned_the_same(layer, expected, HOST)
    assert_same_features(layer.transform(images), expected.transform(images), HOST)
    view = images[::-1, :, ::-1]
    assert_same_features(layer.transform(view), expected.transform(view), HOST)


@learning
def test_partial_fit_of_numpy_on_a_gpu(simulated_gpu, layer, images, labels):
    expected = clone(layer).set_params(device="cpu")
    layer = clone(layer)
    for some in (slice(0, 7), slice(7, None)):
        expected.partial_fit(images[some], labels[some])
        layer.partial_fit(images[some], labels[some])
    assert_learned_the_same(layer, expected, HOST)
    inverse = getattr(layer, "inverse_transform", None)
    if inverse:
        back = inverse(layer.transform(images))
        assert_same_features(back, images.astype(np.float32), HOST)


def test_batches_do_go_to_the_gpu(simulated_gpu, monkeypatch, images):
    seen = []
    pool = MaxPool.__call__
    monkeypatch.setattr(
        MaxPool,
        "__call__",
        lambda self, batch: pool(self, seen.append(own_backend(batch)) or batch),
    )
    MaxPool2DTransformer().fit_transform(images)
    assert len(seen) > 1
    assert set(seen) == {simulated_gpu}


@pytest.mark.parametrize("dtype", ["bool", "uint16", "float16", "longdouble"])
def test_a_gpu_takes_every_dtype_that_the_host_takes(
    simulated_gpu, dtype, images, labels
):
    if dtype == "float16" and simulated_gpu.xp is array_api_strict:
        pytest.skip("array_api_strict has no float16, GPUs have")
    images = images.astype(dtype)
    expected = clone(CONV).set_params(device="cpu").fit(images, labels)
    layer = clone(CONV).fit(images, labels)
    assert_same_features(layer.transform(images), expected.transform(images), HOST)


@layers
def test_what_a_gpu_fitted_loads_where_there_is_none(
    simulated_gpu, monkeypatch, layer, images, labels
):
    layer = clone(layer).fit(images, labels)
    expected = layer.transform(images)
    data = pickle.dumps(layer)
    monkeypatch.setattr(array_api, "gpu", lambda: None)
    assert_same_features(pickle.loads(data).transform(images), expected, HOST)


def test_a_gpu_that_is_not_there_is_an_error(monkeypatch, images, labels):
    monkeypatch.setattr(array_api, "gpu", lambda: None)
    layer = clone(CONV).set_params(device="cuda")
    with pytest.raises(RuntimeError, match="no usable GPU"):
        layer.fit(images, labels)
    assert not learned(layer)
    assert learned(layer.set_params(device="auto").fit(images, labels))
