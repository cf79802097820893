"""Features in files: written while computed, interrupted, gone on with."""

import json
import multiprocessing
import os
import pickle
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from stacks import images_and_labels, network

from skdmn import SoftmaxClassifier
from skdmn.network import writing

SIZE = 4


@pytest.fixture(autouse=True)
def _records_after_each_batch(monkeypatch):
    monkeypatch.setattr(writing, "CHECKPOINT_SECONDS", 0)


def lazy_features(batch_size=SIZE, name="scale first", seed=0):
    X, y = images_and_labels(seed=seed)
    return network(name, batch_size=batch_size).fit(X, y).lazy_features(X)


def content(target):
    """Return the bytes of a file, or of the files of a folder."""
    if target.is_file():
        return target.read_bytes()
    files = [path for path in sorted(target.rglob("*")) if path.is_file()]
    return {path.relative_to(target): path.read_bytes() for path in files}


def rows_done(target):
    return json.loads(Path(f"{target}.progress.json").read_text())["rows_done"]


def stop_at(monkeypatch, target_class, name, call):
    """Let a method raise KeyboardInterrupt when it is called for so many a time."""
    method, calls = getattr(target_class, name), []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == call:
            raise KeyboardInterrupt
        return method(*arguments)

    monkeypatch.setattr(target_class, name, interrupted)
    return calls


def test_features_are_written_as_they_are_computed(tmp_path, suffix):
    lazy, target = lazy_features(), tmp_path / f"features{suffix}"
    written = lazy.write(target)
    assert_allclose(written[:], np.asarray(lazy), rtol=1e-5)
    assert (written.shape, written.dtype) == (lazy.shape, lazy.dtype)
    assert {path.name for path in tmp_path.iterdir()} == {
        f"features{suffix}",
        f"features{suffix}.progress.json",
    }


def test_what_is_written_loads_and_is_learned_from(tmp_path):
    _, y = images_and_labels()
    lazy = lazy_features()
    lazy.write(tmp_path / "features.npy")
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    ours = SoftmaxClassifier(tol=1e-9).fit(mapped, y)
    expected = SoftmaxClassifier(tol=1e-9).fit(np.asarray(lazy), y)
    assert_allclose(ours.predict_proba(mapped), expected.predict_proba(mapped), 1e-3)


def write_and_be_killed(target):
    """Write features, and kill this process in the middle of the fourth batch."""
    kind, starts = writing.TARGETS[target.suffix], []
    write = kind.write

    def half(self, some, rows):
        starts.append(some.start)
        if len(starts) == 4:
            write(self, slice(some.start, some.start + 2), rows[:2])
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, some, rows)

    kind.write = half
    lazy_features().write(target)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked and killed")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_killed_process_is_gone_on_with(tmp_path, suffix, monkeypatch):
    target = tmp_path / f"features{suffix}"
    fork = multiprocessing.get_context("fork")
    child = fork.Process(target=write_and_be_killed, args=(target,), daemon=True)
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert rows_done(target) == 3 * SIZE
    assert not target.exists()
    calls = stop_at(monkeypatch, writing.TARGETS[suffix], "write", 10**6)
    lazy_features().write(target)
    assert calls[0][1].start == 3 * SIZE
    whole = tmp_path / f"whole{suffix}"
    lazy_features().write(whole)
    assert content(target) == content(whole)


@pytest.mark.parametrize(
    ("name", "call", "done"),
    [("create", 1, 0), ("write", 1, 0), ("write", 6, 5), ("flush", 8, 7)],
)
@pytest.mark.parametrize("batch_size", [SIZE, "auto"])
def test_an_interrupted_call_is_gone_on_with(
    tmp_path, suffix, monkeypatch, name, call, done, batch_size
):
    monkeypatch.setattr("skdmn.data.sizes.STREAM_BYTES", 20_000)
    target, lazy = tmp_path / f"features{suffix}", lazy_features(batch_size)
    size = lazy._stream.batch_size()
    assert 2 <= size <= SIZE
    lazy.write(tmp_path / f"whole{suffix}")
    with monkeypatch.context() as patch:
        stop_at(patch, writing.TARGETS[suffix], name, call)
        with pytest.raises(KeyboardInterrupt):
            lazy.write(target)
    assert rows_done(target) == done * size
    assert not target.exists()
    if batch_size == "auto":
        monkeypatch.setattr("skdmn.data.sizes.STREAM_BYTES", 2**27)
    lazy.write(target)
    assert content(target) == content(tmp_path / f"whole{suffix}")


def test_one_that_stopped_before_the_last_name_is_gone_on_with(tmp_path, monkeypatch):
    target, lazy = tmp_path / "features.npy", lazy_features()
    with monkeypatch.context() as patch:
        patch.setattr("skdmn.network.writing.os.replace", stop_renaming)
        with pytest.raises(KeyboardInterrupt):
            lazy.write(target)
    assert rows_done(target) == 30
    assert_allclose(lazy.write(target), np.asarray(lazy), rtol=1e-5)


