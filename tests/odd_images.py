"""Odd inputs that people have among their images, and what must become of each.

FILES has single files, each looked at alone and among five good images; PLACES whole datasets.
Every one is made by code, from a seed.
"""

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

USED, FAULT, OVER, MASKED = "used", "fault", "passed over", "masked"
ROWS, COLUMNS = 12, 10
GOOD = 5
"""Good images that an odd one is put among."""
Array = NDArray[Any]
_rng = np.random.default_rng(14)


@dataclass(frozen=True)
class OddFile:
    """One file, and its outcome among images of 8 bits with three channels."""

    name: str
    write: Callable[[Path], object]
    """Writes it at the path it is given."""
    outcome: str
    """USED, FAULT, OVER (looked at by nobody) or MASKED (used, and some pixels are not valid)."""
    words: str = ""
    """Part of the fault's reason, or of what is said to have been changed."""
    bits: int = 8
    """Bits of the good images' pixels: 8, 16 or, for float32, 32."""
    channels: int = 3
    """Channels of the good images."""

    @property
    def unlike(self) -> bool:
        """True for an image that is a fault only beside images that are unlike it."""
        return "most are" in self.words or "cannot become" in self.words


@dataclass(frozen=True)
class OddPlace:
    """A whole dataset."""

    name: str
    write: Callable[[Path], str | None]
    """Writes it below the folder it is given; the name there that is the dataset (None: all)."""
    error: str = ""
    """Part of the error's text; empty if the dataset is used."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    exit_code: int = 3
    """Exit code of the program where there is an error."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What is known of the dataset: n, shape, classes, warning, masked."""


def noise(*shape: int, dtype: Any = np.uint8, seed: int = 0) -> Array:
    """Values over the whole range of an unsigned type."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


RGB, RGBA, GREY = noise(ROWS, COLUMNS, 3), noise(ROWS, COLUMNS, 4), noise(ROWS, COLUMNS)


def saved(array: Array, mode: str | None = None, **options: Any) -> bytes:
    """An image file, PNG unless `format` says otherwise, by Pillow."""
    image = Image.fromarray(array)
    if mode is not None:
        image = image.convert(mode)
    content = io.BytesIO()
    image.save(content, **{"format": "PNG", **options})
    return content.getvalue()


def good_png(seed: int, bits: int = 8, channels: int = 3) -> bytes:
    """A PNG with nothing odd about it."""
    if bits == 16:
        return deep_png(noise(ROWS, COLUMNS, channels, dtype=np.uint16, seed=seed))
    array = noise(ROWS, COLUMNS, channels, seed=seed)
    return saved(array if channels > 1 else array[:, :, 0])


def good_tiff(seed: int, channels: int) -> bytes:
    """A TIFF of float32."""
    return tiff(noise(channels, ROWS, COLUMNS, seed=seed).astype(np.float32), planar="separate")


def put_good(folder: Path, bits: int = 8, channels: int = 3, count: int = GOOD) -> None:
    """Write good images."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(1, count + 1):
        if bits == 32:
            (folder / f"good{seed}.tif").write_bytes(good_tiff(seed, channels))
        else:
            (folder / f"good{seed}.png").write_bytes(good_png(seed, bits, channels))


# PNG, written out by hand: Pillow writes neither 16 bits in colour nor what is wrong.

_CHANNELS = {1: 0, 2: 4, 3: 2, 4: 6}
_PASSES = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
"""First column and row, and steps of both, of each pass of a PNG by Adam7."""


def chunk(kind: bytes, content: bytes) -> bytes:
    """A PNG's chunk with its CRC."""
    return struct.pack(">I", len(content)) + kind + content + _crc(kind + content)


def _crc(content: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(content))


def deep_png(array: Array, *more: bytes, interlaced: bool = False, colour: int = -1) -> bytes:
    """A PNG of 16 bits of (H, W, C) uint16. more: chunks before the pixels."""
    height, width, channels = array.shape
    parts = [array]
    if interlaced:
        parts = [array[y::dy, x::dx] for x, y, dx, dy in _PASSES]
    rows = b"".join(
        b"\0" + row.astype(">u2").tobytes() for part in parts if part.size for row in part
    )
    colour = _CHANNELS[channels] if colour < 0 else colour
    head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, interlaced)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return _SIGNATURE + chunk(b"IHDR", head) + b"".join(more) + pixels + chunk(b"IEND", b"")


_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def small_png(bits: int, colour: int, rows: bytes, size: tuple[int, int], *more: bytes) -> bytes:
    """A PNG of any depth and colour type. size: width, height. rows: each with its filter byte."""
    head = struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return _SIGNATURE + chunk(b"IHDR", head) + b"".join(more) + pixels + chunk(b"IEND", b"")


