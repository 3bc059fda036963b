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
from aecli.counts import count
from aecli.data.downloads import Working
from aecli.data.own.arrays import array_of
from aecli.data.own.cutting import (
    BLOCKS,
    BLOCKS_OF_OVERLAPPING,
    MOST_WINDOWS,
    Rectangle,
    Windows,
    around,
    blocks,
    choose_groups,
    count_tiles,
    half_gap,
    inset,
    tiles,
)
from aecli.data.own.items import Items, files_of
from aecli.data.own.listing import ARRAYS, is_folder
from aecli.data.own.pictures import Picture, Valid
from aecli.data.own.pools import Pool
from aecli.data.own.scaling import Scale, limits_of, scale_of
from aecli.errors import DataError, UsageError
from aecli.terminal import not_shown, printable

TEST_SHARE = 0.15
SPLITS = ("train", "val", "test")
_SAMPLED = 1000  # training images that percentiles are taken of, evenly spaced
_SAMPLED_NUMBERS = 2**25  # numbers of these at most, of evenly spaced pixels
_TOLD = 20  # faults that an error lists
_ZEROS = 0.02  # share of pixels that are 0 in every channel, from which nodata is asked about


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
        if path.suffix.lower() in ARRAYS and not is_folder(path):
            items = array_of(config, cache, working)
        else:
            items = files_of(config, cache, workers, working)
        _opened[key] = _open(config, path, items)
    return _opened[key]


