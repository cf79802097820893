"""Networks that take an image and its mirror image for the same."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from stacks import STACKS, images_and_labels, named, network

from skdmn import (
    DensityMatrixNetwork,
    FlattenTransformer,
    SoftmaxClassifier,
    WhitenedPCAPatchTransformer,
    make_dmn,
    recommended_dmn,
)
from skdmn.analysis.density.propagation import propagate_filters
from skdmn.datasets import load_digits_images
from skdmn.statistics.whitened_filters import mirrored_order, of_mirror_images_too

stacks = pytest.mark.parametrize(
    "stack", [name for name in STACKS if name != "flatten"]
)


@stacks
@pytest.mark.parametrize("batch_size", [7, "auto"])
def test_features_are_the_mean_over_both(stack, batch_size):
    X, y = images_and_labels()
    net = network(stack).fit(X, y)
    expected = (net.transform(X) + net.transform(X[:, :, ::-1])) / 2
    both = net.set_params(mirrored=True, batch_size=batch_size)
    assert_allclose(both.transform(X), expected, rtol=1e-5, atol=1e-5)
    assert_allclose(both.transform(X[:, :, ::-1]), both.transform(X), atol=1e-5)
    assert_array_equal(np.asarray(both.lazy_features(X)), both.transform(X))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_the_mean_of_the_largest_floats_is_right(dtype):
    largest = np.finfo(dtype).max
    X = np.full((2, 4, 4, 1), largest)
    X[0, :, 0] = 0
    net = network("two pools")[1:2].set_params(mirrored=True)
    found = net.fit(X).transform(X)
    assert_array_equal(found, np.full((2, 4), largest))


def test_layers_are_fitted_on_the_images_as_they_are():
    X, y = images_and_labels()
    both, one = network(mirrored=True).fit(X, y), network().fit(X, y)
    for (_, ours), (_, theirs) in zip(both.layers_, one.layers_, strict=True):
        if hasattr(ours, "filters_"):
            assert_array_equal(ours.filters_, theirs.filters_)


def test_it_acts_at_once_and_in_slices():
    X, y = images_and_labels()
    one = network().fit(X, y)
    plain = one.transform(X)
    both = one.set_params(mirrored=True).transform(X)
    assert not np.allclose(plain, both)
    assert_allclose(one[:2].transform(X[:, :, ::-1]), one[:2].transform(X), rtol=1e-5)
    assert_array_equal(one.set_params(mirrored=False).transform(X), plain)


def test_signals_are_read_from_both_ends():
    X, y = load_digits_images()
    rows = X.reshape(len(X), -1)[:60]
    steps = make_dmn(1, kernel_size=5, image_shape=(1, 64)).steps[:1]
    net = DensityMatrixNetwork(steps, mirrored=True).fit(rows, y[:60])
    assert_allclose(net.transform(rows[:, ::-1]), net.transform(rows), rtol=1e-4)


def test_features_of_either_are_other_features_where_they_are_kept():
    X, y = images_and_labels()
    one = network().fit(X, y)
    first = one.lazy_features(X)
    second = one.set_params(mirrored=True).lazy_features(X)
    hashes = [lazy._stream.fingerprint() for lazy in (first, second)]
    assert hashes[0] != hashes[1]


def test_what_is_no_pipeline_is_made_none():
    X, y = images_and_labels()
    net = network(mirrored=True).fit(X, y)
    with pytest.raises(ValueError, match="a Pipeline of its layers would not"):
        net.to_pipeline()
    with pytest.raises(ValueError, match="the only layer is a FlattenTransformer"):
        DensityMatrixNetwork([("flat", FlattenTransformer())], mirrored=True).fit(X)
    assert len(propagate_filters(net, "layer0").filters) > 0


def test_dask_transforms_as_the_network_does():
    da = pytest.importorskip("dask.array")
    from skdmn import distributed

    X, y = images_and_labels()
    blocks = da.from_array(X, chunks=(11, -1, -1, -1))
    net = distributed.fit(network(mirrored=True), blocks, y)
    found = distributed.transform(net, blocks).compute()
    assert_allclose(found, net.transform(X), rtol=1e-5)
    assert_allclose(found, network(mirrored=True).fit(X, y).transform(X), rtol=1e-4)


def test_predictions_of_mirror_images_are_the_same():
    X, y = load_digits_images()
    dmn = recommended_dmn(X.shape[1:], n_filters=20, mirrored=True)
    assert dmn["softmax"].C == 0.02
    dmn.fit(X[:600], y[:600])
    assert dmn["features"]["conv"].mirrored
    assert_array_equal(dmn.predict(X[:, :, ::-1]), dmn.predict(X))
    assert recommended_dmn((32, 32, 3), mirrored=True, C=1.0)["softmax"].C == 1.0


@stacks
@pytest.mark.parametrize("kind", ["features", "softmax"])
def test_exports_do_both(stack, kind):
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    from skdmn.export import to_onnx, to_torch

    X, y = images_and_labels(dtype=np.float32)
    layers = DensityMatrixNetwork(named(STACKS[stack]), mirrored=True)
    head = [("softmax", SoftmaxClassifier(C=0.1))] if kind == "softmax" else []
    model = Pipeline([("layers", layers), *head]).fit(X, y)
    expected = model.predict_proba(X) if head else model.transform(X)
    tolerance = {"atol": 1e-5 * max(1, np.abs(expected).max())}
    with torch.inference_mode():
        found = to_torch(model)(torch.tensor(np.moveaxis(X, 3, 1)))
    found = torch.softmax(found, 1) if head else found
    assert_allclose(found.numpy(), expected, **tolerance)
    session = onnxruntime.InferenceSession(
        to_onnx(model, X[:1]).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    name = "probabilities" if head else "features"
    (found,) = session.run([name], {"X": X})
    assert_allclose(found, expected, **tolerance)


def test_filters_of_mirror_images_are_the_same(rng):
    images = rng.random((60, 12, 12, 2))  # whose cells mirror each other
    images[:, :, 3:] += images[:, :, :-3]
    y = np.arange(60) % 3
    images[y == 1] = np.roll(images[y == 1], 1, axis=1) + images[y == 1]
    layer = WhitenedPCAPatchTransformer(
        3, n_filters=40, position_grid=(1, 2), contrast_floor=0.1, mirrored=True
    )
    ours = clone(layer).fit(images, y)
    theirs = clone(layer).fit(images[:, :, ::-1], y)
    assert_allclose(ours.filters_, theirs.filters_, atol=1e-8)
    assert_array_equal(ours.filter_cells_, np.zeros((len(ours.filters_), 2)))


def test_no_filter_repeats_the_mirror_image_of_another(rng):
    images = rng.random((60, 11, 11, 1))
    images[:, 1:] += images[:, :-1]
    y = np.arange(60) % 2
    images[y == 1, :, 2:] -= images[y == 1, :, :-2]
    options = {"n_filters": 30, "position_grid": 2, "correlation_cutoff": 0.6}
    one, both = (
        WhitenedPCAPatchTransformer(3, mirrored=mirrored, **options).fit(images, y)
        for mirrored in (False, True)
    )
    order = mirrored_order((3, 3), 1)
    everything = both.density_matrices_.reshape(-1, 9, 9)
    mean = of_mirror_images_too(both.density_matrices_, (2, 2), order)
    assert_allclose(np.trace(mean, axis1=2, axis2=3), 1)
    rho = everything.mean(axis=0)
    rho = (rho + rho[order][:, order]) / 2 + 0.3 / 9 * np.eye(9)

    def cosines(layer):
        rows = layer.filters_.reshape(len(layer.filters_), -1)
        inner = rows @ rho @ rows[:, order].T
        norms = np.sqrt(np.einsum("id,de,ie->i", rows, rho, rows))
        return np.abs(inner / np.outer(norms, norms))[~np.eye(len(rows), dtype=bool)]

    assert cosines(both).max() < 0.65 < cosines(one).max()


def test_layers_and_network_do_not_differ_unseen():
    X, y = images_and_labels()
    conv = WhitenedPCAPatchTransformer(3, n_filters=4, mirrored=True)
    with pytest.warns(UserWarning, match="set mirrored=True on the network"):
        DensityMatrixNetwork([("conv", conv)]).fit(X, y)
    told = clone(conv).set_params(mirrored=False)
    passed_on = DensityMatrixNetwork([("conv", told)], mirrored=True).fit(X, y)
    both = DensityMatrixNetwork([("conv", conv)], mirrored=True).fit(X, y)
    assert passed_on["conv"].mirrored
    assert_array_equal(passed_on.transform(X), both.transform(X))
