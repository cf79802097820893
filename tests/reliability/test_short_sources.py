"""Arrays that return other shapes than they say, or are resized while they are read.

Every use of such a source is an error, before the kernels read images that are not
there, and without a result that is wrong.
"""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skdmn import (
    ChannelStandardScaler,
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    MaxPool2DTransformer,
    SoftmaxClassifier,
    WhitenedPCAPatchTransformer,
)
from skdmn.data.files import Batches

N = 60
IMAGES = np.random.default_rng(0).integers(0, 255, (N, 6, 6), dtype=np.uint8)
LABELS = np.arange(N) % 3


class Source:
    """Images of which a function changes every slice."""

    def __init__(self, change, images=IMAGES):
        self.change, self.images = change, images
        self.shape, self.dtype = images.shape, images.dtype

    def __getitem__(self, some):
        return self.change(self.images[some])


LIES = {
    "short": lambda piece: piece[:-1],
    "empty": lambda piece: piece[:0],
    "one": lambda piece: piece[:1],
    "long": lambda piece: np.concatenate([piece, piece[:1]]),
    "low": lambda piece: piece[:, :-1],
    "line": lambda piece: piece[:, :1],
    "turned": lambda piece: piece.reshape(len(piece), 4, 9),
    "flat": lambda piece: piece.reshape(len(piece), -1),
    "channels": lambda piece: piece[..., np.newaxis],
    "list": lambda piece: piece[:-1].tolist(),
    "scalar": lambda piece: piece.sum(),
}
ESTIMATORS = {
    "class_pca": ClassPCAPatchTransformer(2),
    "subsample": ClassPCAPatchTransformer(2, subsample=0.5, random_state=0),
    "whitened": WhitenedPCAPatchTransformer(3, n_filters=4),
    "scaler": ChannelStandardScaler(),
    "network": DensityMatrixNetwork(
        [("conv", ClassPCAPatchTransformer(2)), ("pool", MaxPool2DTransformer())],
        batch_size=16,
    ),
    "softmax": SoftmaxClassifier(tol=1.0),
}


def fresh(name):
    from sklearn.base import clone

    return clone(ESTIMATORS[name])


def refused(function, *arguments, match=r"instead of \("):
    with pytest.raises(ValueError, match=match):
        function(*arguments)


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_fit_is_refused_and_leaves_the_estimator_unfitted(name, lie):
    model = fresh(name)
    before = dict(vars(model))
    refused(model.fit, Source(LIES[lie]), LABELS)
    assert vars(model) == before


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("name", ["class_pca", "whitened", "network", "softmax"])
def test_computing_with_a_fitted_estimator_is_refused(name, lie):
    model = fresh(name).fit(IMAGES, LABELS)
    source = Source(LIES[lie])
    for method in ("transform", "predict", "predict_proba"):
        if hasattr(model, method):
            refused(getattr(model, method), source)
    if hasattr(model, "partial_fit"):
        before = dict(vars(model))
        refused(model.partial_fit, source, LABELS)
        assert vars(model) == before


@pytest.mark.parametrize("lie", LIES)
def test_lazy_features_are_not_written(lie, tmp_path):
    network = fresh("network").fit(IMAGES, LABELS)
    target = tmp_path / "features.npy"
    refused(network.lazy_features(Source(LIES[lie])).write, target)
    assert not target.exists()
    refused(fresh("softmax").fit, network.lazy_features(Source(LIES[lie])), LABELS)


def test_features_that_come_short_later_are_not_called_done(tmp_path):
    """The first batches and the images that identify the features are right."""
    network = fresh("network").fit(IMAGES, LABELS)
    target = tmp_path / "features.npy"
    n_slices = 0

    def cut_after_a_while(piece):
        nonlocal n_slices
        n_slices += 1
        return piece if n_slices < 11 else piece[:1]

    refused(network.lazy_features(Source(cut_after_a_while)).write, target)
    assert n_slices >= 11
    assert not target.exists()
    assert_array_equal(
        network.lazy_features(Source(lambda piece: piece)).write(target),
        network.transform(IMAGES),
    )


@pytest.mark.parametrize("part", ["short", "one", "low", "list"])
def test_batches_check_their_parts(part):
    batches = Batches([IMAGES, Source(LIES[part])])
    assert batches.shape == (2 * N, 6, 6)
    assert_array_equal(batches[:N], IMAGES)
    refused(batches.__getitem__, slice(N - 1, N + 9), match=r"parts\[1\]\.shape was")
    refused(fresh("class_pca").fit, batches, np.tile(LABELS, 2))


