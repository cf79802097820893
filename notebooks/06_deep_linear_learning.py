# %% [markdown]
# # How long does it take to learn each mode, and how does depth change this?
#
# For deep linear networks the time to learn each mode of a data set can be calculated.
# A *mode* is a pair of singular vectors of the correlation matrix of outputs and
# inputs. A mode with a larger singular value (its *strength*) is learned faster. How
# much slower deeper networks are depends on the initial weights. The theory is that of
# A. Saxe, J. McClelland and S. Ganguli, "Exact solutions to the nonlinear dynamics of
# learning in deep linear neural networks" (arXiv:1312.6120). This notebook compares it
# with simulations.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA

from skdmn.analysis.deep_linear.initial_weights import (
    decoupled_weights,
    gaussian_weights,
    orthogonal_weights,
    pretrained_weights,
    pretraining_consistency,
)
from skdmn.analysis.deep_linear.isometry import (
    critical_gain,
    end_to_end_jacobian,
    fixed_point,
    layer_variances,
    product_singular_values,
)
from skdmn.analysis.deep_linear.learning_rates import (
    best_learning_steps,
    learning_delay,
    optimized_learning_time,
)
from skdmn.analysis.deep_linear.modes import learning_time, mode_strength
from skdmn.analysis.deep_linear.simulation import (
    best_map,
    correlations,
    gradient_descent,
    gradient_flow,
)
from skdmn.datasets import load_digits_images
from skdmn.display.dynamics import ModeStrengthDisplay, SingularValueDisplay

# %% [markdown]
# ## One hidden layer: a family tree (Fig. 3)
#
# 32 items are the leaves of a binary tree. Each of 1,000 features is +1 or -1 at the
# root and changes its sign with probability 0.1 on each branch. The network learns the
# features of an item from its name. Each item has its own input, so the inputs are
# white. The first modes distinguish the main branches of the tree, the last modes
# distinguish neighbouring leaves. The plots below show seven of the 32 modes.

# %%
random = np.random.default_rng(0)
features = random.choice([-1.0, 1.0], size=(1000, 1))
for _ in range(5):
    features = np.repeat(features, 2, axis=1)
    features *= np.where(random.random(features.shape) < 0.1, -1, 1)
tree = features / 100  # correlations of features and items; Sigma11 is the identity
s = np.linalg.svd(tree, compute_uv=False)
shown = [0, 1, 2, 4, 11, 17, 30]  # those of Fig. 3

u0 = 1e-3
times = np.linspace(0, 45, 400)
weights = decoupled_weights(tree, [32], u0, random_state=0)
course = gradient_flow(weights, tree, None, times)
exact = mode_strength(times, s, u0)
tree_error = np.abs(course.strengths - exact).max()
print(f"singular values from {s[0]:.2f} to {s[-1]:.2f}")
print(f"largest difference of simulated and exact strengths: {tree_error:.1e}")
assert tree_error < 1e-3

# %% [markdown]
# The exact solution (eq. 12) needs *decoupled* initial weights. With small random
# weights the modes interact, and the initial strength of each mode is unknown. We start
# the exact solution from the mean strength of random weights, and measure how much
# later the simulated modes are half learned.

# %%
small = 0.02
weights = gaussian_weights([32, 32, 1000], gain=small, random_state=0)
weights[1] *= weights[0].std() / weights[1].std()
random_course = gradient_flow(weights, tree, None, times, rtol=1e-6)
start = 32 * weights[0].var() / 2  # mean square of half the sum of a mode's two vectors
random_exact = mode_strength(times, s, start)
half = [np.interp(0.5, random_course.strengths[:, i] / s[i], times) for i in range(32)]
half_exact = learning_time(s, start, s / 2)
delays = np.array(half) / half_exact - 1
print(f"mean delay until a mode is half learned: {delays.mean():.0%}")
print(
    f"strongest ten modes {delays[:10].mean():.0%}, weakest {delays[-10:].mean():.0%}"
)

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
ModeStrengthDisplay.from_arrays(
    times, course.strengths[:, shown], exact=exact[:, shown], ax=left
)
left.set_title("decoupled initial weights")
ModeStrengthDisplay.from_arrays(
    times, random_course.strengths[:, shown], exact=random_exact[:, shown], ax=right
)
_ = right.set_title("small random initial weights")

# %% [markdown]
# ## Digits: learning times at several depths
#
# The inputs are white again: the first 20 principal components of the digits, scaled to
# unit variance. The ten centred class indicators have nine modes. In networks of 2, 3
# and 5 weight matrices, the initial strength of every mode is a tenth of the strength
# of the weakest mode.

