"""How many operations training takes, with and without computed layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from skdmn.utils.architecture import tokens_of


@dataclass(frozen=True)
class Operations:
    """Multiplications with an addition each, of the parts of a training.

    Attributes
    ----------
    densities : float
        Class density matrices of the computed layers.
    eigenvectors : float
        Their eigenproblems.
    features : float
        All images once through the computed layers.
    forward, backward : float
        All epochs through the trained layers, and back.
    """

    densities: float
    eigenvectors: float
    features: float
    forward: float
    backward: float

    @property
    def computed(self) -> float:
        """What computed layers take."""
        return self.densities + self.eigenvectors + self.features

    @property
    def trained(self) -> float:
        """What trained layers take."""
        return self.forward + self.backward

    @property
    def total(self) -> float:
        """All of it."""
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
    r"""Count the operations that training a network of a name takes.

    Parameters
    ----------
    architecture : str
        Layers as `skdmn.export.make_hybrid` takes them: "d9, m, c81, m, de10".
    image_shape : (int, int, int)
        Height, width, channels.
    n_images, n_epochs : int
        How many images train the network, and how often.
    n_classes : int, default=10
        How many eigenproblems a computed layer solves.
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
        Where the architecture is not so written or does not fit the images, or
        `density_share` is no share.

    See Also
    --------
    sgd_bound, hybrid_bound : The paper's eqs. 25 and 26.

    Notes
    -----
    A layer of d inputs a patch, f filters and P positions takes P d f multiply-adds
    forward, as many for the gradient of its weights and as many for that of its
    inputs, where a layer below is trained (batch normalization is). Its density
    matrix, being symmetric, takes P d (d + 1) / 2 for each image, and an eigenproblem
    about 9 d^3 / 2 ([2]_). Images pass computed layers once, not once an epoch. ReLU,
    pooling, normalization and copies are left out, and small products run more slowly
    than large ones: times follow these counts roughly.

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
            f"density_share is {density_share}; pass a share of the images, above 0 "
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
                f"{architecture!r} leaves no pixels of images of {image_shape}; write "
                "fewer layers, or pass larger images."
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
        trained_below = kind != "d" and (trained_below or kind in ("c", "BN"))
        channels = n if kind in ("c", "d") else channels
    return Operations(densities, eigenvectors, features, forward, backward)


def sgd_bound(widths: Sequence[int], n_batches: int) -> float:
    """Return the paper's bound on training, N times the product of all widths.

    Parameters
    ----------
    widths : sequence of int
        d(0), ..., d(n): of the input and each layer's output.
    n_batches : int
        N.

    Returns
    -------
    float
        Without its constant ([1]_, eq. 25). It is loose: backpropagation multiplies a
        vector by one layer's weights after another, N times the *sum* of d(k-1) d(k).

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
    """Return the paper's bound where the first layer is computed.

    Parameters
    ----------
    widths : sequence of int
        d(0), ..., d(n): of the input and each layer's output, at least two.
    n_batches : int
        N.

    Returns
    -------
    float
        N (d(1) ... d(n) + d(0) d(1) + d(0)^2), without constants ([1]_, eq. 26).

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
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(
            f"widths are {list(widths)}; pass the positive widths of the input and of "
            "at least one layer."
        )
    return widths
