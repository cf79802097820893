"""Accuracy with and without the features of the brightness and the contrast.

    python benchmarks/brightness.py --data DIR [--only digits crops]

Local contrast normalization discards the brightness and contrast of patches. Each data
set is fitted by `make_dmn`, by `recommended_dmn` without and with `brightness`, and
with it and 20 filters only. Accuracy is that on images that are not used for the fit;
MNIST and CIFAR-10 are training images. Crops are greyscale squares of the two
photographs that scikit-learn ships, which do not overlap; the class is the part of a
photograph, of six each. Random fields differ in
their mean brightness, their contrast, or only the skewness of their histogram.
"""

from collections.abc import Callable

import numpy as np
from sklearn.datasets import load_sample_images

import machine
from skdmn import make_dmn, recommended_dmn
from skdmn.datasets import load_cifar10, load_digits_images, load_mnist

N = 2_000  # images of the fit, and at most as many others
SIZE, N_KINDS, N_FIELDS = 24, 6, 1_600
Data = tuple[np.ndarray, np.ndarray]


def crops(size: int) -> Data:
    """Return greyscale squares of the photographs, and the part each is from."""
    images, labels = [], []
    for number, image in enumerate(load_sample_images().images):
        grey = image.mean(axis=2).astype(np.uint8)
        height, width = grey.shape
        for y in range(0, height - size + 1, size):
            for x in range(0, width - size + 1, size):
                images.append(grey[y : y + size, x : x + size])
                labels.append(6 * number + 3 * (2 * y // height) + 3 * x // width)
    return np.array(images), np.array(labels)


def fields(kind: str) -> Data:
    """Return smooth random fields of `N_KINDS` classes that differ in one respect."""
    rng = np.random.default_rng(0)
    labels = np.arange(N_FIELDS) % N_KINDS
    shift = labels[:, np.newaxis, np.newaxis]
    frequencies = np.fft.fftfreq(SIZE)
    radius = np.hypot(*np.meshgrid(frequencies, frequencies, indexing="ij"))
    noise = np.fft.fft2(rng.standard_normal((N_FIELDS, SIZE, SIZE)))
    values = standardized(np.fft.ifft2(noise / (radius + 0.03)).real)
    offset = 6 * rng.standard_normal((N_FIELDS, 1, 1))
    if kind == "brightness":
        images = 100 + 8 * shift + 20 * values + offset
    elif kind == "contrast":
        images = 128 + (10 + 3 * shift) * values * np.exp(offset / 30)
    else:
        skewed = values + 0.4 * (2 * shift / (N_KINDS - 1) - 1) * (values**2 - 1)
        images = 128 + 20 * standardized(skewed) + offset
    return np.clip(images, 0, 255).astype(np.uint8), labels


def standardized(images: np.ndarray) -> np.ndarray:
    images = images - images.mean(axis=(1, 2), keepdims=True)
    return images / images.std(axis=(1, 2), keepdims=True)


def grey(data: Data) -> Data:
    return data[0].mean(axis=3).astype(np.uint8), data[1]


SETS: dict[str, Callable[[str], Data]] = {
    "MNIST": lambda home: load_mnist(data_home=home),
    "CIFAR-10": lambda home: load_cifar10(data_home=home),
    "CIFAR-10, grey": lambda home: grey(load_cifar10(data_home=home)),
    "digits": lambda home: load_digits_images(),
    "crops of 16 x 16": lambda home: crops(16),
    "crops of 24 x 24": lambda home: crops(24),
    "fields, brightness": lambda home: fields("brightness"),
    "fields, contrast": lambda home: fields("contrast"),
    "fields, skewness": lambda home: fields("skewness"),
}


def main() -> None:
    parser = machine.parser(__doc__.splitlines()[0], "brightness.json")
    parser.add_argument("--only", nargs="*", choices=SETS, default=list(SETS))
    options = parser.parse_args()
    rows = machine.kept(options.json).get("rows", [])
    for name in options.only:
        X, y = SETS[name](options.data)
        order = np.random.default_rng(0).permutation(len(X))
        n = min(N, len(X) // 2)
        fitted, others = order[:n], order[n : n + N]
        mirrored = name.startswith("CIFAR")
        shape, share = X.shape[1:], min(1.0, 600 / n)
        networks = {
            "make_dmn": make_dmn(),
            **{
                words: recommended_dmn(
                    shape, mirrored=mirrored, subsample=share, **changes
                )
                for words, changes in (
                    ("recommended_dmn", {}),
                    ("with brightness", {"brightness": True}),
                    ("and 20 filters", {"brightness": True, "n_filters": 20}),
                )
            },
        }
        accuracy = {
            words: 100 * dmn.fit(X[fitted], y[fitted]).score(X[others], y[others])
            for words, dmn in networks.items()
        }
        row = {"data": name, "n_training": n, "n_others": len(others)}
        row |= {"shape": shape, "classes": len(np.unique(y)), "accuracy": accuracy}
        print(row, flush=True)
        rows = [one for one in rows if one["data"] != name] + [row]
        rows.sort(key=lambda one: list(SETS).index(one["data"]))
        machine.write(options.json, {"rows": rows})


if __name__ == "__main__":
    main()
