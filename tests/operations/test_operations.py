"""Operations: what they do to shapes and images, and that fusing changes nothing."""

from dataclasses import fields

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from stacks import STACKS, images_and_labels, network

from skdmn import operations
from skdmn.kernels.geometry import Window
from skdmn.operations import (
    AverageFlips,
    AveragePool,
    Concatenate,
    Convolve,
    Encode,
    Flatten,
    MaxPool,
    Operation,
    Power,
    Rectify,
    ScaleChannels,
    ScaleValues,
    Scores,
    Select,
    Unflatten,
    fused,
    planned,
    run,
    simplified,
)
from skdmn.operations.fusion import ConvolveAndPool, EncodeAndPool, needs_no_batches
from skdmn.utils.array_api import HOST

POOL = Window((2, 2), (2, 2), "same")
SHAPE = (7, 6, 3)


def every_operation(rng):
    """Return one of each record that takes images of `SHAPE`."""
    filters = rng.normal(size=(4, 2, 3, 3))
    centred = filters - filters.mean(axis=(1, 2, 3), keepdims=True)
    return [
        Convolve(filters, (1, 2), "same"),
        Convolve(filters, bias=rng.normal(size=4)),
        Rectify(),
        MaxPool(POOL),
        AveragePool(POOL),
        Power(0.5),
        Encode(centred, 0.1, 0.2),
        ScaleChannels(rng.normal(size=3), rng.random(3) + 0.5),
        Select(np.array([2, 0]), 3),
        Flatten(SHAPE),
        Unflatten((6, 7, 3)),
        AverageFlips((Convolve(filters), Rectify()), "float64"),
        Concatenate(
            ((Encode(centred, 0.1, 0.2),), (Convolve(filters), Rectify())), "float64"
        ),
    ]


def test_every_record_is_tried(rng):
    records = {
        value
        for value in vars(operations).values()
        if isinstance(value, type) and issubclass(value, Operation)
    }
    of_rows = {ScaleValues, Scores, Operation}
    assert {type(one) for one in every_operation(rng)} == records - of_rows


def test_output_shape_is_that_of_the_output(rng):
    images = rng.normal(size=(5, *SHAPE))
    for operation in every_operation(rng):
        found = run([operation], images, "float64")
        height, width, channels = operation.output_shape(SHAPE)
        if found.ndim == 2:
            assert (height, channels) == (1, 1)
            assert found.shape == (5, width)
        else:
            assert found.shape == (5, height, width, channels)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_moved_changes_floating_arrays_alone(rng, dtype):
    for operation in every_operation(rng):
        moved = operation.moved(HOST, dtype)
        for field in fields(operation):
            before, after = getattr(operation, field.name), getattr(moved, field.name)
            if isinstance(before, np.ndarray):
                floating = before.dtype.kind == "f"
                assert after.dtype == (dtype if floating else before.dtype)
                assert_allclose(after, before, rtol=1e-6)


def test_images_are_computed_in_the_dtype_asked_for(rng):
    images = rng.integers(0, 255, size=(3, *SHAPE)).astype(np.uint8)
    for operation in every_operation(rng):
        for dtype in ("float32", "float64"):
            steps = planned([operation], HOST, dtype)
            assert run(steps, images, dtype).dtype == dtype


# analytic cases


def test_rectify_power_and_scaling():
    images = np.array([-4.0, 0.0, 9.0]).reshape(1, 1, 3, 1)
    assert run([Rectify()], images, "float64").ravel().tolist() == [0, 0, 9]
    assert run([Power(0.5)], images, "float64").ravel().tolist() == [-2, 0, 3]
    scaled = run([ScaleChannels(np.array([1.0]), np.array([2.0]))], images, "float64")
    assert scaled.ravel().tolist() == [-2.5, -0.5, 4]


def test_average_over_flips_of_a_step():
    step = Convolve(np.array([-1.0, 1.0]).reshape(1, 1, 2, 1))
    images = np.array([0.0, 1.0, 3.0]).reshape(1, 1, 3, 1)
    plain = run([step], images, "float64").ravel()
    both = run([AverageFlips((step,), "float64")], images, "float64").ravel()
    assert plain.tolist() == [1, 2]
    assert both.tolist() == [(1 - 2) / 2, (2 - 1) / 2]


def test_scores_of_two_classes_have_a_row_for_each():
    one = Scores(np.array([[1.0, 2.0]]), np.array([3.0]), np.zeros(2), np.array([0, 1]))
    both = one.of_all_classes()
    rows = np.array([[1.0, 1.0]])
    assert_array_equal(run([one], rows, "float64"), [[6.0]])
    assert_array_equal(run([both], rows, "float64"), [[0.0, 6.0]])


# fusion


def test_a_convolution_takes_in_what_follows_it(rng):
    filters = rng.normal(size=(4, 2, 2, 3))
    kept = np.array([3, 1])
    steps = [Convolve(filters), Rectify(), MaxPool(POOL), Select(kept, 4)]
    (one,) = fused(steps)
    assert isinstance(one, ConvolveAndPool)
    assert (one.activation, one.pool) == ("relu", POOL)
    assert_array_equal(one.filters, filters[kept])
    images = rng.normal(size=(5, *SHAPE))
    assert_allclose(run([one], images, "float64"), run(steps, images, "float64"))


def test_an_encoding_takes_in_its_average(rng):
    filters = rng.normal(size=(4, 2, 2, 3))
    filters -= filters.mean(axis=(1, 2, 3), keepdims=True)
    steps = [Encode(filters, 0.1, 0.2), AveragePool(POOL), Power(0.5)]
    (one,) = fused(steps)
    assert isinstance(one, EncodeAndPool)
    images = rng.normal(size=(5, *SHAPE))
    assert_allclose(
        run([one], images, "float64"), run(steps, images, "float64"), atol=1e-12
    )


@pytest.mark.parametrize(
    "apart",
    [
        [Convolve(np.ones((1, 1, 1, 3))), MaxPool(POOL), Rectify()],
        [Convolve(np.ones((1, 1, 1, 3)), bias=np.ones(1)), Rectify()],
        [Convolve(np.ones((1, 1, 1, 3))), AveragePool(POOL)],
        [Rectify(), MaxPool(POOL)],
        [Convolve(np.ones((1, 1, 1, 3))), MaxPool(POOL), MaxPool(POOL)],
    ],
)
def test_what_does_not_fuse_stays_apart(rng, apart):
    images = rng.normal(size=(4, *SHAPE))
    steps = fused(apart)
    assert len(steps) > 1
    assert_allclose(run(steps, images, "float64"), run(apart, images, "float64"))


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("name", STACKS)
def test_simplified_and_fused_compute_the_same(name, fold):
    X, y = images_and_labels()
    chain = network(name).fit(X, y).operations()
    images = X.astype(np.float64)
    expected = run(chain, images, "float64")
    for steps in (simplified(chain, fold), fused(chain)):
        found = run(steps, images, "float64")
        assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_a_flattening_that_is_undone_is_left_out():
    assert simplified([Flatten(SHAPE), Unflatten(SHAPE)], False) == ()
    other = [Flatten(SHAPE), Unflatten((6, 7, 3))]
    assert list(simplified(other, False)) == other


def test_one_tiled_operation_needs_no_batches():
    convolution = Convolve(np.ones((1, 1, 1, 3)))
    assert needs_no_batches([convolution, Flatten(SHAPE)])
    assert not needs_no_batches([convolution, convolution])
    assert not needs_no_batches([Rectify()])
