"""Converters of skdmn's estimators for skl2onnx."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from skdmn.export.model import model_of
from skdmn.export.onnx import Writer, as_labels
from skdmn.layers.base import ImageTransformer
from skdmn.linear_model.softmax import SoftmaxClassifier
from skdmn.utils.array_api import to_numpy
from skdmn.utils.optional import import_onnx


def register_converters() -> None:
    """Register skdmn's estimators with skl2onnx.

    After this call, ``skl2onnx.to_onnx`` and ``skl2onnx.convert_sklearn`` can convert
    layers, `DensityMatrixNetwork` and `SoftmaxClassifier`, alone or in Pipelines with
    other estimators. `SoftmaxClassifier` has the options "zipmap" and "nocl", as
    LogisticRegression does. The models compute in float32 for inputs of any dtype.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.

    See Also
    --------
    to_onnx : Writes smaller graphs, for Pipelines of skdmn's estimators.

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
    layer: Any
    for layer in _layers(ImageTransformer):
        skl2onnx.update_registered_converter(
            layer, f"Skdmn{layer.__name__}", _set_features, _convert
        )
    skl2onnx.update_registered_converter(
        SoftmaxClassifier,
        "SkdmnSoftmaxClassifier",
        _set_predictions,
        _convert,
        options={"zipmap": [True, False, "columns"], "nocl": [True, False]},
    )


def _layers(base: type) -> Iterator[Any]:
    """Yield the classes of layers and networks, including those of users."""
    subclasses: list[Any] = base.__subclasses__()
    for layer in subclasses:
        if not layer.__name__.startswith("_"):
            yield layer
        yield from _layers(layer)


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


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Write the nodes of a step (a converter of skl2onnx)."""
    given, graph = operator.inputs[0], _Container(scope, container)
    model = model_of(operator.raw_operator)
    ndim = len(given.type.shape) or model.ndim
    dtype = np.dtype(np.float32 if _is_float(given.type) else np.float64)
    made = Writer(model, graph, given.full_name, ndim, dtype).outputs()
    for (tensor, _, _), output in zip(made.values(), operator.outputs, strict=True):
        container.add_node(
            "Identity",
            tensor,
            output.full_name,
            name=scope.get_unique_operator_name("Identity"),
        )


def _set_features(operator: Any) -> None:
    """Set the output type of a layer (a shape calculator of skl2onnx)."""
    from skl2onnx.common.data_types import FloatTensorType

    layer = operator.raw_operator
    shape: Sequence[int] = layer.output_shape_
    if layer._gives_rows():
        shape = [math.prod(shape)]
    operator.outputs[0].type = FloatTensorType([None, *shape])


def _set_predictions(operator: Any) -> None:
    """Set the output types of a classifier (a shape calculator of skl2onnx)."""
    from skl2onnx.common.data_types import (
        FloatTensorType,
        Int64TensorType,
        StringTensorType,
    )

    labels = as_labels(to_numpy(operator.raw_operator.classes_))
    if labels.dtype.kind not in "iO":
        raise ValueError(
            f"skl2onnx takes int and string labels, but classes_ are {labels.dtype}; "
            "use skdmn.export.to_onnx."
        )
    kind = StringTensorType if labels.dtype.kind == "O" else Int64TensorType
    operator.outputs[0].type = kind([None])
    operator.outputs[1].type = FloatTensorType([None, len(labels)])


def _is_float(tensor_type: Any) -> bool:
    from skl2onnx.common.data_types import FloatTensorType

    return isinstance(tensor_type, FloatTensorType)
