"""Rows of pictures with a name, numbers and captions: what several figures are made of.

The rows are one picture in one axes: an axes for each image takes ten times as long. Its place is
computed from the widths of the texts: constrained layout cannot hold texts beside a fixed aspect.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import matplotlib.collections
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

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

_TILE, _LARGE_TILE = 0.7, 1.3  # inches; the longer side of a small and of a large image
_SMALL_IMAGE, _LARGE_IMAGE = 48, 128  # pixels of that side
_FINE, _FINER = 28, 84  # pixels of that side from which texts, and stripes, can be placed by them
_STRIPES, _STRIPE = ("#e9d5f2", "#8f5aa8"), 0.03  # colours, and inches of each
_FIRST_THREE = (0, 1, 2)
_NOT_VALID = "Striped: pixels that are not valid."
_SIZE, _SMALL = 10.5, 9.0  # points
_LINE = 1.35 / 72  # inches of a line of text per point of its size
_AIR = 0.09  # inches
_NARROWEST_PAGE, _NARROW_PAGE = 3.2, 6.5  # inches; of few pictures, and with long words above
_HAIRLINE, _NEARLY_WHITE = "#b8b8b8", 0.85
_BAR = 0.73  # inches; a colour bar with its numbers, from its left edge on


@dataclass(frozen=True)
class PictureRow:
    """A row of pictures as it is drawn."""

    name: str
    pictures: Array
    """(n, C, H, W) in [0, 1]; rows may differ in n and in C."""
    scores: Sequence[str] = ()
    """Texts at the right of the row, a column each."""
    captions: Sequence[str] = ()
    """Text under each picture."""
    framed: Sequence[int] = ()
    """Indices of the pictures with a frame around them."""
    shown: Sequence[int] = ()
    """Channels shown as red, green and blue, by their indices; empty for the rule."""
    masks: NDArray[np.bool_] | None = None
    """(n, H, W), True where a pixel is valid; None if all are."""
    colours: Sequence[str] = ()
    """Colour of each picture's frame and caption; empty for the usual ones."""


def channel_note(channels: int, shown: Sequence[int] = ()) -> str:
    """Addition to a title where images have other channels than a screen has, or in another order.

    shown: as for `in_colour`; channels are counted from 1.
    """
    if channels == 2 and not shown:
        return ", channel 1 of 2 shown as red, channel 2 as green and blue"
    triple = tuple(shown) or _FIRST_THREE
    if channels == 1 or (channels == 3 and triple == _FIRST_THREE):
        return ""
    named = ", ".join(str(channel + 1) for channel in triple)
    return f", channels {named} of {channels} shown as red, green, blue"


def in_colour(images: Array, shown: Sequence[int] = ()) -> Array:
    """(n, H, W, 3) in [0, 1] of images (n, C, H, W).

    shown: the channels that are red, green and blue, by their indices. Without any these are the
    first three. Of two channels the first is red, and the second both others, so that where they
    are alike the picture is grey; a single one is grey anyway.
    """
    channels = images.shape[1]
    triple = tuple(shown) or {1: (0, 0, 0), 2: (0, 1, 1)}.get(channels, _FIRST_THREE)
    return images[:, triple].clip(0, 1).transpose(0, 2, 3, 1)


