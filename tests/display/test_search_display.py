"""Plots of the scores of a search."""

import copy

import matplotlib as mpl
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from skdmn.display.search import SearchDisplay, pareto_front

mpl.use("agg")
GRID = {"C": [0.01, 0.1, 1.0], "fit_intercept": [True, False], "solver": ["lbfgs"]}


@pytest.fixture(scope="module")
def search():
    X, y = load_iris(return_X_y=True)
    return GridSearchCV(LogisticRegression(max_iter=500), GRID, cv=4).fit(
        X[::3], y[::3]
    )


def test_the_front_holds_what_nothing_beats_at_less_cost():
    costs, scores = [3, 1, 2, 2, 4, np.nan], [0.8, 0.5, 0.7, 0.9, np.nan, 1.0]
    assert_array_equal(pareto_front(costs, scores), [1, 3])


def test_every_setting_is_a_point_against_seconds(search):
    display = SearchDisplay.from_search(search, "seconds", group="fit_intercept")
    results = search.cv_results_
    expected = results["mean_fit_time"] + results["mean_score_time"]
    assert_array_equal(display.x, expected)
    assert_allclose(display.errors, results["std_test_score"] / np.sqrt(3))
    front = display.ax_.lines[-1]
    assert_array_equal(front.get_xdata(), np.sort(expected[display.front]))
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["False", "True", "Pareto front"]


def test_the_best_setting_is_shown_for_each_value_of_a_parameter(search):
    display = SearchDisplay.from_search(search, "C")
    means = search.cv_results_["mean_test_score"].reshape(3, 2)
    assert_array_equal(display.x, GRID["C"])
    assert_array_equal(display.scores, means.max(axis=1))
    assert display.ax_.get_xscale() == "log"


def test_values_that_are_no_numbers_get_their_own_ticks(search):
    display = SearchDisplay.from_search(search, "fit_intercept", group="C")
    ticks = [text.get_text() for text in display.ax_.get_xticklabels()]
    assert ticks == ["False", "True"]
    assert display.labels == ["0.01", "0.1", "1.0"]
    assert len(display.scores) == 6


def test_settings_are_shown_as_in_their_last_iteration_of_halving(search):
    halving = copy.copy(search)
    params = [{"C": 0.1}, {"C": 1.0}, {"C": 0.1}]
    halving.cv_results_ = {
        "iter": np.array([0, 0, 1]),
        "params": params,
        "param_C": [0.1, 1.0, 0.1],
        "mean_test_score": np.array([0.9, 0.6, 0.8]),
        **{name: np.ones(3) for name in ("std_test_score", "split0_test_score")},
        **{name: np.arange(3.0) for name in ("mean_fit_time", "mean_score_time")},
    }
    assert_array_equal(SearchDisplay.from_search(halving, "C").scores, [0.6, 0.8])
    display = SearchDisplay.from_search(halving, "seconds")
    assert_array_equal(display.front, [1, 2])


def test_features_are_shown_if_the_search_counted_them(search):
    with pytest.raises(ValueError, match=r"GridSearchCV does not record.*seconds"):
        SearchDisplay.from_search(search)
    search.n_features_of_settings_ = np.arange(1, 7)
    display = SearchDisplay.from_search(search)
    assert_array_equal(display.x, np.arange(1, 7))
    del search.n_features_of_settings_


def test_unknown_names_are_refused(search):
    with pytest.raises(ValueError, match=r"'gamma' is no parameter.*'C'"):
        SearchDisplay.from_search(search, "gamma")
    with pytest.raises(ValueError, match=r"metric='f1' is no score.*\['score'\]"):
        SearchDisplay.from_search(search, "C", metric="f1")
    with pytest.raises(NotFittedError):
        SearchDisplay.from_search(GridSearchCV(LogisticRegression(), GRID), "C")
