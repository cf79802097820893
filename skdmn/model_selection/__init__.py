"""Searches that share work between the settings of layers."""

from skdmn.model_selection.search import (
    CutoffSearchCV,
    HalvingCutoffSearchCV,
    RandomizedCutoffSearchCV,
)

__all__ = ["CutoffSearchCV", "HalvingCutoffSearchCV", "RandomizedCutoffSearchCV"]
