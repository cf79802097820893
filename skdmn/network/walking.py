"""The layers inside of Pipelines, networks and searches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skdmn.layers.class_density import ClassDensityTransformer


def steps_of(fitted: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield names and estimators of a Pipeline, including nested ones, in order."""
    if fitted is None or isinstance(fitted, str):  # "passthrough"
        return
    if isinstance(fitted, Pipeline):
        for name, step in fitted.steps:
            yield from steps_of(step, name)
        return
    yield name, fitted


def each_layer(model: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield names and steps of a fitted model, those inside of others included.

    Parameters
    ----------
    model : estimator
        Pipeline, DensityMatrixNetwork, single layer, or finished search over one.
    name : str, default=""
        Name of the model. Layers of a network are named "network.layer".
    """
    for known, step in steps_of(getattr(model, "best_estimator_", model), name):
        if hasattr(step, "best_estimator_"):
            yield from each_layer(step, known)
        elif (inner := getattr(step, "layers_", None)) is None:
            yield known, step
        else:
            prefix = f"{known}." if known else ""
            yield from ((f"{prefix}{inside}", layer) for inside, layer in inner)


def has_filters(layer: Any) -> bool:
    """Return True for layers whose filters come from density matrices."""
    return isinstance(layer, ClassDensityTransformer)


def layer_with_filters(model: Any, name: str | None = None) -> tuple[str, Any]:
    """Return one layer with filters of a model, and its name.

    Parameters
    ----------
    model : estimator
        As in `each_layer`. A single layer is returned as it is.
    name : str or None, default=None
        Name of the layer, such as "conv2". None takes the first one.

    Returns
    -------
    name : str
        Empty for a single layer.
    layer : estimator

    Raises
    ------
    TypeError
        If no layer of a Pipeline or network has filters.
    ValueError
        If there is no layer of this name.
    NotFittedError
        If a network or search is not fitted.
    """
    is_whole = any(
        hasattr(model, part) for part in ("steps", "layers", "best_estimator_", "cv")
    )
    if not is_whole and name is None:
        return "", model
    if is_whole:
        check_is_fitted(model)
    found = [(known, layer) for known, layer in each_layer(model) if has_filters(layer)]
    if not found:
        raise TypeError(
            f"{type(model).__name__} has no layer with density matrices; pass a model "
            "with a ClassPCAPatchTransformer, WhitenedPCAPatchTransformer or "
            "ClassPCATransformer."
        )
    if name is None:
        return found[0]
    for known, layer in found:
        if name in (known, known.rpartition(".")[2]):
            return known, layer
    raise ValueError(
        f"layer={name!r} is not a layer with filters; pass one of "
        f"{', '.join(repr(known) for known, _ in found)}."
    )
