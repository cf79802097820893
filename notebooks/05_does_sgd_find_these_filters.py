# %% [markdown]
# # Does SGD converge to the class-PCA filters?
#
# That the filters which stochastic gradient descent finds are principal components of
# the classes' patches is what the class-PCA paper concludes (arXiv:1703.04757v3, eq. 24
# and below). It shows that such filters classify well, but not that SGD's filters are
# these. Here they are compared, on the digits, for a dense network (scikit-learn's) and
# a small ConvNet (with PyTorch, where it is installed), over five seeds each.
#
# There are two strengths of the claim. *Weak*: trained filters lie in the span of the
# leading components. *Strong*: each is one of them. And there are three controls:
#
# - random filters of any direction;
# - random filters that look like patches, drawn with their second moment: whatever is
#   built from patches, as gradients are, leans towards leading components;
# - random filters with the second moment of the *trained filters themselves*: they fill
#   the same space, but are mixtures. Only what is nearer to single components than
#   these speaks for the strong claim.

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.neural_network import MLPClassifier

from skdmn.analysis.sgd.agreement import filter_agreement, filter_spread
from skdmn.analysis.sgd.history import mlp_history, torch_history
from skdmn.analysis.sgd.weights import (
    backward_matrices,
    layer_distances,
    predicted_singular_value,
    singular_values,
    weight_products,
)
from skdmn.datasets import load_digits_images
from skdmn.display.convergence import AgreementDisplay, TrainingDisplay
from skdmn.layers.class_pca import ClassPCAPatchTransformer
from skdmn.statistics.filters import eigenbases, eigenbasis

try:
    import torch
except ImportError:
    torch = None

SEEDS = range(5)
X, y = load_digits_images()
X = X / 16


def components(kernel_size, rank):
    """Return the leading components of every class, those of all, and their density."""
    layer = ClassPCAPatchTransformer(kernel_size, variance_cutoff=1.0).fit(X, y)
    by_class = [vectors[:rank] for _, vectors in eigenbases(layer.density_matrices_)]
    layer = ClassPCAPatchTransformer(kernel_size, class_based=False).fit(X)
    density = layer.density_matrices_[0]
    return np.concatenate(by_class), eigenbasis(density)[1], density


# %% [markdown]
# ## A dense network
#
# One hidden layer of 30 units on whole images, trained with plain SGD. A "patch" is an
# image of 64 pixels. The directions are the two leading components of every class; 20
# leading components of all images, classes aside, are the alternative. What training
# did is the *change* of the filters; what it started from is random and stays in them.

# %%
dense_classes, dense_all, dense_density = components(8, rank=2)
dense_all = dense_all[: len(dense_classes)]
rows = X.reshape(len(X), -1)


def dense_history(seed, solver="sgd", rate=0.1, epochs=40):
    mlp = MLPClassifier(
        (30,),
        solver=solver,
        learning_rate_init=rate,
        momentum=0.0,
        alpha=0.0,
        batch_size=32,
        random_state=seed,
    )
    return mlp_history(mlp, rows, y, n_epochs=epochs)


def change(history):
    """Return by what training moved the filters, those that it moved at all."""
    return (history.weights[0][-1] - history.weights[0][0]).T


def compare(name, histories, by_class, by_all, density):
    """Print and return agreements of each seed's changes, with all controls."""
    table = {}
    for seed, history in enumerate(histories):
        moved = change(history)
        options = {"n_random": 200, "random_state": seed}
        found = filter_agreement(moved, by_class, **options)
        like = filter_agreement(moved, by_class, covariance=density, **options)
        own = filter_agreement(moved, by_class, covariance=moved.T @ moved, **options)
        naive = filter_agreement(moved, by_all, **options)
        mixed = filter_agreement(moved, by_all, covariance=moved.T @ moved, **options)
        values = {
            "share, class-PCA": found.share,
            "share, PCA of all": naive.share,
            "share, random": found.random_share,
            "share, patch-like": like.random_share,
            "cosine, class-PCA": found.cosine,
            "  random": found.random_cosine,
            "  patch-like": like.random_cosine,
            "  own space": own.random_cosine,
            "  p of own space": own.cosine_p_value,
            "cosine, PCA of all": naive.cosine,
            "  own space, all": mixed.random_cosine,
            "  p of that": mixed.cosine_p_value,
            "exponent of spread": filter_spread(moved, density).exponent,
        }
        for key, value in values.items():
            table.setdefault(key, []).append(value)
    print(f"{name}: mean and standard deviation over {len(histories)} seeds")
    for key, values in table.items():
        print(f"  {key:20} {np.mean(values):.2f} +- {np.std(values, ddof=1):.2f}")
    return table


