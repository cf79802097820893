"""Diagnosis of fitted models with the theory of the papers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.linalg import qr
from sklearn.base import is_classifier
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils.validation import check_is_fitted

from skdmn.analysis.deep_linear.initial_weights import (
    PretrainingConsistency,
    pretraining_consistency,
)
from skdmn.analysis.deep_linear.simulation import correlations
from skdmn.analysis.density.convergence import convergence_from
from skdmn.analysis.density.spectrum import class_densities, overlap_gap
from skdmn.analysis.density.subspaces import filter_membership, variance_shares
from skdmn.analysis.pc_bias.learning_order import (
    critical_components,
    discriminability,
)
from skdmn.data import sizes
from skdmn.data.sliced import Sliced, is_sliceable
from skdmn.display.drawing import named
from skdmn.inspection.models import scores_of
from skdmn.inspection.page import HtmlPage
from skdmn.inspection.report import ClassReport, report_of
from skdmn.inspection.verdicts import judge
from skdmn.network.walking import each_layer, has_filters, steps_of
from skdmn.statistics.filters import OverlapGap, eigenbasis, n_components
from skdmn.utils.array_api import to_numpy
from skdmn.utils.labels import as_objects, draw, encode_labels, is_all

_BYTES = 2**28  # of the inputs of a layer, and of the matrices of its batches
_BATCHES = 50  # most batches from which the error of density matrices is estimated
_NEIGHBOURS = 10
_IN_SPAN = 0.5  # share of a component in the span of the filters that covers it
_WORTH = 0.01  # share of the variance, besides that of the first component, to be told
_LEAST = 1e-7  # share of the variance below which a component is rounding


@dataclass(frozen=True, eq=False, repr=False)
class LayerDiagnosis:
    """Filters of a layer, and the density matrices that they come from.

    Attributes
    ----------
    name, kind : str
        Name of the layer in the model, and of its class.
    layer : estimator
        The layer itself.
    patch : str
        Size of the patches in words.
    n_filters : int
        Number of filters, without the negatives that ``signs="both"`` appends.
    eigenvalues : ndarray of shape (n_matrices, d)
        Eigenvalues of the matrices that `variance_cutoff` acts on, as shares of the
        variance, largest first: the density matrix of each class, or of all patches.
    spectra : list of label
        Class of each row of `eigenvalues`; "all" for the matrix of all patches.
    variance_cutoff : float
        Cutoff of the layer.
    n_kept : ndarray of shape (n_matrices,), int
        Number of components within the cutoff, before filters are merged.
    overlap_gaps : list of OverlapGap
        Gap in the energies of each row of `eigenvalues`.
    classes : ndarray of shape (n_classes,)
        Labels in y that have at least three images, and patches that are not all 0. The
        following attributes have one entry for each.
    filters_per_class : ndarray of shape (n_classes,), int
        Number of filters that represent a class: a component of the class was kept as
        the filter or merged into it, see `filter_membership`. 0 if the layer is not
        class-based.
    variance_shares : ndarray of shape (n_filters, n_classes)
        Share of the variance of a class along each filter.
    covered : ndarray of shape (n_classes,)
        Share of the variance of a class in the span of all filters.
    n_images_fitted : ndarray of shape (n_classes,), int
        Number of images of a class that the layer was computed from; of all images if
        it is not class-based.
    images_needed : ndarray of shape (n_classes,), int
        Number of images of a class that give its density matrix the relative error
        `relative_error`, with a probability of 95 %.
    relative_error : float
        The argument of `diagnose`.
    errors : ndarray of shape (n_classes,)
        Relative error of the density matrix of a class for `n_images_fitted` images,
        exceeded with a probability of 5 %.
    components : ndarray of shape (d,)
        Eigenvalues of the mean of the classes' density matrices, largest first.
    separations : ndarray of shape (d,)
        For each of these components, the largest variance of a class along it, divided
        by the smallest; 1 if it is below 1e-7 of the total.
    in_span : ndarray of shape (d,)
        Share of each of these components that lies in the span of the filters.
    cutoffs : ndarray of shape (d,)
        Variance cutoff that would keep each of these components.
    """

    name: str
    kind: str
    layer: Any
    patch: str
    n_filters: int
    eigenvalues: np.ndarray
    spectra: list[Any]
    variance_cutoff: float
    n_kept: np.ndarray
    overlap_gaps: list[OverlapGap]
    classes: np.ndarray
    filters_per_class: np.ndarray
    variance_shares: np.ndarray
    covered: np.ndarray
    n_images_fitted: np.ndarray
    images_needed: np.ndarray
    relative_error: float
    errors: np.ndarray
    components: np.ndarray
    separations: np.ndarray
    in_span: np.ndarray
    cutoffs: np.ndarray

    def missed(self) -> tuple[int, float] | None:
        """Return the component outside of the filters that separates classes most.

        Returns
        -------
        (int, float) or None
            Rank of the component, from 1, and the variance cutoff that would keep it.
            Components with less than 1 % of the variance besides the first component
            do not count. None if the filters cover the components that separate
            classes most.
        """
        inside = self.in_span >= _IN_SPAN
        # in bright images, the first component holds most of the variance
        counts = self.components > _WORTH * (1 - self.components[0])
        outside = counts & ~inside
        if not outside.any() or not inside.any():
            return None
        rank = int(np.argmax(np.where(outside, self.separations, 0)))
        best = self.separations[inside].max()
        if self.separations[rank] < max(2.0, 1.5 * best):
            return None
        return rank + 1, float(self.cutoffs[rank])


@dataclass(frozen=True, eq=False, repr=False)
class HeadDiagnosis:
    """Features of a classifier, as the last step of a model sees them.

    Attributes
    ----------
    kind : str
        Name of the class of the classifier.
    n_features : int
        Number of features.
    n_constant : int
        Number of features that have the same value for all images.
    critical_components : ndarray of shape (n_images,) or None
        Number of principal components of the features that are needed to classify each
        image, see `critical_principal_component`; NaN if it is classified wrongly. None
        if the classifier is not linear.
    not_linear : str
        Reason why there are no critical components; empty if there are.
    n_components : int
        Number of principal components of the features of these images.
    consistency : PretrainingConsistency or None
        Score of the similarity of the task to the principal components of the features,
        see `pretraining_consistency`. None if labels and features are uncorrelated.
    neighbours : ndarray of shape (n_images,)
        Share of the nearest neighbours of each image that have its label, see
        `discriminability`.
    """

    kind: str
    n_features: int
    n_constant: int
    critical_components: np.ndarray | None
    not_linear: str
    n_components: int
    consistency: PretrainingConsistency | None
    neighbours: np.ndarray

    def accuracy_of_components(self) -> np.ndarray:
        """Return the share of images that the first components classify.

        Returns
        -------
        ndarray of shape (n_components,)
            Share of the images whose critical component is at most 1, 2, ...
        """
        assert self.critical_components is not None
        found = self.critical_components[~np.isnan(self.critical_components)]
        counts = np.bincount(found.astype(int), minlength=self.n_components + 1)
        return np.cumsum(counts[1:]) / len(self.critical_components)


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis(HtmlPage):
    """What a fitted model does with data, and why it fails; see `diagnose`.

    ``print`` shows the verdict in sentences. Notebooks show it with the plot, and
    ``to_html(path)`` writes both to a file.

    Attributes
    ----------
    model : str
        Names of the steps of the model.
    n_images : int
        Number of images that were used.
    chosen : ndarray of shape (n_images,), int
        Their indices in X.
    labels : ndarray of shape (n_images,)
        Their labels.
    classes : ndarray of shape (n_classes,)
        Labels in y.
    class_names : dict of label to str
        Names of the labels.
    images : ndarray or None
        The images that were used, if they are an array.
    layers : list of LayerDiagnosis
        Layers with filters, first layer first.
    head : HeadDiagnosis or None
        Features and classifier. None if the model does not end in a classifier.
    report : ClassReport or None
        Accuracy of classes, confusions and hardest images, with indices among the
        images that were used. None if the model does not end in a classifier.
    sentences : list of str
        The verdict.
    hints : list of str
        What to change, the most likely reason of a failure first. Empty if nothing was
        found.
    hardest_classes : list of (label, str)
        Classes of lowest accuracy, and why they are hard, in a sentence.
    hardest_images : list of (int, str)
        Indices in X of the images with the lowest probability of the true class, and
        why they are hard, in a sentence.

    See Also
    --------
    diagnose : Compute the diagnosis.

    Examples
    --------
    >>> from skdmn import make_dmn
    >>> from skdmn.datasets import load_digits_images
    >>> from skdmn.inspection import diagnose
    >>> X, y = load_digits_images()
    >>> dmn = make_dmn(n_layers=1).fit(X[:200], y[:200])
    >>> found = diagnose(dmn, X[200:300], y[200:300])
    >>> [layer.name for layer in found.layers], found.head.kind
    (['conv1'], 'SoftmaxClassifier')
    >>> print(found)  # doctest: +ELLIPSIS
    conv1 (ClassPCAPatchTransformer, patches of 3 x 3 x 1): 9 filters. ...
    >>> found.plot().savefig("diagnosis.png")  # doctest: +SKIP
    >>> found.to_html("diagnosis.html")  # doctest: +SKIP
    """

    model: str
    n_images: int
    chosen: np.ndarray
    labels: np.ndarray
    classes: np.ndarray
    class_names: dict[Any, str]
    images: Any
    layers: list[LayerDiagnosis]
    head: HeadDiagnosis | None
    report: ClassReport | None
    sentences: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    hardest_classes: list[tuple[Any, str]] = field(default_factory=list)
    hardest_images: list[tuple[int, str]] = field(default_factory=list)

    def plot(self, *, figure: Any = None) -> Any:
        """Draw one figure with a row for each layer, and one for the classifier.

        The result is the figure itself, not a display:
        ``found.plot().savefig("diagnosis.png")`` saves it.

        Parameters
        ----------
        figure : matplotlib Figure or None, default=None
            Figure to draw in. If None, a new figure is made.

        Returns
        -------
        matplotlib Figure
            `figure`, or the new one.

        Raises
        ------
        ImportError
            If matplotlib is missing.
        """
        from skdmn.inspection.diagnosis_plot import plot

        return plot(self, figure)

    def __str__(self) -> str:
        lines = [*self.sentences]
        if self.hints:
            lines += ["What to try:", *(f"- {hint}" for hint in self.hints)]
        for title, found in (
            ("Hardest classes:", self.hardest_classes),
            ("Hardest images:", self.hardest_images),
        ):
            lines += [title, *(f"- {text}" for _, text in found)] if found else []
        return "\n".join(lines)

    __repr__ = __str__

    _title = "Diagnosis"

    def _body(self) -> str:
        from skdmn.inspection.diagnosis_plot import body

        return body(self)


def diagnose(
    model: Any,
    X: Any,
    y: Any,
    *,
    class_names: Sequence[str] | None = None,
    relative_error: float = 0.05,
    n_hardest: int = 6,
    subsample: float = 1000,
    random_state: Any = 0,
) -> Diagnosis:
    """Diagnose a fitted model: its layers, its features, its errors, and their reasons.

    The functions of `skdmn.analysis` are applied to the model and to images: the
    spectra of its layers and their cutoffs, the directions in which the classes differ,
    the number of images that the density matrices need, and the principal components
    that the classifier needs.

    Parameters
    ----------
    model : estimator
        Fitted Pipeline, DensityMatrixNetwork or single layer, or a finished search over
        one, such as GridSearchCV or CutoffSearchCV, whose best estimator is used.
        Layers without density matrices, such as pooling, are run and not described.
    X : array-like of shape (n, height, width[, channels]) or (n, n_features)
        Images or rows, as in ``predict``. Images that the model was not fitted on show
        how it generalizes. A memory map or another source that is read by slices is
        allowed.
    y : array-like of shape (n,)
        Labels.
    class_names : sequence of str or None, default=None
        Name of each of the model's `classes_`, or of the sorted labels in y if the
        model is no classifier.
    relative_error : float, default=0.05
        Relative error of the density matrices for which the required number of images
        is estimated.
    n_hardest : int, default=6
        Number of hardest images and classes to name.
    subsample : float in (0, 1] or int, default=1000
        If float, the share of the images of each class that is used. If int, the
        largest number of images, drawn in proportion to the classes. 1.0 uses all.
    random_state : int, RandomState instance or None, default=0
        Seed for the draw of images.

    Returns
    -------
    Diagnosis
        ``print`` shows sentences, ``plot()`` returns a matplotlib Figure, and
        ``to_html(path)`` writes both to a page. The numbers are attributes.

    Raises
    ------
    TypeError
        If the model has neither layers with filters nor a classifier.
    ValueError
        If X and y do not fit the model, `class_names` has another length than there
        are labels, or `subsample` is less than the number of classes.
    NotFittedError
        If the model is not fitted.

    See Also
    --------
    class_report : Accuracy, confusions and calibration on all images.
    contributions : Divide the logits among pixels, regions and filters.

    Notes
    -----
    The images are read once, and pass through the steps of a Pipeline once. Besides
    them, the inputs of a layer take at most 256 MB (fewer images are used in deep
    layers if they would take more), and the features of the classifier take
    n_images x n_features numbers.

    Components are those of the mean of the classes' density matrices. Layers choose
    directions by their variance. If classes differ along directions of small variance,
    a variance cutoff removes what separates them; `LayerDiagnosis.missed` finds such a
    direction.

    Examples
    --------
    >>> from skdmn import make_dmn
    >>> from skdmn.datasets import load_digits_images
    >>> from skdmn.inspection import diagnose
    >>> X, y = load_digits_images()
    >>> dmn = make_dmn(n_layers=1).fit(X[:1000], y[:1000])
    >>> found = diagnose(dmn, X[1000:], y[1000:])
    >>> layer, = found.layers
    >>> layer.name, layer.n_filters, layer.eigenvalues.shape
    ('conv1', 10, (10, 9))
    >>> found.head.critical_components.shape, found.report.confusion_matrix.shape
    ((797,), (10, 10))
    >>> found.plot().savefig("diagnosis.png")  # doctest: +SKIP
    """
    model = getattr(model, "best_estimator_", model)
    check_is_fitted(model)
    steps = list(steps_of(model, ""))
    has_head = bool(steps) and is_classifier(steps[-1][1])
    if not has_head and not any(has_filters(one) for _, one in each_layer(model)):
        raise TypeError(
            f"{type(model).__name__} has neither a layer with density matrices nor a "
            "classifier; pass a fitted Pipeline, network, layer or search of skdmn."
        )
    n = int(X.shape[0]) if hasattr(X, "shape") else len(X)
    known, codes = encode_labels(y, n)
    names = named(to_numpy(model.classes_) if has_head else known, class_names)
    random = check_random_state(random_state)
    subsample = subsample if is_all(subsample) else _at_most(subsample, n)
    drawn = draw(codes, subsample, random)
    chosen = np.arange(n) if drawn is None else drawn
    X = X if drawn is None else _taken(X, chosen)
    labels = known[codes[chosen]]
    seed = random.randint(2**31 - 1)
    *body, head = steps if has_head else [*steps, ("", None)]

    def diagnosed(
        name: str, layer: Any, part: Any, there: np.ndarray
    ) -> LayerDiagnosis:
        return _layer(name, layer, part, labels[there], relative_error, seed)

    layers, features = _walk(body, X, codes[chosen], seed, diagnosed)
    result = Diagnosis(
        model=", ".join(type(step).__name__ for _, step in steps),
        n_images=len(chosen),
        chosen=chosen,
        labels=labels,
        classes=known,
        class_names=names,
        images=X if isinstance(X, np.ndarray) else None,
        layers=layers,
        head=_head(head[1], features, labels) if has_head else None,
        report=report_of(model, X, labels, n_hardest, features) if has_head else None,
    )
    return judge(result, n_hardest)


def _at_most(subsample: float, n: int) -> float:
    """Return the argument `subsample` of `draw`; raise if it is not valid."""
    is_float = isinstance(subsample, (float, np.floating))
    if isinstance(subsample, bool) or not (
        0 < subsample < 1 if is_float else subsample >= 1
    ):
        raise ValueError(
            f"subsample={subsample!r}; pass a number of images, or a share above 0 and "
            "at most 1.0."
        )
    return float(subsample) if is_float else 1.0 if subsample >= n else int(subsample)


def _taken(X: Any, chosen: np.ndarray) -> Any:
    """Return the images at ascending indices, in memory."""
    if hasattr(X, "iloc"):
        return X.iloc[chosen]
    if is_sliceable(X):
        return Sliced(X, "diagnose").read(chosen)
    if isinstance(X, list | tuple):
        return [X[index] for index in chosen]
    return X[chosen]


def _walk(
    steps: Sequence[tuple[str, Any]],
    X: Any,
    codes: np.ndarray,
    seed: int,
    diagnosed: Callable[[str, Any, Any, np.ndarray], LayerDiagnosis],
) -> tuple[list[LayerDiagnosis], Any]:
    """Pass images through steps; return diagnoses of layers, and the last output.

    Each layer with filters is diagnosed, given its input and the indices of the images
    in it. Images pass through the steps once, in batches, so that only these inputs are
    held. Inside of a network they pass once more up to its last layer with filters.
    """
    layers = []
    behind: list[Any] = []  # steps that X has yet to pass
    for known, step in steps:
        inside, images = list(behind), X
        for name, layer in each_layer(step, known):
            if has_filters(layer):
                check_is_fitted(layer)
                there = _that_fit(layer, codes, seed)
                if len(there) < len(codes):
                    part = _run(inside, _taken(images, there))
                else:
                    part = _run(inside, images)
                    if inside == behind:
                        X, behind = part, []
                    inside, images = [], part
                layers.append(diagnosed(name, layer, part, there))
            inside.append(layer)
        behind.append(step)
    return layers, _run(behind, X)


def _that_fit(layer: Any, codes: np.ndarray, seed: int) -> np.ndarray:
    """Return the indices of as many images as the input of a layer may hold."""
    image_bytes = 8 * int(np.prod(layer.image_shape_))
    most = max(len(np.unique(codes)), _BYTES // image_bytes)
    some = (
        draw(codes, int(most), check_random_state(seed)) if most < len(codes) else None
    )
    return np.arange(len(codes)) if some is None else some


def _run(layers: Sequence[Any], X: Any) -> Any:
    """Return the output of layers, one after another, computed in batches."""
    if not layers:
        return X
    n = int(X.shape[0]) if hasattr(X, "shape") else len(X)
    widest = max(
        (np.prod(getattr(layer, "output_shape_", 1)) for layer in layers), default=1
    )
    size = max(1, int(sizes.allowed(sizes.BATCH_BYTES) // (8 * widest)))
    parts = []
    for some in gen_batches(n, min(size, 512)):
        part = X.iloc[some] if hasattr(X, "iloc") else X[some]
        for layer in layers:
            part = layer.transform(part)
        parts.append(to_numpy(part) if hasattr(part, "shape") else np.asarray(part))
    return np.concatenate(parts)


def _layer(
    name: str,
    layer: Any,
    X: Any,
    labels: np.ndarray,
    relative_error: float,
    seed: int,
) -> LayerDiagnosis:
    """Diagnose a layer, given its input."""
    checked = layer._check_images(X, reset=False).data
    checked = checked.read(slice(None)) if isinstance(checked, Sliced) else checked
    images = to_numpy(checked)
    images = images.astype(np.float64) if images.dtype.kind == "f" else images
    some = _usable(images, labels)
    images, (classes, codes) = (
        images[some],
        np.unique(labels[some], return_inverse=True),
    )
    if not len(classes):
        raise ValueError(
            f"No class has three images that are not all 0 at layer {name!r}; pass "
            "more images."
        )
    d = int(np.prod(layer.filters_.shape[1:]))
    n_cells = int(np.prod(getattr(layer, "position_grid_", 1)))
    n_batches = int(np.clip(_BYTES // (8 * n_cells * d**2), 3, _BATCHES))

    def moments_of(members: np.ndarray, groups: np.ndarray) -> np.ndarray:
        return _moments(layer, images[members], groups)

    found = convergence_from(moments_of, classes, codes, n_batches, seed)
    n_filters = len(to_numpy(getattr(layer, layer._ranked_by[0])))
    filters = to_numpy(layer.filters_).astype(np.float64)
    n_filters = (
        n_filters // 2 if getattr(layer, "signs", "one") == "both" else n_filters
    )
    filters = filters[:n_filters].reshape(n_filters, -1)
    span = np.linalg.svd(filters, full_matrices=False)
    span = span[2][span[1] > 1e-6 * span[1][0]]
    shares, vectors = eigenbasis(found.densities.mean(axis=0))
    variances = np.einsum(
        "ki,cij,kj->ck", vectors, found.densities, vectors, optimize=True
    )
    variances = np.maximum(variances, _LEAST / d)
    ratios = variances.max(axis=0) / variances.min(axis=0)
    eigenvalues, spectra, n_kept = _spectrum(layer, found.densities, classes)
    fitted = _fitted_images(layer, classes)
    cells = "" if n_cells == 1 else f" in {n_cells} cells"
    shape = layer.filters_.shape[1:]
    return LayerDiagnosis(
        name=name or type(layer).__name__,
        kind=type(layer).__name__,
        layer=layer,
        patch=" x ".join(map(str, shape)) + (cells if len(shape) > 1 else " values"),
        n_filters=n_filters,
        eigenvalues=eigenvalues,
        spectra=spectra,
        variance_cutoff=layer.variance_cutoff,
        n_kept=n_kept,
        overlap_gaps=[overlap_gap(_energies(row)) for row in eigenvalues],
        classes=classes,
        filters_per_class=_filters_per_class(layer, classes, n_filters),
        variance_shares=variance_shares(
            filters / np.linalg.norm(filters, axis=1, keepdims=True), found.densities
        ),
        covered=np.einsum("si,cij,sj->c", span, found.densities, span, optimize=True),
        n_images_fitted=fitted,
        images_needed=found.enough(relative_error),
        relative_error=relative_error,
        errors=np.diagonal(found.errors(np.maximum(fitted, 1), confidence=0.95)).copy(),
        components=shares,
        separations=np.where(shares > _LEAST, ratios, 1.0),
        in_span=((vectors @ span.T) ** 2).sum(axis=1),
        cutoffs=np.cumsum(shares)
        if spectra == ["all"]
        else _cutoffs(found.densities, vectors, variances.argmax(axis=0)),
    )


def _cutoffs(
    densities: np.ndarray, vectors: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    """Return the cutoff at which the components of a class cover each vector.

    The class is the one that is given for each vector.
    """
    cutoffs = np.ones(len(vectors))
    for code in np.unique(classes):
        own = classes == code
        shares, basis = eigenbasis(densities[code])
        inside = np.cumsum((basis @ vectors[own].T) ** 2, axis=0) >= _IN_SPAN
        cutoffs[own] = np.cumsum(shares)[inside.argmax(axis=0)]
    return np.minimum(cutoffs, 1.0)


def _usable(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return which images are of classes that have a density matrix and an error."""
    codes = np.unique(labels, return_inverse=True)[1]
    there = images.reshape(len(images), -1).any(axis=1)
    usable = (np.bincount(codes) >= 3) & (np.bincount(codes, there) > 0)
    return usable[codes]


