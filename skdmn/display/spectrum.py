"""Plots of energies, density matrices and overlaps of classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skdmn.analysis.density.spectrum import (
    class_densities,
    energies,
    layer_spectrum,
    overlap_gap,
)
from skdmn.analysis.density.subspaces import density_overlaps
from skdmn.display.drawing import axes_or_new, colours, names_of, pyplot, shortened
from skdmn.layers.class_pca import ClassPCAPatchTransformer
from skdmn.network.walking import layer_with_filters
from skdmn.utils.labels import as_objects

_MARKERS = "osD^vPX<>*"
_ROUNDING = 16.0  # nats above the lowest energy, at which energies are rounding errors
_TICKS = 25  # most classes that are named along an axis
_MANY = 15  # largest number of classes whose overlaps are written as numbers


class EnergyDisplay:
    """Plot the energies of every class and the gap between them.

    Each class has its own colour and marker. Markers of components that the variance
    cutoff keeps are filled. If there is a wide gap, a dotted vertical line marks it.

    Parameters
    ----------
    energies : array-like of shape (n_classes, d)
        Energies in nats, lowest first. Infinite ones are not drawn.
    classes : array-like of shape (n_classes,)
        Class labels.
    n_kept : array-like of shape (n_classes,), int, or None, default=None
        Number of components of each class that the variance cutoff keeps. If None, all
        markers are filled.
    min_gap : float, default=6.0
        Minimum width of a gap, in nats.
    name : str, default=""
        Name of the layer, for the title.

    Attributes
    ----------
    gaps_ : list of OverlapGap
        Gap of each class.
    figure_ : matplotlib Figure
        Figure that contains the plot.
    ax_ : matplotlib Axes
        Axes of the plot.

    See Also
    --------
    skdmn.analysis.density.layer_spectrum : Compute the energies.

    Notes
    -----
    The plot corresponds to arXiv:1703.04757v1, Fig. 3.

    Examples
    --------
    >>> from skdmn import ClassPCAPatchTransformer
    >>> from skdmn.datasets import load_digits_images
    >>> from skdmn.display.spectrum import EnergyDisplay
    >>> layer = ClassPCAPatchTransformer().fit(*load_digits_images())
    >>> EnergyDisplay.from_estimator(layer).figure_.savefig("x.png")  # doctest: +SKIP
    """

    def __init__(
        self,
        energies: ArrayLike,
        classes: ArrayLike,
        n_kept: ArrayLike | None = None,
        min_gap: float = 6.0,
        *,
        name: str = "",
    ) -> None:
        self.energies = energies
        self.classes = classes
        self.n_kept = n_kept
        self.min_gap = min_gap
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        model: Any,
        *,
        layer: str | None = None,
        class_names: Sequence[str] | None = None,
        min_gap: float = 6.0,
        ax: Any = None,
    ) -> Self:
        """Plot the energies of a fitted layer.

        Parameters
        ----------
        model : layer, Pipeline, DensityMatrixNetwork or search
            Fitted layer that has its density matrices, or a fitted model that contains
            one. For a WhitenedPCAPatchTransformer, the energies are those of
            all patches of a class; its cutoff does not act on single classes.
        layer : str or None, default=None
            Name of the layer, such as "conv2". None takes the first one with filters.
        class_names : sequence of str or None, default=None
            Name of each of the layer's `classes_`.
        min_gap : float, default=6.0
            Minimum width of a gap, in nats.
        ax : matplotlib Axes or None, default=None
            Axes to draw in. If None, a new figure is made.

        Returns
        -------
        EnergyDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        TypeError
            If the model has no density matrices.
        ValueError
            If there is no such layer, or not one name for each class.
        NotFittedError
            If the model is not fitted.
        AttributeError
            If ``compact`` removed the density matrices.
        """
        name, one = layer_with_filters(model, layer)
        matrices, kept = class_densities(one), None
        if isinstance(one, ClassPCAPatchTransformer):
            _, levels, _, kept = layer_spectrum(one)
        else:
            levels = energies(matrices)
            # the entries of normalized patches sum to 0, up to rounding
            levels[levels > levels.min(axis=1, keepdims=True) + _ROUNDING] = np.inf
        names = _names(one, class_names)
        return cls(levels, names, kept, min_gap, name=name).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> Self:
        """Draw the plot.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw in. If None, a new figure is made.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            If matplotlib is missing.
        """
        rows = np.atleast_2d(np.asarray(self.energies, dtype=np.float64))
        labels = np.asarray(self.classes)
        kept = np.full(len(rows), rows.shape[1]) if self.n_kept is None else self.n_kept
        self.gaps_ = [overlap_gap(row, self.min_gap) for row in rows]
        ax = axes_or_new(ax, (6.4, 4.2))
        shades = colours(len(rows))
        ranks = np.arange(1, rows.shape[1] + 1)
        for i, (row, n) in enumerate(zip(rows, np.asarray(kept), strict=True)):
            drawn = np.where(np.isfinite(row), row, np.nan)
            style = {"color": shades[i], "marker": _MARKERS[i % len(_MARKERS)]}
            ax.plot(ranks, drawn, lw=0.8, ms=4.5, mfc="none", **style)
            style["label"] = shortened(labels[i])
            ax.plot(ranks[:n], drawn[:n], ls="none", ms=4.5, **style)
        self._draw_gap(ax)
        cut = (np.isfinite(rows) & (ranks > np.asarray(kept)[:, np.newaxis])).any()
        ax.set_xlabel(
            "rank of component" + (" (filled: within the cutoff)" if cut else "")
        )
        ax.set_ylabel("energy $-\\log p$ (nats)")
        ax.spines[["top", "right"]].set_visible(False)
        if 1 < len(rows) <= 2 * _MANY:
            columns = 1 if len(rows) <= 10 else 2
            beside = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
            ax.legend(title="class", fontsize=8, ncols=columns, frameon=False, **beside)
        self.figure_, self.ax_ = ax.figure, ax
        return self

    def _draw_gap(self, ax: Any) -> None:
        """Mark the gaps, and describe the widest one in the title."""
        found = {gap.n_overlap for gap in self.gaps_ if gap.n_overlap}
        for n_overlap in sorted(found):
            ax.axvline(n_overlap + 0.5, color="0.4", ls=":", lw=1)
        widest = max(self.gaps_, key=lambda gap: (bool(gap.n_overlap), gap.width))
        text = (
            f"gap of {widest.width:.1f} nats after rank {widest.n_overlap}"
            if widest.n_overlap
            else f"no gap above {self.min_gap:g} nats; widest gap {widest.width:.1f}"
        )
        prefix = f"{self.name}: " if self.name else ""
        ax.set_title(prefix + text, fontsize=9, loc="left")


class DensityMatrixDisplay:
    """Plot the density matrices of some classes with the same colour scale.

    Colours range from orange (negative) through white (zero) to purple (positive).

    Parameters
    ----------
    matrices : ndarray of shape (n_classes, d, d)
        Density matrices.
    classes : array-like of shape (n_classes,)
        Class labels; "all" for one matrix of all classes.
    name : str, default=""
        Name of the layer, for the title.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure that contains the plots.
    axes_ : ndarray of matplotlib Axes
        Axes of the matrices.

    Notes
    -----
    The plot corresponds to arXiv:1703.04757v1, Fig. 2.

    Examples
    --------
    >>> from skdmn import ClassPCAPatchTransformer
    >>> from skdmn.datasets import load_digits_images
    >>> from skdmn.display.spectrum import DensityMatrixDisplay
    >>> layer = ClassPCAPatchTransformer().fit(*load_digits_images())
    >>> display = DensityMatrixDisplay.from_estimator(layer)  # doctest: +SKIP
    """

    def __init__(
        self, matrices: np.ndarray, classes: ArrayLike, *, name: str = ""
    ) -> None:
        self.matrices = matrices
        self.classes = classes
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        model: Any,
        *,
        layer: str | None = None,
        class_names: Sequence[str] | None = None,
        classes: Sequence[Any] | None = None,
        figure: Any = None,
    ) -> Self:
        """Plot density matrices of a fitted layer.

        Parameters
        ----------
        model : layer, Pipeline, DensityMatrixNetwork or search
            Fitted layer that has its density matrices, or a fitted model that contains
            one. For a WhitenedPCAPatchTransformer, the matrix of all
            contrast-normalized patches of a class is drawn.
        layer : str or None, default=None
            Name of the layer, such as "conv2". None takes the first one with filters.
        class_names : sequence of str or None, default=None
            Name of each of the layer's `classes_`.
        classes : sequence of labels or None, default=None
            Classes to draw. If None, the first ten are drawn.
        figure : matplotlib Figure or None, default=None
            Figure to draw in. If None, a new figure is made.

        Returns
        -------
        DensityMatrixDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        TypeError
            If the model has no density matrices.
        NotFittedError
            If the model is not fitted.
        AttributeError
            If ``compact`` removed the density matrices.
        ValueError
            If there is no such layer, a label is not one of the layer's classes, or
            there is not one name for each class.
        """
        name, one = layer_with_filters(model, layer)
        matrices, known = class_densities(one), as_objects(one.classes_)
        wanted = known[:10] if classes is None else list(classes)
        unknown = [label for label in wanted if label not in known]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not a class; pass some of {known}.")
        chosen = [known.index(label) for label in wanted]
        labels = _names(one, class_names)[chosen]
        return cls(matrices[chosen], labels, name=name).plot(figure=figure)

    def plot(self, *, figure: Any = None) -> Self:
        """Draw the plots.

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
        n = len(self.matrices)
        columns = min(n, 5)
        rows = math.ceil(n / columns)
        if figure is None:
            size = (max(4.4, 1.7 * columns + 1.2), max(2.6, 1.85 * rows + 0.5))
            figure = pyplot().figure(figsize=size, layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        limit = float(np.abs(self.matrices).max())
        for axis in axes.flat[n:]:
            axis.set_axis_off()
        for axis, matrix, label in zip(
            axes.flat, self.matrices, np.asarray(self.classes), strict=False
        ):
            drawn = axis.imshow(
                matrix, cmap="PuOr", vmin=-limit, vmax=limit, interpolation="nearest"
            )
            name = "all classes" if label == "all" else f"class {shortened(label, 14)}"
            axis.set_title(name, fontsize=9)
            axis.tick_params(labelsize=8)
            axis.locator_params(integer=True, nbins=5)
        bar = figure.colorbar(drawn, ax=axes, shrink=0.8, pad=0.02)
        bar.set_label("entry of the density matrix", fontsize=8)
        bar.ax.tick_params(labelsize=8)
        figure.supxlabel("patch entry, in the order (y, x, channel)", fontsize=9)
        figure.supylabel("patch entry", fontsize=9)
        if self.name:
            figure.suptitle(self.name, fontsize=10)
        self.figure_, self.axes_ = figure, axes
        return self


class ClassOverlapDisplay:
    """Plot the overlap of the density matrices of every pair of classes.

    Parameters
    ----------
    overlaps : ndarray of shape (n_classes, n_classes)
        Overlaps between 0 and 1.
    classes : array-like of shape (n_classes,)
        Class labels.
    name : str, default=""
        Name of the layer, for the title.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure that contains the plot.
    ax_ : matplotlib Axes
        Axes of the plot.

    See Also
    --------
    skdmn.analysis.density.density_overlaps : Compute the overlaps.

    Examples
    --------
    >>> from skdmn import ClassPCAPatchTransformer
    >>> from skdmn.datasets import load_digits_images
    >>> from skdmn.display.spectrum import ClassOverlapDisplay
    >>> layer = ClassPCAPatchTransformer().fit(*load_digits_images())
    >>> display = ClassOverlapDisplay.from_estimator(layer)  # doctest: +SKIP
    """

    def __init__(
        self, overlaps: np.ndarray, classes: ArrayLike, *, name: str = ""
    ) -> None:
        self.overlaps = overlaps
        self.classes = classes
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        model: Any,
        *,
        layer: str | None = None,
        class_names: Sequence[str] | None = None,
        ax: Any = None,
    ) -> Self:
        """Plot the overlaps between the classes of a fitted layer.

        Parameters
        ----------
        model : layer, Pipeline, DensityMatrixNetwork or search
            Fitted layer that has its density matrices, or a fitted model that contains
            one. For a WhitenedPCAPatchTransformer, the matrices of all
            contrast-normalized patches of the classes are compared.
        layer : str or None, default=None
            Name of the layer, such as "conv2". None takes the first one with filters.
        class_names : sequence of str or None, default=None
            Name of each of the layer's `classes_`.
        ax : matplotlib Axes or None, default=None
            Axes to draw in. If None, a new figure is made.

        Returns
        -------
        ClassOverlapDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        TypeError
            If the model has no density matrices.
        ValueError
            If there is no such layer, or not one name for each class.
        NotFittedError
            If the model is not fitted.
        AttributeError
            If ``compact`` removed the density matrices.
        """
        name, one = layer_with_filters(model, layer)
        overlaps = density_overlaps(class_densities(one))
        names = one.classes_ if class_names is None else _names(one, class_names)
        return cls(overlaps, names, name=name).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> Self:
        """Draw the plot.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw in. If None, a new figure is made.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            If matplotlib is missing.
        """
        n = len(self.overlaps)
        labels = [shortened(label) for label in np.asarray(self.classes)]
        few = n <= _MANY
        ax = axes_or_new(ax, (0.5 * n + 2.2, 0.5 * n + 1.0) if few else (6.4, 5.2))
        drawn = ax.imshow(self.overlaps, cmap="cividis", vmax=1.0)
        bar = ax.figure.colorbar(drawn, ax=ax, shrink=0.8)
        bar.set_label(r"overlap $\mathrm{Tr}\,\rho_a\rho_b$, normalized")
        ax.set_xlabel("class")
        ax.set_ylabel("class")
        ticks = range(0, n, math.ceil(n / _TICKS))
        shown = [labels[at] for at in ticks]
        steep = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        ax.set_xticks(ticks, shown, **(steep if max(map(len, shown)) > 3 else {}))
        ax.set_yticks(ticks, shown)
        if self.name:
            ax.set_title(self.name, fontsize=10)
        if few:
            least = float(np.nanmin(self.overlaps))
            middle, digits = (least + 1) / 2, 2 if least < 0.95 else 3
            for (row, column), value in np.ndenumerate(self.overlaps):
                colour = "white" if value <= middle else "black"  # black for NaN
                text = f"{value:.{digits}f}".removeprefix("0")
                ax.text(column, row, text, ha="center", va="center", c=colour, size=8)
        self.figure_, self.ax_ = ax.figure, ax
        return self


def _names(layer: Any, class_names: Sequence[str] | None) -> np.ndarray:
    """Return the names of the classes of a layer, or "all"."""
    classes = layer.classes_
    if not layer.class_based:
        return np.full(len(classes), "all")
    return names_of(classes, classes, class_names)
