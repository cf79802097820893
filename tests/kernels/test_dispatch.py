"""The dispatch to kernels or to the reference, which give the same results."""

import importlib
import json
import subprocess
import sys

import array_api_strict
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdmn import (
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    MaxPool2DTransformer,
    SoftmaxClassifier,
)
from skdmn.kernels import dispatch
from skdmn.kernels.geometry import WHOLE, Window
from skdmn.kernels.reference import convolution as definition
from skdmn.kernels.reference import moments
from skdmn.utils.array_api import to_numpy

WINDOW = Window((2, 2), (2, 2), "same")
GENERAL = [">f4", ">f8", ">i2", "f2", "u4", "u8", "g"]  # dtypes that no kernel reads


@pytest.fixture
def kernels(monkeypatch):
    """Record which modules of kernels are requested."""
    asked, numba_module = [], dispatch.numba_module

    def counted(name):
        asked.append(name)
        return numba_module(name)

    monkeypatch.setattr(dispatch, "numba_module", counted)
    return asked


@pytest.fixture
def without_numba(monkeypatch):
    monkeypatch.setattr(dispatch, "numba_module", lambda name: None)


def compute(images, filters):
    """Return the results of functions of the dispatch as NumPy arrays."""
    members = np.arange(images.shape[0])[::-2]
    results = (
        dispatch.convolve(images, filters, (2, 1), "same", "relu", WINDOW),
        dispatch.convolve(images, filters, (1, 1), "valid", None),
        dispatch.max_pool(images, WINDOW, filters.dtype),
        *next(iter(dispatch.class_moments(images, [members], (2, 2)))),
        *next(iter(dispatch.class_moments(images, [members], (5, 5)))),
    )
    return [to_numpy(result) for result in results]


def whole_numbers(rng, dtype="f4"):
    """Return images and filters whose sums of products are exact in any order."""
    images = rng.integers(0, 100, (5, 9, 8, 2)).astype(dtype)
    return images, rng.integers(-9, 9, (3, 3, 2, 2)).astype("f4")


# which code


def test_images_of_numpy_go_to_kernels(rng, kernels):
    pytest.importorskip("numba")
    for dtype in ("u1", "i1", "?", "u2", "i2", "i4", "i8", "f4", "f8"):
        kernels.clear()
        compute(*whole_numbers(rng, dtype))
        assert kernels == ["convolution"] * 3 + ["moments"] * 2


@pytest.mark.parametrize("dtype", GENERAL)
def test_dtypes_that_no_kernel_reads_take_the_general_code(rng, kernels, dtype):
    images, filters = whole_numbers(rng, dtype)
    ours = compute(images, filters)
    assert kernels == []
    for one, other in zip(ours, compute(images.astype("f4"), filters), strict=True):
        assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_other_libraries_take_the_general_code(rng, kernels):
    images, filters = whole_numbers(rng)
    theirs = compute(*map(array_api_strict.asarray, (images, filters)))
    assert kernels == []
    for one, other in zip(compute(images, filters), theirs, strict=True):
        assert_array_equal(one, other)


def test_second_moments_take_the_cheaper_form(rng, without_numba, monkeypatch):
    images, _ = whole_numbers(rng)
    taken = []
    for form in ("row_moments", "second_moments"):
        monkeypatch.setattr(moments, form, lambda *_, form=form: taken.append(form))
    for cheaper in (True, False):
        monkeypatch.setattr(moments, "rows_are_cheaper", lambda *_, c=cheaper: c)
        list(dispatch.class_moments(images, [np.arange(5)], (2, 2)))
    assert taken == ["row_moments", "second_moments"]


