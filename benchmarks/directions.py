"""Other filters in place of those of `WhitenedPCAPatchTransformer`."""

import numpy as np

from scoring import whitening
from skdmn import DensityMatrixNetwork
from skdmn.kernels.reference.contrast import by_contrast
from skdmn.statistics.filters import eigenbasis
from skdmn.statistics.whitened_filters import mirrored_order

N_PATCHES = 200_000  # to compute the filters from
ROUNDS = 10  # of k-means
ROUNDS_BY_PATH = 5


class Whitened:
    """Normalized and whitened patches, as in `WhitenedPCAPatchTransformer`."""

    def __init__(self, fitted: DensityMatrixNetwork, X: np.ndarray):
        self.network, conv = fitted, fitted["conv"]
        self.matrix = whitening(conv)
        rng = np.random.default_rng(0)
        X, size = X.reshape(*X.shape[:3], -1), conv.kernel_size_[0]
        ends = (len(X), X.shape[1] - size + 1, X.shape[2] - size + 1)
        corners = (rng.integers(0, end, N_PATCHES) for end in ends)
        patches = np.stack(
            [
                X[i, y : y + size, x : x + size].ravel()
                for i, y, x in zip(*corners, strict=True)
            ]
        )
        patches = by_contrast(patches.astype(np.float64), conv.contrast_floor_)
        # constant patches have no direction
        patches = patches[(patches**2).sum(axis=1) > 0.01]
        self.patches = patches @ self.matrix.T

    def with_directions(self, directions: np.ndarray) -> DensityMatrixNetwork:
        """Return the network with unit directions of whitened space as filters."""
        conv = self.network["conv"]
        filters = unit(directions) @ self.matrix
        shape = (len(filters), *conv.filters_.shape[1:])
        conv.filters_ = filters.reshape(shape).astype(conv.filters_.dtype)
        self.network["pool"].fit(conv.transform(np.zeros((1, *conv.image_shape_))))
        return self.network

    def directions(self, kind: str, n: int) -> np.ndarray | None:
        rng, d = np.random.default_rng(1), len(self.matrix)
        if kind == "plain PCA":
            return np.eye(d)[:n] if n < d else None
        if kind == "random":
            return rng.normal(size=(n, d))
        starts = self.patches[rng.permutation(len(self.patches))[:n]]
        return starts if kind == "patches" else self._k_means(unit(starts))

    def _k_means(self, centroids: np.ndarray) -> np.ndarray:
        """Return centroids of spherical k-means, as Coates and Ng compute them."""
        for _ in range(ROUNDS):
            sums = centroids * 1e-6  # a centroid without patches stays unchanged
            for some in np.array_split(self.patches, 20):
                products = some @ centroids.T
                nearest = np.abs(products).argmax(axis=1)
                signs = np.sign(products[np.arange(len(some)), nearest])
                np.add.at(sums, nearest, signs[:, np.newaxis] * some)
            centroids = unit(sums)
        return centroids

    def group_by_path(self) -> DensityMatrixNetwork:
        """Return the mirrored network with filters of groups by path.

        A group consists of the patches for which the same filter has the largest
        response, to the patch or its mirror image. The new filter is the leading
        eigenvector of the density matrix of the group, in whitened space.
        """
        conv = self.network["conv"]
        mirror = mirrored_order(conv.kernel_size_, conv.image_shape_[2])
        back = np.linalg.pinv(self.matrix)
        flip = self.matrix[:, mirror] @ back
        sides = self.patches, self.patches @ flip.T
        directions = unit(conv.filters_.reshape(len(conv.filters_), -1) @ back)
        for _ in range(ROUNDS_BY_PATH):
            (most, path), (most_turned, path_turned) = (
                strongest(patches, directions) for patches in sides
            )
            turned = most_turned > most
            path[turned] = path_turned[turned]
            seen = np.where(turned[:, np.newaxis], *sides[::-1])
            for i in np.unique(path):
                group = seen[path == i]
                directions[i] = eigenbasis(group.T @ group)[1][0]
        return self.with_directions(directions)


def strongest(
    patches: np.ndarray, directions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest absolute response to each patch, and the filter's index."""
    products = np.abs(patches @ directions.T)
    return products.max(axis=1), products.argmax(axis=1)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
