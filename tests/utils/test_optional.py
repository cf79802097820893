"""Imports that a function makes are whole, whenever Ctrl+C is pressed."""

import importlib
import signal
import sys
import threading

import pytest

from skdmn.utils.optional import import_whole

INTERRUPTED = """
import signal
first = True
signal.raise_signal(signal.SIGINT)
last = True
"""


@pytest.fixture
def name(tmp_path, monkeypatch):
    """Return the name of a module during whose import Ctrl+C is pressed."""
    (tmp_path / "interrupted_once.py").write_text(INTERRUPTED)
    monkeypatch.syspath_prepend(tmp_path)
    yield "interrupted_once"
    sys.modules.pop("interrupted_once", None)


def test_an_interrupt_takes_effect_after_the_import(name, request):
    # a process that was started in the background may ignore interrupts
    handler = signal.default_int_handler
    before = signal.signal(signal.SIGINT, handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with pytest.raises(KeyboardInterrupt):
        importlib.import_module(name)
    assert name not in sys.modules
    with pytest.raises(KeyboardInterrupt):
        import_whole(name)
    assert sys.modules[name].last
    assert signal.getsignal(signal.SIGINT) is handler
    assert import_whole(name) is sys.modules[name]


def test_a_handler_of_the_user_is_called(name, monkeypatch):
    calls, before = [], signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, lambda *details: calls.append(details))
        assert import_whole(name).last
        assert [number for number, frame in calls] == [signal.SIGINT]
        sys.modules.pop(name)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert import_whole(name).last
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_import_as_well():
    found = []
    thread = threading.Thread(target=lambda: found.append(import_whole("json")))
    thread.start()
    thread.join()
    assert found == [sys.modules["json"]]


def test_a_missing_module_is_missing():
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(ModuleNotFoundError):
        import_whole("no_such_module")
    assert signal.getsignal(signal.SIGINT) is handler
