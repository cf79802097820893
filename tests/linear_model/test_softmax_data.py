"""SoftmaxClassifier on files, lazy features, other libraries; what it tells of fits."""

import pickle
import tracemalloc
from pathlib import Path

import array_api_strict
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.callback import ProgressBar
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skdmn import (
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    FlattenTransformer,
    SoftmaxClassifier,
)
from skdmn.data import rows as rows_module
from skdmn.data import transfer
from skdmn.data.files import Batches
from skdmn.linear_model import solver
from skdmn.utils import array_api
from skdmn.utils.array_api import HOST, Backend, own_backend, to_backend, to_numpy

PLACES = {
    "torch": "torch",
    "CPU_DEVICE": "CPU_DEVICE",
    "device1": "device1",
    "no_float64": "no_float64",
}
places = pytest.mark.parametrize("name", PLACES)


def place_named(name):
    if name != "torch":
        return Backend(array_api_strict, array_api_strict.Device(name))
    torch = pytest.importorskip("torch", reason="torch tensors are under test")
    return own_backend(torch.empty(0))


STATUS = Path("/proc/self/status")


def mapped_memory():
    """Return the bytes of files that are in this process's memory."""
    (line,) = (s for s in STATUS.read_text().splitlines() if s.startswith("RssFile"))
    return int(line.split()[1]) * 1024


@pytest.fixture
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:600].astype(np.float32).reshape(-1, 8, 8), y[:600]


class Computed:
    """Rows that are computed when asked for, and count how many are."""

    def __init__(self, data, dtype=None, **marks):
        self.data, self.shape = data, tuple(data.shape)
        self.dtype = data.dtype if dtype is None else dtype
        self.largest = self.count = 0
        vars(self).update(marks)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, some):
        part = self.data[some, ...] * 1
        self.largest = max(self.largest, part.shape[0])
        self.count += part.shape[0]
        return part


# lazy data


@pytest.mark.parametrize("samples", [False, True])
def test_lazy_rows_give_what_arrays_give(digits, samples, monkeypatch):
    X, y = digits
    monkeypatch.setattr(solver, "SAMPLED_VALUES", 0 if samples else 10**9)
    expected = SoftmaxClassifier(C=0.1).fit(X, y)
    monkeypatch.setattr("skdmn.data.sizes.CACHE_BYTES", 30 * 256)
    monkeypatch.setattr("skdmn.data.sizes.BATCH_BYTES", 100 * 256)
    monkeypatch.setattr("skdmn.data.sizes.MOMENTS_BYTES", 100 * 256)
    lazy = Computed(X)
    ours = SoftmaxClassifier(C=0.1).fit(lazy, y)
    assert_allclose(ours.coef_, expected.coef_, atol=2e-3)
    assert lazy.largest == 100
    # every pass reads all rows, but those of the sample are kept
    assert lazy.count % 600 == 0
    assert lazy.count >= 600 * ours.n_iter_
    for method in ("predict", "predict_proba", "predict_log_proba"):
        found = getattr(ours, method)(lazy)
        assert_allclose(found, getattr(ours, method)(X), rtol=1e-5)
    assert ours.score(lazy, y) == ours.score(X, y)
    assert lazy.largest == 100


