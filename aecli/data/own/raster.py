"""PNG, JPEG, WebP, GIF and BMP, by Pillow; colour PNGs of 16 bits, which Pillow would turn into 8
without a word, by torchvision."""

import io
import struct
from typing import TYPE_CHECKING

import numpy as np

from aecli.data.own.pictures import (
    Decoding,
    Picture,
    Pixels,
    UnreadableError,
    chosen,
    masked,
    require_plausible,
)

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage


def by_pillow(content: bytes, how: Decoding) -> Picture:
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # its own limit warns; ours is `require_plausible`
    formats = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB")
    try:
        image: PillowImage = Image.open(io.BytesIO(content), formats=formats)
    except UnidentifiedImageError:
        raise UnreadableError("not an image, by its content") from None
    width, height = image.size
    bands = len(image.getbands())
    require_plausible(height, width, bands, len(content))
    original = f"{height}x{width}, {image.mode}"
    changes: list[str] = []
    if image.format == "PNG" and (found := _deep_png(content)) is not None:
        pixels, original = found
        channels_last = pixels.transpose(1, 2, 0)
    else:
        if getattr(image, "n_frames", 1) > 1:
            image.seek(0)
            changes.append("first of its frames")
        image.load()
        image, converted = _to_plain_mode(image)
        changes += converted
        channels_last = np.asarray(image)
    if channels_last.ndim == 2:
        channels_last = channels_last[:, :, None]
    if channels_last.dtype == np.int32:  # a grey PNG of 16 bits, as older Pillows have it
        channels_last = channels_last.astype(np.uint16)
    if channels_last.shape[2] in (2, 4):
        channels_last, note = _over_background(channels_last, how.background)
        changes += note
    turned = _upright(channels_last, _orientation(image, changes))
    if turned is not channels_last:
        changes.append("turned upright, as its EXIF says")
    pixels = np.ascontiguousarray(turned.transpose(2, 0, 1))
    if how.bands:
        pixels = chosen(pixels, how.bands)
    return masked(Picture(pixels, None, tuple(changes), original), how.nodata)


def _to_plain_mode(image: "PillowImage") -> tuple["PillowImage", list[str]]:
    """The image as L, LA, RGB, RGBA, I;16 or F, and what was changed."""
    mode = image.mode
    if mode in ("L", "LA", "RGB", "RGBA", "I", "I;16", "F"):
        if "transparency" in image.info and mode in ("L", "RGB"):
            return image.convert("LA" if mode == "L" else "RGBA"), []
        return image, []
    if mode in ("P", "PA"):
        clear = mode == "PA" or "transparency" in image.info
        return image.convert("RGBA" if clear else "RGB"), ["palette turned into colours"]
    if mode == "1":
        return image.convert("L"), ["black and white, as 0 and 255"]
    if mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        return image.convert("RGB"), [f"{mode} turned into RGB"]
    return image.convert("RGBA" if mode in ("La", "RGBa") else "RGB"), [f"{mode} turned into RGB"]


def _deep_png(content: bytes) -> tuple[Pixels, str] | None:
    """The pixels (C, H, W) uint16 of a PNG with more than one channel of 16 bits, and words on
    them; None of any other PNG."""
    depth, colour_type = struct.unpack(">BB", content[24:26])
    if depth != 16 or colour_type not in (2, 4, 6):
        return None
    import torch
    from torchvision.io import ImageReadMode, decode_png

    packed = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    pixels = decode_png(packed, ImageReadMode.UNCHANGED).numpy()
    return pixels, f"{pixels.shape[1]}x{pixels.shape[2]}, {pixels.shape[0]} channels of 16 bits"


def _over_background(pixels: Pixels, background: str) -> tuple[Pixels, list[str]]:
    """Images (H, W, 2 or 4) with alpha, laid over black or white: (H, W, 1 or 3)."""
    top = float(np.iinfo(pixels.dtype).max)
    alpha = pixels[:, :, -1:].astype(np.float32) / top
    colours = pixels[:, :, :-1]
    if bool((alpha == 1).all()):
        return colours, ["alpha, opaque everywhere, left out"]
    below = top if background == "white" else 0.0
    mixed = colours * alpha + below * (1 - alpha)
    return np.rint(mixed).astype(pixels.dtype), [f"laid over {background} where transparent"]


def _orientation(image: "PillowImage", changes: list[str]) -> int:
    """The EXIF orientation, 1 to 8; 1 if there is none that can be read."""
    try:
        found = image.getexif().get(0x0112, 1)
    except Exception as error:  # Pillow's parser lets through whatever damaged bytes lead to
        changes.append(f"EXIF that cannot be read ({type(error).__name__}) left out")
        return 1
    return found if found in range(1, 9) else 1


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """(H, W, C), turned and mirrored as the EXIF orientation (TIFF 6.0, tag 274) asks."""
    match orientation:
        case 2:
            return pixels[:, ::-1]
        case 3:
            return pixels[::-1, ::-1]
        case 4:
            return pixels[::-1]
        case 5:
            return pixels.transpose(1, 0, 2)
        case 6:
            return pixels.transpose(1, 0, 2)[:, ::-1]
        case 7:
            return pixels.transpose(1, 0, 2)[::-1, ::-1]
        case 8:
            return pixels.transpose(1, 0, 2)[::-1]
    return pixels
