"""A convolutional layer of what sets classes apart: class-based PCA, whitened."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from skdmn.kernels.geometry import Pair, output_size
from skdmn.layers.class_density import ClassDensityTransformer
from skdmn.operations.records import Encode, Operation
from skdmn.statistics.contrast import ContrastAccumulator
from skdmn.statistics.density import LEAST_SQUARE, DensityAccumulator
from skdmn.statistics.whitened_filters import (
    mirrored_order,
    of_mirror_images_too,
    whitened_bank,
)
from skdmn.utils.array_api import Array, to_numpy
from skdmn.utils.validation import as_pair

_FLOOR = 0.1  # of the mean variance of a patch


class WhitenedPCAPatchTransformer(ClassDensityTransformer):
    """Encode images by filters in which one group of patches varies most for all.

    Class-based PCA, carried on: patches are taken by their contrast (less their mean,
    divided by their standard deviation), grouped by class and by the cell of the image
    that they lie in, and the filters of a group are the directions in which it has the
    most variance compared with all patches, not the most variance as such: generalized
    eigenvectors, or class-based PCA in whitened space. So neither brightness nor the
    spectrum that all images share decides. Products are soft thresholded, for both
    signs of each filter.

    The feature maps are large; put an `AveragePool2DTransformer` behind, and run both
    as a `DensityMatrixNetwork`, which never holds them.

    Parameters
    ----------
    kernel_size : int or (int, int), default=6
        Height and width of a patch.
    n_filters : int, default=400
        At most so many filters, those of largest variance ratio; two channels each.
    position_grid : int or (int, int), default=4
        Patches are grouped by class and by the cell that they lie in, of so many down
        and across. 1: by class alone.
    variance_cutoff : float in (0, 1], default=1.0
        Filters are combinations of the leading eigenvectors of the density matrix of
        all patches, as many as stay within this share of its trace, one at least; 1.0:
        all whose eigenvalue is above 1e-6 of the largest. Few of them make the layer
        faster on processors: patches are multiplied with these, and mixed.
    correlation_cutoff : float in [0, 1], default=0.9
        Leave a filter out whose absolute cosine, in whitened space, with one of larger
        ratio exceeds this. 1.0 leaves none out.
    regularization : float above 0, default=0.3
        Added to the eigenvalues of the density matrix of all patches before whitening,
        as a share of their mean.
    contrast_floor : float above 0 or "auto", default="auto"
        Added to the variance of a patch before its root is taken, in the squared unit
        of `X`; keeps flat patches flat. "auto": 0.1 of the mean variance of a patch,
        which one more pass over the images finds.
    threshold : float, default=0.5
        What a product must exceed to count. One filter's products have a mean square
        of about 1 over all patches.
    class_based : bool, default=True
        Group by class and cell, `y` required; or by cell alone, `y` ignored.
    mirrored : bool, default=False
        Compute filters of the images and their mirror images, right to left, and leave
        a filter out also where its mirror image repeats one of larger ratio: for a
        `DensityMatrixNetwork` with ``mirrored=True``, to which both are the same.
    subsample : float in (0, 1] or int, default=1.0
        Share of the images of each class, rounded up, that the density matrices are
        computed from; or how many in all. A tenth is often enough.
    image_shape : (int, int) or (int, int, int) or None, default=None
        Height, width and, where there are several, channels of the images that rows
        of `X` hold, flattened in C order of (y, x, channel). Rows without it are
        read as signals one pixel high. Not needed for images.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where to compute. "auto": where `X` lies, for NumPy a GPU where CuPy finds
        one, else the processor.
    memory : str, path, joblib.Memory or None, default=None
        Where to cache density matrices. They do not depend on `n_filters`, `mirrored`,
        `regularization`, `threshold` or the cutoffs. The pass that finds an "auto"
        floor is made each time.
    random_state : int, RandomState instance or None, default=None
        Seed of `subsample`.
    verbose : bool, default=False
        Print progress, about once a second. scikit-learn's callbacks
        (``set_callbacks``) are told of every batch.

    Attributes
    ----------
    filters_ : array of shape (n_filters, kernel height, kernel width, channels)
        In the order of their ratios. The sum of the entries of each is 0; signs are
        chosen as by `ClassPCAPatchTransformer`.
    components_ : array of shape (n_components, kernel height, kernel width, channels)
        The leading eigenvectors that the filters are combinations of.
    variance_ratios_ : array of shape (n_filters,), float64
        Generalized eigenvalues: the variance that a filter finds in its group, each
        group's whole variance being 1, divided by that in all patches and by what
        `regularization` adds to it.
    filter_classes_ : array of shape (n_filters,)
        Label of the class that each filter was computed from.
    filter_cells_ : array of shape (n_filters, 2), int64
        The cell, down and across, that each filter was computed from; where
        `mirrored`, the left one of two that mirror each other.
    contrast_floor_ : float
        What was added to variances.
    position_grid_ : (int, int)
        Cells down and across: no more than patches have positions.
    density_matrices_ : array of shape (n_classes, n_cells, d, d), float64
        Second moments of the d entries of patches by contrast, divided by their trace.
    partition_functions_ : array of shape (n_classes, n_cells), float64
        The traces.
    n_patches_ : array of shape (n_classes, n_cells), int64
        How many patches each density matrix was computed from.
    class_counts_ : array of shape (n_classes,), int64
        How many images.
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
    ClassPCAPatchTransformer : The papers' layer.
    AveragePool2DTransformer : What belongs behind.

    Notes
    -----
    The argument for class density matrices is that inputs that take the same paths
    through the network share a second moment ([1]_); classes are the first guess at
    such groups, cells of the image make them finer. A filter w of group g solves
    ``rho_g w = ratio (rho + r/d) w`` ([2]_), rho being the mean of the groups' density
    matrices and r the `regularization`. Contrast, whitening and soft thresholds are
    those of [3]_, whose filters are found by k-means.

    `partial_fit` keeps the `contrast_floor_` of the first images. The matrices take
    8 n_classes n_cells d**2 bytes, which `compact` frees: where d is in the thousands,
    as behind another layer, a `position_grid` of 1 or 2 is wise.

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
            Interval(Real, 0, None, closed="neither"),
        ],
        "threshold": [Interval(Real, 0, None, closed="left")],
        "mirrored": ["boolean"],
    }
    centered = False  # patches are, each by itself

    filters_: Array
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
        self.class_based = class_based
        self.mirrored = mirrored
        self.subsample = subsample
        self.image_shape = image_shape
        self.device = device
        self.memory = memory
        self.random_state = random_state
        self.verbose = verbose

    @property
    def _needs_first_look(self) -> bool:  # type: ignore[override]
        return self.contrast_floor == "auto"

    def _prepare(self) -> None:
        self.kernel_size_ = self._window("kernel_size")
        if math.prod(self.kernel_size_) * self.image_shape_[2] == 1:
            raise ValueError(
                f"{type(self).__name__} takes patches by their contrast, but a patch "
                f"of X has a single value (n_features = {self.n_features_in_} and "
                f"kernel_size={self.kernel_size}); pass larger patches or images."
            )
        positions = output_size(self.image_shape_, self.kernel_size_, (1, 1), "valid")
        cells = as_pair(self.position_grid, "position_grid")
        down, across = map(min, cells, positions)
        self.position_grid_ = down, across

    def _first_look(self) -> DensityAccumulator:
        size, n_channels = self.kernel_size_, self.image_shape_[2]
        return DensityAccumulator.empty(1, size, n_channels, centered=False)

    def _take_first_look(self, sums: DensityAccumulator, dtype: str) -> None:
        self.contrast_floor_ = self._floor_of(sums, dtype)

    def _adopt(self, sums: ContrastAccumulator) -> None:
        if self.contrast_floor == "auto":
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
        )

    def _sum_settings(self) -> dict[str, Any]:
        floor = self.contrast_floor
        return {
            **super()._sum_settings(),
            "position_grid": self.position_grid_,
            "contrast_floor": (
                getattr(self, "contrast_floor_", None)
                if floor == "auto"
                else float(floor)
            ),
        }

    @staticmethod
    def _floor_of(sums: DensityAccumulator, dtype: str) -> float:
        """Return a tenth of the mean variance of a patch; 1 where there is none.

        To six digits: the last ones depend on the number of threads, and what is cached
        on all of them.
        """
        outer = sums.outer_products[0]
        d = len(outer)
        # the squares of a patch less d times that of its mean
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.trace(outer) - outer.sum() / d
            variance = squares / (d * max(int(sums.n_patches[0]), 1))
        if not np.isfinite(variance):
            raise ValueError(
                "No filter can be computed: the squares of X overflow, or X has NaN; "
                "scale the images down, or mend them."
            )
        # the inverse of a contrast must be a float32, too
        narrow = float(np.finfo(np.float32).tiny) ** 2
        if 0 < variance < (narrow if dtype == "float32" else LEAST_SQUARE):
            raise ValueError(
                "No filter can be computed: the squares of X underflow; scale the "
                "images up."
            )
        return float(f"{_FLOOR * variance:.6g}") if variance > 0 else 1.0

    def _why_nothing(self) -> str:
        return "all patches of X are constant, or their squares underflow"

    def _set_filters(self, densities: np.ndarray, dtype: str) -> None:
        across, mirror = self.position_grid_[1], None
        if self.mirrored:
            mirror = mirrored_order(self.kernel_size_, self.image_shape_[2])
            densities = of_mirror_images_too(densities, self.position_grid_, mirror)
            across = -(-across // 2)
        n_cells, d = densities.shape[1:3]
        bank = whitened_bank(
            densities.reshape(-1, d, d),
            n_filters=self.n_filters,
            variance_cutoff=self.variance_cutoff,
            correlation_cutoff=self.correlation_cutoff,
            regularization=self.regularization,
            mirror=mirror,
        )
        # products of a mean square of 1 for patches by contrast as they are
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
            print(
                f"[{type(self).__name__}] {len(filters)} filters of "
                f"{len(densities) * n_cells} groups"
            )

    def _operations(self) -> list[Operation]:
        return [
            Encode(
                self.filters_,
                self.contrast_floor_,
                float(self.threshold),
                self.components_,
            )
        ]
