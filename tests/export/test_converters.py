"""skl2onnx converts Pipelines that have steps of this package."""

import sys

import numpy as np
import onnx
import pytest
import skl2onnx
from models import CASES, HEADS, fit, fitted
from skl2onnx.common.data_types import FloatTensorType, UInt8TensorType
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from stacks import images_and_labels, network
from test_to_onnx import assert_same, run

from skdmn import (
    ClassPCAPatchTransformer,
    FlattenTransformer,
    MaxPool2DTransformer,
    SoftmaxClassifier,
)
from skdmn.export import register_converters

OPSET = 17


@pytest.fixture(autouse=True)
def _registered():
    register_converters()


def convert(model, X, **options):
    if "predict" in dir(model):
        options = {"options": {"zipmap": False}, **options}
    written = skl2onnx.to_onnx(model, X[:1], target_opset=OPSET, **options)
    onnx.checker.check_model(written, full_check=True)
    return written


@pytest.mark.parametrize(("stack", "head"), CASES)
def test_converts_pipelines(stack, head):
    model, X, _ = fitted(stack, head, dtype=np.float32)
    written = convert(model, X)
    if not hasattr(model, "predict"):
        written.graph.output[0].name = rename(written, "features")
    assert_same(model, written, X)


def rename(written, name):
    """Give a model's only output a name."""
    old = written.graph.output[0].name
    for node in written.graph.node:
        node.output[:] = [name if n == old else n for n in node.output]
    return name


def test_takes_uint8_images():
    model, X, _ = fitted("two layers", "softmax")
    assert_same(model, convert(model, X), X)
    typed = [("images", UInt8TensorType([None, 8, 7, 3]))]
    written = skl2onnx.convert_sklearn(
        model, initial_types=typed, options={"zipmap": False}, target_opset=OPSET
    )
    assert [taken.name for taken in written.graph.input] == ["images"]
    assert_same(model, written, X)


def test_converts_a_network_inside_a_pipeline():
    X, y = images_and_labels(dtype=np.float32)
    model = fit(make_pipeline(network("two layers"), *HEADS["logistic"][1:]), X, y)
    assert_same(model, convert(model, X), X)


def test_a_classifier_of_another_package_behind():
    X, y = images_and_labels(dtype=np.float32)
    steps = ClassPCAPatchTransformer(2), MaxPool2DTransformer(2), FlattenTransformer()
    model = make_pipeline(*steps, RandomForestClassifier(5, random_state=0)).fit(X, y)
    assert_same(model, convert(model, X), X)


def test_rows_of_images():
    X, y = images_and_labels(dtype=np.float32)
    rows = X.reshape(len(X), -1)
    layer = ClassPCAPatchTransformer(2, image_shape=(8, 7, 3))
    model = fit(make_pipeline(layer, SoftmaxClassifier()), rows, y)
    assert_same(model, convert(model, rows), rows)


@pytest.mark.parametrize("kind", ["str", "int"])
def test_zipmap_gives_a_probability_for_each_label(kind):
    X, y = images_and_labels(dtype=np.float32)
    y = np.array(["zero", "one", "two"])[y] if kind == "str" else y
    model = fit(make_pipeline(ClassPCAPatchTransformer(2), SoftmaxClassifier()), X, y)
    written = skl2onnx.convert_sklearn(
        model,
        initial_types=[("X", FloatTensorType([None, 8, 7, 3]))],
        target_opset=OPSET,
    )
    labels, probabilities = run(written, X).values()
    assert labels.tolist() == model.predict(X).tolist()
    assert set(probabilities[0]) == set(model.classes_.tolist())
    found = [[row[label] for label in model.classes_.tolist()] for row in probabilities]
    np.testing.assert_allclose(found, model.predict_proba(X), atol=1e-5)


def test_missing_skl2onnx_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match=r"skdmn\[onnx\]"):
        register_converters()
