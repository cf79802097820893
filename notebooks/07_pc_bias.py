# %% [markdown]
# # Do networks learn the leading principal components first, linear and ReLU alike?
#
# Hacohen and Weinshall ([arXiv:2105.05553](https://arxiv.org/abs/2105.05553)) prove
# that gradient descent fits a wide linear network along each principal direction of the
# data at a rate of its own, the variance along it, and find the same bias early in the
# training of ConvNets. Their data are CIFAR images. Here the claims are held against
# the digits of scikit-learn, against data with a known spectrum, and against the
# paper's frequency data set, with linear networks in NumPy and ReLU networks of
# scikit-learn.

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

threadpool_limits(1)  # small products: threads only wait for each other


def normalized(X):
    """Return data of mean 0 in every feature, and variance 1 over all."""
    X = X[:, X.std(axis=0) > 0]
    X = X - X.mean(axis=0)
    return X / X.std()


def targets(y):
    """Return a column for each class, of mean 0."""
    one_hot = np.eye(y.max() + 1)[y]
    return one_hot - one_hot.mean(axis=0)


def learning_rate(X, n_layers, share=0.3):
    """Return a share of the rate 1 / (L d_1) that suits the first direction."""
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
    """Train ReLU networks; return labels as above, and compact representations."""
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
print(f"{X.shape[0]} digits, {X.shape[1]} pixels that vary")
print("singular values", values[[0, 9, 29, 59]].round(1), "of directions 1, 10, 30, 60")

# %% [markdown]
# ## Linear networks: one rate for each direction
#
# Ten networks of two layers and 256 hidden units begin at random. Along direction j
# what they began with should fade as lambda_j^s, lambda_j = 1 - mu L d_j (eq. 10), and
# with it the spread between networks (Fig. 2).

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
print(f"spread against lambda_j^s, all directions and steps: r = {r_spread:.4f}")
print(f"one network's weights against eq. 10: r = {r_weights:.3f}, error {error:.0%}")

figure, axes = plt.subplots(1, 2, figsize=(10.5, 3.6), layout="constrained")
LearningOrderDisplay.from_directions(
    spread, steps, quantity="standard deviation over networks", ax=axes[0]
)
shown = np.searchsorted(steps, [0, 5, 50, 500, 3000])
LearningOrderDisplay.from_steps(
    spread[shown] / spread[0],
    steps[shown],
    quantity="spread, as a share of the first",
    ax=axes[1],
)

# %% [markdown]
# The error that is left is the drift of the gradient scale matrices, which eq. 10 takes
# for the identity. In the paper it vanishes with the width. At the start it does; in
# the course of training it does not: of two wide layers A_1^2 - W W^T is conserved, so
# that A_1 drifts as far as the product W of the layers moves. The traces of A and B
# drift alike, their diagonals therefore as the number of features to that of classes.


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
print(f"mean drift of a diagonal entry: A {per_output:.3f}, B {per_feature:.3f},")
print(
    f"ratio {per_output / per_feature:.1f}, features to classes {X.shape[1] / 10:.1f}"
)
print(f"share of the drift of A_1 that the conservation leaves open: {unexplained:.0%}")

# %% [markdown]
# ## ReLU networks
#
# Their compact representation leaves the activations out (Section 3.3). It has no
# optimum; what can be seen is the spread between networks (Fig. 4d).

# %%
predictions, weights = relu_predictions(X, y, range(10))
spread_relu = (weights @ directions.T).std(axis=0).mean(axis=1)
order = np.arange(X.shape[1])
by_direction = [spearmanr(order, row / spread_relu[0])[0] for row in spread_relu[1:]]
final = spread_relu[-1] / spread_relu[0]
relu_accuracy = (predictions == y).mean(axis=(0, 2))
print(f"accuracy after 1, 5, 30 epochs: {relu_accuracy[[0, 4, 29]].round(3)}")
print(f"spread, as a share of that after one epoch: {final[:10].mean():.2f} in the")
print(f"first ten directions, {final[-10:].mean():.2f} in the last ten")
print(f"rank correlation with the number of the direction: {by_direction[-1]:.2f}")

# %% [markdown]
# ## In which order are examples learned?
#
# *Accessibility* is the share of epochs and networks that classify an example
# correctly. The *critical principal component* is how many components a linear
# classifier needs for it. As in the paper, ReLU networks are trained slowly where they
# are held against linear ones, and groups of examples are compared as well as single
# ones.

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
    "linear and ReLU, slow": (accessibility(linear, y), slow, "0.85"),
    "critical component": (critical, learned, ""),
    "neighbours' agreement": (discriminability(X, y), learned, "0.01 to 0.51"),
}
found = {name: order_correlation(*pair[:2]) for name, pair in pairs.items()}
groups = group_by_score(critical, learned, 10)
found["critical component, groups"] = order_correlation(groups.scores, groups.means)
reported = {name: pair[2] for name, pair in pairs.items()}
reported["critical component, groups"] = "-0.93"
print(f"{'':28} {'here':>6} {'p':>8}  paper")
for name, (r, p, _) in found.items():
    print(f"{name:28} {r:6.2f} {p:8.0e}  {reported[name]}")

figure, axes = plt.subplots(1, 2, figsize=(10.5, 3.6), layout="constrained")
LearningOrderDisplay.from_predictions(predictions, y, ax=axes[0])
LearningOrderDisplay.from_scores(critical, learned, n_groups=10, ax=axes[1])

