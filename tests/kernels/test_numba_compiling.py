"""The cache of compiled kernels: whatever is on the disk, results are right."""

import ast
import errno
import importlib
import inspect
import io
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import skdmn

compiling = pytest.importorskip(
    "skdmn.kernels.numba.compiling", reason="Numba compiles the kernels"
)
numba, PACKAGE = compiling.numba, compiling.__package__
NAMES = ["blocks", "contrast", "convolution", "moments", "softmax"]
MODULES = [importlib.import_module(f"{PACKAGE}.{name}") for name in NAMES]
blocks, softmax = MODULES[0], MODULES[-1]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Cache kernels in an empty folder."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    compiling._warn.cache_clear()
    return tmp_path


def result(constant, module=softmax.__name__):
    """Return the constant that a kernel of a new process was compiled with.

    The key of the cache does not hold it, because it is in no file. It shows whether
    the kernel comes from the cache.
    """
    names = {"constant": constant, "__name__": module}
    exec(compile("def tested(a): return a + constant", __file__, "exec"), names)
    return compiling.kernel(names["tested"])(0)


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_kernel_is_compiled_once(folder):
    assert [result(1), result(2)] == [1, 1]
    (file,) = files(folder)
    assert file.name.startswith("softmax.tested.")
    assert file.suffix == ".kernel"


@pytest.mark.parametrize("length", [0, 10, 32, 500, -1])
def test_a_truncated_file_is_replaced(folder, length):
    result(1)
    (file,) = files(folder)
    whole = file.read_bytes()
    file.write_bytes(whole[:length])
    assert [result(2), result(3)] == [2, 2]
    # the machine code of two compilations may differ by some bytes
    assert len(file.read_bytes()) > max(length, len(whole) // 2)


def test_a_damaged_file_is_replaced(folder, rng):
    result(1)
    (file,) = files(folder)
    for constant in range(2, 12):
        content = bytearray(file.read_bytes())
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        file.write_bytes(content)
        assert [result(constant), result(-1)] == [constant] * 2


@pytest.mark.parametrize("content", [b"", b"\x00" * 4096, b"not a kernel" * 99])
def test_garbage_is_replaced(folder, content):
    result(1)
    (file,) = files(folder)
    file.write_bytes(content)
    assert [result(2), result(3)] == [2, 2]


def test_a_file_that_cannot_be_read_or_replaced_is_passed_by(folder):
    result(1)
    (file,) = files(folder)
    file.unlink()
    file.mkdir()
    with pytest.warns(RuntimeWarning, match="Compiled kernels cannot be stored in"):
        assert result(2) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # one warning in a process
        assert result(3) == 3
    assert not files(folder)


@pytest.mark.parametrize("at", ["open", "write"])
def test_on_a_full_disk_kernels_stay_in_memory(folder, monkeypatch, at):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    class Full(io.FileIO):
        def write(self, content):
            super().write(content[:100])
            full()

    instead = full if at == "open" else Full
    monkeypatch.setattr(compiling, "open", instead, raising=False)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        assert result(1) == 1
    assert result(2) == 2
    assert not files(folder)


def test_without_a_folder_kernels_stay_in_memory(folder, monkeypatch):
    def nowhere(self, function):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(compiling.FunctionCache, "__init__", nowhere)
    assert [result(1), result(2)] == [1, 2]


def other_cpu(monkeypatch):
    codegen = type(numba.core.registry.cpu_target.target_context.codegen())
    monkeypatch.setattr(codegen, "magic_tuple", lambda self: ("x86", "other", ""))


@pytest.mark.parametrize(
    "change",
    [
        other_cpu,
        lambda patch: patch.setattr(compiling, "_SOURCES", "0" * 64),
        lambda patch: patch.setattr(compiling, "_COMPILER", ("other",)),
        lambda patch: patch.setattr(numba.config, "BOUNDSCHECK", 1),
        lambda patch: patch.setattr(numba.config, "CPU_NAME", "generic"),
    ],
    ids=["cpu", "sources", "compiler", "settings", "name"],
)
def test_everything_that_a_kernel_is_compiled_from_counts(folder, monkeypatch, change):
    assert result(1) == 1
    with monkeypatch.context() as patch:
        change(patch)
        patch.setattr(compiling, "_hash_of_sources", lambda: compiling._SOURCES)
        assert [result(2), result(3)] == [2, 2]


def test_the_versions_and_the_width_of_vectors_are_part_of_the_compiler():
    compiler = compiling._COMPILER
    assert {sys.version, numba.__version__, blocks.VECTOR_BYTES} <= set(compiler)


def test_files_of_other_sources_are_removed(folder):
    result(1)
    (file,) = files(folder)
    of_others = file.with_name(file.name.replace("tested", "tested_too"))
    sources = f".{compiling._SOURCES[:12]}."
    outdated = file.with_name(file.name.replace(sources, ".0123456789ab."))
    other_cpu = file.with_name("0".join(file.name.rsplit(file.name[-9], 1)))
    half = file.with_name(f"{outdated.name}.12345678.new")
    for path in (of_others, outdated, other_cpu, half):
        path.write_bytes(b"")
    file.unlink()
    result(2)
    assert set(files(folder)) == {file, of_others, other_cpu}


def test_sources_that_changed_after_the_import_are_not_cached(folder, monkeypatch):
    monkeypatch.setattr(compiling, "_hash_of_sources", lambda: "1" * 64)
    assert [result(1), result(2)] == [1, 2]
    assert not files(folder)


def test_kernels_without_sources_are_not_cached(folder, monkeypatch):
    monkeypatch.setattr(compiling, "_hash_of_sources", lambda: "")
    monkeypatch.setattr(compiling, "_SOURCES", "")
    assert [result(1), result(2)] == [1, 2]
    assert not files(folder)


def test_functions_of_other_packages_are_not_cached(folder):
    assert [result(1, "elsewhere"), result(2, "elsewhere")] == [1, 2]
    assert not files(folder)


def test_recompiling_removes_the_file(folder):
    names = {"constant": 1, "__name__": softmax.__name__}
    exec(compile("def tested(a): return a + constant", __file__, "exec"), names)
    kernel = compiling.kernel(names["tested"])
    assert kernel(0) == 1
    names["constant"] = 2
    kernel.recompile()
    assert [kernel(0), result(3)] == [2, 2]


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_kernels_take_all_that_they_need_from_hashed_modules(module):
    tree = ast.parse(inspect.getsource(module))
    unhashed = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("skdmn.")
        for alias in node.names
        if not node.module.startswith(PACKAGE)
    }
    kernels = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.decorator_list
    ]
    assert kernels
    for node in kernels:
        names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        if {"kernel", "numba"} & names:
            assert not names & unhashed, node.name
    for node in ast.walk(tree):
        assert getattr(node, "arg", None) != "cache", "use `kernel`"


