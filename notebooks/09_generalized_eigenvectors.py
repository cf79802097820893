# %% [markdown]
# # Are generalized eigenvectors better filters than principal components?
#
# Generalized eigenvectors are the directions in which one group of patches has more
# variance than all patches together. The filters of the papers are instead the
# directions in which the patches of a class have the most variance: bright blobs and
# edges, which all classes share. Both are computed from the same density matrices. The
# generalized eigenvectors solve `rho_g w = ratio (rho + r/d) w`, where rho_g is the
# density matrix of the group, rho that of all patches, r the regularization and d the
# number of patch entries; this is class-based PCA in whitened space (the
# Fukunaga-Koontz transform). The groups are the classes, or finer: each class is split
# by the cell of the image in which the patch lies.

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.model_selection import StratifiedShuffleSplit

from skdmn import (
    AveragePool2DTransformer,
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    FilterDisplay,
    SoftmaxClassifier,
    WhitenedPCAPatchTransformer,
)
from skdmn.datasets import load_digits_images

X, y = load_digits_images()

# %% [markdown]
# ## Principal components
#
# These are the filters of the layer of the papers on 4 x 4 patches, with their
# energies.

# %%
common = ClassPCAPatchTransformer(4, variance_cutoff=0.9, n_filters=12).fit(X, y)
display = FilterDisplay.from_estimator(common)

# %% [markdown]
# ## Generalized eigenvectors
#
# The patches are normalized: their mean is subtracted, and they are divided by their
# contrast. Ten classes and four quadrants give forty density matrices. The number above
# each filter is its variance ratio.

# %%
apart = WhitenedPCAPatchTransformer(4, n_filters=12, position_grid=2).fit(X, y)
display = FilterDisplay.from_estimator(apart)
for ratio, label, cell in zip(
    apart.variance_ratios_[:6],
    apart.filter_classes_[:6],
    apart.filter_cells_[:6],
    strict=True,
):
    where = ("upper", "lower")[cell[0]] + " " + ("left", "right")[cell[1]]
    print(f"class {label}, {where}: {ratio:.1f} times the variance of all patches")

# %% [markdown]
# A ratio of 1 means that the group has the same variance as all patches. Finer groups
# differ more: the ratios of classes are smaller than those of classes by quadrant.

# %%
figure, axes = plt.subplots(figsize=(5.5, 3), layout="constrained")
for grid, groups in (
    (1, "classes"),
    (2, "classes by quadrant"),
    (4, "classes by 16 cells"),
):
    layer = WhitenedPCAPatchTransformer(
        4, n_filters=60, position_grid=grid, correlation_cutoff=1.0
    ).fit(X, y)
    axes.plot(layer.variance_ratios_, label=groups)
axes.axhline(1, color="0.7", lw=0.8)
axes.set(xlabel="filter", ylabel="variance ratio")
axes.legend(frameon=False)

# %% [markdown]
# ## Comparison
#
# All networks have the same number of filters, two-sided features, average pooling over
# the same windows, and the same softmax. The data are split into halves ten times. The
# second column is the difference from the first row on the same splits, with its
# standard error.


# %%
def network(conv):
    pool = AveragePool2DTransformer(2, stride=1, power=0.5)
    return DensityMatrixNetwork([("conv", conv), ("pool", pool)])


def random_directions(layer, seed=0):
    """Replace the filters by random directions of the same whitened space."""
    rng = np.random.default_rng(seed)
    d = layer.density_matrices_.shape[-1]
    density = layer.density_matrices_.reshape(-1, d, d).mean(axis=0)
    values, vectors = np.linalg.eigh(density)
    values = np.maximum(values, 0) + layer.regularization / d
    white = rng.normal(size=(len(layer.filters_), d))
    white /= np.linalg.norm(white, axis=1, keepdims=True)
    filters = white @ (vectors / np.sqrt(values)) @ vectors.T
    filters /= np.sqrt(layer.partition_functions_.mean())
    filters -= filters.mean(axis=1, keepdims=True)
    layer.filters_ = filters.reshape(layer.filters_.shape).astype(np.float32)


n = 24
layers = {
    "class PCA": ClassPCAPatchTransformer(
        4, n_filters=n, variance_cutoff=1.0, signs="both"
    ),
    "whitened, classes": WhitenedPCAPatchTransformer(4, n_filters=n, position_grid=1),
    "whitened, classes by quadrant": WhitenedPCAPatchTransformer(
        4, n_filters=n, position_grid=2
    ),
    "whitened, quadrants only": WhitenedPCAPatchTransformer(
        4, n_filters=n, position_grid=2, class_based=False
    ),
    "whitened, random directions": WhitenedPCAPatchTransformer(
        4, n_filters=n, position_grid=2
    ),
}
splits = StratifiedShuffleSplit(10, test_size=0.5, random_state=0)
scores = {name: [] for name in layers}
for train, test in splits.split(X, y):
    for name, layer in layers.items():
        net = network(clone(layer)).fit(X[train], y[train])
        if "random" in name:
            random_directions(net["conv"])
        softmax = SoftmaxClassifier(C=0.1).fit(net.transform(X[train]), y[train])
        scores[name].append(softmax.score(net.transform(X[test]), y[test]))
first = np.array(next(iter(scores.values())))
for name, found in scores.items():
    difference = np.array(found) - first
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    print(f"{name:30} {np.mean(found):.2%}  {difference.mean():+.2%} ± {error:.2%}")

# %% [markdown]
# ## Answer
#
# Yes: generalized eigenvectors are better here by about 0.7 points. This is several
# times the standard error, and one error in three is avoided. Random directions of the
# same whitened space gain almost nothing over the filters of the papers, so the gain is
# not due to contrast normalization and whitening alone. On these small images, the
# classes are sufficient as groups. On CIFAR-10, with hundreds of filters, classes by
# cell give more distinct filters.
