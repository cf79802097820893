"""Conversion of images to rows and back."""

from __future__ import annotations

from typing import Any, Literal

from skdmn.layers.base import ImageTransformer
from skdmn.operations.records import Operation
from skdmn.utils.array_api import Array


class FlattenTransformer(ImageTransformer):
    """Flatten images to rows, for the estimators of scikit-learn.

    The values of a row are in C order of (y, x, channel) and have names such as
    ``y12_x07_f03``. `set_output` returns them as data frames. Rows are a view of the
    images, unless integers had to be converted to floats.

    Parameters
    ----------
    image_shape : (int, int) or (int, int, int) or None, default=None
        Height, width and (optionally) channels of the images, if `X` holds them as
        rows already. These are returned unchanged, with the names above or the column
        names of their data frame. Not needed if `X` holds images.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Checked against the device of `X`, on which the rows are created.

    Attributes
    ----------
    image_shape_, output_shape_ : (int, int, int)
        Height, width and channels of an image.
    n_features_in_ : int
        Number of values of one image: the product of `image_shape_`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Column names of `X`. Only if `X` was a data frame in `fit`.

    See Also
    --------
    make_dmn : Pipelines that end with this layer and a softmax classifier.

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
            In the shape that X had in `fit`.

        Raises
        ------
        ValueError
            If rows do not have `n_features_in_` values.
        """
        return self._inverse(X, lambda batch: batch)
