"""Ideas that did not improve recommended_dmn or the layers of the papers.

    python benchmarks/leads.py --data DIR [--only by_path]

*More features.* The data are training images of CIFAR-10: the first 35,000 to fit, the
next 5,000 to score on and to choose C from `C_GRID`. The features of other layers are
combined with those of 200 filters and `mirrored=True`, and compared with more filters.

*Groups by path.* According to the papers, inputs that take the same path through a
network share a density matrix. Here a group consists of the patches for which the same
filter has the largest response. The filter is replaced by the leading eigenvector of
the density matrix of its group, in whitened space. This is repeated five times.

*Residual density matrices.* The filters of a second layer of the papers are computed
from the part of its density matrices that the image does not predict linearly, rho_hh -
rho_hx rho_xx^-1 rho_xh. This part is free of the effect of overlapping patches and of
all other linear dependence on the image (called "echo" below). It is compared with
rho_hh, with 10,000 images of each data set to fit and 10,000 others to score on.
"""

import time
from collections.abc import Callable

import numpy as np

import machine
from choose_recommended import build
from directions import Whitened
from scoring import best_C, by_C, softmax, whitening
from skdmn import (
    AveragePool2DTransformer,
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    MaxPool2DTransformer,
    WhitenedPCAPatchTransformer,
)
from skdmn.datasets import load_cifar10, load_mnist
from skdmn.kernels.reference.contrast import by_contrast
from skdmn.kernels.reference.convolution import patches
from skdmn.presets import covering
from skdmn.statistics.filters import filter_bank

N, END = 35_000, 40_000
C_GRID = (0.003, 0.005, 0.01, 0.02, 0.04)
PER_IMAGE = 24  # patches to fit the linear echo on
MOST, FILTERS = 10_000, 48
SHIFT = 2
N_FILTERS = (200, 400, 800)  # for groups by path

Features = Callable[[np.ndarray, np.ndarray], np.ndarray]


def mirrored(n_filters: int, larger: int = 0) -> DensityMatrixNetwork:
    return build((32, 32, 3), True, n_filters=n_filters, larger=larger)


def of_half_size() -> DensityMatrixNetwork:
    layers = build((16, 16, 3), True).layers
    shrink = ("shrink", AveragePool2DTransformer(2))
    return DensityMatrixNetwork([shrink, *layers], mirrored=True)


def second_layer() -> DensityMatrixNetwork:
    """Return a whitened layer of 200 filters on top of one of 64 filters."""
    first = dict(mirrored(64).layers)["conv"]
    second = WhitenedPCAPatchTransformer(
        3,
        n_filters=200,
        variance_cutoff=0.9,
        position_grid=2,
        mirrored=True,
        subsample=0.1,
        random_state=0,
    )
    window, stride = covering((11, 11), 3)
    layers = [
        ("conv1", first),
        ("pool1", AveragePool2DTransformer(3, stride=2, power=0.5)),
        ("conv2", second),
        ("pool2", AveragePool2DTransformer(window, stride=stride, power=0.5)),
    ]
    return DensityMatrixNetwork(layers, mirrored=True)


def of(network: DensityMatrixNetwork) -> Features:
    return lambda X, y: network.fit(X[:N], y[:N]).transform(X)