def _open(config: DataConfig, path: Path, items: Items) -> Opened:
    height, width, odd = _common_size(config, items)
    faults = [*items.faults, *odd]
    if faults and not config.skip_bad:
        raise DataError(_all_faults(path, faults, len(items) + len(items.faults)))
    items.faults = faults
    usable = _usable(items, odd)
    if not usable.any():
        raise DataError(f"{path}: no image is left to use")
    if config.tile is None and usable.sum() == 1:
        raise UsageError(f"{path}: one image alone cannot be split; data.tile cuts it into tiles")
    cut = _Cut(config, items, usable, height, width)
    _require_scenes(config, cut.by_blocks[usable])
    windows, groups, fixed = cut.windows()
    before = len(windows)
    enough = cut.valid_shares(windows) >= max(config.min_valid, 1e-9)
    windows, groups, fixed = windows[enough], groups[enough], fixed[enough]
    if not len(windows):
        raise DataError(f"{path}: every image has fewer valid pixels than data.min_valid")
    sides, said, warnings = _split(config, items, windows, groups, fixed)
    order = np.random.RandomState(0).permutation(len(windows))
    by_split = {
        split: np.ascontiguousarray(windows[order[sides[order] == i]])
        for i, split in enumerate(SPLITS)
    }
    scale = _scale(config, items, by_split["train"], height, width)
    classes = tuple(sorted(set(items.labels) - {""}, key=_natural))
    labels = None
    if classes:
        numbers = {name: i for i, name in enumerate(classes)}
        of_item = np.array([numbers.get(label, -1) for label in items.labels], np.int64)
        labels = {split: of_item[windows[:, 0]] for split, windows in by_split.items()}
    digest = hashlib.sha256(items.manifest.encode(errors="surrogateescape"))
    digest.update(repr((height, width, items.channels, scale)).encode())
    for split in by_split.values():
        digest.update(split.tobytes())
    return Opened(
        name=printable(path.resolve().stem if path.is_file() else path.resolve().name),
        path=path,
        shape=(items.channels, height, width),
        items=items,
        pool=items.pool,
        windows=by_split,
        masked=items.pool.masked or _reach_over(items, windows, height, width),
        labels=labels,
        classes=classes,
        scale=scale,
        sha256=digest.hexdigest(),
        left_out=before - len(windows),
        notes=(*_found(items, config), *said, f"scale: {scale.rule}{_limits(scale)}"),
        warnings=(*items.warnings, *warnings, *_asks_for_nodata(items, config)),
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
        (name, f"{h}x{w} pixels, where most have {height}x{width}; data.size brings all to one")
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


def _require_scenes(config: DataConfig, by_blocks: NDArray[np.bool_]) -> None:
    """Raises UsageError for a setting that changes nothing of images as they are.

    by_blocks: for each image, True if its tiles are split by blocks.
    """
    window = config.test if isinstance(config.test, tuple) else ("",)
    if isinstance(window[0], int) and (config.tile is None or not by_blocks.any()):
        raise UsageError(
            f"data.test={list(window)}: a window is a part of a scene, or of one image"
            " alone, that data.tile cuts into tiles"
        )
    if config.tile is not None and config.gap and not by_blocks.any():
        raise UsageError(
            f"data.gap={config.gap}: all tiles of an image are on one side of the split here; a gap"
            " is for tiles of scenes"
        )
    if config.tile is not None and config.edges == "pad" and by_blocks.all():
        raise UsageError("data.edges=pad: tiles of a scene lie wholly in its blocks; leave it out")


def _all_faults(path: Path, faults: Sequence[tuple[str, str]], files: int) -> str:
    lines = [f"{printable(name)}: {reason}" for name, reason in faults[:_TOLD]]
    if len(faults) > _TOLD:
        lines.append(f"and {len(faults) - _TOLD:,} more")
    head = f"{path}: {count(len(faults), 'file')} of {files:,} cannot be used"
    return "\n  ".join([f"{head} (data.skip_bad=true leaves them out):", *lines])


class _Cut:
    """Windows of all usable images, each with its group and, where it is named, its side."""

    def __init__(
        self,
        config: DataConfig,
        items: Items,
        usable: NDArray[np.bool_],
        height: int,
        width: int,
    ) -> None:
        self._config, self._items, self._usable = config, items, usable
        self._height, self._width = height, width
        alone = int(usable.sum()) == 1
        self.by_blocks = items.scenes | alone
        """(n,) True for images whose tiles are split by blocks."""

    def windows(self) -> tuple[Windows, NDArray[np.int64], NDArray[np.int8]]:
        """Windows (n, 3); the group of each (n,); its side where it is named (n,): the index in
        SPLITS, or -1."""
        rows: list[NDArray[np.int32]] = []
        groups: list[NDArray[np.int64]] = []
        sides: list[NDArray[np.int8]] = []
        known: dict[tuple[str, int], int] = {}
        total = 0
        for item in np.flatnonzero(self._usable).tolist():
            named = self._items.splits[item]
            fixed = SPLITS.index(named) if named else -1
            for place, (part, side) in enumerate(self._parts(item)):
                total += self._count(item, part)
                if total > MOST_WINDOWS:
                    raise UsageError(f"more than {MOST_WINDOWS:,} tiles; data.stride may be larger")
                found = self._tiles(item, part)
                # Files of equal content are cut alike: their parts are equal, too.
                mine = known.setdefault((self._items.contents[item], place), len(known))
                at = np.array(found, np.int32).reshape(-1, 2)
                index = np.full((len(at), 1), item, np.int32)
                rows.append(np.concatenate([index, at], axis=1))
                groups.append(np.full(len(at), mine))
                sides.append(np.full(len(at), side if side >= 0 else fixed, np.int8))
        return np.concatenate(rows), np.concatenate(groups), np.concatenate(sides)

    def _parts(self, item: int) -> list[tuple[Rectangle, int]]:
        """Parts of an image that are cut by themselves, each with its side or -1."""
        config = self._config
        _, height, width = self._items.shapes[item].tolist()
        whole = Rectangle(0, 0, height, width)
        if config.tile is None or not self.by_blocks[item]:
            return [(whole, -1)]
        parts, left = [], [whole]
        if isinstance(config.test, tuple) and isinstance(config.test[0], int):
            x, y, across, down = (int(each) for each in config.test)
            window = Rectangle(y, x, min(y + down, height), min(x + across, width))
            if min(window.height, window.width) < config.tile:
                raise UsageError(
                    f"data.test={list(config.test)}: the window holds no tile of {config.tile} in"
                    f" {self._items.names[item]}, {height}x{width} pixels"
                )
            parts.append((inset(window, whole, config.gap), SPLITS.index("test")))
            left = around(whole, window)
            if config.val == 0:
                return parts + [(inset(each, whole, config.gap), 0) for each in left]
        overlap = config.stride is not None and config.stride < config.tile
        fewest = max((BLOCKS_OF_OVERLAPPING if overlap else BLOCKS) // max(len(left), 1), 1)
        side = config.tile + 2 * half_gap(config.gap)
        for each in left:
            parts += [(inset(b, whole, config.gap), -1) for b in blocks(each, side, fewest)]
        return parts

    def _tiles(self, item: int, part: Rectangle) -> list[tuple[int, int]]:
        """Rows and columns of the upper left pixels of the windows of a part of an image."""
        tile = self._config.tile
        if tile is None:
            return [(0, 0)]
        return tiles(part, tile, self._config.stride or tile, self._is_padded(item))

    def _count(self, item: int, part: Rectangle) -> int:
        """The number of these, before they are made: there may be more than memory takes."""
        tile = self._config.tile
        if tile is None:
            return 1
        return count_tiles(part, tile, self._config.stride or tile, self._is_padded(item))

    def _is_padded(self, item: int) -> bool:
        return self._config.edges == "pad" and not self.by_blocks[item]

    def valid_shares(self, windows: Windows) -> NDArray[np.float64]:
        """The share of valid pixels of each window, (n,); those of an image lie side by side."""
        shares = np.ones(len(windows))
        padded = self._config.edges == "pad"
        items, firsts = np.unique(windows[:, 0], return_index=True)
        ends = [*firsts[1:].tolist(), len(windows)]
        for item, first, end in zip(items.tolist(), firsts.tolist(), ends, strict=True):
            if self._items.valid[item] == 1 and not padded:
                continue
            mine = slice(first, end)
            if self._config.tile is None:
                shares[mine] = self._items.valid[item]
            else:
                shares[mine] = self._of_tiles(windows[mine])
        return shares

    def _of_tiles(self, windows: Windows) -> NDArray[np.float64]:
        """The shares of one image's tiles, a row of tiles at a time."""
        item, width = int(windows[0, 0]), int(self._items.shapes[windows[0, 0], 2])
        shares = np.empty(len(windows))
        for y in np.unique(windows[:, 1]).tolist():
            rows = np.flatnonzero(windows[:, 1] == y)
            strip = self._valid_strip(item, y, width + self._width)
            columns = np.concatenate([[0], strip.sum(axis=0).cumsum()])
            x = windows[rows, 2]
            inside = columns[x + self._width] - columns[x]
            shares[rows] = inside / (self._width * self._height)
        return shares

    def _valid_strip(self, item: int, y: int, width: int) -> Valid:
        picture = self._items.pool.window(item, y, 0, self._height, width)
        if picture.valid is None:
            return np.ones((self._height, width), bool)
        return picture.valid


def _split(
    config: DataConfig,
    items: Items,
    windows: Windows,
    groups: NDArray[np.int64],
    fixed: NDArray[np.int8],
) -> tuple[NDArray[np.int8], list[str], list[str]]:
    """The side of each window, its index in SPLITS; sentences on it; warnings."""
    total = len(windows)
    fixed = _with_copies(groups, fixed)
    sides = fixed.copy()
    is_named = [bool((fixed == i).any()) for i in range(len(SPLITS))]
    warnings = []
    straddling = _straddling(groups, fixed)
    if straddling:
        warnings.append(
            f"{count(straddling, 'image')} with equal content in two parts of the split"
        )
    if isinstance(config.test, float) and is_named[2]:
        raise UsageError(
            f"data.test={config.test}: the folder or array itself says which images are for the"
            " test; leave data.test out"
        )
    if config.val and is_named[1]:
        raise UsageError(
            f"data.val={config.val}: the folder itself says which images are for validation; leave"
            " data.val out"
        )
    if isinstance(config.test, tuple) and not is_named[2]:
        raise UsageError(f"data.test={list(config.test)}: no image of it is left to test on")
    share = config.test if isinstance(config.test, float) else TEST_SHARE
    asked: dict[int, float] = {} if is_named[2] else {2: share * total}
    if not is_named[1]:
        left = total - (int((fixed == 2).sum()) if is_named[2] else round(asked[2]))
        val = config.val
        asked[1] = left / 12 if val is None else val * total if isinstance(val, float) else val
        if val and left and asked[1] >= left:
            raise UsageError(f"data.val={val} must be less than {left} images, those not tested on")
    told = []
    for side in (2, 1):
        if asked.get(side, 0) <= 0:
            continue
        free = np.flatnonzero(sides == (0 if is_named[0] else -1))
        ids, sizes = np.unique(groups[free], return_counts=True)
        order = np.random.RandomState(0).permutation(len(ids)).tolist()
        chosen = ids[choose_groups(sizes.tolist(), asked[side], order)]
        sides[free[np.isin(groups[free], chosen)]] = side
        got = int((sides == side).sum())
        if abs(got - asked[side]) > max(0.01 * total, 1):
            told.append(
                f"{SPLITS[side]}: {got:,} instead of {asked[side]:,.0f}: what belongs together"
                f" stays together, in {len(ids):,} groups"
            )
    sides[sides == -1] = 0
    counts = [int((sides == i).sum()) for i in range(len(SPLITS))]
    for side, what in ((0, "to train on"), (2, "for the test")):
        if not counts[side]:
            alike = total > 1 and len(np.unique(groups)) == 1
            why = ": all belong together, as equal files do" if alike else ""
            raise UsageError(
                f"{config.dataset}: no image is left {what}{why}; give more, or another split"
            )
    sentence = ", ".join(
        f"{n:,} {name} ({100 * n / total:.1f}%)" for n, name in zip(counts, SPLITS, strict=True)
    )
    return sides, [f"split: {sentence}{_how_split(items, config, is_named)}", *told], warnings


def _how_split(items: Items, config: DataConfig, is_named: Sequence[bool]) -> str:
    if any(is_named) and not isinstance(config.test, tuple):
        return ", by the folders"
    if config.tile is None:
        return ", by file; equal files stay together"
    if items.scenes.all() or len(items) == 1:
        return ", by blocks: no tile lies in two of them"
    return ", by file: all tiles of one stay together"


def _with_copies(groups: NDArray[np.int64], fixed: NDArray[np.int8]) -> NDArray[np.int8]:
    """Sides of the windows, where those that are named to none follow a copy that is named."""
    sides = fixed.copy()
    for side in range(len(SPLITS)):  # the test's last: what is tested on is not learned from
        copies = np.isin(groups, groups[fixed == side])
        sides[copies & (fixed == -1)] = side
    return sides


def _straddling(groups: NDArray[np.int64], fixed: NDArray[np.int8]) -> int:
    """The number of groups whose images are named to more than one side."""
    pairs = np.unique(np.stack([groups, fixed]), axis=1)
    return int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())


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


def _found(items: Items, config: DataConfig) -> list[str]:
    """Sentences on what is there and what decoding changed."""
    sentences = [f"found: {count(len(items), 'image')}: {_kinds(items.originals)}"]
    sentences += [f"{count(n, 'file')}: {change}" for change, n in items.changes.most_common()]
    if config.size is not None:
        sentences.append(f"resized: shorter side to {config.size}, centre of the longer one kept")
    if config.tile is not None:
        rule = "dropped" if config.edges == "drop" else "padded with pixels that are not valid"
        stride = config.stride or config.tile
        sentences.append(
            f"tiles: {config.tile}x{config.tile} every {stride}, those over edges {rule}"
        )
    if items.passed_over:
        n = len(items.passed_over)
        sentences.append(f"passed over: {count(n, 'file')} ({_some(items.passed_over)})")
    if items.faults:
        names = [name for name, _ in items.faults]
        sentences.append(f"left out: {count(len(names), 'file')} ({_some(names)}); see data.csv")
    return sentences


def _kinds(originals: Counter[str]) -> str:
    """Sizes and kinds of images, `HxW, kind`, with their numbers; of many sizes the range."""
    if len(originals) <= 3:
        return "; ".join(f"{n:,} of {kind}" for kind, n in originals.most_common())
    kinds: Counter[str] = Counter()
    heights, widths = [], []
    for original, n in originals.items():
        size, _, kind = original.partition(", ")
        height, _, width = size.partition("x")
        heights.append(int(height))
        widths.append(int(width))
        kinds[kind] += n
    of = "; ".join(f"{n:,} of {kind}" for kind, n in kinds.most_common(4))
    more = "" if len(kinds) <= 4 else f"; {len(kinds) - 4:,} other kinds"
    return f"{min(heights)}x{min(widths)} to {max(heights)}x{max(widths)} pixels, {of}{more}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(printable, names[:3])) + (", ..." if len(names) > 3 else "")


def _limits(scale: Scale) -> str:
    """The values that become 0 and 1, in words."""
    pairs = sorted(set(zip(scale.low, scale.high, strict=True)))
    shown = "; ".join(f"{low:g} to {high:g}" for low, high in pairs[:4])
    return f", {shown}{', ...' if len(pairs) > 4 else ''}"


def _asks_for_nodata(items: Items, config: DataConfig) -> list[str]:
    if config.nodata is not None or not items.scenes.any() or items.zeros < _ZEROS:
        return []
    return [
        f"{100 * items.zeros:.1f}% of the pixels are 0 in every channel: if that means no data,"
        " data.nodata=0 leaves them out"
    ]


def _natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sorting key: numbers in a name by their value, so that 2 comes before 10. Names that differ
    in zeros alone (1, 01) go by their letters, so that the order of a set decides nothing."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts], name
