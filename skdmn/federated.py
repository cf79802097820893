"""Fit on images at several sites, which exchange sums instead of images.

A coordinator calls `fit` with one object for each site. The object answers two methods,
those of `Site`; it may be a `Site` itself, or send the arguments to another machine and
return what a `Site` answers there. All arguments and answers can be pickled. Unpickling
can run code: exchange them only with sites that you trust.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from skdmn.layers.base import ImageTransformer, Labels
from skdmn.linear_model.ridge import IncrementalRidgeClassifier
from skdmn.network.network import DensityMatrixNetwork
from skdmn.statistics.accumulate import accumulate
from skdmn.statistics.ranges import ValueRange
from skdmn.utils.labels import encode_labels, union

__all__ = ["Request", "Site", "fit"]


@dataclass(frozen=True)
class Request:
    """Request for sums, which the coordinator sends to all sites.

    Attributes
    ----------
    network : DensityMatrixNetwork or None
        Network with the layers that are fitted so far, without their sums. None means
        that the classifier takes the images themselves.
    classes : ndarray of shape (n_classes,) or None
        Labels of all sites. None asks for one sum over all images.
    shape : (int, int, int) or None
        Shape of the images that the next layer takes.
    sums : object or None
        Sums over no images, to which a site adds its own. None asks for the statistics
        of `head`.
    head : IncrementalRidgeClassifier or None
        The classifier with its parameters.
    """

    network: DensityMatrixNetwork | None
    classes: np.ndarray | None
    shape: tuple[int, int, int] | None = None
    sums: Any = None
    head: IncrementalRidgeClassifier | None = None


class Site:
    """Images and labels of one site, which stay there.

    Parameters
    ----------
    X : array-like of shape (n, height, width[, channels]) or (n, n_features)
        Images or rows, as in the `fit` of the estimator.
    y : array-like of shape (n,)
        Labels. Sites may have different ones.

    See Also
    --------
    fit : Fits an estimator on several sites.

    Examples
    --------
    >>> from skdmn.datasets import load_digits_images
    >>> from skdmn.federated import Site
    >>> X, y = load_digits_images()
    >>> Site(X[:500], y[:500]).describe()["n_images"]
    500
    """

    def __init__(self, X: Any, y: Any) -> None:
        self.X, self.y = X, y

    def describe(self) -> dict[str, Any]:
        """Return what the coordinator must know before the first request.

        Returns
        -------
        dict
            "n_images", "shape" of one image, its "dtype", and the "classes".
        """
        X = self.X if hasattr(self.X, "dtype") else np.asarray(self.X)
        classes, _ = encode_labels(self.y, len(X))
        return {
            "n_images": len(X),
            "shape": tuple(X.shape[1:]),
            "dtype": str(X.dtype),
            "classes": classes,
        }

    def answer(self, request: Request) -> tuple[Any, Any]:
        """Compute the sums that a request asks for.

        Parameters
        ----------
        request : Request

        Returns
        -------
        sums : object
            Sums over the images of this site. They contain no image and no features of
            a single image.
        seen : ValueRange
            Range of the values of the images.
        """
        network, head = request.network, request.head
        if head is not None:
            rows = self.X if network is None else network.lazy_features(self.X)
            found = head.statistics(rows, self.y, classes=request.classes)
            found.sums.leave_rows_out()
            return found, ValueRange.empty()
        assert network is not None
        assert request.shape is not None
        images = network._check_images(self.X, reset=False)
        codes = np.zeros(len(images), dtype=np.int64)
        if request.classes is not None:
            _, codes = encode_labels(self.y, len(images), request.classes)
        stream = network._stream(images, network.layers_, request.shape)
        sums = accumulate(stream, codes, copy.deepcopy(request.sums), lambda done: None)
        return sums, ValueRange.of(images.data)


def fit(estimator: Any, sites: Sequence[Any]) -> Any:
    """Fit an estimator of skdmn on the images of several sites.

    Up to rounding, the result is that of the estimator's own `fit` on the images of all
    sites in one place. Every layer that learns and the classifier take one request to
    each site, or two for layers that need a first look.

    Parameters
    ----------
    estimator : layer, DensityMatrixNetwork, IncrementalRidgeClassifier or Pipeline
        Estimator to fit. A Pipeline has layers, or one network, and optionally an
        IncrementalRidgeClassifier as its last step.
    sites : sequence of Site, or of objects with the same methods
        The sites.

    Returns
    -------
    estimator
        The same object, fitted. If an error stops the fit, it is not changed.

    Raises
    ------
    TypeError
        If the estimator is not one of these.
    ValueError
        If the sites have images of different shapes or dtypes, or a layer has
        `subsample` other than 1.0.

    Notes
    -----
    Sums are not anonymous. Second moments of few images, in particular of fewer images
    than features, determine much of these images; and sums over a site differ from
    those without one of its images by this image. Nothing is added to hide that.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from skdmn import IncrementalRidgeClassifier, make_dmn
    >>> from skdmn.datasets import load_digits_images
    >>> from skdmn.federated import Site, fit
    >>> X, y = load_digits_images()
    >>> sites = [Site(X[i:1500:5], y[i:1500:5]) for i in range(5)]
    >>> layers = make_dmn(n_layers=1, kernel_size=2, pool_size=2)[:-1]
    >>> dmn = fit(make_pipeline(*layers, IncrementalRidgeClassifier()), sites)
    >>> dmn.score(X[1500:], y[1500:]) > 0.9
    True
    """
    layers, head = _split(estimator)
    about = [site.describe() for site in sites]
    classes = _common_classes(about)
    network, learned = None, []
    if layers:
        is_network = isinstance(layers[0][1], DensityMatrixNetwork)
        network = (
            copy.copy(layers[0][1])
            if is_network
            else DensityMatrixNetwork.from_pipeline(Pipeline(layers))
        )
        network._fit_elsewhere(
            about[0]["shape"],
            about[0]["dtype"],
            classes,
            len(classes),
            check=lambda layer: layer._check_uses_all_images("federated.fit"),
            gather=partial(_gathered, sites, classes),
        )
        learned = [network] if is_network else [layer for _, layer in network.layers_]
        network = network.compact()
    if head is not None:
        ask = Request(network, classes, head=clone(head))
        answers = [site.answer(ask)[0] for site in sites]
        total = answers[0]
        for found in answers[1:]:
            total = total + found
        learned.append(clone(head).finish(total))
    steps = [step for _, step in layers] + ([] if head is None else [head])
    for step, fitted in zip(steps, learned, strict=True):
        step.__dict__ = fitted.__dict__.copy()
    return estimator


def _gathered(
    sites: Sequence[Any],
    classes: np.ndarray,
    layer: ImageTransformer,
    network: DensityMatrixNetwork,
    labels: Labels,
    sums: Any,
    by_class: bool,
) -> Any:
    """Add the sums of all sites to those of a layer."""
    by_class = by_class and np.array_equal(labels.classes, classes)
    shape = layer.image_shape_
    ask = Request(network, classes if by_class else None, shape, copy.deepcopy(sums))
    is_first = network._range is not None and network._range.is_empty
    for site in sites:
        found, seen = site.answer(ask)
        sums.merge(found)
        if is_first and network._range is not None:
            network._range.merge(seen)
    return sums


def _split(estimator: Any) -> tuple[list[tuple[str, Any]], Any]:
    """Return an estimator's layers, or its network, and its classifier."""
    steps = [("estimator", estimator)]
    if isinstance(estimator, Pipeline):
        steps = list(estimator.steps)
    head = None
    if isinstance(steps[-1][1], IncrementalRidgeClassifier):
        head = steps.pop()[1]
    for _, step in steps:
        is_layer = isinstance(step, ImageTransformer)
        if not is_layer or (isinstance(step, DensityMatrixNetwork) and len(steps) > 1):
            raise TypeError(
                f"{type(step).__name__} cannot be fitted on sums of sites; pass layers "
                "of skdmn or one DensityMatrixNetwork, an IncrementalRidgeClassifier, "
                "or a Pipeline of these with the classifier last."
            )
    return steps, head


def _common_classes(about: Sequence[dict[str, Any]]) -> np.ndarray:
    """Return the labels of all sites; raise if their images differ in kind."""
    if not about:
        raise ValueError("There are no sites; pass at least one.")
    for name in ("shape", "dtype"):
        kinds = {one[name] for one in about}
        if len(kinds) > 1:
            raise ValueError(
                f"The images of the sites have different {name}s, among them "
                f"{about[0][name]} and {(kinds - {about[0][name]}).pop()}; convert "
                "them to the same first."
            )
    classes = about[0]["classes"]
    for one in about[1:]:
        classes = union(classes, one["classes"])
    return classes
