"""Accuracy of a softmax and of least squares on the same features of few images.

    python benchmarks/heads.py --data DIR [--sizes 500 2500] [--draws 1] [--only MNIST]

The features are those of `recommended_dmn` (for CIFAR-10 with horizontal-flip
averaging), fitted to a random draw of the training images. C of SoftmaxClassifier is
chosen on a fifth of the draw. The penalty of IncrementalRidgeClassifier is chosen in
two ways: in the same way, and by the classifier itself from its sums. Both are then
fitted to all images of the draw, and scored on training images that are in no draw.
"""

import numpy as np

import machine
from scoring import best_C, softmax, spread
from skdmn import IncrementalRidgeClassifier, recommended_dmn
from skdmn.datasets import load_cifar10, load_mnist

SIZES, N_HELD_OUT = (100, 500, 1_000, 2_500), 2_000
C_GRID = (0.001, 0.003, 0.01, 0.03)
ALPHA_GRID = (300.0, 1_000.0, 3_000.0, 10_000.0)
LOAD = {"CIFAR-10": load_cifar10, "MNIST": load_mnist}
HEADS = ("softmax", "ridge, validated", "ridge")


def choose_alpha(features: np.ndarray, y: np.ndarray) -> float:
    """Return the best penalty on the last fifth of the images."""
    n = len(y) * 4 // 5
    found = {
        alpha: IncrementalRidgeClassifier(alpha)
        .fit(features[:n], y[:n])
        .score(features[n:], y[n:])
        for alpha in ALPHA_GRID
    }
    return max(found, key=found.__getitem__)


def accuracies(
    train: tuple[np.ndarray, np.ndarray], others: tuple[np.ndarray, np.ndarray]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return accuracy in percent, and C or penalty, of each head."""
    C, alpha = best_C(*train, C_GRID), choose_alpha(*train)
    heads = (
        softmax(C),
        IncrementalRidgeClassifier(alpha),
        IncrementalRidgeClassifier(),
    )
    fitted = [head.fit(*train) for head in heads]
    found = {
        name: 100 * head.score(*others)
        for name, head in zip(HEADS, fitted, strict=True)
    }
    return found, dict(zip(HEADS, (C, alpha, fitted[-1].alpha_), strict=True))


def main() -> None:
    parser = machine.parser(__doc__.splitlines()[0], "heads.json")
    parser.add_argument("--only", nargs="*", default=["CIFAR-10"])
    parser.add_argument("--sizes", nargs="*", type=int, default=SIZES)
    parser.add_argument("--draws", type=int, default=5)
    options = parser.parse_args()
    rows = []
    for data in options.only:
        X, y = LOAD[data](data_home=options.data)
        order = np.random.default_rng(0).permutation(len(X))
        held_out, rest = order[:N_HELD_OUT], order[N_HELD_OUT:]
        for size in options.sizes:
            of_head: dict[str, list[float]] = {name: [] for name in HEADS}
            chosen: dict[str, list[float]] = {name: [] for name in HEADS}
            for draw in range(options.draws):
                some = np.random.default_rng(draw).choice(rest, size, replace=False)
                is_cifar = data == "CIFAR-10"
                layers = recommended_dmn(X.shape[1:], mirrored=is_cifar)[:-1]
                layers.fit(X[some], y[some])
                train, others = (
                    (layers.transform(X[part]).reshape(len(part), -1), y[part])
                    for part in (some, held_out)
                )
                found, values = accuracies(train, others)
                for name in HEADS:
                    of_head[name].append(found[name])
                    chosen[name].append(values[name])
                print(data, size, draw, found, values, flush=True)
            heads = {
                name: {**spread(of_head[name]), "chosen": chosen[name]}
                for name in HEADS
            }
            rows.append({"data": data, "n_training": size, "heads": heads})
            facts = {"machine": machine.facts(), "n_held_out": N_HELD_OUT}
            machine.write(options.json, {**facts, "draws": options.draws, "rows": rows})


if __name__ == "__main__":
    main()
