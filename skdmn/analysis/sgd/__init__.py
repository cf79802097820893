"""Stochastic gradient descent: weights, agreement with computed filters, cost.

========= =======================================================
module    contents
========= =======================================================
weights   singular values and convergence of weights
history   recording of weights while a network is trained
recorder  recording of weights and predictions of any network, in one layout
agreement agreement of trained filters with computed directions
cost      number of operations of training and of computed layers
========= =======================================================
"""

from skdmn.analysis.sgd.agreement import (
    Agreement,
    Spread,
    filter_agreement,
    filter_spread,
)
from skdmn.analysis.sgd.cost import (
    Operations,
    hybrid_bound,
    sgd_bound,
    training_operations,
)
from skdmn.analysis.sgd.history import WeightHistory, mlp_history, torch_history
from skdmn.analysis.sgd.recorder import RecordedWeights, Recorder
from skdmn.analysis.sgd.weights import (
    backward_matrices,
    layer_distances,
    predicted_singular_value,
    singular_values,
    weight_products,
)

__all__ = [
    "Agreement",
    "Operations",
    "RecordedWeights",
    "Recorder",
    "Spread",
    "WeightHistory",
    "backward_matrices",
    "filter_agreement",
    "filter_spread",
    "hybrid_bound",
    "layer_distances",
    "mlp_history",
    "predicted_singular_value",
    "sgd_bound",
    "singular_values",
    "torch_history",
    "training_operations",
    "weight_products",
]
