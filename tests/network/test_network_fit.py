"""DensityMatrixNetwork's fit: passes, cache, progress, errors, interrupts."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from stacks import STACKS, conv, images_and_labels, named, network, pipeline

from skdmn import (
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    FlattenTransformer,
    MaxPool2DTransformer,
)
from skdmn.kernels import dispatch
from skdmn.statistics.density import DensityAccumulator


@pytest.fixture
def seen(monkeypatch):
    """Return how many images each density matrix update and convolution was given."""
    counts = {"density": 0, "convolved": 0}
    update, convolve = DensityAccumulator.update, dispatch.convolve

    def counted_update(self, images, labels):
        counts["density"] += len(labels)
        update(self, images, labels)

    def counted_convolve(images, *args):
        counts["convolved"] += images.shape[0]
        return convolve(images, *args)

    monkeypatch.setattr(DensityAccumulator, "update", counted_update)
    monkeypatch.setattr(dispatch, "convolve", counted_convolve)
    return counts


def test_a_layer_that_learns_takes_one_pass_and_others_none(seen):
    X, y = images_and_labels()
    network("two layers", batch_size=7).fit(X, y)
    # the second convolution and the pruner learn from what the first gives, the
    # pruner from the second's, too
    assert seen == {"density": 60, "convolved": 30 + 60}


def test_only_a_subsample_runs_through_the_layers_in_front(seen):
    X, y = images_and_labels()
    layers = named([conv(), conv(subsample=0.2, random_state=0)])
    DensityMatrixNetwork(layers, batch_size=4).fit(X, y)
    assert seen == {"density": 36, "convolved": 6}


def test_a_subsample_is_that_of_the_pipeline():
    X, y = images_and_labels(60)
    layers = named(
        [conv(subsample=0.3, random_state=5), conv(subsample=10, random_state=1)]
    )
    net = DensityMatrixNetwork(layers).fit(X, y)
    expected = Pipeline(layers).fit(X, y)
    for layer, step in zip(net, expected, strict=True):
        assert_array_equal(layer.class_counts_, step.class_counts_)
        assert_allclose(layer.filters_, step.filters_, atol=1e-4)


# the cache


def test_a_grid_search_computes_each_layers_matrices_once_a_fold(tmp_path, seen):
    X, y = images_and_labels(60)
    net = network("two layers", memory=tmp_path)
    model = make_pipeline(net, RidgeClassifier())
    grid = {"densitymatrixnetwork__layer2__variance_cutoff": [0.8, 0.9, 0.95, 1.0]}
    search = GridSearchCV(model, grid, cv=2).fit(X, y)
    assert seen["density"] == 2 * (30 + 30) + (60 + 60)
    grid = {"layer2__variance_cutoff": [0.8, 0.9, 0.95, 1.0]}
    plain = Pipeline([*pipeline().steps, ("softmax", RidgeClassifier())])
    expected = GridSearchCV(plain, grid, cv=2).fit(X, y).cv_results_
    assert_allclose(
        search.cv_results_["mean_test_score"], expected["mean_test_score"], atol=0.04
    )


@pytest.mark.parametrize(
    ("params", "layers_again"),
    [
        ({}, 0),
        ({"batch_size": 9}, 0),
        ({"layer2__n_filters": 2}, 0),
        ({"layer4__pool_size": 1}, 0),
        ({"layer2__centered": False}, 1),
        ({"layer1__pool_size": 1}, 1),
        ({"layer0__activation": None}, 1),
        ({"layer0__n_filters": 2}, 1),
        ({"layer0__kernel_size": 2}, 2),
    ],
)
def test_what_is_computed_again(tmp_path, seen, params, layers_again):
    X, y = images_and_labels()
    net = network(memory=str(tmp_path)).fit(X, y)
    seen["density"] = 0
    found = clone(net).set_params(**params).fit(X, y)
    assert seen["density"] == 30 * layers_again
    expected = clone(found).set_params(memory=None).fit(X, y)
    assert_allclose(found.transform(X), expected.transform(X), rtol=1e-5, atol=1e-3)


def test_other_images_are_computed_again(tmp_path, seen):
    X, y = images_and_labels()
    network(memory=str(tmp_path)).fit(X, y)
    X = X.copy()
    X[-1, -1, -1, -1] += 1
    network(memory=str(tmp_path)).fit(X, y)
    assert seen["density"] == 4 * 30


def test_a_layers_own_memory_goes_first(tmp_path):
    net = network("conv", memory=str(tmp_path / "of network"))
    net.set_params(layer0__memory=str(tmp_path / "of layer"))
    net.fit(*images_and_labels())
    assert not (tmp_path / "of network").exists()
    assert (tmp_path / "of layer").exists()


# progress


class Recorder:
    """A callback that notes what begins, what ends and what is torn down."""

    max_propagation_depth = None

    def __init__(self, stop_at=None):
        self.events, self.stop_at = [], stop_at

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append((context.task_name, context.max_subtasks))

    def on_fit_task_end(self, estimator, context):
        self.events.append(f"end of {context.task_name}")
        if self.events.count("end of batch") == self.stop_at:
            raise KeyboardInterrupt


def test_callbacks_are_told_of_layers_and_batches():
    X, y = images_and_labels()
    recorder = Recorder()
    net = network("conv pool", batch_size=16).set_callbacks(recorder).fit(X, y)
    batch = [("batch", 0), "end of batch"]
    assert recorder.events == [
        "setup",
        ("fit", 2),
        ("fit layer0", 2),
        *batch,
        *batch,
        "end of fit layer0",
        ("fit layer1", 2),
        "end of fit layer1",
        "end of fit",
        "teardown",
    ]
    assert not {"_callback_fit_ctx", "_skl_callbacks_to_teardown"} & set(vars(net))


@pytest.mark.parametrize("name", STACKS)
def test_no_layer_takes_more_batches_than_it_told(name):
    X, y = images_and_labels()
    recorder = Recorder()
    net = network(name, batch_size=7)
    Pipeline([("net", net)]).set_callbacks(recorder).fit(X, y)
    n_passes = 2 if "whitened" in name else 1
    assert ("fit layer0", 5 * n_passes) in recorder.events
    assert recorder.events[-1] == "teardown"


def test_progress_bar(capsys):
    pytest.importorskip("rich", reason="the progress bar is under test")
    from sklearn.callback import ProgressBar

    X, y = images_and_labels()
    network("conv pool", batch_size=4).set_callbacks(ProgressBar()).fit(X, y)
    printed = capsys.readouterr().out
    assert "DensityMatrixNetwork - fit layer0" in printed
    assert "100%" in printed


def test_verbose_prints_each_layer(capsys, without_logging):
    X, y = images_and_labels()
    with without_logging():
        network("conv pool", verbose=True).fit(X, y)
    printed = capsys.readouterr().out
    assert "[ClassPCAPatchTransformer] density matrices: 30 of 30 images" in printed
    assert "[DensityMatrixNetwork] layer1, 2 of 2 layers" in printed
    network("conv pool").fit(X, y)
    assert capsys.readouterr().out == ""


# errors and interrupts


def state(net):
    return {name: id(value) for name, value in vars(net).items()}


@pytest.mark.parametrize("stop_at", [1, 3, 7])
@pytest.mark.parametrize("fitted", [True, False])
def test_an_interrupted_fit_changes_nothing(stop_at, fitted):
    X, y = images_and_labels()
    net = network(batch_size=8)
    if fitted:
        net.fit(X, y)
    recorder = Recorder(stop_at)
    net.set_callbacks(recorder)
    before = state(net)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X[:, :, ::-1], y)
    assert state(net) == before
    assert recorder.events[-1] == "teardown"


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "layers is empty"),
        ([conv()], r"pass a list of \(name, layer\)"),
        ([("a", conv()), ("a", MaxPool2DTransformer())], "not unique"),
        ([("a__b", conv())], "must not contain __"),
        ([("memory", conv())], "conflict with constructor arguments"),
        ([("scale", StandardScaler())], "'scale' is StandardScaler.* layers of skdmn"),
        ([("conv", "passthrough")], "layers of skdmn"),
        ([("conv", ClassPCAPatchTransformer)], "layers of skdmn"),
        ([("net", network())], "layers of skdmn"),
        ([("flat", FlattenTransformer()), ("conv", conv())], "'flat' .* put it last"),
        ([("conv", conv(stride=0))], "stride"),
        ([("a", conv(device="cpu")), ("b", conv(device="cuda"))], "asked for by"),
        ((("conv", conv()),), "'layers' parameter"),
    ],
)
def test_layers_that_are_refused(layers, message):
    X, y = images_and_labels()
    net = DensityMatrixNetwork(layers)
    before = state(net)
    with pytest.raises(ValueError, match=message):
        net.fit(X, y)
    assert state(net) == before


@pytest.mark.parametrize("params", [{"batch_size": 0}, {"device": "tpu"}])
def test_parameters_that_are_refused(params):
    with pytest.raises(ValueError, match=next(iter(params))):
        network(**params).fit(*images_and_labels())


def test_a_bad_label_is_found_before_the_first_layer_is_fitted(seen):
    X, y = images_and_labels()
    layers = named([conv(class_based=False), conv()])
    for labels, message in ((None, "requires y"), (y[:-1], "29 labels")):
        with pytest.raises(ValueError, match=message):
            DensityMatrixNetwork(layers).fit(X, labels)
    assert seen["density"] == 0


def test_the_networks_device_is_that_of_its_layers():
    X, y = images_and_labels()
    net = network("conv").set_params(layer0__device="cuda")
    with pytest.raises(RuntimeError, match="device='cuda'"):
        net.fit(X, y)
    net.set_params(layer0__device="cpu").fit(X, y)
    net.set_params(device="cuda")
    with pytest.raises(ValueError, match="set it in one place"):
        net.transform(X)


def test_images_of_another_shape_are_refused():
    X, y = images_and_labels()
    net = network().fit(X, y)
    with pytest.raises(ValueError, match="DensityMatrixNetwork was fitted on images"):
        net.transform(X[:, :, :-1])
    with pytest.raises(ValueError, match="image_shape"):
        net.transform(np.zeros((4, 168)))
