"""Density matrices of image patches: spectra, subspaces, convergence, fluctuations.

A density matrix is the second-moment matrix of the patches of a class, divided by its
trace.

============ =======================================================
module       contents
============ =======================================================
spectrum     energies, partition functions and Hamiltonians
subspaces    angles and overlaps between classes, shared filters
propagation  filters of higher layers, propagated down to the image
convergence  number of images that a density matrix needs
fluctuations fluctuations of eigenvalues, and tests of their law
============ =======================================================
"""

from skdmn.analysis.density.convergence import (
    DensityConvergence,
    DensityPath,
    density_convergence,
    density_path,
)
from skdmn.analysis.density.fluctuations import (
    Claim,
    Fluctuations,
    FluctuationTest,
    eigenvalue_fluctuations,
    fluctuation_test,
)
from skdmn.analysis.density.propagation import PropagatedFilters, propagate_filters
from skdmn.analysis.density.spectrum import (
    LayerSpectrum,
    energies,
    gibbs_state,
    hamiltonian,
    layer_spectrum,
    overlap_gap,
    partition_function,
)
from skdmn.analysis.density.subspaces import (
    FilterMembership,
    class_angles,
    density_overlaps,
    filter_membership,
    principal_angles,
    variance_shares,
)

__all__ = [
    "Claim",
    "DensityConvergence",
    "DensityPath",
    "FilterMembership",
    "FluctuationTest",
    "Fluctuations",
    "LayerSpectrum",
    "PropagatedFilters",
    "class_angles",
    "density_convergence",
    "density_overlaps",
    "density_path",
    "eigenvalue_fluctuations",
    "energies",
    "filter_membership",
    "fluctuation_test",
    "gibbs_state",
    "hamiltonian",
    "layer_spectrum",
    "overlap_gap",
    "partition_function",
    "principal_angles",
    "propagate_filters",
    "variance_shares",
]
