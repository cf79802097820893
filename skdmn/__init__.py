"""Convolutional image features that are computed, not trained.

The filters of each layer are the leading eigenvectors of every class's density matrix,
the second moments of its image patches. Layers chain in scikit-learn Pipelines.
"""

from skdmn._version import __version__ as __version__
from skdmn.data.reader import ImageReader
from skdmn.display.filters import FilterDisplay
from skdmn.layers.class_pca import ClassPCAPatchTransformer
from skdmn.layers.flatten import FlattenTransformer
from skdmn.layers.overlap import OverlapPruner
from skdmn.layers.pooling import AveragePool2DTransformer, MaxPool2DTransformer
from skdmn.layers.scaling import ChannelStandardScaler
from skdmn.layers.whitened_pca import WhitenedPCAPatchTransformer
from skdmn.layers.zca import ZCAWhitening
from skdmn.linear_model.ridge import IncrementalRidgeClassifier
from skdmn.linear_model.softmax import SoftmaxClassifier
from skdmn.linear_model.softmax_cv import SoftmaxClassifierCV
from skdmn.model_selection.search import CutoffSearchCV, RandomizedCutoffSearchCV
from skdmn.network.lazy import LazyFeatures
from skdmn.network.network import DensityMatrixNetwork
from skdmn.presets import make_dmn, paper_dmn, recommended_dmn

__all__ = [
    "AveragePool2DTransformer",
    "ChannelStandardScaler",
    "ClassPCAPatchTransformer",
    "CutoffSearchCV",
    "DensityMatrixNetwork",
    "FilterDisplay",
    "FlattenTransformer",
    "ImageReader",
    "IncrementalRidgeClassifier",
    "LazyFeatures",
    "MaxPool2DTransformer",
    "OverlapPruner",
    "RandomizedCutoffSearchCV",
    "SoftmaxClassifier",
    "SoftmaxClassifierCV",
    "WhitenedPCAPatchTransformer",
    "ZCAWhitening",
    "make_dmn",
    "paper_dmn",
    "recommended_dmn",
]
