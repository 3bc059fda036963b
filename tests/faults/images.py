"""Rows on anybody's images: the table of odd ones through the program, and damaged files of every
format through the decoders.

Every damaged file comes from a generator seeded by its number, so a failure names all that is
needed to repeat it. They are decoded in a process of its own, which a decoder may end, and whose
stderr must stay empty.
"""

import json
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np

from aecli.config import DataConfig
from aecli.data.own import tiff
from aecli.data.own.arrays import array_of
from aecli.data.own.decoding import decode
from aecli.data.own.pictures import TYPES, Decoding, UnreadableError
from aecli.errors import DataError, UsageError
from aecli.terminal import not_shown
from tests import odd_images
from tests.faults.outcome import Outcome, bounded_memory, within
from tests.faults.program import inside
from tests.forked import Forked

_CODES = {True: 0, False: 3}


def odd(scratch: Path, thorough: bool) -> Outcome:
    """Exit 0, 2 or 3 as the table says, no traceback, nothing in the dataset's folder changed."""
    outcome = Outcome()
    open_to_all = odd_images.reads_everything(scratch)
    settings = ("--set", "data.size=8", "--set", "data.min_valid=0.1")
    for number, file in enumerate(odd_images.FILES[:: 1 if thorough else 40]):
        if open_to_all and "sealed" in file.name:
            continue
        folder = scratch / f"file{number}"
        odd_images.put_good(folder, file.bits, file.channels)
        file.write(folder / file.name)
        with outcome.fault(f"file {file.name!r}"), within(10):
            code = _CODES[file.outcome != odd_images.FAULT]
            _dry_run(scratch, folder, code, *settings)
    for number, place in enumerate(odd_images.PLACES[:: 1 if thorough else 40]):
        if open_to_all and "sealed" in place.name:
            continue
        folder = scratch / f"place{number}"
        folder.mkdir()
        path = folder / (place.write(folder) or "")
        given = [f"data.{key}={_as_yaml(value)}" for key, value in place.settings.items()]
        with outcome.fault(f"dataset {place.name}"), within(10):
            code = place.exit_code if place.error else 0
            _dry_run(scratch, path, code, *(word for each in given for word in ("--set", each)))
    return outcome


def _as_yaml(value: object) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def _dry_run(scratch: Path, path: Path, code: int, *options: str) -> None:
    batch = ("--set", "train.batch_size=1")
    done = inside(scratch, "train", "--dataset", str(path), "--dry-run", *batch, *options)
    assert done.code == code, done
    assert "Traceback" not in done.stderr
    if code:
        assert done.stdout == ""
        assert "\naecli: " in f"\n{done.stderr}"
    assert all(c.isprintable() or c == "\n" for c in done.stderr)


def damaged(scratch: Path, thorough: bool) -> Outcome:
    """Decoded to an image that can be, or refused as unreadable, within 2 s and 500 MB."""
    count = 600 if thorough else 10
    outcome = Outcome()
    said, told = scratch / "stdout", scratch / "stderr"
    with said.open("w") as out, told.open("w") as err:
        work = partial(_decode_every_kind, scratch, count)
        code = Forked(work, (err.fileno(), out.fileno(), err.fileno())).wait()
    lines = said.read_text().splitlines()
    with outcome.fault("the process itself, and its stderr"):
        assert (code, told.read_text()) == (0, ""), (code, told.read_text()[-300:])
        assert len(lines) == len(KINDS)
    for line in lines:
        found = json.loads(line)
        outcome.merge(Outcome(found["injected"], found["survived"], found["failures"]))
    return outcome


def _decode_every_kind(scratch: Path, count: int) -> None:
    for kind in KINDS:
        print(json.dumps(decode_damaged(scratch, kind, count).__dict__), flush=True)


