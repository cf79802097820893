"""Learning in deep linear networks: time courses, learning rates, weights, isometry.

=============== ========================================================
module          contents
=============== ========================================================
modes           exact time courses, for any depth
unequal_modes   exact time courses for unequal initial weights
learning_rates  curvature, optimal learning rates, delay by depth
simulation      gradient flow and gradient descent from correlations
initial_weights decoupled, orthogonal, Gaussian and pretrained weights
isometry        singular values of products and Jacobians, critical gain
linear_network  networks trained in NumPy, as in the pc_bias paper
prediction      when a network learns each mode of a data set
=============== ========================================================

The function `linear_network.initial_weights` is not re-exported, because the module
`initial_weights` has the same name.
"""

from skdmn.analysis.deep_linear.initial_weights import (
    PretrainingConsistency,
    decoupled_weights,
    gaussian_weights,
    orthogonal_weights,
    pretrained_weights,
    pretraining_consistency,
)
from skdmn.analysis.deep_linear.isometry import (
    IDENTITY,
    RELU,
    TANH,
    Activation,
    critical_gain,
    end_to_end_jacobian,
    fixed_point,
    layer_variances,
    product_singular_values,
    variance_map,
)
from skdmn.analysis.deep_linear.learning_rates import (
    Curvature,
    best_learning_steps,
    curvature,
    learning_delay,
    learning_steps,
    optimal_learning_rate,
    optimized_learning_time,
)
from skdmn.analysis.deep_linear.linear_network import (
    compact_weights,
    initial_variances,
    partial_products,
    train_deep_linear,
)
from skdmn.analysis.deep_linear.modes import (
    learning_time,
    limiting_learning_time,
    limiting_mode_strength,
    mode_strength,
)
from skdmn.analysis.deep_linear.prediction import (
    LearningPrediction,
    predict_learning,
)
from skdmn.analysis.deep_linear.simulation import (
    LearningCourse,
    correlations,
    gradient_descent,
    gradient_flow,
)
from skdmn.analysis.deep_linear.unequal_modes import (
    unequal_learning_time,
    unequal_mode_strengths,
)

__all__ = [
    "IDENTITY",
    "RELU",
    "TANH",
    "Activation",
    "Curvature",
    "LearningCourse",
    "LearningPrediction",
    "PretrainingConsistency",
    "best_learning_steps",
    "compact_weights",
    "correlations",
    "critical_gain",
    "curvature",
    "decoupled_weights",
    "end_to_end_jacobian",
    "fixed_point",
    "gaussian_weights",
    "gradient_descent",
    "gradient_flow",
    "initial_variances",
    "layer_variances",
    "learning_delay",
    "learning_steps",
    "learning_time",
    "limiting_learning_time",
    "limiting_mode_strength",
    "mode_strength",
    "optimal_learning_rate",
    "optimized_learning_time",
    "orthogonal_weights",
    "partial_products",
    "predict_learning",
    "pretrained_weights",
    "pretraining_consistency",
    "product_singular_values",
    "train_deep_linear",
    "unequal_learning_time",
    "unequal_mode_strengths",
    "variance_map",
]
