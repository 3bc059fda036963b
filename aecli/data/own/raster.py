"""PNG, JPEG, WebP, GIF and BMP, by Pillow; colour PNGs of 16 bits by `png`."""

import importlib
import io
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
from aecli.data.own.png import deep_png

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage


_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB")


def by_pillow(content: bytes, how: Decoding) -> Picture:
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # its own limit warns; ours is `require_plausible`
    for name in ("Bmp", "Gif", "Jpeg", "Png", "WebP"):  # else `formats` are not known
        importlib.import_module(f"PIL.{name}ImagePlugin")
    try:
        image: PillowImage = Image.open(io.BytesIO(content), formats=_FORMATS)
    except UnidentifiedImageError:
        raise UnreadableError("not an image, by its content") from None
    width, height = image.size
    bands = len(image.getbands())
    require_plausible(height, width, bands, len(content))
    original = f"{height}x{width}, {image.mode}"
    changes: list[str] = []
    if image.format == "PNG" and (found := deep_png(content)) is not None:
        channels_last, clear = found
        original = f"{height}x{width}, {channels_last.shape[2]} channels of 16 bits"
    else:
        clear = _clear_colour(image, content)
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
    if clear is not None:
        channels_last = _with_alpha(channels_last, clear)
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
        return image, []
    if mode in ("P", "PA"):
        clear = mode == "PA" or "transparency" in image.info
        return image.convert("RGBA" if clear else "RGB"), ["palette turned into colours"]
    if mode == "1":
        return image.convert("L"), ["black and white, as 0 and 255"]
    if mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        return image.convert("RGB"), [f"{mode} turned into RGB"]
    return image.convert("RGBA" if mode in ("La", "RGBa") else "RGB"), [f"{mode} turned into RGB"]


def _clear_colour(image: "PillowImage", content: bytes) -> tuple[int, ...] | None:
    """The colour that is transparent in a grey or coloured image; None if there is none."""
    clear = image.info.get("transparency")
    if clear is None or image.mode not in ("1", "L", "I", "I;16", "RGB"):
        return None
    colour = (clear,) if isinstance(clear, int) else tuple(clear)
    bits = content[24] if image.format == "PNG" else 8
    if image.mode == "1":
        return (255 if colour[0] else 0,)
    if bits < 8:  # Pillow spreads the pixels over 0 to 255, not this
        colour = tuple(each * 255 // (2**bits - 1) for each in colour)
    return colour


def _with_alpha(pixels: Pixels, clear: tuple[int, ...]) -> Pixels:
    """(H, W, C) with one channel more, 0 where the pixel has the colour that is transparent."""
    top = np.iinfo(pixels.dtype).max
    alpha = np.where((pixels == clear).all(axis=2, keepdims=True), 0, top).astype(pixels.dtype)
    return np.concatenate([pixels, alpha], axis=2)


def _over_background(pixels: Pixels, background: str) -> tuple[Pixels, list[str]]:
    """Images (H, W, 2 or 4) with alpha, laid over black or white: (H, W, 1 or 3)."""
    top = float(np.iinfo(pixels.dtype).max)
    alpha = pixels[:, :, -1:].astype(np.float32) / top
    colours = pixels[:, :, :-1]
    if bool((alpha == 1).all()):
        return colours, ["alpha, opaque everywhere, left out"]
    below = top if background == "white" else 0.0
    laid = np.empty_like(colours)
    for row, some in enumerate(alpha):  # a row at a time: floats of all take four times the memory
        laid[row] = np.rint(colours[row] * some + below * (1 - some))
    return laid, [f"laid over {background} where transparent"]


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
