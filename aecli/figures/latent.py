"""Figures of a code space: paths through it, the region it occupies, what it decodes to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import matplotlib.patheffects
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from aecli.figures.style import (
    ACCENT,
    BASELINE,
    HELD_OUT,
    NETWORK,
    STYLE,
    Array,
    draw_picture,
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
    """Under each image, below its t."""


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
    """What the path's ends are called."""


def interpolation_row(
    originals: Array,
    ends: tuple[str, str],
    t: Array,
    rows: Sequence[PathRow],
    note: str,
    title: str,
) -> Figure:
    """The decoded images in a row, t under each, between the two originals; a row per codec.

    originals: (2, C, H, W) in [0, 1]. t: (steps,). Images in holes are framed.
    """
    per_line = min(len(t), _PER_LINE)
    lines = -(-len(t) // per_line)
    with mpl.rc_context(STYLE):
        figure = new_figure(max(6.5, 0.98 * (per_line + 2)), 0.9 + 1.24 * len(rows) * lines)
        grid = figure.subplots(
            len(rows) * lines, per_line + 2, squeeze=False, gridspec_kw={"wspace": 0.08}
        )
        for axes in grid.flat:
            axes.set_axis_off()
        for r, row in enumerate(rows):
            for i, image in enumerate(row.decoded):
                axes = grid[(i // per_line) * len(rows) + r, i % per_line + 1]
                axes.set_axis_on()
                draw_picture(axes, image)
                axes.set_xlabel(f"t = {t[i]:.2f}\n{row.captions[i]}", fontsize=9.5, labelpad=4)
                if row.in_hole[i]:
                    _frame(axes)
            for line in range(lines):
                axes = grid[line * len(rows) + r, 1]
                axes.set_ylabel(row.name, fontsize=10.5, weight="bold")
        for axes, image, end in (
            (grid[0, 0], originals[0], ends[0]),
            (grid[-len(rows), -1], originals[1], ends[1]),
        ):
            axes.set_axis_on()
            draw_picture(axes, image)
            axes.set_xlabel(f"original\n{end}", fontsize=9.5, labelpad=4, color=HELD_OUT)
        figure.suptitle(title, x=0.01, ha="left", weight="bold", fontsize=12)
        figure.supxlabel(note, fontsize=9.5)
        return figure


def latent_map(codes: Array, plane: Plane, title: str) -> Figure:
    """The density of the training codes (N, 2), the region they occupy, and the path over it."""
    with mpl.rc_context(STYLE):
        figure = new_figure(8.4, 6.6)
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
        bar.set_label("training codes per cell")
        bar.outline.set_visible(False)
        edge = _draw_edge(axes, plane, HELD_OUT)
        _draw_path(axes, plane, "black")
        _finish_plane(figure, axes, plane, edge, "black", title)
        return figure


def decoder_grid(images: Array, plane: Plane, title: str) -> Figure:
    """What the decoder makes of the plane: images (rows, columns, C, H, W) in [0, 1], each where
    its code lies, the first row at the lowest y; the path over them."""
    rows, columns, channels, height, width = images.shape
    tiles = images[::-1].transpose(0, 3, 1, 4, 2).reshape(rows * height, columns * width, channels)
    with mpl.rc_context(STYLE):
        figure = new_figure(8.4, 7.4)
        axes = figure.subplots()
        axes.imshow(
            tiles.clip(0, 1) if channels == 3 else tiles[:, :, 0],
            cmap="gray",
            vmin=0,
            vmax=1,
            extent=(plane.x[0], plane.x[-1], plane.y[0], plane.y[-1]),
            aspect="auto",
        )
        axes.grid(visible=False)
        edge = _draw_edge(axes, plane, ACCENT)
        _draw_path(axes, plane, _BRIGHT)
        _finish_plane(figure, axes, plane, edge, _BRIGHT, title)
        return figure


def hole_rates(
    t: Array, rates: Mapping[str, Array], held_out: float, pairs: int, title: str
) -> Figure:
    """How often a path is in a hole at each t, a line per codec, in percent of the pairs.

    rates: (steps,) in [0, 1] each, drawn with their 95% intervals (Wilson, JASA 22, 1927).
    held_out: the rate over real test images.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(8, 4.5)
        axes = figure.subplots()
        for (name, rate), colour, style in zip(
            rates.items(), (NETWORK, BASELINE), ("o-", "s--"), strict=False
        ):
            axes.plot(t, 100 * rate, style, color=colour, ms=5, label=name)
            low, high = _wilson(rate, pairs)
            axes.fill_between(t, 100 * low, 100 * high, color=colour, alpha=0.12, lw=0)
        axes.axhline(
            100 * held_out,
            color=HELD_OUT,
            lw=1.2,
            ls=":",
            label=f"codes of real test images: {100 * held_out:.1f}%",
        )
        top = 100 * max(
            held_out, *(float(_wilson(rate, pairs)[1].max()) for rate in rates.values())
        )
        axes.set(
            xlabel="t, from the first image (0) to the second (1)",
            ylabel=f"paths in a hole (% of {pairs:,} pairs)",
            title=title,
            xlim=(-0.02, 1.02),
            ylim=(0, max(1.4 * top, 2)),  # room for the legend
        )
        axes.legend(loc="upper left", title="shaded: 95% interval", alignment="left")
        return figure


def _wilson(rate: Array, count: int) -> tuple[Array, Array]:
    """The 95% interval of a rate measured on `count` cases."""
    z = 1.96
    middle = (rate + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * np.sqrt(rate * (1 - rate) / count + (z / (2 * count)) ** 2) / (1 + z**2 / count)
    return (middle - half).clip(0), middle + half


def _frame(axes: Axes) -> None:
    for spine in axes.spines.values():
        spine.set(visible=True, color=HOLE, linewidth=3.5)


def _draw_edge(axes: Axes, plane: Plane, colour: str) -> Line2D:
    """The legend's handle of the contour at the threshold."""
    if plane.distances.min() < plane.threshold < plane.distances.max():  # else it is out of sight
        axes.contour(
            plane.x, plane.y, plane.distances, [plane.threshold], colors=colour, linewidths=1.3
        )
    return Line2D([], [], color=colour, lw=1.3, label="edge of the occupied region")


def _draw_path(axes: Axes, plane: Plane, colour: str) -> None:
    axes.plot(plane.path[:, 0], plane.path[:, 1], "-", color=colour, lw=2, path_effects=_OUTLINE)
    for hole, fill in ((False, colour), (True, HOLE)):
        chosen = plane.path[plane.in_hole == hole]
        axes.plot(chosen[:, 0], chosen[:, 1], "o", color=fill, ms=8, mec="white", mew=1.3, zorder=3)
    for text, here, there in (
        (plane.ends[0], plane.path[0], plane.path[-1]),
        (plane.ends[1], plane.path[-1], plane.path[0]),
    ):
        side = 1 if here[0] >= there[0] else -1
        axes.annotate(
            text,
            here,
            xytext=(11 * side, 0),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            va="center",
            weight="bold",
            fontsize=12,
            path_effects=_OUTLINE,
            zorder=4,
        )


def _finish_plane(
    figure: Figure, axes: Axes, plane: Plane, edge: Line2D, colour: str, title: str
) -> None:
    dot: dict[str, Any] = {"marker": "o", "ms": 8, "mec": "white"}
    handles = [
        edge,
        Line2D([], [], color=colour, lw=2, **dot, label="the path"),
        Line2D([], [], color=HOLE, lw=0, **dot, label="the path, in a hole"),
    ]
    axes.set(
        xlabel="code unit 0",
        ylabel="code unit 1",
        xlim=(plane.x[0], plane.x[-1]),
        ylim=(plane.y[0], plane.y[-1]),
    )
    figure.suptitle(title, x=0.01, ha="left", weight="bold", fontsize=12)
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
