"""TIFF, whole or in windows: by rasterio where it is installed (the extra `aecli[geo]`), else by
tifffile, which reads the whole file and not every compression."""

import importlib.util
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aecli.data.own.pictures import (
    MOST_PIXELS,
    Decoding,
    Picture,
    Pixels,
    UnreadableError,
    held_by,
    masked,
    reasons,
    require_plausible,
)

STRIP = 2**24  # numbers that are read at once


def is_tiff(path: Path) -> bool:
    """True if a file's name is a TIFF's."""
    return path.suffix.lower() in (".tif", ".tiff")


def has_rasterio() -> bool:
    """True if the extra `aecli[geo]` is installed."""
    return importlib.util.find_spec("rasterio") is not None


@dataclass(frozen=True)
class SceneFacts:
    """Facts of a TIFF that its head tells."""

    shape: tuple[int, int, int]
    """(C, H, W), after the choice of bands."""
    dtype: str
    located: bool
    """True if it says where on the ground it lies."""


class Tiff:
    """TIFF that is read in parts; a context manager. All its methods raise UnreadableError."""

    def __init__(self, path: Path, how: Decoding) -> None:
        self._path, self._how = path, how
        self._reader: _Rasterio | _Tifffile
        with reasons():
            self._reader = _Rasterio(path) if has_rasterio() else _Tifffile(path)
        count, height, width = self._reader.shape
        self._bands = how.bands or tuple(range(1, count + 1))
        if max(self._bands) > count:
            self.close()
            raise UnreadableError(
                f"it has {count} bands; data.bands={list(self._bands)} asks for more"
            )
        self.original = f"{height}x{width}, {count} bands of {self._reader.dtype}"
        colours = self._reader.palette is not None
        self.changes = ("palette turned into colours",) if colours else ()
        channels = 3 if colours else len(self._bands)
        try:
            dtype = held_by(self._reader.dtype)
        except UnreadableError:
            self.close()
            raise
        self.facts = SceneFacts((channels, height, width), dtype, self._reader.located)

    def __enter__(self) -> "Tiff":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def read(self, y: int, x: int, height: int, width: int) -> Picture:
        """The window of so many rows and columns whose upper left pixel is at (y, x)."""
        with reasons():
            pixels, valid = self._reader.read(self._bands, y, x, height, width)
        if self._reader.palette is not None:
            pixels = self._reader.palette[pixels[0]].transpose(2, 0, 1)
        with np.errstate(over="ignore"):  # of float64: infinity, which is not valid
            plain = pixels.astype(self.facts.dtype, copy=False)
        return masked(Picture(plain, valid), self._how.nodata, self._reader.nodata)

    def strips(self) -> Iterator[tuple[int, Picture]]:
        """The whole image in strips of all its columns, each with its first row."""
        channels, height, width = self.facts.shape
        rows = max(1, STRIP // max(channels * width, 1))
        rows = rows // 64 * 64 or rows  # whole rows of a tiled file's blocks, mostly
        for y in range(0, height, rows):
            yield y, self.read(y, 0, min(rows, height - y), width)


def whole_tiff(path: Path, how: Decoding) -> Picture:
    with Tiff(path, how) as tiff:
        channels, height, width = tiff.facts.shape
        if height * width > MOST_PIXELS:
            raise UnreadableError(
                f"{height}x{width} pixels, more than {MOST_PIXELS:,} at once; data.tile cuts it"
            )
        require_plausible(height, width, channels, path.stat().st_size)
        picture = tiff.read(0, 0, height, width)
        return Picture(picture.pixels, picture.valid, tiff.changes, tiff.original)


class _Rasterio:
    def __init__(self, path: Path) -> None:
        import rasterio

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has no place on the ground
            self._file = rasterio.open(path, driver="GTiff")
        file = self._file
        self.shape = (file.count, file.height, file.width)
        self.dtype = str(np.result_type(*file.dtypes))
        self.nodata: tuple[float, ...] = tuple({n for n in file.nodatavals if n is not None})
        self.located = file.crs is not None or not file.transform.is_identity
        self.palette: Pixels | None = None
        if file.count == 1 and "palette" in [each.name for each in file.colorinterp]:
            self.palette = np.zeros((256, 3), np.uint8)
            for index, colour in file.colormap(1).items():
                if index < 256:
                    self.palette[index] = colour[:3]
        flags = {flag.name for band in file.mask_flag_enums for flag in band}
        self._masked = bool(flags & {"per_dataset", "alpha"})

    def read(self, bands: tuple[int, ...], y: int, x: int, height: int, width: int) -> Any:
        from rasterio.windows import Window

        window = Window(x, y, width, height)
        pixels = self._file.read(list(bands), window=window)
        mask = self._file.dataset_mask(window=window) != 0 if self._masked else None
        return pixels, mask

    def close(self) -> None:
        self._file.close()


class _Tifffile:
    """A TIFF as tifffile reads it: whole, once."""

    palette: Pixels | None = None
    located = False

    def __init__(self, path: Path) -> None:
        import tifffile

        with tifffile.TiffFile(path) as file:
            page: Any = file.pages[0]
            nodata, located = page.tags.get(42113), page.tags.get(33550)  # GDAL's, GeoTIFF's
            self.located = located is not None
            self.nodata: tuple[float, ...] = () if nodata is None else (float(nodata.value),)
            try:
                array = page.asarray()
            except ValueError as error:
                if "imagecodecs" not in str(error):
                    raise
                kind = page.compression.name
                raise UnreadableError(f"compressed by {kind}; pip install 'aecli[geo]'") from None
            if page.axes == "YX":
                array = array[None]
            elif page.axes == "YXS":
                array = array.transpose(2, 0, 1)
            elif page.axes != "SYX":
                raise UnreadableError(f"axes {page.axes}, expected rows, columns and samples")
            if page.colormap is not None:
                self.palette = (page.colormap.T >> 8).astype(np.uint8)
        self._array = array
        self.shape: tuple[int, int, int] = array.shape
        self.dtype = str(array.dtype)

    def read(self, bands: tuple[int, ...], y: int, x: int, height: int, width: int) -> Any:
        chosen = self._array[[band - 1 for band in bands]]
        return chosen[:, y : y + height, x : x + width], None

    def close(self) -> None:
        pass
