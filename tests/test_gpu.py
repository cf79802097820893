"""The layers on a real GPU, through CuPy."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from stacks import STACKS, images_and_labels, network

from skdmn import (
    ClassPCAPatchTransformer,
    FlattenTransformer,
    MaxPool2DTransformer,
    make_dmn,
)
from skdmn.data import transfer
from skdmn.datasets import load_digits_images
from skdmn.kernels import dispatch
from skdmn.kernels.geometry import WHOLE, Window
from skdmn.kernels.reference import convolution as definition
from skdmn.utils import array_api

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(array_api.gpu() is None, reason="CuPy finds no usable GPU here"),
]

DTYPES = ["uint8", "int8", "bool", "uint16", "int16", "uint32", "int32", "int64"]
DTYPES += ["float16", "float32", "float64"]
WINDOWS = [
    WHOLE,
    Window((2, 2), (2, 2), "valid"),
    Window((3, 2), (2, 1), "same"),
    Window((2, 3), (3, 2), "same"),
]


@pytest.fixture(scope="module")
def digits():
    return load_digits_images()


@pytest.fixture
def pool():
    """Return CuPy's memory pool, whose limit a test may set."""
    import cupy

    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    yield pool
    pool.set_limit(size=0)


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


# kernels


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


# the way there and back


@pytest.mark.parametrize("size", [1, 7, 50, 1000])
@pytest.mark.parametrize("dtype", ["uint8", ">f4", "longdouble"])
def test_batches_that_go_there_and_back_are_the_same(rng, size, dtype):
    images = rng.integers(0, 255, size=(500, 20, 30)).astype(dtype)
    link = transfer.link(array_api.HOST, array_api.gpu())
    parts = transfer.batches(500, size, lambda some: images[some], lambda b: b, link)
    found = np.empty(images.shape)
    for some, part in transfer.results(parts, link):
        found[some] = part
    assert_array_equal(found, images)


def test_a_batch_stays_the_same_while_later_ones_are_sent():
    link = transfer.link(array_api.HOST, array_api.gpu())
    images = np.repeat(np.arange(40, dtype=np.uint8), 2**20).reshape(40, -1)
    parts = transfer.batches(40, 1, lambda some: images[some], lambda b: b, link)
    kept = [part for _, part in parts]
    assert [int(part.min()) for part in kept] == list(range(40))
    assert [int(part.max()) for part in kept] == list(range(40))


def test_batches_are_halved_where_memory_runs_out(pool, digits):
    X = np.repeat(digits[0], 20, axis=0)
    layer = ClassPCAPatchTransformer(device="cuda").fit(*digits)
    expected = layer.transform(X)
    sizes = []

    def greedy(batch):
        import cupy

        sizes.append(len(batch))
        cupy.empty((len(batch), 2**17), np.uint8)
        return layer._forward(batch)

    pool.free_all_blocks()
    pool.set_limit(size=pool.total_bytes() + 2**28)
    images = layer._check_images(X, reset=False)
    found = images.map(greedy, layer.output_shape_, any_dtype=True)
    assert min(sizes) < max(sizes)
    assert_array_equal(found, expected)


def test_an_image_that_is_too_large_says_what_to_do(pool, digits):
    layer = ClassPCAPatchTransformer(device="cuda").fit(*digits)
    pool.free_all_blocks()
    pool.set_limit(size=pool.total_bytes() + 512)
    with pytest.raises(MemoryError, match="fewer filters or device='cpu'"):
        layer.transform(digits[0])


# layers and networks


def test_numpy_in_is_computed_there_and_returned_as_numpy(digits):
    X, y = digits
    here = ClassPCAPatchTransformer(device="cpu").fit(X, y)
    there = ClassPCAPatchTransformer(device="cuda").fit(X, y)
    assert isinstance(there.filters_, np.ndarray)
    assert_allclose(there.filters_, here.filters_, atol=1e-4)
    expected = here.transform(X)
    assert_allclose(there.transform(X), expected, atol=1e-5 * np.abs(expected).max())


# the filters that nine images give a second layer hang on rounding
@pytest.mark.parametrize("name", sorted(STACKS.keys() - {"subsample"}))
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("batch_size", [7, "auto"])
def test_a_stack_of_layers_is_the_same_there(name, dtype, batch_size):
    X, y = images_and_labels(60, dtype=dtype)
    here, there = (
        network(name, device=device, batch_size=batch_size).fit(X, y)
        for device in ("cpu", "cuda")
    )
    expected, found = here.transform(X), there.transform(X)
    assert isinstance(found, np.ndarray)
    assert found.dtype == expected.dtype
    assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    loaded = pickle.loads(pickle.dumps(there)).set_params(device="cpu")
    assert_allclose(loaded.transform(X), found, atol=1e-4 * np.abs(expected).max())


def test_cupy_in_stays_there_and_pickles_as_numpy(digits):
    import cupy

    X, y = digits
    with config_context(array_api_dispatch=True):
        layer = ClassPCAPatchTransformer().fit(cupy.asarray(X), cupy.asarray(y))
        assert isinstance(layer.filters_, cupy.ndarray)
        features = layer.transform(cupy.asarray(X))
        assert isinstance(features, cupy.ndarray)
    loaded = pickle.loads(pickle.dumps(layer))
    assert isinstance(loaded.filters_, np.ndarray)
    found = loaded.set_params(device="cpu").transform(X)
    assert_allclose(found, features.get(), atol=1e-5 * float(features.max()))


def test_cupy_goes_through_a_pipeline_with_scikit_learns_estimators(digits):
    import cupy

    X, y = digits
    steps = [
        ("conv", ClassPCAPatchTransformer()),
        ("pool", MaxPool2DTransformer(2)),
        ("flatten", FlattenTransformer()),
        ("scale", StandardScaler()),
        ("logistic", LogisticRegression(C=0.1, max_iter=500)),
    ]
    expected = Pipeline(steps).set_params(conv__device="cpu", pool__device="cpu")
    expected = expected.fit(X, y).predict(X)
    with config_context(array_api_dispatch=True):
        there = Pipeline(steps).set_params(conv__device="auto", pool__device="auto")
        there.fit(cupy.asarray(X), cupy.asarray(y))
        predicted = there.predict(cupy.asarray(X))
    assert isinstance(predicted, cupy.ndarray)
    assert np.mean(predicted.get() == expected) > 0.999


def test_a_whole_network(digits):
    X, y = digits
    here, there = (make_dmn(device=d).fit(X, y) for d in ("cpu", "cuda"))
    assert np.mean(here.predict(X) == there.predict(X)) > 0.999
