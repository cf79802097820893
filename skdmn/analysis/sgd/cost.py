"""Number of operations of training, with and without computed layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from skdmn.utils.architecture import tokens_of


@dataclass(frozen=True)
class Operations:
    """Number of multiply-adds in each part of training.

    Attributes
    ----------
    densities : float
        Computing the class density matrices of the computed layers.
    eigenvectors : float
        Computing the eigenvectors of these matrices.
    features : float
        Passing all images through the computed layers once.
    forward, backward : float
        Forward and backward passes through the trained layers, over all epochs.
    """

    densities: float
    eigenvectors: float
    features: float
    forward: float
    backward: float

    @property
    def computed(self) -> float:
        """Operations of the computed layers."""
        return self.densities + self.eigenvectors + self.features

    @property
    def trained(self) -> float:
        """Operations of the trained layers."""
        return self.forward + self.backward

    @property
    def total(self) -> float:
        """Operations of all layers."""
        return self.computed + self.trained


def training_operations(
    architecture: str,
    image_shape: tuple[int, int, int],
    *,
    n_images: int,
    n_epochs: int,
    n_classes: int = 10,
    kernel_size: int = 3,
    density_share: float = 1.0,
) -> Operations:
    r"""Count the operations of training a network.

    Parameters
    ----------
    architecture : str
        Layers in the notation of `skdmn.export.make_hybrid`, such as
        "d9, m, c81, m, de10".
    image_shape : (int, int, int)
        Height, width and channels of the images.
    n_images : int
        Number of training images.
    n_epochs : int
        Number of epochs that the trained layers are trained for.
    n_classes : int, default=10
        Number of classes; a computed layer has one eigenproblem for each.
    kernel_size : int, default=3
        Height and width of all filters.
    density_share : float in (0, 1], default=1.0
        Share of the images that density matrices are computed from.

    Returns
    -------
    Operations

    Raises
    ------
    ValueError
        If the architecture cannot be read or does not fit the images, or if
        `density_share` is not above 0 and at most 1.

    See Also
    --------
    sgd_bound : Bound on training, eq. 25 of the paper.
    hybrid_bound : Bound with a computed first layer, eq. 26 of the paper.

    Notes
    -----
    Consider a layer with d inputs per patch, f filters and P positions. For each image,
    the forward pass takes P d f multiply-adds. The gradient of the weights takes the
    same number. The gradient of the inputs also takes the same number; it is needed
    only if a layer below is trained (batch normalization counts as trained).

    A density matrix is symmetric and takes P d (d + 1) / 2 per image; an eigenproblem
    takes about 9 d^3 / 2 ([2]_). Images pass the computed layers once, not once per
    epoch. ReLU, pooling, normalization and copies are not counted. Running times follow
    these counts only roughly, because small matrix products are slower than large ones.

    References
    ----------
    .. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Separation of time scales and
       direct computation of weights in deep neural networks", arXiv:1703.04757v3,
       2018, section "Time Complexity".
    .. [2] G. Golub, C. Van Loan, "Matrix Computations", section 8.3: the symmetric
       QR algorithm.

    Examples
    --------
    >>> from skdmn.analysis.sgd.cost import training_operations
    >>> options = {"image_shape": (28, 28, 1), "n_images": 60000, "n_epochs": 10}
    >>> trained = training_operations("c6, m, c40, m, de10", **options)
    >>> hybrid = training_operations("d6, m, c40, m, de10", **options)
    >>> f"{hybrid.total / trained.total:.2f}"
    '0.63'
    """
    if not 0 < density_share <= 1:
        raise ValueError(
            f"density_share is {density_share}; pass a share of the images above 0 "
            "and at most 1."
        )
    height, width, channels = image_shape
    densities = eigenvectors = features = forward = backward = 0.0
    seen, trained_below = n_images * n_epochs, False
    for kind, n in tokens_of(architecture):
        if kind == "m":
            height, width = height // 2, width // 2
        elif kind in ("c", "d"):
            height, width = height - kernel_size + 1, width - kernel_size + 1
        if min(height, width) < 1:
            raise ValueError(
                f"{architecture!r} leaves no pixels of images of shape {image_shape}; "
                "pass fewer layers or larger images."
            )
        d = kernel_size**2 * channels
        if kind == "d":
            patches = n_images * height * width
            densities += density_share * patches * d * (d + 1) / 2
            eigenvectors += n_classes * 4.5 * d**3
            features += patches * d * n
        elif kind in ("c", "de"):
            inputs = d if kind == "c" else height * width * channels
            once = seen * inputs * n * (height * width if kind == "c" else 1)
            forward += once
            backward += once * (2 if trained_below else 1)
        trained_below = kind != "d" and (trained_below or kind in ("c", "BN", "de"))
        if kind == "de":
            height = width = 1
        channels = n or channels
    return Operations(densities, eigenvectors, features, forward, backward)


def sgd_bound(widths: Sequence[int], n_batches: int) -> float:
    """Return the paper's bound on training, N times the product of all widths.

    Parameters
    ----------
    widths : sequence of int
        Widths d(0), ..., d(n) of the input and of the output of each layer.
    n_batches : int
        Number N of batches.

    Returns
    -------
    float
        N d(0) ... d(n), without the constant factor ([1]_, eq. 25).

    Raises
    ------
    ValueError
        If there are fewer than two widths, or one is not positive.

    Notes
    -----
    The bound is loose. Backpropagation multiplies a vector by the weights of one layer
    after another, which takes N times the *sum* of d(k-1) d(k).

    References
    ----------
    .. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Separation of time scales and
       direct computation of weights in deep neural networks", arXiv:1703.04757v3,
       2018.

    Examples
    --------
    >>> from skdmn.analysis.sgd.cost import sgd_bound
    >>> sgd_bound([784, 30, 10], n_batches=1)
    235200.0
    """
    return float(n_batches) * math.prod(_positive(widths))


def hybrid_bound(widths: Sequence[int], n_batches: int) -> float:
    """Return the paper's bound on training if the first layer is computed.

    Parameters
    ----------
    widths : sequence of int
        Widths d(0), ..., d(n) of the input and of the output of each layer.
    n_batches : int
        Number N of batches.

    Returns
    -------
    float
        N (d(1) ... d(n) + d(0) d(1) + d(0)^2), without constant factors ([1]_, eq. 26).

    Raises
    ------
    ValueError
        If there are fewer than two widths, or one is not positive.

    References
    ----------
    .. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Separation of time scales and
       direct computation of weights in deep neural networks", arXiv:1703.04757v3,
       2018.

    Examples
    --------
    >>> from skdmn.analysis.sgd.cost import hybrid_bound
    >>> hybrid_bound([784, 30, 10], n_batches=1)
    638476.0
    """
    inputs, first = _positive(widths)[:2]
    above = math.prod(widths[1:])
    return float(n_batches) * (above + inputs * first + inputs**2)


def _positive(widths: Sequence[int]) -> Sequence[int]:
    """Return the widths; raise if there are fewer than two or one is not positive."""
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(
            f"widths is {list(widths)}; pass the positive widths of the input and of "
            "at least one layer."
        )
    return widths
