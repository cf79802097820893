"""A model as PyTorch modules gives what the model gives."""

import copy
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from models import CASES, HEADS, fit, fitted, is_classifier, random_models
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from stacks import STACKS, images_and_labels, network

from skdmn import (
    ChannelStandardScaler,
    ClassPCAPatchTransformer,
    FlattenTransformer,
    MaxPool2DTransformer,
    OverlapPruner,
    SoftmaxClassifier,
)

torch = pytest.importorskip("torch")

from skdmn.export import to_torch  # noqa: E402


def run(module, X):
    """Give X, channels-last images or rows, to a module."""
    X = X[..., np.newaxis] if X.ndim == 3 else X
    X = np.moveaxis(X, 3, 1) if X.ndim == 4 else X
    # torch 2.13 misreads some outputs one pixel wide, of images of one channel whose
    # strides could be channels-last as well: plain ones
    images = torch.tensor(X, dtype=torch.float32)
    images = images.clone(memory_format=torch.contiguous_format)
    with torch.inference_mode():
        return module(images).numpy()


def assert_same(model, module, X):
    """Compare features to 1e-5 of the largest, probabilities to 1e-5."""
    out = run(module, X)
    if is_classifier(model):
        assert out.shape == (len(X), len(model.classes_))
        assert module.classes == model.classes_.tolist()
        found = torch.softmax(torch.tensor(out), 1).numpy()
        np.testing.assert_allclose(found, model.predict_proba(X), atol=1e-5)
        return
    out = np.moveaxis(out, 1, 3) if out.ndim == 4 else out
    expected = model.transform(X)
    assert out.shape == expected.shape
    largest = np.abs(expected).max()
    np.testing.assert_allclose(out, expected, atol=1e-5 * largest)


@pytest.mark.parametrize("freeze", [True, False])
@pytest.mark.parametrize(("stack", "head"), CASES)
def test_gives_what_the_pipeline_gives(stack, head, freeze):
    model, X, _ = fitted(stack, head)
    assert_same(model, to_torch(model, freeze=freeze), X)


@settings(deadline=None, max_examples=60)
@given(random_models())
def test_gives_what_any_model_gives(drawn):
    model, X = drawn
    assert_same(model, to_torch(model), X)
    assert_same(model, to_torch(model, freeze=False), X)


@pytest.mark.parametrize("stack", STACKS)
def test_gives_rows_of_a_network_in_the_order_of_its_names(stack):
    X, y = images_and_labels()
    model = network(stack).fit(X, y)
    assert_same(model, to_torch(model), X)


def test_grey_images_and_rows_of_images():
    X, y = images_and_labels(shape=(8, 7, 1))
    layer = ClassPCAPatchTransformer(2).fit(X[..., 0], y)
    assert_same(layer, to_torch(layer), X[..., 0])
    rows = X.reshape(len(X), -1)
    layer = ClassPCAPatchTransformer(2, image_shape=(8, 7)).fit(rows, y)
    assert_same(layer, to_torch(layer), rows)
    signal = ClassPCAPatchTransformer(3, image_shape=(1, 56)).fit(rows, y)
    assert_same(signal, to_torch(signal), rows)


def test_two_classes_have_two_logits():
    X, y = images_and_labels()
    y = np.array(["no", "yes"])[(y > 0).astype(int)]
    for head in ("softmax", "logistic"):
        model = fit(make_pipeline(ClassPCAPatchTransformer(2), *HEADS[head]), X, y)
        assert_same(model, to_torch(model), X)


def test_a_classifier_of_rows_alone():
    X, y = images_and_labels()
    rows = X.reshape(len(X), -1)
    model = SoftmaxClassifier().fit(rows, y)
    assert [type(m).__name__ for m in to_torch(model)] == ["Linear"]
    assert_same(model, to_torch(model), rows)


def test_pruned_filters_are_left_out_of_the_convolution():
    model, _, _ = fitted("conv prune pool", "softmax")
    module = to_torch(model)
    assert module[0].out_channels == len(model[0].filters_) - 1
    assert [type(m).__name__ for m in module] == [
        *("Conv2d", "ReLU", "MaxPool2d", "Flatten", "Linear")
    ]
    behind_pooling, _, _ = fitted("conv pool prune", "features")
    assert to_torch(behind_pooling)[0].out_channels == 2


def test_scaling_is_folded_where_that_changes_nothing():
    X, y = images_and_labels(dtype=np.float32)
    layers = [ChannelStandardScaler(), ClassPCAPatchTransformer(2, activation=None)]
    model = make_pipeline(*layers).fit(X, y)
    assert [type(m).__name__ for m in to_torch(model)] == ["Conv2d"]
    kept = [type(m).__name__ for m in to_torch(model, freeze=False)]
    assert kept == ["BatchNorm2d", "Conv2d"]
    padded = make_pipeline(layers[0], layers[1].set_params(padding="same")).fit(X, y)
    assert "BatchNorm2d" in [type(m).__name__ for m in to_torch(padded)]
    for each in (model, padded):
        assert_same(each, to_torch(each), X)


