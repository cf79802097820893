"""Which examples in docstrings can run here."""

from importlib.util import find_spec

if find_spec("torch") is None:
    collect_ignore = [
        *(f"skdmn/export/{name}.py" for name in ("conv", "hybrid", "torch")),
        "skdmn/analysis/history.py",
    ]
