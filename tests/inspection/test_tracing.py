"""Shares of an output as shares of an input: the sum is kept, and rules are right."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdmn import operations
from skdmn.inspection.tracing import CONVENTIONS, Share, check_known, step, trace
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
    run,
)

SHAPE = (7, 6, 3)


def every_operation(rng):
    """Return operations on images of `SHAPE`, with strides and all paddings."""
    filters = rng.normal(size=(4, 2, 3, 3))
    centred = filters - filters.mean(axis=(1, 2, 3), keepdims=True)
    windows = [
        Window((2, 2), (2, 2), "same"),
        Window((3, 2), (1, 3), "same"),
        Window((2, 3), (3, 1), "valid"),
    ]
    return [
        Convolve(filters, (1, 2), "same"),
        Convolve(filters, bias=rng.normal(size=4)),
        Rectify(),
        *(MaxPool(window) for window in windows),
        *(AveragePool(window) for window in windows),
        Power(0.5),
        Encode(centred, 0.1, 0.2),
        ScaleChannels(rng.normal(size=3), rng.random(3) + 0.5),
        Select(np.array([2, 0, 2]), 3),
        Flatten(SHAPE),
        AverageFlips((Convolve(filters), Rectify()), "float64"),
        Concatenate(
            ((Convolve(filters, bias=np.ones(4)),), (Convolve(filters), Rectify())),
            "float64",
        ),
    ]


def share_of(rng, values):
    return Share(
        rng.normal(size=values.shape), rng.normal(size=values.shape), np.ones(2)
    )


def total(share, values):
    return share.bias + share.terms(values).reshape(len(values), -1).sum(axis=1)


def test_the_sum_is_kept_and_the_output_is_that_of_the_operation(rng):
    for operation in every_operation(rng):
        images = rng.normal(size=(2, *SHAPE))
        output, pull = step(operation, images)
        assert_allclose(output, run([operation], images, "float64"), atol=1e-12)
        share = share_of(rng, output)
        below = pull(share)
        assert below.multipliers.shape == images.shape
        assert_allclose(total(below, images), total(share, output), atol=1e-9)


def test_multipliers_are_the_gradient_of_piecewise_linear_operations(rng):
    change = 1e-6 * rng.normal(size=(2, *SHAPE))
    images = rng.normal(size=(2, *SHAPE))
    for operation in every_operation(rng):
        if isinstance(operation, tuple(CONVENTIONS)):
            continue
        output, pull = step(operation, images)
        share = share_of(rng, output)
        found = (pull(share).multipliers * change).sum()
        moved = step(operation, images + change)[0] - output
        assert_allclose(found, (share.multipliers * moved).sum(), rtol=1e-4)


def test_operations_on_rows(rng):
    rows = rng.normal(size=(2, 6))
    scaling = ScaleValues(rng.normal(size=6), rng.random(6) + 0.5)
    output, pull = trace([scaling, Unflatten((1, 2, 3))], rows)
    share = share_of(rng, output)
    assert_allclose(total(pull(share), rows), total(share, output))


def pulled(records, values, multipliers):
    """Return the terms of the input, for multipliers of the output."""
    values = np.asarray(values, dtype=float)
    output, pull = trace(records, values)
    multipliers = np.broadcast_to(np.asarray(multipliers, dtype=float), output.shape)
    share = pull(Share(multipliers, np.zeros(output.shape), np.zeros(len(values))))
    return share.terms(values)


def test_winners_of_max_pooling_share_in_equal_parts():
    values = np.array([1.0, 3.0, 3.0, 2.0]).reshape(1, 2, 2, 1)
    found = pulled([MaxPool(Window((2, 2), (2, 2), "valid"))], values, 2.0)
    assert found.ravel().tolist() == [0, 3, 3, 0]


def test_averages_and_powers_are_divided_in_proportion():
    values = np.array([0.0, 1.0, 3.0, 12.0]).reshape(1, 2, 2, 1)
    mean_and_root = [AveragePool(Window((2, 2), (2, 2), "valid")), Power(0.5)]
    found = pulled(mean_and_root, values, 1.0)
    assert_allclose(found.ravel(), np.array([0, 1, 3, 12]) / 16 * 2)


def test_contrast_normalized_features_are_divided_by_products_with_centred_pixels(rng):
    filters = rng.normal(size=(1, 2, 2, 1))
    filters -= filters.mean()
    patch = rng.normal(size=(1, 2, 2, 1)) + 100.0
    encode = Encode(filters, 0.1, 0.05)
    features = encode(patch).ravel()
    products = filters[0] * (patch[0] - patch.mean())
    for side, sign in enumerate((1, -1)):
        found = pulled([encode], patch, np.eye(2)[side])
        expected = sign * features[side] * products / abs(products.sum())
        assert_allclose(found[0], expected, atol=1e-9)


def test_a_constant_patch_and_one_of_zeros_contribute_nothing():
    assert np.mean([0.1] * 3) != 0.1
    encode = Encode(np.array([1, 1, -2.0]).reshape(1, 1, 3, 1), 0.1, 0.0)
    images = np.repeat([[0.1], [0.0]], 3, axis=1).reshape(2, 1, 3, 1)
    assert_array_equal(pulled([encode, Power(0.5)], images, 1.0), 0)


def test_every_record_has_a_rule():
    records = {
        value
        for value in vars(operations).values()
        if isinstance(value, type) and issubclass(value, Operation)
    }
    for record in records - {Operation, Scores}:
        assert step.dispatch(record) is not step.dispatch(object), record


@dataclass(frozen=True)
class Square(Operation):
    def __call__(self, images):
        return images**2


def test_unknown_operations_are_refused_before_work_starts():
    nested = AverageFlips((Rectify(), Square()))
    for records in ([Rectify(), Square()], [nested]):
        with pytest.raises(TypeError, match=r"Square is not an operation that .* can"):
            check_known(records)
