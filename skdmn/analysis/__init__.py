"""Theory of the papers as functions, in four packages.

Each package re-exports its public functions, and so does this one: import them by
``from skdmn.analysis import layer_spectrum``. Packages are imported on first access.

=========================== =======================================================
package or module           contents
=========================== =======================================================
**density**                 density matrices of image patches
density.spectrum            energies, partition functions and Hamiltonians
density.subspaces           angles and overlaps between classes, shared filters
density.propagation         filters of higher layers, propagated down to the image
density.convergence         number of images that a density matrix needs
density.fluctuations        fluctuations of eigenvalues, and tests of their law
**sgd**                     weights learned by stochastic gradient descent
sgd.weights                 singular values and convergence of weights
sgd.history                 recording of weights while a network is trained
sgd.recorder                recording of any network, in one layout
sgd.agreement               agreement of trained filters with computed directions
sgd.cost                    number of operations of training and of computed layers
**deep_linear**             learning dynamics of deep linear networks
deep_linear.modes           exact time courses, for any depth
deep_linear.unequal_modes   exact time courses for unequal initial weights
deep_linear.learning_rates  curvature, optimal learning rates, delay by depth
deep_linear.simulation      gradient flow and gradient descent from correlations
deep_linear.initial_weights decoupled, orthogonal, Gaussian and pretrained weights
deep_linear.isometry        singular values of products and Jacobians, critical gain
deep_linear.linear_network  networks trained in NumPy, as in the pc_bias paper
deep_linear.prediction      when a network learns each mode of a data set
**pc_bias**                 principal component bias of gradient descent
pc_bias.directions          learning along the principal directions of the data
pc_bias.learning_order      learning order of examples, and scores that explain it
pc_bias.frequency_data      data sets that separate frequency bias from this bias
=========================== =======================================================
"""

from importlib import import_module
from typing import Any

_PACKAGES = ("density", "sgd", "deep_linear", "pc_bias")


def __getattr__(name: str) -> Any:
    """Return a public name of one of the packages, or the list of all names."""
    if name == "__all__":
        return sorted(n for one in _PACKAGES for n in [one, *__getattr__(one).__all__])
    if not name.startswith("_"):
        for package in _PACKAGES:
            found = import_module(f"{__name__}.{package}")
            if name == package:
                return found
            if name in found.__all__:
                return getattr(found, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__getattr__("__all__")})
