"""Verdicts of a diagnosis, in sentences."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from skdmn.utils.labels import as_objects

if TYPE_CHECKING:
    from skdmn.inspection.diagnosis import Diagnosis, HeadDiagnosis, LayerDiagnosis
    from skdmn.inspection.report import ClassReport, HardImage

_DOMINANT = 0.9  # share of one component that leaves little for the others
_LITTLE = 0.5  # share of a class's variance that its filters should hold
_CONSTANT = 0.1  # share of features without information that is worth a hint
_LATE = 0.5  # share of the components after which an image is learned late


def judge(found: Diagnosis, n_hardest: int) -> Diagnosis:
    """Add sentences, hints, and the hardest classes and images to a diagnosis."""
    names = found.class_names
    for layer in found.layers:
        found.sentences.extend(_layer_sentences(layer, names))
        found.hints.extend(_layer_hints(layer, names))
    if found.head is None or found.report is None:
        return found
    found.sentences.extend(_head_sentences(found.head, found.report))
    found.hints.extend(_head_hints(found.head, found.layers))
    labels = as_objects(found.labels)
    found.hardest_classes.extend(_hard_classes(found, labels, n_hardest))
    for one in found.report.hardest:
        index = int(found.chosen[one.index])
        found.hardest_images.append((index, _why_image(found, one, index)))
    return found


def _some(labels: Any, names: dict[Any, str], most: int = 4) -> str:
    """Return some names of classes, for a sentence."""
    shown = [repr(names.get(label, str(label))) for label in labels[:most]]
    more = len(labels) - most
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _range(values: np.ndarray, form: str) -> str:
    """Return the range of values in words, or one value."""
    low, high = (format(value, form) for value in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def _layer_sentences(layer: LayerDiagnosis, names: dict[Any, str]) -> list[str]:
    d = layer.eigenvalues.shape[1]
    of = "of a class" if len(layer.spectra) > 1 else "of all patches"
    what = "rows" if layer.patch.endswith("values") else "patches"
    limit = ", as n_filters allows" if layer.n_filters == layer.layer.n_filters else ""
    text = (
        f"{layer.name} ({layer.kind}, {what} of {layer.patch}): {layer.n_filters} "
        f"filter{'s' * (layer.n_filters != 1)}{limit}. variance_cutoff="
        f"{layer.variance_cutoff:g} keeps {_range(layer.n_kept, 'd')} of {d} "
        f"components {of}; the filters hold {_range(layer.covered, '.0%')} of the "
        "variance of a class."
    )
    sentences = [text]
    if layer.spectra != ["all"] and len(layer.spectra) > 1:
        own = layer.filters_per_class
        without = [
            c for c, n in zip(as_objects(layer.classes), own, strict=True) if not n
        ]
        if without:
            sentences.append(
                f"{layer.name}: no filter represents class {_some(without, names)}; "
                "the filters of other classes came first."
            )
    needed, at = layer.images_needed, int(layer.images_needed.argmax())
    label = names.get(as_objects(layer.classes)[at], "")
    sentences.append(
        f"{layer.name}: for a relative error of {layer.relative_error:.0%} of its "
        f"density matrix, a class needs {_range(needed, ',d')} "
        f"{'image' if needed.max() == 1 else 'images'} (most: {label!r}); the layer "
        f"has seen {_range(layer.n_images_fitted, ',d')}{_because(layer)}."
    )
    return sentences


def _layer_hints(layer: LayerDiagnosis, names: dict[Any, str]) -> list[str]:
    hints = []
    missed = layer.missed()
    if missed is not None:
        rank, cutoff = missed
        inside = layer.in_span >= 0.5
        hints.append(
            f"{layer.name}: the filters miss component {rank}, along which the classes "
            f"differ {layer.separations[rank - 1]:.1f}-fold in variance; along the "
            "components that they cover, the classes differ at most "
            f"{layer.separations[inside].max():.1f}-fold. {_keep(layer, cutoff)}"
        )
    elif layer.n_filters < len(layer.classes) and layer.covered.min() < _DOMINANT:
        hints.append(
            f"{layer.name}: {layer.n_filters} filters are fewer than the "
            f"{len(layer.classes)} classes; raise variance_cutoff, n_filters or "
            "correlation_cutoff."
        )
    first = layer.eigenvalues[:, 0]
    if first.min() > _DOMINANT and layer.eigenvalues.shape[1] > 1:
        hints.append(
            f"{layer.name}: the first component alone holds {_range(first, '.1%')} of "
            "the variance, which is typical of bright images; use variance_cutoff="
            "0.999 with n_filters, or WhitenedPCAPatchTransformer, which subtracts the "
            "mean of each patch."
        )
    behind = [
        (gap, row[gap.n_overlap :].sum())
        for gap, row, kept in zip(
            layer.overlap_gaps, layer.eigenvalues, layer.n_kept, strict=True
        )
        if 1 < gap.n_overlap < kept
    ]
    if behind:
        gap, share = max(behind, key=lambda pair: pair[0].width)
        hints.append(
            f"{layer.name}: a gap of {gap.width:.1f} nats follows component "
            f"{gap.n_overlap}. The components before it describe the overlap of "
            f"patches; those after it hold {share:.0e} of the variance. Put a pooling "
            "layer or an OverlapPruner before this layer."
        )
    fitted = layer.n_images_fitted
    ways = ["a smaller kernel"] * (not layer.patch.endswith("values"))
    if _because(layer):
        ways.insert(0, "a larger subsample")
    short = (fitted > 0) & (layer.images_needed > fitted)
    if short.any():
        labels = [as_objects(layer.classes)[i] for i in np.flatnonzero(short)]
        hints.append(
            f"{layer.name}: the density matrices of class {_some(labels, names)} have "
            f"a relative error of up to {layer.errors[short].max():.0%}"
            f"{_because(layer)}; use {', '.join(ways)} or more images (up to "
            f"{layer.images_needed[short].max():,d} of a class). The leading "
            "components need fewer."
        )
    return hints


def _because(layer: LayerDiagnosis) -> str:
    """Return the reason, if a layer has seen only a part of the images."""
    subsample = getattr(layer.layer, "subsample", 1.0)
    is_all = isinstance(subsample, float) and subsample == 1.0
    return "" if is_all else f", because subsample={subsample}"


def _keep(layer: LayerDiagnosis, cutoff: float) -> str:
    """Return what to change so that a component is kept."""
    if cutoff > layer.variance_cutoff:
        # rounded up, in as many digits as tell it from 1
        digits = 1 + math.ceil(-math.log10(max(1 - cutoff, 1e-8)))
        cutoff = min(1.0, math.ceil(cutoff * 10**digits) / 10**digits)
        return f"Set variance_cutoff={cutoff:.{digits}g} or more."
    return "It is within variance_cutoff; raise n_filters or correlation_cutoff."


def _head_sentences(head: HeadDiagnosis, report: ClassReport) -> list[str]:
    chance = report.counts.max() / report.n_images
    sentences = [
        f"{head.kind}: accuracy {report.accuracy:.1%} on {report.n_images:,d} images "
        f"of {int((report.counts > 0).sum())} classes; always answering the largest "
        f"class gives {chance:.1%}."
    ]
    critical = head.critical_components
    if critical is not None and not np.isnan(critical).all():
        half, most = np.nanquantile(critical, [0.5, 0.9], method="higher")
        sentences.append(
            f"{head.kind}: of the images that are classified correctly, half need the "
            f"first {half:.0f} of {head.n_components} principal components of the "
            f"features, and 90 % the first {most:.0f}."
        )
    if head.consistency is not None:
        found = head.consistency
        sentences.append(
            f"{head.kind}: the directions of the task agree with the principal "
            f"components of the features with a score of {found.score:.2f} (1: each is "
            f"a component; labels at random: {found.chance:.2f})."
        )
    sentences.append(
        f"{head.kind}: {head.neighbours.mean():.0%} of the nearest neighbours of an "
        "image, by its features, have its label."
    )
    return sentences


def _head_hints(head: HeadDiagnosis, layers: list[LayerDiagnosis]) -> list[str]:
    hints = []
    share = head.n_constant / head.n_features
    if share > _CONSTANT:
        one_sided = any(
            getattr(one.layer, "signs", "both") == "one" and one.layer.activation
            for one in layers
        )
        hints.append(
            f"{head.kind}: {share:.0%} of the {head.n_features} features have the same "
            "value for all images. "
            + (
                'Set signs="both", so that a ReLU loses no information.'
                if one_sided
                else "Filters whose output has one sign on all images give them; "
                "subtract the mean of the images, or use WhitenedPCAPatchTransformer."
            )
        )
    return hints


def _hard_classes(
    found: Diagnosis, labels: list[Any], n_hardest: int
) -> list[tuple[Any, str]]:
    """Return the classes of lowest accuracy, and why they are hard."""
    report, names = found.report, found.class_names
    assert report is not None
    order = np.argsort(np.nan_to_num(report.class_accuracy, nan=2), kind="stable")
    classes = as_objects(report.classes)
    hard = []
    for at in order[:n_hardest]:
        accuracy, label = report.class_accuracy[at], classes[at]
        if np.isnan(accuracy) or accuracy == 1:
            continue
        reasons = _why_class(found, label, np.array([one == label for one in labels]))
        taken = next((one for one in report.confusions if one.true == label), None)
        text = f"{names.get(label, str(label))!r}: {accuracy:.0%} recognized"
        if taken is not None:
            other = names.get(taken.predicted, str(taken.predicted))
            text += f", most often taken for {other!r}"
        hard.append((label, f"{text}; {'; '.join(reasons)}."))
    return hard


def _why_class(found: Diagnosis, label: Any, own: np.ndarray) -> list[str]:
    """Return the reasons why a class is hard."""
    head, report = found.head, found.report
    assert head is not None
    assert report is not None
    reasons = []
    if head.critical_components is not None:
        critical = head.critical_components[own]
        critical, usual = (
            values[~np.isnan(values)] for values in (critical, head.critical_components)
        )
        if len(critical) and np.median(critical) > 1.25 * np.median(usual):
            reasons.append(
                f"its images need {np.median(critical):.0f} components of the features "
                f"(all classes: {np.median(usual):.0f})"
            )
    share = head.neighbours[own].mean()
    reasons.append(f"{share:.0%} of its neighbours are of the same class")
    for layer in found.layers:
        known = as_objects(layer.classes)
        if label not in known:
            continue
        at = known.index(label)
        if layer.covered[at] < min(_LITTLE, 0.9 * np.median(layer.covered)):
            reasons.append(
                f"the filters of {layer.name} hold {layer.covered[at]:.0%} of its "
                "variance"
            )
        if 0 < layer.n_images_fitted[at] < layer.images_needed[at]:
            reasons.append(
                f"{layer.name} has seen {layer.n_images_fitted[at]:,d} of the "
                f"{layer.images_needed[at]:,d} images that it needs"
            )
    return reasons


def _why_image(found: Diagnosis, one: HardImage, index: int) -> str:
    """Return why an image is hard, in a sentence."""
    head, names = found.head, found.class_names
    assert head is not None
    true, predicted = (names.get(one.true, str(one.true)), str(one.predicted))
    predicted = names.get(one.predicted, predicted)
    text = f"{one.name or f'image {index}'}: {true!r}"
    if one.true != one.predicted:
        text += f" taken for {predicted!r}"
    if not np.isnan(one.probability):
        text += f", probability of {true!r} {one.probability:.1%}"
    reasons = []
    if one.for_true is not None and one.for_predicted is not None:
        reasons += _why_logits(one, names)
    if head.critical_components is not None:
        critical = head.critical_components[one.index]
        if critical > _LATE * head.n_components:
            reasons.append(f"it needs {critical:.0f} components of the features")
    share = head.neighbours[one.index]
    reasons.append(f"{share:.0%} of its neighbours are of its class")
    return f"{text}; {'; '.join(reasons)}."


def _why_logits(one: HardImage, names: dict[Any, str]) -> list[str]:
    """Return which region speaks most for the predicted instead of the true class."""
    assert one.for_true is not None
    assert one.for_predicted is not None
    if one.true == one.predicted:
        return []
    regions = one.for_predicted.by_region[0] - one.for_true.by_region[0]
    if regions.size == 1:
        return []
    row, column = np.unravel_index(regions.argmax(), regions.shape)
    down = ("top", "middle", "bottom")[int(3 * (row + 0.5) / regions.shape[0])]
    across = ("left", "centre", "right")[int(3 * (column + 0.5) / regions.shape[1])]
    parts = [
        part for part, n in zip((down, across), regions.shape, strict=True) if n > 1
    ]
    predicted = names.get(one.predicted, str(one.predicted))
    return [f"its {' '.join(parts)} speaks most for {predicted!r}"]
