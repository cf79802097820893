"""Settings that hold for all tests."""

import os

# scikit-learn leaves its array API checks out without it; scipy reads it on import
os.environ["SCIPY_ARRAY_API"] = "1"

import pytest


@pytest.fixture
def rng():
    import numpy as np

    return np.random.default_rng(0)
