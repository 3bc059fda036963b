"""A file of codes in bits, `codes.bits`: with the run's model alone it gives the same codes again.

The header has the quantiser (ranges and frequencies of each unit) and names the model; behind it
come blocks of codes, each range-coded (Martin 1979) by itself, so that neither side holds more than
one. Whole numbers are little-endian:

    header  magic, version, bits, axes of a code, bytes of the header, images in a block, images,
            SHA-256 of the model; the axes; begin and end of each unit's range (float32);
            the logarithm of each unit's number of bins (1 byte); frequencies (2 bytes each);
            CRC-32 of all this
    block   number of words, CRC-32 of the words, the words (4 bytes each)

A step's bin is coded by its frequency, its place within the bin in as many bits. The range coder is
that of the package constriction (Bamler 2022), whose models are exact in whole numbers, the same on
every machine.
"""

import contextlib
import math
import struct
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from aecli.codespace.archive import FORMAT, Archive, begin, mapped
from aecli.codespace.quantiser import MOST_BIN_BITS, MOST_BITS, Quantiser
from aecli.data.downloads import Working
from aecli.errors import DataError, StorageError, UsageError
from aecli.runs.run import Run

VERSION = 1
BLOCK_NUMBERS = 2**20
"""Numbers of codes that are coded together, at most, but for a single code that has more."""
_MAGIC = b"aeclibit"
_FIXED = struct.Struct("<8sHBBIIQ32s")
_FRAME = struct.Struct("<II")
_CRC = struct.Struct("<I")
_MOST_HEADER, _MOST_AXES = 2**31, 8
_BINARY = ("<u4", "<f4", "<f4", "u1", "<u2")  # axes, lows, highs, bins, frequencies


def coder(asked: str) -> Any:
    """The package constriction's `stream`. Raises UsageError where it is not installed.

    asked: what needs it, as typed.
    """
    try:
        from constriction import stream
    except ImportError:
        raise UsageError(
            f"{asked}: constriction, which codes the bits, is not installed; pip install"
            " 'aecli[bits]'"
        ) from None
    return stream


