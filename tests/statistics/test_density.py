"""Class density matrices against a loop over every patch, cut up in every way."""

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skdmn.statistics.density import DensityAccumulator


def accumulated(images, labels, kernel=(3, 2), n_classes=3, centered=False):
    sums = DensityAccumulator.empty(
        n_classes, kernel, images.shape[3], centered=centered
    )
    sums.update(images, labels)
    return sums


def all_patches(images, kernel):
    """Return every valid patch as a flat row of float64, one at a time."""
    height, width = images.shape[1:3]
    return np.array(
        [
            image[y : y + kernel[0], x : x + kernel[1]].ravel()
            for image in images
            for y in range(height - kernel[0] + 1)
            for x in range(width - kernel[1] + 1)
        ],
        dtype=np.float64,
    )


def second_moment(rows, centered):
    mean = rows.mean(axis=0) if centered else np.zeros(rows.shape[1])
    moment = np.zeros((rows.shape[1], rows.shape[1]))
    for row in rows:
        moment += np.outer(row - mean, row - mean)
    return moment / len(rows), mean


def assert_same_sums(ours, theirs, rtol=0.0):
    assert_array_equal(ours.n_patches, theirs.n_patches)
    assert_array_equal(ours.n_images, theirs.n_images)
    scale = np.abs(theirs.outer_products).max()
    assert_allclose(
        ours.outer_products, theirs.outer_products, rtol=rtol, atol=rtol * scale
    )
    if theirs.sums is not None:
        scale = np.abs(theirs.sums).max()
        assert_allclose(ours.sums, theirs.sums, rtol=rtol, atol=rtol * scale)


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, size=(12, 6, 5, 2), dtype=np.uint8)


@pytest.fixture
def labels():
    return np.array([0, 1, 2, 2, 1, 0, 0, 2, 2, 2, 1, 2])


# against the definition


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("kernel", [(1, 1), (1, 4), (3, 2), (6, 5)])
def test_each_class_is_the_second_moment_of_its_valid_patches(
    rng, labels, dtype, centered, kernel
):
    images = (100 * rng.random((12, 6, 5, 2))).astype(dtype)
    density = accumulated(images, labels, kernel, centered=centered).density_matrices()
    for label in range(3):
        rows = all_patches(images[labels == label], kernel)
        moment, mean = second_moment(rows, centered)
        trace = np.trace(moment)
        rounding = 1e-7 if dtype is np.float32 else 1e-12
        assert_allclose(density.partition_functions[label], trace, rtol=5 * rounding)
        assert_allclose(density.matrices[label], moment / trace, atol=rounding)
        if centered:
            assert_allclose(density.means[label], mean, rtol=rounding)
    assert centered or density.means is None


def test_patches_and_images_are_counted_by_class(images, labels):
    sums = accumulated(images, labels, (3, 2))
    assert_array_equal(sums.n_images, [3, 3, 6])
    assert_array_equal(sums.n_patches, np.array([3, 3, 6]) * 4 * 4)
    assert sums.n_images.dtype == sums.n_patches.dtype == np.int64


@pytest.mark.parametrize("centered", [False, True])
def test_matrices_are_symmetric_positive_and_of_trace_1(images, labels, centered):
    matrices = (
        accumulated(images, labels, centered=centered).density_matrices().matrices
    )
    assert_allclose(np.trace(matrices, axis1=1, axis2=2), 1.0, rtol=1e-14)
    assert_array_equal(matrices, np.swapaxes(matrices, 1, 2))
    assert np.linalg.eigvalsh(matrices).min() >= -1e-15


def test_sums_of_8_bit_images_are_exact_integers(images, labels):
    rows = all_patches(images[labels == 2], (3, 2)).astype(np.int64)
    sums = accumulated(images, labels, (3, 2), centered=True)
    assert_array_equal(sums.outer_products[2], rows.T @ rows)
    assert_array_equal(sums.sums[2], rows.sum(axis=0))


def test_images_and_labels_stay_unchanged(images, labels):
    before = images.copy(), labels.copy()
    images.flags.writeable = labels.flags.writeable = False
    accumulated(images, labels).density_matrices()
    assert_array_equal(images, before[0])
    assert_array_equal(labels, before[1])


def test_reading_the_matrices_leaves_the_sums_unchanged(images, labels):
    sums = accumulated(images, labels, centered=True)
    first, second = sums.density_matrices(), sums.density_matrices()
    for one, other in zip(first, second, strict=True):
        assert_array_equal(one, other)
    assert_same_sums(sums, accumulated(images, labels, centered=True))


# batches, order, merging


@settings(deadline=None, max_examples=40)
@given(
    order=st.permutations(range(12)),
    cuts=st.lists(st.integers(0, 12), max_size=4),
    centered=st.booleans(),
    dtype=st.sampled_from([np.uint8, np.float32, np.float64]),
)
def test_batches_order_and_merging_do_not_matter(order, cuts, centered, dtype):
    rng = np.random.default_rng(1)
    images = (255 * rng.random((12, 4, 4, 2))).astype(dtype)
    labels = rng.integers(0, 3, size=12)
    whole = accumulated(images, labels, centered=centered)
    updated = accumulated(images[:0], labels[:0], centered=centered)
    merged = accumulated(images[:0], labels[:0], centered=centered)
    for batch in np.split(np.array(order), sorted(cuts)):
        updated.update(images[batch], labels[batch])
        merged.merge(accumulated(images[batch], labels[batch], centered=centered))
    rtol = {np.uint8: 0.0, np.float32: 1e-7, np.float64: 1e-12}[dtype]
    assert_same_sums(updated, whole, rtol)
    assert_same_sums(merged, whole, rtol)


