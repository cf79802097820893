"""Kernel ridge regression in place of the softmax, on the features of recommended_dmn.

    python benchmarks/kernel_head.py --data DIR [--only MNIST] [--sizes 10000]

Each of the `CASES` has training images to fit, the first ones, and others to score on:
images 35,000 to 40,000 of CIFAR-10, and the last 10,000 of MNIST. Results of other
cases are kept.

The kernel head standardizes the features and reduces each pooling window to its leading
principal components, each divided by the square root of its standard deviation. Then
kernel ridge regression fits targets -1 and 1 of the classes, with the Gaussian kernel
exp(-`GAMMA` |x - z|^2 / s), where s is the mean of |x|^2. `GAMMA`, `PENALTY` and the
number of components were chosen with 10,000 images of CIFAR-10, on the last 5,000
training images, which are not used here. The system of equations has one unknown per
training image and class. It is solved by conjugate gradients with a Nystroem
preconditioner.

"Nystroem" restricts the solution to kernels at `LANDMARKS` of the training images. The
softmax takes all features, with the best C on the images scored on, in its favour.
"""

import time
from collections.abc import Callable

import numpy as np
from scipy.linalg import cholesky, eigh, solve, solve_triangular
from sklearn.utils import gen_batches

import machine
from choose_recommended import build
from scoring import by_C
from skdmn.datasets import load_cifar10, load_mnist

LOADERS = {"CIFAR-10": load_cifar10, "MNIST": load_mnist}
HELD_OUT = {"CIFAR-10": slice(35_000, 40_000), "MNIST": slice(50_000, 60_000)}
CASES = (  # data, images, filters
    *(("CIFAR-10", size, 400) for size in (2_500, 10_000, 35_000)),
    *(("MNIST", size, 200) for size in (2_500, 10_000)),
)
C_GRID = (0.005, 0.01, 0.02)
GAMMA, PENALTY, COMPONENTS = 0.25, 0.03, 200
LANDMARKS = 3_000
PRECONDITIONED_BY = 2_000  # landmarks of the preconditioner
TOLERANCE, ITERATIONS = 3e-3, 60
SEED = 0


class Reduction:
    """Principal components of each pooling window, partly whitened and scaled."""

    def __init__(self, features: np.ndarray, n_windows: int):
        self.n_windows = n_windows
        self.mean = features.mean(axis=0)
        self.scale = features.std(axis=0) + 1e-6
        self.axes = []
        for window in self._windows(features):
            values, vectors = eigh(window.T @ window / len(window))
            values, vectors = values[-COMPONENTS:], vectors[:, -COMPONENTS:]
            self.axes.append(vectors / np.maximum(values, 1e-6) ** 0.25)
        self.length = 1.0
        self.length = np.sqrt((self(features) ** 2).sum(axis=1).mean())

    def __call__(self, features: np.ndarray) -> np.ndarray:
        parts = zip(self._windows(features), self.axes, strict=True)
        return np.concatenate([x @ axes for x, axes in parts], axis=1) / self.length

    def _windows(self, features: np.ndarray) -> list[np.ndarray]:
        scaled = (features - self.mean) / self.scale
        return np.split(scaled, self.n_windows, axis=1)


def gaussians(X: np.ndarray, Z: np.ndarray) -> np.ndarray:
    """Return the kernel of all pairs of rows."""
    found = X @ Z.T
    found *= 2 * GAMMA
    found -= GAMMA * (X**2).sum(axis=1)[:, np.newaxis]
    found -= GAMMA * (Z**2).sum(axis=1)
    return np.exp(found, out=found)


def kernel_matrix(X: np.ndarray) -> np.ndarray:
    found = np.empty((len(X), len(X)), dtype=X.dtype)
    for rows in gen_batches(len(X), 2_500):
        block = gaussians(X[rows], X[: rows.stop])
        found[rows, : rows.stop] = block
        found[: rows.stop, rows] = block.T
    return found


