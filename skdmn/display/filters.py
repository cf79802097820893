"""Plots of filters."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skdmn.display.drawing import pyplot
from skdmn.layers.class_pca import ClassPCAPatchTransformer
from skdmn.layers.whitened_pca import WhitenedPCAPatchTransformer
from skdmn.utils.array_api import to_numpy


class FilterDisplay:
    """Plot filters with their energies and classes.

    Filters with one channel are drawn in colours from orange (negative) through white
    (zero) to purple (positive), with the same scale for all filters. Filters with three
    channels are drawn as RGB colours, where zero is grey. For any other number of
    channels, as in higher layers, the channels of a filter are drawn side by side.

    Parameters
    ----------
    filters : ndarray of shape (n_filters, kernel height, kernel width, channels)
        Filters.
    energies : ndarray of shape (n_filters,)
        Energies in nats, or the quantity that `quantity` names.
    classes : ndarray of shape (n_filters,)
        Label of the class that each filter was computed from.
    quantity : str, default="energy in nats"
        Name of the quantity in `energies`, for the title.

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
    ) -> None:
        self.filters = filters
        self.energies = energies
        self.classes = classes
        self.quantity = quantity

    @classmethod
    def from_estimator(
        cls,
        layer: ClassPCAPatchTransformer | WhitenedPCAPatchTransformer,
        *,
        max_filters: int = 64,
    ) -> Self:
        """Plot the filters of a fitted layer.

        Parameters
        ----------
        layer : ClassPCAPatchTransformer or WhitenedPCAPatchTransformer
            Fitted layer.
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
            If the layer has no filters.
        NotFittedError
            If the layer is not fitted.
        """
        if not hasattr(layer, "_ranked_by"):
            raise TypeError(
                f"{type(layer).__name__} has no filters; pass a fitted "
                "ClassPCAPatchTransformer or WhitenedPCAPatchTransformer, such as "
                "pipeline['conv1']."
            )
        check_is_fitted(layer)
        attribute, quantity = layer._ranked_by
        numbers = getattr(layer, attribute)
        classes = to_numpy(layer.filter_classes_)
        return cls(
            to_numpy(layer.filters_)[:max_filters],
            to_numpy(numbers)[:max_filters],
            (classes if layer.class_based else np.full(len(classes), "all"))[
                :max_filters
            ],
            quantity=quantity,
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
        wide = pictures[0].shape[1] > 2 * pictures[0].shape[0]
        columns = 1 if wide else min(n, max(6, math.ceil(math.sqrt(n))))
        rows = math.ceil(n / columns)
        if figure is None:
            height, width = pictures[0].shape[:2]
            strip = (min(0.3 * width / height, 12.0) + 2.0, 0.55 * rows + 0.6)
            size = strip if wide else (1.1 * columns + 0.8, 1.35 * rows + 0.3)
            figure = pyplot().figure(figsize=size, layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for axis, picture, energy, label in zip(
            axes.flat, pictures, self.energies, self.classes, strict=False
        ):
            drawn = axis.imshow(
                picture, cmap="PuOr", vmin=-limit, vmax=limit, interpolation="nearest"
            )
            title = f"{energy:.2f}, class {label}" if wide else f"{energy:.2f}\n{label}"
            axis.set_title(title, fontsize=8, loc="left" if wide else "center")
        if pictures[0].ndim == 2:
            bar = figure.colorbar(drawn, ax=axes, shrink=0.8, pad=0.02)
            bar.set_label("filter entry", fontsize=8)
            bar.ax.tick_params(labelsize=8)
        figure.suptitle(
            f"Filters, with {self.quantity} and class of origin", fontsize=9
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
        # channels side by side, separated by blank columns
        gaps = np.pad(
            self.filters, ((0, 0), (0, 0), (0, 1), (0, 0)), constant_values=np.nan
        )
        n, height, width, _ = gaps.shape
        strips = gaps.transpose(0, 1, 3, 2).reshape(n, height, channels * width)
        return list(strips[:, :, :-1]), limit
