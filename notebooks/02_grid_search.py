# %% [markdown]
# # Which cutoffs should I use?
#
# A computed layer has two cutoffs and a maximum number of filters. The *variance
# cutoff* determines how many components of each class are kept. The *correlation
# cutoff* determines when filters of different classes count as equal. `n_filters`
# limits the total number of filters. None of these parameters changes the density
# matrices, so with `memory` a search computes the density matrices only once per fold.

# %%
import time
from tempfile import mkdtemp

import numpy as np
from joblib import Memory
from matplotlib import pyplot as plt
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    StratifiedKFold,
    train_test_split,
)

from skdmn import CutoffSearchCV, make_dmn
from skdmn.datasets import load_digits_images
from skdmn.display import SearchDisplay

X, y = load_digits_images()
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
folds = StratifiedKFold(3, shuffle=True, random_state=0)

# %% [markdown]
# ## A grid search
#
# The network is one layer of 3 x 3 filters, each with its negative, followed by 3 x 3
# pooling and a softmax. We try every combination of cutoffs and numbers of filters,
# with three folds.

# %%
grid = {
    "conv1__variance_cutoff": [0.8, 0.9, 0.95, 0.99, 0.999],
    "conv1__correlation_cutoff": [0.5, 0.7, 0.9],
    "conv1__n_filters": [4, 8, None],
}
folder = mkdtemp()
dmn = make_dmn(n_layers=1, memory=Memory(folder, verbose=0))
started = time.perf_counter()
search = GridSearchCV(dmn, grid, cv=folds).fit(X_train, y_train)
seconds = time.perf_counter() - started
n_fits = len(search.cv_results_["params"]) * folds.n_splits + 1
print(f"{n_fits} fits in {seconds:.0f} s; best parameters in cross-validation:")
for name, value in search.best_params_.items():
    print(f"  {name} = {value}")
print(f"accuracy in cross-validation {search.best_score_:.2%}")
print(f"accuracy on test images {search.score(X_test, y_test):.2%}")

# %% [markdown]
# The gain from `memory` depends on how much of the fit time the density matrices take.
# On 1,347 images of 8 x 8 pixels this is little: the softmax takes most of the time.
# Below is the time to fit the layer alone, with and without `memory`.

# %%
layer = search.best_estimator_["conv1"]
times = {}
for kept, memory in {"without": None, "with": Memory(folder, verbose=0)}.items():
    cutoffs = np.linspace(0.5, 0.99, 20)
    layers = [
        clone(layer).set_params(memory=memory, variance_cutoff=c) for c in cutoffs
    ]
    started = time.perf_counter()
    for one in layers:
        one.fit(X_train, y_train)
    times[kept] = (time.perf_counter() - started) / len(layers)
print(", ".join(f"{1e3 * t:.1f} ms per fit {kept} memory" for kept, t in times.items()))

# %% [markdown]
# ## The same search in less time
#
# `CutoffSearchCV` gives the same results, and computes only once what settings have in
# common: density matrices, features, and solutions of the softmax that differ little.

# %%
started = time.perf_counter()
shared = CutoffSearchCV(dmn, grid, cv=folds).fit(X_train, y_train)
shared_seconds = time.perf_counter() - started
difference = (
    shared.cv_results_["mean_test_score"] - search.cv_results_["mean_test_score"]
)
n_different = np.abs(difference).max() * len(X_train)
print(
    f"{seconds / shared_seconds:.1f} times faster than GridSearchCV, and at most "
    f"{n_different:.0f} of {len(X_train)} images differ in the labels of a setting"
)

# %% [markdown]
# `SearchDisplay` shows the scores of all settings. On the right, no setting is better
# than those on the Pareto front with the same number of features or fewer.

# %%
figure, axes = plt.subplots(1, 2, figsize=(10.5, 3.6), layout="constrained")
variance, correlation = "conv1__variance_cutoff", "conv1__correlation_cutoff"
SearchDisplay.from_search(shared, variance, group=correlation, ax=axes[0])
display = SearchDisplay.from_search(shared, group="conv1__n_filters", ax=axes[1])

# %% [markdown]
# ## The results as a table
#
# The number in parentheses is the number of filters, without their negatives, after a
# fit on all training images.


# %%
def n_filters_of(params):
    """Return the number of filters that a setting keeps, without their negatives."""
    layer = clone(search.best_estimator_["conv1"])
    names = {name.removeprefix("conv1__"): value for name, value in params.items()}
    return len(layer.set_params(**names).fit(X_train, y_train).filters_) // 2


