"""A grid search over 5 x 4 cutoffs of one layer, with and without `memory`.

    python benchmarks/grid_search.py --data DIR

The data are MNIST images in three folds. We count how often the images of a fold are
used for density matrices. The times include hashing the images and reading and writing
the cache. The cache is empty at the start of each search.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from unittest.mock import patch

from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline

import machine
from skdmn import ClassPCAPatchTransformer, MaxPool2DTransformer, SoftmaxClassifier
from skdmn.datasets import load_mnist
from skdmn.statistics.density import DensityAccumulator

GRID = {
    "conv__variance_cutoff": [0.8, 0.9, 0.95, 0.98, 0.99],
    "conv__correlation_cutoff": [0.5, 0.7, 0.9, 0.95],
}
FOLDS = 3
IMAGES = 6_000


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """Count the images used for density matrices, and time the fits of layers."""
    seen = {"images": 0, "seconds_in_fits_of_layers": 0.0}
    update, fit = DensityAccumulator.update, ClassPCAPatchTransformer.fit

    def counted(self, images, labels):
        seen["images"] += len(images)
        return update(self, images, labels)

    def timed(self, X, y=None):
        started = time.perf_counter()
        fitted = fit(self, X, y)
        seen["seconds_in_fits_of_layers"] += time.perf_counter() - started
        return fitted

    with (
        patch.object(DensityAccumulator, "update", counted),
        patch.object(ClassPCAPatchTransformer, "fit", timed),
    ):
        yield seen


def search(X, y, kernel_size: int, memory: str | None) -> dict:
    layer = ClassPCAPatchTransformer(kernel_size, memory=memory)
    pool = MaxPool2DTransformer(4, padding="same")
    softmax = SoftmaxClassifier(C=0.01, tol=1e-2)
    chain = Pipeline([("conv", layer), ("pool", pool), ("softmax", softmax)])
    folds = StratifiedKFold(FOLDS)
    with watched() as seen:
        started = time.perf_counter()
        found = GridSearchCV(chain, GRID, cv=folds, refit=False).fit(X, y)
        seconds = time.perf_counter() - started
    of_fold = len(X) * (FOLDS - 1) / FOLDS
    return {
        "kernel_size": kernel_size,
        "memory": memory is not None,
        "seconds": seconds,
        "seconds_in_fits_of_layers": seen["seconds_in_fits_of_layers"],
        "density_matrices_of_a_fold": seen["images"] / of_fold / FOLDS,
        "best": found.best_params_,
        "accuracy": 100 * float(found.best_score_),
    }


def main() -> None:
    parser = machine.timing_parser(__doc__.splitlines()[0], "grid_search.json")
    options = parser.parse_args()
    machine.limit(options.threads)
    X, y = load_mnist("train", data_home=options.data)
    n = IMAGES // 10 if options.quick else IMAGES
    X, y = X[:n], y[:n]
    rows = []
    for kernel_size in (3, 7):
        search(X[: n // 10], y[: n // 10], kernel_size, None)  # load kernels
        for with_memory in (False, True):
            with TemporaryDirectory() as folder:
                folder = folder if with_memory else None
                rows.append(search(X, y, kernel_size, folder))
            print(rows[-1], flush=True)
    machine.write(
        options.json,
        {"data": f"MNIST, {n} training images", "folds": FOLDS, "rows": rows},
    )


if __name__ == "__main__":
    main()
