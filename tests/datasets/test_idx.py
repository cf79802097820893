"""Files of MNIST and Fashion-MNIST, and the digits."""

import gzip

import numpy as np
import pytest
from data_files import (
    TRAIN_IMAGES,
    TRAIN_LABELS,
    assert_loaded,
    fails,
    idx,
    mnist_files,
    write,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from sklearn import config_context

from skdmn.datasets import (
    load_digits_images,
    load_fashion_mnist,
    load_mnist,
)
from skdmn.datasets.files import parse_idx


def test_digits():
    X, y = load_digits_images()
    assert (X.shape, X.dtype, X.max()) == ((1797, 8, 8), np.uint8, 16)
    assert y.dtype == np.int64
    data = load_digits_images(return_X_y=False)
    assert data.target_names == list("0123456789")
    np.testing.assert_array_equal(data.images, X)
    np.testing.assert_array_equal(data.target, y)
    assert "digits" in data.DESCR


@pytest.mark.parametrize("subset", ["train", "test", "all"])
@pytest.mark.parametrize("compress", [False, True])
def test_mnist_subsets(tmp_path, subset, compress):
    files, expected = mnist_files()
    write(tmp_path, files, compress)
    assert_loaded(load_mnist(subset, data_home=tmp_path), *expected[subset])


def test_train_is_the_default_and_str_paths_do(tmp_path):
    files, expected = mnist_files()
    write(tmp_path, files)
    assert_loaded(load_mnist(data_home=str(tmp_path)), *expected["train"])


@pytest.mark.parametrize(
    ("load", "folder"),
    [
        (load_mnist, "mnist"),
        (load_mnist, "MNIST/raw"),
        (load_mnist, "raw"),
        (load_fashion_mnist, "fashion-mnist"),
        (load_fashion_mnist, "FashionMNIST/raw"),
    ],
)
def test_subfolders(tmp_path, load, folder):
    files, expected = mnist_files()
    write(tmp_path / folder, files)
    assert_loaded(load(data_home=tmp_path), *expected["train"])


def test_own_subfolder_comes_first(tmp_path):
    write(tmp_path, mnist_files(n_train=9)[0])
    files, expected = mnist_files()
    write(tmp_path / "fashion-mnist", files)
    assert_loaded(load_fashion_mnist(data_home=tmp_path), *expected["train"])
    assert len(load_mnist(data_home=tmp_path)[0]) == 9


@pytest.mark.parametrize("compress", [False, True])
def test_other_spelling_and_size(tmp_path, compress):
    files, expected = mnist_files(size=(5, 7))
    files = {name.replace("-idx", ".idx"): files[name] for name in files}
    write(tmp_path, files, compress)
    assert_loaded(load_mnist("all", data_home=tmp_path), *expected["all"])


def test_home_is_expanded(tmp_path, monkeypatch):
    files, expected = mnist_files()
    write(tmp_path / "data", files)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert_loaded(load_mnist(data_home="~/data"), *expected["train"])


def test_idx_bunch(tmp_path):
    files, (X, y) = mnist_files()[0], mnist_files()[1]["train"]
    write(tmp_path, files)
    data = load_mnist(data_home=tmp_path, return_X_y=False)
    assert_loaded((data.images, data.target), X, y)
    assert data.target_names == list("0123456789")
    assert "MNIST" in data.DESCR
    clothes = load_fashion_mnist(data_home=tmp_path, return_X_y=False).target_names
    assert (len(clothes), clothes[0], clothes[9]) == (10, "T-shirt/top", "Ankle boot")


@given(
    st.integers(1, 4).flatmap(
        lambda n: arrays(np.uint8, array_shapes(min_dims=n, max_dims=n, max_side=6))
    )
)
def test_idx_round_trip(array):
    parsed = parse_idx("file", bytearray(idx(array)), array.ndim)
    assert parsed.dtype == np.uint8
    np.testing.assert_array_equal(parsed, array)


@pytest.mark.parametrize(
    ("name", "content", "found", "expected"),
    [
        (TRAIN_IMAGES, b"", "begins with nothing", "00 00 08 03"),
        (TRAIN_IMAGES, b"\x89PNG....", "begins with 89 50 4e 47", "00 00 08 03"),
        (TRAIN_LABELS, b"\0\0\x0d\1" + bytes(9), "00 00 0d 01", "00 00 08 01"),
        (TRAIN_IMAGES, idx(np.arange(6)), "dimensions is 1", "not 3"),
        (TRAIN_LABELS, mnist_files()[0][TRAIN_IMAGES], "dimensions is 3", "not 1"),
        (TRAIN_IMAGES, b"\0\0\x08", "dimensions is missing", "not 3"),
        (TRAIN_IMAGES, b"\0\0\x08\3\0\0", "has 6 bytes", "a header of 16 bytes"),
        (TRAIN_IMAGES, b"\0\0\x08\3" + b"\xff" * 12 + b"x", "has 1 bytes", "42949672"),
        (TRAIN_IMAGES, idx(np.ones((6, 5, 4)))[:-1], "119", "6 x 5 x 4 = 120"),
        (TRAIN_IMAGES, idx(np.ones((6, 5, 4))) + b"x", "121", "6 x 5 x 4 = 120"),
        (TRAIN_IMAGES, idx(np.ones((0, 5, 4))), "has 0 bytes", "but not 0"),
        (TRAIN_LABELS, idx(np.arange(5)), "has 5 labels", "expected 6"),
        (TRAIN_LABELS, idx(np.arange(5, 11)), "the label 10", "expected 0 to 9"),
    ],
)
def test_wrong_idx_files(tmp_path, name, content, found, expected):
    path = write(tmp_path, mnist_files()[0] | {name: content}) / name
    fails(ValueError, str(path), found, expected, load=load_mnist, data_home=tmp_path)


def test_different_sizes_do_not_join(tmp_path):
    other = idx(np.ones((3, 5, 7)))
    write(tmp_path, mnist_files()[0] | {"t10k-images-idx3-ubyte": other})
    parts = ("t10k-images-idx3-ubyte", "(5, 7)", "expected (28, 28)", TRAIN_IMAGES)
    fails(ValueError, *parts, load=load_mnist, subset="all", data_home=tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-3],
        lambda content: content[:20] + b"\xff" * 20 + content[40:],
        lambda content: content[:-8] + bytes(8),
        gzip.decompress,
    ],
    ids=["half", "end", "middle", "checksum", "plain"],
)
def test_damaged_gzip(tmp_path, damage):
    path = write(tmp_path, mnist_files()[0], compress=True) / f"{TRAIN_IMAGES}.gz"
    path.write_bytes(damage(path.read_bytes()))
    parts = (str(path), "damaged, truncated or of another format", "a whole gzip file")
    fails(ValueError, *parts, load=load_mnist, data_home=tmp_path)


