"""Labelled images in files: folders named by classes, and tables."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from sklearn.utils import Bunch

from skdmn.data.pictures import (
    Header,
    ImageFiles,
    check_options,
    listed,
    read_headers,
    resolved,
)
from skdmn.data.reader import ImageReader
from skdmn.utils.validation import warn_user

IGNORED = {"__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db"}  # beside hidden ones
_SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}
_CHECK_BATCH = 256  # images that are decoded at a time to be checked

Color = Literal["auto", "grey", "rgb"]
Fit = Literal["crop", "pad", "stretch"]
Resampling = Literal["nearest", "box", "bilinear", "bicubic", "lanczos"]


class _Listing(NamedTuple):
    """Files and their labels, in order; and files that cannot be used, with reasons."""

    files: list[str]
    names: list[str]
    labels: list[Any]
    unusable: list[tuple[str, str]]


def load_image_folder(
    folder: Any,
    *,
    size: int | tuple[int, int] | None = None,
    color: Color = "auto",
    fit: Fit = "crop",
    resampling: Resampling = "bilinear",
    background: Any = "white",
    dtype: Literal["auto", "uint8"] = "auto",
    root: str | os.PathLike[str] | None = None,
    columns: tuple[Any, Any] | None = None,
    extensions: Sequence[str] | None = None,
    on_error: Literal["warn", "raise"] = "warn",
    return_X_y: bool = False,
) -> tuple[np.ndarray, np.ndarray] | Bunch:
    """Load labelled images from a folder or a table, all in one size.

    Parameters
    ----------
    folder : str, path, data frame or list of (file, label)
        A folder whose subfolders are named by the classes. Their files may be in
        further subfolders. Or a table of files and labels: the name of a CSV file, a
        pandas or polars frame, or a list of pairs.
    size : int, (int, int) or None, default=None
        Height and width to which images are resized. None keeps their size, and
        refuses images that differ in size.
    color : {"auto", "grey", "rgb"}, default="auto"
        "grey" converts to one channel, "rgb" to three. "auto" converts to three if any
        image has colors, else to one.
    fit : {"crop", "pad", "stretch"}, default="crop"
        What to do with images of another aspect ratio: use the largest centred part,
        add background, or change the aspect ratio.
    resampling : {"nearest", "box", "bilinear", "bicubic", "lanczos"}, \
