"""Compiled kernels check the sizes that they are called with, because they read memory.

Kernels for GPUs need no GPU here: their geometry is checked before they are started.
"""

import numpy as np
import pytest

from skdmn.kernels.cuda import jobs
from skdmn.kernels.cuda.tiling import whole
from skdmn.kernels.geometry import WHOLE, Window
from skdmn.kernels.numba.contrast import contrast_moments, encode_and_pool
from skdmn.kernels.numba.convolution import convolve, max_pool
from skdmn.kernels.numba.moments import second_moments
from skdmn.kernels.numba.softmax import block_pass
from skdmn.kernels.reference.contrast import Encoding

IMAGES = np.random.default_rng(0).random((4, 6, 5, 2), np.float32)
FILTERS = np.random.default_rng(1).random((3, 2, 2, 2), np.float32)
ALL = np.arange(4)
HUGE = 10**30

windows = pytest.mark.parametrize(
    "window",
    [
        Window((0, 1), (1, 1), "valid"),
        Window((-3000, -3000), (1, 1), "valid"),
        Window((2, 2), (0, 1), "valid"),
        Window((2, 2), (1, -1), "same"),
        Window((2, 2), (HUGE, 1), "valid"),
        Window((HUGE, HUGE), (1, 1), "same"),
        Window((7, 1), (1, 1), "valid"),
        Window((1, 6), (1, 1), "valid"),
        Window((2, 2), (1, 1), "reflect"),
    ],
    ids=str,
)
filters = pytest.mark.parametrize(
    "filters",
    [
        FILTERS[..., :1],
        np.repeat(FILTERS, 2, axis=3),
        FILTERS[0],
        FILTERS[np.newaxis],
        FILTERS[:0],
        FILTERS[:, :0],
    ],
    ids=lambda filters: str(filters.shape),
)
members = pytest.mark.parametrize(
    "members",
    [[0, 4], [-1], [2**40], [[0, 1]], [0.0, 1.0], [True]],
    ids=str,
)


def refused(function, *arguments, match="pass "):
    with pytest.raises(ValueError, match=match):
        function(*arguments)


@windows
def test_windows_must_fit(window):
    refused(max_pool, IMAGES, window, np.float32)
    refused(whole, IMAGES.shape[1:], 2, (1, 1), (1, 1), "valid", window)
    refused(convolve, IMAGES, FILTERS[:, :1, :1], (1, 1), "valid", None, window)
    refused(encode_and_pool, IMAGES, Encoding(FILTERS[:, :1, :1], 1.0, 0.5), window, 1)


@windows
def test_strides_and_paddings_of_convolutions_must_fit(window):
    height, width = (size if 0 < size < 10 else 1 for size in window.size)
    some = np.ones((3, height, width, 2), np.float32)
    same_size = (height, width) == window.size
    if same_size:
        refused(convolve, IMAGES, some, window.stride, window.padding, None, WHOLE)
    refused(whole, IMAGES.shape[1:], 3, *window, WHOLE)


@filters
def test_filters_must_fit(filters):
    refused(convolve, IMAGES, filters, (1, 1), "valid", None, WHOLE)
    refused(encode_and_pool, IMAGES, Encoding(filters, 1.0, 0.5), WHOLE, 1.0)
    how = Encoding(FILTERS, 1.0, 0.5, components=filters)
    refused(encode_and_pool, IMAGES, how, WHOLE, 1.0)


def test_components_have_the_size_of_the_filters():
    how = Encoding(FILTERS, 1.0, 0.5, components=FILTERS[:, :1])
    refused(encode_and_pool, IMAGES, how, WHOLE, 1.0, match="kernels of one size")


@pytest.mark.parametrize("dtype", [np.float16, np.int32, ">f4", "c8", "g"])
def test_dtypes_must_be_compiled_for(dtype):
    some = FILTERS.astype(dtype)
    refused(convolve, IMAGES, some, (1, 1), "valid", None, WHOLE, match="float32 or")
    refused(max_pool, IMAGES, WHOLE, dtype, match="float32 or")


def test_images_have_four_dimensions():
    refused(convolve, IMAGES[0], FILTERS, (1, 1), "valid", None, WHOLE)
    refused(max_pool, IMAGES[0], WHOLE, np.float32, match="4 dimensions")


@members
def test_members_are_indices_of_images(members):
    some = np.array(members)
    refused(second_moments, IMAGES, some, (2, 2), match="indices of 4 images")
    refused(contrast_moments, IMAGES, some, (2, 2), (1, 1), 1.0, match="indices of 4")


@pytest.mark.parametrize("size", [(0, 2), (-1, 1), (7, 1), (1, 6), (HUGE, 1)])
def test_patches_must_fit(size):
    refused(second_moments, IMAGES, ALL, size)
    refused(contrast_moments, IMAGES, ALL, size, (1, 1), 1.0)
    refused(jobs.whole, IMAGES.shape[1:], size)


@pytest.mark.parametrize("cells", [(0, 1), (-1, 1), (6, 1), (HUGE, 1)])
def test_cells_must_fit(cells):
    refused(contrast_moments, IMAGES, ALL, (2, 2), cells, 1.0)


def arguments():
    random = np.random.default_rng(2)
    return {
        "block": random.random((5, 4)),
        "centre": np.zeros(4),
        "coef": random.random((3, 4)),
        "intercept": np.zeros(3),
        "codes": np.array([0, 1, 2, 0, 1]),
        "weights": np.ones(5),
    }


CHANGES = {
    "fewer coefficients": ("coef", lambda a: a[:2]),
    "fewer features": ("coef", lambda a: a[:, :3]),
    "no outputs": ("coef", lambda a: a[:0]),
    "more intercepts": ("intercept", lambda a: np.append(a, 1.0)),
    "short centre": ("centre", lambda a: a[:1]),
    "half precision": ("centre", lambda a: a.astype(np.float16)),
    "code too large": ("codes", lambda a: a + 1),
    "negative code": ("codes", lambda a: a - 1),
    "float codes": ("codes", lambda a: a * 1.0),
    "fewer codes": ("codes", lambda a: a[:4]),
    "fewer weights": ("weights", lambda a: a[:4]),
    "more columns": ("block", lambda a: np.hstack([a, a])),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_pass_of_the_softmax(change):
    given = arguments()
    assert np.isfinite(block_pass(**given)[0])
    name, function = CHANGES[change]
    given[name] = function(given[name])
    with pytest.raises(ValueError, match=r"needs|pass ints from 0 to"):
        block_pass(**given)


def test_codes_of_two_classes():
    given = arguments()
    given |= {"coef": given["coef"][:1], "intercept": np.zeros(1)}
    with pytest.raises(ValueError, match="indices of 2 classes"):
        block_pass(**given)
