"""Every file is written here, in the official formats; nothing is downloaded."""

import gzip
import io
import pickle
import struct
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from skdmn import datasets
from skdmn.datasets import (
    load_cifar10,
    load_cifar100,
    load_digits_images,
    load_fashion_mnist,
    load_mnist,
)
from skdmn.datasets.files import parse_idx

LOADERS = [load_mnist, load_fashion_mnist, load_cifar10, load_cifar100]
TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
BATCHES = [f"data_batch_{i}.bin" for i in range(1, 6)]


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def mnist_files(n_train=6, n_test=3, size=(28, 28)):
    """Return the files of a small MNIST by name, and its arrays."""
    rng = np.random.default_rng(0)
    files, arrays_ = {}, {}
    for subset, prefix, n in [("train", "train", n_train), ("test", "t10k", n_test)]:
        X, y = rng.integers(0, 256, (n, *size)), np.arange(n)[::-1] % 10
        files[f"{prefix}-images-idx3-ubyte"] = idx(X)
        files[f"{prefix}-labels-idx1-ubyte"] = idx(y)
        arrays_[subset] = X, y
    arrays_["all"] = tuple(map(np.concatenate, zip(*arrays_.values(), strict=True)))
    return files, arrays_


def record(*labels, seed=0):
    """Return a CIFAR record and its image, channels last."""
    image = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    planes = b"".join(image[..., channel].tobytes() for channel in range(3))
    return bytes(labels) + planes, image


def cifar10_files(n=2):
    files = {}
    for batch, name in enumerate([*BATCHES, "test_batch.bin"]):
        records = [record(batch + i, seed=n * batch + i)[0] for i in range(n)]
        files[name] = b"".join(records)
    return files


def cifar100_files():
    return {
        "train.bin": record(4, 72, seed=0)[0] + record(19, 99, seed=1)[0],
        "test.bin": record(0, 0, seed=2)[0],
    }


