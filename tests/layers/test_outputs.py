"""Names, data frames, copies and parameters set after fit, for every layer."""

import copy
import io
import itertools
import pickle

import joblib
import numpy as np
import pytest
import sklearn
from estimators import each, image_layers, one_of_each_type
from layer_reference import make_images
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from skdmn import (
    ClassPCAPatchTransformer,
    FlattenTransformer,
    MaxPool2DTransformer,
    OverlapPruner,
)

each_layer = each("layer", one_of_each_type(image_layers()))
each_library = pytest.mark.parametrize("library", ["pandas", "polars"])
IMAGES, LABELS = make_images(12)
CHECKS = [  # that scikit-learn has, and leaves out of its suite
    "check_dataframe_column_names_consistency",
    "check_get_feature_names_out_error",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_param_validation",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
]


@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names")
@each_layer
@pytest.mark.parametrize("check", CHECKS)
def test_checks_that_the_suite_of_scikit_learn_leaves_out(layer, check):
    getattr(estimator_checks, check)(type(layer).__name__, clone(layer))


def rows_or_images(kind):
    return IMAGES if kind == "images" else IMAGES[:, 0, :, 0]


# names


@each_layer
def test_names_of_images_are_places_in_c_order(layer):
    layer = clone(layer).fit(IMAGES, LABELS)
    names = layer.get_feature_names_out()
    sizes = layer.output_shape_
    widths = [len(str(size - 1)) for size in sizes]
    expected = [
        "_".join(
            f"{axis}{i:0{width}}"
            for axis, i, width in zip("yxf", at, widths, strict=True)
        )
        for at in itertools.product(*map(range, sizes))
    ]
    assert names.tolist() == expected
    assert names.dtype == object


def test_names_are_filled_with_zeros_to_equal_length():
    X = np.random.default_rng(0).random((3, 101, 11, 2))
    names = MaxPool2DTransformer(1).fit(X).get_feature_names_out()
    assert names[0] == "y000_x00_f0"
    assert names[-1] == "y100_x10_f1"


@each_layer
def test_names_of_another_number_are_an_error(layer):
    layer = clone(layer).fit(IMAGES, LABELS)
    with pytest.raises(ValueError, match="length equal to number of features"):
        layer.get_feature_names_out(["a", "b"])
    given = [f"pixel{i}" for i in range(layer.n_features_in_)]
    assert len(layer.get_feature_names_out(given)) == np.prod(layer.output_shape_)


def test_names_go_through_a_pipeline():
    layers = [ClassPCAPatchTransformer(2), MaxPool2DTransformer(), FlattenTransformer()]
    pipeline = make_pipeline(*layers).fit(IMAGES, LABELS)
    names = pipeline.get_feature_names_out()
    assert names.shape == (pipeline.transform(IMAGES).shape[1],)
    assert names[0] == "y0_x0_f0"


# data frames


@each_layer
@each_library
@pytest.mark.parametrize("everywhere", [False, True])
def test_images_stay_arrays_whatever_set_output_says(layer, library, everywhere):
    pytest.importorskip(library)
    plain = clone(layer).fit(IMAGES, LABELS).transform(IMAGES)
    layer = clone(layer)
    with sklearn.config_context(transform_output=library if everywhere else None):
        if not everywhere:
            layer.set_output(transform=library)
        out = layer.fit_transform(IMAGES, LABELS)
        again = layer.transform(IMAGES)
    if isinstance(layer, FlattenTransformer):
        assert type(out).__module__.startswith(library)
        out, again = out.to_numpy(), again.to_numpy()
    assert type(out) is type(again) is np.ndarray
    assert_array_equal(out, plain)
    assert_array_equal(again, plain)


@each_layer
@each_library
@pytest.mark.parametrize("everywhere", [False, True])
def test_rows_become_data_frames(layer, library, everywhere, rng):
    frames = pytest.importorskip(library)
    X = rng.random((12, 7))
    plain = clone(layer).fit(X, LABELS).transform(X)
    layer = clone(layer)
    with sklearn.config_context(transform_output=library if everywhere else None):
        if not everywhere:
            layer.set_output(transform=library)
        out = layer.fit_transform(X, LABELS)
    assert isinstance(out, frames.DataFrame)
    assert list(out.columns) == list(layer.get_feature_names_out())
    assert_array_equal(out.to_numpy(), plain)


def test_data_frames_keep_their_index(rng):
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(rng.random((12, 7)), index=range(100, 112))
    X.columns = [f"t{i}" for i in range(7)]
    layer = ClassPCAPatchTransformer(3).set_output(transform="pandas")
    assert list(layer.fit_transform(X, LABELS).index) == list(range(100, 112))


@each_layer
@pytest.mark.parametrize("image_shape", [None, (1, 7), (7, 1)])
@each_library
def test_columns_of_data_frames_are_remembered(layer, image_shape, library, rng):
    frames = pytest.importorskip(library)
    names = [f"t{i}" for i in range(7)]
    frame = frames.DataFrame(dict(zip(names, rng.random((7, 12)), strict=True)))
    layer = clone(layer).set_params(image_shape=image_shape)
    if image_shape == (7, 1):
        size = {"kernel_size", "pool_size"} & set(layer.get_params())
        layer.set_params(**dict.fromkeys(size, (2, 1)))
    layer.fit(frame, LABELS)
    assert layer.feature_names_in_.tolist() == names
    expected = layer.transform(frame)
    assert_array_equal(expected, clone(layer).fit_transform(frame.to_numpy(), LABELS))
    with pytest.raises(ValueError, match="feature names should match"):
        layer.transform(frame[names[::-1]])
    with pytest.raises(ValueError, match="feature names should match"):
        layer.transform(frame.rename(dict.fromkeys(["t0"], "x")) if library == "polars"
                        else frame.rename(columns={"t0": "x"}))  # fmt: skip
    with pytest.raises(ValueError, match="not equal to feature_names_in_"):
        layer.get_feature_names_out(names[::-1])


