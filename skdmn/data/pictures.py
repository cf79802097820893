"""Images in files: decoded, and prepared so that all have one shape and dtype."""

from __future__ import annotations

import contextlib
import copy
import io
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any, NamedTuple, Self

import numpy as np

from skdmn.utils.optional import import_optional
from skdmn.utils.threads import in_threads, n_threads
from skdmn.utils.validation import as_pair

COLORS = ("auto", "grey", "rgb")
FITS = ("crop", "pad", "stretch")
RESAMPLINGS = ("nearest", "box", "bilinear", "bicubic", "lanczos")
BACKGROUNDS = ("white", "black")
DTYPES = ("auto", "uint8")
SHOWN = 10  # number of files that a message names

Box = tuple[float, float, float, float]  # left, top, right, bottom

_BYTES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK")
_BYTE_MODES = (*_BYTES, "YCbCr", "HSV", "LAB")  # of Pillow: 8 bits or less per value
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601, as Pillow converts to grey
_ORIENTATION = 274  # tag of EXIF and TIFF
# orientations that turn left and right, or top and bottom, after transposing from 5 on
_MIRRORED, _FLIPPED = (2, 3, 6, 7), (3, 4, 7, 8)
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # first bytes; the last two: BigTIFF


class UnreadableImageError(ValueError):
    """Raised if a file cannot be decoded or prepared; the message is the reason."""


class UnequalSizesError(ValueError):
    """Raised if images differ in size, and no size was asked for."""


class Header(NamedTuple):
    """Size, number of channels and dtype of an image, as the file declares them."""

    height: int
    width: int
    channels: int
    dtype: str


