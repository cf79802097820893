"""Filters that set groups apart, from their density matrices."""

import numpy as np
import pytest
import scipy.linalg
from numpy.testing import assert_allclose, assert_array_equal

from skdmn.statistics.contrast import ContrastAccumulator
from skdmn.statistics.whitened_filters import whitened_bank


def densities(rng, n_groups=3, d=6):
    factors = rng.normal(size=(n_groups, d, 2 * d))
    found = factors @ factors.transpose(0, 2, 1)
    return found / np.trace(found, axis1=1, axis2=2)[:, None, None]


def bank(given, **options):
    options = {
        "n_filters": 100,
        "variance_cutoff": 1.0,
        "correlation_cutoff": 1.0,
        "regularization": 0.1,
        **options,
    }
    return whitened_bank(given, **options)


def test_filters_solve_the_generalized_eigenproblem(rng):
    given = densities(rng)
    found = bank(given)
    every = given.mean(axis=0) + 0.1 / 6 * np.eye(6)
    assert len(found.filters) == 18
    for group in range(3):
        mine = found.groups == group
        expected = scipy.linalg.eigh(given[group], every)[0][::-1]
        assert_allclose(found.ratios[mine], expected)
        for ratio, w in zip(found.ratios[mine], found.filters[mine], strict=True):
            assert_allclose(given[group] @ w, ratio * every @ w, atol=1e-12)
            assert_allclose(w @ every @ w, 1)
    assert_array_equal(found.ratios, np.sort(found.ratios)[::-1])


def test_filters_are_of_the_leading_components(rng):
    """As if everything had been projected to them beforehand."""
    given = densities(rng)
    values, vectors = np.linalg.eigh(given.mean(axis=0))
    shares = values[::-1].cumsum()
    assert shares[2] < 0.9 < shares[-2]
    found = bank(given, variance_cutoff=shares[2] + 1e-9)
    leading = vectors[:, :-4:-1]
    assert_allclose(np.abs(found.components @ leading), np.eye(3), atol=1e-9)
    whole = bank(leading.T @ given @ leading, regularization=0.1 * 3 / 6)
    assert_allclose(found.ratios, whole.ratios)
    cosines = np.abs(found.filters @ (whole.filters @ leading.T).T)
    norms = np.linalg.norm(found.filters, axis=1) ** 2
    assert_allclose(np.diag(cosines), norms)


def test_one_component_is_kept_at_least(rng):
    found = bank(densities(rng), variance_cutoff=1e-9)
    assert found.components.shape == (1, 6)
    assert len(found.filters) == 3


def test_one_group_is_what_all_have(rng):
    """Alone, a group varies as all do: no direction has more than its share."""
    found = bank(densities(rng, n_groups=1), regularization=1e-9)
    assert_allclose(found.ratios, 1, atol=1e-6)


def test_a_direction_of_one_class_alone_comes_first():
    common, own = np.diag([0.98, 0.01, 0.01]), np.diag([0.9, 0.01, 0.09])
    found = bank(np.array([common, own]), regularization=1e-6)
    assert found.groups[0] == 1
    assert_allclose(np.abs(found.filters[0]) > 1e-9, [False, False, True])
    assert_allclose(found.ratios[0], 0.09 / 0.05, rtol=1e-4)


def test_repeated_filters_are_left_out(rng):
    one = densities(rng, n_groups=1)[0]
    twice = bank(np.array([one, one]), correlation_cutoff=0.9)
    assert len(twice.filters) == 6
    assert_array_equal(twice.groups, 0)
    every = bank(densities(rng), correlation_cutoff=0.0)
    assert len(every.filters) == 1


def test_counts_are_upper_bounds(rng):
    given = densities(rng)
    assert len(bank(given, n_filters=4).filters) == 4
    assert_array_equal(bank(given, n_filters=4).filters, bank(given).filters[:4])


def test_groups_without_variance_give_no_filters(rng):
    given = densities(rng)
    holes = np.zeros((5, 6, 6))
    holes[[0, 2, 3]] = given
    found, expected = bank(holes), bank(given)
    assert_array_equal(found.filters, expected.filters)
    assert_array_equal(found.groups, np.array([0, 2, 3])[expected.groups])


def test_directions_without_variance_give_no_filters(rng):
    given = np.zeros((2, 7, 7))
    given[:, :6, :6] = densities(rng, n_groups=2)
    assert len(bank(given).filters) == 12


@pytest.mark.parametrize("cells", [(1, 1), (2, 3)])
def test_sums_of_parts_are_those_of_all(rng, cells):
    images = rng.integers(0, 255, (12, 7, 8, 2)).astype(np.uint8)
    labels = np.arange(12) % 3

    def summed(*parts):
        total = ContrastAccumulator.of(3, (2, 3), 2, cells, 40.0)
        for part in parts:
            other = total.like(3)
            other.update(images[part], labels[part])
            total.merge(other)
        return total

    one, two = summed(slice(None)), summed(slice(0, 5), slice(5, None))
    assert_allclose(one.outer_products, two.outer_products, rtol=1e-5, atol=1e-4)
    assert_array_equal(one.n_patches, two.n_patches)
    assert one.n_patches.sum() == 12 * 6 * 6
    assert_array_equal(one.n_images, [4, 4, 4])
    matrices = one.density_matrices()
    assert_allclose(np.trace(matrices.matrices, axis1=2, axis2=3), 1)
    assert matrices.partition_functions.shape == (3, cells[0] * cells[1])
