"""Memory of two layers in a network and in a Pipeline.

    python benchmarks/memory.py --data DIR

Each case runs in a separate process that has run the same layers on a few images
before. The result is the peak memory during the run, minus the memory before it and
minus the output. (Linux reports and resets this peak. On other systems the result is 0
if reading the data needed more.) A Pipeline holds every feature map, so its memory
grows with the number of images; it gets a fifth of them, and the result says so.
"""

import contextlib
import ctypes
import json
import platform
import resource
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

import machine
from skdmn import (
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    MaxPool2DTransformer,
)
from skdmn.datasets import load_cifar10, load_mnist

DATA = {  # loader, filters, images for the Pipeline
    "CIFAR-10": (load_cifar10, (22, 305), 10_000),
    "MNIST": (load_mnist, (6, 33), 12_000),
}
KINDS = ("DensityMatrixNetwork", "Pipeline")
TASKS = ("fit", "transform")
FEW = 500


def stack(kind: str, filters: tuple[int, int]) -> Any:
    """Return two layers with exactly these numbers of filters."""
    steps = []
    for number, n_filters in enumerate(filters, start=1):
        conv = ClassPCAPatchTransformer(
            3, n_filters=n_filters, variance_cutoff=1.0, correlation_cutoff=0.99
        )
        steps += [(f"conv{number}", conv), (f"pool{number}", MaxPool2DTransformer(2))]
    return Pipeline(steps) if kind == "Pipeline" else DensityMatrixNetwork(steps)


def memory(name: str) -> int:
    """Return the memory of this process (VmRSS) or its peak (VmHWM), in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return next(int(x.split()[1]) for x in lines if x.startswith(name)) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak() -> None:
    """Release free memory, and reset VmHWM."""
    if platform.system() == "Linux":
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def measure(options: Namespace) -> dict:
    """Run one case in this process."""
    data, kind, task, n_images = options.case
    load, filters, _ = DATA[data]
    X, y = load("train", data_home=options.data)
    X, y = np.ascontiguousarray(X[: int(n_images)]), y[: int(n_images)]
    few = stack(kind, filters).fit(X[:FEW], y[:FEW])
    few.transform(X[:FEW])
    forget_peak()
    before, size, started = memory("VmRSS"), 0, time.perf_counter()
    if task == "fit":
        few = stack(kind, filters).fit(X, y)
    else:
        size = few.transform(X).nbytes
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "beside": max(0, memory("VmHWM") - before - size),
        "before": before,
        "input": X.nbytes,
        "output": size,
        "filters": [len(few[name].filters_) for name in ("conv1", "conv2")],
    }


def in_process(options: Namespace, case: tuple) -> dict:
    """Run one case in a separate process."""
    command = [sys.executable, __file__, "--threads", str(options.threads)]
    command += ["--data", options.data] if options.data else []
    command += ["--case", *map(str, case)]
    child = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent
    )
    found = dict(zip(("data", "kind", "task", "n_images"), case, strict=True))
    found |= json.loads(child.stdout.splitlines()[-1])
    print(
        f"{case}: {found['beside'] / 2**20:.0f} MiB beside "
        f"{found['input'] / 2**20:.0f} in and {found['output'] / 2**20:.0f} out, "
        f"{found['seconds']:.1f} s",
        flush=True,
    )
    return found


def main() -> None:
    parser = machine.timing_parser(__doc__.splitlines()[0], "memory.json")
    parser.add_argument("--case", nargs=4, help="measure one case in this process")
    options = parser.parse_args()
    machine.limit(options.threads)
    if options.case:
        print(json.dumps(measure(options)))
        return
    rows = []
    for data, (load, _, of_pipeline) in DATA.items():
        n = len(load("train", data_home=options.data)[0])
        for kind in KINDS:
            n_images = of_pipeline if kind == "Pipeline" else n
            n_images //= 10 if options.quick else 1
            rows += [in_process(options, (data, kind, t, n_images)) for t in TASKS]
    machine.write(options.json, {"rows": rows})


if __name__ == "__main__":
    main()
