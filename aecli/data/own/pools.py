"""Pixels of many images, wherever they lie: kept in the cache, in an array, in their files."""

import mmap
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aecli.data.own import in_use
from aecli.data.own.decoding import decode
from aecli.data.own.pictures import (
    Decoding,
    Picture,
    Pixels,
    UnreadableError,
    in_channels,
    padded,
    stacked,
)
from aecli.data.own.pictures import masked as without_nodata
from aecli.data.own.tiff import Tiff, is_tiff
from aecli.errors import DataError

RESIDENT = 2**29
"""Bytes of a mapped file that may stay in this process's memory; more are given back."""


_MAPPED_AT_ONCE = 2**16  # bytes around each that is read (Linux: fault_around_bytes)


class Pool(ABC):
    """Images of one type and number of channels, of any sizes, that windows are read from."""

    channels: int
    dtype: str
    """Type of the decoded pixels."""
    masked: bool
    """True if some pixels are not valid."""

    @abstractmethod
    def window(self, item: int, y: int, x: int, height: int, width: int) -> Picture:
        """The part (c, height, width) of an image, in the channels that it has itself, its upper
        left pixel at (y, x); what lies beyond its edges is not valid."""

    def read(self, windows: NDArray[np.int32], height: int, width: int) -> Picture:
        """Parts (n, C, height, width) of images, with masks (n, height, width).

        windows: (n, 3), each an image's index and the row and column of the upper left pixel.
        """
        if not len(windows):
            return Picture(np.empty((0, self.channels, height, width), self.dtype))
        parts = self._parts(windows.tolist(), height, width)
        return stacked([in_channels(part, self.channels) for part in parts])

    def _parts(
        self, windows: Sequence[tuple[int, int, int]], height: int, width: int
    ) -> Iterable[Picture]:
        return (self.window(i, y, x, height, width) for i, y, x in windows)


@dataclass(frozen=True)
class Place:
    """A file's place in the store."""

    shape: tuple[int, int, int]
    offset: int
    mask_offset: int


class Kept(Pool):
    """Images that are kept decoded in the cache."""

    def __init__(
        self,
        pixels: Path,
        masks: Path | None,
        places: Sequence[Place],
        dtype: str,
        channels: int,
    ) -> None:
        self._arguments = (pixels, masks, places, dtype, channels)
        self._places, self.dtype, self.channels = places, dtype, channels
        self.masked = any(place.mask_offset >= 0 for place in places)
        self._pixels = _mapped(pixels)
        self._masks = None if masks is None else _mapped(masks)
        self._read_since = 0

    def __reduce__(self) -> Any:
        return Kept, self._arguments

    @cached_property
    def _every(self) -> Pixels | None:
        """All images (N, C, H, W), mapped; None if they are not alike and evenly spaced."""
        first = self._places[0]
        steps = np.diff([place.offset for place in self._places])
        alike = all(place.shape == first.shape for place in self._places)
        if self.masked or not alike or first.shape[0] != self.channels or len(steps) == 0:
            return None
        if bool((steps != steps[0]).any()):
            return None
        strides = (int(steps[0]), *np.ndarray(first.shape, self.dtype).strides)
        shape = (len(self._places), *first.shape)
        return np.ndarray(shape, self.dtype, self._pixels, first.offset, strides)

    def window(self, item: int, y: int, x: int, height: int, width: int) -> Picture:
        place = self._places[item]
        image = np.ndarray(place.shape, self.dtype, self._pixels, place.offset)
        pixels = np.array(image[:, y : y + height, x : x + width])
        valid = None
        if place.mask_offset >= 0:
            mask = np.ndarray(place.shape[1:], np.bool_, self._masks, place.mask_offset)
            valid = np.array(mask[y : y + height, x : x + width])
        # A row of a window brings in as much of the file as the system maps at once.
        of_rows = len(pixels) * pixels.shape[1] * min(image.strides[1], _MAPPED_AT_ONCE)
        self._count(of_rows if width < place.shape[2] else pixels.nbytes)
        return padded(Picture(pixels, valid), height, width)

    def read(self, windows: NDArray[np.int32], height: int, width: int) -> Picture:
        if self._every is None or self._every.shape[2:] != (height, width):
            return super().read(windows, height, width)
        pixels = self._every[windows[:, 0]]
        self._count(pixels.nbytes)
        return Picture(pixels)

    def _count(self, number: int) -> None:
        """Count bytes that were mapped in, and give all back where they are many."""
        self._read_since += number
        if self._read_since > RESIDENT:
            self._read_since = 0
            _let_go(self._pixels)
            _let_go(self._masks)


