"""Sizes of batches: one decision for images, networks, rows and GPUs."""

import sys
import types

import array_api_strict
import numpy as np
import sklearn

from skdmn.data import sizes
from skdmn.data.images import Images
from skdmn.data.rows import Rows
from skdmn.network.stream import Stream
from skdmn.utils.array_api import HOST, Backend

DEVICE = Backend(array_api_strict, array_api_strict.Device("device1"))
GPU = Backend(types.ModuleType("cupy"), "some GPU")


def test_batches_for_a_gpu_are_a_share_of_its_free_memory_up_to_a_limit(monkeypatch):
    free = {"some GPU": 8 * 2**20}
    fake = types.SimpleNamespace(free_bytes=free.__getitem__)
    monkeypatch.setitem(sys.modules, "skdmn.kernels.cuda.transfer", fake)
    assert sizes.batch_bytes(GPU, 5) == 2**20
    free["some GPU"] = 2**40
    assert sizes.batch_bytes(GPU, 5) == sizes.GPU_BYTES
    assert sizes.batch_bytes(HOST, 5) == sizes.batch_bytes(DEVICE, 5) == 5


def bytes_of_batches():
    """Return the bytes of a batch of images, of a network and of rows from a file."""
    X = np.zeros((2**17, 8, 8, 1), np.float32)
    images = Images.of(X, (8, 8, 1), HOST, HOST)
    stream = Stream.through(images, [], (8, 8, 1), "auto")
    rows = Rows(X, HOST, "float32", is_lazy=True)
    _, block = next(rows.blocks(2**40))
    # a network holds input, output and a copy of twice an image
    return 256 * images.batch_size(), 6 * 256 * stream.batch_size(), block.nbytes


def test_batches_have_the_documented_sizes():
    images, stream, rows = bytes_of_batches()
    assert images == sizes.BATCH_BYTES
    assert rows == 2**25  # all of them
    assert sizes.STREAM_BYTES - 6 * 256 < stream <= sizes.STREAM_BYTES


def test_the_working_memory_limits_every_batch():
    with sklearn.config_context(working_memory=1):
        assert max(bytes_of_batches()) <= 2**19
        assert sizes.batch_bytes(HOST, sizes.STREAM_BYTES) == 2**19
        assert sizes.allowed(100) == 100
