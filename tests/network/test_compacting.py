"""Small copies of Pipelines and meta-estimators that give the same output."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skdmn import ClassPCAPatchTransformer, compact, make_dmn

RNG = np.random.default_rng(0)
X, Y = RNG.random((30, 8, 8), np.float32), np.arange(30) % 3
DMN = make_dmn(1, n_filters=3)


@pytest.mark.parametrize(
    "model",
    [
        DMN,
        make_pipeline(DMN[:-1], DMN[-1]),
        GridSearchCV(DMN, {"softmax__C": [0.01, 0.1]}, cv=2),
    ],
    ids=["pipeline", "nested", "search"],
)
def test_output_stays_and_sums_go(model):
    model = clone(model).fit(X, Y)
    small = compact(model)
    assert_array_equal(small.predict_proba(X), model.predict_proba(X))
    assert len(pickle.dumps(small)) < len(pickle.dumps(model))
    assert b"DensityAccumulator" not in pickle.dumps(small)
    assert b"DensityAccumulator" in pickle.dumps(model)


def test_an_estimator_without_layers_is_returned():
    softmax = clone(DMN[-1]).fit(X.reshape(30, -1), Y)
    assert compact(softmax) is softmax


def test_what_is_no_fitted_estimator_is_refused():
    with pytest.raises(NotFittedError):
        compact(ClassPCAPatchTransformer())
    with pytest.raises(TypeError, match="list; pass a fitted estimator"):
        compact([1])
