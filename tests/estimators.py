"""The instances of every public estimator that are put through common tests."""

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
