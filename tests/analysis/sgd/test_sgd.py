"""Weights in training: records, singular values, agreement of filters."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from skdmn.analysis.sgd.agreement import filter_agreement, filter_spread
from skdmn.analysis.sgd.history import (
    WeightHistory,
    _chunks,
    _cuts,
    mlp_history,
    torch_history,
)
from skdmn.analysis.sgd.weights import (
    backward_matrices,
    layer_distances,
    predicted_singular_value,
    singular_values,
    weight_products,
)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:300] / 16, y[:300]


def network(rng, widths):
    shapes = list(pairwise(widths))
    weights = [rng.normal(size=s) * np.sqrt(2 / s[0]) for s in shapes]
    return weights, [0.1 * rng.normal(size=s[1]) for s in shapes]


def raw_outputs(weights, biases, hidden, start=0):
    """Logits from the raw output of a layer, or from the input."""
    for k in range(start, len(weights)):
        hidden = np.maximum(hidden, 0) if k else hidden
        hidden = hidden @ weights[k] + biases[k]
    return hidden


# records


def test_the_history_of_an_mlp_is_that_of_its_partial_fits(digits):
    X, y = digits
    mlp = MLPClassifier((7,), solver="sgd", batch_size=50, random_state=0)
    history = mlp_history(mlp, X, y, n_epochs=2, records_per_epoch=3)
    assert_allclose(history.epochs, np.arange(7) / 3)
    assert [w.shape for w in history.weights] == [(7, 64, 7), (7, 7, 10)]
    assert [b.shape for b in history.biases] == [(7, 7), (7, 10)]
    assert not hasattr(mlp, "coefs_")
    again = mlp_history(mlp, X, y, n_epochs=2, records_per_epoch=3)
    assert_array_equal(history.weights[0], again.weights[0])


def test_the_first_record_of_an_mlp_is_where_its_training_starts(digits):
    X, y = digits
    slow = MLPClassifier((7,), solver="sgd", learning_rate_init=1e-9, random_state=1)
    history = mlp_history(slow, X, y, n_epochs=1)
    assert_allclose(history.weights[0][0], history.weights[0][1], atol=1e-7)
    assert np.any(history.weights[0][0] != history.weights[0][1])
    bound = np.sqrt(6 / (64 + 7))  # Glorot's uniform
    assert 0.95 * bound < np.abs(history.weights[0][0]).max() < bound


def test_lbfgs_is_refused(digits):
    with pytest.raises(ValueError, match="MLPClassifier with 'sgd'"):
        mlp_history(MLPClassifier(solver="lbfgs"), *digits, n_epochs=1)


def test_the_history_of_a_convnet_has_its_weights_in_order_of_patches(digits):
    torch = pytest.importorskip("torch")
    nn, (X, y) = torch.nn, digits
    torch.manual_seed(0)
    images = np.stack([X.reshape(-1, 8, 8)] * 2, axis=1)
    model = nn.Sequential(
        *(nn.Conv2d(2, 3, (2, 4), bias=False), nn.ReLU(), nn.Flatten()),
        nn.Linear(105, 10),
    )
    first = model[0].weight.detach().numpy().copy()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    history = torch_history(
        model, optimizer, images, y, n_epochs=4, records_per_epoch=2, random_state=0
    )
    # ten batches of 32, the last one smaller
    assert_allclose(history.epochs[:5], [0, 160 / 300, 1, 1 + 160 / 300, 2])
    assert [w.shape for w in history.weights] == [(9, 16, 3), (9, 105, 10)]
    filters = history.weights[0][0].T.reshape(3, 2, 4, 2)
    assert_allclose(filters, np.moveaxis(first, 1, 3))
    assert_allclose(history.weights[1][-1].T, model[3].weight.detach().numpy())
    assert_allclose(history.biases[1][-1], model[3].bias.detach().numpy())
    assert_array_equal(history.biases[0], 0)
    logits = model(torch.tensor(images, dtype=torch.float32)).argmax(1).numpy()
    assert np.mean(logits == y) > 0.4


def test_a_step_of_torch_is_one_of_gradient_descent(digits):
    torch = pytest.importorskip("torch")
    X, y = digits
    model = torch.nn.Linear(64, 10).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    history = torch_history(model, optimizer, X, y, n_epochs=1, batch_size=len(X))
    logits = X @ history.weights[0][0] + history.biases[0][0]
    odds = np.exp(logits)
    errors = odds / odds.sum(1, keepdims=True) - np.eye(10)[y]
    change = history.weights[0][1] - history.weights[0][0]
    assert_allclose(change, -0.5 * X.T @ errors / len(X), atol=1e-12)


def test_a_model_without_weights_is_refused(digits):
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match="no Conv2d and no Linear"):
        torch_history(torch.nn.ReLU(), None, *digits, n_epochs=1)


# singular values


def test_products_are_those_of_all_weights_above(rng):
    weights, _ = network(rng, [5, 4, 6, 3])
    products = weight_products(weights)
    assert_allclose(products[0], weights[0] @ weights[1] @ weights[2])
    assert_allclose(products[2], weights[2])
    stacked = weight_products([np.stack([w, 2 * w]) for w in weights])
    assert_allclose(stacked[0][1], 8 * products[0])


def test_products_of_convolutions_are_refused():
    with pytest.raises(ValueError, match="weights of dense layers only"):
        weight_products([np.ones((9, 4)), np.ones((100, 10))])


def test_backward_matrices_are_jacobians_of_the_logits(rng):
    weights, biases = network(rng, [5, 8, 6, 3])
    x = rng.normal(size=(1, 5))
    found = backward_matrices(weights, biases, x)
    raw = x
    for k, matrix in enumerate(found):
        slopes = [
            (
                raw_outputs(weights, biases, raw + 1e-6 * step, k)
                - raw_outputs(weights, biases, raw - 1e-6 * step, k)
            )
            / 2e-6
            for step in np.eye(raw.shape[1])
        ]
        assert_allclose(matrix[0], np.concatenate(slopes), atol=1e-6)
        raw = (np.maximum(raw, 0) if k else raw) @ weights[k] + biases[k]


def test_random_weights_behind_half_open_relus_start_at_1(rng):
    # eq. 27 of the supplement, for many more inputs than outputs
    weights, biases = network(rng, [4000, 4000, 10])
    found = backward_matrices(
        weights, [0 * b for b in biases], rng.normal(size=(1, 4000))
    )
    (values,) = singular_values(found[1])
    assert_allclose(values, 1.0, atol=0.1)
    assert_allclose(predicted_singular_value(weights[1]), 1.0, atol=0.02)


@pytest.mark.parametrize("shift", [0.0, 0.01, 0.05])
def test_the_predicted_singular_value_is_that_of_half_the_rows(rng, shift):
    weight = (
        rng.normal(size=(4000, 10)) * np.sqrt(2 / 4000) + shift * np.arange(10) / 10
    )
    halves = [
        np.linalg.norm(weight * rng.integers(0, 2, size=(4000, 1)), 2)
        for _ in range(10)
    ]
    assert_allclose(predicted_singular_value(weight), np.mean(halves), rtol=0.06)


def test_layers_distances_start_at_1_and_end_at_0(digits):
    mlp = MLPClassifier((9,), random_state=0)
    history = mlp_history(mlp, *digits, n_epochs=4)
    distances = layer_distances(history)
    assert distances.shape == (5, 2)
    assert_allclose(distances[[0, -1]], [[1, 1], [0, 0]])
    assert (np.diff(distances, axis=0) < 0).all()
    still = WeightHistory(np.arange(2), [np.ones((2, 3, 3))], [np.zeros((2, 3))])
    assert_array_equal(layer_distances(still), 0)


# agreement


def test_directions_agree_with_themselves_and_not_with_what_is_across(rng):
    basis = np.linalg.qr(rng.normal(size=(9, 9)))[0]
    same = filter_agreement(-3 * basis[:4], basis[:4], random_state=0)
    assert_allclose([same.share, same.cosine], 1)
    assert same.share_p_value == same.cosine_p_value == 1 / 1001
    across = filter_agreement(basis[4:], basis[:4], random_state=0)
    assert_allclose([across.share, across.cosine], 0, atol=1e-12)
    assert across.share_p_value == 1


def test_mixtures_are_in_the_span_but_no_direction():
    mixed = np.array([[1.0, 1, 0, 0], [1, -1, 0, 0]])
    found = filter_agreement(mixed, np.eye(4)[:2], random_state=0)
    assert_allclose(found.share, 1)
    assert_allclose(found.cosine, 0.5**0.5)
    assert found.share_p_value < 0.05 < found.cosine_p_value


def test_random_filters_have_the_share_of_dimensions(rng):
    filters = rng.normal(size=(50, 3, 3, 2))
    directions = rng.normal(size=(6, 3, 3, 2))  # not orthogonal
    found = filter_agreement(filters, directions, random_state=0)
    assert_allclose(found.random_share, 6 / 18, rtol=0.01)
    assert_allclose(found.share, found.random_share, atol=0.06)
    assert found.share_p_value > 0.01


def test_p_values_of_random_filters_are_uniform(rng):
    p_values = [
        filter_agreement(
            rng.normal(size=(5, 6)), np.eye(6)[:2], n_random=99, random_state=seed
        )[2::3]
        for seed in range(200)
    ]
    assert_allclose(np.mean(np.array(p_values) <= 0.2, axis=0), 0.2, atol=0.08)


def test_patch_like_filters_agree_with_leading_directions_by_themselves(rng):
    density = np.diag([0.6, 0.3, 0.06, 0.04])
    filters = rng.multivariate_normal(np.zeros(4), density, size=40)
    easy = filter_agreement(filters, np.eye(4)[:2], random_state=0)
    fair = filter_agreement(filters, np.eye(4)[:2], covariance=density, random_state=0)
    assert easy.share_p_value < 0.01 < fair.share_p_value
    assert fair.random_share > easy.random_share + 0.2


def test_large_filters_weigh_in_the_share_alone():
    found = filter_agreement([[9.0, 0], [0, 1]], np.eye(2)[:1], random_state=0)
    assert_allclose(found.share, 81 / 82)
    assert_allclose(found.cosine, 0.5)


def test_filters_of_zeros_do_not_count():
    filters = np.array([[1.0, 0, 0], [0, 0, 0]])
    found = filter_agreement(filters, np.eye(3)[:1], random_state=0)
    assert_allclose([found.share, found.cosine], 1)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.01, 100))
def test_agreement_does_not_depend_on_norms_signs_or_basis(seed, scale):
    rng = np.random.default_rng(seed)
    filters, directions = rng.normal(size=(4, 6)), rng.normal(size=(3, 6))
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    one = filter_agreement(filters, directions, n_random=1)
    two = filter_agreement(
        -scale * filters @ rotation, scale * directions @ rotation, n_random=1
    )
    assert_allclose([one.share, one.cosine], [two.share, two.cosine])


def test_filters_of_another_size_and_zeros_are_refused():
    with pytest.raises(ValueError, match="have 9 entries and directions 4"):
        filter_agreement(np.eye(9), np.eye(4))
    with pytest.raises(ValueError, match="no row that is not zero"):
        filter_agreement(np.zeros((3, 4)), np.eye(4))
    with pytest.raises(ValueError, match="density matrix 4 rows"):
        filter_spread(np.eye(9), np.eye(4))


# spread


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_the_spread_of_gaussian_filters_is_found(rng, exponent):
    basis = np.linalg.qr(rng.normal(size=(9, 9)))[0]
    values = 0.5 ** np.arange(9)
    filters = (rng.normal(size=(2000, 9)) * values**exponent) @ basis
    found = filter_spread(filters, (basis.T * values) @ basis)
    assert_allclose(found.exponent, exponent, atol=0.03)
    assert_allclose(found.eigenvalues, values)


def test_directions_without_variance_are_left_out(rng):
    density = np.diag([0.5, 0.3, 0.2, 0.0])
    assert len(filter_spread(rng.normal(size=(9, 4)), density).projections) == 3
    with pytest.raises(ValueError, match="share 2 directions"):
        filter_spread(rng.normal(size=(9, 3)), np.diag([0.5, 0.5, 0.0]))


def test_records_end_batches_nowhere():
    random = np.random.RandomState(0)
    chunks = list(_chunks(103, 2, _cuts(103, 3, 10), random))
    assert [len(some) for some in chunks] == [30, 40, 33] * 2
    for epoch in (chunks[:3], chunks[3:]):
        assert_array_equal(np.sort(np.concatenate(epoch)), np.arange(103))


def test_more_records_than_batches_are_refused(digits):
    mlp = MLPClassifier((5,), batch_size=100)
    with pytest.raises(ValueError, match="an epoch has 3 batches"):
        mlp_history(mlp, *digits, n_epochs=1, records_per_epoch=4)


def test_what_filters_cannot_be_compared_with_is_refused():
    with pytest.raises(ValueError, match="pass a 9 x 9 matrix"):
        filter_agreement(np.eye(9)[:2], np.eye(9)[:3], covariance=np.zeros((9, 9)))
    with pytest.raises(ValueError, match="pass a 9 x 9 matrix"):
        filter_agreement(np.eye(9)[:2], np.eye(9)[:3], covariance=np.eye(4))
    with pytest.raises(ValueError, match="before training diverged"):
        filter_agreement([[1.0, 0.0], [np.nan, 1.0]], np.eye(2))
