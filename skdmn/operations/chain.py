"""Conversion of a sequence of estimators to one list of operations."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from skdmn.operations.records import Flatten, Operation, ScaleValues, Scores, Unflatten
from skdmn.utils.validation import Shape, times


class Chain(NamedTuple):
    """A list of operations, with the shapes of its input and output.

    Attributes
    ----------
    takes, gives : (int, int, int) or None
        Height, width and channels of the input and output images; None for rows.
    operations : tuple of Operation
        The operations, in order.
    """

    takes: Shape | None
    operations: tuple[Operation, ...]
    gives: Shape | None

    @classmethod
    def of(cls, takes: Shape | None, operations: Iterable[Operation]) -> Chain:
        """Return a chain, with the output shape computed from the operations."""
        operations, gives = tuple(operations), takes
        for operation in operations:
            if isinstance(operation, Flatten | ScaleValues | Scores):
                gives = None
            elif gives is not None:
                gives = operation.output_shape(gives)
            elif isinstance(operation, Unflatten):
                gives = operation.shape
        return cls(takes, operations, gives)


def chain_of(steps: Iterable[Any]) -> Chain:
    """Chain the operations of fitted estimators.

    Parameters
    ----------
    steps : iterable of estimators
        At least one estimator. Each has a method ``operations``; those that take images
        have their shape in ``image_shape_``.

    Returns
    -------
    Chain
        Operations of all steps, with conversions between images and rows.

    Raises
    ------
    TypeError
        If a step has no ``operations``.
    ValueError
        If the input size of a step differs from the output size of the step before.
    """
    steps = list(steps)
    for step in steps:
        if not hasattr(step, "operations"):
            raise TypeError(
                f"{type(step).__name__} has no method operations() that describes its "
                "computation; leave it out."
            )
    operations: list[Operation] = []
    takes = given = getattr(steps[0], "image_shape_", None)
    before = ""
    for step in steps:
        part = Chain.of(getattr(step, "image_shape_", None), step.operations())
        name = type(step).__name__
        if part.takes != given:
            if given and part.takes and math.prod(given) != math.prod(part.takes):
                raise ValueError(
                    f"{name} was fitted on images of {times(part.takes)}, but the "
                    f"{before} before it gives {times(given)}; undo the change of its "
                    "parameters, or fit again."
                )
            operations += [Flatten(given)] if given is not None else []
            operations += [Unflatten(part.takes)] if part.takes is not None else []
        operations += part.operations
        given, before = part.gives, name
    return Chain(takes, tuple(operations), given)
