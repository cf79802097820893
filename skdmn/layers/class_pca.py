"""Class-based PCA: filters from the eigenvectors of class density matrices."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from skdmn.kernels.geometry import Padding, Pair
from skdmn.layers.class_density import UNEQUAL_CHANNELS, ClassDensityTransformer
from skdmn.operations.records import Convolve, Operation, Rectify
from skdmn.statistics.density import ENTRIES, KERNEL, Densities, DensityAccumulator
from skdmn.statistics.filters import FilterBank, filter_bank
from skdmn.statistics.magnitudes import Magnitudes, warn_of_missing
from skdmn.utils.array_api import Array
from skdmn.utils.labels import as_objects
from skdmn.utils.reports import report
from skdmn.utils.state import (
    ONE,
    POSITIVE,
    Sizes,
    State,
    StateError,
    checked,
    counts,
    floats,
    number,
    part,
)
from skdmn.utils.validation import as_pair, warn_user


def _check_members(members: Any, sizes: Sizes) -> None:
    """Raise StateError if there is not one list of (label, rank) for each filter."""
    if not isinstance(members, list) or len(members) != sizes["n_filters"]:
        raise StateError(f"is no list of length {sizes['n_filters']}")
    for pairs in members:
        if not isinstance(pairs, list) or not all(
            isinstance(pair, tuple) and len(pair) == 2 and type(pair[1]) is int
            for pair in pairs
        ):
            raise StateError("has entries that are no list of (label, int)")


class ClassPCAPatchTransformer(ClassDensityTransformer):
    """Convolve images with filters computed from the density matrix of each class.

    The filters of this convolutional layer are not trained. They are the leading
    eigenvectors of the density matrix of each class: the second-moment matrix of all
    image patches of the class, divided by its trace. The paper argues that, near
    convergence, stochastic gradient descent moves the weights in the lower layers of a
    ReLU network along these eigenvectors [1]_.

    For each class, eigenvectors are kept up to a share of the variance
    (`variance_cutoff`). Filters of different classes that nearly repeat each other are
    merged (`correlation_cutoff`). The default cutoffs are those of the paper, for
    images of digits on a black background. `make_dmn` has defaults that also suit
    natural images.

    Parameters
    ----------
    kernel_size : int or (int, int), default=3
        Height and width of a patch, in pixels.
    n_filters : int or None, default=None
        Maximum number of filters; those of lowest energy, that is of largest
        eigenvalue, are kept. None keeps all.
        With ``signs="both"``, a filter and its negative count once.
    variance_cutoff : float in (0, 1], default=0.95
        For each class, keep the leading eigenvectors whose cumulative share of the
        variance does not exceed this value. The first one is kept in any case. 1.0
        keeps all with non-zero variance. In bright images, the first eigenvector alone
        can hold a share of 0.95; use 0.999 for them, and limit `n_filters`.
    correlation_cutoff : float in [0, 1], default=0.9
        Merge a filter into one that was kept before, of an earlier class, if the
        absolute cosine between them exceeds this value. 1.0 merges none. If `n_filters`
        is set, 0.5 makes the filters that are kept more diverse.
    class_based : bool, default=True
        If True, compute one density matrix per class; `y` is required. If False,
        compute one for all images (the papers' naive DMN); `y` is ignored.
    signs : {"one", "both"}, default="one"
        "both" appends the negatives of all filters, so that a ReLU loses no
        information (two-sided features, CReLU).
    activation : {"relu", None}, default="relu"
        Function applied to the output of the convolution.
    centered : bool, default=False
        If True, subtract the mean patch of a class before computing its second
        moments. The papers do not. `transform` is a convolution without bias in both
        cases.
    stride : int or (int, int), default=1
        Vertical and horizontal step between patches in `transform`, in pixels.
    padding : {"valid", "same"}, default="valid"
        Padding in `transform`. "valid" uses only patches inside the image. "same" adds
        zeros at the border, and an odd one at the bottom and right (ONNX's SAME_UPPER);
        the output then has size ``ceil(size / stride)``. Density matrices are always
        computed from all valid patches at stride 1.
    subsample : float in (0, 1] or int, default=1.0
        If float, the share of the images of each class (rounded up) from which the
        density matrices are computed. If int, the number of images in all, drawn in
        proportion to the classes, at least one per class. A fraction is often enough
        ([1]_, Table 2).
    image_bound : float above 0 or None, default=None
        Largest sum of squares of an image, relative to the median image. An image above
        it is scaled down to it before it is added to the density matrices, so that
        damaged images cannot determine the filters. `transform` does not scale images.
        Finding the median needs one more pass over the images. None sets no bound.
    image_shape : (int, int) or (int, int, int) or None, default=None
        Height, width and (optionally) channels of the images, if `X` holds them as
        rows, flattened in C order of (y, x, channel). Without it, rows are read as
        one-dimensional signals. Not needed if `X` holds images.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where to compute. "auto" uses the device of `X`; for NumPy arrays, a GPU if
        the work is large and CuPy finds one, else the CPU.
    memory : str, path, joblib.Memory or None, default=None
        Where to cache density matrices. They do not depend on `n_filters`, the cutoffs,
        `signs`, `activation`, `stride` or `padding`, so a grid search over these
        computes them once per fold. Not used for a subsample without a fixed
        `random_state`.
    random_state : int, RandomState instance or None, default=None
        Determines which images `subsample` draws.
    verbose : bool, default=False
        Print progress, about once per second. scikit-learn's callbacks
        (``set_callbacks``) are called for every batch.

    Attributes
    ----------
    filters_ : array of shape (n_filters, kernel height, kernel width, channels)
        The filters: unit vectors, lowest energy first. With ``signs="both"``, their
        negatives follow in the same order. float32 or float64, as `X` is computed in.
        The sign of a filter makes the sum of its entries positive. If the absolute
        value of this sum is below 0.05 of the sum of absolute values, the sign makes
        the first large entry positive (at least half the largest absolute value).
    energies_ : array of shape (n_filters,), float64
        Energy E = -log(p) of each filter, in nats, where p is its eigenvalue ([2]_,
        eq. 15).
    explained_variance_ratio_ : array of shape (n_filters,), float64
        The eigenvalues p: the share of each filter in the variance of its own class.
    filter_classes_ : array of shape (n_filters,)
        Label of the class from which each filter was computed.
    filter_members_ : list of list of (label, int)
        For each filter, the class and rank of the eigenvector it comes from, and of
        those that were merged into it.
    density_matrices_ : array of shape (n_classes, d, d), float64
        Second-moment matrices of the patches, divided by their trace ([1]_, eq. 15).
        A patch has d = kernel height * kernel width * channels entries, in C order of
        (y, x, channel). All zero for a class without variance.
    partition_functions_ : array of shape (n_classes,), float64
        The traces.
    means_ : array of shape (n_classes, d), float64
        Mean patch of each class. Only if `centered`.
    n_patches_, class_counts_ : arrays of shape (n_classes,), int64
        Number of patches and images from which each density matrix was computed.
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted; ``[0]`` if not `class_based`.
    image_bound_ : float
        The largest sum of squares of an image, in the squared unit of `X`; infinite
        without `image_bound`.
    kernel_size_ : (int, int)
        Height and width of a patch; ``(1, min(kernel_size, width))`` for
        one-dimensional signals.
    image_shape_, output_shape_ : (int, int, int)
        Height, width and channels of the input and the output.
    n_features_in_ : int
        Number of values of one image: the product of `image_shape_`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names of `X`. Only if `X` was a data frame in `fit`.

    Warns
    -----
    UserWarning
        If the cutoffs leave one filter, or fewer outputs than classes, and `n_filters`
        does not ask for so few. The message says which cutoff it was.

    See Also
    --------
    MaxPool2DTransformer : The pooling to put after this layer.
    WhitenedPCAPatchTransformer : Generalized eigenvectors, by class and position.
    make_dmn : A pipeline of such layers and a softmax classifier.
    sklearn.decomposition.PCA : Principal components of whole rows.

    Notes
    -----
    The density matrix of class c is rho_c = sum p p^T / Tr(sum p p^T), summed over the
    patches p of its images. Its eigenvectors are computed in float64. If eigenvalues
    are equal up to rounding, only the span of their eigenvectors is determined.
    Eigenvalues below about 1e-15, which ``variance_cutoff=1.0`` may keep, are rounding
    errors.

    Density matrices are sums over images. `partial_fit` adds images, `merge` adds what
    another fitted layer has seen, and `statistics` and `finish` split a fit into a sum
    that can be computed anywhere and the rest, which needs no image.

    `stride`, `padding` and `activation` only affect `transform` and may be set after
    `fit`. The other parameters take effect in the next fit.

    The sums from which the density matrices are computed take 8 n_classes d**2 bytes,
    which `compact` frees. `fit` needs about 48 d**2 bytes more for each of its threads,
    besides batches and filters. If memory does not suffice for one thread, it raises a
    MemoryError before it reads images. `density_matrices_` computes the matrices when
    accessed.

    Images are channels-last. float32 and float64 are kept; integers, booleans and
    float16 are converted to float32 batch by batch. Density matrices are summed in
    float64. For 8-bit images the sums are exact and do not depend on batches or on the
    order of images. Products of float32 images are summed in float32 in blocks of 256,
    with an error of about 1e-7 of the trace; a provisional mean is subtracted from
    bright images first.

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
        "image_bound": [Interval(Real, 0, None, closed="neither"), None],
    }
    _state: ClassVar[State] = {
        # filters of `from_torch` are not normalized, and the energy of 0 is infinite
        "filters_": floats("n_filters", *KERNEL, "channels"),
        "energies_": floats("n_filters", least=0, is_finite=False),
        "explained_variance_ratio_": floats("n_filters", least=0, most=ONE),
        "filter_members_": checked(_check_members),
        "partition_functions_": floats("n_classes", least=0),
        "n_patches_": counts("n_classes"),
        "means_": floats("n_classes", ENTRIES).optional(),
        "image_bound_": number(least=POSITIVE),
        "_sums": part(DensityAccumulator).optional(),
    }

    _not_in_sums = frozenset(
        {
            "n_filters",
            "variance_cutoff",
            "correlation_cutoff",
            "signs",
            "activation",
            "stride",
            "padding",
        }
    )
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
        image_bound: float | None = None,
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
        self.image_bound = image_bound
        self.image_shape = image_shape
        self.device = device
        self.memory = memory
        self.random_state = random_state
        self.verbose = verbose

    def _prepare(self) -> None:
        self.kernel_size_ = self._window("kernel_size")
        self._strides()

    @property
    def _needs_first_look(self) -> bool:  # type: ignore[override]
        return self.image_bound is not None

    def _first_look(self) -> Magnitudes:
        return Magnitudes.empty(1)

    def _take_first_look(self, sums: Magnitudes, dtype: str) -> None:
        (median,) = sums.medians
        # rounded, because the cache of density matrices depends on all digits
        self.image_bound_ = float(f"{self.image_bound * median:.6g}") or np.inf

    def _adopt(self, sums: DensityAccumulator) -> None:
        self.image_bound_ = sums.bound

    def _empty_sums(self, n_classes: int) -> DensityAccumulator:
        if self.image_bound is None:
            self.image_bound_ = np.inf
        return super()._empty_sums(n_classes).watching(self.image_bound_)

    def _sum_settings(self) -> dict[str, Any]:
        return {
            **super()._sum_settings(),
            "image_bound": self.image_bound,
            "image_bound_": getattr(self, "image_bound_", None),
        }

    def _warn_of_outliers(self, sums: DensityAccumulator) -> None:
        magnitudes = sums.magnitudes
        if magnitudes is None:
            return
        n_outliers, held = magnitudes.owners(sums.bound)
        owned = held > 0.5
        if owned.any():
            warn_user(
                f"{n_outliers[owned].sum()} of {magnitudes.counts.sum()} images hold "
                "more than half of the sum of squares of class "
                f"{', '.join(map(str, self.classes_[owned]))}, and so determine its "
                f"filters; {magnitudes.values_in_words()}. Repair or remove these "
                "images, or set image_bound=1.0 to bound what each image contributes."
            )
        else:
            warn_of_missing(magnitudes)

    def _strides(self) -> Pair:
        return as_pair(self.stride, "stride")

    def _set_filters(self, densities: Densities, dtype: str) -> None:
        bank = filter_bank(
            densities,
            variance_cutoff=self.variance_cutoff,
            correlation_cutoff=self.correlation_cutoff,
            n_filters=self.n_filters,
            signs=self.signs,
        )
        shape = (len(bank.filters), *self._filter_shape())
        self.filters_ = self._here(bank.filters.reshape(shape).astype(dtype))
        self.energies_ = self._here(bank.energies)
        self.explained_variance_ratio_ = self._here(bank.shares)
        self.filter_classes_ = self._labels(bank.classes)
        labels = as_objects(self.classes_)
        self.filter_members_ = [
            [(labels[index], rank) for index, rank in members]
            for members in bank.members
        ]
        if self.verbose:
            text = f"{len(bank.filters)} filters of {len(labels)} classes"
            report(type(self).__name__, text)
        self._warn_of_few(bank)

    def _warn_of_few(self, bank: FilterBank) -> None:
        """Warn if cutoffs leave one filter, or fewer outputs than classes.

        These cannot tell classes apart. No warning if `n_filters` asks for so few, or
        if no component was left out.
        """
        n_positions = math.prod(self.output_shape_[:2])
        least = max(2, math.ceil(len(self.classes_) / n_positions))
        enough = min(least, self.n_filters or least, bank.filters.shape[1])
        if bank.n_distinct >= enough or bank.n_components == bank.n_varying:
            return
        n_merged = bank.n_components - bank.n_distinct
        of = f"{len(self.classes_)} classes" if self.class_based else "all images"
        merged = (
            f", and correlation_cutoff={self.correlation_cutoff} merges {n_merged} of "
            "these"
        )
        more = "0.999" if self.variance_cutoff < 0.999 else "1.0"
        warn_user(
            f"{type(self).__name__} has only {bank.n_distinct} "
            f"filter{'s' * (bank.n_distinct > 1)}: variance_cutoff="
            f"{self.variance_cutoff} keeps {bank.n_components} of {bank.n_varying} "
            f"components of {of}{merged if n_merged else ''}. Pass a larger value of "
            f"variance_cutoff, such as {more},"
            f"{' or of correlation_cutoff,' if n_merged else ''} and bound the number "
            f"by n_filters; n_filters={bank.n_distinct} asks for no more."
            f"{f' {UNEQUAL_CHANNELS}.' if self.image_shape_[2] > 1 else ''}"
        )

    def _filter_shape(self) -> tuple[int, ...]:
        """Return the shape of an item of `filters_`."""
        return *self.kernel_size_, self.image_shape_[2]

    def _kernels(self) -> Array:
        """Return the filters in the shape (n_filters, height, width, channels)."""
        return self.filters_

    def _operations(self) -> list[Operation]:
        convolution = Convolve(self._kernels(), self._strides(), self.padding)
        return [convolution, Rectify()] if self.activation == "relu" else [convolution]
