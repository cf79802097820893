"""Parts of the documentation site that are generated: names, includes, gallery, links.

``conf.py`` calls these functions. They need neither the network nor Sphinx, so that the
tests can call them, too.
"""

from __future__ import annotations

import base64
import inspect
import json
import os
import pkgutil
import re
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
URLS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
    "urls"
]

# ---------------------------------------------------------------- public names


@dataclass
class Section:
    """Public names under one heading of the API reference."""

    title: str
    text: str
    module: str
    names: list[str] = field(default_factory=list)
    parent: str = ""


# rooms of the package whose estimators and functions `skdmn` exports, in reading order
_TOP = {
    "layers": ("Layers", "Transformers that chain in a Pipeline."),
    "data": ("Files", "Models that take files; folders: :mod:`skdmn.datasets`."),
    "presets": ("Ready networks", "Functions that return an unfitted Pipeline."),
    "network": ("Networks", "Stacks of layers that run batch by batch."),
    "linear_model": ("Classifiers", "Linear models of features."),
    "model_selection": ("Model selection", "Searches that share work."),
    "display": ("Filters as pictures", "More pictures: :mod:`skdmn.display`."),
}
_MODULES = {
    "skdmn.datasets": "Data sets",
    "skdmn.data.files": "Images in files",
    "skdmn.export": "Export",
    "skdmn.distributed": "Dask",
    "skdmn.federated": "Sums of several sites",
    "skdmn.display": "Pictures",
    "skdmn.inspection": "Why this answer",
    "skdmn.kernels": "Compiled kernels",
}
_ANALYSIS = {
    "skdmn.analysis.density": "Theory: density matrices",
    "skdmn.analysis.sgd": "Theory: stochastic gradient descent",
    "skdmn.analysis.deep_linear": "Theory: deep linear networks",
    "skdmn.analysis.pc_bias": "Theory: principal components bias",
}
_OWN = {
    "skdmn.layers.base": "Layers of your own: the base class",
    "skdmn.operations": "Layers of your own: operation records",
}


def _summary(module: Any) -> str:
    return (inspect.getdoc(module) or "").split("\n\n")[0].replace("\n", " ")


def _is_documented(value: Any) -> bool:
    """Tell public functions and classes from helpers, which have no sections."""
    doc = inspect.getdoc(value) or ""
    if inspect.isclass(value):
        return bool(doc)
    return inspect.isfunction(value) and "Parameters\n---" in doc


def _names(module: Any) -> list[str]:
    """Return the public names of a module, sorted."""
    if hasattr(module, "__all__"):
        return sorted(n for n in module.__all__ if _is_callable(getattr(module, n)))
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and f"{getattr(value, '__module__', None)}.".startswith(f"{module.__name__}.")
        and _is_documented(value)
    )


def _is_callable(value: Any) -> bool:
    return inspect.isclass(value) or inspect.isfunction(value)


def _by_module(package: Any, title: str) -> list[Section]:
    """Return the public names of a package, by the module that they are from.

    A documented name that the package does not export is named with its module.
    """
    result = []
    for info in pkgutil.iter_modules(package.__path__):
        module = import_module(f"{package.__name__}.{info.name}")
        exported = [name for name in vars(module) if name in package.__all__]
        names = [
            name if name in exported else f"{info.name}.{name}"
            for name in _names(module)
        ]
        constants = [n for n in exported if not _is_callable(getattr(module, n))]
        text = _summary(module)
        if constants:
            text += f" Constants: {', '.join(f'``{name}``' for name in constants)}."
        if names:
            heading = info.name.replace("_", " ").capitalize()
            result.append(Section(heading, text, package.__name__, names, title))
    return result


