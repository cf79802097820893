"""Figure and HTML of a diagnosis."""

from __future__ import annotations

import html
import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from skdmn.display.drawing import colours, is_strip, pyplot, shortened
from skdmn.inspection.display import as_picture
from skdmn.inspection.html import STYLE, address
from skdmn.utils.labels import as_objects

if TYPE_CHECKING:
    from skdmn.inspection.diagnosis import Diagnosis, HeadDiagnosis, LayerDiagnosis
    from skdmn.inspection.report import HardImage

_COVERED, _MISSED, _WRONG = "#2166ac", "#f4a582", "#b2182b"
_MOST = 20  # classes in a bar chart, and spectra with a legend
_MARKERS = "osD^vPX<>*"


def plot(found: Diagnosis, figure: Any = None) -> Any:
    """Draw a diagnosis: a row for each layer, and one for the classifier."""
    rows = len(found.layers) + (found.head is not None)
    if figure is None:
        figure = pyplot().figure(figsize=(13.5, 3.9 * rows), layout="constrained")
    parts = np.atleast_1d(figure.subfigures(rows, 1, hspace=0.03))
    for part, layer in zip(parts, found.layers, strict=False):
        part.suptitle(
            f"{layer.name} ({layer.kind}): {_filters(layer.n_filters)} of "
            f"{layer.patch}",
            fontsize=11,
            fontweight="bold",
        )
        spectrum, components, classes = part.subplots(
            1, 3, gridspec_kw={"width_ratios": [1.1, 1, 1.1]}
        )
        _draw_spectrum(spectrum, layer, found)
        _draw_components(components, layer)
        _draw_shares(classes, layer, found)
    if found.head is not None:
        _draw_head(parts[-1], found)
    return figure


def _name(found: Diagnosis, label: Any) -> str:
    return shortened(found.class_names.get(label, str(label)))


def _filters(n: int) -> str:
    return "1 filter" if n == 1 else f"{n} filters"


def _plain(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
    axis.title.set_fontsize(10)


def _draw_spectrum(axis: Any, layer: LayerDiagnosis, found: Diagnosis) -> None:
    """Draw the eigenvalues, filled up to the cutoff."""
    n = len(layer.eigenvalues)
    ranks = np.arange(1, layer.eigenvalues.shape[1] + 1)
    for i, (row, colour) in enumerate(zip(layer.eigenvalues, colours(n), strict=True)):
        drawn = np.where(row > 1e-12, row, np.nan)
        style = {"color": colour, "marker": _MARKERS[i % len(_MARKERS)], "ms": 4}
        label = layer.spectra[i]
        name = "all patches" if label == "all" else _name(found, label)
        axis.plot(ranks, drawn, lw=0.7, mfc="none", mew=0.7, **style)
        kept = layer.n_kept[i]
        axis.plot(ranks[:kept], drawn[:kept], ls="none", **style, label=name)
    axis.set(yscale="log", xlabel="rank of component", ylabel="share of variance")
    axis.set_title(
        f"Spectrum (filled: within variance_cutoff={layer.variance_cutoff:g})"
    )
    if 1 < n <= _MOST:
        axis.legend(
            fontsize=7, ncols=1 if n <= 6 else 2, frameon=False, handletextpad=0.2
        )
    _plain(axis)


def _draw_components(axis: Any, layer: LayerDiagnosis) -> None:
    """Draw how much classes differ along each component, and what filters cover."""
    heights = np.maximum(layer.separations, 1)
    some = layer.components > 1e-7
    ranks = np.arange(1, len(heights) + 1)[some]
    inside = (layer.in_span >= 0.5)[some]
    axis.set_yscale("log")
    for which, colour, label in (
        (inside, _COVERED, "covered by filters"),
        (~inside, _MISSED, "not covered"),
    ):
        if which.any():
            tops = heights[some][which]
            axis.bar(ranks[which], tops - 1, 0.85, 1, color=colour, label=label)
    top = max(2.0, 1.2 * heights.max() ** 1.3)
    axis.set(ylim=(1, top), xlabel="component of all classes")
    axis.set_ylabel("variance: largest / smallest class")
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 1000, 1e4) if tick < top]
    axis.set_yticks(ticks, [f"{tick:g}x" for tick in ticks])
    axis.minorticks_off()
    axis.set_title("How much classes differ")
    axis.legend(fontsize=8, frameon=False, loc="upper right")
    _plain(axis)


def _draw_shares(axis: Any, layer: LayerDiagnosis, found: Diagnosis) -> None:
    """Draw how much of each class the filters hold, with numbers of images."""
    order = np.argsort(layer.covered, kind="stable")[:_MOST]
    labels = as_objects(layer.classes)
    places = np.arange(len(order))[::-1]
    axis.barh(places, layer.covered[order], 0.7, color="#92c5de")
    size = 8 if len(order) <= 12 else 6.5
    for place, at in zip(places, order, strict=True):
        fitted, needed = layer.n_images_fitted[at], layer.images_needed[at]
        own = layer.filters_per_class[at]
        text = f"{_filters(own)}, " if own else ""
        text += f"{fitted:,d} images, needs {needed:,d}"
        colour = _WRONG if 0 < fitted < needed else "black"
        axis.text(0.02, place, text, va="center", fontsize=size, color=colour)
    axis.set_yticks(places, [_name(found, labels[at]) for at in order])
    axis.set(xlim=(0, 1), xlabel="share of the variance in the span of the filters")
    axis.set_title(f"Classes (needs: for an error of {layer.relative_error:.0%})")
    _plain(axis)


