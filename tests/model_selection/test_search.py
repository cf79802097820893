"""Searches that share work, compared with scikit-learn's, which fit every setting."""

import tracemalloc
import warnings

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import loguniform, randint
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, get_scorer, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    ParameterGrid,
    RandomizedSearchCV,
)
from sklearn.model_selection._search_successive_halving import HalvingGridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skdmn import (
    ChannelStandardScaler,
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    FlattenTransformer,
    MaxPool2DTransformer,
    SoftmaxClassifier,
    WhitenedPCAPatchTransformer,
    make_dmn,
    recommended_dmn,
)
from skdmn.model_selection import (
    CutoffSearchCV,
    HalvingCutoffSearchCV,
    RandomizedCutoffSearchCV,
    fold,
)
from skdmn.statistics.density import DensityAccumulator

ROWS, Y = load_digits(n_class=4, return_X_y=True)
X, Y = ROWS[:90].reshape(-1, 8, 8).astype(np.float32), Y[:90]
SOFTMAX = SoftmaxClassifier(C=0.1, tol=1e-9)


def conv(**parameters):
    return ClassPCAPatchTransformer(variance_cutoff=0.99, **parameters)


ONE_LAYER = Pipeline(
    [("conv", conv()), ("pool", MaxPool2DTransformer(3)), ("softmax", SOFTMAX)]
)
TWO_LAYERS = Pipeline(
    [
        ("conv1", conv(n_filters=4)),
        ("pool1", MaxPool2DTransformer(2)),
        ("scale", ChannelStandardScaler()),
        ("conv2", conv(kernel_size=2, n_filters=5)),
        ("flatten", FlattenTransformer()),
        ("softmax", SOFTMAX),
    ]
)
NETWORK = make_pipeline(
    DensityMatrixNetwork(
        [("conv", WhitenedPCAPatchTransformer(4, n_filters=6, position_grid=2))],
        mirrored=True,
    ),
    SOFTMAX,
)
FOREIGN = Pipeline(
    [
        ("net", DensityMatrixNetwork([("conv", conv()), ("pool", conv(n_filters=3))])),
        ("scale", StandardScaler()),
        ("classifier", LogisticRegression()),
    ]
)

# estimators, and values of their parameters to draw grids from
SEARCHED = [
    (
        ONE_LAYER,
        {
            "conv__n_filters": [1, 3, 5, None],
            "conv__correlation_cutoff": [0.3, 0.7, 1.0],
            "conv__variance_cutoff": [0.5, 0.9, 0.999],
            "conv__signs": ["one", "both"],
            "conv__kernel_size": [2, 3, (1, 3)],
            "conv__padding": ["same", "valid"],
            "conv__activation": [None, "relu"],
            "pool__pool_size": [2, 3],
            "pool": [MaxPool2DTransformer(4), "passthrough"],
            "softmax__C": [0.01, 0.1, 1.0],
            "softmax__standardize": [True, False],
        },
    ),
    (
        TWO_LAYERS,
        {
            "conv1__n_filters": [2, 4],
            "conv1__signs": ["one", "both"],
            "scale__with_mean": [True, False],
            "conv2__n_filters": [2, 5],
            "conv2__kernel_size": [1, 2],
            "softmax__C": [0.01, 0.1],
            "softmax": [SOFTMAX, LogisticRegression(C=0.1)],
        },
    ),
    (
        NETWORK,
        {
            "densitymatrixnetwork__conv__n_filters": [2, 6],
            "densitymatrixnetwork__conv__threshold": [0.0, 0.5],
            "densitymatrixnetwork__conv__regularization": [0.1, 0.3],
            "densitymatrixnetwork__conv__correlation_cutoff": [0.5, 0.9],
            "densitymatrixnetwork__mirrored": [True, False],
            "softmaxclassifier__C": [0.01, 0.1],
        },
    ),
    (
        FOREIGN,
        {
            "net__conv__n_filters": [2, 3],
            "net__pool__n_filters": [1, 3],
            "scale__with_std": [True, False],
            "classifier__C": [0.1, 1.0],
        },
    ),
]


