"""Any shape, dtype, layout, batches and order: the definition holds."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from numpy.testing import assert_allclose, assert_array_equal
from stacks import STACKS, network, pipeline

from skdmn import (
    ChannelStandardScaler,
    ClassPCAPatchTransformer,
    FlattenTransformer,
    MaxPool2DTransformer,
    OverlapPruner,
)
from skdmn.statistics.density import DensityAccumulator

DTYPES = ["u1", "i1", "?", "u2", "i2", "i4", "i8", "f2", "f4", "f8"]
FLOATS = {"f8": 1e-9}  # to what float32's rounding, in which the others are computed
ROUNDING = 2e-5


@st.composite
def image_arrays(draw, most=5):
    """Return images (n, height, width, channels) of any shape and dtype, contiguous."""
    n, channels = draw(st.integers(2, 7)), draw(st.integers(1, 3))
    height, width = draw(st.integers(2, most)), draw(st.integers(2, most))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    values = rng.uniform(0, 100, (n, height, width, channels))
    values[0, 0, 0, 0] = 50  # not all of them round to 0
    return (values > 40 if dtype.kind == "b" else values).astype(dtype)


@st.composite
def laid_out(draw, array):
    """Return an array of the same values that lies otherwise in memory."""
    kinds = st.sampled_from(
        ["copy", "axes", "back", "steps", "locked", "order", "odd", "part"]
    )
    kind = draw(kinds)
    if kind == "axes":
        axes = draw(st.permutations(range(array.ndim)))
        return np.ascontiguousarray(array.transpose(axes)).transpose(np.argsort(axes))
    if kind == "back":
        signs = [draw(st.sampled_from([1, -1])) for _ in array.shape]
        some = tuple(slice(None, None, sign) for sign in signs)
        return array[some].copy()[some]
    if kind in ("steps", "part"):
        step = draw(st.integers(2, 3)) if kind == "steps" else 1
        larger = np.full([step * size + 2 for size in array.shape], 77, array.dtype)
        view = larger[tuple(slice(1, 1 + step * size, step) for size in array.shape)]
        view[...] = array
        return view
    if kind == "order":
        return array.astype(array.dtype.newbyteorder())
    if kind == "odd":  # not aligned
        memory = np.zeros(array.nbytes + 1, np.uint8)
        view = memory[1:].view(array.dtype).reshape(array.shape)
        view[...] = array
        return view
    view = array.copy()
    view.flags.writeable = kind != "locked"
    return view


def rounding(images):
    return FLOATS.get(images.dtype.newbyteorder("=").str[1:], ROUNDING)


def windows(images, size):
    """Return every valid patch, (n, rows, columns, y, x, channel), in float64."""
    found = sliding_window_view(images.astype(np.float64), size, axis=(1, 2))
    return np.moveaxis(found, 3, -1)


@st.composite
def images_and_views(draw):
    images = draw(image_arrays())
    return images, draw(laid_out(images)), draw(laid_out(images))


# fast is slow


@settings(max_examples=50, deadline=None)
@given(
    arrays=images_and_views(),
    size=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    centered=st.booleans(),
    stride=st.integers(1, 2),
)
def test_convolutions_of_any_images_are_the_definition(arrays, size, centered, stride):
    images, fitted_on, transformed = arrays
    layer = ClassPCAPatchTransformer(
        size, class_based=False, variance_cutoff=1.0, centered=centered, stride=stride
    )
    d = size[0] * size[1] * images.shape[3]
    patches = windows(images, size)
    rows = patches.reshape(-1, d)
    rows = rows - centered * rows.mean(axis=0)
    moment = rows.T @ rows
    out = layer.fit(fitted_on).transform(transformed)
    assert_allclose(
        layer.density_matrices_[0], moment / np.trace(moment), atol=rounding(images)
    )
    filters = layer.filters_.reshape(-1, d).astype(np.float64)
    expected = patches[:, ::stride, ::stride].reshape(*out.shape[:3], d) @ filters.T
    assert_allclose(
        out, np.maximum(expected, 0), rtol=1e-5, atol=100 * rounding(images)
    )
    assert out.dtype == (np.float64 if images.dtype == np.float64 else np.float32)


@settings(max_examples=100, deadline=None)
@given(arrays=images_and_views(), size=st.integers(1, 2), stride=st.integers(1, 3))
def test_pooling_and_scaling_of_any_images_are_the_definition(arrays, size, stride):
    images, fitted_on, transformed = arrays
    pool = MaxPool2DTransformer(size, stride=stride).fit(fitted_on)
    expected = windows(images, (size, size)).max(axis=(3, 4))[:, ::stride, ::stride]
    assert_array_equal(pool.transform(transformed), expected)
    scaler = ChannelStandardScaler().fit(fitted_on)
    wide = images.astype(np.float64)
    assert_allclose(scaler.mean_, wide.mean(axis=(0, 1, 2)), rtol=1e-12)
    spread = wide.std(axis=(0, 1, 2))
    assert_allclose(scaler.scale_, np.where(spread > 0, spread, 1), rtol=1e-9)
    expected = (wide - scaler.mean_) / scaler.scale_
    assert_allclose(scaler.transform(transformed), expected, rtol=1e-3, atol=1e-3)
    flat = FlattenTransformer().fit(fitted_on).transform(transformed)
    assert_array_equal(flat, wide.reshape(len(images), -1))


@settings(max_examples=40, deadline=None)
@given(arrays=images_and_views())
def test_energies_of_any_channels_are_the_definition(arrays):
    images, fitted_on, _ = arrays
    squares = (images.astype(np.float64) ** 2).sum(axis=(0, 1, 2))
    with np.errstate(divide="ignore"):
        expected = -np.log(squares / squares.sum())
    pruner = OverlapPruner(0).fit(fitted_on)
    assert_allclose(pruner.energies_, expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(STACKS.keys() - {"subsample"})),  # drawn anew
    dtype=st.sampled_from(["u1", "f4", "f8"]),
    seed=st.integers(0, 99),
    batch_size=st.integers(1, 20),
    data=st.data(),
)
def test_a_network_is_its_pipeline_for_any_layout_and_batches(
    name, dtype, seed, batch_size, data
):
    rng = np.random.default_rng(seed)
    X, y = rng.uniform(0, 100, (18, 8, 7, 3)).astype(dtype), np.arange(18) % 3
    view = data.draw(laid_out(X))
    net = network(name, batch_size=batch_size).fit(view, y)
    expected = pipeline(name).fit(X, y).transform(X).reshape(18, -1)
    found = net.transform(view)
    assert found.shape == expected.shape
    # where eigenvalues are near each other, float32's rounding mixes their filters
    if dtype != "f4":
        assert_allclose(found, expected, rtol=1e-3, atol=1e-2)
    cut = data.draw(st.integers(1, 17))
    parts = [net.transform(view[:cut]), net.transform(view[cut:])]
    assert_allclose(np.concatenate(parts), found, rtol=1e-4, atol=1e-3)


# sums


def accumulated(images, labels, centered):
    sums = DensityAccumulator.empty(3, (2, 2), images.shape[3], centered=centered)
    if len(images):
        sums.update(images, labels)
    return sums


def merged(*accumulators):
    total = DensityAccumulator.empty(
        3, (2, 2), accumulators[0].outer_products.shape[1] // 4,
        centered=accumulators[0].sums is not None,
    )  # fmt: skip
    for one in accumulators:
        total.merge(one)
    return total


def assert_same_sums(ours, theirs, exact):
    assert_array_equal(ours.n_images, theirs.n_images)
    assert_array_equal(ours.n_patches, theirs.n_patches)
    for name in ("outer_products", "sums"):
        one, other = getattr(ours, name), getattr(theirs, name)
        if other is None:
            assert one is None
        elif exact:
            assert_array_equal(one, other)
        else:
            assert_allclose(one, other, rtol=1e-6, atol=1e-6 * np.abs(other).max())


@settings(max_examples=80, deadline=None)
@given(
    images=image_arrays(),
    seed=st.integers(0, 2**16),
    centered=st.booleans(),
    cuts=st.tuples(st.integers(0, 7), st.integers(0, 7)).map(sorted),
    order=st.permutations(range(3)),
)
def test_merging_is_associative_and_commutative(images, seed, centered, cuts, order):
    labels = np.random.default_rng(seed).integers(0, 3, len(images))
    exact = images.dtype.kind in "bu" or images.dtype.itemsize == 1
    edges = [0, *np.minimum(cuts, len(images)), len(images)]
    pieces = [slice(a, b) for a, b in itertools.pairwise(edges)]
    a, b, c = (accumulated(images[p], labels[p], centered) for p in pieces)
    whole = accumulated(images, labels, centered)
    assert_same_sums(merged(a, b, c), whole, exact)
    assert_same_sums(merged(a, merged(b, c)), merged(merged(a, b), c), exact)
    assert_same_sums(merged(*((a, b, c)[i] for i in order)), merged(a, b, c), exact)
    assert_array_equal(merged(a).outer_products, a.outer_products)  # nothing is lost


@settings(max_examples=30, deadline=None)
@given(images=image_arrays(), labels=st.permutations(range(3)))
def test_classes_merge_where_they_are_said_to_be(images, labels):
    codes = np.arange(len(images)) % 3
    sums = accumulated(images, codes, False)
    renamed = DensityAccumulator.empty(3, (2, 2), images.shape[3], centered=False)
    renamed.merge(sums, np.array(labels))
    expected = accumulated(images, np.array(labels)[codes], False)
    assert_same_sums(renamed, expected, exact=True)


# order


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    dtype=st.sampled_from(["u1", "i2", "f8"]),
    order=st.permutations(range(15)),
    signs=st.sampled_from(["one", "both"]),
    centered=st.booleans(),
)
def test_filters_and_signs_do_not_depend_on_the_order_of_images(
    seed, dtype, order, signs, centered
):
    rng = np.random.default_rng(seed)
    X = rng.uniform(0, 100, (15, 6, 5, 2)).cumsum(axis=1).astype("f8")
    X, y = (X / 6).astype(dtype), np.arange(15) % 3
    layer = ClassPCAPatchTransformer(
        2, variance_cutoff=0.999, signs=signs, centered=centered
    )
    filters = layer.fit(X, y).filters_
    members = layer.filter_members_
    layer.fit(X[order], y[order])
    assert_allclose(layer.filters_, filters, atol=1e-6)
    assert layer.filter_members_ == members
