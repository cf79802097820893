"""Functions that fit and use estimators of skdmn on dask arrays."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np
from dask.delayed import delayed
from sklearn import config_context, get_config
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skdmn.distributed.blocks import (
    Blocks,
    checked,
    checked_block,
    collected,
    floats_of,
    sizes_of,
    small_neighbours,
)
from skdmn.distributed.layers import fit_network
from skdmn.distributed.ridge import fit_ridge
from skdmn.distributed.softmax import fit_softmax
from skdmn.layers.base import ImageTransformer
from skdmn.linear_model.base import _LinearClassifier
from skdmn.linear_model.ridge import IncrementalRidgeClassifier
from skdmn.network.network import DensityMatrixNetwork
from skdmn.utils.labels import check_sample_weight

Steps = list[tuple[str, Any]]


def fit(estimator: Any, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """Fit an estimator of skdmn on a dask array.

    Up to rounding, the result is that of the estimator's own `fit` in one process.

    Parameters
    ----------
    estimator : layer, DensityMatrixNetwork, classifier of skdmn or Pipeline of these
        Estimator to fit. A Pipeline has layers, or one network, and optionally a
        classifier (SoftmaxClassifier, IncrementalRidgeClassifier) as its last step.
    X : dask array of shape (n, height, width[, channels]) or (n, n_features)
        Images or rows in blocks of NumPy arrays. Blocks are used along the first axis;
        chunks along other axes are merged. Blocks may differ in size and may be empty.
    y : dask array or array-like of shape (n,), or None, default=None
        Labels. They are collected in this process. If X has blocks of unknown size,
        pass a dask array with the same blocks.
    sample_weight : dask array or array-like of shape (n,), or None, default=None
        Weights of the images, for the SoftmaxClassifier only.

    Returns
    -------
    estimator
        The same object, fitted. It holds NumPy arrays and does not need Dask. If an
        error or an interrupt stops the fit, it is not changed.

    Raises
    ------
    TypeError
        If X is not a dask array, or the estimator is not one of these.
    ValueError
        If X, y or parameters are not valid for the estimator, or if X has blocks of
        unknown size and y is not a dask array with the same blocks.

    See Also
    --------
    transform : Computes features, block by block.

    Notes
    -----
    The computation uses Dask's current scheduler: a ``distributed.Client`` if there is
    one, else threads, or the one set by ``dask.config.set(scheduler=...)``.

    Layers are fitted one after the other. For each layer that learns, every block
    passes through the layers before it in batches, and its statistics are computed
    (for example one density matrix per class). The statistics of all blocks are merged
    in a tree. The images are read once for each such layer, so call ``X.persist()`` if
    they fit in the memory of the workers.

    For the SoftmaxClassifier, the features are computed once and stay in the memory of
    the workers: 4 bytes per value, or 8 for float64 images. Each step of the solver is
    one pass over them. A sample of at most 256 MiB is copied to this process. For the
    IncrementalRidgeClassifier, the features are computed once and not kept: the sums
    over the blocks are merged.

    Dask needs some milliseconds per block and pass. Blocks of 10 to 100 MB are best;
    smaller neighbouring blocks are joined to about 10 MB of floats. The blocks affect
    results only by rounding. Results do not depend on which worker computes which
    block, nor on lost workers, whose blocks are computed again.

    Each task uses scikit-learn's ``working_memory`` of this process. `memory` caches
    the statistics of each block, if the workers share that folder. With
    ``device="auto"``, each worker chooses its own device. Callbacks of layers are not
    called; Dask's dashboard shows the progress. Callbacks of the SoftmaxClassifier are
    called without X and y. Worker processes of Dask use one BLAS thread per task, and
    the kernels of skdmn follow that limit.

    Examples
    --------
    >>> import dask.array as da
    >>> from skdmn import distributed, make_dmn
    >>> from skdmn.datasets import load_digits_images
    >>> X, y = load_digits_images()
    >>> blocks = da.from_array(X, chunks=(500, -1, -1))
    >>> dmn = distributed.fit(make_dmn(n_layers=1), blocks, y)
    >>> dmn.predict(X[:5])
    array([0, 1, 2, 3, 4])
    >>> distributed.predict(dmn, blocks)  # doctest: +ELLIPSIS
    dask.array<..., shape=(1797,), dtype=int64, chunksize=(500,), ...>
    """
    layers, softmax = _split(estimator)
    X = checked(X)
    y, of_labels = collected(y, "y")
    sizes = sizes_of(X, of_labels)
    blocks = Blocks.of(X, sizes).joined()
    if softmax is not None:
        sample_weight, _ = collected(sample_weight, "sample_weight")
        softmax._validate_params()
        softmax._check_labels(y, len(blocks))
        check_sample_weight(sample_weight, len(blocks))
    elif sample_weight is not None:
        raise ValueError(
            "sample_weight is for a SoftmaxClassifier, but there is none; omit it."
        )
    # copies are fitted, so that an error leaves the estimator unchanged
    learned: list[dict[str, Any]] = []
    if layers:
        network = _network(layers)
        fit_network(network, blocks, y)
        whole = [("network", network)]
        fitted = whole if _is_network(layers) else network.layers_
        learned = [layer.__dict__ for _, layer in fitted]
        if softmax is not None:
            blocks = _features_of(blocks, network)
    if softmax is not None:
        is_ridge = isinstance(softmax, IncrementalRidgeClassifier)
        fit_head = fit_ridge if is_ridge else fit_softmax
        learned.append(fit_head(softmax, blocks, y, sample_weight))
    for step, attributes in zip(_all(layers, softmax), learned, strict=True):
        step.__dict__ = attributes.copy()
    return estimator


def transform(estimator: Any, X: Any) -> da.Array:
    """Return the features of a dask array as a dask array, which is computed lazily.

    Parameters
    ----------
    estimator : layer, DensityMatrixNetwork or Pipeline of layers
        Fitted estimator, by `fit` of this module or by its own.
    X : dask array of shape (n, height, width[, channels]) or (n, n_features)
        Images or rows, as in `fit`. Blocks may have unknown sizes.

    Returns
    -------
    dask array of shape (n, *output_shape_) or (n, n_features_out)
        Output of the estimator's own `transform`, in the blocks of X; float32 or
        float64. Small neighbouring blocks are computed together, unless their sizes are
        unknown.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If X is not a dask array, or the estimator has no `transform`.
    ValueError
        If X does not have the shape that was fitted.

    Examples
    --------
    >>> import dask.array as da
    >>> from skdmn import ClassPCAPatchTransformer, distributed
    >>> X = da.random.default_rng(0).random((100, 8, 8), chunks=(30, -1, -1))
    >>> layer = ClassPCAPatchTransformer(class_based=False, n_filters=2)
    >>> features = distributed.transform(distributed.fit(layer, X), X)
    >>> features.shape, features.chunks[0], features.dtype
    ((100, 6, 6, 2), (30, 30, 30, 10), dtype('float64'))
    """
    layers, softmax = _split(estimator, fitted=True)
    if softmax is not None:
        raise TypeError(
            f"A {type(softmax).__name__} has no transform; pass the layers before it, "
            "pipeline[:-1], or call predict."
        )
    return _transformed(checked(X), _network(layers), layers[-1][1]._gives_rows())


def predict(estimator: Any, X: Any) -> da.Array:
    """Return the predicted labels of a dask array, which are computed lazily.

    Parameters
    ----------
    estimator : classifier of skdmn, or Pipeline that ends with one
        Fitted estimator, by `fit` of this module or by its own.
    X : dask array of shape (n, height, width[, channels]) or (n, n_features)
        Images or rows, as in `fit`. Blocks may have unknown sizes.

    Returns
    -------
    dask array of shape (n,)
        Labels, in the blocks of X.

    Raises
    ------
    NotFittedError, TypeError, ValueError
        As in `transform`.
    """
    return _predicted(estimator, X, "predict")


def predict_proba(estimator: Any, X: Any) -> da.Array:
    """Return the class probabilities of a dask array, which are computed lazily.

    Parameters
    ----------
    estimator : classifier of skdmn, or Pipeline that ends with one
        Fitted estimator, by `fit` of this module or by its own.
    X : dask array of shape (n, height, width[, channels]) or (n, n_features)
        Images or rows, as in `fit`. Blocks may have unknown sizes.

    Returns
    -------
    dask array of shape (n, n_classes), float32 or float64
        Probabilities of the classes in `classes_`, in the blocks of X.

    Raises
    ------
    NotFittedError, TypeError, ValueError
        As in `transform`.
    """
    return _predicted(estimator, X, "predict_proba")


def _predicted(estimator: Any, X: Any, method: str) -> da.Array:
    steps, softmax = _split(estimator, fitted=True)
    if softmax is None:
        raise TypeError(
            f"{type(estimator).__name__} has no SoftmaxClassifier to {method} with; "
            "add one at the end, or call transform."
        )
    X = checked(X)
    blank = np.zeros((1, *X.shape[1:]), X.dtype)
    network = _network(steps) if steps else None
    if network is None:
        softmax._check_rows(blank, reset=False)
    else:
        network._check_images(blank, reset=False)
        network = network.compact()
    classes = np.asarray(softmax.classes_)
    shape = () if method == "predict" else (len(classes),)
    dtype = classes.dtype if method == "predict" else floats_of(X.dtype)
    return _mapped(X, _predictions, shape, dtype, network, softmax, method)


def _transformed(X: da.Array, network: DensityMatrixNetwork, rows: bool) -> da.Array:
    """Return a network's features, as rows or in the shape of images."""
    network._check_images(np.zeros((1, *X.shape[1:]), X.dtype), reset=False)
    shape: tuple[int, ...] = network.output_shape_
    shape = (math.prod(shape),) if rows else shape
    return _mapped(X, _features, shape, floats_of(X.dtype), network.compact())


