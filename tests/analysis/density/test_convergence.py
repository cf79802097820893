"""Errors of density matrices, and fluctuations, against simulation."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from skdmn.analysis.density.convergence import density_convergence, density_path
from skdmn.analysis.density.fluctuations import (
    Fluctuations,
    eigenvalue_fluctuations,
    fluctuation_test,
)
from skdmn.kernels.reference.convolution import patches

SCALES = np.array([2.0, 1.5, 1.0, 0.5])


def vectors(n, rng, scales=SCALES):
    """Gaussian vectors, as images of one patch each."""
    return rng.normal(size=(n, 1, len(scales))) * scales


def density(images, size=(1, 4)):
    rows = patches(images[..., None], size).reshape(-1, size[0] * size[1])
    moment = rows.T @ rows
    return moment / np.trace(moment)


def exact_variance(scales):
    """Variance of one Gaussian vector's part of a density matrix, by its moments."""
    values = scales**2
    rho = values / values.sum()
    # phi = (x x^T - rho x^T x) / trace; E|x x^T|^2 = E (x^T x)^2 = t^2 + 2 s
    trace, squares = values.sum(), np.sum(values**2)
    mixed = np.sum(rho * values) * trace + 2 * np.sum(rho * values**2)
    fourth = trace**2 + 2 * squares
    return (fourth - 2 * mixed + np.sum(rho**2) * fourth) / trace**2


# how many images are enough


def test_the_variance_of_gaussian_vectors_is_that_of_their_moments(rng):
    images = vectors(40_000, rng)
    found = density_convergence(images, kernel_size=(1, 4), n_batches=2000)
    assert_allclose(found.variances, exact_variance(SCALES), rtol=0.06)


def test_the_variance_of_three_images_by_hand():
    images = np.array([[[2.0, 0.0]], [[0.0, 1.0]], [[1.0, 1.0]]])
    found = density_convergence(images, kernel_size=(1, 2), n_batches=3)
    assert_allclose(found.densities[0], np.array([[5, 1], [1, 2]]) / 7)
    # |phi|^2 of the images: 160, 52 and 68, in units of (1 / 7)^2 (3 / 7)^2
    assert_allclose(found.variances, [(160 + 52 + 68) / 49 * 9 / 49 / 2])


def test_errors_and_bounds_hold_for_new_draws(rng):
    truth = np.diag(SCALES**2 / np.sum(SCALES**2))
    # many batches: fewer leave the estimate of n, and so its bound, to chance
    found = density_convergence(
        vectors(4000, rng), kernel_size=(1, 4), n_batches=2000, random_state=0
    )
    n = int(found.enough(0.1, confidence=0.9)[0])
    errors = [np.linalg.norm(density(vectors(n, rng)) - truth) for _ in range(1000)]
    errors = np.array(errors) / np.linalg.norm(truth)
    assert_allclose(np.mean(errors <= 0.1), 0.9, atol=0.03)
    assert_allclose(np.sqrt(np.mean(errors**2)), found.errors([n])[0, 0], rtol=0.1)


def test_bounds_hold_where_few_batches_were_seen(rng):
    truth = np.diag(SCALES**2 / np.sum(SCALES**2))
    held = []
    for seed in range(300):
        images = vectors(300, rng)
        found = density_convergence(
            images, kernel_size=(1, 4), n_batches=6, random_state=seed
        )
        error = np.linalg.norm(density(images) - truth) / np.linalg.norm(truth)
        held.append(error <= found.errors(confidence=0.9)[0])
    assert 0.85 < np.mean(held) < 0.96


def test_patches_of_an_image_are_not_taken_for_independent(rng):
    alike = np.tile(vectors(3000, rng), (1, 5, 1))  # five times the same patch
    one = density_convergence(alike[:, :1], kernel_size=(1, 4), n_batches=1000)
    five = density_convergence(alike, kernel_size=(1, 4), n_batches=1000)
    assert_allclose(five.variances, one.variances, rtol=0.1)


def test_deviations_of_eigenvalues_are_those_of_draws(rng):
    found = density_convergence(
        vectors(20_000, rng), kernel_size=(1, 4), n_batches=1000
    )
    drawn = [np.linalg.eigvalsh(density(vectors(500, rng))) for _ in range(500)]
    expected = np.std(drawn, axis=0)[::-1] * np.sqrt(500)
    assert_allclose(found.eigenvalue_deviations[0], expected, rtol=0.15)


