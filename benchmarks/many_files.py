"""Time and memory of the commands ``train`` and ``predict`` for many small files.

    python benchmarks/many_files.py --images 20000 100000

For each number, that many JPEG files of 32 x 32 pixels in colour are made in a
temporary folder: stripes of ten orientations under noise. ``skdmn train`` and ``skdmn
predict`` run as separate processes, whose peak memory (resident set size, mapped files
included) the system reports. Training needs 29 kB per image for a temporary file.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

import machine

CLASSES, SIZE = 10, 32
UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss


def make(folder: Path, n: int) -> None:
    """Write n files to a subfolder for each class, in threads."""
    at = np.arange(SIZE) * 0.6
    angles = np.pi * np.arange(CLASSES) / CLASSES
    waves = [np.cos(a) * at[:, None] + np.sin(a) * at for a in angles]
    for label in range(CLASSES):
        (folder / f"angle{label}").mkdir(parents=True)

    def write(i: int) -> None:
        rng, label = np.random.default_rng(i), i % CLASSES
        stripes = 30 * np.sin(waves[label] + rng.uniform(0, 2 * np.pi))
        values = stripes[..., None] + rng.normal(
            rng.uniform(80, 170), 50, (*stripes.shape, 3)
        )
        image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
        image.save(folder / f"angle{label}" / f"{i:06}.jpg", quality=90)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for first in range(0, n, 10_000):
            for _ in pool.map(write, range(first, min(first + 10_000, n))):
                pass


def measure(*command: str) -> dict[str, float]:
    """Run a command of skdmn; return its seconds and its peak memory in MB."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "skdmn", *command])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"skdmn {' '.join(command)} failed")
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mb": round(usage.ru_maxrss * UNIT / 1e6),
    }


def main() -> None:
    parser = machine.timing_parser(__doc__.splitlines()[0], "many_files.json")
    parser.add_argument("--images", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--folds", type=int, default=0)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    rows = []
    for n in [1_000] if options.quick else options.images:
        place = Path(tempfile.mkdtemp(prefix="skdmn-files-"))
        try:
            make(place / "images", n)
            model, table = str(place / "model.skops"), str(place / "labels.csv")
            folds = ("--folds", str(options.folds))
            row = {"images": n, "folds": options.folds}
            row["train"] = measure(
                "train", str(place / "images"), "--out", model, *folds
            )
            row["predict"] = measure(
                "predict", model, str(place / "images"), "--out", table
            )
            lines = Path(table).read_text().splitlines()[1:]
            right = sum(
                f"{os.sep}{line.split(',')[1]}{os.sep}" in line for line in lines
            )
            row |= {"predicted": len(lines), "right": right / len(lines)}
        finally:
            shutil.rmtree(place)
        print(row, flush=True)
        rows.append(row)
    machine.write(options.json, {"rows": rows})


if __name__ == "__main__":
    main()
