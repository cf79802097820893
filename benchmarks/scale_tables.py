"""Tables of data sets larger than memory and of Dask; see `tables`."""

from speed_tables import MIB, read, table

HOUR = 3600.0
PARTS = ("layers", "reduction", "softmax", "tasks")
MEASURED = {
    "density 1": "density matrices of layer 1",
    "features 1": "features of layer 1",
    "a filter of layer 1": "one filter of layer 1",
    "density 2": "density matrices of layer 2",
    "features 1 and 2": "features of both layers",
}


def machine_of(results: dict) -> str:
    machine = results["machine"]
    return f"{machine['processor']}, {machine['threads']} threads"


def duration(seconds: float) -> str:
    """Return a time in a suitable unit."""
    if seconds < 0.1:
        return f"{1000 * seconds:.2g} ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    if seconds < 2 * HOUR:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / HOUR:.0f} h"


def size(n: float) -> str:
    """Return a number of bytes in a suitable unit."""
    for unit, bytes_of in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if n >= bytes_of:
            return f"{n / bytes_of:.3g} {unit}"
    return f"{n / 1e3:.3g} kB"


def process(row: dict) -> int:
    """Return the peak memory of a process, with the features that it keeps."""
    features = row["output"] if row["source"] == "memory" else 0
    return row["before"] + row["beside"] + features


def out_of_core() -> str:
    """Return the table of time and memory for a file larger than memory."""
    results = read("out_of_core")
    speed = {
        row["task"]: row["images_per_second"]
        for row in results["rows"]
        if row["source"] == "memory"
    }
    rows = [
        [
            row["source"],
            row["task"],
            size(row["input"]),
            size(row["output"]) if row["output"] else "",
            f"{row['beside'] / MIB:.0f} MiB",
            f"{process(row) / MIB:.0f} MiB",
            f"{row['images_per_second']:.0f}",
            f"{row['images_per_second'] / speed[row['task']]:.2f}",
        ]
        for row in results["rows"]
    ]
    head = ["images in", "task", "input", "output", "additional memory"]
    head += ["process", "images / s"]
    return table([*head, "relative to memory"], rows) + (
        "\n\nTwo layers on images of 64 x 64 x 3 pixels. A tenth of each file is "
        "images; the rest are zeros that take no space on the disk. The features of "
        "files are written to another file, and the time includes this. Additional "
        "memory does not count images and features. For images in memory, the process "
        "also holds images and features. "
        f"{machine_of(results)}. Printed by `python benchmarks/out_of_core.py "
        "--gigabytes 20`."
    )


def many_files() -> str:
    """Return the table of the commands for many small files."""
    results = read("many_files")
    rows = [
        [
            f"{row['images']}",
            f"`skdmn {command}`",
            f"{row[command]['peak_mb']} MB",
            f"{row[command]['cpu_seconds']:.0f} s",
        ]
        for row in results["rows"]
        for command in ("train", "predict")
    ]
    return table(["JPEG files", "command", "peak of the process", "CPU"], rows) + (
        "\n\nFiles of 32 x 32 pixels in colour; training without cross-validation. The "
        "peak counts all that the process imports, and mapped files. CPU time depends "
        "less on other processes than elapsed time. "
        f"{machine_of(results)}. Printed by `python benchmarks/many_files.py`."
    )


def on_dask() -> str:
    """Return the tables of a fit on Dask and of the reduction."""
    results = read("on_dask")
    fits = [
        [
            row["how"].replace("1 workers", "1 worker"),
            f"{row['seconds']:.2f}",
            *(f"{row[name]:.0e}" if name in row else "" for name in ("conv1", "conv2")),
            f"{row['same labels']:.2%}" if "same labels" in row else "",
        ]
        for row in results["fits"]
    ]
    blocks = [
        [
            str(row["blocks"]),
            f"{row['seconds']:.2f}",
            f"{row['one process']:.2f}",
            f"{row['ms a block']:.1f}",
        ]
        for row in results["reductions"]
    ]
    head = ["", "seconds", "difference of layer 1", "of layer 2", "equal labels"]
    killed = results["fits"][-1].get("same bytes")
    return (
        table(head, fits)
        + f"\n\nTwo layers and a softmax on {results['n_images']} images of MNIST in "
        f"blocks of {results['block']}. Each worker is a process with one thread. The "
        "density matrices and coefficients of the fit with a killed worker are "
        f"{'identical to' if killed else 'different from'} those without. Density "
        "matrices only, for an increasing number of blocks and "
        f"{results['reductions'][0]['workers']} workers:\n\n"
        + table(["blocks", "seconds", "one process, s", "overhead, ms / block"], blocks)
        + f"\n\n{machine_of(results)}, Dask {results['dask']}. Printed by `python "
        "benchmarks/on_dask.py --data DIR`."
    )


