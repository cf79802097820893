"""Class density matrices, computed from sums that can be merged.

The density matrix of a class is the second-moment matrix of its patches, divided by
its trace [1]_. It is computed from sums over images. Therefore one accumulator serves
fits, batches and merges, and the result does not depend on how images are divided.

References
----------
.. [1] N. Dehmamy, N. Rohani, A. Katsaggelos, "Separation of time scales and
   direct computation of weights in deep neural networks", arXiv:1703.04757v3,
   2018, eq. 15; the partition function is that of eq. 15 in the first version,
   "Convergence of deep neural networks to a hierarchical covariance matrix
   decomposition", arXiv:1703.04757v1, 2017.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple, Self

import numpy as np

from skdmn.kernels.dispatch import class_moments, image_squares
from skdmn.kernels.geometry import Pair, output_size
from skdmn.statistics.magnitudes import Magnitudes
from skdmn.utils.array_api import Array, own_backend, take, to_backend, widest_float
from skdmn.utils.state import (
    POSITIVE,
    State,
    counts,
    floats,
    lengths,
    moments,
    number,
    part,
)

KERNEL = ("kernel_height", "kernel_width")  # names of sizes, see `skdmn.utils.state`
ENTRIES = (*KERNEL, "channels")  # their product is the number of entries of a patch

# smaller sums of squares have lost digits, because their terms may be subnormal
LEAST_SQUARE = np.finfo(np.float64).tiny / np.finfo(np.float64).eps


class DensityMatrices(NamedTuple):
    """Density matrices: second moments of the patches of each class, with trace 1.

    Attributes
    ----------
    matrices : ndarray of shape (n_classes, d, d), float64
        Matrices with trace 1, or all zero for a class without variance or patches.
    partition_functions : ndarray of shape (n_classes,), float64
        The traces before the division.
    means : ndarray of shape (n_classes, d), float64, or None
        The mean patches that were subtracted, if the matrices are centred.
    """

    matrices: np.ndarray
    partition_functions: np.ndarray
    means: np.ndarray | None


@dataclass
class DensityAccumulator:
    """Sums of the outer products of patches for each class.

    The sums are float64 NumPy arrays. For integer images of up to 16 bits they are
    exact.

    Attributes
    ----------
    kernel_size : (int, int)
        Height and width of a patch.
    outer_products : ndarray of shape (n_classes, d, d), float64
        Sums of p p^T over the patches p of a class, which have d entries in C order of
        (y, x, channel).
    sums : ndarray of shape (n_classes, d), float64, or None
        Sums of the patches; None if the matrices are not centred.
    n_patches, n_images : ndarrays of shape (n_classes,), int64
        Number of patches and images that were added.
    magnitudes : Magnitudes or None
        Histogram of the images' sums of squares; None if it is not needed.
    bound : float
        An image with a larger sum of squares is scaled down to this one.
    """

    _state: ClassVar[State] = {
        "kernel_size": lengths(*KERNEL),
        "outer_products": moments("n_classes", ENTRIES, ENTRIES),
        "sums": floats("n_classes", ENTRIES).or_none(),
        "n_patches": counts("n_classes"),
        "n_images": counts("n_classes"),
        "magnitudes": part(Magnitudes).or_none(),
        "bound": number(least=POSITIVE),
    }

    kernel_size: Pair
    outer_products: np.ndarray
    sums: np.ndarray | None
    n_patches: np.ndarray
    n_images: np.ndarray
    magnitudes: Magnitudes | None = field(default=None, kw_only=True)
    bound: float = field(default=np.inf, kw_only=True)

    @classmethod
    def empty(
        cls, n_classes: int, kernel_size: Pair, n_channels: int, *, centered: bool
    ) -> DensityAccumulator:
        """Return an accumulator without any images."""
        d = kernel_size[0] * kernel_size[1] * n_channels
        return cls(
            kernel_size,
            np.zeros((n_classes, d, d)),
            np.zeros((n_classes, d)) if centered else None,
            np.zeros(n_classes, dtype=np.int64),
            np.zeros(n_classes, dtype=np.int64),
        )

    def are_possible(self) -> bool:
        """Return True if the sums are not larger than sums of squares allow.

        The square of a sum of n numbers is at most n times their sum of squares.
        """
        if self.sums is None:
            return True
        squares = np.diagonal(self.outer_products, axis1=1, axis2=2)
        # with the rounding error, see `ClassPCAPatchTransformer`
        squares = squares * 1.001 + 1e-5 * squares.sum(axis=1, keepdims=True)
        root = np.sqrt(self.n_patches[:, np.newaxis] * np.maximum(squares, 0.0))
        return bool((np.abs(self.sums) <= root).all())

    def watching(self, bound: float = np.inf) -> Self:
        """Return the same with a histogram of magnitudes, and a bound of images."""
        magnitudes = Magnitudes.empty(len(self.n_images))
        return replace(self, magnitudes=magnitudes, bound=bound)

    def like(self, n_classes: int) -> Self:
        """Return an accumulator of the same kind without any images."""

        def zeros(held: np.ndarray) -> np.ndarray:
            return np.zeros((n_classes, *held.shape[1:]), held.dtype)

        return replace(
            self,
            outer_products=zeros(self.outer_products),
            sums=None if self.sums is None else zeros(self.sums),
            n_patches=zeros(self.n_patches),
            n_images=zeros(self.n_images),
            magnitudes=self.magnitudes and self.magnitudes.like(n_classes),
        )

    # an overflow is reported later, if density matrices are not finite
    @np.errstate(over="ignore", invalid="ignore")
    def update(self, images: Array, labels: np.ndarray) -> None:
        """Add all valid patches of images.

        Parameters
        ----------
        images : array of shape (n, height, width, channels)
            Real numbers, in any array library.
        labels : ndarray of shape (n,), int
            Class indices, from 0.
        """
        n_patches = self._n_patches(images.shape[1:])
        factors = self._watch(images, labels)
        if len(self.n_images) <= 2**16:  # NumPy sorts short integers by radix
            labels = labels.astype(np.uint16)
        found, counts = np.unique(labels, return_counts=True)
        order = np.argsort(labels, kind="stable")
        ends = np.cumsum(counts)
        groups = [order[end - n : end] for n, end in zip(counts, ends, strict=True)]
        for some, labels_there, members in _scaled(images, found, groups, factors):
            # all classes in one call, because a GPU then needs few kernels and copies
            moments = self._moments(some, members)
            for label, (outer, sums) in zip(labels_there, moments, strict=True):
                self.outer_products[label] += outer
                if self.sums is not None:
                    self.sums[label] += sums
        for label, n in zip(found, counts, strict=True):
            self.n_patches[label] += n * n_patches
            self.n_images[label] += n

    def _watch(self, images: Array, labels: np.ndarray) -> np.ndarray | None:
        """Add to the histogram; return the factors that bound images, if any is."""
        if self.magnitudes is None:
            return None
        squares = image_squares(images)
        self.magnitudes.add(squares, images, labels)
        with np.errstate(divide="ignore"):
            factors = np.sqrt(np.minimum(self.bound / squares[:, 0], 1.0))
        return factors if (factors < 1).any() else None

    def _n_patches(self, shape: tuple[int, ...]) -> int | np.ndarray:
        """Return the number of patches of an image of shape (height, width, ...)."""
        rows, columns = output_size(shape, self.kernel_size, (1, 1), "valid")
        return rows * columns

    def _moments(
        self, images: Array, groups: Sequence[np.ndarray]
    ) -> Iterable[tuple[np.ndarray, np.ndarray | None]]:
        """Return sums of outer products and of patches for groups of images."""
        return class_moments(images, groups, self.kernel_size)

    def merge(
        self, other: DensityAccumulator, labels: np.ndarray | None = None
    ) -> None:
        """Add the sums of another accumulator.

        Parameters
        ----------
        other : DensityAccumulator
            Accumulator with the same kernel size, channels and centring.
        labels : ndarray of int or None, default=None
            Unique indices of the classes of `other` among those of this accumulator.
            None means that both have the same classes.
        """
        at = np.arange(len(other.n_images)) if labels is None else labels
        for label, outer in zip(at, other.outer_products, strict=True):
            self.outer_products[label] += outer  # one by one, without large copies
        if self.sums is not None and other.sums is not None:
            self.sums[at] += other.sums
        self.n_patches[at] += other.n_patches
        self.n_images[at] += other.n_images
        if self.magnitudes is not None and other.magnitudes is not None:
            self.magnitudes.merge(other.magnitudes, at)

    @np.errstate(over="ignore", invalid="ignore")
    def density_matrix(
        self, group: tuple[int, ...]
    ) -> tuple[np.ndarray, float, np.ndarray | None]:
        """Compute the density matrix of one group from the sums.

        Parameters
        ----------
        group : tuple of int
            Index among `n_patches`: the class, and the cell if there are cells.

        Returns
        -------
        matrix : ndarray of shape (d, d), float64
        partition_function : float
        mean : ndarray of shape (d,), float64, or None
            Entries of `DensityMatrices`.
        """
        count = max(int(self.n_patches[group]), 1)
        moments = self.outer_products[group] / count
        trace = raw_trace = np.trace(moments)
        mean = None
        if self.sums is not None:
            mean = self.sums[group] / count
            moments -= np.outer(mean, mean)
            trace = np.trace(moments)
        trace = float(trace) if trace > self._noise(raw_trace, count) else 0.0
        moments /= trace if trace > 0 else np.inf
        return moments, trace, mean

    def _noise(self, raw_trace: float, count: int) -> float:
        """Return a trace below which a matrix consists of rounding errors.

        After centring, a constant class has only rounding errors of the sums, which
        grow roughly with the square root of the number of patches.
        """
        d = self.outer_products.shape[-1]
        return float(8 * np.finfo(np.float64).eps * d * raw_trace * np.sqrt(count))

    @np.errstate(over="ignore", invalid="ignore")
    def channel_moments(self, n_channels: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the sum of squares of each channel, over the patches of all groups.

        Parameters
        ----------
        n_channels : int

        Returns
        -------
        held : ndarray of shape (n_channels,), float64
            Sum of the squares of the entries of each channel over all patches, from
            which the mean patches of the groups are subtracted if `sums` is not None.
        within : ndarray of shape (n_channels,), float64
            The same after the mean of each patch over its entries of the channel is
            subtracted; for patches of one pixel, the same as `held`.
        """
        size = self.outer_products.shape[-1] // n_channels
        held, added = np.zeros((2, n_channels))
        for group in np.ndindex(self.n_patches.shape):
            products = self.outer_products[group].reshape(2 * (size, n_channels))
            held += np.einsum("icic->c", products)
            added += np.einsum("icjc->c", products)
            if self.sums is not None:
                sums = self.sums[group].reshape(size, n_channels)
                count = max(int(self.n_patches[group]), 1)
                held -= (sums**2).sum(axis=0) / count
                added -= sums.sum(axis=0) ** 2 / count
        return held, held if size == 1 else held - added / size

    def density_matrices(self) -> DensityMatrices:
        """Compute density matrices from the sums; see `Densities` for one at a time."""
        matrices = np.empty_like(self.outer_products)
        traces = np.empty(self.n_patches.shape)
        means = None if self.sums is None else np.empty_like(self.sums)
        for group in np.ndindex(self.n_patches.shape):
            matrices[group], traces[group], mean = self.density_matrix(group)
            if means is not None:
                means[group] = mean
        return DensityMatrices(matrices, traces, means)