# %%
images, labels = load_digits_images()
pixels = images.reshape(len(images), -1).astype(float)
white = PCA(20, svd_solver="full").fit_transform(pixels)
white /= white.std(axis=0)
sigma31, sigma11 = correlations(white, labels, centered=True)
s = np.linalg.svd(sigma31, compute_uv=False)[:9]
u0 = s[-1] / 10
digits_error = 0.0
figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
for depth, ax in zip((2, 3, 5), axes, strict=True):
    weights = decoupled_weights(
        sigma31, [20] * (depth - 1), np.append(np.full(9, u0), 0.0)[:10], random_state=0
    )
    times = np.linspace(
        0, 1.2 * learning_time(s[-1], u0, 0.9 * s[-1], depth=depth), 300
    )
    course = gradient_flow(weights, sigma31, sigma11, times)
    exact = mode_strength(times, s, u0, depth=depth)
    ModeStrengthDisplay.from_arrays(times, course.strengths[:, :9], exact=exact, ax=ax)
    ax.set_title(f"{depth} weight matrices")
    digits_error = max(digits_error, np.abs(course.strengths[:, :9] - exact).max())
    half = learning_time(s, u0, s / 2, depth=depth)
    print(
        f"{depth} weight matrices: modes half learned after {half.min():.1f} to "
        f"{half.max():.1f} tau"
    )
print(f"largest difference of simulated and exact strengths: {digits_error:.1e}")
assert digits_error < 1e-3

# %% [markdown]
# ## The cost of depth
#
# The curvature of the loss grows with the number of layers, so the learning rate must
# be inversely proportional to the depth (eq. 41). At this learning rate, depth adds a
# *delay* of at most s / u0 steps (eq. 45), where s is the strength and u0 the initial
# strength of a mode. The delay is finite even for infinite depth, but large if the
# initial strength is small. Times are computed for the optimal rate (c = 1), where
# counted steps differ from them by up to a step.

# %%
depths = np.unique(np.logspace(math.log10(2), 3, 25).astype(int))
figure, ax = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
for share, style in ((0.001, "o-"), (0.01, "s-"), (0.1, "^-"), (0.5, "D-")):
    steps = [optimized_learning_time(1, share, 0.99, depth=depth) for depth in depths]
    limit = optimized_learning_time(1, share, 0.99, depth=math.inf)
    (line,) = ax.plot(depths, steps, style, ms=4, label=f"u0 = {share} s")
    ax.axhline(limit, color=line.get_color(), ls=":")
    delay = learning_delay(1, share, 0.99, depth=math.inf)
    print(f"u0 = {share} s: {steps[0]:.1f} steps at depth 2, at most {delay:.1f} more")
ax.set(
    xscale="log", yscale="log", xlabel="weight matrices", ylabel="steps to 99 % of s"
)
_ = ax.legend(fontsize=8)

# %% [markdown]
# ## Initial weights (Figs. 4 and 6A)
#
# Now the digits are not whitened: the inputs are 20 principal components with their own
# variances. For each depth and each kind of initial weights we try many learning rates
# and keep the fastest: the fewest steps until the reducible error (the part that the
# best linear map removes) is a tenth of its initial value.
#
# - *decoupled*: initial strength 0.001, covered by the exact theory
# - *orthogonal*: random, all singular values are 1
# - *Gaussian*: random, norms are preserved on average
# - *pretrained*: each layer is a principal-component autoencoder of the layer below

# %%
components = PCA(20, svd_solver="full").fit_transform(pixels)
components /= components[:, 0].std()
sigma31, sigma11 = correlations(components, labels, centered=True)
threshold = np.sum(sigma31 * best_map(sigma31, sigma11)) / 2 / 10
depths = np.array([2, 3, 4, 6, 9, 14, 20])
starts = {
    "decoupled": lambda sizes, seed: decoupled_weights(
        sigma31, sizes[1:-1], 1e-3, random_state=seed
    ),
    "Gaussian": lambda sizes, seed: gaussian_weights(sizes, random_state=seed),
    "orthogonal": lambda sizes, seed: orthogonal_weights(sizes, random_state=seed),
    "pretrained": lambda sizes, seed: pretrained_weights(
        sigma11, sizes, random_state=seed
    ),
}


def fastest(make, depth):
    """Return the fewest steps and the best learning rate, as medians over draws."""
    draws = [
        best_learning_steps(
            make([20] * depth + [10], seed),
            sigma31,
            sigma11,
            learning_rates=np.logspace(1, -1, 9) / depth,
            error=threshold,
            max_steps=5000,
        )
        for seed in range(5)
    ]
    return np.median(draws, axis=0)


found = {
    name: np.array([fastest(make, depth) for depth in depths])
    for name, make in starts.items()
}

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
for (name, results), style in zip(
    found.items(), ("o-", "s--", "^-.", "D:"), strict=True
):
    left.plot(depths, results[:, 0], style, ms=5, label=name)
    right.plot(depths, results[:, 1], style, ms=5, label=name)
    slope = np.polyfit(np.log(depths), np.log(results[:, 1]), 1)[0]
    print(
        f"{name:>10}: {results[0, 0]:4.0f} steps at depth {depths[0]}, "
        f"{results[-1, 0]:4.0f} at depth {depths[-1]}; best rate ~ depth^{slope:.2f}"
    )
right.plot(depths, 4 / depths, color="0.5", lw=1, label="proportional to 1 / depth")
for ax in (left, right):
    ax.set_xscale("log")
    ax.set_xticks(depths, depths)
    ax.minorticks_off()
