"""Mirrored images behind the others."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skdmn.datasets import with_mirrored


@pytest.mark.parametrize("shape", [(5, 4, 3), (5, 4, 3, 2)])
def test_each_image_comes_again_from_right_to_left(rng, shape):
    X, y = rng.integers(0, 255, shape).astype(np.uint8), np.array(list("abcde"))
    both, labels = with_mirrored(X, y)
    assert both.dtype == np.uint8
    assert_array_equal(both[:5], X)
    assert_array_equal(both[5:], np.flip(X, axis=2))
    assert_array_equal(labels, [*y, *y])


def test_rows_cannot_be_mirrored():
    with pytest.raises(ValueError, match="reshape rows"):
        with_mirrored(np.zeros((4, 9)), np.zeros(4))


def test_one_label_for_each_image():
    with pytest.raises(ValueError, match="4 images but y 3 labels"):
        with_mirrored(np.zeros((4, 9, 9)), np.zeros(3))
