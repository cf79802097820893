"""Accuracy after a fit to images of which some are damaged.

    python benchmarks/damaged.py --data DIR [--only MNIST]

Five sorts of damage in 0, 0.1, 1 and 5 % of the training images: corners of -9999
(missing data), salt (a twentieth of the pixels at the largest value), one pixel of
-1e10, a black frame, and copies of one image. Test images are not damaged. Raw pixels
under the same softmax are the comparison. Nothing is chosen here: all parameters are
defaults, except for smaller numbers of filters.
"""

import warnings
from collections.abc import Callable

import numpy as np

import machine
from frontier import load
from skdmn import SoftmaxClassifier, make_dmn, recommended_dmn

N_TRAINING, N_TEST, SHARES = 2_000, 2_000, (0.001, 0.01, 0.05)


def corners(images: np.ndarray, rng: np.random.Generator) -> None:
    """Set the upper left sixteenth of each image to -9999."""
    height, width = images.shape[1] // 4, images.shape[2] // 4
    images[:, :height, :width] = -9999


def salt(images: np.ndarray, rng: np.random.Generator) -> None:
    """Set a twentieth of the pixels to the largest value."""
    images[rng.random(images.shape[:3]) < 0.05] = 1.0


def wild_pixel(images: np.ndarray, rng: np.random.Generator) -> None:
    """Set one pixel of each image to -1e10."""
    for image in images:
        image[rng.integers(image.shape[0]), rng.integers(image.shape[1])] = -1e10


def frame(images: np.ndarray, rng: np.random.Generator) -> None:
    """Set an eighth of the pixels on each side to 0."""
    border = images.shape[1] // 8
    inside = images[:, border:-border, border:-border].copy()
    images[:] = 0
    images[:, border:-border, border:-border] = inside


def copies(images: np.ndarray, rng: np.random.Generator) -> None:
    """Replace each image by the first one."""
    images[:] = images[0].copy()


SORTS = (corners, salt, wild_pixel, frame, copies)


def models(shape: tuple[int, ...]) -> dict[str, object]:
    """Return the classifiers by name."""
    bounded = {"conv1__image_bound": 1.0, "conv2__image_bound": 1.0}
    return {
        "recommended_dmn": recommended_dmn(shape, n_filters=100, subsample=0.5),
        "make_dmn": make_dmn(n_filters=[8, 32]),
        "make_dmn, image_bound=1": make_dmn(n_filters=[8, 32]).set_params(**bounded),
        "raw pixels": SoftmaxClassifier(C=0.01),
    }


def damaged(
    images: np.ndarray, share: float, sort: Callable[[np.ndarray, object], None]
) -> np.ndarray:
    """Return a copy of the images, of which a share is damaged."""
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(images), round(share * len(images)), replace=False)
    images, some = images.copy(), images[chosen]
    if len(some):
        sort(some, rng)
    images[chosen] = some
    return images


def main() -> None:
    parser = machine.parser(__doc__.splitlines()[0], "damaged.json")
    parser.add_argument("--only", nargs="*", default=["MNIST", "CIFAR-10"])
    options = parser.parse_args()
    rows = []
    for name in options.only:
        X, y, X_test, y_test = load(name, options.data, quick=False)
        X, y, X_test, y_test = X[:N_TRAINING], y[:N_TRAINING], X_test, y_test[:N_TEST]
        X, X_test = (a.astype(np.float32) / 255 for a in (X, X_test[:N_TEST]))
        cases = [("none", 0.0, copies)]
        cases += [(sort.__name__, share, sort) for sort in SORTS for share in SHARES]
        for damage, share, sort in cases:
            spoilt = damaged(X, share, sort)
            row = {"data": name, "damage": damage, "share": share, "accuracy": {}}
            for model, classifier in models(X.shape[1:]).items():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # they tell of the damage
                    score = classifier.fit(spoilt, y).score(X_test, y_test)
                row["accuracy"][model] = 100 * score
            print(name, damage, share, row["accuracy"], flush=True)
            rows.append(row)
    facts = {"machine": machine.facts(), "n_training": N_TRAINING, "n_test": N_TEST}
    machine.write(options.json, {**facts, "rows": rows})


if __name__ == "__main__":
    main()
