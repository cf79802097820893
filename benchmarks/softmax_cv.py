"""Time to choose C by cross-validation, compared with scikit-learn.

    python benchmarks/softmax_cv.py --data DIR

The problems are those of ``softmax.py``: features of two computed layers of MNIST (825
columns) and CIFAR-10 (5,400 columns). SoftmaxClassifierCV chooses its grid of ten
values. LogisticRegressionCV gets the same values and folds, and features that
StandardScaler has standardized; it has its default tolerance and at most 1000
iterations. It is timed on one of the five folds, and five times that time is reported,
which leaves out its final fit. The scores of that fold are compared. SoftmaxClassifier
is fitted with the best C.
"""

import time
import warnings
from collections.abc import Iterator

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

import machine
from skdmn import SoftmaxClassifier, SoftmaxClassifierCV
from skdmn.datasets import load_cifar10, load_mnist
from softmax import features

FOLDS = 5


def problems(data: str | None, quick: bool, rows: int) -> Iterator[tuple]:
    """Yield names, rows and labels."""
    rows = 1000 if quick else rows
    X, y = load_mnist("train", data_home=data)
    yield "MNIST", features(X[:rows], y[:rows], (6, 33), "one"), y[:rows]
    if not quick:
        X, y = load_cifar10("train", data_home=data)
        yield "CIFAR-10", features(X[:rows], y[:rows], (22, 75), "both"), y[:rows]


def one_fold(X: np.ndarray, y: np.ndarray, Cs: np.ndarray) -> tuple[float, list]:
    """Return the seconds of LogisticRegressionCV on one fold, and its scores."""
    train, test = next(StratifiedKFold(FOLDS).split(X, y))
    scaled = StandardScaler().fit(X[train]).transform(X)
    search = LogisticRegressionCV(
        Cs=Cs,
        cv=[(train, test)],
        l1_ratios=(0,),
        scoring="accuracy",
        max_iter=1000,
        refit=False,
        use_legacy_attributes=False,
    )
    started = time.perf_counter()
    search.fit(scaled, y)
    return time.perf_counter() - started, search.scores_.ravel().tolist()


def compare(name: str, X: np.ndarray, y: np.ndarray, options) -> dict:
    """Time all on one problem."""
    search = SoftmaxClassifierCV(cv=FOLDS).fit(X, y)
    fit = SoftmaxClassifier(search.C_).fit(X, y)
    contestants = {
        "SoftmaxClassifierCV": lambda: search.fit(X, y),
        "SoftmaxClassifier": lambda: fit.fit(X, y),
    }
    seconds = machine.in_turn(contestants, options.repeats)
    result = {
        "problem": name,
        "n_samples": len(X),
        "n_features": X.shape[1],
        "Cs": search.Cs_.tolist(),
        "C": search.C_,
        "scores": search.scores_.mean(axis=0).tolist(),
        "passes": {"search": search.n_passes_, "fit": fit.n_passes_},
        "seconds": seconds,
        "repeats": options.repeats,
        "times_a_fit": seconds["SoftmaxClassifierCV"] / seconds["SoftmaxClassifier"],
    }
    if name not in options.alone:
        one, scores = one_fold(X, y, search.Cs_)
        difference = np.abs(np.array(scores) - search.scores_[0]).max()
        seconds["LogisticRegressionCV"] = FOLDS * one
        result |= {
            "largest_difference_of_scores": float(difference),
            "times_faster": FOLDS * one / seconds["SoftmaxClassifierCV"],
        }
    print(result, flush=True)
    return result


def main() -> None:
    parser = machine.timing_parser(__doc__.splitlines()[0], "softmax_cv.json")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=10_000, help="rows of each problem")
    parser.add_argument(
        "--alone", nargs="*", default=[], help="problems without LogisticRegressionCV"
    )
    options = parser.parse_args()
    machine.limit(options.threads)
    warnings.simplefilter("ignore", ConvergenceWarning)
    rows = [
        compare(*problem, options)
        for problem in problems(options.data, options.quick, options.rows)
    ]
    machine.write(options.json, {"rows": rows})


if __name__ == "__main__":
    main()
