"""Offsets of a BigTIFF that lie beyond its end. GDAL's libtiff seeks there, and says on stderr,
past all handlers, that the file system cannot (libtiff.gitlab.io: The BigTIFF File Format)."""

import os
import struct
from pathlib import Path

from aecli.data.own.pictures import UnreadableError

_SIZES = {3: 2, 8: 2, 4: 4, 9: 4, 11: 4, 13: 4, 5: 8, 10: 8, 12: 8, 16: 8, 17: 8, 18: 8}
"""Bytes of a number of each type of field; those that are not here have one."""


def require_offsets_inside(path: Path) -> None:
    """Raises UnreadableError for a BigTIFF whose directories or fields lie beyond its end."""
    with path.open("rb") as file:
        head = file.read(16)
        orders = {b"II\x2b\0": "<", b"MM\0\x2b": ">"}
        if len(head) < 16 or head[:4] not in orders:
            return  # offsets of a plain TIFF have 32 bits, which every file system can seek to
        order, end = orders[head[:4]], os.fstat(file.fileno()).st_size
        (at,) = struct.unpack(order + "Q", head[8:])
        seen: set[int] = set()
        while at and at not in seen:
            seen.add(at)
            _require_inside(at, 8, end)
            file.seek(at)
            (count,) = struct.unpack(order + "Q", file.read(8))
            _require_inside(at + 8, 20 * count + 8, end)
            fields = file.read(20 * count + 8)
            for _, kind, numbers, offset in struct.iter_unpack(order + "HHQQ", fields[:-8]):
                length = numbers * _SIZES.get(kind, 1)
                if length > 8:
                    _require_inside(offset, length, end)
            (at,) = struct.unpack(order + "Q", fields[-8:])


def _require_inside(offset: int, length: int, end: int) -> None:
    if offset + length > end:
        raise UnreadableError(f"damaged: it has {end:,} bytes and points to byte {offset:,}")
