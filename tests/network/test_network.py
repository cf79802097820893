"""DensityMatrixNetwork: the features and the names of a Pipeline of its layers."""

import itertools
import pickle
from copy import copy, deepcopy

import array_api_strict
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from stacks import STACKS, conv, images_and_labels, named, network, pipeline

from skdmn import (
    ChannelStandardScaler,
    DensityMatrixNetwork,
    FlattenTransformer,
    MaxPool2DTransformer,
    OverlapPruner,
    make_dmn,
)
from skdmn.kernels import dispatch
from skdmn.kernels.geometry import WHOLE
from skdmn.operations import (
    Flatten,
    MaxPool,
    ScaleChannels,
    chain_of,
    planned,
    run,
)
from skdmn.operations.fusion import ConvolveAndPool
from skdmn.utils.array_api import HOST, own_backend, to_numpy

stacks = pytest.mark.parametrize("name", STACKS)


def flat(features):
    return features.reshape(len(features), -1)


def assert_same(features, expected):
    assert features.dtype == expected.dtype
    assert features.shape == expected.shape
    assert_allclose(features, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@stacks
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("batch_size", ["auto", 4])
def test_features_are_those_of_the_pipeline(name, dtype, batch_size):
    X, y = images_and_labels(dtype=dtype)
    expected = pipeline(name)
    if name == "subsample":
        expected.set_params(layer1__random_state=1)
    net = DensityMatrixNetwork(named([s for _, s in expected.steps]))
    net.set_params(batch_size=batch_size)
    features = net.fit(X, y).transform(X)
    assert_same(features, flat(expected.fit(X, y).transform(X)))
    assert features.flags.c_contiguous
    for layer, step in zip(net, expected, strict=True):
        assert layer.image_shape_ == step.image_shape_
        for attribute in ("filters_", "mean_", "support_", "n_patches_"):
            if hasattr(step, attribute):
                found = getattr(layer, attribute)
                assert_allclose(found, getattr(step, attribute), rtol=1e-3, atol=1e-4)


# a feature map of a random stack may have one image that is much larger than others
@pytest.mark.filterwarnings("ignore:.*hold more than half of the sum:UserWarning")
@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                conv(variance_cutoff=1.0),
                conv(stride=2, padding="same"),
                conv(activation=None, subsample=0.7, random_state=3),
                MaxPool2DTransformer(2),
                MaxPool2DTransformer(3, stride=2, padding="same"),
                ChannelStandardScaler(),
                OverlapPruner(1),
            ]
        ),
        min_size=1,
        max_size=5,
    ),
    st.integers(1, 31),
    st.booleans(),
)
def test_any_stack_gives_the_features_of_its_pipeline(layers, batch_size, flatten):
    kinds = [type(layer) for layer in layers]
    # scaled channels have equal energies: which one is pruned is left to rounding
    assume((ChannelStandardScaler, OverlapPruner) not in itertools.pairwise(kinds))
    layers = layers + [FlattenTransformer()] * flatten
    X, y = images_and_labels(shape=(12, 12, 3), dtype=np.float64)
    try:
        expected = Pipeline(named(layers)).fit(X, y)
    except ValueError as error:
        with pytest.raises(ValueError, match=str(error)[:20]):
            DensityMatrixNetwork(named(layers)).fit(X, y)
        return
    net = DensityMatrixNetwork(named(layers), batch_size=batch_size).fit(X, y)
    assert_same(net.transform(X), flat(expected.transform(X)))


@pytest.mark.filterwarnings("ignore:.* reads rows of 35:UserWarning")  # of the pool
@pytest.mark.parametrize("ndim", [2, 3])
def test_signals_and_rows_of_images(ndim):
    X, y = images_and_labels(shape=(6, 6, 1))
    X = X[:, :, :, 0] if ndim == 3 else X.reshape(30, -1)
    steps = named([conv(n_filters=1), MaxPool2DTransformer(2), conv()])
    net = DensityMatrixNetwork(steps)
    if ndim == 2:
        with pytest.warns(UserWarning, match="reads rows of 36 features as signals"):
            net.fit(X, y)
        with pytest.warns(UserWarning, match="reads rows of 36 features as signals"):
            expected = Pipeline(steps).fit(X, y)
    else:
        net.fit(X, y)
        expected = Pipeline(steps).fit(X, y)
    assert_same(net.transform(X), flat(expected.transform(X)))
    assert net.n_features_in_ == 36
    as_images = clone(net).set_params(layer0__image_shape=(6, 6)).fit(flat(X), y)
    assert as_images.image_shape_ == (6, 6, 1)
    if ndim == 3:
        assert_array_equal(as_images.transform(flat(X)), net.transform(X))


