"""Input that cannot be used as it is, and the advice in the messages."""

import numpy as np
import pytest
from estimators import each
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from skdmn import (
    ChannelStandardScaler,
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    FlattenTransformer,
    MaxPool2DTransformer,
    SoftmaxClassifier,
    ZCAWhitening,
    make_dmn,
)
from skdmn.data.files import save_batches
from skdmn.datasets import load_digits_images
from skdmn.utils.validation import as_one_array

CONV = ClassPCAPatchTransformer(2, n_filters=3)
NETWORK = DensityMatrixNetwork([("conv", CONV), ("pool", MaxPool2DTransformer())])
ENTRIES = {
    "layer": CONV,
    "network": NETWORK,
    "softmax": SoftmaxClassifier(C=0.1),
    "pipeline": make_dmn(1),
}
each_entry = each("estimator", ENTRIES)


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits_images()
    return X[:40], y[:40]


def methods(estimator):
    """Return the public methods of a fitted estimator that take images."""
    names = ["transform", "transform_images", "lazy_features", "predict"]
    names += ["predict_proba", "predict_log_proba", "decision_function"]
    return [getattr(estimator, name) for name in names if hasattr(estimator, name)]


@pytest.mark.parametrize("estimator", [ClassPCAPatchTransformer(), SoftmaxClassifier()])
def test_dask_arrays_are_sent_to_where_they_are_taken(estimator):
    da = pytest.importorskip("dask.array")
    X = da.ones((6, 5, 5), chunks=(2, 5, 5))
    with pytest.raises(TypeError, match=r"skdmn\.distributed\.fit\(estimator, X, y\)"):
        estimator.fit(X, [0, 1] * 3)


@pytest.mark.parametrize("estimator", [ClassPCAPatchTransformer(), SoftmaxClassifier()])
def test_iterators_are_to_be_written_to_a_file(estimator):
    batches = (np.ones((2, 5, 5)) for _ in range(3))
    with pytest.raises(ValueError, match=r"skdmn\.data\.files\.save_batches"):
        estimator.fit(batches, [0, 1] * 3)


# one array per sample


def series_of(library, images):
    """Return images as Series and frames of a library."""
    frames = pytest.importorskip(library)
    if library == "pandas":
        series = frames.Series(list(images), name="image")
        return [series, series.to_frame(), series.to_numpy()]
    arrays = frames.Series("image", images)
    lists = frames.Series("image", images.tolist())
    objects = frames.Series("image", list(images), dtype=frames.Object)
    return [arrays, lists, objects, arrays.to_frame(), lists.to_frame()]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_columns_of_images_are_stacked(library, digits):
    X, _ = digits
    for column in series_of(library, X):
        stacked = as_one_array(column)
        assert stacked.dtype.kind == "u" or library == "polars"
        assert_array_equal(stacked, X)
    for rows in series_of(library, X.reshape(len(X), -1)):
        assert_array_equal(as_one_array(rows), X.reshape(len(X), -1))


@each_entry
def test_every_estimator_takes_a_series_of_images(estimator, digits):
    pandas = pytest.importorskip("pandas")
    X, y = digits
    series, labels = pandas.Series(list(X)), pandas.Series(y)
    ours, expected = clone(estimator).fit(series, labels), clone(estimator).fit(X, y)
    for found, wanted in zip(methods(ours), methods(expected), strict=True):
        assert_array_equal(found(series), wanted(X))
    zca = ZCAWhitening().fit(X.reshape(len(X), -1))
    rows = pandas.Series(list(X.reshape(len(X), -1)))
    assert_array_equal(zca.transform(rows), zca.transform(X.reshape(len(X), -1)))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_of_numbers_stay_frames(library, digits):
    frames = pytest.importorskip(library)
    rows = digits[0].reshape(40, -1)[:, :3]
    frame = frames.DataFrame({name: rows[:, i] for i, name in enumerate("abc")})
    assert as_one_array(frame) is frame
    scaler = ChannelStandardScaler(image_shape=(1, 3)).fit(frame)
    assert scaler.feature_names_in_.tolist() == ["a", "b", "c"]


@each_entry
def test_a_column_of_images_among_others_is_to_be_chosen(estimator, digits):
    pandas = pytest.importorskip("pandas")
    X, y = digits
    frame = pandas.DataFrame({"image": list(X), "label": y})
    with pytest.raises(ValueError, match=r"2 columns.*pass a single.*X\['image'\]"):
        clone(estimator).fit(frame, y)


@each_entry
def test_missing_images_are_named(estimator, digits):
    X, y = digits
    unfitted = clone(estimator)
    with pytest.raises(ValueError, match=r"X\[2\] is None, not an image.*its label"):
        unfitted.fit([*X[:2], None, *X[3:]], y)
    with pytest.raises(ValueError, match=r"X\[39\] is 'a\.png', not an image"):
        unfitted.fit([*X[:-1], "a.png"], y)
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match=r"X\[0\] is nan, not an image"):
        unfitted.fit(pandas.Series([np.nan, *X[1:]]), y)
    fitted = clone(estimator).fit(X, y)
    for method in methods(fitted):
        with pytest.raises(ValueError, match=r"X\[1\] is None, not an image"):
            method([X[0], None])


