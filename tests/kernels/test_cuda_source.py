"""The source of the GPU kernels, compiled for the CPU to test its arithmetic."""

import ctypes
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdmn.kernels.cuda import tiling
from skdmn.kernels.geometry import WHOLE, Window
from skdmn.kernels.reference import convolution as definition

SOURCE = "\n".join(
    files("skdmn.kernels.cuda").joinpath(name).read_text()
    for name in ("numbers.cuh", "convolution.cu", "average.cu")
)
COMPILER = shutil.which("c++")
TYPES = {
    "uint8": "unsigned char",
    "bool": "unsigned char",
    "int8": "signed char",
    "uint16": "unsigned short",
    "int16": "short",
    "int32": "int",
    "int64": "long long",
    "float16": "Half",
    "float32": "float",
    "float64": "double",
}
FLOATS = {"float32": "float", "float64": "double"}
COMBINATIONS = [(read, "float32") for read in TYPES]
COMBINATIONS += [("uint8", "float64"), ("float64", "float64")]
WINDOWS = [
    WHOLE,
    Window((2, 2), (2, 2), "valid"),
    Window((3, 2), (2, 1), "same"),
    Window((2, 3), (3, 2), "same"),
]


# strides, kernels; channels and windows are all combined with them
CONVOLUTIONS = [
    *[((1, 1), kernel) for kernel in [(1, 1), (2, 3), (3, 2), (4, 5), (1, 9)]],
    *[((2, 3), kernel) for kernel in [(3, 2), (1, 9)]],
]
# shape, kernel, number of filters, window
DIVISIONS = [
    ((23, 3, 3, 2), (2, 2), 70, WHOLE),  # many images in a tile
    ((2, 13, 13, 40), (3, 3), 33, WINDOWS[1]),  # channels read in several chunks
    ((1, 61, 67, 3), (3, 3), 5, WINDOWS[2]),  # an image larger than a tile
    ((2, 1, 900, 1), (1, 9), 16, Window((1, 4), (1, 4), "valid")),  # signals
    ((2, 30, 30, 4), (3, 3), 9, Window((28, 28), (28, 28), "valid")),  # one window
    ((3, 9, 9, 300), (1, 1), 64, WINDOWS[3]),
]


def geometry(shape, n_filters, size, stride, padding, window, floats):
    g = tiling.whole(shape, n_filters, size, stride, padding, window)
    return tiling.tiled(g, np.dtype(floats).itemsize)


def instances():
    """Return the dtypes and other template arguments that the tests need."""
    found = set()
    for window in WINDOWS:
        for stride, kernel in CONVOLUTIONS:
            for padding in ("valid", "same"):
                for channels in (1, 3):
                    shape = 12, 14, channels
                    g = geometry(shape, 11, kernel, stride, padding, window, "float32")
                    found.add(("uint8", "float32", tiling.instance(g)))
        g = geometry((9, 8, 2), 5, (3, 3), (1, 1), "valid", window, "float32")
        found.add(("float32", "float32", tiling.instance(g)))
    for shape, kernel, n_filters, window in DIVISIONS:
        for floats in FLOATS:
            options = kernel, (1, 1), "valid", window, floats
            g = geometry(shape[1:], n_filters, *options)
            found.add(("uint8", floats, tiling.instance(g)))
    for read in TYPES:
        options = (3, 3), (1, 1), "same", WINDOWS[1], "float32"
        g = geometry((6, 7, 2), 4, *options)
        found.add((read, "float32", tiling.instance(g)))
    g = geometry((256, 256, 1), 1, (1, 3), (1, 1), "valid", WHOLE, "float32")
    found.add(("float16", "float32", tiling.instance(g)))
    return sorted(found)


def name_of(read, computed, instance):
    return f"convolve_{read}_{computed}_" + instance.replace(", ", "_")