@dataclass(frozen=True)
class Preparation:
    """What is done to each image after it is decoded.

    Attributes
    ----------
    size : (int, int)
        Height and width.
    channels : int
        Number of channels.
    dtype : str
        Name of the dtype.
    resizes : bool
        False if images of another size are refused.
    scales : bool
        True if 16 bits are scaled to 8, instead of refused.
    fit : {"crop", "pad", "stretch"}
        How an image of another aspect ratio is brought to `size`.
    resampling : {"nearest", "box", "bilinear", "bicubic", "lanczos"}
        Filter of the resizing.
    background : {"white", "black"}, number or tuple of numbers
        What is behind transparent pixels, and around images that are padded.
    """

    size: tuple[int, int]
    channels: int
    dtype: str
    resizes: bool
    scales: bool
    fit: str
    resampling: str
    background: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an image: (height, width), or (height, width, channels)."""
        return self.size if self.channels == 1 else (*self.size, self.channels)

    def background_values(self) -> list[float]:
        """Return the value of each channel of the background."""
        if isinstance(self.background, str):
            top: float = 1.0
            if np.dtype(self.dtype).kind in "iu":
                top = np.iinfo(self.dtype).max
            return [top if self.background == "white" else 0.0] * self.channels
        values = np.ravel(self.background).astype(float).tolist()
        return values * self.channels if len(values) == 1 else values

    def described(self) -> dict[str, Any]:
        """Return the preparation as values that JSON has, and in words."""
        height, width = self.size
        steps = [
            "decode the file",
            "turn it as its EXIF orientation says",
            f"put transparent pixels on the background {self.background}",
            f"convert it to {self.channels} channel" + "s" * (self.channels != 1),
        ]
        if self.resizes:
            how = {
                "crop": "the largest centred part of the right aspect ratio",
                "pad": "it as a whole, with background around it,",
                "stretch": "it, whatever its aspect ratio,",
            }[self.fit]
            smooth = "" if self.resampling == "nearest" else " with antialiasing"
            steps.append(
                f"resize {how} to {height} x {width} pixels (height x width) by "
                f"{self.resampling} resampling{smooth}"
            )
        else:
            steps.append(f"refuse other sizes than {height} x {width} pixels")
        scaled = "16 bits scaled to 8" if self.scales else "in the range of the file"
        steps.append(f"pass {self.dtype} values, {scaled}")
        return {**asdict(self), "steps": steps}


# parameters


def check_options(
    size: Any, color: Any, fit: Any, resampling: Any, background: Any, dtype: Any
) -> tuple[int, int] | None:
    """Raise if a parameter of a preparation is not valid; return the size."""
    words = {
        "color": (color, COLORS),
        "fit": (fit, FITS),
        "resampling": (resampling, RESAMPLINGS),
        "dtype": (dtype, DTYPES),
    }
    for name, (value, allowed) in words.items():
        if not isinstance(value, str) or value not in allowed:
            *others, last = map(repr, allowed)
            raise ValueError(
                f"{name}={value!r} is not one of the choices; pass "
                f"{', '.join(others)} or {last}."
            )
    values = background if isinstance(background, (tuple, list)) else [background]
    are_numbers = len(values) > 0 and all(
        isinstance(v, Real) and math.isfinite(v) for v in values
    )
    is_word = isinstance(background, str) and background in BACKGROUNDS
    if not (is_word or are_numbers):
        raise ValueError(
            f"background={background!r} is not a background; pass 'white', 'black', a "
            "number, or a tuple with one number for each channel."
        )
    if size is None:
        return None
    try:
        return as_pair(size, "size")
    except (TypeError, ValueError):
        raise ValueError(
            f"size={size!r} is not a size; pass an int, a pair (height, width) of "
            "positive ints, or None for images that all have one size."
        ) from None


def resolved(
    headers: Sequence[Header],
    names: Sequence[str],
    *,
    size: Any,
    color: str,
    fit: str,
    resampling: str,
    background: Any,
    dtype: str,
) -> Preparation:
    """Return the preparation that suits the headers of all images.

    Raises
    ------
    ValueError
        If the images differ in what the parameters leave as it is.
    """
    pair = check_options(size, color, fit, resampling, background, dtype)
    if pair is None:
        pair = _only_size(headers, names)
    channels = _channels(headers, names, color)
    kind = "uint8" if dtype == "uint8" else _only_dtype(headers, names)
    prepared = Preparation(
        *(pair, channels, kind, size is not None, dtype == "uint8"),
        *(fit, resampling, background),
    )
    check_background(prepared)
    return prepared


def check_background(prepared: Preparation) -> None:
    """Raise if the background does not suit the channels and the dtype."""
    values = prepared.background_values()
    if len(values) != prepared.channels:
        raise ValueError(
            f"background={prepared.background!r} has {len(values)} values, but the "
            f"images have {prepared.channels} channels; pass one number, or one for "
            "each channel."
        )
    if np.dtype(prepared.dtype).kind in "iu":
        allowed = np.iinfo(prepared.dtype)
        if min(values) < allowed.min or max(values) > allowed.max:
            raise ValueError(
                f"background={prepared.background!r} is out of the range of "
                f"{prepared.dtype}; pass numbers from {allowed.min} to {allowed.max}."
            )


def _only_size(headers: Sequence[Header], names: Sequence[str]) -> tuple[int, int]:
    """Return the size of all images; raise if they differ."""
    first: dict[tuple[int, int], str] = {}
    for header, name in zip(headers, names, strict=True):
        first.setdefault((header.height, header.width), name)
    if len(first) > 1:
        some = [f"{h} x {w} ({name})" for (h, w), name in sorted(first.items())]
        shown = some if len(some) <= 4 else [*some[:2], "...", *some[-2:]]
        raise UnequalSizesError(
            f"The images have {len(first)} different sizes (height x width): "
            f"{', '.join(shown)}. Pass size=(height, width) to bring them to one size, "
            "and fit='crop', 'pad' or 'stretch' to say how."
        )
    return next(iter(first))


def _channels(headers: Sequence[Header], names: Sequence[str], color: str) -> int:
    first: dict[int, str] = {}
    for header, name in zip(headers, names, strict=True):
        first.setdefault(header.channels, name)
    others = sorted(set(first) - {1, 3})
    if others and color != "auto":
        raise ValueError(
            f"color={color!r} converts images of 1 or 3 channels, but "
            f"{first[others[0]]} has {others[0]}; pass color='auto'."
        )
    if others and len(first) > 1:
        shown = ", ".join(f"{n} ({name})" for n, name in sorted(first.items()))
        raise ValueError(
            f"The images have different numbers of channels: {shown}. Load each kind "
            "by itself."
        )
    if others:
        return others[0]
    return {"grey": 1, "rgb": 3, "auto": max(first)}[color]


def _only_dtype(headers: Sequence[Header], names: Sequence[str]) -> str:
    first: dict[str, str] = {}
    for header, name in zip(headers, names, strict=True):
        first.setdefault(header.dtype, name)
    if len(first) > 1:
        shown = ", ".join(f"{kind} ({name})" for kind, name in sorted(first.items()))
        advice = "Convert the files to one dtype, or load each kind by itself."
        if set(first) <= {"uint8", "uint16"}:
            advice = "Pass dtype='uint8' to scale 16 bits to 8."
        raise ValueError(
            f"The images have values of different dtypes: {shown}, which have "
            f"different ranges. {advice}"
        )
    return next(iter(first))


# files


def import_pillow(function: str) -> Any:
    """Import Pillow for a function of this package."""
    return import_optional("PIL.Image", function, "images")


def read_header(file: Any) -> Header:
    """Return what a file declares about its image, without decoding it if possible.

    Parameters
    ----------
    file : str, path, bytes, file object or Pillow image
        Path of a file, or its content. `bytes` are content.

    Raises
    ------
    UnreadableImageError
        If the file is not an image that Pillow or tifffile can read.
    """
    with _reasons(), _opened(file) as (image, tiff):
        if tiff is not None:
            shape, dtype = _tiff_shape(tiff)
            height, width, channels = shape
            if _tiff_orientation(tiff) >= 5:
                height, width = width, height
            return Header(height, width, channels, dtype.name)
        width, height = image.size
        if _orientation(image) >= 5:
            height, width = width, height
        if image.mode in _BYTE_MODES:
            return Header(height, width, 1 if _is_grey(image) else 3, "uint8")
        return Header(height, width, 1, _dtype_of_mode(image.mode))


def read_image(file: Any, prepared: Preparation) -> np.ndarray:
    """Decode a file, and prepare the image.

    Parameters
    ----------
    file : str, path, bytes, file object or Pillow image
        As in `read_header`.
    prepared : Preparation

    Returns
    -------
    ndarray of shape ``prepared.shape``

    Raises
    ------
    UnreadableImageError
        If the file is damaged, or its image cannot be prepared.
    """
    with _reasons(), _opened(file) as (image, tiff):
        region = None
        if tiff is not None:
            bands = _bands_of_array(_tiff_values(tiff), prepared)
        elif image.mode in _BYTE_MODES:
            region = _draft(image, prepared) if prepared.resizes else None
            bands = [_bytes_of_pillow(image, prepared)]
        else:
            _turn(image)
            bands = _bands_of_array(np.asarray(image)[:, :, np.newaxis], prepared)
        if isinstance(bands, np.ndarray):  # nothing to resize
            return bands.reshape(prepared.shape)
        return _resized(bands, prepared, region).reshape(prepared.shape)


@contextlib.contextmanager
def _reasons() -> Iterator[None]:
    """Convert an error of a decoder to one that says the reason in short.

    Decoders raise errors of many types for damaged files.
    """
    try:
        yield
    except (UnreadableImageError, ImportError, MemoryError):
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        if type(error).__name__ == "UnidentifiedImageError":
            reason = "not an image that Pillow knows"
        raise UnreadableImageError(reason) from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImageError(reason) from error


@contextlib.contextmanager
def _opened(file: Any) -> Iterator[tuple[Any, Any]]:
    """Yield an image opened by Pillow and None, or None and a file of tifffile."""
    pillow = import_pillow("read_image")
    if isinstance(file, pillow.Image):
        yield file.copy(), None  # turned in place below
        return
    with contextlib.ExitStack() as opened:
        if isinstance(file, bytes):
            stream: Any = io.BytesIO(file)
        elif hasattr(file, "read"):
            stream = file
        else:  # not by Pillow, which maps files, and then turns some TIFFs wrongly
            stream = opened.enter_context(open(file, "rb"))
        stream.seek(0)
        try:
            image = opened.enter_context(pillow.open(stream))
        except OSError:
            stream.seek(0)
            if stream.read(4) not in _TIFF:
                raise
            image = None
        if image is not None and not _needs_tifffile(image):
            yield image, None
            return
        tifffile = import_optional("tifffile", "read_image", "images")
        stream.seek(0)
        yield None, opened.enter_context(tifffile.TiffFile(stream))


def _needs_tifffile(image: Any) -> bool:
    """Return True for a TIFF that Pillow reads in part: pages, or 16-bit colours."""
    if image.format != "TIFF":
        return False
    bits = image.tag_v2.get(258, (1,))
    is_cut = image.mode in _BYTE_MODES and max(np.ravel(bits)) > 8
    return is_cut or getattr(image, "n_frames", 1) > 1


def _orientation(image: Any) -> int:
    # Pillow decodes a PNG to look for EXIF data behind its pixels
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    if image.format == "TIFF":  # its size is the turned one already
        return 1
    return int(image.getexif().get(_ORIENTATION, 1))


def _turn(image: Any) -> None:
    """Apply the EXIF orientation, in place."""
    if image.format == "TIFF":  # turned when it is decoded
        return
    operations = import_optional("PIL.ImageOps", "read_image", "images")
    operations.exif_transpose(image, in_place=True)


def _is_grey(image: Any) -> bool:
    """Return True if an image of at most 8 bits per value has no colours."""
    if image.mode in ("1", "L", "LA", "La"):
        return True
    if image.mode not in ("P", "PA") or image.palette is None:
        return False
    palette = np.array(image.getpalette("RGB") or [0, 0, 1]).reshape(-1, 3)
    return bool((palette == palette[:, :1]).all())


def _dtype_of_mode(mode: str) -> str:
    if mode.startswith("I;16"):
        return "uint16"
    try:
        return {"I": "int32", "F": "float32"}[mode]
    except KeyError:
        raise UnreadableImageError(
            f"has the mode {mode} of Pillow, which is not known"
        ) from None


def _bytes_of_pillow(image: Any, prepared: Preparation) -> Any:
    """Return a decoded image of 8 bits per value, in grey or RGB."""
    _check_dtype("uint8", prepared)
    if prepared.channels not in (1, 3):
        raise UnreadableImageError(
            f"has {1 if _is_grey(image) else 3} channels, not {prepared.channels}"
        )
    _turn(image)
    if image.has_transparency_data:
        values = prepared.background_values()
        color = tuple(round(value) for value in (values * 3)[:3])
        pillow = import_pillow("read_image")
        behind = pillow.new("RGBA", image.size, (*color, 255))
        behind.alpha_composite(image.convert("RGBA"))
        image = behind
    mode = "L" if prepared.channels == 1 else "RGB"
    if image.mode not in (mode, "L", "1"):
        image = image.convert("RGB")  # other modes have no way to grey but this
    return image.convert(mode)


def _draft(image: Any, prepared: Preparation) -> Box | None:
    """Let a JPEG be decoded at a fraction of its size, at least twice the wanted one.

    Large photographs are decoded several times faster. Other formats ignore it.

    Returns
    -------
    (left, top, right, bottom) or None
        Region of the turned image that is covered: its last pixels may be cut. None if
        the image is decoded in its size.
    """
    if image.format != "JPEG":
        return None
    height, width = prepared.size
    orientation = _orientation(image)
    if orientation >= 5:
        height, width = width, height
    scales = image.width / width, image.height / height
    scale = {"crop": min, "pad": max}.get(prepared.fit)
    across, down = (scale(scales),) * 2 if scale else scales
    wanted = 2 * image.width / across, 2 * image.height / down
    drafted = image.draft(None, (math.ceil(wanted[0]), math.ceil(wanted[1])))
    if drafted is None:
        return None
    (across, down), (width, height) = drafted[1][2:], image.size
    if orientation >= 5:
        across, down, width, height = down, across, height, width
    left = width - across if orientation in _MIRRORED else 0.0
    top = height - down if orientation in _FLIPPED else 0.0
    return left, top, left + across, top + down


def _check_dtype(found: str, prepared: Preparation) -> None:
    """Raise if values of a dtype cannot become those of the preparation."""
    scales = prepared.scales and (found, prepared.dtype) == ("uint16", "uint8")
    if found != prepared.dtype and not scales:
        raise UnreadableImageError(f"has {found} values, not {prepared.dtype}")


def _bands_of_array(array: np.ndarray, prepared: Preparation) -> Any:
    """Return the channels of an array (height, width, channels) as Pillow images.

    An array that has the right size is returned as such an array.
    """
    if array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(255)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    _check_dtype(array.dtype.name, prepared)
    if array.dtype == np.uint16 and prepared.dtype == "uint8":
        array = np.rint(array / 257).astype(np.uint8)
    found = array.shape[2]
    if found != prepared.channels:
        if (found, prepared.channels) == (1, 3):
            array = np.repeat(array, 3, axis=2)
        elif (found, prepared.channels) == (3, 1):
            array = _rounded(array @ _LUMA, array.dtype)[:, :, np.newaxis]
        else:
            raise UnreadableImageError(f"has {found} channels, not {prepared.channels}")
    if array.shape[:2] == prepared.size:
        return array
    pillow = import_pillow("read_image")
    kind = np.uint8 if array.dtype == np.uint8 else np.float32
    return [
        pillow.fromarray(np.ascontiguousarray(band, dtype=kind))
        for band in np.moveaxis(array, 2, 0)
    ]


def _resized(
    bands: list[Any], prepared: Preparation, region: Box | None = None
) -> np.ndarray:
    """Resize (a region of) Pillow images of one size; return them as one array."""
    (height, width), (across, down) = prepared.size, bands[0].size
    if (down, across) != (height, width):
        if not prepared.resizes:
            raise UnreadableImageError(
                f"has {down} x {across} pixels (height x width), not {height} x {width}"
            )
        fills = prepared.background_values()
        if len(bands) == 1 and prepared.channels == 3:
            bands = [_fitted(bands[0], prepared, tuple(map(round, fills)), region)]
        else:
            bands = [
                _fitted(
                    band, prepared, fill if band.mode == "F" else round(fill), region
                )
                for band, fill in zip(bands, fills, strict=True)
            ]
    values = [np.asarray(band).reshape(height, width, -1) for band in bands]
    whole = values[0] if len(values) == 1 else np.concatenate(values, axis=2)
    return _rounded(whole, np.dtype(prepared.dtype))


def _fitted(image: Any, prepared: Preparation, fill: Any, region: Box | None) -> Any:
    """Return (a region of) a Pillow image in the size of the preparation."""
    left, top, right, bottom = region or (0.0, 0.0, *map(float, image.size))
    (height, width), across, down = prepared.size, right - left, bottom - top
    pillow = import_pillow("read_image")
    resampling = pillow.Resampling[prepared.resampling.upper()]
    if prepared.fit == "stretch":
        return image.resize((width, height), resampling, (left, top, right, bottom))
    if prepared.fit == "crop":
        scale = min(across / width, down / height)
        beside = max(0.0, across - width * scale) / 2
        above = max(0.0, down - height * scale) / 2
        box = left + beside, top + above, right - beside, bottom - above
        return image.resize((width, height), resampling, box)
    scale = max(across / width, down / height)
    inner = (
        min(width, max(1, round(across / scale))),
        min(height, max(1, round(down / scale))),
    )
    canvas = pillow.new(image.mode, (width, height), fill)
    at = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas.paste(image.resize(inner, resampling, (left, top, right, bottom)), at)
    return canvas


def _rounded(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Convert values to a dtype; integers are rounded, and clipped to its range."""
    if values.dtype == dtype or dtype.kind == "f":
        return values.astype(dtype, copy=False)
    allowed = np.iinfo(dtype)
    # float64, because the largest integers of 32 bits are no float32
    wide = np.rint(values.astype(np.float64))
    return np.clip(wide, allowed.min, allowed.max).astype(dtype)


