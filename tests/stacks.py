"""Stacks of layers, and images, that the tests of DensityMatrixNetwork share."""

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from skdmn import (
    AveragePool2DTransformer,
    ChannelStandardScaler,
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    FlattenTransformer,
    MaxPool2DTransformer,
    OverlapPruner,
    WhitenedPCAPatchTransformer,
)


def conv(kernel_size=2, **params):
    return ClassPCAPatchTransformer(
        kernel_size, **{"variance_cutoff": 0.99, "n_filters": 4, **params}
    )


STACKS = {
    "conv": [conv()],
    "conv pool": [conv(), MaxPool2DTransformer(2)],
    "conv prune pool": [conv(signs="both"), OverlapPruner(1), MaxPool2DTransformer()],
    "conv pool prune": [conv(), MaxPool2DTransformer(3, stride=2), OverlapPruner(2)],
    "conv scale pool": [conv(), ChannelStandardScaler(), MaxPool2DTransformer(2)],
    "two layers": [
        conv(3, padding="same", signs="both"),
        MaxPool2DTransformer(2, padding="same"),
        conv(activation=None, stride=(1, 2), centered=True),
        OverlapPruner(1),
        MaxPool2DTransformer(2, stride=1),
        FlattenTransformer(),
    ],
    "two pools": [conv(), MaxPool2DTransformer(2), MaxPool2DTransformer((1, 2))],
    "scale first": [ChannelStandardScaler(), conv(), conv(class_based=False)],
    "pool first": [MaxPool2DTransformer(2), conv(), ChannelStandardScaler()],
    "prune first": [OverlapPruner(1), conv(), FlattenTransformer()],
    "subsample": [conv(subsample=0.5, random_state=0), conv(subsample=9, n_filters=2)],
    "average": [AveragePool2DTransformer(3, stride=2, padding="same", power=0.5)],
    "whitened": [
        WhitenedPCAPatchTransformer(3, n_filters=4, position_grid=2),
        AveragePool2DTransformer(4, stride=3, padding="same", power=0.5),
    ],
    "whitened rooted": [
        WhitenedPCAPatchTransformer(
            3, n_filters=4, position_grid=2, n_levels=3, n_contrast_levels=2
        ),
        AveragePool2DTransformer(1, power=0.5),
        AveragePool2DTransformer(2),
    ],
    "whitened twice": [
        WhitenedPCAPatchTransformer((2, 3), n_filters=3, subsample=0.5, random_state=0),
        AveragePool2DTransformer(2),
        WhitenedPCAPatchTransformer(2, n_filters=5, position_grid=1, threshold=0.1),
    ],
    "flatten": [FlattenTransformer()],
}


def named(layers):
    return [(f"layer{i}", clone(layer)) for i, layer in enumerate(layers)]


def network(name="two layers", **params):
    return DensityMatrixNetwork(named(STACKS[name]), **params)


def pipeline(name="two layers"):
    return Pipeline(named(STACKS[name]))


def images_and_labels(n=30, shape=(8, 7, 3), dtype=np.uint8, seed=0):
    """Return smooth images of three classes that differ in their directions."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    images = rng.normal(size=(n, *shape))
    images[labels == 1] = np.cumsum(images[labels == 1], axis=1)
    images[labels == 2] = np.cumsum(images[labels == 2], axis=2)
    images = 128 + 20 * images + 10 * np.arange(shape[-1])
    return np.clip(images, 0, 255).astype(dtype), labels
