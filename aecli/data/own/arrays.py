"""Images in one array of NumPy's, `.npy` or `.npz`, read by memory map."""

import atexit
import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from aecli import machine, strictjson
from aecli.config import DataConfig
from aecli.counts import count as counted
from aecli.data.downloads import Working
from aecli.data.own.items import Items
from aecli.data.own.pictures import UnreadableError, held_by, narrowed, reasons, too_few_bands
from aecli.data.own.pools import Array
from aecli.errors import DataError, UsageError
from aecli.terminal import printable

_MOST_CHANNELS = 16  # a longer axis is rows or columns
_CHUNK = 2**24  # numbers looked at at once
_IMAGES = ("images", "x", "X", "data", "arr_0")
_LABELS = ("labels", "label", "y", "targets", "arr_1")
_VERSION = 3  # raised when a file is looked at, or unpacked, otherwise


@dataclass(frozen=True)
class _Parts:
    """Images, labels and split of an array's file."""

    path: Path
    """File .npy of all images."""
    labels: list[str]
    splits: list[str]
    note: str = ""
    """Sentence on which array was taken, where its name did not say it."""


def array_of(config: DataConfig, cache: Path, working: Working) -> Items:
    """The images of an array's file, all looked at. Raises DataError, UsageError."""
    path = Path(config.dataset)
    if config.size is not None:
        raise UsageError(f"data.size={config.size}: the images of an array are used as they are")
    if isinstance(config.test, tuple) and isinstance(config.test[0], str):
        raise UsageError(f"data.test={list(config.test)}: an array has no files; give a share")
    try:
        with reasons():
            _require_file(path)
            stat = path.stat()
        identity = repr((str(path.absolute()), stat.st_size, stat.st_mtime_ns, _VERSION))
        folder = cache / hashlib.sha256(identity.encode(errors="surrogateescape")).hexdigest()[:16]
        is_archive = path.suffix.lower() == ".npz"
        with reasons():
            parts = _unpacked(path, folder) if is_archive else _Parts(path, [], [])
            with parts.path.open("rb") as file:
                _require_numbers(file)
            mapped = np.load(parts.path, mmap_mode="r", allow_pickle=False)
        dtype = held_by(str(mapped.dtype))
        last = _channels_last(mapped.shape, config)
    except UnreadableError as error:
        raise DataError(f"{path}: {error}") from None
    whole = Array(parts.path, last, dtype, 0, config.nodata, config.bands, True)
    count, own, height, width = whole.every.shape
    if config.bands and max(config.bands) > own:
        raise UsageError(f"{path}: {too_few_bands(own, config.bands)}")
    own = len(config.bands) or own
    channels = config.channels or own
    if channels != own and {channels, own} != {1, 3}:
        has = counted(own, "channel")
        raise UsageError(f"data.channels={channels}: {has} cannot become {channels}")
    facts = _looked_at(whole, folder, dtype, config, working)
    is_masked = bool((facts.valid < 1).any())
    pool = Array(parts.path, last, dtype, channels, config.nodata, config.bands, is_masked)
    original = f"{height}x{width}, {counted(own, 'channel')} of {mapped.dtype}"
    digest = hashlib.sha256(facts.digests.tobytes()).hexdigest()
    return Items(
        names=[f"{path.name}[{i}]" for i in range(count)],
        shapes=np.tile(np.array([own, height, width], np.int64), (count, 1)),
        contents=[row.tobytes().hex() for row in facts.digests],
        scenes=np.zeros(count, bool),
        valid=facts.valid,
        lows=facts.lows,
        highs=facts.highs,
        splits=parts.splits or [""] * count,
        labels=parts.labels or [""] * count,
        dtype=dtype,
        channels=channels,
        pool=pool,
        bytes=stat.st_size,
        manifest=f"{path.name}\t{mapped.shape}\t{mapped.dtype}\t{digest}",
        originals=[original] * count,
        zeros=float(facts.zeros.mean()),
        changes=Counter(narrowed(str(mapped.dtype))),
        are_files=False,
        notes=(parts.note,) if parts.note else (),
    )


def _require_file(path: Path) -> None:
    """Raises UnreadableError for what cannot be a file of NumPy's; a pipe is not opened."""
    if not path.is_file():
        raise UnreadableError("not a file" if os.path.lexists(path) else "no such file or folder")
    with path.open("rb") as file:
        start = file.read(6)
    if path.suffix.lower() == ".npz" and not zipfile.is_zipfile(path):
        raise UnreadableError("not an archive of NumPy's, by its content")
    if path.suffix.lower() == ".npy" and start != b"\x93NUMPY":
        raise UnreadableError("not an array of NumPy's, by its content")


