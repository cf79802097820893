"""Fitted models in files: trusted types, the same results, later formats.

``PYTHONPATH=tests python tests/reliability/test_saved_models.py`` writes the file of
models again. If `_FORMAT` in ``skdmn/utils/persistence.py`` is increased, write it
under a new name.
"""

import io
import pickle
import zipfile
from functools import cache
from pathlib import Path

import joblib
import numpy as np
import pytest
import skops.io
from estimators import ESTIMATORS, one_of_each_type
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.utils.validation import check_is_fitted

import skdmn
from skdmn import (
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    ZCAWhitening,
    make_dmn,
)
from skdmn.datasets import load_digits_images
from skdmn.utils import persistence as portable
from skdmn.utils.persistence import TRUSTED_TYPES

FILE = Path(__file__).parent / "data" / "models_format1.skops"
OWN_TYPES = set(TRUSTED_TYPES)
CONV = ClassPCAPatchTransformer(2, n_filters=2)
MODELS = {**ESTIMATORS, "dmn": make_dmn(1, kernel_size=2, n_filters=2, pool_size=4)}
KEPT = (*one_of_each_type(ESTIMATORS), "dmn")
each_model = pytest.mark.parametrize("name", MODELS)
each_kept = pytest.mark.parametrize("name", KEPT)
KINDS = {
    "numbers": np.arange(3),
    "strings": np.array(["a", "b", "\u00e9"]),
    "objects": np.array(["a", "b", "cc"], dtype=object),
    "booleans": np.array([False, True, True]),
}


def some_digits():
    X, y = load_digits_images()
    return X[y < 3][:40], y[y < 3][:40]


def seen_by(model, X):
    if isinstance(model, ZCAWhitening):
        return X.reshape(len(X), -1)[:, 2:6]
    return X


def apply(model, X):
    method = "predict_proba" if hasattr(model, "predict_proba") else "transform"
    return getattr(model, method)(seen_by(model, X))


@cache  # no test changes one
def fitted(name, kind="numbers"):
    X, y = some_digits()
    model = clone(MODELS[name])
    return model.fit(seen_by(model, X), KINDS[kind][y])


def untrusted(data):
    return set(skops.io.get_untrusted_types(data=data))


# round trips


def keeps_labels(model):
    has_labels = isinstance(model, DensityMatrixNetwork) or is_classifier(model)
    return has_labels or hasattr(model, "class_based")


# every model, and one of each type with labels of all kinds
CASES = [(name, "numbers") for name in MODELS]
CASES += [
    (name, kind)
    for name in KEPT
    if keeps_labels(MODELS[name])
    for kind in KINDS
    if kind != "numbers"
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_skops_files_hold_no_type_but_the_packages_own(name, kind):
    model = fitted(name, kind)
    data = skops.io.dumps(model)
    assert untrusted(data) <= OWN_TYPES
    assert any(type(model).__name__ in own for own in untrusted(data)) or name == "dmn"
    loaded = skops.io.loads(data, trusted=sorted(OWN_TYPES))
    X, _ = some_digits()
    assert_array_equal(apply(loaded, X), apply(model, X))
    if hasattr(model, "classes_"):
        assert_array_equal(loaded.classes_, model.classes_)


def test_no_type_is_listed_that_no_model_needs():
    needed = set().union(*(untrusted(skops.io.dumps(fitted(n))) for n in MODELS))
    assert needed == OWN_TYPES


@each_model
def test_skops_loads_nothing_that_is_not_trusted(name):
    with pytest.raises(skops.io.exceptions.UntrustedTypesFoundException):
        skops.io.loads(skops.io.dumps(fitted(name)), trusted=[])


def test_files_that_name_a_function_of_the_package_are_refused():
    """Its name begins as those of the types do; called, it could write any file."""
    data = skops.io.dumps(skdmn.make_dmn)
    assert untrusted(data) == {"skdmn.presets.make_dmn"}
    with pytest.raises(skops.io.exceptions.UntrustedTypesFoundException, match="make"):
        skops.io.loads(data, trusted=TRUSTED_TYPES)


def test_a_loaded_layer_goes_on_with_partial_fit():
    X, y = some_digits()
    layer = clone(CONV).fit(X[:20], y[:20])
    data = skops.io.dumps(layer)
    loaded = skops.io.loads(data, trusted=sorted(OWN_TYPES)).partial_fit(X[20:], y[20:])
    assert_array_equal(loaded.filters_, clone(CONV).fit(X, y).filters_)


@each_model
def test_unfitted_models_are_saved_too(name):
    model = clone(MODELS[name])
    loaded = skops.io.loads(skops.io.dumps(model), trusted=sorted(OWN_TYPES))
    assert repr(loaded) == repr(model)
    X, y = some_digits()
    loaded.fit(seen_by(model, X), y)


# models of this version, in a file


def read_file():
    trusted = skops.io.get_untrusted_types(file=FILE)
    assert set(trusted) <= OWN_TYPES
    return skops.io.load(FILE, trusted=TRUSTED_TYPES)


def test_models_of_format_1_compute_what_they_did():
    """If they cannot any more, increase _FORMAT: the error then names the version."""
    saved = read_file()
    assert saved["models"].keys() == saved["expected"].keys()
    for name, model in saved["models"].items():
        found, expected = apply(model, saved["images"]), saved["expected"][name]
        assert found.dtype == expected.dtype
        # the order of sums depends on the machine
        assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=name)


