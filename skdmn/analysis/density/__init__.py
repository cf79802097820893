"""Density matrices: spectra, subspaces, convergence, fluctuations."""
