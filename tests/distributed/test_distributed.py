"""Estimators on dask arrays give what they give in one process."""

import pickle

import joblib
import numpy as np
import pytest
from estimators import each, image_estimators, layers, one_of_each_type
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context, get_config
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from skdmn import (
    ChannelStandardScaler,
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    MaxPool2DTransformer,
    OverlapPruner,
    SoftmaxClassifier,
    SoftmaxClassifierCV,
    WhitenedPCAPatchTransformer,
    make_dmn,
    recommended_dmn,
)
from skdmn.datasets import load_digits_images
from skdmn.statistics.density import DensityAccumulator

dask = pytest.importorskip("dask", reason="dask arrays are under test")
da = pytest.importorskip("dask.array", reason="dask arrays are under test")
from skdmn import distributed  # noqa: E402

N = 300
UNEVEN = (120, 0, 1, 90, 89)
JOINED_BYTES = distributed.blocks.JOINED_BYTES


@pytest.fixture(autouse=True)
def threads():
    with dask.config.set(scheduler="threads"):
        yield


@pytest.fixture(autouse=True)
def apart(monkeypatch):
    """Keep the small blocks of these tests apart, as large ones are."""
    monkeypatch.setattr(distributed.blocks, "JOINED_BYTES", 1)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits_images()
    return X[:N], y[:N]


def cut(X, sizes=UNEVEN):
    return da.from_array(X, chunks=(tuple(sizes), *X.shape[1:]))


def unknown(X, sizes=UNEVEN):
    """Cut into chunks whose sizes Dask does not know."""
    blocks = cut(X, sizes)
    return blocks[da.from_array(np.ones(len(X), bool), chunks=(blocks.chunks[0],))]


def assert_same_fit(ours, expected, **tolerance):
    learned = [name for name in vars(expected) if name.endswith("_")]
    assert learned
    for name in learned:
        found, wanted = getattr(ours, name), getattr(expected, name)
        assert type(found) is type(wanted)
        if isinstance(wanted, (float, int, np.ndarray)):
            assert np.asarray(found).dtype == np.asarray(wanted).dtype
            assert_allclose(found, wanted, err_msg=name, **tolerance)
        else:
            assert found == wanted, name


# layers

LAYERS = {
    **{name: layer for name, layer in layers().items() if "whitened" not in name},
    "share": ClassPCAPatchTransformer(subsample=0.3, random_state=0),
    "number": ClassPCAPatchTransformer(subsample=25, random_state=1),
}


