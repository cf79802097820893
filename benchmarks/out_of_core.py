"""Two layers fitted to a file larger than memory, with features written to a file.

    python benchmarks/out_of_core.py --gigabytes 20

The script makes a sparse .npy file of images in `--folder`. A tenth of it is images, in
blocks spread over the file; the rest are zeros that take no space on the disk. The time
includes reading from the system, computing and, if the features of a file are written,
writing them. Each case runs in a separate process that has run the same layers on a few
images before. The result is the peak memory during the run, minus the memory before it
(and, for images in memory, minus the output), as reported by Linux.

Images per second are compared with the same layers on an array in memory, of at most
`--in-memory` gigabytes of the same images. The files are removed at the end.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np

import machine
from memory import forget_peak, memory
from skdmn import (
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    MaxPool2DTransformer,
)
from skdmn.data.files import Batches

SHAPE = (64, 64, 3)
IMAGE_BYTES = 64 * 64 * 3
N_CLASSES = 10
BLOCK, EVERY = 1000, 10  # one block in ten contains images
FEW = 1000
CASES = [
    (source, task)
    for source in ("memory", "file", "memory map")
    for task in ("fit", "transform")
]


def network() -> DensityMatrixNetwork:
    """Return two layers with exactly 8 and 24 filters."""
    layers: list[tuple[str, Any]] = []
    for number, n_filters in enumerate((8, 24), start=1):
        conv = ClassPCAPatchTransformer(
            3, n_filters=n_filters, variance_cutoff=1.0, correlation_cutoff=0.99
        )
        layers += [(f"conv{number}", conv), (f"pool{number}", MaxPool2DTransformer(4))]
    return DensityMatrixNetwork(layers)


def labels(n: int) -> np.ndarray:
    return np.arange(n) % N_CLASSES


def block(seed: int) -> np.ndarray:
    """Return images whose classes differ in smoothness and its direction."""
    noise = np.random.default_rng(seed).normal(size=(BLOCK, *SHAPE)).astype(np.float32)
    for label in range(N_CLASSES):
        of_class = noise[labels(BLOCK) == label]
        for shift in range(1, 2 + label // 2):
            of_class += np.roll(of_class, shift, axis=1 + label % 2)
        noise[labels(BLOCK) == label] = of_class / np.sqrt(2 + label)
    return np.clip(128 + 40 * noise, 0, 255).astype(np.uint8)


def make_file(path: Path, n: int) -> None:
    """Write a sparse file of n images."""
    mapped = np.lib.format.open_memmap(path, "w+", np.uint8, (n, *SHAPE))
    offset = mapped.offset
    del mapped
    images = block(0)
    with open(path, "r+b") as file:
        for number in range(0, n // BLOCK, EVERY):
            file.seek(offset + number * BLOCK * IMAGE_BYTES)
            file.write(np.roll(images, number, axis=2).data)


def source_of(name: str, path: Path, n: int) -> Any:
    """Return the first images of the file, as one of the compared sources."""
    if name == "file":
        return Batches([path])
    mapped = np.load(path, mmap_mode="r")
    return mapped if name == "memory map" else np.array(mapped[:n])


def measure(options: Namespace) -> dict:
    """Run one case in this process."""
    name, task, n = options.case[0], options.case[1], int(options.case[2])
    path = options.folder / "images.npy"
    few = network().fit(block(0)[:FEW], labels(FEW))
    few.transform(block(1)[:FEW])
    X, y = source_of(name, path, n), labels(n)
    forget_peak()
    before, held, started = memory("VmRSS"), 0, time.perf_counter()
    if task == "fit":
        network().fit(X, y)
        size = 0
    elif name == "memory":
        size = held = few.transform(X).nbytes
    else:
        target = options.folder / "features.npy"
        size = few.lazy_features(X).write(target, overwrite=True).nbytes
        target.unlink()
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "images_per_second": n / seconds,
        "beside": max(0, memory("VmHWM") - before - held),
        "before": before,
        "input": n * IMAGE_BYTES,
        "output": size,
    }


def in_process(options: Namespace, name: str, task: str, n: int) -> dict:
    """Run one case in a separate process."""
    command = [sys.executable, __file__, "--threads", str(options.threads)]
    command += ["--folder", str(options.folder), "--case", name, task, str(n)]
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(child.stdout.splitlines()[-1])
    print(
        f"{name}, {task}: {n} images, {found['input'] / 1e9:.1f} GB in, "
        f"{found['output'] / 1e9:.2f} GB out, {found['beside'] / 2**20:.0f} MiB "
        f"beside, {found['seconds']:.1f} s, {found['images_per_second']:.0f} images/s",
        flush=True,
    )
    return {"source": name, "task": task, "n_images": n, **found}


def main() -> None:
    parser = machine.timing_parser(__doc__.splitlines()[0], "out_of_core.json")
    parser.add_argument("--gigabytes", type=float, default=20.0, help="file size")
    parser.add_argument("--in-memory", type=float, default=2.0, help="array size")
    parser.add_argument(
        "--folder", type=Path, help="folder for the files (default: temporary)"
    )
    parser.add_argument("--case", nargs=3, help="measure one case in this process")
    options = parser.parse_args()
    machine.limit(options.threads)
    if options.case:
        print(json.dumps(measure(options)))
        return
    if options.quick:
        options.gigabytes, options.in_memory = 0.3, 0.1
    n = int(options.gigabytes * 1e9) // (IMAGE_BYTES * BLOCK) * BLOCK
    fewer = min(n, int(options.in_memory * 1e9) // IMAGE_BYTES)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        options.folder = Path(folder)
        path = options.folder / "images.npy"
        make_file(path, n)
        on_disk = os.stat(path).st_blocks * 512
        rows = [
            in_process(options, name, task, fewer if name == "memory" else n)
            for name, task in CASES
        ]
    machine.write(options.json, {"on_disk": on_disk, "rows": rows})


if __name__ == "__main__":
    main()
