"""Sentences on what was found at a path and what was done with it."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aecli.config import DataConfig
from aecli.counts import count
from aecli.data.own.items import Items
from aecli.data.own.scaling import Scale
from aecli.terminal import printable

_TOLD = 20  # lines that an error has
_ALIKE = 5  # files of one reason that are named one by one
_OWN_SIZE = re.compile(r"^\d+x\d+ pixels, ")
_MOST_ENDS = 3  # pairs of limits that are listed
_NOTHING = 1e-30  # share of a range that no float32 in it tells from 0
_ZEROS = 0.02  # share of pixels that are 0 in every channel, from which nodata is asked about


def all_faults(path: Path, faults: Sequence[tuple[str, str]], files: int) -> str:
    """The error of files that cannot be used; those of one reason share a line where many have it.

    faults: (name, reason); a reason that begins with the file's own size is one for all sizes.
    """
    named: dict[str, list[tuple[str, str]]] = {}
    for name, reason in faults:
        named.setdefault(_OWN_SIZE.sub("", reason), []).append((name, reason))
    lines = []
    for shared, group in named.items():
        if len(group) > _ALIKE:
            lines.append(f"{len(group):,} files ({_some([name for name, _ in group])}): {shared}")
        else:
            lines += [f"{printable(name)}: {reason}" for name, reason in group]
    if len(lines) > _TOLD:
        lines[_TOLD:] = [f"and {len(lines) - _TOLD:,} more"]
    head = f"{path}: {count(len(faults), 'file')} of {files:,} cannot be used"
    return "\n  ".join([f"{head} (data.skip_bad=true leaves them out):", *lines])


def found(items: Items, usable: NDArray[np.bool_], config: DataConfig) -> list[str]:
    """Sentences on what is there and what decoding changed; usable: (n,), True for images that are
    used."""
    originals = Counter(items.originals[i] for i in np.flatnonzero(usable).tolist())
    sentences = [f"found: {count(int(usable.sum()), 'image')}: {_kinds(originals)}"]
    sentences += items.notes
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
        sentences.append(f"left out: {count(len(names), 'file')} ({_some(names)})")
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


def ends_of(scale: Scale) -> str:
    """The values that become 0 and 1, in words."""
    pairs = sorted(set(zip(scale.low, scale.high, strict=True)))
    if len(pairs) > _MOST_ENDS:
        return ", limits per channel"
    return ", " + "; ".join(_ends(low, high) for low, high in pairs)


def _ends(low: float, high: float) -> str:
    """Two values in words, where one that is nothing beside their distance is 0."""
    least = _NOTHING * (high - low)
    return " to ".join(f"{0.0 if abs(each) < least else each:g}" for each in (low, high))


def asks_for_nodata(items: Items, config: DataConfig) -> list[str]:
    if config.nodata is not None or not items.scenes.any() or items.zeros < _ZEROS:
        return []
    return [
        f"{100 * items.zeros:.1f}% of the pixels are 0 in every channel: if that means no data,"
        " data.nodata=0 leaves them out"
    ]
