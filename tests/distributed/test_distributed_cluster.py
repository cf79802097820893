"""Estimators on the workers of a cluster, which may die."""

import os
import signal
from pathlib import Path

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skdmn import make_dmn
from skdmn.datasets import load_digits_images

da = pytest.importorskip("dask.array", reason="dask arrays are under test")
cluster = pytest.importorskip("distributed", reason="a cluster is under test")
from skdmn import distributed  # noqa: E402

N = 600
SIZES = (220, 0, 80, 180, 120)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits_images()
    return X[:N], y[:N]


@pytest.fixture(scope="module")
def expected(digits):
    return make_dmn(2).fit(*digits)


def cut(X):
    return da.from_array(X, chunks=(SIZES, *X.shape[1:]))


def client(**options):
    options = {"n_workers": 2, "threads_per_worker": 1, **options}
    local = cluster.LocalCluster(dashboard_address=None, **options)
    return cluster.Client(local), local


@pytest.fixture(scope="module")
def processes():
    connected, local = client(processes=True)
    with local, connected:
        yield connected


def assert_same(ours, expected, X):
    for name in ("conv1", "conv2"):
        found, wanted = ours[name].density_matrices_, expected[name].density_matrices_
        assert_allclose(found, wanted, atol=1e-7, err_msg=name)
        found, wanted = ours[name].filters_, expected[name].filters_
        assert_allclose(found, wanted, atol=1e-4, err_msg=name)
    assert_allclose(ours.predict_proba(X), expected.predict_proba(X), atol=1e-3)


@pytest.mark.slow
def test_a_cluster_of_threads(digits, expected):
    X, y = digits
    connected, local = client(processes=False)
    with local, connected:
        ours = distributed.fit(make_dmn(2), cut(X), da.from_array(y, chunks=100))
        found = distributed.predict_proba(ours, cut(X)).compute()
    assert_same(ours, expected, X)
    assert_allclose(found, expected.predict_proba(X), atol=1e-3)


@pytest.mark.slow
def test_a_cluster_of_processes(digits, expected, processes):
    X, y = digits
    blocks = cut(X)
    ours = distributed.fit(make_dmn(2), blocks, y)
    assert_same(ours, expected, X)
    features = distributed.transform(ours[:2], blocks)
    assert_allclose(features.compute(), ours[:2].transform(X), atol=1e-5)
    assert_array_equal(distributed.predict(ours, blocks).compute(), ours.predict(X))


@pytest.mark.slow
def test_errors_on_workers_are_told_here(digits, processes):
    X, y = digits
    dmn = make_dmn(1)
    with pytest.raises(ValueError, match="contains NaN"):
        distributed.fit(dmn, cut(np.where(X == 16, np.nan, X)), y)
    assert not hasattr(dmn[0], "filters_")


@pytest.mark.slow
@pytest.mark.usefixtures("processes")
def test_grid_searches_run_on_workers(digits):
    X, y = digits
    search = GridSearchCV(make_dmn(1), {"conv1__n_filters": [2, 8]}, cv=2)
    with joblib.parallel_config(backend="dask"):
        ours = clone(search).fit(X, y)
    expected = search.fit(X, y)
    assert ours.best_params_ == expected.best_params_
    assert_array_equal(
        ours.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"]
    )


# workers that die


def dies_once(block, flag):
    """Return a block; the first time, end the process instead."""
    if not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return block


class Killer:
    """A callback that kills a worker after some iterations of the softmax."""

    def __init__(self, connected, after=3):
        self.connected, self.left, self.killed = connected, after, []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        self.left -= 1
        if self.left == 0:
            holders = self.connected.has_what()
            worker = max(holders, key=lambda name: len(holders[name]))
            self.killed.append(self.connected.run(os.getpid)[worker])
            os.kill(self.killed[0], signal.SIGKILL)


@pytest.mark.slow
def test_a_worker_that_dies_changes_nothing_but_time(digits, processes, tmp_path):
    X, y = digits
    unharmed = distributed.fit(make_dmn(2), cut(X), y)
    flag = str(tmp_path / "died")
    mortal = cut(X).map_blocks(dies_once, flag, dtype=X.dtype, meta=X[:0])
    while_layers = distributed.fit(make_dmn(2), mortal, y)
    assert Path(flag).exists()
    killer = Killer(processes)
    while_softmax = make_dmn(2)
    while_softmax[-1].set_callbacks(killer)
    distributed.fit(while_softmax, cut(X), y)
    assert killer.killed
    for ours in (while_layers, while_softmax):
        for name in ("conv1", "conv2"):
            assert_array_equal(ours[name].filters_, unharmed[name].filters_)
        assert_array_equal(ours[-1].coef_, unharmed[-1].coef_)
