"""Time of density matrices, compared with copied patches in NumPy and torch.

    python benchmarks/density.py --data DIR

Timed is one density matrix of all images, which is the cost of one class. The
alternatives copy the patches of a chunk of images and multiply them: NumPy's
`sliding_window_view`, and torch's `unfold` followed by one product per chunk or one per
image; torch gets its images in channels-first order. All add up the chunks in float64.

The time of the products alone is computed from the rate of a large float32 product,
which is measured in the same rounds. It is given for the products of this package's
method, and for the necessary products, one for each pair of pixels.

The second part justifies `skdmn.kernels.reference.moments.rows_are_cheaper`, which
chooses between two methods if there are no compiled kernels: without Numba, and for
arrays of other libraries.
"""

from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

import machine
from skdmn import (
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    MaxPool2DTransformer,
)
from skdmn.datasets import load_cifar10, load_mnist
from skdmn.kernels import dispatch
from skdmn.kernels.numba import moments as cpu_density
from skdmn.kernels.reference import moments

try:
    import torch
    from torch.nn.functional import unfold
except ImportError:
    torch = None

CHUNKS = (64, 512)  # images
REPEATS = 3
GEMM = 3072  # rows and columns of the large product
MODEL_SHAPES = [  # height and width, channels, kernel sizes
    (8, 1, (2, 3, 5)),
    (28, 1, (3, 5, 7)),
    (32, 3, (3, 5, 7)),
    (15, 6, (3, 5)),
    (13, 16, (3, 5)),
    (15, 22, (3, 5)),
    (7, 64, (3, 5)),
    (16, 96, (3,)),
    (64, 1, (3, 9)),
    (64, 3, (3, 9)),
    (128, 3, (3, 5)),
]


def chunks(images: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(images), size):
        yield images[start : start + size]


def numpy_windows(images: np.ndarray, size: int, chunk: int) -> np.ndarray:
    """Copy patches, then one product per chunk; entries in C order of (c, y, x)."""
    d = size * size * images.shape[3]
    total = np.zeros((d, d))
    for some in chunks(images, chunk):
        views = sliding_window_view(
            some.astype(np.float32, copy=False), (size, size), axis=(1, 2)
        )
        windows = views.reshape(-1, d)
        total += windows.T @ windows
    return total


def torch_windows(images, size: int, chunk: int, by_image: bool) -> np.ndarray:
    """Unfold, then one product per chunk or per image."""
    d = size * size * images.shape[1]
    total = torch.zeros((d, d), dtype=torch.float64)
    for some in chunks(images, chunk):
        windows = unfold(some.float(), size)
        if by_image:
            total += torch.bmm(windows, windows.transpose(1, 2)).sum(0)
        else:
            flat = windows.transpose(1, 2).reshape(-1, d)
            total += flat.T @ flat
    return total.numpy()


def rivals(images: np.ndarray, size: int) -> dict[str, Callable[[], np.ndarray]]:
    every = {
        f"NumPy windows, {chunk} images": partial(numpy_windows, images, size, chunk)
        for chunk in CHUNKS
    }
    if torch is None:
        return every
    first = torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, 3, 1)))
    for chunk in CHUNKS:
        for how in ("matmul", "bmm"):
            every[f"torch unfold, {how}, {chunk} images"] = partial(
                torch_windows, first, size, chunk, how == "bmm"
            )
    return every


def products(shape: tuple[int, ...], size: int) -> tuple[int, int]:
    """Return products per image: of this package's method, and the necessary ones."""
    height, width, channels = shape
    cut = cpu_density._cut(shape, (size, size), np.dtype(np.float32))
    pairs = sum(
        (height - dy) * (width - abs(dx))
        for dy in range(size)
        for dx in range(1 - size if dy else 0, size)
    )
    return sum(n_products for _, n_products, _ in cut), pairs * channels**2


def error(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.abs(found - exact).max() / np.abs(exact).max())