results = search.cv_results_
n_left = np.array([n_filters_of(params) for params in results["params"]])
mean = results["mean_test_score"]
error = results["std_test_score"] / np.sqrt(folds.n_splits - 1)
print("variance  correlation   n_filters=4      n_filters=8      n_filters=None")
for variance in grid["conv1__variance_cutoff"]:
    for correlation in grid["conv1__correlation_cutoff"]:
        line = f"{variance:8}  {correlation:11}"
        for bound in grid["conv1__n_filters"]:
            values = [variance, correlation, bound]
            i = results["params"].index(dict(zip(grid, values, strict=True)))
            line += f"   {mean[i]:.2%} ({n_left[i]:2})".rjust(17)
        print(line)

# %% [markdown]
# ## The results as a plot

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
of_bound = np.array([params["conv1__n_filters"] or 0 for params in results["params"]])
of_correlation = np.array([p["conv1__correlation_cutoff"] for p in results["params"]])
of_variance = np.array([p["conv1__variance_cutoff"] for p in results["params"]])
styles = [("0.5", "o", ":"), ("0.7", "s", "--"), ("0.9", "^", "-")]
colours = plt.colormaps["viridis"]([0.0, 0.4, 0.8])
for (label, marker, line), colour in zip(styles, colours, strict=True):
    some = (of_bound == 0) & (of_correlation == float(label))
    axes[0].errorbar(
        of_variance[some].astype(str),
        100 * mean[some],
        100 * error[some],
        marker=marker,
        ls=line,
        color=colour,
        capsize=3,
        label=label,
    )
axes[0].set_xlabel("variance cutoff (n_filters=None)")
axes[0].set_ylabel("cross-validated accuracy (%)")
axes[0].legend(title="correlation cutoff", frameon=False)
bounds = [(4, "4", "o"), (8, "8", "s"), (0, "None", "^")]
for (bound, label, marker), colour in zip(bounds, colours, strict=True):
    some = of_bound == bound
    axes[1].plot(
        n_left[some], 100 * mean[some], marker, mfc="none", color=colour, label=label
    )
axes[1].set_xscale("log", base=2)
axes[1].set_xticks([2, 4, 8, 16, 32], [2, 4, 8, 16, 32])
axes[1].set_xlabel("number of filters (without negatives)")
axes[1].legend(title="n_filters", frameon=False)
for axis in axes:
    axis.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# ## A faster search: successive halving
#
# `HalvingGridSearchCV` tries all settings on few images, keeps the best third, tries
# these on three times as many images, and so on.

# %%
halving = HalvingGridSearchCV(
    dmn, grid, cv=folds, factor=3, min_resources=150, random_state=0
)
started = time.perf_counter()
halving.fit(X_train, y_train)
halving_seconds = time.perf_counter() - started
for n_images, n_settings in zip(
    halving.n_resources_, halving.n_candidates_, strict=True
):
    print(f"{n_settings:3} settings on {n_images:4} images")
for name, value in halving.best_params_.items():
    print(f"  {name} = {value}")
chosen = results["params"].index(halving.best_params_)
seen = np.dot(halving.n_resources_, halving.n_candidates_)
share = seen / (len(X_train) * len(mean))
print(
    f"{share:.0%} of the images that the full grid search fits, {halving_seconds:.0f} "
    f"s instead of {seconds:.0f} s (with few images, fixed costs of a fit dominate)"
)
print(f"its choice has rank {results['rank_test_score'][chosen]} in the full grid")

# %% [markdown]
# ## Answer

# %%
within = mean >= mean.max() - error[mean.argmax()]
fewest = int(n_left[within].min())
lost = 100 * (mean.max() - mean[chosen])
correlation_of_count = np.corrcoef(np.log(n_left), mean)[0, 1]
assert correlation_of_count > 0.8
eight = (of_bound == 8) & (n_left == 8) & (of_variance == 0.999)
strict, lenient = (100 * mean[eight & (of_correlation == c)][0] for c in (0.7, 0.9))
assert strict > lenient
print(
    "Use high cutoffs. The number of filters that they keep matters most (its "
    f"logarithm and the accuracy have a correlation of {correlation_of_count:.2f}): "
    f"the accuracy rises from {mean.min():.1%} with {n_left[mean.argmin()]} filters to "
    f"{mean.max():.1%} with {n_left[mean.argmax()]}, and {fewest} filters are within "
    "one standard error of the best. For the same number of filters, filters that "
    "differ more are better: with 8 filters, a correlation cutoff of 0.7 gives "
    f"{strict:.1f} % and a cutoff of 0.9 gives {lenient:.1f} %. Start with a variance "
    "cutoff of 0.99 or more. If the cost matters, limit n_filters and lower the "
    f"correlation cutoff. Successive halving fitted {share:.0%} of the images, and its "
    f"choice is {lost:.1f} points below the best."
)
