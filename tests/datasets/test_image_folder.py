"""Folders and tables of image files, eager and lazy."""

import os
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.pipeline import make_pipeline

from skdmn import (
    ClassPCAPatchTransformer,
    DensityMatrixNetwork,
    ImageReader,
    SoftmaxClassifier,
)
from skdmn.data import pictures
from skdmn.datasets import ImageFolder, load_image_folder

Image = pytest.importorskip("PIL.Image", reason="needs Pillow")
tifffile = pytest.importorskip("tifffile", reason="needs tifffile")

RNG = np.random.default_rng(0)


def save(path, image, **options):
    """Save an array or a Pillow image; make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    image.save(path, **options)
    return path


def noise(height=10, width=8, *channels):
    return RNG.integers(0, 256, (height, width, *channels), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Ten classes' worth of nothing: two classes, five images each, two sizes."""
    for name, level in (("day", 150), ("night", 0)):
        for number in range(5):
            size = (12, 9, 3) if number % 2 else (10, 14, 3)
            image = (RNG.integers(0, 100, size) + level).astype(np.uint8)
            save(tmp_path / name / f"{number}.png", image)
    return tmp_path


def read(folder, **options):
    return load_image_folder(folder, on_error="raise", **options)


def only(tmp_path, image, **options):
    """Return an image that was saved as a file, as it is loaded."""
    suffix = options.pop("suffix", ".png")
    saved = options.pop("saved", {})
    save(tmp_path / "class" / f"image{suffix}", image, **saved)
    (found,) = read(tmp_path, **options).images
    return found


# what a folder holds


def test_classes_are_subfolders_in_order(folder):
    save(folder / "day" / "deeper" / "still" / "x.png", noise(9, 9, 3))
    data = read(folder, size=(6, 5))
    assert data.target_names == ["day", "night"]
    assert_array_equal(data.target, [0] * 6 + [1] * 5)
    assert (data.images.shape, data.images.dtype) == ((11, 6, 5, 3), np.uint8)
    relative = [os.path.relpath(name, folder) for name in data.filenames]
    assert relative == sorted(relative)
    assert relative[5] == os.path.join("day", "deeper", "still", "x.png")
    assert data.images[:6].mean() > data.images[6:].mean() + 100
    X, y = read(folder, size=(6, 5), return_X_y=True)
    assert_array_equal(X, data.images)
    assert_array_equal(y, data.target)


def test_what_systems_leave_behind_is_ignored(folder):
    expected = read(folder, size=8)
    for name in (".DS_Store", "day/._0.png", "day/Thumbs.db", "__MACOSX/x/0.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"nothing")
    found = read(folder, size=8)
    assert_array_equal(found.filenames, expected.filenames)


def test_files_that_cannot_be_used_are_in_one_warning(folder):
    expected = load_image_folder(folder, size=8)
    (folder / "day" / "notes.txt").write_text("not an image")
    (folder / "night" / "empty.jpg").write_bytes(b"")
    (folder / "empty").mkdir()
    save(folder / "loose.png", noise())
    whole = save(folder / "day" / "2a.jpg", noise(60, 60, 3)).read_bytes()
    (folder / "day" / "2a.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.warns(UserWarning, match="5 of 15 files cannot be used") as warned:
        data = load_image_folder(folder, size=8)
    assert len(warned) == 1
    names = ["loose.png", "empty/", "day/notes.txt", "night/empty.jpg", "day/2a.jpg"]
    assert sorted(name for name, _ in data.unreadable) == sorted(names)
    for name in names:
        assert name in str(warned[0].message)
    assert warned[0].filename == __file__
    assert_array_equal(data.images, expected.images)
    assert_array_equal(data.filenames, expected.filenames)
    with pytest.raises(ValueError, match=r"4 of 15 files cannot be used: .*notes\.txt"):
        read(folder, size=8)  # before a file is decoded
    with pytest.warns(UserWarning, match="5 of 15"):
        lazy = ImageFolder(folder, size=8, check=True)
    assert_array_equal(lazy[:], expected.images)
    with pytest.warns(UserWarning, match="4 of 15"):
        lazy = ImageFolder(folder, size=8)
    with pytest.raises(ValueError, match=r"1 of 11 files could not be read: .*2a\.jpg"):
        lazy[:]
    with pytest.warns(UserWarning, match="2 of 12"):  # of the suffixes that are asked
        assert len(ImageFolder(folder, size=8, extensions=["PNG"])) == 10


def test_a_class_whose_files_are_all_damaged_is_no_class(folder):
    path = save(folder / "zebra" / "0.jpg", noise(60, 60, 3))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.warns(UserWarning, match="1 of 11"):
        data = load_image_folder(folder, size=8)
    assert data.target_names == ["day", "night"]
    with pytest.raises(ValueError, match=r"1 of 11 files cannot be used: zebra/0\.jpg"):
        read(folder, size=8)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "has no subfolders"),
        (["a.png"], "has no subfolders, so that its images have no labels"),
        (["train/a/1.png", "test/a/1.png"], "are test and train, which are no classes"),
    ],
)
def test_folders_without_classes(tmp_path, files, message):
    for name in files:
        save(tmp_path / name, noise())
    with pytest.raises(ValueError, match=message):
        read(tmp_path)


