"""Tables of time and memory; see `tables`."""

import json
from pathlib import Path

from skdmn.kernels.reference.moments import rows_are_cheaper

RESULTS = Path(__file__).parent / "results"
MIB = 2**20


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def read(name: str) -> dict:
    return json.loads((RESULTS / f"{name}.json").read_text())


def where(results: dict, script: str, *libraries: str) -> str:
    """Return the machine and the command that measures a table again."""
    machine = results["machine"]
    versions = "".join(f", {name} {machine[name]}" for name in libraries)
    return (
        f"{machine['processor']}, {machine['threads']} threads{versions}. Printed by "
        f"`python benchmarks/{script}.py --data DIR`."
    )


def with_spread(row: dict) -> str:
    """Return a mean, with its standard deviation if there are several values."""
    spread = f" ± {row['std']:.2f}" if len(row["accuracies"]) > 1 else ""
    return f"{row['accuracy']:.2f}{spread}"


def sized(shape: list[int]) -> str:
    """Return the shape of images; a single channel is left out."""
    return " x ".join(str(n) for n in (shape if shape[3] > 1 else shape[:3]))


def convnet() -> str:
    """Return the table of the whole job, compared with training a ConvNet."""
    results = read("convnet")
    job, rival = results["job"], results["convnet"]
    filters, kernels = (job["model"][key] for key in ("filters", "kernels"))
    rows = [
        [
            "computed layers and softmax",
            f"{job['accuracy']:.2f} %",
            f"{job['seconds']:.2f}",
            f"layers {job['layers']:.2f}, features {job['features']:.2f}, "
            f"softmax {job['softmax']:.2f}",
        ]
    ]
    for name, accuracy in (("98.2", 98.2), ("same", job["accuracy"])):
        key = "98.2" if name == "98.2" else "that of the computed layers"
        seconds, ratio = results["seconds_of_convnet"][key], results["ratios"][key]
        took = "not reached" if seconds is None else f"{seconds:.2f}"
        share = "" if ratio is None else f"computed: {ratio:.2f} of this time"
        rows.append([f"ConvNet, up to {accuracy:.2f} %", "", took, share])
    return table(["", "test accuracy", "seconds", ""], rows) + (
        "\n\n![Accuracy against seconds](results/convnet.png)\n\n"
        "Thick lines: median time until a run first reaches an accuracy; thin lines: "
        "single runs. "
        f"{results['data']}; {filters[0]} filters of {kernels[0]} x {kernels[0]} and "
        f"{filters[1]} of {kernels[1]} x {kernels[1]} pixels, medians of "
        f"{results['seeds']} seeds. Adam with batches of {rival['batch_size']} and a "
        f"learning rate of {rival['rate']:g}, the best of {len(rival['tuning'])} "
        "settings on held-out training images, which the layers were chosen on, too. "
        "The time for evaluating the ConvNet is not counted. "
        + where(results, "convnet", "torch")
    )


def density() -> str:
    """Return the table of density matrices, compared with copied patches."""
    results = read("density")
    shown, narrow = [], []
    for row in results["rows"]:
        if row["dtype"] == "float32" and "after" not in row["name"]:
            narrow.append(row["ratio"])
            continue
        shown.append(
            [
                f"{row['name']}, {sized(row['images'])}",
                f"{row['kernel_size']} x {row['kernel_size']}",
                f"{row['seconds']['skdmn']:.3f}",
                f"{row['seconds'][row['best_rival']]:.3f}",
                f"{row['ratio']:.1f}",
                f"{row['times_products_alone']:.1f}",
            ]
        )
    head = ["images", "patches", "seconds", "copied patches, s", "times faster"]
    rows, losses = results["rows"], []
    for row in results["cost_model"]["rows"]:
        size = (row["kernel_size"],) * 2
        chosen = rows_are_cheaper(tuple(row["images"][1:]), size)
        seconds = row["seconds"]
        losses.append(seconds["rows" if chosen else "windows"] / min(seconds.values()))
    right = sum(loss == 1 for loss in losses) / len(losses)
    worst = max(row["relative_errors"]["skdmn"] for row in rows)
    return table([*head, "relative to the products alone"], shown) + (
        "\n\nImages are 8-bit and feature maps float32. For the same images in "
        f"float32: {min(narrow):.1f} to {max(narrow):.1f} times faster. Patches are "
        "copied in the fastest way of NumPy and torch. The last column is the time "
        "relative to that of one large matrix product with as many operations. The "
        f"relative error is at most {worst:.0e}. Without Numba, one of two methods is "
        f"chosen by a cost model. It chooses the faster one in {right:.0%} of "
        f"{len(losses)} cases (its constants were fitted to these cases); at worst the "
        f"chosen one takes {max(losses):.2f} times as long. "
        + where(results, "density", "numpy", "torch")
    )


