"""Layers in scikit-learn's Pipelines, searches and files, on digits."""

import io
import pickle

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import skops.io
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.utils import estimator_html_repr

from skdmn import ClassPCAPatchTransformer, MaxPool2DTransformer, make_dmn
from skdmn.datasets import load_digits_images


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits_images()
    return X[:600], y[:600]


@pytest.fixture(scope="module")
def fitted(digits):
    return make_dmn(n_filters=6, random_state=0).fit(*digits)


def test_steps_are_named_by_layer():
    names = [name for name, _ in make_dmn(3).steps]
    convolutions = ["conv1", "pool1", "conv2", "pool2", "conv3", "pool3"]
    assert names == [*convolutions, "flatten", "softmax"]
    assert type(make_dmn()) is Pipeline


def test_parameters_reach_their_layers():
    dmn = make_dmn(
        2,
        kernel_size=[3, (5, 3)],
        n_filters=[4, None],
        variance_cutoff=[0.9, 0.8],
        signs=["one", "both"],
        pool_size=[2, 3],
        C=0.5,
        subsample=0.3,
        image_shape=(8, 8),
        random_state=1,
    )
    params = dmn.get_params()
    assert params["conv1__kernel_size"] == 3
    assert params["conv2__kernel_size"] == (5, 3)
    assert params["conv1__n_filters"] == 4
    assert params["conv2__n_filters"] is None
    assert params["conv2__variance_cutoff"] == 0.8
    assert params["conv2__signs"] == "both"
    assert params["pool2__pool_size"] == 3
    assert params["conv1__image_shape"] == (8, 8)
    assert params["conv2__image_shape"] is None
    assert params["conv2__subsample"] == 0.3
    assert params["conv2__random_state"] == 1
    assert params["softmax__C"] == 0.5


def test_a_list_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"pool_size=\[2\] has 1 values for 2 layers"):
        make_dmn(2, pool_size=[2])


def test_a_tuple_is_not_taken_for_values_of_layers():
    with pytest.raises(ValueError, match=r"n_filters=\(4, 8\) is a tuple; pass a list"):
        make_dmn(n_filters=(4, 8))


@pytest.mark.parametrize("n_layers", [0, -1, 1.5])
def test_a_number_of_layers_below_one_is_refused(n_layers):
    with pytest.raises(ValueError, match="n_layers"):
        make_dmn(n_layers)


def test_computed_layers_beat_raw_pixels_on_digits():
    X, y = load_digits_images()
    X, X_test, y, y_test = train_test_split(
        X, y, stratify=y, train_size=1200, random_state=0
    )
    rows, rows_test = (some.reshape(len(some), -1) / 16 for some in (X, X_test))
    raw = LogisticRegression(C=0.01, max_iter=1000).fit(rows, y)
    pixels = raw.score(rows_test, y_test)
    features = make_dmn().fit(X, y).score(X_test, y_test)
    assert features > 0.95
    assert features > pixels + 0.01


@pytest.mark.parametrize("scale", [1 / 16, 16.0])
def test_the_scale_of_pixels_does_not_matter(digits, fitted, scale):
    X, y = digits
    scaled = (X * scale).astype(np.float32)
    other = clone(fitted).fit(scaled, y)
    np.testing.assert_allclose(
        other.predict_proba(scaled), fitted.predict_proba(X), atol=1e-3
    )


def test_rows_with_image_shape_give_the_predictions_of_images(digits, fitted):
    X, y = digits
    rows = X.reshape(len(X), -1)
    dmn = make_dmn(n_filters=6, random_state=0, image_shape=(8, 8)).fit(rows, y)
    np.testing.assert_array_equal(dmn.predict(rows), fitted.predict(X))


# of joblib, if the machine is busy
@pytest.mark.filterwarnings("ignore:Persisting input arguments")
def test_grid_search_over_both_layers_in_two_jobs_with_memory(digits, tmp_path):
    grid = {
        "conv1__variance_cutoff": [0.9, 0.99],
        "conv1__correlation_cutoff": [0.8],
        "conv1__n_filters": [4],
        "conv2__variance_cutoff": [0.99],
        "conv2__correlation_cutoff": [0.7, 0.95],
        "conv2__n_filters": [8],
    }
    with_memory = make_dmn(memory=str(tmp_path))
    search = GridSearchCV(with_memory, grid, cv=2, n_jobs=2).fit(*digits)
    plain = GridSearchCV(make_dmn(), grid, cv=2).fit(*digits)
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"]
    )
    assert search.best_score_ > 0.5  # of ten classes, with four filters


def test_set_params_and_clone(digits):
    dmn = clone(make_dmn()).set_params(conv1__n_filters=2, conv2__n_filters=3)
    dmn.fit(*digits)
    assert dmn["conv1"].filters_.shape[0] == 4
    assert dmn["conv2"].filters_.shape[0] == 6
    assert not hasattr(clone(dmn)["conv1"], "filters_")


def _skops_round_trip(model):
    data = skops.io.dumps(model)
    return skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))


def _joblib_round_trip(model):
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


@pytest.mark.parametrize(
    "round_trip",
    [lambda m: pickle.loads(pickle.dumps(m)), _joblib_round_trip, _skops_round_trip],
    ids=["pickle", "joblib", "skops"],
)
def test_saved_models_predict_the_same(digits, fitted, round_trip):
    loaded = round_trip(fitted)
    np.testing.assert_array_equal(
        loaded.predict_proba(digits[0]), fitted.predict_proba(digits[0])
    )
    assert loaded["conv1"].kernel_size_ == (3, 3)


@pytest.mark.parametrize(("output", "frame"), [("pandas", pd), ("polars", pl)])
def test_set_output_on_a_whole_pipeline(digits, output, frame):
    dmn = make_dmn(n_filters=6).set_output(transform=output).fit(*digits)
    features = dmn[:-1].transform(digits[0])
    assert isinstance(features, frame.DataFrame)
    assert list(features.columns)[:2] == ["y0_x0_f00", "y0_x0_f01"]
    assert isinstance(dmn[:1].transform(digits[0]), np.ndarray)
    names = dmn[:-1].get_feature_names_out()
    assert list(features.columns) == list(names)


def test_diagram(fitted):
    html = estimator_html_repr(fitted)
    assert "ClassPCAPatchTransformer" in html
    assert "MaxPool2DTransformer" in html


def test_layers_chain_without_flatten_in_their_own_pipeline(digits):
    X, y = digits
    chain = Pipeline(
        [
            ("conv", ClassPCAPatchTransformer(n_filters=3)),
            ("pool", MaxPool2DTransformer(2)),
            ("again", ClassPCAPatchTransformer(2, n_filters=5, variance_cutoff=1.0)),
        ]
    )
    assert chain.fit_transform(X, y).shape == (600, 2, 2, 5)


def test_verbose_prints_progress(digits, capsys, without_logging):
    with without_logging():
        ClassPCAPatchTransformer(verbose=True).fit(*digits)
    printed = capsys.readouterr().out
    assert "density matrices: 600 of 600 images" in printed
    assert "filters of 10 classes" in printed
    ClassPCAPatchTransformer().fit(*digits)
    assert capsys.readouterr().out == ""
