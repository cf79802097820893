"""Stochastic gradient descent: weights, agreement with computed filters, cost."""
