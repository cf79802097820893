"""The documentation site: its examples run, its links lead somewhere, browsers show it.

SKDMN_SITE names a folder with the site built; without it, a test builds it.
"""

import functools
import http.server
import importlib
import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import skdmn
from skdmn.utils import documentation

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
NEEDED = {
    "quick_start": ["matplotlib"],
    "inspect": ["matplotlib"],
    "theory": ["matplotlib"],
    "export": ["onnxruntime", "onnx", "skops", "torch"],
    "many_images": ["dask"],
    "pictures": ["PIL"],
}
PAGES = [NOTEBOOKS / "quick_start.md", *sorted((NOTEBOOKS / "guide").glob("*.md"))]

pytestmark = pytest.mark.skipif(
    not (NOTEBOOKS / "conf.py").exists(), reason="the site is not in this distribution"
)


def of_notebooks(name):
    """Import a module from the folder of the notebooks."""
    sys.path.insert(0, str(NOTEBOOKS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(NOTEBOOKS))


@pytest.fixture(scope="module")
def pages():
    return of_notebooks("pages")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_run_one_after_the_other(page, capsys, tmp_path, monkeypatch):
    for package in NEEDED.get(page.stem, []):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert blocks or page.stem == "index"
    names = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)
    assert "False" not in capsys.readouterr().out.split()  # comparisons are printed


def test_numbers_on_the_papers_are_printed_by_what_their_rows_name():
    if not (ROOT / "benchmarks" / "README.md").exists():
        pytest.skip("benchmarks are not in this distribution")
    claims = of_notebooks("claims")
    page = (NOTEBOOKS / "README.md").read_text()
    assert not claims.wrong_numbers(page)
    found = list(claims.rows(page))
    assert len({source for *_, sources in found for source in sources}) > 20
    for row, ours, _ in found:  # a number more in any row, with or without a source
        wrong = claims.wrong_numbers(f"| {row} | f | s | {ours} or 0.123457 | |")
        assert f"0.123457 ({row})" in wrong
    changed = page.replace("0.7934", "0.7935")
    assert [name.split()[0] for name in claims.wrong_numbers(changed)] == ["0.7935"]


def test_every_public_name_has_a_page(pages):
    names = set(pages.public())
    assert {f"skdmn.{name}" for name in skdmn.__all__} <= names
    rooms = ("skdmn.datasets", "skdmn.data.files", "skdmn.export", "skdmn.inspection")
    for module in rooms:
        assert any(name.startswith(module) for name in names), module
    for room in ("density", "sgd", "deep_linear", "pc_bias"):
        assert any(name.startswith(f"skdmn.analysis.{room}.") for name in names), room
    files = [name.lower() for name in pages.page_names().values()]
    assert len(set(files)) == len(files)  # also where case does not count


def test_links_of_included_files_lead_to_pages(pages):
    text, files, missing = pages.with_includes(
        "<!-- include benchmarks/README.md -->", "benchmarks.md"
    )
    assert not missing
    assert files == [ROOT / "benchmarks" / "README.md"]
    assert "(../benchmarks/results/" in text  # pictures
    assert "(/scale.md)" in text
    assert not re.search(r"\]\((\.\./)?(README|SCALE)\.md", text)


def test_a_section_that_is_missing_is_reported_unless_optional(pages):
    comment = "<!-- include README.md#no-such-section{} -->"
    assert pages.with_includes(comment.format(""), "index.md")[2]
    text, _, missing = pages.with_includes(comment.format(" if there"), "index.md")
    assert (text, missing) == ("", [])


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (
            "sklearn.pipeline.Pipeline",
            "scikit-learn.org/stable/modules/generated/sklearn.pipeline.Pipeline.html",
        ),
        (
            "sklearn.pipeline.Pipeline.fit",
            "sklearn.pipeline.Pipeline.html#sklearn.pipeline.Pipeline.fit",
        ),
        (
            "numpy.ndarray",
            "numpy.org/doc/stable/reference/generated/numpy.ndarray.html",
        ),
        ("sklearn.pipeline.NoSuchThing", None),
        ("elsewhere.Thing", None),
    ],
)
def test_names_of_other_projects_have_addresses(pages, name, address):
    found = pages.external_target(name)
    assert (found is None) if address is None else found.endswith(address)