left.set(yscale="log", xlabel="weight matrices", ylabel="steps to 10 % of the error")
right.set(yscale="log", xlabel="weight matrices", ylabel="best learning rate")
left.legend(fontsize=8)
_ = right.legend(fontsize=8)

# %% [markdown]
# With orthogonal and pretrained weights, the number of steps hardly depends on depth.
# With Gaussian weights it grows faster and faster. Decoupled weights with a small
# initial strength are slow because of the initial plateau, but their time approaches a
# limit.
#
# Pretraining needs a task whose modes agree with the principal components of the inputs
# (eq. 18). The score measures this agreement. It is compared with the score of shuffled
# labels.

# %%
consistency = pretraining_consistency(*correlations(pixels, labels, centered=True))
shuffled = pretraining_consistency(
    *correlations(pixels, random.permutation(labels), centered=True)
)
print(consistency.meaning)
print(f"Shuffled labels: score {shuffled.score:.2f}.")
figure, ax = plt.subplots(figsize=(4.4, 3.6), layout="constrained")
matrix = consistency.correlations
picture = ax.imshow(matrix, cmap="PuOr", vmin=-matrix.max(), vmax=matrix.max())
ax.set(xlabel="mode of the task", ylabel="mode of the task")
ax.set_title("correlations of the inputs, in the basis of the modes", fontsize=9)
_ = figure.colorbar(picture, label="squared grey values")

# %% [markdown]
# The error during learning shows it as well: with pretrained weights there is no
# plateau.

# %%
sizes = [20] * 5 + [10]
rate, n_steps = 0.3, 300
figure, ax = plt.subplots(figsize=(5.5, 3.6), layout="constrained")
for (name, make), style in zip(starts.items(), ("-", "--", "-.", ":"), strict=True):
    course = gradient_descent(
        make(sizes, 0), sigma31, sigma11, n_steps, learning_rate=rate
    )
    ax.plot(course.times, course.errors / (10 * threshold), style, lw=2, label=name)
ax.set(yscale="log", xlabel="steps", ylabel="error / reducible error")
ax.set_ylim(1e-2, 10)
_ = ax.legend(fontsize=8)

# %% [markdown]
# ## The reason: isometry (Figs. 6B, 7 and 8)
#
# A product of Gaussian matrices preserves lengths only on average: most directions
# shrink. A product of orthogonal matrices preserves all lengths. In a tanh network this
# holds approximately at the critical gain, the edge of chaos.

# %%
size, depth = 150, 50
x = random.normal(size=size)
orthogonal = orthogonal_weights([size] * (depth + 1), random_state=0)
figure, (left, middle, right) = plt.subplots(
    1, 3, figsize=(15, 4), layout="constrained"
)
SingularValueDisplay.from_values(
    {
        f"Gaussian, {n} matrices": product_singular_values(
            gaussian_weights([size] * (n + 1), random_state=0)
        )
        for n in (1, 5, 50)
    }
    | {"orthogonal, 50 matrices": product_singular_values(orthogonal)},
    ax=left,
)
left.set_title("product of weights")
SingularValueDisplay.from_values(
    {
        f"gain {gain}": np.linalg.svd(
            end_to_end_jacobian(orthogonal, x, gain=gain), compute_uv=False
        )
        for gain in (0.9, 1.0, 1.1, 1.5)
    },
    ax=middle,
)
middle.set_title("Jacobian of a tanh network, 50 layers")
gains = np.linspace(0.8, 2, 100)
right.plot(gains, [fixed_point(gain) for gain in gains], "-", label="theory")
tried = np.linspace(0.8, 2, 13)
activity = [layer_variances(orthogonal, x, gain=gain)[-5:].mean() for gain in tried]
right.plot(tried, activity, "o", label="network of 50 layers")
right.set(xlabel="gain", ylabel="variance of activations in the last layers")
right.legend(fontsize=8)
print(f"critical gain of tanh: {critical_gain():.6f}")
assert abs(critical_gain() - 1) < 1e-3

# %% [markdown]
# ## Answer

# %%
steps = {name: results[:, 0] for name, results in found.items()}
print(
    f"With one hidden layer, a mode of strength s is half learned after about "
    f"log(s / u0) / 2s. Simulated strengths agree with the exact solution to "
    f"{max(tree_error, digits_error):.0e} at all depths. At the best learning rate, "
    f"depth adds a delay of at most s / u0 steps, so deep networks are slow only if "
    f"their initial strength is small. On digits, orthogonal weights need "
    f"{steps['orthogonal'][0]:.0f} steps with {depths[0]} weight matrices and "
    f"{steps['orthogonal'][-1]:.0f} with {depths[-1]}, pretrained weights "
    f"{steps['pretrained'][0]:.0f} and {steps['pretrained'][-1]:.0f}, but scaled "
    f"Gaussian weights {steps['Gaussian'][0]:.0f} and {steps['Gaussian'][-1]:.0f}."
)