@pytest.mark.parametrize("n", [0, 1])
def test_few_images_are_the_same_with_and_without_numba(rng, monkeypatch, n):
    images, filters = whole_numbers(rng)
    args = (images[:n], filters, (1, 1), "same", "relu", WINDOW)
    features, pooled = (
        dispatch.convolve(*args),
        dispatch.max_pool(images[:n], WINDOW, "f4"),
    )
    monkeypatch.setattr(dispatch, "numba_module", lambda name: None)
    assert_array_equal(dispatch.convolve(*args), features)
    assert_array_equal(dispatch.max_pool(images[:n], WINDOW, np.dtype("f4")), pooled)


# without Numba


@pytest.mark.parametrize("dtype", ["u1", "i8", "f4", "f8"])
def test_kernels_and_definitions_give_the_same(rng, monkeypatch, dtype):
    images, filters = whole_numbers(rng, dtype)
    expected = compute(images, filters)
    monkeypatch.setattr(dispatch, "numba_module", lambda name: None)
    for one, other in zip(compute(images, filters), expected, strict=True):
        assert_array_equal(one, other)
        assert one.dtype == other.dtype


@pytest.mark.parametrize("dtype", ["u1", "f4", "f8"])
def test_layers_without_numba_give_the_same(rng, monkeypatch, dtype):
    X = rng.integers(0, 256, (120, 12, 11, 2)) + 40 * np.arange(11)[:, np.newaxis]
    X, y = X.clip(0, 255).astype(dtype), rng.integers(0, 3, 120)
    network = DensityMatrixNetwork(
        [
            ("conv1", ClassPCAPatchTransformer(kernel_size=3, n_filters=5)),
            ("pool1", MaxPool2DTransformer(2)),
            ("conv2", ClassPCAPatchTransformer(kernel_size=2, n_filters=4)),
        ]
    )

    def results():
        features = network.fit_transform(X, y)
        softmax = SoftmaxClassifier(C=0.1).fit(features, y)
        energies = network.layers_[-1][1].energies_
        return features, energies, softmax.predict_proba(features)

    expected = results()
    monkeypatch.setattr(dispatch, "numba_module", lambda name: None)
    rounding = 1e-10 if dtype == "f8" else 1e-4
    ours = results()
    assert_allclose(ours[0], expected[0], atol=rounding * np.abs(expected[0]).max())
    assert_allclose(ours[1], expected[1], atol=rounding)
    assert_allclose(ours[2], expected[2], atol=1e-3)


MODULES = ["convolution", "contrast", "moments", "softmax"]


@pytest.fixture
def unimported(monkeypatch):
    """Let modules of kernels be imported anew."""
    for name in ("blocks", "compiling", *MODULES):
        monkeypatch.delitem(sys.modules, f"skdmn.kernels.numba.{name}", raising=False)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("missing", ["numba", "llvmlite"])
def test_there_are_no_kernels_without_numba(monkeypatch, unimported, name, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setitem(sys.modules, f"{missing}.binding", None)
    assert dispatch.numba_module.__wrapped__(name) is None


@pytest.mark.parametrize("name", MODULES)
def test_there_are_no_kernels_without_its_compiler(monkeypatch, unimported, name):
    numba = pytest.importorskip("numba")
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert dispatch.numba_module.__wrapped__(name) is None


def test_there_are_no_kernels_where_llvm_cannot_be_loaded(monkeypatch):
    def fail(name):
        raise OSError("Could not find/load shared object file")

    monkeypatch.setattr(importlib, "import_module", fail)
    assert dispatch.numba_module.__wrapped__("convolution") is None


# importing


def test_importing_the_package_and_the_analysis_imports_nothing_that_is_optional():
    names = "from skdmn import *; from skdmn.analysis import *"
    code = f"import json, sys; {names}; print(json.dumps([*sys.modules]))"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in json.loads(out.stdout)}
    assert "skdmn" in loaded
    assert not loaded & {"numba", "llvmlite", "cupy", "torch", "matplotlib"}


def test_a_convolution_alone_is_the_whole_window(rng):
    images, filters = whole_numbers(rng)
    ours = dispatch.convolve(images, filters, (1, 1), "valid", None, WHOLE)
    assert_array_equal(ours, definition.convolve(images, filters))
