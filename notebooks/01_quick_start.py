# %% [markdown]
# # What are computed filters, and how good are they?
#
# The filters of a Density Matrix Network are not trained. They are the leading
# eigenvectors of every class's *density matrix*, the second moments of its image
# patches ([arXiv:1703.04757v3](https://arxiv.org/abs/1703.04757v3)). Here they are
# computed on the digits that come with scikit-learn, looked at, and held against raw
# pixels and random filters.

# %%
import time
from collections import defaultdict

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedShuffleSplit,
    train_test_split,
)

from skdmn import ClassPCAPatchTransformer, FilterDisplay, SoftmaxClassifier, make_dmn
from skdmn.analysis.density.propagation import propagate_filters
from skdmn.analysis.density.subspaces import filter_membership
from skdmn.datasets import load_digits_images
from skdmn.display.spectrum import (
    ClassOverlapDisplay,
    DensityMatrixDisplay,
    EnergyDisplay,
)

X, y = load_digits_images()
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
print(f"{len(X_train)} training images, {len(X_test)} test images of {X.shape[1:]}")

# %% [markdown]
# ## A network in one call
#
# `make_dmn` gives a plain scikit-learn Pipeline: two computed convolutions, each with a
# ReLU and max pooling, and a softmax. Only the softmax is optimized.

# %%
started = time.perf_counter()
dmn = make_dmn(n_layers=2).fit(X_train, y_train)
seconds = time.perf_counter() - started
print(f"test accuracy {dmn.score(X_test, y_test):.1%} after {seconds:.1f} s of fit")
for name, step in dmn.steps:
    print(f"{name:8} {type(step).__name__}")

# %% [markdown]
# ## What a density matrix is
#
# Cut a class's images into 3 x 3 patches, write each as a row of nine numbers, average
# their outer products, divide by the trace. That is all that a layer learns from.

# %%
layer = ClassPCAPatchTransformer(3, variance_cutoff=0.95).fit(X_train, y_train)

zeros = X_train[y_train == 0].astype(float)
patches = np.lib.stride_tricks.sliding_window_view(zeros, (3, 3), axis=(1, 2))
patches = patches.reshape(-1, 9)
by_hand = patches.T @ patches
by_hand /= np.trace(by_hand)
difference = np.abs(by_hand - layer.density_matrices_[0]).max()
print(f"by hand and by the layer: largest difference {difference:.0e}")
assert difference < 1e-12

display = DensityMatrixDisplay.from_estimator(layer)

# %% [markdown]
# ## What a filter is
#
# An eigenvector, reshaped to a patch. Its eigenvalue p is its share of the class's
# variance, and E = -log p its energy: what is common has low energy. Filters that
# nearly repeat one of an earlier class are merged into it. The first filter is a blob
# (is there ink at all?), the next are edges, those of high energy are textures.

# %%
display = FilterDisplay.from_estimator(layer)

# %% [markdown]
# Which components are kept follows from the variance cutoff: here, per class, those
# that together hold at most 95 % of the variance (filled). Density matrices are kept,
# so that another cutoff costs nothing new (see the next notebook).

# %%
display = EnergyDisplay.from_estimator(layer)

# %% [markdown]
# ## What classes share, and what is their own
#
# The classes' density matrices are very much alike: all have the blob first. So most
# filters stand for several classes.

# %%
display = ClassOverlapDisplay.from_estimator(layer)
membership = filter_membership(layer)
for number, (energy, n) in enumerate(
    zip(layer.energies_, membership.n_sharing, strict=True)
):
    label = layer.filter_classes_[number]
    whose = f"class {label} alone" if n == 1 else f"{n} classes, first of them {label}"
    print(f"filter {number:2}  E = {energy:.2f} nats  {whose}")
overlaps = display.overlaps[~np.eye(len(display.overlaps), dtype=bool)]
print(f"overlap of two classes: from {overlaps.min():.3f} to {overlaps.max():.3f}")

# %% [markdown]
# ## What the second layer looks for
#
# A filter of the second layer weighs the channels of the first. Propagated down to the
# image it shows strokes, corners and blobs. (Through a ReLU and a pooling this is a
# sketch: see notebook 03.)

