"""Parse IDX, the format of MNIST's files (LeCun et al., "The MNIST database", file formats)."""

import math
import struct

import numpy as np
from numpy.typing import NDArray

from aecli.errors import DataError

_UNSIGNED_BYTE = 0x08


def parse_idx(content: bytes, dimensions: int, name: str) -> NDArray[np.uint8]:
    """The uint8 array in an IDX file.

    content: the file, decompressed. dimensions: number of dimensions, 3 for images, 1 for labels.
    Raises DataError naming the file, what was expected and what was found.
    """
    header_bytes = 4 + 4 * dimensions
    if len(content) < header_bytes:
        raise DataError(f"{name}: {len(content)} bytes; its header alone has {header_bytes}")
    magic = content[:4]
    expected = bytes((0, 0, _UNSIGNED_BYTE, dimensions))
    if magic != expected:
        raise DataError(
            f"{name}: starts with {magic.hex()}, not {expected.hex()} (IDX magic number)"
        )
    shape = struct.unpack(f">{dimensions}I", content[4:header_bytes])
    expected_bytes = header_bytes + math.prod(shape)
    if len(content) != expected_bytes:
        sizes = "x".join(map(str, shape))
        raise DataError(
            f"{name}: {len(content):,} bytes; its header says {sizes},"
            f" which takes {expected_bytes:,}"
        )
    return np.frombuffer(content, np.uint8, offset=header_bytes).reshape(shape)