def test_memory_maps_are_read_by_slices(digits, tmp_path, monkeypatch):
    X, y = digits
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    monkeypatch.setattr("skdmn.data.sizes.BATCH_BYTES", 100 * 256)
    ours = SoftmaxClassifier(C=0.1).fit(mapped, y)
    expected = SoftmaxClassifier(C=0.1).fit(X, y)
    assert_allclose(ours.coef_, expected.coef_, atol=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_predictions_from_a_file_refuse_what_is_not_finite(digits, tmp_path, value):
    X, y = digits
    softmax = SoftmaxClassifier().fit(X, y)
    X = X.copy()
    X[70, 3] = value
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    for method in ("predict", "predict_proba", "decision_function"):
        for given in (X, mapped):
            with pytest.raises(ValueError, match=r"contains (NaN|infinity)"):
                getattr(softmax, method)(given)


@pytest.mark.skipif(not STATUS.exists(), reason="memory is not told of here")
def test_pages_of_memory_maps_are_given_back(rng, tmp_path, monkeypatch):
    """Half of them as a part of Batches."""
    np.save(tmp_path / "X.npy", rng.random((200_000, 64), dtype=np.float32))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    monkeypatch.setattr("skdmn.data.sizes.BATCH_BYTES", 2**20)
    y = np.arange(len(mapped)) % 2
    before = mapped_memory()
    for X in (mapped, Batches([mapped[:100_000], mapped[100_000:]])):
        with pytest.warns(ConvergenceWarning):
            SoftmaxClassifier(max_iter=1, tol=1e-12).fit(X, y).predict(X)
        assert mapped_memory() - before < mapped.nbytes / 4


def test_slices_are_read_within_the_working_memory(digits):
    X, y = np.tile(digits[0], (8, 1, 1)), np.tile(digits[1], 8)
    assert len(X) > 4096
    for working_memory, most in ((1, 2048), (2, 4096), (1024, len(X))):
        lazy = Computed(X)
        with config_context(working_memory=working_memory):
            SoftmaxClassifier(C=0.1).fit(lazy, y).predict(lazy)
        assert lazy.largest == most


def test_features_of_a_network_are_computed_when_needed(digits):
    X, y = digits
    steps = [
        ("conv", ClassPCAPatchTransformer(n_filters=3)),
        ("flat", FlattenTransformer()),
    ]
    network = DensityMatrixNetwork(steps).fit(X, y)
    ours = SoftmaxClassifier(C=0.1).fit(network.lazy_features(X), y)
    expected = SoftmaxClassifier(C=0.1).fit(network.transform(X), y)
    assert_allclose(ours.coef_, expected.coef_, atol=1e-3)
    found = ours.predict(network.lazy_features(X))
    assert_array_equal(found, ours.predict(network.transform(X)))


def test_lazy_rows_that_are_not_finite_are_an_error(digits):
    X, y = digits
    X[500, 3, 3] = np.inf
    with pytest.raises(ValueError, match="X contains NaN or infinity"):
        SoftmaxClassifier().fit(Computed(X), y)


@pytest.mark.parametrize("name", ["torch", "device1"])
def test_lazy_rows_of_another_library(digits, name):
    X, y = digits
    backend = place_named(name)
    there = to_backend(X, backend)
    lazy = Computed(there, backend.xp.float32, is_lazy=True)
    with config_context(array_api_dispatch=True):
        ours = SoftmaxClassifier(C=0.1).fit(lazy, y)
        assert own_backend(ours.coef_) == backend
        assert own_backend(ours.predict(lazy)) == backend
    expected = SoftmaxClassifier(C=0.1).fit(X, y)
    assert_allclose(to_numpy(ours.coef_), expected.coef_, atol=2e-3)


# other libraries


@pytest.fixture
def dispatch():
    with config_context(array_api_dispatch=True):
        yield


@pytest.mark.usefixtures("dispatch")
@places
@pytest.mark.parametrize("samples", [False, True])
def test_arrays_of_other_libraries(digits, name, samples, monkeypatch):
    X, y = digits
    two = samples == (name in ("torch", "device1"))  # each pair of cases
    y = y > 4 if two else y
    monkeypatch.setattr(solver, "SAMPLED_VALUES", 0 if samples else 10**9)
    backend = place_named(name)
    expected = SoftmaxClassifier(C=0.1, tol=1e-9).fit(X, y)
    theirs = to_backend(X, backend)
    ours = SoftmaxClassifier(C=0.1, tol=1e-9).fit(theirs, to_backend(y, backend))
    for attribute in ("coef_", "intercept_", "mean_", "scale_", "classes_"):
        found = getattr(ours, attribute)
        assert own_backend(found) == backend, attribute
        wanted = getattr(expected, attribute)
        assert_allclose(to_numpy(found), wanted, rtol=1e-4, atol=1e-3)
    for method in ("decision_function", "predict_proba", "predict"):
        found = getattr(ours, method)(theirs)
        assert own_backend(found) == backend
        wanted = getattr(expected, method)(X)
        assert to_numpy(found).dtype == wanted.dtype
        assert_allclose(to_numpy(found), wanted, atol=1e-2)


@pytest.mark.usefixtures("dispatch")
def test_pickles_go_on_anywhere(digits):
    X, y = digits
    backend = place_named("device1")
    ours = SoftmaxClassifier(C=0.1).fit(to_backend(X, backend), y)
    with pytest.raises(ValueError, match="must use the same namespace"):
        ours.predict(X)
    loaded = pickle.loads(pickle.dumps(ours))
    assert own_backend(loaded.coef_) == HOST
    expected = to_numpy(ours.predict_proba(to_backend(X, backend)))
    assert_allclose(loaded.predict_proba(X), expected, atol=1e-5)
    there = loaded.predict_proba(to_backend(X, backend))
    assert_allclose(to_numpy(there), expected, atol=1e-5)


@pytest.mark.usefixtures("dispatch")
def test_strings_are_numpys(digits):
    X, y = digits
    backend = place_named("device1")
    names = np.array(["even", "odd"])[y % 2]
    ours = SoftmaxClassifier(C=0.1).fit(to_backend(X, backend), names)
    found = ours.predict(to_backend(X, backend))
    assert own_backend(found) == HOST
    assert (found == names).mean() > 0.9


@pytest.mark.parametrize("name", ["torch", "device1"])
def test_numpy_is_computed_on_a_gpu_and_stays_numpy(digits, name, monkeypatch):
    X, y = digits
    backend = place_named(name)
    expected = SoftmaxClassifier(C=0.1, device="cpu").fit(X, y)
    monkeypatch.setattr(array_api, "gpu", lambda: backend)
    monkeypatch.setattr("skdmn.data.sizes.BATCH_BYTES", 100 * 256)
    ours = SoftmaxClassifier(C=0.1, device="cuda").fit(X, y)
    assert own_backend(ours.coef_) == HOST
    assert_allclose(ours.coef_, expected.coef_, atol=2e-3)
    found = ours.predict_proba(X)
    assert own_backend(found) == HOST
    assert_allclose(found, expected.predict_proba(X), atol=1e-2)


@pytest.mark.parametrize("fits", [False, True])
def test_rows_that_fit_on_a_gpu_are_sent_there_once(monkeypatch, fits):
    X, y = load_digits(return_X_y=True)
    X, y = X[:300], y[:300]
    device = array_api_strict.Device("device1")
    simulated = array_api.Backend(array_api_strict, device)
    monkeypatch.setattr(array_api, "gpu", lambda: simulated)
    monkeypatch.setattr(transfer, "fits", lambda backend, n_bytes: fits)
    sent, move = [], rows_module.to_backend

    def counted(array, backend):
        if backend == simulated and array_api.own_backend(array) != simulated:
            sent.append(len(array))
        return move(array, backend)

    for module in (rows_module, transfer):
        monkeypatch.setattr(module, "to_backend", counted)
    ours = SoftmaxClassifier(C=0.1, device="cuda").fit(X, y)
    assert (sum(sent) == len(X)) == fits
    expected = SoftmaxClassifier(C=0.1, device="cpu").fit(X, y)
    assert_allclose(ours.predict_proba(X), expected.predict_proba(X), atol=1e-3)


def test_a_gpu_that_is_not_there_is_an_error(digits, monkeypatch):
    monkeypatch.setattr(array_api, "gpu", lambda: None)
    with pytest.raises(RuntimeError, match="no usable GPU"):
        SoftmaxClassifier(device="cuda").fit(*digits)


# progress


class Recorder:
    """A callback that keeps what it is told, and stops after some iterations."""

    def __init__(self, stop_after=10**6):
        self.stop_after, self.told, self.scores = stop_after, [], []

    def setup(self, estimator, context):
        self.told.append("setup")

    def teardown(self, estimator, context):
        self.told.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.told.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        self.told.append(f"end {context.task_name}")
        if context.task_name == "iteration" and fitted_estimator is not None:
            self.scores.append(fitted_estimator.score(X, y))
        return len(self.scores) >= self.stop_after


@pytest.mark.parametrize("samples", [False, True])
def test_callbacks_see_every_iteration(digits, samples, monkeypatch):
    monkeypatch.setattr(solver, "SAMPLED_VALUES", 0 if samples else 10**9)
    recorder = Recorder()
    ours = SoftmaxClassifier(C=0.1).set_callbacks(recorder).fit(*digits)
    assert len(recorder.scores) == ours.n_iter_
    assert recorder.scores[-1] == ours.score(*digits)
    assert recorder.told[:3] == ["setup", "begin fit", "begin iteration"]
    assert recorder.told[-3:] == ["end iteration", "end fit", "teardown"]
    n_begun = recorder.told.count("begin iteration")
    assert n_begun == recorder.told.count("end iteration") == ours.n_iter_ + 1


def test_callbacks_may_stop_a_fit_and_are_told_when_it_fails(digits):
    X, y = digits
    recorder = Recorder(stop_after=3)
    ours = SoftmaxClassifier(C=0.1).set_callbacks(recorder).fit(X, y)
    assert ours.n_iter_ == 3
    before = vars(ours).copy()
    recorder.on_fit_task_begin = None  # not callable
    with pytest.raises(TypeError):
        ours.fit(X, y)
    assert recorder.told[-1] == "teardown"
    assert vars(ours) == before


def test_scikit_learns_progress_bar(digits, capsys):
    pytest.importorskip("rich", reason="ProgressBar prints with rich")
    SoftmaxClassifier(C=0.1).set_callbacks(ProgressBar()).fit(*digits)
    assert "SoftmaxClassifier" in capsys.readouterr().out


@pytest.mark.parametrize("verbose", [False, True])
def test_verbose_prints(digits, verbose, monkeypatch, capsys, without_logging):
    monkeypatch.setattr("skdmn.linear_model.progress.SECONDS", 0)
    monkeypatch.setattr(solver, "SAMPLED_VALUES", 0)
    with without_logging():
        ours = SoftmaxClassifier(C=0.1, verbose=verbose).fit(*digits)
    lines = capsys.readouterr().out.splitlines()
    if not verbose:
        assert not lines
        return
    assert len(lines) > ours.n_iter_
    assert "of 26% of the rows" in lines[0]
    assert f"loss {ours.loss_curve_[-1]:.6g}, about" in lines[-1]
    assert f"{ours.n_passes_:.1f} passes" in lines[-1]


def test_fitting_holds_a_quarter_of_the_rows_and_some_blocks(rng):
    X = rng.integers(0, 255, (40_000, 300), dtype=np.uint8)
    y = (X[:, :3] @ [1.0, -2.0, 1.0] > 0).astype(int)
    ours = SoftmaxClassifier(C=1e-4)
    ours.fit(X[:2000], y[:2000])
    tracemalloc.start()
    ours.fit(X, y)
    ours.predict(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # a copy as floats would be 46 MiB, and the sample takes 3
    assert peak < X.nbytes / 4 + 40 * 2**20


def test_rows_without_weight_do_not_make_features_differ():
    X, y = np.array([[0.0], [1.0], [0.0]]), np.array([0, 1, 1])
    softmax = SoftmaxClassifier().fit(X, y, sample_weight=[1.0, 0.0, 1.0])
    assert_allclose(softmax.predict_proba(X[:1]), [[0.5, 0.5]], atol=1e-3)
