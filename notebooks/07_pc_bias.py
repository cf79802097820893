# %% [markdown]
# # Do linear and ReLU networks learn the leading principal components first?
#
# Gradient descent fits a wide linear network along each principal direction of the data
# at its own rate, which is proportional to the variance along this direction. Hacohen
# and Weinshall ([arXiv:2105.05553](https://arxiv.org/abs/2105.05553)) prove this, and
# find the same bias early in the training of ConvNets on CIFAR images. This notebook
# tests their claims on the digits of scikit-learn, on data with a known spectrum, and
# on the frequency data set of the paper, with linear networks in NumPy and ReLU
# networks of scikit-learn.

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from skdmn.analysis.deep_linear.linear_network import (
    compact_weights,
    initial_weights,
    train_deep_linear,
)
from skdmn.analysis.pc_bias.directions import (
    convergence_by_direction,
    gradient_scale_matrices,
    predicted_weights,
    principal_coordinates,
)
from skdmn.analysis.pc_bias.frequency_data import (
    amplify_components,
    make_frequency_data,
    shuffled_labels,
)
from skdmn.analysis.pc_bias.learning_order import (
    accessibility,
    critical_frequency,
    critical_principal_component,
    discriminability,
    group_by_score,
    order_correlation,
)
from skdmn.display.order import LearningOrderDisplay
from skdmn.layers.zca import ZCAWhitening

threadpool_limits(1)  # faster for small matrix products


def normalized(X):
    """Return data of mean 0 in every feature and total variance 1 per entry."""
    X = X[:, X.std(axis=0) > 0]
    X = X - X.mean(axis=0)
    return X / X.std()


def targets(y):
    """Return centred one-hot labels."""
    one_hot = np.eye(y.max() + 1)[y]
    return one_hot - one_hot.mean(axis=0)


def learning_rate(X, n_layers, share=0.3):
    """Return a share of 1 / (L d_1), the best rate for the first direction."""
    return share / n_layers / principal_coordinates(X).values[0]


def linear_predictions(X, Y, widths, steps, seeds, share=0.3, test=None):
    """Train linear networks; return labels of shape (networks, steps, samples)."""
    rate = learning_rate(X, len(widths) + 1, share)
    widths = [X.shape[1], *widths, Y.shape[1]]
    predictions = []
    for seed in seeds:
        start = initial_weights(widths, random_state=seed)
        kept = train_deep_linear(start, X, Y, learning_rate=rate, steps=steps)
        outputs = [(X if test is None else test) @ compact_weights(w).T for w in kept]
        predictions.append([output.argmax(axis=1) for output in outputs])
    return np.array(predictions)


def relu_predictions(X, y, seeds, n_epochs=30, rate=0.02, width=128, **options):
    """Train ReLU networks; return labels as above and compact representations."""
    options = {"solver": "sgd", "momentum": 0.0, "batch_size": 100, **options}
    predictions, weights = [], []
    for seed in seeds:
        network = MLPClassifier(
            width, alpha=0, learning_rate_init=rate, random_state=seed, **options
        )
        for _ in range(n_epochs):
            network.partial_fit(X, y, classes=np.unique(y))
            predictions.append(network.predict(X))
            weights.append(compact_weights([w.T for w in network.coefs_]))
    shape = (len(seeds), n_epochs)
    weights = np.array(weights)
    return (
        np.reshape(predictions, (*shape, -1)),
        weights.reshape(*shape, *weights.shape[1:]),
    )


X, y = load_digits(return_X_y=True)
X, Y = normalized(X), targets(y)
values, directions = principal_coordinates(X)
print(f"{X.shape[0]} digits, {X.shape[1]} pixels that are not constant")
print("singular values of directions 1, 10, 30, 60:", values[[0, 9, 29, 59]].round(1))

# %% [markdown]
# ## Linear networks: one rate for each direction
#
# Ten networks of two layers and 256 hidden units have random initial weights. After s
# steps, the contribution of the initial weights along direction j should be multiplied
# by lambda_j^s with lambda_j = 1 - mu L d_j (eq. 10), and so should the spread between
# networks (Fig. 2). Here mu is the learning rate, L the number of layers and d_j the
# singular value of direction j.