dense = [dense_history(seed) for seed in SEEDS]
found = compare("dense, SGD", dense, dense_classes, dense_all, dense_density)
adam = [dense_history(seed, "adam", 1e-3) for seed in SEEDS]
with_adam = compare("dense, Adam", adam, dense_classes, dense_all, dense_density)

# %% [markdown]
# The same by training, for the first seed, of the filters as they are (with what they
# started from). Filters move towards the span of the components, quickly at first.

# %%
_ = AgreementDisplay.from_history(dense[0], dense_classes, covariance=dense_density)

# %% [markdown]
# How many components does it take? Shares against the number of leading components of
# all images, beside that of the images themselves. SGD makes little of the first
# component, which is about the mean image.

# %%
basis = eigenbasis(dense_density)[1]
ranks = np.array([1, 2, 4, 8, 16, 32, 64])
shares = {
    "trained, change": change(dense[0]),
    "trained": dense[0].weights[0][-1].T,
    "before training": dense[0].weights[0][0].T,
}
figure, axis = plt.subplots(figsize=(5.5, 4), layout="constrained")
for (name, filters), style in zip(shares.items(), ("o-", "s--", "^:"), strict=True):
    cumulative = np.cumsum((filters @ basis.T) ** 2, axis=1).sum(axis=0)
    axis.plot(ranks, (cumulative / cumulative[-1])[ranks - 1], style, label=name)
patches = np.cumsum(eigenbasis(dense_density)[0])
axis.plot(ranks, patches[ranks - 1], "k-.", lw=1, label="images themselves")
axis.set(xscale="log", ylim=(0, 1.02), xlabel="leading components of all images")
axis.set_ylabel("share of squared norm within the span")
_ = axis.legend(fontsize=8)
first = [np.sum((change(h) @ basis[0]) ** 2) / np.sum(change(h) ** 2) for h in dense]
print(
    f"share in the first component alone: trained {np.mean(first):.1%}, random "
    f"{1 / 64:.1%}, images {patches[0]:.1%}"
)

# %% [markdown]
# ## A ConvNet
#
# Sixteen filters of 3 x 3 pixels, ReLU, max pooling and a linear layer; the weights
# start as in the paper (Gaussian, variance 2 / inputs). Directions are the leading
# component of every class for the strong claim. These ten span all nine dimensions, so
# that for the weak claim the filters are those that a layer would compute: four, merged
# over the classes. Four components of all patches are the alternative.

# %%
conv_found = None
if torch is None:
    print("PyTorch is not installed: the dense network is all that is compared.")