def test_each_class_has_its_own_density_and_number(rng):
    wide, narrow = vectors(300, rng), vectors(200, rng, np.array([9.0, 1, 1, 1]))
    images = np.concatenate([wide, narrow])
    labels = np.repeat(["wide", "narrow"], [300, 200])
    found = density_convergence(images, labels, kernel_size=(1, 4), random_state=0)
    assert_array_equal(found.classes, ["narrow", "wide"])
    assert_array_equal(found.n_images, [200, 300])
    assert_allclose(found.densities[0], density(narrow), atol=1e-12)
    assert_allclose(found.densities[1], density(wide), atol=1e-12)
    assert found.enough(0.1)[0] < found.enough(0.1)[1] / 2


def test_enough_is_the_number_whose_error_is_that(rng):
    found = density_convergence(vectors(500, rng), kernel_size=(1, 4))
    for confidence in (None, 0.5, 0.99):
        n = found.enough(0.03, confidence=confidence)
        assert found.errors(n, confidence=confidence)[0, 0] <= 0.03
        assert found.errors(n - 1, confidence=confidence)[0, 0] > 0.03
    assert found.errors([10]).shape == (1, 1)
    assert_allclose(found.errors(), found.errors([500])[0])


def test_the_same_image_over_again_has_no_error():
    images = np.tile(np.arange(16.0).reshape(1, 4, 4), (20, 1, 1))
    found = density_convergence(images)
    assert_allclose(found.errors(), 0, atol=1e-7)


def test_a_path_ends_at_the_density_of_all_and_follows_finite_samples(rng):
    images = vectors(200, rng)
    path = density_path(
        images, [20, 100, 200], kernel_size=(1, 4), n_draws=300, random_state=0
    )
    assert path.eigenvalues.shape == (300, 3, 4)
    assert_allclose(path.errors[:, -1], 0, atol=1e-12)
    shares = np.linalg.eigvalsh(density(images))[::-1]
    assert_allclose(path.eigenvalues[0, -1], shares, atol=1e-12)
    squares = np.mean(path.errors**2, axis=0)
    expected = (1 / 100 - 1 / 200) / (1 / 20 - 1 / 200)
    assert_allclose(squares[1] / squares[0], expected, rtol=0.15)


def test_what_is_wrong_is_said(rng):
    images = vectors(20, rng)
    with pytest.raises(ValueError, match="does not fit images of 1 x 4"):
        density_convergence(images)
    with pytest.raises(ValueError, match="pass one label"):
        density_convergence(images, [0, 1], kernel_size=1)
    with pytest.raises(ValueError, match="smallest class has 2 images"):
        density_convergence(images, [0] * 18 + [1] * 2, kernel_size=1)
    with pytest.raises(ValueError, match="All patches of a class are 0"):
        density_convergence(0 * images, kernel_size=1)
    with pytest.raises(ValueError, match="pass \\(n, height, width\\)"):
        density_path(np.ones((4, 4)), [2])
    with pytest.raises(ValueError, match="ascending numbers from 1 to the 20"):
        density_path(images, [5, 30], kernel_size=1)
    found = density_convergence(images, kernel_size=1)
    with pytest.raises(ValueError, match="pass a positive number"):
        found.enough(0.0)
    with pytest.raises(ValueError, match="probability between 0 and 1"):
        found.enough(0.1, confidence=95)


# fluctuations


def test_changes_are_those_of_the_eigenvalues(rng):
    images = vectors(60, rng)
    steps = eigenvalue_fluctuations(
        images, kernel_size=(1, 4), step=20, start=20, random_state=3
    )
    order = np.random.RandomState(3).permutation(60)
    rows = images[order, 0]
    values = [np.linalg.eigvalsh(rows[:n].T @ rows[:n] / n)[::-1] for n in (20, 40, 60)]
    assert_array_equal(steps.n_images, [20, 40])
    assert_allclose(steps.changes, np.diff(values, axis=0) / 20, atol=1e-12)
    assert_allclose(steps.eigenvalues, values[-1], rtol=1e-12)


def test_gaussian_vectors_have_a_variance_of_2(rng):
    steps = eigenvalue_fluctuations(vectors(40_000, rng), kernel_size=(1, 4), step=50)
    found = fluctuation_test(steps)
    assert_allclose(found.constants, 2.0, rtol=0.3)
    assert_allclose(found.eigenvalue_exponent.measured, 2.0, atol=0.15)


def test_p_values_are_uniform_where_the_law_holds(rng):
    p_values = []
    for seed in range(80):
        steps = eigenvalue_fluctuations(
            vectors(3000, rng), kernel_size=(1, 4), step=15, random_state=seed
        )
        found = fluctuation_test(steps)
        p_values.append(
            [
                found.time_exponent.p_value,
                found.eigenvalue_exponent.p_value,
                found.collapse_p_value,
            ]
        )
    rejected = np.mean(np.array(p_values) < 0.1, axis=0)
    assert (rejected < 0.2).all()
    assert (rejected > 0.02).all()


