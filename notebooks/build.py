"""Build the notebooks from their sources, and keep them with their outputs.

python notebooks/build.py             # execute all notebooks
python notebooks/build.py 04          # execute those whose names start with 04
python notebooks/build.py --changed   # update those that differ from their source;
                                      # execute them only if their code changed
python notebooks/build.py --check     # fail if a notebook differs from its source, or
                                      # if the README has a number that nothing prints
"""

import argparse
import ast
from pathlib import Path

import jupytext
import nbformat
from claims import wrong_numbers
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
SECONDS = 600  # time limit of a cell


def sources(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    """Return the type and the source of every cell."""
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def write(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook without what differs between two equal runs."""
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell{number}"  # random otherwise
        cell.metadata.pop("execution", None)  # start and end times
    nbformat.write(notebook, path)


def execute(text: Path) -> None:
    """Execute a source, and write the notebook with its outputs beside it."""
    notebook = jupytext.read(text)
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    NotebookClient(
        notebook, timeout=SECONDS, resources={"metadata": {"path": str(FOLDER)}}
    ).execute()
    write(notebook, text.with_suffix(".ipynb"))


class _Remover(ast.NodeTransformer):
    """Remove docstrings and imports from a syntax tree; collect the imported names."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def visit(self, node: ast.AST) -> ast.AST | None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            self.names |= {alias.asname or alias.name for alias in node.names}
            return None
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            node.body = node.body[1:]
        return super().visit(node)


def substance(notebook: nbformat.NotebookNode) -> tuple[list[str], set[str]]:
    """Return what determines the outputs of a notebook.

    These are the syntax tree of every code cell without its import statements and
    docstrings, and the names that are imported. Comments, the layout of the code and
    the modules that the names come from do not count.
    """
    remover = _Remover()
    trees = [
        ast.dump(remover.visit(ast.parse(cell.source))) for cell in code_cells(notebook)
    ]
    return trees, remover.names


def carry_over(text: Path) -> bool:
    """Update a notebook without executing it, if its code did not change.

    The notebook gets the cells of the source and keeps the outputs that it has. Nothing
    is written if the code differs in more than comments, docstrings and import lines.

    Returns
    -------
    carried_over : bool
        True if the notebook was written.
    """
    path = text.with_suffix(".ipynb")
    if not path.exists():
        return False
    new, kept = jupytext.read(text), nbformat.read(path, as_version=4)
    if not has_outputs(kept) or substance(new) != substance(kept):
        return False
    for cell, executed in zip(code_cells(new), code_cells(kept), strict=True):
        cell.outputs = executed.outputs
        cell.execution_count = executed.execution_count
    new.metadata = kept.metadata
    write(new, path)
    return True


def has_outputs(notebook: nbformat.NotebookNode) -> bool:
    """Return True if every code cell was executed."""
    return all(
        cell.execution_count for cell in code_cells(notebook) if cell.source.strip()
    )


def is_up_to_date(text: Path) -> bool:
    """Return True if the notebook has the cells of its source, and outputs."""
    path = text.with_suffix(".ipynb")
    if not path.exists():
        return False
    notebook = nbformat.read(path, as_version=4)
    return has_outputs(notebook) and sources(notebook) == sources(jupytext.read(text))


def check(texts: list[Path]) -> None:
    """Exit with a message if a notebook or the README is out of date."""
    if stale := [text.name for text in texts if not is_up_to_date(text)]:
        raise SystemExit(
            f"These notebooks differ from their sources: {', '.join(stale)}. Run "
            "python notebooks/build.py --changed"
        )
    if wrong := wrong_numbers():
        raise SystemExit(
            "These numbers of notebooks/README.md are not printed by the notebooks, "
            f"benchmarks or tests that their rows name: {'; '.join(wrong)}. Correct "
            "the README."
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="start of the notebooks' names")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--changed", action="store_true")
    mode.add_argument("--check", action="store_true")
    options = parser.parse_args()
    texts = sorted(FOLDER.glob("[0-9]*.py"))
    if options.names:
        texts = [text for text in texts if text.name.startswith(tuple(options.names))]
    if options.check:
        check(texts)
        return
    for text in texts:
        if options.changed:
            if is_up_to_date(text):
                continue
            if carry_over(text):
                print(f"{text.name}: outputs kept", flush=True)
                continue
        print(f"{text.name}: executing", flush=True)
        execute(text)


if __name__ == "__main__":
    main()
