"""Which modules and examples in docstrings can run here, and what follows each test."""

import sys
from importlib.util import find_spec

import pytest

NEEDED = {
    "skdmn/analysis/sgd/history.py": "torch",
    "skdmn/data/reader.py": "PIL",
    "skdmn/datasets/folder.py": "PIL",
    "skdmn/distributed": "dask",
    "skdmn/export/conv.py": "torch",
    "skdmn/export/hybrid.py": "torch",
    "skdmn/export/torch.py": "torch",
}
collect_ignore = [path for path, package in NEEDED.items() if not find_spec(package)]


@pytest.fixture(autouse=True)
def _closed_figures():
    """Close the figures of a test; pyplot warns if more than twenty are open."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
