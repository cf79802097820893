"""Tables of accuracy; see `tables`."""

from statistics import mean

from speed_tables import MIB, read, table, where, with_spread


def frontier() -> str:
    """Return the table of accuracy and time of computed and trained networks."""
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
        f"{name}: {found['n_training']} training and {found['n_test']} test images, "
        f"learning rate {net['rate']:g}, batches of {net['batch_size']} and "
        f"{'no ' if net['plain'] else ''}batch normalization (the best of "
        f"{len(net['tuning'])} settings after {net['tuned_for']:g} s), "
        f"{net['seeds']} seeds"
        for name, found in results.items()
        for net in [found["convnet"]]
    )
    return (
        "![Accuracy against seconds](benchmarks/results/frontier.png)\n\n"
        + table(head, rows)
        + "\n\nTime from uint8 images in memory to a fitted classifier. Computed: "
        "`recommended_dmn` with numbers of filters that were fixed in advance. The "
        "ConvNet is trained with AdamW and a learning rate that first increases and "
        "then decreases over the available time; each time is a separate run. It has "
        "the best of three widths, and the images of CIFAR-10 are flipped at random. "
        "All settings of the ConvNet are chosen on held-out training images. "
        f"{sizes}. The test images of CIFAR-10 are held-out training images (the fifth "
        "batch). Medians over seeds; one seed for 400 or more computed filters. The "
        "standard error of an accuracy is about 0.1 on MNIST and 0.4 on CIFAR-10. "
        + where(next(iter(results.values())), "frontier", "torch")
    )


def paper_tables() -> str:
    """Return the tables of Table 2, of Fig. 6 and of fractions of the images."""
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
        + f"\n\nMeans and standard deviations of {some['draws']} draws or seeds. "
        "Share: part of the images that the density matrices are computed from. The "
        "ConvNet has the same architecture and is trained for the number of seconds in "
        "the last column, with a learning rate chosen on held-out training images. "
        "Accuracy on the test images of MNIST and on held-out training images of "
        "CIFAR-10. " + where(some, "paper_tables", "torch") + "\n\n"
        "Accuracy by the share of the images that the density matrices are computed "
        "from; the softmax is fitted to all images:\n\n"
        + table(["layers", "share", "accuracy"], seen)
        + "\n\n"
        "Accuracy of one layer by its number of filters (Fig. 6 of the paper):\n\n"
        + table(["images", *[""] * (widest - 1)], counts)
    )


def hierarchical() -> str:
    """Return the table of Table II of the hierarchical-covariance paper."""
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
        "Adam with the best of three learning rates; means and standard deviations of "
        f"{results['seeds']} seeds; base: a hidden layer of 128 units. "
        + where(results, "hierarchical", "torch")
    )


def of_figure(found: dict) -> list[tuple[int, float]]:
    return [(row["asked"], row["accuracy"]) for row in found["figure_6"]]


def peers() -> str:
    """Return the tables of other features and of other filters in the same layer."""
    results = read("peers")
    rows = []
    for name, found in results["peers"].items():
        for row in found:
            if "error" in row:
                rows.append([name, row["peer"], "", "import fails", *[""] * 4])
                continue
            parts = ("fit_seconds", "transform_seconds", "softmax_seconds")
            seconds = [f"{row[part]:.1f}" if part in row else "" for part in parts]
            if "seconds" in row:  # a ConvNet has only one time
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
    head = ["images", "features", "number", "accuracy", "fit, s", "transform, s"]
    asked = sorted({row["asked"] for row in results["same_place"]})
    kinds = dict.fromkeys(row["kind"] for row in results["same_place"])
    found = {(row["kind"], row["asked"]): row for row in results["same_place"]}

    def cell(kind: str, n: int) -> str:
        row = found.get((kind, n))
        if row is None:
            return "not enough"
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
        + table([*head, "softmax, s", "memory"], rows)
        + f"\n\n{n['MNIST']} training images of each data set and the same softmax. C "
        "and the learning rate of the ConvNet are chosen on a fifth of them; the times "
        "do not include this choice. Memory: peak in addition to the images. "
        + where(results, "peers")
        + "\n\nOther filters in place of those of `WhitenedPCAPatchTransformer`: "
        f"accuracy in % on CIFAR-10 with {n['same place']} training images, by the "
        "requested number of filters (in parentheses: the number found). The threshold "
        "is the best on validation images for each kind of filter. The standard error "
        "of an accuracy is about 0.5, that of a difference is smaller.\n\n"
        + table(["filters", "threshold", *map(str, asked)], backend)
    )


