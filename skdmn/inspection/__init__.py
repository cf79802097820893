"""Explanations of the answers of fitted classifiers, and reports on them."""

from skdmn.inspection.contributions import Contributions, contributions
from skdmn.inspection.display import ContributionDisplay

__all__ = ["ContributionDisplay", "Contributions", "contributions"]
