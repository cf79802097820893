"""One list of estimators: the instances that all common tests draw from.

A new public estimator is added here alone. `COMMON` in test_public.py names the
modules of tests that it then goes through.
"""

import pytest
from sklearn.pipeline import Pipeline

from skdmn import (
    AveragePool2DTransformer,
    ChannelStandardScaler,
    ClassPCAPatchTransformer,
    ClassPCATransformer,
    CutoffSearchCV,
    DensityMatrixNetwork,
    FlattenTransformer,
    HalvingCutoffSearchCV,
    ImageReader,
    IncrementalRidgeClassifier,
    MaxPool2DTransformer,
    OverlapPruner,
    RandomizedCutoffSearchCV,
    SoftmaxClassifier,
    SoftmaxClassifierCV,
    WhitenedPCAPatchTransformer,
    ZCAWhitening,
)
from skdmn.layers.base import ImageTransformer

ESTIMATORS = {
    "class_pca": ClassPCAPatchTransformer(),
    "class_pca_naive": ClassPCAPatchTransformer(
        kernel_size=2, class_based=False, signs="both", activation=None, centered=True
    ),
    "class_pca_centered": ClassPCAPatchTransformer(
        padding="same", stride=2, centered=True, random_state=0
    ),
    "dense": ClassPCATransformer(),
    "dense_naive": ClassPCATransformer(
        class_based=False, signs="one", activation=None, centered=True
    ),
    "max_pool": MaxPool2DTransformer(),
    "max_pool_strided": MaxPool2DTransformer(3, stride=2, padding="same"),
    "average_pool": AveragePool2DTransformer(),
    "average_pool_root": AveragePool2DTransformer(
        3, stride=2, padding="same", power=0.5
    ),
    "whitened_pca": WhitenedPCAPatchTransformer(3, n_filters=5),
    "whitened_pca_naive": WhitenedPCAPatchTransformer(
        2, position_grid=(1, 2), n_levels=2, class_based=False, mirrored=True
    ),
    "scaler": ChannelStandardScaler(),
    "flatten": FlattenTransformer(),
    "pruner": OverlapPruner(),
    "network": DensityMatrixNetwork(
        [
            ("conv1", ClassPCAPatchTransformer(2)),
            ("pool1", MaxPool2DTransformer()),
            ("scale1", ChannelStandardScaler()),
            ("conv2", ClassPCAPatchTransformer(2, padding="same", activation=None)),
            ("flatten", FlattenTransformer()),
        ]
    ),
    "network_dense": DensityMatrixNetwork(
        [
            ("conv", ClassPCAPatchTransformer(2)),
            ("dense", ClassPCATransformer(class_based=False)),
        ]
    ),
    "network_pruned": DensityMatrixNetwork(
        [
            ("scale", ChannelStandardScaler()),
            ("naive", ClassPCAPatchTransformer(class_based=False, signs="both")),
            ("prune", OverlapPruner()),
        ],
        batch_size=7,
    ),
    "network_mirrored": DensityMatrixNetwork(
        [
            ("conv", WhitenedPCAPatchTransformer(3, n_filters=6)),
            ("pool", AveragePool2DTransformer(2, padding="same", power=0.5)),
        ],
        mirrored=True,
    ),
    "softmax": SoftmaxClassifier(),
    "softmax_balanced": SoftmaxClassifier(
        C=0.1, standardize=False, class_weight="balanced"
    ),
    "softmax_cv": SoftmaxClassifierCV([0.1, 1.0], cv=2, store_coefs_paths=True),
    "ridge": IncrementalRidgeClassifier(),
    "zca": ZCAWhitening(),
    "reader": ImageReader(),
}

# searches hold estimators, whose pickles and states are tested by themselves
_SEARCHED = Pipeline(
    [("conv", ClassPCAPatchTransformer(2)), ("softmax", SoftmaxClassifier())]
)
SEARCHES = {
    "search": CutoffSearchCV(_SEARCHED, {"conv__n_filters": [1, 2]}, cv=2),
    "random_search": RandomizedCutoffSearchCV(
        _SEARCHED, {"conv__n_filters": [1, 2]}, n_iter=2, cv=2
    ),
    "halving_search": HalvingCutoffSearchCV(
        _SEARCHED, {"conv__n_filters": [1, 2]}, factor=2, min_resources=6, cv=2
    ),
}


def takes_images(estimator):
    return estimator.__sklearn_tags__().input_tags.three_d_array


def image_estimators():
    """Return the layers and the networks of layers."""
    return {
        name: estimator
        for name, estimator in ESTIMATORS.items()
        if isinstance(estimator, ImageTransformer)
    }


def layers():
    """Return the layers alone."""
    return {
        name: estimator
        for name, estimator in image_estimators().items()
        if not isinstance(estimator, DensityMatrixNetwork)
    }


def image_layers():
    """Return the layers that see positions, and so have a parameter `image_shape`."""
    return {
        n: layer for n, layer in layers().items() if "image_shape" in layer.get_params()
    }


def one_of_each_type(among):
    first = {}
    for name, estimator in among.items():
        first.setdefault(type(estimator), name)
    return {name: among[name] for name in first.values()}


def each(argument, among):
    """Parametrize a test over some estimators, which it clones before it fits them."""
    return pytest.mark.parametrize(argument, list(among.values()), ids=list(among))