def ablations() -> str:
    """Return the table of the effect of each setting."""
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
        f"\n\n{results['n_training']} training images; accuracy on "
        f"{results['n_held_out']} held-out images. In parentheses: the difference from "
        "the row in bold above (without ReLU: from one-sided features; without "
        "whitening: from no threshold). The standard error of an accuracy is about "
        "0.15 on MNIST and 0.5 on CIFAR-10, that of a difference is smaller. "
        + where(results, "ablations")
    )


def choices() -> str:
    """Return the table of neighbouring settings of recommended_dmn."""
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
        + "\n\nAccuracy on held-out training images (10,000 of MNIST, 5,000 of "
        "CIFAR-10), with the best C on the same images. In parentheses: the difference "
        "from the first row, with a standard error of about 0.1 on MNIST and 0.5 on "
        "CIFAR-10. Rows of 400 and 800 filters with other patches or correlation "
        "cutoffs have a variance cutoff of 0.98. Printed by "
        "`python benchmarks/choose_recommended.py --data DIR`."
    )


def leads() -> str:
    """Return the tables of ideas that did not help."""
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
    head = ["images", "correlation cutoff", "rho_hh", "residual"]
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
    groups = ["filters", "classes by cell", "patches by path", "grouping, s"]
    return (
        table(["features", "number", "accuracy on validation images"], beside)
        + "\n\nNetworks with `mirrored=True` on training images of CIFAR-10, with the "
        "best C on the same validation images. Filters of density matrices of classes "
        "by cell, and of patches by path (`directions.py`):\n\n"
        + table(groups, paths)
        + "\n\nTwo layers of the papers. The second has 48 filters and two-sided "
        "features; it is computed from density matrices, or from residual density "
        "matrices without what the image predicts linearly:\n\n"
        + table(head, echoes)
        + "\n\nPrinted by `python benchmarks/leads.py --data DIR`."
    )


def recipe() -> str:
    """Return the table of recommended searches."""
    results = read("recipe")

    def short(name: str) -> str:
        return name.removeprefix("features__")

    grids = [
        f"for `{model}` "
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
        f"folds. Search space: {'; '.join(grids)}; and C. Accuracy on 10,000 held-out "
        "training images. " + where(results, "recipe")
    )


def damaged() -> str:
    """Return the table of accuracy after a fit to images of which some are damaged."""
    results = read("damaged")
    models = list(results["rows"][0]["accuracy"])
    rows = [
        [
            row["data"],
            row["damage"].replace("_", " "),
            f"{100 * row['share']:g} %",
            *(f"{row['accuracy'][model]:.1f}" for model in models),
        ]
        for row in results["rows"]
    ]
    return table(["data", "damage", "images", *models], rows) + (
        f"\n\nAccuracy in percent on {results['n_test']} test images without damage, "
        f"after a fit to {results['n_training']} images. {where(results, 'damaged')}"
    )


def brightness() -> str:
    """Return the table of accuracy with and without features of the brightness."""
    results = read("brightness")
    names = list(results["rows"][0]["accuracy"])
    rows = [
        [
            row["data"],
            f"{row['n_training']:,}",
            f"{row['n_others']:,}",
            *(f"{row['accuracy'][name]:.1f}" for name in names),
        ]
        for row in results["rows"]
    ]
    return table(["data", "images", "others", *names], rows) + (
        "\n\nAccuracy in percent on images that are not used for the fit; MNIST and "
        "CIFAR-10 are training images, and networks for CIFAR-10 are mirrored, except "
        f"`make_dmn`. {where(results, 'brightness')}"
    )


