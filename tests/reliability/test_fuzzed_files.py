"""Files from strangers: loaded as they are, or refused in a sentence, in little memory.

Whoever wrote a file may have cut it off, changed bytes of it, or made it to do harm.
"""

import gzip
import io
import os
import re
import struct
import tarfile
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn import config_context

from skdmn.datasets import load_cifar10, load_cifar100, load_mnist, reading
from skdmn.datasets.files import CIFAR10, parse_names

MIB = 2**20
FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
fuzzed = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def record(*labels):
    return bytes(labels) + bytes(range(256)) * 12


def archive(members, form=tarfile.GNU_FORMAT):
    """Return a tar.gz of (name or TarInfo, content)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=form) as written:
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = info.size or len(content)
            written.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zeros(n_mib, head=b""):
    """Return some hundred kilobytes that unzip to so many mebibytes."""
    return gzip.compress(head) + gzip.compress(bytes(MIB)) * n_mib


MNIST_TEST = {
    IMAGES: idx(np.arange(2 * 9 * 7).reshape(2, 9, 7)),
    LABELS: idx(np.ones(2)),
}
CIFAR_TEST = [("cifar-10-batches-bin/test_batch.bin", record(3) + record(9))]
CASES = {
    "idx": (load_mnist, MNIST_TEST),
    "idx.gz": (
        load_mnist,
        {f"{name}.gz": gzip.compress(MNIST_TEST[name]) for name in MNIST_TEST},
    ),
    "cifar10": (load_cifar10, {"test_batch.bin": record(3) + record(9)}),
    "cifar100": (load_cifar100, {"test.bin": record(19, 99)}),
    "cifar10.tar.gz": (load_cifar10, {"cifar-10-binary.tar.gz": archive(CIFAR_TEST)}),
}


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def refused(load, folder, *words, error=ValueError, subset="test", most=8 * MIB):
    """Check that a file is refused in one sentence, and that little memory is taken."""
    tracemalloc.start()
    try:
        with pytest.raises(error) as caught:
            load(subset, data_home=folder)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert_one_sentence(str(caught.value))
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert peak < most


def assert_one_sentence(message):
    assert message.endswith(".")
    assert not re.search(r"\. |\n", message)


# any damage


@st.composite
def damages(draw, contents):
    """Return what is left of a file after some of: a cut, an insertion, other bytes."""
    damaged = bytearray(contents)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(damaged)))
        kind = draw(st.sampled_from(["cut", "insert", "change", "header", "repeat"]))
        if kind == "cut":
            del damaged[at : at + draw(st.integers(1, 4096))]
        elif kind == "insert":
            damaged[at:at] = draw(st.binary(min_size=1, max_size=40))
        elif kind == "repeat":
            damaged += damaged[at:]
        else:
            at = at % 24 if kind == "header" else at
            some = draw(st.binary(min_size=1, max_size=8))
            damaged[at : at + len(some)] = some
    return bytes(damaged)


@pytest.mark.parametrize("case", CASES)
@fuzzed
@given(data=st.data())
def test_a_damaged_file_is_loaded_or_refused_in_a_sentence(tmp_path, case, data):
    load, files = CASES[case]
    name = data.draw(st.sampled_from(sorted(files)))
    write(tmp_path, files | {name: data.draw(damages(files[name]))})
    try:
        X, y = load("test", data_home=tmp_path)
    except (ValueError, FileNotFoundError) as error:
        message = str(error)
        assert_one_sentence(message)
        assert str(tmp_path) in message
    else:
        assert (X.dtype, y.dtype) == (np.uint8, np.int64)
        assert len(X) == len(y) > 0
        assert y.max() < 100


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "content", [b"", b"\0", bytes(511), b"\x1f\x8b", b"\0\0\x08\3"]
)
def test_a_file_of_almost_nothing_is_refused(tmp_path, case, content):
    load, files = CASES[case]
    for name in files:
        folder = write(tmp_path / name, files | {name: content})
        refused(load, folder, str(folder))


def test_the_files_that_are_damaged_here_are_loaded_whole(tmp_path):
    for case, (load, files) in CASES.items():
        X, y = load("test", data_home=write(tmp_path / case, files))
        assert len(X) == len(y) == {"cifar100": 1}.get(case, 2)


# sizes


@pytest.mark.parametrize("name", [IMAGES, LABELS])
def test_a_bomb_behind_an_idx_header_is_read_no_further_than_it_says(tmp_path, name):
    files = MNIST_TEST | {f"{name}.gz": zeros(100, head=MNIST_TEST[name])}
    del files[name]
    refused(load_mnist, write(tmp_path, files), name, "more than")


@pytest.mark.parametrize("shape", [(2**32 - 1,) * 3, (2**31, 1, 1), (1, 2**20, 2**20)])
def test_an_idx_header_that_lies_takes_no_memory(tmp_path, shape):
    lie = b"\0\0\x08\3" + struct.pack(">3I", *shape) + bytes(99)
    folder = write(tmp_path, MNIST_TEST | {IMAGES: lie})
    refused(load_mnist, folder, IMAGES, "has 99 bytes after its header")
    folder = write(tmp_path, MNIST_TEST | {IMAGES: lie[:4] + bytes(12) + bytes(99)})
    refused(load_mnist, folder, "0 x 0 x 0 = 0, but not 0")


def test_what_does_not_begin_as_idx_is_not_read_on(tmp_path):
    files = MNIST_TEST | {f"{IMAGES}.gz": zeros(100)}
    del files[IMAGES]
    refused(load_mnist, write(tmp_path, files), "begins with 00 00 00 00")


@pytest.mark.parametrize("name", [IMAGES, "test_batch.bin"])
def test_a_plain_file_of_20_gb_is_refused_at_its_first_pieces(tmp_path, name):
    load = load_mnist if name == IMAGES else load_cifar10
    folder = write(tmp_path, MNIST_TEST | {name: MNIST_TEST.get(name, b"")})
    os.truncate(folder / name, 20 * 10**9)  # sparse: it takes no space
    # a CIFAR batch has its official size before it is too long
    refused(load, folder, name, "more than", most=40 * MIB)


def test_a_bomb_of_cifar_records_is_read_no_further_than_the_official_size(tmp_path):
    folder = write(tmp_path, {"test_batch.bin.gz": zeros(100)})
    refused(load_cifar10, folder, "more than 30,730,000 bytes", most=40 * MIB)
    head = zeros(100, head=tarfile.TarInfo("test_batch.bin").tobuf())
    info = tarfile.TarInfo("test_batch.bin")
    info.size = 100 * MIB
    bomb = gzip.compress(info.tobuf()) + head
    folder = write(tmp_path / "archive", {"cifar-10-binary.tar.gz": bomb})
    refused(load_cifar10, folder, "test_batch.bin in ", "30,730,000", most=40 * MIB)


def test_official_sizes_are_not_too_long():
    head = record(0)
    for name in CIFAR10.required("all"):
        assert CIFAR10.largest("file", name, head) == 10_000 * 3073
    assert CIFAR10.largest("file", "batches.meta.txt", b"airplane\n") < MIB
    assert CIFAR10.largest("file", "batches.meta.txt", b"airplane\n") > 61


def test_an_archive_that_never_ends_is_read_no_further_than_a_limit(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(reading, "LARGEST_FILE", 4 * MIB)
    content = archive(CIFAR_TEST) + zeros(100)
    folder = write(tmp_path, {"cifar-10-binary.tar.gz": content})
    with config_context(working_memory=0):
        refused(load_cifar10, folder, "more than 4,194,304 bytes after unzipping")


def images_of_one_pixel(n_mib, *parts):
    """Return files of 2**20 n_mib images of one pixel, some hundred kilobytes each."""
    n = n_mib * MIB
    shapes = {"images-idx3-ubyte": (n, 1, 1), "labels-idx1-ubyte": (n,)}
    return {
        f"{part}-{name}.gz": zeros(
            n_mib,
            head=bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape),
        )
        for part in parts
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize(
    ("subset", "parts", "n_mib", "needed"),
    [("train", ["train"], 110, 1100), ("all", ["train", "t10k"], 55, 1320)],
)
def test_files_that_are_too_large_together_are_refused_unread(
    tmp_path, subset, parts, n_mib, needed
):
    """Pixels and labels take a byte each, and labels as integers another eight."""
    folder = write(tmp_path, images_of_one_pixel(n_mib, *parts))
    assert sum(path.stat().st_size for path in folder.iterdir()) < MIB
    words = (
        str(folder),
        f"files of {2 * (n_mib + 1) * len(parts)} MiB",  # and one piece each
        "more than the 1,024 MiB that a call may take",
        "set_config(working_memory=1",
    )
    refused(load_mnist, folder, *words, subset=subset)
    with pytest.raises(ValueError, match=r"working_memory=(\d+)") as caught:
        load_mnist(subset, data_home=folder)
    asked = int(re.search(r"working_memory=(\d+)", str(caught.value))[1])
    assert needed <= asked < needed + 30
    assert ("subset='test' separately" in str(caught.value)) == (subset == "all")


def test_the_limit_can_be_raised_and_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "LARGEST_FILE", 4 * MIB)
    folder = write(tmp_path, images_of_one_pixel(2, "train", "t10k"))
    with config_context(working_memory=0):
        refused(load_mnist, folder, "than the 4 MiB", subset="all")
        with pytest.raises(ValueError, match="working_memory=") as caught:
            load_mnist("all", data_home=folder)
    asked = int(re.search(r"working_memory=(\d+)", str(caught.value))[1])
    tracemalloc.start()
    with config_context(working_memory=asked):
        X, y = load_mnist("all", data_home=folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert X.shape == (4 * MIB, 1, 1)
    assert len(y) == 4 * MIB
    assert peak < asked * MIB


def test_a_list_of_names_is_short(tmp_path):
    files = {"test_batch.bin": record(3), "batches.meta.txt.gz": zeros(20)}
    with pytest.raises(ValueError, match="more than 65,536 bytes"):
        load_cifar10("test", data_home=write(tmp_path, files), return_X_y=False)


@given(st.binary(max_size=300))
def test_any_bytes_as_names_are_names_or_refused(content):
    try:
        names = parse_names("file", bytearray(content), 2)
    except ValueError as error:
        assert_one_sentence(str(error))
    else:
        assert len(names) == 2


# archives


def header(name="test_batch.bin", kind=b"0", size=b"00000006002", **fields):
    """Return a tar header as a stranger may write it: its checksum alone is right."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = fields.get("link", "")
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    block[124 : 124 + len(size)] = size
    block[148:156] = b" " * 8
    block[148:155] = b"%06o\0" % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "size",
    [
        b"77777777777",  # 8 GiB
        b"-0000000001",
        b"00000 00001",
        b"0x000000010",
        b"1_000000000",
        b"\x80" + bytes(10) + b"\xff",  # base 256
        b"\xff" * 12,  # base 256, negative
    ],
)
def test_sizes_that_lie_are_damage(tmp_path, size):
    content = gzip.compress(header(size=size) + record(3))
    folder = write(tmp_path, {"cifar-10-binary.tar.gz": content})
    refused(load_cifar10, folder, "damaged, truncated or of another format")


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g", b"X", b"S", b"D", b"?"])
def test_headers_of_any_size_are_passed_over(tmp_path, kind):
    long = header(kind=kind, size=b"00620000000")  # 100 MiB
    content = gzip.compress(long) + zeros(100) + archive(CIFAR_TEST)
    folder = write(tmp_path, {"cifar-10-binary.tar.gz": content})
    tracemalloc.start()
    _, y = load_cifar10("test", data_home=folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert y.tolist() == [3, 9]
    assert peak < 8 * MIB


def test_members_without_end_take_no_memory(tmp_path):
    content = gzip.compress(header("x", size=b"00000000000") * 20_000)
    folder = write(tmp_path, {"cifar-10-binary.tar.gz": content})
    refused(load_cifar10, folder, "has no test_batch.bin", error=FileNotFoundError)


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"5", b"6"])
@pytest.mark.parametrize("size", [b"00000000000", b"00000006001"])
def test_links_devices_and_folders_are_not_files(tmp_path, kind, size):
    write(tmp_path, {"secret": record(3)})
    link = header(kind=kind, size=size, link=str(tmp_path / "secret"))
    content = gzip.compress(link + bytes(1024))
    folder = write(tmp_path / "home", {"cifar-10-binary.tar.gz": content})
    refused(load_cifar10, folder, "has no test_batch.bin", error=FileNotFoundError)


