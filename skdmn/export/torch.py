"""Export of fitted models to PyTorch, which is imported when it is needed."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

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
from skdmn.utils.optional import import_torch
from skdmn.utils.validation import Shape

if TYPE_CHECKING:
    import torch


def to_torch(
    fitted: Any, *, dtype: Any = None, device: Any = None, freeze: bool = True
) -> torch.nn.Sequential:
    """Convert a fitted layer, network, classifier or Pipeline to PyTorch modules.

    Parameters
    ----------
    fitted : estimator
        A layer of skdmn, `DensityMatrixNetwork`, a classifier of skdmn, scikit-learn's
        StandardScaler or LogisticRegression, or a Pipeline of these. An `ImageReader`
        at its beginning is left out, because modules cannot read files.
    dtype : torch.dtype or None, default=None
        Dtype of the parameters. None uses torch.float32.
    device : torch.device, str or None, default=None
        Device of the parameters. None uses torch's default device.
    freeze : bool, default=True
        If True, training does not change the parameters (``requires_grad=False``). If
        False, they are trainable, and a ChannelStandardScaler becomes a separate
        BatchNorm2d.

    Returns
    -------
    torch.nn.Sequential
        Modules of torch in evaluation mode. They can be loaded without skdmn.

        The input has values in the same range as the images of `fitted`, integers or
        floats, which are converted to the dtype of the parameters. It has channels
        first: (n, channels, height, width), also for one channel. If
        `fitted` takes rows, or is a classifier alone, the input has rows. Rows of
        images are ``images.reshape(n, -1)`` of images with channels last.

        The output has shape (n, channels, height, width) for feature maps. Rows are in
        the order of ``get_feature_names_out``. A classifier returns logits of shape
        (n, n_classes), also for two classes. Their softmax gives the probabilities of
        the classes in the attribute ``classes``, a list.

        If `fitted` begins with an ImageReader, the attribute ``preparation`` says in a
        dict what the reader does to files.

    Raises
    ------
    ImportError
        If torch is not installed.
    TypeError
        If an estimator cannot be exported.
    NotFittedError
        If an estimator is not fitted.

    See Also
    --------
    skdmn.export.to_onnx : Export to ONNX, including the labels.

    Notes
    -----
    Pruned filters are removed from convolutions. With ``freeze=True``, a
    ChannelStandardScaler becomes part of the next convolution, if that has no padding,
    or of the classifier. Otherwise it becomes a BatchNorm2d, whose statistics change
    in training mode. The means that a SoftmaxClassifier subtracts become part of its
    intercept. Features whose spread is below a thousandth of their mean lose precision
    in float32.

    Examples
    --------
    >>> from skdmn import make_dmn
    >>> from skdmn.datasets import load_digits_images
    >>> from skdmn.export import to_torch
    >>> X, y = load_digits_images()
    >>> dmn = make_dmn(n_layers=1, variance_cutoff=0.9).fit(X, y)
    >>> [type(module).__name__ for module in to_torch(dmn)]
    ['Conv2d', 'ReLU', 'MaxPool2d', 'Flatten', 'Linear']
    """
    torch = import_torch("to_torch")
    model = model_of(fitted, fold=freeze)
    module = torch.nn.Sequential(*_Writer(model).modules)
    for parameter in module.parameters():
        parameter.requires_grad_(not freeze)
    if model.classes is not None:
        module.classes = model.classes.tolist()
    if model.preparation is not None:
        module.preparation = model.preparation
    names = [name for name, _ in module.named_parameters()]
    module.register_forward_pre_hook(_as_floats(torch, names))
    device = torch.get_default_device() if device is None else device
    return module.to(dtype=dtype or torch.float32, device=device).eval()


class _Writer:
    """Writer of operations as modules, in float64."""

    def __init__(self, model: Model) -> None:
        import torch

        self.torch, self.nn = torch, torch.nn
        self.modules: list[Any] = []
        self.shape = model.shape  # of the images before the last flattening
        self.given = model.shape  # of the input of the next operation
        self.is_pixel = False  # True if rows stand for images of one pixel
        operations = model.operations
        if model.ndim == 2:
            if isinstance(operations[0], Flatten):  # rows are not reshaped
                operations = operations[1:]
                self.shape = (1, math.prod(model.shape), 1)
            else:
                self.unflatten(model.shape)
        for at, operation in enumerate(operations):
            self.write(operation, operations[at + 1 : at + 3])
            self.given = operation.output_shape(self.given)
        if self.is_pixel:
            self.as_images()

    def write(self, operation: Operation, following: Sequence[Operation]) -> None:
        """Add the modules of an operation; some depend on the two that follow."""
        if self.is_pixel and not isinstance(
            operation, Convolve | Rectify | Select | ScaleChannels | Flatten
        ):
            self.as_images()
        match operation:
            case Convolve() if self.is_pixel:
                bias = operation.bias
                weights = operation.filters.reshape(len(operation.filters), -1)
                self.linear(weights, bias)
                self.shape = operation.output_shape(self.given)
            case Convolve():
                self.convolve(operation)
            case Rectify():
                self.modules.append(self.nn.ReLU())
            case MaxPool(window=window):
                self.pool(window)
            case Encode():
                self.encode(operation)
            case AveragePool():
                self.average(operation)
            case Power(power=power):
                self.modules.append(_power(self.torch, power))
            case AverageFlips(operations=operations):
                layers = _Writer(Model(self.given, 4, operations, None)).modules
                self.modules.append(_average_flips(self.torch, layers))
            case Concatenate(branches=branches):
                models = (Model(self.given, 4, branch, None) for branch in branches)
                layers = [_Writer(model).modules for model in models]
                self.modules.append(_concatenated(self.torch, layers))
            case Select(channels=channels):
                self.modules.append(_selected(self.torch, channels))
                if self.is_pixel:
                    self.shape = operation.output_shape(self.given)
            case ScaleChannels(mean=mean, scale=scale):
                norm = self.nn.BatchNorm1d if self.is_pixel else self.nn.BatchNorm2d
                self.normalize(norm, mean, scale)
            case ScaleValues(mean=mean, scale=scale):
                self.normalize(self.nn.BatchNorm1d, mean, scale)
            case Flatten() if self.is_pixel:
                self.is_pixel = False
            case Flatten(shape=shape):
                in_order = not _is_linear(following)
                self.flatten(shape, in_order)
                self.shape = (1, math.prod(shape), 1) if in_order else shape
            case Unflatten(shape=shape):
                self.unflatten(shape)
            case Scores():
                self.scores(operation.of_all_classes())
            case _:
                raise refuse(operation, "PyTorch")

    def encode(self, operation: Encode) -> None:
        """Add an encoding: a convolution and functions of torch."""
        filters = np.moveaxis(operation.filters, 3, 1)
        self.convolve(Convolve(filters.reshape(len(filters), 1, 1, -1)))
        convolution = self.modules.pop()
        self.modules.append(_encoding(self.torch, convolution, operation))

    def average(self, operation: AveragePool) -> None:
        """Add average pooling over the pixels inside the image.

        torch excludes the padding from the mean only if it is equal on both sides.
        """
        window = operation.window
        (before, after), size = window.pads(self.given), window.size
        if before == after and all(2 * before[i] <= size[i] for i in (0, 1)):
            self.modules.append(
                self.nn.AvgPool2d(size, window.stride, before, count_include_pad=False)
            )
            return
        (top, left), (bottom, right) = before, after
        pads = self.nn.ZeroPad2d((left, right, top, bottom))
        pool = self.nn.AvgPool2d(size, window.stride)
        ones = self.torch.ones((1, 1, *self.given[:2]), dtype=self.torch.float64)
        self.modules += [pads, pool, _times(self.torch, 1 / pool(pads(ones)))]

    def convolve(self, operation: Convolve) -> None:
        window, bias = operation.window, operation.bias
        n, height, width, channels = operation.filters.shape
        before, after = window.pads(self.given)
        (top, left), (bottom, right) = before, after
        around = before == after
        if not around:
            self.modules.append(self.nn.ZeroPad2d((left, right, top, bottom)))
        module = self.torch.nn.utils.skip_init(
            self.nn.Conv2d,
            *(channels, n, (height, width), window.stride),
            padding=before if around else 0,
            bias=bias is not None,
            dtype=self.torch.float64,
        )
        self.fill(module.weight, np.moveaxis(operation.filters, 3, 1))
        if bias is not None:
            self.fill(module.bias, bias)
        self.modules.append(module)

    def pool(self, window: Window) -> None:
        """Add max pooling; torch pads both sides equally, by at most half a window."""
        (before, after), size = window.pads(self.given), window.size
        around = before == after and all(2 * before[i] <= size[i] for i in (0, 1))
        # with ceil_mode, torch also takes windows that extend beyond the far border
        begin = before == (0, 0) and all(after[i] < window.stride[i] for i in (0, 1))
        if not (around or begin):
            pads = (before[1], after[1], before[0], after[0])
            self.modules.append(self.nn.ConstantPad2d(pads, -np.inf))
        self.modules.append(
            self.nn.MaxPool2d(
                size,
                window.stride,
                before if around else 0,
                ceil_mode=begin and not around,
            )
        )

    def normalize(self, module: Any, mean: np.ndarray, scale: np.ndarray) -> None:
        norm = module(len(mean), dtype=self.torch.float64)
        # the weight compensates for the epsilon that torch adds to the variance
        self.fill(norm.running_mean, mean)
        self.fill(norm.running_var, scale**2)
        self.fill(norm.weight, np.sqrt(scale**2 + norm.eps) / scale)
        self.modules.append(norm)

    def flatten(self, shape: Shape, in_order: bool) -> None:
        """Add flattening; the order of (y, x, channel) needs a shuffle."""
        self.modules.append(self.nn.Flatten())
        if in_order and shape[2] > 1 and shape[0] * shape[1] > 1:
            self.shuffle(shape, groups=shape[2])
            self.modules.append(self.nn.Flatten())

    def unflatten(self, shape: Shape) -> None:
        """Add the conversion of rows in the order of (y, x, channel) to images."""
        height, width, channels = shape
        if height * width == 1:
            self.is_pixel = True
            return
        if channels > 1:
            self.shuffle(shape, groups=height * width)
            self.modules.append(self.nn.Flatten())
        self.modules.append(self.nn.Unflatten(1, (channels, height, width)))

    def as_images(self) -> None:
        """Add the conversion of rows to images of one pixel."""
        self.modules.append(self.nn.Unflatten(1, (self.given[2], 1, 1)))
        self.is_pixel = False

    def shuffle(self, shape: Shape, groups: int) -> None:
        """Transpose rows of a number of groups, with torch's only module for that."""
        values = math.prod(shape)
        self.modules.append(self.nn.Unflatten(1, (values, 1)))
        self.modules.append(self.nn.ChannelShuffle(groups))

    def scores(self, operation: Scores) -> None:
        coef = operation.coef
        self.linear(coef, operation.intercept - coef @ operation.mean)

    def linear(self, weights: np.ndarray, bias: np.ndarray | None) -> None:
        n = len(weights)
        # rows are in torch's order of (channel, y, x)
        weights = np.moveaxis(weights.reshape(n, *self.shape), 3, 1).reshape(n, -1)
        module = self.torch.nn.utils.skip_init(
            self.nn.Linear,
            *(weights.shape[1], n),
            bias=bias is not None,
            dtype=self.torch.float64,
        )
        self.fill(module.weight, weights)
        if bias is not None:
            self.fill(module.bias, bias)
        self.modules.append(module)

    def fill(self, tensor: Any, values: np.ndarray) -> None:
        with self.torch.no_grad():
            tensor.copy_(self.torch.from_numpy(np.ascontiguousarray(values)))


