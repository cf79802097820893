"""Sums instead of images: five sites in processes of their own, and a million images.

    python benchmarks/federated.py --data DIR [--images 10000] [--sites 5]

Each site is a process that reads its own share of MNIST's training images and never
sends an image: the coordinator sends it requests through a pipe and adds the sums that
come back. The model is compared with the fit to all of these images in one process, and
scored on training images that no site has. The shares are equal and random, or each
site has only two digits.

Then one process learns a stream of a million images (the training images, moved by
up to two pixels) by `partial_fit`, layers and classifier, and reports its peak memory.
"""

import argparse
import multiprocessing
import pickle
import resource
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline

import machine
from skdmn import DensityMatrixNetwork, IncrementalRidgeClassifier, recommended_dmn
from skdmn.datasets import load_mnist
from skdmn.federated import Site, fit

N_HELD_OUT, BATCH = 10_000, 1_000
SHARES = {
    "random shares": lambda y, n: np.arange(len(y)) * n // len(y),
    "two digits each": lambda y, n: np.sort(y) * n // 10,
}


def model(n_filters: int = 50) -> Pipeline:
    """Return the recommended layer, on all images, with the classifier of sums."""
    features = recommended_dmn((28, 28), n_filters=n_filters, subsample=1.0)[:-1]
    return make_pipeline(*features, IncrementalRidgeClassifier())


def serve(link: Connection, data: str, rows: np.ndarray) -> None:
    """Answer the requests of the coordinator, as the process of one site."""
    X, y = load_mnist(data_home=data)
    site = Site(X[rows], y[rows])
    while (call := link.recv_bytes()) != b"":
        name, arguments = pickle.loads(call)
        link.send_bytes(pickle.dumps(getattr(site, name)(*arguments)))


class Remote:
    """A site in another process; it counts requests, and bytes in both directions."""

    def __init__(self, link: Connection) -> None:
        self.link, self.n_requests, self.received, self.sent = link, 0, 0, 0

    def _ask(self, name: str, *arguments: Any) -> Any:
        call = pickle.dumps((name, arguments))
        self.link.send_bytes(call)
        answer = self.link.recv_bytes()
        self.n_requests += name == "answer"
        self.received += len(call)
        self.sent += len(answer)
        return pickle.loads(answer)

    def describe(self) -> dict[str, Any]:
        return self._ask("describe")

    def answer(self, request: Any) -> Any:
        return self._ask("answer", request)


def at_sites(data: str, parts: list[np.ndarray]) -> tuple[Pipeline, list[Remote]]:
    """Fit the model on sites, each with its own process and rows."""
    context = multiprocessing.get_context("spawn")
    sites, processes = [], []
    for rows in parts:
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(there, data, rows), daemon=True)
        process.start()
        sites.append(Remote(here))
        processes.append(process)
    fitted = fit(model(), sites)
    for site, process in zip(sites, processes, strict=True):
        site.link.send_bytes(b"")
        process.join()
    return fitted, sites


def compare(options: argparse.Namespace) -> dict:
    """Fit at sites and in one place; return accuracies, agreement and bytes."""
    X, y = load_mnist(data_home=options.data)
    order = np.random.default_rng(0).permutation(len(y))
    held_out, rows = order[:N_HELD_OUT], order[N_HELD_OUT:][: options.images]
    whole = model().fit(X[rows], y[rows])
    expected = whole.predict(X[held_out])
    found = {}
    for name, share in SHARES.items():
        some = rows[np.argsort(y[rows], kind="stable")] if "digits" in name else rows
        at = share(y[some], options.sites)
        parts = [some[at == i] for i in range(options.sites)]
        fitted, sites = at_sites(options.data, parts)
        labels = fitted.predict(X[held_out])
        found[name] = {
            "accuracy": 100 * float(np.mean(labels == y[held_out])),
            "equal_labels": int((labels == expected).sum()),
            "requests": sites[0].n_requests,
            "sent_mib": max(site.sent for site in sites) / 2**20,
            "received_mib": max(site.received for site in sites) / 2**20,
        }
        print(name, found[name], flush=True)
    return {
        "n_images": len(rows),
        "n_sites": options.sites,
        "n_held_out": N_HELD_OUT,
        "images_mib": X[rows].nbytes / options.sites / 2**20,
        "accuracy_in_one_place": 100 * float(np.mean(expected == y[held_out])),
        "by_shares": found,
    }


def moved(X: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of some images, and these images moved by a few pixels."""
    rows = random.integers(len(X), size=BATCH)
    return rows, np.roll(X[rows], random.integers(-2, 3, size=2), axis=(1, 2))


def peak_mib() -> float:
    """Return the peak memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def stream(options: argparse.Namespace) -> dict:
    """Learn many images batch by batch; return seconds, memory and accuracy.

    The layer learns the first tenth, which then passes again for the classifier.
    """
    X, y = load_mnist(data_home=options.data)
    held_out = X[:N_HELD_OUT], y[:N_HELD_OUT]
    X, y = X[N_HELD_OUT:], y[N_HELD_OUT:]
    n_batches, classes = -(-options.many // BATCH), np.unique(y)
    network, head = (clone(step) for _, step in model().steps)
    (_, conv), (_, pool) = network.layers
    started, random = time.perf_counter(), np.random.default_rng(0)
    for _ in range(-(-n_batches // 10)):
        rows, images = moved(X, random)
        conv.partial_fit(images, y[rows], classes=classes)
    pool.fit(conv.transform(images[:1]))
    features = DensityMatrixNetwork.from_pipeline(make_pipeline(conv, pool))
    print(f"layers: {time.perf_counter() - started:.0f} s", flush=True)
    random, accuracies = np.random.default_rng(0), {}
    for batch in range(1, n_batches + 1):
        rows, images = moved(X, random)
        head.partial_fit(features.transform(images), y[rows], classes=classes)
        if batch in (n_batches // 10, n_batches):
            score = head.score(features.transform(held_out[0]), held_out[1])
            accuracies[batch * BATCH] = {
                "accuracy": 100 * score,
                "seconds": time.perf_counter() - started,
                "peak_mib": peak_mib(),
            }
            print(batch * BATCH, accuracies[batch * BATCH], flush=True)
    return {"n_images": n_batches * BATCH, "after": accuracies}


def main() -> None:
    parser = machine.parser(__doc__.splitlines()[0], "federated.json")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--sites", type=int, default=5)
    parser.add_argument("--many", type=int, default=1_000_000)
    options = parser.parse_args()
    results = {"sites": compare(options), "stream": stream(options)}
    machine.write(options.json, results)


if __name__ == "__main__":
    main()
