"""Statistics of layers: sums that merge, pickle, and finish without an image."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone

from skdmn import (
    ChannelStandardScaler,
    ClassPCAPatchTransformer,
    MaxPool2DTransformer,
    OverlapPruner,
    WhitenedPCAPatchTransformer,
)
from skdmn.datasets import load_digits_images

X, Y = load_digits_images()
X, Y = np.stack([X, 16 - X // 2], axis=3)[:600], Y[:600]
LEARNING = {
    "class_pca": ClassPCAPatchTransformer(2, variance_cutoff=0.99),
    "centered": ClassPCAPatchTransformer(3, centered=True),
    "naive": ClassPCAPatchTransformer(2, class_based=False),
    "whitened": WhitenedPCAPatchTransformer(3, n_filters=6, position_grid=2),
    "floor given": WhitenedPCAPatchTransformer(3, n_filters=6, contrast_floor=2.0),
    "scaler": ChannelStandardScaler(),
    "pruner": OverlapPruner(1),
}
each = pytest.mark.parametrize("name", LEARNING)


def sites(sorted_by_class=False):
    """Return the images and labels of three sites, of unequal size."""
    order = np.argsort(Y, kind="stable") if sorted_by_class else np.arange(len(Y))
    return [(X[some], Y[some]) for some in np.split(order, [100, 350])]


def summed(layer, parts):
    """Return the statistics of all parts, computed one by one and sent as bytes."""
    looks = [layer.first_look(*part) for part in parts]
    first = None if looks[0] is None else looks[0] + looks[1] + looks[2]
    found = [layer.statistics(*part, first_look=first) for part in parts]
    found = [pickle.loads(pickle.dumps(one)) for one in found]
    return found[2] + found[0] + found[1]


@each
@pytest.mark.parametrize("sorted_by_class", [False, True])
def test_sites_that_share_sums_get_the_layer_of_all_images(name, sorted_by_class):
    layer = clone(LEARNING[name])
    total = summed(layer, sites(sorted_by_class))
    found = layer.finish(total)
    expected = clone(layer).fit(X, Y)
    assert found is layer
    assert_allclose(found.transform(X), expected.transform(X), rtol=1e-3, atol=1e-4)
    assert found.get_params() == expected.get_params()
    assert found.n_features_in_ == expected.n_features_in_


@each
def test_merge_is_a_fit_on_both(name):
    layer = clone(LEARNING[name])
    if name == "whitened":
        layer.set_params(contrast_floor=1.0)
    here, there = clone(layer).fit(X[:200], Y[:200]), clone(layer).fit(X[200:], Y[200:])
    other = there.transform(X)
    merged = here.merge(there)
    expected = clone(layer).fit(X, Y).transform(X)
    assert_allclose(merged.transform(X), expected, rtol=1e-3, atol=1e-4)
    assert_array_equal(there.transform(X), other)  # not changed


@each
def test_statistics_hold_no_image_and_leave_the_layer_alone(name):
    layer = clone(LEARNING[name])
    before = vars(layer).copy()
    few, many = layer.statistics(X[:60], Y[:60]), layer.statistics(X, Y)
    assert vars(layer) == before
    grown = len(pickle.dumps(many)) - len(pickle.dumps(few))
    assert grown < 2000  # ten times the images


def test_whole_numbers_add_up_exactly():
    layer = ClassPCAPatchTransformer(3)
    total = layer.statistics(X[:99], Y[:99]) + layer.statistics(X[99:], Y[99:])
    expected = layer.statistics(X, Y)
    assert_array_equal(total.sums.outer_products, expected.sums.outer_products)
    assert_array_equal(total.classes, expected.classes)


def test_statistics_of_float64_and_float32_make_a_layer_of_float64():
    layer = ClassPCAPatchTransformer(2)
    wide, narrow = (layer.statistics(X.astype(dtype), Y) for dtype in ("f8", "f4"))
    for total in (wide + narrow, narrow + wide):
        assert clone(layer).finish(total).filters_.dtype == np.float64


def test_a_layer_goes_on_from_statistics():
    layer = ClassPCAPatchTransformer(2)
    layer.finish(layer.statistics(X[:300], Y[:300])).partial_fit(X[300:], Y[300:])
    expected = clone(layer).fit(X, Y)
    assert_array_equal(layer.density_matrices_, expected.density_matrices_)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (ClassPCAPatchTransformer(3).fit(X, Y), r"kernel_size=\(2, 2\).*\(3, 3\)"),
        (ClassPCAPatchTransformer(2).fit(X[..., :1], Y), r"shape \(8, 8, 2\)"),
        (ClassPCAPatchTransformer(2).fit(X[:, 1:], Y), r"shape \(7, 8, 2\)"),
        (ClassPCAPatchTransformer(2, centered=True).fit(X, Y), "centered=False and"),
        (ClassPCAPatchTransformer(2).fit(X, Y).compact(), "compact"),
        (ClassPCAPatchTransformer(2).fit(X, Y.astype(str)), "different kinds"),
    ],
)
def test_bad_partners_are_refused_in_a_sentence(other, words):
    layer = ClassPCAPatchTransformer(2).fit(X, Y)
    filters = layer.filters_
    with pytest.raises(ValueError, match=words):
        layer.merge(other)
    assert layer.filters_ is filters


def test_parameters_set_since_the_fit_are_noticed():
    layer, other = (ClassPCAPatchTransformer(2).fit(X, Y) for _ in range(2))
    with pytest.raises(ValueError, match="centered=True and with centered=False"):
        layer.set_params(centered=True).merge(other)
    layer.set_params(centered=False, n_filters=2).merge(other)  # of no account
    assert len(layer.filters_) == 2


def test_arrays_stay_where_they_are():
    torch = pytest.importorskip("torch")
    with config_context(array_api_dispatch=True):
        layer, other = (
            ClassPCAPatchTransformer(2).fit(torch.asarray(X[some]), Y[some])
            for some in (slice(200), slice(200, None))
        )
        layer.merge(other)
        assert isinstance(layer.filters_, torch.Tensor)
        assert isinstance(layer.transform(torch.asarray(X)), torch.Tensor)


def test_other_floors_are_refused():
    one, other = (
        WhitenedPCAPatchTransformer(3, n_filters=4, contrast_floor=floor).fit(X, Y)
        for floor in (1, 2)
    )
    with pytest.raises(ValueError, match=r"contrast_floor=1\.0 and with"):
        one.merge(other)


def test_first_looks_of_other_images_are_refused():
    layer = WhitenedPCAPatchTransformer(3, n_filters=4)
    look = layer.first_look(X[:, 1:], Y)
    with pytest.raises(ValueError, match=r"shape \(7, 8, 2\)"):
        layer.statistics(X, Y, first_look=look)
    with pytest.raises(ValueError, match="Statistics of first look of"):
        layer.statistics(X, Y, first_look=layer.statistics(X, Y))
    assert ChannelStandardScaler().first_look(X) is None


def test_other_classes_of_layers_are_refused():
    scaler, pruner = ChannelStandardScaler().fit(X), OverlapPruner(1).fit(X)
    with pytest.raises(TypeError, match=r"takes another ChannelStandardScaler"):
        scaler.merge(pruner)
    with pytest.raises(ValueError, match="of OverlapPruner"):
        scaler.finish(pruner.statistics(X))


def test_finish_refuses_statistics_of_other_parameters():
    statistics = ClassPCAPatchTransformer(2).statistics(X, Y)
    layer = ClassPCAPatchTransformer(3)
    with pytest.raises(ValueError, match="kernel_size"):
        layer.finish(statistics)
    assert not hasattr(layer, "filters_")
    assert not hasattr(layer, "image_shape_")


def test_statistics_merge_with_statistics_alone():
    statistics = ChannelStandardScaler().statistics(X)
    with pytest.raises(TypeError, match="got int"):
        statistics.merge(3)
    look = WhitenedPCAPatchTransformer(3).first_look(X, Y)
    with pytest.raises(ValueError, match="first look of"):
        look.merge(statistics)


def test_layers_that_learn_nothing_have_no_statistics():
    layer = MaxPool2DTransformer()
    for name in ("statistics", "merge", "partial_fit", "finish", "first_look"):
        assert not hasattr(layer, name)