def _is_linear(operations: Sequence[Operation]) -> bool:
    """Return True if the first operations become a Linear module, of any row order."""
    match operations:
        case [Scores(), *_]:
            return True
        case [Unflatten(shape=(1, 1, _)), Convolve()]:
            return True
    return False


# operations without a module in torch become a graph of functions, so that the model
# needs torch only


def _as_floats(torch: Any, names: list[str]) -> Any:
    """Return a hook that converts the input to the dtype of the named parameters.

    Without parameters, integers become float32.
    """
    graph = torch.fx.Graph()
    module, inputs = graph.placeholder("module"), graph.placeholder("inputs")
    images = graph.call_function(operator.getitem, (inputs, 0))
    if names:
        first = graph.call_method("get_parameter", (module, names[0]))
        dtype = graph.call_function(getattr, (first, "dtype"))
    else:
        dtype = graph.call_function(getattr, (images, "dtype"))
        dtype = graph.call_function(torch.promote_types, (dtype, torch.float32))
    graph.output(graph.call_method("to", (images, dtype)))
    return torch.fx.GraphModule({}, graph, "AsFloats")


def _encoding(torch: Any, convolution: Any, operation: Encode) -> Any:
    """Return contrast-normalized products with two-sided soft thresholding.

    As in the definition, deviations are computed before they are squared, in a unit
    that depends on the patch: neither offsets, nor the unit of the images, nor extreme
    pixels of other patches cost precision in float32.
    """
    graph = torch.fx.Graph()
    _, height, width, channels = operation.filters.shape

    def call(function: Any, *args: Any) -> Any:
        return graph.call_function(function, args)

    def mean(node: Any) -> Any:
        return call(torch.mean, node, 1, True)

    images, kernels = graph.placeholder("images"), graph.get_attr("kernels")
    settings = (None, 1, 0, 1, channels)  # bias, stride, padding, dilation, groups
    patches = call(torch.nn.functional.conv2d, images, kernels, *settings)
    # the first pixel of every patch is subtracted, which is exact for similar ones
    inside = [slice(0, 1 - size or None) for size in (height, width)]
    first = call(operator.getitem, images, (slice(None), slice(0, 1), *inside))
    patches = call(torch.sub, patches, first)
    patches = call(torch.sub, patches, mean(patches))
    root = root_of_floor(operation.floor, np.finfo(np.float32))
    unit = call(torch.clamp, mean(call(torch.abs, patches)), root)
    patches = call(torch.div, patches, unit)
    floor = call(torch.square, call(torch.mul, call(torch.reciprocal, unit), root))
    variance = call(torch.add, mean(call(torch.square, patches)), floor)
    patches = call(torch.div, patches, call(torch.sqrt, variance))
    products = graph.call_module("products", (patches,))
    both = call(torch.cat, (products, call(torch.neg, products)), 1)
    graph.output(call(torch.relu, call(torch.sub, both, operation.threshold)))
    copies = torch.from_numpy(one_hot_kernels(height, width, channels))
    parts = {"products": convolution, "kernels": copies}
    return torch.fx.GraphModule(parts, graph, "Encoding")


