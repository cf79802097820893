"""Time of convolution, ReLU and 2 x 2 max pooling, compared with torch.

    python benchmarks/forward.py --data DIR

The data are real images and feature maps in float32, with filters that were computed
from them. torch runs `conv2d`, `relu_` and `max_pool2d` in both memory layouts (images
are converted beforehand), in batches of 64, 256 and 1024 images or all at once, with
the ReLU before or after the pooling (after it is less work with the same result). Its
three fastest variants and `skdmn.kernels.dispatch.convolve` are timed alternately, with
one thread and with all threads.

torch writes to an existing output, while this package allocates a new array in each
call. The process keeps freed memory, so the time of the system to provide pages is not
included. The fastest variant of torch is also timed with a new output.

The first call of each kernel in a new process is timed separately: with an empty cache
of Numba, and with a cache that an earlier process filled.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import machine
from skdmn import (
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    MaxPool2DTransformer,
)
from skdmn.datasets import load_cifar10, load_mnist
from skdmn.kernels import dispatch
from skdmn.kernels.geometry import WHOLE, Window

try:
    import torch
    from torch.nn import functional
except ImportError:
    torch = None

REPEATS = 5
CHUNKS = (64, 256, 1024, None)
POOL = Window((2, 2), (2, 2), "valid")
FIRST_CALLS = """
import json, time
import numpy as np
from skdmn.kernels import dispatch
from skdmn.kernels.geometry import WHOLE, Window

pool = Window((2, 2), (2, 2), "valid")
images = np.ones((8, 28, 28, 1), np.uint8)
maps = np.ones((8, 15, 15, 22), np.float32)
filters = np.ones((6, 3, 3, 1), np.float32)
calls = {
    "convolution of uint8": lambda: dispatch.convolve(
        images, filters, (1, 1), "valid", "relu", pool),
    "convolution of float32": lambda: dispatch.convolve(
        maps, np.ones((8, 3, 3, 22), np.float32), (1, 1), "valid", "relu", WHOLE),
    "pooling": lambda: dispatch.max_pool(maps, pool, np.float32),
    "density matrix of uint8": lambda: list(dispatch.class_moments(
        images, [np.arange(8)], (3, 3))),
    "density matrix of float32": lambda: list(dispatch.class_moments(
        maps, [np.arange(8)], (3, 3))),
}
seconds = {}
for name, call in calls.items():
    started = time.perf_counter()
    call()
    seconds[name] = time.perf_counter() - started
