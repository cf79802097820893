"""The examples in the README run, and its tables match the benchmark results."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def write_photos(folder):
    """Write the photos that the README reads: two classes of ten, and a new one."""
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, 256, (70, 90, 3), dtype=np.uint8)
            pixels[20:50, :: 2 if name == "cat" else 3] = 0
            photo = image.fromarray(pixels)
            photo.save(folder / "photos" / name / f"{number}.jpg")
    photo.save(folder / "new.jpg")


def test_examples_run_one_after_the_other(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 11
    write_photos(tmp_path)
    names = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    printed = capsys.readouterr().out.split()
    assert float(printed[0]) > 0.96  # accuracy of recommended_dmn
    assert float(printed[1]) > 0.96  # accuracy of make_dmn
    assert float(printed[-2]) == 1  # share of labels that onnxruntime agrees on
    assert printed[-1] == "True"  # two sites find the filters of all images


def test_set_up_commands_are_those_that_ci_runs():
    text = README.read_text()
    assert "\npip install -e . && skdmn demo\n" in text
    assert '\npip install -e ".[test]" && pytest\n' in text


def test_tables_are_rendered_from_the_results(monkeypatch):
    tables = ROOT / "benchmarks" / "tables.py"
    if not tables.exists():
        pytest.skip("benchmarks are not in this distribution")
    monkeypatch.syspath_prepend(str(tables.parent))
    sys.modules.pop("tables", None)
    import tables

    assert README in tables.PAGES
    texts = [page.read_text() for page in tables.PAGES]
    assert [tables.rendered(text) for text in texts] == texts
    for table in tables.TABLES:
        assert sum(f"<!-- {table.__name__} -->" in text for text in texts) == 1
