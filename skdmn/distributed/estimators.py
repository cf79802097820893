"""Estimators of this package on dask arrays: fit, transform, predict."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
from dask.delayed import delayed
from sklearn import config_context, get_config
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from skdmn.distributed.blocks import Blocks, checked, collected, sizes_of
from skdmn.distributed.layers import fit_network
from skdmn.distributed.softmax import fit_softmax
from skdmn.layers.base import ImageTransformer
from skdmn.linear_model.softmax import SoftmaxClassifier
from skdmn.network.network import DensityMatrixNetwork
from skdmn.utils.array_api import float_dtype

Steps = list[tuple[str, Any]]


def fit(estimator: Any, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """Fit an estimator of this package on a dask array.

    What it learns is what its own `fit` learns in one process, to rounding.

    Parameters
    ----------
    estimator : layer, DensityMatrixNetwork, SoftmaxClassifier or Pipeline of these
        In a Pipeline, the layers or one network come first, and a SoftmaxClassifier,
        if there is one, last.
    X : dask array of shape (n, height, width[, channels]) or (n, n_features)
        Images or rows, in blocks of NumPy arrays along the first axis; other axes are
        put together. Blocks may differ in size and be empty.
    y : dask array or array-like of shape (n,), or None, default=None
        Labels. They are collected in this process. A dask array tells the sizes of
        the blocks of X where X does not know them.
    sample_weight : dask array or array-like of shape (n,), or None, default=None
        For the SoftmaxClassifier alone.

    Returns
    -------
    estimator
        The same object, fitted; it holds NumPy arrays, and nothing of Dask. Where an
        error or an interrupt ends the fit, it stays as it was.

    Raises
    ------
    TypeError
        Where X is not a dask array, or the estimator is none of these.
    ValueError
        Where X, y or parameters are not what the estimator asks for; X has blocks of
        unknown size and y does not tell them.

    See Also
    --------
    transform : Computes features, block by block.

    Notes
    -----
    It runs on whatever Dask runs on: a ``distributed.Client`` if there is one, else
    threads, or what ``dask.config.set(scheduler=...)`` says.

    Layers are fitted one after the other. For each that learns, every block runs
    through the layers in front of it, in batches, and becomes sums (a density matrix
    for each class that it has), which are merged as a tree: the images are read once
    for each such layer, so ``X.persist()`` where they fit in the workers' memory. For
    the softmax, features are computed once and stay on the workers, 4 bytes each,
    of float64 images 8; each step of the solver is a round over them. Up to 256 MiB of
    them, a sample, is copied to this process. Dask takes some milliseconds for each
    block and round, so that blocks of 10 to 100 MB are best.

    Results depend on the blocks by rounding alone, and not at all on which worker
    computes what, or fails: its blocks are computed again.

    scikit-learn's ``working_memory`` holds for each task. `memory` caches each block's
    sums, for workers that share that folder. Callbacks of layers are not told of
    progress, which Dask's dashboard shows; those of the softmax are, without X and y.
    Workers decide by themselves on ``device="auto"``. Dask's worker processes leave
    BLAS one thread for each task, which holds for the layers' kernels too.

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
    dask.array<predictions, shape=(1797,), dtype=int64, chunksize=(500,), ...>
    """
    layers, softmax = _split(estimator)
    X = checked(X)
    y, of_labels = collected(y, "y")
    sizes = sizes_of(X, of_labels)
    blocks = Blocks.of(X, sizes)
    if softmax is not None:
        sample_weight, _ = collected(sample_weight, "sample_weight")
        softmax._validate_params()
        softmax._check_labels(y, len(blocks))
        if sample_weight is not None:
            _check_sample_weight(sample_weight, y, ensure_non_negative=True)
    elif sample_weight is not None:
        raise ValueError(
            "sample_weight is for a SoftmaxClassifier, but there is none; leave it out."
        )
    # copies are fitted, so that nothing is half fitted where something goes wrong
    learned: list[dict[str, Any]] = []
    if layers:
        network = _network(layers)
        fit_network(network, blocks, y)
        whole = [("network", network)]
        fitted = whole if _is_network(layers) else network.layers_
        learned = [layer.__dict__ for _, layer in fitted]
        if softmax is not None:
            blocks = Blocks.of(_transformed(X, network, rows=True), sizes)
    if softmax is not None:
        learned.append(fit_softmax(softmax, blocks, y, sample_weight))
    for step, attributes in zip(_all(layers, softmax), learned, strict=True):
        step.__dict__ = attributes.copy()
    return estimator


def transform(estimator: Any, X: Any) -> da.Array:
    """Compute the features of a dask array, block by block, when they are asked for.

    Parameters
    ----------
    estimator : layer, DensityMatrixNetwork or Pipeline of layers
        Fitted, here or anywhere.
    X : dask array of shape (n, height, width[, channels]) or (n, n_features)
        As in `fit`; the sizes of blocks may be unknown.

    Returns
    -------
    dask array of shape (n, *output_shape_), or (n, n_features_out) where rows come out
        What the estimator's own `transform` gives, with the blocks of X; float32 or
        float64.

    Raises
    ------
    NotFittedError
        Before the estimator is fitted.
    TypeError, ValueError
        Where X is not a dask array, or has not the shape that was fitted.

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
            "A SoftmaxClassifier has no transform; pass the layers in front of it, "
            "pipeline[:-1], or call predict."
        )
    return _transformed(checked(X), _network(layers), layers[-1][1]._gives_rows())


