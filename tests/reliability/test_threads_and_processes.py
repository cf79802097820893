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


def assert_close(ours, theirs):
    """Compare results of sums in another order."""
    assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


# threads


@each_model
def test_one_thread_and_several_agree(which):
    several = result_of(which)
    with threadpoolctl.threadpool_limits(1):
        assert n_threads() == 1
        assert_close(result_of(which), several)


def test_fits_in_several_threads_at_once_are_those_of_one():
    expected = [result_of(which) for which in range(len(MODELS))]
    before = n_threads()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(result_of, [*range(len(MODELS))] * 2))
    for ours, theirs in zip(found, expected * 2, strict=True):
        assert_close(ours, theirs)
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


def in_child(which, queue):
    queue.put(result_of(which))


METHODS = multiprocessing.get_all_start_methods()
WAYS = [way for way in ("fork", "spawn") if way in METHODS]
forks = pytest.mark.skipif("fork" not in WAYS, reason="there is no fork")
ignores_forks = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def child_results(way, some):
    """Fit models in a process of their own each, at the same time."""
    context = multiprocessing.get_context(way)
    children = []
    for which in some:
        queue = context.SimpleQueue()
        child = context.Process(target=in_child, args=(which, queue), daemon=True)
        child.start()
        children.append((child, queue))
    results = []
    for child, queue in children:
        for _ in range(600):
            child.join(0.1)
            if not queue.empty() or child.exitcode is not None:
                break
        if queue.empty():
            child.kill()
            pytest.fail(f"A process made by {way} did not answer: {child.exitcode}.")
        results.append(queue.get())
        child.join()
    return results


@ignores_forks
@pytest.mark.parametrize("way", WAYS)
def test_fits_in_other_processes_are_those_here(way):
    last = len(MODELS) - 1
    expected = [result_of(0), result_of(last)]
    for ours, theirs in zip(child_results(way, [0, last]), expected, strict=True):
        assert_close(ours, theirs)


@forks
@ignores_forks
def test_a_fork_while_another_thread_computes_can_compute():
    expected = result_of(0)
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


def locales(folder):
    """Return settings for locales that exist, some made here where they can be."""
    listed = shutil.which("locale")
    found = subprocess.run([listed, "-a"], capture_output=True, check=True).stdout
    names = found.decode().split() if listed else ["C"]
    chosen = []
    for name in ("de_DE", "tr_TR"):  # a decimal comma; an i without a dot
        made = Path(folder) / f"{name}.UTF-8"
        command = ["localedef", "--no-archive", "-i", name, "-f", "UTF-8", str(made)]
        if shutil.which("localedef"):
            subprocess.run(command, capture_output=True, check=False)
        if made.exists():
            chosen.append({"LC_ALL": made.name, "LOCPATH": str(folder)})
    others = [{"LC_ALL": name} for name in names if name not in ("C", "POSIX")]
    return (chosen + others)[:2]


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
    settings = [
        {**language, "PYTHONHASHSEED": seed}
        for seed, language in zip("12", locales(tmp_path), strict=False)
    ] or [{"LC_ALL": "C", "PYTHONHASHSEED": "1"}]
    paths = [tmp_path / f"{i}.npz" for i in range(len(settings) + 1)]
    processes = [
        run_script(path, **setting)
        for path, setting in zip(paths[1:], settings, strict=True)
    ]
    run_here(paths[0], monkeypatch)
    for process in processes:
        process.communicate(timeout=120)
        assert process.returncode == 0
    with np.load(paths[0]) as expected:
        assert "filters_" in expected
        for path in paths[1:]:
            with np.load(path) as found:
                assert found.files == expected.files
                for name in found.files:
                    assert found[name].dtype == expected[name].dtype
                    assert_array_equal(found[name], expected[name])
