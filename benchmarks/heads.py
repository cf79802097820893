"""Accuracy of a softmax and of least squares on the same features of few images.

    python benchmarks/heads.py --data DIR [--sizes 500 2500] [--draws 1] [--only MNIST]
        [--heads both]

Results of other sizes, data and heads are kept.

The features are those of `recommended_dmn` (for CIFAR-10 with horizontal-flip
averaging), fitted to a random draw of the training images. There are two heads, each
with two ways to choose its strength of regularization. That of SoftmaxClassifier is the
default of `recommended_dmn`, that of IncrementalRidgeClassifier is chosen by the
classifier itself from its sums; "validated" means that it is chosen on a fifth of the
draw. "both" is the mean of the probabilities of the first two. Draws of fewer than 100
images have as many of each class. All heads are fitted to
all images of the draw, and scored on training images that are in no draw.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.ensemble import VotingClassifier
from sklearn.metrics import log_loss

import machine
from scoring import best_C, softmax, spread
from skdmn import IncrementalRidgeClassifier, recommended_dmn
from skdmn.datasets import load_cifar10, load_mnist

SIZES, N_HELD_OUT = (20, 50, 100, 500, 1_000, 2_500), 2_000
FEW = 100
C_GRID = (0.001, 0.003, 0.01, 0.03)
ALPHA_GRID = (300.0, 1_000.0, 3_000.0, 10_000.0)
LOAD = {"CIFAR-10": load_cifar10, "MNIST": load_mnist}
HEADS = ("softmax", "ridge", "softmax, validated", "ridge, validated", "both")


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


def drawn(y: np.ndarray, rest: np.ndarray, size: int, draw: int) -> np.ndarray:
    """Return the indices of some images; of all classes alike if there are few."""
    rng = np.random.default_rng(draw)
    if size >= FEW:
        return rng.choice(rest, size, replace=False)
    of_class = [rest[y[rest] == label] for label in np.unique(y)]
    each = [rng.choice(all_, size // len(of_class), replace=False) for all_ in of_class]
    return rng.permutation(np.concatenate(each))


def outcomes(
    train: tuple[np.ndarray, np.ndarray],
    others: tuple[np.ndarray, np.ndarray],
    default_C: float,
    names: Sequence[str],
) -> dict[str, dict[str, float]]:
    """Return accuracy in percent, cross-entropy and C or penalty of each head."""
    make = {
        "softmax": lambda: softmax(default_C),
        "ridge": IncrementalRidgeClassifier,
        "softmax, validated": lambda: softmax(best_C(*train, C_GRID)),
        "ridge, validated": lambda: IncrementalRidgeClassifier(choose_alpha(*train)),
        "both": lambda: VotingClassifier(
            [("softmax", softmax(default_C)), ("ridge", IncrementalRidgeClassifier())],
            voting="soft",
        ),
    }
    found = {}
    for name in names:
        head = make[name]().fit(*train)
        probabilities = head.predict_proba(others[0])
        found[name] = {
            "accuracy": 100 * head.score(*others),
            "cross_entropy": log_loss(others[1], probabilities, labels=head.classes_),
        }
        if name != "both":
            chosen = head.C if "softmax" in name else head.alpha_
            found[name]["chosen"] = float(chosen)
    return found


def main() -> None:
    parser = machine.parser(__doc__.splitlines()[0], "heads.json")
    parser.add_argument("--only", nargs="*", choices=LOAD, default=list(LOAD))
    parser.add_argument("--sizes", nargs="*", type=int, default=SIZES)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--heads", nargs="*", choices=HEADS, default=list(HEADS))
    options = parser.parse_args()
    rows = machine.kept(options.json).get("rows", [])
    for data in options.only:
        X, y = LOAD[data](data_home=options.data)
        order = np.random.default_rng(0).permutation(len(X))
        held_out, rest = order[:N_HELD_OUT], order[N_HELD_OUT:]
        for size in options.sizes:
            draws = []
            for draw in range(options.draws):
                some = drawn(y, rest, size, draw)
                dmn = recommended_dmn(X.shape[1:], mirrored=data == "CIFAR-10")
                layers = dmn[:-1].fit(X[some], y[some])
                train, others = (
                    (layers.transform(X[part]).reshape(len(part), -1), y[part])
                    for part in (some, held_out)
                )
                draws.append(outcomes(train, others, dmn[-1].C, options.heads))
                print(data, size, draw, draws[-1], flush=True)
            heads = {
                name: {
                    **spread([draw[name]["accuracy"] for draw in draws]),
                    "cross_entropies": [draw[name]["cross_entropy"] for draw in draws],
                    "chosen": [
                        draw[name]["chosen"] for draw in draws if "chosen" in draw[name]
                    ],
                }
                for name in options.heads
            }
            row = {"data": data, "n_training": size, "heads": {}}
            for one in rows:
                if (one["data"], one["n_training"]) == (data, size):
                    row = one
            rows = [one for one in rows if one is not row] + [row]
            row["heads"] |= heads
            rows.sort(
                key=lambda one: (list(LOAD).index(one["data"]), one["n_training"])
            )
            machine.write(options.json, {"n_held_out": N_HELD_OUT, "rows": rows})


if __name__ == "__main__":
    main()
