"""Converters of skdmn's estimators for skl2onnx."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from skdmn.data.reader import ImageReader
from skdmn.export.model import Model, model_of
from skdmn.export.onnx import Writer, as_labels
from skdmn.layers.base import ImageTransformer
from skdmn.linear_model.base import _LinearClassifier
from skdmn.operations import Flatten, ScaleValues, Scores, Unflatten
from skdmn.utils.array_api import to_numpy
from skdmn.utils.optional import import_onnx

#: The options that skl2onnx gives to LogisticRegression.
_OPTIONS = {
    "zipmap": [True, False, "columns"],
    "nocl": [True, False],
    "output_class_labels": [False, True],
    "raw_scores": [True, False],
}


def register_converters() -> None:
    """Register skdmn's estimators with skl2onnx.

    After this call, ``skl2onnx.to_onnx`` and ``skl2onnx.convert_sklearn`` can convert
    layers, `DensityMatrixNetwork` and the classifiers, alone, in Pipelines with other
    estimators, and in the meta-estimators that skl2onnx converts. An `ImageReader`
    passes on images, and reads no files. The classifiers have the options of
    LogisticRegression: "zipmap", "nocl", "output_class_labels" and "raw_scores".

    Raises
    ------
    ImportError
        If skl2onnx is not installed.

    See Also
    --------
    to_onnx : Writes smaller graphs, for Pipelines of skdmn's estimators.

    Notes
    -----
    Layers compute in float32. A classifier computes in float64 if its input is float64.
    Outputs are float64 if the input is, and float32 otherwise.

    Some meta-estimators are converted to models that differ from ``predict``, for
    LogisticRegression as well: see the guide to exports. Compare the labels of a model
    with those of ``predict`` before you use it.

    Examples
    --------
    >>> import skl2onnx
    >>> from skdmn import make_dmn
    >>> from skdmn.datasets import load_digits_images
    >>> from skdmn.export import register_converters
    >>> register_converters()
    >>> X, y = load_digits_images()
    >>> dmn = make_dmn(n_layers=1, variance_cutoff=0.9).fit(X, y)
    >>> model = skl2onnx.to_onnx(dmn, X[:1], options={"zipmap": False})
    >>> [output.name for output in model.graph.output]
    ['label', 'probabilities']
    """
    skl2onnx = import_onnx("skl2onnx", "register_converters")
    for layer in _subclasses(ImageTransformer):
        skl2onnx.update_registered_converter(
            layer, f"Skdmn{layer.__name__}", _set_features, _convert_layer
        )
    skl2onnx.update_registered_converter(
        ImageReader, "SkdmnImageReader", _set_same, _convert_reader
    )
    for classifier in _subclasses(_LinearClassifier):
        skl2onnx.update_registered_converter(
            classifier,
            f"Skdmn{classifier.__name__}",
            _set_predictions,
            _convert_classifier,
            options=_OPTIONS,
        )


def _subclasses(base: type) -> Iterator[Any]:
    """Yield the public subclasses of a class, including those of users."""
    subclasses: list[Any] = base.__subclasses__()
    for subclass in subclasses:
        if not subclass.__name__.startswith("_"):
            yield subclass
        yield from _subclasses(subclass)


class _Container:
    """Adapter that adds nodes to the container of skl2onnx."""

    def __init__(self, scope: Any, container: Any) -> None:
        self.scope, self.container = scope, container

    def constant(self, values: np.ndarray) -> str:
        """Add a constant tensor, and return its name."""
        onnx = import_onnx("onnx", "register_converters")
        name = self.scope.get_unique_variable_name("constant")
        kind = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
        strings = values.dtype.kind == "O"
        flat = [v.encode() for v in values] if strings else values.ravel().tolist()
        self.container.add_initializer(name, kind, values.shape, flat)
        return name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, and return the name of its output."""
        output = self.scope.get_unique_variable_name(kind.lower())
        name = self.scope.get_unique_operator_name(kind)
        self.container.add_node(kind, list(inputs), output, name=name, **attributes)
        return output


def _set_same(operator: Any) -> None:
    """Set the output type of an ImageReader (a shape calculator of skl2onnx)."""
    operator.outputs[0].type = operator.inputs[0].type


def _convert_reader(scope: Any, operator: Any, container: Any) -> None:
    """Write an ImageReader, which passes on images (a converter of skl2onnx)."""
    _connect(scope, container, operator.inputs[0].full_name, None, operator.outputs[0])


def _convert_layer(scope: Any, operator: Any, container: Any) -> None:
    """Write the nodes of a layer or network (a converter of skl2onnx)."""
    writer = _written(scope, operator, container, model_of(operator.raw_operator))
    (features,) = writer.outputs().values()
    _connect(scope, container, features[0], writer.precision, operator.outputs[0])


def _convert_classifier(scope: Any, operator: Any, container: Any) -> None:
    """Write the nodes of a classifier (a converter of skl2onnx)."""
    classifier = operator.raw_operator
    model = model_of(classifier)
    raw_scores = _asks_for_scores(scope, container, classifier)
    if raw_scores:
        model = _with_a_score_per_class(model)
    writer = _written(scope, operator, container, model)
    label = writer.label(_labels(scope, classifier))
    scores = writer.at
    if not raw_scores:
        scores = writer.graph.node("Softmax", scores, axis=1)
    _connect(scope, container, label, None, operator.outputs[0])
    _connect(scope, container, scores, writer.precision, operator.outputs[1])