def wrappers():
    """Yield a C function that launches each tested instance of the kernels."""

    def arguments(read, computed):
        return (
            f"(int grid, int block, int shared, const {TYPES[read]}* images, "
            f"const {FLOATS[computed]}* weights, {FLOATS[computed]}* out, "
            f"{FLOATS[computed]} start, long long n, Geometry* g)"
        )

    for read, computed, instance in instances():
        types = f"{TYPES[read]}, {FLOATS[computed]}"
        name = name_of(read, computed, instance)
        yield (
            f'extern "C" bool {name}{arguments(read, computed)} {{ '
            "return launch(grid, block, shared, [=] { "
            f"convolve<{types}, {instance}>(images, weights, out, start, n, *g); }}); "
            "}"
        )
    for read, computed in COMBINATIONS:
        types = f"{TYPES[read]}, {FLOATS[computed]}"
        yield (
            f'extern "C" bool max_pool_{read}_{computed}{arguments(read, computed)} {{ '
            "return launch(grid, block, shared, [=] { "
            f"max_pool<{types}>(images, out, start, n, *g); }}); }}"
        )

    for two_sided in ("false", "true"):
        yield (
            f'extern "C" bool average_{two_sided}(const float* images, float* out, '
            "long long n, float threshold, Windows* g) { "
            "return launch(5, 32, 0, [=] { "
            f"average<float, float, {two_sided}>(images, out, n, 1.0f, threshold, *g); "
            "}); }"
        )


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    """Compile the source for the CPU."""
    folder = tmp_path_factory.mktemp("cuda")
    if COMPILER is None:
        pytest.skip("no C++ compiler is here")
    shim = Path(__file__).with_name("cuda_on_host.hpp").read_text()
    code = "\n".join([shim, SOURCE, *wrappers()])
    (folder / "kernels.cpp").write_text(code)
    command = [COMPILER, "-std=c++17", "-O1", "-w", "-shared", "-fPIC"]
    built = subprocess.run(
        [*command, "-o", folder / "kernels.so", folder / "kernels.cpp"],
        capture_output=True,
        text=True,
    )
    if "ucontext.h" in built.stderr:
        pytest.skip("the C++ compiler here has no ucontext.h")
    assert built.returncode == 0, built.stderr
    return ctypes.CDLL(folder / "kernels.so")


def call(kernels, name, launch, images, weights, start, g):
    """Launch a kernel and return its output; all of it must have been written."""
    floats = weights.dtype
    room = np.full(len(images) * int(np.prod(g.out_shape)) + 64, np.nan, floats)
    number = {4: ctypes.c_float, 8: ctypes.c_double}[floats.itemsize]
    numbers = np.array(g, np.int32)
    assert getattr(kernels, name)(
        *launch,
        *(ctypes.c_void_p(a.ctypes.data) for a in (images, weights, room)),
        number(start),
        ctypes.c_longlong(len(images)),
        ctypes.c_void_p(numbers.ctypes.data),
    )
    assert np.isnan(room[-64:]).all()
    return room[:-64].reshape(len(images), *g.out_shape)


def convolved(kernels, images, filters, stride, padding, activation, window):
    size, floats = filters.shape[1:3], filters.dtype
    g = geometry(images.shape[1:], len(filters), size, stride, padding, window, floats)
    itemsize = floats.itemsize
    launch = g.jobs(len(images)), g.threads(itemsize), g.shared_bytes(itemsize)
    name = name_of(images.dtype, floats, tiling.instance(g))
    start = 0.0 if activation == "relu" else -np.inf
    weights = tiling.arranged(filters, g, np)
    return call(kernels, name, launch, images, weights, start, g)


def some_images(rng, shape, dtype):
    if dtype == "bool":
        return rng.random(shape) > 0.5
    low = 0 if dtype.startswith("u") else -9
    return rng.integers(low, 10, shape).astype(dtype)


def test_geometry_has_the_fields_of_the_struct_in_its_order():
    struct = SOURCE.split("struct Geometry {")[1].split("};")[0]
    struct = re.sub(r"//.*", "", struct)
    names = re.findall(r"\w+", struct.replace("int ", ""))
    assert tuple(names) == tiling.Geometry._fields


def test_constants_are_those_of_the_source():
    assert f"FILTERS = {tiling.FILTER_BYTES} / sizeof(T)" in SOURCE
    assert f"__launch_bounds__({tiling.THREADS})" in SOURCE


def test_shared_memory_is_aligned_as_the_vectors_read_from_it():
    assert "alignas(N * sizeof(T)) Vector" in SOURCE
    shared = re.findall(r"(?:alignas\((\d+)\) )?extern __shared__", SOURCE)
    assert shared == ["16"]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("stride", "kernel"), CONVOLUTIONS)
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("channels", [1, 3])
def test_convolve_is_the_definition(
    kernels, rng, window, stride, padding, kernel, channels
):
    images = some_images(rng, (5, 12, 14, channels), "uint8")
    filters = rng.integers(-9, 10, (11, *kernel, channels)).astype(np.float32)
    for activation in ("relu", None):
        arguments = images, filters, stride, padding, activation, window
        expected = definition.convolve_and_pool(*arguments)
        assert_array_equal(convolved(kernels, *arguments), expected)


