"""Whole networks: layers, then a softmax."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Literal

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skdmn.core.convolve import Padding, Pair
from skdmn.layers.class_pca import ClassPCAPatchTransformer
from skdmn.layers.flatten import FlattenTransformer
from skdmn.layers.pooling import MaxPool2DTransformer

Signs = Literal["one", "both"]

# n_filters="auto": of the first layer and of those above
_FIRST, _HIGHER = 16, 64


def make_dmn(
    n_layers: int = 2,
    *,
    kernel_size: int | Pair | list[int | Pair] = 3,
    n_filters: int | list[int | None] | Literal["auto"] | None = "auto",
    variance_cutoff: float | list[float] = 0.999,
    correlation_cutoff: float | list[float] = 0.9,
    class_based: bool = True,
    signs: Signs | list[Signs] = "both",
    activation: Literal["relu"] | None = "relu",
    centered: bool = False,
    padding: Padding = "same",
    pool_size: int | Pair | list[int | Pair] = 2,
    subsample: float = 1.0,
    C: float = 0.01,
    max_iter: int = 200,
    image_shape: tuple[int, ...] | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    memory: Any = None,
    random_state: Any = None,
    verbose: bool = False,
) -> Pipeline:
    """Make a Density Matrix Network: computed layers, each pooled, and a softmax.

    DOC
    """
    layers = _per_layer(
        n_layers,
        kernel_size=kernel_size,
        n_filters=n_filters,
        variance_cutoff=variance_cutoff,
        correlation_cutoff=correlation_cutoff,
        signs=signs,
        pool_size=pool_size,
    )
    steps: list[tuple[str, Any]] = []
    for number, layer in enumerate(layers, start=1):
        size = layer.pop("pool_size")
        if layer["n_filters"] == "auto":
            layer["n_filters"] = _FIRST if number == 1 else _HIGHER
        convolution = ClassPCAPatchTransformer(
            **layer,
            class_based=class_based,
            activation=activation,
            centered=centered,
            padding=padding,
            subsample=subsample,
            image_shape=image_shape if number == 1 else None,
            device=device,
            memory=memory,
            random_state=random_state,
            verbose=verbose,
        )
        pooling = MaxPool2DTransformer(size, padding=padding, device=device)
        steps += [(f"conv{number}", convolution), (f"pool{number}", pooling)]
    softmax = LogisticRegression(C=C, max_iter=max_iter)
    rest = [("flatten", FlattenTransformer()), ("scale", StandardScaler())]
    return Pipeline([*steps, *rest, ("softmax", softmax)])


def _per_layer(n_layers: int, **values: Any) -> list[dict[str, Any]]:
    """Return the parameters of each layer; a list has one value for each."""
    if not isinstance(n_layers, Integral) or n_layers < 1:
        raise ValueError(
            f"n_layers={n_layers!r} is no number of layers; pass 1 or more."
        )
    for name, value in values.items():
        if isinstance(value, list) and len(value) != n_layers:
            raise ValueError(
                f"{name}={value} has {len(value)} values for {n_layers} layers; pass "
                "one value, or a list of one for each layer."
            )
    return [
        {n: v[i] if isinstance(v, list) else v for n, v in values.items()}
        for i in range(n_layers)
    ]
