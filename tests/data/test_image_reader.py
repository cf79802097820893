"""ImageReader: files in, images as in training; arrays pass through."""

import io
import json
import pathlib
import pickle
import sys

import numpy as np
import pytest
import skops.io
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline

from skdmn import (
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    ImageReader,
    SoftmaxClassifier,
)
from skdmn.export import register_converters, to_onnx, to_torch
from skdmn.utils.persistence import TRUSTED_TYPES

Image = pytest.importorskip("PIL.Image", reason="needs Pillow")

RNG = np.random.default_rng(0)
LABELS = np.arange(12) % 2


def encoded(image, kind="PNG"):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind)
    return stream.getvalue()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Names of twelve color images of several sizes; those of class 1 are brighter."""
    folder = tmp_path_factory.mktemp("files")
    for number, label in enumerate(LABELS):
        image = RNG.integers(0, 60, (10 + number, 14, 3)) + 150 * label
        (folder / f"{number:02}.png").write_bytes(encoded(image.astype(np.uint8)))
    return sorted(map(str, folder.iterdir()))


def model(size=8, **options):
    network = DensityMatrixNetwork([("conv", ClassPCAPatchTransformer(n_filters=3))])
    reader = ImageReader(size, **options)
    return Pipeline(
        [("read", reader), ("features", network), ("softmax", SoftmaxClassifier(C=0.1))]
    )


@pytest.fixture(scope="module")
def fitted(files):
    return model().fit(files, LABELS)


# what it takes


def test_files_of_every_kind_are_read_alike(files):
    reader = ImageReader((8, 9)).fit(files)
    expected = reader.transform(files)
    assert (expected.shape, expected.dtype) == ((12, 8, 9, 3), np.uint8)
    contents = [pathlib.Path(name).read_bytes() for name in files]
    pandas, polars = (pytest.importorskip(name) for name in ("pandas", "polars"))
    for given in (
        [pathlib.Path(name) for name in files],
        tuple(contents),
        [io.BytesIO(content) for content in contents],
        [Image.open(name) for name in files],
        np.array(files),
        np.array(files, dtype=object),
        pandas.Series(files),
        pandas.DataFrame({"file": files}),
        polars.DataFrame({"file": files}),
        [*files[:6], *contents[6:]],
    ):
        assert_array_equal(clone(reader).fit_transform(given), expected)
        assert_array_equal(reader.transform(given), expected)


@pytest.mark.parametrize("shape", [(5, 6), (4, 5, 6), (3, 5, 6, 2)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_arrays_pass_through_untouched(shape, dtype):
    X = RNG.integers(0, 9, shape).astype(dtype)
    reader = ImageReader().fit(X)
    assert reader.image_shape_ == shape[1:]
    assert np.shares_memory(reader.transform(X), X)
    assert_array_equal(reader.transform(list(X)), X)
    assert len(reader.get_feature_names_out()) == np.prod(shape[1:])


def test_memory_maps_and_lazy_files_pass_through(files, tmp_path):
    X = ImageReader(8).fit_transform(files)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert ImageReader(8).fit(mapped).transform(mapped) is mapped
    lazy = ImageReader(8, lazy=True).fit_transform(files)
    assert ImageReader().fit(lazy).transform(lazy) is lazy


def test_a_reader_fitted_on_arrays_reads_files(files):
    X = ImageReader(8, fit_mode="pad").fit_transform(files)
    reader = ImageReader(8, fit_mode="pad").fit(X)
    assert_array_equal(reader.transform(files), X)
    with pytest.raises(ValueError, match=r"uint8 values, not float64\)"):
        ImageReader(8).fit(X / 255).transform(files)
    with pytest.raises(ValueError, match="size=9, but the images of the fit have 8 x"):
        ImageReader(9).fit(X)
    with pytest.raises(ValueError, match="color='grey' stands for 1 channels"):
        ImageReader(color="grey").fit(X)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("a.png", r"X is 'a\.png', a single file; pass a list of files"),
        (pathlib.Path("a.png"), "X is a PosixPath, a single file"),
        (["a.png", None], r"X holds files, but X\[1\] is None"),
        (["no.png", b""], r"2 of 2 files could not be read: no\.png \(No such file"),
        ([b"text"], r"X\[0\] \(not an image that Pillow knows\)"),
        ([], "minimum of 1 is required"),
    ],
)
def test_what_it_does_not_take(given, message, fitted):
    reader = fitted["read"]
    for use in (ImageReader().fit, reader.transform):
        if given == [] and use is not reader.transform:
            continue
        with pytest.raises(ValueError, match=message):
            use(given)


def test_images_of_another_shape(files, fitted):
    with pytest.raises(ValueError, match=r"expects arrays of shape \(n, 8, 8, 3\)"):
        fitted.predict(np.zeros((2, 9, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"pass X\[np\.newaxis\]"):
        fitted.predict(np.zeros((8, 8, 3), np.uint8))
    same = ImageReader().fit(files[:1])
    with pytest.raises(ValueError, match=r"01\.png \(has 11 x 14 pixels .*not 10 x"):
        same.transform(files)
    rows = ImageReader().fit(np.zeros((4, 5)))
    with pytest.raises(ValueError, match="fitted on rows of 5 values, so it cannot"):
        rows.transform(files)


def test_parameters_are_checked_before_a_file_is_read(files):
    for options in ({"fit_mode": "cover"}, {"size": (1, 2, 3)}, {"lazy": "yes"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            ImageReader(**options).fit(["no file"])
    reader = ImageReader(8).fit(files).set_params(size=9)
    with pytest.raises(ValueError, match="size=9, but the images of the fit have 8"):
        reader.transform(files)


def test_lazy_output_is_decoded_when_it_is_sliced(files, monkeypatch):
    eager = ImageReader(8, lazy=False).fit_transform(files)
    lazy = ImageReader(8, lazy=True).fit_transform(files)
    assert lazy.shape == eager.shape
    assert_array_equal(lazy[3:7], eager[3:7])
    assert isinstance(ImageReader(8).fit_transform(files), np.ndarray)
    monkeypatch.setattr(
        "skdmn.data.reader.working_memory", lambda: 4 * eager.nbytes - 4
    )
    assert not isinstance(ImageReader(8).fit_transform(files), np.ndarray)


# as a step


def test_a_model_takes_files_and_images_alike(files, fitted):
    X = fitted["read"].transform(files)
    assert_array_equal(fitted.predict(files), LABELS)
    assert_array_equal(fitted.predict_proba(X), fitted.predict_proba(files))
    assert_array_equal(fitted.predict_proba(files[:1]), fitted.predict_proba(X[:1]))
    on_images = model().fit(X, LABELS)
    assert_array_equal(on_images.predict_proba(files), fitted.predict_proba(files))
    lazily = model(lazy=True).fit(files, LABELS)
    assert_array_equal(lazily.predict_proba(files), fitted.predict_proba(files))
    layers = make_pipeline(ImageReader(8), ClassPCAPatchTransformer(n_filters=3))
    assert layers.fit(files, LABELS).transform(files).shape[:3] == (12, 6, 6)
    assert list(layers.get_feature_names_out()[:1]) == ["y0_x0_f0"]
    assert_array_equal(cross_val_score(model(), np.array(files), LABELS, cv=2), [1, 1])


def test_saved_models_prepare_files_as_before(files, fitted):
    expected = fitted.predict_proba(files)
    assert_array_equal(
        pickle.loads(pickle.dumps(fitted)).predict_proba(files), expected
    )
    data = skops.io.dumps(fitted)
    loaded = skops.io.loads(data, trusted=TRUSTED_TYPES)
    assert_array_equal(loaded.predict_proba(files), expected)
    assert loaded["read"].describe() == fitted["read"].describe()


def test_exports_leave_the_reader_out_and_say_what_it_did(files, fitted):
    onnxruntime = pytest.importorskip("onnxruntime")
    X, expected = fitted["read"].transform(files), fitted.predict_proba(files)
    written = to_onnx(fitted, files[:1])
    assert written == to_onnx(fitted, X[:1])
    session = onnxruntime.InferenceSession(
        written.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(["probabilities"], {"X": X})
    assert_allclose(found, expected, atol=1e-5)
    told = {prop.key: json.loads(prop.value) for prop in written.metadata_props}
    assert told["classes"] == [0, 1]
    assert told["preparation"] == json.loads(json.dumps(fitted["read"].describe()))
    assert told["preparation"]["size"] == [8, 8]
    steps = "; ".join(told["preparation"]["steps"])
    assert "resize the largest centred part" in steps
    assert "8 x 8 pixels (height x width) by bilinear" in steps
    bare = {prop.key for prop in to_onnx(fitted[1:], X[:1]).metadata_props}
    assert bare == {"input", "values", "classes"}


def test_torch_modules_say_what_the_reader_did(files, fitted):
    torch = pytest.importorskip("torch")
    X = fitted["read"].transform(files)
    module = to_torch(fitted)
    assert module.preparation == fitted["read"].describe()
    images = torch.tensor(np.moveaxis(X, 3, 1), dtype=torch.float32)
    found = torch.softmax(module(images), 1).numpy()
    assert_allclose(found, fitted.predict_proba(files), atol=1e-5)


def test_skl2onnx_passes_images_through_it(files, fitted):
    skl2onnx, onnxruntime = map(pytest.importorskip, ("skl2onnx", "onnxruntime"))
    register_converters()
    X = fitted["read"].transform(files).astype(np.float32)
    written = skl2onnx.to_onnx(fitted, X[:1], options={"zipmap": False})
    session = onnxruntime.InferenceSession(
        written.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = session.run(None, {session.get_inputs()[0].name: X})[1]
    assert_allclose(found, fitted.predict_proba(files), atol=1e-5)


def test_without_pillow_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match=r"needs Pillow.*\[images\]"):
        ImageReader().fit(["a.png"])
    ImageReader().fit(np.zeros((2, 5, 6)))
