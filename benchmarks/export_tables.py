"""Tables of exported and hybrid networks; see `tables`."""

from speed_tables import read, table, where, with_spread


def exported() -> str:
    """Return the table of a model, compared with its exported versions."""
    results = read("exported")
    rows = []
    for row in results["rows"]:
        first, second = row["filters"]
        for n, seconds in row["seconds"].items():
            ours = seconds["skdmn"]
            name = f"{row['data']}, {first} and {second} filters"
            rows.append(
                [
                    name,
                    n,
                    *(f"{1e3 * seconds[way]:.3g}" for way in seconds),
                    *(f"{seconds[w] / ours:.1f}" for w in ("onnxruntime", "torch")),
                ]
            )
    onnx = max(row["onnx_difference"] for row in results["rows"])
    torch = max(row["torch_difference"] for row in results["rows"])
    differ = sum(row["labels_that_differ"] for row in results["rows"])
    head = ["model", "images", "skdmn, ms", "onnxruntime, ms", "torch, ms"]
    ratios = ["onnxruntime / skdmn", "torch / skdmn"]
    return table([*head, *ratios], rows) + (
        "\n\nTime from uint8 images to labels, for two computed layers and a softmax. "
        f"The probabilities of 10,000 images differ by at most {onnx:.0e} "
        f"(onnxruntime) and {torch:.0e} (torch); {differ} labels differ. "
        + where(results, "exported", "torch", "onnxruntime")
    )


def latency() -> str:
    """Return the table of the time for one image."""
    results = read("latency")
    ways = list(results["rows"][0]["milliseconds"])
    rows = [
        [
            row["data"],
            f"{row['busy']}",
            *(f"{of['least']:.2f} ({of['median']:.2f})" for of in found.values()),
        ]
        for row in results["rows"]
        for found in [row["milliseconds"]]
    ]
    head = ["images", "busy processes", *(f"{way}, ms" for way in ways)]
    return table(head, rows) + (
        "\n\nTime from one uint8 image to its label with `recommended_dmn`: least and "
        f"(median) of {results['calls']} calls, in short series that take turns. The "
        "busy processes are those that the benchmark starts; the machine was shared, "
        "and the least times are nearest to those of an idle core. "
        + where(results, "latency", "onnxruntime")
    )


def hybrids() -> str:
    """Return the tables of hybrid networks."""
    results = read("hybrids")["data"]
    rows = [
        [
            name,
            f"`{row['architecture']}`",
            f"{with_spread(row)} %",
            f"{with_spread(row['naive'])} %" if "naive" in row else "",
            f"{row['paper'][1]:.2f} %",
            f"{row['training']:.2f} %",
            f"{row['paper'][0]:.2f} %",
            f"{row['seconds']:.0f}",
        ]
        for name, found in results.items()
        for row in found["rows"]
    ]
    head = [
        "images",
        "architecture",
        "held-out, class-based",
        "held-out, naive",
        "paper",
        "training, class-based",
        "paper",
    ]
    best = [
        [name, way, f"{with_spread(of)} %", f"{of['seconds']:.0f}"]
        for name, found in results.items()
        for way, of in found["best"].items()
    ]
    first = next(iter(results.values()))
    return (
        table([*head, "seconds"], rows)
        + "\n\n`d9`: a computed, frozen layer of 9 filters; `c81`: a trained layer of "
        "81 filters; `m`: pooling; `BN`: batch normalization; `de10`: the softmax; "
        "naive: one density matrix for all classes (`--naive`), as in the paper. "
        f"{first['epochs']} epochs of Adam with batches of 128 and a learning rate "
        "that first increases and then decreases; the best of three rates was chosen "
        "on a part of the training images. Accuracy on 10,000 held-out and on training "
        f"images, means and standard deviations of {first['seeds']} seeds. "
        + where(first, "hybrids", "torch")
        + "\n\nThe best hybrid of the paper and a ConvNet of the same shape, trained "
        "from the default initialization of torch and from class filters:\n\n"
        + table(["images", "first layer", "held-out", "seconds"], best)
        + "\n\n![Accuracy against epochs and seconds]"
        "(results/hybrids.png)\n\n"
        "Lines: medians of the seeds; bands: minimum to maximum."
    )


TABLES = (exported, latency, hybrids)
