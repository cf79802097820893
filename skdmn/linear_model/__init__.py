"""The linear classifier on top: its estimator, objective and solver."""
