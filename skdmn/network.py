"""Whole networks: layers, then a softmax."""

from __future__ import annotations

from typing import Any, Literal

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skdmn.core.convolve import Padding, Pair
from skdmn.layers.class_pca import ClassPCAPatchTransformer
from skdmn.layers.flatten import FlattenTransformer
from skdmn.layers.pooling import MaxPool2DTransformer


def make_dmn(
    n_layers: int = 2,
    *,
    kernel_size: int | Pair | list[int | Pair] = 3,
    n_filters: int | list[int | None] | None = None,
    variance_cutoff: float | list[float] = 0.99,
    correlation_cutoff: float | list[float] = 0.9,
    class_based: bool = True,
    signs: Literal["one", "both"] | list[Literal["one", "both"]] = "both",
    activation: Literal["relu"] | None = "relu",
    centered: bool | list[bool] = False,
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
    """Make a Density Matrix Network."""
    steps: list[tuple[str, Any]] = []
    layers = _per_layer(
        n_layers,
        kernel_size=kernel_size,
        n_filters=n_filters,
        variance_cutoff=variance_cutoff,
        correlation_cutoff=correlation_cutoff,
        signs=signs,
        centered=centered,
        pool_size=pool_size,
    )
    for number, layer in enumerate(layers, start=1):
        pool = layer.pop("pool_size")
        steps.append(
            (
                f"conv{number}",
                ClassPCAPatchTransformer(
                    **layer,
                    class_based=class_based,
                    activation=activation,
                    padding=padding,
                    subsample=subsample,
                    image_shape=image_shape if number == 1 else None,
                    device=device,
                    memory=memory,
                    random_state=random_state,
                    verbose=verbose,
                ),
            )
        )
        steps.append(
            (
                f"pool{number}",
                MaxPool2DTransformer(pool, padding=padding, device=device),
            )
        )
    return Pipeline(
        [
            *steps,
            ("flatten", FlattenTransformer()),
            ("scale", StandardScaler()),
            ("softmax", LogisticRegression(C=C, max_iter=max_iter)),
        ]
    )


def _per_layer(n_layers: int, **values: Any) -> list[dict[str, Any]]:
    """Return the parameters of each layer; a list has one value for each."""
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