@pytest.mark.parametrize(("shape", "kernel", "n_filters", "window"), DIVISIONS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_convolve_is_the_definition_however_work_is_cut_up(
    kernels, rng, shape, kernel, n_filters, window, dtype
):
    images = some_images(rng, shape, "uint8")
    filters = rng.integers(-9, 10, (n_filters, *kernel, shape[3])).astype(dtype)
    arguments = images, filters, (1, 1), "valid", None, window
    expected = definition.convolve_and_pool(*arguments)
    assert_array_equal(convolved(kernels, *arguments), expected)


@pytest.mark.parametrize("dtype", TYPES)
def test_every_dtype_is_read_as_it_is(kernels, rng, dtype):
    images = some_images(rng, (3, 6, 7, 2), dtype)
    filters = rng.normal(size=(4, 3, 3, 2)).astype(np.float32)
    arguments = images, filters, (1, 1), "same", "relu", WINDOWS[1]
    expected = definition.convolve_and_pool(*arguments)
    assert_allclose(convolved(kernels, *arguments), expected, atol=1e-4)


def test_float16_is_read_exactly(kernels):
    """Subnormal float16 are kept although subnormal float32 are flushed to zero."""
    images = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(1, 256, 256, 1)
    filters = np.ones((1, 1, 3, 1), np.float32)
    filters[:, :, 1:] = 0
    with np.errstate(invalid="ignore"):
        expected = definition.convolve(images, filters)
    got = convolved(kernels, images, filters, (1, 1), "valid", None, WHOLE)
    finite = np.isfinite(expected)
    assert finite.mean() > 0.9
    assert_array_equal(got[finite], expected[finite])


@pytest.mark.parametrize("window", WINDOWS[1:])
@pytest.mark.parametrize(("dtype", "floats"), COMBINATIONS)
def test_max_pool_is_the_definition(kernels, rng, window, dtype, floats):
    images = some_images(rng, (4, 7, 8, 3), dtype)
    g = tiling.whole((7, 8, 3), 3, (1, 1), (1, 1), "valid", window)
    name, no_filters = f"max_pool_{dtype}_{floats}", np.empty(0, floats)
    pooled = call(kernels, name, (3, 32, 0), images, no_filters, -np.inf, g)
    expected = definition.max_pool(images.astype(floats), *window)
    assert_array_equal(pooled, expected)


@pytest.mark.parametrize("window", WINDOWS[1:])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_pooling_keeps_nan(kernels, rng, window, dtype):
    floats = "float64" if dtype == "float64" else "float32"
    images = rng.integers(-9, 10, (4, 7, 8, 3)).astype(dtype)
    images[rng.random(images.shape) < 0.1] = np.nan
    g = tiling.whole((7, 8, 3), 3, (1, 1), (1, 1), "valid", window)
    name, no_filters = f"max_pool_{dtype}_{floats}", np.empty(0, floats)
    pooled = call(kernels, name, (3, 32, 0), images, no_filters, -np.inf, g)
    expected = definition.max_pool(images.astype(floats), *window)
    assert 0.1 < np.isnan(expected).mean() < 0.9
    assert_array_equal(pooled, expected)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("activation", ["relu", None])
def test_convolution_keeps_nan(kernels, rng, window, activation):
    images = rng.integers(-9, 10, (4, 9, 8, 2)).astype(np.float32)
    images[rng.random(images.shape) < 0.01] = np.nan
    filters = rng.integers(-9, 10, (5, 3, 3, 2)).astype(np.float32)
    arguments = images, filters, (1, 1), "valid", activation, window
    expected = definition.convolve_and_pool(*arguments)
    assert 0.1 < np.isnan(expected).mean() < 0.9
    assert_array_equal(convolved(kernels, *arguments), expected)


def averaged(kernels, images, window, threshold=None):
    rows, columns = window.output_size(images.shape[1:3])
    n_channels = images.shape[3] * (1 if threshold is None else 2)
    out = np.full((len(images), rows, columns, n_channels), np.nan, np.float32)
    before = window.pads(images.shape[1:]).before
    shape = images.shape[1:]
    g = np.array(
        [*shape, *window.size, *window.stride, *before, rows, columns], np.int32
    )
    name = f"average_{str(threshold is not None).lower()}"
    assert getattr(kernels, name)(
        *(ctypes.c_void_p(array.ctypes.data) for array in (images, out)),
        ctypes.c_longlong(len(images)),
        ctypes.c_float(threshold or 0),
        ctypes.c_void_p(g.ctypes.data),
    )
    return out


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_averages_of_the_largest_floats_are_right(kernels, rng, padding):
    largest, window = np.finfo("f4").max, Window((3, 2), (1, 1), padding)
    X = rng.normal(size=(3, 6, 5, 2)).astype("f4") / 8
    X[0] = 1
    X[2, 0, 0] = -1
    for scale in (np.float32(1), largest):
        found = averaged(kernels, scale * X, window)
        expected = definition.average_pool(scale * X, window, 1.0, np.float32)
        assert_allclose(found / scale, expected / scale, rtol=1e-5, atol=1e-6)
        both = np.concatenate([np.maximum(X, 0), np.maximum(-X, 0)], axis=3) * scale
        found = averaged(kernels, scale * X, window, threshold=0.0)
        expected = definition.average_pool(both, window, 1.0, np.float32)
        assert_allclose(found / scale, expected / scale, rtol=1e-5, atol=1e-6)
    X[1, 2, 2], X[1, 4, 4] = np.inf, np.nan
    found = averaged(kernels, X, window)
    expected = definition.average_pool(X, window, 1.0, np.float32)
    assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-6)
