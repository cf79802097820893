"""What no layer can use: a clear error, and the estimator as it was before."""

import warnings

import joblib
import numpy as np
import pytest
from estimators import each, layers, one_of_each_type
from layer_reference import make_images
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import skdmn.data.images
from skdmn import ChannelStandardScaler, ClassPCAPatchTransformer, OverlapPruner
from skdmn.layers.class_density import ClassDensityTransformer

each_layer = each("layer", one_of_each_type(layers()))
LEARNING = [
    ClassPCAPatchTransformer(2, n_filters=3),
    ChannelStandardScaler(),
    OverlapPruner(),
]
each_learning = pytest.mark.parametrize(
    "layer", LEARNING, ids=["class_pca", "scaler", "pruner"]
)
IMAGES, LABELS = make_images(12)


def with_value(value):
    X = IMAGES.copy()
    X[3, 2, 1, 0] = value
    return X


def ragged(n=12):
    images = np.empty(n, dtype=object)
    images[:] = [np.ones((7, 6 + i % 2)) for i in range(n)]
    return images


BAD_IMAGES = {
    "nan": (lambda: with_value(np.nan), ValueError, "NaN"),
    "inf": (lambda: with_value(-np.inf), ValueError, "infinity"),
    "float32_nan": (lambda: with_value(np.nan).astype("f4"), ValueError, "NaN"),
    "no_image": (lambda: IMAGES[:0], ValueError, "0 sample"),
    "no_list": (list, ValueError, "Expected|0 sample"),
    "no_height": (lambda: IMAGES[:, :0], ValueError, "at least one pixel"),
    "no_width": (lambda: IMAGES[:, :, :0], ValueError, "at least one pixel"),
    "no_channel": (lambda: IMAGES[..., :0], ValueError, "at least one pixel"),
    "one_number": (lambda: 3.0, (ValueError, TypeError), "array|images"),
    "1d": (lambda: IMAGES[:, 0, 0, 0], ValueError, "images of shape.*Reshape"),
    "5d": (lambda: IMAGES[None], ValueError, "images of shape"),
    "6d": (lambda: IMAGES[None, None], ValueError, "images of shape"),
    "words": (lambda: IMAGES.astype("U5"), ValueError, "strings|numeric"),
    "real_words": (lambda: [["a", "b"]] * 12, ValueError, "string|numeric|float"),
    "ragged_objects": (ragged, ValueError, "different shapes"),
    "ragged_list": (lambda: list(ragged()), ValueError, "different shapes"),
    "ragged_lists": (lambda: [[[1, 2]], [[1]]] * 6, ValueError, "shape"),
    "masked": (
        lambda: np.ma.masked_less(IMAGES, np.median(IMAGES)),
        ValueError,
        "masked",
    ),
    "missing": (lambda: [None, *IMAGES[1:]], ValueError, "is None, not an image"),
    "complex": (lambda: IMAGES + 1j, ValueError, "[Cc]omplex"),
    "sparse": (lambda: sparse.csr_array(IMAGES[:, 0, :, 0]), TypeError, "[Ss]parse"),
    "none": (lambda: None, (ValueError, TypeError), "array|None"),
    "mapping": (lambda: {"a": 1}, ValueError, "of type dict, not an array"),
}
each_bad = pytest.mark.parametrize("bad", BAD_IMAGES)

BAD_LABELS = {
    "missing": (None, "requires y"),
    "short": (LABELS[:-1], "12 samples, but y has 11 labels"),
    "long": (np.append(LABELS, 0), "12 samples, but y has 13 labels"),
    "nan": (np.where(LABELS, LABELS, np.nan), "NaN"),
    "inf": (np.where(LABELS, LABELS, np.inf), "infinity"),
    "continuous": (LABELS + 0.5, "continuous"),
    "mixed": (np.array([0, "a", 1] * 4, dtype=object), "0 among strings"),
    "none_inside": (np.array(["b", "a", None] * 4, dtype=object), "None among strings"),
    "columns": (np.stack([LABELS, LABELS], axis=1), "1d array|multi"),
    "one_number": (1, "."),
}
each_bad_labels = pytest.mark.parametrize("bad", BAD_LABELS)


