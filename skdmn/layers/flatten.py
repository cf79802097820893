"""Images to rows and back."""

from __future__ import annotations

from typing import Any, Literal

from skdmn.layers.base import ImageTransformer
from skdmn.operations.records import Operation
from skdmn.utils.array_api import Array


class FlattenTransformer(ImageTransformer):
    """Turn images into rows, for the estimators of scikit-learn.

    Rows are a view of the images where no integers had to become floats. The values of
    a row are in C order of (y, x, channel), under names such as ``y12_x07_f03``;
    `set_output` makes data frames of them.

    Parameters
    ----------
    image_shape : (int, int) or (int, int, int) or None, default=None
        Height, width and channels of the images that rows of `X` hold already; they
        pass unchanged, under the names above or those of their data frame. Not
        needed for images.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Checked against where `X` lies; rows are made there.

    Attributes
    ----------
    image_shape_, output_shape_ : (int, int, int)
        Height, width and channels of an image.
    n_features_in_ : int
        Values of one image: the product of `image_shape_`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of `X`, where it was a data frame.

    See Also
    --------
    make_dmn : Pipelines that end with this and a softmax.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn import FlattenTransformer
    >>> images = np.arange(8.0).reshape(1, 2, 2, 2)
    >>> flatten = FlattenTransformer().fit(images)
    >>> flatten.transform(images)
    array([[0., 1., 2., 3., 4., 5., 6., 7.]])
    >>> flatten.get_feature_names_out()[:3]
    array(['y0_x0_f0', 'y0_x0_f1', 'y0_x1_f0'], dtype=object)
    >>> flatten.inverse_transform(flatten.transform(images)).shape
    (1, 2, 2, 2)
    """

    _needs_positions = False
    _one_to_one = True
    _only_reshapes = True

    def __init__(
        self,
        *,
        image_shape: tuple[int, ...] | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None:
        self.image_shape = image_shape
        self.device = device

    def _gives_rows(self) -> bool:
        return True

    def _operations(self) -> list[Operation]:
        return []  # operations() adds the flattening of every layer that gives rows

    def inverse_transform(self, X: Any) -> Array:
        """Turn rows back into images.

        Parameters
        ----------
        X : array-like of shape (n, n_features_in_)

        Returns
        -------
        array of shape (n, height, width[, channels]) or (n, n_features_in_)
            As X was in `fit`.

        Raises
        ------
        ValueError
            Where rows have another length.
        """
        return self._inverse(X, lambda batch: batch)
