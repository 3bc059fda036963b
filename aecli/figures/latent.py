"""Figures of a code space: paths through it, the region it occupies, what it decodes to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
import matplotlib.patheffects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from aecli.figures.labels import Label, place_labels
from aecli.figures.pictures import PictureRow, channel_note, in_colour, picture_rows
from aecli.figures.style import (
    ACCENT,
    BASELINE,
    HELD_OUT,
    NETWORK,
    STYLE,
    Array,
    heading,
    legend_below,
    new_figure,
)

HOLE = BASELINE
_BRIGHT = "#1fa8e0"  # a path over dark images
_PER_LINE = 10  # images side by side; a longer path goes on in the next line
_COUNTS = [digit * 10**power for power in range(6) for digit in (1, 2, 5)]
_OUTLINE = [mpl.patheffects.withStroke(linewidth=3, foreground="white")]


@dataclass(frozen=True)
class PathRow:
    """One codec's path as it is drawn."""

    name: str
    decoded: Array
    """(steps, C, H, W) in [0, 1]."""
    in_hole: NDArray[np.bool_]
    """(steps,)."""
    captions: Sequence[str]
    """Text under each image, below its t."""
    on_path: bool = True
    """False for images that stand beside those of a path: they have no t."""
    masks: NDArray[np.bool_] | None = None
    """(steps, H, W), True where a pixel is valid; None if all are."""


@dataclass(frozen=True)
class Plane:
    """A rectangle of a two-dimensional code space, and the path through it."""

    x: Array
    """(columns,) ascending, of code unit 0."""
    y: Array
    """(rows,) ascending, of code unit 1."""
    distances: Array
    """(rows, columns): the distance of each grid point to the nearest training codes."""
    threshold: float
    """The distance beyond which a code is in a hole."""
    path: Array
    """(steps, 2)."""
    in_hole: NDArray[np.bool_]
    """(steps,)."""
    ends: tuple[str, str]
    """Names of the path's ends."""


def interpolation_row(
    originals: Array,
    ends: tuple[str, str],
    t: Array,
    rows: Sequence[PathRow],
    note: str,
    title: str,
    shown: Sequence[int] = (),
    masks: NDArray[np.bool_] | None = None,
) -> Figure:
    """The decoded images in a row, t under each, between the two originals; a row per codec.

    originals: (2, C, H, W) in [0, 1]. t: (steps,). Images in holes are framed. note: what the
    captions say; what a frame says is added where there is one. shown: channels, as for
    `in_colour`. masks: (2, H, W), True where a pixel of the originals is valid; None if all are.
    """
    valid = [None, None] if masks is None else [*masks]
    framed = any(row.in_hole.any() for row in rows)
    holes = "Framed: its code is in a hole." if framed else "No code of these paths is in a hole."
    drawn = []
    for first in range(0, len(t), _PER_LINE):
        steps = range(first, min(first + _PER_LINE, len(t)))
        upper, *lower = (_line(row, steps, t, shown) for row in rows)
        if first == 0:
            upper = _with_original(upper, originals[0], valid[0], ends[0], 0)
        if steps[-1] == len(t) - 1:
            upper = _with_original(upper, originals[1], valid[1], ends[1], len(steps) + 1)
        drawn += [upper, *lower]
    with mpl.rc_context(STYLE):
        return picture_rows(
            drawn, title + channel_note(originals.shape[1], shown), f"{holes} {note}"
        )


def _line(row: PathRow, steps: range, t: Array, shown: Sequence[int]) -> PictureRow:
    """Some steps of a path, with an empty place before them."""
    captions = [(f"t = {t[i]:.2f}\n" if row.on_path else "") + row.captions[i] for i in steps]
    framed = [place for place, i in enumerate(steps, start=1) if row.in_hole[i]]
    empty = np.ones_like(row.decoded[:1])
    pictures = np.concatenate([empty, row.decoded[steps.start : steps.stop]])
    masks = np.ones((len(pictures), *pictures.shape[2:]), dtype=bool)
    if row.masks is not None:
        masks[1:] = row.masks[steps.start : steps.stop]
    captions = ["", *captions]
    return PictureRow(row.name, pictures, (), captions, framed, shown, masks)


