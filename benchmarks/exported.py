"""Time and accuracy of a fitted model in onnxruntime and in torch.

    python benchmarks/exported.py --data DIR

The data are held-out uint8 images in batches of 1, 100 and 10,000, with the same number
of threads. We compare the labels of the fitted Pipeline with those of the ONNX model of
`to_onnx` in onnxruntime, and with the logits of the modules of `to_torch`. The largest
difference of probabilities and the number of different labels are those of all 10,000
images.
"""

from collections.abc import Callable

import numpy as np
import onnxruntime
import torch
from sklearn.pipeline import Pipeline

import machine
from skdmn import (
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    MaxPool2DTransformer,
    SoftmaxClassifier,
)
from skdmn.datasets import load_cifar10, load_mnist
from skdmn.export import to_onnx, to_torch

HELD_OUT = 10_000  # training images
BATCHES = (1, 100, HELD_OUT)
REPEATS = 7
CASES = (
    ("MNIST", load_mnist, (6, 33)),
    ("CIFAR-10", load_cifar10, (22, 87)),
)


def model(filters: tuple[int, int]) -> Pipeline:
    layer = {"variance_cutoff": 1.0, "correlation_cutoff": 1.0}
    first, second = filters
    network = DensityMatrixNetwork(
        [
            ("conv1", ClassPCAPatchTransformer(n_filters=first, **layer)),
            ("pool1", MaxPool2DTransformer(2)),
            ("conv2", ClassPCAPatchTransformer(n_filters=second, **layer)),
            ("pool2", MaxPool2DTransformer(2)),
        ]
    )
    return Pipeline([("network", network), ("softmax", SoftmaxClassifier(C=0.01))])


def session(fitted: Pipeline, X: np.ndarray, threads: int) -> Callable:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    written = to_onnx(fitted, X[:1]).SerializeToString()
    run = onnxruntime.InferenceSession(
        written, options, providers=["CPUExecutionProvider"]
    )
    return lambda images: run.run(None, {"X": images})


def module(fitted: Pipeline) -> Callable:
    modules = to_torch(fitted).to(memory_format=torch.channels_last)

    def run(images: np.ndarray) -> torch.Tensor:
        X = torch.from_numpy(images.reshape(*images.shape[:3], -1)).permute(0, 3, 1, 2)
        with torch.inference_mode():
            return torch.cat([modules(part.float()) for part in X.split(256)])

    return run


def compare(name: str, load: Callable, filters: tuple[int, int], options: dict) -> dict:
    X, y = load("train", data_home=options["data"])
    n = 2_000 if options["quick"] else len(X) - HELD_OUT
    X, y, X_test = X[:n], y[:n], X[-HELD_OUT:]
    fitted = model(filters).fit(X, y)
    run, forward = session(fitted, X, options["threads"]), module(fitted)
    label, probabilities = run(X_test)
    expected = fitted.predict_proba(X_test)
    of_torch = torch.softmax(forward(X_test), 1).numpy()
    row = {
        "data": name,
        "filters": list(filters),
        "labels_that_differ": int((label != fitted.predict(X_test)).sum()),
        "onnx_difference": float(np.abs(probabilities - expected).max()),
        "torch_difference": float(np.abs(of_torch - expected).max()),
        "seconds": {},
    }
    for n in BATCHES:
        images = X_test[:n]
        ways = {
            "skdmn": lambda images=images: fitted.predict(images),
            "onnxruntime": lambda images=images: run(images),
            "torch": lambda images=images: forward(images),
        }
        machine.in_turn(ways, 2)
        row["seconds"][n] = machine.in_turn(ways, REPEATS)
    print(row, flush=True)
    return row


def main() -> None:
    parser = machine.timing_parser(__doc__.splitlines()[0], "exported.json")
    options = parser.parse_args()
    machine.limit(options.threads)
    machine.keep_memory()
    rows = [compare(*case, vars(options)) for case in CASES]
    machine.write(options.json, {"rounds": REPEATS, "rows": rows})


if __name__ == "__main__":
    main()
