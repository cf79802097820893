"""Reports on the answers of a classifier: accuracy, confusions and calibration."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import array_api_compat
import numpy as np
from sklearn.utils import gen_batches
from sklearn.utils.validation import check_is_fitted

from skdmn.data import sizes
from skdmn.inspection.contributions import Contributions, contributions
from skdmn.inspection.models import LinearModel
from skdmn.inspection.page import HtmlPage
from skdmn.network.walking import steps_of
from skdmn.utils.array_api import to_numpy
from skdmn.utils.labels import as_objects, encode_labels
from skdmn.utils.validation import with_channels

_MOST_IMAGES = 512  # in a batch


@dataclass(frozen=True)
class Confusion:
    """Images of one class that were taken for another.

    Attributes
    ----------
    true, predicted : label
    count : int
        Number of these images.
    share : float
        Share of the images of the true class.
    """

    true: Any
    predicted: Any
    count: int
    share: float


@dataclass(frozen=True, eq=False, repr=False)
class HardImage:
    """An image whose true class got a low probability.

    Attributes
    ----------
    index : int
        Index in X.
    name : str
        Name of the image, such as its file name; else empty.
    true, predicted : label
    probability : float
        Probability of the true class; NaN if the model has no probabilities.
    image : ndarray of shape (height, width, channels) or None
        The image; None if X holds rows or no arrays, and there are no contributions.
    for_true, for_predicted : Contributions or None
        Contributions to the logits of the true and the predicted class. None if the
        model cannot be explained.
    """

    index: int
    name: str
    true: Any
    predicted: Any
    probability: float
    image: np.ndarray | None
    for_true: Contributions | None
    for_predicted: Contributions | None


@dataclass(frozen=True)
class Calibration:
    """Confidence compared with accuracy, bin by bin.

    The confidence of an answer is the probability of the predicted class. The bins
    divide the range from 0 to 1 in equal parts.

    Attributes
    ----------
    edges : ndarray of shape (n_bins + 1,)
        Bounds of the bins. A bin contains its upper bound.
    counts : ndarray of shape (n_bins,), int
        Number of images in each bin.
    confidence, accuracy : ndarray of shape (n_bins,)
        Mean confidence and share of right answers in each bin; NaN if it is empty.
    expected_error : float
        Expected calibration error: the mean of ``abs(accuracy - confidence)`` over
        all images.

    References
    ----------
    C. Guo, G. Pleiss, Y. Sun, K. Weinberger, "On calibration of modern neural
    networks", arXiv:1706.04599, 2017, eqs. 1 to 3.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    expected_error: float

    @classmethod
    def of(cls, confidence: np.ndarray, right: np.ndarray, n_bins: int) -> Calibration:
        """Compare the confidence of answers with the share of right ones.

        Parameters
        ----------
        confidence : ndarray of shape (n,)
            Probability of the predicted class.
        right : ndarray of shape (n,), bool
            Whether the predicted class is the true one.
        n_bins : int
            Number of bins.
        """
        edges = np.linspace(0, 1, n_bins + 1)
        bins = np.clip(np.searchsorted(edges, confidence) - 1, 0, n_bins - 1)
        counts = np.bincount(bins, minlength=n_bins)
        with np.errstate(invalid="ignore"):
            mean = np.bincount(bins, confidence, n_bins) / counts
            accuracy = np.bincount(bins, right, n_bins) / counts
        gaps = np.abs(np.nan_to_num(accuracy - mean))
        return cls(edges, counts, mean, accuracy, float(gaps @ counts / len(right)))