def test_a_link_to_a_folder_above_ends(folder):
    expected = read(folder, size=8).filenames
    (folder / "day" / "again").symlink_to(folder / "day", target_is_directory=True)
    assert_array_equal(read(folder, size=8).filenames, expected)


# tables


@pytest.mark.parametrize("kind", ["pairs", "csv", "no header", "pandas", "polars"])
def test_tables_of_files_and_labels(folder, kind):
    expected = read(folder, size=8)
    files = [os.path.relpath(name, folder) for name in expected.filenames]
    labels = [["sun", "moon"][code] for code in expected.target]
    options = {"root": folder, "size": 8}
    if kind == "pairs":
        table = list(zip(files, labels, strict=True))
    elif "p" in kind:
        frame = pytest.importorskip(kind).DataFrame(
            {"label": labels, "path": files, "other": labels}
        )
        table, options["columns"] = frame, ("path", "label")
    else:
        table, options["root"] = folder / "table.csv", None
        head = [] if kind == "no header" else ["file,label"]
        lines = [f"{name},{label}" for name, label in zip(files, labels, strict=True)]
        table.write_text("\n".join([*head, *lines]))
    data = read(table, **options)
    assert data.target_names == ["moon", "sun"]
    assert_array_equal(data.target, 1 - expected.target)
    assert_array_equal(data.images, expected.images)
    assert_array_equal(ImageFolder(table, **options)[:], expected.images)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (3, "folder is a int, which is no folder and no table"),
        (["a.png", "b.png"], "pass the name of a folder or of a CSV file"),
        ([("a.png", None)], "Row 0 of the table, a.png, has no label"),
        ([(7, "cat")], "Row 0 of the table has no file name, but 7"),
        ([("a.png", 1), ("b.png", "1")], "no image that can be read"),
    ],
)
def test_tables_that_are_none(table, message):
    with pytest.raises(ValueError, match=message):
        read(table)


def test_a_table_with_more_columns_asks_which(folder):
    (folder / "t.csv").write_text("file,label,split\nday/0.png,day,train\n")
    with pytest.raises(ValueError, match="file, label, split; pass columns="):
        read(folder / "t.csv")
    with pytest.raises(ValueError, match="does not name two columns"):
        read(folder / "t.csv", columns=("file", "class"))
    (folder / "bad.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match=r"bad\.csv is neither a folder nor a CSV"):
        read(folder / "bad.csv")
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        read(folder / "nowhere")


# modes


GREY = noise(6, 7)
COLOR = noise(6, 7, 3)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(GREY), GREY),
        (Image.fromarray(GREY > 99), (GREY > 99) * np.uint8(255)),  # 1 bit
        (Image.fromarray(COLOR), COLOR),
        (Image.fromarray(GREY).convert("P"), GREY),  # a palette of greys
        (Image.fromarray(GREY.astype(np.uint16) * 250), GREY.astype(np.uint16) * 250),
        (Image.fromarray(GREY.astype(np.int32) - 99), GREY.astype(np.int32) - 99),
        (Image.fromarray(GREY / np.float32(7)), GREY / np.float32(7)),
    ],
    ids=["grey", "1 bit", "color", "palette", "16 bits", "32 bits", "float"],
)
def test_values_are_kept(tmp_path, image, expected):
    found = only(tmp_path, image, suffix=".tif")
    assert found.dtype == expected.dtype
    assert_array_equal(found, expected)


