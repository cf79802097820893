"""PyTorch convolutions with computed filters, and transformers from convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from skdmn.analysis.density.subspaces import variance_shares
from skdmn.kernels.geometry import Padding, Pair
from skdmn.layers.class_pca import ClassPCAPatchTransformer
from skdmn.statistics.filters import eigenbases
from skdmn.utils.array_api import to_numpy
from skdmn.utils.labels import as_objects
from skdmn.utils.optional import import_torch
from skdmn.utils.validation import as_one_array, unmasked

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
    """Initialize a PyTorch convolution with computed filters, in place.

    The filters are the eigenvectors of class density matrices with the lowest energy.
    Use this function like those of `torch.nn.init`.

    Parameters
    ----------
    conv : torch.nn.Conv2d
        Convolution to initialize, without groups and dilation. Its bias, if any, is set
        to 0.
    images : tensor or array of shape (n, in_channels, height, width)
        Inputs of the convolution: images, or the outputs of the layers before it.
    labels : tensor or array of shape (n,) or None, default=None
        Class labels. None computes one density matrix for all images.
    correlation_cutoff : float in [0, 1], default=0.9
        Leave out a filter if its absolute cosine with one kept before, of an earlier
        class, exceeds this value.
    signs : {"one", "both"}, default="one"
        "both" uses half as many filters, followed by their negatives.
    gain : float, default=1.0
        Norm of each filter. ``torch.nn.init.calculate_gain("relu")`` is the average
        norm of Kaiming's initialization.

    Returns
    -------
    torch.Tensor
        `conv.weight`, with filters of lowest energy first.

    Raises
    ------
    ImportError
        If torch is not installed.
    TypeError
        If `conv` is not a torch.nn.Conv2d.
    ValueError
        If fewer filters can be computed than `conv` has, if the number of channels of
        the images differs from that of `conv`, or if `conv` has groups or dilation.

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
    """Convert a PyTorch convolution to a fitted transformer.

    Trained filters can then be displayed, compared and used like computed ones.

    Parameters
    ----------
    conv : torch.nn.Conv2d
        Convolution, trained or not, without groups and dilation, and without padding
        or with "same" padding at stride 1.
    images : tensor or array of shape (n, in_channels, height, width)
        Inputs of the convolution, from which density matrices are computed.
    labels : tensor or array of shape (n,) or None, default=None
        Class labels. None computes one density matrix for all images.
    activation : {"relu", None}, default="relu"
        Activation after the convolution.
    drop_bias : bool, default=False
        If True, ignore the bias, because the transformer has none. If False, a non-zero
        bias is an error.

    Returns
    -------
    ClassPCAPatchTransformer
        Its `filters_` are those of `conv`, in the same order and not normalized. The
        other attributes describe each filter by its unit vector w:

        - `filter_classes_`: the class c in which the share w^T rho_c w of the variance
          is largest, where rho_c is the density matrix of the class;
        - `explained_variance_ratio_`: that share;
        - `energies_`: minus the logarithm of the share;
        - `filter_members_`: the class, and the rank of its eigenvector that is most
          similar to w.

        If w is an eigenvector, these are the attributes of a computed filter.

    Raises
    ------
    ImportError
        If torch is not installed.
    TypeError
        If `conv` is not a torch.nn.Conv2d.
    ValueError
        If the number of channels of the images differs from that of `conv`, or if
        `conv` has a bias, groups, dilation or a padding that are not supported.

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
            "conv has a bias, which ClassPCAPatchTransformer does not have; pass "
            "drop_bias=True to ignore it, or a convolution with bias=False."
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
    """Replace the filters of a fitted layer, and the attributes that describe them."""
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
        for label, rank in zip(as_objects(layer.filter_classes_), ranks, strict=True)
    ]
    layer.filters_ = filters.astype(layer.filters_.dtype)
    return layer


def _padding(conv: torch.nn.Conv2d) -> Padding:
    """Return the name of the padding in this package."""
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
        "no padding, or at stride 1 zero padding that keeps the size of the images."
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
    images = as_numpy(as_one_array(images, "images"))
    check_channels_first(images, conv.in_channels)
    return np.moveaxis(images, 1, 3)


def check_channels_first(images: np.ndarray, channels: int | None) -> None:
    """Raise if images do not have channels first, as torch requires."""
    if images.ndim != 4 or channels not in (None, images.shape[1]):
        wanted = "channels" if channels is None else channels
        raise ValueError(
            f"images have shape {tuple(images.shape)}; pass (n, {wanted}, height, "
            "width), channels first, as torch requires (see np.moveaxis)."
        )


def as_numpy(tensor: Any) -> np.ndarray:
    """Return a tensor or an array-like as a NumPy array."""
    import torch

    tensor = unmasked(tensor, "An array")
    if not isinstance(tensor, torch.Tensor):
        return np.asarray(tensor)
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:  # unknown to NumPy
        tensor = tensor.float()
    return tensor.numpy()