def decode_damaged(scratch: Path, kind: str, count: int) -> Outcome:
    """The outcome of so many damaged files of a kind."""
    suffix, make, reader = KINDS[kind]
    outcome = Outcome()
    wholes = make()
    path = scratch / f"damaged{suffix}"
    with mock.patch.object(tiff, "has_rasterio", return_value="tifffile" not in kind):
        for whole in wholes:
            path.write_bytes(whole)
            reader(path)  # what is not damaged is read
        for n in range(count):
            rng = random.Random(f"{kind} {n}")
            path.write_bytes(_damaged(rng.choice(wholes), wholes, rng))
            with outcome.fault(f"{kind} {n}"), bounded_memory(), within():
                _refused_or_read(reader, path)
    return outcome


def _refused_or_read(reader: Callable[[Path], None], path: Path) -> None:
    reason = "read"
    try:
        reader(path)
    except (UnreadableError, DataError, UsageError) as error:
        reason = str(error)
    assert reason.strip(), "refused without a reason"


def _read_image(path: Path) -> None:
    picture = decode(path, Decoding(size=8))
    assert picture.pixels.dtype in TYPES
    assert picture.pixels.shape[1:] == (8, 8)
    assert np.isfinite(picture.pixels).all()


def _read_array(path: Path) -> None:
    array_of(DataConfig(dataset=str(path)), path.parent / "cache", not_shown)


def _pngs() -> list[bytes]:
    saved, rgb = odd_images.saved, odd_images.RGB
    return [saved(rgb), saved(odd_images.RGBA), saved(odd_images.GREY, "1"), saved(rgb, "P")]


def _deep_pngs() -> list[bytes]:
    clear = odd_images.chunk(b"tRNS", bytes(6))
    arrays = {n: odd_images.noise(12, 10, n, dtype=np.uint16) for n in (1, 2, 3, 4)}
    wholes = [odd_images.deep_png(array) for array in arrays.values()]
    wholes.append(odd_images.deep_png(arrays[3], clear, odd_images.damaged_profile()))
    return [*wholes, odd_images.deep_png(arrays[4], interlaced=True)]


def _jpegs() -> list[bytes]:
    saved = odd_images.saved
    return [
        saved(odd_images.RGB, format="JPEG"),
        saved(odd_images.RGB, format="JPEG", progressive=True),
        saved(odd_images.RGBA, "CMYK", format="JPEG"),
        odd_images.with_orientation(6, format="JPEG"),
    ]


def _webps() -> list[bytes]:
    saved = odd_images.saved
    return [
        saved(odd_images.RGB, format="WEBP"),
        saved(odd_images.RGBA, format="WEBP", lossless=True),
        odd_images.with_orientation(6, format="WEBP"),
    ]


def _gifs() -> list[bytes]:
    saved = odd_images.saved
    return [saved(odd_images.RGB, "P", format="GIF"), saved(odd_images.GREY, format="GIF")]


def _bmps() -> list[bytes]:
    saved = odd_images.saved
    return [saved(odd_images.RGB, format="BMP"), saved(odd_images.GREY, "1", format="BMP")]


def _plain_tiffs() -> list[bytes]:
    rgb = odd_images.RGB
    return [
        odd_images.tiff(rgb),
        odd_images.tiff(rgb, tile=(16, 16), bigtiff=True),
        odd_images.tiff(odd_images.noise(3, 12, 10).astype(np.float32), planar=True),
        odd_images.tiff(rgb, compression="zlib", predictor=True),
        odd_images.saved(rgb, "P", format="TIFF"),
    ]


def _tiffs() -> list[bytes]:
    saved, rgb = odd_images.saved, odd_images.RGB
    kinds = ("tiff_lzw", "jpeg", "packbits")
    compressed = [saved(rgb, format="TIFF", compression=kind) for kind in kinds]
    white = odd_images.tiff(odd_images.GREY, photometric="miniswhite")
    fax = saved(odd_images.GREY, "1", format="TIFF", compression="group4")
    return [*_plain_tiffs(), *compressed, white, fax, saved(odd_images.RGBA, "CMYK", format="TIFF")]