ENERGIES = """
import numpy as np
from skdmn import ClassPCAPatchTransformer, MaxPool2DTransformer
from skdmn.datasets import load_digits_images

X, y = load_digits_images()
layer = ClassPCAPatchTransformer(3, n_filters=6).fit(X, y)
features = MaxPool2DTransformer(2).fit_transform(layer.transform(X))
print(repr([float(layer.energies_[-1]), float(np.abs(features).sum())]))
"""


def energies(cache, sources=None, **environment):
    """Compute energies and features in a new process, with a cache of kernels."""
    child = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", ENERGIES],
        env={
            **os.environ,
            "NUMBA_CACHE_DIR": str(cache),
            "PYTHONPATH": str(sources or Path(skdmn.__file__).parents[1]),
            **environment,
        },
        cwd=cache.parent,  # the folder of the caller is searched for the package first
        capture_output=True,
        text=True,
        check=False,
    )
    assert not child.returncode, child.stderr
    return ast.literal_eval(child.stdout)


@pytest.mark.slow
def test_a_cache_of_another_vector_width_is_not_used(tmp_path):
    name = blocks.llvm.get_host_cpu_name()
    cache = tmp_path / "cache"
    expected = energies(cache)
    n_files = len(files(cache))
    assert energies(cache, NUMBA_CPU_NAME=name) == pytest.approx(expected)
    assert len(files(cache)) == 2 * n_files
    assert energies(cache, NUMBA_ENABLE_AVX="0") == pytest.approx(expected)
    assert energies(cache) == expected
    assert energies(cache, NUMBA_CPU_NAME=name) == pytest.approx(expected)
    assert len(files(cache)) == 3 * n_files


@pytest.mark.slow
def test_an_edit_of_the_building_blocks_counts(tmp_path):
    sources = tmp_path / "sources"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(skdmn.__file__).parent, sources / "skdmn", ignore=ignored)
    expected = energies(tmp_path / "cache", sources)
    edited = sources / "skdmn" / "kernels" / "numba" / "blocks.py"
    text = edited.read_text()
    product = "product = builder.fmul(factor, vector, flags=_FUSE)"
    assert product in text
    edited.write_text(text.replace(product, product.replace("factor, v", "vector, v")))
    wrong = energies(tmp_path / "cache", sources)
    assert wrong != pytest.approx(expected, rel=0.01)
    edited.write_text(text)
    assert energies(tmp_path / "cache", sources) == expected


@pytest.mark.slow
def test_fits_need_no_threading_layer(tmp_path):
    expected = energies(tmp_path)
    for layer in ("tbb", "omp", "safe", "workqueue"):  # whatever is installed
        assert energies(tmp_path, NUMBA_THREADING_LAYER=layer) == expected


@pytest.mark.slow
def test_damaged_caches_of_all_kernels_are_replaced(tmp_path, rng):
    expected = energies(tmp_path)
    whole = {path: path.read_bytes() for path in files(tmp_path)}
    for damage in (
        lambda content: content[: rng.integers(len(content))],
        lambda content: b"",
        lambda content: content[:100] + b"\xff" * 50 + content[150:],
    ):
        for path, content in whole.items():
            path.write_bytes(damage(content))
        assert energies(tmp_path) == expected
        assert set(files(tmp_path)) == set(whole)
