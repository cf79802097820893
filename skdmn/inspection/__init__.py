"""Explanations of fitted models: their answers, reports and diagnoses."""

from skdmn.inspection.contributions import Contributions, contributions
from skdmn.inspection.diagnosis import (
    Diagnosis,
    HeadDiagnosis,
    LayerDiagnosis,
    diagnose,
)
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
    "Diagnosis",
    "HardImage",
    "HeadDiagnosis",
    "LayerDiagnosis",
    "class_report",
    "contributions",
    "diagnose",
]
