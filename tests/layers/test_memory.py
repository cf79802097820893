"""The cache of density matrices: what is computed again and what is not."""

import pathlib

import joblib
import numpy as np
import pytest
from layer_reference import make_images
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skdmn import ClassPCAPatchTransformer, FlattenTransformer
from skdmn.statistics.density import DensityAccumulator

GRID = [
    {"variance_cutoff": [0.8, 0.95], "correlation_cutoff": [0.5, 0.9]},
    {"n_filters": [1, 3], "signs": ["one", "both"]},
    {"activation": [None], "stride": [2], "padding": ["same", "valid"]},
]
GRID = [
    {f"classpcapatchtransformer__{name}": values for name, values in some.items()}
    for some in GRID
]
FOLDS = 3


@pytest.fixture
def computed(monkeypatch):
    """Return a list that grows by one with each computation of these small images."""
    calls = []
    update = DensityAccumulator.update

    def counted(self, images, labels):
        calls.append(len(images))
        update(self, images, labels)

    monkeypatch.setattr(DensityAccumulator, "update", counted)
    return calls


def layer(memory=None, **params):
    return ClassPCAPatchTransformer(**{"kernel_size": 2, "memory": memory, **params})


def search(memory, n_jobs=1):
    X, y = make_images(45)
    pipeline = make_pipeline(layer(memory), FlattenTransformer(), RidgeClassifier())
    return GridSearchCV(pipeline, GRID, cv=FOLDS, n_jobs=n_jobs).fit(X, y)


def n_cached(folder):
    return len(list(pathlib.Path(folder).rglob("output.pkl")))


def test_grid_search_computes_once_a_fold(tmp_path, computed):
    cached = search(str(tmp_path))
    assert len(computed) == FOLDS + 1
    assert n_cached(tmp_path) == FOLDS + 1
    computed.clear()
    plain = search(None)
    assert len(computed) == 10 * FOLDS + 1
    for i in range(FOLDS):
        name = f"split{i}_test_score"
        assert_array_equal(cached.cv_results_[name], plain.cv_results_[name])
    assert cached.best_params_ == plain.best_params_
    assert_array_equal(
        cached.best_estimator_[0].filters_, plain.best_estimator_[0].filters_
    )


# of joblib, if the machine is busy
@pytest.mark.filterwarnings("ignore:Persisting input arguments")
def test_parallel_grid_search_caches_once_a_fold(tmp_path):
    found = search(str(tmp_path), n_jobs=2)
    assert n_cached(tmp_path) == FOLDS + 1
    expected = search(None).cv_results_["mean_test_score"]
    assert_allclose(found.cv_results_["mean_test_score"], expected)


def test_what_is_read_is_what_was_computed(tmp_path, computed):
    X, y = make_images()
    plain = layer(centered=True).fit(X, y)
    first, again = (layer(str(tmp_path), centered=True).fit(X, y) for _ in range(2))
    assert len(computed) == 2
    for found in (first, again):
        for name in ("density_matrices_", "means_", "filters_", "n_patches_"):
            assert_array_equal(getattr(found, name), getattr(plain, name))
        assert found.filter_members_ == plain.filter_members_
        assert_array_equal(found.transform(X), plain.transform(X))


def test_what_was_read_can_go_on_without_spoiling_the_cache(tmp_path):
    X, y = make_images()
    layer(str(tmp_path)).fit(X, y)
    layer(str(tmp_path)).fit(X, y).partial_fit(X + 1, y)
    again, plain = layer(str(tmp_path)).fit(X, y), layer().fit(X, y)
    assert_array_equal(again.density_matrices_, plain.density_matrices_)


def changed(X, index, value):
    X = X.copy()
    X[index] = value
    return X