@dataclass(frozen=True, eq=False, repr=False)
class ClassReport(HtmlPage):
    """Where a classifier is right and wrong, and why; see `class_report`.

    Attributes
    ----------
    n_images : int
        Number of images.
    classes : ndarray of shape (n_classes,)
        Classes of the model.
    accuracy : float
        Share of the images whose predicted class is the true one.
    counts : ndarray of shape (n_classes,), int
        Number of images of each true class.
    class_accuracy : ndarray of shape (n_classes,)
        Share of the images of each true class that are recognized (recall); NaN for
        classes without images.
    class_precision : ndarray of shape (n_classes,)
        Share of right answers among the images with this predicted class; NaN for
        classes that were never predicted.
    confusion_matrix : ndarray of shape (n_classes, n_classes), int
        Number of images for each true class (row) and predicted class (column).
    confusions : list of Confusion
        Pairs of classes that were confused, most images first.
    calibration : Calibration or None
        Confidence compared with accuracy. None if the model has no probabilities.
    hardest : list of HardImage
        The images with the lowest probability of the true class, lowest first. Without
        probabilities, those whose logit for the true class is furthest below the
        largest of the others.
    unexplained : str
        Reason why the hardest images have no contributions; empty if they have.
    predictions : ndarray of shape (n,)
        Predicted label of each image.
    model : str
        Names of the steps of the model.

    See Also
    --------
    class_report : Compute the report.

    Examples
    --------
    >>> from skdmn import make_dmn
    >>> from skdmn.datasets import load_digits_images
    >>> from skdmn.inspection import class_report
    >>> X, y = load_digits_images()
    >>> dmn = make_dmn(n_layers=1).fit(X[:200], y[:200])
    >>> report = class_report(dmn, X[200:300], y[200:300])
    >>> worst = report.confusions[0]
    >>> bool(worst.count == report.confusion_matrix[worst.true, worst.predicted])
    True
    >>> hard = report.hardest[0]
    >>> hard.true == int(y[200 + hard.index]), hard.image.shape
    (True, (8, 8, 1))
    """

    n_images: int
    classes: np.ndarray
    accuracy: float
    counts: np.ndarray
    class_accuracy: np.ndarray
    class_precision: np.ndarray
    confusion_matrix: np.ndarray
    confusions: list[Confusion]
    calibration: Calibration | None
    hardest: list[HardImage]
    unexplained: str
    predictions: np.ndarray
    model: str

    _title = "Class report"

    def _body(self) -> str:
        from skdmn.inspection.html import body

        return body(self)

    def __repr__(self) -> str:
        lines = [f"{self.n_images} images, accuracy {self.accuracy:.4f}"]
        if self.calibration is not None:
            lines[0] += (
                f", expected calibration error {self.calibration.expected_error:.4f}"
            )
        lines += [
            f"{one.count} of class {one.true} ({one.share:.1%}) taken for "
            f"{one.predicted}"
            for one in self.confusions[:5]
        ]
        return "\n".join(lines)


def class_report(
    model: Any,
    X: Any,
    y: Any,
    *,
    names: Any = None,
    n_hardest: int = 12,
    n_bins: int = 10,
) -> ClassReport:
    """Report where a classifier is right and wrong, and why.

    Parameters
    ----------
    model : classifier
        Fitted classifier. If it is one that `contributions` explains, the hardest
        images have heat maps.
    X : array-like of shape (n, height, width[, channels]) or (n, n_features)
        Images that the model was not fitted on. They are read in batches by slices, so
        that a memory map or another source of images need not fit in memory.
    y : array-like of shape (n,)
        True labels. Classes of the model may be missing.
    names : sequence of str of length n or None, default=None
        Names of the images, such as file names, which the report shows. None takes
        ``X.filenames`` if it exists, or X if it holds file names.
    n_hardest : int, default=12
        Number of hardest images to show.
    n_bins : int, default=10
        Number of bins of the calibration.

    Returns
    -------
    ClassReport
        Numbers as attributes; ``to_html(path)`` writes a page. Notebooks show the page.

    Raises
    ------
    ValueError
        If `y` or `names` has another length than `X`, or `y` has labels that the model
        does not know.
    NotFittedError
        If the model is not fitted.

    See Also
    --------
    contributions : Divide the logits among pixels, regions and filters.
    sklearn.metrics.classification_report : Precision and recall as text.

    Examples
    --------
    >>> from skdmn import make_dmn
    >>> from skdmn.datasets import load_digits_images
    >>> from skdmn.inspection import class_report
    >>> X, y = load_digits_images()
    >>> dmn = make_dmn(n_layers=1).fit(X[:1000], y[:1000])
    >>> report = class_report(dmn, X[1000:], y[1000:])
    >>> report.n_images, report.confusion_matrix.shape
    (797, (10, 10))
    >>> report.to_html("report.html")  # doctest: +SKIP
    """
    for name, value in (("n_hardest", n_hardest), ("n_bins", n_bins)):
        least = 0 if name == "n_hardest" else 1
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name}={value!r} is not an int of at least {least}.")
    check_is_fitted(model)
    return report_of(model, X, y, int(n_hardest), None, names, int(n_bins))