# the same by other ways


@each_layer
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_fit_transform_is_fit_then_transform(layer, dtype):
    X, y = make_images(dtype=dtype)
    expected = clone(layer).fit(X, y).transform(X)
    assert_array_equal(clone(layer).fit_transform(X, y), expected)


@each_layer
def test_two_fits_are_equal_to_the_last_bit(layer):
    first, second = (clone(layer).fit(IMAGES, LABELS) for _ in range(2))
    assert joblib.hash(vars(first)) == joblib.hash(vars(second))
    assert_array_equal(first.transform(IMAGES), second.transform(IMAGES))


def by_joblib(layer):
    file = io.BytesIO()
    joblib.dump(layer, file)
    file.seek(0)
    return joblib.load(file)


@each_layer
@pytest.mark.parametrize(
    "way",
    [lambda layer: pickle.loads(pickle.dumps(layer)), by_joblib, copy.deepcopy],
    ids=["pickle", "joblib", "deepcopy"],
)
@pytest.mark.parametrize("kind", ["images", "rows"])
def test_copies_are_the_same(layer, way, kind):
    X = rows_or_images(kind)
    layer = clone(layer).fit(X, LABELS)
    other = way(layer)
    assert vars(other).keys() == vars(layer).keys()
    assert_array_equal(other.transform(X), layer.transform(X))
    assert_array_equal(other.get_feature_names_out(), layer.get_feature_names_out())
    if hasattr(layer, "partial_fit"):
        layer.partial_fit(X[::2], LABELS[::2])
        other.partial_fit(X[::2], LABELS[::2])
        assert_array_equal(other.transform(X), layer.transform(X))


@each_layer
def test_clones_are_unfitted(layer):
    fitted = clone(layer).fit(IMAGES, LABELS)
    other = clone(fitted)
    assert other.get_params() == layer.get_params()
    assert not [name for name in vars(other) if name.endswith("_")]


# parameters set after fit


@pytest.mark.parametrize(
    "params",
    [
        {"stride": 2},
        {"stride": (1, 3), "padding": "same"},
        {"padding": "same"},
        {"activation": None},
    ],
)
def test_parameters_of_transform_may_change_after_fit(params):
    layer = ClassPCAPatchTransformer(3).fit(IMAGES, LABELS).set_params(**params)
    expected = ClassPCAPatchTransformer(3, **params).fit(IMAGES, LABELS)
    check_same_output(layer, expected)


@pytest.mark.parametrize(
    "params",
    [{"stride": 1}, {"stride": (1, 3), "padding": "same"}, {"padding": "same"}],
)
def test_parameters_of_pooling_may_change_after_fit(params):
    layer = MaxPool2DTransformer(3).fit(IMAGES).set_params(**params)
    check_same_output(layer, MaxPool2DTransformer(3, **params).fit(IMAGES))


def check_same_output(layer, expected):
    out = layer.transform(IMAGES)
    assert_array_equal(out, expected.transform(IMAGES))
    assert out.shape[1:] == layer.output_shape_ == expected.output_shape_
    assert_array_equal(layer.get_feature_names_out(), expected.get_feature_names_out())


@pytest.mark.parametrize(
    ("layer", "params"),
    [
        (ClassPCAPatchTransformer(3), {"kernel_size": 2}),
        (ClassPCAPatchTransformer(3), {"variance_cutoff": 0.1, "signs": "both"}),
        (ClassPCAPatchTransformer(3), {"class_based": False, "centered": True}),
        (MaxPool2DTransformer(3), {"pool_size": 5, "stride": 3}),
        (OverlapPruner(0), {"n_overlap": 1}),
    ],
)
def test_parameters_of_fit_do_nothing_until_the_next_fit(layer, params):
    layer = clone(layer).fit(IMAGES, LABELS)
    expected = layer.transform(IMAGES)
    layer.set_params(**params)
    assert_array_equal(layer.transform(IMAGES), expected)
    assert layer.output_shape_ == expected.shape[1:]


@pytest.mark.parametrize(
    ("layer", "params"),
    [
        (ClassPCAPatchTransformer(3), {"stride": 0}),
        (ClassPCAPatchTransformer(3), {"stride": (1, 2, 3)}),
        (ClassPCAPatchTransformer(3), {"stride": (1, 0)}),
        (ClassPCAPatchTransformer(3), {"padding": "full"}),
        (ClassPCAPatchTransformer(3), {"activation": "tanh"}),
        (MaxPool2DTransformer(3), {"stride": (0, 1)}),
        (MaxPool2DTransformer(3), {"padding": 1}),
        (OverlapPruner(), {"device": "tpu"}),
        (FlattenTransformer(), {"device": None}),
    ],
)
def test_bad_parameters_set_after_fit_are_an_error_at_transform(layer, params):
    layer = clone(layer).fit(IMAGES, LABELS).set_params(**params)
    with pytest.raises(ValueError, match=next(iter(params))):
        layer.transform(IMAGES)


@each_layer
def test_an_unfitted_layer_says_so(layer):
    unfitted = clone(layer)
    for call in (
        lambda: unfitted.transform(IMAGES),
        unfitted.get_feature_names_out,
        lambda: unfitted.output_shape_,
    ):
        with pytest.raises(ValueError, match="not fitted yet"):
            call()
    assert "filters_" not in repr(unfitted)
