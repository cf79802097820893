"""Files of CIFAR-10 and CIFAR-100."""

import gzip
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from data_files import (
    assert_loaded,
    cifar10_files,
    cifar100_files,
    fails,
    record,
    write,
    write_archive,
)

from skdmn.datasets import (
    load_cifar10,
    load_cifar100,
)


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