def striped(colours: Array, valid: NDArray[np.bool_], per_inch: float) -> Array:
    """Pictures (n, H, W, 3) with stripes where they are not `valid` (n, H, W)."""
    height, width = valid.shape[1:]
    wide = max(round(_STRIPE * per_inch), 1)
    odd = np.add.outer(np.arange(height), np.arange(width)) // wide % 2
    stripes = np.array([mpl.colors.to_rgb(colour) for colour in _STRIPES])[odd]
    return np.where(valid[..., None], colours, stripes)


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
    pictures, per_inch = _at_a_size(rows)
    height, width = pictures[0].shape[1:3]
    picture, tops, lefts = _one_picture(rows, pictures, above, per_inch)
    if any(row.masks is not None and not row.masks.all() for row in rows):
        note = f"{note} {_NOT_VALID}".strip()
    names, middles, right = _widths(rows, heads)
    # A bar beside a low row would stand between the scores of the rows above.
    bar_left = 0.07 if height >= 0.6 * per_inch else right
    right = max(right, bar_left + _BAR if shades else 0)
    wide, high = (side / per_inch for side in picture.shape[1::-1])
    page = max(names + wide + right + 3 * _AIR, _least_page([title, note]))
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
    edges = _edges(pictures, tops, lefts)
    if edges is not None:
        axes.add_collection(edges, autolim=False)
    bare(axes)
    axes.tick_params(length=0, pad=4)
    centres = tops + (height - 1) / 2
    axes.set_yticks(centres, [row.name for row in rows], fontsize=_SIZE)

    def write(text: str, x: float, y: float, va: str, size: float, colour: str = "black") -> None:
        style: dict[str, Any] = {"fontsize": size, "color": colour, "parse_math": False}
        axes.text(x, y, text, ha="center", va=va, **style)

    scores = [picture.shape[1] + middle * per_inch for middle in middles]
    edge = -0.05 * per_inch
    for text, x in [*zip(above, lefts + width / 2, strict=True)] if above else []:
        write(text, x, edge, "bottom", _SMALL)
    for text, x in zip(heads, scores, strict=True):
        write(text, x, edge, "bottom", _SMALL)
    for row, upper, centre in zip(rows, tops, centres, strict=True):
        for text, x in zip(row.scores, scores, strict=False):
            write(text, x, centre, "center", _SIZE)
        colours = row.colours or ["black"] * len(row.captions)
        for text, x, colour in zip(row.captions, lefts + width / 2, colours, strict=False):
            if text:
                write(text, x, upper + height + 0.03 * per_inch, "top", _SMALL, colour)
        for place in row.framed:
            spot = (lefts[place] - 0.5, upper - 0.5)
            edge_colour = row.colours[place] if row.colours else BASELINE
            line: dict[str, Any] = {"ec": edge_colour, "fc": "none", "lw": 3, "clip_on": False}
            axes.add_patch(Rectangle(spot, width, height, **line))
    if shades:
        low = 1 - (tops[-1] + height) / picture.shape[0]
        long = max(height, _TILE * per_inch) / picture.shape[0]
        beside = axes.inset_axes((1 + bar_left / wide, low, 0.11 / wide, long))
        bar = figure.colorbar(shades, cax=beside)
        bar.ax.tick_params(labelsize=8)
        bar.set_label("pixel units", fontsize=8.5)
        bar.outline.set_visible(False)
    return figure


def _least_page(texts: Sequence[str]) -> float:
    """Inches that a page of few pictures is wide, for the sake of the texts above and below: they
    take several lines, but no word is cut that has room on a page of the usual width."""
    words = [word for text in texts for word in text.split()]
    longest = max((text_width(word, TITLE, "bold") for word in words), default=0)
    return min(max(longest + 3 * _AIR, _NARROWEST_PAGE), _NARROW_PAGE)


def _edges(
    pictures: Sequence[Array], tops: Array, lefts: Array
) -> mpl.collections.PatchCollection | None:
    """A hairline around each picture, for white ones end nowhere on white paper; None where none of
    them is white at its edge."""
    if not any(_is_white_at_an_edge(some) for some in pictures):
        return None
    height, width = pictures[0].shape[1:3]
    frames = [
        Rectangle((left - 0.5, top - 0.5), width, height)
        for some, top in zip(pictures, tops, strict=True)
        for _, left in zip(some, lefts, strict=False)
    ]
    style: dict[str, Any] = {"facecolor": "none", "edgecolor": _HAIRLINE, "linewidth": 0.6}
    return mpl.collections.PatchCollection(frames, **style, clip_on=False)


def _is_white_at_an_edge(colours: Array) -> bool:
    """True if a pixel at the edge of a picture (n, H, W, 3) is nearly white."""
    least = colours.min(axis=3)
    edges = least[:, [0, -1]], least[:, :, [0, -1]]
    return any((edge > _NEARLY_WHITE).any() for edge in edges)