@pytest.fixture
def alone(monkeypatch):
    """Return a list of the settings that are fitted one by one."""
    found = []
    evaluate = fold._Fold._evaluate_alone

    def evaluate_alone(self, number):
        found.append(number)
        evaluate(self, number)

    monkeypatch.setattr(fold._Fold, "_evaluate_alone", evaluate_alone)
    return found


def check_equal(shared, plain):
    """Compare all results of two searches but times."""
    assert shared.cv_results_.keys() == plain.cv_results_.keys()
    assert shared.cv_results_["params"] == plain.cv_results_["params"]
    for key, value in plain.cv_results_.items():
        if key.startswith(("split", "mean_t", "std_t")):
            found = shared.cv_results_[key]
            assert_allclose(found, value, rtol=1e-5, atol=1e-6, err_msg=key)
        elif key.startswith("rank"):
            assert_array_equal(shared.cv_results_[key], value)


@st.composite
def searches(draw, most):
    estimator, values = draw(st.sampled_from(SEARCHED))
    known = st.sampled_from(sorted(values))
    names = draw(st.lists(known, min_size=1, max_size=most, unique=True))
    return estimator, {
        name: draw(st.lists(st.sampled_from(values[name]), min_size=1, max_size=2))
        for name in names
    }


def compare(estimator, grid):
    how = {"cv": 2, "refit": False, "return_train_score": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of LogisticRegression
        shared = CutoffSearchCV(estimator, grid, **how).fit(X, Y)
        check_equal(shared, GridSearchCV(estimator, grid, **how).fit(X, Y))


# fails in both searches in some grids: `pool` is replaced, and then has no pool_size
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
@pytest.mark.filterwarnings("ignore:One or more of the t:UserWarning")
@settings(max_examples=4, deadline=None, derandomize=True)
@given(searches(most=2))
def test_results_are_those_of_a_plain_search(search):
    compare(*search)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
@pytest.mark.filterwarnings("ignore:One or more of the t:UserWarning")
@settings(max_examples=500, deadline=None)
@given(searches(most=3))
def test_results_are_those_of_a_plain_search_for_many_grids(search):
    compare(*search)


@pytest.mark.parametrize(
    ("estimator", "grid"),
    [
        (ONE_LAYER, {"conv__n_filters": [1, 3], "conv__signs": ["one", "both"]}),
        (ONE_LAYER[1:], {"pool__pool_size": [2, 3]}),
        (TWO_LAYERS, {"conv1__n_filters": [2, 4], "conv2__n_filters": [2, 5]}),
        (NETWORK, {"densitymatrixnetwork__conv__n_filters": [2, 6]}),
        (FOREIGN, {"net__conv__n_filters": [2, 3], "scale__with_std": [True, False]}),
        (
            make_dmn().set_params(softmax=SOFTMAX),
            {"conv2__correlation_cutoff": [0.5, 0.9]},
        ),
        (
            recommended_dmn((8, 8), n_filters=9).set_params(softmax=SOFTMAX),
            {"features__pool__power": [0.5, 1.0]},
        ),
    ],
    ids=[
        "one layer",
        "pooling",
        "two layers",
        "network",
        "foreign",
        "make_dmn",
        "recommended",
    ],
)
def test_every_setting_shares_and_scores_as_if_alone(alone, estimator, grid):
    how = {"cv": 2, "refit": False}
    shared = CutoffSearchCV(estimator, grid, **how).fit(X, Y)
    assert not alone
    check_equal(shared, GridSearchCV(estimator, grid, **how).fit(X, Y))


@pytest.fixture
def seen(monkeypatch):
    """Return a list of the numbers of images that are added to density matrices."""
    found = []
    update = DensityAccumulator.update

    def counted(self, images, labels):
        found.append(len(images))
        return update(self, images, labels)

    monkeypatch.setattr(DensityAccumulator, "update", counted)
    return found


def test_statistics_are_computed_once_for_each_fold_and_kernel_size(seen):
    grid = {
        "conv__kernel_size": [2, 3],
        "conv__n_filters": [2, 4, None],
        "conv__correlation_cutoff": [0.5, 0.9],
        "conv__signs": ["one", "both"],
        "softmax__C": [0.1, 1.0],
    }
    CutoffSearchCV(ONE_LAYER, grid, cv=3, refit=False).fit(X, Y)
    assert sum(seen) == 2 * 3 * 60


def test_features_are_computed_once_for_all_settings(monkeypatch):
    computed = []
    original = fold._computed

    def counted(variant, operations, data):
        computed.append(len(operations[0].filters))
        return original(variant, operations, data)

    monkeypatch.setattr(fold, "_computed", counted)
    grid = {"conv__n_filters": [1, 2, 4], "softmax__C": [0.1, 1.0]}
    CutoffSearchCV(ONE_LAYER, grid, cv=2, refit=False).fit(X, Y)
    assert computed == [4] * 4  # training and test images of two folds


def test_a_union_that_does_not_fit_is_computed_in_parts(monkeypatch):
    grid = {"conv__n_filters": [1, 2, 4, 8], "conv__variance_cutoff": [1.0]}
    how = {"cv": 2, "refit": False}
    expected = CutoffSearchCV(ONE_LAYER, grid, **how).fit(X, Y)
    sizes = []
    original = fold._computed

    def measured(variant, operations, data):
        found = original(variant, operations, data)
        sizes.append(found.nbytes)
        return found

    monkeypatch.setattr(fold, "_computed", measured)
    budget = 90 * 2 * 2 * 3 * 4  # bytes of 90 images with 2 x 2 positions and 3 filters
    with config_context(working_memory=2 * budget / 2**20):
        found = CutoffSearchCV(ONE_LAYER, grid, **how).fit(X, Y)
    check_equal(found, expected)
    per_part = np.add(sizes[::2], sizes[1::2]).reshape(2, -1)
    # 1 and 2 filters together, and 4 and 8 alone, which are larger than the budget
    assert_array_equal(per_part // (90 * 2 * 2 * 4), [[2, 4, 8]] * 2)


def test_memory_beside_the_images_is_bounded():
    images = np.random.default_rng(0).normal(size=(1000, 10, 10)).astype(np.float32)
    labels = np.arange(1000) % 2
    layer = ClassPCAPatchTransformer(variance_cutoff=1.0, correlation_cutoff=1.0)
    two = Pipeline(
        [
            ("conv1", layer),
            ("conv2", clone(layer).set_params(kernel_size=2)),
            ("classifier", DummyClassifier()),  # which needs no memory itself
        ]
    )
    numbers = [4, 7, 10]
    grid = {"conv1__n_filters": numbers, "conv2__n_filters": numbers}

    def peak(budget):
        """Return the MiB that a search allocates at most."""
        tracemalloc.start()
        try:
            with config_context(working_memory=budget):
                CutoffSearchCV(two, grid, cv=2, refit=False).fit(images, labels)
            return tracemalloc.get_traced_memory()[1] / 2**20
        finally:
            tracemalloc.stop()

    assert peak(1024) > 1.15 * 6 > peak(6)


# scores, metadata and failures


def custom_score(estimator, images, labels):
    assert isinstance(estimator, Pipeline)
    assert len(estimator["conv"].filters_) <= 3
    assert images.shape[1:] == (8, 8)
    return {"right": estimator.score(images, labels), "size": len(images)}


@pytest.mark.parametrize(
    ("scoring", "refit"),
    [
        (["accuracy", "neg_log_loss"], "neg_log_loss"),
        ({"a": make_scorer(accuracy_score)}, lambda results: 1),
        (custom_score, "right"),
        ("roc_auc_ovr", True),
        (None, False),
    ],
    ids=["several", "a function chooses", "own function", "name", "no refit"],
)
def test_scoring_and_refit_are_those_of_a_plain_search(scoring, refit):
    grid = {"conv__n_filters": [1, 3], "softmax__C": [0.01, 0.1]}
    how = {"scoring": scoring, "refit": refit, "cv": 2}
    shared = CutoffSearchCV(ONE_LAYER, grid, **how).fit(X, Y)
    plain = GridSearchCV(ONE_LAYER, grid, **how).fit(X, Y)
    check_equal(shared, plain)
    names = ["best_index_", "best_params_", "best_score_", "multimetric_", "n_splits_"]
    for name in names:
        assert hasattr(shared, name) == hasattr(plain, name)
        assert getattr(shared, name, None) == pytest.approx(getattr(plain, name, None))
    if refit:
        assert_array_equal(shared.predict(X), plain.predict(X))
        assert callable(refit) or shared.score(X, Y) == plain.score(X, Y)


def test_the_best_setting_is_fitted_as_if_alone():
    search = CutoffSearchCV(ONE_LAYER, {"conv__n_filters": [2, 3]}, cv=2).fit(X, Y)
    alone = clone(ONE_LAYER).set_params(**search.best_params_).fit(X, Y)
    assert_array_equal(search.best_estimator_["softmax"].coef_, alone["softmax"].coef_)
    assert search.refit_time_ > 0
    assert_array_equal(search.classes_, [0, 1, 2, 3])


def test_times_add_up_to_that_of_the_search():
    grid = {"conv__n_filters": [1, 3], "softmax__C": [0.01, 0.1]}
    results = CutoffSearchCV(ONE_LAYER, grid, cv=2, refit=False).fit(X, Y).cv_results_
    for kind in ("fit", "score"):
        assert (results[f"mean_{kind}_time"] > 0).all()


def test_numbers_of_features_are_those_that_the_classifier_gets():
    grid = {"conv__n_filters": [1, 3], "conv__signs": ["one", "both"]}
    search = CutoffSearchCV(ONE_LAYER, grid, cv=2, refit=False).fit(X, Y)
    assert_array_equal(search.n_features_of_settings_, [4, 8, 12, 24])


def test_a_setting_that_fails_scores_as_in_a_plain_search(alone):
    grid = {"conv__kernel_size": [3, 9], "conv__n_filters": [2, 3]}
    how = {"cv": 2, "error_score": -1.0}
    with pytest.warns(FitFailedWarning, match="4 fits failed"):
        shared = CutoffSearchCV(ONE_LAYER, grid, **how).fit(X, Y)
    with pytest.warns(FitFailedWarning):
        check_equal(shared, GridSearchCV(ONE_LAYER, grid, **how).fit(X, Y))
    assert set(alone) == {2, 3}
    raising = CutoffSearchCV(ONE_LAYER, grid, cv=2, error_score="raise")
    with pytest.raises(ValueError, match="kernel_size=9 is larger than the images"):
        raising.fit(X, Y)


def test_settings_are_fitted_one_by_one_if_what_they_share_fails(alone, monkeypatch):
    def no_memory(*arguments):
        raise MemoryError("a union")

    monkeypatch.setattr(fold, "_computed", no_memory)
    grid = {"conv__n_filters": [2, 3]}
    with pytest.warns(UserWarning, match="one by one.*MemoryError: a union"):
        shared = CutoffSearchCV(ONE_LAYER, grid, cv=2, refit=False).fit(X, Y)
    check_equal(shared, GridSearchCV(ONE_LAYER, grid, cv=2, refit=False).fit(X, Y))
    assert alone == [0, 1, 0, 1]


def test_estimators_that_share_nothing_are_fitted_one_by_one(alone):
    unhashable = Pipeline(
        [("flat", FunctionTransformer(lambda rows: rows[:, :9])), ("softmax", SOFTMAX)]
    )
    for estimator, name in ((unhashable, "softmax__C"), (SOFTMAX, "C")):
        how = {"param_grid": {name: [0.1, 1.0]}, "cv": 2, "refit": False}
        rows = X.reshape(-1, 64)
        shared = CutoffSearchCV(estimator, **how).fit(rows, Y)
        check_equal(shared, GridSearchCV(estimator, **how).fit(rows, Y))
    assert len(alone) == 8


def test_weights_of_samples_reach_the_classifier(alone):
    weights = np.where(Y == 2, 5.0, 0.2)
    grid = {"conv__n_filters": [1, 2], "softmax__C": [0.01, 0.1]}
    how = {"cv": 2, "refit": False, "scoring": "neg_log_loss"}
    fit = {"softmax__sample_weight": weights}
    shared = CutoffSearchCV(ONE_LAYER, grid, **how).fit(X, Y, **fit)
    check_equal(shared, GridSearchCV(ONE_LAYER, grid, **how).fit(X, Y, **fit))
    with config_context(enable_metadata_routing=True):
        routed = clone(ONE_LAYER).set_params(
            softmax=clone(SOFTMAX).set_fit_request(sample_weight=True)
        )
        score = get_scorer("neg_log_loss").set_score_request(sample_weight=False)
        again = CutoffSearchCV(routed, grid, **{**how, "scoring": score})
        again.fit(X, Y, sample_weight=weights)
    check_equal(again, shared)
    assert not alone
    unweighted = CutoffSearchCV(ONE_LAYER, grid, **how).fit(X, Y)
    difference = (
        unweighted.cv_results_["mean_test_score"]
        - shared.cv_results_["mean_test_score"]
    )
    assert (np.abs(difference) > 1e-3).all()


def test_groups_reach_the_splitter():
    grid, groups = {"conv__n_filters": [1, 2]}, np.arange(90) // 15
    how = {"cv": GroupKFold(3), "refit": False}
    shared = CutoffSearchCV(ONE_LAYER, grid, **how).fit(X, Y, groups=groups)
    plain = GridSearchCV(ONE_LAYER, grid, **how).fit(X, Y, groups=groups)
    check_equal(shared, plain)


def test_a_random_search_draws_the_settings_of_scikit_learns():
    drawn = {"conv__n_filters": randint(1, 5), "softmax__C": loguniform(1e-2, 1)}
    how = {"n_iter": 4, "random_state": 0, "cv": 2}
    shared = RandomizedCutoffSearchCV(ONE_LAYER, drawn, **how).fit(X, Y)
    plain = RandomizedSearchCV(ONE_LAYER, drawn, **how).fit(X, Y)
    check_equal(shared, plain)
    assert shared.best_params_ == plain.best_params_


def test_folds_may_be_evaluated_at_the_same_time():
    grid = {"conv__n_filters": [1, 2]}
    alone = CutoffSearchCV(ONE_LAYER, grid, cv=2).fit(X, Y)
    with joblib.parallel_config("threading"):
        both = CutoffSearchCV(ONE_LAYER, grid, cv=2, n_jobs=2).fit(X, Y)
    check_equal(both, alone)


@pytest.mark.parametrize("search", [CutoffSearchCV, HalvingCutoffSearchCV])
def test_an_empty_grid_is_refused(search):
    with pytest.raises(ValueError, match="has 0 settings and 5 folds"):
        search(ONE_LAYER, [], cv=5).fit(X, Y)


def test_a_search_that_fails_keeps_its_results():
    search = CutoffSearchCV(ONE_LAYER, {"conv__n_filters": [1]}, cv=2).fit(X, Y)
    before = vars(search).copy()
    search.set_params(cv=3, error_score="raise", param_grid={"conv__kernel_size": [9]})
    with pytest.raises(ValueError, match="larger than the images"):
        search.fit(X, Y)
    assert (search.n_splits_, search.cv_results_) == (2, before["cv_results_"])


def test_a_factor_that_drops_no_setting_is_refused():
    with pytest.raises(ValueError, match="'factor' parameter"):
        HalvingCutoffSearchCV(ONE_LAYER, {"softmax__C": [1.0]}, factor=1).fit(X, Y)


def test_a_splitter_that_counts_other_folds_is_refused():
    class Splitter(KFold):
        def get_n_splits(self, *arguments, **groups):
            return 3

    with pytest.raises(ValueError, match=r"cv has 2 folds.*returns 3"):
        CutoffSearchCV(ONE_LAYER, {"softmax__C": [1.0]}, cv=Splitter(2)).fit(X, Y)


def test_a_grid_of_another_type_is_refused():
    with pytest.raises(ValueError, match="'param_grid' parameter"):
        CutoffSearchCV(ONE_LAYER, 3).fit(X, Y)


# successive halving

NAIVE = WhitenedPCAPatchTransformer(3, n_filters=4, contrast_floor="auto")


@pytest.mark.parametrize(
    ("estimator", "grid", "how"),
    [
        (ONE_LAYER, {"conv__n_filters": [1, 2, 3], "softmax__C": [0.01, 0.1]}, {}),
        (TWO_LAYERS, {"conv2__n_filters": [1, 2, 3]}, {"return_train_score": False}),
        (make_pipeline(NAIVE, SOFTMAX), {"softmaxclassifier__C": [0.1, 1.0]}, {}),
        (
            clone(ONE_LAYER).set_params(conv__subsample=0.5, conv__random_state=0),
            {"softmax__C": [0.01, 0.1]},
            {"min_resources": 40, "scoring": "neg_log_loss"},
        ),
        (
            ONE_LAYER,
            {"softmax__C": [0.01, 0.1]},
            {"resource": "conv__n_filters", "max_resources": 4},
        ),
    ],
    ids=["one layer", "two layers", "first look", "subsample", "another resource"],
)
def test_halving_is_that_of_scikit_learn(alone, estimator, grid, how):
    how = {"cv": 2, "factor": 2, "random_state": 0, **how}
    shared = HalvingCutoffSearchCV(estimator, grid, **how).fit(X, Y)
    assert not alone
    plain = HalvingGridSearchCV(estimator, grid, **how).fit(X, Y)
    check_equal(shared, plain)
    for name in ("iter", "n_resources"):
        assert_array_equal(shared.cv_results_[name], plain.cv_results_[name])
    names = [name for name in vars(plain) if name.endswith("_")]
    for name in {*names} - {"best_estimator_", "cv_results_", "refit_time_", "scorer_"}:
        assert getattr(shared, name) == pytest.approx(getattr(plain, name)), name
    assert_array_equal(shared.predict(X), plain.predict(X))


def test_iterations_share_the_sums_of_their_images(seen):
    how = {"cv": 2, "factor": 2, "refit": False, "min_resources": 40}
    search = HalvingCutoffSearchCV(
        ONE_LAYER, {"conv__n_filters": [1, 2, 3, 4]}, **how, aggressive_elimination=True
    ).fit(X, Y)
    assert search.n_resources_ == [40, 40, 80]
    assert sum(seen) == 2 * 40  # each training image once


# progress


class Recorder:
    """A callback that counts what it is told."""

    def __init__(self):
        self.events = []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(context.task_name)

    def on_fit_task_end(self, estimator, context):
        self.events.append(f"end of {context.task_name}")


def test_callbacks_are_told_of_every_setting_as_in_a_plain_search():
    grid, recorders = {"conv__n_filters": [1, 2], "softmax__C": [0.1, 1.0]}, []
    for search in (CutoffSearchCV, GridSearchCV):
        recorders.append(Recorder())
        search(ONE_LAYER, grid, cv=2).set_callbacks(recorders[-1]).fit(X, Y)
    shared, plain = (recorder.events for recorder in recorders)
    assert shared == plain
    assert shared.count("end of candidate-split-evaluation") == 8
    halving = Recorder()
    search = HalvingCutoffSearchCV(ONE_LAYER, grid, cv=2, factor=2, refit=False)
    search.set_callbacks(halving).fit(X, Y)
    assert halving.events.count("end of candidate-split-evaluation") == 8 + 4 + 2
    assert halving.events.count("end of halving-iteration") == 3


def test_progress_is_printed(capsys):
    grid = {"conv__n_filters": [1, 2]}
    CutoffSearchCV(ONE_LAYER, grid, cv=2, refit=False, verbose=2).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[CutoffSearchCV] 2 settings, 2 folds"
    assert lines[1].startswith(
        "[CutoffSearchCV] fold 1 of 2, 1 of 2 settings: conv__n_filters=1: score 0."
    )
    assert len(lines) == 6


# warm starts


def test_a_softmax_that_does_not_converge_is_the_same_as_alone():
    short = clone(ONE_LAYER).set_params(softmax__max_iter=3)
    grid = {"conv__n_filters": [1, 2], "softmax__C": [0.01, 0.1]}
    with pytest.warns(ConvergenceWarning):
        shared = CutoffSearchCV(short, grid, cv=2, refit=False).fit(X, Y)
    with pytest.warns(ConvergenceWarning):
        plain = GridSearchCV(short, grid, cv=2, refit=False).fit(X, Y)
    check_equal(shared, plain)


def test_equal_settings_are_fitted_once(monkeypatch):
    fits = []
    fit = SoftmaxClassifier.fit

    def counted(self, *arguments, **metadata):
        fits.append(self.C)
        return fit(self, *arguments, **metadata)

    monkeypatch.setattr(SoftmaxClassifier, "fit", counted)
    grid = {"conv__n_filters": [500, None], "conv__variance_cutoff": [1.0]}
    search = CutoffSearchCV(ONE_LAYER, grid, cv=2, refit=False).fit(X, Y)
    assert len(fits) == 2
    assert len(list(ParameterGrid(grid))) == len(search.cv_results_["params"]) == 2
