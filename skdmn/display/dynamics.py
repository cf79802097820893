"""Plots of the learning dynamics of deep linear networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skdmn.analysis.deep_linear.prediction import LearningPrediction
from skdmn.analysis.deep_linear.simulation import LearningCourse
from skdmn.analysis.sgd.recorder import Recorder
from skdmn.display.drawing import axes_or_new, colours

_STYLES = ["-", "--", "-.", ":"]
_ROUNDING = 1e-15  # singular values below this share of the largest are rounding
_FEW = 12  # largest number of modes whose lines are labelled


class ModeStrengthDisplay:
    """Plot the strength of each mode of a task over time.

    Each mode is a line with its number at the end. Colours range from dark for the
    first, strongest mode to bright. Exact strengths are dashed black lines.

    Parameters
    ----------
    times : array-like of shape (n_times,)
        Times in the units of `time_unit`.
    strengths : array-like of shape (n_times, n_modes)
        Simulated or measured strengths.
    exact : array-like of shape (n_times, n_modes) or None, default=None
        Exact strengths, such as from `mode_strength`.
    time_unit : str, default="τ"
        Name of the unit of time, such as "steps".

    Attributes
    ----------
    largest_error_ : float or None
        Largest absolute difference between `strengths` and `exact`.
    figure_ : matplotlib Figure
        Figure that contains the plot.
    ax_ : matplotlib Axes
        Axes of the plot.

    Raises
    ------
    ValueError
        If the shapes do not match.

    Examples
    --------
    >>> import numpy as np
    >>> from skdmn.analysis.deep_linear.modes import mode_strength
    >>> from skdmn.display.dynamics import ModeStrengthDisplay
    >>> times = np.linspace(0, 5, 50)
    >>> strengths = mode_strength(times, [3.0, 2.0, 1.0], 0.01)
    >>> ModeStrengthDisplay.from_arrays(times, strengths).ax_  # doctest: +SKIP
    """

    def __init__(
        self,
        times: ArrayLike,
        strengths: ArrayLike,
        exact: ArrayLike | None = None,
        time_unit: str = "τ",
    ) -> None:
        self.times = np.asarray(times, dtype=float)
        self.strengths = np.asarray(strengths, dtype=float)
        self.exact = None if exact is None else np.asarray(exact, dtype=float)
        self.time_unit = time_unit
        _check_course(self.times, self.strengths, "strengths")
        if self.exact is not None and self.exact.shape != self.strengths.shape:
            raise ValueError(
                f"exact has shape {self.exact.shape}, but strengths has "
                f"{self.strengths.shape}; pass both for the same times and modes."
            )

    @classmethod
    def from_arrays(
        cls,
        times: ArrayLike,
        strengths: ArrayLike,
        *,
        exact: ArrayLike | None = None,
        time_unit: str = "τ",
        ax: Any = None,
    ) -> Self:
        """Plot strengths over time.

        Parameters
        ----------
        times, strengths, exact, time_unit
            As in the class.
        ax : matplotlib Axes or None, default=None
            Axes to draw in. If None, a new figure is made.

        Returns
        -------
        ModeStrengthDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError
            If the shapes do not match.
        """
        return cls(times, strengths, exact, time_unit).plot(ax=ax)

    @classmethod
    def from_course(
        cls,
        course: LearningCourse,
        *,
        exact: ArrayLike | None = None,
        time_unit: str | None = None,
        ax: Any = None,
    ) -> Self:
        """Plot the result of `gradient_flow` or `gradient_descent`.

        Parameters
        ----------
        course : LearningCourse
            Result of a simulation.
        exact
            As in the class.
        time_unit : str or None, default=None
            Name of the unit of time. If None, that of the course.
        ax : matplotlib Axes or None, default=None
            Axes to draw in. If None, a new figure is made.

        Returns
        -------
        ModeStrengthDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError
            If the shapes do not match.
        """
        time_unit = course.time_unit if time_unit is None else time_unit
        return cls(course.times, course.strengths, exact, time_unit).plot(ax=ax)

    @classmethod
    def from_prediction(
        cls,
        prediction: LearningPrediction,
        run: Recorder | LearningCourse,
        *,
        ax: Any = None,
    ) -> Self:
        """Plot the strengths of modes in a run, and when half of them was predicted.

        Predictions are dots with error bars, at half of the final strength.

        Parameters
        ----------
        prediction : LearningPrediction
            Result of `predict_learning`, in the unit of time of the run.
        run : Recorder or LearningCourse
            Run of the network.
        ax : matplotlib Axes or None, default=None
            Axes to draw in. If None, a new figure is made.

        Returns
        -------
        ModeStrengthDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError
            If the network has other numbers of inputs or outputs than the data.
        """
        unit = run.unit if isinstance(run, Recorder) else run.time_unit
        strengths = prediction.strengths(run)
        display = cls(run.times, strengths, time_unit=unit).plot(ax=ax)
        low, times, high = (
            np.minimum(some, run.times[-1])
            for some in (prediction.earliest, prediction.half_times, prediction.latest)
        )
        half = prediction.final_strengths / 2
        shades = colours(len(half))
        for mode in np.flatnonzero(np.isfinite(prediction.half_times)):
            bar = [[times[mode] - low[mode]], [high[mode] - times[mode]]]
            style = {"fmt": "o", "color": shades[mode], "mec": "k", "capsize": 3}
            display.ax_.errorbar(times[mode], half[mode], xerr=bar, **style)
        display.ax_.plot([], [], "o", color="0.5", mec="k", label="predicted half")
        display.ax_.legend(fontsize=8)
        return display

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
        ax = axes_or_new(ax, (5.5, 3.8))
        n_modes = self.strengths.shape[1]
        compared = self.exact is not None
        lines = ax.plot(self.times, self.strengths, lw=4 if compared else 2)
        for line, colour in zip(lines, colours(n_modes), strict=True):
            line.set(color=colour, alpha=0.5 if compared else 1.0)
        if self.exact is not None:
            ax.plot(self.times, self.exact, "k--", lw=1)
            ax.plot([], [], color=colours(1)[0], lw=4, alpha=0.5, label="simulated")
            ax.plot([], [], "k--", lw=1, label="exact")
            ax.legend(fontsize=8)
        if n_modes <= _FEW:
            _name_ends(ax, self.times[-1], self.strengths[-1])
        ax.set_xlabel(f"time in {self.time_unit}")
        ax.set_ylabel("strength of modes" if n_modes > 1 else "strength of the mode")
        ax.set_xlim(self.times[0], self.times[-1])
        self.largest_error_ = (
            None
            if self.exact is None
            else float(np.abs(self.strengths - self.exact).max())
        )
        self.figure_, self.ax_ = ax.figure, ax
        return self


class SingularValueDisplay:
    """Plot singular values over time, or their cumulative distribution.

    Values below 1e-15 of the largest are rounding errors and are not drawn. In a
    distribution, the legend shows their share in each group.

    Parameters
    ----------
    groups : mapping of str to array-like
        Singular values of each group, by name. The shape is (n_times, n_values) if
        `times` is given. Otherwise it is arbitrary.
    times : array-like of shape (n_times,) or None, default=None
        Times of the values. If None, the distribution of each group is drawn.
    time_unit : str, default="τ"
        Name of the unit of time, such as "steps".

    Attributes
    ----------
    figure_ : matplotlib Figure
        Figure that contains the plot.
    ax_ : matplotlib Axes
        Axes of the plot.

    Raises
    ------
    ValueError
        If the shapes do not match, or no singular value is above 0.

    Examples
    --------
    >>> from skdmn.analysis.deep_linear.initial_weights import gaussian_weights
    >>> from skdmn.analysis.deep_linear.isometry import product_singular_values
    >>> from skdmn.display.dynamics import SingularValueDisplay
    >>> groups = {
    ...     f"{depth} layers": product_singular_values(
    ...         gaussian_weights([50] * (depth + 1), random_state=0)
    ...     )
    ...     for depth in (1, 10)
    ... }
    >>> SingularValueDisplay.from_values(groups).ax_  # doctest: +SKIP
    """

    def __init__(
        self,
        groups: Mapping[str, ArrayLike],
        times: ArrayLike | None = None,
        time_unit: str = "τ",
    ) -> None:
        self.groups = {
            name: np.asarray(values, dtype=float) for name, values in groups.items()
        }
        self.times = None if times is None else np.asarray(times, dtype=float)
        self.time_unit = time_unit
        if self.times is not None:
            for name, values in self.groups.items():
                _check_course(self.times, values, name)
        if not any((values > 0).any() for values in self.groups.values()):
            raise ValueError(
                "There is no singular value above 0 to draw; pass values of at least "
                "one matrix that is not zero."
            )

    @classmethod
    def from_course(
        cls,
        course: LearningCourse,
        *,
        time_unit: str | None = None,
        ax: Any = None,
    ) -> Self:
        """Plot the singular values of the product of all weights over time.

        Parameters
        ----------
        course : LearningCourse
            Result of `gradient_flow` or `gradient_descent`.
        time_unit : str or None, default=None
            Name of the unit of time. If None, that of the course.
        ax : matplotlib Axes or None, default=None
            Axes to draw in. If None, a new figure is made.

        Returns
        -------
        SingularValueDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        """
        groups = {"product": course.singular_values}
        time_unit = course.time_unit if time_unit is None else time_unit
        return cls(groups, course.times, time_unit).plot(ax=ax)

    @classmethod
    def from_evolution(
        cls,
        times: ArrayLike,
        groups: Mapping[str, ArrayLike],
        *,
        time_unit: str = "τ",
        ax: Any = None,
    ) -> Self:
        """Plot singular values over time, with a different line style for each group.

        Parameters
        ----------
        times, groups, time_unit
            As in the class.
        ax : matplotlib Axes or None, default=None
            Axes to draw in. If None, a new figure is made.

        Returns
        -------
        SingularValueDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError
            If the shapes do not match, or no singular value is above 0.
        """
        return cls(groups, times, time_unit).plot(ax=ax)

    @classmethod
    def from_values(cls, groups: Mapping[str, ArrayLike], *, ax: Any = None) -> Self:
        """Plot the cumulative distribution of the singular values of each group.

        Parameters
        ----------
        groups : mapping of str to array-like
            Singular values of each group, of any shape, by name.
        ax : matplotlib Axes or None, default=None
            Axes to draw in. If None, a new figure is made.

        Returns
        -------
        SingularValueDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        ValueError
            If no singular value is above 0.
        """
        return cls(groups).plot(ax=ax)

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
        ax = axes_or_new(ax, (5.5, 3.8))
        if self.times is None:
            self._plot_distributions(ax)
        else:
            self._plot_evolution(ax)
        if len(self.groups) > 1 or self.times is None:
            ax.legend(fontsize=8)
        self.figure_, self.ax_ = ax.figure, ax
        return self

    def _plot_evolution(self, ax: Any) -> None:
        """Draw singular values over time."""
        assert self.times is not None
        for i, (name, values) in enumerate(self.groups.items()):
            largest = values.max(axis=1, keepdims=True, initial=0.0)
            drawn = np.where(values > _ROUNDING * largest, values, np.nan)
            style = _STYLES[i % len(_STYLES)]
            lines = ax.plot(self.times, drawn, style, lw=1.5)
            for line, colour in zip(lines, colours(values.shape[1]), strict=True):
                line.set_color(colour)
            ax.plot([], [], style, color="0.3", label=name)
        ax.set(yscale="log", xlim=(self.times[0], self.times[-1]))
        ax.set_xlabel(f"time in {self.time_unit}")
        ax.set_ylabel("singular value (bright: smallest)")

    def _plot_distributions(self, ax: Any) -> None:
        """Draw the cumulative distribution of each group."""
        largest = max(values.max() for values in self.groups.values() if values.size)
        shades = colours(len(self.groups))
        least = largest
        for i, (name, values) in enumerate(self.groups.items()):
            ordered = np.sort(values, axis=None)
            shares = np.arange(1, ordered.size + 1) / max(ordered.size, 1)
            alive = ordered > _ROUNDING * ordered.max(initial=0.0)
            lost = 1 - alive.sum() / max(ordered.size, 1)
            least = min(least, ordered[alive].min(initial=least))
            ax.step(
                # extend the steps to both edges of the plot
                np.concatenate([[1e-100], ordered[alive], [1e100]]),
                np.concatenate([[lost], shares[alive], [1.0]]),
                _STYLES[i % len(_STYLES)],
                where="post",
                lw=2,
                color=shades[i],
                label=f"{name} ({lost:.0%} below rounding)" if lost else name,
            )
        ax.set(xscale="log", xlim=(least / 3, largest * 3), ylim=(-0.02, 1.02))
        ax.set_xlabel("singular value s")
        ax.set_ylabel("share of values up to s")


def _name_ends(ax: Any, time: float, values: np.ndarray) -> None:
    """Write the number of each mode at the right end of its line.

    Modes whose ends are too close for separate labels share one.
    """
    low, high = ax.get_ylim()
    groups: list[list[int]] = []
    for mode in np.argsort(values):
        near = groups and values[mode] - values[groups[-1][0]] < (high - low) / 22
        if near:
            groups[-1].append(int(mode))
        else:
            groups.append([int(mode)])
    for group in groups:
        ax.annotate(
            ", ".join(str(mode + 1) for mode in sorted(group)),
            (time, float(np.mean(values[group]))),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            annotation_clip=False,
        )


def _check_course(times: np.ndarray, values: np.ndarray, name: str) -> None:
    """Raise ValueError if values do not have one row for each time."""
    if times.ndim != 1 or values.ndim != 2 or len(values) != len(times):
        raise ValueError(
            f"{name} has shape {values.shape} and times {times.shape}; pass shapes "
            "(n_times, n_values) and (n_times,)."
        )