def _with_original(
    line: PictureRow, original: Array, valid: NDArray[np.bool_] | None, name: str, place: int
) -> PictureRow:
    """The line with the original of a path's end at that place."""
    pictures, captions = [*line.pictures[:place]], [*line.captions[:place]]
    pictures += [original, *line.pictures[place + 1 :]]
    captions += [f"original\n{name}", *line.captions[place + 1 :]]
    assert line.masks is not None
    masks = [*line.masks[:place], np.ones_like(line.masks[0]) if valid is None else valid]
    masks += [*line.masks[place + 1 :]]
    return replace(line, pictures=np.stack(pictures), captions=captions, masks=np.stack(masks))


def latent_map(codes: Array, plane: Plane, title: str) -> Figure:
    """The density of the training codes (N, 2), the region they occupy, and the path over it."""
    with mpl.rc_context(STYLE):
        figure = new_figure(8.4, 6.8)
        axes = figure.subplots()
        extent = (plane.x[0], plane.x[-1], plane.y[0], plane.y[-1])
        inside = (
            (codes[:, 0] >= extent[0])
            & (codes[:, 0] <= extent[1])
            & (codes[:, 1] >= extent[2])
            & (codes[:, 1] <= extent[3])
        )
        shown = axes.hexbin(
            codes[inside, 0],
            codes[inside, 1],
            gridsize=70,
            extent=extent,
            mincnt=1,
            cmap="Blues",
            norm=LogNorm(vmin=0.5),  # so that a cell with one code is not white
            linewidths=0.1,
        )
        bar = figure.colorbar(
            shown,
            ax=axes,
            shrink=0.8,
            pad=0.02,
            ticks=[count for count in _COUNTS if count <= (shown.norm.vmax or 1)],
            format="%d",
        )
        bar.minorticks_off()
        beyond = int((~inside).sum())
        bar.set_label(
            "training codes per cell"
            + (f" ({beyond:,} of {len(codes):,} lie beyond the edges)" if beyond else "")
        )
        bar.outline.set_visible(False)
        _finish_plane(figure, axes, plane, HELD_OUT, "black", title)
        return figure


def decoder_grid(images: Array, plane: Plane, title: str, shown: Sequence[int] = ()) -> Figure:
    """The plane through the decoder: images (rows, columns, C, H, W) in [0, 1], each where
    its code lies, the first row at the lowest y; the path over them. shown: channels, as for
    `in_colour`."""
    rows, columns, channels, height, width = images.shape
    colour = in_colour(images[::-1].reshape(-1, channels, height, width), shown)
    tiles = colour.reshape(rows, columns, height, width, 3).transpose(0, 2, 1, 3, 4)
    with mpl.rc_context(STYLE):
        ratio = rows * height / (columns * width)
        sides = float(np.clip(ratio, 0.25, 4)) ** 0.5
        figure = new_figure(7.6 / sides + 0.8, 7.6 * sides + 1.2)
        axes = figure.subplots()
        axes.imshow(
            tiles.reshape(rows * height, columns * width, 3),
            extent=(plane.x[0], plane.x[-1], plane.y[0], plane.y[-1]),
            aspect="auto",
            interpolation="auto",
        )
        axes.set_box_aspect(ratio)  # no picture is stretched
        axes.grid(visible=False)
        _finish_plane(figure, axes, plane, ACCENT, _BRIGHT, title + channel_note(channels, shown))
        return figure


