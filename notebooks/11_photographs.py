# %% [markdown]
# # Which parts of a photograph speak for its class?
#
# We go from files to a model, and from the model to heat maps. The two photographs that
# come with scikit-learn, of a Chinese palace and of a flower, are cut into small
# pictures, and the model tells from which photograph a picture is. It learns from the
# left part of the photographs, and is tested on the right part.
#
# The logit of a picture is a sum over its pixels, and over the filters of the model.
# So the model can say why it gave an answer.

# %%
import tempfile
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images
from sklearn.pipeline import make_pipeline

from skdmn import make_dmn, recommended_dmn
from skdmn.datasets import load_image_folder
from skdmn.inspection import (
    ContributionDisplay,
    class_report,
    contributions,
    diagnose,
)

SIDE, STEP, EDGE = 48, 16, 400  # pixels

photographs = dict(zip(("palace", "flower"), load_sample_images().images, strict=True))
place = tempfile.TemporaryDirectory()
folder = Path(place.name)
for name, photograph in photographs.items():
    height, width, _ = photograph.shape
    for part, left, right in (("train", 0, EDGE), ("test", EDGE, width)):
        (folder / part / name).mkdir(parents=True)
        for y in range(0, height - SIDE + 1, STEP):
            for x in range(left, right - SIDE + 1, STEP):
                picture = Image.fromarray(photograph[y : y + SIDE, x : x + SIDE])
                picture.save(folder / part / name / f"{y:03}_{x:03}.png")

# %% [markdown]
# ## From a folder to a model
#
# `load_image_folder` reads a folder that has a subfolder for each class. The files may
# differ in size, format and colours: all become arrays of one shape. The `reader` that
# it returns prepares other files in the same way, as the first step of the model.

# %%
data = load_image_folder(folder / "train", size=32)
test = load_image_folder(folder / "test", size=32)
print(f"{len(data.images)} pictures of {data.target_names}, {data.images.shape[1:]}")

figure, axes = plt.subplots(2, 8, figsize=(9, 2.5), layout="constrained")
for row, label in zip(axes, (0, 1), strict=True):
    some = np.flatnonzero(data.target == label)
    for axis, at in zip(row, some[:: len(some) // 8], strict=False):
        axis.imshow(data.images[at])
        axis.axis("off")

# %%
names = np.array(data.target_names)
network = recommended_dmn(data.images.shape[1:], n_filters=100, mirrored=True)
model = make_pipeline(data.reader, network)
started = time.perf_counter()
model.fit(data.images, names[data.target])
print(f"fitted in {time.perf_counter() - started:.1f} s")
print(f"accuracy on the right part: {model.score(test.images, names[test.target]):.1%}")

files = [folder / "test" / name / "208_448.png" for name in photographs]
print(model.predict(files), model.predict_proba(files).max(axis=1).round(3))

# %% [markdown]
# ## Why this answer
#
# `contributions` divides the logits of pictures, here of every tenth one, among pixels,
# filters and classes of filters. The sums are equal to the logits. (How a feature is
# divided among pixels is in part a convention; the guide says where.)

# %%
why = contributions(model, test.images[::10])
by_pixels = why.pixel_bias + why.pixels.sum(axis=(1, 2, 3))
by_filters = why.bias + why.by_filter.sum(axis=1)
for parts, sums in (("pixels", by_pixels), ("filters", by_filters)):
    difference = np.abs(sums - why.logits).max()
    print(f"sums over {parts} differ from the logits by at most {difference:.0e}")
    assert difference < 1e-9

# %% [markdown]
# Two pictures of each class, and the picture with the most confident wrong answer. Red
# pixels speak for the class that the model names, and blue pixels against it.

# %%
is_wrong = model.predict(test.images) != names[test.target]
confidence = model.predict_proba(test.images).max(axis=1)
surest = int(np.argmax(confidence * is_wrong))
chosen = ("flower/208_400", "flower/256_416", "palace/304_432", "palace/160_560")
paths = [Path(file).relative_to(folder / "test") for file in test.filenames]
shown = [paths.index(Path(f"{name}.png")) for name in chosen]
display = ContributionDisplay.from_estimator(model, test.images[[*shown, surest]])
print(f"{is_wrong.sum()} wrong answers; the surest is {paths[surest]}")

# %% [markdown]
# The wrong answers are pictures of the sky. The model drops the mean of each patch, so
# that it sees neither brightness nor colour of a smooth sky. It takes it for the
# flower, whose background is as smooth.

# %% [markdown]
# ## The whole photograph
#
# Each small picture has a probability. Here they are averaged over all pictures that
# contain a pixel of the right part: red belongs to the palace by the model, and blue to
# the flower. Nothing of these parts was seen in the fit.

# %%
palace = list(model.classes_).index("palace")
figure, axes = plt.subplots(2, 2, figsize=(7, 7), layout="constrained")
for row, (name, photograph) in zip(axes, photographs.items(), strict=True):
    part = photograph[:, EDGE:]
    sums, counts = np.zeros(part.shape[:2]), np.zeros(part.shape[:2])
    own = [file for file in test.filenames if Path(file).parent.name == name]
    paths = [folder / "test" / file for file in own]
    for path, p in zip(paths, model.predict_proba(paths)[:, palace], strict=True):
        y, x = map(int, path.stem.split("_"))
        sums[y : y + SIDE, x - EDGE : x - EDGE + SIDE] += p
        counts[y : y + SIDE, x - EDGE : x - EDGE + SIDE] += 1
    seen = counts > 0
    probability = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=seen)
    row[0].imshow(part)
    row[0].set_title(name)
    grey = part.mean(axis=2)
    row[1].imshow(grey, cmap="gray")
    drawn = row[1].imshow(probability, cmap="coolwarm", vmin=0, vmax=1, alpha=0.6)
    row[1].set_title(f"taken for the palace: {np.nanmean(probability):.0%}")
    for axis in row:
        axis.axis("off")
bar = figure.colorbar(drawn, ax=axes, shrink=0.5, label="probability of the palace")

# %% [markdown]
# ## All pictures
#
# `class_report` summarizes the answers. `to_html` writes it as a page, with the hardest
# pictures and their heat maps.

# %%
report = class_report(
    model, test.images, names[test.target], names=test.filenames, n_hardest=4
)
print(report)
report.to_html(folder / "report.html")
place.cleanup()

# %% [markdown]
# ## Why a network fails
#
# `make_dmn` builds the network of the papers. Their images are bright strokes on black,
# and they keep the components that hold 95 % of the variance. Photographs are bright
# everywhere: the constant patch alone holds more than that. `diagnose` finds what is
# wrong with such a network, and says what to change.

# %%
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the layer warns that it has only one filter
    failing = make_dmn(1, variance_cutoff=0.95).fit(data.images, names[data.target])
found = diagnose(failing, test.images, names[test.target], subsample=400)
print(found.sentences[0])
print("What to try:", found.hints[0])
figure = found.plot()

# %% [markdown]
# The classes differ most along components of small variance (above, in the middle of
# the first row), which the cutoff leaves out. A larger cutoff keeps them.

# %%
mended = make_dmn(1, variance_cutoff=0.999).fit(data.images, names[data.target])
for name, one in (("0.95", failing), ("0.999", mended)):
    accuracy = one.score(test.images, names[test.target])
    print(f"variance_cutoff={name}: accuracy {accuracy:.1%}")
