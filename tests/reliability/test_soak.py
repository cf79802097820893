"""A long run of random fits and transforms: memory does not grow, results do not drift.

``SKDMN_SOAK_SECONDS`` says how long it is; ten minutes before a release.
"""

import gc
import os
import pickle
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from estimators import ESTIMATORS
from sklearn.base import clone

from skdmn import ZCAWhitening, make_dmn

SECONDS = float(os.environ.get("SKDMN_SOAK_SECONDS", "60"))
STATM = Path("/proc/self/statm")
MIB = 2**20
MODELS = [*ESTIMATORS.values(), make_dmn(2, kernel_size=2, n_filters=4)]


def resident():
    """Return the bytes of memory that this process takes."""
    gc.collect()
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def some_images(rng):
    """Return images of a random number, size, brightness and dtype, and labels."""
    n, channels = int(rng.integers(20, 400)), int(rng.integers(1, 4))
    height, width = rng.integers(8, 20, 2)
    images = rng.random((n, height, width, channels)) * rng.choice([1, 255, 1e-6])
    images[::3, 1:] += images[::3, :-1]
    dtype = rng.choice(["u1", "f4", "f8"]) if images.max() > 9 else rng.choice(["f4"])
    return images.astype(dtype), rng.integers(0, 5, n)


def one_round(rng):
    """Fit a model, use it, copy it, let it fail; return whether all is finite."""
    model = clone(MODELS[int(rng.integers(len(MODELS)))])
    X, y = some_images(rng)
    if isinstance(model, ZCAWhitening):
        X = X.reshape(len(X), -1)[:, :60]
    model.fit(X, y)
    if hasattr(model, "partial_fit"):
        model.partial_fit(X[:9], y[:9])
    model = pickle.loads(pickle.dumps(model))
    with pytest.raises(ValueError, match=r"one pixel|0 feature"):
        model.fit(X[:, :0], y)
    use = getattr(model, "predict_proba", getattr(model, "transform", None))
    return bool(np.isfinite(use(X)).all())


def rounds(rng, seconds):
    """Run for some seconds; return how many rounds there were."""
    until, done = time.perf_counter() + seconds, 0
    while time.perf_counter() < until:
        assert one_round(rng)
        done += 1
    return done


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # of noise, of few iterations
@pytest.mark.skipif(not STATM.exists(), reason="memory is not told of here")
def test_memory_does_not_grow():
    rng = np.random.default_rng(0)
    rounds(rng, SECONDS / 4)  # kernels are compiled, pools of memory filled
    threads, taken = threading.active_count(), []
    for _ in range(6):
        assert rounds(rng, SECONDS / 8) > 1
        taken.append(resident())
    assert threading.active_count() == threads
    # the largest images come at any time: the later half against the earlier one
    assert min(taken[3:]) < max(taken[:3]) + 16 * MIB
    assert np.polyfit(range(6), taken, 1)[0] < 8 * MIB