def test_batch_normalization_is_in_evaluation_mode_and_exact_without_variance():
    X = np.full((5, 4, 4, 2), 7.0, np.float32)
    X[..., 1] = np.arange(5)[:, None, None] * 1e-4
    model = ChannelStandardScaler().fit(X)
    module = to_torch(model, freeze=False)
    assert not module.training
    assert_same(model, module, X)


def test_what_a_pruner_dropped_stays_dropped_where_all_is_trained():
    X, _ = images_and_labels()
    model = OverlapPruner(1).fit(X)
    module = to_torch(model, freeze=False)
    assert list(module.parameters()) == []
    assert_same(model, module, X)


def test_all_of_a_module_is_on_the_default_device():
    model, *_ = fitted("two layers", "softmax")
    with torch.device("meta"):
        module = to_torch(model)
    tensors = [*module.parameters(), *module.buffers()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_frozen_or_trainable():
    model, X, y = fitted("two layers", "softmax")
    assert not any(p.requires_grad for p in to_torch(model).parameters())
    module = to_torch(model, freeze=False)
    assert all(p.requires_grad for p in module.parameters())
    images = torch.tensor(np.moveaxis(X, 3, 1) / np.float32(255))
    adam = torch.optim.Adam(module.parameters(), 1e-3)
    losses = []
    for _ in range(20):
        adam.zero_grad()
        loss = torch.nn.functional.cross_entropy(module(images), torch.tensor(y))
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_dtype_and_device():
    model, _, _ = fitted("two layers", "softmax")
    module = to_torch(model, dtype=torch.float64, device="cpu")
    assert {p.dtype for p in module.parameters()} == {torch.float64}
    assert to_torch(model, device="meta")[-1].weight.device.type == "meta"


def test_draws_no_random_numbers_and_leaves_the_model_alone():
    model, X, _ = fitted("two layers", "softmax")
    before = copy.deepcopy(model).predict_proba(X)
    state = torch.get_rng_state()
    module = to_torch(model, freeze=False)
    assert torch.equal(state, torch.get_rng_state())
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(model.predict_proba(X), before)


def test_loads_without_this_package(tmp_path):
    model, _, _ = fitted("two layers", "softmax")
    module = to_torch(model)
    torch.save(module, tmp_path / "module.pt")
    code = (
        "import sys, torch\n"
        "sys.modules['skdmn'] = None\n"
        f"module = torch.load(r'{tmp_path / 'module.pt'}', weights_only=False)\n"
        "print(tuple(module(torch.zeros(2, 3, 8, 7)).shape))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "(2, 3)"


def test_set_params_after_fit_counts():
    X, y = images_and_labels()
    layer = ClassPCAPatchTransformer(2).fit(X, y).set_params(stride=2, activation=None)
    assert_same(layer, to_torch(layer), X)
    pool = MaxPool2DTransformer(2).fit(X).set_params(padding="same", stride=3)
    assert_same(pool, to_torch(pool), X)


def test_says_what_cannot_be_exported():
    X, y = images_and_labels()
    forest = RandomForestClassifier(2)
    steps = ClassPCAPatchTransformer(2), FlattenTransformer(), forest
    model = make_pipeline(*steps).fit(X, y)
    with pytest.raises(TypeError, match="'randomforestclassifier' is a RandomForest"):
        to_torch(model)
    with pytest.raises(TypeError, match="got a dict"):
        to_torch({})
    with pytest.raises(NotFittedError):
        to_torch(OverlapPruner())
    with pytest.raises(TypeError, match="without steps"):
        to_torch(make_pipeline("passthrough"))


def test_missing_torch_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"skdmn\[torch\]"):
        to_torch(OverlapPruner())


@pytest.mark.parametrize("layers", ["two layers", "conv prune pool"])
def test_integers_are_converted(layers, tmp_path):
    model, X, _ = fitted(layers, "softmax")
    module = to_torch(model)
    images = torch.tensor(np.moveaxis(X, 3, 1).copy())
    assert images.dtype == torch.uint8
    torch.save(module, tmp_path / "module.pt")
    loaded = torch.load(tmp_path / "module.pt", weights_only=False)
    expected = module(images.float())
    for one in (module, loaded, copy.deepcopy(module)):
        torch.testing.assert_close(one(images), expected)
    double = copy.deepcopy(module).double()
    assert double(images).dtype == torch.float64
    pool = to_torch(MaxPool2DTransformer(2).fit(X))
    torch.testing.assert_close(pool(images), pool(images.float()))
    assert pool(images.double()).dtype == torch.float64
