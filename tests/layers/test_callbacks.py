"""What scikit-learn's callbacks are told while a layer is fitted."""

import numpy as np
import pytest
from sklearn.base import clone

from skdmn import ClassPCAPatchTransformer


class Recorder:
    """A callback that notes what it is told, and may interrupt."""

    def __init__(self, stop_at=None):
        self.events, self.stop_at = [], stop_at

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(context.task_name)

    def on_fit_task_end(self, estimator, context):
        self.events.append(f"end of {context.task_name}")
        if self.events.count("end of batch") == self.stop_at:
            raise KeyboardInterrupt


@pytest.fixture
def images(rng, monkeypatch):
    monkeypatch.setattr("skdmn.data.sizes.BATCH_BYTES", 10 * 6 * 6 * 4)
    return rng.integers(0, 256, (30, 6, 6), dtype=np.uint8), np.arange(30) % 3


def test_callbacks_are_told_of_every_batch(images):
    recorder = Recorder()
    layer = ClassPCAPatchTransformer().set_callbacks(recorder).fit(*images)
    batch = ["batch", "end of batch"]
    expected = ["setup", "fit", *batch, *batch, *batch, "end of fit", "teardown"]
    assert recorder.events == expected
    assert not {"_callback_fit_ctx", "_skl_callbacks_to_teardown"} & set(vars(layer))


def test_a_callback_may_interrupt_and_nothing_is_half_done(images):
    layer = ClassPCAPatchTransformer(kernel_size=2).fit(*images)
    filters = layer.filters_
    recorder = Recorder(stop_at=2)
    layer.set_params(kernel_size=3).set_callbacks(recorder)
    with pytest.raises(KeyboardInterrupt):
        layer.fit(*images)
    assert recorder.events[-1] == "teardown"
    assert layer.filters_ is filters
    layer.set_callbacks()
    np.testing.assert_array_equal(
        layer.fit(*images).filters_, clone(layer).fit(*images).filters_
    )
