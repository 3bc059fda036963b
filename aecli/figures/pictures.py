"""Rows of pictures with a name, numbers and captions: what several figures are made of.

The rows are one picture in one axes: an axes for each image takes ten times as long. Its place is
computed from the widths of the texts: constrained layout cannot hold texts beside a fixed aspect.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from aecli.figures.style import (
    BASELINE,
    NOTE,
    PIXELS_PER_INCH,
    TITLE,
    Array,
    bare,
    text_width,
    wrapped,
)

_TILE = 0.7  # inches; the longer side of an image
_SIZE, _SMALL = 10.5, 9.0  # points
_LINE = 1.35 / 72  # inches of a line of text per point of its size
_AIR = 0.09  # inches
_BAR = 0.8  # inches; a colour bar with its numbers


@dataclass(frozen=True)
class PictureRow:
    """A row of pictures as it is drawn."""

    name: str
    pictures: Array
    """(n, C, H, W) in [0, 1]; rows may differ in n."""
    scores: Sequence[str] = ()
    """Texts at the right of the row, a column each."""
    captions: Sequence[str] = ()
    """Text under each picture."""
    framed: Sequence[int] = ()
    """Indices of the pictures with a frame around them."""


def channel_note(channels: int) -> str:
    """Addition to a title where not all of an image is seen."""
    return "" if channels in (1, 3) else f", channel 0 of {channels} shown"


def in_colour(images: Array) -> Array:
    """(n, H, W, 3) in [0, 1] of images (n, C, H, W): three channels as colours, else channel 0."""
    shown = images if images.shape[1] == 3 else images[:, :1]
    last = shown.clip(0, 1).transpose(0, 2, 3, 1)
    return np.broadcast_to(last, (*last.shape[:3], 3))


def picture_rows(
    rows: Sequence[PictureRow],
    title: str,
    note: str = "",
    heads: Sequence[str] = (),
    above: Sequence[str] = (),
    shades: mpl.cm.ScalarMappable | None = None,
) -> Figure:
    """A figure of rows of pictures.

    heads: texts over the columns of scores. above: over those of pictures. shades: the colours of
    the last row, whose bar stands at its right.
    """
    height, width = rows[0].pictures.shape[2:]
    per_inch = max(height, width) / _TILE
    picture, tops, lefts = _one_picture(rows, per_inch)
    names, middles, right = _widths(rows, heads)
    right = max(right, _BAR if shades else 0)
    wide, high = (side / per_inch for side in picture.shape[1::-1])
    page = max(names + wide + right + 3 * _AIR, 6.5)
    headline = wrapped(title, page - 2 * _AIR, TITLE, "bold")
    foot = "\n".join(wrapped(line, page - 2 * _AIR, NOTE) for line in note.split("\n"))
    over = max((text.count("\n") + 1 for text in [*heads, *above]), default=0) * _SMALL * _LINE
    top = _AIR + (headline.count("\n") + 1) * TITLE * _LINE + over + 2 * _AIR
    below = _AIR + ((foot.count("\n") + 1) * NOTE * _LINE + _AIR if foot else 0)
    full = top + high + below
    figure = Figure(figsize=(page, full), dpi=PIXELS_PER_INCH)
    bold: dict[str, Any] = {"weight": "bold", "fontsize": TITLE, "parse_math": False}
    figure.suptitle(headline, x=_AIR / page, y=1 - _AIR / full, ha="left", va="top", **bold)
    if foot:
        figure.text(_AIR / page, _AIR / full, foot, fontsize=NOTE, va="bottom", parse_math=False)
    corner = (names + 2 * _AIR) / page, below / full
    axes = figure.add_axes((*corner, wide / page, high / full))
    axes.imshow(picture, interpolation="auto", aspect="auto")
    bare(axes)
    axes.tick_params(length=0, pad=4)
    centres = tops + (height - 1) / 2
    axes.set_yticks(centres, [row.name for row in rows], fontsize=_SIZE)

    def write(text: str, x: float, y: float, va: str, size: float) -> None:
        axes.text(x, y, text, ha="center", va=va, fontsize=size, parse_math=False)

    scores = [picture.shape[1] + middle * per_inch for middle in middles]
    edge = -0.05 * per_inch
    for text, x in [*zip(above, lefts + width / 2, strict=True)] if above else []:
        write(text, x, edge, "bottom", _SMALL)
    for text, x in zip(heads, scores, strict=True):
        write(text, x, edge, "bottom", _SMALL)
    for row, upper, centre in zip(rows, tops, centres, strict=True):
        for text, x in zip(row.scores, scores, strict=False):
            write(text, x, centre, "center", _SIZE)
        for text, x in zip(row.captions, lefts + width / 2, strict=False):
            if text:
                write(text, x, upper + height + 0.03 * per_inch, "top", _SMALL)
        for left in lefts[list(row.framed)]:
            spot = (left - 0.5, upper - 0.5)
            axes.add_patch(Rectangle(spot, width, height, ec=BASELINE, fc="none", lw=3))
    if shades:
        beside = axes.inset_axes((1 + 0.07 / wide, 0, 0.11 / wide, height / picture.shape[0]))
        bar = figure.colorbar(shades, cax=beside)
        bar.ax.tick_params(labelsize=8)
        bar.set_label("pixel units", fontsize=8.5)
        bar.outline.set_visible(False)
    return figure


def _one_picture(rows: Sequence[PictureRow], per_inch: float) -> tuple[Array, Array, Array]:
    """The rows as one picture (H, W, 3), the upper edges of the rows, the left ones of columns."""
    height, width = rows[0].pictures.shape[2:]
    gap = max(round(0.06 * per_inch), 1)
    line = _SMALL * _LINE * per_inch
    spaces = [
        gap + round(line * max((text.count("\n") + 1.2 for text in row.captions), default=0))
        for row in rows
    ]
    tops = np.cumsum([0, *(height + space for space in spaces)])
    lefts = (width + gap) * np.arange(max(len(row.pictures) for row in rows))
    picture = np.ones((tops[-1] - (0 if rows[-1].captions else gap), lefts[-1] + width, 3))
    for row, top in zip(rows, tops, strict=False):
        for image, left in zip(in_colour(row.pictures), lefts, strict=False):
            picture[top : top + height, left : left + width] = image
    return picture, tops[:-1], lefts


def _widths(rows: Sequence[PictureRow], heads: Sequence[str]) -> tuple[float, list[float], float]:
    """Inches: the width of the names, the middles of the columns of scores, the width of these."""
    names = max(text_width(line, _SIZE) for row in rows for line in row.name.split("\n"))
    middles, right = [], _AIR
    for column, head in enumerate(heads):
        cells = [text_width(row.scores[column], _SIZE) for row in rows if row.scores]
        widest = max([*cells, *(text_width(line, _SMALL) for line in head.split("\n"))])
        middles.append(right + widest / 2)
        right += widest + 1.5 * _AIR
    return names, middles, right
