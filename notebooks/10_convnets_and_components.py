# %% [markdown]
# # Do ConvNets learn the leading principal components first?
#
# Linear networks learn the leading principal components first; Hacohen and Weinshall
# ([arXiv:2105.05553](https://arxiv.org/abs/2105.05553)) look for the same bias in
# ConvNets. They do this in four ways: with images that only contain the leading
# components (Fig. 5), with the order in which examples are learned (Figs. 6a and 6b),
# with the classes of the nearest neighbours of an example, in pixels and in the last
# layer of the network (Table 1), and with labels that depend on the leading components
# only (Fig. 11). This notebook repeats all four with small ConvNets on the digits of
# scikit-learn.

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy.fft import dctn, idctn
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from skdmn.analysis.deep_linear.linear_network import (
    compact_weights,
    initial_weights,
    train_deep_linear,
)
from skdmn.analysis.pc_bias.directions import principal_coordinates
from skdmn.analysis.pc_bias.frequency_data import leading_component_labels
from skdmn.analysis.pc_bias.learning_order import (
    accessibility,
    critical_principal_component,
    discriminability,
    group_by_score,
    order_correlation,
)
from skdmn.datasets import load_digits_images
from skdmn.display.order import LearningOrderDisplay
from skdmn.export import make_hybrid

try:
    import torch
    from torch.nn import functional
except ImportError:
    print('This notebook trains networks with PyTorch: pip install "skdmn[torch]".')
    raise SystemExit(0) from None

torch.set_num_threads(1)  # faster for small matrix products

X, y = load_digits_images()
X = X.astype(np.float64) - X.mean(axis=0)
X /= X.std()
X, X_test, y, y_test = train_test_split(
    X, y, train_size=1000, stratify=y, random_state=0
)
flat = X.reshape(len(X), -1)
directions = principal_coordinates(flat).directions


def projected(images, P):
    """Return the projections of images onto the first P components."""
    rows = images.reshape(len(images), -1)
    return (rows @ directions[:P].T @ directions[:P]).reshape(images.shape)


# %% [markdown]
# ## Components and frequencies
#
# The leading components of images look like low frequencies, but they are not the same
# (Fig. 1). The figure shows images, their projections onto the first ten components,
# and their ten lowest frequencies.

# %%
y_frequency, x_frequency = np.indices((8, 8))
lowest = np.argsort((y_frequency**2 + x_frequency**2).ravel(), kind="stable")


def low_pass(images, n):
    """Return the projections of images onto the n lowest frequencies."""
    kept = np.isin(np.arange(64), lowest[:n]).reshape(8, 8)
    waves = dctn(images, axes=(1, 2), norm="ortho") * kept
    return idctn(waves, axes=(1, 2), norm="ortho")


figure, axes = plt.subplots(3, 6, figsize=(6.6, 3.6), layout="constrained")
rows = {
    "image": X[:6],
    "10 components": projected(X[:6], 10),
    "10 frequencies": low_pass(X[:6], 10),
}
for line, (name, images) in zip(axes, rows.items(), strict=True):
    for ax, image in zip(line, images, strict=True):
        ax.imshow(image, cmap="gray", vmin=-2, vmax=2)
        ax.set(xticks=[], yticks=[])
    line[0].set_ylabel(name, fontsize=8)

kept_share = {
    name: (images(X, 10) ** 2).sum() / (X**2).sum()
    for name, images in {"components": projected, "frequencies": low_pass}.items()
}
waves = low_pass(directions[:10].reshape(10, 8, 8), 10)
overlap = (waves**2).sum() / 10
print("share of the variance:")
print(f"  in the span of ten components {kept_share['components']:.2f}")
print(f"  in the span of ten frequencies {kept_share['frequencies']:.2f}")
print(f"overlap of the two spans: {overlap:.0%}, by chance {10 / 64:.0%}")

# %% [markdown]
# ## Images with few components
#
# Ten ConvNets are trained on complete images. During training they are tested on images
# of which only the first P components are left. If the networks learn the leading
# components first, the curves for small P reach their maximum earlier.

# %%
LOOKS = 4  # evaluations per epoch
COUNTS = (2, 5, 10, 20, 64)


def as_tensor(images):
    return torch.from_numpy(images[:, None].astype(np.float32))


def trained(images, labels, seed, n_epochs, watch, rate=0.02, n_classes=10):
    """Train a ConvNet by plain SGD; return the results of `watch` during training."""
    torch.manual_seed(seed)
    given, truth = as_tensor(images), torch.from_numpy(labels.astype(np.int64))
    network = make_hybrid(f"c16, c32, m, de{n_classes}", given, truth)
    sgd = torch.optim.SGD(network.parameters(), rate)
    seen = []
    for _ in range(n_epochs):
        for part in torch.randperm(len(given)).tensor_split(LOOKS):
            for some in part.split(25):
                sgd.zero_grad()
                functional.cross_entropy(network(given[some]), truth[some]).backward()
                sgd.step()
            with torch.inference_mode():
                seen.append(watch(network))
    return seen, network


def labels_of(network, images):
    parts = as_tensor(images).split(256)  # faster than all at once
    return torch.cat([network(part).argmax(1) for part in parts]).numpy()


N_EPOCHS = 20
some_components = [projected(X_test, P) for P in COUNTS]


def watch(network):
    accuracies = [
        (labels_of(network, images) == y_test).mean() for images in some_components
    ]
    return accuracies, labels_of(network, X)


networks = [trained(X, y, seed, N_EPOCHS, watch) for seed in range(10)]
curves = np.array([[a for a, _ in seen] for seen, _ in networks]).mean(axis=0).T
predictions = np.array([[p for _, p in seen] for seen, _ in networks])
epochs = np.arange(1, N_EPOCHS * LOOKS + 1) / LOOKS

