"""Weights of all layers, kept while a network is trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.neural_network import MLPClassifier
from sklearn.utils import check_random_state

from skdmn.utils.optional import import_torch

if TYPE_CHECKING:
    import torch


class WeightHistory(NamedTuple):
    """Weights of all layers at some steps of training.

    Attributes
    ----------
    epochs : ndarray of shape (n_records,)
        How many times the data had been seen, from 0.
    weights : list of ndarray of shape (n_records, n_inputs, n_outputs)
        Of each layer from the input up, as the paper writes them: the raw output is
        w^T h + b. Inputs of a convolution are the entries of a patch in the order of
        (y, x, channel), so that ``weights[0][-1].T`` are its filters as rows.
    biases : list of ndarray of shape (n_records, n_outputs)
    """

    epochs: np.ndarray
    weights: list[np.ndarray]
    biases: list[np.ndarray]


Layers = list[tuple[np.ndarray, np.ndarray]]  # weights and biases, copied


def mlp_history(
    mlp: MLPClassifier,
    X: np.ndarray,
    y: np.ndarray,
    *,
    n_epochs: int,
    records_per_epoch: int = 1,
) -> WeightHistory:
    """Train scikit-learn's network of dense layers and keep its weights on the way.

    Parameters
    ----------
    mlp : MLPClassifier
        With solver "sgd" or "adam"; a copy is trained.
    X : array of shape (n, n_features)
    y : array of shape (n,)
        Class labels.
    n_epochs : int
        How many times the data is seen.
    records_per_epoch : int, default=1
        How many times an epoch weights are kept; before the first step they always
        are.

    Returns
    -------
    WeightHistory

    Raises
    ------
    ValueError
        Where the solver does not take batches, or an epoch has fewer batches than
        records.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neural_network import MLPClassifier
    >>> from skdmn.analysis.sgd.history import mlp_history
    >>> mlp = MLPClassifier((30,), random_state=0)
    >>> history = mlp_history(mlp, *load_digits(return_X_y=True), n_epochs=2)
    >>> history.epochs, [w.shape for w in history.weights]
    (array([0., 1., 2.]), [(3, 64, 30), (3, 30, 10)])
    """
    if mlp.solver not in ("sgd", "adam"):
        raise ValueError(
            f"The solver is {mlp.solver!r}; pass an MLPClassifier with 'sgd' or "
            "'adam', which learn batch by batch."
        )
    X, y = np.asarray(X), np.asarray(y)
    random = check_random_state(mlp.random_state)
    seed = random.randint(2**31 - 1)
    mlp = clone(mlp).set_params(random_state=seed)
    classes = np.unique(y)
    # weights before the first step: those of a step that is too small to be seen
    still = clone(mlp).set_params(learning_rate_init=1e-200)
    records = [_mlp_layers(still.partial_fit(X, y, classes=classes))]
    size = 200 if mlp.batch_size == "auto" else mlp.batch_size
    cuts = _cuts(len(X), records_per_epoch, size)
    for some in _chunks(len(X), n_epochs, cuts, random):
        mlp.partial_fit(X[some], y[some], classes=classes)
        records.append(_mlp_layers(mlp))
    return _history(records, cuts / len(X))


def torch_history(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Any,
    labels: Any,
    *,
    n_epochs: int,
    records_per_epoch: int = 1,
    batch_size: int = 32,
    random_state: Any = None,
) -> WeightHistory:
    """Train a network of torch on cross-entropy and keep its weights on the way.

    Parameters
    ----------
    model : torch.nn.Module
        Gives logits; its Conv2d and Linear modules are recorded, in their order.
        Trained in place.
    optimizer : torch.optim.Optimizer
        Of the model's parameters.
    images : tensor or array of shape (n, ...)
        What the model takes.
    labels : tensor or array of shape (n,)
        From 0.
    n_epochs : int
        How many times the data is seen.
    records_per_epoch : int, default=1
        How many times an epoch weights are kept; before the first step they always
        are.
    batch_size : int, default=32
    random_state : int, RandomState or None
        Of the order of images.

    Returns
    -------
    WeightHistory

    Raises
    ------
    ImportError
        Where torch is missing.
    ValueError
        Where the model has neither convolution nor linear module, or an epoch has
        fewer batches than records.

    Examples
    --------
    >>> import torch
    >>> from skdmn.analysis.sgd.history import torch_history
    >>> from skdmn.datasets import load_digits_images
    >>> X, y = load_digits_images()
    >>> model = torch.nn.Sequential(
    ...     torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(),
    ...     torch.nn.Linear(288, 10),
    ... )
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> history = torch_history(model, optimizer, X[:, None] / 16, y, n_epochs=1)
    >>> [w.shape for w in history.weights]
    [(2, 9, 8), (2, 288, 10)]
    """
    torch = import_torch("torch_history")
    layers = [
        module
        for module in model.modules()
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)
    ]
    if not layers:
        raise ValueError(
            f"{type(model).__name__} has no Conv2d and no Linear; pass a network that "
            "has weights to record."
        )
    backend = next(model.parameters())
    images = torch.as_tensor(images, dtype=backend.dtype, device=backend.device)
    labels = torch.as_tensor(labels, dtype=torch.int64, device=backend.device)
    random = check_random_state(random_state)
    records = [[_torch_layer(layer) for layer in layers]]
    model.train()
    cuts = _cuts(len(images), records_per_epoch, batch_size)
    for some in _chunks(len(images), n_epochs, cuts, random):
        for batch in torch.as_tensor(some).split(batch_size):
            optimizer.zero_grad()
            logits = model(images[batch])
            torch.nn.functional.cross_entropy(logits, labels[batch]).backward()
            optimizer.step()
        records.append([_torch_layer(layer) for layer in layers])
    return _history(records, cuts / len(images))


def _cuts(n: int, per_epoch: int, size: int) -> np.ndarray:
    """Return after how many of n samples weights are kept: behind whole batches."""
    n_batches = -(-n // size)
    if not 1 <= per_epoch <= n_batches:
        raise ValueError(
            f"records_per_epoch={per_epoch}, but an epoch has {n_batches} batches; "
            "pass a number from 1 to that, or a smaller batch size."
        )
    return np.append(np.arange(1, per_epoch) * n_batches // per_epoch * size, n)


def _chunks(
    n: int, n_epochs: int, cuts: np.ndarray, random: np.random.RandomState
) -> Iterator[np.ndarray]:
    """Yield indices of all, in a new order each epoch, cut where weights are kept."""
    for _ in range(n_epochs):
        yield from np.split(random.permutation(n), cuts[:-1])


def _mlp_layers(mlp: MLPClassifier) -> Layers:
    return [
        (weight.copy(), bias.copy())
        for weight, bias in zip(mlp.coefs_, mlp.intercepts_, strict=True)
    ]


def _torch_layer(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    weight = layer.weight.detach().cpu().double().numpy()
    if weight.ndim == 4:  # patches in C order of (y, x, channel)
        weight = np.moveaxis(weight, 1, 3)
    flat = weight.reshape(len(weight), -1).T.copy()
    if layer.bias is None:
        return flat, np.zeros(len(weight))
    return flat, layer.bias.detach().cpu().double().numpy().copy()


def _history(records: list[Layers], shares: np.ndarray) -> WeightHistory:
    """Put records together, of which each epoch has one at these shares of it."""
    layers = list(zip(*records, strict=True))
    before = np.arange((len(records) - 1) // len(shares))[:, np.newaxis]
    return WeightHistory(
        np.append(0.0, before + shares),
        [np.array([weight for weight, _ in layer]) for layer in layers],
        [np.array([bias for _, bias in layer]) for layer in layers],
    )
