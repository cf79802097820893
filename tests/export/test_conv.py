"""Convolutions of torch from density matrices, and back."""

import sys

import numpy as np
import pytest
from stacks import images_and_labels

from skdmn import ClassPCAPatchTransformer, FilterDisplay

torch = pytest.importorskip("torch")

from skdmn.export import from_torch, init_conv_, to_torch  # noqa: E402


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
    with pytest.raises(TypeError, match=r"takes a torch\.nn\.Conv2d, but got a Linear"):
        function(torch.nn.Linear(3, 4), first(X), y)
    with pytest.raises(ValueError, match="groups=3"):
        function(torch.nn.Conv2d(3, 3, 2, groups=3), first(X), y)
    with pytest.raises(ValueError, match=r"dilation=\(2, 2\)"):
        function(torch.nn.Conv2d(3, 3, 2, dilation=2), first(X), y)


def test_a_missing_torch_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for function in (init_conv_, from_torch):
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