def stop_renaming(old, new, replace=os.replace):
    if str(old).endswith(".part"):
        raise KeyboardInterrupt
    replace(old, new)


def test_records_are_not_written_more_often_than_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "CHECKPOINT_SECONDS", 3600)
    calls = stop_at(monkeypatch, writing.Npy, "flush", 100)
    lazy_features().write(tmp_path / "features.npy")
    assert len(calls) == 1


def test_what_is_done_is_not_done_again(tmp_path, suffix, monkeypatch):
    target = tmp_path / f"features{suffix}"
    first = lazy_features().write(target)[:]
    calls = stop_at(monkeypatch, writing.TARGETS[suffix], "write", 1)
    assert_array_equal(lazy_features().write(target)[:], first)
    assert not calls


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"seed": 1}, "by another network and of other images; pass"),
        ({"name": "conv"}, r"shape \(30, 120\) instead of \(30, 168\) and by another"),
    ],
)
def test_other_features_are_refused(tmp_path, monkeypatch, finished, other, message):
    target, lazy = tmp_path / "features.npy", lazy_features()
    with monkeypatch.context() as patch:
        stop_at(patch, writing.Npy, "write", 1000 if finished else 4)
        with nullcontext() if finished else pytest.raises(KeyboardInterrupt):
            lazy.write(target)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=message):
        lazy_features(**other).write(target)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    written = lazy_features(**other).write(target, overwrite=True)
    assert_allclose(written, np.asarray(lazy_features(**other)), rtol=1e-5)


def test_another_batch_size_is_refused(tmp_path):
    X, y = images_and_labels()
    net = network(batch_size=SIZE).fit(X, y)
    net.lazy_features(X).write(tmp_path / "features.npy")
    net.set_params(batch_size=5)
    with pytest.raises(ValueError, match="with batch_size 4 instead of 5; pass"):
        net.lazy_features(X).write(tmp_path / "features.npy")


def test_other_images_and_other_parameters_are_other_features():
    X, y = images_and_labels()
    net = network(batch_size=SIZE).fit(X, y)
    record = net.lazy_features(X)._record(None)
    assert net.lazy_features(X.copy())._record(None) == record
    assert pickle.loads(pickle.dumps(net)).lazy_features(X)._record(None) == record
    assert net.lazy_features(X.astype(float))._record(None) != record
    assert net.lazy_features(X[:29])._record(None).images != record.images
    X[17, 0, 0, 0] += 1
    assert net.lazy_features(X)._record(None).images != record.images
    net.set_params(layer0__activation=None)
    assert net.lazy_features(X)._record(None).network != record.network