# %%
steps = np.unique(np.r_[0, np.geomspace(1, 3000, 20).round()]).astype(int)
rate, optimum = learning_rate(X, 2), Y.T @ X @ directions.T / values
ensemble, scales = [], []
for seed in range(10):
    start = initial_weights([X.shape[1], 256, 10], random_state=seed)
    kept = train_deep_linear(start, X, Y, learning_rate=rate, steps=steps)
    ensemble.append([compact_weights(w) @ directions.T for w in kept])
    scales.append([gradient_scale_matrices(w) for w in kept])
ensemble = np.array(ensemble)
distance, spread = convergence_by_direction(ensemble, optimum)

fading = (1 - rate * 2 * values) ** steps[:, np.newaxis]
r_spread = order_correlation((spread / spread[0]).ravel(), fading.ravel()).correlation
predicted = predicted_weights(
    ensemble[0, 0], values, Y.T @ X @ directions.T,
    learning_rate=rate, n_layers=2, steps=steps,
)  # fmt: skip
r_weights = order_correlation(predicted[1:].ravel(), ensemble[0, 1:].ravel())[0]
error = np.linalg.norm(predicted - ensemble[0]) / np.linalg.norm(ensemble[0])
print(f"spread and lambda_j^s, all directions and steps: r = {r_spread:.4f}")
print(f"weights of one network and eq. 10: r = {r_weights:.3f}, error {error:.0%}")

figure, axes = plt.subplots(1, 2, figsize=(10.5, 3.6), layout="constrained")
LearningOrderDisplay.from_directions(
    spread, steps, quantity="standard deviation over networks", ax=axes[0]
)
shown = np.searchsorted(steps, [0, 5, 50, 500, 3000])
LearningOrderDisplay.from_steps(
    spread[shown] / spread[0],
    steps[shown],
    quantity="spread / initial spread",
    ax=axes[1],
)

# %% [markdown]
# The remaining error is due to the drift of the gradient scale matrices, which eq. 10
# assumes to be the identity. According to the paper the drift vanishes with the width.
# This holds at the start, but not during training: in two wide layers A_1^2 - W W^T is
# conserved, so A_1 drifts as far as the product W of the layers changes. The traces of
# A and B drift equally. Their diagonal entries therefore drift in the ratio of the
# number of features to the number of classes.


# %%
def root(M):
    """Return the square root of each of several symmetric matrices."""
    eigenvalues, vectors = np.linalg.eigh(M)
    return (vectors * np.sqrt(eigenvalues)[:, np.newaxis]) @ vectors.swapaxes(1, 2)


A = np.array([[network[at].left[0] for network in scales] for at in (0, -1)])
B = np.array([[network[at].right[1] for network in scales] for at in (0, -1)])
WW = np.array([w @ w.swapaxes(1, 2) for w in (ensemble[:, 0], ensemble[:, -1])])
expected = root(A[0] @ A[0] - WW[0] + WW[1])
moved = np.linalg.norm(A[1] - A[0])
unexplained = np.linalg.norm(A[1] - expected) / moved
per_output = np.trace(A[1] - A[0], axis1=1, axis2=2).mean() / 10
per_feature = np.trace(B[1] - B[0], axis1=1, axis2=2).mean() / X.shape[1]
print(f"mean drift of a diagonal entry: A {per_output:.3f}, B {per_feature:.3f}")
print(
    f"ratio {per_output / per_feature:.1f}; ratio of features to classes "
    f"{X.shape[1] / 10:.1f}"
)
print(f"share of the drift of A_1 not explained by conservation: {unexplained:.0%}")

# %% [markdown]
# ## ReLU networks
#
# The compact representation of a ReLU network leaves out the activations (Section 3.3).
# It has no known optimum, so we look at the spread between networks (Fig. 4d).

