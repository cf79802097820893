"""The table of operations: every entry exists, is called, and computes the same."""

import importlib
import inspect
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdmn.kernels import dispatch
from skdmn.kernels.dispatch import IMPLEMENTATIONS, KERNEL_DTYPES
from skdmn.kernels.geometry import Window
from skdmn.kernels.reference.contrast import Encoding
from skdmn.utils import array_api

SUBPACKAGES = ["reference", "numba", "cuda"]
ENTRIES = [
    (operation, subpackage)
    for operation, found in IMPLEMENTATIONS.items()
    for subpackage in SUBPACKAGES
    if getattr(found, subpackage) is not None
]
# operations without a Numba kernel; a new kernel for one takes it off this list
WITHOUT_NUMBA = {"average_pool", "patch_variances"}
DTYPES = sorted(dtype.str for dtype in KERNEL_DTYPES)
WINDOW = Window((3, 2), (2, 2), "same")
GROUPS = [np.array([3, 0, 4]), np.array([1])]  # of images
# kernels for one group of images, which kernels for several groups call
FOR_ONE_GROUP = {"second_moments", "contrast_moments"}
# public names of `dispatch` that are not operations
OTHER_FUNCTIONS = {
    "implementation",
    "has_numba_kernel",
    "numba_module",
    "compile_seconds",
}


def parameters(subpackage, path):
    """Return the names of a function's parameters, without importing CuPy."""
    name, function = path.split(".")
    if subpackage != "cuda":
        module = importlib.import_module(f"skdmn.kernels.{subpackage}.{name}")
        return list(inspect.signature(getattr(module, function)).parameters)
    import ast
    from importlib.resources import files

    source = files("skdmn.kernels.cuda").joinpath(f"{name}.py").read_text()
    (found,) = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.name == function
    ]
    return [argument.arg for argument in found.args.args]


def images_of(rng, dtype, shape=(5, 9, 8, 2)):
    if dtype.kind == "b":
        return rng.random(shape) > 0.5
    if dtype.kind == "f":
        return rng.normal(20, 5, shape).astype(dtype)
    return rng.integers(-20 if dtype.kind == "i" else 0, 100, shape).astype(dtype)


def computed_in(dtype):
    return np.dtype("f8" if dtype == np.dtype("f8") else "f4")


def filters_of(rng, dtype):
    filters = rng.normal(size=(5, 3, 2, 2))
    filters -= filters.mean(axis=(1, 2, 3), keepdims=True)
    return filters.astype(computed_in(dtype))


def softmax_arguments(rng, dtype):
    block, floats = images_of(rng, dtype, (40, 7)), computed_in(dtype)
    model = rng.normal(size=7), rng.normal(size=(3, 7)) / 20, rng.normal(size=3)
    model = tuple(array.astype(floats) for array in model)
    weights = rng.random(40).astype(floats)
    return block, *model, rng.integers(0, 3, 40), weights


# arguments for images of a dtype; a new operation needs a line
ARGUMENTS = {
    "convolve": lambda rng, dtype: (
        *(images_of(rng, dtype), filters_of(rng, dtype)),
        *((2, 1), "same", "relu", WINDOW),
    ),
    "max_pool": lambda rng, dtype: (images_of(rng, dtype), WINDOW, computed_in(dtype)),
    "average_pool": lambda rng, dtype: (
        *(images_of(rng, dtype), WINDOW, 0.5, computed_in(dtype)),
    ),
    "encode": lambda rng, dtype: (
        *(images_of(rng, dtype), Encoding(filters_of(rng, dtype), 2.0, 0.1)),
        *(WINDOW, 1.0),
    ),
    "class_moments": lambda rng, dtype: (*(images_of(rng, dtype), GROUPS, (3, 2)),),
    "class_contrast_moments": lambda rng, dtype: (
        *(images_of(rng, dtype), GROUPS, (3, 2), (2, 3), 2.0),
    ),
    "image_squares": lambda rng, dtype: (images_of(rng, dtype),),
    "patch_variances": lambda rng, dtype: (images_of(rng, dtype), (3, 2)),
    "softmax_pass": softmax_arguments,
}


def results(found):
    if isinstance(found, tuple):
        return found
    if inspect.isgenerator(found):  # a tuple or an array for each group
        return tuple(array for group in found for array in results(group))
    return (found,)


def moved(argument, xp):
    """Return an argument as another array library takes it."""
    if isinstance(argument, np.ndarray):
        return xp.asarray(argument)
    if isinstance(argument, np.dtype):
        return getattr(xp, argument.name)
    if isinstance(argument, Encoding):
        return argument._replace(filters=xp.asarray(argument.filters))
    return argument


def test_every_operation_has_arguments_here():
    assert set(ARGUMENTS) == set(IMPLEMENTATIONS)


def test_every_function_of_dispatch_is_a_row_of_the_table():
    functions = {
        name
        for name, value in vars(dispatch).items()
        if inspect.isfunction(inspect.unwrap(value))
        if getattr(value, "__module__", None) == dispatch.__name__
        if not name.startswith("_")
    }
    assert functions - OTHER_FUNCTIONS == set(IMPLEMENTATIONS)


