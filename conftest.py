"""Which modules and examples in docstrings can run here."""

from importlib.util import find_spec

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
