"""Windows of every image, and the side of the split on which each stands."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aecli.config import DataConfig
from aecli.counts import count
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
from aecli.data.own.items import Items
from aecli.data.own.pictures import Valid
from aecli.errors import UsageError

TEST_SHARE = 0.15
SPLITS = ("train", "val", "test")


class Cut:
    """Windows of all usable images, each with its group and, where it is named, its side."""

    def __init__(
        self,
        config: DataConfig,
        items: Items,
        usable: NDArray[np.bool_],
        height: int,
        width: int,
        split: bool = True,
    ) -> None:
        """split: False where nothing is held out, so that tiles need no blocks."""
        self._config, self._items, self._usable = config, items, usable
        self._height, self._width = height, width
        alone = int(usable.sum()) == 1
        self.by_blocks = (items.scenes | alone) & split
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


def require_scenes(config: DataConfig, by_blocks: NDArray[np.bool_]) -> None:
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


def split_of(
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
            raise UsageError(_too_many_to_validate(config, total, left, is_named[2]))
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
            what += f": all belong together, as equal {_unit(items)}s do" if alike else ""
            raise UsageError(
                f"{config.dataset}: no image is left {what}{_few_tiles(config, total)}; give"
                " more, or another split"
            )
    sentence = ", ".join(
        f"{n:,} {name} ({100 * n / total:.1f}%)" for n, name in zip(counts, SPLITS, strict=True)
    )
    sentence += _how_split(items, config, is_named, counts)
    return sides, [f"split: {sentence}", *told], warnings


def _too_many_to_validate(config: DataConfig, total: int, left: int, is_test_named: bool) -> str:
    """The error for a data.val that leaves none to train on of `left` images out of `total`."""
    val = config.val
    asked = f"data.val={val}"
    if isinstance(val, float):
        asked += f" of {count(total, 'image')} is {round(val * total):,}"
    if config.test is not None:
        test = list(config.test) if isinstance(config.test, tuple) else config.test
        tested = f"data.test={test}"
    else:
        tested = "the test" if is_test_named else f"the test's share of {TEST_SHARE}"
    return f"{asked}, and {tested} leaves {left:,}: none to train on"


def _few_tiles(config: DataConfig, total: int) -> str:
    """Words on the tiles there are, where smaller ones would be more."""
    if config.tile is None or isinstance(config.test, tuple):
        return ""
    room = count(total, "tile")
    return f": data.tile={config.tile} finds room for {room}, a smaller one for more"


def _how_split(
    items: Items, config: DataConfig, is_named: Sequence[bool], counts: Sequence[int]
) -> str:
    unit = _unit(items)
    if any(is_named) and not isinstance(config.test, tuple):
        of = "the folders" if items.are_files else "x_train and x_test"
        drawn = [SPLITS[i] for i in (1, 2) if counts[i] and not is_named[i]]
        source = "train" if is_named[0] else "the rest"
        of += f"; {' and '.join(drawn)} out of {source}, by {unit}" if drawn else ""
        return f", by {of}"
    if config.tile is None:
        return f", by {unit}; equal {unit}s stay together"
    if items.scenes.all() or len(items) == 1:
        return ", by blocks: no tile lies in two of them"
    return f", by {unit}: all tiles of one stay together"


def _unit(items: Items) -> str:
    """The noun for what the split deals out whole."""
    return "file" if items.are_files else "image"


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
