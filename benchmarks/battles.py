"""The same work for skdmn and for what one would use instead: where it wins and loses.

    python benchmarks/battles.py --data DIR [--only digits] [--cpu-seconds 10]

Each contestant classifies the same few images: logistic regression on raw pixels,
histograms of oriented gradients (HOG, of scikit-image) with a linear SVM and with one
of Gaussian kernels, `make_dmn`, `recommended_dmn` with both heads, and a ConvNet. Its
learning rate, and C of the other classifiers, are chosen on a fifth of the images;
those of the networks of skdmn are the defaults. Wavelet scattering, PCANet and more
images are in `peers.py`. Requires torch and scikit-image.

Accuracy is that on images that are in no fit; MNIST and CIFAR-10 are training images.
Seconds are CPU seconds of all threads, for the fit with the chosen settings and for the
prediction of all other images. The ConvNet trains for as many as `--cpu-seconds`. The
size is that of a pickle of the fitted model, without density matrices, and of the
weights of the ConvNet in float32.
"""

import pickle
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC

import machine
from rival import Rival, best_of, n_parameters, train
from skdmn import compact, make_dmn, recommended_dmn
from skdmn.datasets import load_cifar10, load_digits_images, load_mnist

Data = tuple[np.ndarray, ...]
N_OTHERS = 2_000
LOAD: dict[str, Callable[[str], Data]] = {
    "digits": lambda home: load_digits_images(),
    "MNIST": lambda home: load_mnist(data_home=home),
    "CIFAR-10": lambda home: load_cifar10(data_home=home),
}
SIZES = {"digits": (1_000,), "MNIST": (1_000,), "CIFAR-10": (1_000,)}
C_LINEAR, C_KERNELS = (0.0003, 0.003, 0.03), (1.0, 10.0)
CONVNETS = {"digits": (32, 64), "MNIST": (32, 64), "CIFAR-10": (32, 64, 128)}
RATES = (2e-3, 6e-3)


def pixels(X: np.ndarray) -> np.ndarray:
    return X.reshape(len(X), -1).astype(np.float32) / 255


def gradients(X: np.ndarray) -> np.ndarray:
    """Return the histograms of oriented gradients of images (scikit-image)."""
    from skimage.feature import hog

    cell = max(2, X.shape[1] // 7)
    axis = -1 if X.ndim == 4 else None
    cells = {"pixels_per_cell": (cell, cell), "cells_per_block": (2, 2)}
    return np.array(
        [hog(x, 9, **cells, channel_axis=axis, feature_vector=True) for x in X],
        dtype=np.float32,
    )


def classical(features: Callable, classifier: Any) -> Any:
    return make_pipeline(FunctionTransformer(features), StandardScaler(), classifier)


def best(model: Any, data: Data, grid: tuple[float, ...]) -> Any:
    """Return the model with the best C on the last fifth of the images."""
    X, y = data[:2]
    n = len(y) * 4 // 5
    features = clone(model[:-1]).fit(X[:n])
    fitted, others = features.transform(X[:n]), features.transform(X[n:])
    name, classifier = model.steps[-1]
    found = {
        C: clone(classifier).set_params(C=C).fit(fitted, y[:n]).score(others, y[n:])
        for C in grid
    }
    return model.set_params(**{f"{name}__C": max(found, key=found.__getitem__)})


def contestants(name: str, data: Data) -> dict[str, Callable[[], Any]]:
    """Return functions that make the unfitted models, with chosen settings."""
    shape, mirrored = data[0].shape[1:], name == "CIFAR-10"
    logistic = LogisticRegression(max_iter=300)
    linear, kernels = LinearSVC(), SVC()

    def recommended(head: str) -> Any:
        return recommended_dmn(shape, mirrored=mirrored, head=head)

    return {
        "raw pixels, logistic regression": lambda: best(
            classical(pixels, logistic), data, C_LINEAR
        ),
        "HOG, linear SVM": lambda: best(classical(gradients, linear), data, C_LINEAR),
        "HOG, SVM": lambda: best(classical(gradients, kernels), data, C_KERNELS),
        "make_dmn": make_dmn,
        "recommended_dmn": lambda: recommended("softmax"),
        "recommended_dmn, ridge": lambda: recommended("ridge"),
    }


def fought(make: Callable[[], Any], data: Data) -> dict[str, float]:
    """Fit and predict; return accuracy, CPU seconds and kilobytes."""
    X, y, others, labels = data
    model = make()
    clone(model).fit(X[:100], y[:100]).predict(others[:10])  # load kernels
    started = time.process_time()
    model.fit(X, y)
    fitted = time.process_time()
    accuracy = 100 * float((model.predict(others) == labels).mean())
    done = time.process_time()
    is_ours = hasattr(model[0], "operations")
    saved = pickle.dumps(compact(model) if is_ours else model)
    return {
        "accuracy": accuracy,
        "fit": fitted - started,
        "predict": done - fitted,
        "kilobytes": len(saved) / 1024,
    }


def convnet(name: str, data: Data, seconds: float) -> dict[str, float]:
    """Train the ConvNet with the best learning rate."""
    clock = time.process_time
    models = [Rival(CONVNETS[name], rate, 64, name == "CIFAR-10") for rate in RATES]
    winner, _ = best_of(models, data, seconds, clock=clock)
    started = clock()
    found = train(winner, data, seconds, seed=0, clock=clock)
    shape = (*data[0].shape[1:], 1)[:3]
    return {
        "accuracy": found["accuracy"],
        "fit": found["seconds"],
        "predict": clock() - started - found["seconds"],
        "kilobytes": n_parameters(winner, shape) * 4 / 1024,
    }


def main() -> None:
    parser = machine.parser(__doc__.splitlines()[0], "battles.json")
    parser.add_argument("--only", nargs="*", choices=LOAD, default=list(LOAD))
    parser.add_argument("--sizes", nargs="*", type=int, help="instead of all sizes")
    parser.add_argument("--cpu-seconds", type=float, default=10.0)
    options = parser.parse_args()
    rows = machine.kept(options.json).get("rows", [])
    for name in options.only:
        X, y = LOAD[name](options.data)
        order = np.random.default_rng(0).permutation(len(X))
        for size in options.sizes or SIZES[name]:
            some, others = order[-size:], order[: min(N_OTHERS, len(X) - size)]
            data = X[some], y[some], X[others], y[others]
            rows = [r for r in rows if (r["data"], r["n_training"]) != (name, size)]
            row = {"data": name, "n_training": size, "n_others": len(others)}
            row["found"] = {}
            for who, make in contestants(name, data).items():
                row["found"][who] = fought(make, data)
                print(name, size, who, row["found"][who], flush=True)
            row["found"]["ConvNet"] = convnet(name, data, options.cpu_seconds)
            print(name, size, row["found"]["ConvNet"], flush=True)
            rows.append(row)
            rows.sort(key=lambda r: (list(LOAD).index(r["data"]), r["n_training"]))
            machine.write(options.json, {"rows": rows})


if __name__ == "__main__":
    main()
