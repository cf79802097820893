"""A ConvNet trained by Adam in torch, with its accuracy during training."""

import time
from dataclasses import dataclass

import numpy as np

try:
    import torch
    from torch.nn import functional
except ImportError as error:
    raise SystemExit("The rival is torch: pip install torch") from error

EVERY = 6_000  # images between two evaluations of the accuracy
Data = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # X, y, X_test, y_test


@dataclass(frozen=True)
class Trained:
    """A ConvNet and its training."""

    filters: tuple[int, int]
    kernels: tuple[int, int]
    batch_size: int
    rate: float
    channels_last: bool

    def network(self, side: int) -> torch.nn.Sequential:
        for kernel in self.kernels:
            side = (side - kernel + 1) // 2
        (first, second), (k, m), relu, pool = (
            *(self.filters, self.kernels),
            *(torch.nn.ReLU(inplace=True), torch.nn.MaxPool2d(2)),
        )
        network = torch.nn.Sequential(
            *(torch.nn.Conv2d(1, first, k), relu, pool),
            *(torch.nn.Conv2d(first, second, m), relu, pool),
            torch.nn.Flatten(),
            torch.nn.Linear(second * side**2, 10),
        )
        laid = torch.channels_last if self.channels_last else torch.contiguous_format
        return network.to(memory_format=laid)


def score(network: torch.nn.Sequential, X: torch.Tensor, y: np.ndarray) -> float:
    with torch.inference_mode():
        found = [network(part).argmax(1) for part in X.split(500)]
    return 100 * float((torch.cat(found).numpy() == y).mean())


def train(
    model: Trained,
    data: Data,
    seed: int,
    *,
    seconds: float,
    until: float = 100.0,
    every: int = EVERY,
) -> list[tuple[float, float]]:
    """Return seconds and accuracies until an accuracy or the time limit is reached."""
    X, y, X_test, y_test = data
    torch.manual_seed(seed)
    started = time.perf_counter()
    images = torch.from_numpy(X).float().unsqueeze(1)
    std, mean = torch.std_mean(images)
    images, labels = images.sub_(mean).div_(std), torch.from_numpy(y)
    network = model.network(X.shape[1])
    adam = torch.optim.Adam(network.parameters(), lr=model.rate)
    passed = time.perf_counter() - started
    test = torch.from_numpy(X_test).float().unsqueeze(1).sub_(mean).div_(std)
    curve, seen = [], 0
    while True:
        started = time.perf_counter()
        order = torch.randperm(len(images))
        for batch in order.split(model.batch_size):
            adam.zero_grad()
            functional.cross_entropy(network(images[batch]), labels[batch]).backward()
            adam.step()
            seen += len(batch)
            if seen >= every * (len(curve) + 1):
                passed += time.perf_counter() - started
                curve.append((passed, score(network, test, y_test)))
                if curve[-1][1] >= until or passed > seconds:
                    return curve
                started = time.perf_counter()
        passed += time.perf_counter() - started