def damaged_profile() -> bytes:
    """A chunk with a colour profile that libpng complains of."""
    return chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(b"no profile"))


def huge_png() -> bytes:
    """A PNG whose head claims ten thousand times its pixels."""
    return small_png(8, 0, b"\0" * 100, (11_000, 11_000))


# TIFF


def tiff(array: Array, **options: Any) -> bytes:
    """A TIFF by tifffile; (C, H, W) if planar, else (H, W) or (H, W, C)."""
    import tifffile

    content = io.BytesIO()
    if options.pop("planar", None):
        options["planarconfig"] = "separate"
    channels = array.shape[0] if "planarconfig" in options else array.shape[-1]
    coloured = array.ndim == 3 and channels == 3
    options = {"photometric": "rgb" if coloured else "minisblack", "metadata": None, **options}
    tifffile.imwrite(content, array, **options)
    return content.getvalue()


def _by_gdal(path: Path, array: Array, mask: Array | None = None, **profile: Any) -> None:
    """A TIFF of (C, H, W) by rasterio."""
    import warnings

    import rasterio

    count, height, width = array.shape
    size = {"count": count, "height": height, "width": width, "dtype": array.dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it lies nowhere on the ground
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(path, "w", driver="GTiff", **{**size, **profile}) as file,
        ):
            file.write(array)
            if mask is not None:
                file.write_mask(mask)