def _tiff_shape(tiff: Any) -> tuple[tuple[int, int, int], np.dtype]:
    """Return height, width and channels of the first series of pages, and the dtype.

    All axes but the two of the image count as channels: bands, pages and so on.
    """
    series = tiff.series[0]
    axes, dtype = series.axes, np.dtype(series.dtype)
    if "Y" not in axes or "X" not in axes or dtype.kind not in "biuf":
        raise UnreadableImageError(f"has axes {axes} and {dtype} values, not an image")
    height, width = (int(series.shape[axes.index(axis)]) for axis in "YX")
    if dtype.kind == "b":
        dtype = np.dtype(np.uint8)
    channels = math.prod(series.shape) // max(1, height * width)
    return (height, width, channels), dtype


def _tiff_orientation(tiff: Any) -> int:
    tag = tiff.series[0].keyframe.tags.get(_ORIENTATION)
    return 1 if tag is None else int(tag.value)


def _tiff_values(tiff: Any) -> np.ndarray:
    """Return the first series of pages as an array (height, width, channels)."""
    (height, width, channels), _ = _tiff_shape(tiff)
    series = tiff.series[0]
    values = series.asarray(maxworkers=1)  # files are read in threads already
    at = [series.axes.index(axis) for axis in "YX"]
    values = np.moveaxis(values, at, (0, 1)).reshape(height, width, channels)
    turned = _tiff_orientation(tiff)
    if turned >= 5:
        values = np.swapaxes(values, 0, 1)
    if turned in _MIRRORED:
        values = values[:, ::-1]
    if turned in _FLIPPED:
        values = values[::-1]
    return values