def hole_rates(
    t: Array, rates: Mapping[str, Array], held_out: Mapping[str, float], pairs: int, title: str
) -> Figure:
    """Share of paths in a hole at each t, in percent of the pairs; a panel for each codec.

    rates: (steps,) in [0, 1] each, drawn with their 95% intervals (Wilson, JASA 22, 1927).
    held_out: the rate over real test images, for each codec too.
    """
    colours = (NETWORK, BASELINE, ACCENT, HELD_OUT)
    with mpl.rc_context(STYLE):
        figure = new_figure(8, 4.6)
        sides = figure.subplots(1, len(rates), sharey=True, squeeze=False)[0]
        for axes, (name, rate), colour in zip(sides, rates.items(), colours, strict=False):
            low, high = _wilson(rate, pairs)
            axes.fill_between(t, 100 * low, 100 * high, color=colour, alpha=0.2, lw=0)
            axes.plot(t, 100 * rate, "o-", color=colour, ms=4, clip_on=False, zorder=3)
            line = axes.axhline(100 * held_out[name], color=HELD_OUT, lw=1.4, ls=":")
            axes.set_title(name, color=colour)
            axes.set(xlabel="t", xlim=(-0.02, 1.02))
        highest = [float(_wilson(rate, pairs)[1].max()) for rate in rates.values()]
        top = max(*highest, *held_out.values())
        sides[0].set(ylabel=f"paths in a hole (% of {pairs:,} pairs)", ylim=(0, 108 * top))
        real = ", ".join(f"{100 * held_out[name]:.1f}%" for name in rates)
        line.set_label(f"codes of real test images: {real}")
        heading(figure, title)
        legend_below(
            figure,
            [
                Line2D([], [], color=HELD_OUT, marker="o", ms=4, label="straight paths"),
                Patch(color=HELD_OUT, alpha=0.2, lw=0, label="95% interval"),
                line,
            ],
        )
        return figure


def _wilson(rate: Array, count: int) -> tuple[Array, Array]:
    """The 95% interval of a rate measured on `count` cases."""
    z = 1.96
    middle = (rate + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * np.sqrt(rate * (1 - rate) / count + (z / (2 * count)) ** 2) / (1 + z**2 / count)
    return (middle - half).clip(0), middle + half


def _draw_path(axes: Axes, plane: Plane, colour: str) -> None:
    axes.plot(*plane.path.T, "-", color=colour, lw=2, path_effects=_OUTLINE)
    for hole, fill in ((False, colour), (True, HOLE)):
        chosen = plane.path[plane.in_hole == hole]
        axes.plot(chosen[:, 0], chosen[:, 1], "o", color=fill, ms=8, mec="white", mew=1.3, zorder=3)


def _finish_plane(
    figure: Figure, axes: Axes, plane: Plane, edge: str, colour: str, title: str
) -> None:
    """Draw the region's edge, the path and a legend of those that are there."""
    dot: dict[str, Any] = {"marker": "o", "ms": 8, "mec": "white"}
    handles = []
    if plane.distances.min() < plane.threshold < plane.distances.max():
        axes.contour(
            plane.x, plane.y, plane.distances, [plane.threshold], colors=edge, linewidths=1.3
        )
        handles.append(Line2D([], [], color=edge, lw=1.3, label="edge of the occupied region"))
    _draw_path(axes, plane, colour)
    handles.append(Line2D([], [], color=colour, lw=2, **dot, label="the path"))
    if plane.in_hole.any():
        handles.append(Line2D([], [], color=HOLE, lw=0, **dot, label="the path, in a hole"))
    axes.set(
        xlabel="code unit 0",
        ylabel="code unit 1",
        xlim=(plane.x[0], plane.x[-1]),
        ylim=(plane.y[0], plane.y[-1]),
    )
    heading(figure, title)
    legend_below(figure, handles)
    bold: dict[str, Any] = {"weight": "bold", "fontsize": 12, "path_effects": _OUTLINE}
    ends = zip(plane.ends, plane.path[[0, -1]].tolist(), strict=True)
    names = [Label(text, (x, y), bold) for text, (x, y) in ends]
    place_labels(axes, names, [plane.path], nearest=7)