def _head(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array, from the head of its .npy (NEP 1). Raises ValueError."""
    is_first = np.lib.format.read_magic(file) == (1, 0)
    # Version 3 is version 2 with names of fields in UTF-8, and images have no fields.
    read = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _require_numbers(file: IO[bytes]) -> None:
    """Raises UnreadableError for objects of Python's, whose reading could run anything."""
    if _head(file)[1].hasobject:
        raise UnreadableError("it holds Python objects, which are not read")


def _require_images(shape: tuple[int, ...]) -> None:
    if len(shape) not in (3, 4) or 0 in shape:
        raise UnreadableError(
            f"an array of shape {shape}, expected (N, H, W), (N, H, W, C) or (N, C, H, W)"
        )


def _channels_last(shape: tuple[int, ...], config: DataConfig) -> bool:
    """True if the last of an array's axes is the channels. Raises UnreadableError."""
    _require_images(shape)
    if len(shape) == 3:
        return False
    few_last, few_first = shape[3] <= _MOST_CHANNELS, shape[1] <= _MOST_CHANNELS
    if few_last and few_first:  # small images: by the usual numbers of channels
        few_last, few_first = shape[3] in (1, 3, 4), shape[1] in (1, 3, 4)
    if few_last != few_first:
        return few_last
    asked = config.channels
    if asked in (shape[1], shape[3]) and shape[1] != shape[3]:
        return asked == shape[3]
    raise UnreadableError(
        f"an array of shape {shape}: which axis is the channels cannot be told; data.channels says"
    )


@dataclass(frozen=True)
class _Looked:
    digests: NDArray[np.uint8]
    """(n, 16): what two images share only if they are the same."""
    valid: NDArray[np.float64]
    lows: NDArray[np.float64]
    highs: NDArray[np.float64]
    zeros: NDArray[np.float64]


def _looked_at(
    array: Array, folder: Path, dtype: str, config: DataConfig, working: Working
) -> _Looked:
    """Facts of every image, kept in the cache."""
    how = (array.every.shape, config.bands, config.nodata)
    name = hashlib.sha256(repr(how).encode()).hexdigest()[:12]
    kept = folder / f"looked-{name}.npz"
    with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        with kept.open("rb") as file:
            found = np.load(file, allow_pickle=False)
            facts = _Looked(**{key: found[key] for key in _Looked.__dataclass_fields__})
        if len(facts.valid) == len(array.every):
            os.utime(folder)
            return facts
    rows = []
    with working("looking at the images", len(array.every), "images") as advance:
        for row in _rows(array):
            rows.append(row)
            advance()
    digests, valid, lows, highs, zeros = (np.array(column) for column in zip(*rows, strict=True))
    facts = _Looked(digests, valid, lows, highs, zeros)
    with contextlib.suppress(OSError):  # looked at anew the next time
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{os.getpid()}-{kept.name}"
        np.savez(temporary, **facts.__dict__)
        temporary.replace(kept)
    return facts


def _rows(array: Array) -> Iterator[tuple[Any, ...]]:
    _, height, width = array.every.shape[1:]
    for i in range(len(array.every)):
        picture = array.window(i, 0, 0, height, width)
        digest = hashlib.blake2b(picture.pixels.data, digest_size=16).digest()
        values = picture.pixels if picture.valid is None else picture.pixels[:, picture.valid]
        share = 1.0 if picture.valid is None else float(picture.valid.mean())
        low, high = (values.min(), values.max()) if values.size else (np.nan, np.nan)
        zeros = float((values == 0).all(axis=0).sum() / (height * width))
        yield np.frombuffer(digest, np.uint8), share, float(low), float(high), zeros


def _member(archive: Any, name: str) -> NDArray[Any]:
    if not _is_array(archive, name):
        raise UnreadableError(f"{name} in it is no array")
    with archive.zip.open(f"{name}.npy") as file:
        _require_numbers(file)
    found: NDArray[Any] = archive[name]
    return found


def _is_array(archive: Any, name: str) -> bool:
    """False for a file of another kind in an archive."""
    if f"{name}.npy" not in archive.zip.namelist():
        return False
    with archive.zip.open(f"{name}.npy") as file:
        return bool(file.read(6) == b"\x93NUMPY")


def _axes(archive: Any, name: str) -> int:
    """The number of axes of an array in an archive; 0 for a file of another kind."""
    if not _is_array(archive, name):
        return 0
    with archive.zip.open(f"{name}.npy") as file:
        return len(_head(file)[0])


def _images_in(archive: Any, path: Path) -> tuple[str, str]:
    """The name of the array of images in an archive, and a sentence if others are passed over that
    could have been meant. Raises UnreadableError if it cannot be told."""
    names = list(archive.files)
    known = next((name for name in _IMAGES if name in names), None)
    if known is not None:
        return known, ""
    others = [name for name in names if name not in _LABELS]
    if not others:
        raise UnreadableError(f"it holds {', '.join(names) or 'nothing'}; no images")
    if len(others) == 1:
        return others[0], ""
    fitting = [name for name in others if _axes(archive, name) in (3, 4)]
    if len(fitting) != 1:
        raise UnreadableError(f"it holds {', '.join(names)}: call the images `images`")
    rest = ", ".join(name for name in others if name != fitting[0])
    return fitting[0], printable(f"array {fitting[0]} of {path.name}; {rest} passed over")


def _text(label: Any) -> str:
    return label.decode(errors="backslashreplace") if isinstance(label, bytes) else str(label)


def _unpacked(path: Path, folder: Path) -> _Parts:
    """The images of an .npz as an .npy in the cache, and its labels; unpacked once. Raises
    UnreadableError, and OSError if there is no room for it."""
    known = folder / "parts.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(known.read_bytes())
        if (folder / "images.npy").stat().st_size == found["bytes"]:
            return _Parts(folder / "images.npy", found["labels"], found["splits"], found["note"])
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        names = list(file.files)
        sizes = {each.filename: each.file_size for each in file.zip.infolist()}
        note = ""
        if {"x_train", "x_test"} <= set(names):
            pairs = [("x_train", "y_train", "train"), ("x_test", "y_test", "test")]
        else:
            images, note = _images_in(file, path)
            labels = next((name for name in _LABELS if name in names), "")
            pairs = [(images, labels, "")]
        unpacked = sum(sizes.get(f"{name}.npy", 0) for name, _, _ in pairs)
        if unpacked * len(pairs) > machine.memory_limit():  # two are joined in memory, too
            raise UnreadableError(
                f"its images take {unpacked:,} bytes unpacked, more than memory has; as .npy they"
                " are read from their file"
            )
        arrays = [_member(file, name) for name, _, _ in pairs]
        given = [_member(file, name).ravel() if name in names else None for _, name, _ in pairs]
    for array, named in zip(arrays, given, strict=True):
        _require_images(array.shape)
        if named is not None and len(named) != len(array):
            raise UnreadableError(f"{len(named):,} labels for {len(array):,} images")
    if len({array.shape[1:] for array in arrays}) > 1:
        raise UnreadableError("its training and test images have different shapes")
    splits = [split for array, (*_, split) in zip(arrays, pairs, strict=True) for _ in array]
    labels_of_all = [_text(one) for each in given if each is not None for one in each.tolist()]
    if "" in labels_of_all:
        raise UnreadableError("an image in it has an empty label")
    if any(each is None for each in given) or len(set(labels_of_all)) < 2:
        labels_of_all = []
    parts = _Parts(folder / "images.npy", labels_of_all, splits if any(splits) else [], note)
    return _kept(parts, arrays[0] if len(arrays) == 1 else np.concatenate(arrays))


def _kept(parts: _Parts, images: NDArray[Any]) -> _Parts:
    """The parts, with their images written: into the cache, or where that cannot be into a folder
    that ends with this process. Raises OSError."""
    target = parts.path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{os.getpid()}-{target.name}")
        np.save(temporary, images)
        temporary.replace(target)
        described = {
            "bytes": target.stat().st_size,
            "labels": parts.labels,
            "splits": parts.splits,
            "note": parts.note,
        }
        temporary.write_text(strictjson.dump(described, None))
        temporary.replace(target.with_name("parts.json"))
    except OSError:
        own = Path(tempfile.mkdtemp(prefix="aecli-"))
        atexit.register(shutil.rmtree, own, ignore_errors=True)
        np.save(own / target.name, images)
        return replace(parts, path=own / target.name)
    return parts
