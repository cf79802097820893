"""Class reports as HTML, with pictures inside."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from skdmn._version import __version__
from skdmn.display.drawing import pyplot
from skdmn.inspection.display import as_picture, heat_limit, heat_map
from skdmn.utils.labels import as_objects

if TYPE_CHECKING:
    from skdmn.inspection.report import Calibration, ClassReport, HardImage

_MANY = 25  # largest number of classes whose confusion matrix is shown
_PAIRS = 10  # number of confused pairs in the table

# `.skdmn` keeps the styles from the rest of a notebook
STYLE = """
.skdmn {font: 15px/1.45 system-ui, sans-serif; color: #1b1f24; background: #fff;
  max-width: 62rem; margin: 0 auto; padding: 1rem}
.skdmn h1 {font-size: 1.6rem; margin: 0 0 .3rem}
.skdmn h2 {font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #d5dae0}
.skdmn p {margin: .4rem 0; max-width: 46rem}
.skdmn table {border-collapse: collapse; margin: .5rem 0; color: inherit}
.skdmn th, .skdmn td {padding: .2rem .6rem; text-align: right; background: none;
  border-bottom: 1px solid #e6e9ed; font-variant-numeric: tabular-nums}
.skdmn th {font-weight: 600} .skdmn .text {text-align: left}
.skdmn .matrix {overflow-x: auto} .skdmn .matrix td {text-align: center}
.skdmn .numbers {display: flex; flex-wrap: wrap; gap: 2rem; margin: .8rem 0}
.skdmn .numbers b {display: block; font-size: 1.5rem; font-weight: 600}
.skdmn .side {display: flex; flex-wrap: wrap; gap: 2rem; align-items: flex-start}
.skdmn .cards {display: flex; flex-wrap: wrap; gap: 1rem}
.skdmn .card {border: 1px solid #d5dae0; border-radius: 6px; padding: .6rem}
.skdmn .card div {display: flex; gap: .5rem}
.skdmn figure {margin: 0; width: 104px; font-size: .78rem; overflow-wrap: anywhere}
.skdmn figure img {width: 104px; image-rendering: pixelated; display: block}
.skdmn .muted {color: #5b6570}
"""


def body(report: ClassReport) -> str:
    """Return a report as an HTML element.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    """
    pyplot()
    parts = [
        _head(report),
        _classes(report),
        _confusion_section(report),
        _calibration_section(report.calibration),
        _hardest_section(report),
        f'<p class="muted">skdmn {__version__}</p>',
    ]
    inside = "\n".join(parts)
    return f'<div class="skdmn">\n<style>{STYLE}</style>\n{inside}\n</div>'


def _text(value: Any) -> str:
    return html.escape(str(value))


def _share(value: float) -> str:
    return "none" if np.isnan(value) else f"{100 * value:.1f} %"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]], n_texts: int) -> str:
    """Return a table of escaped cells, whose first columns are text."""

    def line(kind: str, cells: Iterable[str]) -> str:
        marks = [' class="text"' if at < n_texts else "" for at in range(99)]
        inside = (
            f"<{kind}{mark}>{cell}</{kind}>"
            for mark, cell in zip(marks, cells, strict=False)
        )
        return f"<tr>{''.join(inside)}</tr>"

    lines = [line("th", head), *(line("td", row) for row in rows)]
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _head(report: ClassReport) -> str:
    n_right = int(report.confusion_matrix.diagonal().sum())
    numbers = [
        (_share(report.accuracy), "accuracy"),
        (
            f"{report.n_images:,}",
            f"images, {report.n_images - n_right:,} of them wrong",
        ),
        (str(len(report.classes)), "classes"),
    ]
    if report.calibration is not None:
        error = _share(report.calibration.expected_error)
        numbers.append((error, "expected calibration error"))
    cells = "".join(f"<div><b>{value}</b>{what}</div>" for value, what in numbers)
    return (
        f'<h1>Class report</h1>\n<p class="muted">{_text(report.model)}</p>\n'
        f'<div class="numbers">{cells}</div>'
    )


def _classes(report: ClassReport) -> str:
    worst = {one.true: one for one in reversed(report.confusions)}
    rows, labels = [], as_objects(report.classes)
    for at in np.argsort(np.nan_to_num(report.class_accuracy, nan=2), kind="stable"):
        confused = worst.get(labels[at])
        rows.append(
            [
                _text(report.classes[at]),
                f"{report.counts[at]:,}",
                _share(report.class_accuracy[at]),
                _share(report.class_precision[at]),
                f"{_text(confused.predicted)} ({confused.count:,})" if confused else "",
            ]
        )
    head = ["class", "images", "recognized", "precision", "most often taken for"]
    return (
        "<h2>Accuracy per class</h2>\n<p>Recognized: share of the images of a class "
        "that were predicted as this class. Precision: share of right answers among "
        "the images that were predicted as it. Worst classes first.</p>\n"
        + _table(head, rows, 1)
    )


def _confusion_section(report: ClassReport) -> str:
    if not report.confusions:
        return "<h2>Confusions</h2>\n<p>No image was confused.</p>"
    rows = [
        [_text(one.true), _text(one.predicted), f"{one.count:,}", _share(one.share)]
        for one in report.confusions[:_PAIRS]
    ]
    pairs = _table(["class", "taken for", "images", "share of the class"], rows, 2)
    parts = [f"<h2>Confusions</h2>\n<div><p>Most confused pairs</p>{pairs}</div>"]
    if len(report.classes) <= _MANY:
        parts.append(_matrix(report))
    return "\n".join(parts)


def _matrix(report: ClassReport) -> str:
    """Return the confusion matrix as a table with shades."""
    lines = [
        "<tr><th></th>"
        + "".join(f"<th>{_text(label)}</th>" for label in report.classes)
        + "</tr>"
    ]
    for at, (label, row) in enumerate(
        zip(report.classes, report.confusion_matrix, strict=True)
    ):
        cells = []
        for other, count in enumerate(row.tolist()):
            share = count / max(1, row.sum())
            rgb = "33, 102, 172" if at == other else "178, 24, 43"
            shade = f"background: rgba({rgb}, {0.85 * np.sqrt(share):.2f})"
            white = "; color: #fff" if share > 0.3 else ""
            cells.append(f'<td style="{shade}{white}">{count or ""}</td>')
        lines.append(f'<tr><th class="text">{_text(label)}</th>{"".join(cells)}</tr>')
    return (
        "<p>Number of images by true class (rows) and predicted class (columns)</p>\n"
        '<div class="matrix"><table>\n' + "\n".join(lines) + "\n</table></div>"
    )


def _calibration_section(calibration: Calibration | None) -> str:
    title = "<h2>Calibration</h2>\n"
    if calibration is None:
        return f"{title}<p>The model gives no probabilities.</p>"
    edges, rows = calibration.edges, []
    for at, count in enumerate(calibration.counts.tolist()):
        if count:
            rows.append(
                [
                    f"{edges[at]:.2f} to {edges[at + 1]:.2f}",
                    f"{count:,}",
                    _share(calibration.confidence[at]),
                    _share(calibration.accuracy[at]),
                ]
            )
    table = _table(["confidence", "images", "mean confidence", "accuracy"], rows, 1)
    return (
        f"{title}<p>The confidence of an answer is the probability of the predicted "
        "class. It should be equal to the share of right answers. The mean difference "
        "is the expected calibration error, "
        f"{_share(calibration.expected_error)}.</p>\n"
        f'<div class="side"><img alt="Accuracy against confidence" '
        f'src="{_curve(calibration)}">{table}</div>'
    )


def _curve(calibration: Calibration) -> str:
    """Return the reliability curve as the address of a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 3.4), layout="constrained")
    curve, below = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": [4, 1]}
    )
    curve.plot([0, 1], [0, 1], color="0.7", lw=1)
    there = calibration.counts > 0
    curve.plot(
        calibration.confidence[there],
        calibration.accuracy[there],
        "o-",
        color="#2166ac",
    )
    curve.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
    widths = np.diff(calibration.edges)
    below.bar(
        calibration.edges[:-1],
        calibration.counts,
        widths,
        align="edge",
        color="#92c5de",
    )
    below.set(xlabel="confidence", ylabel="images")
    for axis in (curve, below):
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return address(file)


def _hardest_section(report: ClassReport) -> str:
    if not report.hardest:
        return ""
    parts = ["<h2>Hardest images</h2>"]
    if report.unexplained:
        parts.append(f"<p>No heat maps: {_text(report.unexplained)}</p>")
    else:
        parts.append(
            "<p>Images with the lowest probability of the true class. Heat maps show "
            "what the pixels contribute to the logits of the true and the predicted "
            "class: red pixels speak for it, blue ones against it. The maps of an "
            "image have the same colour scale.</p>"
        )
    cards = "\n".join(_card(one) for one in report.hardest)
    return "\n".join([*parts, f'<div class="cards">\n{cards}\n</div>'])


def _card(one: HardImage) -> str:
    """Return an image with its heat maps."""
    answer = "" if np.isnan(one.probability) else f", p = {one.probability:.3f}"
    which = _text(one.name or f"image {one.index}")
    captions = [f"{which}: class {_text(one.true)}{answer}"]
    pictures = [] if one.image is None else [as_picture(one.image)]
    if one.for_true is None or one.for_predicted is None:
        captions[0] += f", taken for {_text(one.predicted)}"
    else:
        maps = [why.pixels[0].sum(axis=2) for why in (one.for_true, one.for_predicted)]
        limit = heat_limit(np.stack(maps))
        captions.append(f"for {_text(one.true)}: logit {one.for_true.logits[0]:.1f}")
        pictures.append(heat_map(pictures[0], maps[0], limit))
        if one.predicted != one.true:
            logit = one.for_predicted.logits[0]
            captions.append(f"for {_text(one.predicted)}: logit {logit:.1f}")
            pictures.append(heat_map(pictures[0], maps[1], limit))
    figures = [
        f'<figure><img alt="" src="{_picture(picture)}">{caption}</figure>'
        for picture, caption in zip(pictures, captions, strict=False)
    ]
    inside = "".join(figures) or f"<p>{captions[0]}</p>"
    return f'<div class="card"><div>{inside}</div></div>'


def _picture(rgb: np.ndarray) -> str:
    """Return an RGB array as the address of a picture."""
    from matplotlib.image import imsave

    file = io.BytesIO()
    imsave(file, np.clip(rgb, 0, 1), format="png")
    return address(file)


def address(file: io.BytesIO) -> str:
    """Return a PNG file as an address that contains it."""
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
