"""Settings of two dense layers: how the defaults of ClassPCATransformer were chosen.

    python benchmarks/dense.py --data DIR

Cross-validation of two layers with the same settings and a softmax, on training data
alone: 1,200 digits in 3 folds, 8,000 training images of MNIST in 2 folds, and the wine
and breast cancer data of scikit-learn, standardized, in 5 folds. Each setting changes
one of the defaults, besides those of the layer for patches.
"""

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import machine
from skdmn import ClassPCATransformer, SoftmaxClassifier
from skdmn.datasets import load_mnist

OF_PATCHES = {
    "n_filters": None,
    "variance_cutoff": 0.95,
    "correlation_cutoff": 0.9,
    "signs": "one",
}
SETTINGS = [
    None,  # no layer
    {},
    OF_PATCHES,
    {"variance_cutoff": 0.95},
    {"variance_cutoff": 0.999},
    {"correlation_cutoff": 0.5},
    {"correlation_cutoff": 0.9},
    {"signs": "one"},
    {"n_filters": 100},
    {"n_filters": 300},
    {"centered": True},
    {"class_based": False},
]


def data(folder: str | None) -> dict[str, tuple[np.ndarray, np.ndarray, int]]:
    """Return rows, labels and the number of folds by the name of the data."""
    X, y = load_digits(return_X_y=True)
    images, labels = load_mnist("train", data_home=folder)
    some, _, some_labels, _ = train_test_split(
        images, labels, train_size=8000, stratify=labels, random_state=0
    )
    return {
        "digits": (X[:1200], y[:1200], 3),
        "MNIST": (some.reshape(len(some), -1), some_labels, 2),
        "wine": (*load_wine(return_X_y=True), 5),
        "breast cancer": (*load_breast_cancer(return_X_y=True), 5),
    }


def model(settings: dict | None, standardized: bool) -> Pipeline:
    """Return two dense layers of the same settings, and a softmax."""
    first = [StandardScaler()] if standardized else []
    n_layers = 0 if settings is None else 2
    layers = [ClassPCATransformer(**(settings or {})) for _ in range(n_layers)]
    return make_pipeline(*first, *layers, SoftmaxClassifier())


def main() -> None:
    options = machine.parser(__doc__.splitlines()[0], "dense.json").parse_args()
    rows = []
    for name, (X, y, n_folds) in data(options.data).items():
        folds = StratifiedKFold(n_folds, shuffle=True, random_state=0)
        for settings in SETTINGS:
            scores, sizes = [], []
            for train, test in folds.split(X, y):
                fitted = model(settings, name in ("wine", "breast cancer"))
                fitted.fit(X[train], y[train])
                scores.append(fitted.score(X[test], y[test]))
                layers = [s for s in fitted if isinstance(s, ClassPCATransformer)]
                sizes.append([len(layer.filters_) for layer in layers])
            rows.append(
                {
                    "data": name,
                    "settings": settings,
                    "accuracy": 100 * float(np.mean(scores)),
                    "filters": np.mean(sizes, axis=0).tolist(),
                }
            )
            print(rows[-1], flush=True)
    machine.write(options.json, {"rows": rows})


if __name__ == "__main__":
    main()
