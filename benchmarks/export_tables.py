"""Tables of exported and hybrid networks; see `tables`."""

from speed_tables import read, table, where, with_spread


def exported() -> str:
    """Return a model in onnxruntime and torch, against itself."""
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
        "\n\nFrom uint8 images to labels, two computed layers and a softmax. The "
        f"probabilities of 10,000 images differ by at most {onnx:.0e} (onnxruntime) "
        f"and {torch:.0e} (torch), {differ} labels differ. "
        + where(results, "exported", "torch", "onnxruntime")
    )


def hybrids() -> str:
    """Return the papers' hybrid rows."""
    results = read("hybrids")["data"]
    rows = [
        [
            name,
            f"`{row['architecture']}`",
            f"{with_spread(row)} %",
            f"{row['paper'][1]:.2f} %",
            f"{row['training']:.2f} %",
            f"{row['paper'][0]:.2f} %",
            f"{row['seconds']:.0f}",
        ]
        for name, found in results.items()
        for row in found["rows"]
    ]
    head = ["images", "architecture", "held out", "paper", "training", "paper"]
    best = [
        [name, way, f"{with_spread(of)} %", f"{of['seconds']:.0f}"]
        for name, found in results.items()
        for way, of in found["best"].items()
    ]
    first = next(iter(results.values()))
    return (
        table([*head, "seconds"], rows)
        + "\n\n`d9`: a computed layer of 9 filters, frozen; `c81`: a trained one; `m`: "
        "pooling; `BN`: batch normalization; `de10`: the softmax. "
        f"{first['epochs']} epochs of Adam with batches of 128 at a rate that rises "
        "and falls, the best of three on some of the training images; 10,000 others "
        f"held out; means and standard deviations of {first['seeds']} seeds. "
        + where(first, "hybrids", "torch")
        + "\n\nThe paper's best hybrid, and the ConvNet of its shape, trained from "
        "torch's usual initialization and from class filters:\n\n"
        + table(["images", "start", "held out", "seconds"], best)
        + "\n\n![Accuracy against epochs and seconds]"
        "(results/hybrids.png)\n\n"
        "Medians of the seeds; bands: lowest to highest."
    )


TABLES = (exported, hybrids)