def battles() -> str:
    """Return the table of skdmn and what one would use instead."""
    results = read("battles")
    rows = [
        [
            row["data"],
            f"{row['n_training']:,}",
            who,
            f"{one['accuracy']:.1f}",
            f"{one['fit']:.1f}",
            f"{one['predict']:.1f}",
            f"{one['kilobytes']:,.0f}",
        ]
        for row in results["rows"]
        for who, one in row["found"].items()
    ]
    head = ["data", "images", "with", "accuracy, %", "fit, CPU s"]
    return table([*head, "predict, CPU s", "model, kB"], rows) + (
        "\n\nAccuracy on images that are not used for the fit (797 digits; 2,000 "
        "training images of MNIST and CIFAR-10), and the time to predict these. One "
        "draw: the standard error is about 0.4 points on digits and MNIST, and 1.1 on "
        "CIFAR-10. " + where(results, "battles", "torch")
    )


def unlabelled() -> str:
    """Return the table of filters from unlabelled images."""
    results = read("unlabelled")
    names = list(results["rows"][0]["filters"])
    rows = [
        [
            row["data"],
            f"{row['n_labelled']:,}",
            *(with_spread(row["filters"][name]) for name in names),
        ]
        for row in results["rows"]
    ]
    return table(["data", "labelled images", *names], rows) + (
        "\n\nImages from which the filters are computed, and accuracy in percent on "
        f"{results['n_held_out']:,} held-out training images: means and standard "
        f"deviations of {results['draws']} random draws. "
        + where(results, "unlabelled")
    )


def heads() -> str:
    """Return the table of classifiers on the same features of few images."""
    results = read("heads")
    names = list(results["rows"][0]["heads"])

    def outcome(head: dict | None) -> str:
        if head is None:
            return ""
        accuracy = f"{head['accuracy']:.1f} ± {head['std']:.1f}"
        return f"{accuracy}, {mean(head['cross_entropies']):.2f}"

    rows = [
        [
            row["data"],
            f"{row['n_training']:,}",
            str(len(row["heads"][names[0]]["accuracies"])),
            *(outcome(row["heads"].get(name)) for name in names),
        ]
        for row in results["rows"]
    ]
    return table(["data", "images", "draws", *names], rows) + (
        f"\n\nAccuracy in percent and cross-entropy on {results['n_held_out']:,} "
        "held-out training images: means, and standard deviations of the accuracy, of "
        "random draws. " + where(results, "heads")
    )


def of_one_fit(head: dict) -> float:
    """Return the CPU seconds of one of the fits of a classifier."""
    return head["cpu_seconds"] / head.get("n_fits", 1)


def kernel_head() -> str:
    """Return the table of kernel ridge regression and the softmax."""
    results = read("kernel_head")
    names = list(results["rows"][0]["heads"])
    rows = [
        [
            row["data"],
            f"{row['images']:,}",
            str(row["filters"]),
            f"{row['features_cpu_seconds']:.0f}",
            *(
                f"{head['accuracy']:.2f} ({of_one_fit(head):.0f})"
                for head in row["heads"].values()
            ),
        ]
        for row in results["rows"]
    ]
    head = ["data", "images", "filters", "features, CPU s"]
    return table([*head, *(f"{name}, % (CPU s)" for name in names)], rows) + (
        "\n\nAccuracy on held-out training images (5,000 of CIFAR-10, 10,000 of "
        "MNIST), and CPU seconds of one fit and the prediction of these images; the "
        "reduction by window is counted for kernel ridge regression only. The "
        "standard error of an accuracy is about 0.6 on CIFAR-10 and 0.1 on MNIST. "
        + where(results, "kernel_head")
    )


TABLES = (
    damaged,
    kernel_head,
    brightness,
    unlabelled,
    battles,
    heads,
    frontier,
    peers,
    ablations,
    choices,
    leads,
    recipe,
    paper_tables,
    hierarchical,
)
