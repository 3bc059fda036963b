"""A path as a dataset: its images looked at, cut, split and scaled; nothing here imports torch."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aecli.config import DataConfig
from aecli.data.downloads import Working
from aecli.data.own.arrays import array_of
from aecli.data.own.cutting import (
    Windows,
)
from aecli.data.own.items import Items, files_of
from aecli.data.own.listing import ARRAYS, is_folder
from aecli.data.own.pictures import Picture
from aecli.data.own.pools import Pool
from aecli.data.own.scaling import Scale, limits_of, scale_of, scale_of_known
from aecli.data.own.sentences import all_faults, asks_for_nodata, ends_of, found
from aecli.data.own.splitting import SPLITS, Cut, require_scenes, split_of
from aecli.errors import DataError, UsageError
from aecli.terminal import not_shown, printable

_SAMPLED = 1000  # training images that percentiles are taken of, evenly spaced
_SAMPLED_NUMBERS = 2**25  # numbers of these at most, of evenly spaced pixels


@dataclass(frozen=True)
class Opened:
    """A dataset at a path, ready to be read."""

    name: str
    path: Path
    shape: tuple[int, int, int]
    """(C, H, W) of each image."""
    items: Items
    pool: Pool
    windows: dict[str, Windows]
    """Images of each split, in the order in which they are taken: train, val, test."""
    masked: bool
    """True if some pixels of the images are not valid: no data, or beyond an edge."""
    labels: dict[str, NDArray[np.int64]] | None
    """Class of each image; None without classes."""
    classes: tuple[str, ...]
    scale: Scale
    sha256: str
    """Identity of what is learned from: files, cut, split and scale."""
    left_out: int
    """Images and tiles that are left out, for too few valid pixels."""
    notes: tuple[str, ...]
    """Sentences on what was found and done."""
    warnings: tuple[str, ...]

    @property
    def bytes_in_memory(self) -> int:
        """Bytes that all images take in memory, as `Read.in_memory` holds them."""
        channels, height, width = self.shape
        of_one = channels * height * width * (1 if self.scale.is_bytes else 4)
        return of_one * sum(map(len, self.windows.values()))

    def rows(self) -> list[dict[str, Any]]:
        """A row for each file (or image of an array): split, class, how many images, or why not."""
        used: dict[int, Counter[str]] = {}
        for split, windows in self.windows.items():
            for item, times in zip(*np.unique(windows[:, 0], return_counts=True), strict=True):
                used.setdefault(int(item), Counter())[split] = int(times)
        rows: list[dict[str, Any]] = []
        bad = {name for name, _ in self.items.faults}
        for i, name in enumerate(self.items.names):
            if name in bad:
                continue
            splits = used.get(i, Counter())
            label = self.items.labels[i]
            reason = "" if splits else "too few valid pixels, or smaller than a tile"
            images = sum(splits.values())
            rows.append(_row(name, " ".join(splits), label, images, reason))
        rows += [_row(name, "", "", 0, reason) for name, reason in self.items.faults]
        rows += [_row(name, "", "", 0, "passed over") for name in self.items.passed_over]
        return rows


def _row(name: str, split: str, label: str, images: int, reason: str) -> dict[str, Any]:
    return {"file": name, "split": split, "label": label, "images": images, "left_out": reason}


ALL = "all"
"""Name of the one part of a path that is not split."""
_opened: dict[Any, Opened] = {}


def opened(config: DataConfig, cache: Path, workers: int, working: Working = not_shown) -> Opened:
    """The dataset at `config.dataset`, looked at once in a process.

    Raises DataError with a line for each file that cannot be used, UsageError for settings that do
    not fit what is there.
    """
    keys = ("dataset", "val", *DataConfig.OF_OWN)
    key = tuple(getattr(config, each) for each in keys)
    if key not in _opened:
        path = Path(config.dataset)
        _opened[key] = _open(config, path, _items(config, path, cache, workers, working))
    return _opened[key]


def forget() -> None:
    """Have `opened` look anew at every path: files may have changed."""
    _opened.clear()


def every(
    config: DataConfig,
    cache: Path,
    workers: int,
    scale: Scale | None,
    working: Working = not_shown,
) -> Opened:
    """All images at `config.dataset` in the order of their listing, in the one part `all`: nothing
    is held out, and tiles cover each image from its upper left corner on, row by row.

    scale: the one of the model that they are for; None for one that learned from bytes. Raises
    DataError and UsageError as `opened`, and for pixels that the scale is not for.
    """
    path = Path(config.dataset)
    items = _items(config, path, cache, workers, working)
    height, width, usable = _usable_ones(config, path, items)
    scale = model_scale(scale, items, path)
    cut = Cut(config, items, usable, height, width, split=False)
    windows, _, _, left_out = _valid_enough(config, path, cut)
    notes, warnings = found(items, usable, config), items.warnings
    return _made(path, items, {ALL: windows}, scale, (height, width), left_out, notes, warnings)


def model_scale(scale: Scale | None, items: Items, path: Path) -> Scale:
    """The scale of a model, if it is for such pixels. Raises UsageError."""
    if scale is None:
        low, high = float(np.nanmin(items.lows)), float(np.nanmax(items.highs))
        known = scale_of_known(items.dtype, low, high, items.channels)
        if known is None:
            raise UsageError(
                f"{path}: pixels of {items.dtype} from {low:g} to {high:g}; the model was trained"
                " on uint8, and takes float in [0, 1] too"
            )
        return known
    require_fitting(scale, path, items.channels, items.dtype)
    return scale


def require_fitting(scale: Scale, path: Path, channels: int, dtype: str) -> None:
    """Raises UsageError if a model's scale is for other pixels than a path's images have."""
    if (len(scale.low), scale.dtype) != (channels, dtype):
        raise UsageError(
            f"{path}: images with channels of {dtype}, {channels} of them; the model was"
            f" trained on {len(scale.low)} of {scale.dtype}"
        )


def _items(config: DataConfig, path: Path, cache: Path, workers: int, working: Working) -> Items:
    if path.suffix.lower() in ARRAYS and not is_folder(path):
        return array_of(config, cache, working)
    return files_of(config, cache, workers, working)


def _usable_ones(
    config: DataConfig, path: Path, items: Items
) -> tuple[int, int, NDArray[np.bool_]]:
    """Height and width of every image or tile, and which images have or hold it. Raises
    DataError where some have not, unless they may be left out."""
    height, width, odd = _common_size(config, items)
    faults = [*items.faults, *odd]
    if faults and not config.skip_bad:
        raise DataError(all_faults(path, faults, len(items) + len(items.faults)))
    items.faults = faults
    usable = _usable(items, odd)
    if not usable.any():
        raise DataError(f"{path}: no image is left to use")
    return height, width, usable


def _open(config: DataConfig, path: Path, items: Items) -> Opened:
    height, width, usable = _usable_ones(config, path, items)
    if config.tile is None and usable.sum() == 1:
        what = items.originals[int(np.flatnonzero(usable)[0])]
        raise UsageError(
            f"{path}: one image alone cannot be split ({what}); data.tile=N cuts it into tiles of N"
            " pixels a side"
        )
    cut = Cut(config, items, usable, height, width)
    require_scenes(config, cut.by_blocks[usable])
    windows, groups, fixed, left_out = _valid_enough(config, path, cut)
    sides, said, warnings = split_of(config, items, windows, groups, fixed)
    order = np.random.RandomState(0).permutation(len(windows))
    by_split = {
        split: np.ascontiguousarray(windows[order[sides[order] == i]])
        for i, split in enumerate(SPLITS)
    }
    scale = _scale(config, items, by_split["train"], height, width)
    notes = (*found(items, usable, config), *said, f"scale: {scale.rule}{ends_of(scale)}")
    warnings = [*items.warnings, *warnings, *asks_for_nodata(items, config)]
    return _made(path, items, by_split, scale, (height, width), left_out, notes, warnings)


def _valid_enough(
    config: DataConfig, path: Path, cut: Cut
) -> tuple[Windows, NDArray[np.int64], NDArray[np.int8], int]:
    """The windows with enough valid pixels, their groups and named sides, and how many have not.
    Raises DataError if none has."""
    windows, groups, fixed = cut.windows()
    before = len(windows)
    enough = cut.valid_shares(windows) >= max(config.min_valid, 1e-9)
    windows, groups, fixed = windows[enough], groups[enough], fixed[enough]
    if not len(windows):
        raise DataError(
            f"{path}: every image has fewer valid pixels than data.min_valid={config.min_valid:g};"
            " NaN, infinity, no data, and what float32 cannot hold are not valid"
        )
    return windows, groups, fixed, before - len(windows)


def _made(
    path: Path,
    items: Items,
    windows: dict[str, Windows],
    scale: Scale,
    size: tuple[int, int],
    left_out: int,
    notes: Sequence[str],
    warnings: Sequence[str],
) -> Opened:
    """The dataset of windows (n, 3) in each part, of height and width `size`."""
    height, width = size
    classes = tuple(sorted(set(items.labels) - {""}, key=_natural))
    labels = None
    if classes:
        numbers = {name: i for i, name in enumerate(classes)}
        of_item = np.array([numbers.get(label, -1) for label in items.labels], np.int64)
        labels = {part: of_item[some[:, 0]] for part, some in windows.items()}
    digest = hashlib.sha256(items.manifest.encode(errors="surrogateescape"))
    digest.update(repr((height, width, items.channels, scale)).encode())
    for some in windows.values():
        digest.update(some.tobytes())
    every_window = np.concatenate(list(windows.values()))
    return Opened(
        name=printable(path.resolve().stem if path.is_file() else path.resolve().name),
        path=path,
        shape=(items.channels, height, width),
        items=items,
        pool=items.pool,
        windows=windows,
        masked=items.pool.masked or _reach_over(items, every_window, height, width),
        labels=labels,
        classes=classes,
        scale=scale,
        sha256=digest.hexdigest(),
        left_out=left_out,
        notes=tuple(notes),
        warnings=tuple(warnings),
    )


def _common_size(config: DataConfig, items: Items) -> tuple[int, int, list[tuple[str, str]]]:
    """Height and width of every image or tile, and the images that do not have or hold it."""
    odd = []
    sizes = [(int(h), int(w)) for h, w in items.shapes[:, 1:]]
    if config.tile is not None:
        if config.edges == "drop":
            odd = [
                (name, f"{h}x{w} pixels, smaller than data.tile={config.tile}")
                for name, (h, w) in zip(items.names, sizes, strict=True)
                if min(h, w) < config.tile
            ]
        return config.tile, config.tile, odd
    if not sizes:
        return 1, 1, []
    height, width = Counter(sizes).most_common(1)[0][0]
    odd = [
        (
            name,
            f"{h}x{w} pixels, where most have {height}x{width}; data.size=N brings all to one,"
            " data.tile=N cuts all into tiles",
        )
        for name, (h, w) in zip(items.names, sizes, strict=True)
        if (h, w) != (height, width)
    ]
    return height, width, odd


def _reach_over(items: Items, windows: Windows, height: int, width: int) -> bool:
    """True if some windows reach over their image's lower or right edge."""
    ends = windows[:, 1:] + np.array([height, width])
    return bool((ends > items.shapes[windows[:, 0], 1:]).any())


