"""Helpers of all benchmarks: facts about the machine, options, data and timing."""

import argparse
import contextlib
import ctypes
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from joblib import cpu_count
from threadpoolctl import threadpool_limits

RESULTS = Path(__file__).parent / "results"
PAUSE = 0.05  # seconds


def facts() -> dict[str, str | int]:
    """Return the CPU, the number of threads, and versions."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [x for x in cpuinfo.read_text().splitlines() if "model name" in x]
        model = names[0].split(":")[1].strip() if names else model
    packages = (
        *("numpy", "scipy", "scikit-learn", "numba", "torch", "onnxruntime"),
        "skdmn",
    )
    return {
        "processor": model,
        "threads": _threads(),
        "python": platform.python_version(),
        **{name: _version(name) for name in packages},
    }


def _threads() -> int:
    """Return how many threads there are, by Numba too if it can be imported.

    Numba refuses versions of NumPy that are newer than itself, and benchmarks of GPUs
    need none of it.
    """
    try:
        import numba
    except (ImportError, OSError):
        return cpu_count()
    return min(cpu_count(), numba.get_num_threads())


def gpu() -> dict[str, str]:
    """Return the GPU and the version of CuPy; end the script if there is none."""
    from skdmn.utils import array_api

    backend = array_api.gpu()
    if backend is None:
        sys.exit(
            "CuPy finds no usable GPU. Run this script on a machine with a GPU, and "
            "install skdmn[cuda12] or skdmn[cuda13] to match its driver."
        )
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(backend.device.id)
    return {"gpu": properties["name"].decode(), "cupy": cupy.__version__}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def parser(description: str, result: str) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--data",
        default=os.environ.get("SKDMN_DATA"),
        help="folder with the official files (default: $SKDMN_DATA, or OpenML)",
    )
    parser.add_argument("--json", default=RESULTS / result, type=Path)
    return parser


def timing_parser(description: str, result: str) -> argparse.ArgumentParser:
    """Return a parser for a benchmark that measures time; see `limit`."""
    timing = parser(description, result)
    timing.add_argument("--threads", type=int, default=cpu_count())
    timing.add_argument(
        "--quick", action="store_true", help="short test run on few images"
    )
    return timing


def limit(threads: int) -> None:
    """Limit kernels, BLAS, OpenMP and torch to this number of threads each."""
    if find_spec("torch"):
        import torch

        torch.set_num_threads(threads)
    threadpool_limits(threads)
    with contextlib.suppress(ImportError, OSError):  # see _threads
        import numba

        numba.set_num_threads(threads)


def keep_memory() -> None:
    """Let this process keep the memory of deleted arrays for new ones.

    Otherwise the times include the time of the system to provide pages for new arrays,
    which on virtual machines is several times the time to fill them. Only on Linux.
    """
    if platform.system() == "Linux":
        libc = ctypes.CDLL(None)
        trim_threshold, most_maps = -1, -4  # of malloc.h
        libc.mallopt(most_maps, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)


def in_turn(
    contestants: Mapping[str, Callable[[], object]], repeats: int
) -> dict[str, float]:
    """Run the functions alternately; return the median seconds of each.

    A temporary load of the machine then affects all of them. Run each once before.
    Pauses between them give the threads of the previous one time to go idle.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, run in contestants.items():
            time.sleep(PAUSE)
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return {name: median(times) for name, times in seconds.items()}


def fastest(
    contestants: Mapping[str, Callable[[], object]], most: int = 3
) -> dict[str, Callable[[], object]]:
    """Return the functions that are fastest in their second run."""
    in_turn(contestants, 1)
    seconds = in_turn(contestants, 1)
    return {name: contestants[name] for name in sorted(seconds, key=seconds.get)[:most]}


def found(
    names: Iterable[str], load: Callable[[str], tuple]
) -> Iterator[tuple[str, tuple]]:
    """Yield names and data; print a message for data sets without files."""
    for name in names:
        try:
            data = load(name)
        except FileNotFoundError as error:
            print(f"{name} is left out: {error}")
            continue
        yield name, data


def kept(path: Path) -> dict:
    """Return earlier results, if there are any, without the facts."""
    if not path.exists():
        return {}
    results = json.loads(path.read_text())
    return {name: found for name, found in results.items() if name != "machine"}


def write(path: Path, results: dict) -> None:
    """Write the results with the facts about the machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": facts(), **results}, indent=1) + "\n")
    print(f"written to {path}")
