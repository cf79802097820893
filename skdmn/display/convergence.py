"""Plots of the convergence of density matrices, and of weights during training."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
from scipy import stats

from skdmn.analysis.density.convergence import DensityConvergence, DensityPath
from skdmn.analysis.density.fluctuations import (
    Fluctuations,
    FluctuationTest,
    fluctuation_test,
)
from skdmn.analysis.sgd.agreement import Agreement, filter_agreement
from skdmn.analysis.sgd.history import WeightHistory
from skdmn.analysis.sgd.recorder import Recorder
from skdmn.analysis.sgd.weights import layer_distances, singular_values, weight_products
from skdmn.display.drawing import axes_or_new, colours

_STYLES = ("-", "--", "-.", ":")
_MARKERS = "osD^v"


class ConvergenceDisplay:
    """Plot the error of density matrices against the number of images.

    Parameters
    ----------
    convergence : DensityConvergence
        Estimated errors, from `density_convergence`.
    relative_error : float, default=0.05
        Relative error for which the required number of images is marked.
    confidence : float in (0, 1), default=0.95
        Probability with which this number of images is enough.
    path : DensityPath or None, default=None
        Errors measured against all images, from `density_path`. They are drawn as dots,
        together with their expected values.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure that contains the plot.
    ax_ : matplotlib Axes
        Axes of the plot.
    enough_ : int
        Number of images that is enough for the class that converges most slowly.

    Examples
    --------
    >>> from skdmn.analysis.density.convergence import density_convergence
    >>> from skdmn.datasets import load_digits_images
    >>> from skdmn.display.convergence import ConvergenceDisplay
    >>> found = density_convergence(*load_digits_images(), random_state=0)
    >>> ConvergenceDisplay.from_convergence(found).figure_  # doctest: +SKIP
    """

    def __init__(
        self,
        convergence: DensityConvergence,
        relative_error: float = 0.05,
        confidence: float = 0.95,
        path: DensityPath | None = None,
    ) -> None:
        self.convergence = convergence
        self.relative_error = relative_error
        self.confidence = confidence
        self.path = path

    @classmethod
    def from_convergence(
        cls,
        convergence: DensityConvergence,
        *,
        relative_error: float = 0.05,
        confidence: float = 0.95,
        path: DensityPath | None = None,
        ax: Any = None,
    ) -> Self:
        """Plot the result of `skdmn.analysis.density.density_convergence`.

        Parameters
        ----------
        convergence, relative_error, confidence, path
            As in the class.
        ax : matplotlib Axes or None, default=None
            Axes to draw in. If None, a new figure is made.

        Returns
        -------
        ConvergenceDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError
            If `relative_error` is not positive, or `confidence` is not between 0 and 1.
        """
        return cls(convergence, relative_error, confidence, path).plot(ax=ax)

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
        ax = axes_or_new(ax)
        found, several = self.convergence, len(self.convergence.classes) > 1
        enough = found.enough(self.relative_error, confidence=self.confidence)
        slowest, self.enough_ = int(enough.argmax()), int(enough.max())
        most = max(found.n_images.max(), 2 * self.enough_)
        counts = np.geomspace(1, most, 60)
        typical = found.errors(counts)
        bound = found.errors(counts, confidence=self.confidence)
        if several:
            ax.plot(counts, typical, color="0.75", lw=0.8)
            ax.plot([], [], color="0.75", lw=0.8, label="other classes")
        name = f"class {found.classes[slowest]}, " if several else ""
        ax.plot(counts, typical[:, slowest], "C0-", label=f"{name}root mean square")
        label = f"{name}with probability {100 * self.confidence:g}%"
        ax.plot(counts, bound[:, slowest], "C0--", label=label)
        if self.path is not None:
            self._plot_path(ax, found.errors(1)[slowest])
        ax.plot([1, self.enough_], [self.relative_error] * 2, "k:", lw=1)
        ax.axvline(self.enough_, color="k", ls=":", lw=1)
        ax.annotate(
            f"{self.enough_} images are enough\nfor {100 * self.relative_error:g}%",
            (self.enough_, self.relative_error),
            xytext=(6, 6),
            textcoords="offset points",
        )
        ax.set(xscale="log", yscale="log", xlim=(1, most))
        ax.set_xlabel("number of images of a class" if several else "number of images")
        ax.set_ylabel("relative error of the density matrix")
        ax.legend(fontsize=8, loc="lower left")
        self.figure_, self.ax_ = ax.figure, ax
        return self

    def _plot_path(self, ax: Any, single: float) -> None:
        """Draw the errors measured against all images, and their expected values."""
        assert self.path is not None
        counts, total = self.path.n_images, self.path.n_total
        fewer = counts < total
        if not fewer.any():
            return
        counts, errors = counts[fewer], self.path.errors[:, fewer]
        low, middle, high = np.quantile(errors, [0.1, 0.5, 0.9], axis=0)
        bars = [middle - low, high - middle]
        label = f"measured against {total} images, 80% of draws"
        ax.errorbar(counts, middle, bars, fmt="C1o", ms=4, capsize=2, label=label)
        fine = np.geomspace(1, counts[-1], 60)
        expected = single * np.sqrt(1 / fine - 1 / total)
        ax.plot(fine, expected, "C1-.", lw=1, label=f"expected against {total} images")


class FluctuationDisplay:
    """Plot scaled changes of eigenvalues, which should have one Gaussian distribution.

    The left plot compares the distribution of the changes of each eigenvalue with the
    Gaussian. The right plot shows the variance of the changes of each eigenvalue.

    Parameters
    ----------
    fluctuations : Fluctuations
        Changes, from `eigenvalue_fluctuations`.
    test : FluctuationTest
        Test results for these changes, from `fluctuation_test`.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure that contains the plots.
    axes_ : ndarray of two matplotlib Axes
        Axes of the left and the right plot.

    Examples
    --------
    >>> from skdmn.analysis.density.fluctuations import eigenvalue_fluctuations
    >>> from skdmn.datasets import load_digits_images
    >>> from skdmn.display.convergence import FluctuationDisplay
    >>> steps = eigenvalue_fluctuations(load_digits_images()[0], random_state=0)
    >>> FluctuationDisplay.from_fluctuations(steps).figure_  # doctest: +SKIP
    """

    def __init__(self, fluctuations: Fluctuations, test: FluctuationTest) -> None:
        self.fluctuations = fluctuations
        self.test = test

    @classmethod
    def from_fluctuations(cls, fluctuations: Fluctuations, *, ax: Any = None) -> Self:
        """Test changes of eigenvalues and plot them.

        Parameters
        ----------
        fluctuations : Fluctuations
            Changes, from `eigenvalue_fluctuations`.
        ax : pair of matplotlib Axes or None, default=None
            Axes to draw in. If None, a new figure is made.

        Returns
        -------
        FluctuationDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError
            If there are too few steps or eigenvalues for the tests.
        """
        return cls(fluctuations, fluctuation_test(fluctuations)).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> Self:
        """Draw both plots.

        Parameters
        ----------
        ax : pair of matplotlib Axes or None, default=None
            Axes to draw in. If None, a new figure is made.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            If matplotlib is missing.
        """
        left, right = axes = axes_or_new(ax, columns=2)
        scaled, test = self.fluctuations.scaled, self.test
        spread = np.sqrt(test.constants.mean())
        edges = np.linspace(-4, 4, 33) * spread
        counts = [np.histogram(x, edges, density=True)[0] for x in scaled.T]
        shades = colours(len(counts))
        for row, colour in zip(counts, shades, strict=True):
            left.stairs(row, edges, color=colour, lw=0.7, alpha=0.7)
        left.stairs(np.mean(counts, axis=0), edges, color="k", lw=2, label="mean")
        fine = np.linspace(edges[0], edges[-1], 200)
        gaussian = stats.norm.pdf(fine, scale=spread)
        label = f"Gaussian, distance {test.gaussian_distance:.3f}"
        left.plot(fine, gaussian, "C1--", lw=2, label=label)
        left.set_xlabel(r"$N \sqrt{\delta N} / \lambda \cdot \delta\lambda/\delta N$")
        left.set_ylabel("probability density")
        left.legend(fontsize=8)
        errors = np.std(scaled**2, axis=0) / np.sqrt(len(scaled))
        values = self.fluctuations.eigenvalues
        for x, y, bar, colour in zip(
            values, test.constants, errors, shades, strict=True
        ):
            right.errorbar(x, y, bar, fmt="o", color=colour, capsize=3)
        claim, centre = test.eigenvalue_exponent, np.exp(np.log(values).mean())
        level = np.exp(np.log(test.constants).mean())
        label = f"variance ~ $\\lambda^{{{claim.measured:.2f}}}$ (claimed: 2)"
        slope = (values / centre) ** (claim.measured - 2)
        right.plot(values, level * slope, "k-", lw=1, label=label)
        right.axhline(level, color="C1", ls="--", label="claimed: the same for all")
        right.set(xscale="log", yscale="log")
        right.set_xlabel("eigenvalue of the second moment")
        right.set_ylabel("variance of scaled changes")
        title = f"p-value of equal variances: {test.collapse_p_value:.1g}"
        right.set_title(title, fontsize=9)
        right.legend(fontsize=8)
        self.figure_, self.axes_ = left.figure, np.asarray(axes)
        return self


Curves = Literal["weights", "products", "distances"]
_LABELS = {
    "weights": "largest singular value of w",
    "products": "largest singular value of the product from w up",
    "distances": "relative distance from the final weights",
}


class TrainingDisplay:
    """Plot a quantity of each layer against training time.

    Parameters
    ----------
    epochs : ndarray of shape (n_records,)
        Times of the records.
    curves : ndarray of shape (n_records, n_layers)
        Quantity of each layer.
    label : str
        Name of the quantity, the label of the vertical axis.
    unit : str, default="epochs"
        Unit of the times.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure that contains the plot.
    ax_ : matplotlib Axes
        Axes of the plot.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neural_network import MLPClassifier
    >>> from skdmn.analysis.sgd.history import mlp_history
    >>> from skdmn.display.convergence import TrainingDisplay
    >>> mlp = MLPClassifier((30,), random_state=0)
    >>> history = mlp_history(mlp, *load_digits(return_X_y=True), n_epochs=2)
    >>> TrainingDisplay.from_history(history, "distances").curves.shape
    (3, 2)
    """

    def __init__(
        self, epochs: np.ndarray, curves: np.ndarray, label: str, unit: str = "epochs"
    ) -> None:
        self.epochs = epochs
        self.curves = curves
        self.label = label
        self.unit = unit

    @classmethod
    def from_history(
        cls,
        history: WeightHistory | Recorder,
        curves: Curves = "weights",
        *,
        ax: Any = None,
    ) -> Self:
        """Plot largest singular values, or distances from the final weights.

        Parameters
        ----------
        history : WeightHistory or Recorder
            Recorded weights.
        curves : {"weights", "products", "distances"}, default="weights"
            Quantity to plot: the largest singular value of the weights of each layer,
            that of the product of the weights of a layer and all layers above it, or
            the distance of the weights from their final values.
        ax : matplotlib Axes or None, default=None
            Axes to draw in. If None, a new figure is made.

        Returns
        -------
        TrainingDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError
            If `curves` is unknown, or products are asked for layers that are not dense.
        """
        if curves not in _LABELS:
            raise ValueError(f"curves is {curves!r}; pass one of {sorted(_LABELS)}.")
        history = history.history if isinstance(history, Recorder) else history
        label, unit = _LABELS[curves], history.unit
        if curves == "distances":
            distances = layer_distances(history)
            return cls(history.epochs, distances, label, unit).plot(ax=ax)
        matrices = history.weights
        matrices = weight_products(matrices) if curves == "products" else matrices
        largest = np.array([values[:, 0] for values in singular_values(matrices)]).T
        return cls(history.epochs, largest, label, unit).plot(ax=ax)

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
        ax = axes_or_new(ax)
        n = self.curves.shape[1]
        for k, (curve, colour) in enumerate(
            zip(self.curves.T, colours(n), strict=True)
        ):
            style = _STYLES[k % len(_STYLES)]
            ax.plot(
                *(self.epochs, curve, style),
                color=colour,
                marker=_MARKERS[k % len(_MARKERS)],
                markevery=max(1, len(curve) // 10),
                ms=4,
                label=f"layer {k + 1}",
            )
        ax.set(xlabel=self.unit, ylabel=self.label, ylim=(0, None))
        ax.legend(fontsize=8)
        self.figure_, self.ax_ = ax.figure, ax
        return self


class AgreementDisplay:
    """Plot the agreement of trained filters with directions against training time.

    Parameters
    ----------
    epochs : ndarray of shape (n_records,)
        Times of the records.
    agreements : list of Agreement
        Agreement at each record, compared with random filters of any direction.
    patch_like : list of Agreement or None, default=None
        Agreement at each record, compared with random filters that look like patches.
    unit : str, default="epochs"
        Unit of the times.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure that contains the plots.
    axes_ : ndarray of two matplotlib Axes
        Axes of the plots of `share` and of `cosine`.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neural_network import MLPClassifier
    >>> from skdmn.analysis.sgd.history import mlp_history
    >>> import numpy as np
    >>> from skdmn.display.convergence import AgreementDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> history = mlp_history(MLPClassifier((9,), random_state=0), X, y, n_epochs=2)
    >>> _, _, directions = np.linalg.svd(X, full_matrices=False)
    >>> display = AgreementDisplay.from_history(history, directions[:8])
    >>> len(display.agreements)
    3
    """

    def __init__(
        self,
        epochs: np.ndarray,
        agreements: list[Agreement],
        patch_like: list[Agreement] | None = None,
        unit: str = "epochs",
    ) -> None:
        self.unit = unit
        self.epochs = epochs
        self.agreements = agreements
        self.patch_like = patch_like

    @classmethod
    def from_history(
        cls,
        history: WeightHistory | Recorder,
        directions: np.ndarray,
        *,
        covariance: np.ndarray | None = None,
        n_random: int = 200,
        random_state: Any = 0,
        ax: Any = None,
    ) -> Self:
        """Compare the filters of the first layer with directions, at every record.

        Parameters
        ----------
        history : WeightHistory or Recorder
            Recorded weights.
        directions, n_random, random_state
            As in `skdmn.analysis.sgd.filter_agreement`.
        covariance : ndarray of shape (d, d) or None, default=None
            Covariance of random filters that look like patches. If it is given, these
            are plotted in addition to random filters of any direction.
        ax : pair of matplotlib Axes or None, default=None
            Axes to draw in. If None, a new figure is made.

        Returns
        -------
        AgreementDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError
            As in `skdmn.analysis.sgd.filter_agreement`.
        """
        history = history.history if isinstance(history, Recorder) else history

        def compare(like: np.ndarray | None) -> list[Agreement]:
            options = {"n_random": n_random, "random_state": random_state}
            return [
                filter_agreement(w.T, directions, covariance=like, **options)
                for w in history.weights[0]
            ]

        patch_like = None if covariance is None else compare(covariance)
        found = cls(history.epochs, compare(None), patch_like, history.unit)
        return found.plot(ax=ax)

    def plot(self, *, ax: Any = None) -> Self:
        """Draw both plots.

        Parameters
        ----------
        ax : pair of matplotlib Axes or None, default=None
            Axes to draw in. If None, a new figure is made.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            If matplotlib is missing.
        """
        axes = axes_or_new(ax, columns=2)
        names = ("share", "cosine")
        for axis, name in zip(axes, names, strict=True):
            self._line(axis, self.agreements, name, "C0o-", "trained")
            random = f"random_{name}"
            self._line(axis, self.agreements, random, "0.4", "random", ls="--")
            if self.patch_like is not None:
                label = "random, patch-like"
                self._line(axis, self.patch_like, random, "C1", label, ls=":")
            axis.set(xlabel=self.unit, ylim=(0, 1))
            axis.legend(fontsize=8, loc="lower right")
        axes[0].set_ylabel("share of squared norm in the span")
        axes[1].set_ylabel("mean largest |cosine| with a direction")
        self.figure_, self.axes_ = axes[0].figure, np.asarray(axes)
        return self

    def _line(
        self, axis: Any, found: list[Agreement], name: str, *style: str, ls: str = "-"
    ) -> None:
        """Draw one attribute of the agreements over time."""
        values = [getattr(agreement, name) for agreement in found]
        form, label = style
        if form.startswith("C0"):
            axis.plot(self.epochs, values, form, ms=4, label=label)
        else:
            axis.plot(self.epochs, values, color=form, ls=ls, lw=2, label=label)