display = LearningOrderDisplay(
    epochs,
    list(curves),
    labels=[str(P) for P in COUNTS],
    legend_title="first components",
    xlabel="epochs",
    ylabel="test accuracy",
    xscale="log",
).plot()
done_at = {
    P: epochs[np.argmax(curve >= 0.95 * curve.max())]
    for P, curve in zip(COUNTS, curves, strict=True)
}
for P, curve in zip(COUNTS, curves, strict=True):
    print(
        f"{P:2} components: best accuracy {curve.max():.2f}, 95 % of it after "
        f"{done_at[P]:.2f} epochs, final accuracy {curve[-1]:.2f}"
    )

# %% [markdown]
# ## The order in which examples are learned
#
# We correlate the accessibility of examples in ConvNets (the share of epochs and
# networks that classify an example correctly) with three quantities: their
# accessibility in deep linear networks, the number of components that a linear
# classifier needs, and the share of the ten nearest neighbours that have the same
# class, measured in pixels and in the inputs of the last layer of the trained networks.

# %%
learned = accessibility(predictions, y)
Y = np.eye(10)[y] - np.eye(10)[y].mean(axis=0)
rate = 0.15 / principal_coordinates(flat).values[0]
steps = np.arange(1, 101, 3)
linear = [
    [
        (flat @ compact_weights(weights).T).argmax(axis=1)
        for weights in train_deep_linear(
            initial_weights([64, 256, 10], random_state=seed),
            flat,
            Y,
            learning_rate=rate,
            steps=steps,
        )
    ]
    for seed in range(10)
]
classifier = LogisticRegression(max_iter=2000).fit(flat, y)
critical = critical_principal_component(classifier, flat, y)
groups = group_by_score(critical, learned, 10)
with torch.inference_mode():
    embedded = [
        discriminability(network[:-1](as_tensor(X)).numpy(), y)
        for _, network in networks
    ]
found = {
    "two halves of the ensemble": (
        order_correlation(
            accessibility(predictions[:5], y), accessibility(predictions[5:], y)
        ),
        "high",
    ),
    "deep linear networks": (
        order_correlation(learned, accessibility(linear, y)), "0.85",
    ),
    "critical component, groups": (
        order_correlation(groups.scores, groups.means), "-0.93",
    ),
    "neighbours by pixels": (
        order_correlation(learned, discriminability(flat, y)), "0.01 to 0.51",
    ),
    "neighbours in the last layer": (
        order_correlation(learned, np.mean(embedded, axis=0)), "0.54 to 0.85",
    ),
}  # fmt: skip
print(f"{'correlation':30} {'here':>6} {'p':>8}  paper")
for name, ((r, p, _), paper) in found.items():
    print(f"{name:30} {r:6.2f} {p:8.0e}  {paper}")
LearningOrderDisplay.from_scores(critical, learned, n_groups=10)

# %% [markdown]
# ## Labels that depend on the leading components
#
# There are two classes, even and odd digits. We change the labels that the best linear
# classifier on the first P components gets wrong, so that the new labels depend on
# these components only. We do the same with shuffled labels. In the paper, networks
# learn such labels faster if P is smaller, for real and for shuffled labels.

# %%
TELLING = (3, 10, 40)
odd = y % 2
starts = {"real": odd, "shuffled": np.random.default_rng(0).permutation(odd)}
needed, drawn = {}, {}
for kind, start in starts.items():
    for P in TELLING:
        told = leading_component_labels(flat, start, P)
        base = max(told.mean(), 1 - told.mean())  # accuracy of a constant prediction

        def learned_of_it(network, told=told, base=base):
            return ((labels_of(network, X) == told).mean() - base) / (1 - base)

        seen = [
            trained(X, told, seed, 15, learned_of_it, n_classes=2)[0]
            for seed in range(3)
        ]
        curve = np.mean(seen, axis=0)
        at = np.arange(1, len(curve) + 1) / LOOKS
        drawn[f"{kind}, {P}"] = curve
        there = curve > 0.8
        needed[kind, P] = f"{at[there.argmax()]:.2f}" if there.any() else "more than 15"
        print(
            f"{kind:8} labels, {P:2} components: 80 % of the errors of a constant "
            f"prediction are removed after {needed[kind, P]} epochs"
        )

LearningOrderDisplay(
    at,
    list(drawn.values()),
    labels=list(drawn),
    legend_title="labels, components",
    xlabel="epochs",
    ylabel="share of errors removed",
).plot()

# %% [markdown]
# ## Answer

# %%
r = {name: value.correlation for name, (value, _) in found.items()}
print(
    f"Largely, yes. The accuracy on images with few components reaches 95 % of its "
    f"best value earlier (2 components: after {done_at[2]:.2f} epochs; all: "
    f"{done_at[64]:.2f}). ConvNets first learn the examples that linear networks learn "
    f"first (r = {r['deep linear networks']:.2f}; paper 0.85) and that need few "
    f"components (r = {r['critical component, groups']:.2f}; paper -0.93). Neighbours "
    f"in the last layer predict this order better than neighbours in pixels "
    f"(r = {r['neighbours in the last layer']:.2f} and "
    f"{r['neighbours by pixels']:.2f}), as in Table 1 of the paper. On digits, "
    f"neighbours in pixels already predict much of it."
)
few, many = needed["shuffled", TELLING[0]], needed["shuffled", TELLING[-1]]
print(
    f"Shuffled labels are learned faster if they depend on fewer components ({few} "
    f"epochs for {TELLING[0]} components, {many} for {TELLING[-1]}). Real labels are "
    f"not: they take {needed['real', TELLING[0]]} and {needed['real', TELLING[-1]]} "
    "epochs."
)
