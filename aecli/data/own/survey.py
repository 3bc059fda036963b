"""The first look at every file: all faults at once, facts of each, pixels kept where that helps.

Facts and decoded pixels lie in the user's cache, in a folder for each path and way of decoding. A
file is known again by its name, length and time of change, and is then neither read nor hashed.
One process looks at a time, and what another one reads from is not taken away from it.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import math
import os
import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from aecli import strictjson
from aecli.data.downloads import Working
from aecli.data.own import in_use
from aecli.data.own.decoding import decode_hashed, sha256_of
from aecli.data.own.listing import Listing, Named
from aecli.data.own.pictures import (
    Decoding,
    PassingError,
    Picture,
    UnreadableError,
    quiet,
    reasons,
)
from aecli.data.own.tiff import STRIP, Tiff, has_rasterio, is_tiff

STORE_LIMIT = 16 * 2**30
"""Bytes of decoded pixels that the cache keeps, of all datasets together; half of what is free, if
that is less. What does not fit is decoded anew each time it is read."""
_VERSION = 2  # raised when the same file would be decoded to other pixels, or kept otherwise
_AHEAD = 4  # files decoded before they are written, for each core, at most
_AHEAD_BYTES = 2**30  # bytes of these, about: as if all were as large as the largest so far


@dataclass(frozen=True)
class Facts:
    """Facts of one file, as the first look found them."""

    name: str
    bytes: int
    mtime_ns: int
    sha256: str = ""
    shape: tuple[int, int, int] = (0, 0, 0)
    """(C, H, W), decoded."""
    dtype: str = ""
    located: bool = False
    """True if it says where on the ground it lies: a scene."""
    low: float = float("nan")
    """Least valid value; `high` the greatest."""
    high: float = float("nan")
    valid: float = 1.0
    """Share of its pixels that is valid."""
    zeros: float = 0.0
    """Share of its pixels that is valid and 0 in every channel."""
    changes: tuple[str, ...] = ()
    original: str = ""
    fault: str = ""
    """Reason why there is no image; empty if there is one."""
    offset: int = -1
    """Place of its pixels in the store; -1 if they are not there."""
    mask_offset: int = -1
    """Place of its mask; -1 if all its pixels are valid."""


@dataclass(frozen=True)
class Survey:
    """Facts of all files, in the listing's order, and where their pixels are kept."""

    facts: list[Facts]
    pixels: Path | None
    """File with the pixels (C, H, W) of one image after the other; None if they are not kept."""
    masks: Path | None
    """File with the masks (H, W), a byte a pixel; None if all pixels are valid."""
    warnings: tuple[str, ...] = ()


def survey(listing: Listing, how: Decoding, cache: Path, workers: int, working: Working) -> Survey:
    """Facts of every file. cache: folder for what is kept of this and other datasets."""
    identity = repr((str(listing.path.absolute()), how, has_rasterio(), _VERSION, _decoders()))
    key = hashlib.sha256(identity.encode(errors="surrogateescape")).hexdigest()[:16]
    folder = cache / key
    with contextlib.suppress(OSError):  # met again below, and said there
        folder.mkdir(parents=True, exist_ok=True)
    with in_use.alone(folder, working):
        return _survey(listing, how, cache, folder, workers, working)


