"""Networks of computed and trained layers, from the papers' names for them."""

import numpy as np
import pytest
from stacks import images_and_labels

from skdmn import ClassPCAPatchTransformer, MaxPool2DTransformer

torch = pytest.importorskip("torch")

from skdmn.export import make_hybrid  # noqa: E402

# Tables 3 and 4 of the class-PCA paper
MNIST = [
    *("de10", "d6, m, de10", "c9, m, de10", "d9, m, d40, m, de10"),
    *("d6, m, d54, m, BN, de10", "d9, m, BN, c81, m, de10", "c6, m, c40, m, de10"),
]
CIFAR = [
    *("de10", "d10, m, de10", "c27, m, de10", "d15, m, d108, m, de10"),
    *("d20, m, d180, m, BN, de10", "d15, m, c80, m, de10"),
    *("d27, m, c108, m, BN, de10", "c10, m , c80, m, de10", "c32, m, c32, m, de10"),
]


@pytest.fixture(scope="module")
def data():
    X, _ = images_and_labels(60, (20, 20, 3), np.float32)
    return np.ascontiguousarray(np.moveaxis(X, 3, 1)) / 255, np.arange(60) % 10


@pytest.mark.parametrize("architecture", [*MNIST, *CIFAR])
def test_builds_the_papers_architectures(architecture, data):
    X, y = data
    network = make_hybrid(architecture, X, y, correlation_cutoff=1.0)
    assert network(torch.tensor(X)).shape == (60, 10)
    wanted = [
        int(w.strip()[1:]) for w in architecture.split(",") if w.strip()[1:2].isdigit()
    ]
    found = [m.out_channels for m in network if isinstance(m, torch.nn.Conv2d)]
    assert found == wanted


def test_computed_layers_are_those_of_the_transformers(data):
    X, y = data
    network = make_hybrid("d5, m, d7", X, y)
    images, options = np.moveaxis(X, 1, 3), {"variance_cutoff": 1.0}
    one = ClassPCAPatchTransformer(n_filters=5, **options).fit(images, y)
    maps = MaxPool2DTransformer().fit_transform(one.transform(images))
    two = ClassPCAPatchTransformer(n_filters=7, **options).fit(maps, y)
    expected = np.moveaxis(two.transform(maps), 3, 1)
    found = network(torch.tensor(X)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())


@pytest.mark.parametrize("labels", [None, np.arange(60) % 10])
def test_naive_layers_have_one_density_matrix(data, labels):
    X, _ = data
    options = {"class_based": False, "correlation_cutoff": 1.0}
    found = make_hybrid("d27, m, c5, de10", X, labels, **options)[0].weight
    layer = ClassPCAPatchTransformer(
        n_filters=27, variance_cutoff=1.0, correlation_cutoff=1.0, class_based=False
    ).fit(np.moveaxis(X, 1, 3))
    np.testing.assert_array_equal(found, np.moveaxis(layer.filters_, 3, 1))
    with pytest.raises(ValueError, match="asks for d28, but only 27 filters exist"):
        make_hybrid("d28, de10", X, labels, **options)  # 3 x 3 x 3


def test_labels_are_needed_for_classes_only(data):
    X, _ = data
    with pytest.raises(ValueError, match="pass labels, or class_based=False"):
        make_hybrid("d5, m, de10", X)
    assert make_hybrid("c5, m, de10", X)(torch.tensor(X)).shape == (60, 10)


def test_hidden_layers_are_trained(data):
    # "1Dense + 1Softmax" of Table II of the hierarchical-covariance paper
    X, y = data
    network = make_hybrid("d5, de128, de64, de10", X, y)
    kinds = [type(module).__name__ for module in network[2:]]
    assert kinds == ["Flatten", *["Linear", "ReLU"] * 2, "Linear"]
    assert [m.out_features for m in network[3::2]] == [128, 64, 10]
    assert network(torch.tensor(X)).shape == (60, 10)


def test_only_what_is_trained_has_gradients(data):
    X, y = data
    network = make_hybrid("d5, m, BN, c6, m, BN, de10", X, y)
    kinds = [type(module).__name__ for module in network]
    assert kinds == [
        *("Conv2d", "ReLU", "MaxPool2d", "BatchNorm2d", "Conv2d", "ReLU"),
        *("MaxPool2d", "BatchNorm2d", "Flatten", "Linear"),
    ]
    trained = [p.requires_grad for p in network.parameters()]
    assert trained == [False] + [True] * 8
    assert all(
        p.requires_grad
        for p in make_hybrid("d5, de10", X, y, freeze=False).parameters()
    )
    before = network[0].weight.clone()
    sgd = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.1)
    torch.nn.functional.cross_entropy(
        network(torch.tensor(X)), torch.tensor(y)
    ).backward()
    sgd.step()
    assert torch.equal(network[0].weight, before)


def test_training_mode_does_not_move_what_is_frozen(data):
    X, y = data
    network = make_hybrid("BN, d5, m, de10", X, y)
    assert network.training
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = torch.tensor(X)
    first, second = network(images), network(images + 1)
    assert torch.isfinite(first + second).all()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_kernel_size(data):
    X, y = data
    network = make_hybrid("d5, m, c6, de10", X, y, kernel_size=5)
    assert network[0].kernel_size == network[3].kernel_size == (5, 5)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("d5, x, de10", "'x' in 'd5, x, de10' is not a layer; write d or c"),
        ("d0, de10", "'d0' in"),
        ("d, de10", "'d' in"),
        ("", "'' in '' is not a layer"),
        ("de10, m", "has a layer after de"),
        ("c5, d5, de10", "write all d before the first c"),
        ("d5, de9", "ends in 9 logits, but labels have 10 classes; write de10"),
        ("d500, de10", "asks for d500, but only"),
        ("m, m, m, c5", "2 x 2 pixels before a layer that needs 3 x 3"),
    ],
)
def test_says_what_is_wrong(architecture, message, data):
    with pytest.raises(ValueError, match=message):
        make_hybrid(architecture, *data)


def test_channels_last_images_are_refused(data):
    X, y = data
    with pytest.raises(ValueError, match=r"pass \(n, channels, height, width\)"):
        make_hybrid("d5", X[0], y)
