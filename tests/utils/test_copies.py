"""Copies and pickles of layers fitted on arrays of another library."""

import copy
import pickle

import numpy as np
import pytest
from estimators import each, image_estimators, one_of_each_type
from numpy.testing import assert_allclose
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from skdmn import ClassPCAPatchTransformer, make_dmn
from skdmn.utils.array_api import own_backend, to_numpy

torch = pytest.importorskip("torch", reason="torch tensors are under test")
layers = each("layer", one_of_each_type(image_estimators()))


@pytest.fixture(autouse=True)
def _dispatch():
    with config_context(array_api_dispatch=True):
        yield


@pytest.fixture
def images(rng):
    return rng.random((12, 6, 5, 2))


LABELS = np.arange(12) % 2


@layers
def test_what_was_pickled_goes_on_with_data_of_any_library(layer, images):
    theirs = torch.asarray(images)
    fitted = clone(layer).fit(theirs, LABELS)
    expected = to_numpy(fitted.transform(theirs))
    loaded = pickle.loads(pickle.dumps(fitted))
    for data in (theirs, images):
        features = loaded.transform(data)
        assert own_backend(features) == own_backend(data)
        assert_allclose(to_numpy(features), expected, atol=1e-12)


def test_a_pipeline_that_caches_its_steps_goes_on(images, tmp_path):
    theirs = torch.asarray(images)
    steps = make_dmn(1, kernel_size=2).steps
    cached = Pipeline(steps, memory=str(tmp_path))
    expected = cached.fit(theirs, torch.asarray(LABELS)).predict(theirs)
    again = clone(cached).fit(theirs, torch.asarray(LABELS))
    assert (to_numpy(again.predict(theirs)) == to_numpy(expected)).all()


@layers
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies_live_where_the_original_does(layer, copied, images):
    theirs = torch.asarray(images)
    twin = copied(clone(layer).fit(theirs, LABELS))
    assert own_backend(twin.transform(theirs)) == own_backend(theirs)
    with pytest.raises(ValueError, match="same namespace"):
        twin.transform(images)


def test_a_compact_copy_lives_there_too(images):
    theirs = torch.asarray(images)
    layer = ClassPCAPatchTransformer(2).fit(theirs, LABELS).compact()
    assert own_backend(layer.filters_) == own_backend(theirs)
    assert not hasattr(layer, "density_matrices_")
