"""One image file, decoded with nothing lost: depth, orientation, what is not valid in it."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from aecli.data.own.pictures import Decoding, Picture, Pixels, UnreadableError, in_type, reasons
from aecli.data.own.raster import by_pillow
from aecli.data.own.tiff import is_tiff, whole_tiff


def decode(path: Path, how: Decoding) -> Picture:
    """The image in a file. Raises UnreadableError."""
    if is_tiff(path):
        picture = whole_tiff(path, how)
    else:
        with reasons():
            content = path.read_bytes()
        if not content:
            raise UnreadableError("an empty file")
        with reasons():
            picture = by_pillow(content, how)
    return _resized(picture, how.size)


def _resized(picture: Picture, size: int | None) -> Picture:
    """The picture at `size` x `size`: shorter side scaled, centre kept; unchanged without one."""
    if size is None:
        return picture
    height, width = picture.pixels.shape[1:]
    if (height, width) == (size, size):
        return picture
    scale = size / min(height, width)
    rows, columns = max(size, round(height * scale)), max(size, round(width * scale))
    if picture.valid is None:
        pixels, valid = _scaled(picture.pixels, rows, columns), None
    else:  # the mean of the valid pixels alone; a pixel is valid if half of it was
        weights = _scaled(picture.valid[None].astype(np.float32), rows, columns)
        sums = _scaled(picture.pixels.astype(np.float32), rows, columns)
        means = sums / np.maximum(weights, 1e-6)
        valid = weights[0] >= 0.5
        pixels = in_type(np.where(valid, means, 0), picture.pixels.dtype)
    top, left = (rows - size) // 2, (columns - size) // 2
    middle = np.s_[..., top : top + size, left : left + size]
    cut = np.ascontiguousarray(pixels[middle])
    return replace(picture, pixels=cut, valid=None if valid is None else valid[middle])


def _scaled(pixels: Pixels, rows: int, columns: int) -> Pixels:
    """(C, H, W) at other sizes: by area where they shrink, as Pillow's BOX; else bicubic."""
    from PIL import Image

    shrinks = rows <= pixels.shape[1]
    how = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
    planes = [
        np.asarray(Image.fromarray(plane.astype(np.float32)).resize((columns, rows), how))
        for plane in pixels
    ]
    return in_type(np.stack(planes), pixels.dtype)
