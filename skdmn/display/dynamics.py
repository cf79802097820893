"""The course of learning as pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skdmn.analysis.deep_linear.simulation import LearningCourse
from skdmn.display.drawing import axes_or_new, colours

_STYLES = ["-", "--", "-.", ":"]
_ROUNDING = 1e-15  # of the largest: singular values below say nothing
_FEW = 12  # modes that can be named at the end of their lines


class ModeStrengthDisplay:
    """Draw how strongly each mode of a task has been learned over time.

    Each mode is a line, from dark (the strongest) to bright, with its number at the
    end; exact courses are dashed black lines over it.

    Parameters
    ----------
    times : array-like of shape (n_times,)
        In the units of `time_unit`.
    strengths : array-like of shape (n_times, n_modes)
        Simulated or measured.
    exact : array-like of shape (n_times, n_modes) or None
        Exact strengths, as from `mode_strength`.
    time_unit : str, default="τ"
        What times are counted in, such as "steps".

    Attributes
    ----------
    largest_error_ : float or None
        Largest difference between `strengths` and `exact`.
    figure_ : matplotlib Figure
    ax_ : matplotlib Axes

    Raises
    ------
    ValueError
        Where the shapes do not fit each other.

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
                f"{self.strengths.shape}; pass the same times and modes."
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
        """Draw strengths over time."""
        return cls(times, strengths, exact, time_unit).plot(ax=ax)

    @classmethod
    def from_course(
        cls,
        course: LearningCourse,
        *,
        exact: ArrayLike | None = None,
        time_unit: str = "τ",
        ax: Any = None,
    ) -> Self:
        """Draw what `gradient_flow` returned, or `gradient_descent`, with its unit.

        The times of `gradient_descent` are steps: pass ``time_unit="steps"``.
        """
        return cls(course.times, course.strengths, exact, time_unit).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> Self:
        """Draw, in `ax` where one is given.

        Parameters
        ----------
        ax : matplotlib Axes or None
            None makes new ones.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            Where matplotlib is missing.
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
        ax.set_ylabel("strength of the mode" + ("s" if n_modes > 1 else ""))
        ax.set_xlim(self.times[0], self.times[-1])
        self.largest_error_ = (
            None
            if self.exact is None
            else float(np.abs(self.strengths - self.exact).max())
        )
        self.figure_, self.ax_ = ax.figure, ax
        return self


class SingularValueDisplay:
    """Draw singular values: how they evolve, or how they are distributed.

    Values below 1e-15 of the largest are rounding and not drawn; in a distribution
    the legend says which share of a group they are.

    Parameters
    ----------
    groups : mapping of str to array-like
        Singular values by name: of shape (n_times, n_values) where there are `times`,
        else of any shape: their cumulative distribution is drawn.
    times : array-like of shape (n_times,) or None
        When the values were taken. None draws the distribution of each group.
    time_unit : str, default="τ"
        What times are counted in, such as "steps".

    Attributes
    ----------
    figure_ : matplotlib Figure
    ax_ : matplotlib Axes

    Raises
    ------
    ValueError
        Where the shapes do not fit each other, or there is nothing to draw.

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
            raise ValueError("There is no singular value above 0 to draw.")

    @classmethod
    def from_course(
        cls,
        course: LearningCourse,
        *,
        time_unit: str = "τ",
        ax: Any = None,
    ) -> Self:
        """Draw how the product's values evolve, as `gradient_flow` found them."""
        groups = {"product": course.singular_values}
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
        """Draw values over time, each group with lines of its own style."""
        return cls(groups, times, time_unit).plot(ax=ax)

    @classmethod
    def from_values(cls, groups: Mapping[str, ArrayLike], *, ax: Any = None) -> Self:
        """Draw the distribution of each group."""
        return cls(groups).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> Self:
        """Draw, in `ax` where one is given.

        Parameters
        ----------
        ax : matplotlib Axes or None
            None makes new ones.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            Where matplotlib is missing.
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
                # from the left edge to the right one
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
    """Write the numbers of modes behind the ends of their lines, not over each other.

    Modes that end closer than a line of text share one.
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
    if times.ndim != 1 or values.ndim != 2 or len(values) != len(times):
        raise ValueError(
            f"{name} has shape {values.shape} and times {times.shape}; pass one row "
            "of values for each time."
        )