def forward() -> str:
    """Return the table of convolution, ReLU and pooling, compared with torch."""
    results = read("forward")
    threads = max(row["threads"] for row in results["rows"])
    alone = {
        (row["name"], row["what"]): row
        for row in results["rows"]
        if row["threads"] == 1
    }
    rows = []
    for row in results["rows"]:
        if row["threads"] == threads:
            images, best = row["images"][0] / 1e6, row["seconds"][row["best_rival"]]
            rows.append(
                [
                    row["name"],
                    row["what"],
                    f"{row['seconds']['skdmn'] / images:.1f}",
                    f"{best / images:.1f}",
                    f"{row['ratio']:.1f} ({row['ratio_new_output']:.1f})",
                    f"{alone[row['name'], row['what']]['ratio']:.1f}",
                ]
            )
    head = ["filters", "operation", "µs per image", "torch, µs", "times faster"]
    first = results["first_calls"]
    return table([*head, "with one thread"], rows) + (
        "\n\ntorch uses its fastest layout and batch size and writes to an existing "
        "output (in parentheses: to a new array, as skdmn does). The process keeps "
        "freed memory, so new arrays need no new pages. In a new process the first "
        f"calls of five kernels take {first['filled']['all calls']:.1f} s together, "
        f"and {first['empty']['all calls']:.0f} s if they have to be compiled first. "
        + where(results, "forward", "torch", "numba")
    )


def softmax() -> str:
    """Return the table of the softmax, compared with that of scikit-learn."""
    results = read("softmax")
    rows = [
        [
            f"{row['problem']}, {row['n_samples']} x {row['n_features']}",
            f"{row['C']:g}",
            f"{row['seconds']['SoftmaxClassifier']:.3g}",
            f"{row['seconds']['LogisticRegression']:.3g}",
            f"{row['times_faster']:.1f}",
        ]
        for row in results["rows"]
    ]
    head = ["rows x columns", "C", "seconds", "LogisticRegression, s", "times faster"]
    return table(head, rows) + (
        "\n\nTime until the objective is within 1e-4 of its minimum, including the "
        "scaling of features. CIFAR-10 was timed once. "
        + where(results, "softmax", "scikit-learn")
    )


def softmax_cv() -> str:
    """Return the table of the choice of C, compared with that of scikit-learn."""
    results = read("softmax_cv")
    rows = []
    for row in results["rows"]:
        seconds, is_compared = row["seconds"], "times_faster" in row
        rows.append(
            [
                f"{row['problem']}, {row['n_samples']} x {row['n_features']}",
                f"{seconds['SoftmaxClassifierCV']:.3g}",
                f"{seconds['SoftmaxClassifier']:.3g}",
                f"{row['times_a_fit']:.1f}",
                f"{seconds['LogisticRegressionCV']:.3g}" if is_compared else "-",
                f"{row['times_faster']:.0f}" if is_compared else "-",
            ]
        )
    head = ["rows x columns", "search, s", "one fit, s", "fits"]
    largest = max(row.get("largest_difference_of_scores", 0) for row in results["rows"])
    return table([*head, "LogisticRegressionCV, s", "times faster"], rows) + (
        "\n\nTen values of C, five folds and the final fit. LogisticRegressionCV was "
        "timed on one fold, without the final fit, and its time multiplied by five. "
        f"The scores of that fold differ by at most {largest:.4f}. "
        + where(results, "softmax_cv", "scikit-learn")
    )


def memory() -> str:
    """Return the table of the memory of two layers."""
    results = read("memory")
    cases: dict[tuple, dict] = {}
    for row in results["rows"]:
        key = row["data"], row["kind"], row["n_images"], tuple(row["filters"])
        cases.setdefault(key, {})[row["task"]] = row
    rows = [
        [
            f"{n} of {data}, {filters[0]} and {filters[1]} filters",
            kind,
            *(
                f"{of[task]['beside'] / MIB:.0f} MiB, {of[task]['seconds']:.1f} s"
                for task in ("fit", "transform")
            ),
            f"{of['transform']['output'] / MIB:.0f} MiB",
        ]
        for (data, kind, n, filters), of in cases.items()
    ]
    return table(["images", "", "fit", "transform", "features"], rows) + (
        "\n\nPeak memory in addition to images and features. A Pipeline holds every "
        "feature map, so it was given a fifth of the images. "
        + where(results, "memory")
    )