def report_of(
    model: Any,
    X: Any,
    y: Any,
    n_hardest: int,
    features: Any = None,
    names: Any = None,
    n_bins: int = 10,
) -> ClassReport:
    """Report where a fitted classifier is right and wrong, see `class_report`.

    If `features` are given, they are the input of the last step of the model for all
    images, and images pass through no layer again.
    """
    n = int(X.shape[0]) if hasattr(X, "shape") else len(X)
    classes = to_numpy(model.classes_)
    known, codes = encode_labels(y, n)
    true = _indices(known, classes)[codes]
    names = getattr(X, "filenames", None) if names is None else names
    if names is not None and len(names) != n:
        raise ValueError(f"names has {len(names)} entries for {n} images.")
    unexplained = _why_unexplained(model)
    last, inputs = list(steps_of(model, ""))[-1][1], features
    if features is None or hasattr(last, "feature_names_in_"):  # it asks for names
        last, inputs = model, X
    answers = _answers(last, inputs, true, classes, by_score=not unexplained)
    predicted, probabilities, margins = answers
    right = predicted == true
    n_classes = len(classes)
    matrix = np.bincount(true * n_classes + predicted, minlength=n_classes**2)
    matrix = matrix.reshape(n_classes, n_classes)
    counts, n_predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    with np.errstate(invalid="ignore"):
        accuracy, precision = (
            matrix.diagonal() / counts,
            matrix.diagonal() / n_predicted,
        )
    calibration = None
    if probabilities is not None:
        calibration = Calibration.of(probabilities[1], right, n_bins)
    order = np.argsort(margins, kind="stable")[:n_hardest]
    own = np.full(n, np.nan) if probabilities is None else probabilities[0]
    labels = as_objects(classes)
    hardest = []
    for at in order.tolist():
        ends = labels[true[at]], labels[predicted[at]]
        given = None if names is None else str(names[at])
        one = _hard_image(model, X, at, given, *ends, own[at], not unexplained)
        hardest.append(one)
    return ClassReport(
        n_images=n,
        classes=classes,
        accuracy=float(right.mean()),
        counts=counts,
        class_accuracy=accuracy,
        class_precision=precision,
        confusion_matrix=matrix,
        confusions=_confusions(matrix, classes),
        calibration=calibration,
        hardest=hardest,
        unexplained=unexplained,
        predictions=classes[predicted],
        model=_described(model),
    )


