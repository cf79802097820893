"""Convolutions of torch from density matrices, and back."""

import pickle
import sys

import numpy as np
import pytest
from stacks import images_and_labels

from skdmn import ClassPCAPatchTransformer, ClassPCATransformer, FilterDisplay

torch = pytest.importorskip("torch")

from skdmn.export import from_torch, init_conv_, init_linear_, to_torch  # noqa: E402


def first(images):
    return np.ascontiguousarray(np.moveaxis(images, 3, 1))


@pytest.fixture
def data():
    return images_and_labels(shape=(8, 7, 3), dtype=np.float32)


def test_fills_with_the_filters_of_lowest_energy(data):
    X, y = data
    conv = torch.nn.Conv2d(3, 7, (2, 3))
    weight = init_conv_(conv, torch.tensor(first(X)), torch.tensor(y))
    layer = ClassPCAPatchTransformer((2, 3), n_filters=7, variance_cutoff=1.0).fit(X, y)
    assert weight is conv.weight
    assert weight.requires_grad
    np.testing.assert_allclose(
        weight.detach().numpy(), np.moveaxis(layer.filters_, 3, 1), atol=1e-6
    )
    assert not conv.bias.any()


def test_without_labels_there_is_one_density_matrix(data):
    X, _ = data
    conv = torch.nn.Conv2d(3, 5, 2, bias=False)
    init_conv_(conv, first(X))
    naive = ClassPCAPatchTransformer(2, n_filters=5, variance_cutoff=1.0)
    expected = naive.set_params(class_based=False).fit(X).filters_
    np.testing.assert_allclose(
        conv.weight.detach().numpy(), np.moveaxis(expected, 3, 1), atol=1e-6
    )


def test_signs_and_gain(data):
    X, y = data
    conv = torch.nn.Conv2d(3, 6, 2)
    weight = init_conv_(conv, first(X), y, signs="both", gain=2.0).detach()
    assert torch.equal(weight[:3], -weight[3:])
    norms = weight.flatten(1).norm(dim=1).numpy()
    np.testing.assert_allclose(norms, 2.0, rtol=1e-6)
    with pytest.raises(ValueError, match="pairs of filters, but conv has 5"):
        init_conv_(torch.nn.Conv2d(3, 5, 2), first(X), y, signs="both")


def test_dtype_of_the_convolution_stays(data):
    X, y = data
    for dtype in (torch.float64, torch.bfloat16):
        conv = torch.nn.Conv2d(3, 4, 2, dtype=dtype)
        assert init_conv_(conv, torch.tensor(first(X)).to(dtype), y).dtype == dtype


def test_too_few_filters_say_what_to_do_and_leave_the_weights(data):
    X, y = data
    conv = torch.nn.Conv2d(3, 100, 2)
    before = conv.weight.detach().clone()
    with pytest.raises(ValueError, match=r"filters for 100 output channels; raise cor"):
        init_conv_(conv, first(X), y)
    assert torch.equal(conv.weight, before)


@pytest.mark.parametrize("function", [init_conv_, from_torch])
def test_says_what_is_wrong(function, data):
    X, y = data
    conv = torch.nn.Conv2d(3, 4, 2, bias=False)
    with pytest.raises(ValueError, match=r"pass \(n, 3, height, width\), channels fir"):
        function(conv, X, y)
    with pytest.raises(TypeError, match=r"takes a torch\.nn\.Conv2d.*, but got a ReLU"):
        function(torch.nn.ReLU(), first(X), y)
    with pytest.raises(ValueError, match="groups=3"):
        function(torch.nn.Conv2d(3, 3, 2, groups=3), first(X), y)
    with pytest.raises(ValueError, match=r"dilation=\(2, 2\)"):
        function(torch.nn.Conv2d(3, 3, 2, dilation=2), first(X), y)


def test_a_missing_torch_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for function in (init_conv_, init_linear_, from_torch):
        with pytest.raises(ImportError, match=r"skdmn\[torch\]"):
            function(None, None)


def test_computed_filters_come_back_as_they_were(data):
    X, y = data
    layer = ClassPCAPatchTransformer(2, variance_cutoff=1.0, n_filters=6).fit(X, y)
    conv = torch.nn.Conv2d(3, 6, 2, bias=False)
    conv.load_state_dict(to_torch(layer)[0].state_dict())
    found = from_torch(conv, first(X), y)
    np.testing.assert_allclose(found.filters_, layer.filters_, atol=1e-6)
    np.testing.assert_allclose(found.transform(X), layer.transform(X), rtol=1e-4)
    # a filter of one class can have a larger share of another
    own = found.filter_classes_ == layer.filter_classes_
    assert own.any()
    np.testing.assert_allclose(found.energies_[own], layer.energies_[own], atol=1e-5)
    assert (found.energies_ <= layer.energies_ + 1e-5).all()
    for i in np.flatnonzero(own):
        assert found.filter_members_[i] == layer.filter_members_[i][:1]


