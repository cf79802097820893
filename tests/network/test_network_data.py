"""DensityMatrixNetwork on images in files, its lazy features, and its memory."""

import math
import re
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from stacks import STACKS, conv, images_and_labels, named, network

from skdmn import (
    ChannelStandardScaler,
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    MaxPool2DTransformer,
    OverlapPruner,
)


class OnlySlices:
    """An array that gives slices of its first axis, counts them, and no more."""

    def __init__(self, data):
        self.data = data
        self.shape, self.dtype = data.shape, data.dtype
        self.lengths = []

    def __len__(self):
        return len(self.data)

    def __getitem__(self, some):
        assert isinstance(some, slice)
        assert some.step in (None, 1)
        part = self.data[some]
        self.lengths.append(len(part))
        return part

    def __array__(self, *args, **kwargs):
        raise AssertionError("read as a whole")


# images in files


@pytest.mark.parametrize("name", ["two layers", "scale first", "pool first", "flatten"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", ">f8"])
@pytest.mark.parametrize("shape", [(8, 7, 3), (8, 7)])
def test_what_can_only_be_sliced_is_read_by_batches(name, dtype, shape):
    X, y = images_and_labels(shape=(8, 7, 3))
    X = (X if len(shape) == 3 else X[..., 0]).astype(dtype)
    if len(shape) == 2 and name != "flatten":
        name = "conv pool"
    sliced = OnlySlices(X)
    net = network(name, batch_size=7).fit(sliced, y)
    features = net.transform(sliced)
    assert max(sliced.lengths) <= 7
    expected = network(name, batch_size=7).fit(X, y).transform(X)
    assert_array_equal(features, expected)
    assert features.dtype == expected.dtype


@pytest.mark.parametrize("name", STACKS)
def test_layers_on_their_own_read_slices_too(name):
    X, y = images_and_labels()
    layer, sliced = clone(STACKS[name][0]), OnlySlices(X)
    expected = clone(layer).fit(X, y).transform(X)
    assert_array_equal(layer.fit(sliced, y).transform(sliced), expected)


def test_rows_that_can_only_be_sliced():
    X, y = images_and_labels()
    net = network(batch_size=10).set_params(layer0__image_shape=(8, 7, 3))
    rows = X.reshape(30, -1)
    sliced = OnlySlices(rows)
    assert_array_equal(net.fit(sliced, y).transform(sliced), net.transform(rows))
    assert max(sliced.lengths) == 10


def test_a_subsample_is_picked_out_of_slices(monkeypatch):
    X, y = images_and_labels(300)
    monkeypatch.setattr("skdmn.data.sliced.PIECE_BYTES", 20 * X[0].nbytes)
    layers = named([conv(subsample=0.1, random_state=0)])
    sliced = OnlySlices(X)
    net = DensityMatrixNetwork(layers, batch_size=16).fit(sliced, y)
    assert max(sliced.lengths) <= 20
    assert sum(sliced.lengths) < 300
    expected = DensityMatrixNetwork(layers, batch_size=16).fit(X, y)
    assert_array_equal(net[0].filters_, expected[0].filters_)


def test_memory_maps(tmp_path):
    X, y = images_and_labels()
    np.save(tmp_path / "images.npy", X)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    net = network(batch_size=8).fit(mapped, y)
    assert_array_equal(
        net.transform(mapped), network(batch_size=8).fit(X, y).transform(X)
    )
    whole = network("flatten").fit(mapped.astype(float)).transform(mapped)
    assert not np.may_share_memory(whole, mapped)


def test_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py", reason="HDF5 datasets are under test")
    X, y = images_and_labels()
    with h5py.File(tmp_path / "images.h5", "w") as file:
        dataset = file.create_dataset("images", data=X)
        net = network(batch_size=8).fit(dataset, y)
        features = net.transform(dataset)
        lazy = net.lazy_features(dataset)[[20, 3]]
    assert_array_equal(features, net.transform(X))
    assert_allclose(lazy, features[[20, 3]], rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_in_slices_is_found_and_nothing_changes(bad):
    X, y = images_and_labels(dtype=np.float32)
    net = network(batch_size=7).fit(X, y)
    before = net.transform(X)
    worse = X.copy()
    worse[20, 1, 1, 1] = bad
    message = "Input X contains (NaN|infinity)"
    for data in (worse, OnlySlices(worse)):
        with pytest.raises(ValueError, match=message):
            net.fit(data, y)
        with pytest.raises(ValueError, match=message):
            net.transform(data)
    assert_array_equal(net.transform(X), before)


def test_slices_of_another_shape_are_refused():
    X, y = images_and_labels()
    net = network().fit(OnlySlices(X), y)
    with pytest.raises(ValueError, match="DensityMatrixNetwork was fitted on images"):
        net.transform(OnlySlices(X[:, 1:]))
    with pytest.raises(ValueError, match="at least one pixel"):
        net.transform(OnlySlices(X[:0]))


# lazy features


@pytest.fixture
def fitted():
    X, y = images_and_labels()
    net = network(batch_size=8).fit(X, y)
    return net, X


def test_lazy_features_are_those_of_transform(fitted):
    net, X = fitted
    lazy, features = net.lazy_features(X), net.transform(X)
    assert lazy.is_lazy
    assert lazy.shape == features.shape
    assert lazy.dtype == features.dtype
    assert lazy.ndim == 2
    assert len(lazy) == 30
    assert_array_equal(np.asarray(lazy), features)
    assert np.asarray(lazy, dtype=np.float64).dtype == np.float64
    assert [len(batch) for batch in lazy] == [8, 8, 8, 6]
    assert_array_equal(np.concatenate(list(lazy)), features)


@pytest.mark.parametrize(
    "index",
    [
        slice(None),
        slice(3, 20),
        slice(-4, None),
        slice(20, 3, -5),
        slice(5, 5),
        0,
        -1,
        np.int64(7),
        [3, 1, 1, 29],
        np.array([], dtype=int),
        np.arange(30) % 4 == 0,
    ],
    ids=str,
)
def test_lazy_features_are_indexed_like_rows_of_an_array(fitted, index):
    net, X = fitted
    expected = net.transform(X)[index]
    for data in (X, OnlySlices(X)):
        found = net.lazy_features(data)[index]
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        assert_allclose(found, expected, rtol=1e-5, atol=1e-3)


def test_only_rows_asked_for_are_computed(fitted):
    net, X = fitted
    sliced = OnlySlices(X)
    lazy = net.lazy_features(sliced)
    assert sliced.lengths == []
    lazy[4:6]
    assert sliced.lengths == [2]


def test_what_is_no_index_of_rows_is_refused(fitted):
    net, X = fitted
    lazy = net.lazy_features(X)
    for index in ((slice(3), 0), [[1, 2]], 30):
        with pytest.raises(IndexError):
            lazy[index]
    with pytest.raises(ValueError, match="copy=False"):
        np.asarray(lazy, copy=False)


def test_lazy_features_keep_the_network_as_it_was(fitted):
    net, X = fitted
    lazy, features = net.lazy_features(X), net.transform(X)
    net.set_params(layer0__activation=None)
    assert_array_equal(lazy[:], features)
    scaled = network("scale first").fit(X, np.arange(30) % 3)
    lazy_scaled, expected = scaled.lazy_features(X), scaled.transform(X)
    scaled.set_params(layer0__with_mean=False)
    assert_array_equal(lazy_scaled[:], expected)
    assert not np.array_equal(net.transform(X), features)
    with pytest.raises(NotFittedError):
        clone(net).lazy_features(X)


# memory


def peak_beyond(result_bytes, call):
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1] - result_bytes
    finally:
        tracemalloc.stop()


def cifar_like(n):
    """Return a network of 22 and 305 filters, fitted, and images of CIFAR's size."""
    X, y = images_and_labels(n, shape=(32, 32, 3))
    layers = [
        ClassPCAPatchTransformer(3, n_filters=22, variance_cutoff=1.0, subsample=60),
        MaxPool2DTransformer(2),
        ClassPCAPatchTransformer(
            3, n_filters=305, variance_cutoff=1.0, correlation_cutoff=1.0, subsample=60
        ),
        MaxPool2DTransformer(2),
    ]
    return DensityMatrixNetwork(named(layers)).fit(X, y), X


def test_memory_stays_below_what_is_promised():
    net, X = cifar_like(3000)
    assert net.output_shape_ == (6, 6, 305)
    features = 4 * len(X) * 6 * 6 * 305
    assert features > 100 * 2**20
    assert peak_beyond(features, lambda: net.transform(X)) < 256 * 2**20


STREAM_BYTES = 2**22


@pytest.fixture
def scaled_down(monkeypatch):
    """Make the budget so small that few images need many batches."""
    monkeypatch.setattr("skdmn.data.sizes.STREAM_BYTES", STREAM_BYTES)
    monkeypatch.setattr("skdmn.kernels.geometry.TILE_VALUES", 2**14)


def large_image_network(**params):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 255, (3, 450, 450, 3), dtype=np.uint8)
    layers = named([conv(3, n_filters=8, subsample=2), MaxPool2DTransformer(2)])
    return DensityMatrixNetwork(layers, **params), X, np.arange(3) % 2


@pytest.mark.usefixtures("scaled_down")
def test_an_image_too_large_for_the_promise_is_told():
    net, X, y = large_image_network()
    message = r"needs up to (\d+) MB for one image of 450 x 450 pixels and 3 channels"
    with pytest.warns(UserWarning, match=message) as of_fit:
        net.fit(X, y)
    with pytest.warns(UserWarning, match=message) as of_transform:
        features = net.transform(X)
    assert len(of_fit) == len(of_transform) == 1
    told = int(re.search(message, str(of_transform[0].message))[1]) * 10**6
    with pytest.warns(UserWarning, match="for one image"):
        needed = peak_beyond(features.nbytes, lambda: net.transform(X))
    assert told > 2 * STREAM_BYTES
    assert needed < told


@pytest.mark.usefixtures("scaled_down")
@pytest.mark.filterwarnings("error")
def test_who_asks_for_single_images_is_not_told():
    net, X, y = large_image_network(batch_size=1)
    net.fit(X, y).transform(X)


@pytest.mark.usefixtures("scaled_down")
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_memory_of_a_fit_is_that_of_batches(dtype):
    X, y = images_and_labels(600, shape=(20, 20, 4), dtype=dtype)
    layers = named([conv(3, n_filters=30), conv(subsample=0.3), OverlapPruner(1)])
    net = DensityMatrixNetwork(layers)
    assert peak_beyond(0, lambda: net.fit(X, y)) < 2 * STREAM_BYTES
    assert 600 * 4 * math.prod(net[0].output_shape_) > 4 * STREAM_BYTES


@pytest.mark.usefixtures("scaled_down")
def test_memory_of_layers_that_are_not_fused_is_that_of_batches():
    X, y = images_and_labels(600, shape=(16, 16, 8), dtype=np.float32)
    scale, pool = ChannelStandardScaler(), MaxPool2DTransformer(3, stride=1)
    same = MaxPool2DTransformer(3, stride=1, padding="same")
    layers = named([conv(n_filters=30), scale, pool, same, scale])
    net = DensityMatrixNetwork(layers)
    assert peak_beyond(0, lambda: net.fit(X, y)) < 2 * STREAM_BYTES
    features = 4 * len(X) * math.prod(net.output_shape_)
    assert features > 2 * STREAM_BYTES
    assert peak_beyond(features, lambda: net.transform(X)) < 2 * STREAM_BYTES


def test_a_batch_holds_at_least_one_image(fitted, monkeypatch):
    net, X = fitted
    monkeypatch.setattr("skdmn.data.sizes.STREAM_BYTES", 1)
    with pytest.warns(UserWarning, match="for one image"):
        lazy = net.set_params(batch_size="auto").lazy_features(X)
    assert [len(batch) for batch in lazy] == [1] * 30
