"""Small data sets, written in their official formats."""

import gzip
import io
import struct
import tarfile

import numpy as np
import pytest

from skdmn.datasets import (
    load_cifar10,
    load_cifar100,
    load_fashion_mnist,
    load_mnist,
)

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
