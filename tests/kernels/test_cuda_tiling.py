"""Tiles of the GPU kernels; these tests need no GPU."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skdmn.kernels.cuda import tiling
from skdmn.kernels.geometry import WHOLE, Window

LENGTHS = st.integers(1, 40)
PAIRS = st.tuples(st.integers(1, 6), st.integers(1, 6))
PADDINGS = st.sampled_from(["valid", "same"])
CONVOLUTIONS = st.tuples(
    st.tuples(LENGTHS, LENGTHS, st.integers(1, 99)),
    st.integers(1, 99),
    PAIRS,
    PAIRS,
    PADDINGS,
    st.builds(Window, PAIRS, PAIRS, PADDINGS),
)
SQUARE = Window((2, 2), (2, 2), "valid")


def fits(shape, n_filters, size, stride, padding, window):
    """Return True if images are as large as filters, and outputs as windows."""
    if any(shape[i] < size[i] for i in (0, 1)):
        return False
    try:
        g = tiling.whole(shape, n_filters, size, stride, padding, window)
    except ValueError:  # the window is larger than the output
        return False
    return g.rows >= window.size[0] and g.columns >= window.size[1]


@settings(deadline=None, max_examples=300)
@given(CONVOLUTIONS.filter(lambda c: fits(*c)), st.sampled_from([4, 8]))
def test_blocks_stay_within_their_limits_and_cover_everything(convolution, itemsize):
    g = tiling.tiled(tiling.whole(*convolution), itemsize)
    assert 32 <= g.threads(itemsize) <= 256
    assert g.threads(itemsize) % 32 == g.position_threads % 32 == 0
    assert g.shared_bytes(itemsize) <= 48 * 1024
    # regions fit into registers and threads, and cover the windows of a tile
    assert g.region_rows * g.region_columns <= tiling.POSITIONS
    regions = g.tile_images * g.regions_down * g.regions_across
    assert regions <= g.position_threads
    rows = (g.tile_rows - 1) * g.step_y + g.window_height
    columns = (g.tile_columns - 1) * g.step_x + g.window_width
    assert g.regions_down * g.region_rows >= rows
    assert g.regions_across * g.region_columns >= columns
    if g.pool_rows:
        assert (g.pool_rows, g.pool_columns) == (g.window_height, g.window_width)
        assert (g.pool_rows, g.pool_columns) == (g.step_y, g.step_x)
        assert g.region_rows % g.pool_rows == g.region_columns % g.pool_columns == 0
    # shared memory has what the regions read
    rows, columns = g.regions_down * g.region_rows, g.regions_across * g.region_columns
    assert g.image_rows == (rows - 1) * g.stride_y + g.kernel_height
    assert g.image_columns == (columns - 1) * g.stride_x + g.kernel_width
    step = g.region_columns * g.stride_x
    assert g.length * step >= g.image_columns
    assert g.pitch >= g.length * step
    assert g.image_pitch >= g.image_rows * g.pitch
    assert g.plane >= g.tile_images * g.image_pitch
    assert g.plane % 2 == 1
    assert 1 <= g.chunk <= g.channels
    for tiles, size, whole in [
        (g.tiles_down, g.tile_rows, g.out_rows),
        (g.tiles_across, g.tile_columns, g.out_columns),
        (g.filter_blocks, g.tile_filters, g.n_filters),
    ]:
        assert (tiles - 1) * size < whole <= tiles * size
    if g.tile_images > 1:
        assert g.tiles_down == g.tiles_across == 1


def test_every_image_has_a_block_beyond_32_bits():
    g = tiling.whole((28, 28, 1), 6, (3, 3), (1, 1), "valid", SQUARE)
    g = tiling.tiled(g, 4)
    n = 2**40 + 1
    assert g.jobs(0) == 0
    assert g.jobs(n) * g.tile_images >= n
    assert g.jobs(n) > 2**31


def test_a_tile_is_chosen_that_wastes_little():
    shape = (28, 28, 8)
    g = tiling.tiled(tiling.whole(shape, 32, (3, 3), (1, 1), "valid", SQUARE), 4)
    products = g.rows * g.columns * g.n_filters * math.prod((3, 3, 8))
    assert g.cost(4) < 4 * products


def test_threads_read_from_different_banks():
    for shape, n_filters in [((28, 28, 1), 6), ((13, 13, 6), 33), ((15, 15, 22), 150)]:
        whole = tiling.whole(shape, n_filters, (3, 3), (1, 1), "valid", SQUARE)
        g = tiling.tiled(whole, 4)
        lanes = np.arange(g.tile_images * g.regions_down * g.regions_across)
        lines, across = np.divmod(lanes, g.regions_across)
        images, down = np.divmod(lines, g.regions_down)
        read = images * g.image_pitch + down * g.region_rows * g.pitch + across
        for start in range(0, len(read), 32):
            assert np.bincount(read[start : start + 32] % 32).max() <= 2


@pytest.mark.parametrize(
    ("shape", "size", "window"),
    [
        ((64, 64, 3), (40, 40), WHOLE),  # filters of 50 KB and more
        ((64, 64, 1), (3, 3), Window((40, 40), (40, 40), "valid")),
    ],
)
def test_what_no_block_can_hold_is_not_cut_up(shape, size, window):
    whole = tiling.whole(shape, 8, size, (1, 1), "valid", window)
    assert tiling.tiled(whole, 4) is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_filters_are_arranged_last_and_filled_up_with_zeros(rng, dtype):
    filters = rng.normal(size=(9, 3, 2, 4)).astype(dtype)
    g = tiling.whole((8, 8, 4), 9, (3, 2), (1, 1), "valid", WHOLE)
    g = tiling.tiled(g, filters.dtype.itemsize)
    weights = tiling.arranged(filters, g, np)
    assert weights.shape == (4, 3, 2, g.padded)
    assert weights.dtype == dtype
    assert weights[1, 2, 0, 7] == filters[7, 2, 0, 1]
    assert_array_equal(weights[..., 9:], 0)
