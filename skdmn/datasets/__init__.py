"""Loaders of labelled images: your own files, digits, MNIST and CIFAR.

Every loader returns images of shape (n, height, width[, channels]) and labels of shape
(n,), int64. `load_image_folder` and `ImageFolder` read files of your own. The digits
are part of scikit-learn. The other data sets are read from their official files or
fetched from OpenML; their images are uint8.
"""

import os
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import fetch_openml, load_digits
from sklearn.utils import Bunch

from skdmn.datasets.files import (
    CIFAR10,
    CIFAR100,
    CIFAR_SHAPE,
    FASHION_MNIST,
    MNIST,
    DataSet,
    channels_last,
    check_labels,
    find_files,
    parse_names,
    read_cifar,
    read_idx,
)
from skdmn.datasets.folder import ImageFolder, load_image_folder

__all__ = [
    "ImageFolder",
    "load_cifar10",
    "load_cifar100",
    "load_digits_images",
    "load_fashion_mnist",
    "load_image_folder",
    "load_mnist",
]

Subset: TypeAlias = Literal["train", "test", "all"]
Home: TypeAlias = str | os.PathLike[str] | None
Pixels: TypeAlias = NDArray[np.uint8]
Targets: TypeAlias = NDArray[np.int64]


def load_digits_images(*, return_X_y: bool = True) -> tuple[Pixels, Targets] | Bunch:
    """Return scikit-learn's handwritten digits as images.

    Parameters
    ----------
    return_X_y : bool, default=True
        If True, return ``(X, y)`` instead of a Bunch.

    Returns
    -------
    X : ndarray of shape (1797, 8, 8), uint8
        Images with values from 0 to 16.
    y : ndarray of shape (1797,), int64
        Labels, 0 to 9.
    data : :class:`~sklearn.utils.Bunch`
        If ``return_X_y`` is False: ``images`` (X), ``target`` (y), ``target_names``
        (list of str) and ``DESCR``.

    See Also
    --------
    sklearn.datasets.load_digits : The same images as rows.

    Examples
    --------
    >>> from skdmn.datasets import load_digits_images
    >>> X, y = load_digits_images()
    >>> X.shape, X.dtype, y[:5]
    ((1797, 8, 8), dtype('uint8'), array([0, 1, 2, 3, 4]))
    """
    digits = load_digits()
    X, y = digits.images.astype(np.uint8), digits.target.astype(np.int64)
    names = MNIST.labels[0].names
    return (X, y) if return_X_y else _bunch(X, y, names, digits.DESCR)


def load_mnist(
    subset: Subset = "train", *, data_home: Home = None, return_X_y: bool = True
) -> tuple[Pixels, Targets] | Bunch:
    """Load MNIST: handwritten digits, 60,000 training and 10,000 test images.

    Parameters
    ----------
    subset : {"train", "test", "all"}, default="train"
        Images to load. With "all", the test images follow the training images.
    data_home : str or path-like, default=None
        Folder with the official files ``train-images-idx3-ubyte``,
        ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and
        ``t10k-labels-idx1-ubyte`` (also spelled ``train-images.idx3-ubyte`` and so
        on), each plain or ``.gz``. A file may be in a subfolder with the same name, as
        Kaggle has them. The subfolders ``mnist`` and ``MNIST`` are searched
        first, then the folder itself; in each of them, a subfolder ``raw`` is searched
        first. If None, the images are fetched from OpenML by
        :func:`sklearn.datasets.fetch_openml`, which keeps a copy and is much faster if
        pandas is installed.
    return_X_y : bool, default=True
        If True, return ``(X, y)`` instead of a Bunch.

    Returns
    -------
    X : ndarray of shape (n_images, 28, 28), uint8
        Images with values from 0 (paper) to 255 (ink). Files with fewer images, or
        with images of another size, are also accepted.
    y : ndarray of shape (n_images,), int64
        Labels, 0 to 9.
    data : :class:`~sklearn.utils.Bunch`
        If ``return_X_y`` is False: ``images`` (X), ``target`` (y), ``target_names``
        (list of str) and ``DESCR``.

    Raises
    ------
    FileNotFoundError
        If ``data_home`` or an official file in it is missing.
    OSError
        If the images could not be fetched.
    TypeError
        If ``data_home`` is not a path.
    ValueError
        If ``subset`` is unknown, or a file is damaged or has another format.

    See Also
    --------
    load_fashion_mnist : Clothes in the same format.

    References
    ----------
    .. [1] Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits",
       https://yann.lecun.com/exdb/mnist/ (which also defines the IDX format)

    Examples
    --------
    >>> from skdmn.datasets import load_mnist
    >>> X, y = load_mnist(data_home="~/data/mnist")  # doctest: +SKIP
    """
    return _load(MNIST, subset, data_home, return_X_y)