def second_moments(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return density matrices of each image by window, of whitened components."""
    conv = mirrored(50).fit(X[:N], y[:N])["conv"]
    matrix = whitening(conv).T.astype(np.float32)
    d = len(matrix)
    upper = np.triu_indices(matrix.shape[1])
    (size, _), (step, _) = covering((27, 27), 3)
    windows = [slice(i * step, i * step + size) for i in range(3)]

    def moments(images: np.ndarray) -> np.ndarray:
        found = by_contrast(
            patches(images, (6, 6)).reshape(-1, d), conv.contrast_floor_
        )
        found = (found @ matrix).reshape(len(images), 27, 27, -1)
        parts = []
        for down in windows:
            for across in windows:
                rows = found[:, down, across].reshape(len(images), size * size, -1)
                part = rows.transpose(0, 2, 1) @ rows / size**2
                parts.append(part[:, upper[0], upper[1]])
        return np.concatenate(parts, axis=1)

    rows = []
    for i in range(0, len(X), 100):
        images = X[i : i + 100].astype(np.float32)
        both = moments(images) + moments(images[:, :, ::-1])
        rows.append(np.sign(both) * np.sqrt(np.abs(both)))
    return np.concatenate(rows)


BASE = "200 filters"
PARTS: dict[str, Features] = {
    BASE: of(mirrored(200)),
    "400 filters": of(mirrored(400)),
    "600 filters": of(mirrored(600)),
    "filters of 4 x 4 patches": of(mirrored(200, larger=-2)),
    "filters of 9 x 9 patches": of(mirrored(200, larger=3)),
    "images of half the size": of(of_half_size()),
    "a second layer": of(second_layer()),
    "second moments": second_moments,
}
ROWS = [
    *([BASE], ["400 filters"], ["600 filters"]),
    *([BASE, "filters of 4 x 4 patches"], [BASE, "filters of 9 x 9 patches"]),
    *([BASE, "images of half the size"], ["a second layer"], [BASE, "a second layer"]),
    *(["400 filters", "a second layer"], ["second moments"], [BASE, "second moments"]),
]


def photographs(data: str | None) -> tuple[np.ndarray, np.ndarray]:
    X, y = load_cifar10("train", data_home=data)
    return X[:END], y[:END]


def validated(
    features: np.ndarray, y: np.ndarray, more: np.ndarray | None = None
) -> dict:
    """Return the best C and its accuracy, optionally with more training images."""
    learned = (features[:N], y[:N])
    if more is not None:
        learned = (np.concatenate([features[:N], more]), np.tile(y[:N], 2))
    accuracy = by_C(C_GRID, learned, (features[N:], y[N:]))
    best = max(accuracy, key=accuracy.__getitem__)
    return {"C": best, "accuracy": accuracy[best]}


def side_by_side(data: str | None) -> list[dict]:
    X, y = photographs(data)
    parts = {name: features(X, y) for name, features in PARTS.items()}
    found = []

    def score(name: str, features: np.ndarray, more: np.ndarray | None = None) -> None:
        row = {"lead": name, "n_features": features.shape[1]}
        found.append({**row, **validated(features, y, more)})
        print(found[-1], flush=True)

    for row in ROWS:
        score(" and ".join(row), np.concatenate([parts[name] for name in row], axis=1))
    lengths = np.linalg.norm(parts[BASE], axis=1, keepdims=True)
    score(f"{BASE}, rows normalized to length 1", parts[BASE] / lengths)
    network = mirrored(200).fit(X[:N], y[:N])
    moved = network.transform(shifted(X[:N]))
    score(f"{BASE}, with shifted training images", parts[BASE], moved)
    return found


def shifted(X: np.ndarray) -> np.ndarray:
    """Return images shifted by up to `SHIFT` pixels, reflected at the border."""
    rows, columns = X.shape[1:3]
    margin = (SHIFT, SHIFT)
    padded = np.pad(X, ((0, 0), margin, margin, (0, 0)), "reflect")
    corners = np.random.default_rng(0).integers(0, 2 * SHIFT + 1, (len(X), 2))
    cut = [
        x[u : u + rows, v : v + columns]
        for x, (u, v) in zip(padded, corners, strict=True)
    ]
    return np.stack(cut)


def by_path(data: str | None) -> list[dict]:
    """Compare filters of classes by cell with those of groups by path."""
    X, y = photographs(data)
    rows = []
    for n in N_FILTERS:
        network = mirrored(n).fit(X[:N], y[:N])
        for path in (False, True):
            row = {"filters": n, "path": path}
            if path:
                started = time.perf_counter()
                Whitened(network, X[:N]).group_by_path()
                row["seconds"] = time.perf_counter() - started
            rows.append({**row, **validated(network.transform(X), y)})
            print(rows[-1], flush=True)
    return rows


def both_without_echo(data: str | None) -> list[dict]:
    loaders = {"MNIST": load_mnist, "CIFAR-10": load_cifar10}
    rows = []
    for name, load in loaders.items():
        rows += without_echo(name, *load("train", data_home=data))
    return rows


def without_echo(name: str, X: np.ndarray, y: np.ndarray) -> list[dict]:
    """Compare second layers from density matrices and from residual ones."""
    order = np.random.default_rng(0).permutation(40_000)
    (X, y), (X_other, y_other) = (
        (X[some].reshape(len(some), *X.shape[1:3], -1), y[some])
        for some in (order[:MOST], order[-MOST:])
    )
    options = {"variance_cutoff": 0.9999, "signs": "both"}
    layers = [
        ("conv1", ClassPCAPatchTransformer(3, n_filters=8, **options)),
        ("pool1", MaxPool2DTransformer(2)),
        ("conv2", ClassPCAPatchTransformer(3, n_filters=FILTERS, **options)),
        ("pool2", MaxPool2DTransformer(3)),
    ]
    network = DensityMatrixNetwork(layers).fit(X, y)
    maps = network["pool1"].transform(network["conv1"].transform(X))
    rng = np.random.default_rng(1)
    n = len(X) * PER_IMAGE
    down, across = rng.integers(0, maps.shape[1] - 2, (2, n))
    which = np.repeat(np.arange(len(X)), PER_IMAGE)
    corners = list(zip(which, down, across, strict=True))
    above = np.stack([maps[i, u : u + 3, v : v + 3].ravel() for i, u, v in corners])
    below = np.stack(  # the pixels that the patches are computed from
        [X[i, 2 * u : 2 * u + 8, 2 * v : 2 * v + 8].ravel() for i, u, v in corners]
    )
    rows = []
    for cutoff in (0.9, 0.5):
        for echo in (True, False):
            densities = [
                density(above[y[which] == c], below[y[which] == c], echo)
                for c in np.unique(y)
            ]
            bank = filter_bank(
                np.array(densities),
                variance_cutoff=0.9999,
                correlation_cutoff=cutoff,
                n_filters=FILTERS,
                signs="both",
            )
            conv = network["conv2"]
            filters = bank.filters.reshape(-1, *conv.filters_.shape[1:])
            conv.filters_ = filters.astype(conv.filters_.dtype)
            features = network.transform(X)
            top = softmax(best_C(features, y, C_GRID)).fit(features, y)
            accuracy = 100 * top.score(network.transform(X_other), y_other)
            row = {"data": name, "correlation_cutoff": cutoff, "echo": echo}
            rows.append({**row, "filters": len(filters) // 2, "accuracy": accuracy})
            print(rows[-1], flush=True)
    return rows


def density(above: np.ndarray, below: np.ndarray, echo: bool) -> np.ndarray:
    """Return rho_hh, or without `echo` the residual density matrix."""
    above, below = above.astype(np.float64), below.astype(np.float64)
    rho_hh = above.T @ above
    if echo:
        return rho_hh / np.trace(rho_hh)
    rho_xx, rho_hx = below.T @ below, above.T @ below
    rho_xx += 1e-6 * np.trace(rho_xx) / len(rho_xx) * np.eye(len(rho_xx))
    rest = rho_hh - rho_hx @ np.linalg.solve(rho_xx, rho_hx.T)
    return rest / np.trace(rest)


LEADS: dict[str, Callable[[str | None], list[dict]]] = {
    "side_by_side": side_by_side,
    "by_path": by_path,
    "without_echo": both_without_echo,
}


def main() -> None:
    parser = machine.parser(__doc__.splitlines()[0], "leads.json")
    parser.add_argument("--only", choices=LEADS)
    options = parser.parse_args()
    results = machine.kept(options.json)
    for lead in [options.only] if options.only else LEADS:
        results[lead] = LEADS[lead](options.data)
        machine.write(options.json, results)


if __name__ == "__main__":
    main()
