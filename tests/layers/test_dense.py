"""Dense layers: class-based PCA of rows."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline

from skdmn import (
    ClassPCAPatchTransformer,
    ClassPCATransformer,
    DensityMatrixNetwork,
    MaxPool2DTransformer,
    OverlapPruner,
    SoftmaxClassifier,
    make_dmn,
)

DENSE = ClassPCATransformer(n_filters=9)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:600], y[:600]


def test_filters_are_eigenvectors_of_the_second_moments_of_a_class():
    X = np.random.default_rng(0).normal(size=(40, 5)) * [5, 4, 3, 2, 1]
    y = np.arange(40) % 2
    every = {"variance_cutoff": 1.0, "correlation_cutoff": 1.0, "signs": "one"}
    layer = ClassPCATransformer(**every).fit(X, y)
    shares = []
    for label in (0, 1):
        rho = X[y == label].T @ X[y == label]
        rho /= np.trace(rho)
        of_class = layer.filter_classes_ == label
        for w, share in zip(
            layer.filters_[of_class],
            layer.explained_variance_ratio_[of_class],
            strict=True,
        ):
            assert_allclose(rho @ w, share * w, atol=1e-12)
        shares.append(np.linalg.eigvalsh(rho))
    assert_allclose(-layer.energies_[::-1], np.log(np.sort(np.concatenate(shares))))
    assert_array_equal(layer.transform(X), np.maximum(X @ layer.filters_.T, 0))
    linear = layer.set_params(activation=None).transform(X)
    assert_allclose(linear, X @ layer.filters_.T)


@pytest.mark.parametrize("class_based", [True, False])
def test_a_row_is_an_image_of_one_pixel(digits, class_based):
    X, y = digits
    pixels = X.reshape(len(X), 1, 1, -1)
    params = clone(DENSE).set_params(class_based=class_based).get_params()
    layer = ClassPCATransformer(**params).fit(X, y)
    patches = ClassPCAPatchTransformer(1, **params).fit(pixels, y)
    assert_array_equal(layer.filters_, patches.filters_[:, 0, 0])
    assert layer.filter_members_ == patches.filter_members_
    assert_array_equal(layer.transform(X), patches.transform(pixels)[:, 0, 0])


def test_parts_add_up(digits):
    X, y = digits
    whole = clone(DENSE).fit(X, y)
    here, there = (clone(DENSE).fit(X[i::2], y[i::2]) for i in (0, 1))
    sums = [clone(DENSE).statistics(X[i::2], y[i::2]) for i in (0, 1)]
    for layer in (
        clone(DENSE).partial_fit(X[::2], y[::2]).partial_fit(X[1::2], y[1::2]),
        here.merge(there),
        clone(DENSE).finish(sums[0] + sums[1]),
    ):
        assert_allclose(layer.filters_, whole.filters_, atol=1e-9)
        assert_array_equal(layer.class_counts_, np.bincount(y))


@pytest.mark.filterwarnings("error")
def test_two_layers_at_their_defaults_keep_what_tells_classes_apart():
    X, y = load_digits(return_X_y=True)
    stack = make_pipeline(
        ClassPCATransformer(), ClassPCATransformer(), SoftmaxClassifier()
    ).fit(X[:1000], y[:1000])
    alone = SoftmaxClassifier().fit(X[:1000], y[:1000])
    assert stack.score(X[1000:], y[1000:]) > alone.score(X[1000:], y[1000:]) + 0.01


def test_images_are_flattened(digits):
    X, y = digits
    images = X.reshape(-1, 8, 8)
    layer = clone(DENSE).fit(images, y)
    assert_array_equal(layer.filters_, clone(DENSE).fit(X, y).filters_)
    assert_array_equal(layer.transform(images), layer.transform(X))
    with pytest.raises(ValueError, match="X has 56 features, but ClassPCATransformer"):
        layer.transform(images[:, 1:])


def test_after_convolutions_a_network_computes_what_a_pipeline_does(digits):
    X, y = digits
    layers = [
        ("conv", ClassPCAPatchTransformer(3)),
        ("pool", MaxPool2DTransformer(2)),
        ("dense1", clone(DENSE)),
        ("dense2", clone(DENSE)),
        ("prune", OverlapPruner(1)),
    ]
    images = X.reshape(-1, 8, 8)
    pipeline = make_pipeline(*(clone(layer) for _, layer in layers)).fit(images, y)
    network = DensityMatrixNetwork(layers).fit(images, y)
    expected = pipeline.transform(images)
    assert_array_equal(network.transform(images), expected)
    dense = pipeline[:-1].transform(images)
    leading = np.square(dense).mean(axis=0).argmax()
    assert_array_equal(expected, np.delete(dense, leading, axis=1))
    first = DensityMatrixNetwork(layers[2:]).fit(X, y)
    assert_array_equal(first.transform(images), first.transform(X))
    expected = first.transform(X)
    first.set_params(dense1=ClassPCAPatchTransformer(3))
    assert_array_equal(first.transform(X), expected)  # until the next fit
    assert first.fit(images, y).image_shape_ == (8, 8, 1)


def test_outputs_have_names(digits):
    pytest.importorskip("pandas")
    layer = clone(DENSE).fit(*digits).set_output(transform="pandas")
    frame = layer.transform(digits[0])
    assert list(frame.columns[[0, 17]]) == ["f00", "f17"]
    second = clone(DENSE).fit(frame, digits[1])
    assert_array_equal(second.feature_names_in_, layer.get_feature_names_out())


def test_sparse_rows_are_refused(digits):
    with pytest.raises(TypeError, match=r"Sparse data was passed for X.*toarray"):
        clone(DENSE).fit(sparse.csr_matrix(digits[0]), digits[1])


# a warning of few filters


def shades(n_channels=3):
    """Return smooth, bright images of two classes, such as photographs."""
    rng = np.random.default_rng(0)
    X = 150 + 10 * rng.normal(size=(40, 6, 6, n_channels))
    return np.cumsum(X, axis=1) / np.arange(1, 7).reshape(-1, 1, 1), np.arange(40) % 2


def test_one_filter_left_is_told_with_what_to_pass():
    X, y = shades()
    message = (
        r"ClassPCAPatchTransformer has only 1 filter: variance_cutoff=0\.95 keeps 2 of "
        r"54 components of 2 classes, and correlation_cutoff=0\.9 merges 1 of these\. "
        r"Pass a larger value of variance_cutoff, such as 0\.999, or of "
        r"correlation_cutoff, and bound the number by n_filters; n_filters=1 asks for"
    )
    with pytest.warns(UserWarning, match=message):
        ClassPCAPatchTransformer(3).fit(X, y)
    message = (
        r"0\.95 keeps 1 of 27 components of all images\. Pass .* such as 0\.999, and"
    )
    with pytest.warns(UserWarning, match=message):
        ClassPCAPatchTransformer(3, class_based=False).fit(X)


def test_fewer_outputs_than_classes_are_told(digits):
    options = {"n_filters": None, "variance_cutoff": 0.5, "signs": "both"}
    options["correlation_cutoff"] = 0.9
    with pytest.warns(UserWarning, match=r"ClassPCATransformer has only \d filters: "):
        layer = ClassPCATransformer(**options).fit(*digits)
    n_filters = len(layer.filters_) // 2
    assert 1 < n_filters < 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer.set_params(n_filters=n_filters).fit(*digits)
        with pytest.raises(UserWarning, match="has only"):
            layer.set_params(n_filters=n_filters + 1).fit(*digits)


@pytest.mark.parametrize(
    ("layer", "X"),
    [
        (ClassPCAPatchTransformer(3, n_filters=1), shades()[0]),
        (ClassPCAPatchTransformer(3, variance_cutoff=0.999), shades()[0]),
        (ClassPCAPatchTransformer(1), shades(1)[0]),  # one value: there is no other
        (ClassPCAPatchTransformer(2), np.ones((40, 4, 4))),  # nor here
        (ClassPCATransformer(), np.ones((40, 3))),
        (make_dmn(1)[:-1], shades()[0]),
    ],
)
def test_no_warning_if_asked_for_or_if_there_are_no_more(layer, X):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clone(layer).fit(X, np.arange(40) % 2)


# exports


def test_torch_has_linear_modules(digits):
    torch = pytest.importorskip("torch")
    from skdmn.export import to_torch

    X, y = digits
    dense = make_pipeline(clone(DENSE), clone(DENSE), OverlapPruner(1))
    rows = make_pipeline(clone(dense), SoftmaxClassifier()).fit(X, y)
    images = make_pipeline(ClassPCAPatchTransformer(3), clone(dense))
    images.fit(X.reshape(-1, 8, 8), y)
    for model, before in ((rows, []), (images, ["Conv2d", "ReLU", "Flatten"])):
        module = to_torch(model)
        kinds = [type(one).__name__ for one in module]
        head = ["Linear"] if model is rows else []
        assert kinds == [*before, *["Linear", "ReLU"] * 2, *head]
        given = X if model is rows else X.reshape(-1, 1, 8, 8)
        with torch.inference_mode():
            found = module(torch.tensor(given))
        if model is rows:
            found, expected = torch.softmax(found, 1), model.predict_proba(X)
        else:
            expected = model.transform(given[:, 0])
        assert_allclose(found.numpy(), expected, atol=1e-4 * expected.max())


def test_exports_begin_with_a_selection_of_features(digits):
    torch = pytest.importorskip("torch")
    onnxruntime = pytest.importorskip("onnxruntime")
    from skdmn.export import to_onnx, to_torch

    X, y = digits
    for layers in ([clone(DENSE)], []):
        model = make_pipeline(OverlapPruner(5), *layers, SoftmaxClassifier()).fit(X, y)
        with torch.inference_mode():
            found = torch.softmax(to_torch(model)(torch.tensor(X)), 1)
        assert_allclose(found, model.predict_proba(X), atol=1e-4)
        written = to_onnx(model, X[:1]).SerializeToString()
        session = onnxruntime.InferenceSession(written)
        (found,) = session.run(["probabilities"], {"X": X})
        assert_allclose(found, model.predict_proba(X), atol=1e-4)


def test_onnx_has_matrix_products(digits):
    onnxruntime = pytest.importorskip("onnxruntime")
    from skdmn.export import to_onnx

    X, y = digits
    stack = make_pipeline(clone(DENSE), clone(DENSE), SoftmaxClassifier()).fit(X, y)
    model = to_onnx(stack, X[:1])
    kinds = [node.op_type for node in model.graph.node]
    assert kinds[:6] == ["Cast", "Gemm", "Relu", "Gemm", "Relu", "Gemm"]
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(["probabilities"], {"X": X})
    assert_allclose(found, stack.predict_proba(X), atol=1e-4)


def test_skl2onnx_converts(digits):
    skl2onnx = pytest.importorskip("skl2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    from skdmn.export import register_converters

    register_converters()
    X, y = digits[0].astype(np.float32), digits[1]
    layer = clone(DENSE).fit(X, y)
    model = skl2onnx.to_onnx(layer, X[:1]).SerializeToString()
    (found,) = onnxruntime.InferenceSession(model).run(None, {"X": X})
    assert_allclose(found, layer.transform(X), atol=1e-4)