def _draw_head(part: Any, found: Diagnosis) -> None:
    """Draw what the classifier needs, and where it is wrong."""
    head, report = found.head, found.report
    assert head is not None
    assert report is not None
    part.suptitle(
        f"{head.kind}: accuracy {report.accuracy:.1%} on {report.n_images:,d} images",
        fontsize=11,
        fontweight="bold",
    )
    curve, classes, images = part.subplots(
        1, 3, gridspec_kw={"width_ratios": [1.1, 1, 1.1]}
    )
    _draw_critical(curve, head, report.accuracy)
    order = np.argsort(np.nan_to_num(report.class_accuracy, nan=2), kind="stable")
    order = order[report.counts[order] > 0][:_MOST]
    labels, places = as_objects(report.classes), np.arange(len(order))[::-1]
    classes.barh(places, report.class_accuracy[order], 0.7, color="#92c5de")
    taken = {one.true: one.predicted for one in reversed(report.confusions)}
    size = 8 if len(order) <= 12 else 6.5
    for place, at in zip(places, order, strict=True):
        text = f"{report.class_accuracy[at]:.0%}"
        if labels[at] in taken:
            text += f", else most often {_name(found, taken[labels[at]])}"
        classes.text(0.02, place, text, va="center", fontsize=size)
    classes.set_yticks(places, [_name(found, labels[at]) for at in order])
    classes.set(xlim=(0, 1), xlabel="share of images that are recognized")
    classes.set_title("Classes, hardest first")
    _plain(classes)
    _draw_hardest(images, found)


def _draw_critical(axis: Any, head: HeadDiagnosis, accuracy: float) -> None:
    """Draw the accuracy by number of components of the features."""
    axis.set_title("Components of the features that are needed")
    if head.critical_components is None:
        axis.text(0.5, 0.5, "the classifier is not linear", ha="center", fontsize=9)
        axis.set_axis_off()
        return
    shares = head.accuracy_of_components()
    ranks = np.arange(1, len(shares) + 1)
    axis.step(ranks, shares, where="post", color=_COVERED, lw=2)
    axis.axhline(accuracy, color="0.5", ls=":", lw=1)
    axis.set(xscale="log", ylim=(0, 1.02), xlabel="number of principal components")
    axis.set_ylabel("share of images classified from here on")
    if head.consistency is not None:
        found = head.consistency
        text = (
            f"agreement of task and components: {found.score:.2f}\n"
            f"(labels at random: {found.chance:.2f})"
        )
        axis.text(0.97, 0.05, text, transform=axis.transAxes, ha="right", fontsize=8)
    _plain(axis)


def _draw_hardest(axis: Any, found: Diagnosis) -> None:
    """Draw the hardest images."""
    assert found.report is not None
    axis.set_title("Hardest images: class, answer (red: wrong)")
    axis.title.set_fontsize(10)
    axis.set_axis_off()
    shown = [
        (one, picture)
        for one in found.report.hardest
        if (picture := _picture(found, one)) is not None
    ][:6]
    columns = 3
    rows = max(1, math.ceil(len(shown) / columns))
    for at, (one, picture) in enumerate(shown):
        row, column = divmod(at, columns)
        box = [column / columns + 0.02, 1 - (row + 1) / rows, 0.3, 0.76 / rows]
        inner = axis.inset_axes(box)
        aspect = "auto" if is_strip(picture) else "equal"
        inner.imshow(as_picture(picture), interpolation="nearest", aspect=aspect)
        names = [_name(found, label) for label in (one.true, one.predicted)]
        colour = "black" if one.true == one.predicted else _WRONG
        inner.set_title("\n".join(names), fontsize=8, pad=2, color=colour)
        inner.set(xticks=[], yticks=[])
    if not shown:
        axis.text(0.5, 0.5, "no pictures", ha="center", fontsize=9)


def _picture(found: Diagnosis, one: HardImage) -> np.ndarray | None:
    """Return an image of shape (height, width, channels), or None."""
    picture = one.image
    if found.images is not None and found.images.ndim > 2:
        picture = found.images[one.index]  # dense layers take images as rows
        picture = picture if picture.ndim == 3 else picture[..., np.newaxis]
    if picture is not None and picture.shape[:2] == (1, 1):
        picture = picture.reshape(1, -1, 1)
    return picture


def body(found: Diagnosis) -> str:
    """Return a diagnosis as an HTML element."""
    file = io.BytesIO()
    figure = plot(found)
    figure.savefig(file, format="png", dpi=80)
    pyplot().close(figure)
    parts = [f'<h1>Diagnosis</h1>\n<p class="muted">{html.escape(found.model)}</p>']
    for title, lines in (
        ("", found.sentences),
        ("What to try", found.hints),
        ("Hardest classes", [text for _, text in found.hardest_classes]),
        ("Hardest images", [text for _, text in found.hardest_images]),
    ):
        if lines:
            items = "\n".join(f"<li>{html.escape(line)}</li>" for line in lines)
            parts.append((f"<h2>{title}</h2>\n" if title else "") + f"<ul>{items}</ul>")
    picture = f'<img alt="Plot of the diagnosis" width="100%" src="{address(file)}">'
    inside = "\n".join([*parts, picture])
    return f'<div class="skdmn">\n<style>{STYLE}</style>\n{inside}\n</div>'
