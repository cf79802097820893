"""Check that the numbers of notebooks/README.md are printed by what its rows name.

The tables of the papers have five columns. The fourth says what we find, and the fifth
names what prints its numbers, separated by commas: notebooks ("05"), scripts of the
benchmarks ("hybrids.py", "verdicts.py layers"), or files of tests.
"""

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
NUMBER = r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:e-?\d+)?"
# what is not a number that we found
REFERENCES = (
    r"`[^`]*`|\b(?:eqs?\.|Figs?\.|Tables?|[Ss]ection|float)\s*\d+\w*"
    r"(?:(?:, | to | and )\d+\w*)*|\d+ x \d+|CIFAR-\d+"
)


def rows(page: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield what is tested, what we find, and the sources, for each row of a page."""
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 5 and not {cells[4]} & {"---", "printed by"}:
            yield cells[0], cells[3], [name for name in cells[4].split(", ") if name]


@functools.cache
def printed_by(source: str) -> tuple[str, str]:
    """Return what a source prints, and the text in which its settings are."""
    if re.fullmatch(r"\d\d", source):
        (path,) = FOLDER.glob(f"{source}_*.ipynb")
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        settings = ["".join(cell["source"]) for cell in cells]
        return "".join("".join(o.get("text", "")) for o in outputs), "".join(settings)
    if source.startswith("tests/"):
        return (ROOT / source).read_text(encoding="utf-8"), ""
    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    tables = re.findall(r"<!-- \w+ -->\n(.*?)<!-- end -->", page, re.DOTALL)
    script, _, experiment = source.partition(" ")
    command = rf"`python benchmarks/{script} --data DIR" + (
        f" --only {experiment}`" if experiment else "`"
    )
    return "".join(table for table in tables if command in table), ""


def numbers(text: str) -> list[tuple[str, float]]:
    """Return the numbers in a text, as they are written and as values."""
    found = re.findall(NUMBER, text)
    return [(n, float(n.replace(",", ""))) for n in (n.strip(",") for n in found)]


def wrong_numbers(page: str | None = None) -> list[str]:
    """Return the numbers of a page that no source of their row prints.

    Parameters
    ----------
    page : str or None, default=None
        Text of the page. If None, that of notebooks/README.md.

    Returns
    -------
    list of str
        The numbers, with the row in parentheses. Integers may also be settings: numbers
        in the text or code of a notebook.
    """
    if page is None:
        page = (FOLDER / "README.md").read_text(encoding="utf-8")
    wrong = []
    for row, ours, sources in rows(page):
        found = [printed_by(source) for source in sources]
        known = {value for text, _ in found for _, value in numbers(text)}
        settings = {value for _, text in found for _, value in numbers(text)}
        for name, value in numbers(re.sub(REFERENCES, "", ours)):
            if value not in known | (settings if value.is_integer() else set()):
                wrong.append(f"{name} ({row})")
    return wrong