else:
    torch.set_num_threads(1)  # small products: threads cost more than they save

    def conv_history(seed):
        torch.manual_seed(seed)
        nn = torch.nn
        model = nn.Sequential(
            *(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            nn.Linear(144, 10),
        )
        nn.init.kaiming_normal_(model[0].weight)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        images = X[:, None]
        return torch_history(
            model, optimizer, images, y, n_epochs=20, random_state=seed
        )

    computed = ClassPCAPatchTransformer(3, n_filters=4, variance_cutoff=0.99).fit(X, y)
    conv_classes, conv_all, conv_density = components(3, rank=1)
    conv = [conv_history(seed) for seed in SEEDS]
    conv_found = compare(
        "ConvNet, the filters of a computed layer",
        *(conv, computed.filters_, conv_all[:4], conv_density),
    )
    strong = compare(
        "ConvNet, leading component of every class",
        *(conv, conv_classes, conv_all[:4], conv_density),
    )
    display = AgreementDisplay.from_history(
        conv[0], computed.filters_, covariance=conv_density
    )

# %% [markdown]
# ## The argument: do lower layers learn first?
#
# The paper derives its filters from a separation of time scales: gradients of layer k
# have a factor A^(k+1), the product of all weights above, whose singular values grow
# with the number of layers (eqs. 5 and 6, Fig. 2), so that lower layers should converge
# first (Fig. 5 of the supplement). A dense network of the paper's widths, 30, 100, 30
# and 10, shows both.

# %%
deep = []
for seed in SEEDS:
    mlp = MLPClassifier(
        (30, 100, 30),
        solver="sgd",
        learning_rate_init=0.05,
        momentum=0.0,
        alpha=0.0,
        batch_size=32,
        random_state=seed,
    )
    deep.append(mlp_history(mlp, rows, y, n_epochs=30))


def across_seeds(function):
    """Print and return the mean over seeds, layer by layer."""
    values = np.array([function(history) for history in deep])
    spread = np.std(values, axis=0, ddof=1)
    pairs = zip(values.mean(axis=0), spread, strict=True)
    print("  " + ", ".join(f"{mean:.2f} +- {sd:.2f}" for mean, sd in pairs))
    return values.mean(axis=0)


def largest(matrices, at):
    return [values[at, 0] for values in singular_values(matrices)]


def gates(history):
    """Return the largest singular value of A^(k), the mean over 100 images."""
    last = ([w[-1] for w in history.weights], [b[-1] for b in history.biases])
    return [
        v[:, 0].mean() for v in singular_values(backward_matrices(*last, rows[:100]))
    ]


def epochs_to_half(history):
    return [
        history.epochs[np.flatnonzero(column > 0.5)[-1] + 1]
        for column in layer_distances(history).T
    ]


print("largest singular value of the weights of layers 1 to 4, before training")
before = across_seeds(lambda history: largest(history.weights, 0))
print("after training")
after = across_seeds(lambda history: largest(history.weights, -1))
print("as eq. 6 predicts it after training (times the root of 2: no row is closed)")
across_seeds(
    lambda history: [2**0.5 * predicted_singular_value(w[-1]) for w in history.weights]
)
print("of the product with all weights above, after training")
products = across_seeds(lambda history: largest(weight_products(history.weights), -1))
print("of A^(k), after training")
across_seeds(gates)
print("epochs until half the way to the last weights is done")
halves = across_seeds(epochs_to_half)

figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
TrainingDisplay.from_history(deep[0], "products", ax=axes[0])
_ = TrainingDisplay.from_history(deep[0], "distances", ax=axes[1])

# %% [markdown]
# ## Answer

# %%


def mean(table, key):
    return np.mean(table[key])


text = (
    f"Weakly, yes: {mean(found, 'share, class-PCA'):.0%} of what SGD adds to a dense "
    f"layer lies in the span of 20 class components, against "
    f"{mean(found, 'share, random'):.0%} of random filters; but as much "
    f"({mean(found, 'share, patch-like'):.0%}) of anything that looks like an image "
    f"does, and components of all images, classes aside, do nearly as well "
    f"({mean(found, 'share, PCA of all'):.0%})."
)
if conv_found is not None:
    text += (
        f" Of a ConvNet's filters {mean(conv_found, 'share, class-PCA'):.0%} lies in "
        f"the span of a computed layer's four, {mean(conv_found, 'share, random'):.0%} "
        f"of random ones, {mean(conv_found, 'share, PCA of all'):.0%} in that of four "
        "components of all patches."
    )
text += (
    f" Strongly, hardly: the cosine of a dense filter with the nearest component is "
    f"{mean(found, 'cosine, class-PCA'):.2f}, that of random mixtures within the same "
    f"space {mean(found, '  own space'):.2f}"
)
if conv_found is not None:
    text += (
        f"; of a ConvNet's {mean(strong, 'cosine, class-PCA'):.2f} and "
        f"{mean(strong, '  own space'):.2f}"
    )
text += (
    f". Filters spread along components as "
    f"eigenvalue^{mean(found, 'exponent of spread'):.2f}, not ^1 (eq. 24). Of the "
    f"argument, singular values of products do grow downwards, from "
    f"{products[-1]:.1f} to {products[0]:.0f}, but the lowest layer is not done first: "
    f"it takes {halves[0]:.1f} epochs for half its way, the top {halves[-1]:.1f}."
)
print(text)
# the words above, held to the numbers
assert mean(found, "share, class-PCA") > 2 * mean(found, "share, random")
assert mean(found, "share, class-PCA") < mean(found, "share, patch-like") + 0.02
assert abs(mean(found, "share, PCA of all") - mean(found, "share, class-PCA")) < 0.1
assert mean(found, "cosine, class-PCA") - mean(found, "  own space") < 0.15
assert mean(found, "exponent of spread") < 0.8
assert (np.diff(products) < 0).all()
assert np.mean(first) < 0.2 < patches[0]
assert halves[0] > halves[-1]
