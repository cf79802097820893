"""Table II of the hierarchical-covariance paper: a computed layer below a dense one.

    python benchmarks/hierarchical.py --data DIR

The data are 9,000 training images of MNIST, as in the paper. The layers of the table
are below a hidden layer of 128 units and a softmax, which are trained by Adam in torch
with the best learning rate for each row (see `hybrids`). As in the paper, one density
matrix is computed for all classes; the last row has one for each class. The paper does
not mention pooling: here there is none after the computed layer, and one after the two
convolutions. The accuracy is measured on the test images of MNIST, on which nothing was
chosen. Each seed draws other training images.
"""

import argparse
from collections.abc import Callable
from statistics import mean

import numpy as np
import torch
from torch import nn

import machine
from hybrids import best_rate, train
from scoring import spread
from skdmn import ClassPCAPatchTransformer
from skdmn.datasets import load_mnist
from skdmn.export import to_torch

N_TRAINING, N_FILTERS, PERCEPTRONS = 9_000, 9, 128

Data = tuple[torch.Tensor, torch.Tensor]


def lenet(images: torch.Tensor, labels: torch.Tensor) -> list[nn.Module]:
    convolutions = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU()]
    return [*convolutions, nn.MaxPool2d(2)]


def dmn(kernel: int, class_based: bool = False) -> Callable[..., list[nn.Module]]:
    def computed(images: torch.Tensor, labels: torch.Tensor) -> list[nn.Module]:
        layer = ClassPCAPatchTransformer(
            kernel, n_filters=N_FILTERS, variance_cutoff=1.0, class_based=class_based
        )
        return [*to_torch(layer.fit(images[:, 0].numpy(), labels.numpy()))]

    return computed


# layers below the hidden layer, and the accuracy in the paper
ROWS: dict[str, tuple[Callable[..., list[nn.Module]], float | None]] = {
    "base": (lambda *_: [], 91.9),
    "base + 2 CNN, 3 x 3, 32 filters each": (lenet, 97.6),
    "base + 1 DMN, 5 x 5, 9 filters": (dmn(5), 98.7),
    "base + 1 DMN, 3 x 3, 9 filters": (dmn(3), 94.9),
    "base + 1 DMN, 5 x 5, 9 filters, class-based": (dmn(5, class_based=True), None),
}


def network(below: list[nn.Module]) -> nn.Sequential:
    """Return the layers with the hidden layer and the softmax on top."""
    with torch.inference_mode():
        shown = nn.Sequential(*below)(torch.zeros(1, 1, 28, 28))
    dense = nn.Linear(shown.numel(), PERCEPTRONS)
    top = [nn.Flatten(), dense, nn.ReLU(), nn.Linear(PERCEPTRONS, 10)]
    return nn.Sequential(*below, *top).train()


def as_tensors(X: np.ndarray, y: np.ndarray) -> Data:
    return torch.from_numpy(X)[:, None].float() / 255, torch.from_numpy(y)


def run(
    name: str,
    X: np.ndarray,
    y: np.ndarray,
    test: Data,
    options: argparse.Namespace,
) -> dict:
    """Train one row with several seeds."""
    build, paper = ROWS[name]
    runs, rate = [], 0.0

    def whole(images: torch.Tensor, labels: torch.Tensor) -> nn.Sequential:
        return network(build(images, labels))

    for seed in range(options.seeds):
        n = 500 if options.quick else N_TRAINING
        some = np.random.default_rng(seed).permutation(len(X))[:n]
        data = as_tensors(X[some], y[some])
        rate = rate or best_rate(whole, data)
        runs.append(
            train(whole, data, test, rate=rate, epochs=options.epochs, seed=seed)
        )
    found = {
        "row": name,
        "paper": paper,
        "rate": rate,
        "seconds": mean(found["seconds"] for found in runs),
        **spread([found["validation"] for found in runs]),
    }
    print(found, flush=True)
    return found


def main() -> None:
    parser = machine.timing_parser(__doc__.splitlines()[0], "hierarchical.json")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    machine.limit(options.threads)
    results = {"epochs": options.epochs, "seeds": options.seeds, "n": N_TRAINING}
    X, y = load_mnist("train", data_home=options.data)
    test = as_tensors(*load_mnist("test", data_home=options.data))
    rows = [run(name, X, y, test, options) for name in ROWS]
    machine.write(options.json, {**results, "rows": rows})


if __name__ == "__main__":
    main()
