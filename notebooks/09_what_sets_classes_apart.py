# %% [markdown]
# # What sets classes apart, and is that a better filter than what they have most of?
#
# The papers' filters are the directions in which a class's patches have the most
# variance: bright blobs and edges, which all classes share. Here the same density
# matrices answer another question: in which directions does one group of patches vary
# more than all patches do? Those are generalized eigenvectors,
# `rho_g w = ratio (rho + r/d) w`, or class-based PCA in whitened space. Groups are
# classes, or finer: classes by the cell of the image that a patch lies in.

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
# ## What a class has most of
#
# Filters of the papers' layer on 4 x 4 patches, with their energies.

# %%
common = ClassPCAPatchTransformer(4, variance_cutoff=0.9, n_filters=12).fit(X, y)
display = FilterDisplay.from_estimator(common)

# %% [markdown]
# ## What sets a class in a place apart
#
# Patches less their mean, divided by their contrast; ten classes by four quadrants make
# forty density matrices. The number at each filter is its variance ratio.

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
    print(f"class {label}, {where}: {ratio:.1f} times the variance that all have")

# %% [markdown]
# A ratio of 1 says that a group varies as all do. Groups that are finer lie further
# apart: by class alone the ratios are smaller than by class and quadrant.

# %%
figure, axes = plt.subplots(figsize=(5.5, 3), layout="constrained")
for grid, groups in ((1, "classes"), (2, "classes by quadrant"), (4, "by 16 cells")):
    layer = WhitenedPCAPatchTransformer(
        4, n_filters=60, position_grid=grid, correlation_cutoff=1.0
    ).fit(X, y)
    axes.plot(layer.variance_ratios_, label=groups)
axes.axhline(1, color="0.7", lw=0.8)
axes.set(xlabel="filter", ylabel="variance ratio")
axes.legend(frameon=False)

# %% [markdown]
# ## Which is better?
#
# As many filters of each kind, both signs, averaged over the same windows, the same
# softmax; ten splits in halves, the difference to the first row on the same splits.


# %%
def network(conv):
    pool = AveragePool2DTransformer(2, stride=1, power=0.5)
    return DensityMatrixNetwork([("conv", conv), ("pool", pool)])


def random_directions(layer, seed=0):
    """Replace filters by random directions of the same whitened space."""
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
    "most of: class PCA": ClassPCAPatchTransformer(
        4, n_filters=n, variance_cutoff=1.0, signs="both"
    ),
    "apart: classes": WhitenedPCAPatchTransformer(4, n_filters=n, position_grid=1),
    "apart: by quadrant": WhitenedPCAPatchTransformer(4, n_filters=n, position_grid=2),
    "apart: quadrants alone": WhitenedPCAPatchTransformer(
        4, n_filters=n, position_grid=2, class_based=False
    ),
    "whitened, random": WhitenedPCAPatchTransformer(4, n_filters=n, position_grid=2),
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
    print(f"{name:24} {np.mean(found):.2%}  {difference.mean():+.2%} ± {error:.2%}")

# %% [markdown]
# What sets classes apart is the better filter here, by about 0.7 points, several
# times its standard error and a third of all mistakes. Random directions of the same
# whitened space gain nothing over the papers' filters: it is not contrast and whitening
# alone. On these small images classes are groups enough; on CIFAR-10, with hundreds of
# filters, classes by cell are what goes on giving distinct ones.
