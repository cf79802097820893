"""A fit that is stopped at any line leaves the estimator as it was, or fitted whole."""

import copy
import signal
import sys
import threading
import time

import joblib
import numpy as np
import pytest
from estimators import ESTIMATORS
from numpy.testing import assert_allclose
from sklearn.base import clone

from skdmn import SoftmaxClassifier, ZCAWhitening, make_dmn
from skdmn.layers.base import _learns
from skdmn.utils.threads import single_blas

N = 24
LABELS = np.arange(N) % 3


def some_images(seed):
    images = np.random.default_rng(seed).random((N, 6, 5, 2))
    images[LABELS == 1, 1:] += images[LABELS == 1, :-1]
    images[LABELS == 2, :, 1:] += images[LABELS == 2, :, :-1]
    return images


BEFORE, AFTER = some_images(0), some_images(1)[:, :, ::-1]


def data_for(estimator, images):
    is_rows = isinstance(estimator, ZCAWhitening)
    return images.reshape(N, -1) if is_rows else images


def methods(estimator):
    return [name for name in ("fit", "partial_fit") if hasattr(estimator, name)]


def state_of(estimator):
    """Return what an estimator holds, and a hash that knows changes in place."""
    return dict(vars(estimator)), joblib.hash(vars(estimator))


def is_unchanged(estimator, state):
    held, hashed = state
    now = vars(estimator)
    return (
        now.keys() == held.keys()
        and all(now[key] is held[key] for key in held)
        and joblib.hash(now) == hashed
    )


class StopAt:
    """Raises an error at a line of this package, counted from the first that is run."""

    def __init__(self, line, error):
        self.left, self.error, self.backend = line, error, None

    def __enter__(self):
        self.outer = sys.gettrace()
        sys.settrace(self.trace)
        return self

    def __exit__(self, *_):
        sys.settrace(self.outer)

    def trace(self, frame, event, arg):
        if not frame.f_globals.get("__name__", "").startswith("skdmn."):
            return None
        # no signal comes between the end of a with statement and a lock's release
        if frame.f_code is single_blas.__wrapped__.__code__:
            return None
        # available_if makes an AttributeError of any error in a check for a method
        if frame.f_code is _learns.__code__:
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                self.backend = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                raise self.error
        return self.trace


def count_lines(function):
    with StopAt(0, None) as counter:
        function()
    return -counter.left


def kinds():
    for name, estimator in ESTIMATORS.items():
        for method in methods(estimator):
            for fitted, error in ((False, KeyboardInterrupt), (True, MemoryError)):
                which = f"{name}-{method}-{error.__name__}"
                yield pytest.param(estimator, method, fitted, error, id=which)


@pytest.mark.parametrize(("estimator", "method", "fitted", "error"), list(kinds()))
def test_a_fit_stopped_at_any_line(estimator, method, fitted, error):
    def run(one):
        return getattr(one, method)(data_for(one, AFTER), LABELS)

    start = clone(estimator)
    if fitted:
        start.fit(data_for(start, BEFORE), LABELS)
    expected = run(copy.deepcopy(start))  # which compiles the kernels too
    whole = joblib.hash(vars(expected))
    one = copy.deepcopy(start)
    n_lines = count_lines(lambda: run(one))
    stopped = 0
    # the first lines and the last, and some between
    between = np.linspace(1, n_lines, 10).astype(int)
    for line in sorted({1, 2, 3, *between, *range(n_lines - 3, n_lines + 1)}):
        one = copy.deepcopy(start)
        before = state_of(one)
        try:
            with StopAt(line, error) as stop:
                run(one)
        except error:
            stopped += 1
            now = joblib.hash(vars(one))
            assert is_unchanged(one, before) or now == whole, stop.backend
        else:  # smaller batches, where memory ran out for one, or an end before the
            # line: threads share the pieces of work as they come
            assert error is MemoryError or stop.left > 0
            features = [
                (e.predict_proba if hasattr(e, "predict_proba") else e.transform)(
                    data_for(e, AFTER)
                )
                for e in (one, expected)
            ]
            assert_allclose(*features, atol=1e-5)
    assert stopped > 5  # batches of half the size survive where memory ran out


def test_steps_of_a_pipeline_are_each_as_they_were_or_whole():
    def run(one):
        return one.fit(AFTER, LABELS)

    start = make_dmn(2, kernel_size=2, n_filters=3)
    expected = run(clone(start))
    n_lines = count_lines(lambda: run(clone(start)))
    for line in np.linspace(1, n_lines, 20).astype(int):
        one = clone(start).fit(BEFORE, LABELS)
        before = [state_of(step) for _, step in one.steps]
        try:
            with StopAt(line, KeyboardInterrupt) as stop:
                run(one)
        except KeyboardInterrupt:
            steps = zip(one.steps, expected.steps, before, strict=True)
            for (_, step), (_, whole), held in steps:
                if not is_unchanged(step, held):
                    features = joblib.hash(vars(step)), joblib.hash(vars(whole))
                    assert features[0] == features[1], stop.backend


# a signal, as of Ctrl-C, while threads are at work


class Alarm(KeyboardInterrupt):
    pass


def is_callback(frame):
    """Whether a frame is in a callback of weak references, which raise nothing."""
    while frame and "weakref" not in frame.f_code.co_filename:
        frame = frame.f_back
    return frame is not None


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers")
@pytest.mark.parametrize("name", ["softmax", "network"])
def test_a_signal_stops_threads_and_leaves_the_estimator_as_it_was(name):
    rng = np.random.default_rng(0)
    size = 12 if name == "network" else 24  # a fit takes a tenth of a second or more
    X, y = rng.random((3000, size, size, 1), dtype=np.float32), np.arange(3000) % 3
    start = ESTIMATORS["network"] if name == "network" else SoftmaxClassifier(tol=0.5)
    clone(start).fit(X[:300], y[:300])
    started = time.perf_counter()
    whole = joblib.hash(vars(clone(start).fit(X, y)))
    takes = time.perf_counter() - started
    fitting = False

    def ring(_, frame):
        if fitting and is_callback(frame):
            signal.setitimer(signal.ITIMER_REAL, 1e-3)
        elif fitting:
            raise Alarm

    threads = threading.active_count()
    old = signal.signal(signal.SIGALRM, ring)
    stopped = 0
    try:
        for share in np.linspace(0.05, 0.95, 10):
            one = clone(start)
            before = state_of(one)
            try:
                signal.setitimer(signal.ITIMER_REAL, share * takes)
                fitting = True
                one.fit(X, y)
                fitting = False
            except Alarm:
                stopped += 1
                now = joblib.hash(vars(one))
                assert is_unchanged(one, before) or now == whole
            fitting = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            until = time.perf_counter() + 10  # they end with the piece they are at
            while threading.active_count() > threads and time.perf_counter() < until:
                time.sleep(0.001)
            assert threading.active_count() == threads
    finally:
        signal.signal(signal.SIGALRM, old)
    assert stopped > 2