# %% [markdown]
# ## Does whitening undo it?
#
# White data have no leading component. The paper finds that two ensembles of linear
# networks then hardly agree any more (Fig. 7a). How much they agree depends on how much
# they have learned, which learning rate and epochs decide. So both are drawn against
# each other, over a range of learning rates: for the digits, and for data of 400
# directions of falling variance of which the first ten tell the class and all others
# are noise, as they are said to be in images.


# %%
def noisy_data(n, n_features=400, n_telling=10, seed=0):
    """Return data whose variance falls as 1 / rank, and labels from the first few."""
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
        "as they are": data[0], "white": ZCAWhitening().fit_transform(data[0])
    }.items():  # fmt: skip
        points = [constancy(rows, data[1], share) for share in 2.0 ** np.arange(-7, 1)]
        curves[kind] = np.array(sorted(points)).T
    low = max(curve[0].min() for curve in curves.values())
    high = min(curve[0].max() for curve in curves.values())
    grid = np.linspace(low, high, 12)
    drawn = [np.interp(grid, *curve) for curve in curves.values()]
    matched[name] = [curve[8] for curve in drawn]
    print(
        f"{name}: at mean accessibility {grid[8]:.2f} two ensembles agree to r = "
        f"{drawn[0][8]:.2f} as they are, {drawn[1][8]:.2f} white"
    )
    LearningOrderDisplay(
        grid,
        drawn,
        labels=list(curves),
        xlabel="mean accessibility: how much was learned",
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
for kind, orders in {"as they are": order_raw, "white": order_white}.items():
    r, mean = order_correlation(*orders).correlation, np.mean(orders)
    print(f"ReLU networks on digits {kind}: r = {r:.2f}, mean accessibility {mean:.2f}")

# %% [markdown]
# ## Early stopping and shuffled labels
#
# If noise is learned last, stopping early should help more where the last components
# are amplified, and less where the first are (Fig. 9). And shuffled labels, which no
# leading component tells, should be learned slowly, unless the data are white
# (Fig. 10).

# %%
G, labels = noisy_data(3000)
_, basis = principal_coordinates(G)
curve_steps = np.unique(np.geomspace(1, 5000, 25).round()).astype(int)
curves, gain = {}, {}
for name, chosen in {
    "as it is": basis[:0], "first 40": basis[:40], "last 40": basis[-40:]
}.items():  # fmt: skip
    changed = normalized(amplify_components(G, chosen))
    train, test = changed[:500], changed[500:]
    predicted_labels = linear_predictions(
        train, targets(labels[:500]), [], curve_steps, range(3), 0.5, test
    )
    curves[name] = (predicted_labels == labels[500:]).mean(axis=(0, 2))
    gain[name] = curves[name].max() - curves[name][-1]
    print(f"{name:9}: stopping early gains {100 * gain[name]:.1f} % of test accuracy")

slower = {}
for kind, rows in {"as they are": X, "white": white}.items():
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
        f"digits {kind}: steps to 80 % of what can be learned: {needed[0]} with real "
        f"labels, {needed[1]} with shuffled ones ({slower[kind]:.1f} times)"
    )

LearningOrderDisplay(
    curve_steps,
    list(curves.values()),
    labels=list(curves),
    legend_title="amplified",
    xlabel="gradient steps",
    ylabel="test accuracy",
    xscale="log",
).plot()

# %% [markdown]
# ## Glorot's initial weights, and those of Definition 3
#
# They differ in the first and last layer. Glorot's make the gradient scale matrices
# larger, which at one learning rate is speed, and the first outputs, too, which is loss
# to be undone. So both are also given the rate that suits their own scales.


# %%
def training_loss(X, Y, scheme, own_rate):
    """Return the loss of five networks over that of a network that says 0."""
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
print("loss after 0, 3, 10, 30, 100 steps")
for name, problem in problems.items():
    for own_rate in (False, True):
        for scheme in ("pc-bias", "glorot"):
            loss = training_loss(*problem, scheme, own_rate)
            print(
                f"{name:6} {'own' if own_rate else 'one'} rate {scheme:8}",
                loss.round(2),
            )

# %% [markdown]
# ## The frequency data set
#
# Points in the plane whose class is decided by a sum of ten sines; the *critical
# frequency* of a point is the one up to which the sum is needed. The text of the paper
# can be read in two ways: the sum is above 0, or the point above the curve of the sum.

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
r_both = found["linear and ReLU, slow"].correlation
r_groups = found["critical component, groups"].correlation
print(
    f"Yes. In linear networks the spread along each direction fades as predicted (r = "
    f"{r_spread:.4f}); in ReLU networks it falls along the first directions and grows "
    f"along the last (rank correlation {by_direction[-1]:.2f}). Both learn the same "
    f"examples first (r = {r_both:.2f}; paper 0.85): those that need few components "
    f"(r = {r_groups:.2f}; paper -0.93)."
)
(noisy, noisy_white), (digits, digits_white) = matched["noisy"], matched["digits"]
print(
    f"Whitening lowers the agreement of linear networks where most directions are "
    f"noise ({noisy:.2f} to {noisy_white:.2f}), as the paper says of its images; "
    f"on digits, at equal accuracy, it does not ({digits:.2f} and {digits_white:.2f})."
)
