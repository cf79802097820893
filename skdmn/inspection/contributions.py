"""Logits as sums over regions, filters, classes of filters and pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import gen_batches

from skdmn.data import sizes
from skdmn.data.sliced import Sliced
from skdmn.inspection.models import LinearModel, class_indices
from skdmn.inspection.tracing import (
    CONVENTIONS,
    Share,
    flat,
    trace,
    values_per_image,
)
from skdmn.utils.threads import in_threads, n_threads, single_blas

# largest array that makes glibc keep freed memory, see `_keep_freed_memory`
_KEPT_BYTES = 31 * 2**20


@dataclass(frozen=True, eq=False, repr=False)
class Contributions:
    """Logits of images, as sums over parts of the features and over pixels.

    `contributions` computes them. All arrays are float64 unless said otherwise, with
    one entry for each of n images.

    Attributes
    ----------
    target : ndarray of shape (n,)
        Label whose logit is divided.
    logits : ndarray of shape (n,)
        Logit of the target, as in ``decision_function``. For two classes, the logit of
        the first class is minus that of the second.
    bias : ndarray of shape (n,)
        Part of the logit that belongs to no feature: the intercept of the classifier.
        A classifier that subtracts means from the features, such as
        SoftmaxClassifier, has the logit of an average image as its intercept.
    by_region : ndarray of shape (n, rows, columns)
        Sum over the features at each position of the last feature map.
    by_filter : ndarray of shape (n, n_filters)
        Sum over the features of each filter, in the order of `filters`.
    by_class : ndarray of shape (n, n_labels)
        Sum over the features of all filters of a class, in the order of
        `class_labels`.
    pixels : ndarray of shape (n, height, width, channels)
        What each value of the images contributes.
    pixel_bias : ndarray of shape (n,)
        Part of the logit that belongs to no pixel.
    pixel_error : ndarray of shape (n,)
        ``logits - pixel_bias - pixels.sum(axis=(1, 2, 3))``: rounding errors.
    exact : bool
        True if the model is piecewise linear, so that `pixels` are the terms of a
        linear function. False if a convention was needed, see `conventions`.
    conventions : tuple of str
        How operations that are not piecewise linear divide their values. The sums are
        equal to the logits for any convention.
    images : ndarray of shape (n, height, width, channels)
        The images, in their own dtype.
    filters : ndarray of shape (n_filters, kernel height, width, channels) or None
        Filters of the last layer that has filters, as in its ``filters_``. None if no
        layer has filters, or if they do not correspond to the channels of the last
        feature map; `by_filter` then has one entry for each channel.
    filter_classes : ndarray of shape (n_filters,)
        Class that each filter was computed from; "all" if it was not computed by class.
    class_labels : ndarray of shape (n_labels,)
        Sorted labels in `filter_classes`.

    See Also
    --------
    contributions : Compute the contributions.
    ContributionDisplay : Plot the contributions.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn import make_dmn
    >>> from skdmn.datasets import load_digits_images
    >>> from skdmn.inspection import contributions
    >>> X, y = load_digits_images()
    >>> dmn = make_dmn(n_layers=1).fit(X[:200], y[:200])
    >>> why = contributions(dmn, X[200:203])
    >>> len(why), why.pixels.shape, why.by_filter.shape
    (3, (3, 8, 8, 1), (3, 18))
    >>> bool(np.all(why.target == dmn.predict(X[200:203])))
    True
    >>> why.exact, why.conventions
    (True, ())
    """

    target: np.ndarray
    logits: np.ndarray
    bias: np.ndarray
    by_region: np.ndarray
    by_filter: np.ndarray
    by_class: np.ndarray
    pixels: np.ndarray
    pixel_bias: np.ndarray
    pixel_error: np.ndarray
    exact: bool
    conventions: tuple[str, ...]
    images: np.ndarray
    filters: np.ndarray | None
    filter_classes: np.ndarray
    class_labels: np.ndarray

    def __len__(self) -> int:
        return len(self.logits)

    def __repr__(self) -> str:
        rows, columns = self.by_region.shape[1:]
        return (
            f"Contributions of {len(self)} images: {rows} x {columns} regions, "
            f"{self.by_filter.shape[1]} filters, {len(self.class_labels)} classes of "
            f"filters, pixels of shape {self.pixels.shape[1:]}"
        )


def contributions(model: Any, X: Any, target: Any = None) -> Contributions:
    """Divide the logits of images among regions, filters, classes and pixels.

    The logit of a linear classifier is a sum over features, and each feature belongs to
    one region and one filter. These sums are exact. So is the division among pixels:
    bias and pixels add up to the logit.

    Parameters
    ----------
    model : classifier
        Fitted Pipeline of this package's layers or networks (or StandardScaler) that
        ends in a SoftmaxClassifier or a linear classifier of scikit-learn, or a search
        over such a Pipeline. Layers of your own take part if they have a method
        ``operations``. Other transformers may come first, such as a reader of files;
        they are run, and the pixels are those of the images that they return.
    X : array-like of shape (n, height, width[, channels]) or (n, n_features)
        Images or rows, as in ``predict``. They are processed in batches; a source that
        is read by slices is allowed.
    target : label, array-like of shape (n,) or None, default=None
        Class whose logit is divided: one label for all images, or one for each. None
        takes the class with the largest logit of each image.

    Returns
    -------
    Contributions
        The terms of the logits, in float64. They take the memory of about one float64
        array of the shape of the images.

    Raises
    ------
    TypeError
        If the model does not end in a linear classifier, or has an operation or a step
        whose computation is not known.
    ValueError
        If X is not what the model was fitted on, or `target` is not a class of the
        model.
    NotFittedError
        If the model is not fitted.

    See Also
    --------
    ContributionDisplay : Plot the contributions.
    class_report : Report where a model is right and wrong, and why.

    Notes
    -----
    The division goes backwards through the operations of the model and keeps the sum.

    - Convolutions are sums over pixels, and are divided exactly. A bias belongs to no
      pixel.
    - A ReLU passes on the value where it is positive. Max pooling passes it to the
      largest value of a window, in equal parts if there are several. Average pooling
      is a sum. Given the image, all of these are linear, so that the contribution of a
      pixel is its value times the gradient of the logit.
    - Local contrast normalization is not piecewise linear, and the gradient does not
      help: the normalized patch hardly changes if the patch is multiplied by a number,
      so that gradient times pixel sums to about 0. Instead, each feature is divided in
      proportion to the products w (p - m) of the weights w and the pixels p minus the
      mean m of the patch, whose sum decides about the feature. This is the gradient at
      fixed contrast, with the soft threshold spread over the products.
    - A power of a mean is divided in proportion to the terms of the mean.
    - Means that scaling or the classifier subtracts stay with their pixels up to the
      next convolution, where they become a part of the bias.

    The attributes `exact` and `conventions` of the result say which of these were used.

    Logits of a softmax are defined up to a number that all classes share. The
    regularized optimum of SoftmaxClassifier and LogisticRegression is the one whose
    coefficients sum to 0 over the classes, so that a contribution compares a class with
    the mean of all classes.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn import recommended_dmn
    >>> from skdmn.datasets import load_digits_images
    >>> from skdmn.inspection import contributions
    >>> X, y = load_digits_images()
    >>> dmn = recommended_dmn(X.shape[1:], n_filters=30).fit(X[:1000], y[:1000])
    >>> why = contributions(dmn, X[1000:1004], target=4)
    >>> why.by_region.shape, why.by_filter.shape, why.pixels.shape
    ((4, 4, 4), (4, 30), (4, 8, 8, 1))
    >>> np.allclose(why.bias + why.by_filter.sum(axis=1), why.logits)
    True
    >>> np.allclose(why.pixel_bias + why.pixels.sum(axis=(1, 2, 3)), why.logits)
    True
    """
    linear = LinearModel.of(model)
    images = linear.images(X)
    n, shape = int(images.shape[0]), tuple(images.shape[1:])
    codes = None if target is None else class_indices(target, linear.scores.classes, n)
    together: list[np.ndarray] = []
    threads = n_threads()
    _keep_freed_memory()
    batches = list(gen_batches(n, _batch_size(linear, shape, threads)))
    for first in range(0, len(batches), threads):
        group = batches[first : first + threads]
        for some, part in zip(group, _parts(linear, images, codes, group), strict=True):
            if not together:
                together = [np.empty((n, *one.shape[1:]), one.dtype) for one in part]
            for array, one in zip(together, part, strict=True):
                array[some] = one
    kept, indices, logits, bias, by_region, by_channel, pixels, pixel_bias = together
    of, n_channels = linear.filters, by_channel.shape[1]
    if of is not None and len(of.of_channel) != n_channels:
        of = None
    of_channel = np.arange(n_channels) if of is None else of.of_channel
    n_filters = n_channels if of is None else len(of.filters)
    filter_classes = np.full(n_filters, "all") if of is None else of.labels
    class_labels, of_filter = np.unique(filter_classes, return_inverse=True)
    by_filter = _summed(by_channel, of_channel, n_filters)
    conventions = tuple(
        text
        for kind, text in CONVENTIONS.items()
        if any(isinstance(one, kind) for one in flat(linear.operations))
    )
    return Contributions(
        target=linear.scores.classes[indices],
        logits=logits,
        bias=bias,
        by_region=by_region,
        by_filter=by_filter,
        by_class=_summed(by_filter, of_filter, len(class_labels)),
        pixels=pixels,
        pixel_bias=pixel_bias,
        pixel_error=logits - pixel_bias - pixels.sum(axis=(1, 2, 3)),
        exact=not conventions,
        conventions=conventions,
        images=kept,
        filters=None if of is None else of.filters,
        filter_classes=filter_classes,
        class_labels=class_labels,
    )


def _parts(
    linear: LinearModel, images: Any, codes: np.ndarray | None, group: list[slice]
) -> list[tuple[np.ndarray, ...]]:
    """Return the contributions of some batches, computed in one thread each."""
    # read by the caller: lazy features in another thread would wait for `single_blas`
    read = images.read if isinstance(images, Sliced) else images.__getitem__
    batches = [read(some) for some in group]
    found: list[tuple[np.ndarray, ...]] = [()] * len(group)

    def compute(i: int) -> None:
        of_batch = None if codes is None else codes[group[i]]
        found[i] = _part(linear, batches[i], of_batch)

    with single_blas():
        in_threads(compute, [(i,) for i in range(len(group))], len(group))
    return found


def _part(
    linear: LinearModel, batch: np.ndarray, codes: np.ndarray | None
) -> tuple[np.ndarray, ...]:
    """Return the contributions of a batch, by channel instead of by filter."""
    images = batch.astype(np.float64)
    scores = linear.scores
    features, to_images = trace(linear.operations, images)
    rows, to_features = trace(linear.on_rows, features)
    shape, rows = rows.shape, rows.reshape(len(rows), -1)
    logits = (rows - scores.mean) @ scores.coef.T + scores.intercept
    one = logits.shape[1] == 1
    if codes is None:
        codes = (logits[:, 0] > 0).astype(np.intp) if one else logits.argmax(axis=1)
    # the score of two classes is the logit of the second one
    signs = np.where(codes == 0, -1.0, 1.0) if one else np.ones(len(codes))
    output = np.zeros_like(codes) if one else codes
    coef = signs[:, np.newaxis] * scores.coef[output]
    share = Share(coef, -coef * scores.mean, signs * scores.intercept[output])
    share = to_features(share.through(lambda array: array.reshape(shape)))
    terms, bias = share.terms(features), share.bias
    share = to_images(share)
    return (
        batch,
        codes,
        signs * logits[np.arange(len(codes)), output],
        bias,
        terms.sum(axis=3),
        terms.sum(axis=(1, 2)),
        share.terms(images),
        share.bias,
    )


def _keep_freed_memory() -> None:
    """Let the C library keep the memory of one batch for the next.

    glibc returns the arrays of a batch to the system, and gets them back page by page,
    which takes as long as the computation. Once it has freed an array that it had
    mapped, it keeps twice the size of that array. Other C libraries ignore this.
    """
    np.empty(_KEPT_BYTES, np.uint8)


def _batch_size(linear: LinearModel, shape: Any, threads: int) -> int:
    """Return how many images each thread processes at once, in bounded memory."""
    n_values = values_per_image((*linear.operations, *linear.on_rows), shape)
    return max(1, sizes.allowed(sizes.BATCH_BYTES) // (8 * n_values * threads))


def _summed(values: np.ndarray, groups: np.ndarray, n_groups: int) -> np.ndarray:
    """Sum the columns of each group."""
    return values @ (groups[:, np.newaxis] == np.arange(n_groups)).astype(np.float64)
