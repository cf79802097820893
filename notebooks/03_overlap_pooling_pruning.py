# %% [markdown]
# # What do overlapping patches do to a second layer, and what helps?
#
# Neighbouring patches share pixels, so what a convolution gives for them is correlated
# whatever the image shows. The first paper
# ([arXiv:1703.04757v1](https://arxiv.org/abs/1703.04757v1)) sees this in the energies
# of a second layer: 25 of them, then a wide jump (Fig. 3). It takes the 25 for filters
# due to overlap, drops them, and shows the rest propagated to the image (Fig. 5); with
# such a second layer its network does worse than without. Here is the same on digits.

# %%
import warnings

import numpy as np
from matplotlib import pyplot as plt
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.pipeline import Pipeline

from skdmn import (
    ClassPCAPatchTransformer,
    FilterDisplay,
    FlattenTransformer,
    MaxPool2DTransformer,
    OverlapPruner,
    SoftmaxClassifier,
)
from skdmn.analysis.density.propagation import propagate_filters
from skdmn.analysis.density.spectrum import energies, layer_spectrum, overlap_gap
from skdmn.datasets import load_digits_images
from skdmn.display.spectrum import EnergyDisplay

X, y = load_digits_images()
X = X / 16.0  # float64: rounding noise stands 28 nats off, in float32 about 13


def two_layers(activation, pooled):
    """Return two 3 x 3 layers with all components of one density matrix each."""
    complete = {"class_based": False, "variance_cutoff": 1.0}
    padding = "same" if pooled else "valid"  # 8 x 8 pixels are soon used up
    first = ClassPCAPatchTransformer(
        3, activation=activation, padding=padding, **complete
    )
    second = ClassPCAPatchTransformer(3, activation=None, **complete)
    pool = [("pool1", MaxPool2DTransformer(2))] if pooled else []
    return Pipeline([("conv1", first), *pool, ("conv2", second)])


networks = {
    "linear": two_layers(None, pooled=False).fit(X),
    "ReLU": two_layers("relu", pooled=False).fit(X),
    "ReLU, pooled": two_layers("relu", pooled=True).fit(X),
}

# %% [markdown]
# ## The gap
#
# Energies of the second layer behind a linear first layer, behind a ReLU, and behind a
# ReLU and pooling. Only the linear one has a gap, behind 25 = 5 x 5.

# %%
figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained", sharey=True)
gaps = {}
for axis, (name, network) in zip(axes, networks.items(), strict=True):
    EnergyDisplay.from_estimator(network["conv2"], ax=axis)
    axis.set_title(f"{name}: {axis.get_title('left')}", loc="left", fontsize=9)
    gaps[name] = overlap_gap(layer_spectrum(network["conv2"]).energies[0])
    print(f"behind {name:12}: {gaps[name]}")
assert gaps["linear"].n_overlap == 25
assert gaps["ReLU"].n_overlap == gaps["ReLU, pooled"].n_overlap == 0

# %% [markdown]
# ## What lies on either side of it
#
# Nine linear filters of 3 x 3 pixels, and again 3 x 3 of those: the second layer gets
# 81 numbers, but all come from 5 x 5 = 25 pixels. So its density matrix has rank 25,
# and behind the gap there is nothing but rounding. Propagated filters show it: linear
# layers compose exactly, and the filters behind the gap are *zero* on the image.

# %%
linear = networks["linear"]
propagated = propagate_filters(linear, "conv2")
norms = np.sqrt((propagated.filters**2).sum(axis=(1, 2, 3)))
print(f"receptive field {propagated.filters.shape[1:3]}, {len(norms)} filters")
print(f"norms on the image: first 25 at least {norms[:25].min():.2f},")
print(f"                    the others at most {norms[25:].max():.0e}")
assert norms[:25].min() > 0.1
assert norms[25:].max() < 1e-6

# exact: the filters' response on the image is the layers' output
image, maps = X[:1], linear.transform(X[:1])
windows = np.lib.stride_tricks.sliding_window_view(image, (5, 5), axis=(1, 2))
response = np.einsum("nijyx,fyx->nijf", windows, propagated.filters[..., 0])
print(f"response and output differ by at most {np.abs(response - maps).max():.0e}")
assert np.allclose(response, maps, atol=1e-12)

# %% [markdown]
# The 25 in front of the gap are no artefact to be dropped: they are all that a linear
# second layer can see, filters of 5 x 5 pixels. Here they are with their energies, as
# Fig. 5 shows filters.

# %%
display = FilterDisplay(
    propagated.filters[:25], linear["conv2"].energies_[:25], np.zeros(25, dtype=int)
).plot()

# %% [markdown]
# Overlap has shaped them all the same. The nine filters of the first layer are a
# complete orthonormal basis, so its output for a patch has the patch's norm, and the
# second layer counts each of the 25 pixels as often as patches contain it: the centre
# nine times, a corner once. With D the diagonal matrix of these counts and rho the
# density matrix of the image's own 5 x 5 patches, its 25 energies are those of
# sqrt(D) rho sqrt(D).

