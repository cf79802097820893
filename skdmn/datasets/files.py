"""Names and formats of the official files of MNIST, Fashion-MNIST and CIFAR.

The formats are IDX, https://yann.lecun.com/exdb/mnist/, and the binary version of
CIFAR, https://www.cs.toronto.edu/~kriz/cifar.html. The size of a file is checked after
its first piece is read, and the contents before an array is made. Pickles are never
loaded.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skdmn.datasets.reading import (
    PIECE,
    Files,
    limit,
    read_archive,
    read_folder,
)

Bytes = NDArray[np.uint8]

CIFAR_SHAPE = (3, 32, 32)
_LISTED = 8  # largest number of names in the message about missing files
_LARGEST_LIST = 2**16  # largest size in bytes of a file of class names


class Labels(NamedTuple):
    """Class names of a set of labels, and the official file that lists them."""

    names: tuple[str, ...]
    file: str = ""


@dataclass(frozen=True)
class DataSet:
    """Description of a data set and of its files.

    ``files`` are the files of each subset, in official order. ``labels`` are in the
    order of the label bytes of a CIFAR record. ``shape`` is the shape of an image in a
    row of OpenML. ``folders`` are subfolders of ``data_home`` that are searched;
    ``unpacked`` is a subfolder of each of them and of ``data_home``. ``balanced`` is
    True if the training set has the same number of images of each class.
    """

    title: str
    shape: tuple[int, ...]
    files: Mapping[str, tuple[str, ...]]
    folders: tuple[str, ...]
    unpacked: str
    labels: tuple[Labels, ...]
    n_train: int
    n_test: int
    openml_id: int
    about: str
    balanced: bool = True
    archive: str = ""
    pickles: tuple[str, ...] = ()

    def required(self, subset: str) -> list[str]:
        """Return the official names of the files of a subset."""
        parts = self.files if subset == "all" else (subset,)
        return [name for part in parts for name in self.files[part]]

    def official(self, subset: str) -> str:
        """Return the names of the files of a subset for an error message."""
        container = f"in a folder or {self.archive}" if self.archive else "plain or .gz"
        return f"{', '.join(self.required(subset))} ({container})"

    def largest(self, where: str, name: str, head: bytes) -> int:
        """Return the largest size in bytes that a file may have.

        It is the size in the header of an IDX file, and the official size of a CIFAR
        file. ``head`` is the beginning of the file.

        Raises
        ------
        ValueError
            If the file does not begin with the header that its name implies.
        """
        if self.shape != CIFAR_SHAPE:
            shape = idx_shape(where, head, n_dims=1 if "idx1" in name else 3)
            # one piece more, so that an error message can state the actual size
            return min(math.prod(shape) + PIECE, limit())
        record = len(self.labels) + math.prod(CIFAR_SHAPE)
        sizes = {"train": self.n_train, "test": self.n_test}
        for subset, names in self.files.items():
            if name in names:
                return sizes[subset] // len(names) * record
        return _LARGEST_LIST


_DIGITS = tuple("0123456789")
_CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_CIFAR10_NAMES = """
airplane automobile bird cat deer dog frog horse ship truck
"""
_FINE_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach
couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster
house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road
rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip
turtle wardrobe whale willow_tree wolf woman worm
"""
_COARSE_NAMES = """
aquatic_mammals fish flowers food_containers fruit_and_vegetables
household_electrical_devices household_furniture insects large_carnivores
large_man-made_outdoor_things large_natural_outdoor_scenes
large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people reptiles
small_mammals trees vehicles_1 vehicles_2
"""
_IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
MNIST = DataSet(
    title="MNIST",
    shape=(28, 28),
    files=_IDX_FILES,
    folders=("mnist", "MNIST"),
    unpacked="raw",
    labels=(Labels(_DIGITS),),
    n_train=60_000,
    n_test=10_000,
    openml_id=554,
    balanced=False,
    about="Handwritten digits, 28 x 28 pixels (LeCun, Cortes, Burges): "
    "https://yann.lecun.com/exdb/mnist/",
)
FASHION_MNIST = DataSet(
    title="Fashion-MNIST",
    shape=(28, 28),
    files=_IDX_FILES,
    folders=("fashion-mnist", "fashion_mnist", "FashionMNIST"),
    unpacked="raw",
    labels=(Labels(_CLOTHES),),
    n_train=60_000,
    n_test=10_000,
    openml_id=40996,
    about="Images of clothes, 28 x 28 pixels (Xiao, Rasul, Vollgraf): "
    "https://github.com/zalandoresearch/fashion-mnist",
)
CIFAR10 = DataSet(
    title="CIFAR-10",
    shape=CIFAR_SHAPE,
    files={
        "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        "test": ("test_batch.bin",),
    },
    folders=("cifar10", "cifar-10", "CIFAR10"),
    unpacked="cifar-10-batches-bin",
    labels=(Labels(tuple(_CIFAR10_NAMES.split()), "batches.meta.txt"),),
    n_train=50_000,
    n_test=10_000,
    openml_id=40927,
    about="Small colour images of ten classes, 32 x 32 pixels (Krizhevsky): "
    "https://www.cs.toronto.edu/~kriz/cifar.html",
    archive="cifar-10-binary.tar.gz",
    pickles=(
        "data_batch_1",
        "test_batch",
        "cifar-10-batches-py/data_batch_1",
        "cifar-10-batches-py/test_batch",
        "cifar-10-python.tar.gz",
    ),
)
CIFAR100 = DataSet(
    title="CIFAR-100",
    shape=CIFAR_SHAPE,
    files={"train": ("train.bin",), "test": ("test.bin",)},
    folders=("cifar100", "cifar-100", "CIFAR100"),
    unpacked="cifar-100-binary",
    labels=(
        Labels(tuple(_COARSE_NAMES.split()), "coarse_label_names.txt"),
        Labels(tuple(_FINE_NAMES.split()), "fine_label_names.txt"),
    ),
    n_train=50_000,
    n_test=10_000,
    openml_id=41983,
    about="Small colour images of a hundred classes in twenty groups, "
    "32 x 32 pixels (Krizhevsky): https://www.cs.toronto.edu/~kriz/cifar.html",
    archive="cifar-100-binary.tar.gz",
    pickles=(
        "train",
        "test",
        "cifar-100-python/train",
        "cifar-100-python/test",
        "cifar-100-python.tar.gz",
    ),
)