def gaussian_steps(rng, n_steps=300, spreads=(1.0, 1.0, 1.0), power=1.0):
    """Changes of the law's own distribution, or of one that breaks it."""
    counts, values = 100 + 10 * np.arange(n_steps), np.array([4.0, 2.0, 1.0])
    before = np.sqrt(counts * (counts + 10.0))[:, None]
    noise = rng.normal(size=(n_steps, 3)) * spreads
    return Fluctuations(counts, 10, values, noise * values / before**power)


def test_the_law_itself_passes_all_tests(rng):
    found = fluctuation_test(gaussian_steps(rng))
    for claim in (found.time_exponent, found.eigenvalue_exponent):
        assert abs(claim.measured - claim.claimed) < 3 * claim.error
        assert claim.p_value > 0.01
    assert found.collapse_p_value > 0.01
    assert found.gaussian_p_value > 0.01
    assert found.gaussian_distance < 0.05


def test_each_part_of_the_law_can_fail(rng):
    uneven = fluctuation_test(gaussian_steps(rng, spreads=(1.0, 1.5, 1.0)))
    assert uneven.collapse_p_value < 1e-6
    assert uneven.time_exponent.p_value > 0.01
    tilted = fluctuation_test(gaussian_steps(rng, spreads=(2.0, 2**0.5, 1.0)))
    assert_allclose(tilted.eigenvalue_exponent.measured, 3.0, atol=0.2)
    assert tilted.eigenvalue_exponent.p_value < 1e-6
    slow = fluctuation_test(gaussian_steps(rng, power=0.5))
    assert_allclose(slow.time_exponent.measured, -0.5, atol=0.15)
    assert slow.time_exponent.p_value < 0.01
    law = gaussian_steps(rng)
    heavy = rng.standard_t(3, size=law.changes.shape) * law.changes
    assert fluctuation_test(law._replace(changes=heavy)).gaussian_p_value < 1e-3


def test_eigenvalues_that_move_together_do_not_count_twice():
    rng = np.random.default_rng(5)
    p_values = []
    for _ in range(200):
        law = gaussian_steps(rng)
        together = law.changes[:, :1] / law.eigenvalues[0] * law.eigenvalues
        mixed = 0.9 * together + 0.1 * law.changes
        mixed[:, 0] = 0.9 * together[:, 0] + 0.1 * gaussian_steps(rng).changes[:, 0]
        found = fluctuation_test(law._replace(changes=mixed))
        p_values.append(found.collapse_p_value)
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3


def test_too_few_steps_are_refused(rng):
    with pytest.raises(ValueError, match="do not allow two steps"):
        eigenvalue_fluctuations(vectors(20, rng), kernel_size=(1, 4), step=15)
    few = eigenvalue_fluctuations(vectors(100, rng), kernel_size=(1, 4))
    with pytest.raises(ValueError, match="pass at least 20 steps"):
        fluctuation_test(few)


def test_eigenvalues_of_zero_are_left_out(rng):
    images = vectors(100, rng, np.array([2.0, 1.0, 0.0, 0.0]))
    steps = eigenvalue_fluctuations(images, kernel_size=(1, 4), step=2)
    assert steps.changes.shape[1] == 2
    assert np.isfinite(steps.scaled).all()


def test_images_that_tell_nothing_are_refused(rng):
    images = rng.random((20, 4, 4))
    with pytest.raises(ValueError, match="are not all black"):
        density_path(0 * images, [5, 20])
    images[3, 1, 1] = np.nan
    for run in (density_convergence, eigenvalue_fluctuations):
        with pytest.raises(ValueError, match="NaN or infinite entries"):
            run(images)


def test_enough_is_one_image_at_least_and_a_number_at_most(rng):
    same = np.repeat(rng.random((1, 4, 4)), 30, axis=0)
    assert density_convergence(same).enough(0.1) == [1]
    others = density_convergence(rng.random((30, 4, 4)))
    assert others.enough(1e-30) > 10**18


def test_small_eigenvalues_of_float32_images_are_left_out(rng):
    x = rng.normal(size=(2000, 1, 3)).astype("f4")
    x = np.concatenate([x, x.sum(axis=2, keepdims=True)], axis=2)
    assert eigenvalue_fluctuations(x, kernel_size=(1, 4)).eigenvalues.min() > 0.1
