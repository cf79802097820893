"""Encoding of labels as class indices, and stratified samples."""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, column_or_1d

from skdmn.utils.array_api import to_numpy
from skdmn.utils.validation import unmasked


def encode_labels(y: Any, n: int, classes: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Check labels and encode them as class indices.

    Parameters
    ----------
    y : array-like of shape (n,)
        Labels.
    n : int
        Number of images or rows in X.
    classes : array-like or None
        Further labels to include in the classes.

    Returns
    -------
    classes : ndarray of shape (n_classes,)
        Sorted labels.
    codes : ndarray of shape (n,), int
        Index into `classes` of each label.

    Raises
    ------
    ValueError
        If the number of labels is not `n`, or labels are not of one kind.
    """
    y = _checked(y, "y")
    if len(y) != n:
        count = f"{len(y)} label" + "s" * (len(y) != 1)
        one = ", or X[np.newaxis] for a single image" if len(y) == 1 else ""
        raise ValueError(
            f"X has {n} samples, but y has {count}; pass one label for each sample"
            f"{one} (found inconsistent numbers of samples)."
        )
    is_whole = y.dtype.kind in "iub"
    if not is_whole:
        check_classification_targets(y)
    labels, codes = np.unique(y, return_inverse=True)
    # whole numbers are labels; the check, which sorts them again, can only warn
    if is_whole and 2 * len(labels) >= n:
        check_classification_targets(y)
    if classes is None:
        return labels, codes
    merged = union(np.unique(_checked(classes, "classes")), labels)
    return merged, np.searchsorted(merged, labels)[codes]


def check_sample_weight(sample_weight: Any, n: int) -> np.ndarray:
    """Check the weights of samples.

    Parameters
    ----------
    sample_weight : array-like of shape (n,), number or None
        Finite weights that are not negative, and not all zero; None means 1.
    n : int
        Number of samples.

    Returns
    -------
    ndarray of shape (n,), float64

    Raises
    ------
    ValueError
        If a weight is negative, not finite or masked, or their number is not `n`.
    """
    sample_weight = unmasked(sample_weight, "sample_weight")
    if array_api_compat.is_array_api_obj(sample_weight):
        sample_weight = to_numpy(sample_weight)
    return _check_sample_weight(
        sample_weight, np.empty(n), dtype=np.float64, ensure_non_negative=True
    )


def union(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the sorted union of two arrays of labels of the same kind."""
    if _kind(first) != _kind(second):
        one, other = as_objects(first)[0], as_objects(second)[0]
        raise ValueError(
            f"Labels {other!r} and {one!r} are of different kinds; pass only strings, "
            "only numbers or only dates as labels."
        )
    return np.union1d(first, second)


def as_objects(labels: np.ndarray) -> list[Any]:
    """Return labels as Python objects.

    Dates stay NumPy's, because Python has none with nanoseconds.
    """
    return list(labels) if labels.dtype.kind in "mM" else labels.tolist()


def is_all(subsample: float) -> bool:
    """Return True if a subsample keeps all images: the float 1.0, not the int 1."""
    return isinstance(subsample, (float, np.floating)) and subsample == 1.0


def draw(
    codes: np.ndarray, subsample: float, random_state: np.random.RandomState
) -> np.ndarray | None:
    """Draw a stratified sample without replacement.

    Parameters
    ----------
    codes : ndarray of shape (n,), int
        Class indices.
    subsample : float in (0, 1] or int
        float: share of each class, rounded up. int: total number, divided in
        proportion to the class sizes, with at least one of each class.
    random_state : RandomState

    Returns
    -------
    ndarray of int, or None
        Sorted indices; None means all.
    """
    if is_all(subsample):
        return None
    counts = np.bincount(codes)
    if isinstance(subsample, (float, np.floating)):
        quotas = np.ceil(counts * subsample - 1e-9).astype(int)
        quotas = np.maximum(quotas, counts > 0)
    else:
        quotas = _proportional(counts, min(int(subsample), len(codes)))
    chosen = [
        random_state.permutation(np.flatnonzero(codes == label))[:quota]
        for label, quota in enumerate(quotas)
    ]
    return np.sort(np.concatenate(chosen))


def _proportional(counts: np.ndarray, total: int) -> np.ndarray:
    """Split a total in proportion to counts, by largest remainder, at least 1 each."""
    n_classes = np.count_nonzero(counts)
    if total < n_classes:
        raise ValueError(
            f"subsample={total} is less than the number of classes, {n_classes}; pass "
            "at least one image for each class."
        )
    exact = total * counts / counts.sum()
    quotas = np.maximum(np.floor(exact).astype(int), counts > 0)
    while quotas.sum() != total:
        if quotas.sum() < total:
            quotas[np.argmax(exact - quotas)] += 1
        else:  # small classes were raised to 1, so others must give some back
            quotas[np.argmax(np.where(quotas > 1, quotas - exact, -np.inf))] -= 1
    return quotas


def _checked(labels: Any, name: str) -> np.ndarray:
    labels = unmasked(labels, name)
    if array_api_compat.is_array_api_obj(labels):
        labels = to_numpy(labels)
    labels = check_array(labels, ensure_2d=False, dtype=None, input_name=name)
    labels = column_or_1d(labels, warn=True)
    if labels.dtype == object:
        others = [label for label in labels if not isinstance(label, str)]
        if 0 < len(others) < len(labels):
            raise ValueError(
                f"{name} contains {others[0]!r} among strings; pass labels of one "
                "kind, without missing values."
            )
    return labels


def _kind(labels: np.ndarray) -> str:
    """Return "M" for dates, "m" for time spans, "U" for strings, "f" for numbers."""
    if labels.dtype.kind in "mM":
        return labels.dtype.kind
    is_string = labels.dtype.kind in "US" or isinstance(labels.tolist()[0], str)
    return "U" if is_string else "f"