# %%
single = ClassPCAPatchTransformer(5, class_based=False, variance_cutoff=1.0).fit(X)
along = np.array([1, 2, 3, 2, 1])
root = np.sqrt(np.outer(along, along)).ravel()
weighted = root[:, np.newaxis] * single.density_matrices_[0] * root
levels = energies(weighted)
error = np.abs(levels - linear["conv2"].energies_[:25]).max()
print(f"times a pixel counts, by row and column: {along} x {along}")
print(f"energies of sqrt(D) rho sqrt(D) and of the second layer differ by {error:.0e}")
assert error < 1e-9

figure, axis = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
ranks = np.arange(1, 26)
axis.plot(ranks, single.energies_, "s--", mfc="none", c="tab:orange", label="one 5 x 5")
axis.plot(ranks, levels, "o-", ms=4, c="tab:blue", label="3 x 3 behind 3 x 3")
axis.set_xlabel("rank of component")
axis.set_ylabel("energy $-\\log p$ (nats)")
axis.legend(frameon=False)
axis.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# ## Behind a ReLU and pooling
#
# There the second layer has more directions than pixels and no gap. Its propagated
# filters are one linear piece of it: every ReLU open, every pooled position the mean of
# its window. Pooling widens the receptive field to 8 x 8, the whole image.

# %%
pooled = networks["ReLU, pooled"]
seen = propagate_filters(pooled, "conv2")
print(f"receptive field {seen.filters.shape[1:3]}, stride {seen.stride}")
chosen = seen.filters[:24] / np.sqrt(
    (seen.filters[:24] ** 2).sum(axis=(1, 2, 3), keepdims=True)
)
display = FilterDisplay(
    chosen, pooled["conv2"].energies_[:24], np.zeros(24, dtype=int)
).plot()

# %% [markdown]
# ## What pruning does to accuracy
#
# `OverlapPruner` finds the gap in the feature maps alone. Behind the linear layer
# "auto" warns that only noise would be left, and keeps everything; as a number it is
# obeyed. Below, the channels of lowest energy are dropped behind each of the three
# networks (then a ReLU and pooling for all, and a softmax), over five splits. The
# filters, which have seen no labels, are those from above.

# %%
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    pruner = OverlapPruner().fit(linear.transform(X))
print(f"n_overlap_ = {pruner.n_overlap_}, {pruner.support_.sum()} channels kept:")
print(caught[0].message)
assert (pruner.n_overlap_, pruner.gap_ > 6) == (25, True)


def accuracy(network, n_overlap, train, test):
    """Return the accuracy with so many channels dropped."""
    maps = [network.transform(X[some]) for some in (train, test)]
    pruner = OverlapPruner(n_overlap).fit(maps[0])
    rectified = [np.maximum(pruner.transform(some), 0) for some in maps]
    top = Pipeline(
        [
            ("pool", MaxPool2DTransformer(2, padding="same")),
            ("flatten", FlattenTransformer()),
            ("softmax", SoftmaxClassifier(C=0.1)),
        ]
    )
    return 100 * top.fit(rectified[0], y[train]).score(rectified[1], y[test])


dropped = [0, 1, 2, 5, 10, 20, 25]
splits = list(StratifiedShuffleSplit(5, test_size=0.3, random_state=0).split(X, y))
accuracies = {
    name: np.array(
        [[accuracy(net, n, train, test) for train, test in splits] for n in dropped]
    )
    for name, net in networks.items()
}
print("dropped     " + "".join(f"{n:8}" for n in dropped))
for name, values in accuracies.items():
    print(f"{name:12}" + "".join(f"{value:8.1f}" for value in values.mean(axis=1)))

# %%
figure, axis = plt.subplots(figsize=(5.6, 3.6), layout="constrained")
styles = [("o", "-"), ("s", "--"), ("^", ":")]
colours = plt.colormaps["viridis"]([0.0, 0.4, 0.8])
for (name, values), (marker, line), colour in zip(
    accuracies.items(), styles, colours, strict=True
):
    axis.errorbar(
        dropped,
        values.mean(axis=1),
        values.std(axis=1, ddof=1),
        marker=marker,
        ls=line,
        color=colour,
        capsize=3,
        label=name,
    )
axis.set_xlabel("channels of lowest energy that were dropped")
axis.set_ylabel("test accuracy (%)")
axis.legend(title="first layer", frameon=False)
axis.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# ## Answer

# %%
best_gain = max(
    (values.mean(axis=1)[1:] - values[0].mean()).max() for values in accuracies.values()
)
loss = accuracies["linear"][0].mean() - accuracies["linear"][-1].mean()
assert best_gain < 0.5
assert loss > 0
print(
    "Behind a linear layer a second 3 x 3 layer sees only the 25 pixels below it: its "
    f"energies jump by {gaps['linear'].width:.0f} nats behind 25 filters, and the "
    f"{len(norms) - 25} behind the jump are zero on the image (norms below "
    f"{norms[25:].max():.0e}), rounding and nothing else. Overlap only makes the layer "
    "count the centre's pixels more often than the corner's. A ReLU or pooling between "
    "the layers gives it more to see: the widest gap is then "
    f"{gaps['ReLU'].width:.1f} and {gaps['ReLU, pooled'].width:.1f} nats. Dropping "
    f"channels of low energy does not help: its best gain is {best_gain:.1f} points, "
    "and dropping 25 behind the linear layer, as the paper did, loses "
    f"{loss:.1f} (what is left is rounding, which a softmax scales up)."
)