@cache
def sections() -> list[Section]:
    """Return the sections of the API reference, which hold every public name."""
    import skdmn

    found: dict[str, Section] = {}
    for name in skdmn.__all__:
        room = getattr(skdmn, name).__module__.split(".")[1]
        title, text = _TOP.get(room, (room.replace("_", " ").capitalize(), ""))
        found.setdefault(room, Section(title, text, "skdmn")).names.append(name)
    order = [*_TOP, *sorted(set(found) - set(_TOP))]
    result = [found[room] for room in order if room in found]
    for path, title in _MODULES.items():
        module = import_module(path)
        names = [name for name in _names(module) if name not in skdmn.__all__]
        result.append(Section(title, _summary(module), path, names))
    for path, title in _ANALYSIS.items():
        result += _by_module(import_module(path), title)
    for path, title in _OWN.items():
        try:
            module = import_module(path)
        except ModuleNotFoundError as error:
            if error.name != path:
                raise
            continue
        names = ["ImageTransformer"] if path.endswith(".base") else _names(module)
        result.append(Section(title, _summary(module), path, names))
    return result


@cache
def public() -> dict[str, Any]:
    """Return every public object by its dotted name, which is that of its page."""
    return {
        f"{section.module}.{name}": attrgetter(name)(import_module(section.module))
        for section in sections()
        for name in section.names
    }


@cache
def _aliases() -> dict[str, str]:
    """Return the dotted public name of each short name and of each defining module."""
    short: dict[str, list[str]] = {}
    aliases = {}
    for dotted, value in public().items():
        short.setdefault(dotted.rpartition(".")[2], []).append(dotted)
        if _is_callable(value):
            aliases[f"{value.__module__}.{value.__name__}"] = dotted
            aliases[f"skdmn.display.{value.__name__}"] = dotted
    unique = {name: dotted[0] for name, dotted in short.items() if len(dotted) == 1}
    return unique | aliases | {dotted: dotted for dotted in public()}


@cache
def page_names() -> dict[str, str]:
    """Return the page of every public name: the name itself, but for few.

    A function whose name is that of a class in lower case has a page of its own also
    on systems that do not tell them apart.
    """
    lower = Counter(name.lower() for name in public())
    return {
        name: f"{name}-function"
        if lower[name.lower()] > 1 and inspect.isfunction(value)
        else name
        for name, value in public().items()
    }


def own_target(name: str) -> tuple[str, str] | None:
    """Return page and anchor of a name of this package, or None if there is none.

    Names may be short (``make_dmn``), public (``skdmn.make_dmn``), those of the
    defining module (``skdmn.presets.make_dmn``), or a method of one of these.
    """
    aliases = _aliases()
    if name in aliases:
        return f"api/{page_names()[aliases[name]]}", aliases[name]
    owner, _, member = name.rpartition(".")
    if owner in aliases and hasattr(public()[aliases[owner]], member):
        return f"api/{page_names()[aliases[owner]]}", f"{aliases[owner]}.{member}"
    return None


def name_in(name: str, owner: str) -> str | None:
    """Return the dotted name that a short one stands for in a docstring, or None.

    That may be a method of the class, a function of the module, or one of those names
    that are known in the whole package: classes, and what `skdmn` exports. (`transform`
    is a method nearly everywhere, and hardly ever the function for Dask.)
    """
    aliases = _aliases()
    if owner in public() and not name.startswith("_"):
        if inspect.isroutine(getattr(public()[owner], name, None)):
            return f"{owner}.{name}"
        owner = owner.rpartition(".")[0]
    if f"{owner}.{name}" in aliases:
        return aliases[f"{owner}.{name}"]
    first = name.partition(".")[0]
    if "." in name or first[:1].isupper() or f"skdmn.{name}" in public():
        return name if own_target(name) else None
    return None


def name_in_text(name: str) -> str | None:
    """Return the dotted name that code in a text stands for, or None.

    The pages of the papers name functions from `skdmn.analysis` on.
    """
    name = name.removesuffix("()")
    aliases = _aliases()
    if f"skdmn.analysis.{name}" in aliases:
        return aliases[f"skdmn.analysis.{name}"]
    if "_" in name and name in aliases:
        return aliases[name]
    return name_in(name, "skdmn")