def test_file_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr("skdmn.datasets.reading.LARGEST_FILE", 1000)
    write(tmp_path, mnist_files()[0], compress=True)
    parts = (str(tmp_path), "more than the 0 MiB that a call may take")
    with config_context(working_memory=0):
        fails(ValueError, *parts, load=load_mnist, data_home=tmp_path)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("outer", ["-idx", ".idx"])
@pytest.mark.parametrize("inner", ["-idx", ".idx"])
def test_files_may_be_in_folders_of_their_names(tmp_path, compress, outer, inner):
    files, expected = mnist_files()
    for name, content in files.items():
        folder = tmp_path / "mnist" / name.replace("-idx", outer)
        write(folder, {name.replace("-idx", inner): content}, compress)
    for home in (tmp_path, tmp_path / "mnist"):
        assert_loaded(load_mnist("all", data_home=home), *expected["all"])


def test_a_file_comes_before_one_in_a_folder_of_its_name(tmp_path):
    files, expected = mnist_files()
    write(tmp_path, {name.replace("-idx", ".idx"): files[name] for name in files})
    for name in files:
        write(tmp_path / name, {name: b""})
    assert_loaded(load_mnist("all", data_home=tmp_path), *expected["all"])


def test_files_of_other_folders_are_not_guessed(tmp_path):
    write(tmp_path / "letters", mnist_files()[0])
    parts = (f"has no {TRAIN_IMAGES}", f"{tmp_path} contains letters/.")
    fails(FileNotFoundError, *parts, load=load_mnist, data_home=tmp_path)


def test_the_message_about_missing_files_lists_what_is_there(tmp_path):
    fails(FileNotFoundError, "contains nothing.", load=load_mnist, data_home=tmp_path)
    write(tmp_path, {f"mnist_{i:02}.csv": b"" for i in range(11)})
    parts = ("contains mnist_00.csv, mnist_01.csv,", "mnist_07.csv and 3 more.")
    fails(FileNotFoundError, *parts, load=load_mnist, data_home=tmp_path)


def test_missing_idx_file(tmp_path):
    write(tmp_path, {TRAIN_IMAGES: b""})
    parts = (f"{tmp_path} has no {TRAIN_LABELS}; expected", "plain or .gz")
    fails(FileNotFoundError, *parts, load=load_mnist, data_home=tmp_path)
    parts = ("has no t10k-images-idx3-ubyte and no t10k-labels-idx1-ubyte",)
    fails(FileNotFoundError, *parts, load=load_mnist, subset="test", data_home=tmp_path)


def test_mnist_needs_a_folder(tmp_path):
    path = write(tmp_path, {"train.zip": b"PK"}) / "train.zip"
    fails(ValueError, "must be the folder", str(path), load=load_mnist, data_home=path)
