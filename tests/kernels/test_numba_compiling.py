"""The cache of compiled kernels: whatever is on the disk, results are right."""

import ast
import errno
import importlib
import inspect
import io
import itertools
import logging
import os
import shutil
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

import skdmn
from skdmn.kernels import dispatch, warming
from skdmn.utils import locks

compiling = pytest.importorskip(
    "skdmn.kernels.numba.compiling", reason="Numba compiles the kernels"
)
numba, PACKAGE = compiling.numba, compiling.__package__
NAMES = ["blocks", "contrast", "convolution", "moments", "shared", "softmax"]
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
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    names = {
        node.name: {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        for node in functions
    }
    compiled = {
        node.name
        for node in functions
        for mark in node.decorator_list
        for part in ast.walk(mark)
        if getattr(part, "id", None) in ("kernel", "inner", "numba", "intrinsic")
    }
    # functions of `shared` have no decorator: `code` compiles them
    kernels = compiled | ({*names} & names.get("code", set()))
    assert kernels
    for name in kernels:
        assert not names[name] & unhashed, name
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


def addressed(constant):
    """Compile a function that returns by a pointer; return its address."""
    names = {"constant": constant, "__name__": softmax.__name__}
    exec(compile("def stored(to): to[0] = constant", __file__, "exec"), names)
    types = numba.types
    signature = types.void(types.CPointer(types.int64))
    return compiling.address(names["stored"], signature)


@numba.njit
def call(address, array):
    blocks.call(address, ((array, 1),), ())


def test_functions_are_called_by_their_address_and_cached(folder):
    for constant in (7, 8):
        array = np.zeros(3, np.int64)
        call(addressed(constant), array)
        assert array.tolist() == [0, 7, 0]
    (file,) = files(folder)
    assert file.name.startswith("softmax.stored.")


def test_the_dtype_of_images_does_not_compile_kernels_again(rng):
    from skdmn.kernels.numba import contrast, convolution, moments

    kernels = [
        *(contrast._encode, contrast._by_contrast, convolution._convolve_fours),
        *(convolution._convolve, convolution._max_pool, moments._multiply_images),
        softmax._pass,
    ]
    found = []
    # moments are computed in float32 for 8 bits, in float64 for more
    for names in (("u1", "u2"), ("i1", "?", "i2", "i4", "i8")):
        for name, floats in itertools.product(names, ("f4", "f8")):
            warming._call_all(np.dtype(name), np.dtype(floats))
        found.append([len(kernel.signatures) for kernel in kernels])
    assert found[0] == found[1]


def test_the_time_of_compilation_is_counted_and_told_once(folder, caplog, monkeypatch):
    compiling._tell.cache_clear()
    before = dispatch.compile_seconds()
    with caplog.at_level("INFO", "skdmn"):
        result(1)
        spent = dispatch.compile_seconds()
        result(2)  # from the cache
    assert spent > before
    assert dispatch.compile_seconds() == spent
    assert [record.getMessage()[:23] for record in caplog.records] == [
        "compiling kernels, once"
    ]


def test_the_standard_output_is_free_of_what_nobody_asked_for(
    folder, capsys, monkeypatch
):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    for is_terminal in (False, True):
        compiling._tell.cache_clear()
        monkeypatch.setattr(sys.stderr, "isatty", lambda is_it=is_terminal: is_it)
        result(1 + is_terminal)
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("skdmn: compiling kernels, once" if is_terminal else "")
        assert is_terminal or err == ""
        for file in files(folder):
            file.unlink()


def test_a_process_waits_for_another_one_that_compiles_the_same_kernel(
    folder, monkeypatch
):
    """The other one is a thread here, that holds the lock of the file and stores it."""
    result(1)
    (file,) = files(folder)
    content = file.read_bytes()
    file.unlink()
    lock = locks.Lock(file)
    lock.__enter__()

    def finish():
        file.write_bytes(content)
        lock.__exit__()

    other = threading.Timer(0.3, finish)
    other.start()
    assert result(2) == 1  # what the other one compiled
    other.join()
    assert files(folder) == [file]
    file.unlink()
    with locks.Lock(file):
        monkeypatch.setattr(compiling, "_PATIENCE", 0.1)
        assert result(3) == 3
    assert files(folder) == [file]


def test_a_failed_compilation_leaves_no_lock(folder):
    names = {"__name__": softmax.__name__}
    exec(compile("def failing(a): return a + 'text'", __file__, "exec"), names)
    with pytest.raises(numba.TypingError):
        compiling.kernel(names["failing"])(0)
    assert not files(folder)