def load_fashion_mnist(
    subset: Subset = "train", *, data_home: Home = None, return_X_y: bool = True
) -> tuple[Pixels, Targets] | Bunch:
    """Load Fashion-MNIST: clothes, 60,000 training and 10,000 test images.

    Parameters
    ----------
    subset : {"train", "test", "all"}, default="train"
        Images to load. With "all", the test images follow the training images.
    data_home : str or path-like, default=None
        Folder with the official files. They have the same names and format as the
        files of MNIST, see :func:`load_mnist`. The subfolders ``fashion-mnist``,
        ``fashion_mnist`` and ``FashionMNIST`` are searched first, then the folder
        itself; in each of them, a subfolder ``raw`` is searched first. If None, the
        images are fetched from OpenML.
    return_X_y : bool, default=True
        If True, return ``(X, y)`` instead of a Bunch.

    Returns
    -------
    X : ndarray of shape (n_images, 28, 28), uint8
        Images with values from 0 (background) to 255.
    y : ndarray of shape (n_images,), int64
        Labels, 0 (T-shirt/top) to 9 (Ankle boot).
    data : :class:`~sklearn.utils.Bunch`
        If ``return_X_y`` is False: ``images`` (X), ``target`` (y), ``target_names``
        (list of str) and ``DESCR``.

    Raises
    ------
    FileNotFoundError, OSError, TypeError, ValueError
        As in :func:`load_mnist`.

    See Also
    --------
    load_mnist : Digits in the same format.

    References
    ----------
    .. [1] H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for
       Benchmarking Machine Learning Algorithms", 2017,
       https://github.com/zalandoresearch/fashion-mnist
    """
    return _load(FASHION_MNIST, subset, data_home, return_X_y)


def load_cifar10(
    subset: Subset = "train", *, data_home: Home = None, return_X_y: bool = True
) -> tuple[Pixels, Targets] | Bunch:
    """Load CIFAR-10: colour images, 50,000 training and 10,000 test images.

    Parameters
    ----------
    subset : {"train", "test", "all"}, default="train"
        Images to load. With "all", the test images follow the training images.
    data_home : str or path-like, default=None
        Folder with the official *binary version*, or the path of the archive
        ``cifar-10-binary.tar.gz``. The files are ``data_batch_1.bin`` to
        ``data_batch_5.bin`` and ``test_batch.bin``, plain or ``.gz``. They may be in
        the folder itself, in its subfolder ``cifar-10-batches-bin``, or in the archive,
        which is read without extracting it. The subfolders ``cifar10``, ``cifar-10``
        and ``CIFAR10`` are searched first, in the same way. If None, the images are
        fetched from OpenML by :func:`sklearn.datasets.fetch_openml`, which keeps a copy
        and is much faster if pandas is installed.
    return_X_y : bool, default=True
        If True, return ``(X, y)`` instead of a Bunch.

    Returns
    -------
    X : ndarray of shape (n_images, 32, 32, 3), uint8
        Images with channels (red, green, blue). Files with fewer images are also
        accepted.
    y : ndarray of shape (n_images,), int64
        Labels, 0 (airplane) to 9 (truck).
    data : :class:`~sklearn.utils.Bunch`
        If ``return_X_y`` is False: ``images`` (X), ``target`` (y), ``target_names``
        (list of str; read from ``batches.meta.txt`` if that is in the folder of the
        batches) and ``DESCR``.

    Raises
    ------
    FileNotFoundError
        If ``data_home`` or an official file in it is missing. The Python version of the
        data set is never loaded, because it consists of pickles.
    OSError
        If the images could not be fetched.
    TypeError
        If ``data_home`` is not a path.
    ValueError
        If ``subset`` is unknown, or a file is damaged or has another format.

    See Also
    --------
    load_cifar100 : A hundred classes in the same format.

    References
    ----------
    .. [1] A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images",
       2009, https://www.cs.toronto.edu/~kriz/cifar.html
    """
    return _load(CIFAR10, subset, data_home, return_X_y)


def load_cifar100(
    subset: Subset = "train",
    *,
    data_home: Home = None,
    labels: Literal["fine", "coarse"] = "fine",
    return_X_y: bool = True,
) -> tuple[Pixels, Targets] | Bunch:
    """Load CIFAR-100: colour images, 50,000 training and 10,000 test images.

    Parameters
    ----------
    subset : {"train", "test", "all"}, default="train"
        Images to load. With "all", the test images follow the training images.
    data_home : str or path-like, default=None
        Folder with the official *binary version*, or the path of the archive
        ``cifar-100-binary.tar.gz``. The files are ``train.bin`` and ``test.bin``, plain
        or ``.gz``. They may be in the folder itself, in its subfolder
        ``cifar-100-binary``, or in the archive, which is read without extracting it.
        The subfolders ``cifar100``, ``cifar-100`` and ``CIFAR100`` are searched first,
        in the same way. If None, the images are fetched from OpenML.
    labels : {"fine", "coarse"}, default="fine"
        Labels to load: the 100 classes ("fine") or their 20 groups ("coarse"). OpenML
        has fine labels only.
    return_X_y : bool, default=True
        If True, return ``(X, y)`` instead of a Bunch.

    Returns
    -------
    X : ndarray of shape (n_images, 32, 32, 3), uint8
        Images with channels (red, green, blue).
    y : ndarray of shape (n_images,), int64
        Fine labels, 0 (apple) to 99 (worm), or coarse labels, 0 (aquatic_mammals) to 19
        (vehicles_2).
    data : :class:`~sklearn.utils.Bunch`
        If ``return_X_y`` is False: ``images`` (X), ``target`` (y), ``target_names``
        (list of str; read from ``fine_label_names.txt`` or ``coarse_label_names.txt``
        if that is in the folder of the images) and ``DESCR``.

    Raises
    ------
    FileNotFoundError, OSError, TypeError, ValueError
        As in :func:`load_cifar10`. ValueError is also raised if ``labels`` is unknown,
        and for coarse labels without ``data_home``.

    See Also
    --------
    load_cifar10 : Ten classes in the same format.

    References
    ----------
    .. [1] A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images",
       2009, https://www.cs.toronto.edu/~kriz/cifar.html
    """
    _check_word("labels", labels, ("coarse", "fine"))
    if labels == "coarse" and data_home is None:
        raise ValueError(
            "labels='coarse' needs official files, because OpenML has fine labels "
            f"only; pass as data_home a folder with {CIFAR100.official('all')}."
        )
    return _load(CIFAR100, subset, data_home, return_X_y, int(labels == "fine"))


