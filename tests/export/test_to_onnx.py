"""A model as ONNX gives what the model gives, in onnxruntime."""

import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from models import CASES, HEADS, fit, fitted, is_classifier, random_models
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from stacks import STACKS, images_and_labels, network

from skdmn import (
    ClassPCAPatchTransformer,
    FlattenTransformer,
    OverlapPruner,
    SoftmaxClassifier,
    __version__,
)
from skdmn.export import to_onnx


def run(model, X):
    """Run a model, and return its outputs by their names."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    (taken,) = session.get_inputs()
    return dict(zip(names, session.run(None, {taken.name: X}), strict=True))


def assert_same(model, written, X):
    """Compare features to 1e-5 of the largest, probabilities to 1e-5, and labels."""
    found = run(written, X)
    if is_classifier(model):
        expected = model.predict_proba(X)
        np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)
        second, first = np.sort(expected, axis=1)[:, -2:].T
        clear = first - second > 1e-5
        np.testing.assert_array_equal(found["label"][clear], model.predict(X)[clear])
        return
    expected = model.transform(X)
    assert found["features"].shape == expected.shape
    largest = np.abs(expected).max()
    np.testing.assert_allclose(found["features"], expected, atol=1e-5 * largest)


@pytest.mark.parametrize(("stack", "head"), CASES)
def test_gives_what_the_pipeline_gives(stack, head):
    dtype = np.uint8 if head == "features" else np.float32
    model, X, _ = fitted(stack, head, dtype=dtype)
    assert_same(model, to_onnx(model, X[:1]), X)


@settings(deadline=None, max_examples=60)
@given(random_models())
def test_gives_what_any_model_gives(drawn):
    model, X = drawn
    assert_same(model, to_onnx(model, X[:1]), X)


@pytest.mark.parametrize("stack", STACKS)
def test_gives_the_rows_of_a_network(stack):
    X, y = images_and_labels()
    model = network(stack).fit(X, y)
    assert_same(model, to_onnx(model, X[:1]), X)


@pytest.mark.parametrize("labels", ["str", "int32", "bool", "float"])
def test_labels_of_any_kind(labels):
    X, y = images_and_labels()
    y = y > 0 if labels == "bool" else y
    y = np.array(["zero", "one", "two"])[y] if labels == "str" else y.astype(labels)
    for head in ("softmax", "logistic"):
        model = fit(make_pipeline(ClassPCAPatchTransformer(2), *HEADS[head]), X, y)
        found = run(to_onnx(model, X[:1]), X)["label"]
        assert found.tolist() == model.predict(X).tolist()


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "?"])
def test_takes_the_dtype_of_the_example(dtype):
    X, y = images_and_labels()
    X = (X > 128) if dtype == "?" else (X // 2).astype(dtype)
    model = fit(make_pipeline(ClassPCAPatchTransformer(2), *HEADS["softmax"]), X, y)
    assert_same(model, to_onnx(model, X[:1]), X)


def test_images_of_another_byte_order():
    X, y = images_and_labels()
    swapped = X.astype(np.dtype("u2").newbyteorder("S"))
    model = make_pipeline(ClassPCAPatchTransformer(2), *HEADS["softmax"])
    fit(model, swapped, y)
    with pytest.warns(UserWarning, match=r"dtype '.u2', which is not in this machine"):
        written = to_onnx(model, swapped[:1])
    native = swapped.astype(swapped.dtype.newbyteorder("="))
    assert_same(model, written, native)


def test_metadata_tell_producer_input_and_classes():
    X, y = images_and_labels()
    model = make_pipeline(ClassPCAPatchTransformer(2), *HEADS["softmax"])
    fit(model, X, np.array(["a", "b", "c"])[y])
    written = to_onnx(model, X[:1])
    assert (written.producer_name, written.producer_version) == ("skdmn", __version__)
    found = {one.key: json.loads(one.value) for one in written.metadata_props}
    assert found["input"] == "X: uint8, (n, height, width, channels)"
    assert found["values"] == f"{X.min()} to {X.max()}"
    assert found["classes"] == ["a", "b", "c"]
    rows = to_onnx(model[:1], X[:1].reshape(1, -1)).metadata_props
    assert [entry.key for entry in rows] == ["input", "values"]
    assert "in C order of (height, width, channels)" in rows[0].value


def test_labels_of_another_byte_order():
    X, y = images_and_labels()
    for kind in ("i4", "f4", "U1"):
        labels = y.astype(np.dtype(kind).newbyteorder("S"))
        model = SoftmaxClassifier().fit(X, labels)
        found = run(to_onnx(model, X[:1]), X)["label"]
        assert found.tolist() == model.predict(X).tolist()


def test_any_number_of_images():
    model, X, _ = fitted()
    written = to_onnx(model, X[:5])
    whole = run(written, X)["probabilities"]
    for n in (0, 1, 7):
        some = run(written, X[:n])["probabilities"]
        assert some.shape == (n, 3)
        np.testing.assert_allclose(some, whole[:n], atol=1e-6)


@pytest.mark.parametrize("opset", [13, 15, 17, 20, 21])
def test_opsets(opset):
    model, X, _ = fitted("conv scale pool", "softmax")
    written = to_onnx(model, X[:1], opset=opset)
    assert [operators.version for operators in written.opset_import] == [opset]
    assert_same(model, written, X)


def test_opsets_that_there_are_not():
    model, X, _ = fitted("conv", "features")
    for opset in (12, onnx.defs.onnx_opset_version() + 1):
        with pytest.raises(ValueError, match=f"opset={opset} is not one of 13 to"):
            to_onnx(model, X[:1], opset=opset)


def test_pruned_filters_are_left_out():
    model, X, _ = fitted("conv prune pool", "softmax")
    weights = onnx.numpy_helper.to_array(to_onnx(model, X[:1]).graph.initializer[0])
    shapes = [tensor.dims[0] for tensor in to_onnx(model, X[:1]).graph.initializer]
    assert weights.size
    assert len(model[0].filters_) not in shapes
    assert len(model[0].filters_) - 1 in shapes


def test_only_standard_operators_and_float32():
    model, X, _ = fitted("two layers", "logistic")
    written = to_onnx(model, X[:1])
    assert {node.domain for node in written.graph.node} == {""}
    kinds = {tensor.data_type for tensor in written.graph.initializer}
    assert kinds <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}


def test_runs_with_nothing_of_this_package(tmp_path):
    model, X, _ = fitted()
    onnx.save(to_onnx(model, X[:1]), tmp_path / "dmn.onnx")
    code = (
        "import sys\n"
        "for name in ('skdmn', 'sklearn', 'scipy', 'numba'): sys.modules[name] = None\n"
        "import numpy as np, onnxruntime\n"
        f"session = onnxruntime.InferenceSession(r'{tmp_path / 'dmn.onnx'}')\n"
        "X = np.zeros((2, 8, 7, 3), np.uint8)\n"
        "print(session.run(['label'], {'X': X})[0].shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "(2,)"


def test_says_what_is_wrong():
    model, X, y = fitted("conv", "features")
    with pytest.raises(
        ValueError, match=r"example has shape \(1, 7, 8, 3\), but image"
    ):
        to_onnx(model, X[:1].swapaxes(1, 2))
    with pytest.raises(ValueError, match="example has dtype"):
        to_onnx(model, X[:1].astype(object))
    if np.dtype(np.longdouble).itemsize > 8:
        with pytest.raises(ValueError, match="which ONNX does not have"):
            to_onnx(model, X[:1].astype(np.longdouble))
    steps = ClassPCAPatchTransformer(2), FlattenTransformer(), RandomForestClassifier(2)
    with pytest.raises(
        TypeError, match="is a RandomForestClassifier; export the steps"
    ):
        to_onnx(make_pipeline(*steps).fit(X, y), X)


def test_a_classifier_fitted_on_images_takes_them():
    images, y = images_and_labels(shape=(6, 5, 3))
    model = SoftmaxClassifier().fit(images, y)
    for X in (images, images.reshape(len(images), -1)):
        assert_same(model, to_onnx(model, X[:1]), X)
    with pytest.raises(ValueError, match="example has shape"):
        to_onnx(model, images[:1, 1:])


def test_layers_that_no_longer_fit_each_other_are_refused():
    images, y = images_and_labels(shape=(6, 5, 3))
    steps = ClassPCAPatchTransformer(2), ClassPCAPatchTransformer(2)
    model = make_pipeline(*steps).fit(images, y)
    model[0].set_params(stride=2)
    with pytest.raises(ValueError, match="was fitted on images of"):
        to_onnx(model, images[:1])


def test_missing_onnx_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"skdmn\[onnx\]"):
        to_onnx(OverlapPruner(), np.zeros((1, 2, 2)))
