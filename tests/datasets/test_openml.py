"""What OpenML sends, and what no loader takes; nothing is downloaded."""

from dataclasses import replace
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
from data_files import BATCHES, LOADERS, TRAIN_IMAGES, assert_loaded, fails

from skdmn import datasets
from skdmn.datasets import (
    load_cifar10,
    load_cifar100,
    load_fashion_mnist,
    load_mnist,
)

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
