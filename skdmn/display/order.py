"""Plots of the order in which directions and examples are learned."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from skdmn.analysis.pc_bias.learning_order import (
    accessibility,
    epochs_to_learn,
    group_by_score,
)
from skdmn.analysis.sgd.recorder import Recorder
from skdmn.display.drawing import axes_or_new, colours

_STYLES = ("-", "--", "-.", ":")
_MAX_GROUPS = 50


class LearningOrderDisplay:
    """Plot the order in which principal directions or examples are learned.

    Curves differ in colour, from dark (first) to light, and in line style. The
    classmethods draw the figures of [1]_. The constructor takes any learning curves,
    such as the accuracy for different numbers of components (Fig. 5).

    Parameters
    ----------
    x : array-like of shape (n_points,)
        Horizontal positions of the points.
    curves : array-like of shape (n_curves, n_points)
        Values of each curve.
    lower, upper : array-like of shape (n_curves, n_points) or None, default=None
        Limits of the band around each curve. If None, there are no bands.
    labels : sequence of str or None, default=None
        Label of each curve. If None, there is no legend.
    legend_title : str or None, default=None
        Title of the legend.
    xlabel, ylabel : str
        Labels of the axes, with units.
    xscale, yscale : {"linear", "log", "symlog"}, default="linear"
        Scales of the axes.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure that contains the plot.
    ax_ : matplotlib Axes
        Axes of the plot.

    References
    ----------
    .. [1] G. Hacohen, D. Weinshall, "Principal components bias in over-parameterized
       linear models", arXiv:2105.05553.

    Examples
    --------
    >>> from skdmn.display.order import LearningOrderDisplay
    >>> spread = [[1.0, 1.0], [0.5, 0.9], [0.1, 0.8]]
    >>> display = LearningOrderDisplay.from_directions(
    ...     spread, [0, 10, 100], quantity="std over networks"
    ... )
    >>> display.ax_.get_xlabel(), display.labels
    ('gradient steps', ['1', '2'])
    """

    def __init__(
        self,
        x: Any,
        curves: Any,
        *,
        lower: Any = None,
        upper: Any = None,
        labels: Any = None,
        legend_title: str | None = None,
        xlabel: str = "epochs",
        ylabel: str = "accuracy",
        xscale: str = "linear",
        yscale: str = "linear",
    ) -> None:
        self.x = x
        self.curves = curves
        self.lower = lower
        self.upper = upper
        self.labels = labels
        self.legend_title = legend_title
        self.xlabel = xlabel
        self.ylabel = ylabel
        self.xscale = xscale
        self.yscale = yscale

    @classmethod
    def from_directions(
        cls,
        values: Any,
        steps: Any,
        *,
        directions: Any = None,
        quantity: str = "distance from the optimum",
        ax: Any = None,
    ) -> Self:
        """Plot a quantity over time, with a line for each principal direction (Fig. 2).

        Parameters
        ----------
        values : array-like of shape (n_steps, n_features)
            Values, such as distance or spread from `convergence_by_direction`.
        steps : array-like of shape (n_steps,)
            Numbers of gradient steps.
        directions : sequence of int or None, default=None
            Indices of the directions to draw, counted from 0. If None, at most six
            directions are drawn, evenly spaced on a logarithmic scale.
        quantity : str, default="distance from the optimum"
            Label of the vertical axis.
        ax : matplotlib Axes or None, default=None
            Axes to draw in. If None, a new figure is made.

        Returns
        -------
        LearningOrderDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError
            If there is not one row of values for each step.
        """
        values, steps = _check_values(values, steps)
        if directions is None:
            directions = _spread(values.shape[1])
        return cls(
            steps,
            values[:, list(directions)].T,
            labels=[str(i + 1) for i in directions],
            legend_title="principal direction",
            xlabel="gradient steps",
            ylabel=quantity,
            xscale="symlog" if steps[0] == 0 else "log",
        ).plot(ax=ax)

    @classmethod
    def from_steps(
        cls,
        values: Any,
        steps: Any,
        *,
        quantity: str = "distance from the optimum",
        ax: Any = None,
    ) -> Self:
        """Plot a quantity against the directions, with a line for each step (Fig. 4).

        Parameters
        ----------
        values : array-like of shape (n_steps, n_features)
            Values, such as distance or spread from `convergence_by_direction`.
        steps : array-like of shape (n_steps,)
            Numbers of gradient steps.
        quantity : str, default="distance from the optimum"
            Label of the vertical axis.
        ax : matplotlib Axes or None, default=None
            Axes to draw in. If None, a new figure is made.

        Returns
        -------
        LearningOrderDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError
            If there is not one row of values for each step.
        """
        values, steps = _check_values(values, steps)
        return cls(
            np.arange(1, values.shape[1] + 1),
            values,
            labels=[f"{step:g}" for step in steps],
            legend_title="gradient steps",
            xlabel="rank of the principal direction",
            ylabel=quantity,
        ).plot(ax=ax)

    @classmethod
    def from_scores(
        cls,
        scores: Any,
        values: Any,
        *,
        n_groups: int | None = None,
        score: str = "critical principal component",
        quantity: str = "accessibility",
        ax: Any = None,
    ) -> Self:
        """Plot one score of the examples against another (Figs. 6b and 8).

        The plot shows means over groups of examples, with a band of one standard error.

        Parameters
        ----------
        scores : array-like of shape (n_samples,)
            Horizontal score, such as the critical principal component. Examples with
            NaN are left out.
        values : array-like of shape (n_samples,)
            Vertical score, such as accessibility.
        n_groups : int or None, default=None
            Number of groups of about equal size. If None, there is one group for each
            value of `scores`.
        score, quantity : str
            Labels of the horizontal and the vertical axis.
        ax : matplotlib Axes or None, default=None
            Axes to draw in. If None, a new figure is made.

        Returns
        -------
        LearningOrderDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError
            If the lengths differ, or no example has a score.
        """
        groups = group_by_score(scores, values, n_groups)
        return cls(
            groups.scores,
            [groups.means],
            lower=[groups.means - groups.errors],
            upper=[groups.means + groups.errors],
            xlabel=score,
            ylabel=quantity,
        ).plot(ax=ax)

    @classmethod
    def from_predictions(
        cls, predictions: Any, y: Any, *, unit: str = "epochs", ax: Any = None
    ) -> Self:
        """Plot the epoch in which examples are learned against their rank.

        Examples are ranked by accessibility. If there are more than fifty, neighbouring
        ranks are combined to fifty groups. The line is the median, over networks and
        the examples of a group, of the first epoch in which an example is classified
        correctly. The band is the interquartile range; it is narrow if the networks
        agree on the order.

        Parameters
        ----------
        predictions : array-like of shape (n_networks, n_epochs, n_samples), or Recorder
            Predicted labels, or one or several recorders with the same times.
        y : array-like of shape (n_samples,)
            True labels.
        unit : str, default="epochs"
            Unit of time, if `predictions` are not of recorders, which know their own.
        ax : matplotlib Axes or None, default=None
            Axes to draw in. If None, a new figure is made.

        Returns
        -------
        LearningOrderDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError
            If the shapes do not match, or recorders have different times.
        """
        times, unit = _times_of(predictions, unit)
        order = np.argsort(-accessibility(predictions, y), kind="stable")
        epochs = epochs_to_learn(predictions, y)
        # "never" is later than any epoch; quartiles that are "never" are not drawn
        never = np.isnan(epochs)
        if times is not None:
            epochs = times[np.where(never, 1, epochs).astype(int) - 1]
        epochs[never] = np.inf
        ranks = np.array_split(np.arange(len(order)), min(len(order), _MAX_GROUPS))
        quarters = np.array(
            [
                np.quantile(epochs[:, order[rank]], [0.25, 0.5, 0.75], method="higher")
                for rank in ranks
            ]
        ).T
        quarters[np.isinf(quarters)] = np.nan
        return cls(
            np.array([rank.mean() + 1 for rank in ranks]),
            quarters[[1]],
            lower=quarters[[0]],
            upper=quarters[[2]],
            xlabel="rank of the example by accessibility",
            ylabel=f"{unit} until learned",
        ).plot(ax=ax)

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
        ax = axes_or_new(ax, (5.2, 3.6))
        n = len(self.curves)
        markers = "o" if len(self.x) <= 20 else None
        for i, (curve, colour) in enumerate(zip(self.curves, colours(n), strict=True)):
            label = self.labels[i] if self.labels is not None else None
            ax.plot(
                self.x,
                curve,
                color=colour,
                linestyle=_STYLES[i % len(_STYLES)],
                marker=markers,
                markersize=3,
                label=label,
            )
            if self.lower is not None and self.upper is not None:
                band = (self.lower[i], self.upper[i])
                ax.fill_between(self.x, *band, color=colour, alpha=0.25, linewidth=0)
        ax.set(xlabel=self.xlabel, ylabel=self.ylabel)
        ax.set(xscale=self.xscale, yscale=self.yscale)
        ax.spines[["top", "right"]].set_visible(False)
        if self.labels is not None:
            beside = {
                "loc": "upper left",
                "bbox_to_anchor": (1.0, 1.0),
                "frameon": False,
            }
            title = {"title": self.legend_title, "title_fontsize": 8}
            ax.legend(fontsize=8, **title, **beside)
        self.figure_, self.ax_ = ax.figure, ax
        return self


def _times_of(recorded: Any, unit: str) -> tuple[np.ndarray | None, str]:
    """Return the times of recorders and their unit; raise if they differ."""
    recorders = [recorded] if isinstance(recorded, Recorder) else recorded
    recorders = [one for one in recorders if isinstance(one, Recorder)]
    if not recorders:
        return None, unit
    first = recorders[0]
    for one in recorders:
        if one.unit != first.unit or not np.array_equal(one.times, first.times):
            raise ValueError(
                "The recorders have different times or units; record all networks at "
                "the same times."
            )
    return first.times, first.unit


def _check_values(values: Any, steps: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return values and steps as arrays; raise if their shapes do not match."""
    values, steps = np.asarray(values), np.asarray(steps)
    if values.ndim != 2 or steps.shape != values.shape[:1]:
        raise ValueError(
            f"values has shape {values.shape} and steps {steps.shape}; pass shapes "
            "(n_steps, n_features) and (n_steps,)."
        )
    return values, steps


def _spread(n: int) -> list[int]:
    """Return at most six of n indices, evenly spaced on a logarithmic scale."""
    return np.unique(np.geomspace(1, n, min(n, 6)).round().astype(int) - 1).tolist()
