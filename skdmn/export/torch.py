"""Fitted models as modules of PyTorch, which is imported when it is needed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from skdmn.export.model import Model, model_of, refuse
from skdmn.kernels.geometry import Window
from skdmn.operations import (
    AverageFlips,
    AveragePool,
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
    """Turn a fitted layer, network, classifier or Pipeline into PyTorch modules.

    Parameters
    ----------
    fitted : estimator
        A layer of skdmn, `DensityMatrixNetwork`, `SoftmaxClassifier`, scikit-learn's
        StandardScaler or LogisticRegression, or a Pipeline of these.
    dtype : torch.dtype or None, default=None
        Of the parameters; None: torch.float32.
    device : torch.device, str or None, default=None
        Where the parameters are; None: torch's default device.
    freeze : bool, default=True
        Leave the parameters out of training. Where they are to be trained,
        a ChannelStandardScaler stays a BatchNorm2d of its own.

    Returns
    -------
    torch.nn.Sequential
        Of torch's own modules, in evaluation mode: loads without skdmn.

        It takes images of the values that `fitted` takes, as torch has them: floats of
        shape (n, channels, height, width), also where there is one channel. What was
        fitted on rows takes rows, and so does a classifier alone: of images, as
        ``images.reshape(n, -1)`` makes them of (n, height, width, channels). It gives
        feature maps of shape (n, channels, height, width), or rows in the order of
        ``get_feature_names_out``; a classifier logits of shape (n, n_classes), two also
        for two classes, whose softmax are the probabilities in the order of
        ``classes_``.

    Raises
    ------
    ImportError
        Where torch is missing.
    TypeError
        Where there is an estimator that is none of these.
    NotFittedError
        Where one was not fitted.

    See Also
    --------
    skdmn.export.to_onnx : The same for ONNX, with labels.

    Notes
    -----
    Convolutions leave pruned filters out. A ChannelStandardScaler becomes part of the
    next convolution, where that adds no pixels at the border, or of the classifier;
    else it is a BatchNorm2d, which ``train()`` would let learn. The means that a
    SoftmaxClassifier takes away become part of its intercept: features that hardly
    differ beside their mean, by less than a thousandth of it, lose digits of float32.

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
    device = torch.get_default_device() if device is None else device
    return module.to(dtype=dtype or torch.float32, device=device).eval()


