"""A convolutional layer whose filters are computed: class-based PCA of patches."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from skdmn.kernels.geometry import Padding, Pair
from skdmn.layers.class_density import ClassDensityTransformer
from skdmn.operations.records import Convolve, Operation, Rectify
from skdmn.statistics.filters import filter_bank
from skdmn.utils.array_api import Array
from skdmn.utils.validation import as_pair


class ClassPCAPatchTransformer(ClassDensityTransformer):
    """Convolve images with filters computed from the classes' density matrices.

    The filters of this convolutional layer are not trained. They are the leading
    eigenvectors of each class's density matrix, the second moments of all image
    patches of that class. The paper argues that near convergence stochastic gradient
    descent moves the weights of a ReLU network's lower layers along these [1]_.
    Components are kept up to a share of each class's variance, and those of different
    classes that nearly repeat each other are merged. The cutoffs' defaults are the
    paper's, for digits on black; `make_dmn` has some that suit photographs, too.

    Parameters
    ----------
    kernel_size : int or (int, int), default=3
        Height and width of a patch.
    n_filters : int or None, default=None
        Keep at most so many filters, those of lowest energy. With ``signs="both"``
        each counts once.
    variance_cutoff : float in (0, 1], default=0.95
        Keep the leading components of a class while their cumulative share of its
        variance is at most this, and at least one. 1.0 keeps all with variance. Of
        bright images the first component alone can hold 0.95: take 0.999 there, and
        bound `n_filters`.
    correlation_cutoff : float in [0, 1], default=0.9
        Merge a filter into one kept before (of an earlier class) where the absolute
        cosine between them exceeds this. 1.0 merges none; 0.5 makes the filters that
        `n_filters` leaves less alike.
    class_based : bool, default=True
        One density matrix per class, `y` required; or one for all images (the naive
        DMN), `y` ignored.
    signs : {"one", "both"}, default="one"
        "both" adds the negative of each filter behind all filters, so that a ReLU
        loses nothing.
    activation : {"relu", None}, default="relu"
        What is applied to the products.
    centered : bool, default=False
        Take the mean patch of a class away before its second moments. The papers do
        not. `transform` is a convolution without bias either way.
    stride : int or (int, int), default=1
        Steps between the patches of `transform`, vertical and horizontal.
    padding : {"valid", "same"}, default="valid"
        What `transform` does at the border. "same" adds zeros, the odd pixel at the
        bottom and right (ONNX's SAME_UPPER): output ``ceil(size / stride)``. Density
        matrices are always those of all valid patches at stride 1.
    subsample : float in (0, 1] or int, default=1.0
        Share of the images of each class, rounded up, that the density matrices are
        computed from; or how many in all, in proportion to the classes and at least
        one of each. A fraction is often enough ([1]_, Table 2).
    image_shape : (int, int) or (int, int, int) or None, default=None
        Height, width and, where there are several, channels of the images that rows
        of `X` hold, flattened in C order of (y, x, channel). Rows without it are
        read as signals one pixel high. Not needed for images.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where to compute. "auto": where `X` lies, for NumPy a GPU where CuPy finds
        one, else the processor.
    memory : str, path, joblib.Memory or None, default=None
        Where to cache density matrices. They do not depend on cutoffs, counts, signs,
        activation, stride or padding, so a grid search over these computes them once
        a fold. A random subsample without a seed is not cached.
    random_state : int, RandomState instance or None, default=None
        Seed of `subsample`.
    verbose : bool, default=False
        Print progress, about once a second. scikit-learn's callbacks
        (``set_callbacks``) are told of every batch.

    Attributes
    ----------
    filters_ : array of shape (n_filters, kernel height, kernel width, channels)
        Unit vectors of low energy first, with ``signs="both"`` their negatives behind
        them; float32 or float64 as `X` is computed in.
        The sum of a filter's entries is positive; where it is below 0.05 of the sum
        of magnitudes, the first entry of at least half the largest magnitude is.
    energies_ : array of shape (n_filters,), float64
        E = -log p of each filter's eigenvalue p, in nats ([2]_, eq. 15).
    explained_variance_ratio_ : array of shape (n_filters,), float64
        The eigenvalues p: each filter's share of the variance of its own class.
    filter_classes_ : array of shape (n_filters,)
        Label of the class that each filter was computed from.
    filter_members_ : list of list of (label, int)
        Class and rank of each filter, and of those that were merged into it.
    density_matrices_ : array of shape (n_classes, d, d), float64
        Second moments of the d = kernel height * kernel width * channels entries of a
        patch, C order of (y, x, channel), divided by their trace ([1]_, eq. 15); all 0
        for a class without variance.
    partition_functions_ : array of shape (n_classes,), float64
        The traces.
    means_ : array of shape (n_classes, d), float64
        Mean patches, where `centered`.
    n_patches_, class_counts_ : arrays of shape (n_classes,), int64
        How many patches and images each density matrix was computed from.
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted; ``[0]`` where not `class_based`.
    kernel_size_ : (int, int)
        Height and width of a patch; for signals ``(1, min(kernel_size, width))``.
    image_shape_, output_shape_ : (int, int, int)
        Height, width and channels, in and out.
    n_features_in_ : int
        Values of one image: the product of `image_shape_`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of `X`, where it was a data frame.

    See Also
    --------
    MaxPool2DTransformer : Disentangles the overlapping patches; put it behind.
    make_dmn : A pipeline of such layers and a softmax.
    sklearn.decomposition.PCA : Principal components of whole rows.

    Notes
    -----
    The density matrix of class c is rho_c = sum p p^T / Tr(sum p p^T) over the patches
    p of its images. Eigenvectors are found in float64. Where eigenvalues are equal to
    rounding, only the span of their filters is determined; below about 1e-15, which
    ``variance_cutoff=1.0`` may keep, they are rounding themselves.

    `stride`, `padding` and `activation` act in `transform` alone and may be set after
    `fit`; the other parameters take effect with the next fit. The matrices take
    8 n_classes d**2 bytes, which `compact` frees.

    Images are channels-last. float32 and float64 stay as they are; integers, booleans
    and float16 are turned into float32 batch by batch. Density matrices are summed in
    float64, of 8-bit images exactly: they do not depend on batches or order. Products
    of float32 images are added up in float32 256 at a time, right to about 1e-7 of the
    trace, after a provisional mean is taken away from bright images.

    References
    ----------
    .. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Separation of time scales and
       direct computation of weights in deep neural networks", arXiv:1703.04757v3,
       2018.
    .. [2] N. Dehmamy, N. Rohani, A. Katsaggelos, "Convergence of deep neural networks
       to a hierarchical covariance matrix decomposition", arXiv:1703.04757v1, 2017.

    Examples
    --------
    >>> from skdmn import ClassPCAPatchTransformer
    >>> from skdmn.datasets import load_digits_images
    >>> X, y = load_digits_images()
    >>> layer = ClassPCAPatchTransformer(kernel_size=3, variance_cutoff=0.9).fit(X, y)
    >>> layer.filters_.shape
    (7, 3, 3, 1)
    >>> layer.energies_[:3].round(2)
    array([0.53, 1.74, 2.5 ])
    >>> layer.transform(X).shape
    (1797, 6, 6, 7)
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012
        **ClassDensityTransformer._parameter_constraints,
        "n_filters": [Interval(Integral, 1, None, closed="left"), None],
        "variance_cutoff": [Interval(Real, 0, 1, closed="right")],
        "correlation_cutoff": [Interval(Real, 0, 1, closed="both")],
        "signs": [StrOptions({"one", "both"})],
        "activation": [StrOptions({"relu"}), None],
        "centered": ["boolean"],
        "stride": [Interval(Integral, 1, None, closed="left"), tuple, list],
        "padding": [StrOptions({"valid", "same"})],
    }

    filters_: Array
    _ranked_by = ("energies_", "energy in nats")  # the order of the filters, for plots

    def __init__(
        self,
        kernel_size: int | Pair = 3,
        *,
        n_filters: int | None = None,
        variance_cutoff: float = 0.95,
        correlation_cutoff: float = 0.9,
        class_based: bool = True,
        signs: Literal["one", "both"] = "one",
        activation: Literal["relu"] | None = "relu",
        centered: bool = False,
        stride: int | Pair = 1,
        padding: Padding = "valid",
        subsample: float = 1.0,
        image_shape: tuple[int, ...] | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        memory: Any = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.kernel_size = kernel_size
        self.n_filters = n_filters
        self.variance_cutoff = variance_cutoff
        self.correlation_cutoff = correlation_cutoff
        self.class_based = class_based
        self.signs = signs
        self.activation = activation
        self.centered = centered
        self.stride = stride
        self.padding = padding
        self.subsample = subsample
        self.image_shape = image_shape
        self.device = device
        self.memory = memory
        self.random_state = random_state
        self.verbose = verbose

    def _prepare(self) -> None:
        self.kernel_size_ = self._window("kernel_size")
        self._strides()

    def _strides(self) -> Pair:
        return as_pair(self.stride, "stride")

    def _set_filters(self, densities: np.ndarray, dtype: str) -> None:
        bank = filter_bank(
            densities,
            variance_cutoff=self.variance_cutoff,
            correlation_cutoff=self.correlation_cutoff,
            n_filters=self.n_filters,
            signs=self.signs,
        )
        shape = (len(bank.filters), *self.kernel_size_, self.image_shape_[2])
        self.filters_ = self._here(bank.filters.reshape(shape).astype(dtype))
        self.energies_ = self._here(bank.energies)
        self.explained_variance_ratio_ = self._here(bank.shares)
        self.filter_classes_ = self._labels(bank.classes)
        labels = self.classes_.tolist()
        self.filter_members_ = [
            [(labels[index], rank) for index, rank in members]
            for members in bank.members
        ]
        if self.verbose:
            print(
                f"[{type(self).__name__}] {len(bank.filters)} filters of "
                f"{len(labels)} classes"
            )

    def _operations(self) -> list[Operation]:
        convolution = Convolve(self.filters_, self._strides(), self.padding)
        return [convolution, Rectify()] if self.activation == "relu" else [convolution]
