"""How many kernels, copies and waits the stages of the work on a GPU take, without one.

A script runs the stages under a stand-in for CuPy, which counts. Numbers per batch have
to be small and must not depend on the number of images or classes.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

# launches, copies and waits, at most: in every batch, and once
BOUNDS = {
    "moments": ((8, 4, 3), (0, 0, 0)),
    "centred moments of many entries": ((8, 4, 3), (0, 0, 0)),
    "contrast moments": ((3, 3, 2), (0, 0, 0)),
    "features": ((3, 2, 3), (0, 1, 0)),
    "encoded features": ((5, 2, 3), (0, 2, 0)),
    "softmax pass": ((9, 0, 0), (0, 6, 3)),
    "solution": ((0, 0, 0), (2, 2, 1)),
    "solution by rows": ((0, 0, 0), (7, 3, 2)),
}


@pytest.fixture(scope="module")
def stages():
    """Return lists of (number of batches, counts) by stage."""
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler is here")
    script = Path(__file__).with_name("stages.py")
    ran = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    found = {}
    for name, n_batches, counts in json.loads(ran.stdout):
        found.setdefault(name, []).append((n_batches, tuple(counts.values())))
    return found


def test_every_stage_has_bounds(stages):
    assert set(stages) == set(BOUNDS)


@pytest.mark.parametrize("name", BOUNDS)
def test_counts_are_small_and_depend_on_the_number_of_batches_alone(stages, name):
    per_batch, once = map(np.array, BOUNDS[name])
    by_batches = {}
    for n_batches, counts in stages[name]:
        assert (counts <= n_batches * per_batch + once).all(), counts
        assert by_batches.setdefault(n_batches, counts) == counts
    assert len(by_batches) > 1