# several files


def is_file(value: Any) -> bool:
    """Return True for a path, the content of a file, a file object, a Pillow image."""
    if isinstance(value, (str, os.PathLike, bytes)):
        return True
    if hasattr(value, "read") and hasattr(value, "seek"):
        return True
    return any(kind.__module__ == "PIL.Image" for kind in type(value).__mro__)


def names_of(files: Sequence[Any]) -> list[str]:
    """Return a name of each file, for messages."""
    return [
        os.fspath(file) if isinstance(file, (str, os.PathLike)) else f"X[{number}]"
        for number, file in enumerate(files)
    ]


def listed(unreadable: Sequence[tuple[str, str]]) -> str:
    """Return names and reasons for a message."""
    shown = ", ".join(f"{name} ({reason})" for name, reason in unreadable[:SHOWN])
    more = len(unreadable) - SHOWN
    return shown + (f" and {more} more" if more > 0 else "")


def read_headers(
    files: Sequence[Any], names: Sequence[str]
) -> tuple[list[Header | None], list[tuple[str, str]]]:
    """Read the headers of files in threads.

    Returns
    -------
    headers : list of Header or None
        None for files that cannot be read.
    unreadable : list of (str, str)
        Name and reason of each of these, in order.
    """
    import_pillow("reading images")  # before threads do
    found: list[Header | None] = [None] * len(files)
    reasons: dict[int, str] = {}

    def read(some: range) -> None:
        for at in some:
            try:
                found[at] = read_header(files[at])
            except UnreadableImageError as error:
                reasons[at] = str(error)

    pieces = [
        (range(start, min(start + 64, len(files))),)
        for start in range(0, len(files), 64)
    ]
    in_threads(read, pieces, min(n_threads(), max(1, len(pieces))))
    return found, [(names[at], reasons[at]) for at in sorted(reasons)]