@pytest.mark.parametrize("budget", [1, 200, 2**40])
def test_tiles_do_not_matter(monkeypatch, images, labels, budget):
    whole = accumulated(images, labels, centered=True)
    monkeypatch.setattr("skdmn.kernels.geometry.TILE_VALUES", budget)
    assert_same_sums(accumulated(images, labels, centered=True), whole)


def test_merge_maps_the_classes_of_the_other(images, labels):
    first = accumulated(images, labels, n_classes=4, centered=True)
    other = accumulated(images[:6], labels[:6] % 2, n_classes=2, centered=True)
    first.merge(other, np.array([3, 1]))
    mapped = np.array([3, 1])[labels[:6] % 2]
    expected = accumulated(images, labels, n_classes=4, centered=True)
    expected.update(images[:6], mapped)
    assert_same_sums(first, expected)


def test_merge_leaves_the_other_unchanged(images, labels):
    first, other = accumulated(images, labels), accumulated(images[:5], labels[:5])
    first.merge(other)
    first.update(images, labels)
    assert_same_sums(other, accumulated(images[:5], labels[:5]))


# nothing to see


@pytest.mark.parametrize("centered", [False, True])
def test_classes_without_images_or_of_zeros_only_give_zeros(images, centered):
    labels = np.repeat([0, 2], 6)
    images[labels == 2] = 0
    density = accumulated(images, labels, centered=centered).density_matrices()
    assert_array_equal(density.matrices[1:], 0.0)
    assert_array_equal(density.partition_functions[1:], 0.0)
    assert_allclose(np.trace(density.matrices[0]), 1.0)


@pytest.mark.parametrize("value", [0.1, 0.6, 1 / 3, 1e-9, 7e5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_class_has_no_variance_about_its_mean(value, dtype):
    images = np.full((50, 9, 9, 1), value, dtype=dtype)
    labels = np.zeros(50, dtype=int)
    density = accumulated(images, labels, n_classes=1, centered=True).density_matrices()
    assert_array_equal(density.partition_functions, 0.0)
    assert_array_equal(density.matrices, 0.0)
    assert_allclose(density.means, images[0, 0, 0, 0], rtol=1e-12)


def test_a_constant_class_is_rank_1_without_centring():
    images = np.full((4, 5, 5, 1), 0.1)
    density = accumulated(images, np.zeros(4, int), n_classes=1).density_matrices()
    assert_allclose(density.matrices[0], 1 / 6, rtol=1e-12)
    assert_allclose(density.partition_functions, 6 * 0.01, rtol=1e-12)


@pytest.mark.parametrize("centered", [False, True])
def test_scale_changes_the_partition_function_only(rng, labels, centered):
    images = 3 + rng.random((12, 5, 5, 1))
    one = accumulated(images, labels, centered=centered).density_matrices()
    tiny = accumulated(images * 1e-30, labels, centered=centered).density_matrices()
    assert_allclose(tiny.matrices, one.matrices, rtol=1e-9, atol=1e-12)
    assert_allclose(
        tiny.partition_functions, one.partition_functions * 1e-60, rtol=1e-9
    )


# rounding


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("centered", [False, True])
def test_bright_images_keep_their_small_eigenvalues(rng, dtype, centered):
    images = (1e4 + rng.normal(size=(200, 6, 6, 1))).astype(dtype)
    sums = accumulated(images, np.zeros(200, int), n_classes=1, centered=centered)
    ours = np.linalg.eigvalsh(sums.density_matrices().matrices[0])
    rows = all_patches(images, (3, 2))
    rows = rows - rows.mean(axis=0) if centered else rows
    # squared singular values keep the small ones, where eigenvalues would not
    exact = np.linalg.svd(rows, compute_uv=False)[::-1] ** 2
    assert_allclose(ours, exact / exact.sum(), rtol=1e-6)


# other libraries and devices


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("centered", [False, True])
def test_torch_images_give_what_numpy_images_give(images, labels, dtype, centered):
    torch = pytest.importorskip("torch", reason="torch images are under test")
    images = images.astype(dtype)
    ours = accumulated(torch.from_numpy(images), labels, centered=centered)
    assert_same_sums(ours, accumulated(images, labels, centered=centered))
    assert isinstance(ours.outer_products, np.ndarray)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("device", ["CPU_DEVICE", "device1"])
def test_strict_images_give_what_numpy_images_give(images, labels, dtype, device):
    images = images.astype(dtype)
    theirs = array_api_strict.asarray(images, device=array_api_strict.Device(device))
    ours = accumulated(theirs, labels, centered=True)
    assert_same_sums(ours, accumulated(images, labels, centered=True))


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_device_without_float64_computes_in_float32(images, labels, centered, dtype):
    device = array_api_strict.Device("no_float64")
    theirs = array_api_strict.asarray(images.astype(dtype), device=device)
    ours = accumulated(theirs, labels, centered=centered).density_matrices()
    expected = accumulated(images, labels, centered=centered).density_matrices()
    assert ours.matrices.dtype == np.float64
    assert_allclose(ours.matrices, expected.matrices, atol=1e-5)
    assert_allclose(ours.partition_functions, expected.partition_functions, rtol=1e-4)
