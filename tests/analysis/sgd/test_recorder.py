"""Recorders: one layout for all functions, times with their unit, predictions."""

import matplotlib as mpl
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from skdmn.analysis import (
    Recorder,
    accessibility,
    backward_matrices,
    compact_weights,
    gradient_scale_matrices,
    layer_distances,
    mlp_history,
    singular_values,
    weight_products,
)
from skdmn.display import AgreementDisplay, LearningOrderDisplay, TrainingDisplay

mpl.use("agg")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 4))
Y = np.array(["a", "b", "c", "d"])[np.arange(30) % 4]


def square_network(n_records=3):
    """Return recorded weights of a 4-4-4 network, whose layouts look alike."""
    recorder = Recorder(X, Y)
    for _ in range(n_records):
        recorder.record([RNG.normal(size=(4, 4)), RNG.normal(size=(4, 4))])
    return recorder


def test_a_square_network_gives_the_same_numbers_in_both_layouts():
    recorder = square_network()
    first, second = (weight[-1] for weight in recorder.weights)  # (n_out, n_in)
    record = recorder[-1]
    assert_array_equal(record[0], first)
    assert_array_equal(compact_weights(record), second @ first)
    assert_array_equal(compact_weights(recorder)[-1], second @ first)
    assert_array_equal(weight_products(record)[0], (second @ first).T)
    assert_array_equal(weight_products(recorder)[0][-1], (second @ first).T)
    left, _ = gradient_scale_matrices(record)
    assert_allclose(left[0], second @ second.T)
    gates = backward_matrices(record, record.biases, X)
    active = (first @ X[0] > 0)[:, np.newaxis]
    assert_allclose(gates[0][0], first.T @ (active * second.T))
    assert_allclose(
        singular_values(recorder)[0][-1], np.linalg.svd(first, compute_uv=False)
    )
    with pytest.raises(TypeError, match="not iterable"):
        list(recorder)


def test_predictions_are_labels():
    recorder = square_network()
    scores = X @ compact_weights(recorder[0]).T
    expected = np.array(["a", "b", "c", "d"])[scores.argmax(axis=1)]
    assert_array_equal(recorder.predictions[0], expected)
    both = accessibility([recorder, recorder], Y)
    assert_allclose(both, (recorder.predictions == Y).mean(axis=0))
    display = LearningOrderDisplay.from_predictions(recorder, Y)
    assert display.ylabel == "steps until learned"
    with pytest.raises(ValueError, match="has no predictions; pass examples to it"):
        accessibility(Recorder(), Y)


def test_learning_is_told_in_the_times_of_the_records():
    recorder = Recorder(np.eye(2), [0, 1], unit="epochs")
    for time, weight in ((0, [[1, 1], [0, 0]]), (5, [[1, 0], [0, 1]])):
        recorder.record([np.array(weight)], time)
    display = LearningOrderDisplay.from_predictions(recorder, [0, 1])
    assert display.ylabel == "epochs until learned"
    assert_array_equal(display.curves[0], [0, 5])
    other = Recorder(np.eye(2), [0, 1])
    other.record([np.eye(2)])
    with pytest.raises(ValueError, match="different times or units"):
        LearningOrderDisplay.from_predictions([recorder, other], [0, 1])


def test_training_of_scikit_learn_is_recorded():
    mlp = MLPClassifier((4,), random_state=0)
    recorder = Recorder(X, Y, unit="epochs")
    for epoch in (1, 2, 4):
        recorder.record(mlp.partial_fit(X, Y, classes=np.unique(Y)), epoch)
    assert_array_equal(recorder.times, [1, 2, 4])
    assert_array_equal(recorder.weights[0][-1], mlp.coefs_[0].T)
    assert_array_equal(recorder.biases[1][-1], mlp.intercepts_[1])
    assert_array_equal(recorder.predictions[-1], mlp.predict(X))
    assert_array_equal(layer_distances(recorder), layer_distances(recorder.history))
    for curves in ("weights", "distances"):
        assert TrainingDisplay.from_history(recorder, curves).ax_.get_xlabel() == (
            "epochs"
        )
    linear = Recorder(X)
    model = LogisticRegression().fit(X, Y)
    linear.record(model)
    assert_array_equal(linear.weights[0][0], model.coef_)


def test_steps_are_not_called_epochs():
    recorder = square_network()
    for curves in ("weights", "products", "distances"):
        assert TrainingDisplay.from_history(recorder, curves).unit == "steps"
    display = AgreementDisplay.from_history(recorder, np.eye(4)[:2], n_random=5)
    assert [axis.get_xlabel() for axis in display.axes_] == ["steps", "steps"]
    history = mlp_history(MLPClassifier((4,), random_state=0), X, Y, n_epochs=1)
    assert TrainingDisplay.from_history(history).ax_.get_xlabel() == "epochs"


def test_training_of_torch_is_watched():
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(4, 4)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)

    def train(recorder, n_steps, **options):
        with recorder.watch(module, optimizer, **options):
            for _ in range(n_steps):
                optimizer.zero_grad()
                module(torch.ones(1, 4)).sum().backward()
                optimizer.step()

    recorder = Recorder(X.astype(np.float32), Y)
    start = module.weight.detach().numpy().copy()
    train(recorder, 5, every=2)
    assert_array_equal(recorder.times, [0, 2, 4, 5])
    assert_allclose(recorder.weights[0][0], start)
    assert_allclose(recorder.weights[0][-1], module.weight.detach().numpy())
    train(recorder, 2)
    assert_array_equal(recorder.times, [0, 2, 4, 5, 6, 7])
    scores = module(torch.as_tensor(X, dtype=torch.float32)).detach().numpy()
    expected = np.unique(Y)[scores.argmax(axis=1)]
    assert_array_equal(recorder.predictions[-1], expected)
    assert module.training
    epochs = Recorder(unit="epochs")
    train(epochs, 3, steps_per_epoch=2)
    assert_array_equal(epochs.times, [0, 0.5, 1, 1.5])
    with pytest.raises(ValueError, match="pass steps_per_epoch exactly if"):
        train(epochs, 1)
    with pytest.raises(ValueError, match="every is 0; pass a number of steps"):
        train(recorder, 1, every=0)


def test_mistakes_are_told():
    recorder = square_network(1)
    with pytest.raises(ValueError, match="not later than the last record"):
        recorder.record([np.eye(4), np.eye(4)], 0)
    with pytest.raises(ValueError, match=r"have shapes \[\(4, 4\)\] \(outputs"):
        recorder.record([np.eye(4)])
    with pytest.raises(ValueError, match="are not those of a network"):
        Recorder().record([np.ones((2, 3)), np.ones((3, 2)), np.ones((2, 2))])
    with pytest.raises(TypeError, match="The weights of a dict are not known"):
        Recorder().record({})
    with pytest.raises(ValueError, match="Nothing is recorded yet"):
        _ = Recorder().history
    with pytest.raises(ValueError, match="pass 'steps' or 'epochs'"):
        Recorder(unit="tau")
    with pytest.raises(ValueError, match="X has 30 examples and y 2 labels"):
        Recorder(X, [0, 1])
    assert len(recorder) == 1