def _at_a_size(rows: Sequence[PictureRow]) -> tuple[list[Array], float]:
    """The pictures of each row in colour, (n, H, W, 3), and how many of their pixels are an inch.

    Small ones are enlarged, so that texts can be placed by whole pixels; of large ones, which have
    more pixels than are drawn, each is the mean of the valid ones in its place.
    """
    longer = max(rows[0].pictures.shape[2:])
    inches = float(np.interp(longer, (_SMALL_IMAGE, _LARGE_IMAGE), (_TILE, _LARGE_TILE)))
    least = _FINE if all(row.masks is None or row.masks.all() for row in rows) else _FINER
    times, fewer = -(-least // longer), max(int(longer / (inches * PIXELS_PER_INCH)), 1)
    per_inch = longer * times / fewer / inches
    pictures = []
    for row in rows:
        colours, valid = in_colour(row.pictures, row.shown), row.masks
        colours, valid = reduced(colours, valid, fewer)
        colours = colours.repeat(times, axis=1).repeat(times, axis=2)
        if valid is not None:
            valid = valid.repeat(times, axis=1).repeat(times, axis=2)
            colours = striped(colours, valid, per_inch)
        pictures.append(colours)
    return pictures, per_inch


def reduced(
    colours: Array, valid: NDArray[np.bool_] | None, factor: int
) -> tuple[Array, NDArray[np.bool_] | None]:
    """Pictures (n, H, W, 3), and where they are valid (n, H, W), with `factor` times fewer rows and
    columns: the mean of the valid pixels of each square; a square is valid if one of them is."""
    if factor == 1:
        return colours, valid
    weights = np.ones(colours.shape[:3]) if valid is None else valid.astype(float)
    count = _sums(weights[..., None], factor)
    means = _sums(colours * weights[..., None], factor) / np.maximum(count, 1)
    return means, None if valid is None else count[..., 0] > 0


def _sums(values: Array, factor: int) -> Array:
    """Sums of (n, H, W, c) over squares; those at the lower and right edge may be smaller."""
    for axis in (1, 2):
        starts = np.arange(0, values.shape[axis], factor)
        values = np.add.reduceat(values, starts, axis=axis)
    return values


def _one_picture(
    rows: Sequence[PictureRow], pictures: Sequence[Array], above: Sequence[str], per_inch: float
) -> tuple[Array, Array, Array]:
    """The rows as one picture (H, W, 3), the upper edges of the rows, the left ones of columns.

    A picture stands in the middle of its place, which is as large as its texts need.
    """
    height, width = pictures[0].shape[1:3]
    gap = max(round(0.06 * per_inch), 1)
    line = _SMALL * _LINE * per_inch
    texts = [*above, *(caption for row in rows for caption in row.captions)]
    parts = {part for text in texts for part in text.split("\n")}
    widest = max((text_width(part, _SMALL) for part in parts), default=0)
    high = max(row.name.count("\n") + 1 for row in rows) * _SIZE * _LINE
    # A text of the same width as the place and its gap would touch the next one.
    place_wide = max(width, round(widest * per_inch))
    place_high = max(height, round(high * per_inch))
    spaces = [
        gap + round(line * max((text.count("\n") + 1.2 for text in row.captions), default=0))
        for row in rows
    ]
    places = np.cumsum([0, *(place_high + space for space in spaces)])
    columns = (place_wide + gap) * np.arange(max(len(some) for some in pictures))
    tops, lefts = places[:-1] + (place_high - height) // 2, columns + (place_wide - width) // 2
    whole = places[-1] - (0 if rows[-1].captions else gap), columns[-1] + place_wide
    picture = np.ones((*whole, 3))
    for some, top in zip(pictures, tops, strict=True):
        for image, left in zip(some, lefts, strict=False):
            picture[top : top + height, left : left + width] = image
    return picture, tops, lefts


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