def compare(name: str, images: np.ndarray, size: int, repeats: int) -> dict:
    """Time one shape."""
    members = np.arange(len(images))
    shape, channels = images.shape[1:], images.shape[3]
    exact, _ = moments.second_moments(images.astype(np.float64), members, (size, size))
    channels_first = np.arange(len(exact)).reshape(size, size, channels)
    order = np.moveaxis(channels_first, 2, 0).ravel()
    best = machine.fastest(rivals(images, size))
    large = np.ones((GEMM, GEMM), np.float32)

    def ours():
        return next(dispatch.class_moments(images, [members], (size, size)))[0]

    def definition():
        return moments.second_moments(images, members, (size, size))[0]

    contestants = {"skdmn": ours, "definition": definition, **best}
    errors = {"skdmn": error(ours(), exact), "definition": error(definition(), exact)}
    exact = exact[np.ix_(order, order)]
    errors |= {name: error(run(), exact) for name, run in best.items()}
    seconds = machine.in_turn({**contestants, "GEMM": lambda: large @ large}, repeats)
    rate = GEMM**3 / seconds["GEMM"]
    of_form, needed = (len(images) * n / rate for n in products(shape, size))
    rival = min(best, key=seconds.get)
    row = {
        "name": name,
        "images": list(images.shape),
        "dtype": str(images.dtype),
        "kernel_size": size,
        "seconds": seconds,
        "best_rival": rival,
        "ratio": seconds[rival] / seconds["skdmn"],
        "relative_errors": errors,
        "gemm_gflops": 2e-9 * rate,
        "seconds_of_products_at_gemm_rate": of_form,
        "seconds_of_needed_products_at_gemm_rate": needed,
        "times_products_alone": seconds["skdmn"] / of_form,
        "times_needed_products": seconds["skdmn"] / needed,
    }
    print(
        f"{name}, {row['dtype']}, {size}x{size}: {seconds['skdmn']:.3f} s, "
        f"{row['ratio']:.1f} times faster than {rival}, "
        f"{row['times_products_alone']:.2f} times its products alone, "
        f"{row['times_needed_products']:.2f} times those needed",
        flush=True,
    )
    return row


def cases(data: str | None, share: float) -> Iterator[tuple[str, np.ndarray, int]]:
    """Return real images, and feature maps that were computed from them."""
    mnist = load_mnist("train", data_home=data)[0][: int(20_000 * share), ..., None]
    cifar, labels = load_cifar10("train", data_home=data)
    cifar, labels = cifar[: int(5_000 * share)], labels[: int(5_000 * share)]
    for name, images in (("MNIST", mnist), ("CIFAR-10", cifar)):
        for dtype in (np.uint8, np.float32):
            for size in (3, 5):
                yield name, images.astype(dtype), size
    layer = {"variance_cutoff": 1.0, "random_state": 0}
    conv = ClassPCAPatchTransformer(3, n_filters=22, **layer)
    steps = [("conv", conv), ("pool", MaxPool2DTransformer(2))]
    maps = DensityMatrixNetwork(steps).fit(cifar, labels).transform_images(cifar)
    for size in (3, 5):
        yield "CIFAR-10 after 22 filters", maps, size
    conv.set_params(padding="same")
    second = ClassPCAPatchTransformer(3, n_filters=96, padding="same", **layer)
    some = slice(int(2_000 * share))
    steps = [("conv", conv), ("conv2", second), ("pool", MaxPool2DTransformer(2))]
    wide = DensityMatrixNetwork(steps).fit(cifar[some], labels[some])
    yield "CIFAR-10 after 96 filters", wide.transform_images(cifar[some]), 3


def cost_model(values: int, repeats: int) -> dict:
    """Time both methods without kernels, and record which one the model chooses."""
    rng = np.random.default_rng(0)
    rows = []
    libraries = ["NumPy"] if torch is None else ["NumPy", "torch"]
    for side, channels, sizes in MODEL_SHAPES:
        n = max(4, values // (side * side * channels))
        host = rng.standard_normal((n, side, side, channels), dtype=np.float32)
        members = np.arange(n)
        for size in sizes:
            pair = (size, size)
            by_rows = moments.rows_are_cheaper(host.shape[1:], pair)
            for library in libraries:
                images = host if library == "NumPy" else torch.from_numpy(host)
                forms = {
                    "rows": partial(moments.row_moments, images, members, pair),
                    "windows": partial(moments.second_moments, images, members, pair),
                }
                machine.in_turn(forms, 1)  # warm up
                seconds = machine.in_turn(forms, repeats)
                chosen = seconds["rows" if by_rows else "windows"]
                rows.append(
                    {
                        "library": library,
                        "images": list(host.shape),
                        "kernel_size": size,
                        "seconds": seconds,
                        "chosen": "rows" if by_rows else "windows",
                        "loss": chosen / min(seconds.values()),
                    }
                )
    losses = [row["loss"] for row in rows]
    summary = {
        "shapes": len(rows),
        "picked_the_faster": sum(loss == 1.0 for loss in losses) / len(losses),
        "median_loss": median(losses),
        "worst_loss": max(losses),
        "worst": max(rows, key=lambda row: row["loss"]),
    }
    print(summary)
    return {**summary, "rows": rows}


def main() -> None:
    parser = machine.timing_parser(__doc__.splitlines()[0], "density.json")
    options = parser.parse_args()
    machine.limit(options.threads)
    repeats = 3 if options.quick else REPEATS
    share = 0.1 if options.quick else 1.0
    rows = [compare(*case, repeats) for case in cases(options.data, share)]
    results = {
        "data": "MNIST and CIFAR-10, training images; random images for the cost model",
        "rounds": repeats,
        "rows": rows,
        "cost_model": cost_model(2**18 if options.quick else 2**21, repeats),
    }
    machine.write(options.json, results)


if __name__ == "__main__":
    main()
