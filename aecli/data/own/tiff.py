"""TIFF, whole or in windows: by rasterio where it is installed (the extra `aecli[geo]`), else by
tifffile, which reads the whole file and not every compression."""

import importlib.util
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from aecli.counts import count as counted
from aecli.data.own.bigtiff import require_offsets_inside
from aecli.data.own.pictures import (
    MOST_PIXELS,
    Decoding,
    Picture,
    Pixels,
    UnreadableError,
    Valid,
    held_by,
    masked,
    narrowed,
    reasons,
    require_no_bomb,
    require_plausible,
    too_few_bands,
)

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # else it speaks on stderr
_PLAIN = ("MINISBLACK", "RGB", "PALETTE")  # colours that tifffile gives as they are seen
_ALPHA = ("ASSOCALPHA", "UNASSALPHA")

STRIP = 2**24  # numbers that are read at once
_ENV = {"GDAL_CACHEMAX": 64 * 2**20}  # bytes; by default 5% of the memory, for each process


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
            size = path.stat().st_size
            if not size:
                raise UnreadableError("an empty file")
            require_offsets_inside(path)
            self._reader = _Rasterio(path) if has_rasterio() else _Tifffile(path)
        try:
            self._take_in(size)
        except UnreadableError:
            self.close()
            raise

    def _take_in(self, size: int) -> None:
        """Hold the head against what can be, and against the settings. Raises UnreadableError."""
        reader, how = self._reader, self._how
        count, height, width = reader.shape
        require_no_bomb(height, width, count, size)
        self._bands = how.bands or reader.bands
        if max(self._bands) > count:
            raise UnreadableError(too_few_bands(count, how.bands))
        self.original = f"{height}x{width}, {counted(count, 'band')} of {reader.dtype}"
        if reader.palette is None:
            channels, dtype = len(self._bands), held_by(reader.dtype)
            self.changes = narrowed(reader.dtype)
        else:
            channels, dtype = reader.palette.shape[1], "uint8"
            self.changes = (f"palette turned into {'grey' if channels == 1 else 'colours'}",)
        if how.bands == () and len(reader.bands) < count:
            self.changes += ("alpha taken as what is valid, not as a channel",)
        self.facts = SceneFacts((channels, height, width), dtype, reader.located)

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
                return self._coloured(pixels, valid, self._reader.palette)
            with np.errstate(over="ignore"):  # of float64: infinity, which is not valid
                plain = pixels.astype(self.facts.dtype, copy=False)
            return masked(Picture(plain, valid), self._how.nodata, self._reader.nodata)

    def _coloured(self, indices: Pixels, valid: Valid | None, palette: Pixels) -> Picture:
        """Indices (1, H, W) in the colours of a palette; nodata is an index."""
        found = masked(Picture(indices, valid), self._how.nodata, self._reader.nodata)
        pixels = palette[found.pixels[0]].transpose(2, 0, 1)
        return masked(replace(found, pixels=pixels), None)

    def strips(self) -> Iterator[tuple[int, Picture]]:
        """The whole image in strips of all its columns, each with its first row."""
        channels, height, width = self.facts.shape
        rows = max(1, STRIP // max(channels * width, 1))
        rows = rows // 64 * 64 or rows  # whole rows of a tiled file's blocks, mostly
        for y in range(0, height, rows):
            yield y, self.read(y, 0, min(rows, height - y), width)


@dataclass(frozen=True)
class Georeference:
    """The place on the ground of a scene."""

    crs: str
    """Coordinate reference system, as `EPSG:32721` or in WKT; empty if the file names none."""
    transform: tuple[float, float, float, float, float, float]
    """a, b, c, d, e, f of x = a column + b row + c and y = d column + e row + f, at the upper left
    corner of a pixel."""

    def at(self, column: float, row: float) -> tuple[float, float]:
        """The coordinates x and y of a place in pixels."""
        a, b, c, d, e, f = self.transform
        return a * column + b * row + c, d * column + e * row + f


def georeference(path: Path) -> Georeference | None:
    """The place on the ground of a TIFF; None if it does not say it, or rasterio is not there to
    read it. Raises UnreadableError."""
    if not is_tiff(path) or not has_rasterio():
        return None
    with reasons():
        reader = _Rasterio(path)
        try:
            return reader.georeference()
        finally:
            reader.close()


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

        with rasterio.Env(**_ENV):  # without one GDAL speaks on stderr
            self._open(path)

    def _open(self, path: Path) -> None:
        import rasterio

        try:
            self._file = rasterio.open(path, driver="GTiff")
        except UnicodeEncodeError:  # its name is not UTF-8, which GDAL's names are
            with path.open("rb") as content:
                self._file = rasterio.open(content, driver="GTiff")
        file = self._file
        self.shape = (file.count, file.height, file.width)
        types = set(file.dtypes)
        self.dtype = types.pop() if len(types) == 1 else str(np.result_type(*types))
        self.nodata: tuple[float, ...] = tuple({n for n in file.nodatavals if n is not None})
        self.located = file.crs is not None or not file.transform.is_identity
        self.palette: Pixels | None = None
        if file.count == 1 and "palette" in [each.name for each in file.colorinterp]:
            self.palette = _palette(file.colormap(1))
        flags = {flag.name for band in file.mask_flag_enums for flag in band}
        self._masked = bool(flags & {"per_dataset", "alpha"})
        colours = [each.name for each in file.colorinterp]
        self.bands = tuple(i for i, name in enumerate(colours, 1) if name != "alpha") or (1,)

    def georeference(self) -> Georeference | None:
        if not self.located:
            return None
        crs = "" if self._file.crs is None else self._file.crs.to_string()
        a, b, c, d, e, f = (float(each) for each in self._file.transform[:6])
        return Georeference(crs, (a, b, c, d, e, f))

    def read(self, bands: tuple[int, ...], y: int, x: int, height: int, width: int) -> Any:
        import rasterio
        from rasterio.windows import Window

        window = Window(x, y, width, height)
        with rasterio.Env(**_ENV):
            pixels = self._file.read(list(bands), window=window)
            mask = self._file.dataset_mask(window=window) != 0 if self._masked else None
        return pixels, mask

    def close(self) -> None:
        import rasterio

        with rasterio.Env(**_ENV):
            self._file.close()


def _palette(colours: dict[int, tuple[int, ...]]) -> Pixels:
    """The colours (65,536, 3) of all indices that there can be, or their greys (65,536, 1)."""
    palette = np.zeros((2**16, 3), np.uint8)
    for index, colour in colours.items():
        palette[index] = colour[:3]
    is_grey = bool((palette == palette[:, :1]).all())
    return palette[:, :1] if is_grey else palette


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
            if page.photometric.name not in _PLAIN:
                kind = page.photometric.name
                raise UnreadableError(f"its colours are {kind}; pip install 'aecli[geo]'")
            require_plausible(*_head(page), path.stat().st_size)
            try:
                array = page.asarray()
            except ValueError as error:
                if "imagecodecs" not in str(error):
                    raise
                kind = page.compression.name
                raise UnreadableError(f"compressed by {kind}; pip install 'aecli[geo]'") from None
            if array.ndim != len(page.axes):
                raise UnreadableError("it has no pixels")
            if page.axes == "YX":
                array = array[None]
            elif page.axes == "YXS":
                array = array.transpose(2, 0, 1)
            elif page.axes != "SYX":
                raise UnreadableError(f"axes {page.axes}, expected rows, columns and samples")
            if page.colormap is not None:
                colours = (page.colormap.T >> 8).tolist()
                self.palette = _palette(dict(enumerate(map(tuple, colours))))
            has_alpha = any(each.name in _ALPHA for each in page.extrasamples)
        self._array = array
        self.shape: tuple[int, int, int] = array.shape
        self.dtype = str(array.dtype)
        self.bands = tuple(range(1, len(array) + (0 if has_alpha else 1)))
        self._valid = array[-1] != 0 if has_alpha else None

    def read(self, bands: tuple[int, ...], y: int, x: int, height: int, width: int) -> Any:
        chosen = self._array[[band - 1 for band in bands]]
        part = np.s_[..., y : y + height, x : x + width]
        return chosen[part], None if self._valid is None else self._valid[part]

    def close(self) -> None:
        pass


def _head(page: Any) -> tuple[int, int, int]:
    """Height, width and samples of a page, by its head."""
    return page.imagelength, page.imagewidth, page.samplesperpixel
