"""Export of fitted models to ONNX, which is imported when it is needed."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from skdmn._version import __version__
from skdmn.data.reader import as_files
from skdmn.export.graph import Graph, Nodes
from skdmn.export.model import Model, model_of, one_hot_kernels, refuse
from skdmn.kernels.geometry import Window
from skdmn.kernels.reference.contrast import root_of_floor
from skdmn.operations import (
    AverageFlips,
    AveragePool,
    Concatenate,
    Convolve,
    Encode,
    Flatten,
    MaxPool,
    Operation,
    Power,
    Rectify,
    ScaleChannels,
    ScaleValues,
    Scores,
    Select,
    Unflatten,
)
from skdmn.utils.optional import import_onnx
from skdmn.utils.validation import times, warn_user

if TYPE_CHECKING:
    import onnx

_OPSET = 17  # from 2022; older runtimes are rare
_LEAST_OPSET = 13
_FLOATS = {"float32": 1, "float64": 11}  # of onnx.TensorProto


def to_onnx(fitted: Any, example: Any, *, opset: int = _OPSET) -> onnx.ModelProto:
    """Convert a fitted layer, network, classifier or Pipeline to an ONNX model.

    Parameters
    ----------
    fitted : estimator
        A layer of skdmn, `DensityMatrixNetwork`, a classifier of skdmn, scikit-learn's
        StandardScaler or LogisticRegression, or a Pipeline of these. An `ImageReader`
        at its beginning is left out, because ONNX cannot read files.
    example : array of shape (n, height, width[, channels]) or (n, n_features)
        Example of the input, such as ``X[:1]``. The model takes any number of images or
        rows of this shape and dtype. For uint8 images, its input is uint8. Its byte
        order is that of this machine. If `fitted` begins with an ImageReader, the
        example may be files.
    opset : int, default=17
        Version of ONNX's operators, at least 13.

    Returns
    -------
    onnx.ModelProto
        Model that computes in float32 and needs no skdmn. Its input is "X". The outputs
        of a classifier are "label" and "probabilities"; the output of other models is
        "features", as returned by ``transform``.

        ``metadata_props`` has, in JSON: "input", the dtype and layout of the input;
        "values", the range of a sample of the images of the fit; "classes" of a
        classifier, in the order of the probabilities; and "preparation", what an
        `ImageReader` does to files before the model.

    Raises
    ------
    ImportError
        If onnx is not installed.
    TypeError
        If an estimator cannot be exported.
    ValueError
        If the example does not have the shape that was fitted or has a dtype that ONNX
        does not have, or if the opset is too old or too new.
    NotFittedError
        If an estimator is not fitted.

    Warns
    -----
    UserWarning
        If the example is in another byte order, because onnxruntime would read such
        arrays wrongly.

    See Also
    --------
    register_converters : For Pipelines with other estimators, through skl2onnx.

    Notes
    -----
    The means that a SoftmaxClassifier subtracts become part of its intercept. Features
    whose spread is below a thousandth of their mean lose precision in float32.

    Examples
    --------
    >>> from skdmn import make_dmn
    >>> from skdmn.datasets import load_digits_images
    >>> from skdmn.export import to_onnx
    >>> X, y = load_digits_images()
    >>> dmn = make_dmn(n_layers=1, variance_cutoff=0.9).fit(X, y)
    >>> [node.op_type for node in to_onnx(dmn, X[:1]).graph.node]
    ['Cast', 'Reshape', 'Conv', 'Relu', 'MaxPool', 'Reshape', 'Gemm', 'Softmax',
     'ArgMax', 'Gather']
    """
    onnx = import_onnx("onnx", "to_onnx")
    model = model_of(fitted)
    if model.reader is not None and as_files(example) is not None:
        example = model.reader.transform(example)
    example = np.asarray(example)
    newest = onnx.defs.onnx_opset_version()
    if not _LEAST_OPSET <= opset <= newest:
        raise ValueError(
            f"opset={opset} is not one of {_LEAST_OPSET} to {newest}, which this "
            "version of onnx and skdmn write; pass one of these."
        )
    example = _checked_example(example, model)
    graph = Graph(onnx)
    outputs = Writer(model, graph, "X", example.ndim, example.dtype).outputs()
    made = [
        graph.output(name, tensor, dtype, shape)
        for name, (tensor, dtype, shape) in outputs.items()
    ]
    taken = onnx.helper.make_tensor_value_info(
        "X",
        onnx.helper.np_dtype_to_tensor_dtype(example.dtype),
        ["n", *example.shape[1:]],
    )
    operators = [onnx.helper.make_opsetid("", opset)]
    written = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes, type(fitted).__name__, [taken], made, graph.initializers
        ),
        opset_imports=operators,
        ir_version=onnx.helper.find_min_ir_version_for(operators),
        producer_name="skdmn",
        producer_version=__version__,
    )
    onnx.helper.set_model_props(written, _metadata(model, example))
    onnx.checker.check_model(written, full_check=True)
    return written


def _metadata(model: Model, example: np.ndarray) -> dict[str, str]:
    """Return what users of the model need to know, in JSON."""
    layouts = ["rows of images, in C order of (height, width, channels)"]
    layouts += ["(n, height, width)", "(n, height, width, channels)"]
    layout = "rows" if model.takes_rows else layouts[example.ndim - 2]
    known = {
        "input": f"X: {example.dtype.name}, {layout}",
        "values": model.values,
        "classes": None if model.classes is None else as_labels(model.classes).tolist(),
        "preparation": model.preparation,
    }
    return {k: json.dumps(value) for k, value in known.items() if value is not None}


class Writer:
    """Writer of operations as nodes.

    `at` is the name of the tensor computed so far. `layout` is "first" for tensors of
    shape (n, channels, height, width), "last" for (n, height, width, channels), or
    "rows". `dtype` is that of the input, or None if it is not known; `precision` is
    that of the computation.
    """

    def __init__(
        self,
        model: Model,
        graph: Nodes,
        at: str,
        ndim: int,
        dtype: np.dtype | None,
        precision: Literal["float32", "float64"] = "float32",
    ) -> None:
        self.model, self.graph, self.at = model, graph, at
        self.precision = precision
        self.shape = model.shape
        self.layout = "rows" if ndim == 2 else "last"
        self.is_rows = False  # True if the operations flattened the images
        if dtype != precision:
            self.add("Cast", to=_FLOATS[precision])
        for operation in model.operations:
            self.write(operation)

    def outputs(self) -> dict[str, tuple[str, Any, list[int]]]:
        """Return tensor, dtype and shape (without n) of each output by its name."""
        if self.model.classes is None:
            if self.is_rows:
                self.as_rows()
                return {"features": (self.at, np.float32, [math.prod(self.shape)])}
            self.as_last()
            return {"features": (self.at, np.float32, list(self.shape))}
        probabilities = self.graph.node("Softmax", self.at, axis=1)
        labels = as_labels(self.model.classes)
        shape = [len(labels)]
        return {
            "label": (self.label(labels), labels.dtype, []),
            "probabilities": (probabilities, np.float32, shape),
        }

    def label(self, labels: np.ndarray) -> str:
        """Add the label of the largest logit, as in `predict`; return its name."""
        index = self.graph.node("ArgMax", self.at, axis=1, keepdims=0)
        return self.graph.node("Gather", self.graph.constant(labels), index)

    def write(self, operation: Operation) -> None:
        """Add the nodes of an operation."""
        match operation:
            case Flatten(shape=shape):
                self.shape, self.is_rows = shape, True
            case Unflatten(shape=shape):
                self.as_rows()
                self.shape, self.is_rows = shape, False
            case ScaleValues(mean=mean, scale=scale):
                self.as_rows()
                self.add("Sub", mean)
                self.add("Div", scale)
            case Scores():
                self.scores(operation.of_all_classes())
            case Convolve(filters=filters, bias=bias) if self.is_pixel:
                self.as_rows()
                operands = [filters.reshape(len(filters), -1)]
                operands += [] if bias is None else [bias]
                self.add("Gemm", *operands, transB=1)
                self.shape = operation.output_shape(self.shape)
            case Rectify() | Select() if self.is_pixel:
                self.as_rows()
                self.of_images(operation)
            case _:
                self.as_first()
                self.of_images(operation)

    @property
    def is_pixel(self) -> bool:
        """True for images of one pixel, whose channels can be a row without copies."""
        return self.layout != "first" and self.shape[:2] == (1, 1)

    def of_images(self, operation: Operation) -> None:
        """Add the nodes of an operation on images."""
        match operation:
            case Convolve(filters=filters, bias=bias):
                operands = [np.moveaxis(filters, 3, 1)]
                operands += [] if bias is None else [bias]
                self.add("Conv", *operands, **self.window(operation.window))
            case Rectify():
                self.add("Relu")
            case MaxPool(window=window):
                self.add("MaxPool", **self.window(window))
            case Encode():
                self.encode(operation)
            case AveragePool(window=window):
                self.add("AveragePool", **self.window(window), count_include_pad=0)
            case Power(power=power):
                sign, size = (
                    self.graph.node(kind, self.at) for kind in ("Sign", "Abs")
                )
                self.at = size
                self.add("Pow", np.array(power))
                self.at = self.graph.node("Mul", sign, self.at)
            case AverageFlips(operations=operations):
                self.average_flips(operations)
                return
            case Concatenate():
                self.concatenate(operation)
            case ScaleChannels(mean=mean, scale=scale):
                ones, zeros = np.ones_like(mean), np.zeros_like(mean)
                operands = [1 / scale, zeros, mean, ones]
                self.add("BatchNormalization", *operands, epsilon=0.0)
            case Select(channels=channels):
                self.add("Gather", channels.astype(np.int64), axis=1)
            case _:
                raise refuse(operation, "ONNX")
        self.shape = operation.output_shape(self.shape)

    def encode(self, operation: Encode) -> None:
        """Add contrast-normalized products with two-sided soft thresholding."""
        self.normalized_patches(operation)
        weights = np.moveaxis(operation.filters, 3, 1)
        self.add("Conv", weights.reshape(len(weights), -1, 1, 1))
        opposite = self.graph.node("Neg", self.at)
        self.at = self.graph.node("Concat", self.at, opposite, axis=1)
        self.add("Sub", np.array(operation.threshold))
        self.add("Relu")

    def normalized_patches(self, operation: Encode) -> None:
        """Add contrast-normalized patches, with a channel for each entry (c, y, x).

        As in the definition, deviations are computed before they are squared, in a unit
        that depends on the patch: neither offsets, nor the unit of the images, nor
        extreme pixels of other patches cost precision in float32.
        """
        _, height, width, channels = operation.filters.shape
        d, images = height * width * channels, self.at
        mean = np.full((1, d, 1, 1), 1 / d)
        self.add("Conv", one_hot_kernels(height, width, channels), group=channels)
        # the first pixel of every patch is subtracted, which is exact for similar ones
        rows, columns = operation.window.output_size(self.shape)
        ends = [np.array(values) for values in ([0, 0, 0], [1, rows, columns])]
        axes = np.array([1, 2, 3])
        constants = [self.graph.constant(values) for values in (*ends, axes)]
        first = self.graph.node("Slice", images, *constants)
        self.combine("Sub", self.at, first)
        deviations = self.at
        self.add("Conv", mean)
        self.combine("Sub", deviations, self.at)
        deviations = self.at
        root = np.array(root_of_floor(operation.floor, np.finfo(self.precision)))
        self.add("Abs")
        self.add("Conv", mean)
        self.add("Max", root)
        unit = self.at
        scaled = self.graph.node("Div", deviations, unit)
        self.combine("Mul", scaled, scaled)
        self.add("Conv", mean)
        variance, self.at = self.at, unit
        self.add("Reciprocal")
        self.add("Mul", root)
        self.combine("Mul", self.at, self.at)
        self.combine("Add", variance, self.at)
        self.add("Sqrt")
        self.combine("Div", scaled, self.at)

    def combine(self, kind: str, first: str, second: str) -> None:
        """Add a node of two tensors."""
        self.at = self.graph.node(kind, first, second)

    def average_flips(self, operations: tuple[Operation, ...]) -> None:
        """Add operations on images and on their horizontal flips, then average."""
        axis, last = np.array([3]), np.array([np.iinfo(np.int64).min])
        reverse = [np.array([-1]), last, axis, np.array([-1])]
        constants = [self.graph.constant(values.astype(np.int64)) for values in reverse]
        mirrored = self.graph.node("Slice", self.at, *constants)
        self.at = self.graph.node("Concat", self.at, mirrored, axis=0)
        for operation in operations:
            self.write(operation)
        self.is_rows = False
        self.as_first()
        height, width, n_channels = self.shape
        self.add("Reshape", np.array([2, -1, n_channels, height, width]))
        self.add("ReduceSum", np.array([0]), keepdims=0)
        self.add("Mul", np.array(0.5))

    def concatenate(self, operation: Concatenate) -> None:
        """Add the branches, each on the same images, and concatenate channels."""
        images, shape, found = self.at, self.shape, []
        for branch in operation.branches:
            self.at, self.shape = images, shape
            for one in branch:
                self.write(one)
            self.as_first()
            found.append(self.at)
        self.at, self.shape = self.graph.node("Concat", *found, axis=1), shape

    def window(self, window: Window) -> dict[str, Any]:
        """Return a window as attributes of ONNX, for the current image shape."""
        pads = window.pads(self.shape)
        return {
            "kernel_shape": window.size,
            "strides": window.stride,
            "pads": [*pads.before, *pads.after],
        }

    def scores(self, operation: Scores) -> None:
        """Add the logits; reorder the coefficients instead of the values of rows."""
        coef = operation.coef
        if self.layout == "first":
            self.reshape(math.prod(self.shape))
            images = coef.reshape(len(coef), *self.shape)
            coef = np.moveaxis(images, 3, 1).reshape(len(coef), -1)
        else:
            self.as_rows()
        intercept = operation.intercept - operation.coef @ operation.mean
        self.add("Gemm", coef, intercept, transB=1)

    def as_first(self) -> None:
        """Convert to the layout "first"."""
        height, width, channels = self.shape
        if self.layout == "first":
            return
        if channels == 1:
            self.reshape(1, height, width)
        else:
            self.as_last()
            self.add("Transpose", perm=[0, 3, 1, 2])
        self.layout = "first"

    def as_last(self) -> None:
        """Convert to the layout "last"."""
        height, width, channels = self.shape
        if self.layout == "rows" or (self.layout == "first" and channels == 1):
            self.reshape(height, width, channels)
        elif self.layout == "first":
            self.add("Transpose", perm=[0, 2, 3, 1])
        self.layout = "last"

    def as_rows(self) -> None:
        """Convert to rows, in C order of (y, x, channel)."""
        if self.layout == "rows":
            return
        if self.layout == "first" and self.shape[2] > 1:
            self.as_last()
        self.reshape(math.prod(self.shape))
        self.layout = "rows"

    def reshape(self, *shape: int) -> None:
        """Reshape every image."""
        self.add("Reshape", np.array([-1, *shape], np.int64))

    def add(self, kind: str, *operands: np.ndarray, **attributes: Any) -> None:
        """Add a node after the last one, with floating or integer constants."""
        constants = [
            self.graph.constant(
                np.asarray(a, a.dtype if a.dtype.kind == "i" else self.precision)
            )
            for a in operands
        ]
        self.at = self.graph.node(kind, self.at, *constants, **attributes)


def as_labels(classes: np.ndarray) -> np.ndarray:
    """Return labels in a dtype that ONNX supports."""
    if classes.dtype.kind in "mM":
        raise TypeError(
            f"The labels are {classes.dtype}, which ONNX does not have; fit the "
            "classifier with strings, such as numpy.datetime_as_string(y), or numbers."
        )
    if classes.dtype.kind in "iu":
        return classes.astype(np.int64)
    if classes.dtype.kind in "US":
        return classes.astype(object)
    return classes.astype(classes.dtype.newbyteorder("="), copy=False)


def _checked_example(example: np.ndarray, model: Model) -> np.ndarray:
    """Return an example in the byte order of this machine.

    Raise if it does not have the shape and dtype that the model needs.
    """
    shape, given = model.shape, example.shape[1:]
    expected = [shape, (math.prod(shape),)] + ([shape[:2]] if shape[2] == 1 else [])
    any_images = model.takes_rows and math.prod(given) == math.prod(shape)
    if given not in expected and not any_images:
        raise ValueError(
            f"The example has shape {example.shape}, but images of {times(shape)} were "
            "fitted; pass X[:1], where X is an input of transform or predict."
        )
    if example.dtype.kind not in "biuf":
        raise ValueError(
            f"The example has dtype {example.dtype}; pass integers or floats."
        )
    if example.dtype.itemsize > 8:
        raise ValueError(
            f"The example has dtype {example.dtype}, which ONNX does not have; pass "
            "X[:1].astype(np.float64)."
        )
    if not example.dtype.isnative:
        warn_user(
            f"The example has dtype {example.dtype.str!r}, which is not in this "
            "machine's byte order; the model takes images in this order, and "
            "onnxruntime would read others wrongly. Give the model "
            'X.astype(X.dtype.newbyteorder("=")).'
        )
    return example.astype(example.dtype.newbyteorder("="), copy=False)