def find_files(
    home: Path, data: DataSet, subset: str, optional: Sequence[str] = ()
) -> Files:
    """Read the files of a subset from the first place that has all of them.

    Places are ``home``, some of its subfolders, and archives in these.
    """
    required = data.required(subset)
    bases = [home / name for name in (*data.folders, ".")]
    inside = (data.unpacked, ".", data.archive or ".")
    places = [base / name for base in bases for name in inside]
    pickles = [base / name for base in bases for name in data.pickles]
    if home.is_file():
        places, pickles = ([], [home]) if home.name in data.pickles else ([home], [])
        if not data.archive:
            raise ValueError(
                f"data_home must be the folder with the files of {data.title}, got the "
                f"file {home}."
            )
    best, missing = home, required
    for backend in places:
        names = [*required, *optional]
        if backend.is_file():  # of CIFAR, whose official sizes bound all files
            files = read_archive(backend, names, data.largest)
        else:
            check = partial(_check_memory, backend, subset)
            files = read_folder(backend, names, data.largest, check)
        absent = [name for name in required if name not in files]
        if not absent:
            return files
        if len(absent) < len(missing):
            best, missing = backend, absent
    pickled = next((path for path in pickles if path.is_file()), None)
    if pickled and len(missing) == len(required):
        raise FileNotFoundError(
            f"{pickled} belongs to the Python version of {data.title}, which consists "
            "of pickles and is never loaded; download the binary version, "
            f"{data.archive}."
        )
    raise FileNotFoundError(
        f"{best} has no {' and no '.join(missing)}; expected the official files of "
        f"{data.title} for subset={subset!r}: {data.official(subset)}"
        f"{_contents(best)}."
    )


def _contents(place: Path) -> str:
    """Return the names in a folder, for an error message."""
    if not place.is_dir():
        return ""
    names = sorted(f"{p.name}{'/' * p.is_dir()}" for p in place.iterdir())
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"; {place} contains {', '.join(names[:_LISTED]) or 'nothing'}{more}"