def test_addresses_of_pages_are_those_that_estimators_link_to(pages):
    assert pages.URLS["Documentation"] == documentation.SITE
    for name in skdmn.__all__:
        value = getattr(skdmn, name)
        if inspect.isclass(value) and issubclass(value, documentation.DocLinkMixin):
            page = (
                f"{documentation.SITE}/api/{pages.page_names()[f'skdmn.{name}']}.html"
            )
            assert value._doc_link_template.format(estimator_name=name) == page


def test_citation_is_of_this_version():
    text = (ROOT / "CITATION.cff").read_text()
    assert f"version: {skdmn.__version__}\n" in text
    assert "doi" not in text.lower()
    assert {"1703.04757v1", "1703.04757v3", "1312.6120", "2105.05553"} <= set(
        re.findall(r"arxiv.org/abs/([\w.]+)", text)
    )


# the site as it is built


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if built := os.environ.get("SKDMN_SITE"):
        return Path(built).resolve()
    needed = ("sphinx", "numpydoc", "myst_nb", "pydata_sphinx_theme", "sphinx_design")
    for package in (*needed, "sphinx_copybutton", "latex2mathml", "dask", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f'{package} is not installed; pip install -e ".[docs]"')
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    subprocess.run([*command, NOTEBOOKS, folder], check=True)
    return folder


class Links(HTMLParser):
    """Collects the anchors of a page, and what it refers to."""

    def __init__(self):
        super().__init__()
        self.anchors, self.targets = {"", "top"}, []

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.targets.append(value)


def parsed(page):
    links = Links()
    links.feed(page.read_text())
    return links


def built_pages(site):
    """Return the pages, without the theme's templates."""
    return [page for page in site.rglob("*.html") if "_static" not in page.parts]


@pytest.mark.slow
def test_relative_links_lead_somewhere(site):
    found = {page: parsed(page) for page in built_pages(site)}
    assert len(found) > 100
    broken = []
    for page, links in found.items():
        for target in links.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc or target.startswith("#tab"):
                continue
            path = unquote(parts.path)
            other = (page.parent / path).resolve() if path else page.resolve()
            if not other.exists() or (
                other in found and unquote(parts.fragment) not in found[other].anchors
            ):
                broken.append((page.name, target))
    assert not broken


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere(site):
    for page in built_pages(site):
        sources = re.findall(
            r'<(?:script|img|link rel="stylesheet")[^>]*(?:src|href)="([^"]*)"',
            page.read_text(),
        )
        assert not [s for s in sources if urlsplit(s).netloc], page


@pytest.mark.slow
def test_every_public_name_is_built(site, pages):
    for name, page in pages.page_names().items():
        assert f'id="{name}"' in (site / "api" / f"{page}.html").read_text(), name


@pytest.fixture(scope="module")
def address(site):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browse(address, tmp_path_factory):
    """Return what opens a page in Chromium, and gives the page as it became there."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")

    def page(path, *options):
        command = [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--window-size=1400,1000",
            f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
            "--virtual-time-budget=8000", *options, "--dump-dom", f"{address}/{path}",
        ]  # fmt: skip
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    return page


@pytest.mark.slow
def test_a_browser_shows_title_and_figures(browse, site):
    home = browse("index.html")
    assert "<title>skdmn" in home
    assert "Image features, computed instead of trained" in home
    gallery = browse("01_quick_start.html")
    pictures = re.findall(r'<img[^>]*src="(_images/[^"]*\.png)"', gallery)
    assert pictures
    assert all((site / picture).stat().st_size > 1000 for picture in pictures)


@pytest.mark.slow
def test_the_search_finds_an_estimator(browse):
    found = browse("search.html?q=ClassPCAPatchTransformer")
    assert "api/skdmn.ClassPCAPatchTransformer.html" in found
    assert re.search(r"found \d+ page|Search finished", found)
