"""PNGs of 16 bits in more than one channel, which Pillow would turn into 8 bits without a word.

torchvision's libpng decodes them, and speaks on stderr of all that is odd in a file. It is given a
file made anew, of the pixels alone, once they are known to be whole (PNG, 3rd edition, sections 5,
7 and 9).
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from aecli.data.own.pictures import Pixels, UnreadableError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {2: 3, 4: 2, 6: 4}
"""Number of channels of a colour type."""
_PASSES = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
"""First column and row, and the steps of both, of each pass of Adam7."""


def deep_png(content: bytes) -> tuple[Pixels, tuple[int, ...] | None] | None:
    """The pixels (H, W, C) uint16 of a PNG with more than one channel of 16 bits, and the colour
    that is transparent in it; None of any other PNG. Raises UnreadableError."""
    if content[12:16] != b"IHDR" or len(content) < 33:
        return None
    head = struct.unpack(">IIBBBBB", content[16:29])
    width, height, bits, colour, *methods, interlaced = head
    if bits != 16 or colour not in _CHANNELS:
        return None
    if methods != [0, 0] or interlaced not in (0, 1):
        raise UnreadableError(f"damaged: its head says {head}")
    parts, clear = [], None
    for kind, part in _chunks(content):
        if kind == b"IDAT":
            parts.append(part)  # joined once: libpng writes one for every 8 KiB
        elif kind == b"tRNS" and colour == 2 and len(part) == 6:
            clear = struct.unpack(">3H", part)
    channels = _CHANNELS[colour]
    rows = _whole_rows(b"".join(parts), _sizes(width, height, bool(interlaced)), 2 * channels)
    plain = _chunk(b"IHDR", content[16:29]) + _chunk(b"IDAT", zlib.compress(rows, 0))
    return _decoded(_SIGNATURE + plain + _chunk(b"IEND", b"")), clear


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each chunk that pixels depend on. Raises UnreadableError."""
    at = len(_SIGNATURE)
    while at + 12 <= len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        part = content[at + 8 : at + 8 + length]
        if kind in (b"IHDR", b"IDAT", b"tRNS"):
            (crc,) = struct.unpack(
                ">I", content[at + 8 + length : at + 12 + length].ljust(4, b"\0")
            )
            if len(part) < length or crc != zlib.crc32(kind + part):
                raise UnreadableError(
                    f"damaged: its part {kind.decode()} ends early or has changed"
                )
            yield kind, part
        at += 12 + length


def _sizes(width: int, height: int, interlaced: bool) -> list[tuple[int, int]]:
    """Columns and rows of each pass."""
    if not interlaced:
        return [(width, height)]
    sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in _PASSES]
    return [(columns, rows) for columns, rows in sizes if columns > 0 and rows > 0]


def _whole_rows(pixels: bytes, sizes: list[tuple[int, int]], of_pixel: int) -> bytes:
    """All rows, each with its filter, of the compressed pixels. Raises UnreadableError."""
    lengths = [(rows, 1 + columns * of_pixel) for columns, rows in sizes]
    total = sum(rows * length for rows, length in lengths)
    try:
        found = zlib.decompressobj().decompress(pixels, total)
    except zlib.error as error:
        raise UnreadableError(f"damaged: {error}") from None
    if len(found) < total:
        raise UnreadableError("damaged: its pixels end early")
    at = 0
    for rows, length in lengths:
        part = np.frombuffer(found, np.uint8, rows * length, at).reshape(rows, length)
        if part[:, 0].max() > 4:
            raise UnreadableError("damaged: a row of it has no filter that there is")
        at += rows * length
    return found


def _chunk(kind: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def _decoded(content: bytes) -> Pixels:
    import torch
    from torchvision.io import ImageReadMode, decode_png

    packed = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    return decode_png(packed, ImageReadMode.UNCHANGED).numpy().transpose(1, 2, 0)