@pytest.mark.parametrize(
    "path", ["../../{}", "/etc/{}", "a/../../{}", "//{}", "~/{}", "C:/{}", "./{}"]
)
def test_paths_that_lead_elsewhere_lead_nowhere(tmp_path, path):
    content = archive([(path.format("test_batch.bin"), record(3))])
    folder = write(tmp_path / "home", {"cifar-10-binary.tar.gz": content})
    before = set(tmp_path.rglob("*"))
    assert load_cifar10("test", data_home=folder)[1].tolist() == [3]
    assert set(tmp_path.rglob("*")) == before


def test_the_first_of_two_members_counts(tmp_path):
    content = archive([("a/test_batch.bin", record(3)), ("test_batch.bin", record(4))])
    folder = write(tmp_path, {"cifar-10-binary.tar.gz": content})
    assert load_cifar10("test", data_home=folder)[1].tolist() == [3]


NAMES = st.text("abc._-/", min_size=1, max_size=60).filter(
    lambda name: name.split("/")[-1] not in ("", ".", "..")
)


@settings(max_examples=60, deadline=None)
@given(
    members=st.lists(st.tuples(NAMES, st.binary(max_size=1500)), max_size=5),
    form=st.sampled_from(FORMATS),
)
def test_what_tarfile_writes_is_read(members, form):
    content = archive(members, form)
    with gzip.open(io.BytesIO(content)) as stream:
        found = [(name, part.read(MIB)) for name, part in reading._members(stream)]
    assert found == [(name.split("/")[-1], data) for name, data in members]


@pytest.mark.parametrize("form", FORMATS)
def test_archives_of_folders_on_disk_are_read(tmp_path, form):
    folder = write(tmp_path / "cifar-10-batches-bin", {"test_batch.bin": record(7)})
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz", format=form) as written:
        written.add(folder, "cifar-10-batches-bin")  # with owner, times in pax headers
    (folder / "test_batch.bin").unlink()
    X, y = load_cifar10("test", data_home=tmp_path)
    assert y.tolist() == [7]
    assert_array_equal(X[0, 0, :, 0], np.arange(32))
