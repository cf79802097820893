"""Pictures of what is learned first."""

import sys

import matplotlib as mpl
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdmn.display.order import LearningOrderDisplay

mpl.use("agg")


def lines(display):
    return [line.get_xydata() for line in display.ax_.get_lines()]


def legend(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def test_from_directions_draws_a_line_over_time_for_each_direction(rng):
    values, steps = rng.random((4, 10)), [0, 1, 10, 100]
    display = LearningOrderDisplay.from_directions(
        values, steps, directions=[0, 4, 9], quantity="std over networks"
    )
    for drawn, direction in zip(lines(display), [0, 4, 9], strict=True):
        assert_array_equal(drawn, np.c_[steps, values[:, direction]])
    assert legend(display) == ["1", "5", "10"]
    assert display.ax_.get_ylabel() == "std over networks"


@pytest.mark.parametrize(("n", "drawn"), [(1, 1), (2, 2), (5, 5), (64, 6), (3072, 6)])
def test_without_a_choice_few_directions_from_first_to_last_are_drawn(n, drawn):
    display = LearningOrderDisplay.from_directions(np.ones((2, n)), [1, 2])
    labels = legend(display)
    assert labels[0] == "1"
    assert labels[-1] == str(n)
    assert drawn - 1 <= len(labels) <= drawn


def test_from_steps_draws_a_line_across_directions_for_each_step(rng):
    values = rng.random((2, 5))
    display = LearningOrderDisplay.from_steps(values, [0, 50])
    for drawn, row in zip(lines(display), values, strict=True):
        assert_array_equal(drawn, np.c_[np.arange(1, 6), row])
    assert legend(display) == ["0", "50"]


def test_from_scores_draws_means_and_errors():
    display = LearningOrderDisplay.from_scores(
        [1, 1, 3, 3, np.nan], [1.0, 0.5, 0.2, 0.4, 9.0], score="critical frequency"
    )
    assert_allclose(lines(display), [[[1, 0.75], [3, 0.3]]])
    assert_allclose(display.upper, [[1.0, 0.4]])
    assert_allclose(display.lower, [[0.5, 0.2]])
    assert display.ax_.get_xlabel() == "critical frequency"


def test_from_predictions_ranks_examples_by_accessibility():
    learned = np.array([[3, 1, 2], [3, 1, 3], [3, 1, 9]])  # epoch, by network
    epochs = np.arange(1, 5)[:, np.newaxis]
    predictions = (epochs >= learned[:, np.newaxis]).astype(int)
    display = LearningOrderDisplay.from_predictions(predictions, [1, 1, 1])
    assert_array_equal(lines(display)[0], [[1, 1], [2, 3], [3, 3]])
    # the third example is never learned by the third network
    assert_array_equal(display.upper, [[1, 3, np.nan]])
    assert_array_equal(display.lower, [[1, 3, 3]])


def test_many_examples_are_drawn_in_groups_of_neighbours_in_rank():
    learned = np.repeat(np.arange(1, 6), 40)
    predictions = (np.arange(1, 6)[:, np.newaxis] >= learned).astype(int)[np.newaxis]
    display = LearningOrderDisplay.from_predictions(predictions, np.ones(200))
    (drawn,) = lines(display)
    assert_array_equal(drawn[:, 0], np.arange(50) * 4 + 2.5)
    assert_array_equal(drawn[:, 1], np.repeat(np.arange(1, 6), 10))


def test_lines_differ_without_colour(rng):
    display = LearningOrderDisplay([0, 1], rng.random((4, 2))).plot()
    assert len({line.get_linestyle() for line in display.ax_.get_lines()}) == 4
    assert display.ax_.get_legend() is None


def test_drawn_where_asked(rng):
    _, ax = mpl.pyplot.subplots()
    display = LearningOrderDisplay.from_steps(rng.random((2, 3)), [1, 2], ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert display.plot(ax=ax) is display


def test_values_need_one_row_for_each_step(rng):
    for draw in (LearningOrderDisplay.from_directions, LearningOrderDisplay.from_steps):
        with pytest.raises(ValueError, match=r"steps \(3,\)"):
            draw(rng.random((2, 5)), [1, 2, 3])


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"skdmn\[plot\]"):
        LearningOrderDisplay([1], [[1]]).plot()
