"""Decoded tiles of a scene as one GeoTIFF where the scene lies, a row of tiles at a time."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aecli.data.images import batch_size
from aecli.data.own.pictures import Pixels, in_type
from aecli.data.own.tiff import has_rasterio
from aecli.data.whole import Scene
from aecli.errors import DataError, StorageError, UsageError

_AT_ONCE = 256  # tiles decoded together
_STRIP_BYTES = 2**25  # of sums where no tile lies, at once


def write_mosaic(
    path: Path,
    scene: Scene,
    places: NDArray[np.int64],
    decode: Callable[[NDArray[np.int64]], Pixels],
    channels: int,
    dtype: str,
) -> None:
    """Write tiles into a GeoTIFF of the scene's size and place.

    places: (n, 3): the index of each tile, its column and its row. decode: a function that gives
    tiles (m, C, h, w) by their indices, in the units of the file. Where tiles overlap the mean of
    them is written; where there is none, the file's mask says that nothing is valid. Memory is that
    of one row of tiles, or of 32 MiB where there is none, some times over. Raises UsageError
    without rasterio, DataError for a reference system that there is not, StorageError.
    """
    if not has_rasterio():
        raise UsageError("a GeoTIFF needs rasterio: pip install 'aecli[geo]'; or take --npy")
    import rasterio
    from affine import Affine
    from rasterio.crs import CRS
    from rasterio.errors import CRSError, RasterioError
    from rasterio.windows import Window

    where = scene.georeference
    try:
        crs = CRS.from_user_input(where.crs) if where.crs else None
    except (CRSError, ValueError):  # the latter for a code that is no number
        raise DataError(f"{path.name}: no reference system: {where.crs[:40]!r}") from None
    try:
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(
                path,
                "w",
                driver="GTiff",
                height=scene.height,
                width=scene.width,
                count=channels,
                dtype=dtype,
                crs=crs,
                transform=Affine(*where.transform),
                compress="deflate",
                bigtiff="if_safer",
            ) as file,
        ):
            for top, sums, weights in _strips(places, scene, decode, channels):
                means = in_type(sums / np.maximum(weights, 1), dtype)
                window = Window(0, top, scene.width, len(weights))
                file.write(means, window=window)
                file.write_mask(weights > 0, window=window)
    except (OSError, RasterioError) as error:
        raise StorageError(f"cannot write {path}: {error}") from None


def _strips(
    places: NDArray[np.int64],
    scene: Scene,
    decode: Callable[[NDArray[np.int64]], Pixels],
    channels: int,
) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.float32]]]:
    """Strips of rows that no further tile reaches into: first row, sums (C, h, W), weights (h, W).
    Together they are the whole scene."""
    order = places[np.lexsort((places[:, 1], places[:, 2]))]
    sums, weights = _nothing(channels, 0, scene.width)
    top = 0
    for row in np.unique(order[:, 2]).tolist():
        some = order[order[:, 2] == row]
        done = min(row - top, len(weights))
        if done:
            yield top, sums[:, :done], weights[:done]
            sums, weights, top = sums[:, done:], weights[done:], top + done
        if row > top:  # no tile lies there
            yield from _empty(channels, top, row, scene.width)
            top = row
        for first in range(0, len(some), _AT_ONCE):
            chosen = some[first : first + _AT_ONCE]
            for (_, column, _), tile in zip(chosen.tolist(), decode(chosen[:, 0]), strict=True):
                height = min(tile.shape[1], scene.height - row)
                width = min(tile.shape[2], scene.width - column)
                if height > len(weights):
                    more = height - len(weights)
                    sums = np.pad(sums, ((0, 0), (0, more), (0, 0)))
                    weights = np.pad(weights, ((0, more), (0, 0)))
                sums[:, :height, column : column + width] += tile[:, :height, :width]
                weights[:height, column : column + width] += 1
    if len(weights):
        yield top, sums, weights
        top += len(weights)
    if top < scene.height:
        yield from _empty(channels, top, scene.height, scene.width)


def _empty(
    channels: int, top: int, end: int, width: int
) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.float32]]]:
    """Strips of rows from `top` up to, not including, `end`, in which no tile lies."""
    rows = batch_size(channels * width, _STRIP_BYTES)
    for first in range(top, end, rows):
        yield first, *_nothing(channels, min(rows, end - first), width)


def _nothing(
    channels: int, height: int, width: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Sums and weights where there is no tile."""
    return np.zeros((channels, height, width), np.float32), np.zeros((height, width), np.float32)