# %%
predictions, weights = relu_predictions(X, y, range(10))
spread_relu = (weights @ directions.T).std(axis=0).mean(axis=1)
order = np.arange(X.shape[1])
by_direction = [spearmanr(order, row / spread_relu[0])[0] for row in spread_relu[1:]]
final = spread_relu[-1] / spread_relu[0]
relu_accuracy = (predictions == y).mean(axis=(0, 2))
print(f"accuracy after 1, 5, 30 epochs: {relu_accuracy[[0, 4, 29]].round(3)}")
print("final spread / spread after one epoch:")
print(f"  first ten directions {final[:10].mean():.2f}")
print(f"  last ten directions {final[-10:].mean():.2f}")
print(f"  rank correlation with the number of the direction {by_direction[-1]:.2f}")

# %% [markdown]
# ## The order in which examples are learned
#
# The *accessibility* of an example is the share of epochs and networks that classify it
# correctly. Its *critical principal component* is the number of components that a
# linear classifier needs to classify it correctly. As in the paper, ReLU networks are
# trained with a small learning rate for the comparison with linear networks, and we
# compare groups of examples as well as single examples.

# %%
learned = accessibility(predictions, y)
predictions_again, _ = relu_predictions(X, y, range(10, 20))
again = accessibility(predictions_again, y)
linear = linear_predictions(X, Y, [256], np.arange(1, 101, 3), range(10))
slow = accessibility(relu_predictions(X, y, range(5), n_epochs=20, rate=0.004)[0], y)
classifier = LogisticRegression(max_iter=1000).fit(X, y)
critical = critical_principal_component(classifier, X, y)

pairs = {
    "two ReLU ensembles": (learned, again, "high"),
    "linear and slow ReLU": (accessibility(linear, y), slow, "0.85"),
    "critical component": (critical, learned, ""),
    "discriminability (neighbours)": (discriminability(X, y), learned, "0.01 to 0.51"),
}
found = {name: order_correlation(*pair[:2]) for name, pair in pairs.items()}
groups = group_by_score(critical, learned, 10)
found["critical component, groups"] = order_correlation(groups.scores, groups.means)
reported = {name: pair[2] for name, pair in pairs.items()}
reported["critical component, groups"] = "-0.93"
print(f"{'correlation':30} {'here':>6} {'p':>8}  paper")
for name, (r, p, _) in found.items():
    print(f"{name:30} {r:6.2f} {p:8.0e}  {reported[name]}")

figure, axes = plt.subplots(1, 2, figsize=(10.5, 3.6), layout="constrained")
LearningOrderDisplay.from_predictions(predictions, y, ax=axes[0])
LearningOrderDisplay.from_scores(critical, learned, n_groups=10, ax=axes[1])

# %% [markdown]
# ## Does whitening remove the order?
#
# White data have no leading component. The paper finds that two ensembles of linear
# networks then hardly agree (Fig. 7a). Their agreement also depends on how much they
# have learned, that is, on the learning rate and the number of epochs. We therefore
# plot the agreement against the mean accessibility for a range of learning rates. We do
# this for the digits, and for data with 400 directions of decreasing variance, of which
# only the first ten determine the class and all others are noise (the paper assumes
# this of images).


