"""The CUDA kernels, and the definitions on CuPy arrays, against those on NumPy's."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from stacks import images_and_labels

from skdmn.kernels import dispatch
from skdmn.kernels.geometry import WHOLE, Window
from skdmn.kernels.reference import contrast, moments, softmax
from skdmn.kernels.reference import convolution as definition
from skdmn.utils import array_api

if array_api.gpu() is None:  # one skip, not one for each of hundreds of tests
    pytest.skip("CuPy finds no usable GPU here", allow_module_level=True)

pytestmark = pytest.mark.gpu

DTYPES = ["uint8", "int8", "bool", "uint16", "int16", "uint32", "int32", "int64"]
DTYPES += ["float16", "float32", "float64"]
WINDOWS = [
    WHOLE,
    Window((2, 2), (2, 2), "valid"),
    Window((3, 2), (2, 1), "same"),
    Window((2, 3), (3, 2), "same"),
]


def same_on_gpu(images, filters, *arguments):
    """Compare the kernel with the definition."""
    import cupy

    expected = definition.convolve_and_pool(images, filters, *arguments)
    found = dispatch.convolve(cupy.asarray(images), cupy.asarray(filters), *arguments)
    assert found.dtype == filters.dtype
    assert_allclose(found.get(), expected, atol=1e-5 * np.abs(expected).max())


def some_images(rng, shape, dtype):
    if dtype == "bool":
        return rng.random(shape) > 0.5
    return rng.integers(0 if dtype.startswith("u") else -9, 10, shape).astype(dtype)


# convolution and pooling


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (4, 5)])
@pytest.mark.parametrize("floats", ["float32", "float64"])
def test_convolve_is_the_definition(rng, window, stride, padding, kernel, floats):
    for channels in (1, 3):
        images = some_images(rng, (5, 12, 14, channels), "uint8")
        filters = rng.integers(-9, 10, (11, *kernel, channels)).astype(floats)
        for activation in ("relu", None):
            same_on_gpu(images, filters, stride, padding, activation, window)


@pytest.mark.parametrize(
    ("shape", "kernel", "n_filters", "window"),
    [
        ((3000, 3, 3, 2), (2, 2), 70, WHOLE),  # many images in a tile
        ((50, 13, 13, 40), (3, 3), 33, WINDOWS[1]),  # channels read in several chunks
        ((2, 301, 303, 3), (7, 7), 64, WINDOWS[2]),  # images larger than a tile
        ((9, 1, 5000, 1), (1, 9), 16, Window((1, 4), (1, 4), "valid")),  # signals
        ((9, 30, 30, 16), (3, 3), 32, Window((28, 28), (28, 28), "valid")),
        ((3, 64, 64, 3), (40, 40), 8, WHOLE),  # more than a block of threads can hold
        ((0, 6, 6, 1), (3, 3), 4, WHOLE),
    ],
)
@pytest.mark.parametrize("floats", ["float32", "float64"])
def test_convolve_is_the_definition_however_work_is_cut_up(
    rng, shape, kernel, n_filters, window, floats
):
    images = some_images(rng, shape, "uint8")
    filters = rng.integers(-9, 10, (n_filters, *kernel, shape[3])).astype(floats)
    if not len(images):
        import cupy

        arrays = cupy.asarray(images), cupy.asarray(filters)
        found = dispatch.convolve(*arrays, (1, 1), "valid", None, window)
        assert found.shape == (0, 4, 4, 4)
        return
    same_on_gpu(images, filters, (1, 1), "valid", None, window)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_read_as_it_is(rng, dtype):
    import cupy

    images = some_images(rng, (3, 6, 7, 2), dtype)
    floats = "float64" if dtype == "float64" else "float32"
    filters = rng.normal(size=(4, 3, 3, 2)).astype(floats)
    same_on_gpu(images, filters, (1, 1), "same", "relu", WINDOWS[1])
    for window in WINDOWS:
        pooled = dispatch.max_pool(cupy.asarray(images), window, np.dtype(floats))
        expected = definition.max_pool(images.astype(floats), *window)
        assert_array_equal(pooled.get(), expected)


def test_views_give_what_copies_give(rng):
    import cupy

    base = cupy.asarray(rng.normal(size=(4, 3, 9, 8)).astype(np.float32))
    view = base.transpose(0, 2, 3, 1)[::-2, ::-1, 1:]
    filters = cupy.asarray(rng.normal(size=(2, 2, 3, 3)).astype(np.float32))
    arguments = filters, (1, 2), "same", "relu", WINDOWS[1]
    expected = dispatch.convolve(view.copy(), *arguments)
    assert_array_equal(dispatch.convolve(view, *arguments).get(), expected.get())


@pytest.mark.parametrize("window", WINDOWS[:2])
def test_subnormal_float16_is_kept(window):
    """CuPy lets the compiler flush subnormal float32 to zero."""
    import cupy

    images = np.arange(1, 2**10, dtype=np.uint16).view(np.float16)[:1020]
    images = images.reshape(1, 30, 34, 1)
    filters = np.ones((1, 1, 1, 1), np.float32)
    arguments = (1, 1), "valid", None, window
    expected = definition.convolve_and_pool(images, filters, *arguments)
    found = dispatch.convolve(cupy.asarray(images), cupy.asarray(filters), *arguments)
    assert_array_equal(found.get(), expected)
    pooled = dispatch.max_pool(cupy.asarray(images), window, np.float32)
    assert_array_equal(pooled.get(), expected)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_nan_is_kept(rng, window, dtype):
    import cupy

    images = some_images(rng, (3, 9, 8, 2), dtype)
    images[rng.random(images.shape) < 0.02] = np.nan
    floats = np.dtype("float64" if dtype == "float64" else "float32")
    pooled = dispatch.max_pool(cupy.asarray(images), window, floats)
    expected = definition.max_pool(images.astype(floats), *window)
    assert np.isnan(expected).any()
    assert_array_equal(pooled.get(), expected)
    filters = rng.integers(-9, 10, (4, 3, 3, 2)).astype(floats)
    arguments = (1, 1), "valid", "relu", window
    features = dispatch.convolve(
        cupy.asarray(images), cupy.asarray(filters), *arguments
    )
    expected = definition.convolve_and_pool(images, filters, *arguments)
    assert_array_equal(features.get(), expected)


def test_more_than_2_to_the_31_values():
    import cupy

    images = cupy.zeros((2**31 // 784 + 9, 28, 28, 1), np.uint8)
    images[-1] = 3
    window = Window((28, 28), (28, 28), "valid")
    filters = cupy.ones((1, 1, 1, 1), np.float32)
    for found in (
        dispatch.max_pool(images, window, np.float32),
        dispatch.convolve(images, filters, (1, 1), "valid", None, window),
    ):
        assert float(found[-1, 0, 0, 0]) == 3
        assert float(found[:-1].max()) == 0


# moments


def groups_of(n, n_groups=3):
    """Divide indices, in no order, into groups of different sizes."""
    ends = np.cumsum(np.arange(1, n_groups + 1))
    indices = np.random.default_rng(0).permutation(n)
    return np.split(indices, ends[:-1] * n // ends[-1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((12, 11, 1), (1, 1)),
        ((12, 11, 1), (3, 3)),
        ((12, 11, 3), (2, 3)),
        ((9, 8, 6), (3, 3)),
        ((9, 8, 40), (3, 3)),  # several blocks of threads share the products
        ((5, 6, 90), (3, 3)),  # matrix products
        ((1, 99, 1), (1, 17)),
    ],
)
def test_moments_of_whole_numbers_are_exact(rng, dtype, shape, size):
    import cupy

    images = some_images(rng, (40, *shape), dtype)
    groups = groups_of(40)
    found = dispatch.class_moments(cupy.asarray(images), groups, size)
    expected = moments.class_moments(images.astype("f8"), groups, size)
    for ours, theirs in zip(found, expected, strict=True):
        assert_array_equal(ours[0], theirs[0])
        assert_array_equal(ours[1], theirs[1])


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("shape", [(12, 11, 1), (12, 11, 3), (9, 8, 40)])
def test_moments_are_those_of_numpy_arrays(dtype, shape):
    import cupy

    images, _ = images_and_labels(40, shape, dtype)
    on_gpu, groups = cupy.asarray(images), groups_of(40)
    found = dispatch.class_moments(on_gpu, groups, (3, 3))
    expected = moments.class_moments(images, groups, (3, 3))
    for ours, theirs in zip(found, expected, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert_allclose(one, other, atol=1e-12 * np.abs(other).max())
    arguments = groups, (3, 3), (2, 2), 1.0
    found = dispatch.class_contrast_moments(on_gpu, *arguments)
    expected = contrast.class_contrast_moments(images, *arguments)
    for one, other in zip(found, expected, strict=True):
        assert_allclose(one, other, atol=1e-10 * np.abs(other).max())


def test_moments_of_many_images_are_those_of_parts(rng):
    """Parts of groups, and groups at once, change nothing."""
    import cupy

    images = cupy.asarray(rng.integers(0, 256, (20_000, 14, 14, 2)).astype("u1"))
    groups = groups_of(20_000, 150)
    found = list(dispatch.class_moments(images, groups, (3, 3)))
    for group in (0, 1, 149):
        (alone,) = dispatch.class_moments(images, groups[group : group + 1], (3, 3))
        assert_array_equal(found[group][0], alone[0])
    whole, sums = next(dispatch.class_moments(images, [np.arange(20_000)], (3, 3)))
    assert_array_equal(sum(outer for outer, _ in found), whole)
    assert_array_equal(sum(total for _, total in found), sums)


def test_moments_of_views_are_those_of_copies(rng):
    import cupy

    base = cupy.asarray(rng.integers(0, 99, (30, 3, 9, 8)).astype("u1"))
    view = base.transpose(0, 2, 3, 1)[::-2, ::-1]
    for images in (view, view.astype(np.float32)):
        for one, other in zip(
            dispatch.class_moments(images, groups_of(15), (2, 3)),
            dispatch.class_moments(images.copy(), groups_of(15), (2, 3)),
            strict=True,
        ):
            assert_array_equal(one[0], other[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_moments_are_not_finite_if_the_pixels_are_not(rng, bad):
    import cupy

    images = rng.normal(size=(30, 6, 5, 2))
    groups = groups_of(30)
    images[groups[1][3], 3, 2, 1] = bad  # in patches of both cells
    found = list(dispatch.class_moments(cupy.asarray(images), groups, (2, 2)))
    finite = [np.isfinite(outer).all() for outer, _ in found]
    assert finite == [True, False, True]
    assert not np.isfinite(found[1][0][1::2, 1::2]).any()
    assert np.isfinite(found[1][0][::2, ::2]).all()
    by_cell = dispatch.class_contrast_moments(
        cupy.asarray(images), groups, (2, 2), (2, 1), 1.0
    )
    finite = [np.isfinite(outer).all(axis=(1, 2)).tolist() for outer in by_cell]
    assert finite == [[True, True], [False, False], [True, True]]


# encodings


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("power", [1.0, 0.5])
def test_encodings_are_those_of_numpy_arrays(rng, dtype, power):
    import cupy

    images, _ = images_and_labels(40, (12, 11, 3), dtype)
    filters = rng.normal(size=(5, 3, 3, 3))
    filters -= filters.mean(axis=(1, 2, 3), keepdims=True)
    filters = filters.astype("float64" if dtype == "float64" else "float32")
    window = Window((4, 5), (3, 3), "same")
    expected = contrast.encode_and_pool(
        images, contrast.Encoding(filters, 1.0, 0.5), window, power
    )
    how = contrast.Encoding(cupy.asarray(filters), 1.0, 0.5)
    found = dispatch.encode(cupy.asarray(images), how, window, power).get()
    assert_allclose(found, expected, atol=1e-5 * expected.max(), rtol=1e-4)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("tile", [1, 5000, 2**26])
def test_encodings_do_not_depend_on_tiles_and_keep_nan(rng, monkeypatch, window, tile):
    import cupy

    from skdmn.kernels.cuda import contrast as kernels

    monkeypatch.setattr(kernels, "TILE_VALUES", tile)
    images = rng.normal(size=(9, 8, 7, 2))
    images[4, 3, 3, 1] = np.nan
    filters = rng.normal(size=(5, 2, 3, 2))
    filters -= filters.mean(axis=(1, 2, 3), keepdims=True)
    how = contrast.Encoding(filters, 1.0, 0.5)
    expected = contrast.encode_and_pool(images, how, window, 1.0)
    assert 0 < np.isnan(expected).mean() < 0.2
    there = how._replace(filters=cupy.asarray(filters))
    found = dispatch.encode(cupy.asarray(images), there, window, 1.0)
    assert_allclose(found.get(), expected, atol=1e-12)


@pytest.mark.parametrize("unit", [1e-30, 1e-19, 1e20, 1e35])
def test_the_unit_of_the_images_does_not_matter(rng, unit):
    import cupy

    images = rng.normal(size=(3, 9, 8, 2))
    filters = rng.normal(size=(5, 3, 4, 2))
    filters -= filters.mean(axis=(1, 2, 3), keepdims=True)
    filters = filters.astype("float32")
    how = contrast.Encoding(filters, 0.1, 0.3)
    expected = contrast.encode(images.astype("float32"), how)
    there = how._replace(filters=cupy.asarray(filters), floor=0.1 * unit * unit)
    scaled = cupy.asarray((unit * images).astype("float32"))
    assert_allclose(dispatch.encode(scaled, there).get(), expected, atol=1e-5)


# average pooling


@pytest.mark.parametrize("window", [*WINDOWS, Window((7, 5), (1, 2), "same")])
@pytest.mark.parametrize("power", [1.0, 0.5, 3.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_average_pool_is_the_definition(rng, window, power, dtype):
    import cupy

    images = some_images(rng, (5, 9, 8, 3), dtype)
    if dtype.startswith("float"):
        images[2, 4, 4, 1] = np.nan
    floats = np.dtype("float64" if dtype == "float64" else "float32")
    found = dispatch.average_pool(cupy.asarray(images), window, power, floats)
    expected = definition.average_pool(images, window, power, floats)
    assert found.dtype == floats
    assert_allclose(found.get(), expected, rtol=1e-5, atol=1e-5)


# softmax


@pytest.mark.parametrize("n_outputs", [1, 3, 200])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("read", ["uint8", "float32", "float64"])
def test_softmax_pass_is_the_definition(rng, n_outputs, dtype, read):
    import cupy

    block = rng.normal(5, 3, (300, 40)).astype(read)
    model = rng.normal(size=40), rng.normal(size=(n_outputs, 40)), np.ones(n_outputs)
    codes, weights = rng.integers(0, max(n_outputs, 2), 300), rng.random(300)
    model = [array.astype(dtype) for array in model]
    arguments = block, *model, codes, weights.astype(dtype)
    expected = softmax.block_pass(*arguments)
    found = dispatch.softmax_pass(*map(cupy.asarray, arguments))
    rounding = 1e-12 if dtype == "float64" else 1e-5
    for one, other in zip(found, expected, strict=True):
        scale = np.abs(other).max()
        assert_allclose(one.get(), other, rtol=0, atol=rounding * scale)


def test_softmax_of_what_is_not_finite_is_nan(rng):
    import cupy

    arrays = rng.normal(size=(9, 4)), np.zeros(4), np.ones((3, 4)), np.zeros(3)
    arrays[0][5, 2] = np.nan
    arguments = *arrays, np.zeros(9, np.int64), np.ones(9)
    for array in dispatch.softmax_pass(*map(cupy.asarray, arguments)):
        assert np.isnan(array.get()).any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inverse_factors_solve_and_refuse_what_is_indefinite(rng, dtype):
    import cupy

    from skdmn.kernels.cuda.cholesky import inverse_factor

    rows = rng.normal(size=(300, 150)).astype(dtype)
    matrix = rows.T @ rows / 300 + np.eye(150, dtype=dtype)
    inverse = inverse_factor(cupy.asarray(matrix)).get()
    assert inverse.dtype == dtype
    assert_array_equal(inverse, np.tril(inverse))
    expected = np.linalg.inv(matrix.astype("f8"))
    rounding = 1e-12 if dtype == "float64" else 1e-5
    assert_allclose(inverse.T @ inverse, expected, atol=rounding)
    with pytest.raises(np.linalg.LinAlgError):
        inverse_factor(cupy.asarray(matrix - 3 * np.eye(150, dtype=dtype)))
