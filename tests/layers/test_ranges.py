"""Images in another range than those of the fit: one warning, no false alarms."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from skdmn import (
    AveragePool2DTransformer,
    ChannelStandardScaler,
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    SoftmaxClassifier,
    make_dmn,
    recommended_dmn,
)
from skdmn.datasets import load_digits_images
from skdmn.statistics.ranges import ValueRange

X, Y = load_digits_images()
X, Y = 15 * X[:80], Y[:80]  # uint8, from 0 to 240
CONV = ClassPCAPatchTransformer(n_filters=3)
MODELS = {
    "two_layers": make_dmn(2, n_filters=4, device="cpu"),
    "recommended": recommended_dmn((8, 8), n_filters=10, subsample=1.0),
    "pooled_first": make_pipeline(
        AveragePool2DTransformer(2), CONV, SoftmaxClassifier(C=0.1)
    ),
    "layer": CONV,
}
SMALLER = r"from 0 to 0\.\d+, about 2\d\d times smaller .* from 0 to \d"


def run(fitted, images):
    return getattr(fitted, "predict", getattr(fitted, "transform", None))(images)


def told(function, *given):
    """Return the messages of the warnings of a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function(*given)
    return [str(one.message) for one in caught]


@pytest.fixture(scope="module")
def models():
    return {name: clone(model).fit(X, Y) for name, model in MODELS.items()}


@pytest.mark.parametrize("name", MODELS)
def test_another_range_is_told_once(name, models):
    fitted = models[name]
    assert told(run, fitted, X) == []
    for some in (X / 255, X[7:8] / 255, (X / 255).astype("f4")):
        with pytest.warns(UserWarning, match=SMALLER) as caught:
            run(fitted, some)
        assert len(caught) == 1
        assert caught[0].filename == __file__
    assert "times larger" in told(run, fitted, X * 300.0)[0]


def test_integers_are_told_after_a_fit_on_floats():
    fitted = clone(CONV).fit(X / 255, Y)
    assert "about 255 times larger" in told(run, fitted, X)[0]
    assert told(run, fitted, X / 255) == []


def test_there_are_no_false_alarms(models):
    layer = models["layer"]
    for image in (*X[:, None], *(X / 1.0)[:, None]):
        assert told(run, layer, image) == []
    dark = np.zeros((1, 8, 8), np.uint8)
    dark[0, 3, 4] = 2
    assert told(run, layer, dark) == []
    assert told(run, layer, 0 * dark) == []
    assert told(run, layer, X[:1] / 30.0) == []  # a dark image
    assert told(run, layer, X / 10.0) == []
    assert told(run, layer, np.ones((1, 8, 8))) == []  # constant
    assert told(run, layer, X - 128.0) == []
    # very different images in one fit
    units = np.geomspace(1, 300, len(X))[:, np.newaxis, np.newaxis]
    scaler = ChannelStandardScaler().fit(X / units)
    assert told(run, scaler, X[:20] / 1.0) == []
    assert told(run, scaler, X[:20] / 255) == []
    assert "smaller" in told(run, scaler, X[:20] / 255**3)[0]
    layer = clone(CONV).set_params(class_based=False).fit(np.ones((3, 8, 8)))
    assert told(run, layer, np.ones((3, 8, 8))) == []


def test_an_offset_or_another_spread_is_told():
    centred = X - X.mean()
    layer = clone(CONV).fit(centred / centred.std(), Y)
    assert "times larger" in told(run, layer, X / 1.0)[0]
    layer = ChannelStandardScaler().fit(centred / 100 + 1e4)
    assert "times larger" in told(run, layer, centred + 1e4)[0]
    assert "times smaller" in told(run, layer, centred / 3000 + 1e4)[0]


