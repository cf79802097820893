"""Base class of layers whose filters come from class density matrices."""

from __future__ import annotations

import copy
import math
import time
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.utils import Tags, check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, RealNotInt

from skdmn.data import sizes
from skdmn.data.images import Images
from skdmn.kernels.geometry import Pair
from skdmn.layers.base import IMAGE, ImageTransformer, Labels
from skdmn.statistics.accumulate import Report
from skdmn.statistics.density import (
    KERNEL,
    LEAST_SQUARE,
    Densities,
    DensityAccumulator,
)
from skdmn.statistics.filters import WORKSPACE
from skdmn.utils.array_api import Array, to_numpy
from skdmn.utils.checks import check_is_fitted
from skdmn.utils.labels import draw, encode_labels, is_all
from skdmn.utils.memory import SURE_TO_FIT, available_memory, in_words
from skdmn.utils.reports import report
from skdmn.utils.state import (
    Sizes,
    State,
    classes,
    counts,
    labels,
    lengths,
    wrong_state,
)
from skdmn.utils.validation import Shape, as_pair, warn_user

UNEQUAL_CHANNELS = (
    "If the channels have different units, scales or offsets, put a "
    "ChannelStandardScaler before this layer (standardize=True of make_dmn and "
    "recommended_dmn)"
)
_NEARLY_ALL = 0.999  # of the second moments, in one channel
_VARIES = 1e-9  # variance within patches, as a share; less is a rounding error


