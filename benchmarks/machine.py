"""What every benchmark says of the machine it ran on, and where data is."""

import argparse
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

from joblib import cpu_count

RESULTS = Path(__file__).parent / "results"


def facts() -> dict[str, str | int]:
    """Return processor, threads and versions."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [x for x in cpuinfo.read_text().splitlines() if "model name" in x]
        model = names[0].split(":")[1].strip() if names else model
    packages = ("numpy", "scipy", "scikit-learn", "skdmn")
    return {
        "processor": model,
        "threads": cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def parser(description: str, result: str) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--data",
        default=os.environ.get("SKDMN_DATA"),
        help="folder with the official files (default: $SKDMN_DATA, else OpenML)",
    )
    parser.add_argument("--json", default=RESULTS / result, type=Path)
    return parser


def write(path: Path, results: dict) -> None:
    """Keep results beside the facts about the machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": facts(), **results}, indent=1) + "\n")
    print(f"written to {path}")