def _features_of(blocks: Blocks, network: DensityMatrixNetwork) -> Blocks:
    """Return a network's features of blocks, as rows."""
    shape, dtype = (math.prod(network.output_shape_),), floats_of(blocks.dtype)
    apply, sent = (
        delayed(_apply, pure=False),
        delayed(network.compact(), traverse=False),
    )
    memory = get_config()["working_memory"]
    parts = [
        apply(part, blocks.shape, (size,), _features, shape, dtype, memory, sent)
        for part, size in zip(blocks.parts, blocks.sizes, strict=True)
    ]
    return replace(blocks, parts=parts, sample_shape=shape, dtype=dtype)


def _mapped(
    X: da.Array,
    function: Callable[..., np.ndarray],
    shape: tuple[int, ...],
    dtype: np.dtype,
    *sent: Any,
) -> da.Array:
    """Apply a function that returns an array of this shape for each sample."""
    new, gone = range(X.ndim, 1 + len(shape)), range(1 + len(shape), X.ndim)
    apply: Any = _apply
    joined = _joined(X)
    found = da.map_blocks(
        apply,
        joined,
        joined.shape,
        joined.chunks[0],
        function,
        shape,
        dtype,
        get_config()["working_memory"],
        *(delayed(one, traverse=False) for one in sent),
        dtype=dtype,
        chunks=(joined.chunks[0], *((size,) for size in shape)),
        new_axis=list(new) or None,
        drop_axis=list(gone) or None,
        meta=np.empty((0,) * (1 + len(shape)), dtype),
        token=function.__name__.strip("_"),
    )
    return found if joined is X else found.rechunk({0: X.chunks[0]}, method="tasks")


