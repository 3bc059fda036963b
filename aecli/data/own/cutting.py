"""Tiles of large images, and the split of images and tiles that lets nothing through.

What stands on both sides of a split in some way is one group, and a group stands on one side:
files with equal content, all tiles of a photograph, all tiles of a block of a scene. A tile lies
wholly inside its block, so that overlapping tiles never stand on both sides.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCKS, BLOCKS_OF_OVERLAPPING = 24, 9
"""Blocks that a scene is divided into at least, where it is large enough. More of them meet the
shares asked for more nearly; fewer lose fewer of the tiles that overlap, at their edges."""
MOST_WINDOWS = 50_000_000

Windows = NDArray[np.int32]
"""(n, 3): an image's index, and the row and column of the upper left pixel."""


@dataclass(frozen=True)
class Rectangle:
    """Rows and columns from `top` and `left` up to, not including, `bottom` and `right`."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left


def starts(length: int, tile: int, stride: int, pad: bool) -> list[int]:
    """Starts of the tiles along a side of so many pixels; with `pad` the last may reach over."""
    found = list(range(0, length - tile + 1, stride))
    end = found[-1] + tile if found else 0
    following = found[-1] + stride if found else 0
    if pad and end < length and following < length:
        found.append(following)
    return found


def tiles(part: Rectangle, tile: int, stride: int, pad: bool = False) -> list[tuple[int, int]]:
    """Rows and columns of the tiles of a part of an image, each wholly inside unless `pad`."""
    rows = starts(part.height, tile, stride, pad)
    columns = starts(part.width, tile, stride, pad)
    return [(part.top + y, part.left + x) for y in rows for x in columns]


def count_tiles(part: Rectangle, tile: int, stride: int, pad: bool = False) -> int:
    """The number of `tiles`, without making them."""
    return len(starts(part.height, tile, stride, pad)) * len(starts(part.width, tile, stride, pad))


def blocks(part: Rectangle, tile: int, fewest: int) -> list[Rectangle]:
    """A part of a scene in blocks of whole tiles' size or more, at least `fewest` if there can be
    so many. Their edges are spread evenly."""
    most = min(part.height, part.width) // tile
    count = (1, 1)
    for tiles_across in range(max(most, 1), 0, -1):
        side = tiles_across * tile
        count = max(part.height // side, 1), max(part.width // side, 1)
        if count[0] * count[1] >= fewest:
            break
    rows = np.linspace(part.top, part.bottom, count[0] + 1).astype(int).tolist()
    columns = np.linspace(part.left, part.right, count[1] + 1).astype(int).tolist()
    return [
        Rectangle(top, left, bottom, right)
        for top, bottom in itertools.pairwise(rows)
        for left, right in itertools.pairwise(columns)
    ]


def around(whole: Rectangle, hole: Rectangle) -> list[Rectangle]:
    """Rectangles that cover a part but for another, which is taken out of it."""
    top, bottom = max(whole.top, hole.top), min(whole.bottom, hole.bottom)
    left, right = max(whole.left, hole.left), min(whole.right, hole.right)
    if top >= bottom or left >= right:
        return [whole]
    found = [
        Rectangle(whole.top, whole.left, whole.bottom, left),
        Rectangle(whole.top, right, whole.bottom, whole.right),
        Rectangle(whole.top, left, top, right),
        Rectangle(bottom, left, whole.bottom, right),
    ]
    return [each for each in found if each.height > 0 and each.width > 0]


def half_gap(gap: int) -> int:
    """Half a gap between two parts, which each of them leaves free, rounded up."""
    return -(-gap // 2)


def inset(part: Rectangle, whole: Rectangle, gap: int) -> Rectangle:
    """A part without `half_gap` along the edges that it shares with other parts."""
    half = half_gap(gap)
    return Rectangle(
        part.top + (half if part.top > whole.top else 0),
        part.left + (half if part.left > whole.left else 0),
        part.bottom - (half if part.bottom < whole.bottom else 0),
        part.right - (half if part.right < whole.right else 0),
    )


def choose_groups(sizes: Sequence[int], target: float, order: Sequence[int]) -> list[int]:
    """Groups, taken in `order`, whose images come as near to `target` as whole groups can.

    At least one group if the target is above 0, and never all of them.
    """
    if target <= 0 or len(sizes) < 2:
        return []
    taken: list[int] = []
    count = 0
    for group in order:
        if len(taken) + 1 < len(sizes) and abs(count + sizes[group] - target) < abs(count - target):
            taken.append(group)
            count += sizes[group]
    return taken or [min(order, key=lambda group: abs(sizes[group] - target))]
