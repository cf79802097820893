"""Tables of the papers' figures in the papers' own settings; see `tables`."""

from collections.abc import Callable, Iterator
from statistics import mean, stdev

from speed_tables import read, table

Runs = list[dict]


def runs_of(name: str) -> Runs:
    """Return the runs of an experiment."""
    found = read("verdicts")
    if name not in found:
        raise FileNotFoundError(f"verdicts.json has no results of {name}")
    return found[name]["runs"]


def grouped(runs: Runs, *keys: str) -> Iterator[tuple[tuple, Runs]]:
    """Yield the values of some keys and the runs that have them, in order."""
    groups: dict[tuple, Runs] = {}
    for run in runs:
        groups.setdefault(tuple(str(run[key]) for key in keys), []).append(run)
    yield from groups.items()


def spread(values: list[float], digits: int = 2) -> str:
    """Return the mean, and the standard deviation if there are several values."""
    text = f"{mean(values):.{digits}f}"
    return f"{text} ± {stdev(values):.{digits}f}" if len(values) > 1 else text


def within(values: list[float], digits: int = 2) -> str:
    """Return the smallest and the largest value."""
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low} to {high}"


def source(name: str) -> str:
    """Return the machine and the command that measures a table again."""
    machine = read("verdicts")[name]["machine"]
    return (
        f"{machine['processor']}, {machine['threads']} thread. Printed by "
        f"`python benchmarks/verdicts.py --data DIR --only {name}`."
    )


def seeds(runs: Runs) -> str:
    """Return how many seeds a table rests on."""
    return f"Number of seeds: {len({run['seed'] for run in runs})}."


def fluctuations() -> str:
    """Return the exponents of the fluctuation law on MNIST."""
    runs, rows = runs_of("fluctuations"), []
    for (data, size, n, step), some in grouped(
        runs, "data", "kernel_size", "n_images", "step"
    ):
        ratios = [max(run["constants"]) / min(run["constants"]) for run in some]
        rows.append(
            [
                f"{data}, {n} images, {step} at a time",
                f"{size} x {size}",
                spread([run["exponent_of_N"] for run in some]),
                within([run["exponent"] for run in some]),
                within([run["error"] for run in some]),
                within(ratios, 1),
                f"{max(run['collapse_p_value'] for run in some):.0e}",
            ]
        )
    return table(
        [
            "images",
            "patches",
            "exponent of N",
            "exponent of lambda",
            "its error",
            "largest / smallest scaled variance",
            "p that they are equal, at most",
        ],
        rows,
    ) + (
        f"\n\nThe paper claims exponents of -1 and 2, and one scaled variance for all "
        f"eigenvalues. {seeds(runs)} A seed determines the order of the images. "
        + source("fluctuations")
    )


def second_layers() -> str:
    """Return the numbers of filters that the cutoffs of Table 2 leave."""
    runs = runs_of("second_layers")
    rows = [
        [
            data,
            ", ".join(f"d{n}" for n in some[0]["paper"]),
            share,
            cutoff,
            str(some[0]["paper"][-1]),
            within([run["found"] for run in some], 0),
        ]
        for (data, _, share, cutoff), some in grouped(
            runs, "data", "paper", "share", "cutoff"
        )
    ]
    return table(
        [
            "images",
            "layers",
            "share",
            "variance cutoff",
            "filters, paper",
            "filters, found",
        ],
        rows,
    ) + (
        "\n\nFilters of the last layer. The layer below has as many filters as in the "
        f"paper. {seeds(runs)} A seed draws the share of the images. "
        + source("second_layers")
    )


def layers() -> str:
    """Return when the layers of the paper's ConvNet are halfway."""
    runs, rows = runs_of("layers"), []
    for (data, start, optimizer), some in grouped(runs, "data", "weights", "optimizer"):
        times = list(zip(*(run["half_epochs"] for run in some), strict=True))
        first = sum(run["half_epochs"][0] == min(run["half_epochs"]) for run in some)
        rows.append(
            [
                *(data, start, f"{optimizer}, {some[0]['rate']:g}"),
                *(spread(list(layer), 1) for layer in times),
                f"{first} of {len(some)}",
                within([100 * run["training_accuracy"] for run in some], 0) + " %",
            ]
        )
    one = runs[0]
    return table(
        [
            "images",
            "initial weights",
            "optimizer, rate",
            "layer 1",
            "layer 2",
            "dense",
            "layer 1 is first",
            "training accuracy",
        ],
        rows,
    ) + (
        "\n\nEpochs until a layer is halfway to its final weights, for good: twice 32 "
        "filters of 3 x 3, each with ReLU and 2 x 2 max pooling, and a dense layer. "
        f"{one['n_images']} training images, batches of 32, {one['n_epochs']} epochs; "
        "means and standard deviations over seeds. " + source("layers")
    )


def naive() -> str:
    """Return the accuracies of the naive and the class-based DMN."""
    runs, rows = runs_of("naive"), []
    for (data, architecture), some in grouped(runs, "data", "architecture"):
        both = dict(grouped(some, "variant"))
        cells = [
            spread([run["accuracy"] for run in both[(variant,)]])
            if (variant,) in both
            else ""
            for variant in ("naive", "class-based")
        ]
        count = min(len(both.get((v,), ())) for v in ("naive", "class-based"))
        rows.append([data, architecture, *cells, str(count)])
    one = runs[0]
    return table(["images", "network", "naive, %", "class-based, %", "seeds"], rows) + (
        f"\n\n{one['n_images']} training and {one['n_held_out']} held-out images, drawn"
        " again for each seed; means and standard deviations. The softmax is trained "
        "by five epochs of Adam with a rate of at most 0.003. " + source("naive")
    )


