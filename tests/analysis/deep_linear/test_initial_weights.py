"""Initial weights, and the condition under which pretraining finds good ones."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits

from skdmn.analysis.deep_linear.initial_weights import (
    decoupled_weights,
    gaussian_weights,
    orthogonal_weights,
    pretrained_weights,
    pretraining_consistency,
)
from skdmn.analysis.deep_linear.simulation import correlations, gradient_flow, product


def rotation(n, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]


# decoupled


@settings(deadline=None, max_examples=30)
@given(
    hidden=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
)
def test_decoupled_weights_carry_each_mode_alone(hidden, seed):
    sigma31 = np.random.default_rng(seed).normal(size=(3, 4))
    n_modes = min(3, *hidden)
    u0 = np.linspace(0.5, 0.1, n_modes)
    weights = decoupled_weights(sigma31, hidden, u0, random_state=seed)
    left, _, right = np.linalg.svd(sigma31)
    expected = np.zeros((3, 4))
    expected[:n_modes, :n_modes] = np.diag(u0)
    assert_allclose(left.T @ product(weights) @ right.T, expected, atol=1e-12)
    for weight in weights:  # alike in all layers
        found = np.linalg.svd(weight, compute_uv=False)[:n_modes]
        assert_allclose(found, u0 ** (1 / len(weights)), atol=1e-12)


def test_strengths_of_decoupled_weights_must_fit():
    with pytest.raises(ValueError, match="one for each of 2 modes"):
        decoupled_weights(np.eye(3), [2], [0.1, 0.1, 0.1])
    with pytest.raises(ValueError, match="0 or more"):
        decoupled_weights(np.eye(3), [2], -0.1)


# random


@pytest.mark.parametrize("sizes", [[5, 5, 5], [3, 6, 2], [1, 4]])
def test_all_singular_values_of_orthogonal_weights_are_the_gain(sizes):
    for weight, n_in, n_out in zip(
        orthogonal_weights(sizes, gain=1.5, random_state=0),
        sizes[:-1],
        sizes[1:],
        strict=True,
    ):
        assert weight.shape == (n_out, n_in)
        assert_allclose(np.linalg.svd(weight, compute_uv=False), 1.5)


def test_orthogonal_weights_are_uniformly_distributed():
    # without the signs of the triangle, the first entries would lean to one side
    entries = [orthogonal_weights([3, 3], random_state=i)[0] for i in range(2000)]
    mean, spread = np.mean(entries, axis=0), np.mean(np.square(entries), axis=0)
    assert_allclose(mean, 0, atol=4 / math.sqrt(3 * 2000))
    assert_allclose(spread, 1 / 3, atol=0.04)


def test_gaussian_weights_keep_norms_on_average():
    (weight,) = gaussian_weights([600, 600], gain=2.0, random_state=0)
    x = np.random.default_rng(0).normal(size=(600, 50))
    ratios = np.linalg.norm(weight @ x, axis=0) / np.linalg.norm(x, axis=0)
    assert_allclose(ratios, 2.0, rtol=0.15)
    assert_allclose(weight.std(), 2 / math.sqrt(600), rtol=0.01)
    (wide,) = gaussian_weights([100, 300], random_state=0)
    assert_allclose(wide.std(), math.sqrt(2 / 400), rtol=0.02)


@pytest.mark.parametrize("make", [orthogonal_weights, gaussian_weights])
def test_random_weights_repeat_with_their_seed(make):
    first, second, other = (make([3, 4, 2], random_state=i) for i in (0, 0, 1))
    for one, same, unlike in zip(first, second, other, strict=True):
        assert_array_equal(one, same)
        assert (one != unlike).any()
    with pytest.raises(
        ValueError, match=r"sizes are \[3\]; pass the numbers of inputs"
    ):
        make([3])


# pretraining


@pytest.mark.parametrize("hidden", [4, 6])
def test_the_first_pretrained_layer_is_that_of_a_trained_autoencoder(hidden):
    variances, components = np.array([3.0, 1.5, 0.7, 0.0]), rotation(4)
    sigma11 = (components * variances) @ components.T
    start = decoupled_weights(sigma11, [hidden], 1e-2, random_state=0)
    trained = gradient_flow(start, sigma11, sigma11, [0.0, 2.0]).weights[0]
    found = pretrained_weights(sigma11, [4, hidden, 2], time=2.0, u0=1e-2)[0]
    assert_allclose(found.T @ found, trained.T @ trained, atol=1e-6)


def test_a_second_pretrained_layer_is_an_autoencoder_of_the_first():
    components = rotation(4)
    sigma11 = (components * [3.0, 1.5, 0.7, 0.2]) @ components.T
    first, second, _ = pretrained_weights(
        sigma11, [4, 4, 4, 2], time=2.0, u0=1e-2, random_state=0
    )
    below = first @ sigma11 @ first.T
    start = decoupled_weights(below, [4], 1e-2, random_state=0)
    trained = gradient_flow(start, below, below, [0.0, 2.0]).weights[0]
    assert_allclose(second.T @ second, trained.T @ trained, atol=1e-6)


def test_long_pretraining_keeps_the_leading_components_as_they_are():
    components = rotation(5)
    sigma11 = (components * [5.0, 4.0, 3.0, 2.0, 1.0]) @ components.T
    weights = pretrained_weights(sigma11, [5, 3, 4, 6, 2], random_state=0)
    hidden = product(weights[:-1])
    leading = components[:, :3]
    assert_allclose(hidden.T @ hidden, leading @ leading.T, atol=1e-12)
    assert_allclose(weights[-1] @ weights[-1].T, np.eye(2), atol=1e-12)


def test_components_without_variance_are_not_learned():
    first, _ = pretrained_weights(np.diag([1.0, 0.0]), [2, 2, 2], u0=0.01)
    assert_allclose(first.T @ first, np.diag([1.0, 0.01]), atol=1e-12)


def test_sizes_begin_with_the_inputs():
    with pytest.raises(ValueError, match="sizes begin with 3, but sigma11 has 2"):
        pretrained_weights(np.eye(2), [3, 2])


# consistency


def test_aligned_tasks_score_1():
    right, left = rotation(6), rotation(3, seed=1)
    sigma11 = (right * [5, 4, 3, 2, 1, 0.5]) @ right.T
    sigma31 = (left * [3.0, 1.0, 2.0]) @ right[:, [4, 0, 2]].T
    found = pretraining_consistency(sigma31, sigma11)
    assert_allclose(found.score, 1)
    assert_allclose(found.mode_scores, 1)
    assert_allclose(np.diag(found.correlations), [1, 3, 5])
    assert "nearly decoupled" in found.meaning


def test_white_inputs_are_consistent_with_every_task():
    sigma31 = np.random.default_rng(0).normal(size=(3, 6))
    found = pretraining_consistency(sigma31, 2 * np.eye(6))
    assert_allclose([found.score, found.chance], 1)


def test_a_task_across_components_scores_low():
    angle = math.radians(45)
    sigma31 = [[math.cos(angle), math.sin(angle)]]
    found = pretraining_consistency(sigma31, np.diag([1.0, 0.0]))
    assert_allclose(found.score, 0.5)  # the squared cosine with the one component
    assert "mix the modes of the task" in found.meaning


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.floats(0.01, 100))
def test_scores_do_not_depend_on_units_or_axes(seed, scale):
    random = np.random.default_rng(seed)
    sigma31, root = random.normal(size=(3, 5)), random.normal(size=(5, 5))
    sigma11, turn = root @ root.T, rotation(5, seed)
    found = pretraining_consistency(sigma31, sigma11)
    assert 0 <= found.score <= 1 + 1e-12
    turned = pretraining_consistency(
        scale * rotation(3, seed) @ sigma31 @ turn.T, scale * turn @ sigma11 @ turn.T
    )
    assert_allclose(turned.score, found.score, rtol=1e-8)
    assert_allclose(turned.chance, found.chance, rtol=1e-8)


def test_digits_are_consistent_and_shuffled_digits_score_by_chance():
    X, y = load_digits(return_X_y=True)
    found = pretraining_consistency(*correlations(X, y, centered=True))
    assert len(found.mode_scores) == 9  # centred one-hot outputs: one less than classes
    assert found.score > 0.9
    random = np.random.default_rng(0)
    shuffled = [
        pretraining_consistency(
            *correlations(X, random.permutation(y), centered=True)
        ).score
        for _ in range(10)
    ]
    assert abs(np.mean(shuffled) - found.chance) < 0.1
    assert max(shuffled) < found.score


def test_there_must_be_a_task():
    with pytest.raises(ValueError, match="sigma31 is zero"):
        pretraining_consistency(np.zeros((2, 3)), np.eye(3))
    with pytest.raises(ValueError, match=r"sigma11 has shape \(2, 2\)"):
        pretraining_consistency(np.ones((2, 3)), np.eye(2))


def test_a_layer_in_front_of_a_narrow_one_is_as_wide_as_it_is():
    first, second, _ = pretrained_weights(np.diag([4.0, 3.0, 2.0, 1.0]), [4, 3, 1, 1])
    assert np.linalg.matrix_rank(first) == 3
    assert_allclose(np.linalg.svd(second @ first, compute_uv=False), [1.0])


def test_a_task_in_inputs_that_do_not_occur_is_refused():
    with pytest.raises(ValueError, match="sigma11 has no variance"):
        pretraining_consistency([[1.0, 0.0]], np.diag([0.0, 1.0]))