def test_images_of_different_shapes_are_not_stacked(digits):
    pandas = pytest.importorskip("pandas")
    X, _ = digits
    with pytest.raises(ValueError, match=r"2 different shapes.*load_image_folder\("):
        as_one_array(pandas.Series([*X[:-1], X[0, 1:]]))
    with pytest.raises(ValueError, match="rows differ in length"):
        as_one_array(pandas.Series([[[1, 2], [1]]] * 3))


# data loaders


@each_entry
def test_data_loaders_are_to_be_written_to_a_file(estimator, digits, tmp_path):
    data = pytest.importorskip("torch.utils.data")
    X, y = digits

    class Single(data.Dataset):
        def __len__(self):
            return len(X)

        def __getitem__(self, index):
            if index >= len(X):
                raise IndexError
            return X[index], y[index]

    loader = data.DataLoader(Single(), batch_size=16)
    fitted = clone(estimator).fit(X, y)
    for given, advice in [
        (loader, "a data loader of torch; write its batches to a file with"),
        (Single(), r"a dataset of torch; write the batches of torch.*DataLoader\(X"),
        (iter(loader), "an iterator, but fitting takes several passes"),
        ({"images": X}.values(), "of type dict_values, not an array; pass an array"),
    ]:
        with pytest.raises(ValueError, match=f"X is .*{advice}.*save_batches"):
            clone(estimator).fit(given, y)
        for method in methods(fitted):
            with pytest.raises(ValueError, match=advice):
                method(given)
    ours, labels = save_batches(loader, tmp_path / "images.npy")
    assert_array_equal(ours, X)
    assert_array_equal(labels, y)
    with pytest.raises(ValueError, match=r"pass batches, such as torch.*DataLoader"):
        save_batches(Single(), tmp_path / "singles.npy")


# one image


@each_entry
@pytest.mark.parametrize("shape", [(8, 8), (4, 4, 4), (8, 4, 2)])
def test_a_single_image_needs_an_axis(estimator, shape, digits):
    X, y = digits
    X = X.reshape(-1, *shape)
    if shape != (8, 8) and isinstance(estimator, type(make_dmn(1))):
        estimator = make_pipeline(FlattenTransformer(), SoftmaxClassifier())
    fitted = clone(estimator).fit(X, y)
    calls = methods(fitted)
    if hasattr(fitted, "score"):
        calls.append(lambda image: fitted.score(image, y[:1]))
    if hasattr(fitted, "partial_fit"):
        calls.append(lambda image: fitted.partial_fit(image, y[:1]))
    for call in calls:
        for image in (X[0], X[0].tolist()):
            with pytest.raises(
                ValueError, match=r"single image, pass X\[np\.newaxis\]"
            ):
                call(image)
        call(X[0][np.newaxis])
    with pytest.raises(ValueError, match=r"1 label; .*X\[np\.newaxis\] for a single"):
        clone(estimator).fit(X[0], y[:1])


def test_the_inverse_of_a_single_image_needs_an_axis(digits):
    X, _ = digits
    scaler = ChannelStandardScaler().fit(X)
    with pytest.raises(ValueError, match=r"single image, pass X\[np\.newaxis\]"):
        scaler.inverse_transform(X[0])


@each_entry
def test_images_of_another_size_are_not_taken_for_a_single_one(estimator, digits):
    X, y = digits
    for method in methods(clone(estimator).fit(X, y)):
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            method(X[:, :7])
        assert "newaxis" not in str(caught.value)


def test_exports_to_torch_name_the_parameter(digits):
    torch = pytest.importorskip("torch")
    from skdmn.export import from_torch, make_hybrid

    X, y = digits
    loader = torch.utils.data.DataLoader(list(X[:, np.newaxis]))
    with pytest.raises(ValueError, match=r"images is of type DataLoader.*save_batches"):
        from_torch(torch.nn.Conv2d(1, 2, 3, bias=False), loader, y)
    with pytest.raises(ValueError, match=r"images\[1\] is None, not an image"):
        make_hybrid("d6, m, c20, de10", [X[:1], None], y[:2])


def test_parameters_are_checked_again_when_they_change():
    layer = ClassPCAPatchTransformer(3, n_filters=2)
    X, y = np.random.default_rng(0).random((6, 5, 5)), [0, 1] * 3
    layer.fit(X, y)
    for name, value in [("n_filters", 2.5), ("variance_cutoff", 1.5)]:
        with pytest.raises(ValueError, match=f"The '{name}' parameter"):
            layer.set_params(**{name: value}).transform(X)
        layer.set_params(n_filters=2, variance_cutoff=0.95)
        layer.transform(X)