def amplified() -> str:
    """Return what early stopping gains if components are amplified."""
    runs = runs_of("amplified")
    rows = [
        [
            f"{data}, {n_train}",
            f"{which} {n}" if which != "none" else which,
            *(
                spread([run[key] for run in some], 1)
                for key in ("best", "gain_5000", "gain_equal", "gain_infinite")
            ),
            f"{mean(run['loss_left_after_5000'] for run in some):.0e}",
        ]
        for (data, n_train, which, n), some in grouped(
            runs, "data", "n_train", "amplified", "n_amplified"
        )
    ]
    return table(
        [
            "training images",
            "amplified components",
            "best test accuracy, %",
            "gain at 5,000 steps",
            "at equal convergence",
            "at the optimum",
            "loss left after 5,000 steps",
        ],
        rows,
    ) + (
        "\n\nGain of early stopping in points of test accuracy: the best accuracy up "
        "to a step, minus that at this step. Equal convergence: the training loss "
        "above its minimum is 1e-4 of that at the start, which is also the unit of "
        "the last column. Ten linear networks for each of several draws of the data; "
        f"means and standard deviations. {seeds(runs)} MNIST, cats and "
        "dogs (CIFAR-10) have half their size. " + source("amplified")
    )


def first_weights() -> str:
    """Return loss and accuracy with the initial weights of Def. 3 and Glorot's."""
    runs = runs_of("first_weights")
    shown = [1, 2, 3, 4, 5, 6]
    rows = []
    for (scheme, rate), some in grouped(runs, "scheme", "rate"):
        name = {"pc-bias": "Def. 3", "glorot": "Glorot"}[scheme]
        for key, digits in (("loss", 3), ("train", 1), ("test", 1)):
            rows.append(
                [f"{name}, {rate} rate", f"{key}{' accuracy, %' * (key != 'loss')}"]
                + [spread([run[key][at] for run in some], digits) for at in shown]
            )
    one = runs[0]
    return table(
        ["initial weights", "after steps", *(f"{one['steps'][at]}" for at in shown)],
        rows,
    ) + (
        "\n\nLinear networks with one hidden layer of 1024 neurons on cats and dogs of "
        f"CIFAR-10 of half their size, {one['n_train']} training and {one['n_test']} "
        "other images. The loss is relative to that of output 0. Means and standard "
        f"deviations of {len({run['seed'] for run in runs})} networks. "
        + source("first_weights")
    )


def frequency() -> str:
    """Return the correlations of critical frequency."""
    runs = runs_of("frequency")
    rows = [
        [
            *(rule, score),
            spread([run["groups"] for run in some]),
            f"{min(min(run['sizes']) for run in some)} to "
            f"{max(max(run['sizes']) for run in some)}",
            spread([run["examples"] for run in some]),
        ]
        for (rule, score), some in grouped(runs, "rule", "score")
    ]
    return table(
        [
            "class",
            "score",
            "r over means of groups",
            "examples in a group",
            "r over examples",
        ],
        rows,
    ) + (
        f"\n\n{runs[0]['n_points']} points; one group for each critical frequency. "
        f"Three ReLU networks of two layers. {seeds(runs)} Means and standard "
        "deviations. " + source("frequency")
    )


def deep_linear() -> str:
    """Return numbers of the theory of deep linear networks."""
    runs, rows = runs_of("deep_linear"), []
    for (c,), some in grouped([run for run in runs if "c" in run], "c"):
        worst = max(abs(run["steps"] / run["predicted"] - 1) for run in some)
        rows.append([f"learning time, c = {float(c):g}", f"within {worst:.1%}"])
    for run in runs:
        if "largest_difference" in run:
            error = f"within {run['largest_difference']:.0e}"
            rows.append([f"mode strengths, {run['depth']} layers of weights", error])
        if "gain" in run:
            text = f"{run['fixed_point']:.4f}, in networks {run['in_networks']:.4f}"
            rows.append([f"fixed point of the variance, gain {run['gain']:g}", text])
    isometry = [run for run in runs if "input_variance" in run]
    for (variance,), some in grouped(isometry, "input_variance"):
        shares = [100 * run["above"] for run in some]
        text = f"{within(shares, 0)} % above 0.1"
        rows.append([f"singular values, input variance {float(variance):g}", text])
    return table(["quantity", "theory and simulation"], rows) + (
        "\n\nLearning time: eqs. 43 and 44 and counted steps of one mode, at depths of "
        "2 to 100, with a learning rate of 1 / c of the optimal one. Mode strengths: "
        "eqs. 12 and 15 and the integrated weights of a network. Fixed point: eq. 49 "
        "for tanh, and 50 layers of 500 neurons. Singular values: the Jacobian of 100 "
        "layers of 300 neurons with orthogonal weights, tanh and a gain of 1, for "
        "several seeds. " + source("deep_linear")
    )


def _prefixed(render: Callable[[], str]) -> Callable[[], str]:
    """Return a table under the name that its comment on the page has."""

    def rendered() -> str:
        return render()

    rendered.__name__ = f"verdict_{render.__name__}"
    rendered.__doc__ = render.__doc__
    return rendered


TABLES = tuple(
    _prefixed(render)
    for render in (
        *(fluctuations, layers, second_layers, naive),
        *(deep_linear, amplified, first_weights, frequency),
    )
)
