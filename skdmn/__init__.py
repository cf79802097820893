"""Convolutional image features that are computed, not trained.

The filters of each layer are the leading eigenvectors of every class's density matrix,
the second moments of its image patches. Layers chain in scikit-learn Pipelines.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING
from typing import Any as _Any

from skdmn._version import __version__ as __version__

if TYPE_CHECKING:
    from skdmn.data.reader import ImageReader
    from skdmn.display.filters import FilterDisplay
    from skdmn.layers.class_pca import ClassPCAPatchTransformer
    from skdmn.layers.dense import ClassPCATransformer
    from skdmn.layers.flatten import FlattenTransformer
    from skdmn.layers.overlap import OverlapPruner
    from skdmn.layers.pooling import AveragePool2DTransformer, MaxPool2DTransformer
    from skdmn.layers.scaling import ChannelStandardScaler
    from skdmn.layers.whitened_pca import WhitenedPCAPatchTransformer
    from skdmn.layers.zca import ZCAWhitening
    from skdmn.linear_model.ridge import IncrementalRidgeClassifier
    from skdmn.linear_model.softmax import SoftmaxClassifier
    from skdmn.linear_model.softmax_cv import SoftmaxClassifierCV
    from skdmn.model_selection.search import (
        CutoffSearchCV,
        HalvingCutoffSearchCV,
        RandomizedCutoffSearchCV,
    )
    from skdmn.network.compacting import compact
    from skdmn.network.lazy import LazyFeatures
    from skdmn.network.network import DensityMatrixNetwork
    from skdmn.presets import make_dmn, paper_dmn, recommended_dmn

__all__ = [
    "AveragePool2DTransformer",
    "ChannelStandardScaler",
    "ClassPCAPatchTransformer",
    "ClassPCATransformer",
    "CutoffSearchCV",
    "DensityMatrixNetwork",
    "FilterDisplay",
    "FlattenTransformer",
    "HalvingCutoffSearchCV",
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
    "compact",
    "make_dmn",
    "paper_dmn",
    "recommended_dmn",
]

# The module of each name, which is imported when the name is first used. So the command
# prints its help at once, and can handle an interrupt of the imports
_MODULES = {
    "AveragePool2DTransformer": "layers.pooling",
    "ChannelStandardScaler": "layers.scaling",
    "ClassPCAPatchTransformer": "layers.class_pca",
    "ClassPCATransformer": "layers.dense",
    "CutoffSearchCV": "model_selection.search",
    "DensityMatrixNetwork": "network.network",
    "FilterDisplay": "display.filters",
    "FlattenTransformer": "layers.flatten",
    "HalvingCutoffSearchCV": "model_selection.search",
    "ImageReader": "data.reader",
    "IncrementalRidgeClassifier": "linear_model.ridge",
    "LazyFeatures": "network.lazy",
    "MaxPool2DTransformer": "layers.pooling",
    "OverlapPruner": "layers.overlap",
    "RandomizedCutoffSearchCV": "model_selection.search",
    "SoftmaxClassifier": "linear_model.softmax",
    "SoftmaxClassifierCV": "linear_model.softmax_cv",
    "WhitenedPCAPatchTransformer": "layers.whitened_pca",
    "ZCAWhitening": "layers.zca",
    "compact": "network.compacting",
    "make_dmn": "presets",
    "paper_dmn": "presets",
    "recommended_dmn": "presets",
}

if not TYPE_CHECKING:  # type checkers know the names above, and no others

    def __getattr__(name: str) -> _Any:
        """Import a public name, or a module of the package, when it is first used."""
        missing = AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name in _MODULES:
            value = getattr(_import_module(f"{__name__}.{_MODULES[name]}"), name)
        elif name.startswith("_"):
            raise missing
        else:
            whole = f"{__name__}.{name}"
            try:
                value = _import_module(whole)
            except ModuleNotFoundError as error:
                if error.name != whole:
                    raise
                raise missing from None
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