def _written(scope: Any, operator: Any, container: Any, model: Model) -> Writer:
    """Write the operations of a model."""
    given = operator.inputs[0]
    ndim = len(given.type.shape) or model.ndim
    floats = _dtype_of_floats(given.type)
    rows_only = (Flatten, Unflatten, ScaleValues, Scores)
    # onnxruntime convolves in float32 only
    in_rows = all(isinstance(operation, rows_only) for operation in model.operations)
    return Writer(
        model,
        _Container(scope, container),
        given.full_name,
        ndim,
        np.dtype(floats) if _is_floating(given.type) else None,
        floats if in_rows else "float32",
    )


def _connect(scope: Any, container: Any, tensor: str, dtype: Any, output: Any) -> None:
    """Connect a tensor with an output, and cast floats to the type of the output."""
    kind, attributes = "Identity", {}
    if dtype is not None and dtype != _dtype_of_floats(output.type):
        onnx = import_onnx("onnx", "register_converters")
        wanted = np.dtype(_dtype_of_floats(output.type))
        kind = "Cast"
        attributes = {"to": onnx.helper.np_dtype_to_tensor_dtype(wanted)}
    container.add_node(
        kind,
        tensor,
        output.full_name,
        name=scope.get_unique_operator_name(kind),
        **attributes,
    )


def _asks_for_scores(scope: Any, container: Any, estimator: Any) -> bool:
    """Return True if skl2onnx asks for scores instead of probabilities.

    skl2onnx sets the option "raw_scores" of the estimator in a meta-estimator. A
    Pipeline does not pass it on to its last step, and a search does not have it.
    """
    if container.get_options(estimator, {"raw_scores": False})["raw_scores"]:
        return True
    for operator in scope.operators.values():
        outer = operator.raw_operator
        if isinstance(outer, CalibratedClassifierCV):
            if any(one.estimator is estimator for one in outer.calibrated_classifiers_):
                return True
        elif _ends_in(outer, estimator) and _asks_for_scores(scope, container, outer):
            return True
    return False


def _ends_in(outer: Any, estimator: Any) -> bool:
    """Return True if a Pipeline or search predicts what an estimator in it predicts."""
    while isinstance(outer, Pipeline | GridSearchCV):
        is_pipeline = isinstance(outer, Pipeline)
        outer = outer.steps[-1][1] if is_pipeline else outer.best_estimator_
        if outer is estimator:
            return True
    return False


def _with_a_score_per_class(model: Model) -> Model:
    """Return a model that computes the scores -s and s of two classes."""
    *before, last = model.operations
    if not isinstance(last, Scores) or len(last.coef) > 1:
        return model
    coef, intercept = (np.concatenate([-a, a]) for a in (last.coef, last.intercept))
    last = replace(last, coef=coef, intercept=intercept)
    return replace(model, operations=(*before, last))


def _labels(scope: Any, classifier: Any) -> np.ndarray:
    """Return the labels of a model: the classes, or with "nocl" their indices."""
    classes = to_numpy(classifier.classes_)
    if scope.get_options(classifier, {"nocl": False})["nocl"]:
        return np.arange(len(classes))
    # fit refuses floats that are not integers
    numbers = classes.dtype.kind in "bf"
    return as_labels(classes.astype(np.int64) if numbers else classes)


def _set_features(operator: Any) -> None:
    """Set the output type of a layer (a shape calculator of skl2onnx)."""
    layer = operator.raw_operator
    shape: Sequence[int] = layer.output_shape_
    if layer._gives_rows():
        shape = [math.prod(shape)]
    operator.outputs[0].type = _type_of_floats(operator.inputs[0].type, shape)


def _set_predictions(operator: Any) -> None:
    """Set the output types of a classifier (a shape calculator of skl2onnx)."""
    from skl2onnx.common.data_types import Int64TensorType, StringTensorType

    labels = _labels(operator.scope_inst, operator.raw_operator)
    _check_pipelines(operator)
    kind = StringTensorType if labels.dtype.kind == "O" else Int64TensorType
    given = operator.inputs[0].type
    operator.outputs[0].type = kind([None])
    operator.outputs[1].type = _type_of_floats(given, [len(labels)])


def _check_pipelines(operator: Any) -> None:
    """Raise if skl2onnx would cast the scores of a Pipeline to integers."""
    for outer in operator.scope_inst.operators.values():
        pipeline = outer.raw_operator
        if not isinstance(pipeline, Pipeline) or not _ends_in(
            pipeline, operator.raw_operator
        ):
            continue
        scores = outer.outputs[1].type
        if not _is_floating(scores):
            raise ValueError(
                f"skl2onnx would cast the scores of a Pipeline to integers, because "
                f"the input of the model is {type(scores).__name__}; pass float32 "
                "inputs, as X[:1].astype(np.float32)."
            )


def _type_of_floats(given: Any, shape: Sequence[int]) -> Any:
    """Return the type that skl2onnx expects of floats computed from an input."""
    from skl2onnx.common.data_types import guess_tensor_type

    return type(guess_tensor_type(given))([None, *shape])


def _dtype_of_floats(tensor_type: Any) -> Literal["float32", "float64"]:
    from skl2onnx.common.data_types import DoubleTensorType

    return "float64" if isinstance(tensor_type, DoubleTensorType) else "float32"


def _is_floating(tensor_type: Any) -> bool:
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    return isinstance(tensor_type, (FloatTensorType, DoubleTensorType))