@pytest.mark.parametrize("batch_size", [1, 7, 30, 1000])
@stacks
def test_batch_size_does_not_matter(name, batch_size):
    X, y = images_and_labels()
    seeds = {"layer1__random_state": 1} if name == "subsample" else {}
    expected = network(name).set_params(**seeds).fit(X, y)
    net = network(name, batch_size=batch_size).set_params(**seeds).fit(X, y)
    assert_same(net.transform(X), expected.transform(X))


@pytest.mark.parametrize("name", ["conv pool", "conv prune pool", "conv pool prune"])
def test_convolution_pruning_and_pooling_become_one_call(name, monkeypatch):
    X, y = images_and_labels()
    net = network(name).fit(X, y)
    calls = []
    convolve = dispatch.convolve
    monkeypatch.setattr(
        dispatch, "convolve", lambda *a: calls.append(a) or convolve(*a)
    )
    net.transform(X)
    ((images, filters, *_, window),) = calls
    assert images.dtype == np.uint8
    assert len(filters) == net.output_shape_[2]
    assert window != WHOLE


def test_what_is_fused_and_what_is_not():
    X, y = images_and_labels()

    def kinds(name):
        layers = [layer for _, layer in network(name).fit(X, y).layers_]
        operations = chain_of(layers).operations
        return [type(one) for one in planned(operations, HOST, "float32")]

    assert kinds("two layers") == [ConvolveAndPool, ConvolveAndPool, Flatten]
    assert kinds("conv scale pool") == [ConvolveAndPool, ScaleChannels, MaxPool]
    assert kinds("two pools") == [ConvolveAndPool, MaxPool]
    assert kinds("pool first") == [MaxPool, ConvolveAndPool, ScaleChannels]
    assert kinds("flatten") == [Flatten]


def test_images_on_request():
    X, y = images_and_labels()
    net = network("conv pool").fit(X, y)
    images = net.transform_images(X)
    assert images.shape == (30, *net.output_shape_)
    assert_array_equal(flat(images), net.transform(X))


def test_what_acts_in_transform_may_be_set_after_fit():
    X, y = images_and_labels()
    net, expected = network("two pools"), pipeline("two pools")
    for model in (net.fit(X, y), expected.fit(X, y)):
        model.set_params(layer0__activation=None, layer2__stride=1)
    assert_same(net.transform(X), flat(expected.transform(X)))
    assert net.output_shape_ == expected[-1].output_shape_
    net["layer0"].activation = "relu"
    expected["layer0"].activation = "relu"
    assert_same(net.transform(X), flat(expected.transform(X)))


def test_a_layer_that_no_longer_fits_the_next_is_an_error():
    X, y = images_and_labels()
    net = network("two pools").fit(X, y).set_params(layer0__stride=2)
    with pytest.raises(ValueError, match=r"fitted on images of 7 x 6 .* gives 4 x 3"):
        net.transform(X)
    assert net.set_params(layer0__stride=1).transform(X).shape == (30, 12)


# names and parameters


def test_what_to_set_for_rows_is_said_by_its_name():
    X, y = images_and_labels()
    net = network().fit(X, y)
    name = net.layers[0][0]
    with pytest.raises(ValueError, match=f"set {name}__image_shape="):
        net.transform(X.reshape(len(X), -1))
    with pytest.raises(ValueError, match=f"^{name}__image_shape="):
        net.set_params(**{f"{name}__image_shape": (4, 4)}).transform(X)


def test_a_layer_that_was_replaced_waits_for_the_next_fit():
    X, y = images_and_labels()
    net = network().set_params(layer0__image_shape=X.shape[1:])
    rows = X.reshape(len(X), -1)
    expected = net.fit(rows, y).transform(rows)
    net.set_params(layer0=conv(5))
    assert_array_equal(net.transform(rows), expected)


def test_code_without_a_name_is_warned_as_well():
    layer, X = network("two layers").layers[0][1], np.eye(3, 36)
    with pytest.warns(UserWarning, match="reads rows of 36"):
        exec("layer.fit(X, [0, 1, 2])", {"layer": layer, "X": X})


