"""Exported contrast normalization: as exact as the definition, whatever the images."""

import numpy as np
import onnxruntime
import pytest
from numpy.testing import assert_allclose

from skdmn import WhitenedPCAPatchTransformer
from skdmn.export import to_onnx, to_torch
from skdmn.kernels.reference.contrast import Encoding, encode

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(6, 9, 10, 2)).astype(np.float32)
LAYER = WhitenedPCAPatchTransformer(
    3, n_filters=4, position_grid=1, contrast_floor=0.1, class_based=False
).fit(IMAGES)


def stepped(images):
    """Return images whose right half is much brighter, and one with a wild pixel."""
    images = images.copy()
    images[:, :, 5:] += 1e4
    images[0] = IMAGES[0]
    images[0, 0, 0, 0] = 1e9
    return images


CASES = {
    "plain": (IMAGES, 1.0),
    "offset": (IMAGES + np.float32(1e4), 1.0),
    "channels": (IMAGES + np.float32([1e4, -2e4]), 1.0),
    "steps": (stepped(IMAGES), 1.0),
    "large": (IMAGES * np.float32(1e25), 1e25),
    "small": (IMAGES * np.float32(1e-25), 1e-25),
    "constant": (np.full_like(IMAGES, 255.1), 1e-9),
}


@pytest.mark.parametrize("export", ["onnx", "torch"])
@pytest.mark.parametrize("case", CASES)
def test_exports_are_the_definition(export, case):
    images, unit = CASES[case]
    layer = LAYER.__copy__()
    layer.contrast_floor_ = 0.1 * unit**2
    how = Encoding(layer.filters_.astype(float), layer.contrast_floor_, 0.5)
    expected = encode(images.astype(float), how)
    if export == "onnx":
        model = to_onnx(layer, images[:1]).SerializeToString()
        session = onnxruntime.InferenceSession(model)
        (found,) = session.run(None, {"X": images})
    else:
        torch = pytest.importorskip("torch")
        tensor = torch.tensor(np.moveaxis(images, 3, 1).copy())
        found = np.moveaxis(to_torch(layer)(tensor).numpy(), 1, 3)
    assert_allclose(found, expected, atol=2e-5)