def state_of(estimator):
    """Return what an estimator holds, and a hash that knows changes in place."""
    return dict(vars(estimator)), joblib.hash(vars(estimator))


def assert_unchanged(estimator, state):
    before, hashed = state
    assert vars(estimator).keys() == before.keys()
    assert all(vars(estimator)[key] is before[key] for key in before)
    assert joblib.hash(vars(estimator)) == hashed


def fitting_methods(layer):
    return [name for name in ("fit", "partial_fit", "fit_transform")
            if hasattr(layer, name)]  # fmt: skip


@each_layer
@each_bad
def test_bad_images_leave_an_unfitted_estimator_unfitted(layer, bad):
    make, error, words = BAD_IMAGES[bad]
    for method in fitting_methods(layer):
        unfitted = clone(layer)
        before = state_of(unfitted)
        with pytest.raises(error, match=words):
            getattr(unfitted, method)(make(), LABELS)
        assert_unchanged(unfitted, before)
        with pytest.raises(NotFittedError):
            unfitted.transform(IMAGES)


@each_layer
@each_bad
def test_bad_images_leave_a_fitted_estimator_as_it_was(layer, bad):
    make, error, words = BAD_IMAGES[bad]
    fitted = clone(layer).fit(IMAGES, LABELS)
    before = state_of(fitted)
    for method in [*fitting_methods(layer), "transform"]:
        labels = () if method == "transform" else (LABELS,)
        with pytest.raises(error, match=words):
            getattr(fitted, method)(make(), *labels)
        assert_unchanged(fitted, before)


@each_bad_labels
def test_bad_labels_leave_the_estimator_as_it_was(bad):
    y, words = BAD_LABELS[bad]
    unfitted = ClassPCAPatchTransformer(2)
    fitted = ClassPCAPatchTransformer(2).fit(IMAGES, LABELS)
    for estimator in (unfitted, fitted):
        before = state_of(estimator)
        for method in fitting_methods(estimator):
            with pytest.raises((ValueError, TypeError), match=words):
                getattr(estimator, method)(IMAGES, y)
            assert_unchanged(estimator, before)


@each_bad_labels
def test_labels_that_are_not_used_are_not_looked_at(bad):
    y, _ = BAD_LABELS[bad]
    for layer in layers().values():
        if not getattr(layer, "class_based", False):
            clone(layer).fit(IMAGES, y)


@pytest.mark.parametrize(
    "params",
    [
        {"n_filters": 0},
        {"variance_cutoff": 0.0},
        {"variance_cutoff": 1.1},
        {"correlation_cutoff": -0.1},
        {"signs": "two"},
        {"activation": "tanh"},
        {"padding": "full"},
        {"stride": (0, 1)},
        {"stride": (1, 1, 1)},
        {"kernel_size": (9, 9)},
        {"image_shape": (3, 3)},
        {"device": "tpu"},
        {"subsample": 2},
        {"subsample": 0},
        {"subsample": 1.5},
        {"memory": 3},
        {"random_state": "seed"},
    ],
)
def test_bad_parameters_leave_the_estimator_as_it_was(params):
    layer = ClassPCAPatchTransformer(2).fit(IMAGES, LABELS).set_params(**params)
    before = state_of(layer)
    for method in fitting_methods(layer):
        with pytest.raises(ValueError, match=next(iter(params))):
            getattr(layer, method)(IMAGES, LABELS)
        assert_unchanged(layer, before)


@each_layer
def test_data_of_zeros_leaves_the_estimator_as_it_was(layer):
    fitted = clone(layer).fit(IMAGES, LABELS)
    before = state_of(fitted)
    zeros = np.zeros((12, 7, 6, 2))
    if not isinstance(layer, (ClassDensityTransformer, OverlapPruner)):
        assert not fitted.fit(zeros).transform(zeros).any()
        return
    with pytest.raises(ValueError, match="check the images"):
        fitted.fit(zeros, LABELS)
    assert_unchanged(fitted, before)


# interrupted in the middle