def test_palettes_and_cmyk_become_colors(tmp_path):
    flat = Image.new("RGB", (7, 6), (200, 30, 40))
    for n, image in enumerate((flat.quantize(), flat.convert("CMYK"))):
        found = only(tmp_path / str(n), image, suffix=".tif")
        assert found.shape == (6, 7, 3)
        assert_allclose(found[0, 0].astype(int), (200, 30, 40), atol=3)
    jpeg = only(tmp_path / "jpeg", flat.convert("CMYK"), suffix=".jpg")
    assert_allclose(jpeg[0, 0].astype(int), (200, 30, 40), atol=12)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize(
    ("background", "behind"), [("white", 255), ("black", 0), (50, 50)]
)
def test_transparent_pixels_show_the_background(tmp_path, mode, background, behind):
    image = Image.new("RGBA", (4, 3), (90, 90, 90, 255))
    image.putpixel((1, 2), (10, 10, 10, 0))
    saved = {}
    if mode == "P":
        image, saved = Image.new("P", (4, 3), 1), {"transparency": 0}
        image.putpalette([10, 10, 10, 90, 90, 90])
        image.putpixel((1, 2), 0)
    else:
        image = image.convert(mode)
    found = only(tmp_path, image, saved=saved, color="grey", background=background)
    expected = np.full((3, 4), 90)
    expected[2, 1] = behind
    assert_array_equal(found, expected)


def test_colors_if_any_image_has_some(tmp_path):
    save(tmp_path / "a" / "grey.png", GREY)
    save(tmp_path / "a" / "color.png", COLOR)
    data = read(tmp_path)
    assert_array_equal(data.images[0], COLOR)
    assert_array_equal(data.images[1], np.stack([GREY] * 3, axis=2))
    grey = read(tmp_path, color="grey")
    assert_array_equal(grey.images[1], GREY)
    assert_allclose(grey.images[0], COLOR @ [0.299, 0.587, 0.114], atol=1)
    (tmp_path / "a" / "color.png").unlink()
    assert read(tmp_path).images.shape == (1, 6, 7)
    assert read(tmp_path, color="rgb").images.shape == (1, 6, 7, 3)


@pytest.mark.parametrize("planar", ["contig", "separate", "pages"])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_bands_and_pages_of_tiff_files_are_channels(tmp_path, planar, dtype):
    values = (RNG.random((6, 7, 13)) * 1000).astype(dtype)
    path = tmp_path / "class" / "bands.tif"
    path.parent.mkdir()
    if planar == "contig":
        tifffile.imwrite(path, values, photometric="minisblack", planarconfig=planar)
    else:
        pages = {} if planar == "pages" else {"planarconfig": "separate"}
        bands = np.moveaxis(values, 2, 0)
        tifffile.imwrite(path, bands, photometric="minisblack", **pages)
    data = read(tmp_path)
    assert data.images.dtype == dtype
    assert_array_equal(data.images[0], values)
    half = read(tmp_path, size=(3, 7), resampling="box", fit="stretch").images[0]
    mean = values.reshape(3, 2, 7, 13).mean(axis=1)
    assert_allclose(half, mean, atol=0.51 if dtype == np.uint16 else 1e-3)
    assert_array_equal(ImageFolder(tmp_path)[:], data.images)
    with pytest.raises(ValueError, match="color='rgb' converts images of 1 or 3"):
        read(tmp_path, color="rgb")


def test_colors_of_16_bits(tmp_path):
    values = RNG.integers(0, 2**16, (6, 7, 3), dtype=np.uint16)
    path = tmp_path / "class" / "deep.tif"
    path.parent.mkdir()
    tifffile.imwrite(path, values, photometric="rgb")
    assert_array_equal(read(tmp_path).images[0], values)
    eight = read(tmp_path, dtype="uint8").images[0]
    assert_array_equal(eight, np.rint(values / 257).astype(np.uint8))


