"""Tables 3 to 5 of the class-PCA paper: networks with computed and trained layers.

    python benchmarks/hybrids.py --data DIR [--only MNIST] [--naive]

Every architecture of the tables is built by `skdmn.export.make_hybrid`. Its trained
layers are trained by Adam in torch, with several seeds and a learning rate that first
increases and then decreases. The maximum rate is the best of `RATES` in short runs on a
part of the training images. The accuracy is measured on 10,000 held-out training
images, which correspond to the "validation" images of the paper; the test images are
not used. Data sets without files (usually CIFAR-100) are left out.

The best hybrid of each table is compared with a ConvNet of the same shape, which starts
from the default initialization of torch, or from class density matrices (`init_conv_`).
The comparison shows accuracy against epochs and seconds. The seconds include
computation and training, but not the evaluation of the accuracy.

The computed layers are those of the class-based DMN. ``--naive`` repeats the rows with
computed layers with one density matrix for all classes, as in the paper, and keeps all
other results.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import mean

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn import functional

import machine
from scoring import spread
from skdmn.datasets import load_cifar10, load_cifar100, load_mnist
from skdmn.export import init_conv_, make_hybrid

HELD_OUT = 10_000
BATCH = 128
RATES = (1e-3, 3e-3, 1e-2)
TUNED_ON, TUNING_EPOCHS = 10_000, 2
# architecture, and accuracies in the paper on training and validation images
TABLES = {
    "MNIST": [
        ("de10", 93.51, 92.90),
        ("d6, m, de10", 99.29, 97.53),
        ("c9, m, de10", 99.35, 98.27),
        ("d9, m, d40, m, de10", 98.78, 98.10),
        ("d6, m, d54, m, BN, de10", 99.90, 98.39),
        ("d9, m, BN, c81, m, de10", 99.98, 99.07),
        ("c6, m, c40, m, de10", 99.64, 99.06),
    ],
    "CIFAR-10": [
        ("de10", 43.11, 40.06),
        ("d10, m, de10", 73.21, 60.41),
        ("c27, m, de10", 62.69, 51.94),
        ("d15, m, d108, m, de10", 66.11, 55.36),
        ("d20, m, d180, m, BN, de10", 66.02, 63.66),
        ("d15, m, c80, m, de10", 79.21, 68.03),
        ("d27, m, c108, m, BN, de10", 81.18, 71.19),
        ("c10, m, c80, m, de10", 58.48, 50.10),
        ("c32, m, c32, m, de10", 58.64, 51.84),
    ],
    "CIFAR-100": [
        ("de100", 23.68, 15.96),
        ("d15, m, de100", 37.48, 22.93),
        ("d18, m, BN, de100", 51.07, 30.30),
        ("c27, m, de100", 41.31, 25.23),
        ("d15, m, d50, m, de100", 51.57, 25.93),
        ("d18, m, d108, m, BN, de100", 53.58, 34.76),
        ("d15, m, c108, m, de100", 65.06, 36.56),
        ("d27, m, BN, c108, m, de100", 63.57, 41.03),
        ("c32, m, c32, m, de100", 33.03, 23.07),
        ("c27, m, c108, m, de100", 36.95, 23.97),
    ],
}
BEST = {
    "MNIST": "d9, m, BN, c81, m, de10",
    "CIFAR-10": "d27, m, c108, m, BN, de10",
    "CIFAR-100": "d27, m, BN, c108, m, de100",
}
LOAD = {"MNIST": load_mnist, "CIFAR-10": load_cifar10, "CIFAR-100": load_cifar100}

Data = tuple[torch.Tensor, torch.Tensor]
Build = Callable[..., torch.nn.Sequential]  # from images and labels


def split(name: str, data: str | None, share: float) -> tuple[Data, Data]:
    """Return training and held-out images, scaled to [0, 1], channels-first."""
    X, y = LOAD[name]("train", data_home=data)
    order = np.random.default_rng(0).permutation(len(X))
    X = X[order].reshape(len(X), *X.shape[1:3], -1)
    images = torch.from_numpy(X).permute(0, 3, 1, 2).float() / 255  # channels last
    labels = torch.from_numpy(y[order].astype(np.int64))
    n, held_out = int(share * (len(X) - HELD_OUT)), int(share * HELD_OUT)
    return (images[:n], labels[:n]), (images[-held_out:], labels[-held_out:])


def frozen_part(network: torch.nn.Sequential) -> int:
    """Return the number of modules before the first one with trained parameters."""
    for number, module in enumerate(network):
        if any(parameter.requires_grad for parameter in module.parameters()):
            return number
    return len(network)


def outputs(modules: torch.nn.Sequential, images: torch.Tensor) -> torch.Tensor:
    """Run images through modules in evaluation mode."""
    modules.eval()
    with torch.inference_mode():
        found = torch.cat([modules(part) for part in images.split(500)])
    modules.train()
    return found.clone()  # inference tensors cannot be trained on


def accuracy(modules: torch.nn.Sequential, data: Data) -> float:
    scores = outputs(modules, data[0])
    return 100 * float((scores.argmax(1) == data[1]).float().mean())


def best_rate(build: Build, data: Data) -> float:
    """Return the best of `RATES` on a fifth of a part of the training images."""
    n = min(len(data[0]), TUNED_ON)
    learned, others = (
        (data[0][some], data[1][some])
        for some in (slice(4 * n // 5), slice(4 * n // 5, n))
    )
    found = {
        rate: train(build, learned, others, rate=rate, epochs=TUNING_EPOCHS, seed=0)
        for rate in RATES
    }
    return max(RATES, key=lambda rate: found[rate]["validation"])


def train(
    build: Build,
    data: Data,
    held_out: Data,
    *,
    rate: float,
    epochs: int,
    seed: int,
    looks: int = 1,
) -> dict:
    """Train the network; evaluate the accuracy several times per epoch."""
    torch.manual_seed(seed)
    started = time.perf_counter()
    network = build(*data).to(memory_format=torch.channels_last)
    n_frozen = frozen_part(network)
    frozen, rest = network[:n_frozen], network[n_frozen:]
    X = outputs(frozen, data[0]) if n_frozen else data[0]
    adam = torch.optim.Adam(rest.parameters(), rate)
    parts = torch.arange(len(X)).tensor_split(looks)
    n_steps = epochs * sum(len(part.split(BATCH)) for part in parts)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, rate, n_steps)
    passed = time.perf_counter() - started
    test = outputs(frozen, held_out[0]) if n_frozen else held_out[0]
    curve = []
    for epoch in range(epochs):
        parts = torch.randperm(len(X)).tensor_split(looks)
        for look, part in enumerate(parts, 1):
            started = time.perf_counter()
            for batch in part.split(BATCH):
                adam.zero_grad()
                functional.cross_entropy(rest(X[batch]), data[1][batch]).backward()
                adam.step()
                schedule.step()
            passed += time.perf_counter() - started
            found = accuracy(rest, (test, held_out[1]))
            curve.append((epoch + look / looks, passed, found))
    return {
        "curve": curve,
        "training": accuracy(rest, (X, data[1])),
        "validation": curve[-1][2],
        "seconds": passed,
    }


def initialized(
    architecture: str, images: torch.Tensor, labels: torch.Tensor
) -> torch.nn.Sequential:
    """Return the ConvNet of an architecture, initialized from density matrices."""
    convnet = architecture.replace("d", "c").replace("ce", "de")
    network = make_hybrid(convnet, images, labels)
    gain = torch.nn.init.calculate_gain("relu")
    for number, module in enumerate(network):
        if isinstance(module, torch.nn.Conv2d):
            given = outputs(network[:number], images) if number else images
            init_conv_(module, given, labels, gain=gain)
    return network


def starts(architecture: str) -> dict[str, Build]:
    convnet = architecture.replace("d", "c").replace("ce", "de")
    return {
        f"computed and frozen: {architecture}": partial(make_hybrid, architecture),
        f"trained: {convnet}": partial(make_hybrid, convnet),
        "trained from init_conv_": partial(initialized, architecture),
    }


def draw(results: dict[str, dict[str, dict]], path: Path) -> None:
    """Plot the median accuracy over seeds against epochs and against seconds."""
    figure, axes = plt.subplots(
        len(results), 2, figsize=(9, 3.2 * len(results)), sharey="row", squeeze=False
    )
    for row, (name, ways) in zip(axes, results.items(), strict=True):
        curves = {way: np.array(of["curves"]) for way, of in ways.items()}
        for (way, runs), dash in zip(curves.items(), ("-", "--", ":"), strict=True):
            looked, found = np.median(runs, axis=0), runs[:, :, 2]
            for axis, x in zip(row, looked.T[:2], strict=True):
                axis.plot(x, looked[:, 2], dash, label=way)
                axis.fill_between(x, found.min(0), found.max(0), alpha=0.2)
        first = np.median([runs[:, 0, 2] for runs in curves.values()])
        row[0].set(
            ylabel=f"{name}, held out, %", xlabel="epochs", ylim=(first - 2, None)
        )
        row[1].set(xlabel="seconds")
        row[1].legend(fontsize=7, loc="lower right")
        for axis in row:
            axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def several(
    build: Build,
    data: Data,
    held_out: Data,
    options: argparse.Namespace,
    looks: int = 1,
) -> dict:
    """Train a network with several seeds at its best rate."""
    rate = best_rate(build, data)
    runs = [
        train(
            build,
            data,
            held_out,
            rate=rate,
            epochs=options.epochs,
            seed=seed,
            looks=looks,
        )
        for seed in range(options.seeds)
    ]
    return {
        "rate": rate,
        **spread([run["validation"] for run in runs]),
        "training": mean(run["training"] for run in runs),
        "seconds": mean(run["seconds"] for run in runs),
        "curves": [run["curve"] for run in runs],
    }


def compare(name: str, data: Data, held_out: Data, options: argparse.Namespace) -> dict:
    """Train all rows of the table of one data set."""
    best = {}
    for way, build in starts(BEST[name]).items():
        best[way] = several(build, data, held_out, options, looks=2)
        print(name, way, best[way], flush=True)
    rows = []
    for architecture, *paper in TABLES[name]:
        if architecture == BEST[name]:
            found = next(iter(best.values()))
        else:
            build = partial(make_hybrid, architecture)
            found = several(build, data, held_out, options)
        rows.append({"architecture": architecture, "paper": paper})
        rows[-1] |= {k: v for k, v in found.items() if k != "curves"}
        print(rows[-1], flush=True)
    settings = {"epochs": options.epochs, "seeds": options.seeds}
    return {**settings, "machine": machine.facts(), "rows": rows, "best": best}


def add_naive(
    rows: list[dict], data: Data, held_out: Data, options: argparse.Namespace
) -> Iterator[None]:
    """Add the accuracies of naive networks to the rows; yield after each row."""
    for row in rows:
        if not row["architecture"].startswith("d") or row["architecture"][1] == "e":
            continue
        build = partial(make_hybrid, row["architecture"], class_based=False)
        found = several(build, data, held_out, options)
        kept = ("rate", "accuracy", "std", "accuracies", "training")
        row["naive"] = {name: found[name] for name in kept}
        print(row["architecture"], row["naive"], flush=True)
        yield


def main() -> None:
    parser = machine.timing_parser(__doc__.splitlines()[0], "hybrids.json")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=TABLES, help="keep the results of the others")
    parser.add_argument(
        "--naive", action="store_true", help="add the naive networks to the results"
    )
    options = parser.parse_args()
    machine.limit(options.threads)
    results = machine.kept(options.json).get("data", {})
    for name, (data, held_out) in machine.found(
        [options.only] if options.only else TABLES,
        lambda name: split(name, options.data, 0.02 if options.quick else 1.0),
    ):
        if options.naive:
            if name not in results:
                parser.error(f"{name} has no results yet; run without --naive first")
            for _ in add_naive(results[name]["rows"], data, held_out, options):
                machine.write(options.json, {"data": results})
            continue
        results[name] = compare(name, data, held_out, options)
        results = {n: results[n] for n in TABLES if n in results}
        machine.write(options.json, {"data": results})
    if options.naive:
        return
    draw({n: of["best"] for n, of in results.items()}, options.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
