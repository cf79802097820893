"""Plots of energies, density matrices and overlaps of classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skdmn.analysis.density.spectrum import class_densities, layer_spectrum, overlap_gap
from skdmn.analysis.density.subspaces import density_overlaps
from skdmn.display.drawing import axes_or_new, colours, pyplot
from skdmn.layers.class_density import ClassDensityTransformer
from skdmn.layers.class_pca import ClassPCAPatchTransformer
from skdmn.utils.labels import as_objects

_MARKERS = "osD^vPX<>*"
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
    ) -> None:
        self.energies = energies
        self.classes = classes
        self.n_kept = n_kept
        self.min_gap = min_gap

    @classmethod
    def from_estimator(
        cls, layer: ClassPCAPatchTransformer, *, min_gap: float = 6.0, ax: Any = None
    ) -> Self:
        """Plot the energies of a fitted layer.

        Parameters
        ----------
        layer : ClassPCAPatchTransformer
            Fitted layer that has its density matrices.
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
            If `layer` is not a ClassPCAPatchTransformer.
        NotFittedError
            If `layer` is not fitted.
        AttributeError
            If ``compact`` removed the density matrices.
        """
        spectrum = layer_spectrum(layer)
        display = cls(spectrum.energies, spectrum.classes, spectrum.n_kept, min_gap)
        return display.plot(ax=ax)

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
            ax.plot(ranks[:n], drawn[:n], ls="none", ms=4.5, **style, label=labels[i])
        self._draw_gap(ax)
        cut = (np.isfinite(rows) & (ranks > np.asarray(kept)[:, np.newaxis])).any()
        ax.set_xlabel(
            "rank of component" + (" (filled: within the cutoff)" if cut else "")
        )
        ax.set_ylabel("energy $-\\log p$ (nats)")
        ax.spines[["top", "right"]].set_visible(False)
        if len(rows) > 1:
            columns = 1 if len(rows) <= 10 else 2
            ax.legend(title="class", fontsize=8, ncols=columns, frameon=False)
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
        ax.set_title(text, fontsize=9, loc="left")


class DensityMatrixDisplay:
    """Plot the density matrices of some classes with the same colour scale.

    Colours range from orange (negative) through white (zero) to purple (positive).

    Parameters
    ----------
    matrices : ndarray of shape (n_classes, d, d)
        Density matrices.
    classes : array-like of shape (n_classes,)
        Class labels; "all" for one matrix of all classes.

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

    def __init__(self, matrices: np.ndarray, classes: ArrayLike) -> None:
        self.matrices = matrices
        self.classes = classes

    @classmethod
    def from_estimator(
        cls,
        layer: ClassDensityTransformer,
        *,
        classes: Sequence[Any] | None = None,
        figure: Any = None,
    ) -> Self:
        """Plot density matrices of a fitted layer.

        Parameters
        ----------
        layer : ClassPCAPatchTransformer or WhitenedPCAPatchTransformer
            Fitted layer that has its density matrices. For the latter, the matrix of
            all contrast-normalized patches of a class is drawn.
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
            If `layer` is neither of these.
        NotFittedError
            If `layer` is not fitted.
        AttributeError
            If ``compact`` removed the density matrices.
        ValueError
            If a label is not one of the layer's classes.
        """
        matrices, known = class_densities(layer), as_objects(layer.classes_)
        wanted = known[:10] if classes is None else list(classes)
        unknown = [label for label in wanted if label not in known]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not a class; pass some of {known}.")
        chosen = [known.index(label) for label in wanted]
        labels = wanted if layer.class_based else ["all"] * len(wanted)
        return cls(matrices[chosen], labels).plot(figure=figure)

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
            size = (1.7 * columns + 1.2, 1.85 * rows + 0.5)
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
            name = "all classes" if label == "all" else f"class {label}"
            axis.set_title(name, fontsize=9)
            axis.tick_params(labelsize=8)
            axis.locator_params(integer=True, nbins=5)
        bar = figure.colorbar(drawn, ax=axes, shrink=0.8, pad=0.02)
        bar.set_label("entry of the density matrix", fontsize=8)
        bar.ax.tick_params(labelsize=8)
        figure.supxlabel("patch entry, in the order (y, x, channel)", fontsize=9)
        figure.supylabel("patch entry", fontsize=9)
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

    def __init__(self, overlaps: np.ndarray, classes: ArrayLike) -> None:
        self.overlaps = overlaps
        self.classes = classes

    @classmethod
    def from_estimator(cls, layer: ClassDensityTransformer, *, ax: Any = None) -> Self:
        """Plot the overlaps between the classes of a fitted layer.

        Parameters
        ----------
        layer : ClassPCAPatchTransformer or WhitenedPCAPatchTransformer
            Fitted layer that has its density matrices. For the latter, the matrices of
            all contrast-normalized patches of the classes are compared.
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
            If `layer` is neither of these.
        NotFittedError
            If `layer` is not fitted.
        AttributeError
            If ``compact`` removed the density matrices.
        """
        overlaps = density_overlaps(class_densities(layer))
        return cls(overlaps, layer.classes_).plot(ax=ax)

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
        n, labels = len(self.overlaps), np.asarray(self.classes)
        few = n <= _MANY
        ax = axes_or_new(ax, (0.5 * n + 2.2, 0.5 * n + 1.0) if few else (6.4, 5.2))
        drawn = ax.imshow(self.overlaps, cmap="cividis", vmax=1.0)
        bar = ax.figure.colorbar(drawn, ax=ax, shrink=0.8)
        bar.set_label(r"overlap $\mathrm{Tr}\,\rho_a\rho_b$, normalized")
        ax.set_xlabel("class")
        ax.set_ylabel("class")
        if few:
            ax.set_xticks(range(n), labels)
            ax.set_yticks(range(n), labels)
            least = float(np.nanmin(self.overlaps))
            middle, digits = (least + 1) / 2, 2 if least < 0.95 else 3
            for (row, column), value in np.ndenumerate(self.overlaps):
                colour = "white" if value <= middle else "black"  # black for NaN
                text = f"{value:.{digits}f}".removeprefix("0")
                ax.text(column, row, text, ha="center", va="center", c=colour, size=8)
        self.figure_, self.ax_ = ax.figure, ax
        return self
