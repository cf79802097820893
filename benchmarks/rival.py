"""The ConvNet that computed features are compared with, well trained in torch.

It has 3 x 3 convolutions, pooling, batch normalization, ReLU and a linear layer. It is
trained by Adam with decoupled weight decay. The learning rate increases for a third of
the time and decreases to 0 in the rest, which is best for a given number of seconds.
Each budget is a separate run. Images are flipped at random if this makes sense.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

try:
    import torch
    from torch.nn import functional
except ImportError as error:
    raise SystemExit("The rival is torch: pip install torch") from error

RISING = 0.3  # of the time
HELD_OUT = 5_000  # training images


@dataclass(frozen=True)
class Rival:
    """A ConvNet and its training.

    `plain`: the ConvNet of the papers, without padding and batch normalization.
    """

    filters: tuple[int, ...]
    rate: float
    batch_size: int
    mirrored: bool = False
    decay: float = 5e-4
    plain: bool = False

    def network(
        self, shape: tuple[int, ...], n_classes: int = 10
    ) -> torch.nn.Sequential:
        """Return the untrained network for images of (height, width, channels)."""
        height, width, before = shape
        modules: list[torch.nn.Module] = []
        border = 0 if self.plain else 1
        for n in self.filters:
            modules.append(
                torch.nn.Conv2d(before, n, 3, padding=border, bias=self.plain)
            )
            # pool first: normalization and ReLU then take a quarter of the time
            modules.append(torch.nn.MaxPool2d(2))
            modules += [] if self.plain else [torch.nn.BatchNorm2d(n)]
            modules.append(torch.nn.ReLU(inplace=True))
            before = n
            height, width = ((s - 2 * (1 - border)) // 2 for s in (height, width))
        linear = torch.nn.Linear(before * height * width, n_classes)
        network = torch.nn.Sequential(*modules, torch.nn.Flatten(), linear)
        return network.to(memory_format=torch.channels_last)


def n_parameters(model: Rival, shape: tuple[int, ...]) -> int:
    return sum(p.numel() for p in model.network(shape).parameters())


def as_tensor(X: np.ndarray) -> torch.Tensor:
    """Return uint8 images as a torch tensor, 0 to 255, channels last in memory."""
    images = torch.from_numpy(np.ascontiguousarray(X.reshape(*X.shape[:3], -1)))
    return images.permute(0, 3, 1, 2)


def best_of(
    models: list[Rival],
    data: tuple[np.ndarray, ...],
    seconds: float,
    device: str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Rival, list[dict]]:
    """Train each for some seconds; return the best on held-out images.

    `HELD_OUT` of the training images, the first entry of data, are held out.
    """
    X, y = data[:2]
    order = np.random.default_rng(0).permutation(len(X))
    n = min(HELD_OUT, len(X) // 5)
    split = tuple(part[some] for some in (order[:-n], order[-n:]) for part in (X, y))
    # load what torch loads in the first run
    train(models[0], split, 1.0, 0, device, clock)
    tried = []
    for model in models:
        found = train(model, split, seconds, 0, device, clock)
        of = {k: getattr(model, k) for k in ("filters", "rate", "batch_size", "plain")}
        tried.append({**of, **found})
        print(tried[-1], flush=True)
    best = max(range(len(models)), key=lambda i: tried[i]["accuracy"])
    return models[best], tried


def train(
    model: Rival,
    data: tuple[np.ndarray, ...],
    seconds: float,
    seed: int,
    device: str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Train on uint8 images for some seconds of a clock; return them and accuracy."""
    X, y, X_test, y_test = data
    torch.manual_seed(seed)
    started = clock()
    images, labels = as_tensor(X).to(device), torch.from_numpy(y).to(device)
    some = images[:5000].float()
    mean, std = some.mean((0, 2, 3), keepdim=True), some.std((0, 2, 3), keepdim=True)

    def prepared(batch: torch.Tensor) -> torch.Tensor:
        return batch.float().sub_(mean).div_(std)

    rows = prepared(images).permute(0, 2, 3, 1)  # contiguous: fast to index
    if model.mirrored:
        rows = torch.cat([rows, rows.flip(2)])

    network = model.network((*X.shape[1:3], images.shape[1]), int(y.max()) + 1)
    network = network.to(device)
    adam = torch.optim.AdamW(network.parameters(), 0.0, weight_decay=model.decay)
    steps = 0
    while (passed := clock() - started) < seconds:
        order = torch.randperm(len(images), device=device)
        for some in order.split(model.batch_size):
            passed = (clock() - started) / seconds
            if passed >= 1:
                break
            rise, fall = passed / RISING, (1 - passed) / (1 - RISING)
            adam.param_groups[0]["lr"] = model.rate * min(rise, fall)
            sides = len(rows) // len(images)
            side = torch.randint(sides, some.shape, device=device)
            batch = rows[some + len(images) * side].permute(0, 3, 1, 2)
            adam.zero_grad()
            functional.cross_entropy(network(batch), labels[some]).backward()
            adam.step()
            steps += 1
    if device != "cpu":
        torch.cuda.synchronize()
    took = clock() - started
    network.eval()
    with torch.inference_mode():
        parts = as_tensor(X_test).to(device).split(500)
        found = torch.cat([network(prepared(part)).argmax(1) for part in parts])
    accuracy = 100 * float((found.cpu().numpy() == y_test).mean())
    return {
        "seconds": took,
        "accuracy": accuracy,
        "epochs": steps * model.batch_size / len(X),
    }
