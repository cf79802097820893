"""Plots of the scores of a search."""

from __future__ import annotations

from numbers import Real
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skdmn.display.drawing import axes_or_new, colours

_MARKERS = "osD^vP*X"
_FRONT = "Pareto front"
_WIDE = 30  # ratio of the largest and the least value from which an axis is logarithmic
_COSTS = {
    "n_features": "number of features",
    "seconds": "seconds per fold (fit and score)",
}


def pareto_front(costs: Any, scores: Any) -> np.ndarray:
    """Find the settings that no other setting beats at the same or a lower cost.

    Parameters
    ----------
    costs, scores : array-like of shape (n_settings,)
        Settings with NaN are never on the front.

    Returns
    -------
    ndarray of int
        Indices of the settings on the front, cheapest first.

    Examples
    --------
    >>> from skdmn.display.search import pareto_front
    >>> pareto_front([1, 2, 3, 4], [0.5, 0.9, 0.8, 0.95])
    array([0, 1, 3])
    """
    costs, scores = np.asarray(costs, dtype=float), np.asarray(scores, dtype=float)
    front, best = [], -np.inf
    for index in np.lexsort((-scores, costs)):  # NaN is last
        if scores[index] > best and not np.isnan(costs[index]):
            front.append(index)
            best = scores[index]
    return np.array(front, dtype=np.intp)


