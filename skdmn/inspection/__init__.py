"""Explanations of the answers of fitted classifiers, and reports on them."""

from skdmn.inspection.contributions import Contributions, contributions

__all__ = ["Contributions", "contributions"]
