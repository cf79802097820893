"""Accuracy of filters that have seen more images than the classifier.

    python benchmarks/unlabelled.py --data DIR [--draws 1]

A draw of the training images has labels; 5,000 others have none. The layers of
`recommended_dmn` (for CIFAR-10 with horizontal-flip averaging) are fitted in four ways:
to a tenth of the labelled images (the default), to all of them, to all of them without
their labels, or to all labelled and unlabelled images without labels. The softmax has
the default C and takes the labelled images. Accuracy is that on training images that
are in no draw.
"""

import numpy as np

import machine
from scoring import spread
from skdmn import recommended_dmn
from skdmn.datasets import load_cifar10, load_mnist

SIZES, N_UNLABELLED, N_HELD_OUT = (100, 500), 5_000, 1_000
LOAD = {"CIFAR-10": load_cifar10, "MNIST": load_mnist}
WAYS = {  # share, labels, unlabelled images
    "a tenth of the labelled": (0.1, True, False),
    "labelled": (1.0, True, False),
    "labelled, labels ignored": (1.0, False, False),
    "labelled and unlabelled, labels ignored": (1.0, False, True),
}


def main() -> None:
    parser = machine.parser(__doc__.splitlines()[0], "unlabelled.json")
    parser.add_argument("--draws", type=int, default=5)
    options = parser.parse_args()
    rows = []
    for data, load in LOAD.items():
        X, y = load(data_home=options.data)
        order = np.random.default_rng(0).permutation(len(X))
        held_out, rest = order[:N_HELD_OUT], order[N_HELD_OUT:]
        for size in SIZES:
            found: dict[str, list[float]] = {way: [] for way in WAYS}
            for draw in range(options.draws):
                drawn = np.random.default_rng(draw).permutation(rest)
                drawn = drawn[: size + N_UNLABELLED]
                some = drawn[:size]
                for way, (share, with_labels, with_others) in WAYS.items():
                    dmn = recommended_dmn(
                        X.shape[1:], mirrored=data == "CIFAR-10", subsample=share
                    ).set_params(features__conv__class_based=with_labels)
                    seen = drawn if with_others else some
                    layers = dmn[:-1].fit(X[seen], y[seen])
                    head = dmn[-1].fit(layers.transform(X[some]), y[some])
                    score = head.score(layers.transform(X[held_out]), y[held_out])
                    found[way].append(100 * score)
                print(data, size, draw, {w: a[-1] for w, a in found.items()})
            rows.append(
                {
                    "data": data,
                    "n_labelled": size,
                    "filters": {way: spread(found[way]) for way in WAYS},
                }
            )
            facts = {"n_unlabelled": N_UNLABELLED, "n_held_out": N_HELD_OUT}
            machine.write(options.json, {**facts, "draws": options.draws, "rows": rows})


if __name__ == "__main__":
    main()
