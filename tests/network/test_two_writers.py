"""Two processes that write the same features at the same time.

Pairs of forked processes call `write` for the same target within milliseconds. The file
has to be the one of a single process, whatever is killed. Long runs are marked slow.
"""

import collections
import multiprocessing
import os
import shutil
import signal
import time
import traceback
import warnings

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from stacks import images_and_labels, network

from skdmn.data.files import save_batches
from skdmn.network import writing
from skdmn.utils import locks

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")

DONE, TOLD, WRONG = 0, 3, 4  # exit codes; TOLD: refused in a sentence
KILLED = -getattr(signal, "SIGKILL", 9)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.005)


@pytest.fixture
def _no_locks(monkeypatch):
    """Behave like a file system without locks."""
    monkeypatch.setattr(locks, "_lock", lambda file: True)


def features(seed=0):
    X, y = images_and_labels(seed=seed)
    return network("conv", batch_size=2).fit(X, y).lazy_features(X)


def start(function, errors):
    """Call a function in a forked process; its exit code says what came of it."""

    def work():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                function()
        except RuntimeError as error:
            os._exit(TOLD if "Another process" in str(error) else WRONG)
        except BaseException:
            errors.write_text(traceback.format_exc())
            os._exit(WRONG)
        os._exit(DONE)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def in_pairs(folder, suffix, count, kills=False, seed=0):
    """Let pairs of processes write features; return the exit codes and their numbers.

    With `kills`, one process of each pair is killed at a random moment. The features
    must be right afterwards, at the latest after another call.
    """
    rng, lazy, ends = np.random.default_rng(seed), features(), collections.Counter()
    expected, errors = lazy.write(folder / f"alone{suffix}")[:], folder / "errors"
    kind = writing.TARGETS[suffix]
    write = kind.write

    def slowly(self, some, rows):
        time.sleep(0.002)
        write(self, some, rows)

    for number in range(count):
        target = folder / "pair" / f"{number}{suffix}"
        target.parent.mkdir()
        # the second one starts at any time of the first one's work, which is recorded
        # after each batch or only at the end
        waits = rng.uniform(0, 0.08, 2)
        seconds = 3600 * (number % 2)

        def work(wait, target=target, seconds=seconds):
            writing.CHECKPOINT_SECONDS = seconds
            kind.write = slowly
            time.sleep(wait)
            assert_array_equal(lazy.write(target)[:], expected)

        pair = [start(lambda wait=wait: work(wait), errors) for wait in waits]
        if kills:
            time.sleep(rng.uniform(0, 0.12))
            pair[rng.integers(2)].kill()
        for process in pair:
            process.join(60)
            assert process.exitcode is not None, "it waits for a dead process"
            assert process.exitcode != WRONG, errors.read_text()
            ends[process.exitcode] += 1
        if target.exists():
            assert_array_equal(kind.load(target)[:], expected)
        assert_array_equal(lazy.write(target)[:], expected)
        left = {path.name for path in target.parent.iterdir()}
        if locks._lock.__module__ == locks.__name__:
            assert left - {f"{target.name}.lock"} == {
                target.name,
                f"{target.name}.progress.json",
            }
        shutil.rmtree(target.parent)
    return ends


def test_two_processes_write_one_right_file(tmp_path, suffix):
    assert in_pairs(tmp_path, suffix, 2) == {DONE: 4}


def test_the_other_goes_on_if_one_is_killed(tmp_path, suffix):
    ends = in_pairs(tmp_path, suffix, 2, kills=True)
    assert ends[DONE] + ends[KILLED] == 4
    assert ends[DONE] >= 2


@pytest.mark.usefixtures("_no_locks")
def test_without_locks_both_are_right_or_told(tmp_path, suffix):
    ends = in_pairs(tmp_path, suffix, 2)
    assert ends[DONE] + ends[TOLD] == 4


@pytest.mark.slow
@pytest.mark.parametrize("kills", [False, True])
def test_many_pairs(tmp_path, suffix, kills):
    ends = in_pairs(tmp_path, suffix, 100, kills, seed=1)
    assert set(ends) <= {DONE, KILLED}
    print(suffix, dict(ends))


@pytest.mark.slow
@pytest.mark.usefixtures("_no_locks")
@pytest.mark.parametrize("kills", [False, True])
def test_many_pairs_without_locks(tmp_path, suffix, kills):
    ends = in_pairs(tmp_path, suffix, 100, kills, seed=2)
    assert set(ends) <= {DONE, TOLD, KILLED}
    print(suffix, dict(ends))


def test_a_second_process_with_other_features_is_told(tmp_path, suffix):
    one, other = features(), features(seed=1)
    target, errors = tmp_path / f"features{suffix}", tmp_path / "errors"
    kind = writing.TARGETS[suffix]
    write = kind.write

    def slowly(self, some, rows):
        (tmp_path / "begun").touch()
        time.sleep(0.01)
        write(self, some, rows)

    def first():
        kind.write = slowly
        one.write(target)

    process = start(first, errors)
    while not (tmp_path / "begun").exists():
        time.sleep(0.001)
    with (
        pytest.warns(UserWarning, match="is being written by process"),
        pytest.raises(ValueError, match="by another network and of other images"),
    ):
        other.write(target)
    process.join()
    assert process.exitcode == DONE
    assert_array_equal(kind.load(target)[:], one.write(tmp_path / f"a{suffix}")[:])


@pytest.mark.parametrize("overwrite", [False, True])
def test_batches_are_saved_by_one_process_at_a_time(tmp_path, overwrite):
    target, errors = tmp_path / "images.npy", tmp_path / "errors"
    X = np.arange(60.0).reshape(20, 3)

    def slow_batches():
        for i in range(0, 20, 2):
            time.sleep(0.005)
            yield X[i : i + 2]

    def work():
        save_batches(slow_batches(), target, overwrite=overwrite)

    pair = [start(work, errors) for _ in "ab"]
    for process in pair:
        process.join()
    codes = sorted(process.exitcode for process in pair)
    assert codes == ([DONE, DONE] if overwrite else [DONE, WRONG])
    if not overwrite:
        assert "images.npy exists already" in errors.read_text()
        errors.unlink()
    assert_array_equal(np.load(target), X)
    assert [path.name for path in tmp_path.iterdir()] == ["images.npy"]
