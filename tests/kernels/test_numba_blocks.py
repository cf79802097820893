"""Building blocks of the kernels, each called from a kernel of one line."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skdmn import ClassPCAPatchTransformer, MaxPool2DTransformer

blocks = pytest.importorskip(
    "skdmn.kernels.numba.blocks", reason="Numba compiles the kernels"
)
numba = pytest.importorskip("numba")

ROWS, HALF, TALL = blocks.ROWS, blocks.HALF, blocks.TALL
BLOCKS = [(TALL, 1), (ROWS, 1), (ROWS, 2), (ROWS, 3), (HALF, 1), (HALF, 2), (HALF, 3)]
CANARY = -77.0


@numba.njit
def multiply_block(which, left, right, counts, to):
    """Compute one of `BLOCKS`, whose sizes have to be literals."""
    if which == 0:
        blocks.multiply_block(TALL, 1, left, right, counts, to)
    elif which == 1:
        blocks.multiply_block(ROWS, 1, left, right, counts, to)
    elif which == 2:
        blocks.multiply_block(ROWS, 2, left, right, counts, to)
    elif which == 3:
        blocks.multiply_block(ROWS, 3, left, right, counts, to)
    elif which == 4:
        blocks.multiply_block(HALF, 1, left, right, counts, to)
    elif which == 5:
        blocks.multiply_block(HALF, 2, left, right, counts, to)
    else:
        blocks.multiply_block(HALF, 3, left, right, counts, to)


@numba.njit
def multiply(rows, vectors, left, right, counts, to):
    return blocks.multiply(rows, vectors, left, right, counts, to)


@numba.njit
def multiply_pool(columns, vectors, start, left, right, counts, to):
    return blocks.multiply_pool(columns, vectors, start, left, right, counts, to)


@numba.njit
def max_block(literal, start, a, a0, ai, aj, ni, nj, out, o0):
    if literal:
        blocks.max_block(start, a, a0, ai, aj, 2, 2, out, o0)
    else:
        blocks.max_block(start, a, a0, ai, aj, ni, nj, out, o0)


def views(array, start, shape, strides):
    """Return an array's values at start plus multiples of strides."""
    steps = [stride * array.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(array[start:], shape, steps)


def product(rows, width, left, right, counts):
    """Compute with NumPy what `multiply_block` documents."""
    a, a0, ap, *steps_a = left
    b, b0, *steps_b = right
    a = views(a, a0, (rows, *counts), (ap, *steps_a))
    b = views(b, b0, (width, *counts), (1, *steps_b))
    return np.einsum("pijk,vijk->pv", a, b)


# blocks of products


@settings(deadline=None, max_examples=60)
@given(
    which=st.integers(0, len(BLOCKS) - 1),
    dtype=st.sampled_from(["f4", "f8"]),
    counts=st.tuples(*[st.integers(0, 4)] * 3),
    strides=st.lists(st.integers(0, 30), min_size=7, max_size=7),
    starts=st.lists(st.integers(0, 9), min_size=3, max_size=3),
    gap=st.integers(0, 5),
)
def test_block_is_the_sum_of_products(which, dtype, counts, strides, starts, gap):
    rng = np.random.default_rng(sum(strides))
    rows, vectors = BLOCKS[which]
    width = vectors * blocks.VECTOR_BYTES // np.dtype(dtype).itemsize
    a, b = rng.integers(-9, 10, (2, 2000)).astype(dtype)
    left, right = (a, starts[0], *strides[:4]), (b, starts[1], *strides[4:])
    out = np.full(rows * (width + gap) + starts[2] + 100, CANARY, dtype)
    multiply_block(which, left, right, counts, (out, starts[2], width + gap))
    ours = views(out, starts[2], (rows, width), (width + gap, 1))
    assert_array_equal(ours, product(rows, width, left, right, counts))
    ours[:] = CANARY
    assert (out == CANARY).all()  # nothing else was written


@pytest.mark.parametrize("vectors", [1, 2, 3])
def test_some_rows_are_multiplied_and_few_too_many(rng, vectors):
    width = vectors * blocks.VECTOR_BYTES // 4
    a, b = rng.integers(-9, 10, (2, 900)).astype("f4")
    left, right, counts = (a, 3, 7, 50, 20, 2), (b, 1, 60, 11, 13), (2, 3, 4)
    for rows in range(1, 2 * TALL + 2):
        out = np.full((rows + TALL) * width, CANARY, "f4")
        done = multiply(rows, vectors, left, right, counts, (out, 0, width))
        assert 0 < done < rows + HALF  # kernels make room for so many
        assert done <= TALL
        expected = product(done, width, left, right, counts)
        assert_array_equal(out[: done * width].reshape(done, width), expected)
        assert (out[done * width :] == CANARY).all()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("vectors", [1, 2, 3])
def test_some_columns_are_multiplied_and_pooled(rng, dtype, vectors):
    width = vectors * blocks.VECTOR_BYTES // np.dtype(dtype).itemsize
    a, b = rng.integers(-9, 10, (2, 900)).astype(dtype)
    ax, ay, counts = 7, 110, (3, 4)
    left, right = (a, 3, ax, ay, 20, 2), (b, 1, 11, 13)
    for columns in range(1, TALL):
        for start in np.array([-np.inf, 0], dtype):
            out = np.full(2 * TALL * width, CANARY, dtype)
            to = (out, 0, width)
            done = multiply_pool(columns, vectors, start, left, right, counts, to)
            assert 0 < done < columns + TALL // 4
            corners = [
                product(
                    *(done, width),
                    (a, 3 + x * ax + y * ay, 2 * ax, 0, 20, 2),
                    (b, 1, 0, 11, 13),
                    (1, *counts),
                )
                for x in range(2)
                for y in range(2)
            ]
            expected = np.max(corners, axis=0, initial=start)
            assert_array_equal(out[: done * width].reshape(done, width), expected)
            assert (out[done * width :] == CANARY).all()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("literal", [True, False])
def test_largest_of_vectors_and_a_number(rng, dtype, literal):
    width = blocks.VECTOR_BYTES // np.dtype(dtype).itemsize
    a = rng.normal(size=500).astype(dtype)
    for ni, nj in [(2, 2)] if literal else [(0, 3), (1, 1), (3, 2), (5, 4)]:
        for start in np.array([-np.inf, 0, 9], dtype):
            out = np.full(width + 20, CANARY, dtype)
            max_block(literal, start, a, 7, 40, 3, ni, nj, out, 11)
            values = views(a, 7, (ni, nj, width), (40, 3, 1))
            expected = values.max(axis=(0, 1), initial=start)
            assert_array_equal(out[11 : 11 + width], expected)
            out[11 : 11 + width] = CANARY
            assert (out == CANARY).all()


@numba.njit
def rectified_block(values, n, threshold, to):
    blocks.rectified_block(values, n, threshold, to)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("n", [0, 1, 5])
def test_how_far_values_go_over_a_threshold_is_added_up(rng, dtype, n):
    width = blocks.VECTOR_BYTES // np.dtype(dtype).itemsize
    # whole numbers: exact in any order
    a, scales = rng.integers(-9, 10, (2, 500)).astype(dtype)
    ends = np.full((2, width + 9), CANARY, dtype)
    expected = ends.copy()
    z = views(a, 7, (n, width), (40, 1)) * scales[3 : 3 + n, None]
    for row, way in zip(expected, (z, -z), strict=True):
        row[4 : 4 + width] = np.maximum(way - 2, 0).sum(axis=0)
    two = np.dtype(dtype).type(2)
    rectified_block((a, 7, 40, scales, 3), n, two, (ends[0], ends[1], 4))
    assert_array_equal(ends, expected)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("bad", ["values", "scales"])
def test_thresholded_sums_keep_nan(dtype, bad):
    width = blocks.VECTOR_BYTES // np.dtype(dtype).itemsize
    values, scales = np.ones(3 * width, dtype), np.ones(3, dtype)
    {"values": values, "scales": scales}[bad][1] = np.nan
    ends = np.zeros((2, width), dtype)
    threshold = np.dtype(dtype).type(0.5)
    rectified_block((values, 0, width, scales, 0), 3, threshold, (*ends, 0))
    expected = np.arange(width) == 1 if bad == "values" else np.ones(width, bool)
    assert_array_equal(np.isnan(ends), [expected, expected])


def test_lengths_are_rounded_up_to_vectors():
    for dtype in (np.dtype("f4"), np.dtype("f8")):
        lane = blocks.lanes(dtype)
        assert lane * dtype.itemsize == blocks.VECTOR_BYTES
        lengths = [blocks.padded(n, dtype) for n in (0, 1, lane, lane + 1)]
        assert lengths == [0, lane, lane, 2 * lane]


@pytest.mark.parametrize(
    ("name", "value"),
    [("CPU_NAME", "generic"), ("CPU_FEATURES", ""), ("ENABLE_AVX", 0)],
)
def test_vectors_are_what_every_processor_has_where_numba_is_told_so(
    monkeypatch, name, value
):
    monkeypatch.setattr(numba.config, name, value)
    assert blocks._vector_bytes() == (16, 16)


@pytest.mark.parametrize(
    ("name", "features", "expected"),
    [
        ("znver4", {"avx512vl": True, "avx": True}, (32, 32)),
        ("skylake-avx512", {"avx512vl": True, "avx": True}, (64, 32)),
        ("haswell", {"avx512vl": False, "avx": True}, (32, 16)),
        ("nehalem", {"avx": False}, (16, 16)),
        ("apple-m1", {"neon": True}, (16, 32)),
        ("unknown", {}, (16, 16)),
    ],
)
def test_vectors_are_those_of_the_processor(monkeypatch, name, features, expected):
    monkeypatch.setattr(blocks.llvm, "get_host_cpu_features", lambda: features)
    monkeypatch.setattr(blocks.llvm, "get_host_cpu_name", lambda: name)
    assert blocks._vector_bytes() == expected


# threads


def test_layers_work_from_several_threads_at_once(rng):
    X = rng.integers(0, 256, (60, 12, 11, 2), dtype=np.uint8)
    y = rng.integers(0, 3, 60)
    layer = ClassPCAPatchTransformer(kernel_size=3, n_filters=7).fit(X, y)
    pool = MaxPool2DTransformer(2).fit(X)

    def work(part):
        fitted = ClassPCAPatchTransformer(kernel_size=3).fit(X[part::5], y[part::5])
        return layer.transform(X), pool.transform(X), fitted.density_matrices_

    expected = [work(part) for part in range(5)]
    with ThreadPoolExecutor(5) as threads:
        results = list(threads.map(work, [part % 5 for part in range(40)]))
    for part, result in enumerate(results):
        for ours, theirs in zip(result, expected[part % 5], strict=True):
            assert_array_equal(ours, theirs)
