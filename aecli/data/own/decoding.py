"""One image file, decoded with nothing lost: depth, orientation, what is not valid in it."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from aecli.data.own.pictures import Decoding, Picture, Pixels, UnreadableError, in_type, reasons
from aecli.data.own.raster import by_pillow
from aecli.data.own.tiff import is_tiff, whole_tiff


def decode(path: Path, how: Decoding) -> Picture:
    """The image in a file. Raises UnreadableError."""
    return decode_hashed(path, how)[0]


def decode_hashed(path: Path, how: Decoding) -> tuple[Picture, str]:
    """The image in a file, and the file's SHA-256 in hexadecimal. Raises UnreadableError."""
    with reasons():
        if is_tiff(path):
            picture, digest = whole_tiff(path, how), sha256_of(path)
        else:
            content = path.read_bytes()
            if not content:
                raise UnreadableError("an empty file")
            picture, digest = by_pillow(content, how), hashlib.sha256(content).hexdigest()
    return _resized(picture, how.size), digest


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        pixels, valid = _scaled(picture.pixels, rows, columns, size), None
    else:  # the mean of the valid pixels alone; a pixel is valid if half of it was
        weights = _scaled(picture.valid[None].astype(np.float32), rows, columns, size)
        sums = _scaled(picture.pixels.astype(np.float32), rows, columns, size)
        means = sums / np.maximum(weights, 1e-6)
        valid = weights[0] >= 0.5
        pixels = in_type(np.where(valid, means, 0), picture.pixels.dtype)
    return replace(picture, pixels=pixels, valid=valid)


def _scaled(pixels: Pixels, rows: int, columns: int, size: int) -> Pixels:
    """The middle (C, size, size) of (C, H, W) brought to so many rows and columns: by area where
    they shrink, as Pillow's BOX; else bicubic. A line of pixels is long at a hundred times its
    height, so that nothing but the middle is made."""
    from PIL import Image

    height, width = pixels.shape[1:]
    top, left = (rows - size) // 2, (columns - size) // 2
    down, across = height / rows, width / columns
    box = (left * across, top * down, (left + size) * across, (top + size) * down)
    how = Image.Resampling.BOX if rows <= height else Image.Resampling.BICUBIC
    planes = [
        np.asarray(Image.fromarray(plane.astype(np.float32)).resize((size, size), how, box))
        for plane in pixels
    ]
    return in_type(np.stack(planes), pixels.dtype)
