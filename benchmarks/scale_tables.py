"""Tables of more images than memory and more machines than one; see `tables`."""

from speed_tables import MIB, read, table

HOUR = 3600.0
PARTS = ("layers", "reduction", "softmax", "tasks")


def machine_of(results: dict) -> str:
    machine = results["machine"]
    return f"{machine['processor']}, {machine['threads']} threads"


def duration(seconds: float) -> str:
    """Return seconds, minutes or hours."""
    if seconds < 0.1:
        return f"{1000 * seconds:.2g} ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    if seconds < 2 * HOUR:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / HOUR:.0f} h"


def size(n: float) -> str:
    """Return bytes in a unit that fits."""
    for unit, bytes_of in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if n >= bytes_of:
            return f"{n / bytes_of:.3g} {unit}"
    return f"{n / 1e3:.3g} kB"


def process(row: dict) -> int:
    """Return the most that a process held, with features that are kept in memory."""
    features = row["output"] if row["source"] == "memory" else 0
    return row["before"] + row["beside"] + features


def out_of_core() -> str:
    """Return time and memory of a file larger than memory."""
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
    head = ["images in", "task", "in", "out", "beside them", "process", "images / s"]
    return table([*head, "in memory: 1"], rows) + (
        "\n\nTwo layers on images of 64 x 64 x 3 pixels; a file of which a tenth is "
        "images and the rest zeros that take no room on the disk. Features of files "
        "are written to another one, which is in the time. Of the array in memory the "
        "process holds images and features, too. "
        f"{machine_of(results)}. Printed by `python benchmarks/out_of_core.py "
        "--gigabytes 20`."
    )


def on_dask() -> str:
    """Return a fit on Dask beside one process, and the reduction."""
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
    head = ["", "seconds", "layer 1 differs by", "layer 2", "same labels"]
    killed = results["fits"][-1].get("same bytes")
    return (
        table(head, fits)
        + f"\n\nTwo layers and a softmax on {results['n_images']} images of MNIST in "
        f"blocks of {results['block']}; workers are processes of one thread. Density "
        "matrices and coefficients of the fit with a killed worker are the same to the "
        f"last bit as without: {'yes' if killed else 'no'}. Density matrices alone, of "
        "more "
        f"and more blocks, {results['reductions'][0]['workers']} workers:\n\n"
        + table(["blocks", "seconds", "one process, s", "more, ms a block"], blocks)
        + f"\n\n{machine_of(results)}, Dask {results['dask']}. Printed by `python "
        "benchmarks/on_dask.py --data DIR`."
    )


def costs() -> str:
    """Return what things cost, and what many images will."""
    results = read("costs")
    by_size = results["images"]
    parts = list(next(iter(by_size.values())))
    measured = [
        [part, *(f"{1e6 * found[part]:.1f}" for found in by_size.values())]
        for part in parts
        if part != "n_features"
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
        table(["an image in", *columns], measured)
        + "\n\n"
        + table(
            [
                "merging two accumulators",
                "bytes",
                "seconds",
                "eigenvectors, ms a class",
            ],
            merging,
        )
        + f"\n\nThe softmax took {softmax['passes']:.0f} passes of "
        f"{1e12 * softmax['of one']:.1f} ps for an image, a feature and a class, "
        "of 20,000 images and 100 classes, to tol=1e-3; as many are assumed. "
        f"Measured on {machine_of(results)}. From these, by calculation alone, for "
        "workers of that kind and 10 Gbit/s into each:\n\n"
        + calculated(results["plans"])
        + "\n\nPrinted by `python benchmarks/costs.py`."
    )


def calculated(results: list[dict]) -> str:
    """Return what each plan moves, and how long it takes so many workers."""
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
    head = ["", "images, each pass", "blocks", "density matrices", "features"]
    head += ["merged for the layers", "for each softmax pass", "most workers"]
    return f"{table(head, moved)}\n\n{table(['', 'workers', *PARTS], plans)}"


TABLES = (out_of_core, on_dask, costs)