class ClassDensityTransformer(CallbackSupportMixin, ImageTransformer):
    """Base class of layers whose filters come from class density matrices.

    A subclass has the parameters below, and sets its filters from the density matrices
    in ``_set_filters(densities, dtype)``. Each matrix is computed when it is accessed.
    """

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012
        **ImageTransformer._parameter_constraints,
        "kernel_size": [Interval(Integral, 1, None, closed="left"), tuple, list],
        "class_based": ["boolean"],
        "subsample": [
            Interval(RealNotInt, 0, 1, closed="right"),
            Interval(Integral, 1, None, closed="left"),
        ],
        "memory": [str, HasMethods("cache"), HasMethods("__fspath__"), None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }
    _state: ClassVar[State] = {
        "kernel_size_": lengths(*KERNEL, most=IMAGE[:2]),
        "classes_": classes(),
        "class_counts_": counts("n_classes"),
        "filter_classes_": labels("n_filters"),
    }
    kernel_size: int | Pair
    class_based: bool
    centered: bool
    subsample: float
    memory: Any
    random_state: Any
    verbose: bool

    kernel_size_: Pair
    classes_: np.ndarray
    partition_functions_: Array
    means_: Array
    n_patches_: Array
    class_counts_: Array

    @with_callbacks
    def fit(self, X: Any, y: Any = None) -> Self:
        """Compute density matrices and filters.

        Parameters
        ----------
        X : array-like of shape (n, height, width[, channels]) or (n, n_features)
            Images, integer or float; or rows, see `image_shape`.
        y : array-like of shape (n,) or None
            Labels, required if `class_based`; else ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If X or y do not fit the parameters, images are smaller than the kernel, or
            X has no variance.
        MemoryError
            Before images are read, if the density matrices do not fit in memory.
        RuntimeError
            If ``device="cuda"`` and there is no GPU.
        """
        context = self._init_callback_context(max_subtasks=None)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        super().fit(X, y)
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def compact(self) -> Self:
        """Return a small copy without the density matrices.

        The copy cannot `partial_fit` or `merge`.

        Returns
        -------
        estimator
            Copy whose `transform` gives the same output.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        check_is_fitted(self)
        compact = copy.copy(self)
        compact.__dict__.pop("_sums", None)
        return compact

    @property
    def density_matrices_(self) -> Array:
        """Density matrices of shape (n_classes, d, d), float64, on the device of X."""
        check_is_fitted(self)
        if not hasattr(self, "_sums"):
            raise AttributeError("compact() left the density matrices out.")
        return self._here(self._sums.density_matrices().matrices)

    def _choose(self, y: Any, n_images: int, classes: Any = None) -> Labels:
        known, codes = self._encode(y, n_images, classes)
        chosen = draw(codes, self.subsample, check_random_state(self.random_state))
        if chosen is None:
            return Labels(known, codes)
        return Labels(known, codes[chosen], chosen, self.random_state is not None)

    def _check_uses_all_images(self, method: str) -> None:
        if not is_all(self.subsample):
            raise ValueError(
                f"{method} uses all images that it is given, but subsample="
                f"{self.subsample}; set subsample=1.0 and pass fewer images."
            )

    def _encode(
        self, y: Any, n_images: int, classes: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        if not self.class_based:
            return super()._encode(y, n_images)
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is "
                "None; pass labels, or class_based=False for one density matrix of all "
                "images."
            )
        return encode_labels(y, n_images, classes)

    def _products(self, shape: Shape) -> int:
        # a value is in as many patches as the kernel has pixels, and meets all values
        # of each: in second moments, and in as many filters
        sizes = as_pair(self.kernel_size, "kernel_size")
        area = math.prod(map(min, sizes, shape))
        return area * area * shape[2]

    def _empty_sums(self, n_classes: int) -> DensityAccumulator:
        return DensityAccumulator.empty(
            n_classes, self.kernel_size_, self.image_shape_[2], centered=self.centered
        )

    def _sum_settings(self) -> dict[str, Any]:
        return {
            "kernel_size": self.kernel_size_,
            "centered": self.centered,
            "class_based": self.class_based,
        }

    def _report(self, images: Images) -> Report:
        tell = reporter(type(self).__name__, len(images), self.verbose)
        context = getattr(self, "_callback_fit_ctx", None)

        def watch(done: int) -> None:
            tell(done)
            if context is not None:
                batch = context.subcontext("batch")
                batch.call_on_fit_task_begin(estimator=self)
                batch.call_on_fit_task_end(estimator=self)

        return watch

    def _check_memory(self, n_classes: int) -> None:
        height, width = self.kernel_size_
        d = height * width * self.image_shape_[2]
        matrices = 8 * d**2 * (self._n_matrices(n_classes) + WORKSPACE)
        needed = matrices + sizes.BATCH_BYTES
        left = available_memory() if matrices > SURE_TO_FIT else None
        if left is None or needed <= left:
            return
        raise MemoryError(
            f"{type(self).__name__} needs {in_words(needed)} for density matrices of "
            f"{d} x {d} values (patches of {height} x {width} pixels and "
            f"{self.image_shape_[2]} channels) of {n_classes} classes, but only "
            f"{in_words(left)} of memory are available; {self._less_memory()}."
        )

    def _n_matrices(self, n_classes: int) -> int:
        """Return the number of matrices of (d, d) that a fit holds at a time."""
        return n_classes

    def _less_memory(self) -> str:
        """Return advice for a fit that would need too much memory."""
        merge = ", or class_based=False for one matrix" if self.class_based else ""
        return (
            "pass a smaller kernel_size, images (or a layer before) with fewer "
            f"channels, or fewer classes{merge}"
        )

    def _set(self, sums: DensityAccumulator, dtype: str) -> None:
        traces = np.empty(sums.n_patches.shape)
        means = None if sums.sums is None else np.empty_like(sums.sums)
        # one matrix at a time: all of them take as much memory as the sums
        for group in np.ndindex(traces.shape):
            matrix, traces[group], mean = sums.density_matrix(group)
            if not np.isfinite(matrix).all():
                raise ValueError(
                    "No filter can be computed: the squares of X overflow, or X has "
                    "NaN; scale the images down, or remove the NaN."
                )
            if means is not None:
                means[group] = mean
        if ((traces > 0) & (traces < LEAST_SQUARE)).any():
            raise ValueError(
                "No filter can be computed: the squares of X underflow; scale the "
                "images up."
            )
        if not traces.any():
            raise ValueError(
                f"No filter can be computed: {self._why_nothing()}; check the images."
            )
        self.classes_ = self._learned["classes"]
        self.partition_functions_ = self._here(traces)
        if means is not None:
            self.means_ = self._here(means)
        elif hasattr(self, "means_"):
            del self.means_
        self.n_patches_ = self._here(np.array(sums.n_patches))
        self.class_counts_ = self._here(np.array(sums.n_images))
        self._set_filters(Densities(sums), dtype)
        self._warn_of_one_channel(sums)
        self._warn_of_outliers(sums)

    def _warn_of_one_channel(self, sums: DensityAccumulator) -> None:
        """Warn if one channel has nearly all of the moments, and others vary."""
        if self.image_shape_[2] == 1:
            return
        held, within = sums.channel_moments(self.image_shape_[2])
        share = held / held.sum()
        largest = int(np.argmax(share))
        varies = np.delete(within > _VARIES * held, largest)
        if share[largest] > _NEARLY_ALL and varies.any():
            name = type(self).__name__
            warn_user(
                f"Channel {largest} of {len(share)} has {_percent(share[largest])} of "
                f"the second moments in {name}, so that filters hardly use the others. "
                f"{UNEQUAL_CHANNELS}."
            )

    def _warn_of_outliers(self, sums: DensityAccumulator) -> None:
        """Warn if few images have most of the sums from which filters were computed."""

    def _check_state(self) -> Sizes:
        """Raise if fitted attributes or sums are not of the same classes and images."""
        found, name = super()._check_state(), type(self).__name__
        known, filter_classes = to_numpy(self.classes_), to_numpy(self.filter_classes_)
        if not np.array_equal(known, to_numpy(self._learned["classes"])):
            raise wrong_state(f"classes_ of {name} differs from _learned['classes']")
        if not set(filter_classes.tolist()) <= set(known.tolist()):
            raise wrong_state(f"filter_classes_ of {name} has labels not in classes_")
        sums = getattr(self, "_sums", None)
        if sums is None:
            return found
        n_patches = np.multiply.outer(sums.n_images, sums._n_patches(self.image_shape_))
        if not np.array_equal(n_patches, sums.n_patches):
            raise wrong_state(
                f"_sums.n_patches of {name} is not n_images times the number of "
                "patches of an image"
            )
        for own, theirs in (("n_patches_", "n_patches"), ("class_counts_", "n_images")):
            if not np.array_equal(to_numpy(getattr(self, own)), getattr(sums, theirs)):
                raise wrong_state(f"{own} of {name} differs from _sums.{theirs}")
        if not sums.are_possible():
            raise wrong_state(f"_sums.sums of {name} exceed the sums of squares")
        is_centered = sums.sums is not None
        if is_centered != self._learned["settings"].get("centered"):
            raise wrong_state(
                f"_sums.sums of {name} is {'an array' if is_centered else 'None'}, "
                f"but centered is {not is_centered} in _learned['settings']"
            )
        return found

    def _labels(self, classes: np.ndarray) -> Array:
        """Return labels by class index; numbers are moved to the device of X."""
        labels = self.classes_[classes]
        return self._here(labels) if labels.dtype.kind in "biuf" else labels

    def _why_nothing(self) -> str:
        """Return the reason why X has no variance, for an error message."""
        if self.centered:
            return "all patches of X are the same, or their squares underflow"
        return "the squares of all patches of X are 0, or underflow"

    def _set_filters(self, densities: Densities, dtype: str) -> None:
        raise NotImplementedError

    def __sklearn_tags__(self) -> Tags:
        """Declare that labels are required if the layer is class-based."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.class_based
        return tags


def reporter(name: str, total: int, verbose: int) -> Report:
    """Return a function that reports the progress in images, once per second."""
    started = last = time.perf_counter()

    def tell(done: int) -> None:
        nonlocal last
        now = time.perf_counter()
        if verbose and (done == total or now - last >= 1.0):
            last = now
            text = f"density matrices: {done} of {total} images"
            report(name, text, now - started)

    return tell


def _percent(share: float) -> str:
    """Return a share near 1 in percent, rounded down so that it is not 100."""
    digits = min(6, math.ceil(-math.log10(max(1 - share, 1e-8))))
    return f"{math.floor(share * 10**digits) / 10 ** (digits - 2):.{digits - 2}f} %"