def _survey(
    listing: Listing, how: Decoding, cache: Path, folder: Path, workers: int, working: Working
) -> Survey:
    known = _read(folder)
    here = [_stat(file) for file in listing.files]
    if known is not None and _same(known.facts, here):
        _touch(folder)
        return known
    before = {} if known is None else {f.name: f for f in known.facts}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        left = _make_room(cache, folder)
        store = _Store(folder, min(left, shutil.disk_usage(folder).free // 2))
    except OSError as error:
        store = None
        warning = f"{folder}: {error.strerror}; nothing of the images is kept for the next run"
    jobs = zip(listing.files, here, strict=True)
    facts: list[Facts] = []
    text = "looking at the images"
    try:
        with quiet(), working(text, len(here), "files") as advance:
            for found in _in_order(list(jobs), before, known, how, store, workers):
                facts.append(found)
                advance()
        if store is None:
            return Survey(facts, None, None, (warning,))
        return store.finish(facts)
    except BaseException:
        if store is not None:
            store.abandon()
        raise


def _in_order(
    jobs: list[tuple[Named, Facts]],
    before: dict[str, Facts],
    known: Survey | None,
    how: Decoding,
    store: "_Store | None",
    workers: int,
) -> Iterator[Facts]:
    """The facts of every file, decoded side by side and kept one after the other."""
    most, largest = workers, 1  # files ahead, and bytes of one, until some are seen
    waiting: deque[tuple[Named, Facts, Future[tuple[Facts, Picture | None]] | None]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for file, stat in jobs:
                old = before.get(stat.name)
                kept = old is not None and (store is None or old.fault or old.offset >= 0)
                if old is not None and kept and _is_same(old, stat):
                    waiting.append((file, old, None))
                else:
                    waiting.append((file, stat, pool.submit(_look, file, stat, how)))
                while len(waiting) > most:
                    job = waiting.popleft()
                    facts = _take(job, known, how, store)
                    largest = max(largest, _bytes_held(job[0], facts, how))
                    most = min(_AHEAD * workers, max(_AHEAD_BYTES // largest, 1))
                    yield facts
            while waiting:
                yield _take(waiting.popleft(), known, how, store)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _is_in_strips(file: Named, shape: tuple[int, int, int], how: Decoding) -> bool:
    """True for a large TIFF (C, H, W), which is never held whole."""
    return is_tiff(file.path) and how.size is None and math.prod(shape) > STRIP


def _bytes_held(file: Named, facts: Facts, how: Decoding) -> int:
    """Bytes of a file's image between its decoding and its writing."""
    if facts.fault or _is_in_strips(file, facts.shape, how):
        return 0
    return math.prod(facts.shape) * np.dtype(facts.dtype).itemsize


def _take(
    job: tuple[Named, Facts, "Future[tuple[Facts, Picture | None]] | None"],
    known: Survey | None,
    how: Decoding,
    store: "_Store | None",
) -> Facts:
    file, facts, future = job
    if future is None:
        return facts if store is None or known is None else store.copy(facts, known)
    found, picture = future.result()
    if found.fault or store is None:
        return found
    if picture is not None:
        return store.add(found, picture)
    try:
        return store.add_strips(found, file, how)
    except PassingError as error:
        return replace(found, sha256="", fault=str(error))
    except UnreadableError as error:
        return replace(found, fault=str(error))


def _look(file: Named, stat: Facts, how: Decoding) -> tuple[Facts, Picture | None]:
    """The facts of a file, and its image unless that is a large one, which is read in strips."""
    if stat.fault:
        return stat, None
    try:
        if is_tiff(file.path) and how.size is None:
            with reasons():
                stat = replace(stat, sha256=sha256_of(file.path))
            with Tiff(file.path, how) as tiff:
                facts = replace(
                    stat,
                    shape=tiff.facts.shape,
                    dtype=tiff.facts.dtype,
                    located=tiff.facts.located,
                    changes=tiff.changes,
                    original=tiff.original,
                )
                if _is_in_strips(file, tiff.facts.shape, how):
                    return _ranges(facts, (picture for _, picture in tiff.strips())), None
                picture = tiff.read(0, 0, *tiff.facts.shape[1:])
        else:
            picture, digest = decode_hashed(file.path, how)
            channels, height, width = picture.pixels.shape
            facts = replace(
                stat,
                sha256=digest,
                shape=(channels, height, width),
                dtype=str(picture.pixels.dtype),
                changes=picture.changes,
                original=picture.original,
            )
        return _ranges(facts, iter([picture])), picture
    except PassingError as error:  # without a hash it is looked at anew the next time
        return replace(stat, sha256="", fault=str(error)), None
    except UnreadableError as error:
        with contextlib.suppress(OSError):
            stat = replace(stat, sha256=stat.sha256 or sha256_of(file.path))
        return replace(stat, fault=str(error)), None


def _ranges(facts: Facts, parts: Iterator[Picture]) -> Facts:
    """Facts with the range of the valid values, and the shares that are valid and zero."""
    low, high, valid, zeros, pixels = np.inf, -np.inf, 0, 0, 0
    for part in parts:
        values = part.pixels if part.valid is None else part.pixels[:, part.valid]
        pixels += part.pixels[0].size
        valid += values[0].size
        if values.size:
            low, high = min(low, values.min()), max(high, values.max())
            if values.min() <= 0:
                zeros += int((values == 0).all(axis=0).sum())
    if not valid:
        low = high = np.nan
    shares = valid / pixels, zeros / pixels
    return replace(facts, low=float(low), high=float(high), valid=shares[0], zeros=shares[1])


class _Store:
    """Pixels and masks of all files, one after the other, in two files of a folder."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._name = f"{os.getpid()}-{os.urandom(4).hex()}"
        self._files: dict[str, IO[bytes]] = {}
        self._sizes = {"pixels": 0, "masks": 0}
        self._failure = ""
        for kind in self._sizes:
            self._files[kind] = (folder / f"{kind}-{self._name}").open("x+b")
            in_use.mark(self._files[kind].fileno())

    def add(self, facts: Facts, picture: Picture) -> Facts:
        """Keep a picture; the facts with its place."""
        pixels = np.ascontiguousarray(picture.pixels)
        offset = self._append("pixels", pixels)
        if picture.valid is None or offset < 0:
            return replace(facts, offset=offset)
        return replace(facts, offset=offset, mask_offset=self._append("masks", picture.valid))

    def add_strips(self, facts: Facts, file: Named, how: Decoding) -> Facts:
        """Keep a large image, a strip at a time. Raises UnreadableError."""
        channels, height, width = facts.shape
        size = np.dtype(facts.dtype).itemsize
        offset = self._reserve("pixels", channels * height * width * size)
        mask = -1 if facts.valid == 1 else self._reserve("masks", height * width)
        if offset < 0:
            return facts
        with Tiff(file.path, how) as tiff:
            for y, part in tiff.strips():
                for channel, plane in enumerate(part.pixels):
                    at = offset + (channel * height + y) * width * size
                    self._write("pixels", at, plane)
                if mask >= 0:
                    rows = part.pixels.shape[1]
                    valid = np.ones((rows, width), bool) if part.valid is None else part.valid
                    self._write("masks", mask + y * width, valid)
        return replace(facts, offset=offset, mask_offset=mask)

    def copy(self, facts: Facts, known: Survey) -> Facts:
        """Keep what an earlier look kept of a file that is the same."""
        if facts.fault or facts.offset < 0 or known.pixels is None:
            return facts
        channels, height, width = facts.shape
        size = channels * height * width * np.dtype(facts.dtype).itemsize
        offset = self._append("pixels", np.memmap(known.pixels, np.uint8, "r", facts.offset, size))
        mask = -1
        if facts.mask_offset >= 0 and known.masks is not None:
            old = np.memmap(known.masks, np.uint8, "r", facts.mask_offset, height * width)
            mask = self._append("masks", old)
        return replace(facts, offset=offset, mask_offset=mask)

    def finish(self, facts: list[Facts]) -> Survey:
        """The survey, with its facts written last of all."""
        warnings: tuple[str, ...] = ()
        for file in self._files.values():
            file.close()
        if self._failure:
            facts = [replace(each, offset=-1, mask_offset=-1) for each in facts]
            warnings = (f"the images are decoded anew each time they are read: {self._failure}",)
        names = {
            kind: f"{kind}-{self._name}" if size and not self._failure else None
            for kind, size in self._sizes.items()
        }
        places = {kind: self._folder / name if name else None for kind, name in names.items()}
        temporary = self._folder / f".facts-{self._name}"
        try:
            description = {
                "version": _VERSION,
                "names": names,
                "sizes": {kind: path.stat().st_size for kind, path in places.items() if path},
                "warnings": warnings,
                "facts": [asdict(each) for each in facts],
            }
            temporary.write_text(_sealed(description))
            temporary.replace(self._folder / "facts.json")
        except OSError as error:
            warnings = (*warnings, f"{self._folder}: {error.strerror}; looked at anew next time")
        for path in self._folder.iterdir():
            if path.name not in ("facts.json", *names.values()):
                in_use.remove(path)
        return Survey(facts, places["pixels"], places["masks"], warnings)

    def abandon(self) -> None:
        """Remove what was written."""
        for kind, file in self._files.items():
            file.close()
            with contextlib.suppress(OSError):
                (self._folder / f"{kind}-{self._name}").unlink()

    def _append(self, kind: str, array: Any) -> int:
        offset = self._reserve(kind, array.nbytes)
        if offset >= 0:
            self._write(kind, offset, array)
        return -1 if self._failure else offset

    def _reserve(self, kind: str, size: int) -> int:
        """The place of so many bytes, a multiple of 8; -1 if they do not fit."""
        offset = -(-self._sizes[kind] // 8) * 8
        if sum(self._sizes.values()) + size > self._limit:
            gib = self._limit / 2**30
            self._fail(f"decoded they take more than the {gib:.1f} GiB that the cache may have")
        if self._failure:
            return -1
        self._sizes[kind] = offset + size
        return offset

    def _write(self, kind: str, offset: int, array: Any) -> None:
        if self._failure:
            return
        try:
            self._files[kind].seek(offset)
            self._files[kind].write(np.ascontiguousarray(array).data)
        except OSError as error:
            self._fail(f"{self._folder}: {error.strerror}")

    def _fail(self, reason: str) -> None:
        """Give the store up, and the space it took."""
        self._failure = self._failure or reason
        for file in self._files.values():
            with contextlib.suppress(OSError):
                file.truncate(0)


def _stat(file: Named) -> Facts:
    try:
        stat = file.path.stat()
    except OSError as error:
        return Facts(file.name, 0, 0, fault=str(error.strerror))
    if not file.path.is_file():
        return Facts(file.name, 0, 0, fault="not a file")
    return Facts(file.name, stat.st_size, stat.st_mtime_ns)


def _same(known: list[Facts], here: list[Facts]) -> bool:
    return len(known) == len(here) and all(map(_is_same, known, here))


def _is_same(known: Facts, here: Facts) -> bool:
    """True for a file that has not changed since it was looked at, as far as its head says."""
    if here.fault or known.sha256 == "":
        return False
    return (known.name, known.bytes, known.mtime_ns) == (here.name, here.bytes, here.mtime_ns)


def _decoders() -> dict[str, str]:
    """The versions of what decodes: another one may make other pixels, or read what one could
    not."""
    names = ("pillow", "tifffile", "rasterio", "imagecodecs")
    found = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _sealed(description: dict[str, Any]) -> str:
    """A description as JSON, after the hash of its text."""
    text = strictjson.dump(description, None)
    return f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def _read(folder: Path) -> Survey | None:
    """The survey that an earlier look left in the cache; None if there is none that is whole."""
    try:
        digest, _, text = (folder / "facts.json").read_bytes().partition(b"\n")
        if hashlib.sha256(text).hexdigest().encode() != digest:
            return None
        description = json.loads(text)
        if description["version"] != _VERSION:
            return None
        places = {kind: folder / name for kind, name in description["names"].items() if name}
        if {kind: path.stat().st_size for kind, path in places.items()} != description["sizes"]:
            return None
    except OSError:
        return None
    facts = [
        Facts(**{**each, "shape": tuple(each["shape"]), "changes": tuple(each["changes"])})
        for each in strictjson.rows(description["facts"])
    ]
    warnings = tuple(description["warnings"])
    return Survey(facts, places.get("pixels"), places.get("masks"), warnings)


def _make_room(cache: Path, keep: Path) -> int:
    """Remove what was kept of other datasets, the least lately used first, until it takes no more
    than half; the bytes that are left for one more. What a process reads from stays."""
    others = [path for path in cache.iterdir() if path.is_dir() and path != keep]
    ages, sizes = {}, {}
    for path in others:
        with contextlib.suppress(FileNotFoundError):  # taken away by another process
            ages[path] = path.stat().st_mtime
            sizes[path] = sum(each.stat().st_size for each in path.iterdir())
    for path in sorted(sizes, key=lambda path: ages[path]):
        if sum(sizes.values()) <= STORE_LIMIT // 2:
            break
        if all(in_use.remove(each) for each in path.iterdir()):
            path.rmdir()
            del sizes[path]
    return max(STORE_LIMIT - sum(sizes.values()), 0)


def _touch(folder: Path) -> None:
    with contextlib.suppress(OSError):
        os.utime(folder)
