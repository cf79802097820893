"""scikit-learn's own checks, for every public estimator, with none excused."""

import pytest
from sklearn.base import BaseEstimator
from sklearn.utils.estimator_checks import parametrize_with_checks

import skdmn
from skdmn import (
    ChannelStandardScaler,
    ClassPCAPatchTransformer,
    FlattenTransformer,
    MaxPool2DTransformer,
    OverlapPruner,
)

ESTIMATORS = [
    ClassPCAPatchTransformer(),
    ClassPCAPatchTransformer(
        kernel_size=2, class_based=False, signs="both", activation=None, centered=True
    ),
    ClassPCAPatchTransformer(padding="same", stride=2, random_state=0),
    MaxPool2DTransformer(),
    MaxPool2DTransformer(3, stride=2, padding="same"),
    ChannelStandardScaler(),
    FlattenTransformer(),
    OverlapPruner(),
]


@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_checks(estimator, check):
    check(estimator)