# %%
def noisy_data(n, n_features=400, n_telling=10, seed=0):
    """Return data with variances 1 / rank, and labels from the first directions."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, n_features))
    signal = X[:, :n_telling] @ rng.normal(size=n_telling)
    y = (signal + 1.5 * rng.normal(size=n) > 0).astype(int)
    return normalized(X * np.arange(1, n_features + 1) ** -0.5), y


def constancy(X, y, share):
    """Return mean accessibility and its correlation between two ensembles."""
    steps = np.arange(1, 101, 4)
    one, other = (
        accessibility(linear_predictions(X, targets(y), [], steps, seeds, share), y)
        for seeds in (range(5), range(5, 10))
    )
    return one.mean(), order_correlation(one, other).correlation


matched = {}
figure, axes = plt.subplots(
    1, 2, figsize=(10.5, 3.4), layout="constrained", sharey=True
)
for ax, (name, data) in zip(
    axes, {"digits": (X, y), "noisy": noisy_data(1000)}.items(), strict=True
):
    curves = {}
    for kind, rows in {
        "raw": data[0], "white": ZCAWhitening().fit_transform(data[0])
    }.items():  # fmt: skip
        points = [constancy(rows, data[1], share) for share in 2.0 ** np.arange(-7, 1)]
        curves[kind] = np.array(sorted(points)).T
    low = max(curve[0].min() for curve in curves.values())
    high = min(curve[0].max() for curve in curves.values())
    grid = np.linspace(low, high, 12)
    drawn = [np.interp(grid, *curve) for curve in curves.values()]
    matched[name] = [curve[8] for curve in drawn]
    print(
        f"{name}: correlation of two ensembles at mean accessibility {grid[8]:.2f}: "
        f"raw data {drawn[0][8]:.2f}, white data {drawn[1][8]:.2f}"
    )
    LearningOrderDisplay(
        grid,
        drawn,
        labels=list(curves),
        xlabel="mean accessibility",
        ylabel="correlation of two ensembles",
    ).plot(ax=ax)
    ax.set_title(name)

white = ZCAWhitening().fit_transform(X)
order_white = [
    accessibility(relu_predictions(white, y, seeds, n_epochs=20)[0], y)
    for seeds in (range(5), range(5, 10))
]
order_raw = [
    accessibility(some[:5, :20], y) for some in (predictions, predictions_again)
]
for kind, orders in {"raw": order_raw, "white": order_white}.items():
    r, mean = order_correlation(*orders).correlation, np.mean(orders)
    print(f"ReLU networks, {kind} digits: r = {r:.2f}, mean accessibility {mean:.2f}")

# %% [markdown]
# ## Early stopping and shuffled labels
#
# If noise is learned last, early stopping should help more if the last components are
# amplified, and less if the first components are amplified (Fig. 9). Shuffled labels do
# not depend on the leading components, so they should be learned slowly unless the data
# are white (Fig. 10).
#
# All networks stop after 5,000 steps. Amplified components lower the learning rate, so
# these networks have then converged to different degrees. At equal convergence, early
# stopping helps most if the first components are amplified (`benchmarks/verdicts.py`).

# %%
G, labels = noisy_data(3000)
_, basis = principal_coordinates(G)
curve_steps = np.unique(np.geomspace(1, 5000, 25).round()).astype(int)
curves, gain = {}, {}
for name, chosen in {
    "none": basis[:0], "first 40": basis[:40], "last 40": basis[-40:]
}.items():  # fmt: skip
    changed = normalized(amplify_components(G, chosen))
    train, test = changed[:500], changed[500:]
    predicted_labels = linear_predictions(
        train, targets(labels[:500]), [], curve_steps, range(3), 0.5, test
    )
    curves[name] = (predicted_labels == labels[500:]).mean(axis=(0, 2))
    gain[name] = curves[name].max() - curves[name][-1]
    print(
        f"amplified components: {name:8}: gain in test accuracy by early stopping "
        f"{100 * gain[name]:.1f} %"
    )

slower = {}
for kind, rows in {"raw": X, "white": white}.items():
    needed = []
    for T in (Y, shuffled_labels(Y, random_state=0)):
        truth = T.argmax(axis=1)
        label_steps = np.unique(np.geomspace(1, 3000, 50).round()).astype(int)
        fitted = linear_predictions(rows, T, [64], label_steps, range(3))
        accuracy = (fitted == truth).mean(axis=(0, 2))
        best = ((rows @ np.linalg.lstsq(rows, T)[0]).argmax(axis=1) == truth).mean()
        needed.append(label_steps[np.argmax(accuracy - 0.1 > 0.8 * (best - 0.1))])
    slower[kind] = needed[1] / needed[0]
    print(
        f"{kind} digits: steps to 80 % of the reachable accuracy: {needed[0]} with "
        f"real labels, {needed[1]} with shuffled labels ({slower[kind]:.1f} times)"
    )

LearningOrderDisplay(
    curve_steps,
    list(curves.values()),
    labels=list(curves),
    legend_title="amplified components",
    xlabel="gradient steps",
    ylabel="test accuracy",
    xscale="log",
).plot()

# %% [markdown]
# ## Initial weights: Glorot and Definition 3
#
# Glorot's initial weights and those of Definition 3 differ in the first and last layer.
# Glorot's have larger gradient scale matrices, so learning is faster at the same
# learning rate. They also have larger initial outputs, so the initial loss is higher.
# We therefore also train both with a learning rate that fits their scales ("own rate").


# %%
def training_loss(X, Y, scheme, own_rate):
    """Return the mean loss of five networks, relative to the loss of output 0."""
    n_features, n_outputs = X.shape[1], Y.shape[1]
    runs = []
    for seed in range(5):
        start = initial_weights(
            [n_features, 1000, n_outputs], scheme, random_state=seed
        )
        left, right = gradient_scale_matrices(start)
        speed = np.trace(left[0]) / n_outputs + np.trace(right[1]) / n_features
        rate = learning_rate(X, speed if own_rate else 2)
        kept = train_deep_linear(
            start, X, Y, learning_rate=rate, steps=[0, 3, 10, 30, 100]
        )
        runs.append([((X @ compact_weights(w).T - Y) ** 2).sum() for w in kept])
    return np.mean(runs, axis=0) / (Y**2).sum()


two = np.isin(y, (3, 8))
problems = {"ten": (X, Y), "3 or 8": (X[two], targets((y[two] == 8).astype(int)))}
print("relative loss after 0, 3, 10, 30, 100 steps")
for name, problem in problems.items():
    for own_rate in (False, True):
        for scheme in ("pc-bias", "glorot"):
            loss = training_loss(*problem, scheme, own_rate)
            print(
                f"{name:6} {'own' if own_rate else 'same'} rate {scheme:8}",
                loss.round(2),
            )

# %% [markdown]
# ## The frequency data set
#
# The data are points in the plane. Their class is determined by a sum of ten sines. The
# *critical frequency* of a point is the highest frequency that is needed to determine
# its class. The text of the paper can be read in two ways: the class depends on the
# sign of the sum, or on the side of the curve of the sum on which the point lies. The
# correlations are those of the means over groups of examples, as in the paper; those
# over examples are often lower (`benchmarks/verdicts.py`).

# %%
figure, axes = plt.subplots(1, 2, figsize=(10.5, 3.4), layout="constrained")
spectral = {}
for ax, rule in zip(axes, ("sign", "curve"), strict=True):
    points, classes = make_frequency_data(2000, rule=rule, random_state=0)
    scaled = points / points.std(axis=0)
    found_labels, _ = relu_predictions(
        scaled, classes, range(3), 40, 3e-3, (128, 128), solver="adam"
    )
    frequency = critical_frequency(points, rule=rule)
    for name, score in {
        "accessibility": accessibility(found_labels, classes),
        "discriminability": discriminability(scaled, classes),
    }.items():
        groups = group_by_score(frequency, score)
        spectral[rule, name] = order_correlation(groups.scores, groups.means)
        r, p, n = spectral[rule, name]
        print(f"{rule:5} {name:16} over {n} frequencies: r = {r:.2f}, p = {p:.0e}")
    LearningOrderDisplay.from_scores(
        frequency,
        accessibility(found_labels, classes),
        score="critical frequency, periods per unit length",
        ax=ax,
    )
    ax.set_title(f"rule: {rule}")
print("paper: accessibility -0.93, discriminability -0.8, p below 0.01")

# %% [markdown]
# ## Answer

# %%
r_both = found["linear and slow ReLU"].correlation
r_groups = found["critical component, groups"].correlation
print(
    f"Yes. In linear networks the spread along each direction decreases as predicted "
    f"(r = {r_spread:.4f}). In ReLU networks it decreases along the first directions "
    f"and grows along the last ones (rank correlation {by_direction[-1]:.2f}). Linear "
    f"and ReLU networks learn the same examples first (r = {r_both:.2f}; paper 0.85): "
    f"examples that need few components (r = {r_groups:.2f}; paper -0.93)."
)
(noisy, noisy_white), (digits, digits_white) = matched["noisy"], matched["digits"]
print(
    f"Whitening lowers the agreement of linear networks if most directions are noise "
    f"({noisy:.2f} to {noisy_white:.2f}), as the paper reports for its images. On "
    f"digits, at equal accessibility, it does not ({digits:.2f} and "
    f"{digits_white:.2f})."
)
