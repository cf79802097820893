"""Pictures of what was computed, as scikit-learn Display objects."""

from skdmn.display.filters import FilterDisplay

__all__ = ["FilterDisplay"]