# %%
n_one_sign = len(dmn["conv2"].filters_) // 2  # behind these come their negatives
propagated = propagate_filters(dmn, "conv2").filters[:n_one_sign][:24]
propagated /= np.sqrt((propagated**2).sum(axis=(1, 2, 3), keepdims=True))
display = FilterDisplay(
    propagated, dmn["conv2"].energies_[:24], dmn["conv2"].filter_classes_[:24]
).plot()

# %% [markdown]
# ## How good they are
#
# Computed filters against random ones (unit vectors, as many, in the same two layers)
# and against raw pixels, with few filters and with the default number. The same softmax
# on top of each, its C chosen by cross-validation on training images; five splits of
# the data.


# %%
def randomized(network, X, y, seed):
    """Fit layers one by one, and replace the filters of each by random ones."""
    rng = np.random.default_rng(seed)
    network = clone(network)
    for _, step in network.steps:
        step.fit(X, y)
        if isinstance(step, ClassPCAPatchTransformer):
            half = rng.normal(size=(len(step.filters_) // 2, *step.filters_.shape[1:]))
            half /= np.sqrt((half**2).sum(axis=(1, 2, 3), keepdims=True))
            step.filters_ = np.concatenate([half, -half]).astype(step.filters_.dtype)
        X = step.transform(X)
    return network


def softmax_accuracy(train, y_train, test, y_test):
    """Return the accuracy of a softmax whose C was chosen on training images."""
    search = GridSearchCV(SoftmaxClassifier(), {"C": [0.01, 0.1]}, cv=2)
    return search.fit(train, y_train).score(test, y_test)


counts = {"few": [4, 16], "many": [8, 96]}  # in the first and the second layer
accuracies = defaultdict(list)
splits = StratifiedShuffleSplit(n_splits=5, test_size=0.25, random_state=0)
for seed, (train, test) in enumerate(splits.split(X, y)):
    rows = {"raw pixels": [X[some].reshape(len(some), -1) for some in (train, test)]}
    for count, n_filters in counts.items():
        layers = make_dmn(2, n_filters=n_filters)[:-1]
        for name, network in {
            f"random filters, {count}": randomized(layers, X[train], y[train], seed),
            f"computed filters, {count}": layers.fit(X[train], y[train]),
        }.items():
            rows[name] = [network.transform(X[some]) for some in (train, test)]
    for name, (features, features_test) in rows.items():
        accuracies[name].append(
            softmax_accuracy(features, y[train], features_test, y[test])
        )

accuracies = {name: 100 * np.array(values) for name, values in accuracies.items()}
for name, values in accuracies.items():
    print(
        f"{name:23} {values.mean():.2f} %  ({values.min():.2f} to {values.max():.2f})"
    )
gains = {
    count: accuracies[f"computed filters, {count}"]
    - accuracies[f"random filters, {count}"]
    for count in counts
}
for count, gain in gains.items():
    each = ", ".join(f"{points:+.1f}" for points in gain)
    print(f"computed over random, {count}: {each} points")

# %% [markdown]
# ## Answer

# %%
shared = int((membership.n_sharing > 1).sum())
means = {name: values.mean() for name, values in accuracies.items()}
assert (accuracies["computed filters, many"] > accuracies["raw pixels"]).all()
assert all(abs(gain.mean()) < 1 for gain in gains.values())
print(
    "Computed filters are the leading eigenvectors of the classes' patch statistics: a "
    f"blob, edges and textures, {shared} of {len(membership.n_sharing)} shared by "
    "several classes; they take no training. A softmax on them classifies "
    f"{means['computed filters, many']:.1f} % of unseen digits, on raw pixels "
    f"{means['raw pixels']:.1f} %. On pictures as small as these that is the merit of "
    "convolution, ReLU and pooling: as many random filters reach "
    f"{means['random filters, many']:.1f} %, and with few of them random and computed "
    f"ones stand at {means['random filters, few']:.1f} and "
    f"{means['computed filters, few']:.1f} %, differences that a split of the data "
    "undoes."
)