def api_index() -> str:
    """Return the page that lists every public name, in reStructuredText."""
    lines = [
        "API reference",
        "=============",
        "",
        "Every public function and class, by the part of the package it belongs to.",
        "Estimators follow scikit-learn's conventions; images are channels-last.",
        "",
    ]
    parent = ""
    for section in sections():
        if section.parent != parent and section.parent:
            lines += [f".. py:module:: {section.module}", ""]
            lines += [section.parent, "-" * len(section.parent), ""]
        parent = section.parent
        underline = "~" if section.parent else "-"
        lines += [
            *([f".. py:module:: {section.module}", ""] if not section.parent else []),
            section.title,
            underline * len(section.title),
            "",
            section.text,
            "",
            f".. currentmodule:: {section.module}",
            "",
            ".. autosummary::",
            "   :toctree: .",
            "   :nosignatures:",
            "",
            *(f"   {name}" for name in section.names),
            "",
        ]
    # a module is declared once, though several sections may show names of it
    text, seen = [], set()
    for line in lines:
        if line.startswith(".. py:module::"):
            if line in seen:
                continue
            seen.add(line)
        text.append(line)
    return "\n".join(text) + "\n"


def write_api_index() -> None:
    """Write the list of names, and drop the pages of names that are gone."""
    folder = HERE / "api"
    folder.mkdir(exist_ok=True)
    for page in folder.glob("*.rst"):
        if page.stem != "index" and page.stem not in page_names().values():
            page.unlink()
    _write(folder / "index.rst", api_index().encode())


# ---------------------------------------------------------------- other projects

# Pages of these projects are named by a rule, so that no inventory has to be downloaded
_GENERATED = {
    "sklearn": "https://scikit-learn.org/stable/modules/generated/{}.html",
    "numpy": "https://numpy.org/doc/stable/reference/generated/{}.html",
    "scipy": "https://docs.scipy.org/doc/scipy/reference/generated/{}.html",
    "joblib": "https://joblib.readthedocs.io/en/stable/generated/{}.html",
    "torch": "https://docs.pytorch.org/docs/stable/generated/{}.html",
}
_EXCEPTIONS = {
    "dask.array.Array": "https://docs.dask.org/en/stable/generated/dask.array.Array.html",
    "joblib.Memory": "https://joblib.readthedocs.io/en/stable/memory.html",
    "matplotlib.axes.Axes": "https://matplotlib.org/stable/api/axes_api.html",
    "matplotlib.figure.Figure": "https://matplotlib.org/stable/api/figure_api.html",
    "numpy.random.RandomState": (
        "https://numpy.org/doc/stable/reference/random/legacy.html"
    ),
}
_PYTHON = {
    "library/functions.html#{}": "float int bool iter len",
    "library/stdtypes.html#{}": "str list tuple dict set bytes",
    "library/exceptions.html#{}": "ValueError TypeError RuntimeError ImportError",
}
# labels that docstrings inherited from scikit-learn refer to
_LABELS = {
    "accuracy_score": "modules/model_evaluation.html#accuracy-score",
    "df_output_transform": "modules/df_output_transform.html",
    "metadata_routing": "metadata_routing.html",
    "sphx_glr_auto_examples_miscellaneous_plot_set_output.py": (
        "auto_examples/miscellaneous/plot_set_output.html"
    ),
}