@pytest.fixture
def interrupted(monkeypatch):
    """Make the second batch of images raise KeyboardInterrupt."""

    def interrupt():
        batches = skdmn.data.images.Images.batches

        def broken(self, *args):
            pieces = batches(self, *args)
            yield next(pieces)
            raise KeyboardInterrupt

        monkeypatch.setattr("skdmn.data.sizes.BATCH_BYTES", 1)
        monkeypatch.setattr("skdmn.data.images.Images.batches", broken)

    return interrupt


@each_learning
@pytest.mark.parametrize("fitted", [False, True])
def test_an_interrupt_leaves_the_estimator_as_it_was(layer, fitted, interrupted):
    layer = clone(layer)
    if fitted:
        layer.fit(IMAGES, LABELS)
    before = state_of(layer)
    interrupted()
    for method in fitting_methods(layer):
        with pytest.raises(KeyboardInterrupt):
            getattr(layer, method)(IMAGES[::-1], LABELS)
        assert_unchanged(layer, before)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_an_interrupt_of_the_eigenvectors_leaves_it_too(monkeypatch, method):
    layer = ClassPCAPatchTransformer(2).fit(IMAGES, LABELS)
    before = state_of(layer)

    def broken(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(np.linalg, "eigh", broken)
    with pytest.raises(KeyboardInterrupt):
        getattr(layer, method)(IMAGES[::-1], LABELS)
    assert_unchanged(layer, before)


def test_a_warning_made_an_error_leaves_the_estimator_as_it_was(rng):
    layer = ClassPCAPatchTransformer(2).fit(IMAGES, LABELS)
    before = state_of(layer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="image_shape"):
            layer.fit(rng.random((12, 64)), LABELS)
    assert_unchanged(layer, before)


@each_layer
def test_a_failed_refit_still_transforms(layer):
    fitted = clone(layer).fit(IMAGES, LABELS)
    expected, shape = fitted.transform(IMAGES), fitted.image_shape_
    with pytest.raises(ValueError, match="NaN"):
        fitted.fit(with_value(np.nan)[:, :5], LABELS)
    np.testing.assert_array_equal(fitted.transform(IMAGES), expected)
    assert fitted.image_shape_ == shape


# devices


@each_layer
def test_a_gpu_that_is_not_there_is_an_error_that_says_what_to_install(
    layer, monkeypatch
):
    monkeypatch.setattr("skdmn.utils.array_api.gpu", lambda: None)
    asking = clone(layer).set_params(device="cuda")
    before = state_of(asking)
    for method in fitting_methods(layer):
        with pytest.raises(RuntimeError, match=r"skdmn\[cuda12\]"):
            getattr(asking, method)(IMAGES, LABELS)
        assert_unchanged(asking, before)
    fitted = clone(layer).fit(IMAGES, LABELS).set_params(device="cuda")
    with pytest.raises(RuntimeError, match=r"skdmn\[cuda12\]"):
        fitted.transform(IMAGES)


# few images are not bad


@each_layer
def test_one_image_is_enough(layer):
    X, y = IMAGES[:1], LABELS[:1]
    out = clone(layer).fit(X, y).transform(X)
    assert len(out) == 1
    assert np.isfinite(out).all()


@each_layer
def test_one_class_is_enough(layer):
    out = clone(layer).fit(IMAGES, np.zeros(12)).transform(IMAGES)
    assert len(out) == 12


@each_layer
def test_lists_of_images_are_images(layer):
    fitted = clone(layer).fit(list(IMAGES), LABELS.tolist())
    expected = clone(layer).fit(IMAGES, LABELS).transform(IMAGES)
    np.testing.assert_array_equal(fitted.transform(IMAGES.tolist()), expected)


@each_layer
def test_objects_that_are_numbers_are_images(layer):
    fitted = clone(layer).fit(IMAGES.astype(object), LABELS)
    expected = clone(layer).fit(IMAGES, LABELS).transform(IMAGES)
    np.testing.assert_array_equal(fitted.transform(IMAGES), expected)


@each_layer
def test_an_object_array_of_equal_images_is_stacked(layer):
    images = np.empty(12, dtype=object)
    images[:] = list(IMAGES)
    fitted = clone(layer).fit(images, LABELS)
    expected = clone(layer).fit(IMAGES, LABELS).transform(IMAGES)
    np.testing.assert_array_equal(fitted.transform(images), expected)
