"""Histograms of the magnitudes of images: medians, outliers, merging, markers."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdmn.statistics.magnitudes import OUTLIER, Magnitudes, warn_of_missing


def images_of(squares, dtype="f8"):
    """Return images of 2 x 2 pixels with given sums of squares."""
    images = np.zeros((len(squares), 2, 2, 1), dtype)
    images[:, 1, 0, 0] = np.sqrt(squares)
    return images


def magnitudes_of(squares, labels=None, n_classes=1):
    found = Magnitudes.empty(n_classes)
    labels = np.zeros(len(squares), int) if labels is None else np.asarray(labels)
    found.update(images_of(np.asarray(squares, float)), labels)
    return found


def test_median_is_that_of_its_bin_and_leaves_out_blank_images():
    squares = [0, 0, 0, 0, 4.0, 5.0, 6.0, 100.0]
    assert_allclose(magnitudes_of(squares).medians, 5.0)  # the bin from 4 to 16
    assert_array_equal(magnitudes_of([0, 0]).medians, 0)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 3e9])
def test_outliers_do_not_depend_on_units(scale):
    squares = np.array([1.0, 1.2, 1.4, 1.0, 0.01, 20.0, 1000.0, 1e30]) * scale
    found = magnitudes_of(squares)
    assert found.counts[found.outliers & (found.counts > 0)].sum() == 2
    assert_allclose(found.robust_mean(), squares[:6].mean(), rtol=1e-12)


def test_mean_of_images_without_outliers_is_the_mean(rng):
    squares = rng.lognormal(0, 0.6, 500)
    assert squares.max() < OUTLIER * np.median(squares)
    assert_allclose(magnitudes_of(squares).robust_mean(), squares.mean(), rtol=1e-12)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_images_that_overflow_are_outliers(value):
    squares = np.array([1.0, 2.0, 3.0, value])
    assert_allclose(magnitudes_of(squares).robust_mean(), 2.0)
    assert not np.isfinite(magnitudes_of([value, value, 1.0]).robust_mean())


def test_merged_histograms_are_those_of_all_images(rng):
    squares, labels = rng.lognormal(0, 3, 200), rng.integers(0, 3, 200)
    whole = magnitudes_of(squares, labels, 3)
    merged = whole.like(3)
    for part in np.array_split(np.arange(200), 3):
        merged.merge(magnitudes_of(squares[part], labels[part], 3))
    assert_array_equal(merged.counts, whole.counts)
    assert_allclose(merged.totals, whole.totals, rtol=1e-12)
    assert (merged.least, merged.greatest) == (whole.least, whole.greatest)
    assert_array_equal(whole.counts.sum(axis=1), np.bincount(labels))
    assert_allclose(whole.totals.sum(), squares.sum())


def test_owners_are_few_images_of_a_class_that_hold_most_of_its_sum():
    normal, wild = np.ones(8), np.array([1e6, 1e6])
    many_wild = np.r_[np.ones(5), np.full(4, 1e6)]  # more than a quarter: no outliers
    squares = np.r_[normal, normal, wild, many_wild]
    labels = np.r_[np.zeros(8, int), np.full(10, 1), np.full(9, 2)]
    n_outliers, held = magnitudes_of(squares, labels, 3).owners()
    assert_array_equal(n_outliers, [0, 2, 0])
    assert_allclose(held, [0, 2e6 / (2e6 + 8), 0])
    _, bounded = magnitudes_of(squares, labels, 3).owners(bound=1.0)
    assert_allclose(bounded, [0, 2 / 10, 0])


def test_many_small_magnitudes_do_not_make_the_others_outliers(rng):
    """Three quarters are smooth; the others spread without a gap, up to 2,000."""
    squares = np.r_[rng.uniform(0.5, 2.0, 300), np.geomspace(2.0, 2000.0, 100)]
    assert squares.max() > 5 * OUTLIER * np.median(squares)
    assert not magnitudes_of(squares).outliers.any()
    wild = magnitudes_of(np.r_[squares, 1e6, 2e9])
    assert wild.counts[wild.outliers].sum() == 2


@pytest.mark.parametrize(("n_wild", "n_outliers"), [(4, 4), (5, 0)])
def test_at_most_a_quarter_of_the_images_are_outliers(n_wild, n_outliers):
    found = magnitudes_of(np.r_[np.zeros(9), np.ones(12), np.full(n_wild, 1e9)])
    assert found.counts[found.outliers].sum() == n_outliers


def test_patch_variances_are_the_magnitudes_if_a_size_is_given(rng):
    images = rng.normal(size=(6, 5, 4, 2))
    found = Magnitudes.empty(1, (3, 2))
    found.update(images, np.zeros(6, int))
    windows = np.lib.stride_tricks.sliding_window_view(images, (3, 2), axis=(1, 2))
    expected = windows.var(axis=(3, 4, 5)).mean()
    assert_allclose(found.robust_mean(), expected, rtol=1e-12)


@pytest.mark.parametrize("marker", [-9999, -32768, 1e20, np.finfo(np.float32).max])
def test_values_that_mark_missing_pixels_are_told(marker):
    images = np.full((4, 3, 3, 1), 7.0, np.float32)
    images[1:, 0, 0] = marker  # in most of the images
    found = Magnitudes.empty(1)
    found.update(images, np.zeros(4, int))
    with pytest.warns(UserWarning, match="often marks missing pixels"):
        warn_of_missing(found)


@pytest.mark.parametrize("extremes", [(0, 255), (-9999, 9000), (0, 65535), (-1, 1)])
def test_usual_ranges_are_not_taken_for_missing_pixels(extremes):
    images = np.array(extremes, float).reshape(1, 1, 2, 1)
    found = Magnitudes.empty(1)
    found.update(images, np.zeros(1, int))
    assert found.missing() is None