class Array(Pool):
    """Images in one array: (N, H, W), (N, H, W, C) or (N, C, H, W), in a file of NumPy's."""

    def __init__(
        self,
        path: Path,
        channels_last: bool,
        dtype: str,
        channels: int,
        nodata: float | None,
        bands: tuple[int, ...],
        masked: bool,
    ) -> None:
        self._arguments = (path, channels_last, dtype, channels, nodata, bands, masked)
        self._path, self._channels_last, self._bands = path, channels_last, bands
        self.dtype, self._nodata = dtype, nodata
        self.channels, self.masked = channels, masked
        self._read_since = 0

    def __reduce__(self) -> Any:
        return Array, self._arguments

    @cached_property
    def every(self) -> Pixels:
        """All images (N, C, H, W) with all bands, mapped."""
        self._held = _mapped(self._path)
        mapped = np.load(self._path, mmap_mode="r", allow_pickle=False)
        if mapped.ndim == 3:
            return mapped[:, None]
        return mapped.transpose(0, 3, 1, 2) if self._channels_last else mapped

    def window(self, item: int, y: int, x: int, height: int, width: int) -> Picture:
        part = self._plain(self.every[item, :, y : y + height, x : x + width])
        picture = without_nodata(Picture(part), self._nodata) if self.masked else Picture(part)
        return padded(picture, height, width)

    def read(self, windows: NDArray[np.int32], height: int, width: int) -> Picture:
        images = self.every
        whole = not self.masked and images.shape[2:] == (height, width)
        if whole and (len(self._bands) or images.shape[1]) == self.channels:
            picture = Picture(self._plain(images[windows[:, 0]]))
        else:
            picture = super().read(windows, height, width)
        self._read_since += picture.pixels.nbytes
        if self._read_since > RESIDENT:
            self._read_since = 0
            _let_go(images)
        return picture

    def _plain(self, part: Pixels) -> Pixels:
        """A part (..., C, H, W) of the array with the chosen bands, as one of TYPES."""
        if self._bands:
            part = part[..., [band - 1 for band in self._bands], :, :]
        if part.dtype == np.bool_:
            return np.where(part, np.uint8(255), np.uint8(0))
        with np.errstate(over="ignore"):  # of float64: infinity, which is not valid
            return np.ascontiguousarray(part).astype(self.dtype, copy=False)


class Files(Pool):
    """Images that are decoded from their files each time they are read, on all cores."""

    def __init__(
        self,
        paths: Sequence[Path],
        how: Decoding,
        dtype: str,
        channels: int,
        masked: bool,
        workers: int,
    ) -> None:
        self._arguments = (paths, how, dtype, channels, masked, workers)
        self._paths, self._how, self.dtype = paths, how, dtype
        self.channels, self.masked = channels, masked

    def __reduce__(self) -> Any:
        return Files, self._arguments

    @cached_property
    def _workers(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._arguments[-1])

    def window(self, item: int, y: int, x: int, height: int, width: int) -> Picture:
        path, part = self._paths[item], np.s_[..., y : y + height, x : x + width]
        try:
            if is_tiff(path) and self._how.size is None:
                with Tiff(path, self._how) as tiff:
                    rows, columns = tiff.facts.shape[1:]
                    picture = tiff.read(y, x, min(height, rows - y), min(width, columns - x))
            else:
                whole = decode(path, self._how)
                valid = None if whole.valid is None else whole.valid[part]
                picture = Picture(whole.pixels[part], valid)
        except UnreadableError as reason:
            raise DataError(f"{path}: changed since the first look: {reason}") from None
        if picture.pixels.dtype != self.dtype or 0 in picture.pixels.shape:
            raise DataError(f"{path}: changed since the first look: it has another size or type")
        return padded(picture, height, width)

    def _parts(
        self, windows: Sequence[tuple[int, int, int]], height: int, width: int
    ) -> Iterable[Picture]:
        return self._workers.map(
            lambda at: self.window(at[0], at[1], at[2], height, width), windows
        )


def _mapped(path: Path) -> Any:
    """A file as bytes, mapped; one of the cache is not removed until it is let go. Raises
    DataError."""
    try:
        with path.open("rb") as file:
            in_use.mark(file.fileno())
            return np.memmap(file, np.uint8, "r")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: gone since the first look: {error}") from None


def _let_go(mapped: Any) -> None:
    """Give the pages of a mapped file back; they are read again when they are needed."""
    while mapped is not None and not isinstance(mapped, mmap.mmap):
        mapped = getattr(mapped, "base", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
