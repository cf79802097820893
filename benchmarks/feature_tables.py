"""Tables of how good computed features are; see `tables`."""

from speed_tables import MIB, read, table, where, with_spread


def frontier() -> str:
    """Return accuracy against seconds, computed and trained."""
    results = read("frontier")["data"]
    rows = []
    for name, found in results.items():
        for row in found["computed"]:
            n, share = row["filters_found"], row["share"]
            share = "" if share == 1 else f", {share:.0%} of the images"
            mirrored = ", mirrored" if row["mirrored"] else ""
            rows.append(
                [
                    name,
                    f"computed, {n:g} filters{share}{mirrored}",
                    f"{row['n_parameters'] / 1000:.0f}",
                    f"{row['accuracy']:.2f} %",
                    f"{row['seconds']:.1f}",
                ]
            )
        for row in found["trained"]:
            rows.append(
                [
                    name,
                    "ConvNet, " + ", ".join(map(str, row["filters"])) + " filters",
                    f"{row['n_parameters'] / 1000:.0f}",
                    f"{row['accuracy']:.2f} %",
                    f"{row['seconds']:.1f}",
                ]
            )
    head = ["images", "network", "thousand parameters", "accuracy", "seconds"]
    sizes = "; ".join(
        f"{name}: {found['n_training']} training images, {found['n_test']} others, "
        f"rate {net['rate']:g}, batches of {net['batch_size']} and "
        f"{'no ' if net['plain'] else ''}batch normalization, the best of "
        f"{len(net['tuning'])} after {net['tuned_for']:g} s, {net['seeds']} seeds"
        for name, found in results.items()
        for net in [found["convnet"]]
    )
    return (
        "![Accuracy against seconds](benchmarks/results/frontier.png)\n\n"
        + table(head, rows)
        + "\n\nFrom uint8 images in memory to a fitted classifier. "
        "`recommended_dmn` in sizes fixed beforehand. The ConvNet has AdamW, a rate "
        "that rises and falls over the seconds it is given, each number of seconds a "
        "run of its own, the best of three widths, and photographs mirrored at random; "
        "all that is chosen for it is chosen on training images held out. "
        f"{sizes}. Of CIFAR-10 the accuracy is that on held-out training images (the "
        "fifth batch). Medians; one seed of 400 computed filters and more. The "
        "standard error of an accuracy is about 0.1 on MNIST and 0.4 on CIFAR-10. "
        + where(next(iter(results.values())), "frontier", "torch")
    )


def paper_tables() -> str:
    """Return Table 2, the fraction claim and Fig. 6."""
    results = read("paper_tables")["data"]
    rows = []
    for name, found in results.items():
        for row in found["table_2"]:
            ours, net = row["dmn"], row["convnet"]
            rows.append(
                [
                    name,
                    ", ".join(f"d{n}" for n in ours["filters"]),
                    f"{row['share']:g}",
                    with_spread(ours),
                    f"{row['paper']:.2f}",
                    f"{ours['seconds']:.1f}",
                    with_spread(net),
                    f"{row['paper_convnet']:.2f}",
                    f"{net['seconds']:.0f}",
                ]
            )
    head = ["images", "filters", "share", "DMN, %", "paper", "s", "ConvNet, %"]
    seen = [
        [
            f"{name}, {', '.join(f'd{n}' for n in row['filters'])}",
            f"{row['share']:.0%}",
            f"{with_spread(row)} %",
        ]
        for name, found in results.items()
        for row in found["shares"]
    ]
    counts = [
        [name, *(f"{n}: {acc:.2f} %" for n, acc in of_figure(found))]
        for name, found in results.items()
    ]
    widest = max(map(len, counts))
    counts = [row + [""] * (widest - len(row)) for row in counts]
    some = next(iter(results.values()))
    return (
        table([*head, "paper", "s"], rows)
        + f"\n\nMeans and standard deviations of {some['draws']} draws and seeds. A "
        "ConvNet of the same architecture, trained for as many seconds as stand there, "
        "its rate chosen on training images held out; of CIFAR-10, held-out training "
        "images. " + where(some, "paper_tables", "torch") + "\n\n"
        "By the share of the images that density matrices see; the softmax sees "
        "all:\n\n" + table(["layers", "share", "accuracy"], seen) + "\n\n"
        "One layer, by its number of filters (the paper's Fig. 6):\n\n"
        + table(["images", *[""] * (widest - 1)], counts)
    )


