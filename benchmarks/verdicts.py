"""The papers' figures in the papers' own settings, for notebooks/README.md.

    python benchmarks/verdicts.py --data DIR [--only layers]

The notebooks test the papers on the digits of scikit-learn, in less than two minutes
each. The experiments here take longer, or need MNIST and CIFAR-10. Each prints one line
for each run, with its seed, and the summary over seeds that the page quotes. Results
are written after every run. Networks are trained by torch on one thread.
"""

import argparse
import functools
import itertools
from collections.abc import Iterator

import numpy as np
import torch
from scipy.optimize import brentq
from sklearn.neural_network import MLPClassifier
from torch import nn

import machine
from hybrids import train
from skdmn import DensityMatrixNetwork, paper_dmn
from skdmn.analysis.deep_linear.initial_weights import (
    decoupled_weights,
    orthogonal_weights,
)
from skdmn.analysis.deep_linear.isometry import (
    end_to_end_jacobian,
    fixed_point,
    layer_variances,
)
from skdmn.analysis.deep_linear.learning_rates import (
    optimal_learning_rate,
    optimized_learning_time,
)
from skdmn.analysis.deep_linear.linear_network import (
    compact_weights,
    initial_weights,
    train_deep_linear,
)
from skdmn.analysis.deep_linear.modes import learning_time, mode_strength
from skdmn.analysis.deep_linear.simulation import gradient_flow
from skdmn.analysis.density.fluctuations import (
    eigenvalue_fluctuations,
    fluctuation_test,
)
from skdmn.analysis.pc_bias.directions import (
    gradient_scale_matrices,
    principal_coordinates,
)
from skdmn.analysis.pc_bias.frequency_data import (
    amplify_components,
    make_frequency_data,
)
from skdmn.analysis.pc_bias.learning_order import (
    accessibility,
    critical_frequency,
    discriminability,
    group_by_score,
    order_correlation,
)
from skdmn.analysis.sgd.history import torch_history
from skdmn.analysis.sgd.weights import layer_distances
from skdmn.datasets import load_cifar10, load_digits_images, load_mnist
from skdmn.export import make_hybrid

LOAD = {"MNIST": load_mnist, "CIFAR-10": load_cifar10}
STARTS = {
    "Glorot, uniform": nn.init.xavier_uniform_,
    "variance 2 / inputs": nn.init.kaiming_normal_,
}
RATES = {"SGD": 0.1, "Adam": 0.001}
# filters of Table 2 of the class-PCA paper, share of the images, cutoff of the variance
TABLE_2 = {
    "MNIST": [
        ((4,), 0.5, 0.85),
        ((6,), 0.3, 0.95),
        ((16,), 0.3, 0.99),
        ((4, 15), 0.5, 0.85),
        ((6, 93), 0.3, 0.95),
    ],
    "CIFAR-10": [
        ((10,), 0.7, 0.99),
        ((10, 11), 0.7, 0.99),
        ((22,), 0.7, 0.999),
        ((22, 41), 0.2, 0.995),
        ((22, 87), 0.7, 0.997),
        ((22, 305), 0.7, 0.999),
    ],
}
# one layer by its number of filters (Fig. 6), computed rows of Tables 3 and 4
NAIVE = {
    "CIFAR-10": [
        *(f"d{n}, m, de10" for n in (6, 12, 20, 27)),
        "d15, m, d108, m, de10",
        "d20, m, d180, m, BN, de10",
    ],
    "MNIST": [
        *(f"d{n}, m, de10" for n in (4, 6, 9)),
        "d9, m, d40, m, de10",
        "d6, m, d54, m, BN, de10",
    ],
}


