"""Energies and Hamiltonians of matrices known by hand, and the gap of a layer."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import expm, logm
from scipy.ndimage import uniform_filter1d
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from skdmn import ClassPCAPatchTransformer, MaxPool2DTransformer, OverlapPruner
from skdmn.analysis.density.spectrum import (
    energies,
    gibbs_state,
    hamiltonian,
    layer_spectrum,
    overlap_gap,
    partition_function,
)


def random_moments(seed, d, rank=None):
    """Return second moments of d values, in no unit in particular."""
    rng = np.random.default_rng(seed)
    samples = rng.normal(size=(rank or 3 * d, d)) * np.linspace(1, 4, d)
    return samples.T @ samples


def smooth_images(n=60, shape=(12, 12), seed=0):
    images = np.random.default_rng(seed).random((n, *shape))
    for axis in (1, 2):
        images = uniform_filter1d(images, 3, axis=axis)
    return images - images.mean(), np.arange(n) % 3


# one matrix


def test_energies_of_a_diagonal():
    moments = np.diag([2.0, 6.0, 0.0])
    assert_allclose(energies(moments), [np.log(4 / 3), np.log(4), np.inf])
    assert partition_function(moments) == 8


def test_all_directions_alike_have_the_energy_log_d():
    assert_allclose(energies(np.eye(7)), np.log(7))
    assert_allclose(hamiltonian(np.eye(7)), np.log(7) * np.eye(7), atol=1e-14)


def test_energies_are_lowest_first_and_never_negative():
    assert_array_equal(energies([[5.0]]), [0.0])
    found = energies(np.outer([1.0, 2, 2], [1.0, 2, 2]))
    assert found[0] < 1e-12
    assert (found[1:] > 30).all()
    assert not np.signbit(found).any()


def test_a_matrix_of_zeros_has_no_finite_energy():
    assert_array_equal(energies(np.zeros((3, 3))), np.inf)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 8), st.floats(1e-3, 1e3))
def test_moments_are_z_times_exp_of_minus_the_hamiltonian(seed, d, scale):
    moments = scale * random_moments(seed, d)
    H, Z = hamiltonian(moments), partition_function(moments)
    assert_allclose(Z * expm(-H), moments, atol=1e-10 * Z)
    assert_allclose(H, -logm(moments / Z), atol=1e-8)
    assert_allclose(np.linalg.eigvalsh(H), energies(moments), atol=1e-10)
    assert_allclose(gibbs_state(H), moments / Z, atol=1e-12)
    assert_allclose(np.exp(-energies(moments)).sum(), 1)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(2, 6), st.floats(-900, 900))
def test_a_state_does_not_depend_on_where_energies_are_counted_from(seed, d, shift):
    H = random_moments(seed, d) / d
    assert_allclose(gibbs_state(H + shift * np.eye(d)), gibbs_state(H), atol=1e-10)
    assert_allclose(np.trace(gibbs_state(H)), 1)


def test_rotations_change_no_energy(rng):
    moments, rotation = random_moments(1, 5), np.linalg.qr(rng.normal(size=(5, 5)))[0]
    rotated = rotation @ moments @ rotation.T
    assert_allclose(energies(rotated), energies(moments))
    turned = rotation @ hamiltonian(moments) @ rotation.T
    assert_allclose(hamiltonian(rotated), turned, atol=1e-12)


@pytest.mark.parametrize("function", [energies, partition_function, hamiltonian])
def test_stacks_are_done_one_by_one(function):
    stack = np.array([random_moments(seed, 4) for seed in range(6)]).reshape(2, 3, 4, 4)
    found = function(stack)
    for at in np.ndindex(2, 3):
        assert_allclose(found[at], function(stack[at]), rtol=1e-12)
    assert_allclose(gibbs_state(stack)[1, 2], gibbs_state(stack[1, 2]))


def test_directions_without_variance_have_no_hamiltonian():
    with pytest.raises(ValueError, match="2 of 5 directions without variance"):
        hamiltonian(random_moments(0, 5, rank=3))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones(4), "square"),
        (np.ones((2, 3)), r"square matrices .* \(2, 3\)"),
        ([[1.0, np.nan], [np.nan, 1.0]], "NaN"),
        ([[1.0, 0.5], [0.0, 1.0]], "not symmetric"),
    ],
)
@pytest.mark.parametrize(
    "function", [energies, partition_function, hamiltonian, gibbs_state]
)
def test_what_is_no_matrix_of_moments_is_an_error(function, matrix, message):
    with pytest.raises(ValueError, match=message):
        function(matrix)


# layers


@pytest.mark.parametrize("cutoff", [0.5, 0.9, 1.0])
def test_a_layer_keeps_the_lowest_energies_of_each_class(cutoff):
    X, y = smooth_images()
    layer = ClassPCAPatchTransformer(
        3, variance_cutoff=cutoff, correlation_cutoff=1.0
    ).fit(X, y)
    spectrum = layer_spectrum(layer)
    assert_array_equal(spectrum.classes, [0, 1, 2])
    assert spectrum.energies.shape == (3, 9)
    for label in range(3):
        kept = layer.energies_[layer.filter_classes_ == label]
        assert len(kept) == spectrum.n_kept[label]
        assert_allclose(spectrum.energies[label, : len(kept)], kept, atol=1e-9)


def test_partition_functions_are_mean_squares_of_patches():
    X, y = smooth_images()
    layer = ClassPCAPatchTransformer(3).fit(X, y)
    patches = np.lib.stride_tricks.sliding_window_view(X[y == 1], (3, 3), axis=(1, 2))
    mean_square = (patches**2).sum(axis=(3, 4)).mean()
    assert_allclose(layer_spectrum(layer).partition_functions[1], mean_square)


def test_other_layers_have_no_spectrum():
    with pytest.raises(TypeError, match="MaxPool2DTransformer has no density"):
        layer_spectrum(MaxPool2DTransformer())
    with pytest.raises(NotFittedError):
        layer_spectrum(ClassPCAPatchTransformer())
    layer = ClassPCAPatchTransformer().fit(*smooth_images()).compact()
    with pytest.raises(AttributeError, match="compact"):
        layer_spectrum(layer)


# the gap


def test_the_first_gap_that_is_wide_enough_counts():
    assert overlap_gap([0.0, 7.0, 7.5, 15.0]) == (1, 7.0)
    assert overlap_gap([0.0, 7.0, 7.5, 15.0], min_gap=7.2) == (3, 7.5)
    assert overlap_gap([15.0, 7.5, 0.0, 7.0], min_gap=7.2) == (3, 7.5)


def test_where_no_gap_is_wide_enough_the_widest_is_told():
    assert overlap_gap([0.0, 1.0, 4.0, 9.0]) == (0, 5.0)
    assert overlap_gap([3.0]) == (0, 0.0)
    assert overlap_gap([0.0, 6.0]) == (0, 6.0)  # not wider than 6


def test_infinite_energies_make_no_gap():
    assert overlap_gap([0.0, 1.0, np.inf, np.inf]) == (0, 1.0)
    assert overlap_gap([np.inf]) == (0, 0.0)


@pytest.mark.parametrize(
    "levels",
    [[9, 1, 8.5, 0, 10], [0, 7, 7.5, 15], [0, 5, 10], [0, 1, 20, 21], [2, 2, 2]],
)
@pytest.mark.parametrize("min_gap", [0.4, 3.0, 6.0, 7.2])
def test_the_gap_is_that_of_the_pruner(levels, min_gap):
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(20, 3, 4, len(levels)))
    X = signs * np.exp(-np.array(levels) / 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruner = OverlapPruner(min_gap=min_gap).fit(X)
    gap = overlap_gap(pruner.energies_, min_gap)
    assert gap == (pruner.n_overlap_, pruner.gap_)


def test_a_linear_layer_has_a_gap_behind_25_and_the_pruner_sees_the_same():
    complete = {"activation": None, "class_based": False, "variance_cutoff": 1.0}
    X, _ = smooth_images()
    dmn = make_pipeline(*[ClassPCAPatchTransformer(3, **complete) for _ in range(2)])
    maps = dmn.fit_transform(X)
    levels = layer_spectrum(dmn[1]).energies[0]
    gap = overlap_gap(levels)
    with pytest.warns(UserWarning, match="rounding noise"):
        pruner = OverlapPruner().fit(maps)
    assert gap.n_overlap == pruner.n_overlap_ == 25
    assert gap.width > 20
    # the mean square of a channel is the eigenvalue of its filter
    assert_allclose(np.sort(pruner.energies_)[:25], levels[:25], atol=1e-9)


def test_overlap_counts_each_pixel_as_often_as_patches_contain_it():
    # a complete first layer keeps the norm of every patch, so the second layer's
    # density matrix has the eigenvalues of sqrt(D) rho sqrt(D), D the counts
    complete = {"activation": None, "class_based": False, "variance_cutoff": 1.0}
    X, _ = smooth_images()
    dmn = make_pipeline(*[ClassPCAPatchTransformer(3, **complete) for _ in range(2)])
    levels = layer_spectrum(dmn.fit(X)[1]).energies[0]
    single = ClassPCAPatchTransformer(5, **complete).fit(X)
    along = [1, 2, 3, 2, 1]
    root = np.sqrt(np.outer(along, along)).ravel()
    weighted = root[:, np.newaxis] * single.density_matrices_[0] * root
    assert_allclose(energies(weighted), levels[:25], atol=1e-10)


@pytest.mark.parametrize("between", [["relu"], ["relu", "pool"]])
def test_behind_a_relu_or_pooling_there_is_no_gap(between):
    X, _ = smooth_images()
    first = ClassPCAPatchTransformer(3, class_based=False, variance_cutoff=1.0)
    pool = [MaxPool2DTransformer(2)] if "pool" in between else []
    maps = make_pipeline(first, *pool).fit_transform(X)
    second = ClassPCAPatchTransformer(3, class_based=False).fit(maps)
    gap = overlap_gap(layer_spectrum(second).energies[0])
    assert gap.n_overlap == 0
    assert gap.width < 4


@pytest.mark.parametrize("levels", [[[0.0, 1.0]], 1.0, [0.0, np.nan]])
def test_energies_must_be_a_row_of_numbers(levels):
    with pytest.raises(ValueError, match="pass the energies of one density matrix"):
        overlap_gap(levels)


def test_a_gap_cannot_be_negative():
    with pytest.raises(ValueError, match="min_gap=-1 is negative"):
        overlap_gap([0.0, 1.0], min_gap=-1)


@pytest.mark.parametrize("of", [energies, hamiltonian])
def test_what_is_no_second_moment_is_refused(of):
    with pytest.raises(ValueError, match="negative eigenvalue -1, so it is not"):
        of([[1.0, 2.0], [2.0, 1.0]])
