"""Plots of contributions: heat maps over images, and filters for and against."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skdmn.display.drawing import draw_filter, is_strip, pyplot, shortened
from skdmn.inspection.contributions import Contributions, contributions
from skdmn.utils.array_api import to_numpy

_COLOURS = "RdBu_r"  # red for, blue against
_QUANTILE = 0.99  # of the values, at which the colours end


class ContributionDisplay:
    """Plot what images contributed to logits: heat maps, and filters for and against.

    Each row shows an image, what its pixels contribute to the logit of a class, and the
    filters that contribute most. The title of the image names the class whose logit is
    explained and, if the model answers another class, the answer. Red pixels speak for
    the class, and blue ones against it. The logit is the sum of a bias and of all
    pixels. The title of a filter has the class that it was computed from, its
    contribution, and the share of this in the sum of the absolute contributions of all
    filters.

    Parameters
    ----------
    contributions : Contributions
        What to plot, as returned by `contributions`.
    probabilities : array-like of shape (n,) or None, default=None
        Probability of each target, for the titles.
    max_images : int, default=6
        Largest number of images to draw; the first ones are drawn.
    n_filters : int, default=3
        Largest number of filters to draw that speak for the class, and against it.
    answers : array-like of shape (n,) or None, default=None
        Label that the model predicts for each image, for the titles.
    answer_probabilities : array-like of shape (n,) or None, default=None
        Probability of each answer, for the titles.
    share_scale : bool, default=False
        If True, all heat maps have one colour scale, so that rows can be compared. If
        False, each row has its own, so that no row is blank.

    Attributes
    ----------
    limits_ : ndarray of shape (n_images,)
        Contribution at which the colours of the heat map of each row end.
    figure_ : matplotlib Figure
        Figure that contains the plots.
    axes_ : ndarray of matplotlib Axes, of shape (n_images, n_columns)
        Axes of the image, the heat map and the filters of each row.

    See Also
    --------
    contributions : Compute the contributions.
    FilterDisplay : Plot all filters of a layer.

    Notes
    -----
    A heat map has the sum over the channels of a pixel. Its colours end at the 99th
    percentile of the absolute values of its row, or of all rows with `share_scale`.
    Filters are drawn as by `FilterDisplay`, but each has its own colour scale.

    Examples
    --------
    >>> from skdmn import recommended_dmn
    >>> from skdmn.datasets import load_digits_images
    >>> from skdmn.inspection import ContributionDisplay
    >>> X, y = load_digits_images()
    >>> dmn = recommended_dmn(X.shape[1:], n_filters=30).fit(X[:1000], y[:1000])
    >>> display = ContributionDisplay.from_estimator(dmn, X[1000:])  # doctest: +SKIP
    """

    def __init__(
        self,
        contributions: Contributions,
        probabilities: ArrayLike | None = None,
        *,
        max_images: int = 6,
        n_filters: int = 3,
        answers: ArrayLike | None = None,
        answer_probabilities: ArrayLike | None = None,
        share_scale: bool = False,
    ) -> None:
        self.contributions = contributions
        self.probabilities = probabilities
        self.max_images = max_images
        self.n_filters = n_filters
        self.answers = answers
        self.answer_probabilities = answer_probabilities
        self.share_scale = share_scale

    @classmethod
    def from_estimator(
        cls,
        model: Any,
        X: Any,
        target: Any = None,
        *,
        max_images: int = 6,
        n_filters: int = 3,
        share_scale: bool = False,
    ) -> Self:
        """Compute the contributions of the first images, and plot them.

        Parameters
        ----------
        model : classifier
            Fitted classifier, as in `contributions`.
        X : array-like of shape (n, height, width[, channels]) or (n, n_features)
            Images or rows. The first `max_images` are used.
        target : label, array-like of shape (n,) or None, default=None
            Class whose logit is explained: one label for all images, or one for each,
            such as the true labels. None for the answer of the model to each image.
        max_images : int, default=6
            Largest number of images to draw.
        n_filters : int, default=3
            Largest number of filters to draw for the class, and against it.
        share_scale : bool, default=False
            If True, all heat maps have one colour scale.

        Returns
        -------
        ContributionDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        TypeError, ValueError, NotFittedError
            As `contributions` does.
        """
        pyplot()  # raises before work starts
        X = X[:max_images]
        if target is not None and np.ndim(target) == 1:
            target = target[:max_images]
        found = contributions(model, X, target)
        probabilities, answers, of_answers = _answers(model, X, found.target)
        return cls.from_contributions(
            found,
            probabilities,
            max_images=max_images,
            n_filters=n_filters,
            answers=answers,
            answer_probabilities=of_answers,
            share_scale=share_scale,
        )

    @classmethod
    def from_contributions(
        cls,
        contributions: Contributions,
        probabilities: ArrayLike | None = None,
        *,
        max_images: int = 6,
        n_filters: int = 3,
        answers: ArrayLike | None = None,
        answer_probabilities: ArrayLike | None = None,
        share_scale: bool = False,
    ) -> Self:
        """Plot contributions that were computed before.

        Parameters
        ----------
        contributions : Contributions
            Result of `contributions`.
        probabilities : array-like of shape (n,) or None, default=None
            Probability of each target, for the titles.
        max_images : int, default=6
            Largest number of images to draw; the first ones are drawn.
        n_filters : int, default=3
            Largest number of filters to draw for the class, and against it.
        answers : array-like of shape (n,) or None, default=None
            Label that the model predicts for each image, for the titles.
        answer_probabilities : array-like of shape (n,) or None, default=None
            Probability of each answer, for the titles.
        share_scale : bool, default=False
            If True, all heat maps have one colour scale.

        Returns
        -------
        ContributionDisplay

        Raises
        ------
        ImportError
            If matplotlib is missing.
        """
        display = cls(
            contributions,
            probabilities,
            max_images=max_images,
            n_filters=n_filters,
            answers=answers,
            answer_probabilities=answer_probabilities,
            share_scale=share_scale,
        )
        return display.plot()

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
        found = self.contributions
        n_rows = min(self.max_images, len(found))
        n_filters = 0 if found.filters is None else self.n_filters
        n_columns = 2 + 2 * n_filters
        maps = found.pixels[:n_rows].sum(axis=3)
        self.limits_ = np.array([heat_limit(one) for one in maps])
        if self.share_scale:
            self.limits_[:] = heat_limit(maps)
        if figure is None:
            size = (1.35 * n_columns + 2.3, 1.7 * n_rows + 0.5)
            figure = pyplot().figure(figsize=size, layout="constrained")
        widths = [1.3, 1.2, *[1] * (n_columns - 2)]  # room for titles
        axes = figure.subplots(
            n_rows, n_columns, squeeze=False, gridspec_kw={"width_ratios": widths}
        )
        for axis in axes.flat:
            axis.set_axis_off()
        for row in range(n_rows):
            picture = as_picture(found.images[row])
            _show(axes[row, 0], picture, self._title(row))
            heat = heat_map(picture, maps[row], self.limits_[row])
            _show(axes[row, 1], heat, self._sum(row, maps[row].sum()))
            _draw_bar(figure, axes[row, 1], self.limits_[row])
            if n_filters:
                self._draw_filters(axes[row, 2:], row)
        what = "Contributions to the logit of a class: red for it, blue against it"
        if n_filters:
            what += "\nFilters: class of origin, contribution and its share"
        figure.suptitle(what, fontsize=9)
        self.figure_, self.axes_ = figure, axes
        return self

    def _title(self, row: int) -> str:
        """Return the class that a row explains, and the answer if it is another."""
        target = self.contributions.target[row]
        title = f"for class {_named(target, self.probabilities, row)}"
        if self.answers is None or (answer := np.asarray(self.answers)[row]) == target:
            return title
        return f"{title}\nanswer {_named(answer, self.answer_probabilities, row)}"

    def _sum(self, row: int, of_pixels: float) -> str:
        """Return the logit of a row as a sum."""
        logit, bias = self.contributions.logits[row], self.contributions.pixel_bias[row]
        sign = "-" if of_pixels < 0 else "+"
        pixels = f"{sign} {abs(of_pixels):.2f} (pixels)"
        return f"logit {logit:.2f} =\n{bias:.2f} (bias) {pixels}"

    def _draw_filters(self, axes: Any, row: int) -> None:
        """Draw the filters with the largest and the smallest contributions."""
        found = self.contributions
        values, n = found.by_filter[row], len(axes) // 2
        filters, total = found.filters, np.abs(values).sum()
        order = np.argsort(-values, kind="stable")
        chosen = [*order[:n][values[order[:n]] > 0]]
        chosen += [None] * (n - len(chosen))
        chosen += [i for i in order[::-1][:n] if values[i] < 0]
        for axis, index in zip(axes, chosen, strict=False):
            if index is None:
                continue
            draw_filter(axis, filters[index])  # type: ignore[index]
            share = abs(values[index]) / total
            name = shortened(found.filter_classes[index], 12)
            axis.set_title(
                f"{name}\n{values[index]:+.2f} ({share:.0%})",
                fontsize=8,
                color="tab:red" if values[index] > 0 else "tab:blue",
            )


def _named(label: Any, probabilities: ArrayLike | None, row: int) -> str:
    """Return the name of a label, and its probability if that is known."""
    name = shortened(label, 12)
    if probabilities is None:
        return name
    return f"{name} (p = {np.asarray(probabilities)[row]:.2f})"


def _draw_bar(figure: Any, axis: Any, limit: float) -> None:
    """Draw the colour bar of a heat map."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = ScalarMappable(Normalize(-limit, limit), _COLOURS)
    ticks = [-limit, 0, limit]
    bar = figure.colorbar(scale, ax=axis, shrink=0.9, pad=0.03, ticks=ticks)
    bar.ax.set_yticklabels([f"{tick:.2g}" for tick in ticks])
    bar.ax.tick_params(labelsize=7, length=2, pad=1)


