"""IncrementalRidgeClassifier fitted on blocks of rows, whose sums are merged."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from skdmn.data.rows import Rows
from skdmn.distributed.blocks import Blocks
from skdmn.linear_model.ridge import IncrementalRidgeClassifier, check_memory
from skdmn.statistics.row_sums import RowSums, row_sums
from skdmn.utils.array_api import HOST, compute_backend


def fit_ridge(
    ridge: IncrementalRidgeClassifier, blocks: Blocks, y: Any, sample_weight: Any
) -> dict[str, Any]:
    """Fit a copy of an IncrementalRidgeClassifier on blocks of rows.

    Parameters
    ----------
    ridge : IncrementalRidgeClassifier
        Classifier with the parameters; it is not changed.
    blocks : Blocks
        Rows. Each block is read once.
    y : ndarray of shape (len(blocks),)
        Labels.
    sample_weight : ndarray of shape (len(blocks),) or None
        Weights of the rows.

    Returns
    -------
    dict
        Attributes of the fitted copy.
    """
    fitted = copy.copy(ridge)
    one_row = np.zeros((1, *blocks.sample_shape), blocks.dtype)
    rows, _ = fitted._check_rows(one_row, reset=True)
    check_memory(len(blocks), rows.n_features, type(ridge).__name__)
    settings = ridge.device, rows.dtype

    def compute(
        blocks: Blocks, codes: np.ndarray, weights: np.ndarray, by_class: np.ndarray
    ) -> RowSums:
        of_block = blocks.cut(codes, weights)
        return blocks.reduce(_sums_of_block, _merged, of_block, by_class, settings)

    labels, codes = fitted._check_labels(y, len(blocks))
    found = fitted._sums_of_rows(blocks, labels, codes, sample_weight, compute)
    fitted._learn(found)
    fitted._solve()
    return fitted.__dict__


# functions that run on the workers


def _sums_of_block(
    block: np.ndarray,
    arrays: tuple[np.ndarray, np.ndarray],
    by_class: np.ndarray,
    settings: tuple[str, str],
) -> RowSums:
    device, dtype = settings
    n_products = block.size * block[0].size
    rows = Rows(block, compute_backend(HOST, device, n_products), dtype)
    return row_sums(rows, *arrays, by_class)


def _merged(parts: list[RowSums]) -> RowSums:
    merged = parts[0].like(len(parts[0].weights))
    for part in parts:
        merged.merge(part)
    return merged
