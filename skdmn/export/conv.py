"""Convolutions of PyTorch from density matrices, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from skdmn.analysis.density.subspaces import variance_shares
from skdmn.kernels.geometry import Padding, Pair
from skdmn.layers.class_pca import ClassPCAPatchTransformer
from skdmn.statistics.filters import eigenbases
from skdmn.utils.array_api import to_numpy
from skdmn.utils.optional import import_torch

if TYPE_CHECKING:
    import torch


def init_conv_(
    conv: torch.nn.Conv2d,
    images: Any,
    labels: Any = None,
    *,
    correlation_cutoff: float = 0.9,
    signs: Literal["one", "both"] = "one",
    gain: float = 1.0,
) -> torch.Tensor:
    """Fill a convolution with the filters of lowest energy, in place.

    A data-driven initialization, to be used as those of `torch.nn.init` are.

    Parameters
    ----------
    conv : torch.nn.Conv2d
        Without groups and dilation. Its bias, if any, becomes 0.
    images : tensor or array of shape (n, in_channels, height, width)
        What it is to convolve: images, or what the layers in front give of them.
    labels : tensor or array of shape (n,) or None
        Class labels; None: one density matrix of all images.
    correlation_cutoff : float in [0, 1], default=0.9
        Leave out filters whose absolute cosine with one of lower class and rank
        exceeds this.
    signs : {"one", "both"}, default="one"
        "both": half of the filters, and their negatives behind them.
    gain : float, default=1.0
        Norm of a filter. ``torch.nn.init.calculate_gain("relu")`` gives the norm that
        Kaiming's initialization has on average.

    Returns
    -------
    torch.Tensor
        `conv.weight`, filters of low energy first.

    Raises
    ------
    ImportError
        Where torch is missing.
    TypeError
        Where `conv` is no convolution of two dimensions.
    ValueError
        Where there are fewer filters than `conv` has, images have not its channels, or
        it has groups or dilation.

    See Also
    --------
    skdmn.ClassPCAPatchTransformer : Computes the filters.

    Examples
    --------
    >>> import torch
    >>> from skdmn.datasets import load_digits_images
    >>> from skdmn.export import init_conv_
    >>> X, y = load_digits_images()
    >>> conv = torch.nn.Conv2d(1, 8, 3)
    >>> init_conv_(conv, X[:, None], y).shape
    torch.Size([8, 1, 3, 3])
    """
    torch = import_torch("init_conv_")
    _check_conv(conv, "init_conv_")
    n = conv.out_channels
    if signs == "both" and n % 2:
        raise ValueError(
            f"signs='both' makes pairs of filters, but conv has {n} output channels; "
            "pass a convolution with an even number, or signs='one'."
        )
    layer = ClassPCAPatchTransformer(
        _pair(conv.kernel_size),
        n_filters=n // 2 if signs == "both" else n,
        variance_cutoff=1.0,
        correlation_cutoff=correlation_cutoff,
        class_based=labels is not None,
        signs=signs,
    ).fit(_channels_last(images, conv), None if labels is None else as_numpy(labels))
    found = to_numpy(layer.filters_)
    if len(found) < n:
        raise ValueError(
            f"There are {len(found)} filters for {n} output channels; raise "
            f"correlation_cutoff={correlation_cutoff}, pass signs='both', larger "
            "kernels or fewer channels."
        )
    with torch.no_grad():
        weights = torch.from_numpy(np.ascontiguousarray(np.moveaxis(found, 3, 1)))
        conv.weight.copy_(gain * weights)
        if conv.bias is not None:
            conv.bias.zero_()
    return conv.weight


def from_torch(
    conv: torch.nn.Conv2d,
    images: Any,
    labels: Any = None,
    *,
    activation: Literal["relu"] | None = "relu",
    drop_bias: bool = False,
) -> ClassPCAPatchTransformer:
    """Turn a convolution, trained or not, into a fitted transformer.

    So trained filters can be looked at, compared and chained as computed ones are.

    Parameters
    ----------
    conv : torch.nn.Conv2d
        Without groups and dilation, and with no padding or that of "same".
    images : tensor or array of shape (n, in_channels, height, width)
        What it convolves: their density matrices say what its filters look at.
    labels : tensor or array of shape (n,) or None
        Class labels; None: one density matrix of all images.
    activation : {"relu", None}, default="relu"
        What follows the convolution.
    drop_bias : bool, default=False
        Leave a bias out, which the transformer cannot have.

    Returns
    -------
    ClassPCAPatchTransformer
        `filters_` are the convolution's, in its order and as long as they are. Of each,
        `explained_variance_ratio_` is the share w^T rho_c w of the variance of that
        class c, in `filter_classes_`, whose share is largest, w being the filter
        divided by its norm; `energies_` its negative logarithm; and `filter_members_`
        has the class and the rank of the eigenvector that the filter is nearest to. Of
        an eigenvector these are what they are for a computed filter.

    Raises
    ------
    ImportError
        Where torch is missing.
    TypeError
        Where `conv` is no convolution of two dimensions.
    ValueError
        Where images have not the channels of `conv`, or it does what the transformer
        cannot do.

    Examples
    --------
    >>> import torch
    >>> from skdmn.datasets import load_digits_images
    >>> from skdmn.export import from_torch
    >>> X, y = load_digits_images()
    >>> conv = torch.nn.Conv2d(1, 8, 3, bias=False)
    >>> from_torch(conv, X[:, None], y).transform(X).shape
    (1797, 6, 6, 8)
    """
    import_torch("from_torch")
    _check_conv(conv, "from_torch")
    if conv.bias is not None and bool(conv.bias.any()) and not drop_bias:
        raise ValueError(
            "conv has a bias, which ClassPCAPatchTransformer has not; pass "
            "drop_bias=True to leave it out, or a convolution with bias=False."
        )
    layer = ClassPCAPatchTransformer(
        _pair(conv.kernel_size),
        n_filters=conv.out_channels,
        stride=_pair(conv.stride),
        padding=_padding(conv),
        activation=activation,
        class_based=labels is not None,
    ).fit(_channels_last(images, conv), None if labels is None else as_numpy(labels))
    filters = np.moveaxis(as_numpy(conv.weight.detach()), 1, 3)
    return _with_filters(layer, np.ascontiguousarray(filters))


def _with_filters(
    layer: ClassPCAPatchTransformer, filters: np.ndarray
) -> ClassPCAPatchTransformer:
    """Replace the filters of a fitted layer, and what is known of them."""
    n = len(filters)
    flat = filters.reshape(n, -1).astype(np.float64)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    units = flat / np.where(norms > 0, norms, 1.0)
    densities = layer.density_matrices_
    shares = variance_shares(units, densities)
    classes = shares.argmax(axis=1)
    bases = eigenbases(densities)
    ranks = [
        np.abs(bases[c][1] @ w).argmax() for c, w in zip(classes, units, strict=True)
    ]
    largest = np.maximum(shares.max(axis=1), 0.0)
    with np.errstate(divide="ignore"):
        layer.energies_ = -np.log(largest)
    layer.explained_variance_ratio_ = largest
    layer.filter_classes_ = layer.classes_[classes]
    layer.filter_members_ = [
        [(label, int(rank))]
        for label, rank in zip(layer.filter_classes_.tolist(), ranks, strict=True)
    ]
    layer.filters_ = filters.astype(layer.filters_.dtype)
    return layer


def _padding(conv: torch.nn.Conv2d) -> Padding:
    """Return the padding as this package names it."""
    if conv.padding in ("valid", (0, 0)):
        return "valid"
    pads = conv.padding
    if isinstance(pads, str):
        same = pads == "same"
    else:
        same = [2 * pad + 1 for pad in pads] == list(conv.kernel_size)
    if same and conv.stride == (1, 1) and conv.padding_mode == "zeros":
        return "same"
    raise ValueError(
        f"conv has padding={conv.padding!r} at stride {conv.stride}; from_torch takes "
        "no padding, or at stride 1 zeros that keep the size of the images."
    )


def _pair(sizes: tuple[int, ...]) -> Pair:
    height, width = sizes
    return height, width


def _check_conv(conv: Any, function: str) -> None:
    import torch

    if not isinstance(conv, torch.nn.Conv2d):
        raise TypeError(
            f"{function} takes a torch.nn.Conv2d, but got a {type(conv).__name__}; "
            "pass one of the network's convolutions, such as network[0]."
        )
    if conv.groups != 1 or conv.dilation != (1, 1):
        raise ValueError(
            f"conv has groups={conv.groups} and dilation={conv.dilation}; "
            f"{function} takes convolutions of one group and dilation 1."
        )


def _channels_last(images: Any, conv: torch.nn.Conv2d) -> np.ndarray:
    images = as_numpy(images)
    check_channels_first(images, conv.in_channels)
    return np.moveaxis(images, 1, 3)


def check_channels_first(images: np.ndarray, channels: int | None) -> None:
    """Raise where images are not as torch has them."""
    if images.ndim != 4 or channels not in (None, images.shape[1]):
        wanted = "channels" if channels is None else channels
        raise ValueError(
            f"images have shape {tuple(images.shape)}; pass (n, {wanted}, height, "
            "width), channels first, as torch has them (see np.moveaxis)."
        )


def as_numpy(tensor: Any) -> np.ndarray:
    """Return what is or can be made a tensor as a NumPy array."""
    import torch

    if not isinstance(tensor, torch.Tensor):
        return np.asarray(tensor)
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:  # which NumPy has not
        tensor = tensor.float()
    return tensor.numpy()
