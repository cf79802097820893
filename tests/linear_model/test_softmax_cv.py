"""SoftmaxClassifierCV against cross_val_score, and what it promises of its own."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.callback import ProgressBar
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import get_scorer, log_loss, make_scorer
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    ShuffleSplit,
    StratifiedKFold,
    TimeSeriesSplit,
    cross_val_score,
)

from skdmn import SoftmaxClassifier, SoftmaxClassifierCV
from skdmn.linear_model import softmax_cv
from skdmn.linear_model.folds import Folds

TIGHT = {"tol": 1e-11, "max_iter": 1000}
CS = [0.03, 1.0]


@pytest.fixture(params=["digits", "cancer"])
def data(request):
    """Return rows of 10 and 2 classes; columns of cancer differ by a factor of 1e5."""
    load = load_digits if request.param == "digits" else load_breast_cancer
    X, y = load(return_X_y=True)
    return X[:150, :24], y[:150]


@pytest.fixture
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:150, 20:36].astype(np.float32), y[:150]


def slow_scores(X, y, Cs, cv, scoring="neg_log_loss", fit=None, **settings):
    """Return the scores of clones that are fitted on the rows of each fold."""
    columns = [
        cross_val_score(
            SoftmaxClassifier(C, **settings, **TIGHT),
            *(X, y),
            cv=cv,
            scoring=scoring,
            params=fit,
        )
        for C in Cs
    ]
    return np.stack(columns, axis=1)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"standardize": False},
        {"fit_intercept": False},
        {"standardize": False, "fit_intercept": False},
        {"class_weight": "balanced"},
    ],
    ids=str,
)
def test_scores_are_those_of_fits_of_each_fold(data, settings):
    X, y = data
    if not settings.get("standardize", True):
        X = X / X.std()
    cv = StratifiedKFold(3, shuffle=True, random_state=0)
    ours = SoftmaxClassifierCV(
        CS, cv=cv, scoring="neg_log_loss", **settings, **TIGHT
    ).fit(X, y)
    expected = slow_scores(X, y, CS, cv, **settings)
    assert_allclose(ours.scores_, expected, rtol=1e-3)
    best = CS[expected.mean(axis=0).argmax()]
    assert best == ours.C_
    whole = SoftmaxClassifier(best, **settings, **TIGHT).fit(X, y)
    scale = np.abs(whole.coef_).max()
    assert_allclose(ours.coef_, whole.coef_, atol=1e-3 * scale)
    assert_allclose(ours.predict_proba(X), whole.predict_proba(X), atol=1e-4)
    assert_allclose(ours.loss_curve_[-1], whole.loss_curve_[-1])


@pytest.mark.parametrize(
    "cv",
    [
        KFold(3, shuffle=True, random_state=1),
        ShuffleSplit(4, test_size=0.3, train_size=0.4, random_state=0),
        TimeSeriesSplit(2),
        [(np.tile(np.arange(0, 150, 2), 2), np.arange(1, 150, 7)[::-1])],
        [(np.arange(150) % 3 > 0, np.arange(150) % 3 == 0)],
    ],
    ids=["KFold", "overlapping", "TimeSeries", "repeated rows", "masks"],
)
def test_any_splitter(digits, cv):
    X, y = digits
    ours = SoftmaxClassifierCV(CS, cv=cv, scoring="accuracy", **TIGHT).fit(X, y)
    assert_allclose(ours.scores_, slow_scores(X, y, CS, cv, "accuracy"), atol=0.02)


def test_a_feature_that_is_constant_in_a_fold_has_the_scale_of_a_clone(digits):
    X, y = digits
    X = X + 1000
    X[:, 3] = 1e4 / 3
    X[0, 3] = 7.7
    cv = [(np.arange(1, 150), np.arange(60)), (np.arange(149), np.arange(75, 150))]
    settings = {"cv": cv, "scoring": "neg_log_loss"}
    ours = SoftmaxClassifierCV(CS, **settings, **TIGHT).fit(X, y)
    assert_allclose(ours.scores_, slow_scores(X, y, CS, **settings), rtol=1e-3)


def test_moments_of_bright_features_lose_no_digits(digits):
    X, y = digits
    bright = X.astype(np.float64) + 1e8
    ours, expected = (
        SoftmaxClassifierCV(CS, cv=4, scoring="neg_log_loss", **TIGHT).fit(rows, y)
        for rows in (bright, X.astype(np.float64))
    )
    assert_allclose(ours.scores_, expected.scores_, rtol=1e-4)


def test_sample_weights_are_used_in_folds_and_scores(digits, rng):
    X, y = digits
    weights = rng.integers(0, 3, len(y)).astype(float)
    cv = StratifiedKFold(3)
    ours = SoftmaxClassifierCV(CS, cv=cv, scoring="accuracy", **TIGHT)
    ours.fit(X, y, weights)
    for fold, (train, test) in enumerate(cv.split(X, y)):
        for column, C in enumerate(CS):
            model = SoftmaxClassifier(C, **TIGHT).fit(
                X[train], y[train], weights[train]
            )
            expected = model.score(X[test], y[test], weights[test])
            assert ours.scores_[fold, column] == pytest.approx(expected, abs=0.02)
    whole = SoftmaxClassifier(ours.C_, **TIGHT).fit(X, y, weights)
    assert_allclose(ours.coef_, whole.coef_, atol=1e-3)


def test_many_folds_are_computed_in_batches(digits, monkeypatch):
    X, y = digits
    whole = SoftmaxClassifierCV(CS, cv=4, **TIGHT).fit(X, y)
    monkeypatch.setattr(softmax_cv, "OUTPUTS", 25)
    parts = SoftmaxClassifierCV(CS, cv=4, **TIGHT).fit(X, y)
    assert_array_equal(parts.scores_, whole.scores_)
    assert parts.n_passes_ > whole.n_passes_


# the grid


def test_default_grid_does_not_depend_on_units(digits):
    X, y = digits
    ours = [SoftmaxClassifierCV(4, cv=2).fit(rows, y) for rows in (X, 1000 * X + 5)]
    assert_allclose(ours[0].Cs_, ours[1].Cs_, rtol=1e-4)
    ratios = ours[0].Cs_[1:] / ours[0].Cs_[:-1]
    assert_allclose(ratios, ratios[0])
    raw = [
        SoftmaxClassifierCV(4, cv=2, standardize=False).fit(rows, y)
        for rows in (X, 10 * X)
    ]
    assert_allclose(raw[0].Cs_, 100 * raw[1].Cs_, rtol=1e-4)


@pytest.mark.parametrize(("low", "high"), [(1e-6, 1e-4), (1e5, 1e6)])
def test_default_grid_is_extended_until_the_best_is_inside(
    digits, monkeypatch, low, high
):
    monkeypatch.setattr(softmax_cv, "LOWEST", low)
    monkeypatch.setattr(softmax_cv, "HIGHEST", high)
    ours = SoftmaxClassifierCV(2, cv=3, scoring="neg_log_loss").fit(*digits)
    assert 3 <= len(ours.Cs_) <= 2 + softmax_cv.EXTENSIONS
    norm = np.ptp(digits[0], axis=0).astype(bool).sum()
    assert low / 1001 < ours.Cs_[0] * norm
    assert ours.Cs_[-1] * norm < 1001 * high
    assert_allclose(np.diff(np.log(ours.Cs_)), np.log(high / low))
    means = ours.scores_.mean(axis=0)
    assert ours.Cs_[means.argmax()] == ours.C_
    assert (ours.Cs_[0] * norm < low / 2) == (low > 1)


def test_given_values_are_taken_as_they_are(digits):
    Cs = [1.0, 1e-3, np.inf, 1.0]
    ours = SoftmaxClassifierCV(Cs, cv=2, tol=1e-3).fit(*digits)
    assert_array_equal(ours.Cs_, Cs)
    assert ours.scores_.shape == (2, 4)
    assert_array_equal(ours.scores_[:, 0], ours.scores_[:, 3])
    assert Cs[ours.scores_.mean(axis=0).argmax()] == ours.C_
    alone = SoftmaxClassifierCV(1, cv=2).fit(*digits)
    assert len(alone.Cs_) == 1


@pytest.mark.parametrize(
    "Cs", [[], [0.0], [-1.0], [[1.0]], [np.nan], {}, ["x"]], ids=str
)
def test_values_that_are_no_strengths_are_refused(digits, Cs):
    with pytest.raises(ValueError, match="positive numbers"):
        SoftmaxClassifierCV(Cs).fit(*digits)


# options


def test_without_refit_the_best_models_of_the_folds_are_averaged(digits):
    X, y = digits
    ours = SoftmaxClassifierCV(
        [1e-5, 0.1, 1.0], cv=3, refit=False, store_coefs_paths=True
    ).fit(X, y)
    assert ours.coefs_paths_.shape == (3, 3, 10, X.shape[1] + 1)
    best = ours.scores_.argmax(axis=1)
    mean = ours.coefs_paths_[np.arange(3), best].mean(axis=0)
    assert_allclose(ours.coef_, mean[:, :-1])
    assert_allclose(ours.intercept_, mean[:, -1])
    assert pytest.approx(ours.Cs_[best].mean()) == ours.C_
    assert ours.n_iter_ == 0
    assert len(ours.loss_curve_) == 1
    assert not hasattr(
        ours.set_params(store_coefs_paths=False).fit(X, y), "coefs_paths_"
    )


def test_stored_paths_are_the_models_of_the_folds(data):
    X, y = data
    cv = StratifiedKFold(2)
    ours = SoftmaxClassifierCV(CS, cv=cv, store_coefs_paths=True, **TIGHT).fit(X, y)
    train, _ = next(cv.split(X, y))
    model = SoftmaxClassifier(CS[1], **TIGHT).fit(X[train], y[train])
    found = ours.coefs_paths_[0, 1]
    expected = np.column_stack([model.coef_, model.intercept_])
    assert_allclose(found, expected, atol=3e-3 * np.abs(expected).max())


class Sees:
    """A scorer that is no scorer of scikit-learn's."""

    def __call__(self, estimator, X, y):
        assert type(estimator) is SoftmaxClassifier
        assert estimator.C in CS
        assert X.shape[1:] == (6, 4)
        return -log_loss(y, estimator.predict_proba(X), labels=estimator.classes_)