@pytest.mark.parametrize(
    ("change", "params"),
    [
        (lambda X, y: (changed(X, (-1, -1, -1, -1), 9.0), y), {}),
        (lambda X, y: (X[::-1], y), {}),
        (lambda X, y: (X[:-1], y[:-1]), {}),
        (lambda X, y: (X.transpose(0, 2, 1, 3), y), {}),
        (lambda X, y: (X.reshape(24, 6, 7, 2), y), {}),
        (lambda X, y: (X.astype(np.float32), y), {}),
        (lambda X, y: (X, changed(y, 0, 1)), {}),
        (lambda X, y: (X, np.append(y[:-1], 3)), {}),
        (lambda X, y: (X, y), {"kernel_size": (2, 3)}),
        (lambda X, y: (X, y), {"kernel_size": 3}),
        (lambda X, y: (X, y), {"centered": True}),
        (lambda X, y: (X, y), {"class_based": False}),
        (lambda X, y: (X, y), {"subsample": 0.5, "random_state": 0}),
    ],
)
def test_other_inputs_are_computed_again(tmp_path, computed, change, params):
    X, y = make_images()
    layer(str(tmp_path)).fit(X, y)
    other = change(X, y)
    found = layer(str(tmp_path), **params).fit(*other)
    assert len(computed) == 2
    expected = layer(None, **params).fit(*other)
    assert_array_equal(found.density_matrices_, expected.density_matrices_)


@pytest.mark.parametrize(
    "params",
    [
        {"device": "cpu"},
        {"verbose": True},
        {"random_state": 3},
        {"kernel_size": (2, 2)},
        {"image_shape": (7, 6, 2)},
    ],
)
def test_what_does_not_matter_is_not_computed_again(tmp_path, computed, params):
    X, y = make_images()
    layer(str(tmp_path)).fit(X, y)
    layer(str(tmp_path), **params).fit(X, y)
    assert len(computed) == 1


def test_renamed_labels_are_read_under_their_new_names(tmp_path, computed):
    X, y = make_images()
    layer(str(tmp_path)).fit(X, y)
    names = np.array(["a", "b", "c"])
    found = layer(str(tmp_path)).fit(X, names[y])
    assert len(computed) == 1
    assert_array_equal(found.classes_, names)
    assert set(found.filter_classes_) <= set(names)


def test_layout_in_memory_does_not_matter(tmp_path, computed):
    X, y = make_images()
    layer(str(tmp_path)).fit(X, y)
    layer(str(tmp_path)).fit(np.asfortranarray(X), y)
    assert len(computed) == 1


@pytest.mark.parametrize("subsample", [0.5, 10])
def test_an_unseeded_subsample_is_not_cached(tmp_path, computed, subsample):
    X, y = make_images()
    for _ in range(3):
        layer(str(tmp_path), subsample=subsample).fit(X, y)
    assert len(computed) == 3
    assert n_cached(tmp_path) == 0


@pytest.mark.parametrize("subsample", [0.5, 10])
@pytest.mark.parametrize("class_based", [True, False])
def test_a_seeded_subsample_is_cached(tmp_path, computed, subsample, class_based):
    X, y = make_images()
    params = {"subsample": subsample, "class_based": class_based}
    for seed in (0, 0, 1, 0):
        layer(str(tmp_path), random_state=seed, **params).fit(X, y)
    assert len(computed) == n_cached(tmp_path) == 2


def test_all_images_are_cached_without_a_seed(tmp_path, computed):
    X, y = make_images()
    for _ in range(2):
        layer(str(tmp_path), subsample=1.0, random_state=None).fit(X, y)
    assert len(computed) == 1


def test_partial_fit_neither_reads_nor_writes(tmp_path, computed):
    X, y = make_images()
    layer(str(tmp_path)).partial_fit(X, y)
    assert n_cached(tmp_path) == 0
    layer(str(tmp_path)).fit(X, y)
    assert n_cached(tmp_path) == 1
    layer(str(tmp_path)).partial_fit(X, y)
    assert len(computed) == 3
    assert n_cached(tmp_path) == 1


@pytest.mark.parametrize(
    "kind", [str, pathlib.Path, lambda path: joblib.Memory(path, verbose=0)]
)
def test_memory_may_be_given_in_several_ways(tmp_path, computed, kind):
    X, y = make_images()
    for _ in range(2):
        layer(kind(tmp_path)).fit(X, y)
    assert len(computed) == 1
    assert n_cached(tmp_path) == 1


def test_a_memory_without_a_place_keeps_nothing(computed):
    X, y = make_images()
    for _ in range(2):
        layer(joblib.Memory(None)).fit(X, y)
    assert len(computed) == 2


def test_images_are_not_written_to_the_cache(tmp_path):
    X = np.random.default_rng(0).integers(0, 256, (500, 20, 20), dtype=np.uint8)
    layer(str(tmp_path)).fit(X, np.arange(500) % 2)
    sizes = [path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()]
    assert sum(sizes) < X.nbytes / 5