def _arrays() -> list[bytes]:
    images = odd_images.noise(8, 5, 4)
    return [odd_images.npy(images), odd_images.npy(images.astype(">f4"))]


def _archives() -> list[bytes]:
    images = odd_images.noise(8, 5, 4)
    content = odd_images.npz(images=images, labels=np.arange(8) % 2)
    return [content, odd_images.deflated("x.npy", odd_images.npy(images))]


Kind = tuple[str, Callable[[], list[bytes]], Callable[[Path], None]]
KINDS: dict[str, Kind] = {
    "PNG": (".png", _pngs, _read_image),
    "PNG of 16 bits": (".png", _deep_pngs, _read_image),
    "JPEG": (".jpg", _jpegs, _read_image),
    "WebP": (".webp", _webps, _read_image),
    "GIF": (".gif", _gifs, _read_image),
    "BMP": (".bmp", _bmps, _read_image),
    "TIFF": (".tif", _tiffs, _read_image),
    "TIFF by tifffile": (".tif", _plain_tiffs, _read_image),
    "npy": (".npy", _arrays, _read_array),
    "npz": (".npz", _archives, _read_array),
}
_NUMBERS = (0, 1, 2, 0x7F, 0xFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def _damaged(whole: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """The file after one to four changes."""
    is_png = whole.startswith(b"\x89PNG")
    for _ in range(rng.randint(1, 4)):
        if is_png and rng.random() < 0.6:
            whole = _changed_part(whole, rng)
        else:
            whole = _changed(whole, rng.choice(others), rng)
    return whole


def _changed(whole: bytes, other: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, overwritten by a telling number, cut, doubled, or put in from another file."""
    if not whole:
        return other[: rng.randrange(len(other))]
    at = rng.randrange(len(whole)) if rng.random() < 0.5 else rng.randrange(min(len(whole), 64))
    length = rng.randint(1, 40)
    match rng.randrange(6):
        case 0:
            return whole[:at] + bytes([whole[at] ^ (1 << rng.randrange(8))]) + whole[at + 1 :]
        case 1:
            order = rng.choice("<>")
            number = struct.pack(f"{order}I", rng.choice(_NUMBERS))[: rng.choice((1, 2, 4))]
            return whole[:at] + number + whole[at + len(number) :]
        case 2:
            return whole[:at]
        case 3:
            return whole[:at] + whole[at + length :]
        case 4:
            return whole[: at + length] + whole[at:]
        case _:
            start = rng.randrange(len(other))
            return whole[:at] + other[start : start + length] + whole[at + length :]


def _changed_part(whole: bytes, rng: random.Random) -> bytes:
    """A PNG with one chunk changed, dropped, doubled or cut, and its CRC made right; pixels are
    changed before they are compressed, or after."""
    parts = list(_parts(whole))
    if not parts:
        return whole
    i = rng.randrange(len(parts))
    kind, content = parts[i]
    match rng.randrange(4):
        case 0 if kind == b"IDAT":
            pixels = zlib.decompressobj().decompress(content, 10_000) if _inflates(content) else b""
            parts[i] = kind, zlib.compress(_changed(pixels, content, rng))
        case 1:
            parts.insert(rng.randrange(len(parts)), parts[i])
        case 2:
            del parts[i]
        case _:
            parts[i] = kind, _changed(content, content or b"\0", rng)
    return whole[:8] + b"".join(odd_images.chunk(*part) for part in parts)


def _inflates(content: bytes) -> bool:
    try:
        zlib.decompressobj().decompress(content, 10_000)
    except zlib.error:
        return False
    return True


def _parts(whole: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kinds and contents of a PNG's chunks."""
    at = 8
    while at + 12 <= len(whole):
        (length,) = struct.unpack(">I", whole[at : at + 4])
        yield whole[at + 4 : at + 8], whole[at + 8 : at + 8 + length]
        at += 12 + length
