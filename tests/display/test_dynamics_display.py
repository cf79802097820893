"""What the pictures of learning show."""

import matplotlib as mpl
import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdmn.analysis.deep_linear.initial_weights import decoupled_weights
from skdmn.analysis.deep_linear.modes import mode_strength
from skdmn.analysis.deep_linear.simulation import gradient_flow
from skdmn.display.dynamics import ModeStrengthDisplay, SingularValueDisplay

mpl.use("agg")
TIMES = np.linspace(0, 4, 30)


@pytest.fixture
def course():
    sigma31 = np.diag([3.0, 2.0])
    weights = decoupled_weights(sigma31, [3], 0.05, random_state=0)
    return gradient_flow(weights, sigma31, None, TIMES)


def test_simulated_and_exact_strengths_are_drawn_together(course):
    exact = mode_strength(TIMES, [3.0, 2.0], 0.05)
    display = ModeStrengthDisplay.from_course(course, exact=exact)
    drawn = [line.get_ydata() for line in display.ax_.lines[:4]]
    assert_allclose(np.transpose(drawn[:2]), course.strengths)
    assert_allclose(np.transpose(drawn[2:]), exact)
    styles = [line.get_linestyle() for line in display.ax_.lines[:4]]
    assert styles == ["-", "-", "--", "--"]
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["simulated", "exact"]
    assert 0 < display.largest_error_ < 1e-3
    assert display.ax_.get_xlabel() == "time in τ"


def test_modes_are_numbered_at_their_ends():
    ends = np.array([3.0, 2.0, 2.01, 1.0])
    display = ModeStrengthDisplay.from_arrays(
        TIMES, TIMES[:, np.newaxis] * ends, time_unit="steps"
    )
    assert {text.get_text() for text in display.ax_.texts} == {"1", "2, 3", "4"}
    assert display.ax_.get_xlabel() == "time in steps"
    assert display.largest_error_ is None


def test_an_axis_can_be_passed(course):
    _, (left, right) = mpl.pyplot.subplots(1, 2)
    assert ModeStrengthDisplay.from_course(course, ax=left).ax_ is left
    display = SingularValueDisplay.from_course(course, ax=right)
    assert display.ax_ is right
    assert display.figure_ is right.figure
    assert display.plot() is display
    assert display.ax_ is not right


def test_evolving_values_are_lines_of_one_style_for_each_group(course):
    values = course.singular_values
    display = SingularValueDisplay.from_evolution(
        TIMES, {"product": values, "half": values / 2}
    )
    lines = [line for line in display.ax_.lines if len(line.get_xdata())]
    assert [line.get_linestyle() for line in lines] == ["-", "-", "--", "--"]
    drawn = np.transpose([line.get_ydata() for line in lines])
    assert_allclose(drawn, np.hstack([values, values / 2]))
    assert display.ax_.get_yscale() == "log"
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["product", "half"]


def test_distributions_are_cumulative_and_say_what_is_rounding():
    display = SingularValueDisplay.from_values(
        {"all": [[1.0, 4.0], [2.0, 3.0]], "half": [1.0, 1e-20], "one": [1.0, 1.0]}
    )
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["all", "half (50% below rounding)", "one"]
    drawn = [line.get_xydata()[1:-1] for line in display.ax_.lines]
    assert_allclose(drawn[0], [[1, 0.25], [2, 0.5], [3, 0.75], [4, 1]])
    assert_allclose(drawn[1], [[1, 1]])
    assert_allclose(drawn[2], [[1, 0.5], [1, 1]])
    starts = [line.get_ydata()[0] for line in display.ax_.lines]
    assert_allclose(starts, [0, 0.5, 0])


def test_arrays_that_do_not_fit_are_named(course):
    with pytest.raises(ValueError, match=r"strengths has shape \(30, 2\) and times"):
        ModeStrengthDisplay.from_arrays(TIMES[:5], course.strengths)
    with pytest.raises(ValueError, match=r"exact has shape \(30, 1\), but strengths"):
        ModeStrengthDisplay.from_course(course, exact=course.strengths[:, :1])
    with pytest.raises(ValueError, match=r"product has shape \(30,\)"):
        SingularValueDisplay.from_evolution(TIMES, {"product": TIMES})
    with pytest.raises(ValueError, match="no singular value above 0"):
        SingularValueDisplay.from_values({"none": [0.0]})