def grid_search() -> str:
    """Return the table of a grid search with and without memory."""
    results = read("grid_search")
    rows = [
        [
            f"{row['kernel_size']} x {row['kernel_size']}",
            "with" if row["memory"] else "without",
            f"{row['density_matrices_of_a_fold']:.0f}",
            f"{row['seconds_in_fits_of_layers']:.2f}",
            f"{row['seconds']:.1f}",
        ]
        for row in results["rows"]
    ]
    head = ["patches", "`memory`", "passes over the images of a fold"]
    return table([*head, "fits of the layer, s", "search, s"], rows) + (
        f"\n\n5 x 4 cutoffs of one layer, {results['folds']} folds of "
        f"{results['data']}, and a softmax for each combination. The times include "
        "hashing and the files of the cache. " + where(results, "grid_search")
    )


def shared_search() -> str:
    """Return the table of CutoffSearchCV against GridSearchCV."""
    results = read("shared_search")
    rows = [
        [
            row["case"],
            f"{row['settings']}",
            f"{row['tol']:.0e}",
            f"{row['seconds']['plain']:.1f}",
            f"{row['seconds']['shared']:.1f}",
            f"{row['ratio']:.1f}",
            f"{row['one_fit']:.2f}",
            f"{row['largest_difference']:.2f}",
        ]
        for row in results["rows"]
    ]
    n_runs = min(len(row["runs"]["plain"]) for row in results["rows"])
    head = ["network", "settings", "`tol`", "GridSearchCV, s", "CutoffSearchCV, s"]
    more = ["ratio", "one fit, s", "largest difference of scores, points"]
    return table([*head, *more], rows) + (
        f"\n\n{results['folds']} folds of {results['data']}; GridSearchCV with "
        "`memory`. `tol` is the tolerance of the softmax. One layer: 5 x 4 cutoffs and "
        "5 values of C. Two layers: 3 x 3 numbers of filters and 3 values of C. "
        f"Medians; number of runs of each search: {n_runs}. "
        + where(results, "shared_search")
        + "\n\n"
        + _memory_of_searches(results)
    )


def _memory_of_searches(results: dict) -> str:
    """Return the table of the peak memory of searches."""
    rows = [
        [row["case"], f"{row['settings']}"]
        + [f"{row[name] / 2**20:.0f}" for name in ("budget", "beside", "one_fit")]
        for row in results["memory"]
    ]
    head = ["network", "settings", "`working_memory`, MiB", "CutoffSearchCV, MiB"]
    return table([*head, "GridSearchCV, one setting, MiB"], rows) + (
        "\n\nPeak memory minus that before the search; the one setting is that with "
        "the most features. The features of CutoffSearchCV stay within "
        "`working_memory`; the softmax needs memory in addition. Printed by "
        "`python benchmarks/shared_search.py --data DIR --memory`."
    )


def at_a_glance() -> str:
    """Return the table of speedups over the fastest alternative for each task."""
    job = read("convnet")
    exported = [row["seconds"]["10000"] for row in read("exported")["rows"]]
    forward = [
        row["ratio"]
        for row in read("forward")["rows"]
        if row["what"] == "conv + ReLU + pool" and row["threads"] > 1
    ]
    cases = [
        (
            f"from MNIST images to an accuracy of {job['job']['accuracy']:.1f} %",
            "training a ConvNet of the same architecture (torch)",
            [1 / job["ratios"]["that of the computed layers"]],
            "convnet",
        ),
        (
            "density matrices",
            "copying and multiplying patches (NumPy, torch)",
            [row["ratio"] for row in read("density")["rows"]],
            "density",
        ),
        (
            "convolution, ReLU and pooling in one pass",
            "torch, channels-last, in batches",
            forward,
            "forward",
        ),
        (
            "softmax",
            "LogisticRegression, up to the same objective",
            [row["times_faster"] for row in read("softmax")["rows"]],
            "softmax",
        ),
        (
            "predicting the labels of 10,000 images",
            "the same model, exported to onnxruntime",
            [seconds["onnxruntime"] / seconds["skdmn"] for seconds in exported],
            "exported",
        ),
    ]
    rows = [
        [
            what,
            rival,
            " to ".join(f"{n:.1f}" for n in sorted({min(ratios), max(ratios)})),
            f"`benchmarks/{script}.py`",
        ]
        for what, rival, ratios, script in cases
    ]
    machine = job["machine"]
    return table(["task", "compared with", "times faster", "script"], rows) + (
        f"\n\n{machine['processor']}, {machine['threads']} threads, torch "
        f"{machine['torch']}."
    )


TABLES = (
    at_a_glance,
    convnet,
    density,
    forward,
    softmax,
    softmax_cv,
    memory,
    grid_search,
    shared_search,
)
