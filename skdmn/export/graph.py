"""Nodes and constants of an ONNX model, collected while it is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np


class Nodes(Protocol):
    """Protocol of objects that collect nodes."""

    def constant(self, values: np.ndarray) -> str:
        """Add a constant tensor, and return its name."""

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, and return the name of its output."""


class Graph:
    """Nodes and constants of an ONNX model."""

    def __init__(self, onnx: Any) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def constant(self, values: np.ndarray) -> str:
        """Add a constant tensor, and return its name."""
        name = f"constant{len(self.initializers)}"
        values = np.ascontiguousarray(values)
        self.initializers.append(self.onnx.numpy_helper.from_array(values, name))
        return name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, and return the name of its output."""
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(
            self.onnx.helper.make_node(kind, inputs, [name], name=name, **attributes)
        )
        return name

    def output(self, name: str, at: str, dtype: Any, shape: Sequence[int]) -> Any:
        """Rename the tensor `at` to the name of an output, and return its type."""
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [name if n == at else n for n in names]
        if not any(name in node.output for node in self.nodes):  # the model's input
            self.nodes.append(self.onnx.helper.make_node("Identity", [at], [name]))
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.onnx.helper.make_tensor_value_info(name, kind, ["n", *shape])
