"""Recording the weights of all layers while a network is trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.neural_network import MLPClassifier
from sklearn.utils import check_random_state

from skdmn.utils.optional import import_torch
from skdmn.utils.validation import as_rows, unmasked

if TYPE_CHECKING:
    import torch


class WeightHistory(NamedTuple):
    """Weights of all layers at some times during training.

    Attributes
    ----------
    epochs : ndarray of shape (n_records,)
        Times of the records, in `unit`.
    weights : list of ndarray of shape (n_records, n_inputs, n_outputs)
        Weights of each layer, first layer first. As in the paper, the output of a layer
        before its ReLU is w^T h + b. The inputs of a convolution are the entries of a
        patch in C order of (y, x, channel), so that ``weights[0][-1].T`` are its
        filters as rows.
    biases : list of ndarray of shape (n_records, n_outputs)
        Biases of each layer.
    unit : str
        Unit of the times.
    """

    epochs: np.ndarray
    weights: list[np.ndarray]
    biases: list[np.ndarray]
    unit: str = "epochs"


Layers = list[tuple[np.ndarray, np.ndarray]]  # weights and biases, copied


def mlp_history(
    mlp: MLPClassifier,
    X: np.ndarray,
    y: np.ndarray,
    *,
    n_epochs: int,
    records_per_epoch: int = 1,
) -> WeightHistory:
    """Train a scikit-learn MLPClassifier and record its weights.

    Parameters
    ----------
    mlp : MLPClassifier
        Network with solver "sgd" or "adam". A copy is trained.
    X : array of shape (n, n_features)
        Training data. Images are flattened.
    y : array of shape (n,)
        Class labels.
    n_epochs : int
        Number of passes over the data.
    records_per_epoch : int, default=1
        Number of records per epoch. The weights before the first step are recorded in
        addition.

    Returns
    -------
    WeightHistory

    Raises
    ------
    ValueError
        If the solver does not train on batches, or an epoch has fewer batches than
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
            f"The solver is {mlp.solver!r}, which does not train on batches; pass an "
            "MLPClassifier with 'sgd' or 'adam'."
        )
    y = unmasked(y, "y")
    X, y = as_rows(X, "numeric"), np.asarray(y)
    random = check_random_state(mlp.random_state)
    seed = random.randint(2**31 - 1)
    mlp = clone(mlp).set_params(random_state=seed)
    classes = np.unique(y)
    # MLPClassifier initializes its weights in fit only: take a negligible step
    still = clone(mlp).set_params(learning_rate_init=1e-200)
    records = [mlp_layers(still.partial_fit(X, y, classes=classes))]
    size = 200 if mlp.batch_size == "auto" else mlp.batch_size
    cuts = _cuts(len(X), records_per_epoch, size)
    for some in _chunks(len(X), n_epochs, cuts, random):
        mlp.partial_fit(X[some], y[some], classes=classes)
        records.append(mlp_layers(mlp))
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
    """Train a PyTorch network with cross-entropy loss and record its weights.

    Parameters
    ----------
    model : torch.nn.Module
        Network that returns logits. It is trained in place. The weights of its Conv2d
        and Linear modules are recorded, in the order of ``model.modules()``.
    optimizer : torch.optim.Optimizer
        Optimizer of the parameters of the model.
    images : tensor or array of shape (n, ...)
        Input of the model.
    labels : tensor or array of shape (n,)
        Integer labels, counted from 0.
    n_epochs : int
        Number of passes over the data.
    records_per_epoch : int, default=1
        Number of records per epoch. The weights before the first step are recorded in
        addition.
    batch_size : int, default=32
        Number of images per batch.
    random_state : int, RandomState or None, default=None
        Seed for the order of the images.

    Returns
    -------
    WeightHistory

    Raises
    ------
    ImportError
        If torch is missing.
    ValueError
        If the model has neither convolution nor linear module, or an epoch has
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
    records = [torch_layers(model, "torch_history")]
    backend = next(model.parameters())
    images = torch.as_tensor(images, dtype=backend.dtype, device=backend.device)
    labels = torch.as_tensor(labels, dtype=torch.int64, device=backend.device)
    random = check_random_state(random_state)
    model.train()
    cuts = _cuts(len(images), records_per_epoch, batch_size)
    for some in _chunks(len(images), n_epochs, cuts, random):
        for batch in torch.as_tensor(some).split(batch_size):
            optimizer.zero_grad()
            logits = model(images[batch])
            torch.nn.functional.cross_entropy(logits, labels[batch]).backward()
            optimizer.step()
        records.append(torch_layers(model, "torch_history"))
    return _history(records, cuts / len(images))


def _cuts(n: int, per_epoch: int, size: int) -> np.ndarray:
    """Return the numbers of samples in an epoch after which weights are recorded.

    Records are made only between batches.
    """
    n_batches = -(-n // size)
    if not 1 <= per_epoch <= n_batches:
        raise ValueError(
            f"records_per_epoch={per_epoch}, but an epoch has {n_batches} batches; "
            f"pass a number from 1 to {n_batches}, or use a smaller batch size."
        )
    return np.append(np.arange(1, per_epoch) * n_batches // per_epoch * size, n)


def _chunks(
    n: int, n_epochs: int, cuts: np.ndarray, random: np.random.RandomState
) -> Iterator[np.ndarray]:
    """Yield shuffled sample indices, one chunk for each record."""
    for _ in range(n_epochs):
        yield from np.split(random.permutation(n), cuts[:-1])


def mlp_layers(mlp: MLPClassifier) -> Layers:
    """Copy the weights and biases of a scikit-learn network."""
    return [
        (weight.copy(), bias.copy())
        for weight, bias in zip(mlp.coefs_, mlp.intercepts_, strict=True)
    ]


def torch_layers(model: Any, purpose: str) -> Layers:
    """Copy the weights and biases of the Conv2d and Linear modules of a network."""
    torch = import_torch(purpose)
    layers = [
        module
        for module in model.modules()
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)
    ]
    if not layers:
        raise ValueError(
            f"{type(model).__name__} has no Conv2d and no Linear modules; pass a "
            "network that has some, whose weights can be recorded."
        )
    return [_torch_layer(layer) for layer in layers]


def _torch_layer(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Copy the weights and biases of a PyTorch module."""
    weight = layer.weight.detach().cpu().double().numpy()
    if weight.ndim == 4:  # patches in C order of (y, x, channel)
        weight = np.moveaxis(weight, 1, 3)
    flat = weight.reshape(len(weight), -1).T.copy()
    if layer.bias is None:
        return flat, np.zeros(len(weight))
    return flat, layer.bias.detach().cpu().double().numpy().copy()


def _history(records: list[Layers], shares: np.ndarray) -> WeightHistory:
    """Stack records that were made at the given fractions of every epoch."""
    layers = list(zip(*records, strict=True))
    before = np.arange((len(records) - 1) // len(shares))[:, np.newaxis]
    return WeightHistory(
        np.append(0.0, before + shares),
        [np.array([weight for weight, _ in layer]) for layer in layers],
        [np.array([bias for _, bias in layer]) for layer in layers],
    )
