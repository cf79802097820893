"""ChannelStandardScaler against NumPy, and back."""

import numpy as np
import pytest
from layer_reference import make_images
from numpy.testing import assert_allclose, assert_array_equal

from skdmn import ChannelStandardScaler

SHAPES = [(9, 5, 4), (9, 5, 4, 1), (9, 5, 4, 3), (9, 20)]


def values_of(rng, shape):
    scale = np.geomspace(0.1, 10, shape[-1]) if len(shape) == 4 else 3.0
    return rng.normal(size=shape) * scale + 2


def axes_of(X):
    return (0, 1, 2) if X.ndim == 4 else None


@pytest.mark.parametrize("shape", SHAPES)
def test_scaling_is_by_the_moments_of_each_channel(rng, shape):
    X = values_of(rng, shape)
    scaler = ChannelStandardScaler(image_shape=(1, 20) if len(shape) == 2 else None)
    out = scaler.fit_transform(X).reshape(X.shape)
    mean, var = X.mean(axis=axes_of(X)), X.var(axis=axes_of(X))
    assert_allclose(scaler.mean_, np.atleast_1d(mean), rtol=1e-12)
    assert_allclose(scaler.var_, np.atleast_1d(var), rtol=1e-12)
    assert_allclose(scaler.scale_, np.sqrt(scaler.var_), rtol=1e-12)
    assert_allclose(out, (X - mean) / np.sqrt(var), atol=1e-12)
    assert scaler.n_samples_seen_ == 9


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("with_mean", [True, False])
@pytest.mark.parametrize("with_std", [True, False])
def test_inverse_gives_back_what_was_fitted(rng, shape, with_mean, with_std):
    X = values_of(rng, shape)
    scaler = ChannelStandardScaler(
        with_mean=with_mean,
        with_std=with_std,
        image_shape=(1, 20) if len(shape) == 2 else None,
    )
    out = scaler.fit_transform(X)
    expected = X - with_mean * X.mean(axis=axes_of(X), keepdims=True)
    expected = expected / (X.std(axis=axes_of(X), keepdims=True) if with_std else 1)
    assert_allclose(out.reshape(X.shape), expected, atol=1e-12)
    back = scaler.inverse_transform(out)
    assert back.shape == X.shape
    assert_allclose(back, X, atol=1e-12)
    flat = scaler.inverse_transform(out.reshape(9, -1))
    assert_allclose(flat, X, atol=1e-12)


def test_inverse_of_rows_that_are_images_is_rows(rng):
    X = rng.random((9, 60))
    scaler = ChannelStandardScaler(image_shape=(5, 4, 3)).fit(X)
    assert scaler.transform(X).shape == (9, 5, 4, 3)
    assert scaler.mean_.shape == (3,)
    back = scaler.inverse_transform(scaler.transform(X))
    assert_allclose(back, X, atol=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e-300, 1e9 + 0.1, -7.3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_channel_is_divided_by_one(rng, value, dtype):
    X = rng.normal(size=(50, 9, 9, 2)).astype(dtype)
    X[..., 1] = value
    scaler = ChannelStandardScaler().fit(X)
    assert scaler.scale_[1] == 1
    assert_allclose(scaler.transform(X)[..., 1], 0, atol=1e-6 * max(1, abs(value)))


@pytest.mark.parametrize("spread", [1e-3, 1e-5, 1e-7, 1e-8])
@pytest.mark.parametrize("mean", [1.0, 1e9])
def test_bright_float64_images_keep_a_small_spread(rng, mean, spread):
    """float64 tells values apart down to 1e-16 of their size."""
    noise = rng.normal(size=(40, 6, 6, 1))
    X = mean * (1 + spread * (noise - noise.mean()) / noise.std())
    scaler = ChannelStandardScaler().fit(X)
    assert_allclose(scaler.scale_, mean * spread, rtol=1e-4)
    assert_allclose(scaler.transform(X).std(), 1, rtol=1e-4)


def test_bright_float32_images_keep_a_small_spread(rng):
    X = (1000 + 0.1 * rng.normal(size=(40, 6, 6))).astype(np.float32)
    out = ChannelStandardScaler().fit_transform(X)
    assert_allclose(out.mean(), 0, atol=1e-3)
    assert_allclose(out.std(), 1, rtol=1e-3)


def test_bright_parts_add_up(rng):
    X = 1e6 + rng.normal(size=(30, 4, 4, 2))
    scaler = ChannelStandardScaler()
    for part in np.split(X, 10):
        scaler.partial_fit(part)
    assert_allclose(scaler.var_, X.var(axis=(0, 1, 2)), rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_batches_do_not_matter(monkeypatch, dtype):
    X, _ = make_images(dtype=dtype)
    whole = ChannelStandardScaler().fit(X)
    monkeypatch.setattr("skdmn.data.sizes.BATCH_BYTES", 1)
    pieces = ChannelStandardScaler().fit(X)
    assert_allclose(pieces.mean_, whole.mean_, rtol=1e-12)
    assert_allclose(pieces.var_, whole.var_, rtol=1e-12)
    assert_allclose(pieces.transform(X), whole.transform(X), atol=1e-6)


def test_inverse_of_another_size_is_an_error(rng):
    scaler = ChannelStandardScaler().fit(rng.random((4, 5, 5)))
    with pytest.raises(ValueError, match="5 x 5 pixels"):
        scaler.inverse_transform(rng.random((4, 5, 6)))


def test_inverse_of_turned_images_is_an_error(rng):
    """As many values, but another height and width."""
    scaler = ChannelStandardScaler().fit(rng.random((4, 6, 4)))
    with pytest.raises(ValueError, match="6 x 4 pixels"):
        scaler.inverse_transform(rng.random((4, 4, 6)))


def test_moments_are_float64(rng):
    scaler = ChannelStandardScaler().fit(rng.random((4, 5, 5), dtype=np.float32))
    for array in (scaler.mean_, scaler.var_, scaler.scale_):
        assert array.dtype == np.float64
        assert_array_equal(array.shape, (1,))
