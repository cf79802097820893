"""Sphinx configuration of the documentation site.

``python -m sphinx -W --keep-going -b html notebooks build/site`` builds it, without the
network. Notebooks are shown as they were executed; nothing is executed here.
"""

import re
import sys
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import pages
from docutils import nodes
from latex2mathml.converter import convert
from numpydoc.xref import DEFAULT_LINKS
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

from skdmn import __version__

project = "skdmn"
author = "The skdmn developers"
copyright = author
release = version = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "numpydoc",
    "myst_nb",
    "sphinx_design",
    "sphinx_copybutton",
]
root_doc = "index"
exclude_patterns = ["README.md", ".ipynb_checkpoints", "_templates"]
templates_path = ["_templates"]
suppress_warnings = ["config.cache"]  # functions in this file
nitpicky = True  # every name that a docstring refers to has to exist
default_role = "name"  # links `make_dmn`, leaves `X` alone

extlinks = {"source": (f"{pages.URLS['Source']}/blob/main/%s", "%s")}

autosummary_generate = ["api/index.rst"]
autosummary_filename_map = pages.page_names()
autodoc_typehints = "none"  # numpydoc's sections have the types
maximum_signature_line_length = 72
toc_object_entries_show_parents = "hide"
python_display_short_literal_types = True

numpydoc_show_class_members = False
DEFAULT_LINKS.clear()  # int, str and the like need no link
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"  # but for these
numpydoc_xref_aliases = {
    "ndarray": "numpy.ndarray",
    "RandomState": "numpy.random.RandomState",
    "Pipeline": "sklearn.pipeline.Pipeline",
    "Bunch": "sklearn.utils.Bunch",
    "Axes": "matplotlib.axes.Axes",
    "Figure": "matplotlib.figure.Figure",
    "DensityMatrixNetwork": "skdmn.DensityMatrixNetwork",
    "IncrementalRidgeClassifier": "skdmn.IncrementalRidgeClassifier",
    "SoftmaxClassifier": "skdmn.SoftmaxClassifier",
    "SoftmaxClassifierCV": "skdmn.SoftmaxClassifierCV",
}

nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4

html_theme = "pydata_sphinx_theme"
html_title = f"skdmn {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "header_links_before_dropdown": 7,
}
html_sidebars = {
    page: [] for page in ("index", "install", "quick_start", "papers", "faq", "cite")
} | {"changelog": [], "api/*": []}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

logger = logging.getLogger(__name__)


def generate(app: Sphinx, config: Any) -> None:
    """Write the pages and pictures that are not kept in the repository."""
    pages.write_api_index()
    pages.write_thumbnails()


def fill_in(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put included files and the gallery in the place of their comments."""
    page = app.env.doc2path(docname, base=False)
    if not str(page).endswith(".md"):
        return
    text, files, missing = pages.with_includes(source[0], str(page))
    for file in files:
        app.env.note_dependency(str(file))
    for comment in missing:
        logger.warning("%s: there is no such file or section", comment, location=page)
    source[0] = text.replace("<!-- gallery -->", pages.gallery())


def resolve(app: Sphinx, env: Any, node: nodes.Element, content: nodes.Element) -> Any:
    """Find names that Sphinx does not: short ones, and those of other projects."""
    name, kind = node["reftarget"], node["reftype"]
    if node.get("refdomain") == "std":
        address = pages.label_target(kind, name)
    else:
        if own := pages.own_target(name):
            page, anchor = own
            start = node.get("refdoc", "index")
            return make_refnode(app.builder, start, page, anchor, content, name)
        address = pages.external_target(name)
    if address is None:
        return None
    reference = nodes.reference("", "", internal=False, refuri=address)
    if not node.get("refexplicit") and kind in ("ref", "term"):
        content = nodes.inline(content.astext(), content.astext())
    reference += content
    return reference


_WITH_TYPES = ("Parameters", "Other Parameters", "Attributes", "Returns", "Yields")


def escape(app: Sphinx, kind: str, name: str, obj: Any, options: Any, lines: Any):
    """Keep plain text such as ``(n_features_in_,)`` or ``|w|`` from being markup."""
    if not str(getattr(obj, "__module__", "skdmn")).startswith("skdmn"):
        return
    section, backquote, block = "", "", -1
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if not line:
            backquote = ""
            continue
        if number + 1 < len(lines) and lines[number + 1].startswith("---"):
            section = line
        if line.lstrip().startswith(".. "):
            block = indent  # a directive: all that is indented more
        elif indent <= block:
            block = -1
        if block >= 0 or section in ("See Also", "Examples") or line.startswith("---"):
            continue
        if section in _WITH_TYPES and not indent and line != section:
            names, colon, kinds = line.rpartition(" : ")
            if colon or section in ("Returns", "Yields"):
                kinds = _plain(kinds, "")[0].replace("*", r"\*")
                lines[number] = names + colon + kinds
            continue
        lines[number], backquote = _plain(line, backquote)


def _plain(line: str, backquote: str) -> tuple[str, str]:
    """Escape what is outside of backquotes, which may stay open at a line's end."""
    parts = re.split(r"(`+)", line)
    for index, part in enumerate(parts):
        if part.startswith("`"):
            backquote = "" if backquote == part else backquote or part
        elif not backquote:
            parts[index] = re.sub(r"(?<=\w)_(?!\w)|\||\*(?=\w+\))", r"\\\g<0>", part)
    return "".join(parts), backquote


def name_role(role, rawtext, text, lineno, inliner, options=None, content=()):
    """Link a name of the package in single backquotes; all else is code."""
    context = inliner.document.settings.env.ref_context
    name = text.removesuffix("()")
    owner = ".".join(filter(None, (context.get("py:module"), context.get("py:class"))))
    target = pages.name_in(name, owner)
    if target is None:
        return [nodes.literal(rawtext, text)], []
    return inliner.parse(
        f":py:obj:`{text} <{target}>`", lineno, inliner, inliner.parent
    )


def link_names(app: Sphinx, doctree: nodes.document) -> None:
    """Link names of the package that texts and notebooks have as code."""
    document = app.env.docname
    if document.startswith("api/"):
        return
    for node in list(doctree.findall(nodes.literal)):
        target = pages.name_in_text(node.astext())
        if target and not isinstance(node.parent, (nodes.reference, pending_xref)):
            reference = pending_xref(
                "", refdomain="py", reftype="obj", reftarget=target, refdoc=document
            )
            node.replace_self(reference)
            reference += node


def mathml(display: str) -> tuple[Any, Any]:
    """Return visitors that write MathML, which browsers show without a script."""

    def visit(self: Any, node: nodes.Element) -> None:
        math = convert(node.astext(), display=display)
        tag = "div" if display == "block" else "span"
        self.body.append(f'<{tag} class="math">{math}</{tag}>')
        raise nodes.SkipNode

    return visit, None


def setup(app: Sphinx) -> None:
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    app.add_role("name", name_role)
    app.add_html_math_renderer("mathml", mathml("inline"), mathml("block"))
    app.connect("config-inited", generate)
    app.connect("source-read", fill_in)
    app.connect("doctree-read", link_names)
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-docstring", escape, priority=100)