def _joined(X: da.Array) -> da.Array:
    """Join small neighbouring blocks of known sizes; see `Blocks.joined`."""
    sizes = X.chunks[0]
    if any(map(math.isnan, sizes)):
        return X
    groups = small_neighbours(sizes, X.shape[1:], X.dtype)
    if len(groups) == len(sizes):
        return X
    joined = tuple(sum(sizes[index] for index in group) for group in groups)
    # before they are joined, because Dask broadcasts a block of another shape
    check: Any = _checked
    X = da.map_blocks(check, X, X.shape, sizes, dtype=X.dtype, meta=X._meta)
    return X.rechunk({0: joined}, method="tasks")


# the parts of an estimator


def _split(
    estimator: Any, fitted: bool = False
) -> tuple[Steps, _LinearClassifier | None]:
    """Return an estimator's layers, or its network, and its softmax."""
    pipeline = isinstance(estimator, Pipeline)
    steps = list(estimator.steps) if pipeline else [("estimator", estimator)]
    softmax = steps.pop()[1] if isinstance(steps[-1][1], _LinearClassifier) else None
    for _, step in steps:
        is_layer = isinstance(step, ImageTransformer) and not _is_a_network(step)
        if not (is_layer or _is_network(steps)):
            raise TypeError(
                f"{type(step).__name__} cannot be fitted or run on blocks; pass layers "
                "of skdmn, one DensityMatrixNetwork, a SoftmaxClassifier, or a "
                "Pipeline of these with the softmax last."
            )
    if fitted:
        for step in _all(steps, softmax):
            check_is_fitted(step)
    return steps, softmax


def _all(steps: Steps, softmax: _LinearClassifier | None) -> list[Any]:
    return [step for _, step in steps] + ([] if softmax is None else [softmax])


def _is_network(steps: Steps) -> bool:
    return len(steps) == 1 and _is_a_network(steps[0][1])


def _is_a_network(step: Any) -> bool:
    return isinstance(step, DensityMatrixNetwork)


def _network(steps: Steps) -> DensityMatrixNetwork:
    """Return a network of the layers, or a copy of the network."""
    if _is_network(steps):
        return copy.copy(steps[0][1])
    return DensityMatrixNetwork.from_pipeline(Pipeline(steps))


# functions that run on the workers


def _apply(
    block: np.ndarray,
    shape_of_all: tuple[int, ...],
    sizes: tuple[float, ...],
    function: Callable[..., np.ndarray],
    shape: tuple[int, ...],
    dtype: np.dtype,
    working_memory: int,
    *sent: Any,
    block_id: tuple[int, ...] = (0,),
) -> np.ndarray:
    block = _checked(block, shape_of_all, sizes, block_id)
    # parameters were checked before; that takes as long as some images
    with config_context(working_memory=working_memory, skip_parameter_validation=True):
        found = function(block, *sent) if len(block) else np.empty(0)
    return found.reshape(len(block), *shape).astype(dtype, copy=False)


def _checked(
    block: np.ndarray,
    shape_of_all: tuple[int, ...],
    sizes: tuple[float, ...],
    block_id: tuple[int, ...],
) -> np.ndarray:
    """Return a block of an array of given shape and chunk sizes, after a check."""
    size = sizes[block_id[0]]  # NaN if it is not known
    return checked_block(
        block, len(block) if math.isnan(size) else int(size), shape_of_all
    )


def _features(block: np.ndarray, network: DensityMatrixNetwork) -> np.ndarray:
    return network.transform_images(block)


def _predictions(
    block: np.ndarray,
    network: DensityMatrixNetwork | None,
    softmax: _LinearClassifier,
    method: str,
) -> np.ndarray:
    rows = block if network is None else network.lazy_features(block)
    return getattr(softmax, method)(rows)
