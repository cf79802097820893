"""The rooms of the package: imports go one way, and the ground floor knows no layer."""

import ast
import graphlib
from functools import cache
from pathlib import Path

import pytest

import skdmn

ROOT = Path(skdmn.__file__).parent

# from the ground up: a room imports itself and those in front of it
FLOORS = [
    ("_version",),
    ("utils",),
    ("kernels",),
    ("data",),
    ("datasets", "statistics", "operations"),
    ("layers",),
    ("linear_model", "network"),
    ("presets", "model_selection"),
    ("analysis",),
    ("distributed", "export", "display", "federated"),
    ("inspection",),
    ("cli",),
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


@cache
def modules():
    """Return the source of every module, by its dotted name."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = ("skdmn", *path.relative_to(ROOT).with_suffix("").parts)
        found[".".join(parts).removesuffix(".__init__")] = path.read_text()
    return found


def imported(name, source, names):
    """Return which modules of the package a module imports, in functions too.

    What is imported for type checkers alone does not count.
    """
    found = set()
    nodes = list(ast.walk(ast.parse(source)))
    skipped = {
        id(node)
        for branch in nodes
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.dump(branch.test)
        for node in ast.walk(branch)
    }
    for node in nodes:
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in names else node.module)
    return {one for one in found if one in names} - {name}


@cache
def graph():
    """Return the modules that each module imports."""
    sources = modules()
    return {name: imported(name, text, sources) for name, text in sources.items()}


def room(name):
    return name.split(".")[1] if "." in name else None


def test_no_module_imports_itself_through_others():
    graphlib.TopologicalSorter(graph()).prepare()  # raises CycleError with the circle


def test_a_circle_would_be_found():
    sources = {"skdmn.a": "from skdmn import b", "skdmn.b": "import skdmn.a"}
    circle = {name: imported(name, text, sources) for name, text in sources.items()}
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(circle).prepare()


def test_every_room_has_a_floor():
    assert {room(name) for name in modules()} - {None, "__main__"} == set(FLOOR)


def test_imports_go_down():
    wrong = [
        f"{name} imports {other}"
        for name, others in graph().items()
        if room(name) in FLOOR
        for other in others
        if room(other) != room(name)
        and not (other == "skdmn" or FLOOR[room(other)] < FLOOR[room(name)])
    ]
    assert wrong == []


def test_kernels_know_no_estimator():
    for name, source in modules().items():
        if room(name) == "kernels":
            assert "sklearn" not in source, name


def test_cupy_is_imported_by_the_kernels_and_array_helpers_alone():
    for name, source in modules().items():
        if name.startswith("skdmn.kernels.cuda") or name == "skdmn.utils.array_api":
            continue
        assert "import cupy" not in source, name