def _load(
    data: DataSet, subset: str, data_home: Home, return_X_y: bool, kind: int = 0
) -> tuple[Pixels, Targets] | Bunch:
    """Return a subset of a data set; ``kind`` is an index into ``data.labels``."""
    _check_word("subset", subset, ("train", "test", "all"))
    names, names_file = data.labels[kind]
    if data_home is None:
        X, y = _fetch(data, subset)
    else:
        optional = [] if return_X_y or not names_file else [names_file]
        files = find_files(_existing(data_home), data, subset, optional)
        read = read_cifar if data.shape == CIFAR_SHAPE else read_idx
        X, label_bytes = read(files, data, subset)
        y = label_bytes[:, kind].astype(np.int64)
        if names_file in files:
            names = parse_names(*files[names_file], len(names))
    if return_X_y:
        return X, y
    return _bunch(X, y, names, f"{data.title}. {data.about}")


def _bunch(X: Pixels, y: Targets, names: tuple[str, ...], about: str) -> Bunch:
    """Return the Bunch of a data set."""
    return Bunch(images=X, target=y, target_names=list(names), DESCR=about)


def _check_word(parameter: str, value: object, words: tuple[str, ...]) -> None:
    """Raise ValueError if a parameter is not one of some words."""
    if value not in words:
        *others, last = map(repr, words)
        raise ValueError(
            f"{parameter} must be {', '.join(others)} or {last}, got {value!r}."
        )


def _existing(data_home: object) -> Path:
    """Return the path of ``data_home``; raise if it does not exist."""
    if not isinstance(data_home, str | os.PathLike):
        raise TypeError(
            f"data_home must be a str, a path or None, got {type(data_home).__name__}."
        )
    home = Path(os.path.expanduser(data_home))
    if not home.exists():
        raise FileNotFoundError(
            f"data_home {home} does not exist; pass a folder with the official files."
        )
    return home


def _fetch(data: DataSet, subset: str) -> tuple[Pixels, Targets]:
    """Fetch a subset from OpenML, whose rows begin with the training images."""
    try:
        fetched = fetch_openml(
            data_id=data.openml_id,
            as_frame=False,
            parser="pandas" if find_spec("pandas") else "liac-arff",
            # A single small dtype saves memory. It also avoids an error of pandas
            # >= 3.1 with labels that are numbers (scikit-learn issue 34892).
            read_csv_kwargs={"dtype": np.float32},
        )
    except (OSError, ValueError, HTTPException) as error:
        raise OSError(
            f"{data.title} could not be fetched from OpenML ({error}); pass as "
            f"data_home a folder with the official files {data.official('all')}."
        ) from error
    where = f"{data.title} from OpenML (data_id={data.openml_id})"
    expected = (data.n_train + data.n_test, int(np.prod(data.shape)))
    if fetched.data.shape != expected:
        raise ValueError(
            f"{where} has the shape {fetched.data.shape}, expected {expected}."
        )
    y = np.asarray(fetched.target).astype(np.int64)
    n_classes = len(data.labels[-1].names)
    check_labels(where, y, n_classes)
    counts = np.bincount(y[: data.n_train], minlength=n_classes)
    if data.balanced and np.ptp(counts):
        raise ValueError(
            f"{where} has {counts.min():,} to {counts.max():,} images per class in its "
            f"first {data.n_train:,} rows, expected the training set, which has the "
            "same number for every class."
        )
    end = {"train": data.n_train}.get(subset)
    rows = slice(data.n_train if subset == "test" else 0, end)
    pixels = fetched.data[rows]
    with np.errstate(invalid="ignore"):
        X = pixels.astype(np.uint8)
    if not np.array_equal(X, pixels):
        raise ValueError(f"{where} has pixels other than the integers 0 to 255.")
    if data.shape == CIFAR_SHAPE:
        return channels_last([X]), y[rows]
    return X.reshape(-1, *data.shape), y[rows]