def predict(estimator: Any, X: Any) -> da.Array:
    """Predict the labels of a dask array, block by block, when they are asked for.

    Parameters
    ----------
    estimator : SoftmaxClassifier, or Pipeline that ends with one
        Fitted, here or anywhere.
    X : dask array of shape (n, height, width[, channels]) or (n, n_features)
        As in `fit`; the sizes of blocks may be unknown.

    Returns
    -------
    dask array of shape (n,)

    Raises
    ------
    NotFittedError, TypeError, ValueError
        As `transform`.
    """
    return _predicted(estimator, X, "predict")


def predict_proba(estimator: Any, X: Any) -> da.Array:
    """Predict probabilities for a dask array, block by block, when they are asked for.

    Parameters
    ----------
    estimator : SoftmaxClassifier, or Pipeline that ends with one
        Fitted, here or anywhere.
    X : dask array of shape (n, height, width[, channels]) or (n, n_features)
        As in `fit`; the sizes of blocks may be unknown.

    Returns
    -------
    dask array of shape (n, n_classes), float32 or float64

    Raises
    ------
    NotFittedError, TypeError, ValueError
        As `transform`.
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
    dtype = classes.dtype if method == "predict" else _float_dtype(X)
    return _mapped(X, _predictions, shape, dtype, network, softmax, method)


def _transformed(X: da.Array, network: DensityMatrixNetwork, rows: bool) -> da.Array:
    """Return a network's features, as rows or in the shape of images."""
    network._check_images(np.zeros((1, *X.shape[1:]), X.dtype), reset=False)
    shape: tuple[int, ...] = network.output_shape_
    shape = (math.prod(shape),) if rows else shape
    return _mapped(X, _features, shape, _float_dtype(X), network.compact())


def _mapped(
    X: da.Array,
    function: Callable[..., np.ndarray],
    shape: tuple[int, ...],
    dtype: np.dtype,
    *sent: Any,
) -> da.Array:
    """Apply a function that makes an array of this shape of each sample."""
    new, gone = range(X.ndim, 1 + len(shape)), range(1 + len(shape), X.ndim)
    apply: Any = _apply
    return da.map_blocks(
        apply,
        X,
        function,
        shape,
        dtype,
        get_config()["working_memory"],
        *(delayed(one, traverse=False) for one in sent),
        dtype=dtype,
        chunks=(X.chunks[0], *((size,) for size in shape)),
        new_axis=list(new) or None,
        drop_axis=list(gone) or None,
        meta=np.empty((0,) * (1 + len(shape)), dtype),
        token=function.__name__.strip("_"),
    )


def _float_dtype(X: da.Array) -> np.dtype:
    return np.dtype(float_dtype(np.empty(0, X.dtype), np))


# what an estimator is made of


def _split(
    estimator: Any, fitted: bool = False
) -> tuple[Steps, SoftmaxClassifier | None]:
    """Return an estimator's layers, or its network, and its softmax."""
    pipeline = isinstance(estimator, Pipeline)
    steps = list(estimator.steps) if pipeline else [("estimator", estimator)]
    softmax = steps.pop()[1] if isinstance(steps[-1][1], SoftmaxClassifier) else None
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


def _all(steps: Steps, softmax: SoftmaxClassifier | None) -> list[Any]:
    return [step for _, step in steps] + ([] if softmax is None else [softmax])


def _is_network(steps: Steps) -> bool:
    return len(steps) == 1 and _is_a_network(steps[0][1])


def _is_a_network(step: Any) -> bool:
    return isinstance(step, DensityMatrixNetwork)


def _network(steps: Steps) -> DensityMatrixNetwork:
    """Return a network of layers, or a copy of the one that there is."""
    if _is_network(steps):
        return copy.copy(steps[0][1])
    return DensityMatrixNetwork.from_pipeline(Pipeline(steps))


# on workers


def _apply(
    block: np.ndarray,
    function: Callable[..., np.ndarray],
    shape: tuple[int, ...],
    dtype: np.dtype,
    working_memory: int,
    *sent: Any,
) -> np.ndarray:
    with config_context(working_memory=working_memory):
        found = function(block, *sent) if len(block) else np.empty(0)
    return found.reshape(len(block), *shape).astype(dtype, copy=False)


def _features(block: np.ndarray, network: DensityMatrixNetwork) -> np.ndarray:
    return network.transform_images(block)


def _predictions(
    block: np.ndarray,
    network: DensityMatrixNetwork | None,
    softmax: SoftmaxClassifier,
    method: str,
) -> np.ndarray:
    rows = block if network is None else network.lazy_features(block)
    return getattr(softmax, method)(rows)
