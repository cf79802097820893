"""IncrementalRidgeClassifier: scikit-learn's solution, sums, penalty, probabilities."""

import copy
import itertools
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import RidgeClassifier

from skdmn import DensityMatrixNetwork, IncrementalRidgeClassifier, MaxPool2DTransformer
from skdmn.datasets import load_digits_images
from skdmn.linear_model import least_squares
from skdmn.linear_model import ridge as ridge_module
from skdmn.linear_model.least_squares import HeldOut, LeastSquares, temperature
from skdmn.utils.array_api import HOST

NAMES = np.array(["a", "b", "c"])


def problem(n=60, d=8, n_classes=3, seed=0):
    """Return correlated rows far from zero, one of them constant, and labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    y[:n_classes] = range(n_classes)
    X = rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + 100
    X[:, 0] += 2 * y
    X[:, 1] = 7
    return X, NAMES[y]


def standardized(X, weights=None):
    mean = np.average(X, axis=0, weights=weights)
    scale = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weights))
    return (X - mean) / np.where(scale < 1e-9, 1, scale)


def same(first, second, X, tolerance=1e-9):
    """Compare all that two classifiers learned."""
    assert_array_equal(first.predict(X), second.predict(X))
    assert first.alpha_ == second.alpha_
    for name in ("coef_", "intercept_", "mean_", "scale_", "scores_", "temperature_"):
        a, b = getattr(first, name), getattr(second, name)
        assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max(), err_msg=name)


@pytest.mark.parametrize("n", [6, 60])  # fewer and more rows than features
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_ridge_of_standardized_features(n, n_classes, weighted):
    X, y = problem(n, n_classes=n_classes)
    weights = np.random.default_rng(1).random(n) if weighted else None
    by_class = {"a": 3.0} if weighted else None
    ours = IncrementalRidgeClassifier(2.5, class_weight=by_class)
    ours.fit(X, y, sample_weight=weights)
    total = None if weights is None else weights * np.where(y == "a", 3.0, 1.0)
    Z = standardized(X, total)
    theirs = RidgeClassifier(2.5, class_weight=by_class).fit(Z, y, weights)
    coef = ours.coef_ * ours.scale_ * ours.temperature_
    assert_allclose(coef, np.atleast_2d(theirs.coef_), atol=1e-9)
    scores = ours.decision_function(X) * ours.temperature_
    assert_allclose(scores, theirs.decision_function(Z), atol=1e-9)
    assert ours.coef_.shape == ((1 if n_classes == 2 else 3), X.shape[1])


def test_balanced_weights_equal_those_of_scikit_learn():
    X, y = problem()
    y[:20] = "a"
    ours = IncrementalRidgeClassifier(1.0, class_weight="balanced").fit(X, y)
    counts = {label: np.sum(y == label) for label in NAMES}
    by_class = {label: len(y) / (3 * n) for label, n in counts.items()}
    same(ours, IncrementalRidgeClassifier(1.0, class_weight=by_class).fit(X, y), X)


def batches_of(X, y, sizes, order):
    edges = np.cumsum([0, *sizes])
    for begin, end in itertools.pairwise(edges):
        yield X[order[begin:end]], y[order[begin:end]]


@pytest.mark.parametrize("d", [8, 70])
@pytest.mark.parametrize("sizes", [[60], [1] * 12 + [48], [3, 50, 7]])
def test_batches_in_any_order_are_one_fit(d, sizes):
    X, y = problem(d=d)
    expected = IncrementalRidgeClassifier().fit(X, y)
    by_label, shuffled = np.argsort(y), np.random.default_rng(0).permutation(60)
    for order in (by_label, shuffled):
        ours = IncrementalRidgeClassifier()
        for batch in batches_of(X, y, sizes, order):
            ours.partial_fit(*batch, classes=NAMES)
        same(ours, expected, X)


@pytest.mark.parametrize("d", [8, 70])
def test_sites_merge_to_one_fit(d):
    """Their classes differ; some have fewer rows than features and some have more."""
    X, y = problem(d=d)
    X = X.astype(np.float32)
    here = (y != "c") & (np.arange(60) < 40)
    ours = IncrementalRidgeClassifier().fit(X[here], y[here])
    there = IncrementalRidgeClassifier().fit(X[~here], y[~here])
    kept = pickle.dumps(there)
    same(ours.merge(there), IncrementalRidgeClassifier().fit(X, y), X)
    assert pickle.dumps(there) == kept
    sums = [ours.statistics(X[i::5], y[i::5]) for i in range(5)]
    total = pickle.loads(pickle.dumps(sums[0]))
    for one in sums[1:]:
        total = total + one
    same(clone(ours).finish(total), ours, X)


def test_weights_are_repeats_and_zero_leaves_out():
    X, y = problem()
    weights = np.random.default_rng(0).integers(0, 4, len(y))
    X[weights == 0] = 1e9
    ours = IncrementalRidgeClassifier().fit(X, y, sample_weight=weights)
    repeated = np.repeat(np.arange(len(y)), weights)
    expected = IncrementalRidgeClassifier().fit(X[repeated], y[repeated])
    same(ours, expected, X[repeated])


def test_small_weights_choose_the_same_penalty():
    """Weights that add up to 1, as those of AdaBoost, are no counts of rows."""
    X, y = problem()
    alphas = np.logspace(-2, 3, 12)
    expected = IncrementalRidgeClassifier(alphas).fit(X, y)
    ours = IncrementalRidgeClassifier(alphas / 60).fit(X, y, np.full(60, 1 / 60))
    assert_allclose(ours.scores_, expected.scores_)
    assert_allclose(ours.coef_, expected.coef_, atol=1e-12)


@pytest.mark.parametrize("n", [12, 60])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_scores_are_generalized_cross_validation(n, n_classes):
    """The definition, with the matrix that maps targets to fitted values."""
    X, y = problem(n, 15, n_classes)
    ours = IncrementalRidgeClassifier([0.3, 30.0, 3e3]).fit(X, y)
    Z, T = standardized(X), 2.0 * (y[:, np.newaxis] == ours.classes_) - 1
    chance = np.square((T - T.mean(axis=0)) / (1 - 1 / n)).mean(axis=0).sum()
    for alpha, score in zip(ours.alphas_, ours.scores_, strict=True):
        inner = Z.T @ Z + alpha * np.eye(Z.shape[1])
        hat = Z @ np.linalg.solve(inner, Z.T) + 1 / n
        left_out = (T - hat @ T) / (1 - np.trace(hat) / n)
        assert_allclose(score, 1 - np.square(left_out).mean(axis=0).sum() / chance)
    assert ours.alpha_ == ours.alphas_[np.argmax(ours.scores_)]


def test_scores_are_near_those_of_leave_one_out():
    X, y = load_digits_images()
    X, y = X[:150].reshape(150, -1), y[:150]
    ours = IncrementalRidgeClassifier([1.0, 10.0, 100.0, 1e3]).fit(X, y)
    Z, T = standardized(X), 2.0 * (y[:, np.newaxis] == ours.classes_) - 1
    chance = np.square((T - T.mean(axis=0)) * 150 / 149).sum()
    for alpha, score in zip(ours.alphas_, ours.scores_, strict=True):
        hat = Z @ np.linalg.solve(Z.T @ Z + alpha * np.eye(64), Z.T) + 1 / 150
        left_out = (T - hat @ T) / (1 - np.diagonal(hat))[:, np.newaxis]
        assert_allclose(score, 1 - np.square(left_out).sum() / chance, atol=0.04)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_moments_of_held_out_scores(n_classes):
    """Those of the residuals divided by 1 minus the mean leverage, row by row."""
    X, y = problem(n_classes=n_classes)
    weights = np.random.default_rng(0).random(60) + 0.5
    ours = IncrementalRidgeClassifier(5.0).fit(X, y, weights)
    solver = LeastSquares.of(ours._sums, HOST)
    found = solver.held_out(5.0)
    T = 2.0 * (y[:, np.newaxis] == ours.classes_) - 1
    scores = ours.decision_function(X).reshape(60, -1) * ours.temperature_
    T = T[:, 1:] if n_classes == 2 else T
    scores = T - solver._inflation(5.0) * (T - scores)
    covariance = 0.0
    for label, mean in zip(ours.classes_, found.means, strict=True):
        own, w = scores[y == label], weights[y == label]
        assert_allclose(np.average(own, axis=0, weights=w), mean)
        covariance += (own - mean).T @ ((own - mean) * w[:, np.newaxis])
    assert_allclose(covariance / weights.sum(), found.covariance, atol=1e-12)


def test_temperature_is_that_of_normal_scores(monkeypatch):
    """Two classes at -m and m with variance v have the log-odds 2 m score / v."""
    monkeypatch.setattr(least_squares, "_TAILS", 1e6)
    found = temperature(
        HeldOut(np.array([[-0.5], [0.5]]), np.array([[0.3]]), np.array([0.5, 0.5]))
    )
    assert_allclose(found, 0.3 / (2 * 0.5), rtol=0.05)
    none = HeldOut(np.array([[-1.0], [1.0]]), np.zeros((1, 1)), np.array([0.5, 0.5]))
    assert temperature(none) == 1e-3
    wrong = HeldOut(np.array([[1.0], [-1.0]]), np.ones((1, 1)), np.array([0.5, 0.5]))
    assert temperature(wrong) == 1e3


def test_probabilities_of_held_out_digits_are_calibrated():
    X, y = load_digits_images()
    order = np.random.default_rng(0).permutation(len(X))
    X, y = X.reshape(len(X), -1)[order], y[order]
    ours = IncrementalRidgeClassifier().fit(X[:300], y[:300])
    scores = ours.decision_function(X[300:])

    def loss(factor):
        return -log_softmax(factor * scores, 1)[np.arange(len(scores)), y[300:]].mean()

    best = min(loss(factor) for factor in np.geomspace(0.1, 10, 41))
    assert loss(1.0) < best + 0.03
    p = ours.predict_proba(X[300:])
    assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert_array_equal(ours.predict(X[300:]), p.argmax(axis=1))


def test_repeated_columns_share_their_coefficient():
    X, y = problem()
    X = np.hstack([X, X[:, :1]])
    ours = IncrementalRidgeClassifier(1.0).fit(X, y)
    assert_allclose(ours.coef_[:, 0], ours.coef_[:, -1])
    assert_allclose(ours.coef_[:, 1], 0, atol=1e-12)  # constant
    assert ours.scale_[1] == 1


def test_bright_features_lose_no_digits():
    X, y = problem(n=200)
    expected = IncrementalRidgeClassifier(1.0).fit(X, y)
    bright = IncrementalRidgeClassifier(1.0).fit(X + 1e7, y)
    assert_allclose(bright.coef_, expected.coef_, rtol=1e-5, atol=1e-7)


def test_lazy_features_and_images_are_taken():
    X, y = load_digits_images()
    network = DensityMatrixNetwork([("pool", MaxPool2DTransformer(2))]).fit(X[:300])
    features, lazy = network.transform(X[:300]), network.lazy_features(X[:300])
    ours = IncrementalRidgeClassifier().fit(lazy, y[:300])
    same(ours, IncrementalRidgeClassifier().fit(features, y[:300]), features)


def test_coefficients_are_computed_when_they_are_needed(monkeypatch):
    solved = []
    solve = IncrementalRidgeClassifier._solve
    monkeypatch.setattr(
        IncrementalRidgeClassifier,
        "_solve",
        lambda self: (solved.append(1), solve(self))[1],
    )
    X, y = problem()
    ours = IncrementalRidgeClassifier()
    for i in range(6):
        ours.partial_fit(X[i::6], y[i::6], classes=NAMES)
    assert not solved
    copied = copy.deepcopy(ours)
    ours.predict(X)
    assert ours.alpha_ == copied.alpha_
    assert len(solved) == 2
    with pytest.raises(AttributeError, match="no attribute 'filters_'"):
        _ = ours.filters_


def test_compact_copies_predict_but_do_not_go_on():
    X, y = problem()
    ours = IncrementalRidgeClassifier().partial_fit(X, y)
    small = ours.compact()
    assert_array_equal(small.predict_proba(X), ours.predict_proba(X))
    assert not hasattr(small, "_sums")
    for go_on in (
        lambda: small.partial_fit(X, y),
        lambda: small.merge(ours),
        lambda: ours.merge(small),
    ):
        with pytest.raises(ValueError, match=r"no sums, because compact\(\) left"):
            go_on()


@pytest.mark.parametrize(("name", "value"), [("sums", 1e308), ("total", np.inf)])
def test_sums_without_finite_coefficients_are_refused(name, value):
    ridge = IncrementalRidgeClassifier().partial_fit(*problem())
    sums = ridge._sums
    setattr(sums, name, np.full_like(sums.sums, value) if name == "sums" else value)
    with pytest.raises(ValueError, match="coefficients are not finite"):
        ridge.predict(problem()[0])


def refusals():
    X, y = problem()
    fitted = IncrementalRidgeClassifier().fit(X, y)
    make = IncrementalRidgeClassifier
    balanced = make(class_weight="balanced")
    one = make().statistics(X[y == "a"], y[y == "a"])
    return {
        "y contains one class only, 'a'": lambda: make().fit(X, ["a"] * 60),
        "pass all labels as classes": lambda: make().partial_fit(X, ["a"] * 60),
        "The statistics have one class only": lambda: make().finish(one),
        "alphas=.* is not a list of penalties": lambda: make([1, 0.0]).fit(X, y),
        "alphas={} is not a list of penalties": lambda: make({}).fit(X, y),
        "partial_fit does not take it": lambda: balanced.partial_fit(X, y),
        "merge does not take it": lambda: make().fit(X, y).merge(balanced.fit(X, y)),
        "class_weight was None": lambda: (
            copy.copy(fitted).set_params(class_weight={"a": 2}).partial_fit(X, y)
        ),
        "with the same class_weight|same class_weight": lambda: copy.copy(fitted).merge(
            make(class_weight={"a": 2}).fit(X, y)
        ),
        "of 8 and of 7 features": lambda: copy.copy(fitted).merge(
            make().fit(X[:, 1:], y)
        ),
        "X has 7 features": lambda: copy.copy(fitted).partial_fit(X[:, 1:], y),
        "makes all weights zero": lambda: make(
            class_weight={"a": 0, "b": 0, "c": 0}
        ).fit(X, y),
        "y is None": lambda: make().fit(X, None),
    }


@pytest.mark.parametrize("message", refusals())
def test_refuses_with_advice(message):
    with pytest.raises(ValueError, match=message):
        refusals()[message]()


def test_an_error_leaves_the_sums_as_they_were():
    X, y = problem()
    ours = IncrementalRidgeClassifier().fit(X, y)
    kept = pickle.dumps(ours)
    with pytest.raises(ValueError, match="NaN"):
        ours.partial_fit(np.full_like(X, np.nan), y)
    with pytest.raises(TypeError, match="takes another IncrementalRidgeClassifier"):
        ours.merge(RidgeClassifier())
    with pytest.raises(NotFittedError):
        ours.merge(IncrementalRidgeClassifier())
    assert pickle.dumps(ours) == kept


def test_too_large_a_matrix_is_refused_before_rows_are_read(monkeypatch):
    monkeypatch.setattr(ridge_module, "available_memory", lambda: 10**9)
    X = np.broadcast_to(np.float32(0), (20_000, 9_000))
    y = np.arange(20_000) % 2
    with pytest.raises(MemoryError, match=r"2,592 MB for 4 matrices of 9,000 x 9,000"):
        ridge_module.check_memory(len(X), X.shape[1], "it")
    ridge_module.check_memory(500, X.shape[1], "it")
    ours = IncrementalRidgeClassifier()
    with pytest.raises(MemoryError, match="only 1,000 MB of memory are available"):
        ours.fit(Unread(X), y)
    assert not hasattr(ours, "classes_")


class Unread:
    """Rows of which none may be read."""

    is_lazy = True

    def __init__(self, X):
        self.shape, self.dtype, self.ndim = X.shape, X.dtype, X.ndim

    def __getitem__(self, some):
        raise AssertionError("a row was read")
