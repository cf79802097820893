"""Filters as pictures."""

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
    """Draw filters with their energies and classes.

    Filters of one channel are drawn from negative (orange) through zero (white) to
    positive (purple), on one scale for all; filters of three channels as colours
    around grey. Of filters of any other number of channels, as those of higher layers,
    each is drawn as a row of its channels.

    Parameters
    ----------
    filters : ndarray of shape (n_filters, kernel height, kernel width, channels)
    energies : ndarray of shape (n_filters,)
        In nats, or the number that `quantity` names.
    classes : ndarray of shape (n_filters,)
        Label of the class that each filter was computed from.
    quantity : str, default="energy in nats"
        What is written at each filter, besides its class.

    Attributes
    ----------
    figure_ : matplotlib Figure
    axes_ : ndarray of matplotlib Axes

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
        """Draw the filters of a fitted layer.

        Parameters
        ----------
        layer : ClassPCAPatchTransformer or WhitenedPCAPatchTransformer
            Fitted.
        max_filters : int, default=64
            Draw at most so many, the first.

        Returns
        -------
        FilterDisplay

        Raises
        ------
        TypeError
            Where the layer has no filters.
        NotFittedError
            Where it was not fitted.
        """
        if isinstance(layer, WhitenedPCAPatchTransformer):
            check_is_fitted(layer)
            numbers, quantity = layer.variance_ratios_, "variance ratio"
        elif isinstance(layer, ClassPCAPatchTransformer):
            check_is_fitted(layer)
            numbers, quantity = layer.energies_, "energy in nats"
        else:
            raise TypeError(
                f"{type(layer).__name__} has no filters; pass a fitted "
                "ClassPCAPatchTransformer, such as pipeline['conv1']."
            )
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
        """Draw.

        Parameters
        ----------
        figure : matplotlib Figure or None
            What to draw in; None makes a new one.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            Where matplotlib is missing.
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
            f"Filters: {self.quantity}, class they were computed from", fontsize=9
        )
        self.figure_, self.axes_ = figure, axes
        return self

    def _pictures(self) -> tuple[list[np.ndarray], float]:
        """Return one picture for each filter, and the largest entry of all."""
        limit = float(np.abs(self.filters).max())
        channels = self.filters.shape[3]
        if channels == 1:
            return list(self.filters[..., 0]), limit
        if channels == 3:
            return list(0.5 + 0.5 * self.filters / limit), limit
        # channels side by side, a blank column between them
        gaps = np.pad(
            self.filters, ((0, 0), (0, 0), (0, 1), (0, 0)), constant_values=np.nan
        )
        n, height, width, _ = gaps.shape
        strips = gaps.transpose(0, 1, 3, 2).reshape(n, height, channels * width)
        return list(strips[:, :, :-1]), limit
