"""PCANet, another method to compute features without gradient descent.

T. Chan, K. Jia, S. Gao, J. Lu, Z. Zeng, Y. Ma, "PCANet: a simple deep learning baseline
for image classification?", IEEE Transactions on Image Processing 24, 2015. There are
two stages of PCA filters of centred patches. The signs of the outputs of the second
stage are the bits of integers, and the histograms of these integers over blocks are the
features. In the paper, blocks overlap by half; here they do not overlap, which gives
less than half of the features, so that a softmax can be fitted in memory.
"""

import numpy as np

from skdmn.kernels.dispatch import convolve
from skdmn.kernels.reference.convolution import patches

SAMPLE = 2_000  # images to take patches from


class PCANet:
    """Two stages of eight filters each, and adjacent blocks of 7 x 7 pixels."""

    def __init__(
        self, kernel: int = 7, filters: tuple[int, int] = (8, 8), block: int = 7
    ):
        self.kernel, self.n_filters, self.block = kernel, filters, block

    def fit(self, X: np.ndarray) -> "PCANet":
        images = X[:SAMPLE].astype(np.float32)
        self.first = self._principal(images, self.n_filters[0])
        maps = self._convolve(images, self.first)
        maps = np.moveaxis(maps, 3, 1).reshape(-1, *maps.shape[1:3], 1)
        self.second = self._principal(maps, self.n_filters[1])
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [self._some(X[i : i + 200]) for i in range(0, len(X), 200)]
        )

    def _principal(self, images: np.ndarray, n: int) -> np.ndarray:
        """Return the leading components of all centred patches."""
        size, moment = (self.kernel, self.kernel), 0
        for i in range(0, len(images), 100):
            found = patches(images[i : i + 100], size)
            found = found.reshape(-1, found.shape[-1])
            found = found - found.mean(axis=1, keepdims=True)
            moment = moment + found.T @ found
        vectors = np.linalg.eigh(moment)[1][:, ::-1][:, :n]
        return np.ascontiguousarray(vectors.T).reshape(n, *size, images.shape[3])

    def _convolve(self, images: np.ndarray, filters: np.ndarray) -> np.ndarray:
        return convolve(images, filters.astype(np.float32), (1, 1), "same", None)

    def _some(self, X: np.ndarray) -> np.ndarray:
        maps = self._convolve(X.astype(np.float32), self.first)
        n, height, width, n_maps = maps.shape
        maps = np.moveaxis(maps, 3, 1).reshape(-1, height, width, 1)
        bits = self._convolve(maps, self.second) > 0
        powers = 2 ** np.arange(bits.shape[3])
        numbers = (bits * powers).sum(axis=3).reshape(n, n_maps, height, width)
        b, n_bins = self.block, 2 ** bits.shape[3]
        rows, columns = height // b, width // b
        numbers = numbers[:, :, : rows * b, : columns * b]
        blocks = numbers.reshape(n, n_maps, rows, b, columns, b).transpose(
            0, 1, 2, 4, 3, 5
        )
        blocks = (
            blocks.reshape(-1, b * b)
            + n_bins * np.arange(n * n_maps * rows * columns)[:, None]
        )
        counts = np.bincount(blocks.ravel(), minlength=n_bins * len(blocks))
        return counts.reshape(n, -1).astype(np.float32)
