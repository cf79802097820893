"""Reference code on other devices than CPUs: large tiles, sums on the device."""

import array_api_strict
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdmn.kernels import geometry
from skdmn.kernels.geometry import Window, tile_values
from skdmn.kernels.reference import contrast, convolution, moments, sums

WINDOW = Window((2, 2), (2, 1), "same")


def placed(array, device):
    return array_api_strict.asarray(array, device=array_api_strict.Device(device))


def to_host(array):
    return np.asarray(array.to_device(array_api_strict.Device("CPU_DEVICE")))


def test_tiles_are_small_on_a_cpu_and_large_elsewhere(rng):
    images = rng.random((1, 2, 2, 1))
    assert tile_values(images) == geometry.TILE_VALUES
    assert tile_values(placed(images, "CPU_DEVICE")) == geometry.TILE_VALUES
    assert tile_values(placed(images, "device1")) == geometry.DEVICE_TILE_VALUES
    torch = pytest.importorskip("torch")
    assert tile_values(torch.from_numpy(images)) == geometry.TILE_VALUES
    on_meta = torch.empty((1, 2, 2, 1), device="meta")
    assert tile_values(on_meta) == geometry.DEVICE_TILE_VALUES


@pytest.mark.parametrize("values", [1, 50, 300, 2**24])
def test_results_do_not_depend_on_the_tiles_of_a_device(rng, monkeypatch, values):
    monkeypatch.setattr(geometry, "DEVICE_TILE_VALUES", values)
    images = rng.integers(0, 200, (5, 7, 6, 2)).astype("f4")
    filters = rng.integers(-9, 9, (3, 3, 2, 2)).astype("f4")
    how = contrast.Encoding(filters, 1.0, 0.5)
    there, theirs = placed(images, "device1"), placed(filters, "device1")
    members, arguments = np.array([4, 0, 2]), ((1, 2), "same", "relu", WINDOW)
    features = convolution.convolve_and_pool(there, theirs, *arguments)
    assert_array_equal(
        to_host(features), convolution.convolve_and_pool(images, filters, *arguments)
    )
    encoded = contrast.encode_and_pool(
        there, how._replace(filters=theirs), WINDOW, power=0.5
    )
    expected = contrast.encode_and_pool(images, how, WINDOW, power=0.5)
    assert_allclose(to_host(encoded), expected, atol=1e-4)
    for form in (moments.second_moments, moments.row_moments):
        for ours, other in zip(
            form(there, members, (3, 2)), form(images, members, (3, 2)), strict=True
        ):
            assert_array_equal(ours, other)
    assert_allclose(
        contrast.contrast_moments(there, members, (3, 2), (2, 1), 9.0),
        contrast.contrast_moments(images, members, (3, 2), (2, 1), 9.0),
        atol=1e-12,
    )


FORMS = {
    "windows": lambda images, members: moments.second_moments(images, members, (3, 2)),
    "rows": lambda images, members: moments.row_moments(images, members, (3, 2)),
    "contrast": lambda images, members: contrast.contrast_moments(
        images, members, (3, 2), (2, 1), 9.0
    ),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_sums_over_tiles_are_copied_to_the_host_once(rng, monkeypatch, form):
    copied = []
    for module in (moments, contrast):
        to_numpy = module.to_numpy
        monkeypatch.setattr(
            module, "to_numpy", lambda array, f=to_numpy: copied.append(1) or f(array)
        )
    there = placed(rng.integers(0, 200, (6, 7, 6, 2)).astype("f4"), "device1")
    counts = []
    for values in (2**24, 1):  # one tile, and many
        monkeypatch.setattr(geometry, "DEVICE_TILE_VALUES", values)
        copied.clear()
        form(there, np.arange(6))
        counts.append(len(copied))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_without_float64_sums_over_tiles_keep_their_digits(rng, monkeypatch, form):
    """Float32 sums over many tiles would lose digits."""
    monkeypatch.setattr(geometry, "DEVICE_TILE_VALUES", 1)
    added = []
    for module in (moments, contrast):
        monkeypatch.setattr(
            module,
            "to_float64",
            lambda part: added.append(sums.to_float64(part)) or added[-1],
        )
    form(placed(rng.random((3, 7, 6, 2), "f4"), "no_float64"), np.arange(3))
    assert len(added) > 3
    assert all(
        isinstance(part, np.ndarray) and part.dtype == np.float64 for part in added
    )


def test_relu_and_soft_threshold_keep_nan(rng):
    images = rng.random((2, 5, 5, 1))
    images[0, 2, 2, 0] = np.nan
    filters = rng.normal(size=(3, 2, 2, 1))
    features = convolution.convolve(images, filters, activation="relu")
    assert np.isnan(features[0, 1:3, 1:3]).all()
    assert np.isfinite(features[1]).all()
    encoded = contrast.encode(images, contrast.Encoding(filters, 1.0, 0.1))
    assert np.isnan(encoded[0, 1:3, 1:3]).all()
    assert np.isfinite(encoded[1]).all()


@pytest.mark.parametrize("library", ["numpy", "torch", "array_api_strict"])
@pytest.mark.parametrize("power", [0.5, 2.0, 3.0])
def test_a_power_keeps_the_sign(library, power):
    xp = pytest.importorskip(library)
    values = np.array([-4.0, -0.0, 0.0, 0.25, np.nan, np.inf])
    images = xp.asarray(values.reshape(1, 1, 6, 1))
    found = convolution.average_pool(images, geometry.WHOLE, power, xp.float64)
    expected = np.sign(values) * np.abs(values) ** power
    assert_allclose(np.asarray(found)[0, 0, :, 0], expected)
