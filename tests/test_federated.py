"""Fits on several sites: the model of all images in one place, from sums only."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline

from skdmn import (
    AveragePool2DTransformer,
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    FlattenTransformer,
    IncrementalRidgeClassifier,
    MaxPool2DTransformer,
    SoftmaxClassifier,
    WhitenedPCAPatchTransformer,
)
from skdmn.datasets import load_digits_images
from skdmn.federated import Site, fit

N_SITES, N = 5, 300


def images():
    X, y = load_digits_images()
    return X[:N], np.array([f"digit {label}" for label in y[:N]])


class FarSite:
    """A site behind pickles, as on another machine. It looks at what is sent."""

    def __init__(self, X, y):
        self.site, self.n, self.sent = Site(X, y), len(X), 0

    def describe(self):
        return pickle.loads(pickle.dumps(self.site.describe()))

    def answer(self, request):
        found = self.site.answer(pickle.loads(pickle.dumps(request)))
        data = pickle.dumps(found)
        self.sent += len(data)
        for array in arrays_in(found):
            assert self.n not in array.shape, "an answer has an entry for each image"
        return pickle.loads(data)


def arrays_in(value):
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from arrays_in(item)
    elif isinstance(value, dict):
        yield from arrays_in(list(value.values()))
    elif hasattr(value, "__dict__"):
        yield from arrays_in(vars(value))


def sites_of(X, y):
    """Divide the images by label, so that no site has all classes."""
    order = np.argsort(y, kind="stable")
    return [FarSite(X[some], y[some]) for some in np.array_split(order, N_SITES)]


MODELS = {
    "layers": lambda: make_pipeline(
        ClassPCAPatchTransformer(2, n_filters=3),
        MaxPool2DTransformer(2),
        ClassPCAPatchTransformer(2, n_filters=4, class_based=False),
        FlattenTransformer(),
        IncrementalRidgeClassifier(),
    ),
    "network": lambda: Pipeline(
        [
            (
                "features",
                DensityMatrixNetwork(
                    [
                        ("conv", WhitenedPCAPatchTransformer(3, n_filters=9)),
                        ("pool", AveragePool2DTransformer(3, power=0.5)),
                    ],
                    mirrored=True,
                ),
            ),
            ("ridge", IncrementalRidgeClassifier()),
        ]
    ),
    "ridge": IncrementalRidgeClassifier,
}


@pytest.mark.parametrize("name", MODELS)
def test_five_sites_give_the_model_of_one(name):
    X, y = images()
    sites = sites_of(X, y)
    ours = fit(MODELS[name](), sites)
    expected = MODELS[name]().fit(X, y)
    assert_array_equal(ours.predict(X), expected.predict(X))
    found, wanted = ours.predict_proba(X), expected.predict_proba(X)
    assert_allclose(found, wanted, atol=1e-4)
    ridges = [m[-1] if isinstance(m, Pipeline) else m for m in (ours, expected)]
    assert ridges[0].alpha_ == ridges[1].alpha_
    assert 0 < max(site.sent for site in sites) < 30 * 2**20


def test_layers_alone_are_fitted():
    X, y = images()
    layer = ClassPCAPatchTransformer(2, n_filters=3)
    ours = fit(clone(layer), sites_of(X, y))
    assert_allclose(ours.filters_, layer.fit(X, y).filters_, atol=1e-6)
    assert_array_equal(ours.class_counts_, layer.class_counts_)


def test_what_cannot_be_fitted_is_refused_and_unchanged():
    X, y = images()
    sites = sites_of(X, y)
    with pytest.raises(TypeError, match="SoftmaxClassifier cannot be fitted on sums"):
        fit(make_pipeline(MaxPool2DTransformer(2), SoftmaxClassifier()), sites)
    with pytest.raises(ValueError, match="no sites; pass at least one"):
        fit(IncrementalRidgeClassifier(), [])
    with pytest.raises(ValueError, match=r"different shapes.*\(8, 8\) and \(8, 7\)"):
        fit(IncrementalRidgeClassifier(), [Site(X, y), Site(X[:, :, :7], y)])
    with pytest.raises(ValueError, match="different dtypes"):
        fit(IncrementalRidgeClassifier(), [Site(X, y), Site(X.astype("f8"), y)])
    layer = ClassPCAPatchTransformer(2, subsample=0.5)
    with pytest.raises(ValueError, match=r"federated\.fit uses all images"):
        fit(layer, sites)
    assert not hasattr(layer, "filters_")
