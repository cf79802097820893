"""Render the tables of all pages from the JSON files of the benchmarks.

    python benchmarks/tables.py

A table is left empty if there is no JSON file of its benchmark.
"""

import json
import re
from pathlib import Path

import export_tables
import feature_tables
import gpu_tables
import scale_tables
import speed_tables
import verdict_tables

HERE = Path(__file__).parent
PAGES = (HERE.parent / "README.md", HERE / "README.md", HERE / "SCALE.md")
RESULTS = HERE / "results"


def main_job() -> str:
    """Return the table of the papers' layers on MNIST."""
    results = json.loads((RESULTS / "main_job.json").read_text())
    machine, first = results["machine"], results["first_layer"]
    lines = [
        "| layers | filters | features | test accuracy, median (range) | paper | "
        "layers, s | softmax, s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in results["rows"]:
        counts = [sorted(set(layer)) for layer in zip(*row["filters"], strict=True)]
        filters = ", ".join(
            f"{layer[0]} to {layer[-1]}" if len(layer) > 1 else f"{layer[0]}"
            for layer in counts
        )
        low, high = min(row["accuracy"]), max(row["accuracy"])
        paper = f"{row['paper']} %" if row["paper"] else "-"
        lines.append(
            f"| {row['row']} | {filters} | {row['n_features']} | "
            f"{row['median']:.2f} % ({low:.2f} to {high:.2f}) | {paper} | "
            f"{row['seconds_layers']:.1f} | {row['seconds_softmax']:.0f} |"
        )
    softmax = results["softmax"]
    return "\n".join(lines) + (
        f"\n\n{results['data']}; {results['draws']} random draws of the 30 % of the "
        "images that the density matrices are computed from. Features are scaled by "
        "channel, and C is chosen by cross-validation on training images; the softmax "
        f"is {softmax}. The first layer of the first row on all 60,000 images: "
        f"{first['fit_seconds']:.1f} s to fit, {first['transform_seconds']:.1f} s to "
        f"transform, {first['transform_peak_bytes_beside_output'] / 2**20:.0f} MB in "
        f"addition to input and output. {machine['processor']}, {machine['threads']} "
        f"threads, NumPy {machine['numpy']}, scikit-learn {machine['scikit-learn']}. "
        "Printed by `python benchmarks/main_job.py --data DIR`."
        f"\n\n{untuned()}"
    )


def untuned() -> str:
    """Return the accuracy and time of the defaults of make_dmn on MNIST."""
    demo = json.loads((RESULTS / "demo_mnist.json").read_text())
    raw = demo["raw_pixels"]
    return (
        f"The defaults of `make_dmn`, which are the same for all data sets, reach "
        f"{demo['accuracy']:.2%} on the test images of MNIST in {demo['seconds']:.0f} "
        f"s (raw pixels {raw['accuracy']:.2%} in {raw['seconds']:.0f} s), on the same "
        "machine and with all images. "
        "Printed by `skdmn demo --dataset mnist --data DIR`."
    )


def pruning() -> str:
    """Return the table of OverlapPruner: the gaps and the loss in accuracy."""
    results = json.loads((RESULTS / "pruning.json").read_text())
    cases: dict[tuple, dict] = {}
    for row in results["rows"]:
        cases.setdefault((row["activation"], row["pooled"]), {})[row["asked"]] = row
    asked = [n for n in results["pruning"] if n != "auto"]
    lines = [
        "| second layer after | channels | overlap channels | widest gap, nats | "
        + " | ".join(f"{n} removed" for n in asked)
        + " |",
        "| --- " * (4 + len(asked)) + "|",
    ]
    for (activation, pooled), rows in cases.items():
        auto = rows["auto"]
        name = ("ReLU" if activation else "linear") + ", pooled" * pooled
        scores = " | ".join(f"{rows[n]['accuracy']:.1f} %" for n in asked)
        lines.append(
            f"| {name} | {auto['channels']} | {auto['n_overlap']} | "
            f"{auto['widest_gap']:.1f} | {scores} |"
        )
    return "\n".join(lines) + (
        "\n\nA second 3 x 3 layer with all its components on MNIST. Accuracy after "
        "removing the channels of lowest energy, on 3,000 held-out images of 9,000 "
        "training images. Printed by `python benchmarks/pruning.py --data DIR`."
    )


def dense() -> str:
    """Return the table of settings of dense layers."""
    results = json.loads((RESULTS / "dense.json").read_text())
    names = list(dict.fromkeys(row["data"] for row in results["rows"]))
    cells: dict[str, list[str]] = {}
    for row in results["rows"]:
        sizes = " and ".join(f"{n:.0f}" for n in row["filters"])
        text = f"{row['accuracy']:.1f} %" + (f" ({sizes})" if sizes else "")
        cells.setdefault(_changes(row["settings"]), []).append(text)
    lines = [
        f"| changed | {' | '.join(names)} |",
        "| --- " * (1 + len(names)) + "|",
        *(f"| {changed} | {' | '.join(found)} |" for changed, found in cells.items()),
    ]
    return "\n".join(lines) + (
        "\n\nTwo dense layers and a softmax: accuracy by cross-validation on training "
        "data, and the mean number of filters of both layers. Printed by `python "
        "benchmarks/dense.py --data DIR`."
    )


def _changes(settings: dict | None) -> str:
    if settings is None:
        return "no layer, only the softmax"
    if not settings:
        return "**nothing: the defaults**"
    if len(settings) > 1:
        return "defaults of `ClassPCAPatchTransformer`"
    ((name, value),) = settings.items()
    return f"`{name}={value!r}`"


TABLES = (
    main_job,
    pruning,
    dense,
    *speed_tables.TABLES,
    *export_tables.TABLES,
    *feature_tables.TABLES,
    *scale_tables.TABLES,
    *gpu_tables.TABLES,
    *verdict_tables.TABLES,
)


def rendered(text: str) -> str:
    """Return the text of a page with all its tables rendered again."""
    for table in TABLES:
        pattern = rf"(<!-- {table.__name__} -->\n).*?(<!-- end -->)"
        try:
            filled = f"{table()}\n"
        except FileNotFoundError:
            filled = ""
        text = re.sub(
            pattern,
            lambda m, filled=filled: f"{m[1]}{filled}{m[2]}",
            text,
            flags=re.DOTALL,
        )
    return text


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(rendered(page.read_text()))