def test_models_of_format_1_can_go_on():
    X, y = some_digits()
    layer = read_file()["models"]["network"]["conv1"].partial_fit(X, y)
    twice = clone(layer).fit(np.concatenate([X, X]), np.tile(y, 2))
    assert_allclose(layer.transform(X), twice.transform(X), rtol=1e-4, atol=1e-5)


def test_the_file_is_small():
    assert FILE.stat().st_size < 130_000  # a dense layer has large matrices


def write_file():
    X, _ = some_digits()
    models = {name: fitted(name) for name in KEPT}
    saved = {
        "version": skdmn.__version__,
        "images": X[:6],
        "models": models,
        "expected": {name: apply(model, X[:6]) for name, model in models.items()},
    }
    FILE.parent.mkdir(exist_ok=True)
    skops.io.dump(saved, FILE, compression=zipfile.ZIP_DEFLATED, compresslevel=9)


# models of later versions


def joblib_bytes(model):
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    return buffer.getvalue()


FILES = {
    "pickle": (pickle.dumps, pickle.loads),
    "joblib": (joblib_bytes, lambda data: joblib.load(io.BytesIO(data))),
    "skops": (
        skops.io.dumps,
        lambda data: skops.io.loads(data, trusted=sorted(OWN_TYPES)),
    ),
}


@each_kept
@pytest.mark.parametrize("way", FILES)
def test_a_model_of_a_later_format_is_refused_by_name(monkeypatch, name, way):
    save, load = FILES[way]
    model = fitted(name)
    with monkeypatch.context() as later:
        later.setattr(portable, "_FORMAT", 2)
        later.setattr(portable, "__version__", "9.8.7")
        data = save(model)
    with pytest.raises(
        ValueError, match=r"was saved by skdmn 9\.8\.7.*fit it again\.$"
    ):
        load(data)


@each_kept
@pytest.mark.parametrize("way", FILES)
def test_a_model_of_a_later_version_of_the_same_format_is_loaded(
    monkeypatch, name, way
):
    save, load = FILES[way]
    model = fitted(name)
    with monkeypatch.context() as later:
        later.setattr(portable, "__version__", "9.8.7")
        data = save(model)
    loaded = load(data)
    check_is_fitted(loaded)
    assert vars(loaded).keys() == vars(model).keys()
    X, _ = some_digits()
    assert_array_equal(apply(loaded, X), apply(model, X))


if __name__ == "__main__":
    write_file()