class _Writer:
    """Writes operations down as modules, in float64."""

    def __init__(self, model: Model) -> None:
        import torch

        self.torch, self.nn = torch, torch.nn
        self.modules: list[Any] = []
        self.shape = model.shape  # of the images that were flattened last
        self.given = model.shape  # of the images in front of an operation
        operations = model.operations
        if model.ndim == 2:
            if isinstance(operations[0], Flatten):  # rows stay rows, in their order
                operations = operations[1:]
                self.shape = (1, math.prod(model.shape), 1)
            else:
                self.unflatten(model.shape)
        for operation, following in zip(
            operations, (*operations[1:], None), strict=False
        ):
            self.write(operation, following)
            self.given = operation.output_shape(self.given)

    def write(self, operation: Operation, following: Operation | None) -> None:
        """Add the modules of an operation."""
        match operation:
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
            case Select(channels=channels):
                self.modules.append(_selected(self.torch, channels))
            case ScaleChannels(mean=mean, scale=scale):
                self.normalize(self.nn.BatchNorm2d, mean, scale)
            case ScaleValues(mean=mean, scale=scale):
                self.normalize(self.nn.BatchNorm1d, mean, scale)
            case Flatten(shape=shape):
                self.flatten(shape, in_order=not isinstance(following, Scores))
                self.shape = shape
            case Unflatten(shape=shape):
                self.unflatten(shape)
            case Scores():
                self.scores(operation.of_all_classes())
            case _:
                raise refuse(operation, "PyTorch")

    def encode(self, operation: Encode) -> None:
        """Add an encoding, of a convolution and functions of torch."""
        self.convolve(Convolve(operation.filters))
        convolution = self.modules.pop()
        self.modules.append(_encoding(self.torch, convolution, operation))

    def average(self, operation: AveragePool) -> None:
        """Add average pooling; torch knows the pixels inside where sides are alike."""
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
        """Add max pooling; torch pads both sides alike, by half a window at most."""
        (before, after), size = window.pads(self.given), window.size
        around = before == after and all(2 * before[i] <= size[i] for i in (0, 1))
        # windows that only begin inside are torch's too, if asked for
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
        # what is added to the variance is made up for: also variances of 0 are exact
        self.fill(norm.running_mean, mean)
        self.fill(norm.running_var, scale**2)
        self.fill(norm.weight, np.sqrt(scale**2 + norm.eps) / scale)
        self.modules.append(norm)

    def flatten(self, shape: Shape, in_order: bool) -> None:
        """Make rows; the order of (y, x, channel) takes a shuffle."""
        self.modules.append(self.nn.Flatten())
        if in_order and shape[2] > 1 and shape[0] * shape[1] > 1:
            self.shuffle(shape, groups=shape[2])
            self.modules.append(self.nn.Flatten())

    def unflatten(self, shape: Shape) -> None:
        """Make images of rows that are in the order of (y, x, channel)."""
        height, width, channels = shape
        if channels > 1 and height * width > 1:
            self.shuffle(shape, groups=height * width)
            self.modules.append(self.nn.Flatten())
        self.modules.append(self.nn.Unflatten(1, (channels, height, width)))

    def shuffle(self, shape: Shape, groups: int) -> None:
        """Transpose rows, seen as so many groups: torch's only module that does."""
        values = math.prod(shape)
        self.modules.append(self.nn.Unflatten(1, (values, 1)))
        self.modules.append(self.nn.ChannelShuffle(groups))

    def scores(self, operation: Scores) -> None:
        coef, n = operation.coef, len(operation.coef)
        intercept = operation.intercept - coef @ operation.mean
        # rows come in torch's order
        coef = np.moveaxis(coef.reshape(n, *self.shape), 3, 1).reshape(n, -1)
        module = self.torch.nn.utils.skip_init(
            self.nn.Linear, coef.shape[1], n, dtype=self.torch.float64
        )
        self.fill(module.weight, coef)
        self.fill(module.bias, intercept)
        self.modules.append(module)

    def fill(self, tensor: Any, values: np.ndarray) -> None:
        with self.torch.no_grad():
            tensor.copy_(self.torch.from_numpy(np.ascontiguousarray(values)))


# what is no module of torch is a graph of its functions, which needs torch alone


def _encoding(torch: Any, convolution: Any, operation: Encode) -> Any:
    """Return an encoding: products, contrasts, both signs over a threshold."""
    graph, functional = torch.fx.Graph(), torch.nn.functional

    def call(function: Any, *args: Any) -> Any:
        return graph.call_function(function, args)

    def box(node: Any) -> Any:
        of_channels = call(torch.mean, node, 1, True)
        return call(functional.avg_pool2d, of_channels, operation.window.size, 1)

    images = graph.placeholder("images")
    # brightness counts for nothing, but takes digits of float32
    images = call(torch.sub, images, call(torch.mean, images, (1, 2, 3), True))
    products = graph.call_module("products", (images,))
    mean, squares = box(images), box(call(torch.mul, images, images))
    variance = call(torch.sub, squares, call(torch.mul, mean, mean))
    variance = call(torch.add, call(torch.relu, variance), operation.floor)
    products = call(torch.div, products, call(torch.sqrt, variance))
    both = call(torch.cat, (products, call(torch.neg, products)), 1)
    graph.output(call(torch.relu, call(torch.sub, both, operation.threshold)))
    return torch.fx.GraphModule({"products": convolution}, graph, "Encoding")


def _power(torch: Any, power: float) -> Any:
    graph = torch.fx.Graph()
    values = graph.placeholder("values")
    size = graph.call_function(torch.abs, (values,))
    raised = graph.call_function(torch.pow, (size, power))
    sign = graph.call_function(torch.sign, (values,))
    graph.output(graph.call_function(torch.mul, (sign, raised)))
    return torch.fx.GraphModule({}, graph, "Power")


def _average_flips(torch: Any, layers: list[Any]) -> Any:
    """Return the mean of what layers give for images and their mirror images."""
    graph = torch.fx.Graph()
    images = graph.placeholder("images")
    mirrored = graph.call_function(torch.flip, (images, (3,)))
    found = [graph.call_module("layers", (given,)) for given in (images, mirrored)]
    total = graph.call_function(torch.add, tuple(found))
    graph.output(graph.call_function(torch.mul, (total, 0.5)))
    within = torch.nn.Sequential(*layers)
    return torch.fx.GraphModule({"layers": within}, graph, "AverageFlips")


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
