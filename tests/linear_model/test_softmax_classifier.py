"""SoftmaxClassifier against LogisticRegression, and what it promises of its own."""

import re
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdmn import SoftmaxClassifier
from skdmn.linear_model import solver

TIGHT = {"tol": 1e-20, "max_iter": 3000}


@pytest.fixture(params=["digits", "cancer"])
def data(request):
    """Return rows of 10 and 2 classes; columns of cancer differ by a factor of 1e5."""
    load = load_digits if request.param == "digits" else load_breast_cancer
    X, y = load(return_X_y=True)
    return X[:250, :32], y[:250]


@pytest.fixture
def sampled(monkeypatch):
    """Make even few rows be sampled first, as many are."""
    monkeypatch.setattr(solver, "SAMPLED_VALUES", 0)
    monkeypatch.setattr(solver, "FACTOR_ROWS", 50)
    monkeypatch.setattr(solver, "FACTOR_PRODUCTS", 0)


def logistic(**params):
    return LogisticRegression(
        tol=1e-10, max_iter=100_000, solver="newton-cholesky", **params
    )


def assert_same_model(ours, theirs, X):
    scale = np.abs(theirs.coef_).max()
    assert_allclose(ours.coef_, theirs.coef_, atol=1e-6 * scale)
    assert_allclose(ours.decision_function(X), theirs.decision_function(X), atol=1e-5)
    assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
    assert_array_equal(ours.predict(X), theirs.predict(X))
    assert ours.coef_.shape == theirs.coef_.shape
    assert ours.intercept_.shape == theirs.intercept_.shape


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"C": 0.01},
        {"fit_intercept": False},
        {"class_weight": "balanced"},
        {"class_weight": {0: 3.0, 1: 0.5}},
    ],
    ids=str,
)
@pytest.mark.parametrize("weighted", [False, True])
def test_same_optimum_as_logistic_regression(data, params, weighted, rng):
    X, y = data
    X = X / X.std(axis=0).max() * 3  # newton-cholesky overflows otherwise
    weights = rng.integers(0, 4, len(y)) * 0.7 if weighted else None
    ours = SoftmaxClassifier(standardize=False, **params, **TIGHT).fit(X, y, weights)
    assert_same_model(ours, logistic(**params).fit(X, y, weights), X)


