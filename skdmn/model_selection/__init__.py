"""Searches that share work between the settings of layers."""

from skdmn.model_selection.search import CutoffSearchCV, RandomizedCutoffSearchCV

__all__ = ["CutoffSearchCV", "RandomizedCutoffSearchCV"]