def test_ranges_are_not_mixed(tmp_path):
    save(tmp_path / "a" / "8.png", GREY)
    save(tmp_path / "a" / "16.png", GREY.astype(np.uint16) * 257)
    with pytest.raises(ValueError, match=r"uint16 \(a/16\.png\), uint8 \(a/8\.png\)"):
        read(tmp_path)
    images = read(tmp_path, dtype="uint8").images
    assert_array_equal(images[0], images[1])
    reader = ImageReader().fit([tmp_path / "a" / "8.png"])
    with pytest.raises(ValueError, match=r"16\.png \(has uint16 values, not uint8\)"):
        reader.transform([str(tmp_path / "a" / "16.png")])


# orientation and size


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "tif", "tifffile"])
def test_images_are_turned_as_exif_says(tmp_path, orientation, kind):
    image = noise(6, 9)
    turned = {
        1: image, 2: image[:, ::-1], 3: image[::-1, ::-1], 4: image[::-1],
        5: image.T, 6: np.rot90(image, -1), 7: np.rot90(image, 2).T,
        8: np.rot90(image),
    }[orientation]  # fmt: skip
    path = tmp_path / "class" / f"image.{kind[:3]}"
    if kind == "tifffile":
        path.parent.mkdir()
        tag = (274, "H", 1, orientation, True)
        pages = np.stack([image, image])
        tifffile.imwrite(path, pages, photometric="minisblack", extratags=[tag])
        turned = np.stack([turned, turned], axis=2)
    else:
        exif = Image.Exif()
        exif[274] = orientation
        save(path, image, exif=exif)
    assert_array_equal(read(tmp_path).images[0], turned)


