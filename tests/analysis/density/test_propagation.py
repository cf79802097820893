"""Propagated filters give on the image what the layers give one after the other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import uniform_filter1d
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skdmn import (
    ChannelStandardScaler,
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    MaxPool2DTransformer,
    OverlapPruner,
    WhitenedPCAPatchTransformer,
    make_dmn,
)
from skdmn.analysis.density.propagation import propagate_filters


def images_and_labels(n=12, shape=(14, 13, 2), seed=0):
    images = np.random.default_rng(seed).random((n, *shape))
    for axis in (1, 2):
        images = uniform_filter1d(images, 3, axis=axis)
    return images, np.arange(n) % 3


def linear(kernel=2, n_filters=5, **params):
    return ClassPCAPatchTransformer(
        kernel,
        n_filters=n_filters,
        activation=None,
        **{"variance_cutoff": 1.0, "correlation_cutoff": 1.0, **params},
    )


def stack(*layers):
    return Pipeline([(f"layer{i}", layer) for i, layer in enumerate(layers)])


def response(propagated, images, i, j):
    """Return what propagated filters give at one position, pixel by pixel."""
    n, height, width, channels = propagated.filters.shape
    total = np.tile(propagated.bias, (len(images), 1))
    for f, y, x, c in np.ndindex(n, height, width, channels):
        row = propagated.offset[0] + i * propagated.stride[0] + y
        column = propagated.offset[1] + j * propagated.stride[1] + x
        if 0 <= row < images.shape[1] and 0 <= column < images.shape[2]:
            pixels = images[:, row, column, c]
            total[:, f] += propagated.filters[f, y, x, c] * pixels
        else:
            assert propagated.offset < (0, 0), "only padding reaches outside"
    return total


LINEAR = {
    "one": [linear(3)],
    "two": [linear((3, 2)), linear((2, 3))],
    "strides": [linear(2, stride=2), linear((2, 1), stride=(1, 2)), linear(2)],
    "both signs": [linear(2, signs="both"), linear(2)],
    "pruned": [linear(2), OverlapPruner(2), linear(2), OverlapPruner(1)],
    "scaled": [ChannelStandardScaler(), linear(2), ChannelStandardScaler(), linear(2)],
    "scaled and pruned": [linear(2), ChannelStandardScaler(), OverlapPruner(1)],
}


@pytest.mark.parametrize("name", LINEAR)
def test_a_linear_network_gives_what_its_propagated_filters_give(name):
    X, y = images_and_labels()
    dmn = stack(*LINEAR[name]).fit(X, y)
    outputs = dmn.transform(X)
    propagated = propagate_filters(dmn, len(dmn) - 1)
    assert propagated.filters.dtype == np.float64
    assert len(propagated.filters) == outputs.shape[3]
    rows, columns = outputs.shape[1:3]
    for i, j in [(0, 0), (rows - 1, columns - 1), (rows - 1, 0)]:
        found = response(propagated, X, i, j)
        assert_allclose(found, outputs[:, i, j], rtol=1e-9, atol=1e-11)
    # the last receptive field ends where the last whole window ends
    reach = np.array(propagated.stride) * (rows - 1, columns - 1)
    reach += propagated.filters.shape[1:3]
    assert (reach <= X.shape[1:3]).all()
    assert propagated.offset == (0, 0)


@settings(deadline=None, max_examples=15)
@given(
    kernels=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=2),
    strides=st.lists(st.tuples(st.integers(1, 2), st.integers(1, 2)), min_size=2),
)
def test_any_composition_of_kernels_and_strides(kernels, strides):
    X, y = images_and_labels(6, (24, 24, 1))
    layers = [
        linear(kernel, 3, stride=stride)
        for kernel, stride in zip(kernels[:3], strides[:3], strict=False)
    ]
    dmn = stack(*layers)
    outputs = dmn.fit_transform(X, y)
    propagated = propagate_filters(dmn, -1)
    field = stride = np.array([1, 1])
    for layer in layers:
        field = field + (np.array(layer.kernel_size) - 1) * stride
        stride = stride * layer.stride
    assert propagated.filters.shape[1:3] == tuple(field)
    assert propagated.stride == tuple(stride)
    end = outputs.shape[1] - 1, outputs.shape[2] - 1
    found = response(propagated, X, *end)
    assert_allclose(found, outputs[:, end[0], end[1]], rtol=1e-9, atol=1e-11)


def test_filters_of_the_first_layer_are_its_own():
    X, y = images_and_labels()
    dmn = stack(ClassPCAPatchTransformer(3), MaxPool2DTransformer(2)).fit(X, y)
    propagated = propagate_filters(dmn, "layer0")
    assert_array_equal(propagated.filters, dmn["layer0"].filters_)
    assert_array_equal(propagated.bias, 0)
    assert propagated.stride == (1, 1)


def test_all_layers_are_numbered_and_named():
    X, y = images_and_labels()
    dmn = stack(linear(2), linear(3), linear(2)).fit(X, y)
    for number, name in enumerate(["layer0", "layer1", "layer2"]):
        named, numbered = (propagate_filters(dmn, which) for which in (name, number))
        assert_array_equal(named.filters, numbered.filters)
        assert named.filters.shape[1] == [2, 4, 5][number]
    assert_array_equal(propagate_filters(dmn, -1).filters, named.filters)


def test_a_network_gives_what_its_pipeline_gives():
    X, y = images_and_labels()
    layers = [ClassPCAPatchTransformer(2), MaxPool2DTransformer(2), linear(2)]
    dmn = stack(*layers).fit(X, y)
    network = DensityMatrixNetwork.from_pipeline(dmn)
    for which in ("layer0", "layer1", "layer2"):
        expected, found = (propagate_filters(net, which) for net in (dmn, network))
        assert_array_equal(found.filters, expected.filters)
        assert found.stride == expected.stride


# padding


def test_padding_moves_the_receptive_field_out_of_the_image():
    X, y = images_and_labels()
    dmn = stack(linear(3, padding="same"), linear(3, padding="same")).fit(X, y)
    outputs, propagated = dmn.transform(X), propagate_filters(dmn, "layer1")
    assert propagated.offset == (-2, -2)
    assert propagated.filters.shape[1:3] == (5, 5)
    for i, j in [(2, 2), (1, 5), (11, 10)]:  # no window in the upper layer's padding
        found = response(propagated, X, i, j)
        assert_allclose(found, outputs[:, i, j], rtol=1e-9, atol=1e-11)
    at_the_border = response(propagated, X, 0, 0)
    assert np.abs(at_the_border - outputs[:, 0, 0]).max() > 1e-3


def test_padding_below_a_single_layer_is_exact_at_the_border():
    X, y = images_and_labels()
    dmn = stack(linear(4, padding="same", stride=(1, 3))).fit(X, y)
    outputs, propagated = dmn.transform(X), propagate_filters(dmn, 0)
    for i, j in [(0, 0), (outputs.shape[1] - 1, outputs.shape[2] - 1)]:
        assert_allclose(response(propagated, X, i, j), outputs[:, i, j], atol=1e-11)


# max pooling and ReLU


def with_pooling(pool=(2, 3), stride=None, **params):
    X, y = images_and_labels()
    dmn = stack(linear(2), MaxPool2DTransformer(pool, stride=stride), linear(2))
    return X, dmn.fit(X, y)


def upper_layer(dmn, maps):
    return dmn["layer2"].transform(np.ascontiguousarray(maps))


def test_pooling_stands_for_the_mean_of_its_window():
    X, dmn = with_pooling()
    maps = dmn["layer0"].transform(X)  # (n, 13, 12, 5)
    means = maps[:, :12].reshape(len(X), 6, 2, 4, 3, 5).mean(axis=(2, 4))
    outputs = upper_layer(dmn, means)
    propagated = propagate_filters(dmn, "layer2")
    assert propagated.filters.shape[1:3] == (2 + 2 + 1, 3 + 3 + 1)
    assert propagated.stride == (2, 3)
    for i, j in [(0, 0), (4, 2), (3, 1)]:
        assert_allclose(response(propagated, X, i, j), outputs[:, i, j], atol=1e-11)


@pytest.mark.parametrize("position", [(0, 0), (1, 2), (0, 1)])
def test_pooling_stands_for_the_position_that_was_chosen(position):
    X, dmn = with_pooling()
    maps = dmn["layer0"].transform(X)
    chosen = maps[:, position[0] : 12 : 2, position[1] :: 3]
    outputs = upper_layer(dmn, chosen)
    propagated = propagate_filters(dmn, "layer2", pooling=position)
    assert propagated.filters.shape[1:3] == (5, 7)
    for i, j in [(0, 0), (4, 2)]:
        assert_allclose(response(propagated, X, i, j), outputs[:, i, j], atol=1e-11)


def test_the_mean_is_the_average_of_all_positions():
    _, dmn = with_pooling((3, 3), 2)
    positions = np.ndindex(3, 3)
    pieces = [propagate_filters(dmn, 2, pooling=at).filters for at in positions]
    mean = propagate_filters(dmn, 2).filters
    # both pooled rows (columns) of the upper filter look at the same position
    assert_allclose(np.mean(pieces, axis=0), mean, atol=1e-12)


def test_the_response_is_exact_where_the_chosen_position_wins():
    rng = np.random.default_rng(0)
    X = np.zeros((6, 8, 8))
    X[:, ::2, ::2] = rng.random((6, 4, 4)) + 0.1  # wins every window of 2 x 2
    dmn = stack(linear(1), MaxPool2DTransformer(2), linear(2))
    outputs = dmn.fit(X, np.arange(6) % 2).transform(X)
    propagated = propagate_filters(dmn, 2, pooling=(0, 0))
    found = response(propagated, X[..., np.newaxis], 1, 2)
    assert_allclose(found, outputs[:, 1, 2], atol=1e-12)


def test_an_open_relu_is_exact():
    X, y = images_and_labels()  # positive, as is the only filter
    first = ClassPCAPatchTransformer(3, n_filters=1, class_based=False)
    dmn = stack(first, linear(2)).fit(X, y)
    assert (dmn["layer0"].filters_ > 0).all()
    found = response(propagate_filters(dmn, 1), X, 2, 3)
    assert_allclose(found, dmn.transform(X)[:, 2, 3], atol=1e-11)


def test_outputs_depend_on_no_pixel_outside_of_the_receptive_field():
    X, y = images_and_labels(9, (12, 12, 1))
    dmn = stack(
        ClassPCAPatchTransformer(2, variance_cutoff=0.99, padding="same"),
        MaxPool2DTransformer(3, stride=2, padding="same"),
        ClassPCAPatchTransformer(2, variance_cutoff=0.99),
    ).fit(X, y)
    propagated = propagate_filters(dmn, "layer2")
    before = dmn.transform(X)
    i, j = 2, 1
    top, left = np.array(propagated.offset) + np.array(propagated.stride) * (i, j)
    height, width = propagated.filters.shape[1:3]
    reached = np.zeros((12, 12), dtype=bool)
    for row, column in np.ndindex(12, 12):
        changed = X.copy()
        changed[:, row, column] += 5
        changed[:, row, column, 0] *= np.linspace(-1, 1, len(X))
        reached[row, column] = (dmn.transform(changed) != before)[:, i, j].any()
    field = np.zeros((12, 12), dtype=bool)
    field[max(top, 0) : top + height, max(left, 0) : left + width] = True
    assert_array_equal(reached, field)


def test_filters_behind_the_gap_of_a_linear_layer_are_nothing_on_the_image():
    X, _ = images_and_labels(60, (16, 16, 1))
    complete = {"class_based": False, "n_filters": None}
    dmn = stack(linear(3, **complete), linear(3, **complete)).fit(X)
    filters = propagate_filters(dmn, 1).filters
    assert filters.shape[1:3] == (5, 5)
    norms = np.linalg.norm(filters.reshape(len(filters), -1), axis=1)
    assert (norms[:25] > 0.1).all()
    assert (norms[25:] < 1e-6).all()


# mistakes


def test_what_is_no_network_is_an_error():
    layer = ClassPCAPatchTransformer()
    with pytest.raises(TypeError, match="ClassPCAPatchTransformer has no layers"):
        propagate_filters(layer, 0)


def test_a_network_that_was_not_fitted_is_an_error():
    with pytest.raises(NotFittedError):
        propagate_filters(make_dmn(), "conv1")


@pytest.mark.parametrize("layer", ["conv3", 5, -6])
def test_a_layer_that_is_not_there_is_an_error(layer):
    X, y = images_and_labels()
    dmn = make_dmn(1).fit(X, y)
    with pytest.raises(ValueError, match=r"pass one of .'conv1', 'pool1'"):
        propagate_filters(dmn, layer)


def test_layers_that_give_rows_are_an_error():
    X, y = images_and_labels()
    dmn = make_dmn(1).fit(X, y)
    with pytest.raises(ValueError, match="'flatten' returns rows"):
        propagate_filters(dmn, "flatten")


def test_other_steps_below_are_an_error():
    X, y = images_and_labels()
    conv = ClassPCAPatchTransformer(2, image_shape=X.shape[1:])
    dmn = make_pipeline(StandardScaler(), conv).fit(X.reshape(len(X), -1), y)
    with pytest.raises(TypeError, match="StandardScaler"):
        propagate_filters(dmn, 1)


@pytest.mark.parametrize("position", [(2, 0), (0, 3), (-1, 0), "max", (0,)])
def test_a_position_outside_of_the_window_is_an_error(position):
    _, dmn = with_pooling()
    with pytest.raises(ValueError, match="not a position in a window of 2 x 3"):
        propagate_filters(dmn, 2, pooling=position)


def test_encodings_by_contrast_are_not_seen_through():
    X, y = images_and_labels()
    dmn = make_pipeline(
        WhitenedPCAPatchTransformer(2, n_filters=3), ClassPCAPatchTransformer(2)
    ).fit(X, y)
    for layer in dmn.named_steps:
        with pytest.raises(ValueError, match="local contrast normalization"):
            propagate_filters(dmn, layer)
