"""Plots of filters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skdmn.display.drawing import mosaic, names_of, pyplot, shortened
from skdmn.network.walking import layer_with_filters
from skdmn.utils.array_api import to_numpy


class FilterDisplay:
    """Plot filters with their energies and classes.

    Filters with one channel are drawn in colours from orange (negative) through white
    (zero) to purple (positive), with the same scale for all filters. Filters with three
    channels are drawn as RGB colours, where zero is grey. For any other number of
    channels, as in higher layers, the channels of a filter are drawn row by row in one
    picture.

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
    ) -> None:
        self.filters = filters
        self.energies = energies
        self.classes = classes
        self.quantity = quantity
        self.name = name

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

        Parameters
        ----------
        model : layer, Pipeline, DensityMatrixNetwork or search
            Fitted layer with filters, or a fitted model that contains some.
        layer : str or None, default=None
            Name of the layer, such as "conv2". None takes the first one with filters.
        class_names : sequence of str or None, default=None
            Name of each of the layer's `classes_`.
        max_filters : int, default=64
            Largest number of filters to draw; the first ones are drawn.

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
        numbers = to_numpy(getattr(one, attribute))[:max_filters]
        classes = to_numpy(one.filter_classes_)[:max_filters]
        names = np.full(len(classes), "all")
        if one.class_based:
            names = names_of(classes, one.classes_, class_names)
        filters = to_numpy(one.filters_)[:max_filters]
        if filters.ndim == 2:  # of a dense layer
            filters = filters[:, np.newaxis, :, np.newaxis]
        return cls(
            filters,
            numbers,
            names,
            quantity=quantity,
            name=name,
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
        pictures, limit = self._pictures()
        n = len(pictures)
        height, width = pictures[0].shape[:2]
        is_strip = width > 6 * height  # signals
        columns = min(n, 4 if is_strip else max(6, math.ceil(math.sqrt(n))))
        rows = math.ceil(n / columns)
        if figure is None:
            size = (2.2 * columns, 0.8 * rows) if is_strip else _size(columns, rows)
            figure = pyplot().figure(
                figsize=(max(4.6, size[0] + 0.8), size[1] + 0.5), layout="constrained"
            )
        axes = figure.subplots(rows, columns, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for axis, picture, energy, label in zip(
            axes.flat, pictures, self.energies, self.classes, strict=False
        ):
            drawn = axis.imshow(
                picture,
                cmap="PuOr",
                vmin=-limit,
                vmax=limit,
                interpolation="nearest",
                aspect="auto" if is_strip else "equal",
            )
            axis.set_title(f"{energy:.2f}\n{shortened(label, 12)}", fontsize=8)
        if pictures[0].ndim == 2:
            bar = figure.colorbar(drawn, ax=axes, shrink=0.8, pad=0.02)
            bar.set_label("filter entry", fontsize=8)
            bar.ax.tick_params(labelsize=8)
        of = f" of {self.name}" if self.name else ""
        figure.suptitle(
            f"Filters{of}, with {self.quantity}\nand class of origin", fontsize=9
        )
        self.figure_, self.axes_ = figure, axes
        return self

    def _pictures(self) -> tuple[list[np.ndarray], float]:
        """Return one image for each filter, and the largest absolute entry."""
        limit = float(np.abs(self.filters).max())
        channels = self.filters.shape[3]
        if channels == 1:
            return list(self.filters[..., 0]), limit
        if channels == 3:
            return list(0.5 + 0.5 * self.filters / limit), limit
        return [mosaic(kernel) for kernel in self.filters], limit


def _size(columns: int, rows: int) -> tuple[float, float]:
    """Return the size of a grid of square pictures with titles, in inches."""
    return 1.1 * columns, 1.4 * rows
