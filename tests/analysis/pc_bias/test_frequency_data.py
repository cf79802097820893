"""The frequency data set, and what is done to given data."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdmn.analysis.pc_bias.directions import principal_coordinates
from skdmn.analysis.pc_bias.frequency_data import (
    FREQUENCIES,
    PHASES,
    amplify_components,
    frequency_sum,
    is_positive,
    leading_component_labels,
    make_frequency_data,
    shuffled_labels,
)


def test_the_constants_are_those_of_the_paper():
    assert_array_equal(FREQUENCIES, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    expected = [0, 3.46, 5.08, 0.45, 2.10, 1.4, 5.36, 0.85, 5.9, 5.16]
    assert_array_equal(PHASES, expected)


def test_the_sum_of_sines_has_the_frequencies_and_phases():
    """Over one period every frequency is found by its Fourier coefficient."""
    z = np.arange(64) / 64
    spectrum = np.fft.rfft(frequency_sum(z)) / 32
    # sin(a + phi) = Im exp(i (a + phi)): coefficient exp(i phi) / i
    assert_allclose(spectrum[1:10], np.exp(1j * PHASES[1:]) / 1j, atol=1e-12)
    assert_allclose(spectrum[10:], 0, atol=1e-12)
    assert_allclose(spectrum[0], 0, atol=1e-12)


def test_terms_are_summed_from_the_lowest_frequency():
    z = np.linspace(-1, 1, 7)
    last = frequency_sum(z, 4) - frequency_sum(z, 3)
    assert_allclose(last, np.sin(6 * np.pi * z + 0.45))
    assert_array_equal(frequency_sum(z, 1), 0)


def test_points_fill_the_rectangle():
    X, y = make_frequency_data(20000, random_state=0)
    assert_allclose(X.min(axis=0), [-1, -2 * np.pi], atol=0.01)
    assert_allclose(X.max(axis=0), [1, 2 * np.pi], atol=0.01)
    assert_allclose(X.std(axis=0), [1 / 3**0.5, 2 * np.pi / 3**0.5], rtol=0.02)
    assert abs(np.corrcoef(X.T)[0, 1]) < 0.02
    assert X.shape == (20000, 2)
    assert set(y) == {0, 1}


def test_the_classes_are_separated_by_the_rule():
    X, y = make_frequency_data(500, random_state=1)
    assert_array_equal(y == 1, frequency_sum(X[:, 0]) > 0)
    X, y = make_frequency_data(500, rule="curve", random_state=1)
    assert_array_equal(y == 1, X[:, 1] > frequency_sum(X[:, 0]))


def test_the_curve_lies_within_the_rectangle():
    assert np.abs(frequency_sum(np.linspace(-1, 1, 10001))).max() < 2 * np.pi


def test_the_seed_decides():
    one, other = (make_frequency_data(9, random_state=seed)[0] for seed in (0, 1))
    assert_array_equal(one, make_frequency_data(9, random_state=0)[0])
    assert (one != other).any()


def test_refused():
    with pytest.raises(ValueError, match="3 columns"):
        is_positive(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="'sign' or 'curve'"):
        make_frequency_data(5, rule="height")


# changes to given data


def test_amplified_components_and_no_others_are_multiplied(rng):
    X = rng.normal(size=(40, 6)) * np.arange(6, 0, -1)
    directions = principal_coordinates(X).directions
    found = amplify_components(X, directions[[0, 4]]) @ directions.T
    before = X @ directions.T
    assert_allclose(found, before * [10, 1, 1, 1, 10, 1], atol=1e-12)


def test_a_factor_of_0_projects(rng):
    X = rng.normal(size=(40, 6))
    directions = principal_coordinates(X).directions
    found = amplify_components(X, directions[2:], factor=0)
    assert_allclose(found, X @ directions[:2].T @ directions[:2], atol=1e-12)


def test_without_directions_nothing_changes(rng):
    X = rng.normal(size=(4, 3))
    assert_array_equal(amplify_components(X, np.empty((0, 3))), X)


def test_directions_have_to_be_orthonormal(rng):
    with pytest.raises(ValueError, match="not orthonormal"):
        amplify_components(np.zeros((2, 3)), [[1.0, 1.0, 0.0]])
    with pytest.raises(ValueError, match=r"4 entries.*3 features"):
        amplify_components(np.zeros((2, 3)), np.eye(4))


def test_shuffled_labels_are_the_same_labels_in_another_order():
    y = np.repeat(["a", "b", "c"], [50, 30, 20])
    found = shuffled_labels(y, random_state=0)
    assert_array_equal(np.sort(found), y)
    assert 0.2 < (found == y).mean() < 0.6
    assert_array_equal(found, shuffled_labels(y, random_state=0))


def test_rows_of_targets_stay_together():
    targets = np.eye(20)
    found = shuffled_labels(targets, random_state=0)
    assert_array_equal(found[np.argsort(found.argmax(axis=1))], targets)


@pytest.mark.parametrize("n_components", [1, 3])
def test_leading_component_labels_are_separable_in_them_and_near_the_given(
    rng, n_components
):
    X = rng.normal(size=(300, 8)) * 0.7 ** np.arange(8)
    y = np.where(X @ rng.normal(size=8) > 0, "yes", "no")
    found = leading_component_labels(X, y, n_components)
    assert set(found) == {"yes", "no"}
    assert 0.55 < (found == y).mean() < 1
    leading = X @ principal_coordinates(X).directions[:n_components].T
    design = np.c_[leading, np.ones(300)]
    # the separator that made them classifies again as they say
    fitted = design @ np.linalg.lstsq(design, np.where(y == "yes", 1.0, -1.0))[0]
    assert_array_equal(found == "yes", fitted > 0)


def test_leading_component_labels_refuse():
    X = np.arange(6.0).reshape(3, 2)
    with pytest.raises(ValueError, match="3 classes"):
        leading_component_labels(X, [0, 1, 2], 1)
    with pytest.raises(ValueError, match="between 1 and 2"):
        leading_component_labels(X, [0, 1, 1], 3)


def test_terms_are_those_that_there_are():
    for n_terms in (-1, 11):
        with pytest.raises(ValueError, match="the sum has 10 terms"):
            frequency_sum(0.0, n_terms)


def test_labels_of_one_class_are_refused(rng):
    y = np.arange(1000) < 30
    with pytest.raises(ValueError, match="pass more components"):
        leading_component_labels(rng.normal(size=(1000, 5)), y, 1)
