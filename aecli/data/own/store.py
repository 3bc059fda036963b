"""Facts, pixels and masks of all files, as the first look keeps them in the user's cache."""

import contextlib
import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from aecli import strictjson
from aecli.data.own import in_use
from aecli.data.own.listing import Named
from aecli.data.own.pictures import (
    Decoding,
    Picture,
)
from aecli.data.own.tiff import Tiff

STORE_LIMIT = 16 * 2**30
"""Bytes of decoded pixels that the cache keeps, of all datasets together; half of what is free, if
that is less. What does not fit is decoded anew each time it is read."""
VERSION = 2  # raised when the same file would be decoded to other pixels, or kept otherwise


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


class Store:
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
                "version": VERSION,
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


def _sealed(description: dict[str, Any]) -> str:
    """A description as JSON, after the hash of its text."""
    text = strictjson.dump(description, None)
    return f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def read_survey(folder: Path) -> Survey | None:
    """The survey that an earlier look left in the cache; None if there is none that is whole."""
    try:
        digest, _, text = (folder / "facts.json").read_bytes().partition(b"\n")
        if hashlib.sha256(text).hexdigest().encode() != digest:
            return None
        description = json.loads(text)
        if description["version"] != VERSION:
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


def make_room(cache: Path, keep: Path) -> int:
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


def touch(folder: Path) -> None:
    with contextlib.suppress(OSError):
        os.utime(folder)