def nystroem_columns(K: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Return columns U with U U^T close to the kernel matrix.

    `K` is the kernel of all images and the landmarks; these are given by their index.
    """
    small = K[landmarks].astype(np.float64)
    small[np.diag_indices_from(small)] += 1e-4
    lower = cholesky(small, lower=True).astype(K.dtype)
    return solve_triangular(lower, K.T, lower=True).T


def kernel_ridge(K: np.ndarray, Y: np.ndarray) -> tuple[np.ndarray, int]:
    """Solve (K + penalty I) A = Y; return A and the number of iterations."""
    n = len(K)
    landmarks = chosen(n, min(PRECONDITIONED_BY, n // 2))
    U = nystroem_columns(K[:, landmarks], landmarks)
    inner = U.T @ U
    inner[np.diag_indices_from(inner)] += PENALTY
    lower = cholesky(inner.astype(np.float64), lower=True)

    def precondition(R: np.ndarray) -> np.ndarray:
        inside = solve_triangular(lower, U.T @ R, lower=True)
        inside = solve_triangular(lower, inside, lower=True, trans="T")
        return (R - U @ inside) / PENALTY

    A, R = np.zeros_like(Y), Y.copy()
    Z = precondition(R)
    P, square = Z, (R * Z).sum(axis=0)
    iteration = 0
    while np.linalg.norm(R) > TOLERANCE * np.linalg.norm(Y) and iteration < ITERATIONS:
        KP = K @ P.astype(K.dtype) + PENALTY * P
        step = square / (P * KP).sum(axis=0)
        A, R = A + step * P, R - step * KP
        Z = precondition(R)
        before, square = square, (R * Z).sum(axis=0)
        P = Z + square / before * P
        iteration += 1
    return A, iteration


def chosen(n: int, n_landmarks: int) -> np.ndarray:
    return np.random.default_rng(SEED).permutation(n)[:n_landmarks]


def targets(y: np.ndarray) -> np.ndarray:
    found = 2.0 * np.eye(y.max() + 1)[y]
    return found - found.mean(axis=0)


def accuracy(scores: np.ndarray, y: np.ndarray) -> float:
    return 100 * float((scores.argmax(axis=1) == y).mean())


def timed(function: Callable[[], dict]) -> dict:
    """Call a function, and add the CPU seconds that it took."""
    started = time.process_time()
    found = function()
    return {**found, "cpu_seconds": time.process_time() - started}


def compare(name: str, size: int, n_filters: int, data: str | None) -> dict:
    """Compare the heads on the features of one network."""
    X, y = LOADERS[name]("train", data_home=data)
    shape = (*X.shape[1:3], X.shape[3] if X.ndim == 4 else 1)
    network = build(shape, name == "CIFAR-10", n_filters=n_filters)
    row: dict = {"data": name, "images": size, "filters": n_filters}
    started = time.process_time()
    train = network.fit(X[:size], y[:size]).transform(X[:size])
    row["features_cpu_seconds"] = time.process_time() - started
    others = network.transform(X[HELD_OUT[name]])
    train, others = (rows.reshape(len(rows), -1) for rows in (train, others))
    y_train, y_others = y[:size], y[HELD_OUT[name]]
    row |= {"n_held_out": len(others), "n_features": train.shape[1]}
    n_windows = np.prod(network.output_shape_[:2])
    reduced: dict[str, np.ndarray] = {}

    def kernel() -> dict:
        reduce = Reduction(train, n_windows)
        reduced["train"], reduced["others"] = reduce(train), reduce(others)
        K = kernel_matrix(reduced["train"])
        A, n_iterations = kernel_ridge(K, targets(y_train))
        scores = gaussians(reduced["others"], reduced["train"]) @ A
        return {"accuracy": accuracy(scores, y_others), "iterations": n_iterations}

    def nystroem() -> dict:
        landmarks = chosen(size, LANDMARKS)
        Z = reduced["train"][landmarks]
        U = nystroem_columns(gaussians(reduced["train"], Z), landmarks)
        inner = (U.T @ U).astype(np.float64)
        inner[np.diag_indices_from(inner)] += PENALTY
        weights = solve(inner, U.T @ targets(y_train), assume_a="pos")
        both = np.concatenate([Z, reduced["others"]])
        V = nystroem_columns(gaussians(both, Z), np.arange(len(Z)))[len(Z) :]
        return {"accuracy": accuracy(V @ weights, y_others)}

    def softmax() -> dict:
        found = by_C(C_GRID, (train, y_train), (others, y_others), tol=1e-3)
        C = max(found, key=found.__getitem__)
        return {"accuracy": found[C], "C": C, "n_fits": len(C_GRID)}

    heads = {"softmax": softmax, "kernel ridge": kernel, "Nystroem": nystroem}
    row["heads"] = {}
    for kind, head in heads.items():
        row["heads"][kind] = timed(head)
        print(row["data"], size, n_filters, kind, row["heads"][kind], flush=True)
    return row


def main() -> None:
    parser = machine.timing_parser(__doc__.splitlines()[0], "kernel_head.json")
    parser.add_argument("--only", choices=LOADERS)
    parser.add_argument("--sizes", type=int, nargs="+", help="run only these cases")
    options = parser.parse_args()
    machine.limit(options.threads)
    cases = [(name, 500, 25) for name in LOADERS] if options.quick else CASES
    rows = {
        (row["data"], row["images"], row["filters"]): row
        for row in machine.kept(options.json).get("rows", [])
    }
    for case in cases:
        name, size, _ = case
        if options.only in (None, name) and size in (options.sizes or [size]):
            rows[case] = compare(*case, options.data)
            machine.write(options.json, {"rows": [rows[key] for key in sorted(rows)]})


if __name__ == "__main__":
    main()
