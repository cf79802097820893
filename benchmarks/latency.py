"""Time to classify one image, alone and beside busy processes.

    python benchmarks/latency.py --data DIR

`recommended_dmn` is fitted to some images of CIFAR-10 and MNIST. One image after
another is then passed to `predict` of the fitted Pipeline, and to its ONNX model in
onnxruntime with one thread and with as many as skdmn may use. The calls take turns in
short series. We report the median and the minimum of all calls; under load, the
minimum is close to the time on an idle core.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from statistics import median

import numpy as np

import machine
from exported import session
from skdmn import recommended_dmn
from skdmn.datasets import load_cifar10, load_mnist

DATA = {"CIFAR-10": load_cifar10, "MNIST": load_mnist}
IMAGES = 5_000  # of the fit
SERIES, CALLS = 30, 20
LOADS = (0, 1, 2)  # busy processes


@contextlib.contextmanager
def busy(n: int) -> Iterator[None]:
    """Keep n cores busy with other processes."""
    others = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)
    ]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def milliseconds(
    ways: Mapping[str, Callable[[np.ndarray], object]], images: np.ndarray, series: int
) -> dict[str, dict[str, float]]:
    """Return median and minimum of the time of a call with one image."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(series):
        for name, run in ways.items():
            time.sleep(machine.PAUSE)
            for i in range(CALLS):
                image = images[i : i + 1]
                started = time.perf_counter()
                run(image)
                times[name].append(1e3 * (time.perf_counter() - started))
    return {
        name: {"median": median(found), "least": min(found)}
        for name, found in times.items()
    }


def main() -> None:
    parser = machine.timing_parser(__doc__.splitlines()[0], "latency.json")
    options = parser.parse_args()
    machine.limit(options.threads)
    rows, series = [], 2 if options.quick else SERIES
    for name, (X, y) in machine.found(
        DATA, lambda name: DATA[name]("train", data_home=options.data)
    ):
        n = 1_000 if options.quick else IMAGES
        model = recommended_dmn(X.shape[1:]).fit(X[:n], y[:n])
        ways = {
            "skdmn": model.predict,
            "onnxruntime, 1 thread": session(model, X, 1),
            f"onnxruntime, {options.threads} threads": session(
                model, X, options.threads
            ),
        }
        for n_busy in LOADS:
            with busy(n_busy):
                found = milliseconds(ways, X[n : n + CALLS], series)
            rows.append({"data": name, "busy": n_busy, "milliseconds": found})
            print(rows[-1], flush=True)
    machine.write(options.json, {"calls": series * CALLS, "rows": rows})


if __name__ == "__main__":
    main()