def test_nested_parameters_are_those_of_the_pipeline():
    def nested(model):
        return {name for name in model.get_params() if name.startswith("layer")}

    assert nested(network()) - {"layers"} == nested(pipeline())
    net = network().set_params(layer0__n_filters=2, layer1=MaxPool2DTransformer(4))
    assert net.get_params()["layer0__n_filters"] == 2
    assert net["layer1"].pool_size == 4


def test_layers_by_name_number_and_slice():
    X, y = images_and_labels()
    net = network(batch_size=5)
    assert net["layer0"] is net.layers[0][1]
    net.fit(X, y)
    assert not hasattr(net.layers[0][1], "filters_")
    assert net["layer0"] is net[0] is net.layers_[0][1] is net.named_layers.layer0
    assert len(net) == 6
    first = net[:2]
    assert first.batch_size == 5
    expected = pipeline().fit(X, y)[:2].transform(X)
    assert_same(first.transform(X), flat(expected))
    with pytest.raises(KeyError):
        net["softmax"]


def test_feature_names_and_set_output():
    X, y = images_and_labels()
    net = network("two layers").fit(X, y)
    names = net.get_feature_names_out()
    assert_array_equal(names, pipeline().fit(X, y)[-1].get_feature_names_out())
    frame = net.set_output(transform="pandas").transform(X)
    assert isinstance(frame, pd.DataFrame)
    assert_array_equal(frame.columns, names)
    assert isinstance(net.transform_images(X), np.ndarray)


def test_names_of_columns_pass_layers_that_keep_values_in_their_places():
    rows = pd.DataFrame(np.random.default_rng(0).random((9, 2)), columns=["a", "b"])
    net = network("flatten").fit(rows)
    assert_array_equal(net.get_feature_names_out(), ["a", "b"])
    assert_array_equal(net.to_pipeline()[0].feature_names_in_, ["a", "b"])
    with pytest.raises(ValueError, match="not equal to feature_names_in_"):
        net.get_feature_names_out(["b", "a"])


# to and from pipelines


@stacks
def test_a_fitted_pipeline_gives_a_fitted_network_without_a_fit(name, monkeypatch):
    X, y = images_and_labels()
    fitted = pipeline(name).fit(X, y)
    monkeypatch.setattr(DensityMatrixNetwork, "fit", None)
    net = DensityMatrixNetwork.from_pipeline(fitted, batch_size=8)
    assert net.batch_size == 8
    assert net.n_features_in_ == 168
    assert_same(net.transform(X), flat(fitted.transform(X)))
    back = net.to_pipeline()
    assert_array_equal(back.transform(X), fitted.transform(X))
    net.set_params(layer0__device="cpu")
    assert fitted[0].device == back[0].device == "auto"


def test_an_unfitted_pipeline_gives_an_unfitted_network():
    X, y = images_and_labels()
    net = DensityMatrixNetwork.from_pipeline(pipeline())
    with pytest.raises(NotFittedError):
        net.transform(X)
    with pytest.raises(NotFittedError):
        net.to_pipeline().transform(X)
    assert_array_equal(net.fit(X, y).transform(X), network().fit(X, y).transform(X))


def test_layers_of_make_dmn():
    X, y = images_and_labels()
    dmn = make_dmn(n_filters=4).fit(X, y)
    net = DensityMatrixNetwork.from_pipeline(dmn[:-1])
    assert_same(net.transform(X), dmn[:-1].transform(X))
    with pytest.raises(ValueError, match=r"'softmax' is SoftmaxClassifier\(.*pipeline"):
        DensityMatrixNetwork.from_pipeline(dmn)


def test_a_pipeline_with_a_step_replaced_is_not_fitted():
    X, y = images_and_labels()
    fitted = pipeline().fit(X, y).set_params(layer0=conv())
    with pytest.raises(NotFittedError):
        DensityMatrixNetwork.from_pipeline(fitted).transform(X)


# copies


def through_a_pickle(net):
    return pickle.loads(pickle.dumps(net))


@pytest.mark.parametrize("copied", [copy, deepcopy, through_a_pickle])
def test_copies_transform_the_same(copied):
    X, y = images_and_labels()
    net = network().fit(X, y)
    assert_array_equal(copied(net).transform(X), net.transform(X))