@dataclass(frozen=True, eq=False)
class Header:
    """The header of a file of bits."""

    quantiser: Quantiser
    model_sha256: str
    images: int
    code_shape: tuple[int, ...]
    block: int
    """Images in each block but the last."""

    @classmethod
    def of(cls, quantiser: Quantiser, model_sha256: str, images: int, shape: Any) -> "Header":
        """The header for so many images with codes of a shape, in blocks of bounded size."""
        block = max(1, BLOCK_NUMBERS // len(quantiser.lows))
        return cls(quantiser, model_sha256, images, tuple(shape), block)

    def packed(self) -> bytes:
        """The header as the file has it."""
        own = self.quantiser
        bins = [len(each).bit_length() - 1 for each in own.frequencies]
        arrays = (self.code_shape, own.lows, own.highs, bins, np.concatenate(own.frequencies))
        parts = zip(arrays, _BINARY, strict=True)
        rest = b"".join(np.asarray(array).astype(kind).tobytes() for array, kind in parts)
        fixed = _FIXED.pack(
            _MAGIC,
            VERSION,
            own.bits,
            len(self.code_shape),
            _FIXED.size + len(rest) + _CRC.size,
            self.block,
            self.images,
            bytes.fromhex(self.model_sha256),
        )
        return fixed + rest + _CRC.pack(zlib.crc32(fixed + rest))

    def blocks(self) -> Iterator[tuple[int, int]]:
        """First image of each block and the one behind its last."""
        for first in range(0, self.images, self.block):
            yield first, min(first + self.block, self.images)


@dataclass(frozen=True)
class Size:
    """Bytes of a file of bits."""

    bytes: int
    coded: int
    """Bytes of the coded words alone: without the header, and without what frames the blocks."""


def is_bits(path: Path) -> bool:
    """True for a file that is meant as one of bits, by its name or its content."""
    if path.suffix.lower() == ".bits":
        return True
    try:
        with path.open("rb") as file:
            return path.is_file() and file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def packed(header: Header, steps: NDArray[np.uint16]) -> Iterator[tuple[bytes, NDArray[np.uint32]]]:
    """The parts of a file of bits, of all steps (N, k): bytes that are no coded words, and words
    that follow them. One block of steps is read at a time."""
    yield header.packed(), np.empty(0, np.uint32)
    for first, end in header.blocks():
        words = coded(np.asarray(steps[first:end]), header.quantiser)
        yield _FRAME.pack(len(words), zlib.crc32(words.tobytes())), words


def write(file: IO[bytes], header: Header, steps: NDArray[np.uint16]) -> Size:
    """Write a file of bits of steps (N, k). Raises OSError."""
    total = of_words = 0
    for frame, words in packed(header, steps):
        file.write(frame)
        file.write(words.tobytes())
        total += len(frame) + words.nbytes
        of_words += words.nbytes
    return Size(total, of_words)


def coded(steps: NDArray[np.uint16], quantiser: Quantiser) -> NDArray[np.uint32]:
    """Words of 32 bits, little-endian, that steps (n, k) are range-coded in, unit by unit."""
    stream = coder("--bits")
    encoder = stream.queue.RangeEncoder()
    for unit, frequencies in zip(steps.T, quantiser.frequencies, strict=True):
        of_bins, of_places, shift = _models(stream, frequencies, quantiser.bits)
        numbers = unit.astype(np.int32)
        if of_bins is not None:
            encoder.encode(numbers >> shift, of_bins)
        if of_places is not None:
            encoder.encode(numbers & (2**shift - 1), of_places)
    return np.asarray(encoder.get_compressed(), "<u4")


def decoded(words: NDArray[np.uint32], n: int, quantiser: Quantiser) -> NDArray[np.uint16]:
    """The steps (n, k) that `coded` made these words of. Raises ValueError for other words."""
    stream = coder("codes.bits")
    decoder = stream.queue.RangeDecoder(words.astype(np.uint32))
    steps = np.zeros((n, len(quantiser.lows)), np.uint16)
    try:
        for unit, frequencies in enumerate(quantiser.frequencies):
            of_bins, of_places, shift = _models(stream, frequencies, quantiser.bits)
            if of_bins is not None:
                steps[:, unit] = decoder.decode(of_bins, n) << shift
            if of_places is not None:
                steps[:, unit] |= decoder.decode(of_places, n).astype(np.uint16)
    except AssertionError as error:  # constriction's own word for words that are none
        raise ValueError(str(error)) from None
    if not decoder.maybe_exhausted():
        raise ValueError("more words than codes")
    return steps


def _models(stream: Any, frequencies: NDArray[np.uint16], bits: int) -> tuple[Any, Any, int]:
    """constriction's models of a unit's bins and of places within one, None where there is a single
    one; the bits of such a place."""
    shift = bits - (len(frequencies).bit_length() - 1)
    weights = frequencies.astype(np.float64)
    of_bins = None if len(weights) == 1 else stream.model.Categorical(weights, perfect=False)
    return of_bins, stream.model.Uniform(2**shift) if shift else None, shift


@contextlib.contextmanager
def opened(path: Path, run: Run, working: Working) -> Iterator[Archive]:
    """The archive of a file of bits, whose codes lie in a temporary file while the block runs.

    Where no `codes.json` is beside it, nothing is known of the images but their number. Raises
    DataError for a damaged file, UsageError for another model's and without constriction,
    StorageError.
    """
    coder(str(path))
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
            header = read_header(file, path)
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
        _require_model(header, path, run)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="aecli-"))
        codes = Path(folder, "codes.npy")
        with working(f"unpacking {path.name}", header.images, "codes") as advance:
            _unpack(file, path, header, codes, advance)
        known = {"format": FORMAT, "model_sha256": header.model_sha256, "images": header.images}
        yield Archive.of(path, mapped(codes), run, known)


def read_header(file: IO[bytes], path: Path) -> Header:
    """The header, at the begin of a file. Raises DataError, OSError."""
    fixed = file.read(_FIXED.size)
    if not fixed.startswith(_MAGIC):
        raise DataError(f"{path}: not codes in bits, by its content")
    if len(fixed) < _FIXED.size:
        raise DataError(f"{path}: damaged: cut short in its header")
    _, version, bits, axes, length, block, images, model = _FIXED.unpack(fixed)
    if version != VERSION:
        raise DataError(f"{path}: its format is {version}; this aecli reads {VERSION}")
    if not _FIXED.size + _CRC.size <= length <= _MOST_HEADER or not 1 <= axes <= _MOST_AXES:
        raise DataError(f"{path}: damaged: its header is none")
    rest = file.read(length - _FIXED.size)
    if len(rest) < length - _FIXED.size:
        raise DataError(f"{path}: damaged: cut short in its header")
    rest, crc = rest[: -_CRC.size], _CRC.unpack(rest[-_CRC.size :])[0]
    if zlib.crc32(fixed + rest) != crc:
        raise DataError(f"{path}: damaged: its header has another checksum")
    try:
        quantiser, shape = _read_quantiser(rest, bits, axes)
        if (
            images < 1
            or block < 1
            or block * len(quantiser.lows) > max(BLOCK_NUMBERS, len(quantiser.lows))
        ):
            raise ValueError(f"{images} images in blocks of {block}")
    except ValueError as error:
        raise DataError(f"{path}: damaged: {error}") from None
    return Header(quantiser, model.hex(), images, shape, block)