def hierarchical() -> str:
    """Return the other paper's Table II."""
    results = read("hierarchical")
    rows = [
        [
            row["row"],
            f"{with_spread(row)} %",
            "" if row["paper"] is None else f"{row['paper']:.1f} %",
            f"{row['seconds']:.0f}",
        ]
        for row in results["rows"]
    ]
    return table(["layers below the softmax", "accuracy", "paper", "s"], rows) + (
        f"\n\n{results['n']} training images of MNIST, {results['epochs']} epochs of "
        "Adam at the best of three rates; means and standard deviations of "
        f"{results['seeds']} seeds; base: 128 perceptrons. "
        + where(results, "hierarchical", "torch")
    )


def of_figure(found: dict) -> list[tuple[int, float]]:
    return [(row["asked"], row["accuracy"]) for row in found["figure_6"]]


def peers() -> str:
    """Return other features, and other filters in the same place."""
    results = read("peers")
    rows = []
    for name, found in results["peers"].items():
        for row in found:
            if "error" in row:
                rows.append([name, row["peer"], "", "does not import", *[""] * 4])
                continue
            parts = ("fit_seconds", "transform_seconds", "softmax_seconds")
            seconds = [f"{row[part]:.1f}" if part in row else "" for part in parts]
            if "seconds" in row:  # a ConvNet: all at once
                seconds = [f"{row['seconds']:.1f}", "", ""]
            rows.append(
                [
                    name,
                    row["peer"],
                    str(row.get("n_features", "")),
                    f"{row['accuracy']:.2f} %",
                    *seconds,
                    f"{row['held'] / MIB:.0f} MiB",
                ]
            )
    head = ["images", "features from", "number", "accuracy", "fit, s", "transform, s"]
    asked = sorted({row["asked"] for row in results["same_place"]})
    kinds = dict.fromkeys(row["kind"] for row in results["same_place"])
    found = {(row["kind"], row["asked"]): row for row in results["same_place"]}

    def cell(kind: str, n: int) -> str:
        row = found.get((kind, n))
        if row is None:
            return "no more"
        fewer = "" if row["filters"] == n else f" ({row['filters']})"
        return f"{row['accuracy']:.1f}{fewer}"

    backend = [
        [
            kind,
            f"{found[kind, asked[0]]['threshold']:g}",
            *(cell(kind, n) for n in asked),
        ]
        for kind in kinds
    ]
    n = results["n_training"]
    return (
        "![Accuracy against seconds](results/peers.png)\n\n"
        + table([*head, "softmax, s", "held"], rows)
        + f"\n\n{n['MNIST']} training images of each, the same softmax, C chosen on a "
        "fifth of them, the ConvNet's rate on such images; what is tried for that is "
        "not in the seconds. Held: the most memory at a time, beside the images. "
        + where(results, "peers")
        + "\n\nOther filters in the place of those of `WhitenedPCAPatchTransformer`: "
        f"accuracy, %, on CIFAR-10, {n['same place']} training images, by the number "
        "of filters asked for (in brackets: found), the threshold the best on "
        "validation images for each kind. The standard error of an accuracy is about "
        "0.5, of a difference less:\n\n"
        + table(["filters from", "threshold", *map(str, asked)], backend)
    )


def ablations() -> str:
    """Return what each choice is worth."""
    results = read("ablations")
    names = list(results["data"])
    found = {
        name: {row["row"]: row["accuracy"] for row in results["data"][name]}
        for name in names
    }
    rows = []
    for of_row in zip(*results["data"].values(), strict=True):
        title, base = of_row[0]["row"], of_row[0]["base"]
        line = [f"**{title}**" if title == base else title]
        for name, row in zip(names, of_row, strict=True):
            change = row["accuracy"] - found[name][base]
            changed = "" if title == base else f" ({change:+.2f})"
            line.append(f"{row['accuracy']:.2f}{changed}")
            line += [str(row["n_features"]), f"{row['seconds']:.1f}"]
        rows.append(line)
    head = ["", *(text for name in names for text in (f"{name}, %", "features", "s"))]
    return table(head, rows) + (
        f"\n\n{results['n_training']} training images, accuracy on "
        f"{results['n_held_out']} others held out, in brackets the difference to the "
        "base in bold above it (without ReLU: to one sign; without whitening: to no "
        "threshold). The standard error of an accuracy is about 0.15 and 0.5, of a "
        "difference less. " + where(results, "ablations")
    )