def _moments(layer: Any, images: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the mean second-moment matrix of the patches of each group of images.

    The patches are those of which the layer computes its density matrices, such as
    contrast-normalized ones. Those of all cells are combined.
    """
    sums = layer._empty_sums(int(groups.max()) + 1)
    sums.update(images, groups)
    d = sums.outer_products.shape[-1]
    moments = np.zeros((len(sums.n_images), d, d))
    n_patches = sums.n_patches.reshape(len(moments), -1).sum(axis=1)
    for index in np.ndindex(sums.n_patches.shape):
        matrix, trace, _ = sums.density_matrix(index)
        weight = trace * sums.n_patches[index] / n_patches[index[0]]
        moments[index[0]] += weight * matrix
    return moments


def _spectrum(
    layer: Any, densities: np.ndarray, classes: np.ndarray
) -> tuple[np.ndarray, list[Any], np.ndarray]:
    """Return the spectra that the variance cutoff acts on, and how much it keeps.

    The given density matrices are used if ``compact()`` left out those of the layer.
    """
    labels = as_objects(classes)
    if hasattr(layer, "_sums"):
        densities, labels = class_densities(layer), as_objects(layer.classes_)
    if hasattr(layer, "components_"):  # of the mean over classes
        rows = eigenbasis(densities.mean(axis=0))[0][np.newaxis]
        return rows, ["all"], np.array([len(layer.components_)])
    if not layer.class_based:
        densities, labels = densities.mean(axis=0, keepdims=True), ["all"]
    rows = np.array([eigenbasis(density)[0] for density in densities])
    kept = [
        n_components(row, layer.variance_cutoff) if row.any() else 0 for row in rows
    ]
    return rows, labels, np.array(kept)


def _energies(shares: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return -np.log(np.maximum(shares, 0.0))


def _filters_per_class(layer: Any, classes: np.ndarray, n: int) -> np.ndarray:
    """Return how many of the first n filters represent each class."""
    if not layer.class_based:
        return np.zeros(len(classes), dtype=np.intp)
    labels = as_objects(layer.classes_)
    if hasattr(layer, "filter_members_"):
        counts = filter_membership(layer).members[:n].sum(axis=0).tolist()
    else:
        own = as_objects(to_numpy(layer.filter_classes_))[:n]
        counts = [own.count(label) for label in labels]
    known = dict(zip(labels, counts, strict=True))
    return np.array([known.get(label, 0) for label in as_objects(classes)])


def _fitted_images(layer: Any, classes: np.ndarray) -> np.ndarray:
    """Return from how many images of each class a layer was computed."""
    counts = to_numpy(layer.class_counts_)
    if not layer.class_based:
        return np.full(len(classes), counts.sum())
    known = dict(zip(as_objects(layer.classes_), counts.tolist(), strict=True))
    return np.array([known.get(label, 0) for label in as_objects(classes)])


def _head(head: Any, features: Any, labels: np.ndarray) -> HeadDiagnosis:
    """Diagnose a classifier, given its features."""
    rows = np.asarray(features, dtype=np.float64).reshape(len(labels), -1)
    shape, n_constant = rows.shape, int((np.ptp(rows, axis=0) == 0).sum())
    basis = None
    if shape[1] > shape[0]:
        # nothing below depends on the basis, and images span few dimensions
        basis, triangle = qr(rows.T, mode="economic", overwrite_a=True)
        rows = triangle.T
    critical, reason = None, ""
    try:
        scores = scores_of(head)
    except TypeError as error:
        reason = str(error)
    else:
        coef = np.asarray(scores.coef, dtype=np.float64)
        intercept = scores.intercept - coef @ scores.mean
        coef = coef if basis is None else coef @ basis
        critical = critical_components(rows, labels, coef, intercept, scores.classes)
    k = min(_NEIGHBOURS, shape[0] - 1)
    return HeadDiagnosis(
        kind=type(head).__name__,
        n_features=shape[1],
        n_constant=n_constant,
        critical_components=critical,
        not_linear=reason,
        n_components=min(shape),
        consistency=_consistency(rows, labels),
        neighbours=discriminability(rows, labels, k),
    )


def _consistency(rows: np.ndarray, labels: np.ndarray) -> PretrainingConsistency | None:
    """Score the similarity of the task to the principal components of features."""
    sigma31, sigma11 = correlations(rows, labels, centered=True)
    if not np.abs(sigma31).max() > 1e-12 * np.sqrt(np.trace(sigma11)):
        return None
    return pretraining_consistency(sigma31, sigma11)