def test_a_scorer_of_ones_own_sees_a_fitted_model_and_the_rows(data):
    X, y = data
    images = X.reshape(-1, 6, 4)
    ours, expected = (
        SoftmaxClassifierCV(CS, cv=3, scoring=scoring).fit(images, y)
        for scoring in (Sees(), "neg_log_loss")
    )
    assert_allclose(ours.scores_, expected.scores_, rtol=1e-5)
    assert expected.score(images, y) == get_scorer("neg_log_loss")(expected, images, y)


def test_scorers_know_classes_that_a_fold_lacks(digits):
    X, y = digits
    order = np.argsort(y == 3, kind="stable")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = SoftmaxClassifierCV(
            [0.1], cv=KFold(3), scoring="neg_log_loss", tol=1e-3
        ).fit(X[order], y[order])
    assert np.isfinite(ours.scores_).all()


def test_texts_as_labels_of_two_classes_with_f1(data):
    X, y = data
    names = np.where(y > 0, "yes", "no")
    ours = SoftmaxClassifierCV(CS, cv=2, scoring="f1", tol=1e-3).fit(X, names)
    assert (ours.scores_ > 0.8).all()
    assert set(ours.predict(X)) <= {"yes", "no"}


def test_the_same_choice_as_logistic_regression_cv(digits):
    X, y = digits
    X = (X - X.mean(axis=0)) / (X.std(axis=0) + (X.std(axis=0) == 0))
    Cs = [1e-3, 1e-2, 0.1]
    cv = StratifiedKFold(3)
    theirs = LogisticRegressionCV(
        Cs=Cs,
        cv=cv,
        l1_ratios=(0,),
        scoring="neg_log_loss",
        tol=1e-6,
        max_iter=300,
        use_legacy_attributes=False,
    ).fit(X, y)
    ours = SoftmaxClassifierCV(
        Cs, cv=cv, scoring="neg_log_loss", standardize=False, **TIGHT
    ).fit(X, y)
    assert_allclose(ours.scores_, theirs.scores_[:, 0], rtol=1e-3)
    assert ours.C_ == theirs.C_
    assert_allclose(ours.coef_, theirs.coef_, atol=1e-3)