def _indices(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the index in `classes` of each label."""
    known = {label: index for index, label in enumerate(as_objects(classes))}
    unknown = [label for label in as_objects(labels) if label not in known]
    if unknown:
        shown = ", ".join(map(repr, unknown[:5])) + ", ..." * (len(unknown) > 5)
        own = ", ".join(map(repr, list(known)[:5])) + ", ..." * (len(known) > 5)
        hint = "leave these images out, or fit the model on all classes"
        if isinstance(unknown[0], str) != isinstance(next(iter(known)), str):
            hint = (
                "pass labels of the same kind: for an image folder, "
                "np.array(data.target_names)[data.target] are names, and data.target "
                "are integers"
            )
        raise ValueError(
            f"y has labels that the model does not know: {shown}. Its classes are "
            f"{own}; {hint}."
        )
    return np.array([known[label] for label in as_objects(labels)], dtype=np.intp)


def _answers(
    model: Any, X: Any, true: np.ndarray, classes: np.ndarray, *, by_score: bool
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray] | None, np.ndarray]:
    """Return predicted classes, probabilities, and how clear the true class is.

    The probabilities are those of the true and of the predicted class. With `by_score`,
    the predicted class is that of the largest score, so that images pass once.
    """
    n, has_probabilities = len(true), hasattr(model, "predict_proba")
    predicted = np.empty(n, dtype=np.intp)
    own, best, margins = np.empty(n), np.empty(n), np.empty(n)
    for some in gen_batches(n, _batch_size(X)):
        images, codes = _some(X, some), true[some]
        rows = np.arange(len(codes))
        if has_probabilities:
            scores = to_numpy(model.predict_proba(images))
        else:
            scores = to_numpy(model.decision_function(images))
            if scores.ndim == 1:
                scores = np.stack([-scores, scores], axis=1)
        answers = scores.argmax(axis=1)
        if not by_score:
            answers = np.searchsorted(classes, to_numpy(model.predict(images)))
        predicted[some] = answers
        own[some], best[some] = scores[rows, codes], scores[rows, answers]
        others = scores.copy()
        others[rows, codes] = -np.inf
        margins[some] = scores[rows, codes] - others.max(axis=1)
    if has_probabilities:
        return predicted, (own, best), own
    return predicted, None, margins


def _batch_size(X: Any) -> int:
    """Return how many images are read at once."""
    shape = tuple(getattr(X, "shape", ()))[1:]
    image_bytes = 8 * max(1, math.prod(shape))
    return max(1, min(_MOST_IMAGES, sizes.allowed(sizes.BATCH_BYTES) // image_bytes))


def _some(X: Any, some: slice) -> Any:
    """Return some images of an array, a list, a data frame or a source of images."""
    return X.iloc[some] if hasattr(X, "iloc") else X[some]


def _confusions(matrix: np.ndarray, classes: np.ndarray) -> list[Confusion]:
    """Return the pairs of classes that were confused, most images first."""
    labels, counts = as_objects(classes), matrix.sum(axis=1)
    wrong = matrix - np.diag(matrix.diagonal())
    order = np.argsort(-wrong, axis=None, kind="stable")[: np.count_nonzero(wrong)]
    return [
        Confusion(
            labels[i], labels[j], int(wrong[i, j]), float(wrong[i, j] / counts[i])
        )
        for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True)
    ]


def _why_unexplained(model: Any) -> str:
    """Return the reason why `contributions` refuses a model; empty if it does not."""
    try:
        LinearModel.of(model)
    except TypeError as error:
        return str(error)
    return ""


def _hard_image(
    model: Any,
    X: Any,
    index: int,
    name: str | None,
    true: Any,
    predicted: Any,
    probability: float,
    explain: bool,
) -> HardImage:
    """Return an image with its contributions, if the model can be explained."""
    one = _some(X, slice(index, index + 1))
    name = _name(one) if name is None else name
    fields = index, name, true, predicted, float(probability)
    if not explain:
        return HardImage(*fields, _image(one), None, None)
    why, other = (contributions(model, one, label) for label in (true, predicted))
    return HardImage(*fields, why.images[0], why, other)


def _name(one: Any) -> str:
    """Return the file name of an image; empty if it is no file name."""
    if array_api_compat.is_array_api_obj(one) and not isinstance(one, np.ndarray):
        return ""
    value = np.asarray(one, dtype=object).ravel()[0]
    return str(os.fspath(value)) if isinstance(value, str | os.PathLike) else ""


def _image(one: Any) -> np.ndarray | None:
    """Return an image of an array of one image, or None."""
    if not array_api_compat.is_array_api_obj(one) or len(one.shape) not in (3, 4):
        return None
    image = to_numpy(one)
    return image.reshape(with_channels(image.shape[1:]))


def _described(model: Any) -> str:
    """Return the names of the steps of a model."""
    model = getattr(model, "best_estimator_", model)
    steps = getattr(model, "steps", None) or [("", model)]
    return ", ".join(type(step).__name__ for _, step in steps)