print(json.dumps(seconds))
"""


def torch_way(
    images, weights, out, chunk: int | None, convolve: bool, pool: bool, early: bool
) -> None:
    """Convolve, apply the ReLU (before or after pooling) and pool, into out."""
    with torch.inference_mode():
        for start in range(0, len(images), chunk or len(images)):
            some = slice(start, start + (chunk or len(images)))
            x = images[some]
            if convolve:
                x = functional.conv2d(x, weights)
                x = x.relu_() if early or not pool else x
            if pool:
                x = functional.max_pool2d(x, 2)
                x = x.relu_() if convolve and not early else x
            out[some] = x


def with_new_output(way: partial) -> None:
    """Do the same into a new output array."""
    given, laid, out, *options = way.args
    torch_way(given, laid, torch.empty_like(out), *options)


def rivals(
    images: np.ndarray, filters: np.ndarray, convolve: bool, pool: bool, out: np.ndarray
) -> dict[str, Callable[[], None]]:
    if torch is None:
        raise SystemExit("The rival is torch: pip install torch")
    first = np.ascontiguousarray(np.moveaxis(images, 3, 1))
    weights = torch.from_numpy(np.ascontiguousarray(np.moveaxis(filters, 3, 1)))
    shape = (out.shape[0], out.shape[3], *out.shape[1:3])
    every = {}
    layouts = {
        "contiguous": torch.contiguous_format,
        "channels-last": torch.channels_last,
    }
    for layout, memory_format in layouts.items():
        as_laid = {"memory_format": memory_format}
        given = torch.from_numpy(first).clone(**as_laid)
        target = torch.zeros(shape).to(**as_laid)
        laid = weights.to(**as_laid)
        for chunk in CHUNKS:
            for early in (True, False) if convolve and pool else (True,):
                order = "" if early else ", ReLU last"
                name = f"{layout}, {f'{chunk} images' if chunk else 'all'}{order}"
                every[name] = partial(
                    torch_way, given, laid, target, chunk, convolve, pool, early
                )
    return every


def compare(
    name: str, what: str, images: np.ndarray, filters: np.ndarray, repeats: int
) -> dict:
    """Time one shape."""
    convolve, pool = "conv" in what, "pool" in what
    window = POOL if pool else WHOLE

    def ours() -> np.ndarray:
        if not convolve:
            return dispatch.max_pool(images, window, np.float32)
        return dispatch.convolve(images, filters, (1, 1), "valid", "relu", window)

    out = ours()
    ways = machine.fastest(rivals(images, filters, convolve, pool, out))
    anew = {
        f"{name}, new output": partial(with_new_output, way)
        for name, way in list(ways.items())[:1]
    }
    seconds = machine.in_turn({"skdmn": ours, **ways, **anew}, repeats)
    best = min(ways, key=seconds.get)
    row = {
        "name": name,
        "what": what,
        "images": list(images.shape),
        "filters": len(filters),
        "seconds": seconds,
        "best_rival": best,
        "ratio": seconds[best] / seconds["skdmn"],
        "ratio_new_output": min(seconds[n] for n in anew) / seconds["skdmn"],
    }
    if convolve:
        height, width = images.shape[1] - 2, images.shape[2] - 2
        if pool:  # leave out rows and columns outside all windows
            height, width = height // 2 * 2, width // 2 * 2
        products = len(images) * height * width * filters.size
        row["gflops"] = 2e-9 * products / seconds["skdmn"]
    ways[best]()
    found = np.moveaxis(ways[best].args[2].numpy(), 1, 3)
    row["largest_difference"] = float(np.abs(found - out).max() / np.abs(out).max())
    print(
        f"{name}, {what}: {seconds['skdmn']:.4f} s, {row['ratio']:.2f} times faster "
        f"than torch {best}, {row['ratio_new_output']:.2f} with a new output",
        flush=True,
    )
    return row


def cases(
    data: str | None, share: float
) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Return float32 images or feature maps, and filters computed from them."""
    layer = {"variance_cutoff": 1.0, "correlation_cutoff": 1.0}
    loaded = (
        ("MNIST", load_mnist, 20_000, (6, 33)),
        ("CIFAR-10", load_cifar10, 10_000, (22, 87)),
    )
    for name, load, n, (first, second) in loaded:
        X, y = load("train", data_home=data)
        X, y = X[: int(n * share)], y[: int(n * share)]
        steps = [
            ("conv1", ClassPCAPatchTransformer(3, n_filters=first, **layer)),
            ("pool1", MaxPool2DTransformer(2)),
            ("conv2", ClassPCAPatchTransformer(3, n_filters=second, **layer)),
        ]
        network = DensityMatrixNetwork(steps).fit(X, y)
        filters = network["conv1"].filters_
        images = X.reshape(len(X), *network.image_shape_).astype(np.float32)
        title = f"{name}, {first} filters"
        yield title, "conv + ReLU + pool", images, filters
        yield title, "conv + ReLU", images, filters
        maps = network["conv1"].transform(X)
        yield title, "pool", maps, filters
        maps = network["pool1"].transform(maps)
        title = f"{first} to {second} at {maps.shape[1]} x {maps.shape[2]}"
        yield title, "conv + ReLU + pool", maps, network["conv2"].filters_
        yield title, "conv + ReLU", maps, network["conv2"].filters_


def first_calls(threads: int) -> dict[str, dict[str, float]]:
    """Time the kernels in new processes, with an empty and with a filled cache."""
    found = {}
    with TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "NUMBA_CACHE_DIR": folder,
            "NUMBA_NUM_THREADS": str(threads),
        }
        for cache in ("empty", "filled"):
            started = time.perf_counter()
            child = subprocess.run(
                [sys.executable, "-c", FIRST_CALLS],
                env=environment,
                cwd=Path(__file__).parents[1],
                capture_output=True,
                text=True,
                check=True,
            )
            calls = json.loads(child.stdout.splitlines()[-1])
            found[cache] = {
                **calls,
                "all calls": sum(calls.values()),
                "whole process": time.perf_counter() - started,
            }
    print(found, flush=True)
    return found


def main() -> None:
    parser = machine.timing_parser(__doc__.splitlines()[0], "forward.json")
    options = parser.parse_args()
    machine.keep_memory()
    repeats, share = (3, 0.1) if options.quick else (REPEATS, 1.0)
    rows = []
    for threads in sorted({1, options.threads}):
        machine.limit(threads)
        for case in cases(options.data, share):
            rows.append({"threads": threads, **compare(*case, repeats)})
    results = {
        "data": "MNIST and CIFAR-10, training images",
        "rounds": repeats,
        "rows": rows,
        "first_calls": first_calls(options.threads),
    }
    machine.write(options.json, results)


if __name__ == "__main__":
    main()
