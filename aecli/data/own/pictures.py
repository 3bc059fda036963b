"""Decoded images as values: their pixels, what is valid in them, why there is none."""

import contextlib
import struct
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aecli.counts import count as counted

Pixels = NDArray[Any]
Valid = NDArray[np.bool_]

TYPES = ("uint8", "uint16", "float32")
"""Types of decoded pixels: what a file has is brought to the first that holds it exactly."""
MOST_PIXELS = 2**27
"""Pixels of the largest image that is decoded whole; scenes are read in parts."""
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_RATIO = 2_000  # bytes decoded for one of the file, above which a large image is no real one
_LARGE = 2**26  # bytes


@dataclass(frozen=True)
class Decoding:
    """Settings that decide what pixels a file is decoded to."""

    size: int | None = None
    """Height and width that the image is brought to: the shorter side by area or cubic
    interpolation, then the centre of the longer one."""
    bands: tuple[int, ...] = ()
    """Bands that are kept, from 1, in this order; all if empty."""
    nodata: float | None = None
    """Value of pixels that are not valid, beside the one that the file names."""
    background: Literal["white", "black"] = "white"
    """Colour that transparent pixels are laid over."""


class UnreadableError(Exception):
    """A file that no image comes out of; its text is the reason."""


class PassingError(UnreadableError):
    """A file that could not be read this time, for want of memory or by the system's word: it may
    be read the next time, though nothing in it changes."""


@dataclass(frozen=True)
class Picture:
    """A decoded image."""

    pixels: Pixels
    """(C, H, W), of one of TYPES; 0 where not valid."""
    valid: Valid | None = None
    """(H, W), True where a pixel is valid; None if all are."""
    changes: tuple[str, ...] = ()
    """Everything that was done to what the file has, in words."""
    original: str = ""
    """Words on what the file has: height, width, channels, type."""


def held_by(dtype: str) -> str:
    """The first of TYPES that holds numbers of a type, by name. Raises UnreadableError."""
    try:
        kind = np.dtype(dtype).newbyteorder("=")
    except TypeError:  # records, and types of GDAL's
        kind = np.dtype(object)
    if kind in (np.uint8, np.bool_):
        return "uint8"
    if kind == np.uint16:
        return "uint16"
    if kind.kind in "iuf":
        return "float32"
    raise UnreadableError(f"its values are {dtype}, expected whole or real numbers")


def narrowed(dtype: str) -> tuple[str, ...]:
    """Words on what `held_by` loses of numbers of a type; none if it loses nothing."""
    is_exact = np.can_cast(dtype, held_by(dtype)) or dtype == "bool"
    return () if is_exact else (f"{dtype} as float32, which has 24 bits of precision",)


def masked_pixels(pixels: Pixels, valid: Valid | None, nodata: tuple[float, ...]) -> Valid | None:
    """(…, H, W) True where a pixel of (…, C, H, W) is valid in every channel; None if all are.

    valid: what is known beside the pixels. Not valid are NaN, infinity, and the values in nodata.
    """
    wrong: list[Valid] = []
    if pixels.dtype.kind == "f":
        wrong.append(np.logical_not(np.isfinite(pixels).all(axis=-3)))
    for value in nodata:
        if _fits(value, pixels):
            wrong.append((pixels == pixels.dtype.type(value)).any(axis=-3))
    for each in wrong:
        valid = np.logical_not(each) if valid is None else valid & ~each
    return None if valid is None or bool(valid.all()) else valid


def _fits(value: float, pixels: Pixels) -> bool:
    """True if pixels of this type can have the value."""
    if pixels.dtype.kind == "f" or not np.isfinite(value):
        return pixels.dtype.kind == "f" and not np.isnan(value)
    limits = np.iinfo(pixels.dtype)
    return value == int(value) and limits.min <= value <= limits.max


def masked(picture: Picture, named: float | None, of_file: tuple[float, ...] = ()) -> Picture:
    """The picture without the pixels that are not valid, which become 0."""
    values = (*of_file, *(() if named is None else (named,)))
    valid = masked_pixels(picture.pixels, picture.valid, values)
    if valid is None:
        return replace(picture, valid=None)
    pixels = np.where(valid, picture.pixels, np.zeros((), picture.pixels.dtype))
    return replace(picture, pixels=pixels, valid=valid)


def chosen(pixels: Pixels, bands: tuple[int, ...]) -> Pixels:
    """Some bands (from 1) of pixels (C, H, W). Raises UnreadableError if it has fewer."""
    if max(bands) > len(pixels):
        raise UnreadableError(too_few_bands(len(pixels), bands))
    return pixels[[band - 1 for band in bands]]


