"""Rows read block by block, whatever they come from."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skdmn.data.rows import Rows
from skdmn.utils.array_api import HOST


class Asked:
    """Rows that remember which slices they were asked for."""

    def __init__(self, data):
        self.data, self.slices = data, []
        self.shape, self.dtype = data.shape, data.dtype

    def __getitem__(self, some):
        self.slices.append((some.start, some.stop))
        return self.data[some]


@pytest.fixture
def data(rng):
    return rng.integers(0, 255, (23, 3, 2), dtype=np.uint8)


@pytest.mark.parametrize("block_bytes", [1, 100, 10_000])
@pytest.mark.parametrize("lazy", [False, True])
def test_blocks_are_all_rows_in_order(data, block_bytes, lazy):
    rows = Rows(Asked(data) if lazy else data, HOST, "float32", lazy)
    blocks = list(rows.blocks(block_bytes))
    flat = data.reshape(23, 6)
    assert_array_equal(np.concatenate([block for _, block in blocks]), flat)
    for some, block in blocks:
        assert_array_equal(block, flat[some])
        assert len(block) <= max(1, block_bytes // 24)
        assert block.dtype == np.uint8
    assert len(rows) == 23
    assert rows.n_features == 6


def test_lazy_rows_are_asked_for_in_large_slices_and_cut(data, monkeypatch):
    monkeypatch.setattr("skdmn.data.sizes.BATCH_BYTES", 240)
    monkeypatch.setattr("skdmn.data.sizes.CACHE_BYTES", 72)
    asked = Asked(data)
    sizes = [len(block) for _, block in Rows(asked, HOST, "float32", True).blocks()]
    assert asked.slices == [(0, 10), (10, 20), (20, 23)]
    assert sizes == [3, 3, 3, 1, 3, 3, 3, 1, 3]


@pytest.mark.parametrize("lazy", [False, True])
def test_chosen_rows(data, lazy, monkeypatch):
    monkeypatch.setattr("skdmn.data.sizes.BATCH_BYTES", 100)
    indices = np.array([0, 3, 4, 11, 22])
    asked = Asked(data)
    chosen = Rows(asked if lazy else data, HOST, "float32", lazy).choose(indices)
    n_slices = len(asked.slices)
    assert len(chosen) == 5
    for _ in range(2):
        blocks = [block for _, block in chosen.blocks(50)]
        assert_array_equal(np.concatenate(blocks), data.reshape(23, 6)[indices])
    assert len(asked.slices) == n_slices  # kept, not read again


def test_slices_of_another_length_are_an_error(data):
    asked = Asked(data)
    asked.shape = (30, 3, 2)
    with pytest.raises(ValueError, match=r"X\[0:30\] has shape \(23, 3, 2\)"):
        list(Rows(asked, HOST, "float32", True).blocks())
