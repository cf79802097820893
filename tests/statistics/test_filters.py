"""Filter banks: cutoffs, merging, order and signs on cases known by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skdmn.statistics.filters import eigenbasis, filter_bank, fix_signs, n_components


def bank(
    densities,
    variance_cutoff=1.0,
    correlation_cutoff=1.0,
    n_filters=None,
    signs="one",
):
    return filter_bank(
        np.asarray(densities, dtype=float),
        variance_cutoff=variance_cutoff,
        correlation_cutoff=correlation_cutoff,
        n_filters=n_filters,
        signs=signs,
    )


def diagonal(*shares):
    return np.diag(np.array(shares, dtype=float))


def direction(degrees, share=1.0):
    """Return the density matrix of one direction and the one across, in a plane."""
    angle = math.radians(degrees)
    along = np.array([math.cos(angle), math.sin(angle)])
    across = np.array([-along[1], along[0]])
    return share * np.outer(along, along) + (1 - share) * np.outer(across, across)


def cosine(degrees):
    return math.cos(math.radians(degrees))


def random_density(seed, d, rank=None, decay=0.5):
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
    shares = decay ** np.arange(d) * (np.arange(d) < (rank or d))
    return (basis * (shares / shares.sum())) @ basis.T


# eigenbases and cutoffs


def test_eigenbasis_of_a_diagonal_is_its_entries_largest_first():
    shares, vectors = eigenbasis(diagonal(0.2, 0.5, 0.3))
    assert_allclose(shares, [0.5, 0.3, 0.2])
    assert_allclose(np.abs(vectors), np.eye(3)[[1, 2, 0]])


def test_eigenvectors_are_rows():
    density = random_density(0, 4)
    shares, vectors = eigenbasis(density)
    assert_allclose(vectors @ density, shares[:, np.newaxis] * vectors, atol=1e-14)


@pytest.mark.parametrize("rank", [1, 4, 11])
def test_eigenvalues_beyond_the_rank_are_rounding_and_none_negative(rank):
    shares, _ = eigenbasis(random_density(1, 12, rank))
    assert (shares[:rank] > 1e-6).all()
    assert (shares[rank:] < 1e-15).all()
    assert (shares >= 0.0).all()


@pytest.mark.parametrize(
    ("cutoff", "kept"),
    [
        (0.05, 1),
        (0.5, 1),
        (0.5 - 1e-9, 1),
        (0.8 - 1e-9, 1),
        (0.8, 2),
        (0.8 + 1e-9, 2),
        (0.9, 3),
        (0.95, 3),
        (1 - 1e-9, 3),
        (1.0, 4),
    ],
)
def test_components_are_kept_while_their_cumulative_share_is_at_most_the_cutoff(
    cutoff, kept
):
    assert n_components(np.array([0.5, 0.3, 0.1, 0.1, 0.0]), cutoff) == kept
    assert len(bank([diagonal(0.1, 0.3, 0.0, 0.5, 0.1)], cutoff).filters) == kept


@pytest.mark.parametrize("d", [3, 10, 49])
def test_a_cutoff_at_a_cumulative_share_is_not_lost_to_rounding(d):
    shares = np.full(d, 1 / d)
    for kept in range(1, d):
        assert n_components(shares, kept / d) == kept


def test_the_tolerance_of_the_cutoff_is_d_times_1e_12():
    shares = np.array([0.5, 0.3, 0.2])
    assert n_components(shares, 0.8 - 2e-12) == 2
    assert n_components(shares, 0.8 - 4e-12) == 1


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_a_cutoff_of_1_keeps_all_that_has_variance(rank):
    found = bank([np.diag([1 / rank] * rank + [0.0] * (9 - rank))])
    assert len(found.filters) == rank
    found = bank([random_density(2, 9, rank)])
    assert np.isfinite(found.energies).all()
    assert (found.energies < 30).sum() == rank


def test_a_cutoff_of_1_keeps_small_variance():
    assert len(bank([diagonal(1 - 1e-10, 1e-10, 0.0)]).filters) == 2


@pytest.mark.parametrize("cutoff", [0.01, 0.95, 1.0])
def test_a_class_without_variance_gives_no_filters(cutoff):
    zero = np.zeros((3, 3))
    found = bank([zero, diagonal(0.7, 0.2, 0.1), zero], cutoff)
    assert set(found.classes) == {1}
    assert {label for group in found.members for label, _ in group} == {1}


def test_only_classes_without_variance_give_an_empty_bank():
    found = bank(np.zeros((2, 3, 3)), 0.5, 0.5, signs="both")
    assert found.filters.shape == (0, 3)
    assert found.shares.shape == found.classes.shape == found.energies.shape == (0,)
    assert found.members == []


def test_energies_are_minus_the_log_of_the_shares():
    found = bank([diagonal(0.5, 0.25, 0.25)])
    assert_allclose(found.energies, np.log([2, 4, 4]))
    assert found.filters.dtype == found.shares.dtype == np.float64
    assert found.classes.dtype == np.int64


# merging


def test_a_repeated_filter_is_merged_and_the_kept_one_keeps_its_own_energy():
    found = bank([direction(0, 0.6), direction(10, 0.9)], 0.95, cosine(11))
    assert_allclose(found.shares, [0.6])
    assert_array_equal(found.classes, [0])
    assert_allclose(found.filters, [[1, 0]], atol=1e-12)
    assert found.members == [[(0, 0), (1, 0)]]


def test_a_filter_at_less_overlap_than_the_cutoff_is_kept():
    found = bank([direction(0, 0.6), direction(10, 0.9)], 0.95, cosine(9))
    assert_allclose(found.shares, [0.9, 0.6])
    assert_array_equal(found.classes, [1, 0])
    assert found.members == [[(1, 0)], [(0, 0)]]


def test_opposite_directions_are_merged():
    found = bank([direction(5, 0.9), direction(180, 0.8)], 0.95, 0.9)
    assert found.members == [[(0, 0), (1, 0)]]


def test_the_order_of_classes_decides_which_is_kept():
    first, second = direction(0, 0.6), direction(10, 0.9)
    assert_allclose(bank([second, first], 0.95, 0.9).shares, [0.9])
    assert_allclose(bank([first, second], 0.95, 0.9).shares, [0.6])


def test_a_filter_is_merged_into_the_one_that_it_overlaps_most():
    densities = [direction(0), direction(30), direction(20)]
    found = bank(densities, 1.0, cosine(25))
    assert sorted(found.members) == [[(0, 0)], [(1, 0), (2, 0)]]


def test_overlap_with_a_merged_filter_does_not_count():
    densities = [direction(0), direction(20), direction(40)]
    found = bank(densities, 1.0, cosine(25))
    assert found.members == [[(0, 0), (1, 0)], [(2, 0)]]


def test_every_component_is_a_member_of_one_filter():
    found = bank([diagonal(0.6, 0.3, 0.1), diagonal(0.1, 0.5, 0.4)], 1.0, 0.9)
    groups = {tuple(group) for group in found.members}
    assert groups == {((0, 0), (1, 2)), ((0, 1), (1, 0)), ((0, 2), (1, 1))}


def test_a_correlation_cutoff_of_1_merges_none():
    found = bank([diagonal(0.7, 0.3)] * 3, 1.0, 1.0)
    assert found.members == [[(i, rank)] for rank in (0, 1) for i in range(3)]


@pytest.mark.parametrize("seed", range(5))
def test_a_correlation_cutoff_of_1_is_not_exceeded_by_rounding(seed):
    found = bank([random_density(seed, 9)] * 2, 1.0, 1.0)
    assert len(found.filters) == 18


def test_a_correlation_cutoff_of_0_keeps_orthogonal_filters():
    found = bank([diagonal(1, 0, 0), diagonal(0, 0.7, 0.3)], 1.0, 0.0)
    assert len(found.filters) == 3


def test_filters_of_one_class_are_never_merged():
    found = bank([random_density(3, 8)], 1.0, 0.0)
    assert found.members == [[(0, rank)] for rank in range(8)]


def test_both_components_of_a_class_can_merge_into_one_filter():
    found = bank([direction(45), direction(0, 0.6)], 1.0, 0.7)
    assert found.members == [[(0, 0), (1, 0), (1, 1)]]


# order and number


def test_filters_are_sorted_by_energy_with_ties_by_class_then_rank():
    found = bank([diagonal(0.25, 0.5, 0.25), diagonal(0.5, 0.375, 0.125)])
    ranked = [group[0] for group in found.members]
    assert ranked == [(0, 0), (1, 0), (1, 1), (0, 1), (0, 2), (1, 2)]
    assert_allclose(found.shares, [0.5, 0.5, 0.375, 0.25, 0.25, 0.125])
    assert_array_equal(found.classes, [0, 1, 1, 0, 0, 1])


@pytest.mark.parametrize("n_filters", [1, 2, 3, 4, 5, 100])
def test_n_filters_is_an_upper_bound_on_those_of_lowest_energy(n_filters):
    densities = [diagonal(0.9, 0.1), direction(45, 0.7)]
    found, full = bank(densities, n_filters=n_filters), bank(densities)
    assert len(found.filters) == len(found.members) == min(n_filters, 4)
    assert_array_equal(found.shares, full.shares[:n_filters])
    assert_array_equal(found.filters, full.filters[:n_filters])


@pytest.mark.parametrize("n_filters", [None, 2])
def test_both_signs_put_the_negatives_behind_all_filters(n_filters):
    densities = [random_density(4, 3), random_density(5, 3)]
    one = bank(densities, n_filters=n_filters)
    both = bank(densities, n_filters=n_filters, signs="both")
    assert_array_equal(both.filters, np.concatenate([one.filters, -one.filters]))
    assert_array_equal(both.shares, np.tile(one.shares, 2))
    assert_array_equal(both.classes, np.tile(one.classes, 2))
    assert both.members == one.members * 2


# signs


@pytest.mark.parametrize(
    ("entries", "sign"),
    [
        ([3, -1, -1], 1),
        ([-3, 1, 1], -1),
        ([-1, 3, -1], 1),  # the sum, not the first entry
        ([1, -1], 1),  # no sum: the first large entry
        ([-1, 1], -1),
        ([0.49, -1, 0.51], -1),  # the first is below half of the largest
        ([0.5, -1, 0.5], 1),  # exactly half counts
        ([-0.5, 1, -0.5], -1),
        ([0.2, -0.2, 0.1, -1, 0.9], -1),
        ([1, -0.91], 1),  # |sum| is 0.047 of the magnitudes: first large entry
        ([-0.91, 1], -1),
        ([-0.9055, 1], -1),  # 0.0496, just below the threshold
        ([-0.9040, 1], 1),  # 0.0504, just above
        ([-0.90, 1], 1),  # |sum| is 0.053 of the magnitudes: the sum
        ([0.90, -1], -1),
        ([-19, 21], 1),  # exactly 0.05 counts as a sum
        ([1], 1),
        ([-1], -1),
    ],
)
def test_signs_follow_the_sum_or_the_first_large_entry(entries, sign):
    filters = np.array([entries], dtype=float)
    filters /= np.abs(filters).max()
    assert_array_equal(fix_signs(filters), sign * filters)
    assert_array_equal(fix_signs(-filters), sign * filters)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30))
def test_signs_do_not_depend_on_the_signs_before(seed, d):
    rng = np.random.default_rng(seed)
    filters = rng.normal(size=(5, d))
    filters[::2] -= filters[::2].mean(axis=1, keepdims=True)
    flips = rng.choice([-1.0, 1.0], size=(5, 1))
    assert_array_equal(fix_signs(filters * flips), fix_signs(filters))
    assert_array_equal(np.abs(fix_signs(filters)), np.abs(filters))


@pytest.mark.parametrize("signs", ["one", "both"])
def test_the_bank_does_not_depend_on_the_signs_of_lapack(monkeypatch, signs):
    densities = [random_density(seed, 6, decay=0.7) for seed in range(4)]
    expected = bank(densities, 0.95, 0.8, 9, signs)
    eigh, rng = np.linalg.eigh, np.random.default_rng(6)

    def flipped(matrix):
        values, vectors = eigh(matrix)
        return values, vectors * rng.choice([-1.0, 1.0], size=len(values))

    monkeypatch.setattr(np.linalg, "eigh", flipped)
    found = bank(densities, 0.95, 0.8, 9, signs)
    assert_allclose(found.filters, expected.filters, rtol=0, atol=0)
    assert found.members == expected.members


# properties


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    d=st.integers(2, 9),
    n_classes=st.integers(1, 4),
    variance=st.floats(0.05, 1.0),
    correlation=st.floats(0.0, 1.0),
)
def test_properties_of_every_bank(seed, d, n_classes, variance, correlation):
    densities = [random_density(seed + i, d, decay=0.6) for i in range(n_classes)]
    found = bank(densities, variance, correlation)
    assert (np.diff(found.energies) >= -2e-9).all()  # ties: class, rank
    assert {group[0][0] for group in found.members} == set(found.classes)
    cosines = np.abs(found.filters @ found.filters.T)
    same = found.classes[:, np.newaxis] == found.classes
    assert_allclose(cosines[same], np.eye(len(cosines))[same], atol=1e-12)
    assert correlation == 1.0 or (cosines[~same] <= correlation + 1e-12).all()
    for row, label, share in zip(
        found.filters, found.classes, found.shares, strict=True
    ):
        assert_allclose(densities[label] @ row, share * row, atol=1e-12)
    counts = [n_components(eigenbasis(rho)[0], variance) for rho in densities]
    listed = sorted(member for group in found.members for member in group)
    assert listed == [(i, rank) for i in range(n_classes) for rank in range(counts[i])]


def test_energies_equal_to_rounding_are_in_order_of_class_and_rank():
    nudge = np.array([0.0, 1e-15, -1e-15])
    for sign in (1, -1):
        first = np.diag([0.6, 0.3, 0.1] + sign * nudge)
        second = np.diag([0.1, 0.3, 0.6] - sign * nudge)
        found = bank([first, second], correlation_cutoff=1.0)
        assert_array_equal(found.classes, [0, 1, 0, 1, 0, 1])


def test_an_energy_of_zero_has_no_sign():
    assert np.signbit(bank([np.eye(1)]).energies[0]) == np.False_
