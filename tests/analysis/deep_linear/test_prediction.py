"""Predicted half-times of modes, compared with exact ones and with runs."""

import matplotlib as mpl
import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdmn.analysis import (
    Recorder,
    correlations,
    decoupled_weights,
    gradient_descent,
    learning_time,
    predict_learning,
)
from skdmn.datasets import load_digits_images
from skdmn.display import ModeStrengthDisplay

mpl.use("agg")
RATE = 0.02
# principal components of these inputs are the modes of the task
ALIGNED = np.array([[2.0, 0], [-2, 0], [0, 1], [0, -1]])


def digits():
    X, y = load_digits_images()
    return X[:, 1:7:2, 1:7:2].reshape(len(X), -1) / 16, y


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_aligned_modes_have_exact_times_and_no_error_bar(depth):
    found = predict_learning(ALIGNED, ALIGNED, u0=0.01, depth=depth, learning_rate=RATE)
    d = np.array([2, 0.5])
    expected = learning_time(1, 0.01, 0.5, depth=depth, tau=1 / (RATE * d))
    assert_allclose(found.half_times, expected)
    assert_allclose(found.alignments, 1)
    assert_allclose(found.earliest, expected)
    assert_allclose(found.latest, expected)


def test_decoupled_weights_take_the_predicted_steps():
    sigma31, sigma11 = correlations(ALIGNED, ALIGNED)
    weights = decoupled_weights(sigma31, hidden=[3], u0=0.01, random_state=0)
    course = gradient_descent(weights, sigma31, sigma11, 600, learning_rate=RATE)
    found = predict_learning(ALIGNED, ALIGNED, weights=weights, learning_rate=RATE)
    assert_allclose(found.initial_strengths, 0.01)
    assert_allclose(found.strengths(course), course.strengths, atol=1e-12)
    measured = found.measured_half_times(course)
    assert_allclose(found.half_times, measured, rtol=0.02)


def test_digits_take_the_predicted_steps_from_random_weights():
    X, y = digits()
    rng = np.random.default_rng(0)
    weights = [0.003 * rng.normal(size=shape) for shape in ((20, 9), (10, 20))]
    pair = correlations(X, y, centered=True)
    course = gradient_descent(weights, *pair, 4000, learning_rate=0.1, record_every=20)
    found = predict_learning(X, y, weights=weights, learning_rate=0.1, centered=True)
    measured = found.measured_half_times(course)
    well = found.alignments > 0.8
    assert well.sum() >= 6
    assert_allclose(found.half_times[well], measured[well], rtol=0.06)
    assert (found.earliest[well] < 1.01 * measured[well]).all()
    assert (0.98 * measured[well] < found.latest[well]).all()
    assert (found.latest - found.earliest)[well].min() > 0
    recorder = Recorder()
    recorder.record(weights)
    again = predict_learning(
        X.reshape(-1, 3, 3), y, weights=recorder[0], learning_rate=0.1, centered=True
    )
    assert_allclose(again.half_times, found.half_times)


def test_a_prediction_is_drawn_over_a_recorded_run():
    recorder, weights = Recorder(), [np.eye(2) * 0.1, np.eye(2) * 0.1]
    sigma31, sigma11 = correlations(ALIGNED, ALIGNED)
    for step in range(0, 401, 20):
        recorder.record(weights, step)
        course = gradient_descent(weights, sigma31, sigma11, 20, learning_rate=RATE)
        weights = course.weights
    found = predict_learning(ALIGNED, ALIGNED, weights=recorder[0], learning_rate=RATE)
    display = ModeStrengthDisplay.from_prediction(found, recorder)
    assert display.ax_.get_xlabel() == "time in steps"
    points = [line for line in display.ax_.lines if line.get_marker() == "o"]
    drawn = sorted(line.get_xdata()[0] for line in points if len(line.get_xdata()))
    assert_allclose(drawn, found.half_times)
    measured = found.measured_half_times(recorder)
    assert_allclose(measured, found.half_times, rtol=0.05)
    wide = Recorder()
    wide.record([np.ones((2, 3))])
    with pytest.raises(ValueError, match="maps 3 inputs to 2 outputs, but the data"):
        found.strengths(wide)


def test_modes_that_are_never_learned_and_those_that_are():
    never = predict_learning(
        ALIGNED, ALIGNED, weights=[np.zeros((3, 2)), np.zeros((2, 3))]
    )
    assert np.isinf(never.half_times).all()
    done = predict_learning(ALIGNED, ALIGNED, weights=[np.eye(2)])
    assert_allclose(done.half_times, 0)


def test_mistakes_are_told():
    with pytest.raises(ValueError, match="Pass either weights"):
        predict_learning(ALIGNED, ALIGNED)
    with pytest.raises(ValueError, match="There are 3 layers of weights"):
        predict_learning(ALIGNED, ALIGNED, weights=[np.eye(2)] * 3)
    with pytest.raises(ValueError, match="u0 must be above 0"):
        predict_learning(ALIGNED, ALIGNED, u0=0)
    with pytest.raises(ValueError, match="not correlated"):
        predict_learning(ALIGNED, np.ones(4), u0=0.1)
