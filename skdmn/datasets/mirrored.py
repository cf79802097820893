"""More images from those that there are."""

import numpy as np
from numpy.typing import NDArray


def with_mirrored(X: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
    """Return images and, behind them, the same images mirrored left to right.

    Twice the images to fit a softmax to, where a mirrored object is the same object: on
    CIFAR-10 worth about two points. Not for digits or letters. Mirror only what is
    trained on: cross-validation of both scores an image by what has seen its twin.

    Parameters
    ----------
    X : ndarray of shape (n, height, width[, channels])
        Images.
    y : ndarray of shape (n,)
        Labels.

    Returns
    -------
    X : ndarray of shape (2 * n, height, width[, channels])
        Of the dtype of `X`.
    y : ndarray of shape (2 * n,)
        The labels, twice.

    Raises
    ------
    ValueError
        Where X holds no images, or y not a label for each.

    Examples
    --------
    >>> from skdmn.datasets import load_digits_images, with_mirrored
    >>> X, y = with_mirrored(*load_digits_images())
    >>> X.shape, y.shape
    ((3594, 8, 8), (3594,))
    """
    if X.ndim not in (3, 4):
        raise ValueError(
            f"X has shape {X.shape}, but only images (n, height, width[, channels]) "
            "can be mirrored; reshape rows into images first."
        )
    if len(X) != len(y):
        raise ValueError(
            f"X holds {len(X)} images but y {len(y)} labels; pass one label for each."
        )
    return np.concatenate([X, X[:, :, ::-1]]), np.concatenate([y, y])