def test_a_compact_copy_transforms_the_same_without_density_matrices():
    X, y = images_and_labels()
    fitted = network("two layers").fit(X, y)
    compact = fitted.compact()
    assert_array_equal(compact.transform(X), fitted.transform(X))
    assert len(pickle.dumps(compact)) < len(pickle.dumps(fitted)) / 2
    names = [name for name, layer in fitted.layers_ if hasattr(layer, "filters_")]
    assert len(names) == 2
    for name in names:
        with pytest.raises(AttributeError, match="left the density matrices out"):
            _ = compact[name].density_matrices_
        assert len(fitted[name].density_matrices_) == 3


def test_a_clone_is_not_fitted_and_fits_the_same():
    X, y = images_and_labels()
    net = network().fit(X, y)
    again = clone(net)
    with pytest.raises(NotFittedError, match="DensityMatrixNetwork"):
        again.transform(X)
    assert_array_equal(again.fit(X, y).transform(X), net.transform(X))


def test_grid_search_over_a_layer_of_a_network_in_a_pipeline():
    X, y = images_and_labels(60, shape=(10, 9, 3))
    model = Pipeline([("net", network()), ("linear", RidgeClassifier())])
    grid = {"net__layer0__n_filters": [1, 4], "net__layer1__pool_size": [1, 2]}
    search = GridSearchCV(model, grid, cv=2).fit(X, y)
    plain = Pipeline([*pipeline().steps, ("linear", RidgeClassifier())])
    grid = {name.removeprefix("net__"): values for name, values in grid.items()}
    expected = GridSearchCV(plain, grid, cv=2).fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert_allclose(scores, expected.cv_results_["mean_test_score"])


# other libraries


def arrays_of(library):
    if library == "torch":
        torch = pytest.importorskip("torch", reason="torch tensors are under test")
        return torch.asarray
    device = array_api_strict.Device("device1")
    return lambda array: array_api_strict.asarray(array, device=device)


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
@pytest.mark.parametrize("name", ["two layers", "scale first", "subsample"])
def test_arrays_of_other_libraries(library, name):
    X, y = images_and_labels(dtype=np.float32)
    seeds = {"layer1__random_state": 1} if name == "subsample" else {}
    expected = network(name).set_params(**seeds).fit(X, y)
    theirs = arrays_of(library)(X)
    with config_context(array_api_dispatch=True):
        net = network(name, batch_size=7).set_params(**seeds).fit(theirs, y)
        features = net.transform(theirs)
        assert own_backend(features) == own_backend(theirs)
        assert_same(to_numpy(features), expected.transform(X))
        lazy = net.lazy_features(theirs)
        assert own_backend(lazy[3:5]) == own_backend(theirs)
        assert_same(to_numpy(lazy[[4, 1]]), expected.transform(X)[[4, 1]])
        assert_same(np.asarray(lazy), expected.transform(X))
        with pytest.raises(ValueError, match="must use the same namespace"):
            net.transform(X)
    loaded = pickle.loads(pickle.dumps(net))
    assert_same(loaded.transform(X), expected.transform(X))


@pytest.mark.parametrize("fitted", [False, True])
def test_html_shows_layers_as_boxes_that_link_to_their_pages(fitted):
    X, y = images_and_labels()
    net = network("conv pool")
    html = (net.fit(X, y) if fitted else net)._repr_html_()
    for _, layer in net.layers:
        name = type(layer).__name__
        assert f"api/skdmn.{name}.html" in html
    boxes = html.count('<div class="sk-estimator ')
    assert boxes == len(net.layers)
    pages = [
        html.index(f"skdmn.{type(layer).__name__}.html") for _, layer in net.layers
    ]
    assert pages == sorted(pages)


@pytest.mark.parametrize("name", ["whitened", "two layers", "conv scale pool"])
def test_changes_after_a_transform_take_effect(name):
    X, y = images_and_labels(12)

    def features(model):
        expected = flat(run(model.operations(), X, "float32"))
        found = model.transform(X)
        assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
        return found

    net = network(name).fit(X, y)
    others = pickle.loads(pickle.dumps(net)), deepcopy(net)
    first = features(net)
    assert_array_equal(features(net), first)
    layer = net["layer0"] if hasattr(net["layer0"], "filters_") else net["layer1"]
    kept = layer.filters_.copy()
    layer.filters_[0] *= -0.5  # in place
    changed = features(net)
    assert np.abs(changed - first).max() > 0.1 * np.abs(first).max()
    layer.filters_ = kept  # another array
    assert_array_equal(features(net), first)
    net.set_params(mirrored=True)
    assert not np.array_equal(features(net), first)
    for other in others:
        assert_array_equal(features(other), first)
