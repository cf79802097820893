"""Recorder of weights and predictions of any network, in one layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from skdmn.analysis.sgd.history import (
    Layers,
    WeightHistory,
    mlp_layers,
    torch_layers,
)
from skdmn.utils.optional import import_torch
from skdmn.utils.validation import as_one_array, as_rows, unmasked

if TYPE_CHECKING:
    import torch

Unit = Literal["steps", "epochs"]


class RecordedWeights(tuple[np.ndarray, ...]):
    """Weights of all layers at one time: matrices of shape (n_out, n_in).

    Every function of `skdmn.analysis` that takes weights takes this object, whatever
    the layout of its arrays is.

    Attributes
    ----------
    biases : list of ndarray of shape (n_out,)
        Biases of each layer.
    time : float
        Time of the record.
    """

    biases: list[np.ndarray]
    time: float

    @classmethod
    def of(
        cls, weights: Sequence[np.ndarray], biases: list[np.ndarray], time: float
    ) -> RecordedWeights:
        """Return weights of layers, first layer first."""
        found = cls(weights)
        found.biases, found.time = biases, time
        return found


class Recorder:
    """Record weights and predictions of a network while it is trained.

    The network may be a PyTorch module, a scikit-learn MLP or linear model, or a list
    of weights. Functions and displays of `skdmn.analysis` and `skdmn.display` take a
    recorder where they take a history, and a record, ``recorder[-1]``, where they take
    weights. There are two layouts of weights in the papers, (inputs, outputs) and
    (outputs, inputs), and no function can tell them apart in a network whose layers
    have equal widths; a recorder knows which one it has.

    Parameters
    ----------
    X : array-like of shape (n, ...) or None, default=None
        Examples whose predictions are recorded, as the network takes them.
    y : array-like of shape (n,) or None, default=None
        Labels of these examples. The outputs of a PyTorch module or of a list of
        weights are those of the sorted labels.
    unit : {"steps", "epochs"}, default="steps"
        Unit of time.

    Attributes
    ----------
    times : ndarray of shape (n_records,)
        Times of the records, in `unit`.
    weights : list of ndarray of shape (n_records, n_out, n_in)
        Weights of each layer, first layer first. The inputs of a convolution are the
        entries of a patch in C order of (y, x, channel).
    biases : list of ndarray of shape (n_records, n_out)
        Biases of each layer; 0 if it has none.
    predictions : ndarray of shape (n_records, n) or None
        Predicted labels. None without `X`.

    See Also
    --------
    mlp_history : Train a scikit-learn network and record its weights.
    torch_history : Train a PyTorch network and record its weights.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neural_network import MLPClassifier
    >>> from skdmn.analysis import Recorder, accessibility, compact_weights
    >>> from skdmn.analysis import layer_distances
    >>> X, y = load_digits(return_X_y=True)
    >>> recorder = Recorder(X, y, unit="epochs")
    >>> mlp = MLPClassifier((64,), random_state=0)
    >>> for epoch in range(1, 4):
    ...     recorder.record(mlp.partial_fit(X, y, classes=range(10)), epoch)
    >>> recorder.times, [w.shape for w in recorder.weights]
    (array([1., 2., 3.]), [(3, 64, 64), (3, 10, 64)])
    >>> compact_weights(recorder[-1]).shape, layer_distances(recorder).shape
    ((10, 64), (3, 2))
    >>> accessibility(recorder, y).shape
    (1797,)
    """

    def __init__(self, X: Any = None, y: Any = None, *, unit: Unit = "steps") -> None:
        if unit not in ("steps", "epochs"):
            raise ValueError(f"unit is {unit!r}; pass 'steps' or 'epochs'.")
        if y is not None and X is None:
            raise ValueError("y is given without X; pass the examples, too.")
        self.X = None if X is None else as_one_array(X)
        self.y = None if y is None else np.asarray(unmasked(y, "y"))
        self.unit = unit
        n = 0 if self.X is None else len(self.X)
        if self.y is not None and len(self.y) != n:
            raise ValueError(
                f"X has {n} examples and y {len(self.y)} labels; pass one "
                "label for each example."
            )
        self._times: list[float] = []
        self._records: list[Layers] = []  # of shape (n_in, n_out)
        self._predictions: list[np.ndarray] = []

    __iter__ = None  # a sequence of records would pass for weights of layers

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._times)

    def __getitem__(self, index: int) -> RecordedWeights:
        """Return the weights of one record."""
        layers = self._records[index]
        weights, biases = [w.T for w, _ in layers], [b for _, b in layers]
        return RecordedWeights.of(weights, biases, self._times[index])

    @property
    def times(self) -> np.ndarray:
        """Times of the records."""
        return np.array(self._times)

    @property
    def weights(self) -> list[np.ndarray]:
        """Weights of each layer, of shape (n_records, n_out, n_in)."""
        return [np.swapaxes(weight, 1, 2) for weight in self.history.weights]

    @property
    def biases(self) -> list[np.ndarray]:
        """Biases of each layer, of shape (n_records, n_out)."""
        return self.history.biases

    @property
    def predictions(self) -> np.ndarray | None:
        """Predicted labels, of shape (n_records, n)."""
        return np.array(self._predictions) if self.X is not None else None

    @property
    def history(self) -> WeightHistory:
        """The records as a `WeightHistory`, with weights of shape (n_in, n_out)."""
        if not self._records:
            raise ValueError("Nothing is recorded yet; call record(model) first.")
        layers = list(zip(*self._records, strict=True))
        return WeightHistory(
            self.times,
            [np.array([weight for weight, _ in layer]) for layer in layers],
            [np.array([bias for _, bias in layer]) for layer in layers],
            self.unit,
        )

    def record(self, model: Any, time: float | None = None) -> None:
        """Record the weights of a network, and its predictions if there are examples.

        Parameters
        ----------
        model : torch.nn.Module, fitted estimator or sequence of ndarray
            Module with Conv2d or Linear modules, estimator with ``coefs_`` or
            ``coef_``, or weights of shape (n_out, n_in) of each layer of a linear
            network, first layer first.
        time : float or None, default=None
            Time of the record, in `unit`. None takes the number of records so far.

        Raises
        ------
        TypeError
            If the weights of the model are not known.
        ValueError
            If layers differ from those of earlier records, or `time` is not later.
        """
        when = float(len(self._times)) if time is None else float(time)
        if self._times and not when > self._times[-1]:
            raise ValueError(
                f"time={when:g} is not later than the last record, at "
                f"{self._times[-1]:g} {self.unit}; pass increasing times."
            )
        layers = _layers(model)
        shapes = [weight.shape[::-1] for weight, _ in layers]
        before = [weight.shape for weight in self[-1]] if self._records else shapes
        if shapes != before:
            raise ValueError(
                f"The layers have shapes {shapes} (outputs, inputs), but {before} in "
                "earlier records; use one recorder for each network."
            )
        predicted = None if self.X is None else self._predict(model, layers)
        self._times.append(when)
        self._records.append(layers)
        if predicted is not None:
            self._predictions.append(predicted)

    @contextmanager
    def watch(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        every: int = 1,
        steps_per_epoch: int | None = None,
    ) -> Iterator[Recorder]:
        """Record a PyTorch module before training and after steps of its optimizer.

        Parameters
        ----------
        model : torch.nn.Module
            Network.
        optimizer : torch.optim.Optimizer
            Its optimizer.
        every : int, default=1
            Number of steps between records. The last step is recorded in any case.
        steps_per_epoch : int or None, default=None
            Number of steps of an epoch; required if the unit is "epochs".

        Returns
        -------
        context manager
            Records are made inside of ``with recorder.watch(model, optimizer):``.

        Raises
        ------
        ValueError
            If the unit is "epochs" and `steps_per_epoch` is None, or vice versa, or
            `every` is below 1.
        """
        if (self.unit == "epochs") != (steps_per_epoch is not None):
            raise ValueError(
                f"The unit is {self.unit!r} and steps_per_epoch={steps_per_epoch}; "
                "pass steps_per_epoch exactly if the unit is 'epochs'."
            )
        if every < 1:
            raise ValueError(f"every is {every}; pass a number of steps, 1 or more.")
        start = self._times[-1] if self._times else 0.0
        length, done = steps_per_epoch or 1, 0
        if not self._times:
            self.record(model, start)

        def after_step(*_: Any) -> None:
            nonlocal done
            done += 1
            if done % every == 0:
                self.record(model, start + done / length)

        handle = optimizer.register_step_post_hook(after_step)
        try:
            yield self
        finally:
            handle.remove()
        if done % every:
            self.record(model, start + done / length)

    def _predict(self, model: Any, layers: Layers) -> np.ndarray:
        """Return the predicted labels of the examples."""
        if hasattr(model, "predict"):
            return np.asarray(model.predict(self.X))
        if hasattr(model, "parameters"):
            torch = import_torch("Recorder")
            like, training = next(model.parameters()), model.training
            model.eval()
            with torch.no_grad():
                X = torch.as_tensor(self.X, dtype=like.dtype, device=like.device)
                scores = model(X).cpu().numpy()
            model.train(training)
        else:
            scores = as_rows(self.X)
            for weight, _ in layers:
                scores = scores @ weight
        found = scores.argmax(axis=1)
        if self.y is None:
            return found
        classes = np.unique(self.y)
        if len(classes) != scores.shape[1]:
            raise ValueError(
                f"The network has {scores.shape[1]} outputs, but y has {len(classes)} "
                "different labels; pass examples of all classes."
            )
        return classes[found]


def _layers(model: Any) -> Layers:
    """Copy weights (n_in, n_out) and biases of each layer of a network."""
    if hasattr(model, "coefs_"):
        return mlp_layers(model)
    if hasattr(model, "coef_"):
        weight = np.atleast_2d(np.array(model.coef_, dtype=np.float64))
        bias = np.zeros(len(weight)) + np.asarray(model.intercept_)
        return [(weight.T.copy(), bias)]
    if hasattr(model, "modules") and hasattr(model, "parameters"):
        return torch_layers(model, "Recorder")
    if isinstance(model, list | tuple):
        weights = [np.array(weight, dtype=np.float64) for weight in model]
        for below, above in pairwise(weights):
            if below.ndim != 2 or above.ndim != 2 or len(below) != above.shape[1]:
                raise ValueError(
                    f"Weights of shapes {[w.shape for w in weights]} are not those of "
                    "a network; pass (n_out, n_in) of each layer, first layer first."
                )
        return [(weight.T.copy(), np.zeros(len(weight))) for weight in weights]
    raise TypeError(
        f"The weights of a {type(model).__name__} are not known; pass a PyTorch "
        "module, a fitted estimator with coefs_ or coef_, or a list of weights."
    )
