"""The first look at every file: all faults at once, facts of each, pixels kept where that helps.

Facts and decoded pixels lie in the user's cache, in a folder for each path and way of decoding. A
file is known again by its name, length and time of change, and is then neither read nor hashed.
One process looks at a time, and what another one reads from is not taken away from it.
"""

import contextlib
import hashlib
import importlib.metadata
import math
import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

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
from aecli.data.own.store import VERSION, Facts, Store, Survey, make_room, read_survey, touch
from aecli.data.own.tiff import STRIP, Tiff, has_rasterio, is_tiff

_AHEAD = 4  # files decoded before they are written, for each core, at most
_AHEAD_BYTES = 2**30  # bytes of these, about: as if all were as large as the largest so far


def survey(listing: Listing, how: Decoding, cache: Path, workers: int, working: Working) -> Survey:
    """Facts of every file. cache: folder for what is kept of this and other datasets."""
    identity = repr((str(listing.path.absolute()), how, has_rasterio(), VERSION, _decoders()))
    key = hashlib.sha256(identity.encode(errors="surrogateescape")).hexdigest()[:16]
    folder = cache / key
    with contextlib.suppress(OSError):  # met again below, and said there
        folder.mkdir(parents=True, exist_ok=True)
    with in_use.alone(folder, working):
        return _survey(listing, how, cache, folder, workers, working)


def _survey(
    listing: Listing, how: Decoding, cache: Path, folder: Path, workers: int, working: Working
) -> Survey:
    known = read_survey(folder)
    here = [_stat(file) for file in listing.files]
    if known is not None and _same(known.facts, here):
        touch(folder)
        return known
    before = {} if known is None else {f.name: f for f in known.facts}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        left = make_room(cache, folder)
        store = Store(folder, min(left, shutil.disk_usage(folder).free // 2))
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
    store: Store | None,
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
    store: Store | None,
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
