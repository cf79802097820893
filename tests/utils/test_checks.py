"""Checks of inputs agree with scikit-learn's, and one image is classified quickly."""

import sys
import threading

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.utils import validation

from skdmn import (
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    SoftmaxClassifier,
    recommended_dmn,
)
from skdmn.utils.checks import check_is_fitted, validate_data

LAYER = ("conv", ClassPCAPatchTransformer())


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    return SoftmaxClassifier().fit(rng.normal(size=(20, 3)), np.arange(20) % 2)


def outcome(check, *args, **options):
    try:
        return check(*args, **options)
    except (ValueError, TypeError) as error:
        return type(error), str(error)


@pytest.mark.parametrize(
    "X",
    [
        np.ones((4, 3)),
        np.full((4, 3), 3e38, np.float32),  # the sum overflows
        np.array([[1, np.nan, 3]]),
        np.array([[np.inf, 1, 3]]),
        np.array([[1, 2, 3]], np.uint8),
        np.ones((2, 3), np.float16),
        np.ones((2, 3), complex),
        np.array([["a", "b", "c"]]),
        np.ones((2, 3, 4, 1)),
        np.ones((0, 3)),
        np.ones(3),
        np.array([[1, 2, "3"]], object),
        [[1, 2, 3]],
    ],
    ids=lambda X: f"{getattr(X, 'dtype', 'list')}-{np.shape(X)}",
)
@pytest.mark.parametrize("finite", [True, False])
def test_data_are_checked_as_by_scikit_learn(fitted, X, finite):
    options = {"reset": False, "ensure_all_finite": finite}
    found = outcome(validate_data, fitted, X, **options)
    expected = outcome(
        validation.validate_data,
        fitted,
        X,
        **options,
        allow_nd=True,
        ensure_2d=False,
    )
    np.testing.assert_array_equal(found, expected)
    assert getattr(found, "dtype", None) == getattr(expected, "dtype", None)
    assert (found is X) == (expected is X)


def test_names_of_features_are_compared():
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(20, 3)), columns=list("abc"))
    named = SoftmaxClassifier().fit(frame, np.arange(20) % 2)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        named.predict(frame.to_numpy())
    with pytest.raises(ValueError, match="same order"):
        named.predict(frame[["b", "a", "c"]])


@pytest.mark.parametrize(
    "estimator",
    [LAYER[1], SoftmaxClassifier(), DensityMatrixNetwork([LAYER])],
    ids=lambda one: type(one).__name__,
)
def test_an_estimator_that_is_not_fitted_is_refused(estimator):
    with pytest.raises(NotFittedError, match=type(estimator).__name__):
        check_is_fitted(estimator)


def test_one_image_is_classified_in_few_calls_and_in_this_thread(rng, monkeypatch):
    """A predict of one image takes most of its time in checks, if there are many."""
    X = rng.integers(0, 255, (40, 32, 32, 3)).astype(np.uint8)
    model = recommended_dmn(X.shape[1:], n_filters=100, subsample=1.0)
    model.fit(X, np.arange(40) % 2).predict(X[:1])
    n_calls = 0

    def count(frame, event, arg):
        nonlocal n_calls
        n_calls += event in ("call", "c_call")

    def no_thread(thread):
        raise AssertionError("a thread was started")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    sys.setprofile(count)
    try:
        model.predict(X[:1])
    finally:
        sys.setprofile(None)
    assert n_calls < 1700  # 2600 once


@pytest.mark.parametrize(("value", "what"), [(np.nan, "NaN"), (-np.inf, "infinity")])
def test_the_message_names_the_images_that_are_not_finite(value, what):
    X = np.ones((30, 5, 5))
    X[[12, 29], 1, 2] = value
    found = f"Input X contains {what} in 2 of 30 images, first in X\\[12\\]"
    with pytest.raises(ValueError, match=found) as told:
        ClassPCAPatchTransformer().fit(X, np.arange(30) % 2)
    assert told.value.__suppress_context__  # scikit-learn's advice is on tables