default="bilinear"
        Filter of the resizing. All but "nearest" use antialiasing.
    background : {"white", "black"}, number or tuple, default="white"
        What is behind transparent pixels, and around padded images: the largest value
        of an integer dtype or 1.0 for floats ("white"), 0 ("black"), or values of the
        channels.
    dtype : {"auto", "uint8"}, default="auto"
        "auto" keeps the dtype of the files, which must all have the same. "uint8"
        scales images of 16 bits to 8 bits.
    root : str, path or None, default=None
        Folder of the relative names in a table. None means the folder of the CSV file,
        or the working folder.
    columns : (name, name) or None, default=None
        Columns of the files and of the labels. None if the table has two columns, in
        this order.
    extensions : sequence of str or None, default=None
        Only files with these extensions are images, such as ``(".jpg", ".png")``, in
        upper or lower case. None takes all files. Tables are not restricted.
    on_error : {"warn", "raise"}, default="warn"
        Whether files that cannot be used are left out with one warning, or are an
        error.
    return_X_y : bool, default=False
        If True, return ``(images, target)`` instead of a Bunch.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        ``images``, an array of shape (n, height, width) or (n, height, width,
        channels); ``target``, an int array of shape (n,) of indices in
        ``target_names``; ``target_names``, the sorted labels; ``filenames``, an array
        of str; ``reader``, a fitted `ImageReader` that prepares files in the same way;
        and ``unreadable``, a list of the files that were left out, with reasons.
    (images, target) : tuple
        If ``return_X_y`` is True.

    Raises
    ------
    FileNotFoundError
        If the folder or the CSV file does not exist.
    ImportError
        If Pillow, or tifffile for some TIFF files, is not installed.
    ValueError
        If there are no images, labels are missing, or images differ in size, dtype or
        number of channels and the parameters do not say what to do. Also if files
        cannot be used and ``on_error="raise"``.

    Warns
    -----
    UserWarning
        If files cannot be used. The warning names the first of them.

    See Also
    --------
    ImageFolder : The same, decoded batch by batch, for more images than memory.
    skdmn.ImageReader : The step of a model that reads new files in the same way.

    Notes
    -----
    The order is that of the class names, then of the names of the files. Ignored are
    files and folders whose names start with a dot, and ``__MACOSX``, ``Thumbs.db``,
    ``ehthumbs.db`` and ``desktop.ini``. Files beside the subfolders have no class, and
    cannot be used.

    `ImageReader` says how files are decoded.

    Examples
    --------
    >>> import os, tempfile
    >>> from PIL import Image
    >>> from skdmn.datasets import load_image_folder
    >>> folder = tempfile.mkdtemp()
    >>> for name in ("blue", "red"):
    ...     os.mkdir(os.path.join(folder, name))
    ...     for n in (30, 40):
    ...         picture = Image.new("RGB", (n, 50), name)
    ...         picture.save(os.path.join(folder, name, f"{n}.png"))
    >>> data = load_image_folder(folder, size=(24, 32))
    >>> data.images.shape, data.target, data.target_names
    ((4, 24, 32, 3), array([0, 0, 1, 1]), ['blue', 'red'])
    """
    images = ImageFolder._made(
        folder,
        {
            "size": size,
            "color": color,
            "fit": fit,
            "resampling": resampling,
            "background": background,
            "dtype": dtype,
        },
        root,
        columns,
        extensions,
        on_error,
    )
    found, images = images._loaded()
    images._report(on_error)
    if return_X_y:
        return found, images.target
    return Bunch(
        images=found,
        target=images.target,
        target_names=images.target_names,
        filenames=images.filenames,
        reader=images.reader,
        unreadable=images.unreadable,
    )


class ImageFolder(ImageFiles):
    """Labelled images of a folder or a table, decoded when they are sliced.

    It can be passed wherever a memory map can: to layers, `DensityMatrixNetwork`,
    `SoftmaxClassifier` and ``dask.array.from_array``. Files are decoded in threads,
    batch by batch, and in every pass again. The images are those of
    `load_image_folder`.

    Parameters
    ----------
    folder : str, path, data frame or list of (file, label)
        As in `load_image_folder`.
    size : int, (int, int) or None, default=None
        As in `load_image_folder`, as are all parameters but the last.
    color : {"auto", "grey", "rgb"}, default="auto"
        Channels.
    fit : {"crop", "pad", "stretch"}, default="crop"
        What to do with images of another aspect ratio.
    resampling : {"nearest", "box", "bilinear", "bicubic", "lanczos"}, \