def _answers(
    model: Any, X: Any, labels: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray | None]:
    """Return the probabilities of labels, the answers, and their probabilities."""
    if not hasattr(model, "predict_proba"):
        return None, to_numpy(model.predict(X)), None
    rows, classes = to_numpy(model.predict_proba(X)), to_numpy(model.classes_)
    codes = np.searchsorted(classes, labels)
    return (
        rows[np.arange(len(rows)), codes],
        classes[rows.argmax(axis=1)],
        rows.max(axis=1),
    )


def heat_limit(maps: np.ndarray) -> float:
    """Return the contribution at which the colours of heat maps end."""
    values = np.abs(maps)
    return float(np.quantile(values, _QUANTILE) or values.max() or 1.0)


def as_picture(image: np.ndarray) -> np.ndarray:
    """Return an image (height, width, channels) as RGB from 0 to 1.

    Images of three channels are colour images. For other numbers of channels, the mean
    of the channels is shown in grey. White is the largest value of the image, and black
    is 0, or the smallest value if that is negative.
    """
    picture = image.astype(np.float64)
    if picture.shape[2] != 3:
        picture = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2)
    low = min(0.0, picture.min())
    return (picture - low) / ((picture.max() - low) or 1.0)


def heat_map(picture: np.ndarray, values: np.ndarray, limit: float) -> np.ndarray:
    """Return an RGB picture of contributions over a pale grey image.

    Parameters
    ----------
    picture : ndarray of shape (height, width, 3)
        Image, from 0 to 1.
    values : ndarray of shape (height, width)
        Contributions of the pixels.
    limit : float
        Contribution at which the colours end.

    Returns
    -------
    ndarray of shape (height, width, 3)
    """
    relative = np.clip(values / limit, -1, 1)
    colours = pyplot().colormaps[_COLOURS](0.5 + 0.5 * relative)[..., :3]
    pale = 0.6 + 0.4 * picture.mean(axis=2, keepdims=True)
    weight = np.sqrt(np.abs(relative))[..., np.newaxis]
    return weight * colours + (1 - weight) * pale


def _show(axis: Any, picture: np.ndarray, title: str) -> None:
    aspect = "auto" if is_strip(picture) else "equal"
    axis.imshow(picture, interpolation="nearest", aspect=aspect)
    axis.set_title(title, fontsize=8)