class ImageFiles:
    """Files of images that look like one array; a slice is decoded when it is read.

    Parameters
    ----------
    files : sequence
        Files, as `read_image` takes them.
    preparation : Preparation
    names : sequence of str or None
        Names of the files, for messages.
    """

    # read by `skdmn.data.sliced`: single images cost nothing extra
    takes_indices = True

    def __init__(
        self,
        files: Sequence[Any],
        preparation: Preparation,
        names: Sequence[str] | None = None,
    ) -> None:
        import_pillow("reading images")
        self._files = files
        self._names = names_of(files) if names is None else names
        self.preparation = preparation
        self.shape = (len(files), *preparation.shape)
        self.dtype = np.dtype(preparation.dtype)
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def _chosen(self, rows: np.ndarray) -> Self:
        """Return a copy that has only some of the files."""
        chosen = copy.copy(self)
        chosen._files = [self._files[row] for row in rows]
        chosen._names = [self._names[row] for row in rows]
        chosen.shape = (len(rows), *self.shape[1:])
        return chosen

    def _rows(self, some: Any) -> np.ndarray:
        # a range makes no indices of all rows
        few = isinstance(some, (slice, Integral))
        rows = np.asarray((range if few else np.arange)(len(self))[some])
        if rows.ndim > 1:
            raise IndexError(
                f"{some!r} does not select images; pass an int, a slice, a mask or a "
                "1D array of indices."
            )
        return rows

    def __getitem__(self, some: Any) -> np.ndarray:
        """Decode the images of an int, a slice, a mask or an array of indices.

        Parameters
        ----------
        some : int, slice or array, or a tuple that starts with one
            Images; further items of a tuple index the other axes.

        Returns
        -------
        ndarray

        Raises
        ------
        IndexError
            If an index is out of range.
        ValueError
            If files cannot be read. The message names them.
        """
        if isinstance(some, tuple) and some:  # Dask and scikit-learn pass tuples
            first, *rest = some
            if first is Ellipsis:
                first, rest = slice(None), [Ellipsis, *rest]
            own = () if isinstance(first, Integral) else (slice(None),)
            return self[first][(*own, *rest)]
        rows = self._rows(slice(None) if some is Ellipsis else some)
        images, unreadable = self.decoded(rows.ravel())
        if unreadable:
            raise ValueError(
                f"{len(unreadable)} of {rows.size} files could not be read: "
                f"{listed(list(unreadable.values()))}; leave them out, or replace them."
            )
        return images[0] if rows.ndim == 0 else images

    def decoded(
        self, rows: np.ndarray
    ) -> tuple[np.ndarray, dict[int, tuple[str, str]]]:
        """Decode images in threads, each of which holds one decoded file at a time.

        Parameters
        ----------
        rows : ndarray of int

        Returns
        -------
        images : ndarray of shape (len(rows), ...)
        unreadable : dict
            Name and reason of each file that cannot be read, by its index in `images`.
        """
        images = np.empty((len(rows), *self.shape[1:]), self.dtype)
        reasons: dict[int, tuple[str, str]] = {}

        def read(at: int) -> None:
            row = int(rows[at])
            try:
                images[at] = read_image(self._files[row], self.preparation)
            except UnreadableImageError as error:
                reasons[at] = self._names[row], str(error)

        pieces = [(at,) for at in range(len(rows))]
        in_threads(read, pieces, max(1, min(n_threads(), len(rows))))
        return images, {at: reasons[at] for at in sorted(reasons)}

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Decode all images."""
        if copy is False:
            raise ValueError("Images are decoded, which copy=False forbids.")
        return np.asarray(self[:], dtype=dtype)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape}, dtype={self.dtype})"