def choices() -> str:
    """Return what speaks for the settings of recommended_dmn."""
    found = {
        name: {row["candidate"]: max(row["accuracy"].values()) for row in rows}
        for name, rows in read("choose_recommended")["data"].items()
    }
    base, *others = dict.fromkeys(name for of in found.values() for name in of)

    def cell(of: dict[str, float], candidate: str) -> str:
        if candidate not in of:
            return ""
        return f"{of[candidate]:.2f} ({of[candidate] - of[base]:+.2f})"

    rows = [[base, *(f"{of[base]:.2f}" for of in found.values())]]
    rows += [[name, *(cell(of, name) for of in found.values())] for name in others]
    return (
        table(["", *(f"{name}, %" for name in found)], rows)
        + "\n\nTraining images held out (10,000 of MNIST, 5,000 of CIFAR-10), C the "
        "best on them, too; in brackets the difference to the first row, of which the "
        "standard error is about 0.1 and 0.5. Beyond 200 filters, other patches and "
        "cutoffs of correlation stand at a variance cutoff of 0.98. Printed by "
        "`python benchmarks/choose_recommended.py --data DIR`."
    )


def leads() -> str:
    """Return what was tried beyond."""
    results = read("leads")
    beside = [
        [row["lead"], str(row["n_features"]), f"{row['accuracy']:.1f} %"]
        for row in results["side_by_side"]
    ]
    found = {
        (row["data"], row["correlation_cutoff"], row["echo"]): f"{row['accuracy']:.1f}"
        for row in results["without_echo"]
    }
    echoes = [
        [name, f"{cutoff:g}", f"{found[name, cutoff, True]} %", f"{without} %"]
        for (name, cutoff, echo), without in found.items()
        if not echo
    ]
    head = ["images", "correlation cutoff", "rho_hh", "without the linear echo"]
    by = {(row["filters"], row["path"]): row for row in results["by_path"]}
    paths = [
        [
            str(n),
            f"{by[n, False]['accuracy']:.1f} %",
            f"{row['accuracy']:.1f} %",
            f"{row['seconds']:.0f}",
        ]
        for (n, path), row in by.items()
        if path
    ]
    groups = ["filters", "of classes by cell", "of patches by path", "s to group them"]
    return (
        table(["features", "number", "accuracy on validation images"], beside)
        + "\n\nMirrored networks on training images of CIFAR-10, C the best on the "
        "same validation images. Filters of their density matrices by class and cell, "
        "and of those of patches by path, `directions.py`:\n\n"
        + table(groups, paths)
        + "\n\nSecond layers of the papers' kind, of 48 filters and "
        "both signs, from density matrices and from what the image below does not "
        "predict of them linearly:\n\n"
        + table(head, echoes)
        + "\n\nPrinted by `python benchmarks/leads.py --data DIR`."
    )


def recipe() -> str:
    """Return the searches to run first."""
    results = read("recipe")

    def short(name: str) -> str:
        return name.removeprefix("features__")

    grids = [
        f"of `{model}` "
        + ", ".join(f"`{short(name)}` {values}" for name, values in grid.items())
        for model, grid in results["grids"].items()
    ]
    rows = [
        [
            f"`{row['model']}`",
            row["search"],
            str(row["settings"]) if "settings" in row else "",
            f"{row['seconds']:.0f}",
            f"{row['seconds_C']:.0f}" if "seconds_C" in row else "",
            ", ".join(f"`{short(k)}={v}`" for k, v in row["best"].items()),
            f"{row['accuracy']:.2f} %",
        ]
        for row in results["rows"]
    ]
    head = ["network", "search", "settings", "layers, s", "then C, s", "best"]
    return table([*head, "accuracy"], rows) + (
        f"\n\n{results['n_training']} training images of MNIST, {results['folds']} "
        f"folds. Searched: {'; '.join(grids)}; and C. Accuracy on "
        "10,000 training images held out. " + where(results, "recipe")
    )


TABLES = (
    frontier,
    peers,
    ablations,
    choices,
    leads,
    recipe,
    paper_tables,
    hierarchical,
)
