"""The papers' theory as functions, one module for each idea.

================== ==============================================================
module             what it computes
================== ==============================================================
spectrum           energies, partition function and Hamiltonian of density matrices
subspaces          angles and overlaps of classes, which filters they share
propagation        filters of higher layers, seen on the image
convergence        how many images are enough for a density matrix
fluctuations       the law of how eigenvalues fluctuate, tested
sgd, history       weights during SGD, their singular values, how layers converge
agreement          how far SGD's filters lie in the span of computed ones
cost               operations of SGD and of computed layers
deep_linear        exact time courses of deep linear networks, of any depth
unequal_modes      the same where the weights of a mode begin unequal
learning_rates     curvature, best learning rates, delays with depth
simulation         the dynamics integrated, without passing over data
initial_weights    decoupled, orthogonal, Gaussian and pretrained weights
isometry           singular values of products and Jacobians, the mean-field map
linear_network     deep linear networks trained in NumPy
pc_bias            gradient scale matrices, predicted weights along components
learning_order     accessibility, critical components and frequencies
frequency_data     the data set of frequencies
================== ==============================================================
"""
