"""PyTorch networks with computed and trainable layers, in the papers' notation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from skdmn.export.conv import as_numpy, check_channels_first
from skdmn.export.torch import to_torch
from skdmn.layers.class_pca import ClassPCAPatchTransformer
from skdmn.layers.pooling import MaxPool2DTransformer
from skdmn.layers.scaling import ChannelStandardScaler
from skdmn.network.network import DensityMatrixNetwork
from skdmn.utils.architecture import Token, tokens_of
from skdmn.utils.optional import import_torch
from skdmn.utils.validation import Shape, as_one_array, times

if TYPE_CHECKING:
    import torch


def make_hybrid(
    architecture: str,
    images: Any,
    labels: Any = None,
    *,
    kernel_size: int = 3,
    correlation_cutoff: float = 0.9,
    class_based: bool = True,
    freeze: bool = True,
) -> torch.nn.Sequential:
    """Build a PyTorch network whose first layers are computed.

    Parameters
    ----------
    architecture : str
        Layers from input to output, separated by commas ([1]_, Tables 3 to 5):

        - "d9": a computed convolution with 9 filters, and a ReLU
        - "c81": a trainable convolution with 81 filters, and a ReLU
        - "m": max pooling with 2 x 2 windows
        - "BN": batch normalization
        - "de10": as the last layer, a linear layer with 10 logits
        - "de128": before it, a trainable dense layer with 128 units, and a ReLU

        Computed convolutions must come before trainable ones.
    images : tensor or array of shape (n, channels, height, width)
        Images from which the filters are computed. They must be scaled as the inputs
        of the network will be.
    labels : tensor or array of shape (n,) or None, default=None
        Class labels. They are required if `class_based` and if a layer is computed.
    kernel_size : int, default=3
        Height and width of the filters of all convolutions.
    correlation_cutoff : float in [0, 1], default=0.9
        Filters of computed layers are merged if their absolute cosine exceeds this
        value; see `ClassPCAPatchTransformer`. Merged filters count once.
    class_based : bool, default=True
        If True, compute filters from the density matrices of the classes; if False,
        from the density matrix of all images. The latter is the naive network, which
        Tables 3 to 5 have: there a layer has at most ``kernel_size**2`` filters for
        each channel.
    freeze : bool, default=True
        If True, training does not change the computed layers.

    Returns
    -------
    torch.nn.Sequential
        Network in training mode. Trainable layers have torch's default initialization.

    Raises
    ------
    ImportError
        If torch is not installed.
    ValueError
        If the architecture is not written as above, does not fit the images, or has
        more filters than can be computed; or if `labels` are missing.

    See Also
    --------
    skdmn.paper_dmn : Make a scikit-learn Pipeline of computed layers alone.

    Notes
    -----
    "BN" before a computed convolution is also computed from the images.

    References
    ----------
    .. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Separation of time scales and
       direct computation of weights in deep neural networks", arXiv:1703.04757v3,
       2018.

    Examples
    --------
    >>> from skdmn.datasets import load_digits_images
    >>> from skdmn.export import make_hybrid
    >>> X, y = load_digits_images()
    >>> network = make_hybrid("d6, m, c20, de10", X[:, None], y)
    >>> [type(module).__name__ for module in network]
    ['Conv2d', 'ReLU', 'MaxPool2d', 'Conv2d', 'ReLU', 'Flatten', 'Linear']
    >>> [parameter.requires_grad for parameter in network.parameters()]
    [False, True, True, True, True]
    """
    torch = import_torch("make_hybrid")
    tokens = tokens_of(architecture)
    images = as_numpy(as_one_array(images, "images"))
    check_channels_first(images, None)
    labels = None if labels is None else as_numpy(labels)
    n_classes = 0 if labels is None else len(np.unique(labels))
    if tokens[-1][0] == "de" and tokens[-1][1] < n_classes:
        raise ValueError(
            f"{architecture!r} ends in {tokens[-1][1]} logits, but labels have "
            f"{n_classes} classes; write de{n_classes}."
        )
    n_computed = max((i + 1 for i, t in enumerate(tokens) if t[0] == "d"), default=0)
    if n_computed and class_based and labels is None:
        raise ValueError(
            f"{architecture!r} has layers that are computed from classes; pass labels, "
            "or class_based=False for the naive network."
        )
    shape = (*images.shape[2:], images.shape[1])
    _check_fits(tokens, shape, kernel_size)
    modules: list[Any] = []
    if n_computed:
        computed = _computed(
            tokens[:n_computed], kernel_size, correlation_cutoff, class_based
        )
        computed.fit(np.moveaxis(images, 1, 3), labels)
        _check_found(tokens[:n_computed], computed, architecture)
        modules += to_torch(computed.to_pipeline(), freeze=freeze)
        shape = computed.output_shape_
    modules += _trainable(torch.nn, tokens[n_computed:], shape, kernel_size)
    return torch.nn.Sequential(*modules).train()


def _check_fits(tokens: list[Token], shape: Shape, kernel_size: int) -> None:
    """Raise if the images become too small before the last layer."""
    height, width = shape[:2]
    for kind, _ in tokens:
        least = {"c": kernel_size, "d": kernel_size, "m": 2}.get(kind, 1)
        if min(height, width) < least:
            raise ValueError(
                f"Images of {times(shape)} shrink to {height} x {width} pixels before "
                f"a layer that needs {least} x {least}; write fewer layers."
            )
        if kind in ("c", "d"):
            height, width = height - kernel_size + 1, width - kernel_size + 1
        elif kind == "m":
            height, width = height // 2, width // 2


def _computed(
    tokens: list[Token],
    kernel_size: int,
    correlation_cutoff: float,
    class_based: bool,
) -> DensityMatrixNetwork:
    layers: list[tuple[str, Any]] = []
    for number, (kind, n_filters) in enumerate(tokens):
        layer: Any = MaxPool2DTransformer(2)
        if kind == "BN":
            layer = ChannelStandardScaler()
        elif kind == "d":
            layer = ClassPCAPatchTransformer(
                kernel_size,
                n_filters=n_filters,
                variance_cutoff=1.0,
                correlation_cutoff=correlation_cutoff,
                class_based=class_based,
            )
        layers.append((f"{kind}{number}", layer))
    return DensityMatrixNetwork(layers)


def _check_found(
    tokens: list[Token], computed: DensityMatrixNetwork, architecture: str
) -> None:
    for (kind, wanted), (_, layer) in zip(tokens, computed.layers_, strict=True):
        found = layer.output_shape_[2]
        if kind == "d" and found < wanted:
            raise ValueError(
                f"{architecture!r} asks for d{wanted}, but only {found} filters exist; "
                "write fewer, or raise correlation_cutoff or kernel_size."
            )


def _trainable(
    nn: Any, tokens: list[Token], shape: Shape, kernel_size: int
) -> list[Any]:
    """Return modules with torch's default initialization."""
    height, width, channels = shape
    modules: list[Any] = []
    kinds = [kind for kind, _ in tokens]
    for number, (kind, n) in enumerate(tokens):
        if kind == "c":
            modules += [nn.Conv2d(channels, n, kernel_size), nn.ReLU()]
            channels = n
            height, width = height - kernel_size + 1, width - kernel_size + 1
        elif kind == "m":
            modules.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
        elif kind == "BN":
            modules.append(nn.BatchNorm2d(channels))
        else:
            is_first, is_last = "de" not in kinds[:number], number == len(kinds) - 1
            modules += [nn.Flatten()] if is_first else []
            modules += [nn.Linear(height * width * channels, n)]
            modules += [] if is_last else [nn.ReLU()]
            height, width, channels = 1, 1, n
    return modules