def test_values_that_do_not_fit_the_dtype_are_refused():
    source = Source(lambda piece: piece / 255)
    refused(fresh("class_pca").fit, source, LABELS, match=r"X\.dtype is uint8, but")
    refused(
        fresh("class_pca").fit,
        Source(lambda piece: piece.astype(np.int64) - 9),
        LABELS,
        match=r"X\.dtype is uint8, but",
    )


def test_lists_and_other_integers_with_the_right_values_are_read():
    expected = fresh("class_pca").fit(IMAGES, LABELS).filters_
    for change in (np.ndarray.tolist, lambda piece: piece.astype(np.int64)):
        found = fresh("class_pca").fit(Source(change), LABELS)
        assert_array_equal(found.filters_, expected)


# files that are resized while they are read


class Resized:
    """A dataset of HDF5 or Zarr that is resized after its first slice was read."""

    def __init__(self, dataset, n):
        self.dataset, self.n, self.n_slices = dataset, n, 0
        self.dtype = dataset.dtype

    @property
    def shape(self):
        return self.dataset.shape

    def __getitem__(self, some):
        self.n_slices += 1
        if self.n_slices == 2:
            self.dataset.resize((self.n, *self.dataset.shape[1:]))
        return self.dataset[some]


def hdf5(folder):
    h5py = pytest.importorskip("h5py")
    file = h5py.File(folder / "images.h5", "w")
    return file.create_dataset("X", data=IMAGES, maxshape=(None, 6, 6), chunks=True)


def zarr(folder):
    array = pytest.importorskip("zarr").open_array(
        str(folder / "images.zarr"),
        mode="w",
        shape=IMAGES.shape,
        dtype=IMAGES.dtype,
        chunks=(10, 6, 6),
    )
    array[:] = IMAGES
    return array


@pytest.mark.parametrize("kind", [hdf5, zarr])
@pytest.mark.parametrize("name", ["network", "whitened", "softmax"])
def test_a_file_that_shrinks_during_a_fit_is_refused(kind, name, tmp_path, monkeypatch):
    monkeypatch.setattr("skdmn.data.sizes.BATCH_BYTES", 36 * 4 * 16)
    model = fresh(name)
    source = Resized(kind(tmp_path), 30)
    refused(model.fit, source, LABELS)
    assert source.n_slices >= 2
    assert not hasattr(model, "n_features_in_")


@pytest.mark.parametrize("kind", [hdf5, zarr])
@pytest.mark.parametrize("name", ["network", "whitened", "softmax"])
def test_images_that_are_added_during_a_fit_are_not_seen(
    kind, name, tmp_path, monkeypatch
):
    monkeypatch.setattr("skdmn.data.sizes.BATCH_BYTES", 36 * 4 * 16)
    source = Resized(kind(tmp_path), 2 * N)
    model = fresh(name).fit(source, LABELS)
    assert source.shape[0] == 2 * N
    method = "predict_proba" if name == "softmax" else "transform"
    expected = getattr(fresh(name).fit(IMAGES, LABELS), method)(IMAGES)
    found = getattr(model, method)(IMAGES)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


# Dask


@pytest.fixture
def dask_array():
    return pytest.importorskip("dask.array")


def blocks(da, lie):
    """Return images in blocks of 20, of which the second one is changed."""

    def change(block, block_id=None):
        return LIES[lie](block) if block_id[0] == 1 else block

    X = da.from_array(IMAGES, chunks=(20, -1, -1))
    return X.map_blocks(change, dtype=X.dtype, meta=X._meta, chunks=X.chunks)


@pytest.mark.parametrize("lie", ["short", "one", "long", "low", "line", "channels"])
@pytest.mark.parametrize("name", ["class_pca", "whitened", "softmax"])
def test_blocks_of_another_shape_are_refused(dask_array, name, lie):
    from skdmn import distributed

    X = blocks(dask_array, lie)
    model = fresh(name)
    before = dict(vars(model))
    words = r"instead of|chunk size"
    refused(distributed.fit, model, X, LABELS, match=words)
    assert vars(model) == before
    model.fit(IMAGES, LABELS)
    function = distributed.predict if name == "softmax" else distributed.transform
    refused(function(model, X).compute, match=words)
