"""Run the notebooks, which are kept as text, and keep them with their outputs.

python notebooks/build.py           # all of them
python notebooks/build.py 04        # those whose names begin so
python notebooks/build.py --check   # are the .ipynb files of these texts, and the
                                    # README's numbers of the .ipynb files?
"""

import re
import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
SECONDS = 600  # that a cell may take


def sources(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def run(text: Path) -> None:
    """Execute a text, and write what comes out beside it."""
    notebook = jupytext.read(text)
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    NotebookClient(
        notebook, timeout=SECONDS, resources={"metadata": {"path": str(FOLDER)}}
    ).execute()
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell{number}"  # the same each time
        cell.metadata.pop("execution", None)  # times
    nbformat.write(notebook, text.with_suffix(".ipynb"))


def is_up_to_date(text: Path) -> bool:
    """Whether the notebook has the cells of a text, and outputs."""
    kept = text.with_suffix(".ipynb")
    if not kept.exists():
        return False
    notebook = nbformat.read(kept, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    has_run = all(cell.execution_count for cell in code if cell.source.strip())
    return has_run and sources(notebook) == sources(jupytext.read(text))


def printed(notebook: nbformat.NotebookNode) -> str:
    """Return what the cells of a notebook printed."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") for output in outputs)


def wrong_numbers() -> list[str]:
    """Return numbers in the README's tables that no notebook of their row prints.

    Rows that stand on tests as well are left to them.
    """
    said = {
        path.name[:2]: printed(nbformat.read(path, as_version=4))
        for path in FOLDER.glob("[0-9]*.ipynb")
    }
    wrong = []
    for line in (FOLDER / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 4 or not re.fullmatch(r"\d\d(, \d\d)*", cells[2]):
            continue
        there = "".join(said[number] for number in cells[2].split(", "))
        numbers = re.findall(r"(?<![\w.])\d+\.\d+(?:e-?\d+)?|\b\d+e-\d+", cells[3])
        wrong += [f"{number} ({cells[0]})" for number in numbers if number not in there]
    return wrong


def main() -> None:
    which = [argument for argument in sys.argv[1:] if argument != "--check"]
    texts = sorted(FOLDER.glob("[0-9]*.py"))
    if which:
        texts = [text for text in texts if text.name.startswith(tuple(which))]
    if "--check" in sys.argv:
        stale = [text.name for text in texts if not is_up_to_date(text)]
        if stale:
            raise SystemExit(f"Run python notebooks/build.py for {', '.join(stale)}.")
        if wrong := wrong_numbers():
            raise SystemExit(f"No notebook prints {'; '.join(wrong)} of the README.")
        return
    for text in texts:
        print(text.name, flush=True)
        run(text)


if __name__ == "__main__":
    main()
