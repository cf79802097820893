"""Plots of computed quantities, as scikit-learn Display objects.

Display classes are imported on first access, because they need modules that the layers
do not need. Drawing needs matplotlib: ``pip install "skdmn[plot]"``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skdmn.display.convergence import (
        AgreementDisplay,
        ConvergenceDisplay,
        FluctuationDisplay,
        TrainingDisplay,
    )
    from skdmn.display.dynamics import ModeStrengthDisplay, SingularValueDisplay
    from skdmn.display.filters import FilterDisplay
    from skdmn.display.order import LearningOrderDisplay
    from skdmn.display.search import SearchDisplay
    from skdmn.display.spectrum import (
        ClassOverlapDisplay,
        DensityMatrixDisplay,
        EnergyDisplay,
    )

__all__ = [
    "AgreementDisplay",
    "ClassOverlapDisplay",
    "ConvergenceDisplay",
    "DensityMatrixDisplay",
    "EnergyDisplay",
    "FilterDisplay",
    "FluctuationDisplay",
    "LearningOrderDisplay",
    "ModeStrengthDisplay",
    "SearchDisplay",
    "SingularValueDisplay",
    "TrainingDisplay",
]
_MODULES = ("filters", "spectrum", "dynamics", "order", "convergence", "search")


def __getattr__(name: str) -> Any:
    """Import a display class on first access."""
    if name in __all__:
        for module in _MODULES:
            found = getattr(import_module(f"skdmn.display.{module}"), name, None)
            if found is not None:
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
