# %% [markdown]
# # What are computed filters, and how good are they?
#
# The filters of a Density Matrix Network are not trained. They are the leading
# eigenvectors of the *density matrix* of each class: the second-moment matrix of the
# image patches of this class, divided by its trace
# ([arXiv:1703.04757v3](https://arxiv.org/abs/1703.04757v3)). This notebook computes
# the filters of the digits that come with scikit-learn, plots them, and compares them
# with raw pixels and with random filters.

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
# `make_dmn` returns a scikit-learn Pipeline. It has two computed convolutions, each
# followed by a ReLU and max pooling, and a softmax classifier. Only the softmax is
# optimized.

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
# Take all 3 x 3 patches of the images of a class, write each patch as a row of nine
# numbers, average the outer products of the rows, and divide by the trace. A layer
# learns from these matrices only.

# %%
layer = ClassPCAPatchTransformer(3, variance_cutoff=0.95).fit(X_train, y_train)

zeros = X_train[y_train == 0].astype(float)
patches = np.lib.stride_tricks.sliding_window_view(zeros, (3, 3), axis=(1, 2))
patches = patches.reshape(-1, 9)
by_hand = patches.T @ patches
by_hand /= np.trace(by_hand)
difference = np.abs(by_hand - layer.density_matrices_[0]).max()
print(f"largest difference from the layer's density matrix: {difference:.0e}")
assert difference < 1e-12

display = DensityMatrixDisplay.from_estimator(layer)

# %% [markdown]
# ## What a filter is
#
# A filter is an eigenvector of a density matrix, reshaped to a patch. Its eigenvalue p
# is its share of the variance of the class, and E = -log p is its energy: common
# patterns have low energy. A filter that nearly equals a filter of an earlier class is
# merged into it. The first filter is a blob (it measures how much ink there is), the
# next ones are edges, and filters of high energy are textures.

# %%
display = FilterDisplay.from_estimator(layer)

# %% [markdown]
# The variance cutoff determines how many components are kept: here, for each class, the
# leading ones that together explain at most 95 % of its variance (filled markers). The
# layer stores its density matrices, so another cutoff needs no new pass over the images
# (see the next notebook).

# %%
display = EnergyDisplay.from_estimator(layer)

# %% [markdown]
# ## Which filters classes share
#
# The density matrices of the classes are very similar: the leading component of every
# class is the blob. Therefore many filters represent several classes.

# %%
display = ClassOverlapDisplay.from_estimator(layer)
membership = filter_membership(layer)
for number, (energy, n) in enumerate(
    zip(layer.energies_, membership.n_sharing, strict=True)
):
    label = layer.filter_classes_[number]
    whose = f"class {label} only" if n == 1 else f"{n} classes, the first is {label}"
    print(f"filter {number:2}  E = {energy:.2f} nats  {whose}")
overlaps = display.overlaps[~np.eye(len(display.overlaps), dtype=bool)]
print(f"overlap of two classes: {overlaps.min():.3f} to {overlaps.max():.3f}")

# %% [markdown]
# ## What the second layer detects
#
# A filter of the second layer is a weighted sum of the channels of the first layer.
# Propagated back to the image, the filters show strokes, corners and blobs. Behind a
# ReLU and pooling this is an approximation (see notebook 03).

# %%
n_one_sign = len(dmn["conv2"].filters_) // 2  # the second half are their negatives
propagated = propagate_filters(dmn, "conv2").filters[:n_one_sign][:24]
propagated /= np.sqrt((propagated**2).sum(axis=(1, 2, 3), keepdims=True))
display = FilterDisplay(
    propagated, dmn["conv2"].energies_[:24], dmn["conv2"].filter_classes_[:24]
).plot()

# %% [markdown]
# ## How well they classify
#
# We compare computed filters with random filters (unit vectors, the same number in the
# same two layers) and with raw pixels, once with few filters and once with the default
# number. Each set of features gets the same softmax classifier, whose C is chosen by
# cross-validation on the training images. The data are split five times.


# %%
def randomized(network, X, y, seed):
    """Fit the layers one after the other with random filters of the same number."""
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
    """Return the test accuracy of a softmax with C chosen on the training images."""
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
    print(f"computed minus random filters, {count}: {each} points")

# %% [markdown]
# ## Answer

# %%
shared = int((membership.n_sharing > 1).sum())
means = {name: values.mean() for name, values in accuracies.items()}
assert (accuracies["computed filters, many"] > accuracies["raw pixels"]).all()
assert all(abs(gain.mean()) < 1 for gain in gains.values())
print(
    "Computed filters are the leading eigenvectors of the density matrices of the "
    f"classes: a blob, edges and textures. {shared} of {len(membership.n_sharing)} are "
    "shared by several classes. They need no training. A softmax on their features "
    f"classifies {means['computed filters, many']:.1f} % of unseen digits correctly, a "
    f"softmax on raw pixels {means['raw pixels']:.1f} %. On images this small the gain "
    "comes from convolution, ReLU and pooling: the same number of random filters "
    f"reaches {means['random filters, many']:.1f} %. With few filters, random ones "
    f"reach {means['random filters, few']:.1f} % and computed ones "
    f"{means['computed filters, few']:.1f} %. These differences are smaller than those "
    "between splits of the data."
)