@pytest.mark.parametrize("params", [{}, {"C": 0.1, "fit_intercept": False}], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_standardize_is_a_standard_scaler_before(data, params, weighted, rng):
    X, y = data
    weights = rng.integers(0, 4, len(y)) * 0.7 if weighted else None
    ours = SoftmaxClassifier(**params, **TIGHT).fit(X, y, weights)
    scaler = StandardScaler().fit(X, sample_weight=weights)
    theirs = logistic(**params).fit(scaler.transform(X), y, weights)
    assert_allclose(ours.mean_, scaler.mean_, atol=1e-12)
    assert_allclose(ours.scale_, scaler.scale_)
    assert_allclose(ours.coef_ * ours.scale_, theirs.coef_, atol=1e-6)
    expected = theirs.predict_proba(scaler.transform(X))
    assert_allclose(ours.predict_proba(X), expected, atol=1e-6)
    log_proba = theirs.predict_log_proba(scaler.transform(X))
    assert_allclose(ours.predict_log_proba(X), log_proba, atol=1e-4)


@pytest.mark.usefixtures("sampled")
def test_sampling_first_leads_to_the_same_optimum(data):
    X, y = data
    whole = SoftmaxClassifier(C=0.1, **TIGHT)
    ours = whole.fit(np.repeat(X, 2, axis=0), np.repeat(y, 2))
    pipeline = make_pipeline(StandardScaler(), logistic(C=0.2)).fit(X, y)
    assert_allclose(ours.predict_proba(X), pipeline.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
def test_default_tolerance_is_within_a_ten_thousandth(data, C):
    X, y = data
    ours = SoftmaxClassifier(C).fit(X, y)
    best = SoftmaxClassifier(C, **TIGHT).fit(X, y).loss_curve_[-1]
    assert ours.loss_curve_[-1] < best * (1 + 1e-4)
    assert len(ours.loss_curve_) == ours.n_iter_ + 1
    assert ours.n_passes_ > ours.n_iter_


def test_loss_curve_is_the_objective(data):
    X, y = data
    ours = SoftmaxClassifier(C=0.3).fit(X, y)
    losses = -ours.predict_log_proba(X)[np.arange(len(y)), y]
    penalty = ((ours.coef_ * ours.scale_) ** 2).sum() / (2 * 0.3 * len(y))
    assert_allclose(ours.loss_curve_[-1], losses.mean() + penalty)


# rounding, dtypes, shapes


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("standardize", [True, False])
def test_bright_data_lose_nothing(rng, dtype, standardize):
    X = rng.normal(size=(300, 5))
    y = (X @ rng.normal(size=(5, 3)) + rng.normal(size=(300, 3))).argmax(axis=1)
    X -= X.mean(axis=0)
    model = SoftmaxClassifier(C=1.0, standardize=standardize, tol=1e-10)
    expected = model.fit(X, y).predict_proba(X)
    bright = (X * 2**-3 + 1000).astype(dtype)  # 1e3 and more times the spread
    exact = (bright.astype(float) - 1000) * 2**3
    C = 1.0 if standardize else 64.0
    found = clone(model).set_params(C=C).fit(bright, y).predict_proba(bright)
    assert_allclose(found, model.predict_proba(exact), atol=1e-3)
    assert_allclose(found, expected, atol=1e-3)
    assert found.dtype == dtype


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float32"])
def test_dtypes_are_computed_in_float32(dtype):
    X, y = load_digits(return_X_y=True)
    X = (X > 4 if dtype == "bool" else X).astype(dtype)
    ours = SoftmaxClassifier(C=0.01).fit(X, y)
    expected = SoftmaxClassifier(C=0.01).fit(X.astype(float), y)
    found = ours.predict_proba(X)
    assert found.dtype == np.float32
    assert ours.coef_.dtype == np.float64
    assert_allclose(found, expected.predict_proba(X.astype(float)), atol=2e-3)


def test_images_are_rows():
    X, y = load_digits(return_X_y=True)
    rows = SoftmaxClassifier().fit(X, y)
    images = SoftmaxClassifier().fit(X.reshape(-1, 4, 8, 2), y)
    assert images.n_features_in_ == 64
    assert_array_equal(images.coef_, rows.coef_)
    assert_array_equal(images.predict(X), rows.predict(X.reshape(-1, 8, 8)))
    view = np.asfortranarray(X.reshape(-1, 8, 8))
    assert_allclose(images.decision_function(view), rows.decision_function(X))


def test_constant_columns_are_divided_by_one(rng):
    X = np.column_stack([rng.random((50, 2)), np.full(50, 0.1), np.zeros(50)])
    ours = SoftmaxClassifier().fit(X.astype(np.float32), np.arange(50) % 2)
    assert_array_equal(ours.scale_[2:], 1)
    assert_array_equal(ours.coef_[0, 2:], 0)


@pytest.mark.parametrize("n_columns", [5, 400])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_penalty_and_columns_that_are_constant(rng, n_columns, dtype):
    X = rng.normal(size=(300, n_columns)).astype(dtype)
    X[:, : n_columns // 2] = 1.0
    y = rng.integers(0, 3, len(X))
    ours = SoftmaxClassifier(C=np.inf, max_iter=30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ours.fit(X, y)
    assert_array_equal(ours.coef_[:, : n_columns // 2], 0.0)
    assert np.isfinite(ours.coef_).all()
    assert ours.loss_curve_[-1] < ours.loss_curve_[0]


def test_no_penalty_and_only_constant_columns_in_a_group(rng, monkeypatch):
    monkeypatch.setattr(solver, "PLAIN_STEPS", 0)
    monkeypatch.setattr(solver, "_is_factor_worthwhile", lambda objective: True)
    monkeypatch.setattr(solver, "_factor_columns", lambda objective: 4)
    X = rng.normal(size=(300, 12))
    X[:, :6] = 1.0
    y = (X[:, 6:].sum(axis=1) + rng.normal(size=300) > 0).astype(int)
    ours = SoftmaxClassifier(C=np.inf, **TIGHT).fit(X, y)
    theirs = logistic(C=np.inf).fit(StandardScaler().fit_transform(X[:, 6:]), y)
    assert_allclose(ours.coef_[:, 6:] * X[:, 6:].std(axis=0), theirs.coef_, rtol=1e-5)


def test_no_penalty_and_classes_that_are_apart_end(rng):
    X = rng.normal(size=(200, 3)).astype(np.float32)
    X[:, 0] += 50 * (np.arange(200) % 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ours = SoftmaxClassifier(C=np.inf, tol=1e-300, max_iter=500)
        ours.fit(X, np.arange(200) % 2)
    assert ours.score(X, np.arange(200) % 2) == 1.0


@pytest.mark.parametrize("factor", [1e18, 1e-15])
def test_the_unit_of_columns_does_not_matter_in_float32(rng, factor):
    X = rng.normal(size=(10_000, 5)).astype(np.float32)
    y = (X @ np.arange(5) + 3 * rng.normal(size=len(X)) > 0).astype(int)
    ours = SoftmaxClassifier().fit(X * np.float32(factor), y)
    expected = SoftmaxClassifier().fit(X, y).predict_proba(X)
    assert_allclose(ours.predict_proba(X * np.float32(factor)), expected, atol=1e-3)


def test_rows_without_weight_may_hold_anything_finite(data):
    X, y = data
    weights = np.r_[0.0, np.ones(len(X) - 1)]
    X = X.astype(np.float64)
    X[0] = 1e36
    ours = SoftmaxClassifier(**TIGHT).fit(X, y, weights)
    expected = SoftmaxClassifier(**TIGHT).fit(X[1:], y[1:])
    assert_allclose(ours.coef_, expected.coef_, atol=1e-8)


def test_one_weight_for_all(data):
    X, y = data
    ours = SoftmaxClassifier(**TIGHT).fit(X, y, 2.0)
    expected = SoftmaxClassifier(**TIGHT).fit(X, y, np.full(len(X), 2.0))
    assert_array_equal(ours.coef_, expected.coef_)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({0: 0.0, 1: 0.0}, "makes all weights zero; pass a positive number"),
        ({0: -1.0, 1: 1.0}, "gives class 0 the weight -1.0; pass a finite number"),
        ({1: np.inf}, "gives class 1 the weight inf; pass a finite number"),
        ({0: np.nan, 1: 1.0}, "gives class 0 the weight nan; pass a finite number"),
        ({0: None, 1: 1.0}, "gives class 0 the weight None; pass a finite number"),
        ({0: 1.0, "1": 2.0}, "has the key '1', which is not a label.* such as 0"),
    ],
)
def test_class_weights_that_cannot_be_used_are_refused(weights, words):
    X, y = np.arange(8.0).reshape(4, 2), [0, 1, 0, 1]
    with pytest.raises(ValueError, match=f"class_weight.* {words}"):
        SoftmaxClassifier(class_weight=weights).fit(X, y)


@pytest.mark.parametrize("labels", [["a", "b"], [0.0, 1.0], [False, True], "dates"])
def test_class_weights_belong_to_labels_of_any_kind(data, labels):
    X, y = data[0], data[1] % 2
    if labels == "dates":
        labels = np.array(["2026-01-01", "2026-01-02"], "M8[ns]")
    class_weight = dict(zip(labels, [5.0, 1.0], strict=True))
    ours = SoftmaxClassifier(class_weight=class_weight).fit(X, np.array(labels)[y])
    expected = SoftmaxClassifier(class_weight={0: 5.0, 1: 1.0}).fit(X, y)
    assert_array_equal(ours.coef_, expected.coef_)


@pytest.mark.parametrize("unit", [1e-300, 1e-46, 1e-30, 1e17, 1e46, 1e300])
@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_unit_of_weights_does_not_matter(data, unit, by_class, dtype, rng):
    X, y = data[0].astype(dtype), data[1] % 2
    weights = rng.uniform(0.5, 2, len(X))
    expected = SoftmaxClassifier(C=0.3).fit(X, y, weights)
    if by_class:
        ours = SoftmaxClassifier(C=0.3 / unit, class_weight={0: unit, 1: unit})
        ours.fit(X, y, weights)
    else:
        ours = SoftmaxClassifier(C=0.3 / unit).fit(X, y, weights * unit)
    assert_allclose(ours.scale_, expected.scale_, rtol=1e-6)
    assert_allclose(ours.coef_, expected.coef_, rtol=2e-3, atol=1e-5)


def test_a_penalty_that_overflows_leaves_no_coefficients(data):
    X, y = data
    ours = SoftmaxClassifier(C=1e-300).fit(X, y, np.full(len(X), 1e-300))
    assert_allclose(ours.coef_, 0, atol=1e-200)


def test_more_columns_than_rows(rng):
    X, y = rng.normal(size=(30, 3000)), np.arange(30) % 3
    ours = SoftmaxClassifier(C=0.1, **TIGHT).fit(X, y)
    scaled = StandardScaler().fit_transform(X)
    theirs = LogisticRegression(C=0.1, tol=1e-10, max_iter=10_000).fit(scaled, y)
    assert_allclose(ours.coef_ * ours.scale_, theirs.coef_, atol=1e-6)


# what must not matter


def test_batches_do_not_matter(data, monkeypatch):
    X, y = data
    expected = SoftmaxClassifier(C=0.1).fit(X, y)
    monkeypatch.setattr("skdmn.data.sizes.CACHE_BYTES", 5000)
    found = SoftmaxClassifier(C=0.1).fit(X, y)
    assert_allclose(found.predict_proba(X), expected.predict_proba(X), atol=1e-8)


def test_weights_are_repetitions_and_zero_is_absence(data, rng):
    X, y = data
    weights = rng.integers(0, 3, len(y))
    weighted = SoftmaxClassifier(**TIGHT).fit(X, y, weights)
    repeated = SoftmaxClassifier(**TIGHT)
    repeated.fit(np.repeat(X, weights, axis=0), np.repeat(y, weights))
    assert_allclose(weighted.coef_, repeated.coef_, atol=1e-6)
    assert_allclose(weighted.mean_, repeated.mean_)


@pytest.mark.usefixtures("sampled")
def test_order_of_rows_and_names_of_classes_do_not_matter(data, rng):
    X, y = data
    order = rng.permutation(len(y))
    names = np.array([f"class {9 - k}" for k in range(10)])
    ours = SoftmaxClassifier(C=0.1, **TIGHT).fit(X, y)
    other = SoftmaxClassifier(C=0.1, **TIGHT).fit(X[order], names[y][order])
    assert_array_equal(other.classes_, np.unique(names[y]))
    assert_array_equal(other.predict(X), names[ours.predict(X)])
    found = other.predict_proba(X)[:, ::-1]
    assert_allclose(found, ours.predict_proba(X), atol=1e-6)


# ends and beginnings


def test_warm_start_goes_on(data):
    X, y = data
    warm = SoftmaxClassifier(C=0.1, warm_start=True).fit(X, y)
    cold = warm.loss_curve_
    warm.set_params(C=0.11).fit(X, y)
    assert warm.n_iter_ < len(cold) / 2
    assert warm.loss_curve_[0] < cold[0] / 1.5
    best = SoftmaxClassifier(C=0.11, **TIGHT).fit(X, y)
    assert warm.loss_curve_[-1] < best.loss_curve_[-1] * (1 + 1e-4)


@pytest.mark.parametrize("factor", [1e9, 1e150])
def test_warm_start_begins_anew_if_the_last_solution_is_worse_than_chance(data, factor):
    X, y = data
    warm = SoftmaxClassifier(C=0.1, warm_start=True).fit(X, y)
    loss = warm.loss_curve_[-1]
    warm.coef_ = warm.coef_ * factor
    assert warm.fit(X, y).loss_curve_[-1] < loss * (1 + 1e-3)


def test_warm_start_begins_anew_where_the_shape_is_another(data):
    X, y = data
    warm = SoftmaxClassifier(warm_start=True).fit(X, y)
    expected = SoftmaxClassifier().fit(X[:, ::2], y)
    assert_array_equal(warm.fit(X[:, ::2], y).coef_, expected.coef_)
    expected = SoftmaxClassifier().fit(X, y + 1)
    assert_array_equal(warm.fit(X, y + 1).coef_, expected.coef_)


def test_too_few_iterations_are_a_warning(data):
    X, y = data
    with pytest.warns(ConvergenceWarning, match="stopped after 2 .* raise max_iter=2"):
        ours = SoftmaxClassifier(max_iter=2).fit(X, y)
    assert ours.n_iter_ == 2


def test_a_warning_does_not_contradict_itself():
    """The estimate may be below the tolerance before the objective converges."""
    told = set()
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(30, 3)) * 10.0 ** rng.uniform(-12, 12, 3)
        y = rng.integers(0, 2, 30)
        ours = SoftmaxClassifier(C=1e14, standardize=False, max_iter=5)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            ours.fit(X, y)
        for warning in caught:
            message = str(warning.message)
            told.add("before the objective converged" in message)
            assert "raise max_iter=5" in message
            if "above tol" in message:
                estimate = float(re.search(r"suboptimality of (\S+),", message)[1])
                assert estimate >= ours.tol
    assert True in told


def test_more_precision_than_there_is_ends(data):
    X, y = data
    ours = SoftmaxClassifier(C=0.1, tol=0, max_iter=5000).fit(X.astype("float32"), y)
    assert ours.n_iter_ < 5000


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_a_fit_that_fails_changes_nothing(data, monkeypatch, error):
    X, y = data
    ours = SoftmaxClassifier().fit(X, y)
    before = vars(ours).copy()

    def fail(*args):
        raise error

    monkeypatch.setattr("skdmn.linear_model.softmax.minimize", fail)
    with pytest.raises(error):
        ours.fit(X[:, ::2], y + 1)
    assert vars(ours) == before


def test_not_fitted():
    with pytest.raises(NotFittedError):
        SoftmaxClassifier().predict(np.ones((2, 2)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": [1, 1, 1, 1]}, "one class only, 1"),
        ({"y": [0, 1]}, "4 samples, but y has 2"),
        ({"y": [0.1, 0.5, 0.2, 0.7]}, "continuous"),
        ({"y": None}, "requires y"),
        ({"X": np.full((4, 2), np.nan)}, "NaN"),
        ({"X": np.full((4, 2), 1e30, np.float32) * [1, 2]}, None),
        ({"X": np.ones(4)}, "Reshape your data"),
        ({"X": np.ones((4, 0))}, r"0 feature\(s\) \(shape=\(4, 0\)\)"),
        ({"X": np.zeros((4, 2), "M8[s]")}, "dtype"),
        ({"sample_weight": [1, 1, -1, 1]}, "[Nn]egative"),
        ({"sample_weight": [1, 1]}, "sample_weight"),
    ],
)
def test_what_cannot_be_fitted_is_said(change, message):
    data = {"X": np.eye(4)[:, :2], "y": [0, 1, 0, 1]} | change
    if message is None:  # large, and fine in float64
        SoftmaxClassifier().fit(**data)
        return
    with pytest.raises(ValueError, match=message):
        SoftmaxClassifier().fit(**data)


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 4)])
def test_another_number_of_features_is_said(shape):
    ours = SoftmaxClassifier().fit(np.eye(4)[:, :3], [0, 1, 0, 1])
    with pytest.raises(ValueError, match=r"features, but SoftmaxClassifier.* 3 "):
        ours.predict(np.ones(shape))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "predict_log_proba", "decision_function"]
)
def test_rows_whose_scores_overflow_are_refused(data, dtype, method):
    X, y = data
    ours = SoftmaxClassifier().fit(X, y)
    huge = np.full((3, X.shape[1]), np.finfo(dtype).max)
    with pytest.raises(
        ValueError, match=f"rows 0 to 2, or values too large for {dtype}"
    ):
        getattr(ours, method)(huge.astype(dtype))