@functools.cache
def some(
    name: str, data: str | None, n: int, subset: str = "train", seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return n random images, scaled to [0, 1], and their labels."""
    X, y = LOAD[name](subset, data_home=data)
    order = np.random.default_rng(seed).permutation(len(X))[:n]
    return X[order].astype(np.float32) / 255, y[order].astype(np.int64)


def channels_first(X: np.ndarray) -> torch.Tensor:
    X = X.reshape(*X.shape[:3], -1)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(X, 3, 1)))


def layers(options: argparse.Namespace) -> Iterator[dict]:
    """Do lower layers converge first? Class-PCA paper, Fig. 5 of the supplement.

    The network of the paper: twice 32 filters of 3 x 3, ReLU and 2 x 2 max pooling,
    then a dense layer. The paper writes that the initial weights have a variance of 2 /
    inputs. Its library starts from Glorot's uniform weights by default. Both are tried.
    """
    n, n_epochs = (500, 2) if options.quick else (1_000, 25)
    settings = itertools.product(range(options.seeds), LOAD, STARTS, RATES)
    for seed, name, start, optimizer in settings:
        X, y = some(name, options.data, n)
        images = channels_first(X)
        torch.manual_seed(seed)
        side = ((X.shape[1] - 2) // 2 - 2) // 2
        network = nn.Sequential(
            *(nn.Conv2d(images.shape[1], 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(32 * side**2, 10)),
        )
        for module in network:
            if isinstance(module, nn.Conv2d | nn.Linear):
                STARTS[start](module.weight)
                nn.init.zeros_(module.bias)
        rate = RATES[optimizer]
        history = torch_history(
            network,
            getattr(torch.optim, optimizer)(network.parameters(), rate),
            images,
            y,
            n_epochs=n_epochs,
            random_state=seed,
        )
        distances = layer_distances(history)
        with torch.inference_mode():
            found = network(images).argmax(1).numpy()
        yield {
            "data": name,
            "n_images": n,
            "n_epochs": n_epochs,
            "weights": start,
            "optimizer": optimizer,
            "rate": rate,
            "seed": seed,
            "training_accuracy": float(np.mean(found == y)),
            "half_epochs": half_times(history.epochs, distances),
            "distances": distances[:: max(1, n_epochs // 20)].round(3).tolist(),
        }


def half_times(epochs: np.ndarray, distances: np.ndarray) -> list[float]:
    """Return when each layer is halfway to its final weights for good."""
    times = []
    for column in distances.T:
        last = int(np.flatnonzero(column > 0.5)[-1])
        share = (column[last] - 0.5) / (column[last] - column[last + 1])
        times.append(float(epochs[last] + share * (epochs[last + 1] - epochs[last])))
    return times


def fluctuations(options: argparse.Namespace) -> Iterator[dict]:
    """Class-PCA paper, eq. 18 and Fig. 3: fluctuations of eigenvalues on MNIST.

    The paper has 5 x 5 patches. The digits of scikit-learn are those of notebook 04.
    """
    n = 2_000 if options.quick else 60_000
    cases = [("MNIST", 5), ("MNIST", 3), ("digits", 3)]
    for seed, (name, size) in itertools.product(range(options.seeds), cases):
        if name == "digits":
            X = load_digits_images()[0]
        else:
            X = load_mnist("train", data_home=options.data)[0][:n]
        step = max(1, len(X) // 600)
        steps = eigenvalue_fluctuations(
            X, kernel_size=size, step=step, random_state=seed
        )
        law = fluctuation_test(steps)
        yield {
            "data": name,
            "n_images": len(X),
            "kernel_size": size,
            "step": step,
            "seed": seed,
            "exponent_of_N": law.time_exponent.measured,
            "exponent": law.eigenvalue_exponent.measured,
            "error": law.eigenvalue_exponent.error,
            "p_value": law.eigenvalue_exponent.p_value,
            "constants": law.constants.tolist(),
            "collapse_p_value": law.collapse_p_value,
        }


def second_layers(options: argparse.Namespace) -> Iterator[dict]:
    """Class-PCA paper, Table 2: counts of filters by the cutoffs that it prints.

    The first layer has the number of filters of the paper, the last one the filters
    that the printed cutoff of the variance leaves, with a correlation cutoff of 0.9.
    """
    for name, rows in TABLE_2.items():
        X, y = LOAD[name]("train", data_home=options.data)
        X, y = (X[:2_000], y[:2_000]) if options.quick else (X, y)
        for seed, (filters, share, cutoff) in itertools.product(
            range(options.seeds), rows
        ):
            names = ", m, ".join([f"d{n}" for n in filters[:-1]] + ["d"])
            cutoffs = [1.0] * (len(filters) - 1) + [cutoff]
            dmn = paper_dmn(
                names, variance_cutoff=cutoffs, subsample=share, random_state=seed
            )
            network = DensityMatrixNetwork(dmn.steps[:-2]).fit(X, y)
            yield {
                "data": name,
                "paper": filters,
                "share": share,
                "cutoff": cutoff,
                "seed": seed,
                "found": len(network.layers_[-1][1].filters_),
            }


def amplified(options: argparse.Namespace) -> Iterator[dict]:
    """PC-bias paper, Fig. 9: early stopping with amplified components.

    Ten linear networks are trained by gradient descent with half of the best rate for
    the first direction. In one layer, a step multiplies the distance from the optimum
    along each direction by a constant (eq. 10), so the weights are known after any
    number of steps. The gain is the best accuracy up to a step minus that at the step.
    Steps are 5,000; those that leave a share of 1e-4 of the reducible training loss;
    and infinitely many. A fraction of 1.5 % of the components is amplified tenfold.
    """
    for seed, name in itertools.product(range(options.seeds), AMPLIFIED):
        X, y, test, y_test = AMPLIFIED[name](options.data, seed)
        share = 0.1 if name == "synthetic" else 0.015
        directions = principal_coordinates(X - X.mean(0)).directions
        n = max(1, round(share * len(directions)))
        for which, chosen in {
            "none": directions[:0],
            "first": directions[:n],
            "last": directions[-n:],
        }.items():
            train, other = (amplify_components(part, chosen) for part in (X, test))
            mean, scale = train.mean(axis=0), (train - train.mean(axis=0)).std()
            train, other = (train - mean) / scale, (other - mean) / scale
            yield {
                "data": name,
                "n_train": len(X),
                "n_test": len(test),
                "n_amplified": n,
                "amplified": which,
                "seed": seed,
                **gains(train, y, other, y_test, seed),
            }


def gains(
    X: np.ndarray, y: np.ndarray, test: np.ndarray, y_test: np.ndarray, seed: int
) -> dict:
    """Return what early stopping gains in points of accuracy, by the last step."""
    Y = np.eye(y.max() + 1)[y]
    Y -= Y.mean(axis=0)
    values, basis = np.linalg.eigh(X.T @ X)
    alive = values > 1e-8 * values[-1]
    values, basis = values[alive], basis[:, alive]
    optimum = (Y.T @ X @ basis) / values
    coordinates = test @ basis
    fading = np.log1p(-0.5 * values / values[-1])
    starts = [
        initial_weights([X.shape[1], Y.shape[1]], random_state=10 * seed + k)[0] @ basis
        for k in range(10)
    ]
    excess = np.mean([((w - optimum) ** 2).sum(axis=0) for w in starts], axis=0)

    def left(steps: np.ndarray | float) -> np.ndarray:
        shares = excess * values / (excess @ values)
        return np.exp(2 * np.multiply.outer(steps, fading)) @ shares

    equal = brentq(lambda log: left(np.exp(log)) - 1e-4, 0, np.log(1e15))
    chosen = {"5000": 5000.0, "equal": float(np.exp(equal)), "infinite": np.inf}
    steps = np.unique([*np.geomspace(1, 1e12, 60), *chosen.values()])
    curve = np.mean(
        [
            [
                (coordinates @ (optimum + (w - optimum) * np.exp(s * fading)).T).argmax(
                    axis=1
                )
                == y_test
                for s in steps
            ]
            for w in starts
        ],
        axis=(0, 2),
    )
    best = np.maximum.accumulate(curve)
    ends = {name: np.searchsorted(steps, step) for name, step in chosen.items()}
    return {
        "best": 100 * float(best[-1]),
        "steps_of_equal": chosen["equal"],
        "loss_left_after_5000": float(left(5000)),
        **{f"gain_{k}": 100 * float(best[at] - curve[at]) for k, at in ends.items()},
    }


def synthetic(data: str | None, seed: int) -> tuple[np.ndarray, ...]:
    """Return the data of notebook 07: variances 1 / rank, labels by ten directions."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(3000, 400))
    signal = X[:, :10] @ rng.normal(size=10)
    y = (signal + 1.5 * rng.normal(size=3000) > 0).astype(int)
    X *= np.arange(1, 401) ** -0.5
    return X[:500], y[:500], X[500:], y[500:]


def halved(X: np.ndarray) -> np.ndarray:
    """Return images of half the size as rows of float64."""
    n, height, width = X.shape[:3]
    X = X.reshape(n, height // 2, 2, width // 2, 2, -1).mean(axis=(2, 4))
    return X.reshape(n, -1).astype(np.float64)


def digits(data: str | None, seed: int) -> tuple[np.ndarray, ...]:
    """Return the digits of scikit-learn, 500 of them for training."""
    X, y = load_digits_images()
    X = X.reshape(len(X), -1).astype(np.float64)
    X, order = X[:, X.std(0) > 0], np.random.default_rng(seed).permutation(len(X))
    train, test = order[:500], order[500:]
    return X[train], y[train], X[test], y[test]


def mnist(data: str | None, seed: int) -> tuple[np.ndarray, ...]:
    """Return 1,000 images of MNIST of half the size, and 2,000 others."""
    X, y = some("MNIST", data, 3_000, seed=seed)
    X = halved(X)
    X = X[:, X[:1000].std(axis=0) > 0]
    return X[:1000], y[:1000], X[1000:], y[1000:]


def cats_and_dogs(
    data: str | None, seed: int, n_train: int = 2_000
) -> tuple[np.ndarray, ...]:
    """Return cats and dogs of CIFAR-10 of half the size, and 2,000 others."""
    X, y = some("CIFAR-10", data, 50_000, seed=seed)
    two = np.flatnonzero(np.isin(y, (3, 5)))[: n_train + 2_000]
    X, y = halved(X[two]), (y[two] == 5).astype(int)
    return X[:n_train], y[:n_train], X[n_train:], y[n_train:]


AMPLIFIED = {
    "synthetic": synthetic,
    "digits": digits,
    "MNIST": mnist,
    "cats and dogs": cats_and_dogs,
}


def first_weights(options: argparse.Namespace) -> Iterator[dict]:
    """PC-bias paper, Fig. 12: the initial weights of Def. 3 and Glorot's.

    Linear networks of one hidden layer of 1,024 neurons learn the cats and dogs of
    CIFAR-10. Both start with the same learning rate, as in the paper, or with a rate
    that fits the traces of their gradient scale matrices.
    """
    n_networks, steps = 1 if options.quick else 10, [0, 1, 3, 10, 30, 100, 300]
    X, y, test, y_test = cats_and_dogs(options.data, 0, n_train=8_000)
    mean, scale = X.mean(axis=0), (X - X.mean(axis=0)).std()
    X, test = (X - mean) / scale, (test - mean) / scale
    Y = np.eye(2)[y] - np.eye(2)[y].mean(axis=0)
    top = np.linalg.eigvalsh(X.T @ X)[-1]
    for seed, scheme, own in itertools.product(
        range(n_networks), ("pc-bias", "glorot"), (False, True)
    ):
        start = initial_weights([X.shape[1], 1024, 2], scheme, random_state=seed)
        left, right = gradient_scale_matrices(start)
        speed = np.trace(left[0]) / 2 + np.trace(right[1]) / X.shape[1] if own else 2
        kept = train_deep_linear(
            start, X, Y, learning_rate=0.3 / speed / top, steps=steps
        )
        maps = [compact_weights(weights).T for weights in kept]
        yield {
            "scheme": scheme,
            "rate": "own" if own else "same",
            "n_train": len(X),
            "n_test": len(test),
            "seed": seed,
            "steps": steps,
            "loss": [float(((X @ w - Y) ** 2).sum() / (Y**2).sum()) for w in maps],
            "train": [100 * float(((X @ w).argmax(1) == y).mean()) for w in maps],
            "test": [
                100 * float(((test @ w).argmax(1) == y_test).mean()) for w in maps
            ],
        }


def frequency(options: argparse.Namespace) -> Iterator[dict]:
    """PC-bias paper, Fig. 8: critical frequency, over groups and over examples."""
    n = 300 if options.quick else 2_000
    for seed, rule in itertools.product(range(options.seeds), ("sign", "curve")):
        points, classes = make_frequency_data(n, rule=rule, random_state=seed)
        scaled = points / points.std(axis=0)
        predictions = []
        for k in range(3):
            network = MLPClassifier(
                (128, 128), alpha=0, batch_size=100, learning_rate_init=3e-3,
                random_state=10 * seed + k,
            )  # fmt: skip
            predictions.append([])
            for _ in range(40):
                network.partial_fit(scaled, classes, classes=np.unique(classes))
                predictions[-1].append(network.predict(scaled))
        critical = critical_frequency(points, rule=rule)
        for score, values in {
            "accessibility": accessibility(predictions, classes),
            "discriminability": discriminability(scaled, classes),
        }.items():
            groups = group_by_score(critical, values)
            over_groups = order_correlation(groups.scores, groups.means)
            yield {
                "n_points": n,
                "rule": rule,
                "score": score,
                "seed": seed,
                "groups": over_groups.correlation,
                "n_groups": over_groups.n_examples,
                "sizes": [int(size) for size in groups.counts],
                "examples": order_correlation(critical, values).correlation,
            }


def deep_linear(options: argparse.Namespace) -> Iterator[dict]:
    """Deep linear networks: eqs. 15-17, 36-45 and 47-49, and Fig. 7."""
    # steps of gradient descent on one mode, and the prediction of eqs. 43 and 44
    s, u0, u_final = 1.4, 0.05, 1.3
    for c, depth in itertools.product((1.0, 2.0, 5.0, 20.0, 100.0), (2, 3, 8, 100)):
        rate = float(optimal_learning_rate(s, depth=depth)) / c
        weight, steps = u0 ** (1 / depth), 0
        while weight**depth < u_final:
            weight += rate * weight ** (depth - 1) * (s - weight**depth)
            steps += 1
        predicted = optimized_learning_time(s, u0, u_final, depth=depth, c=c)
        yield {"c": c, "depth": depth, "steps": steps, "predicted": float(predicted)}
    # networks of several layers, decoupled, and the exact mode strengths
    sigma31 = np.diag([3.0, 2.0, 1.0, 0.5])
    for depth in (2, 3, 5, 10):
        times = np.linspace(0, learning_time(0.5, 0.1, 0.45, depth=depth), 100)
        start = decoupled_weights(sigma31, [4] * (depth - 1), 0.1, random_state=0)
        course = gradient_flow(start, sigma31, None, times)
        exact = mode_strength(times, np.diag(sigma31), 0.1, depth=depth)
        error = float(np.abs(course.strengths - exact).max())
        yield {"depth": depth, "largest_difference": error}
    # the mean-field map
    for gain in (1.1, 1.5, 2.0):
        weights = orthogonal_weights([500] * 51, random_state=0)
        starts = np.random.default_rng(1).normal(size=(5, 500))
        variances = [layer_variances(weights, x, gain=gain)[-5:] for x in starts]
        yield {
            "gain": gain,
            "fixed_point": float(fixed_point(gain)),
            "in_networks": float(np.mean(variances)),
        }
    # the Jacobian of tanh networks at the critical gain, by the variance of the input
    for seed, variance in itertools.product(range(options.seeds), (0.2, 1.0, 4.0, 9.0)):
        weights = orthogonal_weights([300] * 101, random_state=seed)
        x = np.sqrt(variance) * np.random.default_rng(seed).normal(size=300)
        values = np.linalg.svd(end_to_end_jacobian(weights, x), compute_uv=False)
        yield {
            "input_variance": variance,
            "seed": seed,
            "largest": float(values[0]),
            "above": float(np.mean(values > 0.1)),
        }


def naive(options: argparse.Namespace) -> Iterator[dict]:
    """Class-PCA paper, Tables 3 and 4 and Fig. 6: naive and class-based DMN.

    The tables have the naive DMN. Computed layers are frozen; the softmax is trained by
    Adam for five epochs.
    """
    n, n_held = (500, 500) if options.quick else (5_000, 2_000)
    cases = [
        (name, architecture, seed)
        for seed in range(options.seeds)
        for name, architectures in NAIVE.items()
        for architecture in architectures
    ]
    for name, architecture, seed in cases:
        X, y = some(name, options.data, n + n_held, seed=seed)
        images, labels = channels_first(X), torch.from_numpy(y)
        data, held_out = (images[:n], labels[:n]), (images[n:], labels[n:])
        for class_based in (False, True):
            run = train(
                functools.partial(make_hybrid, architecture, class_based=class_based),
                data,
                held_out,
                rate=3e-3,
                epochs=5,
                seed=seed,
            )
            yield {
                "data": name,
                "n_images": n,
                "n_held_out": n_held,
                "architecture": architecture,
                "variant": "class-based" if class_based else "naive",
                "seed": seed,
                "accuracy": run["validation"],
                "training": run["training"],
            }


EXPERIMENTS = {
    f.__name__: f
    for f in (
        *(deep_linear, second_layers, fluctuations, amplified, first_weights),
        *(frequency, naive, layers),
    )
}


def main() -> None:
    parser = machine.timing_parser(__doc__.splitlines()[0], "verdicts.json")
    parser.add_argument("--only", choices=EXPERIMENTS, help="keep the other results")
    parser.add_argument("--seeds", type=int, default=3)
    parser.set_defaults(threads=1)
    options = parser.parse_args()
    machine.limit(options.threads)
    if options.quick:
        options.seeds = 1
    for name in [options.only] if options.only else EXPERIMENTS:
        runs = []
        for run in EXPERIMENTS[name](options):
            print(name, {k: v for k, v in run.items() if k != "distances"}, flush=True)
            runs.append(run)
            found = {**machine.kept(options.json), name: {"runs": runs}}
            found[name]["machine"] = machine.facts()
            machine.write(options.json, found)


if __name__ == "__main__":
    main()
