"""A fit on Dask: equality with one process, a killed worker, and overhead.

    python benchmarks/on_dask.py --data DIR

Two layers and a softmax are fitted to MNIST in one process, on Dask's threads, and on
clusters of worker processes with one thread each; then once more on the largest
cluster, of which one worker is killed while the layers are fitted. The fitted
attributes are compared. A first fit, which is not timed, loads kernels and modules in
every worker.

Then the reduction is timed: the density matrices of the same images in an increasing
number of blocks, on the largest cluster and in one process.
"""

import os
import signal
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster
from sklearn.base import clone
from sklearn.pipeline import Pipeline

import machine
from skdmn import (
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    MaxPool2DTransformer,
    SoftmaxClassifier,
    distributed,
)
from skdmn.datasets import load_mnist

WORKERS = (1, 2, 4)
BLOCKS = (10, 100, 1000)
BLOCK = 5000  # images
REPEATS = 3


def network() -> Pipeline:
    layers = [
        ("conv1", ClassPCAPatchTransformer(3, n_filters=6)),
        ("pool1", MaxPool2DTransformer(2)),
        ("conv2", ClassPCAPatchTransformer(3, n_filters=33, variance_cutoff=0.99)),
        ("pool2", MaxPool2DTransformer(2)),
    ]
    stack = DensityMatrixNetwork(layers)
    return Pipeline([("layers", stack), ("softmax", SoftmaxClassifier(C=0.01))])


@contextmanager
def cluster(n_workers: int) -> Iterator[Client]:
    with (
        LocalCluster(
            n_workers=n_workers, threads_per_worker=1, dashboard_address=None
        ) as local,
        Client(local) as client,
    ):
        yield client


def fit(estimator: Any, X: Any, y: np.ndarray) -> tuple[Any, float]:
    """Fit a copy, on Dask if X is a Dask array; return it and the seconds."""
    estimator, started = clone(estimator), time.perf_counter()
    if isinstance(X, da.Array):
        distributed.fit(estimator, X, y)
    else:
        estimator.fit(X, y)
    return estimator, time.perf_counter() - started


def timed(estimator: Any, X: Any, y: np.ndarray, repeats: int) -> tuple[Any, float]:
    """Return a fitted copy and the median seconds, after a fit that is not counted."""
    fits = [fit(estimator, X, y) for _ in range(repeats + 1)][1:]
    return fits[-1][0], float(np.median([seconds for _, seconds in fits]))


def kill_one(client: Client, after: float) -> threading.Timer:
    """Kill a worker after some seconds."""
    worker = next(iter(client.run(os.getpid).values()))
    timer = threading.Timer(after, os.kill, (worker, signal.SIGKILL))
    timer.start()
    return timer


def compared(found: Any, expected: Any, X: np.ndarray) -> dict[str, float]:
    """Return the differences from the fit in one process."""
    differences = {
        name: float(
            np.abs(
                found["layers"][name].density_matrices_
                - expected["layers"][name].density_matrices_
            ).max()
        )
        for name in ("conv1", "conv2")
    }
    agreed = (found.predict(X) == expected.predict(X)).mean()
    return {**differences, "same labels": float(agreed)}


def same_bytes(one: Any, other: Any) -> bool:
    """Return True if the results of two fits are identical."""
    pairs = [(one["softmax"].coef_, other["softmax"].coef_)]
    for name in ("conv1", "conv2"):
        layers = (fitted["layers"][name] for fitted in (one, other))
        pairs.append(tuple(layer.density_matrices_ for layer in layers))
    return all(np.array_equal(*pair) for pair in pairs)


def fits(options: Namespace, X: np.ndarray, y: np.ndarray) -> list[dict]:
    """Time fits of the whole network."""
    repeats = 1 if options.quick else REPEATS
    expected, seconds = timed(network(), X, y, repeats)
    rows: list[dict] = [{"how": "one process", "seconds": seconds}]
    print(rows[-1], flush=True)

    def add(how: str, found: Any, seconds: float) -> None:
        rows.append({"how": how, "seconds": seconds, **compared(found, expected, X)})
        print(rows[-1], flush=True)

    blocks = da.from_array(X, chunks=(BLOCK, -1, -1))
    with dask.config.set(scheduler="threads"):
        add("threads", *timed(network(), blocks, y, repeats))
    for n_workers in (2,) if options.quick else WORKERS:
        with cluster(n_workers) as client:
            there = blocks.persist()
            found, seconds = timed(network(), there, y, repeats)
            add(f"{n_workers} workers", found, seconds)
            if n_workers == (2 if options.quick else WORKERS[-1]):
                sent, seconds = fit(network(), blocks, y)
                add(f"{n_workers} workers, images sent", sent, seconds)
                timer = kill_one(client, seconds / 4)
                late, seconds = fit(network(), blocks, y)
                timer.join()
                add(f"{n_workers} workers, images sent, one killed", late, seconds)
                rows[-1]["same bytes"] = same_bytes(late, found)
    return rows


def reductions(options: Namespace, X: np.ndarray, y: np.ndarray) -> list[dict]:
    """Time density matrices of an increasing number of blocks."""
    layer, rows = ClassPCAPatchTransformer(5), []
    _, alone = timed(layer, X, y, REPEATS)
    n_workers = 2 if options.quick else WORKERS[-1]
    with cluster(n_workers):
        for n_blocks in BLOCKS[:2] if options.quick else BLOCKS:
            size = -(-len(X) // n_blocks)
            there = da.from_array(X, chunks=(size, -1, -1)).persist()
            _, seconds = timed(layer, there, y, REPEATS)
            rows.append(
                {
                    "blocks": n_blocks,
                    "workers": n_workers,
                    "seconds": seconds,
                    "one process": alone,
                    "ms a block": 1000 * (seconds - alone) / n_blocks,
                }
            )
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    options = machine.timing_parser(
        __doc__.splitlines()[0], "on_dask.json"
    ).parse_args()
    machine.limit(options.threads)
    X, y = load_mnist("train", data_home=options.data)
    n = 10_000 if options.quick else len(X)
    X, y = np.ascontiguousarray(X[:n]), y[:n]
    results = {
        "n_images": n,
        "block": BLOCK,
        "dask": dask.__version__,
        "fits": fits(options, X, y),
        "reductions": reductions(options, X, y),
    }
    machine.write(options.json, results)


if __name__ == "__main__":
    main()