def _exists(name: str) -> bool | None:
    """Whether an installed library has a name; None if it is not installed."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            value: Any = import_module(".".join(parts[:end]))
        except ImportError:
            continue
        try:
            for part in parts[end:]:
                value = getattr(value, part)
        except AttributeError:
            return False
        except ImportError:  # experimental: it has to be enabled first
            return True
        return True
    return None


def external_target(name: str) -> str | None:
    """Return the address of a name of another project, or None.

    A name that an installed library does not have gives None, so that Sphinx warns.
    """
    for pattern, names in _PYTHON.items():
        if name in names.split():
            return "https://docs.python.org/3/" + pattern.format(name)
    if name in _EXCEPTIONS:
        return _EXCEPTIONS[name]
    library = name.partition(".")[0]
    if library not in _GENERATED or "._" in name or _exists(name) is False:
        return None
    page, anchor = name, ""
    owner = name.rpartition(".")[0]
    if library == "sklearn" and owner.rpartition(".")[2][:1].isupper():
        page, anchor = owner, f"#{name}"  # methods are on the page of their class
    return _GENERATED[library].format(page) + anchor


def label_target(kind: str, name: str) -> str | None:
    """Return the address of a label or glossary term of scikit-learn, or None."""
    if kind == "term":
        anchor = re.sub(r"\W+", "-", name.strip()).strip("-")
        return f"https://scikit-learn.org/stable/glossary.html#term-{anchor}"
    return (
        f"https://scikit-learn.org/stable/{_LABELS[name]}" if name in _LABELS else None
    )


# ---------------------------------------------------------------- included files

_INCLUDE = re.compile(
    r"^<!-- include (?P<file>[\w./-]+)(#(?P<anchor>[\w-]+))?"
    r"(?P<bare> without heading)?(?P<optional> if there)? -->$",
    re.MULTILINE,
)
_HEADING = re.compile(r"^(#{1,6}) +(.*?)\s*$")
_FENCE = re.compile(r"^\s*(```|~~~)")
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")


def slug(heading: str) -> str:
    """Return the anchor that GitHub and MyST give to a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


def _headings(text: str) -> list[tuple[int, int, str]]:
    """Return line number, level and anchor of every heading outside of code."""
    found, in_code = [], False
    for number, line in enumerate(text.splitlines()):
        if _FENCE.match(line):
            in_code = not in_code
        elif not in_code and (match := _HEADING.match(line)):
            found.append((number, len(match[1]), slug(match[2])))
    return found


def section_of(text: str, anchor: str) -> str | None:
    """Return a section of a Markdown text with its heading, or None."""
    headings = _headings(text)
    lines = text.splitlines()
    for index, (number, level, name) in enumerate(headings):
        if name == anchor:
            ends = [n for n, other, _ in headings[index + 1 :] if other <= level]
            return "\n".join(lines[number : ends[0] if ends else None]) + "\n"
    return None


def _shifted(text: str, top: int) -> str:
    """Return a text whose highest heading has a given level."""
    headings = _headings(text)
    if not headings:
        return text
    shift = top - min(level for _, level, _ in headings)
    lines = text.splitlines()
    for number, level, _ in headings:
        lines[number] = "#" * (level + shift) + lines[number][level:]
    return "\n".join(lines) + "\n"


def _included(match: re.Match[str]) -> str | None:
    """Return what an include comment asks for, or None if it is not there."""
    path = ROOT / match["file"]
    if not path.exists():
        return None
    text = path.read_text()
    return section_of(text, match["anchor"]) if match["anchor"] else text


@cache
def _places() -> dict[tuple[str, str], str]:
    """Return on which page a file, or a heading of a file, is included."""
    places: dict[tuple[str, str], str] = {}
    for page in sorted(HERE.rglob("*.md")):
        if page == HERE / "README.md":
            continue
        document = page.relative_to(HERE).as_posix()
        for match in _INCLUDE.finditer(page.read_text()):
            text = _included(match)
            if text is None:
                continue
            places.setdefault((match["file"], ""), document)
            if match["bare"]:  # the anchor of its heading is not there
                continue
            for _, _, anchor in _headings(text):
                places.setdefault((match["file"], anchor), document)
    # these name a file of which several pages have parts
    return places | {
        ("README.md", ""): "index.md",
        ("notebooks/README.md", ""): "gallery.md",
    }


def _link(target: str, file: str, page: str) -> str:
    """Return what a link in an included file becomes on a page."""
    if re.match(r"[a-z]+:", target):
        return target
    path, _, anchor = target.partition("#")
    place = os.path.normpath(os.path.join(os.path.dirname(file), path))
    whole = file if not path else place
    there = _places().get((whole, anchor)) or _places().get((whole, ""))
    if there == page and anchor:
        return f"#{anchor}"
    if there:
        known = (whole, anchor) in _places() and anchor
        return f"/{there}" + (f"#{anchor}" if known else "")
    if place.startswith("notebooks/"):
        return "/" + place.removeprefix("notebooks/")
    kind = "tree" if (ROOT / place).is_dir() else "blob"
    return f"{URLS['Source']}/{kind}/main/{place}"