def _usable(items: Items, odd: Sequence[tuple[str, str]]) -> NDArray[np.bool_]:
    bad = {name for name, _ in odd}
    return np.array([name not in bad for name in items.names], bool)


def _scale(config: DataConfig, items: Items, train: Windows, height: int, width: int) -> Scale:
    """The scale of the images, found on the windows that train, and on nothing beside them."""

    def pictures(chosen: Windows) -> Iterator[Picture]:
        for i in range(len(chosen)):
            picture = items.pool.read(chosen[i : i + 1], height, width)
            valid = None if picture.valid is None else picture.valid[0]
            yield Picture(picture.pixels[0], valid)

    def limits() -> tuple[float, float]:
        used = np.unique(train[:, 0])
        low, high = np.nanmin(items.lows[used]), np.nanmax(items.highs[used])
        in_unit = config.scale == "auto" and low >= 0 and high <= 1
        if in_unit or config.tile is None:
            return float(low), float(high)
        return limits_of(pictures(train), stop_outside_unit=config.scale == "auto")

    spaced = np.linspace(0, len(train) - 1, min(_SAMPLED, len(train))).astype(int)
    step = -(-len(spaced) * items.channels * height * width // _SAMPLED_NUMBERS)
    samples = (_thinned(picture, step) for picture in pictures(train[spaced]))
    return scale_of(samples, limits, items.dtype, items.channels, config.scale)


def _thinned(picture: Picture, step: int) -> Picture:
    """Every so many pixels of a picture, (C, n)."""
    pixels = picture.pixels.reshape(len(picture.pixels), -1)[:, ::step]
    valid = None if picture.valid is None else picture.valid.reshape(-1)[::step]
    return Picture(pixels, valid)


def _natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sorting key: numbers in a name by their value, so that 2 comes before 10. Names that differ
    in zeros alone (1, 01) go by their letters, so that the order of a set decides nothing."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts], name
