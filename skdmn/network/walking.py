"""The layers inside of Pipelines, networks and searches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skdmn.layers.class_density import ClassDensityTransformer


def each_layer(model: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield names and steps of a fitted model, those inside of others included.

    Parameters
    ----------
    model : estimator
        Pipeline, DensityMatrixNetwork, single layer, or finished search over one.
    name : str, default=""
        Name of the model. Layers of a network are named "network.layer".
    """
    model = getattr(model, "best_estimator_", model)
    if model is None or isinstance(model, str):  # "passthrough"
        return
    if isinstance(model, Pipeline):
        for step_name, step in model.steps:
            yield from each_layer(step, step_name)
        return
    inner = getattr(model, "layers_", None)
    if inner is None:
        yield name, model
    else:
        prefix = f"{name}." if name else ""
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