default="bilinear"
        Filter of the resizing.
    background : {"white", "black"}, number or tuple, default="white"
        What is behind transparent pixels, and around padded images.
    dtype : {"auto", "uint8"}, default="auto"
        Whether images of 16 bits are scaled to 8 bits.
    root : str, path or None, default=None
        Folder of the relative names in a table.
    columns : (name, name) or None, default=None
        Columns of the files and of the labels in a table.
    extensions : sequence of str or None, default=None
        Extensions of the images in a folder.
    on_error : {"warn", "raise"}, default="warn"
        Whether files that cannot be used are left out with one warning, or are an
        error.
    check : bool, default=False
        If True, decode every file once, to leave out also those that are damaged
        behind their headers. Otherwise these are an error when they are read.

    Attributes
    ----------
    shape : tuple of int
        (n, height, width), or (n, height, width, channels).
    dtype : dtype
        Data type of the images.
    ndim : int
        Number of dimensions.
    target : ndarray of shape (n,), int
        Indices in `target_names`.
    target_names : list
        The sorted labels.
    filenames : ndarray of shape (n,), str
        Names of the files.
    unreadable : list of (str, str)
        Names of the files that were left out, and reasons.
    reader : ImageReader
        Fitted step that prepares files in the same way.

    Raises
    ------
    FileNotFoundError, ImportError, ValueError
        As in `load_image_folder`.

    Warns
    -----
    UserWarning
        If files cannot be used.

    See Also
    --------
    load_image_folder : All images in one array.

    Notes
    -----
    When it is made, the headers of all files are read. A thread holds one decoded file
    at a time, beside the slice that is read. An array of indices and a mask are also
    accepted; `subset` selects images without decoding them.

    Examples
    --------
    >>> import os, tempfile
    >>> from PIL import Image
    >>> from skdmn.datasets import ImageFolder
    >>> folder = tempfile.mkdtemp()
    >>> for name in ("blue", "red"):
    ...     os.mkdir(os.path.join(folder, name))
    ...     for n in (30, 40):
    ...         picture = Image.new("RGB", (n, 50), name)
    ...         picture.save(os.path.join(folder, name, f"{n}.png"))
    >>> images = ImageFolder(folder, size=(24, 32))
    >>> images.shape, images[1:3].shape, images.target
    ((4, 24, 32, 3), (2, 24, 32, 3), array([0, 0, 1, 1]))
    """

    target: np.ndarray
    target_names: list[Any]
    filenames: np.ndarray
    unreadable: list[tuple[str, str]]
    reader: ImageReader

    def __init__(
        self,
        folder: Any,
        *,
        size: int | tuple[int, int] | None = None,
        color: Color = "auto",
        fit: Fit = "crop",
        resampling: Resampling = "bilinear",
        background: Any = "white",
        dtype: Literal["auto", "uint8"] = "auto",
        root: str | os.PathLike[str] | None = None,
        columns: tuple[Any, Any] | None = None,
        extensions: Sequence[str] | None = None,
        on_error: Literal["warn", "raise"] = "warn",
        check: bool = False,
    ) -> None:
        options = {
            "size": size,
            "color": color,
            "fit": fit,
            "resampling": resampling,
            "background": background,
            "dtype": dtype,
        }
        images = self._made(folder, options, root, columns, extensions, on_error)
        if check:
            images = images._without(images._damaged())
        images._report(on_error)
        self.__dict__ = images.__dict__

    @classmethod
    def _made(
        cls,
        folder: Any,
        options: dict[str, Any],
        root: Any,
        columns: Any,
        extensions: Any,
        on_error: str,
    ) -> Self:
        """List the files and read their headers, without a warning."""
        check_options(**options)
        if on_error not in ("warn", "raise"):
            raise ValueError(
                f"on_error={on_error!r} is not one of the choices; pass 'warn' or "
                "'raise'."
            )
        listing = _listed(folder, root, columns, extensions)
        headers, unreadable = read_headers(listing.files, listing.names)
        unreadable = [*listing.unusable, *unreadable]
        good = [at for at, header in enumerate(headers) if header is not None]
        if not good:
            reasons = f": {listed(unreadable)}" if unreadable else ""
            raise ValueError(f"{_said(folder)} has no image that can be read{reasons}.")
        if unreadable and on_error == "raise":
            _fail(unreadable, len(headers) + len(listing.unusable))
        files, names, labels = (
            [values[at] for at in good]
            for values in (listing.files, listing.names, listing.labels)
        )
        known: list[Header] = [header for header in headers if header is not None]
        prepared = resolved(known, names, **options)
        images = cls.__new__(cls)
        ImageFiles.__init__(images, files, prepared, names)
        images.filenames = np.array(files)
        images.target_names, images.target = _codes(labels)
        images.unreadable = unreadable
        reader = ImageReader(
            **{name: value for name, value in options.items() if name != "fit"},
            fit_mode=options["fit"],
        )
        reader.image_shape_, reader.dtype_ = prepared.shape, prepared.dtype
        images.reader = reader
        return images

    def subset(self, rows: Any) -> Self:
        """Return some of the images, without decoding them.

        Parameters
        ----------
        rows : slice, or array-like of int or bool
            Images to select, in order.

        Returns
        -------
        ImageFolder
            Its `target_names` are those of all images.
        """
        some = rows if isinstance(rows, slice) else np.asarray(rows)
        chosen = self._rows(some)
        if chosen.ndim != 1:
            raise IndexError(f"rows={rows!r} is one image; pass a list of indices.")
        part = self._chosen(chosen)
        part.filenames, part.target = self.filenames[chosen], self.target[chosen]
        return part

    def _loaded(self) -> tuple[np.ndarray, Self]:
        """Decode all images; return them, and this folder without damaged files."""
        found, bad = self.decoded(np.arange(len(self)))
        if not bad:
            return found, self
        return np.delete(found, list(bad), axis=0), self._without(bad)

    def _damaged(self) -> dict[int, tuple[str, str]]:
        """Decode all images; return those that cannot be decoded."""
        bad = {}
        for start in range(0, len(self), _CHECK_BATCH):
            rows = np.arange(start, min(start + _CHECK_BATCH, len(self)))
            _, found = self.decoded(rows)
            bad.update({start + at: reason for at, reason in found.items()})
        return bad

    def _without(self, bad: dict[int, tuple[str, str]]) -> Self:
        """Return the images without some that are unreadable, and their labels."""
        if not bad:
            return self
        left = np.delete(np.arange(len(self)), list(bad))
        part = self.subset(left)
        part.unreadable = [*self.unreadable, *bad.values()]
        if not len(left):
            raise ValueError(f"No image can be read: {listed(part.unreadable)}.")
        used, part.target = np.unique(part.target, return_inverse=True)
        part.target_names = [self.target_names[code] for code in used]
        return part

    def _report(self, on_error: str) -> None:
        """Warn of files that were left out, or raise."""
        if not self.unreadable:
            return
        n = len(self) + len(self.unreadable)
        if on_error == "raise":
            _fail(self.unreadable, n)
        warn_user(
            f"{len(self.unreadable)} of {n} files cannot be used and are left out: "
            f"{listed(self.unreadable)}. The attribute unreadable lists all of them; "
            "on_error='raise' makes this an error."
        )


def _fail(unreadable: list[tuple[str, str]], n: int) -> None:
    raise ValueError(
        f"{len(unreadable)} of {n} files cannot be used: {listed(unreadable)}; replace "
        "or remove them, or pass on_error='warn' to leave them out."
    )


def _said(folder: Any) -> str:
    is_name = isinstance(folder, (str, os.PathLike))
    return os.fspath(folder) if is_name else "The table"


def _codes(labels: list[Any]) -> tuple[list[Any], np.ndarray]:
    """Return the sorted labels, and the index of each label in them."""
    try:
        names = sorted(set(labels))
    except TypeError:
        kinds = sorted({type(label).__name__ for label in labels})
        raise ValueError(
            f"The labels are of several types: {', '.join(kinds)}; pass all as str, or "
            "all as numbers."
        ) from None
    code = {name: number for number, name in enumerate(names)}
    return names, np.array([code[label] for label in labels], dtype=np.int64)


# folders


def _listed(folder: Any, root: Any, columns: Any, extensions: Any) -> _Listing:
    if isinstance(folder, (str, os.PathLike)):
        path = Path(os.path.expanduser(folder))
        if not path.exists():
            raise FileNotFoundError(
                f"{path} does not exist; pass a folder with a subfolder for each "
                "class, or a table of files and labels."
            )
        if path.is_dir():
            if columns is not None or root is not None:
                raise ValueError(
                    "columns and root are for tables, but folder is a folder; omit "
                    "them."
                )
            return _of_folder(path, extensions)
        rows, names = _read_csv(path, path.parent if root is None else Path(root))
        return _of_rows(rows, names, columns, path.parent if root is None else root)
    rows, names = _rows_of(folder)
    return _of_rows(rows, names, columns, "" if root is None else root)


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in IGNORED


def _of_folder(folder: Path, extensions: Any) -> _Listing:
    """List the files in the subfolders, which are the classes."""
    wanted = _wanted(extensions)
    classes, beside = [], []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if _is_ignored(entry.name):
            continue
        if entry.is_dir():
            classes.append(entry)
        elif wanted is None or entry.suffix.lower() in wanted:
            beside.append((entry.name, "in no folder of a class"))
    if not classes:
        raise ValueError(
            f"{folder} has no subfolders, so that its images have no labels; make one "
            "subfolder for each class, or pass a table of files and labels."
        )
    if {entry.name.lower() for entry in classes} <= _SPLITS:
        given = " and ".join(entry.name for entry in classes)
        raise ValueError(
            f"The subfolders of {folder} are {given}, which are no classes; pass one "
            f"of them, such as {classes[0]}."
        )
    files: list[str] = []
    names: list[str] = []
    labels: list[Any] = []
    for entry in classes:
        found = files_below(str(entry))
        if wanted is not None:
            found = [name for name in found if Path(name).suffix.lower() in wanted]
        if not found:
            beside.append((f"{entry.name}/", "has no files"))
        for name in found:
            files.append(os.path.join(folder, entry.name, *name.split("/")))
            names.append(f"{entry.name}/{name}")
            labels.append(entry.name)
    return _Listing(files, names, labels, beside)


def _wanted(extensions: Any) -> set[str] | None:
    if extensions is None:
        return None
    if isinstance(extensions, str) or not all(isinstance(e, str) for e in extensions):
        raise ValueError(
            f"extensions={extensions!r} is not a list of extensions; pass such as "
            "('.jpg', '.png'), or None."
        )
    return {f".{extension.lower().lstrip('.')}" for extension in extensions}


def files_below(folder: str) -> list[str]:
    """Return the names of the files below a folder, in order, joined by slashes."""
    return sorted(_walk(Path(folder), frozenset()))


def _walk(folder: Path, above: frozenset[str]) -> Iterator[str]:
    """Yield the names of all files below a folder, joined by slashes."""
    place = os.path.realpath(folder)
    if place in above:  # a link to a folder above
        return
    for entry in os.scandir(folder):
        if _is_ignored(entry.name):
            continue
        if entry.is_dir():
            for name in _walk(Path(entry.path), above | {place}):
                yield f"{entry.name}/{name}"
        else:
            yield entry.name


# tables


def _read_csv(path: Path, root: Path) -> tuple[list[list[Any]], list[Any]]:
    """Return the rows of a CSV file, and the names of its columns.

    The first row has names, unless its first entry is a file that exists.
    """
    with open(path, newline="", encoding="utf-8-sig") as stream:
        try:
            rows = [row for row in csv.reader(stream) if row]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(
                f"{path} is neither a folder nor a CSV file ({error}); pass a folder "
                "with a subfolder for each class, or a table of files and labels."
            ) from None
    if not rows:
        raise ValueError(f"{path} is empty; pass a table of files and labels.")
    names: list[Any] = list(range(len(rows[0])))
    if not (root / rows[0][0]).is_file():
        names, rows = rows[0], rows[1:]
    for number, row in enumerate(rows):
        if len(row) != len(names):
            raise ValueError(
                f"Row {number} of {path} has {len(row)} entries instead of "
                f"{len(names)}: {','.join(row)!r:.60}."
            )
    return [list(row) for row in rows], names


def _rows_of(table: Any) -> tuple[list[list[Any]], list[Any]]:
    """Return the rows of a frame or of a list of pairs, and the names of columns."""
    columns = getattr(table, "columns", None)
    if columns is not None:
        names = list(columns)
        values = [table[name].to_list() for name in names]
        return [list(row) for row in zip(*values, strict=True)], names
    rows = table.tolist() if isinstance(table, np.ndarray) else table
    if isinstance(rows, (list, tuple)) and all(
        isinstance(row, (list, tuple)) and len(row) == 2 for row in rows
    ):
        return [list(row) for row in rows], [0, 1]
    raise ValueError(
        f"folder is a {type(table).__name__}, which is no folder and no table; pass "
        "the name of a folder or of a CSV file, a data frame, or a list of (file, "
        "label)."
    )


def _of_rows(
    rows: list[list[Any]], names: list[Any], columns: Any, root: Any
) -> _Listing:
    """List the files and labels of a table."""
    if columns is None:
        if len(names) != 2:
            raise ValueError(
                f"The table has the columns {', '.join(map(str, names))}; pass "
                "columns=(file, label), the names of two of them."
            )
        at = [0, 1]
    else:
        pair = list(columns) if isinstance(columns, (tuple, list)) else []
        missing = [name for name in pair if name not in names]
        if len(pair) != 2 or missing:
            raise ValueError(
                f"columns={columns!r} does not name two columns of the table, which "
                f"has {', '.join(map(str, names))}; pass columns=(file, label)."
            )
        at = [names.index(name) for name in pair]
    files, labels = [], []
    for number, row in enumerate(rows):
        file, label = row[at[0]], row[at[1]]
        if not isinstance(file, (str, os.PathLike)) or not os.fspath(file):
            raise ValueError(
                f"Row {number} of the table has no file name, but {file!r:.40}; pass "
                "files as str or paths."
            )
        if _is_missing(label):
            raise ValueError(
                f"Row {number} of the table, {file}, has no label; leave it out, or "
                "give it a label."
            )
        files.append(os.path.join(root, file))
        labels.append(label.item() if isinstance(label, np.generic) else label)
    return _Listing(files, list(map(str, files)), labels, [])


def _is_missing(label: Any) -> bool:
    if label is None or (isinstance(label, str) and not label):
        return True
    try:
        return bool(label != label)
    except TypeError:  # NA of pandas
        return True
