"""Softmax regression: estimator, objective and solver."""
