"""Images before they are cut and split: what each is called, its size, its class, where it lies."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aecli.config import DataConfig
from aecli.counts import count
from aecli.data.downloads import Working
from aecli.data.own.listing import Listing, Named, list_images
from aecli.data.own.pictures import Decoding
from aecli.data.own.pools import Files, Kept, Place, Pool
from aecli.data.own.store import Facts
from aecli.data.own.survey import survey
from aecli.errors import UsageError


@dataclass
class Items:
    """Images of one type of pixels and number of channels, of any sizes."""

    names: Sequence[str]
    shapes: NDArray[np.int64]
    """(n, 3): channels of its own, height, width."""
    contents: Sequence[str]
    """Text that two images share only if they are the same."""
    scenes: NDArray[np.bool_]
    """(n,) True for images that lie on the ground: they are split by blocks."""
    valid: NDArray[np.float64]
    """(n,) share of the valid pixels."""
    lows: NDArray[np.float64]
    """(n,) least valid values; `highs` the greatest."""
    highs: NDArray[np.float64]
    splits: Sequence[str]
    """`train`, `val`, `test`, or empty where nothing says it."""
    labels: Sequence[str]
    """Names of the classes; all empty without classes."""
    dtype: str
    channels: int
    pool: Pool
    bytes: int
    """Bytes of the files."""
    manifest: str
    """Text that names every file with its length and hash."""
    faults: list[tuple[str, str]] = field(default_factory=list)
    """Files that cannot be used, each with the reason."""
    passed_over: Sequence[str] = ()
    """Names of files that were not looked at."""
    changes: Counter[str] = field(default_factory=Counter)
    """Everything that decoding changed, and in how many files."""
    originals: Sequence[str] = ()
    """Size and kind of each image before it was decoded, in words."""
    zeros: float = 0.0
    """Share of the pixels that are valid and 0 in every channel."""
    warnings: list[str] = field(default_factory=list)
    are_files: bool = True
    """False for images of one array."""
    notes: Sequence[str] = ()
    """Sentences on what was chosen among what is there."""

    def __len__(self) -> int:
        return len(self.names)


def files_of(config: DataConfig, cache: Path, workers: int, working: Working) -> Items:
    """The images of a folder, or of one file, all looked at. Raises DataError, UsageError."""
    how = Decoding(config.size, config.bands, config.nodata, config.background)
    with working("listing the files"):
        listing = list_images(Path(config.dataset))
        _add_test_files(listing, config)
    found = survey(listing, how, cache, workers, working)
    faults = [*listing.faults, *_faults(listing, found.facts)]
    good = [
        (file, facts)
        for file, facts in zip(listing.files, found.facts, strict=True)
        if not facts.fault
    ]
    dtype, channels, odd = _common(config, [facts for _, facts in good])
    faults += odd
    bad = {name for name, _ in faults}
    good = [each for each in good if each[0].name not in bad]
    facts = [each for _, each in good]
    if found.pixels is not None:
        places = [Place(each.shape, each.offset, each.mask_offset) for each in facts]
        pool: Pool = Kept(found.pixels, found.masks, places, dtype, channels)
    else:
        paths = [file.path for file, _ in good]
        masked = any(each.valid < 1 for each in facts)
        pool = Files(paths, how, dtype, channels, masked, workers)
    pixels = np.array([each.shape[1] * each.shape[2] for each in facts], float)
    zeros = float(np.array([each.zeros for each in facts]) @ pixels / max(pixels.sum(), 1))
    return Items(
        names=[each.name for each in facts],
        shapes=np.array([each.shape for each in facts], np.int64).reshape(-1, 3),
        contents=[each.sha256 for each in facts],
        scenes=np.array([each.located for each in facts], bool),
        valid=np.array([each.valid for each in facts], float),
        lows=np.array([each.low for each in facts], float),
        highs=np.array([each.high for each in facts], float),
        splits=[file.split for file, _ in good],
        labels=_labels([file for file, _ in good]),
        dtype=dtype,
        channels=channels,
        pool=pool,
        bytes=sum(each.bytes for each in facts),
        manifest="\n".join(f"{each.name}\t{each.bytes}\t{each.sha256}" for each in facts),
        faults=faults,
        passed_over=listing.passed_over,
        changes=Counter(change for each in facts for change in each.changes),
        originals=[each.original for each in facts],
        zeros=zeros,
        warnings=[*found.warnings, *_without_class([file for file, _ in good])],
    )


def _add_test_files(listing: Listing, config: DataConfig) -> None:
    """Mark the files that `data.test` names, and add those that lie elsewhere. Raises UsageError
    for a name that is nothing's."""
    for name in config.test if isinstance(config.test, tuple) else ():
        if not isinstance(name, str):
            return  # a window
        inside = name.rstrip("/")
        chosen = [
            i
            for i, file in enumerate(listing.files)
            if file.name == inside or file.name.startswith(f"{inside}/")
        ]
        for i in chosen:
            listing.files[i] = replace(listing.files[i], split="test")
        if chosen:
            continue
        if not os.path.lexists(name):
            raise UsageError(
                f"data.test={name}: neither in {listing.path} nor a file or folder elsewhere"
            )
        other = list_images(Path(name))
        outer = {file.path.resolve() for file in other.files}
        for i, file in enumerate(listing.files):
            if file.path.resolve() in outer:
                listing.files[i] = replace(file, split="test")
                outer.discard(file.path.resolve())
        listing.files += [
            replace(
                file, name=f"{inside}/{file.name}" if file.name != inside else name, split="test"
            )
            for file in other.files
            if file.path.resolve() in outer
        ]
        listing.passed_over += other.passed_over
        listing.faults += other.faults


def _faults(listing: Listing, facts: Sequence[Facts]) -> list[tuple[str, str]]:
    faults = []
    for file, each in zip(listing.files, facts, strict=True):
        if each.fault:
            faults.append((each.name, each.fault))
        elif each.valid == 0:
            faults.append((each.name, "no pixel of it is valid"))
        elif listing.is_split and not file.split:
            faults.append((each.name, "it lies beside the folders of the split, in none of them"))
    return faults


def _common(config: DataConfig, facts: Sequence[Facts]) -> tuple[str, int, list[tuple[str, str]]]:
    """The type and number of channels of the images, and those that have others."""
    if not facts:
        return "uint8", config.channels or 1, []
    dtype = Counter(each.dtype for each in facts).most_common(1)[0][0]
    counts = Counter(each.shape[0] for each in facts)
    channels = config.channels
    if channels is None:
        channels = 3 if set(counts) == {1, 3} else counts.most_common(1)[0][0]
    odd = []
    for each in facts:
        if each.dtype != dtype:
            odd.append((each.name, f"its pixels are {each.dtype}, where most are {dtype}"))
        elif each.shape[0] != channels and {each.shape[0], channels} != {1, 3}:
            odd.append(
                (
                    each.name,
                    f"{count(int(each.shape[0]), 'channel')}, which cannot become"
                    f" {channels}; data.bands chooses among them",
                )
            )
    return dtype, channels, odd


def _without_class(files: Sequence[Named]) -> list[str]:
    """A warning if some files are in a class and others in none."""
    without = sum(not file.label for file in files)
    if without in (0, len(files)):
        return []
    return [f"{count(without, 'image')} in no class's folder: classes are not used"]


def _labels(files: Sequence[Named]) -> list[str]:
    """The names of the classes, if every file is in one and there are two or more."""
    labels = [file.label for file in files]
    return labels if all(labels) and len(set(labels)) > 1 else [""] * len(labels)
