"""Which modules and examples in docstrings can run here."""

from importlib.util import find_spec

collect_ignore = []
if find_spec("torch") is None:
    collect_ignore += [f"skdmn/export/{name}.py" for name in ("conv", "hybrid", "torch")]
    collect_ignore += ["skdmn/analysis/history.py"]
if find_spec("dask") is None:
    collect_ignore += ["skdmn/distributed"]
