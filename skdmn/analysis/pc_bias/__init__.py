"""Principal component bias: learning along the principal directions of the data.

============== ======================================================
module         contents
============== ======================================================
directions     learning along the principal directions of the data
learning_order learning order of examples, and scores that explain it
frequency_data data sets that separate frequency bias from this bias
============== ======================================================
"""

from skdmn.analysis.pc_bias.directions import (
    DirectionConvergence,
    Drift,
    GradientScales,
    PrincipalCoordinates,
    convergence_by_direction,
    drift,
    expected_gradient_scales,
    gradient_scale_matrices,
    predicted_weights,
    predicted_weights_from_scales,
    principal_coordinates,
)
from skdmn.analysis.pc_bias.frequency_data import (
    FREQUENCIES,
    PHASES,
    amplify_components,
    frequency_sum,
    is_positive,
    leading_component_labels,
    make_frequency_data,
    shuffled_labels,
)
from skdmn.analysis.pc_bias.learning_order import (
    OrderCorrelation,
    ScoreGroups,
    accessibility,
    critical_frequency,
    critical_principal_component,
    discriminability,
    epochs_to_learn,
    group_by_score,
    order_correlation,
)

__all__ = [
    "FREQUENCIES",
    "PHASES",
    "DirectionConvergence",
    "Drift",
    "GradientScales",
    "OrderCorrelation",
    "PrincipalCoordinates",
    "ScoreGroups",
    "accessibility",
    "amplify_components",
    "convergence_by_direction",
    "critical_frequency",
    "critical_principal_component",
    "discriminability",
    "drift",
    "epochs_to_learn",
    "expected_gradient_scales",
    "frequency_sum",
    "gradient_scale_matrices",
    "group_by_score",
    "is_positive",
    "leading_component_labels",
    "make_frequency_data",
    "order_correlation",
    "predicted_weights",
    "predicted_weights_from_scales",
    "principal_coordinates",
    "shuffled_labels",
]
