"""How many threads there are, and that none is left behind."""

import _thread
import contextlib
import gc
import multiprocessing
import signal
import threading
import time
import weakref

import joblib
import numpy as np
import pytest
import threadpoolctl
from numpy.testing import assert_array_equal

from skdmn.kernels import dispatch
from skdmn.kernels.geometry import WHOLE
from skdmn.utils import threads
from skdmn.utils.threads import in_threads, n_threads, single_blas


def compute():
    """Call every kernel for processors."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (300, 12, 12, 1), dtype=np.uint8)
    filters = rng.integers(-9, 9, (8, 3, 3, 1)).astype("f4")
    features = dispatch.convolve(images, filters, (1, 1), "same", "relu", WHOLE)
    (moments,) = dispatch.class_moments(images, [np.arange(300)], (5, 5))
    return features, *moments


# copies


@pytest.mark.parametrize("shape", [(), (0, 3), (1, 5), (7, 3), (1000,)])
@pytest.mark.parametrize("n", [1, 3, 16])
def test_a_copy_in_threads_is_a_copy(rng, monkeypatch, shape, n):
    monkeypatch.setattr(threads, "COPY_BYTES", 8)
    monkeypatch.setattr(threads, "n_threads", lambda: n)
    array = rng.integers(0, 99, shape).astype(">f8")
    to = np.full(shape, np.nan, np.float32)
    threads.copy(to, array)
    assert_array_equal(to, array)


def test_large_copies_are_shared_by_threads(monkeypatch):
    shared = []
    monkeypatch.setattr(threads, "n_threads", lambda: 4)
    monkeypatch.setattr(
        threads, "in_threads", lambda f, pieces, n: shared.append((len(pieces), n))
    )
    monkeypatch.setattr(threads, "COPY_BYTES", 2**10)
    for share in (0.5, 1.9, 2.1, 3.5, 100):
        array = np.empty((int(share * 64), 16), np.uint8)
        threads.copy(np.empty_like(array), array)
    assert shared == [(2, 2), (3, 3), (4, 4)]


# how many


@pytest.mark.parametrize("cores", [1, 3, 64])
def test_threads_are_as_many_as_cores_without_numba_and_blas(monkeypatch, cores):
    monkeypatch.delitem(threads.sys.modules, "numba", raising=False)
    monkeypatch.setattr(threads._blas(), "lib_controllers", [])
    monkeypatch.setattr(joblib, "cpu_count", lambda: cores)
    assert n_threads() == cores


def test_threads_follow_the_limit_of_blas():
    if not threads._blas().lib_controllers:
        pytest.skip("threadpoolctl knows no BLAS here")
    before = n_threads()
    with threadpoolctl.threadpool_limits(1):
        assert n_threads() == 1
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        assert n_threads() == 1
    with single_blas():
        assert n_threads() == 1
    assert n_threads() == before


def test_limits_of_blas_in_several_threads_are_taken_back():
    blas = threads._blas().lib_controllers
    limits = [library.num_threads for library in blas]
    started = threading.Event()

    def limited():
        started.set()
        with single_blas():
            time.sleep(0.02)

    other = threading.Thread(target=limited)
    with single_blas():
        other.start()
        started.wait(10)
        time.sleep(0.01)
        assert all(library.num_threads == 1 for library in blas)
    other.join()
    assert [library.num_threads for library in blas] == limits


def test_threads_follow_the_limit_of_numba(monkeypatch):
    numba = pytest.importorskip("numba")
    monkeypatch.setattr(joblib, "cpu_count", lambda: 64)
    monkeypatch.setattr(threads._blas(), "lib_controllers", [])
    before = numba.get_num_threads()
    assert n_threads() == before
    for limit in {1, before}:
        numba.set_num_threads(limit)
        assert n_threads() == limit
    numba.set_num_threads(before)


def test_no_threading_layer_of_numba_is_started(monkeypatch):
    numba = pytest.importorskip("numba")

    def not_started():
        raise ValueError("Threading layer is not initialized.")

    def missing():
        raise ValueError("No threading layer could be loaded.")

    monkeypatch.setattr(joblib, "cpu_count", lambda: 64)
    monkeypatch.setattr(threads._blas(), "lib_controllers", [])
    monkeypatch.setattr(numba, "threading_layer", not_started)
    monkeypatch.setattr(numba, "get_num_threads", missing)
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 3)
    assert n_threads() == 3


def test_threads_follow_the_limit_of_joblib(monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 1)
    assert n_threads() == 1


def test_workers_of_joblib_share_the_cores():
    def threads_and_sums():
        dispatch.numba_module("convolution")  # so that its limit counts too
        return n_threads(), compute()

    cores = joblib.cpu_count()
    with joblib.parallel_config("loky", n_jobs=2):
        results = joblib.Parallel()(joblib.delayed(threads_and_sums)() for _ in "ab")
    expected = compute()
    for used, computed in results:
        assert used <= max(1, cores // 2)
        for ours, theirs in zip(computed, expected, strict=True):
            assert_array_equal(ours, theirs)


# running


@pytest.mark.parametrize("n", [1, 2, 7])
def test_every_piece_is_computed_once(n):
    done = []
    in_threads(lambda *piece: done.append(piece), ((i, -i) for i in range(50)), n)
    assert sorted(done) == [(i, -i) for i in range(50)]
    in_threads(done.append, [], n)
    assert len(done) == 50


def test_one_thread_is_the_callers():
    seen = []
    in_threads(lambda: seen.append(threading.current_thread()), [()] * 3, 1)
    assert seen == [threading.current_thread()] * 3


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_comes_out_and_the_rest_is_left(n, error):
    started, before = [], threading.active_count()

    def work(i):
        started.append(i)
        time.sleep(0.001)
        if i == 5:
            raise error("five")

    with pytest.raises(error, match="five"):
        in_threads(work, [(i,) for i in range(2000)], n)
    assert len(started) < 1000
    assert threading.active_count() == before


def test_an_interrupt_of_the_main_thread_stops_the_others(request):
    # a process that was started in the background may ignore interrupts
    before_test = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before_test))
    started, before = [], threading.active_count()

    def work(i):
        started.append(i)
        time.sleep(0.001)
        if i == 5:
            _thread.interrupt_main()

    with pytest.raises(KeyboardInterrupt):
        in_threads(work, [(i,) for i in range(2000)], 2)
    assert len(started) < 1000
    assert threading.active_count() == before


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # threads, fork
@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork"
)
def test_kernels_work_in_a_forked_process(monkeypatch):
    expected = compute()
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        results = [pool.apply_async(compute) for _ in range(2)]
        for result in results:
            for ours, theirs in zip(result.get(timeout=60), expected, strict=True):
                assert_array_equal(ours, theirs)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # threads, fork
@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork"
)
def test_forked_processes_have_the_threads_that_there_were():
    """Also where another thread keeps BLAS to one meanwhile, who is not in them."""
    before, held, done = n_threads(), threading.Event(), threading.Event()

    def other():
        with single_blas():
            held.set()
            done.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    held.wait(10)
    try:
        with multiprocessing.get_context("fork").Pool(1) as pool:
            assert pool.apply_async(n_threads).get(timeout=60) == before
    finally:
        done.set()
        thread.join()


def test_threads_of_others_are_not_those_that_blas_is_kept_to():
    before, held, seen = n_threads(), threading.Event(), []

    def other():
        held.wait(10)
        seen.append(n_threads())

    thread = threading.Thread(target=other)
    thread.start()
    with single_blas():
        held.set()
        thread.join()
    assert seen == [before]


def test_an_interrupt_comes_before_an_error():
    started = threading.Barrier(2)

    def work(i):
        started.wait(10)
        if i:
            raise MemoryError
        time.sleep(0.02)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_threads(work, [(0,), (1,)], 2)


def test_an_error_that_is_gone_holds_nothing():
    class Held:
        pass

    def work(i):
        mine = Held()
        alive.append(weakref.ref(mine))
        raise MemoryError

    alive = []
    gc.disable()
    try:
        with contextlib.suppress(MemoryError):
            in_threads(work, [(0,), (1,)], 2)
        assert [ref() for ref in alive] == [None] * len(alive)
    finally:
        gc.enable()