@each("layer", LAYERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_layers_learn_what_they_learn_in_one_process(digits, layer, dtype):
    X, y = digits[0].astype(dtype), digits[1]
    ours, expected = clone(layer), clone(layer).fit(X, y)
    assert distributed.fit(ours, cut(X), y) is ours
    assert_same_fit(ours, expected, rtol=1e-9, atol=1e-12)
    assert_allclose(ours.transform(X), expected.transform(X), rtol=1e-6, atol=1e-6)


def test_whitened_filters_are_those_of_one_process(digits):
    X, y = digits[0].astype(np.float64), digits[1]
    layer = WhitenedPCAPatchTransformer(4, n_filters=9, contrast_floor=2.0)
    expected = clone(layer).fit(X, y)
    ours = distributed.fit(layer.set_params(contrast_floor=1.0).fit(X, y), cut(X), y)
    assert ours.contrast_floor_ == 1.0
    ours = distributed.fit(layer.set_params(contrast_floor=2.0), cut(X), y)
    assert_same_fit(ours, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("subsample", [1.0, 0.5])
def test_the_floor_of_all_patches_is_summed_up_first(digits, subsample):
    X, y = digits[0].astype(np.float64), digits[1]
    layer = WhitenedPCAPatchTransformer(
        4, n_filters=9, subsample=subsample, random_state=0
    )
    expected = clone(layer).fit(X, y)
    layer.contrast_floor_ = 7.0  # of a fit before
    ours = distributed.fit(layer, cut(X), y)
    assert ours.contrast_floor_ == expected.contrast_floor_
    assert_same_fit(ours, expected, rtol=1e-9, atol=1e-9)


def test_the_recommended_network_is_that_of_one_process(digits):
    X, y = digits
    dmn = recommended_dmn(X.shape[1:], n_filters=20)
    expected = clone(dmn).fit(X, y)
    found = distributed.predict_proba(distributed.fit(dmn, cut(X), y), cut(X))
    assert_allclose(found.compute(), expected.predict_proba(X), atol=2e-2)
    agreed = (expected.predict(X) == dmn.predict(X)).mean()
    assert agreed > 0.99


def test_underflow_is_told_as_in_one_process(digits):
    X, y = digits[0].reshape(len(digits[0]), -1).astype(np.float64), digits[1]
    with pytest.raises(ValueError, match="variances that underflow"):
        SoftmaxClassifier().fit(X * 1e-310, y)
    with pytest.raises(ValueError, match="variances that underflow"):
        distributed.fit(SoftmaxClassifier(), cut(X * 1e-310), y)
    distributed.fit(SoftmaxClassifier(), cut(np.ones_like(X)), y)  # as it is


def test_callbacks_are_not_given_the_blocks(digits):
    given = []

    class Seen:
        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context, *, X=None):
            given.append(X)

        def on_fit_task_end(self, estimator, context, *, X=None, y=None):
            given.extend([X, y])

    X, y = digits[0].reshape(len(digits[0]), -1), digits[1]
    softmax = SoftmaxClassifier().set_callbacks(Seen())
    distributed.fit(softmax, cut(X), y)
    assert len(given) > 3
    assert not any(told is not None for told in given)


def test_the_working_memory_goes_with_the_tasks(digits, monkeypatch):
    seen = []
    before = ClassPCAPatchTransformer._empty_sums

    def spy(self, *args):
        seen.append(get_config()["working_memory"])
        return before(self, *args)

    monkeypatch.setattr(ClassPCAPatchTransformer, "_empty_sums", spy)
    with config_context(working_memory=3):
        distributed.fit(ClassPCAPatchTransformer(), cut(digits[0]), digits[1])
    assert set(seen) == {3}


def test_channels_are_scaled_and_pruned_as_in_one_process(rng):
    X = rng.normal(size=(N, 4, 5, 3)) * [1000, 1, 0] + [5000, 1, 7]
    for layer in (OverlapPruner(), ChannelStandardScaler()):
        ours = distributed.fit(clone(layer), cut(X))
        assert_same_fit(ours, layer.fit(X), rtol=1e-12)


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=30).filter(sum),
    st.integers(2, 4),
)
def test_bytes_do_not_depend_on_the_blocks_of_whole_numbers(sizes, n_classes):
    # hypothesis does not reset function-scoped fixtures: none are used
    rng = np.random.default_rng(sum(sizes))
    X = rng.integers(0, 256, (sum(sizes), 5, 4), dtype=np.uint8)
    y = rng.integers(0, n_classes, sum(sizes))
    with dask.config.set(scheduler="synchronous"):
        ours = distributed.fit(ClassPCAPatchTransformer(2), cut(X, sizes), y)
    expected = ClassPCAPatchTransformer(2).fit(X, y)
    assert_array_equal(ours.density_matrices_, expected.density_matrices_)
    assert_array_equal(ours.class_counts_, expected.class_counts_)
    assert_array_equal(ours.filters_, expected.filters_)


def test_floats_give_the_same_bytes_for_the_same_blocks(digits):
    X = digits[0] / np.float32(7)
    fits = []
    for kind in ("synchronous", "threads", "threads"):
        with dask.config.set(scheduler=kind):
            dmn = distributed.fit(make_dmn(1), cut(X), digits[1])
        fits.append((dmn[0].filters_, dmn[-1].coef_))
    for fit in fits[1:]:
        assert_array_equal(fit[0], fits[0][0])
        assert_array_equal(fit[1], fits[0][1])


