"""Images in pieces, batches from iterators, the memory budget."""

import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn import config_context
from stacks import images_and_labels, network

from skdmn import SoftmaxClassifier
from skdmn.data.files import Batches, save_batches

# several arrays as one


@given(
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=5).filter(any),
    start=st.none() | st.integers(-30, 30),
    stop=st.none() | st.integers(-30, 30),
)
def test_batches_are_sliced_as_one_array(lengths, start, stop):
    whole = np.arange(sum(lengths) * 6, dtype=np.int16).reshape(-1, 2, 3)
    parts = Batches(np.split(whole, np.cumsum(lengths)[:-1]))
    assert (parts.shape, parts.dtype) == (whole.shape, whole.dtype)
    assert_array_equal(parts[start:stop], whole[start:stop])
    assert parts[start:stop].dtype == whole.dtype
    assert_array_equal(np.asarray(parts), whole)
    assert_array_equal(parts[-1], whole[-1])


@pytest.fixture
def files(tmp_path):
    X, y = images_and_labels()
    paths = []
    for number, part in enumerate(np.split(X, [10, 11, 25])):
        paths.append(tmp_path / f"{number}.npy")
        np.save(paths[-1], part)
    return paths, X, y


def test_a_network_and_a_softmax_take_batches(files):
    paths, X, y = files
    parts = Batches(paths)
    net = network(batch_size=7).fit(parts, y)
    expected = network(batch_size=7).fit(X, y)
    assert_array_equal(net.transform(parts), expected.transform(X))
    ours = SoftmaxClassifier(tol=1e-9).fit(parts, y)
    assert_array_equal(ours.predict(parts), SoftmaxClassifier().fit(X, y).predict(X))
    assert_array_equal(pickle.loads(pickle.dumps(parts))[:], X)


def test_batches_may_be_of_several_kinds(files):
    paths, X, _ = files
    mapped = np.load(paths[1], mmap_mode="r")
    parts = Batches([Batches(paths[:1]), mapped, str(paths[2]), X[25:]])
    assert_array_equal(parts[5:28], X[5:28])


def test_files_that_change_are_an_error(files):
    paths, X, _ = files
    parts = Batches(paths)
    np.save(paths[2], X[:3])
    assert_array_equal(parts[:11], X[:11])
    with pytest.raises(ValueError, match=r"2.npy changed: it has shape \(3, 8, 7, 3\)"):
        parts[:12]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "parts is empty"),
        ("images.npy", "parts is a str; pass a list"),
        (iter([np.zeros((2, 3))]), "parts is a list_iterator; pass a list"),
        ([[1, 2], [3, 4]], "A list is not an array"),
        ([np.zeros((2, 3)), np.zeros((2, 4))], r"parts\[1\] has shape \(2, 4\)"),
        ([np.zeros((2, 3)), np.zeros((2, 3), int)], "and dtype int64, but"),
    ],
)
def test_what_makes_no_batches_is_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        Batches(parts)


@pytest.mark.parametrize("index", [slice(0, 4, 2), [1, 2], 30, (), (slice(0, 4, 2), 1)])
def test_what_is_no_run_of_entries_is_refused(index):
    with pytest.raises(IndexError):
        Batches([np.zeros((5, 3))])[index]


def test_batches_are_cut_along_other_axes_too():
    X, _ = images_and_labels()
    batches = Batches([X[:11], X[11:]])
    assert_array_equal(batches[9:13, :, 2], X[9:13, :, 2])
    assert_array_equal(batches[12, ::2], X[12, ::2])
    da = pytest.importorskip("dask.array", reason="Dask reads them so")
    blocks = da.from_array(batches, chunks=(7, -1, -1, -1))
    assert_array_equal(blocks.compute(scheduler="sync"), X)


# batches from iterators


def test_what_an_iterator_gives_is_saved(tmp_path):
    X, y = images_and_labels()
    pairs = ((X[i : i + 7], y[i : i + 7].tolist()) for i in range(0, 30, 7))
    images, labels = save_batches(pairs, tmp_path / "images.npy")
    assert_array_equal(images, X)
    assert_array_equal(labels, y)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert (mapped.dtype, mapped.shape) == (X.dtype, X.shape)
    images, labels = save_batches([X[:0], X[::2]], str(tmp_path / "others.npy"))
    assert_array_equal(images, X[::2])
    assert labels is None


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "batches is empty"),
        ([np.zeros((0, 3))], "batches is empty"),
        ([np.zeros((2, 3)), np.zeros((2, 4))], r"Batch 1 has shape \(2, 4\)"),
        ([np.zeros((2, 3)), np.zeros((2, 3), int)], "Batch 1 has .* dtype int64"),
        ([np.zeros(3)], r"Batch 0 has shape \(3,\)"),
        ([np.array([[{}]])], "Batch 0 has .* dtype object"),
        ([(np.zeros((2, 3)), [1])], "Batch 0 has 2 images and 1 labels"),
        ([[np.ones((8, 3))] * 2], r"Batch 0 has 8 images and \(8, 3\) labels"),
        ([(np.ones((1, 3)), [1]), np.ones((3, 3))], "Batch 1 has 3 .* no labels"),
        ([np.ones((3, 3)), (np.ones((1, 3)), [1])], "Batch 1 has 1 .* 1 labels"),
    ],
)
def test_batches_that_are_not_alike_are_refused(tmp_path, batches, message):
    with pytest.raises(ValueError, match=message):
        save_batches(iter(batches), tmp_path / "images.npy")
    assert not list(tmp_path.iterdir())


def test_a_file_is_replaced_only_where_asked_and_at_last(tmp_path):
    path, X = tmp_path / "images.npy", np.ones((4, 3))
    save_batches([X], path)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save_batches([2 * X], path)
    with pytest.raises(ZeroDivisionError):
        save_batches((X / 0 if i else 1 // i for i in range(3)), path, overwrite=True)
    assert_array_equal(np.load(path), X)
    save_batches([2 * X], path, overwrite=True)
    assert_array_equal(np.load(path), 2 * X)
    with pytest.raises(ValueError, match=r"must end in \.npy"):
        save_batches([X], tmp_path / "images")


# the memory budget


def test_working_memory_limits_batches_and_never_widens_them():
    X, y = images_and_labels(2000)
    net = network().fit(X, y)

    def size(working_memory):
        with config_context(working_memory=working_memory):
            return len(next(iter(net.lazy_features(X))))

    whole = size(1024)
    net.set_params(batch_size=100)
    assert size(1) == 100
    net.set_params(batch_size="auto")
    assert whole == size(100_000) == 2000
    assert 1 < size(1) < size(2) < whole
    with pytest.warns(UserWarning, match="for one image"):
        assert size(1e-6) == 1


def test_working_memory_is_kept():
    X, y = images_and_labels(4000, shape=(20, 20, 4))
    net = network("conv scale pool").fit(X, y)
    features = 4 * len(X) * net.get_feature_names_out().size

    def peak():
        tracemalloc.start()
        net.transform(X)
        try:
            return tracemalloc.get_traced_memory()[1] - features
        finally:
            tracemalloc.stop()

    assert peak() > 16 * 2**20
    with config_context(working_memory=16):
        assert peak() < 16 * 2**20


def test_a_copy_of_batches_is_a_copy():
    images = np.zeros((3, 8, 8))
    np.array(Batches([images]))[:] = 1
    assert not images.any()