def test_what_is_overwritten_stays_until_there_is_another(
    tmp_path, suffix, monkeypatch
):
    target, lazy = tmp_path / f"features{suffix}", lazy_features()
    lazy.write(target)
    before, new = content(target), lazy_features(seed=1)
    with monkeypatch.context() as patch:  # images that cannot be read, say
        patch.setattr(type(new), "_record", lambda self, size: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            new.write(target, overwrite=True)
    lazy.write(target)  # is known still
    assert content(target) == before
    with monkeypatch.context() as patch:
        stop_at(patch, writing.TARGETS[suffix], "write", 4)
        with pytest.raises(KeyboardInterrupt):
            new.write(target, overwrite=True)
    assert content(target) == before
    calls = stop_at(monkeypatch, writing.TARGETS[suffix], "write", 1000)
    assert_allclose(new.write(target)[:], np.asarray(new), rtol=1e-5)  # goes on
    assert 0 < len(calls) < 8
    assert content(target) != before


@pytest.mark.parametrize("done", [0, 3])
def test_an_overwrite_that_was_interrupted_twice_is_gone_on_with(
    tmp_path, suffix, monkeypatch, done
):
    target, new = tmp_path / f"features{suffix}", lazy_features(seed=1)
    lazy_features().write(target)
    old = content(target)
    for number, more in enumerate([done + 1, 4]):
        with monkeypatch.context() as patch:
            stop_at(patch, writing.TARGETS[suffix], "write", more)
            with pytest.raises(KeyboardInterrupt):
                new.write(target, overwrite=not number)
    assert content(target) == old
    with monkeypatch.context() as patch:
        patch.setattr("skdmn.network.writing.os.replace", stop_renaming)
        with pytest.raises(KeyboardInterrupt):
            new.write(target)
    assert_allclose(new.write(target)[:], np.asarray(new), rtol=1e-5)


def test_what_did_not_begin_is_begun_anew(tmp_path, suffix, monkeypatch):
    target = tmp_path / f"features{suffix}"
    with monkeypatch.context() as patch:
        stop_at(patch, writing.TARGETS[suffix], "write", 1)
        with pytest.raises(KeyboardInterrupt):
            lazy_features(3).write(target)
    other = lazy_features(SIZE, seed=1)
    calls = stop_at(monkeypatch, writing.TARGETS[suffix], "write", 10**6)
    assert_allclose(other.write(target)[:], np.asarray(other), rtol=1e-5)
    assert calls[0][1] == slice(0, SIZE)  # in batches of its own


def test_part_of_a_chunk_that_a_killed_run_left_is_removed(tmp_path, monkeypatch):
    pytest.importorskip("zarr", reason="Zarr arrays are under test")
    target, lazy = tmp_path / "features.zarr", lazy_features()
    lazy.write(target)
    expected = content(target)
    with monkeypatch.context() as patch:
        stop_at(patch, writing.Zarr, "write", 4)
        with pytest.raises(KeyboardInterrupt):
            lazy.write(target, overwrite=True)
    chunk = next(next(tmp_path.glob("*.part")).rglob("c/*"))
    (chunk / "0.5e1f.partial").write_bytes(b"half")
    lazy.write(target)
    assert content(target) == expected


def test_what_comes_from_elsewhere_is_left_alone(tmp_path, monkeypatch):
    lazy, target = lazy_features(), tmp_path / "features.npy"
    target.write_text("precious")
    with pytest.raises(FileExistsError, match=r"features\.npy is there already"):
        lazy.write(target)
    assert target.read_text() == "precious"
    target.unlink()
    (tmp_path / "features.npy.part").write_text("precious")
    with monkeypatch.context() as patch:
        stop_at(patch, writing.Npy, "write", 4)
        with pytest.raises(KeyboardInterrupt):
            lazy.write(target)
    target.write_text("precious")  # while the features were not complete
    with pytest.raises(FileExistsError, match="is there already"):
        lazy.write(target)
    target.unlink()
    lazy.write(target)
    np.save(target, np.zeros((3, 4)))  # after they were
    with pytest.raises(FileExistsError, match="is there already"):
        lazy.write(target)
    lazy.write(target, overwrite=True)
    assert (tmp_path / "features.npy.part").read_text() == "precious"


def test_a_record_that_cannot_be_read_is_refused(tmp_path):
    lazy, target = lazy_features(), tmp_path / "features.npy"
    short = vars(lazy._record(SIZE)) | {"shape": [30]}
    elsewhere = vars(lazy._record(SIZE)) | {"part": "a/../b"}
    records = (json.dumps(short), json.dumps(elsewhere))
    for text in ("{", "[]", '{"shape": 3}', "3", *records):
        (tmp_path / "features.npy.progress.json").write_text(text)
        with pytest.raises(ValueError, match="is not a record of features"):
            lazy.write(target)
    lazy.write(target, overwrite=True)


def test_what_is_no_target_is_refused(tmp_path, monkeypatch):
    lazy = lazy_features()
    with pytest.raises(ValueError, match="file nor a Zarr array"):
        lazy.write(tmp_path / "features.h5")
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        lazy.write(tmp_path / "not there" / "features.npy")
    monkeypatch.setitem(sys.modules, "zarr", None)
    (tmp_path / "features.zarr").mkdir()
    with pytest.raises(ImportError, match="target needs zarr"):
        lazy.write(tmp_path / "features.zarr", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["features.zarr"]


def test_a_read_only_folder_is_named_before_work_starts(read_only, monkeypatch, suffix):
    folder, protect = read_only
    lazy, target = lazy_features(), folder / f"features{suffix}"
    complete = folder / f"complete{suffix}"
    expected = lazy.write(complete)[:]
    calls = stop_at(monkeypatch, writing.TARGETS[suffix], "write", 1)
    protect()
    with pytest.raises(PermissionError, match="cannot be written: no permission"):
        lazy.write(target)
    assert_array_equal(lazy.write(complete)[:], expected)
    assert not calls


def test_memory_that_runs_out_costs_nothing_but_time(tmp_path, monkeypatch):
    lazy, target = lazy_features(7, "conv pool"), tmp_path / "features.npy"
    stage = type(lazy._stream.operations[0])
    call = stage.__call__

    def hungry(self, batch):
        if len(batch) > 5:
            raise MemoryError
        return call(self, batch)

    monkeypatch.setattr(stage, "__call__", hungry)
    with monkeypatch.context() as patch:
        stop_at(patch, writing.Npy, "write", 4)  # after 9 rows, three at a time
        with pytest.raises(KeyboardInterrupt):
            lazy.write(target)
    assert rows_done(target) == 7
    written = lazy.write(target)
    monkeypatch.undo()
    assert_allclose(written, np.asarray(lazy), rtol=1e-5)
