"""Operations of training, counted by hand and by PyTorch."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdmn.analysis.sgd.cost import hybrid_bound, sgd_bound, training_operations

MNIST = {"image_shape": (28, 28, 1), "n_images": 100, "n_epochs": 3}


def test_a_trained_network_by_hand():
    found = training_operations("c6, m, c40, m, de10", **MNIST)
    one, two, last = 26 * 26 * 9 * 6, 11 * 11 * 54 * 40, 5 * 5 * 40 * 10
    assert found.forward == 300 * (one + two + last)
    assert found.backward == 300 * (one + 2 * two + 2 * last)
    assert found.computed == 0
    assert found.total == found.trained == found.forward + found.backward


def test_a_hybrid_by_hand():
    found = training_operations("d6, m, c40, m, de10", **MNIST)
    two, last = 11 * 11 * 54 * 40, 5 * 5 * 40 * 10
    assert found.densities == 100 * 26 * 26 * 45
    assert found.eigenvectors == 10 * 4.5 * 9**3
    assert found.features == 100 * 26 * 26 * 9 * 6
    assert found.forward == 300 * (two + last)
    assert found.backward == 300 * (two + 2 * last)
    assert found.total == found.computed + found.trained


def test_epochs_do_not_count_for_computed_layers():
    one = training_operations("d6, m, d20, m, de10", **{**MNIST, "n_epochs": 1})
    ten = training_operations("d6, m, d20, m, de10", **{**MNIST, "n_epochs": 10})
    assert ten.computed == one.computed
    assert ten.trained == 10 * one.trained


def test_a_share_of_the_images_is_that_of_the_densities():
    all_of_it = training_operations("d6, de10", **MNIST)
    some = training_operations("d6, de10", density_share=0.3, **MNIST)
    assert_allclose(some.densities, 0.3 * all_of_it.densities)
    assert some.features == all_of_it.features


def test_normalization_and_pooling_are_not_counted():
    plain = training_operations("c4, de10", **MNIST)
    assert training_operations("c4, BN, de10", **MNIST) == plain


@pytest.mark.parametrize(
    "name",
    [
        *("c6, m, c20, m, de10", "d6, m, BN, c20, m, de10", "d6, m, de10"),
        "d6, m, de32, de16, de10",
    ],
)
def test_torch_counts_as_many(name):
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    from skdmn.export import make_hybrid

    X = np.random.default_rng(0).random((20, 1, 16, 16)).astype(np.float32)
    network = make_hybrid(name, X, np.arange(20) % 10)
    batch = torch.tensor(X)
    features, start = batch, 3 if name.startswith("d") else 0
    with torch.no_grad():
        for module in network[:start]:
            features = module(features)
    with FlopCounterMode(display=False) as counter:
        network[start:](features).sum().backward()
    found = training_operations(name, (16, 16, 1), n_images=20, n_epochs=1)
    assert counter.get_total_flops() == 2 * found.trained


def test_the_papers_bounds():
    # eqs. 25 and 26
    assert sgd_bound([7, 5, 3, 2], 11) == 11 * 7 * 5 * 3 * 2
    assert hybrid_bound([7, 5, 3, 2], 11) == 11 * (5 * 3 * 2 + 7 * 5 + 7 * 7)


@pytest.mark.parametrize(
    ("inputs", "first", "above", "gains"),
    [
        # the paper's condition for a gain: d(1) ~ d(0), d(2) ... d(n) > d(0)
        (100, 100, 101, True),
        (100, 90, 1000, True),
        # it is sufficient, not necessary: with d(1) = d(0) a gain needs more than
        # 2 d(0) / (d(0) - 1) only, which is 2.02 here
        (100, 100, 3, True),
        (100, 100, 2, False),
        (100, 100, 1, False),
        # d(1) ~ d(0) is needed: with d(1) = 1 a gain needs more than 102.02
        (100, 1, 102, False),
        (100, 1, 103, True),
        # the paper's condition is not sufficient for two inputs
        (2, 2, 3, False),
    ],
)
def test_a_computed_layer_gains_if_and_only_if_those_above_are_wide(
    inputs, first, above, gains
):
    # eq. 25 is more than eq. 26, solved for the product of the widths above the first
    assert (above * first * (inputs - 1) > inputs * (inputs + first)) == gains
    widths = [inputs, first, above]
    assert (sgd_bound(widths, 7) > hybrid_bound(widths, 7)) == gains


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match="leaves no pixels"):
        training_operations("c6, m, c6, m, c6, de10", (8, 8, 1), n_images=1, n_epochs=1)
    with pytest.raises(ValueError, match="is not a layer"):
        training_operations("x6, de10", **MNIST)
    with pytest.raises(ValueError, match="pass the positive widths"):
        sgd_bound([5], 1)
    with pytest.raises(ValueError, match="pass the positive widths"):
        hybrid_bound([5, 0], 1)


@pytest.mark.parametrize("share", [0.0, 5, -1])
def test_shares_are_shares(share):
    with pytest.raises(ValueError, match="pass a share of the images"):
        training_operations(
            "d6, m, de10",
            image_shape=(28, 28, 1),
            n_images=10,
            n_epochs=1,
            density_share=share,
        )
