"""Inputs that used to give wrong numbers or obscure errors."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import skdmn.analysis
from skdmn.analysis import (
    accessibility,
    amplify_components,
    backward_matrices,
    correlations,
    critical_gain,
    discriminability,
    epochs_to_learn,
    fixed_point,
    gradient_descent,
    leading_component_labels,
    learning_time,
    pretraining_consistency,
    principal_coordinates,
    train_deep_linear,
    variance_map,
)
from skdmn.analysis.deep_linear.isometry import RELU, TANH
from skdmn.display.dynamics import ModeStrengthDisplay, SingularValueDisplay

RNG = np.random.default_rng(0)


def test_public_names_of_all_packages_are_re_exported():
    for package in ("density", "sgd", "deep_linear", "pc_bias"):
        found = getattr(skdmn.analysis, package)
        for name in found.__all__:
            assert getattr(skdmn.analysis, name) is getattr(found, name)
            assert name in dir(skdmn.analysis)
    with pytest.raises(AttributeError, match="no attribute 'layer_spektrum'"):
        skdmn.analysis.layer_spektrum  # noqa: B018


def test_a_regression_target_is_one_output_and_integers_are_labels():
    X, y = RNG.normal(size=(64, 3)), RNG.normal(size=64)
    sigma31, _ = correlations(X, y)
    assert_allclose(sigma31, y[np.newaxis] @ X / 64)
    whole = (y > 0).astype(float)
    assert_array_equal(correlations(X, whole)[0], correlations(X, whole > 0)[0])


@pytest.mark.parametrize("score", [accessibility, epochs_to_learn])
def test_indices_of_classes_do_not_pass_for_names(score):
    with pytest.raises(ValueError, match="pass predicted labels, such as classes"):
        score(np.zeros((1, 2, 2), int), ["a", "b"])
    with pytest.raises(ValueError, match="are like 'a' and y like 0"):
        score([[["a", "b"]]], np.array([0, 1]))
    objects = np.array(["a", "b"], dtype=object)
    found = score(objects[np.newaxis, np.newaxis], ["a", "b"])
    assert_array_equal(found.ravel(), [1, 1])


def test_courses_know_their_unit_of_time():
    weights = [np.eye(2), np.eye(2)]
    course = gradient_descent(weights, 2 * np.eye(2), None, 3, learning_rate=0.1)
    for display in (ModeStrengthDisplay, SingularValueDisplay):
        assert display.from_course(course).ax_.get_xlabel() == "time in steps"
        named = display.from_course(course, time_unit="batches")
        assert named.ax_.get_xlabel() == "time in batches"


def test_consistency_of_data_is_that_of_centred_correlations():
    X = RNG.normal(size=(200, 4)) * [2, 1, 1, 1] + 30
    y = RNG.integers(3, size=200)  # independent of X
    found = pretraining_consistency(X, y)
    centred = pretraining_consistency(*correlations(X, y, centered=True))
    assert found.score == centred.score
    assert "mix the modes" in found.meaning
    assert found.score < 0.9 < pretraining_consistency(*correlations(X, y)).score
    images = pretraining_consistency(X.reshape(-1, 2, 2), y)
    assert images.score == found.score


def test_activations_have_names():
    assert_array_equal(
        variance_map([0.1, 1], activation="relu"),
        variance_map([0.1, 1], activation=RELU),
    )
    for tanh in ("tanh", np.tanh):
        assert critical_gain(activation=tanh) == critical_gain(activation=TANH)
    for unknown in ("sigmoid", np.sin):
        with pytest.raises(TypeError, match=r"pass one of \['identity', 'relu', 'tanh"):
            variance_map(1.0, activation=unknown)


def test_arrays_of_gains_are_taken_and_of_depths_are_refused():
    gains = np.array([[0.5, 1.5]])
    expected = [[fixed_point(0.5), fixed_point(1.5)]]
    assert_array_equal(fixed_point(gains), expected)
    with pytest.raises(ValueError, match="one integer of 1 or more"):
        learning_time(1.0, 0.1, 0.9, depth=np.array([2, 3]))


def test_images_are_rows():
    images = RNG.normal(size=(12, 2, 3)) + 1
    rows, y = images.reshape(12, 6), np.arange(12) % 2
    directions = principal_coordinates(images).directions
    assert_array_equal(directions, principal_coordinates(rows).directions)
    amplified = amplify_components(images, directions[:1])
    assert amplified.shape == images.shape
    assert_array_equal(
        amplified.reshape(12, 6), amplify_components(rows, directions[:1])
    )
    for function in (
        lambda X: discriminability(X, y, 3),
        lambda X: leading_component_labels(X, y, 2),
        lambda X: backward_matrices([np.eye(6)], [np.zeros(6)], X)[0],
        lambda X: train_deep_linear(
            [np.ones((1, 6))], X, y[:, np.newaxis], learning_rate=1e-3, steps=[2]
        )[0][0],
    ):
        assert_array_equal(function(images), function(rows))
