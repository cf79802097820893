"""Seconds of each stage of the work on a GPU, beside what the machine allows.

    python benchmarks/gpu_stages.py [--json FILE] [--seconds LIMIT]

First come the floors: bandwidths, matrix products, and the start of kernels. Then come
the stages of two networks, on images made here. No files are needed. Every number is
written as soon as it is known, so that a time limit loses none of them.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import machine
from skdmn import (
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    MaxPool2DTransformer,
    SoftmaxClassifier,
    recommended_dmn,
)
from skdmn.data import transfer
from skdmn.kernels import dispatch
from skdmn.kernels.geometry import Window
from skdmn.utils import array_api

REPEATS = 3
POOL = Window((2, 2), (2, 2), "valid")


class Record:
    """Times stages until a number of seconds is over, and writes each at once."""

    def __init__(self, path: Path, seconds: float, facts: dict) -> None:
        self.path, self.end = path, time.perf_counter() + seconds
        self.results = {"machine": facts, "stages": {}}
        path.parent.mkdir(parents=True, exist_ok=True)

    def note(self, name: str, found: object) -> None:
        """Print and write what was found."""
        print(f"{name}: {found}", flush=True)
        self.results["stages"][name] = found
        self.path.write_text(json.dumps(self.results, indent=1) + "\n")

    def time(
        self, name: str, function: Callable[[], object], repeats: int = REPEATS
    ) -> None:
        """Time the first call, and the fastest of some more, from an idle GPU on."""
        if time.perf_counter() > self.end:
            print(f"{name} is left out: the time is over")
            return
        try:
            first = self._seconds(function)
            more = []
            while len(more) < repeats and time.perf_counter() < self.end:
                more.append(self._seconds(function))
        except Exception as error:  # the other stages are wanted all the same
            self.note(name, f"{type(error).__name__}: {error}"[:300])
            return
        self.note(name, {"first": first, "fastest": min(more, default=None)})

    @staticmethod
    def _seconds(function: Callable[[], object]) -> float:
        import cupy

        cupy.cuda.Device().synchronize()
        started = time.perf_counter()
        result = function()
        cupy.cuda.Device().synchronize()
        seconds = time.perf_counter() - started
        del result  # arrays are freed after the time is taken
        return seconds


def smooth_images(
    rng: np.random.Generator, n: int, *shape: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy smooth images of ten classes, and labels."""
    y = np.arange(n) % 10
    base = rng.normal(size=(10, *shape)).cumsum(axis=1).cumsum(axis=2) * 10
    noise = rng.integers(-40, 40, (n, *shape), dtype=np.int16)
    images = 128 + base.astype(np.int16)[y] + noise
    return images.clip(0, 255).astype(np.uint8), y


def floors(record: Record) -> None:
    """Time copies, products and the start of kernels."""
    import cupy

    host = np.zeros(2**28, np.uint8)
    pinned = cupy.cuda.alloc_pinned_memory(host.nbytes)
    pinned = np.ndarray(host.shape, np.uint8, buffer=pinned)
    on_gpu = cupy.empty(host.shape, np.uint8)
    record.time("256 MB up, pinned", lambda: on_gpu.set(pinned))
    record.time("256 MB up, pageable", lambda: cupy.asarray(host))
    record.time("256 MB down, pinned", lambda: on_gpu.get(out=pinned))
    record.time("256 MB down, pageable", on_gpu.get)
    record.time("256 MB copied on the host", lambda: np.copyto(pinned, host))
    one = cupy.zeros(1)
    record.time("1000 kernels started", lambda: [one + 1 for _ in range(1000)])
    record.time("1000 values copied down", lambda: [one.get() for _ in range(1000)])
    square = cupy.ones((8192, 8192), np.float32)
    record.time("float32 product of 8192 x 8192", lambda: square @ square)
    square = cupy.ones((4096, 4096))
    record.time("float64 product of 4096 x 4096", lambda: square @ square)
    tall = cupy.ones((2**20, 108))
    record.time("float64 second moments of 2**20 x 108", lambda: tall.T @ tall)


def operations(record: Record, X: np.ndarray, y: np.ndarray) -> None:
    """Time transfer, moments and pooling."""
    import cupy

    link = transfer.link(array_api.HOST, array_api.gpu())

    def up_and_down() -> None:
        parts = transfer.batches(len(X), 7000, lambda s: X[s], lambda b: b, link)
        for _ in transfer.results(parts, link):
            pass

    record.time("60,000 images up and down", up_and_down)
    on_gpu, members = cupy.asarray(X), np.flatnonzero(y == 3)
    record.time(
        "second moments of 6,000 images",
        lambda: list(dispatch.class_moments(on_gpu, [members], (3, 3))),
    )
    record.time(
        "contrast moments of 600 images",
        lambda: list(
            dispatch.class_contrast_moments(
                on_gpu, [members[:600]], (6, 6), (4, 4), 10.0
            )
        ),
    )
    maps = cupy.zeros((20_000, 26, 26, 6), np.float32)
    record.time(
        "max pooling of 20,000 x 26 x 26 x 6",
        lambda: dispatch.max_pool(maps, POOL, np.float32),
    )


def layers(record: Record, X: np.ndarray, y: np.ndarray) -> None:
    """Time two layers like those for MNIST, from host memory and back."""
    network = DensityMatrixNetwork(
        [
            ("conv1", ClassPCAPatchTransformer(3, n_filters=6, variance_cutoff=0.999)),
            ("pool1", MaxPool2DTransformer(2)),
            ("conv2", ClassPCAPatchTransformer(3, n_filters=33, variance_cutoff=0.999)),
            ("pool2", MaxPool2DTransformer(2)),
        ],
        device="cuda",
    )
    layer = ClassPCAPatchTransformer(3, device="cuda")
    record.time("one layer fitted to 60,000 images", lambda: layer.fit(X, y))
    record.time("two layers fitted to 60,000 images", lambda: network.fit(X, y))
    record.time("two layers' features of 60,000 images", lambda: network.transform(X))


def classifiers(record: Record, X: np.ndarray, y: np.ndarray) -> None:
    """Time the recommended network and the softmax, on the GPU, then on the CPU."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20_000, 4_000)).astype(np.float32)
    labels = (rows[:, :10] + rng.normal(size=(len(rows), 10))).argmax(axis=1)
    for device in ("cuda", "cpu"):
        features = recommended_dmn(X.shape[1:], device=device, subsample=1.0)[0]
        softmax = SoftmaxClassifier(C=0.01, tol=1e-3, device=device)
        name = f"recommended network, {device}: "
        record.time(name + "fitted to 2,000 images", lambda f=features: f.fit(X, y), 1)
        record.time(
            name + "features of 200 images",
            lambda f=features: f.transform(X[:200]),
            1,
        )
        record.time(
            f"softmax of 20,000 x 4,000, {device}",
            lambda s=softmax: s.fit(rows, labels),
            1,
        )


def main() -> None:
    parser = machine.parser(__doc__.splitlines()[0], "gpu_stages.json")
    parser.add_argument(
        "--seconds", type=float, default=100, help="after which no stage is begun"
    )
    options = parser.parse_args()
    facts = {**machine.facts(), **machine.gpu()}
    record = Record(options.json, options.seconds, facts)
    rng = np.random.default_rng(0)
    floors(record)
    X, y = smooth_images(rng, 60_000, 28, 28, 1)
    operations(record, X, y)
    layers(record, X, y)
    classifiers(record, *smooth_images(rng, 2_000, 32, 32, 3))
    print(f"written to {options.json}")


if __name__ == "__main__":
    main()
