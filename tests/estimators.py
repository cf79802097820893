"""The instances of every public estimator that are put through common tests."""

from skdmn import (
    AveragePool2DTransformer,
    ChannelStandardScaler,
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    FlattenTransformer,
    MaxPool2DTransformer,
    OverlapPruner,
    SoftmaxClassifier,
    WhitenedPCAPatchTransformer,
    ZCAWhitening,
)

ESTIMATORS = [
    ClassPCAPatchTransformer(),
    ClassPCAPatchTransformer(
        kernel_size=2, class_based=False, signs="both", activation=None, centered=True
    ),
    ClassPCAPatchTransformer(padding="same", stride=2, random_state=0),
    MaxPool2DTransformer(),
    MaxPool2DTransformer(3, stride=2, padding="same"),
    AveragePool2DTransformer(),
    AveragePool2DTransformer(3, stride=2, padding="same", power=0.5),
    WhitenedPCAPatchTransformer(3, n_filters=5),
    WhitenedPCAPatchTransformer(
        2, position_grid=(1, 2), class_based=False, mirrored=True
    ),
    ChannelStandardScaler(),
    FlattenTransformer(),
    OverlapPruner(),
    DensityMatrixNetwork(
        [
            ("conv1", ClassPCAPatchTransformer(2)),
            ("pool1", MaxPool2DTransformer()),
            ("scale1", ChannelStandardScaler()),
            ("conv2", ClassPCAPatchTransformer(2, padding="same", activation=None)),
            ("flatten", FlattenTransformer()),
        ]
    ),
    DensityMatrixNetwork(
        [
            ("scale", ChannelStandardScaler()),
            ("naive", ClassPCAPatchTransformer(class_based=False, signs="both")),
            ("prune", OverlapPruner()),
        ],
        batch_size=7,
    ),
    DensityMatrixNetwork(
        [
            ("conv", WhitenedPCAPatchTransformer(3, n_filters=6)),
            ("pool", AveragePool2DTransformer(2, padding="same", power=0.5)),
        ],
        mirrored=True,
    ),
    SoftmaxClassifier(),
    SoftmaxClassifier(C=0.1, standardize=False, class_weight="balanced"),
    ZCAWhitening(),
]