def test_metadata_are_routed_to_splitter_and_scorer(digits):
    X, y = digits
    groups = np.arange(len(y)) % 4
    weights = np.where(groups == 0, 1.0, 2.0)
    with pytest.raises(ValueError, match="enable_metadata_routing"):
        SoftmaxClassifierCV(CS, cv=GroupKFold(2)).fit(X, y, groups=groups)
    with config_context(enable_metadata_routing=True):
        scorer = get_scorer("accuracy").set_score_request(sample_weight=True)
        ours = SoftmaxClassifierCV(CS, cv=GroupKFold(2), scoring=scorer)
        ours.set_fit_request(sample_weight=False)
        with pytest.raises(TypeError, match="other"):
            ours.fit(X, y, other=weights)
        ours.set_fit_request(sample_weight=True)
        ours.fit(X, y, sample_weight=weights, groups=groups)
    assert ours.scores_.shape == (2, 2)
    expected = SoftmaxClassifierCV(CS, cv=list(GroupKFold(2).split(X, y, groups)))
    assert_array_equal(ours.scores_, expected.fit(X, y, weights).scores_)


# messages


def test_folds_that_cannot_be_fitted_are_refused(digits):
    X, y = digits
    order = np.argsort(y == 3, kind="stable")
    with pytest.raises(ValueError, match=r"fold 2 of cv=KFold.* 1 class only"):
        SoftmaxClassifierCV(cv=KFold(2)).fit(X[order], np.sort(y == 3))
    with pytest.raises(ValueError, match="0 test rows"):
        SoftmaxClassifierCV(cv=[(np.arange(50), [])]).fit(X, y)
    with pytest.raises(ValueError, match="no folds"):
        SoftmaxClassifierCV(cv=[]).fit(X, y)


