"""Render the README's tables from the JSON that the benchmarks wrote.

python benchmarks/tables.py
"""

import json
import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
RESULTS = Path(__file__).parent / "results"


def main_job() -> str:
    """Return the MNIST table."""
    results = json.loads((RESULTS / "main_job.json").read_text())
    machine, first = results["machine"], results["first_layer"]
    lines = [
        "| layers | filters | features | test accuracy, median (range) | paper | "
        "layers, s | softmax, s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in results["rows"]:
        filters = " or ".join(
            ", ".join(map(str, counts))
            for counts in sorted({tuple(f) for f in row["filters"]})
        )
        low, high = min(row["accuracy"]), max(row["accuracy"])
        paper = f"{row['paper']} %" if row["paper"] else "-"
        lines.append(
            f"| {row['row']} | {filters} | {row['n_features']} | "
            f"{row['median']:.2f} % ({low:.2f} to {high:.2f}) | {paper} | "
            f"{row['seconds_layers']:.1f} | {row['seconds_softmax']:.0f} |"
        )
    return "\n".join(lines) + (
        f"\n\n{results['data']}; {results['draws']} draws of the 30 % of the images "
        "that the density matrices see; C of the softmax (scikit-learn's "
        "LogisticRegression, which this package will replace) by cross-validation on "
        "training images. Layer one of the first row on all 60,000 images: "
        f"{first['fit_seconds']:.1f} s to fit, {first['transform_seconds']:.1f} s to "
        f"transform, {first['transform_peak_bytes_beside_output'] / 2**20:.0f} MB held "
        f"beside input and output. {machine['processor']}, {machine['threads']} "
        f"threads, NumPy {machine['numpy']}, scikit-learn {machine['scikit-learn']}. "
        "Printed by `python benchmarks/main_job.py --data DIR`."
    )


def rendered(text: str) -> str:
    """Return the README with its tables filled in."""
    pattern = r"(<!-- main_job -->\n).*?(<!-- end -->)"
    return re.sub(
        pattern, lambda m: m[1] + main_job() + "\n" + m[2], text, flags=re.DOTALL
    )


if __name__ == "__main__":
    README.write_text(rendered(README.read_text()))
