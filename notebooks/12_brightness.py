# %% [markdown]
# # When does the brightness tell the classes apart?
#
# `recommended_dmn` normalizes the contrast of each patch: it subtracts the mean of the
# patch and divides by its standard deviation. This is right for digits and objects,
# which look the same in sun and shade. In textures and scans, the brightness itself
# may be what differs. `brightness=True` adds features of it. Whether that helps is
# decided by cross-validation on the training images.

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_images
from sklearn.model_selection import cross_val_score, train_test_split

from skdmn import CutoffSearchCV, make_dmn, recommended_dmn

SIZE = 24  # pixels

# %% [markdown]
# ## Greyscale squares of photographs
#
# The two photographs that come with scikit-learn are cut into squares that do not
# overlap. The class of a square is the part of the photograph that it is from: six
# parts of each, such as the sky and the roof on the left. Half of the squares are
# training images.

# %%
squares, labels = [], []
for number, image in enumerate(load_sample_images().images):
    grey = image.mean(axis=2).astype(np.uint8)
    height, width = grey.shape
    for y in range(0, height - SIZE + 1, SIZE):
        for x in range(0, width - SIZE + 1, SIZE):
            squares.append(grey[y : y + SIZE, x : x + SIZE])
            labels.append(6 * number + 3 * (2 * y // height) + 3 * x // width)
X, X_test, y, y_test = train_test_split(
    np.array(squares), np.array(labels), test_size=0.5, stratify=labels, random_state=0
)
print(f"{len(X)} training images, {len(X_test)} test images, 12 classes")

figure, axes = plt.subplots(3, 12, figsize=(10, 2.8), layout="constrained")
for label, column in enumerate(axes.T):
    for axis, square in zip(column, X[y == label], strict=False):
        axis.imshow(square, cmap="gray", vmin=0, vmax=255)
        axis.axis("off")
    column[0].set_title(label, fontsize=9)

# %% [markdown]
# ## Choose by cross-validation
#
# Three networks are compared on three folds of the training images. Only the best one
# would be used; the test images show what the choice is worth. (Many squares are smooth
# sky, whose variance says little about the others. So the contrast floor is given here
# instead of chosen automatically: patches with a variance far below 50, a standard
# deviation of 7 grey values, count as smooth.)

# %%
networks = {}
for name, brightness in (("recommended_dmn", False), ("with brightness=True", True)):
    networks[name] = recommended_dmn(
        X.shape[1:], n_filters=50, brightness=brightness, subsample=1.0
    ).set_params(features__conv__contrast_floor=50.0)
networks["make_dmn"] = make_dmn().set_params(softmax__tol=1e-3)

validated = {}
for name, network in networks.items():
    validated[name] = cross_val_score(network, X, y, cv=3).mean()
    score = network.fit(X, y).score(X_test, y_test)
    print(f"{name:20}  validation {validated[name]:.1%}  test {score:.1%}")
print("chosen:", max(validated, key=validated.get))

# %% [markdown]
# ## What it costs
#
# A network that sees the brightness depends on the exposure. Here all test images
# become brighter or darker by the same number of grey values. Without the features of
# the brightness, the answers hardly change: only pixels that are clipped at 0 or 255
# differ.

# %%
offsets = np.arange(-48, 49, 16)
figure, axis = plt.subplots(figsize=(5, 3.2), layout="constrained")
for name, network in networks.items():
    scores = [
        network.score(np.clip(X_test + offset.astype(int), 0, 255).astype("u1"), y_test)
        for offset in offsets
    ]
    axis.plot(offsets, np.multiply(scores, 100), "o-", label=name)
    print(f"{name:20} ", " ".join(f"{score:.0%}" for score in scores))
axis.set(xlabel="grey values added to the test images", ylabel="test accuracy, %")
axis.legend(frameon=False, fontsize=8)
axis.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# ## Textures that differ in their histogram
#
# The images are smooth random fields of six classes. Mean and standard deviation are
# the same in all of them, but the skewness of the grey values differs: from a few dark
# spots on bright ground to a few bright spots on dark ground. No single direction of
# patches tells these classes apart, so that most filters only add noise. How many
# filters are best is again a question for cross-validation.

# %%
rng = np.random.default_rng(0)
n_images, n_classes = 1200, 6
y = np.arange(n_images) % n_classes
radius = np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(SIZE)], indexing="ij"))
noise = np.fft.fft2(rng.standard_normal((n_images, SIZE, SIZE)))
fields = np.fft.ifft2(noise / (radius + 0.03)).real


def standardized(images):
    images = images - images.mean(axis=(1, 2), keepdims=True)
    return images / images.std(axis=(1, 2), keepdims=True)


skewness = 0.4 * (2 * y / (n_classes - 1) - 1)[:, np.newaxis, np.newaxis]
fields = standardized(fields)
fields = standardized(fields + skewness * (fields**2 - 1))
X = np.clip(128 + 20 * fields, 0, 255).astype(np.uint8)
X, X_test, y, y_test = X[:600], X[600:], y[:600], y[600:]

figure, axes = plt.subplots(2, 6, figsize=(7, 2.6), layout="constrained")
for label, column in enumerate(axes.T):
    for axis, image in zip(column, X[y == label], strict=False):
        axis.imshow(image, cmap="gray", vmin=48, vmax=208)
        axis.axis("off")

# %%
for brightness in (False, True):
    network = recommended_dmn(X.shape[1:], brightness=brightness, subsample=1.0)
    grid = {"features__conv__n_filters": [10, 20, 50, 200]}
    search = CutoffSearchCV(network, grid, cv=3).fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    told = ", ".join(
        f"{n}: {score:.0%}" for n, score in zip(*grid.values(), scores, strict=True)
    )
    best = search.best_params_["features__conv__n_filters"]
    print(f"brightness={brightness}: validation by number of filters: {told}")
    print(f"    test accuracy with {best}: {search.score(X_test, y_test):.0%}")
accuracy = make_dmn().fit(X, y).score(X_test, y_test)
print(f"make_dmn: {accuracy:.0%}")