class SearchDisplay:
    """Plot the scores of the settings of a search, with error bars.

    Against a parameter, there is a line for each value of a second parameter. Against
    the number of features or the time, every setting is a point, and a line marks the
    Pareto front: the settings that no other one beats at the same or a lower cost.

    Parameters
    ----------
    x : array-like of shape (n_points,)
        Horizontal positions.
    scores, errors : array-like of shape (n_points,)
        Mean scores, and their standard errors.
    groups : array-like of shape (n_points,), int, or None, default=None
        Group of each point, which has its own colour and marker. None puts all points
        into one group.
    labels : sequence of str or None, default=None
        Label of each group. If None, there is no legend.
    legend_title : str or None, default=None
        Title of the legend.
    ticks : sequence of str or None, default=None
        Labels of the positions 0, 1, 2, ... on the horizontal axis. None shows numbers.
    front : array-like of int or None, default=None
        Indices of the points on the Pareto front. None connects the points of a group
        instead.
    xlabel, ylabel : str
        Labels of the axes.
    xscale : {"linear", "log"}, default="linear"
        Scale of the horizontal axis.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure that contains the plot.
    ax_ : matplotlib Axes
        Axes of the plot.

    See Also
    --------
    skdmn.CutoffSearchCV : The search whose results are plotted.

    Examples
    --------
    >>> from skdmn import make_dmn
    >>> from skdmn.datasets import load_digits_images
    >>> from skdmn.display import SearchDisplay
    >>> from skdmn.model_selection import CutoffSearchCV
    >>> X, y = load_digits_images()
    >>> grid = {"conv1__n_filters": [1, 2, 4], "conv1__signs": ["one", "both"]}
    >>> search = CutoffSearchCV(make_dmn(n_layers=1), grid, cv=3).fit(X, y)
    >>> display = SearchDisplay.from_search(
    ...     search, "conv1__n_filters", group="conv1__signs"
    ... )
    >>> display.ax_.get_xlabel(), display.labels
    ('conv1__n_filters', ['one', 'both'])
    """

    def __init__(
        self,
        x: Any,
        scores: Any,
        errors: Any,
        *,
        groups: Any = None,
        labels: Any = None,
        legend_title: str | None = None,
        ticks: Any = None,
        front: Any = None,
        xlabel: str = "setting",
        ylabel: str = "score",
        xscale: str = "linear",
    ) -> None:
        self.x = x
        self.scores = scores
        self.errors = errors
        self.groups = groups
        self.labels = labels
        self.legend_title = legend_title
        self.ticks = ticks
        self.front = front
        self.xlabel = xlabel
        self.ylabel = ylabel
        self.xscale = xscale

    @classmethod
    def from_search(
        cls,
        search: Any,
        x: str = "n_features",
        *,
        group: str | None = None,
        metric: str = "score",
        ax: Any = None,
    ) -> Self:
        """Plot the results of a search.

        Parameters
        ----------
        search : fitted search
            `CutoffSearchCV` or another search with `cv_results_`, such as GridSearchCV.
            Of a search by successive halving, each setting is shown as in its last
            iteration.
        x : str, default="n_features"
            Name of the parameter on the horizontal axis. For each of its values and
            each group, the setting with the best mean score is shown. Or "n_features",
            the number of features that the classifier gets, which `CutoffSearchCV`
            records; or "seconds", the mean time to fit and score a fold. Both show all
            settings.
        group : str or None, default=None
            Name of the parameter whose values have different colours.
        metric : str, default="score"
            Name of the score, if the search has several.
        ax : matplotlib Axes or None, default=None
            Axes to draw in. If None, a new figure is made.

        Returns
        -------
        SearchDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        NotFittedError
            If the search is not fitted.
        ValueError
            If the search has no such parameter, score or number of features.
        """
        check_is_fitted(search, "cv_results_")
        results = search.cv_results_
        if f"mean_test_{metric}" not in results:
            known = [n[10:] for n in results if n.startswith("mean_test_")]
            raise ValueError(
                f"metric={metric!r} is no score of the search; pass one of {known}."
            )
        scores = np.array(results[f"mean_test_{metric}"], dtype=float)
        if "iter" in results:  # scores of earlier iterations are not comparable
            last = {str(params): i for i, params in enumerate(results["params"])}
            scores[np.setdiff1d(np.arange(len(scores)), [*last.values()])] = np.nan
        spread = np.asarray(results[f"std_test_{metric}"], dtype=float)
        errors = spread / np.sqrt(max(_n_splits(results, metric) - 1, 1))
        groups, labels = _groups(results, group, len(scores))
        told: dict[str, Any] = {"legend_title": group, "labels": labels}
        if x in _COSTS:
            costs = _costs(search, x)
            told |= {"front": pareto_front(costs, scores), "xlabel": _COSTS[x]}
            positions, ticks, shown = costs, None, np.arange(len(scores))
        else:
            positions, ticks = _positions(_values(results, x))
            shown = _best_of_each(positions, groups, scores)
            told |= {"ticks": ticks, "xlabel": x}
        return cls(
            positions[shown],
            scores[shown],
            errors[shown],
            groups=groups[shown],
            ylabel=f"mean {metric} over the folds",
            xscale="linear" if ticks is not None else _scale(positions),
            **told,
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
        x, scores, errors = map(np.asarray, (self.x, self.scores, self.errors))
        groups = np.zeros(len(x), int) if self.groups is None else self.groups
        numbers = np.unique(groups)
        shades = colours(len(numbers))
        # lines that would hide each other's error bars are moved apart
        apart = self.ticks is not None and len(numbers) > 1
        for i, number in enumerate(numbers):
            own = np.flatnonzero(np.asarray(groups) == number)
            own = own[np.argsort(x[own], kind="stable")]
            moved = 0.2 * (i / (len(numbers) - 1) - 0.5) if apart else 0.0
            ax.errorbar(
                x[own] + moved,
                scores[own],
                errors[own],
                color=shades[i],
                marker=_MARKERS[i % len(_MARKERS)],
                linestyle="-" if self.front is None else "none",
                linewidth=1,
                elinewidth=0.8,
                markersize=4,
                capsize=2,
                label=None if self.labels is None else self.labels[number],
            )
        if self.front is not None:
            front = np.asarray(self.front)
            ax.plot(
                x[front],
                scores[front],
                color="black",
                linewidth=1,
                marker="o",
                markersize=9,
                markerfacecolor="none",
                zorder=3,
                label=_FRONT,
            )
        ax.set(xlabel=self.xlabel, ylabel=self.ylabel, xscale=self.xscale)
        if self.ticks is not None:
            ax.set_xticks(range(len(self.ticks)), self.ticks)
        ax.spines[["top", "right"]].set_visible(False)
        if self.labels is not None or self.front is not None:
            handles, names = ax.get_legend_handles_labels()
            order = sorted(range(len(names)), key=lambda i: names[i] == _FRONT)
            ax.legend(
                [handles[i] for i in order],
                [names[i] for i in order],
                fontsize=8,
                title=self.legend_title,
                title_fontsize=8,
                loc="upper left",
                bbox_to_anchor=(1.0, 1.0),
                frameon=False,
            )
        self.figure_, self.ax_ = ax.figure, ax
        return self


def _n_splits(results: dict[str, Any], metric: str) -> int:
    return sum(
        name.startswith("split") and name.endswith(f"_test_{metric}")
        for name in results
    )


def _costs(search: Any, name: str) -> np.ndarray:
    """Return the cost of each setting."""
    results = search.cv_results_
    if name == "seconds":
        return np.asarray(results["mean_fit_time"] + results["mean_score_time"])
    if not hasattr(search, "n_features_of_settings_"):
        raise ValueError(
            f"{type(search).__name__} does not record the number of features; pass "
            'x="seconds" or the name of a parameter, or use CutoffSearchCV.'
        )
    return np.asarray(search.n_features_of_settings_, dtype=float)


def _values(results: dict[str, Any], name: str) -> list[Any]:
    """Return the value of a parameter in each setting; None if it has none."""
    if f"param_{name}" not in results:
        known = [one[6:] for one in results if one.startswith("param_")]
        raise ValueError(
            f"{name!r} is no parameter of the search; pass one of {known}, "
            '"n_features" or "seconds".'
        )
    return [params.get(name) for params in results["params"]]


def _positions(values: list[Any]) -> tuple[np.ndarray, list[str] | None]:
    """Return positions on an axis, and labels if the values are not all numbers."""
    if all(isinstance(value, Real) and not isinstance(value, bool) for value in values):
        return np.array(values, dtype=float), None
    numbers, labels = _numbered(values)
    return numbers.astype(float), labels


def _numbered(values: list[Any]) -> tuple[np.ndarray, list[str]]:
    """Give each value a number: first numbers, then others as they appear."""
    shown = [str(value) for value in values]
    known: dict[str, Any] = {}
    for text, value in zip(shown, values, strict=True):
        known.setdefault(text, value)

    def order(text: str) -> tuple[bool, float]:
        is_number = isinstance(known[text], Real)
        return not is_number, float(known[text]) if is_number else 0.0

    labels = sorted(known, key=order)
    return np.array([labels.index(text) for text in shown], dtype=np.intp), labels


def _groups(
    results: dict[str, Any], name: str | None, n: int
) -> tuple[np.ndarray, list[str] | None]:
    """Return the group of each setting, and the labels of the groups."""
    if name is None:
        return np.zeros(n, dtype=np.intp), None
    return _numbered(_values(results, name))


def _best_of_each(
    positions: np.ndarray, groups: np.ndarray, scores: np.ndarray
) -> np.ndarray:
    """Return the indices of the best settings for each position and group."""
    best: dict[tuple[float, int], int] = {}
    for index in np.argsort(-scores, kind="stable"):  # NaN is last
        best.setdefault((positions[index], groups[index]), int(index))
    return np.array(sorted(best.values()))


def _scale(positions: np.ndarray) -> str:
    """Return the scale of an axis with these positions."""
    finite = positions[np.isfinite(positions)]
    if not len(finite) or finite.min() <= 0:
        return "linear"
    return "log" if finite.max() >= _WIDE * finite.min() else "linear"