def _read_quantiser(rest: bytes, bits: int, axes: int) -> tuple[Quantiser, tuple[int, ...]]:
    """The quantiser and the shape of a code that follow the header's fixed part. Raises
    ValueError."""
    if not 1 <= bits <= MOST_BITS:
        raise ValueError(f"{bits} bits")
    place = 0

    def taken(kind: str, count: int) -> NDArray[Any]:
        nonlocal place
        found = np.frombuffer(rest, kind, count, place)
        place += found.nbytes
        return found

    shape = tuple(taken(_BINARY[0], axes).tolist())
    k = math.prod(shape)
    if not 1 <= k <= len(rest):
        raise ValueError(f"codes of {k:,} numbers")
    lows, highs, bins = (taken(kind, k) for kind in _BINARY[1:4])
    if not (np.isfinite(lows) & np.isfinite(highs) & (lows <= highs)).all():
        raise ValueError("a range that is none")
    if bins.max() > min(bits, MOST_BIN_BITS):
        raise ValueError(f"2^{bins.max()} bins of 2^{bits} steps")
    each = tuple(taken(_BINARY[4], 2**b).astype(np.uint16) for b in bins.tolist())
    if place != len(rest) or any(not some.all() for some in each):
        raise ValueError("frequencies that are none")
    return Quantiser(bits, lows.astype(np.float32), highs.astype(np.float32), each), shape


def _require_model(header: Header, path: Path, run: Run) -> None:
    """Raises UsageError for codes of another model, DataError for a shape that the model's have
    not."""
    if header.model_sha256 != run.model_sha256:
        raise UsageError(
            f"{path}: codes of another model; a code means nothing to the model of {run.path.name}"
        )
    if header.code_shape != tuple(run.codec.code_shape):
        raise DataError(f"{path}: damaged: codes of shape {header.code_shape}")


def _unpack(file: IO[bytes], path: Path, header: Header, codes: Path, advance: Any) -> None:
    """Write the codes of a file of bits, read behind its header, into a .npy. Raises DataError,
    StorageError."""
    with contextlib.ExitStack() as stack:
        try:
            target = stack.enter_context(codes.open("w+b"))
            begin(target, "f4", (header.images, len(header.quantiser.lows)))
            for number, (first, end) in enumerate(header.blocks()):
                steps = _read_block(file, path, number, end - first, header.quantiser)
                target.write(np.ascontiguousarray(header.quantiser.codes(steps)).data)
                advance(end - first)
        except OSError as error:
            raise StorageError(f"cannot write {codes}: {error.strerror or error}") from None
    if file.read(1):
        raise DataError(f"{path}: damaged: it goes on behind its last block")


def _read_block(
    file: IO[bytes], path: Path, number: int, n: int, quantiser: Quantiser
) -> NDArray[np.uint16]:
    """The steps (n, k) of the next block. Raises DataError."""
    where = f"{path}: damaged: block {number}"
    frame = _read(file, path, _FRAME.size)
    if len(frame) < _FRAME.size:
        raise DataError(f"{where} is cut short")
    count, crc = _FRAME.unpack(frame)
    # A step takes at most its bits and 24 more, where a bin is the least likely that there can be.
    most = n * len(quantiser.lows) * (quantiser.bits + 24) // 32 + 4
    if count > most:
        raise DataError(f"{where} has {count:,} words, more than its codes can take")
    content = _read(file, path, 4 * count)
    if len(content) < 4 * count:
        raise DataError(f"{where} is cut short")
    if zlib.crc32(content) != crc:
        raise DataError(f"{where} has another checksum")
    try:
        return decoded(np.frombuffer(content, "<u4"), n, quantiser)
    except ValueError as error:
        raise DataError(f"{where} cannot be decoded: {error}") from None


def _read(file: IO[bytes], path: Path, count: int) -> bytes:
    try:
        return file.read(count)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