def test_what_was_fitted_goes_on_without_dask(digits):
    X, y = digits
    ours = distributed.fit(ClassPCAPatchTransformer(), cut(X[:N]), y)
    ours = pickle.loads(pickle.dumps(ours)).partial_fit(X[:50], y[:50])
    again = np.r_[X, X[:50]], np.r_[y, y[:50]]
    expected = ClassPCAPatchTransformer().fit(*again)
    assert_array_equal(ours.filters_, expected.filters_)


def test_a_new_fit_forgets_the_last_one(digits):
    X, y = digits
    layer = ClassPCAPatchTransformer(centered=True).fit(X, y)
    distributed.fit(layer.set_params(centered=False), cut(X), y)
    assert not hasattr(layer, "means_")


def test_memory_keeps_the_sums_of_blocks(digits, tmp_path, monkeypatch):
    X, y = digits
    layer = ClassPCAPatchTransformer(memory=str(tmp_path))
    first = distributed.fit(clone(layer), cut(X), y)
    monkeypatch.setattr(DensityAccumulator, "update", None)
    layer.set_params(variance_cutoff=0.8)
    second = distributed.fit(clone(layer), cut(X), y)
    assert_array_equal(first.density_matrices_, second.density_matrices_)
    assert len(second.filters_) < len(first.filters_)


# stacks


def stack(n_layers=2):
    layers = [("conv1", ClassPCAPatchTransformer(n_filters=6))]
    layers += [("pool1", MaxPool2DTransformer(2)), ("scale", ChannelStandardScaler())]
    layers += [("conv2", ClassPCAPatchTransformer(2, variance_cutoff=0.8))]
    return layers[: 2 * n_layers]


@pytest.mark.parametrize("kind", [Pipeline, DensityMatrixNetwork])
def test_stacks_are_fitted_layer_by_layer(digits, kind):
    X, y = digits
    ours = distributed.fit(kind(stack()), cut(X), y)
    expected = kind(stack()).fit(X, y)
    for name, _ in stack():
        assert_same_fit(ours[name], expected[name], rtol=1e-4, atol=1e-6)
    found = distributed.transform(ours, cut(X))
    assert_allclose(found.compute(), expected.transform(X), atol=1e-4)
    assert_allclose(found.compute(), ours.transform(X), atol=1e-6)


@pytest.mark.parametrize("network", [False, True])
def test_a_whole_classifier(digits, network):
    X, y = digits
    names = np.array(["even", "odd"])[y % 2]
    dmn = make_dmn(2)
    dmn[-1].set_params(tol=1e-9, C=0.1)
    if network:
        dmn = make_pipeline(DensityMatrixNetwork.from_pipeline(dmn[:-1]), dmn[-1])
    expected = clone(dmn).fit(X, names)
    distributed.fit(dmn, cut(X), names)
    assert type(dmn[-1]) is SoftmaxClassifier
    assert_allclose(dmn[-1].coef_, expected[-1].coef_, rtol=1e-3, atol=1e-5)
    predicted = distributed.predict(dmn, cut(X))
    assert predicted.dtype == predicted.compute().dtype == names.dtype
    assert_array_equal(predicted, expected.predict(X))
    probabilities = distributed.predict_proba(dmn, cut(X))
    assert probabilities.shape == (N, 2)
    assert probabilities.dtype == probabilities.compute().dtype == np.float32
    assert_allclose(probabilities, expected.predict_proba(X), atol=1e-4)


# transform


KINDS = {
    **{n: (layer, (8, 8)) for n, layer in one_of_each_type(image_estimators()).items()},
    "channels": (ClassPCAPatchTransformer(2, n_filters=3), (4, 4, 4)),
    "rows": (ClassPCAPatchTransformer(image_shape=(8, 8)), (64,)),
    "signals": (ClassPCAPatchTransformer(image_shape=(1, 64)), (64,)),
}


