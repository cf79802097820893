"""What cannot be read as it is, and what to do instead."""

import numpy as np
import pytest

from skdmn import ClassPCAPatchTransformer, SoftmaxClassifier


@pytest.mark.parametrize("estimator", [ClassPCAPatchTransformer(), SoftmaxClassifier()])
def test_dask_arrays_are_sent_to_where_they_are_taken(estimator):
    da = pytest.importorskip("dask.array")
    X = da.ones((6, 5, 5), chunks=(2, 5, 5))
    with pytest.raises(TypeError, match=r"skdmn\.distributed\.fit\(estimator, X, y\)"):
        estimator.fit(X, [0, 1] * 3)


@pytest.mark.parametrize("estimator", [ClassPCAPatchTransformer(), SoftmaxClassifier()])
def test_iterators_are_to_be_written_to_a_file(estimator):
    batches = (np.ones((2, 5, 5)) for _ in range(3))
    with pytest.raises(ValueError, match=r"skdmn\.data\.files\.save_batches"):
        estimator.fit(batches, [0, 1] * 3)