def costs() -> str:
    """Return the tables of measured costs and of the estimates from them."""
    results = read("costs")
    by_size = results["images"]
    measured = [
        [words, *(f"{1e6 * found[part]:.1f}" for found in by_size.values())]
        for part, words in MEASURED.items()
    ]
    merging = [
        [
            f"{row['classes']} classes, d = {row['d']}",
            size(row["bytes"]),
            duration(row["seconds"]),
            f"{1000 * row['eigenvectors']:.1f}",
        ]
        for row in results["merging"]
    ]
    softmax = results["softmax"]
    columns = [f"{pixels} x {pixels}, µs" for pixels in by_size]
    return (
        table(["per image", *columns], measured)
        + "\n\n"
        + table(
            [
                "merging two accumulators",
                "bytes",
                "seconds",
                "eigenvectors, ms per class",
            ],
            merging,
        )
        + f"\n\nThe softmax took {softmax['passes']:.0f} passes of "
        f"{1e12 * softmax['of one']:.1f} ps per image, feature and class, for 20,000 "
        "images, 100 classes and tol=1e-3; the estimates assume the same number of "
        f"passes. Measured on {machine_of(results)}. The following is calculated from "
        "these costs, for workers of this kind with a network of 10 Gbit/s each:\n\n"
        + calculated(results["plans"])
        + "\n\nPrinted by `python benchmarks/costs.py`."
    )


def calculated(results: list[dict]) -> str:
    """Return the tables of the transferred bytes and the time of each plan."""
    plans = [
        [
            plan["plan"],
            str(row["workers"]),
            *(duration(row[part]) for part in PARTS),
        ]
        for plan in results
        for row in plan["rows"]
    ]
    moved = [
        [
            plan["plan"],
            size(plan["images"]),
            str(plan["blocks"]),
            " and ".join(map(size, plan["matrices"])),
            size(plan["features"]),
            size(plan["merged"]),
            size(plan["gradients"]),
            str(plan["most_workers"]),
        ]
        for plan in results
    ]
    head = ["", "images, per pass", "blocks", "density matrices", "features"]
    head += ["merged for the layers", "per softmax pass", "most workers"]
    return f"{table(head, moved)}\n\n{table(['', 'workers', *PARTS], plans)}"


def federated() -> str:
    """Return the tables of sites that exchange sums, and of a stream of images."""
    results = read("federated")
    sites, stream = results["sites"], results["stream"]
    exchanged = [
        [
            name,
            f"{row['accuracy']:.2f} %",
            f"{row['equal_labels']:,} of {sites['n_held_out']:,}",
            str(row["requests"]),
            f"{row['sent_mib']:.1f} MiB",
            f"{row['received_mib']:.1f} MiB",
        ]
        for name, row in sites["by_shares"].items()
    ]
    learned = [
        [
            f"{int(n):,}",
            f"{row['accuracy']:.2f} %",
            duration(row["seconds"]),
            f"{row['peak_mib']:.0f} MiB",
        ]
        for n, row in stream["after"].items()
    ]
    head = ["the sites have", "accuracy", "labels as from one fit", "requests"]
    return (
        table([*head, "a site sends", "and receives"], exchanged)
        + f"\n\n{sites['n_sites']} sites with {sites['n_images']:,} images of MNIST "
        f"together, {sites['images_mib']:.1f} MiB each, as uint8. One fit to all of "
        f"them has {sites['accuracy_in_one_place']:.2f} % on held-out training images. "
        "A stream of images through `partial_fit`, of the layer and then of the "
        "classifier:\n\n"
        + table(
            ["images", "accuracy", "seconds so far", "peak of the process"], learned
        )
        + f"\n\n{machine_of(results)}. Printed by `python benchmarks/federated.py "
        "--data DIR`."
    )


TABLES = (out_of_core, many_files, on_dask, costs, federated)
