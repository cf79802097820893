"""FlattenTransformer: order, names, and back."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skdmn import FlattenTransformer

SHAPES = [(9, 12, 4), (9, 12, 4, 1), (9, 12, 2, 2), (9, 48)]


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_are_in_c_order_and_come_back(rng, shape):
    X = rng.random(shape)
    layer = FlattenTransformer()
    rows = layer.fit_transform(X)
    assert_array_equal(rows, X.reshape(9, 48))
    back = layer.inverse_transform(rows)
    assert back.shape == X.shape
    assert_array_equal(back, X)


def test_rows_of_an_image_shape_pass_and_come_back_as_rows(rng):
    X = rng.random((9, 48))
    layer = FlattenTransformer(image_shape=(4, 4, 3)).fit(X)
    assert layer.image_shape_ == (4, 4, 3)
    assert_array_equal(layer.transform(X), X)
    assert_array_equal(layer.inverse_transform(X), X)
    assert layer.get_feature_names_out()[-1] == "y3_x3_f2"


def test_images_in_fortran_order_make_rows_in_c_order(rng):
    X = rng.random((3, 4, 5, 2))
    rows = FlattenTransformer().fit_transform(np.asfortranarray(X))
    assert_array_equal(rows, X.reshape(3, -1))


def test_names_say_where_each_value_was(rng):
    X = rng.random((2, 11, 3, 12))
    layer = FlattenTransformer().fit(X)
    expected = [
        f"y{y:02}_x{x}_f{f:02}"
        for y, x, f in itertools.product(range(11), range(3), range(12))
    ]
    names = layer.get_feature_names_out()
    assert names.tolist() == expected
    assert names.dtype == object
    row = dict(zip(names, layer.transform(X)[1], strict=True))
    assert row["y10_x2_f07"] == X[1, 10, 2, 7]


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("shape", SHAPES)
def test_set_output_makes_data_frames(rng, library, shape):
    frames = pytest.importorskip(library)
    X = rng.random(shape)
    layer = FlattenTransformer().set_output(transform=library)
    frame = layer.fit_transform(X)
    assert isinstance(frame, frames.DataFrame)
    assert list(frame.columns) == list(layer.get_feature_names_out())
    assert_array_equal(frame.to_numpy(), X.reshape(9, -1))
    back = layer.inverse_transform(frame)
    assert isinstance(back, np.ndarray)
    assert_array_equal(back, X)


def test_wrong_number_of_values_is_an_error(rng):
    layer = FlattenTransformer().fit(rng.random((2, 4, 5)))
    with pytest.raises(ValueError, match="20 values"):
        layer.inverse_transform(rng.random((2, 21)))
    with pytest.raises(ValueError, match="4 x 5"):
        layer.transform(rng.random((2, 5, 4)))


def test_the_output_is_a_view_where_nothing_is_converted(rng):
    X = rng.random((2, 4, 5))
    assert np.shares_memory(FlattenTransformer().fit_transform(X), X)
    integers = np.ones((2, 4, 5), dtype=np.uint8)
    assert not np.shares_memory(FlattenTransformer().fit_transform(integers), integers)