def ramp(height, width):
    """Return an image whose red goes up to the right, and green downwards."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(width)
    image[..., 1] = np.arange(height)[:, np.newaxis]
    image[..., 2] = 100
    return image


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_crop_pad_and_stretch(tmp_path, suffix):
    image = ramp(100, 200)
    saved = {"saved": {"quality": 100}} if suffix == ".jpg" else {}
    options = {"size": 20, "suffix": suffix, **saved}
    crop = only(tmp_path, image, **options).astype(int)
    assert abs(crop[:, 0, 0].mean() - 52) < 3  # of the middle hundred columns
    assert abs(crop[:, -1, 0].mean() - 147) < 3
    pad = only(tmp_path, image, fit="pad", background=(9, 8, 7), **options)
    assert_array_equal(pad[:5], np.broadcast_to([9, 8, 7], (5, 20, 3)))
    assert_array_equal(pad[15:], np.broadcast_to([9, 8, 7], (5, 20, 3)))
    assert abs(pad[5:15, -1, 0].astype(int).mean() - 195) < 5
    stretch = only(tmp_path, image, fit="stretch", **options).astype(int)
    assert abs(stretch[:, -1, 0].mean() - 195) < 5
    assert abs(stretch[-1, :, 1].mean() - 97) < 4


def test_a_large_jpeg_is_the_same_when_it_is_turned(tmp_path):
    """It is decoded at a fraction of its size, which the orientation must not swap."""
    image = Image.fromarray(noise(20, 30, 3)).resize((900, 600))
    exif = Image.Exif()
    exif[274] = 6
    turned = image.transpose(Image.Transpose.ROTATE_90)
    options = {"quality": 95, "subsampling": 0}
    save(tmp_path / "a" / "0.jpg", image, **options)
    save(tmp_path / "a" / "1.jpg", turned, exif=exif, **options)
    first, second = read(tmp_path, size=(20, 30)).images.astype(int)
    assert abs(first - second).max() <= 3
    assert np.ptp(first) > 100


def test_unequal_sizes_are_refused_with_a_way_out(folder):
    message = (
        r"2 different sizes \(height x width\): 10 x 14 \(day/0\.png\), 12 x 9 "
        r"\(day/1\.png\)\. Pass size=\(height, width\)"
    )
    with pytest.raises(ValueError, match=message):
        read(folder)
    with pytest.raises(ValueError, match="2 different sizes"):
        ImageFolder(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size=0 is not a size"),
        ({"size": (3, 4, 5)}, r"size=\(3, 4, 5\) is not a size"),
        ({"color": "gray"}, "pass 'auto', 'grey' or 'rgb'"),
        ({"fit": "cover"}, "pass 'crop', 'pad' or 'stretch'"),
        ({"resampling": "cubic"}, "resampling='cubic'"),
        ({"background": "red"}, "background='red' is not a background"),
        ({"background": (1, 2)}, "has 2 values, but the images have 3 channels"),
        ({"background": 300}, "out of the range of uint8"),
        ({"dtype": "float"}, "dtype='float'"),
        ({"on_error": "ignore"}, "on_error='ignore'"),
        ({"extensions": ".png"}, "is not a list of extensions"),
        ({"root": "."}, "columns and root are for tables"),
    ],
)
def test_options_that_are_not_valid(folder, options, message):
    with pytest.raises(ValueError, match=message):
        ImageFolder(folder, **{"size": 8, **options})


# lazily


def test_a_lazy_folder_is_the_eager_one(folder):
    data = read(folder, size=(8, 9))
    lazy = ImageFolder(folder, size=(8, 9))
    assert (lazy.shape, lazy.dtype, lazy.ndim) == (data.images.shape, np.uint8, 4)
    assert_array_equal(lazy.target, data.target)
    assert_array_equal(lazy.filenames, data.filenames)
    for some in (slice(2, 7), slice(None, None, 3), 4, -1, [5, 1, 5], data.target == 1):
        assert_array_equal(lazy[some], data.images[some])
    assert_array_equal(lazy[2:4, 1:3, :, 0], data.images[2:4, 1:3, :, 0])
    assert_array_equal(np.asarray(lazy), data.images)
    assert_array_equal(pickle.loads(pickle.dumps(lazy))[3:5], data.images[3:5])
    part = lazy.subset(data.target == 1)
    assert_array_equal(part[1:], data.images[6:])
    assert_array_equal(part.target, [1] * 5)
    assert_array_equal(part.filenames, data.filenames[5:])
    with pytest.raises(IndexError):
        lazy[10]


def layers():
    layer = ClassPCAPatchTransformer(n_filters=3, subsample=0.5, random_state=0)
    return [("conv", layer)]


def test_networks_and_dask_read_it(folder, tmp_path):
    da = pytest.importorskip("dask.array")
    data, lazy = read(folder, size=(8, 9)), ImageFolder(folder, size=(8, 9))
    expected = DensityMatrixNetwork(layers(), batch_size=4).fit(
        data.images, data.target
    )
    ours = DensityMatrixNetwork(layers(), batch_size=4).fit(lazy, lazy.target)
    features = expected.transform(data.images)
    assert_array_equal(ours.transform(lazy), features)
    written = ours.lazy_features(lazy).write(tmp_path / "features.npy")
    assert_array_equal(written, features)
    blocks = da.from_array(lazy, chunks=(4, -1, -1, -1))
    assert_array_equal(blocks.compute(), data.images)
    direct = SoftmaxClassifier(C=0.1).fit(lazy, lazy.target)
    assert direct.score(lazy, lazy.target) == 1


def test_few_files_are_decoded_at_once(folder, monkeypatch):
    """A batch, and a file for each thread; of a subsample, no other files."""
    lazy = ImageFolder(folder, size=8)
    asked, decode = [], ImageFolder.decoded

    def counted(self, rows):
        asked.append(len(rows))
        return decode(self, rows)

    monkeypatch.setattr(ImageFolder, "decoded", counted)
    network = DensityMatrixNetwork(layers(), batch_size=2).fit(lazy, lazy.target)
    assert max(asked) <= 2
    assert sum(asked) == 5 + 1  # half of the images, rounded up for each class
    asked.clear()
    network.transform(lazy)
    assert asked == [2] * 5
    held = []
    original = pictures.read_image

    def one(file, prepared):
        held.append(1)
        try:
            assert len(held) <= pictures.n_threads()
            return original(file, prepared)
        finally:
            held.pop()

    monkeypatch.setattr(pictures, "read_image", one)
    assert len(lazy[:]) == 10


def test_models_prepare_new_files_as_those_of_the_training(folder):
    data = read(folder, size=8, fit="pad", resampling="bicubic")
    model = make_pipeline(data.reader, SoftmaxClassifier(C=0.1))
    model.fit(data.images, data.target)
    files = list(data.filenames)
    assert_array_equal(model.predict_proba(files), model.predict_proba(data.images))
    assert_array_equal(data.reader.transform(files), data.images)