@each("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
@pytest.mark.parametrize("as_blocks", [cut, unknown])
def test_transform_says_what_it_gives(digits, kind, dtype, as_blocks):
    layer, shape = kind
    X, y = digits[0].astype(dtype).reshape(N, *shape), digits[1]
    layer = clone(layer).fit(X, y)
    blocks, expected = as_blocks(X), layer.transform(X)
    features = distributed.transform(layer, blocks)
    assert features.ndim == features._meta.ndim == expected.ndim
    assert features.shape[1:] == expected.shape[1:]
    assert str(features.chunks[0]) == str(blocks.chunks[0])
    assert all(len(sizes) == 1 for sizes in features.chunks[1:])
    assert features.dtype == features._meta.dtype == expected.dtype
    found = features.compute()
    assert found.dtype == expected.dtype
    assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_nothing_is_computed_before_it_is_asked_for(digits):
    def fails(block):
        raise AssertionError("computed")

    X, y = digits
    dmn = make_dmn(1).fit(X, y)
    blocks = cut(X).map_blocks(fails, dtype=X.dtype, meta=X[:0])
    for function, estimator in [
        (distributed.transform, dmn[:-1]),
        (distributed.predict, dmn),
        (distributed.predict_proba, dmn),
    ]:
        result = function(estimator, blocks)
        with pytest.raises(AssertionError, match="computed"):
            result.compute()


def test_images_cut_along_other_axes_are_put_together(digits):
    X, y = digits
    blocks = da.from_array(X, chunks=(100, 3, 5))
    ours = distributed.fit(ClassPCAPatchTransformer(), blocks, y)
    assert_array_equal(ours.filters_, ClassPCAPatchTransformer().fit(X, y).filters_)
    found = distributed.transform(ours, blocks)
    assert found.chunks == ((100,) * 3, (6,), (6,), (len(ours.filters_),))


# small blocks


def test_small_neighbouring_blocks_are_joined(digits, monkeypatch):
    X, _ = digits
    monkeypatch.setattr(distributed.blocks, "JOINED_BYTES", 64 * 256)  # of 64 images
    sizes = (30, 0, 30, 30, 100, 1, 1, 0, 62, 46)
    blocks = distributed.blocks.Blocks.of(cut(X, sizes), sizes).joined()
    assert blocks.sizes == (60, 30, 100, 64, 46)
    assert_array_equal(np.concatenate(dask.compute(*blocks.parts)), X)
    wide = distributed.blocks.Blocks.of(cut(X / 2, sizes), sizes).joined()
    assert wide.sizes == (30, 30, 30, 100, 2, 62, 46)


@pytest.mark.parametrize("as_blocks", [cut, unknown])
def test_a_block_for_each_image_costs_few_tasks(digits, as_blocks, monkeypatch):
    monkeypatch.setattr(distributed.blocks, "JOINED_BYTES", JOINED_BYTES)
    X, y = digits
    calls = []
    apply = distributed.blocks._apply

    def counted(*args):
        calls.append(args[0])
        return apply(*args)

    monkeypatch.setattr(distributed.blocks, "_apply", counted)
    dmn, expected = make_dmn(1), distributed.fit(make_dmn(1), cut(X, (N,)), y)
    n_calls = len(calls)
    calls.clear()
    distributed.fit(dmn, as_blocks(X, (1,) * N), as_blocks(y, (1,) * N))
    assert len(calls) == n_calls
    assert_array_equal(dmn[0].filters_, expected[0].filters_)
    assert_array_equal(dmn[-1].coef_, expected[-1].coef_)
    found = distributed.predict_proba(dmn, as_blocks(X[:9], (1,) * 9)).compute()
    assert_allclose(found, dmn.predict_proba(X[:9]), rtol=1e-5)


# labels and chunks


@pytest.mark.parametrize(
    "labels",
    [
        lambda y: y,
        lambda y: y.tolist(),
        lambda y: da.from_array(y, chunks=70),
        lambda y: cut(y).persist(),
        lambda y: da.from_array(y.astype(str), chunks=70),
    ],
)
def test_labels_are_of_any_kind_and_chunks(digits, labels):
    X, y = digits
    ours = distributed.fit(ClassPCAPatchTransformer(), cut(X), labels(y))
    expected = ClassPCAPatchTransformer().fit(X, y)
    assert_array_equal(ours.filters_, expected.filters_)
    assert_array_equal(ours.classes_.astype(int), expected.classes_)


def test_labels_tell_the_sizes_of_unknown_chunks(digits):
    X, y = digits
    ours = distributed.fit(make_dmn(1), unknown(X), unknown(y))
    expected = distributed.fit(make_dmn(1), cut(X), y)
    assert_array_equal(ours[-1].coef_, expected[-1].coef_)


WRONG = {
    "no dask array": (lambda X, y: (X, y), TypeError, "numpy's ndarray, not a dask"),
    "unknown sizes": (
        lambda X, y: (unknown(X), y),
        ValueError,
        "5 blocks of unknown size; call X.compute_chunk_sizes()",
    ),
    "other blocks": (
        lambda X, y: (unknown(X), unknown(y, (150, 150))),
        ValueError,
        "as a dask array with as many blocks",
    ),
    "other sizes": (
        lambda X, y: (unknown(X), unknown(y, UNEVEN[::-1])),
        ValueError,
        "A block of X has .* samples, but .* block of y",
    ),
    "hidden samples": (
        lambda X, y: (unknown(X, (150, 150)), unknown(y[:150], (150, 0))),
        ValueError,
        "has 150 samples, but the corresponding block of y is empty",
    ),
    "too few labels": (
        lambda X, y: (cut(X), y[:-1]),
        ValueError,
        "300 samples, but y has 299 labels",
    ),
    "no labels": (lambda X, y: (cut(X), None), ValueError, "requires y to be passed"),
    "no images": (lambda X, y: (cut(X[:0], (0,)), y[:0]), ValueError, "at least one"),
    "only empty blocks": (
        lambda X, y: (unknown(X[:0], (0, 0)), unknown(y[:0], (0, 0))),
        ValueError,
        "X has no images",
    ),
    "one axis": (lambda X, y: (cut(X[:, 0, 0]), y), ValueError, "shape \\(300,\\)"),
    "too many axes": (
        lambda X, y: (cut(X.reshape(N, 2, 2, 4, 4)), y),
        ValueError,
        "Expected images of shape",
    ),
    "times": (
        lambda X, y: (cut(X.astype("M8[s]")), y),
        ValueError,
        "datetime64",
    ),
    "NaN": (
        lambda X, y: (cut(np.where(X == 16, np.nan, X)), y),
        ValueError,
        "contains NaN",
    ),
    "small images": (
        lambda X, y: (cut(X[:, :2]), y),
        ValueError,
        "larger than the images",
    ),
    "other blocks' library": (
        lambda X, y: (cut(X).map_blocks(np.asarray, meta=NotNumPy((0, 8, 8))), y),
        TypeError,
        "The blocks of X are of",
    ),
}


class NotNumPy:
    """What Dask takes for an array of another library."""

    __array_function__ = __array_ufunc__ = None

    def __init__(self, shape, dtype="uint8"):
        self.shape, self.ndim, self.dtype = shape, len(shape), np.dtype(dtype)

    def astype(self, dtype, **options):
        return NotNumPy(self.shape, dtype)

    def __getitem__(self, some):
        return self

    def reshape(self, *shape):
        return NotNumPy((0,) * self.ndim, self.dtype)


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize(
    "estimator", [ClassPCAPatchTransformer(), make_dmn(2, padding="valid")], ids=type
)
def test_what_cannot_be_fitted_is_told_and_changes_nothing(digits, name, estimator):
    spoil, kind, message = WRONG[name]
    estimator = clone(estimator)
    with pytest.raises(kind, match=message):
        distributed.fit(estimator, *spoil(*digits))
    steps = estimator if isinstance(estimator, Pipeline) else [estimator]
    assert not any(hasattr(step, "n_features_in_") for step in steps)


def test_a_failed_fit_leaves_the_last_one(digits):
    X, y = digits
    dmn = make_dmn(1).fit(X, y)
    before = pickle.dumps(dmn)
    with pytest.raises(ValueError, match="NaN"):
        distributed.fit(dmn, cut(np.where(X == 16, np.nan, X)), y)
    assert pickle.dumps(dmn) == before


def test_data_frames_are_told_what_to_become():
    frames = pytest.importorskip("dask.dataframe", reason="data frames are under test")
    import pandas as pd

    frame = frames.from_pandas(pd.DataFrame(np.eye(8)), npartitions=2)
    with pytest.raises(TypeError, match=r"dask's DataFrame.*to_dask_array"):
        distributed.fit(SoftmaxClassifier(), frame, np.arange(8))
    with pytest.raises(TypeError, match=r"y is Dask's Series; pass y\.to_dask_array"):
        distributed.fit(SoftmaxClassifier(), cut(np.eye(8), (4, 4)), frame[0])


def test_data_loaders_are_to_be_written_to_a_file_first(digits):
    X, y = digits
    with pytest.raises(ValueError, match=r"X is an iterator.*save_batches"):
        distributed.fit(SoftmaxClassifier(), iter(X), y)


def test_estimators_that_cannot_be_run_are_told(digits):
    X, y = digits
    others = make_pipeline(MaxPool2DTransformer(2), LogisticRegression())
    with pytest.raises(TypeError, match="LogisticRegression cannot be fitted or run"):
        distributed.fit(others, cut(X), y)
    with pytest.raises(NotFittedError):
        distributed.transform(MaxPool2DTransformer(2), cut(X))
    with pytest.raises(NotFittedError):
        distributed.predict(make_dmn(1), cut(X))
    pool = MaxPool2DTransformer(2).fit(X)
    with pytest.raises(TypeError, match="MaxPool2DTransformer has no SoftmaxClassif"):
        distributed.predict(pool, cut(X))
    dmn = make_dmn(1).fit(X, y)
    with pytest.raises(TypeError, match="A SoftmaxClassifier has no transform"):
        distributed.transform(dmn, cut(X))
    with pytest.raises(ValueError, match="fitted on images of 8 x 8"):
        distributed.transform(pool, cut(X[:, :4]))
    with pytest.raises(ValueError, match="sample_weight is for a SoftmaxClassifier"):
        distributed.fit(pool, cut(X), y, np.ones(N))


# softmax

SOFTMAX = [
    SoftmaxClassifier(C=0.1, tol=1e-9),
    SoftmaxClassifier(C=0.1, tol=1e-9, standardize=False, fit_intercept=False),
    SoftmaxClassifier(C=0.1, tol=1e-9, class_weight="balanced"),
    SoftmaxClassifier(C=0.1, tol=1e-9, class_weight={1: 5.0}, fit_intercept=False),
]


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("which", range(len(SOFTMAX)))
def test_softmax_reaches_the_same_optimum(digits, which, sampled, monkeypatch):
    softmax, two = SOFTMAX[which], sampled == bool(which % 2)  # each pair of cases
    X, y = digits[0] + np.float32(30), digits[1]
    y = (y > 6).astype(int) if two else y
    weights = np.arange(N) % 4 * 1.5
    monkeypatch.setattr(
        "skdmn.linear_model.solver.SAMPLED_VALUES", 0 if sampled else 10**9
    )
    expected = clone(softmax).fit(X, y, weights)
    ours = distributed.fit(clone(softmax), cut(X), y, cut(weights, (N - 9, 9)))
    for name in ("mean_", "scale_", "coef_"):
        found, wanted = getattr(ours, name), getattr(expected, name)
        assert_allclose(found, wanted, rtol=1e-3, atol=1e-4, err_msg=name)
    # far from the origin the intercept has the errors of all coefficients
    centred = [o.intercept_ + o.coef_ @ o.mean_ for o in (ours, expected)]
    assert_allclose(*centred, rtol=1e-3, atol=1e-4)
    assert_allclose(ours.loss_curve_[-1], expected.loss_curve_[-1], rtol=1e-6)
    assert_array_equal(distributed.predict(ours, cut(X)), expected.predict(X))


def test_softmax_in_double_precision(digits):
    X, y = digits[0] / 3, digits[1]
    softmax = SoftmaxClassifier(C=0.1, tol=1e-13)
    expected, ours = clone(softmax).fit(X, y), distributed.fit(softmax, cut(X), y)
    assert_allclose(ours.coef_, expected.coef_, rtol=1e-5, atol=1e-8)


def test_a_sample_is_no_larger_than_promised(digits, monkeypatch):
    X, y = digits
    copied = []
    collect = distributed.blocks.Blocks.collect

    def watched(blocks, indices):
        copied.append(len(indices))
        return collect(blocks, indices)

    monkeypatch.setattr(distributed.blocks.Blocks, "collect", watched)
    monkeypatch.setattr("skdmn.linear_model.solver.SAMPLE_BYTES", 100 * 64 * 4)
    softmax = SoftmaxClassifier(C=0.1, tol=1e-7)
    ours = distributed.fit(clone(softmax), cut(X), y)
    # the classes' shares are rounded up
    assert max(copied) <= 100 + 10
    expected = softmax.fit(X, y)
    assert_allclose(ours.coef_, expected.coef_, atol=1e-3)


def test_softmax_goes_on_from_the_last_solution(digits):
    X, y = digits
    softmax = SoftmaxClassifier(C=0.1, warm_start=True)
    first = distributed.fit(softmax, cut(X), y).n_iter_
    assert distributed.fit(softmax, cut(X), y).n_iter_ < first / 2


def test_folds_are_those_of_one_process(digits):
    X, y = digits[0] + np.float32(30), digits[1]
    weights = np.arange(N) % 4 * 1.5
    softmax = SoftmaxClassifierCV([1e-3, 0.1], cv=3, scoring="neg_log_loss", tol=1e-9)
    expected = clone(softmax).fit(X, y, weights)
    ours = distributed.fit(softmax, cut(X), y, cut(weights, (N - 9, 9)))
    assert type(ours) is SoftmaxClassifierCV
    assert_allclose(ours.scores_, expected.scores_, rtol=1e-3)
    assert ours.C_ == expected.C_
    assert_allclose(ours.coef_, expected.coef_, atol=1e-3)
    assert_array_equal(distributed.predict(ours, cut(X)), expected.predict(X))


@pytest.mark.parametrize(
    ("params", "weights", "message"),
    [
        ({"C": -1}, None, "'C' parameter of SoftmaxClassifier"),
        ({}, -np.ones(N), "Negative values"),
        ({}, np.ones(N - 1), "sample_weight.shape"),
    ],
)
def test_softmax_is_checked_before_layers_are_fitted(digits, params, weights, message):
    X, y = digits
    dmn = make_dmn(1)
    dmn[-1].set_params(**params)
    blocks = cut(X).map_blocks(lambda block: 1 / 0, dtype=X.dtype, meta=X[:0])
    with pytest.raises(ValueError, match=message):
        distributed.fit(dmn, blocks, y, weights)


def test_one_class_is_no_task(digits):
    with pytest.raises(ValueError, match="one class only"):
        distributed.fit(make_dmn(1), cut(digits[0]), np.zeros(N))


def test_grid_searches_run_on_threads_of_joblib_meanwhile(digits):
    X, y = digits
    run = joblib.delayed(distributed.fit)
    fits = [run(ClassPCAPatchTransformer(size), cut(X), y) for size in (2, 3)]
    with joblib.parallel_config("threading", n_jobs=2):
        found = joblib.Parallel()(fits)
    for layer in found:
        expected = clone(layer).fit(X, y)
        assert_array_equal(layer.filters_, expected.filters_)
