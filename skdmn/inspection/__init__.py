"""Explanations of the answers of fitted classifiers, and reports on them."""

from skdmn.inspection.contributions import Contributions, contributions
from skdmn.inspection.display import ContributionDisplay
from skdmn.inspection.report import (
    Calibration,
    ClassReport,
    Confusion,
    HardImage,
    class_report,
)

__all__ = [
    "Calibration",
    "ClassReport",
    "Confusion",
    "ContributionDisplay",
    "Contributions",
    "HardImage",
    "class_report",
    "contributions",
]
