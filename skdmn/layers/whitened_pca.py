"""Whitened class-based PCA: filters from generalized eigenvectors."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from skdmn.kernels.geometry import Pair, output_size
from skdmn.layers.base import IMAGE
from skdmn.layers.class_density import UNEQUAL_CHANNELS, ClassDensityTransformer
from skdmn.operations.records import Concatenate, Convolve, Encode, Operation, Rectify
from skdmn.statistics.channels import ChannelMoments
from skdmn.statistics.contrast import CELLS, ContrastAccumulator
from skdmn.statistics.density import KERNEL, LEAST_SQUARE, DensityAccumulator
from skdmn.statistics.filters import Matrices
from skdmn.statistics.magnitudes import OUTLIER, Magnitudes, warn_of_missing
from skdmn.statistics.whitened_filters import (
    MirroredDensities,
    mirrored_order,
    whitened_bank,
)
from skdmn.utils.array_api import Array, to_numpy
from skdmn.utils.reports import report
from skdmn.utils.state import (
    ONE,
    POSITIVE,
    Sizes,
    State,
    counts,
    floats,
    lengths,
    number,
    part,
    wrong_state,
)
from skdmn.utils.validation import as_pair, warn_user

_FLOOR = 0.1  # share of the mean variance of a patch
_FARTHEST = 1.5  # brightness level, in standard deviations from the mean
_STRONGEST = 1.6  # contrast level, in standard deviations; each other is half the next
_MOST_LEVELS = 100  # more would only take memory
# the inverse of its square root must be a float32
_LEAST_FLOOR = float(np.finfo(np.float32).tiny) ** 2


class WhitenedPCAPatchTransformer(ClassDensityTransformer):
    """Convolve images with filters computed by whitened class-based PCA.

    The filters are computed in four steps:

    1. Local contrast normalization: the mean of each patch is subtracted, and the
       patch is divided by its standard deviation.
    2. Patches are grouped by class and by the cell of the image that contains them.
       Each group gets a density matrix (its second moments, divided by their trace).
    3. The candidates of a group are the generalized eigenvectors of its density matrix
       with respect to that of all patches (Fukunaga-Koontz transform). These are the
       directions in which the group has the most variance relative to all patches.
       This is class-based PCA in whitened space: directions in which all images vary
       much, such as smooth changes of brightness, are not preferred.
    4. Of the candidates of all groups, those with the largest variance ratios are
       kept, without near duplicates.

    `transform` multiplies normalized patches by the filters and applies two-sided soft
    thresholding (CReLU): each filter w gives the channels
    ``max(w p - threshold, 0)`` and ``max(-w p - threshold, 0)``.

    The feature maps are large. Put an `AveragePool2DTransformer` after this layer, and
    both into a `DensityMatrixNetwork`, which never holds the feature maps of all
    images in memory.

    Parameters
    ----------
    kernel_size : int or (int, int), default=6
        Height and width of a patch, in pixels.
    n_filters : int, default=400
        Maximum number of filters. Those with the largest variance ratios are kept.
        Each filter gives two output channels.
    position_grid : int or (int, int), default=4
        Number of cells, vertically and horizontally, into which the positions of the
        patches are divided. With 1, patches are grouped by class alone.
    variance_cutoff : float in (0, 1], default=1.0
        The filters are linear combinations of the leading eigenvectors of the density
        matrix of all patches. As many eigenvectors are used as hold at most this share
        of its trace, and at least one. 1.0 uses all with an eigenvalue above 1e-6 of
        the largest. A smaller value makes the layer faster on a CPU.
    correlation_cutoff : float in [0, 1], default=0.9
        Drop a filter if its absolute cosine, in whitened space, with a filter of larger
        variance ratio exceeds this value. 1.0 drops none.
    regularization : float above 0, default=0.3
        Added to the eigenvalues of the density matrix of all patches before whitening,
        as a share of their mean.
    contrast_floor : float of at least 1.4e-76 or "auto", default="auto"
        Added to the variance of a patch before the square root is taken, so that noise
        in flat patches is not amplified. The unit is that of `X`, squared. "auto" takes
        0.1 of the mean variance of a patch, which needs one more pass over the images.
        A single damaged pixel could determine this mean. So it leaves out images with
        more than 100 times the mean variance of all others, with a warning, if they are
        at most a quarter of the images.
    threshold : float, default=0.5
        Threshold of the soft thresholding. The product of a filter with a patch has a
        mean square of about 1 over all patches.
    n_levels : int, default=0
        Number of brightness levels, at most 100. Contrast normalization discards the
        brightness of a patch; if it matters, as in textures and scans, 7 levels
        describe it. Each level t gives two channels after those of the filters,
        ``max(b - t, 0)`` and ``max(t - b, 0)``. Here b is the brightness (the mean over
        the channels) of the pixel at the center of the patch, minus its mean over all
        images and divided by the standard deviation of the pixels. The levels are
        equally spaced from -1.5 to 1.5; a single one is 0.
    n_contrast_levels : int, default=0
        Number of contrast levels, at most 100. They describe how much pixels differ
        from their surroundings, and whether more of them are brighter or darker, which
        contrast normalization discards as well; for textures. Each level t gives two
        channels after all others, ``max(c - t, 0)`` and ``max(-c - t, 0)``. Here c is
        the brightness of the pixel at the center of the patch minus the mean of the
        patch, divided by the standard deviation of the pixels of all images. The
        largest level is 1.6, and each other is half the next one.
    class_based : bool, default=True
        If True, group patches by class and cell; `y` is required. If False, group them
        by cell alone; `y` is ignored.
    mirrored : bool, default=False
        Compute the filters from the images and their horizontal flips. A filter is
        also dropped if its flip nearly repeats a filter of larger variance ratio (see
        `correlation_cutoff`). A `DensityMatrixNetwork` with ``mirrored=True`` sets this
        parameter on its layers: it averages over flips, so that a filter and its flip
        would give equal features.
    subsample : float in (0, 1] or int, default=1.0
        If float, the share of the images of each class (rounded up) from which the
        density matrices are computed. If int, the number of images in all. A tenth is
        often enough.
    image_shape : (int, int) or (int, int, int) or None, default=None
        Height, width and (optionally) channels of the images, if `X` holds them as
        rows, flattened in C order of (y, x, channel). Without it, rows are read as
        one-dimensional signals. Not needed if `X` holds images.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where to compute. "auto" uses the device of `X`; for NumPy arrays, a GPU if
        the work is large and CuPy finds one, else the CPU.
    memory : str, path, joblib.Memory or None, default=None
        Where to cache density matrices. They do not depend on `n_filters`, `mirrored`,
        `regularization`, `threshold` or the cutoffs. The pass that computes the "auto"
        `contrast_floor` is not cached.
    random_state : int, RandomState instance or None, default=None
        Determines which images `subsample` draws.
    verbose : bool, default=False
        Print progress, about once per second. scikit-learn's callbacks
        (``set_callbacks``) are called for every batch.

    Attributes
    ----------
    filters_ : array of shape (n_filters, kernel height, kernel width, channels)
        The filters, largest variance ratio first. The entries of each filter sum to 0.
        Signs are chosen as in `ClassPCAPatchTransformer`.
    components_ : array of shape (n_components, kernel height, kernel width, channels)
        Leading eigenvectors of the density matrix of all patches. The filters are
        linear combinations of them.
    variance_ratios_ : array of shape (n_filters,), float64
        Generalized eigenvalues: the variance along a filter in its own group (as a
        share of the group's total variance), divided by the regularized variance along
        it in all patches.
    filter_classes_ : array of shape (n_filters,)
        Label of the class from which each filter was computed.
    filter_cells_ : array of shape (n_filters, 2), int64
        Row and column of the cell from which each filter was computed. If `mirrored`,
        the left one of the two cells that mirror each other.
    level_filters_ : array of shape (n_all_levels, kernel height, width, channels)
        Filters of the brightness and contrast levels: the center pixel, and its
        difference from the mean of the patch, with both signs. There are ``n_all_levels
        = 2 * (n_levels + n_contrast_levels)``. Only if that is not 0.
    level_biases_ : array of shape (n_all_levels,)
        Added to the products of these filters. Only if there are levels.
    contrast_floor_ : float
        The value added to the variance of a patch.
    position_grid_ : (int, int)
        Number of cells, vertically and horizontally: at most one per patch position.
    density_matrices_ : array of shape (n_classes, n_cells, d, d), float64
        Second moments of contrast-normalized patches, divided by their trace. A patch
        has d = kernel height * kernel width * channels entries.
    partition_functions_ : array of shape (n_classes, n_cells), float64
        The traces.
    n_patches_ : array of shape (n_classes, n_cells), int64
        Number of patches from which each density matrix was computed.
    class_counts_ : array of shape (n_classes,), int64
        Number of images of each class.
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted; ``[0]`` if not `class_based`.
    kernel_size_ : (int, int)
        Height and width of a patch; ``(1, min(kernel_size, width))`` for
        one-dimensional signals.
    image_shape_, output_shape_ : (int, int, int)
        Height, width and channels of the input and the output.
    n_features_in_ : int
        Number of values of one image: the product of `image_shape_`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names of `X`. Only if `X` was a data frame in `fit`.

    See Also
    --------
    ClassPCAPatchTransformer : The papers' layer, without whitening.
    AveragePool2DTransformer : The pooling to put after this layer.

    Notes
    -----
    A filter w of group g solves the generalized eigenvalue problem
    ``rho_g w = ratio * (rho + r / d * I) w`` [2]_. Here rho_g is the density matrix of
    the group, rho the mean over all groups, r the `regularization` and I the identity.
    The papers use density matrices of classes because inputs that take the same paths
    through a network share them [1]_. Classes are a first guess at such inputs; cells
    of the image make the groups finer. Contrast normalization, whitening and soft
    thresholding follow [3]_, which computes its filters by k-means.

    This layer has the methods `partial_fit`, `merge`, `statistics` and `finish`. With
    ``contrast_floor="auto"``, `partial_fit` keeps the `contrast_floor_` of the first
    images; sites that do not share images agree on one with `first_look`.

    The sums from which the density matrices are computed take 8 n_classes n_cells d**2
    bytes, which `compact` frees. `fit` needs about twice as much, and 48 d**2 bytes for
    each of its threads. If memory does not suffice for one thread, it raises a
    MemoryError before it reads images. If d is in the thousands, as after another
    layer, set `position_grid` to 1 or 2.

    References
    ----------
    .. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Separation of time scales and
       direct computation of weights in deep neural networks", arXiv:1703.04757v3,
       2018.
    .. [2] K. Fukunaga, W. Koontz, "Application of the Karhunen-Loeve expansion to
       feature selection and ordering", IEEE Transactions on Computers C-19, 1970.
    .. [3] A. Coates, A. Ng, "Learning feature representations with k-means", 2012.

    Examples
    --------
    >>> from skdmn import AveragePool2DTransformer, DensityMatrixNetwork
    >>> from skdmn import WhitenedPCAPatchTransformer
    >>> from skdmn.datasets import load_digits_images
    >>> X, y = load_digits_images()
    >>> network = DensityMatrixNetwork([
    ...     ("conv", WhitenedPCAPatchTransformer(4, n_filters=50, position_grid=2)),
    ...     ("pool", AveragePool2DTransformer(3, stride=2)),
    ... ])
    >>> network.fit_transform(X, y).shape
    (1797, 400)
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012
        **ClassDensityTransformer._parameter_constraints,
        "n_filters": [Interval(Integral, 1, None, closed="left")],
        "position_grid": [Interval(Integral, 1, None, closed="left"), tuple, list],
        "variance_cutoff": [Interval(Real, 0, 1, closed="right")],
        "correlation_cutoff": [Interval(Real, 0, 1, closed="both")],
        "regularization": [Interval(Real, 0, None, closed="neither")],
        "contrast_floor": [
            StrOptions({"auto"}),
            Interval(Real, _LEAST_FLOOR, None, closed="left"),
        ],
        "threshold": [Interval(Real, 0, None, closed="left")],
        "n_levels": [Interval(Integral, 0, _MOST_LEVELS, closed="both")],
        "n_contrast_levels": [Interval(Integral, 0, _MOST_LEVELS, closed="both")],
        "mirrored": ["boolean"],
    }
    _not_in_sums = frozenset(
        {
            "n_filters",
            "variance_cutoff",
            "correlation_cutoff",
            "regularization",
            "threshold",
            "mirrored",
        }
    )
    _state: ClassVar[State] = {
        "filters_": floats("n_filters", *KERNEL, "channels"),
        "components_": floats(
            "n_components", *KERNEL, "channels", least=-ONE, most=ONE
        ),
        "variance_ratios_": floats("n_filters", least=0),
        "level_filters_": floats("n_level_channels", *KERNEL, "channels").optional(),
        "level_biases_": floats("n_level_channels").optional(),
        "filter_cells_": counts("n_filters", 2),
        "contrast_floor_": number(least=POSITIVE),
        "position_grid_": lengths(*CELLS, most=IMAGE[:2]),
        "partition_functions_": floats("n_classes", CELLS, least=0),
        "n_patches_": counts("n_classes", CELLS),
        "_sums": part(ContrastAccumulator).optional(),
    }
    centered = False  # each patch is, by its own mean

    filters_: Array
    _ranked_by = ("variance_ratios_", "variance ratio")  # the order of the filters
    contrast_floor_: float
    position_grid_: Pair

    def __init__(
        self,
        kernel_size: int | Pair = 6,
        *,
        n_filters: int = 400,
        position_grid: int | Pair = 4,
        variance_cutoff: float = 1.0,
        correlation_cutoff: float = 0.9,
        regularization: float = 0.3,
        contrast_floor: float | Literal["auto"] = "auto",
        threshold: float = 0.5,
        n_levels: int = 0,
        n_contrast_levels: int = 0,
        class_based: bool = True,
        mirrored: bool = False,
        subsample: float = 1.0,
        image_shape: tuple[int, ...] | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        memory: Any = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.kernel_size = kernel_size
        self.n_filters = n_filters
        self.position_grid = position_grid
        self.variance_cutoff = variance_cutoff
        self.correlation_cutoff = correlation_cutoff
        self.regularization = regularization
        self.contrast_floor = contrast_floor
        self.threshold = threshold
        self.n_levels = n_levels
        self.n_contrast_levels = n_contrast_levels
        self.class_based = class_based
        self.mirrored = mirrored
        self.subsample = subsample
        self.image_shape = image_shape
        self.device = device
        self.memory = memory
        self.random_state = random_state
        self.verbose = verbose

    def _check_state(self) -> Sizes:
        """Raise if the floor has no inverse root in the dtype of the filters."""
        sizes = super()._check_state()
        is_narrow = to_numpy(self.filters_).dtype == np.float32
        if is_narrow and self.contrast_floor_ < _FLOOR * _LEAST_FLOOR:
            raise wrong_state(
                f"contrast_floor_ of {type(self).__name__} is {self.contrast_floor_}, "
                "which is too small for float32"
            )
        return sizes

    @property
    def _has_levels(self) -> bool:
        return self.n_levels + self.n_contrast_levels > 0

    @property
    def _needs_first_look(self) -> bool:  # type: ignore[override]
        return self.contrast_floor == "auto"

    def _prepare(self) -> None:
        self.kernel_size_ = self._window("kernel_size")
        if math.prod(self.kernel_size_) * self.image_shape_[2] == 1:
            raise ValueError(
                f"{type(self).__name__} normalizes the contrast of patches, but a "
                f"patch of X has a single value (n_features = {self.n_features_in_} "
                f"and kernel_size={self.kernel_size}); pass a larger kernel_size or "
                "larger images."
            )
        positions = output_size(self.image_shape_, self.kernel_size_, (1, 1), "valid")
        cells = as_pair(self.position_grid, "position_grid")
        down, across = map(min, cells, positions)
        self.position_grid_ = down, across

    def _first_look(self) -> Magnitudes:
        return Magnitudes.empty(1, self.kernel_size_)

    def _take_first_look(self, sums: Magnitudes, dtype: str) -> None:
        self.contrast_floor_ = self._floor_of(sums, dtype)
        ((n_outliers,), _), n_images = sums.owners(), sums.counts.sum()
        if n_outliers:
            warn_user(
                f'contrast_floor="auto" leaves out {n_outliers} of {n_images} images, '
                f"whose patches have more than {OUTLIER:g} times the mean variance of "
                f"the others; {sums.values_in_words()}. Repair or remove them if they "
                "are damaged."
            )
        else:
            warn_of_missing(sums)

    def _adopt(self, sums: ContrastAccumulator) -> None:
        self.contrast_floor_ = sums.floor

    def _empty_sums(self, n_classes: int) -> ContrastAccumulator:
        if self.contrast_floor != "auto":
            self.contrast_floor_ = float(self.contrast_floor)
        return ContrastAccumulator.of(
            n_classes,
            self.kernel_size_,
            self.image_shape_[2],
            self.position_grid_,
            self.contrast_floor_,
            with_pixels=self._has_levels,
        )

    def _sum_settings(self) -> dict[str, Any]:
        floor = self.contrast_floor
        return {
            **super()._sum_settings(),
            "position_grid": self.position_grid_,
            "brightness": self._has_levels,
            "contrast_floor": (
                getattr(self, "contrast_floor_", None)
                if floor == "auto"
                else float(floor)
            ),
        }

    @staticmethod
    def _floor_of(sums: Magnitudes, dtype: str) -> float:
        """Return a tenth of the mean variance of a patch, or 1 if that is 0.

        It is rounded to six digits, because the last digits depend on the number of
        threads and the cache of density matrices depends on all digits.
        """
        variance = sums.robust_mean()
        if not np.isfinite(variance):
            raise ValueError(
                "No filter can be computed: the squares of X overflow, or X has NaN; "
                "scale the images down, or remove the NaN."
            )
        # the inverse of a standard deviation must not overflow float32 either
        narrow = float(np.finfo(np.float32).tiny) ** 2
        if 0 < variance < (narrow if dtype == "float32" else LEAST_SQUARE):
            raise ValueError(
                "No filter can be computed: the squares of X underflow; scale the "
                "images up."
            )
        return float(f"{_FLOOR * variance:.6g}") if variance > 0 else 1.0

    def _n_matrices(self, n_classes: int) -> int:
        # sums, and the eigenvectors of every group
        return 2 * n_classes * math.prod(self.position_grid_)

    def _less_memory(self) -> str:
        return "pass a smaller position_grid; or " + super()._less_memory()

    def _why_nothing(self) -> str:
        return (
            "all patches of X are constant, their squares underflow, or "
            f"contrast_floor={self.contrast_floor!r} is far above their variance"
        )

    def _set(self, sums: DensityAccumulator, dtype: str) -> None:
        super()._set(sums, dtype)
        for name in ("level_filters_", "level_biases_"):
            self.__dict__.pop(name, None)  # of an earlier fit
        pixels = getattr(sums, "pixels", None)
        if pixels is not None:
            self._set_levels(pixels, dtype)

    def _set_levels(self, pixels: ChannelMoments, dtype: str) -> None:
        mean, std = pixels.overall()
        if not np.isfinite(std):
            raise ValueError(
                "No brightness level can be computed: the squares of X overflow, or X "
                "has NaN; scale the images down, or remove the NaN."
            )
        if not std >= np.finfo(dtype).tiny * 2:
            raise ValueError(
                "No brightness level can be computed: the squares of X underflow; "
                "scale the images up."
            )
        height, width = self.kernel_size_
        n_channels = self.image_shape_[2]
        pixel = np.zeros((height, width, n_channels))
        pixel[(height - 1) // 2, (width - 1) // 2] = 1 / (std * n_channels)
        n, n_contrast = int(self.n_levels), int(self.n_contrast_levels)
        levels = np.linspace(-_FARTHEST, _FARTHEST, n) if n != 1 else np.zeros(1)
        above = levels + mean / std
        # none is 0: the root of a pooled rounding error would not be small
        strengths = _STRONGEST / 2.0 ** np.arange(n_contrast)[::-1]
        filters = [pixel, -pixel, pixel - pixel.mean(), pixel.mean() - pixel]
        biases = [-above, above, -strengths, -strengths]
        bank = np.repeat(filters, [n, n, n_contrast, n_contrast], axis=0)
        self.level_filters_ = self._here(bank.astype(dtype))
        self.level_biases_ = self._here(np.concatenate(biases).astype(dtype))

    def _set_filters(self, densities: Matrices, dtype: str) -> None:
        across, mirror = self.position_grid_[1], None
        if self.mirrored:
            mirror = mirrored_order(self.kernel_size_, self.image_shape_[2])
            densities = MirroredDensities(densities, self.position_grid_, mirror)
            across = -(-across // 2)
        n_cells = self.position_grid_[0] * across
        bank = whitened_bank(
            densities,
            n_filters=int(self.n_filters),
            variance_cutoff=self.variance_cutoff,
            correlation_cutoff=self.correlation_cutoff,
            regularization=self.regularization,
            mirror=mirror,
        )
        if len(bank.components) == 1 < min(self.n_filters, bank.n_varying):
            self._warn_of_one_component(bank.n_varying)
        # the bank is for density matrices of trace 1; patches have the mean trace
        traces = to_numpy(self.partition_functions_)
        filters = bank.filters / np.sqrt(traces[traces > 0].mean())
        filters -= filters.mean(axis=1, keepdims=True)
        shape = (-1, *self.kernel_size_, self.image_shape_[2])
        self.filters_ = self._here(filters.reshape(shape).astype(dtype))
        self.components_ = self._here(bank.components.reshape(shape).astype(dtype))
        self.variance_ratios_ = self._here(bank.ratios)
        of_class, cells = np.divmod(bank.groups, n_cells)
        self.filter_classes_ = self._labels(of_class)
        cells = np.stack(np.divmod(cells, across), axis=1)
        self.filter_cells_ = self._here(cells)
        if self.verbose:
            text = f"{len(filters)} filters of {len(densities)} groups"
            report(type(self).__name__, text)

    def _warn_of_one_component(self, n_varying: int) -> None:
        has_channels = self.image_shape_[2] > 1
        warn_user(
            f"{type(self).__name__} has a single filter: variance_cutoff="
            f"{self.variance_cutoff} keeps 1 of {n_varying} components, because one "
            f"holds nearly all differences within patches. "
            f"{f'{UNEQUAL_CHANNELS}; else pass' if has_channels else 'Pass'} a larger "
            "value of variance_cutoff."
        )

    def _operations(self) -> list[Operation]:
        encode = Encode(
            self.filters_,
            self.contrast_floor_,
            float(self.threshold),
            self.components_,
        )
        if not hasattr(self, "level_filters_"):
            return [encode]
        brightness = Convolve(self.level_filters_, bias=self.level_biases_)
        return [Concatenate(((encode,), (brightness, Rectify())))]