def write(folder, files, compress=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / (name + ".gz" * compress)
        path.write_bytes(gzip.compress(content) if compress else content)
    return folder


def write_archive(path, files, folder):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def assert_loaded(result, X, y):
    images, labels = result
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert images.flags.c_contiguous
    assert images.flags.writeable
    np.testing.assert_array_equal(images, X)
    np.testing.assert_array_equal(labels, y)


def fails(error, *parts, load, **arguments):
    """Check that loading fails in one sentence that has these parts."""
    with pytest.raises(error) as caught:
        load(**arguments)
    message = str(caught.value)
    for part in parts:
        assert part in message
    assert message.endswith(".")
    assert ". " not in message
    assert "\n" not in message


# ---- digits


def test_digits():
    X, y = load_digits_images()
    assert (X.shape, X.dtype, X.max()) == ((1797, 8, 8), np.uint8, 16)
    assert y.dtype == np.int64
    data = load_digits_images(return_X_y=False)
    assert data.target_names == list("0123456789")
    np.testing.assert_array_equal(data.images, X)
    np.testing.assert_array_equal(data.target, y)
    assert "digits" in data.DESCR


# ---- IDX


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
    monkeypatch.setattr("skdmn.datasets.files.LARGEST_FILE", 1000)
    write(tmp_path, mnist_files()[0], compress=True)
    parts = (TRAIN_IMAGES, "more than 1,000 bytes")
    fails(ValueError, *parts, load=load_mnist, data_home=tmp_path)


def test_missing_idx_file(tmp_path):
    write(tmp_path, {TRAIN_IMAGES: b""})
    parts = (f"{tmp_path} has no {TRAIN_LABELS}; expected", "plain or .gz")
    fails(FileNotFoundError, *parts, load=load_mnist, data_home=tmp_path)
    parts = ("has no t10k-images-idx3-ubyte and no t10k-labels-idx1-ubyte",)
    fails(FileNotFoundError, *parts, load=load_mnist, subset="test", data_home=tmp_path)


def test_mnist_needs_a_folder(tmp_path):
    path = write(tmp_path, {"train.zip": b"PK"}) / "train.zip"
    fails(ValueError, "must be the folder", str(path), load=load_mnist, data_home=path)


# ---- CIFAR


def lay_out(home, layout, files, unpacked, archive, own):
    """Write the files in one of the ways a user may have them; return data_home."""
    if layout == "archive path":
        return write_archive(home / "other.tgz", files, unpacked)
    base = home / own if layout.startswith("own") else home
    if "archive" in layout:
        write_archive(base / archive, files, unpacked)
    elif "unpacked" in layout:
        write(base / unpacked, files)
    else:
        write(base, files, compress="gz" in layout)
    return home


LAYOUTS = ["plain", "gz", "unpacked", "archive", "archive path"]
LAYOUTS += ["own", "own unpacked", "own archive"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_cifar10(tmp_path, layout):
    names = ("cifar-10-batches-bin", "cifar-10-binary.tar.gz", "cifar10")
    home = lay_out(tmp_path, layout, cifar10_files(), *names)
    X = np.stack([record(seed=i)[1] for i in range(12)])
    y = np.array([0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6])
    assert_loaded(load_cifar10(data_home=home), X[:10], y[:10])
    assert_loaded(load_cifar10("test", data_home=home), X[10:], y[10:])
    assert_loaded(load_cifar10("all", data_home=home), X, y)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_cifar100(tmp_path, layout):
    names = ("cifar-100-binary", "cifar-100-binary.tar.gz", "cifar100")
    home = lay_out(tmp_path, layout, cifar100_files(), *names)
    X = np.stack([record(seed=i)[1] for i in range(3)])
    assert_loaded(load_cifar100(data_home=home), X[:2], [72, 99])
    assert_loaded(load_cifar100("test", data_home=home), X[2:], [0])
    coarse = load_cifar100("all", data_home=home, labels="coarse")
    assert_loaded(coarse, X, [4, 19, 0])


def test_channels_are_red_green_blue(tmp_path):
    planes = [np.full((32, 32), value, np.uint8) for value in (10, 20, 30)]
    planes[1][3, 5] = 99
    content = b"\x07" + b"".join(plane.tobytes() for plane in planes)
    write(tmp_path, {"test_batch.bin": content})
    X, y = load_cifar10("test", data_home=tmp_path)
    assert y == [7]
    assert X[0, 0, 0].tolist() == [10, 20, 30]
    assert X[0, 3, 5].tolist() == [10, 99, 30]
    assert X[0, 5, 3].tolist() == [10, 20, 30]


@pytest.mark.parametrize(
    ("load", "labels", "n", "first", "last"),
    [
        (load_cifar10, {}, 10, "airplane", "truck"),
        (load_cifar100, {"labels": "fine"}, 100, "apple", "worm"),
        (load_cifar100, {"labels": "coarse"}, 20, "aquatic_mammals", "vehicles_2"),
    ],
)
def test_known_cifar_names(tmp_path, load, labels, n, first, last):
    write(tmp_path, cifar10_files() | cifar100_files())
    data = load(data_home=tmp_path, return_X_y=False, **labels)
    names = data.target_names
    assert (len(set(names)), names[0], names[-1]) == (n, first, last)
    assert names == sorted(names)
    assert "CIFAR-10" in data.DESCR


@pytest.mark.parametrize("archived", [False, True])
def test_cifar_names_from_the_files(tmp_path, archived):
    fine = [f"fine {i}" for i in range(100)]
    coarse = [f"coarse {i}" for i in range(20)]
    files = cifar100_files() | {
        "fine_label_names.txt": "\n".join(fine).encode() + b"\n\n",
        "coarse_label_names.txt": "\r\n".join(coarse).encode(),
    }
    if archived:
        write_archive(tmp_path / "cifar-100-binary.tar.gz", files, "x")
    else:
        write(tmp_path, files)
    for labels, names in [("fine", fine), ("coarse", coarse)]:
        data = load_cifar100(data_home=tmp_path, labels=labels, return_X_y=False)
        assert data.target_names == names


def test_wrong_number_of_names(tmp_path):
    path = write(tmp_path, cifar10_files() | {"batches.meta.txt": b"cat\ndog\n"})
    parts = (str(path / "batches.meta.txt"), "2 class names", "expected 10")
    fails(ValueError, *parts, load=load_cifar10, data_home=path, return_X_y=False)
    assert len(load_cifar10(data_home=path)[0]) == 10


@pytest.mark.parametrize(
    ("load", "name", "content", "found", "expected"),
    [
        (load_cifar10, "data_batch_3.bin", b"", "has 0 bytes", "3,073"),
        (load_cifar10, "data_batch_3.bin", bytes(3072), "has 3,072 bytes", "3,073"),
        (load_cifar10, "data_batch_3.bin", bytes(3074), "has 3,074 bytes", "3,073"),
        (load_cifar10, "data_batch_5.bin", record(10)[0], "label 10", "0 to 9"),
        (load_cifar100, "train.bin", bytes(3073), "has 3,073 bytes", "3,074"),
        (load_cifar100, "train.bin", record(20, 0)[0], "label 20", "0 to 19"),
        (load_cifar100, "train.bin", record(0, 100)[0], "label 100", "0 to 99"),
    ],
)
@pytest.mark.parametrize("archived", [False, True])
def test_wrong_cifar_files(tmp_path, load, name, content, found, expected, archived):
    files = cifar10_files() if load is load_cifar10 else cifar100_files()
    home = tmp_path / "archive.tar.gz" if archived else tmp_path
    if archived:
        write_archive(home, files | {name: content}, "folder")
    else:
        write(home, files | {name: content})
    fails(ValueError, name, str(home), found, expected, load=load, data_home=home)


@pytest.mark.parametrize("archived", [False, True])
def test_missing_batch_is_named(tmp_path, archived):
    files = cifar10_files()
    del files["data_batch_4.bin"]
    home = tmp_path / "cifar-10-binary.tar.gz" if archived else tmp_path
    if archived:
        write_archive(home, files, "cifar-10-batches-bin")
    else:
        write(home, files | {"data_batch_4": b""})
    part = f"{home} has no data_batch_4.bin; expected"
    fails(FileNotFoundError, part, load=load_cifar10, data_home=home)
    assert len(load_cifar10("test", data_home=home)[0]) == 2


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.7, 0.95])
def test_truncated_archive(tmp_path, share):
    path = write_archive(tmp_path / "cifar-10-binary.tar.gz", cifar10_files(), "c")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    parts = (str(path), "truncated")
    fails(ValueError, *parts, load=load_cifar10, data_home=tmp_path)