def test_partial_fit_and_merge_tell_it_and_remember_both():
    layer = clone(CONV).partial_fit(X[:40], Y[:40])
    assert told(layer.partial_fit, X[40:], Y[40:]) == []
    whole = clone(CONV).fit(X, Y)
    np.testing.assert_allclose(
        layer._range.logs[:, 1:], whole._range.logs[:, 1:], rtol=0.3
    )
    assert layer._range.logs[0, 0] == 2 * whole._range.logs[0, 0] == 32
    with pytest.warns(UserWarning, match=SMALLER):
        layer.partial_fit(X / 255, Y)
    other = clone(CONV).fit(X / 255, Y)
    with pytest.warns(UserWarning, match=r"from 0 to 240 are merged with .* 0\.94"):
        whole.merge(other)
    assert whole._range.logs[0, 0] == 32
    assert told(run, whole, X / 255) == []  # its images were of both


def test_images_in_files_are_told_when_they_are_read(tmp_path):
    np.save(tmp_path / "bytes.npy", X)
    np.save(tmp_path / "floats.npy", X / 255)
    of_bytes, of_floats = (
        np.load(tmp_path / name, mmap_mode="r") for name in ("bytes.npy", "floats.npy")
    )
    fitted = DensityMatrixNetwork([("conv", CONV)], batch_size=30).fit(of_bytes, Y)
    assert (fitted._range.least, fitted._range.greatest) == (0, 240)
    assert told(fitted.transform, of_bytes) == []
    assert len(told(fitted.transform, of_floats)) == 1
    lazy = fitted.lazy_features(of_floats)
    with pytest.warns(UserWarning, match=SMALLER):
        lazy[:3]
    assert told(lambda: lazy[3:9]) == []
    layer = clone(CONV).partial_fit(of_bytes, Y)
    assert "smaller" in told(layer.partial_fit, of_floats, Y)[0]


def test_fits_on_dask_remember_the_range():
    da = pytest.importorskip("dask.array")
    from skdmn import distributed

    blocks = da.from_array(X, chunks=(30, -1, -1))
    dmn = distributed.fit(clone(MODELS["two_layers"][:3]), blocks, Y)
    assert dmn["conv1"]._range.logs[0, 0] == 16  # the blocks were joined
    assert dmn["conv2"]._range is None
    assert len(told(dmn.transform, X / 255)) == 1
    assert told(dmn.transform, X) == []


def test_copies_and_files_keep_the_range(models):
    layer, dmn = models["layer"], models["two_layers"]
    network = DensityMatrixNetwork.from_pipeline(dmn[:4])
    pooled = DensityMatrixNetwork.from_pipeline(models["pooled_first"][:2])
    copies = [pickle.loads(pickle.dumps(layer)), layer.compact(), network, pooled]
    copies += [network.to_pipeline(), network[:2]]
    for model in copies:
        assert len(told(model.transform, X / 255)) == 1
    assert told(network[2:].transform, dmn[:2].transform(X) / 255) == []
    assert clone(CONV).fit(dmn[:2].transform(X), Y)._range is None  # no images
    old = pickle.loads(pickle.dumps(layer))
    del old._range  # as saved by an earlier version
    assert told(pickle.loads(pickle.dumps(old)).transform, X / 255) == []


def test_a_range_is_a_sum_that_does_not_depend_on_the_unit():
    images = (X[:12, :, :, np.newaxis] + 1.0) * np.arange(1, 13).reshape(-1, 1, 1, 1)
    whole = ValueRange.of(images)
    parts = ValueRange.of(images[:5]).merged(ValueRange.empty())
    parts.merge(ValueRange.of(images[5:]))
    np.testing.assert_allclose(parts.logs, whole.logs, rtol=1e-12)
    assert (parts.least, parts.greatest) == (images.min(), images.max())
    logs = np.log(np.sqrt(np.square(images).mean(axis=(1, 2, 3))))
    np.testing.assert_allclose(whole.logs[0], [12, logs.mean(), logs.var()])
    logs = np.log(images.std(axis=(1, 2, 3)))
    np.testing.assert_allclose(whole.logs[1], [12, logs.mean(), logs.var()])
    for unit in (1e-300, 1e300):
        moved = ValueRange.of(images * unit).logs - whole.logs
        expected = [[0, np.log(unit), 0]] * 2
        np.testing.assert_allclose(moved, expected, atol=1e-9)
