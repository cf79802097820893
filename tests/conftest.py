"""Settings that hold for all tests."""

import contextlib
import logging
import os
import tempfile

# scikit-learn leaves its array API checks out without it; scipy reads it on import
os.environ["SCIPY_ARRAY_API"] = "1"

# Two processes run the tests on two cores, each with two threads. Threads of BLAS and
# OpenMP that wait for work should sleep then, not spin: tests of classifiers take two
# thirds of the time. pytest-xdist's workers inherit this; the libraries read it when
# they are loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

from pathlib import Path

import pytest

# modules that `pytest -m fast` runs: under a minute for daily work
FAST = {
    "display/test_filter_display.py",
    "layers/test_average_pooling.py",
    "layers/test_class_pca.py",
    "layers/test_flatten.py",
    "layers/test_overlap.py",
    "layers/test_pooling.py",
    "layers/test_scaling.py",
    "linear_model/test_lbfgs.py",
    "operations/test_operations.py",
    "statistics/test_filters.py",
    "test_layout.py",
    "test_pipeline.py",
    "test_presets.py",
    "test_public.py",
}


def pytest_collection_modifyitems(items):
    """Mark the tests of the modules in `FAST`, and ignore two warnings.

    On small random images, the default cutoffs often leave one filter. joblib warns if
    it took half a second to write a small file, which depends on the disk.
    """
    here = Path(__file__).parent
    ignored = [
        pytest.mark.filterwarnings(f"ignore:{start}:UserWarning")
        for start in (r"ClassPCA\w+ has only", "Persisting input arguments took")
    ]
    for item in items:
        for mark in ignored:
            item.add_marker(mark)
        inside = item.path.is_relative_to(here)
        if inside and item.path.relative_to(here).as_posix() in FAST:
            item.add_marker(pytest.mark.fast)


@pytest.fixture
def rng():
    import numpy as np

    return np.random.default_rng(0)


@pytest.fixture
def without_logging():
    """Return a context without handlers of the root logger, as in a plain session."""
    root = logging.getLogger()

    @contextlib.contextmanager
    def context():
        handlers = root.handlers[:]
        root.handlers.clear()
        try:
            yield
        finally:
            root.handlers[:] = handlers

    return context


@pytest.fixture
def read_only():
    """Yield an empty folder, and a function that makes it read-only."""
    if os.name == "nt":
        pytest.skip("permissions of POSIX")
    is_root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as folder:

        def protect():
            os.chmod(folder, 0o555)
            if is_root:  # root may write anywhere
                os.seteuid(65534)

        try:
            yield Path(folder), protect
        finally:
            if is_root:
                os.seteuid(0)
            os.chmod(folder, 0o755)


@pytest.fixture(params=[".npy", ".zarr"])
def suffix(request):
    """Suffix of a file of features."""
    if request.param == ".zarr":
        pytest.importorskip("zarr", reason="Zarr arrays are under test")
    return request.param