def test_folds_that_do_not_converge_are_told(digits):
    with pytest.warns(ConvergenceWarning) as told:
        SoftmaxClassifierCV([0.1, 10.0], cv=2, max_iter=2, tol=1e-9).fit(*digits)
    texts = [str(one.message) for one in told]
    assert any("in the folds for C=0.1, 10" in text for text in texts)
    assert all(text.startswith("SoftmaxClassifierCV") for text in texts)


class Recorder:
    def __init__(self, stop_after=10**6):
        self.told, self.stop_after, self.n = [], stop_after, 0

    def setup(self, estimator, context):
        pass

    teardown = setup

    def on_fit_task_begin(self, estimator, context):
        self.told.append(context.task_name)

    def on_fit_task_end(self, estimator, context):
        self.n += context.task_name == "C"
        return context.task_name == "C" and self.n >= self.stop_after


def test_callbacks_see_every_value_and_may_stop(digits, capsys, without_logging):
    recorder = Recorder(stop_after=2)
    ours = SoftmaxClassifierCV([0.01, 0.1, 1.0], cv=2, verbose=True)
    with without_logging():
        ours.set_callbacks(recorder).fit(*digits)
    assert_array_equal(ours.Cs_, [0.01, 0.1])
    assert recorder.told[:4] == ["fit", "search", "C", "C"]
    assert recorder.told[4:6] == ["refit", "iteration"]
    assert recorder.told.count("iteration") == ours.n_iter_ + 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("[SoftmaxClassifierCV] C=0.01 scores 0.")
    assert lines[-1].startswith("[SoftmaxClassifierCV] loss")


def test_scikit_learns_progress_bar(digits, capsys):
    pytest.importorskip("rich", reason="ProgressBar prints with rich")
    SoftmaxClassifierCV(2, cv=2, tol=1e-2).set_callbacks(ProgressBar()).fit(*digits)
    assert "SoftmaxClassifierCV" in capsys.readouterr().out


def test_scores_that_are_no_numbers_are_never_the_best(digits):
    def odd(y, predicted):
        odd.n += 1
        return np.nan if odd.n == 1 else 0.5

    odd.n = 0
    ours = SoftmaxClassifierCV(CS, cv=2, scoring=make_scorer(odd)).fit(*digits)
    assert np.isnan(ours.scores_[0, 0])
    assert CS[1] == ours.C_


def test_gradient_of_folds_is_that_of_their_objectives(digits, rng):
    X, y = digits
    softmax = SoftmaxClassifierCV(CS, cv=3)
    rows, _ = softmax._check_rows(X, reset=True)
    classes, codes = softmax._check_labels(y, len(y))
    splits = softmax._splits(X, y, {})
    _, objectives = softmax._objectives(
        *(rows, classes, codes, np.ones(len(y)), splits)
    )
    folds = Folds.of(objectives)
    iterate = rng.normal(size=(30, X.shape[1] + 1))
    value, gradient = folds(iterate)
    alone = [
        one(part) for one, part in zip(objectives, np.split(iterate, 3), strict=True)
    ]
    assert value == pytest.approx(np.mean([v for v, _ in alone]), rel=1e-5)
    expected = np.concatenate([g for _, g in alone]) / 3
    assert_allclose(gradient, expected, atol=1e-5)