def _half(array: Array, value: float) -> Array:
    """The array with the upper half of its rows at one value."""
    array = array.copy()
    array[..., : array.shape[-2] // 2, :] = value
    return array


def _dark_half() -> Array:
    return _half(RGB.transpose(2, 0, 1), 0).transpose(1, 2, 0)


def _half_clear() -> Array:
    array = RGBA.copy()
    array[..., 3] = 255
    array[: ROWS // 2, :, 3] = 0
    return array


_PLANES = noise(3, ROWS, COLUMNS)
_FLOATS = _PLANES.astype(np.float32)
_MASK = np.pad(np.full((ROWS // 2, COLUMNS), 255, np.uint8), ((ROWS // 2, 0), (0, 0)))

# JPEG

UPRIGHT = np.add.outer(np.arange(16) * 8, np.arange(24) * 4).astype(np.uint8)
"""An image without symmetry, smooth enough for a JPEG."""


def turned(orientation: int) -> Array:
    """The pixels that EXIF's orientation turns into UPRIGHT."""
    match orientation:
        case 2:
            return UPRIGHT[:, ::-1]
        case 3:
            return UPRIGHT[::-1, ::-1]
        case 4:
            return UPRIGHT[::-1]
        case 5:
            return UPRIGHT.T
        case 6:
            return UPRIGHT.T[::-1]
        case 7:
            return UPRIGHT.T[::-1, ::-1]
        case 8:
            return UPRIGHT.T[:, ::-1]
    return UPRIGHT


def with_orientation(orientation: int, **options: Any) -> bytes:
    """An image with an orientation in its EXIF."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(np.ascontiguousarray(turned(orientation)), exif=exif, **options)


def _damaged_exif() -> bytes:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12\0\x02\x7f\xff\xff\xff\0\0\xff\xff"
    return saved(RGB, format="JPEG", exif=exif)


def _adobe_transform() -> bytes:
    """A CMYK JPEG whose Adobe marker says that it is stored as YCCK."""
    content = saved(RGBA, "CMYK", format="JPEG")
    at = content.index(b"Adobe")
    return content[: at + 11] + b"\2" + content[at + 12 :]


def _frames(kind: str) -> bytes:
    first, *others = (Image.fromarray(noise(ROWS, COLUMNS, 3, seed=n)) for n in range(3))
    content = io.BytesIO()
    lossless = {"lossless": True} if kind == "WEBP" else {}
    first.save(content, kind, save_all=True, append_images=others, **lossless)
    return content.getvalue()


def _cut(content: bytes, share: float = 0.6) -> bytes:
    return content[: int(share * len(content))]


# Files that are no files


def _link(target: str, path: Path) -> None:
    path.symlink_to(target)


def _link_to_folder(path: Path) -> None:
    other = path.parent.parent / "elsewhere"
    put_good(other, count=1)
    path.symlink_to(other)


def _sealed(path: Path) -> None:
    path.write_bytes(saved(RGB))
    path.chmod(0)


def _sealed_folder(path: Path) -> None:
    put_good(path, count=1)
    path.chmod(0)


def _folder_with(count: int, path: Path) -> None:
    path.mkdir()
    if count:
        put_good(path, count=count)


def _file(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


_odd = OddFile
_TEXT = b"a note\n"
_HTML = b"<!doctype html><title>Sign in</title>"
_PALETTE = Image.fromarray(RGB).quantize(16)


def _palette(**options: Any) -> bytes:
    content = io.BytesIO()
    _PALETTE.save(content, **{"format": "PNG", **options})
    return content.getvalue()


def _deep(channels: int, *more: bytes, **options: Any) -> bytes:
    return deep_png(noise(ROWS, COLUMNS, channels, dtype=np.uint16), *more, **options)


def _two_bits_with_transparency() -> bytes:
    """A grey PNG of 2 bits a pixel, 4 by 2 pixels, the value 1 of which is transparent."""
    return small_png(2, 0, b"\0\x1b\0\x1b", (4, 2), chunk(b"tRNS", b"\0\1"))


_PNGS = [
    _odd("grey16.png", _file(_deep(1)), USED, "", 16, 1),
    _odd("grey16-among-8.png", _file(_deep(1)), FAULT, "its pixels are uint16, where most are"),
    _odd("rgb16.png", _file(_deep(3)), USED, "", 16),
    _odd("rgba16.png", _file(_deep(4)), USED, "laid over white", 16),
    _odd("grey-alpha16.png", _file(_deep(2)), USED, "laid over white", 16, 1),
    _odd("rgb16-interlaced.png", _file(_deep(3, interlaced=True)), USED, "", 16),
    _odd("rgb16-bad-profile.png", _file(_deep(3, damaged_profile())), USED, "", 16),
    _odd("rgb16-cut.png", _file(_cut(_deep(3))), FAULT, "", 16),
    _odd("grey16-transparent.png", _file(_deep(1, chunk(b"tRNS", b"\0\0"))), USED, "", 16, 1),
    _odd("rgb16-transparent.png", _file(_deep(3, chunk(b"tRNS", b"\0" * 6))), USED, "", 16),
    _odd("bad-profile.png", _file(small_png(8, 0, b"\0\1" * 2, (1, 2), damaged_profile())), USED),
    _odd("palette.png", _file(_palette()), USED, "palette turned into colours"),
    _odd("palette-clear.png", _file(_palette(transparency=0)), USED, "laid over white"),
    _odd("one-bit.png", _file(saved(GREY, "1")), USED, "black and white, as 0 and 255"),
    _odd("two-bits-clear.png", _file(_two_bits_with_transparency()), USED, "laid over white"),
    _odd("grey.png", _file(saved(GREY)), USED),
    _odd("grey-transparent.png", _file(saved(GREY, transparency=int(GREY[0, 0]))), USED, "laid"),
    _odd("rgba.png", _file(saved(RGBA)), USED, "laid over white where transparent"),
    _odd("opaque.png", _file(saved(RGB, "RGBA")), USED, "opaque everywhere"),
    _odd("upper.PNG", _file(saved(RGB)), USED),
    _odd("png-named.jpg", _file(saved(RGB)), USED),
    _odd("cut.png", _file(_cut(saved(RGB))), FAULT),
    _odd("bomb.png", _file(huge_png()), FAULT, "damaged, or a bomb"),
    _odd("huge.png", _file(small_png(8, 0, b"\0", (60_000, 60_000))), FAULT, "more than"),
    _odd("zero.png", _file(small_png(8, 0, b"\0", (0, 0))), FAULT),
    _odd("one-pixel.png", _file(saved(RGB[:1, :1])), USED),
    _odd("line.png", _file(saved(noise(1, 4000, 3))), USED),
    _odd("column.png", _file(saved(noise(4000, 1, 3))), USED),
    _odd("constant.png", _file(saved(np.full_like(RGB, 7))), USED),
    _odd("apng.png", _file(_frames("PNG")), USED, "first of its frames"),
    _odd("line\nbreak.png", _file(saved(RGB)), USED),
    _odd("line\nbreak-cut.png", _file(b"\x89PNG"), FAULT),
    _odd(os.fsdecode(b"bytes-\xff\xfe.png"), _file(saved(RGB)), USED),
    _odd(os.fsdecode(b"bytes-\xff\xfe-cut.png"), _file(b"\x89PNG"), FAULT),
    _odd("n" * 251 + ".png", _file(saved(RGB)), USED),
]

_JPEGS = [
    _odd("grey.jpg", _file(saved(GREY, format="JPEG")), USED),
    _odd("cmyk.jpg", _file(saved(RGBA, "CMYK", format="JPEG")), USED, "CMYK turned into RGB"),
    _odd("ycck.jpg", _file(_adobe_transform()), USED, "CMYK turned into RGB"),
    _odd("progressive.jpg", _file(saved(RGB, format="JPEG", progressive=True)), USED),
    _odd("damaged-exif.jpg", _file(_damaged_exif()), USED),
    _odd("frames.jpg", _file(_frames("MPO")), USED, "first of its frames"),
    _odd("cut.jpg", _file(_cut(saved(RGB, format="JPEG"), 0.9)), FAULT, "damaged: cut short"),
    _odd("html.jpg", _file(_HTML), FAULT, "not an image, by its content"),
    *(
        _odd(f"turned{n}.jpg", _file(with_orientation(n, format="JPEG")), USED, "turned upright")
        for n in range(2, 9)
    ),
    _odd("turned1.jpg", _file(with_orientation(1, format="JPEG")), USED),
    _odd("turned9.jpg", _file(with_orientation(9, format="JPEG")), USED),
]

_OTHERS = [
    _odd("cut.webp", _file(_cut(saved(RGB, format="WEBP"))), FAULT),
    _odd("cut.gif", _file(_cut(_palette(format="GIF"))), FAULT),
    _odd("cut.bmp", _file(_cut(saved(RGB, format="BMP"))), FAULT),
    _odd("whole.webp", _file(saved(RGBA, format="WEBP", lossless=True)), USED, "laid over white"),
    _odd("whole.bmp", _file(saved(RGB, format="BMP")), USED),
    _odd("frames.gif", _file(_frames("GIF")), USED, "first of its frames"),
    _odd("frames.webp", _file(_frames("WEBP")), USED, "first of its frames"),
    _odd("empty.png", _file(b""), FAULT, "an empty file"),
    _odd("empty.tif", _file(b""), FAULT, "an empty file"),
    _odd("text.png", _file(_TEXT), FAULT, "not an image, by its content"),
    _odd("notes.txt", _file(_TEXT), OVER),
    _odd(".DS_Store", _file(_TEXT), OVER),
    _odd("._x.png", _file(_TEXT), OVER),
    _odd("Thumbs.db", _file(_TEXT), OVER),
    _odd("desktop.ini", _file(_TEXT), OVER),
    _odd("__MACOSX", partial(_folder_with, 1), OVER),
    _odd(".hidden", partial(_folder_with, 1), OVER),
    _odd("folder.png", partial(_folder_with, 1), USED),
    _odd("broken.png", partial(_link, "nowhere.png"), FAULT, "No such file"),
    _odd("broken.txt", partial(_link, "nowhere.png"), OVER),
    _odd("loop.png", partial(_link, "loop.png"), FAULT, "symbolic links"),
    _odd("itself", partial(_link, "."), FAULT, "leads back into itself"),
    _odd("link", _link_to_folder, USED),
    _odd("pipe.png", os.mkfifo, FAULT, "not a file"),
    _odd("pipe.tif", os.mkfifo, FAULT, "not a file"),
    _odd("zeros.png", partial(_link, "/dev/zero"), FAULT, "not a file"),
    _odd("sealed.png", _sealed, FAULT, "Permission denied"),
    _odd("sealed", _sealed_folder, FAULT, "cannot be read: Permission denied"),
]

_GEO = {"crs": "EPSG:32625", "transform": (30.0, 0.0, 3e5, 0.0, -30.0, 9e6)}


def _gdal(array: Array, **options: Any) -> Callable[[Path], object]:
    return lambda path: _by_gdal(path, array, **options)


_TIFFS = [
    _odd("grey16.tif", _file(tiff(noise(ROWS, COLUMNS, dtype=np.uint16))), USED, "", 16, 1),
    _odd("rgb16.tif", _file(tiff(noise(ROWS, COLUMNS, 3, dtype=np.uint16))), USED, "", 16),
    _odd("rgba.tif", _file(tiff(_half_clear(), photometric="rgb", extrasamples=[2])), MASKED),
    _odd("nan.tif", _file(tiff(_half(_FLOATS, np.nan), planar=1)), MASKED, "", 32),
    _odd("inf64.tif", _file(tiff(_half(_PLANES.astype(float), np.inf), planar=1)), MASKED, "", 32),
    _odd("large64.tif", _file(tiff(_half(_PLANES.astype(float), 1e300), planar=1)), MASKED, "", 32),
    _odd("int16.tif", _file(tiff(_PLANES.astype(np.int16), planar=1)), USED, "", 32),
    _odd("int32.tif", _file(tiff(_PLANES.astype(np.int32), planar=1)), USED, "24 bits", 32),
    _odd("complex.tif", _file(tiff(GREY.astype(np.complex64))), FAULT, "expected whole or real"),
    _odd("complex-int.tif", _gdal(GREY[None].astype(np.complex64), dtype="complex_int16"), FAULT,
         "expected whole or real"),
    _odd("palette.tif", _file(_palette(format="TIFF")), USED, "palette turned into colours"),
    _odd("cmyk.tif", _file(saved(RGBA, "CMYK", format="TIFF")), USED),
    _odd("one-bit.tif", _file(saved(GREY, "1", format="TIFF")), USED),
    _odd("min-is-white.tif", _file(tiff(GREY, photometric="miniswhite")), USED),
    *(
        _odd(f"{kind}.tif", _file(saved(RGB, format="TIFF", compression=kind)), USED)
        for kind in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
    ),
    _odd("tiled.tif", _file(tiff(RGB, tile=(16, 16))), USED),
    _odd("big.tif", _file(tiff(RGB, bigtiff=True)), USED),
    _odd("pages.tif", _file(tiff(np.stack([RGB, RGB]), photometric="rgb")), USED),
    _odd("planar.tif", _file(tiff(_PLANES, planar=1)), USED),
    _odd("nodata.tif", _gdal(_half(_PLANES, 9), nodata=9), MASKED),
    _odd("nodata-nan.tif", _gdal(_half(_FLOATS, np.nan), nodata=np.nan), MASKED, "", 32),
    _odd("mask.tif", _gdal(_PLANES, mask=_MASK), MASKED),
    _odd("located.tif", _gdal(_PLANES, **_GEO), USED),
    _odd("13-bands.tif", _gdal(noise(13, ROWS, COLUMNS)), FAULT, "which cannot become 3"),
    _odd("all-nodata.tif", _gdal(np.full_like(_PLANES, 9), nodata=9), FAULT, "no pixel of it is"),
    _odd("cut.tif", _file(_cut(tiff(RGB))), FAULT),
    _odd("text.tif", _file(_TEXT), FAULT),
    _odd("png-named.tif", _file(saved(RGB)), FAULT),
    _odd("tif-named.png", _file(tiff(RGB)), FAULT, "not an image, by its content"),
    _odd("upper.TIFF", _file(tiff(RGB)), USED),
    _odd("line\nbreak.tif", _file(tiff(RGB)), USED),
    _odd(os.fsdecode(b"bytes-\xff\xfe.tif"), _file(tiff(RGB)), USED),
]  # fmt: skip

FILES = [*_PNGS, *_JPEGS, *_OTHERS, *_TIFFS]


def reads_everything(folder: Path) -> bool:
    """True if nothing can be sealed from this process, as from root's."""
    path = folder / "sealed"
    path.touch(mode=0)
    readable = os.access(path, os.R_OK)
    path.unlink()
    return readable


# Whole datasets


def _good(folder: Path, *names: str, count: int = GOOD) -> None:
    for i, name in enumerate(names):
        for n in range(count):
            path = folder / name / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(good_png(100 * i + n))


def _folders(*names: str, also: Mapping[str, bytes] | None = None) -> Callable[[Path], None]:
    """Folders of five good images each, and more files."""

    def write(folder: Path) -> None:
        _good(folder, *names)
        for name, content in (also or {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    return write


def _equal_parts(folder: Path) -> None:
    for name in ("train", "test"):
        _good(folder, name)
    (folder / "test" / "other.png").write_bytes(good_png(9))
    for n in range(5, 9):
        (folder / "train" / f"{n}.png").write_bytes(good_png(n))


def _empty_class(folder: Path) -> None:
    _good(folder, "a", "b")
    (folder / "c").mkdir()


def _linked_back(folder: Path) -> str:
    _good(folder / "data", "a", "b")
    (folder / "data" / "b" / "back").symlink_to("..")
    return "data"


def _sealed_dataset(folder: Path) -> str:
    _sealed_folder(folder / "data")
    return "data"


def _single(name: str, content: bytes) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        (folder / name).write_bytes(content)
        return name

    return write


def _made(name: str, make: Callable[[Path], object]) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        make(folder / name)
        return name

    return write


def npy(array: Array, **options: Any) -> bytes:
    """A file of numpy.save."""
    content = io.BytesIO()
    np.save(content, array, **options)
    return content.getvalue()


def npz(**arrays: Array) -> bytes:
    """A file of numpy.savez."""
    content = io.BytesIO()
    np.savez(content, allow_pickle=True, **arrays)
    return content.getvalue()


def _array(array: Array, error: str = "", name: str = "", **facts: Any) -> OddPlace:
    settings = facts.pop("settings", {})
    title = name or f"array of {array.shape} {array.dtype}"
    return OddPlace(title, _single("x.npy", npy(array)), error, settings, facts=facts)


def _archive(name: str, error: str, content: bytes, **facts: Any) -> OddPlace:
    return OddPlace(name, _single("x.npz", content), error, facts=facts)


def _zip_of(name: str, content: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", compression) as file:
        file.writestr(name, content)
    return archive.getvalue()


def deflated(name: str, content: bytes) -> bytes:
    """An archive of one file, compressed."""
    return _zip_of(name, content, zipfile.ZIP_DEFLATED)


def _flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :]


def _head_says(shape: str, dtype: str = "|u1") -> bytes:
    """An .npy whose head claims a shape and a type."""
    head = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + bytes(640)


_IMAGES = noise(8, ROWS, COLUMNS)
_COLOURED = noise(8, ROWS, COLUMNS, 3)
_CLASSES = np.arange(8) % 2
_N = {"n": 8, "shape": (1, ROWS, COLUMNS)}
_KERAS = {
    "x_train": _IMAGES,
    "y_train": _CLASSES,
    "x_test": 255 - _IMAGES[:3],
    "y_test": _CLASSES[:3],
}
_RECORD = np.zeros((8, ROWS, COLUMNS), [("a", "u1"), ("b", "u1")])
_OBJECTS = np.empty((8, ROWS, COLUMNS), object)
_DEFLATED = deflated("x.npy", npy(_IMAGES))
_NAMED_LIKE_ALL = {"classes": ("a", "b"), "n": 10}

_ARRAYS = [
    _array(_IMAGES, **_N),
    _array(_COLOURED, n=8, shape=(3, ROWS, COLUMNS)),
    _array(np.moveaxis(_COLOURED, 3, 1), n=8, shape=(3, ROWS, COLUMNS)),
    _array(np.asfortranarray(_IMAGES), name="array in Fortran's order", **_N),
    _array(_IMAGES > 127, **_N),
    _array(_IMAGES.astype(">u2"), **_N),
    _array(_IMAGES.astype(">f8"), **_N),
    _array(_IMAGES.astype(np.float16), **_N),
    _array(_IMAGES.astype(np.int8), **_N),
    _array(_half(_IMAGES.astype(float), np.nan), name="array half of NaN", masked=True, **_N),
    _array(_IMAGES.astype(float) * 1e300, "has fewer valid", name="array of huge numbers"),
    _array(np.full((8, 4, 4), np.nan), "every image has fewer valid", name="array of NaN"),
    OddPlace("array of equal images", _single("x.npy", npy(np.full((8, 4, 4), 7))),
             "no image is left for the test", exit_code=2),
    OddPlace("array of one image", _single("x.npy", npy(noise(1, 9, 9))), "cannot be split",
             exit_code=2),
    _array(noise(8, 3, 9, 3), "which axis is the channels", name="array of two readings"),
    _array(noise(8, 3, 9, 4), "", name="array of two readings, said which", n=8, shape=(3, 9, 4),
           settings={"channels": 3}),
    _array(noise(ROWS, COLUMNS), "an array of shape (12, 10), expected"),
    _array(noise(2, 2, 2, 2, 2), "an array of shape (2, 2, 2, 2, 2), expected"),
    _array(noise(0, 9, 9), "an array of shape (0, 9, 9), expected"),
    _array(np.array(3), "an array of shape (), expected"),
    _array(_IMAGES.astype(complex), "expected whole or real"),
    _array(_IMAGES.astype("U3"), "expected whole or real", name="array of text"),
    _array(_RECORD, "expected whole or real", name="array of records"),
    _array(_IMAGES.astype("M8[s]"), "expected whole or real", name="array of dates"),
    _array(_OBJECTS, "Python objects", name="array of objects"),
    OddPlace("array cut", _single("x.npy", npy(_IMAGES)[:-9]), "damaged"),
    OddPlace("array cut in its head", _single("x.npy", npy(_IMAGES)[:60]), "damaged"),
    OddPlace("array empty", _single("x.npy", b""), "not an array of"),
    OddPlace("array of text", _single("x.npy", _TEXT), "not an array of"),
    OddPlace("archive of HTML", _single("x.npz", _HTML), "not an archive of"),
    OddPlace("array that is an archive", _single("x.npy", npz(x=_IMAGES)), "not an array of"),
    OddPlace("archive that is an array", _single("x.npz", npy(_IMAGES)), "not an archive of"),
    OddPlace("array that is a PNG", _single("x.npy", saved(RGB)), "not an array of"),
    OddPlace("array in capitals", _single("X.NPY", npy(_IMAGES)), facts=_N),
    OddPlace("array that is a pipe", _made("x.npy", os.mkfifo), "not a file"),
    OddPlace("array of zeros without end", _made("x.npy", partial(_link, "/dev/zero")),
             "not a file"),
    OddPlace("array that is nowhere", lambda folder: "x.npy", "no such file"),
    OddPlace("head claims too much", _single("x.npy", _head_says("(99, 99, 99)")), "damaged"),
    OddPlace("head claims all", _single("x.npy", _head_says(f"({2**40}, {2**40}, 9)")),
             "damaged"),
    OddPlace("head claims less than none", _single("x.npy", _head_says("(-1, 9, 9)")),
             "damaged"),
    OddPlace("head of another type", _single("x.npy", _head_says("(8, 9, 9)", "|O")),
             "Python objects"),
    OddPlace("head is no shape", _single("x.npy", _head_says("(8, 9, ")), "damaged"),
    OddPlace("size of an array", _single("x.npy", npy(_IMAGES)), "data.size=8", {"size": 8}, 2),
    OddPlace("files of an array", _single("x.npy", npy(_IMAGES)), "an array has no files",
             {"test": ("a/",)}, 2),
    OddPlace("bands of an array", _single("x.npy", npy(_COLOURED)), "asks for more",
             {"bands": (4,)}, 2),
    OddPlace("channels of an array", _single("x.npy", npy(_COLOURED)), "cannot become 2",
             {"channels": 2}, 2),
    _archive("archive", "", npz(x=_IMAGES), **_N),
    _archive("archive as of Keras", "", npz(**_KERAS), n=11, classes=("0", "1")),
    _archive("archive with labels", "", npz(images=_IMAGES, labels=_CLASSES), classes=("0", "1")),
    _archive("archive with few labels", "3 labels for 8", npz(x=_IMAGES, y=_CLASSES[:3])),
    _archive("archive of labels", "it holds labels; no images", npz(labels=_CLASSES)),
    _archive("archive of a number", "an array of shape ()", npz(x=np.array(3), y=_CLASSES)),
    _archive("archive of nothing", "it holds nothing", b"PK\5\6" + bytes(18)),
    _archive("archive of text", "notes.txt in it is no array", _zip_of("notes.txt", _TEXT)),
    _archive("archive of objects", "Python objects, which are not", npz(x=_OBJECTS)),
    _archive("archive cut", "not an archive of", npz(x=_IMAGES)[:-30]),
    _archive("archive with a flipped byte", "damaged", _flipped(npz(x=_IMAGES), 400)),
    _archive("archive with a damaged stream", "damaged", _flipped(_DEFLATED, 60)),
    _archive("archive with other shapes", "different shapes",
             npz(**(_KERAS | {"x_test": _IMAGES[:3, :5]}))),
    OddPlace("archive in capitals", _single("X.NPZ", npz(x=_IMAGES)), facts=_N),
]  # fmt: skip

_LONG_NAME = "n" * 300
_SPLIT = _folders("train", "test")
_SCENE = noise(3, 96, 128)


def _scene(folder: Path) -> str:
    _by_gdal(folder / "scene.tif", _SCENE, **_GEO)
    return "scene.tif"


def _bomb_tiff(folder: Path) -> str:
    """A scene of 10^12 pixels in a few thousand bytes: what no block was written of takes none."""
    import warnings

    import rasterio

    side = 1_000_000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(
            folder / "scene.tif", "w", driver="GTiff", count=1, height=side, width=side,
            dtype="uint8", tiled=True, blockxsize=32_768, blockysize=32_768, SPARSE_OK=True,
        ):  # fmt: skip
            pass
    return "scene.tif"


def _mixed(*contents: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for n, content in enumerate(contents):
            suffix = ".png" if content[:4] == b"\x89PNG" else ".tif"
            (folder / f"{n}{suffix}").write_bytes(content)

    return write


_WIDE = noise(4, ROWS, COLUMNS)
_SIX = {"n": 6}
PLACES = [
    *_ARRAYS,
    OddPlace("classes", _folders("a", "b"), facts=_NAMED_LIKE_ALL),
    OddPlace("classes in folders", _folders("a/1", "a/2", "b/1"), facts={"classes": ("a", "b")}),
    OddPlace("one class", _folders("a"), facts={"classes": (), "n": GOOD}),
    OddPlace("an empty class", _empty_class, facts=_NAMED_LIKE_ALL),
    OddPlace("a file beside classes", _folders("a", "b", also={"x.png": good_png(7)}),
             facts={"classes": (), "n": 11, "warning": "1 image in no class's folder"}),
    OddPlace("the same image in two classes",
             _folders("a", "b", also={"a/x.png": good_png(9), "b/x.png": good_png(9)}),
             facts={"n": 12}),
    OddPlace("split", _SPLIT, facts={"n": 10, "test": 5}),
    OddPlace("split in capitals", _folders("Train", "TEST"), facts={"n": 10, "test": 5}),
    OddPlace("split with classes", _folders("train/a", "train/b", "test/a", "test/b"),
             facts={"classes": ("a", "b"), "test": 10}),
    OddPlace("train alone", _folders("train"), facts={"n": 5, "test": 1}),
    OddPlace("test alone", _folders("test"), "no image is left to train on", {}, 2),
    OddPlace("equal images in both parts", _equal_parts,
             facts={"warning": "5 images with equal content in two parts"}),
    OddPlace("a file beside the split", _folders("train", "test", also={"x.png": good_png(7)}),
             "x.png: it lies beside the folders of the split"),
    OddPlace("notes beside the split", _folders("train", "test", also={"notes/a.txt": _TEXT}),
             facts={"test": 5, "classes": ()}),
    OddPlace("a folder of images beside the split", _folders("train", "test", "extra"),
             "extra/0.png: it lies beside the folders of the split"),
    OddPlace("grey among coloured", _mixed(saved(GREY), *map(good_png, range(5))),
             facts={"n": 6, "shape": (3, ROWS, COLUMNS)}),
    OddPlace("four channels among three", _mixed(tiff(_WIDE, planar=1), *map(good_png, range(5))),
             "4 channels, which cannot become 3"),
    OddPlace("types", _mixed(_deep(3), *map(good_png, range(5))), "its pixels are uint16"),
    OddPlace("sizes", _mixed(saved(RGB[:5]), *map(good_png, range(5))), "5x10 pixels, where most"),
    OddPlace("sizes brought to one", _mixed(saved(RGB[:5]), *map(good_png, range(5))),
             settings={"size": 8}, facts=_SIX | {"shape": (3, 8, 8)}),
    OddPlace("smaller than a tile", _mixed(saved(RGB[:5]), *map(good_png, range(5))),
             "5x10 pixels, smaller than data.tile=8", {"tile": 8}),
    OddPlace("constant images", _mixed(*(saved(np.full_like(RGB, n)) for n in range(6))),
             facts=_SIX),
    OddPlace("equal images", _mixed(*(saved(RGB) for _ in range(6))), "no image is left", {}, 2),
    OddPlace("one image", _mixed(saved(RGB)), "one image alone cannot be split", {}, 2),
    OddPlace("one image in tiles", _mixed(saved(noise(64, 64, 3))), settings={"tile": 8},
             facts={"shape": (3, 8, 8)}),
    OddPlace("a link that leads back", _linked_back, "b/back: a folder that leads back"),
    OddPlace("an empty folder", lambda folder: None, "an empty folder"),
    OddPlace("a folder of notes", _folders(also={"a.txt": _TEXT}), "none of its 1 files is an"),
    OddPlace("a folder of arrays", _folders(also={"x.npy": _TEXT}), "name it: x.npy"),
    OddPlace("nowhere", lambda folder: "nowhere", "no such file or folder"),
    OddPlace("a broken link", _made("x", partial(_link, "y")), "not a file or folder"),
    OddPlace("a loop of links", _made("x", partial(_link, "x")), "not a file or folder"),
    OddPlace("a pipe", _made("x.png", os.mkfifo), "not a file or folder"),
    OddPlace("a name too long", lambda folder: _LONG_NAME, "File name too long"),
    OddPlace("a note", _single("a.txt", _TEXT), "neither an image nor an array"),
    OddPlace("a sealed folder", _sealed_dataset, "cannot be read: Permission denied"),
    OddPlace("a scene", _scene, settings={"tile": 8}, facts={"shape": (3, 8, 8)}),
    OddPlace("a scene of 10^12 pixels", _bomb_tiff, "damaged, or a bomb", {"tile": 8}),
    OddPlace("a window outside the scene", _scene, "the window holds no tile",
             {"tile": 8, "test": (200, 0, 64, 64)}, 2),
    OddPlace("a window that is the scene", _scene, "no image is left to train on",
             {"tile": 8, "test": (0, 0, 128, 96)}, 2),
    OddPlace("a window of photographs", _folders("a"), "a window is a part of a scene",
             {"tile": 8, "test": (0, 0, 8, 8)}, 2),
    OddPlace("a test of nothing", _folders("a"), "neither in", {"test": ("b/",)}, 2),
    OddPlace("a test of a long name", _folders("a"), "neither in", {"test": (_LONG_NAME,)}, 2),
    OddPlace("a test of all", _folders("a"), "no image is left to train on", {"test": ("a",)}, 2),
    OddPlace("too many to validate", _folders("a"), "data.val=5, and the test's share of 0.15",
             {"val": 5}, 2),
    OddPlace("bands that are not there", _folders("a"), "it has 3 bands; data.bands=[4] asks",
             {"bands": (4,)}),
    OddPlace("bands that are not there, of scenes", _scene, "it has 3 bands; data.bands=[9] asks",
             {"bands": (9,), "tile": 8}),
    OddPlace("channels that cannot be", _folders("a"), "cannot become 7", {"channels": 7}),
    OddPlace("all nodata", _mixed(*(saved(np.zeros_like(RGB)) for _ in range(6))),
             "no pixel of it is valid", {"nodata": 0.0}),
    OddPlace("nodata that no pixel can be", _folders("a"), settings={"nodata": -9999.5},
             facts={"n": GOOD, "masked": False}),
    OddPlace("too few valid pixels",
             _mixed(*(saved(_dark_half()) for _ in range(6))),
             "fewer valid pixels than data.min_valid", {"nodata": 0.0, "min_valid": 0.9}),
]  # fmt: skip
