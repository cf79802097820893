"""Masked arrays: a masked value is refused wherever data or labels are given."""

import numpy as np
import pytest
from estimators import ESTIMATORS, each, one_of_each_type, takes_images
from numpy.testing import assert_array_equal
from sklearn.base import clone

from skdmn import ClassPCAPatchTransformer, SoftmaxClassifier
from skdmn.data.files import Batches, save_batches

RNG = np.random.default_rng(0)
X, Y = RNG.integers(0, 9, (12, 7, 6)).astype(float), np.arange(12) % 2
WORDS = r"is a masked array \(numpy\.ma\), and 1 of its"
FITS = ["fit", "fit_transform", "partial_fit", "statistics"]
USES = ["transform", "inverse_transform", "predict", "predict_proba"]
each_estimator = each("estimator", one_of_each_type(ESTIMATORS))


def masked(array, *where):
    """Return a masked array with a mask at one index, or with an empty mask."""
    hidden = np.ma.array(array, mask=np.zeros(np.shape(array), bool))
    if where:
        hidden[where] = np.ma.masked
    return hidden


def of(estimator):
    """Return images, or rows for an estimator that takes only rows."""
    return X if takes_images(estimator) else X.reshape(len(X), -1)


class Source:
    """Data that are masked arrays when they are read, such as those of netCDF4."""

    def __init__(self, data):
        self.data, self.shape, self.dtype = data, data.shape, data.dtype

    def __getitem__(self, some):
        return self.data[some]


@each_estimator
def test_masked_images_are_refused(estimator):
    data = of(estimator)
    where = (3,) + (0,) * (data.ndim - 1)
    some = masked(data, *where)
    fitted = clone(estimator).fit(data, Y)
    for name in FITS + USES:
        if hasattr(estimator, name):
            labels = [Y] * (name in FITS)
            for given in (some, list(some)):
                with pytest.raises(ValueError, match=WORDS):
                    getattr(fitted, name)(given, *labels)


@each_estimator
def test_a_mask_that_hides_nothing_changes_nothing(estimator):
    data = of(estimator)
    ours = clone(estimator).fit(masked(data), masked(Y))
    expected = clone(estimator).fit(data, Y)
    for name in ("transform", "predict_proba"):
        if hasattr(ours, name):
            found = getattr(ours, name)(masked(data))
            assert type(found) is np.ndarray
            assert_array_equal(found, getattr(expected, name)(data))


@pytest.mark.parametrize("estimator", [ClassPCAPatchTransformer(), SoftmaxClassifier()])
def test_masked_labels_are_refused(estimator):
    with pytest.raises(ValueError, match=f"^y {WORDS}"):
        estimator.fit(X, masked(Y, 5))


def test_masked_classes_are_refused():
    with pytest.raises(ValueError, match=f"^classes {WORDS}"):
        ClassPCAPatchTransformer().partial_fit(X, Y, classes=masked([0, 1, 2], 2))


def test_masked_weights_are_refused():
    weights = np.ones(12)
    with pytest.raises(ValueError, match=f"^sample_weight {WORDS}"):
        SoftmaxClassifier().fit(X, Y, masked(weights, 5))
    ours = SoftmaxClassifier().fit(X, Y, masked(weights))
    assert_array_equal(ours.coef_, SoftmaxClassifier().fit(X, Y, weights).coef_)


@pytest.mark.parametrize(
    "estimator",
    [
        ClassPCAPatchTransformer(2),
        ClassPCAPatchTransformer(2, subsample=11, random_state=0),
        SoftmaxClassifier(),
    ],
)
def test_sources_that_return_masked_arrays_are_refused(estimator):
    whole = Source(masked(X))
    clone(estimator).fit(whole, Y)
    for source in (Source(masked(X, 5, 0, 0)), Batches([X, masked(X, 5, 0, 0)])):
        labels = np.resize(Y, source.shape[0])
        with pytest.raises(ValueError, match=WORDS):
            clone(estimator).fit(source, labels)


def test_masked_batches_are_not_written(tmp_path):
    hidden = masked(X, 5, 0, 0)
    for batches in ([X, hidden], [(X, Y), (hidden, Y)], [(X, Y), (X, masked(Y, 3))]):
        with pytest.raises(ValueError, match=f"^batch 1 {WORDS}"):
            save_batches(batches, tmp_path / "images.npy")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("chunks", [6, 1])
def test_masked_blocks_of_dask_are_refused(chunks):
    da = pytest.importorskip("dask.array")
    from skdmn import distributed

    blocks = da.from_array(X, chunks=(chunks, -1, -1))
    some = blocks.map_blocks(np.ma.masked_greater, 7, meta=np.empty((0, 7, 6)))
    words = WORDS.replace("1 of its", "")
    layer = ClassPCAPatchTransformer()
    with pytest.raises(ValueError, match=words):
        distributed.fit(layer, some, Y)
    with pytest.raises(ValueError, match=words):
        distributed.fit(SoftmaxClassifier(), some, Y)
    with pytest.raises(ValueError, match=f"^y {words}"):
        distributed.fit(layer, blocks, da.ma.masked_equal(da.from_array(Y), 1))
    with pytest.raises(ValueError, match=words):
        distributed.transform(distributed.fit(layer, blocks, Y), some).compute()


def test_analysis_refuses_masked_images():
    from skdmn.analysis.deep_linear.simulation import correlations
    from skdmn.analysis.density import density_convergence, eigenvalue_fluctuations
    from skdmn.analysis.pc_bias import principal_coordinates

    hidden, rows = masked(X, 5, 0, 0), masked(X.reshape(12, -1), 5, 0)
    for function, given in [
        (density_convergence, hidden),
        (eigenvalue_fluctuations, hidden),
        (principal_coordinates, rows),
        (lambda some: correlations(some, Y), rows),
        (lambda some: correlations(X, some), masked(Y, 3)),
    ]:
        with pytest.raises(ValueError, match=WORDS):
            function(given)
