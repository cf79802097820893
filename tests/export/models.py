"""Fitted models that the tests of exports share: named ones, and random ones."""

import warnings

import numpy as np
from hypothesis import reject
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from stacks import STACKS, images_and_labels, named

from skdmn import (
    ChannelStandardScaler,
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    FlattenTransformer,
    MaxPool2DTransformer,
    OverlapPruner,
    SoftmaxClassifier,
)

HEADS = {
    "features": [],
    "scaled": [FlattenTransformer(), StandardScaler()],
    "softmax": [SoftmaxClassifier(C=0.1)],
    "logistic": [
        FlattenTransformer(),
        StandardScaler(),
        LogisticRegression(C=0.1, max_iter=30),
    ],
    # so small a C that float32 has digits enough for features of thousands
    "plain": [FlattenTransformer(), SoftmaxClassifier(C=1e-6, standardize=False)],
}


# stacks and classifiers are written apart from each other: all stacks with a few, and
# all classifiers after a few stacks
CASES = [
    (stack, head)
    for stack in STACKS
    for head in HEADS
    if head in ("features", "softmax") or stack in ("two layers", "whitened")
]


def fit(model, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", UserWarning)
        return model.fit(X, y)


def fitted(stack="two layers", head="softmax", shape=(8, 7, 3), dtype=np.uint8):
    """Return a fitted Pipeline, and the images and labels it was fitted on."""
    X, y = images_and_labels(shape=shape, dtype=dtype)
    return fit(Pipeline(named([*STACKS[stack], *HEADS[head]])), X, y), X, y


def is_classifier(model):
    return hasattr(model, "predict")


@st.composite
def _layer(draw, shape):
    """Draw a layer for images of a shape, and the shape of what it gives."""
    height, width, channels = shape
    kind = draw(st.sampled_from(["conv", "conv", "pool", "prune", "scale"]))
    if kind == "scale":
        return ChannelStandardScaler(with_mean=draw(st.booleans()))
    if kind == "prune" and channels > 1:
        return OverlapPruner(draw(st.integers(1, channels - 1)))
    size = draw(st.integers(1, min(3, height))), draw(st.integers(1, min(3, width)))
    padding = draw(st.sampled_from(["valid", "same"]))
    stride = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    if kind == "pool":
        stride = draw(st.sampled_from([None, stride]))
        return MaxPool2DTransformer(size, stride=stride, padding=padding)
    return ClassPCAPatchTransformer(
        size,
        n_filters=draw(st.integers(1, 4)),
        variance_cutoff=0.999,  # 1.0 keeps rounding noise, which scaling blows up
        signs=draw(st.sampled_from(["one", "both"])),
        activation=draw(st.sampled_from(["relu", None])),
        stride=stride,
        padding=padding,
    )


def _has_noise(features):
    """Return True if a feature is rounding noise, which a classifier may scale up."""
    rows = features.reshape(len(features), -1).astype(np.float64)
    spread = rows.std(axis=0)
    return bool(((spread > 0) & (spread < 1e-6 * np.abs(rows).max())).any())


@st.composite
def random_models(draw):
    """Draw a fitted model of random layers, and X of random images, rows or signals."""
    form = draw(st.sampled_from(["grey", "images", "rows", "signals"]))
    channels = 1 if form in ("grey", "signals") else draw(st.sampled_from([1, 3]))
    shape = draw(st.integers(4, 9)), draw(st.integers(4, 9)), channels
    dtype = draw(st.sampled_from([np.uint8, np.float32]))
    X, y = images_and_labels(24, shape, dtype, seed=draw(st.integers(0, 99)))
    given = {}
    if form == "grey":
        X = X[..., 0]
    elif form != "images":
        X = X.reshape(len(X), -1)
        given = {"image_shape": shape if form == "rows" else (1, X.shape[1])}
    layers, now = [], X
    for _ in range(draw(st.integers(1, 4))):
        at = (1, now.shape[1], 1) if now.ndim == 2 else (*now.shape[1:], 1)[:3]
        at = shape if not layers and form == "rows" else at
        layer = draw(_layer(at)).set_params(**given)
        if not now.any():  # nothing is positive behind the ReLU
            reject()
        now, given = fit(layer, now, y).transform(now), {}
        if now.ndim == 2:  # what signals become is a signal again
            given = {"image_shape": (1, now.shape[1])}
        layers.append(layer)
    if _has_noise(now):
        reject()
    head = draw(st.sampled_from(sorted(HEADS)))
    if draw(st.booleans()):
        network = DensityMatrixNetwork(named(layers))
        return fit(make_pipeline(network, *HEADS[head]), X, y), X
    return fit(Pipeline(named([*layers, *HEADS[head]])), X, y), X