def _power(torch: Any, power: float) -> Any:
    graph = torch.fx.Graph()
    values = graph.placeholder("values")
    size = graph.call_function(torch.abs, (values,))
    raised = graph.call_function(torch.pow, (size, power))
    sign = graph.call_function(torch.sign, (values,))
    graph.output(graph.call_function(torch.mul, (sign, raised)))
    return torch.fx.GraphModule({}, graph, "Power")


def _average_flips(torch: Any, layers: list[Any]) -> Any:
    """Return the mean of the outputs for images and for their horizontal flips."""
    graph = torch.fx.Graph()
    images = graph.placeholder("images")
    mirrored = graph.call_function(torch.flip, (images, (3,)))
    found = [graph.call_module("layers", (given,)) for given in (images, mirrored)]
    total = graph.call_function(torch.add, tuple(found))
    graph.output(graph.call_function(torch.mul, (total, 0.5)))
    within = torch.nn.Sequential(*layers)
    return torch.fx.GraphModule({"layers": within}, graph, "AverageFlips")


def _concatenated(torch: Any, branches: list[list[Any]]) -> Any:
    """Return the channels of all branches, each computed from the same images."""
    graph = torch.fx.Graph()
    images = graph.placeholder("images")
    within = {
        f"branch{number}": torch.nn.Sequential(*layers)
        for number, layers in enumerate(branches)
    }
    found = [graph.call_module(name, (images,)) for name in within]
    graph.output(graph.call_function(torch.cat, (found, 1)))
    return torch.fx.GraphModule(within, graph, "Concatenate")


def _times(torch: Any, factors: Any) -> Any:
    graph = torch.fx.Graph()
    values = graph.placeholder("values")
    node = graph.get_attr("factors")
    graph.output(graph.call_function(torch.mul, (values, node)))
    return torch.fx.GraphModule({"factors": factors}, graph, "Times")


def _selected(torch: Any, channels: np.ndarray) -> Any:
    graph = torch.fx.Graph()
    values = graph.placeholder("values")
    channels = torch.from_numpy(np.ascontiguousarray(channels, np.int64))
    chosen = (values, 1, graph.get_attr("channels"))
    graph.output(graph.call_function(torch.index_select, chosen))
    return torch.fx.GraphModule({"channels": channels}, graph, "Select")