@pytest.mark.parametrize(
    ("options", "padding"),
    [
        ({}, "valid"),
        ({"padding": "valid", "stride": 2}, "valid"),
        ({"padding": 1}, "same"),
        ({"padding": "same"}, "same"),
    ],
)
def test_transforms_as_the_convolution(options, padding, data):
    X, y = data
    conv = torch.nn.Conv2d(3, 4, 3, bias=False, **options)
    layer = from_torch(conv, first(X), y, activation=None)
    with torch.inference_mode():
        expected = np.moveaxis(conv(torch.tensor(first(X))).numpy(), 1, 3)
    assert layer.padding == padding
    np.testing.assert_allclose(
        layer.transform(X), expected, atol=1e-5 * abs(expected).max()
    )
    FilterDisplay.from_estimator(layer)


def test_energy_is_that_of_the_share_of_the_variance(data):
    X, _ = data
    conv = torch.nn.Conv2d(3, 2, 1, bias=False)
    with torch.no_grad():
        conv.weight[:, :, 0, 0] = torch.tensor([[0.0, 5.0, 0.0], [0.0, 0.0, 0.0]])
    layer = from_torch(conv, first(X))
    share = (X[..., 1].astype(float) ** 2).sum() / (X.astype(float) ** 2).sum()
    np.testing.assert_allclose(layer.explained_variance_ratio_, [share, 0], rtol=1e-6)
    np.testing.assert_allclose(layer.energies_, [-np.log(share), np.inf], rtol=1e-6)


def test_a_bias_is_only_dropped_when_asked(data):
    X, y = data
    conv = torch.nn.Conv2d(3, 4, 2)
    with pytest.raises(ValueError, match="conv has a bias"):
        from_torch(conv, first(X), y)
    layer = from_torch(conv, first(X), y, drop_bias=True)
    assert layer.filters_.shape == (4, 2, 2, 3)
    torch.nn.init.zeros_(conv.bias)
    from_torch(conv, first(X), y)


@pytest.mark.parametrize(
    "options", [{"padding": 2}, {"padding": 1, "stride": 2}, {"padding": (1, 0)}]
)
def test_other_paddings_are_refused(options, data):
    X, y = data
    conv = torch.nn.Conv2d(3, 4, 3, bias=False, **options)
    with pytest.raises(ValueError, match="from_torch takes no padding, or at stride 1"):
        from_torch(conv, first(X), y)


def test_layers_of_trained_filters_can_be_saved(data):
    X, y = data
    conv = torch.nn.Conv2d(3, 4, 2, bias=False)
    with torch.no_grad():
        conv.weight.mul_(100)
        conv.weight[0] = 0
    layer = from_torch(conv, first(X), y)
    loaded = pickle.loads(pickle.dumps(layer))
    np.testing.assert_array_equal(loaded.transform(X), layer.transform(X))


# linear layers


@pytest.fixture
def rows():
    X, y = images_and_labels(shape=(3, 4, 1), dtype=np.float32)
    return X.reshape(len(X), -1), y


def test_a_linear_layer_gets_the_filters_of_lowest_energy(rows):
    X, y = rows
    linear = torch.nn.Linear(12, 6, dtype=torch.float64)
    weight = init_linear_(linear, torch.tensor(X), torch.tensor(y), gain=2.0)
    options = {"n_filters": 6, "variance_cutoff": 1.0, "correlation_cutoff": 0.9}
    layer = ClassPCATransformer(**options, signs="one").fit(X, y)
    assert weight is linear.weight
    np.testing.assert_allclose(weight.detach(), 2 * layer.filters_, atol=1e-6)
    assert not linear.bias.any()
    naive = init_linear_(linear, X, signs="both").detach()
    options["n_filters"] = 3
    both = ClassPCATransformer(**options, class_based=False).fit(X)
    np.testing.assert_allclose(naive, both.filters_, atol=1e-6)


def test_filters_of_a_linear_layer_come_back_as_they_were(rows):
    X, y = rows
    layer = ClassPCATransformer(n_filters=5, variance_cutoff=1.0, signs="one")
    layer.fit(X, y)
    linear = torch.nn.Linear(12, 5, bias=False)
    linear.load_state_dict(to_torch(layer)[0].state_dict())
    found = from_torch(linear, X, y)
    assert type(found) is ClassPCATransformer
    np.testing.assert_allclose(found.transform(X), layer.transform(X), atol=1e-5)
    own = found.filter_classes_ == layer.filter_classes_
    assert own.any()
    np.testing.assert_allclose(found.energies_[own], layer.energies_[own], atol=1e-5)


def test_says_what_is_wrong_with_a_linear_layer(rows):
    X, y = rows
    linear = torch.nn.Linear(12, 5)
    before = linear.weight.detach().clone()
    with pytest.raises(ValueError, match=r"pairs of filters, but linear has 5 outputs"):
        init_linear_(linear, X, y, signs="both")
    with pytest.raises(ValueError, match=r"rows have shape .*; pass \(n, 12\)"):
        init_linear_(linear, X[:, 1:], y)
    with pytest.raises(ValueError, match=r"are \d+ filters for 50 outputs; raise corr"):
        init_linear_(torch.nn.Linear(12, 50), X, y)
    with pytest.raises(TypeError, match=r"takes a torch\.nn\.Linear, but got a Conv2d"):
        init_linear_(torch.nn.Conv2d(3, 4, 2), X, y)
    with pytest.raises(ValueError, match="bias, which ClassPCATransformer does not"):
        from_torch(linear, X, y)
    assert torch.equal(linear.weight, before)
