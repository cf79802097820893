"""PyTorch layers with computed filters, and transformers from PyTorch layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from skdmn.analysis.density.subspaces import variance_shares
from skdmn.kernels.geometry import Padding, Pair
from skdmn.layers.class_pca import ClassPCAPatchTransformer
from skdmn.layers.dense import ClassPCATransformer
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
    import_torch("init_conv_")
    _check_conv(conv, "init_conv_")
    layer = ClassPCAPatchTransformer(
        _pair(conv.kernel_size), correlation_cutoff=correlation_cutoff, signs=signs
    )
    _check_pairs("conv", conv.out_channels, "output channels", signs)
    inputs = _channels_last(images, conv)
    found = _computed(layer, conv.out_channels, inputs, labels)
    if len(found) < conv.out_channels:
        raise ValueError(
            f"There are {len(found)} filters for {conv.out_channels} output channels; "
            f"raise correlation_cutoff={correlation_cutoff}, pass signs='both', larger "
            "kernels or fewer channels."
        )
    return _fill(conv, np.moveaxis(found, 3, 1), gain)


def init_linear_(
    linear: torch.nn.Linear,
    rows: Any,
    labels: Any = None,
    *,
    correlation_cutoff: float = 0.9,
    signs: Literal["one", "both"] = "one",
    gain: float = 1.0,
) -> torch.Tensor:
    """Initialize a PyTorch linear layer with computed filters, in place.

    The filters are the eigenvectors of class density matrices with the lowest energy,
    as for `init_conv_`.

    Parameters
    ----------
    linear : torch.nn.Linear
        Layer to initialize. Its bias, if any, is set to 0.
    rows : tensor or array of shape (n, in_features)
        Inputs of the layer: features, or the outputs of the layers before it.
    labels : tensor or array of shape (n,) or None, default=None
        Class labels. None computes one density matrix for all rows.
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
        `linear.weight`, with filters of lowest energy first.

    Raises
    ------
    ImportError
        If torch is not installed.
    TypeError
        If `linear` is not a torch.nn.Linear.
    ValueError
        If fewer filters can be computed than `linear` has outputs, or if the number of
        features of the rows differs from that of `linear`.

    See Also
    --------
    skdmn.ClassPCATransformer : Computes the filters.
    init_conv_ : The same for convolutions.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_digits
    >>> from skdmn.export import init_linear_
    >>> X, y = load_digits(return_X_y=True)
    >>> init_linear_(torch.nn.Linear(64, 30), X, y).shape
    torch.Size([30, 64])
    """
    torch = import_torch("init_linear_")
    if not isinstance(linear, torch.nn.Linear):
        raise TypeError(
            f"init_linear_ takes a torch.nn.Linear, but got a {type(linear).__name__}; "
            "pass one of the network's linear layers, or use init_conv_."
        )
    n = linear.out_features
    layer = ClassPCATransformer(correlation_cutoff=correlation_cutoff, signs=signs)
    _check_pairs("linear", n, "outputs", signs)
    found = _computed(layer, n, _checked_rows(rows, linear), labels)
    if len(found) < n:
        raise ValueError(
            f"There are {len(found)} filters for {n} outputs; raise "
            f"correlation_cutoff={correlation_cutoff}, pass signs='both', or a layer "
            "with fewer outputs."
        )
    return _fill(linear, found, gain)


def _check_pairs(name: str, n: int, outputs: str, signs: str) -> None:
    """Raise if pairs of filters do not make the number of outputs."""
    if signs == "both" and n % 2:
        kind = "convolution" if name == "conv" else "linear layer"
        raise ValueError(
            f"signs='both' makes pairs of filters, but {name} has {n} {outputs}; "
            f"pass a {kind} with an even number, or signs='one'."
        )


def _computed(
    layer: ClassPCAPatchTransformer, n: int, inputs: np.ndarray, labels: Any
) -> np.ndarray:
    """Return up to n filters of lowest energy."""
    layer.set_params(
        n_filters=n // 2 if layer.signs == "both" else n,
        variance_cutoff=1.0,
        class_based=labels is not None,
    )
    layer.fit(inputs, None if labels is None else as_numpy(labels))
    return to_numpy(layer.filters_)


def _fill(module: Any, weights: np.ndarray, gain: float) -> torch.Tensor:
    """Set the weights of a module of torch, and its bias to 0."""
    import torch

    with torch.no_grad():
        module.weight.copy_(gain * torch.from_numpy(np.ascontiguousarray(weights)))
        if module.bias is not None:
            module.bias.zero_()
    return module.weight


def from_torch(
    conv: torch.nn.Conv2d | torch.nn.Linear,
    images: Any,
    labels: Any = None,
    *,
    activation: Literal["relu"] | None = "relu",
    drop_bias: bool = False,
) -> ClassPCAPatchTransformer:
    """Convert a PyTorch convolution or linear layer to a fitted transformer.

    Trained filters can then be displayed, compared and used like computed ones.

    Parameters
    ----------
    conv : torch.nn.Conv2d or torch.nn.Linear
        Layer, trained or not. A convolution has no groups and dilation, and no padding
        or "same" padding at stride 1.
    images : tensor or array of shape (n, in_channels, height, width)
        Inputs of the layer, from which density matrices are computed. Rows of shape
        (n, in_features) for a Linear.
    labels : tensor or array of shape (n,) or None, default=None
        Class labels. None computes one density matrix for all images.
    activation : {"relu", None}, default="relu"
        Activation after the layer.
    drop_bias : bool, default=False
        If True, ignore the bias, because the transformer has none. If False, a non-zero
        bias is an error.

    Returns
    -------
    ClassPCAPatchTransformer or ClassPCATransformer
        The second for a Linear. Its `filters_` are those of `conv`, in the same order
        and not normalized. The other attributes describe each filter by its unit vector
        w:

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
        If `conv` is neither a torch.nn.Conv2d nor a torch.nn.Linear.
    ValueError
        If the number of channels or features differs from that of `conv`, or if `conv`
        has a bias, groups, dilation or a padding that are not supported.

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
    import torch

    layer: ClassPCAPatchTransformer
    if isinstance(conv, torch.nn.Linear):
        layer, inputs = ClassPCATransformer(signs="one"), _checked_rows(images, conv)
        weights = as_numpy(conv.weight)
    else:
        _check_conv(conv, "from_torch", " or torch.nn.Linear")
        layer = ClassPCAPatchTransformer(
            _pair(conv.kernel_size), stride=_pair(conv.stride), padding=_padding(conv)
        )
        inputs = _channels_last(images, conv)
        weights = np.moveaxis(as_numpy(conv.weight), 1, 3)
    if conv.bias is not None and bool(conv.bias.any()) and not drop_bias:
        raise ValueError(
            f"conv has a bias, which {type(layer).__name__} does not have; pass "
            f"drop_bias=True to ignore it, or a {type(conv).__name__} with bias=False."
        )
    cutoff = layer.variance_cutoff
    layer.set_params(
        n_filters=len(weights),
        variance_cutoff=1.0,  # computed filters are replaced, so they may not be few
        activation=activation,
        class_based=labels is not None,
    ).fit(inputs, None if labels is None else as_numpy(labels))
    layer.set_params(variance_cutoff=cutoff)
    return _with_filters(layer, np.ascontiguousarray(weights))


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
    largest = np.clip(shares.max(axis=1), 0.0, 1.0)
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


def _check_conv(conv: Any, function: str, others: str = "") -> None:
    import torch

    if not isinstance(conv, torch.nn.Conv2d):
        raise TypeError(
            f"{function} takes a torch.nn.Conv2d{others}, but got a "
            f"{type(conv).__name__}; pass one of the network's layers, such as "
            "network[0]."
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


def _checked_rows(rows: Any, linear: torch.nn.Linear) -> np.ndarray:
    found = as_numpy(as_one_array(rows, "rows"))
    if found.ndim != 2 or found.shape[1] != linear.in_features:
        raise ValueError(
            f"rows have shape {tuple(found.shape)}; pass (n, {linear.in_features}), "
            "the inputs of the layer."
        )
    return found


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
