"""What files of fitted estimators are made of, for who loads them."""

# all of this package's types that fitted estimators hold, for `skops.io.load`
TYPES = (
    "skdmn.core.density.DensityAccumulator",
    "skdmn.core.whitened.ContrastAccumulator",
    "skdmn.layers.class_pca.ClassPCAPatchTransformer",
    "skdmn.layers.flatten.FlattenTransformer",
    "skdmn.layers.overlap.OverlapPruner",
    "skdmn.layers.pooling.AveragePool2DTransformer",
    "skdmn.layers.pooling.MaxPool2DTransformer",
    "skdmn.layers.scaling.ChannelStandardScaler",
    "skdmn.layers.whitened_pca.WhitenedPCAPatchTransformer",
    "skdmn.softmax.SoftmaxClassifier",
    "skdmn.stack.DensityMatrixNetwork",
    "skdmn.whitening.ZCAWhitening",
)