class Densities:
    """Density matrices that are computed from sums when they are accessed.

    All of them together would need as much memory as the sums.

    Parameters
    ----------
    sums : DensityAccumulator
        The matrices are those of its groups (classes, or classes and cells), in C
        order.
    """

    def __init__(self, sums: DensityAccumulator) -> None:
        self._sums, self._groups = sums, sums.n_patches.shape

    def __len__(self) -> int:
        return math.prod(self._groups)

    def __getitem__(self, index: int) -> np.ndarray:
        group = np.unravel_index(index, self._groups)
        return self._sums.density_matrix(tuple(map(int, group)))[0]


def _scaled(
    images: Array,
    labels: np.ndarray,
    groups: list[np.ndarray],
    factors: np.ndarray | None,
) -> Iterator[tuple[Array, list[int], list[np.ndarray]]]:
    """Yield images, labels and the indices of each label's images, scaled by factors.

    Images whose factor is 1 are not copied, so that integers remain integers.
    """
    if factors is None:
        yield images, list(labels), groups
        return
    are_scaled = factors < 1
    for scaled in (False, True):
        of_label = {
            label: found
            for label, group in zip(labels, groups, strict=True)
            if len(found := group[are_scaled[group] == scaled])
        }
        if not of_label:
            continue
        members, some = list(of_label.values()), images
        if scaled:
            chosen, backend = np.concatenate(members), own_backend(images)
            some = take(images, chosen, axis=0)
            some = backend.xp.astype(some, widest_float(backend))
            some *= to_backend(factors[chosen].reshape(-1, 1, 1, 1), backend)
            ends = np.cumsum([len(group) for group in members])
            members = np.split(np.arange(len(chosen)), ends[:-1])
        yield some, list(of_label), members
