"""Time until the softmax is within 1e-4 of its optimum, compared with scikit-learn.

    python benchmarks/softmax.py --data DIR

The problems are the features of two computed layers of MNIST (825 columns) and of
CIFAR-10 (5,400 columns), standardized and with a suitable C, and two small data sets of
scikit-learn. The optimum comes from a long run. We determine once how many iterations
each solver needs until its objective is within 1e-4 of the optimum, from the
coefficients after each iteration. Then fits with this number of iterations are timed
alternately. Both times include the standardization: LogisticRegression gets a copy from
StandardScaler. "newton-cholesky", if feasible, is timed until it stops at tol=1e-4.
Memory is what a fit allocates in addition to X. Fits of CIFAR-10 are timed once, those
of the small data sets more often than those of MNIST.
"""

import tracemalloc
import warnings
from collections.abc import Callable, Iterator

import numpy as np
from scipy.special import logsumexp
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import machine
from skdmn import (
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    MaxPool2DTransformer,
    SoftmaxClassifier,
)
from skdmn.datasets import load_cifar10, load_mnist

NEAR = 1e-4
LONG = 9 * 10**7  # values: LogisticRegression takes minutes and is timed once
SHORT = 10**6  # values: milliseconds, which vary much between runs
Problem = tuple[str, np.ndarray, np.ndarray, list[float]]


def features(
    images: np.ndarray, y: np.ndarray, filters: tuple, signs: str
) -> np.ndarray:
    """Return the features of two computed layers, as rows."""
    steps = []
    for number, n_filters in enumerate(filters, start=1):
        conv = ClassPCAPatchTransformer(
            3, n_filters=n_filters, variance_cutoff=1.0, signs=signs, random_state=0
        )
        steps += [(f"conv{number}", conv), (f"pool{number}", MaxPool2DTransformer(2))]
    maps = DensityMatrixNetwork(steps).fit(images, y).transform(images)
    return maps.reshape(len(maps), -1)


def problems(data: str | None, quick: bool) -> Iterator[Problem]:
    """Yield names, rows, labels and values of C."""
    yield "digits", *load_digits(return_X_y=True), [1.0]
    yield "breast cancer", *load_breast_cancer(return_X_y=True), [1.0]
    if quick:
        return
    X, y = load_mnist("train", data_home=data)
    yield "MNIST", features(X, y, (6, 33), "one"), y, [0.01]
    X, y = load_cifar10("train", data_home=data)
    yield "CIFAR-10", features(X, y, (22, 75), "both"), y, [0.001, 0.0001]


class Recorder:
    """A callback that keeps the coefficients after each iteration."""

    def __init__(self) -> None:
        self.models: list[tuple[np.ndarray, np.ndarray]] = []

    def setup(self, estimator: object, context: object) -> None:
        """Do nothing."""

    teardown = on_fit_task_begin = setup

    def on_fit_task_end(self, estimator, context, *, fitted_estimator) -> None:
        if context.parent is not None and fitted_estimator is not None:
            model = fitted_estimator.coef_, fitted_estimator.intercept_
            self.models.append(model)


def objective(scaled: np.ndarray, y: np.ndarray, C: float, model: tuple) -> float:
    """Return the objective of both, divided by C and the number of rows."""
    coef, intercept = (np.asarray(array, dtype=np.float64) for array in model)
    codes = np.unique(y, return_inverse=True)[1]
    loss = 0.0
    for some in np.array_split(np.arange(len(y)), 1 + scaled.nbytes // 2**26):
        part = slice(some[0], some[-1] + 1)
        scores = scaled[part] @ coef.T.astype(scaled.dtype) + intercept
        if scores.shape[1] == 1:
            scores = np.hstack([np.zeros_like(scores), scores])
        of_label = scores[np.arange(len(some)), codes[part]]
        loss += (logsumexp(scores, axis=1) - of_label).sum()
    return (loss + (coef**2).sum() / (2 * C)) / len(y)


def pipeline(C: float, **params: object) -> Pipeline:
    """Return the Pipeline of StandardScaler and LogisticRegression."""
    regression = LogisticRegression(C=C, **params)
    return Pipeline([("scale", StandardScaler()), ("regression", regression)])


def iterations_of_lbfgs(X: np.ndarray, y: np.ndarray, C: float, near: float) -> int:
    """Return the number of iterations that LogisticRegression needs."""
    scaled = StandardScaler().fit_transform(X)
    recorder = Recorder()
    regression = LogisticRegression(C=C, tol=1e-8, max_iter=200)
    regression.set_callbacks(recorder).fit(scaled, y)
    low, high = 0, len(recorder.models)  # the objective never increases
    while low < high:
        middle = (low + high) // 2
        if objective(scaled, y, C, recorder.models[middle]) <= near:
            high = middle
        else:
            low = middle + 1
    return low + 1


def peak(run: Callable[[], object]) -> int:
    """Return the peak of the allocated bytes of a run."""
    tracemalloc.start()
    run()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def compare(problem: Problem, C: float, repeats: int) -> dict:
    """Time both on one problem."""
    name, X, y, _ = problem
    best = SoftmaxClassifier(C, tol=1e-8, max_iter=300).fit(X, y).loss_curve_[-1]
    near = best * (1 + NEAR)
    default = SoftmaxClassifier(C).fit(X, y)
    ours = int(np.argmax(np.array(default.loss_curve_) <= near))
    theirs = iterations_of_lbfgs(X, y, C, near)
    enough = SoftmaxClassifier(C, max_iter=max(ours, 1))
    contestants = {
        "SoftmaxClassifier": lambda: enough.fit(X, y),
        "SoftmaxClassifier, default tol": lambda: SoftmaxClassifier(C).fit(X, y),
        "LogisticRegression": lambda: pipeline(C, tol=1e-8, max_iter=theirs).fit(X, y),
    }
    is_long = X.size > LONG
    memory = {} if is_long else {name: peak(run) for name, run in contestants.items()}
    if X.shape[1] * len(np.unique(y)) < 1000:
        newton = pipeline(C, solver="newton-cholesky")
        contestants["newton-cholesky"] = lambda: newton.fit(X, y)
    repeats = 1 if is_long else 5 * repeats if X.size < SHORT else repeats
    seconds = machine.in_turn(contestants, repeats)
    result = {
        "problem": name,
        "n_samples": len(X),
        "n_features": X.shape[1],
        "C": C,
        "repeats": repeats,
        "optimum": best,
        "default_gap": default.loss_curve_[-1] / best - 1,
        "iterations": {"SoftmaxClassifier": ours, "LogisticRegression": theirs},
        "passes": enough.n_passes_,
        "seconds": seconds,
        "times_faster": seconds["LogisticRegression"] / seconds["SoftmaxClassifier"],
        "peak_bytes": memory,
        "data_bytes": X.nbytes,
    }
    print(result, flush=True)
    return result


def main() -> None:
    parser = machine.timing_parser(__doc__.splitlines()[0], "softmax.json")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    machine.limit(options.threads)
    warnings.simplefilter("ignore", ConvergenceWarning)
    rows = [
        compare(problem, C, options.repeats)
        for problem in problems(options.data, options.quick)
        for C in problem[3]
    ]
    machine.write(options.json, {"rows": rows})


if __name__ == "__main__":
    main()
