"""Plots of filters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skdmn.display.drawing import (
    draw_filter,
    filter_picture,
    is_strip,
    names_of,
    pyplot,
    shortened,
)
from skdmn.network.walking import layer_with_filters
from skdmn.utils.array_api import to_numpy


class FilterDisplay:
    """Plot filters with their energies and classes.

    Filters with one channel are drawn in colours from orange (negative) through white
    (zero) to purple (positive), with the same scale for all filters. Filters with three
    channels are drawn as RGB colours, where zero is grey. For any other number of
    channels, as in higher layers, the channels of a filter are drawn row by row in one
    frame.

    Parameters
    ----------
    filters : ndarray of shape (n_filters, kernel height, kernel width, channels)
        Filters.
    energies : ndarray of shape (n_filters,)
        Energies in nats, or the quantity that `quantity` names.
    classes : ndarray of shape (n_filters,)
        Label, or name, of the class that each filter was computed from.
    quantity : str, default="energy in nats"
        Name of the quantity in `energies`, for the title.
    name : str, default=""
        Name of the layer, for the title.
    n_total : int or None, default=None
        Number of filters of the layer, for the title; None if all of them are drawn.
    negatives : bool, default=False
        If True, the title says that the layer also has the negatives of the filters.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure that contains the plots.
    axes_ : ndarray of matplotlib Axes
        Axes of the filters.

    Examples
    --------
    >>> from skdmn import ClassPCAPatchTransformer, FilterDisplay
    >>> from skdmn.datasets import load_digits_images
    >>> layer = ClassPCAPatchTransformer().fit(*load_digits_images())
    >>> FilterDisplay.from_estimator(layer).figure_.savefig("x.png")  # doctest: +SKIP
    """

    def __init__(
        self,
        filters: np.ndarray,
        energies: np.ndarray,
        classes: np.ndarray,
        *,
        quantity: str = "energy in nats",
        name: str = "",
        n_total: int | None = None,
        negatives: bool = False,
    ) -> None:
        self.filters = filters
        self.energies = energies
        self.classes = classes
        self.quantity = quantity
        self.name = name
        self.n_total = n_total
        self.negatives = negatives

    @classmethod
    def from_estimator(
        cls,
        model: Any,
        *,
        layer: str | None = None,
        class_names: Sequence[str] | None = None,
        max_filters: int = 64,
    ) -> Self:
        """Plot the filters of a fitted layer.

        The negatives that ``signs="both"`` appends are not drawn; the title says that
        the layer has them.

        Parameters
        ----------
        model : layer, Pipeline, DensityMatrixNetwork or search
            Fitted layer with filters, or a fitted model that contains some.
        layer : str or None, default=None
            Name of the layer, such as "conv2". None takes the first one with filters.
        class_names : sequence of str or None, default=None
            Name of each of the layer's `classes_`.
        max_filters : int, default=64
            Largest number of filters to draw; the first ones are drawn, and the title
            says how many there are.

        Returns
        -------
        FilterDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        TypeError
            If the model has no filters.
        ValueError
            If there is no such layer, or not one name for each class.
        NotFittedError
            If the model is not fitted.
        """
        name, one = layer_with_filters(model, layer)
        if not hasattr(one, "_ranked_by"):
            raise TypeError(
                f"{type(one).__name__} has no filters; pass a fitted "
                "ClassPCAPatchTransformer or WhitenedPCAPatchTransformer, such as "
                "pipeline['conv1']."
            )
        check_is_fitted(one)
        attribute, quantity = one._ranked_by
        filters = to_numpy(one.filters_)
        half = len(filters) // 2
        negatives = np.array_equal(filters[half:], -filters[:half])
        n_total = half if negatives else len(filters)
        n = min(n_total, max_filters)
        classes = to_numpy(one.filter_classes_)[:n]
        names = np.full(len(classes), "all")
        if one.class_based:
            names = names_of(classes, one.classes_, class_names)
        filters = filters[:n]
        if filters.ndim == 2:  # of a dense layer
            filters = filters[:, np.newaxis, :, np.newaxis]
        return cls(
            filters,
            to_numpy(getattr(one, attribute))[:n],
            names,
            quantity=quantity,
            name=name,
            n_total=n_total,
            negatives=negatives,
        ).plot()

    def plot(self, *, figure: Any = None) -> Self:
        """Draw the plot.

        Parameters
        ----------
        figure : matplotlib Figure or None, default=None
            Figure to draw in. If None, a new figure is made.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            If matplotlib is missing.
        """
        n, limit = len(self.filters), float(np.abs(self.filters).max())
        strips = is_strip(filter_picture(self.filters[0], limit or 1.0))
        columns = min(n, 4 if strips else max(6, math.ceil(math.sqrt(n))))
        rows = math.ceil(n / columns)
        if figure is None:
            size = (2.2 * columns, 0.8 * rows) if strips else _size(columns, rows)
            figure = pyplot().figure(
                figsize=(max(4.6, size[0] + 0.8), size[1] + 0.5), layout="constrained"
            )
        axes = figure.subplots(rows, columns, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for axis, kernel, energy, label in zip(
            axes.flat, self.filters, self.energies, self.classes, strict=False
        ):
            drawn = draw_filter(axis, kernel, limit)
            axis.set_title(f"{energy:.2f}\n{shortened(label, 12)}", fontsize=8)
        if self.filters.shape[3] != 3:
            bar = figure.colorbar(drawn, ax=axes, shrink=0.8, pad=0.02)
            bar.set_label("filter entry", fontsize=8)
            bar.ax.tick_params(labelsize=8)
        figure.suptitle(
            f"{self._what()}, with {self.quantity}\nand class of origin", fontsize=9
        )
        self.figure_, self.axes_ = figure, axes
        return self

    def _what(self) -> str:
        """Return the filters that are drawn in words."""
        n = len(self.filters)
        some = self.n_total is not None and n < self.n_total
        what = f"First {n} of {self.n_total} filters" if some else "Filters"
        of = f" of {self.name}" if self.name else ""
        return what + of + ", and their negatives" * self.negatives


def _size(columns: int, rows: int) -> tuple[float, float]:
    """Return the size of a grid of square pictures with titles, in inches."""
    return 1.1 * columns, 1.4 * rows