def _check_memory(where: Path, subset: str, sizes: Mapping[str, int]) -> None:
    """Raise ValueError if files and the arrays that are made of them are too large."""
    total = sum(sizes.values())
    n_labels = sum(size for name, size in sizes.items() if "idx1" in name)
    needed = total + 8 * n_labels  # labels become int64
    if subset == "all":
        needed += total  # training and test images are copied to one array
    if needed > limit():
        mib, most = -(-needed // 2**20), limit() // 2**20
        others = "load subset='train' and subset='test' separately, or "
        raise ValueError(
            f"{where} has files of {total / 2**20:,.0f} MiB for subset={subset!r}, "
            f"which take {mib:,} MiB of memory as arrays, more than the {most:,} MiB "
            f"that a call may take; {others * (subset == 'all')}raise the limit with "
            f"sklearn.set_config(working_memory={mib}), if you trust the files."
        )


def idx_shape(where: str, data: bytes | bytearray, n_dims: int) -> tuple[int, ...]:
    """Return the shape in the header of an IDX file with n_dims dimensions."""
    magic, start = bytes([0, 0, 8, n_dims]), 4 + 4 * n_dims
    if data[:3] != magic[:3]:
        raise ValueError(
            f"{where} begins with {data[:4].hex(' ') or 'nothing'}, expected "
            f"{magic.hex(' ')}, the first bytes of an IDX file of unsigned bytes."
        )
    if data[3:4] != magic[3:]:
        found = data[3] if len(data) > 3 else "missing"
        raise ValueError(f"{where}: the number of dimensions is {found}, not {n_dims}.")
    if len(data) < start:
        raise ValueError(
            f"{where} has {len(data)} bytes, expected a header of {start} bytes."
        )
    return struct.unpack_from(f">{n_dims}I", data, 4)


def parse_idx(where: str, data: bytearray, n_dims: int) -> Bytes:
    """Return the array of unsigned bytes in an IDX file with n_dims dimensions."""
    shape, start = idx_shape(where, data, n_dims), 4 + 4 * n_dims
    size = math.prod(shape)
    if not size or len(data) - start != size:
        raise ValueError(
            f"{where} has {len(data) - start:,} bytes after its header, expected "
            f"{' x '.join(map(str, shape))} = {size:,}{'' if size else ', but not 0'}."
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def parse_cifar(where: str, data: bytearray, labels: Sequence[Labels]) -> Bytes:
    """Return the records of a CIFAR file, of shape (n, label bytes + 3072)."""
    record = len(labels) + math.prod(CIFAR_SHAPE)
    if not data or len(data) % record:
        raise ValueError(
            f"{where} has {len(data):,} bytes, expected one or more records of "
            f"{record:,} bytes."
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, record)
    for column, (names, _) in enumerate(labels):
        check_labels(where, records[:, column], len(names))
    return records


def parse_names(where: str, data: bytearray, n_classes: int) -> tuple[str, ...]:
    """Return the class names in a text file with one name per line."""
    lines = data.decode("utf-8", "replace").splitlines()
    names = tuple(line.strip() for line in lines if line.strip())
    if len(names) != n_classes:
        raise ValueError(f"{where} has {len(names)} class names, expected {n_classes}.")
    return names


def check_labels(where: str, labels: NDArray[np.integer], n_classes: int) -> None:
    """Raise ValueError if a label is not between 0 and n_classes - 1."""
    wrong = labels[(labels < 0) | (labels >= n_classes)]
    if wrong.size:
        raise ValueError(
            f"{where} has the label {wrong[0]}, expected 0 to {n_classes - 1}."
        )


def read_idx(files: Files, data: DataSet, subset: str) -> tuple[Bytes, Bytes]:
    """Return the images and the labels, of shape (n, 1), of a subset in IDX files."""
    names = data.required(subset)
    all_images: list[Bytes] = []
    all_labels: list[Bytes] = []
    for images_name, labels_name in zip(names[::2], names[1::2], strict=True):
        images = parse_idx(*files[images_name], n_dims=3)
        labels = parse_idx(*files[labels_name], n_dims=1)
        images_at, labels_at = files[images_name][0], files[labels_name][0]
        if len(images) != len(labels):
            raise ValueError(
                f"{labels_at} has {len(labels):,} labels, expected {len(images):,}, "
                f"one for each image in {images_at}."
            )
        check_labels(labels_at, labels, len(data.labels[0].names))
        all_images.append(images)
        all_labels.append(labels)
        if images.shape[1:] != all_images[0].shape[1:]:
            raise ValueError(
                f"{images_at} has images of shape {images.shape[1:]}, expected "
                f"{all_images[0].shape[1:]} as in {files[names[0]][0]}."
            )
    if len(all_images) > 1:
        images, labels = np.concatenate(all_images), np.concatenate(all_labels)
    return images, labels[:, np.newaxis]


def read_cifar(files: Files, data: DataSet, subset: str) -> tuple[Bytes, Bytes]:
    """Return the images and the label bytes, of shape (n, kinds), of CIFAR files."""
    kinds = len(data.labels)
    batches = [parse_cifar(*files[n], data.labels) for n in data.required(subset)]
    images = channels_last([records[:, kinds:] for records in batches])
    return images, np.concatenate([records[:, :kinds] for records in batches])


def channels_last(batches: Sequence[Bytes]) -> Bytes:
    """Convert rows of red, green and blue planes to images of shape (n, 32, 32, 3)."""
    channels, *size = CIFAR_SHAPE
    images = np.empty((sum(map(len, batches)), *size, channels), np.uint8)
    end = 0
    for rows in batches:
        start, end = end, end + len(rows)
        images[start:end] = np.moveaxis(rows.reshape(-1, *CIFAR_SHAPE), 1, -1)
    return images