def test_flipped_bit_in_archive(tmp_path):
    path = write_archive(tmp_path / "cifar-10-binary.tar.gz", cifar10_files(), "c")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    fails(ValueError, str(path), "damaged", load=load_cifar10, data_home=tmp_path)


def test_archive_of_another_format(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    for content in (b"PK\3\4" * 200, gzip.compress(b"no archive" * 200)):
        path.write_bytes(content)
        fails(
            ValueError, str(path), "another format", load=load_cifar10, data_home=path
        )


def test_only_regular_members_count(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    secret = write(tmp_path, {"secret": record(3)[0]}) / "secret"
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo("test_batch.bin")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        archive.addfile(link)
    part = "has no test_batch.bin"
    fails(FileNotFoundError, part, load=load_cifar10, subset="test", data_home=path)
    before = set(tmp_path.rglob("*"))
    write_archive(path, cifar10_files(), "../../cifar")
    assert len(load_cifar10("test", data_home=path)[0]) == 2
    assert set(tmp_path.rglob("*")) == before


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("load", "name", "binary"),
    [
        (load_cifar10, "data_batch_1", "cifar-10-binary.tar.gz"),
        (load_cifar10, "cifar-10-batches-py/data_batch_1", "cifar-10-binary.tar.gz"),
        (load_cifar10, "cifar10/cifar-10-python.tar.gz", "cifar-10-binary.tar.gz"),
        (load_cifar100, "train", "cifar-100-binary.tar.gz"),
        (load_cifar100, "cifar-100-python.tar.gz", "cifar-100-binary.tar.gz"),
    ],
)
def test_pickles_are_refused(tmp_path, load, name, binary):
    path, boom = tmp_path / "data" / name, tmp_path / "boom"
    write(path.parent, {path.name: pickle.dumps(Bomb(boom))})
    parts = (str(path), "Python version", binary)
    for home in (tmp_path / "data", path.parent):
        fails(FileNotFoundError, *parts, load=load, data_home=home)
    if path.suffix:
        fails(FileNotFoundError, *parts, load=load, data_home=path)
    assert not boom.exists()


# ---- OpenML


OPENML = {"MNIST": 554, "FASHION_MNIST": 40996, "CIFAR10": 40927, "CIFAR100": 41983}


@pytest.fixture
def openml(monkeypatch):
    """Shrink the data sets and fetch balanced ones of OpenML's layout."""
    rng, served, calls = np.random.default_rng(0), {}, []
    for name, data_id in OPENML.items():
        data = getattr(datasets, name)
        n_classes = len(data.labels[-1].names)
        n_rows, width = 2 * n_classes + 3, 784 if "MNIST" in name else 3072
        small = replace(data, n_train=n_rows - 3, n_test=3)
        monkeypatch.setattr(datasets, name, small)
        served[data_id] = SimpleNamespace(
            data=rng.integers(0, 256, (n_rows, width)).astype(np.float64),
            target=np.array([str(i % n_classes) for i in range(n_rows)], dtype=object),
        )

    def fetch_openml(*, data_id, **options):
        calls.append(options)
        return served[data_id]

    monkeypatch.setattr(datasets, "fetch_openml", fetch_openml)
    return SimpleNamespace(served=served, calls=calls)


@pytest.mark.parametrize("subset", ["train", "test", "all"])
@pytest.mark.parametrize(
    ("load", "data_id"), list(zip(LOADERS, OPENML.values(), strict=True))
)
def test_openml(openml, load, data_id, subset):
    sent = openml.served[data_id]
    n = len(sent.data) - 3
    rows = {"train": np.s_[:n], "test": np.s_[n:], "all": np.s_[:]}[subset]
    X, y = sent.data[rows], sent.target[rows].astype(int)
    if X.shape[1] == 784:
        X = X.reshape(-1, 28, 28)
    else:
        X = np.stack(np.split(X, 3, axis=1), axis=-1).reshape(-1, 32, 32, 3)
    assert_loaded(load(subset), X, y)
    data = load(subset, return_X_y=False)
    assert_loaded((data.images, data.target), X, y)
    assert len(data.target_names) == (100 if load is load_cifar100 else 10)


@pytest.mark.parametrize("pandas", [True, False])
def test_openml_without_pandas(openml, monkeypatch, pandas):
    monkeypatch.setattr(datasets, "find_spec", lambda name: pandas or None)
    load_mnist()
    [call] = openml.calls
    assert not call["as_frame"]
    assert call["parser"] == ("pandas" if pandas else "liac-arff")


def test_openml_has_no_coarse_labels(openml):
    parts = ("labels='coarse'", "train.bin", "cifar-100-binary.tar.gz")
    fails(ValueError, *parts, load=load_cifar100, labels="coarse")
    assert not openml.calls


@pytest.mark.parametrize("error", [URLError, TimeoutError, ValueError])
def test_fetching_fails(monkeypatch, error):
    def fetch_openml(**options):
        raise error("no route")

    monkeypatch.setattr(datasets, "fetch_openml", fetch_openml)
    parts = ("could not be fetched", "no route", "data_home")
    fails(OSError, "Fashion-MNIST", TRAIN_IMAGES, *parts, load=load_fashion_mnist)
    fails(OSError, "CIFAR-10", BATCHES[4], "cifar-10-", *parts, load=load_cifar10)


def test_openml_sends_something_else(openml):
    sent = openml.served[40927]
    y = sent.target.copy()
    parts = ("CIFAR-10 from OpenML (data_id=40927)",)
    sent.target[0] = "1"
    fails(ValueError, *parts, "1 to 3 images", "training set", load=load_cifar10)
    sent.target[0] = "10"
    fails(ValueError, *parts, "label 10", "0 to 9", load=load_cifar10)
    sent.target = y
    for value in (0.5, -1, 256, np.nan):
        sent.data[0, 0] = value
        fails(ValueError, *parts, "integers 0 to 255", load=load_cifar10)
    sent.data = sent.data[:-1]
    fails(ValueError, *parts, "(22, 3072)", "(23, 3072)", load=load_cifar10)


def test_official_sizes():
    """The shapes that OpenML must send are the official ones."""
    for data in (datasets.MNIST, datasets.FASHION_MNIST):
        assert (data.n_train, data.n_test) == (60_000, 10_000)
    for data in (datasets.CIFAR10, datasets.CIFAR100):
        assert (data.n_train, data.n_test) == (50_000, 10_000)


# ---- parameters


@pytest.mark.parametrize("load", LOADERS)
def test_bad_parameters(load, tmp_path):
    for subset in ("training", None, 1, ["train"]):
        parts = ("subset must be 'train', 'test' or 'all'", f"got {subset!r}")
        fails(ValueError, *parts, load=load, subset=subset, data_home=tmp_path)
    for home in (3, b"/data", ["a"]):
        part = f"data_home must be a str, a path or None, got {type(home).__name__}"
        fails(TypeError, part, load=load, data_home=home)
    missing = tmp_path / "missing"
    part = f"data_home {missing} does not exist"
    fails(FileNotFoundError, part, load=load, data_home=missing)


def test_bad_labels(tmp_path):
    part = "labels must be 'coarse' or 'fine', got 'medium'"
    fails(ValueError, part, load=load_cifar100, labels="medium", data_home=tmp_path)
