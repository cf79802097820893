"""The same results from several threads, in other processes, and under other settings.

Byte for byte under any hash seed and locale, to rounding with any number of threads.
"""

import locale
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl
from estimators import ESTIMATORS
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skdmn import ZCAWhitening, make_dmn
from skdmn.utils.threads import n_threads, single_blas

MODELS = [*ESTIMATORS.values(), make_dmn(2, n_filters=4)]
IDS = [f"{type(model).__name__}{i}" for i, model in enumerate(MODELS)]
each_model = pytest.mark.parametrize("which", range(len(MODELS)), ids=IDS)


def some_images(n=300, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    images = rng.random((n, 12, 11, 2), dtype=np.float32)
    images[labels == 1, 1:] += images[labels == 1, :-1]
    images[labels == 2, :, 1:] += images[labels == 2, :, :-1]
    return images, labels


def apply(model, X):
    if isinstance(model, ZCAWhitening):
        return model.transform(X.reshape(len(X), -1))
    return getattr(model, "predict_proba", getattr(model, "transform", None))(X)


def fit(which):
    model, (X, y) = clone(MODELS[which]), some_images()
    model.fit(X.reshape(len(X), -1) if isinstance(model, ZCAWhitening) else X, y)
    return model, X


def result_of(which):
    return apply(*fit(which))


@cache
def expected_of(which):
    """Return the result in the main thread of this process, computed once."""
    return result_of(which)


def assert_close(ours, theirs):
    """Compare results of sums in another order."""
    assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


# threads


@each_model
def test_one_thread_and_several_agree(which):
    several = expected_of(which)
    with threadpoolctl.threadpool_limits(1):
        assert n_threads() == 1
        assert_close(result_of(which), several)


def test_fits_in_several_threads_at_once_are_those_of_one():
    before = n_threads()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(result_of, range(len(MODELS))))
    for which, ours in enumerate(found):
        assert_close(ours, expected_of(which))
    assert n_threads() == before


@each_model
def test_one_model_computes_in_several_threads_at_once(which):
    model, X = fit(which)
    parts = np.array_split(X, 8)
    expected = [apply(model, part) for part in parts]
    held = dict(vars(model))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda part: apply(model, part), parts))
    for ours, theirs in zip(found, expected, strict=True):
        assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert vars(model).keys() == held.keys()
    assert all(vars(model)[name] is held[name] for name in held)


# processes


def in_child(some, queue):
    queue.put([result_of(which) for which in some])


METHODS = multiprocessing.get_all_start_methods()
WAYS = [way for way in ("fork", "spawn") if way in METHODS]
forks = pytest.mark.skipif("fork" not in WAYS, reason="there is no fork")
ignores_forks = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def child_results(way, some):
    """Fit models in another process."""
    context = multiprocessing.get_context(way)
    queue = context.SimpleQueue()
    child = context.Process(target=in_child, args=(some, queue), daemon=True)
    child.start()
    for _ in range(600):
        child.join(0.1)
        if not queue.empty() or child.exitcode is not None:
            break
    if queue.empty():
        child.kill()
        pytest.fail(f"A process made by {way} did not answer: {child.exitcode}.")
    results = queue.get()
    child.join()
    return results


@ignores_forks
@pytest.mark.parametrize("way", WAYS)
def test_fits_in_other_processes_are_those_here(way):
    some = [0, len(MODELS) - 1]
    for which, ours in zip(some, child_results(way, some), strict=True):
        assert_close(ours, expected_of(which))


@forks
@ignores_forks
def test_a_fork_while_another_thread_computes_can_compute():
    expected = expected_of(0)
    inside, done = threading.Event(), threading.Event()

    def hold():
        with single_blas():
            inside.set()
            done.wait(60)

    other = threading.Thread(target=hold)
    other.start()
    try:
        inside.wait(60)
        found = child_results("fork", [0])
    finally:
        done.set()
        other.join()
    assert_close(found[0], expected)


# settings of the environment

SCRIPT = """
import locale, sys
locale.setlocale(locale.LC_ALL, "")
import numpy as np
from skdmn import ChannelStandardScaler, DensityMatrixNetwork, make_dmn
from skdmn.datasets import load_digits_images

X, y = load_digits_images()
labels = np.array(["zero", "Ice", "ice", "\\u0131", "\\u00e9", *"IiZz\\u00df"])
X, y = X[:300], labels[y[:300]]
dmn = make_dmn(2, kernel_size=2, n_filters=5).fit(X, y)
net = DensityMatrixNetwork([*dmn.steps[:4], ("s", ChannelStandardScaler())]).fit(X, y)
np.savez(
    sys.argv[1],
    proba=dmn.predict_proba(X), features=net.transform(X), classes=dmn.classes_,
    names=net.get_feature_names_out().astype(str),
    members=np.array([str(m) for m in dmn["conv1"].filter_members_]),
    **{name: value for name, value in vars(dmn["conv2"]).items()
       if isinstance(value, np.ndarray)},
)
"""


def another_locale(folder):
    """Return settings for Turkish, made here if possible, or a locale that exists.

    Turkish has a decimal comma, and an i without a dot.
    """
    made = Path(folder) / "tr_TR.UTF-8"
    if shutil.which("localedef"):
        command = ["localedef", "--no-archive", "-i", "tr_TR", "-f", "UTF-8", str(made)]
        subprocess.run(command, capture_output=True, check=False)
    if made.exists():
        return {"LC_ALL": made.name, "LOCPATH": str(folder)}
    listed = subprocess.run(["locale", "-a"], capture_output=True, check=True).stdout
    others = [name for name in listed.decode().split() if name not in ("C", "POSIX")]
    return {"LC_ALL": [*others, "C"][0]}


def run_script(path, **settings):
    kept = {key: value for key, value in os.environ.items() if key[:3] != "LC_"}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(path)],
        env={**kept, **settings},
    )


def run_here(path, monkeypatch):
    """Run the script in this process, in the locale C."""
    monkeypatch.setattr(sys, "argv", ["", str(path)])
    monkeypatch.setenv("LC_ALL", "C")
    before = locale.setlocale(locale.LC_ALL)
    try:
        exec(SCRIPT, {"__name__": "script"})
    finally:
        locale.setlocale(locale.LC_ALL, before)


@pytest.mark.skipif(shutil.which("locale") is None, reason="no list of locales here")
def test_any_hash_seed_and_locale_give_the_same_bytes(tmp_path, monkeypatch):
    here, there = tmp_path / "here.npz", tmp_path / "there.npz"
    process = run_script(there, PYTHONHASHSEED="1", **another_locale(tmp_path))
    run_here(here, monkeypatch)
    process.communicate(timeout=120)
    assert process.returncode == 0
    with np.load(here) as expected, np.load(there) as found:
        assert "filters_" in expected
        assert found.files == expected.files
        for name in found.files:
            assert found[name].dtype == expected[name].dtype
            assert_array_equal(found[name], expected[name])
