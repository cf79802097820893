"""The rooms of the package: imports go one way, and the ground floor knows no layer."""

import ast
import graphlib
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
    tree = ast.parse(source)
    skipped = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.dump(branch.test)
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in names else node.module)
    return {one for one in found if one in names} - {name}


GRAPH = {name: imported(name, source, modules()) for name, source in modules().items()}


def room(name):
    return name.split(".")[1] if "." in name else None


def test_no_module_imports_itself_through_others():
    graphlib.TopologicalSorter(GRAPH).prepare()  # raises CycleError with the circle


def test_a_circle_would_be_found():
    sources = {"skdmn.a": "from skdmn import b", "skdmn.b": "import skdmn.a"}
    graph = {name: imported(name, text, sources) for name, text in sources.items()}
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(graph).prepare()


def test_every_room_has_a_floor():
    assert {room(name) for name in GRAPH} - {None, "__main__"} == set(FLOOR)


@pytest.mark.parametrize("name", sorted(n for n in GRAPH if room(n) in FLOOR))
def test_imports_go_down(name):
    own = FLOOR[room(name)]
    for other in GRAPH[name]:
        if room(other) != room(name):
            assert other == "skdmn" or FLOOR[room(other)] < own, other


def test_kernels_know_no_estimator():
    for name, source in modules().items():
        if room(name) == "kernels":
            assert "sklearn" not in source, name


def test_cupy_is_imported_by_the_kernels_and_array_helpers_alone():
    for name, source in modules().items():
        if name.startswith("skdmn.kernels.cuda") or name == "skdmn.utils.array_api":
            continue
        assert "import cupy" not in source, name