def in_channels(picture: Picture, channels: int) -> Picture:
    """A picture in 1 channel or 3 of what has 3 or 1; as it is where it has so many.

    Grey is the luma 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), as Pillow's "L". Raises
    UnreadableError for other numbers of channels.
    """
    pixels = picture.pixels
    if len(pixels) == channels:
        return picture
    if (len(pixels), channels) == (1, 3):
        return replace(picture, pixels=np.repeat(pixels, 3, axis=0))
    if (len(pixels), channels) == (3, 1):
        luma = np.tensordot(_LUMA, pixels.astype(np.float32), axes=1)[None]
        return replace(picture, pixels=in_type(luma, pixels.dtype))
    raise UnreadableError(f"{counted(len(pixels), 'channel')}, which cannot become {channels}")


def in_type(values: Pixels, dtype: Any) -> Pixels:
    """Values as a type; rounded and clipped to whole numbers."""
    if np.dtype(dtype).kind == "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.rint(values).clip(limits.min, limits.max).astype(dtype)


def padded(picture: Picture, height: int, width: int) -> Picture:
    """A picture with rows and columns added below and at the right, which are not valid."""
    rows, columns = picture.pixels.shape[1:]
    if (rows, columns) == (height, width):
        return picture
    more = ((0, height - rows), (0, width - columns))
    valid = np.ones((rows, columns), bool) if picture.valid is None else picture.valid
    return replace(
        picture, pixels=np.pad(picture.pixels, ((0, 0), *more)), valid=np.pad(valid, more)
    )


def stacked(pictures: Sequence[Picture]) -> Picture:
    """Pictures of one shape as one: (n, C, H, W), masks (n, H, W)."""
    pixels = np.stack([picture.pixels for picture in pictures])
    if all(picture.valid is None for picture in pictures):
        return Picture(pixels)
    full = np.ones(pixels.shape[2:], bool)
    masks = [full if picture.valid is None else picture.valid for picture in pictures]
    valid: Valid = np.stack(masks)
    return Picture(pixels, valid)


def too_few_bands(count: int, bands: tuple[int, ...]) -> str:
    """The reason why bands that were asked for cannot be had."""
    return f"it has {counted(count, 'band')}; data.bands={list(bands)} asks for more"


def require_plausible(height: int, width: int, channels: int, size: int) -> None:
    """Raises UnreadableError for more pixels than can be decoded, or than so small a file has."""
    if height < 1 or width < 1:
        raise UnreadableError(f"{height}x{width} pixels")
    if height * width > MOST_PIXELS:
        raise UnreadableError(f"{height}x{width} pixels, more than {MOST_PIXELS:,}")
    require_no_bomb(height, width, channels, size)


def require_no_bomb(height: int, width: int, channels: int, size: int) -> None:
    """Raises UnreadableError for more numbers than a file of so many bytes can hold."""
    decoded = height * width * channels
    if decoded > _LARGE and decoded > _RATIO * size:
        raise UnreadableError(f"{height}x{width} pixels in {size:,} bytes: damaged, or a bomb")


@contextmanager
def reasons() -> Iterator[None]:
    """Whatever a decoder says of a damaged file, as UnreadableError with its first line; what it
    only warns of is not shown."""
    try:
        with quiet():
            yield
    except UnreadableError:
        raise
    except MemoryError:
        raise PassingError("it needs more memory than there is") from None
    except OSError as error:
        if error.strerror:
            raise PassingError(error.strerror) from None
        raise UnreadableError(_damaged(error)) from None
    except Exception as error:  # decoders let through what damaged bytes lead to: any of them
        raise UnreadableError(_damaged(error)) from None


def _damaged(error: Exception) -> str:
    cause = error.__cause__ or error  # rasterio's says no more than to look at its cause
    if isinstance(cause, struct.error) or "truncated" in str(cause).lower():
        return "damaged: cut short"  # in Pillow's words: a buffer, its length, or where it stopped
    return f"damaged: {_first_line(str(cause)) or type(cause).__name__}"


_silenced = threading.Lock()
_decoding = 0  # blocks of `quiet` that are running, in all threads
_before = contextlib.ExitStack()


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings of any library. Python's filters are one list for all threads: the first that
    comes in changes it, the last that goes puts it back."""
    global _decoding
    with _silenced:
        if not _decoding:
            _before.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
        _decoding += 1
    try:
        yield
    finally:
        with _silenced:
            _decoding -= 1
            if not _decoding:
                _before.close()


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:200]
