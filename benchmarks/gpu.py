"""Two layers on a GPU: the time from host memory, and the time of each kernel.

    python benchmarks/gpu.py --data DIR

The whole job is to fit two layers to 60,000 MNIST images in host memory, including the
density matrices of both layers, and to compute all features into host memory. The lower
bound of a kernel is the larger of two times: that of a copy within GPU memory of as
many bytes as it reads and writes, and that of a matrix product of as many operations.
Both are measured here.
"""

import time
from collections.abc import Callable
from statistics import median

import numpy as np

import machine
from skdmn import ClassPCAPatchTransformer, DensityMatrixNetwork, MaxPool2DTransformer
from skdmn.datasets import load_mnist
from skdmn.kernels import dispatch
from skdmn.kernels.geometry import Window

REPEATS = 20
POOL = Window((2, 2), (2, 2), "valid")
SHAPES = [  # name, number of images, height, width, channels, dtype, number of filters
    ("MNIST, layer 1", 60_000, 28, 28, 1, "uint8", 6),
    ("MNIST, layer 2", 60_000, 13, 13, 6, "float32", 33),
    ("CIFAR-10, layer 1", 50_000, 32, 32, 3, "uint8", 22),
    ("CIFAR-10, layer 2", 50_000, 15, 15, 22, "float32", 150),
]


def seconds(function: Callable[[], object]) -> float:
    """Return the median GPU time of a call, after one that is not counted."""
    import cupy

    function()
    times = []
    for _ in range(REPEATS):
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        function()
        end.record()
        end.synchronize()
        times.append(cupy.cuda.get_elapsed_time(start, end) / 1000)
    return median(times)


def floors() -> dict[str, float]:
    """Measure bytes and floating-point operations per second."""
    import cupy

    source = cupy.zeros(2**28, np.float32)
    target = cupy.empty_like(source)
    square = cupy.ones((8192, 8192), np.float32)
    copied = seconds(lambda: cupy.copyto(target, source))
    multiplied = seconds(lambda: square @ square)
    return {
        "bytes_per_second": 2 * source.nbytes / copied,
        "operations_per_second": 2 * 8192**3 / multiplied,
    }


def kernel(shape: tuple, rates: dict[str, float]) -> dict:
    """Time one convolution with pooling, its lower bound, and that of PyTorch."""
    import cupy

    name, n, height, width, channels, dtype, n_filters = shape
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, height, width, channels), dtype=np.uint8)
    images = cupy.asarray(images).astype(dtype)
    filters = rng.normal(size=(n_filters, 3, 3, channels)).astype(np.float32)
    on_gpu = cupy.asarray(filters)

    def ours() -> object:
        return dispatch.convolve(images, on_gpu, (1, 1), "valid", "relu", POOL)

    out = ours()
    products = n * (height - 2) * (width - 2) * n_filters * 9 * channels
    floor = max(
        (images.nbytes + out.nbytes) / rates["bytes_per_second"],
        2 * products / rates["operations_per_second"],
    )
    took = {"ours": seconds(ours), "floor": floor, "torch": with_torch(images, filters)}
    pooling = 4 * n * (height // 2) * (width // 2) * channels
    took["max_pool"] = seconds(lambda: dispatch.max_pool(images, POOL, np.float32))
    took["max_pool_floor"] = (images.nbytes + pooling) / rates["bytes_per_second"]
    print(name, {key: value and f"{1e3 * value:.3f} ms" for key, value in took.items()})
    return {"name": name, "seconds": took}


def with_torch(images: object, filters: np.ndarray) -> float | None:
    """Time convolution, ReLU and pooling of PyTorch, channels-last, in full float32."""
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    last = {"memory_format": torch.channels_last}
    batch = torch.from_dlpack(images).permute(0, 3, 1, 2)
    weights = torch.from_numpy(filters).cuda().permute(0, 3, 1, 2).contiguous(**last)

    def function() -> object:
        floats = batch.float().contiguous(**last)
        features = torch.nn.functional.conv2d(floats, weights)
        return torch.nn.functional.max_pool2d(features.relu_(), 2)

    with torch.no_grad():
        return seconds(function)


def job(X: np.ndarray, y: np.ndarray) -> dict:
    """Time the whole job, once with and once without the time to compile."""
    layers = [
        ("conv1", ClassPCAPatchTransformer(3)),
        ("pool1", MaxPool2DTransformer(2)),
        ("conv2", ClassPCAPatchTransformer(3)),
        ("pool2", MaxPool2DTransformer(2)),
    ]
    runs = []
    for _ in range(4):
        network = DensityMatrixNetwork(layers, device="cuda")
        started = time.perf_counter()
        network.fit(X, y)
        fitted = time.perf_counter()
        features = network.transform(X)
        runs.append(
            {"fit": fitted - started, "transform": time.perf_counter() - fitted}
        )
        print(runs[-1])
    later = {key: median(run[key] for run in runs[1:]) for key in runs[0]}
    return {"first": runs[0], "later": later, "n_features": features.shape[1]}


def main() -> None:
    options = machine.parser(__doc__.splitlines()[0], "gpu.json").parse_args()
    facts = machine.gpu()
    X, y = load_mnist("train", data_home=options.data)
    rates = floors()
    results = {
        **facts,
        "rates": rates,
        "job": job(X, y),
        "kernels": [kernel(shape, rates) for shape in SHAPES],
    }
    machine.write(options.json, results)


if __name__ == "__main__":
    main()