def test_the_page_shows_the_table():
    page = Path(__file__).parents[2].joinpath("CONTRIBUTING.md").read_text()
    head = "| operation | `reference` | `numba` | `cuda` |\n| --- | --- | --- | --- |\n"
    shown = page.partition(head)[2].partition("\n\n")[0]
    rows = [
        "| " + " | ".join(f"`{cell}`" if cell else "none" for cell in row) + " |"
        for row in ((name, *found) for name, found in IMPLEMENTATIONS.items())
    ]
    assert shown.splitlines() == rows


def test_every_operation_has_a_reference():
    assert all(found.reference for found in IMPLEMENTATIONS.values())


@pytest.mark.parametrize(
    "module", ["convolution", "contrast", "magnitudes", "moments", "softmax"]
)
def test_every_kernel_is_an_entry_of_the_table(module):
    """A kernel that no row names would never be called."""
    path = f"skdmn.kernels.numba.{module}"
    kernels = pytest.importorskip(path, reason="Numba compiles the kernels")
    reference = importlib.import_module(f"skdmn.kernels.reference.{module}")
    own = {
        name
        for name, value in vars(kernels).items()
        if inspect.isfunction(value) and value.__module__ == path
        if hasattr(reference, name)
    }
    entries = {
        function
        for found in IMPLEMENTATIONS.values()
        if found.numba
        for name, function in [found.numba.split(".")]
        if name == module
    }
    assert own - FOR_ONE_GROUP <= entries


@pytest.mark.parametrize(("operation", "subpackage"), ENTRIES)
def test_every_entry_takes_what_the_reference_takes(operation, subpackage):
    if subpackage == "numba" and not dispatch.has_numba_kernel(operation):
        pytest.skip("Numba cannot be imported here")
    found = IMPLEMENTATIONS[operation]
    expected = parameters("reference", found.reference)
    assert parameters(subpackage, getattr(found, subpackage)) == expected
    ours = list(inspect.signature(getattr(dispatch, operation)).parameters)
    assert ours == expected


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operation", IMPLEMENTATIONS)
def test_every_implementation_gives_what_the_reference_gives(rng, operation, dtype):
    dtype, found = np.dtype(dtype), IMPLEMENTATIONS[operation]
    arguments = ARGUMENTS[operation](rng, dtype)
    module, function = found.reference.split(".")
    module = importlib.import_module(f"skdmn.kernels.reference.{module}")
    expected = results(getattr(module, function)(*arguments))
    ours = results(getattr(dispatch, operation)(*arguments))
    rounding = 1e-12 if dtype == np.dtype("f8") else 2e-5
    assert len(ours) == len(expected)
    for one, other in zip(ours, expected, strict=True):
        assert np.shape(one) == np.shape(other)
        assert np.abs(other).max() > 0
        assert_allclose(one, other, rtol=0, atol=rounding * np.abs(other).max())


@pytest.mark.parametrize(
    "library",
    ["array_api_strict", "torch", pytest.param("cupy", marks=pytest.mark.gpu)],
)
@pytest.mark.parametrize("dtype", ["u1", "f4", "f8"])
@pytest.mark.parametrize("operation", IMPLEMENTATIONS)
def test_arrays_of_other_libraries_give_the_same(rng, operation, dtype, library):
    if library == "cupy" and array_api.gpu() is None:
        pytest.skip("CuPy finds no usable GPU here")
    xp = pytest.importorskip(library)
    arguments = ARGUMENTS[operation](rng, np.dtype(dtype))
    expected = results(getattr(dispatch, operation)(*arguments))
    theirs = [moved(argument, xp) for argument in arguments]
    ours = results(getattr(dispatch, operation)(*theirs))
    rounding = 1e-12 if dtype == "f8" else 2e-5
    for one, other in zip(ours, expected, strict=True):
        one = array_api.to_numpy(one)
        assert_allclose(one, other, rtol=0, atol=rounding * np.abs(other).max())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operation", IMPLEMENTATIONS)
def test_dispatch_calls_the_kernel_of_the_table(rng, monkeypatch, operation, dtype):
    """Without its kernel, an operation gives the same result, only more slowly."""
    if operation in WITHOUT_NUMBA:
        assert IMPLEMENTATIONS[operation].numba is None
        return
    path = IMPLEMENTATIONS[operation].numba
    assert path, f"the Numba kernel of {operation} is switched off"
    name, function = path.split(".")
    module = f"skdmn.kernels.numba.{name}"
    pytest.importorskip(module, reason="Numba compiles the kernels")

    class CalledError(Exception):
        pass

    def called(*arguments):
        raise CalledError

    monkeypatch.setattr(f"{module}.{function}", called)
    arguments = ARGUMENTS[operation](rng, np.dtype(dtype))
    with pytest.raises(CalledError):
        getattr(dispatch, operation)(*arguments)