def _with_links(text: str, file: str, page: str) -> str:
    """Return an included text with its links and pictures mended."""

    def mended(match: re.Match[str]) -> str:
        mark, label, target = match.groups()
        if mark:
            picture = (ROOT / file).parent / target
            target = os.path.relpath(picture, (HERE / page).parent)
        else:
            target = _link(target, file, page)
        return f"{mark}[{label}]({target})"

    lines, in_code = [], False
    # a link's label may run over the end of a line
    for part in re.split(r"(^\s*(?:```|~~~).*$)", text, flags=re.MULTILINE):
        if _FENCE.match(part):
            in_code = not in_code
            lines.append(part)
        else:
            lines.append(part if in_code else _LINK.sub(mended, part))
    return "".join(lines)


def with_includes(text: str, page: str) -> tuple[str, list[Path], list[str]]:
    """Replace the include comments of a page.

    Returns the text, the files it depends on, and what is missing.
    """
    files: list[Path] = []
    missing: list[str] = []
    has_title = any(level == 1 for _, level, _ in _headings(text))

    def replaced(match: re.Match[str]) -> str:
        files.append(ROOT / match["file"])
        found = _included(match)
        if found is None:
            if not match["optional"]:
                missing.append(match[0])
            return ""
        found = _shifted(found, 2 if has_title else 1)
        if match["bare"]:
            found = found.partition("\n")[2]
        return _with_links(found, match["file"], page)

    return _INCLUDE.sub(replaced, text), files, missing


# ---------------------------------------------------------------- gallery


def notebooks() -> list[Path]:
    return sorted(HERE.glob("[0-9]*.ipynb"))


def _first_lines(notebook: dict[str, Any]) -> tuple[str, str]:
    """Return the title of a notebook, and the first sentence under it."""
    source = "".join(notebook["cells"][0]["source"])
    title, _, rest = source.lstrip("# ").partition("\n")
    paragraph = " ".join(rest.strip().split("\n\n")[0].split())
    sentence = re.split(r"(?<=[.?])\s", paragraph)[0]
    return title.strip(), sentence


# which of a notebook's pictures stands for it, if not the first
_PICTURE = {"01_quick_start": 1, "11_photographs": 2}


def write_thumbnails() -> None:
    """Write a picture of every notebook to a file."""
    for path in notebooks():
        pictures = [
            output["data"]["image/png"]
            for cell in json.loads(path.read_text())["cells"]
            for output in cell.get("outputs", [])
            if "image/png" in output.get("data", {})
        ]
        if pictures:
            chosen = pictures[_PICTURE.get(path.stem, 0) % len(pictures)]
            picture = base64.b64decode("".join(chosen))
            _write(HERE / "thumbnails" / f"{path.stem}.png", picture)


def gallery() -> str:
    """Return the cards of the notebooks, in MyST Markdown."""
    lines = ["::::{grid} 1 2 2 3", ":gutter: 3", ""]
    for path in notebooks():
        title, sentence = _first_lines(json.loads(path.read_text()))
        lines += [f":::{{grid-item-card}} {title}"]
        if (HERE / "thumbnails" / f"{path.stem}.png").exists():
            lines += [f":img-top: thumbnails/{path.stem}.png", ":img-alt: a figure"]
        lines += [f":link: {path.stem}", ":link-type: doc", "", sentence, ":::", ""]
    return "\n".join([*lines, "::::", ""])


def _write(path: Path, content: bytes) -> None:
    """Write a file unless it has that content already: Sphinx goes by times."""
    path.parent.mkdir(exist_ok=True)
    if not path.exists() or path.read_bytes() != content:
        path.write_bytes(content)
