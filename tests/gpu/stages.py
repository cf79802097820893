"""Run stages of the work under the stand-in for CuPy; print what they launch.

    python tests/gpu/stages.py

The output is JSON: a list of the stages with their number of batches and of launches,
copies and waits. Results are compared with those of the CPU. test_launches.py reads it.
"""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["SCIPY_ARRAY_API"] = "1"

import cupy_stand_in

if __name__ == "__main__":
    cupy_stand_in.install(
        *("moments<unsigned char, 4>", "moments<unsigned char, 8>"),
        *("add_parts<4>", "add_parts<8>", "contrasts<unsigned char, double>"),
        *("contrasts<unsigned char, float>", "normalized<unsigned char, float>"),
    )

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdmn import (
    AveragePool2DTransformer,
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    MaxPool2DTransformer,
    SoftmaxClassifier,
    WhitenedPCAPatchTransformer,
)
from skdmn.data import rows, sizes
from skdmn.data.images import Images
from skdmn.kernels.geometry import Window
from skdmn.kernels.reference import convolution as definition
from skdmn.linear_model import solver
from skdmn.linear_model.objective import Objective
from skdmn.utils.array_api import HOST, gpu

LAYERS = {
    "moments": ClassPCAPatchTransformer(3),
    "centred moments of many entries": ClassPCAPatchTransformer((5, 6), centered=True),
    "contrast moments": WhitenedPCAPatchTransformer(
        3, n_filters=4, position_grid=2, contrast_floor=1.0
    ),
}
NETWORKS = {
    "features": [
        ("conv", ClassPCAPatchTransformer(3)),
        ("pool", MaxPool2DTransformer(2)),
    ],
    "encoded features": [
        ("conv", WhitenedPCAPatchTransformer(3, n_filters=4, contrast_floor=1.0)),
        ("pool", AveragePool2DTransformer(3, stride=2, power=0.5)),
    ],
}


def counted(function):
    """Call a function; return its result and what it launched."""
    cupy_stand_in.COUNTS.clear()
    result = function()
    kinds = "launches", "copies", "waits"
    return result, {kind: cupy_stand_in.COUNTS[kind] for kind in kinds}


def fits(n_images, n_classes, n_batches):
    """Fit layers to images that come in batches."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (n_images, 7, 8, 1), dtype=np.uint8)
    y = np.arange(n_images) % n_classes
    Images.batch_size = lambda self, values_per_image=0: -(-n_images // n_batches)
    for name, layer in LAYERS.items():
        expected = layer.set_params(device="cpu").fit(X, y).density_matrices_
        layer.set_params(device="cuda")
        _, counts = counted(lambda layer=layer: layer.fit(X, y))
        found = layer.density_matrices_
        assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())
        yield name, n_batches, counts


def transforms(n_images, n_batches):
    """Compute features of images that come in batches."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (n_images, 7, 8, 1), dtype=np.uint8)
    for name, layers in NETWORKS.items():
        network = DensityMatrixNetwork(
            layers, batch_size=-(-n_images // n_batches), device="cpu"
        )
        network.fit(X[:30], np.arange(30) % 3)
        expected = network.transform(X)
        network.set_params(device="cuda")
        found, counts = counted(lambda network=network: network.transform(X))
        assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
        yield name, n_batches, counts


def softmax(n_rows, n_classes, n_blocks):
    """Compute a pass over the rows of a softmax, and solve with a factored Hessian."""
    rng = np.random.default_rng(0)
    X, weights = rng.normal(size=(n_rows, 6)), rng.random(n_rows)
    codes = np.arange(n_rows) % n_classes
    ones, n_outputs = np.ones(6), n_classes if n_classes > 2 else 1
    iterate = rng.normal(size=(n_outputs, 7))
    sizes.DEVICE_BYTES = -(-n_rows // n_blocks) * 6 * 8

    def objective(compute):
        there = rows.Rows(X, compute, "float64").resident()
        settings = n_classes, X.mean(axis=0), ones, ones, 0.1, True
        return Objective(there, codes, weights, *settings)

    here, there = objective(HOST), objective(gpu())
    value, gradient = here(iterate)
    there(iterate)  # labels are sent once
    found, counts = counted(lambda: there(iterate))
    assert_allclose(found[0], value)
    assert_allclose(found[1], gradient, atol=1e-12)
    yield "softmax pass", n_blocks, counts
    for name, few in (("solution", 2048), ("solution by rows", 3)):
        solver.FACTOR_ROWS = solver.FEW_ROWS = few
        solver.FACTOR_PRODUCTS = 0
        expected = solver.factor_hessian(here, iterate)(gradient)
        precondition = solver.factor_hessian(there, iterate)
        found, counts = counted(lambda f=precondition: f(gradient))
        assert_allclose(found, expected, rtol=1e-9)
        yield name, n_blocks, counts


def stages():
    """Yield every stage's name, number of batches, and counts."""
    for n_images, n_classes, n_batches in [(40, 4, 2), (40, 4, 4), (80, 10, 4)]:
        yield from fits(n_images, n_classes, n_batches)
        yield from transforms(n_images, n_batches)
    for n_rows, n_classes, n_blocks in [(40, 2, 2), (40, 3, 4), (80, 5, 4)]:
        yield from softmax(n_rows, n_classes, n_blocks)


def check_convolution():
    """Convolve images with more tiles than a kernel is started for at once."""
    import cupy

    from skdmn.kernels.cuda import convolution

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 7, 8, 2), dtype=np.uint8)
    filters = rng.integers(-9, 10, (9, 3, 3, 2)).astype(np.float32)
    settings = (1, 1), "valid", "relu", Window((2, 2), (2, 2), "valid")
    sent = cupy.asarray(images), cupy.asarray(filters)
    whole, counts = counted(lambda: convolution.convolve(*sent, *settings))
    convolution.GRID = 2
    parts, more = counted(lambda: convolution.convolve(*sent, *settings))
    assert more["launches"] > counts["launches"]
    expected = definition.convolve_and_pool(images, filters, *settings)
    for found in (whole, parts):
        np.testing.assert_array_equal(found.get(), expected)
    convolution.GRID = 2**31 - 1


def check_classifier():
    """Compare fits to rows that are sent in pieces, and refuse NaN."""
    rng = np.random.default_rng(0)
    sizes.SENT_BYTES = 7 * 5 * 4
    here, there = (SoftmaxClassifier(C=0.1, device=d) for d in ("cpu", "cuda"))
    labels, few = np.arange(60) % 3, np.arange(60) > 9
    for dtype in ("float32", "float16", "uint8", ">f4"):
        X = (9 * rng.random((60, 5))).astype(dtype)
        expected = here.fit(X, labels).decision_function(X)
        found = there.fit(X, labels).decision_function(X)
        assert_allclose(found, expected, atol=1e-4)
    X[3, 2] = np.nan
    calls = [
        lambda: there.fit(X, labels),
        lambda: there.fit(X, labels, sample_weight=few),  # the NaN has no weight
        lambda: there.predict(X),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="X contains NaN or infinity"):
            call()


if __name__ == "__main__":
    check_convolution()
    check_classifier()
    print(json.dumps(list(stages())))
